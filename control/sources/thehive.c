// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive.h"

#include "control/backoff.h"
#include "control/conf.h"
#include "control/log.h"
#include "control/secret.h"
#include "control/sources/thehive_internal.h"
#include "control/sources/thehive_setup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CASES_MAX 100000 // that wait; of more, hints are left to the listings
#define RETRY_MS 200
#define RETRY_MAX_MS 60000

int64_t hive_clock_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct timeval timeval_of(int64_t ms)
{
	return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

// --- cases that wait

struct hive_case *hive_case_get(struct thehive *hive, const char *id)
{
	struct hive_case *found;
	HASH_FIND_STR(hive->cases, id, found);
	if (found || HASH_COUNT(hive->cases) >= CASES_MAX)
		return found;
	found = calloc(1, sizeof(*found));
	if (!found)
		return NULL;
	snprintf(found->id, sizeof(found->id), "%s", id);
	HASH_ADD_STR(hive->cases, id, found);
	return found;
}

static void case_free(struct thehive *hive, struct hive_case *one)
{
	HASH_DEL(hive->cases, one);
	if (one->queued)
		TAILQ_REMOVE(&hive->queue, one, next);
	if (one->timer)
		event_free(one->timer);
	free(one);
}

static void case_queue(struct thehive *hive, struct hive_case *one)
{
	if (one->reading || one->writing) { // each reading sees what the one before wrote
		one->again = true;
		return;
	}
	if (!one->queued) {
		one->queued = true;
		TAILQ_INSERT_TAIL(&hive->queue, one, next);
	}
	hive_pump_soon(hive);
}

void hive_case_done(struct thehive *hive, struct hive_case *one)
{
	if (one->again && !one->reading && !one->writing) {
		one->again = false;
		case_queue(hive, one);
	}
	if (!one->queued && !one->reading && !one->writing
	    && !(one->timer && evtimer_pending(one->timer, NULL)))
		case_free(hive, one);
}

void hive_case_written(struct thehive *hive, const char *id, int error)
{
	struct hive_case *one;
	HASH_FIND_STR(hive->cases, id, one);
	if (!one)
		return;
	one->writing = false;
	if (error) { // nothing of it holds
		hive_known_put(hive, id, HIVE_OPEN, 0);
		hive_trouble(hive, "ledger", NULL, strerror(-error));
		hive_case_retry(hive, one);
	} else {
		hive_case_done(hive, one);
	}
}

void hive_case_retry(struct thehive *hive, struct hive_case *one)
{
	// While the source as a whole is in trouble, a case's failures are not its own.
	if (++one->attempts > HIVE_ATTEMPTS_MAX && hive->troubles <= 1) {
		log_warning("%s: case %s cannot be read: %s", hive->source, one->id, hive->trouble);
		hive_known_put(hive, one->id, HIVE_OPEN, 0); // the next listing tries again
		one->attempts = 0;
		hive_case_done(hive, one);
		return;
	}
	one->again = false;
	case_queue(hive, one);
}

// Hints that came while it ran are given their own delay.
static void later_come(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct hive_case *one = ctx;
	struct thehive *hive = one->hive;
	int64_t rest = one->hinted_ms + hive->conf->index_delay_ms - hive_clock_ms();
	if (rest > 0) {
		struct timeval wait = timeval_of(rest);
		evtimer_add(one->timer, &wait);
	}
	one->later = true;
	case_queue(hive, one);
}

static void case_hinted(struct thehive *hive, struct hive_case *one)
{
	one->hinted_ms = hive_clock_ms();
	one->hive = hive;
	if (!one->timer)
		one->timer = evtimer_new(hive->base, later_come, one);
	if (one->timer && !evtimer_pending(one->timer, NULL)) {
		struct timeval delay = timeval_of(hive->conf->index_delay_ms);
		evtimer_add(one->timer, &delay);
	}
	case_queue(hive, one);
}

void hive_case_hint(struct thehive *hive, const char *id)
{
	struct hive_case *one = hive_case_get(hive, id);
	if (one)
		case_hinted(hive, one);
}

// --- webhooks

bool hive_merged(const struct thehive *hive, const struct hive_case *one)
{
	if (one->merged_into[0])
		return true;
	for (size_t i = 0; one->delete_request && i < HIVE_MERGES_MAX; i++)
		if (hive->merges[i] == one->delete_request)
			return true;
	return false;
}

static void merge_note(struct thehive *hive, const struct hive_hint *hint)
{
	hive->merges[hive->n_merges++ % HIVE_MERGES_MAX] = hint->request;
	for (size_t i = 0; i < hint->n_merged; i++) {
		struct hive_case *gone = hive_case_get(hive, hint->merged[i]);
		if (!gone || strcmp(gone->id, hint->case_id) == 0)
			continue;
		memcpy(gone->merged_into, hint->case_id, sizeof(gone->merged_into));
		case_hinted(hive, gone);
	}
}

void thehive_hint(struct thehive *hive, const struct hive_hint *hint)
{
	hive->counters.hooks++;
	if (hint->n_merged > 0)
		merge_note(hive, hint);
	if (!hint->case_id[0])
		return;
	struct hive_case *one = hive_case_get(hive, hint->case_id);
	if (!one)
		return;
	one->closed |= hint->closed;
	if (hint->closer[0])
		memcpy(one->closer, hint->closer, sizeof(one->closer));
	if (hint->deleted) {
		one->deleted = true;
		one->delete_request = hint->request;
	}
	case_hinted(hive, one);
}

void thehive_hook_bad(struct thehive *hive)
{
	hive->counters.hooks_bad++;
}

// --- closed true positives as they were judged

static uint64_t known_key(const char *id)
{
	return siphash64(hive_hash_key, id, strlen(id));
}

static uint64_t *verdict_count(struct thehive *hive, uint8_t verdict)
{
	return verdict == HIVE_DENY    ? &hive->counters.denying
		: verdict == HIVE_NONE ? &hive->counters.none
				       : &hive->counters.unclear;
}

struct hive_known *hive_known_find(const struct thehive *hive, const char *id)
{
	uint64_t key = known_key(id);
	struct hive_known *found;
	HASH_FIND(hh, hive->known, &key, sizeof(key), found);
	return found;
}

void hive_known_drop(struct thehive *hive, struct hive_known *known)
{
	--*verdict_count(hive, known->verdict);
	HASH_DEL(hive->known, known);
	free(known);
}

struct hive_known *
hive_known_put(struct thehive *hive, const char *id, enum hive_verdict verdict, int64_t updated_ms)
{
	struct hive_known *known = hive_known_find(hive, id);
	if (verdict == HIVE_OPEN) {
		if (known)
			hive_known_drop(hive, known);
		return NULL;
	}
	if (known)
		--*verdict_count(hive, known->verdict);
	if (!known) {
		known = calloc(1, sizeof(*known));
		if (!known)
			return NULL;
		known->key = known_key(id);
		HASH_ADD(hh, hive->known, key, sizeof(known->key), known);
	}
	known->verdict = (uint8_t)verdict;
	if (updated_ms)
		known->updated_ms = updated_ms;
	known->generation = hive->full.generation;
	++*verdict_count(hive, known->verdict);
	return known;
}

// --- answers, trouble

static void resume(struct thehive *hive)
{
	hive_pump_soon(hive);
	hive_list_resume(hive);
}

static void retry_come(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct thehive *hive = ctx;
	hive->quiet_until_ms = 0;
	resume(hive);
}

bool hive_quiet(const struct thehive *hive)
{
	return hive->quiet_until_ms > hive_clock_ms();
}

void hive_trouble(
	struct thehive *hive, const char *what, const struct http_answer *answer, const char *why
)
{
	char text[sizeof(hive->trouble)];
	if (why)
		snprintf(text, sizeof(text), "%s: %.120s", what, why);
	else if (answer->error)
		snprintf(text, sizeof(text), "%s: %.120s", what, answer->error_text);
	else
		snprintf(text, sizeof(text), "%s: status %ld", what, answer->status);
	if (strcmp(text, hive->trouble) != 0)
		log_warning("%s: %s", hive->source, text);
	memcpy(hive->trouble, text, sizeof(text));
	hive->trouble_when = time(NULL);
	hive->counters.read_failures++;
	if (hive_quiet(hive))
		return;
	int64_t delay = backoff_wait_ms(++hive->troubles, RETRY_MS, RETRY_MAX_MS);
	if (answer && answer->retry_after > 0 && answer->retry_after < 3600
	    && answer->retry_after * 1000 > delay)
		delay = answer->retry_after * 1000;
	hive->quiet_until_ms = hive_clock_ms() + delay;
	struct timeval wait = timeval_of(delay);
	evtimer_add(hive->retry, &wait);
}

void hive_well(struct thehive *hive)
{
	hive->last_ok = time(NULL);
	if (hive->troubles == 0)
		return;
	log_notice("%s: answers again", hive->source);
	hive->troubles = 0;
	hive->trouble[0] = '\0';
	if (hive->quiet_until_ms) {
		hive->quiet_until_ms = 0;
		evtimer_del(hive->retry);
		resume(hive);
	}
}

json_t *hive_answer_json(struct thehive *hive, const char *what, const struct http_answer *answer)
{
	if (answer->error || answer->status != 200) {
		hive_trouble(hive, what, answer, NULL);
		return NULL;
	}
	json_error_t error;
	json_t *body = json_loadb(answer->body, answer->body_len, 0, &error);
	if (!body)
		hive_trouble(hive, what, answer, "the answer is no JSON, or was cut short");
	return body;
}

bool hive_answer_missing(const struct http_answer *answer)
{
	if (answer->error || answer->status != 404)
		return false;
	json_t *body = json_loadb(answer->body, answer->body_len, 0, NULL);
	const char *type = json_string_value(json_object_get(body, "type"));
	bool missing = type && strcmp(type, "NotFoundError") == 0;
	json_decref(body);
	return missing;
}

long hive_answer_total(const struct http_answer *answer)
{
	char *end = NULL;
	errno = 0;
	long total = strtol(answer->x_total, &end, 10);
	return errno || end == answer->x_total || *end || total < 0 ? -1 : total;
}

// --- the version

static const char *const probes[] = {
	"/api/v1/status/public", // 5
	"/api/status", // 4
	"/api/v1/status",
};
#define N_PROBES (sizeof(probes) / sizeof(probes[0]))

static void probe_come(void *ctx, const struct http_answer *answer);

void hive_probe(struct thehive *hive)
{
	if (hive->probing)
		return;
	hive->probing = true;
	if (http_client_request(hive->prompt, "GET", probes[hive->probe], NULL, 0, probe_come, hive)
	    < 0)
		hive->probing = false;
}

static bool version_take(struct thehive *hive, const json_t *body)
{
	const json_t *versions = json_object_get(body, "versions");
	const char *text = json_string_value(json_object_get(body, "version"));
	if (!text)
		text = json_string_value(json_object_get(versions, "TheHive"));
	struct hive_version version;
	if (!text || hive_version_parse(text, &version) < 0)
		return false;
	bool changed = strcmp(hive->version, text) != 0;
	snprintf(hive->version, sizeof(hive->version), "%s", text);
	hive->rules.version = version;
	if (changed) {
		log_notice("%s: TheHive %s", hive->source, hive->version);
		hive->full.no_bulk = false;
		hive->full.tags_refused = 0;
	}
	return true;
}

static void probe_come(void *ctx, const struct http_answer *answer)
{
	struct thehive *hive = ctx;
	hive->probing = false;
	json_t *body = answer->error || answer->status != 200
		? NULL
		: json_loadb(answer->body, answer->body_len, 0, NULL);
	bool found = version_take(hive, body);
	json_decref(body);
	if (found && hive->rules.version.major < 4) {
		hive->rules.version = (struct hive_version){0};
		hive->probe = 0;
		hive_trouble(hive, "version", answer, "TheHive before 4 cannot be read");
		return;
	}
	if (found) {
		hive->probe = 0;
		hive_well(hive);
		hive_pump_soon(hive);
		hive_list_start(hive);
		return;
	}
	if (!answer->error && answer->status < 500 && ++hive->probe < N_PROBES) {
		hive_probe(hive);
		return;
	}
	hive->probe = 0;
	hive_trouble(
		hive,
		"version",
		answer,
		answer->error || answer->status >= 400 ? NULL : "no TheHive answers here"
	);
}

// --- the pump

void hive_pump_soon(struct thehive *hive)
{
	event_active(hive->pump, EV_TIMEOUT, 0);
}

static void pump_come(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct thehive *hive = ctx;
	if (hive_quiet(hive))
		return;
	if (hive->rules.version.major == 0) {
		hive_probe(hive);
		return;
	}
	struct hive_case *one;
	while (hive->n_reading < HIVE_READS_MAX && (one = TAILQ_FIRST(&hive->queue))) {
		TAILQ_REMOVE(&hive->queue, one, next);
		one->queued = false;
		bool may_withdraw = one->later;
		one->later = false;
		hive_read_start(hive, one, false, may_withdraw, NULL);
	}
}

// --- life

// Blocks that were refused for want of room are found by reading everything again.
static void room_come(void *ctx, unsigned topics)
{
	(void)topics;
	struct thehive *hive = ctx;
	if (hive->counters.cases_refused)
		hive_list_full(hive);
}

static int services_make(struct thehive *hive, char message[256])
{
	const struct conf_thehive *conf = hive->conf;
	char *key = NULL;
	int error = secret_read(conf->key_file, &key, message);
	if (error)
		return error;
	if (message[0])
		log_warning("%s", message);
	int made = asprintf(&hive->authorization, "Bearer %s", key);
	secret_free(key);
	if (made < 0) {
		hive->authorization = NULL;
		return -ENOMEM;
	}
	if (conf->organisation
	    && asprintf(&hive->header, "X-Organisation: %s", conf->organisation) < 0) {
		hive->header = NULL;
		return -ENOMEM;
	}
	hive->headers[0] = hive->header;
	hive->service = (struct http_service){
		.name = hive->source,
		.base_url = conf->url,
		.authorization = hive->authorization,
		.headers = hive->headers,
		.proxy = conf->proxy,
		.tls = {
			.ca_file = conf->tls.ca_file,
			.cert_file = conf->tls.cert_file,
			.key_file = conf->tls.key_file,
			.key_password_file = conf->tls.key_password_file,
		},
		.timeout_ms = conf->timeout_ms,
		.connect_timeout_ms = conf->connect_timeout_ms,
	};
	hive->paced_service = hive->service;
	hive->paced_service.max_per_second = conf->max_per_second;
	return 0;
}

static bool refusals_count(void *ctx, const char *key, json_t *value)
{
	(void)key;
	(void)value;
	++*(uint64_t *)ctx;
	return true;
}

void thehive_organisation_print(const struct conf_thehive *conf, char name[HIVE_NAME_MAX])
{
	const char *organisation = conf->organisation;
	snprintf(name, HIVE_NAME_MAX, "%s", organisation && *organisation ? organisation : "-");
	for (char *c = name; *c; c++) // references are split at slashes
		if (*c == '/')
			*c = '_';
}

static void names_make(struct thehive *hive)
{
	snprintf(hive->source, sizeof(hive->source), "thehive:%s", hive->conf->name);
	thehive_organisation_print(hive->conf, hive->organisation);
}

int thehive_create(
	struct event_base *base,
	const struct conf_thehive *conf,
	struct ledger *ledger,
	struct protect *protect,
	struct thehive **ret_hive,
	char ret_message[256]
)
{
	ret_message[0] = '\0';
	struct thehive *hive = calloc(1, sizeof(*hive));
	if (!hive)
		return -ENOMEM;
	hive->base = base;
	hive->conf = hive->rules.conf = conf;
	hive->ledger = ledger;
	TAILQ_INIT(&hive->queue);
	names_make(hive);
	hive->pump = evtimer_new(base, pump_come, hive);
	hive->retry = evtimer_new(base, retry_come, hive);
	int error = hive->pump && hive->retry ? services_make(hive, ret_message) : -ENOMEM;
	if (!error)
		error = http_client_create(base, &hive->service, protect, &hive->prompt);
	if (!error)
		error = http_client_create(base, &hive->paced_service, protect, &hive->paced);
	if (!error)
		error = hive_list_init(hive);
	if (!error)
		error = ledger_watch(ledger, LEDGER_ROOM, room_come, hive);
	if (!error)
		error = ledger_notes(
			ledger, hive->source, "case/", refusals_count, &hive->counters.cases_refused
		);
	if (error) {
		if (!ret_message[0])
			snprintf(ret_message, 256, "%s: %s", hive->source, strerror(-error));
		thehive_free(hive);
		return error;
	}
	ret_message[0] = '\0';
	hive_pump_soon(hive);
	*ret_hive = hive;
	return 0;
}

void thehive_free(struct thehive *hive)
{
	if (!hive)
		return;
	ledger_unwatch(hive->ledger, room_come, hive);
	http_client_free(hive->prompt); // no callback comes any more
	http_client_free(hive->paced);
	hive_asks_end(hive);
	while (!LIST_EMPTY(&hive->reads))
		hive_read_free(LIST_FIRST(&hive->reads));
	hive_setup_stop(hive);
	hive_plans_forget(hive);
	hive_list_fini(hive);
	struct hive_case *one, *next;
	HASH_ITER(hh, hive->cases, one, next)
	case_free(hive, one);
	struct hive_known *known, *after;
	HASH_ITER(hh, hive->known, known, after)
	{
		HASH_DEL(hive->known, known);
		free(known);
	}
	if (hive->pump)
		event_free(hive->pump);
	if (hive->retry)
		event_free(hive->retry);
	secret_free(hive->authorization);
	free(hive->header);
	free(hive);
}

void thehive_anew(struct thehive *hive)
{
	hive->full.anew = true;
}

// --- what it tells

const char *thehive_name(const struct thehive *hive)
{
	return hive->conf->name;
}

const char *thehive_source(const struct thehive *hive)
{
	return hive->source;
}

const struct http_client *thehive_client(const struct thehive *hive, unsigned which)
{
	return which ? hive->paced : hive->prompt;
}

void thehive_counters(const struct thehive *hive, struct thehive_counters *ret_counters)
{
	*ret_counters = hive->counters;
	ret_counters->pending = HASH_COUNT(hive->cases);
	ret_counters->up = hive->troubles == 0 && hive->last_ok > 0;
}
