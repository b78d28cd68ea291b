// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// GET /healthz: 200 where everything is in order, 503 otherwise, and JSON saying which part fails.
//
// A listener of its own and not evhttp: that one has neither a total deadline nor a limit of
// connections, and one path needs no more than a request line.
// Thread: the control thread, in the event loop.

#pragma once

#include "dataplane/status.h"

#include <stdint.h>

struct event_base;
struct health;

typedef void (*health_cb)(void *ctx, struct status_health *ret_health);

// address: "127.0.0.1:9464", "[::1]:9464"; without a port a free one. -EINVAL: no address; -errno.
int health_create(
	struct event_base *, const char *address, health_cb, void *ctx, struct health **ret_health
);
void health_free(struct health *);
uint16_t health_port(const struct health *); // as bound
