// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_status.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/followers/f5xc_internal.h"
#include "control/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILL_ALARM_PERCENT 80

static const char *const state_names[F5XC_STATES] = {
	[F5XC_PENDING] = "pending",
	[F5XC_STORED] = "stored",
	[F5XC_REFERRED] = "referred",
	[F5XC_REFUSED] = "refused",
	[F5XC_NOT_MIRRORED] = "not mirrored",
};

static void text_join(char text[F5XC_TEXT_MAX], const char *more, const char *between)
{
	size_t len = strlen(text);

	if (*more)
		snprintf(text + len, F5XC_TEXT_MAX - len, "%s%s", between, more);
}

// What moved since the last step is shown, also while a step waits.
static void shard_refresh(struct shard *s)
{
	if (s->due)
		f5xc_collect(s->owner->control->ledger, s->owner->conf, s->family, &s->wanted);
}

static bool is_held(const struct shard *s, const struct indicator *n)
{
	const struct f5xc_prefix p = f5xc_prefix_of(n);

	return n->kind == INDICATOR_NET && s->n_held > 0
		&& bsearch(&p, s->held, s->n_held, sizeof(p), f5xc_prefix_compare);
}

bool f5xc_entry_state(struct f5xc *f, const struct indicator *n, char ret_text[F5XC_TEXT_MAX])
{
	struct shard *s = &f->shards[n->family == 6];
	const struct f5xc_prefix stays = f5xc_keep(s->family), p = f5xc_prefix_of(n);
	const struct f5xc_item *item;
	bool unwanted, waits;

	shard_refresh(s);
	item = f5xc_item_find(&s->wanted, n);
	// Withdrawn, or allowed, and their set not yet written: it still acts there.
	unwanted = (!item || item->n_pieces == 0) && is_held(s, n)
		&& f5xc_prefix_compare(&p, &stays) != 0;
	if (!item && !unwanted)
		return false;
	waits = unwanted || item->state == F5XC_PENDING;
	const char *const parts[] = {
		item ? item->why : "",
		unwanted ? "still stored there" : "",
		waits ? s->error : "",
		item ? item->cut : "",
	};
	const char *between = ": ";

	snprintf(ret_text, F5XC_TEXT_MAX, "%s", item ? state_names[item->state] : "withdrawn");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		text_join(ret_text, parts[i], between);
		between = *parts[i] ? "; " : between;
	}
	return true;
}

static size_t shard_count(const struct shard *s, size_t counts[F5XC_STATES])
{
	for (size_t k = 0; k < s->wanted.n; k++)
		counts[s->wanted.items[k].state]++;
	return s->n_rows - 1; // without the one that stays
}

static void warnings_add(const struct shard *s, json_t *warnings)
{
	const size_t used = s->n_rows - 1, size = s->owner->conf->set_size;
	char text[2 * F5XC_WHY_MAX];

	if (s->error[0]) {
		snprintf(text, sizeof(text), "%s: %s", s->name, s->error);
		json_array_append_new(warnings, json_string(text));
	}
	if (s->disabled) {
		snprintf(
			text,
			sizeof(text),
			"%s: somebody disabled it at F5: nothing in it is effective",
			s->name
		);
		json_array_append_new(warnings, json_string(text));
	}
	if (s->wanted.refused_full > 0)
		snprintf(
			text,
			sizeof(text),
			"%s is full, %zu of %zu prefixes: %zu entries are refused there",
			s->name,
			used,
			size,
			s->wanted.refused_full
		);
	else if (used * 100 >= size * FILL_ALARM_PERCENT)
		snprintf(text, sizeof(text), "%s: %zu of %zu prefixes", s->name, used, size);
	else
		return;
	json_array_append_new(warnings, json_string(text));
}

// "state" and "why", as each part of the status has them.
static void state_add(const struct f5xc *f, const size_t counts[F5XC_STATES], json_t *status)
{
	const char *state = counts[F5XC_PENDING] > 0 ? "pending" : "equal", *error = "";
	char why[F5XC_TEXT_MAX] = "";

	for (int i = 0; i < 2 && !*error; i++)
		error = f->shards[i].error;
	for (int k = 0; k < F5XC_STATES; k++) {
		char one[48] = "";

		if (counts[k] > 0)
			snprintf(one, sizeof(one), "%zu %s", counts[k], state_names[k]);
		text_join(why, one, *why ? ", " : "");
	}
	text_join(why, error, *why ? "; " : "");
	json_object_set_new(status, "state", json_string(*error ? "failing" : state));
	json_object_set_new(status, "why", json_string(why));
}

json_t *f5xc_status(struct f5xc *f)
{
	size_t counts[F5XC_STATES] = {0};
	json_t *status = json_object(), *sets = json_array(), *warnings = json_array();

	for (int i = 0; i < 2; i++) {
		struct shard *s = &f->shards[i];

		shard_refresh(s);
		json_array_append_new(
			sets,
			json_pack(
				"{s:s, s:I, s:I, s:I, s:b, s:s, s:I}",
				"name",
				s->name,
				"prefixes",
				(json_int_t)shard_count(s, counts),
				"prefixes_max",
				(json_int_t)f->conf->set_size,
				"refused_full",
				(json_int_t)s->wanted.refused_full,
				"disabled",
				s->disabled,
				"error",
				s->error,
				"next_ms",
				(json_int_t)(f5xc_shard_waits(s) ? s->next_ms : 0)
			)
		);
		warnings_add(s, warnings);
	}
	for (int k = 0; k < F5XC_STATES; k++)
		json_object_set_new(status, state_names[k], json_integer((json_int_t)counts[k]));
	state_add(f, counts, status);
	json_object_set_new(status, "sets", sets);
	json_object_set_new(status, "warnings", warnings);
	json_object_set_new(status, "last_ok_ms", json_integer(f->last_ok_ms));
	return status;
}

void f5xc_metrics(struct f5xc *f, struct metrics_page *page)
{
	size_t counts[F5XC_STATES] = {0};
	bool up = true;

	for (int i = 0; i < 2; i++) {
		struct shard *s = &f->shards[i];
		const char *values[] = {s->name};

		shard_refresh(s);
		up = up && !s->error[0];
		metrics_add_count(page, METRIC_F5XC_PREFIXES, shard_count(s, counts), values);
		metrics_add_count(page, METRIC_F5XC_PREFIXES_MAX, f->conf->set_size, values);
		metrics_add_count(page, METRIC_F5XC_REFUSED_FULL, s->wanted.refused_full, values);
	}
	for (int k = 0; k < F5XC_STATES; k++) {
		const char *values[] = {"f5xc", state_names[k]};

		metrics_add_count(page, METRIC_FOLLOWER_ENTRIES, counts[k], values);
	}
	metrics_add(page, METRIC_FOLLOWER_UP, up, (const char *const[]){"f5xc"});
}
