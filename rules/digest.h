// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The digest of a list: the sum modulo 2^128 of a 128-bit hash of each entry's whole record.
// The order of the entries does not matter; adding and removing are O(1).
//
// The hash is SipHash-2-4-128 (Aumasson and Bernstein) under a fixed, public key over the record
//   kind family prefix_len proto | port (LE16) subtree scope | addr[16] | enforce_until (LE64)
//   | monitor_until (LE64) | name
// The digest finds differences; it is no defence against somebody who can choose entries at will.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define DIGEST_TEXT_MAX 33 // 32 hexadecimal digits and a NUL

struct entry;

struct digest {
	uint64_t hi, lo;
};

struct digest entry_hash(const struct entry *);

void digest_add(struct digest *, struct digest entry_hash);
void digest_remove(struct digest *, struct digest entry_hash);
bool digest_equal(struct digest, struct digest);

void digest_print(struct digest, char text[DIGEST_TEXT_MAX]);
int digest_parse(const char *text, struct digest *ret_digest); // -EINVAL

// 16 octets, big-endian: the form on the link and in the ledger.
void digest_pack(struct digest, uint8_t octets[static 16]);
struct digest digest_unpack(const uint8_t octets[static 16]);
