// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A full list is replaced by one with none of its entries: half of the new ones find their lines
// full, and come nearer once the old ones have gone. A worker reads all the while.

#include "dataplane/core/match_table.h"
#include "dataplane/keys.h"
#include "dataplane/set.h"
#include "tests/match_memory.h"
#include "tests/unit/cm.h"

#include <rte_rcu_qsbr.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define WALL_S 1800000000ll
#define N 20000u
#define LINES 256 // of a step

static struct table_time time_at(int64_t seconds)
{
	return (struct table_time
	){.wall_ms = (WALL_S + seconds) * 1000, .boot_ms = 5000000 + seconds * 1000};
}

// Of one list: enforced, monitored, and with an end. The same address in no two lists.
static struct entry entry_at(unsigned list, uint32_t i)
{
	struct entry e = {.enforce_until = UNTIL_FOREVER};
	uint32_t addr = (i + list * N + 1) * 2654435761u;

	e.indicator = (struct indicator){.kind = INDICATOR_NET, .family = 4, .prefix_len = 32};
	for (unsigned k = 0; k < 4; k++)
		e.indicator.addr[k] = (uint8_t)(addr >> (24 - 8 * k));
	if (i % 3 == 1)
		e = (struct entry){.indicator = e.indicator, .monitor_until = UNTIL_FOREVER};
	else if (i % 3 == 2)
		e.enforce_until = WALL_S + 1000;
	return e;
}

static struct set *set_make(void)
{
	struct set_options options = {.capacity = N, .workers = 2};
	struct set *set;

	policy_init(&options.policy);
	assert_int_equal(set_create(&options, time_at(0), &set), 0);
	return set;
}

struct reader {
	struct live *live;
	_Atomic unsigned list; // that is there all the time
	atomic_bool stop;
	atomic_ulong lookups, missed;
};

static void recycle(struct set *set)
{
	for (int i = 0; i < 3; i++)
		set_poll(set, true);
}

// Instead of the one before. The reader, if any, asks for it as soon as it is in.
static void list_bring(struct set *set, unsigned list, struct reader *reader)
{
	struct list_state state = {.ledger_id = {3}, .revision = {.epoch = 1, .number = list + 1}};
	uint64_t least;

	for (uint32_t i = 0; i < N; i++) {
		struct entry e = entry_at(list, i);

		state.count++;
		digest_add(&state.digest, entry_hash(&e));
	}
	assert_int_equal(set_sync_begin(set, list + 1, &state), 0);
	for (uint32_t i = 0; i < N; i++) {
		struct entry e = entry_at(list, i);

		while (set_sync_put(set, list + 1, &e) < 0) {
			recycle(set); // what went is still being read
			sched_yield();
		}
	}
	if (reader)
		atomic_store(&reader->list, list);
	assert_int_equal(set_sync_end(set, list + 1, &state, true, &least), 0);
	while (!set_settle(set, 4096))
		sched_yield();
}

// Lines that the entries are away from theirs; those among the general ones count a hundred.
static uint64_t distance(struct set *set)
{
	const struct match *m = set_live(set)->entries;
	uint32_t rules[MATCH_LINE_RULES];
	uint64_t sum = 0;

	for (uint32_t line = 0; line < match_lines(m); line++) {
		unsigned n = match_line(m, line, rules);

		for (unsigned i = 0; i < n; i++) {
			struct match_key k;
			uint32_t home;

			match_rule_key(m, rules[i], &k);
			home = reduce(m->reader->host_hash(m, addr4(k.addr)), m->host_lines);
			sum += line < m->host_lines ? (line + m->host_lines - home) % m->host_lines
						    : 100;
		}
	}
	return sum;
}

static void all_there(struct set *set, unsigned list)
{
	for (uint32_t i = 0; i < N; i++) {
		struct entry e = entry_at(list, i);
		struct match_hit hit;
		struct set_view view;

		match_lookup(set_live(set)->entries, 4, e.indicator.addr, 0, 0, &hit);
		assert_int_equal(hit.actions, i % 3 == 1 ? MATCH_MONITOR : MATCH_ENFORCE);
		assert_int_equal(set_find(set, &e.indicator, &view), 0);
		assert_true(indicator_equal(&view.entry.indicator, &e.indicator));
		assert_int_equal(view.entry.enforce_until, e.enforce_until);
		assert_int_equal(view.entry.monitor_until, e.monitor_until);
		assert_int_equal(view.hits.packets, i % 7 ? 0 : i);
	}
}

static void hits_give(struct set *set, unsigned list)
{
	for (uint32_t i = 0; i < N; i += 7) {
		struct entry e = entry_at(list, i);
		struct match_key key;

		key_from_indicator(&e.indicator, &key);
		set_hit(set, match_find(set_live(set)->entries, &key), &key, i, 0);
	}
}

static bool scrub_clean(struct set *set)
{
	const struct match *m = set_live(set)->entries;
	struct table *t = set_table(set);
	uint32_t rules[MATCH_LINE_RULES];
	struct table_sum walked;
	bool clean = true;

	table_walk_begin(t);
	for (uint32_t line = 0; line < match_lines(m); line++) {
		unsigned n = match_line(m, line, rules);

		for (unsigned i = 0; i < n; i++)
			clean = clean && table_walk_rule(t, rules[i]) == FAULT_NONE;
	}
	walked = table_walked(t);
	table_walk_end(t);
	return clean && walked.count == N && digest_equal(walked.digest, table_all(t).digest);
}

#define CAPACITY 64u

// One more host than a line holds: it is sent on, and comes back when there is a place.
static void test_one_host(void **state)
{
	static const uint8_t key[16] = {1};
	uint8_t addrs[MATCH_LINE_RULES + 1][4], addr[16] = {0};
	uint32_t rules[MATCH_LINE_RULES + 1], last, to, rule, added = 0;
	struct match *m = match_map(CAPACITY, key);
	struct match_hit hit;

	(void)state;
	match_collide(CAPACITY, key, addrs, MATCH_LINE_RULES + 1);
	for (unsigned i = 0; i <= MATCH_LINE_RULES; i++) {
		struct match_key k = {.family = 4, .prefix_len = 32};

		memcpy(k.addr, addrs[i], 4);
		assert_int_equal(match_add(m, &k, MATCH_MONITOR, &rules[i]), 0);
	}
	last = rules[MATCH_LINE_RULES];
	assert_int_equal(match_move(m, rules[0]), MATCH_NONE); // it is where it belongs
	assert_int_equal(match_move(m, last), MATCH_NONE); // no place
	match_unlink(m, rules[3]);
	assert_int_equal(match_move(m, last), MATCH_NONE); // readers may be at it
	match_recycle(m, rules[3]);
	to = match_move(m, last);
	assert_int_equal(to, rules[3]);
	assert_int_equal(match_rule_action(m, to), MATCH_MONITOR);
	assert_int_equal(match_move(m, last), MATCH_NONE); // it has one already
	assert_int_equal(match_count(m), MATCH_LINE_RULES + 1);
	match_unlink(m, last);
	match_recycle(m, last);
	assert_int_equal(match_move(m, last), MATCH_NONE);
	assert_int_equal(match_count(m), MATCH_LINE_RULES);
	memcpy(addr, addrs[MATCH_LINE_RULES], 4);
	match_lookup(m, 4, addr, 0, 0, &hit);
	assert_int_equal(hit.actions, MATCH_MONITOR);
	// No more and no fewer rules than there is room for.
	for (uint32_t i = 0; i < 2 * CAPACITY; i++) {
		struct match_key k
			= {.addr = {10, 0, 0, (uint8_t)i}, .family = 4, .prefix_len = 32};

		added += match_add(m, &k, MATCH_ENFORCE, &rule) == 0;
	}
	assert_int_equal(added, CAPACITY - MATCH_LINE_RULES);
	match_unmap(m);
}

static void test_entries_come_home(void **state)
{
	struct set *set = set_make(), *fresh = set_make();
	struct rte_rcu_qsbr *qsbr = set_live(set)->qsbr;
	uint64_t before, after, best;
	unsigned steps = 0;

	(void)state;
	list_bring(fresh, 1, NULL);
	best = distance(fresh);
	list_bring(set, 0, NULL);
	list_bring(set, 1, NULL);
	hits_give(set, 1);
	before = distance(set);
	// Nothing moves as long as places wait to be given out again.
	assert_true(set_tidy(set, UINT32_MAX));
	assert_false(set_moving(set));
	recycle(set);
	rte_rcu_qsbr_thread_register(qsbr, 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	while (set_tidy(set, LINES)) {
		struct change c = {.op = CHANGE_REMOVE, .entry = entry_at(1, 0)};
		struct list_state as_is;
		uint64_t wanted;

		all_there(set, 1);
		if (set_moving(set)) {
			set_state(set, &as_is);
			assert_int_equal(
				set_change(set, &c, 1, &as_is.revision, &as_is, &wanted), -EBUSY
			);
			// A worker's lookup may have begun before the second places were there.
			assert_false(set_settle(set, 4096));
			assert_true(set_moving(set));
			rte_rcu_qsbr_quiescent(qsbr, 0);
		}
		assert_true(set_settle(set, 4096));
		assert_false(set_moving(set));
		all_there(set, 1);
		if (steps++ % 8 == 0)
			assert_true(scrub_clean(set));
		rte_rcu_qsbr_quiescent(qsbr, 0);
		recycle(set);
		rte_rcu_qsbr_quiescent(qsbr, 0);
		recycle(set);
	}
	rte_rcu_qsbr_thread_offline(qsbr, 0);
	after = distance(set);
	printf("%u steps; lines away: %llu, then %llu; brought at once %llu\n",
	       steps,
	       (unsigned long long)before,
	       (unsigned long long)after,
	       (unsigned long long)best);
	assert_true(before > 10 * best && before > N / 10);
	assert_true(after <= 2 * best);
	assert_int_equal(match_count(set_live(set)->entries), N);
	assert_int_equal(table_rules_room(set_table(set)), table_rules_room(set_table(fresh)));
	assert_true(scrub_clean(set));
	// The ends came along.
	while (!set_tick(set, time_at(1001))) {
	}
	for (uint32_t i = 2; i < N; i += 3) {
		struct entry e = entry_at(1, i);
		struct set_view view;

		assert_int_equal(set_find(set, &e.indicator, &view), 0);
		assert_int_equal(view.action, ENTRY_INERT);
	}
	set_free(fresh);
	set_free(set);
}

// In the middle of a walk of the scrub, whichever side of it the new place is on.
static void test_the_scrub_goes_on(void **state)
{
	struct set *set = set_make();
	const struct match *m = set_live(set)->entries;
	struct table *t = set_table(set);
	uint32_t rules[MATCH_LINE_RULES];

	(void)state;
	list_bring(set, 0, NULL);
	list_bring(set, 1, NULL);
	recycle(set);
	table_walk_begin(t);
	for (uint32_t line = 0; line < match_lines(m); line++) {
		unsigned n = match_line(m, line, rules);

		for (unsigned i = 0; i < n; i++)
			assert_int_equal(table_walk_rule(t, rules[i]), FAULT_NONE);
		if (line % 100)
			continue;
		set_tidy(set, LINES);
		assert_true(set_settle(set, 4096));
		recycle(set);
	}
	assert_int_equal(table_walked(t).count, N);
	assert_true(digest_equal(table_walked(t).digest, table_all(t).digest));
	table_walk_end(t);
	set_free(set);
}

static void *read_all(void *ctx)
{
	struct reader *r = ctx;
	struct rte_rcu_qsbr *qsbr = r->live->qsbr;

	rte_rcu_qsbr_thread_register(qsbr, 1);
	rte_rcu_qsbr_thread_online(qsbr, 1);
	for (uint32_t i = 0; !atomic_load(&r->stop); i = (i + 7919) % N) {
		unsigned list = atomic_load(&r->list);
		struct entry e = entry_at(list, i);
		struct match_hit hit;

		match_lookup(r->live->entries, 4, e.indicator.addr, 0, 0, &hit);
		// It may have gone meanwhile; then another list is the one that is there.
		if (!hit.actions && atomic_load(&r->list) == list)
			atomic_fetch_add(&r->missed, 1);
		atomic_fetch_add_explicit(&r->lookups, 1, memory_order_relaxed);
		rte_rcu_qsbr_quiescent(qsbr, 1);
	}
	rte_rcu_qsbr_thread_offline(qsbr, 1);
	rte_rcu_qsbr_thread_unregister(qsbr, 1);
	return NULL;
}

static void test_beside_a_worker(void **state)
{
	struct set *set = set_make();
	struct reader r = {.live = set_live(set)};
	pthread_t thread;
	unsigned steps = 0;

	(void)state;
	list_bring(set, 0, NULL);
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	for (unsigned list = 1; list < 4; list++) {
		list_bring(set, list, &r);
		while (set_tidy(set, LINES)) {
			steps += set_moving(set);
			set_settle(set, 4096);
			recycle(set);
			sched_yield();
		}
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	printf("%lu lookups beside %u steps\n", atomic_load(&r.lookups), steps);
	assert_true(steps > 10);
	assert_true(atomic_load(&r.lookups) > 0);
	assert_int_equal(atomic_load(&r.missed), 0);
	set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_host),
		cmocka_unit_test(test_entries_come_home),
		cmocka_unit_test(test_the_scrub_goes_on),
		cmocka_unit_test(test_beside_a_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
