// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the source tells of itself, for status.

#include "control/sources/thehive_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define REFUSED_SHOWN 20 // cases

// One line for people.
static void
summary_print(const struct thehive *hive, const struct thehive_counters *c, char *text, size_t size)
{
	char age[48] = "not listed yet";
	if (c->reconciled)
		snprintf(age, sizeof(age), "listed %" PRId64 " s ago", time(NULL) - c->reconciled);
	snprintf(
		text,
		size,
		"TheHive %s, %s, %" PRIu64 " cases deny, %" PRIu64
		" true positives without a response action, %" PRIu64 " with refusals%s%s",
		hive->version[0] ? hive->version : "(version not known)",
		age,
		c->denying,
		c->none,
		c->cases_refused,
		hive->trouble[0] ? "; " : "",
		hive->trouble
	);
}

static json_t *cases_json(const struct thehive_counters *c)
{
	const struct {
		const char *name;
		uint64_t n;
	} rows[] = {
		{"denying", c->denying},
		{"no_response_action", c->none},
		{"unknown_response_action", c->unclear},
		{"with_refusals", c->cases_refused},
		{"pending", c->pending},
	};
	json_t *object = json_object();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_object_set_new(object, rows[i].name, json_integer((json_int_t)rows[i].n));
	return object;
}

static json_t *trouble_json(const struct thehive *hive)
{
	if (!hive->trouble[0])
		return json_null();
	return json_pack(
		"{s:s,s:I}", "text", hive->trouble, "when", (json_int_t)hive->trouble_when
	);
}

json_t *thehive_status(const struct thehive *hive)
{
	struct thehive_counters c;
	thehive_counters(hive, &c);
	char summary[512];
	summary_print(hive, &c, summary, sizeof(summary));
	const struct {
		const char *name;
		json_t *value;
	} rows[] = {
		{"name", json_string(hive->source)},
		{"state",
		 json_string(
			 c.up			    ? "up"
				 : hive->trouble[0] ? "down"
						    : "starting"
		 )},
		{"why", json_string(summary)},
		{"url", json_string(hive->conf->url)},
		{"up", json_boolean(c.up)},
		{"version", json_string(hive->version)},
		{"cases", cases_json(&c)},
		{"hooks", json_integer((json_int_t)c.hooks)},
		{"hooks_malformed", json_integer((json_int_t)c.hooks_bad)},
		{"reads", json_integer((json_int_t)c.reads)},
		{"failures", json_integer((json_int_t)c.read_failures)},
		{"listings", json_integer((json_int_t)c.listings)},
		{"reconciled", c.reconciled ? json_integer(c.reconciled) : json_null()},
		{"reconcile_age_s",
		 c.reconciled ? json_integer(time(NULL) - c.reconciled) : json_null()},
		{"last_error", trouble_json(hive)},
		{"refused", thehive_refusals(hive, REFUSED_SHOWN)},
	};
	json_t *status = json_object();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_object_set_new(status, rows[i].name, rows[i].value);
	return status;
}

struct refusals {
	json_t *list;
	size_t max;
};

static bool refusal_take(void *ctx, const char *key, json_t *value)
{
	struct refusals *refusals = ctx;
	if (json_array_size(refusals->list) >= refusals->max)
		return false;
	json_t *one = json_copy(value);
	json_object_set_new(one, "id", json_string(key + strlen("case/")));
	json_array_append_new(refusals->list, one);
	return true;
}

json_t *thehive_refusals(const struct thehive *hive, size_t max)
{
	struct refusals refusals = {.list = json_array(), .max = max};
	ledger_notes(hive->ledger, hive->source, "case/", refusal_take, &refusals);
	return refusals.list;
}
