// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/events.h"

#include "dataplane/node.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 1024 // a worker's table of aggregates
#define RING 4096 // records on their way; a power of two
#define SLICE 64 // slots handed over a burst while the control thread asks

// A worker's, on pages of its own socket.
struct lane {
	// packets 0: free. worker only
	_Alignas(NODE_PAGE) struct denial slots[SLOTS];
	uint32_t slice; // next slot to hand over. worker only
	uint32_t answered; // the last asking that was begun. worker only
	_Atomic uint64_t lost; // worker: wo, control thread: ro
	// next to write. worker: wo, control thread: ro
	_Alignas(NODE_APART) _Atomic uint32_t head;
	// next to read. control thread: wo, worker: ro
	_Alignas(NODE_APART) _Atomic uint32_t tail;
	_Alignas(NODE_APART) struct denial ring[RING]; // worker: wo, control thread: ro
};
// The control thread writes tail for each record that it takes: on a line with anything that a
// worker writes, each write would take that line away from the worker.
_Static_assert(
	offsetof(struct lane, lost) + sizeof(uint64_t) <= offsetof(struct lane, head)
		&& offsetof(struct lane, tail) - offsetof(struct lane, head) == NODE_APART
		&& offsetof(struct lane, ring) - offsetof(struct lane, tail) == NODE_APART
		&& sizeof(struct lane) % NODE_PAGE == 0,
	"what two threads write is on lines of its own"
);

struct events {
	_Alignas(NODE_APART) unsigned workers;
	struct lane *lanes;
	// control thread: wo, worker: ro
	_Alignas(NODE_APART) _Atomic uint32_t asked;
};
_Static_assert(
	offsetof(struct events, asked) % NODE_APART == 0 && sizeof(struct events) == 2 * NODE_APART,
	"what each asking writes is on lines of its own"
);

int events_create(unsigned workers, struct events **ret_events)
{
	struct events *e = aligned_alloc(_Alignof(struct events), sizeof(*e));

	if (!e)
		return -ENOMEM;
	*e = (struct events){.workers = workers, .lanes = node_map(workers, sizeof(struct lane))};
	if (!e->lanes) {
		free(e);
		return -ENOMEM;
	}
	*ret_events = e;
	return 0;
}

void events_free(struct events *e)
{
	if (!e)
		return;
	node_unmap(e->lanes, e->workers, sizeof(struct lane));
	free(e);
}

static void hand_over(struct lane *l, struct denial *d)
{
	uint32_t head = atomic_load_explicit(&l->head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(&l->tail, memory_order_acquire);

	if (head - tail == RING) {
		uint64_t lost = atomic_load_explicit(&l->lost, memory_order_relaxed);

		atomic_store_explicit(&l->lost, lost + 1, memory_order_relaxed);
	} else {
		l->ring[head % RING] = *d;
		atomic_store_explicit(&l->head, head + 1, memory_order_release);
	}
	d->packets = 0;
}

// A record in words: src, dst, entry, what is the same of all packets of a record | what is
// counted. In registers until it is in its slot: whoever reads as one word what was stored in
// pieces waits for the stores.
enum {
	WORD_SRC = 0,
	WORD_DST = 2,
	WORD_ENTRY = 4,
	WORD_RULE = 7, // rule, port, reason, verdict
	WORD_COUNT = 8, // family, proto, inward; packets
	WORD_BYTES = 9,
	WORDS = 10,
};

_Static_assert(
	sizeof(struct denial) == 8 * WORDS && offsetof(struct denial, dst) == 8 * WORD_DST
		&& offsetof(struct denial, entry) == 8 * WORD_ENTRY
		&& offsetof(struct denial, rule) == 8 * WORD_RULE
		&& offsetof(struct denial, family) == 8 * WORD_COUNT
		&& offsetof(struct denial, packets) == 8 * WORD_COUNT + 4
		&& offsetof(struct denial, bytes) == 8 * WORD_BYTES,
	"a record is its words"
);

static inline uint32_t slot_of(const uint64_t w[static WORDS])
{
	// Products that do not wait for each other.
	uint64_t h = (w[0] ^ w[WORD_RULE]) * 0x9e3779b97f4a7c15 ^ w[1] * 0xff51afd7ed558ccd
		^ w[2] * 0xc4ceb9fe1a85ec53 ^ w[3] * 0xd6e8feb86659fd93;

	return (uint32_t)(h >> 32) % SLOTS;
}

// With one branch, whatever differs.
static inline bool same(const uint64_t a[static WORDS], const uint64_t b[static WORDS])
{
	const uint64_t kind = (uint64_t) ~(uint32_t)0;
	uint64_t differs = (a[WORD_COUNT] ^ b[WORD_COUNT]) & kind;

#pragma GCC unroll 8
	for (unsigned i = 0; i <= WORD_RULE; i++)
		differs |= a[i] ^ b[i];
	return !differs;
}

static inline void denied(struct lane *l, const uint64_t w[static WORDS])
{
	struct denial *slot = &l->slots[slot_of(w)];
	uint64_t held[WORDS];

	memcpy(held, slot, sizeof(held));
	if (slot->packets && same(held, w)) {
		slot->packets += (uint32_t)(w[WORD_COUNT] >> 32);
		slot->bytes += w[WORD_BYTES];
		return;
	}
	if (slot->packets)
		hand_over(l, slot);
	memcpy(slot, w, sizeof(*slot));
}

void events_denied(struct events *e, unsigned index, const struct denial *d)
{
	uint64_t w[WORDS];

	memcpy(w, d, sizeof(w));
	denied(&e->lanes[index], w);
}

void events_denied_hosts(
	struct events *e,
	unsigned index,
	uint8_t reason,
	uint8_t verdict,
	const struct denial_host *d,
	unsigned n
)
{
	const struct match_key any = {.family = 4, .prefix_len = 32};
	const uint64_t both = (uint64_t)reason << 48 | (uint64_t)verdict << 56;
	uint64_t key[3];

	memcpy(key, &any, sizeof(key));
	for (; n; n--, d++) {
		const uint64_t w[WORDS] = {
			d->src,
			0,
			d->dst,
			0,
			d->inward ? d->src : d->dst,
			0,
			key[2],
			d->rule | (uint64_t)d->port << 32 | both,
			4 | (uint64_t)d->proto << 8 | (uint64_t)d->inward << 16 | (uint64_t)1 << 32,
			d->bytes,
		};

		denied(&e->lanes[index], w);
	}
}

void events_poll(struct events *e, unsigned index)
{
	struct lane *l = &e->lanes[index];
	uint32_t asked = atomic_load_explicit(&e->asked, memory_order_acquire);

	if (l->slice == 0) {
		if (l->answered == asked)
			return;
		l->answered = asked;
	}
	for (uint32_t i = 0; i < SLICE; i++) {
		struct denial *slot = &l->slots[l->slice + i];

		if (slot->packets)
			hand_over(l, slot);
	}
	l->slice = (l->slice + SLICE) % SLOTS;
}

size_t events_drain(struct events *e, denial_cb cb, void *ctx)
{
	size_t taken = 0;

	atomic_fetch_add_explicit(&e->asked, 1, memory_order_release);
	for (unsigned i = 0; i < e->workers; i++) {
		struct lane *l = &e->lanes[i];
		uint32_t tail = atomic_load_explicit(&l->tail, memory_order_relaxed);
		uint32_t head = atomic_load_explicit(&l->head, memory_order_acquire);

		for (; tail != head; tail++, taken++)
			cb(ctx, &l->ring[tail % RING]);
		atomic_store_explicit(&l->tail, tail, memory_order_release);
	}
	return taken;
}

uint64_t events_lost(const struct events *e)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < e->workers; i++)
		lost += atomic_load_explicit(&e->lanes[i].lost, memory_order_relaxed);
	return lost;
}
