// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/redis_internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct redis_list *source_of(const struct redis_lists *r, const char *name)
{
	for (size_t i = 0; r && i < r->n; i++)
		for (size_t n = 0; n < r->instances[i].n; n++)
			if (strcmp(r->instances[i].lists[n].conf->name, name) == 0)
				return &r->instances[i].lists[n];
	return NULL;
}

static const char *why_of(const struct redis_list *l, bool fleet)
{
	if (fleet)
		return "";
	if (!l)
		return "source gone: no configuration names it";
	if (l->why[0])
		return l->why;
	return redis_conn_ready(l->instance->commands) ? "" : l->instance->why;
}

static const char *state_of(const struct redis_list *l, const struct list_status *s, bool fleet)
{
	if (fleet)
		return "fleet";
	if (!l)
		return "source gone";
	if (!redis_conn_ready(l->instance->commands))
		return "not connected";
	if (l->missing)
		return "missing";
	if (s->reading)
		return s->total ? "comparing" : "reading";
	if (s->last.held_adds || s->last.held_removals)
		return "held";
	return l->why[0] ? "failing" : "good";
}

static json_t *samples_json(const struct list_result *last)
{
	json_t *samples = json_array();

	for (size_t i = 0; i < LIST_SAMPLES && last->samples[i][0]; i++) {
		json_t *text = json_string(last->samples[i]);

		json_array_append_new(samples, text ? text : json_string("(not UTF-8)"));
	}
	return samples;
}

// `fleet`: this gateway follows, its lists are what the leader reads.
static json_t *list_json(const struct redis_list *l, const struct list_status *s, bool fleet)
{
	int64_t age = l && l->read_ms ? (redis_now_ms() - l->read_ms) / 1000 : -1;
	json_t *json = json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:o}",
		"name",
		s->name,
		"state",
		state_of(l, s, fleet),
		"members",
		(json_int_t)s->members,
		"peak",
		(json_int_t)s->peak,
		"synced",
		(json_int_t)s->synced,
		"why",
		why_of(l, fleet),
		"refused",
		(json_int_t)s->last.refused,
		"protected",
		(json_int_t)s->last.protected,
		"held_adds",
		(json_int_t)s->last.held_adds,
		"held_removals",
		(json_int_t)s->last.held_removals,
		"unconfirmed",
		(json_int_t)s->last.unconfirmed,
		"samples",
		samples_json(&s->last)
	);

	if (!json)
		return json_null();
	json_object_set_new(json, "braked", json_integer((json_int_t)s->braked));
	if (s->total)
		json_object_set_new(
			json,
			"progress",
			json_pack("[I, I]", (json_int_t)s->progress, (json_int_t)s->total)
		);
	if (!l)
		return json;
	json_object_set_new(json, "age", json_integer(age));
	json_object_set_new(json, "type", json_string(list_type_name(l->type)));
	json_object_set_new(json, "key", json_string(l->conf->key));
	json_object_set_new(json, "instance", json_string(l->instance->conf->name));
	json_object_set_new(json, "disagreed", json_integer((json_int_t)l->disagreed));
	json_object_set_new(json, "hints", json_integer((json_int_t)l->hints));
	json_object_set_new(json, "points", json_integer((json_int_t)l->points));
	return json;
}

json_t *redis_lists_json(const struct redis_lists *r, struct ledger *ledger)
{
	bool fleet = lists_fleet_follows(ledger_lists(ledger));
	json_t *array = json_array();
	struct list_status s;

	for (size_t i = 0; lists_status(ledger_lists(ledger), i, &s); i++) {
		const struct redis_list *l = fleet ? NULL : source_of(r, s.name);

		// Retired, and nothing left of it.
		if (l || s.members > 0)
			json_array_append_new(array, list_json(l, &s, fleet));
	}
	return array;
}

json_t *redis_lists_status(const struct redis_lists *r)
{
	json_t *array = json_array();

	for (size_t i = 0; r && i < r->n; i++) {
		const struct redis_instance *instance = &r->instances[i];
		bool up = redis_conn_ready(instance->commands);
		bool evicts = instance->policy[0] && strcmp(instance->policy, "noeviction") != 0;
		char why[200];

		snprintf(why, sizeof(why), "%s", up ? "" : instance->why);
		for (size_t n = 0; n < instance->n && !why[0]; n++)
			if (instance->lists[n].why[0])
				snprintf(
					why,
					sizeof(why),
					"list %.32s: %.150s",
					instance->lists[n].conf->name,
					instance->lists[n].why
				);
		if (!why[0] && evicts)
			snprintf(
				why,
				sizeof(why),
				"maxmemory-policy is %s: members may vanish; set noeviction",
				instance->policy
			);
		json_array_append_new(
			array,
			json_pack(
				"{s:s, s:s, s:s, s:b, s:s, s:i}",
				"name",
				instance->conf->name,
				"address",
				redis_conn_address(instance->commands),
				"state",
				up ? (why[0] ? "warning" : "good") : "down",
				"up",
				up,
				"why",
				why,
				"lists",
				(int)instance->n
			)
		);
	}
	return array;
}

void redis_lists_metrics(
	const struct redis_lists *r, struct ledger *ledger, struct metrics_page *page
)
{
	bool fleet = lists_fleet_follows(ledger_lists(ledger));
	struct list_status s;

	for (size_t i = 0; lists_status(ledger_lists(ledger), i, &s); i++) {
		const struct redis_list *l = fleet ? NULL : source_of(r, s.name);
		const char *name[] = {s.name};

		metrics_add_count(page, METRIC_LIST_MEMBERS, s.members, name);
		metrics_add_count(page, METRIC_LIST_SYNCED, (uint64_t)s.synced, name);
		metrics_add_count(
			page, METRIC_LIST_REFUSED, s.last.refused + s.last.protected, name
		);
		metrics_add_count(
			page, METRIC_LIST_HELD, s.last.held_adds + s.last.held_removals, name
		);
		metrics_add_count(
			page,
			METRIC_LIST_UP,
			fleet || (l && strcmp(state_of(l, &s, false), "good") == 0),
			name
		);
		if (l)
			metrics_add_count(page, METRIC_LIST_POINTS, l->points, name);
	}
}
