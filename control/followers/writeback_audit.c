// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The audit, record by record: which cases it touches, and what only it knows of them. Why a claim
// ended, and what was refused by hand, is put into the case's row in the transaction that moves the
// cursor: it is told also after a restart, and once.

#include "control/followers/writeback_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DRAIN_RECORDS 200 // in a turn of the loop
#define CAUSES_MAX 1000 // of a case
#define REFUSALS_MAX 20 // clicks that wait to be told; those beyond are counted

static const char OPERATOR[] = "operator";

struct drain {
	struct writeback *w;
	struct wb_batch *batch;
	int64_t seq, when_ms; // of the record
	size_t n;
	bool failed;
};

// Its row need not be read: a large case is touched by many records.
static struct wb_case *
case_touch(struct drain *d, struct wb_hive *h, const char *ref, int64_t when_ms)
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
	if (c->seq == 0) {
		c->seq = d->seq;
		c->asked_ms = when_ms;
	}
	ledger_state(d->w->ledger, &state);
	c->revision = state.revision;
	return c;
}

// --- whose a claim is

// "<case>/<observable>": the case, the observable. False: it is none, or too long.
static bool ref_split(const char *ref, char of[WB_REF_MAX], const char **ret_observable)
{
	const char *slash = strrchr(ref, '/');

	if (!slash || (size_t)(slash - ref) >= WB_REF_MAX)
		return false;
	memcpy(of, ref, (size_t)(slash - ref));
	of[slash - ref] = '\0';
	*ret_observable = slash + 1;
	return true;
}

// "case/<instance>/<case>/<observable>", see thehive_ask.h.
static struct wb_hive *
hand_of(struct writeback *w, const char *ref, char of[WB_REF_MAX], const char **ret_observable)
{
	char whole[WB_REF_MAX], name[WB_REF_MAX];
	const char *id;

	if (strncmp(ref, "case/", 5) != 0 || !ref_split(ref + 5, whole, ret_observable)
	    || !ref_split(whole, name, &id))
		return NULL;
	for (size_t i = 0; i < w->n; i++) {
		struct wb_hive *h = &w->hives[i];
		char own[48];

		snprintf(own, sizeof(own), "%.40s", h->conf->name);
		if (!wb_active(h) || strcmp(own, name) != 0)
			continue;
		snprintf(of, WB_REF_MAX, "%s/%.*s", h->organisation, HIVE_ID_MAX, id);
		return h;
	}
	return NULL;
}

struct wb_hive *wb_claim_of(
	struct writeback *w,
	const char *source,
	const char *ref,
	char of[WB_REF_MAX],
	const char **ret_observable
)
{
	struct wb_hive *h;

	if (strcmp(source, OPERATOR) == 0)
		return hand_of(w, ref, of, ret_observable);
	h = wb_hive_of(w, source, strlen(source));
	return h && ref_split(ref, of, ret_observable) ? h : NULL;
}

// What a record speaks of.
struct about {
	struct wb_hive *hive; // NULL: no case of ours
	bool by_hand;
	char ref[WB_REF_MAX];
	char key[64 + INDICATOR_TEXT_MAX]; // "<observable> <indicator>"
};

// "indicator source reference".
static bool object_read(struct writeback *w, const char *object, struct about *ret_about)
{
	const char *source = strchr(object, ' '), *observable = NULL;
	struct wb_hive *h = NULL;

	if (!source)
		return false;
	source++;
	*ret_about = (struct about){0};
	if (strncmp(source, OPERATOR, strlen(OPERATOR)) == 0 && source[strlen(OPERATOR)] == ' ') {
		ret_about->by_hand = true;
		h = hand_of(w, source + sizeof(OPERATOR), ret_about->ref, &observable);
	}
	for (size_t i = 0; !ret_about->by_hand && i < w->n && !h; i++) {
		size_t len = strlen(w->hives[i].source);

		if (wb_active(&w->hives[i]) && strncmp(source, w->hives[i].source, len) == 0
		    && source[len] == ' '
		    && ref_split(source + len + 1, ret_about->ref, &observable))
			h = &w->hives[i];
	}
	ret_about->hive = h;
	if (!h)
		return false;
	snprintf(
		ret_about->key,
		sizeof(ret_about->key),
		"%.60s %.*s",
		observable,
		(int)strcspn(object, " "),
		object
	);
	return true;
}

// --- records

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
	case_touch(d, h, ref, d->when_ms);
	state = wb_batch_state(d->batch, h, ref);
	snprintf(observable, sizeof(observable), "%.*s", (int)strcspn(key, " "), key);
	json_object_del(wb_member(old, "live"), key);
	json_object_del(wb_member(old, "tags"), observable);
	if (!state || json_object_get(state, "attempts"))
		return;
	json_object_set(state, "attempts", json_object_get(old, "attempts"));
	json_object_del(old, "attempts");
}

// What a person did says who; where the cause names one already, a responder's token adds nothing.
static json_t *cause_text(const json_t *cause, const char *actor)
{
	const char *text = json_string_value(cause);
	bool person = (strncmp(actor, "uid ", 4) == 0 || strncmp(actor, "token ", 6) == 0)
		&& !strstr(actor, " for ");

	return person ? json_sprintf("%s (%s)", text, actor) : json_string(text);
}

// Of a case that is told as one, no part is told.
static void cause_keep(
	struct drain *d,
	const struct about *about,
	const char *member,
	const char *actor,
	const json_t *detail
)
{
	const json_t *cause = json_object_get(detail, "cause");
	json_t *state, *causes;

	if (!cause)
		cause = json_object_get(detail, "note"); // of what a brake holds
	if (!json_is_string(cause))
		return;
	state = wb_batch_state(d->batch, about->hive, about->ref);
	if (!state) {
		d->failed = true;
		return;
	}
	if (json_object_get(state, "large"))
		return;
	causes = wb_member(wb_member(state, "causes"), member);
	if (json_object_size(causes) < CAUSES_MAX)
		json_object_set_new(causes, about->key, cause_text(cause, actor));
}

static void claim_record(struct drain *d, const struct audit_record *record)
{
	bool ends = strcmp(record->action, "claim.end") == 0
		|| strcmp(record->action, "claim.expire") == 0;
	bool moves = strcmp(record->action, "claim.move") == 0;
	bool holds = strcmp(record->action, "claim.hold") == 0
		|| strcmp(record->action, "claim.reject") == 0;
	const char *member;
	struct about about;
	json_t *state, *detail;

	if (!object_read(d->w, record->object, &about)
	    || !case_touch(d, about.hive, about.ref, record->when_ms))
		return;
	member = about.by_hand ? "hand" : "live";
	// It was in force before anything was written to this case: its end is told all the same.
	if (ends && wb_batch_new(d->batch, about.hive, about.ref)) {
		state = wb_batch_state(d->batch, about.hive, about.ref);
		json_object_set_new(wb_member(state, member), about.key, json_object());
	}
	if (!ends && !moves && !holds)
		return;
	detail = json_loads(record->detail, 0, NULL);
	cause_keep(d, &about, member, record->actor, detail);
	state = moves ? wb_batch_state(d->batch, about.hive, about.ref) : NULL;
	if (state)
		claim_moved(d, about.hive, state, about.key, wb_text(detail, "to"));
	json_decref(detail);
}

static void immunity_record(struct drain *d, const struct audit_record *record)
{
	struct about about;
	json_t *detail;

	if (!object_read(d->w, record->object, &about)
	    || !case_touch(d, about.hive, about.ref, record->when_ms))
		return;
	detail = json_loads(record->detail, 0, NULL);
	cause_keep(d, &about, "immune", record->actor, detail);
	json_decref(detail);
}

// Somebody's block by hand, or parts of it: it left no claim, so the row has it until it is told.
static void hand_refused(struct drain *d, const struct audit_record *record)
{
	struct about about;
	json_t *state, *list, *detail;

	if (!object_read(d->w, record->object, &about)
	    || !case_touch(d, about.hive, about.ref, record->when_ms))
		return;
	state = wb_batch_state(d->batch, about.hive, about.ref);
	detail = json_loads(record->detail, 0, NULL);
	if (!state || !detail) {
		d->failed |= !state;
		json_decref(detail);
		return;
	}
	list = json_object_get(state, "refusals");
	if (!list) {
		list = json_array();
		json_object_set_new(state, "refusals", list);
	}
	if (json_array_size(list) < REFUSALS_MAX) {
		json_array_append_new(list, detail);
		return;
	}
	json_decref(detail);
	detail = json_array_get(list, REFUSALS_MAX - 1);
	wb_number_set(detail, "more", wb_number(detail, "more") + 1);
}

static bool claim_touch(void *ctx, const struct claim *claim)
{
	struct drain *d = ctx;
	char ref[WB_REF_MAX];
	const char *observable;
	struct wb_hive *h = wb_claim_of(d->w, claim->source, claim->ref, ref, &observable);

	if (h)
		case_touch(d, h, ref, d->when_ms);
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
		case_touch(d, h, ref, d->when_ms);
	json_decref(detail);
}

static bool record_take(void *ctx, const struct audit_record *record)
{
	struct drain *d = ctx;

	d->seq = record->seq;
	d->when_ms = record->when_ms;
	d->n++;
	if (strncmp(record->action, "claim.", 6) == 0)
		claim_record(d, record);
	else if (strncmp(record->action, "immunity.", 9) == 0)
		immunity_record(d, record);
	else if (strcmp(record->action, "block.refuse") == 0)
		hand_refused(d, record);
	else if (strcmp(record->action, "case.refuse") == 0)
		refusal_record(d, record);
	else if (strcmp(record->action, "allow") == 0 || strncmp(record->action, "allow.", 6) == 0)
		allow_record(d, record);
	return !d->failed;
}

// Cursor and rows are one transaction: a crash loses neither. The cursor is the ledger's own: where
// the last transaction did not hold, what it had taken is taken again.
bool wb_drain(struct writeback *w)
{
	struct drain d = {.w = w};
	struct revision at;
	int r = ledger_cursor_get(w->ledger, WB_CURSOR, &at);

	d.batch = r == 0 ? wb_batch_begin(w) : NULL;
	if (!d.batch)
		return false;
	d.seq = (int64_t)at.number;
	r = ledger_audit_after(w->ledger, d.seq, DRAIN_RECORDS, record_take, &d);
	if (d.failed)
		r = -ENOMEM;
	if (wb_batch_end(d.batch, 0) < 0 || r < 0) {
		if (!w->drain_failed)
			log_warning("write-back: the ledger cannot be read or written: it waits");
		w->drain_failed = true;
		event_add(w->drain, &(const struct timeval){.tv_sec = 1});
		return false;
	}
	w->drain_failed = false;
	if (d.n == 0)
		return true;
	ledger_cursor_set(w->ledger, WB_CURSOR, (struct revision){1, (uint64_t)d.seq});
	if (d.n < DRAIN_RECORDS) {
		ledger_fleet_cursor(w->ledger, WB_CURSOR);
		return true;
	}
	event_active(w->drain, EV_TIMEOUT, 0);
	return false;
}
