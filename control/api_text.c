// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/api_text.h"

#include "rules/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t now_seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

json_t *text_json(const char *text)
{
	json_t *json = json_string(text ? text : "");
	return json ? json : json_string("?");
}

json_t *time_json(int64_t seconds)
{
	char text[24];
	if (seconds == 0)
		return json_null();
	until_print(seconds, text);
	return json_string(text);
}

json_t *time_ms_json(int64_t ms)
{
	return time_json(ms / 1000);
}

json_t *revision_json(struct revision revision)
{
	return json_sprintf("%" PRIu64 ".%" PRIu64, revision.epoch, revision.number);
}

json_t *state_json(const struct list_state *state)
{
	char digest[DIGEST_TEXT_MAX];
	digest_print(state->digest, digest);
	return json_pack(
		"{s:o, s:I, s:s}",
		"revision",
		revision_json(state->revision),
		"count",
		(json_int_t)state->count,
		"digest",
		digest
	);
}

json_t *indicator_json(const struct indicator *indicator)
{
	char text[INDICATOR_TEXT_MAX];
	indicator_print(indicator, text);
	return json_string(text);
}

json_t *id_json(const struct indicator *indicator)
{
	return json_sprintf("%016" PRIx64, indicator_id(indicator));
}

const char *action_name(enum entry_action action)
{
	switch (action) {
	case ENTRY_ENFORCE:
		return "enforce";
	case ENTRY_MONITOR:
		return "monitor";
	case ENTRY_INERT:
		break;
	}
	return "inert";
}

static const char *claim_state_name(enum claim_state state)
{
	switch (state) {
	case CLAIM_LIVE:
		return "live";
	case CLAIM_ORPHANED:
		return "orphaned";
	case CLAIM_AWAY:
		return "away";
	case CLAIM_HELD:
		break;
	}
	return "held";
}

json_t *claim_json(struct ledger *ledger, const struct claim *claim)
{
	json_t *object = json_object();
	json_object_set_new(object, "id", json_integer(claim->id));
	json_object_set_new(object, "indicator", indicator_json(&claim->indicator));
	json_object_set_new(object, "source", text_json(claim->source));
	if (claim->local)
		json_object_set_new(object, "local", json_true());
	json_object_set_new(object, "ref", text_json(claim->ref));
	if (claim->case_number && claim->case_number[0])
		json_object_set_new(object, "case", text_json(claim->case_number));
	json_object_set_new(object, "author", text_json(claim->author));
	if (claim->author_inferred)
		json_object_set_new(object, "author_inferred", json_true());
	json_object_set_new(object, "reason", text_json(claim->reason));
	json_object_set_new(
		object,
		"action",
		json_string(claim->action == CLAIM_ENFORCE ? "enforce" : "monitor")
	);
	json_object_set_new(object, "created", time_json(claim->created));
	json_object_set_new(object, "until", time_json(claim->until));
	json_object_set_new(object, "state", json_string(claim_state_name(claim->state)));
	if (claim->orphaned_since)
		json_object_set_new(object, "orphaned_since", time_json(claim->orphaned_since));
	if (ledger_source_gone(ledger, claim->source))
		json_object_set_new(object, "source_gone", json_true());
	return object;
}

json_t *entry_json(const struct entry *entry)
{
	return json_pack(
		"{s:o, s:o, s:s, s:o, s:o}",
		"id",
		id_json(&entry->indicator),
		"indicator",
		indicator_json(&entry->indicator),
		"action",
		action_name(entry_action_at(entry, now_seconds())),
		"enforce_until",
		time_json(entry->enforce_until),
		"monitor_until",
		time_json(entry->monitor_until)
	);
}

void caller_ref(const struct http_caller *caller, char ref[128])
{
	snprintf(ref, 128, "%s", caller->name);
	char *at = strrchr(ref, '@');
	if (at && caller->uid == UINT32_MAX)
		*at = '\0';
}

// --- bodies

static bool bad(struct http_request *request, const char *key, const char *what)
{
	char message[192];
	snprintf(message, sizeof(message), "%s: %s", key, what);
	http_answer_error(request, 400, message, NULL);
	return false;
}

bool body_indicator(struct http_request *request, json_t *body, struct indicator *ret_indicator)
{
	const char *text = json_string_value(json_object_get(body, "indicator"));
	struct indicator_error error;
	if (!text)
		return bad(request, "indicator", "a text is expected, as \"203.0.113.7\"");
	size_t len = json_string_length(json_object_get(body, "indicator"));
	if (indicator_parse(text, len, ret_indicator, &error) == 0)
		return true;
	char what[160];
	snprintf(what, sizeof(what), "column %zu: %s", error.column, error.reason);
	return bad(request, "indicator", what);
}

bool body_reason(struct http_request *request, json_t *body, bool needed, const char **ret_reason)
{
	json_t *value = json_object_get(body, "reason");
	if (value && !json_is_string(value))
		return bad(request, "reason", "a text is expected");
	const char *reason = value ? json_string_value(value) : "";
	if (needed && strspn(reason, " \t\r\n") == strlen(reason))
		return bad(request, "reason", "needed: say why, for those who read the audit");
	if (strlen(reason) > REASON_MAX)
		return bad(request, "reason", "longer than 500 octets");
	*ret_reason = reason;
	return true;
}

bool body_bool(struct http_request *request, json_t *body, const char *key, bool *ret_value)
{
	json_t *value = json_object_get(body, key);
	if (value && !json_is_boolean(value))
		return bad(request, key, "true or false is expected");
	*ret_value = json_is_true(value);
	return true;
}

bool body_until(
	struct http_request *request,
	json_t *body,
	int64_t otherwise,
	bool never,
	int64_t *ret_until
)
{
	json_t *value = json_object_get(body, "for");
	int64_t seconds = otherwise;
	if (value && !json_is_string(value))
		return bad(request, "for", "a text is expected, as \"4h\" or \"7d\"");
	const char *text = json_string_value(value);
	if (text && strcmp(text, "never") == 0) {
		if (!never)
			return bad(request, "for", "needs an end, at most 24h");
		*ret_until = UNTIL_FOREVER;
		return true;
	}
	if (text && duration_parse(text, strlen(text), &seconds) < 0)
		return bad(request, "for", "a duration is expected, as \"15m\", \"4h\" or \"7d\"");
	*ret_until = now_seconds() + seconds;
	return true;
}

bool query_number(
	struct http_request *request,
	const char *name,
	int64_t otherwise,
	int64_t max,
	int64_t *ret_number
)
{
	const char *text = http_request_query(request, name);
	*ret_number = otherwise;
	if (!text)
		return true;
	char *end;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	if (errno || end == text || *end || number < 0)
		return bad(request, name, "a number is expected");
	*ret_number = number < max ? number : max;
	return true;
}
