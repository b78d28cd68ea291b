// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower that keeps deny.rules and deny.journal equal to the ledger: what the data plane
// loads before its first packet. Each commit is in the journal, fsynced, before the link hears of
// it.
//
// Thread: the event loop. A new snapshot is written and put in place by a thread of its own; only
// while it takes the place of the old one (some fsyncs) batches wait, and nothing else does.

#pragma once

#include "rules/entry.h"

#include <stdbool.h>

struct dataplane;
struct event_base;
struct ledger;
struct snapshot;

// Woken after each append: the data plane's follower. May be NULL.
int snapshot_follow(
	struct event_base *,
	struct ledger *,
	const char *dir,
	struct dataplane *,
	struct snapshot **ret_snapshot
);
void snapshot_unfollow(struct snapshot *);

// The state that is on disk. False: none yet, or the last write failed; ret_why tells.
bool snapshot_state(const struct snapshot *, struct list_state *ret_state, char ret_why[160]);
