// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The lookup alone, in ns an address, against what DPDK and the kernel offer; scripts/bench runs
// it.
//
//   bench_lookup [EAL options] -- SET ENTRIES HIT_PERCENT [PEER] [VARIANT]
//
//   SET: hosts4, mix4, clustered4, hosts6, mix6; replaced4: hosts4, after another list of that size
//     made room for it as when a list is replaced (dataplane/tidy.h)
//   PEER: none, hash, fib, lpm, acl, and with the object of xdp.bpf.c: xdp-hash=FILE, xdp-lpm=FILE
//   VARIANT of our readers; without: the best that the processor can do
//   HIT_PERCENT of the queries are denied; the others are anywhere in use (worst for caches)
//
// Every round runs ours and the peer's on the same queries, one after the other; printed are the
// medians over the rounds. A round is a pass over a million queries in bursts, timed in chunks of
// 2,048, of which the median counts: what else the machine does in between does not. Of ours
// five bursts are on their way, of the worker's four, which has other work between. Both sides'
// answers are compared. Of a peer of XDP its twin's time is taken off: the same program without the
// lookup.

#include "dataplane/pages.h"
#include "tests/bench/lookup.h"
#include "tests/bench/rounds.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_malloc.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BEGUN 1u
#define LOOKED 3u
#define ENDED 4u
#define ROUNDS 7
#define PROTO_TCP 6

static uint64_t state = 42;

// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
static uint64_t draw(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static double seconds(void)
{
	return (double)rte_rdtsc() / (double)rte_get_tsc_hz();
}

// --- the set

static uint32_t unicast4(void)
{
	uint32_t a;

	do
		a = (uint32_t)draw();
	while (a >> 24 == 0 || a >> 24 == 127 || a >> 24 >= 224);
	return a;
}

static void put4(uint8_t addr[16], uint32_t a)
{
	a = rte_cpu_to_be_32(a);
	memcpy(addr, &a, 4);
}

static void address_draw(const struct lookup *l, uint8_t addr[16])
{
	uint64_t words[2], r = draw();

	memset(addr, 0, 16);
	if (l->family == 4) {
		put4(addr, unicast4());
		return;
	}
	// A /32 in use, 16 bits of the site, and of one address in four a subnet.
	words[0] = (uint64_t)l->prefixes6[r % 20000] << 32 | (r >> 40 << 16 & 0xffff0000);
	words[0] |= draw() & 3 ? 0 : draw() & 0xffff;
	words[0] = rte_cpu_to_be_64(words[0]);
	words[1] = draw();
	memcpy(addr, words, 16);
}

static unsigned length_draw(const struct lookup *l)
{
	uint32_t r = (uint32_t)(draw() % 1000);

	if (!l->mixed || draw() % 10)
		return l->family == 4 ? 32 : 128;
	if (l->family == 6)
		return r < 700 ? 64 : r < 750 ? 56 : r < 999 || l->n > 50000 ? 48 : 40;
	return r < 900	  ? 24
		: r < 950 ? 23
		: r < 975 ? 22
		: r < 987 ? 21
		: r < 993 ? 20
		: r < 996 ? 19
		: r < 998 ? 18
		: r < 999 ? 17
			  : 16;
}

static void mask(uint8_t addr[16], unsigned bits)
{
	for (unsigned i = bits / 8 + (bits % 8 != 0); i < 16; i++)
		addr[i] = 0;
	if (bits % 8)
		addr[bits / 8] &= (uint8_t)(0xff00 >> bits % 8);
}

static void key_draw(const struct lookup *l, struct match_key *k)
{
	*k = (struct match_key){.family = l->family, .prefix_len = (uint8_t)length_draw(l)};
	address_draw(l, k->addr);
	if (l->clustered) {
		// Four to five hosts in each /24 of the list.
		uint64_t net = (draw() % (l->n / 4 + 1)) * 0x9e3779b97f4a7c15;
		uint32_t octet = 1 + (uint32_t)(net >> 56) % 222;

		octet += octet >= 127;
		put4(k->addr,
		     octet << 24 | ((uint32_t)(net >> 32) & 0xffff00) | (uint32_t)(draw() & 255));
	}
	mask(k->addr, k->prefix_len);
}

// As the set does it (dataplane/table.c).
static size_t match_huge(const struct lookup *l, bool now)
{
	struct match_part parts[MATCH_PARTS];
	unsigned n = match_hot(l->match, parts);

	for (unsigned i = 0; i < n; i++)
		pages_huge(parts[i].at, parts[i].size, now);
	return parts[0].size;
}

static void match_make(struct lookup *l, const uint8_t secret[16])
{
	uint32_t capacity = 2 * l->n + 1024;
	void *memory = pages_map(match_size(capacity));

	if (!memory)
		rte_exit(1, "no memory for the lookup structure\n");
	l->match = match_init(memory, capacity, secret);
	match_huge(l, false);
}

// Octets of a mapping that memory stands behind.
static size_t resident(void *at, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page, n = 0;
	unsigned char *in = malloc(pages);

	if (!in || mincore(at, size, in) < 0)
		rte_exit(1, "mincore\n");
	for (size_t i = 0; i < pages; i++)
		n += in[i] & 1;
	free(in);
	return n * page;
}

static void set_fill(struct lookup *l)
{
	static const uint8_t secret[16] = "bench's own key.";
	double begun;
	uint32_t rule;

	match_make(l, secret);
	l->keys = malloc(l->n * sizeof(*l->keys));
	for (uint32_t i = 0; i < l->n;) {
		key_draw(l, &l->keys[i]);
		if (match_add(l->match, &l->keys[i], MATCH_ENFORCE, &rule) == 0)
			l->used[l->keys[i++].prefix_len] = true;
	}
	// Once more, for the time alone.
	pages_unmap(l->match, match_size(match_capacity(l->match)));
	match_make(l, secret);
	begun = seconds();
	for (uint32_t i = 0; i < l->n; i++) {
		match_prefetch(l->match, &l->keys[i + 8 < l->n ? i + 8 : i]);
		(void)match_add(l->match, &l->keys[i], MATCH_ENFORCE, &rule);
	}
	printf("fill %.3f\n", seconds() - begun);
	printf("hot %zu\n", match_huge(l, true));
	printf("resident %zu\n", resident(l->match, match_size(match_capacity(l->match))));
}

// Those that found their lines full come home.
static uint32_t hosts_move(const struct lookup *l)
{
	uint32_t rules[MATCH_LINE_RULES], moved = 0;

	for (uint32_t line = 0; line < match_lines(l->match); line++) {
		unsigned n = match_line(l->match, line, rules);

		for (unsigned i = 0; i < n; i++) {
			if (match_move(l->match, rules[i]) == MATCH_NONE)
				continue;
			match_unlink(l->match, rules[i]);
			match_recycle(l->match, rules[i]);
			moved++;
		}
	}
	return moved;
}

// Another list is there; this one comes; the other goes.
static void set_replace(struct lookup *l)
{
	uint32_t *others = malloc(l->n * sizeof(*others)), rule;
	struct match_key key;

	pages_unmap(l->match, match_size(match_capacity(l->match)));
	match_make(l, (const uint8_t *)"bench's own key.");
	for (uint32_t i = 0; i < l->n;) {
		key_draw(l, &key);
		if (match_add(l->match, &key, MATCH_ENFORCE, &others[i]) == 0)
			i++;
	}
	for (uint32_t i = 0; i < l->n; i++)
		(void)match_add(l->match, &l->keys[i], MATCH_ENFORCE, &rule);
	printf("both %u\n", match_count(l->match));
	for (uint32_t i = 0; i < l->n; i++) {
		match_unlink(l->match, others[i]);
		match_recycle(l->match, others[i]);
	}
	for (uint32_t i = 0; i < l->n; i++) // those that were in both
		(void)match_add(l->match, &l->keys[i], MATCH_ENFORCE, &rule);
	printf("moved %u\n", hosts_move(l));
	match_huge(l, true);
	free(others);
}

static bool denied(const struct lookup *l, const uint8_t addr[16])
{
	struct match_hit hit;

	match_lookup(l->match, l->family, addr, PROTO_TCP, 443, &hit);
	return hit.actions;
}

static void queries_make(struct lookup *l)
{
	l->stride = l->family == 4 ? 4 : 16;
	l->queries = rte_malloc(NULL, LOOKUP_QUERIES * l->stride + 16, 64);
	l->queries4 = rte_malloc(NULL, LOOKUP_QUERIES * sizeof(*l->queries4), 64);
	for (uint32_t i = 0; i < LOOKUP_QUERIES; i++) {
		uint8_t addr[16];

		if (draw() % 100 < l->hit_percent) {
			const struct match_key *k = &l->keys[draw() % l->n];
			uint8_t other[16];

			address_draw(l, addr);
			memcpy(other, addr, 16);
			mask(other, k->prefix_len);
			for (int o = 0; o < 16; o++)
				addr[o] = (uint8_t)(addr[o] ^ other[o]) | k->addr[o];
		} else {
			for (int tries = 0; tries < 100; tries++) {
				address_draw(l, addr);
				if (!denied(l, addr))
					break;
			}
		}
		l->queries4[i] = lookup_get4(addr);
		memcpy(&l->queries[i * l->stride], addr, l->stride);
	}
}

// --- ours

static uint64_t burst_finish(const struct lookup *l, struct match_burst *burst)
{
	match_end(l->match, burst);
	return (uint64_t)__builtin_popcountll(burst->hits);
}

// As the worker does.
static inline void burst_push(const struct lookup *l, struct match_burst *burst, uint32_t i)
{
	if (l->family == 4) {
		for (uint32_t k = 0; k < LOOKUP_BURST; k++)
			match_place4(burst, k, k, l->queries4[i + k], PROTO_TCP << 16 | 443);
		burst->n4 = burst->pushed = LOOKUP_BURST;
		return;
	}
	for (unsigned k = 0; k < LOOKUP_BURST; k++)
		match_push(burst, 6, lookup_query(l, i + k), PROTO_TCP, 443);
}

// One step: a burst is pushed, and others that were pushed BEGUN, LOOKED and ENDED steps ago go on.
static uint64_t ours_step(const struct lookup *l, uint32_t from, uint32_t n, uint32_t bursts)
{
	static struct match_burst burst[ENDED + 1];

	if (n < bursts) {
		match_clear(l->match, &burst[n % (ENDED + 1)]);
		burst_push(l, &burst[n % (ENDED + 1)], from + n * LOOKUP_BURST);
	}
	if (n - LOOKED < bursts)
		match_look(l->match, &burst[(n - LOOKED) % (ENDED + 1)]);
	if (n - BEGUN < bursts)
		match_begin(l->match, &burst[(n - BEGUN) % (ENDED + 1)]);
	return n - ENDED < bursts ? burst_finish(l, &burst[(n - ENDED) % (ENDED + 1)]) : 0;
}

static uint64_t ours_run(const struct lookup *l, uint32_t from, uint32_t n)
{
	const uint32_t bursts = n / LOOKUP_BURST;
	uint64_t hits = 0;

	for (uint32_t i = 0; i < bursts + ENDED; i++)
		hits += ours_step(l, from, i, bursts);
	return hits;
}

// --- rounds

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), double_compare);
	return values[n / 2];
}

static double pass_run(const struct lookup *l, lookup_run run, uint64_t *ret_hits)
{
	static double chunks[LOOKUP_QUERIES / LOOKUP_CHUNK];
	uint64_t hits = 0;
	size_t k = 0;

	for (uint32_t from = 0; from < LOOKUP_QUERIES; from += LOOKUP_CHUNK) {
		uint64_t begun = rte_rdtsc();

		hits += run(l, from, LOOKUP_CHUNK);
		chunks[k++] = (double)(rte_rdtsc() - begun) / LOOKUP_CHUNK;
	}
	*ret_hits = hits;
	return median(chunks, k) * 1e9 / (double)rte_get_tsc_hz();
}

static double peer_round(const struct lookup *l, const struct lookup_peer *peer, uint64_t hits)
{
	uint64_t peer_hits;
	double ns = peer->pass ? peer->pass(&peer_hits) : pass_run(l, peer->run(l), &peer_hits);

	if (peer_hits != hits)
		rte_exit(1, "%" PRIu64 " hits, the peer's are %" PRIu64 "\n", hits, peer_hits);
	return ns;
}

static void rounds_run(const struct lookup *l, const struct lookup_peer *peer)
{
	double ours[ROUNDS], theirs[ROUNDS], ratios[ROUNDS];
	int rounds = rounds_of(ROUNDS);
	uint64_t hits;

	for (int r = -1; r < rounds; r++) {
		double x = pass_run(l, ours_run, &hits), y = peer ? peer_round(l, peer, hits) : 0;

		if (r < 0)
			continue;
		ours[r] = x;
		theirs[r] = y;
		ratios[r] = y / x;
	}
	printf("hits %.4f\n", (double)hits / LOOKUP_QUERIES);
	printf("ours %.3f\n", median(ours, (size_t)rounds));
	if (!peer)
		return;
	printf("peer %.3f\n", median(theirs, (size_t)rounds));
	printf("ratio %.3f\n", median(ratios, (size_t)rounds));
}

static void set_choose(struct lookup *l, const char *name)
{
	l->family = strchr(name, '6') ? 6 : 4;
	l->mixed = strncmp(name, "mix", 3) == 0;
	l->clustered = strncmp(name, "clustered", 9) == 0;
	l->prefixes6 = malloc(20000 * sizeof(*l->prefixes6));
	for (int i = 0; i < 20000; i++)
		l->prefixes6[i] = 0x20000000 | (uint32_t)(draw() & 0x0fffffff);
}

// NULL: none; what stands behind `=` in the name is its argument.
static const struct lookup_peer *peer_find(const char *name, const char **ret_argument)
{
	const struct lookup_peer *const tables[] = {lookup_dpdk_peers, lookup_xdp_peers};
	size_t len = strcspn(name, "=");

	*ret_argument = name[len] ? name + len + 1 : NULL;
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct lookup_peer *p = tables[t]; p->name; p++) {
			if (strlen(p->name) == len && strncmp(p->name, name, len) == 0)
				return p;
		}
	}
	return NULL;
}

static void measure(struct lookup *l, const char *name)
{
	const char *argument;
	const struct lookup_peer *peer = peer_find(name, &argument);
	int r = peer ? peer->make(l, argument) : 0;

	if (r < 0)
		printf("skipped the peer could not be filled: %s\n", strerror(-r));
	rounds_run(l, r < 0 ? NULL : peer);
}

int main(int argc, char **argv)
{
	struct lookup l = {0};
	int n = rte_eal_init(argc, argv);

	argc -= n;
	argv += n;
	if (n < 0 || argc < 4) {
		fprintf(stderr,
			"usage: bench_lookup [EAL options] -- SET ENTRIES HIT_PERCENT "
			"[PEER] [VARIANT]\n");
		return 64;
	}
	l.n = (uint32_t)strtoul(argv[2], NULL, 10);
	l.hit_percent = (unsigned)strtoul(argv[3], NULL, 10);
	set_choose(&l, argv[1]);
	set_fill(&l);
	if (argc > 5 && match_variant_set(l.match, argv[5]) < 0) {
		printf("skipped this processor cannot run %s\n", argv[5]);
		return 0;
	}
	printf("variant %s\n", match_variant(l.match));
	if (strncmp(argv[1], "replaced", 8) == 0)
		set_replace(&l);
	queries_make(&l);
	measure(&l, argc > 4 ? argv[4] : "none");
	rte_eal_cleanup();
	return 0;
}
