// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower of the snapshot: the list on disk is the ledger's after each change and each
// restart.

#include "control/followers/snapshot.h"
#include "rules/snapshot.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/list_fixture.h"

#include <fcntl.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snapshot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
