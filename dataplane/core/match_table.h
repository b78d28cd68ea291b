// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What is inside struct match: part of match.c, match_filter.c and match_read.c alone.
//
//   near[], wide[]   IPv4, a bit for each /24: something lies in it or covers it; and, in wide,
//                    something other than a host in `hosts`
//   eights[]         and for each /8
//   hosts[]          lines of 14 IPv4 hosts, found by a keyed hash of the address:
//                      key 0 … key 13 | meta: 2 bits action and 1 bit linked for each; passed
//   lines[]          lines of 7 rules of any kind, found by a keyed hash of the whole key:
//                      signature, index + 1 | … | passed
//   rules[]          those rules' keys and actions
//   tops[family][]   for each value of the first 16 bits: which prefix lengths up to /31 to try
//                    (and bit 0: IPv4 hosts that are in `lines`, and ports)
//   shorts6[]        IPv6, by a hash of the first 32 bits: which lengths from /32 to /47
//   classes6[]       IPv6, by a hash of the first 48 bits: which classes of lengths from /48
//   heads[], ports[] chains of the rules with a port, by address: for fragments without ports
//
// A line that is full sends on to the next. `passed` tells a reader whether to go on: of rules, how
// many there are behind this line; of hosts, a bit for each of 22 parts of the hashes of those that
// are there. Nothing moves: a rule stays where it was put.
// A host that finds no room in HOST_REACH lines, and 0.0.0.0 (key 0 is "free"), go to `lines`.
//
// Order of stores: filters, then the rule, when it comes; the rule, then filters, when it goes. A
// filter may be too wide, never too narrow: readers who find nothing there are done.
//
// Indices: hosts first, line × 16 + place; then the others, index into rules[].

#pragma once

#include "dataplane/core/match.h"

#include <stdatomic.h>

#define LINE 64
#define PROTO_TCP 6
#define PROTO_UDP 17

#define HOST_KEYS MATCH_LINE_RULES
#define HOST_STRIDE 16
#define HOST_REACH 16
#define HOST_LOAD_10 103 // tenths of a host a line at half of the capacity
#define RULE_SLOTS 7
#define RULE_LOAD 6 // rules a line when full

#define CELLS24 (1u << 24)
#define TOPS 65536u
#define SHORTS 65536u
#define SHORT_MIN 32
#define SHORT_LENGTHS 16
#define CLASS_MIN 48
#define HOST_BIT 1u // in tops[0]: a host in `lines`, with a port or without

enum length_class {
	CLASS_128,
	CLASS_64,
	CLASS_56,
	CLASS_48,
	CLASS_49_55,
	CLASS_57_63,
	CLASS_65_127,
	CLASS_PORTS,
	CLASSES,
};

struct host_line {
	_Atomic(uint32_t) keys[HOST_KEYS]; // host byte order; writer: wo, readers: ro
	_Atomic(uint64_t) meta; // writer: wo, readers: ro
};

struct rule_line {
	_Atomic(uint64_t) slots[RULE_SLOTS]; // signature << 32 | index + 1; writer: wo, readers: ro
	_Atomic(uint64_t) passed; // writer: wo, readers: ro
};

enum rule_state {
	RULE_FREE = 0,
	RULE_LINKED,
	RULE_UNLINKED, // readers may still be on it
};

struct rule {
	struct match_key key; // written before the rule is linked, then never until recycled
	uint32_t next; // of free ones, index + 1; writer only
	_Atomic(uint8_t) action; // writer: wo, readers: ro
	uint8_t state; // writer only
	uint8_t pad[2];
};

struct port_rule {
	_Atomic(uint32_t) next; // writer: wo, readers: ro; index + 1
	uint32_t prev; // writer only; index + 1
};

// A variant of the readers' code.
struct match_reader {
	const char *name;
	uint64_t (*host_hash)(const struct match *, uint32_t addr);
	unsigned (*host_look)(const struct host_line *, uint32_t addr, unsigned *ret_free);
	uint64_t (*key_hash)(const struct match *, const struct match_key *);
	void (*filter)(const struct match *, struct match_burst *);
	void (*begin)(const struct match *, struct match_burst *);
	void (*look)(const struct match *, struct match_burst *);
	void (*end)(const struct match *, struct match_burst *);
};

struct match {
	// Written once, or seldom.
	_Alignas(LINE) struct match_filters filters; // as near, classes6, class_mask below
	_Alignas(16) uint8_t round_keys[5][16];
	uint64_t short_keys[2];
	const struct match_reader *reader;
	uint32_t capacity;
	uint32_t host_lines, host_rules; // host_rules: indices of hosts are below
	uint32_t rule_lines;
	uint32_t port_mask; // heads − 1
	uint32_t class_mask; // cells of classes6 − 1
	_Atomic(uint32_t) *near, *wide;
	struct host_line *hosts;
	struct rule_line *lines;
	struct rule *rules;
	_Atomic(uint32_t) *tops[2];
	_Atomic(uint16_t) *shorts6;
	_Atomic(uint8_t) *classes6;
	_Atomic(uint64_t) *heads;
	struct port_rule *ports;
	uint8_t masks[129][16]; // network masks
	// Written by the writer when a length or protocol comes or goes; readers: ro.
	_Alignas(LINE) _Atomic(uint64_t) lengths6[3]; // bit: length in use
	_Atomic(uint32_t) port_counts[2][2]; // [family][proto]
	_Atomic(uint32_t) wides4; // rules of IPv4 that are not in `hosts`
	// The writer's own.
	_Alignas(LINE) uint32_t length_counts6[129];
	uint32_t top; // of rules[], those below were used at least once
	uint32_t free; // of rules[], index + 1
	uint32_t used; // linked, or unlinked and not yet recycled
	uint32_t spilled; // hosts in `lines`
	_Atomic(uint32_t) count; // of linked rules; read by anybody
	uint8_t *host_counts, *wide_counts; // by /24; 255 stays
	uint32_t eight_counts[256]; // bits of near, by /8
	uint32_t *top_counts[2]; // [length − 16][cell]; length 32 as 16
	uint8_t *short_counts; // [length − 32][cell]; 255 stays
	uint8_t *class_counts; // [class][cell]; 255 stays
};

_Static_assert(sizeof(struct host_line) == LINE, "one line");
_Static_assert(sizeof(struct rule_line) == LINE, "one line");
_Static_assert(sizeof(struct rule) == 32, "two rules a cache line");
_Static_assert(sizeof(struct match_key) == 24, "three words");

extern const struct match_reader match_reader_portable, match_reader_avx2, match_reader_avx512;

// match_filter.c: rules that are not in `hosts`, and hosts that are.
void match_filter_add(struct match *, const struct match_key *);
void match_filter_remove(struct match *, const struct match_key *);
void match_filter_host_add(struct match *, uint32_t addr);
void match_filter_host_remove(struct match *, uint32_t addr);

static inline unsigned family_index(uint8_t family)
{
	return family == 6;
}

static inline unsigned proto_index(uint8_t proto)
{
	return proto == PROTO_UDP;
}

static inline uint32_t addr4(const uint8_t *addr)
{
	return (uint32_t)addr[0] << 24 | (uint32_t)addr[1] << 16 | (uint32_t)addr[2] << 8 | addr[3];
}

static inline void addr4_put(uint8_t *addr, uint32_t x)
{
	addr[0] = (uint8_t)(x >> 24);
	addr[1] = (uint8_t)(x >> 16);
	addr[2] = (uint8_t)(x >> 8);
	addr[3] = (uint8_t)x;
}

// --- hosts' meta

static inline unsigned meta_action(uint64_t meta, unsigned place)
{
	return (unsigned)(meta >> 2 * place) & 3;
}

static inline bool meta_linked(uint64_t meta, unsigned place)
{
	return meta >> (2 * HOST_KEYS + place) & 1;
}

static inline uint64_t meta_with(uint64_t meta, unsigned place, uint8_t action, bool linked)
{
	meta &= ~((uint64_t)3 << 2 * place | (uint64_t)1 << (2 * HOST_KEYS + place));
	return meta | (uint64_t)(action & 3) << 2 * place
		| (uint64_t)linked << (2 * HOST_KEYS + place);
}

#define META_PASSED_SHIFT (3 * HOST_KEYS)
#define META_PASSED_BITS (64 - META_PASSED_SHIFT)
#define META_PASSED_MASK (~(uint64_t)0 << META_PASSED_SHIFT)

// The bit of a host with this hash.
static inline uint64_t meta_passed_bit(uint64_t hash)
{
	uint32_t part = (uint32_t)((hash >> 32 & 0xffff) * META_PASSED_BITS >> 16);

	return (uint64_t)1 << (META_PASSED_SHIFT + part);
}

// --- where to look

static inline uint32_t reduce(uint64_t hash, uint32_t n)
{
	return (uint32_t)((uint64_t)(uint32_t)hash * n >> 32);
}

static inline uint32_t short_cell(const struct match *m, const uint8_t *addr)
{
	return match_filter_hash(match_addr6_high(addr) >> 32, m->short_keys) & (SHORTS - 1);
}

static inline enum length_class length_class(unsigned bits)
{
	switch (bits) {
	case 128:
		return CLASS_128;
	case 64:
		return CLASS_64;
	case 56:
		return CLASS_56;
	case 48:
		return CLASS_48;
	default:
		return bits > 64 ? CLASS_65_127 : bits > 56 ? CLASS_57_63 : CLASS_49_55;
	}
}

static inline uint64_t port_filter_bit(uint64_t hash)
{
	return (uint64_t)1 << (32 + (hash >> 59));
}

static inline struct match_key port_host_key(uint8_t family, const uint8_t *addr)
{
	struct match_key k = {.family = family};

	memcpy(k.addr, addr, sizeof(k.addr));
	return k;
}
