// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Forwarded without being judged (LINK_PROTOCOL): what keeps the wire itself working. None of it
// may become a way out for data, so each is taken only in a form that no router carries on:
//
//   ARP, EAPOL, PTP over Ethernet   no IP: they end at the neighbour
//   LLDP, STP, slow protocols       only to the addresses of IEEE 802.1D that no bridge forwards
//   ND (RFC 4861)                   hop limit 255, to link-local or link-scope multicast
//   MLD (RFC 2710, 3810)            hop limit 1, from link-local or ::, to multicast
//   PTP over UDP (IEEE 1588)        only to PTP's own multicast groups
//   BFD (RFC 5881)                  TTL 255, only to link-local or link-scope multicast
//
// ND and BFD to a global unicast address are ordinary packets: a router would carry them on to a
// denied destination, whatever the receiver there makes of their TTL. They are judged by the list,
// which lets them pass as long as no entry covers the neighbour.

#include "dataplane/core/packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define ETHER_LEN 14
#define ETHERTYPE_MIN 0x600 // below: a length, then LLC

#define IPV4_LEN 20
#define IPV6_LEN 40
#define TCP_LEN 20
#define UDP_LEN 8
#define ICMP_LEN 8
#define ICMPV6_LEN 4
#define IP_OCTETS_MAX 65535 // of a reassembled packet

enum protocol {
	PROTO_HOP_BY_HOP = 0,
	PROTO_ICMP = 1,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_AH = 51,
	PROTO_ICMPV6 = 58,
	PROTO_NONE = 59,
	PROTO_DEST_OPTIONS = 60,
	PROTO_MOBILITY = 135,
	PROTO_HIP = 139,
	PROTO_SHIM6 = 140,
};

struct walk {
	const uint8_t *data;
	uint32_t len; // octets at hand
	uint32_t wire_len;
	uint32_t at; // of the header to be read next
	uint32_t end; // of the IP packet, as its header tells; ≤ wire_len
	uint8_t hops; // TTL or hop limit
	uint8_t extensions;
	struct packet *packet;
	struct packet_layer *layer;
};

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

// Are `n` octets of the IP packet at hand from `at` on?
static bool have(const struct walk *w, uint32_t at, uint32_t n)
{
	uint32_t end = w->end < w->len ? w->end : w->len;

	return at <= end && n <= end - at;
}

static bool via_add(struct walk *w, const uint8_t *addr, size_t len)
{
	struct packet_via *via;

	if (w->packet->n_vias == PACKET_VIAS_MAX)
		return false;
	via = &w->packet->vias[w->packet->n_vias++];
	*via = (struct packet_via){.layer = (uint8_t)(w->layer - w->packet->layers)};
	memcpy(via->addr, addr, len);
	return true;
}

// --- addresses

static bool is_link_local(const struct packet_layer *l, const uint8_t *addr)
{
	if (l->family == 4)
		return addr[0] == 169 && addr[1] == 254;
	return addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80;
}

static bool is_link_multicast(const struct packet_layer *l, const uint8_t *addr)
{
	if (l->family == 4)
		return addr[0] == 224 && addr[1] == 0 && addr[2] == 0;
	return addr[0] == 0xff && (addr[1] & 0x0f) == 2;
}

static bool is_unspecified(const uint8_t *addr)
{
	static const uint8_t zero[16];

	return memcmp(addr, zero, sizeof(zero)) == 0;
}

static bool stays_on_link(const struct packet_layer *l)
{
	return is_link_local(l, l->dst) || is_link_multicast(l, l->dst);
}

// 224.0.1.129 – 132, 224.0.0.107, ff0X::181 – 184, ff02::6b
static bool is_ptp_group(const struct packet_layer *l)
{
	const uint8_t *a = l->dst;
	static const uint8_t zero[12];

	if (l->family == 4)
		return (a[0] == 224 && a[1] == 0 && a[2] == 1 && a[3] >= 129 && a[3] <= 132)
			|| (a[0] == 224 && a[1] == 0 && a[2] == 0 && a[3] == 107);
	if (a[0] != 0xff || (a[1] & 0xf0) || memcmp(a + 2, zero, sizeof(zero)) != 0)
		return false;
	return (a[14] == 1 && a[15] >= 0x81 && a[15] <= 0x84)
		|| (a[1] == 2 && a[14] == 0 && a[15] == 0x6b);
}

static bool is_link_udp(const struct walk *w)
{
	const struct packet_layer *l = w->layer;

	if (l->dport == 319 || l->dport == 320)
		return is_ptp_group(l);
	if (l->dport == 3784 || l->dport == 3785)
		return w->hops == 255 && stays_on_link(l);
	return false;
}

static bool is_link_icmpv6(const struct walk *w, uint8_t type)
{
	const struct packet_layer *l = w->layer;

	// RFC 6980: ND is never fragmented. MLD is a few octets long.
	if (l->flags & PACKET_FRAGMENT_FIRST)
		return false;
	if (type >= 133 && type <= 137)
		return w->hops == 255 && stays_on_link(l);
	if ((type >= 130 && type <= 132) || type == 143)
		return w->hops == 1 && l->dst[0] == 0xff
			&& (is_link_local(l, l->src) || is_unspecified(l->src));
	return false;
}

// --- transport

// Short: what is missing may come in a later fragment, or never.
static enum reason l4_short(const struct walk *w)
{
	return w->layer->flags & PACKET_FRAGMENT_FIRST ? REASON_FRAGMENT_FIRST_SHORT
						       : REASON_BAD_L4_HEADER;
}

// RFC 1858 asks for the flags too; RFC 7112 for the whole header chain.
static enum reason tcp_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	struct packet_layer *l = w->layer;
	unsigned header;

	if (!have(w, w->at, TCP_LEN))
		return l4_short(w);
	header = 4 * (h[12] >> 4);
	if (header < TCP_LEN)
		return REASON_BAD_L4_HEADER;
	if (header > l->l4_len && !(l->flags & PACKET_FRAGMENT_FIRST))
		return REASON_BAD_L4_HEADER;
	l->sport = be16(h);
	l->dport = be16(h + 2);
	l->tcp_flags = h[13];
	l->flags |= PACKET_PORTS;
	return REASON_NO_ENTRY;
}

static enum reason udp_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	struct packet_layer *l = w->layer;
	uint16_t len;

	if (!have(w, w->at, UDP_LEN))
		return l4_short(w);
	len = be16(h + 4);
	if (len < UDP_LEN || (len > l->l4_len && !(l->flags & PACKET_FRAGMENT_FIRST)))
		return REASON_BAD_L4_HEADER;
	l->sport = be16(h);
	l->dport = be16(h + 2);
	l->flags |= PACKET_PORTS;
	return is_link_udp(w) ? REASON_LINK_PROTOCOL : REASON_NO_ENTRY;
}

static enum reason icmpv6_walk(const struct walk *w)
{
	if (!have(w, w->at, ICMPV6_LEN))
		return l4_short(w);
	return is_link_icmpv6(w, w->data[w->at]) ? REASON_LINK_PROTOCOL : REASON_NO_ENTRY;
}

static enum reason l4_walk(struct walk *w, uint8_t proto)
{
	struct packet_layer *l = w->layer;

	l->proto = proto;
	l->l4 = (uint16_t)w->at;
	l->l4_len = (uint16_t)(w->end - w->at);
	if (l->flags & PACKET_FRAGMENT_LATER)
		return REASON_NO_ENTRY;
	if (proto == PROTO_TCP)
		return tcp_walk(w);
	if (proto == PROTO_UDP)
		return udp_walk(w);
	if (proto == PROTO_ICMP && l->family == 4)
		return have(w, w->at, ICMP_LEN) ? REASON_NO_ENTRY : l4_short(w);
	if (proto == PROTO_ICMPV6 && l->family == 6)
		return icmpv6_walk(w);
	return REASON_NO_ENTRY;
}

// --- fragments

// `offset` in units of 8 octets. The rest of the packet from `at` on is the fragment.
static bool fragment_fits(const struct walk *w, uint32_t offset)
{
	return 8 * offset + (w->end - w->at) <= IP_OCTETS_MAX;
}

// --- IPv4

static bool ipv4_route_add(struct walk *w, const uint8_t *option, unsigned len)
{
	unsigned at = option[2]; // from 1

	if (len < 3 || (len - 3) % 4 != 0 || at < 4 || at % 4 != 0)
		return false;
	for (at--; at + 4 <= len; at += 4) {
		if (!via_add(w, option + at, 4))
			return false;
	}
	return true;
}

static bool ipv4_options_walk(struct walk *w, const uint8_t *options, unsigned len)
{
	unsigned at = 0;

	while (at < len && options[at] != 0) {
		uint8_t type = options[at];
		unsigned n;

		if (type == 1) {
			at++;
			continue;
		}
		if (len - at < 2 || options[at + 1] < 2 || options[at + 1] > len - at)
			return false;
		n = options[at + 1];
		// Loose and strict source route: the real destination is in there.
		if ((type == 0x83 || type == 0x89)
		    && (n < 3 || !ipv4_route_add(w, options + at, n)))
			return false;
		at += n;
	}
	return true;
}

static enum reason ipv4_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	struct packet_layer *l = w->layer;
	unsigned header, total, offset;

	w->end = w->wire_len;
	if (!have(w, w->at, 1))
		return REASON_BAD_IPV4_HEADER;
	if (h[0] >> 4 != 4)
		return REASON_BAD_IP_VERSION;
	if (!have(w, w->at, IPV4_LEN))
		return REASON_BAD_IPV4_HEADER;
	header = 4 * (h[0] & 15);
	total = be16(h + 2);
	if (header < IPV4_LEN || total < header || total > w->wire_len - w->at
	    || !have(w, w->at, header))
		return REASON_BAD_IPV4_HEADER;
	l->family = 4;
	l->l3 = (uint16_t)w->at;
	memcpy(l->src, h + 12, 4);
	memcpy(l->dst, h + 16, 4);
	l->proto = h[9];
	w->packet->n_layers = 1;
	w->hops = h[8];
	w->end = w->at + total;
	if (!ipv4_options_walk(w, h + IPV4_LEN, header - IPV4_LEN))
		return REASON_BAD_IPV4_OPTIONS;
	w->at += header;
	offset = be16(h + 6) & 0x1fff;
	if (offset)
		l->flags |= PACKET_FRAGMENT_LATER;
	else if (h[6] & 0x20)
		l->flags |= PACKET_FRAGMENT_FIRST;
	if (!fragment_fits(w, offset))
		return REASON_BAD_IPV4_HEADER;
	if (offset == 1 && h[9] == PROTO_TCP)
		return REASON_FRAGMENT_TCP_OFFSET_1;
	return l4_walk(w, h[9]);
}

// --- IPv6

// A chain cut short by fragmentation can hide anything (RFC 7112).
static enum reason extension_short(const struct walk *w)
{
	return w->layer->flags & PACKET_FRAGMENT_FIRST ? REASON_FRAGMENT_FIRST_SHORT
						       : REASON_BAD_IPV6_EXTENSION;
}

// Types 0 (RFC 5095), 2 (RFC 6275: one home address) and 4 (RFC 8754) list the segments to come;
// 0 in the order of travel, 4 the other way round. What another type with segments left holds
// cannot be told, so neither can where the packet goes.
static bool routing_add(struct walk *w, const uint8_t *h, unsigned len)
{
	uint8_t type = h[2], left = h[3];
	unsigned n = (len - 8) / 16, first;

	if (left == 0)
		return true;
	if (left > n)
		return false;
	if (type != 0 && type != 2 && type != 4)
		return false;
	// Segments left of type 4 is an index: below it lie the segments to come.
	first = type == 4 ? 0 : n - left;
	for (unsigned i = first; i < first + left; i++) {
		if (!via_add(w, h + 8 + 16 * (size_t)i, 16))
			return false;
	}
	return true;
}

// The fragment header at `at`. *ret_done: a later fragment, nothing more can be known of it.
static enum reason fragment_walk(struct walk *w, const uint8_t *h, bool *ret_done)
{
	struct packet_layer *l = w->layer;
	unsigned offset = be16(h + 2) >> 3;
	bool more = h[3] & 1;

	w->at += 8;
	if (!fragment_fits(w, offset))
		return REASON_BAD_IPV6_EXTENSION;
	if (offset) {
		l->flags |= PACKET_FRAGMENT_LATER;
		*ret_done = true;
		if (offset == 1 && h[0] == PROTO_TCP)
			return REASON_FRAGMENT_TCP_OFFSET_1;
	} else if (more) {
		l->flags |= PACKET_FRAGMENT_FIRST;
	}
	// Neither: an atomic fragment (RFC 6946), as good as whole.
	return REASON_NO_ENTRY;
}

static bool is_extension(uint8_t proto)
{
	switch (proto) {
	case PROTO_HOP_BY_HOP:
	case PROTO_ROUTING:
	case PROTO_FRAGMENT:
	case PROTO_AH:
	case PROTO_DEST_OPTIONS:
	case PROTO_MOBILITY:
	case PROTO_HIP:
	case PROTO_SHIM6:
		return true;
	default:
		return false;
	}
}

static enum reason extensions_walk(struct walk *w, uint8_t *proto)
{
	bool done = false, fragment_seen = false;

	while (!done && is_extension(*proto)) {
		const uint8_t *h = w->data + w->at;
		uint8_t this = *proto;
		enum reason reason = REASON_NO_ENTRY;
		unsigned len;

		// Hop-by-hop options stand first or not at all (RFC 8200, 4.1).
		if (w->extensions++ == PACKET_EXTENSIONS_MAX
		    || (this == PROTO_HOP_BY_HOP && w->extensions > 1)
		    || (this == PROTO_FRAGMENT && fragment_seen))
			return REASON_BAD_IPV6_EXTENSION;
		if (!have(w, w->at, 8))
			return extension_short(w);
		*proto = h[0];
		if (this == PROTO_FRAGMENT) {
			fragment_seen = true;
			reason = fragment_walk(w, h, &done);
			if (reason != REASON_NO_ENTRY)
				return reason;
			continue;
		}
		len = this == PROTO_AH ? 4 * (h[1] + 2u) : 8 * (h[1] + 1u);
		if (!have(w, w->at, len))
			return extension_short(w);
		// AH: its fixed part and an ICV that keeps IPv6's alignment (RFC 4302, 2.2).
		if (this == PROTO_AH && (len < 12 || len % 8))
			return REASON_BAD_IPV6_EXTENSION;
		if (this == PROTO_ROUTING && !routing_add(w, h, len))
			return REASON_BAD_IPV6_EXTENSION;
		w->at += len;
	}
	return REASON_NO_ENTRY;
}

static enum reason ipv6_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	struct packet_layer *l = w->layer;
	uint8_t proto;
	unsigned payload;
	enum reason reason;

	w->end = w->wire_len;
	if (!have(w, w->at, 1))
		return REASON_BAD_IPV6_HEADER;
	if (h[0] >> 4 != 6)
		return REASON_BAD_IP_VERSION;
	if (!have(w, w->at, IPV6_LEN))
		return REASON_BAD_IPV6_HEADER;
	payload = be16(h + 4);
	proto = h[6];
	l->family = 6;
	l->l3 = (uint16_t)w->at;
	l->proto = proto;
	memcpy(l->src, h + 8, 16);
	memcpy(l->dst, h + 24, 16);
	w->packet->n_layers = 1;
	w->hops = h[7];
	// A payload of 0 is a jumbogram (RFC 2675), or a packet that says it has none.
	if (payload > w->wire_len - w->at - IPV6_LEN || (payload == 0 && proto != PROTO_NONE))
		return REASON_BAD_IPV6_HEADER;
	w->at += IPV6_LEN;
	w->end = w->at + payload;
	reason = extensions_walk(w, &proto);
	l->proto = proto;
	if (reason != REASON_NO_ENTRY)
		return reason;
	return l4_walk(w, proto);
}

// --- the link

static bool is_reserved_group(const uint8_t *mac)
{
	static const uint8_t group[5] = {0x01, 0x80, 0xc2, 0x00, 0x00};

	return memcmp(mac, group, sizeof(group)) == 0 && mac[5] < 0x10;
}

// LLC: 802.1D's own SAP, both ways, unnumbered information.
static bool is_stp(const struct walk *w)
{
	const uint8_t *llc = w->data + w->at;

	return w->len >= w->at + 3 && llc[0] == 0x42 && llc[1] == 0x42 && llc[2] == 0x03
		&& is_reserved_group(w->data);
}

static enum reason ethertype_walk(struct walk *w, uint16_t type)
{
	if (type < ETHERTYPE_MIN)
		return is_stp(w) ? REASON_LINK_PROTOCOL : REASON_NON_IP;
	switch (type) {
	case 0x0800:
		return ipv4_walk(w);
	case 0x86dd:
		return ipv6_walk(w);
	case 0x0806: // ARP
	case 0x888e: // EAPOL
	case 0x88f7: // PTP
		return REASON_LINK_PROTOCOL;
	case 0x8809: // slow protocols: LACP, OAM
	case 0x88cc: // LLDP
		return is_reserved_group(w->data) ? REASON_LINK_PROTOCOL : REASON_NON_IP;
	default:
		return REASON_NON_IP;
	}
}

static bool is_vlan(uint16_t type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

static enum reason ethernet_walk(struct walk *w)
{
	uint16_t type;

	if (w->len < ETHER_LEN)
		return REASON_BAD_ETHERNET;
	type = be16(w->data + 12);
	w->at = ETHER_LEN;
	while (is_vlan(type)) {
		if (w->packet->vlans == PACKET_VLANS_MAX || w->len < w->at + 4)
			return REASON_BAD_VLAN;
		w->packet->vlans++;
		type = be16(w->data + w->at + 2);
		w->at += 4;
	}
	w->packet->ethertype = type;
	return ethertype_walk(w, type);
}

static enum reason raw_walk(struct walk *w)
{
	if (w->len == 0)
		return REASON_BAD_IP_VERSION;
	w->packet->ethertype = w->data[0] >> 4 == 6 ? 0x86dd : 0x0800;
	return w->packet->ethertype == 0x86dd ? ipv6_walk(w) : ipv4_walk(w);
}

void packet_parse(
	const uint8_t *data,
	uint32_t len,
	uint32_t wire_len,
	enum packet_link link,
	struct packet *ret_packet
)
{
	struct walk w = {
		.data = data,
		.len = len,
		.wire_len = wire_len < len ? len : wire_len,
		.packet = ret_packet,
		.layer = &ret_packet->layers[0],
	};

	// Not the whole struct: only what has been counted is ever read.
	ret_packet->n_layers = 0;
	ret_packet->n_vias = 0;
	ret_packet->vlans = 0;
	ret_packet->ethertype = 0;
	*w.layer = (struct packet_layer){0};
	ret_packet->reason = (uint8_t)(link == PACKET_ETHERNET ? ethernet_walk(&w) : raw_walk(&w));
}
