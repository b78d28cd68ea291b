// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/list_member.h"

#include "control/lists_page.h"
#include "rules/entry.h"
#include "rules/text.h"

#include <jansson.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MS_FROM 1e11 // seconds: the year 5138; milliseconds: 1973

static int64_t number_until(double number)
{
	if (!(number > 0) || isinf(number))
		return UNTIL_FOREVER;
	if (number >= MS_FROM)
		number /= 1000;
	return number < (double)UNTIL_MAX ? (int64_t)number : UNTIL_FOREVER;
}

bool list_time_parse(const char *text, size_t len, int64_t *ret_until)
{
	char copy[64], *end;
	double number;

	if (len == 0 || len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	number = strtod(copy, &end);
	if (end != copy + len || isnan(number))
		return false;
	*ret_until = number_until(number);
	return true;
}

// Never in the middle of a character.
static void text_cut(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);

	if (len >= size) {
		len = size - 1;
		while (len > 0 && ((unsigned char)from[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(to, from, len);
	to[len] = '\0';
}

static bool text_take(json_t *object, const char *key, char *to, size_t size)
{
	json_t *value = json_object_get(object, key);

	if (!value || json_is_null(value))
		return true;
	if (!json_is_string(value))
		return false;
	text_cut(to, size, json_string_value(value));
	return true;
}

static bool until_take(json_t *object, const char *key, struct list_text *t)
{
	json_t *value = json_object_get(object, key);
	int64_t until = UNTIL_FOREVER;

	if (!value || json_is_null(value))
		return true;
	if (json_is_number(value)) {
		until = number_until(json_number_value(value));
	} else if (json_is_string(value)) {
		const char *text = json_string_value(value);
		size_t len = json_string_length(value);

		if (until_parse(text, len, &until) < 0 && !list_time_parse(text, len, &until))
			return false;
	} else {
		return false;
	}
	if (until < t->until)
		t->until = until;
	return true;
}

static bool ttl_take(json_t *object, int64_t now, struct list_text *t)
{
	json_t *value = json_object_get(object, "ttl");
	double ttl;

	if (!value || json_is_null(value))
		return true;
	if (!json_is_number(value))
		return false;
	ttl = json_number_value(value);
	if (!(ttl > 0))
		return false;
	if (ttl < 1e10 && now + (int64_t)ttl < t->until)
		t->until = now + (int64_t)ttl;
	return true;
}

static bool action_take(json_t *object, struct list_text *t)
{
	json_t *value = json_object_get(object, "action");
	const char *text = json_string_value(value);

	if (!value || json_is_null(value))
		return true;
	if (text && (strcmp(text, "enforce") == 0 || strcmp(text, "block") == 0))
		t->action = LIST_ENFORCE;
	else if (text && strcmp(text, "monitor") == 0)
		t->action = LIST_MONITOR;
	else
		return false;
	return true;
}

// What an object says besides the indicator. NULL: well.
static const char *object_take(json_t *object, int64_t now, struct list_text *t)
{
	if (!until_take(object, "until", t) || !until_take(object, "expiry", t)
	    || !until_take(object, "expires", t))
		return "until is no time: RFC 3339, seconds or milliseconds";
	if (!ttl_take(object, now, t))
		return "ttl is no positive number of seconds";
	if (!action_take(object, t))
		return "action is neither enforce nor monitor";
	if (!text_take(object, "reason", t->reason, sizeof(t->reason))
	    || !text_take(object, "reference", t->reference, sizeof(t->reference)))
		return "reason and reference are texts";
	return NULL;
}

static json_t *object_parse(const char *text, size_t len)
{
	json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);

	if (value && !json_is_object(value)) {
		json_decref(value);
		return NULL;
	}
	return value;
}

static const char *
indicator_take(json_t *object, struct list_text *t, struct indicator_error *error)
{
	json_t *value = json_object_get(object, "indicator") ?: json_object_get(object, "value");

	if (!json_is_string(value))
		return "no indicator in it: a text under indicator or value";
	if (indicator_parse(
		    json_string_value(value), json_string_length(value), &t->indicator, error
	    )
	    < 0)
		return error->reason;
	return NULL;
}

// The reason in words that a hash has beside a member.
static const char *value_take(const char *value, size_t len, int64_t now, struct list_text *t)
{
	char copy[LIST_TEXT_MAX + 1];
	const char *reason;
	json_t *object;

	if (len == 0)
		return NULL;
	if (value[0] != '{') {
		if (memchr(value, '\0', len))
			return "a NUL in its value";
		memcpy(copy, value, len);
		copy[len] = '\0';
		text_cut(t->reason, sizeof(t->reason), copy);
		return NULL;
	}
	object = object_parse(value, len);
	if (!object)
		return "its value is no JSON object";
	reason = object_take(object, now, t);
	json_decref(object);
	return reason;
}

int list_text_parse(
	const char *member,
	size_t member_len,
	const char *value,
	size_t value_len,
	int64_t now,
	struct list_text *ret_text,
	const char **ret_reason
)
{
	struct list_text t = {.until = UNTIL_FOREVER};
	struct indicator_error error = {0};
	const char *reason = NULL;

	if (member_len + value_len > LIST_TEXT_MAX) {
		reason = "longer than 4096 octets";
	} else if (member_len > 0 && member[0] == '{') {
		json_t *object = object_parse(member, member_len);

		reason = object ? indicator_take(object, &t, &error) : "no JSON object";
		if (!reason)
			reason = object_take(object, now, &t);
		json_decref(object);
	} else if (indicator_parse(member, member_len, &t.indicator, &error) < 0) {
		reason = error.reason;
	}
	if (!reason)
		reason = value_take(value, value_len, now, &t);
	if (reason) {
		*ret_reason = reason;
		return -EINVAL;
	}
	*ret_text = t;
	return 0;
}
