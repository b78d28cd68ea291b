// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_brakes.h"

#include "control/api.h"
#include "control/api_text.h"
#include "control/control.h"
#include "control/ledger_fleet.h"
#include "control/protect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 8192
#define ALLOW_SECONDS (4 * 3600)
#define PAUSE_SECONDS (15 * 60)

// One writing request of this table: what it read, until the ledger has answered.
struct action {
	struct api *api;
	struct http_request *request;
	json_t *body; // the answer's
	char name[128], reason[REASON_MAX + 1];
	struct actor actor;
	struct indicator indicator;
	int64_t until, id;
};

static void action_free(struct action *action)
{
	if (!action)
		return;
	json_decref(action->body);
	free(action);
}

static int error_status(int error)
{
	switch (error) {
	case -ENOENT:
		return 404;
	case -ERANGE:
	case -EINVAL:
		return 422;
	case -EEXIST:
	case -EPERM:
	case -EACCES:
		return 409;
	case -ENOSPC:
	case -EDQUOT:
		return 507;
	default:
		return 500;
	}
}

static void action_done(void *ctx, int error, const char *message)
{
	struct action *action = ctx;
	api_pending(action->api, -1);
	if (error) {
		http_answer_error(
			action->request,
			error_status(error),
			message && message[0] ? message : strerror(-error),
			NULL
		);
	} else {
		if (message && message[0])
			json_object_set_new(action->body, "message", text_json(message));
		http_answer_json(action->request, 200, json_incref(action->body));
	}
	action_free(action);
}

enum {
	NEEDS_INDICATOR = 1,
	NEEDS_REASON = 2,
	NEEDS_ID = 4,
	NEEDS_UNTIL = 8,
};

static bool action_fill(struct action *action, json_t *body, unsigned needs, int64_t otherwise)
{
	struct http_request *request = action->request;
	const char *reason;
	if (!body_reason(request, body, needs & NEEDS_REASON, &reason))
		return false;
	snprintf(action->reason, sizeof(action->reason), "%s", reason);
	if (needs & NEEDS_INDICATOR) {
		if (!body_indicator(request, body, &action->indicator))
			return false;
		json_object_set_new(action->body, "indicator", indicator_json(&action->indicator));
	}
	if (needs & NEEDS_UNTIL) {
		if (!body_until(request, body, otherwise, false, &action->until))
			return false;
		json_object_set_new(action->body, "until", time_json(action->until));
	}
	if (needs & NEEDS_ID) {
		json_t *id = json_object_get(body, "id");
		if (!json_is_integer(id)) {
			http_answer_error(request, 400, "id: a number is expected", NULL);
			return false;
		}
		action->id = json_integer_value(id);
		json_object_set(action->body, "id", id);
	}
	return true;
}

// NULL: answered.
static struct action *
action_begin(struct api *api, struct http_request *request, unsigned needs, int64_t otherwise)
{
	json_t *body = http_request_json(request);
	if (!body)
		return NULL;
	struct action *action = calloc(1, sizeof(*action));
	if (!action) {
		json_decref(body);
		http_answer_error(request, 500, "no memory", NULL);
		return NULL;
	}
	action->api = api;
	action->request = request;
	action->body = json_object();
	snprintf(action->name, sizeof(action->name), "%s", http_request_caller(request)->name);
	action->actor = (struct actor){.name = action->name, .reason = action->reason};
	bool good = action_fill(action, body, needs, otherwise);
	json_decref(body);
	if (!good) {
		action_free(action);
		return NULL;
	}
	api_pending(api, 1);
	return action;
}

// --- allows, pause

static void route_allow(void *ctx, struct http_request *request)
{
	const unsigned needs = NEEDS_INDICATOR | NEEDS_REASON | NEEDS_UNTIL;
	struct action *a = action_begin(ctx, request, needs, ALLOW_SECONDS);
	if (a)
		ledger_allow(api_ledger(ctx), &a->indicator, a->until, &a->actor, action_done, a);
}

static void route_allow_end(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, NEEDS_INDICATOR, 0);
	if (a)
		ledger_allow_end(api_ledger(ctx), &a->indicator, &a->actor, action_done, a);
}

static bool allow_add(void *ctx, const struct allow *allow)
{
	json_array_append_new(
		ctx,
		json_pack(
			"{s:I, s:o, s:o, s:o, s:o, s:o}",
			"id",
			(json_int_t)allow->id,
			"indicator",
			indicator_json(&allow->indicator),
			"created",
			time_json(allow->created),
			"until",
			time_json(allow->until),
			"author",
			text_json(allow->author),
			"reason",
			text_json(allow->reason)
		)
	);
	return true;
}

static void route_allows(void *ctx, struct http_request *request)
{
	json_t *list = json_array();
	ledger_allows(api_ledger(ctx), allow_add, list);
	http_answer_json(request, 200, json_pack("{s:o}", "allows", list));
}

static void route_pause(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, NEEDS_REASON | NEEDS_UNTIL, PAUSE_SECONDS);
	if (a)
		ledger_pause(api_ledger(ctx), a->until, &a->actor, action_done, a);
}

static void route_resume(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, 0, 0);
	if (a)
		ledger_pause(api_ledger(ctx), 0, &a->actor, action_done, a);
}

// On every gateway of the fleet; without one as the two above.
static void route_fleet_pause(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, NEEDS_REASON | NEEDS_UNTIL, PAUSE_SECONDS);
	if (a)
		ledger_pause_fleet(api_ledger(ctx), a->until, &a->actor, action_done, a);
}

static void route_fleet_resume(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, 0, 0);
	if (a)
		ledger_pause_fleet(api_ledger(ctx), 0, &a->actor, action_done, a);
}

// --- held changes

static bool held_add(void *ctx, const struct held *held)
{
	json_array_append_new(
		ctx,
		json_pack(
			"{s:I, s:o, s:o, s:o, s:o, s:I}",
			"id",
			(json_int_t)held->id,
			"source",
			text_json(held->source),
			"why",
			text_json(held->why),
			"summary",
			text_json(held->summary),
			"since",
			time_json(held->since),
			"claims",
			(json_int_t)held->n_claims
		)
	);
	return true;
}

static void route_held(void *ctx, struct http_request *request)
{
	json_t *list = json_array();
	ledger_held(api_ledger(ctx), held_add, list);
	http_answer_json(request, 200, json_pack("{s:o}", "held", list));
}

static void route_approve(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, NEEDS_ID | NEEDS_REASON, 0);
	if (a)
		ledger_held_approve(api_ledger(ctx), a->id, &a->actor, action_done, a);
}

static void route_reject(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, NEEDS_ID | NEEDS_REASON, 0);
	if (a)
		ledger_held_reject(api_ledger(ctx), a->id, &a->actor, action_done, a);
}

// --- protections

static const char *origin_name(enum protect_origin origin)
{
	switch (origin) {
	case PROTECT_BUILTIN:
		return "builtin";
	case PROTECT_PRIVATE:
		return "private";
	case PROTECT_CONFIGURED:
		return "configured";
	case PROTECT_OPERATOR:
		return "operator";
	case PROTECT_DERIVED:
		break;
	}
	return "derived";
}

static bool protection_add(void *ctx, const struct protection *protection)
{
	json_array_append_new(
		ctx,
		json_pack(
			"{s:o, s:s, s:o}",
			"indicator",
			indicator_json(&protection->indicator),
			"origin",
			origin_name(protection->origin),
			"reason",
			text_json(protection->reason)
		)
	);
	return true;
}

static bool conflict_add(void *ctx, const struct protection *protection, const struct entry *entry)
{
	json_array_append_new(
		ctx,
		json_pack(
			"{s:o, s:o}",
			"protection",
			indicator_json(&protection->indicator),
			"entry",
			indicator_json(&entry->indicator)
		)
	);
	return json_array_size(ctx) < 1000;
}

static void route_protections(void *ctx, struct http_request *request)
{
	json_t *list = json_array(), *conflicts = json_array();
	protect_each(api_control(ctx)->protect, protection_add, list);
	ledger_conflicts(api_ledger(ctx), conflict_add, conflicts);
	http_answer_json(
		request, 200, json_pack("{s:o, s:o}", "protections", list, "conflicts", conflicts)
	);
}

static void route_protect(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, NEEDS_INDICATOR | NEEDS_REASON, 0);
	if (a)
		ledger_protect(api_ledger(ctx), &a->indicator, &a->actor, action_done, a);
}

static void route_protect_end(void *ctx, struct http_request *request)
{
	struct action *a = action_begin(ctx, request, NEEDS_INDICATOR | NEEDS_REASON, 0);
	if (a)
		ledger_protect_end(api_ledger(ctx), &a->indicator, &a->actor, action_done, a);
}

static const struct http_route routes[] = {
	{"GET", "/v1/allows", ROLE_VIEWER, 0, route_allows, "allows in force"},
	{"POST", "/v1/allows", ROLE_OPERATOR, BODY_MAX, route_allow, "let pass for at most 24h"},
	{"POST", "/v1/allows/end", ROLE_OPERATOR, BODY_MAX, route_allow_end, "end an allow"},
	{"POST",
	 "/v1/pause",
	 ROLE_ADMIN,
	 BODY_MAX,
	 route_pause,
	 "enforce becomes monitor, for a time"},
	{"POST", "/v1/resume", ROLE_OPERATOR, BODY_MAX, route_resume, "end the pause"},
	{"POST",
	 "/v1/fleet/pause",
	 ROLE_ADMIN,
	 BODY_MAX,
	 route_fleet_pause,
	 "enforce becomes monitor on every gateway of the fleet, for a time"},
	{"POST",
	 "/v1/fleet/resume",
	 ROLE_OPERATOR,
	 BODY_MAX,
	 route_fleet_resume,
	 "end that pause everywhere"},
	{"GET", "/v1/held", ROLE_VIEWER, 0, route_held, "changes that a brake holds"},
	{"POST",
	 "/v1/held/approve",
	 ROLE_OPERATOR,
	 BODY_MAX,
	 route_approve,
	 "put a held change in force"},
	{"POST", "/v1/held/reject", ROLE_OPERATOR, BODY_MAX, route_reject, "drop a held change"},
	{"GET", "/v1/protections", ROLE_VIEWER, 0, route_protections, "what is never denied"},
	{"POST", "/v1/protections", ROLE_ADMIN, BODY_MAX, route_protect, "never deny this"},
	{"POST",
	 "/v1/protections/end",
	 ROLE_ADMIN,
	 BODY_MAX,
	 route_protect_end,
	 "end a protection"},
};

int api_brakes_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
