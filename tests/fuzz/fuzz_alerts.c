// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The body of an alert hook: whatever it is, what is taken has every member that is promised,
// within its bounds, and nothing that only an analyst may say.

#include "control/sources/alerts_aip.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *text_of(const json_t *object, const char *key, size_t max)
{
	const char *text = json_string_value(json_object_get(object, key));
	if (!text || strlen(text) > max)
		abort();
	return text;
}

static void tags_check(const json_t *tags)
{
	size_t i;
	json_t *tag;
	if (!json_is_array(tags))
		abort();
	json_array_foreach(tags, i, tag)
	{
		if (!json_is_string(tag) || strncasecmp(json_string_value(tag), "stanch:", 7) == 0)
			abort();
	}
}

static void alert_check(const json_t *alert)
{
	static const char *const numbers[] = {"tlp", "pap", "date", "severity"};
	size_t i;
	json_t *one;
	text_of(alert, "type", 32);
	text_of(alert, "source", 64);
	text_of(alert, "title", ALERT_TITLE_MAX);
	text_of(alert, "origin", 2 * ALERT_TITLE_MAX);
	text_of(alert, "description", 4 * ALERT_DESCRIPTION_MAX);
	if (!*text_of(alert, "ref", ALERT_REF_MAX) || strlen(text_of(alert, "digest", 32)) != 32)
		abort();
	for (i = 0; i < 4; i++)
		if (json_integer_value(json_object_get(alert, numbers[i])) < (i == 3))
			abort();
	tags_check(json_object_get(alert, "tags"));
	const json_t *observables = json_object_get(alert, "observables");
	if (json_array_size(observables) > ALERT_OBSERVABLES_MAX)
		abort();
	json_array_foreach(observables, i, one)
	{
		text_of(one, "type", 32);
		text_of(one, "data", 4096);
		text_of(one, "message", 1024);
		tags_check(json_object_get(one, "tags"));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct alert_rules rules
		= {.source = "siem", .reserved_tag = "stanch", .tlp = 2, .pap = 2};
	json_t *body = json_loadb((const char *)data, size, 0, NULL), *list = NULL, *one;
	char message[ALERT_MESSAGE_MAX] = "";
	size_t i;
	int error = alerts_parse(&rules, body, &list, message);
	if (error && !message[0])
		abort();
	json_array_foreach(list, i, one) alert_check(one);
	if (!error && json_array_size(list) == 0)
		abort();
	json_decref(list);
	json_decref(body);
	char title[600] = "";
	memcpy(title, data, size < sizeof(title) - 1 ? size : sizeof(title) - 1);
	const char *type;
	char found[256];
	if (aip_title_destination(title, &type, found) && !found[0])
		abort();
	return 0;
}
