// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A worker reads while the writer changes: what is in the list before and after a change is found
// at every instant. Meant for the thread sanitizer too.

#include "dataplane/set.h"
#include "tests/unit/cm.h"

#include <rte_rcu_qsbr.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS 3000

struct shared {
	struct live *live;
	atomic_bool stop;
	atomic_ulong lookups;
	atomic_uint missed, listless;
};

static struct entry entry_of(const char *text)
{
	struct entry e = {.enforce_until = UNTIL_FOREVER};
	struct indicator_error error;

	assert_int_equal(indicator_parse(text, strlen(text), &e.indicator, &error), 0);
	return e;
}

// 203.0.113.7 is covered all the time, now by its address, now by a network.
static void *worker(void *ctx)
{
	static const uint8_t addr[16] = {203, 0, 113, 7};
	struct shared *s = ctx;
	struct rte_rcu_qsbr *qsbr = s->live->qsbr;

	rte_rcu_qsbr_thread_register(qsbr, 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		const struct policy *policy
			= atomic_load_explicit(&s->live->policy, memory_order_acquire);
		struct match_hit hit;

		match_lookup(s->live->entries, 4, addr, 6, 443, &hit);
		if (!(hit.actions & MATCH_ENFORCE))
			atomic_fetch_add(&s->missed, 1);
		if (!policy->have_list)
			atomic_fetch_add(&s->listless, 1);
		atomic_fetch_add_explicit(&s->lookups, 1, memory_order_relaxed);
		rte_rcu_qsbr_quiescent(qsbr, 0);
	}
	rte_rcu_qsbr_thread_offline(qsbr, 0);
	rte_rcu_qsbr_thread_unregister(qsbr, 0);
	return NULL;
}

static struct list_state state_of(const struct entry *e, uint64_t number)
{
	return (struct list_state
	){.revision = {.epoch = 1, .number = number}, .count = 1, .digest = entry_hash(e)};
}

static void
change(struct set *set, const struct entry *from, const struct entry *to, uint64_t number)
{
	const struct change changes[] = {{CHANGE_REMOVE, *from}, {CHANGE_PUT, *to}};
	struct revision base = {.epoch = 1, .number = number - 1};
	struct list_state after = state_of(to, number);
	uint64_t wanted;

	assert_int_equal(set_change(set, changes, 2, &base, &after, &wanted), 0);
	while (!set_settle(set, 1))
		sched_yield();
}

static void synchronise(struct set *set, const struct entry *to, uint64_t number)
{
	struct list_state after = state_of(to, number);
	uint64_t least;

	assert_int_equal(set_sync_begin(set, number, &after), 0);
	assert_int_equal(set_sync_put(set, number, to), 0);
	assert_int_equal(set_sync_end(set, number, &after, true, &least), 0);
	while (!set_settle(set, 1))
		sched_yield();
}

static void test_found_at_every_instant(void **state)
{
	struct set_options options = {.capacity = 8, .workers = 1};
	const struct entry forms[] = {
		entry_of("203.0.113.7"),
		entry_of("203.0.113.0/24"),
		entry_of("tcp/203.0.113.7:443"),
		entry_of("203.0.112.0/23"),
	};
	struct shared shared = {0};
	struct list_state first;
	struct set *set;
	pthread_t thread;

	(void)state;
	policy_init(&options.policy);
	assert_int_equal(set_create(&options, (struct table_time){1000, 1000}, &set), 0);
	assert_int_equal(set_load_put(set, &forms[0]), 0);
	first = state_of(&forms[0], 1);
	assert_int_equal(set_load_complete(set, &first), 0);
	shared.live = set_live(set);
	assert_int_equal(pthread_create(&thread, NULL, worker, &shared), 0);
	while (!atomic_load(&shared.lookups))
		sched_yield();
	for (uint64_t i = 2; i < ROUNDS; i++) {
		const struct entry *from = &forms[i % 4], *to = &forms[(i + 1) % 4];

		if (i == 2)
			from = &forms[0];
		if (i % 7 == 0)
			synchronise(set, to, i);
		else
			change(set, from, to, i);
		assert_int_equal(set_pause(set, i % 2), 0);
		set_poll(set, true);
		// The worker may have lost its core for longer than there is room for.
		for (uint64_t token = set_barrier(set); i % 100 == 0 && !set_passed(set, token);)
			sched_yield();
	}
	atomic_store(&shared.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&shared.missed), 0);
	assert_int_equal(atomic_load(&shared.listless), 0);
	assert_true(atomic_load(&shared.lookups) > 0);
	set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_at_every_instant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
