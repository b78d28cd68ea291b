// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A sortable form of an indicator: what lies inside an indicator lies in one range of keys.
//
//   network  01 family address prefix_len
//   port     02 family address proto port (BE16)
//   name     03 labels from the right, each ended by 00, then 01 (exact) or 02 (subtree)
//
// Address: 4 or 16 octets in network order. Thread: any.

#pragma once

#include "rules/indicator.h"

#define LEDGER_KEY_MAX 260
#define LEDGER_KEYS_COVERING 258 // a port entry of IPv6, 128 prefixes; names: 127 labels

struct ledger_key {
	uint16_t len;
	uint8_t octets[LEDGER_KEY_MAX];
};

void key_pack(const struct indicator *, struct ledger_key *ret_key);
int key_unpack(const void *octets, size_t len, struct indicator *ret_indicator); // -EBADMSG

// Keys of the indicators that lie inside this one: low <= key <= high. A network has a second
// range, for its port entries. Returns how many ranges (1 or 2).
struct key_range {
	struct ledger_key low, high;
};
int key_ranges_inside(const struct indicator *, struct key_range ret_ranges[2]);

// The `i`th indicator that covers this one, from the indicator itself outward; false past the end.
bool indicator_covering(const struct indicator *, unsigned i, struct indicator *ret_covering);
