// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A file of rules as something to decide by, without a set, a link or a clock: for stanch-replay
// and the tests.
//
// Thread: any, one at a time. The matches live until ruleset_fini.

#pragma once

#include "dataplane/core/match.h"
#include "rules/text.h"

struct ruleset {
	struct match *entries, *exceptions;
	uint64_t names; // entries and exceptions that are names: not matched on the wire yet
	uint64_t inert; // entries and allows whose end has passed at that time
	void *memory[2];
	size_t sizes[2];
};

// What is in force at `now` (seconds since the epoch). Lines with the same indicator add up: an
// enforcing one is not shadowed by a monitoring one.
// -EINVAL with ret_error, -ENOMEM, or -errno of reading the file.
int ruleset_load(
	const char *path, int64_t now, struct ruleset *ret_rules, struct text_error *ret_error
);
void ruleset_fini(struct ruleset *);

// The canonical text of a rule of `m`; returns its length.
size_t ruleset_rule_print(const struct match *m, uint32_t rule, char text[INDICATOR_TEXT_MAX]);
