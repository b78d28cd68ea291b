// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/fleet/fleet_wire.h"

#include "control/fleet/fleet_seal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- ids and places

void fleet_id_print(struct fleet_id id, char text[FLEET_ID_MAX])
{
	snprintf(text, FLEET_ID_MAX, "%" PRIu64 "-%" PRIu64, id.epoch, id.number);
}

static int number_parse(const char **text, const char *end, uint64_t *ret)
{
	const char *at = *text;
	uint64_t value = 0;

	for (; at < end && *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(value, 10, &value)
		    || __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return -EINVAL;
	if (at == *text)
		return -EINVAL;
	*text = at;
	*ret = value;
	return 0;
}

int fleet_id_parse(const char *text, size_t len, struct fleet_id *ret_id)
{
	const char *end = text + len;
	struct fleet_id id;

	if (number_parse(&text, end, &id.epoch) < 0 || text == end || *text++ != '-'
	    || number_parse(&text, end, &id.number) < 0 || text != end)
		return -EINVAL;
	*ret_id = id;
	return 0;
}

int fleet_id_compare(struct fleet_id a, struct fleet_id b)
{
	if (a.epoch != b.epoch)
		return a.epoch < b.epoch ? -1 : 1;
	return a.number < b.number ? -1 : a.number > b.number;
}

struct fleet_id fleet_place_id(const struct fleet_place *p)
{
	return (struct fleet_id){p->epoch, p->number};
}

static void be64_put(uint64_t value, uint8_t octets[8])
{
	for (int i = 0; i < 8; i++)
		octets[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t be64_get(const uint8_t octets[8])
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | octets[i];
	return value;
}

// --- records

char fleet_kind_letter(enum fleet_kind kind)
{
	return "sme"[kind];
}

void fleet_before_pack(const struct fleet_place *before, uint8_t octets[FLEET_PRED_LEN])
{
	be64_put(before->epoch, octets);
	be64_put(before->number, octets + 8);
	memcpy(octets + 16, before->mac, FLEET_MAC_LEN);
}

static const redisReply *field(const redisReply *fields, char name)
{
	for (size_t i = 0; i + 1 < fields->elements; i += 2) {
		const redisReply *key = fields->element[i], *value = fields->element[i + 1];

		if (key->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING
		    && (size_t)key->len == 1 && key->str[0] == name)
			return value;
	}
	return NULL;
}

int fleet_record_parse(const redisReply *entry, struct fleet_record *ret_record)
{
	const redisReply *id, *fields, *kind, *before, *data, *mac;
	struct fleet_record record = {0};
	struct fleet_id place;

	if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2)
		return -EINVAL;
	id = entry->element[0];
	fields = entry->element[1];
	if (id->type != REDIS_REPLY_STRING || fields->type != REDIS_REPLY_ARRAY
	    || fleet_id_parse(id->str, id->len, &place) < 0)
		return -EINVAL;
	kind = field(fields, 'k');
	before = field(fields, 'p');
	data = field(fields, 'd');
	mac = field(fields, 'm');
	if (!kind || !before || !data || !mac || kind->len != 1
	    || (size_t)before->len != FLEET_PRED_LEN || (size_t)mac->len != FLEET_MAC_LEN
	    || (size_t)data->len > FLEET_RECORD_MAX)
		return -EINVAL;
	switch (kind->str[0]) {
	case 's':
		record.kind = FLEET_STATE;
		break;
	case 'm':
		record.kind = FLEET_MEMBERS;
		break;
	case 'e':
		record.kind = FLEET_EPOCH;
		break;
	default:
		return -EINVAL;
	}
	record.epoch = place.epoch;
	record.number = place.number;
	record.before.epoch = be64_get((const uint8_t *)before->str);
	record.before.number = be64_get((const uint8_t *)before->str + 8);
	memcpy(record.before.mac, before->str + 16, FLEET_MAC_LEN);
	memcpy(record.mac, mac->str, FLEET_MAC_LEN);
	record.data = data->str;
	record.len = data->len;
	// An epoch begins with its own record, and each is one more than the one before.
	if (record.number == 0 || record.before.number != record.number - 1
	    || record.before.epoch > record.epoch
	    || (record.kind == FLEET_EPOCH) != (record.before.epoch < record.epoch))
		return -EINVAL;
	*ret_record = record;
	return 0;
}

static int name_get(const json_t *object, const char *key, char *ret, size_t max)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text || !*text || strlen(text) >= max)
		return -EINVAL;
	snprintf(ret, max, "%s", text);
	return 0;
}

static int natural_get(const json_t *object, const char *key, uint64_t *ret)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return -EINVAL;
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

static int time_get(const json_t *object, const char *key, int64_t *ret)
{
	uint64_t value;

	if (natural_get(object, key, &value) < 0)
		return -EINVAL;
	*ret = (int64_t)value;
	return 0;
}

int fleet_epoch_record_parse(const struct fleet_record *record, char leader[FLEET_NAME_MAX])
{
	json_t *object;
	int error;

	if (record->kind != FLEET_EPOCH)
		return -EINVAL;
	object = json_loadb(record->data, record->len, JSON_REJECT_DUPLICATES, NULL);
	error = name_get(object, "leader", leader, FLEET_NAME_MAX);
	json_decref(object);
	return error;
}

// --- places in JSON

static json_t *place_json(const struct fleet_place *p)
{
	char mac[2 * FLEET_MAC_LEN + 1];

	fleet_hex_print(p->mac, FLEET_MAC_LEN, mac);
	return json_pack(
		"{s:I, s:I, s:s}",
		"epoch",
		(json_int_t)p->epoch,
		"number",
		(json_int_t)p->number,
		"mac",
		mac
	);
}

static int place_parse(const json_t *object, struct fleet_place *ret_place)
{
	const char *mac = json_string_value(json_object_get(object, "mac"));
	struct fleet_place place;

	if (!mac || natural_get(object, "epoch", &place.epoch) < 0
	    || natural_get(object, "number", &place.number) < 0
	    || fleet_hex_parse(mac, strlen(mac), place.mac, FLEET_MAC_LEN) < 0)
		return -EINVAL;
	*ret_place = place;
	return 0;
}

// --- head

json_t *fleet_head_json(const struct fleet_head *h)
{
	char digest[DIGEST_TEXT_MAX];

	digest_print(h->digest, digest);
	return json_pack(
		"{s:s, s:s, s:o, s:I, s:s, s:I, s:I, s:I, s:b}",
		"leader",
		h->leader,
		"run",
		h->run,
		"place",
		place_json(&h->place),
		"count",
		(json_int_t)h->count,
		"digest",
		digest,
		"beat",
		(json_int_t)h->beat,
		"wall_ms",
		(json_int_t)h->wall_ms,
		"lease_ms",
		(json_int_t)h->lease_ms,
		"gone",
		h->gone
	);
}

int fleet_head_parse(const json_t *object, struct fleet_head *ret_head)
{
	const char *digest = json_string_value(json_object_get(object, "digest"));
	struct fleet_head h = {0};

	if (!digest || digest_parse(digest, &h.digest) < 0
	    || name_get(object, "leader", h.leader, sizeof(h.leader)) < 0
	    || name_get(object, "run", h.run, sizeof(h.run)) < 0
	    || place_parse(json_object_get(object, "place"), &h.place) < 0
	    || natural_get(object, "count", &h.count) < 0
	    || natural_get(object, "beat", &h.beat) < 0
	    || time_get(object, "wall_ms", &h.wall_ms) < 0
	    || time_get(object, "lease_ms", &h.lease_ms) < 0)
		return -EINVAL;
	h.gone = json_is_true(json_object_get(object, "gone"));
	*ret_head = h;
	return 0;
}

// --- lock and epoch

json_t *fleet_claimant_json(const struct fleet_claimant *c)
{
	return json_pack(
		"{s:s, s:s, s:I}",
		"gateway",
		c->gateway,
		"run",
		c->run,
		"epoch",
		(json_int_t)c->epoch
	);
}

int fleet_claimant_parse(const json_t *object, struct fleet_claimant *ret_claimant)
{
	struct fleet_claimant c;

	if (name_get(object, "gateway", c.gateway, sizeof(c.gateway)) < 0
	    || name_get(object, "run", c.run, sizeof(c.run)) < 0
	    || natural_get(object, "epoch", &c.epoch) < 0)
		return -EINVAL;
	*ret_claimant = c;
	return 0;
}

// --- terms

void fleet_terms_cut(struct fleet_terms *t, uint64_t epoch)
{
	while (t->n > 0 && t->terms[t->n - 1].epoch > epoch)
		t->n--;
}

void fleet_terms_add(struct fleet_terms *t, uint64_t epoch, const struct fleet_place *base)
{
	fleet_terms_cut(t, epoch - 1);
	if (t->n == FLEET_TERMS_MAX)
		memmove(t->terms, t->terms + 1, --t->n * sizeof(t->terms[0]));
	t->terms[t->n++] = (struct fleet_term){epoch, *base};
}

const struct fleet_place *
fleet_terms_part(const struct fleet_terms *t, const struct fleet_place *place)
{
	for (size_t i = 0; place->number > 0 && i < t->n; i++) {
		const struct fleet_place *base = &t->terms[i].base;

		if (t->terms[i].epoch <= place->epoch)
			continue;
		// The first term above ours.
		if (base->epoch < place->epoch
		    || (base->epoch == place->epoch && base->number < place->number))
			return base;
		return NULL;
	}
	return NULL;
}

json_t *fleet_terms_json(const struct fleet_terms *t)
{
	json_t *array = json_array();

	for (size_t i = 0; i < t->n; i++)
		json_array_append_new(
			array,
			json_pack(
				"{s:I, s:o}",
				"epoch",
				(json_int_t)t->terms[i].epoch,
				"base",
				place_json(&t->terms[i].base)
			)
		);
	return array;
}

int fleet_terms_parse(const json_t *array, struct fleet_terms *ret_terms)
{
	struct fleet_terms t = {0};
	size_t i;
	json_t *one;

	if (!json_is_array(array) || json_array_size(array) > FLEET_TERMS_MAX)
		return -EINVAL;
	json_array_foreach(array, i, one)
	{
		struct fleet_term *term = &t.terms[t.n];

		if (natural_get(one, "epoch", &term->epoch) < 0
		    || place_parse(json_object_get(one, "base"), &term->base) < 0
		    || term->base.epoch >= term->epoch
		    || (t.n > 0 && term->epoch <= t.terms[t.n - 1].epoch))
			return -EINVAL;
		t.n++;
	}
	*ret_terms = t;
	return 0;
}

// --- checkpoint

json_t *fleet_checkpoint_json(const struct fleet_checkpoint *c)
{
	return json_pack(
		"{s:o, s:o, s:s, s:I, s:I, s:I, s:o}",
		"from",
		place_json(&c->from),
		"to",
		place_json(&c->to),
		"name",
		c->name,
		"chunks",
		(json_int_t)c->chunks,
		"octets",
		(json_int_t)c->octets,
		"wall_ms",
		(json_int_t)c->wall_ms,
		"terms",
		fleet_terms_json(&c->terms)
	);
}

int fleet_checkpoint_parse(const json_t *object, struct fleet_checkpoint *ret_checkpoint)
{
	struct fleet_checkpoint c;
	uint64_t chunks;

	if (place_parse(json_object_get(object, "from"), &c.from) < 0
	    || place_parse(json_object_get(object, "to"), &c.to) < 0
	    || name_get(object, "name", c.name, sizeof(c.name)) < 0
	    || natural_get(object, "chunks", &chunks) < 0 || chunks > FLEET_CHUNKS_MAX
	    || natural_get(object, "octets", &c.octets) < 0
	    || time_get(object, "wall_ms", &c.wall_ms) < 0
	    || fleet_terms_parse(json_object_get(object, "terms"), &c.terms) < 0
	    || fleet_id_compare(fleet_place_id(&c.from), fleet_place_id(&c.to)) > 0)
		return -EINVAL;
	c.chunks = (uint32_t)chunks;
	*ret_checkpoint = c;
	return 0;
}

// --- heartbeats

int fleet_beat_parse(const json_t *object, struct fleet_beat *ret_beat)
{
	const char *leader = json_string_value(json_object_get(object, "leader"));
	struct fleet_beat b = {0};

	if (name_get(object, "gateway", b.gateway, sizeof(b.gateway)) < 0
	    || name_get(object, "run", b.run, sizeof(b.run)) < 0
	    || name_get(object, "role", b.role, sizeof(b.role)) < 0
	    || natural_get(object, "beat", &b.beat) < 0
	    || natural_get(object, "epoch", &b.epoch) < 0
	    || natural_get(object, "number", &b.number) < 0
	    || natural_get(object, "known", &b.known) < 0
	    || time_get(object, "wall_ms", &b.wall_ms) < 0)
		return -EINVAL;
	if (leader && strlen(leader) >= sizeof(b.leader))
		return -EINVAL;
	snprintf(b.leader, sizeof(b.leader), "%s", leader ? leader : "");
	b.leads = json_is_true(json_object_get(object, "leads"));
	*ret_beat = b;
	return 0;
}

// --- upward

static const char *const up_kinds[] = {
	[FLEET_UP_ASK] = "ask",
	[FLEET_UP_HINT] = "hint",
	[FLEET_UP_RESYNC] = "resync",
};

json_t *fleet_up_json(const struct fleet_up *u)
{
	json_t *object = json_pack(
		"{s:s, s:s, s:I, s:I}",
		"gateway",
		u->gateway,
		"kind",
		up_kinds[u->kind],
		"seq",
		(json_int_t)u->seq,
		"wall_ms",
		(json_int_t)u->wall_ms
	);

	if (u->text)
		json_object_set_new(object, "text", json_string(u->text));
	return object;
}

int fleet_up_parse(const json_t *object, struct fleet_up *ret_up)
{
	const char *kind = json_string_value(json_object_get(object, "kind"));
	struct fleet_up u = {0};
	size_t k = 0;

	while (kind && k < sizeof(up_kinds) / sizeof(up_kinds[0]) && strcmp(up_kinds[k], kind) != 0)
		k++;
	if (!kind || k == sizeof(up_kinds) / sizeof(up_kinds[0])
	    || name_get(object, "gateway", u.gateway, sizeof(u.gateway)) < 0
	    || natural_get(object, "seq", &u.seq) < 0
	    || time_get(object, "wall_ms", &u.wall_ms) < 0)
		return -EINVAL;
	u.kind = (enum fleet_up_kind)k;
	u.text = json_string_value(json_object_get(object, "text"));
	if (u.kind != FLEET_UP_RESYNC && !u.text)
		return -EINVAL;
	*ret_up = u;
	return 0;
}
