// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/sketch.h"

#include "dataplane/node.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define RING 4096 // samples on their way; a power of two
#define SETS 1024 // of a period's table
#define WAYS 8
#define AHEAD 4 // samples: room that is fetched before its turn

// A worker's, on pages of its own socket.
struct lane {
	_Alignas(NODE_PAGE) uint64_t random; // worker only
	uint32_t tail_seen; // tail as last read. worker only
	_Atomic uint64_t lost; // worker: wo, control thread: ro
	// next to write. worker: wo, control thread: ro
	_Alignas(NODE_APART) _Atomic uint32_t head;
	// next to read. control thread: wo, worker: ro
	_Alignas(NODE_APART) _Atomic uint32_t tail;
	_Alignas(NODE_APART) struct sketch_sample ring[RING]; // worker: wo, control thread: ro
};
_Static_assert(
	offsetof(struct lane, lost) + sizeof(uint64_t) <= offsetof(struct lane, head)
		&& offsetof(struct lane, tail) - offsetof(struct lane, head) == NODE_APART
		&& offsetof(struct lane, ring) - offsetof(struct lane, tail) == NODE_APART
		&& sizeof(struct lane) % NODE_PAGE == 0,
	"what two threads write is on lines of its own"
);

_Static_assert(sizeof(struct sketch_cell) == 64, "a cell is one line");

struct period {
	int64_t since_ms; // 0: it never was
	uint64_t samples, bytes, lost;
};

struct sketch {
	unsigned workers;
	unsigned running; // which of the periods
	uint64_t seed;
	uint64_t lost_told; // of the rings, as last drained
	struct lane *lanes;
	struct period periods[2];
	struct sketch_cell cells[2][SETS][WAYS];
};
_Static_assert(2 * SETS * WAYS == SKETCH_CELLS, "as the header says");

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

int sketch_create(unsigned workers, uint64_t seed, struct sketch **ret_sketch)
{
	struct sketch *s = aligned_alloc(_Alignof(struct sketch), sizeof(*s));

	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	s->lanes = node_map(workers, sizeof(*s->lanes));
	if (!s->lanes) {
		free(s);
		return -ENOMEM;
	}
	s->workers = workers;
	s->seed = seed;
	for (unsigned i = 0; i < workers; i++)
		s->lanes[i].random = mix(seed + i);
	*ret_sketch = s;
	return 0;
}

void sketch_free(struct sketch *s)
{
	if (!s)
		return;
	node_unmap(s->lanes, s->workers, sizeof(*s->lanes));
	free(s);
}

// Seven bits of 0 to 127, where 0 counts as 64: of 64 on average. The multiplier is Knuth's.
unsigned sketch_gap(struct sketch *s, unsigned index)
{
	struct lane *l = &s->lanes[index];
	unsigned drawn;

	l->random = l->random * 6364136223846793005 + 1442695040888963407;
	drawn = (unsigned)(l->random >> 57);
	return drawn ? drawn : SKETCH_RATE;
}

// The room ahead was read by the control thread: asked for early, and to be written. Else it would
// be fetched twice. Processors without that instruction pass over it.
__attribute__((target("prfchw"))) void
sketch_add(struct sketch *s, unsigned index, const struct sketch_sample *sample)
{
	struct lane *l = &s->lanes[index];
	uint32_t head = atomic_load_explicit(&l->head, memory_order_relaxed);

	if (head - l->tail_seen == RING)
		l->tail_seen = atomic_load_explicit(&l->tail, memory_order_acquire);
	if (head - l->tail_seen == RING) {
		uint64_t lost = atomic_load_explicit(&l->lost, memory_order_relaxed);

		atomic_store_explicit(&l->lost, lost + 1, memory_order_relaxed);
		return;
	}
	l->ring[head % RING] = *sample;
	atomic_store_explicit(&l->head, head + 1, memory_order_release);
	__builtin_prefetch(&l->ring[(head + AHEAD) % RING], 1);
}

static struct sketch_cell *set_of(struct sketch *s, const struct sketch_sample *key)
{
	uint64_t words[2], h = s->seed;

	memcpy(words, key->addr, 16);
	h = mix(h ^ words[0]);
	h = mix(h ^ words[1]);
	h = mix(h
		^ ((uint64_t)key->family << 32 | (uint64_t)key->inward << 24
		   | (uint64_t)key->proto << 16 | key->port));
	return s->cells[s->running][h % SETS];
}

static bool same(const struct sketch_sample *a, const struct sketch_sample *b)
{
	return memcmp(a->addr, b->addr, 16) == 0 && a->family == b->family && a->proto == b->proto
		&& a->port == b->port && a->inward == b->inward;
}

// Its cell, or the smallest of the set: what carries most stays.
static struct sketch_cell *cell_of(struct sketch *s, const struct sketch_sample *sample)
{
	struct sketch_cell *set = set_of(s, sample), *c = &set[0];

	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].samples && same(&set[i].key, sample))
			return &set[i];
		if (set[i].samples < c->samples)
			c = &set[i];
	}
	s->periods[s->running].lost += c->samples;
	*c = (struct sketch_cell){.key = *sample};
	return c;
}

static void aggregate(struct sketch *s, const struct sketch_sample *sample, int64_t now_ms)
{
	struct sketch_cell *c = cell_of(s, sample);

	c->samples++;
	c->bytes += sample->bytes;
	c->squares += (uint64_t)sample->bytes * sample->bytes;
	c->last_ms = now_ms;
	s->periods[s->running].samples++;
	s->periods[s->running].bytes += sample->bytes;
}

static void period_begin(struct sketch *s, int64_t now_ms)
{
	s->running = !s->running;
	memset(s->cells[s->running], 0, sizeof(s->cells[0]));
	s->periods[s->running] = (struct period){.since_ms = now_ms};
}

static void turn(struct sketch *s, int64_t now_ms)
{
	int64_t since = s->periods[s->running].since_ms;

	if (since && now_ms - since < SKETCH_PERIOD_MS)
		return;
	if (now_ms - since >= 2 * SKETCH_PERIOD_MS) // nobody drained: the one before goes too
		period_begin(s, 0);
	period_begin(s, now_ms);
}

static uint64_t rings_lost(const struct sketch *s)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < s->workers; i++)
		lost += atomic_load_explicit(&s->lanes[i].lost, memory_order_relaxed);
	return lost;
}

size_t sketch_drain(struct sketch *s, int64_t now_ms)
{
	size_t taken = 0;
	uint64_t lost;

	turn(s, now_ms);
	for (unsigned i = 0; i < s->workers; i++) {
		struct lane *l = &s->lanes[i];
		uint32_t tail = atomic_load_explicit(&l->tail, memory_order_relaxed);
		uint32_t head = atomic_load_explicit(&l->head, memory_order_acquire);

		for (; tail != head; tail++, taken++)
			aggregate(s, &l->ring[tail % RING], now_ms);
		atomic_store_explicit(&l->tail, tail, memory_order_release);
	}
	lost = rings_lost(s);
	s->periods[s->running].samples += lost - s->lost_told;
	s->periods[s->running].lost += lost - s->lost_told;
	s->lost_told = lost;
	return taken;
}

void sketch_window(const struct sketch *s, int64_t now_ms, struct sketch_window *ret_window)
{
	const struct period *now = &s->periods[s->running], *before = &s->periods[!s->running];
	int64_t since = before->since_ms ? before->since_ms : now->since_ms;

	*ret_window = (struct sketch_window){
		.ms = since ? now_ms - since : 0,
		.samples = now->samples + before->samples,
		.bytes = now->bytes + before->bytes,
		.lost = now->lost + before->lost,
	};
}

static bool covers(const struct sketch_ask *a, const struct sketch_sample *k)
{
	unsigned whole = a->prefix_len / 8, rest = a->prefix_len % 8;

	if (a->family != k->family || memcmp(a->addr, k->addr, whole) != 0)
		return false;
	if (rest && (a->addr[whole] ^ k->addr[whole]) >> (8 - rest))
		return false;
	return a->proto == 0 || (a->proto == k->proto && a->port == k->port);
}

void sketch_each(const struct sketch *s, const struct sketch_ask *ask, sketch_cb cb, void *ctx)
{
	const struct sketch_cell *cells = &s->cells[0][0][0];

	for (size_t i = 0; i < SKETCH_CELLS; i++) {
		if (cells[i].samples && (!ask || covers(ask, &cells[i].key)))
			cb(ctx, &cells[i]);
	}
}
