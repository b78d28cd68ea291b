// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the alerts share; nobody else includes it. Map: alerts.h.
//
// Notes of the ledger, owner "alerts":
//   queue/<number>   the alert as alerts_parse.h has it
//   ref/<key>        {"digest", "case", "number", "at"}   an alert that is done
//   origin/<key>     {"case", "number", "at", "n"}        the case that its alerts join
//   cursor           milliseconds: alerts of TheHive from there on are listed
// Keys: 32 hexadecimal digits of SHA-256 over what they name.

#pragma once

#include "control/conf.h"
#include "control/control.h"
#include "control/http_caller.h"
#include "control/http_client.h"
#include "control/http_server.h"
#include "control/ledger.h"
#include "control/ledger_fleet.h"
#include "control/log.h"
#include "control/roles.h"
#include "control/sources/alerts.h"
#include "control/sources/alerts_parse.h"
#include "control/sources/thehive_judge.h"

#include <event2/event.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define ALERTS_OWNER "alerts"
#define ALERT_KEY_MAX 33
#define ALERTS_PENDING_BYTES (64 * 1024 * 1024)
#define ALERTS_REMEMBERED_MAX 20000 // of each kind; the oldest goes
#define ALERTS_OF_CASE_MAX 1000 // then its origin gets another case
#define ALERTS_REFUSED_SHOWN 20

// One that waits. Its text is in the ledger.
struct alert_row {
	uint64_t number;
	size_t size;
	char key[ALERT_KEY_MAX], digest[ALERT_KEY_MAX];
	bool committed;
	TAILQ_ENTRY(alert_row) next;
};
TAILQ_HEAD(alert_rows, alert_row);

// A note's key and age, so that the oldest can go.
struct alert_memory {
	char key[48];
	int64_t at;
	TAILQ_ENTRY(alert_memory) next;
};
TAILQ_HEAD(alert_memories, alert_memory);

enum alert_step {
	ALERT_CREATE,
	ALERT_SEARCH, // it exists, or may exist
	ALERT_READ, // has it become part of a case?
	ALERT_CASE, // is the case of its origin open?
	ALERT_PROMOTE,
	ALERT_MERGE,
	ALERT_COMMENT_SEARCH,
	ALERT_COMMENT,
	ALERT_DONE, // being committed
};

// The alert at work.
struct alert_job {
	json_t *alert; // NULL: none
	struct alert_row *row; // NULL: it lay in TheHive
	enum alert_step step;
	char key[ALERT_KEY_MAX], origin[ALERT_KEY_MAX];
	char ref[ALERT_REF_MAX + 16]; // its sourceRef in TheHive
	char id[HIVE_ID_MAX], case_id[HIVE_ID_MAX], number[16];
	bool update; // comes changed, its first form is done
	bool joined, opened, bare; // bare: without observables
	bool asked; // a request is under way
	int64_t n_origin; // alerts of its case so far
	unsigned refusals; // of one step
};

// A webhook's alerts on their way into the ledger.
struct alert_arrival;
LIST_HEAD(alert_arrivals, alert_arrival);

struct alerts_counters {
	uint64_t taken, duplicates; // came by the hook
	uint64_t bad, limited, no_room; // hooks refused
	uint64_t opened, joined; // cases opened, alerts that joined one
	uint64_t after_close; // came changed after their case was closed
	uint64_t refused; // by TheHive, for good
};

// Tokens of one source: alerts that it may send now.
struct alert_bucket {
	double level;
	int64_t filled_ms; // CLOCK_MONOTONIC
};

struct alerts {
	struct control *control;
	const struct conf_alerts *conf; // NULL: not configured; what waits stays
	const struct conf_thehive *hive;
	char *authorization, *header;
	const char *headers[2];
	struct http_service service;
	struct http_client *client;
	struct hive_version version;
	unsigned probe;
	bool probing;

	struct alert_rows queue;
	size_t n_queue, queue_bytes;
	uint64_t next_number;
	struct alert_memories refs, origins;
	size_t n_refs, n_origins;
	struct alert_bucket *buckets; // of each source

	struct alert_job job;
	json_t *listed; // alerts that lie in TheHive and wait; at_listed: the next
	size_t at_listed;
	json_t *refused; // {"alert", "why", "when"}; the newest last
	bool listing;

	struct event *go, *list_timer;
	unsigned troubles;
	int64_t quiet_until_ms; // CLOCK_MONOTONIC
	char trouble[192];
	int64_t last_ok; // seconds since the epoch
	struct alert_arrivals arrivals;
	struct alerts_counters counters;
};

// --- alerts.c

int64_t alerts_clock_ms(void); // CLOCK_MONOTONIC
void alerts_go_soon(struct alerts *);
void alerts_trouble(struct alerts *, const char *what, const struct http_answer *, const char *why);
void alerts_well(struct alerts *);
// SHA-256 over the texts, each with its NUL; `texts` ends with NULL.
void alert_key(const char *const texts[], char ret_key[ALERT_KEY_MAX]);
void alert_key_of(const json_t *alert, char ret_key[ALERT_KEY_MAX]);
void alert_origin_of(const json_t *alert, char ret_key[ALERT_KEY_MAX]);

// --- alerts_queue.c

int alerts_queue_load(struct alerts *); // at the start
void alerts_queue_free(struct alerts *);
// Of one that leads no longer: all that waits goes to the leader, which knows most of it.
void alerts_queue_ask(struct alerts *);
bool alerts_queue_full(const struct alerts *);
// -EDQUOT: no space on disk; else the ledger's -errno. The row holds after the commit.
int alerts_queue_add(struct alerts *, json_t *alert, const char *key, struct alert_row **ret_row);
// `note`: from the ledger too.
void alerts_queue_remove(struct alerts *, struct alert_row *, bool note);
struct alert_row *alerts_queue_find(struct alerts *, const char *key, const char *digest);
json_t *alerts_queue_load_row(struct alerts *, const struct alert_row *);
// Notes with an age: `key` "ref/…" or "origin/…". Takes the value.
int alerts_remember(struct alerts *, const char *key, json_t *value);
json_t *alerts_recall(struct alerts *, const char *kind, const char *key); // NULL: none

// --- alerts_hook.c

int alerts_hook_routes(struct alerts *, struct http_server *);
void alerts_hook_end(struct alerts *); // answers who waits
// ledger_fleet_asked_set: an alert that another gateway took.
int alerts_asked(void *alerts, const char *gateway, const json_t *ask, char ret_message[192]);

// --- alerts_work.c

void alerts_work(struct alerts *); // begins the next alert, or goes on
void alert_job_clear(struct alert_job *);

// --- alerts_list.c

int alerts_list_init(struct alerts *);
void alerts_list_start(struct alerts *); // lists, and again after promote_s
