// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/events.h"
#include "tests/unit/cm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct sum {
	uint64_t packets, bytes, records;
};

static void add(void *ctx, const struct denial *d)
{
	struct sum *s = ctx;

	s->packets += d->packets;
	s->bytes += d->bytes;
	s->records++;
}

static struct denial denial(unsigned host)
{
	struct denial d
		= {.rule = 1, .family = 4, .proto = 6, .port = 443, .packets = 1, .bytes = 60};

	memcpy(d.src, &host, sizeof(host));
	return d;
}

// Ask, let the worker hand over, take: until nothing more comes.
static void settle(struct events *e, struct sum *s)
{
	for (int i = 0; i < 64; i++) {
		events_drain(e, add, s);
		events_poll(e, 0);
	}
}

static void aggregates(void **state)
{
	struct events *e;
	struct sum s = {0};
	struct denial d = denial(7);

	(void)state;
	assert_int_equal(events_create(1, &e), 0);
	for (int i = 0; i < 1000; i++)
		events_denied(e, 0, &d);
	settle(e, &s);
	assert_int_equal(s.packets, 1000);
	assert_int_equal(s.bytes, 60000);
	assert_int_equal(s.records, 1);
	events_free(e);
}

// What is told in short is the record that it would be in full.
static void hosts_in_short(void **state)
{
	struct events *e;
	struct denial d
		= {.rule = 9,
		   .reason = 3,
		   .verdict = 1,
		   .family = 4,
		   .proto = 17,
		   .port = 53,
		   .src = {10, 0, 0, 1},
		   .dst = {203, 0, 113, 7},
		   .packets = 1,
		   .bytes = 60};

	(void)state;
	for (int inward = 0; inward < 2; inward++) {
		struct denial_host host
			= {.rule = 9, .bytes = 100, .port = 53, .proto = 17, .inward = inward};
		struct denial_host both[2];
		struct sum s = {0};

		memcpy(&host.src, d.src, 4);
		memcpy(&host.dst, d.dst, 4);
		both[0] = both[1] = host;
		both[1].port = 54;
		d.inward = inward;
		d.entry = (struct match_key){.family = 4, .prefix_len = 32};
		memcpy(d.entry.addr, inward ? d.src : d.dst, 4);
		assert_int_equal(events_create(1, &e), 0);
		events_denied(e, 0, &d);
		events_denied_hosts(e, 0, 3, 1, both, 2);
		settle(e, &s);
		assert_int_equal(s.packets, 3);
		assert_int_equal(s.bytes, 260);
		assert_int_equal(s.records, 2);
		events_free(e);
	}
}

static void different_ports_stay_apart(void **state)
{
	struct events *e;
	struct sum s = {0};
	struct denial a = denial(7), b = denial(7);

	(void)state;
	b.port = 80;
	assert_int_equal(events_create(1, &e), 0);
	events_denied(e, 0, &a);
	events_denied(e, 0, &b);
	settle(e, &s);
	assert_int_equal(s.records, 2);
	events_free(e);
}

static void full_ring_counts_what_it_loses(void **state)
{
	struct events *e;
	struct sum s = {0};

	(void)state;
	assert_int_equal(events_create(1, &e), 0);
	for (unsigned host = 0; host < 100000; host++) {
		struct denial d = denial(host);

		events_denied(e, 0, &d);
	}
	settle(e, &s);
	assert_true(events_lost(e) > 0);
	assert_int_equal(s.records + events_lost(e), 100000);
	events_free(e);
}

struct race {
	struct events *events;
	_Atomic bool done;
};

static void *worker(void *arg)
{
	struct race *r = arg;

	for (unsigned i = 0; i < 2000000; i++) {
		struct denial d = denial(i % 3000);

		events_denied(r->events, 0, &d);
		if (i % 32 == 0)
			events_poll(r->events, 0);
	}
	for (int i = 0; i < 200; i++)
		events_poll(r->events, 0);
	atomic_store(&r->done, true);
	return NULL;
}

static void two_threads(void **state)
{
	struct race r = {0};
	struct sum s = {0};
	pthread_t thread;

	(void)state;
	assert_int_equal(events_create(1, &r.events), 0);
	assert_int_equal(pthread_create(&thread, NULL, worker, &r), 0);
	while (!atomic_load(&r.done))
		events_drain(r.events, add, &s);
	pthread_join(thread, NULL);
	settle(r.events, &s);
	// A lost record is a packet or more.
	assert_true(s.packets <= 2000000);
	assert_true(s.packets + events_lost(r.events) <= 2000000);
	if (events_lost(r.events) == 0)
		assert_int_equal(s.packets, 2000000);
	assert_int_equal(s.bytes, s.packets * 60);
	events_free(r.events);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aggregates),
		cmocka_unit_test(hosts_in_short),
		cmocka_unit_test(different_ports_stay_apart),
		cmocka_unit_test(full_ring_counts_what_it_loses),
		cmocka_unit_test(two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
