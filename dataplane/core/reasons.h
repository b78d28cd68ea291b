// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Every outcome of a packet, from reasons.def.

#pragma once

#include <stdint.h>

// A verdict variable starts as VERDICT_DROP: code has to earn a pass.
enum verdict {
	VERDICT_DROP = 0,
	VERDICT_FORWARD = 1,
	VERDICT_MONITOR = 2, // forwarded, and reported as would have been dropped
};

enum reason {
#define REASON(id, verdict, help) REASON_##id,
#include "dataplane/core/reasons.def"
#undef REASON
	REASON_COUNT
};

struct reason_row {
	const char *name;
	const char *help;
	uint8_t verdict; // enum verdict, the default
};

extern const struct reason_row reason_table[REASON_COUNT];
