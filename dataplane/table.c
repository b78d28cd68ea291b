// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/table.h"

#include "dataplane/ends.h"
#include "dataplane/grace.h"
#include "dataplane/keys.h"
#include "dataplane/name_table.h"
#include "dataplane/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

struct record {
	int64_t enforce_until, monitor_until; // as given: what the digest covers
	int64_t enforce_due, monitor_due; // boot_ms; 0 none, INT64_MAX no end
	uint32_t mark; // of the synchronisation that named it last
	uint32_t walk; // of the scrub that met it last
	uint8_t scope;
	uint8_t flags;
};

enum record_flags {
	RECORD_USED = 1,
	RECORD_HELD = 2, // the action is stronger than the record says, until table_settle
};

struct table {
	struct match *match;
	void *memory; // of the match
	uint32_t rules;
	uint32_t top; // rules below were given out
	struct record *records;
	struct table_hits *hits; // of rules
	struct ends *ends; // of rules: a name's end changes nothing on the wire
	struct grace *grace;
	struct name_table *names;
	struct table_time now;
	bool hold;
	bool marking, walking;
	uint32_t mark, walk; // numbers of the latest; 0 is a fresh record's
	struct table_sum all, marks, walked;
};

static size_t slots_of(const struct table *t)
{
	return 2 * (size_t)t->rules;
}

int table_create(
	uint32_t rules, struct rte_rcu_qsbr *qsbr, struct table_time now, struct table **ret_table
)
{
	struct table *t = calloc(1, sizeof(*t));
	uint8_t key[16];
	int r = -ENOMEM;

	if (!t)
		return r;
	t->rules = rules;
	t->now = now;
	t->memory = pages_map(match_size(rules));
	t->records = pages_map(slots_of(t) * sizeof(*t->records));
	t->hits = pages_map(rules * sizeof(*t->hits));
	if (!t->memory || !t->records || !t->hits || getentropy(key, sizeof(key)))
		goto fail;
	t->match = match_init(t->memory, rules, key);
	if ((r = ends_create(rules, now.boot_ms, &t->ends)) < 0
	    || (r = grace_create(t->match, qsbr, &t->grace)) < 0
	    || (r = name_table_create(rules, &t->names)) < 0)
		goto fail;
	*ret_table = t;
	return 0;
fail:
	table_free(t);
	return r;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	name_table_free(t->names);
	grace_free(t->grace);
	ends_free(t->ends);
	pages_unmap(t->hits, t->rules * sizeof(*t->hits));
	pages_unmap(t->records, slots_of(t) * sizeof(*t->records));
	pages_unmap(t->memory, match_size(t->rules));
	free(t);
}

struct match *table_match(struct table *t)
{
	return t->match;
}

struct table_sum table_all(const struct table *t)
{
	return t->all;
}

uint64_t table_names(const struct table *t)
{
	return name_count(t->names);
}

uint32_t table_rules_room(const struct table *t)
{
	return t->rules - match_count(t->match) - grace_pending(t->grace);
}

uint32_t table_names_room(const struct table *t)
{
	return t->rules - name_count(t->names);
}

// --- slots

bool table_matched(const struct table *t, uint32_t slot)
{
	return slot < t->rules;
}

uint32_t table_find(const struct table *t, const struct indicator *n)
{
	struct match_key key;
	uint32_t index;

	if (n->kind == INDICATOR_NAME) {
		index = name_find(t->names, n);
		return index == NAME_NONE ? SLOT_NONE : t->rules + index;
	}
	key_from_indicator(n, &key);
	index = match_find(t->match, &key);
	// A rule without a record is the scrub's to clear away, not an entry.
	if (index == MATCH_NONE || !(t->records[index].flags & RECORD_USED))
		return SLOT_NONE;
	return index;
}

void table_entry(const struct table *t, uint32_t slot, struct entry *ret_entry)
{
	const struct record *r = &t->records[slot];

	ret_entry->enforce_until = r->enforce_until;
	ret_entry->monitor_until = r->monitor_until;
	ret_entry->scope = r->scope;
	if (table_matched(t, slot))
		key_to_indicator(match_rule_key(t->match, slot), &ret_entry->indicator);
	else
		name_indicator(t->names, slot - t->rules, &ret_entry->indicator);
}

struct digest table_hash(const struct table *t, uint32_t slot)
{
	struct entry entry;

	table_entry(t, slot, &entry);
	return entry_hash(&entry);
}

static bool is_marked(const struct table *t, const struct record *r)
{
	return t->marking && r->mark == t->mark;
}

static bool is_walked(const struct table *t, const struct record *r)
{
	return t->walking && r->walk == t->walk;
}

static void sum_add(struct table_sum *sum, struct digest hash)
{
	sum->count++;
	digest_add(&sum->digest, hash);
}

static void sum_remove(struct table_sum *sum, struct digest hash)
{
	sum->count--;
	digest_remove(&sum->digest, hash);
}

static void account_in(struct table *t, struct record *r, struct digest hash)
{
	sum_add(&t->all, hash);
	if (t->marking) {
		r->mark = t->mark;
		sum_add(&t->marks, hash);
	}
	if (is_walked(t, r))
		sum_add(&t->walked, hash);
}

static void account_out(struct table *t, uint32_t slot)
{
	const struct record *r = &t->records[slot];
	struct digest hash = table_hash(t, slot);

	sum_remove(&t->all, hash);
	if (is_marked(t, r))
		sum_remove(&t->marks, hash);
	if (is_walked(t, r))
		sum_remove(&t->walked, hash);
}

static int64_t due_of(const struct table *t, int64_t until)
{
	if (until <= 0)
		return 0;
	// Further away than any clock runs: no end, and no overflow.
	if (t->hold || until >= INT64_MAX / 2000)
		return INT64_MAX;
	return t->now.boot_ms + until * 1000 - t->now.wall_ms;
}

static uint8_t action_at(const struct record *r, int64_t boot_ms)
{
	if (r->enforce_due > boot_ms)
		return MATCH_ENFORCE;
	return r->monitor_due > boot_ms ? MATCH_MONITOR : MATCH_INERT;
}

uint8_t table_action(const struct table *t, uint32_t slot)
{
	if (table_matched(t, slot))
		return match_rule_action(t->match, slot);
	return action_at(&t->records[slot], t->now.boot_ms);
}

uint8_t table_action_of(const struct table *t, const struct entry *e)
{
	const struct record r = {
		.enforce_due = due_of(t, e->enforce_until),
		.monitor_due = due_of(t, e->monitor_until),
	};

	return action_at(&r, t->now.boot_ms);
}

// The action by the record, one store; with hold_back a weaker one waits.
static void settle_action(struct table *t, uint32_t rule, bool hold_back)
{
	struct record *r = &t->records[rule];
	int64_t now = t->now.boot_ms, due = ENDS_NEVER;
	uint8_t want = action_at(r, now);
	uint8_t is = match_rule_action(t->match, rule);

	if (want == MATCH_ENFORCE)
		due = r->enforce_due;
	else if (want == MATCH_MONITOR)
		due = r->monitor_due;
	ends_set(t->ends, rule, due);
	if (want < is && hold_back) {
		r->flags |= RECORD_HELD;
		return;
	}
	r->flags &= (uint8_t)~RECORD_HELD;
	if (want != is)
		match_action_set(t->match, rule, want);
}

static void record_fill(struct table *t, struct record *r, const struct entry *e)
{
	r->enforce_until = e->enforce_until;
	r->monitor_until = e->monitor_until;
	r->enforce_due = due_of(t, e->enforce_until);
	r->monitor_due = due_of(t, e->monitor_until);
	r->scope = e->scope;
	r->flags |= RECORD_USED;
}

static int slot_add(struct table *t, const struct entry *e)
{
	// New while a walk is under way: counted as met at once, wherever the walk is.
	struct record filled = {.walk = t->walking ? t->walk : 0};
	struct match_key key;
	uint32_t index;
	int r;

	record_fill(t, &filled, e);
	if (e->indicator.kind == INDICATOR_NAME) {
		r = name_add(t->names, &e->indicator, &index);
		if (r < 0)
			return r;
		index += t->rules;
		t->records[index] = filled;
	} else {
		key_from_indicator(&e->indicator, &key);
		r = match_add(t->match, &key, action_at(&filled, t->now.boot_ms), &index);
		if (r < 0)
			return r;
		if (index >= t->top)
			t->top = index + 1;
		t->records[index] = filled;
		t->hits[index] = (struct table_hits){0};
		settle_action(t, index, false);
	}
	account_in(t, &t->records[index], entry_hash(e));
	return 0;
}

int table_put(struct table *t, const struct entry *e, bool hold_back)
{
	uint32_t slot = table_find(t, &e->indicator);
	struct record *r;

	if (slot == SLOT_NONE)
		return slot_add(t, e);
	r = &t->records[slot];
	if (r->enforce_until != e->enforce_until || r->monitor_until != e->monitor_until
	    || r->scope != e->scope) {
		account_out(t, slot);
		record_fill(t, r, e);
		account_in(t, r, entry_hash(e));
	} else if (t->marking && r->mark != t->mark) {
		// The same record: its deadlines were made when it came, and a clock that
		// stepped since moves nothing.
		r->mark = t->mark;
		sum_add(&t->marks, entry_hash(e));
	}
	if (table_matched(t, slot))
		settle_action(t, slot, hold_back);
	return 0;
}

void table_remove(struct table *t, uint32_t slot)
{
	account_out(t, slot);
	t->records[slot] = (struct record){0};
	if (!table_matched(t, slot)) {
		name_remove(t->names, slot - t->rules);
		return;
	}
	ends_set(t->ends, slot, ENDS_NEVER);
	match_unlink(t->match, slot);
	grace_retire(t->grace, slot);
}

// The next slot from here on that holds an entry; slots_of: none.
static uint32_t slot_next(const struct table *t, uint32_t slot)
{
	uint32_t end = (uint32_t)slots_of(t);

	if (slot >= t->top && slot < t->rules)
		slot = t->rules;
	if (slot >= t->rules && slot - t->rules >= name_top(t->names))
		return end;
	return slot;
}

static bool slot_used(const struct table *t, uint32_t slot)
{
	return t->records[slot].flags & RECORD_USED;
}

void table_clear(struct table *t)
{
	for (uint32_t slot = 0; (slot = slot_next(t, slot)) < slots_of(t); slot++) {
		if (slot_used(t, slot))
			table_remove(t, slot);
	}
}

void table_hit(
	struct table *t,
	uint32_t rule,
	const struct match_key *key,
	uint64_t packets,
	uint64_t bytes
)
{
	struct table_hits *h;

	if (rule >= t->top || !slot_used(t, rule)
	    || !key_equal(match_rule_key(t->match, rule), key))
		return;
	h = &t->hits[rule];
	h->packets += packets;
	h->bytes += bytes;
	h->last_ms = t->now.wall_ms;
}

struct table_hits table_hits(const struct table *t, uint32_t slot)
{
	return table_matched(t, slot) ? t->hits[slot] : (struct table_hits){0};
}

// --- time and grace

static void end_due(void *ctx, uint32_t rule)
{
	struct table *t = ctx;

	if (slot_used(t, rule))
		settle_action(t, rule, t->records[rule].flags & RECORD_HELD);
}

void table_tick(struct table *t, struct table_time now)
{
	t->now = now;
	ends_run(t->ends, now.boot_ms, end_due, t);
}

struct table_time table_now(const struct table *t)
{
	return t->now;
}

void table_ends_hold(struct table *t, bool hold)
{
	if (hold == t->hold)
		return;
	t->hold = hold;
	for (uint32_t slot = 0; (slot = slot_next(t, slot)) < slots_of(t); slot++) {
		struct record *r = &t->records[slot];

		if (!slot_used(t, slot))
			continue;
		r->enforce_due = due_of(t, r->enforce_until);
		r->monitor_due = due_of(t, r->monitor_until);
		if (table_matched(t, slot))
			settle_action(t, slot, r->flags & RECORD_HELD);
	}
}

bool table_ends_held(const struct table *t)
{
	return t->hold;
}

void table_poll(struct table *t, bool drained)
{
	grace_poll(t->grace, drained);
}

// --- marks

void table_mark_begin(struct table *t)
{
	if (++t->mark == 0)
		t->mark = 1;
	t->marking = true;
	t->marks = (struct table_sum){0};
}

void table_mark_end(struct table *t)
{
	t->marking = false;
}

bool table_marking(const struct table *t)
{
	return t->marking;
}

bool table_marked(const struct table *t, uint32_t slot)
{
	return is_marked(t, &t->records[slot]);
}

struct table_sum table_marks(const struct table *t)
{
	return t->marks;
}

bool table_settle(struct table *t, uint32_t *from, uint32_t slots)
{
	uint32_t slot = *from;

	for (; slots && (slot = slot_next(t, slot)) < slots_of(t); slot++, slots--) {
		if (!slot_used(t, slot))
			continue;
		if (!table_marked(t, slot))
			table_remove(t, slot);
		else if (t->records[slot].flags & RECORD_HELD)
			settle_action(t, slot, false);
	}
	*from = slot_next(t, slot);
	return *from >= slots_of(t);
}

// --- the scrub's walk

void table_walk_begin(struct table *t)
{
	if (++t->walk == 0)
		t->walk = 1;
	t->walking = true;
	t->walked = (struct table_sum){0};
}

void table_walk_end(struct table *t)
{
	t->walking = false;
}

struct table_sum table_walked(const struct table *t)
{
	return t->walked;
}

static void walk_meet(struct table *t, uint32_t slot)
{
	struct record *r = &t->records[slot];

	if (r->walk == t->walk)
		return;
	r->walk = t->walk;
	sum_add(&t->walked, table_hash(t, slot));
}

enum table_fault table_walk_rule(struct table *t, uint32_t rule)
{
	const struct record *r = &t->records[rule];
	const struct match_key *key = match_rule_key(t->match, rule);
	uint8_t action = match_rule_action(t->match, rule);
	int64_t now = t->now.boot_ms;
	struct match_hit hit;

	if (!slot_used(t, rule))
		return FAULT_UNKNOWN;
	walk_meet(t, rule);
	// The wheel lets an end take effect up to a tick late.
	if (!(r->flags & RECORD_HELD) && action != action_at(r, now)
	    && action != action_at(r, now - ENDS_TICK_MS))
		return FAULT_ACTION;
	match_lookup(t->match, key->family, key->addr, key->proto, key->port, &hit);
	if ((hit.actions & action) != action || match_find(t->match, key) != rule)
		return FAULT_HIDDEN;
	return FAULT_NONE;
}

enum table_fault
table_walk_rest(struct table *t, uint32_t *from, uint32_t slots, uint32_t *ret_slot, bool *ret_done)
{
	uint32_t slot = *from;

	for (; slots && (slot = slot_next(t, slot)) < slots_of(t); slot++, slots--) {
		struct indicator name;

		if (!slot_used(t, slot))
			continue;
		if (!table_matched(t, slot)) {
			name_indicator(t->names, slot - t->rules, &name);
			if (name_find(t->names, &name) == slot - t->rules)
				walk_meet(t, slot);
		}
		if (is_walked(t, &t->records[slot]))
			continue;
		*from = slot + 1;
		*ret_slot = slot;
		*ret_done = false;
		return FAULT_MISSING;
	}
	*from = slot_next(t, slot);
	*ret_done = *from >= slots_of(t);
	return FAULT_NONE;
}

// Under a new index: the old one may still be in a reader's hands, or in a broken chain.
static int rule_relink(struct table *t, uint32_t old)
{
	const struct match_key key = *match_rule_key(t->match, old);
	struct record *r = &t->records[old];
	uint32_t rule;
	int error = match_add(t->match, &key, action_at(r, t->now.boot_ms), &rule);

	if (error < 0)
		return error;
	if (rule >= t->top)
		t->top = rule + 1;
	t->records[rule] = *r;
	t->hits[rule] = t->hits[old];
	*r = (struct record){0};
	ends_set(t->ends, old, ENDS_NEVER);
	settle_action(t, rule, false);
	walk_meet(t, rule);
	grace_retire(t->grace, old);
	return 0;
}

int table_repair(struct table *t, enum table_fault fault, uint32_t slot)
{
	if (!table_matched(t, slot))
		return -ENOTSUP;
	switch (fault) {
	case FAULT_NONE:
		return 0;
	case FAULT_UNKNOWN:
		match_unlink(t->match, slot);
		grace_retire(t->grace, slot);
		return 0;
	case FAULT_ACTION:
		settle_action(t, slot, false);
		return 0;
	case FAULT_MISSING:
		return rule_relink(t, slot);
	case FAULT_HIDDEN:
		return -ENOTSUP;
	}
	return -EINVAL;
}
