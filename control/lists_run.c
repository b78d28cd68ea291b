// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The members of a reading: records in blocks of 1 MiB, and an index of 12 octets each that is
// sorted by the first eight octets of the key, which hold a whole IPv4 address: octet by octet from
// the last one, without those that are the same everywhere. Only members of one prefix are
// compared.
//
//   record: key length u16, actions u8, attr u32, [until i64 where actions has LIST_HAS_UNTIL], key

#include "control/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK (1u << 20)
#define BLOCKS_MAX 4096 // 12 bits of a reference
#define AHEAD 8 // records asked for before they are needed

struct run_item {
	uint64_t prefix;
	uint32_t ref; // block << 20 | offset
} __attribute__((packed));

struct run {
	uint8_t *blocks[BLOCKS_MAX];
	size_t n_blocks, used; // used: of the last block
	struct run_item *items;
	size_t n, room, at;
};

struct run *run_create(void)
{
	return calloc(1, sizeof(struct run));
}

void run_free(struct run *run)
{
	if (!run)
		return;
	for (size_t i = 0; i < run->n_blocks; i++)
		free(run->blocks[i]);
	free(run->items);
	free(run);
}

size_t run_size(const struct run *run)
{
	return run->n;
}

static uint64_t key_prefix(const struct ledger_key *key)
{
	uint64_t prefix = 0;

	for (size_t i = 0; i < 8; i++)
		prefix = prefix << 8 | (i < key->len ? key->octets[i] : 0);
	return prefix;
}

static int run_room(struct run *run, size_t size)
{
	if (run->n_blocks == 0 || run->used + size > BLOCK) {
		if (run->n_blocks == BLOCKS_MAX)
			return -EFBIG;
		run->blocks[run->n_blocks] = malloc(BLOCK);
		if (!run->blocks[run->n_blocks])
			return -ENOMEM;
		run->n_blocks++;
		run->used = 0;
	}
	if (run->n == run->room) {
		size_t room = run->room ? 2 * run->room : 4096;
		struct run_item *items = realloc(run->items, room * sizeof(*items));

		if (!items)
			return -ENOMEM;
		run->items = items;
		run->room = room;
	}
	return 0;
}

int run_add(struct run *run, const struct list_member *m)
{
	bool ends = m->until != UNTIL_FOREVER;
	size_t size = 7 + (ends ? 8 : 0) + m->key.len;
	uint8_t flags = (uint8_t)(m->actions | (ends ? LIST_HAS_UNTIL : 0));
	uint8_t *at;
	int r = run_room(run, size);

	if (r < 0)
		return r;
	run->items[run->n++] = (struct run_item){
		.prefix = key_prefix(&m->key),
		.ref = (uint32_t)((run->n_blocks - 1) << 20 | run->used),
	};
	at = run->blocks[run->n_blocks - 1] + run->used;
	memcpy(at, &m->key.len, 2);
	at[2] = flags;
	memcpy(at + 3, &m->attr, 4);
	at += 7;
	if (ends) {
		memcpy(at, &m->until, 8);
		at += 8;
	}
	memcpy(at, m->key.octets, m->key.len);
	run->used += size;
	return 0;
}

static void record_read(const struct run *run, uint32_t ref, struct list_member *m)
{
	const uint8_t *at = run->blocks[ref >> 20] + (ref & (BLOCK - 1));
	uint8_t flags = at[2];

	memcpy(&m->key.len, at, 2);
	m->actions = flags & LIST_ACTIONS;
	memcpy(&m->attr, at + 3, 4);
	at += 7;
	m->until = UNTIL_FOREVER;
	if (flags & LIST_HAS_UNTIL) {
		memcpy(&m->until, at, 8);
		at += 8;
	}
	memcpy(m->key.octets, at, m->key.len);
}

static int item_compare(const void *a, const void *b, void *ctx)
{
	const struct run_item *x = a, *y = b;
	struct list_member m, n;

	record_read(ctx, x->ref, &m);
	record_read(ctx, y->ref, &n);
	return key_compare(&m.key, &n.key);
}

// One octet of the prefixes, stable. False: it is the same in all of them, and nothing was done.
static bool octet_sort(const struct run_item *from, struct run_item *to, size_t n, unsigned shift)
{
	size_t starts[256] = {0}, at = 0;

	for (size_t i = 0; i < n; i++)
		starts[from[i].prefix >> shift & 0xff]++;
	if (starts[from[0].prefix >> shift & 0xff] == n)
		return false;
	for (int octet = 0; octet < 256; octet++) {
		size_t count = starts[octet];

		starts[octet] = at;
		at += count;
	}
	for (size_t i = 0; i < n; i++)
		to[starts[from[i].prefix >> shift & 0xff]++] = from[i];
	return true;
}

static void ties_sort(struct run *run)
{
	for (size_t from = 0, to; from < run->n; from = to) {
		for (to = from + 1; to < run->n; to++)
			if (run->items[to].prefix != run->items[from].prefix)
				break;
		if (to - from > 1)
			qsort_r(run->items + from, to - from, sizeof(*run->items), item_compare, run
			);
	}
}

int run_sort(struct run *run)
{
	struct run_item *other;

	run->at = 0;
	if (run->n == 0)
		return 0;
	other = malloc(run->n * sizeof(*other));
	if (!other)
		return -ENOMEM;
	for (unsigned shift = 0; shift < 64; shift += 8) {
		struct run_item *items = run->items;

		if (!octet_sort(items, other, run->n, shift))
			continue;
		run->items = other;
		other = items;
	}
	run->room = run->n;
	free(other);
	ties_sort(run);
	return 0;
}

void run_rewind(struct run *run)
{
	run->at = 0;
}

// The same member under two spellings: what denies more stands, and the later end.
static void member_join(struct list_member *m, const struct list_member *other)
{
	if (other->actions > 0 && (m->actions == 0 || other->actions < m->actions)) {
		m->actions = other->actions;
		m->attr = other->attr;
	} else if (other->actions == m->actions && other->attr < m->attr) {
		m->attr = other->attr;
	}
	if (other->until > m->until)
		m->until = other->until;
}

int run_next(struct run *run, struct list_member *ret_member)
{
	struct list_member other;

	if (run->at == run->n)
		return 0;
	// In the order of keys they lie anywhere.
	if (run->n - run->at > AHEAD) {
		uint32_t ref = run->items[run->at + AHEAD].ref;

		__builtin_prefetch(run->blocks[ref >> 20] + (ref & (BLOCK - 1)));
	}
	record_read(run, run->items[run->at++].ref, ret_member);
	while (run->at < run->n) {
		record_read(run, run->items[run->at].ref, &other);
		if (key_compare(&other.key, &ret_member->key) != 0)
			break;
		member_join(ret_member, &other);
		run->at++;
	}
	return 1;
}
