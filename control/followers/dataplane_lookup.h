// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The questions to the data plane that wait for an answer. Thread: the event loop.

#pragma once

#include "control/followers/dataplane.h"

#include <stddef.h>
#include <sys/queue.h>

#define LOOKUPS_MAX 256

struct lookup;
struct lookups {
	TAILQ_HEAD(, lookup) waiting;
	size_t n;
};

void lookups_init(struct lookups *);
// Sent as message `seq`. -EBUSY: too many wait.
int lookups_add(struct lookups *, uint64_t seq, lookup_cb, void *ctx);
void lookups_answered(struct lookups *, const struct wire_lookup_answer *);
void lookups_end(struct lookups *); // all are told that nobody answers
