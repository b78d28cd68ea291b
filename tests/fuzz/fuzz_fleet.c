// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What comes from Redis: records' data of all kinds, asks. It bears a MAC, but whoever has the key
// may be of another version, or not well. The first octet says what it is. What is understood and
// printed again must be understood as the same.

#include "control/ledger_fleet_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void items_again(const struct fleet_batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct fleet_text once = {0}, twice = {0};
		struct fleet_item item;
		json_t *json;

		item_print(&once, &b->items[i]);
		json = json_loads(once.text, JSON_REJECT_DUPLICATES, NULL);
		if (!json || item_parse(json, &item) < 0)
			abort();
		item_print(&twice, &item);
		if (once.len != twice.len || memcmp(once.text, twice.text, once.len) != 0)
			abort();
		text_free(&once);
		text_free(&twice);
		json_decref(json);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fleet_epoch_data epoch;
	struct fleet_batch batch;
	struct digest digest;
	uint64_t count;
	bool ends;

	if (size == 0)
		return 0;
	switch (data[0]) {
	case 's':
		if (batch_parse(data + 1, size - 1, &batch) == 0) {
			items_again(&batch);
			batch_free(&batch);
		}
		break;
	case 'e':
		epoch_parse(data + 1, size - 1, &epoch);
		break;
	case 'm':
		members_parse(data + 1, size - 1, &ends, &count, &digest);
		break;
	default:
		break;
	}
	return 0;
}
