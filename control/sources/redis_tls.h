// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// TLS for hiredis 0.14, which knows none: a relay carries octets between one end of a private
// socket pair, whose other end hiredis has, and a bufferevent_openssl.
//
//   hiredis <── socket pair ──> relay <── TLS 1.2 or later, name verified ──> Redis
//
// What one side does not take is not read from the other: a relay holds at most REDIS_RELAY_MAX
// and one reading in each direction.
//
// Thread: the event loop.

#pragma once

#include <stddef.h>

#define REDIS_RELAY_MAX (256 << 10) // octets in one direction

struct conf_redis_tls;
struct event_base;
struct redis_relay;
struct redis_tls;
struct sockaddr;

// Whom to trust and who we are, for all connections to one Redis. -EINVAL, -ENOENT, -ENOMEM: the
// message names the file.
int redis_tls_create(
	const struct conf_redis_tls *, struct redis_tls **ret_tls, char ret_message[256]
);
// NULL is fine. Relays under way keep what they need.
void redis_tls_free(struct redis_tls *);

// Both at most once each, never from within redis_relay_create, and `failed` last. The relay may be
// freed from them.
struct redis_relay_events {
	void (*open)(void *ctx, int fd); // TLS stands; who is called owns the socket, non-blocking
	void (*failed)(void *ctx, const char *why); // not reached, not verified, broken
	void *ctx;
};

// Connects; `name` is what the certificate must stand for: a host, or an IP address. Redis closing
// in good order is the end of the socket, and no failure, once `open` was called. There is no time
// limit in it: free it when it takes too long.
int redis_relay_create(
	struct event_base *,
	struct redis_tls *,
	const struct sockaddr *,
	int len,
	const char *name,
	const struct redis_relay_events *,
	struct redis_relay **ret_relay
);
void redis_relay_free(struct redis_relay *); // NULL is fine
