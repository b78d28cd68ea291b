// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Ledgers of a fleet and the log between them, an array here: what their tests of lists share.

#pragma once

#include "control/lists_internal.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/lists_text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define LOG_MAX 20000

struct payload {
	size_t len;
	uint8_t *octets;
};

struct gateway {
	struct fixture f;
	uint64_t place; // records applied: counted in its transactions
	size_t waiting; // for done
	int first_error;
	bool idle;
	struct list_result last;
	bool read_is_done;
};

static struct payload history[LOG_MAX];
static size_t n_history;
static size_t history_octets;

struct world {
	struct gateway leader, follower;
};

static inline void history_clear(void)
{
	for (size_t i = 0; i < n_history; i++)
		free(history[i].octets);
	n_history = history_octets = 0;
}

static inline void made(void *ctx, const void *octets, size_t len)
{
	(void)ctx;
	assert_true(n_history < LOG_MAX && len <= PAYLOAD_MAX);
	history[n_history].len = len;
	history[n_history].octets = malloc(len);
	memcpy(history[n_history++].octets, octets, len);
	history_octets += len;
}

static inline void applied(void *ctx, void *apply_ctx)
{
	struct gateway *g = ctx;

	(void)apply_ctx;
	assert_true(g->f.ledger->open);
	ledger_cursor_set(g->f.ledger, "place", (struct revision){1, ++g->place});
}

static inline struct lists *lists_of(struct gateway *g)
{
	return g->f.ledger->lists;
}

static inline void gateway_join(struct gateway *g, bool follows)
{
	const struct lists_fleet_hooks hooks = {.made = made, .applied = applied, .ctx = g};
	struct revision place;

	g->f.conf.max_entries = 2000000;
	g->f.conf.change_log_max = 100000;
	ledger_limits_set(g->f.ledger, &g->f.conf);
	assert_int_equal(ledger_cursor_get(g->f.ledger, "place", &place), 0);
	g->place = place.number;
	lists_fleet_open(lists_of(g), &hooks);
	lists_fleet_follow(lists_of(g), follows);
}

static inline void gateway_reopen(struct gateway *g, bool follows)
{
	fixture_reopen(&g->f);
	gateway_join(g, follows);
}

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	history_clear();
	fixture_init(&w->leader.f, PROTECT_REFUSE);
	fixture_init(&w->follower.f, PROTECT_REFUSE);
	gateway_join(&w->leader, false);
	gateway_join(&w->follower, true);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	struct world *w = *state;

	fixture_fini(&w->leader.f);
	fixture_fini(&w->follower.f);
	history_clear();
	free(w);
	return 0;
}

// --- the leader's readings

static inline void read_done_cb(void *ctx, const struct list_result *result)
{
	struct gateway *g = ctx;

	g->last = *result;
	g->read_is_done = true;
}

static inline uint32_t list_open(struct gateway *g, const char *name, bool brakes)
{
	struct list_conf conf = {
		.min_prefix_v4 = 16,
		.min_prefix_v6 = 32,
		.max_members = 5000000,
		.no_brakes = !brakes,
		.reason = "published",
	};
	uint32_t id;

	snprintf(conf.name, sizeof(conf.name), "%s", name);
	id = lists_configure(lists_of(g), &conf);
	assert_int_not_equal(id, 0);
	lists_done_set(lists_of(g), id, read_done_cb, g);
	return id;
}

static inline void feed_until(struct gateway *g, uint32_t list, const char *text, int64_t until)
{
	lists_feed(lists_of(g), list, text, strlen(text), "", 0, until);
}

static inline void feed(struct gateway *g, uint32_t list, const char *text)
{
	feed_until(g, list, text, UNTIL_FOREVER);
}

static inline void read_end(struct gateway *g, uint32_t list)
{
	g->read_is_done = false;
	lists_read_end(lists_of(g), list, true);
	loop_until(&g->f, &g->read_is_done);
}

static inline void read_list(struct gateway *g, uint32_t list, const char *const *texts)
{
	lists_read_begin(lists_of(g), list);
	for (; *texts; texts++)
		feed(g, list, *texts);
	read_end(g, list);
}
#define READ(g, list, ...) read_list(g, list, (const char *const[]){__VA_ARGS__, NULL})

static inline void host_text(unsigned i, char text[32])
{
	snprintf(text, 32, "%u.%u.%u.%u", 60 + (i >> 24), i >> 16 & 255, i >> 8 & 255, i & 255);
}

static inline void hosts_read(struct gateway *g, uint32_t list, unsigned from, unsigned to)
{
	lists_read_begin(lists_of(g), list);
	for (unsigned i = from; i < to; i++) {
		char text[32];

		host_text(i, text);
		feed(g, list, text);
		while (lists_busy(lists_of(g)))
			event_base_loop(g->f.base, EVLOOP_NONBLOCK);
	}
	read_end(g, list);
}

// What comes without being asked for: points, ends.
static inline void changes_wait(struct gateway *g, uint64_t changes)
{
	int64_t end = clock_boot_ms(g->f.ledger) + 15000;

	while (lists_of(g)->changes < changes && clock_boot_ms(g->f.ledger) < end)
		event_base_loop(g->f.base, EVLOOP_ONCE);
	assert_true(lists_of(g)->changes >= changes);
}

static inline void point(struct gateway *g, uint32_t list, bool present, const char *text)
{
	uint64_t changes = lists_of(g)->changes;

	lists_point(lists_of(g), list, present, text, strlen(text), "", 0, UNTIL_FOREVER);
	changes_wait(g, changes + 1);
}

static inline void retire(struct gateway *g, const char *name)
{
	g->f.done = false;
	lists_retire(lists_of(g), name, &somebody, done_cb, &g->f);
	loop_until(&g->f, &g->f.done);
}

// --- the follower

static inline void applied_done(void *ctx, int error, const char *message)
{
	struct gateway *g = ctx;

	(void)message;
	if (error && !g->first_error)
		g->first_error = error;
	g->idle = --g->waiting == 0;
}

static inline void apply_octets(struct gateway *g, const void *octets, size_t len)
{
	g->idle = false;
	g->waiting++;
	lists_fleet_apply(lists_of(g), octets, len, applied_done, g);
}

static inline int idle_wait(struct gateway *g)
{
	int64_t end = clock_boot_ms(g->f.ledger) + 60000;
	int error;

	while (g->waiting && clock_boot_ms(g->f.ledger) < end)
		event_base_loop(g->f.base, EVLOOP_ONCE);
	assert_int_equal(g->waiting, 0);
	error = g->first_error;
	g->first_error = 0;
	return error;
}

static inline int apply_range(struct gateway *g, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		apply_octets(g, history[i].octets, history[i].len);
	return idle_wait(g);
}

// All that it lacks.
static inline void follow(struct gateway *g)
{
	assert_int_equal(apply_range(g, g->place, n_history), 0);
	assert_int_equal(g->place, n_history);
}

// --- comparing

static inline bool entry_sum(void *ctx, const struct entry *e)
{
	struct list_state *s = ctx;

	digest_add(&s->digest, entry_hash(e));
	s->count++;
	return true;
}

static inline void state_check(struct gateway *g)
{
	struct list_state s, sum = {0};

	ledger_commit(g->f.ledger);
	ledger_state(g->f.ledger, &s);
	assert_int_equal(ledger_entries_page(g->f.ledger, "", SIZE_MAX >> 1, entry_sum, &sum), 0);
	assert_int_equal(sum.count, s.count);
	assert_true(digest_equal(sum.digest, s.digest));
}

static inline void equal_check(struct world *w)
{
	char *a = lists_print(lists_of(&w->leader)), *b = lists_print(lists_of(&w->follower));
	struct list_state x, y;

	ledger_state(w->leader.f.ledger, &x);
	ledger_state(w->follower.f.ledger, &y);
	if (strcmp(a, b) != 0)
		print_error("leader:\n%.2000s\nfollower:\n%.2000s\n", a, b);
	assert_string_equal(a, b);
	assert_int_equal(x.count, y.count);
	assert_true(digest_equal(x.digest, y.digest));
	state_check(&w->follower);
	free(a);
	free(b);
}

static inline void model_text(unsigned i, unsigned attr, char text[256])
{
	char n[64];

	switch (i % 4) {
	case 0:
		snprintf(n, sizeof(n), "198.18.%u.%u", i >> 8, i & 255);
		break;
	case 1:
		snprintf(n, sizeof(n), "2001:db8:%x::/48", i);
		break;
	case 2:
		snprintf(n, sizeof(n), "%sh%u.evil%u.example", i % 8 == 2 ? "*." : "", i, i % 5);
		break;
	default:
		snprintf(n, sizeof(n), "tcp/198.19.%u.%u:443", i >> 8, i & 255);
	}
	if (attr == 0)
		snprintf(text, 256, "%s", n);
	else
		snprintf(
			text,
			256,
			"{\"indicator\":\"%s\",\"reason\":\"reason %u\",\"reference\":\"%u\","
			"\"action\":\"%s\",\"until\":%u}",
			n,
			attr,
			attr % 7,
			attr % 3 ? "enforce" : "monitor",
			attr % 5 ? 0 : 2000000000 + attr
		);
}
