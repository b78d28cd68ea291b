// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive_batch.h"

#include "control/sources/thehive_query.h"
#include "rules/siphash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Ids are chosen by others.
static const uint8_t batch_hash_key[16] = "stanch batch   1";
#define HASH_FUNCTION(key, len, hash) ((hash) = (unsigned)siphash64(batch_hash_key, (key), (len)))
#include <uthash.h>

#define NOBODY 255
#define STRIDE 11 // shares no factor with the numbers of codes: 2, 3, 6, 10, 20, 35, 70, 126

struct seen {
	char id[HIVE_ID_MAX];
	unsigned lists; // in which it stands, a bit each
	uint8_t of; // index of its case, once all is read
	json_t *body; // what judging needs
	UT_hash_handle hh;
};

struct hive_batch {
	const struct hive_judgement *cases;
	size_t n;
	unsigned n_lists, list; // `list`: being asked for
	size_t from;
	unsigned code[HIVE_BATCH_MAX]; // the case's lists
	bool unsure[HIVE_BATCH_MAX];
	struct seen *seen;
	struct seen **sorted; // by case; n_sorted of them have one
	size_t n_sorted;
};

// How many codes of so many lists there are, each with half of the lists.
static size_t codes_of(unsigned lists)
{
	size_t n = 1;
	for (unsigned i = 1; i <= lists / 2; i++)
		n = n * (lists - lists / 2 + i) / i;
	return n;
}

// In strides, so that fewer cases than codes are spread over the lists evenly.
static void codes_give(struct hive_batch *batch)
{
	unsigned codes[HIVE_BATCH_MAX];
	size_t all = 0;
	for (unsigned code = 0; code < 1U << batch->n_lists; code++)
		if ((unsigned)__builtin_popcount(code) == batch->n_lists / 2)
			codes[all++] = code;
	for (size_t i = 0; i < batch->n; i++)
		batch->code[i] = codes[i * STRIDE % all];
}

int hive_batch_create(const struct hive_judgement *cases, size_t n, struct hive_batch **ret_batch)
{
	struct hive_batch *batch = calloc(1, sizeof(*batch));
	if (!batch)
		return -ENOMEM;
	batch->cases = cases;
	batch->n = n < HIVE_BATCH_MAX ? n : HIVE_BATCH_MAX;
	batch->n_lists = 2;
	while (codes_of(batch->n_lists) < batch->n)
		batch->n_lists++;
	codes_give(batch);
	*ret_batch = batch;
	return 0;
}

void hive_batch_free(struct hive_batch *batch)
{
	if (!batch)
		return;
	struct seen *one, *next;
	HASH_ITER(hh, batch->seen, one, next)
	{
		HASH_DEL(batch->seen, one);
		json_decref(one->body);
		free(one);
	}
	free(batch->sorted);
	free(batch);
}

char *hive_batch_query(const struct hive_rules *rules, const struct hive_batch *batch, size_t size)
{
	json_t *ids = json_array();
	for (size_t i = 0; i < batch->n; i++)
		if (batch->code[i] >> batch->list & 1)
			json_array_append_new(ids, json_string(batch->cases[i].id));
	return hive_query_observables_of(rules, ids, batch->from, size);
}

static int seen_note(struct hive_batch *batch, const json_t *body)
{
	const char *id = json_string_value(json_object_get(body, "_id"));
	struct seen *one;
	HASH_FIND_STR(batch->seen, id, one);
	if (!one) {
		if (HASH_COUNT(batch->seen) >= HIVE_BATCH_OBSERVABLES_MAX)
			return -EMSGSIZE;
		one = calloc(1, sizeof(*one));
		if (!one)
			return -ENOMEM;
		snprintf(one->id, sizeof(one->id), "%s", id);
		one->body = hive_observable_copy(body);
		if (!one->body) {
			free(one);
			return -ENOMEM;
		}
		HASH_ADD_STR(batch->seen, id, one);
	}
	one->lists |= 1U << batch->list;
	return 0;
}

// --- whose they are

static int seen_compare(const void *a, const void *b)
{
	const struct seen *const *x = a, *const *y = b;
	return (int)(*x)->of - (int)(*y)->of;
}

static void owner_find(struct hive_batch *batch, struct seen *one)
{
	one->of = NOBODY;
	for (size_t i = 0; i < batch->n; i++)
		if (batch->code[i] == one->lists)
			one->of = (uint8_t)i;
	if (one->of != NOBODY)
		return;
	for (size_t i = 0; i < batch->n; i++) {
		unsigned both = batch->code[i] & one->lists;
		if (both == batch->code[i] || both == one->lists)
			batch->unsure[i] = true;
	}
}

static int owners_find(struct hive_batch *batch)
{
	batch->sorted = calloc(HASH_COUNT(batch->seen) + 1, sizeof(struct seen *));
	if (!batch->sorted)
		return -ENOMEM;
	struct seen *one, *next;
	HASH_ITER(hh, batch->seen, one, next)
	{
		owner_find(batch, one);
		if (one->of != NOBODY)
			batch->sorted[batch->n_sorted++] = one;
	}
	qsort(batch->sorted, batch->n_sorted, sizeof(struct seen *), seen_compare);
	return 0;
}

int hive_batch_take(struct hive_batch *batch, const json_t *page, size_t size)
{
	size_t i;
	json_t *one;
	json_array_foreach(page, i, one)
	{
		const char *id = json_string_value(json_object_get(one, "_id"));
		if (!id || !hive_id_valid(id))
			return -EINVAL;
	}
	json_array_foreach(page, i, one)
	{
		int error = seen_note(batch, one);
		if (error)
			return error;
	}
	batch->from += json_array_size(page);
	if (json_array_size(page) >= size)
		return 1;
	batch->from = 0;
	if (++batch->list < batch->n_lists)
		return 1;
	return owners_find(batch);
}

int hive_batch_judge(
	const struct hive_rules *rules,
	const struct hive_batch *batch,
	size_t index,
	struct hive_findings *ret_findings
)
{
	struct hive_findings findings = {0};
	size_t low = 0, high = batch->n_sorted;
	if (batch->unsure[index])
		return -EAGAIN;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (batch->sorted[middle]->of < index)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < batch->n_sorted && batch->sorted[low]->of == index; low++) {
		const char *reason;
		int error = hive_observable_judge(
			rules, &batch->cases[index], batch->sorted[low]->body, &findings, &reason
		);
		if (error) {
			hive_findings_fini(&findings);
			return error;
		}
	}
	*ret_findings = findings;
	return 0;
}
