// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A webhook's body: whatever it is, the case that it speaks of has an id that may stand in a path.

#include "control/sources/thehive_hook.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *body = json_loadb((const char *)data, size, 0, NULL);
	struct hive_hint hint;
	const char *reason = NULL;
	if (hive_hook_read(body, &hint, &reason) < 0) {
		if (!reason)
			abort();
	} else {
		if (hint.case_id[0] && !hive_id_valid(hint.case_id))
			abort();
		if (hint.n_merged > HIVE_MERGED_MAX || (hint.deleted && hint.closed))
			abort();
		for (size_t i = 0; i < hint.n_merged; i++)
			if (!hive_id_valid(hint.merged[i]))
				abort();
		if (strnlen(hint.closer, HIVE_NAME_MAX) == HIVE_NAME_MAX)
			abort();
	}
	json_decref(body);
	return 0;
}
