// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// When the next request may go. The clock is a number.

#include "control/followers/f5xc_pace.h"
#include "tests/unit/cm.h"

#include <limits.h>

static void the_bucket_gives_a_burst_and_then_its_rate(void **ctx)
{
	struct f5xc_pace p;
	int64_t now = 1000;
	int sent = 0;

	(void)ctx;
	f5xc_pace_init(&p, 60, 3, now);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(f5xc_pace_wait(&p, now, 0), 0);
		f5xc_pace_take(&p, now);
	}
	assert_in_range(f5xc_pace_wait(&p, now, 0), 999, 1002);
	for (; now < 1000 + 600000; now += 10)
		if (f5xc_pace_wait(&p, now, 0) == 0) {
			f5xc_pace_take(&p, now);
			sent++;
		}
	assert_in_range(sent, 590, 600);
	// What was saved up is no more than the burst.
	now += 3600000;
	for (sent = 0; f5xc_pace_wait(&p, now, 0) == 0; sent++)
		f5xc_pace_take(&p, now);
	assert_int_equal(sent, 3);
}

static void a_reserve_is_left(void **ctx)
{
	struct f5xc_pace p;
	int sent;

	(void)ctx;
	f5xc_pace_init(&p, 60, 12, 0);
	for (sent = 0; f5xc_pace_wait(&p, 0, 6) == 0; sent++)
		f5xc_pace_take(&p, 0);
	assert_int_equal(sent, 6);
	assert_int_equal(f5xc_pace_wait(&p, 0, 0), 0);
	f5xc_pace_init(&p, 60, 1, 0);
	assert_int_equal(f5xc_pace_wait(&p, 0, 0), 0);
}

static void too_many_requests_hold_everything(void **ctx)
{
	struct f5xc_pace p;

	(void)ctx;
	f5xc_pace_init(&p, 600, 12, 0);
	f5xc_pace_limited(&p, 0, 7, 0);
	assert_int_equal(f5xc_pace_wait(&p, 0, 0), 7000);
	f5xc_pace_limited(&p, 7000, -1, 0);
	assert_int_equal(f5xc_pace_wait(&p, 7000, 0), 2000); // doubled
	f5xc_pace_good(&p);
	f5xc_pace_limited(&p, 9000, -1, 0);
	assert_int_equal(f5xc_pace_wait(&p, 9000, 0), 1000);
}

static void the_breaker_opens_and_lets_one_probe_through(void **ctx)
{
	struct f5xc_pace p;

	(void)ctx;
	f5xc_pace_init(&p, 600, 100, 0);
	for (int i = 0; i < F5XC_BREAKER_FAILURES - 1; i++) {
		f5xc_pace_failed(&p, 0, -1, 0);
		assert_string_equal(f5xc_pace_state(&p, 0), "closed");
		assert_int_equal(f5xc_pace_wait(&p, 0, 0), 0);
	}
	f5xc_pace_failed(&p, 0, -1, 0);
	assert_string_equal(f5xc_pace_state(&p, 0), "open");
	assert_int_equal(f5xc_pace_wait(&p, 0, 0), 1000);
	assert_string_equal(f5xc_pace_state(&p, 1000), "half-open");
	assert_int_equal(f5xc_pace_wait(&p, 1000, 0), 0);
	f5xc_pace_failed(&p, 1000, -1, 0); // the probe too
	assert_int_equal(f5xc_pace_wait(&p, 1000, 0), 2000);
	for (int i = 0; i < 20; i++)
		f5xc_pace_failed(&p, 1000, -1, 0);
	assert_int_equal(f5xc_pace_wait(&p, 1000, 0), 60000);
	f5xc_pace_good(&p);
	assert_string_equal(f5xc_pace_state(&p, 1000), "closed");
}

static void retry_after_has_a_limit(void **ctx)
{
	(void)ctx;
	assert_int_equal(f5xc_wait_ms(1000, -1, 10), 1010); // none
	assert_int_equal(f5xc_wait_ms(1000, 0, 0), 1000); // nonsense
	assert_int_equal(f5xc_wait_ms(1000, LONG_MIN, 0), 1000);
	assert_int_equal(f5xc_wait_ms(1000, 7, 10), 7000);
	assert_int_equal(f5xc_wait_ms(60000, 7, 0), 60000);
	assert_int_equal(f5xc_wait_ms(1000, 300, 0), 300000);
	assert_int_equal(f5xc_wait_ms(1000, 301, 0), 300000);
	assert_int_equal(f5xc_wait_ms(1000, LONG_MAX, 0), 300000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bucket_gives_a_burst_and_then_its_rate),
		cmocka_unit_test(a_reserve_is_left),
		cmocka_unit_test(too_many_requests_hold_everything),
		cmocka_unit_test(the_breaker_opens_and_lets_one_probe_through),
		cmocka_unit_test(retry_after_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
