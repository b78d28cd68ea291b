// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower that keeps the data plane's list equal to the ledger's, over the link
// (rules/wire.h).
//
// Level-triggered: each answer tells the live state; the next step follows from what differs. One
// message that changes something is under way at a time, so a kill of either side at any moment
// leaves nothing to undo.
//
// Thread: the event loop.

#pragma once

#include "rules/wire.h"

#include <stdbool.h>

struct event_base;
struct ledger;
struct dataplane;

int dataplane_create(
	struct event_base *, struct ledger *, const char *run_dir, struct dataplane **ret_dataplane
);
void dataplane_free(struct dataplane *);

// The list may have moved and is in the journal: called by the snapshot follower.
void dataplane_wake(struct dataplane *);

bool dataplane_connected(const struct dataplane *);
// What the data plane last answered as applied. False: nothing yet.
bool dataplane_applied(
	const struct dataplane *, struct list_state *ret_state, int64_t *ret_when_ms
);
// Is that the ledger's state, the connection up, and nothing refused (list, protections and allows,
// pause)? Else why not, for people.
bool dataplane_equal(const struct dataplane *, char ret_why[160]);
// The last STATUS message, or NULL. Lives until the loop's next turn.
const void *dataplane_status(const struct dataplane *, size_t *ret_len);

// What the data plane says of one entry. NULL answer: not connected.
typedef void (*lookup_cb)(void *ctx, const struct wire_lookup_answer *);
int dataplane_lookup(struct dataplane *, const struct indicator *, lookup_cb, void *ctx);
// What it has seen of a network or port, NULL: of everything, with at most so many remote ends. The
// answer's records are behind it (wire_preview_end_read); NULL: not connected, or refused.
// -ENOTCONN, -EBUSY, -EINVAL: a name.
typedef void (*preview_cb)(void *ctx, const struct wire_preview_answer *, size_t len);
int dataplane_preview(
	struct dataplane *, const struct indicator *, uint32_t ends, preview_cb, void *ctx
);
// A full synchronisation anew; force: an operator lifts the shrink brake, for this connection
// (audited by the caller). -ENOTCONN: nothing was begun, and nothing stays lifted.
int dataplane_sync(struct dataplane *, bool force);
// How long an answer may take, and how long what was refused for want of room waits: 10 s and 5 s.
// Tests are in more of a hurry.
void dataplane_pace_set(struct dataplane *, unsigned answer_ms, unsigned again_ms);
// Its restarts, and how full it is.
struct dataplane_watch;
const struct dataplane_watch *dataplane_watched(const struct dataplane *);

typedef void (*denials_cb)(void *ctx, const struct wire_denial *, size_t n);
void dataplane_denials_set(struct dataplane *, denials_cb, void *ctx);
// Called whenever the applied state or the connection moves.
typedef void (*applied_cb)(void *ctx);
void dataplane_applied_set(struct dataplane *, applied_cb, void *ctx);
