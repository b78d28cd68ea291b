// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lines of deny.rules: refused with a column, or a statement whose print parses to the same.

#include "rules/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void check(const struct statement *s)
{
	struct statement again;
	struct text_error error;
	char line[TEXT_LINE_MAX];
	size_t len;

	if (s->kind == STATEMENT_NONE)
		return;
	len = s->kind == STATEMENT_ENTRY ? entry_print(&s->entry, line)
					 : exception_print(&s->exception, line);
	must(len < sizeof(line) && strlen(line) == len);
	must(statement_parse(line, len, &again, &error) == 0);
	must(memcmp(s, &again, sizeof(again)) == 0);
}

static void line_read(const char *line, size_t len)
{
	struct statement s;
	struct text_error error = {0};

	if (statement_parse(line, len, &s, &error) == 0)
		check(&s);
	else
		must(error.column >= 1 && error.column <= len + 1 && error.reason[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	while (size) {
		const uint8_t *newline = memchr(data, '\n', size);
		size_t len = newline ? (size_t)(newline - data) : size;
		char *line = malloc(len ? len : 1);

		if (!line)
			return 0;
		memcpy(line, data, len);
		line_read(line, len);
		free(line);
		data += newline ? len + 1 : len;
		size -= newline ? len + 1 : len;
	}
	return 0;
}
