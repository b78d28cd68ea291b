// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Operator claims (block, unblock), and the lists of claims and entries.
//
// Thread: the event loop.

#pragma once

struct api;
struct http_server;

int api_claims_routes(struct api *, struct http_server *);
