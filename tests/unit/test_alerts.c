// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a title of F5 AIP names, what an alert's body becomes, and what is said of a wrong one.

#include "control/sources/alerts_aip.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *title, *type, *data; // data NULL: none that is clear
} titles[] = {
	{"Threat Intelligence Activity: Communication to openbl by 185.110.132.54",
	 "ip",
	 "185.110.132.54"},
	{"Outbound connection to 203.0.113.7:443 (curl)", "ip", "203.0.113.7"},
	{"Connect: 10.0.0.5 to 198.51.100.9.", "ip", "198.51.100.9"},
	{"203.0.113.1 connected to 203.0.113.2", "ip", "203.0.113.2"},
	{"Egress: 203.0.113[.]7", "ip", "203.0.113.7"},
	{"Exfiltration to hxxps://evil[.]example/up?x", "url", "https://evil.example/up?x"},
	{"connection to [2001:db8::7]:443", "ip", "2001:db8::7"},
	{"connection to 2001:db8:0:0::7", "ip", "2001:db8::7"},
	{"to 203.0.113.7 and to 203.0.113.7 again", "ip", "203.0.113.7"},
	// one way only, or none
	{"Login from 203.0.113.7", NULL, NULL},
	{"Brute force 203.0.113.7", NULL, NULL},
	{"Connection to 10.1.2.3", NULL, NULL},
	{"Connection to 100.64.0.1 and 169.254.169.254", NULL, NULL},
	{"to 203.0.113.7 and to 203.0.113.8", NULL, NULL},
	{"Outbound: 203.0.113.7, 203.0.113.8", NULL, NULL},
	{"Outbound upload of my.db by backup.sh", NULL, NULL},
	{"Outbound openssl version 1.0.2.1", NULL, NULL},
	{"Netcat Detected!", NULL, NULL},
	{"Connection to fe80::1 at 12:30:11", NULL, NULL},
	{"to http://", NULL, NULL},
	{"", NULL, NULL},
};

static void title_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
		const char *type = "";
		char data[256] = "";
		bool found = aip_title_destination(titles[i].title, &type, data);
		if (found != (titles[i].data != NULL))
			fail_msg("%s: %s", titles[i].title, found ? data : "nothing");
		if (found) {
			assert_string_equal(data, titles[i].data);
			assert_string_equal(type, titles[i].type);
		}
	}
}

static json_t *parse(const char *text, int expected, char message[ALERT_MESSAGE_MAX])
{
	char tag[] = "from-siem", *tags[] = {tag};
	const struct alert_rules rules = {
		.source = "siem",
		.reserved_tag = "stanch",
		.tags = tags,
		.n_tags = 1,
		.tlp = 2,
		.pap = 2,
		.now_ms = 5,
	};
	json_t *body = json_loads(text, 0, NULL), *list = NULL;
	assert_non_null(body);
	assert_int_equal(alerts_parse(&rules, body, &list, message), expected);
	json_decref(body);
	return list;
}

static void has(const json_t *alert, const char *expected)
{
	json_t *want = json_loads(expected, 0, NULL), *value;
	const char *key;
	assert_non_null(want);
	json_object_foreach(want, key, value)
	{
		if (!json_equal(json_object_get(alert, key), value))
			fail_msg("%s of %s", key, json_dumps(alert, 0));
	}
	json_decref(want);
}

static void defaults_are_filled_in(void **state)
{
	(void)state;
	char message[ALERT_MESSAGE_MAX] = "";
	json_t *list = parse("{\"title\":\"a\\nb\",\"sourceRef\":\"r\"}", 0, message);
	const json_t *alert = json_array_get(list, 0);
	has(alert,
	    "{\"title\":\"a "
	    "b\",\"ref\":\"r\",\"type\":\"alert\",\"source\":\"siem\",\"severity\":2,"
	    "\"tlp\":2,\"pap\":2,\"date\":5,\"tags\":[\"from-siem\"],\"link\":\"\",\"origin\":\"a "
	    "b\","
	    "\"observables\":[]}");
	json_decref(list);
}

static void digest_is_of_what_was_sent(void **state)
{
	(void)state;
	char message[ALERT_MESSAGE_MAX], first[40];
	json_t *list = parse("{\"title\":\"t\",\"sourceRef\":\"r\"}", 0, message);
	snprintf(
		first,
		sizeof(first),
		"%s",
		json_string_value(json_object_get(json_array_get(list, 0), "digest"))
	);
	json_decref(list);
	list
		= parse("{\"alerts\":[{\"sourceRef\":\"r\",\"title\":\"t\"},{\"sourceRef\":\"r\","
			"\"title\":\"u\"}]}",
			0,
			message);
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(list, 0), "digest")), first
	);
	assert_string_not_equal(
		json_string_value(json_object_get(json_array_get(list, 1), "digest")), first
	);
	json_decref(list);
}

static void texts_are_cut_between_characters(void **state)
{
	(void)state;
	assert_int_equal(alert_cut("aä", 2), 1);
	assert_int_equal(alert_cut("aä", 3), 3);
	char message[ALERT_MESSAGE_MAX], body[2048];
	char title[600];
	memset(title, 0, sizeof(title));
	for (size_t i = 1; i + 2 < sizeof(title); i += 2)
		memcpy(title + i, "ä", 2);
	title[0] = 'x';
	snprintf(
		body,
		sizeof(body),
		"{\"id\":\"1\",\"title\":\"%s\",\"server_or_region\":\"%s\"}",
		title,
		title
	);
	json_t *list = parse(body, 0, message);
	assert_int_equal(
		strlen(json_string_value(json_object_get(json_array_get(list, 0), "title"))), 511
	);
	json_decref(list);
}

static void dates(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms; // -1: none
	} rows[] = {
		{"[1459447024000]", 1459447024000},
		{"[1459447024]", 1459447024000},
		{"[\"1459447024000\"]", 1459447024000},
		{"[\"2026-11-24T12:00:00Z\"]", 1795521600000},
		{"[\"2026-11-24T12:00:00.123456Z\"]", 1795521600000},
		{"[\"2026-11-24 12:00\"]", -1},
		{"[\"12345678901234567\"]", -1},
		{"[\"\"]", -1},
		{"[-1]", -1},
		{"[1e300]", -1},
		{"[true]", -1},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *list = json_loads(rows[i].text, 0, NULL);
		int64_t ms = -1;
		int error = alert_date_parse(json_array_get(list, 0), &ms);
		if ((error == 0) != (rows[i].ms >= 0) || (error == 0 && ms != rows[i].ms))
			fail_msg("%s: %d, %lld", rows[i].text, error, (long long)ms);
		json_decref(list);
	}
}

// No event can end the fence around it, however it is written.
static void events_stay_in_their_fence(void **state)
{
	(void)state;
	json_t *events = json_pack("[s, {s:s}]", "~~~~\n~~~~", "~~~~", "\n~~~~\n# x");
	char *text = alert_events_text(events);
	assert_non_null(text);
	size_t fences = 0;
	for (const char *at = text; (at = strstr(at, "\n~~~~")); at++)
		fences++;
	assert_int_equal(fences, 2);
	free(text);
	json_decref(events);
}

static void messages_say_where(void **state)
{
	(void)state;
	static const struct {
		const char *body, *message;
	} rows[] = {
		{"[]", "an object is expected"},
		{"{\"alerts\":[]}", "alerts: a list of 1 to 100 is expected"},
		{"{\"alerts\":[{\"sourceRef\":\"r\",\"title\":\"t\"},{\"sourceRef\":\"r\"}]}",
		 "alerts[1].title: a text is expected"},
		{"{\"sourceRef\":\"r\",\"title\":\"t\",\"tags\":[\"a\",\"STANCH\"]}",
		 "tags[1]: tags that begin with stanch are set by analysts only"},
		{"{\"sourceRef\":\"r\",\"title\":\"t\",\"pap\":\"AMBER+STRICT\"}",
		 "pap: CLEAR, GREEN, AMBER or RED"},
		{"{\"sourceRef\":\"r\",\"title\":\"t\",\"severity\":0}",
		 "severity: low, medium, high, critical or 1 to 4"},
		{"{\"id\":\"r\",\"title\":\"t\",\"severity\":\"4\"}",
		 "severity: 1 to 3 is expected"},
		{"{\"id\":\"\",\"title\":\"t\"}", "id: a text of 1 to 100 octets is expected"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char message[ALERT_MESSAGE_MAX] = "";
		assert_null(parse(rows[i].body, -EINVAL, message));
		assert_string_equal(message, rows[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(title_names),
		cmocka_unit_test(defaults_are_filled_in),
		cmocka_unit_test(digest_is_of_what_was_sent),
		cmocka_unit_test(texts_are_cut_between_characters),
		cmocka_unit_test(dates),
		cmocka_unit_test(events_stay_in_their_fence),
		cmocka_unit_test(messages_say_where),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
