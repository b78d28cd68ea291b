// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The worker's side of the fleet: records and chunks of a checkpoint, applied as they are.

#include "control/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// One payload, being applied to its list.
struct applying {
	struct lists *ls;
	struct worker_list *list;
	struct payload_reader reader;
	uint32_t *attrs; // ids here of the payload's attributes; 0: not looked up yet
};

static int applying_begin(struct applying *a, struct lists *ls, const struct list_job *job)
{
	int r = job->refused;

	*a = (struct applying){.ls = ls};
	if (r == 0 && !ls->follows)
		r = -ECANCELED;
	if (r == 0)
		r = payload_begin(&a->reader, job->data, job->len);
	if (r < 0)
		return r;
	if (a->reader.head.flags & PAYLOAD_END)
		return 0;
	a->list = worker_list_add(ls, job->list, job->conf.name);
	a->attrs = calloc(a->reader.n_attrs + 1, sizeof(*a->attrs));
	return a->list && a->attrs ? 0 : -ENOMEM;
}

static void applying_end(struct applying *a)
{
	payload_fini(&a->reader);
	free(a->attrs);
}

static uint32_t attr_here(struct applying *a, uint32_t index)
{
	const struct payload_attr *attr = &a->reader.attrs[index];
	char reason[PAYLOAD_REASON_MAX + 1], reference[PAYLOAD_REFERENCE_MAX + 1];

	if (a->attrs[index])
		return a->attrs[index];
	memcpy(reason, attr->reason, attr->reason_len);
	reason[attr->reason_len] = '\0';
	memcpy(reference, attr->reference, attr->reference_len);
	reference[attr->reference_len] = '\0';
	a->attrs[index] = attr_intern(a->ls, attr->actions, reason, reference);
	return a->attrs[index];
}

// The next change, with the attribute's id here.
static int applying_next(struct applying *a, struct list_change *c)
{
	int r = payload_next(&a->reader);

	if (r <= 0)
		return r;
	*c = (struct list_change){.member = a->reader.member, .put = a->reader.put};
	if (c->put)
		c->member.attr = attr_here(a, c->member.attr);
	return 1;
}

static void head_take(struct worker_list *l, const struct payload_head *head)
{
	if (head->synced > l->synced)
		l->synced = head->synced;
	if (head->flags & PAYLOAD_PEAKS) {
		l->peak_hour = head->peak_hour;
		memcpy(l->peaks, head->peaks, sizeof(l->peaks));
	} else if (head->peak_hour) {
		peak_raise(l, head->peak_hour, head->peaks[head->peak_hour % LIST_PEAK_HOURS]);
	}
}

static int run_note(struct run **run, const struct list_member *m)
{
	if (!*run)
		*run = run_create();
	return *run ? run_add(*run, m) : -ENOMEM;
}

// --- records

// Appends what it says to the batch. ret_retired: the list ends with it.
static int record_read(
	struct lists *ls,
	const struct list_job *job,
	struct worker_list **ret_list,
	bool *ret_retired
)
{
	struct list_batch *b = ls->batch;
	struct list_change c;
	struct applying a;
	size_t n = b->n;
	int r = applying_begin(&a, ls, job);

	while (r == 0 && (r = applying_next(&a, &c)) == 1) {
		r = n - b->n == PAYLOAD_CHANGES ? -EBADMSG : 0;
		c.order = (uint32_t)n;
		if (r == 0)
			b->changes[n++] = c;
	}
	if (r == 0) {
		b->n = n;
		head_take(a.list, &a.reader.head);
		*ret_retired = a.reader.head.flags & PAYLOAD_RETIRED;
		*ret_list = a.list;
	}
	applying_end(&a);
	return r;
}

// What of the batch is not so yet.
static int changes_judge(struct lists *ls, struct worker_list *l)
{
	struct list_batch *b = ls->batch;
	struct list_cursor cursor;
	size_t n = 0;
	int r = 0;

	cursor_init(&cursor, &ls->work, l->id);
	for (size_t i = 0; i < b->n && r >= 0; i++) {
		struct list_change *c = &b->changes[i];
		struct list_member was;
		bool there;

		if (ls->importing)
			r = run_note(&l->named, &c->member);
		if (r == 0)
			r = cursor_find(&cursor, &c->member.key, &was);
		there = r == 0;
		if (r == -ENOENT)
			r = 0;
		c->own_before = there ? was.actions : 0;
		if (c->put ? there && list_member_same(&c->member, &was) : !there)
			continue;
		if (!c->put)
			c->member = was;
		b->changes[n++] = *c;
	}
	cursor_fini(&cursor);
	b->n = n;
	return r;
}

static int records_do(struct lists *ls, struct worker_list *l, bool retired)
{
	int r;

	changes_last(ls->batch);
	r = changes_judge(ls, l);
	ls->batch->applied = ls->batch->bare = true;
	if (r == 0)
		r = batch_propose(ls, l);
	if (r == 0 && retired)
		worker_list_forget(ls, l);
	worker_publish(ls, l, 0, 0);
	return r;
}

// The next job, where it is a record of the same list, and all of it fits.
static struct list_job *record_more(struct lists *ls, const struct list_job *first)
{
	struct list_job *job;

	pthread_mutex_lock(&ls->mutex);
	job = STAILQ_EMPTY(&ls->urgent) ? STAILQ_FIRST(&ls->jobs) : NULL;
	if (job && job->type == LIST_JOB_APPLY && !job->refused && job->list == first->list
	    && ls->batch->n + PAYLOAD_CHANGES <= LIST_BATCH_MAX)
		STAILQ_REMOVE_HEAD(&ls->jobs, link);
	else
		job = NULL;
	pthread_mutex_unlock(&ls->mutex);
	return job;
}

static void records_done(struct lists *ls, struct list_jobs *jobs, int error)
{
	struct list_job *job;

	while ((job = STAILQ_FIRST(jobs))) {
		STAILQ_REMOVE_HEAD(jobs, link);
		worker_done(ls, job, error);
		if (error)
			error = -ECANCELED;
		free(job);
	}
}

void apply_take(struct lists *ls, struct list_job *job)
{
	struct list_jobs jobs = STAILQ_HEAD_INITIALIZER(jobs);
	struct worker_list *l = NULL;
	struct list_job *bad = NULL;
	bool retired = false;
	int r, error = 0;

	batch_clear(ls->batch);
	do {
		r = ls->round_failed == job->round + 1 ? -ECANCELED
						       : record_read(ls, job, &l, &retired);
		if (r < 0) {
			bad = job;
			break;
		}
		STAILQ_INSERT_TAIL(&jobs, job, link);
	} while (!retired && (job = record_more(ls, job)));
	if (!STAILQ_EMPTY(&jobs)) {
		STAILQ_CONCAT(&ls->batch->applies, &jobs);
		error = records_do(ls, l, retired);
		STAILQ_CONCAT(&jobs, &ls->batch->applies);
	}
	batch_clear(ls->batch);
	if (error || (bad && r != -ECANCELED))
		ls->round_failed = (error ? STAILQ_FIRST(&jobs) : bad)->round + 1;
	records_done(ls, &jobs, error);
	if (bad) {
		worker_done(ls, bad, error ? -ECANCELED : r);
		free(bad);
	}
}

// --- a checkpoint

void import_begin(struct lists *ls)
{
	import_abort(ls);
	ls->importing = true;
	ls->import_round++;
	ls->import_next = 0;
	ls->import_whole = false;
}

void import_abort(struct lists *ls)
{
	ls->importing = false;
	for (size_t i = 0; i < ls->n_own; i++) {
		struct worker_list *l = ls->own[i];

		run_free(l->doomed);
		run_free(l->named);
		l->doomed = l->named = NULL;
	}
}

static int import_propose(struct lists *ls, struct worker_list *l)
{
	ls->batch->applied = true;
	return batch_propose(ls, l);
}

// The chunk against the pages, both in the order of keys.
static int chunk_walk(struct applying *a, struct list_cursor *old)
{
	struct list_batch *b = a->ls->batch;
	struct worker_list *l = a->list;
	const struct payload_head *head = &a->reader.head;
	struct list_change now;
	int more_now, more_old, r = 0;

	more_old = head->after.len ? cursor_seek(old, &head->after) : cursor_next(old);
	if (more_old == 1 && key_compare(&cursor_member(old)->key, &head->after) == 0)
		more_old = cursor_next(old);
	more_now = applying_next(a, &now);
	// Behind its last member only the last chunk says that there is nothing.
	while (r == 0 && more_now >= 0 && more_old >= 0
	       && (more_now || (more_old && (head->flags & PAYLOAD_LAST)))) {
		const struct list_member *was = cursor_member(old);
		int order = !more_now ? 1
			: !more_old   ? -1
				      : key_compare(&now.member.key, &was->key);

		if (order > 0)
			r = run_note(&l->doomed, was);
		now.own_before = order == 0 ? was->actions : 0;
		if (order < 0 || (order == 0 && !list_member_same(&now.member, was)))
			batch_add(b, &now);
		if (r == 0 && b->n == LIST_BATCH_MAX)
			r = import_propose(a->ls, l);
		if (order >= 0 && r == 0)
			more_old = cursor_next(old);
		if (order <= 0) {
			l->import_last = now.member.key;
			more_now = applying_next(a, &now);
		}
	}
	if (r == 0)
		r = more_now < 0 ? more_now : more_old < 0 ? more_old : 0;
	return r < 0 ? r : import_propose(a->ls, l);
}

static int chunk_take(struct applying *a)
{
	struct worker_list *l = a->list;
	struct lists *ls = a->ls;
	const struct payload_head *head = &a->reader.head;
	struct list_cursor old;
	int r;

	if (!ls->importing || ls->import_whole || head->index != ls->import_next)
		return -EILSEQ;
	ls->import_next++;
	if (head->flags & PAYLOAD_END) {
		ls->import_whole = true;
		return 0;
	}
	if (l->import_round != ls->import_round) {
		l->import_round = ls->import_round;
		l->import_last.len = 0;
		l->import_whole = false;
	}
	if (l->import_whole || key_compare(&l->import_last, &head->after) != 0)
		return -EILSEQ;
	head_take(l, head);
	cursor_init(&old, &ls->work, l->id);
	r = chunk_walk(a, &old);
	cursor_fini(&old);
	if (r == 0 && (head->flags & PAYLOAD_LAST))
		l->import_whole = true;
	return r;
}

void import_take(struct lists *ls, const struct list_job *job)
{
	struct applying a = {0};
	int r = ls->round_failed == job->round + 1 ? -ECANCELED : applying_begin(&a, ls, job);

	batch_clear(ls->batch);
	if (r == 0)
		r = chunk_take(&a);
	if (a.list)
		worker_publish(ls, a.list, 0, 0);
	applying_end(&a);
	if (r < 0 && r != -ECANCELED)
		ls->round_failed = job->round + 1;
	batch_clear(ls->batch);
	worker_done(ls, job, r);
}

// --- the sweep

// A list that no chunk named: all that it has.
static int doom_all(struct lists *ls, struct worker_list *l)
{
	struct list_cursor c;
	int r;

	run_free(l->doomed);
	l->doomed = NULL;
	cursor_init(&c, &ls->work, l->id);
	while ((r = cursor_next(&c)) == 1) {
		r = run_note(&l->doomed, cursor_member(&c));
		if (r < 0)
			break;
	}
	cursor_fini(&c);
	return r;
}

static int doomed_prepare(struct lists *ls)
{
	if (!ls->importing || !ls->import_whole)
		return -EILSEQ;
	for (size_t i = 0; i < ls->n_own; i++) {
		struct worker_list *l = ls->own[i];
		int r = 0;

		if (l->import_round == ls->import_round && !l->import_whole)
			return -EILSEQ;
		if (l->import_round != ls->import_round)
			r = doom_all(ls, l);
		if (r < 0)
			return r;
		if (l->doomed)
			r = run_sort(l->doomed);
		if (r == 0 && l->named)
			r = run_sort(l->named);
		if (r < 0)
			return r;
	}
	return 0;
}

// The next doomed member that no record named. `named` stands at ret_named, where *more.
static bool doomed_next(
	struct worker_list *l, struct list_member *ret_member, struct list_member *named, int *more
)
{
	while (l->doomed && run_next(l->doomed, ret_member)) {
		while (*more && key_compare(&named->key, &ret_member->key) < 0)
			*more = run_next(l->named, named);
		if (!*more || key_compare(&named->key, &ret_member->key) != 0)
			return true;
	}
	return false;
}

static int list_sweep(struct lists *ls, struct worker_list *l)
{
	struct list_change c = {.put = false};
	struct list_member named;
	int more = l->named ? run_next(l->named, &named) : 0, r = 0;

	while (r == 0 && doomed_next(l, &c.member, &named, &more)) {
		c.own_before = c.member.actions;
		batch_add(ls->batch, &c);
		if (ls->batch->n == LIST_BATCH_MAX)
			r = import_propose(ls, l);
	}
	if (r == 0)
		r = import_propose(ls, l);
	// Nothing told its end: the fleet has no such list.
	if (r == 0 && l->import_round != ls->import_round && l->members == 0)
		worker_list_forget(ls, l);
	worker_publish(ls, l, 0, 0);
	return r;
}

void sweep(struct lists *ls, const struct list_job *job)
{
	int r = doomed_prepare(ls);

	batch_clear(ls->batch);
	for (size_t i = 0; i < ls->n_own && r == 0; i++)
		r = list_sweep(ls, ls->own[i]);
	batch_clear(ls->batch);
	if (r == 0)
		import_abort(ls);
	worker_done(ls, job, r);
}
