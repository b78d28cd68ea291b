// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The exceptions as the workers read them: protections and allows of control, replaced as a whole,
// and the allows of root (break-glass), which stay.
//
// Names among them are counted, not matched. An allow never lasts longer than a day from its
// arrival: a wall clock that is wrong must not keep one open.
// Thread: the control thread. Times are CLOCK_BOOTTIME in ms, except struct exception's.

#pragma once

#include "dataplane/core/match.h"
#include "rules/entry.h"

#define EXCEPTIONS_MAX 65536
#define EXCEPTIONS_BREAKGLASS_MAX 256
#define ALLOW_MAX_MS (24 * 3600 * 1000ll)

struct exceptions;
struct rte_rcu_qsbr;

int exceptions_create(struct rte_rcu_qsbr *, struct exceptions **ret_exceptions);
void exceptions_free(struct exceptions *);
struct match *exceptions_match(struct exceptions *);

// First the additions; what is no longer among them goes at the end, once no lookup is under way
// that began before. -ENOSPC: too many, or removed ones are still being read; nothing changed then.
int exceptions_replace_begin(
	struct exceptions *, const struct exception *, size_t n, int64_t wall_ms, int64_t boot_ms
);
void exceptions_replace_end(struct exceptions *, int64_t boot_ms);
// Root's allow until `deadline_ms`; 0 ends it. -ENOSPC, -ENOENT: there was none to end.
int exceptions_breakglass(struct exceptions *, const struct match_key *, int64_t deadline_ms);
// Allows whose end has passed stop.
void exceptions_tick(struct exceptions *, int64_t boot_ms);
void exceptions_poll(struct exceptions *, bool drained);
// Kind of an exception that covers all of the indicator; 0 none.
uint8_t exceptions_covering(const struct exceptions *, const struct indicator *);
uint64_t exceptions_count(const struct exceptions *);
uint64_t exceptions_allows(const struct exceptions *);
