// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Status as a message, for people and for programs; /healthz for each part that can fail.

#include "dataplane/ctl_status.h"
#include "dataplane/health.h"
#include "dataplane/stats.h"
#include "dataplane/status.h"
#include "tests/unit/cm.h"

#include <event2/event.h>
#include <jansson.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// --- what workers and ports would count: in place of stats.c

static unsigned workers, stalled;
static bool link_up;

void stats_reasons(struct stats_reason ret_reasons[static REASON_COUNT])
{
	for (unsigned i = 0; i < REASON_COUNT; i++)
		ret_reasons[i] = (struct stats_reason){.packets = i, .bytes = 100 * i};
}

size_t stats_ports(struct stats_port *ret_ports, size_t max)
{
	assert_true(max >= 2);
	ret_ports[0] = (struct stats_port
	){.name = "inside", .link_up = true, .inside = true, .rx_packets = 11};
	ret_ports[1] = (struct stats_port){.name = "outside", .link_up = link_up};
	return 2;
}

uint64_t stats_worker_packets(unsigned worker)
{
	return worker + 1;
}

unsigned stats_workers(void)
{
	return workers;
}

unsigned stats_workers_stalled(void)
{
	return stalled;
}

struct fixture {
	struct status_sources sources;
	struct set *set;
	struct scrub *scrub;
	struct breakglass *breakglass;
	struct event_base *base;
	struct health *health;
};

static void
fault_ignored(void *ctx, enum table_fault fault, const struct entry *entry, bool repaired)
{
	(void)ctx;
	(void)fault;
	(void)entry;
	(void)repaired;
}

static void health_of(void *ctx, struct status_health *ret_health)
{
	struct fixture *f = ctx;

	*ret_health = status_health(&f->sources);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct set_options options = {.capacity = 10, .workers = 1};
	struct entry e = {.enforce_until = UNTIL_FOREVER};
	struct indicator_error error;
	struct list_state list = {.revision = {.epoch = 2, .number = 41}, .count = 1};

	workers = 1;
	stalled = 0;
	link_up = true;
	policy_init(&options.policy);
	assert_int_equal(
		set_create(&options, (struct table_time){1800000000000, 5000}, &f->set), 0
	);
	assert_int_equal(indicator_parse("evil.example", 12, &e.indicator, &error), 0);
	assert_int_equal(set_load_put(f->set, &e), 0);
	list.digest = entry_hash(&e);
	assert_int_equal(set_load_complete(f->set, &list), 0);
	assert_int_equal(scrub_create(f->set, fault_ignored, NULL, &f->scrub), 0);
	assert_int_equal(breakglass_create(f->set, NULL, &f->breakglass), 0);
	f->sources = (struct status_sources){
		.set = f->set,
		.scrub = f->scrub,
		.breakglass = f->breakglass,
		.list_origin = WIRE_LIST_PREVIOUS,
		.started_ms = 1000,
		.ready = true,
	};
	f->base = event_base_new();
	assert_int_equal(health_create(f->base, "127.0.0.1", health_of, f, &f->health), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	health_free(f->health);
	event_base_free(f->base);
	scrub_free(f->scrub);
	breakglass_free(f->breakglass);
	set_free(f->set);
	free(f);
	return 0;
}

static void test_message(void **state)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct fixture *f = *state;
	size_t len = status_build(&f->sources, message, sizeof(message));
	struct wire_status w;

	assert_int_equal(wire_header_check(message, len), 0);
	memcpy(&w, message, sizeof(w));
	assert_int_equal(w.state.number, 41);
	assert_int_equal(w.names, 1);
	assert_int_equal(w.names_matched, 0);
	assert_int_equal(w.n_reasons, REASON_COUNT);
	assert_int_equal(w.n_ports, 2);
	assert_int_equal(w.uptime_ms, 4000);
	assert_int_equal(w.list_error, LIST_ERROR_PREVIOUS);
	assert_true(w.scrub_age_ms == UINT64_MAX);
	while (!scrub_step(f->scrub, 1000))
		;
	status_build(&f->sources, message, sizeof(message));
	memcpy(&w, message, sizeof(w));
	assert_memory_equal(w.scrub_digest, w.state.digest, 16);
	assert_int_equal(w.scrub_count, 1);
	assert_int_equal(w.scrub_age_ms, 0);
}

static void test_for_people_and_programs(void **state)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct fixture *f = *state;
	size_t len = status_build(&f->sources, message, sizeof(message)), size = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);
	json_t *root;

	assert_int_equal(ctl_status_print(out, message, len), 0);
	fflush(out);
	assert_non_null(strstr(text, "2.41, 1 of 10 entries"));
	assert_non_null(strstr(text, "NOT enforced on the wire"));
	assert_non_null(strstr(text, "the one before it is in use"));
	assert_non_null(strstr(text, "outside    outside, up"));
	assert_int_equal(fseek(out, 0, SEEK_SET), 0);
	assert_int_equal(ctl_status_json(out, message, len), 0);
	fclose(out);
	root = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
	assert_non_null(root);
	assert_true(json_is_true(json_object_get(root, "previous_list")));
	assert_int_equal(json_array_size(json_object_get(root, "ports")), 2);
	assert_int_equal(json_object_size(json_object_get(root, "reasons")), REASON_COUNT);
	json_decref(root);
	free(text);
	// A message that lies about its rows
	assert_int_equal(ctl_status_print(stdout, message, len - 8), -EBADMSG);
	assert_int_equal(ctl_status_json(stdout, message, 10), -EBADMSG);
}

// What the server answers to a request, up to its closing.
static char *ask(struct fixture *f, const char *request)
{
	static char text[2048];
	struct sockaddr_in where = {
		.sin_family = AF_INET,
		.sin_port = htons(health_port(f->health)),
		.sin_addr = {htonl(INADDR_LOOPBACK)},
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = 0;
	ssize_t n;

	assert_int_equal(connect(fd, (struct sockaddr *)&where, sizeof(where)), 0);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	do {
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		n = recv(fd, text + len, sizeof(text) - 1 - len, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EAGAIN));
	close(fd);
	text[len] = '\0';
	return text;
}

static void unhealthy_for(struct fixture *f, const char *part)
{
	const char *text = ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");

	assert_non_null(strstr(text, "HTTP/1.1 503"));
	assert_non_null(strstr(text, "\"healthy\":false"));
	if (!strstr(text, part))
		fail_msg("%s is not in: %s", part, text);
}

static void test_health(void **state)
{
	struct fixture *f = *state;
	const char *healthy = ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");

	assert_non_null(strstr(healthy, "HTTP/1.1 200 OK"));
	assert_non_null(strstr(healthy, "\"healthy\":true"));
	assert_null(strstr(ask(f, "HEAD /healthz HTTP/1.1\r\n\r\n"), "healthy"));
	assert_non_null(strstr(ask(f, "GET / HTTP/1.1\r\n\r\n"), "404"));
	assert_non_null(strstr(ask(f, "POST /healthz HTTP/1.1\r\n\r\n"), "405"));
	stalled = 1;
	unhealthy_for(f, "\"workers\":false");
	stalled = 0;
	workers = 0;
	unhealthy_for(f, "\"workers\":false");
	workers = 1;
	link_up = false;
	unhealthy_for(f, "\"ports\":false");
	link_up = true;
	f->sources.ready = false;
	unhealthy_for(f, "\"ports\":false");
	f->sources.ready = true;
	f->sources.link_stalled = true;
	unhealthy_for(f, "\"applied\":false");
}

static void test_health_of_a_fault(void **state)
{
	struct fixture *f = *state;
	const struct match_key key = {.addr = {203, 0, 113, 1}, .family = 4, .prefix_len = 32};
	uint32_t rule;

	assert_int_equal(match_add(set_live(f->set)->entries, &key, MATCH_ENFORCE, &rule), 0);
	while (!scrub_step(f->scrub, 1000))
		;
	unhealthy_for(f, "\"scrub\":false");
	while (!scrub_step(f->scrub, 1000))
		;
	assert_non_null(strstr(ask(f, "GET /healthz HTTP/1.1\r\n\r\n"), "200 OK"));
}

static void test_connections_have_a_limit(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in where = {
		.sin_family = AF_INET,
		.sin_port = htons(health_port(f->health)),
		.sin_addr = {htonl(INADDR_LOOPBACK)},
	};
	int fds[40], closed = 0;

	for (int i = 0; i < 40; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&where, sizeof(where)), 0);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	for (int i = 0; i < 40; i++) {
		char c;

		closed += recv(fds[i], &c, 1, MSG_DONTWAIT) == 0;
		close(fds[i]);
	}
	assert_int_equal(closed, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_for_people_and_programs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_health, setup, teardown),
		cmocka_unit_test_setup_teardown(test_health_of_a_fault, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connections_have_a_limit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
