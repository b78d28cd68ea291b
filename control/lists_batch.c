// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A batch: its pages are written in a transaction of the worker's connection, which the loop
// commits right after the ledger's own. So the loop sees either all of a batch or nothing of it.

#include "control/lists_internal.h"
#include "control/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define ATTRS_MAX 65536 // beyond it members share one that says their action only

struct attr {
	uint32_t id;
	bool saved;
	size_t len;
	UT_hash_handle hh;
	char text[]; // action, NUL, reason, NUL, reference
};

static int attr_index(struct lists *ls, struct attr *a)
{
	if (a->id >= ls->attrs_room) {
		size_t room = 2 * (size_t)a->id + 64;
		struct attr **more = realloc(ls->attrs_by_id, room * sizeof(struct attr *));

		if (!more)
			return -ENOMEM;
		memset(more + ls->attrs_room, 0, (room - ls->attrs_room) * sizeof(struct attr *));
		ls->attrs_by_id = more;
		ls->attrs_room = room;
	}
	ls->attrs_by_id[a->id] = a;
	return 0;
}

int batch_init(struct lists *ls)
{
	struct lists_db *d = &ls->work;
	scoped_stmt stmt = NULL;
	int rc, r;

	ls->attr_next = 1;
	STAILQ_INIT(&ls->batch->payloads);
	STAILQ_INIT(&ls->batch->applies);
	r = lists_db_prepare(
		d,
		"INSERT INTO pages(list, first, min_until, n, data) VALUES (?1, ?2, ?3, ?4, ?5)",
		&ls->page_add
	);
	if (r == 0)
		r = lists_db_prepare(d, "DELETE FROM pages WHERE id=?1", &ls->page_end);
	if (r == 0)
		r = lists_db_prepare(
			d,
			"INSERT INTO lists VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(id)"
			" DO UPDATE SET members=?3, synced=?4, peak_hour=?5, peaks=?6",
			&ls->list_put
		);
	if (r == 0)
		r = lists_db_prepare(d, "UPDATE meta SET seq=?1", &ls->seq_put);
	if (r == 0)
		r = lists_db_prepare(d, "SELECT id, action, reason, reference FROM attrs", &stmt);
	while (r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		uint32_t id = (uint32_t)sqlite3_column_int64(stmt, 0);
		struct attr *last;

		if (ls->attr_next < id)
			ls->attr_next = id;
		attr_intern(
			ls,
			(uint8_t)sqlite3_column_int(stmt, 1),
			sql_text(stmt, 2),
			sql_text(stmt, 3)
		);
		last = ls->attrs ? ELMT_FROM_HH(ls->attrs->hh.tbl, ls->attrs->hh.tbl->tail) : NULL;
		if (last) {
			last->id = id;
			last->saved = true;
			r = attr_index(ls, last);
		}
		ls->attr_next = id + 1;
	}
	ls->attrs_new = false;
	return r;
}

void batch_fini(struct lists *ls)
{
	struct attr *a, *next;

	HASH_ITER(hh, ls->attrs, a, next)
	{
		HASH_DEL(ls->attrs, a);
		free(a);
	}
	free(ls->attrs_by_id);
	free(ls->payload);
	if (ls->batch)
		batch_clear(ls->batch);
	sqlite3_finalize(ls->page_add);
	sqlite3_finalize(ls->page_end);
	sqlite3_finalize(ls->list_put);
	sqlite3_finalize(ls->seq_put);
}

uint32_t attr_intern(struct lists *ls, uint8_t actions, const char *reason, const char *reference)
{
	char text[1 + LIST_REASON_MAX + 130];
	struct attr *a;
	int len;

	if (ls->attr_next >= ATTRS_MAX)
		reason = reference = "";
	text[0] = (char)actions;
	len = snprintf(text + 1, sizeof(text) - 1, "%.255s%c%.127s", reason, 0, reference);
	len++;
	HASH_FIND(hh, ls->attrs, text, (size_t)len, a);
	if (a)
		return a->id;
	a = calloc(1, sizeof(*a) + (size_t)len + 1);
	if (!a)
		return 0; // no attribute: why knows the list alone
	a->id = ls->attr_next;
	a->len = (size_t)len;
	memcpy(a->text, text, (size_t)len + 1);
	if (attr_index(ls, a) < 0) {
		free(a);
		return 0;
	}
	ls->attr_next++;
	HASH_ADD_KEYPTR(hh, ls->attrs, a->text, a->len, a);
	ls->attrs_new = true;
	return a->id;
}

void attr_text(const struct lists *ls, uint32_t id, struct payload_attr *ret_attr)
{
	const struct attr *a = id < ls->attrs_room ? ls->attrs_by_id[id] : NULL;

	*ret_attr = (struct payload_attr){0};
	if (!a)
		return;
	ret_attr->actions = (uint8_t)a->text[0];
	ret_attr->reason = a->text + 1;
	ret_attr->reason_len = (uint8_t)strlen(ret_attr->reason);
	ret_attr->reference = ret_attr->reason + ret_attr->reason_len + 1;
	ret_attr->reference_len = (uint8_t)strlen(ret_attr->reference);
}

// In a transaction of their own: an index in a page always has its row.
static int attrs_save(struct lists *ls)
{
	scoped_stmt stmt = NULL;
	int r;

	if (!ls->attrs_new)
		return 0;
	r = lists_db_exec(&ls->work, "BEGIN IMMEDIATE");
	if (r == 0)
		r = lists_db_prepare(
			&ls->work, "INSERT OR REPLACE INTO attrs VALUES (?1, ?2, ?3, ?4)", &stmt
		);
	for (struct attr *a = ls->attrs; r == 0 && a; a = a->hh.next) {
		const char *reason = a->text + 1;

		if (a->saved)
			continue;
		sqlite3_bind_int64(stmt, 1, a->id);
		sqlite3_bind_int(stmt, 2, a->text[0]);
		sql_bind_text(stmt, 3, reason);
		sql_bind_text(stmt, 4, reason + strlen(reason) + 1);
		r = lists_db_run(&ls->work, stmt);
	}
	if (r == 0)
		r = lists_db_exec(&ls->work, "COMMIT");
	if (r < 0) {
		lists_db_exec(&ls->work, "ROLLBACK");
		return r;
	}
	// The ledger's log knows them by their index only.
	r = lists_db_sync(&ls->work);
	if (r < 0)
		return r;
	for (struct attr *a = ls->attrs; a; a = a->hh.next)
		a->saved = true;
	ls->attrs_new = false;
	return 0;
}

bool batch_add(struct list_batch *b, const struct list_change *c)
{
	if (b->n == LIST_BATCH_MAX)
		return false;
	b->changes[b->n++] = *c;
	return true;
}

// --- pages

static int page_write(struct lists *ls, uint32_t list)
{
	struct page_writer *w = &ls->writer;
	sqlite3_stmt *stmt = ls->page_add;

	if (w->n == 0)
		return 0;
	sqlite3_bind_int64(stmt, 1, list);
	sql_bind_key(stmt, 2, &w->first);
	sqlite3_bind_int64(stmt, 3, w->min_until);
	sqlite3_bind_int64(stmt, 4, w->n);
	sqlite3_bind_blob(stmt, 5, w->octets, (int)w->len, SQLITE_STATIC);
	return lists_db_run(&ls->work, stmt);
}

static int page_put(struct lists *ls, uint32_t list, const struct list_member *m, size_t limit)
{
	int r;

	if (page_add(&ls->writer, m))
		return 0;
	r = page_write(ls, list);
	page_clear(&ls->writer, limit);
	page_add(&ls->writer, m);
	return r;
}

// The page under the cursor with the changes [from, to), written as one page or several.
static int page_merge(
	struct lists *ls, struct list_cursor *c, const struct list_batch *b, size_t from, size_t to
)
{
	size_t grown = c->loaded ? c->len + (to - from) * 12 : 0;
	// A page that overflows in the middle is halved, so that the next change finds room.
	size_t limit = c->has_next && grown > LIST_PAGE_MAX ? grown / (grown / LIST_PAGE_MAX + 1)
							    : LIST_PAGE_MAX;
	struct page_reader reader;
	int more = 0, r = 0;

	page_clear(&ls->writer, limit);
	if (c->loaded) {
		page_begin(&reader, c->page, c->len);
		more = page_next(&reader);
		sqlite3_bind_int64(ls->page_end, 1, c->page_id);
		r = lists_db_run(&ls->work, ls->page_end);
	}
	while (r == 0 && more >= 0 && (more == 1 || from < to)) {
		const struct list_change *change = from < to ? &b->changes[from] : NULL;
		int order = !change ? -1
			: more == 1 ? key_compare(&reader.member.key, &change->member.key)
				    : 1;

		if (order < 0)
			r = page_put(ls, b->list, &reader.member, limit);
		else if (change->put)
			r = page_put(ls, b->list, &change->member, limit);
		if (order >= 0)
			from++;
		if (order <= 0)
			more = page_next(&reader);
	}
	if (more < 0)
		return -EILSEQ;
	return r < 0 ? r : page_write(ls, b->list);
}

int batch_apply(struct lists *ls, const struct list_batch *b)
{
	struct list_cursor c;
	int r = 0;

	cursor_init(&c, &ls->work, b->list);
	for (size_t from = 0, to; from < b->n && r >= 0; from = to) {
		r = cursor_load(&c, &b->changes[from].member.key);
		if (r == 0)
			c.has_next = false;
		for (to = from + 1; to < b->n; to++)
			if (c.has_next && key_compare(&b->changes[to].member.key, &c.next) >= 0)
				break;
		if (r >= 0)
			r = page_merge(ls, &c, b, from, to);
	}
	cursor_fini(&c);
	if (r < 0)
		return r;
	sqlite3_bind_int64(ls->seq_put, 1, (int64_t)b->seq);
	return lists_db_run(&ls->work, ls->seq_put);
}

int list_save(struct lists *ls, const struct worker_list *l)
{
	sqlite3_stmt *stmt = ls->list_put;

	sqlite3_bind_int64(stmt, 1, l->id);
	sql_bind_text(stmt, 2, l->name);
	sqlite3_bind_int64(stmt, 3, (int64_t)l->members);
	sqlite3_bind_int64(stmt, 4, l->synced);
	sqlite3_bind_int64(stmt, 5, l->peak_hour);
	sqlite3_bind_blob(stmt, 6, l->peaks, sizeof(l->peaks), SQLITE_STATIC);
	return lists_db_run(&ls->work, stmt);
}

// --- handing over

static int
others_or(struct lists *ls, uint32_t list, const struct ledger_key *key, uint8_t *actions)
{
	struct list_member m;

	for (size_t i = 0; i < ls->n_own; i++) {
		int r;

		if (ls->own[i]->id == list || ls->own[i]->members == 0)
			continue;
		r = cursor_find(&ls->others[i], key, &m);
		if (r == 0)
			*actions |= m.actions;
		else if (r != -ENOENT)
			return r;
	}
	return 0;
}

static int batch_actions(struct lists *ls, struct list_batch *b)
{
	for (size_t i = 0; i < ls->n_own; i++)
		cursor_forget(&ls->others[i]);
	b->n_new = 0;
	for (size_t i = 0; i < b->n; i++) {
		struct list_change *c = &b->changes[i];
		uint8_t others = 0;
		int r = others_or(ls, b->list, &c->member.key, &others);

		if (r < 0)
			return r;
		c->before = others | c->own_before;
		c->after = others | (c->put ? c->member.actions : 0);
		b->n_new += !c->before && c->after;
	}
	return 0;
}

static enum proposal hand_over(struct lists *ls, int *ret_error)
{
	const uint64_t one = 1;
	enum proposal answer;

	pthread_mutex_lock(&ls->mutex);
	ls->proposal = PROPOSAL_MADE;
	while (write(ls->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	while (ls->proposal == PROPOSAL_MADE && !ls->stop)
		pthread_cond_wait(&ls->cond, &ls->mutex);
	answer = ls->proposal == PROPOSAL_MADE ? PROPOSAL_REFUSED : ls->proposal;
	*ret_error = ls->stop && ls->proposal == PROPOSAL_MADE ? -ECANCELED : ls->proposal_error;
	ls->proposal = PROPOSAL_NONE;
	pthread_mutex_unlock(&ls->mutex);
	return answer;
}

static int batch_write(struct lists *ls, struct worker_list *l, const struct list_batch *b)
{
	int r = lists_db_exec(&ls->work, "BEGIN IMMEDIATE");

	if (r == 0)
		r = batch_apply(ls, b);
	if (r == 0)
		r = list_save(ls, l);
	if (r < 0)
		lists_db_exec(&ls->work, "ROLLBACK");
	return r;
}

// The ledger has the batch, the pages do not: until they do, nobody may read them.
static void catch_up(struct lists *ls, struct worker_list *l, const struct list_batch *b)
{
	struct timespec until;
	int r;

	while (!ls->stop) {
		r = batch_write(ls, l, b);
		if (r == 0)
			r = lists_db_exec(&ls->work, "COMMIT");
		if (r == 0) {
			ls->behind = false;
			return;
		}
		lists_db_exec(&ls->work, "ROLLBACK");
		log_error("lists.db lags behind the ledger: %s; trying again", strerror(-r));
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_mutex_lock(&ls->mutex);
		if (!ls->stop)
			pthread_cond_timedwait(&ls->cond, &ls->mutex, &until);
		pthread_mutex_unlock(&ls->mutex);
	}
}

// --- what the fleet is told

static int payload_keep(struct lists *ls)
{
	struct list_payload *p;
	const void *octets;
	size_t len;

	octets = payload_end(ls->payload, &len);
	p = malloc(sizeof(*p) + len);
	if (!p)
		return -ENOMEM;
	p->len = len;
	memcpy(p->octets, octets, len);
	STAILQ_INSERT_TAIL(&ls->batch->payloads, p, link);
	return 0;
}

static int payloads_make(struct lists *ls, const struct worker_list *l, uint8_t flags)
{
	struct payload_head head = {
		.flags = flags,
		.synced = l->synced,
		.peak_hour = l->peak_hour,
	};
	struct list_batch *b = ls->batch;

	if (!ls->payload)
		ls->payload = malloc(sizeof(*ls->payload));
	if (!ls->payload)
		return -ENOMEM;
	memcpy(head.name, l->name, sizeof(head.name));
	memcpy(head.peaks, l->peaks, sizeof(head.peaks));
	payload_clear(ls->payload, &head, PAYLOAD_CHANGES);
	for (size_t i = 0; i < b->n; i++) {
		const struct list_change *c = &b->changes[i];
		struct payload_attr attr;

		attr_text(ls, c->member.attr, &attr);
		if (payload_add(ls->payload, &c->member, c->put, &attr))
			continue;
		if (payload_keep(ls) < 0)
			return -ENOMEM;
		payload_clear(ls->payload, &head, PAYLOAD_CHANGES);
		payload_add(ls->payload, &c->member, c->put, &attr);
	}
	b->told = true;
	return payload_keep(ls);
}

static void batch_reset(struct list_batch *b)
{
	struct list_payload *p;

	b->n = 0;
	b->applied = b->bare = b->told = false;
	while ((p = STAILQ_FIRST(&b->payloads))) {
		STAILQ_REMOVE_HEAD(&b->payloads, link);
		free(p);
	}
}

void batch_clear(struct list_batch *b)
{
	batch_reset(b);
	STAILQ_INIT(&b->applies);
}

// --- proposing

// Behind the hand-over, so that nobody waits: what the ledger has is on disk here too before the
// next batch, and the log does not grow without end where the other thread cannot keep up.
static void file_settle(struct lists *ls)
{
	int r = lists_db_sync(&ls->work);

	if (r < 0)
		log_error("lists.db could not be written to disk: %s", strerror(-r));
	if (ls->wal_pages >= LISTS_LOG_MAX)
		sqlite3_wal_checkpoint_v2(ls->work.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

static int propose(struct lists *ls, struct worker_list *l, uint8_t payload_flags)
{
	struct list_batch *b = ls->batch;
	uint64_t members = l->members;
	enum proposal answer;
	int r, error = 0;

	if (b->n == 0 && !b->bare)
		return 0;
	b->list = l->id;
	b->seq = ls->seq + (b->n > 0);
	r = batch_actions(ls, b);
	if (r == 0)
		r = attrs_save(ls);
	for (size_t i = 0; i < b->n; i++)
		l->members += (b->changes[i].put && b->changes[i].member.actions != 0)
			- (b->changes[i].own_before != 0);
	peak_note(l, wall_seconds());
	if (r == 0 && ls->fleet && !b->applied)
		r = payloads_make(ls, l, payload_flags);
	if (r == 0)
		r = batch_write(ls, l, b);
	answer = r == 0 ? hand_over(ls, &error) : PROPOSAL_REFUSED;
	if (answer == PROPOSAL_REFUSED) {
		// A refused commit was rolled back there; one that nobody took is here.
		if (r == 0 && !sqlite3_get_autocommit(ls->work.db))
			lists_db_exec(&ls->work, "ROLLBACK");
		l->members = members;
		return r < 0 ? r : error;
	}
	if (answer == PROPOSAL_BEHIND)
		catch_up(ls, l, b);
	ls->seq = b->seq;
	file_settle(ls);
	return 0;
}

int batch_propose(struct lists *ls, struct worker_list *l)
{
	int r = propose(ls, l, 0);

	batch_reset(ls->batch);
	return r;
}

int batch_bare(struct lists *ls, struct worker_list *l, uint8_t payload_flags)
{
	int r;

	batch_reset(ls->batch);
	ls->batch->bare = true;
	r = propose(ls, l, payload_flags);
	batch_reset(ls->batch);
	return r;
}
