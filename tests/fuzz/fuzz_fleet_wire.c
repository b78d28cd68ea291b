// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What stands in Redis for a fleet; the first octet chooses. An entry of the log is made of fields
// that the input lays out; texts are read as if their seal were good. What is taken keeps its
// bounds, and reads the same when it is written again; what is not sealed is never taken.

#include "control/fleet/fleet_seal.h"
#include "control/fleet/fleet_wire.h"

#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static struct fleet_seal *seal_of(void)
{
	static struct fleet_seal *seal;

	if (!seal)
		must(fleet_seal_create("f", "0123456789abcdef0123456789abcdef", NULL, &seal) == 0);
	return seal;
}

// Octets: type of reply, length, text.
static size_t reply_make(redisReply *r, char *text, const uint8_t *data, size_t size)
{
	size_t len;

	*r = (redisReply){.type = REDIS_REPLY_NIL};
	if (size < 2)
		return size;
	len = data[1] > size - 2 ? size - 2 : data[1];
	memcpy(text, data + 2, len);
	text[len] = '\0';
	r->type = data[0] % 8 == 7 ? REDIS_REPLY_INTEGER : REDIS_REPLY_STRING;
	if (r->type == REDIS_REPLY_STRING)
		r->str = text;
	r->len = len;
	return len + 2;
}

static void record(const uint8_t *data, size_t size)
{
	static char texts[FIELDS_MAX + 1][256];
	redisReply replies[FIELDS_MAX + 1], *fields[FIELDS_MAX];
	redisReply list = {.type = REDIS_REPLY_ARRAY, .element = fields};
	redisReply *both[2] = {&replies[0], &list};
	redisReply entry = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = both};
	struct fleet_record r;
	char leader[FLEET_NAME_MAX];
	size_t at = reply_make(&replies[0], texts[0], data, size);

	for (size_t n = 0; n < FIELDS_MAX && at < size; n++) {
		at += reply_make(&replies[n + 1], texts[n + 1], data + at, size - at);
		fields[n] = &replies[n + 1];
		list.elements = n + 1;
	}
	if (fleet_record_parse(&entry, &r) < 0)
		return;
	must(r.number > 0 && r.before.number + 1 == r.number && r.len <= FLEET_RECORD_MAX);
	must((r.kind == FLEET_EPOCH) == (r.before.epoch < r.epoch));
	must(fleet_seal_record_verify(seal_of(), &r) < 0);
	if (fleet_epoch_record_parse(&r, leader) == 0)
		must(leader[0] && memchr(leader, 0, sizeof(leader)));
}

static void text(const char *data, size_t size)
{
	json_t *json = NULL, *again;
	struct fleet_head head;
	struct fleet_checkpoint c;
	struct fleet_claimant claimant;
	struct fleet_beat beat;
	struct fleet_up up;
	struct fleet_id id;

	must(fleet_seal_parse(seal_of(), FLEET_SEALS_HEAD, "", data, size, &json) < 0);
	fleet_id_parse(data, size, &id);
	json = json_loadb(data, size, 0, NULL);
	if (fleet_head_parse(json, &head) == 0) {
		again = fleet_head_json(&head);
		must(fleet_head_parse(again, &head) == 0);
		json_decref(again);
	}
	if (fleet_checkpoint_parse(json, &c) == 0) {
		must(c.chunks <= FLEET_CHUNKS_MAX);
		again = fleet_checkpoint_json(&c);
		must(fleet_checkpoint_parse(again, &c) == 0);
		json_decref(again);
	}
	if (fleet_claimant_parse(json, &claimant) == 0) {
		again = fleet_claimant_json(&claimant);
		must(fleet_claimant_parse(again, &claimant) == 0);
		json_decref(again);
	}
	if (fleet_beat_parse(json, &beat) == 0)
		must(beat.gateway[0] && beat.run[0] && beat.role[0]);
	if (fleet_up_parse(json, &up) == 0) {
		must(up.gateway[0] && (up.kind == FLEET_UP_RESYNC || up.text));
		again = fleet_up_json(&up);
		must(fleet_up_parse(again, &up) == 0);
		json_decref(again);
	}
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		record(data + 1, size - 1);
	else
		text((const char *)data + 1, size - 1);
	return 0;
}
