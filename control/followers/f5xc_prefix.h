// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A prefix in the small form in which the mirror compares thousands of them, and a network without
// the parts that are allowed. Of one family, which the caller knows.
//
// Thread: any; pure.

#pragma once

#include "rules/indicator.h"

struct f5xc_prefix {
	uint8_t addr[16]; // network byte order; IPv4 in the first four octets, the rest 0
	uint8_t len; // bits
};

// Of a network, or of the address of a port entry.
struct f5xc_prefix f5xc_prefix_of(const struct indicator *);
struct indicator f5xc_prefix_indicator(const struct f5xc_prefix *, int family);
// "203.0.113.7/32": the text of the API.
void f5xc_prefix_print(const struct f5xc_prefix *, int family, char text[INDICATOR_TEXT_MAX]);
// Order by address, the wider first; for qsort and bsearch, also of structs that begin with a
// prefix.
int f5xc_prefix_compare(const void *a, const void *b);
bool f5xc_prefix_covers(const struct f5xc_prefix *outer, const struct f5xc_prefix *inner);
// Index of the first element that is not before `at`; the elements of `size` octets begin with a
// prefix.
size_t f5xc_prefix_bound(const void *sorted, size_t n, size_t size, const struct f5xc_prefix *at);

// Sorts, and drops those that another covers. Returns how many are left.
size_t f5xc_holes_tidy(struct f5xc_prefix *holes, size_t n);

// `from` without the holes (tidied), in order. 0, or -E2BIG where more than `max` pieces would be
// needed; the count is 0 where nothing is left. ret_holes: how many holes lie in it or over it,
// the first of them in ret_first where there is one.
int f5xc_cut(
	const struct f5xc_prefix *from,
	const struct f5xc_prefix *holes,
	size_t n_holes,
	struct f5xc_prefix *pieces,
	size_t max,
	size_t *ret_n,
	size_t *ret_holes,
	struct f5xc_prefix *ret_first
);
