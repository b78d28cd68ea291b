// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A Redis as the configuration describes it: its secrets and certificates are read once, and
// connections to it are opened from here, by the lists and by the fleet alike.
//
// Thread: the event loop. Lifetime: the configuration, the base and the resolver outlive the
// server, the server outlives its connections.

#pragma once

#include "control/conf.h"
#include "control/sources/redis_conn.h"

struct redis_server;

// -errno where a secret or certificate cannot be read: the message says which, and why.
int redis_server_create(
	struct event_base *,
	struct evdns_base *,
	const struct conf_redis_server *,
	struct redis_server **ret_server,
	char ret_message[256]
);
// NULL is fine.
void redis_server_free(struct redis_server *);
// A connection that tries for ever; redis_conn_free ends it. `subscribes`: for messages only.
int redis_server_open(
	struct redis_server *,
	const struct redis_conn_events *,
	bool subscribes,
	struct redis_conn **ret_conn
);
