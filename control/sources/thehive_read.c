// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Reading one case: the case, the pages of its observables, and, before anything missing is
// withdrawn, each missing observable by its id.

#include "control/sources/thehive_internal.h"
#include "control/sources/thehive_query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define V4_TOTAL_MAX 1000 // TheHive 4 counts no further

static void case_come(void *ctx, const struct http_answer *answer);
static void page_come(void *ctx, const struct http_answer *answer);
static void parent_come(void *ctx, const struct http_answer *answer);
static void observable_come(void *ctx, const struct http_answer *answer);

void hive_read_free(struct hive_read *read)
{
	if (!read)
		return;
	LIST_REMOVE(read, link);
	json_decref(read->early);
	hive_findings_fini(&read->findings);
	free(read->missing);
	free(read);
}

static void read_fail(struct hive_read *read, const char *why)
{
	if (why) {
		char what[HIVE_ID_MAX + 8];
		snprintf(what, sizeof(what), "case %s", read->of->id);
		hive_trouble(read->hive, what, NULL, why);
	}
	read->failed = true;
}

static void
ask(struct hive_read *read,
    const char *method,
    const char *path,
    const char *body,
    http_answer_cb done)
{
	int error = http_client_request(
		read->client, method, path, body, body ? strlen(body) : 0, done, read
	);
	if (error)
		read_fail(read, strerror(-error));
	else
		read->pending++;
}

static void page_ask(struct hive_read *read)
{
	char *body = hive_query_observables(&read->hive->rules, read->of->id, read->n_seen);
	if (!body) {
		read_fail(read, strerror(ENOMEM));
		return;
	}
	ask(read, "POST", "/api/v1/query?name=stanch-observables", body, page_come);
	free(body);
}

// --- the end

static void read_end(struct hive_read *read)
{
	struct thehive *hive = read->hive;
	struct hive_case *of = read->of;
	bool paced = read->paced, failed = read->failed;
	of->reading = false;
	if (!failed) {
		hive->counters.reads++;
		of->attempts = 0;
		hive_apply(read);
	} else if (read->may_withdraw && !paced) {
		of->later = true;
	}
	hive_read_free(read);
	if (!paced)
		hive->n_reading--;
	if (failed && !paced)
		hive_case_retry(hive, of);
	else
		hive_case_done(hive, of);
	hive_pump_soon(hive);
	if (paced)
		hive_list_read_done(hive, failed);
}

static void observable_ask(struct hive_read *read)
{
	char path[HIVE_ID_MAX + 32];
	snprintf(path, sizeof(path), "/api/v1/observable/%s", read->missing[read->at_missing]);
	ask(read, "GET", path, NULL, observable_come);
}

// All requests are answered: more to ask, or the end.
static void read_go_on(struct hive_read *read)
{
	if (read->pending > 0)
		return;
	if (!read->failed && read->at_missing < read->n_missing) {
		observable_ask(read);
		if (!read->failed)
			return;
	}
	read_end(read);
}

// The list is whole. What has a claim and is not in it is asked for by its id: a list may lie.
static void observables_end(struct hive_read *read)
{
	if (read->may_withdraw && hive_missing_find(read) < 0)
		read_fail(read, strerror(ENOMEM));
}

static void observable_come(void *ctx, const struct http_answer *answer)
{
	struct hive_read *read = ctx;
	struct thehive *hive = read->hive;
	read->pending--;
	if (hive_answer_missing(answer)) {
		hive_well(hive);
		read->at_missing++;
		read_go_on(read);
		return;
	}
	json_t *body = hive_answer_json(hive, "observable", answer);
	const char *reason = NULL;
	if (!body) {
		read->failed = true;
	} else {
		const char *id = json_string_value(json_object_get(body, "_id"));
		if (!id || strcmp(id, read->missing[read->at_missing]) != 0)
			read_fail(read, "the answer is not the observable that was asked for");
		else if (hive_observable_judge(&hive->rules, &read->judgement, body, &read->findings, &reason) < 0)
			read_fail(read, reason ? reason : strerror(ENOMEM));
	}
	json_decref(body);
	read->at_missing++;
	read_go_on(read);
}

// --- pages of observables

static void page_take(struct hive_read *read, const json_t *page, long total)
{
	struct thehive *hive = read->hive;
	size_t i;
	json_t *one;
	json_array_foreach(page, i, one)
	{
		const char *reason = NULL;
		int error = hive_observable_judge(
			&hive->rules, &read->judgement, one, &read->findings, &reason
		);
		if (error) {
			read_fail(read, reason ? reason : strerror(-error));
			return;
		}
	}
	size_t n = json_array_size(page);
	read->n_seen += n;
	if (read->n_seen > HIVE_OBSERVABLES_MAX) {
		read->judgement.verdict = HIVE_UNCLEAR;
		snprintf(
			read->judgement.why,
			sizeof(read->judgement.why),
			"the case has more than %u observables of the types that count: nothing "
			"new is denied",
			HIVE_OBSERVABLES_MAX
		);
		return;
	}
	if (n >= HIVE_OBSERVABLES_PAGE) {
		page_ask(read);
		return;
	}
	bool exact = total >= 0 && (hive->rules.version.major >= 5 || total < V4_TOTAL_MAX);
	if (exact && (size_t)total != read->n_seen)
		read_fail(read, "the list of observables is not whole");
	else
		observables_end(read);
}

static void page_come(void *ctx, const struct http_answer *answer)
{
	struct hive_read *read = ctx;
	read->pending--;
	json_t *page = hive_answer_json(read->hive, "observables", answer);
	if (page && !json_is_array(page)) {
		read_fail(read, "the list of observables is no list");
	} else if (!page) {
		read->failed = true;
	} else {
		hive_well(read->hive);
		long total = hive_answer_total(answer);
		if (read->have_case && hive_observables_count(&read->judgement, time(NULL))) {
			page_take(read, page, total);
		} else if (!read->have_case && !read->gone) {
			read->early = json_incref(page);
			read->early_total = total;
		}
	}
	json_decref(page);
	read_go_on(read);
}

// --- the case

static void case_known(struct hive_read *read)
{
	read->have_case = true;
	if (!hive_observables_count(&read->judgement, time(NULL)))
		return;
	if (read->early)
		page_take(read, read->early, read->early_total);
	else if (read->pending == 0)
		page_ask(read);
}

static void case_take(struct hive_read *read, const json_t *body)
{
	const char *reason = NULL;
	if (hive_case_judge(&read->hive->rules, body, read->of->id, &read->judgement, &reason) < 0)
		read_fail(read, reason);
	else
		case_known(read);
}

// A case that is gone may have become part of another: its observables keep their ids, and say
// where they are now. That needs no webhook.
static void parent_ask(struct hive_read *read)
{
	char observable[HIVE_ID_MAX];
	if ((!hive_case_claimed(read->hive, read->of->id, observable)
	     && !hive_case_blocked_one(read->hive, read->of->id, observable))
	    || !hive_id_valid(observable))
		return;
	char *body = hive_query_parent(&read->hive->rules, observable);
	if (body)
		ask(read, "POST", "/api/v1/query?name=stanch-parent", body, parent_come);
	else
		read_fail(read, strerror(ENOMEM));
	free(body);
}

static void parent_come(void *ctx, const struct http_answer *answer)
{
	struct hive_read *read = ctx;
	struct hive_case *of = read->of;
	read->pending--;
	struct hive_judgement judgement;
	const char *reason = NULL;
	bool refused = !answer->error && answer->status == 400; // then nothing tells of merges
	json_t *page = refused || hive_answer_missing(answer)
		? json_array()
		: hive_answer_json(read->hive, "parent of an observable", answer);
	const json_t *one = json_array_get(page, 0);
	if (!page)
		read->failed = true;
	else if (one && hive_case_judge(&read->hive->rules, one, NULL, &judgement, &reason) < 0)
		read_fail(read, reason);
	else if (one && strcmp(judgement.id, of->id) != 0)
		memcpy(of->merged_into, judgement.id, sizeof(of->merged_into));
	json_decref(page);
	read_go_on(read);
}

static void case_come(void *ctx, const struct http_answer *answer)
{
	struct hive_read *read = ctx;
	read->pending--;
	if (hive_answer_missing(answer)) {
		hive_well(read->hive);
		read->gone = true;
		parent_ask(read);
		read_go_on(read);
		return;
	}
	char what[HIVE_ID_MAX + 8];
	snprintf(what, sizeof(what), "case %s", read->of->id);
	json_t *body = hive_answer_json(read->hive, what, answer);
	if (!body) {
		read->failed = true;
	} else {
		case_take(read, body);
		if (!read->failed)
			hive_well(read->hive);
	}
	json_decref(body);
	read_go_on(read);
}

static struct hive_read *
read_make(struct thehive *hive, struct hive_case *of, bool paced, bool may_withdraw)
{
	struct hive_read *read = calloc(1, sizeof(*read));
	if (!read)
		return NULL;
	read->hive = hive;
	read->of = of;
	read->client = paced ? hive->paced : hive->prompt;
	read->paced = paced;
	read->may_withdraw = may_withdraw;
	read->early_total = -1;
	LIST_INSERT_HEAD(&hive->reads, read, link);
	return read;
}

void hive_read_start(
	struct thehive *hive,
	struct hive_case *of,
	bool paced,
	bool may_withdraw,
	const struct hive_judgement *known
)
{
	struct hive_read *read = read_make(hive, of, paced, may_withdraw);
	if (!read) {
		hive_case_retry(hive, of);
		if (paced)
			hive_list_read_done(hive, true);
		return;
	}
	of->reading = true;
	if (!paced)
		hive->n_reading++;
	if (known) {
		read->judgement = *known;
		case_known(read);
	} else {
		char path[HIVE_ID_MAX + 16];
		snprintf(path, sizeof(path), "/api/v1/case/%s", of->id);
		ask(read, "GET", path, NULL, case_come);
		// Where it is closed for sure, the observables are needed: one round trip less.
		if (of->closed && !read->failed)
			page_ask(read);
	}
	of->closed = false;
	read_go_on(read);
}

bool hive_read_given(
	struct thehive *hive,
	struct hive_case *of,
	const struct hive_judgement *judgement,
	struct hive_findings *findings
)
{
	struct hive_read *read = read_make(hive, of, true, false);
	if (!read) {
		hive_findings_fini(findings);
		return false;
	}
	read->have_case = true;
	read->judgement = *judgement;
	read->findings = *findings;
	*findings = (struct hive_findings){0};
	bool whole = hive_missing_find(read) == 0 && read->n_missing == 0;
	if (whole) {
		hive->counters.reads++;
		hive_apply(read);
	}
	hive_read_free(read);
	if (whole)
		hive_case_done(hive, of);
	return whole;
}
