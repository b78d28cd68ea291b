// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_watch.h"

#include "control/api.h"
#include "control/api_text.h"
#include "control/denials.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 8192
#define PAGE_MAX 1000

static bool record_add(void *ctx, const struct audit_record *record)
{
	json_t *detail = record->detail ? json_loads(record->detail, 0, NULL) : NULL;
	json_array_append_new(
		ctx,
		json_pack(
			"{s:I, s:o, s:o, s:o, s:o, s:o, s:s}",
			"seq",
			(json_int_t)record->seq,
			"when",
			time_ms_json(record->when_ms),
			"actor",
			text_json(record->actor),
			"action",
			text_json(record->action),
			"object",
			text_json(record->object),
			"detail",
			detail ? detail : json_null(),
			"hash",
			record->hash
		)
	);
	return true;
}

// An answer that waits for the chain to be walked.
struct verifying {
	struct api *api;
	struct http_request *request;
	json_t *body;
};

static void verified(void *ctx, int error, int64_t seq)
{
	struct verifying *v = ctx;
	struct ledger *ledger = api_ledger(v->api);
	int64_t last = 0;
	char head[65] = "";
	ledger_audit_head(ledger, &last, head);
	json_t *verify = json_pack(
		"{s:b, s:I, s:s}", "intact", error == 0, "records", (json_int_t)last, "head", head
	);
	if (error == -EILSEQ)
		json_object_set_new(verify, "first_bad", json_integer(seq + 1));
	else if (error)
		json_object_set_new(verify, "error", json_string(strerror(-error)));
	json_object_set_new(v->body, "verify", verify);
	api_pending(v->api, -1);
	http_answer_json(v->request, 200, v->body);
	free(v);
}

static void verify_begin(struct api *api, struct http_request *request, json_t *body)
{
	struct verifying *v = malloc(sizeof(*v));
	if (v)
		*v = (struct verifying){api, request, body};
	if (!v || ledger_audit_verify(api_ledger(api), verified, v) < 0) {
		free(v);
		json_decref(body);
		http_answer_error(request, 500, "no memory", NULL);
		return;
	}
	api_pending(api, 1);
}

static void route_audit(void *ctx, struct http_request *request)
{
	int64_t before, max, verify;
	if (!query_number(request, "before", 0, INT64_MAX, &before)
	    || !query_number(request, "max", 100, PAGE_MAX, &max)
	    || !query_number(request, "verify", 0, 1, &verify))
		return;
	json_t *list = json_array();
	ledger_audit_page(api_ledger(ctx), before, (size_t)(max ? max : 1), record_add, list);
	size_t n = json_array_size(list);
	json_t *last = n ? json_object_get(json_array_get(list, n - 1), "seq") : NULL;
	json_t *next = n == (size_t)max && last ? json_incref(last) : json_null();
	json_t *body = json_pack("{s:o, s:o}", "records", list, "next", next);
	if (verify)
		verify_begin(ctx, request, body);
	else
		http_answer_json(request, 200, body);
}

struct denials_page {
	json_t *list;
	size_t max;
};

static bool denial_add(void *ctx, const struct wire_denial *denial)
{
	struct denials_page *page = ctx;
	if (json_array_size(page->list) < page->max)
		json_array_append_new(page->list, denial_json(denial));
	return json_array_size(page->list) < page->max;
}

static void route_denials(void *ctx, struct http_request *request)
{
	struct api *api = ctx;
	int64_t max, follow;
	if (!query_number(request, "max", 100, PAGE_MAX, &max)
	    || !query_number(request, "follow", 0, 1, &follow))
		return;
	if (follow) {
		if (!denials_follow(api_denials(api), request))
			http_answer_error(
				request, 503, "too many follow the denials already", NULL
			);
		return;
	}
	struct denials_page page = {json_array(), (size_t)(max ? max : 1)};
	denials_each(api_denials(api), denial_add, &page);
	http_answer_json(
		request,
		200,
		json_pack(
			"{s:o, s:I}",
			"denials",
			page.list,
			"kept",
			(json_int_t)denials_count(api_denials(api))
		)
	);
}

static void route_sync(void *ctx, struct http_request *request)
{
	struct api *api = ctx;
	json_t *body = http_request_json(request);
	const char *reason;
	bool force;
	if (!body)
		return;
	if (!body_bool(request, body, "force", &force)
	    || !body_reason(request, body, force, &reason)) {
		json_decref(body);
		return;
	}
	const struct api_dataplane *dataplane = api_dataplane(api);
	if (!dataplane->sync) {
		http_answer_error(request, 503, "no data plane is configured", NULL);
		json_decref(body);
		return;
	}
	if (!dataplane->connected(dataplane->ctx)) {
		http_answer_error(
			request,
			503,
			"the data plane is not connected: when it comes, it is brought up to date "
			"by itself; what is forced now would not hold then",
			NULL
		);
		json_decref(body);
		return;
	}
	json_t *detail = json_pack("{s:b, s:o}", "force", force, "reason", text_json(reason));
	int error = ledger_audit(
		api_ledger(api), http_request_caller(request)->name, "sync", "dataplane", detail
	);
	json_decref(detail);
	json_decref(body);
	if (error && force) { // what is not audited is not forced
		http_answer_error(request, 500, strerror(-error), NULL);
		return;
	}
	error = dataplane->sync(dataplane->ctx, force);
	if (error) {
		http_answer_error(request, 503, strerror(-error), NULL);
		return;
	}
	struct list_state state;
	ledger_state(api_ledger(api), &state);
	api_answer_applied(
		api, request, 202, json_pack("{s:s}", "sync", "begun"), state.revision, 0
	);
}

static const struct http_route routes[] = {
	{"GET",
	 "/v1/audit",
	 ROLE_VIEWER,
	 0,
	 route_audit,
	 "records, newest first: before, max, verify=1"},
	{"GET",
	 "/v1/denials",
	 ROLE_VIEWER,
	 0,
	 route_denials,
	 "who tried; follow=1: a stream of JSON lines"},
	{"POST", "/v1/sync", ROLE_ADMIN, BODY_MAX, route_sync, "send the whole list anew"},
};

int api_watch_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
