// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/digest.h"

#include "rules/entry.h"
#include "rules/siphash.h"

#include <errno.h>
#include <string.h>

// Public on purpose: both planes, every gateway and every version must agree.
static const uint8_t digest_key[16] = "stanch digest 1";

static void put_le64(uint8_t *to, uint64_t x)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(x >> (8 * i));
}

struct digest entry_hash(const struct entry *e)
{
	const struct indicator *n = &e->indicator;
	uint8_t record[40 + INDICATOR_NAME_MAX];
	uint64_t hash[2];

	record[0] = n->kind;
	record[1] = n->family;
	record[2] = n->prefix_len;
	record[3] = n->proto;
	record[4] = (uint8_t)n->port;
	record[5] = (uint8_t)(n->port >> 8);
	record[6] = n->subtree;
	record[7] = e->scope;
	memcpy(record + 8, n->addr, sizeof(n->addr));
	put_le64(record + 24, (uint64_t)e->enforce_until);
	put_le64(record + 32, (uint64_t)e->monitor_until);
	memcpy(record + 40, n->name, n->name_len);
	siphash128(digest_key, record, 40 + (size_t)n->name_len, hash);
	return (struct digest){.hi = hash[0], .lo = hash[1]};
}

void digest_add(struct digest *d, struct digest hash)
{
	uint64_t lo = d->lo + hash.lo;

	d->hi += hash.hi + (lo < d->lo);
	d->lo = lo;
}

void digest_remove(struct digest *d, struct digest hash)
{
	uint64_t lo = d->lo - hash.lo;

	d->hi -= hash.hi + (lo > d->lo);
	d->lo = lo;
}

bool digest_equal(struct digest a, struct digest b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

void digest_pack(struct digest d, uint8_t octets[static 16])
{
	for (int i = 0; i < 8; i++) {
		octets[i] = (uint8_t)(d.hi >> (56 - 8 * i));
		octets[8 + i] = (uint8_t)(d.lo >> (56 - 8 * i));
	}
}

struct digest digest_unpack(const uint8_t octets[static 16])
{
	struct digest d = {0};

	for (int i = 0; i < 8; i++) {
		d.hi = d.hi << 8 | octets[i];
		d.lo = d.lo << 8 | octets[8 + i];
	}
	return d;
}

void digest_print(struct digest d, char text[DIGEST_TEXT_MAX])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t octets[16];

	digest_pack(d, octets);
	for (int i = 0; i < 16; i++) {
		text[2 * i] = hex[octets[i] >> 4];
		text[2 * i + 1] = hex[octets[i] & 15];
	}
	text[32] = '\0';
}

int digest_parse(const char *text, struct digest *ret_digest)
{
	uint64_t half[2] = {0};

	for (int i = 0; i < 32; i++) {
		char c = text[i];
		uint64_t digit;

		if (c >= '0' && c <= '9')
			digit = (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (uint64_t)(c - 'a' + 10);
		else
			return -EINVAL;
		half[i / 16] = half[i / 16] << 4 | digit;
	}
	if (text[32] != '\0')
		return -EINVAL;
	*ret_digest = (struct digest){.hi = half[0], .lo = half[1]};
	return 0;
}
