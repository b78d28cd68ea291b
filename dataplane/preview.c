// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/preview.h"

#include "rules/siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SLOTS (2 * SKETCH_CELLS) // a power of two

struct preview {
	struct sketch *sketch;
	const struct live *live;
	uint8_t key[16]; // nobody outside chooses which addresses share a slot
	// Of one answer.
	struct wire_preview_answer *sum;
	bool by_port;
	bool inbound_allow;
	int64_t last_ms;
	uint32_t n;
	uint16_t slots[SLOTS]; // index + 1 of an end; 0: free
	struct wire_preview_end ends[SKETCH_CELLS];
};
_Static_assert(SKETCH_CELLS < UINT16_MAX, "an index fits into a slot");

int preview_create(struct sketch *sketch, const struct live *live, struct preview **ret_preview)
{
	struct preview *p = calloc(1, sizeof(*p));

	if (!p || getentropy(p->key, sizeof(p->key)) < 0) {
		free(p);
		return -ENOMEM;
	}
	p->sketch = sketch;
	p->live = live;
	*ret_preview = p;
	return 0;
}

void preview_free(struct preview *p)
{
	free(p);
}

enum fate {
	FATE_PASSES,
	FATE_DENIED, // by the list as it is, were it not paused
	FATE_SPARED,
};

static enum fate fate_of(const struct preview *p, const struct sketch_sample *key)
{
	struct match_hit hit;

	if (key->inward && p->inbound_allow)
		return FATE_SPARED;
	match_lookup(
		p->live->exceptions,
		key->family,
		key->addr,
		key->port ? key->proto : 0,
		key->port,
		&hit
	);
	if (hit.actions & (MATCH_PROTECT | MATCH_ALLOW))
		return FATE_SPARED;
	match_lookup(
		p->live->entries,
		key->family,
		key->addr,
		key->port ? key->proto : 0,
		key->port,
		&hit
	);
	return hit.actions & MATCH_ENFORCE ? FATE_DENIED : FATE_PASSES;
}

// The end that a cell belongs to; a new one has no samples.
static struct wire_preview_end *end_of(struct preview *p, const struct sketch_sample *key)
{
	struct wire_preview_end end = {.family = key->family};
	const size_t id = offsetof(struct wire_preview_end, samples);
	uint32_t slot;

	memcpy(end.addr, key->addr, sizeof(end.addr));
	if (p->by_port) {
		end.proto = key->proto;
		end.port = key->port;
	}
	slot = (uint32_t)siphash64(p->key, &end, id) % SLOTS;
	for (; p->slots[slot]; slot = (slot + 1) % SLOTS) {
		struct wire_preview_end *found = &p->ends[p->slots[slot] - 1];

		if (memcmp(found, &end, id) == 0)
			return found;
	}
	p->ends[p->n] = end;
	p->slots[slot] = (uint16_t)++p->n;
	return &p->ends[p->n - 1];
}

static void cell_take(void *ctx, const struct sketch_cell *c)
{
	struct preview *p = ctx;
	struct wire_preview_answer *sum = p->sum;
	struct wire_preview_end *end = end_of(p, &c->key);
	const uint64_t inward = c->key.inward ? c->samples : 0;

	sum->samples += c->samples;
	sum->bytes += c->bytes;
	sum->squares += c->squares;
	sum->inward += inward;
	end->samples += c->samples;
	end->bytes += c->bytes;
	end->inward += inward;
	switch (fate_of(p, &c->key)) {
	case FATE_DENIED:
		sum->denied += c->samples;
		sum->denied_bytes += c->bytes;
		end->denied += c->samples;
		break;
	case FATE_SPARED:
		sum->spared += c->samples;
		sum->spared_bytes += c->bytes;
		end->spared += c->samples;
		break;
	case FATE_PASSES:
		break;
	}
	if (c->last_ms > p->last_ms)
		p->last_ms = c->last_ms;
}

// The greatest first; equal ones by address, so that an answer is the same twice.
static int end_compare(const void *a, const void *b)
{
	const struct wire_preview_end *x = a, *y = b;

	if (x->samples != y->samples)
		return x->samples > y->samples ? -1 : 1;
	return memcmp(x, y, offsetof(struct wire_preview_end, samples));
}

// The first `room` of them in order, into `to`; returns how many.
static uint32_t top_write(const struct preview *p, uint32_t room, struct wire_preview_end *to)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n && room; i++) {
		uint32_t at = n < room ? n++ : room;

		for (; at > 0 && end_compare(&p->ends[i], &to[at - 1]) < 0; at--) {
			if (at < room)
				to[at] = to[at - 1];
		}
		if (at < room)
			to[at] = p->ends[i];
	}
	return n;
}

static struct sketch_ask ask_of(const struct indicator *n)
{
	struct sketch_ask ask = {
		.family = n->family,
		.prefix_len = n->prefix_len,
		.proto = n->proto,
		.port = n->port,
	};

	memcpy(ask.addr, n->addr, sizeof(ask.addr));
	return ask;
}

size_t preview_build(
	struct preview *p, const struct indicator *n, uint32_t ends, int64_t now_ms, void *answer
)
{
	struct wire_preview_end top[WIRE_PREVIEW_ENDS_MAX];
	struct wire_preview_answer sum = {
		.header = {.type = WIRE_PREVIEW_ANSWER, .version = WIRE_VERSION},
		.rate = SKETCH_RATE,
	};
	const struct sketch_ask ask = n ? ask_of(n) : (struct sketch_ask){0};
	struct sketch_window window;

	memset(p->slots, 0, sizeof(p->slots));
	p->n = 0;
	p->last_ms = 0;
	p->sum = &sum;
	p->by_port = n && n->prefix_len == (n->family == 4 ? 32 : 128);
	p->inbound_allow
		= atomic_load_explicit(&p->live->policy, memory_order_relaxed)->inbound_allow;
	sketch_drain(p->sketch, now_ms);
	sketch_window(p->sketch, now_ms, &window);
	sketch_each(p->sketch, n ? &ask : NULL, cell_take, p);
	p->sum = NULL;
	sum.window_ms = (uint64_t)window.ms;
	sum.all_samples = window.samples;
	sum.all_bytes = window.bytes;
	sum.lost = window.lost;
	sum.ends = p->n;
	sum.last_age_ms = sum.samples ? (uint64_t)(now_ms - p->last_ms) : UINT64_MAX;
	sum.n = top_write(p, ends < WIRE_PREVIEW_ENDS_MAX ? ends : WIRE_PREVIEW_ENDS_MAX, top);
	sum.header.length = (uint32_t)(sizeof(sum) + sum.n * sizeof(top[0]));
	memcpy(answer, &sum, sizeof(sum));
	memcpy((char *)answer + sizeof(sum), top, sum.n * sizeof(top[0]));
	return sum.header.length;
}
