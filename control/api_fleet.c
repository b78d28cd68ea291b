// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_fleet.h"

#include "control/api.h"
#include "control/api_text.h"
#include "control/control.h"
#include "control/fleet/fleet.h"
#include "control/http_server.h"
#include "control/roles.h"

#include <stdlib.h>

struct question {
	struct api *api;
	struct http_request *request;
};

static void answer(void *ctx, json_t *gateways)
{
	struct question *q = ctx;
	json_t *body = roles_status(api_control(q->api));

	api_pending(q->api, -1);
	// Null, not empty: what the others do is not known.
	json_object_set_new(body, "gateways", gateways ? gateways : json_null());
	http_answer_json(q->request, 200, body);
	free(q);
}

static void route_fleet(void *ctx, struct http_request *request)
{
	struct control *control = api_control(ctx);
	struct question *q;

	if (!control_in_fleet(control)) {
		http_answer_error(
			request, 404, "this gateway is in no fleet", "configure control.fleet"
		);
		return;
	}
	q = calloc(1, sizeof(*q));
	if (!q) {
		http_answer_error(request, 500, "no memory", NULL);
		return;
	}
	q->api = ctx;
	q->request = request;
	api_pending(ctx, 1);
	fleet_gateways(control->fleet, answer, q);
}

static const struct http_route routes[] = {
	{"GET",
	 "/v1/fleet",
	 ROLE_VIEWER,
	 0,
	 route_fleet,
	 "the fleet as this gateway sees it, and what each gateway tells"},
};

int api_fleet_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
