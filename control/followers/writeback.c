// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/writeback.h"

#include "control/followers/writeback_internal.h"
#include "control/protect.h"
#include "control/secret.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CURSOR "writeback"
#define DRAIN_MS 200 // after a commit: others' work comes first
#define DRAIN_RECORDS 200 // in a turn of the loop
#define VERSION_MS 3600000 // it is asked for again: somebody may have upgraded
#define SOON_MS 10000
#define CAUSES_MAX 1000 // of a case
#define DUE_MAX 100 // rows a second that fall due by themselves

static const struct timeval one_second = {.tv_sec = 1};

static int64_t clock_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t wb_clock_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

int64_t wb_now(void)
{
	return clock_ms(CLOCK_REALTIME) / 1000;
}

// --- cases in memory

void wb_pump_soon(struct wb_hive *h, int64_t delay_ms)
{
	const struct timeval after = {delay_ms / 1000, delay_ms % 1000 * 1000};
	int64_t at = wb_clock_ms() + delay_ms;

	if (delay_ms < 0 || (event_pending(h->timer, EV_TIMEOUT, NULL) && h->pump_ms <= at))
		return;
	h->pump_ms = at;
	event_add(h->timer, &after);
}

// In the order in which they get ready: the delay is about the same for all of a list.
static void queue_put(struct wb_hive *h, struct wb_case *c, int64_t delay_ms)
{
	int64_t soon
		= h->conf->writeback.delay_ms > SOON_MS ? h->conf->writeback.delay_ms : SOON_MS;
	struct wb_queue *queue = delay_ms > soon ? &h->later : &h->queue;
	struct wb_case *after = TAILQ_LAST(queue, wb_queue);

	c->in = queue;
	c->ready_ms = wb_clock_ms() + delay_ms;
	for (unsigned i = 0; after && after->ready_ms > c->ready_ms && i < 64; i++)
		after = TAILQ_PREV(after, wb_queue, link);
	if (after)
		TAILQ_INSERT_AFTER(queue, after, c, link);
	else
		TAILQ_INSERT_HEAD(queue, c, link);
	wb_pump_soon(h, delay_ms);
}

static struct wb_case *case_find(struct wb_hive *h, const char *ref)
{
	struct wb_case *c = NULL;

	HASH_FIND_STR(h->cases, ref, c);
	return c;
}

struct wb_case *wb_case_get(struct wb_hive *h, const char *ref, int64_t delay_ms)
{
	struct wb_case *c = case_find(h, ref);
	struct list_state state;

	if (c || strlen(ref) >= WB_REF_MAX)
		return c;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	memcpy(c->ref, ref, strlen(ref) + 1);
	c->first_ms = wb_clock_ms();
	ledger_state(h->owner->ledger, &state);
	c->revision = state.revision;
	HASH_ADD_STR(h->cases, ref, c);
	queue_put(h, c, delay_ms);
	return c;
}

void wb_case_drop(struct wb_hive *h, struct wb_case *c)
{
	TAILQ_REMOVE(c->in, c, link);
	HASH_DEL(h->cases, c);
	json_decref(c->causes);
	free(c);
}

void wb_case_later(struct wb_hive *h, struct wb_case *c, int64_t delay_ms)
{
	TAILQ_REMOVE(c->in, c, link);
	if (delay_ms >= 0) {
		queue_put(h, c, delay_ms);
		return;
	}
	c->in = &h->waiting;
	TAILQ_INSERT_TAIL(&h->waiting, c, link);
}

int wb_state_open(struct wb_hive *h, const char *ref, json_t **ret_state)
{
	int r;

	// What is under way is newer than the row.
	if (h->op.of && strcmp(h->op.of->ref, ref) == 0 && h->op.state) {
		*ret_state = json_incref(h->op.state);
		return 0;
	}
	r = ledger_told_get(h->owner->ledger, h->source, ref, ret_state);
	if (r == -ENOENT) {
		*ret_state = json_object();
		r = *ret_state ? 0 : -ENOMEM;
	}
	return r;
}

bool wb_active(const struct wb_hive *h)
{
	return h->client != NULL;
}

struct wb_hive *wb_hive_of(struct writeback *w, const char *source, size_t len)
{
	for (size_t i = 0; i < w->n; i++) {
		struct wb_hive *h = &w->hives[i];

		if (wb_active(h) && strlen(h->source) == len && memcmp(h->source, source, len) == 0)
			return h;
	}
	return NULL;
}

// --- rows that one turn changes

struct wb_row {
	struct wb_hive *hive;
	char key[96 + WB_REF_MAX]; // source and reference
	const char *ref;
	json_t *state;
	bool fresh; // nothing was told to the case before
	UT_hash_handle hh;
};

struct wb_batch {
	struct writeback *owner;
	struct wb_row *rows;
};

struct wb_batch *wb_batch_begin(struct writeback *w)
{
	struct wb_batch *b = calloc(1, sizeof(*b));

	if (b)
		b->owner = w;
	return b;
}

static struct wb_row *row_find(struct wb_batch *b, const struct wb_hive *h, const char *ref)
{
	struct wb_row *row = NULL;
	char key[sizeof(row->key)];

	snprintf(key, sizeof(key), "%s %s", h->source, ref);
	HASH_FIND_STR(b->rows, key, row);
	return row;
}

json_t *wb_batch_state(struct wb_batch *b, struct wb_hive *h, const char *ref)
{
	struct wb_row *row = row_find(b, h, ref);

	if (row)
		return row->state;
	row = calloc(1, sizeof(*row));
	if (!row)
		return NULL;
	snprintf(row->key, sizeof(row->key), "%s %s", h->source, ref);
	row->hive = h;
	row->ref = row->key + strlen(h->source) + 1;
	if (wb_state_open(h, ref, &row->state) < 0) {
		free(row);
		return NULL;
	}
	row->fresh = json_object_size(row->state) == 0;
	HASH_ADD_STR(b->rows, key, row);
	return row->state;
}

bool wb_batch_new(struct wb_batch *b, struct wb_hive *h, const char *ref)
{
	struct wb_row *row = row_find(b, h, ref);

	return row && row->fresh;
}

int wb_batch_end(struct wb_batch *b, int64_t due)
{
	struct wb_row *row, *next;
	int r = 0;

	HASH_ITER(hh, b->rows, row, next)
	{
		int64_t own = json_integer_value(json_object_get(row->state, "due"));
		bool waits = case_find(row->hive, row->ref) != NULL;
		int64_t when = waits ? 0 : own > 0 && own < due ? own : due;

		HASH_DEL(b->rows, row);
		if (r == 0)
			r = ledger_told_put(
				b->owner->ledger,
				row->hive->source,
				row->ref,
				when,
				row->state,
				NULL,
				NULL
			);
		json_decref(row->state);
		free(row);
	}
	free(b);
	return r;
}

// --- the audit

struct drain {
	struct writeback *w;
	struct wb_batch *batch;
	int64_t seq;
	size_t n;
	bool failed;
};

// Its row need not be read: a large case is touched by many records.
static struct wb_case *case_touch(struct drain *d, struct wb_hive *h, const char *ref)
{
	struct list_state state;
	struct wb_case *c = wb_case_get(h, ref, h->conf->writeback.delay_ms);
	int r = c ? 0 : -ENOMEM;

	if (c && !c->marked) {
		r = ledger_told_touch(d->w->ledger, h->source, ref);
		if (r == -ENOENT)
			r = wb_batch_state(d->batch, h, ref) ? 0 : -ENOMEM;
	}
	if (r < 0) {
		d->failed = true;
		return NULL;
	}
	c->marked = c->touched = true;
	if (c->seq == 0)
		c->seq = d->seq;
	ledger_state(d->w->ledger, &state);
	c->revision = state.revision;
	return c;
}

// "indicator source reference" of a claim's record, where it is a case of ours. ref: without the
// observable.
static struct wb_hive *object_read(
	struct writeback *w,
	const char *object,
	char ref[WB_REF_MAX],
	char key[64 + INDICATOR_TEXT_MAX]
)
{
	const char *source = strchr(object, ' ');
	const char *observable = strrchr(object, '/');
	struct wb_hive *h = NULL;
	size_t len = 0;

	if (!source || !observable)
		return NULL;
	source++;
	for (size_t i = 0; i < w->n && !h; i++) {
		len = strlen(w->hives[i].source);
		if (wb_active(&w->hives[i]) && strncmp(source, w->hives[i].source, len) == 0
		    && source[len] == ' ')
			h = &w->hives[i];
	}
	source += len + 1;
	if (!h || observable < source || (size_t)(observable - source) >= WB_REF_MAX)
		return NULL;
	memcpy(ref, source, (size_t)(observable - source));
	ref[observable - source] = '\0';
	snprintf(
		key,
		64 + INDICATOR_TEXT_MAX,
		"%.60s %.*s",
		observable + 1,
		(int)strcspn(object, " "),
		object
	);
	return h;
}

// After a merge the claim is another case's: that one is told, and the old one, which is gone, no
// withdrawal. The comment on attempts goes along.
static void
claim_moved(struct drain *d, struct wb_hive *h, json_t *old, const char *key, const char *to)
{
	const char *slash = strrchr(to, '/');
	char ref[WB_REF_MAX], observable[HIVE_ID_MAX];
	json_t *state;

	if (!slash || (size_t)(slash - to) >= sizeof(ref))
		return;
	memcpy(ref, to, (size_t)(slash - to));
	ref[slash - to] = '\0';
	case_touch(d, h, ref);
	state = wb_batch_state(d->batch, h, ref);
	snprintf(observable, sizeof(observable), "%.*s", (int)strcspn(key, " "), key);
	json_object_del(wb_member(old, "live"), key);
	json_object_del(wb_member(old, "tags"), observable);
	if (!state || json_object_get(state, "attempts"))
		return;
	json_object_set(state, "attempts", json_object_get(old, "attempts"));
	json_object_del(old, "attempts");
}

// Why it ended, or is held. Kept in memory: after a restart the text is shorter.
static void cause_keep(struct wb_case *c, const char *key, const json_t *detail)
{
	json_t *cause = json_object_get(detail, "cause");

	if (!cause)
		cause = json_object_get(detail, "why");
	if (!json_is_string(cause))
		return;
	if (!c->causes)
		c->causes = json_object();
	if (json_object_size(c->causes) < CAUSES_MAX)
		json_object_set(c->causes, key, cause);
}

static void claim_record(struct drain *d, const struct audit_record *record)
{
	char ref[WB_REF_MAX], key[64 + INDICATOR_TEXT_MAX];
	struct wb_hive *h = object_read(d->w, record->object, ref, key);
	bool ends = strcmp(record->action, "claim.end") == 0
		|| strcmp(record->action, "claim.expire") == 0;
	bool moves = strcmp(record->action, "claim.move") == 0;
	struct wb_case *c = h ? case_touch(d, h, ref) : NULL;
	json_t *state, *detail;

	if (!c)
		return;
	// It was in force before anything was written to this case: its end is told all the same.
	if (ends && wb_batch_new(d->batch, h, ref))
		json_object_set_new(
			wb_member(wb_batch_state(d->batch, h, ref), "live"), key, json_object()
		);
	detail = json_loads(record->detail, 0, NULL);
	cause_keep(c, key, detail);
	state = moves ? wb_batch_state(d->batch, h, ref) : NULL;
	if (state)
		claim_moved(d, h, state, key, wb_text(detail, "to"));
	json_decref(detail);
}

static bool claim_touch(void *ctx, const struct claim *claim)
{
	struct drain *d = ctx;
	struct wb_hive *h = wb_hive_of(d->w, claim->source, strlen(claim->source));
	const char *slash = strrchr(claim->ref, '/');
	char ref[WB_REF_MAX];

	if (!h || !slash || (size_t)(slash - claim->ref) >= sizeof(ref))
		return true;
	memcpy(ref, claim->ref, (size_t)(slash - claim->ref));
	ref[slash - claim->ref] = '\0';
	case_touch(d, h, ref);
	return true;
}

static void allow_record(struct drain *d, const struct audit_record *record)
{
	struct indicator n;
	struct indicator_error error;

	if (indicator_parse(record->object, strlen(record->object), &n, &error) == 0)
		ledger_claims_of(d->w->ledger, &n, true, claim_touch, d);
}

// {"ref": "<organisation>/<case id>"} in its detail: the object names what people call the case.
static void refusal_record(struct drain *d, const struct audit_record *record)
{
	struct wb_hive *h = wb_hive_of(d->w, record->actor, strlen(record->actor));
	json_t *detail = json_loads(record->detail, 0, NULL);
	const char *ref = json_string_value(json_object_get(detail, "ref"));

	if (h && ref)
		case_touch(d, h, ref);
	json_decref(detail);
}

static bool record_take(void *ctx, const struct audit_record *record)
{
	struct drain *d = ctx;

	d->seq = record->seq;
	d->n++;
	if (strncmp(record->action, "claim.", 6) == 0)
		claim_record(d, record);
	else if (strcmp(record->action, "case.refuse") == 0)
		refusal_record(d, record);
	else if (strcmp(record->action, "allow") == 0 || strncmp(record->action, "allow.", 6) == 0)
		allow_record(d, record);
	return !d->failed;
}

// Cursor and rows are one transaction: a crash loses neither.
bool wb_drain(struct writeback *w)
{
	struct drain d = {.w = w, .seq = w->cursor};
	int r;

	d.batch = wb_batch_begin(w);
	if (!d.batch)
		return false;
	r = ledger_audit_after(w->ledger, w->cursor, DRAIN_RECORDS, record_take, &d);
	if (d.failed)
		r = -ENOMEM;
	if (wb_batch_end(d.batch, 0) < 0 || r < 0) {
		if (!w->drain_failed)
			log_warning("write-back: the ledger cannot be read or written: it waits");
		w->drain_failed = true;
		event_add(w->drain, &one_second);
		return false;
	}
	w->drain_failed = false;
	if (d.n == 0)
		return true;
	w->cursor = d.seq;
	ledger_cursor_set(w->ledger, CURSOR, (struct revision){1, (uint64_t)d.seq});
	if (d.n < DRAIN_RECORDS)
		return true;
	event_active(w->drain, EV_TIMEOUT, 0);
	return false;
}

static void drain_cb(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	wb_drain(ctx);
}

static void woken(void *ctx, unsigned topics)
{
	const struct timeval after = {.tv_usec = DRAIN_MS * 1000};
	struct writeback *w = ctx;
	struct list_state state;
	char hash[65];
	int64_t seq;
	size_t at = w->n_commits++ % WB_RING;

	(void)topics;
	ledger_state(w->ledger, &state);
	ledger_audit_head(w->ledger, &seq, hash);
	w->commits[at].seq = seq;
	w->commits[at].revision = state.revision;
	if (!event_pending(w->drain, EV_TIMEOUT, NULL))
		event_add(w->drain, &after);
}

// --- the data plane

static bool reaches(struct revision is, struct revision needed)
{
	return is.epoch == needed.epoch && is.number >= needed.number;
}

int64_t wb_applied_at(const struct writeback *w, int64_t seq)
{
	size_t from = w->n_commits > WB_RING ? w->n_commits - WB_RING : 0, i;
	struct revision needed;

	for (i = from; i < w->n_commits && w->commits[i % WB_RING].seq < seq; i++)
		;
	if (i == w->n_commits || (i == from && from > 0))
		return -1;
	needed = w->commits[i % WB_RING].revision;
	from = w->n_applied > WB_RING ? w->n_applied - WB_RING : 0;
	for (i = from; i < w->n_applied; i++)
		if (reaches(w->applied[i % WB_RING].revision, needed))
			return i == from && from > 0 ? -1 : w->applied[i % WB_RING].when_ms;
	return -1;
}

void writeback_applied_moved(struct writeback *w)
{
	struct list_state state;
	int64_t when_ms;

	if (!w || !w->view.applied(w->view.ctx, &state, &when_ms))
		return;
	size_t last = (w->n_applied + WB_RING - 1) % WB_RING;
	if (w->n_applied == 0 || w->applied[last].revision.number != state.revision.number
	    || w->applied[last].revision.epoch != state.revision.epoch) {
		size_t at = w->n_applied++ % WB_RING;

		w->applied[at].revision = state.revision;
		w->applied[at].when_ms = when_ms;
	}
	for (size_t i = 0; i < w->n; i++) {
		struct wb_case *c, *next;

		for (c = TAILQ_FIRST(&w->hives[i].waiting); c; c = next) {
			next = TAILQ_NEXT(c, link);
			if (reaches(state.revision, c->revision))
				wb_case_later(&w->hives[i], c, 0);
		}
	}
}

void writeback_denials_take(struct writeback *w, const struct wire_denial *denial, size_t n)
{
	for (size_t i = 0; w && w->attempts && i < n; i++)
		wb_attempts_add(w->attempts, &denial[i]);
}

// --- which case next

static void pump(evutil_socket_t fd, short what, void *ctx)
{
	struct wb_hive *h = ctx;
	int64_t now = wb_clock_ms();
	struct wb_case *c = TAILQ_FIRST(&h->queue), *later = TAILQ_FIRST(&h->later);

	if (!c || (later && later->ready_ms < c->ready_ms))
		c = later;
	(void)fd;
	(void)what;
	if (h->op.busy || !c)
		return;
	if (now < h->quiet_ms) {
		wb_pump_soon(h, h->quiet_ms - now);
		return;
	}
	if (now < c->ready_ms) {
		wb_pump_soon(h, c->ready_ms - now);
		return;
	}
	if (h->version.major == 0 || now - h->version_ms > VERSION_MS) {
		wb_probe(h);
		return;
	}
	// What came meanwhile belongs to the same text, and to what must be applied.
	if (!wb_drain(h->owner)) {
		wb_pump_soon(h, h->owner->drain_failed ? 1000 : 1);
		return;
	}
	wb_op_begin(h, c);
}

static bool due_take(void *ctx, const char *ref, int64_t due)
{
	struct wb_hive *h = ctx;

	(void)due;
	wb_case_get(h, ref, 0);
	return true;
}

// Ends that come near, attempts whose time has come.
static void second_cb(evutil_socket_t fd, short what, void *ctx)
{
	struct writeback *w = ctx;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < w->n; i++)
		if (wb_active(&w->hives[i]))
			ledger_told_due(
				w->ledger,
				w->hives[i].source,
				1,
				wb_now(),
				DUE_MAX,
				due_take,
				&w->hives[i]
			);
}

// --- life

static bool is_wanted(const struct conf_writeback *conf)
{
	return conf->enforced || conf->attempts || conf->tags || conf->refused || conf->expiry
		|| conf->withdrawn;
}

static int client_make(struct wb_hive *h, struct protect *protect, char message[256])
{
	const struct conf_thehive *conf = h->conf;
	char *key = NULL;
	int r = secret_read(conf->key_file, &key, message);

	if (r < 0)
		return r;
	r = asprintf(&h->authorization, "Bearer %s", key);
	secret_free(key);
	if (r < 0) {
		h->authorization = NULL;
		return -ENOMEM;
	}
	if (conf->organisation
	    && asprintf(&h->header, "X-Organisation: %s", conf->organisation) < 0) {
		h->header = NULL;
		return -ENOMEM;
	}
	h->headers[0] = h->header;
	h->service = (struct http_service){
		.name = h->source,
		.base_url = conf->url,
		.authorization = h->authorization,
		.headers = h->headers,
		.proxy = conf->proxy,
		.tls = {conf->tls.ca_file,
			conf->tls.cert_file,
			conf->tls.key_file,
			conf->tls.key_password_file},
		.timeout_ms = conf->timeout_ms,
		.connect_timeout_ms = conf->connect_timeout_ms,
		.max_per_second = conf->writeback.max_per_second,
	};
	return http_client_create(h->owner->base, &h->service, protect, &h->client);
}

static bool row_load(void *ctx, const char *ref, int64_t due)
{
	struct wb_hive *h = ctx;

	(void)due;
	// What was sent just before the end may not be found at once.
	wb_case_get(h, ref, h->conf->index_delay_ms);
	return true;
}

static int hive_init(struct wb_hive *h, struct protect *protect, char message[256])
{
	int r;

	h->timer = event_new(h->owner->base, -1, 0, pump, h);
	if (!h->timer)
		return -ENOMEM;
	r = client_make(h, protect, message);
	if (r < 0)
		return r;
	return ledger_told_due(h->owner->ledger, h->source, 0, 0, INT32_MAX, row_load, h);
}

static void hive_fini(struct wb_hive *h)
{
	struct wb_case *c, *next;

	if (h->commit)
		h->commit->hive = NULL; // the ledger still calls it
	wb_op_fini(&h->op);
	http_client_free(h->client);
	HASH_ITER(hh, h->cases, c, next)
	wb_case_drop(h, c);
	if (h->timer)
		event_free(h->timer);
	secret_free(h->authorization);
	free(h->header);
}

// From now on: what was before the first start is not told case by case.
static int cursor_load(struct writeback *w)
{
	struct revision at;
	char hash[65];
	int r = ledger_cursor_get(w->ledger, CURSOR, &at);

	if (r < 0)
		return r;
	w->cursor = (int64_t)at.number;
	if (at.epoch > 0)
		return 0;
	ledger_audit_head(w->ledger, &w->cursor, hash);
	return ledger_cursor_set(w->ledger, CURSOR, (struct revision){1, (uint64_t)w->cursor});
}

static int events_init(struct writeback *w)
{
	w->drain = event_new(w->base, -1, 0, drain_cb, w);
	w->second = event_new(w->base, -1, EV_PERSIST, second_cb, w);
	if (!w->drain || !w->second)
		return -ENOMEM;
	event_add(w->second, &one_second);
	event_active(w->drain, EV_TIMEOUT, 0);
	return ledger_watch(w->ledger, LEDGER_AUDIT, woken, w);
}

int writeback_create(
	struct event_base *base,
	const struct conf *conf,
	struct ledger *ledger,
	struct protect *protect,
	const struct writeback_view *view,
	struct writeback **ret_writeback,
	char ret_message[256]
)
{
	struct writeback *w = calloc(1, sizeof(*w));
	struct list_state state;
	int r = w ? 0 : -ENOMEM;

	ret_message[0] = '\0';
	if (!w)
		return r;
	w->base = base;
	w->ledger = ledger;
	w->protect = protect;
	w->view = *view;
	ledger_state(ledger, &state);
	for (size_t i = 0; i < 4; i++)
		snprintf(w->marker_id + 2 * i, 3, "%02x", state.ledger_id[i]);
	w->hives = calloc(conf->n_thehive + 1, sizeof(*w->hives));
	r = w->hives ? cursor_load(w) : -ENOMEM;
	for (size_t i = 0; r == 0 && i < conf->n_thehive; i++) {
		struct wb_hive *h = &w->hives[w->n++];

		h->owner = w;
		h->conf = &conf->thehive[i];
		TAILQ_INIT(&h->queue);
		TAILQ_INIT(&h->later);
		TAILQ_INIT(&h->waiting);
		snprintf(h->source, sizeof(h->source), "thehive:%.60s", h->conf->name);
		if (is_wanted(&h->conf->writeback))
			r = hive_init(h, protect, ret_message);
	}
	if (r == 0)
		r = wb_attempts_create(w, &w->attempts);
	if (r == 0)
		r = events_init(w);
	if (r < 0) {
		if (!ret_message[0])
			snprintf(ret_message, 256, "write-back: %s", strerror(-r));
		writeback_free(w);
		return r;
	}
	*ret_writeback = w;
	writeback_applied_moved(w);
	return 0;
}

void writeback_free(struct writeback *w)
{
	if (!w)
		return;
	ledger_unwatch(w->ledger, woken, w);
	wb_attempts_free(w->attempts);
	for (size_t i = 0; i < w->n; i++)
		hive_fini(&w->hives[i]);
	if (w->drain)
		event_free(w->drain);
	if (w->second)
		event_free(w->second);
	free(w->hives);
	free(w);
}
