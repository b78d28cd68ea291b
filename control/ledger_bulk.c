// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Batches of lists in the ledger: a batch becomes one to three revisions, each small enough for one
// message on the link, whose changes stand in the log as one row. The row says both what the entry
// became, for followers, and what the member became, so that lists.db can be completed after a
// crash.
//
//   record: key length varint, key, flags u8, ends u8, attr varint, [until varint],
//           [enforce varint], [monitor varint]

#include "control/ledger_internal.h"
#include "control/lists_internal.h"
#include "control/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINK_BEHIND_MAX 1 // revisions, of a message each; then a batch of some four goes on
#define LINK_PATIENCE_MS 200
#define MESSAGE_CHANGES 1300 // as control/followers/dataplane_batch.c
#define MESSAGE_OCTETS 62000 // of records on the link
#define RECORD_WIRE 56 // of an address there, with padding

enum {
	FLAG_PUT = 1, // the member; else it goes
	FLAG_CHANGED = 2, // the entry
	FLAG_UNTIL = 4,
	FLAG_ENFORCE = 8, // what the member does
	FLAG_MONITOR = 16,
	FLAG_WAS = 32, // the member did something before
};
enum {
	ENDS_ENFORCE = 1, // a number follows
	ENDS_MONITOR = 2,
	ENDS_ENFORCE_FOREVER = 4,
	ENDS_MONITOR_FOREVER = 8,
};

struct bulk_out {
	size_t len, wire;
	int64_t n, n_changed;
	uint8_t data[MESSAGE_CHANGES * 48 + MESSAGE_OCTETS];
};

static size_t ends_write(uint8_t *at, uint8_t *ends, int64_t until, uint8_t number, uint8_t forever)
{
	if (until == UNTIL_NONE)
		return 0;
	if (until == UNTIL_FOREVER) {
		*ends |= forever;
		return 0;
	}
	*ends |= number;
	return varint_write(at, (uint64_t)until);
}

static void record_write(
	struct bulk_out *o, const struct list_change *c, bool changed, const struct entry *after
)
{
	const struct list_member *m = &c->member;
	uint8_t *at = o->data + o->len, *flags;

	at += varint_write(at, m->key.len);
	memcpy(at, m->key.octets, m->key.len);
	at += m->key.len;
	flags = at;
	flags[0] = (uint8_t
	)((c->put ? FLAG_PUT : 0) | (changed ? FLAG_CHANGED : 0)
	  | (m->until != UNTIL_FOREVER ? FLAG_UNTIL : 0)
	  | (m->actions & LIST_ENFORCE ? FLAG_ENFORCE : 0)
	  | (m->actions & LIST_MONITOR ? FLAG_MONITOR : 0) | (c->own_before ? FLAG_WAS : 0));
	flags[1] = 0;
	at += 2;
	at += varint_write(at, m->attr);
	if (m->until != UNTIL_FOREVER)
		at += varint_write(at, (uint64_t)m->until);
	at += ends_write(at, &flags[1], after->enforce_until, ENDS_ENFORCE, ENDS_ENFORCE_FOREVER);
	at += ends_write(at, &flags[1], after->monitor_until, ENDS_MONITOR, ENDS_MONITOR_FOREVER);
	o->len = (size_t)(at - o->data);
	o->n++;
	o->n_changed += changed;
}

struct bulk_record {
	struct list_change change;
	bool changed;
	int64_t enforce, monitor;
};

static const uint8_t *number_read(const uint8_t *at, const uint8_t *end, uint64_t *ret_number)
{
	size_t n = at ? varint_read(at, end, ret_number) : 0;

	return n ? at + n : NULL;
}

static const uint8_t *
end_read(const uint8_t *at, const uint8_t *end, bool number, bool forever, int64_t *ret_until)
{
	uint64_t until = forever ? UNTIL_FOREVER : UNTIL_NONE;

	if (number)
		at = number_read(at, end, &until);
	*ret_until = (int64_t)until;
	return at;
}

// The record at `at`; where the next one begins, or NULL: damaged.
static const uint8_t *record_read(const uint8_t *at, const uint8_t *end, struct bulk_record *r)
{
	struct list_member *m = &r->change.member;
	uint64_t len = 0, attr = 0;
	uint8_t flags, ends;

	at = number_read(at, end, &len);
	if (!at || len > LEDGER_KEY_MAX || len + 2 > (uint64_t)(end - at))
		return NULL;
	m->key.len = (uint16_t)len;
	memcpy(m->key.octets, at, len);
	flags = at[len];
	ends = at[len + 1];
	at = number_read(at + len + 2, end, &attr);
	m->attr = (uint32_t)attr;
	m->actions = (uint8_t
	)((flags & FLAG_ENFORCE ? LIST_ENFORCE : 0) | (flags & FLAG_MONITOR ? LIST_MONITOR : 0));
	at = end_read(at, end, flags & FLAG_UNTIL, !(flags & FLAG_UNTIL), &m->until);
	at = end_read(at, end, ends & ENDS_ENFORCE, ends & ENDS_ENFORCE_FOREVER, &r->enforce);
	at = end_read(at, end, ends & ENDS_MONITOR, ends & ENDS_MONITOR_FOREVER, &r->monitor);
	r->changed = flags & FLAG_CHANGED;
	r->change.put = flags & FLAG_PUT;
	r->change.own_before = flags & FLAG_WAS ? LIST_ENFORCE : 0;
	return at;
}

int bulk_changes(
	const void *data,
	size_t len,
	struct revision revision,
	change_cb cb,
	void *ctx,
	bool *ret_more
)
{
	const uint8_t *at = data, *end = at + len;

	while (at < end) {
		struct ledger_change c = {.revision = revision};
		struct bulk_record record;

		at = record_read(at, end, &record);
		if (!at
		    || key_unpack(
			       record.change.member.key.octets,
			       record.change.member.key.len,
			       &c.change.entry.indicator
		       ) < 0)
			return -EILSEQ;
		if (!record.changed)
			continue;
		c.change.entry.enforce_until = record.enforce;
		c.change.entry.monitor_until = record.monitor;
		c.change.op = record.enforce != UNTIL_NONE || record.monitor != UNTIL_NONE
			? CHANGE_PUT
			: CHANGE_REMOVE;
		*ret_more = cb(ctx, &c);
		if (!*ret_more)
			break;
	}
	return 0;
}

// --- a batch on its way in

static void segment_close(struct ledger *l, const struct list_batch *b, struct bulk_out *o)
{
	sqlite3_stmt *stmt = l->stmts[STMT_BULK_ADD];
	const char *name = lists_name(l->lists, b->list);

	if (o->n == 0)
		return;
	if (o->n_changed > 0)
		l->now.revision.number++;
	l->now.log_last += o->n_changed > 0 ? o->n_changed : 1;
	sqlite3_bind_int64(stmt, 1, l->now.log_last);
	sqlite3_bind_int64(stmt, 2, (int64_t)l->now.revision.number);
	sqlite3_bind_int64(stmt, 3, (int64_t)b->seq);
	sqlite3_bind_int64(stmt, 4, b->list);
	sql_bind_text(stmt, 5, name);
	sqlite3_bind_blob(stmt, 6, o->data, (int)o->len, SQLITE_STATIC);
	sql_run(l, stmt);
	if (o->n_changed > 0)
		revision_write(l);
	*o = (struct bulk_out){.len = 0};
}

static void change_take(struct ledger *l, const struct list_change *c, struct bulk_out *o)
{
	struct entry before = {.scope = SCOPE_ALL}, after;
	uint8_t said = c->before, says = c->after;
	bool changed;

	if (key_unpack(c->member.key.octets, c->member.key.len, &before.indicator) < 0) {
		transaction_fail(l, -EILSEQ);
		return;
	}
	// What claims and analysts say of it; few keys of a list are spoken of.
	if (claimed_maybe(l, &c->member.key)) {
		claims_ends(l, &c->member.key, &before);
		if (ledger_immune(l, &before.indicator))
			said = says = 0;
	}
	after = before;
	entry_raise(&before, said);
	entry_raise(&after, says);
	changed = before.enforce_until != after.enforce_until
		|| before.monitor_until != after.monitor_until;
	if (changed) {
		entry_count(l, &before, -1);
		entry_count(l, &after, 1);
	}
	record_write(o, c, changed, &after);
	o->wire += RECORD_WIRE + before.indicator.name_len;
}

// What it means for the other gateways, or from which record of theirs it came.
static void fleet_tell(struct lists *ls, const struct list_batch *b)
{
	const struct lists_fleet_hooks *hooks = &ls->hooks;
	const struct list_payload *p;
	const struct list_job *job;

	if (!b->applied && ls->fleet)
		STAILQ_FOREACH(p, &b->payloads, link)
	hooks->made(hooks->ctx, p->octets, p->len);
	STAILQ_FOREACH(job, &b->applies, link)
	hooks->applied(hooks->ctx, job->ctx);
}

// Its revisions follow that of the claims in the same commit: those are written already.
bool bulk_flush(struct ledger *l)
{
	const struct list_batch *b = l->bulk;
	struct bulk_out *o = l->bulk_out;
	uint64_t number = l->now.revision.number;

	*o = (struct bulk_out){.len = 0};
	for (size_t i = 0; i < b->n && !l->error; i++) {
		change_take(l, &b->changes[i], o);
		if (o->n == MESSAGE_CHANGES
		    || o->wire + RECORD_WIRE + INDICATOR_NAME_MAX > MESSAGE_OCTETS)
			segment_close(l, b, o);
	}
	if (l->error)
		return false;
	segment_close(l, b, o);
	if (b->n > 0)
		ledger_cursor_set(l, "lists", (struct revision){1, b->seq});
	fleet_tell(l->lists, b);
	log_trim(l);
	return l->now.revision.number != number;
}

void ledger_link_at(struct ledger *l, struct revision revision, bool compares)
{
	if (compares || revision_compare(revision, l->link) != 0)
		l->link_ms = clock_boot_ms(l);
	l->link = revision;
	l->link_compares = compares;
}

// One that comes no further is waited for no longer: it will compare in full.
bool bulk_waits(const struct ledger *l)
{
	const struct revision now = l->state.revision;
	bool behind = l->link_compares
		|| (l->link.epoch == now.epoch && now.number > l->link.number + LINK_BEHIND_MAX);

	return (l->link.epoch || l->link_compares) && behind
		&& clock_boot_ms(l) - l->link_ms < LINK_PATIENCE_MS;
}

int bulk_take(struct ledger *l, struct list_batch *b, bool *ret_behind)
{
	int error;

	*ret_behind = false;
	// Who leads and who follows changed under way.
	if (b->applied ? !l->lists->follows : l->lists->fleet && (l->lists->follows || !b->told))
		return -ECANCELED;
	// Whatever else is open stands first: it does not wait for bulk, nor fail with it.
	if (l->open)
		ledger_commit(l);
	if (b->n_new > 0 && l->now.tally.entries + b->n_new > l->conf.max_entries) {
		l->refused_full += b->n_new;
		l->refused_room = true;
		return -ENOBUFS;
	}
	transaction_begin(l);
	if (b->n_new > 0 && l->space_low)
		transaction_fail(l, -ENOSPC);
	if (!l->bulk_out)
		l->bulk_out = malloc(sizeof(struct bulk_out));
	if (!l->bulk_out)
		transaction_fail(l, -ENOMEM);
	l->bulk = b;
	l->bulk_error = 0;
	ledger_commit(l);
	error = l->bulk_error;
	l->bulk = NULL;
	*ret_behind = error == 0 && l->lists->behind;
	return error;
}

// --- at the start

static int redo_row(struct ledger *l, sqlite3_stmt *stmt)
{
	struct lists *ls = l->lists;
	struct list_batch *b = ls->batch;
	const uint8_t *at = sqlite3_column_blob(stmt, 3);
	const uint8_t *end = at + sqlite3_column_bytes(stmt, 3);
	struct worker_list *list;
	int r;

	b->seq = (uint64_t)sqlite3_column_int64(stmt, 0);
	b->list = (uint32_t)sqlite3_column_int64(stmt, 1);
	b->n = 0;
	list = worker_list_add(ls, b->list, sql_text(stmt, 2));
	if (!list)
		return -ENOMEM;
	while (at && at < end && b->n < LIST_BATCH_MAX) {
		struct bulk_record record;

		at = record_read(at, end, &record);
		if (!at)
			return -EILSEQ;
		b->changes[b->n++] = record.change;
		list->members += (record.change.put && record.change.member.actions != 0)
			- (record.change.own_before != 0);
	}
	r = batch_apply(ls, b);
	if (r == 0)
		r = list_save(ls, list);
	ls->seq = b->seq;
	b->n = 0;
	return r;
}

static int redo(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int rc,
		r = sql_prepare(
			l,
			"SELECT batch, list, name, data FROM bulk WHERE batch > ?1 ORDER BY seq",
			&stmt
		);

	if (r == 0)
		r = lists_db_exec(&l->lists->work, "BEGIN IMMEDIATE");
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, (int64_t)l->lists->seq);
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		r = redo_row(l, stmt);
	if (r == 0)
		r = lists_db_exec(&l->lists->work, "COMMIT");
	if (r < 0)
		lists_db_exec(&l->lists->work, "ROLLBACK");
	return r;
}

static bool entry_sum(void *ctx, const struct entry *e)
{
	struct ledger *l = ctx;

	entry_count(l, e, 1);
	return true;
}

// lists.db is not the one that the ledger knew: entries, count and digest are what both say now.
// The log begins anew, so that followers compare in full; the data plane's own brake refuses a
// list that shrank.
static int recount(struct ledger *l)
{
	struct tally *tally = &l->now.tally;
	struct list_state was = l->state;
	int r = transaction_begin(l);

	if (r < 0)
		return r;
	tally->entries = tally->enforce = tally->monitor = tally->names = 0;
	l->now.digest = (struct digest){0};
	r = ledger_entries_page(l, "", SIZE_MAX >> 1, entry_sum, l);
	if (r < 0)
		transaction_fail(l, r);
	l->now.revision.number++;
	revision_write(l);
	l->now.log_tail = (int64_t)l->now.revision.number;
	ledger_cursor_set(l, "lists", (struct revision){1, l->lists->seq});
	ledger_commit(l);
	log_error(
		"lists.db is not as the ledger left it: %llu entries, there were %llu; lists are "
		"read again",
		(unsigned long long)l->state.count,
		(unsigned long long)was.count
	);
	return l->state.revision.number > was.revision.number ? 0 : -EIO;
}

// Does the log have every batch from there on?
static int log_gapless(struct ledger *l, uint64_t from, uint64_t to)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(l, "SELECT count(DISTINCT batch) FROM bulk WHERE batch > ?1", &stmt);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, (int64_t)from);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return -EIO;
	return (uint64_t)sqlite3_column_int64(stmt, 0) == to - from;
}

int bulk_open(struct ledger *l)
{
	struct lists *ls = l->lists;
	struct revision known = {0};
	int r = ledger_cursor_get(l, "lists", &known);

	if (r < 0 || ls->seq == known.number)
		return r;
	r = ls->seq < known.number ? log_gapless(l, ls->seq, known.number) : 0;
	if (r == 1)
		return redo(l);
	if (r < 0)
		return r;
	if (ls->seq < known.number)
		ls->seq = known.number;
	return recount(l);
}
