// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The leader's checkpoints: chunks into a hash of their own, which ends by itself unless the seal
// that names it is written, in one step and only while the lock is ours. What the one before
// occupied, and the log up to the new one's begin, go a while later.
//
// A new one: none is there (or not by our first key, or its chunks are gone), a follower asks, the
// log since the last is longer than 10,000 records or twice its octets, a term that the last one
// does not cover.

#include "control/fleet/fleet_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW ((size_t)1 << 20) // octets sent and not answered
#define RECORDS_MAX 10000
#define OCTETS_MIN ((uint64_t)8 << 20) // a short log is no reason
#define LIFE_S "600" // of chunks without a seal
#define TIDY_MS 20000 // readers of the one before go on so long
#define CHECK_MS 5000
#define RETRY_MS 2000
#define FORK_WAIT_MS 5000 // to the first one behind a branch
#define BETWEEN_MS 2000 // from one to the next, where followers ask

static const char seal_script[]
	= "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
	  "if redis.call('HLEN', KEYS[2]) ~= tonumber(ARGV[3]) then return 0 end "
	  "redis.call('PERSIST', KEYS[2]) "
	  "redis.call('SET', KEYS[3], ARGV[2]) return 1";

struct sent {
	struct fleet *fleet;
	unsigned generation;
	size_t len;
};

static void finish(struct fleet *f);

void checkpoint_want(struct fleet *f, const char *why)
{
	if (f->write.wanted)
		return;
	f->write.wanted = true;
	snprintf(f->write.why, sizeof(f->write.why), "%s", why);
}

static char *chunks_key(const struct fleet *f, const char *name)
{
	char *key;

	return asprintf(&key, "%s%s", f->chunks, name) < 0 ? NULL : key;
}

static void chunks_unlink(struct fleet *f, const char *name)
{
	char *key = chunks_key(f, name);

	if (key && fleet_up(f))
		REDIS_SEND(f->commands, NULL, NULL, "UNLINK", key);
	free(key);
}

void checkpoint_stop(struct fleet *f)
{
	struct fleet_write *w = &f->write;

	if (w->export)
		ledger_fleet_export_free(w->export);
	if ((w->export || w->exported) && f->commands)
		chunks_unlink(f, w->next.name);
	w->export = NULL;
	w->exported = w->sealing = w->paused = w->checking = false;
	w->under_way = 0;
	w->generation++;
}

static void failed(struct fleet *f, const char *why)
{
	log_warning("fleet %s: no checkpoint: %s", f->conf->id, why);
	checkpoint_stop(f);
	checkpoint_want(f, "the last try failed");
	f->write.next_ms = fleet_now_ms() + RETRY_MS;
}

// --- sealing

static void sealed(void *ctx, const redisReply *r)
{
	struct sent *sent = ctx;
	struct fleet *f = sent->fleet;
	struct fleet_write *w = &f->write;
	bool current = sent->generation == w->generation;

	free(sent);
	if (!current || !r)
		return;
	if (r->type != REDIS_REPLY_INTEGER || r->integer != 1) {
		fleet_refused(f, "a checkpoint's seal", r);
		failed(f, "it was not sealed");
		return;
	}
	log_notice(
		"fleet %s: checkpoint at %" PRIu64 "-%" PRIu64 ", %" PRIu32 " chunks, %" PRIu64
		" octets, %" PRId64 " ms",
		f->conf->id,
		w->next.from.epoch,
		w->next.from.number,
		w->next.chunks,
		w->next.octets,
		fleet_now_ms() - w->began_ms
	);
	if (w->old[0])
		chunks_unlink(f, w->old);
	snprintf(w->old, sizeof(w->old), "%s", w->current_known ? w->current.name : "");
	w->current = w->next;
	w->current_known = true;
	w->exported = w->sealing = false;
	w->generation++;
	w->tidy_ms = fleet_now_ms() + TIDY_MS;
	f->checkpoints_out++;
}

static void seal(struct fleet *f)
{
	struct fleet_write *w = &f->write;
	json_t *json = fleet_checkpoint_json(&w->next);
	char *text = fleet_seal_print(f->seal, FLEET_SEALS_CHECKPOINT, "", json);
	char *key = chunks_key(f, w->next.name), count[16];
	struct sent *sent = malloc(sizeof(*sent));

	json_decref(json);
	snprintf(count, sizeof(count), "%" PRIu32, w->next.chunks);
	if (sent)
		*sent = (struct sent){.fleet = f, .generation = w->generation};
	w->sealing = text && key && sent
		&& REDIS_SEND(
			   f->commands,
			   sealed,
			   sent,
			   "EVAL",
			   seal_script,
			   "3",
			   f->keys[KEY_LEADER],
			   key,
			   f->keys[KEY_SEAL],
			   f->lock.value,
			   text,
			   count
		   ) == 0;
	free(key);
	free(text);
	if (!w->sealing) {
		free(sent);
		failed(f, "not connected");
	}
}

static void finish(struct fleet *f)
{
	struct fleet_write *w = &f->write;

	if (w->exported && !w->sealing && w->under_way == 0)
		seal(f);
}

// --- chunks

static void stored(void *ctx, const redisReply *r)
{
	struct sent *sent = ctx;
	struct fleet *f = sent->fleet;
	struct fleet_write *w = &f->write;

	if (sent->generation == w->generation && r) {
		w->under_way -= sent->len;
		if (r->type == REDIS_REPLY_ERROR) {
			fleet_refused(f, "a chunk", r);
			failed(f, "a chunk was refused");
		} else if (w->paused && w->under_way <= WINDOW / 2) {
			w->paused = false;
			ledger_fleet_export_resume(w->export);
		} else {
			finish(f);
		}
	}
	free(sent);
}

static int chunk_send(struct fleet *f, const uint8_t *data, size_t len)
{
	struct fleet_write *w = &f->write;
	uint8_t *value = malloc(FLEET_MAC_LEN + len);
	struct sent *sent = malloc(sizeof(*sent));
	char *key = chunks_key(f, w->next.name), index[12], name[FLEET_CHECKPOINT_NAME_MAX + 16];
	int error = -ENOMEM;

	if (value && sent && key) {
		const char *argv[4] = {"HSET", key, index, (const char *)value};
		const size_t lens[4]
			= {4,
			   strlen(key),
			   (size_t)snprintf(index, sizeof(index), "%" PRIu32, w->next.chunks),
			   FLEET_MAC_LEN + len};

		*sent = (struct sent){.fleet = f, .generation = w->generation, .len = len};
		snprintf(name, sizeof(name), "%s:%s", w->next.name, index);
		fleet_seal_make(f->seal, FLEET_SEALS_CHUNK, name, data, len, value);
		memcpy(value + FLEET_MAC_LEN, data, len);
		error = redis_conn_send(f->commands, stored, sent, 4, argv, lens);
		if (!error && w->next.chunks % 256 == 0)
			REDIS_SEND(f->commands, NULL, NULL, "EXPIRE", key, LIFE_S);
	}
	if (error)
		free(sent);
	free(value);
	free(key);
	return error;
}

static bool chunk_made(void *ctx, const void *data, size_t len)
{
	struct fleet *f = ctx;
	struct fleet_write *w = &f->write;

	// Where it cannot be sent the next tick gives up.
	if (chunk_send(f, data, len) < 0) {
		w->broken = true;
		return false;
	}
	w->next.chunks++;
	w->next.octets += len;
	w->under_way += len;
	w->paused = w->under_way >= WINDOW;
	return !w->paused;
}

static void
exported(void *ctx, int error, const struct fleet_place *from, const struct fleet_place *to)
{
	struct fleet *f = ctx;
	struct fleet_write *w = &f->write;

	w->export = NULL;
	if (error) {
		failed(f, strerror(-error));
		return;
	}
	w->next.from = *from;
	w->next.to = *to;
	w->next.terms = f->terms;
	w->exported = true;
	finish(f);
}

static void begin(struct fleet *f, int64_t now)
{
	struct fleet_write *w = &f->write;
	struct fleet_place place;
	int error;

	ledger_fleet_place(f->ledger, &place);
	w->generation++;
	w->next = (struct fleet_checkpoint){.wall_ms = fleet_wall_ms()};
	snprintf(
		w->next.name,
		sizeof(w->next.name),
		"%" PRIu64 "-%" PRIu64 "-%lx",
		place.epoch,
		place.number,
		random()
	);
	w->began_ms = now;
	w->next_ms = now + BETWEEN_MS;
	w->paused = w->broken = w->exported = w->sealing = false;
	w->under_way = 0;
	w->wanted = false;
	f->publish.since_records = f->publish.since_octets = 0;
	log_info("fleet %s: begins a checkpoint: %s", f->conf->id, w->why);
	error = ledger_fleet_export(f->ledger, chunk_made, exported, f, &w->export);
	if (error)
		failed(f, strerror(-error));
}

// --- the one that stands

static bool first_key_is(const struct fleet *f, const redisReply *r, struct fleet_checkpoint *c)
{
	json_t *json = NULL;
	int key = fleet_seal_parse(f->seal, FLEET_SEALS_CHECKPOINT, "", r->str, r->len, &json);
	bool good = key == 0 && fleet_checkpoint_parse(json, c) == 0;

	json_decref(json);
	return good;
}

static void counted(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	struct fleet_write *w = &f->write;

	w->checking = false;
	if (!r || f->duty != DUTY_LEADS || w->export || w->exported || !w->current_known)
		return;
	if (r->type != REDIS_REPLY_INTEGER || (uint64_t)r->integer != w->current.chunks) {
		w->current_known = false;
		fleet_alarm(f, ALARM_REWOUND, "chunks of the checkpoint are gone");
		checkpoint_want(f, "chunks are gone");
	}
}

static void checked(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	struct fleet_write *w = &f->write;
	struct fleet_checkpoint c;
	char *key;

	w->checking = false;
	if (!r || f->duty != DUTY_LEADS || w->export || w->exported)
		return;
	if (r->type != REDIS_REPLY_STRING || !first_key_is(f, r, &c)) {
		if (w->current_known)
			fleet_alarm(f, ALARM_REWOUND, "the checkpoint's seal was taken away");
		if (r->type == REDIS_REPLY_ERROR)
			REDIS_SEND(f->commands, NULL, NULL, "UNLINK", f->keys[KEY_SEAL]);
		w->current_known = false;
		checkpoint_want(f, "there is none");
		return;
	}
	if (w->current_known && strcmp(c.name, w->current.name) != 0) {
		fleet_alarm(f, ALARM_REWOUND, "another checkpoint was put there");
		checkpoint_want(f, "another one was put there");
	}
	if (!w->current_known && fleet_id_compare(fleet_place_id(&c.from), fleet_id(f)) > 0)
		checkpoint_want(f, "it is ahead of the ledger");
	w->current = c;
	w->current_known = true;
	key = chunks_key(f, c.name);
	w->checking = key && REDIS_SEND(f->commands, counted, f, "HLEN", key) == 0;
	free(key);
}

static void check(struct fleet *f, int64_t now)
{
	f->write.checked_ms = now;
	f->write.checking = REDIS_SEND(f->commands, checked, f, "GET", f->keys[KEY_SEAL]) == 0;
}

void checkpoint_check(struct fleet *f)
{
	f->write.current_known = false;
	f->write.checked_ms = 0;
}

void checkpoint_begin(struct fleet *f, bool fork)
{
	struct fleet_write *w = &f->write;

	checkpoint_stop(f);
	checkpoint_check(f);
	w->next_ms = 0;
	f->publish.since_records = f->publish.since_octets = 0;
	if (!fork)
		return;
	// Lists are read first: whoever takes it lets go of members that only the branch had.
	checkpoint_want(f, "the log has a branch that ended");
	w->next_ms = fleet_now_ms() + FORK_WAIT_MS;
}

// Readers of the checkpoint before had their time.
static void tidy(struct fleet *f)
{
	struct fleet_write *w = &f->write;
	char id[FLEET_ID_MAX];

	w->tidy_ms = 0;
	if (w->old[0])
		chunks_unlink(f, w->old);
	w->old[0] = '\0';
	// The record at its begin stays: the log is never without one.
	fleet_id_print(fleet_place_id(&w->current.from), id);
	REDIS_SEND(f->commands, NULL, NULL, "XTRIM", f->keys[KEY_LOG], "MINID", "~", id);
	if (w->current.from.number > 0)
		ledger_fleet_trim(f->ledger, w->current.from.number - 1);
}

void checkpoint_tick(struct fleet *f, int64_t now)
{
	struct fleet_write *w = &f->write;
	const struct fleet_publish *p = &f->publish;

	if (f->duty != DUTY_LEADS || !fleet_up(f) || p->state != PUBLISH_FLOWS)
		return;
	if (w->tidy_ms && now >= w->tidy_ms)
		tidy(f);
	if (w->export && w->broken)
		failed(f, "a chunk cannot be sent");
	if (w->export || w->exported)
		return;
	if (!w->checking && now - w->checked_ms >= CHECK_MS)
		check(f, now);
	if (w->current_known
	    && (p->since_records > RECORDS_MAX
		|| (p->since_octets > OCTETS_MIN && p->since_octets > 2 * w->current.octets)))
		checkpoint_want(f, "the log has grown");
	if (w->wanted && now >= w->next_ms)
		begin(f, now);
}
