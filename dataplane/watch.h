// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The watchdog, and the counters that the control thread reads (it implements stats.h).
// Thread: the control thread.

#pragma once

#include "dataplane/worker.h"

#define WATCH_STALL_MS 2000

// What stats.h reads from now on; NULL: nothing.
void watch_begin(const struct ports *, struct workers *);
// Each 100 ms. Returns workers stalled now.
unsigned watch_tick(int64_t now_ms);
