// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Large arrays straight from the kernel: zeroed, page-aligned, resident only where touched.
// Not rte_malloc: without huge pages its memory is the mbufs' and has a fixed size.

#pragma once

#include <stddef.h>

void *pages_map(size_t size); // NULL: no memory
void pages_unmap(void *memory, size_t size); // NULL is fine
