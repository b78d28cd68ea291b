// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Memory that is refused: the allocators of everything linked statically go through here (ld
// --wrap, see meson.build).

#pragma once

#include <stdbool.h>
#include <stddef.h>

// While armed, the allocation with this number, from 1, is refused; `all`: and all after it.
void refuse_arm(unsigned long at, bool all);
// Returns how many were asked for since.
unsigned long refuse_disarm(void);
// What was allocated and not given back: blocks, and octets of mappings.
struct refuse_live {
	size_t blocks, mapped;
	size_t largest; // block asked for since it was armed
};
struct refuse_live refuse_live(void);

struct scenario {
	const char *name;
	unsigned least; // allocations that there are
	void *(*make)(void);
	int (*act)(void *); // 0, or the error
	void (*refused)(void *); // after an error: nothing has changed
	void (*done)(void *);
	void (*end)(void *);
};

// Each allocation of `act` is refused in turn, alone and with all after it: it answers -ENOMEM (or
// does without), leaks nothing, and works as soon as there is memory.
void refuse_each(const struct scenario *);
