// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/conf.h"
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char pair[] = "  ports:\n    - {name: a, iface: x}\n    - {name: b, vdev: net_null0}\n"
			   "  pairs:\n    - {inside: a, outside: b}\n";

static int load(const char *head, const char *tail, struct conf **ret_conf, char *message)
{
	char path[] = "/tmp/stanch-conf-XXXXXX";
	int fd = mkstemp(path), rc;

	assert_true(fd >= 0);
	dprintf(fd, "dataplane:\n%s%s", head, tail);
	close(fd);
	rc = conf_load(path, ret_conf, message);
	unlink(path);
	return rc;
}

static void defaults_and_both_sections(void **state)
{
	char message[CONF_MESSAGE_MAX] = "";
	struct conf *c;

	(void)state;
	assert_int_equal(load(pair, "control:\n  anything: [1, 2]\n", &c, message), 0);
	assert_int_equal(c->memory, 256);
	assert_int_equal(c->workers, 1);
	assert_int_equal(c->capacity, 1000000);
	assert_false(c->start_open);
	assert_false(c->inbound_allow);
	assert_string_equal(c->run_dir, "/run/stanch");
	assert_int_equal(conf_port_find(c, "b"), 1);
	assert_int_equal(conf_port_find(c, "c"), -1);
	conf_free(c);
}

static void nat64_prefixes(void **state)
{
	char message[CONF_MESSAGE_MAX] = "";
	struct nat64 nat64;
	struct conf *c;

	(void)state;
	assert_int_equal(
		load(pair, "  nat64: [\"2001:db8:64::/96\", \"2001:db8::/32\"]\n", &c, message), 0
	);
	assert_int_equal(conf_nat64(c, &nat64), -1);
	assert_int_equal(nat64.n, 2);
	assert_int_equal(nat64.prefix[1].len, 32);
	conf_free(c);
}

static void refusals_name_the_place(void **state)
{
	static const struct {
		const char *head, *want;
	} cases[] = {
		{"  memory: lots\n", ":2:"},
		{"  speed: 3\n", "speed"},
		{"  workers: 17\n", "dataplane.workers"},
		{"  nat64: [\"2001:db8:64::/96\", \"2001:db8::/63\"]\n", "dataplane.nat64[1]"},
		{"  nat64: [\"192.0.2.0/24\"]\n", "dataplane.nat64[0]"},
		{"  nat64: [\"evil.example\"]\n", "dataplane.nat64[0]"},
		{"  workers: 0\n", "dataplane.workers"},
		{"  memory: 0\n", "dataplane.memory"},
		{"  capacity: 0\n", "dataplane.capacity"},
		{"  lcores: \"0,3-1\"\n", "dataplane.lcores"},
		{"  capacity: 10\n", "dataplane.capacity"},
		{"  lcores: \"a\"\n", "dataplane.lcores"},
		{"  on_stop: bypass\n", "dataplane.on_stop"},
		{"  on_stop_hook: /nowhere/hook\n", "dataplane.on_stop_hook"},
		{"  inbound: maybe\n", ":2:"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char message[CONF_MESSAGE_MAX] = "";
		struct conf *c;

		assert_true(load(cases[i].head, pair, &c, message) < 0);
		if (!strstr(message, cases[i].want))
			fail_msg("\"%s\" does not name %s", message, cases[i].want);
	}
}

static void pairs_are_checked(void **state)
{
	static const char *const wrong[] = {
		"  ports:\n    - {name: a, iface: x}\n  pairs:\n    - {inside: a, outside: b}\n",
		"  ports:\n    - {name: a, iface: x}\n  pairs:\n    - {inside: a, outside: a}\n",
		"  ports:\n    - {name: a}\n    - {name: b, iface: y}\n  pairs:\n    - {inside: a, "
		"outside: b}\n",
		"  ports:\n    - {name: a, iface: x, driver: tap}\n    - {name: b, iface: y}\n"
		"  pairs:\n    - {inside: a, outside: b}\n",
		"  ports:\n    - {name: a, iface: x}\n    - {name: a, iface: y}\n"
		"    - {name: b, iface: z}\n  pairs:\n    - {inside: a, outside: b}\n",
		"  ports:\n    - {name: a, iface: x}\n    - {name: b, iface: y}\n"
		"    - {name: c, iface: z}\n  pairs:\n    - {inside: a, outside: b}\n",
		"  ports:\n    - {name: a, iface: x, pci: y}\n    - {name: b, iface: y}\n"
		"  pairs:\n    - {inside: a, outside: b}\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char message[CONF_MESSAGE_MAX] = "";
		struct conf *c;

		assert_true(load("", wrong[i], &c, message) < 0);
		assert_true(strlen(message) > 10);
	}
}

static void cpus(void **state)
{
	unsigned n[CONF_WORKERS_MAX + 1];
	struct conf c = {.lcores = (char[]){"0,2-4,7"}};

	(void)state;
	assert_int_equal(conf_lcores(&c, n), 5);
	assert_int_equal(n[3], 4);
	c.lcores = (char[]){"0,"};
	assert_int_equal(conf_lcores(&c, n), 1);
	c.lcores = (char[]){"0-99"};
	assert_true(conf_lcores(&c, n) < 0);
	c.lcores = (char[]){""};
	assert_true(conf_lcores(&c, n) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_and_both_sections),
		cmocka_unit_test(nat64_prefixes),
		cmocka_unit_test(refusals_name_the_place),
		cmocka_unit_test(pairs_are_checked),
		cmocka_unit_test(cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
