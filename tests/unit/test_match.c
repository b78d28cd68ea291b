// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The lookup structure at its limits: full, there already, recycled, long chains.

#include "dataplane/core/match.h"
#include "tests/match_memory.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROTO_TCP 6
#define PROTO_UDP 17

struct fixture {
	struct match *m;
};

static void make(struct fixture *f, uint32_t capacity)
{
	static const uint8_t key[16] = "sixteen octets..";

	f->m = match_map(capacity, key);
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
	uint32_t rule = 4711, gone;
	struct match_key k;

	(void)state;
	make(&f, 5);
	assert_int_equal(match_capacity(f.m), 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(match_count(f.m), i);
		assert_true(add(f.m, host(i), MATCH_ENFORCE) < match_rules(f.m));
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
	gone = match_find(f.m, &k);
	match_unlink(f.m, gone);
	k = host(5);
	assert_int_equal(match_add(f.m, &k, MATCH_ENFORCE, &rule), -ENOSPC);
	match_recycle(f.m, gone);
	match_recycle(f.m, gone);
	add(f.m, k, MATCH_ENFORCE);
	k = host(6);
	assert_int_equal(match_add(f.m, &k, MATCH_ENFORCE, &rule), -ENOSPC);
	match_unmap(f.m);
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
	match_unmap(f.m);
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
	// Nor before it is recycled, nor twice.
	assert_int_not_equal(add(f.m, host(5), MATCH_ENFORCE), rule);
	match_recycle(f.m, rule);
	match_recycle(f.m, rule);
	assert_int_equal(add(f.m, host(3), MATCH_ENFORCE), rule);
	assert_int_not_equal(add(f.m, host(4), MATCH_ENFORCE), rule);
	match_unmap(f.m);
}

static void test_an_unlinked_rule_keeps_its_key(void **state)
{
	struct match_key keys[] = {host(1), port_key(1, PROTO_TCP, 443)}, k;
	struct fixture f;
	uint32_t old, new;

	(void)state;
	make(&f, 8);
	for (size_t i = 0; i < 2; i++) {
		old = add(f.m, keys[i], MATCH_ENFORCE);
		match_unlink(f.m, old);
		match_rule_key(f.m, old, &k);
		assert_memory_equal(&k, &keys[i], sizeof(k));
		assert_int_equal(match_rule_action(f.m, old), MATCH_INERT);
		assert_int_equal(lookup(f.m, k, PROTO_TCP, 443).actions, 0);
		// The same key again, while readers may be on the old rule.
		new = add(f.m, keys[i], MATCH_MONITOR);
		assert_int_not_equal(new, old);
		match_action_set(f.m, old, MATCH_ENFORCE);
		assert_int_equal(lookup(f.m, k, PROTO_TCP, 443).actions, MATCH_MONITOR);
		assert_int_equal(lookup(f.m, k, PROTO_TCP, 443).monitor, new);
		match_recycle(f.m, old);
		assert_int_equal(match_find(f.m, &keys[i]), new);
		match_unlink(f.m, new);
		match_recycle(f.m, new);
	}
	match_unmap(f.m);
}

static void test_the_walk_meets_every_rule_once(void **state)
{
	uint32_t rules[MATCH_LINE_RULES];
	struct fixture f;
	uint8_t *met;
	unsigned n = 0;

	(void)state;
	make(&f, 300);
	met = calloc(match_rules(f.m), 1);
	for (unsigned i = 0; i < 200; i++)
		add(f.m, host(i), MATCH_ENFORCE);
	for (unsigned i = 0; i < 100; i++)
		add(f.m, port_key(i, PROTO_TCP, 443), MATCH_ENFORCE);
	for (uint32_t line = 0; line < match_lines(f.m); line++) {
		unsigned here = match_line(f.m, line, rules);

		for (unsigned i = 0; i < here; i++, n++)
			assert_int_equal(met[rules[i]]++, 0);
	}
	assert_int_equal(n, 300);
	free(met);
	match_unmap(f.m);
}

// Twice the hosts that the lines are meant for, and more than they hold.
static void test_lines_overflow(void **state)
{
	struct fixture f;
	enum {
		N = 4000
	};
	uint32_t *rules = calloc(N, sizeof(*rules)), outside = 0, rule;

	(void)state;
	make(&f, N);
	for (unsigned i = 0; i < N; i++) {
		rules[i] = add(f.m, host(i * 7), i % 3 ? MATCH_ENFORCE : MATCH_MONITOR);
		outside += rules[i] >= match_rules(f.m) - N;
	}
	// Some had to go among the other rules.
	assert_in_range(outside, 1, N / 2);
	for (unsigned i = 0; i < N; i++) {
		struct match_key k = host(i * 7);
		struct match_hit hit = lookup(f.m, k, PROTO_TCP, 80);

		assert_int_equal(hit.actions, i % 3 ? MATCH_ENFORCE : MATCH_MONITOR);
		assert_int_equal(i % 3 ? hit.enforce : hit.monitor, rules[i]);
		assert_int_equal(match_add(f.m, &k, MATCH_ENFORCE, &rule), -EEXIST);
		assert_int_equal(lookup(f.m, host(i * 7 + 1), 0, 0).actions, 0);
	}
	// Half of them go; the others are found wherever they are.
	for (unsigned i = 0; i < N; i += 2) {
		match_unlink(f.m, rules[i]);
		match_recycle(f.m, rules[i]);
	}
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(
			match_find(f.m, &(struct match_key[]){host(i * 7)}[0]),
			i % 2 ? rules[i] : MATCH_NONE
		);
	for (unsigned i = 1; i < N; i += 2) {
		match_unlink(f.m, rules[i]);
		match_recycle(f.m, rules[i]);
	}
	// As new: nothing is sent on any more, and as much fits.
	for (unsigned i = 0; i < N; i++)
		add(f.m, host(i * 5), MATCH_ENFORCE);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(lookup(f.m, host(i * 5), 0, 0).actions, MATCH_ENFORCE);
	free(rules);
	match_unmap(f.m);
}

static unsigned outside_lines(struct match *m, const uint32_t *addrs, unsigned n)
{
	unsigned outside = 0;

	for (unsigned i = 0; i < n; i++) {
		struct match_key k = host(0);

		for (int o = 0; o < 4; o++)
			k.addr[o] = (uint8_t)(addrs[i] >> (24 - 8 * o));
		outside += add(m, k, MATCH_ENFORCE) >= match_rules(m) - match_capacity(m);
		assert_int_equal(lookup(m, k, 0, 0).actions, MATCH_ENFORCE);
	}
	return outside;
}

// Whoever publishes a list may choose its addresses: by one key they all meet in one line, and are
// still found; without knowing the key that does not happen.
static void test_list_built_against_one_key(void **state)
{
	static const uint8_t known[16], other[16] = "another one....";
	enum {
		LINES = 1000,
		N = 400
	};
	struct match *m = match_map(LINES * 192 / 10, known), *free_m;
	uint32_t chosen[N], n = 0, rules[MATCH_LINE_RULES];

	(void)state;
	// What ends up in the first line is what was made to.
	for (uint32_t addr = 0x0b000000; n < N; addr++) {
		struct match_key k = {.family = 4, .prefix_len = 32};
		uint32_t rule;

		for (int o = 0; o < 4; o++)
			k.addr[o] = (uint8_t)(addr >> (24 - 8 * o));
		assert_int_equal(match_add(m, &k, MATCH_ENFORCE, &rule), 0);
		if (match_line(m, 0, rules) == 1)
			chosen[n++] = addr;
		match_unlink(m, rule);
		match_recycle(m, rule);
	}
	assert_true(outside_lines(m, chosen, N) > N / 4);
	free_m = match_map(LINES * 192 / 10, other);
	assert_int_equal(outside_lines(free_m, chosen, N), 0);
	match_unmap(m);
	match_unmap(free_m);
}

// The counts behind the filters do not run over, down or away.
static void test_filters_come_and_go(void **state)
{
	struct match_key prefix = host(0), six = {.addr = {0x20, 1}, .family = 6};
	uint32_t rules[256];
	struct fixture f;

	(void)state;
	make(&f, 2000);
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 256; i++)
			rules[i] = add(f.m, host(i), MATCH_ENFORCE);
		for (unsigned i = 0; i < 256; i++) {
			assert_int_equal(lookup(f.m, host(i), 0, 0).actions, MATCH_ENFORCE);
			match_unlink(f.m, rules[i]);
		}
		for (unsigned i = 0; i < 256; i++) {
			assert_int_equal(lookup(f.m, host(i), 0, 0).actions, 0);
			match_recycle(f.m, rules[i]);
		}
	}
	for (unsigned n = 1; n <= 31; n++) {
		prefix = host(0);
		prefix.prefix_len = (uint8_t)n;
		for (unsigned i = n; i < 32; i++)
			prefix.addr[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
		add(f.m, prefix, MATCH_ENFORCE);
		six.prefix_len = (uint8_t)(16 + n);
		add(f.m, six, MATCH_ENFORCE);
		match_unlink(f.m, match_find(f.m, &prefix));
		assert_int_equal(lookup(f.m, host(0), 0, 0).actions, 0);
		assert_int_equal(lookup(f.m, six, 0, 0).actions, MATCH_ENFORCE);
		match_unlink(f.m, match_find(f.m, &six));
		assert_int_equal(lookup(f.m, six, 0, 0).actions, 0);
	}
	assert_int_equal(match_count(f.m), 0);
	match_unmap(f.m);
}

static void test_the_ends_of_the_address_space(void **state)
{
	static const uint8_t ends[][4] = {{0}, {255, 255, 255, 255}, {0, 0, 0, 1}, {0, 0, 1}};
	struct fixture f;

	(void)state;
	make(&f, 16);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 4; i++) {
			struct match_key k = {.family = 4, .prefix_len = 32};
			uint32_t rule;

			memcpy(k.addr, ends[i], 4);
			assert_int_equal(lookup(f.m, k, 0, 0).actions, 0);
			rule = add(f.m, k, MATCH_ENFORCE);
			assert_int_equal(lookup(f.m, k, 0, 0).enforce, rule);
			assert_int_equal(match_find(f.m, &k), rule);
			match_unlink(f.m, rule);
			assert_int_equal(lookup(f.m, k, 0, 0).actions, 0);
			match_recycle(f.m, rule);
		}
	}
	assert_int_equal(match_count(f.m), 0);
	match_unmap(f.m);
}

static void test_variants(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, 4);
	assert_int_equal(match_variant_set(f.m, "none such"), -ENOENT);
	assert_int_equal(match_variant_set(f.m, "portable"), 0);
	assert_string_equal(match_variant(f.m), "portable");
	match_unmap(f.m);
}

// Sure of a host that is denied and nothing else; in each variant.
static void test_sure(void **state)
{
	static const char *const variants[] = {"portable", "avx2", "avx512"};
	struct match_key wide = host(0x030000);
	struct fixture f, exceptions;
	uint32_t exception;
	struct match_burst b;

	(void)state;
	make(&f, 1000);
	make(&exceptions, 1000);
	wide.prefix_len = 24;
	add(f.m, wide, MATCH_ENFORCE);
	add(f.m, host(0x030001), MATCH_ENFORCE); // 0: the /24 too
	add(f.m, host(0x040001), MATCH_ENFORCE); // 1
	add(f.m, host(0x050001), MATCH_MONITOR); // 2
	add(f.m, host(0x060001), MATCH_ENFORCE | MATCH_MONITOR); // 3
	add(f.m, host(0x070001), MATCH_ENFORCE); // 4: a port of it too
	add(f.m, port_key(0x070001, PROTO_TCP, 443), MATCH_ENFORCE);
	add(f.m, host(0x080001), MATCH_ENFORCE); // 5: near an exception
	assert_true(match_far4(exceptions.m, 0x0a080002));
	exception = add(exceptions.m, host(0x080002), MATCH_PROTECT);
	assert_false(match_far4(exceptions.m, 0x0a080002));
	assert_true(match_far4(exceptions.m, 0x0a090002)); // in the same /8
	for (unsigned v = 0; v < 3; v++) {
		if (match_variant_set(f.m, variants[v]) < 0)
			continue;
		for (int follow = 0; follow < 2; follow++) {
			match_clear(f.m, &b);
			if (follow)
				match_follow(&b, exceptions.m);
			for (unsigned i = 3; i <= 9; i++)
				match_push(&b, 4, host(i << 16 | 1).addr, PROTO_TCP, 443);
			match_begin(f.m, &b);
			match_end(f.m, &b);
			assert_int_equal(b.hits, 0x3f);
			assert_int_equal(b.sure, follow ? 0x0a : 0x2a);
		}
	}
	match_unlink(exceptions.m, exception);
	assert_true(match_far4(exceptions.m, 0x0a080002));
	add(exceptions.m, wide, MATCH_PROTECT);
	exception = add(exceptions.m, host(0x030007), MATCH_PROTECT);
	match_unlink(exceptions.m, exception);
	assert_false(match_far4(exceptions.m, 0x0a030007)); // for the network
	match_unmap(f.m);
	match_unmap(exceptions.m);
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
	match_unmap(f.m);
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
	match_unmap(f.m);
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
		match_unmap(f.m);
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
	match_unmap(f.m);
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
	match_unlink(
		f.m, match_find(f.m, &(struct match_key[]){port_key(600 % 3, PROTO_TCP, 601)}[0])
	);
	assert_false(lookup(f.m, host(0), 0, 0).port_rule);
	assert_int_equal(match_count(f.m), 500);
	match_unmap(f.m);
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
	match_unmap(f.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_plus_minus_one),
		cmocka_unit_test(test_no_room_at_all),
		cmocka_unit_test(test_unlink_and_recycle_out_of_order),
		cmocka_unit_test(test_an_unlinked_rule_keeps_its_key),
		cmocka_unit_test(test_lines_overflow),
		cmocka_unit_test(test_list_built_against_one_key),
		cmocka_unit_test(test_filters_come_and_go),
		cmocka_unit_test(test_the_ends_of_the_address_space),
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_sure),
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
