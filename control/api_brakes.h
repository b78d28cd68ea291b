// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Allows, pause, held changes and protections.
//
// Thread: the event loop.

#pragma once

struct api;
struct http_server;

int api_brakes_routes(struct api *, struct http_server *);
