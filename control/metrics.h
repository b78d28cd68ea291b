// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// GET /metrics (OpenMetrics), /healthz and /readyz. Names, types and help: metrics.def.
//
// Modules bring what they know by collectors, called at each scrape.
//
// Thread: the event loop.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct control;
struct http_client;
struct metrics;
struct metrics_page;

enum metric {
#define METRIC(id, name, type, labels, help) METRIC_##id,
#include "control/metrics.def"
#undef METRIC
	METRIC_COUNT
};

// Adds the three routes to control->server.
int metrics_create(struct control *, struct metrics **ret_metrics);
void metrics_free(struct metrics *);

typedef void (*metrics_cb)(void *ctx, struct metrics_page *);
int metrics_collect(struct metrics *, metrics_cb, void *ctx);
// Requests, answers, failures of a client. Borrowed: must live as long, or be forgotten first.
int metrics_client(struct metrics *, const char *service, const struct http_client *);
void metrics_client_forget(struct metrics *, const struct http_client *);

// A component of /readyz: ready, or why not (for callers that may know).
typedef bool (*ready_cb)(void *ctx, char why[128]);
int metrics_ready(struct metrics *, const char *component, ready_cb, void *ctx);

// One sample; `values` of the metric's labels in their order, as many as it has.
void metrics_add(struct metrics_page *, enum metric, double value, const char *const values[]);
// For whole numbers: exact beyond 2^53.
void metrics_add_count(
	struct metrics_page *, enum metric, uint64_t value, const char *const values[]
);
// All of a data plane's STATUS message (checked by wire_header_check). NULL: not connected.
void metrics_add_dataplane(struct metrics_page *, const void *status, size_t len);

// The page as text with "# EOF"; free it. NULL: no memory.
char *metrics_text(struct metrics *);
