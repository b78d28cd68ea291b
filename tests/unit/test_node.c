// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/node.h"
#include "tests/unit/cm.h"

#include <rte_lcore.h>

#include <linux/mempolicy.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PARTS 3
#define SIZE (3 * (size_t)NODE_PAGE)
#define NODES_MAX 1024

// Where the kernel shall take the page at `at` from; false: it keeps no such wish.
static bool wish(void *at, int *ret_mode, unsigned long *ret_nodes)
{
	unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = {0};

	if (syscall(SYS_get_mempolicy, ret_mode, mask, NODES_MAX, at, MPOL_F_ADDR))
		return false;
	*ret_nodes = mask[0];
	return true;
}

static void test_each_part_is_asked_for_on_its_workers_socket(void **state)
{
	uint8_t *memory = node_map(PARTS, SIZE);
	unsigned long nodes;
	int mode;

	(void)state;
	assert_non_null(memory);
	if (!wish(memory, &mode, &nodes))
		skip();
	for (unsigned i = 0; i < PARTS; i++) {
		for (size_t at = 0; at < SIZE; at += NODE_PAGE) {
			assert_true(wish(memory + i * SIZE + at, &mode, &nodes));
			assert_int_equal(mode, MPOL_PREFERRED);
			assert_int_equal(nodes, 1ul << node_of_worker(i));
			assert_int_equal(memory[i * SIZE + at], 0);
		}
	}
	node_unmap(memory, PARTS, SIZE);
	node_unmap(NULL, PARTS, SIZE);
}

static void test_workers_far_from_a_device(void **state)
{
	(void)state;
	assert_int_equal(node_of_worker(0), 0);
	assert_int_equal(node_of_worker(RTE_MAX_LCORE), -1);
	assert_int_equal(node_far(0, 4), 0);
	assert_int_equal(node_far(1, 4), 4);
	assert_int_equal(node_far(-1, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_part_is_asked_for_on_its_workers_socket),
		cmocka_unit_test(test_workers_far_from_a_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
