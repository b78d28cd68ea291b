// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The order of judgement, and the protections: protection > allow > enforce > monitor.

#include "rules/oracle.h"
#include "rules/protect.h"
#include "rules/text.h"
#include "tests/unit/cm.h"

#include <netinet/in.h>
#include <string.h>

#define NOW 1000000000

static struct entry entries[16];
static struct exception exceptions[16];
static struct oracle_list list;

static void list_make(const char *const *lines)
{
	list = (struct oracle_list){.entries = entries, .exceptions = exceptions, .now = NOW};
	for (; *lines; lines++) {
		struct statement s;
		struct text_error error;

		assert_int_equal(statement_parse(*lines, strlen(*lines), &s, &error), 0);
		if (s.kind == STATEMENT_ENTRY)
			entries[list.n_entries++] = s.entry;
		else
			exceptions[list.n_exceptions++] = s.exception;
	}
}
#define LIST(...) list_make((const char *const[]){__VA_ARGS__, NULL})

static struct oracle_address address(const char *text, uint8_t proto, uint16_t port)
{
	struct oracle_address a = {.proto = proto, .port = port};
	struct indicator n;
	struct indicator_error error;

	assert_int_equal(indicator_parse(text, strlen(text), &n, &error), 0);
	a.family = n.family;
	memcpy(a.addr, n.addr, sizeof(a.addr));
	return a;
}

static void
judged(const char *text, uint8_t proto, uint16_t port, enum judgement want, const char *by)
{
	struct oracle_address a = address(text, proto, port);
	const struct entry *entry = NULL;
	char printed[INDICATOR_TEXT_MAX] = "";

	assert_int_equal(oracle_address_judge(&list, &a, &entry), want);
	if (entry)
		indicator_print(&entry->indicator, printed);
	assert_string_equal(printed, by);
}

static void test_order(void **state)
{
	(void)state;
	LIST("203.0.113.0/24", "203.0.113.7 monitor", "tcp/203.0.113.7:443 monitor");
	// Monitor never shadows enforce, however much longer its prefix.
	judged("203.0.113.7", IPPROTO_TCP, 443, JUDGE_DENY, "203.0.113.0/24");
	judged("203.0.112.7", IPPROTO_TCP, 443, JUDGE_PASS, "");
	LIST("203.0.113.0/24 monitor", "203.0.113.7", "tcp/203.0.113.7:443");
	judged("203.0.113.7", IPPROTO_TCP, 443, JUDGE_DENY, "tcp/203.0.113.7:443");
	judged("203.0.113.7", IPPROTO_UDP, 443, JUDGE_DENY, "203.0.113.7");
	judged("203.0.113.7", 0, 0, JUDGE_DENY, "203.0.113.7");
	judged("203.0.113.8", 0, 0, JUDGE_MONITOR, "203.0.113.0/24");
}

static void test_exceptions(void **state)
{
	(void)state;
	LIST("203.0.113.0/24", "except allow 203.0.113.7", "except protect 203.0.113.0/28");
	judged("203.0.113.7", 0, 0, JUDGE_PROTECTED, "203.0.113.0/24");
	judged("203.0.113.15", 0, 0, JUDGE_PROTECTED, "203.0.113.0/24");
	judged("203.0.113.16", 0, 0, JUDGE_DENY, "203.0.113.0/24");
	LIST("203.0.113.0/24", "except allow tcp/203.0.113.7:443");
	judged("203.0.113.7", IPPROTO_TCP, 443, JUDGE_ALLOWED, "203.0.113.0/24");
	judged("203.0.113.7", IPPROTO_TCP, 444, JUDGE_DENY, "203.0.113.0/24");
	judged("203.0.113.7", 0, 0, JUDGE_DENY, "203.0.113.0/24");
	// An exception alone changes nothing.
	LIST("198.51.100.1", "except allow 203.0.113.7");
	judged("203.0.113.7", 0, 0, JUDGE_PASS, "");
	// An allow that has ended, one that ends in a second.
	LIST("203.0.113.0/24", "except allow 203.0.113.7 until=2001-09-09T01:46:40Z");
	judged("203.0.113.7", 0, 0, JUDGE_DENY, "203.0.113.0/24");
	LIST("203.0.113.0/24", "except allow 203.0.113.7 until=2001-09-09T01:46:41Z");
	judged("203.0.113.7", 0, 0, JUDGE_ALLOWED, "203.0.113.0/24");
}

static void test_ends_and_pause(void **state)
{
	(void)state;
	LIST("203.0.113.7 until=2001-09-09T01:46:40Z", "203.0.113.8 until=2001-09-09T01:46:41Z");
	judged("203.0.113.7", 0, 0, JUDGE_PASS, "");
	judged("203.0.113.8", 0, 0, JUDGE_DENY, "203.0.113.8");
	LIST("203.0.113.7 until=2001-09-09T01:46:40Z monitor-until=never");
	judged("203.0.113.7", 0, 0, JUDGE_MONITOR, "203.0.113.7");
	LIST("203.0.113.0/24", "203.0.113.7 monitor");
	list.paused = true;
	judged("203.0.113.7", 0, 0, JUDGE_MONITOR, "203.0.113.0/24");
}

static void test_families(void **state)
{
	(void)state;
	LIST("128.0.0.0/1", "8000::/1 monitor", "*.evil.example");
	judged("203.0.113.7", 0, 0, JUDGE_DENY, "128.0.0.0/1");
	judged("9000::1", 0, 0, JUDGE_MONITOR, "8000::/1");
	judged("1.1.1.1", 0, 0, JUDGE_PASS, "");
}

static void test_layers(void **state)
{
	struct oracle_address a[3];
	const struct entry *entry;
	size_t index;

	(void)state;
	LIST("203.0.113.7", "198.51.100.1 monitor", "192.0.2.1", "except protect 192.0.2.1");
	a[0] = address("192.0.2.1", 0, 0);
	a[1] = address("198.51.100.1", 0, 0);
	a[2] = address("203.0.113.7", 0, 0);
	assert_int_equal(oracle_judge(&list, a, 3, &index, &entry), JUDGE_DENY);
	assert_int_equal(index, 2);
	assert_int_equal(oracle_judge(&list, a, 2, &index, &entry), JUDGE_MONITOR);
	assert_int_equal(index, 1);
	assert_int_equal(oracle_judge(&list, a, 1, &index, &entry), JUDGE_PROTECTED);
	assert_ptr_equal(entry, &entries[2]);
	a[0] = address("203.0.113.7", 0, 0);
	assert_int_equal(oracle_judge(&list, a, 3, &index, &entry), JUDGE_DENY);
	assert_int_equal(index, 0); // the first of equals
	assert_int_equal(oracle_judge(&list, a, 0, &index, &entry), JUDGE_PASS);
	assert_null(entry);
}

static struct indicator of(const char *text)
{
	struct indicator n;
	struct indicator_error error;

	assert_int_equal(indicator_parse(text, strlen(text), &n, &error), 0);
	return n;
}

static enum overlap worst(const struct protection_builtin *table, const char *text)
{
	struct indicator n = of(text);

	for (; table->text; table++) {
		struct indicator p = of(table->text);
		enum overlap o = protect_overlap(&n, &p);

		if (o != OVERLAP_NONE)
			return o;
	}
	return OVERLAP_NONE;
}

static void test_protections(void **state)
{
	static const struct {
		const char *text;
		enum overlap always, private_ranges;
	} cases[] = {
		{"127.0.0.1", OVERLAP_INSIDE, OVERLAP_NONE},
		{"tcp/127.0.0.1:80", OVERLAP_INSIDE, OVERLAP_NONE},
		{"0.0.0.0/7", OVERLAP_CONTAINS, OVERLAP_NONE},
		{"169.254.169.254", OVERLAP_INSIDE, OVERLAP_NONE},
		{"169.0.0.0/8", OVERLAP_CONTAINS, OVERLAP_NONE},
		{"224.0.0.0/3", OVERLAP_INSIDE, OVERLAP_NONE},
		{"255.255.255.255", OVERLAP_INSIDE, OVERLAP_NONE},
		{"223.255.255.255", OVERLAP_NONE, OVERLAP_NONE},
		{"::1", OVERLAP_INSIDE, OVERLAP_NONE},
		{"::/16", OVERLAP_CONTAINS, OVERLAP_NONE},
		{"fe80::1", OVERLAP_INSIDE, OVERLAP_NONE},
		{"ff02::1", OVERLAP_INSIDE, OVERLAP_NONE},
		{"10.1.2.3", OVERLAP_NONE, OVERLAP_INSIDE},
		{"172.32.0.0/16", OVERLAP_NONE, OVERLAP_NONE},
		{"172.0.0.0/8", OVERLAP_NONE, OVERLAP_CONTAINS},
		{"100.64.0.0/10", OVERLAP_NONE, OVERLAP_INSIDE},
		{"fd00::/8", OVERLAP_NONE, OVERLAP_INSIDE},
		// Documentation, NAT64, 6to4 and Teredo may be denied.
		{"203.0.113.0/24", OVERLAP_NONE, OVERLAP_NONE},
		{"2001:db8::/32", OVERLAP_NONE, OVERLAP_NONE},
		{"64:ff9b::/96", OVERLAP_NONE, OVERLAP_NONE},
		{"2002::/16", OVERLAP_NONE, OVERLAP_NONE},
		{"2001::/32", OVERLAP_NONE, OVERLAP_NONE},
		{"evil.example", OVERLAP_NONE, OVERLAP_NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (worst(protect_builtin, cases[i].text) != cases[i].always
		    || worst(protect_private, cases[i].text) != cases[i].private_ranges)
			fail_msg("%s", cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_exceptions),
		cmocka_unit_test(test_ends_and_pause),
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_protections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
