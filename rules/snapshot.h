// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The list on disk: a snapshot `deny.rules` and beside it a journal `deny.journal`.
//
// Snapshot: readable by people, statements of rules/text.h between a header and a closing line:
//   stanch-rules 1 ledger=<32 hex> revision=<epoch>.<number> count=<n> digest=<32 hex>
//   …
//   end checksum=<16 hex>        siphash64, zero key, over every octet before this line
// Journal: text, one batch after another:
//   stanch-journal 1 ledger=<32 hex> base=<epoch>.<number> head=<16 hex>
//   batch revision=<epoch>.<number> count=<n> digest=<32 hex> octets=<n> head=<16 hex>
//   + <entry line> | - <indicator> | ! <exception line> | ! none
//   sum <16 hex>
// base: the snapshot with which the journal began; beside an older one it is damage, for batches
// would be missing. head: siphash64, zero key, over the line before " head="; sum: over the batch
// from "batch" on; octets: between the two lines. Any "!" gives all exceptions anew.
// Batches older than the snapshot beside them are passed over: so a crash between the renames of
// snapshot_commit leaves a pair that loads. A batch cut short at the end of the file was never
// acknowledged: it is ignored. Anything else that does not verify, the count and digest at the end
// included, is damage: the pair is refused and the previous pair is used.
//
// Writing: control only, on any one thread at a time. While snapshot_commit runs, nobody may
// append: what came into the journal meanwhile would be lost. Reading: the data plane at its start;
// control at its start. Files: deny.rules, deny.journal, deny.rules.prev, deny.journal.prev in one
// directory.

#pragma once

#include "rules/text.h"

struct snapshot_writer;

// Begin `dir`/deny.rules.tmp. The state must be that of the entries which follow.
int snapshot_create(
	const char *dir, const struct list_state *, struct snapshot_writer **ret_writer
);
int snapshot_add_entry(struct snapshot_writer *, const struct entry *);
int snapshot_add_exception(struct snapshot_writer *, const struct exception *);
// Closing line and fsync: the slow part. -EILSEQ where the entries given do not have the count and
// digest of the header.
int snapshot_seal(struct snapshot_writer *);
// Seals where that is still to do; then a new journal with the batches newer than the snapshot, the
// current pair becomes the previous one, renames, fsyncs of the directory. A journal that is open
// must be opened anew. Frees the writer in every case. On failure the current pair stays.
int snapshot_commit(struct snapshot_writer *);
// The batches of the present journal before this offset (journal_size at the moment whose state
// the snapshot has) are passed over by snapshot_commit; UINT64_MAX: it begins anew.
void snapshot_journal_from(struct snapshot_writer *, uint64_t offset);
void snapshot_free(struct snapshot_writer *); // gives up and removes what it wrote; NULL is fine

struct journal;

enum change_op {
	CHANGE_REMOVE = 0,
	CHANGE_PUT = 1, // add, or replace the record of the same indicator
};

struct change {
	enum change_op op;
	struct entry entry; // CHANGE_REMOVE: only the indicator
};

// Open for appending behind what is there (a torn last batch is cut off).
int journal_open(const char *dir, struct journal **ret_journal);
void journal_close(struct journal *);
// One batch, written and fsynced before it returns. `after`: the state once it is applied.
// exceptions NULL: unchanged; else the whole new set. Some room is reserved ahead of the end, so
// that batches can be written for a while on a full disk. -errno: nothing of the batch holds.
int journal_append(
	struct journal *,
	const struct list_state *after,
	const struct change *changes,
	size_t n_changes,
	const struct exception *exceptions,
	size_t n_exceptions
);
uint64_t journal_size(const struct journal *); // octets

// Called in file order; a later put of an indicator replaces the earlier record.
struct list_sink {
	int (*exception_reset)(void *ctx); // what was given before no longer holds
	int (*exception)(void *ctx, const struct exception *);
	int (*put)(void *ctx, const struct entry *);
	int (*remove)(void *ctx, const struct indicator *);
	int (*reset)(void *ctx); // drop everything: a damaged pair is given up for the previous one
	// At the end of a pair: has the receiver this count and digest now? -EILSEQ gives the pair
	// up.
	int (*check)(void *ctx, const struct list_state *);
	void *ctx;
};

enum list_origin {
	LIST_NONE, // no list on disk
	LIST_CURRENT,
	LIST_PREVIOUS, // the current pair is damaged: alarm; ret_error says where
};

// Load the newest pair that verifies. Verifies the whole snapshot before the first call of the
// sink. A pair that is replaced while it is read is read again. Returns 0 also for LIST_NONE where
// no file exists; -EILSEQ where files exist and no pair verifies.
int list_load(
	const char *dir,
	const struct list_sink *,
	struct list_state *ret_state,
	enum list_origin *ret_origin,
	struct text_error *ret_error
);

// The state at the end of the current pair, by its checksums alone: nothing is parsed, count and
// digest are taken as written. -ENOENT: no pair; -EILSEQ: damage.
int list_state_read(const char *dir, struct list_state *ret_state, struct text_error *ret_error);
