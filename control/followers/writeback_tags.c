// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Tags on observables: what became of them. Others' tags stay.

#include "control/followers/writeback_internal.h"
#include "control/status_tags.h"

#include <stdio.h>
#include <string.h>

#define BULK_MAX 100 // observables of one request

// --- tags

static void tag_print(const struct wb_hive *h, const char *word, char tag[160])
{
	const char *prefix = h->conf->response_tag;

	snprintf(tag, 160, "%.100s:%s", prefix && *prefix ? prefix : "stanch", word);
}

// Ours, but for `word`.
static json_t *tags_others(const struct wb_hive *h, const char *word)
{
	static const char *const words[] = {
		STATUS_TAG_ENFORCED,
		STATUS_TAG_MONITORED,
		STATUS_TAG_HELD,
		STATUS_TAG_REFUSED,
	};
	json_t *list = json_array();
	char tag[160];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i], word) == 0)
			continue;
		tag_print(h, words[i], tag);
		json_array_append_new(list, json_string(tag));
	}
	return list;
}

static void tags_done(struct wb_hive *h, bool written)
{
	struct wb_op *op = &h->op;
	json_t *told = wb_member(op->state, "tags"), *id;
	size_t i;

	json_array_foreach(op->ids, i, id)
	{
		const char *observable = json_string_value(id);

		if (*op->word)
			json_object_set_new(told, observable, json_string(op->word));
		else
			json_object_del(told, observable);
		json_object_del(op->seen.tags, observable);
	}
	h->counters[WB_WRITTEN_TAGS] += written ? json_array_size(op->ids) : 0;
	wb_tags_next(h);
}

static void observable_confirmed(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;

	h->op.busy = false;
	if (wb_missing(a))
		tags_done(h, false); // it is gone, and its claim will be
	else if (wb_good(a))
		wb_permission_missing(h, "404, though the observable is there");
	else
		wb_answer_bad(h, a);
}

static void observable_path(const struct wb_hive *h, char path[HIVE_ID_MAX + 32])
{
	snprintf(
		path,
		HIVE_ID_MAX + 32,
		"/api/v1/observable/%.*s",
		HIVE_ID_MAX,
		json_string_value(json_array_get(h->op.ids, 0))
	);
}

static void tags_written(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	char path[HIVE_ID_MAX + 32];

	h->op.busy = false;
	if (wb_changed(a)) {
		wb_well(h);
		h->denied_ms[WB_OBSERVABLE] = 0;
		tags_done(h, true);
	} else if (json_array_size(h->op.ids) > 1 && (wb_missing(a) || a->status == 400)) {
		h->op.of->single = true; // one of them is gone, or there is no bulk
		wb_tags_next(h);
	} else if (wb_missing(a)) {
		observable_path(h, path);
		wb_ask(h, "GET", path, NULL, observable_confirmed);
	} else if (a->status == 400) {
		h->counters[WB_FAILED]++;
		tags_done(h, false);
	} else {
		wb_answer_bad(h, a);
	}
}

// 4 takes the whole list only: others' tags are read just before.
static void tags_come(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	json_t *body = wb_answer_json(a), *tags = json_array(), *others, *one;
	char tag[160], path[HIVE_ID_MAX + 32];
	size_t i, k;
	json_t *ours;

	h->op.busy = false;
	if (!wb_good(a) || !json_is_array(json_object_get(body, "tags"))) {
		if (wb_missing(a))
			tags_done(h, false);
		else if (wb_good(a))
			wb_retry(h, "reading an observable: the answer is none", -1);
		else
			wb_answer_bad(h, a);
		goto end;
	}
	tag_print(h, h->op.word, tag);
	others = tags_others(h, h->op.word);
	json_array_foreach(json_object_get(body, "tags"), i, one)
	{
		bool drop = *h->op.word && strcmp(json_string_value(one), tag) == 0;

		json_array_foreach(others, k, ours) drop |= json_equal(one, ours);
		if (!drop)
			json_array_append(tags, one);
	}
	json_decref(others);
	if (*h->op.word)
		json_array_append_new(tags, json_string(tag));
	if (json_equal(tags, json_object_get(body, "tags"))) {
		tags_done(h, false);
		goto end;
	}
	observable_path(h, path);
	wb_ask(h, "PATCH", path, json_pack("{s:O}", "tags", tags), tags_written);
end:
	json_decref(tags);
	json_decref(body);
}

static void tags_ask(struct wb_hive *h)
{
	struct wb_op *op = &h->op;
	bool bulk = json_array_size(op->ids) > 1;
	char tag[160], path[HIVE_ID_MAX + 32];
	json_t *body;

	op->permission = WB_OBSERVABLE;
	op->what = "setting tags";
	observable_path(h, path);
	if (wb_four(h)) {
		wb_ask(h, "GET", path, NULL, tags_come);
		return;
	}
	body = json_pack("{s:o}", "removeTags", tags_others(h, op->word));
	if (*op->word) {
		tag_print(h, op->word, tag);
		json_object_set_new(body, "addTags", json_pack("[s]", tag));
	}
	if (bulk)
		json_object_set(body, "ids", op->ids);
	wb_ask(h, "PATCH", bulk ? "/api/v1/observable/_bulk" : path, body, tags_written);
}

void wb_tags_next(struct wb_hive *h)
{
	struct wb_op *op = &h->op;
	const char *observable;
	json_t *word;
	size_t max = wb_four(h) || op->of->single ? 1 : BULK_MAX;

	if (json_object_size(op->seen.tags) == 0 || wb_denied(h, WB_OBSERVABLE)) {
		if (json_object_size(op->seen.tags) > 0)
			wb_later_at(op, h->denied_ms[WB_OBSERVABLE]);
		wb_attempts_next(h);
		return;
	}
	json_decref(op->ids);
	op->ids = json_array();
	json_object_foreach(op->seen.tags, observable, word)
	{
		if (json_array_size(op->ids) == 0)
			snprintf(op->word, sizeof(op->word), "%s", json_string_value(word));
		if (strcmp(op->word, json_string_value(word)) == 0 && json_array_size(op->ids) < max
		    && hive_id_valid(observable))
			json_array_append_new(op->ids, json_string(observable));
	}
	if (json_array_size(op->ids) == 0) { // no id at all
		json_object_clear(op->seen.tags);
		wb_attempts_next(h);
		return;
	}
	tags_ask(h);
}
