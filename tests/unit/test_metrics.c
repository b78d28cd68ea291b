// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The text of metrics, the data plane's status in it, and the resolvers of resolv.conf.

#include "control/metrics_page.h"
#include "control/protect.h"
#include "control/resolvers.h"
#include "rules/wire.h"
#include "tests/unit/cm.h"

#include <event2/event.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_text(void **state)
{
	(void)state;
	struct metrics_page *page = metrics_page_create();
	const char *first[] = {"thehive:a\"b\\c\nd", "2xx"};
	const char *second[] = {"f5xc", "5xx"};
	const char *service[] = {"f5xc"};
	metrics_add_count(page, METRIC_CLIENT_ANSWERS, UINT64_MAX, first);
	metrics_add(page, METRIC_CLIENT_LAST_OK, 1.5, service);
	metrics_add_count(page, METRIC_CLIENT_ANSWERS, 0, second);
	const char *version[] = {"1"};
	metrics_add_count(page, METRIC_BUILD, 1, version);
	char *text = metrics_page_text(page);
	assert_string_equal(
		text,
		"# TYPE stanch_build info\n"
		"# HELP stanch_build The running version.\n"
		"stanch_build_info{version=\"1\"} 1\n"
		"# TYPE stanch_http_client_answers counter\n"
		"# HELP stanch_http_client_answers Answers by the class of their status.\n"
		"stanch_http_client_answers_total{service=\"thehive:a\\\"b\\\\c\\nd\",class="
		"\"2xx\"} "
		"18446744073709551615\n"
		"stanch_http_client_answers_total{service=\"f5xc\",class=\"5xx\"} 0\n"
		"# TYPE stanch_http_client_last_ok_seconds gauge\n"
		"# UNIT stanch_http_client_last_ok_seconds seconds\n"
		"# HELP stanch_http_client_last_ok_seconds Time of the last good answer, seconds "
		"since the epoch; 0: never.\n"
		"stanch_http_client_last_ok_seconds{service=\"f5xc\"} 1.5\n"
		"# EOF\n"
	);
	free(text);
	metrics_page_free(page);
}

struct message {
	struct wire_status status;
	struct wire_reason reasons[2];
	struct wire_port ports[1];
};

static char *dataplane_text(const void *status, size_t len)
{
	struct metrics_page *page = metrics_page_create();
	metrics_add_dataplane(page, status, len);
	char *text = metrics_page_text(page);
	metrics_page_free(page);
	return text;
}

static void test_dataplane(void **state)
{
	(void)state;
	struct message message = {
		.status = {.n_reasons = 2, .n_ports = 1, .ready = 1, .scrub_age_ms = 1500},
		.reasons = {{.name = "DENIED", .packets = 7, .bytes = 700}, {.verdict = 1}},
		.ports = {{.name = "inside", .inside = 1, .rx_packets = 9}},
	};
	message.status.state.number = 5;
	// A name that fills its field: no NUL in it.
	memset(message.reasons[1].name, 'N', sizeof(message.reasons[1].name));
	char *text = dataplane_text(&message, sizeof(message));
	assert_non_null(strstr(text, "stanch_dataplane_connected 1\n"));
	assert_non_null(strstr(text, "stanch_dataplane_revision_number 5\n"));
	assert_non_null(strstr(
		text, "stanch_dataplane_packets_total{reason=\"DENIED\",verdict=\"drop\"} 7\n"
	));
	assert_non_null(strstr(text, "NNNN\",verdict=\"forward\"} 0\n"));
	assert_non_null(strstr(
		text, "stanch_dataplane_port_rx_packets_total{port=\"inside\",side=\"inside\"} 9\n"
	));
	assert_non_null(strstr(text, "stanch_dataplane_scrub_age_seconds 1.5\n"));
	free(text);
	message.status.scrub_age_ms = UINT64_MAX;
	text = dataplane_text(&message, sizeof(message));
	assert_null(strstr(text, "scrub_age"));
	free(text);
	// Cut short, counts that do not fit, nothing.
	for (size_t len = 0; len < sizeof(message); len += 8) {
		text = dataplane_text(&message, len);
		assert_non_null(strstr(text, "stanch_dataplane_connected 0\n"));
		free(text);
	}
	message.status.n_ports = UINT32_MAX;
	text = dataplane_text(&message, sizeof(message));
	assert_non_null(strstr(text, "stanch_dataplane_connected 0\n"));
	free(text);
	text = dataplane_text(NULL, 0);
	assert_non_null(strstr(text, "stanch_dataplane_connected 0\n"));
	free(text);
}

static bool derived_list(void *ctx, const struct protection *protection)
{
	char text[INDICATOR_TEXT_MAX], *list = ctx;
	if (protection->origin != PROTECT_DERIVED)
		return true;
	indicator_print(&protection->indicator, text);
	snprintf(list + strlen(list), 512 - strlen(list), "%s ", text);
	return true;
}

static void test_resolvers(void **state)
{
	(void)state;
	struct protect *protect = NULL;
	assert_int_equal(protect_create(false, PROTECT_REFUSE, &protect), 0);
	static const char text[] = "# nameserver 192.0.2.9\n"
				   "search example\n"
				   "nameserver 192.0.2.1\n"
				   "nameserver\t2001:db8::1%eth0 # second\r\n"
				   "nameserver nonsense\n"
				   "nameservers 192.0.2.8\n"
				   "nameserver \n"
				   "nameserver 192.0.2.3";
	assert_int_equal(resolvers_note(protect, text, sizeof(text) - 1), 3);
	char list[512] = "";
	protect_each(protect, derived_list, list);
	static const char *const expected[] = {
		"udp/192.0.2.1:53 ",
		"tcp/192.0.2.1:53 ",
		"udp/[2001:db8::1]:53 ",
		"tcp/[2001:db8::1]:53 ",
		"udp/192.0.2.3:53 ",
		"tcp/192.0.2.3:53 ",
	};
	size_t len = 0;
	for (size_t i = 0; i < 6; i++) {
		assert_non_null(strstr(list, expected[i]));
		len += strlen(expected[i]);
	}
	assert_int_equal(strlen(list), len);
	protect_free(protect);
}

static void file_replace(const char *path, const char *text)
{
	char other[128];
	snprintf(other, sizeof(other), "%s.new", path);
	FILE *to = fopen(other, "w");
	fputs(text, to);
	fclose(to);
	assert_int_equal(rename(other, path), 0);
}

static void test_resolvers_file(void **state)
{
	(void)state;
	char path[] = "/tmp/test_resolv.XXXXXX";
	close(mkstemp(path));
	file_replace(path, "nameserver 192.0.2.1\n");
	struct event_base *base = event_base_new();
	struct protect *protect = NULL;
	struct resolvers *resolvers = NULL;
	assert_int_equal(protect_create(false, PROTECT_REFUSE, &protect), 0);
	assert_int_equal(resolvers_create(base, protect, path, &resolvers), 0);
	char list[512] = "";
	protect_each(protect, derived_list, list);
	assert_non_null(strstr(list, "udp/192.0.2.1:53 "));
	// Absent is fine as well.
	resolvers_free(resolvers);
	unlink(path);
	assert_int_equal(resolvers_create(base, protect, path, &resolvers), 0);
	resolvers_free(resolvers);
	event_base_free(base);
	protect_free(protect);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_dataplane),
		cmocka_unit_test(test_resolvers),
		cmocka_unit_test(test_resolvers_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
