// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One request inside the server: what http_server.c (connections, routes) and http_request.c
// (reading a request, answering it) share. Everybody else uses control/http_server.h.
//
// Thread: the event loop.

#pragma once

#include "control/http_server.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>

struct http_conn;

// Lives from the handler's call to its answer. Where the peer goes away, or the deadline passes,
// `evreq` becomes NULL and the answer goes nowhere.
struct http_request {
	struct evhttp_request *evreq;
	struct http_conn *conn; // NULL together with evreq
	struct http_server *server;
	const struct http_route *route;
	struct http_caller caller;
	char *rest;
	struct evkeyvalq query;
	bool query_parsed;
	bool head; // answer without a body
	bool streaming;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

void http_request_free(struct http_request *);

// Answers given to an evhttp request for which no handler ran.
void http_raw_answer(
	struct evhttp_request *,
	bool head,
	int status,
	const char *type,
	const char *text,
	size_t len
);
void http_raw_error(
	struct evhttp_request *, bool head, int status, const char *message, const char *remedy
);

// Of http_server.c: the answer begins to travel (deadline anew), or a stream begins (no deadline).
void http_conn_answering(struct http_conn *, struct http_server *, int status);
void http_conn_streaming(struct http_conn *);
