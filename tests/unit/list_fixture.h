// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A small list as a follower's other end keeps it, to be compared with the ledger's state.

#pragma once

#include "rules/snapshot.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <string.h>

#define ENTRIES_MAX 64

struct list {
	struct entry entries[ENTRIES_MAX];
	size_t n, n_exceptions;
};

static inline int find(const struct list *l, const struct indicator *n)
{
	for (size_t i = 0; i < l->n; i++) {
		if (indicator_equal(&l->entries[i].indicator, n))
			return (int)i;
	}
	return -1;
}

static inline int put_cb(void *ctx, const struct entry *e)
{
	struct list *l = ctx;
	int at = find(l, &e->indicator);

	assert_true(l->n < ENTRIES_MAX);
	l->entries[at < 0 ? (int)l->n++ : at] = *e;
	return 0;
}

static inline int remove_entry_cb(void *ctx, const struct indicator *n)
{
	struct list *l = ctx;
	int at = find(l, n);

	if (at >= 0)
		l->entries[at] = l->entries[--l->n];
	return 0;
}

static inline int exception_put_cb(void *ctx, const struct exception *x)
{
	(void)x;
	((struct list *)ctx)->n_exceptions++;
	return 0;
}

static inline int exception_reset_cb(void *ctx)
{
	((struct list *)ctx)->n_exceptions = 0;
	return 0;
}

static inline int reset_cb(void *ctx)
{
	memset(ctx, 0, sizeof(struct list));
	return 0;
}

static inline struct digest digest_of(const struct list *l)
{
	struct digest digest = {0};

	for (size_t i = 0; i < l->n; i++)
		digest_add(&digest, entry_hash(&l->entries[i]));
	return digest;
}

static inline int check_cb(void *ctx, const struct list_state *state)
{
	const struct list *l = ctx;

	return l->n == state->count && digest_equal(digest_of(l), state->digest) ? 0 : -EILSEQ;
}
