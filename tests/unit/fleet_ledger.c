// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/unit/fleet_ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct later {
	ledger_done done;
	void *ctx;
	int error;
};

struct ledger *fake_new(struct event_base *base)
{
	struct ledger *l = calloc(1, sizeof(*l));

	l->base = base;
	l->records = calloc(FAKE_RECORDS, sizeof(*l->records));
	l->first = 1;
	return l;
}

void fake_free(struct ledger *l)
{
	json_decref(l->note);
	free(l->records);
	free(l);
}

size_t fake_count(const struct ledger *l)
{
	size_t n = 0;

	for (int i = 0; i < FAKE_ENTRIES; i++)
		n += l->on[i];
	return n;
}

bool fake_same(const struct ledger *a, const struct ledger *b)
{
	return memcmp(a->on, b->on, sizeof(a->on)) == 0;
}

static unsigned pending;

unsigned fake_pending(void)
{
	return pending;
}

static void later_cb(evutil_socket_t fd, short what, void *ctx)
{
	struct later *later = ctx;

	(void)fd;
	(void)what;
	later->done(later->ctx, later->error, later->error ? strerror(-later->error) : "");
	free(later);
	pending--;
}

static void later(struct ledger *l, ledger_done done, void *ctx, int error)
{
	static const struct timeval soon = {.tv_usec = 1000};
	struct later *later = malloc(sizeof(*later));

	*later = (struct later){done, ctx, error};
	pending++;
	event_base_once(l->base, -1, EV_TIMEOUT, later_cb, later, &soon);
}

// --- records

static void record_keep(struct ledger *l, const struct fleet_record *r)
{
	struct fake_record *kept;

	if (l->n == 0)
		l->first = r->number;
	if (l->n == FAKE_RECORDS)
		abort();
	kept = &l->records[l->n++];
	kept->record = *r;
	memcpy(kept->text, r->data, r->len);
	kept->text[r->len] = '\0';
	l->place = (struct fleet_place){.epoch = r->epoch, .number = r->number};
	memcpy(l->place.mac, r->mac, FLEET_MAC_LEN);
}

static void record_make(struct ledger *l, enum fleet_kind kind, const char *text)
{
	struct fleet_record r = {
		.before = l->place,
		.epoch = l->epoch,
		.number = l->place.number + 1,
		.kind = kind,
		.data = text,
		.len = strlen(text),
	};

	l->setup.seal(l->setup.ctx, &r, r.mac);
	record_keep(l, &r);
}

static void entry_record(struct ledger *l, int entry, bool on, const char *gateway, uint64_t seq)
{
	char text[200];

	l->on[entry] = l->confirmed[entry] = on;
	l->local[entry] = false;
	snprintf(
		text,
		sizeof(text),
		"%d %d %zu %s %lu",
		entry,
		on,
		fake_count(l),
		gateway,
		(unsigned long)seq
	);
	record_make(l, FLEET_STATE, text);
	if (l->made)
		l->made(l->made_ctx);
}

void fake_set(struct ledger *l, int entry, bool on)
{
	if (l->leads) {
		entry_record(l, entry, on, "-", 0);
		return;
	}
	l->on[entry] = on;
	l->local[entry] = true;
	l->asks[l->n_asks++] = (struct fake_ask){++l->seq, entry, on};
	if (l->asks_cb)
		l->asks_cb(l->asks_ctx);
}

int ledger_fleet_open(struct ledger *l, const struct fleet_setup *setup)
{
	l->setup = *setup;
	snprintf(l->gateway, sizeof(l->gateway), "%s", setup->gateway);
	l->open = true;
	return 0;
}

bool ledger_fleet_is(const struct ledger *l)
{
	return l->open;
}

void ledger_fleet_place(const struct ledger *l, struct fleet_place *ret_place)
{
	*ret_place = l->place;
}

int ledger_fleet_epoch_see(
	struct ledger *l, uint64_t epoch, const char *leader, ledger_done done, void *ctx
)
{
	int error = 0;

	if (epoch < l->epoch)
		error = -ESTALE;
	else if (epoch == l->epoch && l->leader[0] && strcmp(leader, l->leader) != 0)
		error = -EEXIST;
	if (!error) {
		l->epoch = epoch;
		snprintf(l->leader, sizeof(l->leader), "%s", leader);
	}
	later(l, done, ctx, error);
	return error;
}

uint64_t ledger_fleet_epoch(const struct ledger *l, char ret_leader[FLEET_NAME_MAX])
{
	snprintf(ret_leader, FLEET_NAME_MAX, "%s", l->leader);
	return l->epoch;
}

void ledger_fleet_lead(struct ledger *l, uint64_t epoch, ledger_done done, void *ctx)
{
	char text[128];

	if (epoch <= l->epoch) {
		later(l, done, ctx, -ESTALE);
		return;
	}
	l->epoch = epoch;
	snprintf(l->leader, sizeof(l->leader), "%s", l->gateway);
	snprintf(text, sizeof(text), "{\"leader\": \"%s\"}", l->gateway);
	record_make(l, FLEET_EPOCH, text);
	l->leads = true;
	l->known = false;
	for (int i = 0; i < FAKE_ENTRIES; i++)
		if (l->local[i])
			entry_record(l, i, l->on[i], "-", 0);
	l->n_asks = 0;
	later(l, done, ctx, 0);
}

void ledger_fleet_follow(struct ledger *l)
{
	l->leads = false;
}

bool ledger_fleet_leads(const struct ledger *l)
{
	return l->leads;
}

void ledger_fleet_made_set(struct ledger *l, void (*made)(void *ctx), void *ctx)
{
	l->made = made;
	l->made_ctx = ctx;
}

int ledger_fleet_records(
	struct ledger *l, uint64_t after_number, size_t max_octets, fleet_record_cb cb, void *ctx
)
{
	size_t octets = 0;

	if (after_number > l->place.number || (l->n && after_number + 1 < l->first))
		return -ESTALE;
	for (uint64_t i = after_number + 1 - l->first; i < l->n && octets < max_octets; i++) {
		l->records[i].record.data = l->records[i].text;
		octets += l->records[i].record.len;
		if (!cb(ctx, &l->records[i].record))
			break;
	}
	return 0;
}

void ledger_fleet_trim(struct ledger *l, uint64_t up_to)
{
	if (up_to < l->first || l->n == 0)
		return;
	if (up_to >= l->first + l->n)
		abort();
	memmove(l->records,
		l->records + (up_to + 1 - l->first),
		(l->n - (up_to + 1 - l->first)) * sizeof(*l->records));
	l->n -= up_to + 1 - l->first;
	l->first = up_to + 1;
}

// --- follower

static void ask_settle(struct ledger *l, uint64_t seq)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n_asks; i++)
		if (l->asks[i].seq != seq)
			l->asks[kept++] = l->asks[i];
	l->n_asks = kept;
}

static void entry_apply(struct ledger *l, const struct fleet_record *r)
{
	char text[256], gateway[64];
	unsigned long seq;
	int entry, on;
	size_t count;

	snprintf(text, sizeof(text), "%.*s", (int)r->len, (const char *)r->data);
	if (sscanf(text, "%d %d %zu %63s %lu", &entry, &on, &count, gateway, &seq) != 5)
		abort();
	l->named[entry] = true;
	if (strcmp(gateway, l->gateway) == 0)
		ask_settle(l, seq);
	l->on[entry] = l->confirmed[entry] = on;
	l->local[entry] = false;
	l->last_count = count;
	l->known = true;
}

static void sweep(struct ledger *l)
{
	if (!l->importing || l->place.epoch < l->to.epoch || l->place.number < l->to.number)
		return;
	l->importing = false;
	for (int i = 0; i < FAKE_ENTRIES; i++)
		if (l->on[i] && !l->named[i] && !l->local[i])
			l->on[i] = l->confirmed[i] = false;
}

void ledger_fleet_apply(struct ledger *l, const struct fleet_record *r, ledger_done done, void *ctx)
{
	if (l->leads) {
		later(l, done, ctx, -EPERM);
		return;
	}
	if (memcmp(r->before.mac, l->place.mac, FLEET_MAC_LEN) != 0
	    || r->number != l->place.number + 1) {
		later(l, done, ctx, -EILSEQ);
		return;
	}
	if (r->kind == FLEET_EPOCH) {
		json_t *json = json_loadb(r->data, r->len, 0, NULL);

		l->epoch = r->epoch;
		snprintf(
			l->leader,
			sizeof(l->leader),
			"%s",
			json_string_value(json_object_get(json, "leader"))
		);
		json_decref(json);
	} else {
		entry_apply(l, r);
	}
	record_keep(l, r);
	sweep(l);
	later(l, done, ctx, 0);
}

void ledger_fleet_fork(
	struct ledger *l, const struct fleet_place *base, ledger_done done, void *ctx
)
{
	uint64_t keep;

	l->forks++;
	if (l->n == 0 || base->number < l->first
	    || memcmp(l->records[base->number - l->first].record.mac, base->mac, FLEET_MAC_LEN)
		    != 0) {
		later(l, done, ctx, -EILSEQ);
		return;
	}
	keep = base->number + 1 - l->first;
	for (uint64_t i = keep; i < l->n; i++) {
		int entry, on;

		if (l->records[i].record.kind == FLEET_STATE
		    && sscanf(l->records[i].text, "%d %d", &entry, &on) == 2 && on) {
			l->local[entry] = true;
			l->asks[l->n_asks++] = (struct fake_ask){++l->seq, entry, true};
		}
	}
	l->n = keep;
	l->place = *base;
	later(l, done, ctx, 0);
}

void ledger_fleet_reset(struct ledger *l, const char *why, ledger_done done, void *ctx)
{
	(void)why;
	l->resets++;
	l->n = 0;
	l->place = (struct fleet_place){0};
	later(l, done, ctx, 0);
}

// --- checkpoint

struct fleet_export {
	struct ledger *ledger;
	fleet_chunk_cb chunk;
	fleet_export_done done;
	void *ctx;
	struct fleet_place from;
	int next;
	struct event *event;
};

void ledger_fleet_export_free(struct fleet_export *e)
{
	event_free(e->event);
	free(e);
}

static void export_slice(evutil_socket_t fd, short what, void *ctx)
{
	struct fleet_export *e = ctx;
	uint8_t chunk[33];

	(void)fd;
	(void)what;
	if (e->next == FAKE_ENTRIES) {
		e->done(e->ctx, 0, &e->from, &e->ledger->place);
		ledger_fleet_export_free(e);
		return;
	}
	chunk[0] = (uint8_t)e->next;
	for (int i = 0; i < 32; i++)
		chunk[i + 1] = e->ledger->on[e->next + i];
	e->next += 32;
	if (e->chunk(e->ctx, chunk, sizeof(chunk)))
		event_active(e->event, EV_TIMEOUT, 0);
}

int ledger_fleet_export(
	struct ledger *l,
	fleet_chunk_cb chunk,
	fleet_export_done done,
	void *ctx,
	struct fleet_export **ret
)
{
	struct fleet_export *e = calloc(1, sizeof(*e));

	*e = (struct fleet_export){l, chunk, done, ctx, l->place, 0, NULL};
	e->event = event_new(l->base, -1, 0, export_slice, e);
	event_active(e->event, EV_TIMEOUT, 0);
	*ret = e;
	return 0;
}

void ledger_fleet_export_resume(struct fleet_export *e)
{
	event_active(e->event, EV_TIMEOUT, 0);
}

void ledger_fleet_import_begin(
	struct ledger *l,
	const struct fleet_place *from,
	const struct fleet_place *to,
	ledger_done done,
	void *ctx
)
{
	if (from->number < l->place.number) {
		l->weakened++;
		later(l, done, ctx, -ESTALE);
		return;
	}
	l->from = *from;
	l->to = *to;
	memset(l->named, 0, sizeof(l->named));
	l->importing = true;
	later(l, done, ctx, 0);
}

void ledger_fleet_import(
	struct ledger *l, const void *chunk, size_t len, ledger_done done, void *ctx
)
{
	const uint8_t *octets = chunk;

	if (len != 33)
		abort();
	for (int i = 0; i < 32; i++)
		if (octets[i + 1]) {
			l->on[octets[0] + i] = l->confirmed[octets[0] + i] = true;
			l->named[octets[0] + i] = true;
		}
	later(l, done, ctx, 0);
}

void ledger_fleet_import_end(struct ledger *l, ledger_done done, void *ctx)
{
	l->imports++;
	l->n = 0;
	l->place = l->from;
	sweep(l);
	later(l, done, ctx, 0);
}

void ledger_fleet_import_abort(struct ledger *l)
{
	l->importing = false;
}

// --- asks

int ledger_fleet_asks(struct ledger *l, uint64_t after_seq, size_t max, fleet_ask_cb cb, void *ctx)
{
	for (size_t i = 0; i < l->n_asks && max > 0; i++) {
		char json[64];

		if (l->asks[i].seq <= after_seq)
			continue;
		max--;
		snprintf(
			json,
			sizeof(json),
			"{\"entry\": %d, \"on\": %d}",
			l->asks[i].entry,
			l->asks[i].on
		);
		if (!cb(ctx, l->asks[i].seq, json))
			break;
	}
	return 0;
}

void ledger_fleet_asks_set(struct ledger *l, void (*asks)(void *ctx), void *ctx)
{
	l->asks_cb = asks;
	l->asks_ctx = ctx;
}

void ledger_fleet_asked(
	struct ledger *l,
	const char *gateway,
	uint64_t seq,
	const char *up_id,
	const char *text,
	ledger_done done,
	void *ctx
)
{
	json_t *json = json_loads(text, 0, NULL);
	int entry = (int)json_integer_value(json_object_get(json, "entry"));
	bool on = json_integer_value(json_object_get(json, "on")) != 0;
	uint64_t *last = &l->asked_seq[(gateway[1] - '0') & 15];

	json_decref(json);
	if (!l->leads) {
		later(l, done, ctx, -EPERM);
		return;
	}
	snprintf(l->up, sizeof(l->up), "%s", up_id);
	if (seq <= *last)
		l->done_twice++;
	*last = seq;
	entry_record(l, entry, on, gateway, seq);
	later(l, done, ctx, 0);
}

const char *ledger_fleet_up(const struct ledger *l)
{
	return l->up;
}

int64_t ledger_fleet_asks_since(struct ledger *l)
{
	return l->n_asks ? time(NULL) : 0;
}

void ledger_fleet_state(struct ledger *l, struct fleet_state *s)
{
	size_t local = 0;

	for (int i = 0; i < FAKE_ENTRIES; i++)
		local += l->local[i];
	*s = (struct fleet_state){
		.place = l->place,
		.leads = l->leads,
		.known = l->known,
		.importing = l->importing,
		.count = fake_count(l),
		.fleet_count = fake_count(l),
		.equal = !l->known || local > 0 || l->last_count == fake_count(l),
		.local = local,
		.asks = l->n_asks,
		.first = l->n ? l->first : 0,
		.records = l->n,
	};
	s->fleet_digest.lo = s->digest.lo = fake_count(l);
	snprintf(s->why, sizeof(s->why), "%s", s->equal ? "" : "counts differ");
}

// --- notes

int ledger_note_get(struct ledger *l, const char *owner, const char *key, json_t **ret_value)
{
	(void)owner;
	(void)key;
	*ret_value = json_incref(l->note);
	return l->note ? 0 : -ENOENT;
}

int ledger_note_set(struct ledger *l, const char *owner, const char *key, json_t *value)
{
	(void)owner;
	(void)key;
	json_decref(l->note);
	l->note = json_incref(value);
	return 0;
}
