// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The API on a real ledger and a real server, over TCP with tokens and the Unix socket; the data
// plane is a row of pointers.

#include "control/api.h"
#include "control/control.h"
#include "control/http_server.h"
#include "tests/unit/ledger_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ANSWER_MAX (1024 * 1024)

static struct fixture f;
static struct control control;
static struct list_state applied;
static bool lookup_present, follows; // the data plane takes each revision at once
static bool gone; // it is not connected
static size_t syncs;
static char unix_path[108], *answer;

// --- the data plane

static bool fake_connected(void *ctx)
{
	(void)ctx;
	return !gone;
}

static uint64_t fake_restarts(void *ctx, int64_t *ret_last_ms)
{
	(void)ctx;
	*ret_last_ms = 1000000;
	return 3;
}

static bool fake_nearly_full(void *ctx)
{
	(void)ctx;
	return true;
}

static const void *fake_status(void *ctx, size_t *ret_len)
{
	static const struct wire_status status = {.capacity = 1000, .state.count = 801};
	(void)ctx;
	*ret_len = sizeof(status);
	return &status;
}

static bool fake_applied(void *ctx, struct list_state *ret_state, int64_t *ret_when_ms)
{
	(void)ctx;
	if (follows)
		ledger_state(f.ledger, &applied);
	*ret_state = applied;
	*ret_when_ms = 1000;
	return true;
}

static bool fake_equal(void *ctx, char why[160])
{
	struct list_state state, have;
	int64_t when_ms;
	ledger_state(f.ledger, &state);
	fake_applied(ctx, &have, &when_ms);
	snprintf(why, 160, "it is behind");
	return list_state_equal(&state, &have);
}

static int fake_lookup(
	void *ctx,
	const struct indicator *indicator,
	void (*cb)(void *, const struct wire_lookup_answer *),
	void *cb_ctx
)
{
	(void)ctx;
	(void)indicator;
	const struct wire_lookup_answer found = {
		.present = lookup_present,
		.action = ENTRY_ENFORCE,
		.matched = 1,
		.packets = 42,
	};
	cb(cb_ctx, &found);
	return 0;
}

static struct wire_preview_answer preview_head;
static struct wire_preview_end preview_ends[2];
static struct indicator preview_asked; // kind 0: everything
static int preview_error;
static bool preview_silent;

static int fake_preview(
	void *ctx,
	const struct indicator *indicator,
	uint32_t ends,
	void (*cb)(void *, const struct wire_preview_answer *, size_t),
	void *cb_ctx
)
{
	static struct {
		struct wire_preview_answer head;
		struct wire_preview_end ends[2];
	} message;
	(void)ctx;
	preview_asked = indicator ? *indicator : (struct indicator){0};
	if (preview_error)
		return preview_error;
	message.head = preview_head;
	memcpy(message.ends, preview_ends, sizeof(preview_ends));
	message.head.n = message.head.n < ends ? message.head.n : ends;
	if (preview_silent)
		cb(cb_ctx, NULL, 0);
	else
		cb(cb_ctx,
		   &message.head,
		   sizeof(message.head) + message.head.n * sizeof(message.ends[0]));
	return 0;
}

static int fake_sync(void *ctx, bool force)
{
	(void)ctx;
	(void)force;
	syncs++;
	return 0;
}

static const struct api_dataplane fake = {
	.connected = fake_connected,
	.applied = fake_applied,
	.equal = fake_equal,
	.lookup = fake_lookup,
	.preview = fake_preview,
	.sync = fake_sync,
	.status = fake_status,
	.restarts = fake_restarts,
	.nearly_full = fake_nearly_full,
};

// --- set-up: tokens v, o, a, h are of each role, x has expired

static void token_add(const char *secret, enum role role, int64_t until)
{
	assert_int_equal(tokens_add(control.tokens, secret, role, until, secret), 0);
}

static int setup(void **state)
{
	(void)state;
	char message[256] = "";
	fixture_init(&f, PROTECT_REFUSE);
	answer = malloc(ANSWER_MAX);
	assert_non_null(answer);
	control = (struct control){.base = f.base, .protect = f.protect, .ledger = f.ledger};
	assert_int_equal(tokens_parse("", "", 0, &control.tokens, message), 0);
	token_add("viewer-secret", ROLE_VIEWER, INT64_MAX);
	token_add("operator-secret", ROLE_OPERATOR, INT64_MAX);
	token_add("admin-secret", ROLE_ADMIN, INT64_MAX);
	token_add("hook-secret", ROLE_HOOK, INT64_MAX);
	token_add("expired-secret", ROLE_ADMIN, 1);
	snprintf(unix_path, sizeof(unix_path), "%s/sock", f.dir);
	const struct http_server_conf conf = {
		.unix_path = unix_path,
		.listen = "127.0.0.1:0",
		.max_connections = 64,
		.max_connections_per_address = 64,
		.deadline_ms = 10000,
		.hooks_per_second = 500,
	};
	if (http_server_create(f.base, &conf, control.tokens, &control.server, message) < 0)
		fail_msg("%s", message);
	assert_int_equal(api_create(&control, &control.api), 0);
	follows = true;
	lookup_present = true;
	preview_head = (struct wire_preview_answer){.rate = 64, .last_age_ms = UINT64_MAX};
	preview_error = 0;
	preview_silent = false;
	syncs = 0;
	api_dataplane_set(control.api, &fake);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	api_free(control.api);
	http_server_free(control.server);
	tokens_free(control.tokens);
	fixture_fini(&f);
	free(answer);
	return 0;
}

// --- a client on the test's own loop

static int connected(bool tcp)
{
	const struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_port = htons(http_server_port(control.server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	memcpy(un.sun_path, unix_path, sizeof(un.sun_path));
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	const void *address = tcp ? (const void *)&in : (const void *)&un;
	assert_int_equal(connect(fd, address, tcp ? sizeof(in) : sizeof(un)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

// token NULL: by the Unix socket; "": TCP without one. Returns the status, the body in `answer`.
static int ask(const char *token, const char *method, const char *path, const char *body)
{
	int fd = connected(token != NULL);
	char *text = NULL;
	int len = asprintf(
		&text,
		"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s%s%sContent-Length: "
		"%zu\r\n\r\n%s",
		method,
		path,
		token && *token ? "Authorization: Bearer " : "",
		token && *token ? token : "",
		token && *token ? "\r\n" : "",
		body ? strlen(body) : 0,
		body ? body : ""
	);
	assert_true(len > 0);
	size_t sent = 0, got = 0;
	int64_t end = clock_boot_ms(f.ledger) + 10000;
	for (;;) {
		ssize_t n = sent < (size_t)len
			? send(fd, text + sent, (size_t)len - sent, MSG_NOSIGNAL)
			: 0;
		sent = n > 0 ? sent + (size_t)n : n < 0 && errno != EAGAIN ? (size_t)len : sent;
		event_base_loop(f.base, EVLOOP_NONBLOCK);
		n = recv(fd, answer + got, ANSWER_MAX - 1 - got, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN) || clock_boot_ms(f.ledger) > end)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	free(text);
	answer[got] = '\0';
	int status = 0;
	if (sscanf(answer, "HTTP/1.1 %d", &status) != 1)
		fail_msg("%s %s: no answer", method, path);
	const char *content = strstr(answer, "\r\n\r\n");
	memmove(answer, content ? content + 4 : "", content ? strlen(content + 4) + 1 : 1);
	return status;
}

static json_t *ask_json(int status, const char *method, const char *path, const char *body)
{
	assert_int_equal(ask(NULL, method, path, body), status);
	json_t *json = json_loads(answer, 0, NULL);
	if (!json)
		fail_msg("%s %s: no JSON: %s", method, path, answer);
	return json;
}

// --- every route, every caller

static void route_try(void *ctx, const struct http_route *route)
{
	size_t *n = ctx;
	static const struct {
		const char *token;
		enum role role;
	} callers[] = {
		{"", ROLE_NONE},
		{"wrong-secret", ROLE_NONE},
		{"expired-secret", ROLE_NONE},
		{"hook-secret", ROLE_HOOK},
		{"viewer-secret", ROLE_VIEWER},
		{"operator-secret", ROLE_OPERATOR},
		{"admin-secret", ROLE_ADMIN},
	};
	char path[128];
	snprintf(path, sizeof(path), "%s", route->path);
	char *braces = strstr(path, "{}");
	if (braces)
		memcpy(braces, "x", 2);
	for (size_t i = 0; i < sizeof(callers) / sizeof(callers[0]); i++) {
		// An empty object: what may write says 400, but for resume and sync.
		int got = ask(callers[i].token, route->method, path, route->max_body ? "{}" : NULL);
		int want = callers[i].role == ROLE_NONE		     ? 401
			: role_reaches(callers[i].role, route->role) ? 0
								     : 403;
		if (want ? got != want : got == 401 || got == 403 || got >= 500)
			fail_msg("%s %s as %s: %d", route->method, path, callers[i].token, got);
	}
	if (route->max_body) {
		char *big = malloc(route->max_body + 2);
		assert_non_null(big);
		memset(big, ' ', route->max_body + 1);
		big[route->max_body + 1] = '\0';
		assert_int_equal(ask("admin-secret", route->method, path, "{\"a\":"), 400);
		assert_int_equal(ask("admin-secret", route->method, path, "[]"), 400);
		assert_int_equal(ask("admin-secret", route->method, path, "{\"reason\":7}"), 400);
		assert_int_equal(ask("admin-secret", route->method, path, big), 413);
		free(big);
	}
	++*n;
}

static void test_routes(void **state)
{
	(void)state;
	size_t n = 0;
	http_server_each_route(control.server, route_try, &n);
	assert_true(n >= 22);
}

// --- what they do

static void test_block_applied(void **state)
{
	(void)state;
	json_t *json = ask_json(
		200, "POST", "/v1/claims", "{\"indicator\":\"203.0.113.7\",\"reason\":\"r\"}"
	);
	assert_true(json_is_true(json_object_get(json, "applied")));
	json_decref(json);
	json = ask_json(200, "GET", "/v1/why/203.0.113.7", NULL);
	const char *verdict = json_string_value(json_object_get(json, "verdict"));
	assert_non_null(strstr(verdict, "203.0.113.7 is denied by entry 203.0.113.7"));
	assert_non_null(strstr(verdict, "in force on the wire, 42 packets"));
	json_decref(json);
	// Absent on the wire: never called in force.
	lookup_present = false;
	json = ask_json(200, "GET", "/v1/why/203.0.113.7", NULL);
	verdict = json_string_value(json_object_get(json, "verdict"));
	assert_non_null(strstr(verdict, "not in force on the wire"));
	json_decref(json);
}

static void test_block_behind(void **state)
{
	(void)state;
	follows = false;
	const char *body = "{\"indicator\":\"203.0.113.7\",\"reason\":\"r\",\"wait\":0.05}";
	json_t *json = ask_json(200, "POST", "/v1/claims", body);
	assert_true(json_is_false(json_object_get(json, "applied")));
	assert_string_equal(
		json_string_value(json_object_get(json, "why")),
		"recorded, not yet applied: it is behind"
	);
	json_decref(json);
}

static void range_check(json_t *amount, const char *key, int estimate, int low, int high)
{
	json_t *range = json_object_get(amount, key);
	assert_int_equal(json_integer_value(json_object_get(range, "estimate")), estimate);
	assert_int_equal(json_integer_value(json_object_get(range, "low")), low);
	assert_int_equal(json_integer_value(json_object_get(range, "high")), high);
}

// 100 of 1,000 samples: bounds as in any table of Poisson's (81.4 and 121.6 of 100).
static void test_preview(void **state)
{
	(void)state;
	preview_head = (struct wire_preview_answer){
		.rate = 64,
		.window_ms = 60000,
		.all_samples = 1000,
		.all_bytes = 100000,
		.samples = 130,
		.bytes = 13000,
		.squares = 1300000,
		.inward = 40,
		.denied = 20,
		.denied_bytes = 2000,
		.spared = 10,
		.spared_bytes = 1000,
		.ends = 7,
		.n = 2,
	};
	preview_ends[0] = (struct wire_preview_end
	){.addr = {203, 0, 113, 7}, .family = 4, .samples = 100, .bytes = 5};
	preview_ends[1] = (struct wire_preview_end
	){.addr = {0x20, 1, [15] = 1}, .family = 6, .proto = 6, .port = 443, .samples = 9};
	json_t *json = ask_json(200, "GET", "/v1/preview?indicator=203.0.113.0%2f24", NULL);
	assert_int_equal(preview_asked.prefix_len, 24);
	json_t *cut = json_object_get(json, "cut");
	range_check(cut, "packets", 6400, 5207, 7785);
	range_check(cut, "bytes", 640000, 496979, 783021);
	json_t *share = json_object_get(cut, "share");
	assert_true(json_real_value(json_object_get(share, "estimate")) == 0.1);
	range_check(json_object_get(json, "seen"), "packets", 130 * 64, 6951, 9880);
	assert_int_equal(json_integer_value(json_object_get(json, "denied_packets")), 20 * 64);
	assert_int_equal(json_integer_value(json_object_get(json, "spared_packets")), 10 * 64);
	assert_int_equal(json_integer_value(json_object_get(json, "remote_ends")), 7);
	assert_string_equal(
		json_string_value(json_object_get(json, "summary")),
		"a block of 203.0.113.0/24 would have cut about 6400 packets (5207 to 7785) of "
		"about 64000 in the last 60 s"
	);
	json_t *end = json_array_get(json_object_get(json, "top"), 1);
	assert_string_equal(json_string_value(json_object_get(end, "address")), "2001::1");
	assert_string_equal(json_string_value(json_object_get(end, "protocol")), "tcp");
	assert_int_equal(json_integer_value(json_object_get(end, "port")), 443);
	json_decref(json);
	// What was lost may have been of it: the upper bound is wider, the estimate as before.
	preview_head.lost = 50;
	json = ask_json(200, "GET", "/v1/preview?ends=0", NULL);
	assert_int_equal(preview_asked.kind, 0);
	range_check(json_object_get(json, "cut"), "packets", 6400, 5207, 11266);
	assert_int_equal(json_array_size(json_object_get(json, "top")), 0);
	json_decref(json);
}

// Nothing seen is told as that, with how much it could be all the same.
static void test_preview_of_nothing(void **state)
{
	(void)state;
	json_t *json = ask_json(200, "GET", "/v1/preview?indicator=203.0.113.7", NULL);
	assert_non_null(strstr(
		json_string_value(json_object_get(json, "summary")), "nothing has been sampled"
	));
	assert_true(json_is_null(json_object_get(json_object_get(json, "cut"), "share")));
	json_decref(json);
	preview_head.all_samples = 100;
	preview_head.all_bytes = 10000;
	json = ask_json(200, "GET", "/v1/preview?indicator=203.0.113.7", NULL);
	range_check(json_object_get(json, "cut"), "packets", 0, 0, 235);
	range_check(json_object_get(json, "cut"), "bytes", 0, 0, 23476);
	assert_true(json_is_null(json_object_get(json, "last")));
	json_decref(json);
}

static void test_preview_refused(void **state)
{
	(void)state;
	assert_int_equal(ask(NULL, "GET", "/v1/preview?indicator=evil.example", NULL), 422);
	assert_int_equal(ask(NULL, "GET", "/v1/preview?indicator=203.0.113.1%2f24", NULL), 400);
	assert_int_equal(ask(NULL, "GET", "/v1/preview?ends=x", NULL), 400);
	preview_silent = true;
	assert_int_equal(ask(NULL, "GET", "/v1/preview?indicator=203.0.113.7", NULL), 503);
	preview_silent = false;
	preview_error = -ENOTCONN;
	assert_int_equal(ask(NULL, "GET", "/v1/preview?indicator=203.0.113.7", NULL), 503);
	assert_non_null(strstr(answer, "no data plane is connected"));
	preview_error = -EBUSY;
	assert_int_equal(ask(NULL, "GET", "/v1/preview", NULL), 429);
	preview_error = 0;
	preview_head.denied = 1; // of no samples
	assert_int_equal(ask(NULL, "GET", "/v1/preview", NULL), 503);
}

static void test_others_hold(void **state)
{
	(void)state;
	put(&f, "thehive:soc", "o/1/2", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	const char *body = "{\"indicator\":\"203.0.113.7\",\"reason\":\"r\"}";
	json_decref(ask_json(200, "POST", "/v1/claims", body));
	json_t *json = ask_json(409, "DELETE", "/v1/claims", body);
	assert_int_equal(json_integer_value(json_object_get(json, "changed")), 1);
	json_t *holder = json_array_get(json_object_get(json, "holders"), 0);
	assert_string_equal(json_string_value(json_object_get(holder, "source")), "thehive:soc");
	assert_non_null(strstr(
		json_string_value(json_object_get(json, "remedy")), "stanch allow 203.0.113.7"
	));
	json_decref(json);
}

static void test_many(void **state)
{
	(void)state;
	json_t *list = json_array();
	for (int i = 0; i < 1001; i++)
		json_array_append_new(list, json_sprintf("198.18.%d.%d", i / 250, i % 250 + 1));
	json_t *body = json_pack("{s:s, s:o}", "reason", "r", "indicators", list);
	char *text = json_dumps(body, JSON_COMPACT);
	assert_int_equal(ask(NULL, "POST", "/v1/claims", text), 413);
	free(text);
	json_array_remove(list, 1000);
	text = json_dumps(body, JSON_COMPACT);
	json_t *json = ask_json(200, "POST", "/v1/claims", text);
	assert_int_equal(json_integer_value(json_object_get(json, "changed")), 1000);
	json_decref(json);
	free(text);
	json_decref(body);
	struct list_state now;
	ledger_state(f.ledger, &now);
	assert_int_equal(now.count, 1000);
}

static void denial_make(struct wire_denial *denial, uint8_t last)
{
	*denial = (struct wire_denial){
		.entry = {.kind = 1, .family = 4, .prefix_len = 32, .addr = {203, 0, 113, 7}},
		.family = 4,
		.proto = 6,
		.port = 443,
		.src = {10, 0, 0, last},
		.dst = {203, 0, 113, 7},
		.packets = 2,
		.bytes = 120,
		.first_ms = 1000,
		.last_ms = 2000,
		.reason = "DENIED",
	};
}

static void test_denials(void **state)
{
	(void)state;
	struct wire_denial denial;
	denial_make(&denial, 1);
	api_denials_take(control.api, &denial, 1);
	denial.last_ms = 9000;
	api_denials_take(control.api, &denial, 1);
	denial_make(&denial, 2);
	api_denials_take(control.api, &denial, 1);
	json_t *json = ask_json(200, "GET", "/v1/denials", NULL);
	json_t *list = json_object_get(json, "denials"), *old = json_array_get(list, 1);
	assert_int_equal(json_array_size(list), 2);
	assert_int_equal(json_integer_value(json_object_get(old, "network.packets")), 4);
	assert_string_equal(json_string_value(json_object_get(old, "source.ip")), "10.0.0.1");
	assert_string_equal(json_string_value(json_object_get(old, "rule.name")), "203.0.113.7");
	json_decref(json);
	json = ask_json(200, "GET", "/v1/why/203.0.113.7", NULL);
	assert_int_equal(json_array_size(json_object_get(json, "tried")), 2);
	json_decref(json);
	for (unsigned i = 0; i < 9000; i++) { // bounded
		denial.port = (uint16_t)(i + 1);
		api_denials_take(control.api, &denial, 1);
	}
	json = ask_json(200, "GET", "/v1/denials?max=1", NULL);
	assert_int_equal(json_integer_value(json_object_get(json, "kept")), 8192);
	json_decref(json);
}

// A line comes while the stream is open; its peer's end leaves nothing behind.
static void test_follow(void **state)
{
	(void)state;
	static const char request[] = "GET /v1/denials?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n";
	struct wire_denial denial;
	denial_make(&denial, 1);
	int fd = connected(false);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	int64_t end = clock_boot_ms(f.ledger) + 10000;
	size_t got = 0;
	answer[0] = '\0';
	while (!strstr(answer, "\"rule.name\":\"203.0.113.7\"") && clock_boot_ms(f.ledger) < end) {
		event_base_loop(f.base, EVLOOP_NONBLOCK);
		if (strstr(answer, "200 OK"))
			api_denials_take(control.api, &denial, 1);
		ssize_t n = recv(fd, answer + got, ANSWER_MAX - 1 - got, 0);
		got += n > 0 ? (size_t)n : 0;
		answer[got] = '\0';
	}
	assert_non_null(strstr(answer, "\"rule.name\":\"203.0.113.7\""));
	close(fd);
	assert_int_equal(ask(NULL, "GET", "/v1/denials", NULL), 200);
	api_denials_take(control.api, &denial, 1);
}

static void test_unblock_force(void **state)
{
	(void)state;
	put(&f, "thehive:soc", "o/1/2", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(&f, "operator", "token gone", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	const char *body = "{\"indicator\":\"203.0.113.7\",\"reason\":\"r\",\"force\":true}";
	// A live claim of a case stays, another operator's ends.
	json_t *json = ask_json(409, "POST", "/v1/claims/end", body);
	assert_int_equal(json_array_size(json_object_get(json, "holders")), 1);
	json_decref(json);
	op(&f, SUBMIT_ORPHAN, "thehive:soc", "o/1/2", "203.0.113.7");
	json_decref(ask_json(200, "POST", "/v1/claims/end", body));
	struct entry entry;
	assert_false(entry_is(&f, "203.0.113.7", &entry));
	assert_int_equal(
		ask(NULL, "POST", "/v1/claims/end", "{\"indicator\":\"1.1.1.1\",\"force\":true}"),
		400
	);
}

static void test_sync(void **state)
{
	(void)state;
	assert_int_equal(ask(NULL, "POST", "/v1/sync", "{\"force\":true}"), 400);
	assert_int_equal(syncs, 0);
	assert_int_equal(ask(NULL, "POST", "/v1/sync", "{\"force\":true,\"reason\":\"r\"}"), 202);
	assert_int_equal(syncs, 1);
	// What is forced now must not hold when it comes back.
	gone = true;
	assert_int_equal(ask(NULL, "POST", "/v1/sync", "{\"force\":true,\"reason\":\"r\"}"), 503);
	assert_int_equal(syncs, 1);
	gone = false;
}

static void test_status(void **state)
{
	(void)state;
	assert_int_equal(ask(NULL, "GET", "/v1/status", NULL), 200);
	assert_non_null(strstr(answer, "\"restarts\":3"));
	assert_non_null(strstr(answer, "\"restarted\":\"1970-01-01T00:16:40Z\""));
	assert_non_null(strstr(answer, "\"nearly_full\":true"));
	assert_non_null(strstr(answer, "nearly full: 801 of 1000 entries"));
}

int main(void)
{
	// As the daemon does: a peer that closes is an error of the write.
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &ignore, NULL);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_routes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_block_applied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_block_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_denials, setup, teardown),
		cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unblock_force, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sync, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_preview, setup, teardown),
		cmocka_unit_test_setup_teardown(test_preview_of_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_preview_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
