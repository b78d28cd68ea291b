// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Denials on their way from workers to the control thread.
//
// A worker aggregates denied and monitored packets in a small direct-mapped table of its own, by
// (rule, source, port), and hands records over through a single-producer ring, never waiting: on
// eviction, and in slices when the control thread asks (a counter that the worker looks at once a
// burst). A full ring loses the record's detail, counted; packet counters (stats.h) never lose.
// There is no clock in the loop: the control thread stamps what it drains.

#pragma once

#include "dataplane/core/match.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct denial {
	uint8_t src[16], dst[16];
	struct match_key entry; // copy of the rule's key; family 0: none
	uint32_t rule; // MATCH_NONE: none; stays valid until the drain that hands it out ends
	uint16_t port; // destination's, host byte order
	uint8_t reason; // enum reason
	uint8_t verdict; // enum verdict
	uint8_t family;
	uint8_t proto;
	bool inward;
	uint8_t pad;
	uint32_t packets;
	uint64_t bytes;
};

// A packet that an entry for one IPv4 host denies.
struct denial_host {
	uint32_t src, dst; // as they stand in the packet: network byte order
	uint32_t rule;
	uint32_t bytes;
	uint16_t port; // as above
	uint8_t proto;
	bool inward; // else outward: which of the two is the entry's
};

struct events;

int events_create(unsigned workers, struct events **ret_events);
void events_free(struct events *);

// Worker `index` only. Never blocks, never allocates.
void events_denied(struct events *, unsigned index, const struct denial *);
// The same for `n` packets, with their reason and verdict.
void events_denied_hosts(
	struct events *,
	unsigned index,
	uint8_t reason,
	uint8_t verdict,
	const struct denial_host *,
	unsigned n
);
// Worker `index`, once a burst also when idle: hands over what was asked for.
void events_poll(struct events *, unsigned index);

// Control thread: ask all workers to hand over, then take what is in the rings. Returns records
// taken. Called every few milliseconds, and before a rule's index is recycled.
typedef void (*denial_cb)(void *ctx, const struct denial *);
size_t events_drain(struct events *, denial_cb, void *ctx);
uint64_t events_lost(const struct events *);
