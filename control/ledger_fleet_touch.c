// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a leader's commit touched. Writers only say what; how it is then is read once, when the
// commit is written: a claim put and ended within it is one item.

#include "control/ledger_fleet_internal.h"
#include "control/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAIL_MAX 160 // of a record: up, end

static const char *text_of(const char *text)
{
	return text ? text : "";
}

void touches_free(struct ledger *l)
{
	struct fleet_touch *t, *next;
	struct fleet_members *m;

	HASH_ITER(hh, l->fleet->touched, t, next)
	{
		HASH_DEL(l->fleet->touched, t);
		free(t);
	}
	l->fleet->touched = NULL;
	while ((m = STAILQ_FIRST(&l->fleet->members))) {
		STAILQ_REMOVE_HEAD(&l->fleet->members, link);
		free(m);
	}
}

static char *append(char **at, const char *text)
{
	size_t len = strlen(text) + 1;
	char *from = *at;

	memcpy(from, text, len);
	*at += len;
	return from;
}

static struct fleet_touch *touch_create(
	enum fleet_item_kind kind,
	const char *source,
	const char *ref,
	const struct ledger_key *key,
	size_t more
)
{
	size_t len = 1 + key->len + strlen(source) + 1 + strlen(ref) + 1;
	struct fleet_touch *t = calloc(1, sizeof(*t) + len + more);
	char *at;

	if (!t)
		return NULL;
	t->kind = kind;
	t->ident_len = len;
	t->ident[0] = (char)kind;
	at = t->ident + 1;
	memcpy(at, key->octets, key->len);
	at += key->len;
	t->source = append(&at, source);
	t->ref = append(&at, ref);
	return t;
}

// The last to touch it is who the record names.
static void touch_enter(struct ledger *l, struct fleet_touch *t)
{
	struct fleet_touch *was;

	HASH_FIND(hh, l->fleet->touched, t->ident, t->ident_len, was);
	if (was) {
		HASH_DEL(l->fleet->touched, was);
		free(was);
	}
	HASH_ADD_KEYPTR(hh, l->fleet->touched, t->ident, t->ident_len, t);
}

static struct fleet_touch *
touch(struct ledger *l,
      enum fleet_item_kind kind,
      const char *source,
      const char *ref,
      const struct indicator *indicator,
      const char *actor,
      const char *as,
      const char *why)
{
	struct ledger_key key;
	struct fleet_touch *t;
	char *at;

	key.len = 0;
	if (indicator)
		key_pack(indicator, &key);
	t = touch_create(
		kind,
		text_of(source),
		text_of(ref),
		&key,
		strlen(text_of(actor)) + strlen(as) + strlen(text_of(why)) + 3
	);
	if (!t) {
		transaction_fail(l, -ENOMEM);
		return NULL;
	}
	if (indicator)
		t->indicator = *indicator;
	at = t->ident + t->ident_len;
	t->actor = append(&at, text_of(actor));
	t->as = append(&at, as);
	t->why = append(&at, text_of(why));
	touch_enter(l, t);
	return t;
}

void fleet_touch(
	struct ledger *l,
	enum fleet_item_kind kind,
	const char *source,
	const char *ref,
	const struct indicator *indicator,
	const char *actor,
	const char *as,
	const char *why
)
{
	if (l->now.fleet.leads && !l->error)
		touch(l, kind, source, ref, indicator, actor, as, why);
}

void fleet_touch_row(
	struct ledger *l,
	const struct claim *claim,
	int64_t id,
	const char *actor,
	const char *as,
	const char *why
)
{
	struct fleet_touch *t;

	if (!l->now.fleet.leads || l->error)
		return;
	t = touch(l, ITEM_CLAIM, claim->source, claim->ref, &claim->indicator, actor, as, why);
	if (t)
		t->row = id;
}

void fleet_touch_claim(
	struct ledger *l,
	const struct claim *claim,
	const char *actor,
	const char *as,
	const char *why
)
{
	fleet_touch(l, ITEM_CLAIM, claim->source, claim->ref, &claim->indicator, actor, as, why);
}

void fleet_touch_asked(struct ledger *l, const struct fleet_item *asked)
{
	struct ledger_key key = {.len = 0};
	struct fleet_touch *t;
	char seq[24], *at;

	snprintf(seq, sizeof(seq), "%" PRIu64, asked->seq);
	t = touch_create(
		ITEM_ASKED, asked->claim.source, seq, &key, strlen(asked->claim.reason) + 1
	);
	if (!t) {
		transaction_fail(l, -ENOMEM);
		return;
	}
	t->asked = *asked;
	at = t->ident + t->ident_len;
	t->asked.claim.source = t->source;
	t->asked.claim.ref = "";
	t->asked.claim.reason = append(&at, asked->claim.reason);
	touch_enter(l, t);
}

// --- how it is now

static void claim_row(sqlite3_stmt *stmt, struct fleet_item *i)
{
	struct claim *c = &i->claim;

	c->until = sqlite3_column_int64(stmt, 1);
	c->created = sqlite3_column_int64(stmt, 2);
	c->orphaned_since = sqlite3_column_int64(stmt, 3);
	c->action = (enum claim_action)sqlite3_column_int(stmt, 5);
	c->state = (enum claim_state)sqlite3_column_int(stmt, 6);
	c->author = sql_text(stmt, 7);
	c->author_inferred = sqlite3_column_int(stmt, 8);
	c->reason = sql_text(stmt, 9);
	c->case_number = sql_text(stmt, 10);
	c->tlp = sqlite3_column_int(stmt, 11);
	i->held = sqlite3_column_int(stmt, 15);
}

// created, until, author, reason, n
static void plain_row(sqlite3_stmt *stmt, struct fleet_item *i)
{
	i->claim.created = sqlite3_column_int64(stmt, 0);
	i->claim.until = sqlite3_column_int64(stmt, 1);
	i->claim.author = sql_text(stmt, 2);
	i->claim.reason = sql_text(stmt, 3);
	i->n = sqlite3_column_int64(stmt, 4);
}

static const char *const plain_sql[ITEM_KINDS] = {
	[ITEM_ALLOW] = "SELECT created, until, author, reason, 0 FROM allows WHERE key=?3",
	[ITEM_IMMUNITY] = "SELECT created, until, author, reason, 0 FROM immunities"
			  " WHERE source=?1 AND ref=?2 AND key=?3",
	[ITEM_PROTECT] = "SELECT created, 9223372036854775807, author, reason, 0 FROM protections"
			 " WHERE key=?3",
	// Claims that are held are counted by whoever has them.
	[ITEM_HELD] = "SELECT since, 9223372036854775807, '', why, CASE WHEN EXISTS"
		      " (SELECT 1 FROM claims WHERE held = held.id) THEN 0 ELSE n END"
		      " FROM held WHERE source=?1 AND shrink = ?2 - 1",
};

int item_load(struct ledger *l, struct fleet_item *i, sqlite3_stmt **ret_stmt)
{
	const struct source *source = *i->claim.source ? source_find(l, i->claim.source) : NULL;
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_CLAIM];
	int rc, r;

	i->gone = true;
	*ret_stmt = NULL;
	if (i->kind == ITEM_PAUSE) {
		i->gone = false;
		i->claim.until = l->now.fleet.pause_until;
		return 0;
	}
	if (item_is_note(i->kind))
		return note_load(l, i, ret_stmt);
	if (i->kind != ITEM_CLAIM) {
		r = sql_prepare(l, plain_sql[i->kind], &stmt);
		if (r < 0)
			return r;
	}
	sqlite3_bind_int64(stmt, 1, source ? source->id : 0);
	sql_bind_text(stmt, 2, i->claim.ref);
	if (i->kind != ITEM_HELD)
		sql_bind_key(stmt, 3, &i->key);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		i->gone = false;
		if (i->kind == ITEM_CLAIM)
			claim_row(stmt, i);
		else
			plain_row(stmt, i);
	}
	*ret_stmt = stmt;
	return sql_errno(rc, l->db);
}

static void item_release(struct ledger *l, sqlite3_stmt *stmt)
{
	if (stmt == l->stmts[STMT_FLEET_CLAIM] || stmt == l->stmts[STMT_FLEET_CLAIM_ROW])
		sqlite3_reset(stmt);
	else
		sqlite3_finalize(stmt);
}

// By its row, where the touch knows it: half the way of a look by key.
static int row_load(struct ledger *l, int64_t id, struct fleet_item *i, sqlite3_stmt **ret_stmt)
{
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_CLAIM_ROW];
	int rc;

	sqlite3_bind_int64(stmt, 1, id);
	rc = sqlite3_step(stmt);
	i->gone = rc != SQLITE_ROW;
	if (rc == SQLITE_ROW)
		claim_row(stmt, i);
	*ret_stmt = stmt;
	return sql_errno(rc, l->db);
}

static void touch_print(struct ledger *l, const struct fleet_touch *t, struct fleet_text *text)
{
	struct fleet_item item = {
		.kind = t->kind,
		.claim = {
			.source = t->source,
			.ref = t->ref,
			.indicator = t->indicator,
			.until = UNTIL_FOREVER,
			.tlp = -1,
		},
		.actor = t->actor,
		.as = t->as,
		.why = t->why,
	};
	sqlite3_stmt *stmt;
	int r;

	if (t->kind == ITEM_ASKED) {
		item_print(text, &t->asked);
		return;
	}
	if (t->kind == ITEM_HELD)
		item.held = t->ref[0] == '2' ? 2 : 1;
	if (!item_is_note(t->kind))
		key_pack(&t->indicator, &item.key);
	r = t->row ? row_load(l, t->row, &item, &stmt) : item_load(l, &item, &stmt);
	if (r < 0)
		transaction_fail(l, r);
	else
		item_print(text, &item);
	item_release(l, stmt);
}

// --- records

struct making {
	struct ledger *ledger;
	struct fleet_text text; // the record under way
	size_t n; // items in it
};

static void making_end(struct making *m, bool last)
{
	struct ledger *l = m->ledger;
	struct fleet_text *t = &m->text;
	char digest[DIGEST_TEXT_MAX];

	if (m->n == 0)
		return;
	text_add(t, "]", 1);
	if (l->now.fleet.up[0]) {
		text_add(t, ",\"up\":", 6);
		text_string(t, l->now.fleet.up);
	}
	if (last) {
		digest_print(l->now.digest, digest);
		text_printf(
			t,
			",\"end\":{\"count\":%" PRIu64 ",\"digest\":\"%s\"}",
			l->now.tally.entries,
			digest
		);
	}
	text_add(t, "}", 1);
	if (t->failed)
		transaction_fail(l, -ENOMEM);
	if (!l->error)
		record_make(l, FLEET_STATE, t->text, t->len);
	t->len = 0;
	m->n = 0;
}

static void making_touch(struct making *m, const struct fleet_touch *touch)
{
	struct fleet_text *t = &m->text;
	size_t was = t->len;

	text_add(t, m->n ? "," : "{\"items\":[", m->n ? 1 : 10);
	touch_print(m->ledger, touch, t);
	if (t->failed)
		transaction_fail(m->ledger, -ENOMEM);
	if (++m->n == 1 || t->len + TAIL_MAX <= FLEET_RECORD_MAX || m->ledger->error)
		return;
	// It begins the next one.
	t->len = was;
	m->n--;
	making_end(m, false);
	making_touch(m, touch);
}

static void members_flush(struct ledger *l)
{
	struct fleet_members *m;

	STAILQ_FOREACH(m, &l->fleet->members, link)
	{
		if (l->error)
			return;
		if (!STAILQ_NEXT(m, link)) {
			m->data[0] |= MEMBERS_END;
			for (int i = 0; i < 8; i++)
				m->data[1 + i] = (uint8_t)(l->now.tally.entries >> (56 - 8 * i));
			digest_pack(l->now.digest, m->data + 9);
		}
		record_make(l, FLEET_MEMBERS, m->data, m->len);
	}
}

// Answers first: what an ask became follows them.
void fleet_flush(struct ledger *l)
{
	struct making m = {.ledger = l};
	struct fleet_touch *t, *next;

	if (!l->fleet)
		return;
	for (int answers = 1; answers >= 0; answers--)
		HASH_ITER(hh, l->fleet->touched, t, next)
	if (!l->error && (t->kind == ITEM_ASKED) == answers)
		making_touch(&m, t);
	making_end(&m, STAILQ_EMPTY(&l->fleet->members));
	text_free(&m.text);
	members_flush(l);
	if (l->now.fleet.leads && l->now.fleet.place.number != l->saved.fleet.place.number
	    && !l->error) {
		l->now.fleet.end_number = l->now.fleet.place.number;
		l->now.fleet.end_count = l->now.tally.entries;
		l->now.fleet.end_digest = l->now.digest;
	}
	if (!l->error && l->fleet->import && !import_sweep_verify(l))
		transaction_fail(l, -EILSEQ);
	touches_free(l);
}
