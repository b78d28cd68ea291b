// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The scrub finds what has changed behind the writer's back, and ends under constant change.

#include "dataplane/keys.h"
#include "dataplane/scrub.h"
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 2000

struct seen {
	unsigned n, repaired;
	enum table_fault fault;
	struct entry entry;
};

static void fault_seen(void *ctx, enum table_fault fault, const struct entry *entry, bool repaired)
{
	struct seen *seen = ctx;

	seen->n++;
	seen->repaired += repaired;
	seen->fault = fault;
	seen->entry = *entry;
}

static struct entry entry_at(unsigned i)
{
	struct entry e = {.enforce_until = UNTIL_FOREVER};
	struct indicator_error error;
	char text[64];

	if (i % 5 == 4)
		snprintf(text, sizeof(text), "n%u.example", i);
	else
		snprintf(text, sizeof(text), "203.0.%u.%u", i / 256, i % 256);
	assert_int_equal(indicator_parse(text, strlen(text), &e.indicator, &error), 0);
	return e;
}

struct fixture {
	struct set *set;
	struct scrub *scrub;
	struct seen seen;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct set_options options = {.capacity = 2 * ENTRIES, .workers = 1};

	policy_init(&options.policy);
	assert_int_equal(set_create(&options, (struct table_time){1000, 1000}, &f->set), 0);
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct entry e = entry_at(i);

		assert_int_equal(set_load_put(f->set, &e), 0);
	}
	assert_int_equal(scrub_create(f->set, fault_seen, &f->seen, &f->scrub), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	scrub_free(f->scrub);
	set_free(f->set);
	free(f);
	return 0;
}

static struct scrub_result walk(struct fixture *f)
{
	struct scrub_result result;

	while (!scrub_step(f->scrub, 64))
		;
	scrub_result(f->scrub, &result);
	return result;
}

static bool in_sync(const struct fixture *f, const struct scrub_result *result)
{
	struct list_state state;

	set_state(f->set, &state);
	return result->count == state.count && digest_equal(result->digest, state.digest);
}

static void test_clean(void **state)
{
	struct fixture *f = *state;
	struct scrub_result result;

	scrub_result(f->scrub, &result);
	assert_int_equal(result.age_ms, -1);
	result = walk(f);
	assert_true(result.clean);
	assert_int_equal(result.count, ENTRIES);
	assert_true(in_sync(f, &result));
	result = walk(f);
	assert_int_equal(result.walks, 2);
	assert_int_equal(result.errors, 0);
}

static uint32_t rule_of(const struct fixture *f, const struct entry *e)
{
	struct match_key key;

	key_from_indicator(&e->indicator, &key);
	return match_find(set_live(f->set)->entries, &key);
}

static void test_entry_removed_behind_the_writers_back(void **state)
{
	struct fixture *f = *state;
	struct entry e = entry_at(42);
	struct scrub_result result;

	match_unlink(set_live(f->set)->entries, rule_of(f, &e));
	assert_int_equal(rule_of(f, &e), MATCH_NONE);
	result = walk(f);
	assert_false(result.clean);
	assert_false(result.unrepaired);
	assert_int_equal(f->seen.n, 1);
	assert_int_equal(f->seen.fault, FAULT_MISSING);
	assert_true(indicator_equal(&f->seen.entry.indicator, &e.indicator));
	// Put back from its record: workers find it again, and the next walk is clean.
	assert_int_not_equal(rule_of(f, &e), MATCH_NONE);
	result = walk(f);
	assert_true(result.clean);
	assert_true(in_sync(f, &result));
	assert_int_equal(result.errors, 1);
}

static void test_action_changed(void **state)
{
	struct fixture *f = *state;
	struct entry e = entry_at(43);
	struct match *m = set_live(f->set)->entries;
	struct scrub_result result;

	match_action_set(m, rule_of(f, &e), MATCH_MONITOR);
	result = walk(f);
	assert_false(result.clean);
	assert_int_equal(f->seen.fault, FAULT_ACTION);
	assert_int_equal(match_rule_action(m, rule_of(f, &e)), MATCH_ENFORCE);
	assert_true(walk(f).clean);
}

static void test_rule_without_a_record(void **state)
{
	struct fixture *f = *state;
	struct match *m = set_live(f->set)->entries;
	struct entry e = entry_at(ENTRIES);
	struct match_key key;
	uint32_t rule;
	struct scrub_result result;

	key_from_indicator(&e.indicator, &key);
	assert_int_equal(match_add(m, &key, MATCH_ENFORCE, &rule), 0);
	result = walk(f);
	assert_false(result.clean);
	assert_int_equal(f->seen.fault, FAULT_UNKNOWN);
	assert_int_equal(rule_of(f, &e), MATCH_NONE);
	assert_true(walk(f).clean);
}

static void test_ends_under_constant_change(void **state)
{
	struct fixture *f = *state;
	struct scrub_result result;
	unsigned next = ENTRIES, steps = 0;
	bool done = false;

	while (!done) {
		struct entry gone = entry_at(next - ENTRIES), come = entry_at(next++);
		struct entry changed = entry_at(ENTRIES - 1 - next % 500);

		set_load_remove(f->set, &gone.indicator);
		assert_int_equal(set_load_put(f->set, &come), 0);
		changed.monitor_until = 1 + next;
		assert_int_equal(set_load_put(f->set, &changed), 0);
		done = scrub_step(f->scrub, 64);
		assert_true(++steps < 2000);
	}
	assert_true(steps > 50);
	scrub_result(f->scrub, &result);
	assert_true(result.clean);
	assert_true(in_sync(f, &result));
}

static void test_removed_behind_the_back_during_a_walk(void **state)
{
	struct fixture *f = *state;
	unsigned found;

	for (unsigned i = 0; i < 100; i++)
		scrub_step(f->scrub, 8);
	for (unsigned i = 0; i < 20; i++) {
		struct entry e = entry_at(10 * i);

		match_unlink(set_live(f->set)->entries, rule_of(f, &e));
	}
	// Those met before are found by the next walk.
	walk(f);
	found = f->seen.n;
	walk(f);
	assert_int_equal(f->seen.n, 20);
	assert_int_equal(f->seen.repaired, 20);
	assert_true(found <= 20);
	assert_true(walk(f).clean);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_clean, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_entry_removed_behind_the_writers_back, setup, teardown
		),
		cmocka_unit_test_setup_teardown(test_action_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rule_without_a_record, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_under_constant_change, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_removed_behind_the_back_during_a_walk, setup, teardown
		),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
