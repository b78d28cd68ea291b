// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive_hook.h"

#include "rules/siphash.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

bool hive_id_valid(const char *id)
{
	size_t len
		= strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789~_-");
	return len > 0 && id[len] == '\0' && len < HIVE_ID_MAX;
}

// Copies an id, or "" where it is none.
static void id_take(char id[HIVE_ID_MAX], const char *text)
{
	id[0] = '\0';
	if (hive_id_valid(text))
		memcpy(id, text, strlen(text) + 1);
}

static int format_of(const json_t *body, enum hive_format *ret_format)
{
	const char *type = text_of(body, "_type");
	if (*text_of(body, "action") && strcmp(type, "Audit") == 0) {
		*ret_format = HIVE_FORMAT_5_1;
		return 0;
	}
	if (!*text_of(body, "operation"))
		return -EINVAL;
	if (strcasecmp(type, "audit") == 0)
		*ret_format = HIVE_FORMAT_5_0;
	else if (!*text_of(body, "organisationId"))
		*ret_format = HIVE_FORMAT_3;
	else if (text_of(body, "objectType")[0] >= 'a')
		*ret_format = HIVE_FORMAT_4_0;
	else
		*ret_format = HIVE_FORMAT_4_1;
	return 0;
}

static const char *operation_of(const json_t *body)
{
	const char *action = text_of(body, "action");
	return *action ? action : text_of(body, "operation");
}

static bool is_case(const json_t *object)
{
	return strcasecmp(text_of(object, "_type"), "case") == 0;
}

// The case inside an observable, task or comment; the key is the parent's type in TheHive 4.
static const json_t *parent_of(const json_t *object, const char *lower, const char *upper)
{
	const json_t *parent = json_object_get(object, lower);
	if (!json_is_object(parent))
		parent = json_object_get(object, upper);
	return json_is_object(parent) ? parent : NULL;
}

static const char *id_of(const json_t *object)
{
	const char *id = text_of(object, "_id");
	return *id ? id : text_of(object, "id");
}

static const char *organisation_of(const json_t *body)
{
	const json_t *organisation = json_object_get(body, "organisation");
	return json_is_object(organisation) ? text_of(organisation, "organisationId")
					    : text_of(body, "organisationId");
}

// The case that the event of another object belongs to, "" where there is none.
static const char *case_around(const json_t *body)
{
	const json_t *places[] = {
		json_object_get(body, "object"),
		json_object_get(body, "context"),
	};
	for (size_t i = 0; i < 2; i++) {
		const json_t *found = parent_of(places[i], "case", "Case");
		if (!found && is_case(places[i]))
			found = places[i];
		if (found)
			return id_of(found);
		const char *type = text_of(places[i], "_type");
		if (parent_of(places[i], "alert", "Alert") || strcasecmp(type, "alert") == 0
		    || strcasecmp(type, "organisation") == 0)
			return "";
	}
	const char *root = text_of(body, "rootId");
	return strcmp(root, organisation_of(body)) == 0 ? "" : root;
}

static const char *case_of(const json_t *body)
{
	const char *type = text_of(body, "objectType");
	if (strcasecmp(type, "case") == 0)
		return text_of(body, "objectId");
	// An alert became part of a case: its observables are imported without events of their own.
	const char *imported = text_of(json_object_get(body, "details"), "caseId");
	if (*imported)
		return imported;
	return strcasecmp(type, "alert") == 0 ? "" : case_around(body);
}

static bool says_closed(const json_t *object)
{
	return strcmp(text_of(object, "stage"), "Closed") == 0
		|| strcmp(text_of(object, "status"), "Resolved") == 0;
}

static void merged_read(const json_t *body, struct hive_hint *hint)
{
	const json_t *cases = json_object_get(json_object_get(body, "details"), "cases");
	size_t i;
	json_t *one;
	json_array_foreach(cases, i, one)
	{
		if (hint->n_merged == HIVE_MERGED_MAX)
			return;
		id_take(hint->merged[hint->n_merged], id_of(one));
		if (hint->merged[hint->n_merged][0])
			hint->n_merged++;
	}
}

static void closer_read(const json_t *body, struct hive_hint *hint)
{
	const char *actor = hint->format == HIVE_FORMAT_5_1 ? text_of(body, "_createdBy")
		: hint->format == HIVE_FORMAT_5_0	    ? text_of(body, "createdBy")
							    : "";
	if (strlen(actor) < HIVE_NAME_MAX)
		memcpy(hint->closer, actor, strlen(actor) + 1);
}

int hive_hook_read(const json_t *body, struct hive_hint *ret_hint, const char **ret_reason)
{
	static const uint8_t key[16] = "stanch request 1";
	struct hive_hint hint = {0};
	if (!json_is_object(body) || format_of(body, &hint.format) < 0) {
		*ret_reason = "no webhook of TheHive: neither action nor operation";
		return -EINVAL;
	}
	if (!*text_of(body, "objectType") || !*text_of(body, "objectId")) {
		*ret_reason = "no webhook of TheHive: objectType or objectId is missing";
		return -EINVAL;
	}
	id_take(hint.case_id, case_of(body));
	const char *request = text_of(body, "requestId");
	if (*request)
		hint.request = siphash64(key, request, strlen(request));
	if (strcasecmp(text_of(body, "objectType"), "case") == 0) {
		const json_t *details = json_object_get(body, "details");
		hint.deleted = strcasecmp(operation_of(body), "delete") == 0;
		hint.closed = !hint.deleted
			&& (says_closed(json_object_get(body, "object")) || says_closed(details));
		if (hint.closed && *text_of(details, "status"))
			closer_read(body, &hint);
		merged_read(body, &hint);
	}
	*ret_hint = hint;
	return 0;
}
