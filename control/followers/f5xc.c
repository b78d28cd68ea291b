// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/followers/f5xc_internal.h"
#include "control/followers/f5xc_referrers.h"
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
#define FAMILY_WAIT_MAX_S 3600 // between two tries of a family that the tenant refuses

static void shard_step(struct shard *s);

// --- the client

static int authorization_read(const struct conf_f5xc *conf, char **ret_authorization)
{
	char message[256] = "", *token = NULL, *authorization;
	int rc = secret_read(conf->token_file, &token, message);

	if (rc < 0) {
		log_error("F5 XC: %s", message);
		return rc;
	}
	rc = asprintf(&authorization, "APIToken %s", token) < 0 ? -ENOMEM : 0;
	secret_free(token);
	if (rc == 0)
		*ret_authorization = authorization;
	return rc;
}

static int client_make(struct f5xc *f, const char *authorization, struct http_client **ret_client)
{
	const struct conf_f5xc *conf = f->conf;
	const struct http_service service = {
		.name = "f5xc",
		.base_url = conf->url,
		.authorization = authorization,
		.proxy = conf->proxy,
		.tls = {conf->tls.ca_file,
			conf->tls.cert_file,
			conf->tls.key_file,
			conf->tls.key_password_file},
		.timeout_ms = conf->timeout_ms,
		.connect_timeout_ms = conf->connect_timeout_ms,
		.max_per_second = conf->max_per_second,
	};

	return http_client_create(f->control->base, &service, f->control->protect, ret_client);
}

// --- steps

static int64_t clock_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t f5xc_now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

// The next step, not before.
static void shard_later(struct shard *s, int64_t ms)
{
	const struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	s->due = true;
	s->next_ms = clock_ms(CLOCK_REALTIME) + ms;
	event_add(s->timer, &after);
}

bool f5xc_shard_waits(const struct shard *s)
{
	return event_pending(s->timer, EV_TIMEOUT, NULL);
}

// Whatever happened: it is read before anything is written or shown again.
static void shard_failed(struct shard *s, const char *error, long retry_after)
{
	if (strcmp(error, s->error) != 0)
		log_warning("F5 XC: %s: %s", s->name, error);
	snprintf(s->error, sizeof(s->error), "%s", error);
	s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (s->backoff_ms > BACKOFF_MAX_MS)
		s->backoff_ms = BACKOFF_MAX_MS;
	json_decref(s->read);
	s->read = NULL;
	s->missing = false;
	shard_later(
		s, f5xc_wait_ms(s->backoff_ms, retry_after, random() % (s->backoff_ms / 4 + 1))
	);
}

static void answer_failed(struct shard *s, const struct http_answer *a, const char *what)
{
	char error[F5XC_WHY_MAX];

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
	f5xc_text_clean(error);
	s->owner->token_doubted |= a->status == 401 || a->status == 403;
	shard_failed(s, error, a->retry_after);
}

// Never a write from a ledger that was read in part: what is missing would be withdrawn, or an
// allow overlooked.
static int shard_collect(struct shard *s)
{
	char error[F5XC_WHY_MAX];
	int rc = f5xc_collect(s->owner->control->ledger, s->owner->conf, s->family, &s->wanted);

	if (rc < 0) {
		snprintf(
			error,
			sizeof(error),
			"the ledger could not be read, so nothing is written: %s",
			strerror(-rc)
		);
		shard_failed(s, error, -1);
	}
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

// All of the set that may have a place at all.
static void states_set(struct shard *s, enum f5xc_state state, const char *why)
{
	for (size_t i = 0; i < s->wanted.n; i++) {
		struct f5xc_item *item = &s->wanted.items[i];

		if (item->n_pieces == 0)
			continue;
		item->state = state;
		snprintf(item->why, sizeof(item->why), "%s", why);
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
	states_set(s, F5XC_REFUSED, why);
	return false;
}

// A tenant that takes no IPv6 sets may take them one day, and one 400 may have had another reason.
static void family_refused(struct shard *s, const struct http_answer *a)
{
	unsigned wait = s->family_wait_s ? 2 * s->family_wait_s : s->owner->conf->reconcile_s;

	s->family_wait_s = wait > FAMILY_WAIT_MAX_S ? FAMILY_WAIT_MAX_S : wait;
	s->family_refused_ms = f5xc_now_ms() + (int64_t)s->family_wait_s * 1000;
	snprintf(
		s->family_why,
		sizeof(s->family_why),
		"the tenant refuses IPv6 prefixes (%.60s), tried again after %u s",
		a->body_len ? a->body : "400",
		s->family_wait_s
	);
	f5xc_text_clean(s->family_why);
	log_warning("F5 XC: %s: %s", s->name, s->family_why);
	states_set(s, F5XC_NOT_MIRRORED, s->family_why);
}

static void written(void *ctx, const struct http_answer *a)
{
	struct shard *s = ctx;
	bool created = s->missing;

	s->busy = false;
	json_decref(s->read);
	s->read = NULL;
	s->missing = false;
	if (a->status != 200) {
		free(s->sent);
		s->sent = NULL;
	}
	// Only of a create: a tenant that has taken the set takes IPv6, and what is in it must
	// stay. The next comparison is the reconcile's.
	if (a->status == 400 && s->family == 6 && created) {
		family_refused(s, a);
		if (s->due)
			shard_later(s, 0);
		return;
	}
	if (a->status == 200 || a->status == 409) // alike: read it back
		shard_later(s, 0);
	else
		answer_failed(s, a, "writing");
}

static void shard_write(struct shard *s, const struct f5xc_row *rows)
{
	const struct conf_f5xc *conf = s->owner->conf;
	struct list_state state;
	char path[256], *text;
	json_t *body;
	int rc = -ENOMEM;

	ledger_state(s->owner->control->ledger, &state);
	body = f5xc_body(
		s->read,
		s->name,
		conf->xc_namespace,
		conf->fleet_id,
		&state,
		s->family,
		rows,
		s->n_rows
	);
	text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	shard_path(s, !s->missing, path);
	if (text)
		rc = http_client_request(
			s->owner->client,
			s->missing ? "POST" : "PUT",
			path,
			text,
			strlen(text),
			written,
			s
		);
	free(text);
	s->busy = rc == 0;
	s->written_ms = f5xc_now_ms();
	if (rc < 0)
		shard_failed(s, "no memory for the write", -1);
}

static void full_tell(struct shard *s)
{
	bool full = s->wanted.refused_full > 0;

	if (full && !s->full)
		log_warning(
			"F5 XC: %s is full: %zu of %u prefixes, %zu entries refused there",
			s->name,
			s->n_rows - 1,
			s->owner->conf->set_size,
			s->wanted.refused_full
		);
	else if (!full && s->full)
		log_notice("F5 XC: %s has places again", s->name);
	s->full = full;
}

// What was written last stands there, or somebody undoes it: then not at once again.
static bool write_took(struct shard *s, const struct f5xc_object *o)
{
	bool took = !s->sent || f5xc_object_equal(o, s->sent, s->n_sent);

	free(s->sent);
	s->sent = NULL;
	if (!took)
		shard_failed(s, "it was written, and is not what is read back", -1);
	return took;
}

// The rows are computed, the object is known, or known to be missing. May it be written now?
static bool write_due(struct shard *s, const struct f5xc_object *o, const struct f5xc_row *rows)
{
	int64_t now = f5xc_now_ms();
	int64_t wait = s->written_ms + s->owner->conf->min_interval_ms - now;

	if (s->missing) {
		if (s->n_rows == 1)
			return false; // nothing to mirror: no set is made
		if (now < s->family_refused_ms) {
			states_set(s, F5XC_NOT_MIRRORED, s->family_why);
			return false;
		}
	} else {
		s->family_refused_ms = s->family_wait_s = 0;
		if (!may_write(s, o) || !write_took(s, o))
			return false;
		if (f5xc_object_equal(o, rows, s->n_rows)) {
			s->error[0] = '\0';
			s->backoff_ms = 0;
			s->owner->last_ok_ms = clock_ms(CLOCK_REALTIME);
			f5xc_referrers_step(s);
			return false;
		}
	}
	if (s->written_ms && wait > 0) {
		shard_later(s, wait);
		return false;
	}
	if (o->disabled)
		log_warning("F5 XC: %s: somebody disabled it: enabled again", s->name);
	return true;
}

// The answer is in: say what is stored, write where it differs.
static void shard_compare(struct shard *s)
{
	struct f5xc_object o = {0};
	struct f5xc_row *rows = calloc(s->owner->conf->set_size + 1, sizeof(*rows));
	int rc = rows ? 0 : -ENOMEM;

	if (rc == 0 && !s->missing)
		rc = f5xc_object_read(s->read, s->family, &o);
	if (rc == 0 && !s->missing) {
		f5xc_referrers_note(s->read, &s->referrers);
		o.referred = f5xc_referrers_tell(&s->referrers, o.referrer);
	}
	if (rc == 0)
		rc = f5xc_place(
			&s->wanted,
			s->family,
			s->missing ? NULL : &o,
			s->owner->conf->set_size,
			rows,
			&s->n_rows
		);
	if (rc < 0) {
		shard_failed(
			s, rc == -EBADMSG ? "the answer is no ip_prefix_set" : "no memory", -1
		);
	} else {
		s->disabled = o.disabled;
		free(s->held);
		s->held = o.prefixes;
		s->n_held = o.n_prefixes;
		full_tell(s);
		if (write_due(s, &o, rows)) {
			s->n_sent = s->n_rows;
			shard_write(s, rows);
			free(s->sent);
			s->sent = s->busy ? rows : NULL;
			rows = s->busy ? NULL : rows;
		}
		o.prefixes = NULL;
	}
	f5xc_object_fini(&o);
	free(rows);
}

void f5xc_shard_again(struct shard *s)
{
	s->busy = false;
	if (s->due)
		shard_later(s, 0);
	else
		shard_compare(s);
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
		answer_failed(s, a, a->status == 200 ? "reading: no JSON" : "reading");
		return;
	}
	// What moved while the answer was under way: an allow must not be written over.
	if (s->due) {
		s->due = false;
		if (shard_collect(s) < 0)
			return;
	}
	shard_compare(s);
}

// The file may hold a newer token than the one that was refused. Not inside a callback of the
// client, which it replaces.
static void token_refresh(struct f5xc *f)
{
	char *was = f->authorization, *fresh = NULL;
	struct http_client *client = NULL;

	f->token_doubted = false;
	if (!f->conf->token_file || authorization_read(f->conf, &fresh) < 0)
		return;
	if (strcmp(fresh, was) == 0 || client_make(f, fresh, &client) < 0) {
		secret_free(fresh);
		return;
	}
	log_notice("F5 XC: %s holds another token, used from now on", f->conf->token_file);
	if (f->control->metrics) {
		metrics_client_forget(f->control->metrics, f->client);
		metrics_client(f->control->metrics, "f5xc", client);
	}
	http_client_free(f->client);
	f->client = client;
	f->authorization = fresh;
	secret_free(was);
	for (int i = 0; i < 2; i++) {
		if (f->shards[i].busy) { // its answer went with the old client
			f->shards[i].busy = false;
			shard_later(&f->shards[i], 0);
		}
	}
}

static void shard_step(struct shard *s)
{
	char path[256];

	if (s->busy || !s->due)
		return;
	s->due = false;
	s->next_ms = 0;
	if (s->owner->token_doubted)
		token_refresh(s->owner);
	shard_path(s, true, path);
	if (shard_collect(s) < 0)
		return;
	if (http_client_request(s->owner->client, "GET", path, NULL, 0, answered, s) == 0)
		s->busy = true;
	else
		shard_failed(s, "too many requests wait", -1);
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

		// A step that waits for its back-off or its interval goes on waiting.
		if (!s->busy && !f5xc_shard_waits(s))
			shard_later(s, 0);
		s->due = true;
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

// --- start, reload and end

static int shard_init(struct f5xc *f, int i)
{
	struct shard *s = &f->shards[i];

	s->owner = f;
	s->family = i ? 6 : 4;
	snprintf(s->name, sizeof(s->name), "%.60s-v%d-000", f->conf->prefix, s->family);
	s->n_rows = 1;
	s->timer = event_new(f->control->base, -1, 0, timed, s);
	return s->timer ? 0 : -ENOMEM;
}

int f5xc_create(struct control *control, struct f5xc **ret_f5xc)
{
	const struct timeval every = {.tv_sec = control->conf->f5xc->reconcile_s};
	struct f5xc *f = calloc(1, sizeof(*f));
	int rc = 0;

	if (!f)
		return -ENOMEM;
	f->control = control;
	f->conf = control->conf->f5xc;
	if (f->conf->token_file)
		rc = authorization_read(f->conf, &f->authorization);
	if (rc == 0)
		rc = client_make(f, f->authorization, &f->client);
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
	if (same_sets(was->conf, now->conf)) { // what is known of them, and when they were written
		now->last_ok_ms = was->last_ok_ms;
		for (int i = 0; i < 2; i++) {
			struct shard *from = &was->shards[i], *to = &now->shards[i];

			to->wanted = from->wanted;
			from->wanted = (struct f5xc_wanted){0};
			to->held = from->held;
			to->n_held = from->n_held;
			from->held = NULL;
			to->n_rows = from->n_rows;
			to->referrers = from->referrers;
			to->written_ms = from->written_ms;
			to->full = from->full;
		}
	} else {
		log_warning(
			"F5 XC: the sets %s and %s in namespace %s of %s stay there as they are, "
			"with what they block: delete them where they are not wanted",
			was->shards[0].name,
			was->shards[1].name,
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
	if (f->control->metrics)
		metrics_client_forget(f->control->metrics, f->client);
	http_client_free(f->client);
	for (int i = 0; i < 2; i++) {
		if (f->shards[i].timer)
			event_free(f->shards[i].timer);
		json_decref(f->shards[i].read);
		f5xc_wanted_fini(&f->shards[i].wanted);
		free(f->shards[i].sent);
		free(f->shards[i].held);
	}
	if (f->reconcile)
		event_free(f->reconcile);
	secret_free(f->authorization);
	free(f);
}
