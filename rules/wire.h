// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The messages of the link between control and data plane, and of the data plane's control socket.
//
// Unix SOCK_SEQPACKET, one datagram a message, at most WIRE_MESSAGE_MAX octets. Both ends are the
// same build on the same machine: native byte order, fixed structs, the version compared exactly.
// Every message begins with struct wire_header; `length` equals the datagram's length or the
// message is refused. A request's answer carries the request's `seq`.
//
//   control                          data plane
//   HELLO                 ────────>
//                         <────────  HELLO_ACK (its own state: the cursor)
//   EXCEPTIONS…           ────────>            the whole set, in one or more messages
//                         <────────  RESULT
//   BATCH…                ────────>            where the ack's state is one of control's history
//                         <────────  RESULT    applied: its live state
//   SYNC_BEGIN, SYNC_ENTRIES…, SYNC_END ──>    otherwise; deltas may pass between
//                         <────────  RESULT    one for each message
//   PAUSE, LOOKUP, PREVIEW, STATUS_GET ──>
//                         <────────  RESULT, LOOKUP_ANSWER, PREVIEW_ANSWER, STATUS
//                         <────────  DENIALS, BREAKGLASS   unasked
//
// Thread: any; nothing here keeps state.

#pragma once

#include "rules/entry.h"

#include <stdint.h>

#define WIRE_VERSION 1
#define WIRE_MESSAGE_MAX 65536
#define WIRE_WORKERS_MAX 16
#define WIRE_BUILD_MAX 32

enum wire_type {
	// control → data plane
	WIRE_HELLO = 1,
	WIRE_EXCEPTIONS,
	WIRE_BATCH,
	WIRE_SYNC_BEGIN,
	WIRE_SYNC_ENTRIES,
	WIRE_SYNC_END,
	WIRE_PAUSE,
	WIRE_LOOKUP,
	WIRE_STATUS_GET,
	WIRE_BREAKGLASS_ACK,
	WIRE_PREVIEW,
	// operator (`stanch-dataplane ctl`) → data plane, on the control socket only
	WIRE_CTL_ALLOW = 32,
	WIRE_CTL_PAUSE, // as WIRE_PAUSE, from root on the machine
	// data plane → either
	WIRE_HELLO_ACK = 64,
	WIRE_RESULT,
	WIRE_LOOKUP_ANSWER,
	WIRE_STATUS,
	WIRE_DENIALS,
	WIRE_BREAKGLASS,
	WIRE_PREVIEW_ANSWER,
};

struct wire_header {
	uint16_t type; // enum wire_type
	uint16_t version;
	uint32_t length; // octets of the whole message
	uint64_t seq;
};

struct wire_state {
	uint8_t ledger_id[LEDGER_ID_LEN];
	uint64_t epoch, number, count;
	uint8_t digest[16]; // digest_pack
};

// An indicator as it travels; a name follows it, zero-padded to a multiple of eight octets.
struct wire_indicator {
	uint8_t kind, family, prefix_len, proto;
	uint16_t port; // host byte order
	uint8_t subtree;
	uint8_t name_len;
	uint8_t addr[16];
};

struct wire_entry {
	uint8_t op; // enum wire_op
	uint8_t scope;
	uint16_t size; // octets of this record with its name
	uint32_t pad;
	int64_t enforce_until;
	int64_t monitor_until;
	struct wire_indicator indicator; // last: the name follows
};

enum wire_op {
	WIRE_REMOVE = 0,
	WIRE_PUT = 1,
};

struct wire_exception {
	uint8_t kind; // enum exception_kind
	uint8_t pad;
	uint16_t size;
	uint32_t pad2;
	int64_t until;
	struct wire_indicator indicator;
};

struct wire_hello {
	struct wire_header header;
	struct wire_state state; // control's newest
	char build[WIRE_BUILD_MAX];
};

struct wire_hello_ack {
	struct wire_header header;
	struct wire_state state; // live; all zero: no list
	char build[WIRE_BUILD_MAX];
	uint64_t capacity;
	uint32_t error; // enum wire_code; WIRE_BAD_VERSION: nothing else will be answered
	uint8_t names_matched; // 0: name entries are kept but not enforced on the wire
	uint8_t pad[3];
	uint64_t boot_id; // another one: it was started anew; 0: not told
};

// All or nothing; `from` must be the live state's revision.
struct wire_batch {
	struct wire_header header;
	uint64_t from_epoch, from_number;
	struct wire_state after;
	uint32_t n; // wire_entry records follow
	uint32_t pad;
};

struct wire_sync_begin {
	struct wire_header header;
	uint64_t generation; // not 0
	struct wire_state state; // what the synchronisation leads to
};

struct wire_sync_entries {
	struct wire_header header;
	uint64_t generation;
	uint32_t n; // wire_entry records follow, all WIRE_PUT
	uint32_t pad;
};

enum wire_sync_flags {
	WIRE_SYNC_FORCE = 1, // an operator's token, audited by control: shrink brake lifted
};

struct wire_sync_end {
	struct wire_header header;
	uint64_t generation;
	struct wire_state state;
	uint32_t flags;
	uint32_t pad;
};

#define WIRE_EXCEPTIONS_MAX 65536 // of one set, in all its messages

enum wire_exceptions_flags {
	WIRE_EXCEPTIONS_MORE = 1, // further messages belong to the same set
};

struct wire_exceptions {
	struct wire_header header;
	uint32_t flags;
	uint32_t n; // wire_exception records follow
};

struct wire_pause {
	struct wire_header header;
	int64_t until; // seconds; 0: resume
	uint32_t uid; // who, for the audit; control fills its operator's or 0
	uint32_t pad;
	char reason[128]; // NUL-terminated
};

struct wire_lookup {
	struct wire_header header;
	struct wire_indicator indicator; // last: the name follows
};

struct wire_ctl_allow {
	struct wire_header header;
	int64_t until; // 0: ends it
	uint32_t uid;
	uint32_t pad;
	char reason[128];
	struct wire_indicator indicator; // networks and port entries only
};

enum wire_code {
	WIRE_OK = 0,
	WIRE_STALLED, // stored, but a worker passed no quiescent state before the deadline
	WIRE_NEED_SYNC, // `from` is not the live revision, or another ledger
	WIRE_FULL, // count, limit: nothing of the batch was stored
	WIRE_MISMATCH, // the result has another count or digest than `after`
	WIRE_SHRINK_REFUSED, // the sweep goes beyond the shrink brake: an operator must force it
	WIRE_BAD_MESSAGE, // sizes or values are wrong
	WIRE_BAD_VERSION,
	WIRE_DENIED, // the peer may not send this
	WIRE_IO, // break-glass could not be written to disk; it holds until the restart
	WIRE_NO_MEMORY, // the data plane was refused memory: nothing has changed
};

struct wire_result {
	struct wire_header header;
	uint32_t code; // enum wire_code
	uint32_t pad;
	struct wire_state state; // live
	uint64_t count,
		limit; // WIRE_FULL, WIRE_SHRINK_REFUSED: entries wanted or left, and the limit
};

struct wire_lookup_answer {
	struct wire_header header;
	struct wire_state state;
	uint8_t present;
	uint8_t action; // enum entry_action as the workers see it
	uint8_t matched; // 0: kept but not matched on the wire (names)
	uint8_t exception; // enum exception_kind covering all of it, 0 none
	uint32_t pad;
	uint64_t packets, bytes; // hits of this entry since it was put
	int64_t last_ms; // milliseconds since the epoch of the last hit; 0 none
};

#define WIRE_PREVIEW_ENDS_MAX 64

// What has been seen of an indicator, by the sampled sketch of what passes.
struct wire_preview {
	struct wire_header header;
	uint32_t all; // 1: of everything, and the indicator is all zero
	uint32_t ends; // that many remote ends at most, WIRE_PREVIEW_ENDS_MAX
	struct wire_indicator indicator; // networks and port entries only
};

// Counts of samples, each of which stands for `rate` packets; octets are theirs.
struct wire_preview_answer {
	struct wire_header header;
	uint64_t window_ms; // what is told reaches back so far
	uint64_t all_samples, all_bytes; // of everything
	uint64_t lost; // among all_samples: of remote ends that are not known any more
	uint64_t samples, bytes; // of what was asked for
	uint64_t squares; // the sum of each sample's octets squared
	uint64_t inward; // among samples: came from outside
	uint64_t denied, denied_bytes; // among samples: the list denies them as it is
	uint64_t spared,
		spared_bytes; // among samples: excepted, or inward where that is not judged
	uint64_t ends; // different remote ends among samples
	uint64_t last_age_ms; // since the last of samples; UINT64_MAX: none
	uint32_t rate;
	uint32_t n; // wire_preview_end records follow, of most samples first
};

// An address, all its ports together; where one address was asked for, one of its ports.
struct wire_preview_end {
	uint8_t addr[16]; // as in struct wire_indicator
	uint8_t family;
	uint8_t proto; // 0: all together
	uint16_t port; // host byte order; 0: all together, or the protocol has none
	uint32_t pad;
	uint64_t samples, bytes, denied, spared, inward;
};

#define WIRE_NAME_MAX 32

struct wire_reason {
	char name[WIRE_NAME_MAX]; // of reasons.def
	char help[96];
	uint8_t verdict; // 0 drop, 1 forward, 2 monitor: the default verdict of that reason
	uint8_t pad[7];
	uint64_t packets, bytes;
};

struct wire_port {
	char name[WIRE_NAME_MAX];
	uint8_t link_up;
	uint8_t inside;
	uint8_t pad[6];
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, rx_missed, rx_errors, tx_errors,
		tx_dropped;
};

enum wire_list_origin {
	WIRE_LIST_NONE = 0,
	WIRE_LIST_SNAPSHOT,
	WIRE_LIST_PREVIOUS, // the current pair on disk was damaged
	WIRE_LIST_LINK,
};

// After the struct: n_reasons × wire_reason, n_ports × wire_port.
struct wire_status {
	struct wire_header header;
	struct wire_state state; // live, kept in O(1)
	uint8_t scrub_digest[16]; // recomputed from the structures that workers read
	uint64_t scrub_count;
	uint64_t scrub_age_ms; // since the last complete walk; UINT64_MAX: none yet
	uint64_t scrub_errors; // entries found missing or different since the start
	uint64_t scrub_walks;
	uint64_t capacity;
	uint64_t names; // entries kept but not matched
	uint64_t exceptions, allows;
	int64_t pause_until; // 0: not paused
	uint64_t uptime_ms;
	uint64_t list_error; // 1: clock holds the ends, 2: previous list in use (bits)
	uint64_t denials_lost; // records that found a full ring
	uint32_t workers, workers_stalled;
	uint32_t ready; // 1: ports are up and packets are forwarded by the list
	uint32_t list_origin; // enum wire_list_origin
	uint32_t names_matched;
	uint32_t n_reasons, n_ports;
	uint32_t pad;
	uint64_t worker_packets[WIRE_WORKERS_MAX]; // judged, by worker
	char build[WIRE_BUILD_MAX];
};

// One aggregate of denied (or would-be denied) packets: per entry, source, port.
struct wire_denial {
	struct wire_indicator entry; // network or port entry; kind 0: none (a parse reason)
	uint8_t family;
	uint8_t proto;
	uint8_t verdict; // 0 dropped, 2 monitored
	uint8_t inward; // 1: the packet came from outside
	uint16_t port; // destination port, host byte order; 0 unknown
	uint16_t pad;
	uint8_t src[16], dst[16]; // network byte order
	uint64_t packets, bytes;
	int64_t first_ms, last_ms;
	char reason[WIRE_NAME_MAX];
};

struct wire_denials {
	struct wire_header header;
	uint32_t n; // wire_denial records follow
	uint32_t pad;
};

// An action of root on the data plane itself, told until control acknowledges it as audited.
struct wire_breakglass {
	struct wire_header header; // seq: the action's number
	int64_t when_ms;
	int64_t until; // 0: ended
	uint32_t uid;
	uint32_t kind; // WIRE_CTL_ALLOW or WIRE_CTL_PAUSE
	char reason[128];
	struct wire_indicator indicator; // WIRE_CTL_ALLOW
};

struct wire_simple { // WIRE_STATUS_GET, WIRE_BREAKGLASS_ACK (seq: the action acknowledged)
	struct wire_header header;
};

// Record codecs. Writers return octets written, or -ENOSPC where `room` is too small. Readers
// return octets read, or -EBADMSG; they check every size and value (kind, family, length, port,
// name in canonical form, host bits zero).
int wire_entry_write(void *to, size_t room, enum wire_op, const struct entry *);
int wire_entry_read(const void *from, size_t len, enum wire_op *ret_op, struct entry *ret_entry);
int wire_exception_write(void *to, size_t room, const struct exception *);
int wire_exception_read(const void *from, size_t len, struct exception *ret_exception);
int wire_indicator_write(void *to, size_t room, const struct indicator *);
int wire_indicator_read(const void *from, size_t len, struct indicator *ret_indicator);

// What is asked for; ret_indicator is untouched where that is everything. 0 or -EBADMSG, also where
// it is a name.
int wire_preview_read(
	const void *message, size_t len, bool *ret_all, struct indicator *ret_indicator
);
// The answer's record `i`, of `n` in a message of `len` octets that wire_header_check took.
// -EBADMSG: it is not whole, or no record.
int wire_preview_end_read(
	const void *message, size_t len, uint32_t i, struct wire_preview_end *ret_end
);

// Header of a received datagram: type known, version ours, length equal, not shorter than the
// fixed part of its type. 0, -EBADMSG, or -EPROTO for another version.
int wire_header_check(const void *message, size_t len);
size_t wire_fixed_size(uint16_t type); // 0: unknown type

void wire_state_pack(const struct list_state *, struct wire_state *ret_state);
void wire_state_unpack(const struct wire_state *, struct list_state *ret_state);
const char *wire_code_name(uint32_t code);
