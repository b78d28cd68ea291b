// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_wanted.h"

#include "control/conf.h"
#include "control/followers/f5xc_seat.h"
#include "control/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t f5xc_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void f5xc_wanted_init(struct f5xc_wanted *w, const struct conf_f5xc *conf)
{
	*w = (struct f5xc_wanted){.conf = conf};
	TAILQ_INIT(&w->waiting);
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			TAILQ_INIT(&w->slots[v][i].places);
}

// --- keys

struct f5xc_key f5xc_key_of(const struct indicator *n)
{
	struct f5xc_key key = {
		.kind = n->kind,
		.family = n->family,
		.len = n->prefix_len,
		.proto = n->proto,
		.port = {(uint8_t)(n->port >> 8), (uint8_t)n->port},
	};
	uint64_t id;

	if (n->kind == INDICATOR_NAME) {
		id = indicator_id(n);
		memcpy(key.addr, &id, sizeof(id));
	} else {
		memcpy(key.addr, n->addr, sizeof(key.addr));
	}
	return key;
}

struct indicator f5xc_key_indicator(const struct f5xc_key *key)
{
	struct indicator n = {
		.kind = key->kind,
		.family = key->family,
		.prefix_len = key->len,
		.proto = key->proto,
		.port = (uint16_t)(key->port[0] << 8 | key->port[1]),
	};

	memcpy(n.addr, key->addr, sizeof(n.addr));
	return n;
}

static struct f5xc_item *item_get(const struct f5xc_wanted *w, const struct f5xc_key *key)
{
	struct f5xc_item *item;

	HASH_FIND(hh, w->items, key, sizeof(*key), item);
	return item;
}

struct f5xc_item *f5xc_item_find(const struct f5xc_wanted *w, const struct indicator *n)
{
	const struct f5xc_key key = f5xc_key_of(n);

	return item_get(w, &key);
}

struct f5xc_place *
f5xc_place_find(const struct f5xc_wanted *w, uint8_t family, const struct f5xc_prefix *prefix)
{
	const struct f5xc_where at = {.family = family, .prefix = *prefix};
	struct f5xc_place *place;

	HASH_FIND(hh, w->places, &at, sizeof(at), place);
	return place;
}

void f5xc_slot_dirty(struct f5xc_slot *slot, bool adds)
{
	if (!slot->dirty)
		slot->dirty_ms = f5xc_now_ms();
	slot->dirty = true;
	slot->adds |= adds;
}

// --- places

static struct f5xc_place *
place_ref(struct f5xc_wanted *w, uint8_t family, const struct f5xc_prefix *prefix)
{
	struct f5xc_place *place = f5xc_place_find(w, family, prefix);

	if (!place) {
		place = calloc(1, sizeof(*place));
		if (!place)
			return NULL;
		place->at = (struct f5xc_where){.family = family, .prefix = *prefix};
		place->slot = -1;
		place->since_ms = f5xc_now_ms();
		HASH_ADD(hh, w->places, at, sizeof(place->at), place);
	}
	place->refs++;
	return place;
}

static void place_unref(struct f5xc_wanted *w, struct f5xc_place *place)
{
	if (--place->refs > 0)
		return;
	if (place->slot >= 0) {
		struct f5xc_slot *slot = &w->slots[place->at.family == 6][place->slot];

		TAILQ_REMOVE(&slot->places, place, in_slot);
		slot->n -= !f5xc_is_keep(place->at.family, &place->at.prefix);
		f5xc_slot_dirty(slot, false);
	}
	HASH_DELETE(hh, w->places, place);
	free(place->refused);
	free(place);
}

// --- items

static void pieces_drop(struct f5xc_wanted *w, struct f5xc_place **pieces, size_t n)
{
	for (size_t i = 0; i < n; i++)
		place_unref(w, pieces[i]);
	free(pieces);
}

static void item_drop(struct f5xc_wanted *w, struct f5xc_item *item)
{
	if (item->waits)
		TAILQ_REMOVE(&w->waiting, item, waiting);
	if (item->key.kind == INDICATOR_PORT) {
		w->n_ports--;
		w->ports_moved = true;
	}
	pieces_drop(w, item->pieces, item->n_pieces);
	if (w->sweep_at == item)
		w->sweep_at = item->hh.next;
	HASH_DELETE(hh, w->items, item);
	free(item->cut);
	free(item);
}

void f5xc_wanted_fini(struct f5xc_wanted *w)
{
	struct f5xc_item *item, *next;

	HASH_ITER(hh, w->items, item, next)
	item_drop(w, item);
	free(w->holes[0]);
	free(w->holes[1]);
	w->holes[0] = w->holes[1] = NULL;
}

static void cut_tell(
	const struct f5xc_wanted *w,
	struct f5xc_item *item,
	const struct f5xc_prefix *first,
	size_t n
)
{
	struct indicator hole = f5xc_prefix_indicator(first, item->key.family);
	char text[INDICATOR_TEXT_MAX], more[32] = "";

	(void)w;
	indicator_print(&hole, text);
	if (n > 1)
		snprintf(more, sizeof(more), " and %zu more", n - 1);
	if (asprintf(&item->cut, "%.45s%s", text, more) < 0)
		item->cut = NULL;
}

static bool pieces_same(const struct f5xc_item *item, const struct f5xc_prefix *prefixes, size_t n)
{
	if (n != item->n_pieces)
		return false;
	for (size_t i = 0; i < n; i++)
		if (f5xc_prefix_compare(&item->pieces[i]->at.prefix, &prefixes[i]) != 0)
			return false;
	return true;
}

static int pieces_set(
	struct f5xc_wanted *w, struct f5xc_item *item, const struct f5xc_prefix *prefixes, size_t n
)
{
	struct f5xc_place **pieces = calloc(n + 1, sizeof(struct f5xc_place *)),
			  **was = item->pieces;
	size_t n_was = item->n_pieces;

	for (size_t i = 0; pieces && i < n; i++) {
		pieces[i] = place_ref(w, item->key.family, &prefixes[i]);
		if (!pieces[i]) {
			pieces_drop(w, pieces, i);
			pieces = NULL;
		}
	}
	if (!pieces)
		return -ENOMEM;
	item->was_seated = item->n_pieces > 0 && item->pieces[0]->slot >= 0;
	item->hint = item->was_seated ? item->pieces[0]->slot : -1;
	item->pieces = pieces;
	item->n_pieces = n;
	pieces_drop(w, was, n_was);
	return 0;
}

// A network without what is allowed in it. Port entries are rules: they have no places.
static int item_cut(struct f5xc_wanted *w, struct f5xc_item *item)
{
	struct f5xc_prefix pieces[F5XC_PIECES_MAX], first;
	const struct indicator n = f5xc_key_indicator(&item->key);
	const struct f5xc_prefix whole = f5xc_prefix_of(&n);
	int v = item->key.family == 6;
	size_t n_pieces, n_holes;
	int rc = f5xc_cut(
		&whole,
		w->holes[v],
		w->n_holes[v],
		pieces,
		F5XC_PIECES_MAX,
		&n_pieces,
		&n_holes,
		&first
	);

	free(item->cut);
	item->cut = NULL;
	item->cut_refused = rc < 0;
	if (n_holes > 0)
		cut_tell(w, item, &first, n_holes);
	if (rc < 0 || item->key.kind == INDICATOR_PORT)
		n_pieces = 0;
	return pieces_same(item, pieces, n_pieces) ? 0 : pieces_set(w, item, pieces, n_pieces);
}

static void item_describe(struct f5xc_wanted *w, struct f5xc_item *item)
{
	for (size_t i = 0; i < item->n_pieces; i++) {
		struct f5xc_place *place = item->pieces[i];

		if (strcmp(place->description, item->voice.description) == 0
		    || (place->refs > 1 && place->description[0]))
			continue;
		memcpy(place->description, item->voice.description, sizeof(place->description));
		if (place->slot >= 0)
			f5xc_slot_dirty(&w->slots[place->at.family == 6][place->slot], false);
	}
}

static void item_waits(struct f5xc_wanted *w, struct f5xc_item *item)
{
	bool waits = false;

	for (size_t i = 0; i < item->n_pieces; i++)
		waits |= item->pieces[i]->slot < 0;
	if (waits && !item->waits)
		TAILQ_INSERT_TAIL(&w->waiting, item, waiting);
	else if (!waits && item->waits)
		TAILQ_REMOVE(&w->waiting, item, waiting);
	item->waits = waits;
}

// What its claims come to is in item->next. The item may be gone afterwards.
static int item_apply(struct f5xc_wanted *w, struct f5xc_item *item)
{
	int rc = 0;

	w->moves++;
	if (!item->next.any) {
		item_drop(w, item);
		return 0;
	}
	w->ports_moved |= item->key.kind == INDICATOR_PORT;
	item->voice = item->next;
	if (item->voice.why_not)
		rc = pieces_set(w, item, NULL, 0);
	else
		rc = item_cut(w, item);
	item_describe(w, item);
	item_waits(w, item);
	return rc;
}

// --- from the ledger

struct exceptions {
	struct f5xc_prefix *holes[2];
	size_t n[2], room[2];
	int error;
};

static int hole_add(struct exceptions *x, int v, const struct f5xc_prefix *prefix)
{
	if (x->n[v] == x->room[v]) {
		size_t room = x->room[v] ? 2 * x->room[v] : 64;
		struct f5xc_prefix *more = realloc(x->holes[v], room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		x->holes[v] = more;
		x->room[v] = room;
	}
	x->holes[v][x->n[v]++] = *prefix;
	return 0;
}

static bool exception_take(void *ctx, const struct exception *e)
{
	struct exceptions *x = ctx;
	// A set has no ports: of a port that is allowed, the whole address is.
	const struct f5xc_prefix prefix = f5xc_prefix_of(&e->indicator);

	if (e->indicator.kind != INDICATOR_NAME)
		x->error = hole_add(x, e->indicator.family == 6, &prefix);
	return x->error == 0;
}

int f5xc_wanted_exceptions(
	struct f5xc_wanted *w, struct ledger *ledger, const struct f5xc_where *own, size_t n_own
)
{
	struct exceptions x = {0};
	int rc = ledger_exceptions(ledger, exception_take, &x);

	if (rc == 0)
		rc = x.error;
	for (size_t i = 0; rc == 0 && i < n_own; i++)
		rc = hole_add(&x, own[i].family == 6, &own[i].prefix);
	for (int v = 0; v < 2; v++) {
		if (rc < 0) {
			free(x.holes[v]);
			continue;
		}
		free(w->holes[v]);
		w->holes[v] = x.holes[v];
		w->n_holes[v] = f5xc_holes_tidy(x.holes[v], x.n[v]);
	}
	return rc;
}

static bool mirrored_source(const struct conf_f5xc *conf, const char *source)
{
	for (size_t i = 0; i < conf->n_mirror; i++) {
		const char *word = conf->mirror[i];

		if (strcmp(word, source) == 0
		    || (strcmp(word, "cases") == 0 && strncmp(source, "thehive:", 8) == 0)
		    || (strcmp(word, "operators") == 0 && strcmp(source, "operator") == 0))
			return true;
	}
	return false;
}

static const char *not_mirrored(const struct conf_f5xc *conf, const struct claim *c)
{
	if (c->indicator.kind == INDICATOR_NAME)
		return "names need a forward proxy policy";
	if (c->tlp > conf->max_tlp)
		return "its TLP is above f5xc.max_tlp";
	if (c->indicator.kind == INDICATOR_PORT && !conf->policy_before)
		return "needs policy";
	if (c->indicator.kind == INDICATOR_PORT && c->indicator.family == 6)
		return "F5's rules list no IPv6 prefixes";
	return NULL;
}

// One that may be mirrored first, then of a case or operator, then the oldest.
static bool voice_better(const struct f5xc_voice *a, const struct f5xc_voice *b)
{
	if (!b->any)
		return true;
	if (!a->why_not != !b->why_not)
		return !a->why_not;
	if (a->list != b->list)
		return b->list;
	return a->created < b->created;
}

static bool claim_counts(const struct f5xc_wanted *w, const struct claim *c)
{
	return c->state < CLAIM_HELD && c->action == CLAIM_ENFORCE
		&& mirrored_source(w->conf, c->source);
}

static void claim_hear(const struct f5xc_wanted *w, struct f5xc_voice *voice, const struct claim *c)
{
	struct f5xc_voice one = {
		.any = true,
		.why_not = not_mirrored(w->conf, c),
		.list = strncmp(c->source, "list:", 5) == 0,
		.created = c->created,
	};

	if (*c->case_number)
		snprintf(one.description, sizeof(one.description), "case %.50s", c->case_number);
	else
		snprintf(one.description, sizeof(one.description), "%.60s", c->source);
	f5xc_text_clean(one.description); // octets, not letters, are what F5 counts
	if (voice_better(&one, voice))
		*voice = one;
}

static struct f5xc_item *item_add(struct f5xc_wanted *w, const struct f5xc_key *key)
{
	struct f5xc_item *item = calloc(1, sizeof(*item));

	if (!item)
		return NULL;
	item->key = *key;
	item->hint = -1;
	w->n_ports += key->kind == INDICATOR_PORT;
	HASH_ADD(hh, w->items, key, sizeof(item->key), item);
	return item;
}

struct hear {
	struct f5xc_wanted *w;
	struct f5xc_voice voice;
	int64_t last_id;
	size_t n;
	int error;
};

static bool one_heard(void *ctx, const struct claim *c)
{
	struct hear *h = ctx;

	if (claim_counts(h->w, c))
		claim_hear(h->w, &h->voice, c);
	return true;
}

int f5xc_wanted_refresh(
	struct f5xc_wanted *w, struct ledger *ledger, const struct indicator *indicator
)
{
	const struct f5xc_key key = f5xc_key_of(indicator);
	struct f5xc_item *item = item_get(w, &key);
	struct hear h = {.w = w};
	int rc = ledger_claims_on(ledger, indicator, one_heard, &h);

	if (rc < 0 || (!h.voice.any && !item))
		return rc;
	if (!item)
		item = item_add(w, &key);
	if (!item)
		return -ENOMEM;
	item->next = h.voice;
	item->walk = w->walk;
	return item_apply(w, item);
}

static bool walk_heard(void *ctx, const struct claim *c)
{
	struct hear *h = ctx;
	const struct f5xc_key key = f5xc_key_of(&c->indicator);
	struct f5xc_item *item;

	h->n++;
	h->last_id = c->id;
	if (!claim_counts(h->w, c))
		return true;
	item = item_get(h->w, &key);
	if (!item)
		item = item_add(h->w, &key);
	if (!item) {
		h->error = -ENOMEM;
		return false;
	}
	if (item->walk != h->w->walk) {
		item->walk = h->w->walk;
		item->next = (struct f5xc_voice){0};
	}
	claim_hear(h->w, &item->next, c);
	return true;
}

void f5xc_wanted_walk(struct f5xc_wanted *w)
{
	w->walking = true;
	w->sweeping = false;
	w->sweep_at = NULL;
	w->walk_after = 0;
	w->walk++;
}

static int sweep(struct f5xc_wanted *w, size_t max)
{
	int rc = 0;

	for (size_t i = 0; i < max && w->sweep_at && rc == 0; i++) {
		struct f5xc_item *item = w->sweep_at;

		w->sweep_at = item->hh.next;
		if (item->walk != w->walk)
			item->next = (struct f5xc_voice){0};
		rc = item_apply(w, item);
	}
	return rc;
}

int f5xc_wanted_walk_step(struct f5xc_wanted *w, struct ledger *ledger, size_t max)
{
	struct hear h = {.w = w};
	int rc = 0;

	if (!w->walking)
		return 0;
	if (!w->sweeping) {
		rc = ledger_claims_page(ledger, w->walk_after, max, walk_heard, &h);
		rc = rc < 0 ? rc : h.error;
		w->walk_after = h.last_id;
		if (rc == 0 && h.n < max) {
			w->sweeping = true;
			w->sweep_at = w->items;
		}
	} else {
		rc = sweep(w, max);
	}
	if (rc < 0) {
		f5xc_wanted_walk(w);
		return rc;
	}
	if (w->sweeping && !w->sweep_at)
		w->walking = w->sweeping = false;
	return w->walking;
}
