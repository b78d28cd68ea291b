// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Held changes: two rows a source at most. Of growth, the claims wait in the table of claims in
// state HELD; of shrink, they stay there as they are, ORPHANED and in force. A row goes with its
// last claim.

#include "control/ledger_internal.h"
#include "control/lists_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_SLICE 100 // claims in one commit: two to three milliseconds of the loop
#define IN_PART "; in part: "

static void held_touch(struct ledger *l, const char *source, bool shrink)
{
	fleet_touch(l, ITEM_HELD, source, shrink ? "2" : "1", NULL, "ledger", "held", "");
}

int held_group(
	struct ledger *l, struct source *source, bool shrink, const char *why, int64_t *ret_id
)
{
	sqlite3_stmt *stmt = l->stmts[STMT_HELD_FIND];
	int rc;

	sqlite3_bind_int64(stmt, 1, source->id);
	sqlite3_bind_int(stmt, 2, shrink);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret_id = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	if (rc == SQLITE_ROW)
		return 0;
	stmt = l->stmts[STMT_HELD_ADD];
	sqlite3_bind_int64(stmt, 1, source->id);
	sqlite3_bind_int(stmt, 2, shrink);
	sql_bind_text(stmt, 3, why);
	sqlite3_bind_int64(stmt, 4, clock_wall(l));
	if (sql_run(l, stmt) < 0)
		return l->error;
	*ret_id = sqlite3_last_insert_rowid(l->db);
	held_touch(l, source->name, shrink);
	return 0;
}

void held_count(struct ledger *l, int64_t held_id, int by)
{
	const struct source *source;
	sqlite3_stmt *stmt;
	int rc;

	sqlite3_bind_int64(l->stmts[STMT_HELD_COUNT], 1, held_id);
	sqlite3_bind_int(l->stmts[STMT_HELD_COUNT], 2, by);
	sql_run(l, l->stmts[STMT_HELD_COUNT]);
	if (by > 0)
		return;
	stmt = l->stmts[STMT_HELD_END];
	sqlite3_bind_int64(stmt, 1, held_id);
	rc = sqlite3_step(stmt);
	source = rc == SQLITE_ROW ? source_by_id(l, sqlite3_column_int64(stmt, 0)) : NULL;
	if (source)
		held_touch(l, source->name, sqlite3_column_int(stmt, 1));
	if (sql_errno(rc, l->db) < 0)
		transaction_fail(l, sql_errno(rc, l->db));
	sqlite3_reset(stmt);
}

void held_keep(
	struct ledger *l,
	struct source *source,
	struct claim_row *row,
	const struct claim *claim,
	const char *why
)
{
	scoped_stmt stmt = NULL;
	char object[1024];
	int r;

	if (held_group(l, source, true, why, &row->held_id) < 0)
		return;
	r = sql_prepare(l, "UPDATE claims SET held=?2, due=?3 WHERE id=?1", &stmt);
	if (r < 0) {
		transaction_fail(l, r);
		return;
	}
	sqlite3_bind_int64(stmt, 1, row->id);
	sqlite3_bind_int64(stmt, 2, row->held_id);
	sqlite3_bind_int64(stmt, 3, deadline_due(l, row->until));
	if (sql_run(l, stmt) < 0)
		return;
	held_count(l, row->held_id, 1);
	claim_object(claim, object, sizeof(object));
	audit_add_cause(l, "ledger", "claim.hold", object, "cause", why);
	fleet_touch_claim(l, claim, "ledger", "claim.hold", why);
}

static int held_summary(struct ledger *l, int64_t id, int64_t n, char *text, size_t size)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(l, "SELECT key FROM claims WHERE held=?1 LIMIT 3", &stmt);
	size_t len;
	int named = 0;

	if (r < 0)
		return r;
	len = (size_t)snprintf(text, size, "%" PRId64 " claim%s: ", n, n == 1 ? "" : "s");
	sqlite3_bind_int64(stmt, 1, id);
	while (sqlite3_step(stmt) == SQLITE_ROW && len < size) {
		struct indicator indicator;
		char name[INDICATOR_TEXT_MAX];

		if (sql_indicator(stmt, 0, &indicator) < 0)
			return -EILSEQ;
		indicator_print(&indicator, name);
		len += (size_t)snprintf(text + len, size - len, "%s%s", named ? ", " : "", name);
		named++;
	}
	if (n > named && len < size)
		snprintf(text + len, size - len, " and %" PRId64 " more", n - named);
	return 0;
}

int ledger_held(struct ledger *l, held_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	int rc, r;

	r = sql_prepare(
		l,
		"SELECT h.id, s.name, h.why, h.since, h.n FROM held h"
		" JOIN sources s ON s.id = h.source ORDER BY h.id",
		&stmt
	);
	if (r < 0)
		return r;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		char summary[1024] = "";
		struct held held = {
			.id = sqlite3_column_int64(stmt, 0),
			.source = sql_text(stmt, 1),
			.why = sql_text(stmt, 2),
			.summary = summary,
			.since = sqlite3_column_int64(stmt, 3),
			.n_claims = (size_t)sqlite3_column_int64(stmt, 4),
		};

		if (strncmp(held.source, LIST_SOURCE, strlen(LIST_SOURCE)) == 0)
			snprintf(summary, sizeof(summary), "%zu members", held.n_claims);
		else
			r = held_summary(
				l, held.id, (int64_t)held.n_claims, summary, sizeof(summary)
			);
		if (r < 0)
			return r;
		if (!cb(ctx, &held))
			return 0;
	}
	return sql_errno(rc, l->db);
}

// --- of a list: a row without claims; what it would do is read again when it is approved

void ledger_list_held(struct ledger *l, const char *name, bool shrink, uint64_t n, const char *why)
{
	scoped_stmt stmt = NULL;
	struct source *source = n ? NULL : source_find(l, name);
	struct detail detail;
	int64_t id;
	int r;

	if ((n == 0 && !source) || transaction_begin(l) < 0)
		return;
	if (!source)
		source = source_get(l, name);
	if (!source)
		return;
	r = sql_prepare(
		l,
		n ? "INSERT INTO held(source, shrink, why, since, n) VALUES (?1, ?2, ?3, ?4, ?5)"
		    " ON CONFLICT(source, shrink) DO UPDATE SET why=?3, n=?5 RETURNING id"
		  : "DELETE FROM held WHERE source=?1 AND shrink=?2 RETURNING id",
		&stmt
	);
	if (r < 0) {
		transaction_fail(l, r);
		return;
	}
	sqlite3_bind_int64(stmt, 1, source->id);
	sqlite3_bind_int(stmt, 2, shrink);
	if (n) {
		sql_bind_text(stmt, 3, why);
		sqlite3_bind_int64(stmt, 4, clock_wall(l));
		sqlite3_bind_int64(stmt, 5, (int64_t)n);
	}
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return;
	id = sqlite3_column_int64(stmt, 0);
	detail_begin(&detail);
	detail_number(&detail, "held", id);
	detail_number(&detail, "members", (int64_t)n);
	detail_text(&detail, "why", n ? why : "the next reading says otherwise");
	audit_add(l, name, n ? "list.hold" : "list.release", name, detail_end(&detail));
	held_touch(l, name, shrink);
}

// On a follower a list's held change is the leader's to settle. True: it was a list's.
static bool list_settle_ask(
	struct ledger *l,
	int64_t id,
	bool approve,
	const struct actor *actor,
	ledger_done done,
	void *ctx
)
{
	scoped_stmt stmt = NULL;

	if (!fleet_follows(l)
	    || sql_prepare(
		       l,
		       "SELECT s.name, h.shrink FROM held h JOIN sources s ON s.id = h.source"
		       " WHERE h.id=?1 AND substr(s.name, 1, 5) = 'list:' AND NOT EXISTS"
		       " (SELECT 1 FROM claims WHERE held=?1)",
		       &stmt
	       ) < 0)
		return false;
	sqlite3_bind_int64(stmt, 1, id);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return false;
	fleet_ask_named(
		l,
		approve ? "held-approve" : "held-reject",
		sql_text(stmt, 0),
		sqlite3_column_int(stmt, 1) ? "2" : "1",
		actor
	);
	pending_done(l, done, ctx, 0, "the leader is asked: it reads the list");
	return true;
}

// True: it was a list's, and is settled.
static bool list_settle(
	struct ledger *l,
	int64_t id,
	bool approve,
	const struct actor *actor,
	ledger_done done,
	void *ctx
)
{
	scoped_stmt stmt = NULL;
	char name[LIST_NAME_MAX + 1] = "", object[64];
	bool shrink;

	if (sql_prepare(
		    l,
		    "DELETE FROM held WHERE id=?1 AND source IN (SELECT id FROM sources WHERE"
		    " substr(name, 1, 5) = 'list:') AND NOT EXISTS"
		    " (SELECT 1 FROM claims WHERE held=?1)"
		    " RETURNING (SELECT name FROM sources s WHERE s.id = source), shrink",
		    &stmt
	    ) < 0
	    || transaction_begin(l) < 0)
		return false;
	sqlite3_bind_int64(stmt, 1, id);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return false;
	snprintf(name, sizeof(name), "%s", sql_text(stmt, 0) + strlen(LIST_SOURCE));
	shrink = sqlite3_column_int(stmt, 1);
	snprintf(object, sizeof(object), "held %" PRId64 " " LIST_SOURCE "%.40s", id, name);
	audit_add_cause(
		l,
		actor->name,
		approve ? "held.approve" : "held.reject",
		object,
		"reason",
		actor->reason
	);
	snprintf(object, sizeof(object), LIST_SOURCE "%s", name);
	held_touch(l, object, shrink);
	pending_done(
		l,
		done,
		ctx,
		0,
		approve ? "the list is read again, and so many changes pass"
			: "the list stays as it is"
	);
	lists_held_settled(l->lists, name, shrink, approve);
	return true;
}

struct held_claim {
	struct claim claim;
	struct claim_row row;
	struct source *source;
	char *ref;
};

// A held change being approved or rejected, in slices of one commit each: a crash between two of
// them leaves what is settled settled and the rest held, and the change says so.
struct settling {
	LIST_ENTRY(settling) link;
	struct ledger *ledger;
	int64_t id; // of the change
	int64_t after, last; // ids of claims: settled up to here; there when it began
	bool approve;
	// Claims: there when it began, looked at, of these committed, in force.
	long n, settled, committed, taken;
	char why[512]; // the change's own
	char source[128];
	bool shrink;
	struct actor actor;
	char *actor_name, *actor_reason;
	ledger_done done;
	void *ctx;
};

static void settling_free(struct settling *s)
{
	LIST_REMOVE(s, link);
	free(s->actor_name);
	free(s->actor_reason);
	free(s);
}

void held_fini(struct ledger *l)
{
	while (!LIST_EMPTY(&l->settlings))
		settling_free(LIST_FIRST(&l->settlings));
}

static void held_claims_free(struct held_claim *claims, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(claims[i].ref);
	free(claims);
}

static int claim_read(struct ledger *l, sqlite3_stmt *stmt, int64_t id, struct held_claim *c)
{
	*c = (struct held_claim){0};
	c->row.id = sqlite3_column_int64(stmt, 0);
	c->source = source_by_id(l, sqlite3_column_int64(stmt, 1));
	c->ref = strdup(sql_text(stmt, 2));
	if (!c->ref)
		return -ENOMEM;
	c->claim.source = c->source ? c->source->name : "";
	c->claim.ref = c->ref;
	c->row.held_id = id;
	c->row.action = (enum claim_action)sqlite3_column_int(stmt, 4);
	c->row.until = sqlite3_column_int64(stmt, 5);
	c->row.state = (enum claim_state)sqlite3_column_int(stmt, 6);
	c->row.orphaned_since = sqlite3_column_int64(stmt, 7);
	if (sql_indicator(stmt, 3, &c->claim.indicator) == 0)
		return 0;
	free(c->ref);
	return -EILSEQ;
}

// The next claims of the change, read before any of them is written.
static long slice_read(struct settling *s, struct held_claim **ret_claims)
{
	struct held_claim *claims = calloc(SETTLE_SLICE, sizeof(*claims));
	scoped_stmt stmt = NULL;
	long n = 0;
	int r;

	if (!claims)
		return -ENOMEM;
	r = sql_prepare(
		s->ledger,
		"SELECT id, source, ref, key, action, until, state, orphaned_since FROM claims"
		" WHERE held=?1 AND id > ?2"
		" AND id <= ?3 ORDER BY id LIMIT ?4",
		&stmt
	);
	if (r == 0) {
		sqlite3_bind_int64(stmt, 1, s->id);
		sqlite3_bind_int64(stmt, 2, s->after);
		sqlite3_bind_int64(stmt, 3, s->last);
		sqlite3_bind_int64(stmt, 4, SETTLE_SLICE);
	}
	while (r == 0 && sqlite3_step(stmt) == SQLITE_ROW) {
		s->after = sqlite3_column_int64(stmt, 0);
		r = claim_read(s->ledger, stmt, s->id, &claims[n]);
		if (r == 0)
			n++;
		else if (r == -EILSEQ)
			r = 0;
	}
	if (r < 0) {
		held_claims_free(claims, (size_t)n);
		return r;
	}
	*ret_claims = claims;
	return n;
}

// What the change says while the rest of it waits: after a crash, for good.
static void rest_note(struct settling *s)
{
	scoped_stmt stmt = NULL;
	char why[640];
	int r = sql_prepare(s->ledger, "UPDATE held SET why=?2 WHERE id=?1", &stmt);

	if (r < 0) {
		transaction_fail(s->ledger, r);
		return;
	}
	snprintf(
		why,
		sizeof(why),
		"%s" IN_PART "%s %ld of %ld claims",
		s->why,
		s->approve ? "approved" : "rejected",
		s->settled,
		s->n
	);
	sqlite3_bind_int64(stmt, 1, s->id);
	sql_bind_text(stmt, 2, why);
	sql_run(s->ledger, stmt);
	held_touch(s->ledger, s->source, s->shrink);
}

// Protections and capacity are judged again: they may have changed since.
static bool claim_approve(struct ledger *l, struct held_claim *c, const struct actor *actor)
{
	char message[192] = "", object[1024];
	enum submit_code code;
	struct ledger_key key;
	struct dirty *d;

	key_pack(&c->claim.indicator, &key);
	code = claim_judge_again(l, &c->claim.indicator, &key, message);
	if (code != SUBMIT_OK && code != SUBMIT_EXCEPTED) {
		claim_end(l, c->source, &c->claim, &c->row, actor->name, "claim.refuse", message);
		return false;
	}
	claim_state_set(l, c->source, &c->row, CLAIM_LIVE, deadline_due(l, c->row.until), 0);
	held_count(l, c->row.held_id, -1);
	d = dirty_find(l, &c->claim.indicator, &key);
	if (!d)
		return false;
	// It may be of a list, and an analyst have said since that it is harmless.
	dirty_recompute(l, d);
	claim_object(&c->claim, object, sizeof(object));
	audit_add_cause(l, actor->name, "claim.approve", object, "reason", actor->reason);
	fleet_touch_claim(l, &c->claim, actor->name, "claim.approve", actor->reason);
	return true;
}

static void settle_step(struct settling *s);

static void settled_message(const struct settling *s, char message[192])
{
	if (s->taken == s->n)
		snprintf(message, 192, "%ld claims are in force", s->n);
	else
		snprintf(
			message,
			192,
			"%ld of %ld claims are in force; the others are not, see stanch audit",
			s->taken,
			s->n
		);
}

// A slice is committed, or it is not: then it is as before it.
static void slice_done(void *ctx, int error, const char *text)
{
	struct settling *s = ctx;
	struct ledger *l = s->ledger;
	char message[192];
	bool ended = s->after >= s->last;

	if (!error && !ended) {
		if (!l->closing)
			settle_step(s);
		return;
	}
	snprintf(message, sizeof(message), "%s", text);
	if (!error)
		settled_message(s, message);
	else if (s->committed)
		snprintf(
			message,
			sizeof(message),
			"only %ld of %ld claims are %s, the rest is still held: %.80s",
			s->committed,
			s->n,
			s->approve ? "approved" : "rejected",
			text
		);
	s->done(s->ctx, error, message);
	settling_free(s);
}

// Its source does not show it any more, and a brake kept it from ending with its grace.
static bool orphan_settle(struct settling *s, struct held_claim *c)
{
	struct ledger *l = s->ledger;
	int64_t due = deadline_due(l, c->row.until), grace = ledger_time(l) + l->conf.orphan_grace;
	char object[1024];

	if (s->approve) {
		claim_end(
			l,
			c->source,
			&c->claim,
			&c->row,
			s->actor.name,
			"claim.end",
			s->actor.reason
		);
		return false;
	}
	claim_state_set(
		l,
		c->source,
		&c->row,
		CLAIM_ORPHANED,
		due < grace ? due : grace,
		c->row.orphaned_since
	);
	held_count(l, c->row.held_id, -1);
	claim_object(&c->claim, object, sizeof(object));
	audit_add_cause(l, s->actor.name, "claim.keep", object, "reason", s->actor.reason);
	fleet_touch_claim(l, &c->claim, s->actor.name, "claim.keep", s->actor.reason);
	return true;
}

static void settle_one(struct settling *s, struct held_claim *c)
{
	if (c->row.state == CLAIM_ORPHANED)
		s->taken += orphan_settle(s, c);
	else if (s->approve)
		s->taken += claim_approve(s->ledger, c, &s->actor);
	else
		claim_end(
			s->ledger,
			c->source,
			&c->claim,
			&c->row,
			s->actor.name,
			"claim.reject",
			s->actor.reason
		);
	s->settled++;
}

static void settle_audit(struct settling *s, bool begins)
{
	struct detail detail;
	char object[32];

	snprintf(object, sizeof(object), "held %" PRId64, s->id);
	detail_begin(&detail);
	detail_text(&detail, "reason", s->actor.reason);
	detail_number(&detail, "claims", s->n);
	if (!begins && s->approve)
		detail_number(&detail, "in_force", s->taken);
	audit_add(
		s->ledger,
		s->actor.name,
		begins		     ? "held.begin"
			: s->approve ? "held.approve"
				     : "held.reject",
		object,
		detail_end(&detail)
	);
}

static void settle_step(struct settling *s)
{
	struct ledger *l = s->ledger;
	struct held_claim *claims = NULL;
	bool first = s->settled == 0;
	long n;

	s->committed = s->settled;
	transaction_begin(l);
	n = slice_read(s, &claims);
	if (n < 0)
		transaction_fail(l, (int)n);
	for (long i = 0; i < n && !l->error; i++)
		settle_one(s, &claims[i]);
	held_claims_free(claims, n > 0 ? (size_t)n : 0);
	if (n < SETTLE_SLICE)
		s->after = s->last;
	if (s->after < s->last) {
		if (first)
			settle_audit(s, true);
		rest_note(s);
	} else {
		settle_audit(s, false);
	}
	l->n_open += n > 0 ? (size_t)n : 0;
	pending_done(l, slice_done, s, 0, "");
}

// How many claims the change has, the newest, and why it is held. -ENOENT: no such change.
static int settling_read(struct settling *s)
{
	scoped_stmt stmt = NULL;
	char *part;
	int r = sql_prepare(
		s->ledger,
		"SELECT h.why, count(*), max(c.id), s.name, h.shrink FROM held h"
		" JOIN claims c ON c.held = h.id JOIN sources s ON s.id = h.source"
		" WHERE h.id=?1 GROUP BY h.id",
		&stmt
	);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, s->id);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return -ENOENT;
	snprintf(s->why, sizeof(s->why), "%s", sql_text(stmt, 0));
	s->n = (long)sqlite3_column_int64(stmt, 1);
	s->last = sqlite3_column_int64(stmt, 2);
	snprintf(s->source, sizeof(s->source), "%s", sql_text(stmt, 3));
	s->shrink = sqlite3_column_int(stmt, 4);
	part = strstr(s->why, IN_PART); // of an earlier time
	if (part)
		*part = '\0';
	return 0;
}

static void held_settle(
	struct ledger *l,
	int64_t id,
	bool approve,
	const struct actor *actor,
	ledger_done done,
	void *ctx
)
{
	struct settling *s;
	char message[192] = "";
	int r = -ENOMEM;

	if (list_settle_ask(l, id, approve, actor, done, ctx)
	    || list_settle(l, id, approve, actor, done, ctx))
		return;
	s = calloc(1, sizeof(*s));
	if (!s) {
		pending_done(l, done, ctx, r, message);
		return;
	}
	*s = (struct settling){
		.ledger = l,
		.id = id,
		.approve = approve,
		.actor_name = strdup(actor->name),
		.actor_reason = strdup(actor->reason ? actor->reason : ""),
		.done = done,
		.ctx = ctx,
	};
	s->actor = (struct actor){.name = s->actor_name, .reason = s->actor_reason};
	LIST_INSERT_HEAD(&l->settlings, s, link);
	if (s->actor_name && s->actor_reason)
		r = settling_read(s);
	if (r == 0) {
		fleet_ask_named(
			l,
			approve ? "held-approve" : "held-reject",
			s->source,
			s->shrink ? "2" : "1",
			actor
		);
		settle_step(s);
		return;
	}
	if (r == -ENOENT)
		snprintf(
			message, sizeof(message), "no held change %" PRId64 ": see stanch held", id
		);
	settling_free(s);
	pending_done(l, done, ctx, r, message);
}

void ledger_held_approve(
	struct ledger *l, int64_t id, const struct actor *actor, ledger_done done, void *ctx
)
{
	held_settle(l, id, true, actor, done, ctx);
}

void ledger_held_reject(
	struct ledger *l, int64_t id, const struct actor *actor, ledger_done done, void *ctx
)
{
	held_settle(l, id, false, actor, done, ctx);
}
