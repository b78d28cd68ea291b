// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What members must not deny: the loop hands protections and cautions to the worker.

#include "control/cautions.h"
#include "control/lists_internal.h"
#include "control/protect.h"
#include "rules/domain.h"

#include <stdlib.h>
#include <string.h>

// --- the loop

static bool shield_count(void *ctx, const struct protection *p)
{
	(void)p;
	++*(size_t *)ctx;
	return true;
}

static bool shield_copy(void *ctx, const struct protection *p)
{
	struct list_job *job = ctx;

	memcpy(job->data + job->len, &p->indicator, sizeof(p->indicator));
	job->len += sizeof(p->indicator);
	job->n++;
	return true;
}

// Where protections except instead, a member may stand beside them.
void lists_shields_changed(struct lists *ls)
{
	struct protect *protect = ls->ledger->protect;
	bool refuse = protect_mode(protect) == PROTECT_REFUSE;
	struct list_job *job;
	size_t n = 0;

	pthread_mutex_lock(&ls->mutex);
	cautions_free(ls->cautions_next);
	ls->cautions_next = cautions_ref(protect_cautions(protect));
	pthread_mutex_unlock(&ls->mutex);
	protect_each(protect, shield_count, &n);
	job = lists_job_create(LIST_JOB_SHIELDS, 0, n * sizeof(struct indicator));
	if (refuse)
		protect_each(protect, shield_copy, job);
	lists_job_post(ls, job, true);
}

void lists_protections_moved(void *ctx, unsigned topics)
{
	(void)topics;
	lists_shields_changed(ctx);
}

// --- the worker

void worker_shields_take(struct lists *ls, const struct list_job *job)
{
	free(ls->shields);
	ls->n_shields = 0;
	ls->shields = malloc(job->len + 1);
	if (ls->shields) {
		memcpy(ls->shields, job->data, job->len);
		ls->n_shields = job->n;
	}
	memset(ls->shielded_v4, 0, sizeof(ls->shielded_v4));
	for (size_t i = 0; i < ls->n_shields; i++) {
		const struct indicator *n = &ls->shields[i];
		unsigned width = n->prefix_len < 8 ? 1u << (8 - n->prefix_len) : 1;

		for (unsigned octet = 0; n->family == 4 && octet < width; octet++)
			ls->shielded_v4[(n->addr[0] + octet) & 0xff] = true;
	}
	cautions_free(ls->cautions);
	pthread_mutex_lock(&ls->mutex);
	ls->cautions = cautions_ref(ls->cautions_next);
	pthread_mutex_unlock(&ls->mutex);
}

bool worker_shielded(
	const struct lists *ls,
	const struct list_conf *conf,
	const struct indicator *n,
	char ret_caution[192]
)
{
	uint8_t shortest = n->family == 4 ? conf->min_prefix_v4 : conf->min_prefix_v6;

	ret_caution[0] = '\0';
	if (n->kind == INDICATOR_NET && n->prefix_len < shortest)
		return true;
	if (n->kind == INDICATOR_NAME && n->subtree && domain_is_public_suffix(n->name))
		return true;
	if (n->family != 4 || n->prefix_len < 8 || ls->shielded_v4[n->addr[0]])
		for (size_t i = 0; i < ls->n_shields; i++)
			if (protect_overlap(n, &ls->shields[i]) != OVERLAP_NONE)
				return true;
	return ls->cautions && cautions_check(ls->cautions, n, ret_caution);
}
