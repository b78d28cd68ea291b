// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a reading asks of the ledger: the items that make the claims of its case what they should
// be, against what the ledger has. Nothing is written here.
//
// Thread: the event loop. A plan owns all that its items point to, so that they can be submitted
// one slice after the other.

#pragma once

#include "control/sources/thehive_internal.h"

// A claim of the case as the ledger has it.
struct hive_have {
	char observable[HIVE_ID_MAX];
	struct claim claim; // its texts are in the next members
	char author[HIVE_NAME_MAX], reason[HIVE_WHY_MAX], number[16];
	bool wanted; // the reading asks for it too; a bulk comparison: it was seen
};

struct hive_haves {
	struct hive_have *list;
	size_t n, room;
	int error;
};

struct hive_plan {
	LIST_ENTRY(hive_plan) link; // in hive->plans while it is submitted
	struct thehive *hive; // NULL: it is gone
	char id[HIVE_ID_MAX], merged_into[HIVE_ID_MAX], closer[HIVE_NAME_MAX];
	bool gone, deleted, merged, may_withdraw;
	struct hive_judgement judgement;
	struct hive_findings findings; // sorted by observable
	struct hive_haves haves; // sorted by observable and indicator
	struct submit_item *items; // additions before withdrawals
	char (*refs)[HIVE_REF_MAX], (*to)[HIVE_REF_MAX];
	size_t *sources; // per item: index of its finding; SIZE_MAX: a withdrawal
	size_t n, room;
	size_t at, slice; // submitted, and being submitted
	char reason[HIVE_WHY_MAX], cause[HIVE_WHY_MAX];
	json_t *old; // the case's note; NULL: none
	json_t *refused, *held; // of the new one
	size_t n_own; // of `refused`: what the ledger refused, it has audited itself
	bool by_merge, waits; // the case became what it is by a merge, and (waits) nobody has
			      // closed it since
};

// --- thehive_immune.c

void hive_immunities_apply(const struct hive_plan *);
bool hive_case_immunes(struct thehive *, const char *case_id);

// --- thehive_plan.c

// Takes the reading's findings. -errno.
int hive_plan_make(struct hive_read *, struct hive_plan **ret_plan);
void hive_plan_free(struct hive_plan *);
void hive_refusal_add(json_t *refused, const char *observable, const char *data, const char *why);
void hive_ref_print(
	const struct thehive *, const char *case_id, const char *observable, char ref[HIVE_REF_MAX]
);
// Of sorted ones. NULL: none is of that observable.
const struct hive_finding *hive_finding_of(const struct hive_findings *, const char *observable);
// The case's claims, sorted by observable; ret_haves->list is to be freed. -errno.
int hive_haves_find(struct thehive *, const char *case_id, struct hive_haves *ret_haves);
// Of a claim of the case.
void hive_reason_print(const struct hive_judgement *, char reason[HIVE_WHY_MAX]);
void hive_held_add(json_t *held, const char *observable);
