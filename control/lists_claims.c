// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Members of lists as claims, for `why` and for listings.

#include "control/lists_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct giving {
	struct lists *lists;
	sqlite3_stmt *attr;
	const char *name; // of the list
	claim_cb cb;
	void *ctx;
	bool more;
};

static int member_give(struct giving *g, const struct list_member *m)
{
	char source[LIST_NAME_MAX + 8];
	struct claim claim = {
		.source = source,
		.ref = "",
		.author = g->name,
		.reason = "",
		.case_number = "",
		.action = m->actions & LIST_ENFORCE ? CLAIM_ENFORCE : CLAIM_MONITOR,
		.until = m->until,
		.tlp = -1,
	};

	// Refused: it does nothing, and the count says so.
	if (m->actions == 0)
		return 0;
	if (key_unpack(m->key.octets, m->key.len, &claim.indicator) < 0)
		return -EILSEQ;
	snprintf(source, sizeof(source), LIST_SOURCE "%s", g->name);
	sqlite3_bind_int64(g->attr, 1, m->attr);
	if (sqlite3_step(g->attr) == SQLITE_ROW) {
		claim.reason = sql_text(g->attr, 0);
		claim.ref = sql_text(g->attr, 1);
	}
	g->more = g->cb(g->ctx, &claim);
	sqlite3_reset(g->attr);
	return 0;
}

static int giving_init(struct giving *g, struct lists *ls, claim_cb cb, void *ctx)
{
	*g = (struct giving){.lists = ls, .cb = cb, .ctx = ctx, .more = true};
	return lists_db_prepare(
		&ls->db, "SELECT reason, reference FROM attrs WHERE id=?1", &g->attr
	);
}

static int equal_give(struct giving *g, struct loop_list *l, const struct ledger_key *key)
{
	struct list_member m;
	int r = cursor_find(&l->cursor, key, &m);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return member_give(g, &m);
}

static int range_give(
	struct giving *g, uint32_t list, const struct key_range *range, const struct ledger_key *but
)
{
	struct list_cursor c;
	int r;

	cursor_init(&c, &g->lists->db, list);
	r = cursor_seek(&c, &range->low);
	while (r == 1 && g->more && key_compare(&cursor_member(&c)->key, &range->high) <= 0) {
		if (key_compare(&cursor_member(&c)->key, but) != 0)
			r = member_give(g, cursor_member(&c));
		if (r >= 0)
			r = cursor_next(&c);
	}
	cursor_fini(&c);
	return r < 0 ? r : 0;
}

static int inside_give(struct giving *g, struct loop_list *l, const struct indicator *indicator)
{
	struct key_range ranges[2];
	struct ledger_key key;
	int n = key_ranges_inside(indicator, ranges), r = 0;

	key_pack(indicator, &key);
	for (int i = 0; i < n && r == 0 && g->more; i++)
		r = range_give(g, l->status.id, &ranges[i], &key);
	return r;
}

int lists_claims_of(
	struct lists *ls, const struct indicator *indicator, bool wide, claim_cb cb, void *ctx
)
{
	struct giving g;
	int r;

	if (!lists_any(ls))
		return 0;
	r = giving_init(&g, ls, cb, ctx);
	for (size_t i = 0; i < ls->n && r == 0 && g.more; i++) {
		struct loop_list *l = &ls->lists[i];
		struct indicator covering;

		if (!l->any)
			continue;
		g.name = l->status.name;
		for (unsigned c = 0;
		     r == 0 && g.more && indicator_covering(indicator, c, &covering);
		     c++) {
			struct ledger_key key;

			key_pack(&covering, &key);
			r = equal_give(&g, l, &key);
		}
		if (r == 0 && wide && g.more)
			r = inside_give(&g, l, indicator);
	}
	sqlite3_finalize(g.attr);
	return r;
}

int lists_members_page(
	struct lists *ls, uint32_t list, const char *after, size_t max, claim_cb cb, void *ctx
)
{
	struct ledger_key from = {.len = 0};
	struct list_cursor c;
	struct giving g;
	int r;

	if (*after) {
		struct indicator n;
		struct indicator_error error;

		if (indicator_parse(after, strlen(after), &n, &error) < 0)
			return -EINVAL;
		key_pack(&n, &from);
	}
	r = giving_init(&g, ls, cb, ctx);
	if (r < 0)
		return r;
	g.name = lists_name(ls, list);
	cursor_init(&c, &ls->db, list);
	r = from.len ? cursor_seek(&c, &from) : cursor_next(&c);
	if (r == 1 && from.len && key_compare(&cursor_member(&c)->key, &from) == 0)
		r = cursor_next(&c);
	for (size_t n = 0; r == 1 && g.more && n < max; n++) {
		r = member_give(&g, cursor_member(&c));
		if (r == 0)
			r = cursor_next(&c);
	}
	cursor_fini(&c);
	sqlite3_finalize(g.attr);
	return r < 0 ? r : 0;
}
