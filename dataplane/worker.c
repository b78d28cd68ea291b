// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/worker.h"

#include "dataplane/act.h"
#include "dataplane/core/packet_commons.h"
#include "dataplane/worker_read.h"

#include <rte_branch_prediction.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <rte_prefetch.h>
#include <rte_rcu_qsbr.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DENIED_LEAST 16 // are told at once
#define HELD_LOOPS 8 // then the burst in flight ends, so that the worker is quiescent
#define TX_RETRIES 8
#define IDLE_POLLS 2000
#define IDLE_NS 50000
#define ICMP_A_REFILL 100 // a tenth of a second: 1,000 a second and worker

// What a burst leaves behind.
struct outbox {
	struct rte_mbuf *forward[WORKER_BURST];
	struct rte_mbuf *reply[WORKER_BURST];
	struct rte_mbuf *drop[WORKER_BURST];
	uint16_t n_forward, n_reply, n_drop;
};

// By the counter's only writer: no locked instruction, and whoever reads sees no half of it.
static void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(
		counter,
		atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed
	);
}

static void count(struct worker *w, enum reason reason, uint64_t packets, uint64_t bytes)
{
	counter_add(&w->reasons[reason].packets, packets);
	counter_add(&w->reasons[reason].bytes, bytes);
}

static void
report(struct worker *w,
       const struct packet *p,
       const struct decision *d,
       enum direction dir,
       uint32_t len)
{
	const struct packet_layer *layer = &p->layers[d->layer];
	struct denial denial = {
		.rule = d->rule,
		.reason = d->reason,
		.verdict = d->verdict,
		.family = layer->family,
		.proto = layer->proto,
		.inward = dir == DIRECTION_IN,
		.port = layer->dport,
		.packets = 1,
		.bytes = len,
	};

	if (p->n_layers == 0)
		return;
	if (d->rule != MATCH_NONE)
		match_rule_key(w->live->entries, d->rule, &denial.entry);
	memcpy(denial.src, layer->src, 16);
	memcpy(denial.dst, layer->dst, 16);
	events_denied(w->events, w->index, &denial);
}

// Turn the denied packet into its answer. False: none is due.
static bool reply(struct worker *w, struct rte_mbuf *m, const struct packet *p)
{
	bool icmp = false;
	size_t len;

	if (m->nb_segs != 1)
		return false;
	if (atomic_load_explicit(&w->icmp_budget, memory_order_relaxed) == 0
	    && p->layers[0].proto != IPPROTO_TCP)
		return false;
	len = act_reply(
		rte_pktmbuf_mtod(m, uint8_t *), m->data_len, m->buf_len - m->data_off, p, &icmp
	);
	if (len == 0)
		return false;
	if (icmp)
		atomic_fetch_sub_explicit(&w->icmp_budget, 1, memory_order_relaxed);
	m->data_len = (uint16_t)len;
	m->pkt_len = (uint32_t)len;
	m->ol_flags = 0;
	return true;
}

// A packet that has to be told apart: something in the list is near, or it had no room in the
// burst.
static void
packet_judge(struct worker *w, const struct worker_flight *f, unsigned i, struct decision *d)
{
	if (likely(f->room[i]))
		decide_answer(
			f->policy,
			w->live->exceptions,
			&f->packets[i],
			f->path->direction,
			&f->match,
			&f->asked[i],
			d
		);
	else
		decide(f->policy,
		       w->live->entries,
		       w->live->exceptions,
		       &f->packets[i],
		       f->path->direction,
		       d);
}

// What is not forwarded is an answer now, or free. p: NULL where the packet is not described.
static void packet_drop(
	struct worker *w,
	const struct worker_flight *f,
	unsigned i,
	uint8_t reason,
	struct packet *p,
	struct outbox *out
)
{
	struct rte_mbuf *m = f->mbufs[i];
	struct packet described;

	if (w->reply_reset && reason == REASON_ENTRY_DENY && f->path->direction == DIRECTION_OUT) {
		if (!p) {
			p = &described;
			worker_packet_read(m, p);
		}
		if (reply(w, m, p)) {
			out->reply[out->n_reply++] = m;
			return;
		}
	}
	out->drop[out->n_drop++] = m;
}

// A packet that was described. Whether it is forwarded.
static bool packet_settle(struct worker *w, struct worker_flight *f, unsigned i, struct outbox *out)
{
	struct decision d = {.reason = f->asked[i].reason, .rule = MATCH_NONE};
	const struct rte_mbuf *m = f->mbufs[i];
	struct packet *p = &f->packets[i];

	if (f->room[i] && decide_plain(&f->match, &f->asked[i]))
		d.verdict = f->policy->verdicts[d.reason];
	else
		packet_judge(w, f, i, &d);
	if (d.verdict != VERDICT_DROP && m->pkt_len > f->path->frame_max) {
		d.verdict = VERDICT_DROP;
		d.reason = REASON_OVERSIZE;
	}
	count(w, d.reason, 1, m->pkt_len);
	if (d.verdict != VERDICT_FORWARD && d.reason != REASON_NO_LIST)
		report(w, p, &d, f->path->direction, m->pkt_len);
	if (d.verdict == VERDICT_DROP)
		packet_drop(w, f, i, d.reason, p, out);
	return d.verdict != VERDICT_DROP;
}

// Addresses, protocol and ports of a plain packet: the same as when it was asked for.
static inline void plain_read(const struct rte_mbuf *m, struct packet_brief *b)
{
	const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *);

	if (unlikely(be16(data + 12) != 0x0800)) { // a tag, or IPv6
		(void)packet_brief(data, m->data_len, m->data_len, b);
		return;
	}
	b->family = 4;
	b->proto = data[23];
	b->src = data + 26;
	b->dst = data + 30;
	b->sport = be16(data + 34);
	b->dport = be16(data + 36);
}

// What is found among the exceptions. hit: where to put it.
static inline const struct match_hit *exception_find(
	const struct match *exceptions,
	const struct packet_brief *b,
	bool source,
	struct match_hit *hit
)
{
	const uint8_t *addr = source ? b->src : b->dst;
	uint8_t octets[16] = {0};

	if (!exceptions || (b->family == 4 && match_far4(exceptions, be32(addr))))
		return NULL;
	memcpy(octets, addr, b->family == 4 ? 4 : 16);
	match_lookup(exceptions, b->family, octets, b->proto, source ? b->sport : b->dport, hit);
	return hit;
}

// A plain packet that something in the list covers. Whether it is forwarded.
static inline bool
marked_settle(struct worker *w, struct worker_flight *f, unsigned i, struct outbox *out)
{
	const bool inward = f->path->direction == DIRECTION_IN;
	const struct match_hit *hit = &f->match.hit[i];
	const struct rte_mbuf *m = f->mbufs[i];
	struct match_hit exception;
	struct packet_brief b;
	uint8_t verdict, reason;
	struct denial denial;

	plain_read(m, &b);
	verdict = decide_hit(
		f->policy, hit, exception_find(w->live->exceptions, &b, inward, &exception), &reason
	);
	count(w, reason, 1, m->pkt_len);
	if (verdict == VERDICT_FORWARD)
		return true;
	denial = (struct denial){
		.rule = hit->enforce != MATCH_NONE ? hit->enforce : hit->monitor,
		.reason = reason,
		.verdict = verdict,
		.family = b.family,
		.proto = b.proto,
		.inward = inward,
		.port = b.dport,
		.packets = 1,
		.bytes = m->pkt_len,
	};
	memcpy(denial.src, b.src, b.family == 4 ? 4 : 16);
	memcpy(denial.dst, b.dst, b.family == 4 ? 4 : 16);
	match_rule_key(w->live->entries, denial.rule, &denial.entry);
	events_denied(w->events, w->index, &denial);
	if (verdict != VERDICT_DROP)
		return true;
	packet_drop(w, f, i, reason, NULL, out);
	return false;
}

// What is not just counted and forwarded, one bit each. Returns what is forwarded of them.
static uint64_t __attribute__((noinline))
rest_settle(struct worker *w, struct worker_flight *f, uint64_t rest, struct outbox *out)
{
	uint64_t forward = 0;

	for (; rest; rest &= rest - 1) {
		unsigned i = (unsigned)__builtin_ctzll(rest);
		bool plain = f->plain >> i & 1, passes;

		if (plain)
			f->plain_bytes -= f->mbufs[i]->pkt_len;
		if (likely(plain && f->match.hits >> i & 1)) {
			passes = marked_settle(w, f, i, out);
		} else {
			if (plain) { // only where what is not listed is not forwarded
				worker_packet_describe(f, i);
				f->asked[i] = (struct decide_asked){.reason = REASON_NO_ENTRY};
				f->room[i] = true;
			}
			passes = packet_settle(w, f, i, out);
		}
		forward |= (uint64_t)passes << i;
	}
	return forward;
}

#ifdef PACKET_COMMONS_WIDE
// As mbufs_pick. Reads and writes WORKER_BURST of them.
static __attribute__((target("avx512f,avx512vl"))) unsigned
mbufs_pick_wide(struct rte_mbuf *const *from, uint64_t which, struct rte_mbuf **to)
{
	unsigned picked = 0;

#pragma GCC unroll 8
	for (unsigned i = 0; i < WORKER_BURST; i += 8, which >>= 8) {
		__mmask8 these = (__mmask8)which;

		_mm512_storeu_si512(
			&to[picked],
			_mm512_maskz_compress_epi64(these, _mm512_loadu_si512(&from[i]))
		);
		picked += (unsigned)__builtin_popcount(these);
	}
	return picked;
}
#endif

// Packets of a burst, in order, to another place: those with a bit. Returns how many.
static inline unsigned
mbufs_pick(struct rte_mbuf *const *from, unsigned n, uint64_t which, struct rte_mbuf **to)
{
	unsigned picked = 0;

	for (unsigned i = 0; i < n; i++) {
		to[picked] = from[i];
		picked += which >> i & 1;
	}
	return picked;
}

// Denied for a host of the list and for nothing else: it is told and freed with others.
static inline void denied_put(struct worker *w, struct worker_flight *f, uint64_t denied)
{
	const bool inward = f->path->direction == DIRECTION_IN;
	unsigned n = w->n_denied;

	for (; denied; denied &= denied - 1) {
		unsigned i = (unsigned)__builtin_ctzll(denied);

		w->denied[n++] = (struct worker_denied){
			.mbuf = f->mbufs[i],
			.rule = f->match.hit[i].enforce,
			.inward = inward,
		};
		f->plain_bytes -= f->len[i];
	}
	w->n_denied = n;
}

// What was put aside. Before the worker is quiescent, for the rules may go then.
static void denied_flush(struct worker *w)
{
	struct rte_mbuf *mbufs[WORKER_DENIED_MAX];
	struct denial_host hosts[WORKER_DENIED_MAX];
	const unsigned n = w->n_denied;
	uint64_t bytes = 0;

	if (!n)
		return;
	for (unsigned i = 0; i < n; i++) {
		const struct worker_denied *one = &w->denied[i];
		struct packet_brief b;

		plain_read(one->mbuf, &b);
		hosts[i] = (struct denial_host){
			.rule = one->rule,
			.bytes = one->mbuf->pkt_len,
			.port = b.dport,
			.proto = b.proto,
			.inward = one->inward,
		};
		memcpy(&hosts[i].src, b.src, 4);
		memcpy(&hosts[i].dst, b.dst, 4);
		bytes += one->mbuf->pkt_len;
		mbufs[i] = one->mbuf;
	}
	events_denied_hosts(w->events, w->index, REASON_ENTRY_DENY, VERDICT_DROP, hosts, n);
	count(w, REASON_ENTRY_DENY, n, bytes);
	rte_pktmbuf_free_bulk(mbufs, n);
	w->n_denied = 0;
}

// Whether a packet that only a host of the list denies is dropped, and nothing else.
static inline bool denied_simply(const struct worker *w, const struct worker_flight *f)
{
	return f->policy->verdicts[REASON_ENTRY_DENY] == VERDICT_DROP && !f->policy->paused
		&& !(w->reply_reset && f->path->direction == DIRECTION_OUT);
}

// All of a burst. Most packets are only counted and forwarded, and counted once for all of them:
// stores to the same counter would wait for each other.
static void packets_finish(struct worker *w, struct worker_flight *f, struct outbox *out)
{
	const uint64_t all = ~(uint64_t)0 >> (64 - f->n);
	uint64_t forward = f->plain & ~f->match.hits, denied = f->plain & f->match.sure, rest;
	uint16_t n = 0;

	if (unlikely(f->policy->verdicts[REASON_NO_ENTRY] != VERDICT_FORWARD))
		forward = 0;
	if (unlikely(!denied_simply(w, f)))
		denied = 0;
	n = (uint16_t)__builtin_popcountll(forward);
	rest = all & ~forward & ~denied;
	if (unlikely(rest))
		forward |= rest_settle(w, f, rest, out);
	denied_put(w, f, denied);
	count(w, REASON_NO_ENTRY, n, f->plain_bytes);
#ifdef PACKET_COMMONS_WIDE
	if (w->wide)
		out->n_forward = (uint16_t)mbufs_pick_wide(f->mbufs, forward, out->forward);
	else
#endif
		out->n_forward = (uint16_t)mbufs_pick(f->mbufs, f->n, forward, out->forward);
}

static void transmit(struct worker *w, uint16_t port, struct rte_mbuf **mbufs, uint16_t n)
{
	uint16_t sent = 0;

	for (int i = 0; sent < n && i < TX_RETRIES; i++)
		sent += rte_eth_tx_burst(port, (uint16_t)w->index, mbufs + sent, n - sent);
	for (; sent < n; sent++) {
		count(w, REASON_TX_FULL, 1, mbufs[sent]->pkt_len);
		counter_add(&w->tx_dropped[port], 1);
		rte_pktmbuf_free(mbufs[sent]);
	}
}

// The remote end of a packet that was asked for. False: it has none, or is dropped for what it is,
// whatever the list.
static bool sample_read(const struct worker_flight *f, unsigned i, struct sketch_sample *sample)
{
	const bool inward = f->path->direction == DIRECTION_IN;
	const struct rte_mbuf *m = f->mbufs[i];
	const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *);

	*sample = (struct sketch_sample){.inward = inward, .bytes = m->pkt_len};
	if (!(f->plain >> i & 1)) {
		const struct packet *p = &f->packets[i];
		const struct packet_layer *l;

		if (p->n_layers == 0 || f->policy->verdicts[p->reason] == VERDICT_DROP)
			return false;
		l = &p->layers[p->n_layers - 1];
		memcpy(sample->addr, inward ? l->src : l->dst, 16);
		sample->family = l->family;
		sample->proto = l->proto;
		sample->port = l->flags & PACKET_PORTS ? inward ? l->sport : l->dport : 0;
	} else if (likely(be16(data + 12) == 0x0800)) { // where its fields are is known
		memcpy(sample->addr, data + (inward ? 26 : 30), 4);
		sample->family = 4;
		sample->proto = data[23];
		sample->port = be16(data + (inward ? 34 : 36));
	} else {
		struct packet_brief b;

		plain_read(m, &b);
		memcpy(sample->addr, inward ? b.src : b.dst, b.family == 4 ? 4 : 16);
		sample->family = b.family;
		sample->proto = b.proto;
		sample->port = inward ? b.sport : b.dport;
	}
	return true;
}

// Few bursts have a packet to sample, and fewer two.
static void __attribute__((noinline)) flight_sample(struct worker *w, const struct worker_flight *f)
{
	while (w->sample_left < 0) {
		unsigned i = (unsigned)(f->n + w->sample_left);
		struct sketch_sample sample;

		if (sample_read(f, i, &sample))
			sketch_add(w->sketch, w->index, &sample);
		w->sample_left += (int32_t)sketch_gap(w->sketch, w->index);
	}
}

// The first step: headers; the first filter of each lookup is asked for.
static void flight_read(struct worker *w, struct worker_flight *f)
{
	f->policy = atomic_load_explicit(&w->live->policy, memory_order_acquire);
	worker_flight_read(f, w->live->entries, w->wide);
	match_follow(&f->match, w->live->exceptions);
}

static inline void flight_count(struct worker *w, const struct worker_flight *f)
{
	w->sample_left -= f->n;
	if (unlikely(w->sample_left < 0))
		flight_sample(w, f);
}

// The second: verdicts, and the packets are the driver's or free.
static void flight_end(struct worker *w)
{
	struct worker_flight *f = w->flying;
	struct outbox out;

	if (!f)
		return;
	w->flying = NULL;
	out.n_forward = out.n_reply = out.n_drop = 0;
	match_end(w->live->entries, &f->match);
	packets_finish(w, f, &out);
	transmit(w, f->path->tx, out.forward, out.n_forward);
	if (out.n_reply)
		transmit(w, f->path->rx, out.reply, out.n_reply);
	if (out.n_drop)
		rte_pktmbuf_free_bulk(out.drop, out.n_drop);
	if (w->n_denied >= DENIED_LEAST)
		denied_flush(w);
}

// Four bursts are on their way at a time, so that what each asks the memory for has the others'
// work to arrive in: one was received, its headers come; one was read, its filters come; one was
// begun, its lines and rules come; and one ends.
static void flights_step(struct worker *w, struct worker_flight *received)
{
	struct worker_flight *f = w->received;

	if (f) {
		flight_read(w, f);
		flight_count(w, f);
	}
	if (w->read)
		match_filter(w->live->entries, &w->read->match);
	if (w->flying)
		match_look(w->live->entries, &w->flying->match);
	if (w->read)
		match_begin(w->live->entries, &w->read->match);
	flight_end(w);
	w->flying = w->read;
	w->read = f;
	w->received = received;
}

// Only where nothing that was looked up is kept back: it is freed or with its driver. What was only
// received will meet the list as it is then; what was only read is read once more, for the policy
// may be another by then.
static void quiescent(struct worker *w)
{
	denied_flush(w);
	rte_rcu_qsbr_quiescent(w->live->qsbr, w->index);
	w->held = 0;
	if (w->read)
		flight_read(w, w->read);
}

static unsigned path_poll(struct worker *w, const struct worker_path *path)
{
	struct worker_flight *f = &w->flights[w->next];

	f->path = path;
	f->n = rte_eth_rx_burst(path->rx, (uint16_t)w->index, f->mbufs, WORKER_BURST);
	for (uint16_t i = 0; i < f->n; i++) {
		const struct rte_mbuf *m = f->mbufs[i];

		f->data[i] = rte_pktmbuf_mtod(m, const uint8_t *);
		f->len[i] = m->nb_segs == 1 ? m->data_len : 0;
		rte_prefetch0(f->data[i]);
	}
	flights_step(w, f->n ? f : NULL);
	if (f->n)
		w->next = (w->next + 1) % WORKER_FLIGHTS;
	return f->n;
}

static void idle(struct worker *w)
{
	const struct timespec pause = {.tv_nsec = IDLE_NS};

	rte_rcu_qsbr_thread_offline(w->live->qsbr, w->index);
	nanosleep(&pause, NULL);
	rte_rcu_qsbr_thread_online(w->live->qsbr, w->index);
}

void worker_begin(struct worker *w)
{
	rte_rcu_qsbr_thread_register(w->live->qsbr, w->index);
	rte_rcu_qsbr_thread_online(w->live->qsbr, w->index);
}

unsigned worker_turn(struct worker *w)
{
	uint64_t loops = atomic_load_explicit(&w->loops, memory_order_relaxed);
	unsigned n = 0;

	for (unsigned i = 0; i < w->n_paths; i++)
		n += path_poll(w, &w->paths[i]);
	events_poll(w->events, w->index);
	if (++w->held == HELD_LOOPS)
		flight_end(w);
	if (!w->flying)
		quiescent(w);
	atomic_store_explicit(&w->loops, loops + 1, memory_order_relaxed);
	return n;
}

void worker_end(struct worker *w)
{
	for (int i = 0; i < WORKER_FLIGHTS; i++)
		flights_step(w, NULL);
	denied_flush(w);
	rte_rcu_qsbr_thread_offline(w->live->qsbr, w->index);
	rte_rcu_qsbr_thread_unregister(w->live->qsbr, w->index);
}

static int worker_run(void *arg)
{
	struct workers *all = ((void **)arg)[0];
	struct worker *w = ((void **)arg)[1];
	unsigned empty = 0;

	worker_begin(w);
	while (!atomic_load_explicit(&all->open, memory_order_acquire)
	       && !atomic_load_explicit(&all->stop, memory_order_relaxed)) {
		idle(w);
		atomic_fetch_add_explicit(&w->loops, 1, memory_order_relaxed);
	}
	while (!atomic_load_explicit(&all->stop, memory_order_relaxed)) {
		empty = worker_turn(w) ? 0 : empty + 1;
		if (w->idle_sleep && empty >= IDLE_POLLS)
			idle(w);
		while (unlikely(
			       atomic_load_explicit(&w->loops, memory_order_relaxed) == w->stall_at
		       )
		       && !atomic_load_explicit(&all->stop, memory_order_relaxed))
			rte_pause();
	}
	worker_end(w);
	return 0;
}

static void *launch_args[CONF_WORKERS_MAX][2];

static void paths_set(struct worker *w, const struct ports *ports)
{
	for (unsigned i = 0; i < ports->n; i++) {
		for (unsigned k = 0; k < ports->n; k++) {
			const struct port *a = &ports->port[i], *b = &ports->port[k];

			if (i == k || a->pair < 0 || a->pair != b->pair)
				continue;
			w->paths[w->n_paths++] = (struct worker_path){
				.rx = a->id,
				.tx = b->id,
				.frame_max = b->frame_max,
				.direction = a->inside ? DIRECTION_OUT : DIRECTION_IN,
			};
		}
	}
}

int workers_create(const struct workers_options *o, struct workers **ret_workers)
{
	const char *stall = getenv("STANCH_TEST_STALL_AT");
	struct workers *all = aligned_alloc(_Alignof(struct workers), sizeof(*all));

	if (!all)
		return -ENOMEM;
	*all = (struct workers){.worker = node_map(o->n, sizeof(struct worker))};
	if (!all->worker) {
		free(all);
		return -ENOMEM;
	}
	all->n = o->n;
	for (unsigned i = 0; i < all->n; i++) {
		struct worker *w = &all->worker[i];

		w->index = i;
		w->live = o->live;
		w->events = o->events;
		w->sketch = o->sketch;
		w->sample_left = (int32_t)sketch_gap(o->sketch, i) - 1;
		w->reply_reset = o->conf->reply_reset;
		w->idle_sleep = o->conf->idle_sleep;
#ifdef PACKET_COMMONS_WIDE
		w->wide = packet_commons_wide_usable();
#endif
		w->stall_at = stall ? strtoull(stall, NULL, 10) : 0;
		paths_set(w, o->ports);
	}
	workers_refill(all);
	*ret_workers = all;
	return 0;
}

void workers_free(struct workers *all)
{
	if (!all)
		return;
	node_unmap(all->worker, all->n, sizeof(struct worker));
	free(all);
}

int workers_launch(struct workers *all)
{
	unsigned i = 0, lcore;

	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		int rc;

		if (i == all->n)
			break;
		launch_args[i][0] = all;
		launch_args[i][1] = &all->worker[i];
		rc = rte_eal_remote_launch(worker_run, launch_args[i], lcore);
		if (rc < 0)
			return rc;
		i++;
	}
	return i == all->n ? 0 : -EINVAL;
}

void workers_open(struct workers *all)
{
	atomic_store_explicit(&all->open, true, memory_order_release);
}

void workers_stop(struct workers *all)
{
	atomic_store_explicit(&all->stop, true, memory_order_relaxed);
	rte_eal_mp_wait_lcore();
}

void workers_refill(struct workers *all)
{
	for (unsigned i = 0; i < all->n; i++)
		atomic_store_explicit(
			&all->worker[i].icmp_budget, ICMP_A_REFILL, memory_order_relaxed
		);
}
