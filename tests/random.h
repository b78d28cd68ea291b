// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Numbers that a seed repeats. xorshift64*: Vigna, "An experimental exploration of Marsaglia's
// xorshift generators". The seed is not 0.

#pragma once

#include <stdint.h>

static inline uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * UINT64_C(2685821657736338717);
}

static inline uint32_t random_under(uint64_t *seed, uint32_t n)
{
	return (uint32_t)(random_next(seed) >> 33) % n;
}
