// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The ledger: claims → entries → change log, with allows, held changes, follower cursors and the
// audit. SQLite in WAL with synchronous=FULL. The only state that sources and followers share.
//
// Thread:   the event loop only. Nothing here blocks longer than about 5 ms, but for the fsync of
//           a commit.
// Commits:  ledger_submit and the other writers run at once inside the open transaction, which a
//           timer commits within 2 ms (several submissions share one commit); `done` is called
//           after the commit, or with -errno where it failed and nothing of it holds.
// Pointers: strings and structs given to callbacks live until the callback returns.
// Times:    seconds since the epoch, UTC; `_ms` milliseconds.

#pragma once

#include "rules/entry.h"
#include "rules/snapshot.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct ledger;
struct protect; // control/protect.h

struct ledger_conf {
	const char *dir; // ledger.db lies here
	uint8_t min_prefix_v4, min_prefix_v6; // brake: shortest prefix of any source (16, 32)
	uint32_t case_claims_per_minute; // brake: new claims of cases, beyond it held (200)
	uint64_t max_entries; // what the data plane can take; refused beyond
	uint64_t change_log_max; // rows kept; a follower behind compares in full
	int64_t orphan_grace; // seconds
};

// Opens or creates. A new ledger has a random id and publishes its empty revision 1.
int ledger_open(
	struct event_base *,
	const struct ledger_conf *,
	struct protect *,
	struct ledger **ret_ledger,
	char ret_message[256]
);
void ledger_close(struct ledger *); // commits what is open
// After a reload: limits and brakes, for what comes from now on; `dir` is not looked at.
void ledger_limits_set(struct ledger *, const struct ledger_conf *);

void ledger_state(const struct ledger *, struct list_state *ret_state);

// --- claims

enum claim_action {
	CLAIM_ENFORCE,
	CLAIM_MONITOR,
};

enum claim_state {
	CLAIM_LIVE,
	CLAIM_ORPHANED, // its source no longer shows it; in force until an operator or the grace
			// ends it
	CLAIM_HELD, // not in force: waits for an operator
	CLAIM_AWAY, // a fleet's follower: ended here by an operator, not yet by the leader; not in
		    // force
};

// Key: (source, ref, indicator). A case claim's ref is "<organisation>/<case id>/<observable id>".
struct claim {
	int64_t id; // given by the ledger
	const char *source; // "operator", "thehive:<name>", "list:<name>"
	const char *ref;
	struct indicator indicator;
	const char *author; // who decided
	bool author_inferred;
	const char *reason;
	enum claim_action action;
	int64_t created;
	int64_t until; // UNTIL_FOREVER: no end
	enum claim_state state;
	int64_t orphaned_since; // 0: not orphaned
	const char *case_number; // what people call it, "" for none
	int tlp; // 0 CLEAR, 1 GREEN, 2 AMBER, 3 AMBER+STRICT, 4 RED; -1 not given
	bool local; // a fleet's follower: in force here, the leader does not have it (yet)
};

enum submit_op {
	SUBMIT_PUT, // add, or replace the claim with the same key; with state CLAIM_HELD it waits
		    // for an operator, unless it is in force already
	SUBMIT_END, // end it: positive evidence, or its operator
	SUBMIT_ORPHAN, // mark it orphaned; a later PUT of the same key makes it live again
	SUBMIT_MOVE, // give it the reference `to`, and mark it orphaned: its case became part of
		     // another one. Where that has the indicator already, it ends
};

struct submit_item {
	enum submit_op op;
	struct claim claim; // END, ORPHAN, MOVE: source, ref and indicator only
	const char *cause; // END, ORPHAN, MOVE: why, for the audit. PUT with state CLAIM_HELD: why
			   // its source holds it
	const char *to; // MOVE
};

enum submit_code {
	SUBMIT_OK, // written
	SUBMIT_UNCHANGED, // was so already
	SUBMIT_PROTECTED, // refused: protection in `message`
	SUBMIT_EXCEPTED, // written, but a protection covers (part of) it
	SUBMIT_BRAKE, // refused: too wide
	SUBMIT_HELD, // a brake holds it for an operator
	SUBMIT_FULL, // refused: max_entries, or no space on disk
	SUBMIT_NOT_FOUND, // END, ORPHAN, MOVE: no such claim
};

struct submit_result {
	enum submit_code code;
	char message[192]; // for people: names protection, limit, remedy; "" for OK
};

// Who acts, for the audit. Forced actions need a reason.
struct actor {
	const char *name; // "uid 0 (root)", "token ops@192.0.2.1", "thehive:soc"
	bool force; // lifts brakes (never protections); audited with `reason`
	const char *reason;
};

struct submit {
	const struct submit_item *items;
	size_t n;
	struct actor actor;
};

typedef void (*ledger_done)(void *ctx, int error, const char *message);
typedef void (*submit_done
)(void *ctx,
  int error, // 0, or -errno of the commit: nothing holds
  struct revision revision,
  const struct submit_result *results,
  size_t n);

// All items in one transaction; each has a result of its own. The arguments are copied or consumed
// before it returns. `done` may be NULL. A thousand new claims hold the loop for 6 to 8 ms here and
// as long again in the commit (four indices and an audit record each): give a few hundred at a
// time.
void ledger_submit(struct ledger *, const struct submit *, submit_done done, void *ctx);

// Claims by prefix of (source, ref); ref_prefix "" for all, source NULL for any. A callback that
// returns false ends the walk.
typedef bool (*claim_cb)(void *ctx, const struct claim *);
int ledger_claims_by_ref(
	struct ledger *, const char *source, const char *ref_prefix, claim_cb, void *ctx
);
// Claims whose indicator equals, covers or (wide) is covered by this one, live and held ones.
int ledger_claims_of(struct ledger *, const struct indicator *, bool wide, claim_cb, void *ctx);
// Claims on exactly this indicator.
int ledger_claims_on(struct ledger *, const struct indicator *, claim_cb, void *ctx);
// Page through claims in the order of ids, for `stanch list`.
int ledger_claims_page(struct ledger *, int64_t after_id, size_t max, claim_cb, void *ctx);

struct ledger_counts {
	uint64_t claims; // in force: live and orphaned
	uint64_t enforce, monitor; // entries by what they do; enforce shadows monitor
	uint64_t orphaned, held, allows; // claims, claims, allows
	uint64_t held_ends; // of the orphaned: a brake keeps them from ending
	uint64_t names; // entries that are names
	uint64_t sources_gone; // claims of sources no longer configured
	uint64_t refused_protected, refused_brake, refused_full; // since start
};
void ledger_counts(struct ledger *, struct ledger_counts *ret_counts);

// Tell the ledger which sources are configured; claims of others are shown as "source gone".
int ledger_sources_set(struct ledger *, const char *const *sources, size_t n);
bool ledger_source_gone(struct ledger *, const char *source);

// --- entries and the change log

// -ENOENT: no such entry.
int ledger_entry_find(struct ledger *, const struct indicator *, struct entry *ret_entry);
typedef bool (*entry_cb)(void *ctx, const struct entry *);
// Entries in the order of their canonical text, from the first after `after` ("" from the start),
// at most `max`; a snapshot in slices. The caller must see that the revision did not move between
// slices, or use ledger_reader.
int ledger_entries_page(struct ledger *, const char *after, size_t max, entry_cb, void *ctx);

struct ledger_change {
	struct revision revision; // the revision this change led to
	struct change change;
};
typedef bool (*change_cb)(void *ctx, const struct ledger_change *);
// Changes after `from` in order, at most `max` rows, whole revisions only. -ESTALE: the log's tail
// is behind: compare in full. -ENOENT: `from` is of another epoch or lies in the future.
int ledger_changes(struct ledger *, struct revision from, size_t max, change_cb, void *ctx);
// State after a given revision of the log, for the batch that leads there. -ENOENT.
int ledger_state_at(struct ledger *, struct revision, struct list_state *ret_state);

// A consistent read-only view on a connection of its own, for a worker thread or for slices over
// many turns of the loop: sees one revision however long it lives. The only part of the ledger
// that another thread may use (one thread a reader).
struct ledger_reader;
int ledger_reader_open(
	struct ledger *, struct ledger_reader **ret_reader, struct list_state *ret_state
);
// The next at most `max` entries; 0 at the end, else how many, or -errno.
int ledger_reader_next(struct ledger_reader *, size_t max, entry_cb, void *ctx);
void ledger_reader_close(struct ledger_reader *);

// Where the data plane's list stands, told by its follower at each answer: changes of lists wait
// while it is more than some of their batches behind, for what cases and operators do comes after
// them in the log; and (`compares`) while it is sent the whole list. {0, 0}: nobody waits for it.
void ledger_link_at(struct ledger *, struct revision, bool compares);

// Woken on the loop after each commit that changed something it watches.
enum ledger_topic {
	LEDGER_ENTRIES = 1, // the list's revision moved
	LEDGER_EXCEPTIONS = 2, // protections or allows changed
	LEDGER_PAUSE = 4,
	LEDGER_ROOM = 8, // after refusals: there is room again, on disk or in the list
	LEDGER_AUDIT = 16, // the audit has new records: whatever was done to claims and allows
};
typedef void (*ledger_wake)(void *ctx, unsigned topics);
int ledger_watch(struct ledger *, unsigned topics, ledger_wake, void *ctx);
void ledger_unwatch(struct ledger *, ledger_wake, void *ctx);

// Cursors of followers, durable. {0, 0} where none.
int ledger_cursor_get(struct ledger *, const char *follower, struct revision *ret_revision);
int ledger_cursor_set(struct ledger *, const char *follower, struct revision);

// A follower's small durable table of its own: text key → JSON (F5 states, TheHive cursors).
int ledger_note_get(struct ledger *, const char *owner, const char *key, json_t **ret_value);
int ledger_note_set(
	struct ledger *, const char *owner, const char *key, json_t *value
); // NULL: delete
typedef bool (*note_cb)(void *ctx, const char *key, json_t *value);
int ledger_notes(struct ledger *, const char *owner, const char *key_prefix, note_cb, void *ctx);

// --- what was told to cases

// The follower that writes to cases keeps a row for each: `ref` is "<organisation>/<case id>",
// `state` its own JSON. `due`, seconds since the epoch: it has something to do from then on; 0 at
// once, TOLD_NEVER not by itself.
#define TOLD_NEVER INT64_MAX
int ledger_told_get(
	struct ledger *, const char *source, const char *ref, json_t **ret_state
); // -ENOENT
// Inside the open transaction; `state` is borrowed, NULL deletes the row. `done` after the commit,
// may be NULL. -ENOSPC: no space on disk; the rest of the transaction holds.
int ledger_told_put(
	struct ledger *,
	const char *source,
	const char *ref,
	int64_t due,
	json_t *state,
	ledger_done done,
	void *ctx
);
// Due at once, the row as it is. -ENOENT, -ENOSPC.
int ledger_told_touch(struct ledger *, const char *source, const char *ref);
// Rows of a source that fall due in [from, to], soonest first, at most `max`.
typedef bool (*told_cb)(void *ctx, const char *ref, int64_t due);
int ledger_told_due(
	struct ledger *,
	const char *source,
	int64_t from,
	int64_t to,
	size_t max,
	told_cb,
	void *ctx
);

// --- allows, pause

struct allow {
	int64_t id;
	struct indicator indicator;
	int64_t created, until;
	const char *author, *reason;
};
// until: at most 24 h ahead, else -ERANGE; so are more protections and allows than the data plane
// takes (WIRE_EXCEPTIONS_MAX). An allow of the same indicator is replaced.
void ledger_allow(
	struct ledger *,
	const struct indicator *,
	int64_t until,
	const struct actor *,
	ledger_done,
	void *ctx
);
void ledger_allow_end(
	struct ledger *, const struct indicator *, const struct actor *, ledger_done, void *ctx
);
typedef bool (*allow_cb)(void *ctx, const struct allow *);
int ledger_allows(struct ledger *, allow_cb, void *ctx);
// The whole exception set for followers: protections, then live allows.
typedef bool (*exception_cb)(void *ctx, const struct exception *);
int ledger_exceptions(struct ledger *, exception_cb, void *ctx);

void ledger_pause(
	struct ledger *, int64_t until, const struct actor *, ledger_done, void *ctx
); // until 0: resume; at most 24 h ahead, else -ERANGE
int64_t ledger_pause_until(const struct ledger *);

// --- immunities

#define IMMUNITY_MAX (90 * 86400) // seconds

// A case's verdict that an indicator is harmless: suspends the claims of lists on it, never those
// of cases and operators. One address, or one name without what is under it. Key as a claim's.
struct immunity {
	const char *source, *ref;
	struct indicator indicator;
	int64_t created; // when the case was closed
	int64_t until;
	const char *author, *reason;
};

// In the open transaction. 0 also where it is so already. -EINVAL: a network, a subtree, ended, or
// for longer than IMMUNITY_MAX. -EEXIST: a case has denied it since.
int ledger_immunity_put(struct ledger *, const struct immunity *, const char *actor);
int ledger_immunity_end(
	struct ledger *,
	const char *source,
	const char *ref,
	const struct indicator *,
	const char *actor,
	const char *cause
); // -ENOENT
typedef bool (*immunity_cb)(void *ctx, const struct immunity *);
int ledger_immunities(
	struct ledger *, const char *source, const char *ref_prefix, immunity_cb, void *ctx
);
int ledger_immunities_of(struct ledger *, const struct indicator *, immunity_cb, void *ctx);
bool ledger_immune(struct ledger *, const struct indicator *);

// --- protections

// The operator's protections are the ledger's: durable, audited, kept in struct protect, told as
// LEDGER_EXCEPTIONS. They hold over entries in force too; see ledger_conflicts.
void ledger_protect(
	struct ledger *, const struct indicator *, const struct actor *, ledger_done, void *ctx
); // the actor's reason is the protection's
void ledger_protect_end(
	struct ledger *, const struct indicator *, const struct actor *, ledger_done, void *ctx
);
// Entries in force that a protection overlaps: denied by a claim, excepted in the data plane.
struct protection;
typedef bool (*conflict_cb)(void *ctx, const struct protection *, const struct entry *);
int ledger_conflicts(struct ledger *, conflict_cb, void *ctx);

// --- the clock

// At the start the wall clock lay before the last commit or 30 days after it: no claim, allow or
// pause ends until it fits again or an operator accepts it. An alarm.
bool ledger_ends_held(const struct ledger *);
void ledger_ends_release(struct ledger *, const struct actor *, ledger_done, void *ctx);

// --- held changes

struct held {
	int64_t id;
	const char *source;
	const char *why; // which brake, with figures
	const char *summary; // what it would do, for people
	int64_t since;
	size_t n_claims;
};
typedef bool (*held_cb)(void *ctx, const struct held *);
int ledger_held(struct ledger *, held_cb, void *ctx);
// In slices of one commit each: where one fails, what is settled before it stays settled, the rest
// stays held, and `done` says so; after a crash the change's `why` does. Claims that join the
// change meanwhile wait for another approval. Not called back where the ledger is closed meanwhile.
void ledger_held_approve(struct ledger *, int64_t id, const struct actor *, ledger_done, void *ctx);
void ledger_held_reject(struct ledger *, int64_t id, const struct actor *, ledger_done, void *ctx);

// --- audit

struct audit_record {
	int64_t seq;
	int64_t when_ms;
	const char *actor, *action, *object, *detail; // detail: JSON text
	const char *hash; // 64 hex: SHA-256 over the previous hash and this record
};
typedef bool (*audit_cb)(void *ctx, const struct audit_record *);
// Inside the open transaction. `detail` is borrowed; NULL is fine.
int ledger_audit(
	struct ledger *, const char *actor, const char *action, const char *object, json_t *detail
);
// The same, and `done` after the commit: with -errno where the record does not hold.
void ledger_audit_then(
	struct ledger *,
	const char *actor,
	const char *action,
	const char *object,
	json_t *detail,
	ledger_done done,
	void *ctx
);
// Newest first, below `before` (0: from the newest).
int ledger_audit_page(struct ledger *, int64_t before, size_t max, audit_cb, void *ctx);
// Oldest first, from the first after `after`; committed ones only.
int ledger_audit_after(struct ledger *, int64_t after, size_t max, audit_cb, void *ctx);
// Walks the chain, some records in each turn of the loop, then calls back: error 0 and the last
// record; -EILSEQ and the last one that verifies: the next is changed, missing, or nobody's. Not
// called back where the ledger is closed meanwhile. -ENOMEM.
typedef void (*audit_verified_cb)(void *ctx, int error, int64_t seq);
int ledger_audit_verify(struct ledger *, audit_verified_cb, void *ctx);
// The chain's head, for syslog.
int ledger_audit_head(struct ledger *, int64_t *ret_seq, char ret_hash[65]);
