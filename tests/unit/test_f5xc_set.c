// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_set.h"
#include "tests/unit/cm.h"

#include <stdlib.h>
#include <string.h>

static struct f5xc_row row(const char *text, const char *description)
{
	struct indicator n;
	struct indicator_error why;

	assert_int_equal(indicator_parse(text, strlen(text), &n, &why), 0);
	return (struct f5xc_row){.prefix = f5xc_prefix_of(&n), .description = description};
}

static struct f5xc_row stays(int family)
{
	return (struct f5xc_row){.prefix = f5xc_keep(family), .description = F5XC_KEEP_WHY};
}

static const struct list_state state = {.revision = {2, 17}, .count = 1};

static json_t *body_of(json_t *was, int family, const struct f5xc_row *rows, size_t n)
{
	const struct f5xc_own own = {
		.name = "s-v4-000",
		.xc_namespace = "system",
		.owner = "site-a",
		.state = state,
		.content = "c",
	};
	const char *version = json_string_value(json_object_get(was, "resource_version"));

	return f5xc_body(
		f5xc_metadata(json_object_get(was, "metadata"), &own),
		version ? version : "",
		family,
		rows,
		n
	);
}

static void prefixes_are_written_in_full(void **ctx)
{
	char text[INDICATOR_TEXT_MAX];
	struct f5xc_row r = row("203.0.113.7", "");

	(void)ctx;
	f5xc_prefix_print(&r.prefix, 4, text);
	assert_string_equal(text, "203.0.113.7/32");
	r = row("2001:db8::7", "");
	f5xc_prefix_print(&r.prefix, 6, text);
	assert_string_equal(text, "2001:db8::7/128");
	r = row("203.0.113.0/24", "");
	f5xc_prefix_print(&r.prefix, 4, text);
	assert_string_equal(text, "203.0.113.0/24");
}

static void body_reads_back_equal(void **ctx)
{
	(void)ctx;
	for (int family = 4; family <= 6; family += 2) {
		const struct f5xc_row rows[3] = {
			stays(family),
			row(family == 4 ? "198.51.100.0/24" : "2001:db8:1::/48", "operator"),
			row(family == 4 ? "203.0.113.7" : "2001:db8:1::7", "case 42"),
		};
		json_t *body = body_of(NULL, family, rows, 3);
		struct f5xc_object o;

		assert_int_equal(f5xc_object_read(body, family, &o), 0);
		assert_string_equal(o.owner, "site-a");
		assert_int_equal(o.revision.epoch, 2);
		assert_int_equal(o.revision.number, 17);
		assert_true(f5xc_object_equal(&o, rows, 3));
		assert_false(f5xc_object_equal(&o, rows, 2));
		assert_true(f5xc_object_described(&o, rows));
		assert_string_equal(o.content, "c");
		f5xc_object_fini(&o);
		json_decref(body);
	}
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
	const struct f5xc_row one = row("203.0.113.7", "case 1");
	json_t *body = body_of(was, 4, &one, 1), *metadata;

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
		"{\"ipv6_prefix\":\"2001:db8::1/128\"}]}}",
		0,
		NULL
	);
	const struct f5xc_row rows[2] = {stays(6), row("2001:db8::7", "")};
	struct f5xc_object o;

	(void)ctx;
	assert_int_equal(f5xc_object_read(body, 6, &o), 0);
	assert_true(f5xc_object_equal(&o, rows, 2));
	assert_string_equal(o.owner, "");
	f5xc_object_fini(&o);
	json_decref(body);
}

// A row twice, or one that is no prefix, is drift.
static void rows_too_many_are_not_equal(void **ctx)
{
	static const char *const more[] = {"192.0.2.1/32", "203.0.113.7/8", "x"};
	const struct f5xc_row rows[1] = {stays(4)};

	(void)ctx;
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		json_t *body = json_pack(
			"{s:{}, s:{s:[{s:s}, {s:s}]}}",
			"metadata",
			"spec",
			"ipv4_prefixes",
			"ipv4_prefix",
			"192.0.2.1/32",
			"ipv4_prefix",
			more[i]
		);
		struct f5xc_object o;

		assert_int_equal(f5xc_object_read(body, 4, &o), 0);
		assert_false(f5xc_object_equal(&o, rows, 1));
		f5xc_object_fini(&o);
		json_decref(body);
	}
}

static void disabled_is_drift_and_ends_with_the_write(void **ctx)
{
	const struct f5xc_row rows[1] = {stays(4)};
	json_t *body = body_of(NULL, 4, rows, 1), *again;
	struct f5xc_object o;

	(void)ctx;
	json_object_set_new(json_object_get(body, "metadata"), "disable", json_true());
	assert_int_equal(f5xc_object_read(body, 4, &o), 0);
	assert_true(o.disabled);
	f5xc_object_fini(&o);
	again = body_of(body, 4, rows, 1);
	assert_int_equal(f5xc_object_read(again, 4, &o), 0);
	assert_false(o.disabled);
	assert_true(f5xc_object_equal(&o, rows, 1));
	f5xc_object_fini(&o);
	json_decref(again);
	json_decref(body);
}

static void the_content_tells_sets_apart(void **ctx)
{
	const struct f5xc_row two[2] = {row("198.51.100.0/24", "a"), row("203.0.113.7", "b")};
	const struct f5xc_row other[2] = {row("198.51.100.0/25", "a"), row("203.0.113.7", "b")};
	char one[F5XC_CONTENT_MAX], same[F5XC_CONTENT_MAX], third[F5XC_CONTENT_MAX];

	(void)ctx;
	f5xc_content(two, 2, one);
	f5xc_content(two, 2, same);
	assert_string_equal(one, same);
	f5xc_content(other, 2, third);
	assert_string_not_equal(one, third);
	f5xc_content(two, 1, third);
	assert_string_not_equal(one, third);
}

static void nulls_are_taken(void **ctx)
{
	json_t *body = json_loads(
		"{\"metadata\":{\"labels\":null,\"annotations\":null,\"disable\":null},"
		"\"spec\":null}",
		0,
		NULL
	);
	struct f5xc_object o;

	(void)ctx;
	assert_int_equal(f5xc_object_read(body, 4, &o), 0);
	assert_int_equal(o.n_rows, 0);
	assert_false(o.disabled);
	f5xc_object_fini(&o);
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
		cmocka_unit_test(foreign_metadata_is_kept),
		cmocka_unit_test(equal_by_meaning_not_by_text),
		cmocka_unit_test(rows_too_many_are_not_equal),
		cmocka_unit_test(disabled_is_drift_and_ends_with_the_write),
		cmocka_unit_test(the_content_tells_sets_apart),
		cmocka_unit_test(nulls_are_taken),
		cmocka_unit_test(dirty_answers_become_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
