// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/alerts_parse.h"

#include "control/sources/alerts_aip.h"
#include "rules/text.h"

#include <openssl/evp.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TAGS_MAX 50
#define TAG_MAX 128 // TheHive's
#define TYPE_MAX 32 // TheHive's
#define DATA_MAX 4096 // TheHive's
#define EVENT_MAX 4096 // octets of an event as it is shown
#define LINK_MAX 1024

__attribute__((format(printf, 2, 3))) static int
wrong(char message[ALERT_MESSAGE_MAX], const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(message, ALERT_MESSAGE_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

size_t alert_cut(const char *text, size_t max)
{
	size_t len = strlen(text);
	if (len <= max)
		return len;
	for (len = max; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
		len--;
	return len;
}

json_t *alert_text(const char *text, size_t max)
{
	char *copy = strndup(text, alert_cut(text, max));
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	json_t *made = json_string(copy);
	free(copy);
	return made;
}

int alert_date_parse(const json_t *value, int64_t *ret_ms)
{
	const int64_t seconds_below = 100000000000; // as milliseconds: 1973
	int64_t number;
	const char *text = json_string_value(value);
	if (json_is_number(value)) {
		double real = json_number_value(value);
		if (!(real >= 0 && real < 1e15))
			return -EINVAL;
		number = (int64_t)real;
	} else if (text && *text && strspn(text, "0123456789") == strlen(text)) {
		if (strlen(text) > 15)
			return -EINVAL;
		number = strtoll(text, NULL, 10);
	} else if (text) {
		// Fractions of a second are dropped.
		char whole[24];
		size_t len = strcspn(text, ".Z");
		if (len != 19 || text[strlen(text) - 1] != 'Z')
			return -EINVAL;
		snprintf(whole, sizeof(whole), "%.19sZ", text);
		int64_t until;
		if (until_parse(whole, 20, &until) < 0 || until < 0)
			return -EINVAL;
		*ret_ms = until * 1000;
		return 0;
	} else {
		return -EINVAL;
	}
	*ret_ms = number < seconds_below ? number * 1000 : number;
	return 0;
}

// --- events

static char *event_text(const json_t *event)
{
	char *text = json_dumps(event, JSON_INDENT(1) | JSON_ENCODE_ANY);
	if (text && strlen(text) > EVENT_MAX) {
		free(text);
		text = strdup("\"(an event of more than 4096 octets is left out)\"");
	}
	return text;
}

// In a fence: an event's lines are JSON, none of them can end it.
char *alert_events_text(const json_t *events)
{
	size_t n = json_array_size(events), len = 0, i;
	char *out = NULL;
	FILE *to = open_memstream(&out, &len);
	if (!to)
		return NULL;
	json_t *event;
	bool good = true;
	fprintf(to, "\n\n#### Contributing events: %zu\n\n~~~~json\n", n);
	json_array_foreach(events, i, event)
	{
		if (i == ALERT_EVENTS_MAX || ftell(to) > ALERT_DESCRIPTION_MAX)
			break;
		char *text = event_text(event);
		good = good && text;
		fprintf(to, "%s\n", text ? text : "");
		free(text);
	}
	fputs("~~~~\n", to);
	if (i < n)
		fprintf(to, "\n%zu more are left out.\n", n - i);
	if (fclose(to) || !good) {
		free(out);
		return NULL;
	}
	return out;
}

// --- what every alert has

static int digest_set(const json_t *sent, json_t *alert)
{
	char *text = json_dumps(sent, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	int done = text && EVP_Digest(text, strlen(text), hash, &len, EVP_sha256(), NULL);
	free(text);
	if (!done)
		return -ENOMEM;
	char hex[33];
	for (unsigned i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	return json_object_set_new(alert, "digest", json_string(hex)) ? -ENOMEM : 0;
}

static bool has(const json_t *alert, const char *key)
{
	return json_object_get(alert, key) != NULL;
}

static int fill(json_t *alert, const char *key, json_t *value)
{
	if (has(alert, key)) {
		json_decref(value);
		return 0;
	}
	return json_object_set_new(alert, key, value) ? -ENOMEM : 0;
}

int alert_finish(const struct alert_rules *rules, const json_t *sent, json_t *alert)
{
	int error = fill(alert, "source", json_string(rules->source));
	error = error ? error : fill(alert, "severity", json_integer(2));
	error = error ? error : fill(alert, "tlp", json_integer(rules->tlp));
	error = error ? error : fill(alert, "pap", json_integer(rules->pap));
	error = error ? error : fill(alert, "date", json_integer(rules->now_ms));
	error = error ? error : fill(alert, "description", json_string("(no description)"));
	error = error ? error : fill(alert, "tags", json_array());
	error = error ? error : fill(alert, "link", json_string(""));
	error = error ? error : fill(alert, "origin", json_incref(json_object_get(alert, "title")));
	error = error ? error : fill(alert, "observables", json_array());
	json_t *tags = json_object_get(alert, "tags");
	for (size_t i = 0; !error && i < rules->n_tags; i++)
		error = json_array_append_new(tags, json_string(rules->tags[i])) ? -ENOMEM : 0;
	return error ? error : digest_set(sent, alert);
}

// --- our own schema

struct reader {
	const struct alert_rules *rules;
	const json_t *body;
	json_t *alert;
	char where[64]; // "alerts[2]." or ""
	char *message;
};

#define BAD(reader, key, text) wrong((reader)->message, "%s%s: %s", (reader)->where, key, text)

// A text of 1 to max octets. Where it is absent and not needed: 1.
static int
text_read(struct reader *reader, const char *key, const char *to, bool needed, size_t max)
{
	const json_t *value = json_object_get(reader->body, key);
	if (!value && !needed)
		return 1;
	const char *text = json_string_value(value);
	if (!text || !*text)
		return BAD(reader, key, "a text is expected");
	if (strlen(text) > max)
		return wrong(
			reader->message, "%s%s: at most %zu octets, cut it", reader->where, key, max
		);
	json_t *made = alert_text(text, max);
	return json_object_set_new(reader->alert, to, made) ? -ENOMEM : 0;
}

struct word {
	const char *word;
	int value;
};

static const struct word severities[] = {
	{"low", 1},
	{"medium", 2},
	{"high", 3},
	{"critical", 4},
	{NULL, 0},
};
static const struct word tlps[] = {
	{"CLEAR", 0},
	{"WHITE", 0},
	{"GREEN", 1},
	{"AMBER", 2},
	{"AMBER+STRICT", 3},
	{"RED", 4},
	{NULL, 0},
};
static const struct word paps[] = {
	{"CLEAR", 0},
	{"WHITE", 0},
	{"GREEN", 1},
	{"AMBER", 2},
	{"RED", 3},
	{NULL, 0},
};

// Words only: the numbers of TLP mean different things in TheHive 5.1 and 5.2.
static int
word_read(struct reader *reader, const char *key, const struct word *words, const char *expected)
{
	const json_t *value = json_object_get(reader->body, key);
	const char *text = json_string_value(value);
	if (!value)
		return 0;
	for (; text && words->word; words++)
		if (strcasecmp(words->word, text) == 0)
			return json_object_set_new(reader->alert, key, json_integer(words->value))
				? -ENOMEM
				: 0;
	return BAD(reader, key, expected);
}

static int severity_read(struct reader *reader)
{
	const json_t *value = json_object_get(reader->body, "severity");
	json_int_t number = json_integer_value(value);
	if (!json_is_integer(value))
		return word_read(
			reader, "severity", severities, "low, medium, high, critical or 1 to 4"
		);
	if (number < 1 || number > 4)
		return BAD(reader, "severity", "low, medium, high, critical or 1 to 4");
	return json_object_set_new(reader->alert, "severity", json_integer(number)) ? -ENOMEM : 0;
}

static int tags_read(struct reader *reader, const json_t *from, const char *where, json_t *into)
{
	if (!from)
		return 0;
	if (!json_is_array(from) || json_array_size(from) > TAGS_MAX)
		return BAD(reader, where, "a list of at most 50 texts is expected");
	size_t reserved = strlen(reader->rules->reserved_tag), i;
	json_t *one;
	json_array_foreach(from, i, one)
	{
		const char *tag = json_string_value(one);
		if (!tag || !*tag || strlen(tag) > TAG_MAX)
			return wrong(
				reader->message,
				"%s%s[%zu]: a text of 1 to %d octets is expected",
				reader->where,
				where,
				i,
				TAG_MAX
			);
		// "stanch:enforce" on a case is an analyst's decision.
		if (reserved && strncasecmp(tag, reader->rules->reserved_tag, reserved) == 0
		    && (tag[reserved] == ':' || tag[reserved] == '\0'))
			return wrong(
				reader->message,
				"%s%s[%zu]: tags that begin with %s are set by analysts only",
				reader->where,
				where,
				i,
				reader->rules->reserved_tag
			);
		if (json_array_append_new(into, alert_text(tag, TAG_MAX)))
			return -ENOMEM;
	}
	return 0;
}

static bool type_known(const char *type)
{
	static const char *const types[] = {
		"ip",
		"domain",
		"fqdn",
		"hostname",
		"url",
		"other",
		"hash",
		"filename",
		"mail",
		"file",
		"registry",
		"user-agent",
		"uri_path",
		"regexp",
		"mail-subject",
		"mail_subject",
		"autonomous-system",
	};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i], type) == 0)
			return strcmp(type, "file") != 0; // needs an upload
	return false;
}

static int observable_read(struct reader *reader, size_t i, const json_t *one, json_t *into)
{
	char where[48];
	snprintf(where, sizeof(where), "observables[%zu]", i);
	const char *type = json_string_value(json_object_get(one, "type"));
	const char *data = json_string_value(json_object_get(one, "data"));
	const char *note = json_string_value(json_object_get(one, "message"));
	const json_t *ioc = json_object_get(one, "ioc");
	if (!type || !type_known(type))
		return BAD(
			reader, where, "type: ip, domain, fqdn, hostname, url, hash, mail, …, other"
		);
	if (!data || !*data || strlen(data) > DATA_MAX)
		return BAD(reader, where, "data: a text of 1 to 4096 octets is expected");
	if (ioc && !json_is_boolean(ioc))
		return BAD(reader, where, "ioc: true or false is expected");
	json_t *tags = json_array();
	char tags_where[64];
	snprintf(tags_where, sizeof(tags_where), "%s.tags", where);
	int error = tags_read(reader, json_object_get(one, "tags"), tags_where, tags);
	if (error) {
		json_decref(tags);
		return error;
	}
	json_t *made = json_pack(
		"{s:s, s:o, s:b, s:o, s:o}",
		"type",
		type,
		"data",
		alert_text(data, DATA_MAX),
		"ioc",
		json_is_true(ioc),
		"message",
		alert_text(note ? note : "", 1024),
		"tags",
		tags
	);
	return json_array_append_new(into, made) ? -ENOMEM : 0;
}

static int observables_read(struct reader *reader)
{
	const json_t *from = json_object_get(reader->body, "observables");
	if (!from)
		return 0;
	if (!json_is_array(from) || json_array_size(from) > ALERT_OBSERVABLES_MAX)
		return BAD(
			reader,
			"observables",
			"a list of at most 500 is expected; send more as further alerts of the "
			"same "
			"origin"
		);
	json_t *into = json_array(), *one;
	size_t i;
	if (json_object_set_new(reader->alert, "observables", into))
		return -ENOMEM;
	json_array_foreach(from, i, one)
	{
		int error = observable_read(reader, i, one, into);
		if (error)
			return error;
	}
	return 0;
}

// The sender's words, then the events. Newlines stay: it is Markdown.
static int description_read(struct reader *reader)
{
	const json_t *value = json_object_get(reader->body, "description");
	const json_t *events = json_object_get(reader->body, "events");
	const char *text = value ? json_string_value(value) : "";
	if (!text || strlen(text) > ALERT_DESCRIPTION_MAX)
		return BAD(reader, "description", "a text of at most 65536 octets is expected");
	if (events && !json_is_array(events))
		return BAD(reader, "events", "a list is expected");
	char *shown = json_array_size(events) ? alert_events_text(events) : strdup("");
	json_t *whole = shown ? json_sprintf("%s%s", *text || *shown ? text : "-", shown) : NULL;
	free(shown);
	return json_object_set_new(reader->alert, "description", whole) ? -ENOMEM : 0;
}

static int keys_check(const struct reader *reader)
{
	static const char *const known[] = {
		"title",
		"type",
		"source",
		"sourceRef",
		"severity",
		"description",
		"tlp",
		"pap",
		"date",
		"tags",
		"link",
		"origin",
		"observables",
		"events",
	};
	void *at = json_object_iter((json_t *)(uintptr_t)reader->body);
	for (; at; at = json_object_iter_next((json_t *)(uintptr_t)reader->body, at)) {
		bool found = false;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found = found || strcmp(known[i], json_object_iter_key(at)) == 0;
		if (!found)
			return wrong(
				reader->message,
				"%s%.64s: is not known; what else there is belongs into events",
				reader->where,
				json_object_iter_key(at)
			);
	}
	return 0;
}

static int source_check(const struct reader *reader)
{
	const json_t *value = json_object_get(reader->body, "source");
	const char *text = json_string_value(value);
	if (value && (!text || strcmp(text, reader->rules->source) != 0))
		return wrong(
			reader->message,
			"%ssource: the token is of source %s: leave it out, or use that source's "
			"token",
			reader->where,
			reader->rules->source
		);
	return 0;
}

static int tags_of_alert(struct reader *reader)
{
	json_t *into = json_array();
	if (json_object_set_new(reader->alert, "tags", into))
		return -ENOMEM;
	return tags_read(reader, json_object_get(reader->body, "tags"), "tags", into);
}

static int date_read(struct reader *reader)
{
	const json_t *value = json_object_get(reader->body, "date");
	int64_t ms;
	if (!value)
		return 0;
	if (alert_date_parse(value, &ms) < 0)
		return BAD(
			reader,
			"date",
			"2026-11-24T12:00:00Z or milliseconds since 1970 are expected"
		);
	return json_object_set_new(reader->alert, "date", json_integer(ms)) ? -ENOMEM : 0;
}

static int type_fill(struct reader *reader)
{
	return json_object_set_new(reader->alert, "type", json_string("alert")) ? -ENOMEM : 0;
}

static int own_parse(struct reader *reader)
{
	int error = keys_check(reader);
	error = error ? error : source_check(reader);
	error = error ? error : text_read(reader, "title", "title", true, ALERT_TITLE_MAX);
	error = error ? error : text_read(reader, "sourceRef", "ref", true, ALERT_REF_MAX);
	int typed = error ? error : text_read(reader, "type", "type", false, TYPE_MAX);
	error = typed == 1 ? type_fill(reader) : typed;
	int more = error ? error : text_read(reader, "link", "link", false, LINK_MAX);
	error = more < 0 ? more : 0;
	more = error ? error : text_read(reader, "origin", "origin", false, ALERT_TITLE_MAX);
	error = more < 0 ? more : 0;
	error = error ? error : severity_read(reader);
	error = error ? error
		      : word_read(reader, "tlp", tlps, "CLEAR, GREEN, AMBER, AMBER+STRICT or RED");
	error = error ? error : word_read(reader, "pap", paps, "CLEAR, GREEN, AMBER or RED");
	error = error ? error : date_read(reader);
	error = error ? error : tags_of_alert(reader);
	error = error ? error : observables_read(reader);
	return error ? error : description_read(reader);
}

// --- either

static int alert_parse(
	const struct alert_rules *rules,
	const json_t *body,
	const char *where,
	json_t *list,
	char message[ALERT_MESSAGE_MAX]
)
{
	json_t *alert = json_object();
	struct reader reader = {.rules = rules, .body = body, .alert = alert, .message = message};
	snprintf(reader.where, sizeof(reader.where), "%s", where);
	int error;
	if (!alert)
		return -ENOMEM;
	if (!json_is_object(body)) {
		error = wrong(message, "%san object is expected", where);
	} else if (has(body, "sourceRef")) {
		error = own_parse(&reader);
	} else if (has(body, "id") && has(body, "title")) {
		char inner[ALERT_MESSAGE_MAX];
		error = aip_alert_parse(body, alert, inner);
		if (error == -EINVAL)
			wrong(message, "%s%.200s", where, inner);
	} else {
		error
			= wrong(message,
				"%ssourceRef: is missing (it names the alert at its source; F5 "
				"AIP's have id "
				"and title)",
				where);
	}
	if (!error)
		error = alert_finish(rules, body, alert);
	if (error) {
		json_decref(alert);
		return error;
	}
	return json_array_append_new(list, alert) ? -ENOMEM : 0;
}

int alerts_parse(
	const struct alert_rules *rules,
	const json_t *body,
	json_t **ret_list,
	char ret_message[ALERT_MESSAGE_MAX]
)
{
	json_t *list = json_array(), *alerts = json_object_get(body, "alerts"), *one;
	int error = list ? 0 : -ENOMEM;
	size_t i;
	if (!error && !alerts)
		error = alert_parse(rules, body, "", list, ret_message);
	else if (!error && (!json_is_array(alerts) || json_array_size(alerts) == 0 || json_array_size(alerts) > ALERTS_IN_BODY_MAX))
		error = wrong(ret_message, "alerts: a list of 1 to 100 is expected");
	if (!error && alerts) {
		json_array_foreach(alerts, i, one)
		{
			char where[32];
			snprintf(where, sizeof(where), "alerts[%zu].", i);
			error = alert_parse(rules, one, where, list, ret_message);
			if (error)
				break;
		}
	}
	if (error == -ENOMEM)
		snprintf(ret_message, ALERT_MESSAGE_MAX, "no memory");
	if (error) {
		json_decref(list);
		return error;
	}
	*ret_list = list;
	return 0;
}
