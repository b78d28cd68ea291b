// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The HTTP server over real sockets, on the loop of the test.

#include "control/http_server.h"
#include "tests/unit/cm.h"

#include <event2/event.h>
#include <jansson.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX 1000
#define PATIENCE_MS 5000

static struct event_base *base;
static struct http_server *server;
static struct tokens *tokens;
static char dir[64], unix_path[108];
static struct http_request *kept; // of the route that answers later
static int streams_closed;

// --- routes

static void route_echo(void *ctx, struct http_request *request)
{
	(void)ctx;
	size_t len;
	const char *body = http_request_body(request, &len);
	const char *query = http_request_query(request, "q");
	http_answer_json(
		request,
		200,
		json_pack(
			"{s:s, s:i, s:s, s:s%, s:s}",
			"caller",
			http_request_caller(request)->name,
			"role",
			http_request_caller(request)->role,
			"rest",
			http_request_rest(request),
			"body",
			body,
			len,
			"q",
			query ? query : ""
		)
	);
}

static void route_json(void *ctx, struct http_request *request)
{
	(void)ctx;
	json_t *object = http_request_json(request);
	if (object)
		http_answer_json(request, 200, object);
}

static void route_later(void *ctx, struct http_request *request)
{
	(void)ctx;
	kept = request;
}

static void stream_closed(void *ctx)
{
	(void)ctx;
	streams_closed++;
}

static void route_stream(void *ctx, struct http_request *request)
{
	(void)ctx;
	kept = request;
	http_stream_begin(request, stream_closed, NULL);
	json_t *line = json_pack("{s:i}", "n", 1);
	assert_int_equal(http_stream_line(request, line), 0);
	json_decref(line);
}

static const struct http_route routes[] = {
	{"GET", "/open", ROLE_NONE, 0, route_echo, ""},
	{"POST", "/v1/hooks/x", ROLE_HOOK, BODY_MAX, route_echo, ""},
	{"GET", "/v1/view", ROLE_VIEWER, 0, route_echo, ""},
	{"POST", "/v1/operate", ROLE_OPERATOR, BODY_MAX, route_json, ""},
	{"PATCH", "/v1/admin/{}", ROLE_ADMIN, BODY_MAX, route_echo, ""},
	{"GET", "/v1/entries/{}", ROLE_VIEWER, 0, route_echo, ""},
	{"GET", "/v1/entries/all", ROLE_VIEWER, 0, route_later, ""},
	{"GET", "/v1/stream", ROLE_VIEWER, 0, route_stream, ""},
};

// --- a client on the same loop

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void turn(void)
{
	const struct timeval soon = {.tv_usec = 2000};
	event_base_loopexit(base, &soon);
	event_base_dispatch(base);
}

static int tcp_connect(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(http_server_port(server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static int unix_connect(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", unix_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static char answer[65536];

// Write all of it, then read until the peer closes, or `until` has come.
static void talk(int fd, const char *text, size_t len, const char *until)
{
	int64_t end = now_ms() + PATIENCE_MS;
	size_t sent = 0, got = 0;
	answer[0] = '\0';
	while (now_ms() < end) {
		if (sent < len) {
			ssize_t n = send(fd, text + sent, len - sent, MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
			if (n < 0 && errno != EAGAIN)
				sent = len; // the server has closed: read what it said
		}
		ssize_t n = recv(fd, answer + got, sizeof(answer) - got - 1, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return;
		if (n > 0) {
			got += (size_t)n;
			answer[got] = '\0';
			if (until && strstr(answer, until))
				return;
		}
		turn();
	}
	fail_msg("no end of the answer; so far: %s", answer);
}

static int status(void)
{
	int code = 0;
	sscanf(answer, "HTTP/1.1 %d", &code);
	return code;
}

// The answer's body as JSON; every answer has one.
static json_t *body_json(void)
{
	const char *body = strstr(answer, "\r\n\r\n");
	assert_non_null(body);
	json_t *object = json_loads(body + 4, 0, NULL);
	if (!object)
		fail_msg("no JSON: %s", answer);
	return object;
}

static int
ask_fd(int fd,
       const char *method,
       const char *path,
       const char *headers,
       const char *body,
       size_t len)
{
	char *text = NULL;
	size_t text_len = 0;
	FILE *to = open_memstream(&text, &text_len);
	fprintf(to, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, path, headers);
	if (body)
		fprintf(to, "Content-Length: %zu\r\n", len);
	fputs("\r\n", to);
	if (body)
		fwrite(body, 1, len, to);
	fclose(to);
	talk(fd, text, text_len, NULL);
	free(text);
	close(fd);
	return status();
}

static int ask(const char *method, const char *path, const char *token, const char *body)
{
	char headers[256] = "";
	if (token)
		snprintf(headers, sizeof(headers), "Authorization: Bearer %s\r\n", token);
	return ask_fd(tcp_connect(), method, path, headers, body, body ? strlen(body) : 0);
}

// --- fixture

static int setup(struct http_server_conf conf)
{
	char message[256] = "";
	base = event_base_new();
	snprintf(dir, sizeof(dir), "/tmp/test_http.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(unix_path, sizeof(unix_path), "%s/s", dir);
	assert_int_equal(tokens_parse("t", "", 0, &tokens, message), 0);
	for (int role = ROLE_HOOK; role <= ROLE_ADMIN; role++)
		tokens_add(tokens, role_name(role), role, INT64_MAX, role_name(role));
	tokens_add(tokens, "old", ROLE_ADMIN, 1000, "old");
	conf.unix_path = unix_path;
	conf.listen = "127.0.0.1:0";
	if (http_server_create(base, &conf, tokens, &server, message) != 0)
		fail_msg("%s", message);
	http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), NULL);
	kept = NULL;
	streams_closed = 0;
	return 0;
}

static int setup_default(void **state)
{
	(void)state;
	return setup((struct http_server_conf){0});
}

static int setup_short(void **state)
{
	(void)state;
	return setup((struct http_server_conf){
		.deadline_ms = 100,
		.max_connections = 8,
		.max_connections_per_address = 4,
		.hooks_per_second = 5,
	});
}

static int teardown(void **state)
{
	(void)state;
	http_server_free(server);
	tokens_free(tokens);
	event_base_free(base);
	assert_int_equal(access(unix_path, F_OK), -1);
	rmdir(dir);
	return 0;
}

// --- tests

// Every route with every role: what the table says and nothing else.
static void test_roles(void **state)
{
	(void)state;
	static const char *const secrets[] = {NULL, "hook", "viewer", "operator", "admin"};
	static const char *const paths[] = {
		"/open", "/v1/hooks/x", "/v1/view", "/v1/operate", "/v1/admin/a", "/v1/entries/e"};
	for (size_t p = 0; p < 6; p++) {
		for (int role = ROLE_NONE; role <= ROLE_ADMIN; role++) {
			const struct http_route *route = &routes[p];
			const char *body = route->max_body ? "{}" : NULL;
			int expected = role_reaches(role, route->role) ? 200
				: role == ROLE_NONE		       ? 401
								       : 403;
			int got = ask(route->method, paths[p], secrets[role], body);
			if (got != expected)
				fail_msg("%s by %s: %d", paths[p], role_name(role), got);
			json_decref(body_json());
		}
	}
	struct http_server_counters counters;
	http_server_counters(server, &counters);
	assert_int_equal(counters.requests, 30);
	assert_int_equal(counters.unauthenticated, 5);
}

static void test_caller(void **state)
{
	(void)state;
	assert_int_equal(ask("GET", "/v1/view", "viewer", NULL), 200);
	json_t *body = body_json();
	assert_string_equal(
		json_string_value(json_object_get(body, "caller")), "token viewer@127.0.0.1"
	);
	json_decref(body);
	// Basic (the token as the password, or as the user alone), and the token alone.
	static const char *const headers[] = {
		"Authorization: Basic dGhlaGl2ZTp2aWV3ZXI=\r\n", // thehive:viewer
		"Authorization: Basic dmlld2VyOg==\r\n", // viewer:
		"Authorization: viewer\r\n",
		"Authorization: bearer   viewer\r\n",
	};
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(
			ask_fd(tcp_connect(), "GET", "/v1/view", headers[i], NULL, 0), 200
		);
	static const char *const bad[] = {
		"Authorization: Basic !!!!\r\n",
		"Authorization: Basic dmlld2Vy\r\n", // no colon
		"Authorization: Basic\r\n",
		"Authorization: \r\n",
		"Authorization: Bearer\r\n",
	};
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(ask_fd(tcp_connect(), "GET", "/v1/view", bad[i], NULL, 0), 401);
		assert_non_null(strstr(answer, "WWW-Authenticate: Bearer"));
	}
	assert_int_equal(ask("GET", "/v1/view", "wrong", NULL), 401);
	assert_non_null(strstr(answer, "not known"));
	assert_int_equal(ask("GET", "/v1/view", "old", NULL), 401);
	assert_non_null(strstr(answer, "past its end"));
	char large[3000];
	memset(large, 'a', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	char header[3100];
	snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n", large);
	assert_int_equal(ask_fd(tcp_connect(), "GET", "/v1/view", header, NULL, 0), 401);
}

static void test_unix(void **state)
{
	(void)state;
	struct stat st;
	assert_int_equal(stat(unix_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	assert_int_equal(
		ask_fd(unix_connect(), "PATCH", "/v1/admin/a%20b?q=1%2f2", "", "x", 1), 200
	);
	json_t *body = body_json();
	char who[64];
	snprintf(who, sizeof(who), "uid %u (", (unsigned)geteuid());
	const char *caller = json_string_value(json_object_get(body, "caller"));
	assert_int_equal(strncmp(caller, who, strlen(who)), 0);
	assert_string_equal(json_string_value(json_object_get(body, "rest")), "a b");
	assert_string_equal(json_string_value(json_object_get(body, "q")), "1/2");
	json_decref(body);
	// A second server does not take the socket away.
	struct http_server *second = NULL;
	char message[256];
	const struct http_server_conf conf = {.unix_path = unix_path};
	assert_int_equal(http_server_create(base, &conf, tokens, &second, message), -EADDRINUSE);
	assert_int_equal(ask_fd(unix_connect(), "GET", "/open", "", NULL, 0), 200);
}

static void test_routes(void **state)
{
	(void)state;
	assert_int_equal(ask("GET", "/nope", "admin", NULL), 404);
	json_decref(body_json());
	assert_int_equal(ask("GET", "/v1/entries/", "admin", NULL), 404);
	assert_int_equal(ask("DELETE", "/v1/view", "admin", NULL), 405);
	assert_non_null(strstr(answer, "Allow: GET, HEAD, OPTIONS"));
	json_decref(body_json());
	assert_int_equal(ask("OPTIONS", "/v1/view", NULL, NULL), 204);
	assert_non_null(strstr(answer, "Allow: GET, HEAD, OPTIONS"));
	assert_int_equal(ask("HEAD", "/v1/view", "viewer", NULL), 200);
	assert_non_null(strstr(answer, "Content-Length: "));
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
	assert_int_equal(ask("HEAD", "/v1/view", NULL, NULL), 401);
	assert_int_equal(ask("GET", "/v1/entries/a%00b", "viewer", NULL), 400);
	assert_int_equal(ask("GET", "/v1/entries/tcp%2f192.0.2.1:443", "viewer", NULL), 200);
	assert_non_null(strstr(answer, "\"rest\":\"tcp/192.0.2.1:443\""));
	assert_int_equal(ask("BREW", "/open", NULL, NULL), 501);
}

static void test_body(void **state)
{
	(void)state;
	static char large[BODY_MAX + 2];
	memset(large, 'x', sizeof(large) - 1);
	assert_int_equal(ask("POST", "/v1/hooks/x", "hook", large), 413);
	json_decref(body_json());
	large[BODY_MAX] = '\0';
	assert_int_equal(ask("POST", "/v1/hooks/x", "hook", large), 200);
	assert_int_equal(ask("GET", "/v1/view", "viewer", "x"), 413);
	// Far beyond: refused before it is read, by libevent.
	static char huge[1024 * 1024];
	memset(huge, 'x', sizeof(huge) - 1);
	assert_int_equal(ask("POST", "/v1/hooks/x", "hook", huge), 413);
	// Chunked, also beyond.
	static const char chunked[]
		= "POST /v1/hooks/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		  "Authorization: hook\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "5\r\nhello\r\n0\r\n\r\n";
	int fd = tcp_connect();
	talk(fd, chunked, sizeof(chunked) - 1, NULL);
	close(fd);
	assert_int_equal(status(), 200);
	assert_non_null(strstr(answer, "\"body\":\"hello\""));
}

static void test_json(void **state)
{
	(void)state;
	assert_int_equal(ask("POST", "/v1/operate", "operator", "{\"a\": 1}"), 200);
	assert_int_equal(ask("POST", "/v1/operate", "operator", "{\"a\":\n 1,}"), 400);
	assert_non_null(strstr(answer, "body:2:"));
	assert_int_equal(ask("POST", "/v1/operate", "operator", "[1]"), 400);
	assert_int_equal(ask("POST", "/v1/operate", "operator", ""), 400);
	assert_int_equal(ask("POST", "/v1/operate", "operator", "{\"a\":1,\"a\":2}"), 400);
	assert_int_equal(ask("POST", "/v1/operate", "operator", "{\"a\":\"\xff\"}"), 400);
	json_decref(body_json());
	char deep[BODY_MAX];
	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(ask("POST", "/v1/operate", "operator", deep), 400);
}

static void test_later(void **state)
{
	(void)state;
	static const char text[] = "GET /v1/entries/all HTTP/1.1\r\nAuthorization: viewer\r\n\r\n";
	int fd = tcp_connect();
	assert_int_equal(send(fd, text, sizeof(text) - 1, 0), (ssize_t)sizeof(text) - 1);
	for (int64_t end = now_ms() + PATIENCE_MS; !kept && now_ms() < end;)
		turn();
	assert_non_null(kept);
	http_answer_json(kept, 202, json_pack("{s:b}", "later", 1));
	talk(fd, "", 0, "later");
	assert_int_equal(status(), 202);
	// The same connection again: keep-alive.
	kept = NULL;
	talk(fd, "GET /open HTTP/1.1\r\n\r\n", 22, "caller");
	assert_int_equal(status(), 200);
	// The peer goes away while the handler thinks.
	assert_int_equal(send(fd, text, sizeof(text) - 1, 0), (ssize_t)sizeof(text) - 1);
	for (int64_t end = now_ms() + PATIENCE_MS; !kept && now_ms() < end;)
		turn();
	assert_non_null(kept);
	close(fd);
	turn();
	turn();
	http_answer_json(kept, 200, json_object());
	turn();
}

static void test_stream(void **state)
{
	(void)state;
	static const char text[] = "GET /v1/stream HTTP/1.1\r\nAuthorization: viewer\r\n\r\n";
	int fd = tcp_connect();
	talk(fd, text, sizeof(text) - 1, "{\"n\":1}\n");
	assert_int_equal(status(), 200);
	assert_non_null(strstr(answer, "application/x-ndjson"));
	json_t *line = json_pack("{s:i}", "n", 2);
	assert_int_equal(http_stream_line(kept, line), 0);
	talk(fd, "", 0, "{\"n\":2}\n");
	assert_int_equal(streams_closed, 0);
	close(fd);
	// Told of the end: by a write at the latest.
	for (int64_t end = now_ms() + PATIENCE_MS; !streams_closed && now_ms() < end;) {
		http_stream_line(kept, line);
		turn();
	}
	assert_int_equal(streams_closed, 1);
	assert_int_equal(http_stream_line(kept, line), -EPIPE);
	http_stream_end(kept);
	// Ended by us.
	fd = tcp_connect();
	talk(fd, text, sizeof(text) - 1, "{\"n\":1}\n");
	http_stream_end(kept);
	talk(fd, "", 0, "0\r\n\r\n");
	close(fd);
	turn();
	assert_int_equal(streams_closed, 1);
	// A reader that does not read: lines are refused before memory runs out.
	fd = tcp_connect();
	talk(fd, text, sizeof(text) - 1, "{\"n\":1}\n");
	json_decref(line);
	static char large[100001];
	memset(large, 'l', sizeof(large) - 1);
	line = json_pack("{s:s}", "l", large);
	int error = 0;
	for (int i = 0; i < 1000 && !error; i++) {
		error = http_stream_line(kept, line);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(error, -ENOBUFS);
	json_decref(line);
	http_stream_end(kept);
	close(fd);
}

static void assert_cut(const char *text)
{
	int fd = tcp_connect();
	int64_t from = now_ms();
	size_t at = 0;
	char octet;
	for (;;) { // an octet every few milliseconds: never idle
		if (at < strlen(text) && send(fd, text + at, 1, MSG_NOSIGNAL) == 1)
			at++;
		ssize_t n = recv(fd, &octet, 1, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		if (now_ms() - from > PATIENCE_MS)
			fail_msg("still open: %s", text);
		turn();
		turn();
	}
	close(fd);
	int64_t took = now_ms() - from;
	if (took < 60 || took > 2000)
		fail_msg("cut after %d ms", (int)took);
}

static void test_slow(void **state)
{
	(void)state;
	assert_cut("");
	assert_cut(
		"GET /open HTTP/1.1\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	);
	assert_cut("POST /v1/hooks/x HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
	struct http_server_counters counters;
	http_server_counters(server, &counters);
	assert_int_equal(counters.deadlines, 3);
	assert_int_equal(counters.connections, 0);
}

static void test_slow_handler(void **state)
{
	(void)state;
	assert_int_equal(ask("GET", "/v1/entries/all", "viewer", NULL), 503);
	json_decref(body_json());
	assert_non_null(kept);
	http_answer_json(kept, 200, json_object()); // goes nowhere
	assert_int_equal(ask("GET", "/open", NULL, NULL), 200);
}

static void test_stream_outlives(void **state)
{
	(void)state;
	static const char text[] = "GET /v1/stream HTTP/1.1\r\nAuthorization: viewer\r\n\r\n";
	int fd = tcp_connect();
	talk(fd, text, sizeof(text) - 1, "{\"n\":1}\n");
	for (int64_t end = now_ms() + 300; now_ms() < end;)
		turn();
	json_t *line = json_pack("{s:i}", "n", 3);
	assert_int_equal(http_stream_line(kept, line), 0);
	json_decref(line);
	talk(fd, "", 0, "{\"n\":3}\n");
	http_stream_end(kept);
	close(fd);
}

static bool closed_by_peer(int fd)
{
	char octet;
	for (int i = 0; i < 5; i++)
		turn();
	ssize_t n = recv(fd, &octet, 1, 0);
	return n == 0 || (n < 0 && errno != EAGAIN);
}

static void test_caps(void **state)
{
	(void)state;
	int fds[4];
	for (size_t i = 0; i < 4; i++) {
		fds[i] = tcp_connect();
		talk(fds[i], "GET /open HTTP/1.1\r\n\r\n", 22, "caller");
	}
	int fifth = tcp_connect();
	assert_true(closed_by_peer(fifth));
	close(fifth);
	// The operator's socket is not affected.
	assert_int_equal(ask_fd(unix_connect(), "GET", "/open", "", NULL, 0), 200);
	struct http_server_counters counters;
	http_server_counters(server, &counters);
	assert_int_equal(counters.refused_connections, 1);
	assert_int_equal(counters.connections, 4);
	close(fds[0]);
	turn();
	turn();
	assert_int_equal(ask("GET", "/open", NULL, NULL), 200);
	for (size_t i = 1; i < 4; i++)
		close(fds[i]);
	// And of the Unix socket: its own cap.
	int eight[8];
	for (size_t i = 0; i < 8; i++) {
		eight[i] = unix_connect();
		talk(eight[i], "GET /open HTTP/1.1\r\n\r\n", 22, "caller");
	}
	int ninth = unix_connect();
	assert_true(closed_by_peer(ninth));
	close(ninth);
	for (size_t i = 0; i < 8; i++)
		close(eight[i]);
}

static void test_hooks_limited(void **state)
{
	(void)state;
	int good = 0, limited = 0;
	for (int i = 0; i < 8; i++) {
		int code = ask("POST", "/v1/hooks/x", "hook", "{}");
		good += code == 200;
		limited += code == 429;
		if (code == 429)
			assert_non_null(strstr(answer, "Retry-After: 1"));
	}
	assert_int_equal(good + limited, 8);
	assert_true(limited >= 1);
	assert_true(good >= 5);
	// Other routes are not limited.
	assert_int_equal(ask("GET", "/v1/view", "viewer", NULL), 200);
	// The bucket fills again.
	int64_t end = now_ms() + PATIENCE_MS;
	while (ask("POST", "/v1/hooks/x", "hook", "{}") != 200)
		assert_true(now_ms() < end);
}

static void test_nonsense(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"\r\n\r\n",
		"GET\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"POST /v1/hooks/x HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
		"POST /v1/hooks/x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST /v1/hooks/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		int fd = tcp_connect();
		talk(fd, texts[i], strlen(texts[i]), NULL); // ends: by an answer or the deadline
		assert_true(status() != 200);
		close(fd);
	}
	assert_int_equal(ask("GET", "/open", NULL, NULL), 200);
}

static void test_free_with_connections(void **state)
{
	(void)state;
	int fresh = tcp_connect();
	int idle = tcp_connect();
	talk(idle, "GET /open HTTP/1.1\r\n\r\n", 22, "caller");
	int streaming = tcp_connect();
	talk(streaming,
	     "GET /v1/stream HTTP/1.1\r\nAuthorization: viewer\r\n\r\n",
	     51,
	     "{\"n\":1}\n");
	struct http_request *stream = kept;
	http_server_free(server);
	server = NULL;
	assert_int_equal(streams_closed, 1);
	http_stream_end(stream);
	close(fresh);
	close(idle);
	close(streaming);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define DEFAULT(t) cmocka_unit_test_setup_teardown(t, setup_default, teardown)
#define SHORT(t) cmocka_unit_test_setup_teardown(t, setup_short, teardown)
		DEFAULT(test_roles),
		DEFAULT(test_caller),
		DEFAULT(test_unix),
		DEFAULT(test_routes),
		DEFAULT(test_body),
		DEFAULT(test_json),
		DEFAULT(test_later),
		DEFAULT(test_stream),
		SHORT(test_slow),
		SHORT(test_slow_handler),
		SHORT(test_stream_outlives),
		SHORT(test_caps),
		SHORT(test_hooks_limited),
		SHORT(test_nonsense),
		DEFAULT(test_free_with_connections),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
