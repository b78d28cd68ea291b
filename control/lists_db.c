// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/lists_db.h"

#include "control/ledger_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 1

static const char schema_sql[]
	= "CREATE TABLE meta("
	  " one INTEGER PRIMARY KEY CHECK (one = 1), ledger BLOB NOT NULL, seq INTEGER NOT NULL);"
	  "INSERT INTO meta VALUES (1, zeroblob(16), 0);"
	  "CREATE TABLE lists("
	  " id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, members INTEGER NOT NULL,"
	  " synced INTEGER NOT NULL, peak_hour INTEGER NOT NULL, peaks BLOB NOT NULL);"
	  "CREATE TABLE pages("
	  " id INTEGER PRIMARY KEY, list INTEGER NOT NULL, first BLOB NOT NULL,"
	  " min_until INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL);"
	  "CREATE UNIQUE INDEX pages_first ON pages(list, first);"
	  "CREATE INDEX pages_until ON pages(list, min_until)"
	  " WHERE min_until < 9223372036854775807;"
	  "CREATE TABLE attrs("
	  " id INTEGER PRIMARY KEY, action INTEGER NOT NULL, reason TEXT NOT NULL,"
	  " reference TEXT NOT NULL);"
	  "PRAGMA user_version = 1;"; // FORMAT

int lists_db_exec(struct lists_db *d, const char *sql)
{
	return sql_errno(sqlite3_exec(d->db, sql, NULL, NULL, NULL), d->db);
}

int lists_db_prepare(struct lists_db *d, const char *sql, sqlite3_stmt **ret_stmt)
{
	return sql_errno(
		sqlite3_prepare_v3(d->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_stmt, NULL), d->db
	);
}

int lists_db_sync(struct lists_db *d)
{
	sqlite3_file *log = NULL;

	sqlite3_file_control(d->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
	if (!log || !log->pMethods)
		return 0;
	return sql_errno(log->pMethods->xSync(log, SQLITE_SYNC_NORMAL), NULL);
}

int lists_db_run(struct lists_db *d, sqlite3_stmt *stmt)
{
	int r = sql_errno(sqlite3_step(stmt), d->db);

	sqlite3_reset(stmt);
	return r;
}

static int schema_check(struct lists_db *d, bool create)
{
	scoped_stmt stmt = NULL;
	int version, r = lists_db_prepare(d, "PRAGMA user_version", &stmt);

	if (r < 0)
		return r;
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return sql_errno(sqlite3_errcode(d->db), d->db) ?: -EIO;
	version = sqlite3_column_int(stmt, 0);
	sqlite3_reset(stmt);
	if (version == FORMAT)
		return 0;
	if (version != 0 || !create)
		return -EPROTO;
	r = lists_db_exec(d, "BEGIN IMMEDIATE");
	if (r == 0)
		r = lists_db_exec(d, schema_sql);
	return r < 0 ? r : lists_db_exec(d, "COMMIT");
}

int lists_db_open(const char *path, bool create, struct lists_db *ret_db)
{
	struct lists_db d = {0};
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
	int r = sql_errno(sqlite3_open_v2(path, &d.db, flags, NULL), NULL);

	if (r == 0) {
		sqlite3_extended_result_codes(d.db, 1);
		sqlite3_busy_timeout(d.db, 1000);
		r = lists_db_exec(
			&d,
			"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
			"PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -8192; PRAGMA "
			"journal_size_limit = 67108864;"
		);
	}
	if (r == 0)
		r = schema_check(&d, create);
	if (r == 0)
		r = lists_db_prepare(
			&d,
			"SELECT id, first, data FROM pages WHERE list=?1 AND first <= ?2"
			" ORDER BY first DESC LIMIT 1",
			&d.find
		);
	if (r == 0)
		r = lists_db_prepare(
			&d,
			"SELECT id, first, data FROM pages WHERE list=?1 ORDER BY first LIMIT 1",
			&d.first
		);
	if (r == 0)
		r = lists_db_prepare(
			&d,
			"SELECT id, first, data FROM pages WHERE list=?1 AND first > ?2"
			" ORDER BY first LIMIT 1",
			&d.next
		);
	if (r < 0) {
		lists_db_close(&d);
		return r;
	}
	*ret_db = d;
	return 0;
}

void lists_db_close(struct lists_db *d)
{
	sqlite3_finalize(d->find);
	sqlite3_finalize(d->first);
	sqlite3_finalize(d->next);
	sqlite3_close(d->db);
	*d = (struct lists_db){0};
}

// --- one list

void cursor_init(struct list_cursor *c, struct lists_db *db, uint32_t list)
{
	*c = (struct list_cursor){.db = db, .list = list};
}

void cursor_fini(struct list_cursor *c)
{
	free(c->page);
	c->page = NULL;
}

void cursor_forget(struct list_cursor *c)
{
	c->loaded = c->on_member = false;
}

static int key_column(sqlite3_stmt *stmt, int column, struct ledger_key *ret_key)
{
	const void *octets = sqlite3_column_blob(stmt, column);
	int len = sqlite3_column_bytes(stmt, column);

	if (len < 3 || len > LEDGER_KEY_MAX)
		return -EILSEQ;
	ret_key->len = (uint16_t)len;
	memcpy(ret_key->octets, octets, (size_t)len);
	return 0;
}

// Steps a statement of pages: 1: the page is loaded, 0: there is none.
static int page_take(struct list_cursor *c, sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt), r = rc == SQLITE_ROW ? 1 : sql_errno(rc, c->db->db);
	size_t len;

	if (r <= 0)
		return r;
	len = (size_t)sqlite3_column_bytes(stmt, 2);
	if (len > c->room) {
		uint8_t *page = realloc(c->page, len);

		if (!page)
			return -ENOMEM;
		c->page = page;
		c->room = len;
	}
	if (key_column(stmt, 1, &c->first) < 0 || len == 0)
		return -EILSEQ;
	memcpy(c->page, sqlite3_column_blob(stmt, 2), len);
	c->len = len;
	c->page_id = sqlite3_column_int64(stmt, 0);
	return 1;
}

static int page_load(struct list_cursor *c, sqlite3_stmt *stmt, const struct ledger_key *key)
{
	int r;

	c->on_member = false;
	sqlite3_bind_int64(stmt, 1, c->list);
	if (key)
		sql_bind_key(stmt, 2, key);
	r = page_take(c, stmt);
	sqlite3_reset(stmt);
	c->loaded = r == 1;
	if (r <= 0)
		return r;
	page_begin(&c->reader, c->page, c->len);
	stmt = c->db->next;
	sqlite3_bind_int64(stmt, 1, c->list);
	sql_bind_key(stmt, 2, &c->first);
	r = sqlite3_step(stmt);
	c->has_next = r == SQLITE_ROW;
	if (c->has_next)
		r = key_column(stmt, 1, &c->next);
	else
		r = sql_errno(r, c->db->db);
	sqlite3_reset(stmt);
	return r < 0 ? r : 1;
}

int cursor_load(struct list_cursor *c, const struct ledger_key *key)
{
	int r = page_load(c, c->db->find, key);

	return r == 0 ? page_load(c, c->db->first, NULL) : r;
}

static int cursor_step(struct list_cursor *c)
{
	int r = page_next(&c->reader);

	while (r == 0) {
		struct ledger_key last = c->reader.member.key;

		// Whoever seeks on behind the end shall not load this page again and again.
		if (!c->has_next)
			break;
		// Behind the last member read, not behind this page's key: others may write.
		r = page_load(c, c->db->next, last.len ? &last : &c->first);
		if (r == 1)
			r = page_next(&c->reader);
		else
			break;
	}
	c->on_member = r == 1;
	return r == -EBADMSG ? -EILSEQ : r;
}

int cursor_next(struct list_cursor *c)
{
	int r;

	if (c->loaded)
		return cursor_step(c);
	r = page_load(c, c->db->first, NULL);
	return r == 1 ? cursor_step(c) : r;
}

int cursor_seek(struct list_cursor *c, const struct ledger_key *key)
{
	bool here = c->loaded && key_compare(key, &c->first) >= 0
		&& (!c->has_next || key_compare(key, &c->next) < 0)
		&& key_compare(&c->reader.member.key, key) < c->on_member;
	int r = 1;

	if (!here) {
		r = cursor_load(c, key);
		if (r <= 0)
			return r;
	}
	if (!c->on_member)
		r = cursor_step(c);
	while (r == 1 && key_compare(&c->reader.member.key, key) < 0)
		r = cursor_step(c);
	return r;
}

int cursor_find(struct list_cursor *c, const struct ledger_key *key, struct list_member *ret_member)
{
	int r = cursor_seek(c, key);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (key_compare(&c->reader.member.key, key) != 0)
		return -ENOENT;
	*ret_member = c->reader.member;
	return 0;
}

// --- all of them

static int walk_lists(struct lists_db *db, struct lists_walk *w)
{
	scoped_stmt stmt = NULL;
	int rc, r = lists_db_prepare(db, "SELECT id FROM lists ORDER BY id", &stmt);

	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct list_cursor *more
			= realloc(w->cursors, (w->n + 1) * sizeof(struct list_cursor));

		if (!more)
			return -ENOMEM;
		w->cursors = more;
		cursor_init(&more[w->n++], db, (uint32_t)sqlite3_column_int64(stmt, 0));
	}
	return r;
}

int lists_walk_init(struct lists_walk *w, struct lists_db *db, const struct ledger_key *after)
{
	int r;

	*w = (struct lists_walk){0};
	r = walk_lists(db, w);
	w->there = calloc(w->n + 1, sizeof(*w->there));
	if (!w->there)
		r = -ENOMEM;
	for (size_t i = 0; r >= 0 && i < w->n; i++) {
		struct list_cursor *c = &w->cursors[i];

		r = after && after->len ? cursor_seek(c, after) : cursor_next(c);
		if (r == 1 && after && key_compare(&cursor_member(c)->key, after) == 0)
			r = cursor_next(c);
		w->there[i] = r == 1;
	}
	if (r < 0) {
		lists_walk_fini(w);
		return r;
	}
	return 0;
}

void lists_walk_fini(struct lists_walk *w)
{
	for (size_t i = 0; i < w->n; i++)
		cursor_fini(&w->cursors[i]);
	free(w->cursors);
	free(w->there);
	*w = (struct lists_walk){0};
}

int lists_walk_peek(struct lists_walk *w, struct ledger_key *ret_key, uint8_t *ret_actions)
{
	const struct ledger_key *least = NULL;
	uint8_t actions = 0;

	for (size_t i = 0; i < w->n; i++) {
		const struct list_member *m = cursor_member(&w->cursors[i]);
		int order;

		if (!w->there[i])
			continue;
		order = least ? key_compare(&m->key, least) : -1;
		if (order < 0) {
			least = &m->key;
			actions = m->actions;
		} else if (order == 0) {
			actions |= m->actions;
		}
	}
	if (!least)
		return 0;
	*ret_key = *least;
	*ret_actions = actions;
	return 1;
}

int lists_walk_next(struct lists_walk *w)
{
	struct ledger_key key;
	uint8_t actions;

	if (lists_walk_peek(w, &key, &actions) == 0)
		return 0;
	for (size_t i = 0; i < w->n; i++) {
		int r;

		if (!w->there[i] || key_compare(&cursor_member(&w->cursors[i])->key, &key) != 0)
			continue;
		r = cursor_next(&w->cursors[i]);
		if (r < 0)
			return r;
		w->there[i] = r == 1;
	}
	return 0;
}
