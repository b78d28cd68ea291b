// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One case at a time:
//
//   begin ─> look ─> (verdict's time) ─> text into the row ─> comment ─> row ─┐
//              ^ <─────────────────────────────────────────────────────────────┘
//              └─ nothing to say ─> tags ─> attempts ─> row ─> end
//
// Each step is a request or a commit whose end begins the next.

#include "control/followers/writeback_internal.h"

#include <event2/util.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define F5_WAIT_MS 30000 // for the mirror to say more than "pending"
#define APPEND_S 3600 // between two comments on attempts, where they cannot be updated
#define TASK "stanch"

static void deliver(struct wb_hive *h, bool read_back);

// --- a comment, or a log

static void delivered(struct wb_hive *h, const char *id, bool found)
{
	struct wb_op *op = &h->op;
	json_t *pending = json_object_get(op->state, "pending");
	const json_t *total = json_object_get(pending, "total");

	wb_well(h);
	h->denied_ms[WB_COMMENT] = 0;
	op->of->refused = 0;
	op->of->seq = 0;
	h->counters[WB_WRITTEN_COMMENTS]++;
	h->counters[WB_FOUND] += found;
	if (total) {
		json_t *attempts = wb_member(op->state, "attempts");

		json_object_set_new(attempts, "id", json_string(id));
		json_object_set(attempts, "marker", json_object_get(pending, "marker"));
		wb_number_set(attempts, "told", json_integer_value(total));
		wb_number_set(attempts, "written", wb_now());
	}
	json_object_del(op->state, "pending");
	wb_row_write(h, op->state, 0, wb_look_again);
}

static void posted(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	json_t *body = wb_answer_json(a);
	const char *id = wb_text(body, "_id");

	h->op.busy = false;
	if (wb_good(a) && *id) {
		delivered(h, id, false);
	} else if (wb_four(h) && wb_missing(a) && !h->op.of->task_lost) {
		h->op.of->task_lost = true;
		json_object_del(h->op.state, "task");
		deliver(h, true);
	} else if (wb_good(a)) {
		wb_retry(h, "writing a comment: the answer is none of TheHive's", -1);
	} else {
		wb_answer_bad(h, a);
	}
	json_decref(body);
}

static void post(struct wb_hive *h)
{
	const json_t *pending = json_object_get(h->op.state, "pending");
	char path[2 * HIVE_ID_MAX + 32];

	if (wb_four(h))
		snprintf(
			path,
			sizeof(path),
			"/api/case/task/%.*s/log",
			HIVE_ID_MAX,
			wb_text(h->op.state, "task")
		);
	else
		snprintf(
			path, sizeof(path), "/api/v1/case/%.*s/comment", HIVE_ID_MAX, wb_case_id(h)
		);
	h->op.permission = WB_COMMENT;
	h->op.what = "writing a comment";
	wb_ask(h, "POST", path, json_pack("{s:s}", "message", wb_text(pending, "text")), posted);
}

static void read_back(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	json_t *list = wb_answer_json(a), *one;
	const char *marker = wb_text(json_object_get(h->op.state, "pending"), "marker");
	char id[HIVE_ID_MAX] = "";
	size_t i;

	h->op.busy = false;
	if (!wb_good(a) || !json_is_array(list)) {
		json_decref(list);
		if (wb_good(a))
			wb_retry(h, "reading comments: the answer is no list", -1);
		else
			wb_answer_bad(h, a);
		return;
	}
	json_array_foreach(list, i, one)
	{
		if (strstr(wb_text(one, "message"), marker))
			snprintf(id, sizeof(id), "%s", wb_text(one, "_id"));
	}
	json_decref(list);
	if (*id)
		delivered(h, id, true);
	else
		post(h);
}

static json_t *query_of(const char *start, const char *id, const char *then)
{
	return json_pack(
		"{s:[{s:s, s:s}, {s:s}]}", "query", "_name", start, "idOrName", id, "_name", then
	);
}

static void task_write(struct wb_hive *h);

static void task_take(struct wb_hive *h, const char *id)
{
	json_object_set_new(h->op.state, "task", json_string(id));
	deliver(h, true);
}

static void task_made(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	json_t *body = wb_answer_json(a);
	char id[HIVE_ID_MAX];

	h->op.busy = false;
	snprintf(id, sizeof(id), "%s", wb_text(body, "_id"));
	json_decref(body);
	if (wb_good(a) && hive_id_valid(id))
		task_take(h, id);
	else
		wb_answer_bad(h, a);
}

static void tasks_come(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	json_t *list = wb_answer_json(a), *one;
	char id[HIVE_ID_MAX] = "";
	size_t i;

	h->op.busy = false;
	if (!wb_good(a) || !json_is_array(list)) {
		json_decref(list);
		if (wb_good(a))
			wb_retry(h, "reading tasks: the answer is no list", -1);
		else
			wb_answer_bad(h, a);
		return;
	}
	json_array_foreach(list, i, one)
	{
		if (strcmp(wb_text(one, "title"), TASK) == 0 && !*id)
			snprintf(id, sizeof(id), "%s", wb_text(one, "_id"));
	}
	json_decref(list);
	if (hive_id_valid(id))
		task_take(h, id);
	else
		task_write(h);
}

// "Completed": nobody finds it among what is to be done.
static void task_write(struct wb_hive *h)
{
	char path[HIVE_ID_MAX + 32];

	snprintf(path, sizeof(path), "/api/case/%.*s/task", HIVE_ID_MAX, wb_case_id(h));
	wb_ask(h,
	       "POST",
	       path,
	       json_pack(
		       "{s:s, s:s, s:s, s:s}",
		       "title",
		       TASK,
		       "group",
		       "default",
		       "status",
		       "Completed",
		       "description",
		       "What the egress gateway did about this case, in the logs of this task."
	       ),
	       task_made);
}

static void deliver(struct wb_hive *h, bool back)
{
	const char *task = wb_text(h->op.state, "task");

	h->op.permission = WB_COMMENT;
	h->op.what = "reading comments";
	if (wb_four(h) && !*task) {
		h->op.what = "making the task " TASK;
		wb_ask(h,
		       "POST",
		       "/api/v1/query?name=stanch-tasks",
		       query_of("getCase", wb_case_id(h), "tasks"),
		       tasks_come);
	} else if (back) {
		wb_ask(h,
		       "POST",
		       "/api/v1/query?name=stanch-comments",
		       wb_four(h) ? query_of("getTask", task, "logs")
				  : query_of("getCase", wb_case_id(h), "comments"),
		       read_back);
	} else {
		post(h);
	}
}

static void deliver_new(struct wb_hive *h)
{
	deliver(h, false);
}

// --- news

static char *marker_make(const struct wb_hive *h, char marker[WB_MARKER_MAX])
{
	uint64_t nonce;

	evutil_secure_rng_get_bytes(&nonce, sizeof(nonce));
	wb_marker_print(marker, h->owner->marker_id, nonce);
	return marker;
}

// The text into the row, before it is sent. Takes `text`.
static void pending_write(struct wb_hive *h, char *text, const char *marker, const json_t *total)
{
	json_t *pending = text ? json_pack("{s:s, s:s}", "marker", marker, "text", text) : NULL;

	free(text);
	if (!pending) {
		wb_retry(h, "no memory, or a text that is no UTF-8", -1);
		return;
	}
	if (total)
		json_object_set_new(pending, "total", json_integer(json_integer_value(total)));
	json_object_set_new(h->op.state, "pending", pending);
	wb_row_write(h, h->op.state, 0, deliver_new);
}

static void news_write(struct wb_hive *h)
{
	struct list_state state;
	char marker[WB_MARKER_MAX], revision[48], gateways[512] = "";
	const struct writeback_view *view = &h->owner->view;
	struct wb_context context = {
		.gateway = view->gateway,
		.revision = revision,
		.took_ms = -1,
	};
	int64_t applied = wb_applied_at(h->owner, h->op.of->seq), when, from;

	if (view->gateways)
		view->gateways(view->ctx, h->op.of->revision, gateways, sizeof(gateways));
	if (gateways[0])
		context.gateway = gateways;
	if (!view->applied(view->ctx, &state, &when))
		ledger_state(h->owner->ledger, &state);
	snprintf(
		revision,
		sizeof(revision),
		"%llu.%llu",
		(unsigned long long)state.revision.epoch,
		(unsigned long long)state.revision.number
	);
	context.by_hand = !h->op.seen.own_denied;
	from = context.by_hand ? h->op.of->asked_ms : h->op.verdict_ms;
	// Two clocks: a difference of theirs is no time.
	if (from > 0 && applied >= from)
		context.took_ms = applied - from;
	marker_make(h, marker);
	pending_write(h, wb_text_news(h->op.seen.news, &context, marker), marker, NULL);
}

static void verdict_come(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	json_t *body = wb_answer_json(a);

	h->op.busy = false;
	if (wb_good(a) && body) {
		h->op.verdict_read = true;
		h->op.verdict_ms = wb_number(body, "endDate");
		wb_well(h);
		wb_look_again(h);
	} else if (wb_missing(a)) {
		wb_case_gone(h);
	} else {
		wb_answer_bad(h, a);
	}
	json_decref(body);
}

static void verdict_read(struct wb_hive *h)
{
	char path[HIVE_ID_MAX + 32];

	h->op.what = "reading the case";
	h->op.permission = WB_COMMENT;
	snprintf(path, sizeof(path), "/api/v1/case/%.*s", HIVE_ID_MAX, wb_case_id(h));
	wb_ask(h, "GET", path, NULL, verdict_come);
}

// What was found goes into the row with the text, or, where nothing is said, at the end.
static void seen_act(struct wb_hive *h, json_t *after)
{
	struct wb_op *op = &h->op;
	bool news = json_object_size(op->seen.news) > 0;
	bool pending = json_object_size(json_object_get(op->state, "pending")) > 0;

	if ((news || pending) && wb_denied(h, WB_COMMENT)) {
		wb_later_at(op, h->denied_ms[WB_COMMENT]);
		json_decref(after); // told when it may be
		wb_tags_next(h);
		return;
	}
	// Until the text is in the row too, the row is as it was: others may write it meanwhile.
	if (news && op->seen.first && op->seen.own_denied && !op->verdict_read) {
		json_decref(after);
		verdict_read(h);
		return;
	}
	json_decref(op->state);
	op->state = after;
	if (news)
		news_write(h);
	else
		wb_tags_next(h);
}

bool wb_applied_has(const struct wb_hive *h, struct revision needed)
{
	const struct writeback_view *view = &h->owner->view;
	struct list_state state;
	int64_t when;

	return view->applied(view->ctx, &state, &when) && state.revision.epoch == needed.epoch
		&& state.revision.number >= needed.number;
}

void wb_look_again(struct wb_hive *h)
{
	struct wb_op *op = &h->op;
	struct wb_case *c = op->of;
	json_t *after = json_deep_copy(op->state);
	const struct wb_look how = {
		.ledger = h->owner->ledger,
		.protect = h->owner->protect,
		.source = h->source,
		.ref = c->ref,
		.conf = &h->conf->writeback,
		.applied = wb_applied_has(h, c->revision),
		.now = wb_now(),
		.f5 = h->owner->view.f5,
		.f5_ctx = h->owner->view.ctx,
	};
	int r;

	wb_seen_fini(&op->seen);
	op->later_ms = 0;
	r = after ? wb_case_look(&how, after, &op->seen) : -ENOMEM;
	if (r < 0) {
		json_decref(after);
		wb_retry(h, strerror(-r), -1);
		return;
	}
	if (op->seen.f5_pending && wb_clock_ms() - c->first_ms < F5_WAIT_MS) {
		json_decref(after);
		wb_case_later(h, c, 1000);
		wb_op_end(h);
		return;
	}
	seen_act(h, after);
}

void wb_op_begin(struct wb_hive *h, struct wb_case *c)
{
	struct wb_op *op = &h->op;
	json_t *state = NULL;
	int r;

	wb_op_fini(op);
	r = wb_state_open(h, c->ref, &state);
	op->of = c;
	op->what = "looking at the case";
	c->touched = false;
	if (r < 0 || !hive_id_valid(wb_case_id(h))) {
		op->state = json_object();
		if (r < 0)
			wb_retry(h, strerror(-r), -1);
		else
			wb_case_gone(h);
		return;
	}
	op->state = state;
	if (json_object_size(json_object_get(state, "pending")) > 0 && !wb_denied(h, WB_COMMENT))
		deliver(h, true);
	else
		wb_look_again(h);
}

// --- attempts

static void attempts_written(void *ctx, const struct http_answer *a)
{
	struct wb_hive *h = ctx;
	json_t *attempts = wb_member(h->op.state, "attempts");

	h->op.busy = false;
	if (wb_changed(a)) {
		wb_well(h);
		h->counters[WB_WRITTEN_UPDATES]++;
		wb_number_set(attempts, "told", h->op.total);
		wb_number_set(attempts, "written", wb_now());
		wb_attempts_next(h);
	} else if (wb_missing(a) || a->status == 400 || a->status == 405) {
		// Somebody deleted it, or it cannot be updated: another one, hourly at most.
		json_object_del(attempts, "id");
		wb_number_set(attempts, "not_before", wb_number(attempts, "written") + APPEND_S);
		wb_attempts_next(h);
	} else {
		wb_answer_bad(h, a);
	}
}

static void attempts_update(struct wb_hive *h, const json_t *attempts)
{
	char path[HIVE_ID_MAX + 32];
	char *text
		= wb_text_attempts(attempts, h->owner->view.gateway, wb_text(attempts, "marker"));
	json_t *body = text ? json_pack("{s:s}", "message", text) : NULL;

	free(text);
	if (!body) {
		wb_retry(h, "no memory", -1);
		return;
	}
	h->op.permission = WB_COMMENT;
	h->op.what = "updating the comment on attempts";
	h->op.total = wb_number(attempts, "total");
	snprintf(
		path,
		sizeof(path),
		wb_four(h) ? "/api/case/task/log/%.*s" : "/api/v1/comment/%.*s",
		HIVE_ID_MAX,
		wb_text(attempts, "id")
	);
	wb_ask(h, "PATCH", path, body, attempts_written);
}

void wb_attempts_next(struct wb_hive *h)
{
	struct wb_op *op = &h->op;
	const json_t *attempts = json_object_get(op->state, "attempts");
	int64_t now = wb_now(), written = wb_number(attempts, "written");
	int64_t next = written ? written + h->conf->writeback.attempts_s : 0;
	char marker[WB_MARKER_MAX];
	bool update = *wb_text(attempts, "id");

	if (!h->conf->writeback.attempts
	    || wb_number(attempts, "total") <= wb_number(attempts, "told")
	    || wb_denied(h, WB_COMMENT)
	    || json_object_size(json_object_get(op->state, "pending")) > 0) {
		wb_finish(h);
		return;
	}
	if (!update && wb_number(attempts, "not_before") > next)
		next = wb_number(attempts, "not_before");
	if (now < next) {
		if (next < op->seen.due)
			op->seen.due = next;
		wb_finish(h);
	} else if (update && hive_id_valid(wb_text(attempts, "id"))) {
		attempts_update(h, attempts);
	} else {
		marker_make(h, marker);
		pending_write(
			h,
			wb_text_attempts(attempts, h->owner->view.gateway, marker),
			marker,
			json_object_get(attempts, "total")
		);
	}
}
