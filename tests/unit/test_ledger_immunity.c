// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// An analyst's false positive: what it suspends, and what ends it.

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

static int immune_for(struct fixture *f, const char *indicator, int64_t seconds)
{
	int64_t now = in_seconds(f, 0);
	const struct immunity immunity = {
		.source = "thehive:soc",
		.ref = "soc/~1/~2",
		.indicator = indicator_of(indicator),
		.created = now,
		.until = now + seconds,
		.author = "alice",
		.reason = "false positive in case 1",
	};
	int error = ledger_immunity_put(f->ledger, &immunity, "thehive:soc");

	ledger_commit(f->ledger);
	return error;
}

static int immune_end(struct fixture *f, const char *indicator)
{
	struct indicator n = indicator_of(indicator);
	int error = ledger_immunity_end(
		f->ledger, "thehive:soc", "soc/~1/~2", &n, "thehive:soc", "reopened"
	);

	ledger_commit(f->ledger);
	return error;
}

static bool immune(struct fixture *f, const char *indicator)
{
	struct indicator n = indicator_of(indicator);

	return ledger_immune(f->ledger, &n);
}

static void lists_alone_are_suspended(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	put(f, "list:feed", "feed", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "list:feed", "feed", "198.51.100.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	assert_int_equal(immune_for(f, "198.51.100.1", 3600), 0);
	assert_int_equal(immune_for(f, "198.51.100.3", 3600), 0);
	assert_false(entry_is(f, "198.51.100.1", &e));
	assert_true(entry_is(f, "198.51.100.2", &e));
	put(f, "list:feed", "feed", "198.51.100.3", CLAIM_ENFORCE, UNTIL_FOREVER); // comes later
	assert_false(entry_is(f, "198.51.100.3", &e));
	// Of operators never: what they say holds, for as long as they say.
	put(f, "operator", "x", "198.51.100.1", CLAIM_MONITOR, UNTIL_FOREVER);
	assert_true(entry_is(f, "198.51.100.1", &e));
	assert_int_equal(e.enforce_until, UNTIL_NONE);
	assert_int_equal(e.monitor_until, UNTIL_FOREVER);
	assert_true(immune(f, "198.51.100.1"));
	assert_int_equal(immune_end(f, "198.51.100.1"), 0);
	assert_int_equal(immune_end(f, "198.51.100.1"), -ENOENT);
	assert_true(entry_is(f, "198.51.100.1", &e));
	assert_int_equal(e.enforce_until, UNTIL_FOREVER);
	assert_true(audited(f, "immunity.put", "198.51.100.1", "false positive in case 1"));
	assert_true(audited(f, "immunity.end", "198.51.100.1", "reopened"));
}

static void it_ends(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	put(f, "list:feed", "feed", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	assert_int_equal(immune_for(f, "198.51.100.1", 3600), 0);
	fixture_reopen(f);
	assert_true(immune(f, "198.51.100.1"));
	time_pass(f, 3599);
	assert_false(entry_is(f, "198.51.100.1", &e));
	time_pass(f, 2);
	assert_true(entry_is(f, "198.51.100.1", &e));
	assert_true(audited(f, "immunity.end", "198.51.100.1", "its end has come"));
	// By a later verdict of a case, however that names it.
	assert_int_equal(immune_for(f, "evil.example", 3600), 0);
	time_pass(f, 10);
	put(f, "thehive:soc", "soc/~3/~4", "*.evil.example", CLAIM_ENFORCE, UNTIL_FOREVER);
	assert_false(immune(f, "evil.example"));
	assert_true(audited(f, "immunity.end", "evil.example", "later true positive"));
	// An older false positive does not return after it; a newer one does.
	const struct immunity old = {
		.source = "thehive:soc",
		.ref = "soc/~1/~2",
		.indicator = indicator_of("evil.example"),
		.created = in_seconds(f, -10),
		.until = in_seconds(f, 3600),
		.author = "alice",
		.reason = "r",
	};
	assert_int_equal(ledger_immunity_put(f->ledger, &old, "thehive:soc"), -EEXIST);
	time_pass(f, 10);
	assert_int_equal(immune_for(f, "evil.example", 3600), 0);
	assert_true(immune(f, "evil.example"));
}

static void it_has_limits(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(immune_for(f, "198.51.100.0/24", 3600), -EINVAL);
	assert_int_equal(immune_for(f, "*.evil.example", 3600), -EINVAL);
	assert_int_equal(immune_for(f, "tcp/198.51.100.1:443", 3600), -EINVAL);
	assert_int_equal(immune_for(f, "198.51.100.1", IMMUNITY_MAX + 1), -EINVAL);
	assert_int_equal(immune_for(f, "198.51.100.1", 0), -EINVAL);
	assert_int_equal(immune_for(f, "198.51.100.1", IMMUNITY_MAX), 0);
	assert_int_equal(immune_for(f, "2001:db8::1", 60), 0);
	assert_int_equal(immune_for(f, "evil.example", 60), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lists_alone_are_suspended, setup, teardown),
		cmocka_unit_test_setup_teardown(it_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(it_has_limits, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
