// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Memory of the socket (NUMA node) that a worker runs on.
//
// From the kernel, not from rte_malloc: without huge pages EAL's heap has a fixed size, which is
// the mbufs', and knows no sockets.
// Thread: the control thread. Before EAL has started every worker counts as on socket 0.

#pragma once

#include <stddef.h>

#define NODE_PAGE 4096
// Two lines: a processor fetches the neighbour of a line too. What two threads write, and what one
// writes and another reads all the time, lies this far apart.
#define NODE_APART 128

// The socket of worker `index`; -1: there is no such worker, or its socket is not known.
int node_of_worker(unsigned index);
// Of so many workers, those on another socket than `socket`; 0 where that is not known (-1).
unsigned node_far(int socket, unsigned workers);

// An array with a part of `size` octets (whole NODE_PAGEs) for each worker, on its own socket where
// the kernel has room there. Zeroed. NULL: no memory.
void *node_map(unsigned workers, size_t size);
void node_unmap(void *memory, unsigned workers, size_t size); // NULL is fine
