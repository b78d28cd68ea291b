// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The lookup structure of the deny list, and of the exceptions: which entries cover an address.
//
// Networks and port entries only; names are kept by the set (dataplane/set.h). An address that no
// entry is near is settled by bitmaps of a few MiB; a host of IPv4 costs one cache line more, which
// holds its key and its action; everything else is found through signatures (match_table.h).
//
// Thread:   one writer; any number of readers, which never wait. A reader holds nothing past its
//           quiescent state; a rule unlinked may be recycled only after a grace period.
// Memory:   from the caller, fixed at match_init; nothing is ever resized, nothing ever moves.
// Order:    an entry in the structure before and after a change is found at every instant.
// Pure:     no allocation, no logging, no system call, no mbuf.

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MATCH_NONE UINT32_MAX

// Bits of a rule's action: a weak one and a strong one. They are called by other names in the deny
// list than among the exceptions.
enum match_action {
	MATCH_INERT = 0,
	MATCH_MONITOR = 1,
	MATCH_ENFORCE = 2,
	MATCH_ALLOW = MATCH_MONITOR,
	MATCH_PROTECT = MATCH_ENFORCE,
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
	bool port_rule; // only for proto 0: a rule with a port enforces (or protects) this address
	uint32_t enforce; // rule reported for MATCH_ENFORCE or MATCH_PROTECT
	uint32_t monitor; // rule reported for MATCH_MONITOR or MATCH_ALLOW
};

// Octets for `capacity` rules, most of which are never touched in a small list. The structure is at
// its best up to half of them: the other half is room for additions made before removals. Give
// cache-line aligned, zeroed memory; best aligned to 2 MiB, for huge pages.
size_t match_size(uint32_t capacity);
// Returns the structure inside `memory`; `key` seeds the bucket choice.
struct match *match_init(void *memory, uint32_t capacity, const uint8_t key[static 16]);

// Parts of it that lookups touch everywhere, with as much as is in it now: worth huge pages.
// Returns how many.
#define MATCH_PARTS 4
struct match_part {
	void *at;
	size_t size;
};
unsigned match_hot(const struct match *, struct match_part ret_parts[static MATCH_PARTS]);

// --- the writer

// -ENOSPC: full; -EEXIST: the key is there; -EINVAL: no such key (host bits, a port on a prefix).
int match_add(struct match *, const struct match_key *, uint8_t action, uint32_t *ret_rule);
// Ask the memory for what match_find and match_add of this key will read. Returns the first of 14
// indices among which its own is likely to be, or MATCH_NONE.
uint32_t match_prefetch(const struct match *, const struct match_key *);
void match_action_set(struct match *, uint32_t rule, uint8_t action); // one store
// New readers no longer find it; its key stays readable. No effect on a rule that is not linked.
void match_unlink(struct match *, uint32_t rule);
// A host that found its line full when it came, and so is far from it, gets a second place nearer,
// where there is one by now. It has both, and counts twice, until match_unlink of this one, which
// has to wait for a grace period. Returns the second one's rule, or MATCH_NONE: it stays where it
// is.
uint32_t match_move(struct match *, uint32_t rule);
// After a grace period: the rule's index may be given out again.
void match_recycle(struct match *, uint32_t rule);

// --- either

uint32_t match_find(const struct match *, const struct match_key *); // exactly this key
void match_rule_key(const struct match *, uint32_t rule, struct match_key *ret_key);
uint8_t match_rule_action(const struct match *, uint32_t rule); // MATCH_INERT once unlinked
uint32_t match_count(const struct match *); // linked rules
uint32_t match_capacity(const struct match *); // linked ones, and unlinked ones not yet recycled
uint32_t match_rules(const struct match *); // indices are below; more than the capacity
// Walk what readers see, for the scrub: the rules found in line `line`. Returns how many.
#define MATCH_LINE_RULES 14
uint32_t match_lines(const struct match *);
unsigned
match_line(const struct match *, uint32_t line, uint32_t ret_rules[static MATCH_LINE_RULES]);

// --- the readers

#define MATCH_BURST 64
#define MATCH_PROBES 256

struct match_filters { // the start of struct match: what match_push asks the memory for
	const _Atomic(uint32_t) *near; // bit: a /24 of IPv4
	_Atomic(uint32_t) eights[8]; // bit: a /8 of IPv4, something in near
	const _Atomic(uint8_t) *classes6;
	uint64_t class_keys[2];
	uint32_t class_mask;
};

struct match_probe { // a key that the filters could not rule out
	struct match_key key;
	uint32_t line, signature;
};

// A burst of addresses in the middle of being looked up. Octets of the caller, touched by no one
// else; need not be zeroed.
struct match_burst {
	const struct match_filters *filters;
	const struct match_filters *next; // by match_follow
	// By match_push: what is looked up, by family. about: position << 24 | protocol << 16 |
	// port.
	uint32_t n4, n6;
	uint32_t pushed; // positions given out
	uint32_t about4[MATCH_BURST], about6[MATCH_BURST];
	_Alignas(64) uint32_t v4[MATCH_BURST]; // host byte order
	uint8_t v6[MATCH_BURST][16];
	uint32_t cell6[MATCH_BURST];
	// By match_begin: what is left to look at. Of IPv4: address, index into v4 and about4, line
	// of hosts, bit there that tells to go on.
	unsigned n_left, n_rest, n_probes;
	bool filtered, looked, wides;
	_Alignas(64) uint32_t left_addr[MATCH_BURST + 16]; // some are written too many
	uint8_t left[MATCH_BURST + 16];
	uint32_t left_line[MATCH_BURST];
	uint64_t left_passed[MATCH_BURST];
	uint32_t left_tops[MATCH_BURST]; // lengths of prefixes that may be near
	uint8_t rest[MATCH_BURST]; // by match_look: those that their line did not settle
	uint8_t probe_at[MATCH_PROBES];
	struct match_probe probes[MATCH_PROBES];
	uint8_t rank[MATCH_BURST][2]; // of the rule reported: weak, strong
	// By match_end: the positions that something covers, and only for those what it is.
	uint64_t hits;
	// Those of them that a strong rule of an IPv4 host covers and nothing else, and that are
	// far from all in the structure of match_follow.
	uint64_t sure;
	struct match_hit hit[MATCH_BURST];
};

static inline void match_clear(const struct match *m, struct match_burst *b)
{
	b->filters = (const struct match_filters *)m;
	b->next = NULL;
	b->n4 = b->n6 = b->pushed = 0;
	b->filtered = false;
}

// The first `n` positions are the caller's, for match_push_at and match_place4, in any order, each
// at most once; match_push goes on behind them. After match_clear.
static inline void match_reserve(struct match_burst *b, uint32_t n)
{
	b->pushed = n;
}

// What is found will be looked up in another structure too, as match_far4 does: its filter is asked
// for meanwhile. After match_clear.
static inline void match_follow(struct match_burst *b, const struct match *next)
{
	b->next = (const struct match_filters *)next;
}

// Nothing covers this IPv4 address (host byte order), and nothing is near it.
static inline bool match_far4(const struct match *m, uint32_t addr)
{
	const struct match_filters *f = (const struct match_filters *)m;
	uint32_t word = atomic_load_explicit(&f->eights[addr >> 29], memory_order_acquire);

	if (!(word >> (addr >> 24 & 31) & 1))
		return true;
	word = atomic_load_explicit(&f->near[addr >> 13], memory_order_acquire);
	return !(word >> (addr >> 8 & 31) & 1);
}

// For filters alone: what collides costs time, not correctness.
static inline uint32_t match_filter_hash(uint64_t bits, const uint64_t keys[2])
{
	uint64_t x = (bits ^ keys[0]) * (keys[1] | 1);

	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93;
	return (uint32_t)(x >> 32);
}

// The first 64 bits of an IPv6 address as a number.
static inline uint64_t match_addr6_high(const uint8_t *addr)
{
	uint64_t x;

	memcpy(&x, addr, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	x = __builtin_bswap64(x);
#endif
	return x;
}

// Of classes6: the address's first 48 bits.
static inline uint32_t match_class_cell(const struct match_filters *f, const uint8_t *addr)
{
	return match_filter_hash(match_addr6_high(addr) >> 16, f->class_keys) & f->class_mask;
}

// Positions given out, those that were reserved too.
static inline unsigned match_pushed(const struct match_burst *b)
{
	return b->pushed;
}

// The filter of the IPv4 address that is at n4 is asked for.
static inline void match_expect4(const struct match_burst *b, uint32_t n4)
{
	__builtin_prefetch(&b->filters->near[b->v4[n4] >> 13]);
}

// match_push_at of an IPv4 address, by a caller that keeps the count n4 of IPv4 so far. addr: host
// byte order; transport: protocol << 16 | port.
static inline void
match_place4(struct match_burst *b, uint32_t n4, uint32_t at, uint32_t addr, uint32_t transport)
{
	b->v4[n4] = addr;
	b->about4[n4] = at << 24 | transport;
	match_expect4(b, n4);
}

// One more address, at a position that was reserved; its filter is asked for. proto 0: ports
// unknown, port rules do not match (port_rule still tells that one enforces on the address,
// whatever its protocol and port).
static inline void match_push_at(
	struct match_burst *b,
	uint32_t at,
	uint8_t family,
	const uint8_t *addr, // 4 octets of IPv4, else 16
	uint8_t proto,
	uint16_t port
)
{
	uint32_t n4 = b->n4, n6 = b->n6;
	uint32_t about = at << 24 | (uint32_t)proto << 16 | port;

	if (family == 4) {
		match_place4(
			b,
			n4,
			at,
			(uint32_t)addr[0] << 24 | (uint32_t)addr[1] << 16 | (uint32_t)addr[2] << 8
				| addr[3],
			(uint32_t)proto << 16 | port
		);
		b->n4 = n4 + 1;
	} else {
		memcpy(b->v6[n6], addr, 16);
		b->about6[n6] = about;
		b->cell6[n6] = match_class_cell(b->filters, addr);
		b->n6 = n6 + 1;
		__builtin_prefetch(&b->filters->classes6[b->cell6[n6]]);
	}
}

// The same at the next position, of which there are MATCH_BURST.
static inline void
match_push(struct match_burst *b, uint8_t family, const uint8_t *addr, uint8_t proto, uint16_t port)
{
	match_push_at(b, b->pushed++, family, addr, proto, port);
}

// All rules that cover the addresses, in two steps: the first asks the memory for what the second
// reads, so that it pays to do something else between them. Both under one reader's section: no
// quiescent state between them.
void match_begin(const struct match *, struct match_burst *);
// Right before the first, and with something else to do between the two, for its result takes a
// while. May be left out.
void match_filter(const struct match *, struct match_burst *);
// Between the two, where there is something else to do on both sides of it: most hosts are settled,
// and what the others and hits will need is asked for. May be left out.
void match_look(const struct match *, struct match_burst *);
void match_end(const struct match *, struct match_burst *);

// The same for one address. ret_hit is always filled in.
void match_lookup(
	const struct match *,
	uint8_t family,
	const uint8_t addr[static 16],
	uint8_t proto,
	uint16_t port,
	struct match_hit *ret_hit
);

// The readers' code comes in variants for what a processor can do: "avx512", "avx2", "portable".
// match_init takes the first that this one can. They answer alike; tests and the benchmark choose.
const char *match_variant(const struct match *);
int match_variant_set(struct match *, const char *name); // -ENOENT, -ENOTSUP
