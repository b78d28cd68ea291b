// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/bench/peer_hash.h"

#include "dataplane/set.h"

#include <rte_byteorder.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>

#include <errno.h>
#include <string.h>

static struct rte_hash *hash; // from an address in host byte order to its rule

static uint32_t crc(const void *key, uint32_t len, uint32_t seed)
{
	uint32_t host;

	(void)len;
	memcpy(&host, key, 4);
	return rte_hash_crc_4byte(host, seed);
}

int peer_hash_create(struct set *set, const uint32_t *hosts, uint32_t n)
{
	const struct match *entries = set_live(set)->entries;
	struct rte_hash_parameters p = {
		.name = "peer",
		.entries = (uint32_t)((uint64_t)n * 11 / 10) + 1024,
		.key_len = 4,
		.hash_func = crc,
		.extra_flag
		= RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
	};

	hash = rte_hash_create(&p);
	if (!hash)
		return -rte_errno;
	for (uint32_t i = 0; i < n; i++) {
		struct match_key key = {.family = 4, .prefix_len = 32};
		uint32_t addr = rte_cpu_to_be_32(hosts[i]);
		uintptr_t rule;
		void *data;
		int r;

		memcpy(key.addr, &addr, 4);
		rule = match_find(entries, &key);
		memcpy(&data, &rule, sizeof(data));
		r = rte_hash_add_key_data(hash, &hosts[i], data);
		if (r < 0)
			return r;
	}
	return 0;
}

void peer_hash_match_begin(const struct match *m, struct match_burst *b)
{
	const void *keys[MATCH_BURST];
	void *data[MATCH_BURST];

	(void)m;
	b->hits = b->sure = 0;
	if (!b->n4)
		return;
	for (uint32_t i = 0; i < b->n4; i++)
		keys[i] = &b->v4[i];
	rte_hash_lookup_bulk_data(hash, keys, b->n4, &b->hits, data);
	for (uint64_t left = b->hits; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctzll(left);

		b->left_line[i] = (uint32_t)(uintptr_t)data[i];
	}
}

// The hash has no such steps.
void peer_hash_match_filter(const struct match *m, struct match_burst *b)
{
	(void)m;
	(void)b;
}

void peer_hash_match_look(const struct match *m, struct match_burst *b)
{
	(void)m;
	(void)b;
}

void peer_hash_match_end(const struct match *m, struct match_burst *b)
{
	uint64_t found = b->hits;

	b->hits = 0;
	for (; found; found &= found - 1) {
		unsigned i = (unsigned)__builtin_ctzll(found); // only IPv4: its position too
		uint32_t rule = b->left_line[i];

		b->hits |= (uint64_t)1 << i;
		b->hit[i] = (struct match_hit){
			.actions = match_rule_action(m, rule),
			.enforce = rule,
			.monitor = MATCH_NONE,
		};
		b->sure |= (uint64_t)1 << i;
	}
}
