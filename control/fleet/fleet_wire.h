// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What stands in Redis, read and written. Whatever is read is taken whole or refused: -EINVAL.
// That it is sealed was checked before, but for records, whose MAC is over what is parsed.
//
//   record      entry of the stream `log`, its id <epoch>-<number>; fields k (s m e: kind), p (the
//               predecessor: epoch BE64, number BE64, MAC), d (data), m (MAC)
//   head        {leader, run, place, count, digest, beat, wall_ms, lease_ms, gone}
//   checkpoint  {from, to: {epoch, number, mac}, name, chunks, octets, wall_ms, terms: [{epoch,
//   base}]} beat        {gateway, run, beat, wall_ms, role, leads, epoch, number, …, extra} up
//   {gateway, run, wall_ms, kind: ask|hint|resync, seq, text}
//
// Thread: any. Pointers of a parsed record are into the reply.

#pragma once

#include "control/ledger_fleet.h"

#include <hiredis/hiredis.h>
#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

#define FLEET_ID_MAX 48 // "<epoch>-<number>" and any other id of a stream, with NUL
#define FLEET_RUN_MAX 17 // 16 hexadecimal digits: one run of a gateway's process
#define FLEET_PRED_LEN (8 + 8 + FLEET_MAC_LEN)

struct fleet_id {
	uint64_t epoch, number;
};

void fleet_id_print(struct fleet_id, char text[FLEET_ID_MAX]);
int fleet_id_parse(const char *text, size_t len, struct fleet_id *ret_id);
int fleet_id_compare(struct fleet_id, struct fleet_id); // <0, 0, >0
struct fleet_id fleet_place_id(const struct fleet_place *);

char fleet_kind_letter(enum fleet_kind);
void fleet_before_pack(const struct fleet_place *, uint8_t octets[FLEET_PRED_LEN]);
// [id, [field, value, …]]
int fleet_record_parse(const redisReply *entry, struct fleet_record *ret_record);
// An EPOCH record's own: who leads. The base is its predecessor.
int fleet_epoch_record_parse(const struct fleet_record *, char ret_leader[FLEET_NAME_MAX]);

struct fleet_head {
	char leader[FLEET_NAME_MAX], run[FLEET_RUN_MAX];
	struct fleet_place place;
	uint64_t count, beat;
	struct digest digest;
	int64_t wall_ms, lease_ms;
	bool gone; // it gave the lead back
};

json_t *fleet_head_json(const struct fleet_head *);
int fleet_head_parse(const json_t *, struct fleet_head *ret_head);

// Who took an epoch, and the value of the lock: {gateway, run, epoch}, without epoch in the lock.
struct fleet_claimant {
	char gateway[FLEET_NAME_MAX], run[FLEET_RUN_MAX];
	uint64_t epoch;
};

json_t *fleet_claimant_json(const struct fleet_claimant *);
int fleet_claimant_parse(const json_t *, struct fleet_claimant *ret_claimant);

// Terms of the log that a gateway holds, oldest first, and where each began. Whoever stands behind
// the base of the next term, or in a term that is not there, has what this log never had.
#define FLEET_TERMS_MAX 64 // the newest are kept

struct fleet_term {
	uint64_t epoch;
	struct fleet_place base; // of the last record before it
};

struct fleet_terms {
	size_t n;
	struct fleet_term terms[FLEET_TERMS_MAX];
};

void fleet_terms_add(struct fleet_terms *, uint64_t epoch, const struct fleet_place *base);
// Those above that epoch never were.
void fleet_terms_cut(struct fleet_terms *, uint64_t epoch);
// Where the log parts from a place; NULL: it has that place, as far as is known.
const struct fleet_place *fleet_terms_part(const struct fleet_terms *, const struct fleet_place *);
json_t *fleet_terms_json(const struct fleet_terms *);
int fleet_terms_parse(const json_t *, struct fleet_terms *ret_terms);

#define FLEET_CHUNKS_MAX 100000
#define FLEET_CHECKPOINT_NAME_MAX 64

struct fleet_checkpoint {
	struct fleet_place from, to;
	char name[FLEET_CHECKPOINT_NAME_MAX]; // of the hash of chunks: chunks:<name>
	uint32_t chunks;
	uint64_t octets;
	int64_t wall_ms;
	struct fleet_terms terms; // of its log
};

json_t *fleet_checkpoint_json(const struct fleet_checkpoint *);
int fleet_checkpoint_parse(const json_t *, struct fleet_checkpoint *ret_checkpoint);

struct fleet_beat {
	char gateway[FLEET_NAME_MAX], run[FLEET_RUN_MAX], role[12];
	bool leads;
	uint64_t beat, epoch, number; // epoch and number of its place
	uint64_t known; // the highest epoch it knows
	char leader[FLEET_NAME_MAX]; // of that epoch
	int64_t wall_ms;
};

// The rest of the object is shown, not used.
int fleet_beat_parse(const json_t *, struct fleet_beat *ret_beat);

enum fleet_up_kind {
	FLEET_UP_ASK,
	FLEET_UP_HINT,
	FLEET_UP_RESYNC, // a gateway asks for a newer checkpoint
};

struct fleet_up {
	char gateway[FLEET_NAME_MAX];
	enum fleet_up_kind kind;
	uint64_t seq; // of an ask
	int64_t wall_ms;
	const char *text; // JSON, of ask and hint; in the object
};

json_t *fleet_up_json(const struct fleet_up *);
int fleet_up_parse(const json_t *, struct fleet_up *ret_up);
