// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The leader's records, from the ledger to the log, in order and pipelined. Redis refuses an id
// that is not above its last one; whatever is in doubt is settled by a look at the newest entry:
//
//   none, or not sealed by us    the stream is unlinked, and what the ledger has published again
//   one of our records           on from there
//   of a term before, not ours   on from this term's first record; checkpoint
//   beyond our place             another leads, or our ledger is an old one: steps down

#include "control/fleet/fleet_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW ((size_t)256 << 10) // octets sent and not answered
#define SLICE ((size_t)64 << 10)
#define REFUSED_WAIT_MS 500

struct sent {
	struct fleet *fleet;
	unsigned generation;
	struct fleet_id id;
	size_t len;
};

// --- the newest entry

int publish_top(struct fleet *f, const redisReply *r, struct fleet_record *ret_record)
{
	struct fleet_record record;

	if (r->type != REDIS_REPLY_ARRAY) {
		fleet_refused(f, "the log", r);
		return r->type == REDIS_REPLY_ERROR && strstr(r->str, "WRONGTYPE") ? -EBADMSG
										   : -EIO;
	}
	if (r->elements == 0)
		return 0;
	if (fleet_record_parse(r->element[0], &record) < 0
	    || fleet_seal_record_verify(f->seal, &record) < 0) {
		fleet_alarm(f, ALARM_FORGED, "the newest entry of the log is not sealed");
		return -EBADMSG;
	}
	*ret_record = record;
	return 1;
}

struct match {
	const struct fleet_record *top;
	bool same;
};

static bool match_cb(void *ctx, const struct fleet_record *record)
{
	struct match *m = ctx;

	m->same = record->number == m->top->number && record->epoch == m->top->epoch
		&& memcmp(record->mac, m->top->mac, FLEET_MAC_LEN) == 0;
	return false;
}

static void flow_from(struct fleet *f, uint64_t number, struct fleet_id id)
{
	struct fleet_publish *p = &f->publish;

	p->state = PUBLISH_FLOWS;
	p->sent = p->published = number;
	p->published_id = id;
	p->under_way = 0;
	publish_pump(f);
}

// The stream is empty, gone, or was not ours. Followers that stand in the middle go on where they
// are; a fresh checkpoint is for the others.
static void stream_anew(struct fleet *f)
{
	struct fleet_state state;

	if (f->publish.published > 0)
		log_warning("fleet %s: publishes its records anew", f->conf->id);
	REDIS_SEND(f->commands, NULL, NULL, "UNLINK", f->keys[KEY_LOG]);
	ledger_fleet_state(f->ledger, &state);
	if (state.first > 1)
		checkpoint_want(f, "the log begins anew");
	flow_from(f, state.first > 0 ? state.first - 1 : state.place.number, (struct fleet_id){0});
}

static void top_after(struct fleet *f, const struct fleet_record *top)
{
	const struct fleet_id id = {top->epoch, top->number}, place = fleet_id(f);
	struct match m = {.top = top};
	struct fleet_state state;

	ledger_fleet_state(f->ledger, &state);
	if (fleet_id_compare(id, place) > 0) {
		char leader[FLEET_NAME_MAX] = "?";

		if (fleet_epoch_record_parse(top, leader) == 0 || top->epoch == place.epoch)
			fleet_alarm(
				f,
				ALARM_LEADERS,
				"the log has records of epoch %" PRIu64 " beyond ours",
				top->epoch
			);
		lock_release(f);
		lock_step_down(f, "another leader published");
		return;
	}
	if (f->publish.refusals > 1) {
		// Its newest entry is below its last id: something above was there.
		fleet_alarm(f, ALARM_FORGED, "the log takes no records of ours");
		f->publish.refusals = 0;
		stream_anew(f);
		return;
	}
	ledger_fleet_records(f->ledger, top->number - 1, 1, match_cb, &m);
	if (m.same) {
		flow_from(f, top->number, id);
		return;
	}
	if (top->epoch < place.epoch && f->publish.base + 1 >= state.first) {
		// A branch that ended, or older than what the ledger keeps.
		checkpoint_want(f, "the log goes on from another place");
		flow_from(f, f->publish.base, id);
		return;
	}
	checkpoint_want(f, "the ledger no longer has what is missing in the log");
	flow_from(f, state.first > top->number ? state.first - 1 : place.number, id);
}

static void looked(void *ctx, const redisReply *r)
{
	struct fleet *f = ctx;
	struct fleet_record top;
	int rc;

	if (f->publish.state == PUBLISH_LOOKING)
		f->publish.state = PUBLISH_LOOK;
	if (!r || f->duty != DUTY_LEADS)
		return;
	f->publish.again_ms = 0;
	rc = publish_top(f, r, &top);
	if (rc == -EIO)
		f->publish.again_ms = fleet_now_ms() + REFUSED_WAIT_MS;
	else if (rc == 1)
		top_after(f, &top);
	else
		stream_anew(f);
}

void publish_look(struct fleet *f)
{
	struct fleet_publish *p = &f->publish;

	if (p->state == PUBLISH_LOOKING)
		return;
	p->generation++;
	p->state = PUBLISH_LOOK;
	if (fleet_now_ms() < p->again_ms)
		return;
	if (REDIS_SEND(
		    f->commands, looked, f, "XREVRANGE", f->keys[KEY_LOG], "+", "-", "COUNT", "1"
	    )
	    == 0)
		p->state = PUBLISH_LOOKING;
}

// --- sending

static void added(void *ctx, const redisReply *r)
{
	struct sent *sent = ctx;
	struct fleet *f = sent->fleet;
	struct fleet_publish *p = &f->publish;
	bool current = sent->generation == p->generation && f->duty == DUTY_LEADS;

	if (current) {
		p->under_way -= sent->len;
		if (!r) {
			p->generation++;
			p->state = PUBLISH_LOOK;
		} else if (r->type == REDIS_REPLY_STRING) {
			p->published = sent->id.number;
			p->published_id = sent->id;
			p->refusals = 0;
			f->records_out++;
			f->octets_out += sent->len;
			publish_pump(f);
		} else {
			// What was sent behind it may have been taken: the look tells.
			if (strstr(r->str ? r->str : "", "smaller")) {
				p->refusals++;
			} else {
				fleet_refused(f, "a record", r);
				p->again_ms = fleet_now_ms() + REFUSED_WAIT_MS;
			}
			publish_look(f);
		}
	}
	free(sent);
}

static bool record_send(void *ctx, const struct fleet_record *record)
{
	struct fleet *f = ctx;
	struct fleet_publish *p = &f->publish;
	struct sent *sent = malloc(sizeof(*sent));
	uint8_t before[FLEET_PRED_LEN];
	char id[FLEET_ID_MAX];
	const char kind = fleet_kind_letter(record->kind);
	const char *argv[11] = {"XADD", f->keys[KEY_LOG], id, "k", &kind, "p"};
	size_t lens[11] = {4, strlen(f->keys[KEY_LOG]), 0, 1, 1, 1};

	if (!sent)
		return false;
	*sent = (struct sent){
		.fleet = f,
		.generation = p->generation,
		.id = {record->epoch, record->number},
		.len = record->len + 128,
	};
	fleet_id_print(sent->id, id);
	fleet_before_pack(&record->before, before);
	lens[2] = strlen(id);
	argv[6] = (const char *)before;
	lens[6] = sizeof(before);
	argv[7] = "d";
	lens[7] = 1;
	argv[8] = record->data;
	lens[8] = record->len;
	argv[9] = "m";
	lens[9] = 1;
	argv[10] = (const char *)record->mac;
	lens[10] = FLEET_MAC_LEN;
	if (redis_conn_send(f->commands, added, sent, 11, argv, lens) < 0) {
		free(sent);
		return false;
	}
	p->under_way += sent->len;
	p->sent = record->number;
	p->since_records++;
	p->since_octets += sent->len;
	return p->under_way < WINDOW;
}

void publish_pump(struct fleet *f)
{
	struct fleet_publish *p = &f->publish;
	uint64_t before;

	if (f->duty != DUTY_LEADS || p->state != PUBLISH_FLOWS)
		return;
	while (p->under_way < WINDOW && fleet_up(f) && p->sent < fleet_id(f).number) {
		before = p->sent;
		if (ledger_fleet_records(f->ledger, p->sent, SLICE, record_send, f) == -ESTALE) {
			checkpoint_want(f, "the ledger no longer has what is to be published");
			p->sent = p->published = fleet_id(f).number;
			return;
		}
		if (p->sent == before)
			return;
	}
}

void publish_tick(struct fleet *f, int64_t now)
{
	if (f->duty != DUTY_LEADS)
		return;
	if (f->publish.state == PUBLISH_LOOK && fleet_up(f) && now >= f->publish.again_ms)
		publish_look(f);
	else
		publish_pump(f);
}
