// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What is worth telling about the data plane beside its list: that it was started anew, and that
// its set is nearly full. Each is logged and audited once, when it happens.
//
// Thread: the event loop.

#pragma once

#include <stdbool.h>
#include <stdint.h>

struct dataplane_watch;
struct ledger;
struct wire_status;

#define NEARLY_FULL_PERCENT 80
#define ROOM_AGAIN_PERCENT 75 // the alarm ends: not at each entry around the limit

int dataplane_watch_create(struct ledger *, struct dataplane_watch **ret_watch);
void dataplane_watch_free(struct dataplane_watch *);

void dataplane_watch_hello(struct dataplane_watch *, uint64_t boot_id); // 0: not told
void dataplane_watch_status(struct dataplane_watch *, const struct wire_status *);

// Starts of the data plane after the first that this ledger saw, also while control was down (then
// one, however many they were). ret_last_ms: when the last was seen, 0 never.
uint64_t dataplane_watch_restarts(const struct dataplane_watch *, int64_t *ret_last_ms);
bool dataplane_watch_nearly_full(const struct dataplane_watch *);
