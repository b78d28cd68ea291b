// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Changes of the list while the worker runs; scripts/bench runs it.
//
//   bench_update [EAL options] -- rate ENTRIES
//     The worker's rate with 1,000,000 changes a second through the writer (set_change, digest, hit
//     tables, grace, recycling), and without, in turns. Half of the changes add a host, half remove
//     one; a batch is due each millisecond.
//   bench_update [EAL options] -- effect ENTRIES SAMPLES DIRECTORY
//     From just before a batch of one entry is sent on the link's socket in DIRECTORY to the end of
//     the worker's turn in which the verdict of that address was another one for the first time.
//     One packet in each burst is for that address. Half add it, half remove it.

#include "dataplane/clock.h"
#include "dataplane/link.h"
#include "tests/bench/plane.h"

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
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

	(void)ctx;
	for (int r = -1; r < ROUNDS; r++) {
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
	       plane_median(with, ROUNDS),
	       plane_median(without, ROUNDS),
	       plane_median(kept, ROUNDS),
	       plane_median(means, ROUNDS));
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

static void batch_make(struct writer *w)
{
	w->state.revision.number++;
	for (uint32_t i = 0; i < BATCH / 2; i++) {
		uint32_t in = w->next, out = (w->next + SPARE - SPARE_IN) % SPARE;

		w->changes[2 * i] = (struct change){.op = CHANGE_PUT, .entry = w->spare[in]};
		w->changes[2 * i + 1]
			= (struct change){.op = CHANGE_REMOVE, .entry = w->spare[out]};
		digest_add(&w->state.digest, w->hashes[in]);
		digest_remove(&w->state.digest, w->hashes[out]);
		w->next = (w->next + 1) % SPARE;
	}
}

// As the link does it: the change, what settles, grace.
static void batch_write(struct writer *w)
{
	struct set *set = w->plane->set;
	struct revision from = w->state.revision;
	uint64_t wanted;
	int r;

	batch_make(w);
	r = set_change(set, w->changes, BATCH, &from, &w->state, &wanted);
	if (r < 0)
		rte_exit(1, "a batch was refused: %s\n", strerror(-r));
	while (!set_settle(set, 4096))
		set_tick(set, clock_now());
	set_poll(set, false);
	w->changed += BATCH;
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
		batch_write(w);
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

// --- effect

struct effect {
	struct plane *plane;
	const char *dir;
	uint32_t samples;
	uint32_t target; // network byte order
	struct list_state state;
	struct entry entry;
	struct digest hash;
	uint64_t seq;
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

static void effect_measure(struct plane *p, void *ctx)
{
	struct effect *e = ctx;
	struct worker *w = &p->workers->worker[0];
	uint64_t before = w->reasons[REASON_ENTRY_DENY].packets;
	bool denied = false;

	while (!atomic_load_explicit(&e->done, memory_order_relaxed)) {
		uint64_t now;

		worker_turn(w);
		now = w->reasons[REASON_ENTRY_DENY].packets;
		if ((now != before) != denied) {
			denied = !denied;
			atomic_store_explicit(&e->seen_at, rte_rdtsc(), memory_order_release);
		}
		before = now;
	}
}

static int link_connect(const char *dir)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s/link", dir);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		rte_exit(1, "the link: %s\n", strerror(errno));
	return fd;
}

// The answer to what was sent last; denials come unasked.
static uint32_t answer_wait(int fd, uint16_t type)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct wire_header h;
	struct wire_result result;

	do {
		ssize_t n = recv(fd, message, sizeof(message), 0);

		if (n < (ssize_t)sizeof(h))
			rte_exit(1, "the link has ended\n");
		memcpy(&h, message, sizeof(h));
	} while (h.type != type);
	memcpy(&result, message, sizeof(result));
	return type == WIRE_RESULT ? result.code : 0;
}

static void hello(struct effect *e, int fd)
{
	struct wire_hello m = {
		.header = {
			.type = WIRE_HELLO,
			.version = WIRE_VERSION,
			.length = sizeof(m),
			.seq = ++e->seq,
		},
		.build = STANCH_VERSION,
	};

	wire_state_pack(&e->state, &m.state);
	if (send(fd, &m, sizeof(m), 0) < 0)
		rte_exit(1, "the link: %s\n", strerror(errno));
	answer_wait(fd, WIRE_HELLO_ACK);
}

static size_t change_message(struct effect *e, bool add, uint8_t *message, size_t room)
{
	struct wire_batch m = {
		.header = {.type = WIRE_BATCH, .version = WIRE_VERSION, .seq = ++e->seq},
		.from_epoch = e->state.revision.epoch,
		.from_number = e->state.revision.number++,
		.n = 1,
	};
	int n = wire_entry_write(
		message + sizeof(m), room - sizeof(m), add ? WIRE_PUT : WIRE_REMOVE, &e->entry
	);

	if (add)
		digest_add(&e->state.digest, e->hash);
	else
		digest_remove(&e->state.digest, e->hash);
	e->state.count += add ? 1 : -(uint64_t)1;
	wire_state_pack(&e->state, &m.after);
	m.header.length = (uint32_t)sizeof(m) + (uint32_t)n;
	memcpy(message, &m, sizeof(m));
	return m.header.length;
}

// Control's side: a thread of its own on the control thread's CPU.
static void *effect_control(void *ctx)
{
	struct effect *e = ctx;
	uint8_t message[1024];
	int fd = link_connect(e->dir);

	hello(e, fd);
	for (uint32_t i = 0; i < e->samples; i++) {
		size_t len = change_message(e, i % 2 == 0, message, sizeof(message));
		uint64_t sent, seen;
		uint32_t code;

		atomic_store(&e->seen_at, 0);
		sent = rte_rdtsc();
		if (send(fd, message, len, 0) < 0)
			rte_exit(1, "the link: %s\n", strerror(errno));
		code = answer_wait(fd, WIRE_RESULT);
		if (code != WIRE_OK)
			rte_exit(1, "a change was answered %s\n", wire_code_name(code));
		while (!(seen = atomic_load_explicit(&e->seen_at, memory_order_acquire)))
			sched_yield();
		e->took[i % 2][i / 2] = plane_ns((double)(seen - sent)) / 1e3;
	}
	close(fd);
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

	e = (struct effect){.plane = p, .dir = dir, .samples = samples};
	for (int k = 0; k < 2; k++)
		e.took[k] = calloc(samples / 2 + 1, sizeof(double));
	e.target = htonl(0xc6336407); // 198.51.100.7
	e.entry = (struct entry){
		.indicator = {.kind = INDICATOR_NET, .family = 4, .prefix_len = 32},
		.enforce_until = UNTIL_FOREVER,
	};
	memcpy(e.entry.indicator.addr, &e.target, 4);
	e.hash = entry_hash(&e.entry);
	set_state(p->set, &e.state);
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
	bool rates;

	argc -= n;
	argv += n;
	rates = argc == 3 && strcmp(argv[1], "rate") == 0;
	if (n < 0 || (!rates && (argc != 5 || strcmp(argv[1], "effect") != 0))) {
		fprintf(stderr,
			"usage: bench_update [EAL options] -- rate ENTRIES\n"
			"       bench_update [EAL options] -- effect ENTRIES SAMPLES DIRECTORY\n");
		return 64;
	}
	entries = (uint32_t)strtoul(argv[2], NULL, 10);
	pool = rte_pktmbuf_pool_create("hot", MBUFS, 250, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (!pool)
		plane_fail("no memory for packets", -ENOMEM);
	plane_init(&plane, entries + SPARE);
	plane_list(&plane, TRAFFIC_REALISTIC, entries, rates ? HIT_PERCENT : 0);
	plane_fill(&plane, pool);
	plane_ports(&plane, "net_null", arguments, pool);
	plane_inject(&plane, false);
	if (rates)
		rate(&plane);
	else
		effect(&plane, (uint32_t)strtoul(argv[3], NULL, 10), argv[4]);
	plane_ports_fini(&plane);
	plane_fini(&plane);
	rte_eal_cleanup();
	return 0;
}
