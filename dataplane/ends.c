// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/ends.h"

#include "dataplane/pages.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS 65536u

// Links are index + 1, so that zeroed pages mean "none" and stay untouched.
struct node {
	uint32_t next, prev;
	uint32_t tick; // 0: not in the wheel
};

struct ends {
	struct node *nodes;
	uint32_t n;
	uint32_t heads[BUCKETS];
	uint32_t now; // the last tick that has passed
	uint32_t ran; // the last tick whose bucket was walked to its end
	bool walking; // the bucket of the tick after that one, from `at` on
	uint32_t at; // link
	uint32_t skip_at,
		skip_to; // once `ran` is the one, every bucket was walked: it is the other
	int64_t base_ms;
};

int ends_create(uint32_t n, int64_t boot_ms, struct ends **ret_ends)
{
	struct ends *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->nodes = pages_map(n * sizeof(*w->nodes));
	if (!w->nodes) {
		free(w);
		return -ENOMEM;
	}
	w->n = n;
	w->base_ms = boot_ms;
	*ret_ends = w;
	return 0;
}

void ends_free(struct ends *w)
{
	if (!w)
		return;
	pages_unmap(w->nodes, w->n * sizeof(*w->nodes));
	free(w);
}

static uint32_t tick_of(const struct ends *w, int64_t deadline_ms)
{
	int64_t tick;

	if (deadline_ms == ENDS_NEVER)
		return 0;
	// Comparing first keeps a deadline far in the past from running below INT64_MIN.
	if (deadline_ms <= w->base_ms)
		return w->now + 1;
	tick = (deadline_ms - w->base_ms - 1) / ENDS_TICK_MS + 1;
	if (tick <= (int64_t)w->now)
		return w->now + 1;
	return tick < (int64_t)UINT32_MAX ? (uint32_t)tick : 0;
}

static void unlink_node(struct ends *w, uint32_t index)
{
	struct node *node = &w->nodes[index];

	if (!node->tick)
		return;
	if (w->at == index + 1)
		w->at = node->next;
	if (node->prev)
		w->nodes[node->prev - 1].next = node->next;
	else
		w->heads[node->tick % BUCKETS] = node->next;
	if (node->next)
		w->nodes[node->next - 1].prev = node->prev;
	*node = (struct node){0};
}

void ends_set(struct ends *w, uint32_t index, int64_t deadline_ms)
{
	uint32_t tick = tick_of(w, deadline_ms);
	struct node *node = &w->nodes[index];
	uint32_t *head;

	unlink_node(w, index);
	if (!tick)
		return;
	head = &w->heads[tick % BUCKETS];
	node->tick = tick;
	node->next = *head;
	if (*head)
		w->nodes[*head - 1].prev = index + 1;
	*head = index + 1;
}

// Of one bucket. False: `looks` have been used up.
static bool
bucket_run(struct ends *w, uint32_t *looks, void (*due)(void *ctx, uint32_t index), void *ctx)
{
	if (!w->walking)
		w->at = w->heads[(w->ran + 1) % BUCKETS];
	w->walking = true;
	// Nothing set meanwhile gets a tick that has passed, so that it need not be met.
	while (w->at) {
		uint32_t index = w->at - 1;

		if (*looks == 0)
			return false;
		--*looks;
		w->at = w->nodes[index].next;
		if (w->nodes[index].tick > w->now)
			continue;
		unlink_node(w, index);
		due(ctx, index);
	}
	w->walking = false;
	return true;
}

bool ends_run(
	struct ends *w,
	int64_t boot_ms,
	uint32_t looks,
	void (*due)(void *ctx, uint32_t index),
	void *ctx
)
{
	int64_t elapsed = (boot_ms - w->base_ms) / ENDS_TICK_MS;

	if (elapsed > (int64_t)w->now)
		w->now = elapsed < (int64_t)UINT32_MAX - 1 ? (uint32_t)elapsed : UINT32_MAX - 1;
	if (w->now - w->ran > BUCKETS && !w->skip_at) {
		w->skip_at = w->ran + BUCKETS;
		w->skip_to = w->now;
		w->walking = false; // what was passed over in this bucket may be due by now
	}
	while (w->ran != w->now) {
		if (!bucket_run(w, &looks, due, ctx))
			return false;
		if (++w->ran == w->skip_at) {
			w->ran = w->skip_to;
			w->skip_at = 0;
		}
	}
	return true;
}

int64_t ends_ran(const struct ends *w)
{
	return w->base_ms + (int64_t)w->ran * ENDS_TICK_MS;
}
