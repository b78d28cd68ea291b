// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// NAT64 prefixes of the network's own (RFC 6052): behind its translator a packet goes on to the
// IPv4 address inside the IPv6 one, so that is judged too. The well-known prefix and other fixed
// ways to hold an IPv4 address are packet_parse's. Pure.

#pragma once

#include "dataplane/core/packet.h"

#define NAT64_PREFIXES_MAX 8

struct nat64 {
	uint8_t n;
	struct {
		uint8_t addr[16]; // network byte order
		uint8_t len; // as nat64_len_valid has it
	} prefix[NAT64_PREFIXES_MAX];
};

// 32, 40, 48, 56, 64 and 96 are what there is.
bool nat64_len_valid(uint8_t prefix_len);
// False: too many already, or no such length.
bool nat64_add(struct nat64 *, const uint8_t addr[static 16], uint8_t prefix_len);
// Adds the IPv4 addresses inside the packet's to its vias; TOO_DEEP where there is no room.
void nat64_walk(const struct nat64 *, struct packet *);
