// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/lists.h"

#include "control/cautions.h"
#include "control/lists_internal.h"
#include "control/log.h"

#include <event2/event.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POINTS_MAX 64 // changes of members that were named: those wait for nothing
#define PACE_US 1000

struct loop_list *loop_list_find(struct lists *ls, uint32_t id)
{
	for (size_t i = 0; i < ls->n; i++)
		if (ls->lists[i].status.id == id)
			return &ls->lists[i];
	return NULL;
}

struct lists *ledger_lists(struct ledger *l)
{
	return l->lists;
}

const char *lists_name(const struct lists *ls, uint32_t id)
{
	for (size_t i = 0; i < ls->n; i++)
		if (ls->lists[i].status.id == id)
			return ls->lists[i].status.name;
	return "";
}

bool lists_gone(const struct lists *ls, const char *name)
{
	for (size_t i = 0; i < ls->n; i++)
		if (strcmp(ls->lists[i].status.name, name) == 0)
			return !ls->lists[i].done;
	return false;
}

// --- jobs

struct list_job *lists_job_create(enum list_job_type type, uint32_t list, size_t room)
{
	struct list_job *job = calloc(1, sizeof(*job) + room);

	// XXX: without memory a reading would be short of members: the daemon ends instead.
	if (!job)
		abort();
	job->type = type;
	job->list = list;
	job->room = room;
	return job;
}

void lists_job_post(struct lists *ls, struct list_job *job, bool urgent)
{
	pthread_mutex_lock(&ls->mutex);
	if (urgent)
		STAILQ_INSERT_TAIL(&ls->urgent, job, link);
	else
		STAILQ_INSERT_TAIL(&ls->jobs, job, link);
	ls->n_feeds += job->type == LIST_JOB_FEED;
	pthread_cond_broadcast(&ls->cond);
	pthread_mutex_unlock(&ls->mutex);
}

static struct loop_list *list_add(struct lists *ls, uint32_t id, const char *name)
{
	struct loop_list *to = &ls->lists[ls->n];

	if (ls->n == LISTS_MAX)
		return NULL;
	*to = (struct loop_list){.next_until = UNTIL_FOREVER};
	to->status.id = id;
	snprintf(to->status.name, sizeof(to->status.name), "%s", name);
	cursor_init(&to->cursor, &ls->db, id);
	ls->n++;
	return to;
}

struct loop_list *loop_list_get(struct lists *ls, const char *name)
{
	struct loop_list *to;
	uint32_t id = 0;

	for (size_t i = 0; i < ls->n; i++) {
		if (strcmp(ls->lists[i].status.name, name) == 0)
			return &ls->lists[i];
		if (ls->lists[i].status.id > id)
			id = ls->lists[i].status.id;
	}
	pthread_mutex_lock(&ls->mutex);
	to = list_add(ls, id + 1, name);
	pthread_mutex_unlock(&ls->mutex);
	return to;
}

uint32_t lists_configure(struct lists *ls, const struct list_conf *conf)
{
	struct loop_list *to = loop_list_get(ls, conf->name);
	struct list_job *job;

	if (!to)
		return 0;
	job = lists_job_create(LIST_JOB_CONF, to->status.id, 0);
	job->conf = *conf;
	// Before its points, which are urgent.
	lists_job_post(ls, job, true);
	return to->status.id;
}

void lists_done_set(struct lists *ls, uint32_t list, list_done done, void *ctx)
{
	struct loop_list *l = loop_list_find(ls, list);

	if (!l)
		return;
	l->done = done;
	l->done_ctx = ctx;
	if (!done)
		l->marked = NULL;
}

void lists_approved_set(struct lists *ls, list_approved approved, void *ctx)
{
	ls->approved = approved;
	ls->approved_ctx = ctx;
}

// --- readings

void lists_read_begin(struct lists *ls, uint32_t list)
{
	struct loop_list *l = loop_list_find(ls, list);
	struct list_job *job;

	if (!l)
		return;
	free(l->feeding);
	l->feeding = NULL;
	l->status.reading = true;
	job = lists_job_create(LIST_JOB_BEGIN, list, 0);
	job->at_ms = monotonic_ms();
	lists_job_post(ls, job, false);
}

static void item_append(
	struct list_job *job,
	bool present,
	const char *member,
	size_t member_len,
	const char *value,
	size_t value_len,
	int64_t until
)
{
	const struct list_item item = {
		.member_len = (uint32_t)member_len,
		.value_len = (uint32_t)value_len,
		.until = until,
		.present = present,
	};

	memcpy(job->data + job->len, &item, sizeof(item));
	job->len += sizeof(item);
	memcpy(job->data + job->len, member, member_len);
	job->len += member_len;
	if (value_len)
		memcpy(job->data + job->len, value, value_len);
	job->len += value_len;
}

static void feeding_post(struct lists *ls, struct loop_list *l)
{
	if (l->feeding)
		lists_job_post(ls, l->feeding, false);
	l->feeding = NULL;
}

// What is too long is cut one octet past the limit: the worker refuses and counts it.
static size_t cut(size_t len)
{
	return len > LIST_TEXT_MAX ? LIST_TEXT_MAX + 1 : len;
}

void lists_feed(
	struct lists *ls,
	uint32_t list,
	const char *member,
	size_t member_len,
	const char *value,
	size_t value_len,
	int64_t until
)
{
	struct loop_list *l = loop_list_find(ls, list);

	if (!l)
		return;
	member_len = cut(member_len);
	value_len = cut(value_len);
	if (l->feeding
	    && l->feeding->len + sizeof(struct list_item) + member_len + value_len
		    > l->feeding->room)
		feeding_post(ls, l);
	if (!l->feeding)
		l->feeding = lists_job_create(LIST_JOB_FEED, list, LIST_FEED_MAX);
	item_append(l->feeding, true, member, member_len, value, value_len, until);
}

bool lists_busy(struct lists *ls)
{
	bool busy;

	pthread_mutex_lock(&ls->mutex);
	busy = ls->n_feeds >= LIST_JOBS_BUSY;
	pthread_mutex_unlock(&ls->mutex);
	return busy;
}

void lists_read_end(struct lists *ls, uint32_t list, bool confirmed)
{
	struct loop_list *l = loop_list_find(ls, list);
	struct list_job *job;

	if (!l)
		return;
	feeding_post(ls, l);
	job = lists_job_create(LIST_JOB_END, list, 0);
	job->confirmed = confirmed;
	lists_job_post(ls, job, false);
}

void lists_read_abort(struct lists *ls, uint32_t list)
{
	struct loop_list *l = loop_list_find(ls, list);

	if (!l)
		return;
	free(l->feeding);
	l->feeding = NULL;
	l->status.reading = false;
	lists_job_post(ls, lists_job_create(LIST_JOB_ABORT, list, 0), false);
}

void lists_point(
	struct lists *ls,
	uint32_t list,
	bool present,
	const char *member,
	size_t member_len,
	const char *value,
	size_t value_len,
	int64_t until
)
{
	struct list_job *job;

	if (!loop_list_find(ls, list))
		return;
	member_len = cut(member_len);
	value_len = cut(value_len);
	job = lists_job_create(
		LIST_JOB_POINT, list, sizeof(struct list_item) + member_len + value_len
	);
	item_append(job, present, member, member_len, value, value_len, until);
	lists_job_post(ls, job, true);
}

void lists_mark(struct lists *ls, uint32_t list, bool synced, list_marked marked, void *ctx)
{
	struct loop_list *l = loop_list_find(ls, list);
	struct list_job *job;

	if (!l)
		return;
	l->marked = marked;
	l->marked_ctx = ctx;
	job = lists_job_create(LIST_JOB_MARK, list, 0);
	job->synced = synced;
	lists_job_post(ls, job, true);
}

// --- what the worker says

static void read_done(struct lists *ls, struct loop_list *l, const struct list_result *result)
{
	l->status.reading = false;
	l->status.last = *result;
	if (result->error == 0) {
		list_held_update(ls, l, false, result->held_adds);
		list_held_update(ls, l, true, result->held_removals);
	} else if (result->error != -ECANCELED) {
		log_warning(
			"list %s: a reading did not take effect: %s",
			l->status.name,
			result->error == -ENOBUFS
				? "the ledger is full (control.ledger.max_entries)"
				: result->error == -EAGAIN ? "it changed too much meanwhile"
							   : strerror(-result->error)
		);
	}
	if (l->done)
		l->done(l->done_ctx, result);
}

static void retire_done(struct loop_list *l, const struct list_result *result)
{
	ledger_done done = l->retired;

	l->retired = NULL;
	l->status.reading = false;
	if (done)
		done(l->retired_ctx,
		     result->error,
		     result->error ? "only a part of its members ended; see the log" : "");
}

static void mark_done(struct loop_list *l)
{
	list_marked marked = l->marked;

	l->marked = NULL;
	if (marked)
		marked(l->marked_ctx);
}

static void fleet_done(struct lists *ls, const struct list_event *e)
{
	int error = e->result.error;

	// What is given from now on is not behind the one that failed.
	if (error < 0 && error != -ECANCELED)
		ls->applies_failed++;
	if (e->done)
		e->done(e->ctx, error, error < 0 ? strerror(-error) : "");
}

static void events_take(struct lists *ls)
{
	struct list_events events = STAILQ_HEAD_INITIALIZER(events);
	struct list_event *e;

	pthread_mutex_lock(&ls->mutex);
	STAILQ_CONCAT(&events, &ls->events);
	pthread_mutex_unlock(&ls->mutex);
	while ((e = STAILQ_FIRST(&events))) {
		struct loop_list *l = loop_list_find(ls, e->result.list);

		STAILQ_REMOVE_HEAD(&events, link);
		if (e->kind == LIST_EVENT_DONE)
			fleet_done(ls, e);
		else if (l && e->kind == LIST_EVENT_RETIRED)
			retire_done(l, &e->result);
		else if (l && e->kind == LIST_EVENT_MARKED)
			mark_done(l);
		else if (l)
			read_done(ls, l, &e->result);
		free(e);
	}
}

static void proposal_take(struct lists *ls)
{
	bool behind = false, made;
	struct loop_list *l;
	int r;

	pthread_mutex_lock(&ls->mutex);
	made = ls->proposal == PROPOSAL_MADE;
	pthread_mutex_unlock(&ls->mutex);
	if (!made)
		return;
	if (ls->batch->n > POINTS_MAX && bulk_waits(ls->ledger)) {
		evtimer_add(ls->pace, &(struct timeval){.tv_usec = PACE_US});
		return;
	}
	r = bulk_take(ls->ledger, ls->batch, &behind);
	l = loop_list_find(ls, ls->batch->list);
	if (r == 0 && ls->batch->n > 0) {
		if (l)
			l->any = true;
		ls->batches++;
		ls->changes += ls->batch->n;
	}
	pthread_mutex_lock(&ls->mutex);
	ls->proposal_error = r;
	ls->proposal = r < 0 ? PROPOSAL_REFUSED : behind ? PROPOSAL_BEHIND : PROPOSAL_TAKEN;
	pthread_cond_broadcast(&ls->cond);
	pthread_mutex_unlock(&ls->mutex);
}

static void pace_come(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	proposal_take(ctx);
}

static void told(evutil_socket_t fd, short what, void *ctx)
{
	struct lists *ls = ctx;
	uint64_t times;

	(void)what;
	if (read(fd, &times, sizeof(times)) < 0)
		return;
	proposal_take(ls);
	events_take(ls);
}

int lists_commit(struct lists *ls)
{
	int r = lists_db_exec(&ls->work, "COMMIT");

	if (r < 0) {
		log_error("lists.db could not be written: %s", strerror(-r));
		lists_db_exec(&ls->work, "ROLLBACK");
		ls->behind = true;
	}
	for (size_t i = 0; i < ls->n; i++)
		cursor_forget(&ls->lists[i].cursor);
	return r;
}

static void each_second(evutil_socket_t fd, short what, void *ctx)
{
	struct lists *ls = ctx;
	int64_t now = wall_seconds();
	uint32_t due[LISTS_MAX];
	size_t n = 0;

	(void)fd;
	(void)what;
	if (ls->follows || ledger_ends_held(ls->ledger))
		return;
	pthread_mutex_lock(&ls->mutex);
	for (size_t i = 0; i < ls->n; i++) {
		if (ls->lists[i].next_until > now)
			continue;
		due[n++] = ls->lists[i].status.id;
		ls->lists[i].next_until = UNTIL_FOREVER; // the worker says the next
	}
	pthread_mutex_unlock(&ls->mutex);
	for (size_t i = 0; i < n; i++)
		lists_job_post(ls, lists_job_create(LIST_JOB_EXPIRE, due[i], 0), true);
}

// --- looking

bool lists_any(const struct lists *ls)
{
	for (size_t i = 0; i < ls->n; i++)
		if (ls->lists[i].any)
			return true;
	return false;
}

int lists_actions(struct lists *ls, const struct ledger_key *key, uint8_t *ret_actions)
{
	uint8_t actions = 0;

	for (size_t i = 0; i < ls->n; i++) {
		struct list_member m;
		int r = ls->lists[i].any ? cursor_find(&ls->lists[i].cursor, key, &m) : -ENOENT;

		if (r == 0)
			actions |= m.actions;
		else if (r != -ENOENT)
			return r;
	}
	*ret_actions = actions;
	return 0;
}

bool lists_status(struct lists *ls, size_t i, struct list_status *ret_status)
{
	if (i >= ls->n)
		return false;
	pthread_mutex_lock(&ls->mutex);
	*ret_status = ls->lists[i].status;
	pthread_mutex_unlock(&ls->mutex);
	return true;
}

bool lists_find(struct lists *ls, const char *name, struct list_status *ret_status)
{
	for (size_t i = 0; lists_status(ls, i, ret_status); i++)
		if (strcmp(ret_status->name, name) == 0)
			return true;
	return false;
}

void lists_counts(struct lists *ls, struct lists_counts *ret_counts)
{
	struct lists_counts c = {.batches = ls->batches, .changes = ls->changes};
	struct list_status s;

	for (size_t i = 0; lists_status(ls, i, &s); i++) {
		c.lists++;
		c.members += s.members;
		c.refused += s.last.refused + s.last.protected;
		c.held_adds += s.last.held_adds;
		c.held_removals += s.last.held_removals;
	}
	*ret_counts = c;
}

// --- opening

static int rows_load(struct lists *ls)
{
	scoped_stmt stmt = NULL;
	int rc,
		r = lists_db_prepare(
			&ls->work,
			"SELECT id, name, members, synced, peak_hour, peaks FROM lists",
			&stmt
		);

	if (r < 0)
		return r;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		uint32_t id = (uint32_t)sqlite3_column_int64(stmt, 0);
		struct worker_list *l = worker_list_add(ls, id, sql_text(stmt, 1));
		struct loop_list *to = l ? list_add(ls, id, l->name) : NULL;

		if (!to)
			return -ENOMEM;
		l->members = (uint64_t)sqlite3_column_int64(stmt, 2);
		l->synced = sqlite3_column_int64(stmt, 3);
		l->peak_hour = sqlite3_column_int64(stmt, 4);
		if (sqlite3_column_bytes(stmt, 5) == sizeof(l->peaks))
			memcpy(l->peaks, sqlite3_column_blob(stmt, 5), sizeof(l->peaks));
		to->any = true;
	}
	return sql_errno(rc, ls->work.db);
}

// Whose lists these are: those of another ledger are put aside.
static int meta_load(struct lists *ls, const uint8_t ledger_id[LEDGER_ID_LEN])
{
	static const uint8_t nobody[LEDGER_ID_LEN];
	scoped_stmt stmt = NULL;
	scoped_stmt put = NULL;
	const void *id;
	int r = lists_db_prepare(&ls->work, "SELECT ledger, seq FROM meta", &stmt);

	if (r < 0)
		return r;
	if (sqlite3_step(stmt) != SQLITE_ROW || sqlite3_column_bytes(stmt, 0) != LEDGER_ID_LEN)
		return -EILSEQ;
	id = sqlite3_column_blob(stmt, 0);
	ls->seq = (uint64_t)sqlite3_column_int64(stmt, 1);
	if (memcmp(id, ledger_id, LEDGER_ID_LEN) == 0)
		return 0;
	if (memcmp(id, nobody, LEDGER_ID_LEN) != 0)
		return -EPROTO;
	sqlite3_reset(stmt);
	r = lists_db_prepare(&ls->work, "UPDATE meta SET ledger=?1", &put);
	if (r < 0)
		return r;
	sqlite3_bind_blob(put, 1, ledger_id, LEDGER_ID_LEN, SQLITE_STATIC);
	return lists_db_run(&ls->work, put);
}

static int file_open(struct lists *ls, const char *path)
{
	int r = lists_db_open(path, true, &ls->work);

	if (r == 0)
		r = meta_load(ls, ls->ledger->id);
	return r;
}

static int committed_cb(void *ctx, sqlite3 *db, const char *name, int pages)
{
	struct lists *ls = ctx;

	(void)db;
	(void)name;
	ls->wal_pages = pages;
	checkpointer_committed(ls->checkpointer, (unsigned)pages);
	return SQLITE_OK;
}

static int files_open(struct lists *ls)
{
	static const char *const ends[] = {"", "-wal", "-shm"};
	char path[4096], from[4112], to[4112];
	int r;

	snprintf(path, sizeof(path), "%s/lists.db", ls->ledger->dir);
	r = file_open(ls, path);
	if (r == -EILSEQ || r == -EPROTO) {
		lists_db_close(&ls->work);
		ls->seq = 0;
		log_error("%s is damaged or of another ledger: put aside as .damaged", path);
		for (int i = 0; i < 3; i++) {
			snprintf(from, sizeof(from), "%s%s", path, ends[i]);
			snprintf(to, sizeof(to), "%s.damaged%s", path, ends[i]);
			rename(from, to);
		}
		r = file_open(ls, path);
	}
	if (r == 0)
		r = lists_db_open(path, false, &ls->db);
	if (r == 0)
		r = checkpointer_create(path, LISTS_LOG_MAX, &ls->checkpointer);
	if (r == 0) {
		sqlite3_wal_hook(ls->work.db, committed_cb, ls);
		r = batch_init(ls);
	}
	return r == 0 ? rows_load(ls) : r;
}

int lists_open(struct ledger *l)
{
	static const struct timeval second = {.tv_sec = 1};
	struct lists *ls = calloc(1, sizeof(*ls));

	if (!ls)
		return -ENOMEM;
	l->lists = ls;
	ls->ledger = l;
	STAILQ_INIT(&ls->jobs);
	STAILQ_INIT(&ls->urgent);
	STAILQ_INIT(&ls->events);
	pthread_mutex_init(&ls->mutex, NULL);
	pthread_cond_init(&ls->cond, NULL);
	ls->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ls->batch = calloc(1, sizeof(*ls->batch));
	if (ls->event_fd < 0 || !ls->batch)
		return -ENOMEM;
	ls->event = event_new(l->base, ls->event_fd, EV_READ | EV_PERSIST, told, ls);
	ls->pace = evtimer_new(l->base, pace_come, ls);
	ls->second = event_new(l->base, -1, EV_PERSIST, each_second, ls);
	if (!ls->event || !ls->second || !ls->pace || event_add(ls->second, &second) < 0)
		return -ENOMEM;
	return files_open(ls);
}

int lists_start(struct lists *ls)
{
	sigset_t all, before;
	int r;

	// A redo may have brought a list that no row knew.
	for (size_t i = 0; i < ls->n_own; i++) {
		struct loop_list *to = loop_list_find(ls, ls->own[i]->id)
			?: list_add(ls, ls->own[i]->id, ls->own[i]->name);

		if (to)
			to->any = true;
		worker_publish(ls, ls->own[i], 0, 0);
	}
	if (event_add(ls->event, NULL) < 0
	    || ledger_watch(ls->ledger, LEDGER_EXCEPTIONS, lists_protections_moved, ls) < 0)
		return -ENOMEM;
	lists_shields_changed(ls);
	sigfillset(&all); // signals are the loop's
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&ls->thread, NULL, lists_worker_run, ls);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	ls->running = r == 0;
	return -r;
}

void lists_stop(struct lists *ls)
{
	if (!ls || !ls->running)
		return;
	pthread_mutex_lock(&ls->mutex);
	ls->stop = true;
	pthread_cond_broadcast(&ls->cond);
	pthread_mutex_unlock(&ls->mutex);
	pthread_join(ls->thread, NULL);
	ls->running = false;
}

static void jobs_free(struct list_jobs *jobs)
{
	struct list_job *job;

	while ((job = STAILQ_FIRST(jobs))) {
		STAILQ_REMOVE_HEAD(jobs, link);
		free(job);
	}
}

void lists_free(struct lists *ls)
{
	struct list_event *e;

	if (!ls)
		return;
	jobs_free(&ls->jobs);
	jobs_free(&ls->urgent);
	while ((e = STAILQ_FIRST(&ls->events))) {
		STAILQ_REMOVE_HEAD(&ls->events, link);
		free(e);
	}
	for (size_t i = 0; i < ls->n; i++) {
		free(ls->lists[i].feeding);
		cursor_fini(&ls->lists[i].cursor);
	}
	for (size_t i = 0; i < ls->n_own; i++) {
		run_free(ls->own[i]->run);
		free(ls->own[i]->missing);
		free(ls->own[i]);
		cursor_fini(&ls->others[i]);
	}
	batch_fini(ls);
	if (ls->work.db)
		sqlite3_wal_hook(ls->work.db, NULL, NULL);
	checkpointer_free(ls->checkpointer);
	free(ls->batch);
	free(ls->shields);
	cautions_free(ls->cautions);
	cautions_free(ls->cautions_next);
	lists_db_close(&ls->db);
	lists_db_close(&ls->work);
	if (ls->event)
		event_free(ls->event);
	if (ls->second)
		event_free(ls->second);
	if (ls->pace)
		event_free(ls->pace);
	if (ls->event_fd >= 0)
		close(ls->event_fd);
	pthread_mutex_destroy(&ls->mutex);
	pthread_cond_destroy(&ls->cond);
	free(ls);
}
