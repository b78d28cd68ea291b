// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_internal.h"
#include "control/followers/f5xc_rules.h"
#include "control/followers/f5xc_status.h"

#include <stdlib.h>
#include <string.h>

struct step {
	json_t *add, *remove;
	size_t n_add, n_remove, max;
};

static void prefix_add(json_t *list, size_t *n, size_t max, int family, const struct f5xc_prefix *p)
{
	char text[INDICATOR_TEXT_MAX];

	if ((*n)++ >= max)
		return;
	f5xc_prefix_print(p, family, text);
	json_array_append_new(list, json_string(text));
}

// Both are sorted.
static void
rows_compare(const struct shard *s, const struct f5xc_row *rows, size_t n, struct step *d)
{
	size_t n_held = s->missing ? 0 : s->n_held, i = 0, k = 0;

	while (i < n || k < n_held) {
		int by = i == n ? 1 : k == n_held ? -1 : f5xc_prefix_compare(&rows[i], &s->held[k]);

		if (by < 0)
			prefix_add(d->add, &d->n_add, d->max, s->family, &rows[i].prefix);
		else if (by > 0)
			prefix_add(d->remove, &d->n_remove, d->max, s->family, &s->held[k].prefix);
		i += by <= 0;
		k += by >= 0;
	}
}

static const char *op_of(const struct shard *s)
{
	return s->leaving ? "delete" : s->missing ? "create" : "replace";
}

static void shard_plan(const struct f5xc *f, const struct shard *s, size_t max, json_t *steps)
{
	struct step d = {.max = max};
	struct f5xc_row *rows;
	size_t n;

	if (!s->known || s->foreign || (s->missing && TAILQ_EMPTY(&s->slot->places)))
		return;
	rows = calloc(s->slot->n + 2, sizeof(*rows));
	if (!rows)
		return;
	d.add = json_array();
	d.remove = json_array();
	n = f5xc_seat_rows(&f->wanted, s->family, s->index, SIZE_MAX, rows);
	rows_compare(s, rows, n, &d);
	if (d.n_add + d.n_remove > 0 || s->leaving || s->disabled || s->missing)
		json_array_append_new(
			steps,
			json_pack(
				"{s:s, s:s, s:I, s:I, s:O, s:O, s:s}",
				"object",
				s->name,
				"op",
				op_of(s),
				"n_add",
				(json_int_t)d.n_add,
				"n_remove",
				(json_int_t)d.n_remove,
				"add",
				d.add,
				"remove",
				d.remove,
				"drift",
				s->drift
			)
		);
	json_decref(d.add);
	json_decref(d.remove);
	free(rows);
}

static void policy_plan(const struct f5xc *f, json_t *steps)
{
	const struct policy *p = &f->policy;

	if (!f->conf->policy_before || !(p->dirty || f->wanted.ports_moved || p->disabled))
		return;
	json_array_append_new(
		steps,
		json_pack(
			"{s:s, s:s, s:I, s:I, s:[], s:[], s:s}",
			"object",
			p->name,
			"op",
			!p->known	     ? "read"
				: p->missing ? "create"
					     : "compare",
			"n_add",
			(json_int_t)0,
			"n_remove",
			(json_int_t)0,
			"add",
			"remove",
			"drift",
			p->drift
		)
	);
}

json_t *f5xc_plan(struct f5xc *f, size_t max)
{
	json_t *steps = json_array();
	size_t requests;

	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			shard_plan(f, &f->shards[v][i], max, steps);
	policy_plan(f, steps);
	requests = 2 * json_array_size(steps); // written and read back
	return json_pack(
		"{s:b, s:b, s:I, s:I, s:o}",
		"known",
		f5xc_all_known(f),
		"differs",
		json_array_size(steps) > 0 || !f5xc_all_known(f),
		"requests",
		(json_int_t)requests,
		"requests_per_minute",
		(json_int_t)f->conf->requests_per_minute,
		"objects",
		steps
	);
}
