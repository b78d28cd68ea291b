// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/http_route.h"

#include <stdio.h>
#include <string.h>

static bool path_matches(const char *pattern, const char *path, const char **ret_rest)
{
	size_t len = strlen(pattern);
	*ret_rest = NULL;
	if (len < 2 || strcmp(pattern + len - 2, "{}") != 0)
		return strcmp(pattern, path) == 0;
	len -= 2;
	if (strncmp(pattern, path, len) != 0 || path[len] == '\0')
		return false;
	*ret_rest = path + len;
	return true;
}

static void allow_add(char allow[96], const char *method)
{
	size_t len = strlen(allow);
	if (!strstr(allow, method))
		snprintf(allow + len, 96 - len, "%s%s", len ? ", " : "", method);
}

// An exact path before "{}", a longer pattern before a shorter one.
void route_find(
	const struct route_table *tables,
	size_t n_tables,
	const char *method,
	const char *path,
	struct route_found *ret
)
{
	size_t best = 0;
	memset(ret, 0, sizeof(*ret));
	for (size_t t = 0; t < n_tables; t++) {
		const struct route_table *table = &tables[t];
		for (size_t i = 0; i < table->n; i++) {
			const struct http_route *route = &table->routes[i];
			const char *rest;
			if (!path_matches(route->path, path, &rest))
				continue;
			ret->path_known = true;
			allow_add(ret->allow, route->method);
			size_t weight = strlen(route->path) + (rest ? 0 : 4096);
			if (strcmp(route->method, method) != 0 || weight <= best)
				continue;
			best = weight;
			ret->route = route;
			ret->ctx = table->ctx;
			ret->rest = rest;
		}
	}
	if (ret->path_known) {
		if (strstr(ret->allow, "GET"))
			allow_add(ret->allow, "HEAD");
		allow_add(ret->allow, "OPTIONS");
	}
}

const char *route_method(enum evhttp_cmd_type command)
{
	switch (command) {
	case EVHTTP_REQ_GET:
	case EVHTTP_REQ_HEAD:
		return "GET";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_PATCH:
		return "PATCH";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	case EVHTTP_REQ_OPTIONS:
		return "OPTIONS";
	default:
		return "?";
	}
}
