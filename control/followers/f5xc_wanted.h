// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What should stand at F5: one item an indicator of the ledger, cut into prefixes ("places") by
// what is allowed or protected, each place with a seat in one of the numbered sets.
//
//   ledger ──▶ item ──▶ place ──▶ seat: slot 0…127 of the family = set stanch-v4-000…127
//                 └─ a network without the allowed part is several places, which are seated all
//                    or none
//
// A seat is kept as long as the place lives: what F5 holds is seated where it is held, what is new
// goes where a write waits anyway, else into the lowest set with room. Port entries have no place;
// they become rules (f5xc_rules.h).
//
// Thread: the event loop. Memory: about 500 octets an entry.

#pragma once

#include "control/followers/f5xc_set.h"

#include <sys/queue.h>

// uthash's own function does not survive clang's warnings; and indicators are chosen by others.
#include "rules/siphash.h"
static const uint8_t f5xc_hash_key[16] = "stanch f5xc 001";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#undef HASH_FUNCTION
#define HASH_FUNCTION(key, len, hash) ((hash) = (unsigned)siphash64(f5xc_hash_key, (key), (len)))
#include <uthash.h>
#pragma GCC diagnostic pop

struct conf_f5xc;
struct ledger;

// An allowed address leaves a network of the widest kind in as many prefixes (IPv6 /1: 127).
#define F5XC_PIECES_MAX 128
#define F5XC_SLOTS 128 // sets of a family: so many rules has a policy
#define F5XC_POLICY_PREFIXES 131072 // what one policy can refer to: 128 rules, 1,024 each

enum f5xc_state {
	F5XC_PENDING,
	F5XC_STORED, // read back
	F5XC_REFERRED, // and a deny rule for what goes out uses the set
	F5XC_ATTACHED, // and a site or firewall lists that rule's policy
	F5XC_REFUSED,
	F5XC_NOT_MIRRORED,
	F5XC_BLACKHOLE, // our policy would be the last of a site: no rule is added
	F5XC_STATES
};

struct f5xc_where { // octets only: hashed as it is
	uint8_t family;
	struct f5xc_prefix prefix;
};

struct f5xc_place {
	struct f5xc_where at;
	unsigned refs; // items that need it
	int slot; // -1: not seated
	bool held; // as its set was read last
	bool drifted; // somebody took it out, and f5xc.drift is show
	char *refused; // by F5: its words; NULL
	int64_t refused_until_ms; // monotonic
	unsigned refused_s; // wait, doubled
	int64_t since_ms; // monotonic: wanted since
	char description[65]; // case or operator
	TAILQ_ENTRY(f5xc_place) in_slot;
	UT_hash_handle hh;
};
TAILQ_HEAD(f5xc_places, f5xc_place);

struct f5xc_key { // an indicator, without the room for a name: of a name its id is in addr
	uint8_t kind, family, len, proto;
	uint8_t port[2];
	uint8_t addr[16];
};

// What the claims on an indicator come to: the one that speaks for it first.
struct f5xc_voice {
	bool any;
	const char *why_not; // static; NULL: it may be mirrored
	bool list; // no case and no operator
	int64_t created;
	char description[65];
};

struct f5xc_item {
	struct f5xc_key key;
	struct f5xc_voice voice, next; // next: of the walk under way
	unsigned walk; // the walk that saw it
	char *cut; // what of it is not mirrored, NULL for nothing
	bool cut_refused;
	bool waits, full; // full: it found no room
	bool was_seated; // before an allow came or went
	int hint; // the slot that it was in
	struct f5xc_place **pieces;
	size_t n_pieces; // 0: nothing of it can be mirrored
	TAILQ_ENTRY(f5xc_item) waiting;
	UT_hash_handle hh;
};
TAILQ_HEAD(f5xc_items, f5xc_item);

// What the items say of one set.
struct f5xc_slot {
	struct f5xc_places places;
	size_t n;
	bool unread; // not known yet: takes nothing
	bool closed; // not ours, or it goes: takes nothing
	bool made; // stands at F5: filled before another is made
	bool dirty, adds; // since the last write; adds: something new is among it
	int64_t dirty_ms; // monotonic
};

struct f5xc_wanted {
	const struct conf_f5xc *conf;
	struct f5xc_item *items; // by key
	struct f5xc_place *places; // by family and prefix
	struct f5xc_slot slots[2][F5XC_SLOTS]; // [0] IPv4
	struct f5xc_items waiting; // without seats
	size_t n_full; // of them: no room
	size_t n_ports; // items that are port entries
	bool ports_moved; // since f5xc_rules were built
	struct f5xc_prefix *holes[2];
	size_t n_holes[2];
	// the walk through all claims
	bool walking, sweeping;
	unsigned walk;
	int64_t walk_after;
	struct f5xc_item *sweep_at;
	uint64_t moves; // counts changes, for what is derived
};

void f5xc_wanted_init(struct f5xc_wanted *, const struct conf_f5xc *);
void f5xc_wanted_fini(struct f5xc_wanted *);

// What is allowed or protected, with `own` (F5's own addresses, by family) besides; a walk must
// follow. -errno: the ledger could not be read, and nothing changed.
int f5xc_wanted_exceptions(
	struct f5xc_wanted *, struct ledger *, const struct f5xc_where *own, size_t n_own
);
// Begins a walk through all claims; each step takes at most `max` of them or as many items.
void f5xc_wanted_walk(struct f5xc_wanted *);
// 1: more to do; 0: the walk is over; -errno: the ledger could not be read, the walk begins anew.
int f5xc_wanted_walk_step(struct f5xc_wanted *, struct ledger *, size_t max);
// One indicator of the change log.
int f5xc_wanted_refresh(struct f5xc_wanted *, struct ledger *, const struct indicator *);

// NULL: none.
struct f5xc_item *f5xc_item_find(const struct f5xc_wanted *, const struct indicator *);
struct f5xc_place *
f5xc_place_find(const struct f5xc_wanted *, uint8_t family, const struct f5xc_prefix *);
struct f5xc_key f5xc_key_of(const struct indicator *);
struct indicator f5xc_key_indicator(const struct f5xc_key *); // not of a name

// For f5xc_seat.c.
void f5xc_slot_dirty(struct f5xc_slot *, bool adds);
int64_t f5xc_now_ms(void); // monotonic
