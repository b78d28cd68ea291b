// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/unit/refuse.h"

#include "tests/unit/cm.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCKS 65536u // a power of two; far more than are ever live

// The linker's names. mmap is mmap64 by its other name (large files).
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
void *__real_mmap64(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
void __real_free(void *);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_reallocarray(void *, size_t, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
char *__wrap_strdup(const char *);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
int __wrap_munmap(void *, size_t);
void __wrap_free(void *);

static struct {
	bool armed, all;
	unsigned long at, seen;
	const void *blocks[BLOCKS]; // by address; a block that went leaves `gone`
	struct refuse_live live;
} refuse;
static const char gone;

void refuse_arm(unsigned long at, bool all)
{
	refuse.armed = true;
	refuse.all = all;
	refuse.at = at;
	refuse.seen = 0;
	refuse.live.largest = 0;
}

unsigned long refuse_disarm(void)
{
	refuse.armed = false;
	return refuse.seen;
}

struct refuse_live refuse_live(void)
{
	return refuse.live;
}

static bool refused(size_t size)
{
	if (size > refuse.live.largest)
		refuse.live.largest = size;
	if (!refuse.armed)
		return false;
	refuse.seen++;
	return refuse.all ? refuse.seen >= refuse.at : refuse.seen == refuse.at;
}

static const void **place_of(const void *block, bool free)
{
	uint32_t i = (uint32_t)((uintptr_t)block >> 4) * 2654435761u;

	for (uint32_t n = 0; n < BLOCKS; n++, i++) {
		const void **place = &refuse.blocks[i % BLOCKS];

		if (*place == block || !*place || (free && *place == &gone))
			return place;
	}
	abort();
}

static void *block_in(void *block)
{
	if (block) {
		*place_of(block, true) = block;
		refuse.live.blocks++;
	}
	return block;
}

// Blocks of libc's own (open_memstream) are not known here.
static void block_out(const void *block)
{
	const void **place = place_of(block, false);

	if (!block || *place != block)
		return;
	*place = &gone;
	refuse.live.blocks--;
}

void *__wrap_malloc(size_t size)
{
	return refused(size) ? NULL : block_in(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return refused(n * size) ? NULL : block_in(__real_calloc(n, size));
}

void *__wrap_realloc(void *block, size_t size)
{
	void *grown = refused(size) ? NULL : __real_realloc(block, size);

	if (grown) {
		block_out(block);
		block_in(grown);
	}
	return grown;
}

void *__wrap_reallocarray(void *block, size_t n, size_t size)
{
	return __wrap_realloc(block, n * size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return refused(size) ? NULL : block_in(__real_aligned_alloc(alignment, size));
}

char *__wrap_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = __wrap_malloc(size);

	return copy ? memcpy(copy, text, size) : NULL;
}

void __wrap_free(void *block)
{
	block_out(block);
	__real_free(block);
}

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	void *memory;

	if (refused(0)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	memory = __real_mmap64(at, size, protection, flags, fd, offset);
	refuse.live.mapped += memory == MAP_FAILED ? 0 : (size + 4095) / 4096 * 4096;
	return memory;
}

int __wrap_munmap(void *memory, size_t size)
{
	refuse.live.mapped -= (size + 4095) / 4096 * 4096;
	return __real_munmap(memory, size);
}

// True: the allocation was there to be refused.
static bool refuse_one(const struct scenario *s, unsigned long at, bool all)
{
	struct refuse_live before = refuse_live(), after;
	void *ctx = s->make();
	bool reached;
	int r;

	refuse_arm(at, all);
	r = s->act(ctx);
	reached = refuse_disarm() >= at;
	if (!reached)
		assert_int_equal(r, 0);
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		s->refused(ctx);
		assert_int_equal(s->act(ctx), 0);
	}
	s->done(ctx);
	s->end(ctx);
	after = refuse_live();
	assert_int_equal(after.blocks, before.blocks);
	assert_int_equal(after.mapped, before.mapped);
	return reached;
}

void refuse_each(const struct scenario *s)
{
	for (int all = 0; all < 2; all++) {
		unsigned long n = 0;

		while (refuse_one(s, n + 1, all))
			n++;
		if (!all)
			printf("%s: %lu allocations\n", s->name, n);
		assert_true(n >= s->least);
	}
}
