// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/ledger.h"

#include "control/ledger_internal.h"
#include "control/lists_internal.h"
#include "control/log.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// epoll counts whole milliseconds and rounds up: 1 here is 1 to 2 at the wall.
#define COMMIT_APART_US 2000
static const struct timeval syslog_every = {.tv_sec = 600};

static void state_publish(struct ledger *l)
{
	memcpy(l->state.ledger_id, l->id, LEDGER_ID_LEN);
	l->state.revision = l->now.revision;
	l->state.count = l->now.tally.entries;
	l->state.digest = l->now.digest;
}

static int state_load(struct ledger *l, int64_t *ret_wall)
{
	struct ledger_now *now = &l->now;
	scoped_stmt stmt = NULL;
	int r = sql_prepare(
		l,
		"SELECT ledger, epoch, number, count, digest, claims, orphaned, held, allows,"
		" enforce, monitor, names, log_last, log_tail, pause_until, audit_seq, audit_hash,"
		" wall FROM state",
		&stmt
	);

	if (r < 0)
		return r;
	if (sqlite3_step(stmt) != SQLITE_ROW || sqlite3_column_bytes(stmt, 0) != LEDGER_ID_LEN
	    || sqlite3_column_bytes(stmt, 4) != 16 || sqlite3_column_bytes(stmt, 16) != SHA256_LEN)
		return -EILSEQ;
	memcpy(l->id, sqlite3_column_blob(stmt, 0), LEDGER_ID_LEN);
	now->revision.epoch = (uint64_t)sqlite3_column_int64(stmt, 1);
	now->revision.number = (uint64_t)sqlite3_column_int64(stmt, 2);
	now->tally.entries = (uint64_t)sqlite3_column_int64(stmt, 3);
	now->digest = digest_unpack(sqlite3_column_blob(stmt, 4));
	now->tally.claims = (uint64_t)sqlite3_column_int64(stmt, 5);
	now->tally.orphaned = (uint64_t)sqlite3_column_int64(stmt, 6);
	now->tally.held = (uint64_t)sqlite3_column_int64(stmt, 7);
	now->tally.allows = (uint64_t)sqlite3_column_int64(stmt, 8);
	now->tally.enforce = (uint64_t)sqlite3_column_int64(stmt, 9);
	now->tally.monitor = (uint64_t)sqlite3_column_int64(stmt, 10);
	now->tally.names = (uint64_t)sqlite3_column_int64(stmt, 11);
	now->log_last = sqlite3_column_int64(stmt, 12);
	now->log_tail = sqlite3_column_int64(stmt, 13);
	now->pause_until = sqlite3_column_int64(stmt, 14);
	now->audit_seq = sqlite3_column_int64(stmt, 15);
	memcpy(now->audit_hash, sqlite3_column_blob(stmt, 16), SHA256_LEN);
	*ret_wall = sqlite3_column_int64(stmt, 17);
	state_publish(l);
	return 0;
}

static void state_save(struct ledger *l)
{
	sqlite3_stmt *stmt = l->stmts[STMT_STATE_PUT];
	const struct ledger_now *now = &l->now;
	const int64_t numbers[] = {
		(int64_t)now->tally.claims,
		(int64_t)now->tally.orphaned,
		(int64_t)now->tally.held,
		(int64_t)now->tally.allows,
		(int64_t)now->tally.enforce,
		(int64_t)now->tally.monitor,
		(int64_t)now->tally.names,
		now->log_last,
		now->log_tail,
		now->pause_until,
		now->audit_seq,
	};
	uint8_t digest[16];

	digest_pack(now->digest, digest);
	sqlite3_bind_int64(stmt, 1, (int64_t)now->revision.epoch);
	sqlite3_bind_int64(stmt, 2, (int64_t)now->revision.number);
	sqlite3_bind_int64(stmt, 3, (int64_t)now->tally.entries);
	sqlite3_bind_blob(stmt, 4, digest, sizeof(digest), SQLITE_TRANSIENT);
	for (int i = 0; i < (int)(sizeof(numbers) / sizeof(numbers[0])); i++)
		sqlite3_bind_int64(stmt, 5 + i, numbers[i]);
	sqlite3_bind_blob(stmt, 16, now->audit_hash, SHA256_LEN, SQLITE_STATIC);
	// A clock that is not believed leaves no trace: the next start judges by the last good one.
	sqlite3_bind_int64(stmt, 17, l->ends_held ? l->last_wall : clock_wall(l));
	sql_run(l, stmt);
}

void transaction_fail(struct ledger *l, int error)
{
	if (!l->error)
		l->error = error;
}

static int64_t monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// What comes alone is committed at the end of this turn of the loop; what comes in crowds shares a
// commit.
static void commit_arm(struct ledger *l)
{
	int64_t wait = l->committed_us + COMMIT_APART_US - monotonic_us();
	const struct timeval after = {.tv_usec = wait > 0 ? wait : 0};

	event_add(l->commit_event, &after);
}

int transaction_begin(struct ledger *l)
{
	int r;

	if (l->open)
		return l->error;
	space_check(l);
	l->error = 0;
	l->n_open = 0;
	l->forced = false;
	l->saved = l->now;
	// Also where BEGIN fails: the commit tells those who asked.
	l->open = true;
	commit_arm(l);
	r = sql_run(l, l->stmts[STMT_BEGIN]);
	return r;
}

struct pending *pending_create(struct ledger *l, size_t n)
{
	struct pending *pending = calloc(1, sizeof(*pending) + n * sizeof(pending->results[0]));

	// XXX: without memory nobody can be told; the daemon ends and its claims come again.
	if (!pending)
		abort();
	pending->n = n;
	STAILQ_INSERT_TAIL(&l->pending, pending, link);
	l->n_open += n;
	return pending;
}

void pending_done(struct ledger *l, ledger_done done, void *ctx, int error, const char *message)
{
	struct pending *pending = pending_create(l, 0);

	pending->done = done;
	pending->ctx = ctx;
	pending->error = error;
	snprintf(pending->message, sizeof(pending->message), "%s", message);
	// A refusal writes nothing, yet it is answered from the loop like the rest.
	if (!l->open)
		ledger_commit_soon(l);
}

static void pending_call(const struct ledger *l, const struct pending *p, int error)
{
	const char *message = p->message;

	if (p->submit)
		p->submit(p->ctx, error, l->state.revision, p->results, p->n);
	if (!p->done)
		return;
	if (error == -ENOSPC)
		message = "no space on disk: nothing was written; free space and try again";
	else if (error < 0)
		message = "the ledger could not be written: nothing holds; see the log";
	p->done(p->ctx, error < 0 ? error : p->error, message);
}

static void watchers_call(struct ledger *l, unsigned topics)
{
	struct watcher *w, *next;

	if (!topics)
		return;
	l->waking = true;
	TAILQ_FOREACH(w, &l->watchers, link)
	if (w->wake && (w->topics & topics))
		w->wake(w->ctx, w->topics & topics);
	l->waking = false;
	for (w = TAILQ_FIRST(&l->watchers); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->wake)
			continue;
		TAILQ_REMOVE(&l->watchers, w, link);
		free(w);
	}
}

static void transaction_rollback(struct ledger *l)
{
	log_error("ledger: the commit failed, nothing of it holds: %s", strerror(-l->error));
	if (!sqlite3_get_autocommit(l->db))
		sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
	l->now = l->saved;
	sources_rollback(l);
	fleet_rolled_back(l);
	// A protection that this commit was to end holds again; one that it was to add stays too.
	if (protections_load(l) < 0)
		log_error("ledger: the operator's protections could not be read again");
	if (l->error == -ENOSPC)
		space_release(l);
}

// Writes what is open. Returns the commit's error; ret_topics: who is to be woken.
static int transaction_end(struct ledger *l, unsigned *ret_topics)
{
	unsigned topics = l->topics;
	int error;

	l->topics = 0;
	if (!l->error && entries_flush(l))
		topics |= LEDGER_ENTRIES;
	if (!l->error && l->bulk && bulk_flush(l))
		topics |= LEDGER_ENTRIES;
	fleet_flush(l);
	if (!l->error) {
		sources_save(l);
		fleet_save(l);
		state_save(l);
	}
	if (!l->error)
		sql_run(l, l->stmts[STMT_COMMIT]);
	error = l->error;
	if (l->bulk)
		l->bulk_error = error;
	if (error) {
		transaction_rollback(l);
		topics = 0;
	} else {
		// Before anybody is told: whoever reads entries now reads these pages.
		if (l->bulk)
			lists_commit(l->lists);
		sources_commit(l);
		state_publish(l);
		if (l->refused_room && l->now.tally.entries < l->conf.max_entries) {
			l->refused_room = false;
			topics |= LEDGER_ROOM;
		}
	}
	dirty_free(l);
	l->open = false;
	l->error = 0;
	*ret_topics = topics;
	return error;
}

void ledger_commit(struct ledger *l)
{
	struct pending_list list = STAILQ_HEAD_INITIALIZER(list);
	struct pending *p;
	unsigned topics = l->topics;
	int error = 0;

	event_del(l->commit_event);
	if (l->open) {
		error = transaction_end(l, &topics);
		l->committed_us = monotonic_us();
		deadline_arm(l);
		if (!error && l->forced)
			audit_syslog(l);
		// Without room the log on disk must not grow: its pages are used again.
		if (l->space_low)
			sqlite3_wal_checkpoint_v2(
				l->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL
			);
	} else {
		l->topics = 0;
	}
	// Callbacks may submit again: what they add waits for the next commit.
	STAILQ_CONCAT(&list, &l->pending);
	while ((p = STAILQ_FIRST(&list))) {
		STAILQ_REMOVE_HEAD(&list, link);
		pending_call(l, p, error);
		free(p);
	}
	watchers_call(l, topics);
	if (error == 0)
		fleet_committed(l);
}

static void commit_cb(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	ledger_commit(ctx);
}

void ledger_commit_soon(struct ledger *l)
{
	event_active(l->commit_event, EV_TIMEOUT, 0);
}

static void syslog_cb(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	audit_syslog(ctx);
	// Leaves today's date in the ledger: a quiet month must not look like a clock that is
	// wrong.
	transaction_begin(ctx);
}

void ledger_wake_soon(struct ledger *l, unsigned topics)
{
	l->topics |= topics;
	if (!l->open)
		ledger_commit_soon(l);
}

static void protect_changed_cb(void *ctx)
{
	ledger_wake_soon(ctx, LEDGER_EXCEPTIONS);
}

static bool protect_in_force_cb(void *ctx, const struct indicator *indicator)
{
	struct indicator covering;
	struct entry entry;

	for (unsigned i = 0; indicator_covering(indicator, i, &covering); i++)
		if (ledger_entry_find(ctx, &covering, &entry) == 0)
			return true;
	return false;
}

static int ledger_prepare(struct ledger *l, char message[256])
{
	int64_t wall = 0;
	int r;

	r = space_init(l, message);
	if (r == 0)
		r = schema_open(l, message);
	if (r == 0)
		r = audit_init(l);
	if (r == 0)
		r = state_load(l, &wall);
	if (r == 0)
		r = fleet_load(l);
	if (r == 0)
		r = sources_load(l);
	if (r == 0)
		r = protections_load(l);
	if (r == 0)
		r = deadline_init(l, wall);
	if (r == 0)
		r = checkpoint_init(l);
	if (r == 0)
		r = claimed_load(l);
	if (r == 0)
		r = lists_open(l);
	if (r == 0)
		r = bulk_open(l);
	return r;
}

int ledger_open(
	struct event_base *base,
	const struct ledger_conf *conf,
	struct protect *protect,
	struct ledger **ret_ledger,
	char ret_message[256]
)
{
	struct ledger *l = calloc(1, sizeof(*l));
	int r = -ENOMEM;

	ret_message[0] = '\0';
	if (!l)
		return -ENOMEM;
	l->base = base;
	l->conf = *conf;
	l->protect = protect;
	l->due_fd = l->reserve_fd = -1;
	STAILQ_INIT(&l->pending);
	TAILQ_INIT(&l->watchers);
	l->dir = strdup(conf->dir);
	l->commit_event = event_new(base, -1, 0, commit_cb, l);
	l->syslog_event = event_new(base, -1, EV_PERSIST, syslog_cb, l);
	if (!l->dir || !l->commit_event || !l->syslog_event)
		goto fail;
	l->conf.dir = l->dir;
	r = ledger_prepare(l, ret_message);
	if (r < 0)
		goto fail;
	event_add(l->syslog_event, &syslog_every);
	protect_in_force_set(protect, protect_in_force_cb, l);
	protect_changed_set(protect, protect_changed_cb, l);
	deadline_run(l);
	r = lists_start(l->lists);
	if (r < 0)
		goto fail;
	*ret_ledger = l;
	return 0;
fail:
	if (ret_message[0] == '\0')
		snprintf(ret_message, 256, "%s: %s", conf->dir, strerror(-r));
	ledger_close(l);
	return r;
}

void ledger_close(struct ledger *l)
{
	struct watcher *w;

	if (!l)
		return;
	l->closing = true;
	lists_stop(l->lists);
	if (l->open || !STAILQ_EMPTY(&l->pending))
		ledger_commit(l);
	if (l->db) {
		protect_in_force_set(l->protect, NULL, NULL);
		protect_changed_set(l->protect, NULL, NULL);
	}
	while ((w = TAILQ_FIRST(&l->watchers))) {
		TAILQ_REMOVE(&l->watchers, w, link);
		free(w);
	}
	if (l->commit_event)
		event_free(l->commit_event);
	if (l->syslog_event)
		event_free(l->syslog_event);
	if (l->due_event)
		event_free(l->due_event);
	if (l->due_fd >= 0)
		close(l->due_fd);
	held_fini(l);
	fleet_fini(l);
	checkpoint_fini(l);
	lists_free(l->lists);
	free(l->bulk_out);
	schema_close(l);
	space_fini(l);
	audit_fini(l);
	sources_free(l);
	free(l->dir);
	free(l);
}

void ledger_state(const struct ledger *l, struct list_state *ret_state)
{
	*ret_state = l->state;
}

int ledger_watch(struct ledger *l, unsigned topics, ledger_wake wake, void *ctx)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->topics = topics;
	w->wake = wake;
	w->ctx = ctx;
	TAILQ_INSERT_TAIL(&l->watchers, w, link);
	return 0;
}

void ledger_unwatch(struct ledger *l, ledger_wake wake, void *ctx)
{
	struct watcher *w;

	TAILQ_FOREACH(w, &l->watchers, link)
	if (w->wake == wake && w->ctx == ctx)
		break;
	if (!w)
		return;
	if (l->waking) {
		w->wake = NULL;
		return;
	}
	TAILQ_REMOVE(&l->watchers, w, link);
	free(w);
}

void ledger_limits_set(struct ledger *l, const struct ledger_conf *conf)
{
	const char *dir = l->conf.dir;
	l->conf = *conf;
	l->conf.dir = dir;
}
