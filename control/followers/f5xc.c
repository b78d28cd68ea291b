// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/http_client.h"
#include "control/ledger.h"
#include "control/log.h"
#include "control/metrics.h"
#include "control/protect.h"
#include "control/secret.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MAX_MS 60000

// One set. The step under way is told by what was asked last.
struct shard {
	struct f5xc *owner;
	int family;
	char name[80];
	struct f5xc_item *items; // desired, at most set_size
	size_t n;
	struct f5xc_item *before; // those of the last build, while another set is stepped
	size_t n_before;
	json_t *read; // the last answer to GET; NULL: not known, or not there
	bool busy, due, missing, refused_family;
	int64_t written_ms; // monotonic: of the last PUT or POST
	unsigned backoff_ms;
	char error[F5XC_WHY_MAX];
	struct event *timer;
};

struct f5xc {
	struct control *control;
	const struct conf_f5xc *conf;
	struct http_client *client;
	struct http_service service;
	char *authorization;
	struct shard shards[2];
	struct f5xc_item *others; // what is not mirrored, and why
	size_t n_others, room_others;
	struct event *reconcile;
	int64_t last_ok_ms;
	uint64_t refused_full;
};

static void shard_step(struct shard *s);

static int64_t clock_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void timer_set(struct event *timer, int64_t ms)
{
	const struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(timer, &after);
}

// --- what should be there

static bool mirrored_source(const struct conf_f5xc *conf, const char *source)
{
	for (size_t i = 0; i < conf->n_mirror; i++) {
		const char *word = conf->mirror[i];

		if (strcmp(word, source) == 0
		    || (strcmp(word, "cases") == 0 && strncmp(source, "thehive:", 8) == 0)
		    || (strcmp(word, "operators") == 0 && strcmp(source, "operator") == 0))
			return true;
	}
	return false;
}

static struct f5xc_item *other_add(struct f5xc *f, const struct indicator *n, const char *why)
{
	struct f5xc_item *item;

	if (f->n_others == f->room_others) {
		size_t room = f->room_others ? 2 * f->room_others : 64;
		struct f5xc_item *more = realloc(f->others, room * sizeof(*more));

		if (!more)
			return NULL;
		f->others = more;
		f->room_others = room;
	}
	item = &f->others[f->n_others++];
	*item = (struct f5xc_item){.indicator = *n, .state = F5XC_NOT_MIRRORED};
	snprintf(item->why, sizeof(item->why), "%s", why);
	return item;
}

struct covering {
	const struct indicator *n;
	bool found;
};

static bool exception_covers(void *ctx, const struct exception *x)
{
	struct covering *c = ctx;

	c->found = indicator_covers(&x->indicator, c->n) || indicator_covers(c->n, &x->indicator);
	return !c->found;
}

static const char *not_mirrored(struct f5xc *f, const struct claim *c)
{
	struct covering covering = {.n = &c->indicator};

	if (c->indicator.kind == INDICATOR_NAME)
		return "names need a forward proxy policy";
	if (c->indicator.kind == INDICATOR_PORT)
		return "needs policy";
	if (c->tlp > f->conf->max_tlp)
		return "its TLP is above f5xc.max_tlp";
	if (ledger_exceptions(f->control->ledger, exception_covers, &covering) == 0
	    && covering.found)
		return "allowed or protected";
	if (c->indicator.family == 6 && f->shards[1].refused_family)
		return "the tenant refuses IPv6 prefixes";
	return NULL;
}

static struct f5xc_item *
item_find(struct f5xc_item *items, size_t n, const struct indicator *wanted)
{
	for (size_t i = 0; i < n; i++) {
		if (indicator_equal(&items[i].indicator, wanted))
			return &items[i];
	}
	return NULL;
}

static bool claim_take(void *ctx, const struct claim *c)
{
	struct f5xc *f = ctx;
	struct shard *s;
	struct f5xc_item *item;
	const struct f5xc_item *was;
	const char *why;

	if (c->state == CLAIM_HELD || c->action != CLAIM_ENFORCE
	    || !mirrored_source(f->conf, c->source))
		return true;
	why = not_mirrored(f, c);
	if (why) {
		if (!item_find(f->others, f->n_others, &c->indicator))
			other_add(f, &c->indicator, why);
		return true;
	}
	s = &f->shards[c->indicator.family == 6];
	if (item_find(s->items, s->n, &c->indicator))
		return true;
	if (s->n == f->conf->set_size) {
		item = other_add(f, &c->indicator, "the set is full");
		if (item)
			item->state = F5XC_REFUSED;
		f->refused_full++;
		return true;
	}
	item = &s->items[s->n++];
	was = item_find(s->before, s->n_before, &c->indicator);
	*item = was ? *was : (struct f5xc_item){.indicator = c->indicator, .state = F5XC_PENDING};
	if (*c->case_number)
		snprintf(
			item->description, sizeof(item->description), "case %.50s", c->case_number
		);
	else
		snprintf(item->description, sizeof(item->description), "%.60s", c->source);
	return true;
}

// XXX walks all claims: right for cases and operators (thousands); lists are not mirrored yet.
// The states of `stepped` begin anew: it is read next. Those of the other set stay as they were
// read.
static int desired_build(struct f5xc *f, const struct shard *stepped)
{
	int rc;

	f->n_others = 0;
	f->refused_full = 0;
	for (int i = 0; i < 2; i++) {
		struct shard *s = &f->shards[i];
		struct f5xc_item *items = s->before;

		s->before = s->items;
		s->n_before = s == stepped ? 0 : s->n;
		s->items = items;
		s->n = 0;
	}
	rc = ledger_claims_by_ref(f->control->ledger, NULL, "", claim_take, f);
	if (rc < 0)
		log_error("F5 XC: the ledger's claims could not be read: %s", strerror(-rc));
	return rc;
}

// --- requests

static void shard_path(const struct shard *s, bool one, char path[256])
{
	snprintf(
		path,
		256,
		"/config/namespaces/%s/ip_prefix_sets%s%s",
		s->owner->conf->xc_namespace,
		one ? "/" : "",
		one ? s->name : ""
	);
}

static void shard_failed(struct shard *s, const struct http_answer *a, const char *what)
{
	char error[F5XC_WHY_MAX];
	int64_t wait_ms;

	if (a->status == 0)
		snprintf(error, sizeof(error), "%s: %.100s", what, a->error_text);
	else if (a->status == 401 || a->status == 403)
		snprintf(
			error,
			sizeof(error),
			"%s: %ld: the token has ended or may not do this",
			what,
			a->status
		);
	else
		snprintf(
			error,
			sizeof(error),
			"%s: %ld: %.80s",
			what,
			a->status,
			a->body_len ? a->body : ""
		);
	// Their octets go into our log and our JSON.
	for (char *c = error; *c; c++)
		*c = *c < 0x20 || *c > 0x7e ? '?' : *c;
	if (strcmp(error, s->error) != 0)
		log_warning("F5 XC: %s: %s", s->name, error);
	memcpy(s->error, error, sizeof(error));
	s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : BACKOFF_FIRST_MS;
	s->backoff_ms = s->backoff_ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : s->backoff_ms;
	wait_ms = s->backoff_ms + random() % (s->backoff_ms / 4 + 1);
	if (a->retry_after > 0 && a->retry_after * 1000 > wait_ms)
		wait_ms = a->retry_after * 1000;
	// Whatever happened: it is read before anything is written or shown again.
	json_decref(s->read);
	s->read = NULL;
	s->missing = false;
	s->due = true;
	timer_set(s->timer, wait_ms);
}

static void states_set(struct shard *s, const struct f5xc_object *o)
{
	for (size_t i = 0; i < s->n; i++) {
		bool there = f5xc_object_has(o, s->family, &s->items[i].indicator);

		s->items[i].state = !there ? F5XC_PENDING
			: o->referred	   ? F5XC_REFERRED
					   : F5XC_STORED;
	}
}

static bool may_write(struct shard *s, const struct f5xc_object *o)
{
	struct list_state state;
	const char *why = NULL;

	ledger_state(s->owner->control->ledger, &state);
	if (strcmp(o->owner, s->owner->conf->fleet_id) != 0)
		why = "the object exists and does not bear our owner label: rename it, or set "
		      "f5xc.prefix";
	else if (o->revision.epoch > state.revision.epoch)
		why = "the object is of a higher epoch: another gateway leads";
	if (!why)
		return true;
	if (strcmp(s->error, why) != 0)
		log_error("F5 XC: %s: %s", s->name, why);
	snprintf(s->error, sizeof(s->error), "%s", why);
	for (size_t i = 0; i < s->n; i++) {
		s->items[i].state = F5XC_REFUSED;
		snprintf(s->items[i].why, sizeof(s->items[i].why), "%s", why);
	}
	return false;
}

static void written(void *ctx, const struct http_answer *a)
{
	struct shard *s = ctx;
	bool created = s->missing;

	s->busy = false;
	json_decref(s->read);
	s->read = NULL;
	s->missing = false;
	// Only of a create: a tenant that has taken the set takes IPv6, and what is in it must
	// stay.
	if (a->status == 400 && s->family == 6 && created) {
		s->refused_family = true;
		log_warning(
			"F5 XC: the tenant refuses IPv6 prefixes: %.120s",
			a->body_len ? a->body : ""
		);
		s->due = true;
		timer_set(s->timer, 0);
		return;
	}
	if (a->status != 200 && a->status != 409) {
		shard_failed(s, a, "writing");
		return;
	}
	s->due = true; // 200 and 409 alike: read it back
	shard_step(s);
}

static void shard_write(struct shard *s)
{
	const struct conf_f5xc *conf = s->owner->conf;
	struct list_state state;
	char path[256], *text;
	json_t *body;
	int rc;

	ledger_state(s->owner->control->ledger, &state);
	body = f5xc_body(
		s->read,
		s->name,
		conf->xc_namespace,
		conf->fleet_id,
		&state,
		s->family,
		s->items,
		s->n
	);
	text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	if (!text)
		return;
	shard_path(s, !s->missing, path);
	rc = http_client_request(
		s->owner->client, s->missing ? "POST" : "PUT", path, text, strlen(text), written, s
	);
	free(text);
	s->busy = rc == 0;
	s->written_ms = clock_ms(CLOCK_MONOTONIC);
	if (rc < 0) {
		s->due = true;
		timer_set(s->timer, BACKOFF_FIRST_MS);
	}
}

// The set is known: say what is stored, write where it differs.
static void shard_compare(struct shard *s)
{
	struct f5xc_object o = {.owner = s->owner->conf->fleet_id};
	int64_t wait = s->written_ms + s->owner->conf->min_interval_ms - clock_ms(CLOCK_MONOTONIC);

	if (!s->missing) {
		if (f5xc_object_read(s->read, s->family, &o) < 0) {
			snprintf(s->error, sizeof(s->error), "the answer is no ip_prefix_set");
			return;
		}
		states_set(s, &o);
		if (!may_write(s, &o))
			return;
		if (f5xc_object_equal(&o, s->family, s->items, s->n)) {
			s->error[0] = '\0';
			s->backoff_ms = 0;
			s->owner->last_ok_ms = clock_ms(CLOCK_REALTIME);
			return;
		}
	} else if (s->n == 0) {
		return; // nothing to mirror: no set is made
	}
	if (s->written_ms && wait > 0) {
		s->due = true;
		timer_set(s->timer, wait);
		return;
	}
	shard_write(s);
}

static void answered(void *ctx, const struct http_answer *a)
{
	struct shard *s = ctx;
	char *clean;

	s->busy = false;
	json_decref(s->read);
	s->read = NULL;
	s->missing = a->status == 404;
	if (a->status == 200) {
		clean = f5xc_sanitise(a->body, a->body_len);
		s->read = clean ? json_loads(clean, 0, NULL) : NULL;
		free(clean);
	}
	if (!s->read && !s->missing) {
		shard_failed(s, a, a->status == 200 ? "reading: no JSON" : "reading");
		return;
	}
	shard_compare(s);
	// What moved while the answer was under way.
	if (s->due && !s->busy && !event_pending(s->timer, EV_TIMEOUT, NULL))
		timer_set(s->timer, 0);
}

static void shard_step(struct shard *s)
{
	char path[256];

	if (s->busy || !s->due)
		return;
	s->due = false;
	shard_path(s, true, path);
	// Never a write from a list that was read in part: what is missing from it would be
	// withdrawn.
	if (desired_build(s->owner, s) == 0
	    && http_client_request(s->owner->client, "GET", path, NULL, 0, answered, s) == 0) {
		s->busy = true;
		return;
	}
	s->due = true;
	timer_set(s->timer, BACKOFF_FIRST_MS);
}

static void timed(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	shard_step(ctx);
}

static void wake_all(struct f5xc *f)
{
	for (int i = 0; i < 2; i++) {
		struct shard *s = &f->shards[i];

		s->due = true;
		// A step that waits for its back-off or its interval goes on waiting.
		if (!s->busy && !event_pending(s->timer, EV_TIMEOUT, NULL))
			timer_set(s->timer, 0);
	}
}

static void woken(void *ctx, unsigned topics)
{
	(void)topics;
	wake_all(ctx);
}

static void reconciled(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	wake_all(ctx);
}

// --- start and end

static int client_make(struct f5xc *f)
{
	const struct conf_f5xc *conf = f->conf;
	char message[256] = "", *token = NULL;

	f->service = (struct http_service){
		.name = "f5xc",
		.base_url = conf->url,
		.proxy = conf->proxy,
		.tls = {conf->tls.ca_file,
			conf->tls.cert_file,
			conf->tls.key_file,
			conf->tls.key_password_file},
		.timeout_ms = conf->timeout_ms,
		.connect_timeout_ms = conf->connect_timeout_ms,
		.max_per_second = conf->max_per_second,
	};
	if (conf->token_file) {
		int rc = secret_read(conf->token_file, &token, message);

		if (rc < 0) {
			log_error("F5 XC: %s", message);
			return rc;
		}
		if (asprintf(&f->authorization, "APIToken %s", token) < 0)
			f->authorization = NULL;
		secret_free(token);
		if (!f->authorization)
			return -ENOMEM;
		f->service.authorization = f->authorization;
	}
	return http_client_create(f->control->base, &f->service, f->control->protect, &f->client);
}

static int shard_init(struct f5xc *f, int i)
{
	struct shard *s = &f->shards[i];

	s->owner = f;
	s->family = i ? 6 : 4;
	snprintf(s->name, sizeof(s->name), "%.60s-v%d-000", f->conf->prefix, s->family);
	s->items = calloc(f->conf->set_size, sizeof(*s->items));
	s->before = calloc(f->conf->set_size, sizeof(*s->before));
	s->timer = event_new(f->control->base, -1, 0, timed, s);
	return s->items && s->before && s->timer ? 0 : -ENOMEM;
}

int f5xc_create(struct control *control, struct f5xc **ret_f5xc)
{
	const struct timeval every = {.tv_sec = control->conf->f5xc->reconcile_s};
	struct f5xc *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return -ENOMEM;
	f->control = control;
	f->conf = control->conf->f5xc;
	rc = client_make(f);
	for (int i = 0; rc == 0 && i < 2; i++)
		rc = shard_init(f, i);
	if (rc == 0) {
		f->reconcile = event_new(control->base, -1, EV_PERSIST, reconciled, f);
		rc = f->reconcile && event_add(f->reconcile, &every) == 0 ? 0 : -ENOMEM;
	}
	if (rc == 0)
		rc = ledger_watch(control->ledger, LEDGER_ENTRIES | LEDGER_EXCEPTIONS, woken, f);
	if (rc == 0 && control->metrics)
		rc = metrics_client(control->metrics, "f5xc", f->client);
	if (rc < 0) {
		f5xc_free(f);
		return rc;
	}
	wake_all(f);
	*ret_f5xc = f;
	return 0;
}

void f5xc_free(struct f5xc *f)
{
	if (!f)
		return;
	ledger_unwatch(f->control->ledger, woken, f);
	http_client_free(f->client);
	for (int i = 0; i < 2; i++) {
		if (f->shards[i].timer)
			event_free(f->shards[i].timer);
		json_decref(f->shards[i].read);
		free(f->shards[i].items);
		free(f->shards[i].before);
	}
	if (f->reconcile)
		event_free(f->reconcile);
	free(f->others);
	free(f->authorization);
	free(f);
}

// --- what it says

static const char *const state_names[] = {
	[F5XC_PENDING] = "pending",
	[F5XC_STORED] = "stored",
	[F5XC_REFERRED] = "referred",
	[F5XC_REFUSED] = "refused",
	[F5XC_NOT_MIRRORED] = "not mirrored",
};

bool f5xc_entry_state(
	const struct f5xc *f, const struct indicator *n, char ret_text[F5XC_WHY_MAX + 32]
)
{
	const struct shard *s = &f->shards[n->family == 6];
	const struct f5xc_item *item = item_find(s->items, s->n, n);
	const char *why;

	if (!item)
		item = item_find(f->others, f->n_others, n);
	if (!item)
		return false;
	why = item->state == F5XC_PENDING && s->error[0] ? s->error : item->why;
	snprintf(
		ret_text,
		F5XC_WHY_MAX + 32,
		"%s%s%s",
		state_names[item->state],
		*why ? ": " : "",
		why
	);
	return true;
}

json_t *f5xc_status(const struct f5xc *f)
{
	size_t counts[5] = {0};
	json_t *status = json_object();

	for (int i = 0; i < 2; i++) {
		const struct shard *s = &f->shards[i];

		for (size_t k = 0; k < s->n; k++)
			counts[s->items[k].state]++;
		if (s->error[0])
			json_object_set_new(
				status, i ? "error_v6" : "error_v4", json_string(s->error)
			);
	}
	for (size_t k = 0; k < f->n_others; k++)
		counts[f->others[k].state]++;
	for (int k = 0; k < 5; k++)
		json_object_set_new(status, state_names[k], json_integer((json_int_t)counts[k]));
	json_object_set_new(status, "last_ok_ms", json_integer(f->last_ok_ms));
	return status;
}
