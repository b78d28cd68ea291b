// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Listings: what no webhook told. Both go page by page on the paced client, and go on after a
// failure where they were.
//
//   changes  cases changed since the cursor; observables made or changed since theirs (4 does not
//            touch the case for those), and the cases of those: each is a hint
//   full     all closed true positives, oldest first, those that differ from the ledger (see
//            thehive_bulk.h) read one by one; those with
//            observables that count by their own tags; then each case that has claims or
//            immunities and was not among them, asked for by its id
//
// An empty or cut list ends nothing: what ends and what orphans is decided by reading the case.

#include "control/sources/thehive_bulk.h"
#include "control/sources/thehive_internal.h"
#include "control/sources/thehive_query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define OVERLAP_MS 10000 // the index, and clocks of a cluster, lag
#define CLAIMS_SLICE 256

static void changed_ask(struct thehive *hive);
static void full_soon(struct thehive *hive);

static int64_t time_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

// ± a tenth: many gateways do not come at once.
static void timer_add(struct event *timer, int64_t ms)
{
	uint32_t random = 0;
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	ms = ms * 9 / 10 + (int64_t)(random % (uint32_t)(ms / 5 + 1));
	const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	evtimer_add(timer, &wait);
}

static int query(struct thehive *hive, const char *path, char *body, http_answer_cb done)
{
	if (!body)
		return -ENOMEM;
	int error = http_client_request(hive->paced, "POST", path, body, strlen(body), done, hive);
	free(body);
	return error;
}

// The list of a page, each of it a case; NULL: told as trouble.
static json_t *
page_read(struct thehive *hive, const char *what, bool cases, const struct http_answer *answer)
{
	json_t *page = hive_answer_json(hive, what, answer);
	if (!page)
		return NULL;
	const char *reason = json_is_array(page) ? NULL : "the list is no list";
	size_t i;
	json_t *one;
	json_array_foreach(page, i, one)
	{
		struct hive_judgement judgement;
		if (cases)
			hive_case_judge(&hive->rules, one, NULL, &judgement, &reason);
		else if (!json_is_object(one) || time_of(one, "_createdAt") <= 0)
			reason = "the list holds something that is no observable";
	}
	if (reason) {
		hive_trouble(hive, what, answer, reason);
		json_decref(page);
		return NULL;
	}
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
	c->cases_ms = c->saved_cases_ms = time_of(note, "cases");
	c->observables_ms = c->saved_observables_ms = time_of(note, "observables");
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
		timer_add(c->timer, (int64_t)hive->conf->incremental_s * 1000);
}

static void newest_take(struct thehive *hive, const json_t *page)
{
	struct hive_changed *c = &hive->changed;
	const json_t *one = json_array_get(page, 0);
	if (c->step == CHANGED_NEWEST_CASE) {
		int64_t updated = time_of(one, "_updatedAt");
		c->cases_ms = updated > 0 ? updated : 1;
		changed_step(hive, CHANGED_NEWEST_OBSERVABLE);
		return;
	}
	c->observables_ms = json_array_size(page) ? time_of(one, "_createdAt") : 1;
	cursors_save(hive);
	changed_step(hive, CHANGED_IDLE);
	full_soon(hive);
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
		if (time_of(one, "_updatedAt") > c->newest_ms)
			c->newest_ms = time_of(one, "_updatedAt");
	}
	if (c->newest_ms > c->cases_ms)
		c->cases_ms = c->newest_ms;
	if (n < HIVE_PAGE) {
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
		int64_t made = time_of(one, "_createdAt"), updated = time_of(one, "_updatedAt");
		int64_t when = made > updated ? made : updated;
		if (when > c->newest_ms)
			c->newest_ms = when;
	}
	c->from += n;
	if (n >= HIVE_OBSERVABLES_PAGE) {
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
	if (n >= HIVE_PAGE) {
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
	json_t *page = page_read(hive, "list of changes", cases, answer);
	if (!page)
		return; // the back-off's end asks again
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
		return hive_query_changed(rules, c->since_ms, c->from);
	case CHANGED_OBSERVABLES:
	case CHANGED_OBSERVED:
		return hive_query_observed(
			rules, c->since_ms, c->from, c->step == CHANGED_OBSERVED
		);
	case CHANGED_IDLE:
		break;
	}
	return NULL;
}

static void changed_ask(struct thehive *hive)
{
	int error
		= query(hive, "/api/v1/query?name=stanch-changes", changed_query(hive), changed_come
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

// --- everything

static void full_soon(struct thehive *hive)
{
	event_active(hive->full.step_event, EV_TIMEOUT, 0);
}

static void absent_clear(struct hive_full *full)
{
	full->absent_last = NULL;
	struct hive_absent *one, *next;
	HASH_ITER(hh, full->absent, one, next)
	{
		HASH_DEL(full->absent, one);
		free(one);
	}
}

static void full_begin(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	full->step = FULL_PAGE;
	full->generation++;
	full->made_ms = 0;
	full->from = 0;
	full->claim_id = 0;
	full->tagged = false;
	full->immune[0] = '\0';
	full->begun_ms = hive_clock_ms();
	absent_clear(full);
	if (full->generation > 1)
		hive_probe(hive); // it may have been upgraded
}

static void full_end(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	full->step = FULL_IDLE;
	absent_clear(full);
	struct hive_known *known, *next;
	HASH_ITER(hh, hive->known, known, next)
	if (known->generation != full->generation)
		hive_known_drop(hive, known);
	hive->counters.listings++;
	hive->counters.reconciled = time(NULL);
	int64_t rest = (int64_t)hive->conf->full_s * 1000 - (hive_clock_ms() - full->begun_ms);
	timer_add(full->timer, rest > 1000 && !full->again ? rest : 1000);
	full->again = false;
}

static void full_page_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	full->waiting = false;
	if (full->tagged && !answer->error && answer->status == 400) {
		log_notice("%s: this TheHive does not list observables by tag", hive->source);
		full->step = FULL_ABSENT;
		full_soon(hive);
		return;
	}
	json_t *page = page_read(hive, "list of closed cases", true, answer);
	if (!page)
		return;
	json_decref(full->page);
	full->page = page;
	full->at = 0;
	full->step = FULL_READ;
	if (!full->tagged && !full->no_bulk && hive_bulk_begin(hive, page, &full->bulk) == 0)
		full->step = FULL_BULK;
	full_soon(hive);
}

static void bulk_drop(struct hive_full *full)
{
	hive_bulk_free(full->bulk);
	full->bulk = NULL;
}

// Without a comparison each case is read.
static void full_bulk_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	full->waiting = false;
	if (!answer->error && answer->status == 400) {
		log_notice("%s: this TheHive does not list observables of cases", hive->source);
		full->no_bulk = true;
		full->step = FULL_READ;
		bulk_drop(full);
		full_soon(hive);
		return;
	}
	json_t *page = hive_answer_json(hive, "observables of closed cases", answer);
	if (!page)
		return;
	int more = json_is_array(page) ? hive_bulk_take(hive, full->bulk, page) : -EINVAL;
	json_decref(page);
	if (more < 0) {
		hive_trouble(
			hive,
			"observables of closed cases",
			answer,
			"the list holds something that is no observable"
		);
		return;
	}
	hive_well(hive);
	if (more == 0)
		full->step = FULL_READ;
	full_soon(hive);
}

static void full_bulk(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	char *body = hive_bulk_query(hive, full->bulk);
	if (!body) { // no case that denies
		full->step = FULL_READ;
		full_soon(hive);
		return;
	}
	int error
		= query(hive, "/api/v1/query?name=stanch-closed-observables", body, full_bulk_come);
	full->waiting = !error;
	if (error)
		hive_trouble(hive, "observables of closed cases", NULL, strerror(-error));
}

static void full_page_ask(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	char *body = full->tagged ? hive_query_tagged(&hive->rules, full->from)
				  : hive_query_closed(&hive->rules, full->made_ms, full->from);
	int error = query(hive, "/api/v1/query?name=stanch-closed", body, full_page_come);
	full->waiting = !error;
	if (error)
		hive_trouble(hive, "list of closed cases", NULL, strerror(-error));
}

// Once in a listing. False: it was asked for before, or there is no memory.
static bool absent_first(struct thehive *hive, const char *id)
{
	struct hive_full *full = &hive->full;
	struct hive_absent *absent;
	uint64_t key = siphash64(hive_hash_key, id, strlen(id));
	HASH_FIND(hh, full->absent, &key, sizeof(key), absent);
	if (absent)
		return false;
	absent = calloc(1, sizeof(*absent));
	if (!absent)
		return false;
	absent->key = key;
	full->absent_last = absent;
	HASH_ADD(hh, full->absent, key, sizeof(absent->key), absent);
	return true;
}

// True: a reading was begun.
static bool full_read_start(struct thehive *hive, const char *id, const json_t *body)
{
	struct hive_case *of = hive_case_get(hive, id);
	if (!of || of->reading || of->queued || of->writing)
		return false; // it is read anyway
	hive->full.waiting = true;
	hive_read_start(hive, of, true, true, body);
	return true;
}

// What denies by its own action was read already.
static bool full_case_tagged(struct thehive *hive, const json_t *body)
{
	struct hive_judgement j;
	const char *reason;
	if (hive_case_judge(&hive->rules, body, NULL, &j, &reason) < 0 || j.verdict == HIVE_DENY
	    || !hive_observables_count(&j, time(NULL)) || !absent_first(hive, j.id))
		return false;
	return full_read_start(hive, j.id, body);
}

// True: a reading was begun.
static bool full_case(struct thehive *hive, const json_t *body)
{
	struct hive_judgement j;
	const char *reason;
	if (hive_case_judge(&hive->rules, body, NULL, &j, &reason) < 0)
		return false;
	if (j.verdict == HIVE_OPEN) // cannot be: it was filtered out; whatever it is, it is read
		hive_case_hint(hive, j.id);
	else
		hive_known_put(hive, j.id, j.verdict, 0);
	if (j.verdict == HIVE_OPEN || (j.verdict == HIVE_NONE && !hive_case_concerns(hive, j.id))) {
		if (j.verdict == HIVE_NONE)
			hive_known_put(hive, j.id, j.verdict, j.updated_ms);
		return false;
	}
	if (j.verdict == HIVE_DENY && hive->full.bulk && !hive_bulk_differs(hive->full.bulk, j.id))
		return false;
	return full_read_start(hive, j.id, body);
}

static void full_page_next(struct hive_full *full, size_t n)
{
	bulk_drop(full);
	if (full->tagged) {
		full->from += n;
		full->step = n < HIVE_PAGE ? FULL_ABSENT : FULL_PAGE;
	} else if (n < HIVE_PAGE) {
		full->from = 0;
		full->tagged = true;
		full->step = FULL_PAGE;
	} else {
		int64_t last = time_of(json_array_get(full->page, n - 1), "_createdAt");
		full->from = last > full->made_ms ? 0 : full->from + n;
		full->made_ms = last;
		full->step = FULL_PAGE;
	}
}

// --- observables without an owner

static void owner_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	full->waiting = false;
	full->step = FULL_READ;
	json_t *page = page_read(hive, "case of an observable", true, answer);
	if (!page)
		return; // the next listing finds it again
	const json_t *body = json_array_get(page, 0);
	struct hive_judgement j;
	const char *reason;
	bool reads = body && hive_case_judge(&hive->rules, body, NULL, &j, &reason) == 0
		&& j.verdict == HIVE_DENY && full_read_start(hive, j.id, body);
	if (reads)
		full->step = FULL_OWNER;
	json_decref(page);
	if (!reads)
		full_soon(hive);
}

// False: there is none, or it cannot be asked for.
static bool full_owner(struct thehive *hive)
{
	char observable[HIVE_ID_MAX];
	if (!hive_bulk_owner_next(hive->full.bulk, observable))
		return false;
	char *body = hive_query_parent(&hive->rules, observable);
	hive->full.waiting = query(hive, "/api/v1/query?name=stanch-parent", body, owner_come) == 0;
	return hive->full.waiting;
}

static void full_read(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	size_t n = json_array_size(full->page);
	while (full->at < n) {
		const json_t *one = json_array_get(full->page, full->at);
		if (full->tagged ? full_case_tagged(hive, one) : full_case(hive, one))
			return;
		full->at++;
	}
	if (full->bulk && full_owner(hive))
		return;
	full_page_next(full, n);
	json_decref(full->page);
	full->page = NULL;
	full_soon(hive);
}

// --- cases with claims that the list did not have

struct absent_walk {
	struct thehive *hive;
	size_t n;
	char id[HIVE_ID_MAX]; // the first to be asked for
};

// The case in a claim's reference.
static bool case_of_ref(const char *ref, char id[HIVE_ID_MAX])
{
	const char *from = strchr(ref, '/');
	const char *to = from ? strchr(from + 1, '/') : NULL;
	if (!to || (size_t)(to - from) > HIVE_ID_MAX)
		return false;
	memcpy(id, from + 1, (size_t)(to - from - 1));
	id[to - from - 1] = '\0';
	return hive_id_valid(id);
}

static bool absent_look(void *ctx, const struct claim *claim)
{
	struct absent_walk *walk = ctx;
	struct thehive *hive = walk->hive;
	walk->n++;
	hive->full.claim_id = claim->id;
	if (strcmp(claim->source, hive->source) != 0)
		return true;
	char id[HIVE_ID_MAX];
	if (!case_of_ref(claim->ref, id))
		return true;
	const struct hive_known *known = hive_known_find(hive, id);
	if ((known && known->generation == hive->full.generation) || !absent_first(hive, id))
		return true;
	memcpy(walk->id, id, sizeof(id));
	return false;
}

static void full_absent(struct thehive *hive)
{
	struct absent_walk walk = {.hive = hive};
	int error = ledger_claims_page(
		hive->ledger, hive->full.claim_id, CLAIMS_SLICE, absent_look, &walk
	);
	if (error) {
		hive_trouble(hive, "ledger", NULL, strerror(-error));
		return;
	}
	if (walk.id[0]) {
		if (full_read_start(hive, walk.id, NULL))
			return;
	} else if (walk.n < CLAIMS_SLICE) {
		hive->full.step = FULL_IMMUNE;
	}
	full_soon(hive);
}

// The next case with immunities that was not read in this listing.
static bool immune_look(void *ctx, const struct immunity *immunity)
{
	struct absent_walk *walk = ctx;
	struct thehive *hive = walk->hive;
	char *at = hive->full.immune;
	if (strcmp(immunity->ref, at) <= 0)
		return true;
	snprintf(at, HIVE_REF_MAX, "%s", immunity->ref);
	if (!case_of_ref(immunity->ref, walk->id) || !absent_first(hive, walk->id))
		walk->id[0] = '\0';
	return !walk->id[0];
}

static void full_immune(struct thehive *hive)
{
	struct absent_walk walk = {.hive = hive};
	int error = ledger_immunities(hive->ledger, hive->source, "", immune_look, &walk);
	if (error)
		hive_trouble(hive, "ledger", NULL, strerror(-error));
	else if (!walk.id[0])
		full_end(hive);
	else if (!full_read_start(hive, walk.id, NULL))
		full_soon(hive);
}

void hive_list_read(struct thehive *hive, const struct hive_findings *findings)
{
	if (hive->full.bulk)
		hive_bulk_read(hive->full.bulk, findings);
}

void hive_list_read_done(struct thehive *hive, bool failed)
{
	struct hive_full *full = &hive->full;
	full->waiting = false;
	if (failed) { // the same again after the back-off
		if (full->absent_last) {
			HASH_DEL(full->absent, full->absent_last);
			free(full->absent_last);
			full->absent_last = NULL;
		}
		if (full->step == FULL_ABSENT)
			full->claim_id--;
		else if (full->step == FULL_IMMUNE)
			full->immune[0] = '\0';
		return;
	}
	if (full->step == FULL_READ)
		full->at++;
	else if (full->step == FULL_OWNER)
		full->step = FULL_READ;
	full_soon(hive);
}

static void full_go_on(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	if (full->waiting || hive_quiet(hive))
		return;
	switch (full->step) {
	case FULL_IDLE:
		full_begin(hive);
		full_page_ask(hive);
		break;
	case FULL_PAGE:
		full_page_ask(hive);
		break;
	case FULL_BULK:
		full_bulk(hive);
		break;
	case FULL_OWNER:
		full->step = FULL_READ; // its case could not be read: the next listing finds it
		full_soon(hive);
		break;
	case FULL_READ:
		full_read(hive);
		break;
	case FULL_ABSENT:
		full_absent(hive);
		break;
	case FULL_IMMUNE:
		full_immune(hive);
		break;
	}
}

static void full_due(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct thehive *hive = ctx;
	if (hive->full.step == FULL_IDLE)
		full_soon(hive);
}

// --- life

int hive_list_init(struct thehive *hive)
{
	hive->changed.timer = evtimer_new(hive->base, changed_due, hive);
	hive->full.timer = evtimer_new(hive->base, full_due, hive);
	hive->full.step_event = evtimer_new(hive->base, full_go_on, hive);
	return hive->changed.timer && hive->full.timer && hive->full.step_event ? 0 : -ENOMEM;
}

void hive_list_fini(struct thehive *hive)
{
	absent_clear(&hive->full);
	bulk_drop(&hive->full);
	json_decref(hive->full.page);
	struct event *events[] = {hive->changed.timer, hive->full.timer, hive->full.step_event};
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i])
			event_free(events[i]);
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
	full_soon(hive);
}

void hive_list_full(struct thehive *hive)
{
	if (hive->full.step != FULL_IDLE)
		hive->full.again = true;
	else if (hive->listing)
		full_soon(hive);
}

void hive_list_resume(struct thehive *hive)
{
	if (!hive->listing)
		return;
	if (hive->changed.step != CHANGED_IDLE && !hive->changed.waiting)
		changed_ask(hive);
	if (hive->full.step != FULL_IDLE)
		full_soon(hive);
}
