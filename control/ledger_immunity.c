// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Immunities: an analyst's false positive suspends the claims of lists on one address or name.

#include "control/ledger_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EXPIRE_MAX 100 // in one look

// Claims of lists count again, or no longer.
static void claims_weigh(struct ledger *l, const struct indicator *indicator)
{
	struct ledger_key key;
	struct dirty *d;

	key_pack(indicator, &key);
	d = dirty_find(l, indicator, &key);
	if (d)
		dirty_recompute(l, d);
}

static bool is_single(const struct indicator *n)
{
	if (n->kind == INDICATOR_NAME)
		return !n->subtree;
	return n->kind == INDICATOR_NET && n->prefix_len == (n->family == 4 ? 32 : 128);
}

static void object_print(const struct immunity *immunity, char *text, size_t size)
{
	const struct claim claim = {
		.source = immunity->source,
		.ref = immunity->ref,
		.indicator = immunity->indicator,
	};

	claim_object(&claim, text, size);
}

// --- a later true positive

struct later {
	int64_t than;
	bool found;
};

static bool claim_is_later(void *ctx, const struct claim *claim)
{
	struct later *later = ctx;

	later->found = strncmp(claim->source, "thehive:", 8) == 0 && claim->state != CLAIM_HELD
		&& claim->created > later->than;
	return !later->found;
}

static bool immunity_same(struct ledger *l, struct source *s, const struct immunity *immunity)
{
	scoped_stmt stmt = NULL;
	struct ledger_key key;

	if (sql_kept(
		    l,
		    "SELECT 1 FROM immunities WHERE source=?1 AND ref=?2 AND key=?3 AND created=?4"
		    " AND until=?5",
		    &stmt
	    )
	    < 0)
		return false;
	key_pack(&immunity->indicator, &key);
	sqlite3_bind_int64(stmt, 1, s->id);
	sql_bind_text(stmt, 2, immunity->ref);
	sql_bind_key(stmt, 3, &key);
	sqlite3_bind_int64(stmt, 4, immunity->created);
	sqlite3_bind_int64(stmt, 5, immunity->until);
	return sqlite3_step(stmt) == SQLITE_ROW;
}

int immunity_write(struct ledger *l, struct source *s, const struct immunity *immunity)
{
	scoped_stmt stmt = NULL;
	struct ledger_key key;
	int r = sql_kept(
		l, "INSERT OR REPLACE INTO immunities VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", &stmt
	);

	if (r < 0)
		return r;
	key_pack(&immunity->indicator, &key);
	// How things stand before it, lists included.
	dirty_find(l, &immunity->indicator, &key);
	claimed_note(l, &key);
	sqlite3_bind_int64(stmt, 1, s->id);
	sql_bind_text(stmt, 2, immunity->ref);
	sql_bind_key(stmt, 3, &key);
	sqlite3_bind_int64(stmt, 4, immunity->created);
	sqlite3_bind_int64(stmt, 5, immunity->until);
	sql_bind_text(stmt, 6, immunity->author);
	sql_bind_text(stmt, 7, immunity->reason);
	r = sql_run(l, stmt);
	if (r == 0)
		claims_weigh(l, &immunity->indicator);
	return r;
}

int ledger_immunity_put(struct ledger *l, const struct immunity *immunity, const char *actor)
{
	struct later later = {.than = immunity->created};
	char object[1024];
	int r;

	if (!is_single(&immunity->indicator) || immunity->until <= clock_wall(l)
	    || immunity->until - immunity->created > IMMUNITY_MAX)
		return -EINVAL;
	r = transaction_begin(l);
	if (r < 0)
		return r;
	struct source *s = source_get(l, immunity->source);
	if (!s)
		return l->error;
	if (immunity_same(l, s, immunity))
		return 0;
	ledger_claims_of(l, &immunity->indicator, false, claim_is_later, &later);
	if (later.found)
		return -EEXIST;
	r = immunity_write(l, s, immunity);
	if (r < 0)
		return r;
	object_print(immunity, object, sizeof(object));
	audit_add_cause(l, actor, "immunity.put", object, "reason", immunity->reason);
	fleet_touch(
		l,
		ITEM_IMMUNITY,
		immunity->source,
		immunity->ref,
		&immunity->indicator,
		actor,
		"immunity.put",
		immunity->reason
	);
	return 0;
}

int ledger_immunity_end(
	struct ledger *l,
	const char *source,
	const char *ref,
	const struct indicator *indicator,
	const char *actor,
	const char *cause
)
{
	scoped_stmt stmt = NULL;
	const struct immunity immunity = {.source = source, .ref = ref, .indicator = *indicator};
	struct source *s = source_find(l, source);
	struct ledger_key key;
	char object[1024];
	int r = s ? transaction_begin(l) : -ENOENT;

	if (r == 0)
		r = sql_kept(
			l, "DELETE FROM immunities WHERE source=?1 AND ref=?2 AND key=?3", &stmt
		);
	if (r < 0)
		return r;
	key_pack(indicator, &key);
	dirty_find(l, indicator, &key);
	sqlite3_bind_int64(stmt, 1, s->id);
	sql_bind_text(stmt, 2, ref);
	sql_bind_key(stmt, 3, &key);
	r = sql_run(l, stmt);
	if (r < 0)
		return r;
	if (sqlite3_changes(l->db) == 0)
		return -ENOENT;
	object_print(&immunity, object, sizeof(object));
	audit_add_cause(l, actor, "immunity.end", object, "cause", cause);
	fleet_touch(l, ITEM_IMMUNITY, source, ref, indicator, actor, "immunity.end", cause);
	claims_weigh(l, indicator);
	return 0;
}

// --- looking

#define COLUMNS                                                                                    \
	"SELECT s.name, i.ref, i.key, i.created, i.until, i.author, i.reason"                      \
	" FROM immunities i JOIN sources s ON s.id = i.source WHERE "

static int rows_take(struct ledger *l, sqlite3_stmt *stmt, immunity_cb cb, void *ctx)
{
	int rc;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct immunity immunity = {
			.source = sql_text(stmt, 0),
			.ref = sql_text(stmt, 1),
			.created = sqlite3_column_int64(stmt, 3),
			.until = sqlite3_column_int64(stmt, 4),
			.author = sql_text(stmt, 5),
			.reason = sql_text(stmt, 6),
		};

		if (sql_indicator(stmt, 2, &immunity.indicator) == 0 && !cb(ctx, &immunity))
			return 0;
	}
	return sql_errno(rc, l->db);
}

int ledger_immunities(
	struct ledger *l, const char *source, const char *ref_prefix, immunity_cb cb, void *ctx
)
{
	scoped_stmt stmt = NULL;
	int r = sql_kept(
		l,
		COLUMNS "s.name = ?1 AND i.ref >= ?2 AND i.ref < ?2 || char(1114111)"
			" ORDER BY i.ref",
		&stmt
	);

	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, source);
	sql_bind_text(stmt, 2, ref_prefix);
	return rows_take(l, stmt, cb, ctx);
}

int ledger_immunities_of(
	struct ledger *l, const struct indicator *indicator, immunity_cb cb, void *ctx
)
{
	scoped_stmt stmt = NULL;
	struct ledger_key key;
	int r = sql_kept(l, COLUMNS "i.key = ?1", &stmt);

	if (r < 0)
		return r;
	key_pack(indicator, &key);
	sql_bind_key(stmt, 1, &key);
	return rows_take(l, stmt, cb, ctx);
}

bool ledger_immune(struct ledger *l, const struct indicator *indicator)
{
	sqlite3_stmt *stmt = l->stmts[STMT_IMMUNE];
	struct ledger_key key;
	bool immune;

	key_pack(indicator, &key);
	sql_bind_key(stmt, 1, &key);
	immune = sqlite3_step(stmt) == SQLITE_ROW;
	sqlite3_reset(stmt);
	return immune;
}

// --- ends

// One that is read; the statement is finalized before anything is written.
struct found {
	struct immunity immunity;
	char source[128], ref[512];
	bool any;
};

static bool found_take(void *ctx, const struct immunity *immunity)
{
	struct found *found = ctx;

	found->immunity = *immunity;
	snprintf(found->source, sizeof(found->source), "%s", immunity->source);
	snprintf(found->ref, sizeof(found->ref), "%s", immunity->ref);
	found->immunity.source = found->source;
	found->immunity.ref = found->ref;
	found->any = true;
	return false;
}

static int found_end(struct ledger *l, const struct found *found, const char *cause)
{
	const struct immunity *i = &found->immunity;

	return ledger_immunity_end(l, i->source, i->ref, &i->indicator, "ledger", cause);
}

void immunities_judged(struct ledger *l, const struct indicator *denied)
{
	struct indicator n = *denied;

	if (n.kind == INDICATOR_NAME)
		n.subtree = 0;
	while (ledger_immune(l, &n)) {
		struct found found = {0};

		if (ledger_immunities_of(l, &n, found_take, &found) < 0 || !found.any
		    || found_end(l, &found, "a later true positive") < 0)
			return;
	}
}

static int due_find(struct ledger *l, int64_t now, struct found *found)
{
	scoped_stmt stmt = NULL;
	int r = sql_kept(l, COLUMNS "i.until <= ?1 LIMIT 1", &stmt);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, now);
	return rows_take(l, stmt, found_take, found);
}

void immunities_expire(struct ledger *l, int64_t now)
{
	for (unsigned i = 0; i < EXPIRE_MAX; i++) {
		struct found found = {0};

		if (due_find(l, now, &found) < 0 || !found.any
		    || found_end(l, &found, "its end has come") < 0)
			return;
	}
}
