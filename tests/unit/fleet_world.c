// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/unit/fleet_world.h"

static const char *const tables[] = {
	"SELECT 'claim', s.name, c.ref, hex(c.key), c.action, c.state, c.created, c.until,"
	" c.orphaned_since, c.tlp, c.author, c.inferred, c.reason, c.case_number,"
	" (SELECT h.shrink FROM held h WHERE h.id = c.held), c.fleet"
	" FROM claims c JOIN sources s ON s.id = c.source ORDER BY 2, 3, 4",
	"SELECT 'entry', hex(key), enforce, monitor FROM entries ORDER BY key",
	"SELECT 'allow', hex(key), created, until, author, reason, fleet FROM allows ORDER BY key",
	"SELECT 'protection', hex(key), reason, author, created, fleet FROM protections"
	" ORDER BY key",
	"SELECT 'immunity', s.name, i.ref, hex(i.key), i.created, i.until, i.author, i.reason"
	" FROM immunities i JOIN sources s ON s.id = i.source ORDER BY 2, 3, 4",
	"SELECT 'held', s.name, h.shrink, h.n, h.why, h.since FROM held h"
	" JOIN sources s ON s.id = h.source ORDER BY 2, 3",
	"SELECT 'fleet', epoch, number, hex(mac), seen, up, pause_until, resync, count,"
	" hex(digest), end_number FROM fleet",
	"SELECT 'tally', count, hex(digest), claims, orphaned, held, allows, enforce, monitor,"
	" names FROM state",
	"SELECT 'source', name, claims FROM sources WHERE claims > 0 ORDER BY name",
};

static void ledger_dump(struct ledger *l, char **ret_text, size_t *ret_size)
{
	FILE *to = open_memstream(ret_text, ret_size);

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		sqlite3_stmt *stmt;

		assert_int_equal(sql_prepare(l, tables[i], &stmt), 0);
		while (sqlite3_step(stmt) == SQLITE_ROW) {
			for (int c = 0; c < sqlite3_column_count(stmt); c++)
				fprintf(to, "%s|", sql_text(stmt, c));
			fprintf(to, "\n");
		}
		sqlite3_finalize(stmt);
	}
	fclose(to);
}

static void line_print(const char *sign, const char *line)
{
	print_error("%s %.*s\n", sign, (int)strcspn(line, "\n"), line);
}

// Lines of one that the other lacks.
static bool lines_missing(const char *sign, const char *in, const char *from)
{
	bool missing = false;

	for (const char *line = in; *line; line += strcspn(line, "\n") + 1) {
		char text[4096];

		snprintf(text, sizeof(text), "%.*s\n", (int)strcspn(line, "\n"), line);
		if (strstr(from, text))
			continue;
		line_print(sign, line);
		missing = true;
	}
	return missing;
}

bool ledgers_same(struct ledger *a, struct ledger *b)
{
	char *first, *other;
	size_t size;
	bool missing;

	ledger_dump(a, &first, &size);
	ledger_dump(b, &other, &size);
	missing = lines_missing("-", first, other);
	missing |= lines_missing("+", other, first);
	free(first);
	free(other);
	return !missing;
}
