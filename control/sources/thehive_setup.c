// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// `stanch thehive setup`: who are we at TheHive, what may we do, and is the custom field of the
// response action there? It is made where it is not.
//
//   user/current ─> customField (list) ─┬─ there ──────────────────> answer
//                                       └─ absent ─> POST it ─────/

#include "control/sources/thehive_setup.h"

#include "control/http_server.h"
#include "control/sources/thehive_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BY_HAND                                                                                    \
	"an administrator of TheHive makes it: a custom field of type string with this name, "     \
	"and adds it to the case templates"

struct hive_setup {
	struct thehive *hive;
	struct http_request *request;
	json_t *account; // login, organisation, permissions; or null
	json_t *permissions; // as TheHive lists them; NULL: not told
	const char *state; // of the field
	char why[256];
	bool good;
};

static void setup_end(struct hive_setup *setup);

static void field_say(struct hive_setup *setup, bool good, const char *state, const char *why)
{
	setup->good = good;
	setup->state = state;
	snprintf(setup->why, sizeof(setup->why), "%s", why);
	setup_end(setup);
}

// What an answer that is no success says, for people.
static void
failure_say(struct hive_setup *setup, const char *what, const struct http_answer *answer)
{
	char why[256];
	if (answer->error)
		snprintf(why, sizeof(why), "%s: %.160s", what, answer->error_text);
	else
		snprintf(why, sizeof(why), "%s: status %ld", what, answer->status);
	field_say(setup, false, "unknown", why);
}

// --- making it

static void created_come(void *ctx, const struct http_answer *answer)
{
	struct hive_setup *setup = ctx;
	if (!answer->error && (answer->status == 200 || answer->status == 201))
		field_say(setup, true, "created", "");
	else if (!answer->error && (answer->status == 403 || answer->status == 404))
		field_say(
			setup,
			false,
			"missing",
			"this account must not make custom fields (manageCustomField): " BY_HAND
		);
	else
		failure_say(setup, "making the field", answer);
}

static void field_create(struct hive_setup *setup)
{
	struct thehive *hive = setup->hive;
	json_t *body = json_pack(
		"{s:s,s:s,s:s,s:s}",
		"name",
		hive->conf->response_field,
		"displayName",
		hive->conf->response_field,
		"description",
		"Response action of stanch: enforce, monitor or none; with a duration as in "
		"\"enforce 7d\"",
		"type",
		"string"
	);
	if (body && hive->rules.version.major >= 5)
		json_object_set_new(body, "group", json_string("stanch"));
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	int error = text ? http_client_request(
			    hive->prompt,
			    "POST",
			    "/api/v1/customField",
			    text,
			    strlen(text),
			    created_come,
			    setup
		    )
			 : -ENOMEM;
	free(text);
	if (error)
		field_say(setup, false, "unknown", strerror(-error));
}

// --- is it there?

static const json_t *field_find(const json_t *list, const char *name)
{
	size_t i;
	json_t *one;
	json_array_foreach(list, i, one)
	{
		const char *text = json_string_value(json_object_get(one, "name"));
		const char *reference = json_string_value(json_object_get(one, "reference")); // v0
		if ((text && strcmp(text, name) == 0)
		    || (reference && strcmp(reference, name) == 0))
			return one;
	}
	return NULL;
}

static void fields_come(void *ctx, const struct http_answer *answer)
{
	struct hive_setup *setup = ctx;
	struct thehive *hive = setup->hive;
	json_t *list = answer->error || answer->status != 200
		? NULL
		: json_loadb(answer->body, answer->body_len, 0, NULL);
	if (!json_is_array(list)) {
		failure_say(setup, "list of custom fields", answer);
		json_decref(list);
		return;
	}
	const json_t *field = field_find(list, hive->conf->response_field);
	const char *type = json_string_value(json_object_get(field, "type"));
	char why[256];
	if (!field) {
		field_create(setup);
	} else if (type && strcmp(type, "string") == 0) {
		field_say(setup, true, "there", "");
	} else {
		snprintf(
			why,
			sizeof(why),
			"it is of type %.40s, and only string can say enforce or monitor: name "
			"another "
			"one (control.thehive[].response_field)",
			type ? type : "(none)"
		);
		field_say(setup, false, "of another type", why);
	}
	json_decref(list);
}

static void user_come(void *ctx, const struct http_answer *answer)
{
	struct hive_setup *setup = ctx;
	json_t *user = answer->error || answer->status != 200
		? NULL
		: json_loadb(answer->body, answer->body_len, 0, NULL);
	if (!json_is_object(user)) {
		failure_say(setup, "the account of this key", answer);
		json_decref(user);
		return;
	}
	json_t *permissions = json_object_get(user, "permissions");
	if (json_is_array(permissions))
		setup->permissions = json_incref(permissions);
	setup->account = json_copy(json_object_get(user, "login"));
	json_decref(user);
	int error = http_client_request(
		setup->hive->prompt, "GET", "/api/v1/customField", NULL, 0, fields_come, setup
	);
	if (error)
		field_say(setup, false, "unknown", strerror(-error));
}

// --- the answer

static bool permitted(const json_t *list, const char *name)
{
	size_t i, len = strlen(name);
	json_t *one;
	json_array_foreach(list, i, one)
	{
		// 5 has finer ones: "manageCase/create" beside "manageCase" of 4.
		const char *text = json_string_value(one);
		if (text && strncmp(text, name, len) == 0 && (!text[len] || text[len] == '/'))
			return true;
	}
	return false;
}

static json_t *permissions_json(const struct hive_setup *setup)
{
	bool five = setup->hive->rules.version.major >= 5;
	const struct {
		const char *name, *what;
	} rows[] = {
		{"manageObservable", "tags on observables"},
		{five ? "manageComment" : "manageTask",
		 five ? "comments on cases" : "a task with logs in cases (4 has no comments)"},
		{"manageCase", "cases made from alerts"},
		{"manageCustomField", "making the custom field, once"},
	};
	json_t *list = json_array();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_array_append_new(
			list,
			json_pack(
				"{s:s,s:s,s:o}",
				"name",
				rows[i].name,
				"for",
				rows[i].what,
				"held",
				setup->permissions
					? json_boolean(permitted(setup->permissions, rows[i].name))
					: json_null()
			)
		);
	return list;
}

static void setup_end(struct hive_setup *setup)
{
	struct thehive *hive = setup->hive;
	json_t *body = json_pack(
		"{s:s,s:s,s:O?,s:b,s:{s:s,s:s,s:s},s:o}",
		"name",
		hive->conf->name,
		"version",
		hive->version,
		"account",
		setup->account,
		"good",
		setup->good,
		"field",
		"name",
		hive->conf->response_field,
		"state",
		setup->state,
		"why",
		setup->why,
		"permissions",
		permissions_json(setup)
	);
	http_answer_json(setup->request, 200, body);
	setup->request = NULL;
	hive_setup_stop(hive);
}

void hive_setup_stop(struct thehive *hive)
{
	struct hive_setup *setup = hive->setup;
	if (!setup)
		return;
	if (setup->request)
		http_answer_error(setup->request, 503, "the configuration was read again", NULL);
	json_decref(setup->account);
	json_decref(setup->permissions);
	free(setup);
	hive->setup = NULL;
}

void thehive_setup(struct thehive *hive, struct http_request *request)
{
	if (hive->setup) {
		http_answer_error(request, 409, "a setup is under way", NULL);
		return;
	}
	if (hive->rules.version.major == 0) {
		http_answer_error(
			request, 503, "TheHive has not answered yet", "see stanch status for why"
		);
		return;
	}
	struct hive_setup *setup = calloc(1, sizeof(*setup));
	int error = setup ? http_client_request(
			    hive->prompt, "GET", "/api/v1/user/current", NULL, 0, user_come, setup
		    )
			  : -ENOMEM;
	if (error) {
		free(setup);
		http_answer_error(request, 500, strerror(-error), NULL);
		return;
	}
	setup->hive = hive;
	setup->request = request;
	hive->setup = setup;
}
