// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api.h"

#include "control/api_brakes.h"
#include "control/api_cases.h"
#include "control/api_claims.h"
#include "control/api_f5xc.h"
#include "control/api_fleet.h"
#include "control/api_lists.h"
#include "control/api_preview.h"
#include "control/api_status.h"
#include "control/api_text.h"
#include "control/api_watch.h"
#include "control/api_why.h"
#include "control/control.h"
#include "control/denials.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#define PARTS_MAX 32
#define DENIALS_MAX 8192
#define WAITS_MAX 1024

struct part {
	enum api_part_kind kind;
	char name[80];
	api_part_cb cb;
	void *ctx;
};

struct wait {
	LIST_ENTRY(wait) link;
	struct api *api;
	struct http_request *request;
	int status;
	json_t *body;
	struct revision revision;
	struct event *timer;
};

struct api {
	struct control *control;
	struct denials *denials;
	struct api_dataplane dataplane;
	struct part parts[PARTS_MAX];
	size_t n_parts;
	api_mirror_cb mirror;
	void *mirror_ctx;
	LIST_HEAD(, wait) waits;
	size_t n_waits;
	int pending;
	int64_t started;
};

static int64_t seconds_up(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec;
}

struct control *api_control(struct api *api)
{
	return api->control;
}

struct ledger *api_ledger(struct api *api)
{
	return api->control->ledger;
}

struct denials *api_denials(struct api *api)
{
	return api->denials;
}

const struct api_dataplane *api_dataplane(const struct api *api)
{
	return &api->dataplane;
}

int64_t api_uptime(const struct api *api)
{
	return seconds_up() - api->started;
}

void api_pending(struct api *api, int by)
{
	api->pending += by;
}

// --- parts

int api_part_add(
	struct api *api, enum api_part_kind kind, const char *name, api_part_cb cb, void *ctx
)
{
	if (api->n_parts == PARTS_MAX)
		return -ENOSPC;
	struct part *part = &api->parts[api->n_parts++];
	part->kind = kind;
	part->cb = cb;
	part->ctx = ctx;
	snprintf(part->name, sizeof(part->name), "%s", name);
	return 0;
}

json_t *api_parts(struct api *api, enum api_part_kind kind)
{
	json_t *list = json_array();
	for (size_t i = 0; i < api->n_parts; i++) {
		if (api->parts[i].kind != kind)
			continue;
		json_t *part = api->parts[i].cb(api->parts[i].ctx);
		if (json_is_array(part)) { // several, each with its name
			json_array_extend(list, part);
			json_decref(part);
			continue;
		}
		if (!part)
			part = json_object();
		json_object_set_new(part, "name", json_string(api->parts[i].name));
		json_array_append_new(list, part);
	}
	return list;
}

void api_mirror_set(struct api *api, api_mirror_cb cb, void *ctx)
{
	api->mirror = cb;
	api->mirror_ctx = ctx;
}

json_t *api_mirror(struct api *api, const struct indicator *indicator)
{
	return api->mirror ? api->mirror(api->mirror_ctx, indicator) : NULL;
}

void api_dataplane_set(struct api *api, const struct api_dataplane *dataplane)
{
	api->dataplane = *dataplane;
}

// --- applied

bool api_is_equal(struct api *api, char why[160])
{
	const struct api_dataplane *dataplane = &api->dataplane;
	if (!dataplane->equal) {
		snprintf(why, 160, "no data plane is configured");
		return false;
	}
	return dataplane->equal(dataplane->ctx, why);
}

bool api_is_applied(struct api *api, struct revision revision, char why[160])
{
	const struct api_dataplane *dataplane = &api->dataplane;
	struct list_state state, applied;
	ledger_state(api_ledger(api), &state);
	int64_t when_ms;
	if (dataplane->applied && dataplane->connected && dataplane->connected(dataplane->ctx)
	    && dataplane->applied(dataplane->ctx, &applied, &when_ms)
	    && memcmp(applied.ledger_id, state.ledger_id, LEDGER_ID_LEN) == 0
	    && revision_compare(applied.revision, revision) >= 0)
		return true;
	if (api_is_equal(api, why))
		snprintf(why, 160, "the data plane has not answered yet");
	return false;
}

static void wait_end(struct wait *wait)
{
	char why[160] = "";
	bool applied = api_is_applied(wait->api, wait->revision, why);
	json_object_set_new(wait->body, "applied", json_boolean(applied));
	json_object_set_new(wait->body, "revision", revision_json(wait->revision));
	if (!applied) {
		char text[224];
		snprintf(text, sizeof(text), "recorded, not yet applied: %s", why);
		json_object_set_new(wait->body, "why", json_string(text));
	}
	http_answer_json(wait->request, wait->status, wait->body);
	LIST_REMOVE(wait, link);
	wait->api->n_waits--;
	if (wait->timer)
		event_free(wait->timer);
	free(wait);
}

static void wait_expired(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	wait_end(ctx);
}

void api_answer_applied(
	struct api *api,
	struct http_request *request,
	int status,
	json_t *body,
	struct revision revision,
	unsigned timeout_ms
)
{
	struct wait *wait = calloc(1, sizeof(*wait));
	if (!wait || !body) {
		free(wait);
		json_decref(body);
		http_answer_error(request, 500, "recorded, but no memory for the answer", NULL);
		return;
	}
	wait->api = api;
	wait->request = request;
	wait->status = status;
	wait->body = body;
	wait->revision = revision;
	LIST_INSERT_HEAD(&api->waits, wait, link);
	api->n_waits++;
	char why[160];
	const struct api_dataplane *dataplane = &api->dataplane;
	bool now = timeout_ms == 0 || !dataplane->applied || !dataplane->connected
		|| !dataplane->connected(dataplane->ctx) || api->n_waits > WAITS_MAX
		|| api_is_applied(api, revision, why);
	if (!now)
		wait->timer = evtimer_new(api->control->base, wait_expired, wait);
	const struct timeval after = {
		.tv_sec = timeout_ms / 1000,
		.tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000,
	};
	if (now || !wait->timer || evtimer_add(wait->timer, &after) < 0)
		wait_end(wait);
}

void api_applied_moved(void *ctx)
{
	struct api *api = ctx;
	char why[160];
	struct wait *wait = LIST_FIRST(&api->waits);
	while (wait) {
		struct wait *next = LIST_NEXT(wait, link);
		if (api_is_applied(api, wait->revision, why))
			wait_end(wait);
		wait = next;
	}
}

void api_denials_take(void *ctx, const struct wire_denial *denial, size_t n)
{
	struct api *api = ctx;
	denials_take(api->denials, denial, n);
}

// --- routes

static void route_add(void *ctx, const struct http_route *route)
{
	json_array_append_new(
		ctx,
		json_pack(
			"{s:s, s:s, s:s, s:s}",
			"method",
			route->method,
			"path",
			route->path,
			"role",
			role_name(route->role),
			"help",
			route->help
		)
	);
}

static void route_index(void *ctx, struct http_request *request)
{
	struct api *api = ctx;
	json_t *list = json_array();
	http_server_each_route(api->control->server, route_add, list);
	http_answer_json(
		request, 200, json_pack("{s:s, s:o}", "version", STANCH_VERSION, "routes", list)
	);
}

static const struct http_route routes[] = {
	{"GET", "/v1", ROLE_VIEWER, 0, route_index, "every route, with its role and help"},
};

int api_create(struct control *control, struct api **ret_api)
{
	struct api *api = calloc(1, sizeof(*api));
	if (!api)
		return -ENOMEM;
	api->control = control;
	api->started = seconds_up();
	LIST_INIT(&api->waits);
	int error = denials_create(DENIALS_MAX, &api->denials);
	if (!error)
		error = http_server_routes(
			control->server, routes, sizeof(routes) / sizeof(routes[0]), api
		);
	if (!error)
		error = api_status_routes(api, control->server);
	if (!error)
		error = api_why_routes(api, control->server);
	if (!error)
		error = api_preview_routes(api, control->server);
	if (!error)
		error = api_claims_routes(api, control->server);
	if (!error)
		error = api_cases_routes(api, control->server);
	if (!error)
		error = api_brakes_routes(api, control->server);
	if (!error)
		error = api_lists_routes(api, control->server);
	if (!error)
		error = api_f5xc_routes(api, control->server);
	if (!error)
		error = api_fleet_routes(api, control->server);
	if (!error)
		error = api_watch_routes(api, control->server);
	if (error) {
		denials_free(api->denials);
		free(api);
		return error;
	}
	*ret_api = api;
	return 0;
}

void api_free(struct api *api)
{
	if (!api)
		return;
	api_cases_end();
	// What the ledger was given answers within its commit's 2 ms, the data plane at once.
	const struct timeval patience = {.tv_sec = 1};
	for (int turns = 0; api->pending > 0 && turns < 2; turns++) {
		event_base_loopexit(api->control->base, &patience);
		while (api->pending > 0 && !event_base_got_exit(api->control->base))
			event_base_loop(api->control->base, EVLOOP_ONCE);
	}
	while (!LIST_EMPTY(&api->waits))
		wait_end(LIST_FIRST(&api->waits));
	denials_free(api->denials);
	if (api->pending == 0) // else somebody still points to it
		free(api);
}
