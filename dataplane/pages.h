// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Large arrays straight from the kernel: zeroed, resident only where touched, and aligned to 2 MiB
// from that size on (else to a page).
// Not rte_malloc: without huge pages its memory is the mbufs' and has a fixed size.

#pragma once

#include <stdbool.h>
#include <stddef.h>

void *pages_map(size_t size); // NULL: no memory
// Of a mapping: better in huge pages, where the kernel has them. Then resident as a whole.
// now: what is in small pages moves at once, which takes a while; else the kernel does it when it
// comes to it.
void pages_huge(void *memory, size_t size, bool now);
void pages_unmap(void *memory, size_t size); // NULL is fine
