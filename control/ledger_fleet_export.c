// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A checkpoint is written while the ledger moves: what a slice has read may change behind it, and
// then a record between the two places says so.

#include "control/ledger_fleet_internal.h"
#include "control/lists_internal.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 200 // rows in one turn of the loop: about two milliseconds
#define TAIL 8 // of a chunk

enum part {
	PART_FEW, // pause, held rows, answers, allows, protections
	PART_IMMUNITIES,
	PART_CLAIMS,
	PART_TOLD,
	PART_NOTES,
	PART_LISTS,
	PART_END,
};

struct fleet_export {
	struct ledger *ledger;
	struct event *next;
	fleet_chunk_cb chunk;
	fleet_export_done done;
	void *ctx;
	struct fleet_place from;
	enum part part;
	struct fleet_text text;
	bool paused;
	int64_t after; // id of a claim
	// the last immunity
	int64_t source;
	char *ref;
	struct ledger_key key;
	char *owner; // of the last note, whose key is `ref`
	struct lists_export *lists;
};

void ledger_fleet_export_free(struct fleet_export *x)
{
	if (!x)
		return;
	if (x->ledger->fleet)
		x->ledger->fleet->export = NULL;
	if (x->next)
		event_free(x->next);
	if (x->lists)
		lists_fleet_export_close(x->lists);
	text_free(&x->text);
	free(x->ref);
	free(x->owner);
	free(x);
}

void export_free(struct ledger *l)
{
	ledger_fleet_export_free(l->fleet->export);
}

static int chunk_give(struct fleet_export *x)
{
	if (x->text.len == 0)
		return 0;
	text_add(&x->text, "]}", 2);
	if (x->text.failed)
		return -ENOMEM;
	x->paused |= !x->chunk(x->ctx, x->text.text, x->text.len);
	x->text.len = 0;
	return 0;
}

static int item_give(struct fleet_export *x, const struct fleet_item *i)
{
	size_t was = x->text.len;
	int r;

	text_add(&x->text, was ? "," : "{\"items\":[", was ? 1 : 10);
	item_print(&x->text, i);
	if (x->text.failed)
		return -ENOMEM;
	if (was == 0 || x->text.len + TAIL <= FLEET_RECORD_MAX)
		return 0;
	x->text.len = was;
	r = chunk_give(x);
	return r < 0 ? r : item_give(x, i);
}

// source, ref, key, created, until, author, reason, n, shrink
static void row_read(sqlite3_stmt *stmt, struct fleet_item *i)
{
	i->claim.source = sql_text(stmt, 0);
	i->claim.ref = sql_text(stmt, 1);
	i->claim.created = sqlite3_column_int64(stmt, 3);
	i->claim.until = sqlite3_column_int64(stmt, 4);
	i->claim.author = sql_text(stmt, 5);
	i->claim.reason = sql_text(stmt, 6);
	i->n = sqlite3_column_int64(stmt, 7);
	i->held = sqlite3_column_int(stmt, 8);
}

static int
rows_give(struct fleet_export *x, enum fleet_item_kind kind, sqlite3_stmt *stmt, size_t *ret_n)
{
	int rc = SQLITE_DONE, r = 0;
	size_t n = 0;

	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct fleet_item i = {.kind = kind, .actor = "", .as = "", .why = ""};

		n++;
		row_read(stmt, &i);
		if (kind != ITEM_HELD && sql_indicator(stmt, 2, &i.claim.indicator) < 0)
			return -EILSEQ;
		r = item_give(x, &i);
	}
	if (ret_n)
		*ret_n = n;
	return r < 0 ? r : sql_errno(rc, x->ledger->db);
}

static int table_give(struct fleet_export *x, enum fleet_item_kind kind, const char *sql)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(x->ledger, sql, &stmt);

	return r < 0 ? r : rows_give(x, kind, stmt, NULL);
}

static int answers_give(struct fleet_export *x)
{
	scoped_stmt stmt = NULL;
	int rc = SQLITE_DONE,
	    r = sql_prepare(
		    x->ledger, "SELECT gateway, seq, code, message FROM fleet_asked", &stmt
	    );

	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct fleet_item i = {
			.kind = ITEM_ASKED,
			.claim = {
				.source = sql_text(stmt, 0),
				.ref = "",
				.reason = sql_text(stmt, 3),
			},
			.seq = (uint64_t)sqlite3_column_int64(stmt, 1),
			.code = sqlite3_column_int(stmt, 2),
		};

		r = item_give(x, &i);
	}
	return r < 0 ? r : sql_errno(rc, x->ledger->db);
}

static int few_give(struct fleet_export *x)
{
	struct fleet_item pause = {
		.kind = ITEM_PAUSE,
		.claim.until = x->ledger->now.fleet.pause_until,
		.actor = "",
		.as = "",
		.why = "",
	};
	int r = item_give(x, &pause);

	if (r == 0)
		r = answers_give(x);
	if (r == 0)
		r = table_give(
			x,
			ITEM_HELD,
			"SELECT s.name, '', '', h.since, 9223372036854775807, '', h.why,"
			" CASE WHEN EXISTS (SELECT 1 FROM claims WHERE held = h.id)"
			" THEN 0 ELSE h.n END, 1 + h.shrink"
			" FROM held h JOIN sources s ON s.id = h.source"
		);
	if (r == 0)
		r = table_give(
			x,
			ITEM_ALLOW,
			"SELECT '', '', key, created, until, author, reason, 0, 0 FROM allows"
		);
	if (r == 0)
		r = table_give(
			x,
			ITEM_PROTECT,
			"SELECT '', '', key, created, 9223372036854775807, author, reason, 0, 0"
			" FROM protections"
		);
	x->part = PART_IMMUNITIES;
	return r;
}

static int immunities_give(struct fleet_export *x)
{
	scoped_stmt stmt = NULL;
	int rc = SQLITE_DONE, r;
	size_t n = 0;

	r = sql_prepare(
		x->ledger,
		"SELECT s.name, i.ref, i.key, i.created, i.until, i.author, i.reason, 0, 0,"
		" i.source FROM immunities i JOIN sources s ON s.id = i.source"
		" WHERE (i.source, i.ref, i.key) > (?1, ?2, ?3)"
		" ORDER BY i.source, i.ref, i.key LIMIT ?4",
		&stmt
	);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, x->source);
	sql_bind_text(stmt, 2, x->ref);
	sql_bind_key(stmt, 3, &x->key);
	sqlite3_bind_int(stmt, 4, SLICE);
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct fleet_item i = {.kind = ITEM_IMMUNITY, .actor = "", .as = "", .why = ""};

		row_read(stmt, &i);
		if (sql_indicator(stmt, 2, &i.claim.indicator) < 0)
			return -EILSEQ;
		r = item_give(x, &i);
		if (++n < SLICE)
			continue;
		// Where the next slice begins; the statement ends here.
		x->source = sqlite3_column_int64(stmt, 9);
		free(x->ref);
		x->ref = strdup(i.claim.ref);
		key_pack(&i.claim.indicator, &x->key);
		return x->ref ? r : -ENOMEM;
	}
	x->part = PART_CLAIMS;
	return r < 0 ? r : sql_errno(rc, x->ledger->db);
}

// Where the next slice begins.
static int note_at(struct fleet_export *x, const struct fleet_item *i)
{
	char *owner = strdup(i->claim.source), *ref = strdup(i->claim.ref);

	if (!owner || !ref) {
		free(owner);
		free(ref);
		return -ENOMEM;
	}
	free(x->owner);
	free(x->ref);
	x->owner = owner;
	x->ref = ref;
	return 0;
}

static int claims_give(struct fleet_export *x)
{
	scoped_stmt stmt = NULL;
	int rc = SQLITE_DONE, r;
	size_t n = 0;

	r = sql_prepare(
		x->ledger,
		"SELECT s.name, c.ref, c.key, c.created, c.until, c.author, c.reason, 0,"
		" ifnull((SELECT 1 + shrink FROM held h WHERE h.id = c.held), 0), c.id,"
		" c.action, c.state, c.orphaned_since, c.inferred, c.case_number, c.tlp"
		" FROM claims c JOIN sources s ON s.id = c.source WHERE c.id > ?1"
		" ORDER BY c.id LIMIT ?2",
		&stmt
	);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, x->after);
	sqlite3_bind_int(stmt, 2, SLICE);
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct fleet_item i = {.kind = ITEM_CLAIM, .actor = "", .as = "", .why = ""};

		row_read(stmt, &i);
		x->after = sqlite3_column_int64(stmt, 9);
		i.claim.action = (enum claim_action)sqlite3_column_int(stmt, 10);
		i.claim.state = (enum claim_state)sqlite3_column_int(stmt, 11);
		i.claim.orphaned_since = sqlite3_column_int64(stmt, 12);
		i.claim.author_inferred = sqlite3_column_int(stmt, 13);
		i.claim.case_number = sql_text(stmt, 14);
		i.claim.tlp = sqlite3_column_int(stmt, 15);
		if (sql_indicator(stmt, 2, &i.claim.indicator) < 0)
			return -EILSEQ;
		r = item_give(x, &i);
		n++;
	}
	if (n < SLICE) {
		x->part = PART_TOLD;
		if (r == 0)
			r = note_at(x, &(struct fleet_item){.claim = {.source = "", .ref = ""}});
	}
	return r < 0 ? r : sql_errno(rc, x->ledger->db);
}

static int notes_of(struct fleet_export *x, enum fleet_item_kind kind, const char *sql)
{
	scoped_stmt stmt = NULL;
	int rc = SQLITE_DONE, r = sql_prepare(x->ledger, sql, &stmt);
	size_t n = 0;

	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, x->owner ? x->owner : "");
	sql_bind_text(stmt, 2, x->ref);
	sqlite3_bind_int(stmt, 3, SLICE);
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct fleet_item i = {
			.kind = kind,
			.claim = {
				.source = sql_text(stmt, 0),
				.ref = sql_text(stmt, 1),
				.created = sqlite3_column_int64(stmt, 2),
			},
			.actor = "",
			.as = "",
			.why = "",
			.value = sql_text(stmt, 3),
		};

		if (kind == ITEM_TOLD || fleet_note_owner(i.claim.source))
			r = item_give(x, &i);
		if (r == 0 && ++n == SLICE)
			return note_at(x, &i); // where the next slice begins
	}
	if (r == 0) {
		x->part++;
		r = note_at(x, &(struct fleet_item){.claim = {.source = "", .ref = ""}});
	}
	return r < 0 ? r : sql_errno(rc, x->ledger->db);
}

static int told_give(struct fleet_export *x)
{
	return notes_of(
		x,
		ITEM_TOLD,
		"SELECT source, ref, due, state FROM told WHERE (source, ref) > (?1, ?2)"
		" ORDER BY source, ref LIMIT ?3"
	);
}

static int notes_give(struct fleet_export *x)
{
	return notes_of(
		x,
		ITEM_NOTE,
		"SELECT owner, key, 0, value FROM notes WHERE (owner, key) > (?1, ?2)"
		" ORDER BY owner, key LIMIT ?3"
	);
}

static int lists_give(struct fleet_export *x)
{
	const void *octets;
	size_t len;
	int r = chunk_give(x);

	if (r == 0 && !x->lists)
		r = lists_fleet_export_open(x->ledger->lists, &x->lists);
	if (r == 0)
		r = lists_fleet_export_next(x->lists, &octets, &len);
	if (r == 1)
		x->paused |= !x->chunk(x->ctx, octets, len);
	else if (r == 0)
		x->part = PART_END;
	return r < 0 ? r : 0;
}

static void export_finish(struct fleet_export *x, int error)
{
	struct ledger *l = x->ledger;
	fleet_export_done done = x->done;
	struct fleet_place from = x->from, to = l->now.fleet.place;
	void *ctx = x->ctx;

	ledger_fleet_export_free(x);
	// A record behind it, so that whoever takes it over learns count and digest.
	if (error == 0 && transaction_begin(l) == 0)
		fleet_touch(l, ITEM_PAUSE, "", "", NULL, "ledger", "checkpoint", "");
	done(ctx, error, &from, &to);
}

static void export_step(evutil_socket_t fd, short what, void *ctx)
{
	static const struct timeval at_once, soon = {.tv_usec = 20000};
	static int (*const give[PART_END])(struct fleet_export *) = {
		[PART_FEW] = few_give,
		[PART_IMMUNITIES] = immunities_give,
		[PART_CLAIMS] = claims_give,
		[PART_TOLD] = told_give,
		[PART_NOTES] = notes_give,
		[PART_LISTS] = lists_give,
	};
	struct fleet_export *x = ctx;
	int r;

	(void)fd;
	(void)what;
	// What is open may yet be rolled back.
	if (x->ledger->open)
		ledger_commit(x->ledger);
	r = x->ledger->now.fleet.leads ? give[x->part](x) : -EPERM;
	if (r == -EAGAIN) {
		event_add(x->next, &soon);
		return;
	}
	if (r < 0 || x->part == PART_END)
		export_finish(x, r);
	else if (!x->paused)
		event_add(x->next, &at_once);
}

int ledger_fleet_export(
	struct ledger *l,
	fleet_chunk_cb chunk,
	fleet_export_done done,
	void *ctx,
	struct fleet_export **ret
)
{
	static const struct timeval at_once;
	struct fleet_export *x;

	if (!l->fleet || !l->now.fleet.leads)
		return -EPERM;
	if (l->fleet->export)
		return -EBUSY;
	if (l->open)
		ledger_commit(l);
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	*x = (struct fleet_export){
		.ledger = l,
		.chunk = chunk,
		.done = done,
		.ctx = ctx,
		.from = l->now.fleet.place,
		.ref = strdup(""),
	};
	l->fleet->export = x;
	x->next = event_new(l->base, -1, 0, export_step, x);
	if (!x->next || !x->ref || event_add(x->next, &at_once) < 0) {
		ledger_fleet_export_free(x);
		return -ENOMEM;
	}
	*ret = x;
	return 0;
}

void ledger_fleet_export_resume(struct fleet_export *x)
{
	static const struct timeval at_once;

	if (!x->paused)
		return;
	x->paused = false;
	event_add(x->next, &at_once);
}
