// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/metrics_page.h"

#include "rules/wire.h"

#include <event2/buffer.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum metric_type {
	GAUGE,
	COUNTER,
	INFO,
};

struct metric_row {
	const char *name;
	enum metric_type type;
	const char *labels, *help;
};

static const struct metric_row rows[METRIC_COUNT] = {
#define METRIC(id, name, type, labels, help) [METRIC_##id] = {name, type, labels, help},
#include "control/metrics.def"
#undef METRIC
};

struct metrics_page {
	struct evbuffer *samples[METRIC_COUNT]; // NULL: none
};

struct metrics_page *metrics_page_create(void)
{
	return calloc(1, sizeof(struct metrics_page));
}

void metrics_page_free(struct metrics_page *page)
{
	if (!page)
		return;
	for (int i = 0; i < METRIC_COUNT; i++)
		if (page->samples[i])
			evbuffer_free(page->samples[i]);
	free(page);
}

static void value_escape(struct evbuffer *to, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n')
			evbuffer_add(to, "\\n", 2);
		else if (*value == '"' || *value == '\\')
			evbuffer_add_printf(to, "\\%c", *value);
		else
			evbuffer_add(to, value, 1);
	}
}

// name, suffix and labels of a sample; NULL: no memory.
static struct evbuffer *
sample_begin(struct metrics_page *page, enum metric metric, const char *const values[])
{
	static const char *const suffixes[]
		= {[GAUGE] = "", [COUNTER] = "_total", [INFO] = "_info"};
	if (!page->samples[metric])
		page->samples[metric] = evbuffer_new();
	struct evbuffer *to = page->samples[metric];
	if (!to)
		return NULL;
	const struct metric_row *row = &rows[metric];
	evbuffer_add_printf(to, "%s%s", row->name, suffixes[row->type]);
	const char *label = row->labels;
	for (size_t i = 0; *label; i++) {
		size_t len = strcspn(label, ",");
		evbuffer_add_printf(to, "%s%.*s=\"", i ? "," : "{", (int)len, label);
		value_escape(to, values[i]);
		evbuffer_add(to, "\"", 1);
		label += len + (label[len] == ',');
	}
	evbuffer_add_printf(to, "%s ", row->labels[0] ? "}" : "");
	return to;
}

void metrics_add(
	struct metrics_page *page, enum metric metric, double value, const char *const values[]
)
{
	struct evbuffer *to = sample_begin(page, metric, values);
	if (to)
		evbuffer_add_printf(to, "%.15g\n", value);
}

void metrics_add_count(
	struct metrics_page *page, enum metric metric, uint64_t value, const char *const values[]
)
{
	struct evbuffer *to = sample_begin(page, metric, values);
	if (to)
		evbuffer_add_printf(to, "%" PRIu64 "\n", value);
}

char *metrics_page_text(const struct metrics_page *page)
{
	static const char *const types[]
		= {[GAUGE] = "gauge", [COUNTER] = "counter", [INFO] = "info"};
	struct evbuffer *to = evbuffer_new();
	if (!to)
		return NULL;
	for (int i = 0; i < METRIC_COUNT; i++) {
		if (!page->samples[i])
			continue;
		const struct metric_row *row = &rows[i];
		evbuffer_add_printf(to, "# TYPE %s %s\n", row->name, types[row->type]);
		size_t len = strlen(row->name);
		if (len > 8 && strcmp(row->name + len - 8, "_seconds") == 0)
			evbuffer_add_printf(to, "# UNIT %s seconds\n", row->name);
		evbuffer_add_printf(to, "# HELP %s %s\n", row->name, row->help);
		evbuffer_add_buffer_reference(to, page->samples[i]);
	}
	evbuffer_add_printf(to, "# EOF\n");
	size_t len = evbuffer_get_length(to);
	char *text = malloc(len + 1);
	if (text) {
		evbuffer_copyout(to, text, len);
		text[len] = '\0';
	}
	evbuffer_free(to);
	return text;
}

// --- the data plane's status

static void name_copy(char name[WIRE_NAME_MAX + 1], const char from[WIRE_NAME_MAX])
{
	memcpy(name, from, WIRE_NAME_MAX);
	name[WIRE_NAME_MAX] = '\0';
}

static void reason_add(struct metrics_page *page, const struct wire_reason *reason)
{
	static const char *const verdicts[] = {"drop", "forward", "monitor"};
	char name[WIRE_NAME_MAX + 1];
	name_copy(name, reason->name);
	const char *values[] = {name, reason->verdict < 3 ? verdicts[reason->verdict] : "unknown"};
	metrics_add_count(page, METRIC_DP_PACKETS, reason->packets, values);
	metrics_add_count(page, METRIC_DP_BYTES, reason->bytes, values);
}

static void port_add(struct metrics_page *page, const struct wire_port *port)
{
	char name[WIRE_NAME_MAX + 1];
	name_copy(name, port->name);
	const char *values[] = {name, port->inside ? "inside" : "outside"};
	metrics_add_count(page, METRIC_DP_PORT_UP, port->link_up, values);
	metrics_add_count(page, METRIC_DP_PORT_RX_PACKETS, port->rx_packets, values);
	metrics_add_count(page, METRIC_DP_PORT_RX_BYTES, port->rx_bytes, values);
	metrics_add_count(page, METRIC_DP_PORT_TX_PACKETS, port->tx_packets, values);
	metrics_add_count(page, METRIC_DP_PORT_TX_BYTES, port->tx_bytes, values);
	metrics_add_count(page, METRIC_DP_PORT_RX_MISSED, port->rx_missed, values);
	metrics_add_count(page, METRIC_DP_PORT_RX_ERRORS, port->rx_errors, values);
	metrics_add_count(page, METRIC_DP_PORT_TX_ERRORS, port->tx_errors, values);
	metrics_add_count(page, METRIC_DP_PORT_TX_DROPPED, port->tx_dropped, values);
}

static void status_add(struct metrics_page *page, const struct wire_status *status)
{
	bool same = memcmp(status->scrub_digest, status->state.digest, 16) == 0
		&& status->scrub_count == status->state.count;
	metrics_add_count(page, METRIC_DP_READY, status->ready, NULL);
	metrics_add_count(page, METRIC_DP_EPOCH, status->state.epoch, NULL);
	metrics_add_count(page, METRIC_DP_REVISION, status->state.number, NULL);
	metrics_add_count(page, METRIC_DP_ENTRIES, status->state.count, NULL);
	metrics_add_count(page, METRIC_DP_CAPACITY, status->capacity, NULL);
	metrics_add_count(page, METRIC_DP_NAMES, status->names, NULL);
	metrics_add_count(page, METRIC_DP_EXCEPTIONS, status->exceptions, NULL);
	metrics_add(page, METRIC_DP_PAUSE_UNTIL, (double)status->pause_until, NULL);
	metrics_add(page, METRIC_DP_UPTIME, (double)status->uptime_ms / 1000, NULL);
	metrics_add_count(page, METRIC_DP_DIGEST_SAME, same, NULL);
	if (status->scrub_age_ms != UINT64_MAX)
		metrics_add(page, METRIC_DP_SCRUB_AGE, (double)status->scrub_age_ms / 1000, NULL);
	metrics_add_count(page, METRIC_DP_SCRUB_WALKS, status->scrub_walks, NULL);
	metrics_add_count(page, METRIC_DP_SCRUB_ERRORS, status->scrub_errors, NULL);
	metrics_add_count(page, METRIC_DP_DENIALS_LOST, status->denials_lost, NULL);
	metrics_add_count(page, METRIC_DP_LIST_ERROR, status->list_error, NULL);
	metrics_add_count(page, METRIC_DP_WORKERS, status->workers, NULL);
	metrics_add_count(page, METRIC_DP_STALLED, status->workers_stalled, NULL);
}

void metrics_add_dataplane(struct metrics_page *page, const void *message, size_t len)
{
	const struct wire_status *status = message;
	bool whole = message && len >= sizeof(*status)
		&& (len - sizeof(*status)) / sizeof(struct wire_reason) >= status->n_reasons
		&& (len - sizeof(*status) - status->n_reasons * sizeof(struct wire_reason))
				/ sizeof(struct wire_port)
			>= status->n_ports;
	metrics_add_count(page, METRIC_DP_CONNECTED, whole, NULL);
	if (!whole)
		return;
	status_add(page, status);
	const char *at = (const char *)message + sizeof(*status);
	for (uint32_t i = 0; i < status->n_reasons; i++, at += sizeof(struct wire_reason)) {
		struct wire_reason reason;
		memcpy(&reason, at, sizeof(reason));
		reason_add(page, &reason);
	}
	for (uint32_t i = 0; i < status->n_ports; i++, at += sizeof(struct wire_port)) {
		struct wire_port port;
		memcpy(&port, at, sizeof(port));
		port_add(page, &port);
	}
}
