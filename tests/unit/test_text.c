// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The text of deny.rules: statements, ends, places of errors, whole files.

#include "rules/text.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int parse(const char *line, struct statement *s, struct text_error *error)
{
	*error = (struct text_error){0};
	return statement_parse(line, strlen(line), s, error);
}

static void test_statements(void **state)
{
	static const struct {
		const char *line, *want;
	} cases[] = {
		{"203.0.113.7", "203.0.113.7"},
		{"  203.0.113.7\t# why\r", "203.0.113.7"},
		{"203.0.113.7 scope=all until=never", "203.0.113.7"},
		{"203.0.113.0/24 until=2026-12-01T00:00:00Z",
		 "203.0.113.0/24 until=2026-12-01T00:00:00Z"},
		{"2001:db8::/48 monitor", "2001:db8::/48 monitor"},
		{"tcp/203.0.113.7:443 monitor monitor-until=2026-12-01T00:00:00Z",
		 "tcp/203.0.113.7:443 monitor monitor-until=2026-12-01T00:00:00Z"},
		{"evil.example until=never monitor-until=2028-02-29T23:59:59Z",
		 "evil.example monitor-until=2028-02-29T23:59:59Z"},
		{"evil.example until=2028-02-29T23:59:59Z monitor-until=never",
		 "evil.example until=2028-02-29T23:59:59Z monitor-until=never"},
		{"except protect 192.0.2.0/24", "except protect 192.0.2.0/24"},
		{"except allow 203.0.113.9 until=2026-11-24T12:00:00Z",
		 "except allow 203.0.113.9 until=2026-11-24T12:00:00Z"},
		{"\xef\xbb\xbf"
		 "EVIL.example",
		 "evil.example"},
		{"", NULL},
		{"   ", NULL},
		{"# 203.0.113.7", NULL},
		{"#", NULL},
		{"\r", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct statement s;
		struct text_error error;
		char line[TEXT_LINE_MAX];

		if (parse(cases[i].line, &s, &error) < 0)
			fail_msg("%s: %zu: %s", cases[i].line, error.column, error.reason);
		if (!cases[i].want) {
			assert_int_equal(s.kind, STATEMENT_NONE);
			continue;
		}
		if (s.kind == STATEMENT_ENTRY)
			entry_print(&s.entry, line);
		else
			exception_print(&s.exception, line);
		assert_string_equal(line, cases[i].want);
	}
}

static void test_errors(void **state)
{
	static const struct {
		const char *line;
		size_t column;
		const char *reason;
	} cases[] = {
		{"203.0.113.7 monitr", 13, "unknown word"},
		{"203.0.113.7 until=tomorrow", 19, "RFC 3339"},
		{"203.0.113.7 until=2026-02-30T00:00:00Z", 19, "RFC 3339"},
		{"203.0.113.7 until=2026-12-01T00:00:00+01:00", 19, "RFC 3339"},
		{"203.0.113.7 monitor-until=", 27, "RFC 3339"},
		{"203.0.113.7 monitor until=never", 1, "contradict"},
		{"203.0.113.7 until=never until=never", 25, "twice"},
		{"203.0.113.7 scope=vpc", 13, "unknown word"},
		{"  203.0.113.07", 3, "octal"},
		{"except", 7, "except protect"},
		{"except deny 203.0.113.7", 8, "except protect"},
		{"except protect", 15, "missing"},
		{"except protect 192.0.2.0/24 until=never", 29, "a protection nothing"},
		{"except allow 192.0.2.1 monitor", 24, "an allow takes until="},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct statement s = {0};
		struct text_error error;

		if (parse(cases[i].line, &s, &error) != -EINVAL)
			fail_msg("\"%s\" was taken", cases[i].line);
		if (error.column != cases[i].column || !strstr(error.reason, cases[i].reason))
			fail_msg("\"%s\": %zu: %s", cases[i].line, error.column, error.reason);
	}
}

static void test_long_line(void **state)
{
	char line[TEXT_LINE_MAX + 1];
	struct statement s;
	struct text_error error;

	(void)state;
	memset(line, ' ', sizeof(line));
	memcpy(line, "203.0.113.7", 11);
	assert_int_equal(statement_parse(line, TEXT_LINE_MAX - 1, &s, &error), 0);
	assert_int_equal(statement_parse(line, TEXT_LINE_MAX, &s, &error), -EINVAL);
}

static void test_until(void **state)
{
	int64_t until = 0;
	char text[24];

	(void)state;
	assert_int_equal(until_parse("1970-01-01T00:00:01Z", 20, &until), 0);
	assert_int_equal(until, 1);
	assert_int_equal(until_parse("1970-01-01T00:00:00Z", 20, &until), -EINVAL);
	assert_int_equal(until_parse("9999-12-31T23:59:59Z", 20, &until), 0);
	assert_int_equal(until, UNTIL_MAX);
	until_print(UNTIL_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59Z");
	until_print(UNTIL_FOREVER, text);
	assert_string_equal(text, "never");
	assert_int_equal(until_parse("2026-11-24T24:00:00Z", 20, &until), -EINVAL);
	assert_int_equal(until_parse("2026-11-24T12:00:60Z", 20, &until), -EINVAL);
	assert_int_equal(until_parse("2026-11-24 12:00:00Z", 20, &until), -EINVAL);
	assert_int_equal(until_parse("2100-02-29T00:00:00Z", 20, &until), -EINVAL);
}

static void test_duration(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds; // 0: refused
	} cases[] = {
		{"15m", 900},
		{"4h", 14400},
		{"7d", 604800},
		{"30s", 30},
		{"90", 90},
		{"3653d", 315619200},
		{"3654d", 0},
		{"0", 0},
		{"", 0},
		{"h", 0},
		{"1w", 0},
		{"-1h", 0},
		{"1.5h", 0},
		{"99999999999d", 0},
		{" 1h", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t seconds = 0;
		int rc = duration_parse(cases[i].text, strlen(cases[i].text), &seconds);

		assert_int_equal(rc, cases[i].seconds ? 0 : -EINVAL);
		assert_int_equal(seconds, cases[i].seconds);
	}
}

static unsigned n_entries, n_exceptions;

static int entry_cb(void *ctx, const struct entry *e)
{
	(void)ctx;
	(void)e;
	return ++n_entries == 1000 ? -ENOSPC : 0;
}

static int exception_cb(void *ctx, const struct exception *x)
{
	(void)ctx;
	(void)x;
	n_exceptions++;
	return 0;
}

static int file_read(const char *text, size_t len, struct text_error *error)
{
	static const struct statement_sink sink = {entry_cb, exception_cb, NULL};
	char path[] = "/tmp/stanch-text-XXXXXX";
	int fd = mkstemp(path), rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
	n_entries = n_exceptions = 0;
	*error = (struct text_error){0};
	rc = rules_read(path, &sink, error);
	unlink(path);
	if (rc < 0)
		assert_string_equal(error->file, path);
	return rc;
}

static void test_files(void **state)
{
	static const char good[] = "\xef\xbb\xbf# hand-made\r\n203.0.113.7\r\n\r\n"
				   "except protect 192.0.2.1\r\n*.evil.example # x";
	static const char bad[] = "203.0.113.7\n\n203.0.113.8 bad\n";
	struct text_error error;
	char text[600];

	(void)state;
	assert_int_equal(file_read(good, sizeof(good) - 1, &error), 0);
	assert_int_equal(n_entries, 2);
	assert_int_equal(n_exceptions, 1);
	assert_int_equal(file_read("", 0, &error), 0);
	assert_int_equal(file_read(bad, sizeof(bad) - 1, &error), -EINVAL);
	assert_int_equal(error.line, 3);
	assert_int_equal(error.column, 13);
	text_error_print(&error, text, sizeof(text));
	assert_non_null(strstr(text, ":3:13: unknown word"));
	assert_int_equal(
		rules_read("/nonexistent/x", &(struct statement_sink){0}, &error), -ENOENT
	);
}

static void test_sink_ends(void **state)
{
	char many[12 * 1500];
	struct text_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(many); i += 12)
		memcpy(many + i, "203.0.113.7\n", 12);
	assert_int_equal(file_read(many, sizeof(many), &error), -ENOSPC);
	assert_int_equal(n_entries, 1000);
	assert_int_equal(error.line, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statements),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_until),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_sink_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
