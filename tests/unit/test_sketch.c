// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/sketch.h"
#include "tests/unit/cm.h"

#include <pthread.h>
#include <string.h>

#define NOW 1700000000000

static struct sketch_sample sample(uint32_t host)
{
	struct sketch_sample s
		= {.addr = {203}, .family = 4, .proto = 6, .port = 443, .bytes = 100};

	s.addr[2] = (uint8_t)(host >> 8);
	s.addr[3] = (uint8_t)host;
	return s;
}

static void cell_sum(void *ctx, const struct sketch_cell *c)
{
	struct sketch_cell *sum = ctx;

	sum->samples += c->samples;
	sum->bytes += c->bytes;
	sum->squares += c->squares;
	sum->last_ms = c->last_ms;
}

static struct sketch_cell sum(struct sketch *s, struct sketch_ask ask)
{
	struct sketch_cell r = {0};

	sketch_each(s, &ask, cell_sum, &r);
	return r;
}

static struct sketch_window window(const struct sketch *s, int64_t now_ms)
{
	struct sketch_window w;

	sketch_window(s, now_ms, &w);
	return w;
}

static struct sketch_ask host(uint8_t last)
{
	return (struct sketch_ask){.addr = {203, 0, 0, last}, .family = 4, .prefix_len = 32};
}

// Counted over bursts as the worker does. Of an even rhythm half of the samples are either's.
static void one_in_64_whatever_the_rhythm(void **state)
{
	struct sketch *s;
	uint64_t packets = 0, odd = 0, all = 0;
	int left;

	(void)state;
	assert_int_equal(sketch_create(1, 1, &s), 0);
	left = (int)sketch_gap(s, 0) - 1;
	for (unsigned burst = 0; burst < 100000; burst++) {
		int n = (int)burst % 33;

		packets += (unsigned)n;
		for (left -= n; left < 0; left += (int)sketch_gap(s, 0), all++)
			odd += (unsigned)(n + left) % 2;
	}
	assert_in_range(all * SKETCH_RATE, packets * 98 / 100, packets * 102 / 100);
	assert_in_range(odd * 100 / all, 45, 51); // of a burst with an odd number more are even
	sketch_free(s);
}

// The mean is exact: else every estimate would be off by it.
static void gaps(void **state)
{
	uint64_t seen[2 * SKETCH_RATE] = {0}, sum = 0;
	const unsigned draws = 1u << 20;
	struct sketch *s;

	(void)state;
	assert_int_equal(sketch_create(1, 7, &s), 0);
	for (unsigned i = 0; i < draws; i++) {
		unsigned gap = sketch_gap(s, 0);

		assert_in_range(gap, 1, 2 * SKETCH_RATE - 1);
		seen[gap]++;
		sum += gap;
	}
	assert_in_range(sum * 1000 / draws, 63850, 64150);
	for (unsigned i = 1; i < 2 * SKETCH_RATE; i++)
		assert_in_range(seen[i], draws / 128 / 2, draws / 128 * 3);
	sketch_free(s);
}

static void sums_by_prefix_and_port(void **state)
{
	struct sketch_ask ask = host(7);
	struct sketch *s;
	struct sketch_sample one = sample(7);
	struct sketch_cell all = {0};

	(void)state;
	assert_int_equal(sketch_create(1, 2, &s), 0);
	for (int i = 0; i < 3; i++)
		sketch_add(s, 0, &one);
	one.inward = true;
	sketch_add(s, 0, &one);
	assert_int_equal(sketch_drain(s, NOW), 4);
	assert_int_equal(sum(s, ask).samples, 4);
	assert_int_equal(sum(s, ask).bytes, 400);
	assert_int_equal(sum(s, ask).squares, 40000);
	assert_int_equal(sum(s, ask).last_ms, NOW);
	assert_int_equal(sum(s, host(6)).samples, 0);
	sketch_each(s, NULL, cell_sum, &all);
	assert_int_equal(all.samples, 4);
	ask.prefix_len = 31;
	assert_int_equal(sum(s, ask).samples, 4);
	ask.addr[3] = 8;
	assert_int_equal(sum(s, ask).samples, 0);
	ask = host(7);
	ask.proto = 6;
	ask.port = 443;
	assert_int_equal(sum(s, ask).samples, 4);
	ask.port = 80;
	assert_int_equal(sum(s, ask).samples, 0);
	sketch_free(s);
}

static void version_6(void **state)
{
	struct sketch_ask ask = {.addr = {0x20, 1, 0xd, 0xb8}, .family = 6, .prefix_len = 127};
	struct sketch_sample one = {.addr = {0x20, 1, 0xd, 0xb8, [15] = 1}, .family = 6};
	struct sketch *s;

	(void)state;
	assert_int_equal(sketch_create(1, 3, &s), 0);
	sketch_add(s, 0, &one);
	sketch_drain(s, NOW);
	assert_int_equal(sum(s, ask).samples, 1);
	ask.prefix_len = 128;
	assert_int_equal(sum(s, ask).samples, 0);
	ask.addr[15] = 1;
	assert_int_equal(sum(s, ask).samples, 1);
	sketch_free(s);
}

static void ages_out(void **state)
{
	struct sketch_sample one = sample(7);
	struct sketch *s;

	(void)state;
	assert_int_equal(sketch_create(1, 4, &s), 0);
	assert_int_equal(window(s, NOW).ms, 0);
	sketch_add(s, 0, &one);
	sketch_drain(s, NOW);
	assert_int_equal(window(s, NOW + 1000).ms, 1000);
	assert_int_equal(window(s, NOW + 1000).samples, 1);
	assert_int_equal(window(s, NOW + 1000).bytes, 100);
	sketch_drain(s, NOW + SKETCH_PERIOD_MS);
	assert_int_equal(sum(s, host(7)).samples, 1);
	assert_int_equal(window(s, NOW + SKETCH_PERIOD_MS).ms, SKETCH_PERIOD_MS);
	sketch_drain(s, NOW + 2 * SKETCH_PERIOD_MS);
	assert_int_equal(sum(s, host(7)).samples, 0);
	assert_int_equal(window(s, NOW + 2 * SKETCH_PERIOD_MS).ms, SKETCH_PERIOD_MS);
	assert_int_equal(window(s, NOW + 2 * SKETCH_PERIOD_MS).samples, 0);
	sketch_add(s, 0, &one);
	sketch_drain(s, NOW + 3 * SKETCH_PERIOD_MS);
	sketch_drain(s, NOW + 9 * SKETCH_PERIOD_MS);
	assert_int_equal(sum(s, host(7)).samples, 0);
	assert_int_equal(window(s, NOW + 9 * SKETCH_PERIOD_MS).ms, 0);
	sketch_free(s);
}

// More destinations than there is room for: the heavy one stays, what is lost is counted.
static void bounded(void **state)
{
	struct sketch_ask all = {.addr = {203, 0}, .family = 4, .prefix_len = 16};
	struct sketch_sample heavy = sample(7);
	struct sketch *s;
	uint64_t added = 0;

	(void)state;
	assert_int_equal(sketch_create(1, 5, &s), 0);
	for (uint32_t i = 256; i < 65536; i++, added += 2) {
		struct sketch_sample other = sample(i);

		sketch_add(s, 0, &heavy);
		sketch_add(s, 0, &other);
		if (i % 512 == 0)
			sketch_drain(s, NOW);
	}
	sketch_drain(s, NOW);
	assert_int_equal(sum(s, host(7)).samples, 65536 - 256);
	assert_true(window(s, NOW).lost > 50000);
	assert_int_equal(sum(s, all).samples + window(s, NOW).lost, added);
	assert_int_equal(window(s, NOW).samples, added);
	// A full ring: what was lost there counts among all samples too.
	for (int i = 0; i < 5000; i++)
		sketch_add(s, 0, &heavy);
	assert_int_equal(sketch_drain(s, NOW), 4096);
	assert_int_equal(sum(s, all).samples + window(s, NOW).lost, added + 5000);
	assert_int_equal(window(s, NOW).samples, added + 5000);
	sketch_free(s);
}

#define ADDED 200000

static void *adding(void *ctx)
{
	struct sketch *s = ctx;

	for (uint32_t i = 0; i < ADDED; i++) {
		const struct sketch_sample one = sample(i % 64);

		sketch_add(s, 0, &one);
	}
	return NULL;
}

// A worker beside the control thread: each sample is told once and whole, or counted as lost.
static void drained_meanwhile(void **state)
{
	struct sketch_ask all = {.addr = {203, 0}, .family = 4, .prefix_len = 16};
	struct sketch *s;
	pthread_t worker;

	(void)state;
	assert_int_equal(sketch_create(1, 6, &s), 0);
	assert_int_equal(pthread_create(&worker, NULL, adding, s), 0);
	while (window(s, NOW).samples < ADDED / 2)
		sketch_drain(s, NOW);
	assert_int_equal(pthread_join(worker, NULL), 0);
	sketch_drain(s, NOW);
	assert_int_equal(window(s, NOW).samples, ADDED);
	assert_int_equal(sum(s, all).samples + window(s, NOW).lost, ADDED);
	assert_int_equal(sum(s, all).bytes, sum(s, all).samples * 100);
	sketch_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_in_64_whatever_the_rhythm),
		cmocka_unit_test(gaps),
		cmocka_unit_test(sums_by_prefix_and_port),
		cmocka_unit_test(version_6),
		cmocka_unit_test(ages_out),
		cmocka_unit_test(bounded),
		cmocka_unit_test(drained_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
