// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct f5xc_prefix f5xc_prefix_of(const struct indicator *n)
{
	struct f5xc_prefix p = {.len = n->prefix_len};

	if (n->kind == INDICATOR_PORT)
		p.len = n->family == 4 ? 32 : 128;
	memcpy(p.addr, n->addr, sizeof(p.addr));
	return p;
}

struct indicator f5xc_prefix_indicator(const struct f5xc_prefix *p, int family)
{
	struct indicator n = {
		.kind = INDICATOR_NET,
		.family = (uint8_t)family,
		.prefix_len = p->len,
	};

	memcpy(n.addr, p->addr, sizeof(n.addr));
	return n;
}

void f5xc_prefix_print(const struct f5xc_prefix *p, int family, char text[INDICATOR_TEXT_MAX])
{
	const struct indicator n = f5xc_prefix_indicator(p, family);
	size_t len = indicator_print(&n, text);

	if (p->len == (family == 4 ? 32 : 128))
		memcpy(text + len, family == 4 ? "/32" : "/128", family == 4 ? 4 : 5);
}

int f5xc_prefix_compare(const void *a, const void *b)
{
	const struct f5xc_prefix *x = a, *y = b;
	int by_addr = memcmp(x->addr, y->addr, sizeof(x->addr));

	return by_addr ? by_addr : (x->len > y->len) - (x->len < y->len);
}

bool f5xc_prefix_covers(const struct f5xc_prefix *outer, const struct f5xc_prefix *inner)
{
	unsigned octets = outer->len / 8, bits = outer->len % 8;

	if (outer->len > inner->len || memcmp(outer->addr, inner->addr, octets) != 0)
		return false;
	return bits == 0 || (outer->addr[octets] ^ inner->addr[octets]) >> (8 - bits) == 0;
}

size_t f5xc_prefix_bound(const void *sorted, size_t n, size_t size, const struct f5xc_prefix *at)
{
	size_t low = 0;

	while (n > 0) {
		size_t half = n / 2;

		if (f5xc_prefix_compare((const char *)sorted + (low + half) * size, at) < 0) {
			low += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return low;
}

size_t f5xc_holes_tidy(struct f5xc_prefix *holes, size_t n)
{
	size_t kept = 0;

	if (n > 1)
		qsort(holes, n, sizeof(*holes), f5xc_prefix_compare);
	for (size_t i = 0; i < n; i++) {
		// What covers it stands before it, and nothing between them covers less.
		if (kept == 0 || !f5xc_prefix_covers(&holes[kept - 1], &holes[i]))
			holes[kept++] = holes[i];
	}
	return kept;
}

struct cut {
	struct f5xc_prefix *pieces;
	size_t n, max;
};

// The holes given lie in `p` or are one that covers it. Depth: bits of the family.
static int
cut(struct cut *c, const struct f5xc_prefix *p, const struct f5xc_prefix *holes, size_t n)
{
	struct f5xc_prefix low = *p, high = *p;
	size_t split;
	int rc;

	if (n == 0) {
		if (c->n == c->max)
			return -E2BIG;
		c->pieces[c->n++] = *p;
		return 0;
	}
	if (f5xc_prefix_covers(&holes[0], p))
		return 0;
	low.len++;
	high.len++;
	high.addr[p->len / 8] |= (uint8_t)(0x80 >> p->len % 8);
	split = f5xc_prefix_bound(holes, n, sizeof(*holes), &high);
	rc = cut(c, &low, holes, split);
	return rc < 0 ? rc : cut(c, &high, holes + split, n - split);
}

int f5xc_cut(
	const struct f5xc_prefix *from,
	const struct f5xc_prefix *holes,
	size_t n_holes,
	struct f5xc_prefix *pieces,
	size_t max,
	size_t *ret_n,
	size_t *ret_holes,
	struct f5xc_prefix *ret_first
)
{
	size_t first = f5xc_prefix_bound(holes, n_holes, sizeof(*holes), from), end = first;
	struct cut c = {.pieces = pieces, .max = max};
	int rc;

	if (first > 0 && f5xc_prefix_covers(&holes[first - 1], from))
		end = first--;
	else
		while (end < n_holes && f5xc_prefix_covers(from, &holes[end]))
			end++;
	rc = cut(&c, from, holes + first, end - first);
	*ret_holes = end - first;
	if (end > first)
		*ret_first = holes[first];
	*ret_n = rc < 0 ? 0 : c.n;
	return rc;
}
