// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists and packets of the benches: IPv4 hosts to deny, addresses to look up, frames.
//
// Thread: one. The draws are the same in each run.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct set;

#define TRAFFIC_QUERIES (1u << 20)
#define TRAFFIC_FRAME 60 // octets of a frame, without the FCS

enum traffic_kind {
	TRAFFIC_REALISTIC, // a clustered list, destinations by Zipf's law
	TRAFFIC_RANDOM, // both uniform over unicast: the worst case
};

struct traffic {
	uint32_t *list, n; // entries, host byte order
	uint32_t *queries; // TRAFFIC_QUERIES, network byte order
};

uint64_t traffic_draw(void);
uint32_t traffic_unicast(void); // host byte order
// Puts n entries into the set and makes it the list in force. -errno.
int traffic_list(struct traffic *, enum traffic_kind, uint32_t n, struct set *);
// hit_percent of the queries are in the list; they replace those before. -ENOMEM.
int traffic_queries(struct traffic *, enum traffic_kind, unsigned hit_percent, struct set *);
void traffic_fini(struct traffic *);

// An Ethernet frame with IPv4 and TCP; addresses in network byte order.
void traffic_frame(uint8_t frame[static TRAFFIC_FRAME], uint32_t src, uint32_t dst);
// Frames of 64, 594 and 1,518 octets on the wire, 7:4:1: without the FCS, of the i-th.
static inline uint16_t traffic_imix(uint32_t i)
{
	static const uint16_t lengths[12] = {60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 60, 590};

	return lengths[i % 12];
}

#define TRAFFIC_FRAME_MAX 1514

// The first n queries as a capture, each in the source or in the destination. -errno.
int traffic_capture(const struct traffic *, const char *path, uint32_t n, bool source, bool imix);
