// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// DPDK's own lookups. Their tables are in huge pages, and each is asked in bursts.

#include "tests/bench/lookup.h"

#include <rte_acl.h>
#include <rte_common.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_lpm.h>
#include <rte_malloc.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static struct rte_hash *hash;
static struct rte_fib *fib;
static struct rte_lpm *lpm;
static struct rte_acl_ctx *acl;

// --- rte_hash

struct peer_key { // of the hash of more than one length
	uint8_t addr[16];
	uint64_t length;
};

static uint32_t crc4(const void *key, uint32_t len, uint32_t seed)
{
	uint32_t a;

	(void)len;
	memcpy(&a, key, 4);
	return rte_hash_crc_4byte(a, seed);
}

static uint32_t crc_words(const void *key, uint32_t len, uint32_t seed)
{
	const uint8_t *at = key;

	for (; len; at += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, at, 8);
		seed = rte_hash_crc_8byte(word, seed);
	}
	return seed;
}

static size_t peer_key_size(const struct lookup *l)
{
	return l->mixed ? sizeof(struct peer_key) : l->family == 4 ? 4 : 16;
}

static int hash_make(const struct lookup *l, const char *argument)
{
	struct rte_hash_parameters p = {
		.name = "peer",
		.entries = (uint32_t)((uint64_t)l->n * 11 / 10) + 1024,
		.key_len = (uint32_t)peer_key_size(l),
		.hash_func = peer_key_size(l) == 4 ? crc4 : crc_words,
		.extra_flag
		= RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
	};

	(void)argument;
	hash = rte_hash_create(&p);
	if (!hash)
		return -rte_errno;
	for (uint32_t i = 0; i < l->n; i++) {
		struct peer_key k = {.length = l->keys[i].prefix_len};

		memcpy(k.addr, l->keys[i].addr, 16);
		if (rte_hash_add_key_data(hash, &k, NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

static uint64_t hash_run_one(const struct lookup *l, uint32_t from, uint32_t n)
{
	const void *keys[LOOKUP_BURST];
	void *data[LOOKUP_BURST];
	uint64_t hits = 0;

	for (uint32_t i = from; i < from + n; i += LOOKUP_BURST) {
		uint64_t mask_of_hits = 0;

		for (unsigned k = 0; k < LOOKUP_BURST; k++)
			keys[k] = lookup_query(l, i + k);
		rte_hash_lookup_bulk_data(hash, keys, LOOKUP_BURST, &mask_of_hits, data);
		hits += (uint64_t)__builtin_popcountll(mask_of_hits);
	}
	return hits;
}

// A probe for each length in use.
static uint64_t hash_run_lengths(const struct lookup *l, uint32_t from, uint32_t n)
{
	static struct peer_key at[LOOKUP_BURST];
	const void *keys[LOOKUP_BURST];
	void *data[LOOKUP_BURST];
	uint64_t hits = 0;

	for (uint32_t i = from; i < from + n; i += LOOKUP_BURST) {
		uint64_t any = 0;

		for (unsigned bits = 128; bits; bits--) {
			uint64_t mask_of_hits = 0;

			if (!l->used[bits])
				continue;
			for (unsigned k = 0; k < LOOKUP_BURST; k++) {
				uint64_t words[2];
				uint64_t high = bits >= 64 ? ~(uint64_t)0 : ~(~(uint64_t)0 >> bits);
				uint64_t low = bits <= 64 ? 0
					: bits == 128	  ? ~(uint64_t)0
							  : ~(~(uint64_t)0 >> (bits - 64));

				memcpy(words, lookup_query(l, i + k), 16);
				words[0] &= rte_cpu_to_be_64(high);
				words[1] &= rte_cpu_to_be_64(low);
				memcpy(at[k].addr, words, 16);
				at[k].length = bits;
				keys[k] = &at[k];
			}
			rte_hash_lookup_bulk_data(hash, keys, LOOKUP_BURST, &mask_of_hits, data);
			any |= mask_of_hits;
		}
		hits += (uint64_t)__builtin_popcountll(any);
	}
	return hits;
}

static lookup_run hash_run(const struct lookup *l)
{
	return l->mixed ? hash_run_lengths : hash_run_one;
}

// --- rte_fib

// How many blocks of 256 addresses the list's longer prefixes need.
static uint32_t blocks_needed(const struct lookup *l)
{
	uint8_t *seen = calloc(1u << 24, 1);
	uint32_t n = 1024;

	if (!seen)
		return 0;
	for (uint32_t i = 0; i < l->n; i++) {
		uint8_t *cell = &seen[lookup_get4(l->keys[i].addr) >> 8];

		if (l->keys[i].prefix_len > 24 && !*cell)
			n += *cell = 1;
	}
	free(seen);
	return n;
}

static int fib_make(const struct lookup *l, const char *argument)
{
	struct rte_fib_conf conf = {
		.type = RTE_FIB_DIR24_8,
		.max_routes = (int)l->n + 1024,
		.dir24_8 = {.nh_sz = RTE_FIB_DIR24_8_4B, .num_tbl8 = blocks_needed(l)},
	};

	(void)argument;
	fib = rte_fib_create("peer", -1, &conf);
	if (!fib)
		return -rte_errno;
	for (uint32_t i = 0; i < l->n; i++) {
		if (rte_fib_add(fib, lookup_get4(l->keys[i].addr), l->keys[i].prefix_len, 1) < 0)
			return -ENOMEM;
	}
	if (rte_fib_select_lookup(fib, RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512) < 0)
		printf("note rte_fib without AVX-512\n");
	return 0;
}

static uint64_t fib_run(const struct lookup *l, uint32_t from, uint32_t n)
{
	uint64_t next[LOOKUP_BURST], hits = 0;

	for (uint32_t i = from; i < from + n; i += LOOKUP_BURST) {
		rte_fib_lookup_bulk(fib, &l->queries4[i], next, LOOKUP_BURST);
		for (unsigned k = 0; k < LOOKUP_BURST; k++)
			hits += next[k];
	}
	return hits;
}

static lookup_run fib_run_of(const struct lookup *l)
{
	(void)l;
	return fib_run;
}

// --- rte_lpm

// Adding looks through all rules of a length: beyond 100,000 it does not end.
static int lpm_make(const struct lookup *l, const char *argument)
{
	const struct rte_lpm_config conf = {
		.max_rules = l->n + 1024,
		.number_tbl8s = blocks_needed(l),
	};

	(void)argument;
	lpm = rte_lpm_create("peer", -1, &conf);
	if (!lpm)
		return -rte_errno;
	for (uint32_t i = 0; i < l->n; i++) {
		if (rte_lpm_add(lpm, lookup_get4(l->keys[i].addr), l->keys[i].prefix_len, 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

static uint64_t lpm_run(const struct lookup *l, uint32_t from, uint32_t n)
{
	uint32_t next[LOOKUP_BURST];
	uint64_t hits = 0;

	for (uint32_t i = from; i < from + n; i += LOOKUP_BURST) {
		rte_lpm_lookup_bulk(lpm, &l->queries4[i], next, LOOKUP_BURST);
		for (unsigned k = 0; k < LOOKUP_BURST; k++)
			hits += (next[k] & RTE_LPM_LOOKUP_SUCCESS) != 0;
	}
	return hits;
}

static lookup_run lpm_run_of(const struct lookup *l)
{
	(void)l;
	return lpm_run;
}

// --- rte_acl

struct acl_query { // its fields stand in groups of four octets behind one of one
	uint8_t proto, pad[3];
	uint32_t addr; // network byte order
};

RTE_ACL_RULE_DEF(acl_rule, 2);

static struct acl_query *acl_queries;

static const struct rte_acl_config acl_conf = {
	.num_categories = 1,
	.num_fields = 2,
	.defs = {
		{.type = RTE_ACL_FIELD_TYPE_BITMASK, .size = 1},
		{
			.type = RTE_ACL_FIELD_TYPE_MASK,
			.size = 4,
			.field_index = 1,
			.input_index = 1,
			.offset = offsetof(struct acl_query, addr),
		},
	},
};

static int acl_fill(const struct lookup *l)
{
	for (uint32_t i = 0; i < l->n; i++) {
		struct acl_rule rule = {.data = {.category_mask = 1, .priority = 1, .userdata = 1}};
		int r;

		rule.field[1].value.u32 = lookup_get4(l->keys[i].addr);
		rule.field[1].mask_range.u32 = l->keys[i].prefix_len;
		r = rte_acl_add_rules(acl, (const struct rte_acl_rule *)&rule, 1);
		if (r < 0)
			return r;
	}
	return rte_acl_build(acl, &acl_conf);
}

static int acl_make(const struct lookup *l, const char *argument)
{
	const struct rte_acl_param param = {
		.name = "peer",
		.socket_id = -1,
		.rule_size = RTE_ACL_RULE_SZ(2),
		.max_rule_num = l->n,
	};

	(void)argument;
	acl = rte_acl_create(&param);
	acl_queries = rte_malloc(NULL, LOOKUP_QUERIES * sizeof(*acl_queries), 64);
	if (!acl || !acl_queries)
		return -ENOMEM;
	for (uint32_t i = 0; i < LOOKUP_QUERIES; i++) {
		acl_queries[i] = (struct acl_query){.proto = IPPROTO_TCP};
		memcpy(&acl_queries[i].addr, lookup_query(l, i), 4);
	}
	return acl_fill(l);
}

static uint64_t acl_run(const struct lookup *l, uint32_t from, uint32_t n)
{
	const uint8_t *data[LOOKUP_BURST];
	uint32_t results[LOOKUP_BURST];
	uint64_t hits = 0;

	(void)l;
	for (uint32_t i = from; i < from + n; i += LOOKUP_BURST) {
		for (unsigned k = 0; k < LOOKUP_BURST; k++)
			data[k] = &acl_queries[i + k].proto;
		rte_acl_classify(acl, data, results, LOOKUP_BURST, 1);
		for (unsigned k = 0; k < LOOKUP_BURST; k++)
			hits += results[k];
	}
	return hits;
}

static lookup_run acl_run_of(const struct lookup *l)
{
	(void)l;
	return acl_run;
}

const struct lookup_peer lookup_dpdk_peers[] = {
	{.name = "hash", .make = hash_make, .run = hash_run},
	{.name = "fib", .make = fib_make, .run = fib_run_of},
	{.name = "lpm", .make = lpm_make, .run = lpm_run_of},
	{.name = "acl", .make = acl_make, .run = acl_run_of},
	{0},
};
