// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/oracle.h"

// Port entry before host before longest prefix: a larger number is reported first.
static int specificity(const struct indicator *n)
{
	return n->kind == INDICATOR_PORT ? 1000 : n->prefix_len;
}

static const struct entry *better(const struct entry *have, const struct entry *candidate)
{
	if (!have || specificity(&candidate->indicator) > specificity(&have->indicator))
		return candidate;
	return have;
}

static bool
excepted(const struct oracle_list *list, const struct oracle_address *a, enum exception_kind kind)
{
	for (size_t i = 0; i < list->n_exceptions; i++) {
		const struct exception *x = &list->exceptions[i];

		if (x->kind == kind && x->until > list->now
		    && indicator_covers_address(
			    &x->indicator, a->family, a->addr, a->proto, a->port
		    ))
			return true;
	}
	return false;
}

enum judgement oracle_address_judge(
	const struct oracle_list *list,
	const struct oracle_address *a,
	const struct entry **ret_entry
)
{
	const struct entry *enforce = NULL, *monitor = NULL;

	*ret_entry = NULL;
	for (size_t i = 0; i < list->n_entries; i++) {
		const struct entry *e = &list->entries[i];
		enum entry_action action = entry_action_at(e, list->now);

		if (action == ENTRY_INERT
		    || !indicator_covers_address(
			    &e->indicator, a->family, a->addr, a->proto, a->port
		    ))
			continue;
		if (action == ENTRY_ENFORCE)
			enforce = better(enforce, e);
		else
			monitor = better(monitor, e);
	}
	if (!enforce && !monitor)
		return JUDGE_PASS;
	*ret_entry = enforce ? enforce : monitor;
	if (excepted(list, a, EXCEPTION_PROTECT))
		return JUDGE_PROTECTED;
	if (excepted(list, a, EXCEPTION_ALLOW))
		return JUDGE_ALLOWED;
	return enforce && !list->paused ? JUDGE_DENY : JUDGE_MONITOR;
}

static int weight(enum judgement j)
{
	switch (j) {
	case JUDGE_DENY:
		return 3;
	case JUDGE_MONITOR:
		return 2;
	case JUDGE_PROTECTED:
	case JUDGE_ALLOWED:
		return 1;
	case JUDGE_PASS:
		break;
	}
	return 0;
}

enum judgement oracle_judge(
	const struct oracle_list *list,
	const struct oracle_address *addresses,
	size_t n,
	size_t *ret_index,
	const struct entry **ret_entry
)
{
	enum judgement best = JUDGE_PASS;

	*ret_index = 0;
	*ret_entry = NULL;
	for (size_t i = 0; i < n; i++) {
		const struct entry *entry;
		enum judgement j = oracle_address_judge(list, &addresses[i], &entry);

		if (weight(j) > weight(best)) {
			best = j;
			*ret_index = i;
			*ret_entry = entry;
		}
	}
	return best;
}
