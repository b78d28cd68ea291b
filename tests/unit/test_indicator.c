// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Every form of indicator: normalised where it is clear, refused with the remedy where it is not.

#include "rules/indicator.h"
#include "rules/text.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int parse(const char *text, struct indicator *n, struct indicator_error *error)
{
	*error = (struct indicator_error){0};
	return indicator_parse(text, strlen(text), n, error);
}

// The canonical text, which must itself parse to the same.
static void canonical(const char *text, const char *want)
{
	struct indicator n, again;
	struct indicator_error error;
	char printed[INDICATOR_TEXT_MAX];
	size_t len;

	if (parse(text, &n, &error) < 0)
		fail_msg("\"%s\" was refused at %zu: %s", text, error.column, error.reason);
	len = indicator_print(&n, printed);
	assert_int_equal(len, strlen(printed));
	assert_string_equal(printed, want);
	assert_int_equal(parse(printed, &again, &error), 0);
	assert_memory_equal(&n, &again, sizeof(n));
}

static void refused(const char *text, size_t column, const char *reason)
{
	struct indicator n, untouched;
	struct indicator_error error;

	memset(&n, 0x5a, sizeof(n));
	untouched = n;
	if (parse(text, &n, &error) != -EINVAL)
		fail_msg("\"%s\" was taken", text);
	if (!strstr(error.reason, reason))
		fail_msg("\"%s\": \"%s\" is not \"%s\"", text, error.reason, reason);
	if (error.column != column)
		fail_msg("\"%s\": column %zu, not %zu", text, error.column, column);
	assert_memory_equal(&n, &untouched, sizeof(n));
}

static const struct {
	const char *text, *want;
} clear[] = {
	{"203.0.113.7", "203.0.113.7"},
	{"203.0.113.7/32", "203.0.113.7"},
	{" 203.0.113.7\t\r\n", "203.0.113.7"},
	{"\xef\xbb\xbf"
	 "203.0.113.7",
	 "203.0.113.7"},
	{"0.0.0.0", "0.0.0.0"},
	{"255.255.255.255", "255.255.255.255"},
	{"203.0.113.0/24", "203.0.113.0/24"},
	{"128.0.0.0/1", "128.0.0.0/1"},
	{"203.0.113.254/31", "203.0.113.254/31"},
	{"203[.]0[.]113[.]7", "203.0.113.7"},
	{"1.2.3[.]4", "1.2.3.4"},
	{"203(.)0{.}113[dot]7", "203.0.113.7"},
	{"203\\.0\\.113\\.0[/]24", "203.0.113.0/24"},
	{"2001:DB8:0:0::1", "2001:db8::1"},
	{"[2001:db8::1]", "2001:db8::1"},
	{"2001[:]db8[:][:]1", "2001:db8::1"},
	{"2001:db8::/48", "2001:db8::/48"},
	{"2001:db8::1/128", "2001:db8::1"},
	{"8000::/1", "8000::/1"},
	{"::", "::"},
	{"::1", "::1"},
	{"::1.2.3.4", "::1.2.3.4"},
	{"64:ff9b::203.0.113.7", "64:ff9b::cb00:7107"},
	{"::ffff:203.0.113.7", "203.0.113.7"},
	{"::ffff:cb00:7100/120", "203.0.113.0/24"},
	{"::ffff:128.0.0.0/97", "128.0.0.0/1"},
	{"tcp/203.0.113.7:443", "tcp/203.0.113.7:443"},
	{"UDP/[2001:DB8::1]:53", "udp/[2001:db8::1]:53"},
	{"tcp/[::ffff:203.0.113.7]:1", "tcp/203.0.113.7:1"},
	{"tcp/203[.]0[.]113[.]7[:]65535", "tcp/203.0.113.7:65535"},
	{"evil.example", "evil.example"},
	{"Evil.EXAMPLE.", "evil.example"},
	{"*.evil.example", "*.evil.example"},
	{"*.Evil[.]example.", "*.evil.example"},
	{"evil(dot)example", "evil.example"},
	{"_dmarc.a-b.example", "_dmarc.a-b.example"},
	{"1.2.3.example", "1.2.3.example"},
	{"b\xc3\xbc"
	 "cher.example",
	 "xn--bcher-kva.example"},
	{"*.B\xc3\x9c"
	 "CHER.example",
	 "*.xn--bcher-kva.example"},
	{"stra\xc3\x9f"
	 "e.example",
	 "xn--strae-oqa.example"},
	{"evil\xe3\x80\x82"
	 "example",
	 "evil.example"}, // ideographic full stop
	{"deadbeef.example", "deadbeef.example"},
	{"0xbad.cafe", "0xbad.cafe"},
};

static void test_clear(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(clear) / sizeof(clear[0]); i++)
		canonical(clear[i].text, clear[i].want);
}

static const struct {
	const char *text;
	size_t column;
	const char *reason;
} unclear[] = {
	{"", 1, "empty"},
	{"  \r\n", 1, "empty"},
	{"\xef\xbb\xbf", 1, "empty"},
	{"203.0.113.07", 1, "octal"},
	{"010.0.0.1", 1, "octal"},
	{"0x7f.0.0.1", 1, "four decimal octets"},
	{"0x7f000001", 1, "four decimal octets"},
	{"2130706433", 1, "four decimal octets"},
	{"1.2.3", 1, "four decimal octets"},
	{"1.2.3.4.5", 1, "four decimal octets"},
	{"1.2.3.", 1, "four decimal octets"},
	{"1..2.3", 1, "four decimal octets"},
	{"1.2.3.0x4", 1, "neither an address nor a name"},
	{"a.1.2.3", 1, "neither an address nor a name"},
	{"256.0.0.1", 1, "at most 255"},
	{"1.2.3.4444", 1, "at most 255"},
	{"203.0.113.7/24", 1, "host bits"},
	{"203.0.113.129/25", 1, "host bits"},
	{"2001:db8::1/64", 1, "host bits"},
	{"::ffff:203.0.113.7/120", 1, "host bits"},
	{"0.0.0.0/0", 9, "deny everything"},
	{"::/0", 4, "deny everything"},
	{"::ffff:0:0/96", 12, "deny all of IPv4"},
	{"::ffff:0:0/64", 12, "deny all of IPv4"},
	{"1.2.3.4/33", 9, "1 to 32"},
	{"1.2.3.4/", 9, "1 to 32"},
	{"1.2.3.4/-1", 9, "1 to 32"},
	{"1.2.3.4/032", 9, "1 to 32"},
	{"1.2.3.0/255.255.255.0", 9, "1 to 32"},
	{"2001:db8::/129", 12, "1 to 128"},
	{"fe80::1%eth0", 1, "zone"},
	{"[fe80::1%25eth0]", 2, "zone"},
	{"2001:db8:::1", 1, "not an address"},
	{"2001:db8", 1, "not an address"},
	{"12345::", 1, "not an address"},
	{"[2001:db8::1", 1, "not an address"},
	{"203.0.113.7:443", 1, "needs its protocol"},
	{"[2001:db8::1]:443", 1, "needs its protocol"},
	{"tcp/203.0.113.7", 16, "tcp/ADDRESS:PORT"},
	{"tcp/203.0.113.7:0", 17, "1 to 65535"},
	{"tcp/203.0.113.7:65536", 17, "1 to 65535"},
	{"tcp/203.0.113.7:0443", 17, "1 to 65535"},
	{"tcp/203.0.113.7:", 17, "1 to 65535"},
	{"tcp/203.0.113.0/24:443", 5, "not a prefix"},
	{"tcp/2001:db8::1:443", 5, "brackets"},
	{"tcp/[2001:db8::1:443", 5, "not closed"},
	{"tcp/evil.example:443", 5, "not an address"},
	{"tcp/[203.0.113.07]:443", 6, "octal"},
	{"sctp/203.0.113.7:443", 1, "neither"},
	{"http://203.0.113.7/", 1, "URL"},
	{"hxxp://evil[.]example/x", 1, "URL"},
	{"hxxps[:]//evil[.]example", 1, "URL"},
	{"203.0.113.7 203.0.113.8", 12, "white space"},
	{"203.0.113.7\n203.0.113.8", 12, "white space"},
	{"evil.\x01"
	 "example",
	 6,
	 "control character"},
	{"1.2.3.4-1.2.3.9", 1, "range"},
	{"1.2.3.4-9", 1, "range"},
	{"someone@evil.example", 1, "e-mail"},
	{"localhost", 1, "two labels"},
	{"*.com.", 3, "two labels"},
	{"evil..example", 1, "empty label"},
	{".evil.example", 1, "empty label"},
	{"-evil.example", 1, "hyphen"},
	{"evil-.example", 1, "hyphen"},
	{"evil.example-", 1, "hyphen"},
	{"ev!l.example", 1, "letters"},
	{"*evil.example", 1, "letters"},
	{"*.*.example", 3, "letters"},
	{"evil.example/24", 1, "neither"},
	{"evil.example:443", 1, "not an address"},
	{"*", 1, "letters"},
	{".", 1, "not an address"},
	{"xn--\xc3\xbc.example", 1, "internationalised"},
};

static void test_unclear(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(unclear) / sizeof(unclear[0]); i++)
		refused(unclear[i].text, unclear[i].column, unclear[i].reason);
}

static void repeat(char *to, char c, size_t n)
{
	memset(to, c, n);
	to[n] = '\0';
}

static void test_limits(void **state)
{
	char text[1200], label[80];
	struct indicator n;
	struct indicator_error error;

	(void)state;
	repeat(label, 'a', 63);
	snprintf(text, sizeof(text), "%s.example", label);
	canonical(text, text);
	repeat(label, 'a', 64);
	snprintf(text, sizeof(text), "%s.example", label);
	refused(text, 1, "at most 63");
	repeat(label, 'a', 63);
	snprintf(text, sizeof(text), "%s.%s.%s.%.61s", label, label, label, label);
	assert_int_equal(strlen(text), 253);
	canonical(text, text);
	snprintf(text, sizeof(text), "*.%s.%s.%s.%.61s", label, label, label, label);
	canonical(text, text);
	snprintf(text, sizeof(text), "%s.%s.%s.%.62s", label, label, label, label);
	refused(text, 1, "at most 253");
	repeat(text, '1', 1023);
	refused(text, 1, "");
	repeat(text, '1', 1024);
	refused(text, 1, "too long");
	// Not NUL-terminated, and a NUL inside.
	assert_int_equal(indicator_parse("203.0.113.7x", 11, &n, &error), 0);
	assert_int_equal(indicator_parse("203.0\0.113.7", 12, &n, &error), -EINVAL);
	assert_int_equal(indicator_parse("evil\0.example", 13, &n, &error), -EINVAL);
}

static const struct {
	const char *url, *want;
	uint16_t port;
	bool path;
} urls[] = {
	{"http://evil.example", "evil.example", 0, false},
	{"http://evil.example/", "evil.example", 0, false},
	{"https://evil.example/?", "evil.example", 0, false},
	{"https://evil.example/#top", "evil.example", 0, false},
	{"https://evil.example#top", "evil.example", 0, false},
	{"https://evil.example/a", "evil.example", 0, true},
	{"https://evil.example?a=b", "evil.example", 0, true},
	{"hxxps[://]Evil[.]example[:]8443/", "evil.example", 8443, false},
	{"hXXp://203.0.113[.]7/x", "203.0.113.7", 0, true},
	{"http://[2001:db8::1]:8080/", "2001:db8::1", 8080, false},
	{"http://[2001:db8::1]/", "2001:db8::1", 0, false},
	{"ftp://user:pass@evil.example:21/", "evil.example", 21, false},
	{"http://good.example@evil.example/", "evil.example", 0, false},
	{"http://evil.example\\@good.example/", "evil.example", 0, true},
	{"http://203.0.113.0/24", "203.0.113.0", 0, true},
};

static void test_urls(void **state)
{
	static const char *const bad[] = {
		"evil.example",
		"://evil.example",
		"1http://evil.example",
		"203.0.113.7/go?to=http://good.example",
		"http://",
		"http:///x",
		"http://*.evil.example/",
		"http://evil.example:99999/",
		"http://evil.example:/",
		"http://0x7f000001/",
		"http://017700000001/",
		"http://evil%2eexample/",
		"http://localhost/",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct indicator n;
		struct indicator_error error;
		char text[INDICATOR_TEXT_MAX];
		uint16_t port = 9;
		bool path = false;

		if (indicator_parse_url(urls[i].url, strlen(urls[i].url), &n, &port, &path, &error)
		    < 0)
			fail_msg("%s: %s", urls[i].url, error.reason);
		indicator_print(&n, text);
		assert_string_equal(text, urls[i].want);
		assert_int_equal(port, urls[i].port);
		assert_int_equal(path, urls[i].path);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct indicator n;
		struct indicator_error error = {0};
		uint16_t port;
		bool path;

		if (indicator_parse_url(bad[i], strlen(bad[i]), &n, &port, &path, &error) == 0)
			fail_msg("%s was taken", bad[i]);
		assert_true(error.column > 0 && error.reason[0]);
	}
}

static struct indicator of(const char *text)
{
	struct indicator n;
	struct indicator_error error;

	assert_int_equal(parse(text, &n, &error), 0);
	return n;
}

static void test_covers(void **state)
{
	static const struct {
		const char *outer, *inner;
		bool covers;
	} cases[] = {
		{"203.0.113.0/24", "203.0.113.255", true},
		{"203.0.113.0/24", "203.0.112.255", false},
		{"203.0.113.0/24", "203.0.113.0/24", true},
		{"203.0.113.0/24", "203.0.112.0/23", false},
		{"203.0.113.0/24", "tcp/203.0.113.7:443", true},
		{"203.0.113.7", "tcp/203.0.113.7:443", true},
		{"tcp/203.0.113.7:443", "203.0.113.7", false},
		{"tcp/203.0.113.7:443", "tcp/203.0.113.7:443", true},
		{"tcp/203.0.113.7:443", "udp/203.0.113.7:443", false},
		{"tcp/203.0.113.7:443", "tcp/203.0.113.7:444", false},
		{"128.0.0.0/1", "8000::/1", false},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
		{"evil.example", "evil.example", true},
		{"evil.example", "a.evil.example", false},
		{"evil.example", "*.evil.example", false},
		{"*.evil.example", "evil.example", true},
		{"*.evil.example", "a.b.evil.example", true},
		{"*.evil.example", "*.a.evil.example", true},
		{"*.evil.example", "notevil.example", false},
		{"*.a.evil.example", "*.evil.example", false},
		{"203.0.113.0/24", "evil.example", false},
		{"*.evil.example", "203.0.113.7", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct indicator outer = of(cases[i].outer), inner = of(cases[i].inner);

		if (indicator_covers(&outer, &inner) != cases[i].covers)
			fail_msg("%s, %s", cases[i].outer, cases[i].inner);
	}
}

static void test_covers_address(void **state)
{
	struct indicator net = of("203.0.113.0/25"), port = of("tcp/203.0.113.7:443");
	struct indicator name = of("evil.example");
	uint8_t inside[16] = {203, 0, 113, 7}, outside[16] = {203, 0, 113, 128};

	(void)state;
	assert_true(indicator_covers_address(&net, 4, inside, 0, 0));
	assert_true(indicator_covers_address(&net, 4, inside, 17, 53));
	assert_false(indicator_covers_address(&net, 4, outside, 0, 0));
	assert_false(indicator_covers_address(&net, 6, inside, 0, 0));
	assert_true(indicator_covers_address(&port, 4, inside, 6, 443));
	assert_false(indicator_covers_address(&port, 4, inside, 17, 443));
	assert_false(indicator_covers_address(&port, 4, inside, 6, 444));
	assert_false(indicator_covers_address(&port, 4, inside, 0, 0));
	assert_false(indicator_covers_address(&name, 0, inside, 0, 0));
}

// The id is equal everywhere and for ever: sha256sum of the text.
static void test_id(void **state)
{
	struct indicator a = of("203.0.113.7"), b = of("*.evil.example");

	(void)state;
	assert_int_equal(indicator_id(&a), 0xfec52565aa0cf18f);
	assert_int_equal(indicator_id(&b), 0x0c42bc4c54a86c34);
}

static void test_order(void **state)
{
	static const char *const ordered[] = {
		"10.0.0.0/8",
		"10.0.0.0/9",
		"10.0.0.1",
		"11.0.0.0/8",
		"2001:db8::",
		"2001:db8::1",
		"tcp/10.0.0.1:80",
		"tcp/10.0.0.1:443",
		"udp/10.0.0.1:53",
		"tcp/10.0.0.2:1",
		"a.example",
		"*.a.example",
		"b.example",
	};
	size_t n = sizeof(ordered) / sizeof(ordered[0]);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n; j++) {
			struct indicator a = of(ordered[i]), b = of(ordered[j]);
			int order = indicator_compare(&a, &b);

			if ((order > 0) - (order < 0) != (i > j) - (i < j))
				fail_msg("%s, %s: %d", ordered[i], ordered[j], order);
			assert_int_equal(indicator_equal(&a, &b), i == j);
		}
	}
}

// --- real lists, where they are

// Lines refused; entries taken print and parse again.
static unsigned list_read(const char *path, unsigned *ret_entries)
{
	FILE *f = fopen(path, "r");
	unsigned entries = 0, bad = 0;
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	assert_non_null(f);
	while ((len = getline(&line, &room, f)) > 0) {
		struct statement s;
		struct text_error why;
		char text[TEXT_LINE_MAX];

		if (line[len - 1] == '\n')
			len--;
		if (statement_parse(line, (size_t)len, &s, &why) < 0) {
			if (bad++ < 3)
				print_message("%.*s: %s\n", (int)len, line, why.reason);
		} else if (s.kind == STATEMENT_ENTRY) {
			struct statement again;

			entries++;
			len = (ssize_t)entry_print(&s.entry, text);
			assert_int_equal(statement_parse(text, (size_t)len, &again, &why), 0);
			assert_true(indicator_equal(&again.entry.indicator, &s.entry.indicator));
		}
	}
	free(line);
	fclose(f);
	*ret_entries = entries;
	return bad;
}

static const char *lists_dir(char path[static 512])
{
	const char *data = getenv("STANCH_SHARED_DATA");

	snprintf(path, 512, "%s/lists", data ? data : STANCH_ROOT "/../shared/data");
	return path;
}

static void test_real_lists(void **state)
{
	static const struct {
		const char *name;
		unsigned least, bad;
	} lists[] = {
		{"bitwire_outbound.txt", 167000, 0},
		{"c2tracker.txt", 2300, 0},
		{"doh4.txt", 1900, 0},
		{"dohdom.txt", 1300, 0},
		{"drop.txt", 980, 0},
		{"drop6.txt", 50, 0},
		{"blackbook.txt", 18000, 0},
	};
	char dir[512], path[600];

	(void)state;
	if (access(lists_dir(dir), R_OK) < 0) {
		print_message("skipped: no %s\n", dir);
		skip();
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		unsigned entries, bad;

		snprintf(path, sizeof(path), "%s/%s", dir, lists[i].name);
		bad = list_read(path, &entries);
		print_message("%s: %u entries, %u refused\n", lists[i].name, entries, bad);
		assert_true(entries >= lists[i].least);
		assert_true(bad <= lists[i].bad);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clear),
		cmocka_unit_test(test_unclear),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_covers_address),
		cmocka_unit_test(test_id),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_real_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
