// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The seam between the writer of the list and the workers: what a worker reads.
//
//   control thread (set.c, the only writer)          workers (worker.c, any number)
//   entries, exceptions: changed in place    ─────>  match_lookup, through decide()
//   policy: a new struct, one pointer store  ─────>  loaded once a burst
//   qsbr: grace is polled, never waited for  <─────  quiescent after each burst, when no packet
//                                                    is kept back and TX is handed to the driver
// Lifetime: made before the first worker starts, freed after the last has stopped.

#pragma once

#include "dataplane/core/decide.h"

#include <stdatomic.h>

struct rte_rcu_qsbr;

struct live {
	struct match *entries; // control thread: wo (through match.h), worker: ro
	struct match *exceptions; // control thread: wo (through match.h), worker: ro
	_Atomic(const struct policy *) policy; // control thread: wo, worker: ro; never NULL
	struct rte_rcu_qsbr *qsbr; // a worker registers with its index (from 0)
};
