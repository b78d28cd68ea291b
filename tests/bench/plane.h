// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A data plane in a process that measures it: the set, denials, ports and a worker of the real one.
//
//   main lcore    the control thread's part: denials drained and hits counted each 5 ms, grace,
//                 the sketch's samples
//   lcore 1       plane_run's function: it turns the worker's loop by hand
//
// Thread: the main lcore, but for what is said to be the measuring one's. Errors end the program.

#pragma once

#include "dataplane/events.h"
#include "dataplane/set.h"
#include "dataplane/worker.h"
#include "tests/bench/traffic.h"

#include <stdatomic.h>

struct event_base;
struct rte_mempool;

struct plane {
	struct set *set;
	struct events *events;
	struct sketch *sketch;
	struct event_base *base; // with the pump in it; the bench may add to it
	struct conf conf;
	struct ports ports; // the first inside, the second outside
	struct workers *workers;
	struct traffic traffic;
	uint32_t injected, lengths; // next query, next frame's length; measuring thread
	void (*measure)(struct plane *, void *);
	void *measure_ctx;
	_Atomic bool measured;
};

// EAL has been started. Room for `capacity` entries.
void plane_init(struct plane *, uint32_t capacity);
void plane_list(struct plane *, enum traffic_kind, uint32_t entries, unsigned hit_percent);
void plane_fini(struct plane *);

// Two ports of a driver, with a worker on them. `arguments` has one text a port.
void plane_ports(struct plane *, const char *driver, const char *const arguments[2], struct rte_mempool *);
void plane_ports_fini(struct plane *);
// Frames in each mbuf of a pool, with queries as addresses.
void plane_fill(struct plane *, struct rte_mempool *);
// Each received packet gets the next query as the address that is judged: inside in the
// destination, outside in the source. imix: and the next length.
void plane_inject(struct plane *, bool imix);
// The function runs on lcore 1, the control thread's part here, until it returns.
void plane_run(struct plane *, void (*measure)(struct plane *, void *), void *ctx);
void plane_pump(struct plane *); // the control thread's part once

// --- any thread

double plane_median(double *values, size_t n); // sorts them
double plane_ns(double ticks);
// The case is skipped, and why. error: −errno
__attribute__((noreturn)) void plane_fail(const char *what, int error);
