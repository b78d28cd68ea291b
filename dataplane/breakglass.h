// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What root does on the data plane itself: allows and the pause; they work with control dead.
//
// Each is put into the set at once, written to `state_dir`/breakglass so that it outlives a
// restart, and told to control until control acknowledges it as audited. The pause that control
// orders is kept here too, but not told back.
//
//   stanch-breakglass 1 next=<number of the next action>
//   pause  <until> <uid> <reason>                    fields apart by a tab
//   allow  <indicator> <until> <uid> <reason>
//   action <number> <when ms> <until> <uid> allow|pause <indicator or -> <reason>
//   end checksum=<16 hex>                            siphash64, zero key, over all lines before
//
// Thread: the control thread. Ends are on CLOCK_BOOTTIME; none is further away than a day.

#pragma once

#include "rules/wire.h"

#include <stdbool.h>

#define BREAKGLASS_MAX_S (24 * 3600)
#define BREAKGLASS_ALLOWS_MAX 256
#define BREAKGLASS_ACTIONS_MAX 256 // not yet acknowledged; the oldest is forgotten beyond

struct breakglass;
struct set;

// dir NULL: nothing is written.
int breakglass_create(struct set *, const char *dir, struct breakglass **ret_breakglass);
void breakglass_free(struct breakglass *);
// What the file holds and has not ended. 0 also where there is none; -EILSEQ: damaged, nothing is
// taken from it; -errno.
int breakglass_restore(struct breakglass *);

// until in seconds since the epoch; 0 ends it. 0 also where it could not be written: then
// *ret_written is -errno and it holds until the restart only. `local`: tell control.
//   -ERANGE  in the past or more than a day away
//   -ENOENT  no such allow to end   -EINVAL  a name   -ENOSPC  too many
int breakglass_allow(
	struct breakglass *,
	const struct indicator *,
	int64_t until,
	uint32_t uid,
	const char *reason,
	int *ret_written
);
int breakglass_pause(
	struct breakglass *,
	int64_t until,
	uint32_t uid,
	const char *reason,
	bool local,
	int *ret_written
);
void breakglass_tick(struct breakglass *); // after set_tick: the pause ends by itself

int64_t breakglass_pause_until(const struct breakglass *); // seconds; 0: not paused
size_t breakglass_unacked(const struct breakglass *);
const struct wire_breakglass *breakglass_action(const struct breakglass *, size_t i);
void breakglass_ack(struct breakglass *, uint64_t number); // and all before it
