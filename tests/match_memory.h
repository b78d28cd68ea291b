// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A lookup structure for tests, in memory that is only touched where it is used.

#pragma once

#include "dataplane/core/match.h"

#include <stdlib.h>
#include <sys/mman.h>

static inline struct match *match_map(uint32_t capacity, const uint8_t key[static 16])
{
	void *memory
		= mmap(NULL,
		       match_size(capacity),
		       PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1,
		       0);

	if (memory == MAP_FAILED)
		abort();
	return match_init(memory, capacity, key);
}

static inline void match_unmap(struct match *m)
{
	munmap(m, match_size(match_capacity(m)));
}
