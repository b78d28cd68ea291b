// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The linear oracle: what the list means, slowly and plainly. Tests compare the data plane with it.
//
// Order of judgement: protection > allow > enforce > monitor. Every address of every layer is
// judged by all entries that cover it, every prefix length, with and without port. One enforcing
// entry denies; monitor never shadows enforce. Reported: innermost layer, destination before
// source, port entry before host before longest prefix.

#pragma once

#include "rules/entry.h"

enum judgement {
	JUDGE_PASS, // no entry covers it
	JUDGE_PROTECTED, // an entry in force covers it, and so does a protection
	JUDGE_ALLOWED, // likewise, an allow
	JUDGE_MONITOR,
	JUDGE_DENY,
};

struct oracle_list {
	const struct entry *entries;
	size_t n_entries;
	const struct exception *exceptions;
	size_t n_exceptions;
	int64_t now; // seconds: ends that have passed make entries and allows inert
	bool paused; // enforce counts as monitor
};

// One address to judge, with what is known of its transport. proto 0: no ports known.
struct oracle_address {
	uint8_t family; // 4 or 6
	uint8_t addr[16];
	uint8_t proto;
	uint16_t port; // host byte order: destination's port for a destination, source's for a
		       // source
};

// Judge one address. ret_entry: the entry reported, NULL for JUDGE_PASS.
enum judgement oracle_address_judge(
	const struct oracle_list *, const struct oracle_address *, const struct entry **ret_entry
);

// Judge addresses given in order of report (innermost layer first, destination before source).
// JUDGE_DENY of any wins, then JUDGE_MONITOR, then JUDGE_PROTECTED or JUDGE_ALLOWED, then PASS;
// among equals the first reported. ret_index: which address.
enum judgement oracle_judge(
	const struct oracle_list *,
	const struct oracle_address *addresses,
	size_t n,
	size_t *ret_index,
	const struct entry **ret_entry
);
