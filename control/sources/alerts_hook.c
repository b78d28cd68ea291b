// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// POST /v1/hooks/alerts: whose alerts, how many, and into the ledger before the answer.

#include "control/sources/alerts_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct alert_arrival {
	struct alerts *alerts; // NULL: it is gone, the request is answered
	struct http_request *request; // NULL: another gateway's
	size_t asks; // of a follower, that are not committed yet
	int error; // of one of them
	size_t taken, duplicates;
	int status; // 200, or why not all were taken
	LIST_ENTRY(alert_arrival) link;
	size_t n;
	struct alert_row *rows[];
};

// --- whose they are

// The source's index, or -1 and the request answered.
static ssize_t source_find(struct alerts *alerts, struct http_request *request, const char *named)
{
	const struct http_caller *caller = http_request_caller(request);
	const struct conf_alerts *conf = alerts->conf;
	char token[64];
	bool bound = http_caller_source(caller, "alerts", token);
	if (!conf) {
		http_answer_error(
			request, 404, "no alerts are taken", "configure control.alerts.sources"
		);
		return -1;
	}
	if (bound && named && strcmp(named, token) != 0) {
		http_answer_error(request, 403, "the token belongs to another source", NULL);
		return -1;
	}
	const char *name = named       ? named
		: bound		       ? token
		: conf->n_sources == 1 ? conf->sources[0].name
				       : "";
	for (size_t i = 0; i < conf->n_sources; i++) {
		const struct conf_alert_source *source = &conf->sources[i];
		if (strcmp(source->name, name) != 0)
			continue;
		bool may = bound || caller->role >= ROLE_OPERATOR
			|| (!source->token_file && strncmp(caller->name, "token thehive:", 14) != 0
			);
		if (may)
			return (ssize_t)i;
		http_answer_error(
			request, 403, "this source has a token of its own", "use that token"
		);
		return -1;
	}
	http_answer_error(
		request,
		404,
		"no such source of alerts",
		"post to /v1/hooks/alerts/NAME, with the name in control.alerts.sources[].name"
	);
	return -1;
}

// As many alerts in a minute as are configured, and as many at once.
static bool bucket_take(struct alert_bucket *bucket, double per_minute, size_t n)
{
	int64_t now = alerts_clock_ms();
	double more = bucket->filled_ms ? (double)(now - bucket->filled_ms) * per_minute / 60000
					: per_minute;
	bucket->filled_ms = now;
	bucket->level = bucket->level + more > per_minute ? per_minute : bucket->level + more;
	if (bucket->level < (double)n)
		return false;
	bucket->level -= (double)n;
	return true;
}

// --- into the ledger

static void arrival_answer(struct alert_arrival *arrival, int error)
{
	struct alerts *alerts = arrival->alerts;
	char text[256];
	if (error) {
		snprintf(text, sizeof(text), "nothing is stored: %s", strerror(-error));
		http_answer_error(
			arrival->request,
			error == -ENOSPC || error == -EDQUOT ? 507 : 500,
			text,
			"make room on the ledger's disk; send it again"
		);
	} else if (arrival->status != 200) {
		snprintf(
			text,
			sizeof(text),
			"%zu of the alerts are stored, no more: %zu wait for TheHive%s%s",
			arrival->taken,
			alerts->n_queue,
			alerts->trouble[0] ? ", " : "",
			alerts->trouble
		);
		http_answer_error(
			arrival->request,
			arrival->status,
			text,
			"mend TheHive, or raise control.alerts.max_pending; send it again, what is "
			"stored is not doubled"
		);
	} else {
		http_answer_json(
			arrival->request,
			200,
			json_pack(
				"{s:I, s:I}",
				"taken",
				(json_int_t)arrival->taken,
				"duplicates",
				(json_int_t)arrival->duplicates
			)
		);
	}
}

static void arrival_end(struct alert_arrival *arrival, int error)
{
	struct alerts *alerts = arrival->alerts;
	if (!error) {
		alerts->counters.taken += arrival->taken;
		alerts->counters.duplicates += arrival->duplicates;
	}
	if (arrival->request)
		arrival_answer(arrival, error);
	LIST_REMOVE(arrival, link);
	free(arrival);
}

static void arrival_committed(
	void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n
)
{
	(void)revision;
	(void)results;
	(void)n;
	struct alert_arrival *arrival = ctx;
	struct alerts *alerts = arrival->alerts;
	if (!alerts) {
		free(arrival);
		return;
	}
	for (size_t i = 0; i < arrival->n; i++)
		if (error)
			alerts_queue_remove(alerts, arrival->rows[i], false);
		else
			arrival->rows[i]->committed = true;
	arrival_end(arrival, error);
	alerts_go_soon(alerts);
}

// Is it here already, waiting or done?
static bool is_known(struct alerts *alerts, const json_t *alert, const char *key)
{
	const char *digest = json_string_value(json_object_get(alert, "digest"));
	if (alerts_queue_find(alerts, key, digest))
		return true;
	json_t *known = alerts_recall(alerts, "ref", key);
	const char *old = json_string_value(json_object_get(known, "digest"));
	// What TheHive refused may be sent again: perhaps it takes it now.
	bool same = old && strcmp(old, digest) == 0 && !json_object_get(known, "refused");
	json_decref(known);
	return same;
}

// The arguments' NULL: no memory, and the request, where there is one, is answered.
static struct alert_arrival *
arrival_begin(struct alerts *alerts, struct http_request *request, size_t n)
{
	struct alert_arrival *arrival
		= calloc(1, sizeof(*arrival) + n * sizeof(struct alert_row *));
	if (!arrival) {
		if (request)
			http_answer_error(request, 500, "no memory", NULL);
		return NULL;
	}
	arrival->alerts = alerts;
	arrival->request = request;
	arrival->status = 200;
	LIST_INSERT_HEAD(&alerts->arrivals, arrival, link);
	return arrival;
}

static void arrival_commit(struct alert_arrival *arrival)
{
	// Nothing but the commit: of these, and of those that were sent a moment ago.
	const struct submit nothing = {.actor = {.name = "alerts", .reason = ""}};
	ledger_submit(arrival->alerts->control->ledger, &nothing, arrival_committed, arrival);
}

static void alerts_store(struct alerts *alerts, struct http_request *request, const json_t *list)
{
	struct alert_arrival *arrival = arrival_begin(alerts, request, json_array_size(list));
	json_t *alert;
	size_t i;
	if (!arrival)
		return;
	json_array_foreach(list, i, alert)
	{
		char key[ALERT_KEY_MAX];
		alert_key_of(alert, key);
		if (is_known(alerts, alert, key)) {
			arrival->duplicates++;
			continue;
		}
		if (alerts_queue_full(alerts)
		    || alerts_queue_add(alerts, alert, key, &arrival->rows[arrival->n]) < 0) {
			alerts->counters.no_room++;
			arrival->status = 503;
			break;
		}
		arrival->n++;
		arrival->taken++;
	}
	arrival_commit(arrival);
}

// --- in a fleet: the leader makes them

static void ask_committed(void *ctx, int error, const char *message)
{
	(void)message;
	struct alert_arrival *arrival = ctx;
	if (error)
		arrival->error = error;
	if (--arrival->asks > 0)
		return;
	if (arrival->alerts)
		arrival_end(arrival, arrival->error);
	else
		free(arrival);
}

// Committed here before the answer; the ledger sends it up until the leader has it.
static void alerts_ask(struct alerts *alerts, struct http_request *request, const json_t *list)
{
	struct alert_arrival *arrival = arrival_begin(alerts, request, 0);
	json_t *alert;
	size_t i;
	if (!arrival)
		return;
	arrival->asks = 1; // this one: none of them ends it before all are asked
	json_array_foreach(list, i, alert)
	{
		char key[ALERT_KEY_MAX];
		alert_key_of(alert, key);
		if (is_known(alerts, alert, key)) {
			arrival->duplicates++;
			continue;
		}
		json_t *ask = json_pack("{s:s, s:O}", "op", "alerts", "alert", alert);
		arrival->taken++;
		arrival->asks++;
		if (ask)
			ledger_fleet_ask(alerts->control->ledger, ask, ask_committed, arrival);
		else
			ask_committed(arrival, -ENOMEM, "");
		json_decref(ask);
	}
	ask_committed(arrival, 0, "");
}

int alerts_asked(void *ctx, const char *gateway, const json_t *ask, char ret_message[192])
{
	(void)gateway;
	struct alerts *alerts = ctx;
	json_t *alert = json_object_get(ask, "alert");
	const char *op = json_string_value(json_object_get(ask, "op"));
	char key[ALERT_KEY_MAX];
	if (!op || strcmp(op, "alerts") != 0 || !json_is_object(alert)) {
		snprintf(ret_message, 192, "not understood");
		return -EBADMSG;
	}
	if (!alerts->client) {
		snprintf(ret_message, 192, "no alerts are configured at the leader");
		return -ENOENT;
	}
	alert_key_of(alert, key);
	if (is_known(alerts, alert, key)) {
		alerts->counters.duplicates++;
		return 0;
	}
	struct alert_arrival *arrival = arrival_begin(alerts, NULL, 1);
	if (!arrival)
		return -ENOMEM;
	// The sender has its answer: max_pending is no reason to lose it.
	int error = alerts_queue_add(alerts, alert, key, &arrival->rows[0]);
	if (error) {
		snprintf(ret_message, 192, "not stored: %s", strerror(-error));
		LIST_REMOVE(arrival, link);
		free(arrival);
		return error;
	}
	arrival->n = arrival->taken = 1;
	arrival_commit(arrival);
	return 0;
}

// --- the route

static void hook_take(struct alerts *alerts, struct http_request *request, const char *named)
{
	ssize_t index = source_find(alerts, request, named);
	if (index < 0)
		return;
	const struct conf_alert_source *source = &alerts->conf->sources[index];
	const struct alert_rules rules = {
		.source = source->name,
		.reserved_tag = alerts->hive->response_tag,
		.tags = source->tags,
		.n_tags = source->n_tags,
		.tlp = source->tlp,
		.pap = source->pap,
		.now_ms = (int64_t)time(NULL) * 1000,
	};
	json_t *body = http_request_json(request), *list = NULL;
	if (!body) {
		alerts->counters.bad++;
		return;
	}
	char message[ALERT_MESSAGE_MAX] = "";
	int error = alerts_parse(&rules, body, &list, message);
	json_decref(body);
	if (error) {
		alerts->counters.bad++;
		http_answer_error(
			request,
			error == -EINVAL ? 400 : 500,
			message,
			"the schema stands in docs/api.md; nothing is stored"
		);
	} else if (!bucket_take(
			   &alerts->buckets[index], source->per_minute, json_array_size(list)
		   )) {
		alerts->counters.limited++;
		http_answer_error(
			request,
			429,
			"more alerts than this source may send in a minute",
			"send them later, or raise control.alerts.sources[].per_minute"
		);
	} else if (control_leads(alerts->control)) {
		alerts_store(alerts, request, list);
	} else {
		alerts_ask(alerts, request, list);
	}
	json_decref(list);
}

static void hook_come(void *ctx, struct http_request *request)
{
	hook_take(ctx, request, NULL);
}

static void hook_named_come(void *ctx, struct http_request *request)
{
	hook_take(ctx, request, http_request_rest(request));
}

static const struct http_route routes[] = {
	{"POST",
	 "/v1/hooks/alerts",
	 ROLE_HOOK,
	 ALERTS_BODY_MAX,
	 hook_come,
	 "alerts that become cases: our schema, or F5 AIP's"},
	{"POST",
	 "/v1/hooks/alerts/{}",
	 ROLE_HOOK,
	 ALERTS_BODY_MAX,
	 hook_named_come,
	 "the same, of the source named"},
};

int alerts_hook_routes(struct alerts *alerts, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), alerts);
}

void alerts_hook_end(struct alerts *alerts)
{
	struct alert_arrival *arrival;
	while ((arrival = LIST_FIRST(&alerts->arrivals))) {
		if (arrival->request)
			http_answer_error(arrival->request, 503, "stopping", "send it again");
		LIST_REMOVE(arrival, link);
		arrival->alerts = NULL;
	}
}
