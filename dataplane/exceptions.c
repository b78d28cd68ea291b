// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/exceptions.h"

#include "dataplane/grace.h"
#include "dataplane/keys.h"
#include "dataplane/pages.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

// A replaced set, the one before it still being read, and root's.
#define RULES (2 * EXCEPTIONS_MAX + EXCEPTIONS_BREAKGLASS_MAX)

struct record {
	uint64_t mark; // the replacement that named it last
	int64_t allow; // deadlines; 0 none, INT64_MAX no end
	int64_t breakglass;
	bool protect;
	bool used;
};

struct exceptions {
	struct match *match;
	void *memory;
	struct grace *grace;
	struct record *records;
	uint32_t top; // rules below were given out
	uint64_t mark;
	uint64_t names, allows, breakglass;
	int64_t due; // the earliest end; INT64_MAX none
};

static size_t records_size(const struct exceptions *x)
{
	return match_rules(x->match) * sizeof(struct record);
}

int exceptions_create(struct rte_rcu_qsbr *qsbr, struct exceptions **ret_exceptions)
{
	struct exceptions *x = calloc(1, sizeof(*x));
	uint8_t key[16];
	int r = -ENOMEM;

	if (!x)
		return r;
	x->due = INT64_MAX;
	x->memory = pages_map(match_size(RULES));
	if (!x->memory || getentropy(key, sizeof(key)))
		goto fail;
	x->match = match_init(x->memory, RULES, key);
	x->records = pages_map(records_size(x));
	if (!x->records)
		goto fail;
	r = grace_create(x->match, qsbr, &x->grace);
	if (r < 0)
		goto fail;
	*ret_exceptions = x;
	return 0;
fail:
	exceptions_free(x);
	return r;
}

void exceptions_free(struct exceptions *x)
{
	if (!x)
		return;
	grace_free(x->grace);
	if (x->records)
		pages_unmap(x->records, records_size(x));
	pages_unmap(x->memory, match_size(RULES));
	free(x);
}

struct match *exceptions_match(struct exceptions *x)
{
	return x->match;
}

static uint8_t action_of(const struct record *r, int64_t boot_ms)
{
	return (r->protect ? MATCH_PROTECT : 0)
		| (r->allow > boot_ms || r->breakglass > boot_ms ? MATCH_ALLOW : 0);
}

static void due_lower(struct exceptions *x, const struct record *r)
{
	if (r->allow && r->allow < x->due)
		x->due = r->allow;
	if (r->breakglass && r->breakglass < x->due)
		x->due = r->breakglass;
}

static struct record *record_make(struct exceptions *x, const struct match_key *key, uint32_t *rule)
{
	struct record *r;

	*rule = match_find(x->match, key);
	if (*rule != MATCH_NONE)
		return &x->records[*rule];
	if (match_add(x->match, key, MATCH_INERT, rule) < 0)
		return NULL;
	if (*rule >= x->top)
		x->top = *rule + 1;
	r = &x->records[*rule];
	*r = (struct record){.used = true};
	return r;
}

// What remains of a rule: its action by its record, or nothing and it goes.
static void settle(struct exceptions *x, uint32_t rule, int64_t boot_ms)
{
	struct record *r = &x->records[rule];
	uint8_t action;

	if (r->allow && r->allow <= boot_ms)
		r->allow = 0;
	if (r->breakglass && r->breakglass <= boot_ms) {
		r->breakglass = 0;
		x->breakglass--;
	}
	action = action_of(r, boot_ms);
	if (action) {
		if (match_rule_action(x->match, rule) != action)
			match_action_set(x->match, rule, action);
		if (action & MATCH_ALLOW)
			x->allows++;
		due_lower(x, r);
		return;
	}
	match_unlink(x->match, rule);
	*r = (struct record){0};
	grace_retire(x->grace, rule);
}

static void settle_all(struct exceptions *x, int64_t boot_ms)
{
	x->due = INT64_MAX;
	x->allows = 0;
	for (uint32_t rule = 0; rule < x->top; rule++) {
		if (x->records[rule].used)
			settle(x, rule, boot_ms);
	}
}

static int64_t allow_deadline(int64_t until, int64_t wall_ms, int64_t boot_ms)
{
	int64_t wall_s = wall_ms / 1000;

	if (until <= wall_s)
		return 0;
	if (until - wall_s >= ALLOW_MAX_MS / 1000)
		return boot_ms + ALLOW_MAX_MS;
	return boot_ms + until * 1000 - wall_ms;
}

static struct record *
put(struct exceptions *x, const struct exception *e, int64_t wall_ms, int64_t boot_ms)
{
	struct match_key key;
	struct record *r;
	uint32_t rule;
	uint8_t before;

	key_from_indicator(&e->indicator, &key);
	r = record_make(x, &key, &rule);
	assert(r); // the room was checked
	if (r->mark != x->mark) {
		r->mark = x->mark;
		r->protect = false;
		r->allow = 0;
	}
	if (e->kind == EXCEPTION_PROTECT) {
		r->protect = true;
	} else {
		int64_t deadline = allow_deadline(e->until, wall_ms, boot_ms);

		r->allow = deadline > r->allow ? deadline : r->allow;
	}
	// Only add for now: what the record no longer has goes once all additions are made.
	before = match_rule_action(x->match, rule);
	if ((action_of(r, boot_ms) | before) != before)
		match_action_set(x->match, rule, before | action_of(r, boot_ms));
	return r;
}

int exceptions_replace_begin(
	struct exceptions *x,
	const struct exception *given,
	size_t n,
	int64_t wall_ms,
	int64_t boot_ms
)
{
	uint32_t room = RULES - match_count(x->match) - grace_pending(x->grace);
	uint64_t names = 0;

	if (n > EXCEPTIONS_MAX || n > room)
		return -ENOSPC;
	x->mark++;
	for (size_t i = 0; i < n; i++) {
		if (given[i].indicator.kind == INDICATOR_NAME)
			names++;
		else
			due_lower(x, put(x, &given[i], wall_ms, boot_ms));
	}
	for (uint32_t rule = 0; rule < x->top; rule++) {
		struct record *r = &x->records[rule];

		if (r->mark != x->mark) {
			r->protect = false;
			r->allow = 0;
		}
	}
	x->names = names;
	return 0;
}

void exceptions_replace_end(struct exceptions *x, int64_t boot_ms)
{
	settle_all(x, boot_ms);
}

int exceptions_breakglass(struct exceptions *x, const struct match_key *key, int64_t deadline_ms)
{
	struct record *r;
	uint32_t rule = match_find(x->match, key);
	uint8_t action;

	if (!deadline_ms) {
		if (rule == MATCH_NONE || !x->records[rule].breakglass)
			return -ENOENT;
		// Ended as if its time had come: before any instant of the clock.
		x->records[rule].breakglass = INT64_MIN;
		x->due = INT64_MIN;
		return 0;
	}
	if (x->breakglass >= EXCEPTIONS_BREAKGLASS_MAX
	    && (rule == MATCH_NONE || !x->records[rule].breakglass))
		return -ENOSPC;
	r = record_make(x, key, &rule);
	if (!r)
		return -ENOSPC;
	if (!r->breakglass)
		x->breakglass++;
	r->breakglass = deadline_ms;
	action = match_rule_action(x->match, rule);
	if (!(action & MATCH_ALLOW)) {
		match_action_set(x->match, rule, action | MATCH_ALLOW);
		x->allows++;
	}
	// Also where the new end is the earlier one: the walk looks at every rule anyway.
	due_lower(x, r);
	return 0;
}

void exceptions_tick(struct exceptions *x, int64_t boot_ms)
{
	if (x->due <= boot_ms)
		settle_all(x, boot_ms);
}

void exceptions_poll(struct exceptions *x, bool drained)
{
	grace_poll(x->grace, drained);
}

static uint8_t kind_at(const struct exceptions *x, const struct match_key *key)
{
	uint32_t rule = match_find(x->match, key);
	uint8_t action = rule == MATCH_NONE ? 0 : match_rule_action(x->match, rule);

	return action & MATCH_PROTECT  ? EXCEPTION_PROTECT
		: action & MATCH_ALLOW ? EXCEPTION_ALLOW
				       : 0;
}

// Protection above allow, whatever the length.
static uint8_t kind_stronger(uint8_t a, uint8_t b)
{
	return !a || (b && b < a) ? b : a;
}

uint8_t exceptions_covering(const struct exceptions *x, const struct indicator *n)
{
	struct match_key key;
	uint8_t kind = 0;

	if (n->kind == INDICATOR_NAME)
		return 0;
	key_from_indicator(n, &key);
	kind = kind_at(x, &key);
	key.proto = 0;
	key.port = 0;
	for (unsigned len = n->prefix_len; len > 0; len--) {
		key.prefix_len = (uint8_t)len;
		kind = kind_stronger(kind, kind_at(x, &key));
		key.addr[(len - 1) / 8] &= (uint8_t) ~(0x80u >> (len - 1) % 8);
	}
	return kind;
}

uint64_t exceptions_count(const struct exceptions *x)
{
	return match_count(x->match) + x->names;
}

uint64_t exceptions_allows(const struct exceptions *x)
{
	return x->allows;
}
