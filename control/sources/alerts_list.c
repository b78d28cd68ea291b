// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Alerts that lie new in TheHive, of the sources that are to be promoted. What an analyst has
// touched is left alone.

#include "control/sources/alerts_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE 100
#define FIRST_MS (24 * 3600 * 1000) // at the first start, older alerts are left alone
#define OVERLAP_MS (600 * 1000) // clocks, and what is indexed late

static int64_t cursor_get(struct alerts *alerts)
{
	json_t *value = NULL;
	int64_t ms = (int64_t)time(NULL) * 1000 - FIRST_MS;
	if (ledger_note_get(alerts->control->ledger, ALERTS_OWNER, "cursor", &value) == 0)
		ms = json_integer_value(value);
	else
		ledger_note_set(
			alerts->control->ledger, ALERTS_OWNER, "cursor", value = json_integer(ms)
		);
	json_decref(value);
	return ms;
}

static void cursor_set(struct alerts *alerts, int64_t ms)
{
	if (ms - OVERLAP_MS <= cursor_get(alerts))
		return;
	json_t *value = json_integer(ms - OVERLAP_MS);
	ledger_note_set(alerts->control->ledger, ALERTS_OWNER, "cursor", value);
	json_decref(value);
}

static json_t *condition(const char *field, json_t *value)
{
	return json_pack("{s:{s:s, s:o}}", "_is", "_field", field, "_value", value);
}

static char *query_make(struct alerts *alerts)
{
	const struct conf_alerts *conf = alerts->conf;
	json_t *sources = json_array();
	for (size_t i = 0; i < conf->n_promote; i++)
		json_array_append_new(sources, json_string(conf->promote[i]));
	json_t *all = json_pack(
		"[{s:{s:s, s:o}}, {s:{s:s, s:I}}]",
		"_in",
		"_field",
		"source",
		"_values",
		sources,
		"_gte",
		"_field",
		"_createdAt",
		"_value",
		(json_int_t)cursor_get(alerts)
	);
	if (alerts->version.major >= 5) {
		json_array_append_new(all, condition("stage", json_string("New")));
	} else {
		json_array_append_new(all, condition("read", json_false()));
		json_array_append_new(all, condition("imported", json_false()));
	}
	json_t *body = json_pack(
		"{s:[{s:s}, {s:s, s:o}, {s:s, s:[{s:s}]}, {s:s, s:i, s:i}]}",
		"query",
		"_name",
		"listAlert",
		"_name",
		"filter",
		"_and",
		all,
		"_name",
		"sort",
		"_fields",
		"_createdAt",
		"asc",
		"_name",
		"page",
		"from",
		0,
		"to",
		PAGE
	);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	return text;
}

static bool is_done(struct alerts *alerts, const json_t *alert)
{
	char key[ALERT_KEY_MAX];
	alert_key_of(alert, key);
	json_t *known = alerts_recall(alerts, "ref", key);
	json_decref(known);
	return known != NULL;
}

// As alerts_parse.h has it, as far as it is needed; NULL: not to be promoted.
static json_t *alert_of(struct alerts *alerts, const json_t *theirs)
{
	const char *words[5] = {"_id", "type", "source", "sourceRef", "title"};
	for (size_t i = 0; i < 5; i++)
		words[i] = json_string_value(json_object_get(theirs, words[i]));
	if (!words[0] || !hive_id_valid(words[0]) || !words[1] || !words[2] || !words[3]
	    || !words[4] || strlen(words[3]) > 128)
		return NULL;
	json_t *alert = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
		"id",
		words[0],
		"type",
		words[1],
		"source",
		words[2],
		"ref",
		words[3],
		"title",
		words[4],
		"origin",
		words[4],
		"digest",
		""
	);
	if (alert && is_done(alerts, alert)) {
		json_decref(alert);
		return NULL;
	}
	return alert;
}

static void list_again(struct alerts *alerts, bool soon)
{
	const struct timeval wait = {.tv_sec = soon ? 1 : alerts->conf->promote_s};
	evtimer_add(alerts->list_timer, &wait);
}

static void list_come(void *ctx, const struct http_answer *answer)
{
	struct alerts *alerts = ctx;
	alerts->listing = false;
	json_t *page = answer->error || answer->status != 200
		? NULL
		: json_loadb(answer->body, answer->body_len, 0, NULL);
	if (!json_is_array(page)) {
		json_decref(page);
		alerts_trouble(
			alerts,
			"listing of alerts",
			answer,
			answer->error || answer->status != 200 ? NULL : "no JSON list, or cut short"
		);
		list_again(alerts, false);
		return;
	}
	alerts_well(alerts);
	json_t *list = json_array(), *one;
	int64_t newest = 0;
	size_t i;
	json_array_foreach(page, i, one)
	{
		json_t *alert = alert_of(alerts, one);
		int64_t made = json_integer_value(json_object_get(one, "_createdAt"));
		newest = made > newest ? made : newest;
		if (alert)
			json_array_append_new(list, alert);
	}
	// The next begins there only when these have been worked on: an end in between loses none.
	if (json_array_size(list) == 0)
		cursor_set(alerts, newest);
	bool more = json_array_size(page) == PAGE && json_array_size(list) > 0;
	json_decref(page);
	json_decref(alerts->listed);
	alerts->listed = list;
	alerts->at_listed = 0;
	list_again(alerts, more);
	alerts_go_soon(alerts);
}

static void list_timer_come(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct alerts *alerts = ctx;
	alerts_list_start(alerts);
}

void alerts_list_start(struct alerts *alerts)
{
	if (!alerts->conf || alerts->conf->n_promote == 0 || alerts->listing
	    || alerts->version.major == 0)
		return;
	bool busy = alerts->at_listed < json_array_size(alerts->listed);
	char *body = busy ? NULL : query_make(alerts);
	if (body
	    && http_client_request(
		       alerts->client,
		       "POST",
		       "/api/v1/query?name=stanch-alerts",
		       body,
		       strlen(body),
		       list_come,
		       alerts
	       ) == 0)
		alerts->listing = true;
	else
		list_again(alerts, busy);
	free(body);
}

int alerts_list_init(struct alerts *alerts)
{
	alerts->list_timer = evtimer_new(alerts->control->base, list_timer_come, alerts);
	return alerts->list_timer ? 0 : -ENOMEM;
}
