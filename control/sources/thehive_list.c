// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Listings: what no webhook told. Both go page by page on the paced client, and go on after a
// failure where they were.
//
//   changes  (here) cases changed since the cursor; observables made or changed since theirs (4
//            does not touch the case for those), and the cases of those: each is a hint
//   full     (thehive_full.c) all closed true positives; those with observables that count by
//            their own tags; each case that has claims or immunities and was not among them
//
// An empty or cut list ends nothing: what ends and what orphans is decided by reading the case.

#include "control/sources/thehive_list.h"

#include "control/sources/thehive_query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define OVERLAP_MS 10000 // the index, and clocks of a cluster, lag
#define ANSWER_SMALL (128 * 1024) // of a full page: twice as many may come
#define ANSWER_LARGE (2 * 1024 * 1024) // half as many are enough: it is read in one turn

static void changed_ask(struct thehive *hive);

// --- what both need

int64_t hive_time_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

void hive_timer_add(struct event *timer, int64_t ms)
{
	uint32_t random = 0;
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	ms = ms * 9 / 10 + (int64_t)(random % (uint32_t)(ms / 5 + 1));
	const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	evtimer_add(timer, &wait);
}

int hive_list_query(struct thehive *hive, const char *path, char *body, http_answer_cb done)
{
	if (!body)
		return -ENOMEM;
	int error = http_client_request(hive->paced, "POST", path, body, strlen(body), done, hive);
	free(body);
	return error;
}

// The answer did not come whole: perhaps it was too much to ask for. So many are not asked for
// again in this listing.
static void page_shrink(struct thehive *hive, struct hive_page_size *size)
{
	if (size->now == 1)
		return;
	log_notice("%s: pages of %zu instead of %zu", hive->source, size->now / 2, size->now);
	size->now /= 2;
	size->most = size->now;
}

static void page_fit(struct hive_page_size *size, size_t n, const struct http_answer *answer)
{
	if (answer->body_len > ANSWER_LARGE && size->now > 1)
		size->now /= 2;
	else if (n >= size->now && answer->body_len <= ANSWER_SMALL)
		size->now = size->now * 2 < size->most ? size->now * 2 : size->most;
}

void hive_pages_anew(struct thehive *hive)
{
	hive->pages.cases.most = HIVE_PAGE_MAX;
	hive->pages.observables.most = HIVE_OBSERVABLES_PAGE;
}

json_t *hive_list_page(
	struct thehive *hive,
	const char *what,
	bool cases,
	const struct http_answer *answer,
	bool *ret_again
)
{
	struct hive_page_size *size = cases ? &hive->pages.cases : &hive->pages.observables;
	json_t *page = NULL;
	bool cut = answer->error == -EFBIG || answer->error == -EPROTO;
	if (!answer->error && answer->status == 200) {
		page = json_loadb(answer->body, answer->body_len, 0, NULL);
		cut = !page && strstr(answer->content_type, "json");
	}
	*ret_again = cut && size->now > 1; // nobody else has to wait
	if (cut || answer->error == -ETIMEDOUT)
		page_shrink(hive, size);
	if (!page) {
		if (!*ret_again)
			json_decref(hive_answer_json(hive, what, answer)); // tells it
		return NULL;
	}
	const char *reason = json_is_array(page) ? NULL : "the list is no list";
	size_t i;
	json_t *one;
	json_array_foreach(page, i, one)
	{
		struct hive_judgement judgement;
		if (cases)
			hive_case_judge(&hive->rules, one, NULL, &judgement, &reason);
		else if (!json_is_object(one) || hive_time_of(one, "_createdAt") <= 0)
			reason = "the list holds something that is no observable";
	}
	if (reason) {
		hive_trouble(hive, what, answer, reason);
		json_decref(page);
		return NULL;
	}
	page_fit(size, i, answer);
	hive_well(hive);
	return page;
}

// --- cursors, in the ledger

static void cursors_load(struct thehive *hive)
{
	struct hive_changed *c = &hive->changed;
	json_t *note = NULL;
	if (ledger_note_get(hive->ledger, hive->source, "cursor", &note) < 0)
		return;
	c->cases_ms = c->saved_cases_ms = hive_time_of(note, "cases");
	c->observables_ms = c->saved_observables_ms = hive_time_of(note, "observables");
	json_decref(note);
}

static void cursors_save(struct thehive *hive)
{
	struct hive_changed *c = &hive->changed;
	if (c->cases_ms == c->saved_cases_ms && c->observables_ms == c->saved_observables_ms)
		return;
	json_t *note = json_pack(
		"{s:I,s:I}",
		"cases",
		(json_int_t)c->cases_ms,
		"observables",
		(json_int_t)c->observables_ms
	);
	int error = ledger_note_set(hive->ledger, hive->source, "cursor", note);
	json_decref(note);
	if (error) {
		log_error("%s: cursor: %s", hive->source, strerror(-error));
		return;
	}
	c->saved_cases_ms = c->cases_ms;
	c->saved_observables_ms = c->observables_ms;
}

// --- what changed

// A case of a list that may be news.
static void case_listed(struct thehive *hive, const json_t *body, bool sure)
{
	struct hive_judgement j;
	const char *reason;
	if (hive_case_judge(&hive->rules, body, NULL, &j, &reason) < 0)
		return;
	const struct hive_known *known = hive_known_find(hive, j.id);
	bool news = j.verdict == HIVE_OPEN
		? known || j.immune_until > time(NULL) || hive_case_concerns(hive, j.id)
		: sure || !known || known->updated_ms != j.updated_ms;
	if (!news)
		return;
	if (j.verdict == HIVE_NONE && !j.by_observable && !hive_case_concerns(hive, j.id)) {
		hive_known_put(hive, j.id, HIVE_NONE, j.updated_ms);
		return;
	}
	hive_case_hint(hive, j.id);
}

static void changed_step(struct thehive *hive, enum hive_changed_step step)
{
	struct hive_changed *c = &hive->changed;
	c->step = step;
	c->from = 0;
	c->newest_ms = 0;
	if (step == CHANGED_CASES)
		c->since_ms = c->cases_ms - OVERLAP_MS;
	else if (step == CHANGED_OBSERVABLES || step == CHANGED_OBSERVED)
		c->since_ms = c->observables_ms - OVERLAP_MS;
	if (step != CHANGED_IDLE)
		changed_ask(hive);
	else
		hive_timer_add(c->timer, (int64_t)hive->conf->incremental_s * 1000);
}

static void newest_take(struct thehive *hive, const json_t *page)
{
	struct hive_changed *c = &hive->changed;
	const json_t *one = json_array_get(page, 0);
	if (c->step == CHANGED_NEWEST_CASE) {
		int64_t updated = hive_time_of(one, "_updatedAt");
		c->cases_ms = updated > 0 ? updated : 1;
		changed_step(hive, CHANGED_NEWEST_OBSERVABLE);
		return;
	}
	c->observables_ms = json_array_size(page) ? hive_time_of(one, "_createdAt") : 1;
	cursors_save(hive);
	changed_step(hive, CHANGED_IDLE);
	hive_full_soon(hive);
}

// What changes during the listing moves to its end: pages begin at the last time seen, not at an
// offset, but where more than a page changed in one instant.
static void cases_take(struct thehive *hive, const json_t *page)
{
	struct hive_changed *c = &hive->changed;
	size_t i, n = json_array_size(page);
	json_t *one;
	json_array_foreach(page, i, one)
	{
		case_listed(hive, one, false);
		if (hive_time_of(one, "_updatedAt") > c->newest_ms)
			c->newest_ms = hive_time_of(one, "_updatedAt");
	}
	if (c->newest_ms > c->cases_ms)
		c->cases_ms = c->newest_ms;
	if (n < c->size) {
		changed_step(hive, CHANGED_OBSERVABLES);
		return;
	}
	if (c->newest_ms > c->since_ms) {
		c->since_ms = c->newest_ms;
		c->from = 0;
	} else {
		c->from += n;
	}
	changed_ask(hive);
}

static void observables_take(struct thehive *hive, const json_t *page)
{
	struct hive_changed *c = &hive->changed;
	size_t i, n = json_array_size(page);
	json_t *one;
	json_array_foreach(page, i, one)
	{
		int64_t made = hive_time_of(one, "_createdAt"),
			updated = hive_time_of(one, "_updatedAt");
		int64_t when = made > updated ? made : updated;
		if (when > c->newest_ms)
			c->newest_ms = when;
	}
	c->from += n;
	if (n >= c->size) {
		changed_ask(hive);
	} else if (c->newest_ms > c->observables_ms) {
		int64_t newest = c->newest_ms;
		changed_step(hive, CHANGED_OBSERVED);
		c->newest_ms = newest;
	} else {
		cursors_save(hive);
		changed_step(hive, CHANGED_IDLE);
	}
}

static void observed_take(struct thehive *hive, const json_t *page)
{
	struct hive_changed *c = &hive->changed;
	size_t i, n = json_array_size(page);
	json_t *one;
	json_array_foreach(page, i, one) case_listed(hive, one, true);
	c->from += n;
	if (n >= c->size) {
		changed_ask(hive);
		return;
	}
	c->observables_ms = c->newest_ms;
	cursors_save(hive);
	changed_step(hive, CHANGED_IDLE);
}

static void changed_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	struct hive_changed *c = &hive->changed;
	c->waiting = false;
	bool cases = c->step != CHANGED_OBSERVABLES && c->step != CHANGED_NEWEST_OBSERVABLE;
	bool again;
	json_t *page = hive_list_page(hive, "list of changes", cases, answer, &again);
	if (!page) {
		if (again)
			changed_ask(hive);
		return; // else the back-off's end asks again
	}
	switch (c->step) {
	case CHANGED_NEWEST_CASE:
	case CHANGED_NEWEST_OBSERVABLE:
		newest_take(hive, page);
		break;
	case CHANGED_CASES:
		cases_take(hive, page);
		break;
	case CHANGED_OBSERVABLES:
		observables_take(hive, page);
		break;
	case CHANGED_OBSERVED:
		observed_take(hive, page);
		break;
	case CHANGED_IDLE:
		break;
	}
	json_decref(page);
}

static char *changed_query(const struct thehive *hive)
{
	const struct hive_changed *c = &hive->changed;
	const struct hive_rules *rules = &hive->rules;
	switch (c->step) {
	case CHANGED_NEWEST_CASE:
	case CHANGED_NEWEST_OBSERVABLE:
		return hive_query_newest(rules, c->step == CHANGED_NEWEST_CASE);
	case CHANGED_CASES:
		return hive_query_changed(rules, c->since_ms, c->from, c->size);
	case CHANGED_OBSERVABLES:
	case CHANGED_OBSERVED:
		return hive_query_observed(
			rules, c->since_ms, c->from, c->size, c->step == CHANGED_OBSERVED
		);
	case CHANGED_IDLE:
		break;
	}
	return NULL;
}

static void changed_ask(struct thehive *hive)
{
	struct hive_changed *c = &hive->changed;
	c->size = c->step == CHANGED_OBSERVABLES ? hive->pages.observables.now
						 : hive->pages.cases.now;
	int error = hive_list_query(
		hive, "/api/v1/query?name=stanch-changes", changed_query(hive), changed_come
	);
	hive->changed.waiting = !error;
	if (error)
		hive_trouble(hive, "list of changes", NULL, strerror(-error));
}

static void changed_due(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct thehive *hive = ctx;
	if (hive->changed.step == CHANGED_IDLE)
		changed_step(hive, CHANGED_CASES);
}

// --- life

int hive_list_init(struct thehive *hive)
{
	hive->pages = (struct hive_pages){
		.cases.now = HIVE_PAGE,
		.observables.now = HIVE_OBSERVABLES_PAGE,
	};
	hive_pages_anew(hive);
	hive->changed.timer = evtimer_new(hive->base, changed_due, hive);
	return hive->changed.timer ? hive_full_init(hive) : -ENOMEM;
}

void hive_list_fini(struct thehive *hive)
{
	hive_full_fini(hive);
	if (hive->changed.timer)
		event_free(hive->changed.timer);
}

// A first start learns where TheHive's clock stands before it lists everything, so that nothing
// changes unseen between the two. A later one begins with what changed while it was away.
void hive_list_start(struct thehive *hive)
{
	if (hive->listing)
		return;
	hive->listing = true;
	cursors_load(hive);
	if (hive->changed.cases_ms <= 0 || hive->changed.observables_ms <= 0) {
		changed_step(hive, CHANGED_NEWEST_CASE);
		return;
	}
	changed_step(hive, CHANGED_CASES);
	hive_full_soon(hive);
}

void hive_list_full(struct thehive *hive)
{
	if (hive->full.step != FULL_IDLE)
		hive->full.again = true;
	else if (hive->listing)
		hive_full_soon(hive);
}

void hive_list_resume(struct thehive *hive)
{
	if (!hive->listing)
		return;
	if (hive->changed.step != CHANGED_IDLE && !hive->changed.waiting)
		changed_ask(hive);
	if (hive->full.step != FULL_IDLE)
		hive_full_soon(hive);
}
