// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Workers: receive, parse, decide, act, send; run to completion on an lcore of their own.
//
// No lock, no allocation, no log, no clock and, with `idle: poll`, no system call in the loop.
// Thread: created, launched and stopped by the control thread; the loop runs on each lcore.

#pragma once

#include "dataplane/core/reasons.h"
#include "dataplane/events.h"
#include "dataplane/live.h"
#include "dataplane/node.h"
#include "dataplane/port.h"
#include "dataplane/sketch.h"
#include "dataplane/stats.h"

#include <stdatomic.h>
#include <stddef.h>

struct worker_path { // one direction of a pair
	uint16_t rx, tx; // DPDK port ids
	uint32_t frame_max;
	enum direction direction;
};

#ifndef WORKER_BURST // a bench is built with another one
#define WORKER_BURST 32
#endif

#define WORKER_FLIGHTS 4
#define WORKER_DENIED_MAX (2 * WORKER_BURST)

// A burst on its way. worker only
struct worker_flight {
	const struct worker_path *path;
	const struct policy *policy;
	uint16_t n;
	struct rte_mbuf *mbufs[WORKER_BURST];
	const uint8_t *data[WORKER_BURST]; // where each begins
	uint16_t len[WORKER_BURST]; // octets there; 0: in segments
	// Packets that packet_brief reads and that are judged by one address: one bit each, which
	// is also its position in the lookups; and their octets. Nothing else is known of them.
	uint64_t plain, plain_bytes;
	// Of the others:
	struct packet packets[WORKER_BURST];
	struct decide_asked asked[WORKER_BURST];
	bool room[WORKER_BURST]; // false: too many addresses in one burst, judged alone
	struct match_burst match;
};

// A packet that was denied, but neither told nor freed. worker only
struct worker_denied {
	struct rte_mbuf *mbuf;
	uint32_t rule;
	bool inward;
};

// Written by one worker while the control thread reads.
struct worker_count {
	_Atomic uint64_t packets, bytes;
};

// A worker's own, on pages of its own, which are its socket's.
struct worker {
	_Alignas(NODE_PAGE
	) struct worker_count reasons[REASON_COUNT]; // worker: wo, control thread: ro
	_Atomic uint64_t
		tx_dropped[CONF_PORTS_MAX]; // by DPDK port id. worker: wo, control thread: ro
	_Atomic uint64_t loops; // worker: wo, control thread: ro (watchdog)
	// Control thread refills, worker takes.
	_Alignas(NODE_APART) _Atomic uint32_t icmp_budget;
	_Alignas(NODE_APART) unsigned index;
	unsigned n_paths;
	struct worker_path paths[2 * CONF_PAIRS_MAX];
	const struct live *live;
	struct events *events;
	struct sketch *sketch;
	int32_t sample_left; // packets before the next one to sample
	bool reply_reset, idle_sleep;
	bool wide; // the processor can read many headers at once
	struct worker_flight flights[WORKER_FLIGHTS];
	// On their way, each NULL if there is none:
	struct worker_flight *received; // not yet read
	struct worker_flight *read; // not yet begun
	struct worker_flight *flying; // not yet ended
	unsigned next; // of flights, to be received into
	unsigned n_denied;
	struct worker_denied denied[WORKER_DENIED_MAX];
	unsigned held; // turns since nothing was kept back
	uint64_t stall_at; // for the test of the watchdog: the loop that never ends; 0: none
};
_Static_assert(
	sizeof(struct worker) % NODE_PAGE == 0
		&& offsetof(struct worker, icmp_budget) % NODE_APART == 0
		&& offsetof(struct worker, index) - offsetof(struct worker, icmp_budget)
			== NODE_APART
		&& offsetof(struct worker, loops) < offsetof(struct worker, icmp_budget),
	"no line is written by two workers, nor by one and the control thread"
);

// Read by all workers, each turn: nothing that changes lies near it.
struct workers {
	_Alignas(NODE_APART) unsigned n;
	_Atomic bool open, stop; // control thread: wo, worker: ro
	struct worker *worker; // n of them
};

// All of it outlives the workers.
struct workers_options {
	const struct conf *conf;
	unsigned n;
	const struct ports *ports;
	const struct live *live;
	struct events *events;
	struct sketch *sketch;
};

int workers_create(const struct workers_options *, struct workers **ret_workers);
void workers_free(struct workers *); // after workers_stop
// They run, and read no port before workers_open: a device that is not started is not to be asked.
int workers_launch(struct workers *);
void workers_open(struct workers *);
// Tell those that were launched, and wait until the last has left its loop.
void workers_stop(struct workers *);
void workers_refill(struct workers *); // the budget of ICMP answers, each 100 ms

// The loop by hand, on the caller's own thread, for who measures it: begin, turns, end.
void worker_begin(struct worker *);
unsigned worker_turn(struct worker *); // every path once; packets received
void worker_end(struct worker *); // what is in flight is sent
