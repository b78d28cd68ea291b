// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What carries packets: MPLS (RFC 3032), PPPoE (RFC 2516), PPP (RFC 1661), GRE (RFC 2784, 2890;
// RFC 2637 for PPTP; RFC 7637 NVGRE; ERSPAN), EtherIP (RFC 3378), NSH (RFC 8300), and behind UDP
// VXLAN (RFC 7348), VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe), GENEVE (RFC 8926), GRE (RFC 8086) and
// Teredo (RFC 4380).
//
// A header that says what it is by an EtherType or a protocol number is what it says: malformed, it
// is dropped, since the inner destination may be in what cannot be read. A UDP port is only a hint:
// an ordinary datagram may have it too, chosen at random by a client. So each of those is a tunnel
// only if the header has what its receivers insist on and says that IP follows, which chance gives
// to fewer than one datagram in a thousand; then it is as strict as the others. Whatever else is
// there no receiver of that tunnel would unwrap, and it stays a datagram to its outer destination.

#include "dataplane/core/packet_walk.h"

#define MPLS_LABELS_MAX 16

// --- MPLS

enum reason mpls_walk(struct walk *w)
{
	const uint8_t *h;
	bool bottom = false;

	for (unsigned n = 0; !bottom; n++) {
		if (n == MPLS_LABELS_MAX)
			return REASON_BAD_MPLS;
		if (!walk_have(w, 4))
			return walk_short(w, REASON_BAD_MPLS);
		bottom = w->data[w->at + 2] & 1;
		w->at += 4;
	}
	// Nothing says what follows but its first octets (RFC 4928). Ethernet comes with a control
	// word of zeros and a sequence number (RFC 4448), or at once; then an address that begins
	// with 4 or 6 looks like IP, which is why RFC 8469 wants the word. An associated channel
	// (RFC 5586) begins with 10 00.
	if (!walk_have(w, 4))
		return walk_short(w, REASON_BAD_MPLS);
	h = w->data + w->at;
	if (h[0] >> 4 == 4)
		return walk_into(w, STEP_IPV4);
	if (h[0] >> 4 == 6)
		return walk_into(w, STEP_IPV6);
	if (h[0] == 0x10 && h[1] == 0)
		return walk_unknown(w);
	if (h[0] == 0 && h[1] == 0)
		w->at += 4;
	return walk_into(w, STEP_ETHERNET);
}

// --- PPP

enum reason pppoe_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	uint32_t len;

	if (!walk_have(w, 6))
		return walk_short(w, REASON_BAD_PPPOE);
	len = be16(h + 4);
	if (h[0] != 0x11 || h[1] != 0)
		return REASON_BAD_PPPOE;
	w->at += 6;
	if (len > walk_rest(w) && !w->partial)
		return REASON_BAD_PPPOE;
	if (len < walk_rest(w))
		w->end = w->at + len;
	return walk_into(w, STEP_PPP);
}

// With or without address and control, the protocol in two octets or one (RFC 1661, 6.5).
enum reason ppp_walk(struct walk *w)
{
	unsigned proto;

	if (walk_have(w, 2) && w->data[w->at] == 0xff && w->data[w->at + 1] == 3)
		w->at += 2;
	if (!walk_have(w, 1))
		return walk_short(w, REASON_BAD_PPPOE);
	proto = w->data[w->at++];
	if (!(proto & 1)) {
		if (!walk_have(w, 1))
			return walk_short(w, REASON_BAD_PPPOE);
		proto = proto << 8 | w->data[w->at++];
	}
	switch (proto) {
	case 0x21:
		return walk_into(w, STEP_IPV4);
	case 0x57:
		return walk_into(w, STEP_IPV6);
	case 0x281:
	case 0x283:
		return walk_into(w, STEP_MPLS);
	case 0x53: // encrypted (RFC 1968), and MPPE (RFC 3078): as ESP, judged by what carries it
	case 0xfd:
		break;
	default:
		// Control protocols, which set up the link, are no way out of a tunnel. Compressed
		// headers, multilink and bridging could hide anything.
		if (proto < 0x8000)
			return REASON_TUNNEL_UNKNOWN;
	}
	return w->packet->n_layers ? REASON_NO_ENTRY : REASON_TUNNEL_UNKNOWN;
}

// --- GRE

#define GRE_CHECKSUM 0x8000
#define GRE_ROUTING 0x4000
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_ACK 0x0080
#define GRE_VERSION 7

static enum reason erspan_walk(struct walk *w, uint32_t header)
{
	const uint8_t *h = w->data + w->at;

	if (!walk_have(w, header))
		return walk_short(w, REASON_BAD_GRE);
	// The third version's sub-header is optional.
	if (header == 12 && (h[11] & 1))
		header += 8;
	if (!walk_have(w, header))
		return walk_short(w, REASON_BAD_GRE);
	w->at += header;
	return walk_into(w, STEP_ETHERNET);
}

static enum reason wccp_walk(struct walk *w)
{
	// With a header of its own, or without one.
	if (!walk_have(w, 4))
		return walk_short(w, REASON_BAD_GRE);
	if (w->data[w->at] >> 4 != 4)
		w->at += 4;
	return walk_into(w, STEP_IPV4);
}

// Version 1: PPTP's PPP with the length of its payload; and MikroTik's EoIP, told by its flags.
static enum reason gre1_walk(struct walk *w, uint16_t flags, uint16_t type)
{
	uint32_t len, header = 8;

	if (!walk_have(w, header))
		return walk_short(w, REASON_BAD_GRE);
	if (flags == (GRE_KEY | 1) && type == 0x6400) {
		w->at += header;
		return walk_into(w, STEP_ETHERNET);
	}
	if (!(flags & GRE_KEY) || type != 0x880b)
		return REASON_BAD_GRE;
	len = be16(w->data + w->at + 4);
	header += (flags & GRE_SEQUENCE ? 4 : 0) + (flags & GRE_ACK ? 4 : 0);
	if (!walk_have(w, header))
		return walk_short(w, REASON_BAD_GRE);
	w->at += header;
	if (len > walk_rest(w) && !w->partial)
		return REASON_BAD_GRE;
	if (len < walk_rest(w))
		w->end = w->at + len;
	// An acknowledgement carries nothing.
	return len ? walk_into(w, STEP_PPP) : REASON_NO_ENTRY;
}

enum reason gre_walk(struct walk *w)
{
	uint16_t flags, type;
	uint32_t header = 4;

	if (!walk_have(w, header))
		return walk_short(w, REASON_BAD_GRE);
	flags = be16(w->data + w->at);
	type = be16(w->data + w->at + 2);
	if ((flags & GRE_VERSION) == 1)
		return gre1_walk(w, flags, type);
	// A source route (RFC 1701) is deprecated, and another place for a destination.
	if ((flags & GRE_VERSION) || (flags & GRE_ROUTING))
		return REASON_BAD_GRE;
	header += (flags & GRE_CHECKSUM ? 4 : 0) + (flags & GRE_KEY ? 4 : 0)
		+ (flags & GRE_SEQUENCE ? 4 : 0);
	if (!walk_have(w, header))
		return walk_short(w, REASON_BAD_GRE);
	w->at += header;
	w->type = type;
	switch (type) {
	case 0x0000: // Cisco's keepalive
	case 0x2001: // NHRP (RFC 2332)
	case 0x00fe: // OSI: IS-IS
		return REASON_NO_ENTRY;
	case 0x88be: // ERSPAN: the first version has no sequence number, and no header
		return erspan_walk(w, flags & GRE_SEQUENCE ? 8 : 0);
	case 0x22eb:
		return erspan_walk(w, 12);
	case 0x883e:
		return wccp_walk(w);
	default:
		return walk_into(w, STEP_ETHERTYPE);
	}
}

enum reason etherip_walk(struct walk *w)
{
	if (!walk_have(w, 2))
		return walk_short(w, REASON_BAD_GRE);
	if (w->data[w->at] >> 4 != 3)
		return REASON_BAD_GRE;
	w->at += 2;
	return walk_into(w, STEP_ETHERNET);
}

// --- NSH

static enum reason nsh_next(struct walk *w, uint8_t next)
{
	switch (next) {
	case 1:
		return walk_into(w, STEP_IPV4);
	case 2:
		return walk_into(w, STEP_IPV6);
	case 3:
		return walk_into(w, STEP_ETHERNET);
	case 4:
		return walk_into(w, STEP_NSH);
	case 5:
		return walk_into(w, STEP_MPLS);
	default:
		return walk_unknown(w);
	}
}

enum reason nsh_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	uint32_t header;

	if (!walk_have(w, 8))
		return walk_short(w, REASON_BAD_NSH);
	header = 4 * (h[1] & 0x3fu);
	if (h[0] >> 6 || header < 8)
		return REASON_BAD_NSH;
	if (!walk_have(w, header))
		return walk_short(w, REASON_BAD_NSH);
	w->at += header;
	return nsh_next(w, h[3]);
}

// --- behind UDP

// A datagram too short for the header: none of this tunnel's, unless the rest is not at hand.
static enum reason datagram_short(const struct walk *w, uint32_t n)
{
	if (w->partial)
		return REASON_FRAGMENT_FIRST_SHORT;
	return n > walk_rest(w) ? REASON_NO_ENTRY : REASON_BAD_UDP_TUNNEL;
}

// The bit that says that there is an identifier is the one that every receiver wants; of the others
// some are used by extensions, and the standard has them ignored.
static enum reason vxlan_walk(struct walk *w)
{
	if (!walk_have(w, 8))
		return datagram_short(w, 8);
	if (!(w->data[w->at] & 0x08))
		return REASON_NO_ENTRY;
	w->at += 8;
	w->guess = true;
	return walk_into(w, STEP_ETHERNET);
}

// As VXLAN; with a bit of its own, octet 3 says what follows. Receivers want version 0.
static enum reason gpe_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	uint8_t next, first;

	if (!walk_have(w, 9))
		return datagram_short(w, 9);
	next = h[3];
	first = h[8];
	if (!(h[0] & 0x04))
		return vxlan_walk(w);
	if ((h[0] & 0x38) != 0x08 || next == 0 || next > 5)
		return REASON_NO_ENTRY;
	// An IP stack of the version that is told would not take it.
	if ((next == 1 && first >> 4 != 4) || (next == 2 && first >> 4 != 6))
		return REASON_NO_ENTRY;
	w->at += 8;
	w->guess = next == 3;
	return nsh_next(w, next);
}

static bool geneve_options_fit(const uint8_t *option, uint32_t len)
{
	while (len) {
		uint32_t n;

		if (len < 4)
			return false;
		n = 4 + 4 * (option[3] & 0x1fu);
		if (n > len)
			return false;
		option += n;
		len -= n;
	}
	return true;
}

// Options are passed over, critical ones too: who does not know them drops it, here it is judged.
static enum reason geneve_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;
	uint32_t options;

	if (!walk_have(w, 8))
		return datagram_short(w, 8);
	w->type = be16(h + 2);
	if (h[0] >> 6 || !ethertype_followed(w->type))
		return REASON_NO_ENTRY;
	options = 4 * (h[0] & 0x3fu);
	if (!walk_have(w, 8 + options))
		return walk_short(w, REASON_BAD_UDP_TUNNEL);
	if (!geneve_options_fit(h + 8, options))
		return REASON_BAD_UDP_TUNNEL;
	w->at += 8 + options;
	w->guess = w->type == 0x6558;
	return walk_into(w, w->guess ? STEP_ETHERNET : STEP_ETHERTYPE);
}

// Only the flags of RFC 8086: version 0, no source route.
static enum reason gre_udp_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;

	if (!walk_have(w, 4))
		return datagram_short(w, 4);
	if ((be16(h) & 0x4fff) || !ethertype_followed(be16(h + 2)))
		return REASON_NO_ENTRY;
	return walk_into(w, STEP_GRE);
}

// 2001:0::/32 or link-local: what clients have.
static bool is_teredo(const uint8_t *addr)
{
	return (addr[0] == 0x20 && addr[1] == 0x01 && addr[2] == 0 && addr[3] == 0)
		|| (addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80);
}

// Authentication, an origin, an IPv6 packet that fits from or to a client: in this order, the first
// two optional. Receivers want just that (an answer of DNS may have all of it but the addresses).
// Clients listen on any port, so only what goes by a server's is known.
static enum reason teredo_walk(struct walk *w)
{
	const uint8_t *h = w->data + w->at;

	if (walk_have(w, 4) && h[0] == 0 && h[1] == 1) {
		uint32_t n = 4 + h[2] + h[3] + 8 + 1u;

		if (!walk_have(w, n))
			return datagram_short(w, n);
		w->at += n;
		h += n;
	}
	if (walk_have(w, 8) && h[0] == 0 && h[1] == 0) {
		w->at += 8;
		h += 8;
	}
	if (!walk_have(w, 40))
		return datagram_short(w, 40);
	if (h[0] >> 4 != 6 || (40u + be16(h + 4) > walk_rest(w) && !w->partial)
	    || !(is_teredo(h + 8) || is_teredo(h + 24)))
		return REASON_NO_ENTRY;
	return walk_into(w, STEP_IPV6);
}

enum reason udp_tunnel_walk(struct walk *w)
{
	const struct packet_layer *l = w->layer;

	w->at += 8;
	switch (l->dport) {
	case 4789:
	case 8472: // Linux's, from before there was a number
		return vxlan_walk(w);
	case 4790:
		return gpe_walk(w);
	case 6081:
		return geneve_walk(w);
	case 4754:
		return gre_udp_walk(w);
	case 3544:
		return teredo_walk(w);
	default:
		return l->sport == 3544 ? teredo_walk(w) : REASON_NO_ENTRY;
	}
}
