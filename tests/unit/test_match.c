// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The lookup structure at its limits: full, there already, recycled, long chains.

#include "dataplane/core/match.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROTO_TCP 6
#define PROTO_UDP 17

struct fixture {
	void *memory;
	struct match *m;
};

static void make(struct fixture *f, uint32_t capacity)
{
	static const uint8_t key[16] = "sixteen octets..";
	size_t size = match_size(capacity);

	f->memory = aligned_alloc(64, size);
	assert_non_null(f->memory);
	memset(f->memory, 0, size);
	f->m = match_init(f->memory, capacity, key);
}

static struct match_key host(unsigned n)
{
	return (struct match_key){
		.addr = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n},
		.family = 4,
		.prefix_len = 32,
	};
}

static struct match_key port_key(unsigned n, uint8_t proto, uint16_t port)
{
	struct match_key k = host(n);

	k.proto = proto;
	k.port = port;
	return k;
}

static uint32_t add(struct match *m, struct match_key k, uint8_t action)
{
	uint32_t rule = MATCH_NONE;

	assert_int_equal(match_add(m, &k, action, &rule), 0);
	return rule;
}

static struct match_hit lookup(struct match *m, struct match_key k, uint8_t proto, uint16_t port)
{
	struct match_hit hit;

	match_lookup(m, k.family, k.addr, proto, port, &hit);
	return hit;
}

static void test_full_plus_minus_one(void **state)
{
	struct fixture f;
	uint32_t rule = 4711;
	struct match_key k;

	(void)state;
	make(&f, 5);
	assert_int_equal(match_capacity(f.m), 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(match_count(f.m), i);
		assert_in_range(add(f.m, host(i), MATCH_ENFORCE), 0, 4);
	}
	k = host(5);
	assert_int_equal(match_add(f.m, &k, MATCH_ENFORCE, &rule), -ENOSPC);
	assert_int_equal(rule, 4711);
	assert_int_equal(match_count(f.m), 5);
	// There already goes before full.
	k = host(4);
	assert_int_equal(match_add(f.m, &k, MATCH_MONITOR, &rule), -EEXIST);
	assert_int_equal(lookup(f.m, k, 0, 0).actions, MATCH_ENFORCE);
	// Unlinked makes no room yet, recycled does, for one.
	match_unlink(f.m, match_find(f.m, &k));
	k = host(5);
	assert_int_equal(match_add(f.m, &k, MATCH_ENFORCE, &rule), -ENOSPC);
	match_recycle(f.m, 4);
	assert_int_equal(add(f.m, k, MATCH_ENFORCE), 4);
	k = host(6);
	assert_int_equal(match_add(f.m, &k, MATCH_ENFORCE, &rule), -ENOSPC);
	free(f.memory);
}

static void test_no_room_at_all(void **state)
{
	struct fixture f;
	struct match_key k = host(1);
	uint32_t rule;

	(void)state;
	make(&f, 0);
	assert_int_equal(match_add(f.m, &k, MATCH_ENFORCE, &rule), -ENOSPC);
	assert_int_equal(match_find(f.m, &k), MATCH_NONE);
	assert_int_equal(lookup(f.m, k, PROTO_TCP, 1).actions, 0);
	free(f.memory);
}

static void test_unlink_and_recycle_out_of_order(void **state)
{
	struct fixture f;
	struct match_key k = host(1);
	uint32_t rule;

	(void)state;
	make(&f, 4);
	rule = add(f.m, k, MATCH_ENFORCE);
	// A rule that is linked is not given out again.
	match_recycle(f.m, rule);
	assert_int_equal(match_find(f.m, &k), rule);
	assert_int_not_equal(add(f.m, host(2), MATCH_ENFORCE), rule);
	match_unlink(f.m, rule);
	match_unlink(f.m, rule);
	assert_int_equal(match_count(f.m), 1);
	assert_int_equal(match_find(f.m, &k), MATCH_NONE);
	// Nor twice.
	match_recycle(f.m, rule);
	match_recycle(f.m, rule);
	assert_int_equal(add(f.m, host(3), MATCH_ENFORCE), rule);
	assert_int_not_equal(add(f.m, host(4), MATCH_ENFORCE), rule);
	free(f.memory);
}

static void test_a_reader_on_an_unlinked_rule_goes_on(void **state)
{
	struct fixture f;
	uint32_t seen = 0;

	(void)state;
	make(&f, 1 + 8);
	for (unsigned i = 0; i < 8; i++)
		add(f.m, host(i), MATCH_ENFORCE);
	for (uint32_t b = 0; b < match_buckets(f.m); b++) {
		uint32_t first = match_bucket_first(f.m, b), next;

		if (first == MATCH_NONE)
			continue;
		next = match_bucket_next(f.m, first);
		match_unlink(f.m, first);
		assert_int_equal(match_bucket_next(f.m, first), next);
		assert_int_equal(match_bucket_first(f.m, b), next);
		seen++;
	}
	assert_true(seen > 0);
	assert_int_equal(match_count(f.m), 8 - seen);
	free(f.memory);
}

static void test_the_walk_meets_every_rule_once(void **state)
{
	struct fixture f;
	unsigned met[300] = {0};

	(void)state;
	make(&f, 300);
	for (unsigned i = 0; i < 200; i++)
		add(f.m, host(i), MATCH_ENFORCE);
	for (unsigned i = 0; i < 100; i++)
		add(f.m, port_key(i, PROTO_TCP, 443), MATCH_ENFORCE);
	for (uint32_t b = 0; b < match_buckets(f.m); b++) {
		for (uint32_t r = match_bucket_first(f.m, b); r != MATCH_NONE;
		     r = match_bucket_next(f.m, r))
			met[r]++;
	}
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(met[i], 1);
	free(f.memory);
}

static void test_keys_that_cannot_be(void **state)
{
	struct match_key bad[] = {
		{.addr = {10}, .family = 5, .prefix_len = 8},
		{.addr = {0}, .family = 4, .prefix_len = 0},
		{.addr = {10}, .family = 4, .prefix_len = 33},
		{.addr = {0x20}, .family = 6, .prefix_len = 129},
		{.addr = {10, 1}, .family = 4, .prefix_len = 8},
		{.addr = {10, 0, 0, 1, 1}, .family = 4, .prefix_len = 32},
		{.addr = {10}, .family = 4, .prefix_len = 24, .proto = PROTO_TCP, .port = 1},
		{.addr = {10}, .family = 4, .prefix_len = 32, .proto = PROTO_TCP, .port = 0},
		{.addr = {10}, .family = 4, .prefix_len = 32, .proto = 132, .port = 1},
		{.addr = {10}, .family = 4, .prefix_len = 32, .port = 1},
	};
	struct fixture f;
	uint32_t rule = 4711;

	(void)state;
	make(&f, 4);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(match_add(f.m, &bad[i], MATCH_ENFORCE, &rule), -EINVAL);
		assert_int_equal(rule, 4711);
	}
	assert_int_equal(match_count(f.m), 0);
	free(f.memory);
}

static void test_padding_is_no_part_of_the_key(void **state)
{
	struct fixture f;
	struct match_key k = host(1), dirty = k;
	uint32_t rule;

	(void)state;
	make(&f, 4);
	dirty.pad = 1;
	dirty.pad2 = 2;
	rule = add(f.m, dirty, MATCH_ENFORCE);
	assert_int_equal(match_find(f.m, &k), rule);
	assert_int_equal(match_find(f.m, &dirty), rule);
	assert_int_equal(match_add(f.m, &k, MATCH_ENFORCE, &rule), -EEXIST);
	free(f.memory);
}

static void test_every_prefix_length(void **state)
{
	struct fixture f;
	uint8_t lengths[] = {32, 128};
	uint32_t rules[129];

	(void)state;
	for (int family = 0; family < 2; family++) {
		struct match_key k = {.family = family ? 6 : 4};
		struct match_hit hit;
		unsigned bits = lengths[family];

		make(&f, 128);
		memset(k.addr, 0xff, bits / 8);
		for (unsigned n = 1; n <= bits; n++) {
			struct match_key prefix = {.family = k.family, .prefix_len = (uint8_t)n};

			for (unsigned i = 0; i < n; i++)
				prefix.addr[i / 8] |= (uint8_t)(0x80 >> i % 8);
			rules[n] = add(f.m, prefix, n % 2 ? MATCH_ENFORCE : MATCH_MONITOR);
		}
		// From the longest on, each one gone leaves the next to be found.
		for (unsigned n = bits; n >= 3; n--) {
			hit = lookup(f.m, k, 0, 0);
			assert_int_equal(hit.actions, MATCH_ENFORCE | MATCH_MONITOR);
			assert_int_equal(hit.enforce, rules[n % 2 ? n : n - 1]);
			assert_int_equal(hit.monitor, rules[n % 2 ? n - 1 : n]);
			match_unlink(f.m, rules[n]);
			match_recycle(f.m, rules[n]);
		}
		// An address that leaves them at the last bit of /2 is covered by /1 alone.
		k.addr[0] = 0xbf;
		hit = lookup(f.m, k, 0, 0);
		assert_int_equal(hit.actions, MATCH_ENFORCE);
		assert_int_equal(hit.enforce, rules[1]);
		assert_int_equal(hit.monitor, MATCH_NONE);
		k.addr[0] = 0x7f;
		assert_int_equal(lookup(f.m, k, 0, 0).actions, 0);
		free(f.memory);
	}
}

static void test_ports(void **state)
{
	struct fixture f;
	struct match_hit hit;
	uint32_t tcp, network, other;

	(void)state;
	make(&f, 8);
	tcp = add(f.m, port_key(1, PROTO_TCP, 443), MATCH_ENFORCE);
	network = add(f.m, host(1), MATCH_MONITOR);
	other = add(f.m, port_key(2, PROTO_UDP, 53), MATCH_MONITOR);
	hit = lookup(f.m, host(1), PROTO_TCP, 443);
	assert_int_equal(hit.enforce, tcp);
	assert_int_equal(hit.monitor, network);
	assert_false(hit.port_rule);
	assert_int_equal(lookup(f.m, host(1), PROTO_TCP, 442).actions, MATCH_MONITOR);
	assert_int_equal(lookup(f.m, host(1), PROTO_UDP, 443).actions, MATCH_MONITOR);
	assert_int_equal(lookup(f.m, host(2), PROTO_UDP, 53).monitor, other);
	assert_int_equal(lookup(f.m, host(2), 132, 53).actions, 0);
	// Without ports: is one enforced there?
	hit = lookup(f.m, host(1), 0, 0);
	assert_int_equal(hit.actions, MATCH_MONITOR);
	assert_true(hit.port_rule);
	assert_false(lookup(f.m, host(2), 0, 0).port_rule);
	match_action_set(f.m, other, MATCH_ENFORCE);
	assert_true(lookup(f.m, host(2), 0, 0).port_rule);
	match_action_set(f.m, tcp, MATCH_INERT);
	assert_false(lookup(f.m, host(1), 0, 0).port_rule);
	assert_int_equal(lookup(f.m, host(1), PROTO_TCP, 443).enforce, MATCH_NONE);
	free(f.memory);
}

static void test_many_ports_of_one_address(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, 1000);
	for (uint16_t i = 0; i < 1000; i++)
		add(f.m,
		    port_key(i % 3, PROTO_TCP, (uint16_t)(i + 1)),
		    i == 600 ? MATCH_ENFORCE : MATCH_INERT);
	assert_true(lookup(f.m, host(0), 0, 0).port_rule);
	assert_false(lookup(f.m, host(1), 0, 0).port_rule);
	// First, last and middle ones of the chain go; then the one that enforces.
	for (uint16_t i = 0; i < 1000; i++) {
		struct match_key k = port_key(i % 3, PROTO_TCP, (uint16_t)(i + 1));
		uint32_t rule = match_find(f.m, &k);

		if (i == 600 || i % 2)
			continue;
		match_unlink(f.m, rule);
		match_recycle(f.m, rule);
	}
	assert_true(lookup(f.m, host(0), 0, 0).port_rule);
	match_unlink(f.m, 600);
	assert_false(lookup(f.m, host(0), 0, 0).port_rule);
	assert_int_equal(match_count(f.m), 500);
	free(f.memory);
}

static void test_actions_of_exceptions(void **state)
{
	struct fixture f;
	struct match_key wide = host(0);
	struct match_hit hit;
	uint32_t protect, allow;

	(void)state;
	make(&f, 4);
	wide.prefix_len = 24;
	protect = add(f.m, wide, MATCH_PROTECT);
	allow = add(f.m, host(1), MATCH_ALLOW);
	hit = lookup(f.m, host(1), 0, 0);
	assert_int_equal(hit.actions, MATCH_PROTECT | MATCH_ALLOW);
	assert_int_equal(hit.enforce, protect);
	assert_int_equal(hit.monitor, allow);
	free(f.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_plus_minus_one),
		cmocka_unit_test(test_no_room_at_all),
		cmocka_unit_test(test_unlink_and_recycle_out_of_order),
		cmocka_unit_test(test_a_reader_on_an_unlinked_rule_goes_on),
		cmocka_unit_test(test_the_walk_meets_every_rule_once),
		cmocka_unit_test(test_keys_that_cannot_be),
		cmocka_unit_test(test_padding_is_no_part_of_the_key),
		cmocka_unit_test(test_every_prefix_length),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_many_ports_of_one_address),
		cmocka_unit_test(test_actions_of_exceptions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
