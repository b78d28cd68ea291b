// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A case read on behalf of somebody who blocks it by hand, whatever it is closed as: what would its
// observables deny? And the claims that were made so.
//
// An operator's claim that refers to a case has the reference "case/<instance>/<case>/<observable>"
// and ends with the first reading that shows the case closed otherwise than as a true positive.
//
// Thread: the event loop.

#pragma once

#include "control/sources/thehive.h"
#include "control/sources/thehive_judge.h"

#include <stdbool.h>
#include <stddef.h>

#define HIVE_BLOCK_REF_MAX 192

struct thehive_answer {
	const char *error; // NULL: read; else why not, for people
	bool missing; // no such case or observable there
	const struct hive_judgement *judgement; // as it is; NULL with an error
	const struct hive_findings *findings; // CLAIM and HELD: what a block denies
};

typedef void (*thehive_ask_cb)(void *ctx, const struct thehive_answer *);
struct thehive_ask;

// `observable` NULL: all that are IOC; else this one, IOC or not. Called back later, exactly once,
// or never after thehive_ask_cancel. -EINVAL: no ids; -EAGAIN: TheHive's version is not known yet.
int thehive_ask(
	struct thehive *,
	const char *case_id,
	const char *observable,
	thehive_ask_cb,
	void *ctx,
	struct thehive_ask **ret_ask
);
void thehive_ask_cancel(struct thehive_ask *);

// The references of operators' claims on a case ("" for `observable`: all of them), and of the
// case's own.
void thehive_block_ref(
	const struct thehive *,
	const char *case_id,
	const char *observable,
	char ret_ref[HIVE_BLOCK_REF_MAX]
);
void thehive_own_ref(
	const struct thehive *,
	const char *case_id,
	const char *observable,
	char ret_ref[HIVE_NAME_MAX + 2 * HIVE_ID_MAX]
);

// Somebody unblocked the case, or the observable ("": all of it), and the tag that ends the
// verdict's own claims will be set soon: the case is read now and then until they are gone, two
// minutes at most.
void thehive_unblocked(struct thehive *, const char *case_id, const char *observable);
