// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/core/reasons.h"

const struct reason_row reason_table[REASON_COUNT] = {
#define REASON(id, default_verdict, text)                                                          \
	[REASON_##id] = {.name = #id, .help = text, .verdict = VERDICT_##default_verdict},
#include "dataplane/core/reasons.def"
#undef REASON
};
