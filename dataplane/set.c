// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/set.h"

#include "dataplane/exceptions.h"
#include "dataplane/keys.h"
#include "dataplane/node.h"
#include "dataplane/tidy.h"

#include <rte_rcu_qsbr.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MS 1000

struct retired_policy {
	struct retired_policy *next;
	const struct policy *policy;
	uint64_t token;
};

// Mark and sweep.
struct sync {
	uint64_t generation; // the peer's number; 0: none under way
	struct list_state target; // what changes build on meanwhile, and what it leads to
	uint64_t baseline; // entries when it began
	bool sweeping;
	uint32_t cursor; // of the sweep
};

struct set {
	// Read by every worker for each burst: what the control thread writes lies apart.
	_Alignas(NODE_APART) struct live live;
	_Alignas(NODE_APART) struct policy policy; // as published last
	struct retired_policy *retired;
	uint32_t capacity;
	struct table *table;
	struct exceptions *exceptions;
	uint8_t ledger_id[LEDGER_ID_LEN];
	struct revision revision;
	struct sync sync;
	bool grew; // something was added or strengthened since the last barrier
	uint64_t token; // of that barrier; 0: passed
	int64_t deadline; // boot_ms: then it counts as passed
	struct change *late; // of a batch, what waits for it; NULL: none
	size_t n_late;
	struct list_state late_after;
	uint64_t late_generation; // of the synchronisation it came in; 0: none
	bool late_exceptions; // what is no longer among them waits for it too
	struct tidy tidy;
};
_Static_assert(
	offsetof(struct set, live) == 0 && offsetof(struct set, policy) % NODE_APART == 0,
	"no line that workers read for each burst is written by a change"
);

// --- making and freeing

static int policy_publish(struct set *s)
{
	// On lines of its own: workers read it for each burst.
	struct policy *next = aligned_alloc(
		NODE_APART, (sizeof(*next) + NODE_APART - 1) / NODE_APART * NODE_APART
	);
	const struct policy *before = atomic_load_explicit(&s->live.policy, memory_order_relaxed);
	struct retired_policy *old = before ? malloc(sizeof(*old)) : NULL;

	if (!next || (before && !old)) {
		free(next);
		free(old);
		return -ENOMEM;
	}
	*next = s->policy;
	atomic_store_explicit(&s->live.policy, next, memory_order_release);
	if (before) {
		*old = (struct retired_policy){
			.next = s->retired,
			.policy = before,
			.token = rte_rcu_qsbr_start(s->live.qsbr),
		};
		s->retired = old;
	}
	return 0;
}

static void policy_free(const struct policy *policy)
{
	// The workers' view is const; the storage is ours.
	free((void *)(uintptr_t)policy);
}

static void policies_reap(struct set *s, bool all)
{
	struct retired_policy **link = &s->retired;

	while (*link) {
		struct retired_policy *old = *link;

		if (!all && !rte_rcu_qsbr_check(s->live.qsbr, old->token, false)) {
			link = &old->next;
			continue;
		}
		*link = old->next;
		policy_free(old->policy);
		free(old);
	}
}

static int qsbr_create(unsigned workers, struct rte_rcu_qsbr **ret_qsbr)
{
	size_t size = rte_rcu_qsbr_get_memsize(workers);
	struct rte_rcu_qsbr *qsbr;

	size = (size + RTE_CACHE_LINE_SIZE - 1) / RTE_CACHE_LINE_SIZE * RTE_CACHE_LINE_SIZE;
	qsbr = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	if (!qsbr)
		return -ENOMEM;
	if (rte_rcu_qsbr_init(qsbr, workers)) {
		free(qsbr);
		return -EINVAL;
	}
	*ret_qsbr = qsbr;
	return 0;
}

int set_create(const struct set_options *options, struct table_time now, struct set **ret_set)
{
	struct set *s;
	int r;

	if (!options->capacity || options->capacity > SET_CAPACITY_MAX || !options->workers)
		return -EINVAL;
	s = aligned_alloc(_Alignof(struct set), sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct set){.capacity = options->capacity, .policy = options->policy};
	s->policy.have_list = false;
	s->policy.paused = false;
	if ((r = qsbr_create(options->workers, &s->live.qsbr)) < 0
	    || (r = table_create(2 * options->capacity + 1024, s->live.qsbr, now, &s->table)) < 0
	    || (r = exceptions_create(s->live.qsbr, &s->exceptions)) < 0
	    || (r = policy_publish(s)) < 0)
		goto fail;
	s->live.entries = table_match(s->table);
	s->live.exceptions = exceptions_match(s->exceptions);
	*ret_set = s;
	return 0;
fail:
	set_free(s);
	return r;
}

void set_free(struct set *s)
{
	if (!s)
		return;
	policies_reap(s, true);
	policy_free(atomic_load_explicit(&s->live.policy, memory_order_relaxed));
	exceptions_free(s->exceptions);
	table_free(s->table);
	free(s->late);
	free(s->live.qsbr);
	free(s);
}

struct live *set_live(struct set *s)
{
	return &s->live;
}

struct table *set_table(struct set *s)
{
	return s->table;
}

// --- state

void set_state(const struct set *s, struct list_state *ret_state)
{
	struct table_sum all = table_all(s->table);

	*ret_state = (struct list_state
	){.revision = s->revision, .count = all.count, .digest = all.digest};
	memcpy(ret_state->ledger_id, s->ledger_id, LEDGER_ID_LEN);
}

bool set_have_list(const struct set *s)
{
	return s->policy.have_list;
}

uint32_t set_capacity(const struct set *s)
{
	return s->capacity;
}

uint64_t set_names(const struct set *s)
{
	return table_names(s->table);
}

bool set_paused(const struct set *s)
{
	return s->policy.paused;
}

int set_find(const struct set *s, const struct indicator *n, struct set_view *ret_view)
{
	uint32_t slot = table_find(s->table, n);
	uint8_t action;

	if (slot == SLOT_NONE)
		return -ENOENT;
	action = table_action(s->table, slot);
	table_entry(s->table, slot, &ret_view->entry);
	ret_view->matched = table_matched(s->table, slot);
	ret_view->hits = table_hits(s->table, slot);
	ret_view->action = action & MATCH_ENFORCE ? ENTRY_ENFORCE
		: action & MATCH_MONITOR	  ? ENTRY_MONITOR
						  : ENTRY_INERT;
	return 0;
}

uint8_t set_exception_covering(const struct set *s, const struct indicator *n)
{
	return exceptions_covering(s->exceptions, n);
}

// --- time and grace

bool set_tick(struct set *s, struct table_time now)
{
	exceptions_tick(s->exceptions, now.boot_ms);
	return table_tick(s->table, now);
}

struct table_time set_now(const struct set *s)
{
	return table_now(s->table);
}

void set_ends_hold(struct set *s, bool hold)
{
	table_ends_hold(s->table, hold);
}

bool set_ends_held(const struct set *s)
{
	return table_ends_held(s->table);
}

uint64_t set_barrier(struct set *s)
{
	return rte_rcu_qsbr_start(s->live.qsbr);
}

bool set_passed(const struct set *s, uint64_t token)
{
	return rte_rcu_qsbr_check(s->live.qsbr, token, false) == 1;
}

void set_poll(struct set *s, bool drained)
{
	table_poll(s->table, drained);
	exceptions_poll(s->exceptions, drained);
	policies_reap(s, false);
}

// --- changes

struct plan {
	const struct change *changes;
	uint32_t *order; // into changes, each indicator once
	size_t n;
	uint64_t rules, names; // to be added
	uint64_t count; // entries that count against the capacity, afterwards
	struct table_sum after; // of all entries
};

static int order_compare(const void *a, const void *b, void *ctx)
{
	const struct change *changes = ctx;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int c = indicator_compare(&changes[i].entry.indicator, &changes[j].entry.indicator);

	return c ? c : i < j ? -1 : i > j;
}

static int plan_order(struct plan *p, size_t n)
{
	p->order = malloc((n ? n : 1) * sizeof(*p->order));
	if (!p->order)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		p->order[i] = (uint32_t)i;
	// qsort_r hands its context through; the comparison does not write to it.
	qsort_r(p->order, n, sizeof(*p->order), order_compare, (void *)(uintptr_t)p->changes);
	for (size_t i = 0; i < n; i++) {
		const struct indicator *this = &p->changes[p->order[i]].entry.indicator;

		if (i + 1 < n
		    && indicator_equal(this, &p->changes[p->order[i + 1]].entry.indicator))
			continue;
		p->order[p->n++] = p->order[i];
	}
	return 0;
}

static void plan_count(const struct set *s, struct plan *p)
{
	const struct table *t = s->table;

	p->after = table_all(t);
	p->count = table_marking(t) ? table_marks(t).count : p->after.count;
	for (size_t i = 0; i < p->n; i++) {
		const struct change *c = &p->changes[p->order[i]];
		uint32_t slot = table_find(t, &c->entry.indicator);

		if (slot != SLOT_NONE) {
			digest_remove(&p->after.digest, table_hash(t, slot));
			p->after.count--;
			p->count -= !table_marking(t) || table_marked(t, slot);
		}
		if (c->op == CHANGE_REMOVE)
			continue;
		digest_add(&p->after.digest, entry_hash(&c->entry));
		p->after.count++;
		p->count++;
		if (slot == SLOT_NONE && c->entry.indicator.kind == INDICATOR_NAME)
			p->names++;
		else if (slot == SLOT_NONE)
			p->rules++;
	}
}

static int plan_check(
	const struct set *s,
	const struct plan *p,
	const struct list_state *after,
	uint64_t *ret_wanted
)
{
	if (p->count > s->capacity || p->rules > table_rules_room(s->table)
	    || p->names > table_names_room(s->table)) {
		*ret_wanted = p->count;
		return -ENOSPC;
	}
	// In the middle of a synchronisation only its end can be compared.
	if (!table_marking(s->table)
	    && (p->after.count != after->count || !digest_equal(p->after.digest, after->digest)))
		return -EILSEQ;
	return 0;
}

// A put that leaves the entry's action as it is or makes it stronger.
static bool strengthens(const struct set *s, const struct change *c)
{
	uint32_t slot;

	if (c->op == CHANGE_REMOVE)
		return false;
	slot = table_find(s->table, &c->entry.indicator);
	return slot == SLOT_NONE
		|| table_action_of(s->table, &c->entry) >= table_action(s->table, slot);
}

// All the memory that the batch will need: from here on nothing can be refused.
static int plan_reserve(struct set *s, const struct plan *p)
{
	int r = 0;

	for (size_t i = 0; p->names && r == 0 && i < p->n; i++) {
		const struct change *c = &p->changes[p->order[i]];

		if (c->op == CHANGE_PUT)
			r = table_reserve(s->table, &c->entry);
	}
	if (r == 0)
		s->late = malloc((p->n ? p->n : 1) * sizeof(*s->late));
	if (r == 0 && s->late)
		return 0;
	table_unreserve(s->table);
	return -ENOMEM;
}

// What has to wait goes into s->late.
static void plan_strengthen(struct set *s, const struct plan *p)
{
	s->n_late = 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct change *c = &p->changes[p->order[i]];
		int r;

		if (!strengthens(s, c)) {
			s->late[s->n_late++] = *c;
			continue;
		}
		r = table_put(s->table, &c->entry, false);
		assert(r == 0); // room and memory are there
		s->grew = true;
	}
}

static void late_apply(struct set *s)
{
	for (size_t i = 0; i < s->n_late; i++) {
		// An entry that is there: putting it needs no memory.
		if (s->late[i].op == CHANGE_PUT)
			(void)table_put(s->table, &s->late[i].entry, false);
	}
	for (size_t i = 0; i < s->n_late; i++) {
		uint32_t slot = s->late[i].op == CHANGE_REMOVE
			? table_find(s->table, &s->late[i].entry.indicator)
			: SLOT_NONE;

		if (slot != SLOT_NONE)
			table_remove(s->table, slot);
	}
	free(s->late);
	s->late = NULL;
	if (!s->late_generation)
		s->revision = s->late_after.revision;
	else if (s->late_generation == s->sync.generation)
		s->sync.target = s->late_after;
}

// A lookup looks in several places. One that began before an addition may not have seen it; what
// covered the address before must stay until that lookup is over. A worker that has stalled is not
// waited for beyond the deadline: at most its one burst sees the gap.
static void barrier_begin(struct set *s)
{
	if (!s->grew)
		return;
	s->token = set_barrier(s);
	s->deadline = set_now(s).boot_ms + SETTLE_MS;
	s->grew = false;
}

static void exceptions_late(struct set *s)
{
	if (!s->late_exceptions)
		return;
	s->late_exceptions = false;
	exceptions_replace_end(s->exceptions, set_now(s).boot_ms);
}

static bool may_weaken(struct set *s)
{
	barrier_begin(s);
	if (s->token && !set_passed(s, s->token) && set_now(s).boot_ms < s->deadline)
		return false;
	s->token = 0;
	return true;
}

static int
revision_check(const struct set *s, const struct revision *from, const struct list_state *after)
{
	bool syncing = s->sync.generation;
	const uint8_t *ledger_id = syncing ? s->sync.target.ledger_id : s->ledger_id;
	struct revision base = syncing ? s->sync.target.revision : s->revision;

	if (!syncing && !s->policy.have_list)
		return -ESTALE;
	if (revision_compare(base, *from)
	    || memcmp(ledger_id, after->ledger_id, LEDGER_ID_LEN) != 0)
		return -ESTALE;
	return 0;
}

int set_change(
	struct set *s,
	const struct change *changes,
	size_t n,
	const struct revision *from,
	const struct list_state *after,
	uint64_t *ret_wanted
)
{
	struct plan plan = {.changes = changes};
	int r;

	if (set_settling(s))
		return -EBUSY;
	r = revision_check(s, from, after);
	if (r < 0)
		return r;
	r = plan_order(&plan, n);
	if (r < 0)
		return r;
	plan_count(s, &plan);
	r = plan_check(s, &plan, after, ret_wanted);
	if (r == 0)
		r = plan_reserve(s, &plan);
	if (r == 0) {
		plan_strengthen(s, &plan);
		s->late_after = *after;
		s->late_generation = s->sync.generation;
		// At once: a removal that comes later finds it passed and need not wait.
		barrier_begin(s);
		if (!s->n_late || may_weaken(s))
			late_apply(s);
	}
	free(plan.order);
	return r;
}

void set_revision_forget(struct set *s)
{
	s->revision = (struct revision){0};
	memset(s->ledger_id, 0, LEDGER_ID_LEN);
}

static int list_in_force(struct set *s, const struct list_state *state)
{
	int r;

	memcpy(s->ledger_id, state->ledger_id, LEDGER_ID_LEN);
	s->revision = state->revision;
	if (s->policy.have_list)
		return 0;
	s->policy.have_list = true;
	r = policy_publish(s);
	s->policy.have_list = r == 0;
	return r;
}

// --- synchronisation

int set_sync_begin(struct set *s, uint64_t generation, const struct list_state *target)
{
	if (!generation)
		return -EINVAL;
	if (set_settling(s))
		return -EBUSY;
	set_sync_abort(s);
	if (target->count > s->capacity)
		return -ENOSPC;
	s->sync = (struct sync){
		.generation = generation,
		.target = *target,
		.baseline = table_all(s->table).count,
	};
	table_mark_begin(s->table);
	return 0;
}

static bool sync_is(const struct set *s, uint64_t generation)
{
	return generation && s->sync.generation == generation && !set_settling(s);
}

int set_sync_reserve(struct set *s, const struct entry *e)
{
	return table_reserve(s->table, e);
}

void set_sync_unreserve(struct set *s)
{
	table_unreserve(s->table);
}

int set_sync_put(struct set *s, uint64_t generation, const struct entry *e)
{
	uint32_t slot;

	if (!sync_is(s, generation))
		return -EALREADY;
	slot = table_find(s->table, &e->indicator);
	if ((slot == SLOT_NONE || !table_marked(s->table, slot))
	    && table_marks(s->table).count >= s->capacity)
		return -ENOSPC;
	s->grew = true;
	// The table's own limits answer -ENOSPC where removed rules are still being read.
	return table_put(s->table, e, true);
}

// The brake: of what was there, at most a fifth or a hundred entries go, and never the last.
static uint64_t least_left(uint64_t baseline)
{
	uint64_t slack = baseline / 5 > 100 ? baseline / 5 : 100;

	return baseline > slack ? baseline - slack : baseline > 0;
}

int set_sync_end(
	struct set *s,
	uint64_t generation,
	const struct list_state *state,
	bool force,
	uint64_t *ret_least
)
{
	struct table_sum marks = table_marks(s->table), all = table_all(s->table);
	uint64_t kept, least;

	if (!sync_is(s, generation))
		return -EALREADY;
	if (marks.count != state->count || !digest_equal(marks.digest, state->digest)) {
		set_sync_abort(s);
		return -EILSEQ;
	}
	// Counted are entries that go, not the difference: a list of as many others is a loss too.
	kept = s->sync.baseline
		- (all.count - marks.count < s->sync.baseline ? all.count - marks.count
							      : s->sync.baseline);
	least = least_left(s->sync.baseline);
	if (!force && (kept < least || (marks.count == 0 && s->sync.baseline > 0))) {
		*ret_least = least;
		return -EDOM;
	}
	s->sync.target = *state;
	s->sync.sweeping = true;
	return 0;
}

static bool sweep(struct set *s, uint32_t slots)
{
	struct list_state target = s->sync.target;

	if (!table_settle(s->table, &s->sync.cursor, slots))
		return false;
	// The policy of a first list is small; where even that cannot be had, try again.
	if (list_in_force(s, &target) < 0)
		return false;
	table_mark_end(s->table);
	s->sync = (struct sync){0};
	tidy_begin(&s->tidy);
	return true;
}

bool set_settle(struct set *s, uint32_t slots)
{
	if (!set_settling(s))
		return true;
	if (!may_weaken(s))
		return false;
	exceptions_late(s);
	if (s->late)
		late_apply(s);
	tidy_done(&s->tidy, s->table);
	return !s->sync.sweeping || sweep(s, slots);
}

bool set_settling(const struct set *s)
{
	return s->late || s->late_exceptions || s->sync.sweeping || s->tidy.n;
}

bool set_tidy(struct set *s, uint32_t lines)
{
	// Places that wait to be given out again are those to move to.
	if (s->tidy.running && !set_settling(s) && !s->sync.generation && table_graced(s->table)
	    && tidy_move(&s->tidy, s->table, lines)) {
		s->grew = true;
		barrier_begin(s);
	}
	return s->tidy.running || s->tidy.n;
}

bool set_moving(const struct set *s)
{
	return s->tidy.n;
}

bool set_settle_waits(const struct set *s)
{
	return s->token != 0;
}

uint64_t set_sync_count(const struct set *s)
{
	return table_marks(s->table).count;
}

void set_sync_abort(struct set *s)
{
	if (!s->sync.generation || s->sync.sweeping)
		return;
	table_mark_end(s->table);
	s->sync = (struct sync){0};
	// Part of it is in.
	set_revision_forget(s);
}

// --- loading

int set_load_put(struct set *s, const struct entry *e)
{
	if (table_all(s->table).count >= s->capacity
	    && table_find(s->table, &e->indicator) == SLOT_NONE)
		return -ENOSPC;
	return table_put(s->table, e, false);
}

void set_load_prefetch(const struct set *s, const struct entry *e)
{
	table_prefetch(s->table, &e->indicator);
}

// No worker runs yet: grace comes at once, and there are no denials to drain.
static void load_recycle(struct set *s)
{
	set_poll(s, false);
	set_poll(s, false);
	set_poll(s, true);
}

void set_load_remove(struct set *s, const struct indicator *n)
{
	uint32_t slot = table_find(s->table, n);

	if (slot != SLOT_NONE) {
		table_remove(s->table, slot);
		load_recycle(s);
	}
}

void set_load_reset(struct set *s)
{
	struct table_time now = set_now(s);

	table_clear(s->table);
	exceptions_replace_begin(s->exceptions, NULL, 0, now.wall_ms, now.boot_ms);
	exceptions_replace_end(s->exceptions, now.boot_ms);
	load_recycle(s);
}

int set_load_complete(struct set *s, const struct list_state *state)
{
	struct table_sum all = table_all(s->table);

	if (all.count != state->count || !digest_equal(all.digest, state->digest))
		return -EILSEQ;
	return list_in_force(s, state);
}

// --- exceptions, policy, hits

int set_exceptions(struct set *s, const struct exception *given, size_t n)
{
	struct table_time now = set_now(s);
	int r = exceptions_replace_begin(s->exceptions, given, n, now.wall_ms, now.boot_ms);

	if (r < 0)
		return r;
	s->grew = s->late_exceptions = true;
	if (may_weaken(s))
		exceptions_late(s);
	return 0;
}

int set_breakglass(struct set *s, const struct indicator *n, int64_t deadline_ms)
{
	struct match_key key;
	int r;

	if (n->kind == INDICATOR_NAME)
		return -EINVAL;
	key_from_indicator(n, &key);
	r = exceptions_breakglass(s->exceptions, &key, deadline_ms);
	exceptions_tick(s->exceptions, set_now(s).boot_ms);
	return r;
}

uint64_t set_exception_count(const struct set *s)
{
	return exceptions_count(s->exceptions);
}

uint64_t set_allow_count(const struct set *s)
{
	return exceptions_allows(s->exceptions);
}

int set_pause(struct set *s, bool paused)
{
	int r;

	if (paused == s->policy.paused)
		return 0;
	s->policy.paused = paused;
	r = policy_publish(s);
	if (r < 0)
		s->policy.paused = !paused;
	return r;
}

void set_hit(
	struct set *s, uint32_t rule, const struct match_key *key, uint64_t packets, uint64_t bytes
)
{
	table_hit(s->table, rule, key, packets, bytes);
}
