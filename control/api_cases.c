// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_cases.h"

#include "control/api.h"
#include "control/api_text.h"
#include "control/conf.h"
#include "control/control.h"
#include "control/log.h"
#include "control/roles.h"
#include "control/sources/thehive_ask.h"
#include "control/sources/thehives.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define BODY_MAX 65536
#define ITEMS_MAX 1000 // of one request; more are a verdict's
#define SUBMIT_MAX 250 // a transaction stays short
#define HOLDERS_MAX 100
#define BLOCK_SECONDS 86400
#define USER_MAX 100
#define WAIT_MS 2000
#define TURNED_MAX 50 // refusals of a click that the case is told one by one

static const char OPERATOR[] = "operator";
static const char NOTHING[] = "the case has no observable that is IOC and can be denied";

// What one claim is to be, or was.
struct item {
	char ref[HIVE_BLOCK_REF_MAX], data[64], why[HIVE_WHY_MAX];
	struct indicator indicator;
	bool held;
	int tlp;
};

struct job {
	struct api *api;
	struct http_request *request;
	char source[80]; // the instance's
	char own[HIVE_NAME_MAX + 2 * HIVE_ID_MAX]; // references of the case's own claims
	char mine[HIVE_BLOCK_REF_MAX]; // and of operators' on it
	struct thehive_ask *ask; // NULL: not waiting for TheHive
	bool block;
	char case_id[HIVE_ID_MAX], observable[HIVE_ID_MAX], number[16];
	char user[USER_MAX + 1], actor[256], reason[REASON_MAX + 1];
	unsigned wait_ms;
	int64_t until;
	struct item *items;
	size_t n, done, slice;
	size_t changed, refused, held, left;
	json_t *results;
	json_t *turned; // refusals, for the case: [{"data", "observable", "why"}]; NULL: none
	size_t n_turned;
	char closed[HIVE_WHY_MAX]; // the case is, and cannot be blocked: why; "": no
	struct revision revision;
	LIST_ENTRY(job) link;
};
// The API is one to a process.
static LIST_HEAD(, job) jobs = LIST_HEAD_INITIALIZER(jobs);

// The brake on cases' new claims holds for blocks by hand too: a window of a minute.
static struct {
	int64_t minute;
	uint32_t n;
} rate;

// A reference that ends with a slash stands for all that begin so: "~1" is no part of "~12".
static bool ref_is(const char *ref, const char *wanted)
{
	size_t len = strlen(wanted);
	return strncmp(ref, wanted, len) == 0 && (wanted[len - 1] == '/' || ref[len] == '\0');
}

static void job_free(struct job *job)
{
	LIST_REMOVE(job, link);
	free(job->items);
	json_decref(job->results);
	json_decref(job->turned);
	free(job);
}

static void job_refuse(struct job *job, int status, const char *why, const char *remedy)
{
	http_answer_error(job->request, status, why, remedy);
	job_free(job);
}

static struct item *item_add(struct job *job)
{
	if (job->n == ITEMS_MAX)
		return NULL;
	if (!job->items)
		job->items = calloc(ITEMS_MAX, sizeof(*job->items));
	return job->items ? &job->items[job->n++] : NULL;
}

static void
result_add(struct job *job, const struct item *item, const char *what, const char *message)
{
	const char *observable = strrchr(item->ref, '/');
	json_array_append_new(
		job->results,
		json_pack(
			"{s:o, s:s, s:o, s:s, s:o}",
			"indicator",
			item->indicator.kind ? indicator_json(&item->indicator) : json_null(),
			"observable",
			observable ? observable + 1 : "",
			"data",
			text_json(item->data),
			"result",
			what,
			"message",
			text_json(message)
		)
	);
}

static void turned_add(struct job *job, const struct item *item, const char *why)
{
	const char *observable = item ? strrchr(item->ref, '/') : NULL;
	char text[INDICATOR_TEXT_MAX] = "";
	if (!job->turned)
		job->turned = json_array();
	if (++job->n_turned > TURNED_MAX)
		return;
	if (item && !item->data[0] && item->indicator.kind)
		indicator_print(&item->indicator, text);
	json_array_append_new(
		job->turned,
		json_pack(
			"{s:o, s:s, s:o}",
			"data",
			text_json(item && item->data[0] ? item->data : text),
			"observable",
			observable ? observable + 1 : "",
			"why",
			text_json(why)
		)
	);
}

// --- who else holds it

struct holders {
	struct job *job;
	json_t *list;
	size_t n_own;
};

static bool holder_note(void *ctx, const struct claim *claim)
{
	struct holders *holders = ctx;
	const struct job *job = holders->job;
	if (claim->state >= CLAIM_HELD)
		return true;
	if (strcmp(claim->source, job->source) == 0 && ref_is(claim->ref, job->own)) {
		holders->n_own++;
		return true;
	}
	json_array_append_new(holders->list, claim_json(api_ledger(holders->job->api), claim));
	return json_array_size(holders->list) < HOLDERS_MAX;
}

static int unblock_body(struct job *job, json_t *body)
{
	struct holders holders = {.job = job, .list = json_array()};
	char remedy[INDICATOR_TEXT_MAX + 64] = "";
	for (size_t i = 0; i < job->n && json_array_size(holders.list) < HOLDERS_MAX; i++) {
		ledger_claims_of(
			api_ledger(job->api), &job->items[i].indicator, false, holder_note, &holders
		);
		if (json_array_size(holders.list) > 0 && !remedy[0]) {
			char text[INDICATOR_TEXT_MAX];
			indicator_print(&job->items[i].indicator, text);
			snprintf(
				remedy, sizeof(remedy), "stanch allow %s --for 4h --reason …", text
			);
		}
	}
	bool others = json_array_size(holders.list) > 0;
	json_object_set_new(body, "holders", holders.list);
	json_object_set_new(body, "own", json_integer((json_int_t)holders.n_own));
	if (others) {
		json_object_set_new(
			body, "error", json_string("still denied: others hold it too (see holders)")
		);
		json_object_set_new(body, "remedy", json_string(remedy));
		return 409;
	}
	if (holders.n_own > 0) {
		struct thehive *hive = thehives_find(
			api_control(job->api)->thehives, job->source + strlen("thehive:")
		);
		if (hive)
			thehive_unblocked(hive, job->case_id, job->observable);
	}
	if (job->changed > 0 || holders.n_own > 0)
		return 200;
	json_object_set_new(body, "error", json_string("nothing to end: no claim refers to it"));
	return 404;
}

static int block_body(struct job *job, json_t *body)
{
	if (job->changed > 0)
		return 200;
	if (job->held > 0)
		return 202;
	json_t *first = json_object_get(json_array_get(job->results, 0), "message");
	json_object_set_new(body, "error", first ? json_incref(first) : json_string(NOTHING));
	return 422;
}

static void job_answer_now(struct job *job)
{
	json_t *body = json_pack(
		"{s:s, s:s, s:O, s:I, s:I, s:I, s:I}",
		"case",
		job->case_id,
		"number",
		job->number,
		"results",
		job->results,
		"changed",
		(json_int_t)job->changed,
		"refused",
		(json_int_t)job->refused,
		"held",
		(json_int_t)job->held,
		"left_out",
		(json_int_t)job->left
	);
	int status = job->block ? block_body(job, body) : unblock_body(job, body);
	if (job->changed == 0)
		http_answer_json(job->request, status, body);
	else
		api_answer_applied(
			job->api, job->request, status, body, job->revision, job->wait_ms
		);
	job_free(job);
}

// What was refused is in the audit, from which the case is told: now the caller is.
static void turned_recorded(void *ctx, int error, const char *message)
{
	struct job *job = ctx;
	api_pending(job->api, -1);
	if (error)
		log_warning("a block by hand was refused, and the case is not told: %s", message);
	if (job->closed[0])
		job_refuse(job, 409, job->closed, "reopen the case first: its blocks end with it");
	else
		job_answer_now(job);
}

static void job_answer(struct job *job)
{
	char object[HIVE_BLOCK_REF_MAX + 16];
	if (job->block && !job->turned && job->changed == 0 && job->held == 0)
		turned_add(job, NULL, NOTHING);
	if (!job->block || !job->turned) {
		job_answer_now(job);
		return;
	}
	json_t *detail = json_pack("{s:s, s:O}", "user", job->user, "refused", job->turned);
	if (job->n_turned > TURNED_MAX)
		json_object_set_new(
			detail, "more", json_integer((json_int_t)(job->n_turned - TURNED_MAX))
		);
	snprintf(object, sizeof(object), "- %s %s", OPERATOR, job->mine);
	api_pending(job->api, 1);
	ledger_audit_then(
		api_ledger(job->api),
		job->actor,
		"block.refuse",
		object,
		detail,
		turned_recorded,
		job
	);
	json_decref(detail);
}

// --- into the ledger

static void job_next(struct job *job);

static void
result_take(struct job *job, const struct item *item, const struct submit_result *result)
{
	static const char *const names[] = {
		[SUBMIT_OK] = "ok",
		[SUBMIT_UNCHANGED] = "unchanged",
		[SUBMIT_PROTECTED] = "protected",
		[SUBMIT_EXCEPTED] = "excepted",
		[SUBMIT_BRAKE] = "brake",
		[SUBMIT_HELD] = "held",
		[SUBMIT_FULL] = "full",
		[SUBMIT_NOT_FOUND] = "not_found",
	};
	const char *message = result->message[0] ? result->message : item->why;
	switch (result->code) {
	case SUBMIT_OK:
	case SUBMIT_UNCHANGED:
	case SUBMIT_EXCEPTED:
		job->changed++;
		break;
	case SUBMIT_HELD:
		job->held++;
		break;
	case SUBMIT_PROTECTED:
	case SUBMIT_BRAKE:
	case SUBMIT_FULL:
	case SUBMIT_NOT_FOUND:
		job->refused++;
		turned_add(job, item, message);
		break;
	}
	result_add(job, item, names[result->code], message);
}

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
		char why[128];
		snprintf(why, sizeof(why), "not recorded: %s", strerror(-error));
		job_refuse(
			job,
			error == -ENOSPC || error == -EDQUOT ? 507 : 500,
			why,
			error == -ENOSPC ? "make room on the ledger's disk" : NULL
		);
		return;
	}
	job->revision = revision;
	for (size_t i = 0; i < n; i++)
		result_take(job, &job->items[job->done + i], &results[i]);
	job->done += job->slice;
	if (job->done < job->n)
		job_next(job);
	else
		job_answer(job);
}

// The minute's room for new claims of cases; beyond it they are held.
static bool rate_take(struct job *job)
{
	int64_t minute = now_seconds() / 60;
	if (rate.minute != minute) {
		rate.minute = minute;
		rate.n = 0;
	}
	return rate.n++ < api_control(job->api)->conf->brakes.case_claims_per_minute;
}

static void submit_fill(struct job *job, struct item *item, struct submit_item *submit)
{
	if (job->block && !item->held && !rate_take(job)) {
		item->held = true;
		snprintf(
			item->why,
			sizeof(item->why),
			"more blocks from cases in a minute than brakes.case_claims_per_minute"
		);
	}
	*submit = (struct submit_item){
		.op = job->block ? SUBMIT_PUT : SUBMIT_END,
		.claim = {
			.source = OPERATOR,
			.ref = item->ref,
			.indicator = item->indicator,
			.author = job->user,
			.reason = job->reason,
			.action = CLAIM_ENFORCE,
			.created = now_seconds(),
			.until = job->until,
			.state = item->held ? CLAIM_HELD : CLAIM_LIVE,
			.case_number = job->number,
			.tlp = item->tlp,
		},
		.cause = item->held ? item->why : job->reason,
	};
}

static void job_next(struct job *job)
{
	job->slice = job->n - job->done < SUBMIT_MAX ? job->n - job->done : SUBMIT_MAX;
	struct submit_item *items = calloc(job->slice + 1, sizeof(*items));
	if (!items) {
		job_refuse(job, 500, "no memory", NULL);
		return;
	}
	for (size_t i = 0; i < job->slice; i++)
		submit_fill(job, &job->items[job->done + i], &items[i]);
	const struct submit submit = {
		.items = items,
		.n = job->slice,
		.actor = {.name = job->actor, .reason = job->reason},
	};
	api_pending(job->api, 1);
	ledger_submit(api_ledger(job->api), &submit, job_submitted, job);
	free(items);
}

// --- blocking: what TheHive says

static void finding_take(struct job *job, const struct hive_finding *finding)
{
	struct item other = {.indicator = finding->indicator}, *item = &other;
	bool takes = finding->kind == HIVE_CLAIM || finding->kind == HIVE_HELD;
	if (takes) {
		item = item_add(job);
		if (!item) {
			job->left++;
			return;
		}
	}
	int stem = (int)(strrchr(job->mine, '/') + 1 - job->mine);
	snprintf(item->ref, sizeof(item->ref), "%.*s%s", stem, job->mine, finding->id);
	snprintf(item->data, sizeof(item->data), "%s", finding->data);
	item->indicator = finding->indicator;
	item->held = finding->kind == HIVE_HELD;
	item->tlp = finding->tlp;
	if (finding->kind != HIVE_CLAIM)
		snprintf(item->why, sizeof(item->why), "%s", finding->why);
	if (takes)
		return;
	if (finding->kind == HIVE_REFUSED || job->observable[0]) {
		job->refused++;
		turned_add(job, item, finding->why);
		result_add(job, item, "refused", finding->why);
	} else {
		job->left++; // not IOC: nobody asked for it
	}
}

static void asked(void *ctx, const struct thehive_answer *answer)
{
	struct job *job = ctx;
	job->ask = NULL;
	if (answer->error) {
		job_refuse(
			job,
			answer->missing ? 404 : 503,
			answer->error,
			answer->missing ? NULL : "nothing is recorded; mend TheHive and try again"
		);
		return;
	}
	const struct hive_judgement *judgement = answer->judgement;
	snprintf(job->number, sizeof(job->number), "%s", judgement->number);
	if (judgement->closed && judgement->verdict == HIVE_OPEN) {
		snprintf(job->closed, sizeof(job->closed), "%s", judgement->why);
		turned_add(job, NULL, job->closed);
		job_answer(job);
		return;
	}
	if (!job->reason[0])
		snprintf(
			job->reason,
			sizeof(job->reason),
			"blocked by hand from case %s",
			job->number
		);
	for (size_t i = 0; i < answer->findings->n; i++)
		finding_take(job, &answer->findings->list[i]);
	if (job->n > 0)
		job_next(job);
	else
		job_answer(job);
}

// --- unblocking: what the ledger has

static bool mine_add(void *ctx, const struct claim *claim)
{
	struct job *job = ctx;
	bool wanted
		= ref_is(claim->ref, strcmp(claim->source, OPERATOR) == 0 ? job->mine : job->own);
	if (!wanted || strlen(claim->ref) >= HIVE_BLOCK_REF_MAX)
		return true;
	struct item *item = item_add(job);
	if (!item) {
		job->left++;
		return false;
	}
	snprintf(item->ref, sizeof(item->ref), "%s", claim->ref);
	item->indicator = claim->indicator;
	return true;
}

static void unblock_start(struct job *job)
{
	struct ledger *ledger = api_ledger(job->api);
	char why[sizeof(job->reason) + sizeof(job->user) + 32];
	// The case is told who did it.
	snprintf(
		why,
		sizeof(why),
		"unblocked by hand by %s%s%s",
		job->user,
		job->reason[0] ? ": " : "",
		job->reason
	);
	snprintf(job->reason, sizeof(job->reason), "%.*s", REASON_MAX, why);
	ledger_claims_by_ref(ledger, OPERATOR, job->mine, mine_add, job);
	if (job->n > 0) {
		job_next(job);
		return;
	}
	// What the case itself denies is not ended here, but who else holds it is told.
	ledger_claims_by_ref(ledger, job->source, job->own, mine_add, job);
	job_answer(job);
}

// --- bodies

static bool
text_take(struct job *job, json_t *body, const char *key, bool needed, char *to, size_t size)
{
	const json_t *value = json_object_get(body, key);
	const char *text = value ? json_string_value(value) : "";
	bool good = text && strlen(text) < size && (*text || !needed);
	for (const char *c = text; good && *c; c++)
		good = (unsigned char)*c >= ' ' && *c != 0x7f;
	if (good) {
		snprintf(to, size, "%s", text);
		return true;
	}
	char message[96];
	snprintf(
		message, sizeof(message), "%s: a text of 1 to %zu octets is expected", key, size - 1
	);
	http_answer_error(job->request, 400, message, NULL);
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

// The instance named, or the only one. NULL: answered.
static struct thehive *
instance_find(struct api *api, struct http_request *request, const char *name)
{
	const struct thehives *hives = api_control(api)->thehives;
	struct thehive *hive = name && *name ? thehives_find(hives, name)
		: !thehives_at(hives, 1)     ? thehives_at(hives, 0)
					     : NULL;
	if (!hive && !control_leads(api_control(api)))
		roles_refuse(api_control(api), request);
	else if (!hive)
		http_answer_error(
			request,
			404,
			"no such instance of TheHive",
			"name it as \"thehive\": the name in control.thehive[].name"
		);
	return hive;
}

static bool job_fill(struct job *job, json_t *body, struct thehive **ret_hive)
{
	char name[64];
	const struct http_caller *caller = http_request_caller(job->request);
	if (!text_take(job, body, "thehive", false, name, sizeof(name))
	    || !text_take(job, body, "case", true, job->case_id, sizeof(job->case_id))
	    || !text_take(job, body, "observable", false, job->observable, sizeof(job->observable))
	    || !text_take(job, body, "user", true, job->user, sizeof(job->user))
	    || !text_take(job, body, "reason", false, job->reason, sizeof(job->reason))
	    || !wait_take(job, body)
	    || !body_until(job->request, body, BLOCK_SECONDS, false, &job->until))
		return false;
	if (job->until > now_seconds() + BLOCK_SECONDS) {
		http_answer_error(
			job->request, 400, "for: at most 24h", "what is to last is a verdict's"
		);
		return false;
	}
	if (!hive_id_valid(job->case_id)
	    || (job->observable[0] && !hive_id_valid(job->observable))) {
		http_answer_error(
			job->request, 400, "case, observable: ids as ~123 are expected", NULL
		);
		return false;
	}
	snprintf(job->actor, sizeof(job->actor), "%s for %s", caller->name, job->user);
	struct thehive *hive = instance_find(job->api, job->request, name);
	if (!hive)
		return false;
	snprintf(job->source, sizeof(job->source), "%s", thehive_source(hive));
	thehive_own_ref(hive, job->case_id, job->observable, job->own);
	thehive_block_ref(hive, job->case_id, job->observable, job->mine);
	*ret_hive = hive;
	return true;
}

static void block_start(struct job *job, struct thehive *hive)
{
	int error = thehive_ask(
		hive,
		job->case_id,
		job->observable[0] ? job->observable : NULL,
		asked,
		job,
		&job->ask
	);
	if (error)
		job_refuse(
			job,
			503,
			error == -EAGAIN ? "TheHive has not been reached yet" : strerror(-error),
			"see stanch status; try again"
		);
}

static void job_start(struct api *api, struct http_request *request, bool block)
{
	json_t *body = http_request_json(request);
	if (!body)
		return;
	struct job *job = calloc(1, sizeof(*job));
	json_t *results = json_array();
	if (!job || !results) {
		json_decref(body);
		json_decref(results);
		free(job);
		http_answer_error(request, 500, "no memory", NULL);
		return;
	}
	job->api = api;
	job->request = request;
	job->block = block;
	job->results = results;
	LIST_INSERT_HEAD(&jobs, job, link);
	struct thehive *hive = NULL;
	bool good = job_fill(job, body, &hive);
	json_decref(body);
	if (!good)
		job_free(job);
	else if (block)
		block_start(job, hive);
	else
		unblock_start(job);
}

static void route_block(void *ctx, struct http_request *request)
{
	job_start(ctx, request, true);
}

static void route_unblock(void *ctx, struct http_request *request)
{
	job_start(ctx, request, false);
}

// --- what a case holds

struct page {
	struct api *api;
	json_t *list;
	const char *ref;
};

static bool claim_add(void *ctx, const struct claim *claim)
{
	struct page *page = ctx;
	if (!ref_is(claim->ref, page->ref))
		return true;
	json_array_append_new(page->list, claim_json(api_ledger(page->api), claim));
	return json_array_size(page->list) < ITEMS_MAX;
}

static void route_claims(void *ctx, struct http_request *request)
{
	struct api *api = ctx;
	const char *id = http_request_query(request, "case");
	const char *observable = http_request_query(request, "observable");
	observable = observable ? observable : "";
	if (!id || !hive_id_valid(id) || (*observable && !hive_id_valid(observable))) {
		http_answer_error(request, 400, "case, observable: ids as ~123 are expected", NULL);
		return;
	}
	struct thehive *hive = instance_find(api, request, http_request_query(request, "thehive"));
	if (!hive)
		return;
	struct page page = {.api = api, .list = json_array()};
	char own[HIVE_NAME_MAX + 2 * HIVE_ID_MAX], block[HIVE_BLOCK_REF_MAX];
	thehive_own_ref(hive, id, observable, own);
	thehive_block_ref(hive, id, observable, block);
	page.ref = own;
	ledger_claims_by_ref(api_ledger(api), thehive_source(hive), own, claim_add, &page);
	page.ref = block;
	if (json_array_size(page.list) < ITEMS_MAX)
		ledger_claims_by_ref(api_ledger(api), OPERATOR, block, claim_add, &page);
	http_answer_json(request, 200, json_pack("{s:o}", "claims", page.list));
}

static const struct http_route routes[] = {
	{"POST",
	 "/v1/cases/block",
	 ROLE_OPERATOR,
	 BODY_MAX,
	 route_block,
	 "block by hand from a case: case, observable, user, reason, for"},
	{"POST",
	 "/v1/cases/unblock",
	 ROLE_OPERATOR,
	 BODY_MAX,
	 route_unblock,
	 "end what was blocked so: case, observable, user"},
	{"GET",
	 "/v1/cases/claims",
	 ROLE_VIEWER,
	 0,
	 route_claims,
	 "claims that refer to a case: case, observable, thehive"},
};

int api_cases_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}

void api_cases_end(void)
{
	struct job *job, *next;
	for (job = LIST_FIRST(&jobs); job; job = next) {
		next = LIST_NEXT(job, link);
		if (!job->ask)
			continue; // the ledger answers it
		thehive_ask_cancel(job->ask);
		job_refuse(job, 503, "stopping", "try again");
	}
}
