// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A follower that cannot go on from its place takes the newest checkpoint: its seal, then the
// chunks, each checked, into the ledger; then the log from there. One that begins behind our place
// is never taken (it could weaken): a newer one is asked for, and what is in force stays.

#include "control/fleet/fleet_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCH 8 // chunks at once: 512 KiB
#define IMPORTING_MAX 16
#define POLL_MS 500
#define RETRY_MS 1000
#define ASK_EVERY_MS 3000
#define AGAIN_MS 10000 // after one that was imported and did not help

static void fetch(struct fleet *f);

struct part {
	struct fleet *fleet;
	unsigned generation;
	uint32_t first;
	unsigned n;
};

void resync_want(struct fleet *f, enum fleet_alarm alarm, const char *why)
{
	struct fleet_resync *s = &f->resync;

	fleet_alarm(f, alarm, "%s", why);
	if (alarm == ALARM_GAP && !s->stalls) {
		s->stalls = true;
		s->next_ms = 0;
	}
	s->wanted = true;
}

void resync_stop(struct fleet *f)
{
	struct fleet_resync *s = &f->resync;

	if (s->running)
		ledger_fleet_import_abort(f->ledger);
	s->generation++;
	s->running = s->asking = s->fetching = s->ending = false;
	if (f->duty == DUTY_LEADS)
		s->wanted = s->stalls = false;
}

static void failed(struct fleet *f, const char *why)
{
	log_warning("fleet %s: the checkpoint is not taken: %s", f->conf->id, why);
	resync_stop(f);
	f->resync.next_ms = fleet_now_ms() + RETRY_MS;
}

static struct part *part_new(struct fleet *f, unsigned n)
{
	struct part *part = malloc(sizeof(*part));

	if (part)
		*part = (struct part){
			.fleet = f,
			.generation = f->resync.generation,
			.first = f->resync.fetched,
			.n = n,
		};
	return part;
}

// --- the ledger

static void ended(void *ctx, int error, const char *message)
{
	struct part *part = ctx;
	struct fleet *f = part->fleet;
	bool current = part->generation == f->resync.generation;
	struct fleet_resync *s = &f->resync;

	free(part);
	if (!fleet_back(f) || !current)
		return;
	if (error) {
		failed(f, message);
		return;
	}
	log_notice(
		"fleet %s: took the checkpoint at %" PRIu64 "-%" PRIu64,
		f->conf->id,
		s->checkpoint.from.epoch,
		s->checkpoint.from.number
	);
	f->terms = s->checkpoint.terms;
	fleet_terms_keep(f);
	s->running = s->wanted = s->stalls = s->ending = false;
	s->generation++;
	s->used = true;
	s->newer_than = fleet_place_id(&s->checkpoint.from);
	s->next_ms = fleet_now_ms() + AGAIN_MS;
	f->checkpoints_in++;
	fleet_alarm_end(f, ALARM_GAP);
	follow_begin(f);
	follow_read(f);
}

static void imported(void *ctx, int error, const char *message)
{
	struct part *part = ctx;
	struct fleet *f = part->fleet;
	bool current = part->generation == f->resync.generation;

	free(part);
	if (!fleet_back(f) || !current)
		return;
	if (error) {
		if (error == -EBADMSG)
			fleet_alarm(
				f, ALARM_VERSION, "a checkpoint is not understood: %s", message
			);
		else
			fleet_alarm(f, ALARM_ROOM, "a checkpoint cannot be taken: %s", message);
		failed(f, message);
		return;
	}
	f->resync.imported++;
	fetch(f);
}

static bool chunk_take(struct fleet *f, uint32_t index, const redisReply *value)
{
	struct part *part;
	char name[FLEET_CHECKPOINT_NAME_MAX + 16];
	const uint8_t *octets = (const uint8_t *)value->str;

	if (value->type != REDIS_REPLY_STRING) {
		failed(f, "a chunk is missing");
		return false;
	}
	snprintf(name, sizeof(name), "%s:%" PRIu32, f->resync.checkpoint.name, index);
	if ((size_t)value->len < FLEET_MAC_LEN || (size_t)value->len > FLEET_CHUNK_VALUE_MAX
	    || fleet_seal_verify(
		       f->seal,
		       FLEET_SEALS_CHUNK,
		       name,
		       octets + FLEET_MAC_LEN,
		       (size_t)value->len - FLEET_MAC_LEN,
		       octets
	       ) < 0) {
		fleet_alarm(f, ALARM_FORGED, "chunk %s is not sealed", name);
		up_resync_ask(f);
		failed(f, "a chunk is not sealed");
		return false;
	}
	part = part_new(f, 1);
	if (!part) {
		failed(f, "no memory");
		return false;
	}
	f->octets_in += (size_t)value->len;
	f->calls++;
	ledger_fleet_import(
		f->ledger,
		octets + FLEET_MAC_LEN,
		(size_t)value->len - FLEET_MAC_LEN,
		imported,
		part
	);
	return true;
}

// --- chunks

static void fetched(void *ctx, const redisReply *r)
{
	struct part *part = ctx;
	struct fleet *f = part->fleet;
	struct fleet_resync *s = &f->resync;
	const unsigned n = part->n;
	const bool current = part->generation == s->generation;

	free(part);
	if (!current)
		return;
	s->fetching = false;
	if (!r) {
		failed(f, "the connection was lost");
		return;
	}
	if (r->type != REDIS_REPLY_ARRAY || r->elements != n) {
		fleet_refused(f, "chunks", r);
		failed(f, "chunks cannot be read");
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (!chunk_take(f, s->fetched++, r->element[i]))
			return;
	fetch(f);
}

static void import_end(struct fleet *f)
{
	struct part *part = part_new(f, 0);

	if (!part) {
		failed(f, "no memory");
		return;
	}
	f->resync.ending = true;
	f->calls++;
	ledger_fleet_import_end(f->ledger, ended, part);
}

static void fetch(struct fleet *f)
{
	struct fleet_resync *s = &f->resync;
	const char *argv[2 + FETCH] = {"HMGET"};
	char *key = NULL, index[FETCH][12];
	struct part *part;
	unsigned n = 0;

	if (!s->running || s->fetching || s->ending)
		return;
	if (s->imported == s->checkpoint.chunks) {
		import_end(f);
		return;
	}
	if (s->fetched == s->checkpoint.chunks || s->fetched - s->imported > IMPORTING_MAX - FETCH)
		return;
	for (; n < FETCH && s->fetched + n < s->checkpoint.chunks; n++) {
		snprintf(index[n], sizeof(index[n]), "%" PRIu32, s->fetched + n);
		argv[2 + n] = index[n];
	}
	part = part_new(f, n);
	if (!part || asprintf(&key, "%s%s", f->chunks, s->checkpoint.name) < 0) {
		free(part);
		failed(f, "no memory");
		return;
	}
	argv[1] = key;
	s->fetching = redis_conn_send(f->commands, fetched, part, 2 + (int)n, argv, NULL) == 0;
	free(key);
	if (!s->fetching) {
		free(part);
		failed(f, "not connected");
	}
}

static void begun(void *ctx, int error, const char *message)
{
	struct part *part = ctx;
	struct fleet *f = part->fleet;
	bool current = part->generation == f->resync.generation;

	free(part);
	if (!fleet_back(f) || !current)
		return;
	if (error)
		failed(f, message);
	else
		fetch(f);
}

// --- the seal

static bool usable(const struct fleet *f, const struct fleet_checkpoint *c)
{
	struct fleet_id from = fleet_place_id(&c->from);
	int order = fleet_id_compare(from, fleet_id(f));

	// One that begins at our place closes no gap behind it.
	if (order < 0 || (order == 0 && f->resync.stalls))
		return false;
	return !f->resync.used || fleet_id_compare(from, f->resync.newer_than) > 0;
}

static void begin(struct fleet *f, const struct fleet_checkpoint *c)
{
	struct fleet_resync *s = &f->resync;
	struct part *part;

	s->generation++;
	s->checkpoint = *c;
	s->fetched = s->imported = 0;
	part = part_new(f, 0);
	if (!part)
		return;
	s->running = true;
	follow_stop(f);
	log_notice(
		"fleet %s: takes the checkpoint at %" PRIu64 "-%" PRIu64 ", %" PRIu32 " chunks",
		f->conf->id,
		c->from.epoch,
		c->from.number,
		c->chunks
	);
	f->calls++;
	ledger_fleet_import_begin(f->ledger, &c->from, &c->to, begun, part);
}

static void sealed(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	struct fleet_resync *s = &f->resync;
	struct fleet_checkpoint c;
	json_t *json = NULL;
	int rc = -ENOENT;

	s->asking = false;
	s->next_ms = fleet_now_ms() + POLL_MS;
	if (!r || !s->wanted || s->running || f->duty == DUTY_LEADS)
		return;
	if (r->type == REDIS_REPLY_STRING) {
		rc = fleet_seal_parse(f->seal, FLEET_SEALS_CHECKPOINT, "", r->str, r->len, &json);
		if (rc >= 0)
			rc = fleet_checkpoint_parse(json, &c);
		json_decref(json);
		if (rc < 0)
			fleet_alarm(f, ALARM_FORGED, "the checkpoint's seal is not ours");
	}
	// The ledger must have what is under way: it is not taken back.
	if (rc >= 0 && usable(f, &c) && f->follow.applying == 0 && !f->follow.settling) {
		struct fleet_place place;
		const struct fleet_place *base;

		// What it never had must not be swept: it is ours first, and goes up.
		ledger_fleet_place(f->ledger, &place);
		base = fleet_terms_part(&c.terms, &place);
		if (base)
			follow_part(f, base, "another");
		else
			begin(f, &c);
		return;
	}
	if ((rc < 0 || !usable(f, &c)) && fleet_now_ms() - s->asked_up_ms >= ASK_EVERY_MS)
		up_resync_ask(f);
}

void resync_tick(struct fleet *f, int64_t now)
{
	struct fleet_resync *s = &f->resync;

	if (!s->wanted || s->running || s->asking || f->duty == DUTY_LEADS || !fleet_up(f)
	    || now < s->next_ms)
		return;
	s->asking = REDIS_SEND(f->commands, sealed, f, "GET", f->keys[KEY_SEAL]) == 0;
}
