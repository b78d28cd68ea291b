// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Records that the fleet's leader never had: what they put stays in force here and goes up; what
// they ended is the leader's to end, but for what operators ended. Nothing weakens. Of the rest it
// is asked to tell how it is there, so that both say the same without a checkpoint.

#include "control/ledger_fleet_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OPERATOR "operator"

static int claim_keep(struct ledger *l, const struct fleet_item *i)
{
	scoped_stmt stmt = NULL;
	struct fleet_item now = *i;
	sqlite3_stmt *row;
	bool keep;
	int r = item_load(l, &now, &row);

	keep = r == 0 && !now.gone && now.claim.state < CLAIM_HELD
		&& sqlite3_column_int(row, 12) == FLEET_SAME;
	if (keep) {
		// The brake's hold is not the ask's business.
		now.held = 0;
		now.actor = i->actor;
		now.as = "";
		ask_write(l, "keep", &now, NULL);
		r = sql_prepare(
			l,
			"UPDATE claims SET fleet=1, theirs_action=NULL, theirs_until=NULL"
			" WHERE id=?1",
			&stmt
		);
	}
	if (keep && r == 0)
		sqlite3_bind_int64(stmt, 1, sqlite3_column_int64(row, 0));
	else if (r == 0 && (now.gone || sqlite3_column_int(row, 12) == FLEET_SAME))
		ask_write(l, "tell", i, NULL);
	if (row)
		sqlite3_reset(row);
	if (!keep || r < 0)
		return r;
	l->now.fleet.differ++;
	return sql_run(l, stmt);
}

static int plain_keep(struct ledger *l, const struct fleet_item *i, const char *op, const char *sql)
{
	scoped_stmt stmt = NULL;
	struct fleet_item now = *i;
	sqlite3_stmt *row;
	int r = item_load(l, &now, &row);

	if (r == 0 && !now.gone) {
		now.actor = i->actor;
		now.as = now.why = "";
		ask_write(l, op, &now, NULL);
	}
	sqlite3_finalize(row);
	if (r == 0)
		r = sql_prepare(l, sql, &stmt);
	if (r < 0)
		return r;
	sql_bind_key(stmt, 1, &i->key);
	return sql_run(l, stmt);
}

// Nobody got it: where this gateway leads again, it is asked again.
static int answer_forget(struct ledger *l, const struct fleet_item *i)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(l, "DELETE FROM fleet_asked WHERE gateway=?1 AND seq=?2", &stmt);

	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, i->claim.source);
	sqlite3_bind_int64(stmt, 2, (int64_t)i->seq);
	return sql_run(l, stmt);
}

int item_keep(struct ledger *l, const struct fleet_item *i)
{
	const char *op = "tell";

	if (!i->gone && i->kind == ITEM_CLAIM)
		return claim_keep(l, i);
	if (!i->gone && i->kind == ITEM_ALLOW)
		return plain_keep(l, i, "allow", "UPDATE allows SET fleet=1 WHERE key=?1");
	if (!i->gone && i->kind == ITEM_PROTECT)
		return plain_keep(l, i, "protect", "UPDATE protections SET fleet=1 WHERE key=?1");
	if (i->kind == ITEM_ASKED)
		return answer_forget(l, i);
	if (i->kind == ITEM_CLAIM && strcmp(i->claim.source, OPERATOR) == 0)
		op = "end";
	else if (i->kind == ITEM_ALLOW)
		op = "allow-end";
	ask_write(l, op, i, NULL);
	return 0;
}

struct forking {
	struct ledger *ledger;
	bool lists; // some of the records were theirs
	int error;
};

static bool record_keep_items(void *ctx, const struct fleet_record *record)
{
	struct forking *f = ctx;
	struct fleet_batch b;

	if (record->kind == FLEET_MEMBERS)
		f->lists = true;
	if (record->kind != FLEET_STATE)
		return true;
	f->error = batch_parse(record->data, record->len, &b);
	if (f->error < 0)
		return false;
	for (size_t i = 0; i < b.n && f->error == 0; i++)
		f->error = item_keep(f->ledger, &b.items[i]);
	batch_free(&b);
	return f->error == 0 && !f->ledger->error;
}

static int fork_judge(struct ledger *l, const struct fleet_place *base)
{
	struct fleet_place kept;
	int r;

	if (!l->fleet || l->now.fleet.leads)
		return -EPERM;
	if (!STAILQ_EMPTY(&l->fleet->waiting))
		return -EBUSY;
	if (l->open)
		ledger_commit(l);
	if (place_equal(base, &l->now.fleet.place))
		return 1;
	r = record_mac(l, base->number, &kept);
	return r < 0 || !place_equal(&kept, base) ? -EILSEQ : 0;
}

static void place_set(struct ledger *l, const struct fleet_place *place)
{
	l->now.fleet.place = *place;
	l->now.fleet.end_number = 0;
}

void ledger_fleet_fork(
	struct ledger *l, const struct fleet_place *base, ledger_done done, void *ctx
)
{
	struct forking f = {.ledger = l};
	int r = fork_judge(l, base);

	if (r == 0) {
		ledger_fleet_import_abort(l);
		r = ledger_fleet_records(l, base->number, SIZE_MAX, record_keep_items, &f);
		if (r == 0)
			r = f.error;
		if (r < 0) {
			transaction_fail(l, r);
		} else if (transaction_begin(l) == 0) {
			records_cut(l, base->number);
			place_set(l, base);
			// What has changed in lists need not show in count and digest.
			if (f.lists)
				snprintf(
					l->now.fleet.resync,
					sizeof(l->now.fleet.resync),
					"%s",
					"lists have changes that the leader never had"
				);
			audit_add(l, "fleet", "fleet.fork", l->fleet->name, "{}");
		}
	}
	pending_done(l, done, ctx, r == 1 ? 0 : r, "");
}

// Without a common record: what the next checkpoint does not have is kept likewise.
void ledger_fleet_reset(struct ledger *l, const char *why, ledger_done done, void *ctx)
{
	static const struct fleet_place none;
	int r = !l->fleet || l->now.fleet.leads	    ? -EPERM
		: !STAILQ_EMPTY(&l->fleet->waiting) ? -EBUSY
						    : transaction_begin(l);

	if (r == 0) {
		ledger_fleet_import_abort(l);
		records_cut(l, 0);
		place_set(l, &none);
		l->now.fleet.adrift = true;
		if (sql_exec(l, "DELETE FROM fleet_asked") < 0)
			transaction_fail(l, -EIO);
		snprintf(l->now.fleet.resync, sizeof(l->now.fleet.resync), "%s", why);
		audit_add_cause(l, "fleet", "fleet.reset", l->fleet->name, "why", why);
	}
	pending_done(l, done, ctx, r, "");
}
