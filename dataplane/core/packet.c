// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Links, the loop of the walk, and the short path past it for what most packets are.

#include "dataplane/core/packet.h"

#include "dataplane/core/packet_walk.h"

#include <string.h>

#define ETHER_LEN 14
#define ETHERTYPE_MIN 0x600 // below: a length, then LLC

#define PROTO_TCP 6
#define PROTO_UDP 17

// --- Ethernet

static bool is_reserved_group(const uint8_t *mac)
{
	static const uint8_t group[5] = {0x01, 0x80, 0xc2, 0x00, 0x00};

	return memcmp(mac, group, sizeof(group)) == 0 && mac[5] < 0x10;
}

static bool is_vlan(uint16_t type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

bool ethertype_followed(uint16_t type)
{
	switch (type) {
	case 0x0800: // IPv4
	case 0x86dd: // IPv6
	case 0x6558: // Ethernet
	case 0x880b: // PPP
	case 0x8847: // MPLS
	case 0x8848:
	case 0x8864: // PPPoE
	case 0x88e7: // 802.1ah
	case 0x8926: // VN-Tag
	case 0x893f: // 802.1BR
	case 0x894f: // NSH
		return true;
	default:
		return is_vlan(type);
	}
}

// Of the wire itself: forwarded. Inside IP it ends the walk, and the layers around it are judged:
// it goes to nobody beyond the tunnel's end.
static enum reason link_protocol(const struct walk *w)
{
	return w->packet->n_layers ? REASON_NO_ENTRY : REASON_LINK_PROTOCOL;
}

static enum reason frame_short(const struct walk *w, enum reason bad)
{
	// Too short for a frame on the wire, not only for what is at hand: no receiver's either.
	if (w->guess && !w->partial && w->len >= w->end)
		return REASON_NO_ENTRY;
	return walk_short(w, bad);
}

// LLC: 802.1D's own SAP, both ways, unnumbered information; and SNAP, which is another way to write
// an EtherType (RFC 1042).
static enum reason llc_walk(struct walk *w)
{
	static const uint8_t snap[6] = {0xaa, 0xaa, 0x03};
	const uint8_t *llc = w->data + w->at;

	if (walk_have(w, 3) && llc[0] == 0x42 && llc[1] == 0x42 && llc[2] == 0x03
	    && is_reserved_group(w->data + w->frame))
		return link_protocol(w);
	if (!walk_have(w, 8) || memcmp(llc, snap, sizeof(snap)) != 0)
		return walk_unknown(w);
	w->type = be16(llc + 6);
	w->at += 8;
	return walk_into(w, STEP_ETHERTYPE);
}

// A tag that is no VLAN: `len` octets, the last two of them the next EtherType. What matters to
// switches ends at them, so nothing behind it is the wire's own.
static enum reason tag_walk(struct walk *w, uint32_t len)
{
	if (!walk_have(w, len))
		return frame_short(w, REASON_BAD_VLAN);
	w->at += len;
	w->type = be16(w->data + w->at - 2);
	return walk_into(w, STEP_ETHERTYPE);
}

static enum reason vlans_walk(struct walk *w)
{
	unsigned n = 0;

	while (is_vlan(w->type)) {
		if (n++ == PACKET_VLANS_MAX)
			return REASON_BAD_VLAN;
		if (!walk_have(w, 4))
			return frame_short(w, REASON_BAD_VLAN);
		w->type = be16(w->data + w->at + 2);
		w->at += 4;
	}
	if (!w->inner)
		w->packet->vlans = (uint8_t)n;
	return REASON_NO_ENTRY;
}

// What follows `at` is what `w->type` says.
static enum reason ethertype_walk(struct walk *w)
{
	if (w->type < ETHERTYPE_MIN)
		return llc_walk(w);
	switch (w->type) {
	case 0x0800:
		w->next = STEP_IPV4;
		return REASON_NO_ENTRY;
	case 0x86dd:
		w->next = STEP_IPV6;
		return REASON_NO_ENTRY;
	case 0x0806: // ARP
	case 0x888e: // EAPOL
	case 0x88f7: // PTP
		return link_protocol(w);
	case 0x8809: // slow protocols: LACP, OAM
	case 0x88cc: // LLDP
		return is_reserved_group(w->data + w->frame) ? link_protocol(w) : walk_unknown(w);
	case 0x8847:
	case 0x8848:
		return walk_into(w, STEP_MPLS);
	case 0x8864:
		return walk_into(w, STEP_PPPOE);
	case 0x880b:
		return walk_into(w, STEP_PPP);
	case 0x894f:
		return walk_into(w, STEP_NSH);
	case 0x6558:
		return walk_into(w, STEP_ETHERNET);
	case 0x88e7: // the service tag, then the customer's frame
		if (!walk_have(w, 4))
			return frame_short(w, REASON_BAD_VLAN);
		w->at += 4;
		return walk_into(w, STEP_ETHERNET);
	case 0x8926:
		return tag_walk(w, 6);
	case 0x893f:
		return tag_walk(w, 8);
	default:
		return walk_unknown(w);
	}
}

static enum reason tagged_walk(struct walk *w)
{
	enum reason reason = vlans_walk(w);

	if (reason != REASON_NO_ENTRY)
		return reason;
	// A frame behind a UDP port that was too short for its tag is none.
	if (is_vlan(w->type))
		return REASON_NO_ENTRY;
	if (!w->inner)
		w->packet->ethertype = w->type;
	return ethertype_walk(w);
}

static enum reason ethernet_walk(struct walk *w)
{
	if (!walk_have(w, ETHER_LEN))
		return frame_short(w, REASON_BAD_ETHERNET);
	w->frame = w->at;
	w->type = be16(w->data + w->at + 12);
	w->at += ETHER_LEN;
	return tagged_walk(w);
}

// --- the walk

static enum reason step_walk(struct walk *w, enum step step)
{
	switch (step) {
	case STEP_DONE:
		return REASON_NO_ENTRY;
	case STEP_ETHERNET:
		return ethernet_walk(w);
	case STEP_ETHERTYPE:
		return tagged_walk(w);
	case STEP_IPV4:
		return ipv4_walk(w);
	case STEP_IPV6:
		return ipv6_walk(w);
	case STEP_L4:
		return l4_walk(w);
	case STEP_MPLS:
		return mpls_walk(w);
	case STEP_PPPOE:
		return pppoe_walk(w);
	case STEP_PPP:
		return ppp_walk(w);
	case STEP_GRE:
		return gre_walk(w);
	case STEP_ETHERIP:
		return etherip_walk(w);
	case STEP_NSH:
		return nsh_walk(w);
	}
	return REASON_BUG;
}

static enum reason steps_walk(struct walk *w)
{
	enum reason reason = REASON_NO_ENTRY;

	while (reason == REASON_NO_ENTRY && w->next != STEP_DONE) {
		enum step step = w->next;

		if (w->steps++ == WALK_STEPS_MAX)
			return REASON_TOO_DEEP;
		// A frame that holds something to follow is one.
		if (step != STEP_ETHERNET && step != STEP_ETHERTYPE)
			w->guess = false;
		w->next = STEP_DONE;
		reason = step_walk(w, step);
	}
	return reason;
}

void packet_walk(
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
		.end = wire_len < len ? len : wire_len,
		.packet = ret_packet,
		.layer = &ret_packet->layers[0],
	};

	// Not the whole struct: only what has been counted is ever read.
	ret_packet->n_layers = 0;
	ret_packet->n_vias = 0;
	ret_packet->vlans = 0;
	ret_packet->ethertype = 0;
	if (link == PACKET_ETHERNET) {
		w.next = STEP_ETHERNET;
	} else if (len == 0) {
		ret_packet->reason = REASON_BAD_IP_VERSION;
		return;
	} else {
		ret_packet->ethertype = data[0] >> 4 == 6 ? 0x86dd : 0x0800;
		w.next = ret_packet->ethertype == 0x86dd ? STEP_IPV6 : STEP_IPV4;
	}
	ret_packet->reason = (uint8_t)steps_walk(&w);
}

// --- the short path

static void brief_describe(const struct packet_brief *b, struct packet *p)
{
	struct packet_layer *l = &p->layers[0];

	p->n_layers = 1;
	p->n_vias = 0;
	p->vlans = b->tagged;
	p->ethertype = b->ethertype;
	p->reason = REASON_NO_ENTRY;
	l->family = b->family;
	l->proto = b->proto;
	l->flags = PACKET_PORTS;
	l->tcp_flags = b->tcp_flags;
	l->sport = b->sport;
	l->dport = b->dport;
	l->l3 = b->l3;
	l->l4 = b->l4;
	l->l4_len = b->l4_len;
	if (b->family == 6) {
		memcpy(l->src, b->src, 16);
		memcpy(l->dst, b->dst, 16);
	} else {
		memset(l->src, 0, sizeof(l->src));
		memset(l->dst, 0, sizeof(l->dst));
		memcpy(l->src, b->src, 4);
		memcpy(l->dst, b->dst, 4);
	}
}

void packet_parse(
	const uint8_t *data,
	uint32_t len,
	uint32_t wire_len,
	enum packet_link link,
	struct packet *ret_packet
)
{
	struct packet_brief b;

	if (wire_len < len)
		wire_len = len;
	if (link == PACKET_ETHERNET && packet_brief(data, len, wire_len, &b))
		brief_describe(&b, ret_packet);
	else
		packet_walk(data, len, wire_len, link, ret_packet);
}
