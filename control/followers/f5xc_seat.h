// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Which place sits in which set: what F5 holds keeps its seat, what is new finds one, what finds
// none is refused. Works on memory only.
//
// Thread: the event loop.

#pragma once

#include "control/followers/f5xc_wanted.h"

// A set was read: what is wanted and held there is seated there (unless it sits elsewhere), and
// `held` of its places is what was read. Sorted; n 0: the set is not there.
void f5xc_seat_found(
	struct f5xc_wanted *, int family, int slot, const struct f5xc_row *held, size_t n
);
// Gives seats to what waits: first to networks that had some, then to cases and operators before
// lists, the oldest first; into the set that they sat in, one whose write waits anyway and that has
// room for several, the lowest with such room, a new one, any. `only_after` > 0: only what was
// claimed since (seconds), as long as not every set is known: the older may be seated in one of
// those. What finds no room counts as full.
void f5xc_seat_assign(struct f5xc_wanted *, int64_t only_after);
// Nobody sits there any more; their items wait again.
void f5xc_seat_clear(struct f5xc_wanted *, int family, int slot);
// F5 takes this prefix not: it has no seat until then.
int f5xc_seat_refuse(struct f5xc_wanted *, struct f5xc_place *, const char *why, unsigned wait_s);
// Those whose time has come are tried again.
void f5xc_seat_retry(struct f5xc_wanted *);

// What the set should hold, sorted, beside the prefix that stays: at most `max_new` of those that
// it does not hold yet. ret_rows has room for slot.n + 1; the descriptions are borrowed.
size_t f5xc_seat_rows(
	const struct f5xc_wanted *, int family, int slot, size_t max_new, struct f5xc_row *ret_rows
);
// Of those rows, how many the set does not hold; the first of them in ret_first.
size_t
f5xc_seat_new(const struct f5xc_wanted *, int family, int slot, struct f5xc_place **ret_first);
size_t f5xc_seat_total(const struct f5xc_wanted *); // prefixes seated
