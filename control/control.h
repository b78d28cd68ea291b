// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the modules of control share. main.c makes and frees the members, in the order below.
//
// Thread: the event loop. A member is NULL until its module has started, and again after its end.

#pragma once

struct control {
	struct event_base *base;
	const char *conf_path;
	struct conf *conf;
	struct protect *protect;
	struct ledger *ledger;
	struct tokens *tokens;
	struct http_server *server;
	struct metrics *metrics;
};
