// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A full listing at 100,000 cases: which cases of a page differ from the ledger? The observables of
// all of them come in a few pages and are compared; only cases that differ are judged (see
// thehive_batch.h). Nothing is concluded from the comparison but that, so lists may lie.
//
//   differs: a case whose claims are not what its observables in the list ask for; one of which
//            the ledger knows nothing yet; one with refusals or held claims
//   owner:   an observable that asks for something, and is of no case that was compared: it is
//            asked for its case. (The list does not say it.) Of many, all cases differ
//
// Thread: the event loop. Memory: a page's cases and claims.

#pragma once

#include "control/sources/thehive_internal.h"

// Of a page of closed true positives. -EMSGSIZE: too many claims to compare, -ENOMEM: each is read.
int hive_bulk_begin(struct thehive *, const json_t *page, struct hive_bulk **ret_bulk);
void hive_bulk_free(struct hive_bulk *);
// NULL: there is nothing to ask; `differs` says what is to be read.
char *hive_bulk_query(const struct thehive *, struct hive_bulk *, size_t size);
// A page of `size` observables. 1: another one is to be asked for; 0: it was the last; -EINVAL: it
// holds something that is no observable.
int hive_bulk_take(struct thehive *, struct hive_bulk *, const json_t *page, size_t size);
bool hive_bulk_differs(const struct hive_bulk *, const char *case_id);
// The next observable without an owner. False: there is none.
bool hive_bulk_owner_next(struct hive_bulk *, char ret_observable[HIVE_ID_MAX]);
