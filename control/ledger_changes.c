// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Reading entries and the change log: always of committed revisions.

#include "control/ledger_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// key, enforce, monitor, scope from that column on.
static int entry_read(sqlite3_stmt *stmt, int column, struct entry *ret_entry)
{
	ret_entry->enforce_until = sqlite3_column_int64(stmt, column + 1);
	ret_entry->monitor_until = sqlite3_column_int64(stmt, column + 2);
	ret_entry->scope = (uint8_t)sqlite3_column_int(stmt, column + 3);
	return sql_indicator(stmt, column, &ret_entry->indicator);
}

int ledger_entry_find(struct ledger *l, const struct indicator *indicator, struct entry *ret_entry)
{
	sqlite3_stmt *stmt = l->stmts[STMT_ENTRY_FIND];
	char text[INDICATOR_TEXT_MAX];
	int rc;

	indicator_print(indicator, text);
	sql_bind_text(stmt, 1, text);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret_entry = (struct entry){
			.indicator = *indicator,
			.enforce_until = sqlite3_column_int64(stmt, 0),
			.monitor_until = sqlite3_column_int64(stmt, 1),
			.scope = (uint8_t)sqlite3_column_int(stmt, 2),
		};
	sqlite3_reset(stmt);
	if (rc == SQLITE_DONE)
		return -ENOENT;
	return sql_errno(rc, l->db);
}

int ledger_entries_page(struct ledger *l, const char *after, size_t max, entry_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	int rc, r;

	r = sql_prepare(
		l,
		"SELECT key, enforce, monitor, scope FROM entries WHERE text > ?1"
		" ORDER BY text LIMIT ?2",
		&stmt
	);
	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, after);
	sqlite3_bind_int64(stmt, 2, (int64_t)max);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct entry entry;

		if (entry_read(stmt, 0, &entry) < 0)
			return -EILSEQ;
		if (!cb(ctx, &entry))
			return 0;
	}
	return sql_errno(rc, l->db);
}

int ledger_state_at(struct ledger *l, struct revision revision, struct list_state *ret_state)
{
	sqlite3_stmt *stmt = l->stmts[STMT_REVISION_FIND];
	int rc;

	sqlite3_bind_int64(stmt, 1, (int64_t)revision.number);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW && (uint64_t)sqlite3_column_int64(stmt, 0) == revision.epoch
	    && sqlite3_column_bytes(stmt, 2) == 16) {
		memcpy(ret_state->ledger_id, l->id, LEDGER_ID_LEN);
		ret_state->revision = revision;
		ret_state->count = (uint64_t)sqlite3_column_int64(stmt, 1);
		ret_state->digest = digest_unpack(sqlite3_column_blob(stmt, 2));
		sqlite3_reset(stmt);
		return 0;
	}
	sqlite3_reset(stmt);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? -ENOENT : sql_errno(rc, l->db);
}

// The last change of revision `from` and, for at most `max` rows behind it, the last change to
// give: whole revisions, at least one.
static int changes_bounds(
	struct ledger *l, struct revision from, size_t max, int64_t *ret_first, int64_t *ret_last
)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(
		l,
		"SELECT f.log_last, coalesce("
		" (SELECT max(log_last) FROM revisions WHERE number > ?1 AND number <= ?3"
		"  AND log_last <= f.log_last + ?2),"
		" (SELECT log_last FROM revisions WHERE number = ?1 + 1))"
		" FROM revisions f WHERE f.number = ?1",
		&stmt
	);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, (int64_t)from.number);
	sqlite3_bind_int64(stmt, 2, (int64_t)max);
	// A revision has at least one change: no more revisions than rows are worth a look.
	sqlite3_bind_int64(stmt, 3, (int64_t)from.number + (int64_t)max);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return -ESTALE;
	*ret_first = sqlite3_column_int64(stmt, 0);
	*ret_last = sqlite3_column_int64(stmt, 1);
	return 0;
}

int ledger_changes(struct ledger *l, struct revision from, size_t max, change_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	int64_t first, last;
	int rc, r;

	if (from.epoch != l->state.revision.epoch || from.number > l->state.revision.number
	    || from.number == 0)
		return -ENOENT;
	if (from.number == l->state.revision.number)
		return 0;
	r = changes_bounds(l, from, max < INT32_MAX ? max : INT32_MAX, &first, &last);
	if (r < 0)
		return r;
	r = sql_prepare(
		l,
		"SELECT number, op, key, enforce, monitor, scope FROM changes"
		" WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
		&stmt
	);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, first);
	sqlite3_bind_int64(stmt, 2, last);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct ledger_change c = {
			.revision = {from.epoch, (uint64_t)sqlite3_column_int64(stmt, 0)},
			.change.op = (enum change_op)sqlite3_column_int(stmt, 1),
		};

		if (entry_read(stmt, 2, &c.change.entry) < 0)
			return -EILSEQ;
		if (!cb(ctx, &c))
			return 0;
	}
	return sql_errno(rc, l->db);
}

struct ledger_reader {
	sqlite3 *db;
	sqlite3_stmt *stmt;
	bool ended;
};

void ledger_reader_close(struct ledger_reader *reader)
{
	if (!reader)
		return;
	sqlite3_finalize(reader->stmt);
	sqlite3_close(reader->db);
	free(reader);
}

static int reader_begin(struct ledger_reader *reader, struct list_state *state)
{
	scoped_stmt stmt = NULL;
	int rc = sqlite3_exec(
		reader->db,
		"PRAGMA query_only = ON; PRAGMA cache_size = -4096; BEGIN",
		NULL,
		NULL,
		NULL
	);

	// The first read fixes what the transaction sees.
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(
			reader->db,
			"SELECT ledger, epoch, number, count, digest FROM state",
			-1,
			&stmt,
			NULL
		);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW)
		return sql_errno(rc, reader->db) ?: -EILSEQ;
	memcpy(state->ledger_id, sqlite3_column_blob(stmt, 0), LEDGER_ID_LEN);
	state->revision.epoch = (uint64_t)sqlite3_column_int64(stmt, 1);
	state->revision.number = (uint64_t)sqlite3_column_int64(stmt, 2);
	state->count = (uint64_t)sqlite3_column_int64(stmt, 3);
	state->digest = digest_unpack(sqlite3_column_blob(stmt, 4));
	return sql_errno(
		sqlite3_prepare_v2(
			reader->db,
			"SELECT key, enforce, monitor, scope FROM entries ORDER BY text",
			-1,
			&reader->stmt,
			NULL
		),
		reader->db
	);
}

int ledger_reader_open(
	struct ledger *l, struct ledger_reader **ret_reader, struct list_state *ret_state
)
{
	struct ledger_reader *reader = calloc(1, sizeof(*reader));
	struct list_state state = {0};
	char path[4096];
	int r;

	if (!reader)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s/ledger.db", l->dir);
	r = sql_errno(
		sqlite3_open_v2(
			path, &reader->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL
		),
		NULL
	);
	if (r == 0)
		r = reader_begin(reader, &state);
	if (r < 0) {
		ledger_reader_close(reader);
		return r;
	}
	*ret_reader = reader;
	*ret_state = state;
	return 0;
}

int ledger_reader_next(struct ledger_reader *reader, size_t max, entry_cb cb, void *ctx)
{
	int n = 0;

	while (!reader->ended && (size_t)n < max) {
		int rc = sqlite3_step(reader->stmt);
		struct entry entry;

		if (rc == SQLITE_DONE)
			reader->ended = true;
		if (rc == SQLITE_DONE)
			break;
		if (rc != SQLITE_ROW)
			return sql_errno(rc, reader->db);
		if (entry_read(reader->stmt, 0, &entry) < 0)
			return -EILSEQ;
		n++;
		if (!cb(ctx, &entry))
			break;
	}
	return n;
}
