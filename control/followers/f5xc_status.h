// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the mirror says of itself.
//
// Thread: the event loop.

#pragma once

#include "rules/indicator.h"

#include <jansson.h>

#define F5XC_TEXT_MAX 448

struct f5xc;
struct metrics_page;

// "stored", "not mirrored: …". False: no entry that the mirror knows of.
bool f5xc_entry_state(struct f5xc *, const struct indicator *, char ret_text[F5XC_TEXT_MAX]);
// A new reference. "warnings": what an operator should look at.
json_t *f5xc_status(struct f5xc *);
void f5xc_metrics(struct f5xc *, struct metrics_page *);
