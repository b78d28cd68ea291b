// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Counters: per reason and worker, per port. Workers write their own cache lines only.
// Thread: readers on the control thread; sums may be a burst behind.

#pragma once

#include "dataplane/core/reasons.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stats_reason {
	uint64_t packets, bytes;
};

struct stats_port {
	char name[32];
	bool link_up, inside;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, rx_missed, rx_errors, tx_errors;
	uint64_t tx_dropped; // by the worker: queue full
};

void stats_reasons(struct stats_reason ret_reasons[static REASON_COUNT]); // summed over workers
size_t stats_ports(struct stats_port *ret_ports, size_t max);
unsigned stats_workers(void);
uint64_t stats_worker_packets(unsigned worker); // judged
unsigned stats_workers_stalled(void); // by the watchdog (watch.h)
