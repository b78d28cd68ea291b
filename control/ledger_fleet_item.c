// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Items as JSON. Written by hand: a thousand claims a commit become items.

#include "control/ledger_fleet_internal.h"
#include "rules/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[ITEM_KINDS] = {
	[ITEM_CLAIM] = "claim",
	[ITEM_ALLOW] = "allow",
	[ITEM_IMMUNITY] = "immunity",
	[ITEM_PROTECT] = "protect",
	[ITEM_PAUSE] = "pause",
	[ITEM_HELD] = "held",
	[ITEM_ASKED] = "asked",
	[ITEM_TOLD] = "told",
	[ITEM_NOTE] = "note",
	[ITEM_CURSOR] = "cursor",
};

// --- text

void text_free(struct fleet_text *t)
{
	free(t->text);
	*t = (struct fleet_text){0};
}

static bool text_room(struct fleet_text *t, size_t more)
{
	size_t size = t->size ? t->size : 4096;
	char *text;

	if (t->failed)
		return false;
	if (t->len + more < t->size)
		return true;
	while (size <= t->len + more)
		size *= 2;
	text = realloc(t->text, size);
	if (!text) {
		t->failed = true;
		return false;
	}
	t->text = text;
	t->size = size;
	return true;
}

void text_add(struct fleet_text *t, const char *text, size_t len)
{
	if (!text_room(t, len + 1))
		return;
	memcpy(t->text + t->len, text, len);
	t->len += len;
	t->text[t->len] = '\0';
}

void text_printf(struct fleet_text *t, const char *format, ...)
{
	char text[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(text))
		t->failed = true;
	else
		text_add(t, text, (size_t)len);
}

// Octets of the UTF-8 sequence there; 0: it is none that JSON takes.
static size_t sequence(const unsigned char *at)
{
	size_t n = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
	uint32_t c = at[0] & (0x7f >> n);
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (n == 1)
		return 1;
	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (at[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

void text_string(struct fleet_text *t, const char *value)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *at = (const unsigned char *)value;
	size_t from = 0, i = 0;

	text_add(t, "\"", 1);
	while (at[i] && i < FLEET_TEXT_MAX) {
		size_t n = sequence(at + i);
		char escape[6] = {'\\', 'u', '0', '0', hex[at[i] >> 4], hex[at[i] & 15]};

		if (n > 0 && at[i] >= 0x20 && at[i] != '"' && at[i] != '\\') {
			i += n;
			continue;
		}
		text_add(t, value + from, i - from);
		// What is no UTF-8 would make the whole record unreadable.
		if (n == 0)
			text_add(t, "?", 1);
		else
			text_add(t, escape, sizeof(escape));
		from = ++i;
	}
	text_add(t, value + from, i - from);
	text_add(t, "\"", 1);
}

// --- writing

static void put_text(struct fleet_text *t, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	text_add(t, ",\"", 2);
	text_add(t, name, strlen(name));
	text_add(t, "\":", 2);
	text_string(t, value);
}

static void put_number(struct fleet_text *t, const char *name, int64_t value)
{
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
	char digits[24];
	size_t at = sizeof(digits);

	text_add(t, ",\"", 2);
	text_add(t, name, strlen(name));
	text_add(t, "\":", 2);
	do
		digits[--at] = (char)('0' + left % 10);
	while (left /= 10);
	if (value < 0)
		digits[--at] = '-';
	text_add(t, digits + at, sizeof(digits) - at);
}

static void print_claim(struct fleet_text *t, const struct claim *c)
{
	if (c->action == CLAIM_MONITOR)
		put_text(t, "do", "monitor");
	if (c->state == CLAIM_ORPHANED)
		put_text(t, "st", "orphaned");
	if (c->state == CLAIM_HELD)
		put_text(t, "st", "held");
	if (c->author_inferred)
		text_add(t, ",\"inf\":true", 11);
	put_text(t, "case", c->case_number);
	if (c->tlp != -1)
		put_number(t, "tlp", c->tlp);
	if (c->orphaned_since)
		put_number(t, "orph", c->orphaned_since);
}

static void print_asked(struct fleet_text *t, const struct fleet_item *i)
{
	put_text(t, "gw", i->claim.source);
	put_number(t, "seq", (int64_t)i->seq);
	put_number(t, "from", (int64_t)i->oldest);
	if (i->code)
		put_number(t, "e", i->code);
	put_text(t, "re", i->claim.reason);
}

void item_print(struct fleet_text *t, const struct fleet_item *i)
{
	char indicator[INDICATOR_TEXT_MAX];

	text_add(t, "{\"k\":\"", 6);
	text_add(t, kinds[i->kind], strlen(kinds[i->kind]));
	if (i->gone)
		text_add(t, "-end", 4);
	text_add(t, "\"", 1);
	if (i->kind == ITEM_ASKED) {
		print_asked(t, i);
		text_add(t, "}", 1);
		return;
	}
	put_text(t, "src", i->claim.source);
	if (i->kind != ITEM_HELD)
		put_text(t, "ref", i->claim.ref);
	if (item_is_note(i->kind)) {
		if (i->kind == ITEM_TOLD && !i->gone)
			put_number(t, "at", i->claim.created);
		if (!i->gone)
			note_print(t, i);
		text_add(t, "}", 1);
		return;
	}
	if (i->kind != ITEM_PAUSE && i->kind != ITEM_HELD) {
		indicator_print(&i->claim.indicator, indicator);
		put_text(t, "ind", indicator);
	}
	if (i->held)
		put_number(t, "h", i->held);
	if (!i->gone) {
		put_number(t, "at", i->claim.created);
		if (i->claim.until != UNTIL_FOREVER)
			put_number(t, "until", i->claim.until);
		put_text(t, "by", i->claim.author);
		put_text(t, "re", i->claim.reason);
		if (i->kind == ITEM_CLAIM)
			print_claim(t, &i->claim);
		if (i->n)
			put_number(t, "n", i->n);
	}
	put_text(t, "act", i->actor);
	put_text(t, "as", i->as);
	put_text(t, "why", i->why);
	text_add(t, "}", 1);
}

// --- reading

struct reading {
	const json_t *object;
	bool bad;
};

static const char *get_text(struct reading *r, const char *name)
{
	const json_t *value = json_object_get(r->object, name);

	if (!value)
		return "";
	if (!json_is_string(value) || strlen(json_string_value(value)) > FLEET_TEXT_MAX) {
		r->bad = true;
		return "";
	}
	return json_string_value(value);
}

static int64_t
get_number(struct reading *r, const char *name, int64_t absent, int64_t low, int64_t high)
{
	const json_t *value = json_object_get(r->object, name);
	int64_t number = value ? json_integer_value(value) : absent;

	if (value && (!json_is_integer(value) || number < low || number > high))
		r->bad = true;
	return number;
}

static bool is_one_of(struct reading *r, const char *name, const char *word)
{
	const char *value = get_text(r, name);

	if (*value && strcmp(value, word) != 0)
		return false;
	return *value;
}

static bool get_kind(struct reading *r, struct fleet_item *i)
{
	const char *kind = get_text(r, "k");
	size_t len = strlen(kind);

	i->gone = len > 4 && strcmp(kind + len - 4, "-end") == 0;
	if (i->gone)
		len -= 4;
	for (int k = 0; k < ITEM_KINDS; k++)
		if (strlen(kinds[k]) == len && memcmp(kinds[k], kind, len) == 0) {
			i->kind = (enum fleet_item_kind)k;
			return !i->gone || (k != ITEM_PAUSE && k != ITEM_ASKED && k != ITEM_CURSOR);
		}
	return false;
}

static bool get_indicator(struct reading *r, struct fleet_item *i)
{
	const char *text = get_text(r, "ind");
	struct indicator_error error;

	if (indicator_parse(text, strlen(text), &i->claim.indicator, &error) < 0)
		return false;
	key_pack(&i->claim.indicator, &i->key);
	return true;
}

static void get_claim(struct reading *r, struct claim *c)
{
	const char *state = get_text(r, "st");

	c->action = is_one_of(r, "do", "monitor") ? CLAIM_MONITOR : CLAIM_ENFORCE;
	if (*get_text(r, "do") && c->action != CLAIM_MONITOR)
		r->bad = true;
	c->state = CLAIM_LIVE;
	if (strcmp(state, "orphaned") == 0)
		c->state = CLAIM_ORPHANED;
	else if (strcmp(state, "held") == 0)
		c->state = CLAIM_HELD;
	else if (*state)
		r->bad = true;
	c->author_inferred = json_is_true(json_object_get(r->object, "inf"));
	c->case_number = get_text(r, "case");
	c->tlp = (int)get_number(r, "tlp", -1, -1, 1000);
	c->orphaned_since = get_number(r, "orph", 0, 0, INT64_MAX);
}

static void get_asked(struct reading *r, struct fleet_item *i)
{
	i->claim.source = get_text(r, "gw");
	i->claim.ref = "";
	i->claim.reason = get_text(r, "re");
	i->seq = (uint64_t)get_number(r, "seq", 0, 1, INT64_MAX);
	i->oldest = (uint64_t)get_number(r, "from", 0, 0, INT64_MAX);
	i->code = (int)get_number(r, "e", 0, -4096, 0);
	if (!*i->claim.source || !i->seq || strlen(i->claim.source) >= FLEET_NAME_MAX)
		r->bad = true;
}

int item_parse(const json_t *object, struct fleet_item *ret_item)
{
	struct reading r = {.object = object};
	struct fleet_item i = {.actor = "", .as = "", .why = ""};

	if (!json_is_object(object) || !get_kind(&r, &i))
		return -EBADMSG;
	if (i.kind == ITEM_ASKED) {
		get_asked(&r, &i);
		*ret_item = i;
		return r.bad ? -EBADMSG : 0;
	}
	i.claim.source = get_text(&r, "src");
	i.claim.ref = get_text(&r, "ref");
	i.claim.author = get_text(&r, "by");
	i.claim.reason = get_text(&r, "re");
	i.claim.created = get_number(&r, "at", 0, 0, INT64_MAX);
	i.claim.until = get_number(&r, "until", UNTIL_FOREVER, 0, INT64_MAX);
	if (item_is_note(i.kind)) {
		i.json = json_object_get(object, "v");
		if (r.bad || !*i.claim.source)
			return -EBADMSG;
		*ret_item = i;
		return 0;
	}
	i.held = (int)get_number(&r, "h", 0, 1, 2);
	i.n = get_number(&r, "n", 0, 0, INT64_MAX);
	i.actor = get_text(&r, "act");
	i.as = get_text(&r, "as");
	i.why = get_text(&r, "why");
	get_claim(&r, &i.claim);
	if (i.kind != ITEM_PAUSE && i.kind != ITEM_HELD && !get_indicator(&r, &i))
		return -EBADMSG;
	if ((i.kind == ITEM_CLAIM || i.kind == ITEM_IMMUNITY || i.kind == ITEM_HELD)
	    && !*i.claim.source)
		return -EBADMSG;
	if (i.kind == ITEM_HELD && !i.held)
		return -EBADMSG;
	if (i.kind == ITEM_HELD)
		i.claim.ref = i.held == 2 ? "2" : "1";
	if (r.bad)
		return -EBADMSG;
	*ret_item = i;
	return 0;
}

void item_object(const struct fleet_item *i, char *text, size_t size)
{
	snprintf(
		text,
		size,
		"%s %s %s",
		kinds[i->kind],
		i->claim.source ? i->claim.source : "",
		i->claim.ref ? i->claim.ref : ""
	);
}
