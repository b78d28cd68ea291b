// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Checkpoints of a write-ahead log, on a thread and a connection of their own: copying some
// thousand pages and two fsyncs would hold the loop for tens of milliseconds. Only where the
// thread falls behind, and the log would outgrow its limit, who commits does it: of the ledger the
// loop, when the reserve on disk would not cover it; of lists.db (control/lists_db.h) the worker.
//
// Shared: `wanted` and `stop`, under the mutex. The ledger itself is never touched by the thread.

#include "control/ledger_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct checkpointer {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool wanted, stop;
	sqlite3 *db; // the thread's, once it runs
	unsigned soft, hard; // pages: the thread begins; the loop does it
};

static void *checkpoint_run(void *ctx)
{
	struct checkpointer *c = ctx;

	pthread_mutex_lock(&c->mutex);
	while (!c->stop) {
		if (!c->wanted) {
			pthread_cond_wait(&c->cond, &c->mutex);
			continue;
		}
		c->wanted = false;
		pthread_mutex_unlock(&c->mutex);
		// Passive: waits for nobody and keeps nobody waiting. A failure comes again with
		// the next commit, and on the loop in the end.
		sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
		pthread_mutex_lock(&c->mutex);
	}
	pthread_mutex_unlock(&c->mutex);
	return NULL;
}

void checkpointer_committed(struct checkpointer *c, unsigned pages)
{
	if (pages < c->soft)
		return;
	pthread_mutex_lock(&c->mutex);
	c->wanted = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->mutex);
}

static int committed_cb(void *ctx, sqlite3 *db, const char *name, int pages)
{
	struct checkpointer *c = ctx;

	if ((unsigned)pages >= c->hard)
		sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	else
		checkpointer_committed(c, (unsigned)pages);
	return SQLITE_OK;
}

static int thread_create(struct checkpointer *c)
{
	sigset_t all, before;
	int r;

	// Signals are the loop's.
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&c->thread, NULL, checkpoint_run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int checkpointer_create(const char *path, unsigned hard, struct checkpointer **ret_checkpointer)
{
	struct checkpointer *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = sql_errno(
		sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL),
		NULL
	);
	if (r == 0)
		r = sql_errno(
			sqlite3_exec(c->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL), c->db
		);
	c->hard = hard;
	c->soft = hard / 4;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->cond, NULL);
	if (r == 0)
		r = thread_create(c);
	if (r < 0) {
		sqlite3_close(c->db);
		free(c);
		return r;
	}
	*ret_checkpointer = c;
	return 0;
}

void checkpointer_free(struct checkpointer *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->mutex);
	c->stop = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->mutex);
	pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->cond);
	pthread_mutex_destroy(&c->mutex);
	sqlite3_close(c->db);
	free(c);
}

int checkpoint_init(struct ledger *l)
{
	char path[4096];
	int r;

	snprintf(path, sizeof(path), "%s/ledger.db", l->dir);
	r = checkpointer_create(path, l->checkpoint_pages, &l->checkpointer);
	if (r == 0)
		sqlite3_wal_hook(l->db, committed_cb, l->checkpointer);
	return r;
}

void checkpoint_fini(struct ledger *l)
{
	if (l->checkpointer)
		sqlite3_wal_hook(l->db, NULL, NULL);
	checkpointer_free(l->checkpointer);
	l->checkpointer = NULL;
}
