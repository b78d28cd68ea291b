// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Protections: what must never be denied. The built-in tables, and the overlap test.
// Thread: any; the tables are constant.

#pragma once

#include "rules/entry.h"

struct protection_builtin {
	const char *text; // canonical indicator
	const char *reason; // the RFC that reserves it
};

// Always: 0/8, 127/8, 169.254/16, 224/3, ::, ::1, fe80::/10, ff00::/8. Ends with text NULL.
extern const struct protection_builtin protect_builtin[];
// By the setting protect.private (default on): RFC 1918, fc00::/7, 100.64/10. Ends with text NULL.
extern const struct protection_builtin protect_private[];

enum overlap {
	OVERLAP_NONE,
	OVERLAP_INSIDE, // the indicator lies inside the protection, or equals it
	OVERLAP_CONTAINS, // the indicator is wider than the protection and contains it
};

// How an indicator about to be denied meets a protection; checked in both directions.
enum overlap protect_overlap(const struct indicator *denied, const struct indicator *protection);
