// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A follower: the log, read on a connection that waits for it, checked and given to the ledger in
// order. A record that is not sealed is never passed over: it is read again until it is gone. One
// that does not follow our place is a new term that never had our last records (they stay in force,
// local, and go up), or a gap, which a checkpoint closes.

#include "control/fleet/fleet_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT "64" // of records: 4 MiB at most, a few ms of Redis
#define BLOCK_MS "1000"
#define QUEUE_MAX ((size_t)16 << 20) // nothing is read above it
#define APPLYING_MAX 64
#define HOLD_MS 1000 // after what is not sealed
#define ROOM_HOLD_MS 1000
#define VERSION_HOLD_MS 10000
#define BEHIND_MS 2000 // the head is ahead and nothing comes
#define HEAD_EVERY_MS 1000
#define FORK_GRACE_MS 30000

static void pump(struct fleet *f);

bool follow_idle(const struct fleet *f)
{
	return STAILQ_EMPTY(&f->follow.queue) && f->follow.applying == 0 && !f->follow.settling;
}

void follow_stop(struct fleet *f)
{
	struct fleet_queued *q;

	while ((q = STAILQ_FIRST(&f->follow.queue))) {
		STAILQ_REMOVE_HEAD(&f->follow.queue, entry);
		free(q);
	}
	f->follow.octets = 0;
}

void follow_begin(struct fleet *f)
{
	follow_stop(f);
	ledger_fleet_place(f->ledger, &f->follow.expect);
	f->follow.read_id = fleet_place_id(&f->follow.expect);
	f->follow.looked_id = (struct fleet_id){0};
	f->follow.broken = false;
}

// What is under way comes back first; then from our place.
static void begin_again(struct fleet *f)
{
	follow_stop(f);
	f->follow.broken = true;
	if (f->follow.applying == 0 && !f->follow.settling)
		follow_begin(f);
}

// --- giving to the ledger

static void compare(struct fleet *f)
{
	struct fleet_state state;

	f->follow.compare_ms = fleet_now_ms();
	ledger_fleet_state(f->ledger, &state);
	if (state.leads || state.importing)
		return;
	// A new leader first reads the lists itself: what only its predecessor's last records put
	// must not be swept before. Who has no place has nothing to wait for.
	if (state.place.number > 0 && f->follow.forked_ms
	    && f->follow.compare_ms - f->follow.forked_ms < FORK_GRACE_MS
	    && (state.resync || (state.known && !state.equal)))
		return;
	if (state.resync)
		resync_want(f, ALARM_UNEQUAL, state.why[0] ? state.why : "begun and not ended");
	else if (state.known && !state.equal)
		resync_want(f, ALARM_UNEQUAL, state.why);
	else
		fleet_alarm_end(f, ALARM_UNEQUAL);
}

static void applied(void *ctx, int error, const char *message)
{
	struct fleet *f = ctx;

	if (!fleet_back(f))
		return;
	f->follow.applying--;
	if (!error) {
		f->records_in++;
		fleet_alarm_end(f, ALARM_ROOM);
		fleet_alarm_end(f, ALARM_VERSION);
	} else if (!f->follow.broken && error != -EPERM && error != -ECANCELED) {
		int64_t now = fleet_now_ms();

		if (error == -EBADMSG) {
			fleet_alarm(f, ALARM_VERSION, "a record is not understood: %s", message);
			f->follow.hold_until_ms = now + VERSION_HOLD_MS;
		} else if (error == -EILSEQ) {
			resync_want(f, ALARM_GAP, message);
		} else {
			fleet_alarm(f, ALARM_ROOM, "a record cannot be applied: %s", message);
			f->follow.hold_until_ms = now + ROOM_HOLD_MS;
		}
	}
	if (error)
		begin_again(f);
	else if (f->follow.applying == 0 && f->follow.broken)
		follow_begin(f);
	if (f->duty == DUTY_LEADS)
		return;
	pump(f);
	if (follow_idle(f) && !f->follow.broken)
		compare(f);
	follow_read(f);
}

static void settled(void *ctx, int error, const char *message)
{
	struct fleet *f = ctx;

	if (!fleet_back(f))
		return;
	f->follow.settling = false;
	if (error)
		fleet_alarm(f, ALARM_ROOM, "the new leader's term: %s", message);
	begin_again(f);
	fleet_soon(f);
}

static void forked(void *ctx, int error, const char *message)
{
	struct fleet *f = ctx;

	if (error != -EILSEQ || f->freeing || f->duty == DUTY_LEADS) {
		settled(ctx, error, message);
		return;
	}
	// None of our records: the log is another one.
	ledger_fleet_reset(f->ledger, "the log does not go on from any of our records", settled, f);
}

void follow_part(struct fleet *f, const struct fleet_place *base, const char *leader)
{
	if (f->follow.applying > 0 || f->follow.settling)
		return;
	log_warning(
		"fleet %s: %s leads from record %" PRIu64 "-%" PRIu64 " on, ours is %" PRIu64
		"-%" PRIu64 ": what came after stays in force here and goes up",
		f->conf->id,
		leader,
		base->epoch,
		base->number,
		f->follow.expect.epoch,
		f->follow.expect.number
	);
	fleet_terms_cut(&f->terms, base->epoch);
	fleet_terms_keep(f);
	f->follow.settling = true;
	f->follow.forked_ms = fleet_now_ms();
	f->calls++;
	ledger_fleet_fork(f->ledger, base, forked, f);
}

// The record is a term's first, and its base is behind us.
static void fork_settle(struct fleet *f, const struct fleet_record *record)
{
	char leader[FLEET_NAME_MAX] = "?";

	fleet_epoch_record_parse(record, leader);
	follow_part(f, &record->before, leader);
}

static bool follows(const struct fleet_place *at, const struct fleet_record *record)
{
	return record->before.epoch == at->epoch && record->before.number == at->number
		&& memcmp(record->before.mac, at->mac, FLEET_MAC_LEN) == 0;
}

static void queue_pop(struct fleet *f)
{
	struct fleet_queued *q = STAILQ_FIRST(&f->follow.queue);

	STAILQ_REMOVE_HEAD(&f->follow.queue, entry);
	f->follow.octets -= q->record.len;
	free(q);
}

static void apply(struct fleet *f, const struct fleet_record *record)
{
	struct fleet_follow *w = &f->follow;

	w->expect = (struct fleet_place){.epoch = record->epoch, .number = record->number};
	memcpy(w->expect.mac, record->mac, FLEET_MAC_LEN);
	if (record->kind == FLEET_EPOCH) {
		fleet_terms_add(&f->terms, record->epoch, &record->before);
		fleet_terms_keep(f);
	}
	w->applying++;
	f->calls++;
	ledger_fleet_apply(f->ledger, record, applied, f);
}

static void gap(struct fleet *f, const struct fleet_record *record)
{
	char why[120];

	if (f->follow.applying > 0)
		return;
	snprintf(
		why,
		sizeof(why),
		"record %" PRIu64 "-%" PRIu64 " does not follow ours, %" PRIu64 "-%" PRIu64,
		record->epoch,
		record->number,
		f->follow.expect.epoch,
		f->follow.expect.number
	);
	resync_want(f, ALARM_GAP, why);
	begin_again(f);
}

static void pump(struct fleet *f)
{
	struct fleet_follow *w = &f->follow;
	struct fleet_queued *q;

	while (!w->broken && !w->settling && f->duty != DUTY_LEADS && w->applying < APPLYING_MAX
	       && (q = STAILQ_FIRST(&w->queue))) {
		const struct fleet_record *record = &q->record;
		const struct fleet_id id = {record->epoch, record->number};

		if (follows(&w->expect, record)) {
			apply(f, record);
		} else if (fleet_id_compare(id, fleet_place_id(&w->expect)) > 0) {
			if (record->kind == FLEET_EPOCH
			    && record->before.number <= w->expect.number)
				fork_settle(f, record);
			else
				gap(f, record);
			return;
		}
		if (!STAILQ_EMPTY(&w->queue))
			queue_pop(f);
	}
}

// --- reading

static bool record_take(struct fleet *f, const redisReply *entry)
{
	struct fleet_record record;
	struct fleet_queued *q;

	if (fleet_record_parse(entry, &record) < 0
	    || fleet_seal_record_verify(f->seal, &record) < 0) {
		const redisReply *id = entry->elements > 0 ? entry->element[0] : NULL;

		fleet_alarm(
			f,
			ALARM_FORGED,
			"entry %.40s of the log is not sealed: nothing behind it is read",
			id && id->str ? id->str : "?"
		);
		f->follow.hold_until_ms = fleet_now_ms() + HOLD_MS;
		return false;
	}
	q = malloc(sizeof(*q) + record.len);
	if (!q)
		return false;
	q->record = record;
	if (record.len)
		memcpy(q->data, record.data, record.len);
	q->record.data = q->data;
	STAILQ_INSERT_TAIL(&f->follow.queue, q, entry);
	f->follow.octets += record.len;
	f->octets_in += record.len + 128;
	f->follow.read_id = (struct fleet_id){record.epoch, record.number};
	return true;
}

static void log_read(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	struct fleet_follow *w = &f->follow;

	w->reading = false;
	if (!r || f->duty == DUTY_LEADS)
		return;
	if (r->type == REDIS_REPLY_ERROR) {
		fleet_refused(f, "reading the log", r);
		w->hold_until_ms = fleet_now_ms() + HOLD_MS;
		return;
	}
	if (r->type == REDIS_REPLY_NIL)
		w->caught_up = true;
	// What came for a place that we left is not ours to take.
	if (r->type == REDIS_REPLY_ARRAY && r->elements == 1 && !w->broken && !w->settling
	    && r->element[0]->elements == 2) {
		const redisReply *entries = r->element[0]->element[1];

		w->behind_ms = 0;
		for (size_t i = 0; i < entries->elements; i++)
			if (!record_take(f, entries->element[i]))
				break;
		pump(f);
	}
	follow_read(f);
}

void follow_read(struct fleet *f)
{
	struct fleet_follow *w = &f->follow;
	char id[FLEET_ID_MAX];

	if (f->freeing || f->duty == DUTY_LEADS || w->reading || f->up.reading || w->broken
	    || w->settling || w->octets >= QUEUE_MAX || f->resync.running
	    || (f->resync.wanted && f->resync.stalls)
	    || (f->duty == DUTY_TAKES && f->lock.take >= TAKE_CLAIM) || !redis_conn_ready(f->reader)
	    || fleet_now_ms() < w->hold_until_ms)
		return;
	fleet_id_print(w->read_id, id);
	w->reading = REDIS_SEND(
			     f->reader,
			     log_read,
			     f,
			     "XREAD",
			     "COUNT",
			     COUNT,
			     "BLOCK",
			     BLOCK_MS,
			     "STREAMS",
			     f->keys[KEY_LOG],
			     id
		     )
		== 0;
}

// --- the head

static void seen(void *ctx, int error, const char *message)
{
	struct fleet *f = ctx;

	(void)message;
	if (!fleet_back(f))
		return;
	if (error == -EEXIST)
		fleet_alarm(f, ALARM_LEADERS, "two gateways lead one epoch");
}

static void head_grew(struct fleet *f, const struct fleet_head *h, int64_t now)
{
	struct fleet_follow *w = &f->follow;
	char leader[FLEET_NAME_MAX];
	uint64_t epoch = ledger_fleet_epoch(f->ledger, leader);

	if (h->place.epoch < epoch) {
		fleet_alarm(
			f,
			ALARM_REWOUND,
			"%s leads in epoch %" PRIu64 ", %" PRIu64 " is known",
			h->leader,
			h->place.epoch,
			epoch
		);
		return;
	}
	w->head = *h;
	w->head_known = true;
	w->head_grew_ms = now;
	if (h->place.epoch > epoch || (h->place.epoch == epoch && strcmp(leader, h->leader) != 0)) {
		int rc;

		f->calls++;
		rc = ledger_fleet_epoch_see(f->ledger, h->place.epoch, h->leader, seen, f);
		if (rc == -EEXIST)
			fleet_alarm(
				f,
				ALARM_LEADERS,
				"%s and %s lead epoch %" PRIu64,
				leader,
				h->leader,
				epoch
			);
	}
	if (!h->gone)
		fleet_alarm_end(f, ALARM_NO_LEADER);
}

static void head_against_place(struct fleet *f, const struct fleet_head *h, int64_t now)
{
	struct fleet_follow *w = &f->follow;
	struct fleet_id place = fleet_id(f), head = fleet_place_id(&h->place);
	// The head was written after the last look: it is not behind what we held then.
	bool rewound = fleet_id_compare(head, w->looked_id) < 0;
	int order = fleet_id_compare(head, place);

	w->looked_id = place;
	if (rewound) {
		fleet_alarm(
			f,
			ALARM_REWOUND,
			"the head is at %" PRIu64 "-%" PRIu64 ", we are at %" PRIu64 "-%" PRIu64,
			head.epoch,
			head.number,
			place.epoch,
			place.number
		);
		return;
	}
	fleet_alarm_end(f, ALARM_REWOUND);
	if (order <= 0 || !follow_idle(f) || !w->caught_up) {
		w->behind_ms = 0;
		if (order == 0 && !f->resync.wanted)
			fleet_alarm_end(f, ALARM_GAP);
		return;
	}
	if (!w->behind_ms)
		w->behind_ms = now;
	else if (now - w->behind_ms >= BEHIND_MS)
		resync_want(
			f, ALARM_GAP, "the leader is ahead, and its records are not in the log"
		);
}

static void head_read(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	struct fleet_follow *w = &f->follow;
	int64_t now = fleet_now_ms();
	json_t *json = NULL;
	struct fleet_head h;

	w->head_asked = false;
	if (!r || f->duty == DUTY_LEADS || r->type != REDIS_REPLY_STRING)
		return;
	if (fleet_seal_parse(f->seal, FLEET_SEALS_HEAD, "", r->str, r->len, &json) < 0
	    || fleet_head_parse(json, &h) < 0) {
		fleet_alarm(f, ALARM_FORGED, "the head is not sealed");
		json_decref(json);
		return;
	}
	json_decref(json);
	if (w->head_known && strcmp(h.run, w->head.run) == 0 && h.beat <= w->head.beat) {
		if (h.beat < w->head.beat)
			fleet_alarm(f, ALARM_REWOUND, "an older head was put back");
		return;
	}
	head_grew(f, &h, now);
	if (w->head_known && h.beat == w->head.beat && strcmp(h.run, w->head.run) == 0)
		head_against_place(f, &h, now);
}

void follow_tick(struct fleet *f, int64_t now)
{
	struct fleet_follow *w = &f->follow;

	if (f->duty == DUTY_LEADS)
		return;
	follow_read(f);
	pump(f);
	if (fleet_up(f) && !w->head_asked && now - w->head_asked_ms >= HEAD_EVERY_MS) {
		w->head_asked_ms = now;
		w->head_asked
			= REDIS_SEND(f->commands, head_read, f, "GET", f->keys[KEY_HEAD]) == 0;
	}
	if (f->duty == DUTY_FOLLOWS && now - f->started_ms > FLEET_SILENT_MS
	    && now - w->head_grew_ms > FLEET_SILENT_MS)
		fleet_alarm(
			f,
			ALARM_NO_LEADER,
			"%s; what operators do stays local and is merged later",
			fleet_up(f) ? "nobody leads" : "Redis is not reached"
		);
	if (follow_idle(f) && !w->broken && now - w->compare_ms > 5000)
		compare(f);
}
