// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The questions to the data plane that wait for an answer. Thread: the event loop.

#pragma once

#include "control/followers/dataplane.h"

#include <stddef.h>
#include <sys/queue.h>

#define LOOKUPS_MAX 256
#define PREVIEWS_MAX 8 // of them: each may cost the data plane's control thread milliseconds

struct lookup;
struct lookups {
	TAILQ_HEAD(, lookup) waiting;
	size_t n, n_previews;
};

// Who waits: one of the two is set.
struct lookup_asker {
	lookup_cb lookup;
	preview_cb preview;
	void *ctx;
};

void lookups_init(struct lookups *);
// Sent as message `seq`. -EBUSY: too many wait.
int lookups_add(struct lookups *, uint64_t seq, const struct lookup_asker *);
void lookups_answered(struct lookups *, const struct wire_lookup_answer *);
void lookups_previewed(struct lookups *, const struct wire_preview_answer *, size_t len);
void lookups_refused(struct lookups *, uint64_t seq); // fine where nobody asked that
void lookups_end(struct lookups *); // all are told that nobody answers
