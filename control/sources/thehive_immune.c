// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Immunities that a case's false positives ask for, against those that the ledger has of it. Ending
// one lets lists deny again: that needs no more evidence than a reading.

#include "control/sources/thehive_plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HAD_MAX 256 // of a case; more are looked at in the next reading

struct had {
	char ref[HIVE_REF_MAX];
	struct indicator indicator;
	bool wanted;
};

struct hads {
	struct had list[HAD_MAX];
	size_t n;
};

static bool had_take(void *ctx, const struct immunity *immunity)
{
	struct hads *hads = ctx;
	struct had *had = &hads->list[hads->n++];
	*had = (struct had){.indicator = immunity->indicator};
	snprintf(had->ref, sizeof(had->ref), "%s", immunity->ref);
	return hads->n < HAD_MAX;
}

static void
immunity_put(const struct hive_plan *plan, const struct hive_finding *f, struct hads *hads)
{
	char ref[HIVE_REF_MAX], reason[HIVE_WHY_MAX];
	hive_ref_print(plan->hive, plan->id, f->id, ref);
	snprintf(
		reason,
		sizeof(reason),
		"false positive in TheHive case %s: %s",
		plan->judgement.number,
		plan->judgement.title
	);
	for (size_t i = 0; i < hads->n; i++)
		if (strcmp(hads->list[i].ref, ref) == 0
		    && indicator_equal(&hads->list[i].indicator, &f->indicator))
			hads->list[i].wanted = true;
	const struct immunity immunity = {
		.source = plan->hive->source,
		.ref = ref,
		.indicator = f->indicator,
		.created = plan->judgement.closed_at,
		.until = plan->judgement.immune_until,
		.author = *plan->closer ? plan->closer : plan->judgement.updated_by,
		.reason = reason,
	};
	int error = ledger_immunity_put(plan->hive->ledger, &immunity, plan->hive->source);
	if (error && error != -EEXIST) // a case has denied it since
		log_error("%s: case %s: %s", plan->hive->source, plan->id, strerror(-error));
}

// NULL: it stays.
static const char *end_cause(const struct hive_plan *plan, const struct had *had)
{
	if (had->wanted)
		return NULL;
	if (plan->gone)
		return plan->deleted && !plan->merged ? "the case was deleted" : NULL;
	if (!plan->judgement.false_positive)
		return plan->judgement.why[0] ? plan->judgement.why : "the case denies now";
	const char *slash = strrchr(had->ref, '/');
	if (slash && hive_finding_of(&plan->findings, slash + 1))
		return "the observable does not bear the tag any more";
	return plan->may_withdraw ? "the observable was removed from the case" : NULL;
}

void hive_immunities_apply(const struct hive_plan *plan)
{
	struct thehive *hive = plan->hive;
	struct hads hads = {.n = 0};
	char prefix[HIVE_REF_MAX];
	hive_ref_print(hive, plan->id, "", prefix);
	ledger_immunities(hive->ledger, hive->source, prefix, had_take, &hads);
	bool lasts = plan->judgement.immune_until > time(NULL);
	if (!plan->gone && plan->judgement.false_positive && !lasts)
		return; // the ledger ends them
	for (size_t i = 0; i < plan->findings.n; i++)
		if (plan->findings.list[i].kind == HIVE_IMMUNE)
			immunity_put(plan, &plan->findings.list[i], &hads);
	for (size_t i = 0; i < hads.n; i++) {
		const char *cause = end_cause(plan, &hads.list[i]);
		if (cause)
			ledger_immunity_end(
				hive->ledger,
				hive->source,
				hads.list[i].ref,
				&hads.list[i].indicator,
				hive->source,
				cause
			);
	}
}

static bool one_is_enough(void *ctx, const struct immunity *immunity)
{
	(void)immunity;
	*(bool *)ctx = true;
	return false;
}

bool hive_case_immunes(struct thehive *hive, const char *case_id)
{
	char prefix[HIVE_REF_MAX];
	bool any = false;
	hive_ref_print(hive, case_id, "", prefix);
	ledger_immunities(hive->ledger, hive->source, prefix, one_is_enough, &any);
	return any;
}
