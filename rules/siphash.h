// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012).
// Own code: libcrypto offers it only behind EVP_MAC, at ten times the cost of the hash itself.
// Pure: no allocation, no state, usable from any thread.

#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t siphash64(const uint8_t key[static 16], const void *data, size_t len);

// The same 64-bit hash of octets given piece by piece.
struct siphash {
	uint64_t v[4];
	uint64_t len;
	uint8_t rest[8]; // len % 8 octets not yet taken in
};

void siphash_begin(struct siphash *, const uint8_t key[static 16]);
void siphash_update(struct siphash *, const void *data, size_t len);
uint64_t siphash_end(const struct siphash *);

void siphash128(const uint8_t key[static 16], const void *data, size_t len, uint64_t ret_hash[2]);
