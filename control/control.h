// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the modules of control share. main.c makes and frees the members, in the order of its table.
//
// Thread: the event loop. A member is NULL until its module has started, and again after its end.

#pragma once

#include <stddef.h>

struct control {
	struct event_base *base;
	const char *conf_path;
	// The newest. A reload puts another here; the older one stays valid until the process ends,
	// for those who borrowed from it.
	struct conf *conf;
	struct protect *protect;
	struct resolvers *resolvers;
	struct ledger *ledger;
	struct fleet *fleet; // fleet/fleet.h; NULL: a gateway by itself
	struct roles *roles; // roles.h; likewise
	struct tokens *tokens;
	struct http_server *server;
	struct metrics *metrics;
	struct dataplane *dataplane;
	struct snapshot *snapshot;
	struct f5xc *f5xc; // NULL: no mirror configured
	struct writeback *writeback; // NULL: no TheHive configured
	struct thehives *thehives; // sources/thehives.h
	struct alerts *alerts; // sources/alerts.h
	struct redis_lists *redis; // sources/redis_list.h
	struct api *api;
};
