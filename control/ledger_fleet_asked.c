// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Asks at the leader: done as if the operator had given them here, once each. Whatever comes of it,
// the same commit says how the thing is now, and then the follower's own version of it ends.

#include "control/ledger_fleet_internal.h"
#include "control/lists.h"
#include "control/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct asking {
	struct ledger *ledger;
	char gateway[FLEET_NAME_MAX];
	uint64_t seq, oldest;
	char name[320]; // of the actor
	struct actor actor;
	const json_t *ask; // while it is begun
	struct fleet_item item;
	char message[192];
};

static void answer(struct asking *a, int code)
{
	struct ledger *l = a->ledger;
	struct fleet_item asked = {
		.kind = ITEM_ASKED,
		.claim = {.source = a->gateway, .ref = "", .reason = a->message},
		.seq = a->seq,
		.oldest = a->oldest,
		.code = code,
		.actor = "",
		.as = "",
		.why = "",
	};

	// Kept here too; as followers keep it.
	item_put(l, &asked);
	fleet_touch_asked(l, &asked);
}

void asked_self(struct ledger *l, uint64_t seq)
{
	struct asking a = {.ledger = l, .seq = seq};

	snprintf(a.gateway, sizeof(a.gateway), "%s", l->fleet->gateway);
	answer(&a, 0);
}

static int code_of(enum submit_code code)
{
	switch (code) {
	case SUBMIT_PROTECTED:
	case SUBMIT_BRAKE:
		return -EACCES;
	case SUBMIT_FULL:
		return -ENOSPC;
	case SUBMIT_NOT_FOUND:
		return -ENOENT;
	default:
		return 0;
	}
}

static int do_claim(struct asking *a, bool put, bool keep)
{
	struct ledger *l = a->ledger;
	struct fleet_item *i = &a->item, there = *i;
	struct submit_result result = {.code = SUBMIT_UNCHANGED};
	const struct submit_item item = {
		.op = put ? SUBMIT_PUT : SUBMIT_END,
		.claim = i->claim,
		.cause = i->why,
	};
	sqlite3_stmt *stmt;
	int r = item_load(l, &there, &stmt);

	if (stmt)
		sqlite3_reset(stmt);
	if (r < 0)
		return r;
	if (!keep || there.gone)
		submit_item_now(l, &item, &a->actor, &result);
	snprintf(a->message, sizeof(a->message), "%s", result.message);
	fleet_touch_claim(
		l,
		&i->claim,
		a->actor.name,
		put ? "claim.put" : "claim.end",
		result.message[0] ? result.message : i->why
	);
	return code_of(result.code);
}

static void touch_now(struct asking *a, const char *as)
{
	fleet_touch(
		a->ledger,
		a->item.kind,
		"",
		"",
		a->item.kind == ITEM_PAUSE ? NULL : &a->item.claim.indicator,
		a->actor.name,
		as,
		a->message[0] ? a->message : a->actor.reason
	);
}

// How is it? Whoever asks has records that nobody else has.
static int do_tell(struct asking *a)
{
	const struct claim *c = &a->item.claim;
	bool plain = a->item.kind == ITEM_PAUSE || a->item.kind == ITEM_HELD
		|| item_is_note(a->item.kind);

	if (a->item.kind == ITEM_ASKED)
		return -EBADMSG;
	fleet_touch(
		a->ledger,
		a->item.kind,
		c->source,
		c->ref,
		plain ? NULL : &c->indicator,
		a->actor.name,
		"tell",
		""
	);
	return 0;
}

static int do_plain(struct asking *a, const char *op)
{
	struct ledger *l = a->ledger;
	const struct claim *c = &a->item.claim;
	int r = -EBADMSG;

	if (a->item.kind == ITEM_ALLOW && strcmp(op, "allow") == 0)
		r = allow_put(l, &c->indicator, c->until, &a->actor, a->message);
	else if (a->item.kind == ITEM_ALLOW && strcmp(op, "allow-end") == 0)
		r = allow_end(l, &c->indicator, &a->actor, "allow.end", a->message);
	else if (a->item.kind == ITEM_PROTECT && strcmp(op, "protect") == 0)
		r = protection_put(l, &c->indicator, &a->actor, a->message);
	else if (a->item.kind == ITEM_PROTECT && strcmp(op, "protect-end") == 0)
		r = protection_end(l, &c->indicator, &a->actor, a->message);
	else if (a->item.kind == ITEM_PAUSE && strcmp(op, "pause") == 0)
		r = pause_put(l, c->until, true, &a->actor, a->message);
	if (r != -EBADMSG)
		touch_now(a, op);
	return r;
}

// --- what takes more than one commit

static void later_done(void *ctx, int error, const char *message)
{
	struct asking *a = ctx;

	// Where the commit failed it comes again.
	if (transaction_begin(a->ledger) == 0) {
		snprintf(a->message, sizeof(a->message), "%s", message);
		answer(a, error > -4096 && error < 0 ? error : 0);
	}
	free(a);
}

static int64_t held_find(struct ledger *l, const struct fleet_item *i)
{
	sqlite3_stmt *stmt = l->stmts[STMT_HELD_FIND];
	const struct source *source = source_find(l, i->claim.source);
	int64_t id = 0;

	if (!source)
		return 0;
	sqlite3_bind_int64(stmt, 1, source->id);
	sqlite3_bind_int(stmt, 2, i->held == 2);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		id = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	return id;
}

static int do_later(const struct asking *asking, const char *op)
{
	struct ledger *l = asking->ledger;
	bool retire = strcmp(op, "retire") == 0, approve = strcmp(op, "held-approve") == 0;
	const char *source = asking->item.claim.source;
	struct asking *a;
	int64_t id = retire ? 0 : held_find(l, &asking->item);

	if (asking->item.kind != ITEM_HELD
	    || (!retire && !approve && strcmp(op, "held-reject") != 0)
	    || (retire && strncmp(source, LIST_SOURCE, strlen(LIST_SOURCE)) != 0))
		return -EBADMSG;
	// Whoever asks may have settled it already, and be this gateway before it led.
	if (!retire)
		fleet_touch(
			l,
			ITEM_HELD,
			source,
			asking->item.claim.ref,
			NULL,
			asking->actor.name,
			op,
			""
		);
	if (!retire && id == 0)
		return -ENOENT;
	a = malloc(sizeof(*a));
	if (!a)
		return -ENOMEM;
	*a = *asking;
	a->actor.name = a->name;
	if (retire)
		lists_retire(l->lists, source + strlen(LIST_SOURCE), &a->actor, later_done, a);
	else if (approve)
		ledger_held_approve(l, id, &a->actor, later_done, a);
	else
		ledger_held_reject(l, id, &a->actor, later_done, a);
	return 1;
}

// 0: done; 1: an answer comes later; else the refusal.
static int do_ask(struct asking *a, const char *op)
{
	struct ledger *l = a->ledger;
	const json_t *item = json_object_get(a->ask, "item");
	bool put = strcmp(op, "put") == 0, keep = strcmp(op, "keep") == 0;
	int r;

	if (!item) {
		if (!l->fleet->asked)
			return -ENOSYS;
		return l->fleet->asked(l->fleet->asked_ctx, a->gateway, a->ask, a->message);
	}
	if (item_parse(item, &a->item) < 0)
		return -EBADMSG;
	if (!a->actor.reason)
		a->actor.reason = *a->item.claim.reason ? a->item.claim.reason : a->item.why;
	if (put || keep || strcmp(op, "end") == 0)
		return a->item.kind == ITEM_CLAIM ? do_claim(a, put || keep, keep) : -EBADMSG;
	if (strcmp(op, "tell") == 0)
		return do_tell(a);
	r = do_plain(a, op);
	return r == -EBADMSG ? do_later(a, op) : r;
}

int asked_do(struct ledger *l, const char *gateway, uint64_t seq, const json_t *ask)
{
	const char *op = json_string_value(json_object_get(ask, "op"));
	const char *name = json_string_value(json_object_get(ask, "act"));
	const char *force = json_string_value(json_object_get(ask, "force"));
	struct asking a = {
		.ledger = l,
		.seq = seq,
		.oldest = (uint64_t)json_integer_value(json_object_get(ask, "from")),
		.ask = ask,
		.actor = {.force = force, .reason = force},
	};
	int r;

	if (!op)
		return -EBADMSG;
	snprintf(a.gateway, sizeof(a.gateway), "%s", gateway);
	snprintf(a.name, sizeof(a.name), "%.240s@%s", name ? name : "", a.gateway);
	a.actor.name = a.name;
	r = do_ask(&a, op);
	if (r == 1)
		return 0;
	if (r < 0 && !a.message[0])
		snprintf(
			a.message,
			sizeof(a.message),
			"%s",
			r == -EBADMSG ? "not understood by the leader's version" : strerror(-r)
		);
	answer(&a, r);
	return 0;
}

// Done before: it is answered again, for whoever asks again did not get the answer, and told how
// the thing is now.
static bool asked_before(struct ledger *l, const char *gateway, uint64_t seq, const json_t *ask)
{
	scoped_stmt stmt = NULL;
	struct asking a = {.ledger = l, .seq = seq, .actor.name = gateway};
	int code;

	if (sql_prepare(
		    l, "SELECT code, message FROM fleet_asked WHERE gateway=?1 AND seq=?2", &stmt
	    )
	    < 0)
		return false;
	sql_bind_text(stmt, 1, gateway);
	sqlite3_bind_int64(stmt, 2, (int64_t)seq);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return false;
	snprintf(a.gateway, sizeof(a.gateway), "%s", gateway);
	snprintf(a.message, sizeof(a.message), "%s", sql_text(stmt, 1));
	if (item_parse(json_object_get(ask, "item"), &a.item) == 0)
		do_tell(&a);
	code = sqlite3_column_int(stmt, 0);
	sqlite3_reset(stmt);
	answer(&a, code);
	return true;
}

void ledger_fleet_asked(
	struct ledger *l,
	const char *gateway,
	uint64_t seq,
	const char *up_id,
	const char *json,
	ledger_done done,
	void *ctx
)
{
	json_t *ask = NULL;
	int r = l->now.fleet.leads ? transaction_begin(l) : -EPERM;

	if (r == 0 && up_id && strlen(up_id) < sizeof(l->now.fleet.up))
		snprintf(l->now.fleet.up, sizeof(l->now.fleet.up), "%s", up_id);
	if (r == 0 && (!*gateway || strlen(gateway) >= FLEET_NAME_MAX || seq > INT64_MAX || !seq))
		r = -EBADMSG;
	if (r == 0) {
		ask = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(ask))
			r = -EBADMSG;
		else if (!asked_before(l, gateway, seq, ask))
			r = asked_do(l, gateway, seq, ask);
		json_decref(ask);
	}
	l->n_open++;
	pending_done(l, done, ctx, r, r == -EPERM ? "this gateway does not lead" : "");
}

void ledger_fleet_asked_set(struct ledger *l, fleet_asked_cb asked, void *ctx)
{
	if (!l->fleet)
		return;
	l->fleet->asked = asked;
	l->fleet->asked_ctx = ctx;
}

const char *ledger_fleet_up(const struct ledger *l)
{
	return l->now.fleet.up;
}
