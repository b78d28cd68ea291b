// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Writes a plan: its items in slices, and beside the claims one note a case, for status and so
// that each refusal is audited once.
//
//   note "case/<id>":   {"case": number, "title", "why"?, "held": [observable],
//                        "refused": [{"observable", "data", "why"}]}
//   note "merged/<id>": {"from": [{"case": id, "claims": n}]}: the case took over claims of those
//                       by a merge, and has not been closed since
//
// A slice that fails ends the rest: the case is read again. What is cut short by a crash is found
// by the next listing, as every difference is.

#include "control/sources/thehive_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 250 // claims: some 2 ms of the loop

// --- the note of refusals

static json_t *note_make(const struct hive_plan *plan)
{
	bool unclear = !plan->gone && plan->judgement.verdict == HIVE_UNCLEAR;
	if (!unclear && json_array_size(plan->refused) == 0 && json_array_size(plan->held) == 0)
		return NULL;
	json_t *note = json_pack(
		"{s:s,s:s,s:O,s:O}",
		"case",
		plan->judgement.number,
		"title",
		plan->judgement.title,
		"refused",
		plan->refused,
		"held",
		plan->held
	);
	if (unclear)
		json_object_set_new(note, "why", json_string(plan->judgement.why));
	return note;
}

static bool refused_before(const json_t *old, const json_t *refusal)
{
	size_t i;
	json_t *one;
	json_array_foreach(
		json_object_get(old, "refused"), i, one
	) if (json_equal(one, refusal)) return true;
	return false;
}

static void note_audit(const struct hive_plan *plan, const json_t *refusal)
{
	char object[256];
	const char *observable = json_string_value(json_object_get(refusal, "observable"));
	const char *data = json_string_value(json_object_get(refusal, "data"));
	snprintf(
		object,
		sizeof(object),
		"case %s%s%s%s%s",
		plan->judgement.number,
		observable ? " observable " : "",
		observable ? observable : "",
		data ? " " : "",
		data ? data : ""
	);
	json_t *detail = json_pack("{s:O}", "why", json_object_get(refusal, "why"));
	char ref[HIVE_REF_MAX];
	hive_ref_print(plan->hive, plan->id, "", ref);
	ref[strlen(ref) - 1] = '\0'; // of the case; people know it by its number
	json_object_set_new(detail, "ref", json_string(ref));
	ledger_audit(plan->hive->ledger, plan->hive->source, "case.refuse", object, detail);
	json_decref(detail);
}

static void note_audit_new(const struct hive_plan *plan, const json_t *note)
{
	size_t i;
	json_t *refusal;
	json_array_foreach(plan->refused, i, refusal)
	{
		if (i < plan->n_own && !refused_before(plan->old, refusal))
			note_audit(plan, refusal);
	}
	json_t *why = json_object_get(note, "why");
	if (why && !json_equal(why, json_object_get(plan->old, "why"))) {
		json_t *whole = json_pack("{s:O}", "why", why);
		note_audit(plan, whole);
		json_decref(whole);
	}
}

// Only where it differs; what is new in it is audited.
static void note_write(const struct hive_plan *plan)
{
	struct thehive *hive = plan->hive;
	json_t *note = note_make(plan);
	char key[HIVE_ID_MAX + 8];
	snprintf(key, sizeof(key), "case/%s", plan->id);
	if ((!note && !plan->old) || (note && plan->old && json_equal(note, plan->old))) {
		json_decref(note);
		return;
	}
	note_audit_new(plan, note);
	int error = ledger_note_set(hive->ledger, hive->source, key, note);
	if (error)
		log_error("%s: note of case %s: %s", hive->source, plan->id, strerror(-error));
	else if (!note)
		hive->counters.cases_refused--;
	else if (!plan->old)
		hive->counters.cases_refused++;
	json_decref(note);
}

// --- the note of a merge

// Before the claims move: the new case must not be read as if it had none.
static int merge_note(const struct hive_plan *plan)
{
	struct thehive *hive = plan->hive;
	char key[HIVE_ID_MAX + 8];
	json_t *note = NULL;
	snprintf(key, sizeof(key), "merged/%s", plan->merged_into);
	int error = ledger_note_get(hive->ledger, hive->source, key, &note);
	if (error && error != -ENOENT)
		return error;
	if (!note)
		note = json_pack("{s:[]}", "from");
	json_array_append_new(
		json_object_get(note, "from"),
		json_pack("{s:s,s:I}", "case", plan->id, "claims", (json_int_t)plan->n)
	);
	error = ledger_note_set(hive->ledger, hive->source, key, note);
	json_decref(note);
	return error;
}

static void merge_forget(const struct hive_plan *plan)
{
	struct thehive *hive = plan->hive;
	char key[HIVE_ID_MAX + 8];
	json_t *note = NULL;
	if (plan->gone || !plan->judgement.closed)
		return;
	snprintf(key, sizeof(key), "merged/%s", plan->id);
	if (ledger_note_get(hive->ledger, hive->source, key, &note) == 0)
		ledger_note_set(hive->ledger, hive->source, key, NULL);
	json_decref(note);
}

// --- the submission

void hive_plans_forget(struct thehive *hive)
{
	struct hive_plan *plan;
	while ((plan = LIST_FIRST(&hive->plans))) {
		LIST_REMOVE(plan, link);
		plan->hive = NULL; // its `done` frees it
	}
}

static void plan_end(struct hive_plan *plan, int error)
{
	struct thehive *hive = plan->hive;
	char id[HIVE_ID_MAX], into[HIVE_ID_MAX];
	memcpy(id, plan->id, sizeof(id));
	memcpy(into, plan->merged_into, sizeof(into));
	if (!error) {
		note_write(plan);
		merge_forget(plan);
	}
	bool moved = !error && plan->gone && into[0] && plan->n > 0;
	hive_plan_free(plan);
	hive_case_written(hive, id, error);
	if (moved)
		hive_case_hint(hive, into);
}

static void result_take(struct hive_plan *plan, size_t item, const struct submit_result *result)
{
	if (plan->sources[item] == SIZE_MAX)
		return;
	const struct hive_finding *finding = &plan->findings.list[plan->sources[item]];
	switch (result->code) {
	case SUBMIT_PROTECTED:
	case SUBMIT_BRAKE:
	case SUBMIT_FULL:
		hive_refusal_add(plan->refused, finding->id, finding->data, result->message);
		break;
	case SUBMIT_HELD:
		hive_held_add(plan->held, finding->id);
		break;
	default:
		break;
	}
}

static void slice_submit(struct hive_plan *plan);

static void submitted(
	void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n
)
{
	(void)revision;
	struct hive_plan *plan = ctx;
	if (!plan->hive) {
		hive_plan_free(plan);
		return;
	}
	for (size_t i = 0; !error && i < n && i < plan->slice; i++)
		result_take(plan, plan->at + i, &results[i]);
	plan->at += plan->slice;
	if (error || plan->at == plan->n)
		plan_end(plan, error);
	else
		slice_submit(plan);
}

static void slice_submit(struct hive_plan *plan)
{
	plan->slice = plan->n - plan->at < SLICE ? plan->n - plan->at : SLICE;
	const struct submit submit = {
		.items = plan->items + plan->at,
		.n = plan->slice,
		.actor = {.name = plan->hive->source},
	};
	ledger_submit(plan->hive->ledger, &submit, submitted, plan);
}

static void known_update(const struct hive_read *read)
{
	if (!read->paced)
		hive_list_touched(read->hive, read->of->id);
	if (read->gone) {
		hive_known_put(read->hive, read->of->id, HIVE_OPEN, 0);
		return;
	}
	hive_known_put(
		read->hive, read->of->id, read->judgement.verdict, read->judgement.updated_ms
	);
}

// Whether TheHive 5 tells merged cases as deleted is not known: there the merge may come yet.
static bool gone_settled(const struct hive_read *read)
{
	return read->may_withdraw || read->of->merged_into[0]
		|| (read->of->deleted && read->hive->rules.version.major < 5);
}

void hive_apply(struct hive_read *read)
{
	struct thehive *hive = read->hive;
	if (read->gone && !gone_settled(read))
		return; // the later reading tells
	if (read->have_case)
		hive_blocks_end(hive, &read->judgement);
	else if (read->of->merged_into[0])
		hive_blocks_move(hive, read->of->id, read->of->merged_into);
	struct hive_plan *plan = NULL;
	int error = hive_plan_make(read, &plan);
	if (!error && plan->gone && plan->merged_into[0] && plan->n > 0)
		error = merge_note(plan);
	if (error) {
		log_error("%s: case %s: %s", hive->source, read->of->id, strerror(-error));
		hive_plan_free(plan);
		return;
	}
	known_update(read);
	hive_immunities_apply(plan);
	if (plan->n == 0) { // an unchanged judgement writes nothing
		note_write(plan);
		merge_forget(plan);
		hive_plan_free(plan);
		return;
	}
	read->of->writing = true;
	slice_submit(plan);
}
