// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The live set: what the workers read (live.h), and the rules by which it changes.
//
//   table.h        entries: match, records, names        exceptions.h   protections and allows
//   struct policy  settings of judgement, and the pause  rte_rcu_qsbr   who still reads what
//
// The structure has room for twice the capacity, so that the additions of any change can be made
// before its removals. An unlinked rule's index is given out again after a grace period and a
// drain of the denials (events.h) that began after it.
//
// Thread:   the control thread alone, the only writer; workers read through set_live().
// Time:     the caller says what time it is (set_tick); nothing here reads a clock. Ends become
//           deadlines on CLOCK_BOOTTIME when they arrive, so that a step of the wall clock does not
//           move them.
// Memory:   mapped at once, touched as used; -ENOMEM otherwise only for plans, names and policies,
// and
//           then nothing has changed.

#pragma once

#include "dataplane/live.h"
#include "dataplane/table.h"
#include "rules/entry.h"
#include "rules/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SET_CAPACITY_MAX 100000000u

struct set;

struct set_options {
	uint32_t capacity; // entries, 1 … SET_CAPACITY_MAX
	unsigned workers; // readers that may register in the qsbr, from 1
	struct policy policy; // as configured; have_list and paused are the set's own
};

// -EINVAL, -ENOMEM.
int set_create(const struct set_options *, struct table_time, struct set **ret_set);
void set_free(struct set *); // after the last worker has stopped
struct live *set_live(struct set *);
struct table *set_table(struct set *); // for the scrub

// --- state

void set_state(const struct set *, struct list_state *ret_state); // O(1)
bool set_have_list(const struct set *);
uint32_t set_capacity(const struct set *);
uint64_t set_names(const struct set *);
bool set_paused(const struct set *);

// An entry as LOOKUP tells it. -ENOENT.
struct set_view {
	struct entry entry;
	enum entry_action action; // as the workers see it
	bool matched; // false: a name
	struct table_hits hits; // last_ms 0: none yet
};
int set_find(const struct set *, const struct indicator *, struct set_view *ret_view);
// Kind of an exception that covers all of the indicator, 0 none.
uint8_t set_exception_covering(const struct set *, const struct indicator *);

// --- time and grace

// Ends that have passed take effect, some of them where many come at once: false, then call it
// again soon. Call it before any other work of a wake-up.
bool set_tick(struct set *, struct table_time);
struct table_time set_now(const struct set *); // as of the last tick
// Hold the ends: the wall clock is not to be believed. Releasing makes the deadlines anew.
void set_ends_hold(struct set *, bool hold);
bool set_ends_held(const struct set *);

// A token for all stores made so far; passed when every online worker has been quiescent since.
uint64_t set_barrier(struct set *);
bool set_passed(const struct set *, uint64_t token);
// Recycle what grace and drain allow. drained: events_drain has just been called.
void set_poll(struct set *, bool drained);

// --- changes

// One batch, all or nothing. The last change of an indicator counts. Additions and what strengthens
// come first; what weakens, and removals, once every worker has passed a quiescent state since: a
// packet that an entry of the list covers before and one covers after is found at every instant.
// 0 → call set_settle until it returns true, then the state is the new one.
//   -ESTALE  `from` is not the revision that changes build on, or `after` has another ledger
//   -ENOSPC  more than the capacity; ret_wanted (untouched otherwise): entries there would be
//   -EILSEQ  the result would have another count or digest than `after`
//   -EBUSY   something has still to settle
//   -ENOMEM
int set_change(
	struct set *,
	const struct change *changes,
	size_t n,
	const struct revision *from,
	const struct list_state *after,
	uint64_t *ret_wanted
);
// The revision no longer tells what is in the set: changes need a synchronisation first.
void set_revision_forget(struct set *);

// A synchronisation: everything anew, marked, then what was not marked goes. Changes (set_change)
// may pass meanwhile; they build on the revision that set_sync_begin announced and are marked too.
// What would weaken an entry waits for the sweep: one broken off takes nothing away.
//   -EINVAL generation 0   -EBUSY something has still to settle   -ENOSPC   -ENOMEM
//   -EALREADY no synchronisation of this generation is under way
int set_sync_begin(struct set *, uint64_t generation, const struct list_state *);
// The memory of entries that will be put next, in this order. -ENOMEM. Afterwards, also where it
// failed, set_sync_unreserve.
int set_sync_reserve(struct set *, const struct entry *);
void set_sync_unreserve(struct set *);
int set_sync_put(struct set *, uint64_t generation, const struct entry *);
// Checks, then sweeps: 0 → call set_settle until it returns true, then the state is the new one.
//   -EILSEQ  the marked set is not the announced one: broken off
//   -EDOM    goes beyond the shrink brake; ret_least: how many entries must be left without force.
//            It stays open and may be ended again.
int set_sync_end(
	struct set *,
	uint64_t generation,
	const struct list_state *,
	bool force,
	uint64_t *ret_least
);
// What waits for the workers, and the sweep, at most so many slots of it.
bool set_settle(struct set *, uint32_t slots);
bool set_settling(const struct set *);
bool set_settle_waits(const struct set *); // for the workers: come again a little later
// After a sweep, now and then: entries that found their place full when they came go there, of the
// next so many lines of the structure; set_settle has to follow. False: all are where they belong.
bool set_tidy(struct set *, uint32_t lines);
bool set_moving(const struct set *); // some have two places: not to be scrubbed
uint64_t set_sync_count(const struct set *); // marked so far
void set_sync_abort(struct set *); // fine also when none is under way; what settles goes on

// Loading, before the first worker starts. -ENOSPC, -ENOMEM; removing what is not there is fine.
int set_load_put(struct set *, const struct entry *);
void set_load_prefetch(const struct set *, const struct entry *); // one that will be put soon
void set_load_remove(struct set *, const struct indicator *);
void set_load_reset(struct set *); // entries and exceptions
// What was put is this list; -EILSEQ where it is not.
int set_load_complete(struct set *, const struct list_state *);

// --- exceptions, policy, hits

// Replace all that control gave; root's allows stay. -ENOSPC: nothing changed.
int set_exceptions(struct set *, const struct exception *, size_t n);
// An allow of root (break-glass) until a deadline in boot_ms; 0 ends it. Networks and ports.
// -ENOSPC, -ENOENT: there was none to end, -EINVAL: a name.
int set_breakglass(struct set *, const struct indicator *, int64_t deadline_ms);
uint64_t set_exception_count(const struct set *);
uint64_t set_allow_count(const struct set *);

int set_pause(struct set *, bool paused); // -ENOMEM: as before

// From the drain of denials. A rule that has another key by now is not counted.
void set_hit(
	struct set *, uint32_t rule, const struct match_key *, uint64_t packets, uint64_t bytes
);
