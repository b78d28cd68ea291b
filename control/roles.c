// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/roles.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/fleet/fleet.h"
#include "control/followers/dataplane.h"
#include "control/followers/writeback.h"
#include "control/http_client.h"
#include "control/http_server.h"
#include "control/ledger_fleet.h"
#include "control/log.h"
#include "control/metrics.h"
#include "control/roles_metrics.h"
#include "control/sources/thehive.h"
#include "control/sources/thehives.h"
#include "rules/wire.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DENIALS_AT_ONCE 256 // records of one message upward: below 60 KiB
#define MARKS 1024
#define HEARD_MS 5000 // a heartbeat that is older confirms nothing

// Which record of the fleet a revision of this ledger stands for.
struct mark {
	struct revision revision;
	uint64_t number;
};

struct roles {
	struct control *control;
	struct event *turn; // in which a change of role takes effect
	bool leads, wanted; // what runs, what the fleet says
	void (*moved)(void *ctx, bool leads);
	void *moved_ctx;
	// Heartbeats of all, each second while it leads: for what is told to cases.
	struct event *second;
	json_t *gateways; // NULL: not known
	bool asked;
	struct mark marks[MARKS]; // the newest overwrite the oldest
	size_t n_marks;
	// Of this gateway's heartbeat.
	uint64_t applied; // record
	uint64_t packets;
	int64_t packets_ms; // monotonic; 0: none yet
};

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool control_in_fleet(const struct control *control)
{
	return control->roles != NULL;
}

bool control_leads(const struct control *control)
{
	return !control->roles || control->roles->leads;
}

json_t *roles_status(const struct control *control)
{
	return control->fleet ? fleet_status(control->fleet) : json_object(); // ending
}

void control_leader_text(const struct control *control, char ret_text[160])
{
	json_t *status;
	const char *leader;

	ret_text[0] = '\0';
	if (control_leads(control))
		return;
	status = roles_status(control);
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

// --- what this gateway tells of itself

// Packets judged, and those that an entry denied, since the data plane's start.
static void packets_count(const struct wire_status *status, uint64_t *packets, uint64_t *denied)
{
	const uint8_t *from = (const uint8_t *)(status + 1);

	for (unsigned i = 0; i < WIRE_WORKERS_MAX; i++)
		*packets += status->worker_packets[i];
	for (uint32_t i = 0; i < status->n_reasons; i++, from += sizeof(struct wire_reason)) {
		struct wire_reason reason;

		memcpy(&reason, from, sizeof(reason));
		if (strncmp(reason.name, "ENTRY_DENY", sizeof(reason.name)) == 0)
			*denied += reason.packets;
	}
}

static double rate_of(struct roles *r, uint64_t packets)
{
	int64_t now = clock_ms(), since = now - r->packets_ms;
	double rate = 0;

	if (r->packets_ms && since > 0 && packets >= r->packets)
		rate = (double)(packets - r->packets) * 1000 / (double)since;
	r->packets = packets;
	r->packets_ms = now;
	return rate;
}

static json_t *extra_make(void *ctx)
{
	struct roles *r = ctx;
	struct control *control = r->control;
	const struct dataplane *dataplane = control->dataplane;
	uint64_t packets = 0, denied = 0;
	struct fleet_place place;
	struct list_state state;
	char why[160] = "it has not started";
	size_t len = 0;
	bool equal = dataplane && dataplane_equal(dataplane, why);
	const struct wire_status *status = dataplane ? dataplane_status(dataplane, &len) : NULL;

	ledger_state(control->ledger, &state);
	ledger_fleet_place(control->ledger, &place);
	if (equal)
		r->applied = place.number;
	if (status && len >= sizeof(*status)
	    && (len - sizeof(*status)) / sizeof(struct wire_reason) >= status->n_reasons)
		packets_count(status, &packets, &denied);
	return json_pack(
		"{s:s, s:I, s:I, s:b, s:s, s:I, s:I, s:I}",
		"version",
		STANCH_VERSION,
		"entries",
		(json_int_t)state.count,
		"applied",
		(json_int_t)r->applied,
		"dataplane_equal",
		equal,
		"dataplane_why",
		equal ? "" : why,
		"packets",
		(json_int_t)packets,
		"packets_per_second",
		(json_int_t)rate_of(r, packets),
		"denials",
		(json_int_t)denied
	);
}

// --- who has confirmed

static void gateways_come(void *ctx, json_t *gateways)
{
	struct roles *r = ctx;

	r->asked = false;
	json_decref(r->gateways);
	r->gateways = gateways;
}

static void second_come(evutil_socket_t fd, short what, void *ctx)
{
	struct roles *r = ctx;

	(void)fd;
	(void)what;
	if (!r->leads || !r->control->writeback || r->asked)
		return;
	r->asked = true;
	fleet_gateways(r->control->fleet, gateways_come, r);
}

static void woken(void *ctx, unsigned topics)
{
	struct roles *r = ctx;
	struct mark *mark = &r->marks[r->n_marks++ % MARKS];
	struct fleet_place place;
	struct list_state state;

	(void)topics;
	ledger_state(r->control->ledger, &state);
	ledger_fleet_place(r->control->ledger, &place);
	*mark = (struct mark){state.revision, place.number};
}

// 0: older than what is remembered, so that all have it who are heard.
static uint64_t number_of(const struct roles *r, struct revision revision)
{
	size_t first = r->n_marks > MARKS ? r->n_marks - MARKS : 0;

	for (size_t i = first; i < r->n_marks; i++) {
		const struct mark *mark = &r->marks[i % MARKS];

		if (revision_compare(mark->revision, revision) >= 0)
			return i == first && first > 0 ? 0 : mark->number;
	}
	return UINT64_MAX;
}

void roles_confirmed(struct control *control, struct revision revision, char *text, size_t size)
{
	struct roles *r = control->roles;
	uint64_t needed;
	size_t i, len, more = 0;
	json_t *row;

	text[0] = '\0';
	if (!r || !r->leads)
		return;
	needed = number_of(r, revision);
	len = (size_t)snprintf(text, size, "%s", control->conf->fleet->gateway);
	json_array_foreach(r->gateways, i, row)
	{
		const char *name = json_string_value(json_object_get(row, "gateway"));
		const json_t *extra = json_object_get(row, "extra");
		json_int_t applied = json_integer_value(json_object_get(extra, "applied"));

		if (!name || strcmp(name, control->conf->fleet->gateway) == 0
		    || json_is_true(json_object_get(row, "forged"))
		    || json_integer_value(json_object_get(row, "age_ms")) > HEARD_MS || applied <= 0
		    || (uint64_t)applied < needed)
			continue;
		if (len + strlen(name) + sizeof(", and 1000000 more") > size)
			more++;
		else
			len += (size_t)snprintf(text + len, size - len, ", %s", name);
	}
	if (more)
		snprintf(text + len, size - len, ", and %zu more", more);
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

	if (!r->leads || len % sizeof(denial) != 0)
		return; // of another version: its rows are not ours
	for (size_t at = 0; at < len; at += sizeof(denial)) {
		memcpy(&denial, (const uint8_t *)octets + at, sizeof(denial));
		denial.reason[sizeof(denial.reason) - 1] = '\0';
		writeback_denials_take(r->control->writeback, gateway, &denial, 1);
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
	static const struct timeval one_second = {.tv_sec = 1};
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
	r->second = event_new(control->base, -1, EV_PERSIST, second_come, r);
	error = r->turn && r->second ? fleet_create(control, &events, &control->fleet) : -ENOMEM;
	if (error) {
		log_error("fleet %s: %s", conf->id, strerror(-error));
		return error;
	}
	error = ledger_watch(control->ledger, LEDGER_ENTRIES | LEDGER_AUDIT, woken, r);
	if (!error)
		error = metrics_collect(control->metrics, roles_metrics, control);
	if (error) {
		log_error("fleet %s: %s", conf->id, strerror(-error));
		return error;
	}
	event_add(r->second, &one_second);
	fleet_heartbeat_set(control->fleet, extra_make, r);
	http_client_fence_set(lease_left, control);
	log_info("fleet %s: this gateway is %s", conf->id, conf->gateway);
	return 0;
}

void stop_roles(struct control *control)
{
	struct roles *r = control->roles;
	struct fleet *fleet;

	http_client_fence_set(NULL, NULL);
	fleet = control->fleet;
	control->fleet = NULL; // what is asked while it ends finds none
	fleet_free(fleet);
	if (!r)
		return;
	ledger_unwatch(control->ledger, woken, r);
	if (r->turn)
		event_free(r->turn);
	if (r->second)
		event_free(r->second);
	json_decref(r->gateways);
	free(r);
	control->roles = NULL;
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
	    || !conf_text_same(now->redis.address, was->redis.address)
	    || !conf_text_same(now->redis.key_prefix, was->redis.key_prefix))
		log_warning("control.fleet: but for the keys, a change needs a restart");
	if (control->fleet && fleet_reload(control->fleet) < 0)
		log_error("control.fleet: the keys were not taken, the old ones stay");
}
