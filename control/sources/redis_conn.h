// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One connection to Redis: resolution by evdns (of several addresses another one each try), TLS by
// a relay, hiredis on libevent, AUTH and SELECT, time limits of our own (hiredis 0.14 has none),
// and another try with back-off and jitter for ever.
//
// Thread: the event loop. Lost: every command under way is called back with a NULL reply first.

#pragma once

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct evdns_base;
struct redis_conn;
struct redis_sentinel;
struct redis_tls;

struct redis_conn_conf {
	// HOST:PORT, [IPv6]:PORT or an absolute path; borrowed, as the rest. NULL: `sentinel`
	// knows.
	const char *address;
	struct redis_sentinel *sentinel; // names the master, which must say that it is one
	bool sentinel_itself; // no Redis: it has no databases
	const char *user, *password; // NULL: none
	uint32_t database;
	uint32_t connect_timeout_ms, timeout_ms;
	struct redis_tls *tls; // NULL: in clear
	const char *server_name; // in the certificate; NULL: the host of the address
	bool subscribes; // one channel or pattern a command; messages come unasked, without limit
};

struct redis_conn_events {
	void (*ready)(void *ctx); // AUTH and SELECT are done, and it is the master
	void (*lost)(void *ctx, const char *why);
	void *ctx;
};

int redis_conn_create(
	struct event_base *,
	struct evdns_base *,
	const struct redis_conn_conf *,
	const struct redis_conn_events *,
	struct redis_conn **ret_conn
);
// NULL is fine; `lost` is not called. Not from a callback of the connection, nor of another one
// with the same Sentinel.
void redis_conn_free(struct redis_conn *);
bool redis_conn_ready(const struct redis_conn *);
// Of the last try: what Sentinel named, or as configured. "" before the first one.
const char *redis_conn_address(const struct redis_conn *);
// Drops it, with a reason, and connects anew.
void redis_conn_drop(struct redis_conn *, const char *why);

// `done` gets the reply, which it does not free, or NULL where the connection was lost. -ENOTCONN:
// `done` is not called. `lens` NULL: texts end with NUL.
typedef void (*redis_done)(void *ctx, const redisReply *);
int redis_conn_send(
	struct redis_conn *,
	redis_done done,
	void *ctx,
	int argc,
	const char *const argv[],
	const size_t *lens
);
#define REDIS_SEND(conn, done, ctx, ...)                                                           \
	redis_conn_send(                                                                           \
		conn,                                                                              \
		done,                                                                              \
		ctx,                                                                               \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),                       \
		(const char *const[]){__VA_ARGS__},                                                \
		NULL                                                                               \
	)

// "HOST:PORT", "[::1]:6379" in parts. -EINVAL.
int redis_address_parse(const char *address, char ret_host[256], char ret_port[6]);
