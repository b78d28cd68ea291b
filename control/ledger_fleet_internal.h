// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the fleet share; besides them only its tests include it.
//
//   ledger_fleet.c             open, epochs, roles, the place, what is kept
//   ledger_fleet_touch.c       leader: what a commit touched becomes items, then records
//   ledger_fleet_record.c      the table of records
//   ledger_fleet_item.c        items as JSON
//   ledger_fleet_put.c         items into the ledger, on a follower
//   ledger_fleet_apply.c       records, in order
//   ledger_fleet_differ.c      local and away; is our list the leader's?
//   ledger_fleet_ask.c         the outbox             ledger_fleet_asked.c   asks at the leader
//   ledger_fleet_note.c        what the leader's work remembers
//   ledger_fleet_fork.c        records that a new leader never had
//   ledger_fleet_export.c, ledger_fleet_import.c   checkpoints
//
// An item says all of one thing, whatever it was before:
//   {"k":"claim","src":…,"ref":…,"ind":…,"do":"monitor"?,"st":"orphaned"|"held"?,"at":…,
//    "until":…?,"by":author,"inf":true?,"re":reason,"case":…?,"tlp":…?,"orph":…?,
//    "h":1|2?,"act":actor,"as":…,"why":…?}             and "end": it is gone
//   "allow", "immunity", "protect" likewise, "-end" behind it: gone; "pause" with "until" or none;
//   "held" (src, h, re, at, n), "held-end"; "asked" (gw, seq, e, re, from: its oldest unsettled)
//   "told" (src, ref, at: due, v: state), "note" (src: owner, ref: key, v), "-end": gone;
//   "cursor" (src: follower)

#pragma once

#include "control/ledger_internal.h"

#define FLEET_TEXT_MAX 8000 // octets of one text in an item; longer ones are cut
#define MEMBERS_HEADER 25 // flags u8, count BE64, digest
#define MEMBERS_END 1

enum fleet_mark {
	FLEET_SAME,
	FLEET_LOCAL,
	FLEET_AWAY,
};

struct fleet_item {
	enum fleet_item_kind kind;
	bool gone;
	// Of whatever it is: source, ref, indicator, author, reason, created, until…
	struct claim claim;
	struct ledger_key key; // of the indicator
	int held; // 0, 1 growth, 2 shrink
	int64_t n; // HELD: members
	const char *actor, *as, *why;
	// ASKED; the gateway is claim.source, the message claim.reason
	uint64_t seq, oldest;
	int code;
	// TOLD, NOTE: to be printed, JSON; as it was read. NULL: none
	const char *value;
	json_t *json;
};

// Text under construction, on the heap.
struct fleet_text {
	char *text;
	size_t len, size;
	bool failed; // no memory
};

struct fleet_touch {
	UT_hash_handle hh;
	enum fleet_item_kind kind;
	struct indicator indicator;
	struct fleet_item asked; // ASKED only
	int64_t row; // of a claim, where it is known; 0: not
	const char *source, *ref, *actor, *as, *why;
	size_t ident_len;
	char ident[]; // kind, key, source, ref; then the other texts
};

// A members payload of the open commit.
struct fleet_members {
	STAILQ_ENTRY(fleet_members) link;
	size_t len;
	uint8_t data[]; // header, payload
};

// A record that waits for those before it.
struct fleet_waiting {
	STAILQ_ENTRY(fleet_waiting) link;
	struct ledger *ledger;
	struct fleet_record record;
	bool given; // to the lists
	ledger_done done;
	void *ctx;
	uint8_t data[];
};

// 64-bit hashes of what a checkpoint and the records since named.
struct fleet_set {
	uint64_t *slots;
	size_t n, size;
};

struct fleet_import;
struct fleet_export;

struct ledger_fleet {
	char *name, *gateway;
	void (*seal)(void *ctx, const struct fleet_record *, uint8_t ret_mac[FLEET_MAC_LEN]);
	void *seal_ctx;
	void (*made)(void *ctx);
	void *made_ctx;
	void (*asks)(void *ctx);
	void *asks_ctx;
	fleet_asked_cb asked;
	void *asked_ctx;

	struct fleet_touch *touched; // in the open transaction; uthash
	STAILQ_HEAD(, fleet_members) members;
	bool made_some, asks_some; // in the open transaction
	bool applying; // what a record says: nothing local
	bool expiring; // what a clock says

	STAILQ_HEAD(, fleet_waiting) waiting;
	bool failed; // those that wait behind a failure fail too

	// The differences as last computed, good for this many commits.
	uint64_t commits, differ_commits;
	int64_t differ_ms; // CLOCK_BOOTTIME, of the last look
	uint64_t differ_count; // entries, modulo 2^64
	struct digest differ_digest;
	bool equal;

	struct fleet_import *import;
	struct fleet_export *export;
};

// --- ledger_fleet_item.c
void text_free(struct fleet_text *);
void text_add(struct fleet_text *, const char *text, size_t len);
void text_printf(struct fleet_text *, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void text_string(struct fleet_text *, const char *value); // quoted, valid UTF-8, cut
void item_print(struct fleet_text *, const struct fleet_item *);
// Strings live as long as the JSON. -EBADMSG: not understood.
int item_parse(const json_t *, struct fleet_item *ret_item);
// What it is about, for tables and sets: kind, source, ref; the key is kept apart.
void item_object(const struct fleet_item *, char *text, size_t size);

// --- ledger_fleet_note.c
bool item_is_note(enum fleet_item_kind);
int note_load(struct ledger *, struct fleet_item *, sqlite3_stmt **ret_stmt); // as item_load
void note_print(struct fleet_text *, const struct fleet_item *);
void note_put(struct ledger *, const struct fleet_item *);

// --- ledger_fleet_touch.c
void touches_free(struct ledger *);
void fleet_touch_asked(struct ledger *, const struct fleet_item *); // an answer
// How that is now, as items: for touches and asks. The strings live until `stmt` is reset.
int item_load(struct ledger *, struct fleet_item *, sqlite3_stmt **ret_stmt);

// --- ledger_fleet_record.c
int records_load(struct ledger *);
// The next one: sealed, kept, our place.
void record_make(struct ledger *, enum fleet_kind, const void *data, size_t len);
void record_keep(struct ledger *, const struct fleet_record *); // one of the leader's: our place
void records_cut(struct ledger *, uint64_t after); // a fork: those behind it are none
void records_bound(struct ledger *);
int record_mac(struct ledger *, uint64_t number, struct fleet_place *ret_place); // -ENOENT

// --- ledger_fleet_put.c
void item_put(struct ledger *, const struct fleet_item *);

// --- ledger_fleet_apply.c
// Items of a record's or chunk's JSON; nothing is written. -EBADMSG.
struct fleet_batch {
	json_t *root;
	struct fleet_item *items;
	size_t n;
	const char *up; // NULL: none
	bool ends;
	uint64_t count;
	struct digest digest;
};
int batch_parse(const void *data, size_t len, struct fleet_batch *ret_batch);
void batch_free(struct fleet_batch *);
void waiting_free(struct ledger *);
int members_parse(
	const void *data, size_t len, bool *ret_ends, uint64_t *ret_count, struct digest *ret_digest
);
struct fleet_epoch_data {
	char leader[FLEET_NAME_MAX];
	struct fleet_place base;
};
int epoch_parse(const void *data, size_t len, struct fleet_epoch_data *ret);
bool place_equal(const struct fleet_place *, const struct fleet_place *);
void lists_applied(void *ctx, void *apply_ctx);

// --- ledger_fleet_differ.c
int differ_compute(struct ledger *, uint64_t *ret_count, struct digest *ret_digest);
bool differ_equal(struct ledger *, uint64_t count, struct digest digest);

// --- ledger_fleet_ask.c
bool ask_outstanding(struct ledger *, const struct fleet_item *);
void ask_settled(struct ledger *, uint64_t seq);
void ask_write(
	struct ledger *,
	const char *op,
	const struct fleet_item *,
	const char *force // the reason; NULL: no force
);
void asks_clear(struct ledger *);
int asks_touch(struct ledger *); // a new leader: what it asked becomes records

// --- ledger_fleet_asked.c
// An ask of this gateway, which leads now and has settled it: whoever leads later finds it in
// Redis, and must not do it again.
void asked_self(struct ledger *, uint64_t seq);
int asked_do(struct ledger *, const char *gateway, uint64_t seq, const json_t *ask);

// --- ledger_fleet_fork.c
// What such an item put stays in force, local, and goes up.
int item_keep(struct ledger *, const struct fleet_item *);

// --- ledger_fleet_import.c
void import_free(struct ledger *);
void import_named(struct ledger *, const struct fleet_item *); // a record did
void import_passed(struct ledger *); // after a commit: is it time to sweep?
bool import_sweep_verify(struct ledger *); // in the commit of the sweep
void export_free(struct ledger *);
