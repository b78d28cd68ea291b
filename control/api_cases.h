// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Blocks by hand on a case of TheHive or one of its observables, as the Cortex responder asks for
// them: operators' claims in the name of a user, with the reference of sources/thehive_ask.h.
//
// Thread: the event loop.

#pragma once

struct api;
struct http_server;

int api_cases_routes(struct api *, struct http_server *);
// Answers what waits for TheHive.
void api_cases_end(void);
