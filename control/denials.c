// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/denials.h"

#include "control/api_text.h"
#include "control/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

// uthash's macros shadow and cast at will.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#include <uthash.h>

#define FOLLOWERS_MAX 16

struct denial_key {
	struct wire_indicator entry;
	uint8_t src[16], dst[16];
	uint16_t port;
	uint8_t proto, verdict;
	uint8_t inward, pad[3];
	char reason[WIRE_NAME_MAX];
};

struct aggregate {
	struct denial_key key;
	struct wire_denial denial;
	TAILQ_ENTRY(aggregate) link; // latest first
	UT_hash_handle hh;
};

struct follower {
	LIST_ENTRY(follower) link;
	struct http_request *request;
	bool closed; // by its peer: the next line is not sent, the request ended
};

struct denials {
	struct aggregate *table;
	TAILQ_HEAD(aggregates, aggregate) latest;
	size_t count, max;
	LIST_HEAD(, follower) followers;
	size_t n_followers;
};

int denials_create(size_t max, struct denials **ret_denials)
{
	struct denials *denials = calloc(1, sizeof(*denials));
	if (!denials)
		return -ENOMEM;
	denials->max = max;
	TAILQ_INIT(&denials->latest);
	LIST_INIT(&denials->followers);
	*ret_denials = denials;
	return 0;
}

static void follower_end(struct denials *denials, struct follower *follower)
{
	LIST_REMOVE(follower, link);
	denials->n_followers--;
	http_stream_end(follower->request);
	free(follower);
}

static void aggregate_remove(struct denials *denials, struct aggregate *aggregate)
{
	HASH_DEL(denials->table, aggregate);
	TAILQ_REMOVE(&denials->latest, aggregate, link);
	denials->count--;
	free(aggregate);
}

void denials_free(struct denials *denials)
{
	if (!denials)
		return;
	while (!LIST_EMPTY(&denials->followers))
		follower_end(denials, LIST_FIRST(&denials->followers));
	while (!TAILQ_EMPTY(&denials->latest))
		aggregate_remove(denials, TAILQ_FIRST(&denials->latest));
	free(denials);
}

size_t denials_count(const struct denials *denials)
{
	return denials->count;
}

static void key_of(const struct wire_denial *denial, struct denial_key *key)
{
	memset(key, 0, sizeof(*key));
	key->entry = denial->entry;
	memcpy(key->src, denial->src, sizeof(key->src));
	memcpy(key->dst, denial->dst, sizeof(key->dst));
	key->port = denial->port;
	key->proto = denial->proto;
	key->verdict = denial->verdict;
	key->inward = denial->inward;
	memcpy(key->reason, denial->reason, sizeof(key->reason));
}

static void aggregate_take(struct denials *denials, const struct wire_denial *denial)
{
	struct denial_key key;
	key_of(denial, &key);
	struct aggregate *found = NULL;
	HASH_FIND(hh, denials->table, &key, sizeof(key), found);
	if (found) {
		found->denial.packets += denial->packets;
		found->denial.bytes += denial->bytes;
		if (denial->first_ms < found->denial.first_ms)
			found->denial.first_ms = denial->first_ms;
		if (denial->last_ms > found->denial.last_ms)
			found->denial.last_ms = denial->last_ms;
		TAILQ_REMOVE(&denials->latest, found, link);
		TAILQ_INSERT_HEAD(&denials->latest, found, link);
		return;
	}
	if (denials->count == denials->max)
		aggregate_remove(denials, TAILQ_LAST(&denials->latest, aggregates));
	struct aggregate *fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return; // the data plane's counters still have it
	fresh->key = key;
	fresh->denial = *denial;
	HASH_ADD(hh, denials->table, key, sizeof(fresh->key), fresh);
	TAILQ_INSERT_HEAD(&denials->latest, fresh, link);
	denials->count++;
}

#pragma GCC diagnostic pop

static void address_set(json_t *object, const char *key, uint8_t family, const uint8_t addr[16])
{
	char text[INET6_ADDRSTRLEN];
	if (family != 4 && family != 6)
		return;
	if (inet_ntop(family == 4 ? AF_INET : AF_INET6, addr, text, sizeof(text)))
		json_object_set_new(object, key, json_string(text));
}

json_t *denial_json(const struct wire_denial *denial)
{
	json_t *object = json_object();
	char reason[WIRE_NAME_MAX + 1] = "";
	memcpy(reason, denial->reason, WIRE_NAME_MAX);
	json_object_set_new(object, "@timestamp", time_ms_json(denial->last_ms));
	json_object_set_new(object, "event.kind", json_string("event"));
	json_object_set_new(
		object, "event.action", json_string(denial->verdict == 0 ? "denied" : "monitored")
	);
	json_object_set_new(object, "event.reason", text_json(reason));
	json_object_set_new(object, "event.start", time_ms_json(denial->first_ms));
	json_object_set_new(object, "event.end", time_ms_json(denial->last_ms));
	address_set(object, "source.ip", denial->family, denial->src);
	address_set(object, "destination.ip", denial->family, denial->dst);
	if (denial->port)
		json_object_set_new(object, "destination.port", json_integer(denial->port));
	json_object_set_new(
		object,
		"network.transport",
		denial->proto == IPPROTO_TCP		? json_string("tcp")
			: denial->proto == IPPROTO_UDP	? json_string("udp")
			: denial->proto == IPPROTO_ICMP ? json_string("icmp")
							: json_sprintf("%u", denial->proto)
	);
	json_object_set_new(
		object, "network.direction", json_string(denial->inward ? "inbound" : "outbound")
	);
	json_object_set_new(object, "network.packets", json_integer((json_int_t)denial->packets));
	json_object_set_new(object, "network.bytes", json_integer((json_int_t)denial->bytes));
	struct indicator entry;
	if (denial->entry.kind
	    && wire_indicator_read(&denial->entry, sizeof(denial->entry), &entry) > 0) {
		json_object_set_new(object, "rule.id", id_json(&entry));
		json_object_set_new(object, "rule.name", indicator_json(&entry));
	}
	return object;
}

void denials_take(struct denials *denials, const struct wire_denial *denial, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		aggregate_take(denials, &denial[i]);
		if (LIST_EMPTY(&denials->followers))
			continue;
		json_t *line = denial_json(&denial[i]);
		struct follower *follower = LIST_FIRST(&denials->followers);
		while (follower) {
			struct follower *next = LIST_NEXT(follower, link);
			int error = http_stream_line(follower->request, line);
			if (error == -EPIPE || follower->closed)
				follower_end(denials, follower);
			follower = next; // -ENOBUFS: a slow reader misses lines
		}
		json_decref(line);
	}
}

void denials_each(const struct denials *denials, denial_cb cb, void *ctx)
{
	const struct aggregate *aggregate;
	TAILQ_FOREACH(aggregate, &denials->latest, link)
	if (!cb(ctx, &aggregate->denial))
		return;
}

static void follower_closed(void *ctx)
{
	struct follower *follower = ctx;
	follower->closed = true;
}

static void followers_sweep(struct denials *denials)
{
	struct follower *follower = LIST_FIRST(&denials->followers);
	while (follower) {
		struct follower *next = LIST_NEXT(follower, link);
		if (follower->closed)
			follower_end(denials, follower);
		follower = next;
	}
}

bool denials_follow(struct denials *denials, struct http_request *request)
{
	followers_sweep(denials);
	struct follower *follower = calloc(1, sizeof(*follower));
	if (!follower || denials->n_followers == FOLLOWERS_MAX) {
		free(follower);
		return false;
	}
	follower->request = request;
	LIST_INSERT_HEAD(&denials->followers, follower, link);
	denials->n_followers++;
	http_stream_begin(request, follower_closed, follower);
	return true;
}
