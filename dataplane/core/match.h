// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The lookup structure of the deny list, and of the exceptions: which entries cover an address.
//
// Networks and port entries only; names are kept by the set (dataplane/set.h). Correct first: one
// chained hash over (family, prefix length, address, protocol, port), probed once for each prefix
// length in use.
//
//   heads[]: bucket → first rule        rules[]: key, action, next → next rule of the bucket
//
// Thread:   one writer; any number of readers, which never wait. A reader holds nothing past its
//           quiescent state; a rule unlinked may be recycled only after a grace period.
// Memory:   from the caller, fixed at match_init; nothing is ever resized.
// Order:    an entry in the structure before and after a change is found at every instant.
// Pure:     no allocation, no logging, no system call, no mbuf.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MATCH_NONE UINT32_MAX

// Bits of a rule's action. The deny list uses MONITOR and ENFORCE, the exceptions the other two.
enum match_action {
	MATCH_INERT = 0,
	MATCH_MONITOR = 1,
	MATCH_ENFORCE = 2,
	MATCH_PROTECT = 4,
	MATCH_ALLOW = 8,
};

struct match_key {
	uint8_t addr[16]; // network byte order; IPv4 in the first four octets, the rest 0
	uint8_t family; // 4 or 6
	uint8_t prefix_len;
	uint8_t proto; // 0, or IPPROTO_TCP / IPPROTO_UDP with a full-length prefix
	uint8_t pad;
	uint16_t port; // host byte order
	uint16_t pad2;
};

struct match;

// What covers an address: for each action bit asked for, the rule reported (port entry before
// host before longest prefix), or MATCH_NONE.
struct match_hit {
	uint8_t actions; // union of the action bits of all covering rules
	uint32_t enforce; // rule reported for MATCH_ENFORCE or MATCH_PROTECT
	uint32_t monitor; // rule reported for MATCH_MONITOR or MATCH_ALLOW
	bool port_rule; // only for proto 0: a rule with a port enforces (or protects) this address
};

// Octets for `capacity` rules. Give cache-line aligned, zeroed memory.
size_t match_size(uint32_t capacity);
// Returns the structure inside `memory`; `key` seeds the bucket choice (SipHash).
struct match *match_init(void *memory, uint32_t capacity, const uint8_t key[static 16]);

// --- the writer

// -ENOSPC: full; -EEXIST: the key is there; -EINVAL: no such key (host bits, a port on a prefix).
int match_add(struct match *, const struct match_key *, uint8_t action, uint32_t *ret_rule);
void match_action_set(struct match *, uint32_t rule, uint8_t action); // one store
// Out of the chains: new readers no longer find it. No effect on a rule that is not in them.
void match_unlink(struct match *, uint32_t rule);
// After a grace period: the rule's index may be given out again.
void match_recycle(struct match *, uint32_t rule);

// --- either

uint32_t match_find(const struct match *, const struct match_key *); // exactly this key
const struct match_key *match_rule_key(const struct match *, uint32_t rule);
uint8_t match_rule_action(const struct match *, uint32_t rule);
uint32_t match_count(const struct match *); // linked rules
uint32_t match_capacity(const struct match *);
// Walk what readers see: rules of bucket `bucket`, for the scrub.
uint32_t match_buckets(const struct match *);
uint32_t match_bucket_first(const struct match *, uint32_t bucket);
uint32_t match_bucket_next(const struct match *, uint32_t rule);

// --- the readers

// All rules that cover the address. proto 0: ports unknown, port rules do not match (port_rule
// still tells that one enforces on the address, whatever its protocol and port).
void match_lookup(
	const struct match *,
	uint8_t family,
	const uint8_t addr[static 16],
	uint8_t proto,
	uint16_t port,
	struct match_hit *ret_hit
);
