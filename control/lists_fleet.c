// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/lists_fleet.h"

#include "control/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void job_post(struct lists *ls, enum list_job_type type)
{
	lists_job_post(ls, lists_job_create(type, 0, 0), false);
}

void lists_fleet_open(struct lists *ls, const struct lists_fleet_hooks *hooks)
{
	ls->hooks = *hooks;
	ls->fleet = true;
	lists_fleet_follow(ls, true);
}

void lists_fleet_follow(struct lists *ls, bool follows)
{
	if (follows == ls->follows)
		return;
	ls->follows = follows;
	for (size_t i = 0; i < ls->n; i++) {
		struct loop_list *l = &ls->lists[i];

		free(l->feeding);
		l->feeding = NULL;
		l->status.reading = false;
	}
	job_post(ls, LIST_JOB_FOLLOW);
}

bool lists_fleet_follows(const struct lists *ls)
{
	return ls->follows;
}

// A job for the list that the payload names, which need not be known yet; else -errno.
static int payload_post(
	struct lists *ls,
	enum list_job_type type,
	const void *octets,
	size_t len,
	ledger_done done,
	void *ctx
)
{
	struct payload_head head;
	struct loop_list *l = NULL;
	struct list_job *job;

	if (payload_head_read(octets, len, &head) < 0
	    || !(head.flags & PAYLOAD_CHUNK) == (type == LIST_JOB_IMPORT)
	    || (head.flags & (PAYLOAD_CHUNK | PAYLOAD_END)) == PAYLOAD_END)
		return -EBADMSG;
	if (!(head.flags & PAYLOAD_END))
		l = loop_list_get(ls, head.name);
	if (!l && !(head.flags & PAYLOAD_END))
		return -EMFILE;
	job = lists_job_create(type, l ? l->status.id : 0, len);
	snprintf(job->conf.name, sizeof(job->conf.name), "%s", head.name);
	memcpy(job->data, octets, len);
	job->len = len;
	job->done = done;
	job->ctx = ctx;
	job->round = ls->applies_failed;
	lists_job_post(ls, job, false);
	return 0;
}

// Refused here, yet told from the worker: in the order given.
static void refused_post(struct lists *ls, int error, ledger_done done, void *ctx)
{
	struct list_job *job = lists_job_create(LIST_JOB_APPLY, 0, 0);

	job->refused = error;
	job->done = done;
	job->ctx = ctx;
	job->round = ls->applies_failed;
	lists_job_post(ls, job, false);
}

void lists_fleet_apply(
	struct lists *ls, const void *octets, size_t len, ledger_done done, void *ctx
)
{
	int r = payload_post(ls, LIST_JOB_APPLY, octets, len, done, ctx);

	if (r < 0)
		refused_post(ls, r, done, ctx);
}

// --- import

void lists_fleet_import_begin(struct lists *ls)
{
	job_post(ls, LIST_JOB_IMPORT_BEGIN);
}

void lists_fleet_import(
	struct lists *ls, const void *octets, size_t len, ledger_done done, void *ctx
)
{
	int r = payload_post(ls, LIST_JOB_IMPORT, octets, len, done, ctx);

	if (r < 0)
		refused_post(ls, r, done, ctx);
}

void lists_fleet_sweep(struct lists *ls, ledger_done done, void *ctx)
{
	struct list_job *job = lists_job_create(LIST_JOB_SWEEP, 0, 0);

	job->done = done;
	job->ctx = ctx;
	lists_job_post(ls, job, false);
}

void lists_fleet_import_abort(struct lists *ls)
{
	job_post(ls, LIST_JOB_IMPORT_ABORT);
}
