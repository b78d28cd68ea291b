// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What both planes say of the list: an entry, an exception, a revision, the state of a list.

#pragma once

#include "rules/digest.h"
#include "rules/indicator.h"

#include <stdbool.h>
#include <stdint.h>

#define UNTIL_NONE 0 // no claim of that action
#define UNTIL_FOREVER INT64_MAX // no end
#define UNTIL_MAX INT64_C(253402300799) // 9999-12-31T23:59:59Z; RFC 3339 knows no later end

#define LEDGER_ID_LEN 16

enum scope {
	SCOPE_ALL = 0, // the only one so far; present in every format
};

// An indicator held by at least one live claim. Times are seconds since the epoch, UTC.
struct entry {
	struct indicator indicator;
	int64_t enforce_until; // latest end among its enforce claims
	int64_t monitor_until; // latest end among its monitor claims
	uint8_t scope; // enum scope
};

enum exception_kind {
	EXCEPTION_PROTECT = 1, // standing; must never be denied
	EXCEPTION_ALLOW = 2, // an operator's, with an end
};

struct exception {
	struct indicator indicator;
	uint8_t kind; // enum exception_kind
	int64_t until; // UNTIL_FOREVER for a protection
};

// A state of the list. A higher epoch supersedes every number of a lower one.
struct revision {
	uint64_t epoch;
	uint64_t number;
};

struct list_state {
	uint8_t ledger_id[LEDGER_ID_LEN]; // random, made with the ledger
	struct revision revision;
	uint64_t count; // entries
	struct digest digest; // of the entries
};

enum entry_action {
	ENTRY_INERT = 0, // every claim's end has passed
	ENTRY_MONITOR = 1,
	ENTRY_ENFORCE = 2,
};

// What an entry does at `now` (seconds). Enforce shadows monitor.
enum entry_action entry_action_at(const struct entry *, int64_t now);

int revision_compare(struct revision, struct revision);
bool list_state_equal(const struct list_state *, const struct list_state *);
