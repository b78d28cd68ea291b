// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// lists.db: the members of lists in sorted pages (control/lists_page.h), beside ledger.db.
//
//   lists   id, name, members, synced, peaks     one row a list
//   pages   list, first key, earliest end, n, data
//   attrs   id, action, reason, reference        what members say, each text once
//   meta    ledger id, seq of the last batch     it is a copy that ledger.db can complete
//
// Thread: one at a time for each connection. A page that a cursor stands on is a copy: who writes
// meanwhile does not move it.

#pragma once

#include "control/lists_page.h"

#include <sqlite3.h>

struct lists_db {
	sqlite3 *db;
	sqlite3_stmt *find, *first, *next; // pages
};

int lists_db_open(const char *path, bool create, struct lists_db *ret_db); // -errno
void lists_db_close(struct lists_db *);
int lists_db_exec(struct lists_db *, const char *sql);
// A statement that returns no rows, stepped and reset.
int lists_db_run(struct lists_db *, sqlite3_stmt *);
// What was committed is on disk. A COMMIT alone is not: the ledger's log completes what a power
// failure takes, and the loop does not wait for this disk too.
int lists_db_sync(struct lists_db *);
int lists_db_prepare(struct lists_db *, const char *sql, sqlite3_stmt **ret_stmt);

struct list_cursor {
	struct lists_db *db;
	uint32_t list;
	bool loaded, on_member;
	int64_t page_id;
	size_t len, room;
	uint8_t *page;
	struct ledger_key first, next; // of the page; of the one behind it
	bool has_next;
	struct page_reader reader;
};

void cursor_init(struct list_cursor *, struct lists_db *, uint32_t list);
void cursor_fini(struct list_cursor *);
void cursor_forget(struct list_cursor *); // the pages may have changed: read them again
// The first member not before `key` (keys that only grow are cheap): 1: cursor_member, 0: none.
int cursor_seek(struct list_cursor *, const struct ledger_key *key);
// The next member; the first one of a new cursor.
int cursor_next(struct list_cursor *);
static inline const struct list_member *cursor_member(const struct list_cursor *c)
{
	return &c->reader.member;
}
// That member: 0, or -ENOENT.
int cursor_find(struct list_cursor *, const struct ledger_key *, struct list_member *ret_member);
// Loads the page in which `key` lies or would lie. 0: the list has no page.
int cursor_load(struct list_cursor *, const struct ledger_key *key);

// The union of all lists in the order of keys.
struct lists_walk {
	size_t n;
	struct list_cursor *cursors;
	bool *there;
};

int lists_walk_init(struct lists_walk *, struct lists_db *, const struct ledger_key *after);
void lists_walk_fini(struct lists_walk *);
// 1: the smallest key, and what the lists together do there; 0: none.
int lists_walk_peek(struct lists_walk *, struct ledger_key *ret_key, uint8_t *ret_actions);
int lists_walk_next(struct lists_walk *); // past that key; 0 or -errno
