// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower of the snapshot: the list on disk is the ledger's after each change and each
// restart.

#include "control/followers/snapshot.h"
#include "rules/snapshot.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/list_fixture.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define LABEL "a-label-of-fifty-octets-that-makes-a-name-a-long-one."

static struct fixture f;
static struct snapshot *snapshot;

static void turn(void)
{
	const struct timeval soon = {.tv_usec = 2000};

	event_base_loopexit(f.base, &soon);
	event_base_dispatch(f.base);
}

// --- the list on disk

static void disk_is_current(size_t *ret_exceptions)
{
	struct list list = {0};
	const struct list_sink sink = {
		.exception_reset = exception_reset_cb,
		.exception = exception_put_cb,
		.put = put_cb,
		.remove = remove_entry_cb,
		.reset = reset_cb,
		.check = check_cb,
		.ctx = &list,
	};
	struct list_state want, state, disk;
	struct text_error error;
	enum list_origin origin = LIST_NONE;
	char why[160] = "";
	int64_t end = clock_boot_ms(f.ledger) + 10000;

	ledger_state(f.ledger, &want);
	while (!(snapshot_state(snapshot, &disk, why) && list_state_equal(&disk, &want))
	       && clock_boot_ms(f.ledger) < end)
		turn();
	assert_string_equal(why, "");
	assert_int_equal(list_load(f.dir, &sink, &state, &origin, &error), 0);
	assert_int_equal(origin, LIST_CURRENT);
	assert_true(list_state_equal(&state, &want));
	*ret_exceptions = list.n_exceptions;
}

static void follow(void)
{
	assert_int_equal(snapshot_follow(f.base, f.ledger, f.dir, NULL, &snapshot), 0);
}

static void deny(const char *indicator)
{
	assert_int_equal(
		put(&f, "operator", indicator, indicator, CLAIM_ENFORCE, UNTIL_FOREVER), SUBMIT_OK
	);
}

static void file_spoil(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f.dir, name);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "#", 1, 20), 1);
	close(fd);
}

static void test_snapshot(void **state)
{
	struct indicator n = indicator_of("203.0.113.9");
	size_t before, after;

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	follow();
	disk_is_current(&before);
	deny("203.0.113.7");
	deny("*.evil.example");
	disk_is_current(&before);
	assert_true(before > 0);
	op(&f, SUBMIT_END, "operator", "203.0.113.7", "203.0.113.7");
	disk_is_current(&before);
	f.done = false;
	ledger_allow(f.ledger, &n, in_seconds(&f, 60), &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	turn();
	disk_is_current(&after);
	assert_int_equal(after, before + 1);
	// Committed while nobody follows: as after a kill before the journal was written.
	snapshot_unfollow(snapshot);
	deny("203.0.113.8");
	fixture_reopen(&f);
	follow();
	disk_is_current(&after);
	assert_int_equal(after, before + 1);
	snapshot_unfollow(snapshot);
	for (int i = 0; i < 2; i++) {
		file_spoil(i ? "deny.rules" : "deny.journal");
		follow();
		disk_is_current(&after);
		deny(i ? "198.51.100.1" : "198.51.100.2");
		disk_is_current(&after);
		snapshot_unfollow(snapshot);
	}
	fixture_fini(&f);
}

// --- compaction

static struct stat file_of(const char *name)
{
	struct stat st = {0};
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", f.dir, name);
	stat(path, &st);
	return st;
}

static void compacted(ino_t before)
{
	int64_t end = clock_boot_ms(f.ledger) + 10000;

	while (file_of("deny.rules").st_ino == before && clock_boot_ms(f.ledger) < end)
		turn();
	assert_true(file_of("deny.rules").st_ino != before);
}

// Many changes at one revision: the journal is smaller afterwards, and what came while the
// snapshot was written is in it.
static void test_compaction(void **state)
{
	size_t exceptions, built_in;
	ino_t before;

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	follow();
	disk_is_current(&built_in);
	before = file_of("deny.rules").st_ino;
	for (int i = 0; file_of("deny.journal").st_size < 8 << 20; i++) {
		assert_in_range(i, 0, 20);
		allows_are(&f, 60000);
	}
	// Written by a thread: the loop goes on.
	assert_true(file_of("deny.rules.tmp").st_ino != 0);
	deny("203.0.113.7");
	allows_are(&f, 3);
	compacted(before);
	disk_is_current(&exceptions);
	assert_int_equal(exceptions, built_in + 3);
	assert_in_range(file_of("deny.journal").st_size, 1, 1 << 20);
	deny("203.0.113.8");
	disk_is_current(&exceptions);
	// The next start goes on with it.
	before = file_of("deny.rules").st_ino;
	snapshot_unfollow(snapshot);
	fixture_reopen(&f);
	follow();
	disk_is_current(&exceptions);
	assert_int_equal(file_of("deny.rules").st_ino, before);
	snapshot_unfollow(snapshot);
	fixture_fini(&f);
}

// Ended while a snapshot is being written: what is there stays, and is gone on with.
static void test_compaction_cut(void **state)
{
	size_t exceptions;

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	follow();
	disk_is_current(&exceptions);
	for (int i = 0; file_of("deny.rules.tmp").st_ino == 0; i++) {
		assert_in_range(i, 0, 20);
		allows_are(&f, 60000);
	}
	snapshot_unfollow(snapshot);
	assert_int_equal(file_of("deny.rules.tmp").st_ino, 0);
	follow();
	disk_is_current(&exceptions);
	snapshot_unfollow(snapshot);
	fixture_fini(&f);
}

// After a restart the journal may grow to a quarter of the snapshot, as before it.
static void test_journal_limit(void **state)
{
	struct exception x = {.kind = EXCEPTION_PROTECT, .until = UNTIL_FOREVER};
	struct snapshot_writer *writer;
	struct list_state now;
	size_t exceptions;
	ino_t before;

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	ledger_state(f.ledger, &now);
	assert_int_equal(snapshot_create(f.dir, &now, &writer), 0);
	for (unsigned i = 0; i < 250000; i++) {
		char name[INDICATOR_TEXT_MAX];

		snprintf(name, sizeof(name), "%s%s%s%s%06u.example", LABEL, LABEL, LABEL, LABEL, i);
		x.indicator = indicator_of(name);
		assert_int_equal(snapshot_add_exception(writer, &x), 0);
	}
	assert_int_equal(snapshot_commit(writer), 0);
	assert_true(file_of("deny.rules").st_size > 48 << 20);
	before = file_of("deny.rules").st_ino;
	follow();
	for (int i = 0; file_of("deny.journal").st_size < 8 << 20; i++) {
		assert_in_range(i, 0, 20);
		allows_are(&f, 60000);
	}
	assert_int_equal(file_of("deny.rules.tmp").st_ino, 0);
	assert_int_equal(file_of("deny.rules").st_ino, before);
	disk_is_current(&exceptions);
	snapshot_unfollow(snapshot);
	fixture_fini(&f);
}

// --- a full disk

static void disk_fill(const char *dir)
{
	static const char zeros[4096];
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/filler", dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	close(fd);
}

static bool state_is(bool good, const char *part)
{
	struct list_state state, disk;
	char why[160];

	ledger_state(f.ledger, &state);
	return snapshot_state(snapshot, &disk, why) == good && strstr(why, part)
		&& (!good || list_state_equal(&state, &disk));
}

static void state_becomes(bool good, const char *part)
{
	int64_t end = clock_boot_ms(f.ledger) + 10000;

	while (!state_is(good, part) && clock_boot_ms(f.ledger) < end)
		turn();
	assert_true(state_is(good, part));
}

static void test_no_space(void **state)
{
	char dir[128], path[256];

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	snprintf(dir, sizeof(dir), "%s/list", f.dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	// Smaller than what the journal would keep in reserve.
	if (mount("stanch", dir, "tmpfs", 0, "size=512k") < 0) {
		fixture_fini(&f);
		print_message("mounting needs root: skipped\n");
		skip();
	}
	assert_int_equal(snapshot_follow(f.base, f.ledger, dir, NULL, &snapshot), 0);
	state_becomes(true, "");
	deny("203.0.113.7");
	state_becomes(true, "");
	disk_fill(dir);
	for (unsigned i = 0; i < 200 && state_is(true, ""); i++) {
		char text[32];

		snprintf(text, sizeof(text), "198.51.100.%u", i);
		deny(text);
	}
	state_becomes(false, "the journal: No space left on device");
	// With room again the next change, or the next try, brings it up to date.
	snprintf(path, sizeof(path), "%s/filler", dir);
	assert_int_equal(unlink(path), 0);
	op(&f, SUBMIT_END, "operator", "203.0.113.7", "203.0.113.7");
	state_becomes(true, "");
	snapshot_unfollow(snapshot);
	assert_int_equal(umount(dir), 0);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_compaction),
		cmocka_unit_test(test_compaction_cut),
		cmocka_unit_test(test_journal_limit),
		cmocka_unit_test(test_no_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
