// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/grace.h"

#include "dataplane/core/match.h"
#include "dataplane/pages.h"

#include <rte_rcu_qsbr.h>

#include <errno.h>
#include <stdlib.h>

// Positions only grow: recycled ≤ graced ≤ waiting ≤ retired. Each rule is in the queue once at
// most, so that a ring of the match's capacity never overflows.
struct grace {
	struct match *match;
	struct rte_rcu_qsbr *qsbr;
	uint32_t *ring;
	uint32_t size;
	uint64_t recycled, graced, waiting, retired;
	uint64_t token; // 0: none asked for
};

int grace_create(struct match *m, struct rte_rcu_qsbr *qsbr, struct grace **ret_grace)
{
	struct grace *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->match = m;
	g->qsbr = qsbr;
	g->size = match_capacity(m);
	g->ring = pages_map(g->size * sizeof(*g->ring));
	if (!g->ring) {
		free(g);
		return -ENOMEM;
	}
	*ret_grace = g;
	return 0;
}

void grace_free(struct grace *g)
{
	if (!g)
		return;
	pages_unmap(g->ring, g->size * sizeof(*g->ring));
	free(g);
}

void grace_retire(struct grace *g, uint32_t rule)
{
	g->ring[g->retired++ % g->size] = rule;
}

void grace_poll(struct grace *g, bool drained)
{
	if (drained) {
		while (g->recycled < g->graced)
			match_recycle(g->match, g->ring[g->recycled++ % g->size]);
	}
	if (g->token && rte_rcu_qsbr_check(g->qsbr, g->token, false)) {
		g->graced = g->waiting;
		g->token = 0;
	}
	if (!g->token && g->waiting < g->retired) {
		g->waiting = g->retired;
		g->token = rte_rcu_qsbr_start(g->qsbr);
	}
}

uint32_t grace_pending(const struct grace *g)
{
	return (uint32_t)(g->retired - g->recycled);
}
