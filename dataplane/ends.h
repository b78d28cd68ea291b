// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Which rule ends when: a wheel of lists, one bucket a tick, for indices 0 … n − 1.
//
//   bucket = tick mod 65536 → index ⇄ index ⇄ …      a tick is 100 ms, a round under two hours
//
// Setting, moving and dropping an end is O(1). An end takes effect at most a tick late where
// nothing else ends then, never early. Ends more than 13 years of uptime away are never reached.
// Thread: the control thread.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENDS_NEVER INT64_MAX
#define ENDS_TICK_MS 100

struct ends;

int ends_create(uint32_t n, int64_t boot_ms, struct ends **ret_ends);
void ends_free(struct ends *);
// deadline_ms on the clock of ends_run; ENDS_NEVER: none. Replaces what was set.
void ends_set(struct ends *, uint32_t index, int64_t deadline_ms);
// What is due: dropped from the wheel, then told. `due` may set any index again. False: so many
// `looks` have been had and more is due; go on with the same call.
bool ends_run(
	struct ends *,
	int64_t boot_ms,
	uint32_t looks,
	void (*due)(void *ctx, uint32_t index),
	void *ctx
);
// All ends up to this instant have been told; later ones may have been.
int64_t ends_ran(const struct ends *);
