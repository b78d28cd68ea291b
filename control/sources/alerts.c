// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/alerts.h"

#include "control/backoff.h"
#include "control/http_server.h"
#include "control/metrics.h"
#include "control/secret.h"
#include "control/sources/alerts_internal.h"

#include <openssl/evp.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_MS 200
#define RETRY_MAX_MS 60000

int64_t alerts_clock_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// --- what names an alert

void alert_key(const char *const texts[], char ret_key[ALERT_KEY_MAX])
{
	unsigned char hash[EVP_MAX_MD_SIZE] = {0};
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (!context)
		abort(); // as little as this is always to be had
	EVP_DigestInit_ex(context, EVP_sha256(), NULL);
	for (; *texts; texts++)
		EVP_DigestUpdate(context, *texts, strlen(*texts) + 1);
	EVP_DigestFinal_ex(context, hash, NULL);
	EVP_MD_CTX_free(context);
	for (unsigned i = 0; i < (ALERT_KEY_MAX - 1) / 2; i++)
		snprintf(ret_key + 2 * i, 3, "%02x", hash[i]);
}

static void key_of(const json_t *alert, const char *third, char ret_key[ALERT_KEY_MAX])
{
	const char *texts[4] = {"type", "source", third, NULL};
	for (size_t i = 0; i < 3; i++) {
		texts[i] = json_string_value(json_object_get(alert, texts[i]));
		if (!texts[i])
			texts[i] = "";
	}
	alert_key(texts, ret_key);
}

void alert_key_of(const json_t *alert, char ret_key[ALERT_KEY_MAX])
{
	key_of(alert, "ref", ret_key);
}

void alert_origin_of(const json_t *alert, char ret_key[ALERT_KEY_MAX])
{
	key_of(alert, "origin", ret_key);
}

// --- trouble

void alerts_go_soon(struct alerts *alerts)
{
	event_active(alerts->go, EV_TIMEOUT, 0);
}

void alerts_trouble(
	struct alerts *alerts, const char *what, const struct http_answer *answer, const char *why
)
{
	char text[sizeof(alerts->trouble)];
	const char *remedy = "";
	if (answer && (answer->status == 401 || answer->status == 403))
		remedy = ": the account needs manageAlert, manageCase and manageComment";
	if (why)
		snprintf(text, sizeof(text), "%s: %.120s", what, why);
	else if (answer->error)
		snprintf(text, sizeof(text), "%s: %.120s", what, answer->error_text);
	else
		snprintf(text, sizeof(text), "%s: status %ld%s", what, answer->status, remedy);
	if (strcmp(text, alerts->trouble) != 0)
		log_warning("alerts: %s", text);
	memcpy(alerts->trouble, text, sizeof(text));
	int64_t now = alerts_clock_ms();
	if (alerts->quiet_until_ms > now)
		return;
	int64_t delay = backoff_wait_ms(++alerts->troubles, RETRY_MS, RETRY_MAX_MS);
	if (answer && answer->retry_after > 0 && answer->retry_after < 3600
	    && answer->retry_after * 1000 > delay)
		delay = answer->retry_after * 1000;
	alerts->quiet_until_ms = now + delay;
	const struct timeval wait = {.tv_sec = delay / 1000, .tv_usec = delay % 1000 * 1000};
	evtimer_add(alerts->go, &wait);
}

void alerts_well(struct alerts *alerts)
{
	alerts->last_ok = time(NULL);
	if (alerts->troubles)
		log_notice("alerts: TheHive answers again");
	alerts->troubles = 0;
	alerts->trouble[0] = '\0';
	alerts->quiet_until_ms = 0;
}

// --- the version

static void probe_come(void *ctx, const struct http_answer *answer)
{
	struct alerts *alerts = ctx;
	alerts->probing = false;
	json_t *body = answer->error || answer->status != 200
		? NULL
		: json_loadb(answer->body, answer->body_len, 0, NULL);
	const char *text = json_string_value(json_object_get(body, "version"));
	if (!text)
		text = json_string_value(
			json_object_get(json_object_get(body, "versions"), "TheHive")
		);
	struct hive_version version;
	bool found = text && hive_version_parse(text, &version) == 0 && version.major >= 4;
	json_decref(body);
	if (found) {
		alerts->version = version;
		alerts_well(alerts);
		alerts_list_start(alerts);
		alerts_go_soon(alerts);
		return;
	}
	alerts->probe = !alerts->probe; // the other address next time
	if (alerts->probe && !answer->error && answer->status < 500)
		alerts_go_soon(alerts);
	else
		alerts_trouble(
			alerts,
			"version",
			answer,
			answer->error || answer->status >= 400 ? NULL
							       : "no TheHive 4 or 5 answers here"
		);
}

static void probe(struct alerts *alerts)
{
	static const char *const paths[] = {"/api/v1/status/public", "/api/status"};
	if (alerts->probing)
		return;
	int error = http_client_request(
		alerts->client, "GET", paths[alerts->probe], NULL, 0, probe_come, alerts
	);
	alerts->probing = error == 0;
	if (error)
		alerts_trouble(alerts, "version", NULL, strerror(-error));
}

static void go_come(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	struct alerts *alerts = ctx;
	int64_t rest = alerts->quiet_until_ms - alerts_clock_ms();
	if (!alerts->client)
		return;
	if (rest > 0) { // somebody woke it early, and that was the timer's end
		const struct timeval wait = {.tv_sec = rest / 1000, .tv_usec = rest % 1000 * 1000};
		evtimer_add(alerts->go, &wait);
		return;
	}
	if (alerts->version.major == 0)
		probe(alerts);
	else
		alerts_work(alerts);
}

// --- configuration

static const struct conf_thehive *hive_of(const struct conf *conf)
{
	const char *name = conf->alerts->thehive;
	for (size_t i = 0; i < conf->n_thehive; i++)
		if (!name || strcmp(conf->thehive[i].name, name) == 0)
			return &conf->thehive[i];
	return NULL;
}

static int service_make(struct alerts *alerts)
{
	const struct conf_thehive *hive = alerts->hive;
	char *key = NULL, message[256] = "";
	int error = secret_read(hive->key_file, &key, message);
	if (message[0])
		log_warning("alerts: %s", message);
	if (error)
		return error;
	int made = asprintf(&alerts->authorization, "Bearer %s", key);
	secret_free(key);
	if (made < 0) {
		alerts->authorization = NULL;
		return -ENOMEM;
	}
	if (hive->organisation
	    && asprintf(&alerts->header, "X-Organisation: %s", hive->organisation) < 0) {
		alerts->header = NULL;
		return -ENOMEM;
	}
	alerts->headers[0] = alerts->header;
	alerts->service = (struct http_service){
		.name = "alerts",
		.base_url = hive->url,
		.authorization = alerts->authorization,
		.headers = alerts->headers,
		.proxy = hive->proxy,
		.tls = {
			.ca_file = hive->tls.ca_file,
			.cert_file = hive->tls.cert_file,
			.key_file = hive->tls.key_file,
			.key_password_file = hive->tls.key_password_file,
		},
		.timeout_ms = hive->timeout_ms,
		.connect_timeout_ms = hive->connect_timeout_ms,
	};
	return http_client_create(
		alerts->control->base, &alerts->service, alerts->control->protect, &alerts->client
	);
}

// Requests under way end without an answer: what they were for is looked up again.
static void work_end(struct alerts *alerts)
{
	if (alerts->client)
		metrics_client_forget(alerts->control->metrics, alerts->client);
	http_client_free(alerts->client);
	alerts->client = NULL;
	secret_free(alerts->authorization);
	free(alerts->header);
	alerts->authorization = alerts->header = NULL;
	alerts->headers[0] = NULL;
	alerts->version = (struct hive_version){0};
	alerts->probing = alerts->listing = false;
	alerts->probe = 0;
	alert_job_clear(&alerts->job);
	json_decref(alerts->listed);
	alerts->listed = NULL;
	alerts->at_listed = 0;
	free(alerts->buckets);
	alerts->buckets = NULL;
	alerts->conf = NULL;
	alerts_well(alerts);
	alerts->last_ok = 0;
	evtimer_del(alerts->go);
	evtimer_del(alerts->list_timer);
}

static int work_begin(struct alerts *alerts)
{
	const struct conf *conf = alerts->control->conf;
	if (!conf->alerts)
		return 0;
	alerts->hive = hive_of(conf);
	alerts->buckets = calloc(conf->alerts->n_sources + 1, sizeof(*alerts->buckets));
	int error = alerts->buckets && alerts->hive ? 0 : -ENOMEM;
	bool leads = control_leads(alerts->control);
	if (!error && leads)
		error = service_make(alerts);
	if (error)
		return error;
	alerts->conf = conf->alerts;
	if (!leads) // takes them, and sends them to the leader
		return 0;
	metrics_client(alerts->control->metrics, "alerts", alerts->client);
	alerts_go_soon(alerts);
	return 0;
}

// --- what it tells

json_t *alerts_status(const struct alerts *alerts)
{
	const struct alerts_counters *c = &alerts->counters;
	if (!alerts->conf)
		return json_array(); // no part of the status
	const char *state = alerts->trouble[0] ? "down" : alerts->last_ok ? "up" : "starting";
	char summary[320];
	snprintf(
		summary,
		sizeof(summary),
		"%zu wait for TheHive, %" PRIu64 " cases opened, %" PRIu64
		" alerts joined one, %" PRIu64 " refused%s%s",
		alerts->n_queue,
		c->opened,
		c->joined,
		c->refused,
		alerts->trouble[0] ? "; " : "",
		alerts->trouble
	);
	const struct {
		const char *name;
		uint64_t n;
	} rows[] = {
		{"pending", alerts->n_queue},
		{"pending_octets", alerts->queue_bytes},
		{"taken", c->taken},
		{"duplicates", c->duplicates},
		{"bad", c->bad},
		{"limited", c->limited},
		{"no_room", c->no_room},
		{"opened", c->opened},
		{"joined", c->joined},
		{"after_close", c->after_close},
		{"refused", c->refused},
	};
	json_t *counts = json_object();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_object_set_new(counts, rows[i].name, json_integer((json_int_t)rows[i].n));
	return json_pack(
		"{s:s, s:s, s:s, s:o, s:O, s:s}",
		"name",
		"alerts",
		"state",
		state,
		"summary",
		summary,
		"alerts",
		counts,
		"refused",
		alerts->refused,
		"thehive",
		alerts->hive->name
	);
}

static void metrics_come(void *ctx, struct metrics_page *page)
{
	const struct alerts *alerts = ctx;
	const struct alerts_counters *c = &alerts->counters;
	if (!alerts->conf)
		return;
	const struct {
		const char *what;
		uint64_t n;
	} rows[] = {
		{"taken", c->taken},
		{"duplicate", c->duplicates},
		{"bad", c->bad},
		{"limited", c->limited},
		{"no_room", c->no_room},
		{"opened_case", c->opened},
		{"joined_case", c->joined},
		{"after_close", c->after_close},
		{"refused", c->refused},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *values[] = {rows[i].what, NULL};
		metrics_add_count(page, METRIC_ALERTS, rows[i].n, values);
	}
	metrics_add_count(page, METRIC_ALERTS_PENDING, alerts->n_queue, NULL);
}

// --- life

static void alerts_free(struct alerts *alerts)
{
	if (!alerts)
		return;
	alerts_hook_end(alerts);
	if (alerts->go && alerts->list_timer)
		work_end(alerts);
	alerts_queue_free(alerts);
	if (alerts->go)
		event_free(alerts->go);
	if (alerts->list_timer)
		event_free(alerts->list_timer);
	json_decref(alerts->refused);
	free(alerts);
}

int start_alerts(struct control *control)
{
	struct alerts *alerts = calloc(1, sizeof(*alerts));
	if (!alerts)
		return -ENOMEM;
	control->alerts = alerts;
	alerts->control = control;
	TAILQ_INIT(&alerts->queue);
	TAILQ_INIT(&alerts->refs);
	TAILQ_INIT(&alerts->origins);
	LIST_INIT(&alerts->arrivals);
	alerts->refused = json_array();
	alerts->go = evtimer_new(control->base, go_come, alerts);
	int error = alerts->go && alerts->refused ? alerts_list_init(alerts) : -ENOMEM;
	error = error ? error : alerts_queue_load(alerts);
	error = error ? error : alerts_hook_routes(alerts, control->server);
	error = error ? error : metrics_collect(control->metrics, metrics_come, alerts);
	error = error ? error : work_begin(alerts);
	if (control_in_fleet(control))
		ledger_fleet_asked_set(control->ledger, alerts_asked, alerts);
	if (error)
		log_error("alerts: %s", strerror(-error));
	else if (alerts->n_queue)
		log_notice("alerts: %zu wait for TheHive", alerts->n_queue);
	return error;
}

void stop_alerts(struct control *control)
{
	if (control_in_fleet(control))
		ledger_fleet_asked_set(control->ledger, NULL, NULL);
	alerts_free(control->alerts);
	control->alerts = NULL;
}

// The client is made anew, with its key read again.
void reload_alerts(struct control *control, const struct conf *old)
{
	(void)old;
	struct alerts *alerts = control->alerts;
	work_end(alerts);
	int error = work_begin(alerts);
	if (error) {
		work_end(alerts);
		log_error(
			"control.alerts: not taken, alerts wait until the next reload: %s",
			strerror(-error)
		);
	}
}

void role_alerts(struct control *control)
{
	struct alerts *alerts = control->alerts;
	alerts_hook_end(alerts);
	if (!control_leads(control))
		alerts_queue_ask(alerts);
	alerts_queue_free(alerts);
	if (control_leads(control) && alerts_queue_load(alerts) < 0)
		log_error("alerts: what waits for TheHive cannot be read: restart stanch-control");
	reload_alerts(control, control->conf);
}
