// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Records of the link, from the first octet on: refused, or written back octet for octet but for
// padding.

#include "rules/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void indicator_check(const struct indicator *n)
{
	struct indicator again;
	struct indicator_error error;
	char text[INDICATOR_TEXT_MAX];
	size_t len = indicator_print(n, text);

	must(indicator_parse(text, len, &again, &error) == 0);
	must(memcmp(&again, n, sizeof(again)) == 0);
}

static void entries_read(const uint8_t *data, size_t size)
{
	uint8_t out[512];

	while (size) {
		struct entry e, again;
		enum wire_op op, op_again;
		int n = wire_entry_read(data, size, &op, &e);

		if (n < 0)
			return;
		must((size_t)n <= size && n > 0);
		indicator_check(&e.indicator);
		must(wire_entry_write(out, sizeof(out), op, &e) == n);
		must(wire_entry_read(out, (size_t)n, &op_again, &again) == n);
		must(op == op_again && memcmp(&e, &again, sizeof(e)) == 0);
		data += n;
		size -= (size_t)n;
	}
}

static void exceptions_read(const uint8_t *data, size_t size)
{
	uint8_t out[512];

	while (size) {
		struct exception x;
		int n = wire_exception_read(data, size, &x);

		if (n < 0)
			return;
		must((size_t)n <= size && n > 0);
		indicator_check(&x.indicator);
		must(wire_exception_write(out, sizeof(out), &x) == n);
		data += n;
		size -= (size_t)n;
	}
}

static void preview_read(const uint8_t *data, size_t size)
{
	struct wire_preview_answer a;
	struct wire_preview_end end;
	struct indicator n;
	bool all;

	if (wire_preview_read(data, size, &all, &n) == 0 && !all)
		indicator_check(&n);
	if (wire_preview_end_read(data, size, 0, &end) < 0)
		return;
	memcpy(&a, data, sizeof(a));
	for (uint32_t i = 0; i < a.n; i++)
		(void)wire_preview_end_read(data, size, i, &end);
	must(wire_preview_end_read(data, size, a.n, &end) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct indicator n;
	// Exactly so many octets, and aligned.
	uint8_t *copy = calloc(1, size ? size : 1);
	int len;

	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	if (wire_header_check(copy, size) == 0)
		must(wire_fixed_size(((const struct wire_header *)copy)->type) <= size);
	entries_read(copy, size);
	exceptions_read(copy, size);
	preview_read(copy, size);
	len = wire_indicator_read(copy, size, &n);
	if (len > 0)
		indicator_check(&n);
	free(copy);
	return 0;
}
