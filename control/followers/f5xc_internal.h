// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the mirror share. One request at a time is under way; after its answer
// f5xc_step (f5xc.c) looks for the next thing to do:
//
//   the list of sets ▸ what was written, read back ▸ sets that gain ▸ sets not read yet ▸ sets that
//   only lose ▸ the policy ▸ who refers to what ▸ sets read again ▸ sets that nobody needs
//
// Thread: the event loop.

#pragma once

#include "control/conf.h"
#include "control/control.h"
#include "control/followers/f5xc.h"
#include "control/followers/f5xc_pace.h"
#include "control/followers/f5xc_policy.h"
#include "control/followers/f5xc_seat.h"
#include "control/followers/f5xc_wanted.h"
#include "control/http_client.h"
#include "control/ledger.h"
#include "control/ledger_fleet.h"
#include "control/log.h"

#include <netinet/in.h>

// A row as it was read: without its text.
struct held_row {
	struct f5xc_prefix prefix;
	uint32_t description; // hash
};

// One set.
struct shard {
	struct f5xc *owner;
	int family, index;
	char name[80];
	struct f5xc_slot *slot; // of owner->wanted
	// as read last
	bool known; // read, or known to be missing
	bool missing;
	bool foreign; // without our label: never written
	bool higher; // of a higher epoch: never written
	bool disabled, described; // described: as we would
	bool content_missing; // our annotation is
	char version[24]; // resource_version
	json_t *metadata;
	struct held_row *held; // sorted
	size_t n_held;
	int64_t read_ms; // monotonic
	// what is to be done
	bool read_due; // asked for: at the start, after doubt, by the reconcile
	bool verify; // written, not read back
	bool adopt; // an operator says that it is ours
	bool leaving; // nobody needs it: its rule first, then the set
	int64_t written_ms, not_before_ms; // monotonic
	unsigned backoff_ms;
	char sent[F5XC_CONTENT_MAX]; // content of the last write, until it is read back
	struct f5xc_where sent_first; // the first of what was new in it
	size_t sent_new, try_new; // try_new > 0: F5 refused more: which one is looked for
	bool descriptions_lost, annotations_lost; // F5 does not keep them: no reason to write
	int64_t empty_ms; // since when nobody sits there; 0: somebody does
	// drift
	struct f5xc_row *extras; // somebody's, kept where f5xc.drift is show; texts owned
	size_t n_extras;
	bool gone; // deleted by somebody, and f5xc.deleted is report
	bool kept; // the ledger notes that it stands
	char drift[F5XC_WHY_MAX];
	char error[F5XC_WHY_MAX];
	struct f5xc_referrers referrers;
	bool named_referrers; // the default answer names who refers
};

// Our enhanced_firewall_policy, and the operator's behind it.
struct policy {
	char name[80];
	bool known, missing, foreign, higher;
	bool read_due, verify, adopt;
	char version[24], content[F5XC_CONTENT_MAX], sent[F5XC_CONTENT_MAX];
	bool disabled;
	json_t *metadata;
	json_t *rules; // as read last
	int64_t read_ms, written_ms, not_before_ms;
	unsigned backoff_ms;
	char error[F5XC_WHY_MAX], drift[F5XC_WHY_MAX];
	int64_t before_ms; // monotonic: f5xc.policy_before was read; 0: never
	bool before_allows;
	char before_why[F5XC_WHY_MAX];
	bool dirty;
	size_t n_cut; // rules beyond 128
	size_t attach_next; // the one that is asked
	int64_t apart_ms; // monotonic: who lists it was asked apart
	struct f5xc_attachments attached;
};

struct f5xc {
	struct control *control;
	const struct conf_f5xc *conf;
	struct http_client *client;
	char *authorization;
	bool token_doubted; // refused: the file may hold a newer one
	int64_t credential_ends; // seconds; 0: not known
	struct f5xc_wanted wanted;
	struct revision cursor; // of the change log
	bool exceptions_due, changes_due;
	char ledger_error[F5XC_WHY_MAX];
	struct f5xc_where own[16]; // where F5's API was reached: never mirrored
	size_t n_own;
	struct shard shards[2][F5XC_SLOTS];
	struct policy policy;
	struct f5xc_pace pace;
	// the request under way
	bool busy;
	struct shard *asked; // NULL: the list, or the policy
	size_t asked_referrer;
	void (*answered)(struct f5xc *, const struct http_answer *);
	bool listed;
	int64_t listed_ms, refer_ms; // monotonic: listed; who refers is asked next
	int64_t list_not_before_ms; // monotonic
	unsigned list_backoff_ms;
	int64_t started_s; // wall clock
	unsigned family_wait_s;
	int64_t family_refused_ms; // monotonic: the tenant refuses IPv6, no create before; 0: not
				   // so
	char family_why[F5XC_WHY_MAX];
	char error[F5XC_WHY_MAX]; // of the service as a whole
	char last_drift[F5XC_WHY_MAX];
	uint64_t n_drift, n_limited;
	unsigned adds_in_a_row; // writes of sets that gain, since one that only loses
	struct event *timer, *turn, *reconcile;
	int64_t last_ok_ms; // wall clock
	// of f5xc_status.c
	size_t counts[F5XC_STATES];
	uint64_t counts_moves;
	int64_t counts_lag_ms;
};

// --- f5xc.c

void f5xc_step(struct f5xc *); // does the next thing, or sets the timer for it
void f5xc_touched(struct f5xc *); // something moved: f5xc_step, in the next turn
bool f5xc_all_known(const struct f5xc *); // every set of ours at F5 was read
// Sends a request; `answered` gets its answer. -errno: nothing was sent.
int f5xc_ask(
	struct f5xc *,
	const char *method,
	const char *path,
	json_t *body, // taken; NULL: none
	void (*answered)(struct f5xc *, const struct http_answer *)
);
json_t *f5xc_answer_json(const struct http_answer *); // sanitised; NULL: none
// What a refusal means, for people.
void f5xc_answer_tell(
	const struct f5xc *,
	const struct http_answer *,
	const char *what,
	char ret_error[F5XC_WHY_MAX]
);
// The next wait after failures, with jitter.
int64_t f5xc_backoff(unsigned *backoff_ms);
// The ledger's, with the epoch by which F5's objects know an older writer: in a fleet the fleet's.
void f5xc_state(const struct f5xc *, struct list_state *ret_state);
void f5xc_own_state(const struct f5xc *, struct f5xc_own *);
void f5xc_drift_note(struct f5xc *, const char *name, const char *what, char drift[F5XC_WHY_MAX]);

// --- f5xc_shard.c

void f5xc_shard_init(struct f5xc *, int family, int index);
void f5xc_shard_fini(struct shard *);
void f5xc_shard_read(struct shard *);
// Writes where it differs. False: it does not, and nothing was sent.
bool f5xc_shard_write(struct shard *);
void f5xc_shard_delete(struct shard *);
void f5xc_shard_missing(struct shard *); // it is not there
// May be written at all, from now on: ours, or to be made.
bool f5xc_shard_writable(const struct shard *);
void f5xc_shard_failed(struct shard *, const char *error);

// --- f5xc_refer.c

// Asks the next thing that is not known, or known too long. False: nothing.
bool f5xc_refer_step(struct f5xc *);

// --- f5xc_glue.c: our policy

enum glue {
	GLUE_NONE,
	GLUE_VERIFY,
	GLUE_READ,
	GLUE_WRITE,
	GLUE_BACKGROUND,
};
void f5xc_glue_init(struct f5xc *);
void f5xc_glue_fini(struct f5xc *);
// What it needs next, and when (monotonic).
enum glue f5xc_glue_due(struct f5xc *, int64_t *ret_ms);
// False: nothing was sent after all.
bool f5xc_glue_do(struct f5xc *, enum glue);
// Is a rule for this set at F5, as read last?
bool f5xc_glue_rules(const struct f5xc *, const struct shard *);
