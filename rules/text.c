// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// The words of one line, cut at blanks.
struct cursor {
	const char *line, *at, *end;
};

static int
refuse(struct text_error *ret_error, const struct cursor *c, const char *word, const char *reason)
{
	ret_error->column = (size_t)(word - c->line) + 1;
	snprintf(ret_error->reason, sizeof(ret_error->reason), "%s", reason);
	return -EINVAL;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

// The next word, or a length of 0 at the end of the statement.
static const char *word_next(struct cursor *c, size_t *ret_len)
{
	const char *word;

	while (c->at < c->end && blank(*c->at))
		c->at++;
	word = c->at;
	if (c->at < c->end && *c->at == '#')
		c->at = c->end;
	else
		while (c->at < c->end && !blank(*c->at))
			c->at++;
	*ret_len = word < c->end && *word == '#' ? 0 : (size_t)(c->at - word);
	return word;
}

static bool word_is(const char *word, size_t len, const char *text)
{
	return strlen(text) == len && memcmp(word, text, len) == 0;
}

static bool
word_value(const char *word, size_t len, const char *key, const char **ret_value, size_t *ret_len)
{
	size_t n = strlen(key);

	if (len < n || memcmp(word, key, n) != 0)
		return false;
	*ret_value = word + n;
	*ret_len = len - n;
	return true;
}

static int two_digits(const char *p)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return -1;
	return (p[0] - '0') * 10 + (p[1] - '0');
}

int until_parse(const char *text, size_t len, int64_t *ret_until)
{
	struct tm tm = {0}, back;
	int century, year, month, day, hour, minute, second;
	time_t t;

	if (len == 5 && memcmp(text, "never", 5) == 0) {
		*ret_until = UNTIL_FOREVER;
		return 0;
	}
	if (len != 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':'
	    || text[16] != ':' || text[19] != 'Z')
		return -EINVAL;
	century = two_digits(text);
	year = two_digits(text + 2);
	month = two_digits(text + 5);
	day = two_digits(text + 8);
	hour = two_digits(text + 11);
	minute = two_digits(text + 14);
	second = two_digits(text + 17);
	if (century < 19 || year < 0 || month < 1 || day < 1 || hour < 0 || minute < 0
	    || second < 0)
		return -EINVAL;
	tm.tm_year = century * 100 + year - 1900;
	tm.tm_mon = month - 1;
	tm.tm_mday = day;
	tm.tm_hour = hour;
	tm.tm_min = minute;
	tm.tm_sec = second;
	t = timegm(&tm);
	// timegm carries 31 February into March: what comes back must be what was written.
	if (t <= 0 || !gmtime_r(&t, &back) || back.tm_mday != day || back.tm_mon != month - 1
	    || back.tm_hour != hour || back.tm_min != minute || back.tm_sec != second)
		return -EINVAL;
	*ret_until = t;
	return 0;
}

void until_print(int64_t until, char text[24])
{
	time_t t = until;
	struct tm tm;

	if (until == UNTIL_FOREVER || !gmtime_r(&t, &tm) || tm.tm_year > 8099) {
		memcpy(text, "never", 6);
		return;
	}
	strftime(text, 24, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

int duration_parse(const char *text, size_t len, int64_t *ret_seconds)
{
	int64_t value = 0, unit = 1;

	if (len == 0)
		return -EINVAL;
	switch (text[len - 1]) {
	case 'd':
		unit = 86400;
		break;
	case 'h':
		unit = 3600;
		break;
	case 'm':
		unit = 60;
		break;
	case 's':
		break;
	default:
		len++; // plain seconds
	}
	if (len < 2 || len > 11)
		return -EINVAL;
	for (size_t i = 0; i + 1 < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (text[i] - '0');
	}
	value *= unit;
	if (value < 1 || value > (int64_t)3653 * 86400)
		return -EINVAL;
	*ret_seconds = value;
	return 0;
}

static int
indicator_word(struct cursor *c, struct indicator *ret_indicator, struct text_error *ret_error)
{
	struct indicator_error why;
	size_t len;
	const char *word = word_next(c, &len);

	if (len == 0)
		return refuse(ret_error, c, word, "an indicator is missing");
	if (indicator_parse(word, len, ret_indicator, &why) < 0)
		return refuse(ret_error, c, word + why.column - 1, why.reason);
	return 0;
}

static const char bad_time[] = "a time is RFC 3339 in UTC, as 2026-12-01T00:00:00Z, or \"never\"";

static const char twice[] = "given twice";

static int exception_parse(struct cursor *c, struct statement *s, struct text_error *ret_error)
{
	struct exception *x = &s->exception;
	const char *word, *value;
	size_t len, value_len;
	int rc;

	word = word_next(c, &len);
	x->until = UNTIL_FOREVER;
	if (word_is(word, len, "protect"))
		x->kind = EXCEPTION_PROTECT;
	else if (word_is(word, len, "allow"))
		x->kind = EXCEPTION_ALLOW;
	else
		return refuse(
			ret_error,
			c,
			word,
			"an exception is \"except protect …\" or \"except allow …\""
		);
	rc = indicator_word(c, &x->indicator, ret_error);
	if (rc < 0)
		return rc;
	while (word = word_next(c, &len), len) {
		if (x->kind != EXCEPTION_ALLOW
		    || !word_value(word, len, "until=", &value, &value_len))
			return refuse(
				ret_error,
				c,
				word,
				"unknown word: an allow takes until=, a protection nothing"
			);
		if (until_parse(value, value_len, &x->until) < 0)
			return refuse(ret_error, c, value, bad_time);
	}
	s->kind = STATEMENT_EXCEPTION;
	return 0;
}

static int entry_parse(struct cursor *c, struct statement *s, struct text_error *ret_error)
{
	struct entry *e = &s->entry;
	bool monitor = false, enforce_given = false, monitor_given = false;
	const char *word, *value;
	size_t len, value_len;
	int rc = indicator_word(c, &e->indicator, ret_error);

	if (rc < 0)
		return rc;
	while (word = word_next(c, &len), len) {
		if (word_is(word, len, "monitor")) {
			monitor = true;
		} else if (word_value(word, len, "until=", &value, &value_len)) {
			if (enforce_given)
				return refuse(ret_error, c, word, twice);
			enforce_given = true;
			if (until_parse(value, value_len, &e->enforce_until) < 0)
				return refuse(ret_error, c, value, bad_time);
		} else if (word_value(word, len, "monitor-until=", &value, &value_len)) {
			if (monitor_given)
				return refuse(ret_error, c, word, twice);
			monitor_given = true;
			if (until_parse(value, value_len, &e->monitor_until) < 0)
				return refuse(ret_error, c, value, bad_time);
		} else if (!word_is(word, len, "scope=all")) {
			return refuse(
				ret_error,
				c,
				word,
				"unknown word: known are monitor, until=, monitor-until=, scope=all"
			);
		}
	}
	if (monitor && enforce_given)
		return refuse(
			ret_error,
			c,
			c->line,
			"\"monitor\" and until= contradict: monitor-until= ends a monitor"
		);
	if (!monitor && !enforce_given)
		e->enforce_until = UNTIL_FOREVER;
	if (monitor && !monitor_given)
		e->monitor_until = UNTIL_FOREVER;
	s->kind = STATEMENT_ENTRY;
	return 0;
}

int statement_parse(
	const char *line, size_t len, struct statement *ret_statement, struct text_error *ret_error
)
{
	struct cursor c = {.line = line, .at = line, .end = line + len};
	struct statement s = {0};
	const char *word;
	size_t word_len;
	int rc = 0;

	if (len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
		c.at += 3;
	if (len && line[len - 1] == '\r')
		c.end--;
	if (len >= TEXT_LINE_MAX)
		return refuse(ret_error, &c, line, "a line has less than 1024 octets");
	word = word_next(&c, &word_len);
	if (word_is(word, word_len, "except")) {
		rc = exception_parse(&c, &s, ret_error);
	} else if (word_len) {
		c.at = word;
		rc = entry_parse(&c, &s, ret_error);
	}
	if (rc == 0)
		*ret_statement = s;
	return rc;
}

static size_t append(char *line, size_t len, const char *text)
{
	size_t n = strlen(text);

	memcpy(line + len, text, n + 1);
	return len + n;
}

static size_t append_until(char *line, size_t len, const char *key, int64_t until)
{
	char time[24];

	until_print(until, time);
	len = append(line, len, key);
	return append(line, len, time);
}

size_t entry_print(const struct entry *e, char line[TEXT_LINE_MAX])
{
	size_t len = indicator_print(&e->indicator, line);

	if (e->enforce_until == UNTIL_NONE) {
		len = append(line, len, " monitor");
		if (e->monitor_until != UNTIL_FOREVER)
			len = append_until(line, len, " monitor-until=", e->monitor_until);
		return len;
	}
	if (e->enforce_until != UNTIL_FOREVER)
		len = append_until(line, len, " until=", e->enforce_until);
	if (e->monitor_until != UNTIL_NONE)
		len = append_until(line, len, " monitor-until=", e->monitor_until);
	return len;
}

size_t exception_print(const struct exception *x, char line[TEXT_LINE_MAX])
{
	size_t len
		= append(line, 0, x->kind == EXCEPTION_ALLOW ? "except allow " : "except protect ");

	len += indicator_print(&x->indicator, line + len);
	if (x->until != UNTIL_FOREVER)
		len = append_until(line, len, " until=", x->until);
	return len;
}

void text_error_print(const struct text_error *e, char *text, size_t size)
{
	char place[48] = "";

	if (e->line && e->column)
		snprintf(place, sizeof(place), "%zu:%zu:", e->line, e->column);
	else if (e->line)
		snprintf(place, sizeof(place), "%zu:", e->line);
	snprintf(text, size, "%s:%s %s", e->file, place, e->reason);
}
