// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/redis_conn.h"

#include "control/backoff.h"
#include "control/sources/redis_guard.h"
#include "control/sources/redis_sentinel.h"
#include "control/sources/redis_tls.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>

// XXX: the adapter of hiredis 0.14 does not survive our warnings.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wcast-qual"
#include <hiredis/adapters/libevent.h>
#pragma GCC diagnostic pop

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000

enum conn_state {
	CONN_WAITING, // for the next try
	CONN_ASKING, // Sentinel, which answers in its time
	CONN_CONNECTING,
	CONN_GREETING, // AUTH, SELECT, ROLE
	CONN_READY,
};

struct redis_conn {
	struct event_base *base;
	struct evdns_base *dns;
	struct redis_conn_conf conf;
	struct redis_conn_events events;
	struct redis_sentinel_user user; // of the Sentinel, if any
	char address[280]; // of this try
	enum conn_state state;
	redisAsyncContext *redis;
	struct redis_relay *relay; // where TLS is between
	struct redis_guard guard; // of `redis`
	struct evdns_getaddrinfo_request *resolving;
	struct event *retry, *watch;
	unsigned troubles, greetings, tries;
	size_t under_way; // commands without an answer
	int64_t since_ms; // of the last answer, or of the first command after none
	bool freeing;
	char why[160];
};

struct command {
	struct redis_conn *conn;
	redis_done done;
	void *ctx;
	bool stays; // a subscription: called for each message, and with NULL at the end
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int redis_address_parse(const char *address, char host[256], char port[6])
{
	const char *colon = strrchr(address, ':');
	size_t len = colon ? (size_t)(colon - address) : 0;
	char *end;
	long number;

	if (len > 1 && address[0] == '[' && address[len - 1] == ']') {
		address++;
		len -= 2;
	} else if (colon && memchr(address, ':', len)) {
		return -EINVAL;
	}
	if (len == 0 || len >= 256)
		return -EINVAL;
	number = strtol(colon + 1, &end, 10);
	if (end == colon + 1 || *end || number < 1 || number > 65535)
		return -EINVAL;
	memcpy(host, address, len);
	host[len] = '\0';
	snprintf(port, 6, "%ld", number);
	return 0;
}

static void wait_again(struct redis_conn *c)
{
	int64_t ms = backoff_wait_ms(++c->troubles, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
	const struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	c->state = CONN_WAITING;
	event_add(c->retry, &after);
}

void redis_conn_drop(struct redis_conn *c, const char *why)
{
	redisAsyncContext *redis = c->redis;

	if (c->freeing || c->state == CONN_WAITING)
		return;
	snprintf(c->why, sizeof(c->why), "%s", why);
	c->state = CONN_WAITING;
	c->redis = NULL;
	c->user.asks = false;
	if (c->resolving)
		evdns_getaddrinfo_cancel(c->resolving);
	c->resolving = NULL;
	if (redis) {
		redis->data = NULL;
		redisAsyncFree(redis); // what is under way is called back
	}
	redis_relay_free(c->relay);
	c->relay = NULL;
	c->under_way = 0;
	wait_again(c);
	c->events.lost(c->events.ctx, c->why);
}

static void replied(redisAsyncContext *redis, void *reply, void *ctx)
{
	struct command *command = ctx;
	struct redis_conn *c = command->conn;
	const redisReply *r = reply;

	(void)redis;
	c->since_ms = now_ms();
	if (c->under_way > 0)
		c->under_way--;
	if (command->done)
		command->done(command->ctx, r);
	if (!command->stays || !r)
		free(command);
}

static int command_send(
	struct redis_conn *c,
	redis_done done,
	void *ctx,
	int argc,
	const char *const *argv,
	const size_t *lens
)
{
	struct command *command = malloc(sizeof(*command));
	const char **args = NULL;
	int rc;

	if (!command)
		return -ENOMEM;
	*command = (struct command){.conn = c, .done = done, .ctx = ctx};
	command->stays = c->conf.subscribes && strstr(argv[0], "SUBSCRIBE");
	// hiredis takes the same, without the const.
	memcpy(&args, &argv, sizeof(args));
	rc = redisAsyncCommandArgv(c->redis, replied, command, argc, args, lens);
	if (rc != REDIS_OK) {
		free(command);
		return -ENOTCONN;
	}
	if (c->under_way++ == 0)
		c->since_ms = now_ms();
	return 0;
}

int redis_conn_send(
	struct redis_conn *c,
	redis_done done,
	void *ctx,
	int argc,
	const char *const argv[],
	const size_t *lens
)
{
	if (c->state != CONN_READY || !c->redis)
		return -ENOTCONN;
	return command_send(c, done, ctx, argc, argv, lens);
}

static void greeted(void *ctx, const redisReply *r)
{
	struct redis_conn *c = ctx;

	if (!r || c->state != CONN_GREETING)
		return;
	if (r->type == REDIS_REPLY_ERROR) {
		// The first refusal says why; what was sent behind it is refused for it.
		if (!c->why[0])
			snprintf(c->why, sizeof(c->why), "refused: %.120s", r->str);
		redisAsyncDisconnect(c->redis);
		return;
	}
	if (--c->greetings > 0)
		return;
	c->state = CONN_READY;
	c->troubles = 0;
	c->why[0] = '\0';
	c->events.ready(c->events.ctx);
}

// {"master", …}, {"slave", …} or {"sentinel", …}
static void role_told(void *ctx, const redisReply *r)
{
	struct redis_conn *c = ctx;
	bool listed = r && r->type == REDIS_REPLY_ARRAY && r->elements > 0;
	const char *role = listed && r->element[0]->type == REDIS_REPLY_STRING ? r->element[0]->str
									       : "nothing";

	if (r && r->type != REDIS_REPLY_ERROR && strcmp(role, "master") != 0 && !c->why[0]) {
		snprintf(
			c->why,
			sizeof(c->why),
			"Sentinel named %.90s, which is no master: %.20s",
			c->address,
			role
		);
		redis_sentinel_doubt(c->conf.sentinel, c->address);
		redisAsyncDisconnect(c->redis);
		return;
	}
	greeted(c, r);
}

static void greet(struct redis_conn *c)
{
	char database[12];

	c->state = CONN_GREETING;
	c->why[0] = '\0';
	c->greetings = 1;
	if (c->conf.password) {
		const char *auth[] = {
			"AUTH", c->conf.user ? c->conf.user : c->conf.password, c->conf.password};

		c->greetings++;
		command_send(c, greeted, c, c->conf.user ? 3 : 2, auth, NULL);
	}
	if (c->conf.sentinel) {
		c->greetings++;
		command_send(c, role_told, c, 1, (const char *const[]){"ROLE"}, NULL);
	}
	snprintf(database, sizeof(database), "%u", c->conf.database);
	if (c->conf.sentinel_itself)
		command_send(c, greeted, c, 1, (const char *const[]){"PING"}, NULL);
	else
		command_send(c, greeted, c, 2, (const char *const[]){"SELECT", database}, NULL);
}

static void connected(const redisAsyncContext *redis, int status)
{
	struct redis_conn *c = redis->data;

	if (!c)
		return;
	if (status != REDIS_OK) {
		char why[160];

		snprintf(why, sizeof(why), "not connected: %.120s", redis->errstr);
		c->redis = NULL; // hiredis frees it
		redis_conn_drop(c, why);
		return;
	}
	greet(c);
}

static void disconnected(const redisAsyncContext *redis, int status)
{
	struct redis_conn *c = redis->data;
	char why[160];

	if (!c)
		return;
	c->redis = NULL;
	if (c->guard.refused)
		snprintf(why, sizeof(why), "it sent what no Redis sends");
	else if (c->why[0] && c->state == CONN_GREETING)
		snprintf(why, sizeof(why), "%s", c->why);
	else
		snprintf(
			why,
			sizeof(why),
			"the connection broke: %.120s",
			status != REDIS_OK && redis->errstr ? redis->errstr : "closed"
		);
	redis_conn_drop(c, why);
}

static void attach(struct redis_conn *c, redisAsyncContext *redis)
{
	char why[160];

	if (!redis || redis->err) {
		snprintf(
			why,
			sizeof(why),
			"not connected: %.120s",
			redis && redis->errstr ? redis->errstr : "no memory"
		);
		if (redis)
			redisAsyncFree(redis);
		redis_conn_drop(c, why);
		return;
	}
	redis->data = c;
	c->redis = redis;
	redis_guard_set(&c->guard, redis);
	// On a Unix socket it fails, and hiredis takes that for an error of the connection.
	if (c->address[0] != '/' && !c->relay)
		redisEnableKeepAlive(&redis->c);
	redisLibeventAttach(redis, c->base);
	redisAsyncSetDisconnectCallback(redis, disconnected);
	if (c->relay)
		greet(c);
	else
		redisAsyncSetConnectCallback(redis, connected);
}

// --- TLS

// XXX: hiredis 0.14 makes an asynchronous context only by connecting. A directory always refuses
// (connect(2) to what is no socket), which leaves a context without a socket: it gets ours.
static void relay_open(void *ctx, int fd)
{
	struct redis_conn *c = ctx;
	redisAsyncContext *redis = redisAsyncConnectUnix("/");

	if (!redis) {
		close(fd);
	} else {
		if (redis->c.fd >= 0)
			close(redis->c.fd);
		redis->c.fd = fd;
		redis->c.flags |= REDIS_CONNECTED;
		redis->c.err = redis->err = 0;
		redis->c.errstr[0] = '\0';
	}
	attach(c, redis);
}

static void relay_failed(void *ctx, const char *why)
{
	struct redis_conn *c = ctx;
	char text[sizeof(c->why)];

	if (c->state != CONN_READY)
		snprintf(text, sizeof(text), "not connected: %s", why);
	else
		snprintf(text, sizeof(text), "the connection broke: %s", why);
	redis_conn_drop(c, text);
}

static void relay_connect(struct redis_conn *c, const struct evutil_addrinfo *to, const char *host)
{
	const struct redis_relay_events events = {relay_open, relay_failed, c};
	const char *name = c->conf.server_name ? c->conf.server_name : host;
	int error = redis_relay_create(
		c->base, c->conf.tls, to->ai_addr, (int)to->ai_addrlen, name, &events, &c->relay
	);

	if (error)
		relay_failed(c, strerror(-error));
}

// --- addresses

// Another one each try: localhost is ::1 first in many places.
static const struct evutil_addrinfo *pick(const struct evutil_addrinfo *found, unsigned tries)
{
	const struct evutil_addrinfo *one = found;
	unsigned n = 0;

	for (; one; one = one->ai_next)
		n++;
	one = found;
	for (tries = n ? tries % n : 0; tries > 0; tries--)
		one = one->ai_next;
	return one;
}

static void resolved(int error, struct evutil_addrinfo *found, void *ctx)
{
	struct redis_conn *c = ctx;
	const struct evutil_addrinfo *to = pick(found, c->tries++);
	char text[NI_MAXHOST], host[256], port[6], why[160];

	if (error == EVUTIL_EAI_CANCEL || c->freeing)
		return;
	c->resolving = NULL;
	if (error || !to
	    || getnameinfo(to->ai_addr, to->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST)
	    || redis_address_parse(c->address, host, port) < 0) {
		snprintf(
			why,
			sizeof(why),
			"not resolved: %s",
			error ? evutil_gai_strerror(error) : "bad address"
		);
		redis_conn_drop(c, why);
	} else if (c->conf.tls) {
		relay_connect(c, to, host);
	} else {
		attach(c, redisAsyncConnect(text, (int)strtol(port, NULL, 10)));
	}
	if (found)
		evutil_freeaddrinfo(found);
}

static void address_connect(struct redis_conn *c)
{
	const struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = EVUTIL_AI_NUMERICSERV,
	};
	struct evdns_getaddrinfo_request *request;
	char host[256], port[6];

	c->state = CONN_CONNECTING;
	c->since_ms = now_ms();
	if (c->address[0] == '/') {
		attach(c, redisAsyncConnectUnix(c->address));
		return;
	}
	if (redis_address_parse(c->address, host, port) < 0) {
		redis_conn_drop(c, "its address is not HOST:PORT");
		return;
	}
	// NULL: answered already, or nothing to wait for.
	request = evdns_getaddrinfo(c->dns, host, port, &hints, resolved, c);
	if (request && c->state == CONN_CONNECTING && !c->redis)
		c->resolving = request;
}

static void connect_now(struct redis_conn *c)
{
	if (c->conf.sentinel) {
		c->state = CONN_ASKING;
		redis_sentinel_ask(c->conf.sentinel, &c->user);
		return;
	}
	snprintf(c->address, sizeof(c->address), "%s", c->conf.address);
	address_connect(c);
}

// --- Sentinel

static void master_told(void *ctx, const char *address, const char *why)
{
	struct redis_conn *c = ctx;
	char text[sizeof(c->why)];

	if (address) {
		snprintf(c->address, sizeof(c->address), "%s", address);
		address_connect(c);
		return;
	}
	snprintf(text, sizeof(text), "no Sentinel names the master: %.120s", why);
	redis_conn_drop(c, text);
}

static void master_moved(void *ctx, const char *address)
{
	struct redis_conn *c = ctx;
	char why[sizeof(c->why)];

	if (c->state == CONN_WAITING || strcmp(c->address, address) == 0)
		return;
	snprintf(why, sizeof(why), "Sentinel names another master: %.100s", address);
	redis_conn_drop(c, why);
}

static void retried(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	connect_now(ctx);
}

static void watched(evutil_socket_t fd, short what, void *ctx)
{
	struct redis_conn *c = ctx;
	int64_t age = now_ms() - c->since_ms;

	(void)fd;
	(void)what;
	if ((c->state == CONN_CONNECTING || c->state == CONN_GREETING)
	    && age > c->conf.connect_timeout_ms)
		redis_conn_drop(
			c,
			c->relay && c->state == CONN_CONNECTING
				? "not connected: TLS did not stand in time"
				: "not connected: no answer in time"
		);
	else if (c->state == CONN_READY && !c->conf.subscribes && c->under_way > 0 && age > c->conf.timeout_ms)
		redis_conn_drop(c, "it does not answer");
	else if (c->redis && redis_guard_full(&c->guard))
		redis_conn_drop(c, "an answer without end");
}

int redis_conn_create(
	struct event_base *base,
	struct evdns_base *dns,
	const struct redis_conn_conf *conf,
	const struct redis_conn_events *events,
	struct redis_conn **ret_conn
)
{
	static const struct timeval at_once = {0}, often = {.tv_usec = 250000};
	struct redis_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->base = base;
	c->dns = dns;
	c->conf = *conf;
	c->events = *events;
	c->user = (struct redis_sentinel_user){master_told, master_moved, c, false, {0}};
	if (conf->sentinel)
		redis_sentinel_join(conf->sentinel, &c->user);
	c->retry = event_new(base, -1, 0, retried, c);
	c->watch = event_new(base, -1, EV_PERSIST, watched, c);
	if (!c->retry || !c->watch || event_add(c->retry, &at_once) < 0
	    || event_add(c->watch, &often) < 0) {
		redis_conn_free(c);
		return -ENOMEM;
	}
	*ret_conn = c;
	return 0;
}

void redis_conn_free(struct redis_conn *c)
{
	if (!c)
		return;
	c->freeing = true;
	if (c->conf.sentinel)
		redis_sentinel_leave(c->conf.sentinel, &c->user);
	if (c->resolving)
		evdns_getaddrinfo_cancel(c->resolving);
	if (c->redis) {
		c->redis->data = NULL;
		redisAsyncFree(c->redis);
	}
	redis_relay_free(c->relay);
	if (c->retry)
		event_free(c->retry);
	if (c->watch)
		event_free(c->watch);
	free(c);
}

bool redis_conn_ready(const struct redis_conn *c)
{
	return c->state == CONN_READY;
}

const char *redis_conn_address(const struct redis_conn *c)
{
	return c->address;
}
