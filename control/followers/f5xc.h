// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower that mirrors entries in enforce to F5 Distributed Cloud: one ip_prefix_set a family.
//
// Level-triggered: read the set, compare with what it should hold, write the whole of it where they
// differ, read it back. An object without our owner label, or of a higher epoch, is never written.
// What F5 holds and is still wanted keeps its place; what finds none is refused. Nothing on this
// machine waits for it.
//
// Thread: the event loop.

#pragma once

struct control;
struct f5xc;

int f5xc_create(struct control *, struct f5xc **ret_f5xc);
void f5xc_free(struct f5xc *);
// With control->conf->f5xc as it is now, every key of it, and its files read again. -errno: the
// mirror goes on as before. Never from a callback of the mirror.
int f5xc_reload(struct control *, struct f5xc **f5xc);
