// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What publishers write, and a page of a list: the first octet chooses. A text is refused with a
// reason, or gives a member whose key names the same indicator; a page is refused, or written
// again it reads the same.

#include "control/list_member.h"
#include "control/lists_page.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void member(const char *text, size_t len, size_t value_len)
{
	struct list_text t;
	const char *reason = NULL;
	struct indicator n;
	struct ledger_key key;

	if (list_text_parse(
		    text, len - value_len, text + len - value_len, value_len, 1000, &t, &reason
	    )
	    < 0) {
		must(reason && reason[0]);
		return;
	}
	must(t.action == 0 || t.action == LIST_ENFORCE || t.action == LIST_MONITOR);
	must(memchr(t.reason, 0, sizeof(t.reason)) && memchr(t.reference, 0, sizeof(t.reference)));
	key_pack(&t.indicator, &key);
	must(key_unpack(key.octets, key.len, &n) == 0 && indicator_equal(&n, &t.indicator));
}

static void page(const uint8_t *data, size_t size)
{
	struct page_writer *w = malloc(sizeof(*w));
	struct page_reader reader, again;
	size_t n = 0;
	int rc = 1;

	must(w != NULL);
	page_clear(w, LIST_PAGE_MAX);
	page_begin(&reader, data, size);
	while ((rc = page_next(&reader)) == 1 && page_add(w, &reader.member))
		n++;
	must(w->n == n);
	page_begin(&again, w->octets, w->len);
	page_begin(&reader, data, size);
	for (size_t i = 0; i < n; i++) {
		must(page_next(&reader) == 1 && page_next(&again) == 1);
		must(key_compare(&reader.member.key, &again.member.key) == 0);
		must(list_member_same(&reader.member, &again.member));
	}
	free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size < 1)
		return 0;
	// Exactly so many octets: reading beyond them is found.
	text = malloc(size);
	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	if (data[0] == 'P')
		page((const uint8_t *)text, size - 1);
	else
		member(text, size - 1, data[0] < size - 1 && data[0] < 128 ? data[0] % size : 0);
	free(text);
	return 0;
}
