// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/snapshot.h"

#include "control/followers/dataplane.h"
#include "control/ledger.h"
#include "control/log.h"
#include "rules/snapshot.h"

#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHANGES_MAX 2000 // of one append
#define SLICE 2000 // entries written in one turn of the loop
#define EXCEPTIONS_MAX 65536
#define RETRY_S 5
#define DAILY_S 86400
#define JOURNAL_LEAST (8u << 20)

struct snapshot {
	struct ledger *ledger;
	struct dataplane *dataplane;
	char dir[512];
	struct journal *journal;
	struct list_state on_disk; // revision of the last batch, or of the snapshot
	bool have; // on_disk is there
	bool exceptions_due;
	uint64_t journal_limit;
	struct ledger_reader *reader; // a snapshot is being written
	struct snapshot_writer *writer;
	struct list_state writing;
	struct event *slice, *retry, *daily;
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

	snprintf(why, sizeof(why), "%s: %s", what, strerror(-error));
	if (strcmp(why, s->why) != 0)
		log_error("list on disk: %s; trying again", why);
	memcpy(s->why, why, sizeof(why));
	timer_set(s->retry, RETRY_S);
}

// --- exceptions, as one array

struct collected {
	struct exception *array;
	size_t n, room;
	bool failed; // no memory, or too many: a set in part is never written
};

static bool exception_collect(void *ctx, const struct exception *x)
{
	struct collected *c = ctx;

	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 64;
		struct exception *more = NULL;

		if (room <= EXCEPTIONS_MAX)
			more = realloc(c->array, room * sizeof(*more));
		c->failed = !more;
		if (!more)
			return false;
		c->array = more;
		c->room = room;
	}
	c->array[c->n++] = *x;
	return true;
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
	struct collected c = {0};
	int rc = ledger_exceptions(s->ledger, exception_collect, &c);

	if (c.failed)
		rc = -ENOMEM;

	if (rc == 0)
		rc = journal_append(s->journal, &s->on_disk, NULL, 0, c.array, c.n);
	free(c.array);
	if (rc == 0)
		s->exceptions_due = false;
	return rc;
}

// --- a new snapshot, in slices

static void writing_end(struct snapshot *s)
{
	ledger_reader_close(s->reader);
	snapshot_free(s->writer);
	s->reader = NULL;
	s->writer = NULL;
}

static bool entry_write(void *ctx, const struct entry *e)
{
	struct snapshot *s = ctx;

	return snapshot_add_entry(s->writer, e) == 0;
}

static int writing_begin(struct snapshot *s)
{
	int rc = ledger_reader_open(s->ledger, &s->reader, &s->writing);

	if (rc == 0)
		rc = snapshot_create(s->dir, &s->writing, &s->writer);
	if (rc < 0) {
		writing_end(s);
		return rc;
	}
	// A journal that is not of this ledger's history: nothing of it is carried over.
	if (!s->have)
		snapshot_journal_from(s->writer, UINT64_MAX);
	timer_set(s->slice, 0);
	return 0;
}

static int writing_commit(struct snapshot *s)
{
	struct collected c = {0};
	int rc = ledger_exceptions(s->ledger, exception_collect, &c);

	if (c.failed)
		rc = -ENOMEM;

	for (size_t i = 0; rc == 0 && i < c.n; i++)
		rc = snapshot_add_exception(s->writer, &c.array[i]);
	free(c.array);
	if (rc == 0) {
		rc = snapshot_commit(s->writer);
		s->writer = NULL;
	}
	writing_end(s);
	journal_close(s->journal);
	s->journal = NULL;
	if (rc == 0)
		rc = journal_open(s->dir, &s->journal);
	if (rc < 0)
		return rc;
	// What the old journal had beyond the snapshot was carried over, if it was of this ledger.
	if (!s->have || memcmp(s->on_disk.ledger_id, s->writing.ledger_id, LEDGER_ID_LEN) != 0
	    || revision_compare(s->on_disk.revision, s->writing.revision) < 0)
		s->on_disk = s->writing;
	s->have = true;
	s->journal_limit = 24 * s->writing.count / 4;
	if (s->journal_limit < JOURNAL_LEAST)
		s->journal_limit = JOURNAL_LEAST;
	return 0;
}

static void sliced(evutil_socket_t fd, short what, void *ctx)
{
	struct snapshot *s = ctx;
	int rc = ledger_reader_next(s->reader, SLICE, entry_write, s);

	(void)fd;
	(void)what;
	if (rc > 0) {
		timer_set(s->slice, 0);
		return;
	}
	if (rc == 0)
		rc = writing_commit(s);
	if (rc < 0) {
		writing_end(s);
		failed(s, "a new snapshot", rc);
		return;
	}
	work(s);
}

// --- what is due

static void work(struct snapshot *s)
{
	int rc = s->have && s->journal ? 1 : -ESTALE;

	while (rc == 1)
		rc = append_some(s);
	if (rc == 0 && s->exceptions_due)
		rc = append_exceptions(s);
	if (rc == 0)
		s->why[0] = '\0';
	if (!s->reader
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

static int ignore_reset(void *ctx)
{
	(void)ctx;
	return 0;
}

static int ignore_exception(void *ctx, const struct exception *x)
{
	(void)ctx;
	(void)x;
	return 0;
}

static int ignore_entry(void *ctx, const struct entry *e)
{
	(void)ctx;
	(void)e;
	return 0;
}

static int ignore_indicator(void *ctx, const struct indicator *n)
{
	(void)ctx;
	(void)n;
	return 0;
}

// Go on with what is on disk where it is a state of this ledger's history.
static void resume(struct snapshot *s)
{
	const struct list_sink sink = {
		.exception_reset = ignore_reset,
		.exception = ignore_exception,
		.put = ignore_entry,
		.remove = ignore_indicator,
		.reset = ignore_reset,
	};
	struct list_state state, at;
	struct text_error where;
	enum list_origin origin;
	char text[512];
	int rc = list_load(s->dir, &sink, &state, &origin, &where);

	if (rc < 0 || origin == LIST_PREVIOUS) {
		text_error_print(&where, text, sizeof(text));
		log_error("list on disk is damaged: %s; it is written anew", text);
		return;
	}
	if (origin != LIST_CURRENT || ledger_state_at(s->ledger, state.revision, &at) < 0
	    || !list_state_equal(&state, &at) || journal_open(s->dir, &s->journal) < 0)
		return;
	s->on_disk = state;
	s->have = true;
	s->journal_limit = JOURNAL_LEAST;
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
	s->slice = event_new(base, -1, 0, sliced, s);
	s->retry = event_new(base, -1, 0, retried, s);
	s->daily = event_new(base, -1, EV_PERSIST, daily, s);
	if (!s->slice || !s->retry || !s->daily || event_add(s->daily, &day) < 0
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
	events[0] = s->slice;
	events[1] = s->retry;
	events[2] = s->daily;
	for (int i = 0; i < 3; i++) {
		if (events[i])
			event_free(events[i]);
	}
	ledger_unwatch(s->ledger, woken, s);
	writing_end(s);
	journal_close(s->journal);
	free(s);
}

bool snapshot_state(const struct snapshot *s, struct list_state *ret_state, char ret_why[160])
{
	snprintf(ret_why, 160, "%s", s->why);
	*ret_state = s->on_disk;
	return s->have && !s->why[0];
}
