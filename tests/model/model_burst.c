// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Bursts of lookups against a linear oracle, over sets in which lines overflow, prefixes of every
// length nest and ports crowd on one address; every variant of the readers' code; and with changes
// between the two steps of a burst: what is there before and after is found, what is in neither
// never is.
//
//   model_burst [SEED [ROUNDS]]

#include "dataplane/core/match.h"
#include "tests/match_memory.h"
#include "tests/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RULES 600
#define ROUNDS 12000
#define CHANGES 8
#define COLLIDING 60
#define PROTO_TCP 6
#define PROTO_UDP 17

struct rule {
	struct match_key key;
	uint32_t index;
	uint8_t action;
	uint8_t before; // its action when the burst began; MATCH_INERT also where it was not there
};

struct model {
	struct match *match;
	struct rule rules[RULES];
	unsigned n, max;
	uint32_t gone[RULES]; // unlinked since the burst began
	uint8_t gone_action[RULES];
	struct match_key gone_key[RULES];
	unsigned n_gone;
	struct match_burst burst;
	struct match_key asked[MATCH_BURST]; // family, address, proto, port
	uint64_t hits, misses;
};

static uint64_t state;
static uint8_t colliding[COLLIDING][4];

static uint32_t below(uint32_t n)
{
	return random_under(&state, n);
}

static void mask(uint8_t addr[16], unsigned bits)
{
	for (unsigned i = bits; i < 128; i++)
		addr[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

// Near a few trunks, in one of a few dense networks, or in one crowded line.
static void address_draw(uint8_t family, uint8_t addr[16])
{
	static const uint8_t trunks[4][16] = {
		{203, 0, 113, 7, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4},
		{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0},
	};
	unsigned bits = family == 4 ? 32 : 128, leave = below(bits + bits / 2);

	memset(addr, 0, 16);
	if (family == 4 && below(3) == 0) {
		memcpy(addr, colliding[below(COLLIDING)], 4);
		return;
	}
	memcpy(addr, trunks[below(4)], bits / 8);
	if (below(3) == 0)
		addr[bits / 8 - 1] = (uint8_t)below(256);
	else if (leave < bits)
		addr[leave / 8] ^= (uint8_t)(0x80 >> leave % 8);
}

static struct match_key key_draw(void)
{
	struct match_key k = {.family = below(5) < 3 ? 4 : 6};
	unsigned bits = k.family == 4 ? 32 : 128;

	address_draw(k.family, k.addr);
	k.prefix_len = (uint8_t)bits;
	switch (below(5)) {
	case 0:
		k.proto = below(2) ? PROTO_TCP : PROTO_UDP;
		k.port = (uint16_t)(1 + below(4));
		break;
	case 1:
		k.prefix_len = (uint8_t)(1 + below(bits));
		mask(k.addr, k.prefix_len);
		break;
	}
	return k;
}

static void die(const char *what)
{
	printf("FAIL %s\n", what);
	exit(1);
}

// --- changes

static void rule_remove(struct model *m, unsigned i)
{
	struct rule *r = &m->rules[i];

	match_unlink(m->match, r->index);
	m->gone[m->n_gone] = r->index;
	m->gone_key[m->n_gone] = r->key;
	// What was there when the burst began may be found or not.
	m->gone_action[m->n_gone++] = r->before | r->action;
	*r = m->rules[--m->n];
}

static void change(struct model *m)
{
	struct match_key k = key_draw();
	uint32_t index = match_find(m->match, &k);
	uint8_t action = (uint8_t)below(4);
	int error;

	if (index != MATCH_NONE) {
		for (unsigned i = 0; i < m->n; i++) {
			if (m->rules[i].index != index)
				continue;
			if (below(2)) {
				rule_remove(m, i);
				return;
			}
			match_action_set(m->match, index, action);
			m->rules[i].action = action;
			return;
		}
		die("a rule is found that is not there");
	}
	if (m->n + m->n_gone >= m->max || below(16) == 0) {
		if (m->n)
			rule_remove(m, below(m->n));
		return;
	}
	error = match_add(m->match, &k, action, &index);
	if (error < 0)
		die("match_add");
	m->rules[m->n++] = (struct rule){k, index, action, MATCH_INERT};
}

// --- a burst

static bool covers(const struct match_key *k, const struct match_key *asked)
{
	uint8_t addr[16];

	if (k->family != asked->family
	    || (k->proto && (k->proto != asked->proto || k->port != asked->port)))
		return false;
	memcpy(addr, asked->addr, 16);
	mask(addr, k->prefix_len);
	return memcmp(addr, k->addr, 16) == 0;
}

static unsigned rank(const struct match_key *k)
{
	return k->proto ? 200 : k->prefix_len;
}

static void burst_draw(struct model *m)
{
	unsigned n = 1 + below(MATCH_BURST);

	match_clear(m->match, &m->burst);
	for (unsigned i = 0; i < n; i++) {
		struct match_key *a = &m->asked[i];

		*a = (struct match_key){.family = below(2) ? 4 : 6};
		address_draw(a->family, a->addr);
		if (m->n && below(2)) {
			*a = m->rules[below(m->n)].key;
			a->prefix_len = 0;
		} else if (below(4)) {
			a->proto = below(3) ? PROTO_TCP : PROTO_UDP;
			a->port = (uint16_t)(1 + below(5));
		}
		match_push(&m->burst, a->family, a->addr, a->proto, a->port);
	}
}

static bool host_asked(const struct match_key *k, const struct match_key *asked)
{
	return k->proto && k->family == asked->family && memcmp(k->addr, asked->addr, 16) == 0;
}

// Ranks: of the first rule that had the bit all the time, and of the first that had it at any.
struct ranks {
	unsigned least, most;
};

static void
rank_note(struct ranks ranks[2], const struct match_key *k, uint8_t any_time, uint8_t all_along)
{
	for (unsigned b = 0; b < 2; b++) {
		if (all_along >> b & 1 && rank(k) > ranks[b].least)
			ranks[b].least = rank(k);
		if (any_time >> b & 1 && rank(k) > ranks[b].most)
			ranks[b].most = rank(k);
	}
}

// Without a change during the burst the two ranks are one: exactly the oracle's rule.
static void reported_check(
	const struct model *m, const struct match_key *asked, uint32_t reported, struct ranks ranks
)
{
	struct match_key k = {.prefix_len = 0};

	if (reported != MATCH_NONE) {
		match_rule_key(m->match, reported, &k);
		if (!covers(&k, asked))
			die("a rule is reported that does not cover the address");
	}
	if (rank(&k) < ranks.least || rank(&k) > ranks.most)
		die("another rule should have been reported");
}

// The rule reported is a host's of IPv4, and strong.
static void sure_check(const struct model *m, unsigned at)
{
	struct match_key k;

	if (!(m->burst.hits >> at & 1) || m->burst.hit[at].enforce == MATCH_NONE)
		die("sure of what is no hit");
	match_rule_key(m->match, m->burst.hit[at].enforce, &k);
	if (k.family != 4 || k.prefix_len != 32 || k.proto)
		die("sure of another rule than a host's");
}

static void one_check(struct model *m, unsigned at)
{
	const struct match_key *asked = &m->asked[at];
	struct match_hit hit = {.enforce = MATCH_NONE, .monitor = MATCH_NONE};
	uint8_t may = 0, must = 0;
	struct ranks ranks[2] = {0};
	bool port_may = false, port_must = false;

	if (m->burst.hits >> at & 1)
		hit = m->burst.hit[at];
	for (unsigned i = 0; i < m->n; i++) {
		const struct rule *r = &m->rules[i];
		uint8_t all_along = r->before & r->action;

		if (asked->proto == 0 && host_asked(&r->key, asked)) {
			port_may |= (r->before | r->action) & MATCH_ENFORCE;
			port_must |= all_along & MATCH_ENFORCE;
		}
		if (!covers(&r->key, asked))
			continue;
		may |= r->before | r->action;
		must |= all_along;
		rank_note(ranks, &r->key, r->before | r->action, all_along);
	}
	for (unsigned i = 0; i < m->n_gone; i++) {
		if (covers(&m->gone_key[i], asked)) {
			may |= m->gone_action[i];
			rank_note(ranks, &m->gone_key[i], m->gone_action[i], 0);
		}
		if (asked->proto == 0 && host_asked(&m->gone_key[i], asked))
			port_may |= m->gone_action[i] & MATCH_ENFORCE;
	}
	if (hit.actions & ~may)
		die("an action that no rule has");
	if (must & ~hit.actions)
		die("a rule that was there all the time was missed");
	if ((hit.port_rule && !port_may) || (port_must && !hit.port_rule))
		die("port_rule");
	if (m->burst.sure >> at & 1)
		sure_check(m, at);
	reported_check(m, asked, hit.monitor, ranks[0]);
	reported_check(m, asked, hit.enforce, ranks[1]);
	m->hits += hit.actions != 0;
	m->misses += hit.actions == 0;
}

static void round_run(struct model *m)
{
	static const char *const variants[] = {"portable", "avx2", "avx512"};
	unsigned during = below(3) ? 0 : below(CHANGES);

	for (unsigned i = below(CHANGES); i; i--)
		change(m);
	while (m->n_gone)
		match_recycle(m->match, m->gone[--m->n_gone]);
	for (unsigned i = 0; i < m->n; i++)
		m->rules[i].before = m->rules[i].action;
	burst_draw(m);
	(void)match_variant_set(m->match, variants[below(3)]);
	if (below(2)) {
		match_filter(m->match, &m->burst);
		(void)match_variant_set(m->match, variants[below(3)]);
	}
	match_begin(m->match, &m->burst);
	for (unsigned i = 0; i < during; i++) {
		if (i == during / 2 && below(2))
			match_look(m->match, &m->burst);
		change(m);
	}
	// Another may finish it: they share the structure and the burst.
	(void)match_variant_set(m->match, variants[below(3)]);
	match_end(m->match, &m->burst);
	for (unsigned i = 0; i < match_pushed(&m->burst); i++)
		one_check(m, i);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : ROUNDS;
	static struct model m;

	printf("seed %" PRIu64 "; again: %s %" PRIu64 "\n", seed, argv[0], seed);
	fflush(stdout);
	state = seed * 2 + 1;
	for (uint64_t n = 0; n < rounds; n++) {
		if (n % (rounds / 12) == 0) {
			uint8_t key[16];

			for (size_t k = 0; k < sizeof(key); k++)
				key[k] = (uint8_t)below(256);
			if (m.match)
				match_unmap(m.match);
			m.n = m.n_gone = 0;
			m.match = match_map(RULES, key);
			match_collide(RULES, key, colliding, COLLIDING);
			m.max = RULES >> 2 * below(4);
		}
		round_run(&m);
	}
	match_unmap(m.match);
	printf("%" PRIu64 " hits, %" PRIu64 " misses\n", m.hits, m.misses);
	if (m.hits < rounds || m.misses < rounds)
		die("too few of one kind to prove anything");
	return 0;
}
