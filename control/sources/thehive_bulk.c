// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive_bulk.h"

#include "control/sources/thehive_plan.h"
#include "control/sources/thehive_query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLAIMS_MAX 50000 // of the cases of a page
#define OWNERLESS_MAX 8 // beyond it, judging all cases of the page costs no more

struct bulk_case {
	struct hive_judgement judgement;
	struct hive_haves haves;
	char reason[HIVE_WHY_MAX];
	bool compared; // else it is read in any case
	bool differs;
};

// A claim of one of them, by its observable.
struct bulk_have {
	struct hive_have *have;
	struct bulk_case *of;
};

struct ownerless {
	char id[HIVE_ID_MAX];
	UT_hash_handle hh;
};

struct hive_bulk {
	struct bulk_case *cases;
	size_t n;
	struct bulk_have *haves;
	size_t n_haves;
	size_t from; // of the observables
	struct ownerless *ownerless;
};

static void ownerless_drop(struct hive_bulk *bulk, struct ownerless *one)
{
	HASH_DEL(bulk->ownerless, one);
	free(one);
}

void hive_bulk_free(struct hive_bulk *bulk)
{
	if (!bulk)
		return;
	struct ownerless *one, *next;
	HASH_ITER(hh, bulk->ownerless, one, next)
	ownerless_drop(bulk, one);
	for (size_t i = 0; i < bulk->n; i++)
		free(bulk->cases[i].haves.list);
	free(bulk->cases);
	free(bulk->haves);
	free(bulk);
}

// --- the ledger's side

// What is not in comparison's reach is read.
static int case_load(struct thehive *hive, struct bulk_case *one)
{
	const char *id = one->judgement.id;
	char key[HIVE_ID_MAX + 8];
	json_t *note = NULL;
	snprintf(key, sizeof(key), "case/%s", id);
	int error = ledger_note_get(hive->ledger, hive->source, key, &note);
	json_decref(note);
	if (error && error != -ENOENT)
		return error;
	one->differs = !error; // refusals
	error = hive_haves_find(hive, id, &one->haves);
	const struct hive_known *known = hive_known_find(hive, id);
	if (one->haves.n == 0 && !(known && known->updated_ms == one->judgement.updated_ms))
		one->differs = true; // not read yet
	one->compared = !one->differs;
	hive_reason_print(&one->judgement, one->reason);
	return error;
}

static int have_compare(const void *a, const void *b)
{
	const struct bulk_have *x = a, *y = b;
	return strcmp(x->have->observable, y->have->observable);
}

static int haves_index(struct hive_bulk *bulk)
{
	size_t n = 0;
	for (size_t i = 0; i < bulk->n; i++)
		n += bulk->cases[i].haves.n;
	if (n > CLAIMS_MAX)
		return -EMSGSIZE;
	bulk->haves = calloc(n + 1, sizeof(*bulk->haves));
	if (!bulk->haves)
		return -ENOMEM;
	for (size_t i = 0; i < bulk->n; i++)
		for (size_t j = 0; j < bulk->cases[i].haves.n; j++)
			bulk->haves[bulk->n_haves++] = (struct bulk_have){
				.have = &bulk->cases[i].haves.list[j],
				.of = &bulk->cases[i],
			};
	qsort(bulk->haves, bulk->n_haves, sizeof(*bulk->haves), have_compare);
	return 0;
}

int hive_bulk_begin(struct thehive *hive, const json_t *page, struct hive_bulk **ret_bulk)
{
	struct hive_bulk *bulk = calloc(1, sizeof(*bulk));
	int error = 0;
	if (bulk)
		bulk->cases = calloc(json_array_size(page) + 1, sizeof(*bulk->cases));
	if (!bulk || !bulk->cases) {
		hive_bulk_free(bulk);
		return -ENOMEM;
	}
	size_t i;
	json_t *body;
	json_array_foreach(page, i, body)
	{
		struct bulk_case *one = &bulk->cases[bulk->n];
		const char *reason;
		if (error || hive_case_judge(&hive->rules, body, NULL, &one->judgement, &reason) < 0
		    || one->judgement.verdict != HIVE_DENY)
			continue;
		bulk->n++;
		error = case_load(hive, one);
	}
	if (!error)
		error = haves_index(bulk);
	if (error)
		hive_bulk_free(bulk);
	else
		*ret_bulk = bulk;
	return error;
}

// --- TheHive's side

static void differ_all(struct hive_bulk *bulk)
{
	for (size_t i = 0; i < bulk->n; i++)
		bulk->cases[i].differs = true;
}

char *hive_bulk_query(const struct thehive *hive, struct hive_bulk *bulk, size_t size)
{
	json_t *ids = json_array();
	for (size_t i = 0; i < bulk->n; i++) // the others are read anyway
		if (bulk->cases[i].compared)
			json_array_append_new(ids, json_string(bulk->cases[i].judgement.id));
	if (json_array_size(ids) == 0) {
		json_decref(ids);
		return NULL;
	}
	char *text = hive_query_observables_of(&hive->rules, ids, bulk->from, size);
	if (!text)
		differ_all(bulk);
	return text;
}

// The first claim of the observable; NULL: it has none here.
static struct bulk_have *have_first(const struct hive_bulk *bulk, const char *observable)
{
	size_t low = 0, high = bulk->n_haves;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (strcmp(bulk->haves[middle].have->observable, observable) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	struct bulk_have *found = &bulk->haves[low];
	return low < bulk->n_haves && strcmp(found->have->observable, observable) == 0 ? found
										       : NULL;
}

static bool
finding_is(const struct bulk_case *of, const struct hive_finding *f, const struct hive_have *have)
{
	const struct claim *c = &have->claim;
	return f->kind == HIVE_CLAIM && c->state == CLAIM_LIVE
		&& indicator_equal(&f->indicator, &c->indicator) && f->action == c->action
		&& f->until == c->until && f->tlp == c->tlp && strcmp(c->reason, of->reason) == 0
		&& strcmp(c->case_number, of->judgement.number) == 0;
}

// Each claim of the observable is asked for by one of its findings, and the other way round.
static void
compare(struct hive_bulk *bulk,
	struct bulk_have *first,
	const struct hive_findings *findings,
	const char *id)
{
	struct bulk_case *of = first->of;
	size_t n = 0, met = 0;
	for (struct bulk_have *h = first; h < bulk->haves + bulk->n_haves; h++) {
		if (strcmp(h->have->observable, id) != 0)
			break;
		h->have->wanted = true; // seen
		if (h->of != of) // of two cases: a merge under way
			h->of->differs = of->differs = true;
		n++;
		for (size_t i = 0; i < findings->n; i++)
			if (finding_is(of, &findings->list[i], h->have)) {
				met++;
				break;
			}
	}
	if (met != n || n != findings->n)
		of->differs = true;
}

// Whatever could come of it, were its case as permissive as can be.
static bool asks_for_something(const struct hive_findings *findings)
{
	for (size_t i = 0; i < findings->n; i++)
		if (findings->list[i].kind != HIVE_IGNORED)
			return true;
	return false;
}

static int ownerless_add(struct hive_bulk *bulk, const char *id)
{
	struct ownerless *one;
	HASH_FIND_STR(bulk->ownerless, id, one);
	if (one)
		return 0;
	if (HASH_COUNT(bulk->ownerless) >= OWNERLESS_MAX) {
		differ_all(bulk);
		return 0;
	}
	one = calloc(1, sizeof(*one));
	if (!one)
		return -ENOMEM;
	snprintf(one->id, sizeof(one->id), "%s", id);
	HASH_ADD_STR(bulk->ownerless, id, one);
	return 0;
}

static int observable_take(struct thehive *hive, struct hive_bulk *bulk, const json_t *body)
{
	static const struct hive_judgement permissive = {
		.verdict = HIVE_DENY,
		.until = UNTIL_FOREVER,
		.closed = true,
	};
	const char *id = json_string_value(json_object_get(body, "_id")), *reason = NULL;
	struct hive_findings findings = {0};
	struct bulk_have *first = id && hive_id_valid(id) ? have_first(bulk, id) : NULL;
	int error = hive_observable_judge(
		&hive->rules, first ? &first->of->judgement : &permissive, body, &findings, &reason
	);
	if (!error && first)
		compare(bulk, first, &findings, id);
	else if (!error && asks_for_something(&findings))
		error = ownerless_add(bulk, findings.list[0].id);
	hive_findings_fini(&findings);
	return error;
}

int hive_bulk_take(struct thehive *hive, struct hive_bulk *bulk, const json_t *page, size_t size)
{
	size_t i;
	json_t *one;
	json_array_foreach(page, i, one)
	{
		int error = observable_take(hive, bulk, one);
		if (error)
			return error;
	}
	bulk->from += json_array_size(page);
	if (json_array_size(page) >= size)
		return 1;
	for (i = 0; i < bulk->n_haves; i++) // claims of what the list does not have
		if (bulk->haves[i].of->compared && !bulk->haves[i].have->wanted)
			bulk->haves[i].of->differs = true;
	return 0;
}

// --- what comes of it

bool hive_bulk_differs(const struct hive_bulk *bulk, const char *case_id)
{
	for (size_t i = 0; i < bulk->n; i++)
		if (strcmp(bulk->cases[i].judgement.id, case_id) == 0)
			return bulk->cases[i].differs;
	return true;
}

bool hive_bulk_owner_next(struct hive_bulk *bulk, char ret_observable[HIVE_ID_MAX])
{
	struct ownerless *one = bulk->ownerless;
	if (!one)
		return false;
	memcpy(ret_observable, one->id, HIVE_ID_MAX);
	ownerless_drop(bulk, one);
	return true;
}
