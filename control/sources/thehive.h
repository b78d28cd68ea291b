// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One TheHive (4 or 5) as a source of claims.
//
//   webhook ─hint─> case ─┬─ read at once (may add) ────────────┬─> judgement ─> ledger
//   listing of changes ───┘  read again after the index delay   │
//                            (may withdraw)                     │
//   full listing ──────────> read at listing's pace ────────────┘
//
//   thehive.c        life, hints and their coalescing, back-off, the version
//   thehive_read.c   reading one case     thehive_plan.c   what was read against the ledger
//   thehive_apply.c  what differs is written, in slices
//   thehive_list.c   what changed         thehive_query.c  requests' bodies
//   thehive_full.c   the full listing: thehive_bulk.c which cases of a page differ from the
//                    ledger, thehive_batch.c many cases judged together, thehive_absent.c those
//                    that no page had
//   thehive_immune.c false positives that suspend what lists say
//   thehive_status.c what it tells of itself    thehive_setup.c  `stanch thehive setup`
//   thehive_hook.c, thehive_judge.c, thehive_indicator.c   pure
//
// What ends a claim, and what does not:
//   ends      the case read as open, judged otherwise or without a response action; the observable
//             read as no IOC, of no type that counts, or no longer deniable; the observable missing
//             from the case's whole list in the later read and answered with 404 by its id; the
//             case deleted: told by a webhook, confirmed by 404, and not merged
//   orphans   the case answered with 404 otherwise (not visible any more)
//   moves     the case answered with 404, and its observables stand in another one: merged. The
//             claims go on there as orphans until that case is closed, in whatever way: that it is
//             open says nothing about them
//   neither   any other answer: nothing, HTML, 401, 5xx, an empty or cut list, another case
//
// Thread: the event loop.

#pragma once

#include "control/sources/thehive_hook.h"

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

struct conf_thehive;
struct event_base;
struct http_client;
struct ledger;
struct protect;
struct thehive;

// Reads the key's file. The configuration is borrowed for its life. `protect` may be NULL.
// -errno with a message.
int thehive_create(
	struct event_base *,
	const struct conf_thehive *,
	struct ledger *,
	struct protect *,
	struct thehive **ret_hive,
	char ret_message[256]
);
// Submissions under way are committed by the ledger, without us.
void thehive_free(struct thehive *);

// Before the loop runs again: the full listing begins at its beginning, wherever it was.
void thehive_anew(struct thehive *);
// A webhook came: its case is read soon. Never fails: what is lost, listings find.
void thehive_hint(struct thehive *, const struct hive_hint *);
void thehive_hook_bad(struct thehive *); // one came that was none: counted

// The organisation as references begin with it.
void thehive_organisation_print(const struct conf_thehive *, char name[HIVE_NAME_MAX]);

const char *thehive_name(const struct thehive *); // as configured
const char *thehive_source(const struct thehive *); // "thehive:<name>", as in claims

struct thehive_counters {
	uint64_t hooks, hooks_bad;
	uint64_t reads; // of a case
	uint64_t read_failures; // answers that told nothing
	uint64_t listings; // full ones
	uint64_t denying, none, unclear; // closed true positives, now
	uint64_t pending; // cases that wait to be read, or again
	uint64_t cases_refused; // cases of which something was refused, now
	int64_t reconciled; // seconds since the epoch of the last full listing; 0: never
	bool up; // the last answer was good
};
void thehive_counters(const struct thehive *, struct thehive_counters *ret_counters);

// For `stanch status` and the API: a new reference.
json_t *thehive_status(const struct thehive *);
// What was refused or is held, by case: [{"case", "title", "why", "refused": [{"observable",
// "data", "why"}], "held": […]}]; at most `max` cases. A new reference.
json_t *thehive_refusals(const struct thehive *, size_t max);

// The two clients, for metrics: [0] at once, [1] at listing's pace.
const struct http_client *thehive_client(const struct thehive *, unsigned which);
