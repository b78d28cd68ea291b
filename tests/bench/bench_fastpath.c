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
//             pcap=D  net_pcap with infinite_rx of captures it writes to D; each line on standard
//                     input asks for one measurement, so that another program can have its turn
//
// Of the packets 5 % are denied. Both directions run: the first port is inside, where destinations
// are judged, the second outside, where sources are. A round times each loop in chunks of 1,024
// packets, of which the median counts; printed are medians over the rounds, which interleave.

#include "tests/bench/peer_hash.h"
#include "tests/bench/plane.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BURSTS 32
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
static void reasons_check(const struct worker *w)
{
	uint64_t all = 0, known;
	double denied;

	for (int r = 0; r < REASON_COUNT; r++)
		all += w->reasons[r].packets;
	known = w->reasons[REASON_ENTRY_DENY].packets + w->reasons[REASON_NO_ENTRY].packets;
	denied = 100.0 * (double)w->reasons[REASON_ENTRY_DENY].packets / (double)all;
	printf("denied %.2f\n", denied);
	if (known != all || denied < HIT_PERCENT - 2 || denied > HIT_PERCENT + 2)
		rte_exit(1, "not the packets that were meant: %.2f %% denied\n", denied);
}

struct figures {
	double ours[ROUNDS], peer[ROUNDS], ratio[ROUNDS], extra[ROUNDS];
};

static void figures_print(const char *name, struct figures *f)
{
	printf("%s-ours %.3f\n%s-peer %.3f\n%s-ratio %.4f\n%s-extra %.3f\n",
	       name,
	       plane_median(f->ours, ROUNDS),
	       name,
	       plane_median(f->peer, ROUNDS),
	       name,
	       plane_median(f->ratio, ROUNDS),
	       name,
	       plane_median(f->extra, ROUNDS));
}

static void null_measure(struct plane *p, void *ctx)
{
	const char *name = ctx;
	struct figures f;

	for (int r = -1; r < ROUNDS; r++) {
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
	struct figures f;

	for (int r = -1; r < ROUNDS; r++) {
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

static void null_case(struct plane *p, const char *name)
{
	bool cold = strcmp(name, "cold") == 0, hash = strcmp(name, "hash") == 0;
	static const char *const arguments[2] = {"size=64", "size=64"};
	struct rte_mempool *pool = rte_pktmbuf_pool_create(
		name,
		cold ? COLD_MBUFS : HOT_MBUFS,
		cold ? 0 : 250,
		0,
		cold ? 1152 : RTE_MBUF_DEFAULT_BUF_SIZE,
		0
	);
	int r;

	if (!pool) {
		printf("%s-skipped no memory for packets\n", name);
		return;
	}
	r = hash ? peer_hash_create(p->set, p->traffic.list, p->traffic.n) : 0;
	if (r < 0) {
		printf("%s-skipped no memory for the hash: %s\n", name, strerror(-r));
		rte_mempool_free(pool);
		return;
	}
	plane_fill(p, pool);
	plane_ports(p, "net_null", arguments, pool);
	if (!cold)
		plane_inject(p);
	plane_run(p, hash ? hash_measure : null_measure, (void *)(uintptr_t)name);
	reasons_check(&p->workers->worker[0]);
	plane_ports_fini(p);
	rte_mempool_free(pool);
}

// --- net_pcap, in turns with another program

static void pcap_measure(struct plane *p, void *ctx)
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

static void pcap_case(struct plane *p, const char *dir)
{
	static char texts[2][512];
	const char *arguments[2] = {texts[0], texts[1]};
	struct rte_mempool *pool = rte_pktmbuf_pool_create(
		"pcap", 4 * CAPTURE - 1, 250, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0
	);

	if (!pool)
		plane_fail("no memory for packets", -ENOMEM);
	for (int i = 0; i < 2; i++) {
		char path[400];
		int r;

		snprintf(path, sizeof(path), "%s/%s.pcap", dir, i == 0 ? "inside" : "outside");
		r = traffic_capture(&p->traffic, path, CAPTURE, i == 1);
		if (r < 0)
			plane_fail(path, r);
		snprintf(texts[i], sizeof(texts[i]), "rx_pcap=%s,infinite_rx=1", path);
	}
	plane_ports(p, "net_pcap", arguments, pool);
	plane_run(p, pcap_measure, NULL);
	reasons_check(&p->workers->worker[0]);
	plane_ports_fini(p);
}

int main(int argc, char **argv)
{
	int n = rte_eal_init(argc, argv);
	enum traffic_kind kind;
	struct plane plane;
	uint32_t entries;

	argc -= n;
	argv += n;
	if (n < 0 || argc < 4) {
		fprintf(stderr,
			"usage: bench_fastpath [EAL options] -- realistic|random ENTRIES "
			"hot|cold|hash|pcap=DIR…\n");
		return 64;
	}
	kind = strcmp(argv[1], "random") == 0 ? TRAFFIC_RANDOM : TRAFFIC_REALISTIC;
	entries = (uint32_t)strtoul(argv[2], NULL, 10);
	plane_init(&plane, entries);
	plane_list(&plane, kind, entries, HIT_PERCENT);
	for (int i = 3; i < argc; i++) {
		if (strncmp(argv[i], "pcap=", 5) == 0)
			pcap_case(&plane, argv[i] + 5);
		else
			null_case(&plane, argv[i]);
		fflush(stdout);
	}
	plane_fini(&plane);
	rte_eal_cleanup();
	return 0;
}
