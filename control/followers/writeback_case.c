// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/writeback_case.h"

#include "control/conf.h"
#include "control/ledger.h"
#include "control/protect.h"
#include "control/sources/thehive_judge.h"
#include "control/status_tags.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX (64 + INDICATOR_TEXT_MAX)
#define ENDS_SOON_PART 4 // a warning at the most so early: a quarter of the whole time

// Whose claims: the case's own, or those of people who block by hand from it.
struct side {
	const char *member, *member_held; // of the row
	bool by_hand;
	json_t *live, *held; // as they are now: {"<observable> <indicator>": {…}}
	json_t *indicators; // {"<indicator>": true}: live ones
	json_t *told_now; // {"<indicator>": true}: in the news already
};
#define SIDES 2

struct looking {
	const struct wb_look *look;
	json_t *state;
	struct wb_seen *seen;
	struct side sides[SIDES];
	json_t *wanted; // {"<observable>": word}
	size_t n; // claims
	bool large;
};

void wb_seen_fini(struct wb_seen *seen)
{
	json_decref(seen->news);
	json_decref(seen->tags);
	*seen = (struct wb_seen){0};
}

json_t *wb_member(json_t *object, const char *key)
{
	json_t *member = json_object_get(object, key);

	if (!json_is_object(member)) {
		json_object_set_new(object, key, json_object());
		member = json_object_get(object, key);
	}
	return member;
}

void wb_news_add(struct wb_seen *seen, bool on, const char *kind, json_t *item)
{
	json_t *list = json_object_get(seen->news, kind);

	seen->changed = true;
	if (!on) {
		json_decref(item);
		return;
	}
	if (!list) {
		json_object_set_new(seen->news, kind, json_array());
		list = json_object_get(seen->news, kind);
	}
	json_array_append_new(list, item);
}

static void news_add(struct looking *l, bool on, const char *kind, json_t *item)
{
	wb_news_add(l->seen, on, kind, item);
}

static void due_at(struct looking *l, int64_t when)
{
	if (when < l->seen->due)
		l->seen->due = when;
}

static const char *text_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

const char *wb_cause_of(const json_t *state, const char *member, const char *key)
{
	return text_at(json_object_get(json_object_get(state, "causes"), member), key);
}

static const char *cause_of(const struct looking *l, const char *member, const char *key)
{
	return wb_cause_of(l->state, member, key);
}

static const char *indicator_of_key(const char *key)
{
	const char *space = strchr(key, ' ');

	return space ? space + 1 : key;
}

static bool indicator_read(const char *text, struct indicator *n)
{
	struct indicator_error error;

	return indicator_parse(text, strlen(text), n, &error) == 0;
}

// --- what the ledger has

static void want(struct looking *l, const char *observable, const char *word)
{
	static const char *const order[] = {
		STATUS_TAG_ENFORCED,
		STATUS_TAG_MONITORED,
		STATUS_TAG_HELD,
		STATUS_TAG_REFUSED,
	};
	const char *has = text_at(l->wanted, observable);

	// An observable may have several indicators: the strongest word.
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (strcmp(has, order[i]) == 0)
			return;
		if (strcmp(word, order[i]) == 0)
			break;
	}
	json_object_set_new(l->wanted, observable, json_string(word));
}

struct claims_walk {
	struct looking *l;
	struct side *side;
};

static bool claim_take(void *ctx, const struct claim *claim)
{
	struct looking *l = ((struct claims_walk *)ctx)->l;
	struct side *side = ((struct claims_walk *)ctx)->side;
	const char *observable = strrchr(claim->ref, '/');
	bool monitor = claim->action == CLAIM_MONITOR;
	char text[INDICATOR_TEXT_MAX], key[KEY_MAX];
	json_t *one;

	if (claim->state > CLAIM_HELD)
		return true; // ended here
	l->large = ++l->n > WB_LARGE;
	if (l->large)
		return false;
	observable = observable ? observable + 1 : "";
	indicator_print(&claim->indicator, text);
	snprintf(key, sizeof(key), "%.60s %s", observable, text);
	if (claim->state == CLAIM_HELD) {
		json_object_set_new(side->held, key, json_true());
		want(l, observable, STATUS_TAG_HELD);
		return true;
	}
	one = json_pack(
		"{s:s, s:I, s:I}",
		"action",
		monitor ? "monitor" : "enforce",
		"until",
		(json_int_t)(claim->until == UNTIL_FOREVER ? 0 : claim->until),
		"created",
		(json_int_t)claim->created
	);
	if (side->by_hand)
		json_object_set_new(one, "by", json_string(claim->author));
	if (claim->state == CLAIM_ORPHANED)
		json_object_set_new(one, "orphaned", json_true());
	json_object_set_new(side->live, key, one);
	json_object_set_new(side->indicators, text, json_true());
	want(l, observable, monitor ? STATUS_TAG_MONITORED : STATUS_TAG_ENFORCED);
	return true;
}

// The reference of blocks by hand: see thehive_ask.h.
static int claims_look(struct looking *l)
{
	struct claims_walk walk = {l, &l->sides[0]};
	const char *slash = strrchr(l->look->ref, '/');
	char prefix[WB_REF_MAX + 64];
	int r;

	snprintf(prefix, sizeof(prefix), "%s/", l->look->ref);
	r = ledger_claims_by_ref(l->look->ledger, l->look->source, prefix, claim_take, &walk);
	if (r == 0 && !l->large) {
		walk.side = &l->sides[1];
		snprintf(
			prefix,
			sizeof(prefix),
			"case/%.40s/%s/",
			l->look->source + strlen("thehive:"),
			slash ? slash + 1 : ""
		);
		r = ledger_claims_by_ref(l->look->ledger, "operator", prefix, claim_take, &walk);
	}
	for (size_t i = 0; l->large && i < SIDES; i++) {
		json_object_clear(l->sides[i].live);
		json_object_clear(l->sides[i].held);
	}
	if (l->large)
		json_object_clear(l->wanted);
	return r;
}

// --- denied, withdrawn, held

// True once for each indicator: several observables may name the same.
static bool first_of(struct side *side, const char *indicator)
{
	if (json_object_get(side->told_now, indicator))
		return false;
	json_object_set_new(side->told_now, indicator, json_true());
	return true;
}

// Who blocked it by hand, from the claim or from what is known of it.
static void by_set(json_t *item, const struct side *side, const json_t *claim)
{
	if (side->by_hand)
		json_object_set_new(item, "by", json_string(text_at(claim, "by")));
}

static void denied_add(struct looking *l, struct side *side, const char *key, const json_t *claim)
{
	const char *text = indicator_of_key(key);
	const struct protection *protected;
	struct indicator n;
	char id[20] = "", f5[WB_F5_MAX];
	json_t *item;

	if (!first_of(side, text) || !indicator_read(text, &n))
		return;
	snprintf(id, sizeof(id), "%016" PRIx64, indicator_id(&n));
	item = json_pack(
		"{s:s, s:s, s:s, s:O}",
		"indicator",
		text,
		"id",
		id,
		"action",
		text_at(claim, "action"),
		"until",
		json_object_get(claim, "until")
	);
	by_set(item, side, claim);
	if (json_is_true(json_object_get(claim, "orphaned")))
		json_object_set_new(item, "orphaned", json_true());
	protected = l->look->protect ? protect_check(l->look->protect, &n, NULL) : NULL;
	if (protected) {
		indicator_print(&protected->indicator, f5);
		json_object_set_new(item, "protected", json_string(f5));
	}
	if (l->look->f5 && l->look->f5(l->look->f5_ctx, &n, f5)) {
		json_object_set_new(item, "f5", json_string(f5));
		l->seen->f5_pending |= strncmp(f5, "pending", 7) == 0;
	}
	l->seen->own_denied |= !side->by_hand;
	news_add(l, l->look->conf->enforced, "denied", item);
}

// Blocked by hand again, by another or for longer: that is told too.
static bool denied_anew(const struct side *side, const json_t *was, const json_t *claim)
{
	if (!was || strcmp(text_at(was, "action"), text_at(claim, "action")) != 0)
		return true;
	return side->by_hand
		&& (strcmp(text_at(was, "by"), text_at(claim, "by")) != 0
		    || !json_equal(json_object_get(was, "until"), json_object_get(claim, "until")));
}

static void denied_look(struct looking *l, struct side *side, const json_t *told)
{
	const char *key;
	json_t *claim;

	json_object_foreach(side->live, key, claim)
	{
		if (denied_anew(side, json_object_get(told, key), claim))
			denied_add(l, side, key, claim);
	}
}

// Its time is over: that the source refuses it from now on is no news.
static void over_note(struct looking *l, const char *key, const json_t *was)
{
	int64_t until = json_integer_value(json_object_get(was, "until"));
	char observable[64];

	if (until <= 0 || until > l->look->now)
		return;
	snprintf(observable, sizeof(observable), "%.*s", (int)strcspn(key, " "), key);
	json_object_set_new(wb_member(l->state, "over"), observable, json_true());
}

static void withdrawn_look(struct looking *l, struct side *side, json_t *told)
{
	const char *key;
	json_t *was;

	json_object_foreach(told, key, was)
	{
		const char *text = indicator_of_key(key), *why = cause_of(l, side->member, key);
		struct indicator n;
		struct entry entry;
		json_t *item;

		if (json_object_get(side->live, key))
			continue;
		l->seen->changed = true;
		if (!side->by_hand)
			over_note(l, key, was);
		// Another observable of the case names the same.
		if (json_object_get(side->indicators, text) || !indicator_read(text, &n)
		    || !first_of(side, text))
			continue;
		item = json_pack(
			"{s:s, s:s, s:b}",
			"indicator",
			text,
			"why",
			*why ? why : "its claim has ended",
			"still",
			ledger_entry_find(l->look->ledger, &n, &entry) == 0
		);
		by_set(item, side, was);
		news_add(l, l->look->conf->withdrawn, "withdrawn", item);
	}
}

// Before it ends by itself. What is denied only now says its end already.
static void ending_look(struct looking *l, struct side *side, const json_t *told)
{
	const char *key;
	json_t *claim, *item;

	json_object_foreach(side->live, key, claim)
	{
		int64_t until = json_integer_value(json_object_get(claim, "until"));
		int64_t created = json_integer_value(json_object_get(claim, "created"));
		int64_t part = (until - created) / ENDS_SOON_PART;
		int64_t lead = l->look->conf->expiry_s;
		const json_t *was = json_object_get(told, key);
		const json_t *warned = json_object_get(was, "warned");

		if (until <= 0)
			continue;
		if (part < lead)
			lead = part;
		if (json_integer_value(warned) == until) {
			json_object_set_new(claim, "warned", json_integer(until));
			continue;
		}
		if (l->look->now < until - lead) {
			due_at(l, until - lead);
			continue;
		}
		json_object_set_new(claim, "warned", json_integer(until));
		if (!was || l->look->now >= until)
			continue;
		item = json_pack(
			"{s:s, s:I}", "indicator", indicator_of_key(key), "until", (json_int_t)until
		);
		by_set(item, side, claim);
		news_add(l, l->look->conf->expiry, "ending", item);
	}
}

// What is held no longer and not denied either: an operator rejected it, or it is asked for no
// more.
static void unheld_look(struct looking *l, const struct side *side, const json_t *told)
{
	const char *key;
	const json_t *one;

	json_object_foreach((json_t *)(uintptr_t)told, key, one)
	{
		const char *why = cause_of(l, side->member, key);

		if (json_object_get(side->held, key) || json_object_get(side->live, key) || !*why)
			continue;
		news_add(
			l,
			l->look->conf->refused,
			"unheld",
			json_pack("{s:s, s:s}", "indicator", indicator_of_key(key), "why", why)
		);
	}
}

static void held_look(struct looking *l, const struct side *side)
{
	json_t *told = wb_member(l->state, side->member_held);
	const char *key;
	json_t *one;

	json_object_foreach(side->held, key, one)
	{
		const char *why = cause_of(l, side->member, key);

		if (json_object_get(told, key))
			continue;
		news_add(
			l,
			l->look->conf->refused,
			"held",
			json_pack(
				"{s:s, s:s}",
				"indicator",
				indicator_of_key(key),
				"why",
				*why ? why : "see `stanch held`"
			)
		);
	}
	if (!l->large)
		unheld_look(l, side, told);
	if (!json_equal(told, side->held)) {
		l->seen->changed = true;
		json_object_set(l->state, side->member_held, side->held);
	}
}

// --- refused: the source's note of the case

static bool is_over(const struct looking *l, const json_t *refusal)
{
	const json_t *over = json_object_get(l->state, "over");

	return json_object_get(over, text_at(refusal, "observable"))
		&& strcmp(text_at(refusal, "why"), HIVE_DURATION_OVER) == 0;
}

static void refused_look(struct looking *l)
{
	const char *slash = strrchr(l->look->ref, '/'), *why;
	json_t *note = NULL, *told = wb_member(l->state, "refused"), *now = json_object(), *one;
	char key[128];
	size_t i;

	snprintf(key, sizeof(key), "case/%.100s", slash ? slash + 1 : "");
	if (ledger_note_get(l->look->ledger, l->look->source, key, &note) < 0)
		note = NULL;
	json_array_foreach(json_object_get(note, "refused"), i, one)
	{
		char name[192];

		snprintf(
			name,
			sizeof(name),
			"%.60s %.100s",
			text_at(one, "observable"),
			text_at(one, "data")
		);
		json_object_set(now, name, json_object_get(one, "why"));
		want(l, text_at(one, "observable"), STATUS_TAG_REFUSED);
		if (strcmp(text_at(told, name), text_at(one, "why")) != 0)
			news_add(
				l,
				l->look->conf->refused && !is_over(l, one),
				"refused",
				json_deep_copy(one)
			);
	}
	if (!json_equal(told, now)) {
		l->seen->changed = true;
		json_object_set(l->state, "refused", now);
	}
	why = text_at(note, "why");
	if (strcmp(why, text_at(l->state, "why")) != 0) {
		l->seen->changed = true;
		if (*why && l->look->conf->refused)
			json_object_set_new(l->seen->news, "why", json_string(why));
		json_object_set_new(l->state, "why", json_string(why));
	}
	json_decref(now);
	json_decref(note);
}

// --- refused by hand: see writeback_audit.c

static void hand_refused_add(struct looking *l, const json_t *click)
{
	json_t *list = json_object_get(click, "refused"), *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		json_t *item = json_deep_copy(one);

		json_object_set(item, "by", json_object_get(click, "user"));
		news_add(l, l->look->conf->refused, "not_blocked", item);
	}
	if (json_integer_value(json_object_get(click, "more")) > 0)
		news_add(
			l,
			l->look->conf->refused,
			"not_blocked",
			json_pack("{s:O}", "more", json_object_get(click, "more"))
		);
}

static void hand_refused_look(struct looking *l)
{
	size_t i;
	const json_t *click;

	json_array_foreach(json_object_get(l->state, "refusals"), i, click)
		hand_refused_add(l, click);
	if (json_object_del(l->state, "refusals") == 0)
		l->seen->changed = true;
}

// --- allows

struct allowing {
	struct looking *l;
	json_t *now;
	const json_t *told;
};

static bool case_meets(const struct looking *l, const struct indicator *allowed)
{
	const char *key;
	json_t *claim;

	for (size_t i = 0; i < SIDES; i++)
		json_object_foreach(l->sides[i].live, key, claim)
		{
			struct indicator n;

			if (indicator_read(indicator_of_key(key), &n)
			    && (indicator_covers(allowed, &n) || indicator_covers(&n, allowed)))
				return true;
		}
	return false;
}

static bool allow_take(void *ctx, const struct allow *allow)
{
	struct allowing *a = ctx;
	char text[INDICATOR_TEXT_MAX];

	if (!case_meets(a->l, &allow->indicator))
		return true;
	indicator_print(&allow->indicator, text);
	json_object_set_new(a->now, text, json_integer(allow->until));
	if (json_integer_value(json_object_get(a->told, text)) == allow->until)
		return true;
	news_add(
		a->l,
		a->l->look->conf->withdrawn,
		"allowed",
		json_pack(
			"{s:s, s:I, s:s, s:s}",
			"indicator",
			text,
			"until",
			(json_int_t)allow->until,
			"author",
			allow->author,
			"reason",
			allow->reason
		)
	);
	return true;
}

static int allowed_look(struct looking *l)
{
	struct allowing a = {
		.l = l,
		.now = json_object(),
		.told = wb_member(l->state, "allowed"),
	};
	int r = ledger_allows(l->look->ledger, allow_take, &a);
	const char *key;
	json_t *one;

	json_object_foreach(json_object_get(l->state, "allowed"), key, one)
	{
		struct indicator n;

		if (!json_object_get(a.now, key) && indicator_read(key, &n) && case_meets(l, &n))
			news_add(l, l->look->conf->withdrawn, "denied_again", json_string(key));
	}
	if (r == 0 && !json_equal(a.told, a.now)) {
		l->seen->changed = true;
		json_object_set(l->state, "allowed", a.now);
	}
	json_decref(a.now);
	return r;
}

// --- tags

static void tags_look(struct looking *l)
{
	json_t *told = wb_member(l->state, "tags"), *word;
	const char *observable;

	json_object_foreach(l->wanted, observable, word)
	{
		if (*observable && strcmp(text_at(told, observable), json_string_value(word)) != 0)
			json_object_set(l->seen->tags, observable, word);
	}
	json_object_foreach(told, observable, word)
	{
		if (*json_string_value(word) && !json_object_get(l->wanted, observable))
			json_object_set_new(l->seen->tags, observable, json_string(""));
	}
}

// --- all of it

static void live_set(struct looking *l)
{
	for (size_t i = 0; i < SIDES; i++)
		json_object_set(l->state, l->sides[i].member, l->sides[i].live);
}

// A case with so many claims is told as one, without its parts. True: nothing else is to be told of
// them.
static bool large_look(struct looking *l)
{
	bool was = json_is_true(json_object_get(l->state, "large"));

	if (l->large && !was) {
		json_object_set_new(l->state, "large", json_true());
		for (size_t i = 0; i < SIDES; i++)
			json_object_del(l->state, l->sides[i].member);
		l->seen->own_denied = true;
		news_add(l, l->look->conf->enforced, "many", json_integer(WB_LARGE));
	}
	if (was && !l->large) { // those that remain are known
		json_object_del(l->state, "large");
		live_set(l);
		news_add(l, l->look->conf->withdrawn, "few", json_integer((json_int_t)l->n));
	}
	return l->large || was;
}

static void side_look(struct looking *l, struct side *side)
{
	json_t *told = wb_member(l->state, side->member);
	const char *key;
	json_t *claim;

	denied_look(l, side, told);
	withdrawn_look(l, side, told);
	ending_look(l, side, told);
	json_object_foreach(side->live, key, claim)
	{
		json_object_del(claim, "created");
		if (!json_equal(claim, json_object_get(told, key)))
			l->seen->changed = true;
	}
}

// What depends on the data plane: told when it has it.
static int applied_look(struct looking *l)
{
	size_t told = 0;
	int r;

	l->seen->first = json_object_size(wb_member(l->state, "live")) == 0;
	for (size_t i = 0; i < SIDES; i++)
		told += json_object_size(wb_member(l->state, l->sides[i].member));
	if (!l->look->applied) {
		l->seen->waits |= l->n + told > 0;
		return 0;
	}
	if (large_look(l))
		return 0;
	for (size_t i = 0; i < SIDES; i++)
		side_look(l, &l->sides[i]);
	if (json_object_get(l->seen->news, "denied") && ledger_pause_until(l->look->ledger))
		json_object_set_new(
			l->seen->news, "paused", json_integer(ledger_pause_until(l->look->ledger))
		);
	r = allowed_look(l);
	if (r < 0)
		return r;
	live_set(l);
	return 0;
}

static void looking_fini(struct looking *l)
{
	for (size_t i = 0; i < SIDES; i++) {
		json_decref(l->sides[i].live);
		json_decref(l->sides[i].held);
		json_decref(l->sides[i].indicators);
		json_decref(l->sides[i].told_now);
	}
	json_decref(l->wanted);
}

int wb_case_look(const struct wb_look *look, json_t *state, struct wb_seen *ret_seen)
{
	struct wb_seen seen = {.news = json_object(), .tags = json_object(), .due = TOLD_NEVER};
	struct looking l = {
		.look = look,
		.state = state,
		.seen = &seen,
		.sides = {
			{.member = "live", .member_held = "held"},
			{.member = "hand", .member_held = "hand_held", .by_hand = true},
		},
		.wanted = json_object(),
	};
	int r;

	for (size_t i = 0; i < SIDES; i++) {
		l.sides[i].live = json_object();
		l.sides[i].held = json_object();
		l.sides[i].indicators = json_object();
		l.sides[i].told_now = json_object();
	}
	r = claims_look(&l);
	if (r == 0)
		r = wb_immune_look(look, state, &seen);
	if (r == 0)
		r = applied_look(&l);
	if (r == 0) {
		for (size_t i = 0; i < SIDES; i++)
			held_look(&l, &l.sides[i]);
		hand_refused_look(&l);
		refused_look(&l);
		if (look->applied && look->conf->tags && !l.large)
			tags_look(&l);
		// All that ended is in the news now.
		if (look->applied && json_object_del(state, "causes") == 0)
			seen.changed = true;
	}
	looking_fini(&l);
	if (r < 0)
		wb_seen_fini(&seen);
	else
		*ret_seen = seen;
	return r;
}
