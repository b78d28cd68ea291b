// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A record of a capture file as what core/ takes: an Ethernet frame or an IP packet.
//
// Link types: Ethernet, raw IP, null and loopback, Linux cooked v1 and v2 (libpcap's
// pcap-linktype(7)). Cooked records get an Ethernet header in place of their own: the protocol
// field stands for the EtherType, so that tags and IP are walked as on a wire.
// Thread: any; nothing here keeps state.

#pragma once

#include "dataplane/core/packet.h"

#include <stdbool.h>

bool capture_supported(int dlt); // DLT_… of libpcap

// Parse one record: `len` octets of `wire_len` that there were. `scratch` holds a rewritten frame.
void capture_parse(
	int dlt,
	const uint8_t *data,
	uint32_t len,
	uint32_t wire_len,
	uint8_t *scratch, // at least len + 14 octets
	struct packet *ret_packet
);
