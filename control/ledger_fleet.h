// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The ledger's side of the fleet: one log of records is the truth of all gateways.
//
//   leader:    commit ─▶ records (sealed, kept in the ledger) ─▶ published by control/fleet
//   follower:  record ─▶ checked, applied with its place in one transaction; also kept
//              operators act at once: marked local or away, an ask in the outbox ─▶ the leader
//              ─▶ a record that takes the mark away
//
// Place:     (epoch, number, MAC) of the last record that the ledger holds. The number goes on
//            over epochs. The ledger's revision is its own; what is compared between gateways is
//            count and digest of the entries, which the last record of each commit carries.
// Records:   absolute ("this claim is now so", "it is gone"), hence idempotent.
//              FLEET_STATE    JSON: {"items":[…],"up":"…","end":{"count":N,"digest":"…"}}
//              FLEET_MEMBERS  header (flags u8; count BE64, digest 16 octets, both after the
//                             commit where flags & 1), then the payload of control/lists_fleet.h
//              FLEET_EPOCH    JSON: {"leader":"…","base":{"epoch":N,"number":N,"mac":"…"}}
// Judgement: the leader's alone. A follower's protections are exceptions of its data plane.
// Thread:    the event loop only.
// Pointers:  given to callbacks: until the callback returns. What is given to functions is copied.
// Without ledger_fleet_open a ledger is single, as ever, and makes no record.

#pragma once

#include "control/ledger.h"

#define FLEET_MAC_LEN 32
#define FLEET_NAME_MAX 64 // of a gateway, its NUL included
#define FLEET_RECORD_MAX 65536 // octets of data
#define FLEET_RECORDS_MAX 50000 // kept
#define FLEET_OCTETS_MAX (UINT64_C(64) << 20) // of data kept

struct fleet_place {
	uint64_t epoch, number;
	uint8_t mac[FLEET_MAC_LEN];
};

enum fleet_kind {
	FLEET_STATE,
	FLEET_MEMBERS,
	FLEET_EPOCH,
};

struct fleet_record {
	struct fleet_place before; // of the predecessor
	uint64_t epoch, number;
	enum fleet_kind kind;
	const void *data;
	size_t len;
	uint8_t mac[FLEET_MAC_LEN];
};

struct fleet_setup {
	const char *fleet, *gateway;
	// The MAC over everything but itself; called inside commits: must be cheap.
	void (*seal)(void *ctx, const struct fleet_record *, uint8_t ret_mac[FLEET_MAC_LEN]);
	void *ctx;
};

// A follower from now on. -EEXIST: done before.
int ledger_fleet_open(struct ledger *, const struct fleet_setup *);
bool ledger_fleet_is(const struct ledger *); // opened
void ledger_fleet_place(const struct ledger *, struct fleet_place *ret_place); // committed

// The highest epoch known, durable, and its leader; `done` after the commit. 0 also where it was
// known; -ESTALE: a higher one is known; -EEXIST: that epoch has another leader.
int ledger_fleet_epoch_see(
	struct ledger *, uint64_t epoch, const char *leader, ledger_done, void *ctx
);
uint64_t ledger_fleet_epoch(const struct ledger *, char ret_leader[FLEET_NAME_MAX]);

// One commit: the epoch is stored, its first record made; leader from then on. What was local or
// away becomes a record, and the outbox is emptied. Of one that leads already: only that record
// is made. -ESTALE: an epoch as high is known (but for
// one stored for this gateway by ledger_fleet_epoch_see).
void ledger_fleet_lead(struct ledger *, uint64_t epoch, ledger_done, void *ctx);
void ledger_fleet_follow(struct ledger *); // steps down, at once
bool ledger_fleet_leads(const struct ledger *);
void ledger_fleet_made_set(
	struct ledger *, void (*made)(void *ctx), void *ctx
); // after each commit that made records

// Committed records from the first after that number, about max_octets of data, at least one.
// -ESTALE: they are trimmed, or the number lies in the future.
typedef bool (*fleet_record_cb)(void *ctx, const struct fleet_record *);
int ledger_fleet_records(
	struct ledger *, uint64_t after_number, size_t max_octets, fleet_record_cb, void *ctx
);
// Nobody needs those up to that one. The table is bounded anyway, the oldest go.
void ledger_fleet_trim(struct ledger *, uint64_t up_to);

// --- follower

// The caller checked the MAC. Records may be given without waiting, in order. `done` after the
// commit: 0 applied, or applied before; -EILSEQ not the successor of our place; -EBADMSG not
// understood (a newer version's): nothing is skipped; -ENOSPC, -EIO…: nothing of it holds;
// -ECANCELED: one given before it failed; -EPERM: the ledger leads.
void ledger_fleet_apply(struct ledger *, const struct fleet_record *, ledger_done, void *ctx);
// Our place is ahead of a new epoch's base: it never had our last records. What they put stays in
// force, local, and goes up; our place is the base then. -EILSEQ: the base is none of our records
// (or trimmed): ledger_fleet_reset.
void ledger_fleet_fork(struct ledger *, const struct fleet_place *base, ledger_done, void *ctx);
// The log of this fleet is another one, or gone beyond what the table of records covers: our place
// is none, all stays in force. What the next checkpoint does not have is local then, and goes up:
// so it is too where a ledger that was single joins a fleet.
void ledger_fleet_reset(struct ledger *, const char *why, ledger_done, void *ctx);

// --- checkpoint

// A walk in slices while the ledger moves. Chunks of at most FLEET_RECORD_MAX octets. `done` once,
// and the export is freed behind it: 0 and the places between which it was taken, or -errno. Only
// on a leader; one at a time (-EBUSY).
typedef bool (*fleet_chunk_cb)(void *ctx, const void *data, size_t len); // false: pause
typedef void (*fleet_export_done
)(void *ctx, int error, const struct fleet_place *from, const struct fleet_place *to);
struct fleet_export;
int ledger_fleet_export(
	struct ledger *, fleet_chunk_cb, fleet_export_done, void *ctx, struct fleet_export **ret
);
void ledger_fleet_export_resume(struct fleet_export *); // after a false
void ledger_fleet_export_free(struct fleet_export *); // gives up; `done` is not called

// begin, each chunk in order, end; then records from the one after `from`. Until the end nothing
// but additions happens, and our place stays. When the replay has passed `to`, what neither
// checkpoint nor replay named is swept, in one transaction that is rolled back unless count and
// digest then are the leader's. -ESTALE: `from` is behind our place (using it could weaken). A
// restart before the sweep: `why` in ledger_fleet_state says that another checkpoint is needed.
void ledger_fleet_import_begin(
	struct ledger *,
	const struct fleet_place *from,
	const struct fleet_place *to,
	ledger_done,
	void *ctx
);
void ledger_fleet_import(struct ledger *, const void *chunk, size_t len, ledger_done, void *ctx);
void ledger_fleet_import_end(struct ledger *, ledger_done, void *ctx);
void ledger_fleet_import_abort(struct ledger *); // what came stays

// --- asks: what operators do on a follower

// ledger_submit, ledger_allow, ledger_allow_end, ledger_protect, ledger_protect_end,
// ledger_held_approve, ledger_held_reject, lists_retire and ledger_pause_fleet on a follower write
// them by themselves. Rising numbers with gaps; unsettled ones, oldest first.
typedef bool (*fleet_ask_cb)(void *ctx, uint64_t seq, const char *json);
int ledger_fleet_asks(struct ledger *, uint64_t after_seq, size_t max, fleet_ask_cb, void *ctx);
void ledger_fleet_asks_set(
	struct ledger *, void (*asks)(void *ctx), void *ctx
); // after each commit that made some
// For other modules: {"op":"<their own>", …}; `ask` is borrowed. Settled when the handler below
// took it at the leader. On a leader the handler is called at once.
void ledger_fleet_ask(struct ledger *, json_t *ask, ledger_done, void *ctx);
// The handler: 0, or -errno and why. Called inside the open transaction.
typedef int (*fleet_asked_cb
)(void *ctx, const char *gateway, const json_t *ask, char ret_message[192]);
void ledger_fleet_asked_set(struct ledger *, fleet_asked_cb, void *ctx);

// Leader: does it, once for (gateway, seq) however often it comes, and answers by a record. It is
// judged as if the operator had given it here, actor "NAME@GATEWAY". `up_id` is stored in the same
// transaction and travels with the record. `done`: 0 dealt with (also where it is refused: the
// answer says so), -EBADMSG: no ask; -EPERM: the ledger does not lead; -errno of the commit.
void ledger_fleet_asked(
	struct ledger *,
	const char *gateway,
	uint64_t seq,
	const char *up_id,
	const char *json,
	ledger_done,
	void *ctx
);
const char *ledger_fleet_up(const struct ledger *); // the last up id dealt with; "" none

// Enforce becomes monitor on every gateway; ends by itself everywhere. Single: as ledger_pause.
void ledger_pause_fleet(
	struct ledger *, int64_t until, const struct actor *, ledger_done, void *ctx
);

// What follower `follower` kept is dealt with up to the audit as it is now: cursors of the same
// name on other gateways move along, for the day that one of them leads. On the leader; else
// nothing.
void ledger_fleet_cursor(struct ledger *, const char *follower);

// --- how it stands

struct fleet_state {
	struct fleet_place place;
	bool leads;
	bool equal; // own entries minus the differences are those of the last record
	bool known; // a count and digest of the leader's are known: `equal` means something
	bool importing; // between import_begin and the sweep
	bool resync; // another checkpoint is needed: `why`
	uint64_t count, fleet_count; // ours; without the differences
	struct digest digest, fleet_digest, difference; // difference: digest − fleet_digest
	size_t local, away, asks; // claims here only; claims in the log only; unsettled
	uint64_t first, records, octets; // kept
	char why[160]; // "" where equal
};
void ledger_fleet_state(struct ledger *, struct fleet_state *ret_state);
// Oldest unsettled ask: seconds since the epoch; 0: none.
int64_t ledger_fleet_asks_since(struct ledger *);
