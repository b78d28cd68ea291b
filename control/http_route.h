// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Which row of the tables a method and a path mean. Pure.

#pragma once

#include "control/http_server.h"

#include <event2/http.h>

struct route_table {
	const struct http_route *routes;
	size_t n;
	void *ctx;
};

struct route_found {
	const struct http_route *route; // NULL: none
	void *ctx;
	const char *rest;
	char allow[96]; // methods that this path knows
	bool path_known;
};

// An exact path before "{}", a longer pattern before a shorter one.
void route_find(
	const struct route_table *,
	size_t n_tables,
	const char *method,
	const char *path,
	struct route_found *ret_found
);
// "GET" also for HEAD; "?" for what no route can have.
const char *route_method(enum evhttp_cmd_type);
