// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// All configured instances of TheHive, and the routes of their webhooks:
//
//   POST /v1/hooks/thehive          of the instance whose token it brings, or the only one
//   POST /v1/hooks/thehive/{name}
//
// A webhook is answered before any work: 200 what we know, 400 what we do not, 404 no instance of
// that name, 403 another instance's token.
//
// Thread: the event loop.

#pragma once

#include "control/http_server.h"

#include <jansson.h>

#include <stddef.h>

struct control;
struct conf;
struct thehive;
struct thehives;

#define THEHIVE_HOOK_MAX (8 * 1024 * 1024) // a description may have 1 MiB, and stands in it twice

extern const struct http_route thehives_routes[];
extern const size_t thehives_n_routes; // their ctx is a struct thehives

int start_thehives(struct control *);
void stop_thehives(struct control *);
void reload_thehives(struct control *, const struct conf *old);
void role_thehives(struct control *); // only the leader of a fleet reads them

// NULL at the end.
struct thehive *thehives_at(const struct thehives *, size_t index);
struct thehive *thehives_find(const struct thehives *, const char *name);
// thehive_status of each; an empty list for NULL. A new reference.
json_t *thehives_status(const struct thehives *);
