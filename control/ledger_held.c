// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Held changes: one row a source; its claims wait in the table of claims, in state HELD. A row
// goes with its last claim.

#include "control/ledger_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int held_group(struct ledger *l, struct source *source, const char *why, int64_t *ret_id)
{
	sqlite3_stmt *stmt = l->stmts[STMT_HELD_FIND];
	int rc;

	sqlite3_bind_int64(stmt, 1, source->id);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret_id = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	if (rc == SQLITE_ROW)
		return 0;
	stmt = l->stmts[STMT_HELD_ADD];
	sqlite3_bind_int64(stmt, 1, source->id);
	sql_bind_text(stmt, 2, why);
	sqlite3_bind_int64(stmt, 3, clock_wall(l));
	if (sql_run(l, stmt) < 0)
		return l->error;
	*ret_id = sqlite3_last_insert_rowid(l->db);
	return 0;
}

void held_count(struct ledger *l, int64_t held_id, int by)
{
	sqlite3_bind_int64(l->stmts[STMT_HELD_COUNT], 1, held_id);
	sqlite3_bind_int(l->stmts[STMT_HELD_COUNT], 2, by);
	sql_run(l, l->stmts[STMT_HELD_COUNT]);
	if (by > 0)
		return;
	sqlite3_bind_int64(l->stmts[STMT_HELD_END], 1, held_id);
	sql_run(l, l->stmts[STMT_HELD_END]);
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

		r = held_summary(l, held.id, (int64_t)held.n_claims, summary, sizeof(summary));
		if (r < 0)
			return r;
		if (!cb(ctx, &held))
			return 0;
	}
	return sql_errno(rc, l->db);
}

struct held_claim {
	struct claim claim;
	struct claim_row row;
	struct source *source;
	char *ref;
};

static void held_claims_free(struct held_claim *claims, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(claims[i].ref);
	free(claims);
}

// All claims of a held change, read before any of them is written. 0: no such change.
static long held_read(struct ledger *l, int64_t id, struct held_claim **ret_claims)
{
	scoped_stmt stmt = NULL;
	struct held_claim *claims = NULL;
	size_t n = 0;
	int r;

	r = sql_prepare(
		l, "SELECT id, source, ref, key, action, until FROM claims WHERE held=?1", &stmt
	);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, id);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		struct held_claim *more = realloc(claims, (n + 1) * sizeof(*claims)), *c;

		if (!more) {
			held_claims_free(claims, n);
			return -ENOMEM;
		}
		claims = more;
		c = &claims[n];
		*c = (struct held_claim){0};
		c->row.id = sqlite3_column_int64(stmt, 0);
		c->source = source_by_id(l, sqlite3_column_int64(stmt, 1));
		c->ref = strdup(sql_text(stmt, 2));
		c->claim.source = c->source ? c->source->name : "";
		c->claim.ref = c->ref;
		c->row.held_id = id;
		c->row.action = (enum claim_action)sqlite3_column_int(stmt, 4);
		c->row.until = sqlite3_column_int64(stmt, 5);
		c->row.state = CLAIM_HELD;
		if (c->ref && sql_indicator(stmt, 3, &c->claim.indicator) == 0)
			n++;
	}
	*ret_claims = claims;
	return (long)n;
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
	dirty_raise(l, d, c->row.action, c->row.until);
	claim_object(&c->claim, object, sizeof(object));
	audit_add_cause(l, actor->name, "claim.approve", object, "reason", actor->reason);
	return true;
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
	struct held_claim *claims = NULL;
	char message[192], object[32];
	long n = held_read(l, id, &claims);
	long taken = 0;

	if (n <= 0) {
		free(claims);
		snprintf(
			message, sizeof(message), "no held change %" PRId64 ": see stanch held", id
		);
		pending_done(l, done, ctx, n < 0 ? (int)n : -ENOENT, message);
		return;
	}
	transaction_begin(l);
	for (long i = 0; i < n && !l->error; i++)
		if (approve)
			taken += claim_approve(l, &claims[i], actor);
		else
			claim_end(
				l,
				claims[i].source,
				&claims[i].claim,
				&claims[i].row,
				actor->name,
				"claim.reject",
				actor->reason
			);
	snprintf(object, sizeof(object), "held %" PRId64, id);
	audit_add_cause(
		l,
		actor->name,
		approve ? "held.approve" : "held.reject",
		object,
		"reason",
		actor->reason
	);
	snprintf(
		message,
		sizeof(message),
		approve ? "%ld of %ld claims are in force; the others were refused, see stanch "
			  "audit"
			: "%ld of %ld claims are in force; the change is gone",
		taken,
		n
	);
	if (approve && taken == n)
		snprintf(message, sizeof(message), "%ld claims are in force", n);
	l->n_open += (size_t)n;
	held_claims_free(claims, (size_t)n);
	pending_done(l, done, ctx, 0, message);
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
