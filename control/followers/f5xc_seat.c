// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_seat.h"

#include "control/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct f5xc_slot *slot_of(struct f5xc_wanted *w, int family, int slot)
{
	return &w->slots[family == 6][slot];
}

static void seat(struct f5xc_wanted *w, struct f5xc_place *place, int at)
{
	struct f5xc_slot *slot = slot_of(w, place->at.family, at);

	place->slot = at;
	TAILQ_INSERT_TAIL(&slot->places, place, in_slot);
	slot->n += !f5xc_is_keep(place->at.family, &place->at.prefix);
}

static void unseat(struct f5xc_wanted *w, struct f5xc_place *place)
{
	struct f5xc_slot *slot = slot_of(w, place->at.family, place->slot);

	TAILQ_REMOVE(&slot->places, place, in_slot);
	slot->n -= !f5xc_is_keep(place->at.family, &place->at.prefix);
	place->slot = -1;
	place->held = false;
}

void f5xc_seat_found(
	struct f5xc_wanted *w, int family, int at, const struct f5xc_row *held, size_t n
)
{
	struct f5xc_slot *slot = slot_of(w, family, at);
	struct f5xc_place *place;

	w->moves++;
	TAILQ_FOREACH(place, &slot->places, in_slot)
	place->held = f5xc_is_keep(family, &place->at.prefix) && n > 0;
	for (size_t i = 0; i < n; i++) {
		place = f5xc_place_find(w, (uint8_t)family, &held[i].prefix);
		if (!place)
			continue;
		if (place->slot < 0 && !slot->closed) {
			// It stands there: whatever F5 said of it once no longer holds.
			free(place->refused);
			place->refused = NULL;
			seat(w, place, at);
		}
		if (place->slot == at) {
			place->held = true;
			place->drifted = false;
		}
	}
}

// --- seats for what waits

struct candidate {
	struct f5xc_item *item;
	bool seated; // in part, or before an allow came or went
};

static int candidate_compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->seated != y->seated)
		return x->seated ? -1 : 1;
	if (x->item->voice.list != y->item->voice.list)
		return x->item->voice.list ? 1 : -1;
	if (x->item->voice.created != y->item->voice.created)
		return x->item->voice.created < y->item->voice.created ? -1 : 1;
	return memcmp(&x->item->key, &y->item->key, sizeof(x->item->key));
}

static size_t room_of(const struct f5xc_wanted *w, const struct f5xc_slot *slot)
{
	return slot->closed || slot->unread || slot->n >= w->conf->set_size
		? 0
		: w->conf->set_size - slot->n;
}

// Room that makes a set worth a write of its own: several new ones go together.
static size_t room_worth(const struct f5xc_wanted *w)
{
	size_t part = w->conf->set_size / 16;

	return part < 1 ? 1 : part > 8 ? 8 : part;
}

// A smaller class goes first, among equals the smaller age. `behind`: a set with new ones waits to
// be written already and is full: the next must take many, or each would need a write of its own.
static int
slot_class(const struct f5xc_wanted *w, const struct f5xc_slot *slot, bool behind, int64_t *ret_age)
{
	size_t room = room_of(w, slot), worth = room_worth(w) * (behind ? 4 : 1);

	*ret_age = slot->dirty_ms;
	if (slot->dirty && slot->adds)
		return 0; // what comes together goes together
	if (slot->dirty && slot->made && room >= worth)
		return 1;
	*ret_age = 0; // the lowest
	if ((slot->made || slot->n > 0) && room >= worth)
		return 2;
	if (!slot->made && slot->n == 0)
		return 3;
	return 4;
}

static bool new_ones_wait(const struct f5xc_wanted *w, int family)
{
	for (unsigned i = 0; i < w->conf->max_sets; i++) {
		const struct f5xc_slot *slot = &w->slots[family == 6][i];

		if (slot->dirty && slot->adds)
			return true;
	}
	return false;
}

// The set for the next new place; `hint` where it sat before. -1: none has room.
static int slot_choose(struct f5xc_wanted *w, int family, int hint)
{
	bool behind = new_ones_wait(w, family);
	int best = -1, best_class = 5;
	int64_t best_age = 0, age;

	if (hint >= 0 && room_of(w, slot_of(w, family, hint)) > 0)
		return hint;
	for (int i = 0; i < (int)w->conf->max_sets; i++) {
		struct f5xc_slot *slot = slot_of(w, family, i);
		int class;

		if (room_of(w, slot) == 0)
			continue;
		class = slot_class(w, slot, behind, &age);
		if (class < best_class || (class == best_class && age < best_age)) {
			best = i;
			best_class = class;
			best_age = age;
		}
	}
	return best;
}

static size_t room_all(const struct f5xc_wanted *w, int family)
{
	size_t room = 0;

	for (unsigned i = 0; i < w->conf->max_sets; i++)
		room += room_of(w, &w->slots[family == 6][i]);
	return room;
}

// All of its places or none.
static bool item_seat(struct f5xc_wanted *w, struct f5xc_item *item, size_t *room)
{
	int family = item->key.family;
	size_t needed = 0;

	for (size_t i = 0; i < item->n_pieces; i++)
		needed += item->pieces[i]->slot < 0
			&& !f5xc_is_keep(family, &item->pieces[i]->at.prefix);
	if (needed > *room)
		return false;
	for (size_t i = 0; i < item->n_pieces; i++) {
		struct f5xc_place *place = item->pieces[i];
		int at;

		if (place->slot >= 0)
			continue;
		at = slot_choose(w, family, item->hint);
		if (at < 0) // only the one that stays anyway: it takes no room of a set
			at = 0;
		seat(w, place, at);
		f5xc_slot_dirty(slot_of(w, family, at), true);
	}
	*room -= needed;
	return true;
}

static bool item_refused(const struct f5xc_item *item)
{
	for (size_t i = 0; i < item->n_pieces; i++)
		if (item->pieces[i]->refused)
			return true;
	return false;
}

static bool item_seated(const struct f5xc_item *item)
{
	for (size_t i = 0; i < item->n_pieces; i++)
		if (item->pieces[i]->slot < 0)
			return false;
	return true;
}

static bool item_in_part(const struct f5xc_item *item)
{
	bool part = item->was_seated;

	for (size_t i = 0; i < item->n_pieces; i++)
		part |= item->pieces[i]->slot >= 0;
	return part;
}

static struct candidate *candidates_make(struct f5xc_wanted *w, size_t *ret_n)
{
	struct candidate *list;
	struct f5xc_item *item;
	size_t n = 0;

	TAILQ_FOREACH(item, &w->waiting, waiting)
	n++;
	list = calloc(n + 1, sizeof(*list));
	*ret_n = list ? n : 0;
	n = 0;
	TAILQ_FOREACH(item, &w->waiting, waiting)
	if (list)
		list[n++] = (struct candidate){item, item_in_part(item)};
	if (n > 1)
		qsort(list, n, sizeof(*list), candidate_compare);
	return list;
}

void f5xc_seat_assign(struct f5xc_wanted *w, int64_t only_after)
{
	size_t n, room[2] = {room_all(w, 4), room_all(w, 6)};
	struct candidate *list;

	if (TAILQ_EMPTY(&w->waiting)) {
		w->n_full = 0;
		return;
	}
	list = candidates_make(w, &n);
	w->n_full = 0;
	w->moves++;
	for (size_t i = 0; i < n; i++) {
		struct f5xc_item *item = list[i].item;

		item->full = false;
		if (!item_seated(item)) {
			if (item_refused(item) || item->voice.created < only_after)
				continue;
			if (!item_seat(w, item, &room[item->key.family == 6])) {
				item->full = true;
				w->n_full++;
				continue;
			}
		}
		TAILQ_REMOVE(&w->waiting, item, waiting);
		item->waits = item->was_seated = false;
		item->hint = -1;
	}
	free(list);
}

// Items whose places lost their seats wait. A walk over all: rare.
static void waiting_find(struct f5xc_wanted *w)
{
	struct f5xc_item *item, *next;

	HASH_ITER(hh, w->items, item, next)
	{
		if (item->waits || item_seated(item))
			continue;
		TAILQ_INSERT_TAIL(&w->waiting, item, waiting);
		item->waits = true;
	}
	w->moves++;
}

void f5xc_seat_clear(struct f5xc_wanted *w, int family, int at)
{
	struct f5xc_slot *slot = slot_of(w, family, at);
	struct f5xc_place *place;

	if (TAILQ_EMPTY(&slot->places))
		return;
	while ((place = TAILQ_FIRST(&slot->places)))
		unseat(w, place);
	waiting_find(w);
}

int f5xc_seat_refuse(
	struct f5xc_wanted *w, struct f5xc_place *place, const char *why, unsigned wait_s
)
{
	char *copy = strdup(why);

	if (!copy)
		return -ENOMEM;
	free(place->refused);
	place->refused = copy;
	place->refused_s = place->refused_s ? 2 * place->refused_s : wait_s;
	if (place->refused_s > 3600)
		place->refused_s = 3600;
	place->refused_until_ms = f5xc_now_ms() + (int64_t)place->refused_s * 1000;
	unseat(w, place);
	waiting_find(w);
	return 0;
}

void f5xc_seat_retry(struct f5xc_wanted *w)
{
	int64_t now = f5xc_now_ms();
	struct f5xc_item *item;

	TAILQ_FOREACH(item, &w->waiting, waiting)
	for (size_t i = 0; i < item->n_pieces; i++) {
		struct f5xc_place *place = item->pieces[i];

		if (place->refused && now >= place->refused_until_ms) {
			free(place->refused);
			place->refused = NULL;
		}
	}
}

// --- rows

static int row_compare(const void *a, const void *b)
{
	return f5xc_prefix_compare(a, b);
}

size_t f5xc_seat_rows(
	const struct f5xc_wanted *w, int family, int at, size_t max_new, struct f5xc_row *ret_rows
)
{
	const struct f5xc_slot *slot = &w->slots[family == 6][at];
	struct f5xc_place *place;
	size_t n = 0, n_new = 0;

	ret_rows[n++] = (struct f5xc_row){f5xc_keep(family), F5XC_KEEP_WHY};
	TAILQ_FOREACH(place, &slot->places, in_slot)
	{
		if (place->drifted || f5xc_is_keep(family, &place->at.prefix)
		    || (!place->held && n_new++ >= max_new))
			continue;
		ret_rows[n++] = (struct f5xc_row){place->at.prefix, place->description};
	}
	qsort(ret_rows, n, sizeof(*ret_rows), row_compare);
	return n;
}

size_t f5xc_seat_new(const struct f5xc_wanted *w, int family, int at, struct f5xc_place **ret_first)
{
	const struct f5xc_slot *slot = &w->slots[family == 6][at];
	struct f5xc_place *place;
	size_t n = 0;

	TAILQ_FOREACH(place, &slot->places, in_slot)
	{
		if (place->held || place->drifted || f5xc_is_keep(family, &place->at.prefix))
			continue;
		if (n++ == 0)
			*ret_first = place;
	}
	return n;
}

size_t f5xc_seat_total(const struct f5xc_wanted *w)
{
	size_t n = 0;

	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			n += w->slots[v][i].n;
	return n;
}
