// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Tokens: the file's form and mode, roles, ends, fresh ones.

#include "control/tokens.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// SHA-256 of "secret" and of "other"
#define SECRET "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
#define OTHER "sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"

static char message[256];

static int parse(const char *text, struct tokens **ret_tokens)
{
	return tokens_parse("t", text, strlen(text), ret_tokens, message);
}

static void test_find(void **state)
{
	(void)state;
	struct tokens *tokens = NULL;
	assert_int_equal(
		parse("# who\n\nops operator 2030-01-01T00:00:00Z " SECRET " # for ops\r\n"
		      "look\tviewer never " OTHER,
		      &tokens),
		0
	);
	assert_int_equal(tokens_count(tokens), 2);
	int expired = 1;
	const struct token *token = tokens_find(tokens, "secret", 6, 0, &expired);
	assert_non_null(token);
	assert_int_equal(expired, 0);
	assert_string_equal(token->name, "ops");
	assert_int_equal(token->role, ROLE_OPERATOR);
	token = tokens_find(tokens, "other", 5, INT64_MAX - 1, &expired);
	assert_non_null(token);
	assert_int_equal(token->role, ROLE_VIEWER);
	assert_null(tokens_find(tokens, "secre", 5, 0, &expired));
	assert_int_equal(expired, 0);
	assert_null(tokens_find(tokens, "", 0, 0, &expired));
	tokens_free(tokens);
}

static void test_end(void **state)
{
	(void)state;
	struct tokens *tokens = NULL;
	assert_int_equal(parse("ops operator 2030-01-01T00:00:00Z " SECRET, &tokens), 0);
	int64_t end = 1893456000;
	int expired = 0;
	assert_non_null(tokens_find(tokens, "secret", 6, end - 1, &expired));
	assert_null(tokens_find(tokens, "secret", 6, end, &expired));
	assert_int_equal(expired, 1);
	tokens_free(tokens);
}

static void assert_refused(const char *text, const char *start)
{
	struct tokens *tokens = NULL;
	assert_int_equal(parse(text, &tokens), -EINVAL);
	assert_null(tokens);
	if (strncmp(message, start, strlen(start)) != 0)
		fail_msg("expected \"%s\", got \"%s\"", start, message);
}

static void test_refused(void **state)
{
	(void)state;
	assert_refused("ops operator never", "t:1:1: a line is");
	assert_refused("ok viewer never " OTHER "\nops boss never " SECRET, "t:2:5: a role");
	assert_refused("o/s viewer never " SECRET, "t:1:1: a name");
	assert_refused("ops viewer 2030-13-01T00:00:00Z " SECRET, "t:1:12: an end");
	assert_refused("ops viewer never sha256:2bb8", "t:1:18: expected sha256");
	assert_refused("ops viewer never " SECRET "0", "t:1:18: expected sha256");
	assert_refused("ops viewer never " SECRET " more", "t:1:90: too long, or more");
	assert_refused("ops viewer never " SECRET "\nops viewer never " OTHER, "t:2:1: this name");
	assert_refused("ops none never " SECRET, "t:1:5: a role");
}

static void test_roles(void **state)
{
	(void)state;
	for (int have = ROLE_NONE; have <= ROLE_ADMIN; have++) {
		for (int least = ROLE_NONE; least <= ROLE_ADMIN; least++) {
			int expected = have == ROLE_HOOK ? least <= ROLE_HOOK : have >= least;
			assert_int_equal(role_reaches(have, least), expected);
		}
	}
	assert_false(role_reaches(ROLE_HOOK, ROLE_VIEWER));
	assert_false(role_reaches(ROLE_NONE, ROLE_HOOK));
	assert_true(role_reaches(ROLE_VIEWER, ROLE_HOOK));
	assert_false(role_reaches(ROLE_OPERATOR, ROLE_ADMIN));
}

static void test_create(void **state)
{
	(void)state;
	char secret[64], line[256], again[64];
	assert_int_equal(token_create("new", ROLE_ADMIN, INT64_MAX, secret, line), 0);
	assert_int_equal(token_create("new", ROLE_ADMIN, INT64_MAX, again, line), 0);
	assert_string_not_equal(secret, again);
	assert_null(strstr(line, again));
	struct tokens *tokens = NULL;
	assert_int_equal(parse(line, &tokens), 0);
	int expired;
	const struct token *token = tokens_find(tokens, again, strlen(again), 5, &expired);
	assert_non_null(token);
	assert_int_equal(token->role, ROLE_ADMIN);
	assert_int_equal(token->until, INT64_MAX);
	assert_null(tokens_find(tokens, secret, strlen(secret), 5, &expired));
	tokens_free(tokens);
	assert_int_equal(token_create("a b", ROLE_ADMIN, 5, secret, line), -EINVAL);
	assert_int_equal(token_create("ab", ROLE_NONE, 5, secret, line), -EINVAL);
}

static void test_add(void **state)
{
	(void)state;
	struct tokens *tokens = NULL;
	assert_int_equal(parse("", &tokens), 0);
	assert_int_equal(tokens_add(tokens, "thehive:soc", ROLE_HOOK, INT64_MAX, "w"), 0);
	assert_int_equal(tokens_add(tokens, "thehive:two", ROLE_HOOK, INT64_MAX, "w"), -EEXIST);
	int expired;
	const struct token *token = tokens_find(tokens, "w", 1, 5, &expired);
	assert_non_null(token);
	assert_int_equal(token->role, ROLE_HOOK);
	tokens_free(tokens);
}

static void test_file(void **state)
{
	(void)state;
	char path[] = "/tmp/test_tokens.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	const char text[] = "ops operator never " SECRET "\n";
	assert_int_equal(write(fd, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
	close(fd);
	struct tokens *tokens = NULL;
	static const mode_t open_modes[] = {0644, 0660, 0604, 0641, 0642};
	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		chmod(path, open_modes[i]);
		assert_int_equal(tokens_load(path, &tokens, message), -EPERM);
		assert_non_null(strstr(message, "chmod 640"));
	}
	chmod(path, 0640);
	assert_int_equal(tokens_load(path, &tokens, message), 0);
	tokens_free(tokens);
	unlink(path);
	assert_int_equal(tokens_load(path, &tokens, message), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
