// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The live set when much happens at once, and a device's spreading of packets over the queues.

#include "dataplane/core/decide.h"
#include "dataplane/keys.h"
#include "dataplane/port.h"
#include "dataplane/set.h"
#include "tests/unit/cm.h"

#include <rte_rcu_qsbr.h>
#include <rte_thash.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WALL_S 1800000000ll
#define STORM 54000u

static struct table_time time_at(int64_t seconds)
{
	return (struct table_time
	){.wall_ms = (WALL_S + seconds) * 1000, .boot_ms = 5000000 + seconds * 1000};
}

static struct entry host_entry(uint32_t i, int64_t until)
{
	struct entry e = {.enforce_until = until};
	struct indicator_error error;
	char text[32];
	int len = snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);

	assert_int_equal(indicator_parse(text, (size_t)len, &e.indicator, &error), 0);
	return e;
}

static struct set *set_of(uint32_t n, int64_t until)
{
	struct set_options options = {.capacity = n + 16, .workers = 1};
	struct list_state state = {.ledger_id = {7}, .revision = {.epoch = 1, .number = 1}};
	struct set *set;

	policy_init(&options.policy);
	assert_int_equal(set_create(&options, time_at(0), &set), 0);
	for (uint32_t i = 0; i < n; i++) {
		struct entry e = host_entry(i, until);

		assert_int_equal(set_load_put(set, &e), 0);
		state.count++;
		digest_add(&state.digest, entry_hash(&e));
	}
	assert_int_equal(set_load_complete(set, &state), 0);
	return set;
}

static unsigned enforced(const struct set *set, uint32_t n)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct entry e = host_entry(i, 0);
		struct set_view view;

		assert_int_equal(set_find(set, &e.indicator, &view), 0);
		count += view.action == ENTRY_ENFORCE;
	}
	return count;
}

static int batch(struct set *set, const struct change *changes, size_t n, int spoil)
{
	struct list_state after;
	struct revision from;
	uint64_t wanted;

	set_state(set, &after);
	from = after.revision;
	after.revision.number++;
	for (size_t i = 0; i < n; i++) {
		struct digest hash = entry_hash(&changes[i].entry);

		if (changes[i].op == CHANGE_PUT)
			digest_add(&after.digest, hash);
		else
			digest_remove(&after.digest, hash);
		after.count += changes[i].op == CHANGE_PUT ? 1 : -1ull;
	}
	after.count += (uint64_t)spoil;
	return set_change(set, changes, n, &from, &after, &wanted);
}

// Entries that the scrub would put right.
static unsigned faults(struct set *set, uint32_t n)
{
	struct table *t = set_table(set);
	unsigned count = 0;

	table_walk_begin(t);
	for (uint32_t i = 0; i < n; i++) {
		struct entry e = host_entry(i, 0);

		count += table_walk_rule(t, table_find(t, &e.indicator)) != FAULT_NONE;
	}
	table_walk_end(t);
	return count;
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// All of them end in one second: none before it, all after it, and the digest is as it was. They go
// in slices, between which the set takes a change and the scrub finds nothing wrong.
static void test_expiry_storm(void **state)
{
	struct set *set = set_of(STORM, WALL_S + 10);
	struct change c = {.op = CHANGE_PUT, .entry = host_entry(STORM, UNTIL_FOREVER)};
	struct set_view view;
	struct list_state before, after;
	double longest = 0;
	unsigned slices = 0, left = STORM;
	bool done = false;

	(void)state;
	set_state(set, &before);
	assert_true(set_tick(set, time_at(9)));
	assert_int_equal(enforced(set, STORM), STORM);
	while (!done) {
		double begun = now_ms();
		unsigned now;

		done = set_tick(set, time_at(11));
		longest = now_ms() - begun > longest ? now_ms() - begun : longest;
		now = enforced(set, STORM);
		assert_true(left - now <= 1024);
		left = now;
		if (slices++ == 3) {
			assert_int_equal(batch(set, &c, 1, 0), 0);
			assert_int_equal(set_find(set, &c.entry.indicator, &view), 0);
			assert_int_equal(view.action, ENTRY_ENFORCE);
			c.op = CHANGE_REMOVE;
			assert_int_equal(batch(set, &c, 1, 0), 0);
		}
		assert_int_equal(faults(set, STORM), 0);
	}
	printf("%u ends in %u slices, the longest %.2f ms\n", STORM, slices, longest);
	assert_int_equal(enforced(set, STORM), 0);
	set_state(set, &after);
	assert_int_equal(after.count, before.count);
	assert_true(digest_equal(after.digest, before.digest));
	set_free(set);
}

// Removed and added again in one batch while a reader is in the middle of a lookup: the last
// change of an indicator counts, so that it never goes.
static void test_removed_and_added_again_in_one_batch(void **state)
{
	struct set *set = set_of(4, UNTIL_FOREVER);
	struct rte_rcu_qsbr *qsbr = set_live(set)->qsbr;
	struct entry e = host_entry(2, UNTIL_FOREVER);
	struct change batch[] = {
		{.op = CHANGE_REMOVE, .entry = e},
		{.op = CHANGE_PUT, .entry = e},
	};
	struct list_state after;
	struct match_key key;
	uint64_t wanted;
	uint32_t rule;

	(void)state;
	rte_rcu_qsbr_thread_register(qsbr, 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	key_from_indicator(&e.indicator, &key);
	rule = match_find(set_live(set)->entries, &key);
	assert_int_not_equal(rule, MATCH_NONE);
	set_state(set, &after);
	struct revision from = after.revision;

	after.revision.number++;
	assert_int_equal(set_change(set, batch, 2, &from, &after, &wanted), 0);
	assert_int_equal(match_find(set_live(set)->entries, &key), rule);
	set_free(set);
}

// In two batches, the old rule not yet recycled: the new one is found at once.
static void test_removed_and_added_again_before_grace(void **state)
{
	struct set *set = set_of(4, UNTIL_FOREVER);
	struct rte_rcu_qsbr *qsbr = set_live(set)->qsbr;
	struct entry e = host_entry(2, UNTIL_FOREVER);
	struct change c = {.op = CHANGE_REMOVE, .entry = e};
	struct list_state full, after;
	struct match_key key;
	uint64_t wanted;

	(void)state;
	rte_rcu_qsbr_thread_register(qsbr, 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	key_from_indicator(&e.indicator, &key);
	set_state(set, &full);
	after = full;
	after.count--;
	digest_remove(&after.digest, entry_hash(&e));
	after.revision.number = 2;
	assert_int_equal(set_change(set, &c, 1, &full.revision, &after, &wanted), 0);
	assert_int_equal(match_find(set_live(set)->entries, &key), MATCH_NONE);
	struct revision from = after.revision;

	c.op = CHANGE_PUT;
	full.revision.number = 3;
	assert_int_equal(set_change(set, &c, 1, &from, &full, &wanted), 0);
	assert_int_not_equal(match_find(set_live(set)->entries, &key), MATCH_NONE);
	set_poll(set, true);
	rte_rcu_qsbr_quiescent(qsbr, 0);
	for (int i = 0; i < 4; i++)
		set_poll(set, true);
	assert_int_not_equal(match_find(set_live(set)->entries, &key), MATCH_NONE);
	assert_int_equal(enforced(set, 4), 4);
	set_free(set);
}

static struct indicator parse(const char *text)
{
	struct indicator n;
	struct indicator_error error;

	assert_int_equal(indicator_parse(text, strlen(text), &n, &error), 0);
	return n;
}

// Why a packet to 10.0.b.c meets the verdict it meets.
static uint8_t reason_of(struct set *set, uint8_t b, uint8_t c)
{
	struct packet p = {.n_layers = 1, .reason = REASON_NO_ENTRY};
	struct live *live = set_live(set);
	struct decision d;

	p.layers[0] = (struct packet_layer
	){.family = 4, .proto = 47, .src = {192, 0, 2, 1}, .dst = {10, 0, b, c}};
	decide(atomic_load(&live->policy), live->entries, live->exceptions, &p, DIRECTION_OUT, &d);
	return d.reason;
}

// Of a network and a host in it, one goes: the other denies as before. A batch that is refused
// because of its last change has changed nothing that a packet meets.
static void test_overlap_and_refused_batch(void **state)
{
	struct set *set = set_of(4, UNTIL_FOREVER); // 10.0.0.0 to 10.0.0.3
	struct entry wide = {.indicator = parse("10.0.0.0/16"), .enforce_until = UNTIL_FOREVER};
	struct change changes[] = {
		{.op = CHANGE_PUT, .entry = wide},
		{.op = CHANGE_REMOVE, .entry = host_entry(2, UNTIL_FOREVER)},
	};
	struct list_state before, after;

	(void)state;
	set_state(set, &before);
	assert_int_equal(batch(set, changes, 2, 1), -EILSEQ);
	set_state(set, &after);
	assert_true(list_state_equal(&before, &after));
	assert_int_equal(reason_of(set, 0, 2), REASON_ENTRY_DENY);
	assert_int_equal(reason_of(set, 9, 9), REASON_NO_ENTRY);
	assert_int_equal(batch(set, changes, 2, 0), 0);
	assert_int_equal(reason_of(set, 0, 2), REASON_ENTRY_DENY);
	assert_int_equal(reason_of(set, 9, 9), REASON_ENTRY_DENY);
	changes[0].op = CHANGE_REMOVE;
	assert_int_equal(batch(set, changes, 1, 0), 0);
	assert_int_equal(reason_of(set, 0, 1), REASON_ENTRY_DENY);
	assert_int_equal(reason_of(set, 0, 2), REASON_NO_ENTRY);
	assert_int_equal(reason_of(set, 9, 9), REASON_NO_ENTRY);
	set_free(set);
}

static void test_wide_entry_with_narrow_exceptions(void **state)
{
	struct set *set = set_of(1, UNTIL_FOREVER);
	struct change wide = {
		.op = CHANGE_PUT,
		.entry = {.indicator = parse("10.0.0.0/16"), .enforce_until = UNTIL_FOREVER},
	};
	struct exception narrow[] = {
		{parse("10.0.7.0/24"), EXCEPTION_PROTECT, UNTIL_FOREVER},
		{parse("10.0.8.1"), EXCEPTION_ALLOW, WALL_S + 60},
	};

	(void)state;
	assert_int_equal(set_exceptions(set, narrow, 2), 0);
	assert_int_equal(batch(set, &wide, 1, 0), 0);
	assert_int_equal(reason_of(set, 6, 255), REASON_ENTRY_DENY);
	assert_int_equal(reason_of(set, 7, 0), REASON_PROTECTED);
	assert_int_equal(reason_of(set, 7, 255), REASON_PROTECTED);
	assert_int_equal(reason_of(set, 8, 0), REASON_ENTRY_DENY);
	assert_int_equal(reason_of(set, 8, 1), REASON_ALLOWED);
	assert_int_equal(reason_of(set, 8, 2), REASON_ENTRY_DENY);
	set_tick(set, time_at(61));
	assert_int_equal(reason_of(set, 8, 1), REASON_ENTRY_DENY);
	assert_int_equal(reason_of(set, 7, 1), REASON_PROTECTED);
	set_free(set);
}

static uint32_t slot_of(struct set *set, uint32_t i)
{
	struct entry e = host_entry(i, 0);

	return table_find(set_table(set), &e.indicator);
}

// The first n of them; returns whether the sums are those of all entries then.
static bool walk(struct set *set, uint32_t n)
{
	struct table *t = set_table(set);
	struct table_sum walked, all = table_all(t);

	table_walk_begin(t);
	for (uint32_t i = 0; i < n; i++)
		table_walk_rule(t, slot_of(set, i));
	walked = table_walked(t);
	table_walk_end(t);
	return walked.count == all.count && digest_equal(walked.digest, all.digest);
}

// Which walk met an entry is one bit that changes its meaning with each walk.
static void test_walks_broken_off(void **state)
{
	struct set *set = set_of(6, UNTIL_FOREVER);

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		assert_true(walk(set, 6));
		assert_false(walk(set, i % 5));
		assert_true(walk(set, 6));
		if (i % 2) {
			assert_false(walk(set, 5));
			assert_false(walk(set, 1));
		}
	}
	set_free(set);
}

// What workers had lost is met where it is put again, in this walk and the next, and is still named
// by the synchronisation under way.
static void test_a_lost_rule_keeps_its_marks(void **state)
{
	struct set *set = set_of(3, UNTIL_FOREVER);
	struct table *t = set_table(set);
	struct entry e = host_entry(1, UNTIL_FOREVER);

	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		uint32_t from = 0, lost = SLOT_NONE, is = slot_of(set, 1);
		bool done = false;

		// Each with either value of the other's bit.
		if (round & 1)
			assert_true(walk(set, 3));
		table_mark_begin(t);
		if (round & 2)
			assert_int_equal(table_put(t, &e, true), 0);
		match_unlink(set_live(set)->entries, is);
		table_walk_begin(t);
		table_walk_rule(t, slot_of(set, 0));
		table_walk_rule(t, slot_of(set, 2));
		assert_int_equal(table_walk_rest(t, &from, 100, &lost, &done), FAULT_MISSING);
		assert_int_equal(lost, is);
		assert_int_equal(table_repair(t, FAULT_MISSING, lost), 0);
		assert_int_equal(table_walked(t).count, 3);
		assert_true(digest_equal(table_walked(t).digest, table_all(t).digest));
		table_walk_end(t);
		assert_int_equal(table_marked(t, slot_of(set, 1)), round >> 1);
		table_mark_end(t);
		assert_true(walk(set, 3));
	}
	set_free(set);
}

// Added after one synchronisation and not named by the next: it goes, whatever number that one has.
static void test_what_came_between_two_synchronisations(void **state)
{
	struct set *set = set_of(2, UNTIL_FOREVER);
	struct change late = {.op = CHANGE_PUT, .entry = host_entry(9, UNTIL_FOREVER)};
	struct list_state before, now;

	(void)state;
	set_state(set, &before);
	for (uint64_t generation = 1; generation < 5; generation++) {
		uint64_t least;

		assert_int_equal(batch(set, &late, 1, 0), 0);
		assert_int_equal(reason_of(set, 0, 9), REASON_ENTRY_DENY);
		before.revision.number += 2;
		assert_int_equal(set_sync_begin(set, generation, &before), 0);
		for (uint32_t i = 0; i < 2; i++) {
			struct entry e = host_entry(i, UNTIL_FOREVER);

			assert_int_equal(set_sync_put(set, generation, &e), 0);
		}
		assert_int_equal(set_sync_end(set, generation, &before, true, &least), 0);
		while (!set_settle(set, 1)) {
		}
		set_state(set, &now);
		assert_true(list_state_equal(&now, &before));
		assert_int_equal(reason_of(set, 0, 9), REASON_NO_ENTRY);
		assert_int_equal(reason_of(set, 0, 1), REASON_ENTRY_DENY);
	}
	set_free(set);
}

// Both directions of a connection reach one queue; different connections do not all.
static void test_rss_is_symmetric(void **state)
{
	_Alignas(4) uint8_t key[52];
	uint32_t first = 0;
	bool spread = false;

	(void)state;
	port_rss_key(key, sizeof(key));
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t src = 0x0a000000 + i * 2654435761u, dst = 0xc6336400 + i;
		uint32_t ports = (1024 + i) << 16 | 443;
		uint32_t there[] = {src, dst, ports};
		uint32_t back[] = {dst, src, ports << 16 | ports >> 16};
		uint32_t hash = rte_softrss(there, 3, key);
		uint32_t v6[] = {src, i, 1, 2, dst, 3, i, 4, ports};
		uint32_t v6_back[] = {dst, 3, i, 4, src, i, 1, 2, back[2]};

		assert_int_equal(hash, rte_softrss(back, 3, key));
		assert_int_equal(rte_softrss(v6, 9, key), rte_softrss(v6_back, 9, key));
		assert_int_equal(rte_softrss(there, 2, key), rte_softrss(back, 2, key));
		if (i && hash != first)
			spread = true;
		first = hash;
	}
	assert_true(spread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expiry_storm),
		cmocka_unit_test(test_removed_and_added_again_in_one_batch),
		cmocka_unit_test(test_removed_and_added_again_before_grace),
		cmocka_unit_test(test_overlap_and_refused_batch),
		cmocka_unit_test(test_wide_entry_with_narrow_exceptions),
		cmocka_unit_test(test_walks_broken_off),
		cmocka_unit_test(test_a_lost_rule_keeps_its_marks),
		cmocka_unit_test(test_what_came_between_two_synchronisations),
		cmocka_unit_test(test_rss_is_symmetric),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
