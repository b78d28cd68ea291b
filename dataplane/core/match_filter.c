// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The writer's side of the filters: bits that readers look at first, and the counts by which the
// writer knows when a bit may go.

#include "dataplane/core/match_table.h"

// Single writer: load, change, store.
static void bits_set(_Atomic(uint32_t) *word, uint32_t bits)
{
	atomic_store_explicit(
		word, atomic_load_explicit(word, memory_order_relaxed) | bits, memory_order_release
	);
}

static void bits_clear(_Atomic(uint32_t) *word, uint32_t bits)
{
	atomic_store_explicit(
		word, atomic_load_explicit(word, memory_order_relaxed) & ~bits, memory_order_release
	);
}

// A count that reached 255 is no longer known: it stays, and with it the bit.
static bool count_up(uint8_t *count)
{
	if (*count < 255)
		++*count;
	return *count == 1;
}

static bool count_down(uint8_t *count)
{
	return *count < 255 && --*count == 0;
}

// --- IPv4, by /24

// The rougher one first: readers may look at that alone.
static void near_set(struct match *m, uint32_t cell)
{
	uint32_t eight = cell >> 16;

	if (atomic_load_explicit(&m->near[cell / 32], memory_order_relaxed) >> cell % 32 & 1)
		return;
	if (m->eight_counts[eight]++ == 0)
		bits_set(&m->filters.eights[eight / 32], 1u << eight % 32);
	bits_set(&m->near[cell / 32], 1u << cell % 32);
}

static void near_settle(struct match *m, uint32_t cell)
{
	uint32_t eight = cell >> 16;

	if (m->host_counts[cell] || m->wide_counts[cell])
		return;
	bits_clear(&m->near[cell / 32], 1u << cell % 32);
	if (--m->eight_counts[eight] == 0)
		bits_clear(&m->filters.eights[eight / 32], 1u << eight % 32);
}

void match_filter_host_add(struct match *m, uint32_t addr)
{
	uint32_t cell = addr >> 8;

	if (count_up(&m->host_counts[cell]))
		near_set(m, cell);
}

void match_filter_host_remove(struct match *m, uint32_t addr)
{
	if (count_down(&m->host_counts[addr >> 8]))
		near_settle(m, addr >> 8);
}

static void wide_add(struct match *m, uint32_t cell, uint32_t cells)
{
	for (; cells; cell++, cells--) {
		if (!count_up(&m->wide_counts[cell]))
			continue;
		bits_set(&m->wide[cell / 32], 1u << cell % 32);
		near_set(m, cell);
	}
}

static void wide_remove(struct match *m, uint32_t cell, uint32_t cells)
{
	for (; cells; cell++, cells--) {
		if (!count_down(&m->wide_counts[cell]))
			continue;
		bits_clear(&m->wide[cell / 32], 1u << cell % 32);
		near_settle(m, cell);
	}
}

static uint32_t wide_cells(const struct match_key *k)
{
	return k->prefix_len < 24 ? 1u << (24 - k->prefix_len) : 1;
}

// --- both families, by the first 16 bits

static uint32_t top_cell(const struct match_key *k)
{
	return (uint32_t)k->addr[0] << 8 | k->addr[1];
}

// One prefix of a length up to 16 covers a cell, no more: only longer ones are counted.
static void top_add(struct match *m, const struct match_key *k)
{
	unsigned f = family_index(k->family), bits = k->prefix_len;
	_Atomic(uint32_t) *at = &m->tops[f][top_cell(k)];
	uint32_t bit = 1u << bits % 32; // an IPv4 host: HOST_BIT

	if (bits <= 16) {
		for (uint32_t i = 0; i < TOPS >> bits; i++)
			bits_set(&at[i], bit);
	} else if (m->top_counts[f][(bits - 17) * TOPS + top_cell(k)]++ == 0) {
		bits_set(at, bit);
	}
}

static void top_remove(struct match *m, const struct match_key *k)
{
	unsigned f = family_index(k->family), bits = k->prefix_len;
	_Atomic(uint32_t) *at = &m->tops[f][top_cell(k)];
	uint32_t bit = 1u << bits % 32;

	if (bits <= 16) {
		for (uint32_t i = 0; i < TOPS >> bits; i++)
			bits_clear(&at[i], bit);
	} else if (--m->top_counts[f][(bits - 17) * TOPS + top_cell(k)] == 0) {
		bits_clear(at, bit);
	}
}

// --- IPv6

static void lengths_add(struct match *m, unsigned bits)
{
	if (m->length_counts6[bits]++ == 0)
		atomic_fetch_or_explicit(
			&m->lengths6[bits / 64], (uint64_t)1 << bits % 64, memory_order_release
		);
}

static void lengths_remove(struct match *m, unsigned bits)
{
	if (--m->length_counts6[bits] == 0)
		atomic_fetch_and_explicit(
			&m->lengths6[bits / 64], ~((uint64_t)1 << bits % 64), memory_order_release
		);
}

static void short_change(struct match *m, const struct match_key *k, bool add)
{
	uint32_t cell = short_cell(m, k->addr);
	unsigned length = k->prefix_len - SHORT_MIN;
	uint8_t *count = &m->short_counts[length * SHORTS + cell];
	uint16_t bits = atomic_load_explicit(&m->shorts6[cell], memory_order_relaxed);

	if (!(add ? count_up(count) : count_down(count)))
		return;
	atomic_store_explicit(
		&m->shorts6[cell], bits ^ (uint16_t)(1u << length), memory_order_release
	);
}

static void class_change(struct match *m, const struct match_key *k, bool add)
{
	uint32_t cell = match_class_cell(&m->filters, k->addr);
	unsigned class = k->proto ? CLASS_PORTS : length_class(k->prefix_len);
	uint8_t *count = &m->class_counts[(size_t) class * (m->class_mask + 1) + cell];
	uint8_t bits = atomic_load_explicit(&m->classes6[cell], memory_order_relaxed);

	if (!(add ? count_up(count) : count_down(count)))
		return;
	atomic_store_explicit(
		&m->classes6[cell], bits ^ (uint8_t)(1u << class), memory_order_release
	);
}

static void filter6_add(struct match *m, const struct match_key *k)
{
	if (k->prefix_len < SHORT_MIN)
		top_add(m, k);
	else if (k->prefix_len < CLASS_MIN)
		short_change(m, k, true);
	else
		class_change(m, k, true);
	if (!k->proto)
		lengths_add(m, k->prefix_len);
}

static void filter6_remove(struct match *m, const struct match_key *k)
{
	if (!k->proto)
		lengths_remove(m, k->prefix_len);
	if (k->prefix_len < SHORT_MIN)
		top_remove(m, k);
	else if (k->prefix_len < CLASS_MIN)
		short_change(m, k, false);
	else
		class_change(m, k, false);
}

// --- any rule but a host in `hosts`

void match_filter_add(struct match *m, const struct match_key *k)
{
	if (k->proto)
		atomic_fetch_add_explicit(
			&m->port_counts[family_index(k->family)][proto_index(k->proto)],
			1,
			memory_order_release
		);
	if (k->family == 6) {
		filter6_add(m, k);
		return;
	}
	top_add(m, k);
	atomic_fetch_add_explicit(&m->wides4, 1, memory_order_release);
	wide_add(m, addr4(k->addr) >> 8, wide_cells(k));
}

void match_filter_remove(struct match *m, const struct match_key *k)
{
	if (k->family == 6) {
		filter6_remove(m, k);
	} else {
		wide_remove(m, addr4(k->addr) >> 8, wide_cells(k));
		atomic_fetch_sub_explicit(&m->wides4, 1, memory_order_release);
		top_remove(m, k);
	}
	if (k->proto)
		atomic_fetch_sub_explicit(
			&m->port_counts[family_index(k->family)][proto_index(k->proto)],
			1,
			memory_order_release
		);
}
