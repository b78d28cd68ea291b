// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The configuration: defaults, places of errors in form, key paths of errors in meaning.

#include "control/conf.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char message[CONF_MESSAGE_MAX];

static struct conf *parse(const char *text)
{
	struct conf *conf = NULL;
	int error = conf_parse("x.yaml", text, strlen(text), false, &conf, message);
	if (error)
		assert_null(conf);
	return conf;
}

// The text is refused, and one line of the messages begins so.
static void assert_refused(const char *text, const char *line)
{
	struct conf *conf = parse(text);
	if (conf)
		fail_msg("accepted, expected \"%s\": %s", line, text);
	size_t len = strlen(line);
	for (const char *at = message; *at; at += strcspn(at, "\n") + 1)
		if (strncmp(at, line, len) == 0)
			return;
	fail_msg("expected \"%s\", got: %s", line, message);
}

static const char thehive[] = "control:\n"
			      "  thehive:\n"
			      "    - name: soc\n"
			      "      url: http://127.0.0.1:9000/thehive/\n"
			      "      key_file: /k\n";

static void test_defaults(void **state)
{
	(void)state;
	struct conf *conf = parse("control: {state_dir: /s}\ndataplane: {ports: [{name: a}]}\n");
	assert_non_null(conf);
	assert_string_equal(message, "");
	assert_string_equal(conf->state_dir, "/s");
	assert_string_equal(conf->run_dir, "/run/stanch");
	assert_null(conf->listen);
	assert_true(conf->protect.private_ranges);
	assert_int_equal(conf->protect.overlap, CONF_OVERLAP_REFUSE);
	assert_int_equal(conf->brakes.shortest_prefix_v4, 16);
	assert_int_equal(conf->brakes.shortest_prefix_v6, 32);
	assert_int_equal(conf->brakes.case_claims_per_minute, 200);
	assert_int_equal(conf->ledger.max_entries, 1000000);
	assert_int_equal(conf->http.max_connections, 4096);
	assert_int_equal(conf->n_thehive, 0);
	assert_null(conf->f5xc);
	conf_free(conf);
}

static void test_thehive(void **state)
{
	(void)state;
	struct conf *conf = parse(thehive);
	assert_non_null(conf);
	assert_int_equal(conf->n_thehive, 1);
	const struct conf_thehive *hive = &conf->thehive[0];
	assert_string_equal(hive->url, "http://127.0.0.1:9000/thehive");
	assert_int_equal(hive->n_true_positive, 1);
	assert_string_equal(hive->true_positive[0], "TruePositive");
	assert_int_equal(hive->n_data_types, 5);
	assert_string_equal(hive->data_types[4], "url");
	assert_int_equal(hive->max_pap, 2);
	assert_int_equal(hive->full_s, 900);
	assert_true(hive->max_per_second > 1.9 && hive->max_per_second < 2.1);
	conf_free(conf);
}

static void test_values(void **state)
{
	(void)state;
	struct conf *conf
		= parse("control:\n"
			"  protect: {private: no, overlap: except, networks: [\"192.0.2.0/24\", "
			"\"tcp/198.51.100.1:443\"], names: [corp.example, \"*.corp.example\"]}\n"
			"  brakes: {shortest_prefix_v4: 24}\n"
			"  f5xc:\n"
			"    url: https://t.example/api\n"
			"    token_file: /t\n"
			"    fleet_id: site-a\n"
			"    max_tlp: GREEN\n");
	assert_non_null(conf);
	assert_false(conf->protect.private_ranges);
	assert_int_equal(conf->protect.overlap, CONF_OVERLAP_EXCEPT);
	assert_int_equal(conf->protect.n_networks, 2);
	assert_int_equal(conf->protect.n_names, 2);
	assert_int_equal(conf->brakes.shortest_prefix_v4, 24);
	assert_non_null(conf->f5xc);
	assert_int_equal(conf->f5xc->max_tlp, 1);
	assert_int_equal(conf->f5xc->n_mirror, 2);
	assert_string_equal(conf->f5xc->xc_namespace, "system");
	conf_free(conf);
}

static void test_redis(void **state)
{
	(void)state;
	struct conf *conf
		= parse("control:\n"
			"  redis:\n"
			"    - name: feeds\n"
			"      address: /r\n"
			"      key_prefix: 'soc:'\n"
			"      lists: [{name: a, key: a}, {name: b, key: b, channel: c}]\n");
	assert_non_null(conf);
	const struct conf_redis *redis = &conf->redis[0];
	assert_string_equal(redis->server.address, "/r");
	assert_int_equal(redis->server.timeout_ms, 5000);
	assert_string_equal(redis->lists[0].key, "soc:a");
	assert_string_equal(redis->lists[0].channel, "soc:a:changes");
	assert_string_equal(redis->lists[1].channel, "soc:c");
	conf_free(conf);
	assert_refused(
		"control: {redis: [{name: a, address: x}]}\n", "control.redis[0].address: expected"
	);
	assert_refused(
		"control: {redis: [{name: a, address: /r, tls: {}}]}\n",
		"control.redis[0].address: tls needs an address HOST:PORT"
	);
	assert_refused(
		"control: {redis: [{name: a, address: 'h:1', tls: {key_file: /k}}]}\n",
		"control.redis[0].tls: cert_file is missing"
	);
	conf = parse("control: {redis: [{name: a, address: 'h:1', tls: {}}]}\n");
	assert_non_null(conf);
	assert_string_equal(message, "");
	assert_non_null(conf->redis[0].server.tls);
	conf_free(conf);
	conf = parse("control: {redis: [{name: a, sentinel: {master: m, addresses: ['127.0.0.1:1', "
		     "'[::1]:2']}}]}\n");
	assert_non_null(conf);
	assert_string_equal(message, "");
	assert_string_equal(conf->redis[0].server.sentinel->addresses[1], "[::1]:2");
	conf_free(conf);
	assert_refused(
		"control: {redis: [{name: a}]}\n", "control.redis[0]: needs address or sentinel"
	);
	assert_refused(
		"control: {redis: [{name: a, address: /r, sentinel: {master: m, addresses: "
		"['h:1']}}]}\n",
		"control.redis[0]: needs address or sentinel"
	);
	assert_refused(
		"control: {redis: [{name: a, sentinel: {master: m, addresses: []}}]}\n",
		"control.redis[0].sentinel: addresses are missing"
	);
	assert_refused(
		"control: {redis: [{name: a, sentinel: {master: m, addresses: ['h:1', h]}}]}\n",
		"control.redis[0].sentinel.addresses[1]: expected HOST:PORT"
	);
	assert_refused(
		"control: {redis: [{name: a, address: /r, user: u}]}\n",
		"control.redis[0]: user needs password_file"
	);
	assert_refused(
		"control: {redis: [{name: a, address: /r, lists: [{name: a, key: k}, "
		"{name: a, key: l}]}]}\n",
		"control.redis[0].lists[1].name: stands above already"
	);
}

#define FLEET "control: {fleet: {id: soc, redis: {address: /r}, key_file: /k"

static void test_fleet(void **state)
{
	(void)state;
	char name[256] = "";
	struct conf *conf = parse(FLEET "}}\n");
	assert_non_null(conf);
	const struct conf_fleet *fleet = conf->fleet;
	assert_int_equal(fleet->role, CONF_FLEET_AUTO);
	assert_int_equal(fleet->lease_ms, 4000);
	assert_string_equal(fleet->redis.address, "/r");
	assert_int_equal(fleet->redis.timeout_ms, 5000);
	assert_int_equal(gethostname(name, sizeof(name) - 1), 0);
	assert_string_equal(fleet->gateway, name);
	conf_free(conf);
	// The owner label at F5 is the fleet's, not a machine's.
	conf = parse(FLEET ", gateway: g1}, f5xc: {url: \"https://t.example\", token_file: /t}}\n");
	assert_non_null(conf);
	assert_string_equal(conf->f5xc->fleet_id, "soc");
	assert_string_equal(conf->fleet->gateway, "g1");
	conf_free(conf);
	assert_refused(
		"control: {f5xc: {url: \"https://t.example\", token_file: /t}}\n",
		"control.f5xc.fleet_id: is needed"
	);
	conf = parse(FLEET ", role: single}}\n");
	assert_non_null(conf);
	assert_non_null(strstr(message, "warning: control.fleet.role: single"));
	conf_free(conf);
	assert_refused("control: {fleet: {id: soc, key_file: /k}}\n", "x.yaml:1:");
	assert_refused(
		"control: {fleet: {id: 'a:b', redis: {address: /r}, key_file: /k}}\n",
		"control.fleet.id: 1 to 40 of"
	);
	assert_refused(
		"control: {fleet: {id: a, redis: {address: r}, key_file: /k}}\n",
		"control.fleet.redis.address: expected"
	);
	assert_refused(FLEET ", gateway: 'a b'}}\n", "control.fleet.gateway: 1 to 63 of");
	assert_refused(FLEET ", lease_ms: 1999}}\n", "control.fleet.lease_ms: must be");
	assert_refused(FLEET ", role: chief}}\n", "x.yaml:1:");
	assert_refused(
		FLEET ", previous_key_file: /k}}\n",
		"control.fleet.previous_key_file: is the same key"
	);
}

static void test_form(void **state)
{
	(void)state;
	assert_refused("", "x.yaml: one YAML document");
	assert_refused("--- {}\n--- {}\n", "x.yaml: one YAML document");
	assert_refused("control:\n\tstate_dir: /x\n", "x.yaml:2:1: ");
	assert_refused("control: [\n", "x.yaml:2:1: ");
	assert_refused("kontrol: {}\n", "x.yaml:1:1: Unexpected key: kontrol");
	assert_refused(
		"control:\n  state_dir: /x\n  stat_dir: /y\n",
		"x.yaml:3:3: Unexpected key: stat_dir"
	);
	assert_refused(
		"control:\n  state_dir: /x\n  state_dir: /y\n", "x.yaml:3:3: Mapping field already"
	);
	assert_refused("control:\n  protect:\n    private: maybe\n", "x.yaml:3:14: Invalid ENUM");
	assert_refused("control:\n  http:\n    deadline_ms: -1\n", "x.yaml:3:18: Invalid UINT");
	assert_refused(
		"control: {ledger: {max_entries: -1}}\n", "control.ledger.max_entries: must"
	);
	assert_refused("control:\n  state_dir: {a: b}\n", "x.yaml:2:14: Expecting STRING");
	assert_refused("control: {state_dir: &a /x, run_dir: *a}\n", "x.yaml:1:");
	assert_refused("control:\n  thehive: [{name: x}]\n", "x.yaml:2:");
	assert_refused("dataplane: {}\n", "x.yaml");
}

static void test_meaning(void **state)
{
	(void)state;
	assert_refused(
		"control: {protect: {networks: [\"192.0.2.0/24\", \"192.0.2.1\", "
		"\"192.0.2.1/24\"]}}\n",
		"control.protect.networks[2]: column "
	);
	assert_refused(
		"control: {protect: {networks: [corp.example]}}\n",
		"control.protect.networks[0]: is a name"
	);
	assert_refused(
		"control: {protect: {names: [\"192.0.2.1\"]}}\n",
		"control.protect.names[0]: is no name"
	);
	assert_refused(
		"control: {brakes: {shortest_prefix_v4: 33}}\n",
		"control.brakes.shortest_prefix_v4: must be from 1 to 32"
	);
	assert_refused("control: {listen: nowhere}\n", "control.listen: expected");
	assert_refused("control: {tls: {cert_file: /c}}\n", "control.tls: needs both");
	assert_refused("control: {state_dir: here}\n", "control.state_dir: must be an absolute");
	assert_refused(
		"control: {f5xc: {url: \"https://t.example\", fleet_id: a}}\n",
		"control.f5xc: needs token_file"
	);
	assert_refused(
		"control: {f5xc: {url: \"ftp://t.example\", fleet_id: a, token_file: /x}}\n",
		"control.f5xc.url: expected"
	);
	assert_refused(
		"control: {f5xc: {url: \"https://t.example\", fleet_id: a, token_file: /x, "
		"mirror: [cases, lists]}}\n",
		"control.f5xc.mirror[1]: is none"
	);
	// One more stays in the set, and F5 takes 1,024.
	assert_refused(
		"control: {f5xc: {url: \"https://t.example\", fleet_id: a, token_file: /x, "
		"set_size: 1024}}\n",
		"control.f5xc.set_size: must be from 1 to 1023"
	);
	assert_refused(
		"control: {f5xc: {url: \"https://t.example\", fleet_id: a, token_file: /x, "
		"namespace: a/b}}\n",
		"control.f5xc.namespace: 1 to 63 of"
	);
	char twice[1024];
	snprintf(
		twice,
		sizeof(twice),
		"%s    - {name: soc, url: \"http://[::1]:1\", key_file: /k}\n",
		thehive
	);
	assert_refused(twice, "control.thehive[1].name: stands above");
	snprintf(twice, sizeof(twice), "%s      data_types: [ip, hash]\n", thehive);
	assert_refused(twice, "control.thehive[0].data_types[1]: is none");
	snprintf(twice, sizeof(twice), "%s      types: [{type: ip_home, as: address}]\n", thehive);
	assert_refused(twice, "control.thehive[0].types[0].as: is none");
	snprintf(
		twice,
		sizeof(twice),
		"%s      responses: [{value: Block, action: enforce, for: soon}]\n",
		thehive
	);
	assert_refused(twice, "control.thehive[0].responses[0].for: expected");
}

static void test_limits(void **state)
{
	(void)state;
	struct conf *conf = parse("control: {brakes: {shortest_prefix_v4: 32}}\n");
	assert_non_null(conf);
	conf_free(conf);
	assert_refused("control: {http: {deadline_ms: 9}}\n", "control.http.deadline_ms");
	conf = parse("control: {http: {deadline_ms: 10}}\n");
	assert_non_null(conf);
	conf_free(conf);
	assert_refused("control: {http: {max_connections: 4294967296}}\n", "x.yaml:1:");
}

static void test_several(void **state)
{
	(void)state;
	const char *text = "control: {state_dir: a, run_dir: b, listen: c}\n";
	assert_refused(text, "control.state_dir:");
	assert_refused(text, "control.run_dir:");
	assert_refused(text, "control.listen:");
}

static void test_many(void **state)
{
	(void)state;
	char text[8192] = "control: {protect: {names: [";
	for (int i = 0; i < 300; i++)
		snprintf(
			text + strlen(text),
			sizeof(text) - strlen(text),
			"%s10.0.0.%d",
			i ? "," : "",
			i % 250
		);
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "]}}\n");
	assert_refused(text, "control.protect.names[0]");
	assert_non_null(strstr(message, " more\n"));
	assert_true(strlen(message) < CONF_MESSAGE_MAX);
}

static void test_warnings(void **state)
{
	(void)state;
	struct conf *conf = parse("control: {listen: \"0.0.0.0:8080\"}\n");
	assert_non_null(conf);
	assert_non_null(strstr(message, "warning: control.listen: tokens travel in clear"));
	conf_free(conf);
}

static char dir[64];

static void file_write(const char *name, const char *text, mode_t mode)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

static void test_files(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_conf.XXXXXX");
	assert_non_null(mkdtemp(dir));
	char path[128], text[512];
	snprintf(path, sizeof(path), "%s/c.yaml", dir);
	snprintf(
		text,
		sizeof(text),
		"control:\n  thehive:\n    - name: soc\n      url: http://127.0.0.1:9000\n"
		"      key_file: %s/key\n",
		dir
	);
	file_write("c.yaml", text, 0600);

	struct conf *conf = NULL;
	assert_int_equal(conf_load(path, &conf, message), -EINVAL);
	assert_non_null(strstr(message, "control.thehive[0].key_file: "));
	assert_non_null(strstr(message, "No such file"));
	file_write("key", "\n", 0600);
	assert_int_equal(conf_load(path, &conf, message), -EINVAL);
	assert_non_null(strstr(message, "is empty"));
	file_write("key", "s3cret\n", 0644);
	assert_int_equal(conf_load(path, &conf, message), 0);
	assert_non_null(strstr(message, "warning: control.thehive[0].key_file: "));
	assert_null(strstr(message, "s3cret"));
	conf_free(conf);
	file_write("key", "s3cret\n", 0640);
	assert_int_equal(conf_load(path, &conf, message), 0);
	assert_string_equal(message, "");
	conf_free(conf);
	conf = NULL;
	snprintf(path, sizeof(path), "%s/none.yaml", dir);
	assert_int_equal(conf_load(path, &conf, message), -ENOENT);

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, i ? "key" : "c.yaml");
		unlink(path);
	}
	rmdir(dir);
}

// The key of a fleet orders every gateway about: short, or open to everybody, is refused.
static void test_fleet_files(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_conf.XXXXXX");
	assert_non_null(mkdtemp(dir));
	char path[128], text[512];
	snprintf(path, sizeof(path), "%s/c.yaml", dir);
	snprintf(
		text,
		sizeof(text),
		"control: {fleet: {id: soc, gateway: a, redis: {address: /r}, key_file: %s/key, "
		"previous_key_file: %s/old}}\n",
		dir,
		dir
	);
	file_write("c.yaml", text, 0600);
	file_write("old", "0123456789abcdef0123456789abcdeX\n", 0640);
	struct conf *conf = NULL;
	file_write("key", "0123456789abcdef0123456789abcde\n", 0640);
	assert_int_equal(conf_load(path, &conf, message), -EINVAL);
	assert_non_null(strstr(message, "control.fleet.key_file: "));
	assert_non_null(strstr(message, "at least 32 octets"));
	file_write("key", "0123456789abcdef0123456789abcdef\n", 0644);
	assert_int_equal(conf_load(path, &conf, message), -EINVAL);
	assert_non_null(strstr(message, "everybody on this machine may use it"));
	file_write("key", "0123456789abcdef0123456789abcdeX\n", 0640);
	assert_int_equal(conf_load(path, &conf, message), -EINVAL);
	assert_non_null(strstr(message, "previous_key_file: is the same key"));
	file_write("key", "0123456789abcdef0123456789abcdef\n", 0640);
	assert_int_equal(conf_load(path, &conf, message), 0);
	conf_free(conf);

	static const char *const names[] = {"c.yaml", "key", "old"};
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static void test_keys_documented(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	conf_keys_print(to);
	fclose(to);
	assert_non_null(strstr(text, "control.thehive[].tls.ca_file | file |"));
	assert_non_null(strstr(text, "control.fleet.redis.address | text | "));
	assert_non_null(strstr(text, "control.fleet.role | word | auto | "));
	assert_null(strstr(text, "(null)"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_thehive),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_redis),
		cmocka_unit_test(test_fleet),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_meaning),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_fleet_files),
		cmocka_unit_test(test_keys_documented),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
