// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Public suffixes, and the canonical form of names (more of it in test_indicator.c).

#include "rules/domain.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <string.h>

static void test_suffixes(void **state)
{
	static const char *const suffixes[]
		= {"com", "co.uk", "github.io", "s3.amazonaws.com", "ck", "com.ck", "xn--p1ai"};
	static const char *const names[]
		= {"example.com",
		   "example.co.uk",
		   "x.github.io",
		   "www.ck",
		   "internal",
		   "evil.example"};

	(void)state;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		if (!domain_is_public_suffix(suffixes[i]))
			fail_msg("%s", suffixes[i]);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (domain_is_public_suffix(names[i]))
			fail_msg("%s", names[i]);
	}
}

static void test_canonical(void **state)
{
	char name[INDICATOR_NAME_MAX + 1];
	const char *reason = NULL;

	(void)state;
	memset(name, 'x', sizeof(name));
	assert_int_equal(domain_canonical("WWW.Evil.Example.junk", 17, name, &reason), 0);
	assert_string_equal(name, "www.evil.example");
	// Zero-filled: names are compared and hashed as a whole.
	for (size_t i = strlen(name); i < sizeof(name); i++)
		assert_int_equal(name[i], 0);
	assert_int_equal(domain_canonical("evil..example", 13, name, &reason), -EINVAL);
	assert_non_null(reason);
	assert_string_equal(name, "www.evil.example");
	assert_int_equal(domain_canonical("", 0, name, &reason), -EINVAL);
	assert_int_equal(domain_canonical("\xff\xfe.example", 10, name, &reason), -EINVAL);
}

// Two spellings of one name are one name.
static void test_idn(void **state)
{
	static const char *const same[]
		= {"b\xc3\xbc"
		   "cher.example",
		   "b"
		   "u\xcc\x88"
		   "cher.example",
		   "B\xc3\x9c"
		   "CHER.Example.",
		   "XN--BCHER-KVA.example"};

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		char name[INDICATOR_NAME_MAX + 1];
		const char *reason = "";

		if (domain_canonical(same[i], strlen(same[i]), name, &reason) < 0)
			fail_msg("%s: %s", same[i], reason);
		assert_string_equal(name, "xn--bcher-kva.example");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suffixes),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_idn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
