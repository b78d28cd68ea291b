// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/http_server.h"

#include "control/http_caller.h"
#include "control/http_request.h"
#include "control/http_route.h"
#include "rules/siphash.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

// uthash's own function does not survive clang's warnings.
static const uint8_t peer_hash_key[16] = "stanch server 1";
#define HASH_FUNCTION(key, len, hash) ((hash) = (unsigned)siphash64(peer_hash_key, (key), (len)))
#include <uthash.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HEADERS_MAX 16384
#define TABLES_MAX 16
#define PEERS_IDLE_MAX 1024 // addresses without a connection that are remembered
#define BODY_SLACK 65536 // beyond a route's limit: still read, so that the 413 is JSON

// An address that connects: its connections, and its bucket of hooks.
struct peer {
	char address[48];
	uint32_t connections;
	double hooks; // tokens in the bucket
	int64_t hooks_ms; // when it was last filled
	UT_hash_handle hh;
};

// One accepted connection. libevent 2.1 tells of it through its bufferevent only: it is `fresh`
// until the end of that turn of the loop.
struct http_conn {
	struct http_server *server;
	struct bufferevent *bev; // held by a reference while fresh
	struct evhttp_connection *evcon; // NULL while fresh
	struct peer *peer; // NULL for the Unix socket
	struct event *deadline;
	struct http_request *request; // with its handler, or NULL
	bool is_unix;
	LIST_ENTRY(http_conn) next;
};

LIST_HEAD(http_conns, http_conn);

struct http_server {
	struct event_base *base;
	struct http_server_conf conf; // its numbers only; strings below
	const struct tokens *tokens;
	struct evhttp *unix_http, *tcp_http;
	SSL_CTX *ssl;
	char unix_path[108];
	uint16_t port;
	struct http_conns fresh, conns;
	struct event *fresh_event;
	struct peer *peers;
	uint32_t unix_connections, tcp_connections;
	struct route_table tables[TABLES_MAX];
	size_t n_tables;
	size_t max_body;
	struct http_server_counters counters;
};

static int64_t clock_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// --- connections

static struct peer *peer_get(struct http_server *server, const char *address)
{
	struct peer *peer, *next;
	HASH_FIND_STR(server->peers, address, peer);
	if (peer)
		return peer;
	if (HASH_COUNT(server->peers) >= PEERS_IDLE_MAX)
		HASH_ITER(hh, server->peers, peer, next)
		{
			if (peer->connections > 0)
				continue;
			HASH_DEL(server->peers, peer);
			free(peer);
		}
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return NULL;
	snprintf(peer->address, sizeof(peer->address), "%s", address);
	peer->hooks = server->conf.hooks_per_second;
	peer->hooks_ms = clock_ms();
	HASH_ADD_STR(server->peers, address, peer);
	return peer;
}

static bool peer_hook_take(struct http_server *server, struct peer *peer)
{
	int64_t now = clock_ms();
	double rate = server->conf.hooks_per_second;
	peer->hooks += (double)(now - peer->hooks_ms) * rate / 1000;
	peer->hooks_ms = now;
	if (peer->hooks > rate)
		peer->hooks = rate;
	if (peer->hooks < 1)
		return false;
	peer->hooks--;
	return true;
}

static void conn_free(struct http_conn *conn)
{
	LIST_REMOVE(conn, next);
	if (conn->evcon) {
		if (conn->is_unix)
			conn->server->unix_connections--;
		else
			conn->server->tcp_connections--;
	}
	if (conn->peer)
		conn->peer->connections--;
	if (conn->deadline)
		event_free(conn->deadline);
	free(conn);
}

// The connection is going down: by the peer, by evhttp, or by us.
static void conn_closed(struct evhttp_connection *evcon, void *ctx)
{
	(void)evcon;
	struct http_conn *conn = ctx;
	struct http_request *request = conn->request;
	if (request) {
		// evhttp leaves a request that it has handed out to us when the peer closes.
		if (!evhttp_request_get_connection(request->evreq))
			evhttp_request_free(request->evreq);
		request->evreq = NULL;
		request->conn = NULL;
		if (request->streaming && request->closed)
			request->closed(request->closed_ctx);
	}
	conn_free(conn);
}

static void conn_deadline_set(struct http_conn *conn)
{
	uint32_t ms = conn->server->conf.deadline_ms;
	struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	evtimer_add(conn->deadline, &after);
}

static void conn_deadline(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct http_conn *conn = ctx;
	struct http_request *request = conn->request;
	if (!request) {
		conn->server->counters.deadlines++;
		evhttp_connection_free(conn->evcon); // calls conn_closed
		return;
	}
	// The handler still owns its request; what it answers later goes nowhere.
	conn->server->counters.deadlines++;
	struct evhttp_request *evreq = request->evreq;
	bool head = request->head;
	http_conn_answering(conn, conn->server, 503);
	request->evreq = NULL;
	request->conn = NULL;
	http_raw_error(
		evreq, head, 503, "no answer before the deadline", "look at the state and try again"
	);
}

void http_conn_answering(struct http_conn *conn, struct http_server *server, int status)
{
	if (status >= 100 && status < 600)
		server->counters.status[status / 100]++;
	conn->request = NULL;
	conn_deadline_set(conn);
}

void http_conn_streaming(struct http_conn *conn)
{
	evtimer_del(conn->deadline);
}

static void request_complete(struct evhttp_request *evreq, void *ctx)
{
	(void)evreq;
	conn_deadline_set(ctx); // for the next request, or for the silence
}

static bool conn_admit(struct http_conn *conn)
{
	struct http_server *server = conn->server;
	uint32_t *connections
		= conn->is_unix ? &server->unix_connections : &server->tcp_connections;
	if (*connections >= server->conf.max_connections)
		return false;
	if (!conn->is_unix) {
		char *address = NULL;
		ev_uint16_t port;
		evhttp_connection_get_peer(conn->evcon, &address, &port);
		struct peer *peer = peer_get(server, address ? address : "?");
		if (!peer || peer->connections >= server->conf.max_connections_per_address)
			return false;
		conn->peer = peer;
		peer->connections++;
	}
	conn->deadline = evtimer_new(server->base, conn_deadline, conn);
	if (!conn->deadline) {
		if (conn->peer)
			conn->peer->connections--;
		conn->peer = NULL;
		return false;
	}
	(*connections)++;
	return true;
}

static void conn_begin(struct http_conn *conn)
{
	// XXX evhttp 2.1 has no call for an accepted connection; its own callback argument on the
	// bufferevent is the connection. The check below sees that it is so.
	void *arg = NULL;
	bufferevent_getcb(conn->bev, NULL, NULL, NULL, &arg);
	struct evhttp_connection *evcon = arg;
	struct bufferevent *bev = conn->bev;
	conn->bev = NULL;
	LIST_REMOVE(conn, next);
	if (!evcon || evhttp_connection_get_bufferevent(evcon) != bev) {
		bufferevent_decref(bev);
		free(conn);
		return;
	}
	bufferevent_decref(bev);
	conn->evcon = evcon;
	if (!conn_admit(conn)) {
		conn->server->counters.refused_connections++;
		free(conn);
		evhttp_connection_free(evcon);
		return;
	}
	LIST_INSERT_HEAD(&conn->server->conns, conn, next);
	evhttp_connection_set_closecb(evcon, conn_closed, conn);
	conn_deadline_set(conn);
}

static void fresh_begin(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct http_server *server = ctx;
	struct http_conn *conn;
	while ((conn = LIST_FIRST(&server->fresh)))
		conn_begin(conn);
}

static struct bufferevent *conn_fresh(struct http_server *server, bool is_unix)
{
	struct bufferevent *bev;
	if (!is_unix && server->ssl) {
		SSL *ssl = SSL_new(server->ssl);
		if (!ssl)
			return NULL;
		bev = bufferevent_openssl_socket_new(
			server->base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE
		);
		if (bev)
			bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	} else {
		bev = bufferevent_socket_new(server->base, -1, 0);
	}
	struct http_conn *conn = bev ? calloc(1, sizeof(*conn)) : NULL;
	if (!conn)
		return bev; // no memory: evhttp serves it without our caps
	conn->server = server;
	conn->bev = bev;
	conn->is_unix = is_unix;
	bufferevent_incref(bev);
	LIST_INSERT_HEAD(&server->fresh, conn, next);
	event_active(server->fresh_event, EV_TIMEOUT, 0);
	return bev;
}

static struct bufferevent *unix_fresh(struct event_base *base, void *ctx)
{
	(void)base;
	return conn_fresh(ctx, true);
}

static struct bufferevent *tcp_fresh(struct event_base *base, void *ctx)
{
	(void)base;
	return conn_fresh(ctx, false);
}

static struct http_conn *conn_find(struct http_server *server, struct evhttp_connection *evcon)
{
	struct http_conn *conn;
	LIST_FOREACH(conn, &server->conns, next)
	if (conn->evcon == evcon)
		return conn;
	return NULL;
}

// --- routes

static struct http_request *request_create(
	struct http_conn *conn,
	struct evhttp_request *evreq,
	const struct route_found *found,
	const struct http_caller *caller
)
{
	struct http_request *request = calloc(1, sizeof(*request));
	if (!request)
		return NULL;
	request->evreq = evreq;
	request->conn = conn;
	request->server = conn->server;
	request->route = found->route;
	request->caller = *caller;
	request->head = evhttp_request_get_command(evreq) == EVHTTP_REQ_HEAD;
	if (found->rest) {
		size_t len = 0;
		request->rest = evhttp_uridecode(found->rest, 0, &len);
		if (!request->rest || strlen(request->rest) != len) { // "%00"
			http_request_free(request);
			return NULL;
		}
	}
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(evreq));
	if (query && *query)
		request->query_parsed = evhttp_parse_query_str(query, &request->query) == 0;
	return request;
}

static void
refuse(struct http_conn *conn,
       struct evhttp_request *evreq,
       int status,
       const char *message,
       const char *remedy)
{
	http_conn_answering(conn, conn->server, status);
	bool head = evhttp_request_get_command(evreq) == EVHTTP_REQ_HEAD;
	http_raw_error(evreq, head, status, message, remedy);
}

// Method, path, caller, rate and size, in this order. True: the handler may run.
static bool request_admit(
	struct http_conn *conn,
	struct evhttp_request *evreq,
	const struct route_found *found,
	struct http_caller *ret_caller
)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(evreq);
	const struct http_route *route = found->route;
	if (!found->path_known) {
		refuse(conn, evreq, 404, "no such path", "GET /v1 lists the paths");
		return false;
	}
	if (!route) {
		evhttp_add_header(headers, "Allow", found->allow);
		if (evhttp_request_get_command(evreq) == EVHTTP_REQ_OPTIONS) {
			http_conn_answering(conn, conn->server, 204);
			http_raw_answer(evreq, false, 204, NULL, "", 0);
		} else {
			refuse(conn, evreq, 405, "this path does not take this method", found->allow
			);
		}
		return false;
	}
	const char *why = NULL;
	if (conn->is_unix)
		http_caller_unix(
			bufferevent_getfd(evhttp_connection_get_bufferevent(conn->evcon)),
			ret_caller
		);
	else
		why = http_caller_tcp(
			conn->server->tokens,
			evhttp_find_header(
				evhttp_request_get_input_headers(evreq), "Authorization"
			),
			conn->peer->address,
			ret_caller
		);
	if (route->role != ROLE_NONE && ret_caller->role == ROLE_NONE) {
		conn->server->counters.unauthenticated++;
		evhttp_add_header(headers, "WWW-Authenticate", "Bearer");
		refuse(conn, evreq, 401, why ? why : "the peer is not known", NULL);
		return false;
	}
	if (!role_reaches(ret_caller->role, route->role)) {
		char message[96];
		snprintf(
			message, sizeof(message), "this needs the role %s", role_name(route->role)
		);
		refuse(conn, evreq, 403, message, NULL);
		return false;
	}
	if (route->role == ROLE_HOOK && conn->peer && !peer_hook_take(conn->server, conn->peer)) {
		conn->server->counters.hooks_limited++;
		evhttp_add_header(headers, "Retry-After", "1");
		refuse(conn, evreq, 429, "too many hooks from this address in a second", NULL);
		return false;
	}
	size_t len = evbuffer_get_length(evhttp_request_get_input_buffer(evreq));
	if (len > route->max_body) {
		char message[96];
		snprintf(
			message,
			sizeof(message),
			"the body is larger than %zu octets",
			route->max_body
		);
		refuse(conn, evreq, 413, message, NULL);
		return false;
	}
	return true;
}

static void request_come(struct evhttp_request *evreq, void *ctx)
{
	struct http_server *server = ctx;
	server->counters.requests++;
	struct http_conn *conn = conn_find(server, evhttp_request_get_connection(evreq));
	if (!conn) { // no memory when it was accepted
		http_raw_error(evreq, false, 503, "no memory", NULL);
		return;
	}
	evhttp_request_set_on_complete_cb(evreq, request_complete, conn);
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(evreq));
	struct route_found found;
	route_find(
		server->tables,
		server->n_tables,
		route_method(evhttp_request_get_command(evreq)),
		path ? path : "",
		&found
	);
	struct http_caller caller = {.role = ROLE_NONE, .uid = UINT32_MAX};
	if (!request_admit(conn, evreq, &found, &caller))
		return;
	struct http_request *request = request_create(conn, evreq, &found, &caller);
	if (!request) {
		refuse(conn, evreq, 400, "the path cannot be decoded", NULL);
		return;
	}
	conn->request = request;
	found.route->handler(found.ctx, request);
}

// --- listening

static int say(char message[256], int error, const char *what, const char *why)
{
	snprintf(message, 256, "%s: %s", what, why);
	return error;
}

static struct evhttp *
http_create(struct http_server *server, struct bufferevent *(*fresh)(struct event_base *, void *))
{
	struct evhttp *http = evhttp_new(server->base);
	if (!http)
		return NULL;
	evhttp_set_bevcb(http, fresh, server);
	evhttp_set_gencb(http, request_come, server);
	evhttp_set_allowed_methods(
		http,
		EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT
			| EVHTTP_REQ_PATCH | EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS
	);
	evhttp_set_max_headers_size(http, HEADERS_MAX);
	evhttp_set_max_body_size(http, BODY_SLACK);
	evhttp_set_flags(http, EVHTTP_SERVER_LINGERING_CLOSE);
	evhttp_set_default_content_type(http, NULL);
	return http;
}

static int listener_bind(
	struct http_server *server, struct evhttp *http, const struct sockaddr *address, int len
)
{
	struct evconnlistener *listener = evconnlistener_new_bind(
		server->base,
		NULL,
		NULL,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
		511,
		address,
		len
	);
	if (!listener)
		return errno ? -errno : -EADDRINUSE;
	struct evhttp_bound_socket *bound = evhttp_bind_listener(http, listener);
	if (!bound) {
		evconnlistener_free(listener);
		return -ENOMEM;
	}
	if (address->sa_family == AF_UNIX)
		return 0;
	struct sockaddr_storage real;
	socklen_t real_len = sizeof(real);
	if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&real, &real_len) < 0)
		return -errno;
	const struct sockaddr_in6 *in6 = (const void *)&real;
	const struct sockaddr_in *in = (const void *)&real;
	server->port = ntohs(real.ss_family == AF_INET6 ? in6->sin6_port : in->sin_port);
	return 0;
}

// Is somebody listening at this path?
static bool unix_alive(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	bool alive = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0
		|| errno == EAGAIN;
	close(fd);
	return alive;
}

static int unix_listen(struct http_server *server, const char *path, char message[256])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return say(
			message, -ENAMETOOLONG, path, "is too long for a Unix socket (107 octets)"
		);
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (unix_alive(&address))
		return say(message, -EADDRINUSE, path, "another process listens here");
	unlink(path);
	server->unix_http = http_create(server, unix_fresh);
	if (!server->unix_http)
		return say(message, -ENOMEM, path, strerror(ENOMEM));
	mode_t mask = umask(0117);
	int error = listener_bind(
		server, server->unix_http, (struct sockaddr *)&address, sizeof(address)
	);
	umask(mask);
	if (error)
		return say(message, error, path, strerror(-error));
	memcpy(server->unix_path, path, strlen(path) + 1);
	return 0;
}

static int tls_create(const struct http_server_conf *conf, SSL_CTX **ret_ssl, char message[256])
{
	SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
	if (!ssl)
		return say(message, -ENOMEM, "TLS", strerror(ENOMEM));
	SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
	const char *what = conf->tls_cert_file;
	if (SSL_CTX_use_certificate_chain_file(ssl, conf->tls_cert_file) == 1) {
		what = conf->tls_key_file;
		if (SSL_CTX_use_PrivateKey_file(ssl, conf->tls_key_file, SSL_FILETYPE_PEM) == 1
		    && SSL_CTX_check_private_key(ssl) == 1) {
			*ret_ssl = ssl;
			return 0;
		}
	}
	const char *why = ERR_reason_error_string(ERR_get_error());
	ERR_clear_error();
	SSL_CTX_free(ssl);
	return say(message, -EINVAL, what, why ? why : "cannot be used");
}

int http_listen_parse(const char *text, struct sockaddr *ret_address, int *ret_len)
{
	char copy[128];
	size_t len = strlen(text);
	if (len < 4 || len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len + 1);
	// libevent takes an address without a port for port 0, and refuses 0 itself.
	bool any = strcmp(text + len - 2, ":0") == 0;
	if (any)
		copy[len - 1] = '1';
	if (evutil_parse_sockaddr_port(copy, ret_address, ret_len) < 0)
		return -EINVAL;
	struct sockaddr_in6 *in6 = (void *)ret_address;
	struct sockaddr_in *in = (void *)ret_address;
	in_port_t *port = ret_address->sa_family == AF_INET6 ? &in6->sin6_port : &in->sin_port;
	if (*port == 0)
		return -EINVAL;
	if (any)
		*port = 0;
	return 0;
}

static int
tcp_listen(struct http_server *server, const struct http_server_conf *conf, char message[256])
{
	struct sockaddr_storage address;
	int len = sizeof(address);
	memset(&address, 0, sizeof(address));
	if (http_listen_parse(conf->listen, (struct sockaddr *)&address, &len) < 0)
		return say(message, -EINVAL, conf->listen, "is no ADDRESS:PORT");
	if (conf->tls_cert_file) {
		int error = tls_create(conf, &server->ssl, message);
		if (error)
			return error;
	}
	server->tcp_http = http_create(server, tcp_fresh);
	if (!server->tcp_http)
		return say(message, -ENOMEM, conf->listen, strerror(ENOMEM));
	int error = listener_bind(server, server->tcp_http, (struct sockaddr *)&address, len);
	return error ? say(message, error, conf->listen, strerror(-error)) : 0;
}

int http_server_create(
	struct event_base *base,
	const struct http_server_conf *conf,
	struct tokens *tokens,
	struct http_server **ret_server,
	char ret_message[256]
)
{
	struct http_server *server = calloc(1, sizeof(*server));
	if (!server)
		return say(ret_message, -ENOMEM, "HTTP", strerror(ENOMEM));
	server->base = base;
	server->tokens = tokens;
	server->conf = (struct http_server_conf){
		.max_connections = conf->max_connections ? conf->max_connections : 512,
		.max_connections_per_address
		= conf->max_connections_per_address ? conf->max_connections_per_address : 64,
		.deadline_ms = conf->deadline_ms ? conf->deadline_ms : 10000,
		.hooks_per_second = conf->hooks_per_second ? conf->hooks_per_second : 500,
	};
	LIST_INIT(&server->fresh);
	LIST_INIT(&server->conns);
	server->fresh_event = event_new(base, -1, 0, fresh_begin, server);
	int error = server->fresh_event ? 0 : -ENOMEM;
	if (!error && conf->unix_path)
		error = unix_listen(server, conf->unix_path, ret_message);
	if (!error && conf->listen)
		error = tcp_listen(server, conf, ret_message);
	if (error) {
		http_server_free(server);
		return error;
	}
	*ret_server = server;
	return 0;
}

void http_server_free(struct http_server *server)
{
	if (!server)
		return;
	if (server->fresh_event)
		fresh_begin(-1, 0, server);
	if (server->unix_http)
		evhttp_free(server->unix_http); // its connections too: conn_closed for each
	if (server->tcp_http)
		evhttp_free(server->tcp_http);
	if (server->fresh_event)
		event_free(server->fresh_event);
	struct peer *peer, *next;
	HASH_ITER(hh, server->peers, peer, next)
	{
		HASH_DEL(server->peers, peer);
		free(peer);
	}
	SSL_CTX_free(server->ssl);
	if (server->unix_path[0])
		unlink(server->unix_path);
	free(server);
}

int http_server_routes(
	struct http_server *server, const struct http_route *routes, size_t n, void *ctx
)
{
	if (server->n_tables == TABLES_MAX)
		return -ENOSPC;
	server->tables[server->n_tables++]
		= (struct route_table){.routes = routes, .n = n, .ctx = ctx};
	for (size_t i = 0; i < n; i++)
		if (routes[i].max_body > server->max_body)
			server->max_body = routes[i].max_body;
	if (server->unix_http)
		evhttp_set_max_body_size(
			server->unix_http, (ev_ssize_t)(server->max_body + BODY_SLACK)
		);
	if (server->tcp_http)
		evhttp_set_max_body_size(
			server->tcp_http, (ev_ssize_t)(server->max_body + BODY_SLACK)
		);
	return 0;
}

void http_server_each_route(const struct http_server *server, route_cb each, void *ctx)
{
	for (size_t t = 0; t < server->n_tables; t++)
		for (size_t i = 0; i < server->tables[t].n; i++)
			each(ctx, &server->tables[t].routes[i]);
}

void http_server_tokens_set(struct http_server *server, const struct tokens *tokens)
{
	server->tokens = tokens;
}

uint16_t http_server_port(const struct http_server *server)
{
	return server->port;
}

void http_server_counters(
	const struct http_server *server, struct http_server_counters *ret_counters
)
{
	*ret_counters = server->counters;
	ret_counters->connections = server->unix_connections + server->tcp_connections;
}
