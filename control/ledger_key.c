// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/ledger_key.h"

#include <errno.h>
#include <string.h>

enum {
	NAME_EXACT = 1,
	NAME_SUBTREE = 2,
};

static size_t address_len(uint8_t family)
{
	return family == 4 ? 4 : 16;
}

static void key_put(struct ledger_key *key, uint8_t octet)
{
	key->octets[key->len++] = octet;
}

// Labels from the right, so that a name's subdomains follow it.
static void key_put_labels(struct ledger_key *key, const struct indicator *n)
{
	size_t end = n->name_len;

	while (end > 0) {
		size_t start = end;

		while (start > 0 && n->name[start - 1] != '.')
			start--;
		memcpy(key->octets + key->len, n->name + start, end - start);
		key->len = (uint16_t)(key->len + end - start);
		key_put(key, 0);
		end = start > 0 ? start - 1 : 0;
	}
}

void key_pack(const struct indicator *n, struct ledger_key *key)
{
	key->len = 0;
	key_put(key, n->kind);
	if (n->kind == INDICATOR_NAME) {
		key_put_labels(key, n);
		key_put(key, n->subtree ? NAME_SUBTREE : NAME_EXACT);
		return;
	}
	key_put(key, n->family);
	memcpy(key->octets + key->len, n->addr, address_len(n->family));
	key->len = (uint16_t)(key->len + address_len(n->family));
	if (n->kind == INDICATOR_NET) {
		key_put(key, n->prefix_len);
		return;
	}
	key_put(key, n->proto);
	key_put(key, (uint8_t)(n->port >> 8));
	key_put(key, (uint8_t)n->port);
}

static int name_unpack(const uint8_t *at, size_t len, struct indicator *n)
{
	size_t labels = len - 1, to;

	if (len < 3 || labels > INDICATOR_NAME_MAX + 1)
		return -EBADMSG;
	n->subtree = at[labels] == NAME_SUBTREE;
	n->name_len = (uint8_t)(labels - 1);
	to = n->name_len;
	for (size_t from = 0; from < labels;) {
		const uint8_t *end = memchr(at + from, 0, labels - from);
		size_t label = end ? (size_t)(end - at) - from : 0;

		if (!end || label > to)
			return -EBADMSG;
		to -= label;
		memcpy(n->name + to, at + from, label);
		if (to > 0)
			n->name[--to] = '.';
		from += label + 1;
	}
	return to == 0 ? 0 : -EBADMSG;
}

int key_unpack(const void *octets, size_t len, struct indicator *ret_indicator)
{
	const uint8_t *at = octets;
	struct indicator n = {0};
	size_t address;

	if (len < 3)
		return -EBADMSG;
	n.kind = at[0];
	if (n.kind == INDICATOR_NAME) {
		if (name_unpack(at + 1, len - 1, &n) < 0)
			return -EBADMSG;
		*ret_indicator = n;
		return 0;
	}
	n.family = at[1];
	address = address_len(n.family);
	if (len != 2 + address + (n.kind == INDICATOR_NET ? 1u : 3u))
		return -EBADMSG;
	memcpy(n.addr, at + 2, address);
	at += 2 + address;
	if (n.kind == INDICATOR_NET) {
		n.prefix_len = at[0];
	} else {
		n.prefix_len = (uint8_t)(8 * address);
		n.proto = at[0];
		n.port = (uint16_t)(at[1] << 8 | at[2]);
	}
	*ret_indicator = n;
	return 0;
}

static void address_fill(uint8_t *addr, size_t len, unsigned prefix_len)
{
	for (unsigned bit = prefix_len; bit < 8 * len; bit++)
		addr[bit / 8] |= (uint8_t)(0x80 >> (bit % 8));
}

int key_ranges_inside(const struct indicator *n, struct key_range ranges[2])
{
	size_t len = address_len(n->family);

	key_pack(n, &ranges[0].low);
	ranges[0].high = ranges[0].low;
	if (n->kind == INDICATOR_PORT || (n->kind == INDICATOR_NAME && !n->subtree))
		return 1;
	if (n->kind == INDICATOR_NAME) {
		// Past the labels: the name's own two forms, then everything below it.
		ranges[0].low.octets[ranges[0].low.len - 1] = 0;
		ranges[0].high.octets[ranges[0].high.len - 1] = 0xff;
		return 1;
	}
	address_fill(ranges[0].high.octets + 2, len, n->prefix_len);
	ranges[0].high.octets[2 + len] = 0xff;
	ranges[1] = ranges[0];
	ranges[1].low.octets[0] = INDICATOR_PORT;
	ranges[1].low.octets[2 + len] = 0;
	ranges[1].high.octets[0] = INDICATOR_PORT;
	return 2;
}

static bool name_covering(const struct indicator *n, unsigned i, struct indicator *covering)
{
	size_t from = 0;

	// An exact name is covered by itself, then by the subtrees of itself and of its parents.
	if (!n->subtree) {
		if (i == 0) {
			*covering = *n;
			return true;
		}
		i--;
	}
	while (i-- > 0) {
		const char *dot = strchr(n->name + from, '.');

		if (!dot)
			return false;
		from = (size_t)(dot - n->name) + 1;
	}
	*covering = (struct indicator){.kind = INDICATOR_NAME, .subtree = 1};
	covering->name_len = (uint8_t)(n->name_len - from);
	memcpy(covering->name, n->name + from, covering->name_len);
	return true;
}

bool indicator_covering(const struct indicator *n, unsigned i, struct indicator *covering)
{
	unsigned bits;

	if (n->kind == INDICATOR_NAME)
		return name_covering(n, i, covering);
	*covering = *n;
	if (n->kind == INDICATOR_PORT) {
		if (i == 0)
			return true;
		i--;
	}
	if (i >= n->prefix_len)
		return false;
	covering->kind = INDICATOR_NET;
	covering->proto = 0;
	covering->port = 0;
	covering->prefix_len = (uint8_t)(n->prefix_len - i);
	bits = covering->prefix_len;
	for (unsigned octet = 0; octet < sizeof(covering->addr); octet++)
		if (octet * 8 >= bits)
			covering->addr[octet] = 0;
		else if (octet * 8 + 8 > bits)
			covering->addr[octet] &= (uint8_t)(0xff << (octet * 8 + 8 - bits));
	return true;
}
