// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/protect.h"

#include "control/cautions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

struct protect_row {
	TAILQ_ENTRY(protect_row) link;
	struct protection protection;
	char dependency[64]; // derived
};

TAILQ_HEAD(protect_list, protect_row);

struct protect {
	enum protect_overlap_mode mode;
	struct protect_list rows; // by origin, so that the first hit is the firmest one
	struct protect_list conflicts; // derived, not added: an entry in force covers them
	uint64_t n_conflicts;
	struct cautions *cautions;
	protect_in_force in_force;
	void *in_force_ctx;
	protect_changed changed;
	void *changed_ctx;
};

static void rows_free(struct protect_list *rows)
{
	struct protect_row *row;

	while ((row = TAILQ_FIRST(rows))) {
		TAILQ_REMOVE(rows, row, link);
		free(row);
	}
}

void protect_free(struct protect *protect)
{
	if (!protect)
		return;
	rows_free(&protect->rows);
	rows_free(&protect->conflicts);
	cautions_free(protect->cautions);
	free(protect);
}

static struct protect_row *
row_find(struct protect_list *rows, enum protect_origin origin, const struct indicator *indicator)
{
	struct protect_row *row;

	TAILQ_FOREACH(row, rows, link)
	if (row->protection.origin == origin
	    && indicator_equal(&row->protection.indicator, indicator))
		return row;
	return NULL;
}

static void row_insert(struct protect_list *rows, struct protect_row *row)
{
	struct protect_row *other;

	TAILQ_FOREACH(other, rows, link)
	if (other->protection.origin > row->protection.origin) {
		TAILQ_INSERT_BEFORE(other, row, link);
		return;
	}
	TAILQ_INSERT_TAIL(rows, row, link);
}

static void protect_tell(struct protect *protect)
{
	if (protect->changed)
		protect->changed(protect->changed_ctx);
}

// A protected name protects what is under it too: whoever answers for corp.example answers for
// www.corp.example.
static struct indicator indicator_protected(const struct indicator *indicator)
{
	struct indicator n = *indicator;

	if (n.kind == INDICATOR_NAME)
		n.subtree = 1;
	return n;
}

static int builtin_add(
	struct protect *protect, enum protect_origin origin, const struct protection_builtin *table
)
{
	for (; table->text; table++) {
		struct indicator n;
		struct indicator_error error;
		int r = indicator_parse(table->text, strlen(table->text), &n, &error);

		if (r == 0)
			r = protect_add(protect, origin, &n, table->reason);
		if (r < 0)
			return r;
	}
	return 0;
}

int protect_create(
	bool private_ranges, enum protect_overlap_mode mode, struct protect **ret_protect
)
{
	struct protect *protect = calloc(1, sizeof(*protect));
	int r;

	if (!protect)
		return -ENOMEM;
	protect->mode = mode;
	TAILQ_INIT(&protect->rows);
	TAILQ_INIT(&protect->conflicts);
	r = builtin_add(protect, PROTECT_BUILTIN, protect_builtin);
	if (r == 0 && private_ranges)
		r = builtin_add(protect, PROTECT_PRIVATE, protect_private);
	if (r < 0) {
		protect_free(protect);
		return r;
	}
	*ret_protect = protect;
	return 0;
}

enum protect_overlap_mode protect_mode(const struct protect *protect)
{
	return protect->mode;
}

int protect_add(
	struct protect *protect,
	enum protect_origin origin,
	const struct indicator *indicator,
	const char *reason
)
{
	struct indicator n = indicator_protected(indicator);
	struct protect_row *row = row_find(&protect->rows, origin, &n);

	if (row) {
		snprintf(row->protection.reason, sizeof(row->protection.reason), "%s", reason);
		return 0;
	}
	row = calloc(1, sizeof(*row));
	if (!row)
		return -ENOMEM;
	row->protection.indicator = n;
	row->protection.origin = origin;
	snprintf(row->protection.reason, sizeof(row->protection.reason), "%s", reason);
	row_insert(&protect->rows, row);
	protect_tell(protect);
	return 0;
}

void protect_remove(
	struct protect *protect, enum protect_origin origin, const struct indicator *indicator
)
{
	struct indicator n = indicator_protected(indicator);
	struct protect_row *row = row_find(&protect->rows, origin, &n);

	if (!row)
		return;
	TAILQ_REMOVE(&protect->rows, row, link);
	free(row);
	protect_tell(protect);
}

void protect_clear(struct protect *protect, enum protect_origin origin)
{
	struct protect_row *row = TAILQ_FIRST(&protect->rows), *next;
	bool changed = false;

	for (; row; row = next) {
		next = TAILQ_NEXT(row, link);
		if (row->protection.origin != origin)
			continue;
		TAILQ_REMOVE(&protect->rows, row, link);
		free(row);
		changed = true;
	}
	if (changed)
		protect_tell(protect);
}

static int64_t wall_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

// Room for one more of this dependency: the least recently seen goes.
static void derived_trim(struct protect *protect, const char *dependency)
{
	struct protect_row *row, *oldest = NULL;
	unsigned n = 0;

	TAILQ_FOREACH(row, &protect->rows, link)
	{
		if (row->protection.origin != PROTECT_DERIVED
		    || strcmp(row->dependency, dependency) != 0)
			continue;
		n++;
		if (!oldest || row->protection.last_seen < oldest->protection.last_seen)
			oldest = row;
	}
	if (n < PROTECT_DERIVED_MAX)
		return;
	TAILQ_REMOVE(&protect->rows, oldest, link);
	free(oldest);
}

static struct protect_row *derived_create(const char *dependency, const struct indicator *n)
{
	struct protect_row *row = calloc(1, sizeof(*row));

	if (!row)
		return NULL;
	row->protection.indicator = *n;
	row->protection.origin = PROTECT_DERIVED;
	row->protection.last_seen = wall_seconds();
	snprintf(row->dependency, sizeof(row->dependency), "%s", dependency);
	snprintf(
		row->protection.reason, sizeof(row->protection.reason), "in use by %s", dependency
	);
	return row;
}

static void
derived_conflict(struct protect *protect, const char *dependency, const struct indicator *n)
{
	struct protect_row *row = row_find(&protect->conflicts, PROTECT_DERIVED, n);

	if (row) {
		row->protection.last_seen = wall_seconds();
		return;
	}
	// Bounded: conflicts beyond this say nothing new.
	if (protect->n_conflicts >= 64)
		return;
	row = derived_create(dependency, n);
	if (!row)
		return;
	TAILQ_INSERT_TAIL(&protect->conflicts, row, link);
	protect->n_conflicts++;
}

void protect_derived_note(
	struct protect *protect,
	const char *dependency,
	uint8_t proto,
	uint8_t family,
	const uint8_t addr[static 16],
	uint16_t port
)
{
	struct indicator n = {
		.kind = INDICATOR_PORT,
		.family = family,
		.prefix_len = family == 4 ? 32 : 128,
		.proto = proto,
		.port = port,
	};
	struct protect_row *row;

	memcpy(n.addr, addr, family == 4 ? 4 : 16);
	row = row_find(&protect->rows, PROTECT_DERIVED, &n);
	if (row) {
		row->protection.last_seen = wall_seconds();
		return;
	}
	if (protect->in_force && protect->in_force(protect->in_force_ctx, &n)) {
		derived_conflict(protect, dependency, &n);
		return;
	}
	row = row_find(&protect->conflicts, PROTECT_DERIVED, &n);
	if (row) {
		TAILQ_REMOVE(&protect->conflicts, row, link);
		protect->n_conflicts--;
		free(row);
	}
	derived_trim(protect, dependency);
	row = derived_create(dependency, &n);
	if (!row)
		return;
	row_insert(&protect->rows, row);
	protect_tell(protect);
}

void protect_in_force_set(struct protect *protect, protect_in_force in_force, void *ctx)
{
	protect->in_force = in_force;
	protect->in_force_ctx = ctx;
}

void protect_changed_set(struct protect *protect, protect_changed changed, void *ctx)
{
	protect->changed = changed;
	protect->changed_ctx = ctx;
}

// A conflict that has gone stays until the dependency is connected to again: seconds to minutes.
uint64_t protect_conflicts(const struct protect *protect)
{
	return protect->n_conflicts;
}

const struct protection *protect_check(
	const struct protect *protect, const struct indicator *denied, enum overlap *ret_overlap
)
{
	const struct protect_row *row;

	TAILQ_FOREACH(row, &protect->rows, link)
	{
		enum overlap overlap = protect_overlap(denied, &row->protection.indicator);

		if (overlap == OVERLAP_NONE)
			continue;
		if (ret_overlap)
			*ret_overlap = overlap;
		return &row->protection;
	}
	return NULL;
}

void protect_cautions_set(struct protect *protect, struct cautions *cautions)
{
	cautions_free(protect->cautions);
	protect->cautions = cautions;
}

struct cautions *protect_cautions(const struct protect *protect)
{
	return protect->cautions;
}

bool protect_caution(
	const struct protect *protect, const struct indicator *denied, char ret_why[192]
)
{
	return protect->cautions && cautions_check(protect->cautions, denied, ret_why);
}

void protect_each(const struct protect *protect, protection_cb cb, void *ctx)
{
	const struct protect_row *row;

	TAILQ_FOREACH(row, &protect->rows, link)
	if (!cb(ctx, &row->protection))
		return;
}
