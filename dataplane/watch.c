// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/watch.h"

#include <rte_ethdev.h>

#include <stdio.h>
#include <string.h>

static struct {
	const struct ports *ports;
	struct workers *workers;
	uint64_t loops[CONF_WORKERS_MAX];
	int64_t moved_ms[CONF_WORKERS_MAX];
	unsigned stalled;
} watch;

void watch_begin(const struct ports *ports, struct workers *workers)
{
	memset(&watch, 0, sizeof(watch));
	watch.ports = ports;
	watch.workers = workers;
}

unsigned watch_tick(int64_t now_ms)
{
	unsigned stalled = 0;

	for (unsigned i = 0; watch.workers && i < watch.workers->n; i++) {
		uint64_t loops = atomic_load_explicit(
			&watch.workers->worker[i].loops, memory_order_relaxed
		);

		if (loops != watch.loops[i] || watch.moved_ms[i] == 0) {
			watch.loops[i] = loops;
			watch.moved_ms[i] = now_ms;
		}
		stalled += now_ms - watch.moved_ms[i] > WATCH_STALL_MS;
	}
	watch.stalled = stalled;
	return stalled;
}

// A worker counts on meanwhile.
static uint64_t counter_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void stats_reasons(struct stats_reason ret_reasons[static REASON_COUNT])
{
	memset(ret_reasons, 0, sizeof(*ret_reasons) * REASON_COUNT);
	for (unsigned i = 0; watch.workers && i < watch.workers->n; i++) {
		const struct worker *w = &watch.workers->worker[i];

		for (int r = 0; r < REASON_COUNT; r++) {
			ret_reasons[r].packets += counter_read(&w->reasons[r].packets);
			ret_reasons[r].bytes += counter_read(&w->reasons[r].bytes);
		}
	}
}

size_t stats_ports(struct stats_port *ret_ports, size_t max)
{
	size_t n = 0;

	for (unsigned i = 0; watch.ports && i < watch.ports->n && n < max; i++) {
		const struct port *p = &watch.ports->port[i];
		struct stats_port *s = &ret_ports[n++];
		struct rte_eth_stats eth = {0};

		rte_eth_stats_get(p->id, &eth);
		*s = (struct stats_port){
			.link_up = port_link_up(p),
			.inside = p->inside,
			.rx_packets = eth.ipackets,
			.rx_bytes = eth.ibytes,
			.tx_packets = eth.opackets,
			.tx_bytes = eth.obytes,
			.rx_missed = RTE_MAX(eth.imissed, port_kernel_drops(p)),
			.rx_errors = eth.ierrors,
			.tx_errors = eth.oerrors,
		};
		snprintf(s->name, sizeof(s->name), "%s", p->conf->name);
		for (unsigned k = 0; watch.workers && k < watch.workers->n; k++)
			s->tx_dropped += counter_read(&watch.workers->worker[k].tx_dropped[p->id]);
	}
	return n;
}

unsigned stats_workers(void)
{
	return watch.workers ? watch.workers->n : 0;
}

uint64_t stats_worker_packets(unsigned worker)
{
	uint64_t packets = 0;

	for (int r = 0; r < REASON_COUNT; r++)
		packets += counter_read(&watch.workers->worker[worker].reasons[r].packets);
	return packets;
}

unsigned stats_workers_stalled(void)
{
	return watch.stalled;
}
