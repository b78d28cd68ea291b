// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the lists share; besides them only the ledger's own files include it.
//
//   lists.c          the loop's side: conf, jobs, what the worker reports, reading members
//   lists_held.c     brakes, retirement              lists_claims.c   members as claims
//   lists_worker.c   the thread: jobs, points, ends, retirement
//   lists_merge.c    a reading against the pages: what differs, brakes, batches
//   lists_batch.c    a batch: actions before and after, pages, the hand-over to the loop
//   lists_run.c      the members of a reading, sorted
//   lists_db.c, lists_page.c   the file     list_member.c   what publishers write
//   lists_fleet.c    what other gateways say and are told (control/lists_fleet.h), the loop's side
//   lists_apply.c    the same, the worker's         lists_export.c   checkpoints
//   lists_payload.c  its format
//   ledger_bulk.c    the ledger's side: revisions, change log, redo
//
// Two threads. `struct lists` says of each field who touches it; what both do is under `mutex`.
// While a batch is handed over the worker waits, and its connection is the loop's to commit.

#pragma once

#include "control/ledger_internal.h"
#include "control/list_member.h"
#include "control/lists.h"
#include "control/lists_db.h"
#include "control/lists_fleet.h"
#include "control/lists_payload.h"

#include <pthread.h>
#include <stdatomic.h>

#define LIST_BATCH_MAX 3900 // changes: three messages on the link
#define LIST_FEED_MAX (256 << 10) // octets of texts in one job
#define LIST_JOBS_BUSY 16 // of texts, that wait
#define LIST_TOUCHED_MAX 8192 // members that hints moved during one reading
#define LIST_PEAK_HOURS 24
#define LISTS_LOG_MAX 16384 // pages of 4 KiB in the write-ahead log of lists.db, about

// --- a batch

struct list_change {
	struct list_member member; // as it will be; where it goes, as it was
	bool put; // else it goes
	uint8_t own_before; // actions of this list
	uint8_t before, after; // of all lists together
	uint32_t order; // of points, in which they came
};

// What a batch tells the fleet.
struct list_payload {
	STAILQ_ENTRY(list_payload) link;
	size_t len;
	uint8_t octets[];
};
STAILQ_HEAD(list_payloads, list_payload);
STAILQ_HEAD(list_jobs, list_job);

struct list_batch {
	uint64_t seq; // that of the batch before where n is 0
	uint32_t list;
	bool applied; // the fleet says so; else this gateway's own sources
	bool bare; // of worth without a change too
	bool told; // payloads say it all
	struct list_payloads payloads; // freed by the worker
	struct list_jobs applies; // what it applies, for lists_fleet_hooks.applied
	size_t n, n_new; // n_new: changes that may add an entry
	struct list_change changes[LIST_BATCH_MAX]; // by key
};

// --- the members of a reading

struct run;
struct run *run_create(void);
void run_free(struct run *);
int run_add(struct run *, const struct list_member *); // -ENOMEM, -EFBIG: 4 GiB
int run_sort(struct run *); // -ENOMEM
void run_rewind(struct run *);
// 1: the next member, each once: of two the one that denies more, and longer. 0: the end.
int run_next(struct run *, struct list_member *ret_member);
size_t run_size(const struct run *);

// --- the worker

enum list_job_type {
	LIST_JOB_CONF,
	LIST_JOB_SHIELDS, // protections
	LIST_JOB_BEGIN,
	LIST_JOB_FEED,
	LIST_JOB_END,
	LIST_JOB_ABORT,
	LIST_JOB_APPROVE,
	LIST_JOB_POINT,
	LIST_JOB_MARK,
	LIST_JOB_EXPIRE,
	LIST_JOB_RETIRE,
	LIST_JOB_FOLLOW, // readings under way are given up
	LIST_JOB_APPLY,
	LIST_JOB_IMPORT_BEGIN,
	LIST_JOB_IMPORT,
	LIST_JOB_IMPORT_ABORT,
	LIST_JOB_SWEEP,
};

struct list_job {
	STAILQ_ENTRY(list_job) link;
	enum list_job_type type;
	uint32_t list;
	bool confirmed; // END
	bool synced; // MARK
	bool shrink; // APPROVE
	uint64_t amount; // APPROVE: changes
	int64_t at_ms; // BEGIN: monotonic
	struct list_conf conf; // CONF; of APPLY and IMPORT its name
	// APPLY, IMPORT, SWEEP
	ledger_done done;
	void *ctx;
	int refused; // APPLY: the loop did, for this
	uint64_t round; // of applies: see lists.applies_failed
	size_t len, room, n;
	_Alignas(8) uint8_t data[]; // FEED, POINT: texts; SHIELDS: struct indicator, n of them;
				    // APPLY, IMPORT: a payload
};

// One text in a job: this, then the member, then the value.
struct list_item {
	uint32_t member_len, value_len;
	int64_t until;
	bool present;
};

struct list_touch {
	uint64_t hash; // of the key
	int64_t at_ms;
};

struct worker_list {
	uint32_t id;
	char name[LIST_NAME_MAX + 1];
	struct list_conf conf;
	uint64_t members;
	int64_t synced;
	int64_t peak_hour; // hours since the epoch, of peaks[peak_hour % 24]
	uint64_t peaks[LIST_PEAK_HOURS];
	uint64_t braked;
	// the reading under way
	struct run *run;
	int run_error;
	int64_t began_ms; // when the loop began to read
	// What points and ends moved, the newest at (n_touched − 1) % LIST_TOUCHED_MAX.
	struct list_touch touched[LIST_TOUCHED_MAX];
	size_t n_touched;
	uint64_t refused, protected;
	// The text of the member before: most say the same.
	uint32_t attr_last;
	uint8_t attr_actions;
	char attr_reason[LIST_REASON_MAX], attr_reference[128];
	char samples[LIST_SAMPLES][160];
	size_t n_samples;
	// of the reading before: what it did not show, hashes of keys, sorted
	uint64_t *missing;
	size_t n_missing;
	int64_t missing_ms;
	uint64_t approved[2]; // growth, shrink: changes an operator lets pass
	// the import under way
	uint64_t import_round; // of the last chunk
	struct ledger_key import_last; // its last key
	bool import_whole; // it was the list's last one
	struct run *doomed; // members that no chunk named
	struct run *named; // by records since
};

enum proposal {
	PROPOSAL_NONE,
	PROPOSAL_MADE, // the loop's turn
	PROPOSAL_TAKEN, // committed in both files
	PROPOSAL_REFUSED, // nothing is
	PROPOSAL_BEHIND, // committed in ledger.db only
};

struct list_event {
	STAILQ_ENTRY(list_event) link;
	enum list_event_kind {
		LIST_EVENT_READ,
		LIST_EVENT_RETIRED,
		LIST_EVENT_MARKED,
		LIST_EVENT_DONE, // a job of the fleet
	} kind;
	struct list_result result;
	ledger_done done;
	void *ctx;
};
STAILQ_HEAD(list_events, list_event);

// What the loop knows of a list.
struct loop_list {
	struct list_status status; // members, peak, synced, progress: from the worker, under mutex
	list_done done;
	void *done_ctx;
	struct list_job *feeding;
	struct list_cursor cursor;
	ledger_done retired;
	void *retired_ctx;
	list_marked marked;
	void *marked_ctx;
	int64_t next_until; // under mutex
	uint64_t rejected[2]; // held changes of this size were rejected
	bool any; // it has members, or had
};

struct lists {
	struct ledger *ledger; // the loop's
	struct lists_db db; // the loop's: reads committed pages
	struct loop_list lists[LISTS_MAX]; // the loop's, but where said
	size_t n;
	struct event *event, *second, *pace;
	list_approved approved;
	void *approved_ctx;
	uint64_t batches, changes;
	struct lists_fleet_hooks hooks;
	uint64_t applies_failed; // how often: what was given before is not applied behind it
	// Written by the loop.
	atomic_bool fleet; // lists_fleet_open was called
	atomic_bool follows;

	pthread_t thread;
	bool running;
	int event_fd;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	struct list_jobs jobs, urgent; // under mutex
	size_t n_feeds; // under mutex
	struct list_events events; // under mutex
	struct cautions *cautions_next; // under mutex: the loop's newest
	enum proposal proposal; // under mutex
	int proposal_error;
	atomic_bool stop;
	atomic_bool behind; // lists.db lacks what ledger.db has

	struct checkpointer *checkpointer; // of lists.db

	// the worker's
	struct lists_db work; // while proposal is MADE: the loop's
	int wal_pages; // of its log, as of the last commit
	sqlite3_stmt *page_add, *page_end, *list_put, *seq_put;
	uint64_t seq;
	struct worker_list *own[LISTS_MAX];
	size_t n_own;
	struct list_cursor others[LISTS_MAX]; // for the actions of other lists
	struct list_batch *batch;
	struct page_writer writer;
	struct indicator *shields;
	size_t n_shields;
	struct cautions *cautions; // NULL: none
	bool shielded_v4[256]; // first octets that one of them meets
	struct attr *attrs; // interned; uthash
	struct attr **attrs_by_id; // attrs_room of them
	size_t attrs_room;
	struct payload_writer *payload;
	uint64_t round_failed; // applies of this round are not done
	uint64_t import_round, import_next; // the next chunk's index
	bool importing, import_whole; // whole: the last chunk was there
	uint32_t attr_next;
	bool attrs_new; // some are not in the file
};

// --- lists_shields.c
void lists_protections_moved(void *lists, unsigned topics);
// The worker's: must it not be denied? `ret_caution` says why where many share it, else "".
bool worker_shielded(
	const struct lists *,
	const struct list_conf *,
	const struct indicator *,
	char ret_caution[192]
);
void worker_shields_take(struct lists *, const struct list_job *);

// --- lists.c
int lists_open(struct ledger *);
int lists_start(struct lists *); // the thread, once the ledger is open
void lists_stop(struct lists *); // NULL is fine, here and below
void lists_free(struct lists *);
bool lists_gone(const struct lists *, const char *name); // nobody reads it any more
const char *lists_name(const struct lists *, uint32_t list);
bool lists_any(const struct lists *); // is there any member?
// What the lists do with that key, as committed.
int lists_actions(struct lists *, const struct ledger_key *, uint8_t *ret_actions);
int lists_commit(struct lists *); // the batch's pages; the worker's connection
void lists_job_post(struct lists *, struct list_job *, bool urgent);
struct list_job *lists_job_create(enum list_job_type, uint32_t list, size_t room);
// An operator settled a held change of a list.
void lists_held_settled(struct lists *, const char *name, bool shrink, bool approved);

struct loop_list *loop_list_find(struct lists *, uint32_t id);
struct loop_list *loop_list_get(struct lists *, const char *name); // made where unknown; or NULL

// --- lists_apply.c
void apply_take(struct lists *, struct list_job *); // takes the job
void import_begin(struct lists *);
void import_abort(struct lists *);
void import_take(struct lists *, const struct list_job *);
void sweep(struct lists *, const struct list_job *);

// --- lists_held.c
void list_held_update(struct lists *, struct loop_list *, bool shrink, uint64_t n);

// --- lists_worker.c
void *lists_worker_run(void *lists);
void worker_urgent(struct lists *); // between two batches
struct worker_list *worker_list_find(struct lists *, uint32_t id);
struct worker_list *worker_list_add(struct lists *, uint32_t id, const char *name);
void worker_report(struct lists *, struct worker_list *, const struct list_result *);
void worker_publish(struct lists *, struct worker_list *, uint64_t progress, uint64_t total);
// A job of the fleet is done: its callback comes on the loop.
void worker_done(struct lists *, const struct list_job *, int error);
int worker_list_forget(struct lists *, struct worker_list *); // its row
void changes_last(struct list_batch *); // sorted; of several changes of a member the last stands
uint64_t key_hash(const struct ledger_key *);
int64_t wall_seconds(void);
int64_t monotonic_ms(void);
// Judges a text: member, or false and the refusal is counted.
bool worker_member(
	struct lists *,
	struct worker_list *,
	const struct list_item *,
	const char *member,
	struct list_member *ret_member
);

// --- lists_merge.c
void merge_run(struct lists *, struct worker_list *, bool confirmed);
uint64_t peak_of(const struct worker_list *, int64_t now);
void peak_note(struct worker_list *, int64_t now);
void peak_raise(struct worker_list *, int64_t hour, uint64_t members);
// How many members more, or fewer, one change may leave than the peak of 24 hours has.
uint64_t brake_room(uint64_t peak);

// --- lists_batch.c
int batch_init(struct lists *);
void batch_fini(struct lists *);
// A change, behind those that are in the batch. False: the batch is full.
bool batch_add(struct list_batch *, const struct list_change *);
void batch_clear(struct list_batch *);
// Gives the batch to the loop and waits. 0: it is in force. The batch is empty then in any case.
int batch_propose(struct lists *, struct worker_list *);
int batch_apply(struct lists *, const struct list_batch *); // pages only, in a transaction
int list_save(struct lists *, const struct worker_list *);
uint32_t attr_intern(struct lists *, uint8_t actions, const char *reason, const char *reference);
void attr_text(const struct lists *, uint32_t id, struct payload_attr *ret_attr);
// The same with no change at all: a list's state is saved, and the fleet told (PAYLOAD_…).
int batch_bare(struct lists *, struct worker_list *, uint8_t payload_flags);

// --- ledger_bulk.c
// Commits a batch: 0, or -errno and nothing of it holds. ret_behind: lists.db lacks it.
int bulk_take(struct ledger *, struct list_batch *, bool *ret_behind);
bool bulk_flush(struct ledger *); // during the commit
bool bulk_waits(const struct ledger *); // for the data plane to come along
int bulk_open(struct ledger *); // what lists.db lacks, and whether the two belong together
