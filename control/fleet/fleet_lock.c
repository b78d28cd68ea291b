// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Who leads. The lock in Redis is a hint that keeps two from trying at once; what makes a leader is
// an epoch that nobody else has, and what bounds one that was paused or cut off is its lease,
// judged on the monotonic clock from before the renewal was sent.
//
//   follows ─▶ lock free, log read ─▶ takes: heartbeats, top of the log, epoch ─▶ leads
//           ◀─ lease over, lock another's, higher epoch ◀───────────────────────────┘

#include "control/fleet/fleet_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_WAIT_MS 300 // connected, before the first try
#define EMPTY_WAIT_MS 1500 // the same with an empty ledger: others may have more
#define QUIET_MS 1500 // a head that does not grow: try the lock
#define STUCK_MS 2000 // records that do not come: lead without them
#define YIELDS_MAX 5
#define PTTL_MAX 60000 // the longest lease that can be configured

static const char take_script[]
	= "local h = redis.call('GET', KEYS[1]) "
	  "if h and h ~= ARGV[1] then return {0, h, redis.call('PTTL', KEYS[1])} end "
	  "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) "
	  "return {1, redis.call('GET', KEYS[2]) or ''}";
static const char renew_script[]
	= "local h = redis.call('GET', KEYS[1]) "
	  "if h ~= ARGV[1] then return {0, h or ''} end "
	  "redis.call('PEXPIRE', KEYS[1], ARGV[2]) "
	  "if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3]) end "
	  "local t = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1) "
	  "return {1, t[1] and t[1][1] or ''}";
static const char claim_script[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
				   "redis.call('SET', KEYS[2], ARGV[2]) return 1";
static const char release_script[]
	= "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
	  "if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2]) end "
	  "return redis.call('DEL', KEYS[1])";

static bool is_text(const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS;
}

static char *head_text(struct fleet *f, bool gone)
{
	struct fleet_state state;
	struct fleet_head h = {
		.beat = ++f->beats,
		.wall_ms = fleet_wall_ms(),
		.lease_ms = f->conf->lease_ms,
		.gone = gone,
	};
	json_t *json;
	char *text;

	ledger_fleet_state(f->ledger, &state);
	snprintf(h.leader, sizeof(h.leader), "%s", f->conf->gateway);
	snprintf(h.run, sizeof(h.run), "%s", f->run);
	h.place = state.place;
	h.count = state.count;
	h.digest = state.digest;
	json = fleet_head_json(&h);
	text = fleet_seal_print(f->seal, FLEET_SEALS_HEAD, "", json);
	json_decref(json);
	return text;
}

// --- stepping down

static void released(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;

	(void)r;
	f->lock.releasing = false;
}

void lock_release(struct fleet *f)
{
	char *head = f->duty == DUTY_LEADS ? head_text(f, true) : NULL;

	f->lock.releasing = REDIS_SEND(
				    f->commands,
				    released,
				    f,
				    "EVAL",
				    release_script,
				    "2",
				    f->keys[KEY_LEADER],
				    f->keys[KEY_HEAD],
				    f->lock.value,
				    head ? head : ""
			    )
		== 0;
	free(head);
}

void lock_step_down(struct fleet *f, const char *why)
{
	bool led = f->duty == DUTY_LEADS;

	if (f->duty == DUTY_FOLLOWS)
		return;
	f->duty = DUTY_FOLLOWS;
	f->lock.anew = false;
	f->lock.next_try_ms = fleet_now_ms() + 1000;
	if (!led)
		return;
	log_warning("fleet %s: leads no longer: %s", f->conf->id, why);
	checkpoint_stop(f);
	ledger_fleet_follow(f->ledger);
	follow_begin(f);
	f->up.sent = 0;
	f->events.role(f->events.ctx, false);
}

void lock_lost(struct fleet *f)
{
	f->lock.asked = false;
	if (f->duty == DUTY_TAKES)
		lock_step_down(f, "the connection was lost");
	// A leader goes on until its lease ends: Redis may be back before.
	f->lock.anew = false;
}

// --- leading

static bool term_find(void *ctx, const struct fleet_record *record)
{
	struct fleet *f = ctx;

	if (record->kind != FLEET_EPOCH || record->epoch != f->lock.epoch)
		return true;
	fleet_terms_add(&f->terms, record->epoch, &record->before);
	return false;
}

// The record says what the term began behind: others committed beside us.
static void term_begin(struct fleet *f)
{
	struct fleet_state state;
	uint64_t after = f->publish.base;

	ledger_fleet_state(f->ledger, &state);
	if (state.first > after + 1)
		after = state.first - 1;
	ledger_fleet_records(f->ledger, after, SIZE_MAX, term_find, f);
	fleet_terms_keep(f);
}

static void led(void *ctx, int error, const char *message)
{
	struct fleet *f = ctx;
	bool anew = f->lock.anew;

	if (!fleet_back(f))
		return;
	if (error == -EBUSY && f->duty != DUTY_FOLLOWS) {
		// Records still wait for the lists: from the next tick on once more.
		f->lock.take = anew ? TAKE_LOOK : TAKE_WAIT;
		return;
	}
	f->lock.anew = false;
	if (error || f->duty == DUTY_FOLLOWS) {
		log_error(
			"fleet %s: does not lead: %s",
			f->conf->id,
			!error		     ? "too late"
				: message[0] ? message
					     : strerror(-error)
		);
		if (!error)
			ledger_fleet_follow(f->ledger);
		if (f->duty == DUTY_TAKES)
			lock_release(f);
		lock_step_down(f, message);
		f->lock.next_try_ms = fleet_now_ms() + 5000;
		return;
	}
	f->duty = DUTY_LEADS;
	f->lock.yielded = 0;
	log_notice("fleet %s: leads, epoch %" PRIu64, f->conf->id, f->lock.epoch);
	fleet_alarm_end(f, ALARM_NO_LEADER);
	fleet_alarm_end(f, ALARM_GAP);
	fleet_alarm_end(f, ALARM_REWOUND);
	fleet_alarm_end(f, ALARM_UNEQUAL);
	term_begin(f);
	publish_look(f);
	if (anew) {
		// One under way goes on: the log does. This may be called from inside it.
		checkpoint_check(f);
	} else {
		checkpoint_begin(f, f->lock.fork);
		up_begin(f);
		f->events.role(f->events.ctx, true);
	}
	fleet_soon(f);
}

static void claimed(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	int64_t now = fleet_now_ms();

	f->lock.asked = false;
	if (!r || (f->duty != DUTY_TAKES && !f->lock.anew) || f->lock.take != TAKE_CLAIM)
		return;
	if (r->type != REDIS_REPLY_INTEGER || r->integer != 1) {
		fleet_refused(f, "the epoch", r);
		lock_step_down(f, "the lock went while it was taken");
		return;
	}
	if (now >= f->lock.lease_until_ms) {
		lock_step_down(f, "the lease ended while it was taken");
		return;
	}
	f->lock.take = TAKE_LEAD;
	follow_stop(f);
	resync_stop(f);
	f->publish.base = fleet_id(f).number;
	f->calls++;
	ledger_fleet_lead(f->ledger, f->lock.epoch, led, f);
}

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void claim(struct fleet *f)
{
	struct fleet_claimant me = {0};
	char leader[FLEET_NAME_MAX], *text;
	uint64_t highest = ledger_fleet_epoch(f->ledger, leader);
	json_t *json;

	highest = max64(highest, fleet_id(f).epoch);
	highest = max64(highest, f->lock.redis_epoch);
	highest = max64(highest, max64(f->lock.beats_epoch, f->lock.top_epoch));
	me.epoch = f->lock.epoch = highest + 1;
	snprintf(me.gateway, sizeof(me.gateway), "%s", f->conf->gateway);
	snprintf(me.run, sizeof(me.run), "%s", f->run);
	json = fleet_claimant_json(&me);
	text = fleet_seal_print(f->seal, FLEET_SEALS_EPOCH, "", json);
	json_decref(json);
	f->lock.take = TAKE_CLAIM;
	f->lock.asked = text
		&& REDIS_SEND(
			   f->commands,
			   claimed,
			   f,
			   "EVAL",
			   claim_script,
			   "2",
			   f->keys[KEY_LEADER],
			   f->keys[KEY_EPOCH],
			   f->lock.value,
			   text
		   ) == 0;
	free(text);
}

// --- taking

static void yield(struct fleet *f, const char *why)
{
	f->lock.yielded++;
	log_info("fleet %s: gives way: %s", f->conf->id, why);
	lock_release(f);
	lock_step_down(f, why);
	f->lock.next_try_ms = fleet_now_ms() + 1000;
}

static void surveyed(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;

	if (!r || f->duty != DUTY_TAKES)
		return;
	f->lock.ahead = 0;
	f->lock.beats_epoch = 0;
	beat_survey(f, r);
	f->lock.looked_beats = true;
	if (f->lock.ahead > 0 && f->lock.yielded < YIELDS_MAX)
		yield(f, "others hold more, or are to lead");
}

static void topped(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	struct fleet_record top;
	int rc;

	if (!r || f->duty != DUTY_TAKES)
		return;
	f->lock.looked_top = true;
	f->lock.top = (struct fleet_id){0};
	f->lock.top_epoch = 0;
	rc = publish_top(f, r, &top);
	if (rc == 1) {
		f->lock.top = (struct fleet_id){top.epoch, top.number};
		f->lock.top_epoch = top.epoch;
	}
}

static void take_look(struct fleet *f, int64_t now)
{
	f->lock.take = TAKE_WAIT;
	f->lock.looked_top = false;
	f->lock.fork = false;
	f->lock.progress_ms = now;
	REDIS_SEND(f->commands, surveyed, f, "HGETALL", f->keys[KEY_GATEWAYS]);
	REDIS_SEND(f->commands, topped, f, "XREVRANGE", f->keys[KEY_LOG], "+", "-", "COUNT", "1");
}

static void take_wait(struct fleet *f, int64_t now)
{
	struct fleet_id at = fleet_id(f);

	if (!f->lock.looked_beats || !f->lock.looked_top)
		return;
	if (fleet_id_compare(at, f->lock.progress) != 0
	    || f->lock.progress_chunks != f->resync.imported) {
		f->lock.progress = at;
		f->lock.progress_chunks = f->resync.imported;
		f->lock.progress_ms = now;
	}
	if (fleet_id_compare(f->lock.top, at) > 0) {
		if (now - f->lock.progress_ms < STUCK_MS)
			return;
		log_warning(
			"fleet %s: the end of the log cannot be had: leads without it; what others "
			"hold of it stays in force there",
			f->conf->id
		);
		f->lock.fork = true;
	} else if (!follow_idle(f)) {
		return;
	}
	claim(f);
}

// --- the lock

static void lock_unlink(struct fleet *f, const char *value)
{
	// Only what was looked at, not what came since.
	REDIS_SEND(
		f->commands,
		NULL,
		NULL,
		"EVAL",
		release_script,
		"2",
		f->keys[KEY_LEADER],
		f->keys[KEY_HEAD],
		value,
		""
	);
}

static void held_by_other(struct fleet *f, const redisReply *value, int64_t pttl)
{
	int64_t now = fleet_now_ms();
	struct fleet_claimant other;
	json_t *json = NULL;
	int rc = -EBADMSG;

	if (is_text(value))
		rc = fleet_seal_parse(
			f->seal, FLEET_SEALS_LEADER, "", value->str, value->len, &json
		);
	if (rc >= 0)
		rc = fleet_claimant_parse(json, &other);
	json_decref(json);
	if (rc < 0 || pttl < 0 || pttl > PTTL_MAX) {
		fleet_alarm(
			f, ALARM_FORGED, rc < 0 ? "the lock is not sealed" : "the lock never ends"
		);
		lock_unlink(f, value->str);
		pttl = 200;
	}
	f->lock.free_at_ms = now + pttl;
	f->lock.next_try_ms = now + (pttl < 1000 ? pttl : 1000) + random() % 50;
}

static void epoch_read(struct fleet *f, const redisReply *value)
{
	struct fleet_claimant last;
	json_t *json = NULL;

	f->lock.redis_epoch = 0;
	if (!is_text(value) || value->len == 0)
		return;
	if (fleet_seal_parse(f->seal, FLEET_SEALS_EPOCH, "", value->str, value->len, &json) < 0
	    || fleet_claimant_parse(json, &last) < 0)
		fleet_alarm(f, ALARM_FORGED, "the epoch is not sealed");
	else
		f->lock.redis_epoch = last.epoch;
	json_decref(json);
}

// The leader before may act until its lease ends. Its lock ended by itself: so did the lease.
static void fence(struct fleet *f, int64_t now)
{
	struct fleet_lock *lock = &f->lock;
	const struct fleet_head *head = &f->follow.head;
	char leader[FLEET_NAME_MAX];
	bool ended = lock->free_at_ms && lock->asked_ms >= lock->free_at_ms - 50;
	bool none = ledger_fleet_epoch(f->ledger, leader) == 0 && lock->redis_epoch == 0;
	int64_t lease = f->conf->lease_ms;

	if (f->follow.head_known && head->lease_ms > lease && head->lease_ms <= PTTL_MAX)
		lease = head->lease_ms;
	lock->fence_until_ms = now;
	if (!ended && !none && !(f->follow.head_known && head->gone))
		lock->fence_until_ms = now + lease;
	lock->free_at_ms = 0;
}

static void type_mended(struct fleet *f, const redisReply *r)
{
	fleet_refused(f, "the lock", r);
	if (r->type != REDIS_REPLY_ERROR || !strstr(r->str, "WRONGTYPE"))
		return;
	fleet_alarm(f, ALARM_FORGED, "a key of the fleet is of another type");
	REDIS_SEND(
		f->commands,
		NULL,
		NULL,
		"UNLINK",
		f->keys[KEY_LEADER],
		f->keys[KEY_EPOCH],
		f->keys[KEY_HEAD]
	);
}

static void taken(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	int64_t now = fleet_now_ms();

	f->lock.asked = false;
	if (!r)
		return;
	if (r->type != REDIS_REPLY_ARRAY || r->elements < 2
	    || r->element[0]->type != REDIS_REPLY_INTEGER) {
		type_mended(f, r);
		f->lock.next_try_ms = now + 500;
		return;
	}
	if (r->element[0]->integer != 1) {
		int64_t pttl = r->elements > 2 ? r->element[2]->integer : 0;

		held_by_other(f, r->element[1], pttl);
		if (f->duty == DUTY_LEADS)
			lock_step_down(f, "another gateway took the lock");
		return;
	}
	f->lock.lease_until_ms = f->lock.asked_ms + f->conf->lease_ms;
	epoch_read(f, r->element[1]);
	if (f->duty == DUTY_LEADS) {
		if (f->lock.anew)
			claim(f);
		return;
	}
	fence(f, now);
	f->duty = DUTY_TAKES;
	f->lock.take = TAKE_LOOK;
	f->lock.looked_beats = f->lock.looked_top = false;
	take_look(f, now);
}

static void take(struct fleet *f, int64_t now)
{
	char lease[24];

	snprintf(lease, sizeof(lease), "%u", f->conf->lease_ms);
	f->lock.asked_ms = now;
	f->lock.next_try_ms = now + 500;
	f->lock.asked = REDIS_SEND(
				f->commands,
				taken,
				f,
				"EVAL",
				take_script,
				"2",
				f->keys[KEY_LEADER],
				f->keys[KEY_EPOCH],
				f->lock.value,
				lease
			)
		== 0;
}

void lock_anew(struct fleet *f, const char *why)
{
	if (f->duty != DUTY_LEADS || f->lock.anew)
		return;
	log_warning("fleet %s: takes another epoch: %s", f->conf->id, why);
	f->lock.anew = true;
	f->lock.fork = false;
	f->lock.take = TAKE_LOOK;
	if (!f->lock.asked && fleet_up(f))
		take(f, fleet_now_ms());
}

// --- the lease

static void top_compare(struct fleet *f, const redisReply *top)
{
	struct fleet_publish *p = &f->publish;
	struct fleet_id id = {0};

	if (p->state != PUBLISH_FLOWS)
		return;
	if (is_text(top) && top->len > 0 && fleet_id_parse(top->str, top->len, &id) < 0)
		id = (struct fleet_id){0};
	if (fleet_id_compare(id, p->published_id) != 0)
		publish_look(f);
}

static void renewed(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;

	f->lock.asked = false;
	if (!r || f->duty == DUTY_FOLLOWS)
		return;
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 2
	    || r->element[0]->type != REDIS_REPLY_INTEGER) {
		type_mended(f, r);
		return;
	}
	if (r->element[0]->integer == 1) {
		f->lock.lease_until_ms = f->lock.asked_ms + f->conf->lease_ms;
		fleet_alarm_end(f, ALARM_REFUSED);
		if (f->duty == DUTY_LEADS)
			top_compare(f, r->element[1]);
		return;
	}
	if (r->element[1]->len == 0 && f->duty == DUTY_LEADS) {
		// Redis lost it, or was emptied: nobody else has it yet.
		fleet_alarm(f, ALARM_REWOUND, "Redis lost the lock");
		lock_anew(f, "Redis lost the lock");
		return;
	}
	held_by_other(f, r->element[1], 1000);
	f->lock.free_at_ms = 0; // when it ends is not known
	lock_step_down(f, "another gateway has the lock");
}

static void renew(struct fleet *f, int64_t now)
{
	char lease[24], *head = f->duty == DUTY_LEADS ? head_text(f, false) : NULL;

	snprintf(lease, sizeof(lease), "%u", f->conf->lease_ms);
	f->lock.asked_ms = now;
	f->lock.asked = REDIS_SEND(
				f->commands,
				renewed,
				f,
				"EVAL",
				renew_script,
				"3",
				f->keys[KEY_LEADER],
				f->keys[KEY_HEAD],
				f->keys[KEY_LOG],
				f->lock.value,
				lease,
				head ? head : ""
			)
		== 0;
	free(head);
}

static bool may_try(const struct fleet *f, int64_t now)
{
	const struct fleet_follow *w = &f->follow;
	int64_t wait = fleet_id(f).number ? FIRST_WAIT_MS : EMPTY_WAIT_MS;
	int64_t since = w->head_grew_ms > f->ready_ms ? w->head_grew_ms : f->ready_ms;

	if (f->conf->role == CONF_FLEET_FOLLOWER || !fleet_up(f) || now < f->lock.next_try_ms
	    || now - f->ready_ms < wait)
		return false;
	// One that is behind and can be helped by a leader waits for it.
	if ((!w->caught_up && now - f->ready_ms < 5000) || f->resync.running)
		return false;
	if (w->head_known && w->head.gone)
		return true;
	return now - since >= QUIET_MS;
}

void lock_tick(struct fleet *f, int64_t now)
{
	if (f->duty != DUTY_FOLLOWS && now >= f->lock.lease_until_ms) {
		lock_step_down(f, "its lease ended");
		return;
	}
	if (f->lock.asked || !fleet_up(f))
		return;
	if (f->duty == DUTY_FOLLOWS) {
		if (may_try(f, now))
			take(f, now);
		return;
	}
	if (f->lock.anew && f->lock.take != TAKE_CLAIM && f->lock.take != TAKE_LEAD) {
		take(f, now);
		return;
	}
	if (f->duty == DUTY_TAKES && f->lock.take == TAKE_WAIT)
		take_wait(f, now);
	if (!f->lock.asked && now - f->lock.asked_ms >= f->conf->lease_ms / 8)
		renew(f, now);
}
