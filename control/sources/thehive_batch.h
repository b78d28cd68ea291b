// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Cases whose observables are read together. A list of observables does not say whose each is. So
// the same cases are asked for in several lists, each case in half of them, no two in the same:
//
//            list 1  list 2  list 3  list 4
//   case A     x       x
//   case B     x               x               an observable in lists 1 and 3: of case B
//   case C     x                       x
//   case D             x       x
//   case E             x               x
//   case F                     x       x
//
// 126 cases need nine lists. An observable that is added, removed or moved meanwhile, or that a
// list withholds, stands in fewer or more of them than it should: nothing is concluded from it, and
// the cases of which it may be are told as unsure, to be read one by one.
//
// Thread: any; pure. Memory: at most BATCH_OBSERVABLES_MAX, of which little is kept.

#pragma once

#include "control/sources/thehive_judge.h"

#include <stddef.h>

#define HIVE_BATCH_MAX 126 // cases
#define HIVE_BATCH_OBSERVABLES_MAX 10000 // beyond it, reading them one by one is as quick

struct hive_batch;

// At most HIVE_BATCH_MAX; the judgements are borrowed for its life. -ENOMEM.
int hive_batch_create(const struct hive_judgement *, size_t n, struct hive_batch **ret_batch);
void hive_batch_free(struct hive_batch *);
// Body of the next request, for a page of `size`. NULL: no memory.
char *hive_batch_query(const struct hive_rules *, const struct hive_batch *, size_t size);
// The answer's page. 1: more is to be asked for; 0: that was all; -EINVAL: it holds something that
// is no observable, and none of it was taken; -EMSGSIZE: too many; -ENOMEM.
int hive_batch_take(struct hive_batch *, const json_t *page, size_t size);
// After all: what the observables of a case ask for. -EAGAIN: unsure. Other errors as those of
// hive_observable_judge.
int hive_batch_judge(
	const struct hive_rules *,
	const struct hive_batch *,
	size_t index,
	struct hive_findings *ret_findings
);
