// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE ((size_t)2 << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 // Linux 6.1; -EINVAL before
#endif

static void *map(size_t size)
{
	void *memory
		= mmap(NULL,
		       size,
		       PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1,
		       0);

	return memory == MAP_FAILED ? NULL : memory;
}

void *pages_map(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (size + page - 1) & ~(page - 1);
	uint8_t *memory, *aligned;

	if (size < HUGE)
		return map(size);
	memory = map(whole + HUGE);
	if (!memory)
		return NULL;
	aligned = memory + (-(uintptr_t)memory & (HUGE - 1));
	if (aligned > memory)
		munmap(memory, (size_t)(aligned - memory));
	munmap(aligned + whole, (size_t)(memory + HUGE - aligned));
	return aligned;
}

void pages_huge(void *memory, size_t size, bool now)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)memory & (page - 1);
	uint8_t *at = (uint8_t *)memory - before;

	(void)madvise(at, size + before, MADV_HUGEPAGE);
	if (now)
		(void)madvise(at, size + before, MADV_COLLAPSE);
}

void pages_unmap(void *memory, size_t size)
{
	if (memory)
		munmap(memory, size);
}
