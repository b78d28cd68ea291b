// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a full listing has not met: cases with claims that were in no page, found in the ledger.
// After a restart in the middle those are also the cases of the pages before it. They are asked
// for a page at a time by their ids; whoever is not in the answer is asked for alone.

#include "control/sources/thehive_list.h"
#include "control/sources/thehive_query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLAIMS_SLICE 256 // looked at in one turn

// --- marks

static uint64_t mark_key(const char *id)
{
	return siphash64(hive_hash_key, id, strlen(id));
}

void hive_marks_clear(struct hive_mark **marks)
{
	struct hive_mark *one, *next;
	HASH_ITER(hh, *marks, one, next)
	{
		HASH_DEL(*marks, one);
		free(one);
	}
}

bool hive_marked(const struct hive_mark *marks, const char *id)
{
	const struct hive_mark *found;
	uint64_t key = mark_key(id);
	HASH_FIND(hh, marks, &key, sizeof(key), found);
	return found;
}

bool hive_mark(struct hive_mark **marks, const char *id, struct hive_mark **ret_mark)
{
	struct hive_mark *mark = hive_marked(*marks, id) ? NULL : calloc(1, sizeof(*mark));
	if (!mark)
		return false;
	mark->key = mark_key(id);
	HASH_ADD(hh, *marks, key, sizeof(mark->key), mark);
	if (ret_mark)
		*ret_mark = mark;
	return true;
}

// --- the walks

// The case in a claim's reference.
static bool case_of_ref(const char *ref, char id[HIVE_ID_MAX])
{
	const char *from = strchr(ref, '/');
	const char *to = from ? strchr(from + 1, '/') : NULL;
	if (!to || (size_t)(to - from) > HIVE_ID_MAX)
		return false;
	memcpy(id, from + 1, (size_t)(to - from - 1));
	id[to - from - 1] = '\0';
	return hive_id_valid(id);
}

struct walk {
	struct thehive *hive;
	size_t n, max;
	char id[HIVE_ID_MAX];
};

static bool claim_look(void *ctx, const struct claim *claim)
{
	struct walk *walk = ctx;
	struct thehive *hive = walk->hive;
	struct hive_full *full = &hive->full;
	walk->n++;
	full->claim_id = claim->id;
	if (strcmp(claim->source, hive->source) != 0 || !case_of_ref(claim->ref, walk->id))
		return true;
	const struct hive_known *known = hive_known_find(hive, walk->id);
	if ((known && known->generation == full->generation)
	    || !hive_mark(&full->asked, walk->id, NULL))
		return true;
	memcpy(full->ids[full->n_ids++], walk->id, HIVE_ID_MAX);
	return full->n_ids < walk->max;
}

int hive_absent_find(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	size_t max
		= hive->pages.cases.now < HIVE_ABSENT_MAX ? hive->pages.cases.now : HIVE_ABSENT_MAX;
	struct walk walk = {.hive = hive, .max = max};
	int error
		= ledger_claims_page(hive->ledger, full->claim_id, CLAIMS_SLICE, claim_look, &walk);
	full->walked = walk.n < CLAIMS_SLICE && full->n_ids < max;
	return error;
}

char *hive_absent_query(struct thehive *hive)
{
	const struct hive_full *full = &hive->full;
	json_t *ids = json_array();
	for (size_t i = 0; i < full->n_ids; i++)
		json_array_append_new(ids, json_string(full->ids[i]));
	return hive_query_cases(&hive->rules, ids, full->size);
}

void hive_absent_found(struct thehive *hive, const json_t *page)
{
	struct hive_full *full = &hive->full;
	size_t i;
	json_t *one;
	json_array_foreach(page, i, one)
	{
		const char *id = json_string_value(json_object_get(one, "_id"));
		for (size_t j = 0; id && j < full->n_ids; j++)
			if (strcmp(full->ids[j], id) == 0)
				full->ids[j][0] = '\0';
	}
}

static bool immune_look(void *ctx, const struct immunity *immunity)
{
	struct walk *walk = ctx;
	struct hive_full *full = &walk->hive->full;
	if (strcmp(immunity->ref, full->immune) <= 0)
		return true;
	snprintf(full->immune, sizeof(full->immune), "%s", immunity->ref);
	if (!case_of_ref(immunity->ref, walk->id)
	    || !hive_mark(&full->asked, walk->id, &full->asked_last))
		walk->id[0] = '\0';
	return !walk->id[0];
}

int hive_absent_immune(struct thehive *hive, char ret_id[HIVE_ID_MAX])
{
	struct walk walk = {.hive = hive};
	int error = ledger_immunities(hive->ledger, hive->source, "", immune_look, &walk);
	memcpy(ret_id, walk.id, HIVE_ID_MAX);
	return error;
}
