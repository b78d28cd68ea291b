// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The entries of the live set: what lookups read, and beside it what they do not need.
//
//   slot 0 … rules − 1         a rule of the match, by its index: networks and ports
//   slot rules …               a name (name_table.h): kept and in the digest, not matched
//   slots[slot]                flags and marks, three octets: all that most entries have
//   records[slot]              ends as given, deadlines, scope: of entries that are not plain
//   hits[rule]                 packets, bytes, time of the last one
//
// Count and digest are kept in O(1) over three things: all entries, those that a synchronisation
// has marked, and those that a walk of the scrub has met.
// Thread: the control thread alone. Everything here is part of set.c and scrub.c.

#pragma once

#include "dataplane/core/match.h"
#include "rules/entry.h"

#define SLOT_NONE UINT32_MAX

struct table;
struct rte_rcu_qsbr;

struct table_time {
	int64_t wall_ms; // since the epoch
	int64_t boot_ms; // CLOCK_BOOTTIME
};

struct table_sum {
	uint64_t count;
	struct digest digest;
};

// capacity: rules, and as many names.
int table_create(
	uint32_t capacity, struct rte_rcu_qsbr *, struct table_time, struct table **ret_table
);
void table_free(struct table *);
struct match *table_match(struct table *);
// Huge pages for what lookups touch most. now: at once, before there are workers.
void table_huge(const struct table *, bool now);

struct table_sum table_all(const struct table *);
uint64_t table_names(const struct table *);
uint32_t table_rules_room(const struct table *); // that can be added now
uint32_t table_names_room(const struct table *);

// --- slots

uint32_t table_find(const struct table *, const struct indicator *); // SLOT_NONE
bool table_matched(const struct table *, uint32_t slot); // false: a name
void table_entry(const struct table *, uint32_t slot, struct entry *ret_entry);
struct digest table_hash(const struct table *, uint32_t slot);
uint8_t table_action(const struct table *, uint32_t slot); // match_action as workers see it
// What an entry with these ends would do now.
uint8_t table_action_of(const struct table *, const struct entry *);

// The memory for names that will be put next, in this order; nothing else needs any. -ENOMEM: give
// back what was had with table_unreserve.
int table_reserve(struct table *, const struct entry *);
void table_unreserve(struct table *);
// Add it or replace its record. hold_back: what would weaken the entry waits for table_settle.
// -ENOSPC, -ENOMEM.
int table_put(struct table *, const struct entry *, bool hold_back);
// The memory is asked for what table_find and table_put of it will read.
void table_prefetch(const struct table *, const struct indicator *);
// Nearer to where it belongs, if there is room: true, then the entry is that one's, and table_moved
// of this slot has to follow, after a grace period and before any other change or scrub.
bool table_move(struct table *, uint32_t slot);
void table_moved(struct table *, uint32_t slot);
bool table_graced(const struct table *); // nothing waits to be given out again
void table_remove(struct table *, uint32_t slot);
void table_clear(struct table *);

struct table_hits {
	uint64_t packets, bytes;
	int64_t last_ms;
};
// A rule that has another key by now is not counted.
void table_hit(
	struct table *, uint32_t rule, const struct match_key *, uint64_t packets, uint64_t bytes
);
struct table_hits table_hits(const struct table *, uint32_t slot);

// --- time and grace

// Ends that have passed take effect, in slices: false where more have to.
bool table_tick(struct table *, struct table_time);
struct table_time table_now(const struct table *);
void table_ends_hold(struct table *, bool hold);
bool table_ends_held(const struct table *);
void table_poll(struct table *, bool drained); // as grace_poll

// --- marks

void table_mark_begin(struct table *); // nothing is marked; what is put from now on is
void table_mark_end(struct table *);
bool table_marking(const struct table *);
bool table_marked(const struct table *, uint32_t slot);
struct table_sum table_marks(const struct table *);
// From slot *from, at most `slots` of them: the unmarked go, what was held back happens. Returns
// true when all are done.
bool table_settle(struct table *, uint32_t *from, uint32_t slots);

// --- the scrub's walk

enum table_fault {
	FAULT_NONE,
	FAULT_UNKNOWN, // workers find a rule that has no record
	FAULT_ACTION, // its action is not what its record says
	FAULT_HIDDEN, // it is in a line, but looking it up does not find it
	FAULT_MISSING, // it has a record, but the walk did not meet it
};

void table_walk_begin(struct table *);
void table_walk_end(struct table *);
struct table_sum table_walked(const struct table *);
// A rule met in a line that workers read.
enum table_fault table_walk_rule(struct table *, uint32_t rule);
// After all lines: names, and what was not met. From slot *from, at most `slots` of them;
// FAULT_MISSING: *ret_slot is one, go on with the same call. Done when *ret_done.
enum table_fault
table_walk_rest(struct table *, uint32_t *from, uint32_t slots, uint32_t *ret_slot, bool *ret_done);
// Put right what a fault says: from the record, or out of the structure. -errno where it cannot.
int table_repair(struct table *, enum table_fault, uint32_t slot);
