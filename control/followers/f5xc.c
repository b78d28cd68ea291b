// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/followers/f5xc_client.h"
#include "control/followers/f5xc_internal.h"
#include "control/http_client.h"
#include "control/ledger.h"
#include "control/log.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MAX_MS 60000
#define TOGETHER_MS 100 // what comes within it (or min_interval_ms) is written together
#define SLICE 200 // claims or changes a turn of the loop
#define LEDGER_WAIT_MS 1000
#define ADDS_IN_A_ROW 2
#define LOSE_WAIT_MS 20000

// --- for the other files

static long jitter(unsigned ms)
{
	return random() % (long)(ms / 4 + 1);
}

int64_t f5xc_backoff(unsigned *backoff_ms)
{
	*backoff_ms = *backoff_ms ? *backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (*backoff_ms > BACKOFF_MAX_MS)
		*backoff_ms = BACKOFF_MAX_MS;
	return (int64_t)*backoff_ms + jitter(*backoff_ms);
}

json_t *f5xc_answer_json(const struct http_answer *a)
{
	char *clean = f5xc_sanitise(a->body, a->body_len);
	json_t *object = clean ? json_loads(clean, 0, NULL) : NULL;

	free(clean);
	return object;
}

void f5xc_answer_tell(
	const struct f5xc *f,
	const struct http_answer *a,
	const char *what,
	char ret_error[F5XC_WHY_MAX]
)
{
	const char *ns = f->conf->xc_namespace;

	if (a->status == 0)
		snprintf(ret_error, F5XC_WHY_MAX, "%s: %.100s", what, a->error_text);
	else if (a->status == 401)
		snprintf(
			ret_error,
			F5XC_WHY_MAX,
			"%s: 401: the token or certificate has ended, or is of another tenant",
			what
		);
	else if (a->status == 403)
		snprintf(
			ret_error,
			F5XC_WHY_MAX,
			"%s: 403: the token's role may not do this in namespace %.60s, or the "
			"tenant "
			"is another",
			what,
			ns
		);
	else if (a->status == 404)
		snprintf(
			ret_error,
			F5XC_WHY_MAX,
			"%s: 404: no namespace %.60s there, or f5xc.url is not the API's",
			what,
			ns
		);
	else
		snprintf(
			ret_error,
			F5XC_WHY_MAX,
			"%s: %ld: %.80s",
			what,
			a->status,
			a->body_len ? a->body : ""
		);
	f5xc_text_clean(ret_error);
}

void f5xc_own_state(const struct f5xc *f, struct f5xc_own *own)
{
	own->xc_namespace = f->conf->xc_namespace;
	own->owner = f->conf->fleet_id;
	f5xc_state(f, &own->state);
}

void f5xc_drift_note(struct f5xc *f, const char *name, const char *what, char drift[F5XC_WHY_MAX])
{
	char text[F5XC_WHY_MAX];

	snprintf(text, sizeof(text), "%.150s", what);
	if (strcmp(text, drift) != 0) {
		log_warning("F5 XC: drift: %s: %s", name, text);
		f->n_drift++;
		snprintf(f->last_drift, sizeof(f->last_drift), "%.60s: %.120s", name, text);
	}
	snprintf(drift, F5XC_WHY_MAX, "%s", text);
	f->wanted.moves++;
}

bool f5xc_all_known(const struct f5xc *f)
{
	if (!f->listed)
		return false;
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			if (!f->shards[v][i].known)
				return false;
	return true;
}

// --- one request at a time

static void outcome_note(struct f5xc *f, const struct http_answer *a)
{
	int64_t now = f5xc_now_ms();

	f->token_doubted |= a->status == 401 || a->status == 403;
	if (a->status == 429) {
		f->n_limited++;
		f5xc_pace_limited(&f->pace, now, a->retry_after, jitter(1000));
	} else if (a->status == 0 || a->status >= 500) {
		f5xc_pace_failed(&f->pace, now, a->retry_after, jitter(1000));
	} else {
		f5xc_pace_good(&f->pace);
	}
	if (a->status == 200 || a->status == 404 || a->status == 409 || a->status == 400)
		f->error[0] = '\0';
	else
		f5xc_answer_tell(f, a, "F5 XC", f->error);
}

static void answered(void *ctx, const struct http_answer *a)
{
	struct f5xc *f = ctx;

	f->busy = false;
	outcome_note(f, a);
	if (f5xc_own_addresses(f))
		f->exceptions_due = true;
	f->answered(f, a);
	f5xc_touched(f);
}

int f5xc_ask(
	struct f5xc *f,
	const char *method,
	const char *path,
	json_t *body,
	void (*then)(struct f5xc *, const struct http_answer *)
)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int rc = -ENOMEM;

	if (text || !body) {
		f->answered = then;
		rc = http_client_request(
			f->client, method, path, text, text ? strlen(text) : 0, answered, f
		);
	}
	json_decref(body);
	free(text);
	if (rc == 0)
		f5xc_pace_take(&f->pace, f5xc_now_ms());
	f->busy = rc == 0;
	return rc;
}

// --- the list of sets

static struct shard *shard_named(struct f5xc *f, const char *name)
{
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			if (strcmp(f->shards[v][i].name, name) == 0)
				return &f->shards[v][i];
	return NULL;
}

static bool stood(struct f5xc *f, struct shard *s)
{
	json_t *value = NULL;
	char key[96];

	snprintf(key, sizeof(key), "set/%s", s->name);
	if (ledger_note_get(f->control->ledger, "f5xc", key, &value) < 0)
		return false;
	json_decref(value);
	return true;
}

static void absent_note(struct f5xc *f, struct shard *s)
{
	if (s->slot->made || s->foreign) {
		s->read_due = true; // make sure
	} else if (!s->known) {
		s->kept = stood(f, s);
		f5xc_shard_missing(s);
	}
}

static void was_listed(struct f5xc *f, const struct http_answer *a)
{
	json_t *answer = a->status == 200 ? f5xc_answer_json(a) : NULL, *item;
	json_t *items = json_object_get(answer, "items");
	bool there[2][F5XC_SLOTS] = {{false}};
	size_t n;

	f->listed_ms = f5xc_now_ms();
	if (!json_is_array(items)) {
		if (a->status == 200)
			snprintf(f->error, sizeof(f->error), "the list of sets is none");
		else
			f5xc_answer_tell(f, a, "listing ip_prefix_sets", f->error);
		if (f->listed)
			f->listed_ms = f5xc_now_ms() - (int64_t)f->conf->reconcile_s * 500;
		f->list_not_before_ms = f5xc_now_ms() + f5xc_backoff(&f->list_backoff_ms);
		json_decref(answer);
		return;
	}
	f->list_backoff_ms = 0;
	json_array_foreach(items, n, item)
	{
		const char *name = json_string_value(json_object_get(item, "name"));
		struct shard *s = name ? shard_named(f, name) : NULL;

		if (s) {
			there[s->family == 6][s->index] = true;
			s->read_due |= !s->known || s->missing;
		}
	}
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			if (!there[v][i])
				absent_note(f, &f->shards[v][i]);
	f->listed = true;
	f->policy.dirty = true;
	json_decref(answer);
}

static bool list_ask(struct f5xc *f)
{
	char path[256];

	snprintf(path, sizeof(path), "/config/namespaces/%s/ip_prefix_sets", f->conf->xc_namespace);
	f->asked = NULL;
	return f5xc_ask(f, "GET", path, NULL, was_listed) == 0;
}

// --- from the ledger

struct changes {
	struct indicator list[SLICE + 64];
	size_t n;
	struct revision last;
};

static bool change_take(void *ctx, const struct ledger_change *change)
{
	struct changes *c = ctx;

	if (c->n == sizeof(c->list) / sizeof(c->list[0]))
		return false; // a revision larger than a slice: the rest in the next
	c->list[c->n++] = change->change.entry.indicator;
	c->last = change->revision;
	return true;
}

static int changes_take(struct f5xc *f)
{
	struct ledger *ledger = f->control->ledger;
	struct changes *c = calloc(1, sizeof(*c));
	struct list_state state;
	int rc = c ? ledger_changes(ledger, f->cursor, SLICE, change_take, c) : -ENOMEM;

	// Too far behind, or a revision that does not fit: everything is looked at.
	if (rc == -ESTALE || rc == -ENOENT
	    || (rc == 0 && c->n == sizeof(c->list) / sizeof(c->list[0]))) {
		ledger_state(ledger, &state);
		f->cursor = state.revision;
		f5xc_wanted_walk(&f->wanted);
		rc = 0;
	} else if (rc == 0) {
		for (size_t i = 0; rc == 0 && i < c->n; i++)
			rc = f5xc_wanted_refresh(&f->wanted, ledger, &c->list[i]);
		if (rc == 0 && c->n > 0)
			f->cursor = c->last;
		f->changes_due = rc < 0 || c->n > 0;
	}
	free(c);
	return rc;
}

static int exceptions_take(struct f5xc *f)
{
	struct list_state state;
	int rc = f5xc_wanted_exceptions(&f->wanted, f->control->ledger, f->own, f->n_own);

	if (rc < 0)
		return rc;
	f->exceptions_due = false;
	ledger_state(f->control->ledger, &state);
	if (!f->wanted.walking)
		f->cursor = state.revision;
	f5xc_wanted_walk(&f->wanted);
	return 0;
}

// Never a write from a ledger that was read in part: what is missing would be withdrawn, or an
// allow overlooked. True: all of it is known. Else the timer is set, or a turn asked for.
static bool ledger_pump(struct f5xc *f)
{
	const struct timeval later = {.tv_sec = LEDGER_WAIT_MS / 1000};
	int rc = f->changes_due && !f->wanted.walking ? changes_take(f) : 0;

	if (rc == 0 && f->exceptions_due)
		rc = exceptions_take(f);
	if (rc == 0 && f->wanted.walking)
		rc = f5xc_wanted_walk_step(&f->wanted, f->control->ledger, SLICE);
	if (rc < 0) {
		if (!f->ledger_error[0])
			log_error("F5 XC: the ledger could not be read: %s", strerror(-rc));
		snprintf(
			f->ledger_error,
			sizeof(f->ledger_error),
			"the ledger could not be read, so nothing is written: %s",
			strerror(-rc)
		);
		event_add(f->timer, &later);
		return false;
	}
	f->ledger_error[0] = '\0';
	if (f->wanted.walking || f->changes_due) {
		f5xc_touched(f);
		return false;
	}
	return true;
}

// --- what is next

enum rank {
	RANK_LIST,
	RANK_VERIFY,
	RANK_ADD,
	RANK_READ,
	RANK_LOSE,
	RANK_GLUE,
	RANK_BACKGROUND, // from here on some tokens are left for what is more urgent
	RANK_LIST_AGAIN = RANK_BACKGROUND,
	RANK_GLUE_AGAIN,
	RANK_REFER,
	RANK_READ_AGAIN,
	RANK_DELETE,
	RANK_NONE,
};

struct pick {
	enum rank rank;
	int64_t at, age; // at: monotonic; age: the smaller goes first among equals
	struct shard *shard;
	enum glue glue;
	int64_t next; // when something will be due that is not now
};

static void
pick_take(struct pick *p, int64_t now, enum rank rank, int64_t at, int64_t age, struct shard *s)
{
	if (at > now) {
		if (at < p->next)
			p->next = at;
		return;
	}
	if (rank > p->rank || (rank == p->rank && age >= p->age))
		return;
	p->rank = rank;
	p->at = at;
	p->age = age;
	p->shard = s;
}

static int64_t later_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static bool leads(const struct f5xc *f)
{
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			if (f->shards[v][i].higher)
				return false;
	return !f->policy.higher;
}

static void shard_write_pick(struct pick *p, int64_t now, struct shard *s)
{
	struct f5xc *f = s->owner;
	struct f5xc_slot *slot = s->slot;
	uint32_t apart = f->conf->min_interval_ms;
	// At 1 nothing waits: the turn of a timer alone took longer than all else.
	uint32_t together = apart <= 1 ? 0 : apart < TOGETHER_MS ? apart : TOGETHER_MS;
	int64_t at = later_of(slot->dirty_ms + together, s->not_before_ms);

	// While it is looked for what F5 refuses, nothing else is waited for.
	if (s->written_ms && !s->try_new)
		at = later_of(at, s->written_ms + f->conf->min_interval_ms);
	if (s->family == 6 && s->missing)
		at = later_of(at, f->family_refused_ms);
	// Now and then, however many new ones come, what ended goes.
	if (!slot->adds && f->adds_in_a_row >= ADDS_IN_A_ROW && now - slot->dirty_ms > LOSE_WAIT_MS)
		pick_take(p, now, RANK_ADD, at, slot->dirty_ms - INT32_MAX, s);
	else
		pick_take(p, now, slot->adds ? RANK_ADD : RANK_LOSE, at, slot->dirty_ms, s);
}

// A set that nobody needs: the first of a family stays, so that rules of operators keep their set.
static void shard_end_pick(struct pick *p, int64_t now, struct shard *s)
{
	struct f5xc *f = s->owner;
	bool empty = s->index > 0 && s->slot->made && TAILQ_EMPTY(&s->slot->places)
		&& s->n_extras == 0 && !s->foreign && f5xc_all_known(f);

	if (!empty) {
		if (s->leaving && !TAILQ_EMPTY(&s->slot->places))
			s->leaving = s->slot->closed = false;
		s->empty_ms = 0;
		return;
	}
	if (!s->empty_ms)
		s->empty_ms = now;
	if (s->referrers.n > 0 && !f5xc_glue_rules(f, s))
		return; // an operator's rule
	if (!s->leaving && now < s->empty_ms + (int64_t)f->conf->reconcile_s * 1000) {
		pick_take(
			p,
			now,
			RANK_DELETE,
			s->empty_ms + (int64_t)f->conf->reconcile_s * 1000,
			0,
			s
		);
		return;
	}
	if (!s->leaving)
		f->policy.dirty = true;
	s->leaving = s->slot->closed = true;
	if (!f5xc_glue_rules(f, s)) // rule first, then the set
		pick_take(p, now, RANK_DELETE, s->not_before_ms, s->index, s);
}

static void shard_pick(struct pick *p, int64_t now, struct shard *s, bool may_write)
{
	struct f5xc *f = s->owner;

	if (s->verify) {
		pick_take(p, now, RANK_VERIFY, s->not_before_ms, s->written_ms, s);
		return;
	}
	if (s->read_due) {
		pick_take(
			p, now, s->known ? RANK_VERIFY : RANK_READ, s->not_before_ms, s->index, s
		);
		return;
	}
	if (s->slot->dirty && may_write && f5xc_shard_writable(s) && !s->leaving
	    && (!s->missing || !TAILQ_EMPTY(&s->slot->places) || s->slot->made))
		shard_write_pick(p, now, s);
	else if (may_write)
		shard_end_pick(p, now, s);
	if (s->known && !s->missing)
		pick_take(
			p,
			now,
			RANK_READ_AGAIN,
			later_of(
				s->read_ms + (int64_t)f->conf->reconcile_s * 1000, s->not_before_ms
			),
			s->read_ms,
			s
		);
}

static void glue_pick(struct f5xc *f, struct pick *p, int64_t now, bool may_write)
{
	int64_t at = 0;
	enum glue glue = f5xc_glue_due(f, &at);
	enum rank rank = glue == GLUE_VERIFY ? RANK_VERIFY
		: glue == GLUE_BACKGROUND    ? RANK_GLUE_AGAIN
					     : RANK_GLUE;
	struct pick before = *p;

	if (glue == GLUE_NONE || !f->listed || (glue == GLUE_WRITE && !may_write))
		return;
	pick_take(p, now, rank, at, 0, NULL);
	if (p->rank != before.rank || p->at != before.at || p->shard != before.shard)
		p->glue = glue;
}

static struct pick pick_next(struct f5xc *f, int64_t now)
{
	struct pick p = {.rank = RANK_NONE, .next = INT64_MAX, .age = INT64_MAX};
	bool may_write = f->listed && leads(f);
	bool probe = f->pace.open; // one request, which writes nothing

	pick_take(
		&p,
		now,
		f->listed && !probe ? RANK_LIST_AGAIN : RANK_LIST,
		f->listed && !probe ? f->listed_ms + (int64_t)f->conf->reconcile_s * 1000
				    : f->list_not_before_ms,
		0,
		NULL
	);
	if (!f->listed || probe)
		return p;
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			shard_pick(&p, now, &f->shards[v][i], may_write);
	glue_pick(f, &p, now, may_write);
	if (p.rank > RANK_REFER)
		pick_take(&p, now, RANK_REFER, f->refer_ms, 0, NULL);
	return p;
}

static bool pick_do(struct f5xc *f, const struct pick *p, int64_t now)
{
	bool adds;

	switch (p->rank) {
	case RANK_LIST:
	case RANK_LIST_AGAIN:
		return list_ask(f);
	case RANK_ADD:
	case RANK_LOSE:
		adds = p->shard->slot->adds;
		if (!f5xc_shard_write(p->shard))
			return false;
		f->adds_in_a_row = adds ? f->adds_in_a_row + 1 : 0;
		return true;
	case RANK_GLUE:
	case RANK_GLUE_AGAIN:
		return f5xc_glue_do(f, p->glue);
	case RANK_VERIFY:
		if (!p->shard)
			return f5xc_glue_do(f, p->glue);
		f5xc_shard_read(p->shard);
		return f->busy;
	case RANK_READ:
	case RANK_READ_AGAIN:
		f5xc_shard_read(p->shard);
		return f->busy;
	case RANK_DELETE:
		f5xc_shard_delete(p->shard);
		return f->busy;
	case RANK_REFER:
		if (f5xc_refer_step(f))
			return true;
		f->refer_ms = now + (int64_t)f->conf->reconcile_s * 250;
		return false;
	default:
		return false;
	}
}

static void timer_set(struct f5xc *f, int64_t ms)
{
	const struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(f->timer, &after);
}

void f5xc_step(struct f5xc *f)
{
	if (!ledger_pump(f))
		return;
	f5xc_seat_retry(&f->wanted);
	f5xc_seat_assign(&f->wanted, f5xc_all_known(f) ? 0 : f->started_s);
	if (f->busy)
		return;
	if (f->token_doubted)
		f5xc_token_refresh(f);
	for (int tries = 0; tries < 1000; tries++) {
		int64_t now = f5xc_now_ms(), wait;
		struct pick p = pick_next(f, now);

		if (p.rank == RANK_NONE) {
			timer_set(f, p.next - now < 60000 ? p.next - now : 60000);
			return;
		}
		wait = f5xc_pace_wait(
			&f->pace, now, p.rank >= RANK_BACKGROUND ? f->conf->request_burst / 2 : 0
		);
		if (wait > 0) {
			timer_set(f, wait < p.next - now ? wait : p.next - now);
			return;
		}
		if (pick_do(f, &p, now))
			return;
	}
	timer_set(f, LEDGER_WAIT_MS); // never idle in a circle
}

static void timed(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	f5xc_step(ctx);
}

void f5xc_touched(struct f5xc *f)
{
	event_active(f->turn, EV_TIMEOUT, 0);
}

static void woken(void *ctx, unsigned topics)
{
	struct f5xc *f = ctx;

	f->changes_due = true;
	f->exceptions_due |= (topics & LEDGER_EXCEPTIONS) != 0;
	f5xc_touched(f);
}

// What no revision tells: a claim's TLP, its case.
static void reconciled(evutil_socket_t fd, short what, void *ctx)
{
	struct f5xc *f = ctx;

	(void)fd;
	(void)what;
	f->exceptions_due = true;
	f5xc_touched(f);
}

// --- commands of operators

int f5xc_sync(struct f5xc *f)
{
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++) {
			struct shard *s = &f->shards[v][i];

			s->gone = false;
			s->backoff_ms = 0;
			s->not_before_ms = 0;
			s->read_due |= !s->missing;
			s->descriptions_lost = s->annotations_lost = false;
			if (s->slot->n > 0)
				f5xc_slot_dirty(s->slot, true);
		}
	f->policy.read_due = true;
	f->policy.before_ms = 0;
	f->policy.not_before_ms = 0;
	f->listed_ms = f->refer_ms = f->list_not_before_ms = 0;
	f->listed_ms = f5xc_now_ms() - (int64_t)f->conf->reconcile_s * 1000;
	f->exceptions_due = true;
	f5xc_touched(f);
	return 0;
}

int f5xc_adopt(struct f5xc *f, const char *name)
{
	struct shard *s = shard_named(f, name);

	if (strcmp(name, f->policy.name) == 0 && f->conf->policy_before) {
		if (!f->policy.foreign && !f->policy.higher)
			return -EALREADY;
		f->policy.adopt = f->policy.read_due = true;
		f->policy.error[0] = '\0';
	} else if (!s) {
		return -EINVAL;
	} else if (!s->known || s->missing) {
		return -ENOENT;
	} else if (!s->foreign && !s->higher) {
		return -EALREADY;
	} else {
		s->adopt = s->read_due = true;
		s->not_before_ms = 0;
	}
	f5xc_touched(f);
	return 0;
}

// --- start, reload and end

int f5xc_create(struct control *control, struct f5xc **ret_f5xc)
{
	const struct timeval every = {.tv_sec = control->conf->f5xc->reconcile_s};
	struct f5xc *f = calloc(1, sizeof(*f));
	int rc = 0;

	if (!f)
		return -ENOMEM;
	f->control = control;
	f->conf = control->conf->f5xc;
	f->started_s = (int64_t)time(NULL);
	f->exceptions_due = true;
	f5xc_wanted_init(&f->wanted, f->conf);
	for (int v = 4; v <= 6; v += 2)
		for (int i = 0; i < F5XC_SLOTS; i++)
			f5xc_shard_init(f, v, i);
	f5xc_glue_init(f);
	f5xc_pace_init(
		&f->pace, f->conf->requests_per_minute, f->conf->request_burst, f5xc_now_ms()
	);
	rc = f5xc_client_open(f);
	f->timer = event_new(control->base, -1, 0, timed, f);
	f->turn = event_new(control->base, -1, 0, timed, f);
	f->reconcile = event_new(control->base, -1, EV_PERSIST, reconciled, f);
	if (rc == 0
	    && (!f->timer || !f->turn || !f->reconcile || event_add(f->reconcile, &every) < 0))
		rc = -ENOMEM;
	if (rc == 0)
		rc = ledger_watch(control->ledger, LEDGER_ENTRIES | LEDGER_EXCEPTIONS, woken, f);
	if (rc < 0) {
		f5xc_free(f);
		return rc;
	}
	f5xc_touched(f);
	*ret_f5xc = f;
	return 0;
}

static bool same_sets(const struct conf_f5xc *a, const struct conf_f5xc *b)
{
	return strcmp(a->url, b->url) == 0 && strcmp(a->xc_namespace, b->xc_namespace) == 0
		&& strcmp(a->prefix, b->prefix) == 0 && strcmp(a->fleet_id, b->fleet_id) == 0;
}

int f5xc_reload(struct control *control, struct f5xc **f5xc)
{
	struct f5xc *was = *f5xc, *now;
	int rc = f5xc_create(control, &now);

	if (rc < 0)
		return rc;
	if (same_sets(was->conf, now->conf)) { // the tenant counts on
		now->pace.tokens
			= was->pace.tokens < now->pace.burst ? was->pace.tokens : now->pace.burst;
		now->pace.not_before_ms = was->pace.not_before_ms;
		now->last_ok_ms = was->last_ok_ms;
	} else {
		log_warning(
			"F5 XC: the sets %s-v4-NNN and %s-v6-NNN in namespace %s of %s stay there "
			"as they are, with what they block: delete them where they are not wanted",
			was->conf->prefix,
			was->conf->prefix,
			was->conf->xc_namespace,
			was->conf->url
		);
	}
	f5xc_free(was);
	*f5xc = now;
	return 0;
}

void f5xc_free(struct f5xc *f)
{
	if (!f)
		return;
	ledger_unwatch(f->control->ledger, woken, f);
	f5xc_client_close(f);
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			f5xc_shard_fini(&f->shards[v][i]);
	f5xc_glue_fini(f);
	f5xc_wanted_fini(&f->wanted);
	if (f->timer)
		event_free(f->timer);
	if (f->turn)
		event_free(f->turn);
	if (f->reconcile)
		event_free(f->reconcile);
	free(f);
}
