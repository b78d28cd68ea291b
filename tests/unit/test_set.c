// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The live set against a naive model: batches, synchronisations, ends under a fake clock.

#include "dataplane/keys.h"
#include "dataplane/set.h"
#include "tests/random.h"
#include "tests/unit/cm.h"

#include <rte_rcu_qsbr.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 265
#define POOL 400
#define WALL_S 1800000000ll

static uint64_t seed;

static uint32_t random_below(uint32_t n)
{
	return random_under(&seed, n);
}

static struct indicator parse(const char *text)
{
	struct indicator n;
	struct indicator_error error;

	if (indicator_parse(text, strlen(text), &n, &error) < 0)
		fail_msg("%s: %s", text, error.reason);
	return n;
}

static struct entry entry_of(const char *text, int64_t enforce, int64_t monitor)
{
	return (struct entry
	){.indicator = parse(text), .enforce_until = enforce, .monitor_until = monitor};
}

// --- the model

struct model {
	struct entry pool[POOL]; // [i].enforce_until and monitor_until 0: not in the list
};

static bool in_list(const struct entry *e)
{
	return e->enforce_until || e->monitor_until;
}

static void pool_fill(struct model *m)
{
	char text[64];

	for (unsigned i = 0; i < POOL; i++) {
		switch (i % 4) {
		case 0:
			snprintf(text, sizeof(text), "203.0.%u.%u", i / 256, i % 256);
			break;
		case 1:
			snprintf(text, sizeof(text), "2001:db8:%x::/%u", i, 48 + i % 64);
			break;
		case 2:
			snprintf(text, sizeof(text), "tcp/198.51.100.%u:%u", i % 250, 1 + i);
			break;
		default:
			snprintf(text, sizeof(text), "%sh%u.example", i % 8 == 3 ? "*." : "", i);
		}
		m->pool[i] = entry_of(text, 0, 0);
	}
}

static struct list_state model_state(const struct model *m, uint64_t number)
{
	struct list_state state = {.ledger_id = {7}, .revision = {.epoch = 1, .number = number}};

	for (unsigned i = 0; i < POOL; i++) {
		if (!in_list(&m->pool[i]))
			continue;
		state.count++;
		digest_add(&state.digest, entry_hash(&m->pool[i]));
	}
	return state;
}

static int64_t random_until(void)
{
	switch (random_below(4)) {
	case 0:
		return UNTIL_FOREVER;
	case 1:
		return UNTIL_NONE;
	default:
		return WALL_S - 50 + random_below(300);
	}
}

static struct change random_change(struct model *m)
{
	struct entry *e = &m->pool[random_below(POOL)];
	struct change c = {.op = random_below(3) ? CHANGE_PUT : CHANGE_REMOVE};

	e->enforce_until = e->monitor_until = 0;
	if (c.op == CHANGE_PUT) {
		e->enforce_until = random_until();
		e->monitor_until = e->enforce_until ? random_until() : UNTIL_FOREVER;
	}
	c.entry = *e;
	return c;
}

static void model_compare(const struct model *m, const struct set *set, int64_t wall_s)
{
	for (unsigned i = 0; i < POOL; i++) {
		struct set_view view;
		int r = set_find(set, &m->pool[i].indicator, &view);

		assert_int_equal(r, in_list(&m->pool[i]) ? 0 : -ENOENT);
		if (r < 0)
			continue;
		assert_int_equal(view.action, entry_action_at(&m->pool[i], wall_s));
		assert_int_equal(view.entry.enforce_until, m->pool[i].enforce_until);
		assert_int_equal(view.entry.monitor_until, m->pool[i].monitor_until);
		assert_int_equal(view.matched, view.entry.indicator.kind != INDICATOR_NAME);
	}
}

// --- the set

static struct table_time time_at(int64_t seconds)
{
	// The two clocks do not agree on where a second begins.
	return (struct table_time
	){.wall_ms = (WALL_S + seconds) * 1000, .boot_ms = 5000123 + seconds * 1000};
}

static struct set *set_make(uint32_t capacity)
{
	struct set_options options = {.capacity = capacity, .workers = 2};
	struct set *set;

	policy_init(&options.policy);
	assert_int_equal(set_create(&options, time_at(0), &set), 0);
	return set;
}

static void settle(struct set *set)
{
	for (int i = 0; i < 3; i++)
		set_poll(set, true);
}

static struct set *set_empty_list(uint32_t capacity)
{
	struct list_state empty = {.ledger_id = {7}, .revision = {.epoch = 1, .number = 1}};
	struct set *set = set_make(capacity);

	assert_int_equal(set_load_complete(set, &empty), 0);
	return set;
}

static int change_one(struct set *set, enum change_op op, struct entry e, uint64_t to)
{
	struct change c = {.op = op, .entry = e};
	struct revision from = {.epoch = 1, .number = to - 1};
	struct list_state after;
	struct set_view view;
	uint64_t wanted;

	set_state(set, &after);
	after.revision.number = to;
	if (set_find(set, &e.indicator, &view) == 0) {
		after.count--;
		digest_remove(&after.digest, entry_hash(&view.entry));
	}
	if (op == CHANGE_PUT) {
		after.count++;
		digest_add(&after.digest, entry_hash(&e));
	}
	return set_change(set, &c, 1, &from, &after, &wanted);
}

static enum entry_action action_now(const struct set *set, const char *text)
{
	struct indicator n = parse(text);
	struct set_view view;

	assert_int_equal(set_find(set, &n, &view), 0);
	return view.action;
}

// --- tests

static void test_random_batches(void **state)
{
	static struct model model, before;
	struct set *set = set_empty_list(CAPACITY);
	struct revision from = {.epoch = 1, .number = 1};
	int full = 0, done = 0;
	int64_t second = 0;

	(void)state;
	pool_fill(&model);
	for (unsigned round = 0; round < 2000; round++) {
		struct change changes[40];
		size_t n = random_below(40);
		struct list_state after, live;
		uint64_t wanted = 0;
		int r;

		before = model;
		for (size_t i = 0; i < n; i++)
			changes[i] = random_change(&model);
		after = model_state(&model, from.number + 1);
		r = set_change(set, changes, n, &from, &after, &wanted);
		if (after.count > CAPACITY) {
			assert_int_equal(r, -ENOSPC);
			assert_int_equal(wanted, after.count);
			model = before;
			full++;
		} else {
			assert_int_equal(r, 0);
			from = after.revision;
			done++;
		}
		set_state(set, &live);
		after = model_state(&model, from.number);
		assert_true(list_state_equal(&live, &after));
		second += random_below(2);
		set_tick(set, time_at(second));
		set_tick(
			set,
			(struct table_time
			){time_at(second).wall_ms + 100, time_at(second).boot_ms + 100}
		);
		if (round % 20 == 0)
			model_compare(&model, set, WALL_S + second);
		settle(set);
	}
	assert_true(full > 0 && done > 100);
	set_free(set);
}

static void test_batch_refused_whole(void **state)
{
	struct set *set = set_empty_list(2);
	struct change changes[3];
	struct revision from = {.epoch = 1, .number = 1}, other = {.epoch = 1, .number = 9};
	struct list_state after = {.ledger_id = {7}, .revision = {.epoch = 1, .number = 2}}, live;
	uint64_t wanted = 0;
	struct set_view view;

	(void)state;
	for (int i = 0; i < 3; i++) {
		char text[32];

		snprintf(text, sizeof(text), "203.0.113.%d", i + 1);
		changes[i] = (struct change){CHANGE_PUT, entry_of(text, UNTIL_FOREVER, 0)};
		after.count++;
		digest_add(&after.digest, entry_hash(&changes[i].entry));
	}
	assert_int_equal(set_change(set, changes, 3, &from, &after, &wanted), -ENOSPC);
	assert_int_equal(wanted, 3);
	assert_int_equal(set_change(set, changes, 2, &from, &after, &wanted), -EILSEQ);
	after.count = 2;
	digest_remove(&after.digest, entry_hash(&changes[2].entry));
	assert_int_equal(set_change(set, changes, 2, &other, &after, &wanted), -ESTALE);
	after.ledger_id[0] = 8;
	assert_int_equal(set_change(set, changes, 2, &from, &after, &wanted), -ESTALE);
	after.ledger_id[0] = 7;
	set_state(set, &live);
	assert_int_equal(live.count, 0);
	assert_int_equal(set_find(set, &changes[0].entry.indicator, &view), -ENOENT);
	assert_int_equal(set_change(set, changes, 2, &from, &after, &wanted), 0);
	set_state(set, &live);
	assert_true(list_state_equal(&live, &after));
	// A full set still takes a replacement: the addition has room before the removal.
	changes[0].op = CHANGE_REMOVE;
	digest_remove(&after.digest, entry_hash(&changes[0].entry));
	digest_add(&after.digest, entry_hash(&changes[2].entry));
	changes[1] = changes[2];
	from = after.revision;
	after.revision.number = 3;
	assert_int_equal(set_change(set, changes, 2, &from, &after, &wanted), 0);
	set_free(set);
}

static void test_first_batch_needs_a_list(void **state)
{
	struct set *set = set_make(10);

	(void)state;
	assert_int_equal(
		change_one(set, CHANGE_PUT, entry_of("203.0.113.1", UNTIL_FOREVER, 0), 1), -ESTALE
	);
	assert_false(set_have_list(set));
	assert_false(atomic_load(&set_live(set)->policy)->have_list);
	set_free(set);
}

static void test_ends(void **state)
{
	struct set *set = set_empty_list(10);
	struct list_state before, after;

	(void)state;
	assert_int_equal(
		change_one(set, CHANGE_PUT, entry_of("203.0.113.1", WALL_S + 10, WALL_S + 20), 2), 0
	);
	assert_int_equal(
		change_one(set, CHANGE_PUT, entry_of("203.0.113.2", WALL_S + 10, 0), 3), 0
	);
	set_state(set, &before);
	set_tick(set, (struct table_time){time_at(10).wall_ms - 1, time_at(10).boot_ms - 1});
	assert_int_equal(action_now(set, "203.0.113.1"), ENTRY_ENFORCE);
	// At most a tick of the wheel late.
	set_tick(set, (struct table_time){time_at(10).wall_ms + 100, time_at(10).boot_ms + 100});
	assert_int_equal(action_now(set, "203.0.113.1"), ENTRY_MONITOR);
	assert_int_equal(action_now(set, "203.0.113.2"), ENTRY_INERT);
	set_tick(set, time_at(21));
	assert_int_equal(action_now(set, "203.0.113.1"), ENTRY_INERT);
	// It stays in the set and the digest until control removes it.
	set_state(set, &after);
	assert_true(list_state_equal(&before, &after));
	set_free(set);
}

static void test_clock_step_moves_no_end(void **state)
{
	struct set *set = set_empty_list(10);

	(void)state;
	assert_int_equal(
		change_one(set, CHANGE_PUT, entry_of("203.0.113.1", WALL_S + 100, 0), 2), 0
	);
	// The wall clock jumps a year ahead, then one back; 50 seconds have gone by.
	set_tick(set, (struct table_time){time_at(31536000).wall_ms, time_at(50).boot_ms});
	assert_int_equal(action_now(set, "203.0.113.1"), ENTRY_ENFORCE);
	set_tick(set, (struct table_time){time_at(-31536000).wall_ms, time_at(101).boot_ms});
	assert_int_equal(action_now(set, "203.0.113.1"), ENTRY_INERT);
	set_free(set);
}

static void test_ends_held(void **state)
{
	struct set *set = set_empty_list(10);

	(void)state;
	set_ends_hold(set, true);
	assert_int_equal(
		change_one(set, CHANGE_PUT, entry_of("203.0.113.1", WALL_S - 100, 0), 2), 0
	);
	assert_int_equal(change_one(set, CHANGE_PUT, entry_of("203.0.113.2", WALL_S + 5, 0), 3), 0);
	set_tick(set, time_at(60));
	assert_int_equal(action_now(set, "203.0.113.1"), ENTRY_ENFORCE);
	assert_int_equal(action_now(set, "203.0.113.2"), ENTRY_ENFORCE);
	// Believed again: now by the wall clock of that moment.
	set_tick(set, (struct table_time){time_at(0).wall_ms, time_at(61).boot_ms});
	set_ends_hold(set, false);
	assert_int_equal(action_now(set, "203.0.113.1"), ENTRY_INERT);
	assert_int_equal(action_now(set, "203.0.113.2"), ENTRY_ENFORCE);
	set_tick(set, time_at(67));
	assert_int_equal(action_now(set, "203.0.113.2"), ENTRY_INERT);
	set_free(set);
}

static void sweep_all(struct set *set)
{
	while (!set_settle(set, 7))
		;
}

static void test_random_syncs(void **state)
{
	static struct model model;
	struct set *set = set_make(POOL);
	struct list_state live, target;
	uint64_t number = 1, least;

	(void)state;
	pool_fill(&model);
	for (uint64_t generation = 1; generation < 100; generation++) {
		struct list_state base = model_state(&model, number);
		struct revision from = base.revision;
		uint64_t wanted;

		for (int i = 0; i < 150; i++)
			random_change(&model);
		base = model_state(&model, number);
		assert_int_equal(set_sync_begin(set, generation, &base), 0);
		for (unsigned i = 0; i < POOL; i++) {
			if (i == POOL / 2) {
				// A change in the middle, of one already sent or one to come.
				struct change c = random_change(&model);

				target = model_state(&model, ++number);
				assert_int_equal(
					set_change(set, &c, 1, &from, &target, &wanted), 0
				);
			}
			if (in_list(&model.pool[i]))
				assert_int_equal(set_sync_put(set, generation, &model.pool[i]), 0);
		}
		target = model_state(&model, number);
		assert_int_equal(
			set_sync_end(set, generation + 1, &target, true, &least), -EALREADY
		);
		assert_int_equal(set_sync_end(set, generation, &target, true, &least), 0);
		sweep_all(set);
		set_state(set, &live);
		assert_true(list_state_equal(&live, &target));
		model_compare(&model, set, WALL_S);
		settle(set);
	}
	set_free(set);
}

static void fill(struct set *set, unsigned n, uint64_t generation)
{
	struct list_state target = {.ledger_id = {7}, .revision = {.epoch = 1, .number = 1}};
	char text[32];
	uint64_t least;

	assert_int_equal(set_sync_begin(set, generation, &target), 0);
	for (unsigned i = 0; i < n; i++) {
		struct entry e;

		snprintf(text, sizeof(text), "203.0.%u.%u", i / 256, i % 256);
		e = entry_of(text, UNTIL_FOREVER, 0);
		target.count++;
		digest_add(&target.digest, entry_hash(&e));
		assert_int_equal(set_sync_put(set, generation, &e), 0);
	}
	assert_int_equal(set_sync_end(set, generation, &target, true, &least), 0);
	sweep_all(set);
	settle(set);
}

// A synchronisation that names only the first `n`. Returns what set_sync_end says.
static int shrink_to(struct set *set, unsigned n, bool force, uint64_t *ret_least)
{
	static uint64_t generation = 1000;
	struct list_state target = {.ledger_id = {7}, .revision = {.epoch = 1, .number = 2}};
	char text[32];

	generation++;
	assert_int_equal(set_sync_begin(set, generation, &target), 0);
	for (unsigned i = 0; i < n; i++) {
		struct entry e;

		snprintf(text, sizeof(text), "203.0.%u.%u", i / 256, i % 256);
		e = entry_of(text, UNTIL_FOREVER, 0);
		target.count++;
		digest_add(&target.digest, entry_hash(&e));
		assert_int_equal(set_sync_put(set, generation, &e), 0);
	}
	return set_sync_end(set, generation, &target, force, ret_least);
}

static void test_shrink_brake(void **state)
{
	struct set *set = set_make(2000);
	struct list_state live;
	uint64_t least = 0;

	(void)state;
	fill(set, 1000, 1);
	assert_int_equal(shrink_to(set, 799, false, &least), -EDOM);
	assert_int_equal(least, 800);
	set_state(set, &live);
	assert_int_equal(live.count, 1000);
	assert_int_equal(shrink_to(set, 800, false, &least), 0);
	sweep_all(set);
	set_state(set, &live);
	assert_int_equal(live.count, 800);
	// A hundred may always go, but never the last.
	fill(set, 90, 2);
	assert_int_equal(shrink_to(set, 0, false, &least), -EDOM);
	assert_int_equal(least, 1);
	assert_int_equal(shrink_to(set, 1, false, &least), 0);
	sweep_all(set);
	assert_int_equal(shrink_to(set, 0, true, &least), 0);
	sweep_all(set);
	set_state(set, &live);
	assert_int_equal(live.count, 0);
	assert_int_equal(shrink_to(set, 0, false, &least), 0);
	sweep_all(set);
	set_free(set);
}

static void test_sync_broken_off_takes_nothing_away(void **state)
{
	struct set *set = set_make(2000);
	struct list_state target = {.ledger_id = {7}, .revision = {.epoch = 1, .number = 2}}, live;
	struct entry weaker = entry_of("203.0.0.5", 0, UNTIL_FOREVER);
	struct entry wider = entry_of("198.51.100.0/24", UNTIL_FOREVER, 0);
	uint64_t least;

	(void)state;
	fill(set, 1000, 1);
	assert_int_equal(set_sync_begin(set, 7, &target), 0);
	assert_int_equal(set_sync_put(set, 7, &weaker), 0);
	assert_int_equal(set_sync_put(set, 7, &wider), 0);
	// What strengthens acts at once, what weakens waits.
	assert_int_equal(action_now(set, "198.51.100.0/24"), ENTRY_ENFORCE);
	assert_int_equal(action_now(set, "203.0.0.5"), ENTRY_ENFORCE);
	set_sync_abort(set);
	set_state(set, &live);
	assert_int_equal(live.count, 1001);
	assert_int_equal(live.revision.number, 0);
	assert_int_equal(action_now(set, "203.0.0.5"), ENTRY_ENFORCE);
	// The next one settles it.
	target.count = 1;
	target.digest = entry_hash(&weaker);
	assert_int_equal(set_sync_begin(set, 8, &target), 0);
	assert_int_equal(set_sync_put(set, 8, &weaker), 0);
	assert_int_equal(set_sync_end(set, 8, &target, true, &least), 0);
	sweep_all(set);
	assert_int_equal(action_now(set, "203.0.0.5"), ENTRY_MONITOR);
	set_state(set, &live);
	assert_true(list_state_equal(&live, &target));
	set_free(set);
}

static void test_sync_of_another_set_is_refused(void **state)
{
	struct set *set = set_make(10);
	struct list_state target = {.count = 1};
	struct entry e = entry_of("203.0.113.1", UNTIL_FOREVER, 0);
	uint64_t least;

	(void)state;
	assert_int_equal(set_sync_begin(set, 0, &target), -EINVAL);
	assert_int_equal(set_sync_put(set, 1, &e), -EALREADY);
	assert_int_equal(set_sync_begin(set, 1, &target), 0);
	assert_int_equal(set_sync_put(set, 1, &e), 0);
	assert_int_equal(set_sync_end(set, 1, &target, true, &least), -EILSEQ);
	assert_false(set_have_list(set));
	target.count = 11;
	assert_int_equal(set_sync_begin(set, 2, &target), -ENOSPC);
	set_free(set);
}

// Once every worker has been quiescent since an addition, a removal need not wait.
static void test_removal_after_quiescence_is_at_once(void **state)
{
	struct set *set = set_empty_list(4);
	struct rte_rcu_qsbr *qsbr = set_live(set)->qsbr;
	struct entry entry = entry_of("203.0.113.1", UNTIL_FOREVER, 0);
	struct match_key key;

	(void)state;
	rte_rcu_qsbr_thread_register(qsbr, 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	assert_int_equal(change_one(set, CHANGE_PUT, entry, 2), 0);
	rte_rcu_qsbr_quiescent(qsbr, 0);
	assert_int_equal(change_one(set, CHANGE_REMOVE, entry, 3), 0);
	assert_false(set_settling(set));
	key_from_indicator(&entry.indicator, &key);
	assert_int_equal(match_find(set_live(set)->entries, &key), MATCH_NONE);
	set_free(set);
}

// A reader that is not quiescent keeps an unlinked rule's index from being given out again.
static void test_recycling_waits_for_grace_and_drain(void **state)
{
	struct set *set = set_empty_list(4);
	struct rte_rcu_qsbr *qsbr = set_live(set)->qsbr;
	struct indicator one = parse("203.0.113.1");
	uint64_t number = 2, token;
	struct match_key key;
	uint32_t rule, other;

	(void)state;
	rte_rcu_qsbr_thread_register(qsbr, 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	assert_int_equal(
		change_one(set, CHANGE_PUT, entry_of("203.0.113.1", UNTIL_FOREVER, 0), number++), 0
	);
	key_from_indicator(&one, &key);
	rule = match_find(set_live(set)->entries, &key);
	// The worker may be in a lookup that began before the addition: nothing goes yet.
	assert_int_equal(change_one(set, CHANGE_REMOVE, (struct entry){one, 0, 0, 0}, number++), 0);
	assert_true(set_settling(set));
	assert_false(set_settle(set, 1));
	assert_int_equal(match_find(set_live(set)->entries, &key), rule);
	assert_int_equal(
		change_one(set, CHANGE_PUT, entry_of("203.0.113.9", UNTIL_FOREVER, 0), number),
		-EBUSY
	);
	rte_rcu_qsbr_quiescent(qsbr, 0);
	assert_true(set_settle(set, 1));
	assert_int_equal(match_find(set_live(set)->entries, &key), MATCH_NONE);
	token = set_barrier(set);
	for (int i = 0; i < 5; i++)
		set_poll(set, true);
	assert_false(set_passed(set, token));
	other = table_rules_room(set_table(set));
	rte_rcu_qsbr_quiescent(qsbr, 0);
	assert_true(set_passed(set, token));
	set_poll(set, false);
	assert_int_equal(table_rules_room(set_table(set)), other); // not before a drain
	set_poll(set, true);
	assert_int_equal(table_rules_room(set_table(set)), other + 1);
	// A late record of that rule does not count for the entry that has its index now.
	assert_int_equal(
		change_one(set, CHANGE_PUT, entry_of("203.0.113.9", UNTIL_FOREVER, 0), number++), 0
	);
	set_hit(set, rule, &key, 5, 500);
	one = parse("203.0.113.9");
	struct set_view view;

	assert_int_equal(set_find(set, &one, &view), 0);
	assert_int_equal(view.hits.packets, 0);
	key_from_indicator(&one, &key);
	set_hit(set, match_find(set_live(set)->entries, &key), &key, 5, 500);
	assert_int_equal(set_find(set, &one, &view), 0);
	assert_int_equal(view.hits.packets, 5);
	assert_int_equal(view.hits.bytes, 500);
	assert_int_equal(view.hits.last_ms, WALL_S * 1000);
	set_free(set);
}

static uint8_t exception_at(const struct set *set, const char *text)
{
	struct indicator n = parse(text);

	return set_exception_covering(set, &n);
}

static void test_exceptions(void **state)
{
	struct set *set = set_empty_list(4);
	struct exception given[3] = {
		{parse("192.0.2.0/24"), EXCEPTION_PROTECT, UNTIL_FOREVER},
		{parse("192.0.2.7"), EXCEPTION_ALLOW, WALL_S + 60},
		{parse("*.corp.example"), EXCEPTION_PROTECT, UNTIL_FOREVER},
	};
	struct indicator root = parse("tcp/198.51.100.1:443");

	(void)state;
	assert_int_equal(set_exceptions(set, given, 3), 0);
	assert_int_equal(set_exception_count(set), 3);
	assert_int_equal(set_allow_count(set), 1);
	assert_int_equal(exception_at(set, "192.0.2.7"), EXCEPTION_PROTECT);
	assert_int_equal(exception_at(set, "tcp/192.0.2.9:80"), EXCEPTION_PROTECT);
	assert_int_equal(exception_at(set, "192.0.0.0/16"), 0);
	assert_int_equal(set_breakglass(set, &root, time_at(100).boot_ms), 0);
	assert_int_equal(exception_at(set, "tcp/198.51.100.1:443"), EXCEPTION_ALLOW);
	assert_int_equal(exception_at(set, "198.51.100.1"), 0);
	// Replaced as a whole; root's stays.
	assert_int_equal(set_exceptions(set, given + 1, 1), 0);
	assert_int_equal(exception_at(set, "192.0.2.9"), 0);
	assert_int_equal(exception_at(set, "192.0.2.7"), EXCEPTION_ALLOW);
	assert_int_equal(exception_at(set, "tcp/198.51.100.1:443"), EXCEPTION_ALLOW);
	set_tick(set, time_at(61));
	assert_int_equal(exception_at(set, "192.0.2.7"), 0);
	assert_int_equal(set_allow_count(set), 1);
	set_tick(set, time_at(101));
	assert_int_equal(exception_at(set, "tcp/198.51.100.1:443"), 0);
	assert_int_equal(set_breakglass(set, &root, 0), -ENOENT);
	assert_int_equal(set_breakglass(set, &root, time_at(200).boot_ms), 0);
	assert_int_equal(set_breakglass(set, &root, 0), 0);
	assert_int_equal(exception_at(set, "tcp/198.51.100.1:443"), 0);
	// An allow without an end that can be believed lasts a day.
	given[1].until = UNTIL_FOREVER;
	assert_int_equal(set_exceptions(set, given + 1, 1), 0);
	set_tick(set, time_at(101 + 24 * 3600 + 1));
	assert_int_equal(exception_at(set, "192.0.2.7"), 0);
	set_free(set);
}

// A lookup that began before the new ones were there still finds what it found before.
static void test_exceptions_replaced_under_a_reader(void **state)
{
	struct set *set = set_empty_list(4);
	struct rte_rcu_qsbr *qsbr = set_live(set)->qsbr;
	struct exception wide = {parse("192.0.2.0/24"), EXCEPTION_PROTECT, UNTIL_FOREVER};
	struct exception narrow = {parse("192.0.2.7"), EXCEPTION_PROTECT, UNTIL_FOREVER};

	(void)state;
	assert_int_equal(set_exceptions(set, &wide, 1), 0);
	assert_false(set_settling(set));
	rte_rcu_qsbr_thread_register(qsbr, 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	assert_int_equal(set_exceptions(set, &narrow, 1), 0);
	assert_true(set_settling(set));
	assert_false(set_settle(set, UINT32_MAX));
	assert_int_equal(exception_at(set, "192.0.2.9"), EXCEPTION_PROTECT);
	assert_int_equal(exception_at(set, "192.0.2.7"), EXCEPTION_PROTECT);
	rte_rcu_qsbr_quiescent(qsbr, 0);
	assert_true(set_settle(set, UINT32_MAX));
	assert_false(set_settling(set));
	assert_int_equal(exception_at(set, "192.0.2.9"), 0);
	assert_int_equal(exception_at(set, "192.0.2.7"), EXCEPTION_PROTECT);
	rte_rcu_qsbr_thread_offline(qsbr, 0);
	set_free(set);
}

static void test_pause(void **state)
{
	struct set *set = set_empty_list(4);
	const struct policy *before = atomic_load(&set_live(set)->policy), *after;

	(void)state;
	assert_true(before->have_list);
	assert_false(before->paused);
	assert_int_equal(set_pause(set, true), 0);
	after = atomic_load(&set_live(set)->policy);
	assert_ptr_not_equal(before, after);
	assert_true(after->paused && after->have_list);
	assert_int_equal(set_pause(set, false), 0);
	settle(set);
	assert_false(atomic_load(&set_live(set)->policy)->paused);
	set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_batches),
		cmocka_unit_test(test_batch_refused_whole),
		cmocka_unit_test(test_first_batch_needs_a_list),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_clock_step_moves_no_end),
		cmocka_unit_test(test_ends_held),
		cmocka_unit_test(test_random_syncs),
		cmocka_unit_test(test_shrink_brake),
		cmocka_unit_test(test_sync_broken_off_takes_nothing_away),
		cmocka_unit_test(test_sync_of_another_set_is_refused),
		cmocka_unit_test(test_removal_after_quiescence_is_at_once),
		cmocka_unit_test(test_recycling_waits_for_grace_and_drain),
		cmocka_unit_test(test_exceptions),
		cmocka_unit_test(test_exceptions_replaced_under_a_reader),
		cmocka_unit_test(test_pause),
	};
	const char *given = getenv("SEED");

	seed = given ? strtoull(given, NULL, 10) : 20261124;
	printf("SEED=%llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
