// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Headers of a worker's packets: part of worker.c.
//
// Thread: the worker's own.

#pragma once

#include "dataplane/worker.h"

struct rte_mbuf;

// Of a burst that was received, with its path and policy: what of each packet is looked up in
// `entries`. Most are plain, the others are described. wide: the processor can read many headers at
// once.
void worker_flight_read(struct worker_flight *, const struct match *entries, bool wide);
// Packet i of a burst is described, as if it had not been plain.
void worker_packet_describe(struct worker_flight *, unsigned i);
void worker_packet_read(const struct rte_mbuf *, struct packet *);
