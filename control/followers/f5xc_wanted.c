// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_wanted.h"

#include "control/conf.h"
#include "control/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- from the ledger

struct collect {
	const struct conf_f5xc *conf;
	int family;
	int error;
	struct f5xc_wanted to;
	struct f5xc_prefix *holes; // allowed or protected
	size_t n_holes, room_holes;
};

// Room for one more of `n` elements. NULL: no memory, and the old array stays.
static void *array_grow(void *array, size_t n, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 64;
	void *larger;

	if (n < *room)
		return array;
	larger = realloc(array, more * size);
	if (larger)
		*room = more;
	return larger;
}

static bool exception_take(void *ctx, const struct exception *x)
{
	struct collect *c = ctx;
	struct f5xc_prefix *holes;

	if (x->indicator.family != c->family)
		return true;
	holes = array_grow(c->holes, c->n_holes, &c->room_holes, sizeof(*holes));
	if (!holes) {
		c->error = -ENOMEM;
		return false;
	}
	c->holes = holes;
	// A set has no ports: of a port that is allowed, the whole address is.
	c->holes[c->n_holes++] = f5xc_prefix_of(&x->indicator);
	return true;
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
	if (c->indicator.kind == INDICATOR_PORT)
		return "needs policy";
	if (c->tlp > conf->max_tlp)
		return "its TLP is above f5xc.max_tlp";
	return NULL;
}

// Names, which have no family, stand beside IPv4.
static bool claim_take(void *ctx, const struct claim *claim)
{
	struct collect *c = ctx;
	struct f5xc_item *item;
	const char *why;

	if ((claim->indicator.family == 6) != (c->family == 6) || claim->state == CLAIM_HELD
	    || claim->action != CLAIM_ENFORCE || !mirrored_source(c->conf, claim->source))
		return true;
	item = array_grow(c->to.items, c->to.n, &c->to.room, sizeof(*item));
	if (!item) {
		c->error = -ENOMEM;
		return false;
	}
	c->to.items = item;
	item = &c->to.items[c->to.n++];
	*item = (struct f5xc_item){
		.indicator = claim->indicator,
		.state = F5XC_PENDING,
		.list = strncmp(claim->source, "list:", 5) == 0,
		.created = claim->created,
	};
	why = not_mirrored(c->conf, claim);
	if (why) {
		item->state = F5XC_NOT_MIRRORED;
		snprintf(item->why, sizeof(item->why), "%s", why);
	}
	if (*claim->case_number)
		snprintf(
			item->description,
			sizeof(item->description),
			"case %.50s",
			claim->case_number
		);
	else
		snprintf(item->description, sizeof(item->description), "%.60s", claim->source);
	f5xc_text_clean(item->description); // octets, not letters, are what F5 counts
	return true;
}

// Of one indicator the claim that speaks for it first: one that may be mirrored, of a case or
// operator, the oldest.
static int item_compare(const void *a, const void *b)
{
	const struct f5xc_item *x = a, *y = b;
	int by = indicator_compare(&x->indicator, &y->indicator);

	if (by == 0)
		by = (int)x->state - (int)y->state;
	if (by == 0)
		by = (int)x->list - (int)y->list;
	return by ? by : (x->created > y->created) - (x->created < y->created);
}

static void items_merge(struct f5xc_wanted *w)
{
	size_t kept = 0;

	if (w->n > 1)
		qsort(w->items, w->n, sizeof(*w->items), item_compare);
	for (size_t i = 0; i < w->n; i++) {
		if (kept == 0
		    || !indicator_equal(&w->items[kept - 1].indicator, &w->items[i].indicator))
			w->items[kept++] = w->items[i];
	}
	w->n = kept;
}

// A network without what is allowed in it.
static int item_cut(struct collect *c, struct f5xc_item *item)
{
	struct f5xc_prefix pieces[F5XC_PIECES_MAX], first, *more;
	const struct f5xc_prefix whole = f5xc_prefix_of(&item->indicator);
	struct indicator hole;
	char text[INDICATOR_TEXT_MAX] = "";
	size_t n, n_holes;
	int rc = f5xc_cut(
		&whole, c->holes, c->n_holes, pieces, F5XC_PIECES_MAX, &n, &n_holes, &first
	);

	if (n_holes > 0) {
		hole = f5xc_prefix_indicator(&first, c->family);
		indicator_print(&hole, text);
		snprintf(item->cut, sizeof(item->cut), "without %.45s", text);
		if (n_holes > 1)
			snprintf(
				item->cut + strlen(item->cut),
				sizeof(item->cut) - strlen(item->cut),
				" and %zu more",
				n_holes - 1
			);
	}
	if (rc < 0 || n == 0) {
		item->state = rc < 0 ? F5XC_REFUSED : F5XC_NOT_MIRRORED;
		if (rc < 0)
			snprintf(
				item->why,
				sizeof(item->why),
				"allowed part: %s it would be more than %d prefixes",
				item->cut,
				F5XC_PIECES_MAX
			);
		else
			snprintf(item->why, sizeof(item->why), "allowed or protected: %s", text);
		item->cut[0] = '\0';
		return 0;
	}
	item->first_piece = c->to.n_pieces;
	for (size_t i = 0; i < n; i++) {
		more = array_grow(c->to.pieces, c->to.n_pieces, &c->to.room_pieces, sizeof(*more));
		if (!more)
			return -ENOMEM;
		c->to.pieces = more;
		c->to.pieces[c->to.n_pieces++] = pieces[i];
	}
	item->n_pieces = n;
	return 0;
}

static void state_carry(struct f5xc_item *item, const struct f5xc_wanted *before)
{
	const struct f5xc_item *was = f5xc_item_find(before, &item->indicator);

	if (!was || was->n_pieces == 0 || item->n_pieces == 0)
		return;
	item->state = was->state;
	memcpy(item->why, was->why, sizeof(item->why));
}

int f5xc_collect(
	struct ledger *ledger, const struct conf_f5xc *conf, int family, struct f5xc_wanted *wanted
)
{
	struct collect c = {.conf = conf, .family = family};
	int rc = ledger_exceptions(ledger, exception_take, &c);

	if (rc == 0 && c.error == 0)
		rc = ledger_claims_by_ref(ledger, NULL, "", claim_take, &c);
	if (rc == 0)
		rc = c.error;
	if (rc == 0) {
		c.n_holes = f5xc_holes_tidy(c.holes, c.n_holes);
		items_merge(&c.to);
	}
	for (size_t i = 0; rc == 0 && i < c.to.n; i++) {
		if (c.to.items[i].state == F5XC_PENDING)
			rc = item_cut(&c, &c.to.items[i]);
		state_carry(&c.to.items[i], wanted);
	}
	free(c.holes);
	if (rc < 0) {
		f5xc_wanted_fini(&c.to);
		return rc;
	}
	c.to.refused_full = wanted->refused_full;
	f5xc_wanted_fini(wanted);
	*wanted = c.to;
	return 0;
}

void f5xc_wanted_fini(struct f5xc_wanted *w)
{
	free(w->items);
	free(w->pieces);
	*w = (struct f5xc_wanted){0};
}

static int item_compare_indicator(const void *key, const void *item)
{
	return indicator_compare(key, &((const struct f5xc_item *)item)->indicator);
}

struct f5xc_item *f5xc_item_find(const struct f5xc_wanted *w, const struct indicator *n)
{
	return w->n ? bsearch(n, w->items, w->n, sizeof(*w->items), item_compare_indicator) : NULL;
}

// --- places

enum rank {
	RANK_HELD, // F5 has the whole of it
	RANK_HELD_IN_PART, // it had, before an allow in it came or went
	RANK_NEW,
};

struct candidate {
	struct f5xc_item *item;
	enum rank rank;
};

static int candidate_compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	if (x->item->list != y->item->list)
		return x->item->list ? 1 : -1;
	if (x->item->created != y->item->created)
		return x->item->created < y->item->created ? -1 : 1;
	return indicator_compare(&x->item->indicator, &y->item->indicator);
}

static enum rank
rank_of(const struct f5xc_wanted *w, const struct f5xc_item *item, const struct f5xc_object *held)
{
	const struct f5xc_prefix whole = f5xc_prefix_of(&item->indicator);
	bool all = held;
	size_t at;

	for (size_t i = 0; all && i < item->n_pieces; i++)
		all = f5xc_object_has(held, &w->pieces[item->first_piece + i]);
	if (all)
		return RANK_HELD;
	at = held ? f5xc_prefix_bound(held->prefixes, held->n_prefixes, sizeof(whole), &whole) : 0;
	return held && at < held->n_prefixes && f5xc_prefix_covers(&whole, &held->prefixes[at])
		? RANK_HELD_IN_PART
		: RANK_NEW;
}

static void
row_add(struct f5xc_row *rows, size_t *n, const struct f5xc_prefix *prefix, const char *description)
{
	size_t at = f5xc_prefix_bound(rows, *n, sizeof(*rows), prefix);

	if (at < *n && f5xc_prefix_compare(&rows[at], prefix) == 0)
		return;
	memmove(&rows[at + 1], &rows[at], (*n - at) * sizeof(*rows));
	rows[at] = (struct f5xc_row){.prefix = *prefix, .description = description};
	++*n;
}

static bool rows_have(const struct f5xc_row *rows, size_t n, const struct f5xc_prefix *prefix)
{
	return n > 0 && bsearch(prefix, rows, n, sizeof(*rows), f5xc_prefix_compare);
}

static bool item_place(
	const struct f5xc_wanted *w,
	const struct f5xc_item *item,
	size_t room,
	struct f5xc_row *rows,
	size_t *n
)
{
	const struct f5xc_prefix *pieces = &w->pieces[item->first_piece];
	size_t needed = 0;

	for (size_t i = 0; i < item->n_pieces; i++)
		needed += !rows_have(rows, *n, &pieces[i]);
	if (needed > room - *n)
		return false;
	for (size_t i = 0; i < item->n_pieces; i++)
		row_add(rows, n, &pieces[i], item->description);
	return true;
}

static void state_set(
	struct f5xc_item *item,
	const struct candidate *c,
	bool placed,
	const struct f5xc_object *held
)
{
	item->why[0] = '\0';
	if (!placed) {
		item->state = F5XC_REFUSED;
		if (item->n_pieces > 1)
			snprintf(
				item->why,
				sizeof(item->why),
				"full: no %zu places in the set",
				item->n_pieces
			);
		else
			snprintf(item->why, sizeof(item->why), "full: no place in the set");
		return;
	}
	item->state = c->rank != RANK_HELD || held->disabled ? F5XC_PENDING
		: held->referred			     ? F5XC_REFERRED
							     : F5XC_STORED;
	if (held && held->disabled)
		snprintf(
			item->why,
			sizeof(item->why),
			"not effective: somebody disabled the set at F5"
		);
	else if (item->state != F5XC_PENDING)
		snprintf(item->why, sizeof(item->why), "%s", held->referrer);
}

int f5xc_place(
	struct f5xc_wanted *w,
	int family,
	const struct f5xc_object *held,
	size_t set_size,
	struct f5xc_row *ret_rows,
	size_t *ret_n
)
{
	struct candidate *candidates = calloc(w->n + 1, sizeof(*candidates));
	const struct f5xc_prefix stays = f5xc_keep(family);
	size_t n = 0;

	if (!candidates)
		return -ENOMEM;
	for (size_t i = 0; i < w->n; i++) {
		if (w->items[i].n_pieces > 0)
			candidates[n++] = (struct candidate){
				.item = &w->items[i],
				.rank = rank_of(w, &w->items[i], held),
			};
	}
	if (n > 1)
		qsort(candidates, n, sizeof(*candidates), candidate_compare);
	*ret_n = 0;
	w->refused_full = 0;
	row_add(ret_rows, ret_n, &stays, F5XC_KEEP_WHY);
	for (size_t i = 0; i < n; i++) {
		bool placed = item_place(w, candidates[i].item, set_size + 1, ret_rows, ret_n);

		w->refused_full += !placed;
		state_set(candidates[i].item, &candidates[i], placed, held);
	}
	free(candidates);
	return 0;
}
