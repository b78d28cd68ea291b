// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The oracle against painting: a universe of 256 addresses × 2 families × 5 kinds of transport is
// painted entry by entry, as ranges of numbers, and every cell is compared.
//
// model_oracle [SEED]

#include "rules/oracle.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 2000
#define ENTRIES_MAX 24
#define NOW 1000

static const struct {
	uint8_t proto;
	uint16_t port;
} transports[] = {
	{0, 0},
	{IPPROTO_TCP, 443},
	{IPPROTO_TCP, 53},
	{IPPROTO_UDP, 443},
	{IPPROTO_UDP, 53},
};
#define N_TRANSPORTS (sizeof(transports) / sizeof(transports[0]))

// What painting leaves in a cell: the best rank of each colour, 0 none.
struct cell {
	int enforce, monitor;
	bool protect, allow;
};

static struct cell cells[2][256][N_TRANSPORTS];
static uint64_t seed;

static unsigned draw(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 33) % n;
}

// A range of last octets, and what of transports it takes in.
struct range {
	int family; // 0: IPv4, 1: IPv6
	unsigned first, last;
	int transport; // -1: all
	int rank; // port entry before host before longer prefix
};

static struct range range_draw(struct indicator *n)
{
	unsigned bits = draw(9); // of the last octet
	struct range r = {.family = (int)draw(2), .transport = -1};
	unsigned size = 1u << (8 - bits), width;

	r.first = draw(256) / size * size;
	r.last = r.first + size - 1;
	*n = (struct indicator){.kind = INDICATOR_NET, .family = r.family ? 6 : 4};
	width = r.family ? 128 : 32;
	n->prefix_len = (uint8_t)(width - 8 + bits);
	memcpy(n->addr, r.family ? "\x20\x01\x0d\xb8" : "\xcb\x00\x71", r.family ? 4 : 3);
	n->addr[r.family ? 15 : 3] = (uint8_t)r.first;
	r.rank = 1 + (int)bits;
	if (bits == 8 && draw(2)) {
		r.transport = 1 + (int)draw(N_TRANSPORTS - 1);
		r.rank = 100;
		n->kind = INDICATOR_PORT;
		n->proto = transports[r.transport].proto;
		n->port = transports[r.transport].port;
	}
	return r;
}

static int64_t end_draw(void)
{
	static const int64_t ends[] = {UNTIL_NONE, NOW - 1, NOW, NOW + 1, UNTIL_FOREVER};

	return ends[draw(5)];
}

static void paint(const struct range *r, const struct cell *with)
{
	for (unsigned a = r->first; a <= r->last; a++) {
		for (int t = 0; t < (int)N_TRANSPORTS; t++) {
			struct cell *c = &cells[r->family][a][t];

			if (r->transport >= 0 && r->transport != t)
				continue;
			c->enforce = with->enforce > c->enforce ? with->enforce : c->enforce;
			c->monitor = with->monitor > c->monitor ? with->monitor : c->monitor;
			c->protect |= with->protect;
			c->allow |= with->allow;
		}
	}
}

static enum judgement cell_judge(const struct cell *c, bool paused)
{
	if (!c->enforce && !c->monitor)
		return JUDGE_PASS;
	if (c->protect)
		return JUDGE_PROTECTED;
	if (c->allow)
		return JUDGE_ALLOWED;
	return c->enforce && !paused ? JUDGE_DENY : JUDGE_MONITOR;
}

static int rank_of(const struct entry *e)
{
	const struct indicator *n = &e->indicator;

	if (n->kind == INDICATOR_PORT)
		return 100;
	return 1 + n->prefix_len - (n->family == 4 ? 24 : 120);
}

static int cells_compare(const struct oracle_list *list, unsigned long round)
{
	for (int f = 0; f < 2; f++) {
		for (unsigned i = 0; i < 256 * N_TRANSPORTS; i++) {
			unsigned a = i / N_TRANSPORTS, t = i % N_TRANSPORTS;
			const struct cell *c = &cells[f][a][t];
			struct oracle_address address = {
				.family = f ? 6 : 4,
				.proto = transports[t].proto,
				.port = transports[t].port,
			};
			enum judgement want = cell_judge(c, list->paused), got;
			const struct entry *e;
			int rank = c->enforce ? c->enforce : c->monitor;

			memcpy(address.addr, f ? "\x20\x01\x0d\xb8" : "\xcb\x00\x71", f ? 4 : 3);
			address.addr[f ? 15 : 3] = (uint8_t)a;
			got = oracle_address_judge(list, &address, &e);
			if (got != want || (e ? rank_of(e) : 0) != rank) {
				printf("round %lu: family %d, octet %u, transport %u: %d, not %d; "
				       "rank %d, not %d\n",
				       round,
				       address.family,
				       a,
				       t,
				       got,
				       want,
				       e ? rank_of(e) : 0,
				       rank);
				return 1;
			}
		}
	}
	return 0;
}

static int round_run(unsigned long round)
{
	struct entry entries[ENTRIES_MAX];
	struct exception exceptions[ENTRIES_MAX];
	struct oracle_list list = {
		.entries = entries,
		.n_entries = draw(ENTRIES_MAX + 1),
		.exceptions = exceptions,
		.n_exceptions = draw(4),
		.now = NOW,
		.paused = draw(8) == 0,
	};

	memset(cells, 0, sizeof(cells));
	for (size_t i = 0; i < list.n_entries; i++) {
		struct entry *e = &entries[i];
		struct range r;
		struct cell with = {0};

		*e = (struct entry){.enforce_until = end_draw(), .monitor_until = end_draw()};
		r = range_draw(&e->indicator);
		with.enforce = e->enforce_until > NOW ? r.rank : 0;
		with.monitor = !with.enforce && e->monitor_until > NOW ? r.rank : 0;
		paint(&r, &with);
	}
	for (size_t i = 0; i < list.n_exceptions; i++) {
		struct exception *x = &exceptions[i];
		struct range r;
		struct cell with = {0};

		*x = (struct exception
		){.kind = draw(2) ? EXCEPTION_PROTECT : EXCEPTION_ALLOW, .until = end_draw()};
		r = range_draw(&x->indicator);
		with.protect = x->kind == EXCEPTION_PROTECT && x->until > NOW;
		with.allow = x->kind == EXCEPTION_ALLOW && x->until > NOW;
		paint(&r, &with);
	}
	return cells_compare(&list, round);
}

int main(int argc, char **argv)
{
	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
	if (seed == 0)
		seed = 1;
	printf("model_oracle 0x%llx\n", (unsigned long long)seed);
	for (unsigned long i = 0; i < ROUNDS; i++) {
		if (round_run(i))
			return 1;
	}
	printf("%d rounds of %zu cells agree\n", ROUNDS, sizeof(cells) / sizeof(struct cell));
	return 0;
}
