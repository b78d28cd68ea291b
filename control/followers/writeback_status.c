// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the write-back says of itself.

#include "control/followers/writeback_internal.h"
#include "control/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
	enum wb_counter counter;
	const char *name;
} written[] = {
	{WB_WRITTEN_COMMENTS, "comments"},
	{WB_WRITTEN_UPDATES, "updates"},
	{WB_WRITTEN_TAGS, "tags"},
};
#define N_WRITTEN (sizeof(written) / sizeof(written[0]))

// What a permission that is missing keeps from being written.
static json_t *missing_json(const struct wb_hive *h)
{
	json_t *list = json_array();

	for (int p = 0; p < WB_PERMISSIONS; p++)
		if (wb_denied(h, (enum wb_permission)p))
			json_array_append_new(
				list, json_string(wb_permission_name(h, (enum wb_permission)p))
			);
	return list;
}

static void warnings_add(const struct wb_hive *h, const json_t *missing, json_t *warnings)
{
	size_t i;
	json_t *permission;

	json_array_foreach(missing, i, permission)
	{
		json_array_append_new(
			warnings,
			json_sprintf(
				"TheHive refuses to write (403 or 404): the account of "
				"thehive[].key_file needs the permission %s",
				json_string_value(permission)
			)
		);
	}
	if (h->counters[WB_FAILED])
		json_array_append_new(
			warnings,
			json_sprintf(
				"%" PRIu64 " texts or tags were refused by TheHive for good: see "
				"the log",
				h->counters[WB_FAILED]
			)
		);
}

static json_t *hive_status(const struct wb_hive *h)
{
	size_t pending = HASH_COUNT(h->cases), waiting = 0;
	const struct wb_case *c;
	json_t *missing = missing_json(h), *warnings = json_array(), *status;
	const char *state = json_array_size(missing) ? "refused"
		: h->trouble[0]			     ? "failing"
		: pending			     ? "writing"
						     : "up";
	char why[512];

	TAILQ_FOREACH(c, &h->waiting, link)
	waiting++;
	snprintf(
		why,
		sizeof(why),
		"%" PRIu64 " comments, %" PRIu64 " updates and %" PRIu64
		" tags written, %zu cases pending%s%s%s%s%s",
		h->counters[WB_WRITTEN_COMMENTS],
		h->counters[WB_WRITTEN_UPDATES],
		h->counters[WB_WRITTEN_TAGS],
		pending,
		waiting ? ", some wait for the data plane" : "",
		json_array_size(missing) ? "; permission missing: " : "",
		json_array_size(missing) ? json_string_value(json_array_get(missing, 0)) : "",
		h->trouble[0] ? "; " : "",
		h->trouble
	);
	warnings_add(h, missing, warnings);
	status = json_pack(
		"{s:s+, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:o}",
		"name",
		"write-back ",
		h->source,
		"state",
		state,
		"why",
		why,
		"comments",
		(json_int_t)h->counters[WB_WRITTEN_COMMENTS],
		"updates",
		(json_int_t)h->counters[WB_WRITTEN_UPDATES],
		"tags",
		(json_int_t)h->counters[WB_WRITTEN_TAGS],
		"pending",
		(json_int_t)pending,
		"waiting",
		(json_int_t)waiting,
		"failed",
		(json_int_t)h->counters[WB_FAILED],
		"gone",
		(json_int_t)h->counters[WB_GONE],
		"error",
		h->trouble,
		"missing_permissions",
		missing,
		"last_ok",
		h->last_ok ? json_integer(h->last_ok) : json_null(),
		"warnings",
		warnings
	);
	return status;
}

json_t *writeback_status(struct writeback *w)
{
	json_t *list = json_array();

	for (size_t i = 0; w && i < w->n; i++)
		if (wb_active(&w->hives[i]))
			json_array_append_new(list, hive_status(&w->hives[i]));
	return list;
}

void writeback_metrics(struct writeback *w, struct metrics_page *page)
{
	for (size_t i = 0; w && i < w->n; i++) {
		const struct wb_hive *h = &w->hives[i];
		const char *values[] = {h->source, NULL};
		bool up = !h->trouble[0];

		if (!wb_active(h))
			continue;
		for (size_t k = 0; k < N_WRITTEN; k++) {
			values[1] = written[k].name;
			metrics_add_count(
				page,
				METRIC_WRITEBACK_WRITTEN,
				h->counters[written[k].counter],
				values
			);
		}
		metrics_add_count(page, METRIC_WRITEBACK_PENDING, HASH_COUNT(h->cases), values);
		metrics_add_count(page, METRIC_WRITEBACK_FAILED, h->counters[WB_FAILED], values);
		metrics_add_count(page, METRIC_WRITEBACK_GONE, h->counters[WB_GONE], values);
		for (int p = 0; p < WB_PERMISSIONS; p++)
			up = up && !wb_denied(h, (enum wb_permission)p);
		metrics_add(page, METRIC_WRITEBACK_UP, up, values);
	}
}
