// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive_ask.h"

#include "control/sources/thehive_internal.h"
#include "control/sources/thehive_query.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDS_MAX 250 // of one transaction
#define MOVES_MAX 50
#define REASON_MAX 512
#define WATCH_SECONDS 10
#define WATCH_READS 12
#define WATCHES_MAX 100

struct thehive_ask {
	struct thehive *hive;
	char case_id[HIVE_ID_MAX], observable[HIVE_ID_MAX];
	thehive_ask_cb done; // NULL: nobody waits any more
	void *ctx;
	struct hive_judgement judgement; // as it is
	struct hive_findings findings;
	size_t n_seen;
	LIST_ENTRY(thehive_ask) link;
};

void thehive_block_ref(
	const struct thehive *hive,
	const char *case_id,
	const char *observable,
	char ref[HIVE_BLOCK_REF_MAX]
)
{
	snprintf(
		ref, HIVE_BLOCK_REF_MAX, "case/%.40s/%s/%s", hive->conf->name, case_id, observable
	);
}

void thehive_own_ref(
	const struct thehive *hive,
	const char *case_id,
	const char *observable,
	char ref[HIVE_NAME_MAX + 2 * HIVE_ID_MAX]
)
{
	snprintf(
		ref,
		HIVE_NAME_MAX + 2 * HIVE_ID_MAX,
		"%s/%s/%s",
		hive->organisation,
		case_id,
		observable
	);
}

// --- after an unblock

// The tag that ends the verdict's claims is set by Cortex, some time after it was told of success:
// TheHive 4 raises no webhook for it, and an observable's tag changes nothing of its case.
struct hive_watch {
	struct thehive *hive;
	char case_id[HIVE_ID_MAX], observable[HIVE_ID_MAX];
	unsigned reads;
	struct event *timer;
	LIST_ENTRY(hive_watch) link;
};

static void watch_end(struct hive_watch *watch)
{
	LIST_REMOVE(watch, link);
	if (watch->timer)
		event_free(watch->timer);
	free(watch);
}

static bool one_there(void *ctx, const struct claim *claim)
{
	(void)claim;
	*(bool *)ctx = true;
	return false;
}

static void watch_come(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct hive_watch *watch = ctx;
	struct thehive *hive = watch->hive;
	char ref[HIVE_NAME_MAX + 2 * HIVE_ID_MAX];
	bool there = false;
	thehive_own_ref(hive, watch->case_id, watch->observable, ref);
	ledger_claims_by_ref(hive->ledger, hive->source, ref, one_there, &there);
	if (!there || watch->reads++ == WATCH_READS)
		watch_end(watch);
	else
		hive_case_hint(hive, watch->case_id);
}

void thehive_unblocked(struct thehive *hive, const char *case_id, const char *observable)
{
	const struct timeval every = {.tv_sec = WATCH_SECONDS};
	struct hive_watch *watch;
	size_t n = 0;
	LIST_FOREACH(watch, &hive->watches, link)
	if (++n == WATCHES_MAX)
		return; // the full listing finds it
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return;
	watch->hive = hive;
	snprintf(watch->case_id, sizeof(watch->case_id), "%s", case_id);
	snprintf(watch->observable, sizeof(watch->observable), "%s", observable);
	LIST_INSERT_HEAD(&hive->watches, watch, link);
	watch->timer = event_new(hive->base, -1, EV_PERSIST, watch_come, watch);
	if (!watch->timer || event_add(watch->timer, &every) < 0)
		watch_end(watch);
}

// --- asking

static void ask_end(struct thehive_ask *ask, const char *error, bool missing)
{
	const struct thehive_answer answer = {
		.error = error,
		.missing = missing,
		.judgement = error ? NULL : &ask->judgement,
		.findings = error ? NULL : &ask->findings,
	};
	LIST_REMOVE(ask, link);
	if (ask->done)
		ask->done(ask->ctx, &answer);
	hive_findings_fini(&ask->findings);
	free(ask);
}

// As if the case said enforce; an observable asked for by name as if it were IOC.
static int observable_take(struct thehive_ask *ask, const json_t *body, const char **ret_reason)
{
	struct hive_judgement as_if = ask->judgement;
	as_if.verdict = HIVE_DENY;
	as_if.action = CLAIM_ENFORCE;
	as_if.until = UNTIL_FOREVER;
	as_if.false_positive = as_if.by_observable = false;
	as_if.immune_until = 0;
	json_t *copy = json_copy((json_t *)(uintptr_t)body);
	if (copy && ask->observable[0])
		json_object_set_new(copy, "ioc", json_true());
	*ret_reason = "no memory";
	int error = copy
		? hive_observable_judge(&ask->hive->rules, &as_if, copy, &ask->findings, ret_reason)
		: -ENOMEM;
	json_decref(copy);
	return error;
}

static const char *failure_text(const struct http_answer *answer, char text[192])
{
	if (answer->error)
		snprintf(text, 192, "TheHive: %s", answer->error_text);
	else
		snprintf(text, 192, "TheHive answered with status %ld", answer->status);
	return text;
}

static void ask_send(
	struct thehive_ask *ask,
	const char *method,
	const char *path,
	const char *body,
	http_answer_cb come
)
{
	int error = http_client_request(
		ask->hive->prompt, method, path, body, body ? strlen(body) : 0, come, ask
	);
	if (error)
		ask_end(ask, strerror(-error), false);
}

static void observable_come(void *ctx, const struct http_answer *answer)
{
	struct thehive_ask *ask = ctx;
	char text[192];
	const char *reason = NULL;
	if (hive_answer_missing(answer)) {
		ask_end(ask, "TheHive has no such observable", true);
		return;
	}
	json_t *body = answer->error || answer->status != 200
		? NULL
		: json_loadb(answer->body, answer->body_len, 0, NULL);
	if (!body)
		reason = failure_text(answer, text);
	else if (observable_take(ask, body, &reason) == 0)
		reason = NULL;
	ask_end(ask, reason, false);
	json_decref(body);
}

static void page_come(void *ctx, const struct http_answer *answer);

static void page_ask(struct thehive_ask *ask)
{
	char *body = hive_query_observables(&ask->hive->rules, ask->case_id, ask->n_seen);
	if (body)
		ask_send(ask, "POST", "/api/v1/query?name=stanch-block", body, page_come);
	else
		ask_end(ask, "no memory", false);
	free(body);
}

static void page_come(void *ctx, const struct http_answer *answer)
{
	struct thehive_ask *ask = ctx;
	char text[192];
	const char *reason = NULL;
	json_t *page = answer->error || answer->status != 200
		? NULL
		: json_loadb(answer->body, answer->body_len, 0, NULL);
	size_t n = json_array_size(page), i;
	json_t *one;
	if (!json_is_array(page))
		reason = failure_text(answer, text);
	json_array_foreach(page, i, one)
	{
		if (observable_take(ask, one, &reason) < 0)
			break;
		reason = NULL;
	}
	json_decref(page);
	ask->n_seen += n;
	if (!reason && ask->n_seen > HIVE_OBSERVABLES_MAX)
		reason = "the case has too many observables";
	if (reason || n < HIVE_OBSERVABLES_PAGE)
		ask_end(ask, reason, false);
	else
		page_ask(ask);
}

static void case_come(void *ctx, const struct http_answer *answer)
{
	struct thehive_ask *ask = ctx;
	char text[192], path[HIVE_ID_MAX + 32];
	const char *reason = NULL;
	if (hive_answer_missing(answer)) {
		ask_end(ask, "TheHive has no such case, or its account may not see it", true);
		return;
	}
	json_t *body = answer->error || answer->status != 200
		? NULL
		: json_loadb(answer->body, answer->body_len, 0, NULL);
	if (!body)
		reason = failure_text(answer, text);
	else if (hive_case_judge(&ask->hive->rules, body, ask->case_id, &ask->judgement, &reason) == 0)
		reason = NULL;
	json_decref(body);
	if (reason) {
		ask_end(ask, reason, false);
	} else if (ask->observable[0]) {
		snprintf(path, sizeof(path), "/api/v1/observable/%s", ask->observable);
		ask_send(ask, "GET", path, NULL, observable_come);
	} else {
		page_ask(ask);
	}
}

int thehive_ask(
	struct thehive *hive,
	const char *case_id,
	const char *observable,
	thehive_ask_cb done,
	void *ctx,
	struct thehive_ask **ret_ask
)
{
	if (!hive_id_valid(case_id) || (observable && !hive_id_valid(observable)))
		return -EINVAL;
	if (hive->rules.version.major == 0)
		return -EAGAIN;
	struct thehive_ask *ask = calloc(1, sizeof(*ask));
	if (!ask)
		return -ENOMEM;
	char path[HIVE_ID_MAX + 32];
	snprintf(ask->case_id, sizeof(ask->case_id), "%s", case_id);
	snprintf(ask->observable, sizeof(ask->observable), "%s", observable ? observable : "");
	snprintf(path, sizeof(path), "/api/v1/case/%s", case_id);
	ask->hive = hive;
	ask->done = done;
	ask->ctx = ctx;
	int error = http_client_request(hive->prompt, "GET", path, NULL, 0, case_come, ask);
	if (error) {
		free(ask);
		return error;
	}
	LIST_INSERT_HEAD(&hive->asks, ask, link);
	*ret_ask = ask;
	return 0;
}

void thehive_ask_cancel(struct thehive_ask *ask)
{
	ask->done = NULL;
}

void hive_asks_end(struct thehive *hive)
{
	while (!LIST_EMPTY(&hive->watches))
		watch_end(LIST_FIRST(&hive->watches));
	while (!LIST_EMPTY(&hive->asks))
		ask_end(LIST_FIRST(&hive->asks), "the configuration is read again: try again", false
		);
}

// --- operators' claims on a case

struct ends {
	struct submit_item items[ENDS_MAX];
	char refs[ENDS_MAX][HIVE_BLOCK_REF_MAX];
	size_t n;
};

static bool end_add(void *ctx, const struct claim *claim)
{
	struct ends *ends = ctx;
	if (strlen(claim->ref) >= HIVE_BLOCK_REF_MAX)
		return true;
	char *ref = ends->refs[ends->n];
	snprintf(ref, HIVE_BLOCK_REF_MAX, "%s", claim->ref);
	ends->items[ends->n] = (struct submit_item){
		.op = SUBMIT_END,
		.claim = {.source = "operator", .ref = ref, .indicator = claim->indicator},
		.cause = "its case was closed otherwise than as a true positive",
	};
	return ++ends->n < ENDS_MAX;
}

static bool one_keep(void *ctx, const struct claim *claim)
{
	char *observable = ctx;
	const char *slash = strrchr(claim->ref, '/');
	snprintf(observable, HIVE_ID_MAX, "%s", slash && slash[1] ? slash + 1 : "-");
	return false;
}

bool hive_case_blocked_one(struct thehive *hive, const char *case_id, char ret_one[HIVE_ID_MAX])
{
	char prefix[HIVE_BLOCK_REF_MAX], one[HIVE_ID_MAX] = "";
	thehive_block_ref(hive, case_id, "", prefix);
	ledger_claims_by_ref(hive->ledger, "operator", prefix, one_keep, one);
	memcpy(ret_one, one, sizeof(one));
	return one[0] != '\0';
}

bool hive_case_blocked(struct thehive *hive, const char *case_id)
{
	char one[HIVE_ID_MAX];
	return hive_case_blocked_one(hive, case_id, one);
}

void hive_blocks_end(struct thehive *hive, const struct hive_judgement *judgement)
{
	if (!judgement->closed || judgement->verdict != HIVE_OPEN
	    || !hive_case_blocked(hive, judgement->id))
		return;
	struct ends *ends = calloc(1, sizeof(*ends));
	char prefix[HIVE_BLOCK_REF_MAX];
	thehive_block_ref(hive, judgement->id, "", prefix);
	// What is ended is found no more: the next slice begins with what is left.
	for (size_t slices = 0; ends && slices < HIVE_OBSERVABLES_MAX / ENDS_MAX; slices++) {
		ends->n = 0;
		ledger_claims_by_ref(hive->ledger, "operator", prefix, end_add, ends);
		const struct submit submit = {
			.items = ends->items,
			.n = ends->n,
			.actor = {.name = hive->source, .reason = ""},
		};
		if (ends->n)
			ledger_submit(hive->ledger, &submit, NULL, NULL);
		if (ends->n < ENDS_MAX)
			break;
	}
	free(ends);
}

// --- merges

struct moves {
	struct submit_item items[2 * MOVES_MAX];
	char refs[2 * MOVES_MAX][HIVE_BLOCK_REF_MAX];
	char texts[MOVES_MAX][3][REASON_MAX];
	char to[HIVE_BLOCK_REF_MAX]; // of the case that it became part of
	size_t n;
};

static const char *text_keep(char to[REASON_MAX], const char *text)
{
	snprintf(to, REASON_MAX, "%s", text);
	return to;
}

// The same claim with another reference, then the end of the old one: the entry does not notice.
static bool move_add(void *ctx, const struct claim *claim)
{
	struct moves *moves = ctx;
	const char *slash = strrchr(claim->ref, '/');
	size_t at = moves->n, k = 2 * at;
	if (!slash || strlen(claim->ref) >= HIVE_BLOCK_REF_MAX || claim->state > CLAIM_HELD)
		return true;
	snprintf(moves->refs[k], HIVE_BLOCK_REF_MAX, "%.140s%.48s", moves->to, slash + 1);
	snprintf(moves->refs[k + 1], HIVE_BLOCK_REF_MAX, "%s", claim->ref);
	moves->items[k] = (struct submit_item
	){.op = SUBMIT_PUT, .claim = *claim, .cause = "held for the case that was merged"};
	moves->items[k].claim.source = "operator";
	moves->items[k].claim.ref = moves->refs[k];
	moves->items[k].claim.author = text_keep(moves->texts[at][0], claim->author);
	moves->items[k].claim.reason = text_keep(moves->texts[at][1], claim->reason);
	moves->items[k].claim.case_number = text_keep(moves->texts[at][2], claim->case_number);
	moves->items[k + 1] = (struct submit_item){
		.op = SUBMIT_END,
		.claim
		= {.source = "operator", .ref = moves->refs[k + 1], .indicator = claim->indicator},
		.cause = "its case was merged into another: it goes on there",
	};
	return ++moves->n < MOVES_MAX;
}

void hive_blocks_move(struct thehive *hive, const char *from, const char *to)
{
	char prefix[HIVE_BLOCK_REF_MAX];
	struct moves *moves = hive_case_blocked(hive, from) ? calloc(1, sizeof(*moves)) : NULL;
	thehive_block_ref(hive, from, "", prefix);
	for (size_t slices = 0; moves && slices < HIVE_OBSERVABLES_MAX / MOVES_MAX; slices++) {
		thehive_block_ref(hive, to, "", moves->to);
		moves->n = 0;
		ledger_claims_by_ref(hive->ledger, "operator", prefix, move_add, moves);
		const struct submit submit = {
			.items = moves->items,
			.n = 2 * moves->n,
			.actor = {.name = hive->source, .reason = ""},
		};
		if (moves->n)
			ledger_submit(hive->ledger, &submit, NULL, NULL);
		if (moves->n < MOVES_MAX)
			break;
	}
	free(moves);
}
