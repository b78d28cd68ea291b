// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/dataplane_lookup.h"

#include <errno.h>
#include <stdlib.h>

struct lookup {
	uint64_t seq;
	struct lookup_asker asker;
	TAILQ_ENTRY(lookup) link;
};

void lookups_init(struct lookups *l)
{
	TAILQ_INIT(&l->waiting);
	l->n = l->n_previews = 0;
}

int lookups_add(struct lookups *l, uint64_t seq, const struct lookup_asker *asker)
{
	struct lookup *one;

	if (l->n >= LOOKUPS_MAX || (asker->preview && l->n_previews >= PREVIEWS_MAX))
		return -EBUSY;
	one = malloc(sizeof(*one));
	if (!one)
		return -ENOMEM;
	*one = (struct lookup){.seq = seq, .asker = *asker};
	TAILQ_INSERT_TAIL(&l->waiting, one, link);
	l->n++;
	l->n_previews += asker->preview != NULL;
	return 0;
}

static void leave(struct lookups *l, struct lookup *one)
{
	TAILQ_REMOVE(&l->waiting, one, link);
	l->n--;
	l->n_previews -= one->asker.preview != NULL;
}

static struct lookup *take(struct lookups *l, uint64_t seq)
{
	struct lookup *one;

	TAILQ_FOREACH(one, &l->waiting, link)
	if (one->seq == seq)
		break;
	if (one)
		leave(l, one);
	return one;
}

// Nobody answers.
static void tell_none(const struct lookup_asker *asker)
{
	if (asker->preview)
		asker->preview(asker->ctx, NULL, 0);
	else
		asker->lookup(asker->ctx, NULL);
}

void lookups_answered(struct lookups *l, const struct wire_lookup_answer *m)
{
	struct lookup *one = take(l, m->header.seq);

	if (one && one->asker.lookup)
		one->asker.lookup(one->asker.ctx, m);
	else if (one)
		tell_none(&one->asker);
	free(one);
}

void lookups_previewed(struct lookups *l, const struct wire_preview_answer *m, size_t len)
{
	struct lookup *one = take(l, m->header.seq);

	if (one && one->asker.preview)
		one->asker.preview(one->asker.ctx, m, len);
	else if (one)
		tell_none(&one->asker);
	free(one);
}

void lookups_refused(struct lookups *l, uint64_t seq)
{
	struct lookup *one = take(l, seq);

	if (one)
		tell_none(&one->asker);
	free(one);
}

void lookups_end(struct lookups *l)
{
	struct lookup *one;

	while ((one = TAILQ_FIRST(&l->waiting))) {
		leave(l, one);
		tell_none(&one->asker);
		free(one);
	}
}
