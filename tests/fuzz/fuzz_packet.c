// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Any octets as a record of a capture of any link type: parsed and decided, with a list that denies
// every address. Octet 0: link type; 1: direction; 2, 3: octets that were not captured.

#include "dataplane/capture.h"
#include "dataplane/core/decide.h"
#include "dataplane/core/packet_walk.h"
#include "tests/match_memory.h"

#include <pcap/pcap.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define HEADER 4
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static const int dlts[] = {
	DLT_EN10MB,
	DLT_RAW,
	DLT_IPV4,
	DLT_IPV6,
	DLT_NULL,
	DLT_LOOP,
	DLT_LINUX_SLL,
	DLT_LINUX_SLL2,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct match *everything_denied(void)
{
	static struct match *m;
	static const uint8_t hash_key[16];
	uint32_t rule;

	if (m)
		return m;
	m = match_map(4, hash_key);
	for (int i = 0; i < 4; i++) {
		struct match_key k = {.family = i < 2 ? 4 : 6, .prefix_len = 1};

		k.addr[0] = i % 2 ? 0x80 : 0;
		CHECK(match_add(m, &k, MATCH_ENFORCE, &rule) == 0);
	}
	return m;
}

static void packet_check(const struct packet *p, uint32_t len, uint32_t wire_len)
{
	CHECK(p->reason < REASON_COUNT && p->n_layers <= PACKET_LAYERS_MAX);
	CHECK(p->n_vias <= PACKET_VIAS_MAX && p->vlans <= PACKET_VLANS_MAX);
	CHECK(p->reason != REASON_BUG);
	CHECK(p->reason != REASON_NO_ENTRY || p->n_layers > 0);
	for (uint8_t i = 0; i < p->n_vias; i++)
		CHECK(p->vias[i].layer < p->n_layers);
	for (uint8_t i = 0; i < p->n_layers; i++) {
		const struct packet_layer *l = &p->layers[i];

		CHECK(l->family == 4 || l->family == 6);
		CHECK(l->l3 + (l->family == 4 ? 20u : 40u) <= len);
		if (p->reason != REASON_NO_ENTRY)
			continue;
		CHECK(l->l4 > l->l3 && l->l4 <= len);
		CHECK(i == 0 || l->l3 >= l[-1].l4);
		CHECK(l->l4 + (uint32_t)l->l4_len <= wire_len);
		if (l->flags & PACKET_PORTS)
			CHECK(l->l4 + 8u <= len && l->l4_len >= 8);
		if (l->flags & PACKET_FRAGMENT_LATER)
			CHECK(!(l->flags & (PACKET_PORTS | PACKET_FRAGMENT_FIRST)));
	}
}

// The short path answers as the long one does.
static void paths_compare(const uint8_t *octets, uint32_t len, uint32_t wire_len)
{
	struct packet a, b;

	packet_parse(octets, len, wire_len, PACKET_ETHERNET, &a);
	packet_walk(octets, len, wire_len, PACKET_ETHERNET, &b);
	CHECK(a.reason == b.reason && a.ethertype == b.ethertype && a.vlans == b.vlans);
	CHECK(a.n_layers == b.n_layers && a.n_vias == b.n_vias);
	CHECK(memcmp(a.layers, b.layers, a.n_layers * sizeof(*a.layers)) == 0);
}

// The shortest tells what the short one tells.
static void common_compare(const uint8_t *octets, uint32_t len)
{
	struct packet_brief b;
	uint32_t addr;

	if (!packet_common(octets, len, 1518))
		return;
	CHECK(len <= 1518 && packet_brief(octets, len, len, &b));
	CHECK(b.family == 4 && !b.tagged);
	for (int source = 0; source < 2; source++) {
		addr = htonl(packet_common_addr(octets, source));
		CHECK(memcmp(&addr, source ? b.src : b.dst, 4) == 0);
		CHECK(packet_common_transport(octets, source)
		      == ((uint32_t)b.proto << 16 | (source ? b.sport : b.dport)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct match *m = everything_denied();
	static const struct nat64 nat64
		= {2, {{.addr = {0}, .len = 32}, {.addr = {0x20, 0x01}, .len = 64}}};
	struct policy policy;
	struct packet p;
	struct decision d;
	uint8_t *octets, *scratch;
	uint32_t len, wire_len;

	if (size < HEADER)
		return 0;
	len = (uint32_t)size - HEADER;
	wire_len = len + (uint32_t)(data[2] << 8 | data[3]);
	// Of exactly that size: a sanitizer sees what reads beyond.
	octets = malloc(len ? len : 1);
	scratch = malloc(len + 14);
	CHECK(octets && scratch);
	memcpy(octets, data + HEADER, len);
	capture_parse(dlts[data[0] % 8], octets, len, wire_len, scratch, &p);
	// A cooked record gets an Ethernet header in place of its own.
	packet_check(&p, len + 14, wire_len + 14);
	nat64_walk(&nat64, &p);
	packet_check(&p, len + 14, wire_len + 14);
	if (len)
		paths_compare(octets, len, wire_len);
	common_compare(octets, len);
	policy_init(&policy);
	policy.have_list = true;
	decide(&policy, m, NULL, &p, (enum direction)(data[1] % 3), &d);
	CHECK(d.reason < REASON_COUNT && d.reason != REASON_BUG);
	// Everything is denied: only what ends at the wire itself may pass.
	CHECK(d.verdict == VERDICT_DROP || d.reason == REASON_LINK_PROTOCOL);
	CHECK((d.reason == REASON_ENTRY_DENY) == (d.rule != MATCH_NONE));
	free(octets);
	free(scratch);
	return 0;
}
