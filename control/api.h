// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The HTTP API under /v1: what its tables of routes (api_*.c) share, and what the followers and
// sources tell it.
//
// Thread: the event loop.

#pragma once

#include "control/http_server.h"
#include "control/ledger.h"
#include "rules/wire.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api;
struct control;
struct denials;

// What the API asks of the follower of the data plane (control/followers/dataplane.h). NULL
// members: not configured.
struct api_dataplane {
	void *ctx;
	bool (*connected)(void *ctx);
	bool (*applied)(void *ctx, struct list_state *ret_state, int64_t *ret_when_ms);
	bool (*equal)(void *ctx, char ret_why[160]);
	const void *(*status
	)(void *ctx, size_t *ret_len); // struct wire_status; until the next turn
	int (*lookup
	)(void *ctx,
	  const struct indicator *,
	  void (*answer)(void *answer_ctx, const struct wire_lookup_answer *),
	  void *answer_ctx);
	// -ENOTCONN, -EBUSY, -EINVAL
	int (*preview
	)(void *ctx,
	  const struct indicator *, // NULL: everything
	  uint32_t ends,
	  void (*answer)(void *answer_ctx, const struct wire_preview_answer *, size_t len),
	  void *answer_ctx);
	int (*sync)(void *ctx, bool force); // -ENOTCONN
	// Restarts seen, and the last one; is its set nearly full?
	uint64_t (*restarts)(void *ctx, int64_t *ret_last_ms);
	bool (*nearly_full)(void *ctx);
};

// Adds the routes to control->server.
int api_create(struct control *, struct api **ret_api);
// Answers what waits. Before the server and the ledger end.
void api_free(struct api *);

void api_dataplane_set(struct api *, const struct api_dataplane *);
// For dataplane_applied_set: the applied state or the connection moved.
void api_applied_moved(void *api);
// For dataplane_denials_set.
void api_denials_take(void *api, const struct wire_denial *, size_t n);

// What a source or follower says of itself in /v1/status: an object with at least "state",
// or an array of such with their names.
typedef json_t *(*api_part_cb)(void *ctx);
enum api_part_kind {
	API_SOURCE,
	API_FOLLOWER,
};
int api_part_add(struct api *, enum api_part_kind, const char *name, api_part_cb, void *ctx);
json_t *api_parts(struct api *, enum api_part_kind);

// The state of one indicator in F5 XC, for `why`; NULL where it is not mirrored there.
typedef json_t *(*api_mirror_cb)(void *ctx, const struct indicator *);
void api_mirror_set(struct api *, api_mirror_cb, void *ctx);
json_t *api_mirror(struct api *, const struct indicator *);

// --- for api_*.c

struct control *api_control(struct api *);
struct ledger *api_ledger(struct api *);
struct denials *api_denials(struct api *);
const struct api_dataplane *api_dataplane(const struct api *);
int64_t api_uptime(const struct api *); // seconds

// Is at least this revision applied? Else why not.
bool api_is_applied(struct api *, struct revision, char ret_why[160]);
bool api_is_equal(struct api *, char ret_why[160]);
// Answers when the data plane has applied the revision, or after timeout_ms (0: at once). Adds
// "applied", "revision" and "why" to the body, whose reference it takes.
void api_answer_applied(
	struct api *,
	struct http_request *,
	int status,
	json_t *body,
	struct revision,
	unsigned timeout_ms
);
// Counts what will still call back into the API: api_free waits for it.
void api_pending(struct api *, int by);
