// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/bench/traffic.h"

#include "dataplane/set.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POPULAR (1u << 18) // destinations of realistic traffic that are not in the list
#define PROTO_TCP 6

static uint64_t state = 42;

// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
uint64_t traffic_draw(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint32_t traffic_unicast(void)
{
	uint32_t a;

	do
		a = (uint32_t)traffic_draw();
	while (a >> 24 == 0 || a >> 24 == 127 || a >> 24 >= 224);
	return a;
}

// A rank from 0 to n − 1, by Zipf's law.
static uint32_t zipf(uint32_t n)
{
	double u = (double)(traffic_draw() >> 11) * 0x1p-53;
	uint32_t rank = (uint32_t)exp(u * log((double)n));

	return rank ? (rank - 1) % n : 0;
}

static uint32_t host_draw(enum traffic_kind kind, uint32_t n)
{
	uint64_t net;
	uint32_t octet;

	if (kind == TRAFFIC_RANDOM)
		return traffic_unicast();
	// Four to five hosts in each /24 of the list.
	net = (traffic_draw() % (n / 4 + 1)) * 0x9e3779b97f4a7c15;
	octet = 1 + (uint32_t)(net >> 56) % 222;
	octet += octet >= 127;
	return octet << 24 | ((uint32_t)(net >> 32) & 0xffff00) | (uint32_t)(traffic_draw() & 255);
}

static bool listed(struct set *set, uint32_t host)
{
	uint32_t addr = htonl(host);
	uint8_t octets[16] = {0};
	struct match_hit hit;

	memcpy(octets, &addr, 4);
	match_lookup(set_live(set)->entries, 4, octets, PROTO_TCP, 443, &hit);
	return hit.actions;
}

static struct entry host_entry(uint32_t host)
{
	struct entry e = {
		.indicator = {.kind = INDICATOR_NET, .family = 4, .prefix_len = 32},
		.enforce_until = UNTIL_FOREVER,
	};
	uint32_t addr = htonl(host);

	memcpy(e.indicator.addr, &addr, 4);
	return e;
}

int traffic_list(struct traffic *t, enum traffic_kind kind, uint32_t n, struct set *set)
{
	struct list_state all;

	t->list = calloc(n, sizeof(*t->list));
	if (!t->list)
		return -ENOMEM;
	for (t->n = 0; t->n < n;) {
		uint32_t host = host_draw(kind, n);
		struct entry e;
		int r;

		if (listed(set, host))
			continue;
		e = host_entry(host);
		r = set_load_put(set, &e);
		if (r < 0)
			return r;
		t->list[t->n++] = host;
	}
	set_state(set, &all);
	all.revision = (struct revision){1, 1};
	return set_load_complete(set, &all);
}

static uint32_t unlisted_draw(struct set *set)
{
	uint32_t host;

	do
		host = traffic_unicast();
	while (listed(set, host));
	return host;
}

int traffic_queries(
	struct traffic *t, enum traffic_kind kind, unsigned hit_percent, struct set *set
)
{
	bool zipfian = kind == TRAFFIC_REALISTIC;
	uint32_t *popular = calloc(POPULAR, sizeof(*popular));

	if (!t->queries)
		t->queries = aligned_alloc(64, TRAFFIC_QUERIES * sizeof(*t->queries));
	if (!t->queries || !popular) {
		free(popular);
		return -ENOMEM;
	}
	for (uint32_t i = 0; zipfian && i < POPULAR; i++)
		popular[i] = unlisted_draw(set);
	for (uint32_t i = 0; i < TRAFFIC_QUERIES; i++) {
		uint32_t host;

		if (traffic_draw() % 100 < hit_percent)
			host = t->list[zipfian ? zipf(t->n) : traffic_draw() % t->n];
		else
			host = zipfian ? popular[zipf(POPULAR)] : unlisted_draw(set);
		t->queries[i] = htonl(host);
	}
	free(popular);
	return 0;
}

void traffic_fini(struct traffic *t)
{
	free(t->list);
	free(t->queries);
}

// --- frames

static void put16(uint8_t *at, uint16_t value)
{
	value = htons(value);
	memcpy(at, &value, 2);
}

void traffic_frame(uint8_t frame[static TRAFFIC_FRAME], uint32_t src, uint32_t dst)
{
	uint8_t *ip = frame + 14, *tcp = ip + 20;
	uint32_t sum = 0;

	memset(frame, 0, TRAFFIC_FRAME);
	frame[0] = frame[6] = 2;
	frame[5] = 1;
	frame[11] = 2;
	put16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, TRAFFIC_FRAME - 14);
	ip[8] = 64;
	ip[9] = PROTO_TCP;
	memcpy(ip + 12, &src, 4);
	memcpy(ip + 16, &dst, 4);
	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, (uint16_t) ~((sum & 0xffff) + (sum >> 16)));
	put16(tcp, 50000);
	put16(tcp + 2, 443);
	tcp[12] = 5 << 4;
	tcp[13] = 0x10; // ACK
}

int traffic_capture(const struct traffic *t, const char *path, uint32_t n, bool source, bool imix)
{
	// libpcap's file format: magic, version 2.4, zone, accuracy, length, Ethernet.
	const uint32_t head[6] = {0xa1b2c3d4, 4u << 16 | 2, 0, 0, 65535, 1};
	static uint8_t frame[TRAFFIC_FRAME_MAX];
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	fwrite(head, sizeof(head), 1, f);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t other = htonl(0x0a000000 | (i & 0xffff)), one = t->queries[i];
		uint16_t len = imix ? traffic_imix(i) : TRAFFIC_FRAME;
		const uint32_t record[4] = {0, 0, len, len};

		traffic_frame(frame, source ? one : other, source ? other : one);
		put16(frame + 16, len - 14);
		fwrite(record, sizeof(record), 1, f);
		fwrite(frame, len, 1, f);
	}
	return fclose(f) ? -EIO : 0;
}
