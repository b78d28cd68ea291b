// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_claims.h"

#include "control/api.h"
#include "control/api_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX 1000
#define SUBMIT_MAX 250 // a transaction stays short
#define BODY_MAX (512 * 1024)
#define WAIT_MS 2000
#define CLAIM_SECONDS (7 * 86400)
#define PAGE_MAX 1000
#define HOLDERS_MAX 100

static const char OPERATOR[] = "operator";

// One request to put or end claims: its items, submitted in slices one after the other.
struct job {
	struct api *api;
	struct http_request *request;
	char actor[128], ref[128], reason[REASON_MAX + 1];
	bool force;
	unsigned wait_ms;
	enum submit_op op;
	enum claim_action action;
	int64_t until;
	struct indicator *indicators;
	size_t n, done, slice;
	json_t *results;
	size_t refused, held, changed;
	int status; // of the first refusal
	struct revision revision;
};

static void job_free(struct job *job)
{
	if (!job)
		return;
	free(job->indicators);
	json_decref(job->results);
	free(job);
}

static const char *code_name(enum submit_code code)
{
	switch (code) {
	case SUBMIT_OK:
		return "ok";
	case SUBMIT_UNCHANGED:
		return "unchanged";
	case SUBMIT_PROTECTED:
		return "protected";
	case SUBMIT_EXCEPTED:
		return "excepted";
	case SUBMIT_BRAKE:
		return "brake";
	case SUBMIT_HELD:
		return "held";
	case SUBMIT_FULL:
		return "full";
	case SUBMIT_NOT_FOUND:
		break;
	}
	return "not_found";
}

static int code_status(enum submit_code code)
{
	switch (code) {
	case SUBMIT_PROTECTED:
		return 409;
	case SUBMIT_BRAKE:
		return 422;
	case SUBMIT_FULL:
		return 507;
	case SUBMIT_NOT_FOUND:
		return 404;
	case SUBMIT_OK:
	case SUBMIT_UNCHANGED:
	case SUBMIT_EXCEPTED:
	case SUBMIT_HELD:
		break;
	}
	return 200;
}

static void result_add(struct job *job, size_t at, enum submit_code code, const char *message)
{
	int status = code_status(code);
	job->refused += status != 200;
	job->held += code == SUBMIT_HELD;
	job->changed += status == 200 && code != SUBMIT_HELD;
	if (status != 200 && !job->status)
		job->status = status;
	json_array_append_new(
		job->results,
		json_pack(
			"{s:o, s:s, s:o}",
			"indicator",
			indicator_json(&job->indicators[at]),
			"result",
			code_name(code),
			"message",
			text_json(message)
		)
	);
}

static void job_fail(struct job *job, int error)
{
	char message[192];
	snprintf(message, sizeof(message), "not recorded: %s", strerror(-error));
	http_answer_error(
		job->request,
		error == -ENOSPC || error == -EDQUOT ? 507 : 500,
		message,
		error == -ENOSPC ? "make room on the ledger's disk" : NULL
	);
	job_free(job);
}

// --- who else holds it

struct holders {
	struct job *job;
	json_t *list;
	const struct indicator *indicator;
};

static bool holder_note(void *ctx, const struct claim *claim)
{
	struct holders *holders = ctx;
	if (claim->state >= CLAIM_HELD)
		return true;
	json_array_append_new(holders->list, claim_json(api_ledger(holders->job->api), claim));
	return json_array_size(holders->list) < HOLDERS_MAX;
}

// After an unblock: claims of others that still deny. Adds them and the remedy to the body.
static bool holders_add(struct job *job, json_t *body)
{
	json_t *all = json_array();
	char remedy[INDICATOR_TEXT_MAX + 64] = "";
	for (size_t i = 0; i < job->n && json_array_size(all) < HOLDERS_MAX; i++) {
		struct holders holders = {job, all, &job->indicators[i]};
		size_t before = json_array_size(all);
		ledger_claims_of(
			api_ledger(job->api), &job->indicators[i], false, holder_note, &holders
		);
		if (json_array_size(all) > before && !remedy[0]) {
			char text[INDICATOR_TEXT_MAX];
			indicator_print(&job->indicators[i], text);
			snprintf(
				remedy, sizeof(remedy), "stanch allow %s --for 4h --reason …", text
			);
		}
	}
	bool any = json_array_size(all) > 0;
	if (any) {
		json_object_set_new(
			body, "error", json_string("still denied: others hold it too (see holders)")
		);
		json_object_set_new(body, "remedy", json_string(remedy));
	}
	json_object_set_new(body, "holders", all);
	return any;
}

static void job_answer(struct job *job)
{
	json_t *body = json_pack(
		"{s:O, s:I, s:I, s:I}",
		"results",
		job->results,
		"changed",
		(json_int_t)job->changed,
		"refused",
		(json_int_t)job->refused,
		"held",
		(json_int_t)job->held
	);
	int status = 200;
	if (job->op == SUBMIT_END) {
		if (holders_add(job, body))
			status = 409;
		else if (job->changed == 0)
			status = 404;
		if (status == 404)
			json_object_set_new(
				body,
				"error",
				json_string("nothing to end: you have no claim on it, nobody else "
					    "either")
			);
	} else if (job->changed == 0 && job->held == 0 && job->status) {
		status = job->status;
		json_t *first = json_array_get(job->results, 0);
		json_object_set(body, "error", json_object_get(first, "message"));
	} else if (job->changed == 0 && job->held > 0) {
		status = 202;
	}
	if (job->changed == 0 && status != 200) // nothing is on its way
		http_answer_json(job->request, status, body);
	else
		api_answer_applied(
			job->api,
			job->request,
			status,
			body,
			job->revision,
			job->changed ? job->wait_ms : 0
		);
	job_free(job);
}

static void job_next(struct job *job);

static void job_submitted(
	void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n
)
{
	struct job *job = ctx;
	api_pending(job->api, -1);
	if (error) {
		job_fail(job, error);
		return;
	}
	job->revision = revision;
	for (size_t i = 0; i < n; i++)
		result_add(job, job->done + i, results[i].code, results[i].message);
	job->done += job->slice;
	if (job->done < job->n)
		job_next(job);
	else
		job_answer(job);
}

static void job_next(struct job *job)
{
	job->slice = job->n - job->done < SUBMIT_MAX ? job->n - job->done : SUBMIT_MAX;
	struct submit_item *items = calloc(job->slice, sizeof(*items));
	if (!items) {
		job_fail(job, -ENOMEM);
		return;
	}
	int64_t now = now_seconds();
	for (size_t i = 0; i < job->slice; i++)
		items[i] = (struct submit_item){
			.op = job->op,
			.claim = {
				.source = OPERATOR,
				.ref = job->ref,
				.indicator = job->indicators[job->done + i],
				.author = job->actor,
				.reason = job->reason,
				.action = job->action,
				.created = now,
				.until = job->until,
				.case_number = "",
				.tlp = -1,
			},
			.cause = job->reason,
		};
	const struct submit submit = {
		.items = items,
		.n = job->slice,
		.actor = {.name = job->actor, .force = job->force, .reason = job->reason},
	};
	api_pending(job->api, 1);
	ledger_submit(api_ledger(job->api), &submit, job_submitted, job);
	free(items);
}

// --- bodies

static bool item_take(struct job *job, json_t *value, json_t *errors)
{
	const char *text = json_string_value(value);
	struct indicator_error error = {0, "a text is expected"};
	if (text
	    && indicator_parse(text, json_string_length(value), &job->indicators[job->n], &error)
		    == 0) {
		job->n++;
		return true;
	}
	json_array_append_new(
		errors,
		json_pack(
			"{s:o, s:s, s:o}",
			"indicator",
			text ? text_json(text) : json_null(),
			"result",
			"invalid",
			"message",
			json_sprintf("column %zu: %s", error.column, error.reason)
		)
	);
	return false;
}

static bool items_take(struct job *job, json_t *body)
{
	json_t *one = json_object_get(body, "indicator"),
	       *many = json_object_get(body, "indicators");
	size_t n = json_is_array(many) ? json_array_size(many) : one ? 1 : 0;
	if (n == 0 || n > ITEMS_MAX || (one && many)) {
		http_answer_error(
			job->request,
			n > ITEMS_MAX ? 413 : 400,
			"\"indicator\", or \"indicators\" with 1 to 1000 texts, is expected",
			NULL
		);
		return false;
	}
	job->indicators = calloc(n, sizeof(*job->indicators));
	json_t *errors = json_array();
	bool good = job->indicators != NULL;
	for (size_t i = 0; job->indicators && i < n; i++)
		good &= item_take(job, one ? one : json_array_get(many, i), errors);
	if (good) {
		json_decref(errors);
		return true;
	}
	json_t *first = json_object_get(json_array_get(errors, 0), "message");
	http_answer_json(
		job->request,
		400,
		json_pack(
			"{s:o, s:o}",
			"error",
			json_sprintf(
				"nothing recorded, %zu of %zu are no indicators: %s",
				json_array_size(errors),
				n,
				first ? json_string_value(first) : "no memory"
			),
			"results",
			errors
		)
	);
	return false;
}

static bool wait_take(struct job *job, json_t *body)
{
	json_t *wait = json_object_get(body, "wait");
	job->wait_ms = WAIT_MS;
	if (!wait)
		return true;
	if (!json_is_number(wait) || json_number_value(wait) < 0 || json_number_value(wait) > 2) {
		http_answer_error(job->request, 400, "wait: 0 to 2 seconds are expected", NULL);
		return false;
	}
	job->wait_ms = (unsigned)(json_number_value(wait) * 1000);
	return true;
}

static bool action_take(struct job *job, json_t *body)
{
	json_t *value = json_object_get(body, "action");
	const char *action = value ? json_string_value(value) : "enforce";
	if (action && strcmp(action, "enforce") == 0)
		job->action = CLAIM_ENFORCE;
	else if (action && strcmp(action, "monitor") == 0)
		job->action = CLAIM_MONITOR;
	else {
		http_answer_error(
			job->request, 400, "action: \"enforce\" or \"monitor\" is expected", NULL
		);
		return false;
	}
	return true;
}

// False: answered.
static bool job_fill(struct job *job, json_t *body)
{
	struct http_request *request = job->request;
	const struct http_caller *caller = http_request_caller(request);
	const char *reason;
	bool put = job->op == SUBMIT_PUT;
	snprintf(job->actor, sizeof(job->actor), "%s", caller->name);
	caller_ref(caller, job->ref);
	if (!body_bool(request, body, "force", &job->force)
	    || !body_reason(request, body, put || job->force, &reason) || !wait_take(job, body)
	    || (put
		&& (!action_take(job, body)
		    || !body_until(request, body, CLAIM_SECONDS, true, &job->until)))
	    || !items_take(job, body))
		return false;
	snprintf(job->reason, sizeof(job->reason), "%s", reason);
	job->results = json_array();
	return true;
}

// --- force: what an operator may end that is not the caller's

#define FORCED_MAX 32

// Claims of other operators, and those whose source does not speak for them any more.
struct forced {
	struct job *job;
	struct submit_item items[FORCED_MAX];
	char source[FORCED_MAX][96], ref[FORCED_MAX][512];
	size_t n;
};

static bool forced_note(void *ctx, const struct claim *claim)
{
	struct forced *forced = ctx;
	struct job *job = forced->job;
	bool operators = strcmp(claim->source, OPERATOR) == 0;
	size_t at = forced->n;
	if ((operators && strcmp(claim->ref, job->ref) == 0)
	    || (!operators && claim->state != CLAIM_ORPHANED
		&& !ledger_source_gone(api_ledger(job->api), claim->source))
	    || strlen(claim->source) >= sizeof(forced->source[at])
	    || strlen(claim->ref) >= sizeof(forced->ref[at]))
		return true;
	snprintf(forced->source[at], sizeof(forced->source[at]), "%s", claim->source);
	snprintf(forced->ref[at], sizeof(forced->ref[at]), "%s", claim->ref);
	forced->items[at] = (struct submit_item){
		.op = SUBMIT_END,
		.claim = {
			.source = forced->source[at],
			.ref = forced->ref[at],
			.indicator = claim->indicator,
		},
		.cause = job->reason,
	};
	return ++forced->n < FORCED_MAX;
}

struct equal_walk {
	struct forced *forced;
	const struct indicator *indicator;
};

static bool forced_equal(void *ctx, const struct claim *claim)
{
	struct equal_walk *walk = ctx;
	if (!indicator_equal(&claim->indicator, walk->indicator))
		return true;
	return forced_note(walk->forced, claim);
}

// Before the job's own items, so that its answer tells what remains. What is beyond FORCED_MAX
// claims on one indicator stays, and is named there.
static void forced_end(struct job *job)
{
	struct forced *forced = calloc(1, sizeof(*forced));
	if (!forced)
		return; // the answer names them as holders
	for (size_t i = 0; i < job->n; i++) {
		struct equal_walk walk = {forced, &job->indicators[i]};
		forced->job = job;
		forced->n = 0;
		ledger_claims_of(
			api_ledger(job->api), &job->indicators[i], false, forced_equal, &walk
		);
		const struct submit submit = {
			.items = forced->items,
			.n = forced->n,
			.actor = {.name = job->actor, .force = true, .reason = job->reason},
		};
		if (forced->n)
			ledger_submit(api_ledger(job->api), &submit, NULL, NULL);
		job->changed += forced->n;
	}
	free(forced);
}

static void job_start(struct api *api, struct http_request *request, enum submit_op op)
{
	json_t *body = http_request_json(request);
	if (!body)
		return;
	struct job *job = calloc(1, sizeof(*job));
	if (!job) {
		json_decref(body);
		http_answer_error(request, 500, "no memory", NULL);
		return;
	}
	job->api = api;
	job->request = request;
	job->op = op;
	bool good = job_fill(job, body);
	json_decref(body);
	if (!good) {
		job_free(job);
		return;
	}
	if (op == SUBMIT_END && job->force)
		forced_end(job);
	job_next(job);
}

static void route_block(void *ctx, struct http_request *request)
{
	job_start(ctx, request, SUBMIT_PUT);
}

static void route_unblock(void *ctx, struct http_request *request)
{
	job_start(ctx, request, SUBMIT_END);
}

// --- pages

struct page {
	struct api *api;
	json_t *list;
	const char *source;
	int action; // enum claim_action or enum entry_action; -1: any
	int64_t last_id;
	size_t seen, max;
	char last[INDICATOR_TEXT_MAX];
};

static bool action_filter(struct http_request *request, struct page *page, int enforce, int monitor)
{
	const char *action = http_request_query(request, "action");
	page->action = -1;
	if (!action)
		return true;
	if (strcmp(action, "enforce") == 0)
		page->action = enforce;
	else if (strcmp(action, "monitor") == 0)
		page->action = monitor;
	else {
		http_answer_error(
			request, 400, "action: \"enforce\" or \"monitor\" is expected", NULL
		);
		return false;
	}
	return true;
}

static bool claim_page(void *ctx, const struct claim *claim)
{
	struct page *page = ctx;
	page->last_id = claim->id;
	page->seen++;
	if (page->source && strcmp(page->source, claim->source) != 0)
		return true;
	if (page->action >= 0 && page->action != (int)claim->action)
		return true;
	json_array_append_new(page->list, claim_json(api_ledger(page->api), claim));
	return true;
}

// "next" is what `after` takes; null at the end. A filtered page may be short or empty before that.
static void route_claims(void *ctx, struct http_request *request)
{
	struct page page = {.api = ctx, .source = http_request_query(request, "source")};
	int64_t after, max;
	if (!query_number(request, "after", 0, INT64_MAX, &after)
	    || !query_number(request, "max", 100, PAGE_MAX, &max)
	    || !action_filter(request, &page, CLAIM_ENFORCE, CLAIM_MONITOR))
		return;
	max = max ? max : 1;
	page.list = json_array();
	ledger_claims_page(api_ledger(ctx), after, (size_t)max, claim_page, &page);
	bool more = page.seen == (size_t)max;
	http_answer_json(
		request,
		200,
		json_pack(
			"{s:o, s:o}",
			"claims",
			page.list,
			"next",
			more ? json_integer(page.last_id) : json_null()
		)
	);
}

static bool entry_page(void *ctx, const struct entry *entry)
{
	struct page *page = ctx;
	indicator_print(&entry->indicator, page->last);
	page->seen++;
	if (page->action < 0 || page->action == (int)entry_action_at(entry, now_seconds()))
		json_array_append_new(page->list, entry_json(entry));
	return true;
}

static void route_entries(void *ctx, struct http_request *request)
{
	struct page page = {.api = ctx};
	const char *after = http_request_query(request, "after");
	int64_t max;
	if (!query_number(request, "max", 100, PAGE_MAX, &max)
	    || !action_filter(request, &page, ENTRY_ENFORCE, ENTRY_MONITOR))
		return;
	max = max ? max : 1;
	page.list = json_array();
	struct list_state state;
	ledger_state(api_ledger(ctx), &state);
	ledger_entries_page(api_ledger(ctx), after ? after : "", (size_t)max, entry_page, &page);
	bool more = page.seen == (size_t)max;
	http_answer_json(
		request,
		200,
		json_pack(
			"{s:o, s:o, s:o}",
			"revision",
			revision_json(state.revision),
			"entries",
			page.list,
			"next",
			more ? json_string(page.last) : json_null()
		)
	);
}

static const struct http_route routes[] = {
	{"GET",
	 "/v1/claims",
	 ROLE_VIEWER,
	 0,
	 route_claims,
	 "claims by pages: after, max, source, action"},
	{"POST",
	 "/v1/claims",
	 ROLE_OPERATOR,
	 BODY_MAX,
	 route_block,
	 "block or monitor, with a reason"},
	{"DELETE", "/v1/claims", ROLE_OPERATOR, BODY_MAX, route_unblock, "end the caller's claims"},
	{"POST",
	 "/v1/claims/end",
	 ROLE_OPERATOR,
	 BODY_MAX,
	 route_unblock,
	 "end the caller's claims"},
	{"GET",
	 "/v1/entries",
	 ROLE_VIEWER,
	 0,
	 route_entries,
	 "entries by pages: after, max, action"},
};

int api_claims_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
