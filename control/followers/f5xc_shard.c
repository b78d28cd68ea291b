// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One set at F5: read, compared, written, read back. What is refused is found by halves.

#include "control/followers/f5xc_internal.h"
#include "rules/siphash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAMILY_WAIT_MAX_S 3600 // between two tries of a family that the tenant refuses

void f5xc_shard_init(struct f5xc *f, int family, int index)
{
	struct shard *s = &f->shards[family == 6][index];

	s->owner = f;
	s->family = family;
	s->index = index;
	s->slot = &f->wanted.slots[family == 6][index];
	s->slot->unread = true;
	snprintf(s->name, sizeof(s->name), "%.60s-v%d-%03d", f->conf->prefix, family, index);
}

static void extras_drop(struct shard *s)
{
	for (size_t i = 0; i < s->n_extras; i++) {
		union {
			const char *in;
			void *out;
		} text = {.in = s->extras[i].description};

		free(text.out);
	}
	free(s->extras);
	s->extras = NULL;
	s->n_extras = 0;
}

void f5xc_shard_fini(struct shard *s)
{
	json_decref(s->metadata);
	free(s->held);
	extras_drop(s);
}

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

// Whatever happened: it is read before it is written or shown again.
void f5xc_shard_failed(struct shard *s, const char *error)
{
	if (strcmp(error, s->error) != 0)
		log_warning("F5 XC: %s: %s", s->name, error);
	snprintf(s->error, sizeof(s->error), "%s", error);
	s->not_before_ms = f5xc_now_ms() + f5xc_backoff(&s->backoff_ms);
	s->read_due = true;
	s->verify = false;
}

static void shard_answer_failed(struct shard *s, const struct http_answer *a, const char *what)
{
	char error[F5XC_WHY_MAX];

	f5xc_answer_tell(s->owner, a, what, error);
	f5xc_shard_failed(s, error);
}

bool f5xc_shard_writable(const struct shard *s)
{
	if (!s->known || s->foreign || s->higher || s->gone)
		return false;
	return s->family == 4 || !s->missing || f5xc_now_ms() >= s->owner->family_refused_ms;
}

static void shard_judge(struct shard *);

// --- reading

static uint32_t text_hash(const char *text)
{
	static const uint8_t key[16] = "stanch describes";

	return (uint32_t)siphash64(key, text, strlen(text));
}

static int held_keep(struct shard *s, const struct f5xc_object *o)
{
	struct held_row *held = calloc(o->n + 1, sizeof(*held));

	if (!held)
		return -ENOMEM;
	for (size_t i = 0; i < o->n; i++)
		held[i] = (struct held_row){o->rows[i].prefix, text_hash(o->rows[i].description)};
	free(s->held);
	s->held = held;
	s->n_held = o->n;
	return 0;
}

static bool was_held(const struct shard *s, const struct f5xc_prefix *prefix)
{
	return s->n_held > 0
		&& bsearch(prefix, s->held, s->n_held, sizeof(*s->held), f5xc_prefix_compare);
}

static bool object_has(const struct f5xc_object *o, const struct f5xc_prefix *prefix)
{
	return o->n > 0 && bsearch(prefix, o->rows, o->n, sizeof(*o->rows), f5xc_prefix_compare);
}

// f5xc.drift is show: what somebody added stays, what somebody took out stays out.
static void drift_keep(struct shard *s, const struct f5xc_object *o, bool known_before)
{
	struct f5xc_place *place;

	extras_drop(s);
	s->extras = calloc(o->n + 1, sizeof(*s->extras));
	for (size_t i = 0; s->extras && i < o->n; i++) {
		const struct f5xc_prefix *prefix = &o->rows[i].prefix;

		place = f5xc_place_find(&s->owner->wanted, (uint8_t)s->family, prefix);
		if ((place && place->slot == s->index) || f5xc_is_keep(s->family, prefix)
		    || (known_before && was_held(s, prefix)))
			continue;
		s->extras[s->n_extras++]
			= (struct f5xc_row){*prefix, strdup(o->rows[i].description)};
	}
	TAILQ_FOREACH(place, &s->slot->places, in_slot)
	place->drifted |= place->held && !object_has(o, &place->at.prefix);
}

// Counted from what was there; for people.
static void drift_find(struct shard *s, const struct f5xc_object *o, bool known_before)
{
	char content[F5XC_CONTENT_MAX], what[F5XC_WHY_MAX];
	size_t more = 0, less = 0;
	bool moved;

	f5xc_content(o->rows, o->n, content);
	moved = *o->content && (strcmp(content, o->content) != 0 || o->n != o->n_rows);
	if (!moved && !o->disabled) {
		s->drift[0] = '\0';
		if (s->n_extras > 0)
			extras_drop(s);
		return;
	}
	for (size_t i = 0; known_before && i < o->n; i++)
		more += !was_held(s, &o->rows[i].prefix);
	for (size_t i = 0; known_before && i < s->n_held; i++)
		less += !object_has(o, &s->held[i].prefix);
	if (!moved)
		snprintf(what, sizeof(what), "somebody disabled it");
	else if (known_before)
		snprintf(
			what,
			sizeof(what),
			"somebody added %zu prefixes and took out %zu",
			more,
			less
		);
	else
		snprintf(what, sizeof(what), "it is not what was written last");
	f5xc_drift_note(s->owner, s->name, what, s->drift);
	if (s->owner->conf->drift == CONF_DRIFT_SHOW && moved)
		drift_keep(s, o, known_before);
}

// So that a set which somebody deletes is missed after a restart too.
static void made_keep(struct shard *s, bool made)
{
	char key[96];
	json_t *value = made ? json_true() : NULL;

	if (s->kept == made)
		return;
	snprintf(key, sizeof(key), "set/%s", s->name);
	if (ledger_note_set(s->owner->control->ledger, "f5xc", key, value) == 0)
		s->kept = made;
}

static void foreign_note(struct shard *s, const struct f5xc_object *o)
{
	bool foreign = strcmp(o->owner, s->owner->conf->fleet_id) != 0 && !s->adopt;

	if (foreign && !s->foreign) {
		log_error(
			"F5 XC: %s: the object does not bear our owner label: not touched; stanch "
			"f5 adopt %s takes it over",
			s->name,
			s->name
		);
		if (s->slot->made)
			f5xc_drift_note(s->owner, s->name, "our label was taken off", s->drift);
		f5xc_seat_clear(&s->owner->wanted, s->family, s->index);
	}
	s->foreign = s->slot->closed = foreign;
	if (foreign)
		s->slot->made = false;
}

static void higher_note(struct shard *s, const struct f5xc_object *o)
{
	struct list_state state;
	bool higher;

	f5xc_state(s->owner, &state);
	higher = !s->foreign && !s->adopt && o->revision.epoch > state.revision.epoch;
	if (higher && !s->higher)
		log_error(
			"F5 XC: %s is of epoch %llu, higher than ours: another gateway leads, "
			"nothing is written",
			s->name,
			(unsigned long long)o->revision.epoch
		);
	s->higher = higher;
}

// What was written last stands there, or somebody undoes it: then not at once again.
static bool write_took(struct shard *s, const struct f5xc_object *o)
{
	char content[F5XC_CONTENT_MAX];
	bool took = true;

	f5xc_content(o->rows, o->n, content);
	if (*s->sent) {
		took = strcmp(s->sent, content) == 0;
		s->annotations_lost = took && strcmp(o->content, s->sent) != 0;
	}
	s->sent[0] = '\0';
	if (!took)
		f5xc_shard_failed(s, "it was written, and is not what is read back");
	return took;
}

static int object_note(struct shard *s, const struct f5xc_object *o, json_t *metadata)
{
	bool known_before = s->known && !s->missing, verified = *s->sent;
	int rc;

	foreign_note(s, o);
	higher_note(s, o);
	if (!s->foreign) {
		s->slot->made = true;
		made_keep(s, true);
		if (!verified && !s->adopt)
			drift_find(s, o, known_before);
		f5xc_seat_found(&s->owner->wanted, s->family, s->index, o->rows, o->n);
	}
	rc = held_keep(s, o);
	json_decref(s->metadata);
	s->metadata = json_incref(metadata);
	s->disabled = o->disabled;
	s->content_missing = !*o->content;
	snprintf(s->version, sizeof(s->version), "%.23s", o->version);
	s->known = true;
	s->slot->unread = s->missing = s->gone = false;
	return rc;
}

void f5xc_shard_missing(struct shard *s)
{
	struct f5xc *f = s->owner;
	bool stood = (s->slot->made || s->kept) && !s->leaving;

	if (stood) {
		f5xc_drift_note(f, s->name, "somebody deleted it", s->drift);
		s->gone = f->conf->deleted == CONF_DELETED_REPORT;
	}
	json_decref(s->metadata);
	s->metadata = NULL;
	s->version[0] = s->sent[0] = '\0';
	s->n_held = 0;
	s->known = s->missing = true;
	s->slot->unread = false;
	s->foreign = s->higher = s->disabled = s->leaving = false;
	s->slot->made = s->slot->closed = false;
	if (!s->gone)
		made_keep(s, false);
	f5xc_seat_found(&f->wanted, s->family, s->index, NULL, 0);
	if (s->slot->n > 0 || (stood && s->index == 0))
		f5xc_slot_dirty(s->slot, true);
}

// Nothing differs: what a failure left is over.
static void shard_equal(struct shard *s)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	s->error[0] = '\0';
	s->backoff_ms = 0;
	s->not_before_ms = 0;
	s->try_new = 0;
	s->owner->last_ok_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void shard_was_read(struct f5xc *f, const struct http_answer *a)
{
	struct shard *s = f->asked;
	json_t *object = a->status == 200 ? f5xc_answer_json(a) : NULL;
	struct f5xc_object o = {0};
	int rc;

	if (a->status == 404) {
		s->read_due = s->verify = false;
		s->read_ms = f5xc_now_ms();
		f5xc_shard_missing(s);
		return;
	}
	rc = object ? f5xc_object_read(object, s->family, &o) : -EBADMSG;
	if (a->status != 200)
		shard_answer_failed(s, a, "reading");
	else if (rc < 0)
		f5xc_shard_failed(s, "reading: the answer is no ip_prefix_set");
	if (rc < 0) {
		json_decref(object);
		return;
	}
	s->read_due = s->verify = false;
	s->read_ms = f5xc_now_ms();
	s->named_referrers = f5xc_referrers_note(object, &s->referrers);
	s->owner->refer_ms = 0;
	rc = object_note(s, &o, json_object_get(object, "metadata"));
	if (rc == 0 && write_took(s, &o))
		shard_judge(s);
	f5xc_object_fini(&o);
	json_decref(object);
}

void f5xc_shard_read(struct shard *s)
{
	char path[256];

	shard_path(s, true, path);
	s->owner->asked = s;
	f5xc_ask(s->owner, "GET", path, NULL, shard_was_read);
}

// --- refusals

// A tenant that takes no IPv6 sets may take them one day, and one 400 may have had another reason.
static void family_refused(struct f5xc *f, const struct http_answer *a)
{
	unsigned wait = f->family_wait_s ? 2 * f->family_wait_s : f->conf->reconcile_s;

	f->family_wait_s = wait > FAMILY_WAIT_MAX_S ? FAMILY_WAIT_MAX_S : wait;
	f->family_refused_ms = f5xc_now_ms() + (int64_t)f->family_wait_s * 1000;
	snprintf(
		f->family_why,
		sizeof(f->family_why),
		"tenant refuses IPv6 (%.60s), tried again after %u s",
		a->body_len ? a->body : "400",
		f->family_wait_s
	);
	f5xc_text_clean(f->family_why);
	log_warning("F5 XC: %s", f->family_why);
	f->wanted.moves++;
}

// 400: one of the new rows is not to F5's taste, or the whole of the object.
static void rows_refused(struct shard *s, const struct http_answer *a)
{
	struct f5xc *f = s->owner;
	struct f5xc_place *first = NULL;
	char why[F5XC_WHY_MAX];
	size_t n = f5xc_seat_new(&f->wanted, s->family, s->index, &first);

	f5xc_answer_tell(f, a, "writing", why);
	if (n == 0 || s->sent_new == 0) {
		f5xc_shard_failed(s, why);
		return;
	}
	if (s->sent_new > 1) {
		s->try_new = s->sent_new / 2;
		f5xc_slot_dirty(s->slot, true);
		return;
	}
	if (memcmp(&first->at, &s->sent_first, sizeof(first->at)) != 0) {
		f5xc_slot_dirty(s->slot, true); // it was withdrawn meanwhile
		return;
	}
	log_warning("F5 XC: %s: an entry of %s is refused: %s", s->name, first->description, why);
	if (f5xc_seat_refuse(&f->wanted, first, why, f->conf->reconcile_s) < 0)
		f5xc_shard_failed(s, why);
	s->try_new = 0; // the others together
	f5xc_slot_dirty(s->slot, true);
}

// --- writing

static void shard_was_written(struct f5xc *f, const struct http_answer *a)
{
	struct shard *s = f->asked;
	bool created = s->missing;

	s->verify = false;
	if (a->status == 200) {
		s->verify = s->slot->made = true;
		s->missing = false;
		if (s->family == 6)
			f->family_refused_ms = f->family_wait_s = 0;
		return;
	}
	s->sent[0] = '\0';
	f5xc_slot_dirty(s->slot, s->sent_new > 0);
	if (a->status == 400 && s->family == 6 && created)
		family_refused(f, a);
	else if (a->status == 400)
		rows_refused(s, a);
	else if (a->status == 409 || (a->status == 404 && !created))
		s->read_due = true; // somebody was there first
	else
		shard_answer_failed(s, a, "writing");
}

// The rows that it should hold. `ret_new`: how many of them it does not.
static struct f5xc_row *rows_make(struct shard *s, size_t *ret_n, size_t *ret_new)
{
	struct f5xc_wanted *w = &s->owner->wanted;
	size_t max_new = s->try_new ? s->try_new : SIZE_MAX, n, n_new = 0;
	struct f5xc_row *rows = calloc(s->slot->n + s->n_extras + 2, sizeof(*rows));
	struct f5xc_place *first;

	if (!rows)
		return NULL;
	n = f5xc_seat_rows(w, s->family, s->index, max_new, rows);
	for (size_t i = 0; i < s->n_extras && n <= F5XC_SET_MAX; i++) {
		if (!bsearch(&s->extras[i], rows, n, sizeof(*rows), f5xc_prefix_compare)) {
			rows[n++] = s->extras[i];
			qsort(rows, n, sizeof(*rows), f5xc_prefix_compare);
		}
	}
	n_new = f5xc_seat_new(w, s->family, s->index, &first);
	if (n_new > 0)
		s->sent_first = first->at;
	*ret_new = n_new < max_new ? n_new : max_new;
	*ret_n = n;
	return rows;
}

static bool rows_differ(struct shard *s, const struct f5xc_row *rows, size_t n)
{
	bool described = true;

	if (s->missing)
		return n > 1 || !TAILQ_EMPTY(&s->slot->places);
	if (n != s->n_held || s->disabled || s->adopt
	    || (s->content_missing && !s->annotations_lost))
		return true;
	for (size_t i = 0; i < n; i++) {
		if (f5xc_prefix_compare(&rows[i], &s->held[i]) != 0)
			return true;
		described &= text_hash(rows[i].description) == s->held[i].description;
	}
	if (described)
		s->descriptions_lost = false;
	return !described && !s->descriptions_lost;
}

static bool drift_only_shown(const struct shard *s)
{
	return s->owner->conf->drift == CONF_DRIFT_SHOW && s->disabled;
}

// Of what was just read: equal, or to be written.
static void shard_judge(struct shard *s)
{
	size_t n, n_new;
	struct f5xc_row *rows;

	if (!f5xc_shard_writable(s))
		return;
	rows = rows_make(s, &n, &n_new);
	if (rows && !s->owner->wanted.walking && !s->owner->exceptions_due
	    && (!rows_differ(s, rows, n) || drift_only_shown(s))) {
		s->slot->dirty = s->slot->adds = false;
		shard_equal(s);
	} else {
		f5xc_slot_dirty(s->slot, n_new > 0);
	}
	free(rows);
}

static int shard_send(struct shard *s, const struct f5xc_row *rows, size_t n)
{
	char path[256];
	struct f5xc_own own;

	f5xc_own_state(s->owner, &own);
	f5xc_content(rows, n, s->sent);
	own.name = s->name;
	own.content = s->sent;
	shard_path(s, !s->missing, path);
	s->owner->asked = s;
	return f5xc_ask(
		s->owner,
		s->missing ? "POST" : "PUT",
		path,
		f5xc_body(
			f5xc_metadata(s->missing ? NULL : s->metadata, &own),
			s->missing ? "" : s->version,
			s->family,
			rows,
			n
		),
		shard_was_written
	);
}

bool f5xc_shard_write(struct shard *s)
{
	size_t n = 0;
	struct f5xc_row *rows = rows_make(s, &n, &s->sent_new);
	int rc;

	if (!rows) {
		f5xc_shard_failed(s, "no memory");
		return false;
	}
	if (!rows_differ(s, rows, n) || drift_only_shown(s)) {
		s->slot->dirty = s->slot->adds = false;
		shard_equal(s);
		free(rows);
		return false;
	}
	// Without a version nothing tells a change of somebody else's: read right before.
	if (!s->missing && !*s->version && f5xc_now_ms() - s->read_ms > 2000) {
		free(rows);
		f5xc_shard_read(s);
		return true;
	}
	// What differs only in descriptions is tried once.
	s->descriptions_lost = true;
	s->slot->dirty = s->slot->adds = s->adopt = false;
	s->written_ms = f5xc_now_ms();
	rc = shard_send(s, rows, n);
	free(rows);
	if (rc < 0) {
		f5xc_slot_dirty(s->slot, true);
		f5xc_shard_failed(s, "no memory for the write");
	}
	return rc == 0;
}

// --- the end of a set

static void shard_was_deleted(struct f5xc *f, const struct http_answer *a)
{
	struct shard *s = f->asked;

	s->empty_ms = f5xc_now_ms(); // not again soon
	if (a->status == 200 || a->status == 404) {
		log_notice("F5 XC: %s: nobody needs it any more: deleted", s->name);
		f5xc_shard_missing(s);
		return;
	}
	s->leaving = s->slot->closed = false;
	s->read_due = true; // an unknown outcome, or something refers to it
}

void f5xc_shard_delete(struct shard *s)
{
	char path[256];

	shard_path(s, true, path);
	s->owner->asked = s;
	f5xc_ask(
		s->owner,
		"DELETE",
		path,
		json_pack(
			"{s:s, s:s, s:b}",
			"name",
			s->name,
			"namespace",
			s->owner->conf->xc_namespace,
			"fail_if_referred",
			1
		),
		shard_was_deleted
	);
}
