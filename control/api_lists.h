// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists published by others: what they hold, reading them now, and the end of one.
//
// Thread: the event loop.

#pragma once

struct api;
struct http_server;

int api_lists_routes(struct api *, struct http_server *);
