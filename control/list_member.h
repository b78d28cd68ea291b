// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a publisher writes into a list: a plain indicator, or a JSON object
//
//   {"indicator": "203.0.113.7", "until": "2026-12-01T00:00:00Z", "ttl": 3600,
//    "action": "monitor", "reason": "scanner", "reference": "TI-4711"}
//
// `value` is taken for `indicator`; `expiry` and `expires` for `until`, which is RFC 3339, seconds
// or milliseconds since the epoch; of `until` and `ttl` the earlier holds. Other keys are ignored;
// a known key with a value of another kind is refused: a list that is half understood is not.
//
// Thread: any; nothing here keeps state. Input is foreign.

#pragma once

#include "control/ledger_key.h"
#include "rules/indicator.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIST_TEXT_MAX 4096 // octets of a member with its value
#define LIST_REASON_MAX 256

struct list_text {
	struct indicator indicator;
	int64_t until; // UNTIL_FOREVER: none given
	int action; // as LIST_ENFORCE, LIST_MONITOR; 0: not given
	char reason[LIST_REASON_MAX], reference[128]; // "" not given; UTF-8, cut where too long
};

// `value` belongs to the member: of a hash JSON or a reason in words, else "". `now`: seconds.
// -EINVAL: `ret_reason` is a literal or points into the error of rules/indicator.h.
int list_text_parse(
	const char *member,
	size_t member_len,
	const char *value,
	size_t value_len,
	int64_t now,
	struct list_text *ret_text,
	const char **ret_reason
);

// A score or number as a time: seconds, or milliseconds from 1e11 on. 0, negative numbers and
// infinity say nothing: UNTIL_FOREVER. False: no number.
bool list_time_parse(const char *text, size_t len, int64_t *ret_until);
