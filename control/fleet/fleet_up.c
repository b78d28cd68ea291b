// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Upward: what operators asked on a follower (durable in its ledger, sent again until a record
// answers it, done once), hints (lost where Redis is), asks for a checkpoint, and denials (kept
// until Redis took them; taken once for each gateway, run and number).

#include "control/fleet/fleet_internal.h"
#include "rules/siphash.h"

// uthash's own function does not survive clang's warnings.
static const uint8_t reporters_key[16] = "stanch reporters";
#define HASH_FUNCTION(key, len, hash) ((hash) = (unsigned)siphash64(reporters_key, (key), (len)))
#include <uthash.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UP_MAX "20000" // entries of the stream
#define DENIALS_ENTRIES_MAX "4000"
#define DENIALS_MAX ((size_t)4 << 20) // octets that wait here
#define DENIAL_MAX ((size_t)60 << 10)
#define UNDER_WAY_MAX 64
#define ASKED_MAX 512 // asks in the leader's ledger: nothing is read above it
#define RESEND_MS 5000
#define TRIM_MS 10000
#define HINT_AGE_MS 60000 // older ones are of another leader's time
#define REPORTERS_MAX 4096
#define FUTURE_MS 3600000 // an entry so far ahead keeps others from coming

struct fleet_reporter {
	char name[FLEET_NAME_MAX + FLEET_RUN_MAX]; // gateway and run
	uint64_t seq;
	UT_hash_handle hh;
};

struct denial_sent {
	struct fleet *fleet;
	uint64_t seq;
};

// --- sending

static void up_sent(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;

	if (r && r->type == REDIS_REPLY_ERROR)
		fleet_refused(f, "what goes up", r);
}

static int up_send(struct fleet *f, const struct fleet_up *u)
{
	json_t *json = fleet_up_json(u);
	char *text = fleet_seal_print(f->seal, FLEET_SEALS_UP, "", json);
	int error = -ENOMEM;

	json_decref(json);
	if (text)
		error = REDIS_SEND(
			f->commands,
			up_sent,
			f,
			"XADD",
			f->keys[KEY_UP],
			"MAXLEN",
			"~",
			UP_MAX,
			"*",
			"t",
			text
		);
	free(text);
	return error;
}

static struct fleet_up message(const struct fleet *f, enum fleet_up_kind kind, const char *text)
{
	struct fleet_up u = {.kind = kind, .wall_ms = fleet_wall_ms(), .text = text};

	snprintf(u.gateway, sizeof(u.gateway), "%s", f->conf->gateway);
	return u;
}

void fleet_hint(struct fleet *f, const char *json)
{
	struct fleet_up u = message(f, FLEET_UP_HINT, json);

	if (f->duty == DUTY_LEADS)
		f->events.hint(f->events.ctx, json);
	else if (fleet_up(f))
		up_send(f, &u);
}

void up_resync_ask(struct fleet *f)
{
	struct fleet_up u = message(f, FLEET_UP_RESYNC, NULL);

	f->resync.asked_up_ms = fleet_now_ms();
	if (fleet_up(f))
		up_send(f, &u);
}

static bool ask_send(void *ctx, uint64_t seq, const char *json)
{
	struct fleet *f = ctx;
	struct fleet_up u = message(f, FLEET_UP_ASK, json);

	u.seq = seq;
	if (up_send(f, &u) < 0)
		return false;
	f->up.sent = seq;
	return true;
}

static bool ask_oldest(void *ctx, uint64_t seq, const char *json)
{
	uint64_t *oldest = ctx;

	(void)json;
	*oldest = seq;
	return false;
}

// In the order in which operators asked. One that was lost with a leader is sent again before any
// that was asked after it: else what was blocked last ends.
static void asks_send(struct fleet *f, int64_t now)
{
	struct fleet_up_state *u = &f->up;
	uint64_t before, oldest = 0;

	if (u->sent && now - u->sent_ms >= RESEND_MS)
		u->sent = 0;
	before = u->sent;
	ledger_fleet_asks(f->ledger, 0, 1, ask_oldest, &oldest);
	if (oldest == 0 || oldest <= u->sent)
		return;
	ledger_fleet_asks(f->ledger, u->sent, UNDER_WAY_MAX, ask_send, f);
	if (u->sent != before)
		u->sent_ms = now;
}

// --- denials, sent

static struct fleet_denial *denial_find(struct fleet *f, uint64_t seq)
{
	struct fleet_denial *d;

	STAILQ_FOREACH(d, &f->up.denials, entry)
	if (d->seq == seq)
		return d;
	return NULL;
}

static void denial_drop(struct fleet *f, struct fleet_denial *d)
{
	STAILQ_REMOVE(&f->up.denials, d, fleet_denial, entry);
	f->up.denials_octets -= d->len;
	free(d);
}

static void denial_sent(void *ctx, const redisReply *r)
{
	struct denial_sent *sent = ctx;
	struct fleet *f = sent->fleet;
	struct fleet_denial *d = denial_find(f, sent->seq);

	if (d && r && r->type == REDIS_REPLY_STRING) {
		denial_drop(f, d);
	} else if (d) {
		d->sent = false;
		if (r)
			fleet_refused(f, "denials", r);
	}
	free(sent);
}

static void denial_name(const char *gateway, const char *run, uint64_t seq, char name[128])
{
	snprintf(name, 128, "%s %s %" PRIu64, gateway, run, seq);
}

static int denial_send(struct fleet *f, struct fleet_denial *d)
{
	struct denial_sent *sent = malloc(sizeof(*sent));
	uint8_t mac[FLEET_MAC_LEN];
	char name[128];
	const char *argv[] = {
		"XADD",
		f->keys[KEY_DENIALS],
		"MAXLEN",
		"~",
		DENIALS_ENTRIES_MAX,
		"*",
		"g",
		name,
		"d",
		(const char *)d->octets,
		"m",
		(const char *)mac,
	};
	size_t lens[12];
	int error;

	if (!sent)
		return -ENOMEM;
	*sent = (struct denial_sent){f, d->seq};
	denial_name(f->conf->gateway, f->run, d->seq, name);
	fleet_seal_make(f->seal, FLEET_SEALS_DENIALS, name, d->octets, d->len, mac);
	for (size_t i = 0; i < 12; i++)
		if (i != 9 && i != 11)
			lens[i] = strlen(argv[i]);
	lens[9] = d->len;
	lens[11] = sizeof(mac);
	error = redis_conn_send(f->commands, denial_sent, sent, 12, argv, lens);
	if (error)
		free(sent);
	else
		d->sent = true;
	return error;
}

static void denials_send(struct fleet *f)
{
	struct fleet_denial *d;
	unsigned under_way = 0;

	STAILQ_FOREACH(d, &f->up.denials, entry)
	{
		if (under_way++ >= 16)
			return;
		if (!d->sent && denial_send(f, d) < 0)
			return;
	}
}

int fleet_denials(struct fleet *f, const void *octets, size_t len)
{
	struct fleet_denial *d;

	if (len > DENIAL_MAX)
		return -EMSGSIZE;
	if (f->duty == DUTY_LEADS) {
		f->events.denials(f->events.ctx, f->conf->gateway, octets, len);
		return 0;
	}
	if (f->up.denials_octets + len > DENIALS_MAX)
		return -ENOBUFS;
	d = malloc(sizeof(*d) + len);
	if (!d)
		return -ENOMEM;
	*d = (struct fleet_denial){.seq = ++f->up.denials_seq, .len = len};
	memcpy(d->octets, octets, len);
	STAILQ_INSERT_TAIL(&f->up.denials, d, entry);
	f->up.denials_octets += len;
	if (fleet_up(f))
		denials_send(f);
	return 0;
}

// A follower that leads now takes its own.
static void denials_own(struct fleet *f)
{
	struct fleet_denial *d;

	while ((d = STAILQ_FIRST(&f->up.denials))) {
		if (!d->sent)
			f->events.denials(f->events.ctx, f->conf->gateway, d->octets, d->len);
		denial_drop(f, d);
	}
}

// --- the leader: asks and hints

static void asked(void *ctx, int error, const char *message)
{
	struct fleet *f = ctx;

	if (!fleet_back(f))
		return;
	f->up.under_way--;
	if (error == -EBADMSG) {
		fleet_alarm(f, ALARM_VERSION, "an ask is not understood: %s", message);
	} else if (error && error != -EPERM) {
		// It comes again: from what the ledger has dealt with.
		const char *id = ledger_fleet_up(f->ledger);

		snprintf(f->up.id, sizeof(f->up.id), "%s", id[0] ? id : "0-0");
		f->up.hold_until_ms = fleet_now_ms() + 1000;
	}
	up_read(f);
}

static const redisReply *field(const redisReply *entry, char name)
{
	const redisReply *fields = entry->elements == 2 ? entry->element[1] : NULL;

	for (size_t i = 0; fields && i + 1 < fields->elements; i += 2)
		if (fields->element[i]->type == REDIS_REPLY_STRING
		    && fields->element[i + 1]->type == REDIS_REPLY_STRING
		    && fields->element[i]->len == 1 && fields->element[i]->str[0] == name)
			return fields->element[i + 1];
	return NULL;
}

static void up_take(struct fleet *f, const char *id, const redisReply *entry)
{
	const redisReply *text = field(entry, 't');
	json_t *json = NULL;
	struct fleet_up u;

	if (!text || fleet_seal_parse(f->seal, FLEET_SEALS_UP, "", text->str, text->len, &json) < 0
	    || fleet_up_parse(json, &u) < 0) {
		fleet_alarm(f, ALARM_FORGED, "what came upward at %.40s is not sealed", id);
	} else if (u.kind == FLEET_UP_ASK) {
		f->up.under_way++;
		f->calls++;
		ledger_fleet_asked(f->ledger, u.gateway, u.seq, id, u.text, asked, f);
	} else if (fleet_wall_ms() - u.wall_ms > HINT_AGE_MS) {
		// Its sender has been heard since, by another leader.
	} else if (u.kind == FLEET_UP_HINT) {
		f->events.hint(f->events.ctx, u.text);
	} else {
		log_info("fleet %s: %s asks for a checkpoint", f->conf->id, u.gateway);
		checkpoint_want(f, "a gateway asks for it");
	}
	json_decref(json);
}

// --- the leader: denials

static bool reported(struct fleet *f, const char *gateway, const char *run, uint64_t seq)
{
	struct fleet_reporter *r, *oldest;
	char name[FLEET_NAME_MAX + FLEET_RUN_MAX];

	snprintf(name, sizeof(name), "%s %s", gateway, run);
	HASH_FIND_STR(f->up.reporters, name, r);
	if (r && seq <= r->seq)
		return true;
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return false;
		snprintf(r->name, sizeof(r->name), "%s", name);
		HASH_ADD_STR(f->up.reporters, name, r);
		if (HASH_COUNT(f->up.reporters) > REPORTERS_MAX) {
			oldest = f->up.reporters;
			HASH_DEL(f->up.reporters, oldest);
			free(oldest);
		}
	}
	r->seq = seq;
	return false;
}

static void denials_take(struct fleet *f, const char *id, const redisReply *entry)
{
	const redisReply *name = field(entry, 'g'), *data = field(entry, 'd'),
			 *mac = field(entry, 'm');
	char gateway[FLEET_NAME_MAX], run[FLEET_RUN_MAX];
	uint64_t seq;

	if (!name || !data || !mac || mac->len != FLEET_MAC_LEN
	    || fleet_seal_verify(
		       f->seal,
		       FLEET_SEALS_DENIALS,
		       name->str,
		       data->str,
		       data->len,
		       (const uint8_t *)mac->str
	       ) < 0
	    || sscanf(name->str, "%63s %16s %" SCNu64, gateway, run, &seq) != 3) {
		fleet_alarm(f, ALARM_FORGED, "denials at %.40s are not sealed", id);
		return;
	}
	if (!reported(f, gateway, run, seq))
		f->events.denials(f->events.ctx, gateway, data->str, data->len);
}

// --- the leader: reading

static void stream_take(struct fleet *f, const redisReply *stream)
{
	const redisReply *key, *entries;
	bool denials;
	char *last;

	if (stream->type != REDIS_REPLY_ARRAY || stream->elements != 2)
		return;
	key = stream->element[0];
	entries = stream->element[1];
	if (key->type != REDIS_REPLY_STRING || entries->type != REDIS_REPLY_ARRAY)
		return;
	denials = strcmp(key->str, f->keys[KEY_DENIALS]) == 0;
	last = denials ? f->up.denials_id : f->up.id;
	for (size_t i = 0; i < entries->elements; i++) {
		const redisReply *entry = entries->element[i];
		struct fleet_id id;

		if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2
		    || !entry->element[0]->str
		    || fleet_id_parse(entry->element[0]->str, entry->element[0]->len, &id) < 0)
			continue;
		if ((int64_t)(id.epoch >> 1) > (fleet_wall_ms() + FUTURE_MS) / 2) {
			// Nobody could add behind it.
			fleet_alarm(f, ALARM_FORGED, "an id of %s is far ahead", key->str);
			REDIS_SEND(f->commands, NULL, NULL, "UNLINK", key->str);
			snprintf(last, FLEET_ID_MAX, "0-0");
			return;
		}
		snprintf(last, FLEET_ID_MAX, "%s", entry->element[0]->str);
		if (denials)
			denials_take(f, last, entry);
		else
			up_take(f, last, entry);
	}
}

static void up_came(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;

	f->up.reading = false;
	if (!r)
		return;
	if (f->duty != DUTY_LEADS) {
		follow_read(f);
		return;
	}
	if (r->type == REDIS_REPLY_ERROR) {
		fleet_refused(f, "reading what comes upward", r);
		if (strstr(r->str, "WRONGTYPE"))
			REDIS_SEND(
				f->commands,
				NULL,
				NULL,
				"UNLINK",
				f->keys[KEY_UP],
				f->keys[KEY_DENIALS]
			);
		f->up.hold_until_ms = fleet_now_ms() + 1000;
		return;
	}
	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++)
		stream_take(f, r->element[i]);
	up_read(f);
}

void up_read(struct fleet *f)
{
	struct fleet_up_state *u = &f->up;

	if (f->freeing || f->duty != DUTY_LEADS || u->reading || f->follow.reading
	    || u->under_way > ASKED_MAX || !redis_conn_ready(f->reader)
	    || fleet_now_ms() < u->hold_until_ms)
		return;
	u->reading = REDIS_SEND(
			     f->reader,
			     up_came,
			     f,
			     "XREAD",
			     "COUNT",
			     "100",
			     "BLOCK",
			     "1000",
			     "STREAMS",
			     f->keys[KEY_UP],
			     f->keys[KEY_DENIALS],
			     u->id,
			     u->denials_id
		     )
		== 0;
}

void up_begin(struct fleet *f)
{
	const char *id = ledger_fleet_up(f->ledger);

	snprintf(f->up.id, sizeof(f->up.id), "%s", id[0] ? id : "0-0");
	snprintf(f->up.denials_id, sizeof(f->up.denials_id), "0-0");
	f->up.hold_until_ms = 0;
	f->up.sent = 0;
	denials_own(f);
	up_read(f);
}

// A stream that was emptied may begin below where we read.
static void last_seen(struct fleet *f, const redisReply *r, char last[FLEET_ID_MAX])
{
	struct fleet_id top = {0}, at = {0};

	if (!r || r->type != REDIS_REPLY_ARRAY || f->duty != DUTY_LEADS || r->elements == 0
	    || r->element[0]->elements != 2 || !r->element[0]->element[0]->str)
		return;
	fleet_id_parse(r->element[0]->element[0]->str, r->element[0]->element[0]->len, &top);
	fleet_id_parse(last, strlen(last), &at);
	if (fleet_id_compare(top, at) < 0)
		snprintf(last, FLEET_ID_MAX, "0-0");
}

static void up_top(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;

	last_seen(f, r, f->up.id);
}

static void denials_top(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;

	last_seen(f, r, f->up.denials_id);
}

// What is dealt with is not kept; denials go once they are taken.
static void trim(struct fleet *f)
{
	const char *dealt = ledger_fleet_up(f->ledger);
	struct redis_conn *c = f->commands;

	if (dealt[0] && f->up.under_way == 0)
		REDIS_SEND(c, NULL, NULL, "XTRIM", f->keys[KEY_UP], "MINID", "~", dealt);
	if (strcmp(f->up.denials_id, "0-0") != 0) {
		struct fleet_id next = {0};
		char id[FLEET_ID_MAX];

		fleet_id_parse(f->up.denials_id, strlen(f->up.denials_id), &next);
		next.number++;
		fleet_id_print(next, id);
		REDIS_SEND(c, NULL, NULL, "XTRIM", f->keys[KEY_DENIALS], "MINID", id);
	}
	REDIS_SEND(c, up_top, f, "XREVRANGE", f->keys[KEY_UP], "+", "-", "COUNT", "1");
	REDIS_SEND(c, denials_top, f, "XREVRANGE", f->keys[KEY_DENIALS], "+", "-", "COUNT", "1");
}

void up_reconnected(struct fleet *f)
{
	struct fleet_denial *d;

	f->up.sent = 0;
	f->up.trimmed_ms = 0;
	STAILQ_FOREACH(d, &f->up.denials, entry) d->sent = false;
}

void up_tick(struct fleet *f, int64_t now)
{
	if (!fleet_up(f))
		return;
	if (f->duty == DUTY_LEADS) {
		if (now - f->up.trimmed_ms >= TRIM_MS) {
			f->up.trimmed_ms = now;
			trim(f);
		}
		up_read(f);
		return;
	}
	if (f->duty != DUTY_FOLLOWS)
		return;
	asks_send(f, now);
	denials_send(f);
}

void up_free(struct fleet *f)
{
	struct fleet_reporter *r, *next;
	struct fleet_denial *d;

	while ((d = STAILQ_FIRST(&f->up.denials)))
		denial_drop(f, d);
	HASH_ITER(hh, f->up.reporters, r, next)
	{
		HASH_DEL(f->up.reporters, r);
		free(r);
	}
}
