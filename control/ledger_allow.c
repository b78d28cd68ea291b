// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What stands above claims: allows, the pause, the operator's protections; and all of it together,
// as the exceptions of the data plane.

#include "control/ledger_internal.h"
#include "rules/text.h"
#include "rules/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UNTIL_SLACK 2 // seconds between the caller's clock reading and ours

static void allow_audit(
	struct ledger *l,
	const char *action,
	const char *object,
	int64_t until,
	const struct actor *actor
)
{
	struct detail detail;
	char text[24];

	detail_begin(&detail);
	if (until) {
		until_print(until, text);
		detail_text(&detail, "until", text);
	}
	detail_text(&detail, "reason", actor->reason);
	audit_add(l, actor->name, action, object, detail_end(&detail));
}

static int64_t allows_count(struct ledger *l)
{
	scoped_stmt stmt = NULL;

	if (sql_kept(l, "SELECT count(*) FROM allows", &stmt) < 0
	    || sqlite3_step(stmt) != SQLITE_ROW)
		return 0;
	return sqlite3_column_int64(stmt, 0);
}

static bool exception_count(void *ctx, const struct exception *x)
{
	(void)x;
	return ++*(size_t *)ctx <= WIRE_EXCEPTIONS_MAX;
}

bool exceptions_full(struct ledger *l, char message[192])
{
	size_t n = 0;

	ledger_exceptions(l, exception_count, &n);
	if (n < WIRE_EXCEPTIONS_MAX)
		return false;
	snprintf(
		message,
		192,
		"the data plane takes %d protections and allows, and so many there are: end some "
		"first",
		WIRE_EXCEPTIONS_MAX
	);
	return true;
}

// Replaced where it is there: that needs no room.
static bool allow_exists(struct ledger *l, const struct ledger_key *key)
{
	scoped_stmt stmt = NULL;

	if (sql_kept(l, "SELECT 1 FROM allows WHERE key=?1", &stmt) < 0)
		return false;
	sql_bind_key(stmt, 1, key);
	return sqlite3_step(stmt) == SQLITE_ROW;
}

int allow_write(struct ledger *l, const struct allow *allow, bool local)
{
	scoped_stmt stmt = NULL;
	struct ledger_key key;
	int r = sql_kept(
		l,
		"INSERT INTO allows(key, created, until, due, author, reason, fleet)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT(key) DO UPDATE SET"
		" created=?2, until=?3, due=?4, author=?5, reason=?6, fleet=?7",
		&stmt
	);

	if (r < 0)
		return r;
	key_pack(&allow->indicator, &key);
	sql_bind_key(stmt, 1, &key);
	sqlite3_bind_int64(stmt, 2, allow->created);
	sqlite3_bind_int64(stmt, 3, allow->until);
	sqlite3_bind_int64(stmt, 4, deadline_due(l, allow->until));
	sql_bind_text(stmt, 5, allow->author);
	sql_bind_text(stmt, 6, allow->reason);
	sqlite3_bind_int(stmt, 7, local);
	r = sql_run(l, stmt);
	l->now.tally.allows = (uint64_t)allows_count(l);
	l->topics |= LEDGER_EXCEPTIONS;
	return r;
}

int allow_put(
	struct ledger *l,
	const struct indicator *indicator,
	int64_t until,
	const struct actor *actor,
	char message[192]
)
{
	char object[INDICATOR_TEXT_MAX];
	int64_t now = clock_wall(l);
	const struct allow allow = {
		.indicator = *indicator,
		.created = now,
		.until = until,
		.author = actor->name,
		.reason = actor->reason,
	};
	struct ledger_key key;

	if (until <= now || until > now + ALLOW_MAX + UNTIL_SLACK) {
		snprintf(message, 192, "an allow ends within 24 h: give --for at most 24h");
		return -ERANGE;
	}
	key_pack(indicator, &key);
	if (!allow_exists(l, &key) && exceptions_full(l, message))
		return -ERANGE;
	indicator_print(indicator, object);
	if (transaction_begin(l) == 0 && allow_write(l, &allow, fleet_follows(l)) == 0) {
		allow_audit(l, "allow", object, until, actor);
		fleet_touch(l, ITEM_ALLOW, "", "", indicator, actor->name, "allow", actor->reason);
		fleet_ask_item(l, ITEM_ALLOW, "allow", indicator, until, actor);
	}
	return 0;
}

void ledger_allow(
	struct ledger *l,
	const struct indicator *indicator,
	int64_t until,
	const struct actor *actor,
	ledger_done done,
	void *ctx
)
{
	char message[192] = "";
	int r = allow_put(l, indicator, until, actor, message);

	pending_done(l, done, ctx, r, message);
}

int allow_end(
	struct ledger *l,
	const struct indicator *indicator,
	const struct actor *actor,
	const char *as,
	char message[192]
)
{
	scoped_stmt stmt = NULL;
	char object[INDICATOR_TEXT_MAX];
	struct ledger_key key;
	bool found = false;

	key_pack(indicator, &key);
	indicator_print(indicator, object);
	if (transaction_begin(l) == 0
	    && sql_kept(l, "DELETE FROM allows WHERE key=?1", &stmt) == 0) {
		sql_bind_key(stmt, 1, &key);
		found = sql_run(l, stmt) == 0 && sqlite3_changes(l->db) > 0;
	}
	if (!found) {
		snprintf(message, 192, "no such allow: see stanch status");
		return -ENOENT;
	}
	l->now.tally.allows--;
	l->topics |= LEDGER_EXCEPTIONS;
	allow_audit(l, as, object, 0, actor);
	fleet_touch(l, ITEM_ALLOW, "", "", indicator, actor->name, as, actor->reason);
	return 0;
}

void ledger_allow_end(
	struct ledger *l,
	const struct indicator *indicator,
	const struct actor *actor,
	ledger_done done,
	void *ctx
)
{
	char message[192] = "";
	int r = allow_end(l, indicator, actor, "allow.end", message);

	if (r == 0)
		fleet_ask_item(l, ITEM_ALLOW, "allow-end", indicator, 0, actor);
	pending_done(l, done, ctx, r, message);
}

int64_t allows_due(struct ledger *l)
{
	scoped_stmt stmt = NULL;

	if (l->now.tally.allows == 0 || sql_kept(l, "SELECT min(due) FROM allows", &stmt) < 0
	    || sqlite3_step(stmt) != SQLITE_ROW || sqlite3_column_type(stmt, 0) == SQLITE_NULL)
		return UNTIL_FOREVER;
	return sqlite3_column_int64(stmt, 0);
}

// One a round: the statement is done before the row is written.
static bool allow_expire(struct ledger *l, int64_t now)
{
	static const struct actor clock = {.name = "ledger", .reason = "its end has come"};
	scoped_stmt find = NULL;
	struct indicator indicator;
	char message[192];

	if (sql_kept(l, "SELECT key FROM allows WHERE due <= ?1 LIMIT 1", &find) < 0)
		return false;
	sqlite3_bind_int64(find, 1, now);
	if (sqlite3_step(find) != SQLITE_ROW || sql_indicator(find, 0, &indicator) < 0)
		return false;
	sqlite3_reset(find);
	return allow_end(l, &indicator, &clock, "allow.expire", message) == 0;
}

void allows_expire(struct ledger *l, int64_t now)
{
	while (l->now.tally.allows > 0 && allow_expire(l, now))
		;
}

int ledger_allows(struct ledger *l, allow_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	int rc, r;

	r = sql_kept(
		l, "SELECT id, key, created, until, author, reason FROM allows ORDER BY key", &stmt
	);
	if (r < 0)
		return r;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct allow allow = {
			.id = sqlite3_column_int64(stmt, 0),
			.created = sqlite3_column_int64(stmt, 2),
			.until = sqlite3_column_int64(stmt, 3),
			.author = sql_text(stmt, 4),
			.reason = sql_text(stmt, 5),
		};

		if (sql_indicator(stmt, 1, &allow.indicator) < 0)
			return -EILSEQ;
		if (!cb(ctx, &allow))
			return 0;
	}
	return sql_errno(rc, l->db);
}

// The protections, then the allows, for one callback.
struct exceptions {
	exception_cb cb;
	void *ctx;
	bool ended;
};

static bool exception_of_protection(void *ctx, const struct protection *protection)
{
	struct exceptions *e = ctx;
	struct exception exception = {
		.indicator = protection->indicator,
		.kind = EXCEPTION_PROTECT,
		.until = UNTIL_FOREVER,
	};

	e->ended = !e->cb(e->ctx, &exception);
	return !e->ended;
}

static bool exception_of_allow(void *ctx, const struct allow *allow)
{
	struct exceptions *e = ctx;
	struct exception exception = {
		.indicator = allow->indicator,
		.kind = EXCEPTION_ALLOW,
		.until = allow->until,
	};

	return e->cb(e->ctx, &exception);
}

int ledger_exceptions(struct ledger *l, exception_cb cb, void *ctx)
{
	struct exceptions e = {.cb = cb, .ctx = ctx};

	protect_each(l->protect, exception_of_protection, &e);
	return e.ended ? 0 : ledger_allows(l, exception_of_allow, &e);
}

int pause_put(
	struct ledger *l,
	int64_t until,
	bool whole_fleet,
	const struct actor *actor,
	char message[192]
)
{
	int64_t now = clock_wall(l);

	if (until != 0 && (until <= now || until > now + ALLOW_MAX + UNTIL_SLACK)) {
		snprintf(message, 192, "a pause ends within 24 h: give --for at most 24h");
		return -ERANGE;
	}
	if (transaction_begin(l) < 0)
		return 0;
	if (whole_fleet) {
		pause_fleet_set(l, until);
	} else {
		l->now.pause_until = until;
		l->now.pause_due = until ? deadline_due(l, until) : 0;
	}
	l->topics |= LEDGER_PAUSE;
	allow_audit(l, until ? "pause" : "pause.end", whole_fleet ? "fleet" : "", until, actor);
	if (!whole_fleet)
		return 0;
	fleet_touch(
		l,
		ITEM_PAUSE,
		"",
		"",
		NULL,
		actor->name,
		until ? "pause" : "pause.end",
		actor->reason
	);
	fleet_ask_item(l, ITEM_PAUSE, "pause", NULL, until, actor);
	return 0;
}

void pause_fleet_set(struct ledger *l, int64_t until)
{
	l->now.fleet.pause_until = until;
	l->now.fleet.pause_due = until ? deadline_due(l, until) : 0;
	l->topics |= LEDGER_PAUSE;
}

void ledger_pause(
	struct ledger *l, int64_t until, const struct actor *actor, ledger_done done, void *ctx
)
{
	char message[192] = "";
	int r = pause_put(l, until, false, actor, message);

	pending_done(l, done, ctx, r, message);
}

void ledger_pause_fleet(
	struct ledger *l, int64_t until, const struct actor *actor, ledger_done done, void *ctx
)
{
	char message[192] = "";
	int r = pause_put(l, until, l->fleet != NULL, actor, message);

	pending_done(l, done, ctx, r, message);
}

int64_t ledger_pause_until(const struct ledger *l)
{
	const struct ledger_now *now = l->open ? &l->saved : &l->now;

	return now->pause_until > now->fleet.pause_until ? now->pause_until
							 : now->fleet.pause_until;
}
