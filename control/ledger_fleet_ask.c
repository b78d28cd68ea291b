// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The outbox of a follower: what its operators did, durable until a record answers it.
//
//   {"op":"put","act":"uid 0 (root)","force":reason?,"item":{…}}   item as in records
//   op: put, keep (a fork: unless the leader has that key), tell (how is it?), end, allow,
//       allow-end, protect, protect-end, pause, held-approve, held-reject, retire; without an
//       item it is another module's
//
// "from", its oldest unsettled number, is set in front when it is handed out.

#include "control/ledger_fleet_internal.h"
#include "control/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OBJECT_MAX 1024

// Rises by itself and with the clock: a new ledger of the same name repeats no number.
static uint64_t seq_next(struct ledger *l)
{
	uint64_t next = l->now.fleet.ask_last + 1, clock = (uint64_t)clock_wall_ms(l);

	return l->now.fleet.ask_last = next > clock ? next : clock;
}

static void
ask_add(struct ledger *l, const char *object, const struct ledger_key *key, const char *text)
{
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_ASK_ADD];

	if (l->error)
		return;
	sqlite3_bind_int64(stmt, 1, (int64_t)seq_next(l));
	sql_bind_text(stmt, 2, object);
	sqlite3_bind_blob(stmt, 3, key->octets, key->len, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 4, clock_wall(l));
	sql_bind_text(stmt, 5, text);
	if (sql_run(l, stmt) < 0)
		return;
	l->now.fleet.asks++;
	l->fleet->asks_some = true;
}

void ask_write(struct ledger *l, const char *op, const struct fleet_item *item, const char *force)
{
	struct fleet_text t = {0};
	char object[OBJECT_MAX];

	text_printf(&t, "{\"op\":\"%s\"", op);
	text_add(&t, ",\"act\":", 7);
	text_string(&t, item->actor ? item->actor : "");
	if (force) {
		text_add(&t, ",\"force\":", 9);
		text_string(&t, force);
	}
	text_add(&t, ",\"item\":", 8);
	item_print(&t, item);
	text_add(&t, "}", 1);
	item_object(item, object, sizeof(object));
	if (t.failed)
		transaction_fail(l, -ENOMEM);
	else
		ask_add(l, object, &item->key, t.text);
	text_free(&t);
}

void fleet_ask_submit(struct ledger *l, const struct submit_item *item, const struct actor *actor)
{
	struct fleet_item i = {
		.kind = ITEM_CLAIM,
		.claim = item->claim,
		.actor = actor->name,
		.why = item->cause,
	};
	bool put = item->op == SUBMIT_PUT;

	if (!fleet_follows(l) || l->error || (!put && item->op != SUBMIT_END))
		return;
	if (!i.claim.created)
		i.claim.created = clock_wall(l);
	if (i.claim.until > UNTIL_MAX)
		i.claim.until = UNTIL_FOREVER;
	i.gone = !put;
	key_pack(&item->claim.indicator, &i.key);
	ask_write(
		l,
		put ? "put" : "end",
		&i,
		actor->force && actor->reason && *actor->reason ? actor->reason : NULL
	);
}

void fleet_ask_item(
	struct ledger *l,
	enum fleet_item_kind kind,
	const char *op,
	const struct indicator *indicator,
	int64_t until,
	const struct actor *actor
)
{
	struct fleet_item i = {
		.kind = kind,
		.claim = {
			.source = "",
			.ref = "",
			.until = until,
			.author = actor->name,
			.reason = actor->reason,
			.created = clock_wall(l),
		},
		.actor = actor->name,
	};

	if (!fleet_follows(l) || l->error)
		return;
	if (indicator) {
		i.claim.indicator = *indicator;
		key_pack(indicator, &i.key);
	}
	ask_write(l, op, &i, NULL);
}

void fleet_ask_named(
	struct ledger *l,
	const char *op,
	const char *source,
	const char *ref,
	const struct actor *actor
)
{
	struct fleet_item i = {
		.kind = ITEM_HELD,
		.claim = {
			.source = source,
			.ref = ref,
			.until = UNTIL_FOREVER,
			.reason = actor->reason,
		},
		.held = ref[0] == '2' ? 2 : 1,
		.actor = actor->name,
	};

	if (fleet_follows(l) && transaction_begin(l) == 0)
		ask_write(l, op, &i, NULL);
}

void ledger_fleet_ask(struct ledger *l, json_t *ask, ledger_done done, void *ctx)
{
	static const struct ledger_key none = {.len = 0};
	char message[192] = "", *text;
	int r = l->fleet ? transaction_begin(l) : -EPERM;

	if (r == 0 && l->now.fleet.leads) {
		r = l->fleet->asked
			? l->fleet->asked(l->fleet->asked_ctx, l->fleet->gateway, ask, message)
			: -ENOSYS;
	} else if (r == 0) {
		text = json_dumps(ask, JSON_COMPACT);
		if (text && strlen(text) > 2)
			ask_add(l, "", &none, text);
		else
			r = -EINVAL;
		free(text);
	}
	pending_done(l, done, ctx, r, message);
}

bool ask_outstanding(struct ledger *l, const struct fleet_item *i)
{
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_ASK_FIND];
	char object[OBJECT_MAX];
	bool found;

	if (l->now.fleet.asks == 0)
		return false;
	item_object(i, object, sizeof(object));
	sqlite3_bind_blob(stmt, 1, i->key.octets, i->key.len, SQLITE_STATIC);
	sql_bind_text(stmt, 2, object);
	found = sqlite3_step(stmt) == SQLITE_ROW;
	sqlite3_reset(stmt);
	return found;
}

void ask_settled(struct ledger *l, uint64_t seq)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(l, "DELETE FROM fleet_asks WHERE seq=?1", &stmt);

	if (r < 0) {
		transaction_fail(l, r);
		return;
	}
	sqlite3_bind_int64(stmt, 1, (int64_t)seq);
	if (sql_run(l, stmt) == 0)
		l->now.fleet.asks -= (uint64_t)sqlite3_changes(l->db);
}

int ledger_fleet_asks(struct ledger *l, uint64_t after_seq, size_t max, fleet_ask_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	int rc = SQLITE_DONE, r;

	if (l->now.fleet.asks == 0)
		return 0;
	r = sql_prepare(
		l,
		"SELECT seq, ask, (SELECT min(seq) FROM fleet_asks) FROM fleet_asks"
		" WHERE seq > ?1 ORDER BY seq LIMIT ?2",
		&stmt
	);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, (int64_t)after_seq);
	sqlite3_bind_int64(stmt, 2, max < INT32_MAX ? (int64_t)max : INT32_MAX);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct fleet_text t = {0};
		bool more = false;

		text_printf(&t, "{\"from\":%lld,", (long long)sqlite3_column_int64(stmt, 2));
		text_add(&t, sql_text(stmt, 1) + 1, strlen(sql_text(stmt, 1)) - 1);
		if (!t.failed)
			more = cb(ctx, (uint64_t)sqlite3_column_int64(stmt, 0), t.text);
		text_free(&t);
		if (!more)
			return t.failed ? -ENOMEM : 0;
	}
	return sql_errno(rc, l->db);
}

int64_t ledger_fleet_asks_since(struct ledger *l)
{
	scoped_stmt stmt = NULL;

	if (l->now.fleet.asks == 0
	    || sql_prepare(l, "SELECT at FROM fleet_asks ORDER BY seq LIMIT 1", &stmt) < 0
	    || sqlite3_step(stmt) != SQLITE_ROW)
		return 0;
	return sqlite3_column_int64(stmt, 0);
}

// --- a new leader answers itself

static int self_ask(struct ledger *l, uint64_t seq, const char *text)
{
	json_t *ask = json_loads(text, 0, NULL);
	struct fleet_item item;
	int r = 0;

	// What it did here already is so; what only the leader does is done now.
	if (item_parse(json_object_get(ask, "item"), &item) < 0 || item.kind == ITEM_HELD)
		r = asked_do(l, l->fleet->gateway, seq, ask);
	else {
		fleet_touch(
			l,
			item.kind,
			item.claim.source,
			item.claim.ref,
			item.kind == ITEM_PAUSE ? NULL : &item.claim.indicator,
			item.actor,
			json_string_value(json_object_get(ask, "op")),
			item.why
		);
		asked_self(l, seq);
	}
	json_decref(ask);
	return r == -EBADMSG ? 0 : r;
}

int asks_touch(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int rc = SQLITE_DONE, r = 0;

	if (l->now.fleet.asks == 0)
		return 0;
	r = sql_prepare(l, "SELECT seq, ask FROM fleet_asks ORDER BY seq", &stmt);
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		r = self_ask(l, (uint64_t)sqlite3_column_int64(stmt, 0), sql_text(stmt, 1));
	if (r == 0)
		r = sql_errno(rc, l->db);
	return r;
}

void asks_clear(struct ledger *l)
{
	if (sql_exec(l, "DELETE FROM fleet_asks") < 0)
		transaction_fail(l, -EIO);
	l->now.fleet.asks = 0;
}

void ledger_fleet_asks_set(struct ledger *l, void (*asks)(void *ctx), void *ctx)
{
	if (!l->fleet)
		return;
	l->fleet->asks = asks;
	l->fleet->asks_ctx = ctx;
}
