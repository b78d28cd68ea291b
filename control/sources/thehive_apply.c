// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What was read against what the ledger has. Beside the claims, one note a case: what was refused
// and what is held, for status and so that each is audited once.
//
//   note "case/<id>": {"case": number, "title", "why"?, "refused": [{"observable", "data", "why"}],
//                      "held": [observable]}

#include "control/sources/thehive_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REFUSED_MAX 100 // of a case, in its note

// A claim of the case as the ledger has it.
struct have {
	char observable[HIVE_ID_MAX];
	struct claim claim; // its texts are in the next members
	char author[HIVE_NAME_MAX], reason[HIVE_WHY_MAX], number[16];
	bool wanted; // the reading asks for it too
};

struct haves {
	struct have *list;
	size_t n, room;
	int error;
};

// One submission: its items, and what they came from.
struct plan {
	const struct hive_read *read;
	struct haves haves;
	struct submit_item *items;
	char (*refs)[HIVE_REF_MAX];
	size_t *findings; // per item: index of its finding; SIZE_MAX: an end
	size_t n, room;
	char reason[HIVE_WHY_MAX];
	json_t *old; // the case's note, NULL: none
	json_t *refused, *held; // of the new one
};

struct hive_submission {
	LIST_ENTRY(hive_submission) link;
	struct thehive *hive; // NULL: it is gone
	char id[HIVE_ID_MAX];
	char number[16], title[80], why[HIVE_WHY_MAX];
	json_t *old, *refused, *held;
	size_t n_own; // of `refused`: what the ledger refused, it has audited itself
	size_t n;
	struct submitted {
		char observable[HIVE_ID_MAX], data[64];
	} items[]; // observable "": an end
};

static void ref_print(
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
	struct haves *haves = ctx;
	if (haves->n == haves->room) {
		size_t room = haves->room ? haves->room * 2 : 8;
		struct have *list = realloc(haves->list, room * sizeof(*list));
		if (!list) {
			haves->error = -ENOMEM;
			return false;
		}
		haves->list = list;
		haves->room = room;
	}
	struct have *have = &haves->list[haves->n++];
	*have = (struct have){.claim = *claim};
	const char *slash = strrchr(claim->ref, '/');
	snprintf(have->observable, sizeof(have->observable), "%s", slash ? slash + 1 : "");
	snprintf(have->author, sizeof(have->author), "%s", claim->author);
	snprintf(have->reason, sizeof(have->reason), "%s", claim->reason);
	snprintf(have->number, sizeof(have->number), "%s", claim->case_number);
	return true;
}

static int have_compare(const void *a, const void *b)
{
	const struct have *x = a, *y = b;
	int order = strcmp(x->observable, y->observable);
	return order ? order : indicator_compare(&x->claim.indicator, &y->claim.indicator);
}

static int haves_find(struct thehive *hive, const char *case_id, struct haves *haves)
{
	char prefix[HIVE_REF_MAX];
	ref_print(hive, case_id, "", prefix);
	int error = ledger_claims_by_ref(hive->ledger, hive->source, prefix, have_take, haves);
	if (haves->n > 1)
		qsort(haves->list, haves->n, sizeof(*haves->list), have_compare);
	for (size_t i = 0; i < haves->n; i++) { // they have come to their places
		struct have *have = &haves->list[i];
		have->claim.author = have->author;
		have->claim.reason = have->reason;
		have->claim.case_number = have->number;
	}
	return error ? error : haves->error;
}

static bool one_is_enough(void *ctx, const struct claim *claim)
{
	(void)claim;
	*(bool *)ctx = true;
	return false;
}

bool hive_case_claimed(struct thehive *hive, const char *case_id)
{
	char prefix[HIVE_REF_MAX];
	bool claimed = false;
	ref_print(hive, case_id, "", prefix);
	ledger_claims_by_ref(hive->ledger, hive->source, prefix, one_is_enough, &claimed);
	return claimed;
}

bool hive_case_concerns(struct thehive *hive, const char *case_id)
{
	if (hive_case_claimed(hive, case_id))
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
static const struct hive_finding *
finding_of(const struct hive_findings *findings, const char *observable)
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
	struct haves haves = {0};
	int error = haves_find(read->hive, read->of->id, &haves);
	findings_sort(&read->findings);
	for (size_t i = 0; i < haves.n && !error; i++) {
		const struct have *have = &haves.list[i];
		if (hive_id_valid(have->observable)
		    && !finding_of(&read->findings, have->observable))
			error = missing_add(read, have->observable);
	}
	free(haves.list);
	return error;
}

// --- the plan

static struct submit_item *plan_add(struct plan *plan, size_t finding)
{
	if (plan->n == plan->room)
		return NULL; // plan_room counted them all
	plan->findings[plan->n] = finding;
	struct submit_item *item = &plan->items[plan->n++];
	*item = (struct submit_item){0};
	return item;
}

static int plan_room(struct plan *plan)
{
	plan->room = plan->haves.n + plan->read->findings.n + 1;
	plan->items = calloc(plan->room, sizeof(*plan->items));
	plan->refs = calloc(plan->room, sizeof(*plan->refs));
	plan->findings = calloc(plan->room, sizeof(*plan->findings));
	return plan->items && plan->refs && plan->findings ? 0 : -ENOMEM;
}

static void
plan_end(struct plan *plan, const struct have *have, enum submit_op op, const char *cause)
{
	// An orphan stays one.
	if (op == SUBMIT_ORPHAN && have->claim.state != CLAIM_LIVE)
		return;
	size_t at = plan->n;
	struct submit_item *item = plan_add(plan, SIZE_MAX);
	if (!item)
		return;
	ref_print(plan->read->hive, plan->read->of->id, have->observable, plan->refs[at]);
	*item = (struct submit_item){
		.op = op,
		.claim = {
			.source = plan->read->hive->source,
			.ref = plan->refs[at],
			.indicator = have->claim.indicator,
		},
		.cause = cause,
	};
}

static void plan_end_all(struct plan *plan, enum submit_op op, const char *cause)
{
	for (size_t i = 0; i < plan->haves.n; i++)
		plan_end(plan, &plan->haves.list[i], op, cause);
}

static void refusal_add(json_t *refused, const char *observable, const char *data, const char *why)
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

static struct have *have_find(struct plan *plan, const struct hive_finding *finding)
{
	struct have key = {.claim.indicator = finding->indicator};
	memcpy(key.observable, finding->id, sizeof(key.observable));
	return plan->haves.n
		? bsearch(&key, plan->haves.list, plan->haves.n, sizeof(key), have_compare)
		: NULL;
}

static void held_add(struct plan *plan, const char *observable)
{
	if (!array_has(plan->held, observable))
		json_array_append_new(plan->held, json_string(observable));
}

static bool claim_same(const struct claim *a, const struct claim *b)
{
	return a->action == b->action && a->until == b->until && a->tlp == b->tlp
		&& a->author_inferred == b->author_inferred && strcmp(a->author, b->author) == 0
		&& strcmp(a->reason, b->reason) == 0 && strcmp(a->case_number, b->case_number) == 0;
}

// The verdict's author is known once: whoever changes the case later is not its author.
static void author_take(const struct plan *plan, const struct have *have, struct claim *claim)
{
	const char *closer = plan->read->of->closer;
	if (*closer) {
		claim->author = closer;
	} else if (have) {
		claim->author = have->author;
		claim->author_inferred = have->claim.author_inferred;
	} else {
		claim->author = plan->read->judgement.updated_by;
		claim->author_inferred = true;
	}
}

static void plan_put(struct plan *plan, size_t index)
{
	const struct hive_read *read = plan->read;
	const struct hive_finding *finding = &read->findings.list[index];
	struct have *have = have_find(plan, finding);
	bool held = finding->kind == HIVE_HELD;
	if (have)
		have->wanted = true;
	if (read->judgement.until <= time(NULL)) { // the ledger ends what it has
		refusal_add(
			plan->refused,
			finding->id,
			finding->data,
			"the duration of the response action is over"
		);
		return;
	}
	if (!have && array_has(json_object_get(plan->old, "held"), finding->id)) {
		refusal_add(plan->refused, finding->id, finding->data, "an operator rejected it");
		held_add(plan, finding->id); // and it stays so
		return;
	}
	struct claim claim = {
		.source = read->hive->source,
		.indicator = finding->indicator,
		.reason = plan->reason,
		.action = read->judgement.action,
		.created = have ? have->claim.created : 0,
		.until = read->judgement.until,
		.state = held ? CLAIM_HELD : CLAIM_LIVE,
		.case_number = read->judgement.number,
		.tlp = finding->tlp,
	};
	author_take(plan, have, &claim);
	if (have && have->claim.state == CLAIM_HELD)
		held_add(plan, finding->id);
	if (have && have->claim.state != CLAIM_ORPHANED && claim_same(&have->claim, &claim))
		return;
	size_t at = plan->n;
	struct submit_item *item = plan_add(plan, index);
	if (!item)
		return;
	ref_print(read->hive, read->of->id, finding->id, plan->refs[at]);
	claim.ref = plan->refs[at];
	*item = (struct submit_item){
		.op = SUBMIT_PUT,
		.claim = claim,
		.cause = held ? finding->why : NULL,
	};
}

// Claims of observables that are not asked for: ended by what was read of them, or, in the later
// reading, by their absence, which their own addresses have confirmed.
static void plan_withdraw(struct plan *plan)
{
	for (size_t i = 0; i < plan->haves.n; i++) {
		const struct have *have = &plan->haves.list[i];
		if (have->wanted)
			continue;
		const struct hive_finding *finding
			= finding_of(&plan->read->findings, have->observable);
		if (finding)
			plan_end(
				plan,
				have,
				SUBMIT_END,
				finding->why[0] ? finding->why : "the observable says otherwise now"
			);
		else if (plan->read->may_withdraw)
			plan_end(
				plan, have, SUBMIT_END, "the observable was removed from the case"
			);
	}
}

static void plan_deny(struct plan *plan)
{
	const struct hive_read *read = plan->read;
	snprintf(
		plan->reason,
		sizeof(plan->reason),
		"TheHive case %s: %s",
		read->judgement.number,
		read->judgement.title
	);
	for (size_t i = 0; i < read->findings.n; i++) {
		const struct hive_finding *finding = &read->findings.list[i];
		if (finding->kind == HIVE_REFUSED)
			refusal_add(plan->refused, finding->id, finding->data, finding->why);
		else if (finding->kind != HIVE_IGNORED)
			plan_put(plan, i);
	}
	plan_withdraw(plan);
}

// Whether TheHive 5 tells merged cases as deleted is not known: there the merge may come yet.
static bool gone_settled(const struct hive_read *read)
{
	return read->may_withdraw || (read->of->deleted && read->hive->rules.version.major < 5);
}

static void plan_gone(struct plan *plan, char cause[HIVE_WHY_MAX])
{
	const struct hive_read *read = plan->read;
	const struct hive_case *of = read->of;
	bool merged = hive_merged(read->hive, of);
	if (of->deleted && !merged) {
		plan_end_all(
			plan,
			SUBMIT_END,
			"the case was deleted: told by TheHive, confirmed by reading"
		);
	} else {
		snprintf(
			cause,
			HIVE_WHY_MAX,
			of->merged_into[0] ? "the case was merged into %s"
				: merged   ? "the case was merged%.0s"
					   : "TheHive does not show the case any more%.0s",
			of->merged_into
		);
		plan_end_all(plan, SUBMIT_ORPHAN, cause);
	}
}

// --- the note

static json_t *note_make(const struct hive_submission *s)
{
	if (!s->why[0] && json_array_size(s->refused) == 0 && json_array_size(s->held) == 0)
		return NULL;
	json_t *note = json_pack(
		"{s:s,s:s,s:O,s:O}",
		"case",
		s->number,
		"title",
		s->title,
		"refused",
		s->refused,
		"held",
		s->held
	);
	if (s->why[0])
		json_object_set_new(note, "why", json_string(s->why));
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

static void note_audit(const struct hive_submission *s, const json_t *refusal)
{
	char object[256];
	const char *observable = json_string_value(json_object_get(refusal, "observable"));
	const char *data = json_string_value(json_object_get(refusal, "data"));
	snprintf(
		object,
		sizeof(object),
		"case %s%s%s%s%s",
		s->number,
		observable ? " observable " : "",
		observable ? observable : "",
		data ? " " : "",
		data ? data : ""
	);
	json_t *detail = json_pack("{s:O}", "why", json_object_get(refusal, "why"));
	ledger_audit(s->hive->ledger, s->hive->source, "case.refuse", object, detail);
	json_decref(detail);
}

// Only where it differs; what is new in it is audited.
static void note_write(const struct hive_submission *s)
{
	struct thehive *hive = s->hive;
	json_t *note = note_make(s);
	char key[HIVE_ID_MAX + 8];
	snprintf(key, sizeof(key), "case/%s", s->id);
	if ((!note && !s->old) || (note && s->old && json_equal(note, s->old))) {
		json_decref(note);
		return;
	}
	size_t i;
	json_t *refusal;
	json_array_foreach(s->refused, i, refusal)
	{
		if (i < s->n_own && !refused_before(s->old, refusal))
			note_audit(s, refusal);
	}
	const char *why = json_string_value(json_object_get(s->old, "why"));
	if (s->why[0] && !(why && strcmp(why, s->why) == 0)) {
		json_t *whole = json_pack("{s:s}", "why", s->why);
		note_audit(s, whole);
		json_decref(whole);
	}
	int error = ledger_note_set(hive->ledger, hive->source, key, note);
	if (error)
		log_error("%s: note of case %s: %s", hive->source, s->id, strerror(-error));
	else if (!note)
		hive->counters.cases_refused--;
	else if (!s->old)
		hive->counters.cases_refused++;
	json_decref(note);
}

// --- the submission

static void submission_free(struct hive_submission *s)
{
	if (s->hive)
		LIST_REMOVE(s, link);
	json_decref(s->old);
	json_decref(s->refused);
	json_decref(s->held);
	free(s);
}

void hive_submissions_forget(struct thehive *hive)
{
	struct hive_submission *s;
	while ((s = LIST_FIRST(&hive->submissions))) {
		LIST_REMOVE(s, link);
		s->hive = NULL; // its `done` frees it
	}
}

static void submitted(
	void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n
)
{
	(void)revision;
	struct hive_submission *s = ctx;
	struct thehive *hive = s->hive;
	for (size_t i = 0; hive && !error && i < n && i < s->n; i++) {
		const struct submitted *item = &s->items[i];
		if (!item->observable[0])
			continue;
		switch (results[i].code) {
		case SUBMIT_PROTECTED:
		case SUBMIT_BRAKE:
		case SUBMIT_FULL:
			refusal_add(s->refused, item->observable, item->data, results[i].message);
			break;
		case SUBMIT_HELD:
			if (!array_has(s->held, item->observable))
				json_array_append_new(s->held, json_string(item->observable));
			break;
		default:
			break;
		}
	}
	if (hive && !error)
		note_write(s);
	if (hive)
		hive_case_written(hive, s->id, error);
	submission_free(s);
}

static struct hive_submission *submission_make(const struct plan *plan)
{
	const struct hive_read *read = plan->read;
	struct hive_submission *s = calloc(1, sizeof(*s) + plan->n * sizeof(s->items[0]));
	if (!s)
		return NULL;
	s->hive = read->hive;
	snprintf(s->id, sizeof(s->id), "%s", read->of->id);
	snprintf(s->number, sizeof(s->number), "%s", read->judgement.number);
	snprintf(s->title, sizeof(s->title), "%s", read->judgement.title);
	if (read->judgement.verdict == HIVE_UNCLEAR)
		snprintf(s->why, sizeof(s->why), "%s", read->judgement.why);
	s->old = json_incref(plan->old);
	s->refused = json_incref(plan->refused);
	s->n_own = json_array_size(plan->refused);
	s->held = json_incref(plan->held);
	s->n = plan->n;
	for (size_t i = 0; i < plan->n; i++) {
		if (plan->findings[i] == SIZE_MAX)
			continue;
		const struct hive_finding *f = &read->findings.list[plan->findings[i]];
		memcpy(s->items[i].observable, f->id, sizeof(f->id));
		memcpy(s->items[i].data, f->data, sizeof(f->data));
	}
	LIST_INSERT_HEAD(&read->hive->submissions, s, link);
	return s;
}

static void plan_submit(struct plan *plan)
{
	struct thehive *hive = plan->read->hive;
	struct hive_submission *s = submission_make(plan);
	if (!s)
		return;
	if (plan->n == 0) { // an unchanged judgement writes nothing
		note_write(s);
		submission_free(s);
		return;
	}
	const struct submit submit = {
		.items = plan->items,
		.n = plan->n,
		.actor = {.name = hive->source},
	};
	plan->read->of->writing = true;
	ledger_submit(hive->ledger, &submit, submitted, s);
}

static void plan_fini(struct plan *plan)
{
	free(plan->haves.list);
	free(plan->items);
	free(plan->refs);
	free(plan->findings);
	json_decref(plan->old);
	json_decref(plan->refused);
	json_decref(plan->held);
}

static void known_update(const struct hive_read *read)
{
	if (read->gone) {
		hive_known_put(read->hive, read->of->id, HIVE_OPEN, 0);
		return;
	}
	hive_known_put(
		read->hive, read->of->id, read->judgement.verdict, read->judgement.updated_ms
	);
}

void hive_apply(struct hive_read *read)
{
	struct thehive *hive = read->hive;
	if (read->gone && !gone_settled(read))
		return; // the later reading tells
	findings_sort(&read->findings);
	char key[HIVE_ID_MAX + 8], cause[HIVE_WHY_MAX];
	struct plan plan = {.read = read, .refused = json_array(), .held = json_array()};
	snprintf(key, sizeof(key), "case/%s", read->of->id);
	int error = haves_find(hive, read->of->id, &plan.haves);
	if (!error)
		error = plan_room(&plan);
	if (!error) {
		error = ledger_note_get(hive->ledger, hive->source, key, &plan.old);
		if (error == -ENOENT)
			error = 0;
	}
	if (error) {
		log_error("%s: case %s: %s", hive->source, read->of->id, strerror(-error));
		plan_fini(&plan);
		return;
	}
	if (read->gone) {
		plan_gone(&plan, cause);
	} else if (read->judgement.verdict == HIVE_DENY) {
		plan_deny(&plan);
	} else if (read->judgement.verdict == HIVE_UNCLEAR) {
		json_t *held = json_object_get(plan.old, "held");
		json_array_extend(plan.held, held);
	} else {
		plan_end_all(&plan, SUBMIT_END, read->judgement.why);
	}
	known_update(read);
	plan_submit(&plan);
	plan_fini(&plan);
}
