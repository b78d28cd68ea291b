// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the mirror says of itself: of an entry (f5xc_entry.c), of the whole (f5xc_status.c), of what
// it is about to do (f5xc_plan.c).
//
// Thread: the event loop.

#pragma once

#include "control/followers/f5xc_wanted.h"
#include "rules/indicator.h"

#include <jansson.h>

#define F5XC_TEXT_MAX 448

struct f5xc;
struct metrics_page;
struct shard;

extern const char *const f5xc_state_names[F5XC_STATES];

// "stored", "not mirrored: …". False: no entry that the mirror knows of.
bool f5xc_entry_state(struct f5xc *, const struct indicator *, char ret_text[F5XC_TEXT_MAX]);
// The same of an item; ret_why has F5XC_TEXT_MAX octets, or is NULL.
enum f5xc_state f5xc_item_state(const struct f5xc *, const struct f5xc_item *, char *ret_why);
// A new reference. "warnings": what an operator should look at.
json_t *f5xc_status(struct f5xc *);
// What would be written now, object by object, with at most `max` prefixes of each. "differs":
// is there anything?
json_t *f5xc_plan(struct f5xc *, size_t max);
void f5xc_metrics(struct f5xc *, struct metrics_page *);
