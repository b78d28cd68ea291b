// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The HTTP client against a raw server on the same loop that answers by script.

#include "control/http_client.h"
#include "control/protect.h"
#include "tests/unit/cm.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000

static struct event_base *base;
static struct evconnlistener *listener;
static struct http_client *client;
static struct protect *protect;
static char url[64];
static char request_text[65536]; // the last request, as it came
static unsigned n_requests, n_connections;
static int64_t request_times[16];

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// --- the server

// Path → what is sent back. `silent`: nothing more, the connection stays.
struct script {
	const char *path, *text;
	bool close, silent;
};

static const struct script scripts[] = {
	{"/plain",
	 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Total: 42\r\nContent-Type: "
	 "text/plain\r\n\r\nhello",
	 false,
	 false},
	{"/api/v1/query", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", false, false},
	{"/chunked",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
	 false,
	 false},
	{"/trailer",
	 "HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
	 false,
	 false},
	{"/empty", "HTTP/1.1 204 No Content\r\n\r\n", false, false},
	{"/limit",
	 "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
	 false,
	 false},
	{"/error", "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", false, false},
	{"/redirect",
	 "HTTP/1.1 302 Found\r\nLocation: /plain\r\nContent-Length: 0\r\n\r\n",
	 false,
	 false},
	{"/short", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhel", true, false},
	{"/short-chunked",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
	 true,
	 false},
	{"/no-length", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", true, false},
	{"/nothing", "", true, false},
	{"/headers-cut", "HTTP/1.1 200 OK\r\nContent-", true, false},
	{"/nonsense", "220 smtp.example ESMTP\r\n", true, false},
	{"/silent", "", false, true},
	{"/half", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhel", false, true},
	{"/huge-length", "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\nhel", false, true},
};

static void huge_send(struct bufferevent *bev)
{
	static char data[4096];
	memset(data, 'h', sizeof(data));
	struct evbuffer *out = bufferevent_get_output(bev);
	evbuffer_add_printf(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 64; i++) {
		evbuffer_add_printf(out, "1000\r\n");
		evbuffer_add(out, data, sizeof(data));
		evbuffer_add_printf(out, "\r\n");
	}
	evbuffer_add_printf(out, "0\r\n\r\n");
}

static void server_flushed(struct bufferevent *bev, void *ctx)
{
	(void)ctx;
	bufferevent_free(bev);
}

static void server_event(struct bufferevent *bev, short what, void *ctx)
{
	(void)ctx;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		bufferevent_free(bev);
}

static void server_answer(struct bufferevent *bev, const char *path, size_t path_len)
{
	if (path_len == 5 && memcmp(path, "/huge", 5) == 0) {
		huge_send(bev);
		return;
	}
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		const struct script *script = &scripts[i];
		if (strlen(script->path) != path_len || memcmp(path, script->path, path_len) != 0)
			continue;
		bufferevent_write(bev, script->text, strlen(script->text));
		if (script->close && !script->text[0])
			bufferevent_free(bev);
		else if (script->close)
			bufferevent_setcb(bev, NULL, server_flushed, server_event, NULL);
		return;
	}
	fail_msg("no script for %.*s", (int)path_len, path);
}

static void server_read(struct bufferevent *bev, void *ctx)
{
	(void)ctx;
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t len = evbuffer_get_length(in);
	assert_true(len < sizeof(request_text));
	evbuffer_copyout(in, request_text, len);
	request_text[len] = '\0';
	char *end = strstr(request_text, "\r\n\r\n");
	if (!end)
		return;
	const char *length = strstr(request_text, "Content-Length: ");
	size_t body = length ? strtoul(length + 16, NULL, 10) : 0;
	if (len < (size_t)(end + 4 - request_text) + body)
		return;
	evbuffer_drain(in, len);
	if (n_requests < 16)
		request_times[n_requests] = now_ms();
	n_requests++;
	const char *path = strchr(request_text, ' ') + 1;
	path += strncmp(path, "/base", 5) == 0 ? 5 : 0;
	server_answer(bev, path, strcspn(path, " ?"));
}

static void server_accept(
	struct evconnlistener *from, evutil_socket_t fd, struct sockaddr *peer, int len, void *ctx
)
{
	(void)from;
	(void)peer;
	(void)len;
	(void)ctx;
	n_connections++;
	struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(bev, server_read, NULL, server_event, NULL);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

// --- fixture

static void client_make(struct http_service service)
{
	service.name = "test";
	if (!service.base_url)
		service.base_url = url;
	assert_int_equal(http_client_create(base, &service, protect, &client), 0);
}

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	listener = evconnlistener_new_bind(
		base, server_accept, NULL, LEV_OPT_CLOSE_ON_FREE, 16, (void *)&at, sizeof(at)
	);
	assert_non_null(listener);
	socklen_t len = sizeof(at);
	getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&at, &len);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/base", ntohs(at.sin_port));
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &protect), 0);
	n_requests = n_connections = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http_client_free(client);
	client = NULL;
	if (listener)
		evconnlistener_free(listener);
	// What is left of the server's connections ends with their peers.
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_free(base);
	protect_free(protect);
	return 0;
}

struct result {
	bool come;
	struct http_answer answer;
	char body[512];
	size_t body_len;
	int64_t when;
};

static void taken(void *ctx, const struct http_answer *answer)
{
	struct result *result = ctx;
	assert_false(result->come);
	result->come = true;
	result->answer = *answer;
	result->body_len = answer->body_len;
	snprintf(result->body, sizeof(result->body), "%s", answer->body);
	result->when = now_ms();
}

static void wait_for(const bool *flag)
{
	int64_t end = now_ms() + PATIENCE_MS;
	while (!*flag) {
		if (now_ms() > end)
			fail_msg("no answer");
		const struct timeval soon = {.tv_usec = 2000};
		event_base_loopexit(base, &soon);
		event_base_dispatch(base);
	}
}

static struct result get(const char *method, const char *path, const char *body)
{
	struct result result = {0};
	int error = http_client_request(
		client, method, path, body, body ? strlen(body) : 0, taken, &result
	);
	assert_int_equal(error, 0);
	assert_false(result.come); // never inside the request
	wait_for(&result.come);
	return result;
}

// --- tests

static void test_answers(void **state)
{
	(void)state;
	static const char *const headers[] = {"X-Organisation: soc", NULL};
	client_make((struct http_service){.authorization = "Bearer key", .headers = headers});
	struct result result = get("GET", "/plain?a=b", NULL);
	assert_int_equal(result.answer.error, 0);
	assert_int_equal(result.answer.status, 200);
	assert_string_equal(result.body, "hello");
	assert_int_equal(result.body_len, 5);
	assert_string_equal(result.answer.x_total, "42");
	assert_string_equal(result.answer.content_type, "text/plain");
	assert_int_equal(result.answer.retry_after, -1);
	assert_int_equal(strncmp(request_text, "GET /base/plain?a=b HTTP/1.1\r\n", 30), 0);
	assert_non_null(strstr(request_text, "\r\nAuthorization: Bearer key\r\n"));
	assert_non_null(strstr(request_text, "\r\nX-Organisation: soc\r\n"));
	assert_null(strstr(request_text, "Content-Type"));
	result = get("GET", "/chunked", NULL);
	assert_string_equal(result.body, "hello");
	assert_string_equal(result.answer.x_total, "");
	result = get("GET", "/trailer", NULL);
	assert_int_equal(result.answer.error, 0);
	assert_string_equal(result.body, "hello");
	result = get("DELETE", "/empty", NULL);
	assert_int_equal(result.answer.status, 204);
	assert_string_equal(result.body, "");
	result = get("GET", "/limit", NULL);
	assert_int_equal(result.answer.error, 0);
	assert_int_equal(result.answer.status, 429);
	assert_int_equal(result.answer.retry_after, 7);
	result = get("GET", "/error", NULL);
	assert_int_equal(result.answer.status, 500);
	assert_string_equal(result.body, "no");
	result = get("GET", "/redirect", NULL);
	assert_int_equal(result.answer.status, 302);
	assert_int_equal(n_requests, 7);
	assert_int_equal(n_connections, 1); // kept alive
	struct http_client_counters counters;
	http_client_counters(client, &counters);
	assert_int_equal(counters.requests, 7);
	assert_int_equal(counters.failures, 0);
	assert_int_equal(counters.status[2], 4);
	assert_int_equal(counters.status[4], 1);
	assert_true(counters.last_ok_ms > 0);
}

static void test_methods(void **state)
{
	(void)state;
	client_make((struct http_service){0});
	static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE"};
	for (size_t i = 0; i < 4; i++) {
		char start[64];
		struct result result = get(methods[i], "/plain", "{\"a\":1}");
		assert_int_equal(result.answer.status, 200);
		snprintf(start, sizeof(start), "%s /base/plain HTTP/1.1\r\n", methods[i]);
		assert_int_equal(strncmp(request_text, start, strlen(start)), 0);
		assert_non_null(strstr(request_text, "\r\nContent-Type: application/json\r\n"));
		assert_non_null(strstr(request_text, "\r\n\r\n{\"a\":1}"));
	}
	get("POST", "/plain", NULL);
	assert_non_null(strstr(request_text, "\r\nContent-Length: 0\r\n"));
}

// Handles are kept: nothing of a request is left for the next one.
static void test_nothing_is_left(void **state)
{
	(void)state;
	static const char *const methods[] = {"PUT", "DELETE", "PATCH", "POST"};
	client_make((struct http_service){0});
	for (size_t i = 0; i < 4; i++) {
		unsigned connections;
		get(methods[i], "/plain", "{\"a\":1}");
		connections = n_connections;
		assert_int_equal(get("GET", "/plain", NULL).answer.status, 200);
		assert_int_equal(strncmp(request_text, "GET /base/plain HTTP/1.1\r\n", 26), 0);
		assert_null(strstr(request_text, "Content-"));
		assert_null(strstr(request_text, "{"));
		get("POST", "/api/v1/query", NULL);
		assert_int_equal(strncmp(request_text, "POST /base/api/v1/query ", 24), 0);
		get("GET", "/plain", NULL);
		assert_int_equal(n_connections, connections); // kept alive
	}
}

static void test_cut(void **state)
{
	(void)state;
	client_make((struct http_service){0});
	static const char *const paths[]
		= {"/short", "/short-chunked", "/nothing", "/headers-cut", "/nonsense"};
	for (size_t i = 0; i < 5; i++) {
		struct result result = get("GET", paths[i], NULL);
		if (result.answer.error != -EPROTO)
			fail_msg("%s: %d", paths[i], result.answer.error);
		assert_int_equal(result.answer.status, 0);
		assert_int_equal(result.body_len, 0);
		assert_true(result.answer.error_text[0]);
	}
	struct result result = get("GET", "/no-length", NULL);
	assert_int_equal(result.answer.error, 0);
	assert_string_equal(result.body, "hello");
	struct http_client_counters counters;
	http_client_counters(client, &counters);
	assert_int_equal(counters.failures, 5);
}

static void test_slow(void **state)
{
	(void)state;
	client_make((struct http_service){.timeout_ms = 150});
	static const char *const paths[] = {"/silent", "/half"};
	for (size_t i = 0; i < 2; i++) {
		int64_t from = now_ms();
		struct result result = get("GET", paths[i], NULL);
		assert_int_equal(result.answer.error, -ETIMEDOUT);
		assert_true(result.when - from >= 140 && result.when - from < 2000);
		assert_int_equal(result.body_len, 0);
	}
}

static int64_t lease[8]; // what is left, at each time that it is asked for
static unsigned n_lease;

static int64_t lease_left(void *ctx)
{
	(void)ctx;
	return lease[n_lease < 7 ? n_lease++ : 7];
}

static void lease_set(int64_t first, int64_t then)
{
	n_lease = 0;
	lease[0] = first;
	for (unsigned i = 1; i < 8; i++)
		lease[i] = then;
}

// Without a lease nothing is written, with a short one nothing is waited for beyond it.
static void test_fence(void **state)
{
	(void)state;
	static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE"};
	struct http_client_counters counters;
	struct result result;
	client_make((struct http_service){.timeout_ms = 30000});
	http_client_fence_set(lease_left, NULL);
	for (size_t i = 0; i < 4; i++) {
		lease_set(HTTP_FENCE_MIN_MS - 1, 60000);
		result = get(methods[i], "/plain", "{}");
		assert_int_equal(result.answer.error, -ECONNABORTED);
		assert_non_null(strstr(result.answer.error_text, "no lease"));
	}
	assert_int_equal(n_requests, 0);
	// What only reads passes.
	lease_set(0, 0);
	assert_int_equal(get("GET", "/plain", NULL).answer.status, 200);
	// It ended between start and first octet: as after a stop of the process.
	lease_set(60000, HTTP_FENCE_MARGIN_MS - 1);
	result = get("PUT", "/plain", "{}");
	assert_int_equal(result.answer.error, -ECONNABORTED);
	assert_int_equal(n_requests, 1);
	http_client_counters(client, &counters);
	assert_int_equal(counters.fenced, 5);

	lease_set(HTTP_FENCE_MIN_MS, HTTP_FENCE_MIN_MS);
	int64_t from = now_ms();
	result = get("PUT", "/silent", "{}");
	assert_int_equal(result.answer.error, -ETIMEDOUT);
	assert_true(result.when - from < 20000); // the service's own limit is 30 s
	lease_set(60000, 60000);
	assert_int_equal(get("PUT", "/plain", "{}").answer.status, 200);
	http_client_fence_set(NULL, NULL);
	lease_set(0, 0);
	assert_int_equal(get("PUT", "/plain", "{}").answer.status, 200);
}

static void test_refused(void **state)
{
	(void)state;
	evconnlistener_free(listener);
	listener = NULL;
	client_make((struct http_service){0});
	struct result result = get("GET", "/plain", NULL);
	assert_int_equal(result.answer.error, -ECONNREFUSED);
	assert_int_equal(result.answer.status, 0);
}

static void test_huge(void **state)
{
	(void)state;
	client_make((struct http_service){.max_body = 100000});
	struct result result = get("GET", "/huge", NULL);
	assert_int_equal(result.answer.error, -EFBIG);
	result = get("GET", "/huge-length", NULL);
	assert_int_equal(result.answer.error, -EFBIG);
	assert_int_equal(result.body_len, 0);
	http_client_free(client);
	client_make((struct http_service){.max_body = 64 * 4096});
	result = get("GET", "/huge", NULL);
	assert_int_equal(result.answer.error, 0);
	assert_int_equal(result.body_len, 64 * 4096);
	http_client_free(client);
	client_make((struct http_service){.max_body = 64 * 4096 - 1});
	result = get("GET", "/huge", NULL);
	assert_int_equal(result.answer.error, -EFBIG);
}

static void test_rate(void **state)
{
	(void)state;
	client_make((struct http_service){.max_per_second = 10});
	struct result results[12];
	memset(results, 0, sizeof(results));
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(
			http_client_request(client, "GET", "/plain", NULL, 0, taken, &results[i]), 0
		);
	assert_int_equal(http_client_pending(client), 12);
	wait_for(&results[11].come);
	assert_int_equal(http_client_pending(client), 0);
	// Ten at once, the others not within the same second.
	assert_true(request_times[9] - request_times[0] < 500);
	assert_true(request_times[10] - request_times[0] >= 990);
	assert_true(request_times[11] - request_times[1] >= 990);
}

static bool protection_seen(void *ctx, const struct protection *protection)
{
	char text[INDICATOR_TEXT_MAX];
	indicator_print(&protection->indicator, text);
	unsigned *port = ctx;
	char expected[64];
	snprintf(expected, sizeof(expected), "tcp/127.0.0.1:%u", *port);
	if (protection->origin == PROTECT_DERIVED && strcmp(text, expected) == 0) {
		assert_non_null(strstr(protection->reason, "test"));
		*port = 0;
	}
	return true;
}

static void test_derived(void **state)
{
	(void)state;
	client_make((struct http_service){0});
	unsigned port = (unsigned)strtoul(url + strlen("http://127.0.0.1:"), NULL, 10);
	unsigned left = port;
	protect_each(protect, protection_seen, &left);
	assert_int_equal(left, port);
	get("GET", "/plain", NULL);
	protect_each(protect, protection_seen, &left);
	assert_int_equal(left, 0);
}

static bool called;

static void free_inside(void *ctx, const struct http_answer *answer)
{
	(void)ctx;
	assert_int_equal(answer->status, 200);
	http_client_free(client);
	client = NULL;
	called = true;
}

static void never(void *ctx, const struct http_answer *answer)
{
	(void)ctx;
	(void)answer;
	fail_msg("called after the client was freed");
}

static void test_freed(void **state)
{
	(void)state;
	// Inside a callback, with others pending.
	client_make((struct http_service){0});
	called = false;
	http_client_request(client, "GET", "/plain", NULL, 0, free_inside, NULL);
	http_client_request(client, "GET", "/silent", NULL, 0, never, NULL);
	wait_for(&called);
	// With requests on the way and in the queue.
	client_make((struct http_service){.max_per_second = 1});
	http_client_request(client, "GET", "/silent", NULL, 0, never, NULL);
	http_client_request(client, "GET", "/silent", NULL, 0, never, NULL);
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(http_client_pending(client), 2);
	http_client_free(client);
	client = NULL;
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void test_bad_request(void **state)
{
	(void)state;
	client_make((struct http_service){0});
	struct result result = {0};
	assert_int_equal(
		http_client_request(client, "GET", "plain", NULL, 0, taken, &result), -EINVAL
	);
	static char path[5000] = "/";
	memset(path + 1, 'p', sizeof(path) - 2);
	assert_int_equal(
		http_client_request(client, "GET", path, NULL, 0, taken, &result), -EINVAL
	);
	http_client_free(client);
	client_make((struct http_service){.base_url = "gopher://127.0.0.1:1"});
	result = get("GET", "/", NULL);
	assert_int_equal(result.answer.error, -EINVAL);
	http_client_free(client);
	client_make((struct http_service){.base_url = "http://host.invalid"});
	result = get("GET", "/", NULL);
	assert_int_equal(result.answer.error, -EHOSTUNREACH);
}

static void test_tls_files(void **state)
{
	(void)state;
	char message[256];
	struct http_tls tls = {0};
	assert_int_equal(http_tls_check(&tls, message), 0);
	tls.ca_file = "/dev/null";
	assert_int_equal(http_tls_check(&tls, message), -EINVAL);
	tls = (struct http_tls){.cert_file = "/dev/null"};
	assert_int_equal(http_tls_check(&tls, message), -EINVAL);
	tls = (struct http_tls){.cert_file = "/nonexistent.p12"};
	assert_int_equal(http_tls_check(&tls, message), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		TEST(test_answers),
		TEST(test_methods),
		TEST(test_nothing_is_left),
		TEST(test_cut),
		TEST(test_slow),
		TEST(test_fence),
		TEST(test_refused),
		TEST(test_huge),
		TEST(test_rate),
		TEST(test_derived),
		TEST(test_freed),
		TEST(test_bad_request),
		TEST(test_tls_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
