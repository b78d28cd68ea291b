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

// IPv4 addresses that, under this key and capacity, all belong in the first line: more than it can
// hold are sent on to others.
static inline void
match_collide(uint32_t capacity, const uint8_t key[static 16], uint8_t (*ret_addrs)[4], unsigned n)
{
	struct match *m = match_map(capacity, key);
	uint32_t rules[MATCH_LINE_RULES], rule;

	for (uint32_t a = 1; n; a++) {
		struct match_key k = {.family = 4, .prefix_len = 32};

		k.addr[0] = 203;
		k.addr[1] = (uint8_t)(a >> 16);
		k.addr[2] = (uint8_t)(a >> 8);
		k.addr[3] = (uint8_t)a;
		if (match_add(m, &k, MATCH_ENFORCE, &rule) < 0)
			abort();
		if (match_line(m, 0, rules) == 1)
			__builtin_memcpy(ret_addrs[--n], k.addr, 4);
		match_unlink(m, rule);
		match_recycle(m, rule);
	}
	match_unmap(m);
}
