// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists in a fleet: the leader's batches become payloads (control/lists_payload.h), which the
// ledgers of its followers apply as they are.
//
//  leader    reading, point, end ─▶ batch ─▶ made() in the ledger's transaction ─▶ record
//  follower  record ─▶ lists_fleet_apply ─▶ batch ─▶ applied() in the ledger's transaction
//
// A follower reads nothing, ends nothing and brakes nothing by itself: what it has is what the log
// says. Applying what is so already changes nothing.
//
// A checkpoint is written while the lists move: each chunk says what a list has in one range of
// keys, as of some moment between the checkpoint's two places. Who takes it over puts what it
// says, and remembers what it does not say; what no record names either until the second place is
// reached is swept at the end.
//
// Thread: the event loop. Octets are copied. What is under way when the ledger is closed is not
// called back.

#pragma once

#include "control/lists.h"

struct lists_fleet_hooks {
	// Inside the ledger's transaction, once for each payload of a batch, when all its changes
	// are counted; only while leading. Fails it by transaction_fail.
	void (*made)(void *ctx, const void *octets, size_t len);
	// Inside the transaction that holds what was given to lists_fleet_apply with that context,
	// in the order given; also where it changed nothing.
	void (*applied)(void *ctx, void *apply_ctx);
	void *ctx;
};

// From now on a follower.
void lists_fleet_open(struct lists *, const struct lists_fleet_hooks *);
// Whoever leads tells the fleet all that its lists become; who follows gives up its readings. What
// was applied before this call is to be done: what still waits fails with -ECANCELED.
void lists_fleet_follow(struct lists *, bool follows);
bool lists_fleet_follows(const struct lists *);

// A record's payload. `done` after the commit, in the order given: 0; -EBADMSG damaged or of a
// newer format; -ENOBUFS no room (control.ledger.max_entries); -EMFILE too many lists; -ENOSPC,
// -ENOMEM; -ECANCELED one before it failed, or this gateway does not follow. Many may wait: those
// of one list then share commits.
void lists_fleet_apply(struct lists *, const void *octets, size_t len, ledger_done, void *ctx);

// --- a checkpoint, written

struct lists_export;
int lists_fleet_export_open(struct lists *, struct lists_export **ret_export);
// 1: a chunk, of at most PAYLOAD_MAX octets, good until the next call; takes about a millisecond.
// 0: the end. -EAGAIN: lists.db lags behind the ledger, ask later; or -errno.
int lists_fleet_export_next(struct lists_export *, const void **ret_octets, size_t *ret_len);
void lists_fleet_export_close(struct lists_export *);

// --- a checkpoint, taken over: by a follower, begin, chunks, records, sweep

void lists_fleet_import_begin(struct lists *);
// In the order in which they were written. Errors as of lists_fleet_apply; -EILSEQ: out of order.
void lists_fleet_import(struct lists *, const void *octets, size_t len, ledger_done, void *ctx);
// What neither a chunk nor a record named goes; the import ends. -EILSEQ: chunks are missing, and
// nothing went.
void lists_fleet_sweep(struct lists *, ledger_done, void *ctx);
void lists_fleet_import_abort(struct lists *); // what is not swept stays
