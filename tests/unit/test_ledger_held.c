// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the brakes hold for an operator, and what becomes of it.

#include "control/protect.h"
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

static enum submit_code case_put(struct fixture *f, int i)
{
	char ref[32], text[32];

	snprintf(ref, sizeof(ref), "soc/1/%d", i);
	snprintf(text, sizeof(text), "198.51.100.%d", i);
	return put(f, "thehive:soc", ref, text, CLAIM_ENFORCE, UNTIL_FOREVER);
}

static bool held_last(void *ctx, const struct held *held)
{
	struct held *to = ctx;
	static char summary[256], why[640];

	snprintf(summary, sizeof(summary), "%s", held->summary);
	snprintf(why, sizeof(why), "%s", held->why);
	*to = *held;
	to->summary = summary;
	to->why = why;
	return true;
}

static struct held held_of(struct fixture *f)
{
	struct held held = {0};

	assert_int_equal(ledger_held(f->ledger, held_last, &held), 0);
	return held;
}

static void settle(struct fixture *f, bool approve, int64_t id)
{
	f->done = false;
	if (approve)
		ledger_held_approve(f->ledger, id, &somebody, done_cb, f);
	else
		ledger_held_reject(f->ledger, id, &somebody, done_cb, f);
	loop_until(f, &f->done);
}

static void test_rate(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	// The limit is five in a minute.
	for (int i = 1; i <= 5; i++)
		assert_int_equal(case_put(f, i), SUBMIT_OK);
	// What is known already is not new.
	assert_int_equal(case_put(f, 5), SUBMIT_UNCHANGED);
	assert_int_equal(case_put(f, 6), SUBMIT_HELD);
	assert_false(entry_is(f, "198.51.100.6", &e));
	// Operators are not braked; another instance has a brake of its own.
	assert_int_equal(operator_blocks(f, "198.51.100.100"), SUBMIT_OK);
	assert_int_equal(
		put(f, "thehive:b", "b/1/1", "198.51.100.101", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_OK
	);
	// The clock goes on beside these jumps: room for a slow machine.
	time_pass(f, 45);
	assert_int_equal(case_put(f, 7), SUBMIT_HELD);
	time_pass(f, 16);
	assert_int_equal(case_put(f, 8), SUBMIT_OK);
	// Held claims never take effect by themselves.
	assert_int_equal(case_put(f, 6), SUBMIT_HELD);
	assert_false(entry_is(f, "198.51.100.6", &e));
	ledger_check(f->ledger);
}

// The only claim of a held change, put anew: its change stays.
static void test_held_alone(void **state)
{
	struct fixture *f = *state;

	for (int i = 1; i <= 6; i++)
		case_put(f, i);
	assert_int_equal(held_of(f).n_claims, 1);
	assert_int_equal(
		put(f, "thehive:soc", "soc/1/6", "198.51.100.6", CLAIM_MONITOR, UNTIL_FOREVER),
		SUBMIT_HELD
	);
	assert_int_equal(held_of(f).n_claims, 1);
	settle(f, true, held_of(f).id);
	assert_int_equal(f->error, 0);
	assert_int_equal(held_of(f).n_claims, 0);
	ledger_check(f->ledger);
}

static void test_held_life(void **state)
{
	struct fixture *f = *state;
	struct ledger_counts counts;
	struct held held;
	struct entry e;

	for (int i = 1; i <= 10; i++)
		case_put(f, i);
	held = held_of(f);
	assert_int_equal(held.n_claims, 5);
	assert_non_null(strstr(held.summary, "198.51.100.6"));
	assert_non_null(strstr(held.summary, "and 2 more"));
	// A newer put replaces, an end cancels.
	assert_int_equal(
		put(f, "thehive:soc", "soc/1/6", "198.51.100.6", CLAIM_MONITOR, UNTIL_FOREVER),
		SUBMIT_HELD
	);
	assert_int_equal(op(f, SUBMIT_END, "thehive:soc", "soc/1/7", "198.51.100.7"), SUBMIT_OK);
	assert_int_equal(
		op(f, SUBMIT_ORPHAN, "thehive:soc", "soc/1/8", "198.51.100.8"), SUBMIT_UNCHANGED
	);
	assert_int_equal(held_of(f).n_claims, 4);
	ledger_check(f->ledger);
	fixture_reopen(f);
	settle(f, true, held.id + 1);
	assert_int_equal(f->error, -ENOENT);
	settle(f, true, held.id);
	assert_int_equal(f->error, 0);
	assert_true(entry_is(f, "198.51.100.6", &e));
	assert_int_equal(e.enforce_until, UNTIL_NONE);
	assert_false(entry_is(f, "198.51.100.7", &e));
	assert_true(entry_is(f, "198.51.100.10", &e));
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.held, 0);
	assert_int_equal(held_of(f).id, 0);
	ledger_check(f->ledger);
	settle(f, true, held.id);
	assert_int_equal(f->error, -ENOENT);
}

static void test_held_reject(void **state)
{
	struct fixture *f = *state;
	struct submit_item item
		= put_item("thehive:soc", "soc/1/7", "198.51.100.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	struct entry e;

	for (int i = 1; i <= 7; i++)
		case_put(f, i);
	// Forced: this one takes effect.
	assert_int_equal(submit_as(f, item, &forcing), SUBMIT_OK);
	assert_true(entry_is(f, "198.51.100.7", &e));
	assert_int_equal(held_of(f).n_claims, 1);
	settle(f, false, held_of(f).id);
	assert_int_equal(f->error, 0);
	assert_false(entry_is(f, "198.51.100.6", &e));
	assert_int_equal(held_of(f).id, 0);
	assert_true(audited(f, "claim.reject", "198.51.100.6", "a test"));
	ledger_check(f->ledger);
}

static void cases_held(struct fixture *f, int from, int n)
{
	struct submit_item items[100];
	char refs[100][32], text[32];

	while (n > 0) {
		int some = n < 100 ? n : 100;
		struct submit submit = {.items = items, .n = (size_t)some, .actor = somebody};

		for (int i = 0; i < some; i++, from++) {
			snprintf(refs[i], sizeof(refs[i]), "soc/1/%d", from);
			snprintf(text, sizeof(text), "198.18.%d.%d", from / 200, from % 200);
			items[i] = put_item(
				"thehive:soc", refs[i], text, CLAIM_ENFORCE, UNTIL_FOREVER
			);
			items[i].claim.state = CLAIM_HELD;
			items[i].cause = "too many";
		}
		n -= some;
		f->done = false;
		ledger_submit(f->ledger, &submit, NULL, NULL);
		ledger_commit(f->ledger);
	}
}

// Approves, and comes back between two slices: the second is written, not yet committed.
static void settle_first_slice(struct fixture *f, int64_t id)
{
	uint64_t before = f->ledger->state.revision.number;
	int64_t end = clock_boot_ms(f->ledger) + 10000;

	f->done = false;
	ledger_held_approve(f->ledger, id, &somebody, done_cb, f);
	while (f->ledger->state.revision.number == before && clock_boot_ms(f->ledger) < end)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_true(f->ledger->open);
	assert_false(f->done);
}

static void test_held_slices(void **state)
{
	struct fixture *f = *state;
	struct ledger_counts counts;
	struct list_state list;
	struct held held;

	cases_held(f, 0, 950);
	held = held_of(f);
	assert_int_equal(held.n_claims, 950);
	// Ended between two slices: settled ones are in force, the rest is held and says so.
	settle_first_slice(f, held.id);
	transaction_fail(f->ledger, -EIO); // as if killed: the second slice does not hold
	fixture_reopen(f);
	held = held_of(f);
	assert_int_equal(held.n_claims, 850);
	assert_string_equal(held.why, "too many; in part: approved 100 of 950 claims");
	assert_true(audited(f, "held.begin", "held 1", "a test"));
	ledger_state(f->ledger, &list);
	assert_int_equal(list.count, 100);
	ledger_check(f->ledger);
	// A commit that fails between two slices is told.
	settle_first_slice(f, held.id);
	transaction_fail(f->ledger, -EIO);
	loop_until(f, &f->done);
	assert_int_equal(f->error, -EIO);
	assert_non_null(strstr(f->message, "only 100 of 850 claims are approved"));
	held = held_of(f);
	assert_int_equal(held.n_claims, 750);
	assert_string_equal(held.why, "too many; in part: approved 100 of 850 claims");
	ledger_check(f->ledger);
	// What joins the change meanwhile was not looked at by who approved.
	settle_first_slice(f, held.id);
	cases_held(f, 950, 1);
	loop_until(f, &f->done);
	assert_int_equal(f->error, 0);
	assert_string_equal(f->message, "750 claims are in force");
	held = held_of(f);
	assert_int_equal(held.n_claims, 1);
	settle(f, false, held.id);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.held, 0);
	assert_int_equal(counts.claims, 950);
	assert_int_equal(held_of(f).id, 0);
	ledger_check(f->ledger);
}

static void orphans_are(struct fixture *f, unsigned n)
{
	char text[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "198.51.%u.%u", 100 + i / 250, 1 + i % 250);
		put(f, "thehive:soc", "soc/1/1", text, CLAIM_ENFORCE, UNTIL_FOREVER);
		op(f, SUBMIT_ORPHAN, "thehive:soc", "soc/1/1", text);
	}
}

// A source that lost its memory: hundreds of orphans do not end with their grace.
static void test_shrink(void **state)
{
	struct fixture *f = *state;
	struct ledger_counts counts;
	struct held held;
	struct entry e;

	f->ledger->conf.case_claims_per_minute = UINT32_MAX;
	orphans_are(f, SHRINK_FLOOR + 1);
	put(f, "thehive:other", "o/1/1", "203.0.113.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	op(f, SUBMIT_ORPHAN, "thehive:other", "o/1/1", "203.0.113.1");
	time_pass(f, f->conf.orphan_grace + 1);
	time_pass(f, 1);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.claims, SHRINK_FLOOR + 1);
	assert_int_equal(counts.held_ends, SHRINK_FLOOR + 1);
	assert_int_equal(counts.held, 0);
	assert_false(entry_is(f, "203.0.113.1", &e)); // one alone ends as ever
	assert_true(audited(f, "claim.hold", "198.51.100.1", "shrink"));
	ledger_check(f->ledger);
	held = held_of(f);
	assert_int_equal(held.n_claims, SHRINK_FLOOR + 1);
	assert_non_null(strstr(held.why, "shrink: 101 of 101"));
	// One that its source shows again, and one that is ended, leave the change.
	put(f, "thehive:soc", "soc/1/1", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	op(f, SUBMIT_END, "thehive:soc", "soc/1/1", "198.51.100.2");
	assert_int_equal(held_of(f).n_claims, SHRINK_FLOOR - 1);
	ledger_check(f->ledger);
	// A restart forgets nothing. Rejected: another grace.
	fixture_reopen(f);
	f->ledger->conf.case_claims_per_minute = UINT32_MAX;
	settle(f, false, held_of(f).id);
	assert_int_equal(held_of(f).id, 0);
	assert_true(entry_is(f, "198.51.100.3", &e));
	orphans_are(f, 2);
	time_pass(f, f->conf.orphan_grace + 1);
	time_pass(f, 1);
	held = held_of(f);
	assert_int_equal(held.n_claims, SHRINK_FLOOR + 1);
	// Approved: they end.
	settle(f, true, held.id);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.claims, 0);
	assert_int_equal(counts.held_ends, 0);
	assert_int_equal(held_of(f).id, 0);
	ledger_check(f->ledger);
}

// A protection that came while the claim waited.
static void test_held_protected(void **state)
{
	struct fixture *f = *state;
	struct indicator n = indicator_of("198.51.100.6");
	struct entry e;

	for (int i = 1; i <= 7; i++)
		case_put(f, i);
	protect_add(f->protect, PROTECT_CONFIGURED, &n, "protect.networks[0]");
	settle(f, true, held_of(f).id);
	assert_int_equal(f->error, 0);
	assert_non_null(strstr(f->message, "1 of 2"));
	assert_false(entry_is(f, "198.51.100.6", &e));
	assert_true(entry_is(f, "198.51.100.7", &e));
	ledger_check(f->ledger);
}

// Held claims whose end comes while they wait are gone.
static void test_held_expires(void **state)
{
	struct fixture *f = *state;

	for (int i = 1; i <= 5; i++)
		case_put(f, i);
	assert_int_equal(
		put(f, "thehive:soc", "y", "198.51.100.99", CLAIM_ENFORCE, in_seconds(f, 60)),
		SUBMIT_HELD
	);
	time_pass(f, 61);
	assert_int_equal(held_of(f).id, 0);
	ledger_check(f->ledger);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_rate),
		T(test_held_alone),
		T(test_held_life),
		T(test_held_reject),
		T(test_held_slices),
		T(test_shrink),
		T(test_held_protected),
		T(test_held_expires),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
