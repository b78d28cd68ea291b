// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Building the messages of the link from the ledger: batches, a full synchronisation, exceptions.
//
// Thread: the event loop. Headers are filled in by the sender.

#pragma once

#include "rules/wire.h"

struct ledger;

// A WIRE_BATCH with whole revisions after `live`, as many as fit. Its length; 0: nothing newer;
// -ESTALE: `live` is not in the ledger's history, or a revision does not fit into one message.
int batch_message(struct ledger *, const struct list_state *live, uint8_t *out, size_t room);

// A full synchronisation. Pages are read from the ledger as it is when they are sent; what changes
// meanwhile goes between as batches, so that no old page brings back what is gone.
struct sync {
	bool running, begun, ended;
	bool force; // lift the shrink brake at its end
	uint64_t generation;
	struct list_state told; // the state that the other end has been led to
	char after[INDICATOR_TEXT_MAX]; // the last entry sent, in text order
};

void sync_begin(struct sync *, struct ledger *);
// The next message and its type. -errno: the ledger could not be read.
int sync_message(struct sync *, struct ledger *, uint8_t *out, size_t room, uint16_t *ret_type);

// Tells the ledger where the other end stands. `well`: it takes what it is sent.
void link_tell(struct ledger *, const struct list_state *live, const struct sync *, bool well);

// The whole exception set, message by message.
struct exception_walk;
// -E2BIG: there are more than WIRE_EXCEPTIONS_MAX, and a set in part is never sent. free() ends it.
int exception_walk_create(struct ledger *, struct exception_walk **ret_walk);
size_t exception_walk_message(struct exception_walk *, uint8_t *out, size_t room, bool *ret_more);
