// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/health.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define CONNECTIONS_MAX 32
#define REQUEST_MAX 4096
#define DEADLINE_S 5 // from accepting to the last octet of the answer

struct connection {
	LIST_ENTRY(connection) entry;
	struct health *health;
	struct bufferevent *stream;
	struct event *deadline;
	bool answered;
};

struct health {
	struct evconnlistener *listener;
	struct event_base *base;
	health_cb cb;
	void *ctx;
	LIST_HEAD(, connection) connections;
	unsigned n;
};

static void connection_free(struct connection *c)
{
	LIST_REMOVE(c, entry);
	c->health->n--;
	if (c->deadline)
		event_free(c->deadline);
	bufferevent_free(c->stream);
	free(c);
}

static void answer(struct connection *c, const char *status, const char *body, bool with_body)
{
	struct evbuffer *out = bufferevent_get_output(c->stream);

	evbuffer_add_printf(
		out,
		"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\nConnection: close\r\n\r\n%s",
		status,
		strlen(body),
		with_body ? body : ""
	);
	c->answered = true;
	bufferevent_disable(c->stream, EV_READ);
}

static const char *word(bool good)
{
	return good ? "true" : "false";
}

static void healthz(struct connection *c, bool with_body)
{
	struct status_health h;
	bool healthy;
	char body[256];

	c->health->cb(c->health->ctx, &h);
	healthy = status_healthy(&h);
	snprintf(
		body,
		sizeof(body),
		"{\"healthy\":%s,\"workers\":%s,\"list\":%s,\"applied\":%s,\"ports\":%s,"
		"\"scrub\":%s}\n",
		word(healthy),
		word(h.workers),
		word(h.list),
		word(h.applied),
		word(h.ports),
		word(h.scrub)
	);
	answer(c, healthy ? "200 OK" : "503 Service Unavailable", body, with_body);
}

static void request_line(struct connection *c, const char *line)
{
	if (strncmp(line, "GET /healthz HTTP/1.", 20) == 0)
		healthz(c, true);
	else if (strncmp(line, "HEAD /healthz HTTP/1.", 21) == 0)
		healthz(c, false);
	else if (strncmp(line, "GET ", 4) == 0 || strncmp(line, "HEAD ", 5) == 0)
		answer(c, "404 Not Found", "{\"error\":\"only /healthz\"}\n", line[0] == 'G');
	else
		answer(c, "405 Method Not Allowed", "{\"error\":\"only GET\"}\n", true);
}

static void stream_read(struct bufferevent *stream, void *ctx)
{
	struct connection *c = ctx;
	struct evbuffer *in = bufferevent_get_input(stream);
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	char *line;

	if (c->answered)
		return;
	if (end.pos < 0) {
		if (evbuffer_get_length(in) >= REQUEST_MAX)
			connection_free(c);
		return;
	}
	line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF);
	if (!line) {
		connection_free(c);
		return;
	}
	request_line(c, line);
	free(line);
}

static void stream_written(struct bufferevent *stream, void *ctx)
{
	struct connection *c = ctx;

	if (c->answered && evbuffer_get_length(bufferevent_get_output(stream)) == 0)
		connection_free(c);
}

static void stream_event(struct bufferevent *stream, short what, void *ctx)
{
	(void)stream;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
		connection_free(ctx);
}

static void deadline_passed(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	connection_free(ctx);
}

static void accepted(
	struct evconnlistener *listener,
	evutil_socket_t fd,
	struct sockaddr *address,
	int len,
	void *ctx
)
{
	static const struct timeval deadline = {.tv_sec = DEADLINE_S};
	struct health *h = ctx;
	struct connection *c = h->n < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;

	(void)listener;
	(void)address;
	(void)len;
	if (!c || !(c->stream = bufferevent_socket_new(h->base, fd, BEV_OPT_CLOSE_ON_FREE))) {
		free(c);
		evutil_closesocket(fd);
		return;
	}
	c->health = h;
	LIST_INSERT_HEAD(&h->connections, c, entry);
	h->n++;
	c->deadline = evtimer_new(h->base, deadline_passed, c);
	if (!c->deadline) {
		connection_free(c);
		return;
	}
	event_add(c->deadline, &deadline);
	bufferevent_setcb(c->stream, stream_read, stream_written, stream_event, c);
	bufferevent_setwatermark(c->stream, EV_READ, 0, REQUEST_MAX);
	bufferevent_enable(c->stream, EV_READ | EV_WRITE);
}

int health_create(
	struct event_base *base,
	const char *address,
	health_cb cb,
	void *ctx,
	struct health **ret_health
)
{
	struct sockaddr_storage where;
	int len = sizeof(where);
	struct health *h;

	if (evutil_parse_sockaddr_port(address, (struct sockaddr *)&where, &len) < 0)
		return -EINVAL;
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	*h = (struct health){.base = base, .cb = cb, .ctx = ctx};
	LIST_INIT(&h->connections);
	h->listener = evconnlistener_new_bind(
		base,
		accepted,
		h,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
		16,
		(struct sockaddr *)&where,
		len
	);
	if (!h->listener) {
		int error = errno ? errno : EIO;

		free(h);
		return -error;
	}
	*ret_health = h;
	return 0;
}

void health_free(struct health *h)
{
	struct connection *c;

	if (!h)
		return;
	while ((c = LIST_FIRST(&h->connections)))
		connection_free(c);
	evconnlistener_free(h->listener);
	free(h);
}

uint16_t health_port(const struct health *h)
{
	struct sockaddr_storage where;
	socklen_t len = sizeof(where);
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&where;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&where;

	if (getsockname(evconnlistener_get_fd(h->listener), (struct sockaddr *)&where, &len))
		return 0;
	return ntohs(where.ss_family == AF_INET6 ? v6->sin6_port : v4->sin_port);
}
