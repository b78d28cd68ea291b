// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Any text: refused with a place and a reason, or an indicator whose print parses to an equal one.

#include "rules/indicator.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void check(const struct indicator *n)
{
	struct indicator again;
	struct indicator_error error;
	char text[INDICATOR_TEXT_MAX];
	size_t len = indicator_print(n, text);

	must(len < sizeof(text) && strlen(text) == len);
	must(indicator_parse(text, len, &again, &error) == 0);
	must(memcmp(n, &again, sizeof(again)) == 0);
	must(indicator_covers(n, &again) && indicator_equal(n, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct indicator n;
	struct indicator_error error;
	uint16_t port = 0;
	bool path = false;
	// Exactly so many octets: reading beyond them is found.
	char *text = malloc(size ? size : 1);

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	if (indicator_parse(text, size, &n, &error) == 0)
		check(&n);
	else
		must(error.column >= 1 && error.column <= size + 1 && error.reason[0]);
	if (indicator_parse_url(text, size, &n, &port, &path, &error) == 0) {
		check(&n);
		must(n.kind != INDICATOR_PORT && !n.subtree);
	} else {
		must(error.column >= 1 && error.column <= size + 1 && error.reason[0]);
	}
	free(text);
	return 0;
}
