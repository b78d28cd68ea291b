// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The latest denials, in memory: bounded, aggregated by (entry, source, destination, port). The
// aggregate that was quiet longest goes first. JSON in the words of ECS.
//
// Thread: the event loop.

#pragma once

#include "rules/wire.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

struct denials;
struct http_request;

int denials_create(size_t max, struct denials **ret_denials);
void denials_free(struct denials *); // ends its streams
void denials_take(struct denials *, const struct wire_denial *, size_t n);
size_t denials_count(const struct denials *);

json_t *denial_json(const struct wire_denial *);
// Latest first. A callback that returns false ends the walk.
typedef bool (*denial_cb)(void *ctx, const struct wire_denial *);
void denials_each(const struct denials *, denial_cb, void *ctx);

// The request becomes a stream of what is taken from now on. False: too many; not answered.
bool denials_follow(struct denials *, struct http_request *);
