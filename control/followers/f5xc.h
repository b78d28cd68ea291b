// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower that mirrors entries in enforce to F5 Distributed Cloud: ip_prefix_sets, and in
// policy mode an enhanced_firewall_policy that denies with them.
//
// Level-triggered: what should be there is computed from the ledger (f5xc_wanted.h), seated in sets
// (f5xc_seat.h), compared with what was read, written as whole objects where it differs, and read
// back. There is no queue that a crash could lose: the ledger is the outbox. An object without our
// owner label, or of a higher epoch, is never written. Nothing on this machine waits for it.
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

// Everything is read again and repaired, objects that somebody deleted too.
int f5xc_sync(struct f5xc *);
// Take over an object of a name of ours that bears another owner or a higher epoch: what it holds
// and is not wanted goes. -EINVAL: no such name; -ENOENT: not there; -EALREADY: it is ours.
int f5xc_adopt(struct f5xc *, const char *name);
