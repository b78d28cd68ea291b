// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What operators have to do with lists: what brakes hold (a row of the ledger's held changes) and
// what they made of it; the end of a list that nobody reads any more.

#include "control/lists_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t members_of(struct lists *ls, const struct loop_list *l)
{
	uint64_t members;

	pthread_mutex_lock(&ls->mutex);
	members = l->status.members;
	pthread_mutex_unlock(&ls->mutex);
	return members;
}

void list_held_update(struct lists *ls, struct loop_list *l, bool shrink, uint64_t n)
{
	char source[LIST_NAME_MAX + 8], why[192];

	if (n && n == l->rejected[shrink])
		n = 0;
	else if (n)
		l->rejected[shrink] = 0;
	snprintf(source, sizeof(source), "list:%s", l->status.name);
	snprintf(
		why,
		sizeof(why),
		shrink ? "shrink: %" PRIu64 " of %" PRIu64
			 " members are gone, more than 20 %% below "
			 "the peak of 24 hours; they stay in force"
		       : "growth: %" PRIu64 " new members to %" PRIu64
			 ", more than 20 %% above the "
			 "peak of 24 hours or than max_members; they are not in force",
		n,
		members_of(ls, l)
	);
	ledger_list_held(ls->ledger, source, shrink, n, why);
}

void lists_missing(struct lists *ls, uint32_t list)
{
	struct loop_list *l = loop_list_find(ls, list);
	char source[LIST_NAME_MAX + 8], why[192];
	uint64_t n;

	if (!l)
		return;
	n = members_of(ls, l);
	if (n && n == l->rejected[1])
		return;
	snprintf(source, sizeof(source), "list:%s", l->status.name);
	snprintf(
		why,
		sizeof(why),
		"missing: its key is not there; %" PRIu64 " members stay in force; approve: it is "
		"empty",
		n
	);
	ledger_list_held(ls->ledger, source, true, n, why);
}

void lists_held_settled(struct lists *ls, const char *name, bool shrink, bool approved)
{
	struct list_job *job;

	for (size_t i = 0; i < ls->n; i++) {
		struct loop_list *l = &ls->lists[i];
		uint64_t n = shrink ? l->status.last.held_removals : l->status.last.held_adds;

		if (strcmp(l->status.name, name) != 0)
			continue;
		if (!approved) {
			l->rejected[shrink] = n ? n : members_of(ls, l);
			return;
		}
		job = lists_job_create(LIST_JOB_APPROVE, l->status.id, 0);
		job->shrink = shrink;
		job->amount = n ? n : members_of(ls, l);
		lists_job_post(ls, job, false);
		if (ls->approved)
			ls->approved(ls->approved_ctx, l->status.id, shrink);
	}
}

// --- the end of a list

// What a follower's lists are is the leader's to say.
static void retire_ask(
	struct lists *ls,
	const struct loop_list *l,
	const struct actor *actor,
	ledger_done done,
	void *ctx
)
{
	char source[LIST_NAME_MAX + 8];

	snprintf(source, sizeof(source), LIST_SOURCE "%s", l->status.name);
	ledger_audit(ls->ledger, actor->name, "source.retire", l->status.name, NULL);
	fleet_ask_named(ls->ledger, "retire", source, "2", actor);
	pending_done(ls->ledger, done, ctx, 0, "the leader is asked: it ends what the list holds");
}

void lists_retire(
	struct lists *ls, const char *name, const struct actor *actor, ledger_done done, void *ctx
)
{
	for (size_t i = 0; i < ls->n; i++) {
		struct loop_list *l = &ls->lists[i];

		if (strcmp(l->status.name, name) != 0)
			continue;
		if (ls->follows) {
			retire_ask(ls, l, actor, done, ctx);
			return;
		}
		if (l->retired) {
			done(ctx, -EALREADY, "it is being retired");
			return;
		}
		l->retired = done;
		l->retired_ctx = ctx;
		ledger_audit(ls->ledger, actor->name, "source.retire", name, NULL);
		lists_job_post(ls, lists_job_create(LIST_JOB_RETIRE, l->status.id, 0), false);
		return;
	}
	done(ctx, -ENOENT, "no such list: see stanch lists");
}
