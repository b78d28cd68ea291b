// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive_query.h"

#include "control/conf.h"

#include <jansson.h>

#include <stdbool.h>

static json_t *words(char *const *list, size_t n)
{
	json_t *array = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_string(list[i]));
	return array;
}

static json_t *condition(const char *operator, const char * field, json_t *value)
{
	return json_pack("{s:{s:s,s:o}}", operator, "_field", field, "_value", value);
}

static json_t *one_of(const char *field, json_t *values)
{
	return json_pack("{s:{s:s,s:o}}", "_in", "_field", field, "_values", values);
}

static json_t *since(const char *field, int64_t ms)
{
	return condition("_gte", field, json_integer(ms));
}

static json_t *filter(json_t *inner)
{
	json_object_set_new(inner, "_name", json_string("filter"));
	return inner;
}

static json_t *sorted(const char *field)
{
	return json_pack("{s:s,s:[{s:s}]}", "_name", "sort", "_fields", field, "asc");
}

static json_t *page(size_t from, size_t size)
{
	return json_pack(
		"{s:s,s:I,s:I}",
		"_name",
		"page",
		"from",
		(json_int_t)from,
		"to",
		(json_int_t)(from + size)
	);
}

// With how many there are in all.
static json_t *page_total(size_t from, size_t size)
{
	json_t *step = page(from, size);
	json_object_set_new(step, "extraData", json_pack("[s]", "total"));
	return step;
}

// Takes the steps. Descriptions may be 1 MiB each; only from 5 on can they be left out.
static char *body(const struct hive_rules *rules, bool cases, json_t *steps)
{
	json_t *whole = json_pack("{s:o}", "query", steps);
	if (whole && cases && rules->version.major >= 5)
		json_object_set_new(
			whole, "excludeFields", json_pack("[s,s]", "description", "summary")
		);
	char *text = whole ? json_dumps(whole, JSON_COMPACT) : NULL;
	json_decref(whole);
	return text;
}

static json_t *types_of(const struct conf_thehive *conf)
{
	json_t *types = words(conf->data_types, conf->n_data_types);
	for (size_t i = 0; i < conf->n_types; i++)
		json_array_append_new(types, json_string(conf->types[i].type));
	return types;
}

char *hive_query_observables(const struct hive_rules *rules, const char *case_id, size_t from)
{
	return body(
		rules,
		false,
		json_pack(
			"[{s:s,s:s},{s:s},o,o,o]",
			"_name",
			"getCase",
			"idOrName",
			case_id,
			"_name",
			"observables",
			filter(one_of("dataType", types_of(rules->conf))),
			sorted("_createdAt"),
			page_total(from, HIVE_OBSERVABLES_PAGE)
		)
	);
}

char *hive_query_parent(const struct hive_rules *rules, const char *observable)
{
	return body(
		rules,
		true,
		json_pack(
			"[{s:s,s:s},{s:s},{s:s,s:i,s:i}]",
			"_name",
			"getObservable",
			"idOrName",
			observable,
			"_name",
			"case",
			"_name",
			"page",
			"from",
			0,
			"to",
			1
		)
	);
}

// Cases that never changed have no time of it: where those are sorted is not known.
char *hive_query_newest(const struct hive_rules *rules, bool cases)
{
	const char *field = cases ? "_updatedAt" : "_createdAt";
	return body(
		rules,
		cases,
		json_pack(
			"[{s:s},o,{s:s,s:[{s:s}]},{s:s,s:i,s:i}]",
			"_name",
			cases ? "listCase" : "listObservable",
			filter(since(field, 1)),
			"_name",
			"sort",
			"_fields",
			field,
			"desc",
			"_name",
			"page",
			"from",
			0,
			"to",
			1
		)
	);
}

char *hive_query_changed(const struct hive_rules *rules, int64_t since_ms, size_t from, size_t size)
{
	return body(
		rules,
		true,
		json_pack(
			"[{s:s},o,o,o]",
			"_name",
			"listCase",
			filter(since("_updatedAt", since_ms)),
			sorted("_updatedAt"),
			page(from, size)
		)
	);
}

char *hive_query_observed(
	const struct hive_rules *rules, int64_t since_ms, size_t from, size_t size, bool cases
)
{
	json_t *either = json_pack(
		"{s:[o,o]}", "_or", since("_createdAt", since_ms), since("_updatedAt", since_ms)
	);
	json_t *steps = json_pack("[{s:s},o]", "_name", "listObservable", filter(either));
	if (cases)
		json_array_append_new(steps, json_pack("{s:s}", "_name", "case"));
	json_array_append_new(steps, sorted("_createdAt"));
	json_array_append_new(steps, page(from, size));
	return body(rules, cases, steps);
}

static void tag_add(json_t *exact, json_t *any, const char *prefix, const char *word)
{
	json_array_append_new(exact, json_sprintf("%s:%s", prefix, word));
	for (const char *between = ": "; *between; between++)
		json_array_append_new(
			any,
			condition(
				"_startsWith",
				"tags",
				json_sprintf("%s:%s%c", prefix, word, *between)
			)
		);
}

char *hive_query_tagged(const struct hive_rules *rules, bool durations, size_t from, size_t size)
{
	const struct conf_thehive *conf = rules->conf;
	json_t *exact = json_array(), *any = json_array();
	tag_add(exact, any, conf->response_tag, "enforce");
	tag_add(exact, any, conf->response_tag, "monitor");
	for (size_t i = 0; i < conf->n_responses; i++)
		if (conf->responses[i].action != CONF_ACTION_NONE)
			tag_add(exact, any, conf->response_tag, conf->responses[i].value);
	json_array_append_new(
		exact, json_sprintf("%s:%s", conf->response_tag, HIVE_FALSE_POSITIVE)
	);
	json_t *which = one_of("tags", exact);
	if (durations) {
		json_array_insert_new(any, 0, which);
		which = json_pack("{s:O}", "_or", any);
	}
	json_decref(any);
	return body(
		rules,
		true,
		json_pack(
			"[{s:s},o,{s:s},o,o]",
			"_name",
			"listObservable",
			filter(which),
			"_name",
			"case",
			sorted("_createdAt"),
			page(from, size)
		)
	);
}

char *
hive_query_closed(const struct hive_rules *rules, int64_t made_since_ms, size_t from, size_t size)
{
	json_t *all = json_pack("[o]", since("_createdAt", made_since_ms));
	if (rules->version.major >= 5) {
		const struct conf_thehive *conf = rules->conf;
		json_array_append_new(all, condition("_is", "stage", json_string("Closed")));
		json_array_append_new(
			all, one_of("status", words(conf->true_positive, conf->n_true_positive))
		);
	} else {
		json_array_append_new(all, condition("_is", "status", json_string("Resolved")));
		json_array_append_new(
			all, condition("_is", "resolutionStatus", json_string("TruePositive"))
		);
	}
	return body(
		rules,
		true,
		json_pack(
			"[{s:s},o,o,o]",
			"_name",
			"listCase",
			filter(json_pack("{s:o}", "_and", all)),
			sorted("_createdAt"),
			page(from, size)
		)
	);
}

// Takes the ids.
static json_t *any_of(json_t *ids)
{
	json_t *any = json_array();
	size_t i;
	json_t *id;
	json_array_foreach(ids, i, id) json_array_append_new(any, json_pack("{s:O}", "_id", id));
	json_decref(ids);
	return filter(json_pack("{s:o}", "_or", any));
}

char *hive_query_cases(const struct hive_rules *rules, json_t *ids, size_t size)
{
	return body(
		rules,
		true,
		json_pack(
			"[{s:s},o,o,o]",
			"_name",
			"listCase",
			any_of(ids),
			sorted("_createdAt"),
			page(0, size)
		)
	);
}

char *
hive_query_observables_of(const struct hive_rules *rules, json_t *cases, size_t from, size_t size)
{
	return body(
		rules,
		false,
		json_pack(
			"[{s:s},o,{s:s},o,o,o]",
			"_name",
			"listCase",
			any_of(cases),
			"_name",
			"observables",
			filter(one_of("dataType", types_of(rules->conf))),
			sorted("_createdAt"),
			page(from, size)
		)
	);
}
