// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What lists have, as text, to be compared.

#pragma once

#include "control/lists_internal.h"
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline int list_names(struct lists *ls, char names[LISTS_MAX][LIST_NAME_MAX + 1])
{
	struct list_status s;
	int n = 0;

	for (size_t i = 0; lists_status(ls, i, &s); i++)
		if (s.members > 0)
			snprintf(names[n++], LIST_NAME_MAX + 1, "%s", s.name);
	qsort(names, (size_t)n, LIST_NAME_MAX + 1, (int (*)(const void *, const void *))strcmp);
	return n;
}

// Members with attributes; those without effect too.
static inline void members_print(struct lists *ls, uint32_t id, FILE *out)
{
	struct list_cursor c;
	sqlite3_stmt *attr;
	int r;

	assert_int_equal(
		lists_db_prepare(
			&ls->db, "SELECT action, reason, reference FROM attrs WHERE id=?1", &attr
		),
		0
	);
	cursor_init(&c, &ls->db, id);
	while ((r = cursor_next(&c)) == 1) {
		const struct list_member *m = cursor_member(&c);
		char text[INDICATOR_TEXT_MAX];
		struct indicator n;

		assert_int_equal(key_unpack(m->key.octets, m->key.len, &n), 0);
		indicator_print(&n, text);
		sqlite3_bind_int64(attr, 1, m->attr);
		assert_int_equal(sqlite3_step(attr), SQLITE_ROW);
		fprintf(out,
			"%s %d %lld %d %s %s\n",
			text,
			m->actions,
			(long long)m->until,
			sqlite3_column_int(attr, 0),
			sql_text(attr, 1),
			sql_text(attr, 2));
		sqlite3_reset(attr);
	}
	assert_int_equal(r, 0);
	cursor_fini(&c);
	sqlite3_finalize(attr);
}

static inline char *lists_print(struct lists *ls)
{
	static char names[LISTS_MAX][LIST_NAME_MAX + 1];
	int n = list_names(ls, names);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	for (int i = 0; i < n; i++) {
		struct list_status s;

		assert_true(lists_find(ls, names[i], &s));
		fprintf(out, "[%s] %llu\n", s.name, (unsigned long long)s.members);
		members_print(ls, s.id, out);
	}
	fclose(out);
	return text;
}
