// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A checkpoint, taken over by a follower: additions first; removals last, all at once, and only
// where they lead to the leader's count and digest.
//
//   chunks ─▶ replay up to `to` ─▶ lists sweep theirs ─▶ candidates, in slices ─▶ the sweep
//
// What was named is kept in memory: a restart on the way needs another checkpoint, and the ledger
// says so.

#include "control/ledger_fleet_internal.h"
#include "control/lists_internal.h"
#include "control/log.h"

#include <event2/event.h>
#include <openssl/rand.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 2000 // claims looked at in one turn of the loop

enum phase {
	PHASE_CHUNKS,
	PHASE_REPLAY,
	PHASE_LISTS, // the lists' sweep is under way
	PHASE_CANDIDATES,
	PHASE_READY,
	PHASE_SWEEPING,
};

struct fleet_import {
	struct ledger *ledger;
	struct event *next;
	struct fleet_place from, to;
	enum phase phase;
	struct fleet_set named;
	uint8_t hash_key[16];
	int64_t after; // claims looked at up to this id
	int64_t *candidates; // ids
	size_t n, size;
	size_t swept;
	// the lists' chunks under way, and who waits for the end
	size_t chunks;
	bool ending;
	ledger_done end_done;
	void *end_ctx;
	int error; // of a chunk
};

struct chunk {
	struct ledger *ledger;
	struct fleet_import *import;
	ledger_done done;
	void *ctx;
};

// --- the set of names

static bool set_add(struct fleet_set *set, uint64_t hash)
{
	if (hash == 0)
		hash = 1;
	if (2 * (set->n + 1) > set->size) {
		struct fleet_set more = {.size = set->size ? 2 * set->size : 1024};

		more.slots = calloc(more.size, sizeof(*more.slots));
		if (!more.slots)
			return false;
		for (size_t i = 0; i < set->size; i++)
			if (set->slots[i])
				set_add(&more, set->slots[i]);
		free(set->slots);
		*set = more;
	}
	for (size_t at = hash % set->size;; at = (at + 1) % set->size) {
		if (set->slots[at] == hash)
			return true;
		if (set->slots[at])
			continue;
		set->slots[at] = hash;
		set->n++;
		return true;
	}
}

static bool set_has(const struct fleet_set *set, uint64_t hash)
{
	if (hash == 0)
		hash = 1;
	for (size_t at = set->size ? hash % set->size : 0; set->size; at = (at + 1) % set->size) {
		if (set->slots[at] == hash)
			return true;
		if (!set->slots[at])
			return false;
	}
	return false;
}

static uint64_t item_hash(const struct fleet_import *m, const struct fleet_item *i)
{
	char object[1024];

	item_object(i, object, sizeof(object));
	return siphash64(m->hash_key, object, strlen(object)) * 31
		+ siphash64(m->hash_key, i->key.octets, i->key.len);
}

void import_named(struct ledger *l, const struct fleet_item *i)
{
	struct fleet_import *m = l->fleet ? l->fleet->import : NULL;

	if (m && !i->gone && !set_add(&m->named, item_hash(m, i)))
		transaction_fail(l, -ENOMEM);
}

// --- begin, chunks, end

void import_free(struct ledger *l)
{
	struct fleet_import *m = l->fleet->import;

	if (!m)
		return;
	l->fleet->import = NULL;
	if (m->next)
		event_free(m->next);
	free(m->named.slots);
	free(m->candidates);
	free(m);
}

void ledger_fleet_import_abort(struct ledger *l)
{
	if (!l->fleet || !l->fleet->import)
		return;
	lists_fleet_import_abort(l->lists);
	import_free(l);
}

static void import_step(evutil_socket_t fd, short what, void *ctx);

static int
import_create(struct ledger *l, const struct fleet_place *from, const struct fleet_place *to)
{
	struct fleet_import *m;

	if (!l->fleet || l->now.fleet.leads)
		return -EPERM;
	if (from->number < l->now.fleet.place.number || to->number < from->number)
		return -ESTALE;
	ledger_fleet_import_abort(l);
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->ledger = l;
	m->from = *from;
	m->to = *to;
	m->next = event_new(l->base, -1, 0, import_step, m);
	l->fleet->import = m;
	if (!m->next || RAND_bytes(m->hash_key, sizeof(m->hash_key)) != 1) {
		import_free(l);
		return -ENOMEM;
	}
	lists_fleet_import_begin(l->lists);
	return 0;
}

void ledger_fleet_import_begin(
	struct ledger *l,
	const struct fleet_place *from,
	const struct fleet_place *to,
	ledger_done done,
	void *ctx
)
{
	int r = import_create(l, from, to);

	pending_done(
		l, done, ctx, r, r == -ESTALE ? "the checkpoint is older than what is here" : ""
	);
}

static int items_import(struct ledger *l, const void *chunk, size_t len)
{
	struct fleet_batch b;
	int r = batch_parse(chunk, len, &b);

	if (r == 0)
		r = transaction_begin(l);
	if (r < 0)
		return r;
	l->fleet->applying = true;
	for (size_t i = 0; i < b.n && !l->error; i++)
		item_put(l, &b.items[i]);
	l->fleet->applying = false;
	l->n_open += b.n;
	batch_free(&b);
	if (l->n_open >= PENDING_FULL)
		ledger_commit_soon(l);
	return 0;
}

static void import_ended(struct ledger *l, struct fleet_import *m);

static void chunk_done(void *ctx, int error, const char *message)
{
	struct chunk *c = ctx;
	struct ledger *l = c->ledger;
	struct fleet_import *m = l->fleet->import;

	if (m == c->import) {
		m->chunks--;
		if (error < 0)
			m->error = error;
		if (m->chunks == 0 && m->ending)
			import_ended(l, m);
	}
	c->done(c->ctx, error, message);
	free(c);
}

void ledger_fleet_import(
	struct ledger *l, const void *chunk, size_t len, ledger_done done, void *ctx
)
{
	struct fleet_import *m = l->fleet ? l->fleet->import : NULL;
	struct chunk *c;
	int r = m && m->phase == PHASE_CHUNKS && len > 0 ? 0 : -EINVAL;

	if (r == 0 && *(const char *)chunk == '{') {
		r = items_import(l, chunk, len);
	} else if (r == 0) {
		c = malloc(sizeof(*c));
		if (c) {
			*c = (struct chunk){.ledger = l, .import = m, .done = done, .ctx = ctx};
			m->chunks++;
			lists_fleet_import(l->lists, chunk, len, chunk_done, c);
			return;
		}
		r = -ENOMEM;
	}
	if (m && r < 0)
		m->error = r;
	pending_done(l, done, ctx, r, r == -EBADMSG ? "is not understood" : "");
}

static void import_ended(struct ledger *l, struct fleet_import *m)
{
	int r = m->error ? m->error : transaction_begin(l);

	m->ending = false;
	// Records may have come meanwhile, of the log on which it stands.
	if (r == 0 && m->from.number < l->now.fleet.place.number)
		r = -ESTALE;
	if (r == 0) {
		m->phase = PHASE_REPLAY;
		if (!place_equal(&m->from, &l->now.fleet.place)) {
			records_cut(l, 0);
			l->now.fleet.place = m->from;
			l->now.fleet.end_number = 0;
		}
		if (l->now.fleet.epoch < m->from.epoch) {
			l->now.fleet.epoch = m->from.epoch;
			l->now.fleet.leader[0] = '\0';
		}
		snprintf(
			l->now.fleet.resync,
			sizeof(l->now.fleet.resync),
			"the checkpoint from %" PRIu64 "-%" PRIu64 " is not settled yet",
			m->from.epoch,
			m->from.number
		);
	}
	pending_done(l, m->end_done, m->end_ctx, r, "");
}

void ledger_fleet_import_end(struct ledger *l, ledger_done done, void *ctx)
{
	struct fleet_import *m = l->fleet ? l->fleet->import : NULL;

	if (!m || m->phase != PHASE_CHUNKS || m->ending) {
		pending_done(l, done, ctx, -EINVAL, "");
		return;
	}
	m->end_done = done;
	m->end_ctx = ctx;
	m->ending = true;
	if (m->chunks == 0)
		import_ended(l, m);
}

// --- the sweep

static void import_again(struct ledger *l, const char *why)
{
	if (transaction_begin(l) == 0)
		snprintf(l->now.fleet.resync, sizeof(l->now.fleet.resync), "%s", why);
	log_error("fleet: %s", why);
	ledger_fleet_import_abort(l);
}

static void step_soon(struct fleet_import *m)
{
	static const struct timeval at_once;

	event_add(m->next, &at_once);
}

static void lists_swept(void *ctx, int error, const char *message)
{
	struct ledger *l = ctx;
	struct fleet_import *m = l->fleet ? l->fleet->import : NULL;

	(void)message;
	if (!m || m->phase != PHASE_LISTS)
		return;
	if (error < 0) {
		import_again(l, "the lists of a checkpoint could not be settled");
		return;
	}
	m->phase = PHASE_CANDIDATES;
	step_soon(m);
}

// Is our place the end of a commit whose count and digest are known, past the checkpoint?
static bool place_known(const struct ledger *l, const struct fleet_import *m)
{
	const struct fleet_now *now = &l->now.fleet;

	return now->place.number >= m->to.number && now->end_number == now->place.number
		&& STAILQ_EMPTY(&l->fleet->waiting) && !l->lists->behind;
}

void import_passed(struct ledger *l)
{
	struct fleet_import *m = l->fleet->import;

	if (!m || (m->phase != PHASE_REPLAY && m->phase != PHASE_READY) || !place_known(l, m))
		return;
	step_soon(m);
}

// The row of a claim as an item, and what it is here.
static int row_item(sqlite3_stmt *stmt, struct fleet_item *i)
{
	*i = (struct fleet_item){
		.kind = ITEM_CLAIM,
		.claim = {.source = sql_text(stmt, 1), .ref = sql_text(stmt, 2)},
		.gone = true,
		.actor = "ledger",
		.as = "claim.end",
		.why = "the leader's checkpoint does not have it",
	};
	if (sql_indicator(stmt, 3, &i->claim.indicator) < 0)
		return -EILSEQ;
	key_pack(&i->claim.indicator, &i->key);
	return 0;
}

static int candidate_add(struct fleet_import *m, int64_t id)
{
	if (m->n == m->size) {
		size_t size = m->size ? 2 * m->size : 64;
		int64_t *more = realloc(m->candidates, size * sizeof(*more));

		if (!more)
			return -ENOMEM;
		m->candidates = more;
		m->size = size;
	}
	m->candidates[m->n++] = id;
	return 0;
}

// 1: there is more.
static int candidates_read(struct ledger *l, struct fleet_import *m)
{
	scoped_stmt stmt = NULL;
	size_t n = 0;
	int r = sql_prepare(
		l,
		"SELECT c.id, s.name, c.ref, c.key FROM claims c JOIN sources s ON s.id = c.source"
		" WHERE c.id > ?1 ORDER BY c.id LIMIT ?2",
		&stmt
	);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, m->after);
	sqlite3_bind_int(stmt, 2, SLICE);
	for (; r == 0 && sqlite3_step(stmt) == SQLITE_ROW; n++) {
		struct fleet_item i;

		m->after = sqlite3_column_int64(stmt, 0);
		r = row_item(stmt, &i);
		if (r == 0 && !set_has(&m->named, item_hash(m, &i)))
			r = candidate_add(m, m->after);
	}
	return r < 0 ? r : n == SLICE;
}

// One of the rows to go, with strings of its own; the statement is done before it goes.
struct victim {
	struct fleet_item item;
	char source[128], ref[1024];
};

static void victim_take(struct victim *v, const struct fleet_item *i)
{
	v->item = *i;
	snprintf(v->source, sizeof(v->source), "%s", i->claim.source);
	snprintf(v->ref, sizeof(v->ref), "%s", i->claim.ref);
	v->item.claim.source = v->source;
	v->item.claim.ref = v->ref;
}

// What a log of ours has ended ends; what is on no log stays, and goes up.
static void victim_go(struct ledger *l, struct fleet_import *m, const struct victim *v)
{
	struct fleet_item kept = v->item;
	int r;

	m->swept++;
	if (l->now.fleet.adrift) {
		kept.gone = false;
		l->fleet->applying = false;
		r = item_keep(l, &kept);
		l->fleet->applying = true;
		if (r < 0)
			transaction_fail(l, r);
	}
	// Unless it was kept.
	if (!ask_outstanding(l, &v->item))
		item_put(l, &v->item);
}

static void claim_sweep(struct ledger *l, struct fleet_import *m, int64_t id)
{
	scoped_stmt stmt = NULL;
	struct fleet_item i;
	struct victim v;

	if (sql_prepare(
		    l,
		    "SELECT c.id, s.name, c.ref, c.key FROM claims c"
		    " JOIN sources s ON s.id = c.source WHERE c.id = ?1",
		    &stmt
	    )
	    < 0)
		return;
	sqlite3_bind_int64(stmt, 1, id);
	if (sqlite3_step(stmt) != SQLITE_ROW || row_item(stmt, &i) < 0
	    || set_has(&m->named, item_hash(m, &i)))
		return;
	victim_take(&v, &i);
	sqlite3_reset(stmt);
	victim_go(l, m, &v);
}

// The first row that was not named, from the `skip`th on. -ENOENT: none.
static int row_victim(
	struct ledger *l,
	struct fleet_import *m,
	enum fleet_item_kind kind,
	const char *sql,
	int64_t *skip,
	struct victim *v
)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(l, sql, &stmt);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, *skip);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		struct fleet_item i;

		if (row_item(stmt, &i) < 0 && kind != ITEM_HELD)
			return -EILSEQ;
		i.kind = kind;
		i.as = "";
		i.held = sqlite3_column_int(stmt, 4);
		if (kind == ITEM_HELD)
			i.key.len = 0;
		if (!set_has(&m->named, item_hash(m, &i))) {
			victim_take(v, &i);
			return 0;
		}
		++*skip;
	}
	return -ENOENT;
}

static void
rows_sweep(struct ledger *l, struct fleet_import *m, enum fleet_item_kind kind, const char *sql)
{
	int64_t skip = 0;
	struct victim v;

	while (!l->error && row_victim(l, m, kind, sql, &skip, &v) == 0) {
		victim_go(l, m, &v);
		// It stays where an ask is on its way, and is no row of the fleet's where it is
		// kept.
		skip += ask_outstanding(l, &v.item) && !l->now.fleet.adrift;
	}
}

static void import_sweep(struct ledger *l, struct fleet_import *m)
{
	if (l->open)
		ledger_commit(l);
	m->phase = PHASE_SWEEPING;
	if (!place_known(l, m) || transaction_begin(l) < 0) {
		m->phase = PHASE_READY;
		return;
	}
	l->fleet->applying = true;
	for (size_t i = 0; i < m->n && !l->error; i++)
		claim_sweep(l, m, m->candidates[i]);
	rows_sweep(
		l,
		m,
		ITEM_ALLOW,
		"SELECT id, '', '', key, 0 FROM allows WHERE fleet = 0 ORDER BY key"
		" LIMIT -1 OFFSET ?1"
	);
	rows_sweep(
		l,
		m,
		ITEM_PROTECT,
		"SELECT 0, '', '', key, 0 FROM protections WHERE fleet = 0 ORDER BY key"
		" LIMIT -1 OFFSET ?1"
	);
	rows_sweep(
		l,
		m,
		ITEM_IMMUNITY,
		"SELECT 0, s.name, i.ref, i.key, 0 FROM immunities i"
		" JOIN sources s ON s.id = i.source ORDER BY i.source, i.ref, i.key"
		" LIMIT -1 OFFSET ?1"
	);
	rows_sweep(
		l,
		m,
		ITEM_HELD,
		"SELECT h.id, s.name, 1 + h.shrink, x'', 1 + h.shrink FROM held h"
		" JOIN sources s ON s.id = h.source WHERE NOT EXISTS"
		" (SELECT 1 FROM claims WHERE held = h.id) ORDER BY h.id LIMIT -1 OFFSET ?1"
	);
	l->fleet->applying = false;
	l->now.fleet.resync[0] = '\0';
	l->now.fleet.adrift = false;
	ledger_commit(l);
	m = l->fleet->import;
	if (m && l->now.fleet.resync[0]) {
		import_again(l, "the checkpoint does not lead to the leader's list");
		return;
	}
	if (m) {
		log_notice("fleet: the checkpoint is settled, %zu rows went", m->swept);
		import_free(l);
	}
}

bool import_sweep_verify(struct ledger *l)
{
	const struct fleet_now *now = &l->now.fleet;

	if (l->fleet->import->phase != PHASE_SWEEPING)
		return true;
	return differ_equal(l, now->end_count, now->end_digest);
}

static void import_step(evutil_socket_t fd, short what, void *ctx)
{
	struct fleet_import *m = ctx;
	struct ledger *l = m->ledger;
	int r;

	(void)fd;
	(void)what;
	switch (m->phase) {
	case PHASE_REPLAY:
		if (l->open || !place_known(l, m))
			return;
		m->phase = PHASE_LISTS;
		lists_fleet_sweep(l->lists, lists_swept, l);
		return;
	case PHASE_CANDIDATES:
		r = candidates_read(l, m);
		if (r < 0) {
			import_again(l, "a checkpoint could not be settled");
			return;
		}
		if (r == 0)
			m->phase = PHASE_READY;
		step_soon(m);
		return;
	case PHASE_READY:
		import_sweep(l, m);
		return;
	default:
		return;
	}
}
