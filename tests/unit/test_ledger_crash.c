// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// kill -9 while the ledger is written, and a disk without room.

#include "tests/unit/ledger_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

struct acknowledged {
	uint64_t number; // revision
	uint32_t claim; // the newest claim put, all before it too
};

struct child {
	struct fixture *f;
	int fd;
	uint32_t claim; // put, not yet acknowledged
	uint32_t in_flight;
};

static void child_submit(struct child *c);

static void child_done(
	void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n
)
{
	struct child *c = ctx;
	struct acknowledged a = {.number = revision.number, .claim = c->in_flight};

	(void)results;
	(void)n;
	if (error || write(c->fd, &a, sizeof(a)) != sizeof(a))
		_exit(1);
	child_submit(c);
}

static void child_text(uint32_t i, char text[32])
{
	snprintf(text, 32, "198.18.%u.%u", i / 250 % 250, i % 250 + 1);
}

// Seven puts, and the end of an older claim, in each submission.
static void child_submit(struct child *c)
{
	static char refs[8][16], text[32];
	struct submit_item items[8];
	struct submit submit = {.items = items, .n = 8, .actor = somebody};

	for (int i = 0; i < 7; i++) {
		c->claim++;
		snprintf(refs[i], sizeof(refs[i]), "%u", c->claim);
		child_text(c->claim, text);
		items[i] = put_item("operator", refs[i], text, CLAIM_ENFORCE, UNTIL_FOREVER);
	}
	child_text(c->claim / 2, text);
	snprintf(refs[7], sizeof(refs[7]), "%u", c->claim / 2);
	items[7] = op_item(SUBMIT_END, "operator", refs[7], text);
	c->in_flight = c->claim;
	ledger_submit(c->f->ledger, &submit, child_done, c);
}

static void child_run(struct fixture *f, int fd, uint32_t from)
{
	struct child c = {.f = f, .fd = fd, .claim = from};

	fixture_open(f);
	child_submit(&c);
	event_base_dispatch(f->base);
	_exit(1);
}

static bool claim_there(void *ctx, const struct claim *claim)
{
	(void)claim;
	*(bool *)ctx = true;
	return false;
}

static void crash_once(struct fixture *f, uint32_t *claim, unsigned n)
{
	struct acknowledged a = {0}, got;
	struct list_state state;
	char ref[16];
	bool there = false;
	int fds[2];
	unsigned read_n = 0;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		child_run(f, fds[1], *claim);
	}
	close(fds[1]);
	// Not between commits: the child writes on while this kills it.
	while (read_n < n && read(fds[0], &got, sizeof(got)) == sizeof(got)) {
		a = got;
		read_n++;
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	waitpid(pid, NULL, 0);
	while (read(fds[0], &got, sizeof(got)) == sizeof(got))
		a = got;
	close(fds[0]);
	assert_true(a.claim > *claim);
	fixture_open(f);
	ledger_state(f->ledger, &state);
	assert_true(state.revision.number >= a.number);
	snprintf(ref, sizeof(ref), "%u", a.claim);
	ledger_claims_by_ref(f->ledger, "operator", ref, claim_there, &there);
	assert_true(there);
	ledger_check(f->ledger);
	// What was written without an acknowledgement may be there: go on behind it.
	*claim = a.claim + 100;
	ledger_close(f->ledger);
	f->ledger = NULL;
}

static void test_kill(void **state)
{
	struct fixture f;
	uint32_t claim = 0;

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	ledger_close(f.ledger);
	f.ledger = NULL;
	f.conf.max_entries = 100000;
	event_base_free(f.base);
	f.base = NULL;
	for (unsigned round = 0; round < 8; round++) {
		f.base = event_base_new();
		crash_once(&f, &claim, 1 + round * 5);
		event_base_free(f.base);
		f.base = NULL;
	}
	f.base = event_base_new();
	fixture_fini(&f);
}

static const char *block_ref(int i)
{
	static char ref[2000];

	memset(ref, 'r', sizeof(ref) - 1);
	ref[snprintf(ref, 16, "%d", i)] = 'r';
	return ref;
}

static enum submit_code block(struct fixture *f, int i)
{
	char text[32];

	child_text((uint32_t)i, text);
	return put(f, "operator", block_ref(i), text, CLAIM_ENFORCE, UNTIL_FOREVER);
}

// SQLite says "full" in the middle: all or nothing, the caller is told, and withdrawals go on.
static void test_full(void **state)
{
	struct fixture f;
	struct list_state before, after;
	struct indicator n = indicator_of("203.0.113.7");
	char sql[64];
	int i = 0;

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	put(&f, "operator", "first", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %d", 60);
	assert_int_equal(sqlite3_exec(f.ledger->db, sql, NULL, NULL, NULL), SQLITE_OK);
	do {
		ledger_state(f.ledger, &before);
		block(&f, i++);
	} while (f.error == 0 && i < 1000);
	assert_int_equal(f.error, -ENOSPC);
	ledger_state(f.ledger, &after);
	assert_true(list_state_equal(&before, &after));
	ledger_check(f.ledger);
	sqlite3_exec(f.ledger->db, "PRAGMA max_page_count = 10000", NULL, NULL, NULL);
	assert_int_equal(op(&f, SUBMIT_END, "operator", "first", "203.0.113.7"), SUBMIT_OK);
	assert_int_equal(f.error, 0);
	f.done = false;
	ledger_allow(f.ledger, &n, in_seconds(&f, 60), &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	assert_int_equal(f.error, 0);
	ledger_check(f.ledger);
	fixture_fini(&f);
}

static uint64_t free_octets(const char *dir)
{
	struct statvfs fs;

	assert_int_equal(statvfs(dir, &fs), 0);
	return (uint64_t)fs.f_bavail * fs.f_bsize;
}

static void fill(const char *path, uint64_t octets)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(posix_fallocate(fd, lseek(fd, 0, SEEK_END), (off_t)octets), 0);
	close(fd);
}

static void withdrawals_work(struct fixture *f, int from, int n)
{
	struct indicator a = indicator_of("203.0.113.7");
	char text[32];

	for (int i = from; i < from + n; i++) {
		child_text((uint32_t)i, text);
		assert_int_equal(op(f, SUBMIT_END, "operator", block_ref(i), text), SUBMIT_OK);
		assert_int_equal(f->error, 0);
	}
	f->done = false;
	ledger_allow(f->ledger, &a, in_seconds(f, 60), &somebody, done_cb, f);
	loop_until(f, &f->done);
	assert_int_equal(f->error, 0);
	f->done = false;
	ledger_pause(f->ledger, in_seconds(f, 60), &somebody, done_cb, f);
	loop_until(f, &f->done);
	assert_int_equal(f->error, 0);
}

// A real file system that fills up: refused with a message, withdrawn from the reserve, and as
// before when there is space again.
static void test_full_disk(void **state)
{
	char dir[] = "/tmp/stanch-small-XXXXXX", filler[64];
	struct fixture f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	if (mount("stanch-test", dir, "tmpfs", 0, "size=8m") < 0) {
		rmdir(dir);
		print_message("skipped: a small tmpfs needs root\n");
		skip();
	}
	fixture_init(&f, PROTECT_REFUSE);
	ledger_close(f.ledger);
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	f.conf.dir = dir;
	fixture_open(&f);
	for (int i = 0; i < 100; i++)
		assert_int_equal(block(&f, i), SUBMIT_OK);
	assert_true(f.ledger->reserve_kept);
	fill(filler, free_octets(dir) - 200 * 1024);
	assert_int_equal(block(&f, 200), SUBMIT_FULL);
	assert_int_equal(f.error, 0);
	assert_non_null(strstr(f.result[0].message, "no space on disk"));
	withdrawals_work(&f, 0, 10);
	// Not one octet left but the reserve.
	fill(filler, free_octets(dir));
	assert_int_equal(block(&f, 200), SUBMIT_FULL);
	withdrawals_work(&f, 10, 80);
	assert_false(f.ledger->reserve_kept);
	ledger_check(f.ledger);
	assert_int_equal(block(&f, 200), SUBMIT_FULL);
	unlink(filler);
	assert_int_equal(block(&f, 200), SUBMIT_OK);
	assert_true(f.ledger->reserve_kept);
	ledger_check(f.ledger);
	ledger_close(f.ledger);
	f.ledger = NULL;
	umount(dir);
	rmdir(dir);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
