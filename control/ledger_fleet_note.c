// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the leader's work remembers, so that the next leader goes on where it ended: rows of what
// was told to cases, alerts that wait for TheHive or are done, how far the write-back has read the
// audit. None of it is in count and digest; a checkpoint has it, its sweep leaves it.

#include "control/ledger_fleet_internal.h"

#include <errno.h>
#include <string.h>

#define VALUE_MAX 49152 // octets of one value: it must find room in a record

bool item_is_note(enum fleet_item_kind kind)
{
	return kind == ITEM_TOLD || kind == ITEM_NOTE || kind == ITEM_CURSOR;
}

// Notes of these owners are the fleet's; others' (what stands at F5, cursors of TheHive) are read
// anew by whoever leads.
bool fleet_note_owner(const char *owner)
{
	return strcmp(owner, "alerts") == 0;
}

int note_load(struct ledger *l, struct fleet_item *i, sqlite3_stmt **ret_stmt)
{
	int rc, r;

	i->gone = i->kind != ITEM_CURSOR;
	if (i->kind == ITEM_CURSOR)
		return 0;
	r = sql_prepare(
		l,
		i->kind == ITEM_TOLD ? "SELECT due, state FROM told WHERE source=?1 AND ref=?2"
				     : "SELECT 0, value FROM notes WHERE owner=?1 AND key=?2",
		ret_stmt
	);
	if (r < 0)
		return r;
	sql_bind_text(*ret_stmt, 1, i->claim.source);
	sql_bind_text(*ret_stmt, 2, i->claim.ref);
	rc = sqlite3_step(*ret_stmt);
	if (rc == SQLITE_ROW) {
		i->gone = false;
		i->claim.created = sqlite3_column_int64(*ret_stmt, 0);
		i->value = sql_text(*ret_stmt, 1);
	}
	return sql_errno(rc, l->db);
}

// The value is JSON already. One that is too long is left out: the next leader may tell it again.
void note_print(struct fleet_text *t, const struct fleet_item *i)
{
	size_t len = i->value ? strlen(i->value) : 0;

	if (len == 0 || len > VALUE_MAX)
		return;
	text_add(t, ",\"v\":", 5);
	text_add(t, i->value, len);
}

static void told_put(struct ledger *l, const struct fleet_item *i)
{
	int r = 0;

	if (i->gone || i->json)
		r = ledger_told_put(
			l,
			i->claim.source,
			i->claim.ref,
			i->claim.created,
			i->gone ? NULL : i->json,
			NULL,
			NULL
		);
	if (r < 0 && r != -ENOSPC) // the reserve on disk is not for words
		transaction_fail(l, r);
}

// All of the audit up to here is dealt with, by the leader.
static void cursor_put(struct ledger *l, const struct fleet_item *i)
{
	char hash[65];
	int64_t seq;

	if (ledger_audit_head(l, &seq, hash) == 0)
		ledger_cursor_set(l, i->claim.source, (struct revision){1, (uint64_t)seq});
}

void note_put(struct ledger *l, const struct fleet_item *i)
{
	int r = 0;

	if (i->kind == ITEM_TOLD)
		told_put(l, i);
	else if (i->kind == ITEM_CURSOR)
		cursor_put(l, i);
	else if (fleet_note_owner(i->claim.source) && (i->gone || i->json))
		r = ledger_note_set(l, i->claim.source, i->claim.ref, i->gone ? NULL : i->json);
	if (r < 0)
		transaction_fail(l, r);
}

void ledger_fleet_cursor(struct ledger *l, const char *follower)
{
	fleet_touch(l, ITEM_CURSOR, follower, "", NULL, "", "", "");
}
