// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Audit, denials, and the forced synchronisation.
//
// Thread: the event loop.

#pragma once

struct api;
struct http_server;

int api_watch_routes(struct api *, struct http_server *);
