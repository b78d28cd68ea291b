// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What many share: hosts pass, anything wider is held. The MISP warninglists are read where they
// are (outside the repository, $STANCH_SHARED_DATA/lists/warninglists); so is the list of our own.

#include "control/cautions.h"
#include "tests/unit/ledger_fixture.h"

#include <errno.h>

static const char text[] = "# comment\n"
			   " 198.51.100.0/24 # a cloud\r\n"
			   "\n"
			   "203.0.113.9\n"
			   "2001:db8:1::/48\n"
			   ".cdn.example\n"
			   "files.shared.example\n"
			   ".github.io\n"
			   "what is this\n"
			   "tcp/192.0.2.1:443\n"
			   "/regex/\n"
			   "2001:db8:2::/48"; // and no newline

static const char json[] = "{\"name\":\"Clouds\",\"version\":7,\"type\":\"cidr\",\"list\":"
			   "[\"192.0.2.0/25\",\".pages.example\",5,\"\",\"-\"]}";

static struct cautions *cautions_of(const char *content, int want)
{
	char path[] = "/tmp/stanch-cautions-XXXXXX", message[256];
	int fd = mkstemp(path);
	struct cautions *cautions = NULL;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
	assert_int_equal(cautions_create(&cautions), 0);
	int error = cautions_load(cautions, path, message);
	unlink(path);
	if (error != want)
		fail_msg("%s: %d %s", content, error, message);
	if (error)
		assert_non_null(strstr(message, path));
	return cautions;
}

static bool held(const struct cautions *cautions, const char *indicator, const char *why)
{
	struct indicator n = indicator_of(indicator);
	char told[192] = "";
	bool is = cautions_check(cautions, &n, told);
	if (is && !strstr(told, why))
		fail_msg("%s: %s", indicator, told);
	return is;
}

static void hosts_pass_wider_ones_are_held(void **state)
{
	(void)state;
	struct cautions *c = cautions_of(text, 0);
	assert_int_equal(cautions_count(c), 7);
	static const struct {
		const char *indicator, *why; // NULL: passes
	} rows[] = {
		{"198.51.100.7", NULL},
		{"tcp/198.51.100.7:443", NULL},
		{"198.51.100.0/24", "198.51.100.0/24"},
		{"198.51.100.128/31", "198.51.100.0/24"},
		{"198.51.0.0/16", "198.51.100.0/24"},
		{"198.51.101.0/24", NULL},
		{"198.51.96.0/22", NULL},
		{"203.0.113.9", NULL},
		{"203.0.113.8/31", "203.0.113.9"},
		{"203.0.113.10/31", NULL},
		{"2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"2001:db8::/33", "2001:db8:1::/48"},
		{"2001:db8:3::/48", NULL},
		{"2001:db8:2::/64", "2001:db8:2::/48"},
		{"cdn.example", NULL},
		{"a.cdn.example", NULL},
		{"*.cdn.example", "*.cdn.example"},
		{"*.a.cdn.example", "*.cdn.example"},
		{"*.acdn.example", NULL},
		{"*.shared.example", "files.shared.example"},
		{"*.files.shared.example", "files.shared.example"},
		{"*.x.files.shared.example", NULL}, // that name alone is shared
		{"*.evil.github.io", NULL}, // one customer's: a public suffix parts it
		{"*.github.io", "*.github.io"},
		{"*.other.example", NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (held(c, rows[i].indicator, rows[i].why ? rows[i].why : "") != !!rows[i].why)
			fail_msg("%s", rows[i].indicator);
	cautions_free(c);
}

// Is the shorter prefix the beginning of the longer one? Bit by bit.
static bool overlap(const struct indicator *a, const struct indicator *b)
{
	uint8_t bits = a->prefix_len < b->prefix_len ? a->prefix_len : b->prefix_len;
	for (unsigned i = 0; i < bits; i++)
		if ((a->addr[i / 8] ^ b->addr[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static void net_random(char to[64])
{
	unsigned len = 12 + (unsigned)random() % 19; // 12 to 30
	uint32_t address = (10u << 24 | ((unsigned)random() & 0xfffff)) & ~0u << (32 - len);
	snprintf(
		to,
		64,
		"%u.%u.%u.%u/%u",
		address >> 24,
		address >> 16 & 255,
		address >> 8 & 255,
		address & 255,
		len
	);
}

// The searches agree with looking at each.
static void networks_agree_with_an_oracle(void **state)
{
	(void)state;
	char content[64 * 40], one[64];
	srandom(7);
	for (int round = 0; round < 50; round++) {
		struct indicator nets[40];
		size_t len = 0;
		for (int i = 0; i < 40; i++) {
			do
				net_random(one);
			while (strtol(strchr(one, '/') + 1, NULL, 10) < 20);
			nets[i] = indicator_of(one);
			len += (size_t)snprintf(content + len, sizeof(content) - len, "%s\n", one);
		}
		struct cautions *c = cautions_of(content, 0);
		for (int i = 0; i < 500; i++) {
			net_random(one);
			struct indicator n = indicator_of(one);
			bool meets = false;
			for (int k = 0; k < 40; k++)
				meets = meets || overlap(&nets[k], &n);
			if (held(c, one, "") != meets)
				fail_msg("%s among\n%s", one, content);
		}
		cautions_free(c);
	}
}

static void warninglists_are_read(void **state)
{
	(void)state;
	struct cautions *c = cautions_of(json, 0);
	assert_int_equal(cautions_count(c), 2);
	assert_true(held(c, "192.0.2.0/24", "Clouds, 7"));
	assert_true(held(c, "*.pages.example", "Clouds, 7"));
	assert_false(held(c, "192.0.2.128/25", ""));
	cautions_free(c);
	static const char *const bad[]
		= {"{", "{}", "{\"list\":{}}", " {\"list\":[\"192.0.2.1\"", "{\"name\":\"x\"}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cautions_free(cautions_of(bad[i], -EINVAL));
	cautions_free(cautions_of("", 0));
	char message[256];
	assert_int_equal(cautions_create(&c), 0);
	assert_int_equal(cautions_load(c, "/nonexistent/list", message), -ENOENT);
	assert_non_null(strstr(message, "/nonexistent/list"));
	cautions_free(c);
}

static void our_own_list_is_good(void **state)
{
	(void)state;
	struct cautions *c;
	char message[256];
	assert_int_equal(cautions_create(&c), 0);
	assert_int_equal(
		cautions_load(
			c, STANCH_ROOT "/scripts/deploy/cautions/shared-services.txt", message
		),
		0
	);
	assert_true(cautions_count(c) > 70);
	assert_true(held(c, "104.16.0.0/16", "104.16.0.0/13"));
	assert_true(held(c, "*.amazonaws.com", "*.amazonaws.com"));
	assert_false(held(c, "104.16.0.1", ""));
	cautions_free(c);
}

static void recorded_warninglists(void **state)
{
	(void)state;
	static const char *const files[]
		= {"amazon-aws", "cloudflare", "lots-project", "public-dns-v4", "public-dns-v6"};
	const char *shared = getenv("STANCH_SHARED_DATA");
	struct cautions *c;
	char path[512], message[256];
	snprintf(path, sizeof(path), "%s/lists/warninglists", shared ? shared : SHARED_DATA);
	if (access(path, R_OK) < 0) {
		print_message("skipped: %s is absent\n", path);
		skip();
	}
	assert_int_equal(cautions_create(&c), 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(
			path,
			sizeof(path),
			"%s/lists/warninglists/%s.json",
			shared ? shared : SHARED_DATA,
			files[i]
		);
		if (cautions_load(c, path, message) < 0)
			fail_msg("%s", message);
	}
	assert_true(cautions_count(c) > 60000);
	assert_true(held(c, "104.16.0.0/16", "loudflare"));
	assert_true(held(c, "*.blob.core.windows.net", "windows.net"));
	assert_true(held(c, "1.1.1.0/24", ""));
	assert_false(held(c, "1.1.1.1", ""));
	assert_false(held(c, "drive.google.com", ""));
	cautions_free(c);
}

// In the ledger: held until an operator says so, whoever claims it.
static void the_ledger_holds_them(void **state)
{
	(void)state;
	struct fixture f;
	struct entry e;
	fixture_init(&f, PROTECT_REFUSE);
	protect_cautions_set(f.protect, cautions_of(text, 0));
	assert_int_equal(
		put(&f, "thehive:soc", "soc/1/1", "198.51.100.0/24", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_HELD
	);
	assert_non_null(strstr(f.result[0].message, "wider than a host"));
	assert_false(entry_is(&f, "198.51.100.0/24", &e));
	assert_int_equal(
		put(&f, "thehive:soc", "soc/1/2", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_OK
	);
	assert_int_equal(operator_blocks(&f, "*.cdn.example"), SUBMIT_HELD);
	assert_int_equal(
		submit_as(
			&f,
			put_item("operator", "x", "*.cdn.example", CLAIM_ENFORCE, UNTIL_FOREVER),
			&forcing
		),
		SUBMIT_OK
	);
	// What was in force before the caution came stays, and may change.
	protect_cautions_set(f.protect, NULL);
	put(&f, "thehive:soc", "soc/1/3", "2001:db8:1::/48", CLAIM_ENFORCE, UNTIL_FOREVER);
	protect_cautions_set(f.protect, cautions_of(text, 0));
	assert_int_equal(
		put(&f, "thehive:soc", "soc/1/3", "2001:db8:1::/48", CLAIM_MONITOR, UNTIL_FOREVER),
		SUBMIT_OK
	);
	ledger_check(f.ledger);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_pass_wider_ones_are_held),
		cmocka_unit_test(networks_agree_with_an_oracle),
		cmocka_unit_test(warninglists_are_read),
		cmocka_unit_test(our_own_list_is_good),
		cmocka_unit_test(recorded_warninglists),
		cmocka_unit_test(the_ledger_holds_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
