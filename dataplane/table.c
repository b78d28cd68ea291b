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
#include <string.h>
#include <sys/random.h>

// What most entries do not need: only written, and only read, where RECORD_PLAIN is not set.
struct record {
	int64_t enforce_until, monitor_until; // as given: what the digest covers
	int64_t enforce_due, monitor_due; // boot_ms; 0 none, INT64_MAX no end
	uint8_t scope;
};

// All that most entries have: an octet. 0: there is none.
enum slot_flags {
	RECORD_USED = 1,
	RECORD_HELD = 2, // the action is stronger than the record says, until table_settle
	RECORD_PLAIN = 4, // enforced without an end, everywhere
	RECORD_HIT = 8, // hits[] is not all zero
	RECORD_TIMED = 16, // in the wheel of ends
	// The latest synchronisation that named it, and the latest walk of the scrub that met it:
	// this one or the one before. Which value means this one changes with each.
	SLOT_MARK = 32,
	SLOT_WALK = 64,
};

#define ENDS_LOOKS 1024 // in one go: less than a millisecond

#define SLOTS_AT_ONCE sizeof(uint64_t) // that slot_next looks at

struct table {
	struct match *match;
	void *memory; // of the match
	uint32_t capacity; // of the match
	uint32_t rules; // its indices are below
	uint8_t *slots; // enum slot_flags
	struct record *records;
	struct table_hits *hits; // of rules
	struct ends *ends; // of rules: a name's end changes nothing on the wire
	struct grace *grace;
	struct name_table *names;
	struct table_time now;
	bool hold;
	bool marking, walking;
	uint8_t mark, walk; // SLOT_MARK, SLOT_WALK or 0: what this one's are
	bool mark_whole, walk_whole; // every entry has that value
	struct table_sum all, marked, walked;
};

static size_t slots_of(const struct table *t)
{
	return (size_t)t->rules + t->capacity;
}

// In octets; slot_next reads whole words.
static size_t slots_size(const struct table *t)
{
	return slots_of(t) + SLOTS_AT_ONCE;
}

void table_huge(const struct table *t, bool now)
{
	struct match_part parts[MATCH_PARTS];
	unsigned n = match_hot(t->match, parts);

	for (unsigned i = 0; i < n; i++)
		pages_huge(parts[i].at, parts[i].size, now);
}

int table_create(
	uint32_t capacity,
	struct rte_rcu_qsbr *qsbr,
	struct table_time now,
	struct table **ret_table
)
{
	struct table *t = calloc(1, sizeof(*t));
	uint8_t key[16];
	int r = -ENOMEM;

	if (!t)
		return r;
	t->capacity = capacity;
	t->now = now;
	t->mark_whole = t->walk_whole = true;
	t->memory = pages_map(match_size(capacity));
	if (!t->memory || getentropy(key, sizeof(key)))
		goto fail;
	t->match = match_init(t->memory, capacity, key);
	table_huge(t, false);
	t->rules = match_rules(t->match);
	t->slots = pages_map(slots_size(t));
	t->records = pages_map(slots_of(t) * sizeof(*t->records));
	t->hits = pages_map(t->rules * sizeof(*t->hits));
	if (!t->slots || !t->records || !t->hits)
		goto fail;
	if ((r = ends_create(t->rules, now.boot_ms, &t->ends)) < 0
	    || (r = grace_create(t->match, qsbr, &t->grace)) < 0
	    || (r = name_table_create(capacity, &t->names)) < 0)
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
	pages_unmap(t->slots, slots_size(t));
	pages_unmap(t->memory, match_size(t->capacity));
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
	return t->capacity - match_count(t->match) - grace_pending(t->grace);
}

uint32_t table_names_room(const struct table *t)
{
	return t->capacity - name_count(t->names);
}

// --- slots

static struct record record_get(const struct table *t, uint32_t slot)
{
	if (t->slots[slot] & RECORD_PLAIN)
		return (struct record){.enforce_until = UNTIL_FOREVER, .enforce_due = INT64_MAX};
	return t->records[slot];
}

static bool record_is_plain(const struct record *r)
{
	return r->enforce_until == UNTIL_FOREVER && r->monitor_until == UNTIL_NONE && r->scope == 0;
}

static void record_set(struct table *t, uint32_t slot, const struct record *r)
{
	t->slots[slot] &= (uint8_t)~RECORD_PLAIN;
	t->slots[slot] |= RECORD_USED;
	if (record_is_plain(r))
		t->slots[slot] |= RECORD_PLAIN;
	else
		t->records[slot] = *r;
}

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
	if (index == MATCH_NONE || !(t->slots[index] & RECORD_USED))
		return SLOT_NONE;
	return index;
}

void table_entry(const struct table *t, uint32_t slot, struct entry *ret_entry)
{
	const struct record r = record_get(t, slot);
	struct match_key key;

	ret_entry->enforce_until = r.enforce_until;
	ret_entry->monitor_until = r.monitor_until;
	ret_entry->scope = r.scope;
	if (table_matched(t, slot)) {
		match_rule_key(t->match, slot, &key);
		key_to_indicator(&key, &ret_entry->indicator);
	} else {
		name_indicator(t->names, slot - t->rules, &ret_entry->indicator);
	}
}

struct digest table_hash(const struct table *t, uint32_t slot)
{
	struct entry entry;

	table_entry(t, slot, &entry);
	return entry_hash(&entry);
}

static bool is_marked(const struct table *t, uint32_t slot)
{
	return t->marking && (t->slots[slot] & SLOT_MARK) == t->mark;
}

static bool is_walked(const struct table *t, uint32_t slot)
{
	return t->walking && (t->slots[slot] & SLOT_WALK) == t->walk;
}

// It is named, or met, by the latest one.
static void slot_note(struct table *t, uint32_t slot, uint8_t bit, uint8_t value)
{
	t->slots[slot] = (uint8_t)((t->slots[slot] & ~bit) | value);
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

static void account_in(struct table *t, uint32_t slot, struct digest hash)
{
	sum_add(&t->all, hash);
	if (t->marking) {
		slot_note(t, slot, SLOT_MARK, t->mark);
		sum_add(&t->marked, hash);
	}
	if (is_walked(t, slot))
		sum_add(&t->walked, hash);
}

static void account_out(struct table *t, uint32_t slot)
{
	struct digest hash = table_hash(t, slot);

	sum_remove(&t->all, hash);
	if (is_marked(t, slot))
		sum_remove(&t->marked, hash);
	if (is_walked(t, slot))
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

static uint8_t action_of(const struct table *t, uint32_t slot, int64_t boot_ms)
{
	const struct record r = record_get(t, slot);

	return action_at(&r, boot_ms);
}

uint8_t table_action(const struct table *t, uint32_t slot)
{
	if (table_matched(t, slot))
		return match_rule_action(t->match, slot);
	return action_of(t, slot, t->now.boot_ms);
}

uint8_t table_action_of(const struct table *t, const struct entry *e)
{
	const struct record r = {
		.enforce_due = due_of(t, e->enforce_until),
		.monitor_due = due_of(t, e->monitor_until),
	};

	return action_at(&r, t->now.boot_ms);
}

// Most entries were never in the wheel: theirs is not touched.
static void end_set(struct table *t, uint32_t rule, int64_t due)
{
	if (due == ENDS_NEVER && !(t->slots[rule] & RECORD_TIMED))
		return;
	ends_set(t->ends, rule, due);
	t->slots[rule] &= (uint8_t)~RECORD_TIMED;
	if (due != ENDS_NEVER)
		t->slots[rule] |= RECORD_TIMED;
}

// The action by the record, one store; with hold_back a weaker one waits.
static void settle_action(struct table *t, uint32_t rule, bool hold_back)
{
	const struct record r = record_get(t, rule);
	int64_t now = t->now.boot_ms, due = ENDS_NEVER;
	uint8_t want = action_at(&r, now);
	uint8_t is = match_rule_action(t->match, rule);

	if (want == MATCH_ENFORCE)
		due = r.enforce_due;
	else if (want == MATCH_MONITOR)
		due = r.monitor_due;
	end_set(t, rule, due);
	if (want < is && hold_back) {
		t->slots[rule] |= RECORD_HELD;
		return;
	}
	t->slots[rule] &= (uint8_t)~RECORD_HELD;
	if (want != is)
		match_action_set(t->match, rule, want);
}

static struct record record_make(const struct table *t, const struct entry *e)
{
	return (struct record){
		.enforce_until = e->enforce_until,
		.monitor_until = e->monitor_until,
		.enforce_due = due_of(t, e->enforce_until),
		.monitor_due = due_of(t, e->monitor_until),
		.scope = e->scope,
	};
}

int table_reserve(struct table *t, const struct entry *e)
{
	if (e->indicator.kind != INDICATOR_NAME || table_find(t, &e->indicator) != SLOT_NONE)
		return 0;
	return name_reserve(t->names, &e->indicator);
}

void table_unreserve(struct table *t)
{
	name_unreserve(t->names);
}

static int slot_add(struct table *t, const struct entry *e)
{
	const struct record made = record_make(t, e);
	struct match_key key;
	uint32_t index;
	int r;

	if (e->indicator.kind == INDICATOR_NAME) {
		r = name_add(t->names, &e->indicator, &index);
		if (r < 0)
			return r;
		index += t->rules;
	} else {
		key_from_indicator(&e->indicator, &key);
		r = match_add(t->match, &key, action_at(&made, t->now.boot_ms), &index);
		if (r < 0)
			return r;
	}
	// New while a walk is under way: counted as met at once, wherever the walk is.
	t->slots[index] = t->mark | t->walk;
	record_set(t, index, &made);
	if (table_matched(t, index))
		settle_action(t, index, false);
	account_in(t, index, entry_hash(e));
	return 0;
}

int table_put(struct table *t, const struct entry *e, bool hold_back)
{
	uint32_t slot = table_find(t, &e->indicator);
	struct record r;

	if (slot == SLOT_NONE)
		return slot_add(t, e);
	r = record_get(t, slot);
	if (r.enforce_until != e->enforce_until || r.monitor_until != e->monitor_until
	    || r.scope != e->scope) {
		account_out(t, slot);
		r = record_make(t, e);
		record_set(t, slot, &r);
		account_in(t, slot, entry_hash(e));
	} else if (t->marking && !is_marked(t, slot)) {
		// The same record: its deadlines were made when it came, and a clock that
		// stepped since moves nothing.
		slot_note(t, slot, SLOT_MARK, t->mark);
		sum_add(&t->marked, entry_hash(e));
	}
	if (table_matched(t, slot))
		settle_action(t, slot, hold_back);
	return 0;
}

void table_prefetch(const struct table *t, const struct indicator *n)
{
	struct match_key key;
	uint32_t likely;

	if (n->kind == INDICATOR_NAME)
		return;
	key_from_indicator(n, &key);
	likely = match_prefetch(t->match, &key);
	if (likely == MATCH_NONE)
		return;
	__builtin_prefetch(&t->slots[likely], 1);
	__builtin_prefetch(&t->slots[likely + MATCH_LINE_RULES - 1], 1);
}

static void slot_reset(struct table *t, uint32_t slot)
{
	if (t->slots[slot] & RECORD_HIT)
		t->hits[slot] = (struct table_hits){0};
	if (table_matched(t, slot))
		end_set(t, slot, ENDS_NEVER);
	t->slots[slot] = 0;
}

void table_remove(struct table *t, uint32_t slot)
{
	account_out(t, slot);
	slot_reset(t, slot);
	if (!table_matched(t, slot)) {
		name_remove(t->names, slot - t->rules);
		return;
	}
	match_unlink(t->match, slot);
	grace_retire(t->grace, slot);
}

static bool slot_used(const struct table *t, uint32_t slot)
{
	return t->slots[slot] & RECORD_USED;
}

// The next slot from here on that holds an entry; slots_of: none.
static uint32_t slot_next(const struct table *t, uint32_t slot)
{
	uint32_t end = (uint32_t)slots_of(t);
	uint64_t word;

	while (slot < end && !slot_used(t, slot)) {
		uint32_t first = slot & ~((uint32_t)SLOTS_AT_ONCE - 1);

		memcpy(&word, &t->slots[first], sizeof(word));
		slot = word ? slot + 1 : first + (uint32_t)SLOTS_AT_ONCE;
	}
	return slot < end ? slot : end;
}

void table_clear(struct table *t)
{
	for (uint32_t slot = 0; (slot = slot_next(t, slot)) < slots_of(t); slot++)
		table_remove(t, slot);
}

void table_hit(
	struct table *t,
	uint32_t rule,
	const struct match_key *key,
	uint64_t packets,
	uint64_t bytes
)
{
	struct match_key is;
	struct table_hits *h;

	if (rule >= t->rules || !slot_used(t, rule))
		return;
	match_rule_key(t->match, rule, &is);
	if (!key_equal(&is, key))
		return;
	t->slots[rule] |= RECORD_HIT;
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
		settle_action(t, rule, t->slots[rule] & RECORD_HELD);
}

bool table_tick(struct table *t, struct table_time now)
{
	t->now = now;
	return ends_run(t->ends, now.boot_ms, ENDS_LOOKS, end_due, t);
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
		struct record r = record_get(t, slot);

		r.enforce_due = due_of(t, r.enforce_until);
		r.monitor_due = due_of(t, r.monitor_until);
		record_set(t, slot, &r);
		if (table_matched(t, slot))
			settle_action(t, slot, t->slots[slot] & RECORD_HELD);
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

// The one before was broken off, so that entries have either value: all get this one.
static void slots_unify(struct table *t, uint8_t bit, uint8_t value)
{
	const uint64_t each = UINT64_MAX / UINT8_MAX; // an octet's one in each octet
	uint64_t was, word;

	_Static_assert(RECORD_USED == 1, "times a bit, that bit of what is used");
	for (size_t i = 0; i < slots_of(t); i += sizeof(word)) {
		memcpy(&was, &t->slots[i], sizeof(was));
		word = (was & ~(each * bit)) | (was & each) * value;
		// What is zero stays untouched.
		if (word != was)
			memcpy(&t->slots[i], &word, sizeof(word));
	}
}

void table_mark_begin(struct table *t)
{
	if (!t->mark_whole)
		slots_unify(t, SLOT_MARK, t->mark);
	t->mark ^= SLOT_MARK;
	t->mark_whole = false;
	t->marking = true;
	t->marked = (struct table_sum){0};
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
	return is_marked(t, slot);
}

struct table_sum table_marks(const struct table *t)
{
	return t->marked;
}

bool table_settle(struct table *t, uint32_t *from, uint32_t slots)
{
	uint32_t slot = *from;

	for (; slots && (slot = slot_next(t, slot)) < slots_of(t); slot++, slots--) {
		if (!table_marked(t, slot))
			table_remove(t, slot);
		else if (t->slots[slot] & RECORD_HELD)
			settle_action(t, slot, false);
	}
	*from = slot_next(t, slot);
	if (*from < slots_of(t))
		return false;
	t->mark_whole = true;
	table_huge(t, false);
	return true;
}

// --- the scrub's walk

void table_walk_begin(struct table *t)
{
	if (!t->walk_whole)
		slots_unify(t, SLOT_WALK, t->walk);
	t->walk ^= SLOT_WALK;
	t->walk_whole = false;
	t->walking = true;
	t->walked = (struct table_sum){0};
}

void table_walk_end(struct table *t)
{
	t->walk_whole = t->walking && t->walked.count == t->all.count;
	t->walking = false;
}

struct table_sum table_walked(const struct table *t)
{
	return t->walked;
}

static void walk_meet(struct table *t, uint32_t slot)
{
	if (is_walked(t, slot))
		return;
	slot_note(t, slot, SLOT_WALK, t->walk);
	sum_add(&t->walked, table_hash(t, slot));
}

enum table_fault table_walk_rule(struct table *t, uint32_t rule)
{
	struct match_key key;
	uint8_t action = match_rule_action(t->match, rule);
	struct match_hit hit;

	if (!slot_used(t, rule))
		return FAULT_UNKNOWN;
	walk_meet(t, rule);
	// The wheel lets an end take effect late, and where many come at once in slices.
	if (!(t->slots[rule] & RECORD_HELD)
	    && (action < action_of(t, rule, t->now.boot_ms)
		|| action > action_of(t, rule, ends_ran(t->ends))))
		return FAULT_ACTION;
	match_rule_key(t->match, rule, &key);
	match_lookup(t->match, key.family, key.addr, key.proto, key.port, &hit);
	if ((hit.actions & action) != action || match_find(t->match, &key) != rule)
		return FAULT_HIDDEN;
	return FAULT_NONE;
}

enum table_fault
table_walk_rest(struct table *t, uint32_t *from, uint32_t slots, uint32_t *ret_slot, bool *ret_done)
{
	uint32_t slot = *from;

	for (; slots && (slot = slot_next(t, slot)) < slots_of(t); slot++, slots--) {
		struct indicator name;

		if (!table_matched(t, slot)) {
			name_indicator(t->names, slot - t->rules, &name);
			if (name_find(t->names, &name) == slot - t->rules)
				walk_meet(t, slot);
		}
		if (is_walked(t, slot))
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
	const struct record r = record_get(t, old);
	struct match_key key;
	uint32_t rule;
	int error;

	match_rule_key(t->match, old, &key);
	error = match_add(t->match, &key, action_at(&r, t->now.boot_ms), &rule);
	if (error < 0)
		return error;
	record_set(t, rule, &r);
	t->slots[rule] |= t->slots[old] & RECORD_HIT;
	slot_note(t, rule, SLOT_MARK, t->slots[old] & SLOT_MARK);
	slot_note(t, rule, SLOT_WALK, t->walk ^ SLOT_WALK); // not met yet
	if (t->slots[old] & RECORD_HIT)
		t->hits[rule] = t->hits[old];
	slot_reset(t, old);
	settle_action(t, rule, false);
	walk_meet(t, rule);
	grace_retire(t->grace, old);
	return 0;
}

bool table_move(struct table *t, uint32_t slot)
{
	uint32_t to = slot_used(t, slot) ? match_move(t->match, slot) : MATCH_NONE;

	if (to == MATCH_NONE)
		return false;
	// Wherever the walk is, it has been met: its new line may be behind it.
	if (t->walking)
		walk_meet(t, slot);
	t->slots[to] = t->slots[slot] & (uint8_t)~RECORD_TIMED;
	if (!(t->slots[slot] & RECORD_PLAIN))
		t->records[to] = t->records[slot];
	if (t->slots[slot] & RECORD_HIT)
		t->hits[to] = t->hits[slot];
	settle_action(t, to, t->slots[to] & RECORD_HELD);
	slot_reset(t, slot);
	return true;
}

void table_moved(struct table *t, uint32_t slot)
{
	match_unlink(t->match, slot);
	grace_retire(t->grace, slot);
}

bool table_graced(const struct table *t)
{
	return grace_pending(t->grace) == 0;
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
