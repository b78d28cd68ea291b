// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/metrics.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/http_client.h"
#include "control/http_server.h"
#include "control/ledger.h"
#include "control/metrics_page.h"
#include "control/protect.h"

#include <event2/event.h>

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define COLLECTORS_MAX 32
#define CLIENTS_MAX 32
#define COMPONENTS_MAX 32
#define LAG_SLOTS 60 // seconds remembered

struct metrics {
	struct control *control;
	struct event *tick;
	int64_t tick_ms; // when the tick was due, monotonic
	int64_t lag_ms[LAG_SLOTS];
	unsigned slot;
	int64_t started; // seconds since the epoch
	struct {
		metrics_cb collect;
		void *ctx;
	} collectors[COLLECTORS_MAX];
	size_t n_collectors;
	struct {
		const char *service;
		const struct http_client *client;
	} clients[CLIENTS_MAX];
	size_t n_clients;
	struct {
		const char *name;
		ready_cb ready;
		void *ctx;
	} components[COMPONENTS_MAX];
	size_t n_components;
};

static int64_t clock_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const struct timeval tick_every = {.tv_sec = 1};

static void tick(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct metrics *metrics = ctx;
	int64_t now = clock_ms();
	int64_t late = now - metrics->tick_ms;
	metrics->slot = (metrics->slot + 1) % LAG_SLOTS;
	metrics->lag_ms[metrics->slot] = late > 0 ? late : 0;
	metrics->tick_ms = now + 1000;
	evtimer_add(metrics->tick, &tick_every);
}

static double lag_seconds(const struct metrics *metrics)
{
	int64_t most = clock_ms() - metrics->tick_ms; // a tick that is due now
	for (unsigned i = 0; i < LAG_SLOTS; i++)
		if (metrics->lag_ms[i] > most)
			most = metrics->lag_ms[i];
	return most > 0 ? (double)most / 1000 : 0;
}

// --- what control itself knows

static void one(struct metrics_page *page, enum metric metric, uint64_t value, const char *label)
{
	metrics_add_count(page, metric, value, &label);
}

static void ledger_add(struct metrics *metrics, struct metrics_page *page)
{
	struct ledger *ledger = metrics->control->ledger;
	if (!ledger)
		return;
	struct list_state state;
	struct ledger_counts counts;
	ledger_state(ledger, &state);
	ledger_counts(ledger, &counts);
	metrics_add_count(page, METRIC_REVISION_EPOCH, state.revision.epoch, NULL);
	metrics_add_count(page, METRIC_REVISION, state.revision.number, NULL);
	metrics_add_count(page, METRIC_ENTRIES, state.count, NULL);
	metrics_add_count(
		page, METRIC_ENTRIES_MAX, metrics->control->conf->ledger.max_entries, NULL
	);
	one(page, METRIC_CLAIMS, counts.claims, "all");
	one(page, METRIC_CLAIMS, counts.enforce, "enforce");
	one(page, METRIC_CLAIMS, counts.monitor, "monitor");
	one(page, METRIC_CLAIMS, counts.orphaned, "orphaned");
	one(page, METRIC_CLAIMS, counts.held, "held");
	one(page, METRIC_CLAIMS, counts.sources_gone, "source_gone");
	metrics_add_count(page, METRIC_NAMES, counts.names, NULL);
	metrics_add_count(page, METRIC_ALLOWS, counts.allows, NULL);
	one(page, METRIC_REFUSED, counts.refused_protected, "protected");
	one(page, METRIC_REFUSED, counts.refused_brake, "brake");
	one(page, METRIC_REFUSED, counts.refused_full, "full");
	metrics_add(page, METRIC_PAUSE_UNTIL, (double)ledger_pause_until(ledger), NULL);
	int64_t seq;
	char hash[65];
	if (ledger_audit_head(ledger, &seq, hash) == 0)
		metrics_add_count(page, METRIC_AUDIT_SEQ, (uint64_t)seq, NULL);
}

static void server_add(struct metrics *metrics, struct metrics_page *page)
{
	static const char *const classes[] = {NULL, "1xx", "2xx", "3xx", "4xx", "5xx"};
	struct http_server_counters counters;
	http_server_counters(metrics->control->server, &counters);
	metrics_add_count(page, METRIC_SERVER_REQUESTS, counters.requests, NULL);
	for (int i = 2; i < 6; i++)
		one(page, METRIC_SERVER_ANSWERS, counters.status[i], classes[i]);
	metrics_add_count(page, METRIC_SERVER_CONNECTIONS, counters.connections, NULL);
	metrics_add_count(page, METRIC_SERVER_REFUSED, counters.refused_connections, NULL);
	metrics_add_count(page, METRIC_SERVER_DEADLINES, counters.deadlines, NULL);
	metrics_add_count(page, METRIC_SERVER_LIMITED, counters.hooks_limited, NULL);
	metrics_add_count(page, METRIC_SERVER_UNAUTHENTICATED, counters.unauthenticated, NULL);
	for (size_t c = 0; c < metrics->n_clients; c++) {
		const char *service = metrics->clients[c].service;
		struct http_client_counters client;
		http_client_counters(metrics->clients[c].client, &client);
		one(page, METRIC_CLIENT_REQUESTS, client.requests, service);
		one(page, METRIC_CLIENT_FAILURES, client.failures, service);
		for (int i = 2; i < 6; i++) {
			const char *values[] = {service, classes[i]};
			metrics_add_count(page, METRIC_CLIENT_ANSWERS, client.status[i], values);
		}
		if (metrics->control->fleet)
			one(page, METRIC_CLIENT_FENCED, client.fenced, service);
		one(page,
		    METRIC_CLIENT_PENDING,
		    http_client_pending(metrics->clients[c].client),
		    service);
		metrics_add(
			page, METRIC_CLIENT_LAST_OK, (double)client.last_ok_ms / 1000, &service
		);
	}
}

char *metrics_text(struct metrics *metrics)
{
	struct metrics_page *page = metrics_page_create();
	if (!page)
		return NULL;
	one(page, METRIC_BUILD, 1, STANCH_VERSION);
	metrics_add(page, METRIC_START_TIME, (double)metrics->started, NULL);
	metrics_add(page, METRIC_LOOP_LAG, lag_seconds(metrics), NULL);
	for (size_t i = 0; i < metrics->n_components; i++) {
		char why[128] = "";
		bool ready = metrics->components[i].ready(metrics->components[i].ctx, why);
		one(page, METRIC_READY, ready, metrics->components[i].name);
	}
	ledger_add(metrics, page);
	if (metrics->control->protect)
		metrics_add_count(
			page,
			METRIC_PROTECT_CONFLICTS,
			protect_conflicts(metrics->control->protect),
			NULL
		);
	server_add(metrics, page);
	for (size_t i = 0; i < metrics->n_collectors; i++)
		metrics->collectors[i].collect(metrics->collectors[i].ctx, page);
	char *text = metrics_page_text(page);
	metrics_page_free(page);
	return text;
}

// --- routes

static void route_metrics(void *ctx, struct http_request *request)
{
	char *text = metrics_text(ctx);
	if (text)
		http_answer_text(
			request,
			200,
			"application/openmetrics-text; version=1.0.0; charset=utf-8",
			text
		);
	else
		http_answer_error(request, 500, "no memory", NULL);
	free(text);
}

static bool may_know(const struct http_request *request)
{
	return role_reaches(http_request_caller(request)->role, ROLE_VIEWER);
}

static void route_health(void *ctx, struct http_request *request)
{
	struct metrics *metrics = ctx;
	json_t *body = json_pack("{s:s}", "status", "ok"); // it answers: it lives
	if (may_know(request))
		json_object_set_new(body, "loop_lag_seconds", json_real(lag_seconds(metrics)));
	http_answer_json(request, 200, body);
}

static void route_ready(void *ctx, struct http_request *request)
{
	struct metrics *metrics = ctx;
	bool all = true;
	json_t *components = json_object();
	for (size_t i = 0; i < metrics->n_components; i++) {
		char why[128] = "";
		bool ready = metrics->components[i].ready(metrics->components[i].ctx, why);
		all = all && ready;
		bool tell = !ready && why[0] && may_know(request);
		json_object_set_new(
			components,
			metrics->components[i].name,
			json_string(
				ready	       ? "ok"
					: tell ? why
					       : "not ok"
			)
		);
	}
	json_t *body = json_pack(
		"{s:s, s:o}", "status", all ? "ok" : "not ok", "components", components
	);
	http_answer_json(request, all ? 200 : 503, body);
}

static const struct http_route routes[] = {
	{"GET", "/metrics", ROLE_VIEWER, 0, route_metrics, "OpenMetrics"},
	{"GET", "/healthz", ROLE_NONE, 0, route_health, "the process lives"},
	{"GET", "/readyz", ROLE_NONE, 0, route_ready, "each component: ready or not"},
};

// --- modules bring theirs

int metrics_collect(struct metrics *metrics, metrics_cb collect, void *ctx)
{
	if (metrics->n_collectors == COLLECTORS_MAX)
		return -ENOSPC;
	metrics->collectors[metrics->n_collectors].collect = collect;
	metrics->collectors[metrics->n_collectors++].ctx = ctx;
	return 0;
}

int metrics_client(struct metrics *metrics, const char *service, const struct http_client *client)
{
	if (metrics->n_clients == CLIENTS_MAX)
		return -ENOSPC;
	metrics->clients[metrics->n_clients].service = service;
	metrics->clients[metrics->n_clients++].client = client;
	return 0;
}

void metrics_client_forget(struct metrics *metrics, const struct http_client *client)
{
	for (size_t i = 0; i < metrics->n_clients; i++) {
		if (metrics->clients[i].client == client) {
			metrics->clients[i] = metrics->clients[--metrics->n_clients];
			return;
		}
	}
}

int metrics_ready(struct metrics *metrics, const char *component, ready_cb ready, void *ctx)
{
	if (metrics->n_components == COMPONENTS_MAX)
		return -ENOSPC;
	metrics->components[metrics->n_components].name = component;
	metrics->components[metrics->n_components].ready = ready;
	metrics->components[metrics->n_components++].ctx = ctx;
	return 0;
}

static bool ledger_ready(void *ctx, char why[128])
{
	struct control *control = ctx;
	if (!control->ledger)
		snprintf(why, 128, "the ledger is not open");
	return control->ledger;
}

int metrics_create(struct control *control, struct metrics **ret_metrics)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));
	if (!metrics)
		return -ENOMEM;
	metrics->control = control;
	metrics->started = time(NULL);
	metrics->tick_ms = clock_ms() + 1000;
	metrics->tick = evtimer_new(control->base, tick, metrics);
	int error = metrics->tick ? 0 : -ENOMEM;
	if (!error)
		error = http_server_routes(
			control->server, routes, sizeof(routes) / sizeof(routes[0]), metrics
		);
	if (!error)
		error = metrics_ready(metrics, "ledger", ledger_ready, control);
	if (error) {
		metrics_free(metrics);
		return error;
	}
	evtimer_add(metrics->tick, &tick_every);
	*ret_metrics = metrics;
	return 0;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	if (metrics->tick)
		event_free(metrics->tick);
	free(metrics);
}
