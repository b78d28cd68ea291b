// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_why.h"

#include "control/api.h"
#include "control/api_text.h"
#include "control/control.h"
#include "control/denials.h"
#include "control/protect.h"
#include "rules/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLAIMS_MAX 100
#define ENTRIES_MAX 64
#define TRIED_MAX 50

struct why {
	struct api *api;
	struct http_request *request;
	struct indicator indicator;
	json_t *body, *claims, *exceptions, *tried;
	struct entry entries[ENTRIES_MAX]; // the strongest first
	size_t n_entries;
	bool more;
	bool allowed, protected;
	char exception[448]; // of the strongest, for the verdict
	size_t n_held;
	char holder[448]; // the first claim in force, for the verdict
};

static void entry_note(struct why *why, const struct indicator *indicator)
{
	for (size_t i = 0; i < why->n_entries; i++)
		if (indicator_equal(&why->entries[i].indicator, indicator))
			return;
	if (why->n_entries < ENTRIES_MAX
	    && ledger_entry_find(api_ledger(why->api), indicator, &why->entries[why->n_entries])
		    == 0)
		why->n_entries++;
}

static bool claim_note(void *ctx, const struct claim *claim)
{
	struct why *why = ctx;
	if (json_array_size(why->claims) == CLAIMS_MAX) {
		why->more = true;
		return false;
	}
	json_array_append_new(why->claims, claim_json(api_ledger(why->api), claim));
	if (claim->state == CLAIM_AWAY)
		return true;
	if (claim->state == CLAIM_HELD) {
		why->n_held++;
		return true;
	}
	entry_note(why, &claim->indicator);
	bool enforce = claim->action == CLAIM_ENFORCE;
	if (!why->holder[0] || enforce) {
		bool numbered = claim->case_number && claim->case_number[0];
		snprintf(
			why->holder,
			sizeof(why->holder),
			"%s%s%s, decided by %s: %.160s",
			claim->source,
			numbered ? " case " : "",
			numbered ? claim->case_number : "",
			claim->author && claim->author[0] ? claim->author : "unknown",
			claim->reason ? claim->reason : ""
		);
	}
	return true;
}

static bool allow_note(void *ctx, const struct allow *allow)
{
	struct why *why = ctx;
	if (!indicator_covers(&allow->indicator, &why->indicator))
		return true;
	char until[24];
	until_print(allow->until, until);
	json_array_append_new(
		why->exceptions,
		json_pack(
			"{s:s, s:o, s:o, s:o, s:o}",
			"kind",
			"allow",
			"indicator",
			indicator_json(&allow->indicator),
			"until",
			time_json(allow->until),
			"author",
			text_json(allow->author),
			"reason",
			text_json(allow->reason)
		)
	);
	if (!why->protected && !why->allowed)
		snprintf(
			why->exception,
			sizeof(why->exception),
			"allowed until %s by %s: %.160s",
			until,
			allow->author,
			allow->reason
		);
	why->allowed = true;
	return true;
}

static bool immunity_note(void *ctx, const struct immunity *immunity)
{
	struct why *why = ctx;
	json_array_append_new(
		why->exceptions,
		json_pack(
			"{s:s, s:o, s:o, s:o, s:o}",
			"kind",
			"immunity", // of claims of lists only
			"indicator",
			indicator_json(&immunity->indicator),
			"until",
			time_json(immunity->until),
			"author",
			text_json(immunity->author),
			"reason",
			text_json(immunity->reason)
		)
	);
	return true;
}

static bool protection_note(void *ctx, const struct protection *protection)
{
	struct why *why = ctx;
	if (protect_overlap(&why->indicator, &protection->indicator) != OVERLAP_INSIDE)
		return true;
	char text[INDICATOR_TEXT_MAX];
	indicator_print(&protection->indicator, text);
	json_array_append_new(
		why->exceptions,
		json_pack(
			"{s:s, s:s, s:o}",
			"kind",
			"protection",
			"indicator",
			text,
			"reason",
			text_json(protection->reason)
		)
	);
	if (!why->protected)
		snprintf(
			why->exception,
			sizeof(why->exception),
			"never denied: protected by %s (%s)",
			text,
			protection->reason
		);
	why->protected = true;
	return true;
}

static bool tried_note(void *ctx, const struct wire_denial *denial)
{
	struct why *why = ctx;
	struct indicator entry;
	bool ours = denial->entry.kind
		&& wire_indicator_read(&denial->entry, sizeof(denial->entry), &entry) > 0
		&& (indicator_covers(&entry, &why->indicator)
		    || indicator_covers(&why->indicator, &entry));
	// A wider entry stops other addresses too: only this one's are told.
	if (ours && why->indicator.kind == INDICATOR_NET)
		ours = indicator_covers_address(
			&why->indicator,
			denial->family,
			denial->inward ? denial->src : denial->dst,
			0,
			0
		);
	if (ours)
		json_array_append_new(why->tried, denial_json(denial));
	return json_array_size(why->tried) < TRIED_MAX;
}

// The one that decides: enforce before monitor, in the ledger's order else.
static const struct entry *entry_deciding(const struct why *why, int64_t now)
{
	const struct entry *best = NULL;
	for (size_t i = 0; i < why->n_entries; i++)
		if (!best || entry_action_at(&why->entries[i], now) > entry_action_at(best, now))
			best = &why->entries[i];
	return best;
}

static void verdict_listed(struct why *why, const struct entry *entry, char verdict[1400])
{
	char text[INDICATOR_TEXT_MAX], entry_text[INDICATOR_TEXT_MAX], reason[160];
	indicator_print(&why->indicator, text);
	indicator_print(&entry->indicator, entry_text);
	enum entry_action action = entry_action_at(entry, now_seconds());
	json_t *wire = json_object_get(why->body, "dataplane");
	bool matched = !json_is_false(json_object_get(wire, "matched"));
	bool equal = api_is_equal(why->api, reason);
	bool present = matched && entry->indicator.kind != INDICATOR_NAME
		&& json_is_true(json_object_get(wire, "present"));
	const char *what = "listed, but its ends have passed";
	if (action == ENTRY_ENFORCE)
		what = ledger_pause_until(api_ledger(why->api))
			? "passes only because stanch is paused, though listed"
			: present ? "denied"
				  : "to be denied"; // what the wire does not do is not said
	else if (action == ENTRY_MONITOR)
		what = "watched, not denied";
	char wire_text[256] = "";
	if (entry->indicator.kind == INDICATOR_NAME || !matched)
		snprintf(wire_text, sizeof(wire_text), "names are not enforced on the wire");
	else if (present)
		snprintf(
			wire_text,
			sizeof(wire_text),
			"in force on the wire, %" PRId64 " packets hit it",
			(int64_t)json_integer_value(json_object_get(wire, "packets"))
		);
	else
		snprintf(
			wire_text,
			sizeof(wire_text),
			"not in force on the wire: %s",
			equal ? "the data plane did not answer" : reason
		);
	snprintf(
		verdict,
		1400,
		"%s is %s by entry %s (%s); %s.",
		text,
		what,
		entry_text,
		why->holder,
		wire_text
	);
}

static void verdict_set(struct why *why)
{
	char verdict[1400], text[INDICATOR_TEXT_MAX];
	indicator_print(&why->indicator, text);
	const struct entry *entry = entry_deciding(why, now_seconds());
	if (why->protected || why->allowed)
		snprintf(
			verdict,
			sizeof(verdict),
			"%s is %s%s.",
			text,
			why->exception,
			entry ? "; it is on the list, but this is above it" : ""
		);
	else if (entry)
		verdict_listed(why, entry, verdict);
	else if (why->n_held)
		snprintf(
			verdict,
			sizeof(verdict),
			"%s passes: %zu claims on it are held for an operator (see stanch held).",
			text,
			why->n_held
		);
	else
		snprintf(
			verdict, sizeof(verdict), "%s passes: nothing on the list covers it.", text
		);
	json_object_set_new(why->body, "listed", json_boolean(entry != NULL));
	json_object_set_new(why->body, "verdict", text_json(verdict));
}

static void lookup_answered(void *ctx, const struct wire_lookup_answer *answer)
{
	struct why *why = ctx;
	json_t *wire = json_object();
	json_object_set_new(wire, "connected", json_boolean(answer != NULL));
	if (answer) {
		json_object_set_new(wire, "present", json_boolean(answer->present));
		json_object_set_new(
			wire, "action", json_string(action_name((enum entry_action)answer->action))
		);
		json_object_set_new(wire, "matched", json_boolean(answer->matched));
		json_object_set_new(wire, "excepted", json_boolean(answer->exception));
		json_object_set_new(wire, "packets", json_integer((json_int_t)answer->packets));
		json_object_set_new(wire, "bytes", json_integer((json_int_t)answer->bytes));
		json_object_set_new(wire, "last", time_ms_json(answer->last_ms));
		struct revision revision = {answer->state.epoch, answer->state.number};
		json_object_set_new(wire, "revision", revision_json(revision));
	}
	json_object_set_new(why->body, "dataplane", wire);
	verdict_set(why);
	http_answer_json(why->request, 200, why->body);
	api_pending(why->api, -1);
	free(why);
}

static void why_collect(struct why *why)
{
	struct ledger *ledger = api_ledger(why->api);
	struct list_state state;
	ledger_state(ledger, &state);
	why->claims = json_array();
	why->exceptions = json_array();
	why->tried = json_array();
	entry_note(why, &why->indicator);
	ledger_claims_of(ledger, &why->indicator, false, claim_note, why);
	protect_each(api_control(why->api)->protect, protection_note, why);
	ledger_allows(ledger, allow_note, why);
	ledger_immunities_of(ledger, &why->indicator, immunity_note, why);
	denials_each(api_denials(why->api), tried_note, why);
	json_t *entries = json_array();
	for (size_t i = 0; i < why->n_entries; i++)
		json_array_append_new(entries, entry_json(&why->entries[i]));
	json_t *mirror = api_mirror(why->api, &why->indicator);
	why->body = json_pack(
		"{s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o}",
		"indicator",
		indicator_json(&why->indicator),
		"id",
		id_json(&why->indicator),
		"revision",
		revision_json(state.revision),
		"claims",
		why->claims,
		"more_claims",
		why->more,
		"entries",
		entries,
		"exceptions",
		why->exceptions,
		"tried",
		why->tried,
		"f5xc",
		mirror ? mirror : json_null()
	);
}

static void route_why(void *ctx, struct http_request *request)
{
	struct api *api = ctx;
	const char *text = http_request_rest(request);
	struct indicator indicator;
	struct indicator_error error;
	if (indicator_parse(text, strlen(text), &indicator, &error) < 0) {
		char message[256];
		snprintf(message, sizeof(message), "column %zu: %s", error.column, error.reason);
		http_answer_error(request, 400, message, NULL);
		return;
	}
	struct why *why = calloc(1, sizeof(*why));
	if (!why) {
		http_answer_error(request, 500, "no memory", NULL);
		return;
	}
	why->api = api;
	why->request = request;
	why->indicator = indicator;
	why_collect(why);
	const struct api_dataplane *dataplane = api_dataplane(api);
	const struct entry *entry = entry_deciding(why, now_seconds());
	api_pending(api, 1);
	if (!dataplane->lookup
	    || dataplane->lookup(
		       dataplane->ctx,
		       entry ? &entry->indicator : &why->indicator,
		       lookup_answered,
		       why
	       ) < 0)
		lookup_answered(why, NULL);
}

static const struct http_route routes[] = {
	{"GET",
	 "/v1/why/{}",
	 ROLE_VIEWER,
	 0,
	 route_why,
	 "what holds an indicator, and the verdict"},
};

int api_why_routes(struct api *api, struct http_server *server)
{
	return http_server_routes(server, routes, sizeof(routes) / sizeof(routes[0]), api);
}
