// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/scrub.h"

#include <errno.h>
#include <stdlib.h>

#define TOLD_MAX 100

enum phase {
	PHASE_LINES,
	PHASE_REST
};

struct scrub {
	struct set *set;
	scrub_cb cb;
	void *ctx;
	enum phase phase;
	uint32_t cursor;
	uint64_t found, failed; // in this walk
	bool walking;
	int64_t begun_ms, ended_ms;
	struct scrub_result result;
};

int scrub_create(struct set *set, scrub_cb cb, void *ctx, struct scrub **ret_scrub)
{
	struct scrub *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->set = set;
	s->cb = cb;
	s->ctx = ctx;
	*ret_scrub = s;
	return 0;
}

void scrub_free(struct scrub *s)
{
	free(s);
}

const char *table_fault_name(enum table_fault fault)
{
	switch (fault) {
	case FAULT_NONE:
		return "in order";
	case FAULT_UNKNOWN:
		return "found by workers, but not in the list";
	case FAULT_ACTION:
		return "not with the action it should have";
	case FAULT_HIDDEN:
		return "in its line, but not found by a lookup";
	case FAULT_MISSING:
		return "in the list, but not found by workers";
	}
	return "unknown";
}

static void fault_found(struct scrub *s, enum table_fault fault, uint32_t slot)
{
	struct table *t = set_table(s->set);
	struct entry entry;
	bool repaired;

	table_entry(t, slot, &entry);
	repaired = table_repair(t, fault, slot) == 0;
	s->found++;
	s->failed += !repaired;
	s->result.errors++;
	s->result.repaired += repaired;
	if (s->found <= TOLD_MAX)
		s->cb(s->ctx, fault, &entry, repaired);
}

static void walk_begin(struct scrub *s)
{
	table_walk_begin(set_table(s->set));
	s->walking = true;
	s->phase = PHASE_LINES;
	s->cursor = 0;
	s->found = s->failed = 0;
	s->begun_ms = set_now(s->set).boot_ms;
}

static uint32_t lines_walk(struct scrub *s, uint32_t steps)
{
	struct table *t = set_table(s->set);
	const struct match *m = table_match(t);
	uint32_t lines = match_lines(m), rules[MATCH_LINE_RULES];

	for (; steps && s->cursor < lines; s->cursor++, steps--) {
		unsigned n = match_line(m, s->cursor, rules);

		for (unsigned i = 0; i < n; i++) {
			enum table_fault fault = table_walk_rule(t, rules[i]);

			if (fault != FAULT_NONE)
				fault_found(s, fault, rules[i]);
		}
	}
	if (s->cursor == lines) {
		s->phase = PHASE_REST;
		s->cursor = 0;
	}
	return steps;
}

static void walk_end(struct scrub *s)
{
	struct table *t = set_table(s->set);
	struct table_sum walked = table_walked(t), all = table_all(t);

	// Nothing was named, yet the sums differ: a record has changed behind the writer's back.
	if (!s->failed && (walked.count != all.count || !digest_equal(walked.digest, all.digest))) {
		s->found++;
		s->failed++;
		s->result.errors++;
	}
	s->ended_ms = set_now(s->set).boot_ms;
	s->result.digest = walked.digest;
	s->result.count = walked.count;
	s->result.walk_ms = (uint64_t)(s->ended_ms - s->begun_ms);
	s->result.clean = s->found == 0;
	s->result.unrepaired = s->failed != 0;
	s->result.walks++;
	s->walking = false;
	table_walk_end(t);
}

bool scrub_step(struct scrub *s, uint32_t steps)
{
	struct table *t = set_table(s->set);
	bool done = false;

	if (!s->walking)
		walk_begin(s);
	if (s->phase == PHASE_LINES)
		steps = lines_walk(s, steps);
	while (s->phase == PHASE_REST && steps && !done) {
		uint32_t from = s->cursor, slot = 0;
		enum table_fault fault = table_walk_rest(t, &s->cursor, steps, &slot, &done);
		uint32_t walked = s->cursor - from;

		if (fault == FAULT_NONE)
			break;
		fault_found(s, fault, slot);
		// The cursor may have jumped over slots never used: those cost nothing.
		steps -= walked < steps ? walked : steps;
	}
	if (done)
		walk_end(s);
	return done;
}

void scrub_result(const struct scrub *s, struct scrub_result *ret_result)
{
	*ret_result = s->result;
	ret_result->age_ms = s->result.walks ? set_now(s->set).boot_ms - s->ended_ms : -1;
}
