// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Two chained hashes in one block of memory:
//
//   heads[]: bucket → { first rule + 1 | filter }     rules[]: key, action, next + 1
//   hosts[]: bucket → { first rule + 1 | filter }     ports[]: next + 1, prev + 1 (of a host)
//
// The first holds every rule under its whole key. The second holds the rules with a port once more,
// under the address alone: it tells of a fragment without ports whether a port rule might be meant.
// A head also carries a filter of 32 bits, one for each rule of its chain: an address that no rule
// covers costs one cache line a probe and touches no rule. Head and filter are one 64-bit store.
// Zero is "none" everywhere, so that memory never used is never touched.

#include "dataplane/core/match.h"

#include "rules/siphash.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define LINE 64
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROBES_MAX 8
#define LENGTH_WORDS 3 // bits 0 … 128

enum rule_state {
	RULE_FREE = 0,
	RULE_LINKED,
	RULE_UNLINKED, // readers may still be on it
};

struct rule {
	struct match_key key; // written before the rule is linked, then never until recycled
	_Atomic(uint32_t) next; // writer: wo, readers: ro; index + 1
	_Atomic(uint8_t) action; // writer: wo, readers: ro
	uint8_t state; // writer only
	uint8_t pad[2];
};

struct port_rule {
	_Atomic(uint32_t) next; // writer: wo, readers: ro; index + 1
	uint32_t prev; // writer only; index + 1
};

struct match {
	// Read by all, written by the writer when a prefix length or protocol comes or goes.
	uint8_t key[16];
	uint32_t capacity;
	uint32_t mask; // buckets − 1
	_Atomic(uint64_t) *heads;
	_Atomic(uint64_t) *hosts;
	struct rule *rules;
	struct port_rule *ports;
	_Alignas(LINE) _Atomic(uint64_t
	) lengths[2][LENGTH_WORDS]; // [family][]: bit = length in use
	_Atomic(uint32_t) port_counts[2][2]; // [family][proto]
	// The writer's own.
	_Alignas(LINE) uint32_t length_counts[2][129];
	uint32_t top; // rules below were used at least once
	uint32_t free; // index + 1, chained by next
	_Atomic(uint32_t) count; // of linked rules; read by anybody
};

_Static_assert(sizeof(struct rule) == 32, "two rules a cache line");
_Static_assert(sizeof(struct match_key) == 24, "three words");

static uint32_t buckets_for(uint32_t capacity)
{
	uint32_t n = 1;

	while (n < capacity && n < 1u << 31)
		n *= 2;
	return n;
}

static size_t align(size_t n)
{
	return (n + LINE - 1) & ~(size_t)(LINE - 1);
}

size_t match_size(uint32_t capacity)
{
	size_t buckets = buckets_for(capacity);

	return align(sizeof(struct match)) + 2 * align(buckets * sizeof(uint64_t))
		+ align(capacity * sizeof(struct rule))
		+ align(capacity * sizeof(struct port_rule));
}

struct match *match_init(void *memory, uint32_t capacity, const uint8_t key[static 16])
{
	struct match *m = memory;
	uint8_t *at = memory;
	size_t heads = align(buckets_for(capacity) * sizeof(uint64_t));

	memcpy(m->key, key, sizeof(m->key));
	m->capacity = capacity;
	m->mask = buckets_for(capacity) - 1;
	at += align(sizeof(*m));
	m->heads = (void *)at;
	at += heads;
	m->hosts = (void *)at;
	at += heads;
	m->rules = (void *)at;
	at += align(capacity * sizeof(struct rule));
	m->ports = (void *)at;
	return m;
}

// --- keys

static unsigned family_index(uint8_t family)
{
	return family == 6;
}

static unsigned proto_index(uint8_t proto)
{
	return proto == PROTO_UDP;
}

static bool key_equal(const struct match_key *a, const struct match_key *b)
{
	uint64_t x[3], y[3];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2])) == 0;
}

static uint64_t from_be64(uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return x;
#else
	return __builtin_bswap64(x);
#endif
}

// The upper `bits` of 64, in network byte order.
static uint64_t word_mask(unsigned bits)
{
	return bits ? from_be64(~(uint64_t)0 << (64 - bits)) : 0;
}

// Clear the bits behind the prefix.
static void addr_mask(uint8_t addr[16], unsigned bits)
{
	uint64_t words[2];

	memcpy(words, addr, sizeof(words));
	words[0] &= word_mask(bits < 64 ? bits : 64);
	words[1] &= word_mask(bits < 64 ? 0 : bits - 64);
	memcpy(addr, words, sizeof(words));
}

static bool key_valid(const struct match_key *k)
{
	unsigned bits = k->family == 4 ? 32 : 128;
	uint8_t addr[16];

	if ((k->family != 4 && k->family != 6) || k->prefix_len == 0 || k->prefix_len > bits)
		return false;
	if (k->proto) {
		if ((k->proto != PROTO_TCP && k->proto != PROTO_UDP) || k->prefix_len != bits
		    || k->port == 0)
			return false;
	} else if (k->port) {
		return false;
	}
	memcpy(addr, k->addr, sizeof(addr));
	addr_mask(addr, k->prefix_len);
	return memcmp(addr, k->addr, sizeof(addr)) == 0;
}

// The key as it is hashed and compared: nothing in the padding.
static struct match_key key_clean(const struct match_key *k)
{
	struct match_key clean = *k;

	clean.pad = 0;
	clean.pad2 = 0;
	return clean;
}

static uint64_t key_hash(const struct match *m, const struct match_key *k)
{
	return siphash64(m->key, k, sizeof(*k));
}

// The address alone, for the chains of rules with a port.
static uint64_t host_hash(const struct match *m, uint8_t family, const uint8_t *addr)
{
	struct match_key k = {.family = family};

	memcpy(k.addr, addr, sizeof(k.addr));
	return key_hash(m, &k);
}

// --- heads: index + 1 below, filter above

static uint32_t head_first(uint64_t head)
{
	return (uint32_t)head;
}

static uint64_t filter_bit(uint64_t hash)
{
	return (uint64_t)1 << (32 + (hash >> 59));
}

static _Atomic(uint64_t) *head_of(const struct match *m, uint64_t hash)
{
	return &m->heads[hash & m->mask];
}

static _Atomic(uint64_t) *host_head_of(const struct match *m, uint64_t hash)
{
	return &m->hosts[hash & m->mask];
}

static uint32_t rule_next(const struct rule *r)
{
	return atomic_load_explicit(&r->next, memory_order_acquire);
}

static uint32_t find_clean(const struct match *m, const struct match_key *k, uint64_t hash)
{
	uint64_t head = atomic_load_explicit(head_of(m, hash), memory_order_acquire);

	if (!(head & filter_bit(hash)))
		return MATCH_NONE;
	for (uint32_t i = head_first(head); i; i = rule_next(&m->rules[i - 1])) {
		if (key_equal(&m->rules[i - 1].key, k))
			return i - 1;
	}
	return MATCH_NONE;
}

// --- the writer

// The length's bit is there before the first rule of that length can be found, and goes after the
// last one has gone.
static void length_use(struct match *m, unsigned f, unsigned bits)
{
	if (m->length_counts[f][bits]++ == 0)
		atomic_fetch_or_explicit(
			&m->lengths[f][bits / 64], (uint64_t)1 << bits % 64, memory_order_release
		);
}

static void length_leave(struct match *m, unsigned f, unsigned bits)
{
	if (--m->length_counts[f][bits] == 0)
		atomic_fetch_and_explicit(
			&m->lengths[f][bits / 64], ~((uint64_t)1 << bits % 64), memory_order_release
		);
}

static void host_link(struct match *m, uint32_t rule, const struct match_key *k)
{
	uint64_t hash = host_hash(m, k->family, k->addr);
	_Atomic(uint64_t) *head = host_head_of(m, hash);
	uint64_t old = atomic_load_explicit(head, memory_order_relaxed);

	m->ports[rule].prev = 0;
	atomic_store_explicit(&m->ports[rule].next, head_first(old), memory_order_relaxed);
	if (head_first(old))
		m->ports[head_first(old) - 1].prev = rule + 1;
	atomic_store_explicit(
		head,
		(old & ~(uint64_t)UINT32_MAX) | filter_bit(hash) | (rule + 1),
		memory_order_release
	);
}

static void host_unlink(struct match *m, uint32_t rule)
{
	const struct match_key *k = &m->rules[rule].key;
	_Atomic(uint64_t) *head = host_head_of(m, host_hash(m, k->family, k->addr));
	uint32_t next = atomic_load_explicit(&m->ports[rule].next, memory_order_relaxed);
	uint32_t prev = m->ports[rule].prev;
	uint64_t old = atomic_load_explicit(head, memory_order_relaxed);

	if (next)
		m->ports[next - 1].prev = prev;
	if (prev) {
		atomic_store_explicit(&m->ports[prev - 1].next, next, memory_order_release);
		return;
	}
	// A filter bit too many only costs a walk: to find out which may go would cost one here,
	// and a host may have a hundred thousand ports.
	atomic_store_explicit(
		head, next ? (old & ~(uint64_t)UINT32_MAX) | next : 0, memory_order_release
	);
}

static int rule_take(struct match *m, uint32_t *ret_rule)
{
	if (m->free) {
		*ret_rule = m->free - 1;
		m->free = atomic_load_explicit(&m->rules[*ret_rule].next, memory_order_relaxed);
		return 0;
	}
	if (m->top == m->capacity)
		return -ENOSPC;
	*ret_rule = m->top++;
	return 0;
}

int match_add(struct match *m, const struct match_key *key, uint8_t action, uint32_t *ret_rule)
{
	struct match_key k = key_clean(key);
	uint64_t hash = key_hash(m, &k), old;
	unsigned f = family_index(k.family);
	_Atomic(uint64_t) *head = head_of(m, hash);
	struct rule *r;
	uint32_t rule;
	int error;

	if (!key_valid(&k))
		return -EINVAL;
	if (find_clean(m, &k, hash) != MATCH_NONE)
		return -EEXIST;
	if ((error = rule_take(m, &rule)) < 0)
		return error;
	r = &m->rules[rule];
	r->key = k;
	r->state = RULE_LINKED;
	atomic_store_explicit(&r->action, action, memory_order_relaxed);
	if (k.proto) {
		atomic_fetch_add_explicit(
			&m->port_counts[f][proto_index(k.proto)], 1, memory_order_release
		);
		host_link(m, rule, &k);
	} else {
		length_use(m, f, k.prefix_len);
	}
	old = atomic_load_explicit(head, memory_order_relaxed);
	atomic_store_explicit(&r->next, head_first(old), memory_order_relaxed);
	atomic_store_explicit(
		head,
		(old & ~(uint64_t)UINT32_MAX) | filter_bit(hash) | (rule + 1),
		memory_order_release
	);
	atomic_fetch_add_explicit(&m->count, 1, memory_order_relaxed);
	*ret_rule = rule;
	return 0;
}

void match_action_set(struct match *m, uint32_t rule, uint8_t action)
{
	atomic_store_explicit(&m->rules[rule].action, action, memory_order_release);
}

// Take it out of its chain; the rule keeps its own next, so that a reader on it goes on. The filter
// is made anew from what stays, after the rule has gone.
static void chain_remove(struct match *m, uint32_t rule)
{
	_Atomic(uint64_t) *head = head_of(m, key_hash(m, &m->rules[rule].key));
	uint32_t first = head_first(atomic_load_explicit(head, memory_order_relaxed));
	uint32_t next = rule_next(&m->rules[rule]), before = 0;
	uint64_t filter = 0;

	for (uint32_t i = first; i; i = rule_next(&m->rules[i - 1])) {
		if (i - 1 == rule)
			continue;
		filter |= filter_bit(key_hash(m, &m->rules[i - 1].key));
		if (rule_next(&m->rules[i - 1]) == rule + 1)
			before = i;
	}
	if (before)
		atomic_store_explicit(&m->rules[before - 1].next, next, memory_order_release);
	else if (first == rule + 1)
		first = next;
	atomic_store_explicit(head, filter | first, memory_order_release);
}

void match_unlink(struct match *m, uint32_t rule)
{
	struct rule *r = &m->rules[rule];
	unsigned f = family_index(r->key.family);

	if (r->state != RULE_LINKED)
		return;
	r->state = RULE_UNLINKED;
	chain_remove(m, rule);
	if (r->key.proto) {
		host_unlink(m, rule);
		atomic_fetch_sub_explicit(
			&m->port_counts[f][proto_index(r->key.proto)], 1, memory_order_release
		);
	} else {
		length_leave(m, f, r->key.prefix_len);
	}
	atomic_fetch_sub_explicit(&m->count, 1, memory_order_relaxed);
}

void match_recycle(struct match *m, uint32_t rule)
{
	struct rule *r = &m->rules[rule];

	if (r->state != RULE_UNLINKED)
		return;
	r->state = RULE_FREE;
	atomic_store_explicit(&r->next, m->free, memory_order_relaxed);
	m->free = rule + 1;
}

// --- either

uint32_t match_find(const struct match *m, const struct match_key *key)
{
	struct match_key k = key_clean(key);

	return find_clean(m, &k, key_hash(m, &k));
}

const struct match_key *match_rule_key(const struct match *m, uint32_t rule)
{
	return &m->rules[rule].key;
}

uint8_t match_rule_action(const struct match *m, uint32_t rule)
{
	return atomic_load_explicit(&m->rules[rule].action, memory_order_acquire);
}

uint32_t match_count(const struct match *m)
{
	return atomic_load_explicit(&m->count, memory_order_relaxed);
}

uint32_t match_capacity(const struct match *m)
{
	return m->capacity;
}

uint32_t match_buckets(const struct match *m)
{
	return m->mask + 1;
}

uint32_t match_bucket_first(const struct match *m, uint32_t bucket)
{
	// None is 0, and 0 − 1 is MATCH_NONE.
	return head_first(atomic_load_explicit(&m->heads[bucket], memory_order_acquire)) - 1;
}

uint32_t match_bucket_next(const struct match *m, uint32_t rule)
{
	return rule_next(&m->rules[rule]) - 1;
}

// --- the readers

// Rules come most specific first: the first with a bit is the one reported for it.
static void hit_take(const struct match *m, uint32_t rule, struct match_hit *hit)
{
	uint8_t action = match_rule_action(m, rule);

	hit->actions |= action;
	if ((action & (MATCH_ENFORCE | MATCH_PROTECT)) && hit->enforce == MATCH_NONE)
		hit->enforce = rule;
	if ((action & (MATCH_MONITOR | MATCH_ALLOW)) && hit->monitor == MATCH_NONE)
		hit->monitor = rule;
}

// Keys to probe, most specific first. Their heads lie anywhere in memory: all are asked for before
// the first is read, so that a batch costs little more than one cache miss.
struct probes {
	struct match_key keys[PROBES_MAX];
	uint64_t hashes[PROBES_MAX];
	unsigned n;
};

static void probes_run(const struct match *m, struct probes *p, struct match_hit *hit)
{
	for (unsigned i = 0; i < p->n; i++) {
		uint32_t rule = find_clean(m, &p->keys[i], p->hashes[i]);

		if (rule != MATCH_NONE)
			hit_take(m, rule, hit);
	}
	p->n = 0;
}

static void
probe(const struct match *m, struct probes *p, const struct match_key *k, struct match_hit *hit)
{
	if (p->n == PROBES_MAX)
		probes_run(m, p, hit);
	p->keys[p->n] = *k;
	p->hashes[p->n] = key_hash(m, k);
	__builtin_prefetch(head_of(m, p->hashes[p->n]));
	p->n++;
}

static bool host_has_port(const struct match *m, uint8_t family, const uint8_t *addr)
{
	uint64_t hash = host_hash(m, family, addr);
	uint64_t head = atomic_load_explicit(host_head_of(m, hash), memory_order_acquire);

	if (!(head & filter_bit(hash)))
		return false;
	for (uint32_t i = head_first(head); i;
	     i = atomic_load_explicit(&m->ports[i - 1].next, memory_order_acquire)) {
		const struct rule *r = &m->rules[i - 1];

		if (r->key.family == family && memcmp(r->key.addr, addr, sizeof(r->key.addr)) == 0
		    && (match_rule_action(m, i - 1) & (MATCH_ENFORCE | MATCH_PROTECT)))
			return true;
	}
	return false;
}

static bool ports_used(const struct match *m, unsigned f, unsigned proto)
{
	return atomic_load_explicit(&m->port_counts[f][proto], memory_order_acquire) != 0;
}

void match_lookup(
	const struct match *m,
	uint8_t family,
	const uint8_t addr[static 16],
	uint8_t proto,
	uint16_t port,
	struct match_hit *ret_hit
)
{
	unsigned f = family_index(family);
	struct match_key k = {.family = family};
	struct probes probes;
	struct match_hit hit = {.enforce = MATCH_NONE, .monitor = MATCH_NONE};

	probes.n = 0;
	memcpy(k.addr, addr, sizeof(k.addr));
	if (proto == 0) {
		hit.port_rule = (ports_used(m, f, 0) || ports_used(m, f, 1))
			&& host_has_port(m, family, addr);
	} else if ((proto == PROTO_TCP || proto == PROTO_UDP) && ports_used(m, f, proto_index(proto))) {
		k.prefix_len = f ? 128 : 32;
		k.proto = proto;
		k.port = port;
		probe(m, &probes, &k, &hit);
		k.proto = 0;
		k.port = 0;
	}
	// Longest first: each probe only clears more of the address.
	for (int w = f ? LENGTH_WORDS - 1 : 0; w >= 0; w--) {
		uint64_t bits = atomic_load_explicit(&m->lengths[f][w], memory_order_acquire);

		while (bits) {
			unsigned bit = 63 - (unsigned)__builtin_clzll(bits);

			bits &= ~((uint64_t)1 << bit);
			k.prefix_len = (uint8_t)(64 * (unsigned)w + bit);
			addr_mask(k.addr, k.prefix_len);
			probe(m, &probes, &k, &hit);
		}
	}
	probes_run(m, &probes, &hit);
	*ret_hit = hit;
}
