// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Changes of a list as gateways tell them to each other: a record of the fleet's log, or a chunk of
// a checkpoint. Ids of lists and attributes are a ledger's own and never travel: names and texts
// do.
//
//   format   u8       1
//   flags    u8       PAYLOAD_…
//   name     u8 length, octets; none where PAYLOAD_END
//   synced   varint   seconds since the epoch, of the last whole reading; 0: none yet
//   hour     varint   since the epoch; 0: no peak follows
//   peaks    varint   most members in that hour; where PAYLOAD_PEAKS 24 varints (worker_list.peaks)
//   index    where PAYLOAD_CHUNK: varint, of all chunks of the checkpoint: none is missing
//   after    where PAYLOAD_CHUNK: varint length, key: the chunk says all that the list has behind
//            this key, up to its own last key, or to the end where PAYLOAD_LAST
//   attrs    varint n, then n times: action u8, reason and reference (varint length, octets)
//   changes  to the end, in the order of their keys, each once:
//            shared varint, rest varint, octets    the key, as in control/lists_page.h
//            flags u8      LIST_ENFORCE, LIST_MONITOR, LIST_HAS_UNTIL, PAYLOAD_PUT; 0: it goes
//            attr varint   index into attrs     } where it is put
//            until varint  where LIST_HAS_UNTIL }
//
// Who wrote it is known by its MAC; what it says is checked all the same.
// Thread: any; nothing here keeps state.

#pragma once

#include "control/lists_page.h"

#define PAYLOAD_FORMAT 1
#define PAYLOAD_MAX 60000 // octets
#define PAYLOAD_CHANGES 1300 // of a record: what one message on the link takes
#define PAYLOAD_ATTRS 2048
#define PAYLOAD_NAME_MAX 40
#define PAYLOAD_PEAK_HOURS 24
#define PAYLOAD_REASON_MAX 255 // octets
#define PAYLOAD_REFERENCE_MAX 127

enum {
	PAYLOAD_CHUNK = 1,
	PAYLOAD_LAST = 2,
	PAYLOAD_PEAKS = 4,
	PAYLOAD_RETIRED = 8, // the list is no more
	PAYLOAD_END = 16, // the last chunk, of no list: there are no others
};
#define PAYLOAD_PUT 8u // of a change's flags

struct payload_head {
	uint8_t flags;
	char name[PAYLOAD_NAME_MAX + 1];
	int64_t synced;
	int64_t peak_hour;
	uint64_t peaks[PAYLOAD_PEAK_HOURS];
	uint64_t index;
	struct ledger_key after; // length 0: from the start
};

struct payload_attr {
	uint8_t actions;
	uint8_t reason_len, reference_len;
	const char *reason, *reference; // no NUL behind them
};

// --- writing

struct payload_writer {
	struct payload_head head;
	uint32_t n, n_attrs, max; // changes, attributes, changes at most
	size_t attrs_len, changes_len;
	uint32_t ids[2 * PAYLOAD_ATTRS]; // of attributes, hashed; 0: free
	uint16_t indices[2 * PAYLOAD_ATTRS];
	struct ledger_key last;
	uint8_t attrs[PAYLOAD_MAX], changes[PAYLOAD_MAX], octets[PAYLOAD_MAX];
};

// `max`: changes; UINT32_MAX: as many as there is room for.
void payload_clear(struct payload_writer *, const struct payload_head *, uint32_t max);
// Has that attribute been given? Then its text need not be.
bool payload_knows(const struct payload_writer *, uint32_t attr);
// A change behind those before it; false: there is no room, and nothing changed. `attr` is the text
// of m->attr; where it goes, or where it is known, it may be NULL.
bool payload_add(
	struct payload_writer *,
	const struct list_member *,
	bool put,
	const struct payload_attr *attr
);
// The payload, good until the next call with this writer.
const void *payload_end(struct payload_writer *, size_t *ret_len);

// --- reading

struct payload_reader {
	struct payload_head head;
	uint32_t n_attrs;
	struct payload_attr *attrs; // texts point into the payload
	const uint8_t *at, *end;
	// the last change read
	struct list_member member; // attr: index into attrs; where it goes, key only
	bool put;
};

// -EBADMSG: damaged, or of a format that this version does not know; -ENOMEM.
int payload_begin(struct payload_reader *, const void *octets, size_t len);
void payload_fini(struct payload_reader *);
// 1: reader->member and reader->put; 0: the end; -EBADMSG. A key that it gives names an indicator.
int payload_next(struct payload_reader *);
// What it is about, without looking further.
int payload_head_read(const void *octets, size_t len, struct payload_head *ret_head);
