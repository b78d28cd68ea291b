// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/unit/ledger_fixture.h"

#include <errno.h>

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_init(f, PROTECT_REFUSE);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	free(*state);
	return 0;
}

static void test_new(void **state)
{
	struct fixture *f = *state;
	struct list_state s, again;
	uint8_t zero[LEDGER_ID_LEN] = {0};

	ledger_state(f->ledger, &s);
	assert_int_equal(s.revision.epoch, 1);
	assert_int_equal(s.revision.number, 1);
	assert_int_equal(s.count, 0);
	assert_memory_not_equal(s.ledger_id, zero, sizeof(zero));
	fixture_reopen(f);
	ledger_state(f->ledger, &again);
	assert_true(list_state_equal(&s, &again));
	ledger_check(f->ledger);
}

static void test_two_cases(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	assert_int_equal(
		put(f, "thehive:soc", "soc/1/1", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_OK
	);
	assert_int_equal(f->error, 0);
	assert_int_equal(f->revision.number, 2);
	assert_int_equal(f->woken, LEDGER_ENTRIES);
	assert_int_equal(
		put(f, "thehive:soc", "soc/2/9", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_OK
	);
	// The entry says the same as before: no new revision.
	assert_int_equal(f->revision.number, 2);
	assert_int_equal(
		put(f, "thehive:soc", "soc/2/9", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_UNCHANGED
	);
	assert_int_equal(op(f, SUBMIT_END, "thehive:soc", "soc/1/1", "203.0.113.7"), SUBMIT_OK);
	assert_true(entry_is(f, "203.0.113.7", &e));
	ledger_check(f->ledger);
	assert_int_equal(op(f, SUBMIT_END, "thehive:soc", "soc/2/9", "203.0.113.7"), SUBMIT_OK);
	assert_false(entry_is(f, "203.0.113.7", &e));
	assert_int_equal(f->revision.number, 3);
	assert_int_equal(
		op(f, SUBMIT_END, "thehive:soc", "soc/2/9", "203.0.113.7"), SUBMIT_NOT_FOUND
	);
	ledger_check(f->ledger);
	fixture_reopen(f);
	ledger_check(f->ledger);
}

struct seen {
	size_t n;
	struct ledger_change change[64];
};

static bool change_seen(void *ctx, const struct ledger_change *c)
{
	struct seen *s = ctx;

	s->change[s->n++] = *c;
	return true;
}

static void test_actions(void **state)
{
	struct fixture *f = *state;
	int64_t hour = in_seconds(f, 3600), day = in_seconds(f, 86400);
	struct revision from;
	struct seen seen = {0};
	struct entry e;

	put(f, "operator", "a", "*.evil.example", CLAIM_MONITOR, day);
	from = f->revision;
	put(f, "operator", "b", "*.evil.example", CLAIM_ENFORCE, hour);
	put(f, "operator", "c", "*.evil.example", CLAIM_ENFORCE, hour + 1);
	assert_true(entry_is(f, "*.evil.example", &e));
	assert_int_equal(e.enforce_until, hour + 1);
	assert_int_equal(e.monitor_until, day);
	ledger_check(f->ledger);
	time_pass(f, 3601);
	assert_true(entry_is(f, "*.evil.example", &e));
	assert_int_equal(e.enforce_until, UNTIL_NONE);
	assert_int_equal(e.monitor_until, day);
	time_pass(f, 86400);
	assert_false(entry_is(f, "*.evil.example", &e));
	ledger_check(f->ledger);
	assert_int_equal(ledger_changes(f->ledger, from, 64, change_seen, &seen), 0);
	assert_int_equal(seen.n, 4);
	for (size_t i = 0; i < seen.n; i++)
		assert_int_equal(seen.change[i].revision.number, from.number + 1 + i);
	assert_int_equal(seen.change[0].change.entry.enforce_until, hour);
	assert_int_equal(seen.change[3].change.op, CHANGE_REMOVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_cases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_actions, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
