// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A full reading: TYPE and metadata, cardinality, SCAN by pages or GETRANGE by pieces, and TYPE,
// metadata and cardinality again. Only where both agree does the ledger compare it.

#include "control/sources/redis_internal.h"
#include "rules/entry.h"

#include <event2/event.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SCAN_COUNT "2000"
#define PIECE (256 << 10) // octets of a string at a time
#define STRING_MAX (64 << 20) // of lines
#define JSON_MAX (1 << 20) // of a JSON list: parsed in one go
#define AGAIN_MS 1000
#define BUSY_MS 2

struct asking { // a command of one reading
	struct redis_list *list;
	unsigned generation;
};

static void scan_next(struct redis_list *l);
static void after_ask(struct redis_list *l);

static const char *const type_names[] = {
	[TYPE_UNKNOWN] = "unknown",
	[TYPE_NONE] = "none",
	[TYPE_SET] = "set",
	[TYPE_HASH] = "hash",
	[TYPE_ZSET] = "zset",
	[TYPE_STREAM] = "stream",
	[TYPE_STRING] = "string",
};

enum list_type list_type_of(const char *name)
{
	for (int i = TYPE_NONE; i <= TYPE_STRING; i++)
		if (strcmp(type_names[i], name) == 0)
			return (enum list_type)i;
	return TYPE_UNKNOWN;
}

const char *list_type_name(enum list_type type)
{
	return type_names[type];
}

void read_soon(struct redis_list *l, unsigned ms)
{
	struct timeval left, after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000}, now;

	if (l->step != READ_IDLE) {
		l->again = true;
		return;
	}
	if (event_pending(l->timer, EV_TIMEOUT, &left)) {
		evutil_gettimeofday(&now, NULL);
		evutil_timersub(&left, &now, &left);
		if (evutil_timercmp(&left, &after, <))
			return;
	}
	event_add(l->timer, &after);
}

static void next_set(struct redis_list *l, unsigned ms)
{
	l->step = READ_IDLE;
	event_del(l->pace);
	if (l->again && ms > AGAIN_MS)
		ms = AGAIN_MS;
	l->again = false;
	read_soon(l, ms);
}

void read_fail(struct redis_list *l, const char *why, unsigned again_ms)
{
	bool reading = l->step > READ_SIZE && l->step < READ_MERGE;

	if (strcmp(l->why, why) != 0)
		log_warning("list %s: %s", l->conf->name, why);
	snprintf(l->why, sizeof(l->why), "%s", why);
	l->generation++;
	if (reading)
		lists_read_abort(redis_store(l), l->id);
	if (l->step != READ_MERGE)
		next_set(l, again_ms);
}

void read_lost(struct redis_list *l)
{
	bool reading = l->step > READ_SIZE && l->step < READ_MERGE;

	l->generation++;
	if (reading)
		lists_read_abort(redis_store(l), l->id);
	if (l->step == READ_MERGE)
		return;
	event_del(l->timer);
	event_del(l->pace);
	l->step = READ_IDLE;
}

// --- asking

static struct asking *asking_create(struct redis_list *l)
{
	struct asking *a = malloc(sizeof(*a));

	if (a)
		*a = (struct asking){.list = l, .generation = l->generation};
	return a;
}

// The list, where the answer is of the reading under way; the asking is freed.
static struct redis_list *asking_take(void *ctx, const redisReply *r)
{
	struct asking *a = ctx;
	struct redis_list *l = a->generation == a->list->generation ? a->list : NULL;

	free(a);
	if (!l || !r)
		return NULL;
	if (r->type == REDIS_REPLY_ERROR) {
		char why[160];

		snprintf(why, sizeof(why), "Redis refuses: %.120s", r->str);
		read_fail(l, why, l->conf->refresh_s * 1000);
		return NULL;
	}
	return l;
}

static void ask(struct redis_list *l, redis_done done, int argc, const char *const *argv)
{
	struct asking *a = asking_create(l);

	if (!a || redis_conn_send(l->instance->commands, done, a, argc, argv, NULL) < 0) {
		free(a);
		read_lost(l);
	}
}
#define ASK(l, done, ...)                                                                          \
	ask(l,                                                                                     \
	    done,                                                                                  \
	    sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),                           \
	    (const char *const[]){__VA_ARGS__})

static void meta_take(const redisReply *r, struct list_meta *meta)
{
	*meta = (struct list_meta){.count = -1};
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 2)
		return;
	for (int i = 0; i < 2; i++)
		meta->there |= r->element[i]->type == REDIS_REPLY_STRING;
	if (r->element[0]->type == REDIS_REPLY_STRING)
		snprintf(meta->version, sizeof(meta->version), "%s", r->element[0]->str);
	if (r->element[1]->type == REDIS_REPLY_STRING)
		meta->count = strtoll(r->element[1]->str, NULL, 10);
}

static void size_ask(struct redis_list *l, enum list_type type, redis_done done)
{
	static const char *const commands[] = {
		[TYPE_SET] = "SCARD",
		[TYPE_HASH] = "HLEN",
		[TYPE_ZSET] = "ZCARD",
		[TYPE_STRING] = "STRLEN",
	};

	ASK(l, done, commands[type], l->conf->key);
}

static void meta_ask(struct redis_list *l, redis_done done)
{
	char key[600];

	snprintf(key, sizeof(key), "%s:meta", l->conf->key);
	ASK(l, done, "HMGET", key, "version", "count");
}

// --- the end

static bool meta_agrees(const struct redis_list *l)
{
	const struct list_meta *a = &l->meta, *b = &l->meta_after;

	return a->there == b->there && a->count == b->count && strcmp(a->version, b->version) == 0
		&& (a->count < 0 || l->type == TYPE_STRING || a->count == l->size_after);
}

static void disagreed(struct redis_list *l, const char *why)
{
	l->disagreed++;
	read_fail(l, why, AGAIN_MS);
}

static void read_finish(struct redis_list *l)
{
	bool confirmed = (l->meta.there && l->meta.count >= 0) || l->accept_empty;

	l->step = READ_MERGE;
	lists_read_end(redis_store(l), l->id, confirmed);
}

void read_merged(void *ctx, const struct list_result *result)
{
	struct redis_list *l = ctx;
	unsigned next = l->conf->refresh_s * 1000;

	if (l->step != READ_MERGE)
		return;
	if (result->error == 0) {
		l->read_ms = redis_now_ms();
		l->why[0] = '\0';
		l->accept_empty = false;
		if (result->unconfirmed && next > LIST_CONFIRM_MS)
			next = LIST_CONFIRM_MS + 100;
	} else {
		snprintf(
			l->why,
			sizeof(l->why),
			"the reading did not take effect: %s",
			result->error == -ENOBUFS ? "the ledger is full" : strerror(-result->error)
		);
		if (result->error == -EAGAIN)
			next = AGAIN_MS;
	}
	if (redis_conn_ready(l->instance->commands))
		next_set(l, next);
	else
		l->step = READ_IDLE;
}

static void after_meta_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = asking_take(ctx, r);

	if (!l)
		return;
	meta_take(r, &l->meta_after);
	if (l->size != l->size_after)
		disagreed(l, "its size changed while it was read");
	else if (!meta_agrees(l))
		disagreed(l, "its metadata do not agree with it");
	else
		read_finish(l);
}

static void after_size_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = asking_take(ctx, r);

	if (!l)
		return;
	l->size_after = r->type == REDIS_REPLY_INTEGER ? r->integer : -1;
	meta_ask(l, after_meta_done);
}

static void after_type_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = asking_take(ctx, r);

	if (!l)
		return;
	if (r->type != REDIS_REPLY_STATUS || list_type_of(r->str) != l->type)
		disagreed(l, "its key went, or changed its type, while it was read");
	else
		size_ask(l, l->type, after_size_done);
}

static void after_ask(struct redis_list *l)
{
	l->step = READ_AFTER;
	ASK(l, after_type_done, "TYPE", l->conf->key);
}

// --- members

static void scan_take(struct redis_list *l, const redisReply *members)
{
	struct lists *store = redis_store(l);
	size_t step = l->type == TYPE_SET ? 1 : 2;

	for (size_t i = 0; i + step <= members->elements; i += step) {
		const redisReply *m = members->element[i], *v = members->element[i + step - 1];
		int64_t until = UNTIL_FOREVER;

		if (!m->str || !v->str)
			continue;
		if (l->type == TYPE_ZSET)
			list_time_parse(v->str, v->len, &until);
		lists_feed(
			store,
			l->id,
			m->str,
			m->len,
			l->type == TYPE_HASH ? v->str : "",
			l->type == TYPE_HASH ? v->len : 0,
			until
		);
	}
}

static void scan_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = asking_take(ctx, r);

	if (!l)
		return;
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || !r->element[0]->str
	    || r->element[1]->type != REDIS_REPLY_ARRAY) {
		read_fail(l, "Redis answers a scan with something else", AGAIN_MS);
		return;
	}
	scan_take(l, r->element[1]);
	snprintf(l->cursor, sizeof(l->cursor), "%s", r->element[0]->str);
	if (strcmp(l->cursor, "0") == 0)
		after_ask(l);
	else
		scan_next(l);
}

static void lines_take(struct redis_list *l, const char *text, size_t len)
{
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t line = end ? (size_t)(end - text) : len, used = line + (end != NULL);
		size_t from = 0, to = line;

		while (from < to && strchr(" \t\r", text[from]) && text[from])
			from++;
		while (to > from && strchr(" \t\r", text[to - 1]) && text[to - 1])
			to--;
		if (to > from && text[from] != '#')
			lists_feed(
				redis_store(l), l->id, text + from, to - from, "", 0, UNTIL_FOREVER
			);
		text += used;
		len -= used;
	}
}

static bool json_take(struct redis_list *l, const char *text, size_t len)
{
	json_t *list = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *item;
	size_t i;

	if (!json_is_array(list)) {
		json_decref(list);
		read_fail(l, "its text is no JSON list", l->conf->refresh_s * 1000);
		return false;
	}
	json_array_foreach(list, i, item)
	{
		char *object = json_is_string(item)
			? NULL
			: json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
		const char *member = object ? object : json_string_value(item);

		if (member)
			lists_feed(
				redis_store(l),
				l->id,
				member,
				object ? strlen(object) : json_string_length(item),
				"",
				0,
				UNTIL_FOREVER
			);
		free(object);
	}
	json_decref(list);
	return true;
}

static void string_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = asking_take(ctx, r);
	size_t len;

	if (!l)
		return;
	if (r->type != REDIS_REPLY_STRING) {
		read_fail(l, "Redis answers with no text", AGAIN_MS);
		return;
	}
	len = r->len;
	if (l->offset == 0 && len > 0 && r->str[0] == '[') {
		if (l->size > JSON_MAX)
			read_fail(
				l,
				"a JSON list longer than 1 MiB: use a set or a hash",
				l->conf->refresh_s * 1000
			);
		else if (json_take(l, r->str, len))
			after_ask(l);
		return;
	}
	// Up to the last whole line; the rest comes with the next piece.
	if (l->offset + (int64_t)len < l->size) {
		while (len > 0 && r->str[len - 1] != '\n')
			len--;
		if (len == 0) {
			read_fail(l, "a line longer than 256 KiB", l->conf->refresh_s * 1000);
			return;
		}
	}
	lines_take(l, r->str, len);
	l->offset += (int64_t)len;
	if (l->offset >= l->size || r->len == 0)
		after_ask(l);
	else
		scan_next(l);
}

static void string_next(struct redis_list *l)
{
	char from[24], to[24];
	int64_t piece = l->offset == 0 ? JSON_MAX : PIECE;

	snprintf(from, sizeof(from), "%" PRId64, l->offset);
	snprintf(to, sizeof(to), "%" PRId64, l->offset + piece - 1);
	ASK(l, string_done, "GETRANGE", l->conf->key, from, to);
}

static void scan_next(struct redis_list *l)
{
	static const char *const commands[] = {
		[TYPE_SET] = "SSCAN",
		[TYPE_HASH] = "HSCAN",
		[TYPE_ZSET] = "ZSCAN",
	};
	const struct timeval soon = {.tv_usec = BUSY_MS * 1000};

	if (lists_busy(redis_store(l))) {
		event_add(l->pace, &soon);
		return;
	}
	if (l->type == TYPE_STRING)
		string_next(l);
	else
		ASK(l, scan_done, commands[l->type], l->conf->key, l->cursor, "COUNT", SCAN_COUNT);
}

void read_pace(int fd, short what, void *ctx)
{
	struct redis_list *l = ctx;

	(void)fd;
	(void)what;
	if (l->step == READ_SCAN)
		scan_next(l);
}

// --- the beginning

static void scan_begin(struct redis_list *l)
{
	l->step = READ_SCAN;
	l->offset = 0;
	snprintf(l->cursor, sizeof(l->cursor), "0");
	lists_read_begin(redis_store(l), l->id);
}

static void size_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = asking_take(ctx, r);

	if (!l)
		return;
	l->size = r->type == REDIS_REPLY_INTEGER ? r->integer : -1;
	if (l->type == TYPE_STRING && l->size > STRING_MAX) {
		read_fail(l, "a text longer than 64 MiB: use a set", l->conf->refresh_s * 1000);
		return;
	}
	scan_begin(l);
	scan_next(l);
}

// Nothing under its name: that is no empty list, but where metadata or an operator say so.
static void read_missing(struct redis_list *l)
{
	l->missing = true;
	if ((l->meta.there && l->meta.count == 0) || l->accept_empty) {
		scan_begin(l);
		read_finish(l);
		return;
	}
	l->unavailable++;
	lists_missing(redis_store(l), l->id);
	read_fail(l, "its key is not there: its members stay in force", l->conf->refresh_s * 1000);
}

static void meta_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = asking_take(ctx, r);

	if (!l)
		return;
	meta_take(r, &l->meta);
	if (l->type == TYPE_NONE) {
		read_missing(l);
		return;
	}
	l->missing = false;
	l->step = READ_SIZE;
	size_ask(l, l->type, size_done);
}

static void type_done(void *ctx, const redisReply *r)
{
	struct redis_list *l = asking_take(ctx, r);
	enum list_type type;

	if (!l)
		return;
	type = r->type == REDIS_REPLY_STATUS ? list_type_of(r->str) : TYPE_UNKNOWN;
	if (type == TYPE_UNKNOWN) {
		read_fail(l, "a type of Redis that no list has", l->conf->refresh_s * 1000);
		return;
	}
	l->type = type;
	if (type == TYPE_STREAM) {
		// Its records come by XREAD, and so does whether some are gone.
		l->missing = false;
		l->info_due = true;
		next_set(l, l->conf->refresh_s * 1000);
		streams_begin(l->instance);
		return;
	}
	meta_ask(l, meta_done);
}

void read_timer(int fd, short what, void *ctx)
{
	struct redis_list *l = ctx;

	(void)fd;
	(void)what;
	if (l->step != READ_IDLE || !redis_conn_ready(l->instance->commands))
		return;
	l->step = READ_BEFORE;
	l->generation++;
	l->began_ms = redis_now_ms();
	ASK(l, type_done, "TYPE", l->conf->key);
}
