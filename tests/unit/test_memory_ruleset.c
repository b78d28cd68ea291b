// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Memory refused while stanch-replay reads its rules.

#include "dataplane/ruleset.h"
#include "tests/unit/cm.h"
#include "tests/unit/refuse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ENTRIES 100 // the lists grow meanwhile

static char path[] = "/tmp/stanch-rules-XXXXXX";
static struct ruleset rules;

static void *make(void)
{
	rules = (struct ruleset){0};
	return &rules;
}

static int act(void *ctx)
{
	struct text_error error;

	return ruleset_load(path, 1800000000, ctx, &error);
}

static void empty(void *ctx)
{
	const struct ruleset *r = ctx;

	assert_null(r->memory[0]);
	assert_null(r->memory[1]);
}

static void loaded(void *ctx)
{
	const struct ruleset *r = ctx;

	assert_int_equal(match_count(r->entries), ENTRIES);
	assert_int_equal(match_count(r->exceptions), 1);
}

static void end(void *ctx)
{
	ruleset_fini(ctx);
}

static void test_rules(void **state)
{
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	(void)state;
	assert_non_null(f);
	for (int i = 0; i < ENTRIES; i++)
		fprintf(f, "203.0.113.%d\n", i);
	fprintf(f, "except protect 198.51.100.0/24\n");
	assert_int_equal(fclose(f), 0);
	refuse_each(&(struct scenario){"rules", 6, make, act, empty, loaded, end});
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
