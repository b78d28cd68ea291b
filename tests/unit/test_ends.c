// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The wheel of ends against a plain array, in slices of any size.

#include "dataplane/ends.h"
#include "tests/unit/cm.h"

#include <stdint.h>

#define N 300u
#define ROUND_MS (65536ll * ENDS_TICK_MS)
#define BASE_MS 77

struct model {
	struct ends *ends;
	int64_t due[N]; // ENDS_NEVER: none
	int64_t now;
	unsigned told;
	uint64_t random;
	bool disturb; // an end that is told moves and drops others
};

static uint32_t draw(struct model *m, uint32_t n)
{
	m->random = m->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(m->random >> 33) % n;
}

static void set(struct model *m, uint32_t i, int64_t due)
{
	m->due[i] = due;
	ends_set(m->ends, i, due);
}

static void end(void *ctx, uint32_t i)
{
	struct model *m = ctx;

	assert_true(m->due[i] <= m->now); // never early, and only what is set
	m->due[i] = ENDS_NEVER;
	m->told++;
	if (!m->disturb)
		return;
	set(m, draw(m, N), ENDS_NEVER);
	set(m, draw(m, N), m->now + 1 + draw(m, 5000));
	set(m, i, m->now + 1 + draw(m, 100));
}

// All that was due by ends_ran has been told; where the call says so, that is all but a tick.
static void run(struct model *m, uint32_t looks)
{
	bool done = ends_run(m->ends, m->now, looks, end, m);

	for (uint32_t i = 0; i < N; i++)
		assert_true(m->due[i] > ends_ran(m->ends));
	if (done)
		assert_true(ends_ran(m->ends) > m->now - ENDS_TICK_MS);
}

static void against_an_array(uint64_t seed)
{
	struct model m = {.now = BASE_MS, .random = seed};

	for (uint32_t i = 0; i < N; i++)
		m.due[i] = ENDS_NEVER;
	assert_int_equal(ends_create(N, BASE_MS, &m.ends), 0);
	for (unsigned turn = 0; turn < 20000; turn++) {
		uint32_t i = draw(&m, N);
		int64_t rounds;

		m.disturb = turn % 3 == 0;
		switch (draw(&m, 16)) {
		case 0:
			set(&m, i, ENDS_NEVER);
			break;
		case 1: // in a later round, often of the same bucket
			rounds = draw(&m, 3);
			set(&m, i, m.now + 1 + rounds * ROUND_MS + draw(&m, 1000));
			break;
		case 2:
			m.now += draw(&m, 2000);
			break;
		case 3:
			rounds = draw(&m, 100);
			if (rounds < 3)
				m.now += rounds * ROUND_MS + draw(&m, 5000);
			break;
		case 4:
			run(&m, draw(&m, 4));
			break;
		case 5:
			run(&m, UINT32_MAX);
			break;
		default:
			set(&m, i, m.now + 1 + draw(&m, 3000));
		}
	}
	assert_true(m.told > 1000);
	ends_free(m.ends);
}

static void test_against_an_array(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++)
		against_an_array(seed);
}

// A slice looks at no more than it may, whatever else is in the bucket.
static void test_slices_come_to_the_end(void **state)
{
	struct model m = {.now = BASE_MS, .random = 2};
	unsigned slices = 1;

	(void)state;
	assert_int_equal(ends_create(N, BASE_MS, &m.ends), 0);
	for (uint32_t i = 0; i < N; i++)
		set(&m, i, BASE_MS + 1000 + (i % 2) * ROUND_MS);
	m.now += 1000;
	while (!ends_run(m.ends, m.now, 10, end, &m)) {
		assert_true(m.told <= slices * 10);
		slices++;
	}
	assert_int_equal(m.told, N / 2);
	assert_int_equal(slices, N / 10);
	ends_free(m.ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_an_array),
		cmocka_unit_test(test_slices_come_to_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
