// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower that writes to TheHive's cases what became of them.
//
//   audit ─cursor─> touched cases ─delay─> look: ledger against what was told ─> text
//   denials ─────> attempts of a case ┘                                           │
//                                     ledger: row "told" with the text pending <──┘
//                                     comment (4: a log of the task "stanch") ─> row without it
//
// The text and what it tells are committed before it is sent, and sent until it stands there: after
// an answer that was lost, or a start with a text pending, the case's comments are read back and
// ours is known by its marker, before it is written again. Tags are compared and set, attempts are
// one comment that is updated: repeating either changes nothing.
//
// TheHive down: rows wait in the ledger. One request at a time for each instance, paced. Nothing
// else waits for it.
//
//   writeback.c           life, which case next      writeback_audit.c  the audit, by its cursor
//   writeback_case.c      one case against what it was told: what it denies itself, and what people
//                         block by hand from it    writeback_immune.c  what is immune
//   writeback_text.c      its words
//   writeback_send.c      requests of one case and their answers
//   writeback_attempts.c  denials by case                       writeback_status.c
//
// Thread: the event loop.

#pragma once

#include "control/followers/writeback_case.h"
#include "rules/snapshot.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;
struct event_base;
struct ledger;
struct metrics_page;
struct protect;
struct wire_denial;
struct writeback;

// What it asks of other followers; `ctx` and `gateway` are borrowed.
struct writeback_view {
	void *ctx;
	const char *gateway; // this machine's name
	// In a fleet: names of those whose data planes have what the ledger held at the revision;
	// "": not known. NULL: a gateway by itself.
	void (*gateways)(void *ctx, struct revision, char *ret_text, size_t size);
	// What the data plane has applied, and when. False: nothing yet.
	bool (*applied)(void *ctx, struct list_state *ret_state, int64_t *ret_when_ms);
	// NULL: no mirror. See struct wb_look.
	bool (*f5)(void *ctx, const struct indicator *, char text[WB_F5_MAX]);
};

// For each instance of conf->thehive of which anything is to be written; the configuration is
// borrowed. `protect` may be NULL. -errno with a message.
int writeback_create(
	struct event_base *,
	const struct conf *,
	struct ledger *,
	struct protect *,
	const struct writeback_view *,
	struct writeback **ret_writeback,
	char ret_message[256]
);
// On a follower: should it lead one day, it tells what was decided from now on.
int writeback_begin(struct ledger *);
// What is under way is found pending by the next one.
void writeback_free(struct writeback *);

void writeback_applied_moved(struct writeback *); // by the data plane's follower
// gateway: of a fleet, whose data plane it was; NULL: a gateway by itself.
void writeback_denials_take(
	struct writeback *, const char *gateway, const struct wire_denial *, size_t n
);

// [{"name", "state", "why", …}] for the API: a new reference. NULL is fine: [].
json_t *writeback_status(struct writeback *);
void writeback_metrics(struct writeback *, struct metrics_page *);
