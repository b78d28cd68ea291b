// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_rules.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *rule_make(const char *name, const char *description)
{
	return json_pack(
		"{s:{s:s, s:s}, s:{}, s:{}, s:{s:s}}",
		"metadata",
		"name",
		name,
		"description",
		description,
		"deny",
		"all_sources",
		"advanced_action",
		"action",
		"LOG"
	);
}

static json_t *set_rule(const char *xc_namespace, const char *set)
{
	char name[96];
	json_t *rule;

	snprintf(name, sizeof(name), "deny-%s", set);
	rule = rule_make(name, "entries of cases and operators");
	json_object_set_new(
		rule,
		"destination_ip_prefix_set",
		json_pack(
			"{s:[{s:s, s:s, s:s}]}",
			"ref",
			"kind",
			"ip_prefix_set",
			"namespace",
			xc_namespace,
			"name",
			set
		)
	);
	json_object_set_new(rule, "all_traffic", json_object());
	return rule;
}

static const char *proto_name(const struct f5xc_key *key)
{
	return key->proto == IPPROTO_UDP ? "UDP" : "TCP";
}

static unsigned port_of(const struct f5xc_key *key)
{
	return (unsigned)key->port[0] << 8 | key->port[1];
}

static void prefix_text(const struct f5xc_key *key, char text[INDICATOR_TEXT_MAX])
{
	const struct indicator n = f5xc_key_indicator(key);
	const struct f5xc_prefix prefix = f5xc_prefix_of(&n);

	f5xc_prefix_print(&prefix, 4, text);
}

static json_t *port_rule(const struct f5xc_item *const *items, size_t n, unsigned number)
{
	const struct f5xc_key *key = &items[0]->key;
	const char *lower = key->proto == IPPROTO_UDP ? "udp" : "tcp";
	char name[64], port[8], description[96], text[INDICATOR_TEXT_MAX];
	json_t *prefixes = json_array(), *rule;

	snprintf(name, sizeof(name), "deny-%s-%u-%03u", lower, port_of(key), number);
	snprintf(port, sizeof(port), "%u", port_of(key));
	if (n == 1)
		snprintf(description, sizeof(description), "%s", items[0]->voice.description);
	else
		snprintf(description, sizeof(description), "%zu port entries", n);
	rule = rule_make(name, description);
	for (size_t i = 0; i < n; i++) {
		prefix_text(&items[i]->key, text);
		json_array_append_new(prefixes, json_string(text));
	}
	json_object_set_new(
		rule, "destination_prefix_list", json_pack("{s:o}", "prefixes", prefixes)
	);
	json_object_set_new(
		rule,
		"protocol_port_range",
		json_pack("{s:s, s:[s]}", "protocol", proto_name(key), "port_ranges", port)
	);
	return rule;
}

static int port_compare(const void *a, const void *b)
{
	const struct f5xc_item *const *x = a, *const *y = b;
	int by = (int)(*x)->key.proto - (int)(*y)->key.proto;

	if (by == 0)
		by = memcmp((*x)->key.port, (*y)->key.port, sizeof((*x)->key.port));
	return by ? by : memcmp((*x)->key.addr, (*y)->key.addr, sizeof((*x)->key.addr));
}

static bool same_port(const struct f5xc_item *a, const struct f5xc_item *b)
{
	return a->key.proto == b->key.proto && memcmp(a->key.port, b->key.port, 2) == 0;
}

static void ports_add(json_t *rules, const struct f5xc_item *const *items, size_t n, size_t *cut)
{
	unsigned number = 0;

	for (size_t at = 0, end; at < n; at = end) {
		number = at > 0 && same_port(items[at - 1], items[at]) ? number + 1 : 0;
		for (end = at;
		     end < n && end - at < F5XC_RULE_PREFIXES && same_port(items[at], items[end]);)
			end++;
		if (json_array_size(rules) < F5XC_RULES_MAX)
			json_array_append_new(rules, port_rule(items + at, end - at, number));
		else
			++*cut;
	}
}

json_t *f5xc_rules_build(
	const struct f5xc_wanted *w,
	const char *xc_namespace,
	const char *const *sets,
	size_t n_sets,
	size_t *ret_cut
)
{
	const struct f5xc_item **ports = calloc(w->n_ports + 1, sizeof(struct f5xc_item *));
	json_t *rules = json_array();
	struct f5xc_item *item, *next;
	size_t n = 0;

	*ret_cut = 0;
	for (size_t i = 0; i < n_sets; i++) {
		if (json_array_size(rules) < F5XC_RULES_MAX)
			json_array_append_new(rules, set_rule(xc_namespace, sets[i]));
		else
			++*ret_cut;
	}
	HASH_ITER(hh, w->items, item, next)
	{
		if (!ports || w->n_ports == 0)
			break;
		if (item->key.kind == INDICATOR_PORT && !item->voice.why_not && !item->cut)
			ports[n++] = item;
	}
	if (n > 1)
		qsort(ports, n, sizeof(struct f5xc_item *), port_compare);
	if (ports)
		ports_add(rules, ports, n, ret_cut);
	free(ports);
	return rules;
}

// --- compare

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

// What a rule does, as far as ours can: any other choice makes it another.
static json_t *rule_core(json_t *rule)
{
	static const char *const keys[] = {
		"deny",
		"allow",
		"insert_service",
		"all_sources",
		"all_traffic",
		"destination_prefix_list",
		"protocol_port_range",
		"all_destinations",
		"inside_sources",
		"outside_sources",
		"source_prefix_list",
		"source_ip_prefix_set",
		"source_label_selector",
		"outside_destinations",
		"inside_destinations",
		"destination_label_selector",
		"all_tcp_traffic",
		"all_udp_traffic",
		"applications",
		"label_matcher",
	};
	json_t *core = json_object(), *set = json_object_get(rule, "destination_ip_prefix_set");
	json_t *ref = json_array_get(json_object_get(set, "ref"), 0);

	json_object_set_new(
		core, "name", json_string(text_of(json_object_get(rule, "metadata"), "name"))
	);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *value = json_object_get(rule, keys[i]);

		if (value && !json_is_null(value))
			json_object_set(core, keys[i], value);
	}
	if (ref) // tenant and kind may have been added
		json_object_set_new(core, "set", json_string(text_of(ref, "name")));
	return core;
}

static json_t *cores_of(json_t *rules)
{
	json_t *cores = json_array(), *rule;
	size_t i;

	json_array_foreach(rules, i, rule) json_array_append_new(cores, rule_core(rule));
	return cores;
}

void f5xc_rules_content(json_t *rules, char ret_text[F5XC_CONTENT_MAX])
{
	static const uint8_t key[16] = "stanch rules 001";
	json_t *cores = cores_of(rules);
	char *text = json_dumps(cores, JSON_COMPACT | JSON_SORT_KEYS);

	snprintf(
		ret_text,
		F5XC_CONTENT_MAX,
		"%016llx",
		text ? (unsigned long long)siphash64(key, text, strlen(text)) : 0
	);
	free(text);
	json_decref(cores);
}

bool f5xc_rules_equal(json_t *a, json_t *b)
{
	json_t *x = cores_of(a), *y = cores_of(b);
	bool equal = json_equal(x, y);

	json_decref(x);
	json_decref(y);
	return equal;
}

json_t *f5xc_rules_kept(json_t *wanted, json_t *there)
{
	json_t *kept = json_array(), *rule, *other;
	size_t i, k;

	json_array_foreach(wanted, i, rule)
	{
		json_t *core = rule_core(rule);
		bool found = false;

		json_array_foreach(there, k, other)
		{
			json_t *one = rule_core(other);

			found |= json_equal(core, one);
			json_decref(one);
		}
		if (found)
			json_array_append(kept, rule);
		json_decref(core);
	}
	return kept;
}

bool f5xc_rules_have_set(json_t *rules, const char *set)
{
	json_t *rule;
	size_t i;

	json_array_foreach(rules, i, rule)
	{
		json_t *refs = json_object_get(
			json_object_get(rule, "destination_ip_prefix_set"), "ref"
		);

		if (json_is_object(json_object_get(rule, "deny"))
		    && strcmp(text_of(json_array_get(refs, 0), "name"), set) == 0)
			return true;
	}
	return false;
}

static bool list_has(json_t *list, const char *text)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		const char *value = json_string_value(one);

		if (value && strcmp(value, text) == 0)
			return true;
	}
	return false;
}

bool f5xc_rules_have_port(json_t *rules, const struct f5xc_key *key)
{
	char prefix[INDICATOR_TEXT_MAX], port[8];
	json_t *rule;
	size_t i;

	prefix_text(key, prefix);
	snprintf(port, sizeof(port), "%u", port_of(key));
	json_array_foreach(rules, i, rule)
	{
		json_t *range = json_object_get(rule, "protocol_port_range");
		json_t *list = json_object_get(rule, "destination_prefix_list");

		if (json_is_object(json_object_get(rule, "deny"))
		    && strcmp(text_of(range, "protocol"), proto_name(key)) == 0
		    && list_has(json_object_get(range, "port_ranges"), port)
		    && list_has(json_object_get(list, "prefixes"), prefix))
			return true;
	}
	return false;
}
