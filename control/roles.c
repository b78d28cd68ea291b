// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/roles.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/fleet/fleet.h"
#include "control/followers/writeback.h"
#include "control/http_client.h"
#include "control/http_server.h"
#include "control/log.h"
#include "control/sources/thehive.h"
#include "control/sources/thehives.h"
#include "rules/wire.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DENIALS_AT_ONCE 256 // records of one message upward: below 60 KiB

struct roles {
	struct control *control;
	struct event *turn; // in which a change of role takes effect
	bool leads, wanted; // what runs, what the fleet says
	void (*moved)(void *ctx, bool leads);
	void *moved_ctx;
};

bool control_in_fleet(const struct control *control)
{
	return control->roles != NULL;
}

bool control_leads(const struct control *control)
{
	return !control->roles || control->roles->leads;
}

void control_leader_text(const struct control *control, char ret_text[160])
{
	json_t *status;
	const char *leader;

	ret_text[0] = '\0';
	if (control_leads(control))
		return;
	status = fleet_status(control->fleet);
	leader = json_string_value(json_object_get(status, "leader"));
	if (leader && *leader)
		snprintf(ret_text, 160, "%.63s leads the fleet and does this", leader);
	else
		snprintf(ret_text, 160, "no gateway leads the fleet at the moment");
	json_decref(status);
}

json_t *control_leader_part(const struct control *control)
{
	char why[160];

	control_leader_text(control, why);
	return json_pack("{s:s, s:s}", "state", "at the leader", "why", why);
}

void roles_refuse(const struct control *control, struct http_request *request)
{
	char text[160];

	control_leader_text(control, text);
	http_answer_error(request, 409, text, "ask there; stanch fleet shows all gateways");
}

// --- the role

static void turn_come(evutil_socket_t fd, short what, void *ctx)
{
	struct roles *r = ctx;

	(void)fd;
	(void)what;
	if (r->leads == r->wanted)
		return;
	r->leads = r->wanted;
	log_notice("fleet: this gateway %s", r->leads ? "leads" : "follows");
	if (r->moved)
		r->moved(r->moved_ctx, r->leads);
}

static void role_come(void *ctx, bool leads)
{
	struct roles *r = ctx;

	r->wanted = leads;
	event_active(r->turn, EV_TIMEOUT, 0);
}

void roles_moved_set(struct control *control, void (*moved)(void *ctx, bool leads), void *ctx)
{
	if (!control->roles)
		return;
	control->roles->moved = moved;
	control->roles->moved_ctx = ctx;
}

// --- upward, and what arrives at the leader

static json_t *hint_json(const struct hive_hint *hint)
{
	json_t *merged = json_array();

	for (size_t i = 0; i < hint->n_merged; i++)
		json_array_append_new(merged, json_string(hint->merged[i]));
	return json_pack(
		"{s:i, s:s, s:b, s:b, s:s, s:I, s:o}",
		"format",
		(int)hint->format,
		"case",
		hint->case_id,
		"deleted",
		hint->deleted,
		"closed",
		hint->closed,
		"closer",
		hint->closer,
		"request",
		(json_int_t)hint->request,
		"merged",
		merged
	);
}

static void text_take(const json_t *object, const char *key, char *to, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	snprintf(to, size, "%s", text ? text : "");
}

// Another gateway has read the webhook; ids go into paths all the same.
static bool hint_read(const json_t *object, struct hive_hint *ret_hint)
{
	const json_t *merged = json_object_get(object, "merged"), *id;
	struct hive_hint hint = {0};
	size_t i;

	hint.format = (enum hive_format)json_integer_value(json_object_get(object, "format"));
	text_take(object, "case", hint.case_id, sizeof(hint.case_id));
	hint.deleted = json_is_true(json_object_get(object, "deleted"));
	hint.closed = json_is_true(json_object_get(object, "closed"));
	text_take(object, "closer", hint.closer, sizeof(hint.closer));
	hint.request = (uint64_t)json_integer_value(json_object_get(object, "request"));
	json_array_foreach(merged, i, id)
	{
		const char *text = json_string_value(id);

		if (!text || !hive_id_valid(text) || strlen(text) >= HIVE_ID_MAX
		    || hint.n_merged == HIVE_MERGED_MAX)
			return false;
		memcpy(hint.merged[hint.n_merged++], text, strlen(text) + 1);
	}
	if (hint.format > HIVE_FORMAT_5_1 || (hint.case_id[0] && !hive_id_valid(hint.case_id)))
		return false;
	*ret_hint = hint;
	return true;
}

void roles_hint(struct control *control, const char *instance, const struct hive_hint *hint)
{
	json_t *object = json_pack("{s:s, s:o}", "instance", instance, "hook", hint_json(hint));
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	if (text && control->fleet)
		fleet_hint(control->fleet, text);
	free(text);
	json_decref(object);
}

static void hint_come(void *ctx, const char *json)
{
	struct roles *r = ctx;
	json_t *object = json_loads(json, 0, NULL);
	const char *instance = json_string_value(json_object_get(object, "instance"));
	struct thehive *hive = instance ? thehives_find(r->control->thehives, instance) : NULL;
	struct hive_hint hint;

	// Where it is not known here, the listings find what it told of.
	if (r->leads && hive && hint_read(json_object_get(object, "hook"), &hint))
		thehive_hint(hive, &hint);
	json_decref(object);
}

void roles_denials(struct control *control, const struct wire_denial *denial, size_t n)
{
	while (!control_leads(control) && n > 0) {
		size_t now = n < DENIALS_AT_ONCE ? n : DENIALS_AT_ONCE;

		if (fleet_denials(control->fleet, denial, now * sizeof(*denial)) < 0)
			return; // counted there
		denial += now;
		n -= now;
	}
}

static void denials_come(void *ctx, const char *gateway, const void *octets, size_t len)
{
	struct roles *r = ctx;
	struct wire_denial denial;

	(void)gateway;
	if (!r->leads || len % sizeof(denial) != 0)
		return; // of another version: its rows are not ours
	for (size_t at = 0; at < len; at += sizeof(denial)) {
		memcpy(&denial, (const uint8_t *)octets + at, sizeof(denial));
		denial.reason[sizeof(denial.reason) - 1] = '\0';
		writeback_denials_take(r->control->writeback, &denial, 1);
	}
}

// --- life

static int64_t lease_left(void *ctx)
{
	const struct control *control = ctx;

	return fleet_lease_ms(control->fleet);
}

int start_roles(struct control *control)
{
	const struct conf_fleet *conf = control->conf->fleet;
	struct roles *r;
	int error;

	if (!conf || conf->role == CONF_FLEET_SINGLE)
		return 0;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	control->roles = r;
	r->control = control;
	r->turn = event_new(control->base, -1, 0, turn_come, r);
	const struct fleet_events events = {
		.role = role_come,
		.hint = hint_come,
		.denials = denials_come,
		.ctx = r,
	};
	error = r->turn ? fleet_create(control, &events, &control->fleet) : -ENOMEM;
	if (error) {
		log_error("fleet %s: %s", conf->id, strerror(-error));
		return error;
	}
	http_client_fence_set(lease_left, control);
	log_info("fleet %s: this gateway is %s", conf->id, conf->gateway);
	return 0;
}

void stop_roles(struct control *control)
{
	struct roles *r = control->roles;

	http_client_fence_set(NULL, NULL);
	fleet_free(control->fleet);
	control->fleet = NULL;
	if (r && r->turn)
		event_free(r->turn);
	free(r);
	control->roles = NULL;
}

static bool text_same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

void reload_roles(struct control *control, const struct conf *old)
{
	const struct conf_fleet *now = control->conf->fleet, *was = old->fleet;

	if (!now != !was) {
		log_warning("control.fleet: %s it needs a restart", now ? "to begin" : "to end");
		return;
	}
	if (!now)
		return;
	if (strcmp(now->id, was->id) != 0 || strcmp(now->gateway, was->gateway) != 0
	    || now->role != was->role || now->lease_ms != was->lease_ms
	    || !text_same(now->redis.address, was->redis.address)
	    || !text_same(now->redis.key_prefix, was->redis.key_prefix))
		log_warning("control.fleet: a change needs a restart");
}
