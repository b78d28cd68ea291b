// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// GET /v1/why/{}: what holds an indicator, and what the wire does about it.
//
// Thread: the event loop.

#pragma once

struct api;
struct http_server;

int api_why_routes(struct api *, struct http_server *);
