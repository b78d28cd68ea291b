// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehives.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/http_caller.h"
#include "control/ledger.h"
#include "control/log.h"
#include "control/metrics.h"
#include "control/roles.h"
#include "control/sources/thehive.h"
#include "control/sources/thehive_setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct thehives {
	struct control *control;
	size_t n; // 0 on a follower
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

// By the configuration: a follower's instances do not run. NULL: the request is answered.
static const struct conf_thehive *
instance_find(struct thehives *hives, struct http_request *request, const char *named)
{
	const struct conf *conf = hives->control->conf;
	const struct conf_thehive *found = NULL;
	char token[64];
	bool bound = http_caller_source(http_request_caller(request), "thehive", token);
	if (named && bound && strcmp(named, token) != 0) {
		http_answer_error(
			request, 403, "the token belongs to another instance of TheHive", NULL
		);
		return NULL;
	}
	const char *name = named ? named : bound ? token : NULL;
	for (size_t i = 0; i < conf->n_thehive && !found; i++)
		if (name ? strcmp(conf->thehive[i].name, name) == 0 : conf->n_thehive == 1)
			found = &conf->thehive[i];
	if (!found)
		http_answer_error(
			request,
			404,
			"no such instance of TheHive",
			"name it behind the path: /NAME, as in control.thehive[].name"
		);
	return found;
}

static void hook_take(struct thehives *hives, struct http_request *request, const char *named)
{
	const struct conf_thehive *conf = instance_find(hives, request, named);
	if (!conf)
		return;
	struct thehive *hive = thehives_find(hives, conf->name);
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
		if (hive)
			thehive_hook_bad(hive);
		http_answer_error(request, 400, reason, NULL);
	} else {
		// The answer first: whoever waits for it may send the event once more.
		http_answer_json(request, 200, json_pack("{s:s}", "case", hint.case_id));
		if (hive)
			thehive_hint(hive, &hint);
		else
			roles_hint(hives->control, conf->name, &hint);
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

static void setup_take(struct thehives *hives, struct http_request *request, const char *named)
{
	const struct conf_thehive *conf = instance_find(hives, request, named);
	struct thehive *hive = conf ? thehives_find(hives, conf->name) : NULL;
	if (hive)
		thehive_setup(hive, request);
	else if (conf)
		roles_refuse(hives->control, request);
}

static void setup_come(void *ctx, struct http_request *request)
{
	setup_take(ctx, request, NULL);
}

static void setup_named_come(void *ctx, struct http_request *request)
{
	setup_take(ctx, request, http_request_rest(request));
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
	*hives = (struct thehives){.control = hives->control};
}

// What the ledger then shows as gone: the claims of every other source of this kind.
static int sources_tell(struct control *control)
{
	const struct conf *conf = control->conf;
	const char **names = calloc(conf->n_thehive + 1, sizeof(*names));
	char(*texts)[80] = calloc(conf->n_thehive + 1, sizeof(*texts));
	int error = names && texts ? 0 : -ENOMEM;
	for (size_t i = 0; !error && i < conf->n_thehive; i++) {
		snprintf(texts[i], sizeof(texts[i]), "thehive:%.60s", conf->thehive[i].name);
		names[i] = texts[i];
	}
	if (!error)
		error = ledger_sources_set(control->ledger, names, conf->n_thehive);
	free(names);
	free(texts);
	return error;
}

// All that are configured, or none; on a follower none. What is wrong has been logged.
static int hives_make(struct control *control, struct thehives *ret_hives)
{
	const struct conf *conf = control->conf;
	size_t n = control_leads(control) ? conf->n_thehive : 0;
	struct thehives made = {.control = control, .list = calloc(n + 1, sizeof(*made.list))};
	int error = made.list ? 0 : -ENOMEM;
	for (size_t i = 0; !error && i < n; i++) {
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
		error = sources_tell(control);
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
	hives->control = control;
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
static int hives_renew(struct control *control)
{
	struct thehives made, *hives = control->thehives;
	int error = hives_make(control, &made);
	if (error)
		return error;
	for (size_t i = 0; i < made.n; i++)
		thehive_anew(made.list[i]);
	for (size_t i = 0; i < hives->n; i++)
		metrics_client_forget(control->metrics, thehive_client(hives->list[i], 0));
	hives_free(hives);
	*hives = made;
	clients_bring(control, hives);
	return 0;
}

void reload_thehives(struct control *control, const struct conf *old)
{
	(void)old;
	if (hives_renew(control))
		log_error("control.thehive: not taken, what runs stays");
	else
		log_notice("control.thehive: %zu, all is read again", control->thehives->n);
}

void role_thehives(struct control *control)
{
	if (hives_renew(control))
		log_error("control.thehive: cannot be read, cases are not followed");
}
