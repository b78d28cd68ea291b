// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/fleet/fleet_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEEPS_MS 60000 // an alarm about what somebody did once

static const char *const names[] = {
	[ALARM_REDIS] = "redis",
	[ALARM_REFUSED] = "refused",
	[ALARM_FORGED] = "forged",
	[ALARM_GAP] = "gap",
	[ALARM_REWOUND] = "rewound",
	[ALARM_UNEQUAL] = "unequal",
	[ALARM_NO_LEADER] = "no-leader",
	[ALARM_LEADERS] = "leaders",
	[ALARM_LOCAL] = "local",
	[ALARM_ROOM] = "room",
	[ALARM_VERSION] = "version",
};

const char *fleet_alarm_name(enum fleet_alarm alarm)
{
	return names[alarm];
}

// Nothing ends these but time: what they tell of was seen once.
static bool fades(enum fleet_alarm alarm)
{
	return alarm == ALARM_FORGED || alarm == ALARM_LEADERS || alarm == ALARM_REWOUND;
}

static bool alarm_on(const struct fleet_alarm_state *a, enum fleet_alarm alarm)
{
	return a->on && !(fades(alarm) && fleet_now_ms() - a->last_ms > KEEPS_MS);
}

void fleet_alarm(struct fleet *f, enum fleet_alarm alarm, const char *format, ...)
{
	struct fleet_alarm_state *a = &f->alarms[alarm];
	bool on = alarm_on(a, alarm);
	va_list args;

	va_start(args, format);
	// NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized)
	vsnprintf(a->why, sizeof(a->why), format, args);
	va_end(args);
	a->last_ms = fleet_now_ms();
	if (on)
		return;
	a->on = true;
	a->since_ms = fleet_wall_ms();
	a->count++;
	log_error("fleet %s: alarm %s: %s", f->conf->id, names[alarm], a->why);
}

void fleet_alarm_end(struct fleet *f, enum fleet_alarm alarm)
{
	struct fleet_alarm_state *a = &f->alarms[alarm];

	// What was forged or put back is told for a while also where it is mended.
	if (!a->on || (fades(alarm) && fleet_now_ms() - a->last_ms <= KEEPS_MS))
		return;
	a->on = false;
	log_notice("fleet %s: alarm %s ended", f->conf->id, names[alarm]);
}

void fleet_refused(struct fleet *f, const char *what, const redisReply *r)
{
	if (r->type == REDIS_REPLY_ERROR)
		fleet_alarm(f, ALARM_REFUSED, "%s: %.120s", what, r->str);
}

static json_t *alarms_json(const struct fleet *f)
{
	json_t *array = json_array();

	for (int i = 0; i < FLEET_ALARMS; i++) {
		const struct fleet_alarm_state *a = &f->alarms[i];

		if (alarm_on(a, (enum fleet_alarm)i))
			json_array_append_new(
				array,
				json_pack(
					"{s:s, s:s, s:I}",
					"alarm",
					names[i],
					"why",
					a->why,
					"since",
					(json_int_t)(a->since_ms / 1000)
				)
			);
	}
	return array;
}

static json_t *counters_json(const struct fleet *f)
{
	json_t *alarms = json_object();

	for (int i = 0; i < FLEET_ALARMS; i++)
		json_object_set_new(alarms, names[i], json_integer((json_int_t)f->alarms[i].count));
	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
		"records_in",
		(json_int_t)f->records_in,
		"records_out",
		(json_int_t)f->records_out,
		"octets_in",
		(json_int_t)f->octets_in,
		"octets_out",
		(json_int_t)f->octets_out,
		"checkpoints_in",
		(json_int_t)f->checkpoints_in,
		"checkpoints_out",
		(json_int_t)f->checkpoints_out,
		"alarms",
		alarms
	);
}

static void place_add(json_t *json, const struct fleet *f)
{
	const struct fleet_follow *w = &f->follow;
	char digest[DIGEST_TEXT_MAX];
	struct fleet_state s;
	uint64_t head;

	ledger_fleet_state(f->ledger, &s);
	digest_print(s.fleet_digest, digest);
	head = f->duty == DUTY_LEADS ? s.place.number : w->head.place.number;
	json_object_update_new(
		json,
		json_pack(
			"{s:I, s:I, s:I, s:I, s:I, s:s, s:b, s:b, s:I, s:I, s:I, s:s}",
			"epoch",
			(json_int_t)s.place.epoch,
			"number",
			(json_int_t)s.place.number,
			"head",
			(json_int_t)head,
			"lag",
			(json_int_t)(head > s.place.number ? head - s.place.number : 0),
			"count",
			(json_int_t)s.fleet_count,
			"digest",
			digest,
			"equal",
			fleet_holds(&s),
			"importing",
			s.importing || f->resync.running,
			"local",
			(json_int_t)s.local,
			"away",
			(json_int_t)s.away,
			"asks",
			(json_int_t)s.asks,
			"why",
			s.why
		)
	);
}

json_t *fleet_status(const struct fleet *f)
{
	static const char *const roles[]
		= {[CONF_FLEET_AUTO] = "auto",
		   [CONF_FLEET_LEADER] = "leader",
		   [CONF_FLEET_FOLLOWER] = "follower",
		   [CONF_FLEET_SINGLE] = "single"};
	char leader[FLEET_NAME_MAX];
	const uint64_t known = ledger_fleet_epoch(f->ledger, leader);
	const int64_t now = fleet_now_ms();
	const int64_t grew = f->follow.head_grew_ms;
	bool alive = f->duty == DUTY_LEADS || (grew && now - grew <= FLEET_SILENT_MS);
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:b, s:I, s:I, s:I, s:o, s:o}",
		"fleet",
		f->conf->id,
		"gateway",
		f->conf->gateway,
		"run",
		f->run,
		"role",
		roles[f->conf->role],
		"leads",
		f->duty == DUTY_LEADS,
		"takes",
		f->duty == DUTY_TAKES,
		"leader",
		leader,
		"leader_alive",
		alive,
		"known_epoch",
		(json_int_t)known,
		"lease_ms",
		(json_int_t)fleet_lease_ms(f),
		"published",
		(json_int_t)(f->duty == DUTY_LEADS ? f->publish.published : 0),
		"alarms",
		alarms_json(f),
		"counters",
		counters_json(f)
	);

	if (!json)
		return json_null();
	json_object_set_new(json, "redis", json_boolean(fleet_up(f)));
	place_add(json, f);
	return json;
}
