// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/lists_page.h"

#include "rules/entry.h"

#include <errno.h>
#include <string.h>

// shared, rest, flags, attr, until beside the key
#define RECORD_MAX (LEDGER_KEY_MAX + 2 + 2 + 1 + 5 + 10)

int key_compare(const struct ledger_key *a, const struct ledger_key *b)
{
	size_t len = a->len < b->len ? a->len : b->len;
	int order = memcmp(a->octets, b->octets, len);

	return order ? order : (int)a->len - (int)b->len;
}

bool list_member_same(const struct list_member *a, const struct list_member *b)
{
	return a->actions == b->actions && a->attr == b->attr && a->until == b->until;
}

size_t varint_write(uint8_t *to, uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		to[n++] = (uint8_t)(value | 0x80);
	to[n++] = (uint8_t)value;
	return n;
}

size_t varint_read(const uint8_t *from, const uint8_t *end, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (size_t n = 0; n < 10 && from + n < end; n++) {
		value |= (uint64_t)(from[n] & 0x7f) << (7 * n);
		if (from[n] & 0x80)
			continue;
		*ret_value = value;
		return n + 1;
	}
	return 0;
}

size_t key_delta_write(uint8_t *to, const struct ledger_key *before, const struct ledger_key *key)
{
	size_t shared = 0, n;

	while (shared < before->len && shared < key->len
	       && before->octets[shared] == key->octets[shared])
		shared++;
	n = varint_write(to, shared);
	n += varint_write(to + n, key->len - shared);
	memcpy(to + n, key->octets + shared, key->len - shared);
	return n + key->len - shared;
}

size_t key_delta_read(const uint8_t *from, const uint8_t *end, struct ledger_key *key)
{
	uint64_t shared, rest;
	size_t n = varint_read(from, end, &shared), m;

	if (n == 0 || shared > key->len)
		return 0;
	m = varint_read(from + n, end, &rest);
	n += m;
	if (m == 0 || rest > LEDGER_KEY_MAX - shared || rest > (size_t)(end - from) - n)
		return 0;
	memcpy(key->octets + shared, from + n, rest);
	key->len = (uint16_t)(shared + rest);
	return n + rest;
}

void page_begin(struct page_reader *r, const void *octets, size_t len)
{
	r->at = octets;
	r->end = r->at + len;
	r->member.key.len = 0;
}

static bool take(struct page_reader *r, uint64_t max, uint64_t *ret_value)
{
	size_t n = varint_read(r->at, r->end, ret_value);

	r->at += n;
	return n > 0 && *ret_value <= max;
}

int page_next(struct page_reader *r)
{
	struct list_member *m = &r->member;
	uint64_t attr, until = 0;
	uint8_t flags;
	size_t n;

	if (r->at == r->end)
		return 0;
	n = key_delta_read(r->at, r->end, &m->key);
	r->at += n;
	if (n == 0 || r->at == r->end)
		return -EBADMSG;
	flags = *r->at++;
	if (!take(r, UINT32_MAX, &attr))
		return -EBADMSG;
	if ((flags & LIST_HAS_UNTIL) && !take(r, INT64_MAX, &until))
		return -EBADMSG;
	m->actions = flags & LIST_ACTIONS;
	m->attr = (uint32_t)attr;
	m->until = flags & LIST_HAS_UNTIL ? (int64_t)until : UNTIL_FOREVER;
	return 1;
}

void page_clear(struct page_writer *w, size_t limit)
{
	w->limit = limit < LIST_PAGE_MAX ? limit : LIST_PAGE_MAX;
	w->len = 0;
	w->n = 0;
	w->min_until = UNTIL_FOREVER;
	w->last.len = 0;
}

bool page_add(struct page_writer *w, const struct list_member *m)
{
	uint8_t *at = w->octets + w->len;
	bool ends = m->until != UNTIL_FOREVER;

	if (w->n && w->len + RECORD_MAX > w->limit)
		return false;
	at += key_delta_write(at, &w->last, &m->key);
	*at++ = (uint8_t)(m->actions | (ends ? LIST_HAS_UNTIL : 0));
	at += varint_write(at, m->attr);
	if (ends)
		at += varint_write(at, (uint64_t)m->until);
	if (ends && m->until < w->min_until)
		w->min_until = m->until;
	if (w->n++ == 0)
		w->first = m->key;
	w->last = m->key;
	w->len = (size_t)(at - w->octets);
	return true;
}
