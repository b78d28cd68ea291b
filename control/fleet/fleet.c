// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/fleet/fleet.h"

#include "control/fleet/fleet_internal.h"
#include "control/ledger.h"
#include "control/sources/redis_server.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <openssl/rand.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GIVE_BACK_MS 200

static const char *const key_names[] = {
	[KEY_LEADER] = "leader",
	[KEY_EPOCH] = "epoch",
	[KEY_HEAD] = "head",
	[KEY_LOG] = "log",
	[KEY_SEAL] = "seal",
	[KEY_UP] = "up",
	[KEY_DENIALS] = "denials",
	[KEY_GATEWAYS] = "gateways",
};

int64_t fleet_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t fleet_wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct fleet_id fleet_id(const struct fleet *f)
{
	struct fleet_place place;

	ledger_fleet_place(f->ledger, &place);
	return fleet_place_id(&place);
}

bool fleet_up(const struct fleet *f)
{
	return redis_conn_ready(f->commands);
}

bool fleet_leads(const struct fleet *f)
{
	return f && f->duty == DUTY_LEADS;
}

int64_t fleet_lease_ms(const struct fleet *f)
{
	int64_t now = fleet_now_ms();

	if (!fleet_leads(f) || now < f->lock.fence_until_ms || now >= f->lock.lease_until_ms)
		return 0;
	return f->lock.lease_until_ms - now;
}

void fleet_heartbeat_set(struct fleet *f, json_t *(*extra)(void *ctx), void *ctx)
{
	f->extra = extra;
	f->extra_ctx = ctx;
}

int fleet_reload(struct fleet *f)
{
	struct fleet_seal *seal = NULL;
	char message[256] = "";
	int error;

	f->conf = f->control->conf->fleet;
	error = fleet_seal_load(
		f->conf->id, f->conf->key_file, f->conf->previous_key_file, &seal, message
	);
	if (message[0])
		log_error("fleet %s: %s", f->conf->id, message);
	if (error)
		return error;
	fleet_seal_free(f->seal);
	f->seal = seal;
	// What the former key sealed must not be needed when it is gone.
	f->write.current_known = false;
	if (f->duty == DUTY_LEADS)
		checkpoint_want(f, "the keys were read again");
	return 0;
}

// --- connections

static void commands_ready(void *ctx)
{
	struct fleet *f = ctx;

	log_info("fleet %s: connected", f->conf->id);
	fleet_alarm_end(f, ALARM_REDIS);
	if (f->freeing)
		return;
	f->ready_ms = fleet_now_ms();
	f->beat.sent_ms = 0;
	up_reconnected(f);
	if (f->duty == DUTY_LEADS)
		publish_look(f);
	fleet_soon(f);
}

static void commands_lost(void *ctx, const char *why)
{
	struct fleet *f = ctx;

	fleet_alarm(f, ALARM_REDIS, "%s; what is in force stays", why);
	f->ready_ms = 0;
	lock_lost(f);
	checkpoint_stop(f);
	resync_stop(f);
}

static void reader_ready(void *ctx)
{
	struct fleet *f = ctx;

	f->follow.caught_up = false;
	fleet_soon(f);
}

static void reader_lost(void *ctx, const char *why)
{
	struct fleet *f = ctx;

	(void)why; // the commands' connection says it
	f->follow.reading = false;
	f->follow.caught_up = false;
	f->up.reading = false;
}

// --- the tick

static void ticked(int fd, short what, void *ctx)
{
	struct fleet *f = ctx;
	int64_t now = fleet_now_ms();

	(void)fd;
	(void)what;
	if (f->freeing)
		return;
	lock_tick(f, now);
	follow_tick(f, now);
	publish_tick(f, now);
	checkpoint_tick(f, now);
	resync_tick(f, now);
	up_tick(f, now);
	beat_tick(f, now);
}

void fleet_soon(struct fleet *f)
{
	if (!f->freeing)
		event_active(f->soon, EV_TIMEOUT, 0);
}

// --- the ledger

static void record_seal(void *ctx, const struct fleet_record *record, uint8_t mac[FLEET_MAC_LEN])
{
	struct fleet *f = ctx;

	fleet_seal_record(f->seal, record, mac);
}

static void records_made(void *ctx)
{
	struct fleet *f = ctx;

	if (!f->freeing)
		publish_pump(f);
}

static void asks_made(void *ctx)
{
	struct fleet *f = ctx;

	if (!f->freeing)
		fleet_soon(f);
}

#define NOTES "fleet" // owner of the note

void fleet_terms_load(struct fleet *f)
{
	json_t *note = NULL;

	if (ledger_note_get(f->ledger, NOTES, "terms", &note) == 0
	    && fleet_terms_parse(note, &f->terms) < 0)
		log_warning("fleet %s: the terms in the ledger are not understood", f->conf->id);
	json_decref(note);
}

void fleet_terms_keep(struct fleet *f)
{
	json_t *note = fleet_terms_json(&f->terms);

	ledger_note_set(f->ledger, NOTES, "terms", note);
	json_decref(note);
}

static void fleet_destroy(struct fleet *f)
{
	for (size_t i = 0; i < FLEET_KEYS; i++)
		free(f->keys[i]);
	free(f->chunks);
	free(f->lock.value);
	fleet_seal_free(f->seal);
	free(f);
}

bool fleet_back(struct fleet *f)
{
	f->calls--;
	if (!f->freeing)
		return true;
	if (f->calls == 0)
		fleet_destroy(f);
	return false;
}

// --- life

static int names_make(struct fleet *f)
{
	const char *prefix = f->conf->redis.key_prefix ? f->conf->redis.key_prefix : "";
	struct fleet_claimant me = {0};
	uint8_t run[8];
	json_t *value;

	for (size_t i = 0; i < FLEET_KEYS; i++)
		if (asprintf(&f->keys[i], "%sstanch:%s:%s", prefix, f->conf->id, key_names[i]) < 0)
			return -ENOMEM;
	if (asprintf(&f->chunks, "%sstanch:%s:chunks:", prefix, f->conf->id) < 0)
		return -ENOMEM;
	if (RAND_bytes(run, sizeof(run)) != 1)
		return -EIO;
	fleet_hex_print(run, sizeof(run), f->run);
	snprintf(me.gateway, sizeof(me.gateway), "%s", f->conf->gateway);
	snprintf(me.run, sizeof(me.run), "%s", f->run);
	value = fleet_claimant_json(&me);
	f->lock.value = fleet_seal_print(f->seal, FLEET_SEALS_LEADER, "", value);
	json_decref(value);
	return f->lock.value ? 0 : -ENOMEM;
}

static int ledger_begin(struct fleet *f)
{
	const struct fleet_setup setup = {
		.fleet = f->conf->id,
		.gateway = f->conf->gateway,
		.seal = record_seal,
		.ctx = f,
	};
	int error = ledger_fleet_open(f->ledger, &setup);

	if (error)
		return error;
	ledger_fleet_made_set(f->ledger, records_made, f);
	ledger_fleet_asks_set(f->ledger, asks_made, f);
	return 0;
}

static int redis_begin(struct fleet *f)
{
	const struct redis_conn_events commands = {commands_ready, commands_lost, f};
	const struct redis_conn_events reader = {reader_ready, reader_lost, f};
	const struct timeval tick = {.tv_usec = FLEET_TICK_MS * 1000};
	struct event_base *base = f->control->base;
	char message[256] = "";
	int error;

	f->dns = evdns_base_new(
		base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE
	);
	// Without resolvers: addresses and paths still work.
	if (!f->dns)
		f->dns = evdns_base_new(base, 0);
	f->tick = event_new(base, -1, EV_PERSIST, ticked, f);
	f->soon = event_new(base, -1, 0, ticked, f);
	if (!f->dns || !f->tick || !f->soon || event_add(f->tick, &tick) < 0)
		return -ENOMEM;
	error = redis_server_create(base, f->dns, &f->conf->redis, &f->server, message);
	if (message[0])
		log_error("fleet %s: %s", f->conf->id, message);
	if (!error)
		error = redis_server_open(f->server, &commands, false, &f->commands);
	return error ? error : redis_server_open(f->server, &reader, false, &f->reader);
}

int fleet_create(
	struct control *control, const struct fleet_events *events, struct fleet **ret_fleet
)
{
	struct fleet *f = calloc(1, sizeof(*f));
	char message[256] = "";
	int error;

	if (!f)
		return -ENOMEM;
	f->control = control;
	f->ledger = control->ledger;
	f->conf = control->conf->fleet;
	f->events = *events;
	f->started_ms = fleet_now_ms();
	STAILQ_INIT(&f->follow.queue);
	STAILQ_INIT(&f->up.denials);
	error = fleet_seal_load(
		f->conf->id, f->conf->key_file, f->conf->previous_key_file, &f->seal, message
	);
	if (message[0])
		log_error("fleet %s: %s", f->conf->id, message);
	if (!error)
		error = names_make(f);
	if (!error)
		error = ledger_begin(f);
	if (!error)
		error = redis_begin(f);
	if (error) {
		log_error("fleet %s: not begun: %s", f->conf->id, strerror(-error));
		fleet_free(f);
		return error;
	}
	fleet_terms_load(f);
	follow_begin(f);
	*ret_fleet = f;
	return 0;
}

// The process ends: the lock must be out before the connection is closed.
static void give_back(struct fleet *f)
{
	int64_t until = fleet_now_ms() + GIVE_BACK_MS;

	lock_release(f);
	while (f->lock.releasing && fleet_now_ms() < until)
		event_base_loop(f->control->base, EVLOOP_NONBLOCK);
}

void fleet_free(struct fleet *f)
{
	if (!f)
		return;
	f->freeing = true;
	if (f->duty != DUTY_FOLLOWS)
		give_back(f);
	checkpoint_stop(f);
	// What it still commits is sealed; nothing is after this.
	if (ledger_fleet_leads(f->ledger))
		ledger_fleet_follow(f->ledger);
	if (f->tick)
		event_free(f->tick);
	if (f->soon)
		event_free(f->soon);
	redis_conn_free(f->commands);
	redis_conn_free(f->reader);
	redis_server_free(f->server);
	if (f->dns)
		evdns_base_free(f->dns, 0);
	if (f->ledger && ledger_fleet_is(f->ledger)) {
		ledger_fleet_made_set(f->ledger, NULL, NULL);
		ledger_fleet_asks_set(f->ledger, NULL, NULL);
	}
	follow_stop(f);
	up_free(f);
	if (f->calls == 0)
		fleet_destroy(f);
}
