// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Whose observables are they? Lists as TheHive would answer them, also while cases change.

#include "control/conf.h"
#include "control/sources/thehive_batch.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 7 // observables

static char type[] = "ip", *types[] = {type};
static char tag[] = "stanch", field[] = "stanch-action";
static struct conf_thehive conf = {
	.response_field = field,
	.response_tag = tag,
	.max_pap = 2,
	.data_types = types,
	.n_data_types = 1,
};
static const struct hive_rules rules = {.conf = &conf, .version = {5, 2}};
static struct hive_judgement cases[HIVE_BATCH_MAX];

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < HIVE_BATCH_MAX; i++) {
		cases[i] = (struct hive_judgement
		){.verdict = HIVE_DENY, .until = UNTIL_FOREVER, .pap = 2, .tlp = 2};
		snprintf(cases[i].id, sizeof(cases[i].id), "~%zu", 1000 + i);
	}
	return 0;
}

static json_t *observable(size_t of, size_t number)
{
	return json_pack(
		"{s:o,s:s,s:o,s:b,s:i,s:s}",
		"_id",
		json_sprintf("~%zu", 100000 + of * 1000 + number),
		"dataType",
		"ip",
		"data",
		json_sprintf("198.51.%zu.%zu", of, number),
		"ioc",
		1,
		"tlp",
		2,
		"message",
		"not needed"
	);
}

// Is the case asked for in this body?
static bool asked(const json_t *body, size_t of)
{
	const json_t *any
		= json_object_get(json_array_get(json_object_get(body, "query"), 1), "_or");
	size_t i;
	json_t *one;
	json_array_foreach(
		any, i, one
	) if (strcmp(json_string_value(json_object_get(one, "_id")), cases[of].id)
	      == 0) return true;
	return false;
}

struct hive { // as it is while a list is asked for
	size_t n, each;
	size_t without; // observable 0 of this case is not there in list `when`
	int when;
};

// All that the lists show, a page at a time. What hive_batch_take said last; ret_lists: how many.
static int answers(struct hive_batch *batch, const struct hive *hive, int *ret_lists)
{
	int list = 0, more = 1;
	for (size_t from = 0; more == 1;) {
		char *text = hive_batch_query(&rules, batch, PAGE);
		json_t *body = json_loads(text, 0, NULL), *all = json_array(), *page = json_array();
		free(text);
		for (size_t of = 0; of < hive->n; of++)
			for (size_t i = 0; asked(body, of) && i < hive->each; i++)
				if (i || of != hive->without || list != hive->when)
					json_array_append_new(all, observable(of, i));
		for (size_t i = from; i < from + PAGE && i < json_array_size(all); i++)
			json_array_append(page, json_array_get(all, i));
		more = hive_batch_take(batch, page, PAGE);
		from += PAGE;
		if (json_array_size(page) < PAGE) {
			list++;
			from = 0;
		}
		json_decref(page);
		json_decref(all);
		json_decref(body);
	}
	*ret_lists = list;
	return more;
}

// How many cases are unsure; every other one has its own observables and no more.
static size_t unsure(const struct hive_batch *batch, const struct hive *hive)
{
	size_t n = 0;
	for (size_t of = 0; of < hive->n; of++) {
		struct hive_findings findings = {0};
		int error = hive_batch_judge(&rules, batch, of, &findings);
		if (error == -EAGAIN) {
			n++;
			continue;
		}
		assert_int_equal(error, 0);
		assert_int_equal(findings.n, hive->each);
		for (size_t i = 0; i < findings.n; i++) {
			assert_int_equal(findings.list[i].kind, HIVE_CLAIM);
			assert_int_equal(findings.list[i].indicator.addr[2], of);
		}
		hive_findings_fini(&findings);
	}
	return n;
}

static void test_each_has_its_own(void **state)
{
	(void)state;
	static const struct {
		size_t n;
		int lists;
	} rows[] = {{1, 2}, {2, 2}, {3, 3}, {6, 4}, {7, 5}, {20, 6}, {35, 7}, {70, 8}, {126, 9}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t each = 0; each < 3; each++) {
			const struct hive hive = {.n = rows[i].n, .each = each, .when = -1};
			struct hive_batch *batch = NULL;
			int lists;
			assert_int_equal(hive_batch_create(cases, hive.n, &batch), 0);
			assert_int_equal(answers(batch, &hive, &lists), 0);
			assert_int_equal(lists, rows[i].lists);
			assert_int_equal(unsure(batch, &hive), 0);
			hive_batch_free(batch);
		}
	}
}

// Missing in one list, its case is unsure, and the few of which it could be.
static void test_what_comes_or_goes_meanwhile(void **state)
{
	(void)state;
	for (int when = 0; when < 9; when++) {
		const struct hive hive = {.n = 126, .each = 2, .without = 77, .when = when};
		struct hive_batch *batch = NULL;
		struct hive_findings findings = {0};
		int lists;
		assert_int_equal(hive_batch_create(cases, hive.n, &batch), 0);
		assert_int_equal(answers(batch, &hive, &lists), 0);
		size_t n = unsure(batch, &hive);
		assert_true(n == 0 || n == 6); // it is in four of nine
		int error = hive_batch_judge(&rules, batch, 77, &findings);
		assert_int_equal(error, n ? -EAGAIN : 0);
		hive_findings_fini(&findings);
		hive_batch_free(batch);
	}
}

static void test_bad_answers(void **state)
{
	(void)state;
	static const char *const bad[] = {"[{}]", "[1]", "[{\"_id\":\"a/b\"}]", "[{\"_id\":7}]"};
	struct hive_batch *batch = NULL;
	assert_int_equal(hive_batch_create(cases, 6, &batch), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *page = json_loads(bad[i], 0, NULL);
		assert_int_equal(hive_batch_take(batch, page, PAGE), -EINVAL);
		json_decref(page);
	}
	json_t *page = json_array();
	for (size_t i = 0; i < HIVE_BATCH_OBSERVABLES_MAX; i++)
		json_array_append_new(page, json_pack("{s:o}", "_id", json_sprintf("~%zu", i)));
	assert_int_equal(hive_batch_take(batch, page, json_array_size(page)), 1);
	json_array_clear(page);
	json_array_append_new(page, observable(1, 1));
	assert_int_equal(hive_batch_take(batch, page, PAGE), -EMSGSIZE);
	json_decref(page);
	hive_batch_free(batch);
	hive_batch_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_has_its_own),
		cmocka_unit_test(test_what_comes_or_goes_meanwhile),
		cmocka_unit_test(test_bad_answers),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
