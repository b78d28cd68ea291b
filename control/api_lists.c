// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_lists.h"

#include "control/api.h"
#include "control/api_text.h"
#include "control/control.h"
#include "control/http_request.h"
#include "control/http_server.h"
#include "control/lists.h"
#include "control/roles.h"
#include "control/sources/redis_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 8192
#define MEMBERS_MAX 1000

static void route_lists(void *ctx, struct http_request *request)
{
	struct control *control = api_control(ctx);

	http_answer_json(
		request,
		200,
		json_pack("{s:o}", "lists", redis_lists_json(control->redis, control->ledger))
	);
}

// --- members

struct page {
	struct ledger *ledger;
	json_t *members;
	char last[INDICATOR_TEXT_MAX];
};

static bool member_add(void *ctx, const struct claim *claim)
{
	struct page *page = ctx;

	json_array_append_new(page->members, claim_json(page->ledger, claim));
	indicator_print(&claim->indicator, page->last);
	return true;
}

static void route_members(void *ctx, struct http_request *request)
{
	struct ledger *ledger = api_ledger(ctx);
	const char *name = http_request_query(request, "list");
	const char *after = http_request_query(request, "after");
	struct page page = {.ledger = ledger};
	struct list_status status;
	size_t n;

	if (!name || !lists_find(ledger_lists(ledger), name, &status)) {
		http_answer_error(request, 404, "no such list", "see stanch lists");
		return;
	}
	page.members = json_array();
	if (lists_members_page(
		    ledger_lists(ledger),
		    status.id,
		    after ? after : "",
		    MEMBERS_MAX,
		    member_add,
		    &page
	    )
	    < 0) {
		json_decref(page.members);
		http_answer_error(request, 422, "after is no indicator", NULL);
		return;
	}
	n = json_array_size(page.members);
	http_answer_json(
		request,
		200,
		json_pack(
			"{s:o, s:o}",
			"members",
			page.members,
			"next",
			n > 0 ? json_string(page.last) : json_null()
		)
	);
}

// --- doing

static void route_read(void *ctx, struct http_request *request)
{
	json_t *body = http_request_json(request);
	const char *name = json_string_value(json_object_get(body, "list"));
	int error;

	if (!body)
		return;
	error = name ? redis_lists_read(api_control(ctx)->redis, name) : -EINVAL;
	json_decref(body);
	if (error == -EINVAL)
		http_answer_error(request, 400, "list: a name is expected", NULL);
	else if (!control_leads(api_control(ctx)))
		roles_refuse(api_control(ctx), request);
	else if (error == -ENOENT)
		http_answer_error(request, 404, "no such list is configured", "see stanch lists");
	else if (error)
		http_answer_error(request, 503, "its Redis is not connected", NULL);
	else
		http_answer_json(request, 202, json_pack("{s:b}", "reading", true));
}

struct retirement {
	struct api *api;
	struct http_request *request;
};

static void retired(void *ctx, int error, const char *message)
{
	struct retirement *r = ctx;

	api_pending(r->api, -1);
	if (error)
		http_answer_error(r->request, error == -ENOENT ? 404 : 409, message, NULL);
	else if (*message)
		http_answer_json(r->request, 202, json_pack("{s:b}", "asked", true));
	else
		http_answer_json(r->request, 200, json_pack("{s:b}", "retired", true));
	free(r);
}

// The list's name, where this may retire it; else the request is answered.
static const char *retire_check(struct ledger *ledger, struct http_request *request, json_t *body)
{
	const char *source = json_string_value(json_object_get(body, "source"));
	const char *reason = json_string_value(json_object_get(body, "reason"));

	if (!source || strncmp(source, LIST_SOURCE, strlen(LIST_SOURCE)) != 0)
		http_answer_error(
			request,
			400,
			"source: list:NAME is expected",
			"claims of other sources that are gone: stanch unblock --force"
		);
	else if (!reason || !reason[0])
		http_answer_error(request, 400, "a reason is needed", NULL);
	else if (!ledger_source_gone(ledger, source))
		http_answer_error(
			request,
			409,
			"no such list, or it is configured",
			"take it out of control.redis first, and send SIGHUP"
		);
	else
		return source + strlen(LIST_SOURCE);
	return NULL;
}

static void route_retire(void *ctx, struct http_request *request)
{
	struct ledger *ledger = api_ledger(ctx);
	json_t *body = http_request_json(request);
	const char *name = body ? retire_check(ledger, request, body) : NULL;
	struct retirement *r = name ? calloc(1, sizeof(*r)) : NULL;

	if (r) {
		const struct actor actor = {
			.name = http_request_caller(request)->name,
			.reason = json_string_value(json_object_get(body, "reason")),
		};

		*r = (struct retirement){.api = ctx, .request = request};
		api_pending(ctx, 1);
		lists_retire(ledger_lists(ledger), name, &actor, retired, r);
	} else if (name) {
		http_answer_error(request, 500, "no memory", NULL);
	}
	json_decref(body);
}

static const struct http_route routes[] = {
	{"GET", "/v1/lists", ROLE_VIEWER, 0, route_lists, "lists published by others"},
	{"GET",
	 "/v1/lists/members",
	 ROLE_VIEWER,
	 0,
	 route_members,
	 "members of a list by pages: list, after"},
	{"POST", "/v1/lists/read", ROLE_OPERATOR, BODY_MAX, route_read, "read a list in full, now"},
	{"POST",
	 "/v1/sources/retire",
	 ROLE_ADMIN,
	 BODY_MAX,
	 route_retire,
	 "end what a source that is gone left in force"},
};

int api_lists_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
