// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/roles_metrics.h"

#include "control/control.h"
#include "control/metrics.h"
#include "control/roles.h"

#include <jansson.h>

#include <string.h>

static void
number_add(struct metrics_page *page, enum metric metric, const json_t *from, const char *key)
{
	metrics_add(page, metric, json_number_value(json_object_get(from, key)), NULL);
}

static void
flag_add(struct metrics_page *page, enum metric metric, const json_t *from, const char *key)
{
	metrics_add(page, metric, json_is_true(json_object_get(from, key)), NULL);
}

static void count_add(
	struct metrics_page *page,
	enum metric metric,
	const json_t *from,
	const char *key,
	const char *label
)
{
	json_int_t value = json_integer_value(json_object_get(from, key));

	metrics_add_count(page, metric, (uint64_t)value, &label);
}

static bool alarm_is_on(const json_t *status, const char *name)
{
	json_t *alarm;
	size_t i;

	json_array_foreach(json_object_get(status, "alarms"), i, alarm)
	{
		const char *text = json_string_value(json_object_get(alarm, "alarm"));

		if (text && strcmp(text, name) == 0)
			return true;
	}
	return false;
}

static void alarms_add(struct metrics_page *page, const json_t *status, json_t *counts)
{
	const char *name;
	json_t *count;

	json_object_foreach(counts, name, count)
	{
		metrics_add(page, METRIC_FLEET_ALARM, alarm_is_on(status, name), &name);
		count_add(page, METRIC_FLEET_ALARMS, counts, name, name);
	}
}

void roles_metrics(void *ctx, struct metrics_page *page)
{
	const struct control *control = ctx;
	json_t *status, *counters;

	if (!control_in_fleet(control))
		return;
	status = roles_status(control);
	counters = json_object_get(status, "counters");
	flag_add(page, METRIC_FLEET_LEADS, status, "leads");
	flag_add(page, METRIC_FLEET_LEADER_ALIVE, status, "leader_alive");
	number_add(page, METRIC_FLEET_EPOCH, status, "epoch");
	number_add(page, METRIC_FLEET_NUMBER, status, "number");
	number_add(page, METRIC_FLEET_LAG, status, "lag");
	flag_add(page, METRIC_FLEET_EQUAL, status, "equal");
	count_add(page, METRIC_FLEET_LOCAL, status, "local", "local");
	count_add(page, METRIC_FLEET_LOCAL, status, "away", "away");
	number_add(page, METRIC_FLEET_ASKS, status, "asks");
	metrics_add(
		page,
		METRIC_FLEET_LEASE,
		json_number_value(json_object_get(status, "lease_ms")) / 1e3,
		NULL
	);
	flag_add(page, METRIC_FLEET_REDIS_UP, status, "redis");
	alarms_add(page, status, json_object_get(counters, "alarms"));
	count_add(page, METRIC_FLEET_RECORDS, counters, "records_in", "in");
	count_add(page, METRIC_FLEET_RECORDS, counters, "records_out", "out");
	count_add(page, METRIC_FLEET_OCTETS, counters, "octets_in", "in");
	count_add(page, METRIC_FLEET_OCTETS, counters, "octets_out", "out");
	count_add(page, METRIC_FLEET_CHECKPOINTS, counters, "checkpoints_in", "in");
	count_add(page, METRIC_FLEET_CHECKPOINTS, counters, "checkpoints_out", "out");
	json_decref(status);
}
