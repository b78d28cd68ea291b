// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One case: what the ledger says of it now, against what it was told.
//
//   state, the row of the case in the ledger:
//     live      {"<observable> <indicator>": {"action", "until", "warned"?}}: known to be denied
//     held      {"<observable> <indicator>": true}
//     hand      as live, with "by": what people block by hand from the case;  hand_held
//     refusals  [{"user", "refused": [{"data", "observable", "why"}], "more"?}]: blocks by hand
//               that left no claim, not told yet
//     immune    {"<observable> <indicator>": until}
//     causes    {"live" | "hand" | "immune": {"<observable> <indicator>": why}}: of what ended or
//               is held, until that is told
//     refused   {"<observable> <data>": why}         why  of the case as a whole
//     allowed   {"<indicator>": until}
//     over      {"<observable>": true}               its time is over, and that was told
//     large     true: more than WB_LARGE claims, told as one
//     tags      {"<observable>": word}               set by us
//     attempts  see writeback_text.h, and "told", "written", "id", "marker", "not_before"
//     pending   {"marker", "text", "total"?}         to be written, or written without an answer;
//                                                    total: of attempts
//     task      TheHive 4: the task whose logs are the comments
//     due       seconds since the epoch of its next step by itself
//
// Thread: the event loop.

#pragma once

#include "rules/indicator.h"

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

#define WB_REF_MAX 320 // "<organisation>/<case id>"
#define WB_F5_MAX 448
#define WB_LARGE 1000 // claims of a case; one with more is told as one: its look is short too

struct conf_writeback;
struct ledger;
struct protect;

struct wb_look {
	struct ledger *ledger;
	const struct protect *protect; // NULL: none
	const char *source; // "thehive:<name>"
	const char *ref;
	const struct conf_writeback *conf;
	bool applied; // the data plane has what the ledger says
	int64_t now; // seconds since the epoch
	// The state in F5 XC. False: not mirrored there. NULL: no mirror.
	bool (*f5)(void *ctx, const struct indicator *, char text[WB_F5_MAX]);
	void *f5_ctx;
};

struct wb_seen {
	json_t *news; // see writeback_text.h; an empty object: nothing
	json_t *tags; // {"<observable>": word or ""}: to be set; only where applied
	bool first; // nothing was denied by the case itself before
	bool own_denied; // among what is denied now is something by the case itself
	bool waits; // there is something that waits for the data plane
	bool f5_pending;
	bool changed; // `state` is another, whether there is news or not
	int64_t due; // TOLD_NEVER: nothing by itself
};

void wb_seen_fini(struct wb_seen *);

// Changes `state` as though the news were told. -errno of the ledger: nothing is to be believed.
int wb_case_look(const struct wb_look *, json_t *state, struct wb_seen *ret_seen);

// --- writeback_immune.c, and what it needs
int wb_immune_look(const struct wb_look *, json_t *state, struct wb_seen *);
void wb_news_add(struct wb_seen *, bool on, const char *kind, json_t *item); // takes `item`
// Why it ended, or is held: what the audit said of it; "" for nothing.
const char *wb_cause_of(const json_t *state, const char *member, const char *key);

// The member, made as an empty object where there is none. Borrowed.
json_t *wb_member(json_t *object, const char *key);
