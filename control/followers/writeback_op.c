// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What every step needs: requests, the row, answers that are not good, the version.

#include "control/followers/writeback_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MAX_MS 300000
#define DENIED_MS 600000 // before what was refused for want of a permission is tried again
#define TEXT_TRIES 3 // of one that TheHive does not take

// --- small

bool wb_four(const struct wb_hive *h)
{
	return h->version.major == 4;
}

const char *wb_case_id(const struct wb_hive *h)
{
	const char *slash = strrchr(h->op.of->ref, '/');

	return slash ? slash + 1 : h->op.of->ref;
}

const char *wb_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

int64_t wb_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

void wb_number_set(json_t *object, const char *key, int64_t value)
{
	json_object_set_new(object, key, json_integer(value));
}

const char *wb_permission_name(const struct wb_hive *h, enum wb_permission permission)
{
	if (permission == WB_OBSERVABLE)
		return "manageObservable";
	return wb_four(h) ? "manageTask" : "manageComment";
}

bool wb_denied(const struct wb_hive *h, enum wb_permission permission)
{
	return wb_clock_ms() < h->denied_ms[permission];
}

void wb_op_fini(struct wb_op *op)
{
	json_decref(op->state);
	json_decref(op->ids);
	wb_seen_fini(&op->seen);
	*op = (struct wb_op){0};
}

void wb_op_end(struct wb_hive *h)
{
	wb_op_fini(&h->op);
	wb_pump_soon(h, 0);
}

void wb_well(struct wb_hive *h)
{
	h->backoff_ms = 0;
	h->trouble[0] = '\0';
	h->last_ok = wb_now();
}

void wb_retry(struct wb_hive *h, const char *why, long retry_after)
{
	uint32_t first = h->conf->index_delay_ms > 1000 ? h->conf->index_delay_ms : 1000;
	int64_t wait;

	if (strncmp(h->trouble, why, WB_WHY_MAX - 1) != 0)
		log_warning("%s: writing to case %s: %s", h->source, wb_case_id(h), why);
	snprintf(h->trouble, sizeof(h->trouble), "%s", why);
	h->backoff_ms = h->backoff_ms ? h->backoff_ms * 2 : first;
	if (h->backoff_ms > BACKOFF_MAX_MS)
		h->backoff_ms = BACKOFF_MAX_MS;
	wait = h->backoff_ms + random() % (h->backoff_ms / 4 + 1);
	if (retry_after > 0 && retry_after * 1000 > wait)
		wait = retry_after < 3600 ? retry_after * 1000 : 3600 * 1000;
	h->quiet_ms = wb_clock_ms() + wait;
	wb_case_later(h, h->op.of, wait);
	wb_op_end(h);
}

// --- requests

void wb_ask(
	struct wb_hive *h, const char *method, const char *path, json_t *body, http_answer_cb done
)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int r = body && !text ? -ENOMEM : 0;

	json_decref(body);
	if (r == 0)
		r = http_client_request(
			h->client, method, path, text, text ? strlen(text) : 0, done, h
		);
	free(text);
	h->op.busy = r == 0;
	if (r < 0)
		wb_retry(h, strerror(-r), -1);
}

bool wb_good(const struct http_answer *a)
{
	return !a->error && a->status >= 200 && a->status < 300;
}

bool wb_changed(const struct http_answer *a)
{
	json_t *body;
	bool changed;

	if (!wb_good(a) || a->status == 204)
		return wb_good(a);
	body = wb_answer_json(a);
	changed = json_array_size(body) > 0 || *wb_text(body, "_id");
	json_decref(body);
	return changed;
}

json_t *wb_answer_json(const struct http_answer *a)
{
	return a->error || !a->body_len ? NULL : json_loadb(a->body, a->body_len, 0, NULL);
}

bool wb_missing(const struct http_answer *a)
{
	json_t *body = a->status == 404 ? wb_answer_json(a) : NULL;
	bool own = strcmp(wb_text(body, "type"), "NotFoundError") == 0;

	json_decref(body);
	return own;
}

static void answer_text(const struct wb_hive *h, const struct http_answer *a, char why[WB_WHY_MAX])
{
	json_t *body = wb_answer_json(a);

	if (a->error)
		snprintf(why, WB_WHY_MAX, "%s: %.120s", h->op.what, a->error_text);
	else if (wb_good(a))
		snprintf(why, WB_WHY_MAX, "%s: the answer is none of TheHive's", h->op.what);
	else if (a->status == 401)
		snprintf(why, WB_WHY_MAX, "%s: 401: the key is not accepted", h->op.what);
	else
		snprintf(
			why,
			WB_WHY_MAX,
			"%s: %ld %.120s",
			h->op.what,
			a->status,
			wb_text(body, "message")
		);
	for (char *c = why; *c; c++)
		if ((unsigned char)*c < 0x20)
			*c = ' ';
	json_decref(body);
}

// --- the row

static void committed(void *ctx, int error, const char *message)
{
	struct wb_commit *commit = ctx;
	struct wb_hive *h = commit->hive;
	void (*next)(struct wb_hive *) = commit->next;

	free(commit);
	if (!h)
		return;
	h->commit = NULL;
	h->op.busy = false;
	if (error)
		wb_retry(h, message, -1);
	else
		next(h);
}

void wb_row_write(struct wb_hive *h, json_t *state, int64_t due, void (*next)(struct wb_hive *))
{
	struct wb_commit *commit = calloc(1, sizeof(*commit));
	int r = commit ? 0 : -ENOMEM;

	if (r == 0) {
		*commit = (struct wb_commit){h, next};
		r = ledger_told_put(
			h->owner->ledger, h->source, h->op.of->ref, due, state, committed, commit
		);
	}
	if (r < 0) {
		free(commit);
		wb_retry(h, strerror(-r), -1);
		return;
	}
	h->commit = commit;
	h->op.busy = true;
	h->op.of->marked = state && due == 0;
}

static void case_end(struct wb_hive *h)
{
	struct wb_case *c = h->op.of;

	if (c->touched) // meanwhile
		wb_case_later(h, c, h->conf->writeback.delay_ms);
	else if (h->op.seen.waits) // unless it came while the row was written: nobody wakes it then
		wb_case_later(h, c, wb_applied_has(h, c->revision) ? 0 : -1);
	else if (h->op.later_ms)
		wb_case_later(h, c, h->op.later_ms - wb_clock_ms());
	else
		wb_case_drop(h, c);
	wb_op_end(h);
}

void wb_case_gone(struct wb_hive *h)
{
	log_info("%s: case %s is gone: nothing is written", h->source, wb_case_id(h));
	h->counters[WB_GONE]++;
	h->op.of->touched = h->op.seen.waits = false;
	h->op.later_ms = 0;
	json_decref(h->op.state);
	h->op.state = NULL;
	wb_row_write(h, NULL, 0, case_end);
}

void wb_later_at(struct wb_op *op, int64_t ms)
{
	if (!op->later_ms || ms < op->later_ms)
		op->later_ms = ms;
}

static bool state_empty(const json_t *state)
{
	static const char *const members[]
		= {"live",
		   "held",
		   "hand",
		   "hand_held",
		   "refused",
		   "immune",
		   "allowed",
		   "over",
		   "tags",
		   "attempts",
		   "pending"};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (json_object_size(json_object_get(state, members[i])) > 0)
			return false;
	return !*wb_text(state, "why") && !json_object_get(state, "large")
		&& !json_object_get(state, "refusals");
}

void wb_finish(struct wb_hive *h)
{
	struct wb_op *op = &h->op;
	bool at_once = op->seen.waits || op->later_ms || op->of->touched;

	// Denied again one day, it begins with a comment of its own.
	if (!op->seen.waits && !json_object_get(op->state, "large")
	    && json_object_size(json_object_get(op->state, "live")) == 0
	    && json_object_size(json_object_get(op->state, "hand")) == 0)
		json_object_del(op->state, "attempts");
	if (op->seen.due == TOLD_NEVER)
		json_object_del(op->state, "due");
	else
		wb_number_set(op->state, "due", op->seen.due);
	wb_row_write(
		h,
		state_empty(op->state) && !at_once ? NULL : op->state,
		at_once ? 0 : op->seen.due,
		case_end
	);
}

// --- answers that are not good

void wb_permission_missing(struct wb_hive *h, const char *how)
{
	enum wb_permission permission = h->op.permission;

	log_warning(
		"%s: %s: %s: the account needs the permission %s",
		h->source,
		h->op.what,
		how,
		wb_permission_name(h, permission)
	);
	h->denied_ms[permission] = wb_clock_ms() + DENIED_MS;
	wb_well(h);
	wb_look_again(h); // what else can be done
}

static void case_confirmed(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	char why[WB_WHY_MAX];

	h->op.busy = false;
	if (wb_good(a)) {
		wb_permission_missing(h, "404, though the case is there");
	} else if (wb_missing(a)) {
		wb_well(h);
		wb_case_gone(h);
	} else {
		answer_text(h, a, why);
		wb_retry(h, why, a->retry_after);
	}
}

// TheHive 4 looks only among what the account may change: 404 may mean either.
static void case_confirm(struct wb_hive *h)
{
	char path[HIVE_ID_MAX + 32];

	snprintf(path, sizeof(path), "/api/v1/case/%.*s", HIVE_ID_MAX, wb_case_id(h));
	wb_ask(h, "GET", path, NULL, case_confirmed);
}

// A text that TheHive does not take: not for ever in the way of others.
static void text_refused(struct wb_hive *h, const char *why)
{
	if (++h->op.of->refused < TEXT_TRIES) {
		wb_retry(h, why, -1);
		return;
	}
	log_error("%s: case %s: given up: %s", h->source, wb_case_id(h), why);
	h->op.of->refused = 0;
	h->counters[WB_FAILED]++;
	json_object_del(h->op.state, "pending");
	wb_row_write(h, h->op.state, 0, wb_look_again);
}

void wb_answer_bad(struct wb_hive *h, const struct http_answer *a)
{
	char why[WB_WHY_MAX];

	answer_text(h, a, why);
	if (!a->error && a->status == 403)
		wb_permission_missing(h, "403");
	else if (wb_missing(a))
		case_confirm(h);
	else if (!a->error && (a->status == 400 || a->status == 413 || a->status == 422))
		text_refused(h, why);
	else
		wb_retry(h, why, a->retry_after);
}

// --- the version

static const char *const probes[] = {
	"/api/v1/status/public", // 5
	"/api/status", // 4
	"/api/v1/status",
};
#define N_PROBES (sizeof(probes) / sizeof(probes[0]))

static void probe_come(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	json_t *body = wb_good(a) ? wb_answer_json(a) : NULL;
	const char *text = wb_text(body, "version");

	h->op.busy = false;
	if (!*text)
		text = wb_text(json_object_get(body, "versions"), "TheHive");
	if (hive_version_parse(text, &h->version) == 0 && h->version.major >= 4) {
		h->probe = 0;
		h->version_ms = wb_clock_ms();
		wb_well(h);
		wb_pump_soon(h, 0);
	} else if (!a->error && a->status < 500 && ++h->probe < N_PROBES) {
		h->version = (struct hive_version){0};
		wb_probe(h);
	} else {
		h->version = (struct hive_version){0};
		h->probe = 0;
		h->backoff_ms = h->backoff_ms ? h->backoff_ms * 2 : 1000;
		if (h->backoff_ms > BACKOFF_MAX_MS)
			h->backoff_ms = BACKOFF_MAX_MS;
		snprintf(
			h->trouble,
			sizeof(h->trouble),
			"asking for the version: %.120s",
			a->error ? a->error_text : "no TheHive 4 or 5 answers here"
		);
		h->quiet_ms = wb_clock_ms() + h->backoff_ms;
		wb_pump_soon(h, h->backoff_ms);
	}
	json_decref(body);
}

void wb_probe(struct wb_hive *h)
{
	h->op.busy = http_client_request(h->client, "GET", probes[h->probe], NULL, 0, probe_come, h)
		== 0;
	if (!h->op.busy)
		wb_pump_soon(h, 1000);
}
