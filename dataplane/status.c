// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/status.h"

#include "dataplane/stats.h"

#include <stdio.h>
#include <string.h>

#define PORTS_MAX 64

static void list_fill(const struct status_sources *from, struct wire_status *w)
{
	struct scrub_result scrub;
	struct list_state state;

	set_state(from->set, &state);
	wire_state_pack(&state, &w->state);
	scrub_result(from->scrub, &scrub);
	digest_pack(scrub.digest, w->scrub_digest);
	w->scrub_count = scrub.count;
	w->scrub_age_ms = scrub.age_ms < 0 ? UINT64_MAX : (uint64_t)scrub.age_ms;
	w->scrub_errors = scrub.errors;
	w->scrub_walks = scrub.walks;
	w->capacity = set_capacity(from->set);
	w->names = set_names(from->set);
	w->exceptions = set_exception_count(from->set);
	w->allows = set_allow_count(from->set);
	w->pause_until = breakglass_pause_until(from->breakglass);
	w->list_origin = from->list_origin;
	w->list_error = (set_ends_held(from->set) ? LIST_ERROR_ENDS_HELD : 0)
		| (from->list_origin == WIRE_LIST_PREVIOUS ? LIST_ERROR_PREVIOUS : 0);
}

static size_t reasons_write(uint8_t *to, size_t room, uint32_t *ret_n)
{
	struct stats_reason counted[REASON_COUNT];
	uint32_t n = 0;

	stats_reasons(counted);
	for (; n < REASON_COUNT && (n + 1) * sizeof(struct wire_reason) <= room; n++) {
		struct wire_reason row = {
			.verdict = reason_table[n].verdict,
			.packets = counted[n].packets,
			.bytes = counted[n].bytes,
		};

		snprintf(row.name, sizeof(row.name), "%s", reason_table[n].name);
		snprintf(row.help, sizeof(row.help), "%s", reason_table[n].help);
		memcpy(to + n * sizeof(row), &row, sizeof(row));
	}
	*ret_n = n;
	return n * sizeof(struct wire_reason);
}

static size_t ports_write(uint8_t *to, size_t room, uint32_t *ret_n)
{
	struct stats_port ports[PORTS_MAX];
	size_t count = stats_ports(ports, PORTS_MAX);
	uint32_t n = 0;

	for (; n < count && (n + 1) * sizeof(struct wire_port) <= room; n++) {
		const struct stats_port *p = &ports[n];
		struct wire_port row = {
			.link_up = p->link_up,
			.inside = p->inside,
			.rx_packets = p->rx_packets,
			.rx_bytes = p->rx_bytes,
			.tx_packets = p->tx_packets,
			.tx_bytes = p->tx_bytes,
			.rx_missed = p->rx_missed,
			.rx_errors = p->rx_errors,
			.tx_errors = p->tx_errors,
			.tx_dropped = p->tx_dropped,
		};

		_Static_assert(sizeof(row.name) == sizeof(p->name), "a port's name as it is");
		memcpy(row.name, p->name, sizeof(row.name) - 1);
		memcpy(to + n * sizeof(row), &row, sizeof(row));
	}
	*ret_n = n;
	return n * sizeof(struct wire_port);
}

size_t status_build(const struct status_sources *from, void *message, size_t room)
{
	struct wire_status w = {
		.header = {.type = WIRE_STATUS, .version = WIRE_VERSION},
		.build = STANCH_VERSION,
		.uptime_ms = (uint64_t)(set_now(from->set).boot_ms - from->started_ms),
		.denials_lost = from->denials_lost,
		.workers = stats_workers(),
		.workers_stalled = stats_workers_stalled(),
		.ready = from->ready,
	};
	uint8_t *to = message;
	size_t at = sizeof(w);

	list_fill(from, &w);
	for (uint32_t i = 0; i < w.workers && i < WIRE_WORKERS_MAX; i++)
		w.worker_packets[i] = stats_worker_packets(i);
	at += reasons_write(to + at, room - at, &w.n_reasons);
	at += ports_write(to + at, room - at, &w.n_ports);
	w.header.length = (uint32_t)at;
	memcpy(to, &w, sizeof(w));
	return at;
}

static bool ports_up(void)
{
	struct stats_port ports[PORTS_MAX];
	size_t n = stats_ports(ports, PORTS_MAX);

	for (size_t i = 0; i < n; i++) {
		if (!ports[i].link_up)
			return false;
	}
	return n > 0;
}

struct status_health status_health(const struct status_sources *from)
{
	struct scrub_result scrub;

	scrub_result(from->scrub, &scrub);
	return (struct status_health){
		.workers = stats_workers() > 0 && stats_workers_stalled() == 0,
		.list = set_have_list(from->set),
		.applied = !from->link_stalled,
		.ports = from->ready && ports_up(),
		.scrub = scrub.walks == 0 || (scrub.clean && !scrub.unrepaired),
	};
}

bool status_healthy(const struct status_health *h)
{
	return h->workers && h->list && h->applied && h->ports && h->scrub;
}
