// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_f5xc.h"

#include "control/api_text.h"
#include "control/conf.h"
#include "control/control.h"
#include "control/followers/f5xc.h"
#include "control/followers/f5xc_status.h"
#include "control/roles.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BODY_MAX 4096
#define PLAN_PREFIXES 5
#define DIFF_PREFIXES 2000

// NULL: answered.
static struct f5xc *mirror_of(struct api *api, struct http_request *request)
{
	struct f5xc *f = api_control(api)->f5xc;

	if (!f && !control_leads(api_control(api)) && api_control(api)->conf->f5xc)
		roles_refuse(api_control(api), request);
	else if (!f)
		http_answer_error(
			request,
			404,
			"no mirror to F5 XC is configured",
			"add control.f5xc and restart stanch-control"
		);
	return f;
}

static void route_status(void *ctx, struct http_request *request)
{
	struct f5xc *f = mirror_of(ctx, request);

	if (f)
		http_answer_json(request, 200, f5xc_status(f));
}

static void route_plan(void *ctx, struct http_request *request)
{
	struct f5xc *f = mirror_of(ctx, request);

	if (f)
		http_answer_json(request, 200, f5xc_plan(f, PLAN_PREFIXES));
}

static void route_diff(void *ctx, struct http_request *request)
{
	struct f5xc *f = mirror_of(ctx, request);

	if (f)
		http_answer_json(request, 200, f5xc_plan(f, DIFF_PREFIXES));
}

static void
audit(struct api *api,
      struct http_request *request,
      const char *action,
      const char *object,
      const char *reason)
{
	ledger_audit(
		api_ledger(api),
		http_request_caller(request)->name,
		action,
		object,
		json_pack("{s:s}", "reason", reason)
	);
}

static void route_sync(void *ctx, struct http_request *request)
{
	json_t *body = http_request_json(request);
	const char *reason;
	struct f5xc *f;

	if (body && body_reason(request, body, false, &reason) && (f = mirror_of(ctx, request))) {
		f5xc_sync(f);
		audit(ctx, request, "f5 sync", "f5xc", reason);
		http_answer_json(request, 200, json_pack("{s:b}", "begun", 1));
	}
	json_decref(body);
}

static void adopt_answer(struct http_request *request, int error, const char *name)
{
	if (error == -EALREADY)
		http_answer_error(request, 409, "it bears our label and epoch already", NULL);
	else if (error == -ENOENT)
		http_answer_error(request, 404, "there is no such object at F5", NULL);
	else if (error < 0)
		http_answer_error(
			request,
			422,
			"no object of ours can have this name",
			"names are <f5xc.prefix>-v4-000 to -127, -v6-000 to -127, "
			"<f5xc.prefix>-deny"
		);
	else
		http_answer_json(request, 200, json_pack("{s:s}", "adopted", name));
}

static void route_adopt(void *ctx, struct http_request *request)
{
	json_t *body = http_request_json(request);
	const char *name = json_string_value(json_object_get(body, "name")), *reason;
	struct f5xc *f;
	char copy[96];
	int error;

	if (body && !name)
		http_answer_error(request, 400, "name: a text is expected", NULL);
	else if (body && body_reason(request, body, true, &reason) && (f = mirror_of(ctx, request))) {
		snprintf(copy, sizeof(copy), "%.90s", name);
		error = f5xc_adopt(f, copy);
		if (error == 0)
			audit(ctx, request, "f5 adopt", copy, reason);
		adopt_answer(request, error, copy);
	}
	json_decref(body);
}

static const struct http_route routes[] = {
	{"GET", "/v1/f5", ROLE_VIEWER, 0, route_status, "what the mirror to F5 XC says of itself"},
	{"GET", "/v1/f5/plan", ROLE_VIEWER, 0, route_plan, "what it is about to write there"},
	{"GET", "/v1/f5/diff", ROLE_VIEWER, 0, route_diff, "the same, prefix by prefix"},
	{"POST",
	 "/v1/f5/sync",
	 ROLE_OPERATOR,
	 BODY_MAX,
	 route_sync,
	 "read everything again and repair it"},
	{"POST",
	 "/v1/f5/adopt",
	 ROLE_ADMIN,
	 BODY_MAX,
	 route_adopt,
	 "take over an object without our label, or of a higher epoch"},
};

int api_f5xc_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
