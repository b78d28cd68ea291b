// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// How many rounds a bench has of those that a figure takes: one where only a short look is wanted
// (scripts/bench --help, STANCH_BENCH_SMALLER). Thread: any.

#pragma once

#include <stdlib.h>

static inline int rounds_of(int most)
{
	const char *smaller = getenv("STANCH_BENCH_SMALLER");

	return smaller && strtoul(smaller, NULL, 10) > 1 ? 1 : most;
}
