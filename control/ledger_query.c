// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Reading claims. Every walk has a statement of its own: callbacks may walk and submit.

#include "control/ledger_internal.h"
#include "control/lists_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CLAIM_SELECT                                                                               \
	"SELECT c.id, s.name, c.ref, c.key, c.author, c.inferred, c.reason, c.action, c.created,"  \
	" c.until, c.state, c.orphaned_since, c.case_number, c.tlp, c.fleet"                       \
	" FROM claims c JOIN sources s ON s.id = c.source "

static int claim_read(sqlite3_stmt *stmt, struct claim *ret_claim)
{
	*ret_claim = (struct claim){
		.id = sqlite3_column_int64(stmt, 0),
		.source = sql_text(stmt, 1),
		.ref = sql_text(stmt, 2),
		.author = sql_text(stmt, 4),
		.author_inferred = sqlite3_column_int(stmt, 5),
		.reason = sql_text(stmt, 6),
		.action = (enum claim_action)sqlite3_column_int(stmt, 7),
		.created = sqlite3_column_int64(stmt, 8),
		.until = sqlite3_column_int64(stmt, 9),
		.state = (enum claim_state)sqlite3_column_int(stmt, 10),
		.orphaned_since = sqlite3_column_int64(stmt, 11),
		.case_number = sql_text(stmt, 12),
		.tlp = sqlite3_column_int(stmt, 13),
		.local = sqlite3_column_int(stmt, 14) == 1,
	};
	return sql_indicator(stmt, 3, &ret_claim->indicator);
}

// Steps through a bound statement. ret_more: the callback wants more.
static int claims_walk(struct ledger *l, sqlite3_stmt *stmt, claim_cb cb, void *ctx, bool *ret_more)
{
	int rc;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct claim claim;

		if (claim_read(stmt, &claim) < 0)
			return -EILSEQ;
		if (!cb(ctx, &claim)) {
			*ret_more = false;
			sqlite3_reset(stmt);
			return 0;
		}
	}
	sqlite3_reset(stmt);
	return sql_errno(rc, l->db);
}

static int claims_of_source(
	struct ledger *l, int64_t source, const char *ref_prefix, claim_cb cb, void *ctx, bool *more
)
{
	scoped_stmt stmt = NULL;
	char end[1024];
	size_t len = strlen(ref_prefix);
	int r;

	if (len >= sizeof(end))
		return -EINVAL;
	// The first text past all that begin with the prefix; references are UTF-8, never ff.
	memcpy(end, ref_prefix, len + 1);
	if (len > 0)
		end[len - 1] = (char)((unsigned char)end[len - 1] + 1);
	r = sql_kept(
		l,
		len > 0 ? CLAIM_SELECT "WHERE c.source=?1 AND c.ref >= ?2 AND c.ref < ?3"
			: CLAIM_SELECT "WHERE c.source=?1",
		&stmt
	);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, source);
	if (len > 0) {
		sql_bind_text(stmt, 2, ref_prefix);
		sql_bind_text(stmt, 3, end);
	}
	return claims_walk(l, stmt, cb, ctx, more);
}

int ledger_claims_by_ref(
	struct ledger *l, const char *source, const char *ref_prefix, claim_cb cb, void *ctx
)
{
	bool more = true;
	int r = 0;

	if (source) {
		const struct source *s = source_find(l, source);

		return s ? claims_of_source(l, s->id, ref_prefix, cb, ctx, &more) : 0;
	}
	for (size_t i = 0; i < l->n_sources && more && r == 0; i++)
		r = claims_of_source(l, l->sources[i]->id, ref_prefix, cb, ctx, &more);
	return r;
}

int ledger_claims_of(
	struct ledger *l, const struct indicator *indicator, bool wide, claim_cb cb, void *ctx
)
{
	scoped_stmt equal = NULL;
	scoped_stmt range = NULL;
	struct indicator covering;
	struct key_range ranges[2];
	bool more = true;
	int n, r;

	r = sql_kept(l, CLAIM_SELECT "WHERE c.key=?1 ORDER BY c.id", &equal);
	for (unsigned i = 0; r == 0 && more && indicator_covering(indicator, i, &covering); i++) {
		struct ledger_key key;

		key_pack(&covering, &key);
		sql_bind_key(equal, 1, &key);
		r = claims_walk(l, equal, cb, ctx, &more);
	}
	if (r < 0 || !more)
		return r;
	if (!wide)
		return lists_claims_of(l->lists, indicator, false, cb, ctx);
	r = sql_kept(
		l,
		CLAIM_SELECT "WHERE c.key >= ?1 AND c.key <= ?2 AND c.key <> ?3 ORDER BY c.key",
		&range
	);
	n = key_ranges_inside(indicator, ranges);
	for (int i = 0; i < n && r == 0 && more; i++) {
		struct ledger_key key;

		key_pack(indicator, &key);
		sql_bind_key(range, 1, &ranges[i].low);
		sql_bind_key(range, 2, &ranges[i].high);
		sql_bind_key(range, 3, &key);
		r = claims_walk(l, range, cb, ctx, &more);
	}
	return r < 0 || !more ? r : lists_claims_of(l->lists, indicator, true, cb, ctx);
}

int ledger_claims_on(struct ledger *l, const struct indicator *indicator, claim_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	struct ledger_key key;
	bool more = true;
	int r = sql_kept(l, CLAIM_SELECT "WHERE c.key=?1 ORDER BY c.id", &stmt);

	if (r < 0)
		return r;
	key_pack(indicator, &key);
	sql_bind_key(stmt, 1, &key);
	return claims_walk(l, stmt, cb, ctx, &more);
}

int ledger_claims_page(struct ledger *l, int64_t after_id, size_t max, claim_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	bool more = true;
	int r = sql_kept(l, CLAIM_SELECT "WHERE c.id > ?1 ORDER BY c.id LIMIT ?2", &stmt);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, after_id);
	sqlite3_bind_int64(stmt, 2, (int64_t)max);
	return claims_walk(l, stmt, cb, ctx, &more);
}
