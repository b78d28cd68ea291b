// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The list from disk: current, journal on top, damaged, absent; and a wall clock that cannot be.

#include "dataplane/clock.h"
#include "dataplane/load.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/stanch-load-XXXXXX";

static const char *const files[]
	= {"deny.rules", "deny.journal", "deny.rules.prev", "deny.journal.prev", "deny.rules.tmp"};

static void path_of(const char *name, char path[static 256])
{
	snprintf(path, 256, "%s/%s", dir, name);
}

static int clean(void **state)
{
	char path[256];

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		path_of(files[i], path);
		unlink(path);
	}
	return 0;
}

static struct entry entry_at(unsigned i)
{
	struct entry e = {.enforce_until = UNTIL_FOREVER};
	struct indicator_error error;
	char text[64];

	snprintf(text, sizeof(text), i % 2 ? "203.0.113.%u" : "n%u.example", i);
	assert_int_equal(indicator_parse(text, strlen(text), &e.indicator, &error), 0);
	return e;
}

static struct list_state state_of(unsigned n, uint64_t number)
{
	struct list_state s = {.ledger_id = {5}, .revision = {.epoch = 1, .number = number}};

	for (unsigned i = 0; i < n; i++) {
		struct entry e = entry_at(i);

		s.count++;
		digest_add(&s.digest, entry_hash(&e));
	}
	return s;
}

static void snapshot_make(unsigned n, uint64_t number)
{
	const struct exception protect
		= {.indicator = entry_at(1).indicator,
		   .kind = EXCEPTION_PROTECT,
		   .until = UNTIL_FOREVER};
	struct list_state state = state_of(n, number);
	struct snapshot_writer *writer;

	assert_int_equal(snapshot_create(dir, &state, &writer), 0);
	for (unsigned i = 0; i < n; i++) {
		struct entry e = entry_at(i);

		assert_int_equal(snapshot_add_entry(writer, &e), 0);
	}
	assert_int_equal(snapshot_add_exception(writer, &protect), 0);
	assert_int_equal(snapshot_commit(writer), 0);
}

static struct set *set_make(uint32_t capacity)
{
	struct set_options options = {.capacity = capacity, .workers = 1};
	struct set *set;

	policy_init(&options.policy);
	assert_int_equal(set_create(&options, clock_now(), &set), 0);
	return set;
}

static void octet_flip(const char *name, off_t at)
{
	char path[256], c;
	int fd;

	path_of(name, path);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 1;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

static void test_list(void **state)
{
	struct set *set = set_make(100);
	struct list_state live, wanted = state_of(60, 8);
	struct entry one = entry_at(1);
	struct change changes[10];
	struct journal *journal;
	enum list_origin origin;
	struct text_error error;

	(void)state;
	snapshot_make(50, 7);
	for (unsigned i = 0; i < 10; i++)
		changes[i] = (struct change){CHANGE_PUT, entry_at(50 + i)};
	assert_int_equal(journal_open(dir, &journal), 0);
	assert_int_equal(journal_append(journal, &wanted, changes, 10, NULL, 0), 0);
	journal_close(journal);
	assert_int_equal(load_list(set, dir, &origin, &error), 0);
	assert_int_equal(origin, LIST_CURRENT);
	set_state(set, &live);
	assert_true(list_state_equal(&live, &wanted));
	assert_true(set_have_list(set));
	assert_int_equal(set_names(set), 30);
	assert_int_equal(set_exception_covering(set, &one.indicator), EXCEPTION_PROTECT);
	set_free(set);
}

static void test_no_list(void **state)
{
	struct set *set = set_make(100);
	enum list_origin origin = LIST_CURRENT;
	struct text_error error;

	(void)state;
	assert_int_equal(load_list(set, dir, &origin, &error), 0);
	assert_int_equal(origin, LIST_NONE);
	assert_false(set_have_list(set));
	assert_false(load_clock_check(set, dir));
	set_free(set);
}

static void test_damaged(void **state)
{
	struct set *set = set_make(100);
	struct list_state live, wanted = state_of(50, 7);
	enum list_origin origin;
	struct text_error error;

	(void)state;
	snapshot_make(50, 7);
	snapshot_make(60, 8);
	octet_flip("deny.rules", 300);
	assert_int_equal(load_list(set, dir, &origin, &error), 0);
	assert_int_equal(origin, LIST_PREVIOUS);
	set_state(set, &live);
	assert_true(list_state_equal(&live, &wanted));
	set_free(set);
	// Both: no list, and nothing of either.
	octet_flip("deny.rules.prev", 300);
	set = set_make(100);
	assert_int_equal(load_list(set, dir, &origin, &error), -EILSEQ);
	set_state(set, &live);
	assert_int_equal(live.count, 0);
	assert_int_equal(set_exception_count(set), 0);
	assert_false(set_have_list(set));
	set_free(set);
}

static void test_too_many(void **state)
{
	struct set *set = set_make(49);
	struct list_state live;
	enum list_origin origin;
	struct text_error error;

	(void)state;
	snapshot_make(50, 7);
	assert_int_equal(load_list(set, dir, &origin, &error), -ENOSPC);
	set_state(set, &live);
	assert_int_equal(live.count, 0);
	set_free(set);
}

static bool held_at(struct set *set, int64_t after_s)
{
	struct table_time now = clock_now();

	now.wall_ms += after_s * 1000;
	set_tick(set, now);
	return load_clock_check(set, dir);
}

static void test_clock(void **state)
{
	struct set *set = set_make(100);

	(void)state;
	snapshot_make(50, 7);
	assert_false(held_at(set, 0));
	assert_true(held_at(set, -3600)); // before the list was written
	assert_true(set_ends_held(set));
	assert_false(held_at(set, 30 * 86400 - 60));
	assert_false(set_ends_held(set));
	assert_true(held_at(set, 30 * 86400 + 60));
	set_free(set);
}

static void test_self_test(void **state)
{
	struct policy policy;

	(void)state;
	policy_init(&policy);
	assert_int_equal(load_self_test(&policy), 0);
	// A policy under which a denied packet passes must not start.
	policy.verdicts[REASON_ENTRY_DENY] = VERDICT_FORWARD;
	assert_int_equal(load_self_test(&policy), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_list, clean),
		cmocka_unit_test_setup(test_no_list, clean),
		cmocka_unit_test_setup(test_damaged, clean),
		cmocka_unit_test_setup(test_too_many, clean),
		cmocka_unit_test_setup(test_clock, clean),
		cmocka_unit_test(test_self_test),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	clean(NULL);
	rmdir(dir);
	return r;
}
