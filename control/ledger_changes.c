// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Reading entries and the change log: always of committed revisions.

#include "control/ledger_internal.h"
#include "control/lists_internal.h"

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
	struct entry entry = {.indicator = *indicator, .scope = SCOPE_ALL};
	struct ledger_key key;
	uint8_t actions;
	int r;

	key_pack(indicator, &key);
	r = claims_ends(l, &key, &entry);
	if (r < 0 && r != -ENOENT)
		return r;
	actions = lists_say(l, indicator, &key);
	if (r == -ENOENT && !actions)
		return r;
	entry_raise(&entry, actions);
	*ret_entry = entry;
	return 0;
}

// --- all entries: what claims say and what lists say, both by key, in one walk

struct entries_walk {
	sqlite3 *db;
	sqlite3_stmt *claims, *immune;
	bool claim, immunity; // there is a row
	struct ledger_key claim_key, immune_key;
	struct lists_walk lists;
};

static int walk_row(sqlite3_stmt *stmt, sqlite3 *db, bool *ret_there, struct ledger_key *ret_key)
{
	int rc = sqlite3_step(stmt), len;

	*ret_there = rc == SQLITE_ROW;
	if (rc != SQLITE_ROW)
		return sql_errno(rc, db);
	len = sqlite3_column_bytes(stmt, 0);
	if (len > LEDGER_KEY_MAX)
		return -EILSEQ;
	ret_key->len = (uint16_t)len;
	memcpy(ret_key->octets, sqlite3_column_blob(stmt, 0), (size_t)len);
	return 0;
}

static void walk_fini(struct entries_walk *w)
{
	sqlite3_finalize(w->claims);
	sqlite3_finalize(w->immune);
	lists_walk_fini(&w->lists);
}

static int walk_init(
	struct entries_walk *w, sqlite3 *db, struct lists_db *lists, const struct ledger_key *after
)
{
	int r;

	*w = (struct entries_walk){.db = db};
	r = sql_errno(
		sqlite3_prepare_v2(
			db,
			"SELECT key, enforce, monitor, scope FROM entries WHERE key > ?1"
			" ORDER BY key",
			-1,
			&w->claims,
			NULL
		),
		db
	);
	if (r == 0)
		r = sql_errno(
			sqlite3_prepare_v2(
				db,
				"SELECT DISTINCT key FROM immunities WHERE key > ?1 ORDER BY key",
				-1,
				&w->immune,
				NULL
			),
			db
		);
	if (r == 0) {
		sqlite3_bind_blob(w->claims, 1, after->octets, after->len, SQLITE_TRANSIENT);
		sqlite3_bind_blob(w->immune, 1, after->octets, after->len, SQLITE_TRANSIENT);
		r = walk_row(w->claims, db, &w->claim, &w->claim_key);
	}
	if (r == 0)
		r = walk_row(w->immune, db, &w->immunity, &w->immune_key);
	if (r == 0)
		r = lists_walk_init(&w->lists, lists, after);
	if (r < 0)
		walk_fini(w);
	return r;
}

static int walk_immune(struct entries_walk *w, const struct ledger_key *key, uint8_t *actions)
{
	int r = 0;

	while (r == 0 && w->immunity && key_compare(&w->immune_key, key) < 0)
		r = walk_row(w->immune, w->db, &w->immunity, &w->immune_key);
	if (w->immunity && key_compare(&w->immune_key, key) == 0)
		*actions = 0;
	return r;
}

// 1: the next entry, 0: the end.
static int walk_next(struct entries_walk *w, struct entry *ret_entry)
{
	for (;;) {
		struct entry entry = {.scope = SCOPE_ALL};
		struct ledger_key key;
		uint8_t actions = 0;
		int listed = lists_walk_peek(&w->lists, &key, &actions);
		int order = !w->claim ? 1 : !listed ? -1 : key_compare(&w->claim_key, &key);
		int r = 0;

		if (!w->claim && !listed)
			return 0;
		if (order < 0)
			actions = 0;
		if (order <= 0) {
			key = w->claim_key;
			entry.enforce_until = sqlite3_column_int64(w->claims, 1);
			entry.monitor_until = sqlite3_column_int64(w->claims, 2);
			entry.scope = (uint8_t)sqlite3_column_int(w->claims, 3);
			r = walk_row(w->claims, w->db, &w->claim, &w->claim_key);
		}
		if (r == 0 && order >= 0)
			r = lists_walk_next(&w->lists);
		if (r == 0 && actions)
			r = walk_immune(w, &key, &actions);
		if (r < 0)
			return r;
		entry_raise(&entry, actions);
		if (order > 0 && !actions)
			continue;
		if (key_unpack(key.octets, key.len, &entry.indicator) < 0)
			return -EILSEQ;
		*ret_entry = entry;
		return 1;
	}
}

int ledger_entries_page(struct ledger *l, const char *after, size_t max, entry_cb cb, void *ctx)
{
	struct ledger_key from = {.len = 0};
	struct entries_walk walk;
	struct entry entry;
	int r;

	if (*after) {
		struct indicator n;
		struct indicator_error error;

		if (indicator_parse(after, strlen(after), &n, &error) < 0)
			return -EINVAL;
		key_pack(&n, &from);
	}
	if (l->lists->behind)
		return -EAGAIN;
	r = walk_init(&walk, l->db, &l->lists->db, &from);
	if (r < 0)
		return r;
	for (size_t n = 0; n < max && (r = walk_next(&walk, &entry)) == 1; n++)
		if (!cb(ctx, &entry))
			break;
	walk_fini(&walk);
	return r < 0 ? r : 0;
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
	int r = sql_kept(
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

// The changes of claims and the batches of lists, both in the order of the log.
struct changes_walk {
	sqlite3_stmt *rows, *bulk;
	bool row, batch; // there is one
};

static int changes_step(struct ledger *l, sqlite3_stmt *stmt, bool *ret_there)
{
	int rc = sqlite3_step(stmt);

	*ret_there = rc == SQLITE_ROW;
	return sql_errno(rc, l->db);
}

static int row_give(sqlite3_stmt *stmt, uint64_t epoch, change_cb cb, void *ctx, bool *ret_more)
{
	struct ledger_change c = {
		.revision = {epoch, (uint64_t)sqlite3_column_int64(stmt, 1)},
		.change.op = (enum change_op)sqlite3_column_int(stmt, 2),
	};

	if (entry_read(stmt, 3, &c.change.entry) < 0)
		return -EILSEQ;
	*ret_more = cb(ctx, &c);
	return 0;
}

static int
changes_walk(struct ledger *l, struct changes_walk *w, uint64_t epoch, change_cb cb, void *ctx)
{
	bool more = true;
	int r = changes_step(l, w->rows, &w->row);

	if (r == 0)
		r = changes_step(l, w->bulk, &w->batch);
	while (r == 0 && more && (w->row || w->batch)) {
		bool bulk = w->batch
			&& (!w->row
			    || sqlite3_column_int64(w->bulk, 0) < sqlite3_column_int64(w->rows, 0));

		if (!bulk) {
			r = row_give(w->rows, epoch, cb, ctx, &more);
			if (r == 0)
				r = changes_step(l, w->rows, &w->row);
			continue;
		}
		r = bulk_changes(
			sqlite3_column_blob(w->bulk, 2),
			(size_t)sqlite3_column_bytes(w->bulk, 2),
			(struct revision){epoch, (uint64_t)sqlite3_column_int64(w->bulk, 1)},
			cb,
			ctx,
			&more
		);
		if (r == 0)
			r = changes_step(l, w->bulk, &w->batch);
	}
	return r;
}

int ledger_changes(struct ledger *l, struct revision from, size_t max, change_cb cb, void *ctx)
{
	scoped_stmt rows = NULL;
	scoped_stmt bulk = NULL;
	int64_t first, last;
	int r;

	if (from.epoch != l->state.revision.epoch || from.number > l->state.revision.number
	    || from.number == 0)
		return -ENOENT;
	if (from.number == l->state.revision.number)
		return 0;
	r = changes_bounds(l, from, max < INT32_MAX ? max : INT32_MAX, &first, &last);
	if (r == 0)
		r = sql_kept(
			l,
			"SELECT seq, number, op, key, enforce, monitor, scope FROM changes"
			" WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
			&rows
		);
	if (r == 0)
		r = sql_kept(
			l,
			"SELECT seq, number, data FROM bulk WHERE seq > ?1 AND seq <= ?2"
			" ORDER BY seq",
			&bulk
		);
	if (r < 0)
		return r;
	sqlite3_bind_int64(rows, 1, first);
	sqlite3_bind_int64(rows, 2, last);
	sqlite3_bind_int64(bulk, 1, first);
	sqlite3_bind_int64(bulk, 2, last);
	return changes_walk(
		l, &(struct changes_walk){.rows = rows, .bulk = bulk}, from.epoch, cb, ctx
	);
}

struct ledger_reader {
	sqlite3 *db;
	struct lists_db lists;
	struct entries_walk walk;
	bool walking, ended;
};

void ledger_reader_close(struct ledger_reader *reader)
{
	if (!reader)
		return;
	if (reader->walking)
		walk_fini(&reader->walk);
	lists_db_close(&reader->lists);
	sqlite3_close(reader->db);
	free(reader);
}

static int reader_begin(struct ledger_reader *reader, struct list_state *state)
{
	static const struct ledger_key start;
	scoped_stmt stmt = NULL;
	int r,
		rc = sqlite3_exec(
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
	r = lists_db_exec(&reader->lists, "PRAGMA query_only = ON; BEGIN");
	if (r == 0)
		r = walk_init(&reader->walk, reader->db, &reader->lists, &start);
	reader->walking = r == 0;
	return r;
}

// Both files are committed by the same turn of the loop: between two turns they say the same.
int ledger_reader_open(
	struct ledger *l, struct ledger_reader **ret_reader, struct list_state *ret_state
)
{
	struct ledger_reader *reader;
	struct list_state state = {0};
	char path[4096];
	int r;

	if (l->lists->behind)
		return -EAGAIN;
	reader = calloc(1, sizeof(*reader));
	if (!reader)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s/ledger.db", l->dir);
	r = sql_errno(
		sqlite3_open_v2(
			path, &reader->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL
		),
		NULL
	);
	snprintf(path, sizeof(path), "%s/lists.db", l->dir);
	if (r == 0)
		r = lists_db_open(path, false, &reader->lists);
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
		struct entry entry;
		int r = walk_next(&reader->walk, &entry);

		if (r < 0)
			return r;
		reader->ended = r == 0;
		if (r == 0)
			break;
		n++;
		if (!cb(ctx, &entry))
			break;
	}
	return n;
}
