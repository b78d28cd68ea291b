// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What most packets are, read without a walk and without a copy: Ethernet, at most one tag, IP
// without options or extensions, TCP or UDP, whole, and nothing odd.
//
// packet_parse describes these from here too, so that both say the same of a packet. Inline, for
// the worker needs two or three of the fields in its registers.
// Pure; every read is checked against `len`.

#pragma once

#include "dataplane/core/packet.h"

#include <string.h>

struct packet_brief {
	const uint8_t *src, *dst; // in the data: 4 or 16 octets, network byte order
	uint8_t family; // 4 or 6
	uint8_t proto; // TCP or UDP
	uint8_t tcp_flags; // 0 of UDP
	bool tagged;
	uint16_t sport, dport; // host byte order
	uint16_t ethertype; // after the tag
	uint16_t l3, l4, l4_len; // as in struct packet_layer
};

static inline uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

// Words that begin IPv6 addresses with an IPv4 address inside: 0 (mapped and its like), NAT64,
// 6to4, Teredo. Some others begin so too.
static inline bool address_embeds(const uint8_t *addr)
{
	uint32_t word = be32(addr);

	return word == 0 || word == 0x0064ff9b || word >> 16 == 0x2002 || word == 0x20010000;
}

// UDP ports behind which more than a datagram may stand; those of the wire's own protocols among
// them.
static inline bool brief_udp(uint16_t sport, uint16_t dport)
{
	switch (dport) {
	case 319: // PTP
	case 320:
	case 3544: // Teredo
	case 3784: // BFD
	case 3785:
	case 4754: // GRE
	case 4789: // VXLAN
	case 4790: // VXLAN-GPE
	case 6081: // GENEVE
	case 8472: // VXLAN
		return false;
	default:
		return sport != 3544;
	}
}

// The transport header at `h`, `l4_len` octets of which the wire has, `have` at hand.
static inline bool
brief_l4(const uint8_t *h, uint32_t have, uint32_t l4_len, struct packet_brief *b)
{
	if (l4_len < have)
		have = l4_len;
	if (b->proto == 6) { // TCP
		uint32_t header;

		if (have < 20)
			return false;
		header = 4 * (uint32_t)(h[12] >> 4);
		if (header < 20 || header > l4_len)
			return false;
		b->tcp_flags = h[13];
	} else {
		uint16_t len;

		if (have < 8)
			return false;
		len = be16(h + 4);
		if (len < 8 || len > l4_len || !brief_udp(be16(h), be16(h + 2)))
			return false;
		b->tcp_flags = 0;
	}
	b->sport = be16(h);
	b->dport = be16(h + 2);
	b->l4_len = (uint16_t)l4_len;
	return true;
}

static inline bool
brief_ipv4(const uint8_t *h, uint32_t have, uint32_t wire, struct packet_brief *b)
{
	uint32_t total;

	if (have < 20 || h[0] != 0x45)
		return false;
	total = be16(h + 2);
	b->proto = h[9];
	// Whole, and neither lying nor a fragment.
	if (total < 20 || total > wire || (be16(h + 6) & 0x3fff)
	    || (b->proto != 6 && b->proto != 17))
		return false;
	b->family = 4;
	b->l4 = (uint16_t)(b->l3 + 20);
	b->src = h + 12;
	b->dst = h + 16;
	return brief_l4(h + 20, have - 20, total - 20, b);
}

static inline bool
brief_ipv6(const uint8_t *h, uint32_t have, uint32_t wire, struct packet_brief *b)
{
	uint32_t payload;

	if (have < 40 || h[0] >> 4 != 6)
		return false;
	payload = be16(h + 4);
	b->proto = h[6];
	if (payload > wire - 40 || (b->proto != 6 && b->proto != 17) || address_embeds(h + 8)
	    || address_embeds(h + 24))
		return false;
	b->family = 6;
	b->l4 = (uint16_t)(b->l3 + 40);
	b->src = h + 8;
	b->dst = h + 24;
	return brief_l4(h + 40, have - 40, payload, b);
}

// Not 0 where the difference of two lengths is below 0.
static inline uint32_t negative(uint32_t difference)
{
	return difference & 0x80000000;
}

// The commonest of these: IPv4 with TCP, or UDP of no special port, in an untagged frame of a size
// that Ethernet has. What is asked of its headers is asked at once, not with a branch for each.
// What it takes, packet_brief takes too, with wire_len as len.
static inline bool packet_common(const uint8_t *data, uint32_t len, uint32_t len_max)
{
	static const uint8_t begins[4] = {0x08, 0x00, 0x45}, counts[4] = {0xff, 0xff, 0xff};
	static const uint8_t fragment[2] = {0x3f, 0xff};
	uint32_t head, wanted, mask, total, header, bad;
	uint16_t part, part_mask;

	if (len < 54)
		return false;
	total = be16(data + 16);
	memcpy(&head, data + 12, 4);
	memcpy(&wanted, begins, 4);
	memcpy(&mask, counts, 4);
	memcpy(&part, data + 20, 2);
	memcpy(&part_mask, fragment, 2);
	bad = ((head ^ wanted) & mask) | (part & part_mask) | negative(len_max - len)
		| negative(len - 14 - total);
	if (data[23] == 6) {
		header = (uint32_t)(data[46] >> 4) * 4;
		bad |= negative(header - 20);
	} else {
		header = be16(data + 38);
		bad |= (data[23] ^ 17u) | negative(header - 8)
			| !brief_udp(be16(data + 34), be16(data + 36));
	}
	return !(bad | negative(total - 20 - header));
}

// Of what packet_common takes, of the destination or the source: the address, host byte order.
static inline uint32_t packet_common_addr(const uint8_t *data, bool source)
{
	return be32(data + (source ? 26 : 30));
}

// And protocol << 16 | port.
static inline uint32_t packet_common_transport(const uint8_t *data, bool source)
{
	return (uint32_t)data[23] << 16 | be16(data + (source ? 34 : 36));
}

// `wire_len` ≥ len. False: not of these, and the rest is undefined.
static inline bool
packet_brief(const uint8_t *data, uint32_t len, uint32_t wire_len, struct packet_brief *ret_brief)
{
	struct packet_brief *b = ret_brief;
	uint32_t at = 14; // Ethernet

	if (len < 14 + 4)
		return false;
	b->ethertype = be16(data + 12);
	b->tagged = b->ethertype == 0x8100;
	if (b->tagged) {
		b->ethertype = be16(data + 16);
		at += 4;
	}
	b->l3 = (uint16_t)at;
	if (b->ethertype == 0x0800)
		return brief_ipv4(data + at, len - at, wire_len - at, b);
	return b->ethertype == 0x86dd && brief_ipv6(data + at, len - at, wire_len - at, b);
}
