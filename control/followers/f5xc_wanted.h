// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the set of one family should hold: the ledger's entries, without what is allowed or
// protected, as many as have a place.
//
// Thread: the event loop.

#pragma once

#include "control/followers/f5xc_set.h"

struct conf_f5xc;
struct ledger;

// An allowed address leaves a network of the widest kind in as many prefixes (IPv6 /1: 127).
#define F5XC_PIECES_MAX 128

enum f5xc_state {
	F5XC_PENDING,
	F5XC_STORED, // read back
	F5XC_REFERRED, // and a deny rule for what goes out uses the set
	F5XC_REFUSED,
	F5XC_NOT_MIRRORED,
	F5XC_STATES
};

struct f5xc_item {
	struct indicator indicator;
	enum f5xc_state state;
	char why[F5XC_WHY_MAX];
	char cut[80]; // what of it is not mirrored, "" for nothing
	char description[65]; // case or operator
	bool list; // no case and no operator holds it
	int64_t created; // of the oldest claim
	size_t first_piece, n_pieces; // 0: nothing of it can be mirrored
};

struct f5xc_wanted {
	struct f5xc_item *items; // in the order of indicators
	size_t n, room;
	struct f5xc_prefix *pieces;
	size_t n_pieces, room_pieces;
	size_t refused_full; // by the last f5xc_place
};

// From the ledger as it is now; states of entries that `wanted` knew already are carried over until
// the next f5xc_place. -errno: the ledger could not be read in full; `wanted` is untouched, and
// nothing may be written: what is missing would be withdrawn, or an allow overlooked.
// XXX walks all claims: right for cases and operators (thousands); lists are not mirrored yet.
int f5xc_collect(struct ledger *, const struct conf_f5xc *, int family, struct f5xc_wanted *wanted);
void f5xc_wanted_fini(struct f5xc_wanted *);

struct f5xc_item *f5xc_item_find(const struct f5xc_wanted *, const struct indicator *);

// Gives at most set_size places, beside the prefix that always stays: first to what F5 holds, so
// that nothing stored makes room for what comes later; then to cases and operators before lists,
// the oldest first. The others are refused: full. `held` NULL: nothing is there. Sets each state
// by what is held. ret_rows is sorted, borrows from `wanted`, and has room for set_size + 1.
// -ENOMEM: nothing may be written.
int f5xc_place(
	struct f5xc_wanted *wanted,
	int family,
	const struct f5xc_object *held,
	size_t set_size,
	struct f5xc_row *ret_rows,
	size_t *ret_n
);
