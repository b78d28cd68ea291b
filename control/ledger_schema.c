// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/ledger_internal.h"
#include "rules/siphash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FORMAT_FIRST 2 // of the file; 1 was never released
#define FORMAT 6

// Format 2. What came later stands in migrations[], for new files too: one way to each format.
// Times are seconds since the epoch. claims.due and allows.due are ledger time (see
// ledger_deadline.c): equal to `until` unless the wall clock stepped since.
static const char schema_sql[]
	= "CREATE TABLE state("
	  " one INTEGER PRIMARY KEY CHECK (one = 1), ledger BLOB NOT NULL,"
	  " epoch INTEGER NOT NULL, number INTEGER NOT NULL, count INTEGER NOT NULL,"
	  " digest BLOB NOT NULL, claims INTEGER NOT NULL, orphaned INTEGER NOT NULL,"
	  " held INTEGER NOT NULL, allows INTEGER NOT NULL, enforce INTEGER NOT NULL,"
	  " monitor INTEGER NOT NULL, names INTEGER NOT NULL, log_last INTEGER NOT NULL,"
	  " log_tail INTEGER NOT NULL, pause_until INTEGER NOT NULL, audit_seq INTEGER NOT NULL,"
	  " audit_hash BLOB NOT NULL, wall INTEGER NOT NULL);"
	  "CREATE TABLE sources("
	  " id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, claims INTEGER NOT NULL);"
	  "CREATE TABLE claims("
	  " id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL, ref TEXT NOT NULL,"
	  " key BLOB NOT NULL, action INTEGER NOT NULL, state INTEGER NOT NULL,"
	  " created INTEGER NOT NULL, until INTEGER NOT NULL, due INTEGER NOT NULL,"
	  " orphaned_since INTEGER NOT NULL, held INTEGER, tlp INTEGER NOT NULL,"
	  " author TEXT NOT NULL, inferred INTEGER NOT NULL, reason TEXT NOT NULL,"
	  " case_number TEXT NOT NULL);"
	  "CREATE UNIQUE INDEX claims_source ON claims(source, ref, key);"
	  "CREATE INDEX claims_key ON claims(key, state, action, until);"
	  "CREATE INDEX claims_due ON claims(due) WHERE due < 9223372036854775807;"
	  "CREATE INDEX claims_held ON claims(held) WHERE held IS NOT NULL;"
	  "CREATE INDEX claims_orphaned ON claims(source) WHERE state = 1;"
	  "CREATE TABLE entries("
	  " text TEXT PRIMARY KEY, key BLOB NOT NULL, enforce INTEGER NOT NULL,"
	  " monitor INTEGER NOT NULL, scope INTEGER NOT NULL) WITHOUT ROWID;"
	  "CREATE TABLE changes("
	  " seq INTEGER PRIMARY KEY, number INTEGER NOT NULL, op INTEGER NOT NULL,"
	  " key BLOB NOT NULL, enforce INTEGER NOT NULL, monitor INTEGER NOT NULL,"
	  " scope INTEGER NOT NULL);"
	  "CREATE TABLE revisions("
	  " number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, count INTEGER NOT NULL,"
	  " digest BLOB NOT NULL, log_last INTEGER NOT NULL);"
	  "CREATE TABLE held("
	  " id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL, shrink INTEGER NOT NULL,"
	  " why TEXT NOT NULL, since INTEGER NOT NULL, n INTEGER NOT NULL, UNIQUE(source, shrink));"
	  "CREATE TABLE allows("
	  " id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, created INTEGER NOT "
	  "NULL,"
	  " until INTEGER NOT NULL, due INTEGER NOT NULL, author TEXT NOT NULL,"
	  " reason TEXT NOT NULL);"
	  "CREATE TABLE protections("
	  " key BLOB PRIMARY KEY, reason TEXT NOT NULL, author TEXT NOT NULL,"
	  " created INTEGER NOT NULL) WITHOUT ROWID;"
	  "CREATE TABLE cursors("
	  " follower TEXT PRIMARY KEY, epoch INTEGER NOT NULL, number INTEGER NOT NULL) WITHOUT "
	  "ROWID;"
	  "CREATE TABLE notes("
	  " owner TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(owner, key))"
	  " WITHOUT ROWID;"
	  "CREATE TABLE audit("
	  " seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL,"
	  " action TEXT NOT NULL, object TEXT NOT NULL, detail TEXT NOT NULL, hash BLOB NOT NULL);"
	  "CREATE TRIGGER audit_update BEFORE UPDATE ON audit"
	  " BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;"
	  "CREATE TRIGGER audit_delete BEFORE DELETE ON audit"
	  " BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;"
	  "PRAGMA user_version = 2;"; // FORMAT_FIRST

// From the format of the index to the next.
static const char *const migrations[FORMAT] = {
	[2] = "CREATE TABLE told("
	      " source TEXT NOT NULL, ref TEXT NOT NULL, due INTEGER NOT NULL,"
	      " state TEXT NOT NULL, PRIMARY KEY(source, ref)) WITHOUT ROWID;"
	      "CREATE INDEX told_due ON told(due) WHERE due < 9223372036854775807;"
	      "PRAGMA user_version = 3;",
	[3] = "CREATE TABLE immunities("
	      " source INTEGER NOT NULL, ref TEXT NOT NULL, key BLOB NOT NULL,"
	      " created INTEGER NOT NULL, until INTEGER NOT NULL, author TEXT NOT NULL,"
	      " reason TEXT NOT NULL, PRIMARY KEY(source, ref, key)) WITHOUT ROWID;"
	      "CREATE INDEX immunities_key ON immunities(key);"
	      "PRAGMA user_version = 4;",
	// Entries by key, as lists are; they say what claims come to, without members of lists.
	[4]
	= "CREATE TABLE entries_new("
	  " key BLOB PRIMARY KEY, enforce INTEGER NOT NULL, monitor INTEGER NOT NULL,"
	  " scope INTEGER NOT NULL) WITHOUT ROWID;"
	  "INSERT INTO entries_new SELECT key, enforce, monitor, scope FROM entries ORDER BY key;"
	  "DROP TABLE entries;"
	  "ALTER TABLE entries_new RENAME TO entries;"
	  "CREATE TABLE bulk("
	  " seq INTEGER PRIMARY KEY, number INTEGER NOT NULL, batch INTEGER NOT NULL,"
	  " list INTEGER NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL);"
	  "PRAGMA user_version = 5;",
	// fleet: 0 as in the fleet's log, 1 local, 2 away. theirs_*: what the log says of one that
	// differs, where it is in force there.
	[5] = "ALTER TABLE claims ADD COLUMN fleet INTEGER NOT NULL DEFAULT 0;"
	      "ALTER TABLE claims ADD COLUMN theirs_action INTEGER;"
	      "ALTER TABLE claims ADD COLUMN theirs_until INTEGER;"
	      "CREATE INDEX claims_fleet ON claims(due) WHERE fleet <> 0;"
	      "ALTER TABLE allows ADD COLUMN fleet INTEGER NOT NULL DEFAULT 0;"
	      "ALTER TABLE protections ADD COLUMN fleet INTEGER NOT NULL DEFAULT 0;"
	      "CREATE TABLE fleet("
	      " one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL,"
	      " number INTEGER NOT NULL, mac BLOB NOT NULL, seen INTEGER NOT NULL,"
	      " leader TEXT NOT NULL, up TEXT NOT NULL, pause_until INTEGER NOT NULL,"
	      " resync TEXT NOT NULL, count INTEGER NOT NULL, digest BLOB NOT NULL,"
	      " end_number INTEGER NOT NULL, ask_last INTEGER NOT NULL,"
	      " adrift INTEGER NOT NULL);"
	      "INSERT INTO fleet VALUES (1, 0, 0, zeroblob(32), 0, '', '', 0, '', 0,"
	      " zeroblob(16), 0, 0, 1);"
	      "CREATE TABLE fleet_records("
	      " number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, kind INTEGER NOT NULL,"
	      " before_epoch INTEGER NOT NULL, before_mac BLOB NOT NULL, mac BLOB NOT NULL,"
	      " data BLOB NOT NULL);"
	      "CREATE TABLE fleet_asks("
	      " seq INTEGER PRIMARY KEY, object TEXT NOT NULL, key BLOB NOT NULL,"
	      " at INTEGER NOT NULL, ask TEXT NOT NULL);"
	      "CREATE INDEX fleet_asks_key ON fleet_asks(key);"
	      "CREATE TABLE fleet_asked("
	      " gateway TEXT NOT NULL, seq INTEGER NOT NULL, code INTEGER NOT NULL,"
	      " message TEXT NOT NULL, PRIMARY KEY(gateway, seq)) WITHOUT ROWID;"
	      "PRAGMA user_version = 6;",
};

#define FLEET_CLAIM                                                                                \
	"SELECT id, until, created, orphaned_since, held, action, state, author, inferred,"        \
	" reason, case_number, tlp, fleet, theirs_action, theirs_until,"                           \
	" CASE WHEN held IS NOT NULL THEN"                                                         \
	" (SELECT 1 + shrink FROM held h WHERE h.id = claims.held) END FROM claims"

static const char *const statements[STMT_N] = {
	[STMT_BEGIN] = "BEGIN IMMEDIATE",
	[STMT_COMMIT] = "COMMIT",
	[STMT_STATE_PUT]
	= "UPDATE state SET epoch=?1, number=?2, count=?3, digest=?4, claims=?5, "
	  "orphaned=?6,"
	  " held=?7, allows=?8, enforce=?9, monitor=?10, names=?11, log_last=?12,"
	  " log_tail=?13, pause_until=?14, audit_seq=?15, audit_hash=?16, wall=?17",
	[STMT_SOURCE_ADD] = "INSERT INTO sources(name, claims) VALUES (?1, 0)",
	[STMT_SOURCE_PUT] = "UPDATE sources SET claims=?2 WHERE id=?1",
	[STMT_CLAIM_FIND]
	= "SELECT id, until, created, orphaned_since, held, action, state, author, "
	  "inferred,"
	  " reason, case_number, tlp FROM claims WHERE source=?1 AND ref=?2 AND key=?3",
	[STMT_CLAIM_ADD]
	= "INSERT INTO claims(source, ref, key, action, state, created, until, due,"
	  " orphaned_since, held, tlp, author, inferred, reason, case_number)"
	  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, ?11, ?12, ?13, ?14)",
	[STMT_CLAIM_REPLACE]
	= "UPDATE claims SET action=?4, state=?5, created=?6, until=?7, due=?8,"
	  " orphaned_since=0, held=?9, tlp=?10, author=?11, inferred=?12, reason=?13,"
	  " case_number=?14 WHERE source=?1 AND ref=?2 AND key=?3",
	[STMT_CLAIM_END] = "DELETE FROM claims WHERE id=?1",
	[STMT_CLAIM_STATE]
	= "UPDATE claims SET state=?2, due=?3, orphaned_since=?4, held=NULL WHERE id=?1",
	[STMT_CLAIM_MOVE] = "UPDATE claims SET ref=?2 WHERE id=?1",
	// Claims of lists are suspended where an analyst said that it is harmless.
	[STMT_CLAIM_ENDS] = "SELECT action, max(until) FROM claims WHERE key=?1 AND state < 2"
			    " AND NOT (EXISTS (SELECT 1 FROM immunities WHERE key=?1)"
			    " AND source IN (SELECT id FROM sources WHERE name LIKE 'list:%'))"
			    " GROUP BY action",
	[STMT_IMMUNE] = "SELECT 1 FROM immunities WHERE key=?1 LIMIT 1",
	[STMT_ENTRY_FIND] = "SELECT enforce, monitor, scope FROM entries WHERE key=?1",
	[STMT_ENTRY_PUT]
	= "INSERT INTO entries(key, enforce, monitor, scope) VALUES (?1, ?2, ?3, 0)"
	  " ON CONFLICT(key) DO UPDATE SET enforce=?2, monitor=?3",
	[STMT_ENTRY_END] = "DELETE FROM entries WHERE key=?1",
	[STMT_BULK_ADD] = "INSERT INTO bulk(seq, number, batch, list, name, data)"
			  " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	// What the batch under way says is not in lists.db yet.
	[STMT_BULK_TRIM] = "DELETE FROM bulk WHERE seq <= ?1 AND batch < ?2",
	[STMT_CHANGE_ADD] = "INSERT INTO changes(seq, number, op, key, enforce, monitor, scope)"
			    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
	[STMT_CHANGE_TRIM] = "DELETE FROM changes WHERE seq <= ?1",
	[STMT_REVISION_ADD] = "INSERT INTO revisions(number, epoch, count, digest, log_last)"
			      " VALUES (?1, ?2, ?3, ?4, ?5)",
	[STMT_REVISION_FIND]
	= "SELECT epoch, count, digest, log_last FROM revisions WHERE number=?1",
	[STMT_REVISION_TRIM] = "DELETE FROM revisions WHERE number < ?1",
	[STMT_AUDIT_ADD] = "INSERT INTO audit(seq, at_ms, actor, action, object, detail, hash)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[STMT_HELD_FIND] = "SELECT id FROM held WHERE source=?1 AND shrink=?2",
	[STMT_HELD_ADD]
	= "INSERT INTO held(source, shrink, why, since, n) VALUES (?1, ?2, ?3, ?4, 0)",
	[STMT_HELD_COUNT] = "UPDATE held SET n = n + ?2 WHERE id=?1",
	[STMT_HELD_END] = "DELETE FROM held WHERE id=?1 AND n <= 0 RETURNING source, shrink",
	[STMT_DUE_CLAIMS]
	= "SELECT c.id, s.name, c.ref, c.key, c.action, c.state, c.until, c.created,"
	  " c.orphaned_since, c.held FROM claims c JOIN sources s ON s.id = c.source"
	  " WHERE c.due <= ?1 AND c.due < 9223372036854775807 ORDER BY c.due LIMIT ?2",
	[STMT_DUE_FIRST] = "SELECT min(due) FROM claims WHERE due < 9223372036854775807",
	// What the fleet's log says ends by the log; AWAY claims have no due.
	[STMT_DUE_LOCAL]
	= "SELECT c.id, s.name, c.ref, c.key, c.action, c.state, c.until, c.created,"
	  " c.orphaned_since, c.held FROM claims c INDEXED BY claims_fleet"
	  " JOIN sources s ON s.id = c.source"
	  " WHERE c.fleet <> 0 AND c.due <= ?1 AND c.due < 9223372036854775807"
	  " ORDER BY c.due LIMIT ?2",
	[STMT_DUE_FIRST_LOCAL] = "SELECT min(due) FROM claims INDEXED BY claims_fleet"
				 " WHERE fleet <> 0 AND due < 9223372036854775807",
	[STMT_FLEET_PUT]
	= "UPDATE fleet SET epoch=?1, number=?2, mac=?3, seen=?4, leader=?5, up=?6,"
	  " pause_until=?7, resync=?8, count=?9, digest=?10, end_number=?11, ask_last=?12,"
	  " adrift=?13",
	[STMT_FLEET_RECORD_ADD]
	= "INSERT INTO fleet_records(number, epoch, kind, before_epoch, before_mac, mac, data)"
	  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[STMT_FLEET_CLAIM] = FLEET_CLAIM " WHERE source=?1 AND ref=?2 AND key=?3",
	[STMT_FLEET_CLAIM_ROW] = FLEET_CLAIM " WHERE id=?1",
	[STMT_FLEET_CLAIM_PUT]
	= "INSERT INTO claims(source, ref, key, action, state, created, until, due,"
	  " orphaned_since, held, tlp, author, inferred, reason, case_number)"
	  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
	  " ON CONFLICT(source, ref, key) DO UPDATE SET action=?4, state=?5, created=?6,"
	  " until=?7, due=?8, orphaned_since=?9, held=?10, tlp=?11, author=?12, inferred=?13,"
	  " reason=?14, case_number=?15, fleet=0, theirs_action=NULL, theirs_until=NULL",
	[STMT_FLEET_THEIRS] = "UPDATE claims SET theirs_action=?2, theirs_until=?3 WHERE id=?1",
	// Before it is written here: what the log says stays known.
	[STMT_FLEET_LOCAL]
	= "UPDATE claims SET"
	  " theirs_action = CASE WHEN fleet <> 0 THEN theirs_action WHEN state < 2 THEN action END,"
	  " theirs_until = CASE WHEN fleet <> 0 THEN theirs_until WHEN state < 2 THEN until END,"
	  " fleet=?2 WHERE id=?1",
	[STMT_FLEET_AWAY]
	= "UPDATE claims SET state=3, fleet=2, due=9223372036854775807, held=NULL WHERE id=?1",
	[STMT_FLEET_ASK_ADD]
	= "INSERT INTO fleet_asks(seq, object, key, at, ask) VALUES (?1, ?2, ?3, ?4, ?5)",
	[STMT_FLEET_ASK_FIND] = "SELECT 1 FROM fleet_asks WHERE key=?1 AND object=?2 LIMIT 1",
};

int sql_errno(int rc, sqlite3 *db)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_IOERR:
		return db && sqlite3_system_errno(db) == ENOSPC ? -ENOSPC : -EIO;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EILSEQ;
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return -EACCES;
	}
	return -EINVAL;
}

int sql_run(struct ledger *l, sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);
	int r = sql_errno(rc, l->db);

	sqlite3_reset(stmt);
	if (r < 0)
		transaction_fail(l, r);
	return r;
}

int sql_exec(struct ledger *l, const char *sql)
{
	return sql_errno(sqlite3_exec(l->db, sql, NULL, NULL, NULL), l->db);
}

int sql_prepare(struct ledger *l, const char *sql, sqlite3_stmt **ret_stmt)
{
	return sql_errno(sqlite3_prepare_v2(l->db, sql, -1, ret_stmt, NULL), l->db);
}

// Preparing took a third of the way from a verdict to the commit. Of the thread that has the
// ledger; one that is in use is prepared once more.
#define KEPT_MAX 64
static _Thread_local struct kept {
	sqlite3_stmt *stmt; // NULL: free
	sqlite3 *db;
	uint64_t hash; // of its text
	bool busy;
} kept[KEPT_MAX];

static uint64_t sql_hash(const char *sql)
{
	static const uint8_t key[16];

	return siphash64(key, sql, strlen(sql));
}

int sql_kept(struct ledger *l, const char *sql, sqlite3_stmt **ret_stmt)
{
	uint64_t hash = sql_hash(sql);
	struct kept *room = NULL;
	int r;

	for (struct kept *k = kept; k < kept + KEPT_MAX; k++) {
		if (!k->stmt)
			room = k;
		else if (k->hash == hash && k->db == l->db && !k->busy && strcmp(sqlite3_sql(k->stmt), sql) == 0) {
			k->busy = true;
			*ret_stmt = k->stmt;
			return 0;
		}
	}
	r = sql_prepare(l, sql, ret_stmt);
	if (r == 0 && room)
		*room = (struct kept){*ret_stmt, l->db, hash, true};
	return r;
}

static void kept_drop(const sqlite3 *db)
{
	for (struct kept *k = kept; k < kept + KEPT_MAX; k++) {
		if (!k->stmt || k->db != db)
			continue;
		sqlite3_finalize(k->stmt);
		*k = (struct kept){0};
	}
}

// The key must live until the statement is reset.
void sql_bind_key(sqlite3_stmt *stmt, int at, const struct ledger_key *key)
{
	sqlite3_bind_blob(stmt, at, key->octets, key->len, SQLITE_STATIC);
}

void sql_bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
	sqlite3_bind_text(stmt, at, text ? text : "", -1, SQLITE_STATIC);
}

const char *sql_text(sqlite3_stmt *stmt, int column)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	return text ? (const char *)text : "";
}

int sql_indicator(sqlite3_stmt *stmt, int column, struct indicator *ret_indicator)
{
	const void *octets = sqlite3_column_blob(stmt, column);

	return key_unpack(octets, (size_t)sqlite3_column_bytes(stmt, column), ret_indicator);
}

void sql_finalize(sqlite3_stmt **stmt)
{
	for (struct kept *k = kept; *stmt && k < kept + KEPT_MAX; k++) {
		if (k->stmt != *stmt)
			continue;
		sqlite3_reset(k->stmt);
		sqlite3_clear_bindings(k->stmt);
		k->busy = false;
		return;
	}
	sqlite3_finalize(*stmt);
}

static int schema_version(struct ledger *l, int *ret_version)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(l, "PRAGMA user_version", &stmt);

	if (r < 0)
		return r;
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return sql_errno(sqlite3_errcode(l->db), l->db) ?: -EIO;
	*ret_version = sqlite3_column_int(stmt, 0);
	return 0;
}

// A new file is made with format 2. Each step is a transaction of its own: a crash leaves a format
// that is whole.
static int schema_make(struct ledger *l)
{
	int r = sql_exec(l, "BEGIN IMMEDIATE");

	if (r == 0)
		r = sql_exec(l, schema_sql);
	if (r == 0)
		r = sql_exec(
			l,
			"INSERT INTO state VALUES (1, randomblob(16), 1, 1, 0, zeroblob(16), 0, 0,"
			" 0, 0, 0, 0, 0, 0, 1, 0, 0, zeroblob(32), unixepoch());"
			"INSERT INTO revisions VALUES (1, 1, 0, zeroblob(16), 0);"
		);
	return r < 0 ? r : sql_exec(l, "COMMIT");
}

static int schema_create(struct ledger *l, char message[256])
{
	int version = 0, r;

	r = schema_version(l, &version);
	if (r < 0)
		return r;
	if (version != 0 && (version < FORMAT_FIRST || version > FORMAT)) {
		snprintf(
			message,
			256,
			"%s/ledger.db: written by a %s version (format %d, this one knows %d)",
			l->dir,
			version > FORMAT ? "newer" : "development",
			version,
			FORMAT
		);
		return -EPROTO;
	}
	if (version == 0) {
		r = schema_make(l);
		version = FORMAT_FIRST;
	}
	for (; r == 0 && version < FORMAT; version++) {
		r = sql_exec(l, "BEGIN IMMEDIATE");
		if (r == 0)
			r = sql_exec(l, migrations[version]);
		if (r == 0)
			r = sql_exec(l, "COMMIT");
	}
	return r;
}

int schema_open(struct ledger *l, char message[256])
{
	char path[4096];
	int r;

	snprintf(path, sizeof(path), "%s/ledger.db", l->dir);
	r = sql_errno(
		sqlite3_open_v2(
			path,
			&l->db,
			SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			NULL
		),
		NULL
	);
	if (r == 0) {
		sqlite3_extended_result_codes(l->db, 1);
		sqlite3_busy_timeout(l->db, 1000);
		// 64 MiB of pages: an index at a million claims is larger, its upper levels are
		// not.
		r = sql_exec(
			l,
			"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			"PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;"
			"PRAGMA journal_size_limit = 67108864;"
		);
	}
	if (r == 0)
		r = schema_create(l, message);
	for (int i = 0; r == 0 && i < STMT_N; i++)
		r = sql_errno(
			sqlite3_prepare_v3(
				l->db,
				statements[i],
				-1,
				SQLITE_PREPARE_PERSISTENT,
				&l->stmts[i],
				NULL
			),
			l->db
		);
	if (r < 0 && message[0] == '\0')
		snprintf(
			message,
			256,
			"%.128s: %s",
			path,
			l->db ? sqlite3_errmsg(l->db) : strerror(-r)
		);
	return r;
}

void schema_close(struct ledger *l)
{
	for (int i = 0; i < STMT_N; i++)
		sqlite3_finalize(l->stmts[i]);
	if (l->db)
		kept_drop(l->db);
	sqlite3_close(l->db);
}
