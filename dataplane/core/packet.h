// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The header walk: from octets to the addresses and ports of every layer, or to a reason.
//
// Pure: octets in, description out. No allocation, no state; every read is checked against `len`.
// What a tunnel carries is a layer of its own, to any mix and to PACKET_LAYERS_MAX layers of IP.
// What is encrypted (ESP, MPPE) or has no port or number of its own ends the walk: the layers
// found so far are judged.
// Wire formats: IEEE 802.3 and 802.1Q, RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792, RFC 4443;
// of tunnels: packet_tunnel.c.

#pragma once

#include "dataplane/core/reasons.h"

#include <stdbool.h>
#include <stdint.h>

#define PACKET_LAYERS_MAX 8 // IP headers; more is refused
#define PACKET_VIAS_MAX 24 // of all layers; more is refused
#define PACKET_ROUTE_MAX 9 // what the options of an IPv4 header can hold; more is refused
#define PACKET_EXTENSIONS_MAX 8 // extension headers of an IPv6 header; more is refused
#define PACKET_VLANS_MAX 4
#define PACKET_GATHER_MAX 512 // octets a worker gathers from a segmented packet

enum packet_link {
	PACKET_ETHERNET,
	PACKET_RAW_IP, // IPv4 or IPv6 by the first nibble
};

enum packet_layer_flags {
	PACKET_PORTS = 1, // sport and dport are known
	PACKET_FRAGMENT_FIRST = 2, // offset 0 with more to come
	PACKET_FRAGMENT_LATER = 4, // offset above 0: no ports
};

// One IP layer, outermost first in struct packet.
struct packet_layer {
	uint8_t family; // 4 or 6
	uint8_t proto; // after extension headers
	uint8_t flags;
	uint8_t tcp_flags; // of TCP with PACKET_PORTS
	uint16_t sport, dport; // host byte order
	uint16_t l3, l4; // offsets of the IP header and of the transport header in the data
	uint16_t l4_len; // octets from l4 to the end that the IP header tells
	uint8_t src[16], dst[16]; // network byte order; IPv4 in the first four octets, the rest 0
};

// A further address of a layer, judged like its destination, with its port: a destination still
// ahead of the packet (of a routing header: RFC 8200, 6275, 8754; of an IPv4 source route: RFC 791;
// of minimal encapsulation: RFC 2004), or the IPv4 address inside an IPv6 one.
struct packet_via {
	uint8_t layer;
	bool embedded; // an IPv4 address in a layer of IPv6; else of the layer's family
	bool source; // inside the layer's source: judged like that
	uint8_t addr[16]; // as in struct packet_layer
};

struct packet {
	uint8_t n_layers;
	uint8_t n_vias;
	uint8_t vlans; // tags of the outermost frame
	uint16_t ethertype; // of the outermost frame, after the tags; host byte order
	// REASON_NO_ENTRY: parsed, to be judged. Anything else ends the matter with that reason's
	// verdict (LINK_PROTOCOL, NON_IP, BAD_…, FRAGMENT_…), but for TUNNEL_UNKNOWN where that is
	// no drop: then the layers found are judged all the same.
	uint8_t reason; // enum reason
	struct packet_layer layers[PACKET_LAYERS_MAX]; // known as far as the walk came
	struct packet_via vias[PACKET_VIAS_MAX];
};

// data: the first `len` octets at hand; `wire_len` ≥ len: what the packet has on the wire.
void packet_parse(
	const uint8_t *data,
	uint32_t len,
	uint32_t wire_len,
	enum packet_link,
	struct packet *ret_packet
);
