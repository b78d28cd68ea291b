// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Break-glass: what outlives a restart, what does not, and a file that cannot be trusted or
// written.

#include "dataplane/breakglass.h"
#include "dataplane/set.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WALL_S 1800000000ll

static char dir[] = "/tmp/stanch-breakglass-XXXXXX";

struct machine {
	struct set *set;
	struct breakglass *breakglass;
};

static struct table_time time_at(int64_t seconds)
{
	return (struct table_time){(WALL_S + seconds) * 1000, 10000000777 + seconds * 1000};
}

static struct machine machine_start(int64_t seconds)
{
	struct set_options options = {.capacity = 10, .workers = 1};
	struct machine m;

	policy_init(&options.policy);
	assert_int_equal(set_create(&options, time_at(seconds), &m.set), 0);
	assert_int_equal(breakglass_create(m.set, dir, &m.breakglass), 0);
	return m;
}

static void machine_stop(struct machine *m)
{
	breakglass_free(m->breakglass);
	set_free(m->set);
}

static struct indicator parse(const char *text)
{
	struct indicator n;
	struct indicator_error error;

	assert_int_equal(indicator_parse(text, strlen(text), &n, &error), 0);
	return n;
}

static bool allowed(const struct machine *m, const char *text)
{
	struct indicator n = parse(text);

	return set_exception_covering(m->set, &n) == EXCEPTION_ALLOW;
}

static bool paused(const struct machine *m)
{
	return atomic_load(&set_live(m->set)->policy)->paused;
}

static int allow(struct machine *m, const char *text, int64_t until, int *ret_written)
{
	struct indicator n = parse(text);

	return breakglass_allow(m->breakglass, &n, until, 0, "because\tof\nit", ret_written);
}

static void file_path(char path[static 256])
{
	snprintf(path, 256, "%s/breakglass", dir);
}

static void file_remove(void)
{
	char path[256];

	file_path(path);
	unlink(path);
}

static int clean(void **state)
{
	(void)state;
	file_remove();
	return 0;
}

static void test_outlives_a_restart(void **state)
{
	struct machine m = machine_start(0);
	int written = -1;

	(void)state;
	assert_int_equal(breakglass_restore(m.breakglass), 0);
	assert_int_equal(allow(&m, "203.0.113.7", WALL_S + 3600, &written), 0);
	assert_int_equal(written, 0);
	assert_int_equal(allow(&m, "tcp/203.0.113.8:443", WALL_S + 60, &written), 0);
	assert_int_equal(
		breakglass_pause(m.breakglass, WALL_S + 900, 1000, "maintenance", true, &written), 0
	);
	assert_true(allowed(&m, "203.0.113.7") && paused(&m));
	machine_stop(&m);

	m = machine_start(120);
	assert_int_equal(breakglass_restore(m.breakglass), 0);
	assert_true(allowed(&m, "203.0.113.7"));
	assert_false(allowed(&m, "tcp/203.0.113.8:443")); // ended meanwhile
	assert_true(paused(&m));
	assert_int_equal(breakglass_pause_until(m.breakglass), WALL_S + 900);
	assert_int_equal(breakglass_unacked(m.breakglass), 3);
	assert_int_equal(breakglass_action(m.breakglass, 2)->kind, WIRE_CTL_PAUSE);
	assert_int_equal(breakglass_action(m.breakglass, 2)->uid, 1000);
	assert_string_equal(breakglass_action(m.breakglass, 0)->reason, "because of it");
	breakglass_ack(m.breakglass, breakglass_action(m.breakglass, 1)->header.seq);
	assert_int_equal(breakglass_unacked(m.breakglass), 1);
	// The pause ends by itself.
	set_tick(m.set, time_at(899));
	breakglass_tick(m.breakglass);
	assert_true(paused(&m));
	set_tick(m.set, time_at(900));
	breakglass_tick(m.breakglass);
	assert_false(paused(&m));
	assert_int_equal(breakglass_pause_until(m.breakglass), 0);
	machine_stop(&m);

	m = machine_start(1000);
	assert_int_equal(breakglass_restore(m.breakglass), 0);
	assert_false(paused(&m));
	assert_int_equal(breakglass_unacked(m.breakglass), 1);
	machine_stop(&m);
}

static void test_limits(void **state)
{
	struct machine m = machine_start(0);
	int written;

	(void)state;
	assert_int_equal(allow(&m, "203.0.113.7", WALL_S + 86400, &written), 0);
	assert_int_equal(allow(&m, "203.0.113.7", WALL_S + 86401, &written), -ERANGE);
	assert_int_equal(allow(&m, "203.0.113.7", WALL_S, &written), -ERANGE);
	assert_int_equal(allow(&m, "203.0.113.9", 0, &written), -ENOENT);
	assert_int_equal(allow(&m, "evil.example", WALL_S + 5, &written), -EINVAL);
	assert_int_equal(allow(&m, "203.0.113.7", 0, &written), 0);
	assert_false(allowed(&m, "203.0.113.7"));
	for (unsigned i = 0; i <= BREAKGLASS_ALLOWS_MAX; i++) {
		char text[32];

		snprintf(text, sizeof(text), "198.51.%u.%u", i / 256, i % 256);
		assert_int_equal(
			allow(&m, text, WALL_S + 60, &written),
			i < BREAKGLASS_ALLOWS_MAX ? 0 : -ENOSPC
		);
	}
	machine_stop(&m);
}

// Every cut and every changed octet: nothing is taken from such a file.
static void test_torn_and_tampered(void **state)
{
	struct machine m = machine_start(0);
	char path[256], text[4096];
	int written, fd;
	ssize_t len;

	(void)state;
	assert_int_equal(allow(&m, "203.0.113.7", WALL_S + 3600, &written), 0);
	machine_stop(&m);
	file_path(path);
	fd = open(path, O_RDONLY);
	len = read(fd, text, sizeof(text));
	close(fd);
	assert_true(len > 50);
	for (ssize_t i = 0; i < 2 * len; i++) {
		bool cut = i < len;
		ssize_t at = cut ? i : i - len;

		fd = open(path, O_WRONLY | O_TRUNC);
		if (!cut)
			text[at] ^= 1;
		assert_int_equal(write(fd, text, (size_t)(cut ? at : len)), cut ? at : len);
		if (!cut)
			text[at] ^= 1;
		close(fd);
		m = machine_start(1);
		assert_int_equal(breakglass_restore(m.breakglass), -EILSEQ);
		assert_false(allowed(&m, "203.0.113.7"));
		assert_int_equal(breakglass_unacked(m.breakglass), 0);
		machine_stop(&m);
	}
}

static void test_disk_full(void **state)
{
	struct rlimit before, none = {0};
	struct machine m = machine_start(0);
	int written = 0;

	(void)state;
	assert_int_equal(allow(&m, "203.0.113.7", WALL_S + 3600, &written), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_int_equal(allow(&m, "203.0.113.8", WALL_S + 3600, &written), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	// It acts, and it is told that it will not outlive a restart.
	assert_int_equal(written, -EFBIG);
	assert_true(allowed(&m, "203.0.113.8"));
	machine_stop(&m);
	m = machine_start(1);
	assert_int_equal(breakglass_restore(m.breakglass), 0);
	assert_true(allowed(&m, "203.0.113.7")); // the file before is whole
	assert_false(allowed(&m, "203.0.113.8"));
	machine_stop(&m);
}

// A clock that was set back must not stretch an allow beyond a day.
static void test_clock_set_back(void **state)
{
	struct machine m = machine_start(0);
	int written;

	(void)state;
	assert_int_equal(allow(&m, "203.0.113.7", WALL_S + 3600, &written), 0);
	machine_stop(&m);
	m = machine_start(-10 * 86400);
	assert_int_equal(breakglass_restore(m.breakglass), 0);
	assert_true(allowed(&m, "203.0.113.7"));
	set_tick(m.set, time_at(-9 * 86400 + 1));
	assert_false(allowed(&m, "203.0.113.7"));
	machine_stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_outlives_a_restart, clean),
		cmocka_unit_test_setup(test_limits, clean),
		cmocka_unit_test_setup(test_torn_and_tampered, clean),
		cmocka_unit_test_setup(test_disk_full, clean),
		cmocka_unit_test_setup(test_clock_set_back, clean),
	};
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	int r;

	if (!mkdtemp(dir))
		return 1;
	sigaction(SIGXFSZ, &ignore, NULL);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	file_remove();
	rmdir(dir);
	return r;
}
