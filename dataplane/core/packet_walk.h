// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The inside of the header walk, shared by packet.c (links), packet_ip.c and packet_tunnel.c.
//
// The walk is a loop, not a recursion: each step reads one header at `at`, narrows `end` to what
// that header says is inside it, and names the step that follows. Steps are counted, so that no
// nesting whatever takes long.
//
// In a first fragment (`partial`) headers tell of octets that come later: their lengths may be
// longer than what is there, but no header may be cut by the fragment's end.
//
// Behind a UDP port (`guess`) a frame is only likely: one that no receiver would take for a frame
// with IP in it leaves the datagram what it is otherwise, a payload like any other.

#pragma once

#include "dataplane/core/packet_brief.h"

#include <stdbool.h>
#include <stddef.h>

#define WALK_STEPS_MAX 40

enum step {
	STEP_DONE,
	STEP_ETHERNET,
	STEP_ETHERTYPE, // `type` says what stands at `at`
	STEP_IPV4,
	STEP_IPV6,
	STEP_L4, // `proto` says what stands at `at`
	STEP_MPLS,
	STEP_PPPOE,
	STEP_PPP,
	STEP_GRE,
	STEP_ETHERIP,
	STEP_NSH,
};

struct walk {
	const uint8_t *data;
	uint32_t len; // octets at hand
	uint32_t at; // of the header to be read next
	uint32_t end; // of what is inside the headers so far; may be beyond len
	uint32_t frame; // of the innermost Ethernet header
	uint32_t fragment; // where the outermost first fragment's octets begin, if `partial`
	enum step next;
	uint16_t type; // for STEP_ETHERTYPE
	uint8_t proto; // for STEP_L4
	uint8_t hops; // TTL or hop limit
	uint8_t extensions; // of the IPv6 header being read
	uint8_t steps;
	bool inner; // something encapsulates what is being read
	bool partial, guess;
	struct packet *packet;
	struct packet_layer *layer;
};

static inline uint32_t walk_rest(const struct walk *w)
{
	return w->end - w->at;
}

// Are the next `n` octets at hand?
static inline bool walk_have(const struct walk *w, uint32_t n)
{
	uint32_t end = w->end < w->len ? w->end : w->len;

	return w->at <= end && n <= end - w->at;
}

// What it is when they are not.
static inline enum reason walk_short(const struct walk *w, enum reason bad)
{
	return w->partial ? REASON_FRAGMENT_FIRST_SHORT : bad;
}

// The next header is inside the one just read.
static inline enum reason walk_into(struct walk *w, enum step step)
{
	w->inner = true;
	w->next = step;
	return REASON_NO_ENTRY;
}

// What is no IP, of no kind that can be looked into.
static inline enum reason walk_unknown(const struct walk *w)
{
	if (!w->inner)
		return REASON_NON_IP;
	return w->guess ? REASON_NO_ENTRY : REASON_TUNNEL_UNKNOWN;
}

// EtherTypes behind which an IP header may stand: those that the walk follows.
bool ethertype_followed(uint16_t type);

enum reason ipv4_walk(struct walk *);
enum reason ipv6_walk(struct walk *);
enum reason l4_walk(struct walk *);

enum reason mpls_walk(struct walk *);
enum reason pppoe_walk(struct walk *);
enum reason ppp_walk(struct walk *);
enum reason gre_walk(struct walk *);
enum reason etherip_walk(struct walk *);
enum reason nsh_walk(struct walk *);
// Behind the UDP header at `at`, whose ports are in the layer.
enum reason udp_tunnel_walk(struct walk *);

// What packet_parse does where the short path does not: the same answer, for tests.
void packet_walk(
	const uint8_t *data,
	uint32_t len,
	uint32_t wire_len,
	enum packet_link,
	struct packet *ret_packet
);
