// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Asks F5 who refers to a set, and reads those policies' rules. Reads only; what the token may not
// read stays unknown, and nothing waits for it.
//
// Thread: the event loop.

#pragma once

struct shard;

// The set is as it should be: asks for what is not known, or was read before this half of the
// reconcile's interval; then the shard is busy until f5xc_shard_again.
void f5xc_referrers_step(struct shard *);
