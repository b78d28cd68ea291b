// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Where a follower differs from the log: claims that are local (in force here only) or away (ended
// here only). Few, and each says what the log has: so the leader's list can be computed from ours.

#include "control/ledger_fleet_internal.h"
#include "control/lists_internal.h"

#include <errno.h>
#include <string.h>

#define OFTEN 256 // so many differences are looked at with each commit, more only
#define APART_MS 1000 // once in this time

bool fleet_follows(const struct ledger *l)
{
	return l->fleet && !l->now.fleet.leads && !l->fleet->applying;
}

static enum fleet_mark mark_of(struct ledger *l, int64_t id, struct claim *ret_theirs)
{
	scoped_stmt stmt = NULL;
	enum fleet_mark mark = FLEET_SAME;

	*ret_theirs = (struct claim){.state = CLAIM_HELD};
	if (sql_prepare(
		    l, "SELECT fleet, theirs_action, theirs_until FROM claims WHERE id=?1", &stmt
	    )
	    < 0)
		return mark;
	sqlite3_bind_int64(stmt, 1, id);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return mark;
	mark = (enum fleet_mark)sqlite3_column_int(stmt, 0);
	if (sqlite3_column_type(stmt, 2) != SQLITE_NULL) {
		ret_theirs->state = CLAIM_LIVE;
		ret_theirs->action = (enum claim_action)sqlite3_column_int(stmt, 1);
		ret_theirs->until = sqlite3_column_int64(stmt, 2);
	}
	return mark;
}

static void mark_set(struct ledger *l, int64_t id, enum fleet_mark mark)
{
	struct claim theirs;

	l->now.fleet.differ += mark_of(l, id, &theirs) == FLEET_SAME;
	sqlite3_bind_int64(l->stmts[STMT_FLEET_LOCAL], 1, id);
	sqlite3_bind_int(l->stmts[STMT_FLEET_LOCAL], 2, (int)mark);
	sql_run(l, l->stmts[STMT_FLEET_LOCAL]);
}

void fleet_mark_local(struct ledger *l, int64_t id)
{
	if (fleet_follows(l))
		mark_set(l, id, FLEET_LOCAL);
}

void fleet_mark_new(struct ledger *l, int64_t id)
{
	scoped_stmt stmt = NULL;

	if (!fleet_follows(l))
		return;
	if (sql_prepare(l, "UPDATE claims SET fleet=1 WHERE id=?1", &stmt) < 0) {
		transaction_fail(l, -ENOMEM);
		return;
	}
	sqlite3_bind_int64(stmt, 1, id);
	if (sql_run(l, stmt) == 0)
		l->now.fleet.differ++;
}

// The local claim's end has come: what the log says of it counts again.
static void local_expired(struct ledger *l, const struct claim_row *row, const struct claim *theirs)
{
	scoped_stmt stmt = NULL;
	struct source *source;
	struct indicator indicator;
	struct ledger_key key;
	struct dirty *d;
	int r = sql_prepare(
		l,
		"UPDATE claims SET state=0, action=?2, until=?3, due=?4, held=NULL, fleet=0,"
		" theirs_action=NULL, theirs_until=NULL WHERE id=?1 RETURNING source, key",
		&stmt
	);

	if (r < 0) {
		transaction_fail(l, r);
		return;
	}
	sqlite3_bind_int64(stmt, 1, row->id);
	sqlite3_bind_int(stmt, 2, theirs->action);
	sqlite3_bind_int64(stmt, 3, theirs->until);
	sqlite3_bind_int64(stmt, 4, deadline_due(l, theirs->until));
	if (sqlite3_step(stmt) != SQLITE_ROW || sql_indicator(stmt, 1, &indicator) < 0) {
		transaction_fail(l, -EILSEQ);
		return;
	}
	source = source_by_id(l, sqlite3_column_int64(stmt, 0));
	key_pack(&indicator, &key);
	d = dirty_find(l, &indicator, &key);
	if (d)
		dirty_recompute(l, d);
	claim_count(l, source, CLAIM_LIVE, 1);
	l->now.fleet.differ--;
}

void fleet_expiring(struct ledger *l, bool expiring)
{
	if (l->fleet)
		l->fleet->expiring = expiring;
}

bool fleet_mark_away(struct ledger *l, const struct claim_row *row)
{
	enum fleet_mark mark;
	struct claim theirs;

	if (!fleet_follows(l))
		return false;
	mark = mark_of(l, row->id, &theirs);
	if (mark == FLEET_LOCAL && theirs.state == CLAIM_HELD) {
		l->now.fleet.differ--;
		return false;
	}
	if (l->fleet->expiring) {
		local_expired(l, row, &theirs);
		return true;
	}
	mark_set(l, row->id, FLEET_AWAY);
	sqlite3_bind_int64(l->stmts[STMT_FLEET_AWAY], 1, row->id);
	sql_run(l, l->stmts[STMT_FLEET_AWAY]);
	return true;
}

// --- our list without the differences

static int theirs_read(
	struct ledger *l, sqlite3_stmt *stmt, const struct ledger_key *key, struct entry *theirs
)
{
	int rc;

	sql_bind_key(stmt, 1, key);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t until = sqlite3_column_int64(stmt, 1);

		if (sqlite3_column_int(stmt, 0) == CLAIM_ENFORCE)
			theirs->enforce_until = until;
		else
			theirs->monitor_until = until;
	}
	sqlite3_reset(stmt);
	return sql_errno(rc, l->db);
}

static bool entry_is(const struct entry *e)
{
	return e->enforce_until != UNTIL_NONE || e->monitor_until != UNTIL_NONE;
}

static int differ_one(
	struct ledger *l,
	sqlite3_stmt *theirs_stmt,
	const struct indicator *n,
	uint64_t *count,
	struct digest *digest
)
{
	struct entry ours = {.indicator = *n, .scope = SCOPE_ALL}, theirs = ours;
	struct ledger_key key;
	uint8_t lists;
	int r;

	key_pack(n, &key);
	r = claims_ends(l, &key, &ours);
	if (r == 0 || r == -ENOENT)
		r = theirs_read(l, theirs_stmt, &key, &theirs);
	if (r < 0)
		return r;
	lists = lists_say(l, n, &key);
	entry_raise(&ours, lists);
	entry_raise(&theirs, lists);
	if (entry_is(&ours)) {
		++*count;
		digest_add(digest, entry_hash(&ours));
	}
	if (entry_is(&theirs)) {
		--*count;
		digest_remove(digest, entry_hash(&theirs));
	}
	return 0;
}

int differ_compute(struct ledger *l, uint64_t *ret_count, struct digest *ret_digest)
{
	scoped_stmt keys = NULL;
	scoped_stmt theirs = NULL;
	struct digest digest = {0};
	uint64_t count = 0;
	int rc = SQLITE_DONE, r = 0;

	if (l->now.fleet.differ > 0)
		r = sql_prepare(l, "SELECT DISTINCT key FROM claims WHERE fleet <> 0", &keys);
	if (r == 0 && l->now.fleet.differ > 0)
		r = sql_prepare(
			l,
			"SELECT CASE fleet WHEN 0 THEN action ELSE theirs_action END AS does,"
			" max(CASE fleet WHEN 0 THEN until ELSE theirs_until END)"
			" FROM claims WHERE key=?1"
			" AND CASE fleet WHEN 0 THEN state < 2 ELSE theirs_until IS NOT NULL END"
			" AND NOT (EXISTS (SELECT 1 FROM immunities WHERE key=?1)"
			" AND source IN (SELECT id FROM sources WHERE name LIKE 'list:%'))"
			" GROUP BY does",
			&theirs
		);
	while (r == 0 && keys && (rc = sqlite3_step(keys)) == SQLITE_ROW) {
		struct indicator n;

		r = sql_indicator(keys, 0, &n);
		if (r == 0)
			r = differ_one(l, theirs, &n, &count, &digest);
	}
	if (r == 0 && rc != SQLITE_DONE)
		r = sql_errno(rc, l->db);
	if (r < 0)
		return r;
	*ret_count = count;
	*ret_digest = digest;
	return 0;
}

bool differ_equal(struct ledger *l, uint64_t count, struct digest digest)
{
	struct digest ours = l->now.digest, differ;
	uint64_t differ_count;

	if (differ_compute(l, &differ_count, &differ) < 0)
		return false;
	digest_remove(&ours, differ);
	return l->now.tally.entries - differ_count == count && digest_equal(ours, digest);
}

// As of the last commit; between the records of one commit, and while lists.db lags, as before.
static void differ_look(struct ledger *l)
{
	struct ledger_fleet *f = l->fleet;
	const struct fleet_now *now = &l->now.fleet;
	int64_t ms = clock_boot_ms(l);
	struct digest ours;

	if (l->open || f->differ_commits == f->commits || l->lists->behind)
		return;
	if (now->end_number && now->end_number != now->place.number)
		return;
	if (now->differ > OFTEN && ms - f->differ_ms < APART_MS && f->differ_ms)
		return;
	if (differ_compute(l, &f->differ_count, &f->differ_digest) < 0)
		return;
	ours = l->now.digest;
	digest_remove(&ours, f->differ_digest);
	f->equal = now->end_number && l->now.tally.entries - f->differ_count == now->end_count
		&& digest_equal(ours, now->end_digest);
	f->differ_commits = f->commits;
	f->differ_ms = ms;
}

static void marks_count(struct ledger *l, struct fleet_state *s)
{
	scoped_stmt stmt = NULL;

	if (l->now.fleet.differ == 0
	    || sql_prepare(
		       l,
		       "SELECT total(fleet = 1), total(fleet = 2) FROM claims WHERE fleet <> 0",
		       &stmt
	       ) < 0
	    || sqlite3_step(stmt) != SQLITE_ROW)
		return;
	s->local = (size_t)sqlite3_column_int64(stmt, 0);
	s->away = (size_t)sqlite3_column_int64(stmt, 1);
}

static void why_print(const struct ledger *l, struct fleet_state *s)
{
	if (l->now.fleet.resync[0])
		snprintf(s->why, sizeof(s->why), "%s", l->now.fleet.resync);
	else if (s->importing)
		snprintf(s->why, sizeof(s->why), "a checkpoint is taken over");
	else if (!s->known)
		snprintf(s->why, sizeof(s->why), "no record of the leader's was seen yet");
	else if (!s->equal)
		snprintf(
			s->why,
			sizeof(s->why),
			"%llu entries without the own differences, the leader has %llu%s",
			(unsigned long long)s->fleet_count,
			(unsigned long long)l->now.fleet.end_count,
			s->fleet_count == l->now.fleet.end_count ? " others" : ""
		);
}

void ledger_fleet_state(struct ledger *l, struct fleet_state *ret_state)
{
	const struct fleet_now *now = l->open ? &l->saved.fleet : &l->now.fleet;
	struct fleet_state s = {
		.place = now->place,
		.leads = l->now.fleet.leads,
		.known = now->end_number > 0,
		.resync = now->resync[0],
		.count = l->state.count,
		.digest = l->state.digest,
		.asks = now->asks,
		.first = now->first,
		.records = now->records,
		.octets = now->octets,
	};

	s.fleet_count = s.count;
	s.fleet_digest = s.digest;
	if (!l->fleet) {
		snprintf(s.why, sizeof(s.why), "no fleet");
		*ret_state = s;
		return;
	}
	differ_look(l);
	marks_count(l, &s);
	s.importing = l->fleet->import != NULL;
	s.equal = (s.leads || l->fleet->equal) && !s.resync;
	s.fleet_count -= l->fleet->differ_count;
	s.difference = l->fleet->differ_digest;
	digest_remove(&s.fleet_digest, s.difference);
	why_print(l, &s);
	*ret_state = s;
}
