// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/lists_internal.h"
#include "control/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

uint64_t key_hash(const struct ledger_key *key)
{
	return siphash64(dirty_hash_key, key->octets, key->len);
}

int64_t wall_seconds(void)
{
	return time(NULL);
}

int64_t monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct worker_list *worker_list_find(struct lists *ls, uint32_t id)
{
	for (size_t i = 0; i < ls->n_own; i++)
		if (ls->own[i]->id == id)
			return ls->own[i];
	return NULL;
}

struct worker_list *worker_list_add(struct lists *ls, uint32_t id, const char *name)
{
	struct worker_list *l = worker_list_find(ls, id);

	if (l || ls->n_own == LISTS_MAX)
		return l;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->id = id;
	l->conf.max_members = UINT64_MAX;
	snprintf(l->name, sizeof(l->name), "%s", name);
	cursor_init(&ls->others[ls->n_own], &ls->work, id);
	ls->own[ls->n_own++] = l;
	return l;
}

static void loop_tell(struct lists *ls)
{
	const uint64_t one = 1;

	while (write(ls->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void worker_publish(struct lists *ls, struct worker_list *l, uint64_t progress, uint64_t total)
{
	scoped_stmt stmt = NULL;
	int64_t until = UNTIL_FOREVER;

	// Not with each batch: an index that is small is asked once a comparison.
	if (total == 0
	    && lists_db_prepare(
		       &ls->work,
		       "SELECT min(min_until) FROM pages WHERE list=?1"
		       " AND min_until < 9223372036854775807",
		       &stmt
	       ) == 0) {
		sqlite3_bind_int64(stmt, 1, l->id);
		if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
			until = sqlite3_column_int64(stmt, 0);
	}
	pthread_mutex_lock(&ls->mutex);
	for (size_t i = 0; i < LISTS_MAX; i++) {
		struct loop_list *to = &ls->lists[i];

		if (to->status.id != l->id)
			continue;
		to->status.members = l->members;
		to->status.synced = l->synced;
		to->status.braked = l->braked;
		to->status.peak = peak_of(l, wall_seconds());
		to->status.progress = progress;
		to->status.total = total;
		if (total == 0)
			to->next_until = until;
	}
	pthread_mutex_unlock(&ls->mutex);
}

static void
event_post(struct lists *ls, const struct list_result *result, enum list_event_kind kind)
{
	struct list_event *e = calloc(1, sizeof(*e));

	// XXX: without memory nobody is told; the source reads again when it waited long enough.
	if (!e)
		return;
	e->result = *result;
	e->kind = kind;
	pthread_mutex_lock(&ls->mutex);
	STAILQ_INSERT_TAIL(&ls->events, e, link);
	pthread_mutex_unlock(&ls->mutex);
	loop_tell(ls);
}

void worker_report(struct lists *ls, struct worker_list *l, const struct list_result *result)
{
	(void)l;
	event_post(ls, result, LIST_EVENT_READ);
}

void worker_done(struct lists *ls, const struct list_job *job, int error)
{
	struct list_event *e = calloc(1, sizeof(*e));

	// XXX: without memory the fleet would wait for ever: the daemon ends instead.
	if (!e)
		abort();
	e->kind = LIST_EVENT_DONE;
	e->result.list = job->list;
	e->result.error = error;
	e->done = job->done;
	e->ctx = job->ctx;
	pthread_mutex_lock(&ls->mutex);
	STAILQ_INSERT_TAIL(&ls->events, e, link);
	pthread_mutex_unlock(&ls->mutex);
	loop_tell(ls);
}

// --- texts

static void sample_add(struct worker_list *l, const char *text, size_t len, const char *why)
{
	if (l->n_samples < LIST_SAMPLES)
		snprintf(
			l->samples[l->n_samples++],
			sizeof(l->samples[0]),
			"%.*s: %.97s",
			(int)(len < 60 ? len : 60),
			text,
			why
		);
}

static void sample_note(struct worker_list *l, const char *text, size_t len, const char *why)
{
	sample_add(l, text, len, why);
	l->refused++;
}

static uint32_t
member_attr(struct lists *ls, struct worker_list *l, uint8_t actions, const struct list_text *t)
{
	const char *reason = t->reason[0] ? t->reason : l->conf.reason;

	if (l->attr_last && l->attr_actions == actions && strcmp(l->attr_reason, reason) == 0
	    && strcmp(l->attr_reference, t->reference) == 0)
		return l->attr_last;
	snprintf(l->attr_reason, sizeof(l->attr_reason), "%s", reason);
	snprintf(l->attr_reference, sizeof(l->attr_reference), "%s", t->reference);
	l->attr_actions = actions;
	l->attr_last = attr_intern(ls, actions, reason, t->reference);
	return l->attr_last;
}

bool worker_member(
	struct lists *ls,
	struct worker_list *l,
	const struct list_item *item,
	const char *member,
	struct list_member *ret_member
)
{
	struct list_text t;
	const char *why;
	char caution[192];
	int64_t now = wall_seconds();
	uint8_t actions = l->conf.monitor ? LIST_MONITOR : LIST_ENFORCE;

	if (list_text_parse(
		    member,
		    item->member_len,
		    member + item->member_len,
		    item->value_len,
		    now,
		    &t,
		    &why
	    )
	    < 0) {
		sample_note(l, member, item->member_len, why);
		return false;
	}
	// A list that only watches is not made to block by what a member says.
	if (t.action && !l->conf.monitor)
		actions = (uint8_t)t.action;
	if (item->until < t.until)
		t.until = item->until;
	if (t.until == UNTIL_FOREVER && l->conf.ttl > 0)
		t.until = now + l->conf.ttl;
	ret_member->attr = member_attr(ls, l, actions, &t);
	ret_member->until = t.until;
	ret_member->actions = actions;
	// What must not be denied stays in the list without effect: it is refused once.
	if (worker_shielded(ls, &l->conf, &t.indicator, caution)) {
		ret_member->actions = LIST_REFUSED;
		l->protected ++;
		if (caution[0])
			sample_add(l, member, item->member_len, caution);
	}
	key_pack(&t.indicator, &ret_member->key);
	return true;
}

static void feed(struct lists *ls, struct worker_list *l, const struct list_job *job)
{
	size_t at = 0;

	while (l->run && at + sizeof(struct list_item) <= job->len && l->run_error == 0) {
		struct list_member member;
		struct list_item item;
		const char *text = (const char *)job->data + at + sizeof(item);

		memcpy(&item, job->data + at, sizeof(item));
		at += sizeof(item) + item.member_len + item.value_len;
		if (worker_member(ls, l, &item, text, &member))
			l->run_error = run_add(l->run, &member);
	}
}

static void read_begin(struct worker_list *l, const struct list_job *job)
{
	run_free(l->run);
	l->run = run_create();
	l->run_error = l->run ? 0 : -ENOMEM;
	l->began_ms = job->at_ms;
	l->refused = l->protected = l->n_samples = 0;
	memset(l->samples, 0, sizeof(l->samples));
}

// --- one member

static void touch(struct worker_list *l, const struct ledger_key *key)
{
	l->touched[l->n_touched++ % LIST_TOUCHED_MAX]
		= (struct list_touch){.hash = key_hash(key), .at_ms = monotonic_ms()};
}

// A point counts as positive evidence, but not for more than a reading may change: who can write
// to Redis could take a list away member by member.
static bool
point_passes(const struct worker_list *l, const struct list_change *c, int64_t after_points)
{
	uint64_t members = (uint64_t)after_points;
	uint64_t peak = peak_of(l, wall_seconds()), room = brake_room(peak);
	bool more = c->put && c->member.actions != 0;

	if (l->conf.no_brakes || more == (c->own_before != 0))
		return true;
	if (more)
		return members < l->conf.max_members && (!l->synced || members < peak + room);
	return members + room > peak;
}

static int change_compare(const void *a, const void *b)
{
	const struct list_change *x = a, *y = b;
	int order = key_compare(&x->member.key, &y->member.key);

	return order ? order : x->order < y->order ? -1 : 1;
}

void changes_last(struct list_batch *b)
{
	size_t n = 0;

	if (b->n)
		qsort(b->changes, b->n, sizeof(b->changes[0]), change_compare);
	for (size_t i = 0; i < b->n; i++) {
		if (n > 0
		    && key_compare(&b->changes[n - 1].member.key, &b->changes[i].member.key) == 0)
			n--;
		b->changes[n++] = b->changes[i];
	}
	b->n = n;
}

// What the page says of it now, and whether it changes anything.
static bool point_judge(
	struct worker_list *l, struct list_cursor *cursor, struct list_change *c, int64_t *members
)
{
	struct list_member was = {.actions = 0};
	int r = cursor_find(cursor, &c->member.key, &was);

	touch(l, &c->member.key);
	if (r < 0 && r != -ENOENT)
		return false;
	c->own_before = r == 0 ? was.actions : 0;
	if (r == -ENOENT ? !c->put : c->put && list_member_same(&c->member, &was))
		return false;
	if (!c->put)
		c->member = was;
	if (!point_passes(l, c, *members)) {
		l->braked++;
		return false;
	}
	*members += (c->put && c->member.actions != 0) - (c->own_before != 0);
	return true;
}

static void points_do(struct lists *ls, struct worker_list *l)
{
	struct list_batch *b = ls->batch;
	int64_t members = (int64_t)l->members;
	struct list_cursor cursor;
	size_t n = 0;
	int r;

	changes_last(b);
	cursor_init(&cursor, &ls->work, l->id);
	for (size_t i = 0; i < b->n; i++)
		if (point_judge(l, &cursor, &b->changes[i], &members))
			b->changes[n++] = b->changes[i];
	cursor_fini(&cursor);
	b->n = n;
	r = batch_propose(ls, l);
	if (r < 0 && r != -ECANCELED)
		log_warning("list %s: a change was not taken: %s", l->name, strerror(-r));
	worker_publish(ls, l, 0, 0);
}

static void point_add(struct lists *ls, struct worker_list *l, const struct list_job *job)
{
	struct list_change c = {.put = false};
	uint64_t refused = l->refused;
	size_t samples = l->n_samples;
	struct list_item item;

	memcpy(&item, job->data, sizeof(item));
	if (!worker_member(ls, l, &item, (const char *)job->data + sizeof(item), &c.member)) {
		if (!l->run) {
			l->refused = refused;
			l->n_samples = samples;
		}
		return;
	}
	c.put = item.present && c.member.until > wall_seconds();
	batch_add(ls->batch, &c);
}

// The points behind the first one, as far as they are of the same list: one batch.
static void points_take(struct lists *ls, struct worker_list *l, const struct list_job *first)
{
	struct list_job *next;
	size_t order = 0;

	point_add(ls, l, first);
	while (ls->batch->n < LIST_BATCH_MAX && order < LIST_BATCH_MAX) {
		size_t at = ls->batch->n;

		pthread_mutex_lock(&ls->mutex);
		next = STAILQ_FIRST(&ls->urgent);
		if (next && next->type == LIST_JOB_POINT && next->list == l->id)
			STAILQ_REMOVE_HEAD(&ls->urgent, link);
		else
			next = NULL;
		pthread_mutex_unlock(&ls->mutex);
		if (!next)
			break;
		point_add(ls, l, next);
		if (ls->batch->n > at)
			ls->batch->changes[at].order = (uint32_t)++order;
		free(next);
	}
	points_do(ls, l);
}

// --- ends

static int expire_page(
	struct lists *ls, struct worker_list *l, struct list_cursor *c, int64_t now, bool *ret_full
)
{
	struct page_reader reader;
	int more;

	page_begin(&reader, c->page, c->len);
	while ((more = page_next(&reader)) == 1) {
		struct list_change change = {
			.member = reader.member,
			.own_before = reader.member.actions,
		};

		if (reader.member.until > now)
			continue;
		touch(l, &reader.member.key);
		if (!batch_add(ls->batch, &change)) {
			*ret_full = true;
			return 0;
		}
	}
	return more < 0 ? -EILSEQ : 0;
}

// Pages with a member whose end has come, in the order of their keys: one batch. 1: more.
static int expire_some(struct lists *ls, struct worker_list *l, int64_t now)
{
	scoped_stmt stmt = NULL;
	struct list_cursor c;
	bool full = false;
	int r = lists_db_prepare(
		&ls->work,
		"SELECT first FROM pages WHERE list=?1 AND min_until <= ?2 ORDER BY first",
		&stmt
	);

	if (r < 0)
		return r;
	cursor_init(&c, &ls->work, l->id);
	sqlite3_bind_int64(stmt, 1, l->id);
	sqlite3_bind_int64(stmt, 2, now);
	while (r >= 0 && !full && sqlite3_step(stmt) == SQLITE_ROW) {
		struct ledger_key first;

		first.len = (uint16_t)sqlite3_column_bytes(stmt, 0);
		if (first.len > LEDGER_KEY_MAX)
			break;
		memcpy(first.octets, sqlite3_column_blob(stmt, 0), first.len);
		r = cursor_load(&c, &first);
		if (r == 1)
			r = expire_page(ls, l, &c, now, &full);
	}
	cursor_fini(&c);
	sqlite3_reset(stmt);
	if (r >= 0 && ls->batch->n == 0)
		return 0;
	if (r >= 0)
		r = batch_propose(ls, l);
	else
		ls->batch->n = 0;
	return r < 0 ? r : 1;
}

static void expire(struct lists *ls, struct worker_list *l)
{
	int64_t now = wall_seconds();

	while (!ls->stop && expire_some(ls, l, now) == 1)
		;
	worker_publish(ls, l, 0, 0);
}

// --- the end of a list

static int retire_some(struct lists *ls, struct worker_list *l)
{
	struct list_cursor c;
	int r;

	cursor_init(&c, &ls->work, l->id);
	while ((r = cursor_next(&c)) == 1) {
		const struct list_change change = {
			.member = *cursor_member(&c),
			.own_before = cursor_member(&c)->actions,
		};

		if (!batch_add(ls->batch, &change))
			break;
	}
	cursor_fini(&c);
	if (r < 0) {
		ls->batch->n = 0;
		return r;
	}
	if (ls->batch->n == 0)
		return 0;
	r = batch_propose(ls, l);
	return r < 0 ? r : 1;
}

int worker_list_forget(struct lists *ls, struct worker_list *l)
{
	scoped_stmt stmt = NULL;
	int r = lists_db_prepare(&ls->work, "DELETE FROM lists WHERE id=?1", &stmt);

	l->synced = 0;
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, l->id);
	return lists_db_run(&ls->work, stmt);
}

static void retire(struct lists *ls, struct worker_list *l)
{
	struct list_result result = {.list = l->id};
	uint64_t members = l->members;
	int r;

	run_free(l->run);
	l->run = NULL;
	do
		r = ls->stop ? -ECANCELED : retire_some(ls, l);
	while (r == 1);
	if (r == 0 && ls->fleet)
		r = batch_bare(ls, l, PAYLOAD_RETIRED);
	if (r == 0)
		r = worker_list_forget(ls, l);
	result.error = r;
	result.removed = members - l->members;
	worker_publish(ls, l, 0, 0);
	event_post(ls, &result, LIST_EVENT_RETIRED);
}

// --- the thread

static void readings_end(struct lists *ls)
{
	for (size_t i = 0; i < ls->n_own; i++) {
		run_free(ls->own[i]->run);
		ls->own[i]->run = NULL;
	}
}

// What is of no list, or of one that it may bring. False: none of them.
static bool job_do_first(struct lists *ls, struct list_job *job)
{
	struct worker_list *l;

	switch (job->type) {
	case LIST_JOB_SHIELDS:
		worker_shields_take(ls, job);
		return true;
	case LIST_JOB_CONF:
		l = worker_list_add(ls, job->list, job->conf.name);
		if (l)
			l->conf = job->conf;
		return true;
	case LIST_JOB_FOLLOW:
		readings_end(ls);
		import_abort(ls);
		return true;
	case LIST_JOB_IMPORT_BEGIN:
		import_begin(ls);
		return true;
	case LIST_JOB_IMPORT:
		import_take(ls, job);
		return true;
	case LIST_JOB_IMPORT_ABORT:
		import_abort(ls);
		return true;
	case LIST_JOB_SWEEP:
		sweep(ls, job);
		return true;
	default:
		return false;
	}
}

// What a gateway that leads, or has no fleet, does by itself: a follower leaves it.
static void job_leave(struct lists *ls, const struct list_job *job)
{
	const struct list_result result = {.list = job->list, .error = -ECANCELED};

	if (job->type == LIST_JOB_END)
		event_post(ls, &result, LIST_EVENT_READ);
	else if (job->type == LIST_JOB_RETIRE)
		event_post(ls, &result, LIST_EVENT_RETIRED);
	else if (job->type == LIST_JOB_MARK)
		event_post(ls, &result, LIST_EVENT_MARKED);
}

static void job_do(struct lists *ls, struct list_job *job)
{
	struct worker_list *l = worker_list_find(ls, job->list);

	if (job_do_first(ls, job) || !l)
		return;
	if (ls->follows) {
		job_leave(ls, job);
		return;
	}
	switch (job->type) {
	case LIST_JOB_BEGIN:
		read_begin(l, job);
		break;
	case LIST_JOB_FEED:
		feed(ls, l, job);
		break;
	case LIST_JOB_END:
		if (l->run)
			merge_run(ls, l, job->confirmed);
		break;
	case LIST_JOB_ABORT:
		run_free(l->run);
		l->run = NULL;
		break;
	case LIST_JOB_APPROVE:
		l->approved[job->shrink] = job->amount;
		break;
	case LIST_JOB_POINT:
		points_take(ls, l, job);
		break;
	case LIST_JOB_MARK:
		if (job->synced)
			l->synced = wall_seconds();
		event_post(ls, &(struct list_result){.list = l->id}, LIST_EVENT_MARKED);
		break;
	case LIST_JOB_EXPIRE:
		expire(ls, l);
		break;
	case LIST_JOB_RETIRE:
		retire(ls, l);
		break;
	default:
		break;
	}
}

void worker_urgent(struct lists *ls)
{
	struct list_job *job;

	for (;;) {
		pthread_mutex_lock(&ls->mutex);
		job = STAILQ_FIRST(&ls->urgent);
		if (job)
			STAILQ_REMOVE_HEAD(&ls->urgent, link);
		pthread_mutex_unlock(&ls->mutex);
		if (!job || ls->stop) {
			free(job);
			return;
		}
		job_do(ls, job);
		free(job);
	}
}

static struct list_job *job_take(struct lists *ls)
{
	struct list_job *job = NULL;
	struct list_jobs *from;

	pthread_mutex_lock(&ls->mutex);
	while (!ls->stop) {
		from = STAILQ_EMPTY(&ls->urgent) ? &ls->jobs : &ls->urgent;
		job = STAILQ_FIRST(from);
		if (job)
			break;
		pthread_cond_wait(&ls->cond, &ls->mutex);
	}
	if (job) {
		STAILQ_REMOVE_HEAD(from, link);
		ls->n_feeds -= job->type == LIST_JOB_FEED;
	}
	pthread_mutex_unlock(&ls->mutex);
	return job;
}

void *lists_worker_run(void *ctx)
{
	struct lists *ls = ctx;
	struct list_job *job;

	while ((job = job_take(ls))) {
		if (job->type == LIST_JOB_APPLY) {
			apply_take(ls, job);
			continue;
		}
		job_do(ls, job);
		free(job);
	}
	return NULL;
}
