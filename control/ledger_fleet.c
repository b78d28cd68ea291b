// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/ledger_fleet.h"

#include "control/ledger_fleet_internal.h"
#include "control/lists_internal.h"
#include "control/log.h"

#include <openssl/rand.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fleet_row(struct ledger *l)
{
	struct fleet_now *now = &l->now.fleet;
	scoped_stmt stmt = NULL;
	int r = sql_prepare(
		l,
		"SELECT epoch, number, mac, seen, leader, up, pause_until, resync, count, digest,"
		" end_number, ask_last, (SELECT count(*) FROM fleet_asks),"
		" (SELECT count(*) FROM claims WHERE fleet <> 0), adrift FROM fleet",
		&stmt
	);

	if (r < 0)
		return r;
	if (sqlite3_step(stmt) != SQLITE_ROW || sqlite3_column_bytes(stmt, 2) != FLEET_MAC_LEN
	    || sqlite3_column_bytes(stmt, 9) != 16)
		return -EILSEQ;
	now->place.epoch = (uint64_t)sqlite3_column_int64(stmt, 0);
	now->place.number = (uint64_t)sqlite3_column_int64(stmt, 1);
	memcpy(now->place.mac, sqlite3_column_blob(stmt, 2), FLEET_MAC_LEN);
	now->epoch = (uint64_t)sqlite3_column_int64(stmt, 3);
	snprintf(now->leader, sizeof(now->leader), "%s", sql_text(stmt, 4));
	snprintf(now->up, sizeof(now->up), "%s", sql_text(stmt, 5));
	now->pause_until = now->pause_due = sqlite3_column_int64(stmt, 6);
	snprintf(now->resync, sizeof(now->resync), "%s", sql_text(stmt, 7));
	now->end_count = (uint64_t)sqlite3_column_int64(stmt, 8);
	now->end_digest = digest_unpack(sqlite3_column_blob(stmt, 9));
	now->end_number = (uint64_t)sqlite3_column_int64(stmt, 10);
	now->ask_last = (uint64_t)sqlite3_column_int64(stmt, 11);
	now->asks = (uint64_t)sqlite3_column_int64(stmt, 12);
	now->differ = (uint64_t)sqlite3_column_int64(stmt, 13);
	now->adrift = sqlite3_column_int(stmt, 14);
	return 0;
}

int fleet_load(struct ledger *l)
{
	int r = fleet_row(l);

	return r < 0 ? r : records_load(l);
}

void fleet_save(struct ledger *l)
{
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_PUT];
	const struct fleet_now *now = &l->now.fleet;
	uint8_t digest[16];

	if (memcmp(now, &l->saved.fleet, sizeof(*now)) == 0)
		return;
	digest_pack(now->end_digest, digest);
	sqlite3_bind_int64(stmt, 1, (int64_t)now->place.epoch);
	sqlite3_bind_int64(stmt, 2, (int64_t)now->place.number);
	sqlite3_bind_blob(stmt, 3, now->place.mac, FLEET_MAC_LEN, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 4, (int64_t)now->epoch);
	sql_bind_text(stmt, 5, now->leader);
	sql_bind_text(stmt, 6, now->up);
	sqlite3_bind_int64(stmt, 7, now->pause_until);
	sql_bind_text(stmt, 8, now->resync);
	sqlite3_bind_int64(stmt, 9, (int64_t)now->end_count);
	sqlite3_bind_blob(stmt, 10, digest, sizeof(digest), SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 11, (int64_t)now->end_number);
	sqlite3_bind_int64(stmt, 12, (int64_t)now->ask_last);
	sqlite3_bind_int(stmt, 13, now->adrift);
	sql_run(l, stmt);
}

void fleet_rolled_back(struct ledger *l)
{
	if (!l->fleet)
		return;
	l->fleet->made_some = l->fleet->asks_some = false;
	// It did not become the leader after all.
	if (lists_fleet_follows(l->lists) == l->now.fleet.leads)
		lists_fleet_follow(l->lists, !l->now.fleet.leads);
}

void fleet_committed(struct ledger *l)
{
	struct ledger_fleet *f = l->fleet;
	bool made, asks;

	if (!f)
		return;
	f->commits++;
	made = f->made_some;
	asks = f->asks_some;
	f->made_some = f->asks_some = false;
	import_passed(l);
	if (made && f->made)
		f->made(f->made_ctx);
	if (asks && f->asks)
		f->asks(f->asks_ctx);
}

void fleet_fini(struct ledger *l)
{
	struct ledger_fleet *f = l->fleet;

	if (!f)
		return;
	waiting_free(l);
	touches_free(l);
	export_free(l);
	import_free(l);
	free(f->name);
	free(f->gateway);
	free(f);
	l->fleet = NULL;
}

// A payload of the lists, in the commit: a record once it is known which is the last.
static void lists_made(void *ctx, const void *octets, size_t len)
{
	struct ledger *l = ctx;
	struct fleet_members *m = calloc(1, sizeof(*m) + MEMBERS_HEADER + len);

	if (!m) {
		transaction_fail(l, -ENOMEM);
		return;
	}
	m->len = MEMBERS_HEADER + len;
	memcpy(m->data + MEMBERS_HEADER, octets, len);
	STAILQ_INSERT_TAIL(&l->fleet->members, m, link);
}

int ledger_fleet_open(struct ledger *l, const struct fleet_setup *setup)
{
	struct ledger_fleet *f;

	if (l->fleet)
		return -EEXIST;
	if (!*setup->gateway || strlen(setup->gateway) >= FLEET_NAME_MAX)
		return -EINVAL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->name = strdup(setup->fleet);
	f->gateway = strdup(setup->gateway);
	f->seal = setup->seal;
	f->seal_ctx = setup->ctx;
	f->differ_commits = UINT64_MAX;
	STAILQ_INIT(&f->members);
	STAILQ_INIT(&f->waiting);
	l->fleet = f;
	if (!f->name || !f->gateway) {
		fleet_fini(l);
		return -ENOMEM;
	}
	lists_fleet_open(
		l->lists,
		&(struct lists_fleet_hooks){.made = lists_made, .applied = lists_applied, .ctx = l}
	);
	return 0;
}

bool ledger_fleet_is(const struct ledger *l)
{
	return l->fleet;
}

void ledger_fleet_place(const struct ledger *l, struct fleet_place *ret_place)
{
	*ret_place = l->open ? l->saved.fleet.place : l->now.fleet.place;
}

void ledger_fleet_made_set(struct ledger *l, void (*made)(void *ctx), void *ctx)
{
	if (!l->fleet)
		return;
	l->fleet->made = made;
	l->fleet->made_ctx = ctx;
}

// --- epochs

int ledger_fleet_epoch_see(
	struct ledger *l, uint64_t epoch, const char *leader, ledger_done done, void *ctx
)
{
	struct fleet_now *now = &l->now.fleet;
	int r = l->fleet && strlen(leader) < FLEET_NAME_MAX ? 0 : -EINVAL;

	if (r == 0 && epoch < now->epoch)
		r = -ESTALE;
	if (r == 0 && epoch == now->epoch && now->leader[0] && strcmp(leader, now->leader) != 0)
		r = -EEXIST;
	if (r == 0 && (epoch > now->epoch || !now->leader[0]))
		r = transaction_begin(l);
	if (r == 0 && (epoch > now->epoch || !now->leader[0])) {
		now->epoch = epoch;
		memset(now->leader, 0, sizeof(now->leader));
		snprintf(now->leader, sizeof(now->leader), "%s", leader);
	}
	pending_done(
		l,
		done,
		ctx,
		r,
		r == -ESTALE	       ? "a higher epoch is known"
			: r == -EEXIST ? "that epoch has another leader"
				       : ""
	);
	return r;
}

uint64_t ledger_fleet_epoch(const struct ledger *l, char ret_leader[FLEET_NAME_MAX])
{
	const struct fleet_now *now = l->open ? &l->saved.fleet : &l->now.fleet;

	snprintf(ret_leader, FLEET_NAME_MAX, "%s", now->leader);
	return now->epoch;
}

// --- roles

static void epoch_make(struct ledger *l)
{
	const struct fleet_place *base = &l->now.fleet.place;
	struct fleet_text t = {0};

	text_add(&t, "{\"leader\":", 10);
	text_string(&t, l->fleet->gateway);
	text_printf(
		&t,
		",\"base\":{\"epoch\":%" PRIu64 ",\"number\":%" PRIu64 ",\"mac\":\"",
		base->epoch,
		base->number
	);
	for (int i = 0; i < FLEET_MAC_LEN; i++)
		text_printf(&t, "%02x", base->mac[i]);
	text_add(&t, "\"}}", 3);
	if (t.failed)
		transaction_fail(l, -ENOMEM);
	else
		record_make(l, FLEET_EPOCH, t.text, t.len);
	text_free(&t);
}

// Local claims become the fleet's; away ones end for all.
static int marks_make(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int rc = SQLITE_DONE,
	    r = sql_prepare(
		    l,
		    "SELECT c.id, s.name, c.ref, c.key, c.state FROM claims c"
		    " JOIN sources s ON s.id = c.source WHERE c.fleet <> 0 ORDER BY c.id",
		    &stmt
	    );

	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct claim claim = {.source = sql_text(stmt, 1), .ref = sql_text(stmt, 2)};

		r = sql_indicator(stmt, 3, &claim.indicator);
		if (r == 0)
			fleet_touch_claim(l, &claim, l->fleet->gateway, "claim.lead", "");
	}
	if (r == 0)
		r = sql_errno(rc, l->db);
	if (r == 0)
		r = sql_exec(
			l,
			"DELETE FROM claims WHERE fleet = 2;"
			"UPDATE claims SET fleet=0, theirs_action=NULL, theirs_until=NULL"
			" WHERE fleet = 1;"
			"UPDATE allows SET fleet=0 WHERE fleet <> 0;"
			"UPDATE protections SET fleet=0 WHERE fleet <> 0;"
		);
	l->now.fleet.differ = 0;
	return r;
}

// The leader before held claims that are in force here: nothing is left of its held change.
static int held_make(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int rc = SQLITE_DONE,
	    r = sql_prepare(
		    l,
		    "DELETE FROM held WHERE n <= 0 RETURNING"
		    " (SELECT name FROM sources s WHERE s.id = source), 1 + shrink",
		    &stmt
	    );

	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		fleet_touch(
			l,
			ITEM_HELD,
			sql_text(stmt, 0),
			sql_text(stmt, 1),
			NULL,
			l->fleet->gateway,
			"held",
			""
		);
	return r < 0 ? r : sql_errno(rc, l->db);
}

static int lead(struct ledger *l, uint64_t epoch)
{
	struct fleet_now *now = &l->now.fleet;
	int r = transaction_begin(l);

	if (r < 0)
		return r;
	// What a ledger had before its first term is in no record: nobody begins with nothing.
	if (now->place.number == 0) {
		now->place.number = 1;
		if (RAND_bytes(now->place.mac, FLEET_MAC_LEN) != 1)
			return -EIO;
	}
	now->epoch = epoch;
	memset(now->leader, 0, sizeof(now->leader));
	snprintf(now->leader, sizeof(now->leader), "%s", l->fleet->gateway);
	memset(now->resync, 0, sizeof(now->resync));
	now->adrift = false;
	now->leads = true;
	epoch_make(l);
	r = marks_make(l);
	if (r == 0)
		r = held_make(l);
	if (r == 0)
		r = asks_touch(l);
	asks_clear(l);
	// There is always a record that says count and digest.
	fleet_touch(l, ITEM_PAUSE, "", "", NULL, l->fleet->gateway, "lead", "");
	lists_fleet_follow(l->lists, false);
	return r;
}

static int lead_judge(const struct ledger *l, uint64_t epoch, const char **ret_message)
{
	const struct fleet_now *now = &l->now.fleet;
	bool own = l->fleet && strcmp(now->leader, l->fleet->gateway) == 0;

	*ret_message = "";
	if (!l->fleet)
		return -EPERM;
	if (!STAILQ_EMPTY(&l->fleet->waiting)) {
		*ret_message = "records are being applied";
		return -EBUSY;
	}
	if (epoch > now->epoch || (epoch == now->epoch && own && epoch > now->place.epoch))
		return 0;
	*ret_message = "an epoch as high is known";
	return -ESTALE;
}

// The next epoch of a leader that lost the lock and has it again: one record, nothing else.
static int lead_on(struct ledger *l, uint64_t epoch)
{
	int r;

	// What is open is of the epoch before.
	if (l->open)
		ledger_commit(l);
	r = transaction_begin(l);
	if (r < 0)
		return r;
	l->now.fleet.epoch = epoch;
	epoch_make(l);
	fleet_touch(l, ITEM_PAUSE, "", "", NULL, l->fleet->gateway, "lead", "");
	return 0;
}

void ledger_fleet_lead(struct ledger *l, uint64_t epoch, ledger_done done, void *ctx)
{
	const char *message;
	int r = lead_judge(l, epoch, &message);

	if (r == 0 && l->now.fleet.leads) {
		r = lead_on(l, epoch);
	} else if (r == 0) {
		// What is open was written by a follower.
		if (l->open)
			ledger_commit(l);
		ledger_fleet_import_abort(l);
		r = lead(l, epoch);
		if (r < 0)
			transaction_fail(l, r);
	}
	pending_done(l, done, ctx, r, message);
}

void ledger_fleet_follow(struct ledger *l)
{
	if (!l->fleet || !l->now.fleet.leads)
		return;
	export_free(l);
	// What is open is still a record: where nobody gets it, it is a fork's.
	if (l->open)
		ledger_commit(l);
	l->now.fleet.leads = l->saved.fleet.leads = false;
	l->fleet->differ_commits = UINT64_MAX;
	lists_fleet_follow(l->lists, true);
	deadline_arm(l);
}

bool ledger_fleet_leads(const struct ledger *l)
{
	return l->now.fleet.leads;
}
