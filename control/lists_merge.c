// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A reading against the pages, both in the order of keys: once to count what differs, so that the
// brakes can judge it as a whole, and once to do it, batch by batch; where little differs, what the
// first walk found is kept instead. Points are acted on meanwhile; a member that one of them moved
// since the reading began is passed over here, for the reading may be older.

#include "control/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BRAKE_PERCENT 20
#define BRAKE_FLOOR 100
#define LOOK_EVERY 16384 // members between two looks at what is urgent
#define FOUND_MAX 16384 // differences that are kept: 5 MB

enum kind {
	KIND_ADD, // growth
	KIND_REMOVAL, // or denies less than before
	KIND_CHANGE, // no brake looks at it
	KIND_SILENT, // a member without effect comes or goes
};

struct found {
	struct list_change change;
	enum kind kind;
};

struct merge {
	struct lists *ls;
	struct worker_list *list;
	struct list_cursor old;
	bool confirmed, apply;
	bool adds_pass, removals_pass;
	int64_t now;
	uint64_t adds, removals, changes, seen; // found, or in the second walk done
	uint64_t unconfirmed;
	// Hashes of what this reading does not show.
	uint64_t *missing;
	size_t n_missing, missing_room;
	// The differences, in order, where there are not too many.
	struct found *found;
	size_t n_found, found_room;
	bool found_over;
};

uint64_t brake_room(uint64_t peak)
{
	uint64_t room = peak * BRAKE_PERCENT / 100;

	return room < BRAKE_FLOOR ? BRAKE_FLOOR : room;
}

uint64_t peak_of(const struct worker_list *l, int64_t now)
{
	int64_t hour = now / 3600;
	uint64_t peak = l->members;

	for (int64_t h = hour - LIST_PEAK_HOURS + 1; h <= hour; h++)
		if (h <= l->peak_hour && h > l->peak_hour - LIST_PEAK_HOURS
		    && l->peaks[h % LIST_PEAK_HOURS] > peak)
			peak = l->peaks[h % LIST_PEAK_HOURS];
	return peak;
}

void peak_raise(struct worker_list *l, int64_t hour, uint64_t members)
{
	if (hour - l->peak_hour >= LIST_PEAK_HOURS) {
		memset(l->peaks, 0, sizeof(l->peaks));
		l->peak_hour = hour;
	}
	while (l->peak_hour < hour)
		l->peaks[++l->peak_hour % LIST_PEAK_HOURS] = 0;
	if (l->peaks[l->peak_hour % LIST_PEAK_HOURS] < members)
		l->peaks[l->peak_hour % LIST_PEAK_HOURS] = members;
}

void peak_note(struct worker_list *l, int64_t now)
{
	peak_raise(l, now / 3600, l->members);
}

static int hash_compare(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

static bool touched(const struct worker_list *l, const struct ledger_key *key)
{
	size_t least = l->n_touched > LIST_TOUCHED_MAX ? l->n_touched - LIST_TOUCHED_MAX : 0;
	uint64_t hash = 0;

	for (size_t i = l->n_touched; i-- > least;) {
		const struct list_touch *t = &l->touched[i % LIST_TOUCHED_MAX];

		if (t->at_ms < l->began_ms)
			break;
		if (!hash)
			hash = key_hash(key);
		if (t->hash == hash)
			return true;
	}
	return false;
}

// So much moved since the reading began that not all of it is known any more.
static bool touched_over(const struct worker_list *l)
{
	return l->n_touched >= LIST_TOUCHED_MAX
		&& l->touched[l->n_touched % LIST_TOUCHED_MAX].at_ms >= l->began_ms;
}

static int missing_note(struct merge *m, uint64_t hash)
{
	if (m->n_missing == m->missing_room) {
		size_t room = m->missing_room ? 2 * m->missing_room : 1024;
		uint64_t *more = realloc(m->missing, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		m->missing = more;
		m->missing_room = room;
	}
	m->missing[m->n_missing++] = hash;
	return 0;
}

// Did the reading before say so too, long enough ago?
static bool said_before(const struct worker_list *l, uint64_t hash)
{
	return l->n_missing > 0 && l->began_ms - l->missing_ms >= LIST_CONFIRM_MS
		&& bsearch(&hash, l->missing, l->n_missing, sizeof(hash), hash_compare);
}

static int propose(struct merge *m)
{
	struct lists *ls = m->ls;
	int r = batch_propose(ls, m->list);

	if (r < 0)
		return r;
	worker_publish(ls, m->list, m->seen, run_size(m->list->run));
	worker_urgent(ls);
	if (ls->stop)
		return -ECANCELED;
	return touched_over(m->list) ? -EAGAIN : 0;
}

static int found_note(struct merge *m, const struct list_change *c, enum kind kind)
{
	if (m->found_over)
		return 0;
	if (m->n_found == m->found_room) {
		size_t room = m->found_room ? 2 * m->found_room : 256;
		struct found *more = NULL;

		if (room <= FOUND_MAX)
			more = realloc(m->found, room * sizeof(*more));
		if (!more) {
			m->found_over = true;
			return 0;
		}
		m->found = more;
		m->found_room = room;
	}
	m->found[m->n_found++] = (struct found){.change = *c, .kind = kind};
	return 0;
}

static int
change(struct merge *m,
       const struct list_member *member,
       bool put,
       uint8_t own_before,
       enum kind kind)
{
	const struct list_change c = {.member = *member, .put = put, .own_before = own_before};

	if (!m->apply)
		return found_note(m, &c, kind);
	batch_add(m->ls->batch, &c);
	return m->ls->batch->n == LIST_BATCH_MAX ? propose(m) : 0;
}

// A member that goes, or denies less than before: what brakes and confirmation are for.
static int removal(struct merge *m, const struct list_member *was, const struct list_member *now)
{
	uint64_t hash = key_hash(&was->key);

	if (!m->confirmed) {
		int r = m->apply ? 0 : missing_note(m, hash);

		if (r < 0)
			return r;
		if (!said_before(m->list, hash)) {
			m->unconfirmed++;
			return 0;
		}
	}
	m->removals++;
	if (!m->removals_pass)
		return 0;
	return change(m, now ? now : was, now != NULL, was->actions, KIND_REMOVAL);
}

static bool denies_less(const struct list_member *now, const struct list_member *was)
{
	return was->actions != 0 && (now->actions == 0 || now->actions > was->actions);
}

static int only_new(struct merge *m, const struct list_member *now)
{
	if (now->until <= m->now || touched(m->list, &now->key))
		return 0;
	m->adds += now->actions != 0;
	if (now->actions != 0 && !m->adds_pass)
		return 0;
	return change(m, now, true, 0, now->actions != 0 ? KIND_ADD : KIND_SILENT);
}

static int only_old(struct merge *m, const struct list_member *was)
{
	// Its end has come: the sweep of ends takes it.
	if (was->until <= m->now || touched(m->list, &was->key))
		return 0;
	if (was->actions == 0)
		return change(m, was, false, 0, KIND_SILENT);
	return removal(m, was, NULL);
}

static int both(struct merge *m, const struct list_member *now, const struct list_member *was)
{
	if (list_member_same(now, was) || touched(m->list, &now->key))
		return 0;
	if (was->actions == 0 && now->actions != 0) {
		m->adds++;
		return m->adds_pass ? change(m, now, true, 0, KIND_ADD) : 0;
	}
	if (denies_less(now, was))
		return removal(m, was, now);
	// A default end is renewed when half of it is over, not with each reading.
	if (m->list->conf.ttl > 0 && now->actions == was->actions && now->attr == was->attr
	    && now->until > was->until && was->until - m->now > m->list->conf.ttl / 2)
		return 0;
	m->changes++;
	return change(m, now, true, was->actions, KIND_CHANGE);
}

// The first walk of ten million members takes a second: what is urgent does not wait for it.
static int look_up(struct merge *m)
{
	worker_publish(m->ls, m->list, m->seen / 2, run_size(m->list->run));
	worker_urgent(m->ls);
	return m->ls->stop ? -ECANCELED : 0;
}

static int walk(struct merge *m)
{
	struct run *run = m->list->run;
	struct list_member now;
	size_t steps = 0;
	int more_now, more_old, r = 0;

	run_rewind(run);
	m->adds = m->removals = m->changes = m->unconfirmed = m->seen = 0;
	cursor_init(&m->old, &m->ls->work, m->list->id);
	more_old = cursor_next(&m->old);
	more_now = run_next(run, &now);
	while (r == 0 && more_old >= 0 && (more_now || more_old)) {
		const struct list_member *was = cursor_member(&m->old);
		int order = !more_now ? 1 : !more_old ? -1 : key_compare(&now.key, &was->key);

		r = order < 0 ? only_new(m, &now) : order ? only_old(m, was) : both(m, &now, was);
		if (order <= 0) {
			m->seen++;
			more_now = run_next(run, &now);
		}
		if (order >= 0 && r == 0)
			more_old = cursor_next(&m->old);
		if (++steps % LOOK_EVERY == 0 && r == 0 && !m->apply)
			r = look_up(m);
	}
	cursor_fini(&m->old);
	if (r == 0 && more_old < 0)
		r = more_old;
	if (r == 0 && m->apply)
		r = propose(m);
	return r;
}

// What the first walk found, but for what points or ends moved since: they know better.
static int found_do(struct merge *m)
{
	uint64_t *const counts[] = {&m->adds, &m->removals, &m->changes};

	m->adds = m->removals = m->changes = 0;
	for (size_t i = 0; i < m->n_found; i++) {
		const struct found *f = &m->found[i];
		int r;

		if (touched(m->list, &f->change.member.key))
			continue;
		if (f->kind != KIND_SILENT)
			++*counts[f->kind];
		if ((f->kind == KIND_ADD && !m->adds_pass)
		    || (f->kind == KIND_REMOVAL && !m->removals_pass))
			continue;
		batch_add(m->ls->batch, &f->change);
		r = m->ls->batch->n == LIST_BATCH_MAX ? propose(m) : 0;
		if (r < 0)
			return r;
	}
	return propose(m);
}

static void judge(struct merge *m, struct list_result *result)
{
	struct worker_list *l = m->list;
	uint64_t peak = peak_of(l, m->now), room = brake_room(peak);
	uint64_t grown = l->members + m->adds;

	m->adds_pass = m->removals_pass = true;
	if (l->conf.no_brakes)
		return;
	// What goes is judged alone: a list exchanged for one of the same size shrinks too.
	if (l->members + room < peak + m->removals && l->approved[1] < m->removals)
		m->removals_pass = false;
	if (m->removals_pass)
		grown -= m->removals < grown ? m->removals : grown;
	// The first reading has nothing to be measured by but the limit.
	if (grown > l->conf.max_members || (l->synced && grown > peak + room))
		m->adds_pass = l->approved[0] >= m->adds && grown <= l->conf.max_members;
	if (!m->adds_pass)
		result->held_adds = m->adds;
	if (!m->removals_pass)
		result->held_removals = m->removals;
}

static bool hash_known(const uint64_t *hashes, size_t n, uint64_t hash)
{
	return n > 0 && bsearch(&hash, hashes, n, sizeof(hash), hash_compare);
}

// Readings that follow each other sooner than it takes to confirm: what both do not show waits on
// from the first, what came back does not.
static bool missing_waits(struct merge *m)
{
	struct worker_list *l = m->list;
	size_t n = 0;

	if (l->n_missing == 0 || l->began_ms - l->missing_ms >= LIST_CONFIRM_MS)
		return false;
	for (size_t i = 0; i < l->n_missing; i++)
		if (hash_known(m->missing, m->n_missing, l->missing[i]))
			l->missing[n++] = l->missing[i];
	l->n_missing = n;
	return n > 0;
}

static void missing_keep(struct merge *m)
{
	struct worker_list *l = m->list;

	if (m->n_missing)
		qsort(m->missing, m->n_missing, sizeof(*m->missing), hash_compare);
	if (missing_waits(m)) {
		free(m->missing);
		return;
	}
	free(l->missing);
	l->missing = m->missing;
	l->n_missing = m->n_missing;
	l->missing_ms = monotonic_ms();
}

void merge_run(struct lists *ls, struct worker_list *l, bool confirmed)
{
	struct merge m = {.ls = ls, .list = l, .confirmed = confirmed, .now = wall_seconds()};
	struct list_result result = {.list = l->id};
	int64_t began = monotonic_ms();
	int r = l->run_error;

	if (r == 0 && touched_over(l))
		r = -EAGAIN;
	if (r == 0)
		r = run_sort(l->run);
	if (r == 0) {
		m.adds_pass = m.removals_pass = true;
		r = walk(&m);
	}
	if (r == 0) {
		judge(&m, &result);
		result.unconfirmed = m.unconfirmed;
		m.apply = true;
		r = m.found_over ? walk(&m) : found_do(&m);
	}
	free(m.found);
	if (r == 0) {
		bool first = l->synced == 0;

		l->synced = wall_seconds();
		// From now on its growth is braked: whoever leads next has to know.
		if (first)
			r = batch_bare(ls, l, 0);
	}
	if (r == 0) {
		memset(l->approved, 0, sizeof(l->approved));
		missing_keep(&m);
	} else {
		free(m.missing);
		ls->batch->n = 0;
	}
	result.error = r;
	result.read = m.seen;
	result.added = m.adds_pass ? m.adds : 0;
	result.removed = m.removals_pass ? m.removals : 0;
	result.changed = m.changes;
	result.refused = l->refused;
	result.protected = l->protected;
	memcpy(result.samples, l->samples, sizeof(result.samples));
	result.took_ms = monotonic_ms() - began;
	run_free(l->run);
	l->run = NULL;
	worker_publish(ls, l, 0, 0);
	worker_report(ls, l, &result);
}
