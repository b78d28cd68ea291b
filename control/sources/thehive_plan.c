// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REFUSED_MAX 100 // of a case, in its note

void hive_ref_print(
	const struct thehive *hive,
	const char *case_id,
	const char *observable,
	char ref[HIVE_REF_MAX]
)
{
	snprintf(ref, HIVE_REF_MAX, "%s/%s/%s", hive->organisation, case_id, observable);
}

// --- what the ledger has

static bool have_take(void *ctx, const struct claim *claim)
{
	struct hive_haves *haves = ctx;
	if (haves->n == haves->room) {
		size_t room = haves->room ? haves->room * 2 : 8;
		struct hive_have *list = realloc(haves->list, room * sizeof(*list));
		if (!list) {
			haves->error = -ENOMEM;
			return false;
		}
		haves->list = list;
		haves->room = room;
	}
	struct hive_have *have = &haves->list[haves->n++];
	*have = (struct hive_have){.claim = *claim};
	const char *slash = strrchr(claim->ref, '/');
	snprintf(have->observable, sizeof(have->observable), "%s", slash ? slash + 1 : "");
	snprintf(have->author, sizeof(have->author), "%s", claim->author);
	snprintf(have->reason, sizeof(have->reason), "%s", claim->reason);
	snprintf(have->number, sizeof(have->number), "%s", claim->case_number);
	return true;
}

static int have_compare(const void *a, const void *b)
{
	const struct hive_have *x = a, *y = b;
	int order = strcmp(x->observable, y->observable);
	return order ? order : indicator_compare(&x->claim.indicator, &y->claim.indicator);
}

int hive_haves_find(struct thehive *hive, const char *case_id, struct hive_haves *haves)
{
	char prefix[HIVE_REF_MAX];
	hive_ref_print(hive, case_id, "", prefix);
	int error = ledger_claims_by_ref(hive->ledger, hive->source, prefix, have_take, haves);
	if (haves->n > 1)
		qsort(haves->list, haves->n, sizeof(*haves->list), have_compare);
	for (size_t i = 0; i < haves->n; i++) { // they have come to their places
		struct hive_have *have = &haves->list[i];
		have->claim.author = have->author;
		have->claim.reason = have->reason;
		have->claim.case_number = have->number;
	}
	return error ? error : haves->error;
}

static bool one_is_enough(void *ctx, const struct claim *claim)
{
	char *observable = ctx;
	const char *slash = strrchr(claim->ref, '/');
	snprintf(observable, HIVE_ID_MAX, "%s", slash ? slash + 1 : "-");
	return false;
}

bool hive_case_claimed(struct thehive *hive, const char *case_id, char ret_one[HIVE_ID_MAX])
{
	char prefix[HIVE_REF_MAX], one[HIVE_ID_MAX] = "";
	hive_ref_print(hive, case_id, "", prefix);
	ledger_claims_by_ref(hive->ledger, hive->source, prefix, one_is_enough, one);
	if (ret_one)
		memcpy(ret_one, one, sizeof(one));
	return one[0] != '\0';
}

bool hive_case_concerns(struct thehive *hive, const char *case_id)
{
	if (hive_case_claimed(hive, case_id, NULL) || hive_case_immunes(hive, case_id)
	    || hive_case_blocked(hive, case_id))
		return true;
	char key[HIVE_ID_MAX + 8];
	snprintf(key, sizeof(key), "case/%s", case_id);
	json_t *note = NULL;
	int error = ledger_note_get(hive->ledger, hive->source, key, &note);
	json_decref(note);
	return error != -ENOENT;
}

static int finding_compare(const void *a, const void *b)
{
	const struct hive_finding *x = a, *y = b;
	return strcmp(x->id, y->id);
}

static void findings_sort(struct hive_findings *findings)
{
	if (findings->n > 1)
		qsort(findings->list, findings->n, sizeof(*findings->list), finding_compare);
}

// Sorted before. NULL: the reading does not have the observable.
const struct hive_finding *
hive_finding_of(const struct hive_findings *findings, const char *observable)
{
	struct hive_finding key;
	snprintf(key.id, sizeof(key.id), "%s", observable);
	return findings->n
		? bsearch(&key, findings->list, findings->n, sizeof(key), finding_compare)
		: NULL;
}

static int missing_add(struct hive_read *read, const char *observable)
{
	for (size_t i = 0; i < read->n_missing; i++)
		if (strcmp(read->missing[i], observable) == 0)
			return 0;
	void *list = realloc(read->missing, (read->n_missing + 1) * sizeof(*read->missing));
	if (!list)
		return -ENOMEM;
	read->missing = list;
	snprintf(read->missing[read->n_missing++], HIVE_ID_MAX, "%s", observable);
	return 0;
}

int hive_missing_find(struct hive_read *read)
{
	struct hive_haves haves = {0};
	int error = hive_haves_find(read->hive, read->of->id, &haves);
	findings_sort(&read->findings);
	for (size_t i = 0; i < haves.n && !error; i++) {
		const struct hive_have *have = &haves.list[i];
		if (hive_id_valid(have->observable)
		    && !hive_finding_of(&read->findings, have->observable))
			error = missing_add(read, have->observable);
	}
	free(haves.list);
	return error;
}

// --- the plan

static struct submit_item *plan_add(struct hive_plan *plan, size_t finding)
{
	if (plan->n == plan->room)
		return NULL; // plan_room counted them all
	plan->sources[plan->n] = finding;
	struct submit_item *item = &plan->items[plan->n++];
	*item = (struct submit_item){0};
	return item;
}

static int plan_room(struct hive_plan *plan)
{
	plan->room = plan->haves.n + plan->findings.n + 1;
	plan->items = calloc(plan->room, sizeof(*plan->items));
	plan->refs = calloc(plan->room, sizeof(*plan->refs));
	plan->sources = calloc(plan->room, sizeof(*plan->sources));
	if (plan->merged_into[0])
		plan->to = calloc(plan->room, sizeof(*plan->to));
	return plan->items && plan->refs && plan->sources && (plan->to || !plan->merged_into[0])
		? 0
		: -ENOMEM;
}

static void
plan_end(struct hive_plan *plan, const struct hive_have *have, enum submit_op op, const char *cause)
{
	// An orphan stays one.
	if (op == SUBMIT_ORPHAN && have->claim.state != CLAIM_LIVE)
		return;
	size_t at = plan->n;
	struct submit_item *item = plan_add(plan, SIZE_MAX);
	if (!item)
		return;
	hive_ref_print(plan->hive, plan->id, have->observable, plan->refs[at]);
	*item = (struct submit_item){
		.op = op,
		.claim = {
			.source = plan->hive->source,
			.ref = plan->refs[at],
			.indicator = have->claim.indicator,
		},
		.cause = cause,
	};
	if (op == SUBMIT_MOVE) {
		hive_ref_print(plan->hive, plan->merged_into, have->observable, plan->to[at]);
		item->to = plan->to[at];
	}
}

static void plan_end_all(struct hive_plan *plan, enum submit_op op, const char *cause)
{
	for (size_t i = 0; i < plan->haves.n; i++)
		plan_end(plan, &plan->haves.list[i], op, cause);
}

void hive_refusal_add(json_t *refused, const char *observable, const char *data, const char *why)
{
	if (json_array_size(refused) < REFUSED_MAX)
		json_array_append_new(
			refused,
			json_pack(
				"{s:s,s:s%,s:s}",
				"observable",
				observable,
				"data",
				data,
				strlen(data),
				"why",
				why
			)
		);
}

static bool array_has(const json_t *array, const char *text)
{
	size_t i;
	json_t *one;
	json_array_foreach(
		array, i, one
	) if (json_is_string(one) && strcmp(json_string_value(one), text) == 0) return true;
	return false;
}

void hive_held_add(json_t *held, const char *observable)
{
	if (!array_has(held, observable))
		json_array_append_new(held, json_string(observable));
}

static struct hive_have *have_find(struct hive_plan *plan, const struct hive_finding *finding)
{
	struct hive_have key = {.claim.indicator = finding->indicator};
	memcpy(key.observable, finding->id, sizeof(key.observable));
	return plan->haves.n
		? bsearch(&key, plan->haves.list, plan->haves.n, sizeof(key), have_compare)
		: NULL;
}

static bool claim_same(const struct claim *a, const struct claim *b)
{
	return a->action == b->action && a->until == b->until && a->tlp == b->tlp
		&& a->author_inferred == b->author_inferred && strcmp(a->author, b->author) == 0
		&& strcmp(a->reason, b->reason) == 0 && strcmp(a->case_number, b->case_number) == 0;
}

// The verdict's author is known once: whoever changes the case later is not its author.
static void
author_take(const struct hive_plan *plan, const struct hive_have *have, struct claim *claim)
{
	if (*plan->closer) {
		claim->author = plan->closer;
	} else if (have && !(plan->by_merge && have->claim.state == CLAIM_ORPHANED)) {
		claim->author = have->author;
		claim->author_inferred = have->claim.author_inferred;
	} else {
		claim->author = plan->judgement.updated_by;
		claim->author_inferred = true;
	}
}

static void plan_put(struct hive_plan *plan, size_t index)
{
	const struct hive_finding *finding = &plan->findings.list[index];
	struct hive_have *have = have_find(plan, finding);
	bool held = finding->kind == HIVE_HELD;
	if (have)
		have->wanted = true;
	if (finding->until <= time(NULL)) { // the ledger ends what it has
		hive_refusal_add(plan->refused, finding->id, finding->data, HIVE_DURATION_OVER);
		return;
	}
	if (!have && array_has(json_object_get(plan->old, "held"), finding->id)) {
		hive_refusal_add(
			plan->refused, finding->id, finding->data, "an operator rejected it"
		);
		hive_held_add(plan->held, finding->id); // and it stays so
		return;
	}
	struct claim claim = {
		.source = plan->hive->source,
		.indicator = finding->indicator,
		.reason = plan->reason,
		.action = finding->action,
		.created = have ? have->claim.created : 0,
		.until = finding->until,
		.state = held ? CLAIM_HELD : CLAIM_LIVE,
		.case_number = plan->judgement.number,
		.tlp = finding->tlp,
	};
	author_take(plan, have, &claim);
	if (have && have->claim.state == CLAIM_HELD)
		hive_held_add(plan->held, finding->id);
	if (have && have->claim.state != CLAIM_ORPHANED && claim_same(&have->claim, &claim))
		return;
	size_t at = plan->n;
	struct submit_item *item = plan_add(plan, index);
	if (!item)
		return;
	hive_ref_print(plan->hive, plan->id, finding->id, plan->refs[at]);
	claim.ref = plan->refs[at];
	*item = (struct submit_item){
		.op = SUBMIT_PUT,
		.claim = claim,
		.cause = held ? finding->why : NULL,
	};
}

// Claims of observables that are not asked for: ended by what was read of them, or, in the later
// reading, by their absence, which their own addresses have confirmed.
static void plan_withdraw(struct hive_plan *plan)
{
	for (size_t i = 0; i < plan->haves.n; i++) {
		const struct hive_have *have = &plan->haves.list[i];
		if (have->wanted)
			continue;
		const struct hive_finding *finding
			= hive_finding_of(&plan->findings, have->observable);
		if (finding)
			plan_end(
				plan,
				have,
				SUBMIT_END,
				finding->why[0] ? finding->why : "the observable says otherwise now"
			);
		else if (plan->may_withdraw)
			plan_end(
				plan, have, SUBMIT_END, "the observable was removed from the case"
			);
	}
}

void hive_reason_print(const struct hive_judgement *judgement, char reason[HIVE_WHY_MAX])
{
	snprintf(reason, HIVE_WHY_MAX, "TheHive case %s: %s", judgement->number, judgement->title);
}

static void plan_deny(struct hive_plan *plan)
{
	hive_reason_print(&plan->judgement, plan->reason);
	for (size_t i = 0; i < plan->findings.n; i++) {
		const struct hive_finding *finding = &plan->findings.list[i];
		if (finding->kind == HIVE_REFUSED)
			hive_refusal_add(plan->refused, finding->id, finding->data, finding->why);
		else if (finding->kind != HIVE_IGNORED)
			plan_put(plan, i);
	}
	plan_withdraw(plan);
}

static void plan_gone(struct hive_plan *plan)
{
	if (plan->merged_into[0]) {
		snprintf(
			plan->cause,
			sizeof(plan->cause),
			"the case was merged into %s",
			plan->merged_into
		);
		plan_end_all(plan, SUBMIT_MOVE, plan->cause);
	} else if (plan->deleted && !plan->merged) {
		plan_end_all(
			plan,
			SUBMIT_END,
			"the case was deleted: told by TheHive, confirmed by reading"
		);
	} else {
		plan_end_all(
			plan,
			SUBMIT_ORPHAN,
			plan->merged ? "the case was merged"
				     : "TheHive does not show the case any more"
		);
	}
}

// A case made by a merge is open. That says nothing about what its parts had denied: only what
// comes after, a closing, does.
static void plan_open(struct hive_plan *plan)
{
	for (size_t i = 0; i < plan->haves.n; i++) {
		const struct hive_have *have = &plan->haves.list[i];
		if (!plan->waits || have->claim.state != CLAIM_ORPHANED)
			plan_end(plan, have, SUBMIT_END, plan->judgement.why);
	}
	for (size_t i = 0; i < plan->findings.n; i++) { // of a false positive: immunities
		const struct hive_finding *finding = &plan->findings.list[i];
		if (finding->kind == HIVE_REFUSED)
			hive_refusal_add(plan->refused, finding->id, finding->data, finding->why);
	}
}

static void plan_fill(struct hive_plan *plan)
{
	if (plan->gone)
		plan_gone(plan);
	else if (plan->judgement.verdict == HIVE_DENY || plan->judgement.by_observable)
		plan_deny(plan);
	else if (plan->judgement.verdict == HIVE_UNCLEAR)
		json_array_extend(plan->held, json_object_get(plan->old, "held"));
	else
		plan_open(plan);
}

// --- life

static int notes_load(struct hive_plan *plan)
{
	char key[HIVE_ID_MAX + 8];
	json_t *merged = NULL;
	snprintf(key, sizeof(key), "case/%s", plan->id);
	int error = ledger_note_get(plan->hive->ledger, plan->hive->source, key, &plan->old);
	if (error && error != -ENOENT)
		return error;
	snprintf(key, sizeof(key), "merged/%s", plan->id);
	error = ledger_note_get(plan->hive->ledger, plan->hive->source, key, &merged);
	plan->by_merge = merged != NULL;
	plan->waits = merged && !plan->gone && !plan->judgement.closed;
	json_decref(merged);
	return error == -ENOENT ? 0 : error;
}

int hive_plan_make(struct hive_read *read, struct hive_plan **ret_plan)
{
	struct hive_plan *plan = calloc(1, sizeof(*plan));
	if (!plan)
		return -ENOMEM;
	const struct hive_case *of = read->of;
	plan->hive = read->hive;
	memcpy(plan->id, of->id, sizeof(plan->id));
	memcpy(plan->merged_into, of->merged_into, sizeof(plan->merged_into));
	memcpy(plan->closer, of->closer, sizeof(plan->closer));
	plan->gone = read->gone;
	plan->deleted = of->deleted;
	plan->merged = hive_merged(read->hive, of);
	plan->may_withdraw = read->may_withdraw;
	plan->judgement = read->judgement;
	plan->findings = read->findings;
	read->findings = (struct hive_findings){0};
	findings_sort(&plan->findings);
	plan->refused = json_array();
	plan->held = json_array();
	LIST_INSERT_HEAD(&plan->hive->plans, plan, link);
	int error = hive_haves_find(plan->hive, plan->id, &plan->haves);
	if (!error)
		error = plan_room(plan);
	if (!error)
		error = notes_load(plan);
	if (error) {
		hive_plan_free(plan);
		return error;
	}
	plan_fill(plan);
	plan->n_own = json_array_size(plan->refused);
	*ret_plan = plan;
	return 0;
}

void hive_plan_free(struct hive_plan *plan)
{
	if (!plan)
		return;
	if (plan->hive)
		LIST_REMOVE(plan, link);
	hive_findings_fini(&plan->findings);
	free(plan->haves.list);
	free(plan->items);
	free(plan->refs);
	free(plan->to);
	free(plan->sources);
	json_decref(plan->old);
	json_decref(plan->refused);
	json_decref(plan->held);
	free(plan);
}
