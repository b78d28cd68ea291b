// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/ruleset.h"

#include "dataplane/keys.h"
#include "dataplane/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

struct line {
	struct match_key key;
	uint8_t action;
};

struct lines {
	struct line *at;
	size_t n, room;
};

struct loading {
	struct ruleset *rules;
	int64_t now;
	struct lines lines[2]; // entries, exceptions
};

static int lines_add(struct lines *l, const struct indicator *n, uint8_t action)
{
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct line *grown = reallocarray(l->at, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->at = grown;
		l->room = room;
	}
	key_from_indicator(n, &l->at[l->n].key);
	l->at[l->n++].action = action;
	return 0;
}

static int entry_take(void *ctx, const struct entry *e)
{
	static const uint8_t actions[] = {
		[ENTRY_INERT] = MATCH_INERT,
		[ENTRY_MONITOR] = MATCH_MONITOR,
		[ENTRY_ENFORCE] = MATCH_ENFORCE,
	};
	struct loading *l = ctx;
	uint8_t action = actions[entry_action_at(e, l->now)];

	l->rules->inert += action == MATCH_INERT;
	if (e->indicator.kind == INDICATOR_NAME) {
		l->rules->names++;
		return 0;
	}
	return lines_add(&l->lines[0], &e->indicator, action);
}

static int exception_take(void *ctx, const struct exception *x)
{
	struct loading *l = ctx;
	uint8_t action = x->kind == EXCEPTION_PROTECT ? MATCH_PROTECT : MATCH_ALLOW;

	if (x->until <= l->now) {
		action = MATCH_INERT;
		l->rules->inert++;
	}
	if (x->indicator.kind == INDICATOR_NAME) {
		l->rules->names++;
		return 0;
	}
	return lines_add(&l->lines[1], &x->indicator, action);
}

static int match_fill(struct match *m, const struct lines *lines)
{
	for (size_t i = 0; i < lines->n; i++) {
		const struct line *line = &lines->at[i];
		uint32_t rule;
		int error = match_add(m, &line->key, line->action, &rule);

		if (error == -EEXIST) {
			rule = match_find(m, &line->key);
			match_action_set(m, rule, match_rule_action(m, rule) | line->action);
		} else if (error < 0) {
			return error;
		}
	}
	return 0;
}

static int match_build(struct ruleset *r, int which, const struct lines *lines, struct match **to)
{
	uint32_t capacity = 2 * (uint32_t)lines->n; // at its best up to half of it
	uint8_t key[16];

	if (lines->n >= UINT32_MAX / 8 || getentropy(key, sizeof(key)) < 0)
		return -ENOMEM;
	r->sizes[which] = match_size(capacity);
	r->memory[which] = pages_map(r->sizes[which]);
	if (!r->memory[which])
		return -ENOMEM;
	*to = match_init(r->memory[which], capacity, key);
	return match_fill(*to, lines);
}

int ruleset_load(
	const char *path, int64_t now, struct ruleset *ret_rules, struct text_error *ret_error
)
{
	struct ruleset r = {0};
	struct loading l = {.rules = &r, .now = now};
	const struct statement_sink sink = {entry_take, exception_take, &l};
	int error;

	if ((error = rules_read(path, &sink, ret_error)) < 0
	    || (error = match_build(&r, 0, &l.lines[0], &r.entries)) < 0
	    || (error = match_build(&r, 1, &l.lines[1], &r.exceptions)) < 0)
		ruleset_fini(&r);
	else
		*ret_rules = r;
	free(l.lines[0].at);
	free(l.lines[1].at);
	return error;
}

void ruleset_fini(struct ruleset *r)
{
	for (int i = 0; i < 2; i++) {
		if (r->memory[i])
			pages_unmap(r->memory[i], r->sizes[i]);
		r->memory[i] = NULL;
	}
}

size_t ruleset_rule_print(const struct match *m, uint32_t rule, char text[INDICATOR_TEXT_MAX])
{
	struct match_key key;
	struct indicator n;

	match_rule_key(m, rule, &key);
	key_to_indicator(&key, &n);
	return indicator_print(&n, text);
}
