// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// How the API reads and writes indicators, times, claims and entries as JSON.
//
// Thread: the event loop.

#pragma once

#include "control/http_server.h"
#include "control/ledger.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REASON_MAX 500

int64_t now_seconds(void);
json_t *text_json(const char *); // what is no UTF-8 becomes "?"
json_t *time_json(int64_t seconds); // RFC 3339, "never", or null for 0
json_t *time_ms_json(int64_t ms);
json_t *revision_json(struct revision); // "E.N"
json_t *state_json(const struct list_state *); // revision, count, digest
json_t *indicator_json(const struct indicator *);
json_t *id_json(const struct indicator *); // the entry's id, 16 hexadecimal digits
json_t *claim_json(struct ledger *, const struct claim *);
json_t *entry_json(const struct entry *);
const char *action_name(enum entry_action);

// Who acts, as the reference of an operator's claims: "uid 0 (root)", "token ops" (without the
// address, so that one may unblock from elsewhere).
void caller_ref(const struct http_caller *, char ret_ref[128]);

// Values of a body. Each answers the request with 400 itself and returns false where it is wrong.
bool body_indicator(struct http_request *, json_t *body, struct indicator *ret_indicator);
bool body_reason(struct http_request *, json_t *body, bool needed, const char **ret_reason);
bool body_bool(struct http_request *, json_t *body, const char *key, bool *ret_value);
// "for": "4h", "7d", "never" (where `never`); absent: `otherwise` seconds from now.
bool body_until(
	struct http_request *, json_t *body, int64_t otherwise, bool never, int64_t *ret_until
);
// A number in the query: absent, `otherwise`; beyond `max`, max.
bool query_number(
	struct http_request *, const char *name, int64_t otherwise, int64_t max, int64_t *ret_number
);
