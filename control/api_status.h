// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// GET /v1/status: what the gateway is doing, and in plain words what is wrong.
//
// Thread: the event loop.

#pragma once

struct api;
struct http_server;

int api_status_routes(struct api *, struct http_server *);
