// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/bench/plane.h"

#include "dataplane/clock.h"

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_mbuf.h>

#include <event2/event.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUMP_MS 5 // as the keeper
#define DESCRIPTORS 512
#define MEASURING_LCORE 1

void plane_fail(const char *what, int error)
{
	printf("skipped %s: %s\n", what, strerror(-error));
	exit(0);
}

void plane_init(struct plane *p, uint32_t capacity)
{
	struct set_options options = {.capacity = capacity, .workers = 1};
	int r;

	*p = (struct plane){0};
	policy_init(&options.policy);
	r = set_create(&options, clock_now(), &p->set);
	if (r == 0)
		r = events_create(1, &p->events);
	if (r == 0)
		r = sketch_create(1, 1, &p->sketch);
	p->base = event_base_new();
	if (r < 0 || !p->base)
		plane_fail("no set", r < 0 ? r : -ENOMEM);
}

void plane_list(struct plane *p, enum traffic_kind kind, uint32_t entries, unsigned hit_percent)
{
	int r = traffic_list(&p->traffic, kind, entries, p->set);

	if (r == 0)
		r = traffic_queries(&p->traffic, kind, hit_percent, p->set);
	if (r < 0)
		plane_fail("no list", r);
}

void plane_fini(struct plane *p)
{
	traffic_fini(&p->traffic);
	sketch_free(p->sketch);
	events_free(p->events);
	set_free(p->set);
	event_base_free(p->base);
}

// --- ports

static int port_begin(const struct port *port, struct rte_mempool *pool)
{
	struct rte_eth_conf conf = {0};
	int r = rte_eth_dev_configure(port->id, 1, 1, &conf);

	if (r == 0)
		r = rte_eth_rx_queue_setup(port->id, 0, DESCRIPTORS, 0, NULL, pool);
	if (r == 0)
		r = rte_eth_tx_queue_setup(port->id, 0, DESCRIPTORS, 0, NULL);
	return r == 0 ? rte_eth_dev_start(port->id) : r;
}

static void port_name(const char *driver, unsigned i, char name[64])
{
	snprintf(name, 64, "%s%u", driver, i);
}

void plane_ports(
	struct plane *p,
	const char *driver,
	const char *const arguments[2],
	struct rte_mempool *pool
)
{
	const struct workers_options options = {
		.conf = &p->conf,
		.n = 1,
		.ports = &p->ports,
		.live = set_live(p->set),
		.events = p->events,
		.sketch = p->sketch,
	};
	int r;

	p->ports = (struct ports){.n = 2};
	for (unsigned i = 0; i < 2; i++) {
		struct port *port = &p->ports.port[i];
		char name[64];

		port_name(driver, i, name);
		*port = (struct port){.inside = i == 0, .mtu = 1500, .frame_max = 1522};
		r = rte_eal_hotplug_add("vdev", name, arguments[i]);
		if (r == 0)
			r = rte_eth_dev_get_port_by_name(name, &port->id);
		if (r == 0)
			r = port_begin(port, pool);
		if (r < 0)
			plane_fail(name, r);
	}
	r = workers_create(&options, &p->workers);
	if (r < 0)
		plane_fail("no worker", r);
}

void plane_ports_fini(struct plane *p)
{
	for (unsigned i = 0; i < p->ports.n; i++) {
		char name[RTE_ETH_NAME_MAX_LEN];

		rte_eth_dev_get_name_by_port(p->ports.port[i].id, name);
		rte_eth_dev_stop(p->ports.port[i].id);
		rte_eth_dev_close(p->ports.port[i].id);
		rte_eal_hotplug_remove("vdev", name);
	}
	workers_free(p->workers);
	p->workers = NULL;
}

static void mbuf_fill(struct rte_mempool *pool, void *ctx, void *object, unsigned i)
{
	const struct traffic *t = &((struct plane *)ctx)->traffic;
	struct rte_mbuf *m = object;
	uint32_t at = i * 2 % TRAFFIC_QUERIES;

	(void)pool;
	m->data_off = RTE_PKTMBUF_HEADROOM;
	traffic_frame(rte_pktmbuf_mtod(m, uint8_t *), t->queries[at], t->queries[at + 1]);
}

void plane_fill(struct plane *p, struct rte_mempool *pool)
{
	rte_mempool_obj_iter(pool, mbuf_fill, p);
}

static inline void
addresses_write(struct plane *p, struct rte_mbuf **mbufs, uint16_t n, unsigned offset)
{
	uint32_t at = p->injected;

	for (uint16_t i = 0; i < n; i++) {
		memcpy(rte_pktmbuf_mtod(mbufs[i], uint8_t *) + offset, &p->traffic.queries[at], 4);
		at = (at + 1) % TRAFFIC_QUERIES;
	}
	p->injected = at;
}

// As a card would leave them: the frame's own length, and the mbuf's.
static inline void lengths_write(struct plane *p, struct rte_mbuf **mbufs, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		uint16_t len = traffic_imix(p->lengths++), inner = htons(len - 14);

		mbufs[i]->data_len = len;
		mbufs[i]->pkt_len = len;
		memcpy(rte_pktmbuf_mtod(mbufs[i], uint8_t *) + 16, &inner, 2);
	}
}

static uint16_t destinations_inject(
	uint16_t port, uint16_t queue, struct rte_mbuf *mbufs[], uint16_t n, uint16_t max, void *ctx
)
{
	(void)port;
	(void)queue;
	(void)max;
	addresses_write(ctx, mbufs, n, 30);
	return n;
}

static uint16_t sources_inject(
	uint16_t port, uint16_t queue, struct rte_mbuf *mbufs[], uint16_t n, uint16_t max, void *ctx
)
{
	(void)port;
	(void)queue;
	(void)max;
	addresses_write(ctx, mbufs, n, 26);
	return n;
}

static uint16_t lengths_inject(
	uint16_t port, uint16_t queue, struct rte_mbuf *mbufs[], uint16_t n, uint16_t max, void *ctx
)
{
	(void)port;
	(void)queue;
	(void)max;
	lengths_write(ctx, mbufs, n);
	return n;
}

static void callback_add(struct plane *p, unsigned port, rte_rx_callback_fn write)
{
	if (!rte_eth_add_rx_callback(p->ports.port[port].id, 0, write, p))
		plane_fail("no receive callbacks", -ENOTSUP);
}

void plane_inject(struct plane *p, bool imix)
{
	callback_add(p, 0, destinations_inject);
	callback_add(p, 1, sources_inject);
	for (unsigned i = 0; imix && i < 2; i++)
		callback_add(p, i, lengths_inject);
}

// --- the control thread

static void hit_count(void *ctx, const struct denial *d)
{
	struct plane *p = ctx;

	if (d->entry.family)
		set_hit(p->set, d->rule, &d->entry, d->packets, d->bytes);
}

void plane_pump(struct plane *p)
{
	set_tick(p->set, clock_now());
	events_drain(p->events, hit_count, p);
	sketch_drain(p->sketch, set_now(p->set).boot_ms);
	set_poll(p->set, true);
}

static void pump(evutil_socket_t fd, short what, void *ctx)
{
	struct plane *p = ctx;

	(void)fd;
	(void)what;
	plane_pump(p);
	if (atomic_load_explicit(&p->measured, memory_order_acquire))
		event_base_loopbreak(p->base);
}

static int measuring(void *ctx)
{
	struct plane *p = ctx;
	struct worker *w = &p->workers->worker[0];

	worker_begin(w);
	p->measure(p, p->measure_ctx);
	worker_end(w);
	atomic_store_explicit(&p->measured, true, memory_order_release);
	return 0;
}

void plane_run(struct plane *p, void (*measure)(struct plane *, void *), void *ctx)
{
	const struct timeval interval = {.tv_usec = PUMP_MS * 1000};
	struct event *timer = event_new(p->base, -1, EV_PERSIST, pump, p);
	int r;

	p->measure = measure;
	p->measure_ctx = ctx;
	atomic_store_explicit(&p->measured, false, memory_order_relaxed);
	event_add(timer, &interval);
	r = rte_eal_remote_launch(measuring, p, MEASURING_LCORE);
	if (r < 0)
		plane_fail("no second lcore", r);
	event_base_dispatch(p->base);
	rte_eal_mp_wait_lcore();
	event_free(timer);
}

// --- figures

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double plane_median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), double_compare);
	return values[n / 2];
}

double plane_ns(double ticks)
{
	return ticks * 1e9 / (double)rte_get_tsc_hz();
}
