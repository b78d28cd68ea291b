// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Which rule ends when: a wheel of lists, one bucket a tick, for indices 0 … n − 1.
//
//   bucket = tick mod 65536 → index ⇄ index ⇄ …      a tick is 100 ms, a round under two hours
//
// Setting, moving and dropping an end is O(1). An end takes effect at most a tick late, never
// early. Ends more than 13 years of uptime away are never reached.
// Thread: the control thread.

#pragma once

#include <stddef.h>
#include <stdint.h>

#define ENDS_NEVER INT64_MAX
#define ENDS_TICK_MS 100

struct ends;

int ends_create(uint32_t n, int64_t boot_ms, struct ends **ret_ends);
void ends_free(struct ends *);
// deadline_ms on the clock of ends_run; ENDS_NEVER: none. Replaces what was set.
void ends_set(struct ends *, uint32_t index, int64_t deadline_ms);
// Everything due: dropped from the wheel, then told. `due` may set that index again.
void ends_run(struct ends *, int64_t boot_ms, void (*due)(void *ctx, uint32_t index), void *ctx);
