// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Immunities of a case, against those it was told of: which lists they suspend, and why they ended.

#include "control/followers/writeback_internal.h"

#include <stdio.h>
#include <string.h>

#define KEY_MAX (64 + INDICATOR_TEXT_MAX)
#define LISTS_MAX 10 // named

struct immune_walk {
	const struct wb_look *look;
	struct wb_seen *seen;
	json_t *now; // {"<observable> <indicator>": until}
	const json_t *told;
};

// Lists that name it: theirs are the claims that count, or count no longer.
static bool list_note(void *ctx, const struct claim *claim)
{
	json_t *lists = ctx;
	size_t i;
	json_t *one;

	if (strncmp(claim->source, "list:", 5) != 0)
		return true;
	json_array_foreach(lists, i, one)
	{
		if (strcmp(json_string_value(one), claim->source + 5) == 0)
			return true;
	}
	json_array_append_new(lists, json_string(claim->source + 5));
	return json_array_size(lists) < LISTS_MAX;
}

static json_t *item_make(const struct wb_look *look, const char *key, const struct indicator *n)
{
	json_t *lists = json_array();
	struct entry entry;

	ledger_claims_on(look->ledger, n, list_note, lists);
	return json_pack(
		"{s:s, s:o, s:b}",
		"indicator",
		strchr(key, ' ') + 1,
		"lists",
		lists,
		"denied",
		ledger_entry_find(look->ledger, n, &entry) == 0
	);
}

static bool immune_take(void *ctx, const struct immunity *immunity)
{
	struct immune_walk *w = ctx;
	const char *observable = strrchr(immunity->ref, '/');
	char text[INDICATOR_TEXT_MAX], key[KEY_MAX];
	json_t *item;

	indicator_print(&immunity->indicator, text);
	snprintf(key, sizeof(key), "%.60s %s", observable ? observable + 1 : "", text);
	json_object_set_new(w->now, key, json_integer(immunity->until));
	if (json_integer_value(json_object_get(w->told, key)) == immunity->until)
		return json_object_size(w->now) < WB_LARGE;
	item = item_make(w->look, key, &immunity->indicator);
	json_object_set_new(item, "until", json_integer(immunity->until));
	json_object_set_new(item, "by", json_string(immunity->author));
	wb_news_add(w->seen, w->look->conf->immunity, "immune", item);
	return json_object_size(w->now) < WB_LARGE;
}

static bool one_is_enough(void *ctx, const struct immunity *immunity)
{
	(void)immunity;
	*(bool *)ctx = true;
	return false;
}

static void
ended_add(const struct wb_look *look, const json_t *state, const char *key, struct wb_seen *seen)
{
	const char *why = wb_cause_of(state, "immune", key), *text = strchr(key, ' ');
	struct indicator n;
	struct indicator_error error;
	json_t *item;

	if (!text || indicator_parse(text + 1, strlen(text + 1), &n, &error) < 0)
		return;
	item = item_make(look, key, &n);
	json_object_set_new(item, "why", json_string(*why ? why : "it has ended"));
	wb_news_add(seen, look->conf->immunity, "immune_end", item);
}

int wb_immune_look(const struct wb_look *look, json_t *state, struct wb_seen *seen)
{
	struct immune_walk w = {look, seen, json_object(), wb_member(state, "immune")};
	char prefix[WB_REF_MAX + 2];
	const char *key;
	json_t *was;
	int r;

	snprintf(prefix, sizeof(prefix), "%s/", look->ref);
	if (!look->applied) {
		bool any = json_object_size(w.told) > 0;

		json_decref(w.now);
		r = any ? 0
			: ledger_immunities(
				look->ledger, look->source, prefix, one_is_enough, &any
			);
		seen->waits |= any;
		return r;
	}
	r = ledger_immunities(look->ledger, look->source, prefix, immune_take, &w);
	json_object_foreach((json_t *)(uintptr_t)w.told, key, was)
	{
		if (r == 0 && !json_object_get(w.now, key))
			ended_add(look, state, key, seen);
	}
	if (r == 0 && !json_equal(w.told, w.now)) {
		seen->changed = true;
		json_object_set(state, "immune", w.now);
	}
	json_decref(w.now);
	return r;
}
