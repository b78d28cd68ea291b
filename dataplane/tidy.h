// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Hosts that were put far from where they belong, because their line was full when they came, come
// nearer once others have gone: after a synchronisation that replaced most of a list.
//
//   tidy_begin ─> tidy_move: some have two places ─> all workers have passed ─> tidy_done: one ─> …
//
// Between tidy_move and tidy_done nothing else may be changed, nor scrubbed.
// Thread: the control thread. Part of set.c.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TIDY_MOVES 256 // at a time

struct table;

struct tidy {
	uint32_t line; // the next one
	bool running;
	unsigned n;
	uint32_t from[TIDY_MOVES]; // old places of those that have two
};

void tidy_begin(struct tidy *);
// The next so many lines. True: some have two places now.
bool tidy_move(struct tidy *, struct table *, unsigned lines);
void tidy_done(struct tidy *, struct table *);
