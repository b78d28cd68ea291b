// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The writer, and what does not hurry. See match_table.h for the structure.

#include "dataplane/core/match.h"

#include "dataplane/core/match_table.h"
#include "rules/siphash.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define HUGE (2u << 20)

// --- layout

struct layout {
	uint8_t *base;
	size_t at;
};

static void *take(struct layout *l, size_t n, size_t size)
{
	void *p = l->base ? l->base + l->at : NULL;

	l->at += (n * size + LINE - 1) & ~(size_t)(LINE - 1);
	return p;
}

// A power of two from n on, between `least` and 2^24.
static uint32_t cells_for(uint64_t n, uint32_t least)
{
	uint32_t cells = least;

	while (cells < n && cells < CELLS24)
		cells *= 2;
	return cells;
}

// Fills in all pointers; with base NULL only its size counts.
static size_t lay_out(struct match *m, uint32_t capacity, void *base)
{
	struct layout l = {.base = base};
	uint32_t classes = cells_for((uint64_t)capacity * 3 / 2, 1u << 20);
	uint32_t heads = cells_for(capacity / 2, 1u << 10);

	_Static_assert(sizeof(*m) <= HUGE, "what is hot begins on a page of its own");
	l.at = HUGE;
	m->capacity = capacity;
	m->host_lines = (uint32_t)((uint64_t)capacity * 5 / HOST_LOAD_10) + 1;
	m->host_rules = m->host_lines * HOST_STRIDE;
	m->rule_lines = capacity / RULE_LOAD + 2;
	m->port_mask = heads - 1;
	m->class_mask = classes - 1;
	m->near = take(&l, CELLS24 / 32, sizeof(*m->near));
	m->wide = take(&l, CELLS24 / 32, sizeof(*m->wide));
	m->hosts = take(&l, m->host_lines, sizeof(*m->hosts));
	m->lines = take(&l, m->rule_lines, sizeof(*m->lines));
	m->rules = take(&l, capacity, sizeof(*m->rules));
	m->shorts6 = take(&l, SHORTS, sizeof(*m->shorts6));
	m->classes6 = take(&l, classes, sizeof(*m->classes6));
	m->heads = take(&l, heads, sizeof(*m->heads));
	m->ports = take(&l, capacity, sizeof(*m->ports));
	m->host_counts = take(&l, CELLS24, 1);
	m->wide_counts = take(&l, CELLS24, 1);
	m->short_counts = take(&l, (size_t)SHORT_LENGTHS * SHORTS, 1);
	m->class_counts = take(&l, (size_t)CLASSES * classes, 1);
	for (int f = 0; f < 2; f++) {
		m->tops[f] = take(&l, TOPS, sizeof(*m->tops[f]));
		m->top_counts[f] = take(&l, (size_t)16 * TOPS, sizeof(*m->top_counts[f]));
	}
	return l.at;
}

size_t match_size(uint32_t capacity)
{
	struct match m;

	return lay_out(&m, capacity, NULL);
}

static struct match_part part_of(void *at, size_t n, size_t size)
{
	return (struct match_part){at, n * size};
}

unsigned match_hot(const struct match *m, struct match_part ret_parts[static MATCH_PARTS])
{
	unsigned n = 0;

	// near[], wide[] and hosts[] lie one behind the other.
	ret_parts[n++] = part_of(m->near, 2 * CELLS24 / 8 + m->host_lines * sizeof(*m->hosts), 1);
	ret_parts[n++] = part_of(m->rules, m->capacity, sizeof(*m->rules)); // used from its start
	// A rule for every small page of lines: they are all resident anyway.
	if (m->top < m->rule_lines / 64)
		return n;
	ret_parts[n++] = part_of(m->lines, m->rule_lines, sizeof(*m->lines));
	if (atomic_load_explicit(&m->lengths6[2], memory_order_relaxed))
		ret_parts[n++] = part_of(m->classes6, m->class_mask + 1, sizeof(*m->classes6));
	return n;
}

static const struct match_reader *const readers[] = {
#ifdef __x86_64__
	&match_reader_avx512,
	&match_reader_avx2,
#endif
	&match_reader_portable,
};

static bool usable(const struct match_reader *r)
{
#ifdef __x86_64__
	bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes")
		&& __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt");

	if (r == &match_reader_avx2)
		return avx2;
	if (r == &match_reader_avx512)
		return avx2 && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("avx512f")
			&& __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
			&& __builtin_cpu_supports("avx512vl");
#endif
	return r == &match_reader_portable;
}

struct match *match_init(void *memory, uint32_t capacity, const uint8_t key[static 16])
{
	struct match *m = memory;

	lay_out(m, capacity, memory);
	for (uint8_t i = 0; i < 5; i++)
		siphash128(key, &i, 1, (uint64_t *)(void *)m->round_keys[i]);
	for (uint8_t i = 0; i < 2; i++) {
		uint8_t texts[2][2] = {{i, 's'}, {i, 'c'}};

		m->short_keys[i] = siphash64(key, texts[0], sizeof(texts[0]));
		m->filters.class_keys[i] = siphash64(key, texts[1], sizeof(texts[1]));
	}
	m->filters.near = m->near;
	m->filters.classes6 = m->classes6;
	m->filters.class_mask = m->class_mask;
	for (unsigned bits = 0; bits <= 128; bits++) {
		for (unsigned i = 0; i < bits; i++)
			m->masks[bits][i / 8] |= (uint8_t)(0x80 >> i % 8);
	}
	for (size_t i = 0; !m->reader; i++) {
		if (usable(readers[i]))
			m->reader = readers[i];
	}
	return m;
}

const char *match_variant(const struct match *m)
{
	return m->reader->name;
}

int match_variant_set(struct match *m, const char *name)
{
	for (size_t i = 0; i < sizeof(readers) / sizeof(*readers); i++) {
		if (strcmp(readers[i]->name, name) != 0)
			continue;
		if (!usable(readers[i]))
			return -ENOTSUP;
		m->reader = readers[i];
		return 0;
	}
	return -ENOENT;
}

// --- keys

static bool key_equal(const struct match_key *a, const struct match_key *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool key_valid(const struct match *m, const struct match_key *k)
{
	unsigned bits = k->family == 4 ? 32 : 128;

	if ((k->family != 4 && k->family != 6) || k->prefix_len == 0 || k->prefix_len > bits)
		return false;
	if (k->proto) {
		if ((k->proto != PROTO_TCP && k->proto != PROTO_UDP) || k->prefix_len != bits
		    || k->port == 0)
			return false;
	} else if (k->port) {
		return false;
	}
	for (unsigned i = 0; i < sizeof(k->addr); i++) {
		if (k->addr[i] & ~m->masks[k->prefix_len][i])
			return false;
	}
	return true;
}

// The key as it is hashed and compared: nothing in the padding.
static struct match_key key_clean(const struct match_key *k)
{
	struct match_key clean = *k;

	clean.pad = 0;
	clean.pad2 = 0;
	return clean;
}

// Among the hosts; 0.0.0.0 would look like a free place.
static bool key_is_host(const struct match_key *k)
{
	return k->family == 4 && k->prefix_len == 32 && !k->proto && addr4(k->addr) != 0;
}

// --- the lines of hosts

struct host_place {
	uint64_t hash;
	uint32_t home; // line
	uint32_t line;
	unsigned place;
	uint32_t rule; // MATCH_NONE: not there
	bool room; // if not there: line and place are free
};

static uint32_t host_home(const struct match *m, uint64_t hash)
{
	return reduce(hash, m->host_lines);
}

static uint32_t host_line_after(const struct match *m, uint32_t line)
{
	return line + 1 == m->host_lines ? 0 : line + 1;
}

static unsigned host_reach(const struct match *m)
{
	return m->host_lines < HOST_REACH ? m->host_lines : HOST_REACH;
}

static uint32_t host_rule(uint32_t line, unsigned place)
{
	return line * HOST_STRIDE + place;
}

static void host_line_look(
	const struct match *m, uint32_t line, uint32_t addr, uint64_t meta, struct host_place *p
)
{
	unsigned free, equal = m->reader->host_look(&m->hosts[line], addr, &free);

	for (; equal; equal &= equal - 1) {
		unsigned i = (unsigned)__builtin_ctz(equal);

		if (!meta_linked(meta, i))
			continue;
		p->rule = host_rule(line, i);
		return;
	}
	if (free && !p->room) {
		p->room = true;
		p->line = line;
		p->place = (unsigned)__builtin_ctz(free);
	}
}

static struct host_place host_place(const struct match *m, uint32_t addr)
{
	struct host_place p = {.hash = m->reader->host_hash(m, addr), .rule = MATCH_NONE};
	uint32_t line = host_home(m, p.hash);
	bool passed = true;

	p.home = line;
	for (unsigned i = 0; i < host_reach(m) && (passed || !p.room); i++) {
		uint64_t meta = atomic_load_explicit(&m->hosts[line].meta, memory_order_acquire);

		host_line_look(m, line, addr, meta, &p);
		if (p.rule != MATCH_NONE)
			return p;
		passed = passed && (meta & meta_passed_bit(p.hash));
		line = host_line_after(m, line);
	}
	return p;
}

static void meta_store(struct match *m, uint32_t line, unsigned place, uint8_t action, bool linked)
{
	_Atomic(uint64_t) *meta = &m->hosts[line].meta;
	uint64_t old = atomic_load_explicit(meta, memory_order_relaxed);

	atomic_store_explicit(meta, meta_with(old, place, action, linked), memory_order_release);
}

static void passed_set(struct match *m, uint32_t line, uint64_t bits, bool only)
{
	_Atomic(uint64_t) *meta = &m->hosts[line].meta;
	uint64_t old = atomic_load_explicit(meta, memory_order_relaxed);

	if (only)
		old &= ~META_PASSED_MASK;
	atomic_store_explicit(meta, old | bits, memory_order_release);
}

// The hosts in the line `offset` behind `home`: a bit of each for every line that it passed, of the
// first n from `home` on.
static void passed_collect(
	const struct match *m,
	uint32_t home,
	uint32_t offset,
	uint64_t bits[static HOST_REACH],
	uint32_t n
)
{
	uint32_t at = (home + offset) % m->host_lines;
	uint64_t meta = atomic_load_explicit(&m->hosts[at].meta, memory_order_relaxed);

	for (unsigned i = 0; i < HOST_KEYS; i++) {
		uint32_t key = atomic_load_explicit(&m->hosts[at].keys[i], memory_order_relaxed);
		uint64_t hash;
		uint32_t distance;

		if (!meta_linked(meta, i))
			continue;
		hash = m->reader->host_hash(m, key);
		distance = (at + m->host_lines - host_home(m, hash)) % m->host_lines;
		for (uint32_t k = offset > distance ? offset - distance : 0; k < n && k < offset;
		     k++)
			bits[k] |= meta_passed_bit(hash);
	}
}

// A host that was sent on is gone: what is still to be found behind each line that it passed.
static void passed_renew(struct match *m, uint32_t home, uint32_t line)
{
	uint32_t n = (line + m->host_lines - home) % m->host_lines;
	uint64_t bits[HOST_REACH] = {0};

	for (uint32_t offset = 1; n && offset < n + host_reach(m) - 1; offset++) {
		uint32_t before = (home + offset - 1) % m->host_lines;

		// Nothing is sent on from there: nothing behind it has passed the lines before.
		if (offset > n
		    && !(atomic_load_explicit(&m->hosts[before].meta, memory_order_relaxed)
			 & META_PASSED_MASK))
			break;
		passed_collect(m, home, offset, bits, n);
	}
	for (uint32_t k = 0; k < n; k++, home = host_line_after(m, home))
		passed_set(m, home, bits[k], true);
}

static void host_link(struct match *m, const struct host_place *p, uint32_t addr, uint8_t action)
{
	match_filter_host_add(m, addr);
	for (uint32_t line = p->home; line != p->line; line = host_line_after(m, line))
		passed_set(m, line, meta_passed_bit(p->hash), false);
	meta_store(m, p->line, p->place, action, true);
	atomic_store_explicit(&m->hosts[p->line].keys[p->place], addr, memory_order_release);
}

static void host_unlink(struct match *m, uint32_t rule)
{
	uint32_t line = rule / HOST_STRIDE;
	uint32_t addr = atomic_load_explicit(
		&m->hosts[line].keys[rule % HOST_STRIDE], memory_order_relaxed
	);

	meta_store(m, line, rule % HOST_STRIDE, MATCH_INERT, false);
	passed_renew(m, host_home(m, m->reader->host_hash(m, addr)), line);
	match_filter_host_remove(m, addr);
}

// --- the lines of other rules

static uint64_t slot_make(uint64_t hash, uint32_t index)
{
	return (hash & ~(uint64_t)UINT32_MAX) | (index + 1);
}

static uint32_t rule_line_after(const struct match *m, uint32_t line)
{
	return line + 1 == m->rule_lines ? 0 : line + 1;
}

static uint32_t rule_find(const struct match *m, const struct match_key *k, uint64_t hash)
{
	uint32_t line = reduce(hash, m->rule_lines);

	for (uint32_t n = 0; n < m->rule_lines; n++, line = rule_line_after(m, line)) {
		const struct rule_line *l = &m->lines[line];

		for (unsigned i = 0; i < RULE_SLOTS; i++) {
			uint64_t slot = atomic_load_explicit(&l->slots[i], memory_order_acquire);

			if (slot && (slot ^ hash) >> 32 == 0
			    && key_equal(&m->rules[(uint32_t)slot - 1].key, k))
				return (uint32_t)slot - 1;
		}
		if (!atomic_load_explicit(&l->passed, memory_order_acquire))
			break;
	}
	return MATCH_NONE;
}

static void slot_put(struct match *m, uint64_t hash, uint32_t index)
{
	uint32_t line = reduce(hash, m->rule_lines);

	for (;; line = rule_line_after(m, line)) {
		struct rule_line *l = &m->lines[line];

		for (unsigned i = 0; i < RULE_SLOTS; i++) {
			if (atomic_load_explicit(&l->slots[i], memory_order_relaxed))
				continue;
			atomic_store_explicit(
				&l->slots[i], slot_make(hash, index), memory_order_release
			);
			return;
		}
		atomic_fetch_add_explicit(&l->passed, 1, memory_order_release);
	}
}

// The rule's own slot goes first, then what sent readers on to it.
static void slot_clear(struct match *m, uint64_t hash, uint32_t index)
{
	uint32_t home = reduce(hash, m->rule_lines), line = home;

	for (uint32_t n = 0; n < m->rule_lines; n++, line = rule_line_after(m, line)) {
		for (unsigned i = 0; i < RULE_SLOTS; i++) {
			_Atomic(uint64_t) *slot = &m->lines[line].slots[i];

			if (atomic_load_explicit(slot, memory_order_relaxed)
			    != slot_make(hash, index))
				continue;
			atomic_store_explicit(slot, 0, memory_order_release);
			for (; home != line; home = rule_line_after(m, home))
				atomic_fetch_sub_explicit(
					&m->lines[home].passed, 1, memory_order_release
				);
			return;
		}
	}
}

static uint32_t index_take(struct match *m)
{
	uint32_t index = m->free;

	if (!index)
		return m->top++;
	m->free = m->rules[index - 1].next;
	return index - 1;
}

static void port_link(struct match *m, uint32_t index, const struct match_key *k)
{
	struct match_key host = port_host_key(k->family, k->addr);
	uint64_t hash = m->reader->key_hash(m, &host);
	_Atomic(uint64_t) *head = &m->heads[hash & m->port_mask];
	uint64_t old = atomic_load_explicit(head, memory_order_relaxed);
	uint32_t first = (uint32_t)old;

	m->ports[index].prev = 0;
	atomic_store_explicit(&m->ports[index].next, first, memory_order_relaxed);
	if (first)
		m->ports[first - 1].prev = index + 1;
	atomic_store_explicit(
		head,
		(old & ~(uint64_t)UINT32_MAX) | port_filter_bit(hash) | (index + 1),
		memory_order_release
	);
}

static void port_unlink(struct match *m, uint32_t index)
{
	const struct match_key *k = &m->rules[index].key;
	struct match_key host = port_host_key(k->family, k->addr);
	_Atomic(uint64_t) *head = &m->heads[m->reader->key_hash(m, &host) & m->port_mask];
	uint32_t next = atomic_load_explicit(&m->ports[index].next, memory_order_relaxed);
	uint32_t prev = m->ports[index].prev;
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

static uint32_t rule_link(struct match *m, const struct match_key *k, uint64_t hash, uint8_t action)
{
	uint32_t index = index_take(m);
	struct rule *r = &m->rules[index];

	r->key = *k;
	r->state = RULE_LINKED;
	atomic_store_explicit(&r->action, action, memory_order_relaxed);
	match_filter_add(m, k);
	if (k->proto)
		port_link(m, index, k);
	slot_put(m, hash, index);
	return index;
}

static void rule_unlink(struct match *m, uint32_t index)
{
	struct rule *r = &m->rules[index];

	slot_clear(m, m->reader->key_hash(m, &r->key), index);
	if (r->key.proto)
		port_unlink(m, index);
	match_filter_remove(m, &r->key);
	atomic_store_explicit(&r->action, MATCH_INERT, memory_order_release);
	r->state = RULE_UNLINKED;
	m->spilled -= key_is_host(&r->key);
}

// --- the writer

int match_add(struct match *m, const struct match_key *key, uint8_t action, uint32_t *ret_rule)
{
	struct match_key k = key_clean(key);
	struct host_place place = {.rule = MATCH_NONE};
	uint64_t hash = 0;
	bool host = key_is_host(&k);

	if (!key_valid(m, &k))
		return -EINVAL;
	if (host)
		place = host_place(m, addr4(k.addr));
	if (!host || m->spilled || !place.room)
		hash = m->reader->key_hash(m, &k);
	if (place.rule != MATCH_NONE
	    || ((!host || m->spilled) && rule_find(m, &k, hash) != MATCH_NONE))
		return -EEXIST;
	if (m->used == m->capacity)
		return -ENOSPC;
	m->used++;
	atomic_fetch_add_explicit(&m->count, 1, memory_order_relaxed);
	if (host && place.room) {
		host_link(m, &place, addr4(k.addr), action);
		*ret_rule = host_rule(place.line, place.place);
		return 0;
	}
	m->spilled += host;
	*ret_rule = m->host_rules + rule_link(m, &k, hash, action);
	return 0;
}

uint32_t match_prefetch(const struct match *m, const struct match_key *key)
{
	struct match_key k = key_clean(key);
	uint32_t addr = addr4(k.addr), line;

	if (!key_is_host(&k)) {
		line = reduce(m->reader->key_hash(m, &k), m->rule_lines);
		__builtin_prefetch(&m->lines[line], 1);
		return MATCH_NONE;
	}
	line = host_home(m, m->reader->host_hash(m, addr));
	__builtin_prefetch(&m->hosts[line], 1);
	__builtin_prefetch(&m->host_counts[addr >> 8], 1);
	__builtin_prefetch(&m->near[addr >> 13], 1);
	return host_rule(line, 0);
}

static bool is_host_rule(const struct match *m, uint32_t rule)
{
	return rule < m->host_rules;
}

static bool is_linked(const struct match *m, uint32_t rule)
{
	if (!is_host_rule(m, rule))
		return m->rules[rule - m->host_rules].state == RULE_LINKED;
	return meta_linked(
		atomic_load_explicit(&m->hosts[rule / HOST_STRIDE].meta, memory_order_relaxed),
		rule % HOST_STRIDE
	);
}

void match_action_set(struct match *m, uint32_t rule, uint8_t action)
{
	if (!is_linked(m, rule))
		return;
	if (is_host_rule(m, rule))
		meta_store(m, rule / HOST_STRIDE, rule % HOST_STRIDE, action, true);
	else
		atomic_store_explicit(
			&m->rules[rule - m->host_rules].action, action, memory_order_release
		);
}

void match_unlink(struct match *m, uint32_t rule)
{
	if (!is_linked(m, rule))
		return;
	if (is_host_rule(m, rule))
		host_unlink(m, rule);
	else
		rule_unlink(m, rule - m->host_rules);
	atomic_fetch_sub_explicit(&m->count, 1, memory_order_relaxed);
}

uint32_t match_move(struct match *m, uint32_t rule)
{
	struct host_place p = {.rule = MATCH_NONE};
	struct match_key k;
	uint32_t addr, line;

	if (!is_linked(m, rule))
		return MATCH_NONE;
	match_rule_key(m, rule, &k);
	if (!key_is_host(&k) || m->used == m->capacity)
		return MATCH_NONE;
	addr = addr4(k.addr);
	p.hash = m->reader->host_hash(m, addr);
	p.home = line = host_home(m, p.hash);
	for (unsigned i = 0; i < host_reach(m) && !p.room && p.rule == MATCH_NONE; i++) {
		uint64_t meta = atomic_load_explicit(&m->hosts[line].meta, memory_order_relaxed);

		host_line_look(m, line, addr, meta, &p);
		line = host_line_after(m, line);
	}
	if (!p.room || p.rule != MATCH_NONE)
		return MATCH_NONE;
	m->used++;
	atomic_fetch_add_explicit(&m->count, 1, memory_order_relaxed);
	host_link(m, &p, addr, match_rule_action(m, rule));
	return host_rule(p.line, p.place);
}

void match_recycle(struct match *m, uint32_t rule)
{
	_Atomic(uint32_t) *key;
	struct rule *r;

	if (is_linked(m, rule))
		return;
	if (is_host_rule(m, rule)) {
		key = &m->hosts[rule / HOST_STRIDE].keys[rule % HOST_STRIDE];
		m->used -= atomic_load_explicit(key, memory_order_relaxed) != 0;
		atomic_store_explicit(key, 0, memory_order_release);
		return;
	}
	r = &m->rules[rule - m->host_rules];
	if (r->state != RULE_UNLINKED)
		return;
	r->state = RULE_FREE;
	r->next = m->free;
	m->free = rule - m->host_rules + 1;
	m->used--;
}

// --- either

uint32_t match_find(const struct match *m, const struct match_key *key)
{
	struct match_key k = key_clean(key);
	uint32_t rule = MATCH_NONE;
	bool host = key_is_host(&k);

	if (host)
		rule = host_place(m, addr4(k.addr)).rule;
	if (rule != MATCH_NONE || (host && !m->spilled))
		return rule;
	rule = rule_find(m, &k, m->reader->key_hash(m, &k));
	return rule == MATCH_NONE ? rule : m->host_rules + rule;
}

void match_rule_key(const struct match *m, uint32_t rule, struct match_key *ret_key)
{
	uint32_t addr;

	if (!is_host_rule(m, rule)) {
		*ret_key = m->rules[rule - m->host_rules].key;
		return;
	}
	addr = atomic_load_explicit(
		&m->hosts[rule / HOST_STRIDE].keys[rule % HOST_STRIDE], memory_order_relaxed
	);
	*ret_key = (struct match_key){.family = 4, .prefix_len = 32};
	addr4_put(ret_key->addr, addr);
}

uint8_t match_rule_action(const struct match *m, uint32_t rule)
{
	if (!is_host_rule(m, rule))
		return atomic_load_explicit(
			&m->rules[rule - m->host_rules].action, memory_order_acquire
		);
	return (uint8_t)meta_action(
		atomic_load_explicit(&m->hosts[rule / HOST_STRIDE].meta, memory_order_acquire),
		rule % HOST_STRIDE
	);
}

uint32_t match_count(const struct match *m)
{
	return atomic_load_explicit(&m->count, memory_order_relaxed);
}

uint32_t match_capacity(const struct match *m)
{
	return m->capacity;
}

uint32_t match_rules(const struct match *m)
{
	return m->host_rules + m->capacity;
}

uint32_t match_lines(const struct match *m)
{
	return m->host_lines + m->rule_lines;
}

unsigned
match_line(const struct match *m, uint32_t line, uint32_t ret_rules[static MATCH_LINE_RULES])
{
	unsigned n = 0;

	if (line < m->host_lines) {
		uint64_t meta = atomic_load_explicit(&m->hosts[line].meta, memory_order_acquire);

		for (unsigned i = 0; i < HOST_KEYS; i++) {
			if (meta_linked(meta, i))
				ret_rules[n++] = host_rule(line, i);
		}
		return n;
	}
	for (unsigned i = 0; i < RULE_SLOTS; i++) {
		uint64_t slot = atomic_load_explicit(
			&m->lines[line - m->host_lines].slots[i], memory_order_acquire
		);

		if (slot)
			ret_rules[n++] = m->host_rules + (uint32_t)slot - 1;
	}
	return n;
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
	struct match_burst b;

	match_clear(m, &b);
	match_push(&b, family, addr, proto, port);
	match_begin(m, &b);
	match_end(m, &b);
	*ret_hit = b.hits ? b.hit[0]
			  : (struct match_hit){.enforce = MATCH_NONE, .monitor = MATCH_NONE};
}

void match_filter(const struct match *m, struct match_burst *b)
{
	m->reader->filter(m, b);
}

void match_begin(const struct match *m, struct match_burst *b)
{
	m->reader->begin(m, b);
}

void match_look(const struct match *m, struct match_burst *b)
{
	m->reader->look(m, b);
}

void match_end(const struct match *m, struct match_burst *b)
{
	m->reader->end(m, b);
}
