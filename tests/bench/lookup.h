// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What bench_lookup and the lookups it compares with share: one list, one series of queries.
//
// Thread: one. Memory lives until the program ends.

#pragma once

#include "dataplane/core/match.h"

#include <rte_byteorder.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LOOKUP_QUERIES (1u << 20) // xdp.bpf.c
#define LOOKUP_CHUNK 2048
#define LOOKUP_BURST 32

struct lookup {
	uint8_t family;
	bool mixed, clustered;
	uint32_t n;
	unsigned hit_percent;
	struct match_key *keys;
	struct match *match;
	uint8_t *queries; // network byte order, one behind the other
	size_t stride;
	uint32_t *queries4; // host byte order, for peers that want it so
	uint32_t *prefixes6; // where IPv6 is in use
	bool used[129]; // lengths
};

static inline const uint8_t *lookup_query(const struct lookup *l, uint32_t i)
{
	return &l->queries[i * l->stride];
}

static inline uint32_t lookup_get4(const uint8_t *addr)
{
	uint32_t a;

	memcpy(&a, addr, 4);
	return rte_be_to_cpu_32(a);
}

// Looks up n queries; returns how many the list denies.
typedef uint64_t (*lookup_run)(const struct lookup *, uint32_t from, uint32_t n);

struct lookup_peer {
	const char *name;
	// Fills its structure with the list. `argument`: what stands behind `=` in the peer's name.
	// Returns -errno.
	int (*make)(const struct lookup *, const char *argument);
	// By chunks that bench_lookup times; NULL: pass.
	lookup_run (*run)(const struct lookup *);
	// All queries once: ns a query, and how many are denied.
	double (*pass)(uint64_t *ret_hits);
};

// The end of each: a peer without a name.
extern const struct lookup_peer lookup_dpdk_peers[]; // hash, fib, lpm, acl
extern const struct lookup_peer lookup_xdp_peers[]; // xdp-hash=OBJECT, xdp-lpm=OBJECT
