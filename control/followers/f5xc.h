// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower that mirrors entries in enforce to F5 Distributed Cloud: one ip_prefix_set a family.
//
// Level-triggered: read the set, compare with what it should hold, write the whole of it where they
// differ, read it back. An object without our owner label, or of a higher epoch, is never written.
// Nothing on this machine waits for it.
//
// Thread: the event loop.

#pragma once

#include "control/followers/f5xc_set.h"

struct control;
struct f5xc;

int f5xc_create(struct control *, struct f5xc **ret_f5xc);
void f5xc_free(struct f5xc *);

// "stored", "not mirrored: …". False: no entry that the mirror knows of.
bool f5xc_entry_state(
	const struct f5xc *, const struct indicator *, char ret_text[F5XC_WHY_MAX + 32]
);
json_t *f5xc_status(const struct f5xc *); // a new reference
