// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The worker's whole loop on vdevs against a loop by hand that only swaps addresses; scripts/bench
// runs it.
//
//   bench_fastpath [EAL options] -- LIST ENTRIES CASE…
//
//   LIST      realistic: a clustered list, destinations by Zipf's law; random: both uniform
//   CASE      hot     net_null, mbufs in the cache, an address written into each received packet
//             cold    net_null, 512k mbufs that have left it
//             hash    hot, and the same worker with DPDK's lock-free hash as its lookup
//             turns   hot; each line on standard input asks for one measurement of the worker, so
//                     that another program can have its turn
//             pcap=D  the same on net_pcap with infinite_rx of captures it writes to D
//             with behind the name: -hits0, no packet is denied, else 5 % of them; -imix, frames of
//             64, 594 and 1,518 octets, 7:4:1, else of 64
//
// Both directions run: the first port is inside, where destinations are judged, the second outside,
// where sources are. A round times each loop in chunks of 1,024 packets, of which the median
// counts; printed are medians over the rounds, which interleave. Bursts are WORKER_BURST long: the
// program is built for 32 and once more for 64.

#include "tests/bench/peer_hash.h"
#include "tests/bench/plane.h"
#include "tests/bench/rounds.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BURSTS (1024 / WORKER_BURST)
#define CHUNKS 2000
#define WARM 200
#define ROUNDS 7
#define HIT_PERCENT 5
#define HOT_MBUFS 8191
#define COLD_MBUFS 524287
#define CAPTURE 65536 // packets

// --- the loops: packets of a chunk

typedef unsigned (*chunk_fn)(struct plane *);

static unsigned ours_chunk(struct plane *p)
{
	struct worker *w = &p->workers->worker[0];
	unsigned n = 0;

	for (int i = 0; i < CHUNK_BURSTS / 2; i++) // a turn polls both ports
		n += worker_turn(w);
	return n;
}

static unsigned hash_chunk(struct plane *p)
{
	struct worker *w = &p->workers->worker[0];
	unsigned n = 0;

	for (int i = 0; i < CHUNK_BURSTS / 2; i++)
		n += peer_hash_turn(w);
	return n;
}

static void macs_swap(struct rte_mbuf **mbufs, uint16_t n)
{
	typedef uint8_t octets __attribute__((vector_size(16), aligned(1), may_alias));

	for (uint16_t i = 0; i < n; i++) {
		octets *at = rte_pktmbuf_mtod(mbufs[i], octets *), v;

		if (i + 2 < n)
			rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + 2], void *));
		v = *at;
		*at = __builtin_shufflevector(
			v, v, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14, 15
		);
	}
}

static unsigned macswap_chunk(struct plane *p)
{
	struct rte_mbuf *mbufs[WORKER_BURST];
	unsigned total = 0;

	for (unsigned i = 0; i < CHUNK_BURSTS; i++) {
		uint16_t rx = p->ports.port[i & 1].id, tx = p->ports.port[~i & 1].id;
		uint16_t n = rte_eth_rx_burst(rx, 0, mbufs, WORKER_BURST), sent;

		macs_swap(mbufs, n);
		sent = rte_eth_tx_burst(tx, 0, mbufs, n);
		if (unlikely(sent < n))
			rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
		total += n;
	}
	return total;
}

// --- rounds

static double round_run(struct plane *p, chunk_fn chunk)
{
	static double ticks[CHUNKS];

	for (int k = -WARM; k < CHUNKS; k++) {
		uint64_t begun = rte_rdtsc();
		unsigned n = chunk(p);

		if (k >= 0)
			ticks[k] = (double)(rte_rdtsc() - begun) / n;
	}
	return plane_ns(plane_median(ticks, CHUNKS));
}

// What the worker said of the packets must be what they are: else there is nothing to measure.
static void reasons_check(const struct worker *w, unsigned hit_percent)
{
	uint64_t all = 0, known;
	double denied;

	for (int r = 0; r < REASON_COUNT; r++)
		all += w->reasons[r].packets;
	known = w->reasons[REASON_ENTRY_DENY].packets + w->reasons[REASON_NO_ENTRY].packets;
	denied = 100.0 * (double)w->reasons[REASON_ENTRY_DENY].packets / (double)all;
	printf("denied %.2f\n", denied);
	if (known != all || denied < (hit_percent ? hit_percent - 2 : 0)
	    || denied > (hit_percent ? hit_percent + 2 : 0))
		rte_exit(1, "not the packets that were meant: %.2f %% denied\n", denied);
}

struct figures {
	size_t n;
	double ours[ROUNDS], peer[ROUNDS], ratio[ROUNDS], extra[ROUNDS];
};

static void figures_print(const char *name, struct figures *f)
{
	printf("%s-ours %.3f\n%s-peer %.3f\n%s-ratio %.4f\n%s-extra %.3f\n",
	       name,
	       plane_median(f->ours, f->n),
	       name,
	       plane_median(f->peer, f->n),
	       name,
	       plane_median(f->ratio, f->n),
	       name,
	       plane_median(f->extra, f->n));
}

static void null_measure(struct plane *p, void *ctx)
{
	const char *name = ctx;
	struct figures f = {.n = (size_t)rounds_of(ROUNDS)};

	for (int r = -1; r < (int)f.n; r++) {
		double ours = round_run(p, ours_chunk), peer = round_run(p, macswap_chunk);

		if (r < 0)
			continue;
		f.ours[r] = ours;
		f.peer[r] = peer;
		f.ratio[r] = peer / ours;
		f.extra[r] = ours - peer;
	}
	figures_print(name, &f);
}

// Ours and the hash's, each less the loop by hand.
static void hash_measure(struct plane *p, void *ctx)
{
	struct figures f = {.n = (size_t)rounds_of(ROUNDS)};

	for (int r = -1; r < (int)f.n; r++) {
		double base = round_run(p, macswap_chunk), ours, peer;

		ours = round_run(p, ours_chunk) - base;
		peer = round_run(p, hash_chunk) - base;
		peer_hash_end(&p->workers->worker[0]); // it ends with a burst of this one's own
		worker_begin(&p->workers->worker[0]);
		if (r < 0)
			continue;
		f.ours[r] = ours;
		f.peer[r] = peer;
		f.ratio[r] = peer / ours;
		f.extra[r] = ours;
	}
	figures_print(ctx, &f);
}

// --- in turns with another program

static void turns_measure(struct plane *p, void *ctx)
{
	char line[16];

	(void)ctx;
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t begun = rte_rdtsc(), end = begun + rte_get_tsc_hz(), packets = 0;

		while (rte_rdtsc() < end)
			packets += ours_chunk(p);
		printf("ours %.4f\n",
		       (double)packets / plane_ns((double)(rte_rdtsc() - begun)) * 1e3);
		fflush(stdout);
	}
}

// --- cases

struct kind {
	const char *name, *captures; // a folder, or NULL: net_null
	bool cold, hash, turns, imix;
	unsigned hit_percent;
};

static struct kind kind_of(const char *name)
{
	const char *captures = strchr(name, '=');
	struct kind k = {
		.name = name,
		.captures = captures ? captures + 1 : NULL,
		.cold = strncmp(name, "cold", 4) == 0,
		.hash = strncmp(name, "hash", 4) == 0,
		.turns = strncmp(name, "turns", 5) == 0 || captures,
		.hit_percent = HIT_PERCENT,
	};
	char words[32];

	snprintf(words, sizeof(words), "%.*s", (int)strcspn(name, "="), name);
	k.imix = strstr(words, "-imix");
	if (strstr(words, "-hits0"))
		k.hit_percent = 0;
	return k;
}

static struct rte_mempool *pool_create(const struct kind *k)
{
	bool small = k->cold && !k->imix;
	unsigned n = k->captures ? 4 * CAPTURE - 1 : k->cold ? COLD_MBUFS : HOT_MBUFS;

	return rte_pktmbuf_pool_create(
		"packets", n, k->cold ? 0 : 250, 0, small ? 1152 : RTE_MBUF_DEFAULT_BUF_SIZE, 0
	);
}

static void ports_of_captures(struct plane *p, const struct kind *k, struct rte_mempool *pool)
{
	static char texts[2][512];
	const char *arguments[2] = {texts[0], texts[1]};

	for (int i = 0; i < 2; i++) {
		char path[400];
		int r;

		snprintf(
			path, sizeof(path), "%s/%s.pcap", k->captures, i == 0 ? "inside" : "outside"
		);
		r = traffic_capture(&p->traffic, path, CAPTURE, i == 1, k->imix);
		if (r < 0)
			plane_fail(path, r);
		snprintf(texts[i], sizeof(texts[i]), "rx_pcap=%s,infinite_rx=1", path);
	}
	plane_ports(p, "net_pcap", arguments, pool);
}

static void ports_of_nothing(struct plane *p, const struct kind *k, struct rte_mempool *pool)
{
	static const char *const arguments[2] = {"size=64", "size=64"};

	plane_fill(p, pool);
	plane_ports(p, "net_null", arguments, pool);
	if (!k->cold)
		plane_inject(p, k->imix);
}

static void case_run(struct plane *p, enum traffic_kind list, const char *name)
{
	const struct kind k = kind_of(name);
	struct rte_mempool *pool = pool_create(&k);
	int r;

	if (!pool) {
		printf("%s-skipped no memory for packets\n", name);
		return;
	}
	r = k.hash ? peer_hash_create(p->set, p->traffic.list, p->traffic.n) : 0;
	if (r < 0) {
		printf("%s-skipped no memory for the hash: %s\n", name, strerror(-r));
		rte_mempool_free(pool);
		return;
	}
	r = traffic_queries(&p->traffic, list, k.hit_percent, p->set);
	if (r < 0)
		plane_fail("no queries", r);
	if (k.captures)
		ports_of_captures(p, &k, pool);
	else
		ports_of_nothing(p, &k, pool);
	plane_run(
		p,
		k.turns		 ? turns_measure
			: k.hash ? hash_measure
				 : null_measure,
		(void *)(uintptr_t)name
	);
	reasons_check(&p->workers->worker[0], k.hit_percent);
	plane_ports_fini(p);
	rte_mempool_free(pool);
}

int main(int argc, char **argv)
{
	int n = rte_eal_init(argc, argv);
	enum traffic_kind list;
	struct plane plane;
	uint32_t entries;

	argc -= n;
	argv += n;
	if (n < 0 || argc < 4) {
		fprintf(stderr,
			"usage: bench_fastpath [EAL options] -- realistic|random ENTRIES "
			"hot|cold|hash|turns|pcap[-hits0][-imix][=DIR]…\n");
		return 64;
	}
	list = strcmp(argv[1], "random") == 0 ? TRAFFIC_RANDOM : TRAFFIC_REALISTIC;
	entries = (uint32_t)strtoul(argv[2], NULL, 10);
	plane_init(&plane, entries);
	plane_list(&plane, list, entries, HIT_PERCENT);
	for (int i = 3; i < argc; i++) {
		case_run(&plane, list, argv[i]);
		fflush(stdout);
	}
	plane_fini(&plane);
	rte_eal_cleanup();
	return 0;
}
