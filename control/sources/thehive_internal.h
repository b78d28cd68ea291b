// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the TheHive source share; nobody else includes it. Map: thehive.h.

#pragma once

#include "control/conf.h"
#include "control/http_client.h"
#include "control/ledger.h"
#include "control/log.h"
#include "control/sources/thehive.h"
#include "control/sources/thehive_judge.h"
#include "rules/siphash.h"

#include <event2/event.h>

// Ids are chosen by others; and uthash's own function does not survive clang's warnings.
static const uint8_t hive_hash_key[16] = "stanch thehive 1";
#define HASH_FUNCTION(key, len, hash) ((hash) = (unsigned)siphash64(hive_hash_key, (key), (len)))
#include <uthash.h>

#include <sys/queue.h>

#define HIVE_READS_MAX 16 // cases read at the same time
#define HIVE_MERGES_MAX 64 // merges' requests that are remembered
#define HIVE_OBSERVABLES_MAX 20000 // of a case; more are no judgement
#define HIVE_REF_MAX (HIVE_NAME_MAX + 2 * HIVE_ID_MAX)
#define HIVE_ATTEMPTS_MAX 8 // then a case waits for the next listing

// A case that somebody spoke of: queued, being read, or to be read again later.
struct hive_case {
	char id[HIVE_ID_MAX];
	struct thehive *hive;
	bool queued, reading;
	bool writing; // what was read is being committed
	bool again; // a hint came during the reading or writing
	bool later; // the index delay has passed: the next read may withdraw
	bool closed; // a hint says closed: both requests go out at once
	bool deleted; // a hint says so
	char merged_into[HIVE_ID_MAX]; // "": not known to be
	uint64_t delete_request; // the API request that deleted it
	char closer[HIVE_NAME_MAX];
	int64_t hinted_ms; // CLOCK_MONOTONIC
	unsigned attempts; // failed in a row
	struct event *timer; // for the later read
	TAILQ_ENTRY(hive_case) next; // in the queue
	UT_hash_handle hh;
};
TAILQ_HEAD(hive_queue, hive_case);

// A closed true positive as it was judged; or a case whose claims a full listing looks for.
struct hive_known {
	uint64_t key; // hash of its id
	int64_t updated_ms;
	uint32_t generation; // of the full listing that saw it
	uint8_t verdict; // enum hive_verdict
	UT_hash_handle hh;
};

// Outlives the source: the ledger may commit after it.
struct hive_bulk;
struct hive_setup;
struct hive_plan;
LIST_HEAD(hive_plans, hive_plan);

struct hive_read;
LIST_HEAD(hive_reads, hive_read);
struct thehive_ask;
LIST_HEAD(hive_asks, thehive_ask);
struct hive_watch;
LIST_HEAD(hive_watches, hive_watch);

enum hive_changed_step {
	CHANGED_IDLE,
	CHANGED_NEWEST_CASE, // without cursors: where TheHive's clock stands
	CHANGED_NEWEST_OBSERVABLE,
	CHANGED_CASES,
	CHANGED_OBSERVABLES,
	CHANGED_OBSERVED, // their cases
};

// Listing of what changed.
struct hive_changed {
	enum hive_changed_step step;
	size_t from, size; // of the page: offset, and how many were asked for
	int64_t since_ms; // of the running step
	int64_t cases_ms, observables_ms; // cursors by TheHive's clock; 0: none yet
	int64_t saved_cases_ms, saved_observables_ms; // as they stand in the ledger
	int64_t newest_ms; // seen in the running step
	bool waiting; // for an answer
	struct event *timer;
};

enum hive_full_step {
	FULL_IDLE,
	FULL_PAGE, // of a list, or of cases by their ids
	FULL_BULK, // the observables of the page's cases, compared with the ledger
	FULL_READ, // which of its cases are to be judged
	FULL_OWNER, // observables that none of the cases compared has
	FULL_BATCH, // the observables of cases that wait, in lists that tell whose they are
	FULL_SINGLE, // those cases, written, or read one by one
	FULL_ABSENT, // claims whose cases were in no page
	FULL_IMMUNE, // the same of immunities
};

enum hive_full_list { // what a page is of
	LIST_CLOSED, // true positives
	LIST_TAGGED, // cases with observables that bear tags of ours
	LIST_ABSENT, // cases by their ids
};

// One of a set of cases.
struct hive_mark {
	uint64_t key;
	UT_hash_handle hh;
};

struct hive_batch;
#define HIVE_ABSENT_MAX 100 // cases asked for by their ids at once

struct hive_full {
	enum hive_full_step step;
	enum hive_full_list list;
	uint32_t generation;
	int64_t made_ms; // where the next page begins
	size_t from; // cases made at that instant that are done; offset of tagged ones
	size_t size, asked_for; // of the page, and of that of observables: how many were asked for
	json_t *page;
	size_t at; // in the page
	struct hive_bulk *bulk; // of the page; NULL: each of its cases is judged
	bool no_bulk; // this TheHive refuses the question
	bool slow; // or did not answer it in time
	unsigned tags_refused; // 1: those with a duration, 2: all

	struct hive_judgement *pending; // cases that wait to be judged together
	size_t n_pending, room_pending;
	unsigned pages_pending; // since the oldest of them
	struct hive_batch *batch; // of the first `n_batch`; NULL: each of them is read
	size_t n_batch, batch_at;
	bool draining; // until none waits: then the place can be kept
	enum hive_full_step after; // the batch
	struct hive_mark *touched; // read by others since the oldest page that is not done

	struct hive_mark *asked, *asked_last; // so that a listing asks once
	char ids[HIVE_ABSENT_MAX][HIVE_ID_MAX]; // absent; "": has a page
	size_t n_ids, id_at;
	int64_t claim_id; // the last claim looked at
	bool walked; // all of them
	char immune[HIVE_REF_MAX]; // the last immunity looked at

	bool placed; // the note of its place is there
	int64_t placed_ms; // made_ms in it
	bool resumed; // it began there
	bool anew; // what an earlier process left does not count

	bool waiting; // for a request or a reading
	bool again; // as soon as it ends
	int64_t begun_ms;
	struct event *timer, *step_event;
};

struct hive_page_size {
	size_t now, most;
};

struct hive_pages { // how many are asked for
	struct hive_page_size cases, observables;
};

struct thehive {
	struct event_base *base;
	const struct conf_thehive *conf;
	struct ledger *ledger;
	struct hive_rules rules;
	char source[80], organisation[HIVE_NAME_MAX];
	char version[32]; // as TheHive tells it
	char *authorization, *header;
	const char *headers[2];
	struct http_service service, paced_service;
	struct http_client *prompt, *paced;

	struct hive_case *cases;
	struct hive_queue queue;
	struct hive_reads reads;
	struct hive_asks asks;
	struct hive_watches watches;
	unsigned n_reading; // on the prompt client
	struct hive_known *known;
	struct hive_plans plans;
	struct hive_setup *setup; // under way; else NULL
	uint64_t merges[HIVE_MERGES_MAX]; // requests of merges, the oldest goes
	unsigned n_merges;

	struct event *pump; // starts readings
	bool probing;
	unsigned probe; // which address is asked
	struct event *retry; // the back-off's end
	unsigned troubles; // failures in a row, a round counted once
	int64_t quiet_until_ms; // CLOCK_MONOTONIC
	char trouble[192]; // the last failure; "" since the last good answer
	int64_t trouble_when;
	int64_t last_ok; // seconds since the epoch
	bool listing; // the listings have been started
	struct hive_pages pages;
	struct hive_changed changed;
	struct hive_full full;
	struct thehive_counters counters;
};

// --- thehive.c

int64_t hive_clock_ms(void);
struct hive_case *hive_case_get(struct thehive *, const char *id); // NULL: no memory
void hive_case_done(struct thehive *, struct hive_case *); // frees it where nothing is left to do
void hive_case_written(struct thehive *, const char *id, int error);
// Read it at once, and again after the index delay.
void hive_case_hint(struct thehive *, const char *id);
void hive_case_retry(struct thehive *, struct hive_case *);
void hive_pump_soon(struct thehive *);
void hive_probe(struct thehive *); // ask for the version
// An answer that tells nothing, for people; the source is left alone for a while.
void hive_trouble(struct thehive *, const char *what, const struct http_answer *, const char *why);
void hive_well(struct thehive *);
bool hive_quiet(const struct thehive *); // in back-off
bool hive_merged(const struct thehive *, const struct hive_case *);
struct hive_known *hive_known_find(const struct thehive *, const char *id);
// HIVE_OPEN forgets it. `updated_ms` 0: leave as it is.
struct hive_known *
hive_known_put(struct thehive *, const char *id, enum hive_verdict, int64_t updated_ms);
// The body of a 200 answer. NULL: told as trouble.
json_t *hive_answer_json(struct thehive *, const char *what, const struct http_answer *);
// 404 in TheHive's own words, not a proxy's.
bool hive_answer_missing(const struct http_answer *);
// -1: the header is absent or no number.
long hive_answer_total(const struct http_answer *);

void hive_known_drop(struct thehive *, struct hive_known *);

// --- thehive_read.c

struct hive_read {
	struct thehive *hive;
	struct hive_case *of;
	struct http_client *client;
	bool may_withdraw, paced;
	bool have_case, gone, failed;
	struct hive_judgement judgement;
	struct hive_findings findings;
	size_t n_seen; // observables
	json_t *early; // their first page, where it came before the case
	long early_total;
	unsigned pending; // requests under way
	char (*missing)[HIVE_ID_MAX]; // observables with claims that the list does not have
	size_t n_missing, at_missing;
	LIST_ENTRY(hive_read) link;
};

// Begins to read a case. `known`: as a listing had it; NULL: it is read too.
void hive_read_start(
	struct thehive *,
	struct hive_case *,
	bool paced,
	bool may_withdraw,
	const struct hive_judgement *known
);
// As a reading that found this and may not withdraw what is missing. Takes the findings. False,
// and nothing is done: something is missing, so that it has to be asked for.
bool hive_read_given(struct thehive *, struct hive_case *, const struct hive_judgement *, struct hive_findings *);
void hive_read_free(struct hive_read *);

// --- thehive_plan.c

// Observables of the case with claims that `read` does not have, into read->missing. -ENOMEM.
int hive_missing_find(struct hive_read *);
// ret_one: an observable with a claim, "" for none; may be NULL.
bool hive_case_claimed(struct thehive *, const char *case_id, char ret_one[HIVE_ID_MAX]);
bool hive_case_concerns(struct thehive *, const char *case_id); // has claims, or refusals

// --- thehive_apply.c

// Writes what the reading means. What is written is told to the ledger only where it differs.
void hive_apply(struct hive_read *);
void hive_plans_forget(struct thehive *);

// --- thehive_ask.c

void hive_asks_end(struct thehive *);
bool hive_case_blocked(struct thehive *, const char *case_id); // has operators' claims
bool hive_case_blocked_one(struct thehive *, const char *case_id, char ret_one[HIVE_ID_MAX]);
// Ends those, where the case is closed otherwise than as a true positive.
void hive_blocks_end(struct thehive *, const struct hive_judgement *);
// After a merge: they go on in the other case, and end with it.
void hive_blocks_move(struct thehive *, const char *from, const char *to);

// --- thehive_list.c

int hive_list_init(struct thehive *);
void hive_list_fini(struct thehive *);
void hive_list_start(struct thehive *); // the version is known
void hive_list_resume(struct thehive *); // after a back-off
void hive_list_full(struct thehive *); // the full one, now
void hive_list_read_done(struct thehive *, bool failed); // a paced reading ended
void hive_list_touched(struct thehive *, const char *id); // a case was read by another reading
