// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the write-back share; nobody else includes it. Map: writeback.h.
//
// Thread: the event loop.

#pragma once

#include "control/conf.h"
#include "control/followers/writeback.h"
#include "control/followers/writeback_text.h"
#include "control/http_client.h"
#include "control/ledger.h"
#include "control/ledger_fleet.h"
#include "control/log.h"
#include "control/sources/thehive_hook.h"
#include "control/sources/thehive_judge.h"
#include "rules/siphash.h"
#include "rules/wire.h"

#include <event2/event.h>

// References are chosen by others; and uthash's own function does not survive clang's warnings.
static const uint8_t wb_hash_key[16] = "stanch told 1";
#define HASH_FUNCTION(key, len, hash) ((hash) = (unsigned)siphash64(wb_hash_key, (key), (len)))
#include <uthash.h>

#include <sys/queue.h>

#define WB_CURSOR "writeback" // the audit record that was looked at last
#define WB_RING 1024
#define WB_WHY_MAX 192

// What needs which permission at TheHive.
enum wb_permission {
	WB_COMMENT, // 5: manageComment; 4: manageTask
	WB_OBSERVABLE, // manageObservable
	WB_PERMISSIONS,
};

TAILQ_HEAD(wb_queue, wb_case);

// A case with something to do.
struct wb_case {
	char ref[WB_REF_MAX];
	int64_t ready_ms; // monotonic: not looked at before
	int64_t first_ms; // monotonic: since when it waits
	int64_t seq; // audit record that touched it first; 0: not known
	int64_t asked_ms; // its time, by the wall clock
	struct revision revision; // that must be applied
	struct wb_queue *in; // which list it is in
	bool marked; // its row is due at once
	bool touched; // by the audit, since it was looked at
	bool task_lost; // 4: the task was not there: it is looked for once more
	bool single; // its observables are changed one by one
	unsigned refused; // answers in a row that say the text itself is not taken
	TAILQ_ENTRY(wb_case) link;
	UT_hash_handle hh;
};

struct wb_hive;

enum wb_counter {
	WB_WRITTEN_COMMENTS,
	WB_WRITTEN_UPDATES, // of attempts
	WB_WRITTEN_TAGS,
	WB_FOUND, // an answer was lost, and the comment stood there
	WB_GONE, // cases that do not exist any more
	WB_FAILED, // texts that TheHive refused for good
	WB_COUNTERS,
};

// The step under way for one case.
struct wb_op {
	struct wb_case *of; // NULL: idle
	json_t *state; // its row, as it will be written
	struct wb_seen seen;
	json_t *ids; // of the tags under way: [observable]
	char word[16]; // that they get; "": none
	enum wb_permission permission; // that the last write needs
	const char *what; // it was, for people
	bool verdict_read; // and what it is, as TheHive has it; 0: not known
	int64_t verdict_ms;
	int64_t total; // attempts that the text under way tells
	int64_t later_ms; // a permission is missing: looked at again then; 0: it is not
	bool busy; // a request or a commit is under way
};

// Outlives the hive: the ledger calls back.
struct wb_commit {
	struct wb_hive *hive; // NULL: it is gone
	void (*next)(struct wb_hive *);
};

struct wb_hive {
	struct writeback *owner;
	const struct conf_thehive *conf;
	char source[80];
	char organisation[HIVE_NAME_MAX]; // as in references
	char *authorization, *header;
	const char *headers[2];
	struct http_service service;
	struct http_client *client;
	struct hive_version version;
	int64_t version_ms; // monotonic: when it was asked for
	unsigned probe;
	struct wb_case *cases;
	// Ready or soon; much later, so that they stand in nobody's way; when the data plane has
	// it.
	struct wb_queue queue, later, waiting;
	struct event *timer;
	int64_t pump_ms; // monotonic: when it fires, where it is pending
	struct wb_op op;
	struct wb_commit *commit; // under way
	unsigned backoff_ms;
	int64_t quiet_ms; // monotonic: no request before
	int64_t denied_ms[WB_PERMISSIONS]; // monotonic: not tried before; 0: not refused
	char trouble[WB_WHY_MAX];
	int64_t last_ok; // seconds since the epoch
	uint64_t counters[WB_COUNTERS];
};

// Rows that one turn of the loop changes, each written once.
struct wb_batch;

struct wb_attempts;

struct writeback {
	struct event_base *base;
	struct ledger *ledger;
	struct protect *protect;
	struct writeback_view view;
	char marker_id[9]; // of the ledger
	struct wb_hive *hives;
	size_t n;
	struct event *drain, *second;
	bool drain_failed; // told in the log
	struct {
		int64_t seq;
		struct revision revision;
	} commits[WB_RING]; // the newest overwrite the oldest
	struct {
		struct revision revision;
		int64_t when_ms;
	} applied[WB_RING];
	size_t n_commits, n_applied; // ever
	struct wb_attempts *attempts;
};

// --- writeback.c
int64_t wb_clock_ms(void); // monotonic
int64_t wb_now(void); // seconds since the epoch
struct wb_hive *wb_hive_of(struct writeback *, const char *source, size_t len);
// Into the queue. NULL: no memory.
struct wb_case *wb_case_get(struct wb_hive *, const char *ref, int64_t delay_ms);
void wb_case_drop(struct wb_hive *, struct wb_case *);
void wb_case_later(struct wb_hive *, struct wb_case *, int64_t delay_ms);
// Loads the row, or the one under way; a new reference.
int wb_state_open(struct wb_hive *, const char *ref, json_t **ret_state);
bool wb_active(const struct wb_hive *);
void wb_pump_soon(struct wb_hive *, int64_t delay_ms);
// When the record took effect in the data plane; -1: not known.
int64_t wb_applied_at(const struct writeback *, int64_t seq);

struct wb_batch *wb_batch_begin(struct writeback *);
// Borrowed until the end; NULL: no memory, or the ledger cannot be read.
json_t *wb_batch_state(struct wb_batch *, struct wb_hive *, const char *ref);
// Is it in the batch, and had no row before?
bool wb_batch_new(struct wb_batch *, struct wb_hive *, const char *ref);
// Writes them all. `due` 0: at once; else that time where their own is later.
int wb_batch_end(struct wb_batch *, int64_t due);

// --- writeback_audit.c
bool wb_drain(struct writeback *); // true: all of the audit is seen
// The case that a claim belongs to: one of TheHive's, or an operator's that blocks by hand from a
// case. NULL: none that is written to. `ret_observable` points into `ref`.
struct wb_hive *wb_claim_of(
	struct writeback *,
	const char *source,
	const char *ref,
	char of[WB_REF_MAX],
	const char **ret_observable
);

// --- writeback_op.c
bool wb_four(const struct wb_hive *);
const char *wb_case_id(const struct wb_hive *); // of the case under way
const char *wb_text(const json_t *object, const char *key); // "" for none
int64_t wb_number(const json_t *object, const char *key); // 0 for none
void wb_number_set(json_t *object, const char *key, int64_t value);
const char *wb_permission_name(const struct wb_hive *, enum wb_permission);
bool wb_denied(const struct wb_hive *, enum wb_permission);
void wb_probe(struct wb_hive *);
// Takes the body's reference; NULL: none.
void wb_ask(
	struct wb_hive *, const char *method, const char *path, json_t *body, http_answer_cb done
);
bool wb_good(const struct http_answer *);
bool wb_changed(const struct http_answer *); // to a PATCH, and by TheHive, not by a proxy's page
json_t *wb_answer_json(const struct http_answer *); // NULL: none
bool wb_missing(const struct http_answer *); // 404 in TheHive's own words, not a proxy's
// Where it is not good: tried again, given up, the case gone, or a permission missing.
void wb_answer_bad(struct wb_hive *, const struct http_answer *);
void wb_permission_missing(struct wb_hive *, const char *how);
void wb_well(struct wb_hive *); // an answer was good
// What is under way goes on after a while; a text that may have been written is read back first.
void wb_retry(struct wb_hive *, const char *why, long retry_after);
void wb_op_fini(struct wb_op *);
void wb_op_end(struct wb_hive *);
// Then `next`, after the commit. state NULL: without the row.
void wb_row_write(struct wb_hive *, json_t *state, int64_t due, void (*next)(struct wb_hive *));
void wb_case_gone(struct wb_hive *);
void wb_later_at(struct wb_op *, int64_t ms);
void wb_finish(struct wb_hive *); // all that can be done now is done

// --- writeback_send.c
void wb_op_begin(struct wb_hive *, struct wb_case *);
void wb_look_again(struct wb_hive *);
bool wb_applied_has(const struct wb_hive *, struct revision needed); // the data plane has it
void wb_attempts_next(struct wb_hive *);

// --- writeback_tags.c
void wb_tags_next(struct wb_hive *); // then the attempts

// --- writeback_attempts.c
int wb_attempts_create(struct writeback *, struct wb_attempts **ret_attempts);
void wb_attempts_free(struct wb_attempts *);
void wb_attempts_add(struct wb_attempts *, const char *gateway, const struct wire_denial *);
