// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/unit/ledger_fixture.h"

struct check {
	struct ledger *ledger;
	uint64_t entries, enforce, names;
	struct digest digest;
	// of the entry at hand
	struct indicator indicator;
	int64_t ends[2];
	uint64_t claims, orphaned, held;
};

// Claims of lists count nothing where an analyst said that it is harmless.
static bool suspended(struct ledger *l, const struct claim *claim)
{
	return strncmp(claim->source, "list:", 5) == 0 && ledger_immune(l, &claim->indicator);
}

static bool claim_in_force(void *ctx, const struct claim *claim)
{
	struct check *c = ctx;

	if (!indicator_equal(&claim->indicator, &c->indicator) || claim->state >= CLAIM_HELD
	    || suspended(c->ledger, claim))
		return true;
	if (c->ends[claim->action] < claim->until)
		c->ends[claim->action] = claim->until;
	return true;
}

static bool entry_check(void *ctx, const struct entry *entry)
{
	struct check *c = ctx;

	c->indicator = entry->indicator;
	c->ends[0] = c->ends[1] = UNTIL_NONE;
	assert_int_equal(
		ledger_claims_of(c->ledger, &entry->indicator, false, claim_in_force, c), 0
	);
	assert_int_equal(entry->enforce_until, c->ends[CLAIM_ENFORCE]);
	assert_int_equal(entry->monitor_until, c->ends[CLAIM_MONITOR]);
	assert_true(c->ends[0] != UNTIL_NONE || c->ends[1] != UNTIL_NONE);
	c->entries++;
	c->enforce += entry->enforce_until != UNTIL_NONE;
	c->names += entry->indicator.kind == INDICATOR_NAME;
	digest_add(&c->digest, entry_hash(entry));
	return true;
}

static bool claim_check(void *ctx, const struct claim *claim)
{
	struct check *c = ctx;
	struct entry entry;

	if (claim->state == CLAIM_AWAY)
		return true;
	if (claim->state == CLAIM_HELD) {
		c->held++;
		return true;
	}
	c->claims++;
	c->orphaned += claim->state == CLAIM_ORPHANED;
	if (!suspended(c->ledger, claim))
		assert_int_equal(ledger_entry_find(c->ledger, &claim->indicator, &entry), 0);
	return true;
}

int audit_verify(struct ledger *l, int64_t *ret_seq)
{
	struct audit_walk walk = {0};
	int r;

	while ((r = audit_verify_some(l, &walk)) == 1)
		;
	*ret_seq = walk.seq;
	return r;
}

void ledger_check(struct ledger *l)
{
	struct check c = {.ledger = l};
	struct ledger_counts counts;
	struct list_state state, logged;
	int64_t seq;

	assert_false(l->open);
	assert_int_equal(ledger_entries_page(l, "", SIZE_MAX >> 1, entry_check, &c), 0);
	assert_int_equal(ledger_claims_page(l, 0, SIZE_MAX >> 1, claim_check, &c), 0);
	ledger_state(l, &state);
	ledger_counts(l, &counts);
	assert_int_equal(state.count, c.entries);
	assert_true(digest_equal(state.digest, c.digest));
	assert_int_equal(counts.enforce, c.enforce);
	assert_int_equal(counts.enforce + counts.monitor, c.entries);
	assert_int_equal(counts.names, c.names);
	assert_int_equal(counts.claims, c.claims);
	assert_int_equal(counts.orphaned, c.orphaned);
	assert_int_equal(counts.held, c.held);
	assert_int_equal(ledger_state_at(l, state.revision, &logged), 0);
	assert_true(list_state_equal(&state, &logged));
	assert_int_equal(audit_verify(l, &seq), 0);
}
