// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Where the master is, as Redis Sentinel tells: SENTINEL get-master-addr-by-name, of one Sentinel
// after the other until one knows; +switch-master and a question each five seconds as hints that
// it moved. What it tells is not believed: who connects there asks for its ROLE.
//
// Thread: the event loop.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct event_base;
struct evdns_base;
struct redis_sentinel;
struct redis_tls;

struct redis_sentinel_conf {
	const char *master; // the name that Sentinels know; borrowed, as the rest
	char *const *addresses; // as in struct redis_conn_conf
	size_t n_addresses;
	const char *user, *password; // of the Sentinels; NULL: none
	struct redis_tls *tls; // NULL: in clear
	const char *server_name;
	uint32_t connect_timeout_ms, timeout_ms;
};

// Who wants to know. Lives in the asker, and is the asker's until it leaves.
struct redis_sentinel_user {
	// Once for each question, never from within it: HOST:PORT, or NULL and why nobody tells.
	void (*told)(void *ctx, const char *address, const char *why);
	// Unasked, and perhaps not for the first time: the master is there.
	void (*moved)(void *ctx, const char *address);
	void *ctx;
	bool asks; // private, as is `all`
	LIST_ENTRY(redis_sentinel_user) all;
};

int redis_sentinel_create(
	struct event_base *,
	struct evdns_base *,
	const struct redis_sentinel_conf *,
	struct redis_sentinel **ret_sentinel
);
void redis_sentinel_free(struct redis_sentinel *); // NULL is fine; nobody uses it any more

void redis_sentinel_join(struct redis_sentinel *, struct redis_sentinel_user *);
void redis_sentinel_leave(struct redis_sentinel *, struct redis_sentinel_user *);
void redis_sentinel_ask(struct redis_sentinel *, struct redis_sentinel_user *);
// What was told turned out to be no master: the next question goes to the next Sentinel.
void redis_sentinel_doubt(struct redis_sentinel *, const char *address);
