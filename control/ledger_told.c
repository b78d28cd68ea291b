// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What was told to cases: one row a case.

#include "control/ledger_internal.h"

#include <errno.h>
#include <stdlib.h>

int ledger_told_get(struct ledger *l, const char *source, const char *ref, json_t **ret_state)
{
	scoped_stmt stmt = NULL;
	json_t *state;
	int rc, r = sql_kept(l, "SELECT state FROM told WHERE source=?1 AND ref=?2", &stmt);

	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, source);
	sql_bind_text(stmt, 2, ref);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_DONE)
		return -ENOENT;
	if (rc != SQLITE_ROW)
		return sql_errno(rc, l->db);
	state = json_loads(sql_text(stmt, 0), 0, NULL);
	if (!state)
		return -EILSEQ;
	*ret_state = state;
	return 0;
}

int ledger_told_put(
	struct ledger *l,
	const char *source,
	const char *ref,
	int64_t due,
	json_t *state,
	ledger_done done,
	void *ctx
)
{
	scoped_stmt stmt = NULL;
	char *text = NULL;
	int r = transaction_begin(l);

	// The reserve on disk is not for words.
	if (r == 0 && state && l->space_low)
		return -ENOSPC;
	if (r == 0)
		r = sql_kept(
			l,
			state ? "INSERT OR REPLACE INTO told VALUES (?1, ?2, ?3, ?4)"
			      : "DELETE FROM told WHERE source=?1 AND ref=?2",
			&stmt
		);
	if (r == 0 && state) {
		text = json_dumps(state, JSON_COMPACT);
		r = text ? 0 : -EINVAL;
	}
	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, source);
	sql_bind_text(stmt, 2, ref);
	if (state) {
		sqlite3_bind_int64(stmt, 3, due);
		sql_bind_text(stmt, 4, text);
	}
	r = sql_run(l, stmt);
	free(text);
	if (r == 0)
		fleet_touch(l, ITEM_TOLD, source, ref, NULL, "", "", "");
	if (r == 0 && done)
		pending_done(l, done, ctx, 0, "");
	return r;
}

int ledger_told_touch(struct ledger *l, const char *source, const char *ref)
{
	scoped_stmt stmt = NULL;
	int r = transaction_begin(l);

	if (r == 0 && l->space_low)
		return -ENOSPC;
	if (r == 0)
		r = sql_kept(l, "UPDATE told SET due=0 WHERE source=?1 AND ref=?2", &stmt);
	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, source);
	sql_bind_text(stmt, 2, ref);
	r = sql_run(l, stmt);
	return r == 0 && sqlite3_changes(l->db) == 0 ? -ENOENT : r;
}

int ledger_told_due(
	struct ledger *l,
	const char *source,
	int64_t from,
	int64_t to,
	size_t max,
	told_cb cb,
	void *ctx
)
{
	scoped_stmt stmt = NULL;
	int rc, r;

	r = sql_kept(
		l,
		"SELECT ref, due FROM told WHERE due >= ?2 AND due <= ?3"
		" AND due < 9223372036854775807 AND source=?1 ORDER BY due LIMIT ?4",
		&stmt
	);
	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, source);
	sqlite3_bind_int64(stmt, 2, from);
	sqlite3_bind_int64(stmt, 3, to);
	sqlite3_bind_int64(stmt, 4, (int64_t)max);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		if (!cb(ctx, sql_text(stmt, 0), sqlite3_column_int64(stmt, 1)))
			return 0;
	return sql_errno(rc, l->db);
}
