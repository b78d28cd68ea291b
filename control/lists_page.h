// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A page of a list: its members in the order of their keys, one behind the other.
//
//   shared  varint   octets that the key has in common with the one before it (first: 0)
//   rest    varint   octets that follow
//   octets           the rest of the key (control/ledger_key.h)
//   flags   u8       what the member does (LIST_ENFORCE, LIST_MONITOR), LIST_HAS_UNTIL
//   attr    varint   index into the table of attributes
//   until   varint   seconds since the epoch, where LIST_HAS_UNTIL
//
// A member of an IPv4 list without expiry takes 6 to 9 octets. Varints: 7 bits an octet, low first.
// Thread: any; nothing here keeps state.

#pragma once

#include "control/ledger_key.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIST_PAGE_MAX 16384 // octets at which a page is full; the format allows 64 KiB

#define LIST_ENFORCE 1u
#define LIST_MONITOR 2u
#define LIST_ACTIONS (LIST_ENFORCE | LIST_MONITOR)
#define LIST_REFUSED 0u // neither: kept so that it is refused once, not with each reading
#define LIST_HAS_UNTIL 4u

struct list_member {
	struct ledger_key key;
	uint8_t actions; // LIST_ENFORCE, LIST_MONITOR
	uint32_t attr;
	int64_t until; // UNTIL_FOREVER: none
};

bool list_member_same(const struct list_member *, const struct list_member *);
int key_compare(const struct ledger_key *, const struct ledger_key *); // as memcmp

struct page_reader {
	const uint8_t *at, *end;
	struct list_member member; // the last one read
};

void page_begin(struct page_reader *, const void *octets, size_t len);
// 1: reader->member is the next one; 0: the end; -EBADMSG: the page is damaged.
int page_next(struct page_reader *);

struct page_writer {
	size_t len;
	size_t limit; // octets at which it counts as full, at most LIST_PAGE_MAX
	uint32_t n;
	int64_t min_until; // UNTIL_FOREVER where no member has an end
	struct ledger_key first, last;
	uint8_t octets[LIST_PAGE_MAX + 512];
};

void page_clear(struct page_writer *, size_t limit);
// Members in the order of their keys. False: the page is full, and unchanged.
bool page_add(struct page_writer *, const struct list_member *);

// What a key adds to the one before it: shared, rest, octets; at most LEDGER_KEY_MAX + 4.
size_t key_delta_write(uint8_t *to, const struct ledger_key *before, const struct ledger_key *key);
// `key` holds the one before it. The octets it took; 0: damaged.
size_t key_delta_read(const uint8_t *from, const uint8_t *end, struct ledger_key *key);

size_t varint_write(uint8_t *to, uint64_t value); // at most 10 octets
// The octets it took; 0: cut short or longer than 64 bits.
size_t varint_read(const uint8_t *from, const uint8_t *end, uint64_t *ret_value);
