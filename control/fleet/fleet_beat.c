// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Heartbeats: each gateway writes its own, sealed, once a second; the leader and whoever wants to
// lead look at all of them for higher epochs.

#include "control/fleet/fleet_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEAT_MS 1000
#define LIVE_MS 3000 // three heartbeats, by wall clocks: it only says to whom to give way
#define GONE_MS ((int64_t)7 * 86400 * 1000) // heartbeats that nobody needs
#define STRANGER_MS 5000

static const char *role_name(const struct fleet *f)
{
	switch (f->conf->role) {
	case CONF_FLEET_LEADER:
		return "leader";
	case CONF_FLEET_FOLLOWER:
		return "follower";
	default:
		return "auto";
	}
}

static json_t *beat_json(struct fleet *f)
{
	char digest[DIGEST_TEXT_MAX], difference[DIGEST_TEXT_MAX], leader[FLEET_NAME_MAX];
	struct fleet_state s;
	json_t *json;
	uint64_t known = ledger_fleet_epoch(f->ledger, leader);

	ledger_fleet_state(f->ledger, &s);
	digest_print(s.fleet_digest, digest);
	digest_print(s.difference, difference);
	json = json_pack(
		"{s:s, s:s, s:I, s:I, s:s, s:b, s:I, s:I, s:I, s:s, s:I, s:s, s:s, s:b, s:I, s:I, "
		"s:I, s:s}",
		"gateway",
		f->conf->gateway,
		"run",
		f->run,
		"beat",
		(json_int_t)++f->beat.beat,
		"wall_ms",
		(json_int_t)fleet_wall_ms(),
		"role",
		role_name(f),
		"leads",
		f->duty == DUTY_LEADS,
		"epoch",
		(json_int_t)s.place.epoch,
		"number",
		(json_int_t)s.place.number,
		"known",
		(json_int_t)known,
		"leader",
		leader,
		"count",
		(json_int_t)s.fleet_count,
		"digest",
		digest,
		"difference",
		difference,
		"equal",
		fleet_holds(&s),
		"local",
		(json_int_t)s.local,
		"away",
		(json_int_t)s.away,
		"asks",
		(json_int_t)s.asks,
		"why",
		s.why
	);
	if (json && f->extra) {
		json_t *extra = f->extra(f->extra_ctx);

		if (extra)
			json_object_set_new(json, "extra", extra);
	}
	return json;
}

// --- reading

static int beat_read(
	const struct fleet *f,
	const redisReply *name,
	const redisReply *value,
	struct fleet_beat *ret_beat,
	json_t **ret_json
)
{
	json_t *json = NULL;

	if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING)
		return -EBADMSG;
	if (fleet_seal_parse(f->seal, FLEET_SEALS_BEAT, name->str, value->str, value->len, &json)
	    < 0)
		return -EBADMSG;
	if (fleet_beat_parse(json, ret_beat) < 0 || strcmp(ret_beat->gateway, name->str) != 0) {
		json_decref(json);
		return -EBADMSG;
	}
	*ret_json = json;
	return 0;
}

static void survey_one(struct fleet *f, const struct fleet_beat *b)
{
	struct fleet_lock *lock = &f->lock;
	struct fleet_id place = fleet_id(f), theirs = {b->epoch, b->number};
	int64_t age = fleet_wall_ms() - b->wall_ms;
	char leader[FLEET_NAME_MAX];
	uint64_t known = ledger_fleet_epoch(f->ledger, leader);
	int order = fleet_id_compare(theirs, place);
	bool may_lead = strcmp(b->role, "follower") != 0;
	bool first = strcmp(b->role, "leader") == 0 && f->conf->role == CONF_FLEET_AUTO;

	if (b->known > lock->beats_epoch)
		lock->beats_epoch = b->known;
	if (b->epoch > lock->beats_epoch)
		lock->beats_epoch = b->epoch;
	if (strcmp(b->gateway, f->conf->gateway) == 0)
		return;
	if (age < LIVE_MS && may_lead && (order > 0 || (first && order == 0)))
		lock->ahead++;
	if (b->known == known && b->leader[0] && leader[0] && strcmp(b->leader, leader) != 0)
		fleet_alarm(
			f,
			ALARM_LEADERS,
			"%s knows %s as leader of epoch %" PRIu64 ", here it is %s",
			b->gateway,
			b->leader,
			known,
			leader
		);
}

void beat_survey(struct fleet *f, const redisReply *r)
{
	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2) {
		const redisReply *name = r->element[i];
		struct fleet_beat b;
		json_t *json;

		if (beat_read(f, name, r->element[i + 1], &b, &json) < 0) {
			fleet_alarm(
				f,
				ALARM_FORGED,
				"the heartbeat of %.63s is not sealed",
				name->str ? name->str : "?"
			);
			continue;
		}
		survey_one(f, &b);
		if (fleet_wall_ms() - b.wall_ms > GONE_MS && f->duty == DUTY_LEADS)
			REDIS_SEND(
				f->commands, NULL, NULL, "HDEL", f->keys[KEY_GATEWAYS], name->str
			);
		json_decref(json);
	}
}

static void leader_looked(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	uint64_t ours = fleet_id(f).epoch;
	char leader[FLEET_NAME_MAX];

	if (!r || f->duty != DUTY_LEADS)
		return;
	f->lock.ahead = f->lock.beats_epoch = 0;
	beat_survey(f, r);
	// One that is to lead, and holds all that we do.
	if (f->lock.ahead > 0 && f->lock.beats_epoch <= ours && f->conf->role == CONF_FLEET_AUTO
	    && f->publish.published == fleet_id(f).number && !f->lock.anew) {
		lock_release(f);
		lock_step_down(f, "another gateway is to lead");
		f->lock.next_try_ms = fleet_now_ms() + 3000;
		return;
	}
	if (f->lock.beats_epoch <= ours
	    && f->lock.beats_epoch <= ledger_fleet_epoch(f->ledger, leader))
		return;
	// Another led after us, or beside us: an epoch above all of them, if the lock is ours.
	fleet_alarm(
		f,
		ALARM_LEADERS,
		"a gateway knows epoch %" PRIu64 ", ours is %" PRIu64,
		f->lock.beats_epoch,
		ours
	);
	lock_anew(f, "a higher epoch is known");
}

// --- writing

static void own_read(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	struct fleet_beat_state *s = &f->beat;
	const redisReply name = {
		.type = REDIS_REPLY_STRING,
		.str = f->conf->gateway,
		.len = strlen(f->conf->gateway),
	};
	struct fleet_beat b;
	json_t *json;
	int64_t now = fleet_now_ms();

	if (!r || r->type != REDIS_REPLY_STRING || beat_read(f, &name, r, &b, &json) < 0)
		return;
	json_decref(json);
	if (strcmp(b.run, f->run) == 0)
		return;
	if (strcmp(b.run, s->stranger) == 0 && b.beat > s->stranger_beat) {
		s->stranger_ms = now;
		fleet_alarm(
			f, ALARM_LEADERS, "another process calls itself %s too", f->conf->gateway
		);
	}
	snprintf(s->stranger, sizeof(s->stranger), "%s", b.run);
	s->stranger_beat = b.beat;
}

static void written(void *ctx, const redisReply *r)
{
	if (!r)
		return;
	if (r->type == REDIS_REPLY_ERROR)
		fleet_refused(ctx, "a heartbeat", r);
	else
		fleet_alarm_end(ctx, ALARM_REFUSED);
}

static void beat_write(struct fleet *f)
{
	json_t *json = beat_json(f);
	char *text
		= json ? fleet_seal_print(f->seal, FLEET_SEALS_BEAT, f->conf->gateway, json) : NULL;

	json_decref(json);
	if (!text)
		return;
	REDIS_SEND(f->commands, own_read, f, "HGET", f->keys[KEY_GATEWAYS], f->conf->gateway);
	REDIS_SEND(f->commands, written, f, "HSET", f->keys[KEY_GATEWAYS], f->conf->gateway, text);
	free(text);
}

static void local_watch(struct fleet *f)
{
	int64_t since = ledger_fleet_asks_since(f->ledger);

	if (f->duty == DUTY_FOLLOWS && since && fleet_wall_ms() / 1000 - since > 60)
		fleet_alarm(
			f,
			ALARM_LOCAL,
			"what operators did here is local for %" PRId64 " s",
			fleet_wall_ms() / 1000 - since
		);
	else
		fleet_alarm_end(f, ALARM_LOCAL);
}

void beat_tick(struct fleet *f, int64_t now)
{
	if (now - f->beat.sent_ms < BEAT_MS)
		return;
	local_watch(f);
	if (!fleet_up(f))
		return;
	f->beat.sent_ms = now;
	if (f->beat.stranger_ms && now - f->beat.stranger_ms > STRANGER_MS)
		f->beat.stranger_ms = 0;
	beat_write(f);
	if (f->duty == DUTY_LEADS)
		REDIS_SEND(f->commands, leader_looked, f, "HGETALL", f->keys[KEY_GATEWAYS]);
}

// --- the table

struct table {
	struct fleet *fleet;
	void (*done)(void *ctx, json_t *gateways);
	void *ctx;
};

static void row_judge(const struct fleet *f, const struct fleet_beat *b, json_t *row)
{
	const struct fleet_head *head = &f->follow.head;
	bool equal = json_is_true(json_object_get(row, "equal"));
	uint64_t number = head->place.number;
	int64_t age = fleet_wall_ms() - b->wall_ms;
	struct fleet_state s;

	ledger_fleet_state(f->ledger, &s);
	if (f->duty == DUTY_LEADS)
		number = s.place.number;
	// At our own place both digests are of the same moment.
	if (b->number == s.place.number && b->epoch == s.place.epoch && (s.leads || s.equal)) {
		const char *text = json_string_value(json_object_get(row, "digest"));
		struct digest theirs;

		equal = equal && text && digest_parse(text, &theirs) == 0
			&& digest_equal(theirs, s.fleet_digest);
	}
	json_object_set_new(row, "equal", json_boolean(equal));
	json_object_set_new(
		row, "lag", json_integer(number > b->number ? (json_int_t)(number - b->number) : 0)
	);
	json_object_set_new(row, "age_ms", json_integer(age > 0 ? age : 0));
	json_object_set_new(row, "forged", json_false());
}

static void table_came(void *ctx, const redisReply *r)
{
	struct table *t = ctx;
	struct fleet *f = t->fleet;
	json_t *rows = r && r->type == REDIS_REPLY_ARRAY ? json_array() : NULL;

	for (size_t i = 0; rows && i + 1 < r->elements; i += 2) {
		const redisReply *name = r->element[i];
		struct fleet_beat b;
		json_t *row;

		if (beat_read(f, name, r->element[i + 1], &b, &row) == 0) {
			row_judge(f, &b, row);
		} else {
			json_t *text = name->str ? json_stringn(name->str, name->len) : NULL;

			row = json_pack(
				"{s:o, s:b, s:b, s:s}",
				"gateway",
				text ? text : json_string("?"),
				"forged",
				1,
				"equal",
				0,
				"why",
				"its heartbeat is not sealed by the fleet's key"
			);
		}
		json_array_append_new(rows, row);
	}
	t->done(t->ctx, rows);
	free(t);
}

void fleet_gateways(struct fleet *f, void (*done)(void *ctx, json_t *gateways), void *ctx)
{
	struct table *t = malloc(sizeof(*t));

	if (t)
		*t = (struct table){f, done, ctx};
	if (!t || REDIS_SEND(f->commands, table_came, t, "HGETALL", f->keys[KEY_GATEWAYS]) < 0) {
		free(t);
		done(ctx, NULL);
	}
}
