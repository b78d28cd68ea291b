// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The operator's protections, which outlive the daemon, and their conflicts with entries in force.

#include "control/ledger_internal.h"

#include <errno.h>
#include <stdio.h>

int protections_load(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int rc, r = sql_prepare(l, "SELECT key, reason FROM protections", &stmt);

	if (r < 0)
		return r;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct indicator indicator;

		r = sql_indicator(stmt, 0, &indicator);
		if (r == 0)
			r = protect_add(
				l->protect, PROTECT_OPERATOR, &indicator, sql_text(stmt, 1)
			);
		if (r < 0)
			return r;
	}
	return sql_errno(rc, l->db);
}

int protection_write(
	struct ledger *l,
	const struct indicator *indicator,
	const char *reason,
	const char *author,
	int64_t created,
	bool local
)
{
	scoped_stmt stmt = NULL;
	struct ledger_key key;
	int r = sql_prepare(
		l,
		"INSERT OR REPLACE INTO protections(key, reason, author, created, fleet)"
		" VALUES (?1, ?2, ?3, ?4, ?5)",
		&stmt
	);

	if (r < 0)
		return r;
	key_pack(indicator, &key);
	sql_bind_key(stmt, 1, &key);
	sql_bind_text(stmt, 2, reason);
	sql_bind_text(stmt, 3, author);
	sqlite3_bind_int64(stmt, 4, created);
	sqlite3_bind_int(stmt, 5, local);
	r = sql_run(l, stmt);
	// XXX: holds from now on even where the commit fails: to protect too much until the
	// operator repeats it is the safe side.
	protect_add(l->protect, PROTECT_OPERATOR, indicator, reason ? reason : "");
	return r;
}

int protection_put(
	struct ledger *l,
	const struct indicator *indicator,
	const struct actor *actor,
	char message[192]
)
{
	char object[INDICATOR_TEXT_MAX];

	if (exceptions_full(l, message))
		return -ERANGE;
	indicator_print(indicator, object);
	if (transaction_begin(l) == 0
	    && protection_write(
		       l, indicator, actor->reason, actor->name, clock_wall(l), fleet_follows(l)
	       ) == 0) {
		audit_add_cause(l, actor->name, "protect", object, "reason", actor->reason);
		fleet_touch(
			l, ITEM_PROTECT, "", "", indicator, actor->name, "protect", actor->reason
		);
		fleet_ask_item(l, ITEM_PROTECT, "protect", indicator, 0, actor);
	}
	return 0;
}

void ledger_protect(
	struct ledger *l,
	const struct indicator *indicator,
	const struct actor *actor,
	ledger_done done,
	void *ctx
)
{
	char message[192] = "";
	int r = protection_put(l, indicator, actor, message);

	pending_done(l, done, ctx, r, message);
}

int protection_end(
	struct ledger *l,
	const struct indicator *indicator,
	const struct actor *actor,
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
	    && sql_prepare(l, "DELETE FROM protections WHERE key=?1", &stmt) == 0) {
		sql_bind_key(stmt, 1, &key);
		found = sql_run(l, stmt) == 0 && sqlite3_changes(l->db) > 0;
	}
	if (!found) {
		snprintf(message, 192, "no protection of an operator's: see stanch protect");
		return -ENOENT;
	}
	audit_add_cause(l, actor->name, "protect.end", object, "reason", actor->reason);
	fleet_touch(l, ITEM_PROTECT, "", "", indicator, actor->name, "protect.end", actor->reason);
	// Where the commit fails, the roll-back puts it back.
	protect_remove(l->protect, PROTECT_OPERATOR, indicator);
	return 0;
}

void ledger_protect_end(
	struct ledger *l,
	const struct indicator *indicator,
	const struct actor *actor,
	ledger_done done,
	void *ctx
)
{
	char message[192] = "";
	int r = protection_end(l, indicator, actor, message);

	if (r == 0)
		fleet_ask_item(l, ITEM_PROTECT, "protect-end", indicator, 0, actor);
	pending_done(l, done, ctx, r, message);
}

struct conflicts {
	struct ledger *ledger;
	sqlite3_stmt *range;
	conflict_cb cb;
	void *ctx;
	bool ended;
	int error;
};

static bool conflict_range(
	struct conflicts *c, const struct protection *protection, const struct key_range *range
)
{
	int rc;

	sql_bind_key(c->range, 1, &range->low);
	sql_bind_key(c->range, 2, &range->high);
	while (!c->ended && (rc = sqlite3_step(c->range)) == SQLITE_ROW) {
		struct entry entry;
		struct indicator indicator;

		c->error = sql_indicator(c->range, 0, &indicator);
		if (c->error == 0 && ledger_entry_find(c->ledger, &indicator, &entry) == 0)
			c->ended = !c->cb(c->ctx, protection, &entry);
		if (c->error < 0)
			break;
	}
	sqlite3_reset(c->range);
	return !c->ended && c->error == 0;
}

static bool conflicts_of(void *ctx, const struct protection *protection)
{
	struct conflicts *c = ctx;
	struct key_range ranges[2];
	struct indicator covering;
	struct entry entry;
	int n;

	// Entries around it, then those inside it.
	for (unsigned i = 0; indicator_covering(&protection->indicator, i, &covering); i++) {
		if (indicator_equal(&covering, &protection->indicator)
		    || ledger_entry_find(c->ledger, &covering, &entry) < 0)
			continue;
		c->ended = !c->cb(c->ctx, protection, &entry);
		if (c->ended)
			return false;
	}
	n = key_ranges_inside(&protection->indicator, ranges);
	for (int i = 0; i < n; i++)
		if (!conflict_range(c, protection, &ranges[i]))
			return false;
	return true;
}

int ledger_conflicts(struct ledger *l, conflict_cb cb, void *ctx)
{
	struct conflicts c = {.ledger = l, .cb = cb, .ctx = ctx};
	int r;

	r = sql_prepare(
		l,
		"SELECT DISTINCT key FROM claims WHERE key >= ?1 AND key <= ?2 AND state < 2",
		&c.range
	);
	if (r < 0)
		return r;
	protect_each(l->protect, conflicts_of, &c);
	sqlite3_finalize(c.range);
	return c.error;
}
