// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Incoming HTTP: libevent's evhttp on a Unix socket and on TCP, behind one table of routes.
//
// Thread: the event loop.
// Limits of our own: size of a body, number of connections, connections an address, a total
// deadline for a request (evhttp's timeout is idle only), hooks a second.

#pragma once

#include "control/tokens.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct http_server;
struct http_request;

// One row of the table: what a route is, and who may call it. Every route is in a table.
struct http_route {
	const char *method; // "GET", …
	const char *path; // exact, or with one final "{}": "/v1/entries/{}" (the rest, decoded)
	enum role role; // least role; ROLE_NONE: anybody
	size_t max_body; // 0: no body accepted
	void (*handler)(void *ctx, struct http_request *);
	const char *help;
};

// Who asked, as authenticated: a token, or the peer of the Unix socket.
struct http_caller {
	enum role role;
	char name[128]; // "uid 1000 (alice)", "token soc-hook@192.0.2.1": the audit's actor
	uint32_t uid; // of the Unix socket's peer; UINT32_MAX for TCP
};

const struct http_caller *http_request_caller(const struct http_request *);
const char *http_request_rest(const struct http_request *); // what "{}" stood for
const char *http_request_query(const struct http_request *, const char *name); // decoded, or NULL
const char *http_request_body(const struct http_request *, size_t *ret_len);
// NULL and the request answered with 400 (line, column, reason) where the body is no JSON object.
json_t *http_request_json(struct http_request *);

// Each request is answered exactly once, now or later; the request is gone afterwards.
void http_answer_json(struct http_request *, int status, json_t *body); // takes the reference
void http_answer_text(struct http_request *, int status, const char *type, const char *text);
// {"error": message, "remedy": remedy}; remedy may be NULL.
void http_answer_error(struct http_request *, int status, const char *message, const char *remedy);
// A stream of JSON lines (denials -f): begun, fed, ended by the caller or by the peer, whom
// `closed` then tells.
void http_stream_begin(struct http_request *, void (*closed)(void *ctx), void *ctx);
int http_stream_line(struct http_request *, json_t *line); // borrowed
void http_stream_end(struct http_request *);

struct sockaddr;
// "192.0.2.1:8080", "[::1]:8080"; port 0: any free one. `ret_len`: in, room; out, length. -EINVAL.
int http_listen_parse(const char *text, struct sockaddr *ret_address, int *ret_len);

struct http_server_conf {
	const char *unix_path; // mode 0660
	const char *listen; // "127.0.0.1:8080", or NULL
	const char *tls_cert_file, *tls_key_file; // NULL: no TLS
	uint32_t max_connections; // default 512
	uint32_t max_connections_per_address; // default 64
	uint32_t deadline_ms; // default 10,000
	uint32_t hooks_per_second; // per address, default 500; beyond: 429
};

int http_server_create(
	struct event_base *,
	const struct http_server_conf *,
	struct tokens *,
	struct http_server **ret_server,
	char ret_message[256]
);
void http_server_free(struct http_server *);
// After a reload. Borrowed, as at the creation.
void http_server_tokens_set(struct http_server *, const struct tokens *);
// The port that TCP listens on, for "127.0.0.1:0"; 0 without TCP.
uint16_t http_server_port(const struct http_server *);

struct http_server_counters {
	uint64_t requests, status[6]; // [2] 2xx …
	uint64_t refused_connections; // by the caps
	uint64_t deadlines; // requests cut at the deadline
	uint64_t hooks_limited; // 429
	uint64_t unauthenticated; // 401
	uint64_t connections; // now
};
void http_server_counters(const struct http_server *, struct http_server_counters *ret_counters);
// The table is borrowed; ctx goes to its handlers. Several tables may be added.
int http_server_routes(struct http_server *, const struct http_route *routes, size_t n, void *ctx);
// Walk every route of every table, for `GET /v1` and for the test that covers them all.
typedef void (*route_cb)(void *ctx, const struct http_route *);
void http_server_each_route(const struct http_server *, route_cb, void *ctx);
