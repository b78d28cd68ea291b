// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Control's end of the link, for benches: changes from the data plane's own state on, one batch
// and its answer after the other. Errors end the program.
//
// Thread: one at a time.

#pragma once

#include "rules/digest.h"
#include "rules/entry.h"
#include "rules/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINKER_BATCH 1000 // changes in one message, at most

struct linker {
	int fd;
	uint64_t seq;
	struct list_state state; // the data plane's
	uint32_t n;
	size_t len;
	uint8_t message[WIRE_MESSAGE_MAX];
};

void linker_open(struct linker *, const char *path); // connects; nothing is said yet
void linker_hello(struct linker *); // takes over the data plane's state
// A batch: begin, changes, send. hash: entry_hash of it. The entry must be new, or in the list.
void linker_begin(struct linker *);
void linker_add(struct linker *, bool put, const struct entry *, struct digest hash);
void linker_send(struct linker *);
void linker_answer(struct linker *); // waits for it; anything but OK is an error
void linker_close(struct linker *);
