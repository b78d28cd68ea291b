// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Readers beside the writer: a rule that is in the structure before and after a change is found at
// every instant, and one that was never there is never found.
//
// Few lines, so that the rules that stay share them, and the filters, with those that come and go,
// and are sent on by them. Indices are given out again once every reader has passed a quiescent
// state, as in the gateway.
//
//   model_readers       STANCH_LOOKUPS=N: at least so many lookups

#include "tests/match_memory.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 160
#define STAY 48
#define COME_AND_GO 104
#define NEVER 8
#define READERS 1 // more than there are cores would wait for each other, not for the writer
#define ROUNDS 100000
#define LOOKUPS 4000000
#define PROTO_TCP 6

struct reader {
	pthread_t thread;
	_Alignas(64) _Atomic(uint64_t) quiescent; // the reader: wo
	_Atomic(uint64_t) lookups; // the reader: wo
	uint64_t seen; // the writer's: quiescent when the grace period began
	uint64_t missed, invented;
	const struct match *match;
	const uint32_t *staying; // indices
};

static _Atomic(bool) stop;
static const uint8_t hash_key[16] = "some sixteen oct";
static uint8_t colliding[STAY + COME_AND_GO][4]; // hosts that crowd one line

static void mask(struct match_key *k)
{
	for (unsigned i = k->prefix_len; i < 128; i++)
		k->addr[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

static struct match_key key_make(uint8_t family, uint8_t net, uint8_t host, uint8_t prefix_len)
{
	struct match_key k = {.family = family, .prefix_len = prefix_len};

	k.addr[0] = family == 4 ? 203 : 0x20;
	k.addr[1] = net;
	if (family == 6)
		memset(k.addr + 2, net, 13);
	k.addr[family == 4 ? 3 : 15] = host;
	mask(&k);
	return k;
}

// Rules that stay: hosts, prefixes, ports, of both families.
static struct match_key key_staying(unsigned i)
{
	static const uint8_t lengths[2][5] = {{32, 32, 24, 29, 13}, {128, 64, 48, 40, 20}};
	unsigned f = i % 2;
	struct match_key k = key_make(f ? 6 : 4, (uint8_t)(8 * (i / 2)), 7, lengths[f][i / 2 % 5]);

	if (f == 0 && k.prefix_len == 32)
		memcpy(k.addr, colliding[i], 4);
	if (i / 2 % 5 == 0 && i % 3 == 0) {
		k = key_make(k.family, (uint8_t)(8 * (i / 2)), 7, f ? 128 : 32);
		k.proto = PROTO_TCP;
		k.port = 443;
	}
	return k;
}

// An address that a staying rule covers.
static struct match_key address_staying(unsigned i)
{
	struct match_key k = key_staying(i);

	if (!k.proto && k.prefix_len < (k.family == 4 ? 32 : 128))
		k.addr[k.family == 4 ? 3 : 15] |= 7;
	return k;
}

// Others: neighbours, narrower and wider ones around those that stay, other ports of theirs.
static struct match_key key_passing(unsigned i)
{
	struct match_key k = address_staying(i * 5 % STAY);
	unsigned bits = k.family == 4 ? 32 : 128;

	k.proto = 0;
	k.port = 0;
	k.prefix_len = (uint8_t)bits;
	switch (i % 4) {
	case 0:
		k.addr[k.family == 4 ? 3 : 15] = (uint8_t)(8 + i);
		break;
	case 1:
		k.prefix_len = (uint8_t)(bits - 1 - i / 4 % (bits - 3));
		mask(&k);
		break;
	case 2:
		k.proto = PROTO_TCP;
		k.port = (uint16_t)(1000 + i);
		break;
	case 3:
		k = (struct match_key){.family = 4, .prefix_len = 32};
		memcpy(k.addr, colliding[STAY + i], 4);
		break;
	}
	return k;
}

static void pass_read(struct reader *r)
{
	struct match_burst b;

	match_clear(r->match, &b);
	for (unsigned i = 0; i < STAY; i++) {
		struct match_key k = address_staying(i);

		match_push(&b, k.family, k.addr, PROTO_TCP, 443);
	}
	for (unsigned i = 0; i < NEVER; i++) {
		struct match_key k = key_make(4, 250, (uint8_t)i, 32);

		k.addr[0] = (uint8_t)(1 + 16 * i);
		match_push(&b, 4, k.addr, PROTO_TCP, 443);
	}
	match_begin(r->match, &b);
	match_end(r->match, &b);
	for (unsigned i = 0; i < STAY; i++)
		r->missed += !(b.hits >> i & 1) || !(b.hit[i].actions & MATCH_ENFORCE)
			|| b.hit[i].enforce != r->staying[i];
	for (unsigned i = STAY; i < STAY + NEVER; i++)
		r->invented += b.hits >> i & 1;
	for (unsigned i = 0; i < STAY; i += 5) {
		struct match_key k = address_staying(i);
		struct match_hit hit;

		match_lookup(r->match, k.family, k.addr, 0, 0, &hit);
		r->missed += k.proto ? !hit.port_rule : !(hit.actions & MATCH_ENFORCE);
	}
	atomic_fetch_add_explicit(&r->lookups, STAY + NEVER + STAY / 5, memory_order_relaxed);
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
		// Never with the staying rules' action: theirs is to be the one reported.
		w->errors += match_add(w->match, &k, MATCH_MONITOR, &w->rules[i]) < 0;
	} else {
		match_action_set(w->match, w->rules[i], MATCH_INERT);
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

static uint64_t lookups_of(const struct reader *readers)
{
	uint64_t n = 0;

	for (int i = 0; i < READERS; i++)
		n += atomic_load_explicit(&readers[i].lookups, memory_order_relaxed);
	return n;
}

int main(void)
{
	static struct reader readers[READERS];
	static uint32_t staying[STAY];
	const char *given = getenv("STANCH_LOOKUPS");
	uint64_t want = given ? strtoull(given, NULL, 0) : LOOKUPS;
	struct writer w = {0};
	uint64_t wrong = 0, rounds = 0;

	w.match = match_map(CAPACITY, hash_key);
	match_collide(CAPACITY, hash_key, colliding, STAY + COME_AND_GO);
	// Those that crowd the line first: some of the staying ones are sent on by them.
	for (unsigned i = 0; i < COME_AND_GO; i++) {
		struct match_key k = key_passing(i);

		w.rules[i] = MATCH_NONE;
		if (i % 4 == 3)
			w.errors += match_add(w.match, &k, MATCH_MONITOR, &w.rules[i]) < 0;
	}
	for (unsigned i = 0; i < STAY; i++) {
		struct match_key k = key_staying(i);

		w.errors += match_add(w.match, &k, MATCH_ENFORCE, &staying[i]) < 0;
	}
	for (int i = 0; i < READERS; i++) {
		readers[i].match = w.match;
		readers[i].staying = staying;
		pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]);
	}
	while (rounds < ROUNDS || lookups_of(readers) < want) {
		round_write(&w, readers);
		rounds++;
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		wrong += readers[i].missed + readers[i].invented;
	}
	printf("%llu changes, %llu lookups, %llu wrong, %llu errors\n",
	       (unsigned long long)rounds,
	       (unsigned long long)lookups_of(readers),
	       (unsigned long long)wrong,
	       (unsigned long long)w.errors);
	match_unmap(w.match);
	return wrong || w.errors;
}
