// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/snapshot.h"

#include "control/followers/dataplane.h"
#include "control/ledger.h"
#include "control/log.h"
#include "rules/snapshot.h"
#include "rules/wire.h"

#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHANGES_MAX 2000 // of one append
#define SLICE 2000 // entries between two looks at `stop`
#define RETRY_S 5
#define DAILY_S 86400
#define JOURNAL_LEAST (8u << 20)

// A snapshot being written. All of it is the thread's from its start until it is joined, but for
// `stop`.
struct writing {
	pthread_t thread;
	const char *dir;
	int done_fd; // eventfd: the thread has come to its end
	atomic_bool stop; // set by the loop
	bool committing; // the second part: it takes the old one's place
	struct list_state state; // the snapshot's
	struct ledger_reader *reader;
	struct snapshot_writer *writer;
	struct exception *exceptions;
	size_t n_exceptions;
	struct journal *journal; // the new one, after the second part
	int error;
};

struct snapshot {
	struct ledger *ledger;
	struct dataplane *dataplane;
	char dir[512];
	struct journal *journal;
	struct list_state on_disk; // revision of the last batch, or of the snapshot
	bool have; // on_disk is there
	bool exceptions_due;
	bool failing; // until the next try: no snapshot is begun for each commit on a full disk
	uint64_t journal_limit;
	struct writing *writing; // NULL: none
	int done_fd;
	struct event *done, *retry, *daily;
	char why[128];
};

static void work(struct snapshot *s);

static void timer_set(struct event *timer, long seconds)
{
	const struct timeval after = {.tv_sec = seconds};

	event_add(timer, &after);
}

static void failed(struct snapshot *s, const char *what, int error)
{
	char why[128];

	if (error == -E2BIG)
		snprintf(
			why,
			sizeof(why),
			"%s: more than %d protections and allows",
			what,
			WIRE_EXCEPTIONS_MAX
		);
	else
		snprintf(why, sizeof(why), "%s: %s", what, strerror(-error));
	if (strcmp(why, s->why) != 0)
		log_error("list on disk: %s; trying again", why);
	memcpy(s->why, why, sizeof(why));
	s->failing = true;
	timer_set(s->retry, RETRY_S);
}

// --- exceptions, as one array

struct collected {
	struct exception *array;
	size_t n, room;
	int error; // a set in part is never written
};

static bool exception_collect(void *ctx, const struct exception *x)
{
	struct collected *c = ctx;

	if (c->n == WIRE_EXCEPTIONS_MAX) {
		c->error = -E2BIG;
		return false;
	}
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 64;
		struct exception *more = realloc(c->array, room * sizeof(*more));

		if (!more) {
			c->error = -ENOMEM;
			return false;
		}
		c->array = more;
		c->room = room;
	}
	c->array[c->n++] = *x;
	return true;
}

static int exceptions_collect(struct ledger *ledger, struct exception **ret_array, size_t *ret_n)
{
	struct collected c = {0};
	int rc = ledger_exceptions(ledger, exception_collect, &c);

	if (rc == 0)
		rc = c.error;
	if (rc < 0) {
		free(c.array);
		return rc;
	}
	*ret_array = c.array;
	*ret_n = c.n;
	return 0;
}

// --- the journal

struct batch { // whole revisions: ledger_changes gives no others
	struct change *changes;
	size_t n, room;
	struct revision revision;
	bool no_memory;
};

static bool change_collect(void *ctx, const struct ledger_change *c)
{
	struct batch *b = ctx;

	if (b->n == b->room) {
		size_t room = b->room ? 2 * b->room : 256;
		struct change *more = realloc(b->changes, room * sizeof(*more));

		b->no_memory = !more;
		if (!more)
			return false;
		b->changes = more;
		b->room = room;
	}
	b->revision = c->revision;
	b->changes[b->n++] = c->change;
	return true;
}

// One batch of whole revisions. 1: more may follow, 0: nothing newer, -ESTALE: a snapshot is due.
static int append_some(struct snapshot *s)
{
	struct batch b = {0};
	struct list_state after;
	int rc = ledger_changes(s->ledger, s->on_disk.revision, CHANGES_MAX, change_collect, &b);

	if (b.no_memory)
		rc = -ENOMEM;
	if (rc == -ENOENT || (rc == 0 && b.n && ledger_state_at(s->ledger, b.revision, &after) < 0))
		rc = -ESTALE;
	if (rc == 0 && b.n) {
		rc = journal_append(s->journal, &after, b.changes, b.n, NULL, 0);
		if (rc == 0) {
			s->on_disk = after;
			rc = 1;
		}
	}
	free(b.changes);
	return rc;
}

static int append_exceptions(struct snapshot *s)
{
	static const struct exception none;
	struct exception *array = NULL;
	size_t n;
	int rc = exceptions_collect(s->ledger, &array, &n);

	if (rc == 0)
		rc = journal_append(s->journal, &s->on_disk, NULL, 0, array ? array : &none, n);
	free(array);
	if (rc == 0)
		s->exceptions_due = false;
	return rc;
}

// --- a new snapshot, on a thread

static bool entry_write(void *ctx, const struct entry *e)
{
	struct writing *w = ctx;

	w->error = snapshot_add_entry(w->writer, e);
	return w->error == 0;
}

static void part_write(struct writing *w)
{
	int rc;

	do
		rc = w->stop ? -ECANCELED : ledger_reader_next(w->reader, SLICE, entry_write, w);
	while (rc > 0 && w->error == 0);
	if (w->error == 0)
		w->error = rc;
	ledger_reader_close(w->reader);
	w->reader = NULL;
	for (size_t i = 0; w->error == 0 && i < w->n_exceptions; i++)
		w->error = snapshot_add_exception(w->writer, &w->exceptions[i]);
	if (w->error == 0)
		w->error = snapshot_seal(w->writer);
	if (w->error < 0) {
		snapshot_free(w->writer); // here: removing a large file takes its time
		w->writer = NULL;
	}
}

static void part_commit(struct writing *w)
{
	int rc;

	w->error = snapshot_commit(w->writer);
	w->writer = NULL;
	// Also where it failed: then the old pair goes on.
	rc = journal_open(w->dir, &w->journal);
	if (w->error == 0)
		w->error = rc;
}

static void *writing_run(void *ctx)
{
	struct writing *w = ctx;
	const uint64_t one = 1;

	if (w->committing)
		part_commit(w);
	else
		part_write(w);
	// An eventfd takes it always; the loop joins this thread before it touches anything.
	while (write(w->done_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	return NULL;
}

static int writing_start(struct writing *w)
{
	sigset_t all, before;
	int r;

	// Signals are the loop's.
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&w->thread, NULL, writing_run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

static void writing_free(struct writing *w)
{
	if (!w)
		return;
	ledger_reader_close(w->reader);
	snapshot_free(w->writer);
	journal_close(w->journal);
	free(w->exceptions);
	free(w);
}

static int writing_begin(struct snapshot *s)
{
	struct writing *w = calloc(1, sizeof(*w));
	int rc = -ENOMEM;

	if (!w)
		return rc;
	w->dir = s->dir;
	w->done_fd = s->done_fd;
	rc = exceptions_collect(s->ledger, &w->exceptions, &w->n_exceptions);
	if (rc == 0)
		rc = ledger_reader_open(s->ledger, &w->reader, &w->state);
	if (rc == 0)
		rc = snapshot_create(s->dir, &w->state, &w->writer);
	if (rc == 0) {
		// What the journal holds so far is in the snapshot, where the two are of one
		// history and the journal is not ahead; else nothing of it is carried over.
		snapshot_journal_from(
			w->writer, s->have && s->journal ? journal_size(s->journal) : UINT64_MAX
		);
		rc = writing_start(w);
	}
	if (rc < 0)
		writing_free(w);
	else
		s->writing = w;
	return rc;
}

static uint64_t journal_limit(const char *dir)
{
	char path[600];
	struct stat st;

	snprintf(path, sizeof(path), "%s/deny.rules", dir);
	if (stat(path, &st) < 0 || st.st_size / 4 < JOURNAL_LEAST)
		return JOURNAL_LEAST;
	return (uint64_t)st.st_size / 4;
}

static int writing_commit(struct snapshot *s)
{
	// Nobody appends from here on, until the thread hands over the new journal.
	journal_close(s->journal);
	s->journal = NULL;
	s->writing->committing = true;
	return writing_start(s->writing);
}

static int writing_end(struct snapshot *s)
{
	struct writing *w = s->writing;
	int rc = w->error;

	s->writing = NULL;
	if (w->committing) {
		s->journal = w->journal;
		w->journal = NULL;
	}
	if (rc == 0) {
		// What the old journal had beyond the snapshot was carried over, if it was of this
		// ledger.
		if (!s->have || memcmp(s->on_disk.ledger_id, w->state.ledger_id, LEDGER_ID_LEN) != 0
		    || revision_compare(s->on_disk.revision, w->state.revision) < 0)
			s->on_disk = w->state;
		s->have = true;
		s->journal_limit = journal_limit(s->dir);
	}
	writing_free(w);
	return rc;
}

static void written(evutil_socket_t fd, short what, void *ctx)
{
	struct snapshot *s = ctx;
	uint64_t times;
	int rc = 0;

	(void)what;
	if (read(fd, &times, sizeof(times)) < 0 || !s->writing)
		return;
	pthread_join(s->writing->thread, NULL);
	if (s->writing->error == 0 && !s->writing->committing) {
		rc = writing_commit(s);
		if (rc == 0)
			return;
		s->writing->error = rc;
	}
	rc = writing_end(s);
	if (rc < 0)
		failed(s, "a new snapshot", rc);
	else
		work(s);
}

// --- what is due

static void work(struct snapshot *s)
{
	int rc = s->have && s->journal ? 1 : -ESTALE;

	// The new pair is about to be there, and the link hears of it then.
	if (s->writing && s->writing->committing)
		return;
	while (rc == 1)
		rc = append_some(s);
	if (rc == 0 && s->exceptions_due)
		rc = append_exceptions(s);
	if (rc == 0)
		s->why[0] = '\0';
	if (!s->writing && !s->failing
	    && (rc == -ESTALE || (rc == 0 && journal_size(s->journal) > s->journal_limit))) {
		if (rc == -ESTALE)
			s->have = false;
		rc = writing_begin(s);
	}
	if (rc < 0 && rc != -ESTALE)
		failed(s, "the journal", rc);
	// Also when the disk refuses: withdrawals must still reach the wire.
	if (s->dataplane)
		dataplane_wake(s->dataplane);
}

static void woken(void *ctx, unsigned topics)
{
	struct snapshot *s = ctx;

	s->exceptions_due |= topics & LEDGER_EXCEPTIONS;
	work(s);
}

static void retried(evutil_socket_t fd, short what, void *ctx)
{
	struct snapshot *s = ctx;

	(void)fd;
	(void)what;
	s->failing = false;
	if (s->writing)
		return;
	if (!s->journal && s->have && journal_open(s->dir, &s->journal) < 0)
		s->have = false;
	work(s);
}

// The files' times tell the data plane that its clock is no month off.
static void daily(evutil_socket_t fd, short what, void *ctx)
{
	struct snapshot *s = ctx;
	char path[600];

	(void)fd;
	(void)what;
	snprintf(path, sizeof(path), "%s/deny.journal", s->dir);
	utimensat(AT_FDCWD, path, NULL, 0);
}

// Go on with what is on disk where it is a state of this ledger's history.
static void resume(struct snapshot *s)
{
	struct list_state state, at;
	struct text_error where;
	char text[512];
	int rc = list_state_read(s->dir, &state, &where);

	if (rc < 0) {
		text_error_print(&where, text, sizeof(text));
		if (rc != -ENOENT)
			log_error("list on disk is damaged: %s; it is written anew", text);
		return;
	}
	if (ledger_state_at(s->ledger, state.revision, &at) < 0 || !list_state_equal(&state, &at)
	    || journal_open(s->dir, &s->journal) < 0)
		return;
	s->on_disk = state;
	s->have = true;
	s->journal_limit = journal_limit(s->dir);
}

int snapshot_follow(
	struct event_base *base,
	struct ledger *ledger,
	const char *dir,
	struct dataplane *dataplane,
	struct snapshot **ret_snapshot
)
{
	const struct timeval day = {.tv_sec = DAILY_S};
	struct snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->ledger = ledger;
	s->dataplane = dataplane;
	s->exceptions_due = true;
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	s->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (s->done_fd >= 0)
		s->done = event_new(base, s->done_fd, EV_READ | EV_PERSIST, written, s);
	s->retry = event_new(base, -1, 0, retried, s);
	s->daily = event_new(base, -1, EV_PERSIST, daily, s);
	if (!s->done || !s->retry || !s->daily || event_add(s->done, NULL) < 0
	    || event_add(s->daily, &day) < 0
	    || ledger_watch(ledger, LEDGER_ENTRIES | LEDGER_EXCEPTIONS, woken, s) < 0) {
		snapshot_unfollow(s);
		return -ENOMEM;
	}
	resume(s);
	work(s);
	*ret_snapshot = s;
	return 0;
}

void snapshot_unfollow(struct snapshot *s)
{
	struct event *events[3];

	if (!s)
		return;
	if (s->writing) {
		// A snapshot that is not sealed is given up; one that takes its place is let be.
		s->writing->stop = true;
		pthread_join(s->writing->thread, NULL);
		writing_free(s->writing);
	}
	events[0] = s->done;
	events[1] = s->retry;
	events[2] = s->daily;
	for (int i = 0; i < 3; i++) {
		if (events[i])
			event_free(events[i]);
	}
	if (s->done_fd >= 0)
		close(s->done_fd);
	ledger_unwatch(s->ledger, woken, s);
	journal_close(s->journal);
	free(s);
}

bool snapshot_state(const struct snapshot *s, struct list_state *ret_state, char ret_why[160])
{
	snprintf(ret_why, 160, "%s", s->why);
	*ret_state = s->on_disk;
	return s->have && !s->why[0];
}
