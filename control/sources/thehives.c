// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehives.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/http_caller.h"
#include "control/ledger.h"
#include "control/log.h"
#include "control/metrics.h"
#include "control/sources/thehive.h"
#include "control/sources/thehive_setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct thehives {
	size_t n;
	struct thehive **list;
};

struct thehive *thehives_at(const struct thehives *hives, size_t index)
{
	return hives && index < hives->n ? hives->list[index] : NULL;
}

struct thehive *thehives_find(const struct thehives *hives, const char *name)
{
	for (size_t i = 0; hives && i < hives->n; i++)
		if (strcmp(thehive_name(hives->list[i]), name) == 0)
			return hives->list[i];
	return NULL;
}

json_t *thehives_status(const struct thehives *hives)
{
	json_t *list = json_array();
	for (size_t i = 0; hives && i < hives->n; i++)
		json_array_append_new(list, thehive_status(hives->list[i]));
	return list;
}

// --- webhooks

// NULL: the request is answered.
static struct thehive *
instance_find(struct thehives *hives, struct http_request *request, const char *named)
{
	char token[64];
	bool bound = http_caller_source(http_request_caller(request), "thehive", token);
	if (named && bound && strcmp(named, token) != 0) {
		http_answer_error(
			request, 403, "the token belongs to another instance of TheHive", NULL
		);
		return NULL;
	}
	struct thehive *hive = named ? thehives_find(hives, named)
		: bound		     ? thehives_find(hives, token)
		: hives->n == 1	     ? hives->list[0]
				     : NULL;
	if (!hive)
		http_answer_error(
			request,
			404,
			"no such instance of TheHive",
			"name it behind the path: /NAME, as in control.thehive[].name"
		);
	return hive;
}

static void hook_take(struct thehives *hives, struct http_request *request, const char *named)
{
	struct thehive *hive = instance_find(hives, request, named);
	if (!hive)
		return;
	size_t len;
	const char *text = http_request_body(request, &len), *reason = NULL;
	json_error_t error;
	struct hive_hint hint;
	json_t *body = json_loadb(text, len, 0, &error);
	if (!body)
		reason = error.text;
	else if (hive_hook_read(body, &hint, &reason) == 0)
		reason = NULL;
	if (reason) {
		thehive_hook_bad(hive);
		http_answer_error(request, 400, reason, NULL);
	} else {
		// The answer first: whoever waits for it may send the event once more.
		http_answer_json(request, 200, json_pack("{s:s}", "case", hint.case_id));
		thehive_hint(hive, &hint);
	}
	json_decref(body);
}

static void hook_come(void *ctx, struct http_request *request)
{
	hook_take(ctx, request, NULL);
}

static void hook_named_come(void *ctx, struct http_request *request)
{
	hook_take(ctx, request, http_request_rest(request));
}

static void setup_come(void *ctx, struct http_request *request)
{
	struct thehive *hive = instance_find(ctx, request, NULL);
	if (hive)
		thehive_setup(hive, request);
}

static void setup_named_come(void *ctx, struct http_request *request)
{
	struct thehive *hive = instance_find(ctx, request, http_request_rest(request));
	if (hive)
		thehive_setup(hive, request);
}

const struct http_route thehives_routes[] = {
	{"POST",
	 "/v1/hooks/thehive",
	 ROLE_HOOK,
	 THEHIVE_HOOK_MAX,
	 hook_come,
	 "A webhook of TheHive 3, 4 or 5; any format"},
	{"POST",
	 "/v1/hooks/thehive/{}",
	 ROLE_HOOK,
	 THEHIVE_HOOK_MAX,
	 hook_named_come,
	 "The same, of the instance named"},
	{"POST",
	 "/v1/thehive/setup",
	 ROLE_OPERATOR,
	 1024,
	 setup_come,
	 "Check the account at TheHive and the custom field; make the field"},
	{"POST",
	 "/v1/thehive/setup/{}",
	 ROLE_OPERATOR,
	 1024,
	 setup_named_come,
	 "The same, of the instance named"},
};
const size_t thehives_n_routes = sizeof(thehives_routes) / sizeof(thehives_routes[0]);

// --- metrics, readiness

static void metrics_come(void *ctx, struct metrics_page *page)
{
	struct thehives *hives = ctx;
	for (size_t i = 0; i < hives->n; i++) {
		const char *source = thehive_source(hives->list[i]);
		struct thehive_counters c;
		thehive_counters(hives->list[i], &c);
		const char *values[] = {source, NULL};
		metrics_add(page, METRIC_SOURCE_RECONCILED, (double)c.reconciled, values);
		metrics_add(page, METRIC_SOURCE_UP, c.up, values);
		metrics_add_count(page, METRIC_SOURCE_HOOKS, c.hooks, values);
		const struct {
			const char *state;
			uint64_t n;
		} cases[] = {
			{"denying", c.denying},
			{"no_response_action", c.none},
			{"unknown_response_action", c.unclear},
			{"with_refusals", c.cases_refused},
			{"pending", c.pending},
		};
		for (size_t j = 0; j < sizeof(cases) / sizeof(cases[0]); j++) {
			values[1] = cases[j].state;
			metrics_add_count(page, METRIC_SOURCE_CASES, cases[j].n, values);
		}
	}
}

// --- life

static void hives_free(struct thehives *hives)
{
	for (size_t i = 0; i < hives->n; i++)
		thehive_free(hives->list[i]);
	free(hives->list);
	*hives = (struct thehives){0};
}

// What the ledger then shows as gone: the claims of every other source of this kind.
static int sources_tell(struct control *control, const struct thehives *hives)
{
	const char **names = calloc(hives->n + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < hives->n; i++)
		names[i] = thehive_source(hives->list[i]);
	int error = ledger_sources_set(control->ledger, names, hives->n);
	free(names);
	return error;
}

// All that are configured, or none. What is wrong has been logged.
static int hives_make(struct control *control, struct thehives *ret_hives)
{
	const struct conf *conf = control->conf;
	struct thehives made = {.list = calloc(conf->n_thehive + 1, sizeof(*made.list))};
	int error = made.list ? 0 : -ENOMEM;
	for (size_t i = 0; !error && i < conf->n_thehive; i++) {
		char message[256] = "";
		error = thehive_create(
			control->base,
			&conf->thehive[i],
			control->ledger,
			control->protect,
			&made.list[i],
			message
		);
		if (error)
			log_error("%s", message);
		else
			made.n++;
	}
	if (!error) {
		error = sources_tell(control, &made);
		if (error)
			log_error(
				"the ledger's sources could not be written: %s", strerror(-error)
			);
	}
	if (error)
		hives_free(&made);
	else
		*ret_hives = made;
	return error;
}

static void clients_bring(struct control *control, const struct thehives *hives)
{
	for (size_t i = 0; i < hives->n; i++)
		metrics_client(
			control->metrics,
			thehive_source(hives->list[i]),
			thehive_client(hives->list[i], 0)
		);
}

int start_thehives(struct control *control)
{
	struct thehives *hives = calloc(1, sizeof(*hives));
	if (!hives)
		return -ENOMEM;
	control->thehives = hives;
	int error = hives_make(control, hives);
	if (error)
		return error;
	error = http_server_routes(control->server, thehives_routes, thehives_n_routes, hives);
	if (error) {
		log_error("routes of webhooks: %s", strerror(-error));
		return error;
	}
	metrics_collect(control->metrics, metrics_come, hives);
	clients_bring(control, hives);
	return 0;
}

void stop_thehives(struct control *control)
{
	struct thehives *hives = control->thehives;
	if (hives)
		hives_free(hives);
	free(hives);
	control->thehives = NULL;
}

// Each is made anew, with its key read again, and begins with a full listing, as at a start: what
// was under way is found by it.
void reload_thehives(struct control *control, const struct conf *old)
{
	(void)old;
	struct thehives made, *hives = control->thehives;
	if (hives_make(control, &made)) {
		log_error("control.thehive: not taken, what runs stays");
		return;
	}
	for (size_t i = 0; i < hives->n; i++)
		metrics_client_forget(control->metrics, thehive_client(hives->list[i], 0));
	hives_free(hives);
	*hives = made;
	clients_bring(control, hives);
	log_notice("control.thehive: %zu, all is read again", hives->n);
}
