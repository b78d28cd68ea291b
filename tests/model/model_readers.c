// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Readers beside the writer: a rule that is in the structure before and after a change is found at
// every instant, and one that was never there is never found.
//
// Few buckets, so that the rules that stay share chains with those that come and go. Indexes are
// given out again once every reader has passed a quiescent state, as in the gateway.

#include "tests/match_memory.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 64
#define STAY 12
#define COME_AND_GO 48
#define READERS 1 // more than there are cores would wait for each other, not for the writer
#define ROUNDS 100000
#define PROTO_TCP 6

struct reader {
	pthread_t thread;
	_Alignas(64) _Atomic(uint64_t) quiescent; // the reader: wo
	uint64_t seen; // the writer's: quiescent when the grace period began
	uint64_t lookups, missed, invented;
	const struct match *match;
};

static _Atomic(bool) stop;

// Of the rules that stay: hosts, prefixes, ports; none covers another's address.
static struct match_key key_staying(unsigned i)
{
	struct match_key k = {.addr = {203, (uint8_t)i}, .family = 4, .prefix_len = 24};

	if (i % 3) {
		k.addr[3] = 7;
		k.prefix_len = 32;
	}
	if (i % 3 == 2) {
		k.proto = PROTO_TCP;
		k.port = 443;
	}
	return k;
}

// Others: other networks, the same lengths, and ports of the addresses that stay.
static struct match_key key_passing(unsigned i)
{
	struct match_key k = {.addr = {198, (uint8_t)i}, .family = 4, .prefix_len = 24};

	if (i % 3 == 1)
		k.prefix_len = (uint8_t)(16 + i % 9);
	if (i % 3 == 2) {
		k = key_staying(2 + 3 * (i % 4));
		k.port = (uint16_t)(1000 + i);
	}
	return k;
}

static void pass_read(struct reader *r)
{
	struct match_hit hit;

	for (unsigned i = 0; i < STAY; i++) {
		struct match_key k = key_staying(i);

		match_lookup(r->match, 4, k.addr, PROTO_TCP, 443, &hit);
		r->missed += hit.actions != MATCH_ENFORCE;
		if (k.proto) {
			match_lookup(r->match, 4, k.addr, 0, 0, &hit);
			r->missed += !hit.port_rule;
		}
		k.addr[0] = 10;
		match_lookup(r->match, 4, k.addr, PROTO_TCP, 443, &hit);
		r->invented += hit.actions != 0;
		r->lookups++;
	}
}

static void *reader_run(void *ctx)
{
	struct reader *r = ctx;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		pass_read(r);
		atomic_fetch_add_explicit(&r->quiescent, 1, memory_order_release);
	}
	return NULL;
}

static bool grace_over(const struct reader *readers)
{
	for (int i = 0; i < READERS; i++) {
		if (atomic_load_explicit(&readers[i].quiescent, memory_order_acquire)
		    == readers[i].seen)
			return false;
	}
	return true;
}

static void grace_begin(struct reader *readers)
{
	for (int i = 0; i < READERS; i++)
		readers[i].seen = atomic_load_explicit(&readers[i].quiescent, memory_order_acquire);
}

struct writer {
	struct match *match;
	uint32_t rules[COME_AND_GO]; // MATCH_NONE: not in the structure
	uint32_t waiting[CAPACITY]; // unlinked, in their grace period
	unsigned n_waiting, next;
	uint64_t errors;
};

static void round_write(struct writer *w, struct reader *readers)
{
	unsigned i = w->next++ * 7 % COME_AND_GO;
	struct match_key k = key_passing(i);

	if (w->rules[i] == MATCH_NONE) {
		w->errors += match_add(w->match, &k, MATCH_ENFORCE, &w->rules[i]) < 0;
	} else {
		match_action_set(w->match, w->rules[i], MATCH_MONITOR);
		match_unlink(w->match, w->rules[i]);
		w->waiting[w->n_waiting++] = w->rules[i];
		w->rules[i] = MATCH_NONE;
	}
	if (w->n_waiting < 4)
		return;
	grace_begin(readers);
	while (!grace_over(readers))
		sched_yield();
	while (w->n_waiting)
		match_recycle(w->match, w->waiting[--w->n_waiting]);
}

int main(void)
{
	static const uint8_t hash_key[16] = "some sixteen oct";
	static struct reader readers[READERS];
	struct writer w = {0};
	uint64_t wrong = 0, lookups = 0;

	w.match = match_map(CAPACITY, hash_key);
	for (unsigned i = 0; i < STAY; i++) {
		struct match_key k = key_staying(i);
		uint32_t rule;

		w.errors += match_add(w.match, &k, MATCH_ENFORCE, &rule) < 0;
	}
	for (unsigned i = 0; i < COME_AND_GO; i++)
		w.rules[i] = MATCH_NONE;
	for (int i = 0; i < READERS; i++) {
		readers[i].match = w.match;
		pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]);
	}
	for (unsigned i = 0; i < ROUNDS; i++)
		round_write(&w, readers);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		wrong += readers[i].missed + readers[i].invented;
		lookups += readers[i].lookups;
	}
	match_unmap(w.match);
	printf("%d changes, %llu lookups, %llu wrong, %llu errors\n",
	       ROUNDS,
	       (unsigned long long)lookups,
	       (unsigned long long)wrong,
	       (unsigned long long)w.errors);
	return wrong || w.errors || lookups < 1000;
}
