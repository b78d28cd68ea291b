// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The scrub: walks what the workers read, over and over, and compares it with what should be there.
//
//   lines   ──each rule──> record there? action right? found by match_lookup? → running digest
//   names   ──each──────> found by its name? → running digest
//   at the end: running digest and count against those kept in O(1); records that were not met
//
// Changes during a walk are carried along (table.h), so that a walk ends also under constant
// change. What it finds is counted, told, and put right from the record where that can be done.
// Thread: the control thread, a slice at a time.

#pragma once

#include "dataplane/set.h"

#include <stdbool.h>
#include <stdint.h>

struct scrub;

struct scrub_result {
	struct digest digest; // of the last complete walk
	uint64_t count;
	int64_t age_ms; // since it ended; -1: there was none
	uint64_t errors, repaired; // since the start
	uint64_t walks;
	uint64_t walk_ms; // how long the last one took
	bool clean; // the last complete walk found nothing
	bool unrepaired; // something found is still wrong: only a synchronisation helps
};

// Told of each fault; the first hundred of a walk.
typedef void (*scrub_cb)(void *ctx, enum table_fault, const struct entry *, bool repaired);

int scrub_create(struct set *, scrub_cb, void *ctx, struct scrub **ret_scrub);
void scrub_free(struct scrub *);
// Walk at most so many lines or slots. Returns true when a walk has just ended.
bool scrub_step(struct scrub *, uint32_t steps);
void scrub_result(const struct scrub *, struct scrub_result *ret_result);
const char *table_fault_name(enum table_fault);
