// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Entries are written once a transaction, when it is committed: a claim put and ended within two
// milliseconds changes nothing, and readers of entries see only committed revisions.

#include "control/ledger_internal.h"
#include "control/lists_internal.h"

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
	entry_raise(entry, d->list[which]);
}

void entry_raise(struct entry *entry, uint8_t list_actions)
{
	if (list_actions & LIST_ENFORCE)
		entry->enforce_until = UNTIL_FOREVER;
	if (list_actions & LIST_MONITOR)
		entry->monitor_until = UNTIL_FOREVER;
}

static void tally_count(struct tally *tally, const struct entry *entry, int by)
{
	tally->entries += (uint64_t)by;
	if (entry->enforce_until != UNTIL_NONE)
		tally->enforce += (uint64_t)by;
	else
		tally->monitor += (uint64_t)by;
	if (entry->indicator.kind == INDICATOR_NAME)
		tally->names += (uint64_t)by;
}

void entry_count(struct ledger *l, const struct entry *entry, int by)
{
	if (entry->enforce_until == UNTIL_NONE && entry->monitor_until == UNTIL_NONE)
		return;
	tally_count(&l->now.tally, entry, by);
	if (by > 0)
		digest_add(&l->now.digest, entry_hash(entry));
	else
		digest_remove(&l->now.digest, entry_hash(entry));
}

// --- which keys claims and immunities may speak of

static void claimed_bits(const struct ledger_key *key, uint64_t bits[2])
{
	uint64_t hash = siphash64(dirty_hash_key, key->octets, key->len);

	bits[0] = hash % CLAIMED_BITS;
	bits[1] = (hash >> 32) % CLAIMED_BITS;
}

void claimed_note(struct ledger *l, const struct ledger_key *key)
{
	uint64_t bits[2];

	claimed_bits(key, bits);
	for (int i = 0; i < 2; i++)
		l->claimed[bits[i] / 8] |= (uint8_t)(1 << bits[i] % 8);
}

bool claimed_maybe(const struct ledger *l, const struct ledger_key *key)
{
	uint64_t bits[2];

	claimed_bits(key, bits);
	return (l->claimed[bits[0] / 8] >> bits[0] % 8 & 1)
		&& (l->claimed[bits[1] / 8] >> bits[1] % 8 & 1);
}

int claimed_load(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int rc,
		r = sql_prepare(
			l, "SELECT key FROM entries UNION ALL SELECT key FROM immunities", &stmt
		);

	if (r < 0)
		return r;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct ledger_key key;
		int len = sqlite3_column_bytes(stmt, 0);

		if (len > LEDGER_KEY_MAX)
			return -EILSEQ;
		key.len = (uint16_t)len;
		memcpy(key.octets, sqlite3_column_blob(stmt, 0), (size_t)len);
		claimed_note(l, &key);
	}
	return sql_errno(rc, l->db);
}

uint8_t lists_say(struct ledger *l, const struct indicator *n, const struct ledger_key *key)
{
	uint8_t actions = 0;
	int r;

	if (!l->lists || !lists_any(l->lists))
		return 0;
	r = lists_actions(l->lists, key, &actions);
	if (r < 0)
		transaction_fail(l, r);
	if (actions && claimed_maybe(l, key) && ledger_immune(l, n))
		actions = 0;
	return actions;
}

int claims_ends(struct ledger *l, const struct ledger_key *key, struct entry *ret_ends)
{
	sqlite3_stmt *stmt = l->stmts[STMT_ENTRY_FIND];
	int rc;

	sql_bind_key(stmt, 1, key);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		ret_ends->enforce_until = sqlite3_column_int64(stmt, 0);
		ret_ends->monitor_until = sqlite3_column_int64(stmt, 1);
	}
	sqlite3_reset(stmt);
	if (rc == SQLITE_DONE)
		return -ENOENT;
	return sql_errno(rc, l->db);
}

struct dirty *
dirty_find(struct ledger *l, const struct indicator *indicator, const struct ledger_key *key)
{
	struct entry ends;
	struct dirty *d;
	int r;

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
	r = claims_ends(l, key, &ends);
	if (r == 0) {
		d->had = d->has = true;
		d->enforce[0] = d->enforce[1] = ends.enforce_until;
		d->monitor[0] = d->monitor[1] = ends.monitor_until;
	} else if (r != -ENOENT) {
		transaction_fail(l, r);
	}
	d->list[0] = d->list[1] = lists_say(l, indicator, key);
	HASH_ADD_KEYPTR(hh, l->dirty, d->key.octets, d->key.len, d);
	return d;
}

static bool dirty_is(const struct dirty *d, int which)
{
	return (which ? d->has : d->had) || d->list[which];
}

bool dirty_has(const struct dirty *d)
{
	return dirty_is(d, 1);
}

// Keeps the tallies while `d` turns from what it was into what it is.
static void dirty_count(struct ledger *l, const struct dirty *d, int by)
{
	struct entry entry;

	if (!dirty_is(d, 1))
		return;
	entry_from_dirty(d, 1, &entry);
	tally_count(&l->now.tally, &entry, by);
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
	d->list[1] = lists_say(l, &d->indicator, &d->key);
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

// Does what followers see of it differ?
static bool dirty_changed(const struct dirty *d)
{
	struct entry was, is;

	entry_from_dirty(d, 0, &was);
	entry_from_dirty(d, 1, &is);
	return dirty_is(d, 0) != dirty_is(d, 1) || was.enforce_until != is.enforce_until
		|| was.monitor_until != is.monitor_until;
}

static void entry_write(struct ledger *l, const struct dirty *d)
{
	sqlite3_stmt *stmt = l->stmts[d->has ? STMT_ENTRY_PUT : STMT_ENTRY_END];

	if (d->had == d->has && d->enforce[0] == d->enforce[1] && d->monitor[0] == d->monitor[1])
		return;
	sql_bind_key(stmt, 1, &d->key);
	if (d->has) {
		claimed_note(l, &d->key);
		sqlite3_bind_int64(stmt, 2, d->enforce[1]);
		sqlite3_bind_int64(stmt, 3, d->monitor[1]);
	}
	sql_run(l, stmt);
}

static void change_write(struct ledger *l, const struct dirty *d)
{
	sqlite3_stmt *stmt = l->stmts[STMT_CHANGE_ADD];
	struct entry entry;

	entry_from_dirty(d, 1, &entry);
	sqlite3_bind_int64(stmt, 1, ++l->now.log_last);
	sqlite3_bind_int64(stmt, 2, (int64_t)l->now.revision.number);
	sqlite3_bind_int(stmt, 3, dirty_is(d, 1) ? CHANGE_PUT : CHANGE_REMOVE);
	sql_bind_key(stmt, 4, &d->key);
	sqlite3_bind_int64(stmt, 5, entry.enforce_until);
	sqlite3_bind_int64(stmt, 6, entry.monitor_until);
	sql_run(l, stmt);
}

void revision_write(struct ledger *l)
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
void log_trim(struct ledger *l)
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
	sqlite3_bind_int64(l->stmts[STMT_BULK_TRIM], 1, cut);
	sqlite3_bind_int64(
		l->stmts[STMT_BULK_TRIM], 2, l->bulk ? (int64_t)l->bulk->seq : INT64_MAX
	);
	sql_run(l, l->stmts[STMT_BULK_TRIM]);
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
		entry_write(l, d);
		if (!dirty_changed(d))
			continue;
		if (!changed)
			l->now.revision.number++;
		changed = true;
		if (dirty_is(d, 0)) {
			entry_from_dirty(d, 0, &entry);
			digest_remove(&l->now.digest, entry_hash(&entry));
		}
		if (dirty_is(d, 1)) {
			entry_from_dirty(d, 1, &entry);
			digest_add(&l->now.digest, entry_hash(&entry));
		}
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
