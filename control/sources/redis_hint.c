// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Messages are hints: what they name is read, never believed.

#include "control/sources/redis_internal.h"
#include "rules/entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HINT_MAX 1024 // octets of a member in a message
#define SOON_MS 1000

struct point {
	struct redis_list *list;
	size_t len;
	enum list_type type;
	bool found, answered;
	char *value;
	size_t value_len;
	int64_t until;
	char member[];
};

static void point_free(struct point *p)
{
	free(p->value);
	free(p);
}

// The second answer: is the key there at all? A flushed key has no members, and ends none.
static void exists_done(void *ctx, const redisReply *r)
{
	struct point *p = ctx;
	struct redis_list *l = p->list;

	if (r && p->answered && r->type == REDIS_REPLY_INTEGER && r->integer == 1) {
		l->points++;
		lists_point(
			redis_store(l),
			l->id,
			p->found,
			p->member,
			p->len,
			p->value ? p->value : "",
			p->value_len,
			p->until
		);
	} else if (r) {
		read_soon(l, SOON_MS);
	}
	point_free(p);
}

static void member_done(void *ctx, const redisReply *r)
{
	struct point *p = ctx;

	// Where the connection is lost, or it is refused, the second answer frees.
	if (!r || r->type == REDIS_REPLY_ERROR)
		return;
	p->answered = true;
	if (p->type == TYPE_SET) {
		p->found = r->type == REDIS_REPLY_INTEGER && r->integer == 1;
		return;
	}
	p->found = r->type == REDIS_REPLY_STRING;
	if (!p->found)
		return;
	if (p->type == TYPE_ZSET) {
		list_time_parse(r->str, r->len, &p->until);
		return;
	}
	p->value = malloc(r->len + 1);
	if (!p->value)
		return;
	memcpy(p->value, r->str, r->len);
	p->value_len = r->len;
}

static void point_read(struct redis_list *l, const char *member, size_t len)
{
	static const char *const commands[] = {
		[TYPE_SET] = "SISMEMBER",
		[TYPE_HASH] = "HGET",
		[TYPE_ZSET] = "ZSCORE",
	};
	struct redis_conn *conn = l->instance->commands;
	struct point *p = malloc(sizeof(*p) + len + 1);
	const char *argv[3], *key = l->conf->key;
	size_t lens[3];

	if (!p)
		return;
	*p = (struct point){.list = l, .len = len, .type = l->type, .until = UNTIL_FOREVER};
	memcpy(p->member, member, len);
	argv[0] = commands[l->type];
	argv[1] = key;
	argv[2] = p->member;
	lens[0] = strlen(argv[0]);
	lens[1] = strlen(key);
	lens[2] = len;
	if (redis_conn_send(conn, member_done, p, 3, argv, lens) < 0
	    || REDIS_SEND(conn, exists_done, p, "EXISTS", key) < 0)
		point_free(p);
}

static void hint_take(struct redis_list *l, const char *text, size_t len)
{
	static const char *const words[] = {"+", "-", "add ", "remove ", "del "};
	bool points = l->type == TYPE_SET || l->type == TYPE_HASH || l->type == TYPE_ZSET;

	l->hints++;
	if (l->type == TYPE_STREAM)
		return;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t word = strlen(words[i]);

		if (len <= word || memcmp(text, words[i], word) != 0)
			continue;
		text += word;
		len -= word;
		break;
	}
	if (points && len > 0 && len <= HINT_MAX && redis_conn_ready(l->instance->commands)
	    && !(len == 6 && memcmp(text, "reload", 6) == 0))
		point_read(l, text, len);
	else
		read_soon(l, SOON_MS);
}

static void channel_said(void *ctx, const redisReply *r)
{
	struct redis_list *l = ctx;

	// {"message", channel, text}
	if (r && r->type == REDIS_REPLY_ARRAY && r->elements == 3
	    && r->element[2]->type == REDIS_REPLY_STRING)
		hint_take(l, r->element[2]->str, r->element[2]->len);
}

static void keyspace_said(void *ctx, const redisReply *r)
{
	struct redis_list *l = ctx;

	// {"pmessage" or "message", …, event}: something moved, and which member is not said.
	if (r && r->type == REDIS_REPLY_ARRAY && r->elements >= 3
	    && r->element[r->elements - 1]->type == REDIS_REPLY_STRING) {
		l->hints++;
		if (l->type != TYPE_STREAM)
			read_soon(l, SOON_MS);
	}
}

void hints_subscribe(struct redis_instance *i)
{
	for (size_t n = 0; n < i->n; n++) {
		struct redis_list *l = &i->lists[n];
		char keyspace[600];

		REDIS_SEND(i->messages, channel_said, l, "SUBSCRIBE", l->conf->channel);
		if (!l->conf->keyspace)
			continue;
		snprintf(
			keyspace,
			sizeof(keyspace),
			"__keyspace@%u__:%s",
			i->conf->server.database,
			l->conf->key
		);
		REDIS_SEND(i->messages, keyspace_said, l, "SUBSCRIBE", keyspace);
	}
	// What was said while nobody listened is found by a reading.
	for (size_t n = 0; n < i->n; n++)
		read_soon(&i->lists[n], 0);
}
