// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/redis_sentinel.h"

#include "control/sources/redis_conn.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_S 5
#define ADDRESS_MAX 272 // "[HOST]:PORT"

struct redis_sentinel {
	struct event_base *base;
	struct evdns_base *dns;
	struct redis_sentinel_conf conf;
	size_t at; // the one that is asked
	size_t silent; // so many in a row did not tell
	struct redis_conn *questions, *messages; // to it; NULL between rounds
	struct event *next; // Sentinel
	struct event *poll;
	bool asking;
	char master[ADDRESS_MAX]; // told last; "": nothing, or doubted
	char why[200];
	LIST_HEAD(, redis_sentinel_user) users;
};

static void question(struct redis_sentinel *s);

static void connection_conf(const struct redis_sentinel *s, struct redis_conn_conf *conf)
{
	*conf = (struct redis_conn_conf){
		.address = s->conf.addresses[s->at],
		.user = s->conf.user,
		.password = s->conf.password,
		.tls = s->conf.tls,
		.server_name = s->conf.server_name,
		.connect_timeout_ms = s->conf.connect_timeout_ms,
		.timeout_ms = s->conf.timeout_ms,
		.sentinel_itself = true,
	};
}

// This one does not tell: the next one is asked, from the loop and not from a callback.
static void next_soon(struct redis_sentinel *s, const char *why)
{
	static const struct timeval at_once = {0};

	snprintf(s->why, sizeof(s->why), "Sentinel %.64s: %.120s", s->conf.addresses[s->at], why);
	if (!event_pending(s->next, EV_TIMEOUT, NULL))
		event_add(s->next, &at_once);
}

static void questions_ready(void *ctx)
{
	question(ctx);
}

static void questions_lost(void *ctx, const char *why)
{
	struct redis_sentinel *s = ctx;

	s->asking = false;
	next_soon(s, why);
}

static void connect_next(struct redis_sentinel *s)
{
	const struct redis_conn_events events = {questions_ready, questions_lost, s};
	struct redis_conn_conf conf;

	connection_conf(s, &conf);
	if (redis_conn_create(s->base, s->dns, &conf, &events, &s->questions) < 0)
		next_soon(s, strerror(ENOMEM));
}

static void disconnect(struct redis_sentinel *s)
{
	redis_conn_free(s->questions);
	redis_conn_free(s->messages);
	s->questions = s->messages = NULL;
	s->asking = false;
}

// --- what is told

static void users_tell(struct redis_sentinel *s, const char *address)
{
	struct redis_sentinel_user *user, *after;

	for (user = LIST_FIRST(&s->users); user; user = after) {
		after = LIST_NEXT(user, all);
		if (user->asks) {
			user->asks = false;
			user->told(user->ctx, address, s->why);
		} else if (address) {
			user->moved(user->ctx, address);
		}
	}
}

static bool is_text(const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING;
}

static void message_come(void *ctx, const redisReply *r)
{
	struct redis_sentinel *s = ctx;
	size_t len = strlen(s->conf.master);

	// {"message", "+switch-master", "NAME OLD PORT NEW PORT"}: ask, rather than believe.
	if (r && r->type == REDIS_REPLY_ARRAY && r->elements == 3 && is_text(r->element[2])
	    && strncmp(r->element[2]->str, s->conf.master, len) == 0
	    && r->element[2]->str[len] == ' ')
		question(s);
}

static void messages_ready(void *ctx)
{
	struct redis_sentinel *s = ctx;

	REDIS_SEND(s->messages, message_come, s, "SUBSCRIBE", "+switch-master");
	question(s); // it may have moved while nobody listened
}

static void messages_lost(void *ctx, const char *why)
{
	(void)ctx; // it comes again by itself; questions tell whether the Sentinel lives
	(void)why;
}

static void messages_listen(struct redis_sentinel *s)
{
	const struct redis_conn_events events = {messages_ready, messages_lost, s};
	struct redis_conn_conf conf;

	if (s->messages)
		return;
	connection_conf(s, &conf);
	conf.subscribes = true;
	redis_conn_create(s->base, s->dns, &conf, &events, &s->messages);
}

static void answered(void *ctx, const redisReply *r)
{
	struct redis_sentinel *s = ctx;
	const char *host, *port;

	s->asking = false;
	if (!r) // questions_lost says it
		return;
	if (r->type == REDIS_REPLY_ERROR) {
		next_soon(s, r->str);
		return;
	}
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || !is_text(r->element[0])
	    || !is_text(r->element[1])) {
		char why[120];

		snprintf(why, sizeof(why), "it knows no master %.64s", s->conf.master);
		next_soon(s, why);
		return;
	}
	host = r->element[0]->str;
	port = r->element[1]->str;
	s->silent = 0;
	snprintf(
		s->master,
		sizeof(s->master),
		strchr(host, ':') ? "[%.255s]:%.5s" : "%.255s:%.5s",
		host,
		port
	);
	messages_listen(s);
	users_tell(s, s->master);
}

static void question(struct redis_sentinel *s)
{
	if (s->asking || !s->questions || event_pending(s->next, EV_TIMEOUT, NULL))
		return;
	s->asking = REDIS_SEND(
			    s->questions,
			    answered,
			    s,
			    "SENTINEL",
			    "get-master-addr-by-name",
			    s->conf.master
		    )
		== 0;
}

// --- one after the other

static void next_come(int fd, short what, void *ctx)
{
	struct redis_sentinel *s = ctx;

	(void)fd;
	(void)what;
	disconnect(s);
	s->at = (s->at + 1) % s->conf.n_addresses;
	if (++s->silent < s->conf.n_addresses) {
		connect_next(s);
		return;
	}
	// A whole round: who asks waits and asks again, which begins another.
	s->silent = 0;
	users_tell(s, NULL);
}

static void poll_come(int fd, short what, void *ctx)
{
	struct redis_sentinel *s = ctx;

	(void)fd;
	(void)what;
	if (s->questions)
		question(s);
	else if (!LIST_EMPTY(&s->users))
		connect_next(s);
}

void redis_sentinel_ask(struct redis_sentinel *s, struct redis_sentinel_user *user)
{
	user->asks = true;
	if (!s->questions && !event_pending(s->next, EV_TIMEOUT, NULL))
		connect_next(s);
	question(s);
}

void redis_sentinel_doubt(struct redis_sentinel *s, const char *address)
{
	// Of several that found the same, the first is enough.
	if (s->conf.n_addresses < 2 || strcmp(address, s->master) != 0)
		return;
	s->master[0] = '\0';
	next_soon(s, "what it named is no master");
}

void redis_sentinel_join(struct redis_sentinel *s, struct redis_sentinel_user *user)
{
	LIST_INSERT_HEAD(&s->users, user, all);
}

void redis_sentinel_leave(struct redis_sentinel *s, struct redis_sentinel_user *user)
{
	(void)s;
	LIST_REMOVE(user, all);
}

int redis_sentinel_create(
	struct event_base *base,
	struct evdns_base *dns,
	const struct redis_sentinel_conf *conf,
	struct redis_sentinel **ret_sentinel
)
{
	static const struct timeval often = {.tv_sec = POLL_S};
	struct redis_sentinel *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct redis_sentinel){.base = base, .dns = dns, .conf = *conf};
	LIST_INIT(&s->users);
	s->next = event_new(base, -1, 0, next_come, s);
	s->poll = event_new(base, -1, EV_PERSIST, poll_come, s);
	if (!s->next || !s->poll || event_add(s->poll, &often) < 0) {
		redis_sentinel_free(s);
		return -ENOMEM;
	}
	*ret_sentinel = s;
	return 0;
}

void redis_sentinel_free(struct redis_sentinel *s)
{
	if (!s)
		return;
	disconnect(s);
	if (s->next)
		event_free(s->next);
	if (s->poll)
		event_free(s->poll);
	free(s);
}
