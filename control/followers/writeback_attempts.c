// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Denials, gathered in memory for some seconds and then added to the rows of the cases whose claims
// stopped them. Bounded: what finds no place is counted without its hosts.

#include "control/followers/writeback_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GATHERED_MAX 4096 // pairs of hosts
#define ROWS_MAX 100 // of a case
#define FLUSH_MS 10000 // at the latest
#define GATEWAYS_MAX 255
#define GATEWAY_NAME_MAX 64
#define SLICE 200 // pairs in a turn of the loop

struct pair_key {
	struct wire_indicator entry;
	uint8_t src[16], dst[16];
	uint16_t port;
	uint8_t family, proto, verdict, inward;
	uint8_t gateway; // 1 + index of its name; 0: none
	uint8_t pad;
};

struct pair {
	struct pair_key key;
	uint64_t packets;
	int64_t first_ms, last_ms;
	UT_hash_handle hh;
};

struct wb_attempts {
	struct writeback *owner;
	struct pair *pairs;
	struct event *timer;
	uint64_t lost; // packets that found no place, since the start
	char gateways[GATEWAYS_MAX][GATEWAY_NAME_MAX]; // whose denials came; "": the rest is free
};

static const char *proto_name(uint8_t proto, char text[16])
{
	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return "icmp";
	}
	snprintf(text, 16, "protocol %u", proto);
	return text;
}

// "10.1.1.5 → 203.0.113.7 tcp/443 (watched)".
static void pair_print(const struct pair_key *k, char *text, size_t size)
{
	char src[INET6_ADDRSTRLEN] = "?", dst[INET6_ADDRSTRLEN] = "?", proto[16], port[8] = "";
	int family = k->family == 4 ? AF_INET : AF_INET6;

	inet_ntop(family, k->src, src, sizeof(src));
	inet_ntop(family, k->dst, dst, sizeof(dst));
	if (k->port)
		snprintf(port, sizeof(port), "/%u", k->port);
	snprintf(
		text,
		size,
		"%s → %s %s%s%s%s",
		src,
		dst,
		proto_name(k->proto, proto),
		port,
		k->inward ? " from outside" : "",
		k->verdict == 0 ? "" : " (watched only)"
	);
}

static int64_t number(const json_t *row, size_t at)
{
	return json_integer_value(json_array_get(row, at));
}

static void total_add(json_t *attempts, const char *key, int64_t by)
{
	wb_number_set(attempts, key, wb_number(attempts, key) + by);
}

// 0 also where there is no place: then the attempt has no gateway.
static uint8_t gateway_index(struct wb_attempts *a, const char *gateway)
{
	for (unsigned i = 0; gateway && i < GATEWAYS_MAX; i++) {
		if (!a->gateways[i][0])
			snprintf(a->gateways[i], GATEWAY_NAME_MAX, "%s", gateway);
		if (strcmp(a->gateways[i], gateway) == 0)
			return (uint8_t)(i + 1);
	}
	return 0;
}

static void attempts_merge(json_t *attempts, const struct pair *p, const char *gateway)
{
	json_t *rows = wb_member(attempts, "rows"), *row;
	int64_t first = p->first_ms, last = p->last_ms, packets = (int64_t)p->packets;
	char text[160];

	pair_print(&p->key, text, sizeof(text));
	row = json_object_get(rows, text);
	if (row) {
		packets += number(row, 0);
		first = number(row, 1) < first ? number(row, 1) : first;
		last = number(row, 2) > last ? number(row, 2) : last;
	}
	if (row || json_object_size(rows) < ROWS_MAX)
		json_object_set_new(
			rows,
			text,
			json_pack(
				"[I, I, I]",
				(json_int_t)packets,
				(json_int_t)first,
				(json_int_t)last
			)
		);
	else
		total_add(attempts, "more", packets);
	if (gateway)
		json_object_set_new(wb_member(attempts, "gateways"), gateway, json_true());
	total_add(attempts, "total", (int64_t)p->packets);
	first = wb_number(attempts, "first");
	if (first == 0 || p->first_ms < first)
		wb_number_set(attempts, "first", p->first_ms);
	if (p->last_ms > wb_number(attempts, "last"))
		wb_number_set(attempts, "last", p->last_ms);
}

struct merging {
	struct wb_attempts *a;
	struct wb_batch *batch;
	const struct pair *pair;
	const struct indicator *entry;
	char done[4][WB_REF_MAX]; // cases that have it already: several observables name the same
	unsigned n_done;
};

static bool claim_take(void *ctx, const struct claim *claim)
{
	struct merging *m = ctx;
	char ref[WB_REF_MAX];
	const char *observable;
	struct wb_hive *h = wb_claim_of(m->a->owner, claim->source, claim->ref, ref, &observable);
	json_t *state;

	if (!h || !h->conf->writeback.attempts || claim->state >= CLAIM_HELD
	    || !indicator_equal(&claim->indicator, m->entry))
		return true;
	for (unsigned i = 0; i < m->n_done && i < 4; i++)
		if (strcmp(m->done[i], ref) == 0)
			return true;
	memcpy(m->done[m->n_done++ % 4], ref, sizeof(ref));
	state = wb_batch_state(m->batch, h, ref);
	if (state)
		attempts_merge(
			wb_member(state, "attempts"),
			m->pair,
			m->pair->key.gateway ? m->a->gateways[m->pair->key.gateway - 1] : NULL
		);
	return true;
}

static void flush(evutil_socket_t fd, short what, void *ctx)
{
	struct wb_attempts *a = ctx;
	struct wb_batch *batch = wb_batch_begin(a->owner);
	struct pair *p, *next;
	unsigned n = 0;

	(void)fd;
	(void)what;
	if (!batch)
		return;
	HASH_ITER(hh, a->pairs, p, next)
	{
		struct indicator entry;
		struct merging m = {.a = a, .batch = batch, .pair = p, .entry = &entry};

		if (n++ == SLICE) {
			event_active(a->timer, EV_TIMEOUT, 0);
			break;
		}
		if (wire_indicator_read(&p->key.entry, sizeof(p->key.entry), &entry) > 0)
			ledger_claims_of(a->owner->ledger, &entry, false, claim_take, &m);
		HASH_DEL(a->pairs, p);
		free(p);
	}
	// Looked at within a second; whether it is time for an update is seen then.
	if (wb_batch_end(batch, 1) < 0)
		log_warning("write-back: attempts could not be kept, they are lost");
}

static void flush_soon(struct wb_attempts *a)
{
	int64_t ms = FLUSH_MS;

	if (event_pending(a->timer, EV_TIMEOUT, NULL))
		return;
	for (size_t i = 0; i < a->owner->n; i++)
		if (wb_active(&a->owner->hives[i])
		    && a->owner->hives[i].conf->writeback.delay_ms < ms)
			ms = a->owner->hives[i].conf->writeback.delay_ms;
	const struct timeval after = {ms / 1000, ms % 1000 * 1000};
	event_add(a->timer, &after);
}

void wb_attempts_add(struct wb_attempts *a, const char *gateway, const struct wire_denial *d)
{
	struct pair_key key;
	struct pair *p = NULL;

	if (!d->entry.kind)
		return;
	memset(&key, 0, sizeof(key));
	key.entry = d->entry;
	memcpy(key.src, d->src, sizeof(key.src));
	memcpy(key.dst, d->dst, sizeof(key.dst));
	key.port = d->port;
	key.family = d->family;
	key.proto = d->proto;
	key.verdict = d->verdict;
	key.inward = d->inward;
	key.gateway = gateway_index(a, gateway);
	HASH_FIND(hh, a->pairs, &key, sizeof(key), p);
	if (!p) {
		p = HASH_COUNT(a->pairs) < GATHERED_MAX ? calloc(1, sizeof(*p)) : NULL;
		if (!p) {
			a->lost += d->packets;
			return;
		}
		p->key = key;
		p->first_ms = d->first_ms;
		HASH_ADD(hh, a->pairs, key, sizeof(p->key), p);
	}
	p->packets += d->packets;
	if (d->first_ms < p->first_ms)
		p->first_ms = d->first_ms;
	if (d->last_ms > p->last_ms)
		p->last_ms = d->last_ms;
	flush_soon(a);
}

int wb_attempts_create(struct writeback *w, struct wb_attempts **ret_attempts)
{
	struct wb_attempts *a = calloc(1, sizeof(*a));
	bool wanted = false;

	for (size_t i = 0; i < w->n; i++)
		wanted |= wb_active(&w->hives[i]) && w->hives[i].conf->writeback.attempts;
	if (!a || !wanted) {
		free(a);
		return a ? 0 : -ENOMEM;
	}
	a->owner = w;
	a->timer = event_new(w->base, -1, 0, flush, a);
	if (!a->timer) {
		free(a);
		return -ENOMEM;
	}
	*ret_attempts = a;
	return 0;
}

// What is gathered and not yet in the rows goes with it.
void wb_attempts_free(struct wb_attempts *a)
{
	struct pair *p, *next;

	if (!a)
		return;
	HASH_ITER(hh, a->pairs, p, next)
	{
		HASH_DEL(a->pairs, p);
		free(p);
	}
	event_free(a->timer);
	free(a);
}
