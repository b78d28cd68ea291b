// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What passes, roughly: one packet in 64 of each worker, to estimate what a block would cut.
//
// A worker copies a sampled packet's remote end into a single-producer ring, never waiting; a full
// ring loses the sample, counted. The gap to the next sample is drawn from 1 to 127, so that no
// rhythm of the traffic hides from it, and is counted over bursts: a burst without a sample costs
// one subtraction (worker.c). The control thread drains the rings into two tables of fixed size,
// the running period's and the one before it: what is told reaches back one to two periods.
//
// Memory: 128 KiB a worker, 1 MiB for the tables; nothing is allocated after sketch_create.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SKETCH_RATE 64 // packets a sample stands for
#define SKETCH_PERIOD_MS (450 * 1000) // 7.5 minutes
#define SKETCH_CELLS (2 * 1024 * 8) // of both periods

struct sketch_sample {
	// On half a line: one store of it never touches two.
	_Alignas(32) uint8_t addr[16]; // the judged one: outward the destination, inward the
				       // source; network order
	uint8_t family; // 4 or 6
	uint8_t proto;
	bool inward;
	uint8_t pad;
	uint16_t port; // of that address, host byte order; 0: none
	uint16_t pad2;
	uint32_t bytes;
};

// What one remote end carried in one period. A line of the processor.
struct sketch_cell {
	struct sketch_sample key; // its bytes: of one sample, not read
	uint64_t bytes; // of the samples
	uint64_t squares; // of each sample's octets: how much `bytes` may be off
	int64_t last_ms;
	uint32_t samples; // 0: free
};

// What the tables reach back to, and all that was sampled since.
struct sketch_window {
	int64_t ms;
	uint64_t samples, bytes; // what was lost in a ring is not in `bytes`
	uint64_t lost; // samples without room, in a ring or a table: of any remote end
};

struct sketch_ask {
	uint8_t addr[16];
	uint8_t family, prefix_len;
	uint8_t proto; // 0: any protocol and port
	uint16_t port;
};

struct sketch;

// `seed` keys the tables' buckets and the gaps. 0 or -ENOMEM.
int sketch_create(unsigned workers, uint64_t seed, struct sketch **ret_sketch);
void sketch_free(struct sketch *);

// Worker `index` only; neither blocks nor allocates. The gap from one sampled packet to the next,
// 1 for the packet right after it.
unsigned sketch_gap(struct sketch *, unsigned index);
void sketch_add(struct sketch *, unsigned index, const struct sketch_sample *);

// Control thread. Times are of a clock that is not set, in milliseconds and above 0. Returns
// samples taken.
size_t sketch_drain(struct sketch *, int64_t now_ms);
void sketch_window(const struct sketch *, int64_t now_ms, struct sketch_window *ret_window);
// The cells of what is asked for, NULL: of everything; a remote end has up to two in each
// direction.
typedef void (*sketch_cb)(void *ctx, const struct sketch_cell *);
void sketch_each(const struct sketch *, const struct sketch_ask *, sketch_cb, void *ctx);
