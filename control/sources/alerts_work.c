// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One alert after the other, one request at a time.
//
//   CREATE ─> CASE ─┬─> PROMOTE ──────────────> DONE
//     │exists       └─> MERGE ─> COMMENT (5) ──> DONE
//   SEARCH ─> READ ─> (part of a case? DONE: CASE)
//
// After an answer that is lost or tells nothing, what was asked for may have happened: CREATE goes
// on with SEARCH, PROMOTE and MERGE with READ, COMMENT with COMMENT_SEARCH.

#include "control/sources/alerts_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REFUSALS_MAX 3
#define INDEX_MS 500 // TheHive's index is a second behind
#define COMMENT_MAX 30000

enum outcome {
	GOOD,
	MISSING, // 404 in TheHive's own words
	EXISTS,
	REFUSED, // will not become better
	TROUBLE, // told nothing: perhaps done
};

static void step_ask(struct alerts *alerts);

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static const char *id_of(const json_t *object)
{
	const char *id = text_of(object, "_id");
	return *id ? id : text_of(object, "id");
}

void alert_job_clear(struct alert_job *job)
{
	json_decref(job->alert);
	*job = (struct alert_job){0};
}

// --- bodies

// Before 5.2: 3 is RED, and there is no AMBER+STRICT.
static int tlp_of(const struct alerts *alerts, const json_t *alert)
{
	int tlp = (int)json_integer_value(json_object_get(alert, "tlp"));
	bool five_two = alerts->version.major > 5
		|| (alerts->version.major == 5 && alerts->version.minor >= 2);
	return five_two || tlp < 3 ? tlp : 3;
}

static json_t *observables_of(const json_t *alert)
{
	json_t *list = json_array(), *one;
	size_t i;
	json_array_foreach(json_object_get(alert, "observables"), i, one)
	{
		json_array_append_new(
			list,
			json_pack(
				"{s:O, s:O, s:O, s:O, s:O}",
				"dataType",
				json_object_get(one, "type"),
				"data",
				json_object_get(one, "data"),
				"ioc",
				json_object_get(one, "ioc"),
				"message",
				json_object_get(one, "message"),
				"tags",
				json_object_get(one, "tags")
			)
		);
	}
	return list;
}

// Where TheHive does not take the observables, the description names them.
static json_t *description_of(const struct alert_job *job)
{
	const char *text = text_of(job->alert, "description");
	size_t i;
	json_t *one;
	if (!job->bare)
		return json_string(text);
	char *list = NULL;
	size_t len;
	FILE *to = open_memstream(&list, &len);
	if (!to)
		return NULL;
	fprintf(to,
		"%s\n\nTheHive did not take these as observables, add them by hand:\n\n~~~~\n",
		text);
	json_array_foreach(json_object_get(job->alert, "observables"), i, one)
		fprintf(to, "%s: %s\n", text_of(one, "type"), text_of(one, "data"));
	fputs("~~~~\n", to);
	json_t *made = fclose(to) == 0 ? json_string(list) : NULL;
	free(list);
	return made;
}

static json_t *create_body(const struct alerts *alerts)
{
	const struct alert_job *job = &alerts->job;
	const json_t *alert = job->alert;
	json_t *body = json_pack(
		"{s:O, s:O, s:s, s:O, s:o, s:O, s:i, s:O, s:O, s:O}",
		"type",
		json_object_get(alert, "type"),
		"source",
		json_object_get(alert, "source"),
		"sourceRef",
		job->ref,
		"title",
		json_object_get(alert, "title"),
		"description",
		description_of(job),
		"severity",
		json_object_get(alert, "severity"),
		"tlp",
		tlp_of(alerts, alert),
		"pap",
		json_object_get(alert, "pap"),
		"date",
		json_object_get(alert, "date"),
		"tags",
		json_object_get(alert, "tags")
	);
	if (body && *text_of(alert, "link"))
		json_object_set(body, "externalLink", json_object_get(alert, "link"));
	if (body && !job->bare)
		json_object_set_new(
			body,
			alerts->version.major >= 5 ? "observables" : "artifacts",
			observables_of(alert)
		);
	return body;
}

static json_t *search_body(const struct alert_job *job)
{
	return json_pack(
		"{s:[{s:s}, {s:s, s:[{s:{s:s, s:O}}, {s:{s:s, s:O}}, {s:{s:s, s:s}}]}, {s:s, s:i, "
		"s:i}]}",
		"query",
		"_name",
		"listAlert",
		"_name",
		"filter",
		"_and",
		"_is",
		"_field",
		"type",
		"_value",
		json_object_get(job->alert, "type"),
		"_is",
		"_field",
		"source",
		"_value",
		json_object_get(job->alert, "source"),
		"_is",
		"_field",
		"sourceRef",
		"_value",
		job->ref,
		"_name",
		"page",
		"from",
		0,
		"to",
		1
	);
}

// Found again by the reference in its first line.
static json_t *comment_body(const struct alert_job *job)
{
	const char *text = text_of(job->alert, "description");
	return json_pack(
		"{s:o}",
		"message",
		json_sprintf(
			"stanch: alert %s of %s joined this case.\n\n%s\n\n%.*s",
			job->ref,
			text_of(job->alert, "source"),
			text_of(job->alert, "title"),
			(int)alert_cut(text, COMMENT_MAX),
			text
		)
	);
}

static json_t *comments_body(const struct alert_job *job)
{
	return json_pack(
		"{s:[{s:s, s:s}, {s:s}, {s:s, s:i, s:i}]}",
		"query",
		"_name",
		"getCase",
		"idOrName",
		job->case_id,
		"_name",
		"comments",
		"_name",
		"page",
		"from",
		0,
		"to",
		1000
	);
}

// --- the end of an alert

// Outlives the source: the ledger may commit after it.
static void done_committed(
	void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n
)
{
	(void)revision;
	(void)results;
	(void)n;
	struct control *control = ctx;
	struct alerts *alerts = control->alerts;
	if (!alerts || alerts->job.step != ALERT_DONE)
		return;
	struct alert_job *job = &alerts->job;
	job->asked = false;
	if (error) {
		alerts_trouble(alerts, "ledger", NULL, strerror(-error));
		job->step = job->id[0] ? ALERT_READ : ALERT_CREATE;
		return;
	}
	alerts->counters.opened += job->opened && !job->joined;
	alerts->counters.joined += job->joined;
	if (job->row)
		alerts_queue_remove(alerts, job->row, false);
	else
		alerts->at_listed++;
	alert_job_clear(job);
	alerts_go_soon(alerts);
}

static void notes_write(struct alerts *alerts, const char *refused)
{
	struct alert_job *job = &alerts->job;
	char note[48], row[32];
	json_int_t now = (json_int_t)time(NULL);
	snprintf(note, sizeof(note), "ref/%s", job->key);
	json_t *ref = json_pack(
		"{s:s, s:s, s:s, s:I}",
		"digest",
		text_of(job->alert, "digest"),
		"case",
		job->case_id,
		"number",
		job->number,
		"at",
		now
	);
	if (refused)
		json_object_set_new(ref, "refused", json_string(refused));
	alerts_remember(alerts, note, ref);
	snprintf(note, sizeof(note), "origin/%s", job->origin);
	if (job->case_id[0] && !refused)
		alerts_remember(
			alerts,
			note,
			json_pack(
				"{s:s, s:s, s:I, s:I}",
				"case",
				job->case_id,
				"number",
				job->number,
				"at",
				now,
				"n",
				(json_int_t)(job->joined ? job->n_origin + 1 : 1)
			)
		);
	if (job->row) {
		snprintf(row, sizeof(row), "queue/%016llx", (unsigned long long)job->row->number);
		ledger_note_set(alerts->control->ledger, ALERTS_OWNER, row, NULL);
	}
}

static void job_end(struct alerts *alerts, const char *what, const char *refused)
{
	struct alert_job *job = &alerts->job;
	struct ledger *ledger = alerts->control->ledger;
	char object[HIVE_ID_MAX + 24], actor[80];
	notes_write(alerts, refused);
	snprintf(actor, sizeof(actor), "alerts:%.64s", text_of(job->alert, "source"));
	snprintf(
		object,
		sizeof(object),
		"case %s",
		job->number[0]		  ? job->number
			: job->case_id[0] ? job->case_id
					  : "-"
	);
	json_t *detail = json_pack(
		"{s:s, s:s, s:s, s:s}",
		"type",
		text_of(job->alert, "type"),
		"ref",
		job->ref,
		"title",
		text_of(job->alert, "title"),
		"what",
		what
	);
	if (refused)
		json_object_set_new(detail, "why", json_string(refused));
	ledger_audit(ledger, actor, "alert", object, detail);
	json_decref(detail);
	job->step = ALERT_DONE;
	job->asked = true;
	const struct submit nothing = {.actor = {.name = "alerts", .reason = ""}};
	ledger_submit(ledger, &nothing, done_committed, alerts->control);
}

static void job_refuse(struct alerts *alerts, const json_t *body, const char *why)
{
	struct alert_job *job = &alerts->job;
	const char *message = text_of(body, "message");
	char text[256];
	snprintf(
		text,
		sizeof(text),
		"%s%s%.*s",
		why,
		*message ? ": " : "",
		(int)alert_cut(message, 160),
		message
	);
	log_warning("alerts: %s of %s: %s", job->ref, text_of(job->alert, "source"), text);
	alerts->counters.refused++;
	if (json_array_size(alerts->refused) == ALERTS_REFUSED_SHOWN)
		json_array_remove(alerts->refused, 0);
	json_array_append_new(
		alerts->refused,
		json_pack(
			"{s:s, s:s, s:s, s:I}",
			"source",
			text_of(job->alert, "source"),
			"alert",
			job->ref,
			"why",
			text,
			"when",
			(json_int_t)time(NULL)
		)
	);
	job_end(alerts, "refused", text);
}

// --- which step is next

// The alert is there: the case of its origin, or a new one?
static void place_find(struct alerts *alerts)
{
	struct alert_job *job = &alerts->job;
	if (!job->update) {
		json_t *origin = alerts_recall(alerts, "origin", job->origin);
		job->n_origin = json_integer_value(json_object_get(origin, "n"));
		const char *id = text_of(origin, "case");
		bool room = job->n_origin < ALERTS_OF_CASE_MAX;
		snprintf(
			job->case_id,
			sizeof(job->case_id),
			"%s",
			room && hive_id_valid(id) ? id : ""
		);
		snprintf(job->number, sizeof(job->number), "%s", text_of(origin, "number"));
		json_decref(origin);
	}
	job->step = job->case_id[0] ? ALERT_CASE : ALERT_PROMOTE;
}

static void pause_for(struct alerts *alerts, int64_t ms)
{
	const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	alerts->quiet_until_ms = alerts_clock_ms() + ms;
	evtimer_add(alerts->go, &wait);
}

static void create_come(struct alerts *alerts, enum outcome outcome, const json_t *body)
{
	struct alert_job *job = &alerts->job;
	if (outcome == GOOD && hive_id_valid(id_of(body))) {
		snprintf(job->id, sizeof(job->id), "%s", id_of(body));
		place_find(alerts);
	} else if (outcome == GOOD || outcome == EXISTS) {
		job->step = ALERT_SEARCH;
	} else if (!job->bare && json_array_size(json_object_get(job->alert, "observables"))) {
		job->bare = true;
		log_warning(
			"alerts: %s: without its observables: %.160s",
			job->ref,
			text_of(body, "message")
		);
	} else {
		job_refuse(alerts, body, "TheHive does not take it");
	}
}

static void search_come(struct alerts *alerts, const json_t *body)
{
	struct alert_job *job = &alerts->job;
	const json_t *found = json_array_get(body, 0);
	if (hive_id_valid(id_of(found)) && strcmp(text_of(found, "sourceRef"), job->ref) == 0) {
		snprintf(job->id, sizeof(job->id), "%s", id_of(found));
		job->step = ALERT_READ;
		return;
	}
	// Not made, or not in the index yet: then making it says that it exists.
	job->step = ALERT_CREATE;
	pause_for(alerts, INDEX_MS);
}

static void read_come(struct alerts *alerts, enum outcome outcome, const json_t *body)
{
	struct alert_job *job = &alerts->job;
	if (outcome == MISSING) {
		job_refuse(alerts, NULL, "somebody deleted it in TheHive");
		return;
	}
	const char *case_id = text_of(body, "caseId");
	if (!*case_id)
		case_id = text_of(body, "case");
	if (hive_id_valid(case_id)) {
		if (job->joined && strcmp(job->case_id, case_id) != 0) {
			job->joined = false; // an analyst put it elsewhere
			job->number[0] = '\0';
		}
		if (strcmp(job->case_id, case_id) != 0)
			job->number[0] = '\0';
		snprintf(job->case_id, sizeof(job->case_id), "%s", case_id);
		if (job->joined && alerts->version.major >= 5)
			job->step = ALERT_COMMENT_SEARCH;
		else
			job_end(alerts, job->joined ? "joined" : "opened", NULL);
	} else if (strcmp(text_of(body, "stage"), "Closed") == 0 || json_is_true(json_object_get(body, "read"))) {
		job->opened = job->joined = false;
		job->case_id[0] = job->number[0] = '\0';
		job_end(alerts, "closed as an alert by an analyst", NULL);
	} else {
		place_find(alerts);
	}
}

static bool case_open(const struct alerts *alerts, const json_t *body)
{
	if (alerts->version.major >= 5)
		return *text_of(body, "stage") && strcmp(text_of(body, "stage"), "Closed") != 0;
	return strcmp(text_of(body, "status"), "Open") == 0;
}

static void case_come(struct alerts *alerts, enum outcome outcome, const json_t *body)
{
	struct alert_job *job = &alerts->job;
	if (outcome == GOOD && case_open(alerts, body)) {
		snprintf(
			job->number,
			sizeof(job->number),
			"%lld",
			(long long)json_integer_value(json_object_get(body, "number"))
		);
		job->step = job->id[0] ? ALERT_MERGE : ALERT_CREATE;
	} else if (job->update) {
		alerts->counters.after_close++;
		job_end(alerts, "came changed after its case was closed: left out", NULL);
	} else {
		job->case_id[0] = job->number[0] = '\0';
		job->step = ALERT_PROMOTE;
	}
}

static void promote_come(struct alerts *alerts, enum outcome outcome, const json_t *body)
{
	struct alert_job *job = &alerts->job;
	if (outcome == GOOD && hive_id_valid(id_of(body))) {
		snprintf(job->case_id, sizeof(job->case_id), "%s", id_of(body));
		snprintf(
			job->number,
			sizeof(job->number),
			"%lld",
			(long long)json_integer_value(json_object_get(body, "number"))
		);
		job_end(alerts, "opened", NULL);
	} else if (outcome != GOOD && ++job->refusals >= REFUSALS_MAX) {
		job_refuse(alerts, body, "TheHive makes no case of it");
	} else {
		job->step = ALERT_READ;
		pause_for(alerts, INDEX_MS);
	}
}

static void merge_come(struct alerts *alerts, enum outcome outcome)
{
	struct alert_job *job = &alerts->job;
	if (outcome == GOOD) {
		job->step = ALERT_COMMENT;
		if (alerts->version.major < 5) // the description has it
			job_end(alerts, "joined", NULL);
		return;
	}
	// It cannot be merged with that case: rather one of its own than none.
	job->joined = false;
	job->update = false;
	job->case_id[0] = job->number[0] = '\0';
	job->step = ALERT_PROMOTE;
}

static void comments_come(struct alerts *alerts, const json_t *body)
{
	struct alert_job *job = &alerts->job;
	char begin[ALERT_REF_MAX + 64];
	size_t i;
	json_t *one;
	snprintf(begin, sizeof(begin), "stanch: alert %s of ", job->ref);
	json_array_foreach(body, i, one)
	{
		if (strncmp(text_of(one, "message"), begin, strlen(begin)) == 0) {
			job_end(alerts, "joined", NULL);
			return;
		}
	}
	job->step = ALERT_COMMENT;
}

// --- requests

static enum outcome outcome_of(const struct http_answer *answer, const json_t *body)
{
	long status = answer->status;
	if (answer->error || status >= 500 || status < 200 || status == 401 || status == 403
	    || status == 408 || status == 429)
		return TROUBLE;
	if (status == 404)
		return strcmp(text_of(body, "type"), "NotFoundError") == 0 ? MISSING : TROUBLE;
	if (status < 300)
		return body ? GOOD : TROUBLE;
	if (strcmp(text_of(body, "type"), "CreateError") == 0
	    && strstr(text_of(body, "message"), "exist"))
		return EXISTS;
	return REFUSED;
}

static const char *const step_names[] = {
	[ALERT_CREATE] = "creating an alert",
	[ALERT_SEARCH] = "looking for an alert",
	[ALERT_READ] = "reading an alert",
	[ALERT_CASE] = "reading a case",
	[ALERT_PROMOTE] = "making a case of an alert",
	[ALERT_MERGE] = "merging an alert with a case",
	[ALERT_COMMENT_SEARCH] = "reading comments",
	[ALERT_COMMENT] = "commenting a case",
	[ALERT_DONE] = "done",
};

static void trouble_come(struct alerts *alerts, const struct http_answer *answer)
{
	struct alert_job *job = &alerts->job;
	bool told = !answer->error && answer->status >= 200;
	const char *why = told && answer->status < 300 ? "the answer is no JSON, or was cut short"
		: told && answer->status == 404	       ? "404, but not from TheHive"
						       : NULL;
	if (job->step == ALERT_CREATE)
		job->step = ALERT_SEARCH;
	else if (job->step == ALERT_PROMOTE || job->step == ALERT_MERGE)
		job->step = ALERT_READ;
	else if (job->step == ALERT_COMMENT && answer->status == 403)
		job_end(alerts, "joined, without a comment: manageComment is missing", NULL);
	else if (job->step == ALERT_COMMENT)
		job->step = ALERT_COMMENT_SEARCH;
	if (job->step != ALERT_DONE)
		alerts_trouble(alerts, step_names[job->step], answer, why);
}

static void step_come(struct alerts *alerts, enum outcome outcome, const json_t *body)
{
	switch (alerts->job.step) {
	case ALERT_CREATE:
		create_come(alerts, outcome, body);
		break;
	case ALERT_SEARCH:
		search_come(alerts, body);
		break;
	case ALERT_READ:
		read_come(alerts, outcome, body);
		break;
	case ALERT_CASE:
		case_come(alerts, outcome, body);
		break;
	case ALERT_PROMOTE:
		promote_come(alerts, outcome, body);
		break;
	case ALERT_MERGE:
		merge_come(alerts, outcome);
		break;
	case ALERT_COMMENT_SEARCH:
		comments_come(alerts, body);
		break;
	case ALERT_COMMENT:
		job_end(alerts, outcome == GOOD ? "joined" : "joined, no comment taken", NULL);
		break;
	case ALERT_DONE:
		break;
	}
}

static void answer_come(void *ctx, const struct http_answer *answer)
{
	struct alerts *alerts = ctx;
	alerts->job.asked = false;
	json_t *body = json_loadb(answer->body ? answer->body : "", answer->body_len, 0, NULL);
	enum outcome outcome = outcome_of(answer, body);
	if (outcome == TROUBLE) {
		trouble_come(alerts, answer);
	} else {
		alerts_well(alerts);
		step_come(alerts, outcome, body);
	}
	json_decref(body);
	alerts_work(alerts);
}

static void ask(struct alerts *alerts, const char *method, const char *path, json_t *body)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	bool post = strcmp(method, "POST") == 0;
	json_decref(body);
	int error = post && !text ? -ENOMEM
				  : http_client_request(
					  alerts->client,
					  method,
					  path,
					  text,
					  text ? strlen(text) : 0,
					  answer_come,
					  alerts
				  );
	free(text);
	if (error)
		alerts_trouble(alerts, step_names[alerts->job.step], NULL, strerror(-error));
	else
		alerts->job.asked = true;
}

static void step_ask(struct alerts *alerts)
{
	struct alert_job *job = &alerts->job;
	bool five = alerts->version.major >= 5;
	char path[2 * HIVE_ID_MAX + 64];
	switch (job->step) {
	case ALERT_CREATE:
		ask(alerts, "POST", five ? "/api/v1/alert" : "/api/alert", create_body(alerts));
		break;
	case ALERT_SEARCH:
		ask(alerts, "POST", "/api/v1/query?name=stanch-alert", search_body(job));
		break;
	case ALERT_READ:
		snprintf(path, sizeof(path), "/api/v1/alert/%s", job->id);
		ask(alerts, "GET", path, NULL);
		break;
	case ALERT_CASE:
		snprintf(path, sizeof(path), "/api/v1/case/%s", job->case_id);
		ask(alerts, "GET", path, NULL);
		break;
	case ALERT_PROMOTE:
		job->opened = true;
		snprintf(path, sizeof(path), "/api/v1/alert/%s/case", job->id);
		ask(alerts, "POST", path, json_object());
		break;
	case ALERT_MERGE:
		job->joined = true;
		snprintf(
			path,
			sizeof(path),
			five ? "/api/v1/alert/%s/merge/%s" : "/api/alert/%s/merge/%s",
			job->id,
			job->case_id
		);
		ask(alerts, "POST", path, json_object());
		break;
	case ALERT_COMMENT_SEARCH:
		ask(alerts, "POST", "/api/v1/query?name=stanch-comments", comments_body(job));
		break;
	case ALERT_COMMENT:
		snprintf(path, sizeof(path), "/api/v1/case/%s/comment", job->case_id);
		ask(alerts, "POST", path, comment_body(job));
		break;
	case ALERT_DONE:
		break;
	}
}

// --- the next alert

static bool job_begin(struct alerts *alerts, json_t *alert, struct alert_row *row)
{
	struct alert_job *job = &alerts->job;
	*job = (struct alert_job){.alert = alert, .row = row, .step = ALERT_CREATE};
	alert_key_of(alert, job->key);
	alert_origin_of(alert, job->origin);
	snprintf(job->ref, sizeof(job->ref), "%s", text_of(alert, "ref"));
	if (!row) {
		snprintf(job->ref, sizeof(job->ref), "%.110s", text_of(alert, "ref"));
		snprintf(job->id, sizeof(job->id), "%s", text_of(alert, "id"));
		job->step = ALERT_READ;
		return true;
	}
	json_t *known = alerts_recall(alerts, "ref", job->key);
	const char *case_id = text_of(known, "case");
	if (known && !json_object_get(known, "refused") && hive_id_valid(case_id)) {
		job->update = true;
		snprintf(
			job->ref,
			sizeof(job->ref),
			"%.100s~%.8s",
			text_of(alert, "ref"),
			text_of(alert, "digest")
		);
		snprintf(job->case_id, sizeof(job->case_id), "%s", case_id);
		job->step = ALERT_CASE;
	}
	json_decref(known);
	return true;
}

static bool job_next(struct alerts *alerts)
{
	struct alert_row *row = TAILQ_FIRST(&alerts->queue);
	if (row && row->committed) {
		json_t *alert = alerts_queue_load_row(alerts, row);
		if (alert)
			return job_begin(alerts, alert, row);
		log_error("alerts: one that waits cannot be read: it is given up");
		alerts->counters.refused++;
		alerts_queue_remove(alerts, row, true);
		alerts_go_soon(alerts);
		return false;
	}
	json_t *listed = json_array_get(alerts->listed, alerts->at_listed);
	return listed && job_begin(alerts, json_incref(listed), NULL);
}

void alerts_work(struct alerts *alerts)
{
	if (!alerts->client || alerts->quiet_until_ms > alerts_clock_ms() || alerts->job.asked)
		return;
	if (alerts->job.alert || job_next(alerts))
		step_ask(alerts);
}
