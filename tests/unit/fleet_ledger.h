// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A ledger as the fleet's protocol sees it, in memory: 256 entries that are in force or not. It
// stands in for control/ledger_fleet.c, so that the protocol is tried alone: put before the library
// at the link.

#pragma once

#include "control/ledger_fleet.h"

#include <event2/event.h>

#define FAKE_ENTRIES 256
#define FAKE_RECORDS 4096
#define FAKE_ASKS 64

struct fake_record {
	struct fleet_record record;
	char text[256];
};

struct fake_ask {
	uint64_t seq;
	int entry;
	bool on;
};

struct ledger {
	struct event_base *base;
	struct fleet_setup setup;
	char gateway[FLEET_NAME_MAX];
	bool open, leads;
	uint64_t epoch;
	char leader[FLEET_NAME_MAX];
	struct fleet_place place;
	bool on[FAKE_ENTRIES], local[FAKE_ENTRIES];
	struct fake_record *records; // number first … first + n − 1
	uint64_t first, n;
	void (*made)(void *ctx);
	void *made_ctx;
	void (*asks_cb)(void *ctx);
	void *asks_ctx;
	struct fake_ask asks[FAKE_ASKS];
	size_t n_asks;
	uint64_t seq;
	char up[64];
	uint64_t asked_seq[16]; // by gateway, "g0" …
	bool known, importing, named[FAKE_ENTRIES];
	uint64_t last_count; // of the last record
	struct fleet_place from, to;
	json_t *note;
	unsigned done_twice, weakened, resets, forks, imports;
	bool confirmed[FAKE_ENTRIES]; // by a record or checkpoint, and not taken back by one
};

struct ledger *fake_new(struct event_base *);
unsigned fake_pending(void); // callbacks that are still to come
void fake_free(struct ledger *);
// An operator on this gateway: a record where it leads, else at once here and upward.
void fake_set(struct ledger *, int entry, bool on);
size_t fake_count(const struct ledger *);
// Entries that both have, and no others.
bool fake_same(const struct ledger *, const struct ledger *);
