// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// GET /v1/fleet.
//
// Thread: the event loop.

#pragma once

struct api;
struct http_server;

int api_fleet_routes(struct api *, struct http_server *);
