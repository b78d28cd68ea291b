// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists published by others: their members, in lists.db (control/lists_db.h), and how they change.
//
//  source ── texts ─▶ worker: parse, sort, compare by merge ── batch ≤ 3,900 changes ─▶ loop
//                     pages written, not committed                ledger.db: revision, change log
//                                                                 COMMIT there, then lists.db
//
// The ledger's commit is the truth: a batch stands in its change log in full, and what lists.db
// lacks after a crash is written from there. Entries are the union of claims and members: a member
// has no end on the wire, its own end is the worker's to keep.
//
// A full reading changes only what differs. Growth and shrink beyond the brakes are held (a row of
// `stanch held`); what is left of the change takes effect. A removal without agreement of metadata
// takes effect when two readings 5 s apart say it.
//
// Thread: the event loop, but for the worker, which is this module's own. Texts are copied.
// Errors: nothing here fails for a text: what is refused is counted, with samples.

#pragma once

#include "control/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LISTS_MAX 64
#define LIST_NAME_MAX 40
#define LIST_SOURCE "list:" // before the name, in claims
#define LIST_CONFIRM_MS 5000 // between two readings that say the same removal
#define LIST_SAMPLES 3

struct lists;

struct list_conf {
	char name[LIST_NAME_MAX + 1];
	bool monitor; // what members do that say nothing; else enforce
	bool no_brakes; // a test's
	uint8_t min_prefix_v4, min_prefix_v6;
	uint64_t max_members;
	int64_t ttl; // of members without an end; 0: none
	char reason[128]; // of members that say none
};

// What one reading came to.
struct list_result {
	uint32_t list; // id
	int error; // -EAGAIN: members moved while it was read, read again; -ENOBUFS: the ledger is
		   // full; -ENOSPC
	uint64_t read; // members, each once
	uint64_t added, removed, changed; // done
	uint64_t held_adds, held_removals; // a brake holds them
	uint64_t unconfirmed; // removals that the next reading has to say too
	uint64_t refused; // texts
	uint64_t protected; // members that a protection, brake on prefixes or caution refuses
	char samples[LIST_SAMPLES][160]; // of the refused: text and why
	int64_t took_ms;
};

struct list_status {
	uint32_t id;
	char name[LIST_NAME_MAX + 1];
	uint64_t members;
	int64_t synced; // seconds, of the last whole reading; 0: never
	uint64_t peak; // of the last 24 hours
	uint64_t progress, total; // of the comparison under way; 0: none
	bool reading; // one is under way
	uint64_t braked; // points since the start that a brake kept from taking effect
	struct list_result last;
};

typedef void (*list_done)(void *ctx, const struct list_result *);

struct lists *ledger_lists(struct ledger *);

// Known by its name from then on; the id never changes. 0: too many lists.
uint32_t lists_configure(struct lists *, const struct list_conf *);
void lists_done_set(struct lists *, uint32_t list, list_done, void *ctx); // NULL: nobody,
// and nobody is told of a mark either
// A list whose source is configured no longer: it stays, and no reading of it comes.
bool lists_status(struct lists *, size_t i, struct list_status *ret_status); // false: past the end
bool lists_find(struct lists *, const char *name, struct list_status *ret_status);

// A full reading: begin, feed, end. A second begin gives up the first.
void lists_read_begin(struct lists *, uint32_t list);
void lists_feed(
	struct lists *,
	uint32_t list,
	const char *member,
	size_t member_len,
	const char *value, // of a hash; "": none
	size_t value_len,
	int64_t until // of a sorted set; UNTIL_FOREVER: none
);
// Enough texts wait for the worker: feed no more until this says no.
bool lists_busy(struct lists *);
// confirmed: metadata, or an operator, say that this is the whole list. `done` is called.
void lists_read_end(struct lists *, uint32_t list, bool confirmed);
void lists_read_abort(struct lists *, uint32_t list);

// One member, as a point read found it. Acted on at once, also between batches of a comparison.
void lists_point(
	struct lists *,
	uint32_t list,
	bool present,
	const char *member,
	size_t member_len,
	const char *value,
	size_t value_len,
	int64_t until
);

// Called back when every point given before has taken effect; `synced`: these were all there are.
// One at a time for a list.
typedef void (*list_marked)(void *ctx);
void lists_mark(struct lists *, uint32_t list, bool synced, list_marked, void *ctx);

// All members end, in batches; the list is forgotten. `done` after the last. On a follower of a
// fleet the leader is asked, and the message says so.
void lists_retire(struct lists *, const char *name, const struct actor *, ledger_done, void *ctx);

// The key is gone, and nothing says that it should be empty: a held row; see list_approved.
void lists_missing(struct lists *, uint32_t list);
// An operator approved: the next reading may do it. `empty`: a missing key is an empty list.
typedef void (*list_approved)(void *ctx, uint32_t list, bool empty);
void lists_approved_set(struct lists *, list_approved, void *ctx);

// Protections or cautions are others now: the next readings go by them.
void lists_shields_changed(struct lists *);

struct lists_counts {
	uint64_t lists, members, refused, held_adds, held_removals;
	uint64_t batches, changes; // since the start
};
void lists_counts(struct lists *, struct lists_counts *ret_counts);

// Members as claims (source "list:<name>"), as ledger_claims_of gives the ledger's own.
int lists_claims_of(struct lists *, const struct indicator *, bool wide, claim_cb, void *ctx);
// Page through the members of one list by key; `after` an indicator's text, "" from the start.
int lists_members_page(
	struct lists *, uint32_t list, const char *after, size_t max, claim_cb, void *ctx
);
