// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/tidy.h"

#include "dataplane/table.h"

void tidy_begin(struct tidy *y)
{
	y->running = true;
	y->line = 0;
}

bool tidy_move(struct tidy *y, struct table *t, unsigned lines)
{
	const struct match *m = table_match(t);
	uint32_t end = match_lines(m), rules[MATCH_LINE_RULES];

	for (; lines && y->line < end && y->n + MATCH_LINE_RULES <= TIDY_MOVES;
	     y->line++, lines--) {
		unsigned n = match_line(m, y->line, rules);

		for (unsigned i = 0; i < n; i++) {
			if (table_move(t, rules[i]))
				y->from[y->n++] = rules[i];
		}
	}
	y->running = y->line < end;
	return y->n > 0;
}

void tidy_done(struct tidy *y, struct table *t)
{
	for (unsigned i = 0; i < y->n; i++)
		table_moved(t, y->from[i]);
	y->n = 0;
}
