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
#include <time.h>

#define FILL_ALARM_PERCENT 80
#define CREDENTIAL_ALARM_S (30 * 86400)

static void place_age(const struct f5xc_item *item, int64_t *oldest)
{
	for (size_t i = 0; i < item->n_pieces; i++)
		if (!item->pieces[i]->held && item->pieces[i]->since_ms < *oldest)
			*oldest = item->pieces[i]->since_ms;
}

// A walk over all items, once for each change: 3 ms at 100,000.
static void counts_refresh(struct f5xc *f)
{
	struct f5xc_item *item, *next;

	if (f->counts_moves == f->wanted.moves + 1)
		return;
	f->counts_moves = f->wanted.moves + 1;
	memset(f->counts, 0, sizeof(f->counts));
	f->counts_lag_ms = INT64_MAX;
	HASH_ITER(hh, f->wanted.items, item, next)
	{
		enum f5xc_state state = f5xc_item_state(f, item, NULL);

		f->counts[state]++;
		if (state == F5XC_PENDING)
			place_age(item, &f->counts_lag_ms);
	}
}

static int64_t lag_ms(const struct f5xc *f)
{
	return f->counts_lag_ms == INT64_MAX ? 0 : f5xc_now_ms() - f->counts_lag_ms;
}

static size_t capacity(const struct f5xc *f)
{
	size_t room = (size_t)f->conf->max_sets * f->conf->set_size;

	return room < F5XC_POLICY_PREFIXES ? room : F5XC_POLICY_PREFIXES;
}

static void warn(json_t *warnings, const char *name, const char *text)
{
	char line[2 * F5XC_WHY_MAX + 100];

	snprintf(line, sizeof(line), "%s%s%s", name, *name ? ": " : "", text);
	json_array_append_new(warnings, json_string(line));
}

static void shard_warn(const struct shard *s, json_t *warnings)
{
	if (s->error[0])
		warn(warnings, s->name, s->error);
	if (s->disabled)
		warn(warnings, s->name, "somebody disabled it at F5: nothing in it is effective");
	if (s->foreign)
		warn(warnings,
		     s->name,
		     "it exists and does not bear our owner label: not touched, its number left "
		     "out; stanch f5 adopt takes it over");
	if (s->higher)
		warn(warnings,
		     s->name,
		     "it is of a higher epoch: another gateway leads, nothing is written");
	if (s->gone)
		warn(warnings, s->name, "somebody deleted it: stanch f5 sync makes it again");
	else if (s->drift[0] && s->owner->conf->drift == CONF_DRIFT_SHOW)
		warn(warnings, s->name, s->drift);
}

static void fill_warn(const struct f5xc *f, json_t *warnings)
{
	char text[160];
	size_t used = f5xc_seat_total(&f->wanted), room = capacity(f);

	if (f->wanted.n_full > 0 && f5xc_all_known(f))
		snprintf(
			text,
			sizeof(text),
			"the sets are full, %zu of %zu prefixes: %zu entries are refused there",
			used,
			room,
			f->wanted.n_full
		);
	else if (used * 100 >= room * FILL_ALARM_PERCENT)
		snprintf(text, sizeof(text), "%zu of %zu prefixes", used, room);
	else
		return;
	warn(warnings, "", text);
}

static void credential_warn(const struct f5xc *f, json_t *warnings)
{
	int64_t left = f->credential_ends - (int64_t)time(NULL);
	char text[160];

	if (f->credential_ends == 0 || left > CREDENTIAL_ALARM_S)
		return;
	if (left <= 0)
		snprintf(text, sizeof(text), "the token or certificate has ended");
	else
		snprintf(
			text,
			sizeof(text),
			"the token or certificate ends in %lld days",
			(long long)(left / 86400)
		);
	warn(warnings, "", text);
}

static void policy_warn(const struct f5xc *f, json_t *warnings)
{
	const struct policy *p = &f->policy;
	char text[F5XC_WHY_MAX];

	if (!f->conf->policy_before)
		return;
	if (p->error[0])
		warn(warnings, p->name, p->error);
	if (p->drift[0] && f->conf->drift == CONF_DRIFT_SHOW)
		warn(warnings, p->name, p->drift);
	if (p->n_cut > 0) {
		snprintf(
			text, sizeof(text), "full: F5 takes 128 rules, %zu are left out", p->n_cut
		);
		warn(warnings, p->name, text);
	}
}

static int64_t wall_of(int64_t monotonic_ms)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + monotonic_ms - f5xc_now_ms();
}

static json_t *shard_json(const struct shard *s)
{
	int64_t now = f5xc_now_ms(), next = s->not_before_ms;

	if (s->owner->pace.not_before_ms > next)
		next = s->owner->pace.not_before_ms;
	return json_pack(
		"{s:s, s:I, s:I, s:I, s:b, s:b, s:s, s:s, s:I}",
		"name",
		s->name,
		"prefixes",
		(json_int_t)s->slot->n,
		"prefixes_max",
		(json_int_t)s->owner->conf->set_size,
		"held",
		(json_int_t)s->n_held,
		"disabled",
		s->disabled,
		"foreign",
		s->foreign,
		"drift",
		s->drift,
		"error",
		s->error,
		"next_ms",
		(json_int_t)(next > now ? wall_of(next) : 0)
	);
}

static json_t *policy_json(const struct f5xc *f)
{
	const struct policy *p = &f->policy;
	json_t *lists = json_array();

	if (!f->conf->policy_before)
		return json_null();
	for (size_t i = 0; i < p->attached.n; i++) {
		static const char *const words[]
			= {"unknown", "listed", "would blackhole", "not listed"};
		const struct f5xc_attachment *a = &p->attached.list[i];

		if (strcmp(a->policy, p->name) == 0)
			json_array_append_new(
				lists,
				json_pack("{s:s, s:s}", "name", a->name, "state", words[a->listed])
			);
	}
	return json_pack(
		"{s:s, s:I, s:b, s:s, s:s, s:o}",
		"name",
		p->name,
		"rules",
		(json_int_t)json_array_size(p->rules),
		"before_allows",
		p->before_allows,
		"error",
		p->error,
		"drift",
		p->drift,
		"listed_by",
		lists
	);
}

static void text_join(char text[F5XC_TEXT_MAX], const char *more, const char *between)
{
	size_t len = strlen(text);

	if (*more)
		snprintf(text + len, F5XC_TEXT_MAX - len, "%s%s", between, more);
}

static const char *error_of(const struct f5xc *f)
{
	if (f->ledger_error[0] || f->error[0])
		return f->ledger_error[0] ? f->ledger_error : f->error;
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			if (f->shards[v][i].error[0])
				return f->shards[v][i].error;
	return f->conf->policy_before ? f->policy.error : "";
}

// "state" and "why", as each part of the status has them.
static void state_add(const struct f5xc *f, json_t *status)
{
	const char *state = f->counts[F5XC_PENDING] > 0 || !f5xc_all_known(f) ? "pending" : "equal";
	const char *error = error_of(f);
	char why[F5XC_TEXT_MAX] = "";

	for (int k = 0; k < F5XC_STATES; k++) {
		char one[48] = "";

		if (f->counts[k] > 0)
			snprintf(one, sizeof(one), "%zu %s", f->counts[k], f5xc_state_names[k]);
		text_join(why, one, *why ? ", " : "");
	}
	text_join(why, error, *why ? "; " : "");
	json_object_set_new(status, "state", json_string(*error ? "failing" : state));
	json_object_set_new(status, "why", json_string(why));
}

static bool shard_shows(const struct shard *s)
{
	return (s->family == 4 && s->index == 0) || s->slot->made || s->foreign || s->gone
		|| s->slot->n > 0;
}

json_t *f5xc_status(struct f5xc *f)
{
	json_t *status = json_object(), *sets = json_array(), *warnings = json_array();

	counts_refresh(f);
	if (f->ledger_error[0])
		warn(warnings, "", f->ledger_error);
	else if (f->error[0])
		warn(warnings, "", f->error);
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++) {
			const struct shard *s = &f->shards[v][i];

			if (shard_shows(s))
				json_array_append_new(sets, shard_json(s));
			shard_warn(s, warnings);
		}
	policy_warn(f, warnings);
	fill_warn(f, warnings);
	credential_warn(f, warnings);
	for (int k = 0; k < F5XC_STATES; k++)
		json_object_set_new(
			status, f5xc_state_names[k], json_integer((json_int_t)f->counts[k])
		);
	state_add(f, status);
	json_object_set_new(status, "sets", sets);
	json_object_set_new(status, "policy", policy_json(f));
	json_object_set_new(
		status, "breaker", json_string(f5xc_pace_state(&f->pace, f5xc_now_ms()))
	);
	json_object_set_new(status, "lag_ms", json_integer(lag_ms(f)));
	json_object_set_new(
		status, "prefixes", json_integer((json_int_t)f5xc_seat_total(&f->wanted))
	);
	json_object_set_new(status, "prefixes_max", json_integer((json_int_t)capacity(f)));
	json_object_set_new(status, "drifts", json_integer((json_int_t)f->n_drift));
	json_object_set_new(status, "last_drift", json_string(f->last_drift));
	json_object_set_new(status, "credential_ends", json_integer(f->credential_ends));
	json_object_set_new(status, "warnings", warnings);
	json_object_set_new(status, "last_ok_ms", json_integer(f->last_ok_ms));
	return status;
}

void f5xc_metrics(struct f5xc *f, struct metrics_page *page)
{
	counts_refresh(f);
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++) {
			const struct shard *s = &f->shards[v][i];
			const char *values[] = {s->name};

			if (!shard_shows(s))
				continue;
			metrics_add_count(page, METRIC_F5XC_PREFIXES, s->slot->n, values);
			metrics_add_count(
				page, METRIC_F5XC_PREFIXES_MAX, f->conf->set_size, values
			);
		}
	metrics_add_count(page, METRIC_F5XC_REFUSED_FULL, f->wanted.n_full, NULL);
	metrics_add(page, METRIC_F5XC_LAG, (double)lag_ms(f) / 1e3, NULL);
	metrics_add(page, METRIC_F5XC_LAST_OK, (double)f->last_ok_ms / 1e3, NULL);
	metrics_add(page, METRIC_F5XC_BREAKER, f->pace.open, NULL);
	metrics_add_count(page, METRIC_F5XC_DRIFT, f->n_drift, NULL);
	metrics_add_count(page, METRIC_F5XC_LIMITED, f->n_limited, NULL);
	metrics_add(page, METRIC_F5XC_CREDENTIAL_ENDS, (double)f->credential_ends, NULL);
	for (int k = 0; k < F5XC_STATES; k++) {
		const char *values[] = {"f5xc", f5xc_state_names[k]};

		metrics_add_count(page, METRIC_FOLLOWER_ENTRIES, f->counts[k], values);
	}
	metrics_add(page, METRIC_FOLLOWER_UP, !*error_of(f), (const char *const[]){"f5xc"});
}
