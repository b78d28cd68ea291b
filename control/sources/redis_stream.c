// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Streams: records that add and remove, taken in their order on a connection that waits for them.
// Where it stopped is written down once the records have taken effect: after a crash some come
// again, none is lost.

#include "control/sources/redis_internal.h"
#include "rules/entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT "1000"
#define BLOCK_MS 1000
#define NOTES "redis-streams" // owner of the notes

struct stream_id {
	uint64_t ms, seq;
};

static struct stream_id id_parse(const char *text)
{
	struct stream_id id = {0};
	char *end;

	id.ms = strtoull(text, &end, 10);
	if (*end == '-')
		id.seq = strtoull(end + 1, NULL, 10);
	return id;
}

static bool id_before(struct stream_id a, struct stream_id b)
{
	return a.ms != b.ms ? a.ms < b.ms : a.seq < b.seq;
}

void stream_load(struct redis_list *l)
{
	json_t *note = NULL;
	const char *id = NULL;
	json_int_t ordinal = -1;
	int gap = 0;

	if (ledger_note_get(l->instance->control->ledger, NOTES, l->conf->name, &note) == 0)
		json_unpack(note, "{s:s, s:I, s:b}", "id", &id, "ordinal", &ordinal, "gap", &gap);
	snprintf(l->last_id, sizeof(l->last_id), "%s", id ? id : "0-0");
	l->ordinal = ordinal;
	l->gap = gap;
	json_decref(note);
}

static void note_write(struct redis_list *l, const char *id, int64_t ordinal)
{
	json_t *note = json_pack(
		"{s:s, s:I, s:b}", "id", id, "ordinal", (json_int_t)ordinal, "gap", (int)l->gap
	);

	ledger_note_set(l->instance->control->ledger, NOTES, l->conf->name, note);
	json_decref(note);
}

static void marked(void *ctx)
{
	struct redis_list *l = ctx;

	note_write(l, l->marked_id, l->marked_ordinal);
	l->marked_id[0] = '\0';
}

// The note's place stays: records may be on their way that have not taken effect.
static void gap_set(struct redis_list *l, bool gap)
{
	json_t *note = NULL;

	l->gap = gap;
	if (ledger_note_get(l->instance->control->ledger, NOTES, l->conf->name, &note) < 0
	    || !json_is_object(note)) {
		json_decref(note);
		note_write(l, "0-0", -1);
		return;
	}
	json_object_set_new(note, "gap", json_boolean(gap));
	ledger_note_set(l->instance->control->ledger, NOTES, l->conf->name, note);
	json_decref(note);
}

void stream_settled(struct redis_list *l)
{
	if (l->gap)
		gap_set(l, false);
}

// --- records that nobody saw

static const redisReply *info_value(const redisReply *r, const char *name)
{
	for (size_t i = 0; i + 1 < r->elements; i += 2)
		if (r->element[i]->str && strcmp(r->element[i]->str, name) == 0)
			return r->element[i + 1];
	return NULL;
}

static struct stream_id info_id(const redisReply *r, const char *name)
{
	const redisReply *value = info_value(r, name);

	return id_parse(value && value->str ? value->str : "0-0");
}

static int64_t info_number(const redisReply *r, const char *name)
{
	const redisReply *value = info_value(r, name);

	return value && value->type == REDIS_REPLY_INTEGER ? value->integer : -1;
}

static void gap_found(struct redis_list *l, const char *what)
{
	if (!l->gap)
		log_error("list %s: %s; members stay in force", l->conf->name, what);
	gap_set(l, true);
}

// XTRIM leaves no trace but numbers (Redis 7): how many were ever added, and how many are there.
// It was asked between two XREADs: nothing is on its way.
static void info_judge(struct redis_list *l, const redisReply *r)
{
	struct stream_id taken = id_parse(l->last_id), last = info_id(r, "last-generated-id");
	struct stream_id first = info_id(r, "recorded-first-entry-id");
	int64_t added = info_number(r, "entries-added"), there = info_number(r, "length");
	int64_t removed = added >= 0 && there >= 0 ? added - there : -1;
	bool begins = taken.ms == 0 && taken.seq == 0;

	if (id_before(last, taken) || (added >= 0 && added < l->ordinal)) {
		gap_found(l, "the stream was made anew");
		if (id_before(last, taken)) {
			snprintf(l->last_id, sizeof(l->last_id), "0-0");
			l->anew = true;
		}
		l->ordinal = removed;
	} else if (begins) {
		l->ordinal = removed; // what went before our time is nobody's
	} else if (!id_before(taken, last)) {
		l->ordinal = added;
	} else if (id_before(taken, info_id(r, "max-deleted-entry-id"))) {
		gap_found(l, "records were deleted unseen");
	} else if (l->ordinal >= 0 && removed > l->ordinal && (there == 0 || id_before(taken, first))) {
		gap_found(l, "records were trimmed unseen");
		l->ordinal = removed;
	}
}

static void info_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = ctx;

	if (!r || l->type != TYPE_STREAM)
		return;
	if (r->type != REDIS_REPLY_ARRAY) {
		snprintf(
			l->why,
			sizeof(l->why),
			"Redis refuses: %.120s",
			r->type == REDIS_REPLY_ERROR ? r->str : "no description of the stream"
		);
		return;
	}
	info_judge(l, r);
	l->read_ms = redis_now_ms();
	snprintf(
		l->why,
		sizeof(l->why),
		"%s",
		l->gap ? "records are missing in the stream: what they ended is still in force; "
			 "settled: stanch lists read"
		       : ""
	);
}

// --- records

static const char *field(const redisReply *fields, const char *name)
{
	for (size_t i = 0; i + 1 < fields->elements; i += 2)
		if (fields->element[i]->str && strcmp(fields->element[i]->str, name) == 0)
			return fields->element[i + 1]->str;
	return NULL;
}

// What the record says beside its indicator, as a hash's value.
static char *record_value(const redisReply *fields)
{
	static const char *const names[] = {"until", "reason", "reference", "action"};
	json_t *object = json_object();
	const char *ttl = field(fields, "ttl");
	char *text;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = field(fields, names[i]);

		if (value)
			json_object_set_new(object, names[i], json_string(value));
	}
	if (ttl)
		json_object_set_new(object, "ttl", json_integer(strtoll(ttl, NULL, 10)));
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

static void record_take(struct redis_list *l, const redisReply *fields)
{
	const char *op = field(fields, "op"), *member = field(fields, "json");
	bool remove = op && strncmp(op, "rem", 3) == 0;
	char *value = NULL;

	if (!member) {
		member = field(fields, "indicator") ?: field(fields, "member");
		value = record_value(fields);
	}
	if (member) {
		lists_point(
			redis_store(l),
			l->id,
			!remove,
			member,
			strlen(member),
			value ? value : "",
			value ? strlen(value) : 0,
			UNTIL_FOREVER
		);
		l->points++;
	}
	free(value);
}

static void records_take(struct redis_list *l, const redisReply *records)
{
	for (size_t i = 0; i < records->elements; i++) {
		const redisReply *record = records->element[i];

		if (record->type != REDIS_REPLY_ARRAY || record->elements != 2
		    || !record->element[0]->str)
			continue;
		if (record->element[1]->type == REDIS_REPLY_ARRAY)
			record_take(l, record->element[1]);
		snprintf(l->last_id, sizeof(l->last_id), "%s", record->element[0]->str);
		l->ordinal += l->ordinal >= 0;
	}
	if (records->elements == 0 || l->marked_id[0])
		return;
	snprintf(l->marked_id, sizeof(l->marked_id), "%s", l->last_id);
	l->marked_ordinal = l->ordinal;
	lists_mark(redis_store(l), l->id, records->elements < 1000, marked, l);
}

static void streams_read(struct redis_instance *i);

static void streams_done(void *ctx, const redisReply *r)
{
	struct redis_instance *i = ctx;

	if (!r) {
		i->reading_streams = false;
		return;
	}
	for (size_t s = 0; r->type == REDIS_REPLY_ARRAY && s < r->elements; s++) {
		const redisReply *stream = r->element[s];

		if (stream->type != REDIS_REPLY_ARRAY || stream->elements != 2)
			continue;
		for (size_t n = 0; n < i->n; n++)
			if (i->lists[n].type == TYPE_STREAM && !i->lists[n].anew
			    && stream->element[0]->str
			    && strcmp(i->lists[n].conf->key, stream->element[0]->str) == 0)
				records_take(&i->lists[n], stream->element[1]);
	}
	if (r->type == REDIS_REPLY_ERROR) {
		// A key that is no stream any more: the next reading of its type says so.
		i->reading_streams = false;
		return;
	}
	streams_read(i);
}

static void streams_read(struct redis_instance *i)
{
	uint32_t most = i->conf->server.timeout_ms / 2;
	char block[12];
	const char *argv[6 + 2 * LISTS_MAX] = {"XREAD", "COUNT", COUNT, "BLOCK", block, "STREAMS"};
	int argc = 6, n = 0;

	snprintf(block, sizeof(block), "%u", most < BLOCK_MS ? most : BLOCK_MS);
	for (size_t k = 0; k < i->n; k++) {
		struct redis_list *l = &i->lists[k];

		l->anew = false;
		if (l->type == TYPE_STREAM && l->info_due)
			l->info_due
				= REDIS_SEND(
					  i->streams, info_done, l, "XINFO", "STREAM", l->conf->key
				  )
				< 0;
	}
	for (size_t k = 0; k < i->n; k++)
		if (i->lists[k].type == TYPE_STREAM)
			argv[argc + n++] = i->lists[k].conf->key;
	argc += n;
	n = 0;
	for (size_t k = 0; k < i->n; k++)
		if (i->lists[k].type == TYPE_STREAM)
			argv[argc + n++] = i->lists[k].last_id;
	i->reading_streams
		= n > 0 && redis_conn_send(i->streams, streams_done, i, argc + n, argv, NULL) == 0;
}

void streams_begin(struct redis_instance *i)
{
	if (!i->reading_streams && i->streams && redis_conn_ready(i->streams))
		streams_read(i);
}

void streams_lost(struct redis_instance *i)
{
	i->reading_streams = false;
}
