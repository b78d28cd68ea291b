// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/dataplane_lookup.h"

#include <errno.h>
#include <stdlib.h>

struct lookup {
	uint64_t seq;
	lookup_cb cb;
	void *ctx;
	TAILQ_ENTRY(lookup) link;
};

void lookups_init(struct lookups *l)
{
	TAILQ_INIT(&l->waiting);
	l->n = 0;
}

int lookups_add(struct lookups *l, uint64_t seq, lookup_cb cb, void *ctx)
{
	struct lookup *one;

	if (l->n >= LOOKUPS_MAX)
		return -EBUSY;
	one = malloc(sizeof(*one));
	if (!one)
		return -ENOMEM;
	*one = (struct lookup){.seq = seq, .cb = cb, .ctx = ctx};
	TAILQ_INSERT_TAIL(&l->waiting, one, link);
	l->n++;
	return 0;
}

static struct lookup *take(struct lookups *l, uint64_t seq)
{
	struct lookup *one;

	TAILQ_FOREACH(one, &l->waiting, link)
	if (one->seq == seq)
		break;
	if (one) {
		TAILQ_REMOVE(&l->waiting, one, link);
		l->n--;
	}
	return one;
}

void lookups_answered(struct lookups *l, const struct wire_lookup_answer *m)
{
	struct lookup *one = take(l, m->header.seq);

	if (one)
		one->cb(one->ctx, m);
	free(one);
}

void lookups_end(struct lookups *l)
{
	struct lookup *one;

	while ((one = TAILQ_FIRST(&l->waiting))) {
		TAILQ_REMOVE(&l->waiting, one, link);
		l->n--;
		one->cb(one->ctx, NULL);
		free(one);
	}
}
