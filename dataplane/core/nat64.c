// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/core/nat64.h"

#include <string.h>

bool nat64_len_valid(uint8_t prefix_len)
{
	return prefix_len == 96 || (prefix_len >= 32 && prefix_len <= 64 && prefix_len % 8 == 0);
}

bool nat64_add(struct nat64 *n, const uint8_t addr[static 16], uint8_t prefix_len)
{
	if (n->n == NAT64_PREFIXES_MAX || !nat64_len_valid(prefix_len))
		return false;
	memcpy(n->prefix[n->n].addr, addr, 16);
	n->prefix[n->n++].len = prefix_len;
	return true;
}

// Behind the prefix, but for octet 8, which is always 0 (RFC 6052, 2.2).
static void ipv4_take(const uint8_t *addr, uint8_t prefix_len, uint8_t ret_addr[static 4])
{
	unsigned at = prefix_len / 8;

	for (unsigned i = 0; i < 4; i++) {
		if (at == 8)
			at++;
		ret_addr[i] = addr[at++];
	}
}

// `like`: what the further address has in common with this one.
static bool
address_walk(const struct nat64 *n, struct packet *p, const uint8_t *addr, struct packet_via like)
{
	for (uint8_t i = 0; i < n->n; i++) {
		struct packet_via *via;

		if (memcmp(addr, n->prefix[i].addr, n->prefix[i].len / 8u) != 0)
			continue;
		if (p->n_vias == PACKET_VIAS_MAX)
			return false;
		via = &p->vias[p->n_vias++];
		*via = like;
		ipv4_take(addr, n->prefix[i].len, via->addr);
	}
	return true;
}

static bool layer_walk(const struct nat64 *n, struct packet *p, uint8_t index, uint8_t n_vias)
{
	const struct packet_layer *l = &p->layers[index];
	struct packet_via like = {.layer = index, .embedded = true};

	if (!address_walk(n, p, l->dst, like))
		return false;
	for (uint8_t i = 0; i < n_vias; i++) {
		const struct packet_via *via = &p->vias[i];

		if (via->layer == index && !via->embedded && !address_walk(n, p, via->addr, like))
			return false;
	}
	like.source = true;
	return address_walk(n, p, l->src, like);
}

void nat64_walk(const struct nat64 *n, struct packet *p)
{
	uint8_t n_vias = p->n_vias;

	for (uint8_t i = 0; i < p->n_layers; i++) {
		if (p->layers[i].family != 6 || layer_walk(n, p, i, n_vias))
			continue;
		if (p->reason == REASON_NO_ENTRY || p->reason == REASON_TUNNEL_UNKNOWN)
			p->reason = REASON_TOO_DEEP;
		return;
	}
}
