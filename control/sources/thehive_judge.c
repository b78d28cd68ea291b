// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive_judge.h"

#include "control/conf.h"
#include "control/sources/thehive_indicator.h"
#include "rules/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PAP_RED 3
#define TLP_RED 4

static const char *const pap_names[] = {"CLEAR", "GREEN", "AMBER", "RED"};

int hive_version_parse(const char *text, struct hive_version *ret_version)
{
	struct hive_version version;
	if (sscanf(text, "%3u.%3u", &version.major, &version.minor) != 2 || version.major == 0)
		return -EINVAL;
	*ret_version = version;
	return 0;
}

static const char *text_of(const json_t *object, const char *key, const char *other)
{
	const char *text = json_string_value(json_object_get(object, key));
	if (!text && other)
		text = json_string_value(json_object_get(object, other));
	return text ? text : "";
}

static int64_t number_of(const json_t *object, const char *key, const char *other)
{
	const json_t *number = json_object_get(object, key);
	if (!json_is_integer(number) && other)
		number = json_object_get(object, other);
	return json_integer_value(number);
}

// Copies what people wrote: shortened at a character, control characters made spaces.
static void words_take(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);
	bool cut = len >= size;
	if (cut) {
		len = size - 4;
		while (len > 0 && ((unsigned char)from[len] & 0xc0) == 0x80)
			len--;
	}
	for (size_t i = 0; i < len; i++)
		to[i] = (unsigned char)from[i] < ' ' || from[i] == 0x7f ? ' ' : from[i];
	memcpy(to + len, cut ? "…" : "", cut ? 4 : 1);
}

static void name_take(char name[HIVE_NAME_MAX], const char *from)
{
	words_take(name, HIVE_NAME_MAX, from);
}

// --- TLP and PAP

// 4, 5.0 and 5.1 have no AMBER+STRICT: their 3 is RED. Anything else is what is told to nobody.
static int tlp_of(const struct hive_rules *rules, const json_t *object)
{
	const json_t *value = json_object_get(object, "tlp");
	if (!json_is_integer(value))
		return -1;
	json_int_t tlp = json_integer_value(value);
	bool four = rules->version.major < 5
		|| (rules->version.major == 5 && rules->version.minor < 2);
	if (tlp < 0 || tlp > (four ? 2 : TLP_RED))
		return TLP_RED;
	return (int)tlp;
}

static int pap_of(const json_t *object, int without)
{
	const json_t *value = json_object_get(object, "pap");
	if (!value || json_is_null(value))
		return without;
	json_int_t pap = json_is_integer(value) ? json_integer_value(value) : PAP_RED;
	return pap < 0 || pap > PAP_RED ? PAP_RED : (int)pap;
}

static int stricter(int a, int b)
{
	return a > b ? a : b;
}

// --- the response action

struct response {
	enum {
		RESPONSE_UNSET,
		RESPONSE_ACTION,
		RESPONSE_NONE,
		RESPONSE_UNKNOWN
	} kind;
	enum claim_action action;
	int64_t duration; // seconds; 0: no end
	char text[64]; // as it was written
};

static bool text_is(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(text, word, len) == 0;
}

// A word of the value map, or one of the three that are always known. Leaves `response` where it is
// none.
static bool
word_find(const struct conf_thehive *conf, const char *text, size_t len, struct response *response)
{
	static const struct {
		const char *word;
		int action;
	} known[] = {
		{"enforce", CONF_ACTION_ENFORCE},
		{"monitor", CONF_ACTION_MONITOR},
		{"none", CONF_ACTION_NONE},
	};
	int action = 0;
	for (size_t i = 0; i < conf->n_responses && !action; i++) {
		if (!text_is(text, len, conf->responses[i].value))
			continue;
		action = conf->responses[i].action;
		response->duration = conf->responses[i].duration_s;
	}
	for (size_t i = 0; i < 3 && !action; i++)
		if (text_is(text, len, known[i].word))
			action = known[i].action;
	if (!action)
		return false;
	response->kind = action == CONF_ACTION_NONE ? RESPONSE_NONE : RESPONSE_ACTION;
	response->action = action == CONF_ACTION_MONITOR ? CLAIM_MONITOR : CLAIM_ENFORCE;
	return true;
}

// "enforce", "enforce 7d", "monitor:4h", a word of the map.
static struct response response_parse(const struct conf_thehive *conf, const char *text)
{
	struct response response = {.kind = RESPONSE_UNSET};
	text += strspn(text, " \t");
	size_t len = strlen(text);
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	if (len == 0)
		return response;
	words_take(response.text, sizeof(response.text), text);
	if (word_find(conf, text, len, &response))
		return response;
	size_t word = strcspn(text, " \t:"), rest = word + strspn(text + word, " \t:");
	if (word < len && word_find(conf, text, word, &response) && response.kind == RESPONSE_ACTION
	    && duration_parse(text + rest, len - rest, &response.duration) == 0)
		return response;
	response.kind = RESPONSE_UNKNOWN;
	return response;
}

// A value of any shape: text, an array of one; what is set and no text is no action we know.
static struct response response_of(const struct conf_thehive *conf, const json_t *value)
{
	if (json_is_array(value) && json_array_size(value) == 0)
		value = NULL;
	if (json_is_array(value) && json_array_size(value) == 1)
		value = json_array_get(value, 0);
	if (!value || json_is_null(value))
		return (struct response){.kind = RESPONSE_UNSET};
	if (json_is_string(value))
		return response_parse(conf, json_string_value(value));
	struct response response = {.kind = RESPONSE_UNKNOWN};
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	words_take(response.text, sizeof(response.text), text ? text : "?");
	free(text);
	return response;
}

// API v1: a list of {name, type, value}; v0: an object of {type: value, order}.
static struct response response_by_field(const struct conf_thehive *conf, const json_t *body)
{
	const json_t *fields = json_object_get(body, "customFields");
	size_t i;
	json_t *field;
	json_array_foreach(
		fields, i, field
	) if (strcmp(text_of(field, "name", NULL), conf->response_field)
	      == 0) return response_of(conf, json_object_get(field, "value"));
	const char *type;
	json_t *value;
	json_object_foreach(
		json_object_get(fields, conf->response_field), type, value
	) if (strcmp(type, "order") != 0) return response_of(conf, value);
	return (struct response){.kind = RESPONSE_UNSET};
}

static bool response_same(const struct response *a, const struct response *b)
{
	return a->kind == b->kind && a->action == b->action && a->duration == b->duration;
}

// What follows the prefix in one of our tags; NULL: it is none.
static const char *tag_word(const struct conf_thehive *conf, const json_t *tag)
{
	size_t prefix = strlen(conf->response_tag);
	const char *text = json_string_value(tag);
	if (!text || strncasecmp(text, conf->response_tag, prefix) != 0 || text[prefix] != ':')
		return NULL;
	return text + prefix + 1;
}

// Tags of observables say other things too (the gateway's own do): only an action's word counts.
static bool word_known(const struct conf_thehive *conf, const char *text)
{
	struct response response;
	size_t len = strlen(text);
	return word_find(conf, text, len, &response)
		|| word_find(conf, text, strcspn(text, " \t:"), &response);
}

// All tags of the prefix must agree; "none" holds over others.
static struct response
response_by_tag(const struct conf_thehive *conf, const json_t *body, bool observable)
{
	struct response found = {.kind = RESPONSE_UNSET};
	size_t i;
	json_t *tag;
	json_array_foreach(json_object_get(body, "tags"), i, tag)
	{
		const char *word = tag_word(conf, tag);
		if (!word || strcasecmp(word, HIVE_FALSE_POSITIVE) == 0
		    || (observable && !word_known(conf, word)))
			continue;
		struct response one = response_parse(conf, word);
		if (one.kind == RESPONSE_NONE)
			return one;
		if (found.kind != RESPONSE_UNSET && !response_same(&found, &one)) {
			found.kind = RESPONSE_UNKNOWN;
			words_take(found.text, sizeof(found.text), "tags that disagree");
		} else if (one.kind != RESPONSE_UNSET) {
			found = one;
		}
	}
	return found;
}

static struct response response_find(const struct conf_thehive *conf, const json_t *body)
{
	struct response field = {.kind = RESPONSE_UNSET}, tag = {.kind = RESPONSE_UNSET};
	if (conf->response_field && *conf->response_field)
		field = response_by_field(conf, body);
	if (conf->response_tag && *conf->response_tag)
		tag = response_by_tag(conf, body, false);
	return tag.kind == RESPONSE_NONE || field.kind == RESPONSE_UNSET ? tag : field;
}

// --- the case

struct closing {
	bool closed, true_positive, false_positive;
	const char *status;
};

static bool status_among(char *const *list, size_t n, const char *status)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], status) == 0)
			return true;
	return false;
}

static int closing_of(const struct hive_rules *rules, const json_t *body, struct closing *ret)
{
	const char *status = text_of(body, "status", NULL);
	const char *stage = text_of(body, "stage", NULL);
	struct closing closing = {.status = status};
	if (rules->version.major < 5) {
		if (!*status)
			return -EINVAL;
		closing.closed = strcmp(status, "Open") != 0;
		const char *resolution = text_of(body, "resolutionStatus", NULL);
		closing.true_positive = strcmp(status, "Resolved") == 0
			&& strcmp(resolution, "TruePositive") == 0;
		if (strcmp(status, "Resolved") == 0 && *resolution)
			closing.status = resolution;
		closing.false_positive = strcmp(status, "Resolved") == 0
			&& strcmp(resolution, "FalsePositive") == 0;
		*ret = closing;
		return 0;
	}
	if (!*stage || !*status)
		return -EINVAL;
	const char *extended = text_of(body, "extendedStatus", NULL); // API v0
	if (*extended)
		closing.status = extended;
	closing.closed = strcmp(stage, "Closed") == 0;
	const struct conf_thehive *conf = rules->conf;
	closing.true_positive = closing.closed
		&& status_among(conf->true_positive, conf->n_true_positive, closing.status);
	closing.false_positive = closing.closed
		&& status_among(conf->false_positive, conf->n_false_positive, closing.status);
	*ret = closing;
	return 0;
}

// Without its time, that of the last change.
static int64_t closed_at(const json_t *body)
{
	int64_t closed_ms = number_of(body, "endDate", NULL);
	if (closed_ms <= 0)
		closed_ms = number_of(body, "_updatedAt", "updatedAt");
	return closed_ms / 1000;
}

static int64_t until_of(const struct hive_judgement *judgement, int64_t duration)
{
	int64_t until = judgement->closed_at + duration;
	return duration == 0 || until > UNTIL_MAX ? UNTIL_FOREVER : until;
}

static void verdict_take(
	const struct hive_rules *rules,
	const json_t *body,
	const struct closing *closing,
	struct hive_judgement *judgement
)
{
	judgement->closed = closing->closed;
	judgement->closed_at = closed_at(body);
	if (!closing->true_positive) {
		judgement->verdict = HIVE_OPEN;
		judgement->false_positive = closing->false_positive;
		if (closing->false_positive)
			judgement->immune_until
				= until_of(judgement, (int64_t)rules->conf->immunity_days * 86400);
		snprintf(
			judgement->why,
			sizeof(judgement->why),
			closing->closed ? "the case is closed as %.60s"
					: "the case is open (%.60s)",
			closing->status
		);
		return;
	}
	struct response response = response_find(rules->conf, body);
	judgement->action = response.action;
	judgement->until = until_of(judgement, response.duration);
	switch (response.kind) {
	case RESPONSE_UNSET:
	case RESPONSE_NONE:
		judgement->verdict = HIVE_NONE;
		judgement->by_observable = response.kind == RESPONSE_UNSET;
		snprintf(
			judgement->why,
			sizeof(judgement->why),
			response.kind == RESPONSE_NONE ? "the response action is none"
						       : "the case has no response action"
		);
		break;
	case RESPONSE_UNKNOWN:
		judgement->verdict = HIVE_UNCLEAR;
		snprintf(
			judgement->why,
			sizeof(judgement->why),
			"the response action \"%s\" is not known: write enforce, monitor or none, "
			"with a duration as in \"enforce 7d\"",
			response.text
		);
		break;
	case RESPONSE_ACTION:
		judgement->verdict = HIVE_DENY;
		break;
	}
}

int hive_case_judge(
	const struct hive_rules *rules,
	const json_t *body,
	const char *id,
	struct hive_judgement *ret_judgement,
	const char **ret_reason
)
{
	struct hive_judgement judgement = {.until = UNTIL_FOREVER};
	struct closing closing;
	const char *found = text_of(body, "_id", "id");
	if (!json_is_object(body) || strcasecmp(text_of(body, "_type", NULL), "case") != 0
	    || !hive_id_valid(found) || (id && strcmp(found, id) != 0)) {
		*ret_reason = "the answer is not the case that was asked for";
		return -EINVAL;
	}
	if (closing_of(rules, body, &closing) < 0) {
		*ret_reason = "the case has no status";
		return -EINVAL;
	}
	memcpy(judgement.id, found, strlen(found) + 1);
	snprintf(
		judgement.number,
		sizeof(judgement.number),
		"%" PRId64,
		number_of(body, "number", "caseId")
	);
	words_take(judgement.title, sizeof(judgement.title), text_of(body, "title", NULL));
	const char *by = text_of(body, "_updatedBy", "updatedBy");
	name_take(judgement.updated_by, *by ? by : text_of(body, "_createdBy", "createdBy"));
	judgement.updated_ms = number_of(body, "_updatedAt", "updatedAt");
	if (judgement.updated_ms == 0)
		judgement.updated_ms = number_of(body, "_createdAt", "createdAt");
	judgement.tlp = tlp_of(rules, body);
	judgement.pap = pap_of(body, PAP_RED);
	verdict_take(rules, body, &closing, &judgement);
	*ret_judgement = judgement;
	return 0;
}

// --- observables

void hive_findings_fini(struct hive_findings *findings)
{
	free(findings->list);
	*findings = (struct hive_findings){0};
}

static struct hive_finding *finding_add(struct hive_findings *findings)
{
	if (findings->n == findings->room) {
		size_t room = findings->room ? findings->room * 2 : 16;
		struct hive_finding *list = realloc(findings->list, room * sizeof(*list));
		if (!list)
			return NULL;
		findings->list = list;
		findings->room = room;
	}
	struct hive_finding *finding = &findings->list[findings->n++];
	*finding = (struct hive_finding){0};
	return finding;
}

bool hive_observables_count(const struct hive_judgement *judgement, int64_t now)
{
	return judgement->verdict == HIVE_DENY
		|| (judgement->verdict == HIVE_NONE && judgement->by_observable)
		|| judgement->immune_until > now;
}

// As which of the known types its data is read; NULL: the type does not count.
static const char *type_read(const struct conf_thehive *conf, const char *type)
{
	for (size_t i = 0; i < conf->n_types; i++)
		if (strcasecmp(conf->types[i].type, type) == 0)
			return conf->types[i].as;
	for (size_t i = 0; i < conf->n_data_types; i++)
		if (strcasecmp(conf->data_types[i], type) == 0)
			return conf->data_types[i];
	return NULL;
}

static bool marked_false(const struct conf_thehive *conf, const json_t *body)
{
	size_t i;
	json_t *tag;
	json_array_foreach(json_object_get(body, "tags"), i, tag)
	{
		const char *word = conf->response_tag ? tag_word(conf, tag) : NULL;
		if (word && strcasecmp(word, HIVE_FALSE_POSITIVE) == 0)
			return true;
	}
	return false;
}

// What the observable's own tag says, into the finding. HIVE_CLAIM: it is denied.
static enum hive_finding_kind own_response(
	const struct hive_rules *rules,
	const struct hive_judgement *judgement,
	const json_t *body,
	struct hive_finding *finding
)
{
	struct response own = {.kind = RESPONSE_UNSET};
	if (rules->conf->response_tag && *rules->conf->response_tag)
		own = response_by_tag(rules->conf, body, true);
	finding->action = judgement->action;
	finding->until = judgement->until;
	switch (own.kind) {
	case RESPONSE_ACTION:
		finding->action = own.action;
		finding->until = until_of(judgement, own.duration);
		return HIVE_CLAIM;
	case RESPONSE_NONE:
		snprintf(finding->why, HIVE_WHY_MAX, "its own tag says none");
		return HIVE_IGNORED;
	case RESPONSE_UNKNOWN:
		snprintf(
			finding->why,
			HIVE_WHY_MAX,
			"its tag \"%s\" is not clear: write it as enforce, monitor:4h or none",
			own.text
		);
		return HIVE_REFUSED;
	case RESPONSE_UNSET:
		break;
	}
	if (judgement->verdict == HIVE_DENY)
		return HIVE_CLAIM;
	snprintf(finding->why, HIVE_WHY_MAX, "the case has no response action");
	return HIVE_IGNORED;
}

// HIVE_CLAIM, HIVE_IMMUNE: its indicators are to be looked at.
static enum hive_finding_kind observable_gate(
	const struct hive_rules *rules,
	const struct hive_judgement *judgement,
	const json_t *body,
	struct hive_finding *finding
)
{
	const char *type = text_of(body, "dataType", NULL);
	char *why = finding->why;
	if (!type_read(rules->conf, type)) {
		snprintf(why, HIVE_WHY_MAX, "its type %.40s does not count", type);
		return HIVE_IGNORED;
	}
	if (judgement->false_positive) {
		snprintf(why, HIVE_WHY_MAX, "the case is closed as a false positive");
		return marked_false(rules->conf, body) ? HIVE_IMMUNE : HIVE_IGNORED;
	}
	if (!json_is_true(json_object_get(body, "ioc"))) {
		snprintf(why, HIVE_WHY_MAX, "it is not marked as IOC");
		return HIVE_IGNORED;
	}
	enum hive_finding_kind own = own_response(rules, judgement, body, finding);
	if (own != HIVE_CLAIM)
		return own;
	int pap = stricter(judgement->pap, pap_of(body, judgement->pap));
	if (pap > rules->conf->max_pap) {
		snprintf(
			why,
			HIVE_WHY_MAX,
			"PAP:%s forbids it: at most PAP:%s is denied (max_pap)",
			pap_names[pap],
			pap_names[rules->conf->max_pap]
		);
		return HIVE_REFUSED;
	}
	return HIVE_CLAIM;
}

static int finding_single(
	struct hive_findings *findings,
	const struct hive_finding *model,
	enum hive_finding_kind kind,
	const char *why
)
{
	struct hive_finding *finding = finding_add(findings);
	if (!finding)
		return -ENOMEM;
	*finding = *model;
	finding->kind = kind;
	words_take(finding->why, sizeof(finding->why), why);
	return 0;
}

// One address, or one name: for "domain" the name alone.
static int immunity_find(
	struct hive_findings *findings,
	const struct hive_finding *model,
	const struct hive_indicators *found
)
{
	struct hive_finding one = *model;
	one.indicator = found->list[0];
	struct indicator *n = &one.indicator;
	if (n->kind == INDICATOR_NAME)
		n->subtree = 0;
	bool host = n->kind == INDICATOR_NAME
		|| (n->kind == INDICATOR_NET && n->prefix_len == (n->family == 4 ? 32 : 128));
	if (found->n != 1 || found->hold || !host)
		return finding_single(
			findings,
			model,
			HIVE_REFUSED,
			"only single addresses and names can be immune"
		);
	return finding_single(findings, &one, HIVE_IMMUNE, "");
}

static int indicators_find(
	struct hive_findings *findings,
	const struct hive_finding *model,
	enum hive_finding_kind kind,
	const char *type,
	const char *data
)
{
	struct hive_indicators found;
	const char *reason = "";
	if (hive_indicators_parse(type, data, &found, &reason) < 0)
		return finding_single(findings, model, HIVE_REFUSED, reason);
	if (kind == HIVE_IMMUNE)
		return immunity_find(findings, model, &found);
	for (size_t i = 0; i < found.n; i++) {
		struct hive_finding one = *model;
		one.indicator = found.list[i];
		int failed = finding_single(
			findings,
			&one,
			found.hold ? HIVE_HELD : HIVE_CLAIM,
			found.hold ? "held: the URL names one page, its host would be denied whole"
				   : ""
		);
		if (failed)
			return failed;
	}
	return 0;
}

json_t *hive_observable_copy(const json_t *body)
{
	static const char *const keys[]
		= {"_id", "id", "dataType", "data", "ioc", "tags", "tlp", "pap"};
	json_t *copy = json_object();
	for (size_t i = 0; copy && i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *value = json_object_get(body, keys[i]);
		if (value && json_object_set(copy, keys[i], value) < 0) {
			json_decref(copy);
			copy = NULL;
		}
	}
	return copy;
}

int hive_observable_judge(
	const struct hive_rules *rules,
	const struct hive_judgement *judgement,
	const json_t *body,
	struct hive_findings *findings,
	const char **ret_reason
)
{
	const char *id = text_of(body, "_id", "id"), *type = text_of(body, "dataType", NULL);
	const char *data = text_of(body, "data", NULL);
	if (!json_is_object(body) || !hive_id_valid(id) || !*type
	    || !json_is_boolean(json_object_get(body, "ioc"))) {
		*ret_reason = "the answer holds something that is no observable";
		return -EINVAL;
	}
	struct hive_finding model = {.tlp = stricter(judgement->tlp, tlp_of(rules, body))};
	memcpy(model.id, id, strlen(id) + 1);
	words_take(model.data, sizeof(model.data), data);
	enum hive_finding_kind gate = observable_gate(rules, judgement, body, &model);
	if (gate != HIVE_CLAIM && gate != HIVE_IMMUNE) {
		char why[HIVE_WHY_MAX];
		memcpy(why, model.why, sizeof(why));
		return finding_single(findings, &model, gate, why);
	}
	return indicators_find(findings, &model, gate, type_read(rules->conf, type), data);
}
