// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/entry.h"

#include <string.h>

enum entry_action entry_action_at(const struct entry *e, int64_t now)
{
	if (e->enforce_until > now)
		return ENTRY_ENFORCE;
	if (e->monitor_until > now)
		return ENTRY_MONITOR;
	return ENTRY_INERT;
}

int revision_compare(struct revision a, struct revision b)
{
	if (a.epoch != b.epoch)
		return a.epoch < b.epoch ? -1 : 1;
	if (a.number != b.number)
		return a.number < b.number ? -1 : 1;
	return 0;
}

bool list_state_equal(const struct list_state *a, const struct list_state *b)
{
	return memcmp(a->ledger_id, b->ledger_id, LEDGER_ID_LEN) == 0
		&& revision_compare(a->revision, b->revision) == 0 && a->count == b->count
		&& digest_equal(a->digest, b->digest);
}
