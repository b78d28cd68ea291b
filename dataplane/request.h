// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One message of the link or of the control socket, applied to the live set: octets in, a decision
// and the answer's octets out. No socket, no timer, no log.
//
// Thread: the control thread, after set_tick.

#pragma once

#include "dataplane/breakglass.h"
#include "dataplane/preview.h"
#include "dataplane/set.h"
#include "rules/wire.h"

#include <stdbool.h>
#include <stddef.h>

enum request_peer {
	PEER_NEW, // on the link, before its HELLO
	PEER_CONTROL, // the session
	PEER_ROOT, // on the control socket
};

enum request_outcome {
	REQUEST_ANSWER, // send the answer in its turn
	REQUEST_APPLIED, // send it once every worker has passed a quiescent state
	REQUEST_SETTLE, // as APPLIED, after set_settle has come to its end
	REQUEST_HELLO, // as ANSWER; the peer is the session from now on
	REQUEST_SILENT, // no answer
	REQUEST_CLOSE, // send the answer, if any, and close
};

struct requests {
	struct set *set;
	struct breakglass *breakglass;
	struct preview *preview; // NULL: nothing is sampled, PREVIEW is refused
	// Writes struct wire_status and its rows behind room for the header; returns octets.
	size_t (*status)(void *ctx, void *answer, size_t room);
	void *status_ctx;
	uint64_t boot_id; // random, of this run; told in the answer to HELLO
	// Exceptions of a set that comes in several messages.
	struct exception *exceptions;
	size_t n_exceptions, room_exceptions;
};

void requests_fini(struct requests *);
// The session has ended: what it left half done is given up.
void requests_reset(struct requests *);

// `answer` has WIRE_MESSAGE_MAX octets; *ret_len 0: none.
enum request_outcome request_handle(
	struct requests *,
	enum request_peer,
	uint32_t uid, // the peer's, for the audit
	const void *message,
	size_t len,
	void *answer,
	size_t *ret_len
);
// Instead of handling it: the answer that there is no memory for it. Returns its octets, 0: none.
size_t request_refuse(struct requests *, const void *message, size_t len, void *answer);
