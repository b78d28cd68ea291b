// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What happens to the live set before a port comes up: the list from disk, whether the clock can be
// believed, and the self-test of judgement.
//
// Thread: the control thread; load_list before the first worker starts.

#pragma once

#include "dataplane/set.h"
#include "rules/snapshot.h"

// Into an empty set. 0 with LIST_NONE where there is no list; -EILSEQ where no pair verifies;
// -ENOSPC: more than the capacity. ret_error says where. On errors the set is empty.
int load_list(
	struct set *, const char *dir, enum list_origin *ret_origin, struct text_error *ret_error
);

// Is the wall clock before the list's files, or more than 30 days after them? Then the ends are
// held (set_ends_hold). Returns whether they are.
bool load_clock_check(struct set *, const char *dir);

// An entry put into a set of its own must drop a packet through decide(), and without it, and after
// its removal, the packet must pass. 0; -EPROTO: do not start; -ENOMEM.
int load_self_test(const struct policy *);
