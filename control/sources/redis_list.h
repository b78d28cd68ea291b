// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists that others publish in Redis. One instance has three connections: commands, messages of
// channels, and streams (XREAD blocks).
//
//   set, hash, zset   read by SCAN; type, cardinality and <key>:meta must agree before and after
//   string            one indicator a line, or a JSON array (1 MiB) of texts and objects
//   stream            records `op` add|remove and `indicator` (or `json`), in order, from where the
//                     last one was taken; what is trimmed unseen is an alarm, not a removal
//
// Hints: a message on the list's channel names a member ("+203.0.113.7", "-203.0.113.7", or the
// member itself): one point read settles it. Any other message, and keyspace notifications, are a
// reason to read in full, at most once a second.
//
// Thread: the event loop.

#pragma once

#include "control/ledger.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

struct conf_redis;
struct control;
struct metrics_page;
struct redis_lists;

// All instances of control->conf.
int redis_lists_create(struct control *, struct redis_lists **ret_lists);
void redis_lists_free(struct redis_lists *);
// [{name, address, up, why, policy, lists: […]}], for status.
json_t *redis_lists_status(const struct redis_lists *);
// [{name, members, …}] of every list of the ledger, also of those without a source.
json_t *redis_lists_json(const struct redis_lists *, struct ledger *);
void redis_lists_metrics(const struct redis_lists *, struct ledger *, struct metrics_page *);
// Reads a list in full, now. -ENOENT.
int redis_lists_read(struct redis_lists *, const char *name);
