// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The full listing:
//
//   closed   all closed true positives, oldest first: those that differ from the ledger
//            (thehive_bulk.h) wait until there are enough of them, and are judged together
//            (thehive_batch.h); what that leaves unsure is read one by one
//   tagged   the same of cases with observables that count by their own tags
//   absent   the same of cases that have claims and were in no page (thehive_absent.c)
//   immune   cases with immunities that were not read
//
// What others read meanwhile is newer than the page, and is left as they found it.
//
//   note "listing": {"made", "from", "print"}: where the pages of closed cases go on after a
//                   restart, if nothing has changed in how cases are judged (print)

#include "control/sources/thehive_batch.h"
#include "control/sources/thehive_bulk.h"
#include "control/sources/thehive_list.h"
#include "control/sources/thehive_query.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_FEW 5 // are read one by one: as many requests
#define BATCH_ENOUGH 100
#define BATCH_PAGES 16 // then they wait no longer
#define TOUCHED_MAX 10000 // cases; beyond it, no page is trusted
#define ABSENT_FEW 3

#define OBSERVABLES_PATH "/api/v1/query?name=stanch-closed-observables"
#define CLOSED_PATH "/api/v1/query?name=stanch-closed"
#define TAGGED_PATH "/api/v1/query?name=stanch-tagged"
#define ABSENT_PATH "/api/v1/query?name=stanch-absent"

void hive_full_soon(struct thehive *hive)
{
	event_active(hive->full.step_event, EV_TIMEOUT, 0);
}

static void step_to(struct thehive *hive, enum hive_full_step step)
{
	hive->full.step = step;
	hive_full_soon(hive);
}

// This TheHive does not answer such a question, or not in time: each case is read by itself.
static bool bulk_refused(struct thehive *hive, const struct http_answer *answer, const char *what)
{
	struct hive_full *full = &hive->full;
	bool refused = !answer->error && answer->status == 400;
	if (!refused && answer->error != -ETIMEDOUT)
		return false;
	log_notice(
		"%s: this TheHive does not list %s%s", hive->source, what, refused ? "" : " in time"
	);
	full->no_bulk = true;
	full->slow = !refused; // the next listing tries again
	return true;
}

// --- where it goes on after a restart

// Of everything that decides what becomes of a case that did not change.
static void rules_print(const struct thehive *hive, char print[24])
{
	const struct conf_thehive *conf = hive->conf;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	print[0] = '\0';
	if (!out)
		return;
	fprintf(out,
		"%s\n%s\n%s\n%s\n%s\n%s\n%d %" PRIu32,
		STANCH_VERSION,
		hive->version,
		conf->url,
		hive->organisation,
		conf->response_field ? conf->response_field : "",
		conf->response_tag ? conf->response_tag : "",
		conf->max_pap,
		conf->immunity_days);
	for (size_t i = 0; i < conf->n_true_positive; i++)
		fprintf(out, "\nt %s", conf->true_positive[i]);
	for (size_t i = 0; i < conf->n_false_positive; i++)
		fprintf(out, "\nf %s", conf->false_positive[i]);
	for (size_t i = 0; i < conf->n_data_types; i++)
		fprintf(out, "\nd %s", conf->data_types[i]);
	for (size_t i = 0; i < conf->n_types; i++)
		fprintf(out, "\ny %s %s", conf->types[i].type, conf->types[i].as);
	for (size_t i = 0; i < conf->n_responses; i++)
		fprintf(out,
			"\nr %s %d %" PRId64,
			conf->responses[i].value,
			conf->responses[i].action,
			conf->responses[i].duration_s);
	if (fclose(out) == 0)
		snprintf(print, 24, "%016" PRIx64, siphash64(hive_hash_key, text, len));
	free(text);
}

static void place_load(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	char print[24];
	json_t *note = NULL;
	if (ledger_note_get(hive->ledger, hive->source, "listing", &note) < 0)
		return;
	rules_print(hive, print);
	const char *then = json_string_value(json_object_get(note, "print"));
	full->placed = true;
	full->resumed = !full->anew && then && *print && strcmp(then, print) == 0;
	if (full->resumed) {
		full->made_ms = full->placed_ms = hive_time_of(note, "made");
		full->from = (size_t)hive_time_of(note, "from");
		log_notice("%s: the full listing goes on where it was", hive->source);
	}
	json_decref(note);
}

// Only where all before it is done; it is committed with what that wrote, or after it.
static void place_save(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	char print[24];
	if (full->list != LIST_CLOSED || full->n_pending || full->made_ms == full->placed_ms)
		return;
	hive_marks_clear(&full->touched);
	rules_print(hive, print);
	json_t *note = json_pack(
		"{s:I,s:I,s:s}",
		"made",
		(json_int_t)full->made_ms,
		"from",
		(json_int_t)full->from,
		"print",
		print
	);
	int error = ledger_note_set(hive->ledger, hive->source, "listing", note);
	json_decref(note);
	if (error)
		log_error("%s: place of the listing: %s", hive->source, strerror(-error));
	full->placed = true;
	full->placed_ms = full->made_ms;
}

static void place_forget(struct thehive *hive)
{
	if (hive->full.placed)
		ledger_note_set(hive->ledger, hive->source, "listing", NULL);
	hive->full.placed = false;
	hive->full.placed_ms = 0;
}

// --- begin, end

static void full_begin(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	full->step = FULL_PAGE;
	full->list = LIST_CLOSED;
	full->generation++;
	full->made_ms = 0;
	full->from = 0;
	full->claim_id = 0;
	full->n_ids = full->id_at = 0;
	full->walked = false;
	full->immune[0] = '\0';
	full->resumed = false;
	full->begun_ms = hive_clock_ms();
	full->no_bulk &= !full->slow;
	full->slow = false;
	hive_pages_anew(hive);
	hive_marks_clear(&full->asked);
	hive_marks_clear(&full->touched);
	if (full->generation > 1)
		hive_probe(hive); // it may have been upgraded
	else
		place_load(hive);
}

// A whole one follows at once where this one was not.
static void full_end(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	full->step = FULL_IDLE;
	place_forget(hive);
	hive_marks_clear(&full->asked);
	hive_marks_clear(&full->touched);
	struct hive_known *known, *next;
	HASH_ITER(hh, hive->known, known, next)
	if (known->generation != full->generation)
		hive_known_drop(hive, known);
	hive->counters.listings++;
	hive->counters.reconciled = time(NULL);
	int64_t rest = (int64_t)hive->conf->full_s * 1000 - (hive_clock_ms() - full->begun_ms);
	bool soon = full->again || full->resumed;
	hive_timer_add(full->timer, rest > 1000 && !soon ? rest : 1000);
	full->again = false;
}

// --- pages

static char *page_query(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	full->size = hive->pages.cases.now;
	switch (full->list) {
	case LIST_CLOSED:
		return hive_query_closed(&hive->rules, full->made_ms, full->from, full->size);
	case LIST_TAGGED:
		return hive_query_tagged(
			&hive->rules, full->tags_refused == 0, full->from, full->size
		);
	case LIST_ABSENT:
		return hive_absent_query(hive);
	}
	return NULL;
}

// Another question is to be asked instead.
static bool page_refused(struct thehive *hive, const struct http_answer *answer)
{
	struct hive_full *full = &hive->full;
	if (full->list == LIST_ABSENT && bulk_refused(hive, answer, "cases by their ids")) {
		full->step = FULL_ABSENT;
		return true;
	}
	if (full->list != LIST_TAGGED || answer->error || answer->status != 400)
		return false;
	log_notice(
		"%s: this TheHive does not list observables by %s",
		hive->source,
		full->tags_refused ? "tag" : "tags with a duration"
	);
	if (++full->tags_refused > 1)
		full->step = FULL_ABSENT;
	return true;
}

static void page_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	full->waiting = false;
	bool again = page_refused(hive, answer);
	json_t *page
		= again ? NULL : hive_list_page(hive, "list of closed cases", true, answer, &again);
	if (again)
		hive_full_soon(hive);
	if (!page)
		return;
	json_decref(full->page);
	full->page = page;
	full->at = 0;
	if (full->list == LIST_ABSENT)
		hive_absent_found(hive, page);
	bool compare = full->list != LIST_TAGGED && !full->no_bulk
		&& hive_bulk_begin(hive, page, &full->bulk) == 0;
	step_to(hive, compare ? FULL_BULK : FULL_READ);
}

static void page_ask(struct thehive *hive)
{
	static const char *const paths[] = {CLOSED_PATH, TAGGED_PATH, ABSENT_PATH};
	int error = hive_list_query(hive, paths[hive->full.list], page_query(hive), page_come);
	hive->full.waiting = !error;
	if (error)
		hive_trouble(hive, "list of closed cases", NULL, strerror(-error));
}

static void page_next(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	size_t n = json_array_size(full->page);
	bool more = n >= full->size;
	hive_bulk_free(full->bulk);
	full->bulk = NULL;
	full->pages_pending += full->n_pending > 0;
	full->step = FULL_PAGE;
	if (full->list == LIST_CLOSED && more) {
		int64_t last = hive_time_of(json_array_get(full->page, n - 1), "_createdAt");
		full->from = last > full->made_ms ? 0 : full->from + n;
		full->made_ms = last;
	} else if (full->list == LIST_CLOSED) {
		full->from = 0;
		full->list = LIST_TAGGED;
		if (full->tags_refused > 1)
			full->step = FULL_ABSENT;
	} else if (full->list == LIST_TAGGED && more) {
		full->from += n;
	} else {
		full->step = FULL_ABSENT;
	}
	json_decref(full->page);
	full->page = NULL;
	hive_full_soon(hive);
}

// --- the page against the ledger

#define OBSERVABLES "observables of closed cases"

// NULL: it is told, or asked again.
static json_t *observables_page(struct thehive *hive, const struct http_answer *answer)
{
	bool again;
	json_t *page = hive_list_page(hive, OBSERVABLES, false, answer, &again);
	if (again)
		hive_full_soon(hive);
	return page;
}

static void observables_odd(struct thehive *hive, const struct http_answer *answer)
{
	hive_trouble(hive, OBSERVABLES, answer, "the list holds something that is no observable");
}

static void bulk_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	full->waiting = false;
	if (bulk_refused(hive, answer, "observables of cases")) {
		hive_bulk_free(full->bulk);
		full->bulk = NULL;
		step_to(hive, FULL_READ);
		return;
	}
	json_t *page = observables_page(hive, answer);
	if (!page)
		return;
	int more = hive_bulk_take(hive, full->bulk, page, full->asked_for);
	json_decref(page);
	if (more < 0)
		observables_odd(hive, answer);
	else
		step_to(hive, more ? FULL_BULK : FULL_READ);
}

static void bulk_ask(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	full->asked_for = hive->pages.observables.now;
	char *body = hive_bulk_query(hive, full->bulk, full->asked_for);
	if (!body) { // no case that denies
		step_to(hive, FULL_READ);
		return;
	}
	int error = hive_list_query(hive, OBSERVABLES_PATH, body, bulk_come);
	full->waiting = !error;
	if (error)
		hive_trouble(hive, OBSERVABLES, NULL, strerror(-error));
}

// --- which cases are read, and how

void hive_list_touched(struct thehive *hive, const char *id)
{
	struct hive_full *full = &hive->full;
	if (full->step != FULL_IDLE && HASH_COUNT(full->touched) < TOUCHED_MAX)
		hive_mark(&full->touched, id, NULL);
}

bool hive_full_read(struct thehive *hive, const char *id, const struct hive_judgement *known)
{
	struct hive_full *full = &hive->full;
	struct hive_case *of = hive_case_get(hive, id);
	if (!of || of->reading || of->queued || of->writing)
		return false; // it is read anyway
	if (HASH_COUNT(full->touched) >= TOUCHED_MAX)
		known = NULL;
	full->waiting = true;
	hive_read_start(hive, of, true, true, known);
	return true;
}

static bool pending_add(struct hive_full *full, const struct hive_judgement *judgement)
{
	for (size_t i = 0; i < full->n_pending; i++)
		if (strcmp(full->pending[i].id, judgement->id) == 0)
			return true;
	if (full->n_pending == full->room_pending) {
		size_t room = full->room_pending ? full->room_pending * 2 : BATCH_ENOUGH;
		void *list = realloc(full->pending, room * sizeof(*full->pending));
		if (!list)
			return false;
		full->pending = list;
		full->room_pending = room;
	}
	full->pending[full->n_pending++] = *judgement;
	return true;
}

// True: a reading was begun.
static bool case_take(struct thehive *hive, const struct hive_judgement *judgement)
{
	struct hive_full *full = &hive->full;
	if (hive_marked(full->touched, judgement->id))
		return false; // by somebody who read it after this page
	if (!full->no_bulk && hive_observables_count(judgement, time(NULL))
	    && pending_add(full, judgement))
		return false;
	return hive_full_read(hive, judgement->id, judgement);
}

// True: a reading was begun.
static bool page_case(struct thehive *hive, const json_t *body)
{
	struct hive_full *full = &hive->full;
	struct hive_judgement j;
	const char *reason;
	if (hive_case_judge(&hive->rules, body, NULL, &j, &reason) < 0)
		return false;
	if (full->list == LIST_TAGGED) // what denies by its own action was among the closed
		return j.verdict != HIVE_DENY && hive_observables_count(&j, time(NULL))
			&& hive_mark(&full->asked, j.id, &full->asked_last) && case_take(hive, &j);
	if (j.verdict == HIVE_OPEN && full->list == LIST_ABSENT)
		return hive_full_read(hive, j.id, NULL);
	if (j.verdict == HIVE_OPEN) { // cannot be: it was filtered out; whatever it is, it is read
		hive_case_hint(hive, j.id);
		return false;
	}
	hive_known_put(hive, j.id, j.verdict, 0);
	if (j.verdict == HIVE_NONE && !hive_case_concerns(hive, j.id)) {
		hive_known_put(hive, j.id, j.verdict, j.updated_ms);
		return false;
	}
	if (j.verdict == HIVE_DENY && full->bulk && !hive_bulk_differs(full->bulk, j.id))
		return false;
	return case_take(hive, &j);
}

// --- observables without an owner

static void owner_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	full->waiting = false;
	full->step = FULL_READ;
	json_t *page = hive_answer_json(hive, "case of an observable", answer);
	if (!page)
		return; // the next listing finds it again
	hive_well(hive);
	struct hive_judgement j;
	const char *reason;
	bool reads = hive_case_judge(&hive->rules, json_array_get(page, 0), NULL, &j, &reason) == 0
		&& j.verdict == HIVE_DENY && case_take(hive, &j);
	if (reads)
		full->step = FULL_OWNER;
	json_decref(page);
	if (!reads)
		hive_full_soon(hive);
}

// False: there is none, or it cannot be asked for.
static bool owner_ask(struct thehive *hive)
{
	char observable[HIVE_ID_MAX];
	if (!hive_bulk_owner_next(hive->full.bulk, observable))
		return false;
	char *body = hive_query_parent(&hive->rules, observable);
	hive->full.waiting
		= hive_list_query(hive, "/api/v1/query?name=stanch-parent", body, owner_come) == 0;
	return hive->full.waiting;
}

static void page_read(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	size_t n = json_array_size(full->page);
	for (; full->at < n; full->at++)
		if (page_case(hive, json_array_get(full->page, full->at)))
			return;
	if (!full->bulk || !owner_ask(hive))
		page_next(hive);
}

// --- cases judged together

static bool batch_due(const struct hive_full *full)
{
	bool page_of_closed = full->step == FULL_PAGE && full->list == LIST_CLOSED;
	return full->n_pending >= BATCH_ENOUGH
		|| (full->n_pending > 0 && (!page_of_closed || full->pages_pending >= BATCH_PAGES));
}

static void batch_begin(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	full->after = full->step;
	full->draining = true;
	full->batch_at = 0;
	full->n_batch = full->n_pending < HIVE_BATCH_MAX ? full->n_pending : HIVE_BATCH_MAX;
	bool together = full->n_batch > BATCH_FEW && !full->no_bulk
		&& hive_batch_create(full->pending, full->n_batch, &full->batch) == 0;
	step_to(hive, together ? FULL_BATCH : FULL_SINGLE);
}

static void batch_drop(struct hive_full *full)
{
	hive_batch_free(full->batch);
	full->batch = NULL;
}

static void batch_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	full->waiting = false;
	if (bulk_refused(hive, answer, "observables of cases")) {
		batch_drop(full);
		step_to(hive, FULL_SINGLE);
		return;
	}
	json_t *page = observables_page(hive, answer);
	if (!page)
		return;
	int more = hive_batch_take(full->batch, page, full->asked_for);
	json_decref(page);
	if (more == -EINVAL) {
		observables_odd(hive, answer);
		return;
	}
	if (more < 0)
		batch_drop(full);
	step_to(hive, more > 0 ? FULL_BATCH : FULL_SINGLE);
}

static void batch_ask(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	full->asked_for = hive->pages.observables.now;
	int error = hive_list_query(
		hive,
		OBSERVABLES_PATH,
		hive_batch_query(&hive->rules, full->batch, full->asked_for),
		batch_come
	);
	full->waiting = !error;
	if (error)
		hive_trouble(hive, OBSERVABLES, NULL, strerror(-error));
}

// False: it has to be read.
static bool batch_write(struct thehive *hive, size_t index)
{
	struct hive_full *full = &hive->full;
	const struct hive_judgement *judgement = &full->pending[index];
	struct hive_findings findings;
	struct hive_case *of = hive_case_get(hive, judgement->id);
	if (!full->batch || HASH_COUNT(full->touched) >= TOUCHED_MAX || !of)
		return false;
	if (of->reading || of->queued || of->writing)
		return true; // it is read anyway
	return hive_batch_judge(&hive->rules, full->batch, index, &findings) == 0
		&& hive_read_given(hive, of, judgement, &findings);
}

static void batch_end(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	batch_drop(full);
	full->n_pending -= full->n_batch;
	memmove(full->pending,
		full->pending + full->n_batch,
		full->n_pending * sizeof(*full->pending));
	full->pages_pending = 0;
	full->draining = full->n_pending > 0;
	step_to(hive, full->after);
}

// One case in a turn of the loop.
static void batch_next(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	while (full->batch_at < full->n_batch) {
		const struct hive_judgement *judgement = &full->pending[full->batch_at];
		if (hive_marked(full->touched, judgement->id)) {
			full->batch_at++;
			continue;
		}
		if (batch_write(hive, full->batch_at)) {
			full->batch_at++;
			hive_full_soon(hive);
			return;
		}
		if (hive_full_read(hive, judgement->id, judgement))
			return;
		full->batch_at++;
	}
	batch_end(hive);
}

// --- what was in no page

static void absent_next(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	for (; full->id_at < full->n_ids; full->id_at++)
		if (full->ids[full->id_at][0] && hive_full_read(hive, full->ids[full->id_at], NULL))
			return;
	full->n_ids = full->id_at = 0;
	if (full->walked) {
		step_to(hive, FULL_IMMUNE);
		return;
	}
	int error = hive_absent_find(hive);
	if (error) {
		hive_trouble(hive, "ledger", NULL, strerror(-error));
		return;
	}
	full->list = LIST_ABSENT;
	step_to(hive, full->n_ids > ABSENT_FEW && !full->no_bulk ? FULL_PAGE : FULL_ABSENT);
}

static void immune_next(struct thehive *hive)
{
	char id[HIVE_ID_MAX];
	int error = hive_absent_immune(hive, id);
	if (error)
		hive_trouble(hive, "ledger", NULL, strerror(-error));
	else if (!id[0])
		full_end(hive);
	else if (!hive_full_read(hive, id, NULL))
		hive_full_soon(hive);
}

// --- the steps

void hive_list_read_done(struct thehive *hive, bool failed)
{
	struct hive_full *full = &hive->full;
	full->waiting = false;
	if (failed) { // the same again after the back-off
		if (full->asked_last) {
			HASH_DEL(full->asked, full->asked_last);
			free(full->asked_last);
			full->asked_last = NULL;
		}
		if (full->step == FULL_IMMUNE)
			full->immune[0] = '\0';
		return;
	}
	full->asked_last = NULL;
	if (full->step == FULL_READ)
		full->at++;
	else if (full->step == FULL_SINGLE)
		full->batch_at++;
	else if (full->step == FULL_ABSENT)
		full->id_at++;
	else if (full->step == FULL_OWNER)
		full->step = FULL_READ;
	hive_full_soon(hive);
}

static void full_step(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	switch (full->step) {
	case FULL_IDLE:
		full_begin(hive);
		page_ask(hive);
		break;
	case FULL_PAGE:
		place_save(hive);
		page_ask(hive);
		break;
	case FULL_BULK:
		bulk_ask(hive);
		break;
	case FULL_OWNER:
		step_to(hive, FULL_READ); // its case could not be read: the next listing finds it
		break;
	case FULL_READ:
		page_read(hive);
		break;
	case FULL_BATCH:
		batch_ask(hive);
		break;
	case FULL_SINGLE:
		batch_next(hive);
		break;
	case FULL_ABSENT:
		absent_next(hive);
		break;
	case FULL_IMMUNE:
		immune_next(hive);
		break;
	}
}

static void full_go_on(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct thehive *hive = ctx;
	struct hive_full *full = &hive->full;
	if (full->waiting || hive_quiet(hive))
		return;
	bool between = full->step == FULL_PAGE || full->step == FULL_ABSENT;
	if (between && batch_due(full))
		batch_begin(hive);
	else
		full_step(hive);
}

static void full_due(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct thehive *hive = ctx;
	if (hive->full.step == FULL_IDLE)
		hive_full_soon(hive);
}

int hive_full_init(struct thehive *hive)
{
	hive->full.timer = evtimer_new(hive->base, full_due, hive);
	hive->full.step_event = evtimer_new(hive->base, full_go_on, hive);
	return hive->full.timer && hive->full.step_event ? 0 : -ENOMEM;
}

void hive_full_fini(struct thehive *hive)
{
	struct hive_full *full = &hive->full;
	hive_marks_clear(&full->asked);
	hive_marks_clear(&full->touched);
	hive_bulk_free(full->bulk);
	batch_drop(full);
	free(full->pending);
	json_decref(full->page);
	if (full->timer)
		event_free(full->timer);
	if (full->step_event)
		event_free(full->step_event);
}
