// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_set.h"
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct f5xc_item item(const char *text, const char *description)
{
	struct f5xc_item i = {.state = F5XC_PENDING};
	struct indicator_error why;

	assert_int_equal(indicator_parse(text, strlen(text), &i.indicator, &why), 0);
	snprintf(i.description, sizeof(i.description), "%s", description);
	return i;
}

static const struct list_state state = {.revision = {2, 17}, .count = 1};

static void prefixes_are_written_in_full(void **ctx)
{
	char text[INDICATOR_TEXT_MAX];
	struct f5xc_item i = item("203.0.113.7", "");

	(void)ctx;
	f5xc_prefix_print(&i.indicator, text);
	assert_string_equal(text, "203.0.113.7/32");
	i = item("2001:db8::7", "");
	f5xc_prefix_print(&i.indicator, text);
	assert_string_equal(text, "2001:db8::7/128");
	i = item("203.0.113.0/24", "");
	f5xc_prefix_print(&i.indicator, text);
	assert_string_equal(text, "203.0.113.0/24");
}

static void body_reads_back_equal(void **ctx)
{
	(void)ctx;
	for (int family = 4; family <= 6; family += 2) {
		struct f5xc_item items[2] = {
			item(family == 4 ? "203.0.113.7" : "2001:db8::7", "case 42"),
			item(family == 4 ? "198.51.100.0/24" : "2001:db8:1::/48", "operator"),
		};
		json_t *body
			= f5xc_body(NULL, "s-v4-000", "system", "site-a", &state, family, items, 2);
		struct f5xc_object o;

		assert_int_equal(f5xc_object_read(body, family, &o), 0);
		assert_string_equal(o.owner, "site-a");
		assert_int_equal(o.revision.epoch, 2);
		assert_int_equal(o.revision.number, 17);
		assert_true(f5xc_object_equal(&o, family, items, 2));
		assert_false(f5xc_object_equal(&o, family, items, 1));
		assert_true(f5xc_object_has(&o, family, &items[1].indicator));
		json_decref(body);
	}
}

static void never_empty(void **ctx)
{
	json_t *body = f5xc_body(NULL, "s", "system", "a", &state, 4, NULL, 0);
	struct f5xc_object o;

	(void)ctx;
	assert_int_equal(f5xc_object_read(body, 4, &o), 0);
	assert_int_equal(json_array_size(o.prefixes), 1);
	assert_true(f5xc_object_equal(&o, 4, NULL, 0));
	json_decref(body);
}

static void foreign_metadata_is_kept(void **ctx)
{
	json_t *was = json_loads(
		"{\"metadata\":{\"name\":\"s\",\"namespace\":\"system\",\"labels\":{\"team\":"
		"\"net\"},"
		"\"annotations\":{\"note\":\"x\",\"stanch.revision\":\"1.1\"}},\"spec\":{},"
		"\"resource_version\":\"101\"}",
		0,
		NULL
	);
	struct f5xc_item one = item("203.0.113.7", "case 1");
	json_t *body = f5xc_body(was, "s", "system", "a", &state, 4, &one, 1), *metadata;

	(void)ctx;
	assert_string_equal(json_string_value(json_object_get(body, "resource_version")), "101");
	metadata = json_object_get(body, "metadata");
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(metadata, "labels"), "team")),
		"net"
	);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(metadata, "annotations"), "note")
		),
		"x"
	);
	assert_string_equal(
		json_string_value(
			json_object_get(json_object_get(metadata, "annotations"), F5XC_REVISION)
		),
		"2.17"
	);
	json_decref(body);
	json_decref(was);
}

static void equal_by_meaning_not_by_text(void **ctx)
{
	json_t *body = json_loads(
		"{\"metadata\":{},\"spec\":{\"ipv6_prefixes\":[{\"ipv6_prefix\":\"2001:DB8:0::7/"
		"128\"},"
		"{\"ipv6_prefix\":\"2001:db8::1/128\"}]},\"referring_objects\":[{}]}",
		0,
		NULL
	);
	struct f5xc_item one = item("2001:db8::7", "");
	struct f5xc_object o;

	(void)ctx;
	assert_int_equal(f5xc_object_read(body, 6, &o), 0);
	assert_true(f5xc_object_equal(&o, 6, &one, 1));
	assert_true(o.referred);
	assert_string_equal(o.owner, "");
	json_decref(body);
}

static void nulls_are_taken(void **ctx)
{
	json_t *body = json_loads(
		"{\"metadata\":{\"labels\":null,\"annotations\":null},\"spec\":null,"
		"\"referring_objects\":null}",
		0,
		NULL
	);
	struct f5xc_object o;

	(void)ctx;
	assert_int_equal(f5xc_object_read(body, 4, &o), 0);
	assert_null(o.prefixes);
	assert_false(o.referred);
	json_decref(body);
	body = json_loads("{\"metadata\":null}", 0, NULL);
	assert_true(f5xc_object_read(body, 4, &o) < 0);
	json_decref(body);
}

static void dirty_answers_become_json(void **ctx)
{
	static const char dirty[] = "{\n\t\"a\":\"l\ni\tx\x01y\xff\xc0\xaf\xed\xa0\x80z\xc3\xa9\"}";
	char *clean = f5xc_sanitise(dirty, sizeof(dirty) - 1);
	json_t *parsed = json_loads(clean, 0, NULL);

	(void)ctx;
	assert_non_null(parsed);
	assert_non_null(strstr(clean, "\xc3\xa9"));
	json_decref(parsed);
	free(clean);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes_are_written_in_full),
		cmocka_unit_test(body_reads_back_equal),
		cmocka_unit_test(never_empty),
		cmocka_unit_test(foreign_metadata_is_kept),
		cmocka_unit_test(equal_by_meaning_not_by_text),
		cmocka_unit_test(nulls_are_taken),
		cmocka_unit_test(dirty_answers_become_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
