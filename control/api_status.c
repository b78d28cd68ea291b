// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_status.h"

#include "control/api.h"
#include "control/api_text.h"
#include "control/denials.h"
#include "control/protect.h"
#include "control/roles.h"
#include "rules/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SCRUB_AGE_MAX_MS 60000

static void warn(json_t *warnings, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(json_t *warnings, const char *format, ...)
{
	char text[320];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(warnings, text_json(text));
}

static const char *origin_name(uint32_t origin)
{
	switch (origin) {
	case WIRE_LIST_SNAPSHOT:
		return "snapshot";
	case WIRE_LIST_PREVIOUS:
		return "previous snapshot";
	case WIRE_LIST_LINK:
		return "link";
	default:
		return "none";
	}
}

static json_t *reasons_json(const struct wire_status *status)
{
	const uint8_t *from = (const uint8_t *)(status + 1);
	json_t *list = json_array();
	for (uint32_t i = 0; i < status->n_reasons; i++, from += sizeof(struct wire_reason)) {
		struct wire_reason reason;
		memcpy(&reason, from, sizeof(reason));
		if (reason.packets == 0)
			continue;
		reason.name[sizeof(reason.name) - 1] = reason.help[sizeof(reason.help) - 1] = '\0';
		const char *verdict = reason.verdict == 0 ? "drop"
			: reason.verdict == 1		  ? "forward"
							  : "monitor";
		json_array_append_new(
			list,
			json_pack(
				"{s:s, s:s, s:s, s:I, s:I}",
				"name",
				reason.name,
				"help",
				reason.help,
				"verdict",
				verdict,
				"packets",
				(json_int_t)reason.packets,
				"bytes",
				(json_int_t)reason.bytes
			)
		);
	}
	return list;
}

static json_t *ports_json(const struct wire_status *status)
{
	const uint8_t *from
		= (const uint8_t *)(status + 1) + status->n_reasons * sizeof(struct wire_reason);
	json_t *list = json_array();
	for (uint32_t i = 0; i < status->n_ports; i++, from += sizeof(struct wire_port)) {
		struct wire_port port;
		memcpy(&port, from, sizeof(port));
		port.name[sizeof(port.name) - 1] = '\0';
		json_array_append_new(
			list,
			json_pack(
				"{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I}",
				"name",
				port.name,
				"link_up",
				port.link_up,
				"inside",
				port.inside,
				"rx_packets",
				(json_int_t)port.rx_packets,
				"tx_packets",
				(json_int_t)port.tx_packets,
				"rx_missed",
				(json_int_t)port.rx_missed,
				"tx_dropped",
				(json_int_t)port.tx_dropped,
				"rx_errors",
				(json_int_t)port.rx_errors
			)
		);
	}
	return list;
}

static void wire_add(json_t *object, const struct wire_status *status, json_t *warnings)
{
	char live[DIGEST_TEXT_MAX], scrub[DIGEST_TEXT_MAX];
	digest_print(digest_unpack(status->state.digest), live);
	digest_print(digest_unpack(status->scrub_digest), scrub);
	json_object_set_new(object, "live_digest", json_string(live));
	bool walked = status->scrub_age_ms != UINT64_MAX;
	json_t *scrubbed = json_pack(
		"{s:o, s:o, s:I, s:I}",
		"digest",
		walked ? json_string(scrub) : json_null(),
		"age_ms",
		walked ? json_integer((json_int_t)status->scrub_age_ms) : json_null(),
		"errors",
		(json_int_t)status->scrub_errors,
		"walks",
		(json_int_t)status->scrub_walks
	);
	json_object_set_new(object, "scrub", scrubbed);
	json_object_set_new(object, "ready", json_boolean(status->ready));
	json_object_set_new(object, "pause_until", time_json(status->pause_until));
	json_object_set_new(object, "workers", json_integer(status->workers));
	json_object_set_new(object, "workers_stalled", json_integer(status->workers_stalled));
	json_object_set_new(object, "capacity", json_integer((json_int_t)status->capacity));
	json_object_set_new(object, "list_origin", json_string(origin_name(status->list_origin)));
	json_object_set_new(object, "denials_lost", json_integer((json_int_t)status->denials_lost));
	json_object_set_new(
		object, "uptime_s", json_integer((json_int_t)(status->uptime_ms / 1000))
	);
	json_object_set_new(object, "ports", ports_json(status));
	json_object_set_new(object, "reasons", reasons_json(status));
	if (!status->ready)
		warn(warnings,
		     "the data plane is not ready: its ports forward nothing by the list");
	if (status->workers_stalled)
		warn(warnings, "%u workers of the data plane are stalled", status->workers_stalled);
	if (status->scrub_errors)
		warn(warnings,
		     "the scrub found %" PRIu64 " entries missing or changed in the live list",
		     status->scrub_errors);
	if (walked && status->scrub_age_ms > SCRUB_AGE_MAX_MS)
		warn(warnings,
		     "the live list was last verified %" PRIu64 " s ago",
		     status->scrub_age_ms / 1000);
	if (status->list_error & 1)
		warn(warnings, "the data plane's clock jumped: it holds all ends of entries");
	if (status->list_error & 2)
		warn(warnings,
		     "the list on disk was damaged: the data plane began with the previous one");
}

static bool wire_fits(const struct wire_status *status, size_t len)
{
	return status && len >= sizeof(*status)
		&& (len - sizeof(*status)) / sizeof(struct wire_reason) >= status->n_reasons
		&& (len - sizeof(*status) - status->n_reasons * sizeof(struct wire_reason))
			/ sizeof(struct wire_port)
		>= status->n_ports;
}

static json_t *dataplane_json(struct api *api, json_t *warnings, bool *ret_names)
{
	const struct api_dataplane *dataplane = api_dataplane(api);
	json_t *object = json_object();
	char why[160] = "";
	bool connected = dataplane->connected && dataplane->connected(dataplane->ctx);
	bool equal = api_is_equal(api, why);
	json_object_set_new(object, "configured", json_boolean(dataplane->connected != NULL));
	json_object_set_new(object, "connected", json_boolean(connected));
	struct list_state applied;
	int64_t when_ms = 0;
	if (dataplane->applied && dataplane->applied(dataplane->ctx, &applied, &when_ms)) {
		json_t *state = state_json(&applied);
		json_object_set_new(state, "when", time_ms_json(when_ms));
		json_object_set_new(object, "applied", state);
	} else {
		json_object_set_new(object, "applied", json_null());
	}
	json_object_set_new(object, "equal", json_boolean(equal));
	json_object_set_new(object, "why", equal ? json_null() : text_json(why));
	if (!equal)
		warn(warnings, "the data plane does not have this list: %s", why);
	if (dataplane->restarts) {
		uint64_t restarts = dataplane->restarts(dataplane->ctx, &when_ms);
		json_object_set_new(object, "restarts", json_integer((json_int_t)restarts));
		json_object_set_new(object, "restarted", time_ms_json(when_ms));
	}
	bool nearly_full = dataplane->nearly_full && dataplane->nearly_full(dataplane->ctx);
	json_object_set_new(object, "nearly_full", json_boolean(nearly_full));
	size_t len = 0;
	const struct wire_status *status
		= dataplane->status ? dataplane->status(dataplane->ctx, &len) : NULL;
	if (wire_fits(status, len)) {
		wire_add(object, status, warnings);
		*ret_names = status->names_matched;
		if (nearly_full)
			warn(warnings,
			     "the data plane's set is nearly full: %" PRIu64 " of %" PRIu64
			     " entries (dataplane.capacity)",
			     status->state.count,
			     status->capacity);
	}
	return object;
}

static json_t *counts_json(const struct ledger_counts *counts)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"claims", counts->claims},
		{"enforce", counts->enforce},
		{"monitor", counts->monitor},
		{"orphaned", counts->orphaned},
		{"held_ends", counts->held_ends},
		{"held", counts->held},
		{"allows", counts->allows},
		{"names", counts->names},
		{"sources_gone", counts->sources_gone},
		{"refused_protected", counts->refused_protected},
		{"refused_brake", counts->refused_brake},
		{"refused_full", counts->refused_full},
	};
	json_t *object = json_object();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_object_set_new(object, rows[i].name, json_integer((json_int_t)rows[i].value));
	return object;
}

static bool
conflict_count(void *ctx, const struct protection *protection, const struct entry *entry)
{
	(void)protection;
	(void)entry;
	size_t *n = ctx;
	return ++*n < 1000;
}

static void
warnings_add(struct api *api, const struct ledger_counts *counts, bool names, json_t *warnings)
{
	struct ledger *ledger = api_ledger(api);
	int64_t pause = ledger_pause_until(ledger);
	if (pause) {
		char until[24];
		until_print(pause, until);
		warn(warnings, "PAUSED until %s: nothing is denied, only watched", until);
	}
	if (counts->names && !names)
		warn(warnings,
		     "%" PRIu64 " names are on the list but not enforced on the wire:"
		     " packets are judged by address only",
		     counts->names);
	if (counts->held)
		warn(warnings,
		     "%" PRIu64 " claims are held and not in force: see stanch held",
		     counts->held);
	if (counts->held_ends)
		warn(warnings,
		     "%" PRIu64 " claims whose source lost them stay in force until an operator"
		     " decides: see stanch held",
		     counts->held_ends);
	if (counts->orphaned)
		warn(warnings,
		     "%" PRIu64
		     " claims are orphaned: in force, but their source no longer shows them",
		     counts->orphaned);
	if (counts->allows)
		warn(warnings,
		     "%" PRIu64 " allows are above the list: see stanch allow",
		     counts->allows);
	if (counts->sources_gone)
		warn(warnings,
		     "%" PRIu64 " claims are of sources that are no longer configured",
		     counts->sources_gone);
	if (counts->refused_full)
		warn(warnings,
		     "%" PRIu64 " claims were refused: the list or the disk is full",
		     counts->refused_full);
	if (ledger_ends_held(ledger))
		warn(warnings,
		     "the wall clock jumped: no claim, allow or pause ends until it fits");
	size_t n = 0;
	ledger_conflicts(ledger, conflict_count, &n);
	if (n)
		warn(warnings, "%zu entries lie over a protection: their protected part passes", n);
}

// What the parts warn of, each with its name.
static void parts_warn(json_t *parts, json_t *warnings)
{
	size_t i, k;
	json_t *part, *text;
	json_array_foreach(parts, i, part)
	{
		json_array_foreach(json_object_get(part, "warnings"), k, text)
			warn(warnings,
			     "%s: %s",
			     json_string_value(json_object_get(part, "name")),
			     json_string_value(text));
		json_object_del(part, "warnings");
	}
}

static json_t *fleet_json(struct api *api, json_t *warnings)
{
	json_t *fleet = roles_status(api_control(api)), *alarm;
	size_t i;
	json_array_foreach(json_object_get(fleet, "alarms"), i, alarm)
		warn(warnings, "fleet: %s", json_string_value(json_object_get(alarm, "why")));
	return fleet;
}

static void route_status(void *ctx, struct http_request *request)
{
	struct api *api = ctx;
	struct ledger *ledger = api_ledger(api);
	struct list_state state;
	ledger_state(ledger, &state);
	struct ledger_counts counts = {0};
	ledger_counts(ledger, &counts);
	char id[2 * LEDGER_ID_LEN + 1];
	for (size_t i = 0; i < LEDGER_ID_LEN; i++)
		snprintf(id + 2 * i, 3, "%02x", state.ledger_id[i]);
	bool names = false;
	json_t *warnings = json_array();
	json_t *object = state_json(&state);
	json_object_set_new(object, "version", json_string(STANCH_VERSION));
	json_object_set_new(object, "uptime_s", json_integer(api_uptime(api)));
	json_object_set_new(object, "ledger", json_string(id));
	json_object_set_new(object, "pause_until", time_json(ledger_pause_until(ledger)));
	json_object_set_new(object, "dataplane", dataplane_json(api, warnings, &names));
	json_object_set_new(object, "sources", api_parts(api, API_SOURCE));
	json_t *followers = api_parts(api, API_FOLLOWER);
	parts_warn(followers, warnings);
	json_object_set_new(object, "followers", followers);
	json_object_set_new(object, "counts", counts_json(&counts));
	json_object_set_new(object, "names_enforced", json_boolean(names));
	json_object_set_new(
		object, "denials", json_integer((json_int_t)denials_count(api_denials(api)))
	);
	warnings_add(api, &counts, names, warnings);
	if (control_in_fleet(api_control(api)))
		json_object_set_new(object, "fleet", fleet_json(api, warnings));
	json_object_set_new(object, "warnings", warnings);
	http_answer_json(request, 200, object);
}

static const struct http_route routes[] = {
	{"GET",
	 "/v1/status",
	 ROLE_VIEWER,
	 0,
	 route_status,
	 "state of ledger, data plane and parts"},
};

int api_status_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
