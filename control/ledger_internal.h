// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the ledger share; nobody else includes it, but for the ledger's tests.
//
//   ledger.c           open, the shared transaction, its commit and failure, watchers
//   ledger_schema.c    tables and prepared statements
//   ledger_submit.c    judging and writing claims
//   ledger_entry.c     entries from claims, the change log, the digest
//   ledger_deadline.c  the clock; ends, orphans' grace, allows, pause
//   ledger_held.c      held changes          ledger_allow.c  allows, pause, exceptions
//   ledger_protection.c  the operator's protections, conflicts   ledger_immunity.c
//   ledger_bulk.c      batches of lists (control/lists.h)
//   ledger_query.c     claims                ledger_changes.c  entries, the log, the reader
//   ledger_note.c      cursors, notes, sources    ledger_told.c   what was told to cases
//   ledger_space.c     the reserve on disk   audit.c         the chain
//   ledger_checkpoint.c  the thread that empties the write-ahead log
//   ledger_fleet*.c    the fleet: records, asks, checkpoints (ledger_fleet_internal.h)
//
// One transaction is open at a time and shared by all writers of about 2 ms. `now` is what it will
// be after the commit, `saved` what it was before: a failure copies it back.

#pragma once

#include "control/ledger.h"
#include "control/ledger_fleet.h"
#include "control/ledger_key.h"
#include "control/protect.h"
#include "rules/siphash.h"

#include <openssl/evp.h>
#include <sqlite3.h>

// Keys are chosen by others; and uthash's own function does not survive clang's warnings.
static const uint8_t dirty_hash_key[16] = "stanch ledger 1";
#undef HASH_FUNCTION // also of another header
#define HASH_FUNCTION(key, len, hash) ((hash) = (unsigned)siphash64(dirty_hash_key, (key), (len)))
#include <uthash.h>

#include <sys/queue.h>

struct event;

#define SHA256_LEN 32
#define RATE_SECONDS 60
#define ALLOW_MAX (24 * 3600)
// Brake on the shrink of one source: beyond both of them, an operator decides.
#define SHRINK_PERCENT 20
#define SHRINK_FLOOR 100
#define SPACE_MS 1000 // between two looks at a full disk
#define EXPIRE_BATCH 500 // claims ended in one transaction: bounds its time
#define PENDING_FULL                                                                               \
	500 // items in one transaction, then it is committed at once: its commit is short

enum stmt {
	STMT_BEGIN,
	STMT_COMMIT,
	STMT_STATE_PUT,
	STMT_SOURCE_ADD,
	STMT_SOURCE_PUT,
	STMT_CLAIM_FIND,
	STMT_CLAIM_ADD,
	STMT_CLAIM_REPLACE,
	STMT_CLAIM_END,
	STMT_CLAIM_STATE,
	STMT_CLAIM_MOVE,
	STMT_CLAIM_ENDS,
	STMT_ENTRY_FIND,
	STMT_ENTRY_PUT,
	STMT_ENTRY_END,
	STMT_CHANGE_ADD,
	STMT_CHANGE_TRIM,
	STMT_REVISION_ADD,
	STMT_REVISION_FIND,
	STMT_REVISION_TRIM,
	STMT_AUDIT_ADD,
	STMT_HELD_FIND,
	STMT_HELD_ADD,
	STMT_HELD_COUNT,
	STMT_HELD_END,
	STMT_DUE_CLAIMS,
	STMT_DUE_FIRST,
	STMT_DUE_LOCAL,
	STMT_DUE_FIRST_LOCAL,
	STMT_FLEET_PUT,
	STMT_FLEET_RECORD_ADD,
	STMT_FLEET_CLAIM,
	STMT_FLEET_CLAIM_ROW,
	STMT_FLEET_CLAIM_PUT,
	STMT_FLEET_THEIRS,
	STMT_FLEET_LOCAL,
	STMT_FLEET_AWAY,
	STMT_FLEET_ASK_ADD,
	STMT_FLEET_ASK_FIND,
	STMT_IMMUNE,
	STMT_BULK_ADD,
	STMT_BULK_TRIM,
	STMT_N,
};

// Counters that follow the claims and entries; written with each commit.
struct tally {
	uint64_t claims, orphaned, held, allows;
	uint64_t entries, enforce, monitor, names;
};

struct fleet_now {
	struct fleet_place place;
	bool leads; // not stored
	uint64_t epoch; // the highest seen
	char leader[FLEET_NAME_MAX];
	char up[48];
	int64_t pause_until, pause_due; // of the whole fleet
	bool adrift; // what is here is on no log: a checkpoint ends none of it
	char resync[96]; // why another checkpoint is needed; "": it is not
	// What the last record of a commit said; end_number 0: none did.
	uint64_t end_number, end_count;
	struct digest end_digest;
	uint64_t ask_last; // the newest ask's number
	uint64_t asks; // unsettled
	uint64_t differ; // claims that are local or away
	uint64_t first, records, octets; // kept
};

struct ledger_now {
	struct fleet_now fleet;
	struct revision revision;
	struct digest digest;
	struct tally tally;
	int64_t log_last; // sequence number of the newest change
	int64_t log_tail; // oldest revision whose successors' changes are kept
	int64_t pause_until, pause_due;
	int64_t audit_seq;
	uint8_t audit_hash[SHA256_LEN];
};

// New claims of a source in each of the last 60 seconds.
struct rate {
	int64_t second; // of the newest bucket, CLOCK_BOOTTIME
	uint32_t count[RATE_SECONDS];
	uint32_t sum;
};

struct source {
	int64_t id;
	char *name;
	bool configured, cases, list, dirty;
	uint64_t claims, claims_saved;
	struct rate rate, rate_saved;
};

// An indicator whose claims the open transaction touched.
struct dirty {
	struct indicator indicator;
	struct ledger_key key;
	bool had, has; // claims in force before, after
	int64_t enforce[2], monitor[2]; // their ends before, after
	uint8_t list[2]; // what lists do there (control/lists_page.h)
	UT_hash_handle hh;
};

// Somebody to call after the commit.
struct pending {
	STAILQ_ENTRY(pending) link;
	submit_done submit;
	ledger_done done;
	void *ctx;
	size_t n;
	int error; // the writer's own refusal
	char message[192];
	struct submit_result results[];
};
STAILQ_HEAD(pending_list, pending);

struct watcher {
	TAILQ_ENTRY(watcher) link;
	unsigned topics;
	ledger_wake wake; // NULL: unwatched during a round
	void *ctx;
};

struct lists;
struct list_batch;
struct bulk_out;

// Keys that claims or immunities may speak of: a Bloom filter that only grows, made anew at each
// start. It spares the look into the tables for each member of a list.
#define CLAIMED_BITS (UINT64_C(1) << 23)

struct ledger {
	struct event_base *base;
	struct ledger_conf conf;
	char *dir;
	struct protect *protect;
	sqlite3 *db;
	sqlite3_stmt *stmts[STMT_N];
	uint8_t id[LEDGER_ID_LEN];

	bool open; // a transaction
	int error; // first -errno in it
	size_t n_open; // items in it
	unsigned topics; // for the watchers, after the commit
	bool forced; // the audit's head goes to syslog after the commit
	struct ledger_now now, saved;
	struct dirty *dirty;
	struct pending_list pending;
	struct list_state state; // committed
	struct event *commit_event, *due_event, *syslog_event;
	int64_t committed_us; // the last commit's end, CLOCK_MONOTONIC
	int due_fd; // timerfd on CLOCK_BOOTTIME

	struct source **sources;
	size_t n_sources, n_sources_saved;
	bool sources_known;
	TAILQ_HEAD(, watcher) watchers;
	bool waking;
	uint64_t refused_protected, refused_brake, refused_full;
	uint64_t refusals_seen[1024]; // hashes of refusals audited already: one source repeats them

	int64_t offset_ms; // ledger time − CLOCK_BOOTTIME
	int64_t wall_shift_ms, boot_shift_ms; // tests move the clocks with these
	int64_t last_wall; // of the last commit before the start, seconds
	bool ends_held; // the wall clock at start cannot be right
	bool clock_stepped; // since the start

	int reserve_fd; // locked: one daemon a ledger
	bool reserve_kept, space_low;
	bool refused_room; // a block, for want of room in the list
	unsigned checkpoint_pages; // of the write-ahead log, at most
	struct checkpointer *checkpointer;

	LIST_HEAD(, audit_verify) verifies; // walks under way
	LIST_HEAD(, settling) settlings; // held changes being approved or rejected
	bool closing; // what is under way in slices is not gone on with

	EVP_MD *sha256;
	EVP_MD_CTX *sha256_ctx;

	struct ledger_fleet *fleet; // NULL: single
	struct lists *lists;
	struct list_batch *bulk; // being committed; NULL: none
	struct bulk_out *bulk_out;
	struct revision link; // the data plane's; {0, 0}: nobody waits for it
	bool link_compares;
	int64_t link_ms; // CLOCK_BOOTTIME, when it last came further
	int bulk_error;
	uint8_t claimed[CLAIMED_BITS / 8];
};

// --- ledger_schema.c
int schema_open(struct ledger *, char message[256]);
void schema_close(struct ledger *);
int sql_errno(int rc, sqlite3 *);
// Step a statement that returns no rows, and reset it. Fails the open transaction.
int sql_run(struct ledger *, sqlite3_stmt *);
int sql_exec(struct ledger *, const char *sql);
int sql_prepare(struct ledger *, const char *sql, sqlite3_stmt **ret_stmt);
// The same, kept for the next time: only for a scoped_stmt, which gives it back.
int sql_kept(struct ledger *, const char *sql, sqlite3_stmt **ret_stmt);
void sql_bind_key(sqlite3_stmt *, int at, const struct ledger_key *);
void sql_bind_text(sqlite3_stmt *, int at, const char *text);
const char *sql_text(sqlite3_stmt *, int column);
int sql_indicator(sqlite3_stmt *, int column, struct indicator *ret_indicator);
void sql_finalize(sqlite3_stmt **);
#define scoped_stmt __attribute__((cleanup(sql_finalize))) sqlite3_stmt *

// --- ledger.c
int transaction_begin(struct ledger *); // 0 where one is open and well
void transaction_fail(struct ledger *, int error);
struct pending *pending_create(struct ledger *, size_t n);
void pending_done(struct ledger *, ledger_done, void *ctx, int error, const char *message);
void ledger_commit(struct ledger *);
void ledger_commit_soon(struct ledger *); // on the next turn of the loop
void ledger_wake_soon(struct ledger *, unsigned topics);

// --- ledger_entry.c
struct dirty *dirty_find(struct ledger *, const struct indicator *, const struct ledger_key *);
void dirty_raise(struct ledger *, struct dirty *, enum claim_action, int64_t until);
void dirty_recompute(struct ledger *, struct dirty *);
bool dirty_has(const struct dirty *); // is there an entry, as things stand?
bool entries_flush(struct ledger *); // did the list change?
void dirty_free(struct ledger *);
void revision_write(struct ledger *);
void log_trim(struct ledger *);
// Counts an entry, digest included, in (by 1) or out (by −1); one without ends is none.
void entry_count(struct ledger *, const struct entry *, int by);
void entry_raise(struct entry *, uint8_t list_actions); // what lists add to it: no end
int claims_ends(struct ledger *, const struct ledger_key *, struct entry *ret_ends); // -ENOENT
void claimed_note(struct ledger *, const struct ledger_key *);
bool claimed_maybe(const struct ledger *, const struct ledger_key *);
int claimed_load(struct ledger *);
// What the lists do there, immunities considered.
uint8_t lists_say(struct ledger *, const struct indicator *, const struct ledger_key *);

// --- ledger_bulk.c
int bulk_changes(
	const void *data, size_t len, struct revision, change_cb, void *ctx, bool *ret_more
);

// --- ledger_submit.c
struct claim_row {
	int64_t id;
	int64_t until, created, orphaned_since, held_id;
	enum claim_action action;
	enum claim_state state;
};
// Columns 0 to 11 of STMT_CLAIM_FIND and of the fleet's statements on claims.
struct claim_row claim_row_read(sqlite3_stmt *);
bool claim_row_says(sqlite3_stmt *, const struct claim *); // the same, its state apart
// Protections and capacity once more, before a held claim takes effect.
enum submit_code claim_judge_again(
	struct ledger *, const struct indicator *, const struct ledger_key *, char message[192]
);
// The tallies of a claim that comes (by 1) or goes (by −1) in that state.
void claim_count(struct ledger *, struct source *, enum claim_state, int by);
// In the open transaction.
void submit_item_now(struct ledger *, const struct submit_item *, const struct actor *, struct submit_result *);
void claim_state_set(
	struct ledger *,
	struct source *,
	const struct claim_row *,
	enum claim_state,
	int64_t due,
	int64_t orphaned_since
);
void claim_end(
	struct ledger *,
	struct source *,
	const struct claim *key, // source, ref, indicator
	const struct claim_row *,
	const char *actor,
	const char *action,
	const char *cause
);
void claim_object(const struct claim *, char *text, size_t size);

// --- ledger_deadline.c
int deadline_init(struct ledger *, int64_t last_wall);
void deadline_arm(struct ledger *);
void deadline_run(struct ledger *);
int64_t clock_wall_ms(const struct ledger *);
int64_t clock_boot_ms(const struct ledger *);
int64_t clock_wall(const struct ledger *); // seconds
// When an end given in wall-clock seconds falls due, in ledger time.
int64_t deadline_due(const struct ledger *, int64_t until);
int64_t ledger_time(struct ledger *); // seconds

// --- ledger_held.c
int held_group(struct ledger *, struct source *, bool shrink, const char *why, int64_t *ret_id);
// A claim in force that does not end with its grace, until an operator says so.
void held_keep(
	struct ledger *, struct source *, struct claim_row *, const struct claim *, const char *why
);
void held_count(struct ledger *, int64_t held_id, int by);

void held_fini(struct ledger *);
// What a brake holds of a list's reading: replaces what it held before; n 0: nothing.
void ledger_list_held(
	struct ledger *, const char *source, bool shrink, uint64_t n, const char *why
);

// --- ledger_protection.c
int protections_load(struct ledger *);
int protection_write(
	struct ledger *,
	const struct indicator *,
	const char *reason,
	const char *author,
	int64_t created,
	bool local
);
// As ledger_protect, ledger_protect_end; 0 or the refusal.
int protection_put(
	struct ledger *, const struct indicator *, const struct actor *, char message[192]
);
int protection_end(
	struct ledger *, const struct indicator *, const struct actor *, char message[192]
);

// --- ledger_allow.c
int allow_write(struct ledger *, const struct allow *, bool local);
// As ledger_allow, ledger_allow_end, ledger_pause; 0 or the refusal.
int allow_put(
	struct ledger *,
	const struct indicator *,
	int64_t until,
	const struct actor *,
	char message[192]
);
int allow_end(
	struct ledger *,
	const struct indicator *,
	const struct actor *,
	const char *as,
	char message[192]
);
int pause_put(
	struct ledger *, int64_t until, bool whole_fleet, const struct actor *, char message[192]
);
void pause_fleet_set(struct ledger *, int64_t until);
void allows_expire(struct ledger *, int64_t now);
int64_t allows_due(struct ledger *);
// Is there room for no further protection or allow in the data plane? Says so.
bool exceptions_full(struct ledger *, char message[192]);

// --- ledger_immunity.c
int immunity_write(struct ledger *, struct source *, const struct immunity *);
void immunities_judged(struct ledger *, const struct indicator *denied); // by a case: they end
void immunities_expire(struct ledger *, int64_t now);

// --- ledger_note.c
struct source *source_find(struct ledger *, const char *name);
struct source *source_get(struct ledger *, const char *name); // made where there is none
struct source *source_by_id(struct ledger *, int64_t id);
int sources_load(struct ledger *);
void sources_save(struct ledger *);
void sources_commit(struct ledger *);
void sources_rollback(struct ledger *);
void sources_free(struct ledger *);

// --- ledger_space.c
int space_init(struct ledger *, char message[256]);
void space_check(struct ledger *); // before a transaction: space_low
void space_release(struct ledger *); // gives up the reserve
void space_fini(struct ledger *);

// --- ledger_checkpoint.c
int checkpoint_init(struct ledger *);
void checkpoint_fini(struct ledger *);
// Of the database at `path`, which exists: from a quarter of `hard` pages of its log on.
struct checkpointer;
int checkpointer_create(const char *path, unsigned hard, struct checkpointer **ret_checkpointer);
void checkpointer_free(struct checkpointer *); // NULL is fine
void checkpointer_committed(struct checkpointer *, unsigned pages); // any thread

// --- ledger_fleet*.c
enum fleet_item_kind {
	ITEM_CLAIM, // as it is now: there, or gone
	ITEM_ALLOW,
	ITEM_IMMUNITY,
	ITEM_PROTECT,
	ITEM_PAUSE,
	ITEM_HELD, // of the source; ref "1" growth, "2" shrink
	ITEM_ASKED, // an answer
	ITEM_TOLD, // what was told to a case
	ITEM_NOTE, // of an owner whose notes are the fleet's; ref: the key
	ITEM_CURSOR, // that follower has dealt with the audit so far
	ITEM_KINDS,
};
int fleet_load(struct ledger *);
void fleet_fini(struct ledger *);
// In the commit: records of what was touched; then the place and what else is kept.
void fleet_flush(struct ledger *);
void fleet_save(struct ledger *);
void fleet_rolled_back(struct ledger *);
void fleet_committed(struct ledger *); // tells who waits for records and asks
// On a leader: a record will say how that is once the commit is written. Else nothing.
void fleet_touch(
	struct ledger *,
	enum fleet_item_kind,
	const char *source, // NULL, "": none, here and below
	const char *ref,
	const struct indicator *,
	const char *actor,
	const char *as, // the audit's word for it
	const char *why
);
bool fleet_note_owner(const char *owner); // are its notes the fleet's?
void fleet_touch_claim(
	struct ledger *, const struct claim *, const char *actor, const char *as, const char *why
);
// The same of a claim that is there, by the id of its row.
void fleet_touch_row(
	struct ledger *,
	const struct claim *,
	int64_t id,
	const char *actor,
	const char *as,
	const char *why
);
// Operators act here, and the leader is another gateway.
bool fleet_follows(const struct ledger *);
// A claim that is about to be written here, on a follower: local from now on.
void fleet_mark_local(struct ledger *, int64_t id);
void fleet_mark_new(struct ledger *, int64_t id); // the row just made
// A claim that ends here: true where the row stays, because the log has it.
bool fleet_mark_away(struct ledger *, const struct claim_row *);
void fleet_expiring(struct ledger *, bool); // what ends now, a clock ends
// Asks the leader to do the same; nothing where this is no follower.
void fleet_ask_submit(struct ledger *, const struct submit_item *, const struct actor *);
void fleet_ask_item(struct ledger *, enum fleet_item_kind, const char *op, const struct indicator *, int64_t until, const struct actor *);
// A held change or a list, by name. `ref`: "1" growth, "2" shrink.
void fleet_ask_named(struct ledger *, const char *op, const char *source, const char *ref, const struct actor *);

// --- audit.c
int audit_init(struct ledger *);
void audit_fini(struct ledger *);
struct audit_walk {
	int64_t seq; // verified up to here
	uint8_t hash[SHA256_LEN];
};
// 1: more to do, 0: all committed records verify, -EILSEQ: the one behind walk->seq does not.
int audit_verify_some(struct ledger *, struct audit_walk *);
void audit_add(
	struct ledger *,
	const char *actor,
	const char *action,
	const char *object,
	const char *detail
);
void audit_add_cause(
	struct ledger *,
	const char *actor,
	const char *action,
	const char *object,
	const char *key,
	const char *cause
);
void audit_syslog(struct ledger *);
// {"key":"value",…} without a tree: a thousand claims a commit are audited.
struct detail {
	size_t len;
	char text[1600];
};
void detail_begin(struct detail *);
void detail_text(struct detail *, const char *key, const char *value);
void detail_number(struct detail *, const char *key, int64_t value);
const char *detail_end(struct detail *);
