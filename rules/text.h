// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The text of `deny.rules`, a line at a time.
//
//   # a comment; also after a statement
//   203.0.113.7                                   enforce, no end
//   203.0.113.0/24 until=2026-12-01T00:00:00Z     enforce, with an end
//   2001:db8::/48 monitor                         monitor only, no end
//   tcp/203.0.113.7:443 monitor monitor-until=…   monitor only, with an end
//   evil.example until=never monitor-until=…      both actions
//   except protect 192.0.2.0/24
//   except allow 203.0.113.9 until=2026-11-24T12:00:00Z
//
// Words: monitor, until=T, monitor-until=T, scope=all. T is RFC 3339 UTC with whole seconds, or
// "never". A byte-order mark on the first line and a CR before LF are accepted and dropped.

#pragma once

#include "rules/entry.h"

#define TEXT_LINE_MAX 1024

enum statement_kind {
	STATEMENT_NONE, // blank or a comment
	STATEMENT_ENTRY,
	STATEMENT_EXCEPTION,
};

struct statement {
	enum statement_kind kind;
	struct entry entry;
	struct exception exception;
};

struct text_error {
	char file[256];
	size_t line; // from 1; 0: the file as a whole
	size_t column; // from 1; 0: the line as a whole
	char reason[192];
};

// Parse one line without its newline. -EINVAL: `ret_error` has column and reason (not file, line).
int statement_parse(
	const char *line, size_t len, struct statement *ret_statement, struct text_error *ret_error
);

// Canonical line without newline; returns its length (less than TEXT_LINE_MAX).
size_t entry_print(const struct entry *, char line[TEXT_LINE_MAX]);
size_t exception_print(const struct exception *, char line[TEXT_LINE_MAX]);

// RFC 3339 "2026-11-24T12:00:00Z" or "never".
int until_parse(const char *text, size_t len, int64_t *ret_until);
void until_print(int64_t until, char text[24]);

// "15m", "4h", "7d", "30s" or plain seconds, 1 s to 10 years. -EINVAL.
int duration_parse(const char *text, size_t len, int64_t *ret_seconds);

// Where the statements of a file go. Each returns 0 or -errno; -errno ends the reading.
struct statement_sink {
	int (*entry)(void *ctx, const struct entry *);
	int (*exception)(void *ctx, const struct exception *);
	void *ctx;
};

// Read a file written by hand: statements only, or a whole snapshot (its header and closing line
// are then verified). -EINVAL with file:line:column, or -errno of the system.
int rules_read(const char *path, const struct statement_sink *, struct text_error *ret_error);

// "file:line:column: reason", the parts that are known.
void text_error_print(const struct text_error *, char *text, size_t size);
