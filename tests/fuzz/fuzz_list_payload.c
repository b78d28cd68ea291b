// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What gateways tell each other of a list: refused, or written again it reads the same.

#include "control/lists_payload.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static bool text_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static void head_same(const struct payload_head *a, const struct payload_head *b)
{
	must(a->flags == b->flags && strcmp(a->name, b->name) == 0 && a->synced == b->synced);
	must(a->peak_hour == b->peak_hour && memcmp(a->peaks, b->peaks, sizeof(a->peaks)) == 0);
	must(a->index == b->index && key_compare(&a->after, &b->after) == 0);
}

static void again(const uint8_t *data, size_t size, const void *octets, size_t len)
{
	struct payload_reader a, b;
	int r;

	must(payload_begin(&a, data, size) == 0 && payload_begin(&b, octets, len) == 0);
	head_same(&a.head, &b.head);
	while ((r = payload_next(&a)) == 1) {
		const struct payload_attr *x, *y;
		struct indicator n;

		must(payload_next(&b) == 1 && a.put == b.put);
		must(key_compare(&a.member.key, &b.member.key) == 0);
		must(key_unpack(a.member.key.octets, a.member.key.len, &n) == 0);
		if (!a.put)
			continue;
		must(a.member.actions == b.member.actions && a.member.until == b.member.until);
		must(a.member.attr < a.n_attrs && b.member.attr < b.n_attrs);
		x = &a.attrs[a.member.attr];
		y = &b.attrs[b.member.attr];
		must(x->actions == y->actions
		     && text_same(x->reason, x->reason_len, y->reason, y->reason_len)
		     && text_same(x->reference, x->reference_len, y->reference, y->reference_len));
	}
	must(r == 0 && payload_next(&b) == 0);
	payload_fini(&a);
	payload_fini(&b);
}

static void payload(const uint8_t *data, size_t size)
{
	struct payload_writer *w = malloc(sizeof(*w));
	struct payload_reader reader;
	const void *octets;
	size_t len;
	int r = 1;

	must(w != NULL);
	if (payload_begin(&reader, data, size) == 0) {
		bool room = true;

		payload_clear(w, &reader.head, UINT32_MAX);
		while (room && (r = payload_next(&reader)) == 1)
			room = payload_add(
				w,
				&reader.member,
				reader.put,
				reader.put ? &reader.attrs[reader.member.attr] : NULL
			);
		octets = payload_end(w, &len);
		must(len <= PAYLOAD_MAX);
		if (r == 0)
			again(data, size, octets, len);
		payload_fini(&reader);
	}
	free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	// Exactly so many octets: reading beyond them is found.
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	payload(copy, size);
	free(copy);
	return 0;
}
