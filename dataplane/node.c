// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/node.h"

#include "dataplane/pages.h"

#include <rte_lcore.h>

#include <limits.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NODES_MAX 1024
#define WORD_BITS (sizeof(unsigned long) * CHAR_BIT)

int node_of_worker(unsigned index)
{
	unsigned lcore;

	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		if (index-- == 0)
			return (int)rte_lcore_to_socket_id(lcore);
	}
	return -1;
}

unsigned node_far(int socket, unsigned workers)
{
	unsigned far = 0;

	for (unsigned i = 0; socket >= 0 && i < workers; i++) {
		int node = node_of_worker(i);

		far += node >= 0 && node != socket;
	}
	return far;
}

// Where it is refused (a kernel without sockets, a node that is not this process's) the memory is
// as good as any other.
static void bind_to(void *memory, size_t size, int node)
{
	unsigned long mask[NODES_MAX / WORD_BITS] = {0};

	if (node < 0 || node >= NODES_MAX)
		return;
	mask[(unsigned)node / WORD_BITS] = 1ul << (unsigned)node % WORD_BITS;
	(void)syscall(SYS_mbind, memory, size, MPOL_PREFERRED, mask, NODES_MAX, 0);
}

void *node_map(unsigned workers, size_t size)
{
	uint8_t *memory = pages_map(workers * size);

	for (unsigned i = 0; memory && i < workers; i++)
		bind_to(memory + i * size, size, node_of_worker(i));
	return memory;
}

void node_unmap(void *memory, unsigned workers, size_t size)
{
	pages_unmap(memory, workers * size);
}
