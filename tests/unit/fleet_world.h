// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Ledgers of a fleet without Redis: the stream between them is an array, records are sealed with a
// keyed hash, and a node does what control/fleet does with them.

#pragma once

#include "control/ledger_fleet_internal.h"
#include "control/lists_internal.h"
#include "tests/unit/ledger_fixture.h"

#include <errno.h>

#define NODES_MAX 4
#define STREAM_MAX 100000

struct node {
	struct fixture f;
	char name[8];
	struct fleet_place published; // a leader's
	int errors; // of what was applied
	size_t waiting;
	unsigned forks;
	int last_error;
};

struct kept {
	struct fleet_record record;
	uint8_t *data;
};

struct chunk_kept {
	uint8_t *data;
	size_t len;
};

struct world {
	struct node nodes[NODES_MAX];
	size_t n;
	struct node *leader; // NULL: none
	uint64_t epoch;
	struct kept *stream;
	size_t n_stream;
	// the checkpoint
	struct chunk_kept chunks[1000];
	size_t n_chunks;
	struct fleet_place from, to;
	struct fleet_export *export;
	bool exported;
	int export_error;
	bool slow; // chunks are taken one at a time
};

static inline void seal(void *ctx, const struct fleet_record *r, uint8_t mac[FLEET_MAC_LEN])
{
	static const uint8_t key[16] = "a fleet's key";
	uint8_t head[64 + FLEET_MAC_LEN] = {0};
	uint64_t hash[4];

	(void)ctx;
	memcpy(head, &r->before.epoch, 8);
	memcpy(head + 8, &r->before.number, 8);
	memcpy(head + 16, &r->epoch, 8);
	memcpy(head + 24, &r->number, 8);
	head[32] = (uint8_t)r->kind;
	memcpy(head + 64, r->before.mac, FLEET_MAC_LEN);
	hash[0] = siphash64(key, head, sizeof(head));
	hash[1] = siphash64(key, r->data, r->len);
	hash[2] = hash[0] * 31 + hash[1];
	hash[3] = hash[1] * 37 + hash[0];
	memcpy(mac, hash, FLEET_MAC_LEN);
}

static inline void node_open(struct node *n)
{
	const struct fleet_setup setup = {.fleet = "test", .gateway = n->name, .seal = seal};

	assert_int_equal(ledger_fleet_open(n->f.ledger, &setup), 0);
}

static inline struct ledger *of(struct node *n)
{
	return n->f.ledger;
}

// What is open is committed, and what follows from it at once.
static inline void settle(struct node *n)
{
	for (int i = 0; i < 3; i++) {
		ledger_commit(of(n));
		event_base_loop(n->f.base, EVLOOP_NONBLOCK);
	}
}

static inline struct world *world_create(size_t n)
{
	struct world *w = calloc(1, sizeof(*w));

	w->stream = calloc(STREAM_MAX, sizeof(*w->stream));
	w->n = n;
	for (size_t i = 0; i < n; i++) {
		struct node *node = &w->nodes[i];

		snprintf(node->name, sizeof(node->name), "gw%zu", i);
		fixture_init(&node->f, PROTECT_REFUSE);
		node_open(node);
	}
	return w;
}

static inline void chunks_clear(struct world *w)
{
	for (size_t i = 0; i < w->n_chunks; i++)
		free(w->chunks[i].data);
	w->n_chunks = 0;
}

static inline void world_free(struct world *w)
{
	for (size_t i = 0; i < w->n; i++)
		fixture_fini(&w->nodes[i].f);
	for (size_t i = 0; i < w->n_stream; i++)
		free(w->stream[i].data);
	chunks_clear(w);
	free(w->stream);
	free(w);
}

// kill -9 would leave the same files: nothing is written at the end but what is open.
static inline void node_reopen(struct node *n)
{
	int64_t wall = of(n)->wall_shift_ms, boot = of(n)->boot_shift_ms;

	n->f.ledger->open ? (void)(of(n)->error = -EINTR) : (void)0;
	ledger_close(of(n));
	protect_free(n->f.protect);
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &n->f.protect), 0);
	fixture_open(&n->f);
	of(n)->wall_shift_ms = wall;
	of(n)->boot_shift_ms = boot;
	of(n)->ends_held = false;
	node_open(n);
	n->waiting = 0;
}

// --- the stream

struct publishing {
	struct world *w;
	size_t left;
};

static inline bool publish_cb(void *ctx, const struct fleet_record *r)
{
	struct publishing *p = ctx;
	struct kept *k = &p->w->stream[p->w->n_stream];

	if (p->left-- == 0)
		return false;
	assert_true(p->w->n_stream < STREAM_MAX);
	k->record = *r;
	k->data = malloc(r->len + 1);
	memcpy(k->data, r->data, r->len);
	k->record.data = k->data;
	p->w->n_stream++;
	p->w->leader->published = (struct fleet_place){.epoch = r->epoch, .number = r->number};
	memcpy(p->w->leader->published.mac, r->mac, FLEET_MAC_LEN);
	return true;
}

static inline void publish(struct world *w, size_t max)
{
	struct publishing p = {.w = w, .left = max};

	if (!w->leader)
		return;
	settle(w->leader);
	assert_int_equal(
		ledger_fleet_records(
			of(w->leader), w->leader->published.number, SIZE_MAX, publish_cb, &p
		),
		0
	);
}

static inline void applied_cb(void *ctx, int error, const char *message)
{
	struct node *n = ctx;

	(void)message;
	n->waiting--;
	n->last_error = error;
	n->errors += error < 0;
}

static inline void apply(struct node *n, const struct fleet_record *r)
{
	n->waiting++;
	ledger_fleet_apply(of(n), r, applied_cb, n);
}

static inline void drain(struct node *n)
{
	int64_t end = clock_boot_ms(of(n)) + 20000;

	while (n->waiting && clock_boot_ms(of(n)) < end)
		event_base_loop(n->f.base, EVLOOP_ONCE);
	assert_int_equal(n->waiting, 0);
}

// The record that follows that place, or NULL.
static inline const struct kept *successor(const struct world *w, const struct fleet_place *place)
{
	for (size_t i = w->n_stream; i-- > 0;)
		if (w->stream[i].record.number == place->number + 1
		    && place_equal(&w->stream[i].record.before, place))
			return &w->stream[i];
	return NULL;
}

// The new epoch's record whose base this place is ahead of, or NULL.
static inline const struct kept *forked(const struct world *w, const struct fleet_place *place)
{
	for (size_t i = 0; i < w->n_stream; i++)
		if (w->stream[i].record.kind == FLEET_EPOCH
		    && w->stream[i].record.epoch > place->epoch
		    && w->stream[i].record.before.number < place->number)
			return &w->stream[i];
	return NULL;
}

// At most so many records; false: nothing moved.
static inline bool follow(struct world *w, struct node *n, size_t max)
{
	struct fleet_place place;
	bool moved = false;

	settle(n);
	for (size_t i = 0; i < max; i++) {
		const struct kept *k;

		ledger_fleet_place(of(n), &place);
		k = successor(w, &place);
		if (!k)
			k = forked(w, &place);
		if (!k)
			return moved;
		moved = true;
		n->waiting++;
		n->last_error = 0;
		if (place_equal(&k->record.before, &place)) {
			ledger_fleet_apply(of(n), &k->record, applied_cb, n);
		} else {
			n->forks++;
			ledger_fleet_fork(of(n), &k->record.before, applied_cb, n);
		}
		ledger_commit(of(n));
		drain(n);
		if (n->last_error == -EILSEQ && !place_equal(&k->record.before, &place)) {
			n->waiting++;
			n->errors--;
			ledger_fleet_reset(of(n), "a fork without a base", applied_cb, n);
			ledger_commit(of(n));
			drain(n);
			return true;
		}
		assert_int_equal(n->last_error, 0);
	}
	return moved;
}

// --- roles

// What the stream has of its records is published.
static inline void published_find(struct world *w, struct node *n)
{
	struct fleet_place kept;

	n->published = (struct fleet_place){0};
	for (size_t i = w->n_stream; i-- > 0 && !n->published.number;) {
		struct fleet_place there = {
			.epoch = w->stream[i].record.epoch,
			.number = w->stream[i].record.number,
		};

		memcpy(there.mac, w->stream[i].record.mac, FLEET_MAC_LEN);
		if (record_mac(of(n), there.number, &kept) == 0 && place_equal(&kept, &there))
			n->published = kept;
	}
}

static inline void lead(struct world *w, struct node *n)
{
	struct fleet_place place;

	settle(n);
	w->leader = NULL;
	n->waiting++;
	ledger_fleet_lead(of(n), ++w->epoch, applied_cb, n);
	ledger_commit(of(n));
	drain(n);
	assert_int_equal(n->last_error, 0);
	ledger_fleet_place(of(n), &place);
	w->leader = n;
	published_find(w, n);
	if (!n->published.number)
		n->published.number = place.number - 2; // before the epoch's record
}

static inline void step_down(struct world *w)
{
	if (w->leader)
		ledger_fleet_follow(of(w->leader));
	w->leader = NULL;
	w->export = NULL;
}

// --- asks

struct asking_all {
	struct world *w;
	struct node *from;
	size_t n;
};

static inline bool ask_cb(void *ctx, uint64_t seq, const char *json)
{
	struct asking_all *a = ctx;

	a->n++;
	a->w->leader->waiting++;
	ledger_fleet_asked(
		of(a->w->leader), a->from->name, seq, "1-1", json, applied_cb, a->w->leader
	);
	return true;
}

static inline size_t ask_all(struct world *w, struct node *n, size_t max)
{
	struct asking_all a = {.w = w, .from = n};

	if (!w->leader || n == w->leader)
		return 0;
	settle(n);
	assert_int_equal(ledger_fleet_asks(of(n), 0, max, ask_cb, &a), 0);
	ledger_commit(of(w->leader));
	drain(w->leader);
	return a.n;
}

// --- checkpoints

static inline bool chunk_cb(void *ctx, const void *data, size_t len)
{
	struct world *w = ctx;
	struct chunk_kept *c = &w->chunks[w->n_chunks++];

	assert_true(w->n_chunks < 1000 && len <= FLEET_RECORD_MAX);
	c->data = malloc(len);
	c->len = len;
	memcpy(c->data, data, len);
	return !w->slow;
}

static inline void
exported_cb(void *ctx, int error, const struct fleet_place *from, const struct fleet_place *to)
{
	struct world *w = ctx;

	w->export = NULL;
	w->exported = error == 0;
	w->export_error = error;
	w->from = *from;
	w->to = *to;
}

static inline void give_begin(struct world *w)
{
	chunks_clear(w);
	w->exported = false;
	assert_int_equal(
		ledger_fleet_export(of(w->leader), chunk_cb, exported_cb, w, &w->export), 0
	);
}

static inline void give_step(struct world *w)
{
	if (!w->export)
		return;
	ledger_fleet_export_resume(w->export);
	event_base_loop(w->leader->f.base, EVLOOP_NONBLOCK);
}

static inline void give_all(struct world *w)
{
	int64_t end = clock_boot_ms(of(w->leader)) + 20000;

	while (w->export && clock_boot_ms(of(w->leader)) < end) {
		ledger_fleet_export_resume(w->export);
		event_base_loop(w->leader->f.base, EVLOOP_ONCE);
	}
	assert_null(w->export);
	assert_int_equal(w->export_error, 0);
	publish(w, SIZE_MAX);
}

static inline int take_begin(struct world *w, struct node *n)
{
	n->waiting++;
	ledger_fleet_import_begin(of(n), &w->from, &w->to, applied_cb, n);
	ledger_commit(of(n));
	drain(n);
	return n->last_error;
}

static inline void take_chunk(struct world *w, struct node *n, size_t i)
{
	n->waiting++;
	ledger_fleet_import(of(n), w->chunks[i].data, w->chunks[i].len, applied_cb, n);
}

static inline void take_end(struct node *n)
{
	n->waiting++;
	ledger_fleet_import_end(of(n), applied_cb, n);
	ledger_commit(of(n));
	drain(n);
}

// Replays to the end of the stream, and waits for the sweep.
static inline void take_replay(struct world *w, struct node *n)
{
	int64_t end = clock_boot_ms(of(n)) + 20000;

	while (follow(w, n, 100))
		;
	while (of(n)->fleet->import && clock_boot_ms(of(n)) < end)
		event_base_loop(n->f.base, EVLOOP_ONCE);
	assert_null(of(n)->fleet->import);
}

static inline bool take_over(struct world *w, struct node *n)
{
	if (take_begin(w, n) < 0)
		return false;
	for (size_t i = 0; i < w->n_chunks; i++)
		take_chunk(w, n, i);
	ledger_commit(of(n));
	drain(n);
	take_end(n);
	assert_int_equal(n->last_error, 0);
	take_replay(w, n);
	return true;
}

// Everything that is the fleet's, as text; what differs is printed.
bool ledgers_same(struct ledger *, struct ledger *);
