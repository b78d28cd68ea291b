// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// IP of both families, to its transport or to the tunnel that its protocol number tells.
//
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
// which lets them pass as long as no entry covers the neighbour. So is what comes out of a tunnel,
// or has a route in it that leads on.

#include "dataplane/core/packet_walk.h"

#include <string.h>

#define IPV4_LEN 20
#define IPV6_LEN 40
#define TCP_LEN 20
#define UDP_LEN 8
#define ICMP_LEN 8
#define ICMPV6_LEN 4
#define IP_OCTETS_MAX 65535 // of a reassembled packet
// Of what is fragmented: a first fragment has all headers that count in so many octets, and no
// later one begins below. Otherwise a later one could put another inner destination over the one
// that was judged, where the receiver takes the last. No path has an MTU that calls for fragments
// as small.
#define FRAGMENT_HEAD 128

enum protocol {
	PROTO_HOP_BY_HOP = 0,
	PROTO_ICMP = 1,
	PROTO_IPV4 = 4,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_IPV6 = 41,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_GRE = 47,
	PROTO_AH = 51,
	PROTO_MINIMAL = 55, // RFC 2004
	PROTO_ICMPV6 = 58,
	PROTO_NONE = 59,
	PROTO_DEST_OPTIONS = 60,
	PROTO_IPIP = 94, // an older number for the same
	PROTO_ETHERIP = 97, // RFC 3378
	PROTO_MOBILITY = 135,
	PROTO_MPLS = 137, // RFC 4023
	PROTO_HIP = 139,
	PROTO_SHIM6 = 140,
	PROTO_ETHERNET = 143, // RFC 8986
	PROTO_NSH = 145,
};

// A new layer, whose header stands at `at`. It counts once its addresses are there.
static enum reason layer_begin(struct walk *w, uint8_t family)
{
	struct packet *p = w->packet;

	// Far behind the beginning, offsets would no longer fit.
	if (p->n_layers == PACKET_LAYERS_MAX || w->at > INT16_MAX)
		return REASON_TOO_DEEP;
	w->layer = &p->layers[p->n_layers];
	*w->layer = (struct packet_layer){.family = family, .l3 = (uint16_t)w->at};
	w->extensions = 0;
	return REASON_NO_ENTRY;
}

static struct packet_via *via_add(struct walk *w, const uint8_t *addr, size_t len)
{
	struct packet_via *via;

	if (w->packet->n_vias == PACKET_VIAS_MAX)
		return NULL;
	via = &w->packet->vias[w->packet->n_vias++];
	*via = (struct packet_via){.layer = (uint8_t)(w->layer - w->packet->layers)};
	memcpy(via->addr, addr, len);
	return via;
}

// --- IPv4 inside an IPv6 address

static bool embedded_add(struct walk *w, const uint8_t *addr, bool source)
{
	struct packet_via *via = via_add(w, addr, 4);

	if (!via)
		return false;
	via->embedded = true;
	via->source = source;
	return true;
}

// Behind translators and relays the packet goes on to the IPv4 address, so that is judged too:
//
//   ::a.b.c.d          compatible (RFC 4291), but for :: and ::1
//   ::ffff:a.b.c.d     mapped (RFC 4291)      ::ffff:0:a.b.c.d     translated (RFC 2765)
//   64:ff9b::a.b.c.d   NAT64 (RFC 6052), all 96 bits; in 64:ff9b:1::/48 (RFC 8215), where the
//                      operator chooses the length, the usual /96
//   2002:a.b.c.d::     6to4 (RFC 3056)
//   2001:0:a.b.c.d::…  Teredo (RFC 4380): the server, and the client with all bits turned
static bool embedded_walk(struct walk *w, const uint8_t *addr, bool source)
{
	static const uint8_t zero[12], ones[2] = {0xff, 0xff};
	static const uint8_t nat64_local[2] = {0, 1};
	const uint8_t *last = addr + 12;
	uint8_t client[4];

	if (!address_embeds(addr))
		return true;
	if (addr[0] == 0x20 && addr[1] == 0x02)
		return embedded_add(w, addr + 2, source);
	if (addr[0] == 0x20) {
		for (unsigned i = 0; i < 4; i++)
			client[i] = (uint8_t)~last[i];
		return embedded_add(w, client, source) && embedded_add(w, addr + 4, source);
	}
	if (addr[1]) {
		if (memcmp(addr + 4, zero, 8) != 0 && memcmp(addr + 4, nat64_local, 2) != 0)
			return true;
		return embedded_add(w, last, source);
	}
	if (memcmp(addr, zero, 12) == 0) {
		if (memcmp(last, zero, 3) == 0 && last[3] <= 1)
			return true;
		return embedded_add(w, last, source);
	}
	if (memcmp(addr, zero, 10) == 0 && memcmp(addr + 10, ones, 2) == 0)
		return embedded_add(w, last, source);
	if (memcmp(addr, zero, 8) == 0 && memcmp(addr + 8, ones, 2) == 0 && !addr[10] && !addr[11])
		return embedded_add(w, last, source);
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

// Not out of a tunnel, and to go no farther than its destination: without a route in it.
static bool at_link(const struct walk *w)
{
	return !w->inner && w->packet->n_vias == 0;
}

static bool is_link_udp(const struct walk *w)
{
	const struct packet_layer *l = w->layer;

	if (!at_link(w))
		return false;
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
	if (w->partial || !at_link(w))
		return false;
	if (type >= 133 && type <= 137)
		return w->hops == 255 && stays_on_link(l);
	if ((type >= 130 && type <= 132) || type == 143)
		return w->hops == 1 && l->dst[0] == 0xff
			&& (is_link_local(l, l->src) || is_unspecified(l->src));
	return false;
}

// --- transport

// RFC 1858 asks for the flags too; RFC 7112 for the whole header chain.
static enum reason tcp_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	struct packet_layer *l = w->layer;
	unsigned header;

	if (!walk_have(w, TCP_LEN))
		return walk_short(w, REASON_BAD_L4_HEADER);
	header = 4 * (h[12] >> 4);
	if (header < TCP_LEN)
		return REASON_BAD_L4_HEADER;
	if (header > l->l4_len && !w->partial)
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

	if (!walk_have(w, UDP_LEN))
		return walk_short(w, REASON_BAD_L4_HEADER);
	len = be16(h + 4);
	if (len < UDP_LEN || (len > l->l4_len && !w->partial))
		return REASON_BAD_L4_HEADER;
	l->sport = be16(h);
	l->dport = be16(h + 2);
	l->flags |= PACKET_PORTS;
	if (is_link_udp(w))
		return REASON_LINK_PROTOCOL;
	// What stands behind its own length is not the receiver's.
	if (len < w->end - w->at)
		w->end = w->at + len;
	return udp_tunnel_walk(w);
}

static enum reason icmpv6_walk(const struct walk *w)
{
	if (!walk_have(w, ICMPV6_LEN))
		return walk_short(w, REASON_BAD_L4_HEADER);
	return is_link_icmpv6(w, w->data[w->at]) ? REASON_LINK_PROTOCOL : REASON_NO_ENTRY;
}

// It encrypts nothing: what it protects stands behind it (RFC 4302). IPv6 has it among its
// extension headers.
static enum reason ah_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	uint32_t len;

	if (!walk_have(w, 12))
		return walk_short(w, REASON_BAD_L4_HEADER);
	len = 4 * (h[1] + 2u);
	if (len < 12)
		return REASON_BAD_L4_HEADER;
	if (!walk_have(w, len))
		return walk_short(w, REASON_BAD_L4_HEADER);
	w->proto = h[0];
	w->at += len;
	w->next = STEP_L4;
	return REASON_NO_ENTRY;
}

// Protocol, S bit, checksum, the destination that the packet had; with S, its source too.
static enum reason minimal_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	uint32_t len;

	if (!walk_have(w, 8))
		return walk_short(w, REASON_BAD_L4_HEADER);
	len = h[1] & 0x80 ? 12 : 8;
	if (!walk_have(w, len))
		return walk_short(w, REASON_BAD_L4_HEADER);
	if (!via_add(w, h + 4, 4))
		return REASON_TOO_DEEP;
	w->proto = h[0];
	w->at += len;
	w->next = STEP_L4;
	return REASON_NO_ENTRY;
}

// Of whichever family the packet is.
static enum reason tunnel_begin(struct walk *w, uint8_t proto)
{
	switch (proto) {
	case PROTO_IPV4:
	case PROTO_IPIP:
		return walk_into(w, STEP_IPV4);
	case PROTO_IPV6:
		return walk_into(w, STEP_IPV6);
	case PROTO_GRE:
		return walk_into(w, STEP_GRE);
	case PROTO_ETHERIP:
		return walk_into(w, STEP_ETHERIP);
	case PROTO_MPLS:
		return walk_into(w, STEP_MPLS);
	case PROTO_ETHERNET:
		return walk_into(w, STEP_ETHERNET);
	case PROTO_NSH:
		return walk_into(w, STEP_NSH);
	default:
		return REASON_NO_ENTRY;
	}
}

enum reason l4_walk(struct walk *w)
{
	struct packet_layer *l = w->layer;
	uint8_t proto = w->proto;

	if (w->partial && w->at + 4 - w->fragment > FRAGMENT_HEAD) // addresses, and ports
		return REASON_FRAGMENT_TUNNEL;
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
		return walk_have(w, ICMP_LEN) ? REASON_NO_ENTRY
					      : walk_short(w, REASON_BAD_L4_HEADER);
	if (proto == PROTO_ICMPV6 && l->family == 6)
		return icmpv6_walk(w);
	if (proto == PROTO_AH && l->family == 4)
		return ah_walk(w);
	if (proto == PROTO_MINIMAL && l->family == 4)
		return minimal_walk(w);
	return tunnel_begin(w, proto);
}

// --- fragments

// `offset` in units of 8 octets. The rest of the packet from `at` on is the fragment.
static bool fragment_fits(const struct walk *w, uint32_t offset)
{
	return 8 * offset + (w->end - w->at) <= IP_OCTETS_MAX;
}

// The outermost one reaches farthest.
static void fragment_first(struct walk *w)
{
	w->layer->flags |= PACKET_FRAGMENT_FIRST;
	if (!w->partial)
		w->fragment = w->at;
	w->partial = true;
}

// Of IPv4, whose fragments all have the protocol that the first has.
static bool may_carry(uint8_t proto)
{
	switch (proto) {
	case PROTO_IPV4:
	case PROTO_UDP:
	case PROTO_IPV6:
	case PROTO_GRE:
	case PROTO_AH:
	case PROTO_MINIMAL:
	case PROTO_IPIP:
	case PROTO_ETHERIP:
	case PROTO_MPLS:
	case PROTO_ETHERNET:
	case PROTO_NSH:
		return true;
	default:
		return false;
	}
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

// What the header tells is more than there is: a lie, or in later fragments.
static bool end_set(struct walk *w, uint32_t len)
{
	if (len <= walk_rest(w)) {
		w->end = w->at + len;
		return true;
	}
	return w->partial;
}

enum reason ipv4_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	struct packet_layer *l;
	unsigned header, total, offset;
	enum reason reason;

	if (!walk_have(w, 1))
		return walk_short(w, REASON_BAD_IPV4_HEADER);
	if (h[0] >> 4 != 4)
		return REASON_BAD_IP_VERSION;
	if (!walk_have(w, IPV4_LEN))
		return walk_short(w, REASON_BAD_IPV4_HEADER);
	header = 4 * (h[0] & 15);
	total = be16(h + 2);
	if (header < IPV4_LEN || total < header || !end_set(w, total))
		return REASON_BAD_IPV4_HEADER;
	if (!walk_have(w, header))
		return walk_short(w, REASON_BAD_IPV4_HEADER);
	reason = layer_begin(w, 4);
	if (reason != REASON_NO_ENTRY)
		return reason;
	l = w->layer;
	memcpy(l->src, h + 12, 4);
	memcpy(l->dst, h + 16, 4);
	l->proto = w->proto = h[9];
	w->packet->n_layers++;
	w->hops = h[8];
	if (!ipv4_options_walk(w, h + IPV4_LEN, header - IPV4_LEN))
		return REASON_BAD_IPV4_OPTIONS;
	w->at += header;
	offset = be16(h + 6) & 0x1fff;
	if (!fragment_fits(w, offset))
		return REASON_BAD_IPV4_HEADER;
	if (offset)
		l->flags |= PACKET_FRAGMENT_LATER;
	else if (h[6] & 0x20)
		fragment_first(w);
	if (offset == 1 && h[9] == PROTO_TCP)
		return REASON_FRAGMENT_TCP_OFFSET_1;
	if (offset && 8 * offset < FRAGMENT_HEAD && may_carry(h[9]))
		return REASON_FRAGMENT_TUNNEL;
	return l4_walk(w);
}

// --- IPv6

// Types 0 (RFC 5095), 2 (RFC 6275: one home address) and 4 (RFC 8754) list the segments to come;
// 0 in the order of travel, 4 the other way round. What another type with segments left holds
// cannot be told, so neither can where the packet goes.
static bool routing_add(struct walk *w, const uint8_t *h, unsigned len)
{
	uint8_t type = h[2], left = h[3];
	unsigned n = (len - 8) / 16, first;

	if (left == 0)
		return true;
	if (left > n || left > PACKET_ROUTE_MAX)
		return false;
	if (type != 0 && type != 2 && type != 4)
		return false;
	// Segments left of type 4 is an index: below it lie the segments to come.
	first = type == 4 ? 0 : n - left;
	for (unsigned i = first; i < first + left; i++) {
		const uint8_t *segment = h + 8 + 16 * (size_t)i;

		if (!via_add(w, segment, 16) || !embedded_walk(w, segment, false))
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
		// Whatever it says comes next: only the first one's counts (RFC 8200, 4.5).
		if (8 * offset < FRAGMENT_HEAD)
			return REASON_FRAGMENT_TUNNEL;
	} else if (more) {
		fragment_first(w);
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

// To what is no extension header, whose number is w->proto.
static enum reason extensions_walk(struct walk *w)
{
	bool done = false, fragment_seen = false;

	while (!done && is_extension(w->proto)) {
		const uint8_t *h = w->data + w->at;
		uint8_t this = w->proto;
		enum reason reason = REASON_NO_ENTRY;
		unsigned len;

		// Hop-by-hop options stand first or not at all (RFC 8200, 4.1).
		if (w->extensions++ == PACKET_EXTENSIONS_MAX
		    || (this == PROTO_HOP_BY_HOP && w->extensions > 1)
		    || (this == PROTO_FRAGMENT && fragment_seen))
			return REASON_BAD_IPV6_EXTENSION;
		if (!walk_have(w, 8))
			return walk_short(w, REASON_BAD_IPV6_EXTENSION);
		w->proto = h[0];
		if (this == PROTO_FRAGMENT) {
			fragment_seen = true;
			reason = fragment_walk(w, h, &done);
			if (reason != REASON_NO_ENTRY)
				return reason;
			continue;
		}
		len = this == PROTO_AH ? 4 * (h[1] + 2u) : 8 * (h[1] + 1u);
		if (!walk_have(w, len))
			return walk_short(w, REASON_BAD_IPV6_EXTENSION);
		// AH: its fixed part and an ICV that keeps IPv6's alignment (RFC 4302, 2.2).
		if (this == PROTO_AH && (len < 12 || len % 8))
			return REASON_BAD_IPV6_EXTENSION;
		if (this == PROTO_ROUTING && !routing_add(w, h, len))
			return REASON_BAD_IPV6_EXTENSION;
		w->at += len;
	}
	return REASON_NO_ENTRY;
}

enum reason ipv6_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	struct packet_layer *l;
	unsigned payload;
	enum reason reason;

	if (!walk_have(w, 1))
		return walk_short(w, REASON_BAD_IPV6_HEADER);
	if (h[0] >> 4 != 6)
		return REASON_BAD_IP_VERSION;
	if (!walk_have(w, IPV6_LEN))
		return walk_short(w, REASON_BAD_IPV6_HEADER);
	payload = be16(h + 4);
	reason = layer_begin(w, 6);
	if (reason != REASON_NO_ENTRY)
		return reason;
	l = w->layer;
	l->proto = w->proto = h[6];
	memcpy(l->src, h + 8, 16);
	memcpy(l->dst, h + 24, 16);
	w->packet->n_layers++;
	w->hops = h[7];
	// A payload of 0 is a jumbogram (RFC 2675), or a packet that says it has none.
	if (!end_set(w, IPV6_LEN + payload) || (payload == 0 && w->proto != PROTO_NONE))
		return REASON_BAD_IPV6_HEADER;
	if (!embedded_walk(w, l->dst, false) || !embedded_walk(w, l->src, true))
		return REASON_TOO_DEEP;
	w->at += IPV6_LEN;
	reason = extensions_walk(w);
	l->proto = w->proto;
	return reason == REASON_NO_ENTRY ? l4_walk(w) : reason;
}
