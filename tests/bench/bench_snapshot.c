// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A list of many hosts as control would leave it on disk; scripts/bench loads it.
//
//   bench_snapshot DIR ENTRIES

#include "rules/digest.h"
#include "rules/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Every address once, in no order: an odd factor permutes the numbers of 32 bits.
static uint32_t host_next(uint32_t *number)
{
	uint32_t a;

	do
		a = ++*number * 2654435761u;
	while (a >> 24 == 0 || a >> 24 == 127 || a >> 24 >= 224);
	return a;
}

static struct entry entry_of(uint32_t a)
{
	return (struct entry){
		.indicator = {
			.kind = INDICATOR_NET,
			.family = 4,
			.prefix_len = 32,
			.addr = {(uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8), (uint8_t)a},
		},
		.enforce_until = UNTIL_FOREVER,
	};
}

int main(int argc, char **argv)
{
	struct list_state state = {.revision = {.epoch = 1, .number = 1}};
	struct snapshot_writer *writer = NULL;
	uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0, number = 0;
	int r;

	if (argc != 3)
		return 64;
	memset(state.ledger_id, 0x11, sizeof(state.ledger_id));
	for (uint32_t i = 0; i < n; i++) {
		const struct entry e = entry_of(host_next(&number));

		digest_add(&state.digest, entry_hash(&e));
		state.count++;
	}
	r = snapshot_create(argv[1], &state, &writer);
	number = 0;
	for (uint32_t i = 0; i < n && r == 0; i++) {
		const struct entry e = entry_of(host_next(&number));

		r = snapshot_add_entry(writer, &e);
	}
	if (r == 0)
		r = snapshot_commit(writer);
	if (r < 0)
		fprintf(stderr, "bench_snapshot: %s\n", strerror(-r));
	return r < 0;
}
