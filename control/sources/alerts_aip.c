// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/alerts_aip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DESTINATIONS_MAX 50
#define WORDS_MAX 100 // of a title that are looked at

// --- addresses

static bool is_public4(const uint8_t a[4])
{
	bool own = a[0] == 0 || a[0] == 10 || a[0] == 127 || a[0] >= 224
		|| (a[0] == 169 && a[1] == 254) || (a[0] == 172 && (a[1] & 0xf0) == 16)
		|| (a[0] == 192 && a[1] == 168) || (a[0] == 100 && (a[1] & 0xc0) == 64);
	return !own;
}

// A public address as it is printed canonically. False: none, or the sender's own network's.
static bool address_public(const char *text, char ret_text[INET6_ADDRSTRLEN])
{
	uint8_t bytes[16];
	if (inet_pton(AF_INET, text, bytes) == 1)
		return is_public4(bytes) && inet_ntop(AF_INET, bytes, ret_text, INET6_ADDRSTRLEN);
	if (inet_pton(AF_INET6, text, bytes) != 1)
		return false;
	return (bytes[0] & 0xe0) == 0x20 // 2000::/3: global unicast
		&& inet_ntop(AF_INET6, bytes, ret_text, INET6_ADDRSTRLEN);
}

// --- titles

struct candidate {
	const char *type;
	char data[256];
	bool towards; // "to X"
};

static bool word_is(const char *word, const char *const words[])
{
	for (; *words; words++)
		if (strcasecmp(word, *words) == 0)
			return true;
	return false;
}

static bool says_outgoing(const char *title)
{
	static const char *const signs[]
		= {"outbound",
		   "outgoing",
		   "egress",
		   "exfil",
		   "destination",
		   "communication to",
		   "connection to",
		   "connect to",
		   "connected to",
		   "connecting to",
		   NULL};
	for (const char *const *sign = signs; *sign; sign++)
		if (strcasestr(title, *sign))
			return true;
	return false;
}

// "185[.]110[.]132[.]54", "hxxp://…" as people write them, in place.
static void refang(char *word)
{
	static const struct {
		const char *from, *to;
	} pairs[] = {{"[.]", "."}, {"(.)", "."}, {"{.}", "."}, {"[:]", ":"}};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char *at;
		while ((at = strstr(word, pairs[i].from))) {
			*at = pairs[i].to[0];
			memmove(at + 1, at + 3, strlen(at + 3) + 1);
		}
	}
	if (strncasecmp(word, "hxxp", 4) == 0)
		memcpy(word, "http", 4);
}

// The word as an address, perhaps with a port, or as a URL.
static bool word_take(char *word, struct candidate *ret_candidate)
{
	char text[INET6_ADDRSTRLEN];
	refang(word);
	if ((strncasecmp(word, "http://", 7) == 0 || strncasecmp(word, "https://", 8) == 0)
	    && strlen(strstr(word, "//")) > 3) {
		ret_candidate->type = "url";
		snprintf(ret_candidate->data, sizeof(ret_candidate->data), "%s", word);
		return true;
	}
	ret_candidate->type = "ip";
	char *colon = strrchr(word, ':');
	bool one_colon = colon && strchr(word, ':') == colon;
	if (one_colon || (word[0] == '[' && colon && colon[-1] == ']'))
		*colon = '\0';
	if (word[0] == '[')
		word++;
	word[strcspn(word, "]/")] = '\0';
	if (!address_public(word, text))
		return false;
	snprintf(ret_candidate->data, sizeof(ret_candidate->data), "%s", text);
	return true;
}

// The words between white space, without what surrounds them. Returns the length, 0 at the end.
static size_t word_next(const char **at, char word[256])
{
	*at += strspn(*at, " \t\r\n");
	size_t len = strcspn(*at, " \t\r\n");
	const char *from = *at;
	*at += len;
	size_t whole = len;
	while (len > 0 && strchr("(\"'<,;", *from)) {
		from++;
		len--;
	}
	while (len > 0 && strchr(")\"'>,;.:!?", from[len - 1]))
		len--;
	if (len > 255)
		len = 255;
	memcpy(word, from, len);
	word[len] = '\0';
	return whole;
}

bool aip_title_destination(const char *title, const char **ret_type, char ret_data[256])
{
	static const char *const from[]
		= {"from", "source", "src", "version", "v", "by-source", NULL};
	static const char *const to[] = {"to", "destination", "dst", "->", "towards", NULL};
	struct candidate one = {0}, towards = {0};
	size_t n = 0, n_towards = 0, words = 0;
	char word[256], before[256] = "";
	for (const char *at = title; words < WORDS_MAX && word_next(&at, word); words++) {
		struct candidate found;
		char previous[256];
		memcpy(previous, before, sizeof(previous));
		snprintf(before, sizeof(before), "%s", word);
		if (!word_take(word, &found) || word_is(previous, from))
			continue;
		if (n == 0 || strcmp(one.data, found.data) != 0)
			n++;
		one = found;
		if (!word_is(previous, to))
			continue;
		if (n_towards == 0 || strcmp(towards.data, found.data) != 0)
			n_towards++;
		towards = found;
	}
	const struct candidate *clear = n_towards == 1 ? &towards
		: n == 1 && says_outgoing(title)       ? &one
						       : NULL;
	if (!clear)
		return false;
	*ret_type = clear->type;
	memcpy(ret_data, clear->data, sizeof(clear->data));
	return true;
}

// --- contributing events

static const char *event_address(const json_t *event)
{
	static const char *const keys[] = {"dst_ip", "connection.addr"};
	const char *kind = json_string_value(json_object_get(event, "event_type"));
	if (kind && strcasestr(kind, "accept")) // somebody came in
		return NULL;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *text = json_string_value(json_object_get(event, keys[i]));
		if (text)
			return text;
	}
	return json_string_value(json_object_get(json_object_get(event, "connection"), "addr"));
}

static bool listed(const json_t *observables, const char *data)
{
	size_t i;
	json_t *one;
	json_array_foreach(observables, i, one)
	{
		if (strcmp(json_string_value(json_object_get(one, "data")), data) == 0)
			return true;
	}
	return false;
}

static int destination_add(json_t *observables, const char *type, const char *data, const char *how)
{
	json_t *made = json_pack(
		"{s:s, s:o, s:b, s:s, s:[]}",
		"type",
		type,
		"data",
		alert_text(data, 256),
		"ioc",
		1,
		"message",
		how,
		"tags"
	);
	return json_array_append_new(observables, made) ? -ENOMEM : 0;
}

static int destinations_find(const json_t *body, const char *title, json_t *observables)
{
	char text[INET6_ADDRSTRLEN], data[256];
	const char *type;
	size_t i;
	json_t *event;
	json_array_foreach(json_object_get(body, "events"), i, event)
	{
		const char *address = event_address(event);
		if (!address || !address_public(address, text) || listed(observables, text))
			continue;
		if (json_array_size(observables) == DESTINATIONS_MAX)
			break;
		if (destination_add(observables, "ip", text, "destination of a contributing event")
		    < 0)
			return -ENOMEM;
	}
	if (json_array_size(observables) == 0 && aip_title_destination(title, &type, data))
		return destination_add(
			observables, type, data, "destination as the alert's title names it"
		);
	return 0;
}

// --- the alert

static const char *text_of(const json_t *body, const char *key)
{
	const char *text = json_string_value(json_object_get(body, key));
	return text && *text ? text : NULL;
}

static const char *either(const json_t *body, const char *key, const char *other)
{
	const char *text = text_of(body, key);
	return text ? text : text_of(body, other);
}

// 1 is the gravest there.
static int severity_read(const json_t *body, json_int_t *ret_severity)
{
	const json_t *value = json_object_get(body, "severity");
	const char *text = json_string_value(value);
	json_int_t theirs = json_integer_value(value);
	if (text && text[0] >= '1' && text[0] <= '3' && !text[1])
		theirs = text[0] - '0';
	if (!value)
		theirs = 2;
	if (theirs < 1 || theirs > 3)
		return -EINVAL;
	*ret_severity = 4 - theirs;
	return 0;
}

static void row(FILE *to, const char *name, const char *text)
{
	if (!text)
		return;
	fprintf(to, "- %s: `", name);
	size_t len = alert_cut(text, 512);
	for (const char *c = text; c < text + len; c++)
		fputc((unsigned char)*c < ' ' || *c == '`' ? ' ' : *c, to);
	fputs("`\n", to);
}

static char *description_make(const json_t *body, bool destination)
{
	char *out = NULL;
	size_t len;
	FILE *to = open_memstream(&out, &len);
	if (!to)
		return NULL;
	fputs("An alert of F5 AIP (Threat Stack).\n\n", to);
	row(to, "id", text_of(body, "id"));
	row(to, "server or region", text_of(body, "server_or_region"));
	row(to, "agent", either(body, "agentId", "agent_id"));
	row(to, "rule", either(body, "ruleId", "rule_id"));
	row(to, "organization", text_of(body, "organization_id"));
	row(to, "source", either(body, "source", "dataSource"));
	if (!destination)
		fputs("\nNo destination: the alert has no field for it, and its title names none "
		      "that is clear. Add it as an observable.\n",
		      to);
	json_t *events = json_object_get(body, "events");
	char *shown = json_array_size(events) ? alert_events_text(events) : strdup("");
	bool good = shown != NULL;
	fputs(good ? shown : "", to);
	free(shown);
	if (fclose(to) || !good) {
		free(out);
		return NULL;
	}
	return out;
}

// Alerts of one machine with one title are of one origin: what differs in a title is mostly the
// address, and another address is another matter.
static json_t *origin_make(const json_t *body, const char *title)
{
	const char *where = text_of(body, "server_or_region");
	if (!where)
		where = either(body, "agentId", "agent_id");
	char text[ALERT_TITLE_MAX * 2];
	where = where ? where : "-";
	snprintf(
		text,
		sizeof(text),
		"%.*s @ %.*s",
		(int)alert_cut(title, 512),
		title,
		(int)alert_cut(where, 256),
		where
	);
	return alert_text(text, sizeof(text));
}

static int date_read(const json_t *body, json_t *alert)
{
	const json_t *value = json_object_get(body, "created_at");
	int64_t ms;
	if (!value)
		value = json_object_get(body, "createdAt");
	if (!value || json_is_null(value))
		return 0;
	if (alert_date_parse(value, &ms) < 0)
		return -EINVAL;
	return json_object_set_new(alert, "date", json_integer(ms)) ? -ENOMEM : 0;
}

int aip_alert_parse(const json_t *body, json_t *alert, char ret_message[ALERT_MESSAGE_MAX])
{
	const char *id = text_of(body, "id"), *title = text_of(body, "title"), *why = NULL;
	json_int_t severity;
	int date = date_read(body, alert);
	if (!id || strlen(id) > ALERT_REF_MAX)
		why = "id: a text of 1 to 100 octets is expected";
	else if (!title)
		why = "title: a text is expected";
	else if (severity_read(body, &severity) < 0)
		why = "severity: 1 to 3 is expected";
	else if (date == -EINVAL)
		why = "created_at: milliseconds since 1970 are expected";
	if (why) {
		snprintf(ret_message, ALERT_MESSAGE_MAX, "%s", why);
		return -EINVAL;
	}
	json_t *observables = json_array();
	int error = observables && !date ? destinations_find(body, title, observables) : -ENOMEM;
	char *text = error ? NULL : description_make(body, json_array_size(observables) > 0);
	error = text ? 0 : -ENOMEM;
	if (json_object_set_new(alert, "observables", observables)
	    || (!error
		&& (json_object_set_new(alert, "description", json_string(text))
		    || json_object_set_new(alert, "type", json_string("f5-aip"))
		    || json_object_set_new(alert, "ref", alert_text(id, ALERT_REF_MAX))
		    || json_object_set_new(alert, "title", alert_text(title, ALERT_TITLE_MAX))
		    || json_object_set_new(alert, "origin", origin_make(body, title))
		    || json_object_set_new(alert, "severity", json_integer(severity)))))
		error = -ENOMEM;
	free(text);
	return error;
}
