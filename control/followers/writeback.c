// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/writeback.h"

#include "control/followers/writeback_internal.h"
#include "control/protect.h"
#include "control/secret.h"
#include "control/sources/thehive.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DRAIN_MS 200 // after a commit: others' work comes first
#define VERSION_MS 3600000 // it is asked for again: somebody may have upgraded
#define SOON_MS 10000
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

// --- when the audit grows

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
	if (seq == 0 || i == w->n_commits || (i == from && from > 0))
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

void writeback_denials_take(
	struct writeback *w, const char *gateway, const struct wire_denial *denial, size_t n
)
{
	for (size_t i = 0; w && w->attempts && i < n; i++)
		wb_attempts_add(w->attempts, gateway, &denial[i]);
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
		|| conf->withdrawn || conf->immunity;
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
int writeback_begin(struct ledger *ledger)
{
	struct revision at;
	int64_t head;
	char hash[65];
	int r = ledger_cursor_get(ledger, WB_CURSOR, &at);

	if (r < 0 || at.epoch > 0)
		return r;
	ledger_audit_head(ledger, &head, hash);
	return ledger_cursor_set(ledger, WB_CURSOR, (struct revision){1, (uint64_t)head});
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
	// Whoever leads must know the comments of who led before.
	if (ledger_fleet_is(ledger))
		snprintf(
			w->marker_id,
			sizeof(w->marker_id),
			"%08x",
			(unsigned)siphash64(wb_hash_key, conf->fleet->id, strlen(conf->fleet->id))
		);
	w->hives = calloc(conf->n_thehive + 1, sizeof(*w->hives));
	r = w->hives ? writeback_begin(ledger) : -ENOMEM;
	for (size_t i = 0; r == 0 && i < conf->n_thehive; i++) {
		struct wb_hive *h = &w->hives[w->n++];

		h->owner = w;
		h->conf = &conf->thehive[i];
		TAILQ_INIT(&h->queue);
		TAILQ_INIT(&h->later);
		TAILQ_INIT(&h->waiting);
		snprintf(h->source, sizeof(h->source), "thehive:%.60s", h->conf->name);
		thehive_organisation_print(h->conf, h->organisation);
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
