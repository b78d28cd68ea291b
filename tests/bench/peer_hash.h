// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The worker's loop with DPDK's lock-free hash as its lookup: dataplane/worker.c is compiled a
// second time (meson.build), with match_… as here, and with this name for its turn.
//
// Thread: peer_hash_create the main lcore; the rest the measuring one.

#pragma once

#include "dataplane/worker.h"

struct set;

// Of hosts of IPv4, for packets of IPv4; the rules are the set's. -errno.
int peer_hash_create(struct set *, const uint32_t *hosts, uint32_t n);
unsigned peer_hash_turn(struct worker *);
void peer_hash_end(struct worker *);
void peer_hash_match_begin(const struct match *, struct match_burst *);
void peer_hash_match_filter(const struct match *, struct match_burst *);
void peer_hash_match_look(const struct match *, struct match_burst *);
void peer_hash_match_end(const struct match *, struct match_burst *);
