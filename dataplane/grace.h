// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Rules that were unlinked, until their indices may be given out again.
//
//   retired ──token──> waiting ──all workers quiescent──> graced ──a later drain──> recycled
//
// Grace is polled, never waited for. Thread: the control thread.

#pragma once

#include <stdbool.h>
#include <stdint.h>

struct grace;
struct match;
struct rte_rcu_qsbr;

int grace_create(struct match *, struct rte_rcu_qsbr *, struct grace **ret_grace);
void grace_free(struct grace *);
void grace_retire(struct grace *, uint32_t rule); // match_unlink has been called
// drained: the denials that workers held before this call began have been taken.
void grace_poll(struct grace *, bool drained);
uint32_t grace_pending(const struct grace *); // rules not yet recycled
