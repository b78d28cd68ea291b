// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Records into a follower's ledger, in order. State records are applied at once, in the open
// transaction; what the lists' worker has to do takes its time, and what comes behind it waits.

#include "control/ledger_fleet_internal.h"
#include "control/lists_internal.h"
#include "control/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- reading

static int end_parse(const json_t *end, struct fleet_batch *b)
{
	const json_t *count = json_object_get(end, "count");
	const char *digest = json_string_value(json_object_get(end, "digest"));

	if (!json_is_integer(count) || json_integer_value(count) < 0 || !digest
	    || strlen(digest) != DIGEST_TEXT_MAX - 1 || digest_parse(digest, &b->digest) < 0)
		return -EBADMSG;
	b->count = (uint64_t)json_integer_value(count);
	b->ends = true;
	return 0;
}

void batch_free(struct fleet_batch *b)
{
	free(b->items);
	json_decref(b->root);
	*b = (struct fleet_batch){0};
}

int batch_parse(const void *data, size_t len, struct fleet_batch *ret_batch)
{
	struct fleet_batch b = {.root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL)};
	const json_t *items = json_object_get(b.root, "items");
	const json_t *up = json_object_get(b.root, "up"), *end = json_object_get(b.root, "end");
	int r = json_is_array(items) ? 0 : -EBADMSG;

	if (r == 0)
		b.items = calloc(json_array_size(items) + 1, sizeof(*b.items));
	if (r == 0 && !b.items)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < json_array_size(items); i++)
		r = item_parse(json_array_get(items, i), &b.items[b.n++]);
	if (r == 0 && up) {
		b.up = json_string_value(up);
		if (!b.up || strlen(b.up) >= sizeof(((struct fleet_now *)NULL)->up))
			r = -EBADMSG;
	}
	if (r == 0 && end)
		r = end_parse(end, &b);
	if (r < 0)
		batch_free(&b);
	else
		*ret_batch = b;
	return r;
}

int members_parse(
	const void *data, size_t len, bool *ret_ends, uint64_t *ret_count, struct digest *ret_digest
)
{
	const uint8_t *at = data;
	uint64_t count = 0;

	if (len < MEMBERS_HEADER || at[0] > MEMBERS_END)
		return -EBADMSG;
	for (int i = 0; i < 8; i++)
		count = count << 8 | at[1 + i];
	*ret_ends = at[0] & MEMBERS_END;
	*ret_count = count;
	*ret_digest = digest_unpack(at + 9);
	return 0;
}

static int hex_parse(const char *text, uint8_t *octets, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(text) != 2 * len)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		const char *high = strchr(digits, text[2 * i]);
		const char *low = strchr(digits, text[2 * i + 1]);

		if (!high || !low)
			return -EBADMSG;
		octets[i] = (uint8_t)((high - digits) << 4 | (low - digits));
	}
	return 0;
}

int epoch_parse(const void *data, size_t len, struct fleet_epoch_data *ret)
{
	struct fleet_epoch_data e = {.base = {0}};
	json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	const char *leader = NULL, *mac = NULL;
	json_int_t epoch = -1, number = -1;
	int r = json_unpack(
		root,
		"{s:s, s:{s:I, s:I, s:s}}",
		"leader",
		&leader,
		"base",
		"epoch",
		&epoch,
		"number",
		&number,
		"mac",
		&mac
	);

	r = r == 0 && epoch >= 0 && number >= 0 && *leader && strlen(leader) < FLEET_NAME_MAX
		? hex_parse(mac, e.base.mac, FLEET_MAC_LEN)
		: -EBADMSG;
	if (r == 0) {
		snprintf(e.leader, sizeof(e.leader), "%s", leader);
		e.base.epoch = (uint64_t)epoch;
		e.base.number = (uint64_t)number;
		*ret = e;
	}
	json_decref(root);
	return r;
}

// --- applying

static void end_note(struct ledger *l, uint64_t number, uint64_t count, struct digest digest)
{
	l->now.fleet.end_number = number;
	l->now.fleet.end_count = count;
	l->now.fleet.end_digest = digest;
}

static int state_apply(struct ledger *l, const struct fleet_record *record)
{
	struct fleet_batch b = {0};
	int r = record->epoch == record->before.epoch ? batch_parse(record->data, record->len, &b)
						      : -EILSEQ;

	if (r < 0)
		return r;
	l->fleet->applying = true;
	for (size_t i = 0; i < b.n && !l->error; i++)
		item_put(l, &b.items[i]);
	l->fleet->applying = false;
	if (b.up)
		snprintf(l->now.fleet.up, sizeof(l->now.fleet.up), "%s", b.up);
	if (b.ends)
		end_note(l, record->number, b.count, b.digest);
	l->n_open += b.n;
	batch_free(&b);
	return 0;
}

static int epoch_apply(struct ledger *l, const struct fleet_record *record)
{
	struct fleet_now *now = &l->now.fleet;
	struct fleet_epoch_data e;
	int r = epoch_parse(record->data, record->len, &e);

	if (r < 0)
		return r;
	if (record->epoch <= record->before.epoch || !place_equal(&e.base, &record->before))
		return -EILSEQ;
	if (record->epoch == now->epoch && strcmp(e.leader, now->leader) != 0 && now->leader[0])
		return -EEXIST;
	if (record->epoch >= now->epoch) {
		now->epoch = record->epoch;
		snprintf(now->leader, sizeof(now->leader), "%s", e.leader);
	}
	return 0;
}

// In the open transaction, or -errno and nothing was written.
static int record_apply(struct ledger *l, const struct fleet_record *record)
{
	int r = transaction_begin(l);

	if (r < 0)
		return r;
	if (!place_equal(&record->before, &l->now.fleet.place))
		return -EILSEQ;
	r = record->kind == FLEET_EPOCH ? epoch_apply(l, record) : state_apply(l, record);
	if (r == 0)
		record_keep(l, record);
	return r;
}

// Inside the transaction of the batch that a members record became.
void lists_applied(void *ctx, void *apply_ctx)
{
	struct ledger *l = ctx;
	struct fleet_waiting *w = apply_ctx;
	struct digest digest;
	uint64_t count;
	bool ends;

	if (!place_equal(&w->record.before, &l->now.fleet.place)) {
		transaction_fail(l, -EILSEQ);
		return;
	}
	if (members_parse(w->record.data, w->record.len, &ends, &count, &digest) == 0 && ends)
		end_note(l, w->record.number, count, digest);
	record_keep(l, &w->record);
}

// --- waiting

static void waiting_go(struct ledger *l);

static void waiting_done(struct fleet_waiting *w, int error, const char *message)
{
	struct ledger *l = w->ledger;

	STAILQ_REMOVE(&l->fleet->waiting, w, fleet_waiting, link);
	if (error < 0)
		l->fleet->failed = true;
	pending_done(l, w->done, w->ctx, error, message);
	free(w);
}

static void members_done(void *ctx, int error, const char *message)
{
	struct fleet_waiting *w = ctx;
	struct ledger *l = w->ledger;
	bool first = w == STAILQ_FIRST(&l->fleet->waiting);

	waiting_done(w, error, message);
	if (first)
		waiting_go(l);
}

static void members_give(struct ledger *l, struct fleet_waiting *w)
{
	const uint8_t *at = w->record.data;

	w->given = true;
	lists_fleet_apply(
		l->lists, at + MEMBERS_HEADER, w->record.len - MEMBERS_HEADER, members_done, w
	);
}

// Goes on until something waits for the lists.
static void waiting_go(struct ledger *l)
{
	struct fleet_waiting *w, *next;

	for (w = STAILQ_FIRST(&l->fleet->waiting); w; w = next) {
		next = STAILQ_NEXT(w, link);
		if (w->given)
			continue;
		if (l->fleet->failed) {
			waiting_done(w, -ECANCELED, "a record before it failed");
		} else if (w->record.kind == FLEET_MEMBERS) {
			members_give(l, w);
		} else if (w != STAILQ_FIRST(&l->fleet->waiting)) {
			return;
		} else {
			waiting_done(w, record_apply(l, &w->record), "");
		}
	}
	if (STAILQ_EMPTY(&l->fleet->waiting))
		l->fleet->failed = false;
}

void waiting_free(struct ledger *l)
{
	struct fleet_waiting *w;

	while ((w = STAILQ_FIRST(&l->fleet->waiting))) {
		STAILQ_REMOVE_HEAD(&l->fleet->waiting, link);
		free(w);
	}
}

static int
waiting_add(struct ledger *l, const struct fleet_record *record, ledger_done done, void *ctx)
{
	struct fleet_waiting *w = malloc(sizeof(*w) + record->len);

	if (!w)
		return -ENOMEM;
	*w = (struct fleet_waiting){.ledger = l, .record = *record, .done = done, .ctx = ctx};
	memcpy(w->data, record->data, record->len);
	w->record.data = w->data;
	STAILQ_INSERT_TAIL(&l->fleet->waiting, w, link);
	waiting_go(l);
	return 0;
}

// What can be said of it before those that wait.
static int record_check(struct ledger *l, const struct fleet_record *record)
{
	struct fleet_place kept;
	struct digest digest;
	uint64_t count;
	bool ends;

	if (!l->fleet || l->now.fleet.leads)
		return -EPERM;
	if (record->number != record->before.number + 1)
		return -EILSEQ;
	if (record->kind > FLEET_EPOCH || record->len > 2 * FLEET_RECORD_MAX)
		return -EBADMSG;
	// Published twice: it is the one that we have.
	if (record->number <= l->now.fleet.place.number) {
		if (record_mac(l, record->number, &kept) < 0 || kept.epoch != record->epoch
		    || memcmp(kept.mac, record->mac, FLEET_MAC_LEN) != 0)
			return -EILSEQ;
		return 1;
	}
	if (record->kind != FLEET_MEMBERS)
		return 0;
	if (record->epoch != record->before.epoch)
		return -EILSEQ;
	return members_parse(record->data, record->len, &ends, &count, &digest);
}

void ledger_fleet_apply(
	struct ledger *l, const struct fleet_record *record, ledger_done done, void *ctx
)
{
	static const char *const why[]
		= {"it is none of a log that follows ours", "is not understood"};
	int r = record_check(l, record);

	if (r == 1) {
		pending_done(l, done, ctx, 0, "");
		return;
	}
	if (r == 0 && (record->kind == FLEET_MEMBERS || !STAILQ_EMPTY(&l->fleet->waiting)))
		r = waiting_add(l, record, done, ctx);
	else if (r == 0) {
		r = record_apply(l, record);
		pending_done(l, done, ctx, r, r < 0 ? why[r == -EBADMSG] : "");
		if (l->n_open >= PENDING_FULL)
			ledger_commit_soon(l);
		return;
	}
	if (r < 0)
		pending_done(l, done, ctx, r, why[r == -EBADMSG]);
}
