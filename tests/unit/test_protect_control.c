// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/protect.h"
#include "tests/unit/cm.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static struct indicator indicator_of(const char *text)
{
	struct indicator n;
	struct indicator_error error = {0};

	if (indicator_parse(text, strlen(text), &n, &error) < 0)
		fail_msg("%s: %s", text, error.reason);
	return n;
}

static enum overlap check(const struct protect *p, const char *text)
{
	struct indicator n = indicator_of(text);
	enum overlap overlap = OVERLAP_NONE;

	protect_check(p, &n, &overlap);
	return overlap;
}

static void test_builtin(void **state)
{
	struct protect *p;

	(void)state;
	assert_int_equal(protect_create(false, PROTECT_REFUSE, &p), 0);
	assert_int_equal(check(p, "127.0.0.1"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "tcp/127.0.0.1:80"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "126.0.0.0/7"), OVERLAP_CONTAINS);
	assert_int_equal(check(p, "255.255.255.255"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "223.255.255.255"), OVERLAP_NONE);
	assert_int_equal(check(p, "::1"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "::2"), OVERLAP_NONE);
	assert_int_equal(check(p, "fe80::1"), OVERLAP_INSIDE);
	// Documentation, NAT64, 6to4 and Teredo may be denied.
	assert_int_equal(check(p, "192.0.2.1"), OVERLAP_NONE);
	assert_int_equal(check(p, "2001:db8::/32"), OVERLAP_NONE);
	assert_int_equal(check(p, "64:ff9b::/96"), OVERLAP_NONE);
	// RFC 1918 by the setting.
	assert_int_equal(check(p, "10.0.0.1"), OVERLAP_NONE);
	protect_free(p);
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &p), 0);
	assert_int_equal(check(p, "10.0.0.1"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "172.15.255.255"), OVERLAP_NONE);
	assert_int_equal(check(p, "172.31.255.255"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "100.0.0.0/9"), OVERLAP_CONTAINS);
	protect_free(p);
}

static void changed_cb(void *ctx)
{
	++*(int *)ctx;
}

static void test_configured(void **state)
{
	struct indicator net = indicator_of("203.0.113.0/24"), name = indicator_of("corp.example");
	int changed = 0;
	struct protect *p;

	(void)state;
	assert_int_equal(protect_create(true, PROTECT_EXCEPT, &p), 0);
	assert_int_equal(protect_mode(p), PROTECT_EXCEPT);
	protect_changed_set(p, changed_cb, &changed);
	assert_int_equal(protect_add(p, PROTECT_CONFIGURED, &net, "protect.networks[0]"), 0);
	assert_int_equal(protect_add(p, PROTECT_CONFIGURED, &name, "protect.names[0]"), 0);
	assert_int_equal(changed, 2);
	// Told again: nothing moved.
	assert_int_equal(protect_add(p, PROTECT_CONFIGURED, &name, "protect.names[0]"), 0);
	assert_int_equal(changed, 2);
	assert_int_equal(check(p, "203.0.113.7"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "203.0.112.0/22"), OVERLAP_CONTAINS);
	assert_int_equal(check(p, "corp.example"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "*.corp.example"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "a.b.corp.example"), OVERLAP_INSIDE);
	assert_int_equal(check(p, "acorp.example"), OVERLAP_NONE);
	// Not the same hand: stays.
	protect_remove(p, PROTECT_OPERATOR, &net);
	assert_int_equal(check(p, "203.0.113.7"), OVERLAP_INSIDE);
	protect_remove(p, PROTECT_CONFIGURED, &name);
	assert_int_equal(check(p, "corp.example"), OVERLAP_NONE);
	protect_clear(p, PROTECT_CONFIGURED);
	assert_int_equal(check(p, "203.0.113.7"), OVERLAP_NONE);
	assert_int_equal(check(p, "127.0.0.1"), OVERLAP_INSIDE);
	assert_int_equal(changed, 4);
	protect_clear(p, PROTECT_CONFIGURED);
	assert_int_equal(changed, 4);
	protect_free(p);
}

static bool derived_count(void *ctx, const struct protection *protection)
{
	*(int *)ctx += protection->origin == PROTECT_DERIVED;
	return true;
}

static void test_derived_bound(void **state)
{
	uint8_t addr[16] = {198, 51, 100, 0};
	struct protect *p;
	int n = 0;

	(void)state;
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &p), 0);
	for (int i = 1; i <= PROTECT_DERIVED_MAX + 1; i++) {
		addr[3] = (uint8_t)i;
		protect_derived_note(p, "thehive:soc", IPPROTO_TCP, 4, addr, 9000);
	}
	addr[3] = 200;
	protect_derived_note(p, "f5xc", IPPROTO_TCP, 4, addr, 443);
	protect_each(p, derived_count, &n);
	assert_int_equal(n, PROTECT_DERIVED_MAX + 1);
	// The one seen first went; that of another dependency did not count.
	assert_int_equal(check(p, "198.51.100.1"), OVERLAP_NONE);
	assert_int_equal(check(p, "198.51.100.2"), OVERLAP_CONTAINS);
	assert_int_equal(check(p, "198.51.100.17"), OVERLAP_CONTAINS);
	assert_int_equal(check(p, "198.51.100.200"), OVERLAP_CONTAINS);
	assert_int_equal(check(p, "udp/198.51.100.200:443"), OVERLAP_NONE);
	protect_free(p);
}

static bool in_force_cb(void *ctx, const struct indicator *indicator)
{
	(void)indicator;
	return *(bool *)ctx;
}

static void test_derived_conflict(void **state)
{
	uint8_t addr[16] = {198, 51, 100, 1};
	bool in_force = true;
	struct protect *p;

	(void)state;
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &p), 0);
	protect_in_force_set(p, in_force_cb, &in_force);
	protect_derived_note(p, "thehive:soc", IPPROTO_TCP, 4, addr, 9000);
	protect_derived_note(p, "thehive:soc", IPPROTO_TCP, 4, addr, 9000);
	assert_int_equal(protect_conflicts(p), 1);
	assert_int_equal(check(p, "198.51.100.1"), OVERLAP_NONE);
	in_force = false;
	protect_derived_note(p, "thehive:soc", IPPROTO_TCP, 4, addr, 9000);
	assert_int_equal(protect_conflicts(p), 0);
	assert_int_equal(check(p, "198.51.100.1"), OVERLAP_CONTAINS);
	protect_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_builtin),
		cmocka_unit_test(test_configured),
		cmocka_unit_test(test_derived_bound),
		cmocka_unit_test(test_derived_conflict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
