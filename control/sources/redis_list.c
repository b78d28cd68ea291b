// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/redis_list.h"

#include "control/log.h"
#include "control/sources/redis_internal.h"

#include <event2/dns.h>
#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t redis_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct lists *redis_store(const struct redis_list *l)
{
	return ledger_lists(l->instance->control->ledger);
}

// --- connections

static void policy_done(void *ctx, const redisReply *r)
{
	static const char key[] = "maxmemory_policy:";
	struct redis_instance *i = ctx;
	const char *at = r && r->type == REDIS_REPLY_STRING ? strstr(r->str, key) : NULL;
	size_t len = at ? strcspn(at + sizeof(key) - 1, "\r\n") : 0;

	if (!at || len >= sizeof(i->policy))
		return;
	memcpy(i->policy, at + sizeof(key) - 1, len);
	i->policy[len] = '\0';
	if (strcmp(i->policy, "noeviction") != 0)
		log_warning(
			"redis %s: maxmemory-policy is %s: members may vanish; set noeviction",
			i->conf->name,
			i->policy
		);
}

static void commands_ready(void *ctx)
{
	struct redis_instance *i = ctx;

	log_info("redis %s: connected to %s", i->conf->name, redis_conn_address(i->commands));
	i->why[0] = '\0';
	REDIS_SEND(i->commands, policy_done, i, "INFO", "memory");
	for (size_t n = 0; n < i->n; n++)
		read_soon(&i->lists[n], 0);
}

static void why_note(struct redis_instance *i, const char *why)
{
	if (strcmp(i->why, why) != 0)
		log_warning("redis %s: %s; lists stay in force", i->conf->name, why);
	snprintf(i->why, sizeof(i->why), "%s", why);
}

static void commands_lost(void *ctx, const char *why)
{
	struct redis_instance *i = ctx;

	why_note(i, why);
	for (size_t n = 0; n < i->n; n++)
		read_lost(&i->lists[n]);
}

static void messages_ready(void *ctx)
{
	hints_subscribe(ctx);
}

static void streams_ready(void *ctx)
{
	streams_begin(ctx);
}

static void streams_gone(void *ctx, const char *why)
{
	(void)why;
	streams_lost(ctx);
}

static void other_lost(void *ctx, const char *why)
{
	struct redis_instance *i = ctx;

	// The commands' own loss says it already; alone it is worth a word.
	if (redis_conn_ready(i->commands))
		log_warning("redis %s: no hints: %s", i->conf->name, why);
}

static int connect_all(struct redis_instance *i)
{
	const struct redis_conn_events commands = {commands_ready, commands_lost, i};
	const struct redis_conn_events messages = {messages_ready, other_lost, i};
	const struct redis_conn_events streams = {streams_ready, streams_gone, i};
	int error = redis_server_open(i->server, &commands, false, &i->commands);

	if (!error)
		error = redis_server_open(i->server, &streams, false, &i->streams);
	if (!error)
		error = redis_server_open(i->server, &messages, true, &i->messages);
	return error;
}

// --- lists

static int
list_init(struct redis_instance *i, struct redis_list *l, const struct conf_redis_list *conf)
{
	struct list_conf store = {
		.monitor = conf->action == CONF_ACTION_MONITOR,
		.min_prefix_v4 = (uint8_t)conf->shortest_prefix_v4,
		.min_prefix_v6 = (uint8_t)conf->shortest_prefix_v6,
		.max_members = conf->max_members,
		.ttl = conf->ttl_s,
	};

	snprintf(store.name, sizeof(store.name), "%s", conf->name);
	snprintf(store.reason, sizeof(store.reason), "%s", conf->reason ? conf->reason : "");
	l->instance = i;
	l->conf = conf;
	l->id = lists_configure(ledger_lists(i->control->ledger), &store);
	if (!l->id)
		return -E2BIG;
	l->timer = event_new(i->control->base, -1, 0, read_timer, l);
	l->pace = event_new(i->control->base, -1, 0, read_pace, l);
	if (!l->timer || !l->pace)
		return -ENOMEM;
	stream_load(l);
	lists_done_set(redis_store(l), l->id, read_merged, l);
	return 0;
}

static void approved(void *ctx, uint32_t id, bool empty)
{
	struct redis_lists *r = ctx;

	for (size_t i = 0; i < r->n; i++)
		for (size_t n = 0; n < r->instances[i].n; n++) {
			struct redis_list *l = &r->instances[i].lists[n];

			if (l->id != id)
				continue;
			// Only what was missing may be empty, not what is missing later.
			l->accept_empty = empty && l->missing;
			if (redis_conn_ready(r->instances[i].commands))
				read_soon(l, 0);
		}
}

static int
instance_init(struct redis_lists *r, struct redis_instance *i, const struct conf_redis *conf)
{
	char message[256];
	int error;

	i->control = r->control;
	i->conf = conf;
	i->lists = calloc(conf->n_lists + 1, sizeof(*i->lists));
	if (!i->lists)
		return -ENOMEM;
	error = redis_server_create(r->control->base, r->dns, &conf->server, &i->server, message);
	if (error)
		log_error("redis %s: %s", conf->name, message);
	for (; !error && i->n < conf->n_lists; i->n += !error)
		error = list_init(i, &i->lists[i->n], &conf->lists[i->n]);
	return error ? error : connect_all(i);
}

int redis_lists_create(struct control *control, struct redis_lists **ret_lists)
{
	const struct conf *conf = control->conf;
	struct redis_lists *r = calloc(1, sizeof(*r));
	int error = 0;

	if (!r)
		return -ENOMEM;
	r->control = control;
	r->instances = calloc(conf->n_redis + 1, sizeof(*r->instances));
	r->dns = evdns_base_new(
		control->base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE
	);
	// Without resolvers: addresses and paths still work.
	if (!r->dns)
		r->dns = evdns_base_new(control->base, 0);
	if (!r->instances || !r->dns)
		error = -ENOMEM;
	for (; !error && r->n < conf->n_redis; r->n++)
		error = instance_init(r, &r->instances[r->n], &conf->redis[r->n]);
	if (error) {
		redis_lists_free(r);
		return error;
	}
	lists_approved_set(ledger_lists(control->ledger), approved, r);
	*ret_lists = r;
	return 0;
}

void redis_lists_free(struct redis_lists *r)
{
	if (!r)
		return;
	lists_approved_set(ledger_lists(r->control->ledger), NULL, NULL);
	for (size_t i = 0; i < r->n; i++) {
		struct redis_instance *instance = &r->instances[i];

		// What is under way is called back: lists still stand.
		redis_conn_free(instance->commands);
		redis_conn_free(instance->messages);
		redis_conn_free(instance->streams);
		for (size_t n = 0; instance->lists && n < instance->conf->n_lists; n++) {
			struct redis_list *l = &instance->lists[n];

			if (l->id) {
				lists_done_set(redis_store(l), l->id, NULL, NULL);
				lists_read_abort(redis_store(l), l->id);
			}
			if (l->timer)
				event_free(l->timer);
			if (l->pace)
				event_free(l->pace);
		}
		free(instance->lists);
		redis_server_free(instance->server);
	}
	if (r->dns)
		evdns_base_free(r->dns, 0);
	free(r->instances);
	free(r);
}

int redis_lists_read(struct redis_lists *r, const char *name)
{
	for (size_t i = 0; r && i < r->n; i++)
		for (size_t n = 0; n < r->instances[i].n; n++) {
			if (strcmp(r->instances[i].lists[n].conf->name, name) != 0)
				continue;
			if (!redis_conn_ready(r->instances[i].commands))
				return -ENOTCONN;
			stream_settled(&r->instances[i].lists[n]);
			read_soon(&r->instances[i].lists[n], 0);
			return 0;
		}
	return -ENOENT;
}
