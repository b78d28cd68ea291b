// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Items into a follower's ledger: what the leader has decided is not judged again. What operators
// did here and the leader has not answered yet stays as it is; what the log says of it is noted.

#include "control/ledger_fleet_internal.h"
#include "rules/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// What stands under an item's key.
struct there {
	struct claim_row row;
	bool found, same;
	enum fleet_mark mark;
};

static void item_audit(struct ledger *l, const struct fleet_item *i, const char *as)
{
	struct detail detail;
	char object[1024], actor[256], until[24], name[INDICATOR_TEXT_MAX] = "";

	if (i->kind == ITEM_CLAIM || i->kind == ITEM_IMMUNITY)
		claim_object(&i->claim, object, sizeof(object));
	else if (i->kind == ITEM_HELD)
		snprintf(object, sizeof(object), "%s", i->claim.source);
	else if (i->kind != ITEM_PAUSE)
		indicator_print(&i->claim.indicator, name);
	if (i->kind != ITEM_CLAIM && i->kind != ITEM_IMMUNITY && i->kind != ITEM_HELD)
		snprintf(object, sizeof(object), "%s", i->kind == ITEM_PAUSE ? "fleet" : name);
	snprintf(actor, sizeof(actor), "fleet: %.240s", i->actor);
	detail_begin(&detail);
	if (!i->gone) {
		until_print(i->claim.until, until);
		if (i->kind == ITEM_CLAIM && i->claim.action == CLAIM_MONITOR)
			detail_text(&detail, "action", "monitor");
		detail_text(&detail, "until", until);
		detail_text(&detail, "case", i->claim.case_number);
		detail_text(&detail, "author", i->claim.author);
		detail_text(&detail, "reason", i->claim.reason);
	}
	detail_text(&detail, "cause", i->why);
	audit_add(l, actor, *i->as ? i->as : as, object, detail_end(&detail));
}

// --- claims

static void
there_find(struct ledger *l, const struct source *s, const struct fleet_item *i, struct there *t)
{
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_CLAIM];
	const struct claim *c = &i->claim;
	int rc;

	*t = (struct there){0};
	sqlite3_bind_int64(stmt, 1, s->id);
	sql_bind_text(stmt, 2, c->ref);
	sql_bind_key(stmt, 3, &i->key);
	rc = sqlite3_step(stmt);
	t->found = rc == SQLITE_ROW;
	if (t->found) {
		t->row = claim_row_read(stmt);
		t->mark = (enum fleet_mark)sqlite3_column_int(stmt, 12);
		t->same = t->mark == FLEET_SAME && claim_row_says(stmt, c)
			&& t->row.created == c->created && t->row.state == c->state
			&& t->row.orphaned_since == c->orphaned_since
			&& sqlite3_column_int(stmt, 15) == i->held;
	} else if (rc != SQLITE_DONE) {
		transaction_fail(l, sql_errno(rc, l->db));
	}
	sqlite3_reset(stmt);
}

// What the log says of a claim that stays otherwise here; NULL: it does not have it in force.
static void theirs_set(struct ledger *l, int64_t id, const struct claim *theirs)
{
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_THEIRS];

	sqlite3_bind_int64(stmt, 1, id);
	if (theirs && theirs->state < CLAIM_HELD) {
		sqlite3_bind_int(stmt, 2, theirs->action);
		sqlite3_bind_int64(stmt, 3, theirs->until);
	} else {
		sqlite3_bind_null(stmt, 2);
		sqlite3_bind_null(stmt, 3);
	}
	sql_run(l, stmt);
}

// Orphans have a grace, but for those that a brake holds. For the day this gateway leads.
static int64_t item_due(struct ledger *l, const struct fleet_item *i)
{
	int64_t due = deadline_due(l, i->claim.until), grace;

	if (i->claim.state != CLAIM_ORPHANED || i->held)
		return due;
	grace = deadline_due(l, i->claim.orphaned_since + l->conf.orphan_grace);
	return due < grace ? due : grace;
}

static int
claim_write(struct ledger *l, const struct source *s, const struct fleet_item *i, int64_t held)
{
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_CLAIM_PUT];
	const struct claim *c = &i->claim;

	sqlite3_bind_int64(stmt, 1, s->id);
	sql_bind_text(stmt, 2, c->ref);
	sql_bind_key(stmt, 3, &i->key);
	sqlite3_bind_int(stmt, 4, c->action);
	sqlite3_bind_int(stmt, 5, c->state);
	sqlite3_bind_int64(stmt, 6, c->created);
	sqlite3_bind_int64(stmt, 7, c->until);
	sqlite3_bind_int64(stmt, 8, item_due(l, i));
	sqlite3_bind_int64(stmt, 9, c->orphaned_since);
	if (held)
		sqlite3_bind_int64(stmt, 10, held);
	else
		sqlite3_bind_null(stmt, 10);
	sqlite3_bind_int(stmt, 11, c->tlp);
	sql_bind_text(stmt, 12, c->author);
	sqlite3_bind_int(stmt, 13, c->author_inferred);
	sql_bind_text(stmt, 14, c->reason);
	sql_bind_text(stmt, 15, c->case_number);
	return sql_run(l, stmt);
}

// Ours stays: an ask is on its way, or the leader holds what is in force here.
static bool ours_stays(struct ledger *l, const struct fleet_item *i, const struct there *t)
{
	if (t->mark == FLEET_SAME)
		return false;
	if (t->mark == FLEET_LOCAL && t->row.state < CLAIM_HELD && !i->gone
	    && i->claim.state == CLAIM_HELD)
		return true;
	return ask_outstanding(l, i);
}

static void claim_put(struct ledger *l, struct source *s, const struct fleet_item *i)
{
	struct there t;
	struct dirty *d;
	int64_t held = 0;

	there_find(l, s, i, &t);
	if (l->error || t.same)
		return;
	if (t.found && ours_stays(l, i, &t)) {
		theirs_set(l, t.row.id, &i->claim);
		return;
	}
	if ((i->held || i->claim.state == CLAIM_HELD)
	    && held_group(l, s, i->held == 2, i->why, &held) < 0)
		return;
	// How things stand before it, lists included.
	d = dirty_find(l, &i->claim.indicator, &i->key);
	if (!d || claim_write(l, s, i, held) < 0)
		return;
	if (held)
		held_count(l, held, 1);
	if (t.found) {
		claim_count(l, s, t.row.state, -1);
		if (t.row.held_id)
			held_count(l, t.row.held_id, -1);
		l->now.fleet.differ -= t.mark != FLEET_SAME;
	}
	claim_count(l, s, i->claim.state, 1);
	dirty_recompute(l, d);
	item_audit(l, i, "claim.put");
}

static void claim_gone(struct ledger *l, struct source *s, const struct fleet_item *i)
{
	char actor[256];
	struct there t;

	there_find(l, s, i, &t);
	if (l->error || !t.found)
		return;
	if (ours_stays(l, i, &t)) {
		theirs_set(l, t.row.id, NULL);
		return;
	}
	snprintf(actor, sizeof(actor), "fleet: %.240s", i->actor);
	l->now.fleet.differ -= t.mark != FLEET_SAME;
	claim_end(l, s, &i->claim, &t.row, actor, *i->as ? i->as : "claim.end", i->why);
}

// --- the rest

static void allow_item(struct ledger *l, const struct fleet_item *i)
{
	const struct allow allow = {
		.indicator = i->claim.indicator,
		.created = i->claim.created,
		.until = i->claim.until,
		.author = i->claim.author,
		.reason = i->claim.reason,
	};
	char actor[256], message[192];

	if (ask_outstanding(l, i))
		return;
	snprintf(actor, sizeof(actor), "fleet: %.240s", i->actor);
	if (i->gone) {
		allow_end(
			l,
			&allow.indicator,
			&(struct actor){.name = actor, .reason = i->why},
			*i->as ? i->as : "allow.end",
			message
		);
		return;
	}
	// Its end has come here already, or the record is old.
	if (allow.until <= clock_wall(l))
		return;
	allow_write(l, &allow, false);
	item_audit(l, i, "allow");
}

static void protection_item(struct ledger *l, const struct fleet_item *i)
{
	char actor[256], message[192];

	if (ask_outstanding(l, i))
		return;
	snprintf(actor, sizeof(actor), "fleet: %.240s", i->actor);
	if (i->gone) {
		protection_end(
			l,
			&i->claim.indicator,
			&(struct actor){.name = actor, .reason = i->why},
			message
		);
		return;
	}
	protection_write(
		l, &i->claim.indicator, i->claim.reason, i->claim.author, i->claim.created, false
	);
	item_audit(l, i, "protect");
}

static void immunity_item(struct ledger *l, struct source *s, const struct fleet_item *i)
{
	const struct immunity immunity = {
		.source = s->name,
		.ref = i->claim.ref,
		.indicator = i->claim.indicator,
		.created = i->claim.created,
		.until = i->claim.until,
		.author = i->claim.author,
		.reason = i->claim.reason,
	};
	char actor[256];

	if (!i->gone) {
		immunity_write(l, s, &immunity);
		item_audit(l, i, "immunity.put");
		return;
	}
	snprintf(actor, sizeof(actor), "fleet: %.240s", i->actor);
	ledger_immunity_end(l, s->name, immunity.ref, &immunity.indicator, actor, i->why);
}

// Of claims that are held the count is ours: they come by themselves.
static void held_item(struct ledger *l, struct source *s, const struct fleet_item *i)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(
		l,
		i->gone ? "DELETE FROM held WHERE source=?1 AND shrink=?2 AND NOT EXISTS"
			  " (SELECT 1 FROM claims WHERE held = held.id)"
			: "INSERT INTO held(source, shrink, why, since, n)"
			  " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT(source, shrink)"
			  " DO UPDATE SET why=?3, since=?4, n = CASE ?5 WHEN 0 THEN n ELSE ?5 END",
		&stmt
	);

	if (r < 0) {
		transaction_fail(l, r);
		return;
	}
	sqlite3_bind_int64(stmt, 1, s->id);
	sqlite3_bind_int(stmt, 2, i->held == 2);
	if (!i->gone) {
		sql_bind_text(stmt, 3, i->claim.reason);
		sqlite3_bind_int64(stmt, 4, i->claim.created);
		sqlite3_bind_int64(stmt, 5, i->n);
	}
	if (sql_run(l, stmt) == 0 && sqlite3_changes(l->db) > 0)
		item_audit(l, i, "held");
}

static void pause_item(struct ledger *l, const struct fleet_item *i)
{
	int64_t until = i->claim.until > clock_wall(l) ? i->claim.until : 0;

	if (until == l->now.fleet.pause_until || until == UNTIL_FOREVER || ask_outstanding(l, i))
		return;
	pause_fleet_set(l, until);
	item_audit(l, i, "pause");
}

// Kept by all: any gateway may be the next leader, and must not do it again.
static void asked_item(struct ledger *l, const struct fleet_item *i)
{
	scoped_stmt put = NULL;
	scoped_stmt trim = NULL;
	int r = sql_prepare(l, "INSERT OR REPLACE INTO fleet_asked VALUES (?1, ?2, ?3, ?4)", &put);

	if (r == 0)
		r = sql_prepare(l, "DELETE FROM fleet_asked WHERE gateway=?1 AND seq < ?2", &trim);
	if (r < 0) {
		transaction_fail(l, r);
		return;
	}
	sql_bind_text(put, 1, i->claim.source);
	sqlite3_bind_int64(put, 2, (int64_t)i->seq);
	sqlite3_bind_int(put, 3, i->code);
	sql_bind_text(put, 4, i->claim.reason);
	sql_run(l, put);
	sql_bind_text(trim, 1, i->claim.source);
	sqlite3_bind_int64(trim, 2, (int64_t)i->oldest);
	sql_run(l, trim);
	if (l->fleet && strcmp(i->claim.source, l->fleet->gateway) == 0)
		ask_settled(l, i->seq);
}

void item_put(struct ledger *l, const struct fleet_item *i)
{
	bool sourced = i->kind == ITEM_CLAIM || i->kind == ITEM_IMMUNITY || i->kind == ITEM_HELD;
	struct source *s = NULL;

	if (sourced) {
		s = i->gone ? source_find(l, i->claim.source) : source_get(l, i->claim.source);
		if (!s)
			return;
	}
	switch (i->kind) {
	case ITEM_CLAIM:
		if (i->gone)
			claim_gone(l, s, i);
		else
			claim_put(l, s, i);
		break;
	case ITEM_ALLOW:
		allow_item(l, i);
		break;
	case ITEM_PROTECT:
		protection_item(l, i);
		break;
	case ITEM_IMMUNITY:
		immunity_item(l, s, i);
		break;
	case ITEM_HELD:
		held_item(l, s, i);
		break;
	case ITEM_PAUSE:
		pause_item(l, i);
		break;
	case ITEM_ASKED:
		asked_item(l, i);
		break;
	case ITEM_TOLD:
	case ITEM_NOTE:
	case ITEM_CURSOR:
		note_put(l, i);
		return;
	case ITEM_KINDS:
		break;
	}
	import_named(l, i);
}
