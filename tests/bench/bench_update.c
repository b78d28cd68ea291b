// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Changes of the list while the worker runs; scripts/bench runs it.
//
//   bench_update [EAL options] -- rate ENTRIES
//     The worker's rate with 1,000,000 changes a second through the writer (set_change, digest, hit
//     tables, grace, recycling), and without, in turns. Half of the changes add a host, half remove
//     one; a batch is due each millisecond.
//   bench_update [EAL options] -- peak ENTRIES
//     The same writer as fast as it can while the worker runs: additions, then removals.
//   bench_update [EAL options] -- effect ENTRIES SAMPLES DIRECTORY
//     From just before a batch of one entry is sent on the link's socket in DIRECTORY to the end of
//     the worker's turn in which the verdict of that address was another one for the first time.
//     One packet in each burst is for that address. Half add it, half remove it.

#include "dataplane/clock.h"
#include "dataplane/link.h"
#include "tests/bench/linker.h"
#include "tests/bench/plane.h"
#include "tests/bench/rounds.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_mbuf.h>

#include <event2/event.h>

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MBUFS 8191
#define HIT_PERCENT 5

// --- rate: the worker's side

#define CHANGES_A_SECOND 1000000
#define BATCH 1000 // a millisecond's
#define SPARE 500000 // hosts that come and go
#define SPARE_IN 250000 // of them at any time
#define ROUNDS 7
#define WINDOW_MS 250
#define TURNS 16 // 1,024 packets
#define CHUNKS_MAX 100000

static _Atomic bool writing, busy; // asked for by the measuring thread; the writer has begun

struct window {
	double median, mean; // Mpps, over chunks; the mean is of all that happens, preemption too
};

static struct window window_run(struct plane *p)
{
	static double ticks[CHUNKS_MAX];
	uint64_t start = rte_rdtsc(), now = start, all = 0,
		 end = now + rte_get_tsc_hz() * WINDOW_MS / 1000;
	size_t n = 0;

	while (now < end && n < CHUNKS_MAX) {
		unsigned packets = 0;
		uint64_t begun = now;

		for (int i = 0; i < TURNS; i++)
			packets += worker_turn(&p->workers->worker[0]);
		now = rte_rdtsc();
		ticks[n++] = (double)(now - begun) / packets;
		all += packets;
	}
	return (struct window){
		.median = 1e3 / plane_ns(plane_median(ticks, n)),
		.mean = (double)all / plane_ns((double)(now - start)) * 1e3,
	};
}

static void rate_measure(struct plane *p, void *ctx)
{
	double with[ROUNDS], without[ROUNDS], kept[ROUNDS], means[ROUNDS];
	int rounds = rounds_of(ROUNDS);

	(void)ctx;
	for (int r = -1; r < rounds; r++) {
		struct window x, y = window_run(p);

		atomic_store(&writing, true);
		while (!atomic_load(&busy))
			worker_turn(&p->workers->worker[0]);
		x = window_run(p);
		atomic_store(&writing, false);
		while (atomic_load(&busy))
			worker_turn(&p->workers->worker[0]);
		if (r < 0)
			continue;
		with[r] = x.median;
		without[r] = y.median;
		kept[r] = x.median / y.median;
		means[r] = x.mean / y.mean;
	}
	printf("with %.3f\nwithout %.3f\nratio %.4f\nmean-ratio %.4f\n",
	       plane_median(with, (size_t)rounds),
	       plane_median(without, (size_t)rounds),
	       plane_median(kept, (size_t)rounds),
	       plane_median(means, (size_t)rounds));
}

// --- rate: the writer

struct writer {
	struct plane *plane;
	struct entry *spare;
	struct digest *hashes; // the other end's work, done before
	uint32_t next; // spare to be added
	struct list_state state;
	struct change changes[BATCH];
	uint64_t changed, begun, due, ticks;
};

static void writer_state(struct writer *w)
{
	set_state(w->plane->set, &w->state);
}

static void spare_make(struct writer *w)
{
	const struct match *m = set_live(w->plane->set)->entries;

	w->spare = calloc(SPARE, sizeof(*w->spare));
	w->hashes = calloc(SPARE, sizeof(*w->hashes));
	if (!w->spare || !w->hashes)
		plane_fail("no memory", -ENOMEM);
	for (uint32_t i = 0; i < SPARE; i++) {
		struct entry *e = &w->spare[i];
		struct match_key key = {.family = 4, .prefix_len = 32};
		uint32_t addr;

		do {
			addr = htonl(traffic_unicast());
			memcpy(key.addr, &addr, 4);
		} while (match_find(m, &key) != MATCH_NONE);
		*e = (struct entry){
			.indicator = {.kind = INDICATOR_NET, .family = 4, .prefix_len = 32},
			.enforce_until = UNTIL_FOREVER,
		};
		memcpy(e->indicator.addr, &addr, 4);
		w->hashes[i] = entry_hash(e);
		// All of them for now, so that none is drawn twice.
		if (set_load_put(w->plane->set, e) < 0)
			plane_fail("no room", -ENOSPC);
	}
	for (uint32_t i = SPARE_IN; i < SPARE; i++)
		set_load_remove(w->plane->set, &w->spare[i].indicator);
	w->next = SPARE_IN;
}

static void change_make(struct writer *w, uint32_t i, bool put, uint32_t host)
{
	w->changes[i] = (struct change){
		.op = put ? CHANGE_PUT : CHANGE_REMOVE,
		.entry = w->spare[host],
	};
	if (put)
		digest_add(&w->state.digest, w->hashes[host]);
	else
		digest_remove(&w->state.digest, w->hashes[host]);
	w->state.count += put ? 1 : -(uint64_t)1;
}

// As the link does it: the change, what settles, grace.
static void batch_write(struct writer *w)
{
	struct set *set = w->plane->set;
	struct revision from = w->state.revision;
	uint64_t wanted;
	int r;

	w->state.revision.number++;
	r = set_change(set, w->changes, BATCH, &from, &w->state, &wanted);
	if (r < 0)
		plane_fail("a batch was refused", r); // rte_exit would wait for the worker
	while (!set_settle(set, 4096))
		set_tick(set, clock_now());
	set_poll(set, false);
	w->changed += BATCH;
}

static void mixed_write(struct writer *w)
{
	for (uint32_t i = 0; i < BATCH / 2; i++) {
		change_make(w, 2 * i, true, w->next);
		change_make(w, 2 * i + 1, false, (w->next + SPARE - SPARE_IN) % SPARE);
		w->next = (w->next + 1) % SPARE;
	}
	batch_write(w);
}

static void writer_poll(evutil_socket_t fd, short what, void *ctx)
{
	static const struct timeval soon = {.tv_usec = 100}, now = {0};
	struct writer *w = ctx;
	bool want = atomic_load(&writing);
	uint64_t at = rte_rdtsc();

	(void)fd;
	(void)what;
	if (want && !atomic_load(&busy)) {
		w->begun = w->due = at;
		atomic_store(&busy, true);
	} else if (!want && atomic_load(&busy)) {
		w->ticks += at - w->begun;
		atomic_store(&busy, false);
	}
	if (want && at >= w->due) {
		mixed_write(w);
		w->due += rte_get_tsc_hz() * BATCH / CHANGES_A_SECOND;
	}
	// While it writes it does not wait: the loop's timers count whole milliseconds.
	if (!atomic_load(&w->plane->measured))
		event_base_once(
			w->plane->base, -1, EV_TIMEOUT, writer_poll, w, want ? &now : &soon
		);
}

static void rate(struct plane *p)
{
	static struct writer w;

	w.plane = p;
	spare_make(&w);
	writer_state(&w);
	writer_poll(-1, 0, &w);
	plane_run(p, rate_measure, NULL);
	printf("changes %.0f\n", (double)w.changed / plane_ns((double)w.ticks) * 1e9);
}

// --- peak

struct peak {
	struct writer writer;
	bool adding;
	uint32_t at, most; // of the hosts that are out
	int rounds, round;
	uint64_t begun;
	double rates[2][ROUNDS]; // changes a second: removals, additions
	_Atomic bool done;
};

static void peak_measure(struct plane *p, void *ctx)
{
	struct peak *k = ctx;

	while (!atomic_load_explicit(&k->done, memory_order_relaxed))
		worker_turn(&p->workers->worker[0]);
}

static void peak_turn(struct peak *k)
{
	double seconds = plane_ns((double)(rte_rdtsc() - k->begun)) / 1e9;

	if (k->round >= 0)
		k->rates[k->adding][k->round] = k->at / seconds;
	k->round += !k->adding;
	k->adding = !k->adding;
	k->at = 0;
	atomic_store(&k->done, k->round == k->rounds);
}

// As many as it can, a batch in each turn of the loop, beside what the loop does else.
static void peak_write(evutil_socket_t fd, short what, void *ctx)
{
	static const struct timeval now = {0};
	struct peak *k = ctx;
	struct writer *w = &k->writer;

	(void)fd;
	(void)what;
	if (k->at == 0)
		k->begun = rte_rdtsc();
	for (uint32_t i = 0; i < BATCH; i++)
		change_make(w, i, k->adding, SPARE_IN + k->at + i);
	batch_write(w);
	k->at += BATCH;
	if (k->at == k->most)
		peak_turn(k);
	if (!atomic_load(&k->done))
		event_base_once(w->plane->base, -1, EV_TIMEOUT, peak_write, k, &now);
}

static void peak(struct plane *p)
{
	static struct peak k;

	k = (struct peak){.adding = true, .rounds = rounds_of(ROUNDS), .round = -1};
	k.most = (SPARE - SPARE_IN) / (k.rounds == 1 ? 10 : 1);
	k.writer.plane = p;
	spare_make(&k.writer);
	writer_state(&k.writer);
	peak_write(-1, 0, &k);
	plane_run(p, peak_measure, &k);
	printf("adds %.0f\nremoves %.0f\n",
	       plane_median(k.rates[1], (size_t)k.rounds),
	       plane_median(k.rates[0], (size_t)k.rounds));
}

// --- effect

struct effect {
	struct plane *plane;
	const char *path; // the link's socket
	uint32_t samples;
	uint32_t target; // network byte order
	struct entry entry;
	_Atomic uint64_t seen_at; // the turn's end in which the verdict changed; 0: not yet
	_Atomic bool done;
	double *took[2]; // µs: additions, removals
};

// Addresses are not listed, but for one of each burst.
static uint16_t target_inject(
	uint16_t port, uint16_t queue, struct rte_mbuf *mbufs[], uint16_t n, uint16_t max, void *ctx
)
{
	const struct effect *e = ctx;

	(void)port;
	(void)queue;
	(void)max;
	if (n)
		memcpy(rte_pktmbuf_mtod(mbufs[n / 2], uint8_t *) + 30, &e->target, 4);
	return n;
}

// Those that are not told yet are denied too.
static uint64_t denied_so_far(const struct worker *w)
{
	return w->reasons[REASON_ENTRY_DENY].packets + w->n_denied;
}

static void effect_measure(struct plane *p, void *ctx)
{
	struct effect *e = ctx;
	struct worker *w = &p->workers->worker[0];
	uint64_t before = denied_so_far(w);
	bool denied = false;

	while (!atomic_load_explicit(&e->done, memory_order_relaxed)) {
		uint64_t now;

		worker_turn(w);
		now = denied_so_far(w);
		if ((now != before) != denied) {
			denied = !denied;
			atomic_store_explicit(&e->seen_at, rte_rdtsc(), memory_order_release);
		}
		before = now;
	}
}

// Control's side: a thread of its own on the control thread's CPU.
static void *effect_control(void *ctx)
{
	static struct linker l;
	struct effect *e = ctx;
	const struct digest hash = entry_hash(&e->entry);

	linker_open(&l, e->path);
	linker_hello(&l);
	for (uint32_t i = 0; i < e->samples; i++) {
		uint64_t sent, seen;

		linker_begin(&l);
		linker_add(&l, i % 2 == 0, &e->entry, hash);
		atomic_store(&e->seen_at, 0);
		sent = rte_rdtsc();
		linker_send(&l);
		linker_answer(&l);
		while (!(seen = atomic_load_explicit(&e->seen_at, memory_order_acquire)))
			sched_yield();
		e->took[i % 2][i / 2] = plane_ns((double)(seen - sent)) / 1e3;
	}
	linker_close(&l);
	atomic_store(&e->done, true);
	return NULL;
}

static size_t no_status(void *ctx, void *answer, size_t room)
{
	(void)ctx;
	(void)answer;
	(void)room;
	return 0;
}

static void effect_print(struct effect *e)
{
	size_t n = e->samples / 2;
	double *all = calloc(2 * n, sizeof(*all));

	if (!all)
		plane_fail("no memory", -ENOMEM);
	memcpy(all, e->took[0], n * sizeof(*all));
	memcpy(all + n, e->took[1], n * sizeof(*all));
	printf("add-median %.3f\nremove-median %.3f\nmedian %.3f\n",
	       plane_median(e->took[0], n),
	       plane_median(e->took[1], n),
	       plane_median(all, 2 * n));
	printf("p99 %.3f\nsamples %zu\n", all[2 * n * 99 / 100], 2 * n);
	free(all);
}

static void effect(struct plane *p, uint32_t samples, const char *dir)
{
	static struct effect e;
	struct requests requests = {.set = p->set, .status = no_status, .boot_id = 1};
	char path[256];
	struct link_options options = {.base = p->base, .requests = &requests, .link_path = path};
	struct link *link;
	pthread_t thread;
	int r;

	e = (struct effect){.plane = p, .path = path, .samples = samples};
	for (int k = 0; k < 2; k++)
		e.took[k] = calloc(samples / 2 + 1, sizeof(double));
	e.target = htonl(0xc6336407); // 198.51.100.7
	e.entry = (struct entry){
		.indicator = {.kind = INDICATOR_NET, .family = 4, .prefix_len = 32},
		.enforce_until = UNTIL_FOREVER,
	};
	memcpy(e.entry.indicator.addr, &e.target, 4);
	snprintf(path, sizeof(path), "%s/link", dir);
	r = link_create(&options, &link);
	if (r < 0 || !e.took[0] || !e.took[1])
		plane_fail("no link", r < 0 ? r : -ENOMEM);
	if (!rte_eth_add_rx_callback(p->ports.port[0].id, 0, target_inject, &e))
		plane_fail("no receive callbacks", -ENOTSUP);
	pthread_create(&thread, NULL, effect_control, &e);
	plane_run(p, effect_measure, &e);
	pthread_join(thread, NULL);
	effect_print(&e);
	link_free(link);
	requests_fini(&requests);
	free(e.took[0]);
	free(e.took[1]);
}

int main(int argc, char **argv)
{
	static const char *const arguments[2] = {"size=64", "size=64"};
	int n = rte_eal_init(argc, argv);
	struct rte_mempool *pool;
	struct plane plane;
	uint32_t entries;
	bool linked;

	argc -= n;
	argv += n;
	linked = argc == 5 && strcmp(argv[1], "effect") == 0;
	if (n < 0
	    || (!linked
		&& (argc != 3 || (strcmp(argv[1], "rate") != 0 && strcmp(argv[1], "peak") != 0)))) {
		fprintf(stderr,
			"usage: bench_update [EAL options] -- rate|peak ENTRIES\n"
			"       bench_update [EAL options] -- effect ENTRIES SAMPLES DIRECTORY\n");
		return 64;
	}
	entries = (uint32_t)strtoul(argv[2], NULL, 10);
	pool = rte_pktmbuf_pool_create("hot", MBUFS, 250, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (!pool)
		plane_fail("no memory for packets", -ENOMEM);
	plane_init(&plane, entries + 2 * SPARE); // what was removed needs room until its grace ends
	plane_list(&plane, TRAFFIC_REALISTIC, entries, linked ? 0 : HIT_PERCENT);
	plane_fill(&plane, pool);
	plane_ports(&plane, "net_null", arguments, pool);
	plane_inject(&plane, false);
	if (strcmp(argv[1], "rate") == 0)
		rate(&plane);
	else if (strcmp(argv[1], "peak") == 0)
		peak(&plane);
	else
		effect(&plane, (uint32_t)strtoul(argv[3], NULL, 10), argv[4]);
	plane_ports_fini(&plane);
	plane_fini(&plane);
	rte_eal_cleanup();
	return 0;
}
