// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// SipHash against its authors' vectors; the digest's independence of order; every field counts.

#include "rules/digest.h"
#include "rules/entry.h"
#include "rules/siphash.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

// vectors_sip64 and vectors_sip128 of https://github.com/veorq/SipHash, for these lengths.
static const struct {
	size_t len;
	uint8_t sip64[8];
	uint8_t sip128[16];
} vectors[] = {
	{0,
	 {0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72},
	 {0xa3,
	  0x81,
	  0x7f,
	  0x04,
	  0xba,
	  0x25,
	  0xa8,
	  0xe6,
	  0x6d,
	  0xf6,
	  0x72,
	  0x14,
	  0xc7,
	  0x55,
	  0x02,
	  0x93}},
	{1,
	 {0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74},
	 {0xda,
	  0x87,
	  0xc1,
	  0xd8,
	  0x6b,
	  0x99,
	  0xaf,
	  0x44,
	  0x34,
	  0x76,
	  0x59,
	  0x11,
	  0x9b,
	  0x22,
	  0xfc,
	  0x45}},
	{7,
	 {0x37, 0xd1, 0x01, 0x8b, 0xf5, 0x00, 0x02, 0xab},
	 {0xa1,
	  0xf1,
	  0xeb,
	  0xbe,
	  0xd8,
	  0xdb,
	  0xc1,
	  0x53,
	  0xc0,
	  0xb8,
	  0x4a,
	  0xa6,
	  0x1f,
	  0xf0,
	  0x82,
	  0x39}},
	{8,
	 {0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93},
	 {0x3b,
	  0x62,
	  0xa9,
	  0xba,
	  0x62,
	  0x58,
	  0xf5,
	  0x61,
	  0x0f,
	  0x83,
	  0xe2,
	  0x64,
	  0xf3,
	  0x14,
	  0x97,
	  0xb4}},
};

static const uint8_t key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static uint64_t le64(const uint8_t *p)
{
	uint64_t x = 0;

	for (int i = 7; i >= 0; i--)
		x = x << 8 | p[i];
	return x;
}

static void test_siphash(void **state)
{
	uint8_t data[64];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		uint64_t wide[2];

		assert_int_equal(siphash64(key, data, vectors[i].len), le64(vectors[i].sip64));
		siphash128(key, data, vectors[i].len, wide);
		assert_int_equal(wide[0], le64(vectors[i].sip128));
		assert_int_equal(wide[1], le64(vectors[i].sip128 + 8));
	}
	// The paper's own example: 15 octets.
	assert_int_equal(siphash64(key, data, 15), 0xa129ca6149be45e5);
}

static void test_siphash_pieces(void **state)
{
	uint8_t data[40];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(7 * i);
	for (size_t a = 0; a <= sizeof(data); a++) {
		for (size_t b = a; b <= sizeof(data); b++) {
			struct siphash h;

			siphash_begin(&h, key);
			siphash_update(&h, data, a);
			siphash_update(&h, data + a, b - a);
			siphash_update(&h, data + b, sizeof(data) - b);
			assert_int_equal(siphash_end(&h), siphash64(key, data, sizeof(data)));
		}
	}
}

static const struct entry sample = {
	.indicator = {
		.kind = INDICATOR_PORT,
		.family = 4,
		.prefix_len = 32,
		.proto = IPPROTO_TCP,
		.port = 443,
		.addr = {203, 0, 113, 7},
	},
	.enforce_until = 1000,
	.monitor_until = 2000,
};

// Each changed in one field: all hashes differ.
static void test_fields(void **state)
{
	struct entry e[12];
	size_t n = sizeof(e) / sizeof(e[0]);

	(void)state;
	for (size_t i = 0; i < n; i++)
		e[i] = sample;
	e[1].indicator.kind = INDICATOR_NET;
	e[2].indicator.family = 6;
	e[3].indicator.prefix_len = 31;
	e[4].indicator.proto = IPPROTO_UDP;
	e[5].indicator.port = 0xbb01; // 443 with its octets swapped
	e[6].indicator.addr[15] = 1;
	e[7].indicator.subtree = 1;
	e[8].enforce_until = 1001;
	e[9].monitor_until = 2001;
	e[10].scope = 1;
	memcpy(e[11].indicator.name, "a.b", 3);
	e[11].indicator.name_len = 3;
	for (size_t i = 0; i < n; i++) {
		for (size_t j = i + 1; j < n; j++)
			assert_false(digest_equal(entry_hash(&e[i]), entry_hash(&e[j])));
	}
}

static void test_order_free(void **state)
{
	struct digest forward = {0}, backward = {0}, zero = {0};
	struct entry e = sample;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		e.indicator.port = (uint16_t)(i + 1);
		digest_add(&forward, entry_hash(&e));
		e.indicator.port = (uint16_t)(1000 - i);
		digest_add(&backward, entry_hash(&e));
	}
	assert_true(digest_equal(forward, backward));
	assert_false(digest_equal(forward, zero));
	for (int i = 0; i < 1000; i++) {
		e.indicator.port = (uint16_t)(i + 1);
		digest_remove(&forward, entry_hash(&e));
	}
	assert_true(digest_equal(forward, zero));
}

static void test_carry(void **state)
{
	struct digest d = {.hi = 1, .lo = UINT64_MAX};

	(void)state;
	digest_add(&d, (struct digest){.lo = 1});
	assert_true(digest_equal(d, (struct digest){.hi = 2}));
	digest_remove(&d, (struct digest){.lo = 1});
	assert_true(digest_equal(d, (struct digest){.hi = 1, .lo = UINT64_MAX}));
}

static void test_text(void **state)
{
	const struct digest d = {.hi = 0x0123456789abcdef, .lo = 0xfedcba9876543210};
	struct digest back = {0};
	char text[DIGEST_TEXT_MAX];
	uint8_t octets[16];

	(void)state;
	digest_print(d, text);
	assert_string_equal(text, "0123456789abcdeffedcba9876543210");
	assert_int_equal(digest_parse(text, &back), 0);
	assert_true(digest_equal(d, back));
	digest_pack(d, octets);
	assert_int_equal(octets[0], 0x01);
	assert_int_equal(octets[15], 0x10);
	assert_true(digest_equal(digest_unpack(octets), d));
	assert_int_equal(digest_parse("0123456789abcdeffedcba987654321", &back), -EINVAL);
	assert_int_equal(digest_parse("0123456789abcdeffedcba98765432100", &back), -EINVAL);
	assert_int_equal(digest_parse("0123456789ABCDEFfedcba9876543210", &back), -EINVAL);
	assert_int_equal(digest_parse("", &back), -EINVAL);
}

static void test_revision(void **state)
{
	const struct revision ordered[] = {{0, 9}, {1, 1}, {1, 2}, {2, 0}};

	(void)state;
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < 4; j++) {
			int order = revision_compare(ordered[i], ordered[j]);

			assert_int_equal(order, (i > j) - (i < j));
		}
	}
}

static void test_action(void **state)
{
	struct entry e = sample;

	(void)state;
	assert_int_equal(entry_action_at(&e, 999), ENTRY_ENFORCE);
	assert_int_equal(entry_action_at(&e, 1000), ENTRY_MONITOR);
	assert_int_equal(entry_action_at(&e, 1999), ENTRY_MONITOR);
	assert_int_equal(entry_action_at(&e, 2000), ENTRY_INERT);
	e.enforce_until = UNTIL_FOREVER;
	assert_int_equal(entry_action_at(&e, INT64_MAX - 1), ENTRY_ENFORCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash),
		cmocka_unit_test(test_siphash_pieces),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_order_free),
		cmocka_unit_test(test_carry),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_revision),
		cmocka_unit_test(test_action),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
