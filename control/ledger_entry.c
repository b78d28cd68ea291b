// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Entries are written once a transaction, when it is committed: a claim put and ended within two
// milliseconds changes nothing, and readers of entries see only committed revisions.

#include "control/ledger_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void entry_from_dirty(const struct dirty *d, int which, struct entry *entry)
{
	*entry = (struct entry){
		.indicator = d->indicator,
		.enforce_until = d->enforce[which],
		.monitor_until = d->monitor[which],
		.scope = SCOPE_ALL,
	};
}

struct dirty *
dirty_find(struct ledger *l, const struct indicator *indicator, const struct ledger_key *key)
{
	sqlite3_stmt *stmt = l->stmts[STMT_ENTRY_FIND];
	char text[INDICATOR_TEXT_MAX];
	struct dirty *d;
	int rc;

	HASH_FIND(hh, l->dirty, key->octets, key->len, d);
	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d) {
		transaction_fail(l, -ENOMEM);
		return NULL;
	}
	d->indicator = *indicator;
	d->key = *key;
	indicator_print(indicator, text);
	sql_bind_text(stmt, 1, text);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		d->had = d->has = true;
		d->enforce[0] = d->enforce[1] = sqlite3_column_int64(stmt, 0);
		d->monitor[0] = d->monitor[1] = sqlite3_column_int64(stmt, 1);
	} else if (rc != SQLITE_DONE) {
		transaction_fail(l, sql_errno(rc, l->db));
	}
	sqlite3_reset(stmt);
	HASH_ADD_KEYPTR(hh, l->dirty, d->key.octets, d->key.len, d);
	return d;
}

// Keeps the tallies while `d` turns from what it was into what it is.
static void dirty_count(struct ledger *l, const struct dirty *d, int by)
{
	struct tally *tally = &l->now.tally;

	if (!d->has)
		return;
	tally->entries += (uint64_t)by;
	if (d->enforce[1] != UNTIL_NONE)
		tally->enforce += (uint64_t)by;
	else
		tally->monitor += (uint64_t)by;
	if (d->indicator.kind == INDICATOR_NAME)
		tally->names += (uint64_t)by;
}

// A claim in force was added: an end can only become later.
void dirty_raise(struct ledger *l, struct dirty *d, enum claim_action action, int64_t until)
{
	int64_t *end = action == CLAIM_ENFORCE ? &d->enforce[1] : &d->monitor[1];

	dirty_count(l, d, -1);
	if (*end < until)
		*end = until;
	d->has = true;
	dirty_count(l, d, 1);
}

void dirty_recompute(struct ledger *l, struct dirty *d)
{
	sqlite3_stmt *stmt = l->stmts[STMT_CLAIM_ENDS];
	int rc;

	dirty_count(l, d, -1);
	d->has = false;
	d->enforce[1] = d->monitor[1] = UNTIL_NONE;
	sql_bind_key(stmt, 1, &d->key);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t until = sqlite3_column_int64(stmt, 1);

		d->has = true;
		if (sqlite3_column_int(stmt, 0) == CLAIM_ENFORCE)
			d->enforce[1] = until;
		else
			d->monitor[1] = until;
	}
	if (rc != SQLITE_DONE)
		transaction_fail(l, sql_errno(rc, l->db));
	sqlite3_reset(stmt);
	dirty_count(l, d, 1);
}

static bool dirty_changed(const struct dirty *d)
{
	return d->had != d->has || d->enforce[0] != d->enforce[1] || d->monitor[0] != d->monitor[1];
}

static void entry_write(struct ledger *l, const struct dirty *d)
{
	sqlite3_stmt *stmt = l->stmts[d->has ? STMT_ENTRY_PUT : STMT_ENTRY_END];
	char text[INDICATOR_TEXT_MAX];

	indicator_print(&d->indicator, text);
	sql_bind_text(stmt, 1, text);
	if (d->has) {
		sql_bind_key(stmt, 2, &d->key);
		sqlite3_bind_int64(stmt, 3, d->enforce[1]);
		sqlite3_bind_int64(stmt, 4, d->monitor[1]);
	}
	sql_run(l, stmt);
}

static void change_write(struct ledger *l, const struct dirty *d)
{
	sqlite3_stmt *stmt = l->stmts[STMT_CHANGE_ADD];

	sqlite3_bind_int64(stmt, 1, ++l->now.log_last);
	sqlite3_bind_int64(stmt, 2, (int64_t)l->now.revision.number);
	sqlite3_bind_int(stmt, 3, d->has ? CHANGE_PUT : CHANGE_REMOVE);
	sql_bind_key(stmt, 4, &d->key);
	sqlite3_bind_int64(stmt, 5, d->enforce[1]);
	sqlite3_bind_int64(stmt, 6, d->monitor[1]);
	sql_run(l, stmt);
}

static void revision_write(struct ledger *l)
{
	sqlite3_stmt *stmt = l->stmts[STMT_REVISION_ADD];
	uint8_t digest[16];

	digest_pack(l->now.digest, digest);
	sqlite3_bind_int64(stmt, 1, (int64_t)l->now.revision.number);
	sqlite3_bind_int64(stmt, 2, (int64_t)l->now.revision.epoch);
	sqlite3_bind_int64(stmt, 3, (int64_t)l->now.tally.entries);
	sqlite3_bind_blob(stmt, 4, digest, sizeof(digest), SQLITE_TRANSIENT);
	sqlite3_bind_int64(stmt, 5, l->now.log_last);
	sql_run(l, stmt);
}

// The newest change that leads to a revision; -1: not in the log.
static int64_t revision_last(struct ledger *l, int64_t number)
{
	sqlite3_stmt *stmt = l->stmts[STMT_REVISION_FIND];
	int64_t last = -1;

	sqlite3_bind_int64(stmt, 1, number);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		last = sqlite3_column_int64(stmt, 3);
	sqlite3_reset(stmt);
	return last;
}

// Whole revisions go from the tail. The tail's own row stays: it is where a follower may stand.
static void log_trim(struct ledger *l)
{
	int64_t tail = l->now.log_tail, cut = -1;

	while (tail < (int64_t)l->now.revision.number) {
		int64_t last = revision_last(l, tail);

		if (l->now.log_last - last <= (int64_t)l->conf.change_log_max)
			break;
		tail++;
		cut = revision_last(l, tail);
	}
	if (tail == l->now.log_tail)
		return;
	l->now.log_tail = tail;
	sqlite3_bind_int64(l->stmts[STMT_CHANGE_TRIM], 1, cut);
	sql_run(l, l->stmts[STMT_CHANGE_TRIM]);
	sqlite3_bind_int64(l->stmts[STMT_REVISION_TRIM], 1, tail);
	sql_run(l, l->stmts[STMT_REVISION_TRIM]);
}

bool entries_flush(struct ledger *l)
{
	struct dirty *d, *next;
	struct entry entry;
	bool changed = false;

	HASH_ITER(hh, l->dirty, d, next)
	{
		if (l->error)
			return false;
		if (!dirty_changed(d))
			continue;
		if (!changed)
			l->now.revision.number++;
		changed = true;
		if (d->had) {
			entry_from_dirty(d, 0, &entry);
			digest_remove(&l->now.digest, entry_hash(&entry));
		}
		if (d->has) {
			entry_from_dirty(d, 1, &entry);
			digest_add(&l->now.digest, entry_hash(&entry));
		}
		entry_write(l, d);
		change_write(l, d);
	}
	if (changed) {
		revision_write(l);
		log_trim(l);
	}
	return changed;
}

void dirty_free(struct ledger *l)
{
	struct dirty *d, *next;

	HASH_ITER(hh, l->dirty, d, next)
	{
		HASH_DEL(l->dirty, d);
		free(d);
	}
	l->dirty = NULL;
}
