// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/start.h"

#include "control/api.h"
#include "control/cautions.h"
#include "control/conf.h"
#include "control/control.h"
#include "control/followers/dataplane.h"
#include "control/followers/dataplane_watch.h"
#include "control/followers/f5xc_status.h"
#include "control/followers/snapshot.h"
#include "control/followers/writeback.h"
#include "control/http_server.h"
#include "control/ledger.h"
#include "control/lists.h"
#include "control/log.h"
#include "control/metrics.h"
#include "control/protect.h"
#include "control/resolvers.h"
#include "control/roles.h"
#include "control/secret.h"
#include "control/sources/alerts.h"
#include "control/sources/redis_list.h"
#include "control/sources/thehives.h"
#include "control/tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOLV_CONF "/etc/resolv.conf"

// --- protections

static void protections_add(struct protect *protect, char *const *texts, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++) {
		char reason[128];
		snprintf(reason, sizeof(reason), "%s[%zu]", path, i);
		struct indicator indicator;
		struct indicator_error error;
		// conf_check has parsed them all.
		int failed = indicator_parse(texts[i], strlen(texts[i]), &indicator, &error);
		if (!failed)
			failed = protect_add(protect, PROTECT_CONFIGURED, &indicator, reason);
		if (failed)
			log_error("%s: not protected: %s", reason, strerror(-failed));
	}
}

static void protections_configure(struct control *control)
{
	const struct conf_protect *conf = &control->conf->protect;
	protections_add(
		control->protect, conf->networks, conf->n_networks, "control.protect.networks"
	);
	protections_add(control->protect, conf->names, conf->n_names, "control.protect.names");
}

// Read anew each time: the files are others'. What cannot be read leaves what was there.
static int cautions_configure(struct control *control)
{
	const struct conf *conf = control->conf;
	struct cautions *cautions = NULL;
	char message[256] = "";
	int error = cautions_create(&cautions);
	for (size_t i = 0; !error && i < conf->n_cautions; i++)
		error = cautions_load(cautions, conf->cautions[i], message);
	if (error) {
		log_error("control.cautions: %s", message[0] ? message : strerror(-error));
		cautions_free(cautions);
		return error;
	}
	if (conf->n_cautions)
		log_info("control.cautions: %zu", cautions_count(cautions));
	protect_cautions_set(control->protect, cautions);
	return 0;
}

int start_protect(struct control *control)
{
	const struct conf_protect *conf = &control->conf->protect;
	enum protect_overlap_mode mode
		= conf->overlap == CONF_OVERLAP_EXCEPT ? PROTECT_EXCEPT : PROTECT_REFUSE;
	int error = protect_create(conf->private_ranges, mode, &control->protect);
	if (error) {
		log_error("protections: %s", strerror(-error));
		return error;
	}
	protections_configure(control);
	return cautions_configure(control);
}

void stop_protect(struct control *control)
{
	protect_free(control->protect);
	control->protect = NULL;
}

static bool texts_same(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

void reload_protect(struct control *control, const struct conf *old)
{
	const struct conf_protect *now = &control->conf->protect, *was = &old->protect;
	if (now->private_ranges != was->private_ranges || now->overlap != was->overlap)
		log_warning("control.protect.private and overlap: a change needs a restart");
	if (cautions_configure(control) == 0)
		lists_shields_changed(ledger_lists(control->ledger));
	if (texts_same(now->networks, now->n_networks, was->networks, was->n_networks)
	    && texts_same(now->names, now->n_names, was->names, was->n_names))
		return;
	protect_clear(control->protect, PROTECT_CONFIGURED);
	protections_configure(control);
	log_notice("control.protect: %zu networks and %zu names", now->n_networks, now->n_names);
}

// --- the ledger

static struct ledger_conf ledger_conf_of(const struct conf *conf)
{
	struct ledger_conf of = {
		.dir = conf->state_dir,
		.min_prefix_v4 = (uint8_t)conf->brakes.shortest_prefix_v4,
		.min_prefix_v6 = (uint8_t)conf->brakes.shortest_prefix_v6,
		.case_claims_per_minute = conf->brakes.case_claims_per_minute,
		.max_entries = conf->ledger.max_entries,
		.change_log_max = conf->ledger.change_log_max,
		.orphan_grace = 604800,
	};
	for (size_t i = 0; i < conf->n_thehive; i++)
		if (i == 0 || conf->thehive[i].orphan_grace_s > of.orphan_grace)
			of.orphan_grace = conf->thehive[i].orphan_grace_s;
	return of;
}

int start_ledger(struct control *control)
{
	struct ledger_conf conf = ledger_conf_of(control->conf);
	char message[256] = "";
	int error = ledger_open(control->base, &conf, control->protect, &control->ledger, message);
	if (error) {
		log_error("ledger: %s", message[0] ? message : strerror(-error));
		return error;
	}
	struct list_state state;
	ledger_state(control->ledger, &state);
	log_info(
		"ledger: revision %llu.%llu, %llu entries",
		(unsigned long long)state.revision.epoch,
		(unsigned long long)state.revision.number,
		(unsigned long long)state.count
	);
	return 0;
}

void stop_ledger(struct control *control)
{
	ledger_close(control->ledger);
	control->ledger = NULL;
}

void reload_ledger(struct control *control, const struct conf *old)
{
	if (strcmp(control->conf->state_dir, old->state_dir) != 0)
		log_warning("control.state_dir: a change needs a restart");
	struct ledger_conf conf = ledger_conf_of(control->conf);
	ledger_limits_set(control->ledger, &conf);
}

// --- resolvers

int start_resolvers(struct control *control)
{
	int error = resolvers_create(
		control->base, control->protect, RESOLV_CONF, &control->resolvers
	);
	if (error)
		log_error("%s: %s", RESOLV_CONF, strerror(-error));
	return error;
}

void stop_resolvers(struct control *control)
{
	resolvers_free(control->resolvers);
	control->resolvers = NULL;
}

// --- tokens and the HTTP server

// The words of TheHive's webhooks are tokens like others, with the role hook.
static int hooks_add(const struct conf *conf, struct tokens *tokens, char message[256])
{
	for (size_t i = 0; i < conf->n_thehive; i++) {
		const struct conf_thehive *hive = &conf->thehive[i];
		if (!hive->webhook_token_file)
			continue;
		char *secret = NULL, name[64];
		int error = secret_read(hive->webhook_token_file, &secret, message);
		if (error)
			return error;
		snprintf(name, sizeof(name), "thehive:%.48s", hive->name);
		error = tokens_add(tokens, name, ROLE_HOOK, INT64_MAX, secret);
		secret_free(secret);
		if (error && error != -EEXIST) {
			snprintf(message, 256, "%s: %s", name, strerror(-error));
			return error;
		}
	}
	return 0;
}

// And so are those of the senders of alerts.
static int alert_tokens_add(const struct conf *conf, struct tokens *tokens, char message[256])
{
	for (size_t i = 0; conf->alerts && i < conf->alerts->n_sources; i++) {
		const struct conf_alert_source *source = &conf->alerts->sources[i];
		if (!source->token_file)
			continue;
		char *secret = NULL, name[64];
		int error = secret_read(source->token_file, &secret, message);
		if (error)
			return error;
		snprintf(name, sizeof(name), "alerts:%.48s", source->name);
		error = tokens_add(tokens, name, ROLE_HOOK, INT64_MAX, secret);
		secret_free(secret);
		if (error) {
			snprintf(
				message,
				256,
				"%s: %s",
				name,
				error == -EEXIST ? "another token has the same word"
						 : strerror(-error)
			);
			return error;
		}
	}
	return 0;
}

static int tokens_make(const struct conf *conf, struct tokens **ret_tokens)
{
	char message[256] = "";
	struct tokens *tokens = NULL;
	int error = conf->tokens_file ? tokens_load(conf->tokens_file, &tokens, message)
				      : tokens_parse("", "", 0, &tokens, message);
	if (!error)
		error = hooks_add(conf, tokens, message);
	if (!error)
		error = alert_tokens_add(conf, tokens, message);
	if (error) {
		log_error("tokens: %s", message[0] ? message : strerror(-error));
		tokens_free(tokens);
		return error;
	}
	*ret_tokens = tokens;
	return 0;
}

int start_server(struct control *control)
{
	const struct conf *conf = control->conf;
	int error = tokens_make(conf, &control->tokens);
	if (error)
		return error;
	char path[256], message[256] = "";
	snprintf(path, sizeof(path), "%s/control.sock", conf->run_dir);
	const struct http_server_conf server = {
		.unix_path = path,
		.listen = conf->listen,
		.tls_cert_file = conf->tls.cert_file,
		.tls_key_file = conf->tls.key_file,
		.max_connections = conf->http.max_connections,
		.max_connections_per_address = conf->http.max_connections_per_address,
		.deadline_ms = conf->http.deadline_ms,
		.hooks_per_second = conf->http.hooks_per_second,
	};
	error = http_server_create(
		control->base, &server, control->tokens, &control->server, message
	);
	if (error) {
		log_error("HTTP API: %s", message);
		return error;
	}
	log_info(
		"HTTP API: %s%s%s%s",
		path,
		conf->listen ? " and " : "",
		conf->listen ? conf->listen : "",
		conf->tls.cert_file ? " (TLS)" : ""
	);
	return 0;
}

void stop_server(struct control *control)
{
	http_server_free(control->server);
	control->server = NULL;
	tokens_free(control->tokens);
	control->tokens = NULL;
}

void reload_server(struct control *control, const struct conf *old)
{
	const struct conf *now = control->conf;
	struct tokens *tokens = NULL;
	if (tokens_make(now, &tokens) == 0) { // else logged, and the old ones stay
		http_server_tokens_set(control->server, tokens);
		tokens_free(control->tokens);
		control->tokens = tokens;
		log_notice("tokens: %zu", tokens_count(tokens));
	}
	if (!conf_text_same(now->listen, old->listen) || !conf_text_same(now->run_dir, old->run_dir)
	    || !conf_text_same(now->tls.cert_file, old->tls.cert_file)
	    || !conf_text_same(now->tls.key_file, old->tls.key_file)
	    || memcmp(&now->http, &old->http, sizeof(now->http)) != 0)
		log_warning("control.listen, run_dir, tls and http: a change needs a restart");
}

// --- metrics

int start_metrics(struct control *control)
{
	int error = metrics_create(control, &control->metrics);
	if (error)
		log_error("metrics: %s", strerror(-error));
	return error;
}

void stop_metrics(struct control *control)
{
	metrics_free(control->metrics);
	control->metrics = NULL;
}

// --- the list on disk and the data plane

static bool dataplane_ready(void *ctx, char why[128])
{
	char reason[160];
	bool equal = dataplane_equal(ctx, reason);

	snprintf(why, 128, "%.127s", reason);
	return equal;
}

static bool snapshot_ready(void *ctx, char why[128])
{
	struct list_state state;
	char reason[160];
	bool good = snapshot_state(ctx, &state, reason);

	snprintf(why, 128, "%.127s", good || reason[0] ? reason : "being written");
	return good;
}

static void dataplane_metrics(void *ctx, struct metrics_page *page)
{
	const struct dataplane_watch *watch = dataplane_watched(ctx);
	size_t len;
	int64_t last_ms;
	const void *status = dataplane_status(ctx, &len);

	metrics_add_dataplane(page, status, len);
	metrics_add_count(
		page, METRIC_DP_RESTARTS, dataplane_watch_restarts(watch, &last_ms), NULL
	);
	metrics_add_count(page, METRIC_DP_NEARLY_FULL, dataplane_watch_nearly_full(watch), NULL);
}

int start_followers(struct control *control)
{
	const struct conf *conf = control->conf;
	int error = dataplane_create(
		control->base, control->ledger, conf->run_dir, &control->dataplane
	);
	// The journal before the link: it wakes the data plane's follower.
	if (!error)
		error = snapshot_follow(
			control->base,
			control->ledger,
			conf->state_dir,
			control->dataplane,
			&control->snapshot
		);
	if (!error)
		error = metrics_ready(
			control->metrics, "dataplane", dataplane_ready, control->dataplane
		);
	if (!error)
		error = metrics_ready(
			control->metrics, "list on disk", snapshot_ready, control->snapshot
		);
	if (!error)
		error = metrics_collect(control->metrics, dataplane_metrics, control->dataplane);
	return error;
}

void stop_followers(struct control *control)
{
	snapshot_unfollow(control->snapshot);
	control->snapshot = NULL;
	dataplane_free(control->dataplane);
	control->dataplane = NULL;
}

// --- the API under /v1

static bool api_connected(void *ctx)
{
	return dataplane_connected(ctx);
}

static bool api_applied(void *ctx, struct list_state *ret_state, int64_t *ret_when_ms)
{
	return dataplane_applied(ctx, ret_state, ret_when_ms);
}

static bool api_equal(void *ctx, char why[160])
{
	return dataplane_equal(ctx, why);
}

static const void *api_wire_status(void *ctx, size_t *ret_len)
{
	return dataplane_status(ctx, ret_len);
}

static int api_lookup(
	void *ctx,
	const struct indicator *indicator,
	void (*answer)(void *, const struct wire_lookup_answer *),
	void *answer_ctx
)
{
	return dataplane_lookup(ctx, indicator, answer, answer_ctx);
}

static int api_preview(
	void *ctx,
	const struct indicator *indicator,
	uint32_t ends,
	void (*answer)(void *, const struct wire_preview_answer *, size_t),
	void *answer_ctx
)
{
	return dataplane_preview(ctx, indicator, ends, answer, answer_ctx);
}

static int api_sync(void *ctx, bool force)
{
	return dataplane_sync(ctx, force);
}

static uint64_t api_restarts(void *ctx, int64_t *ret_last_ms)
{
	return dataplane_watch_restarts(dataplane_watched(ctx), ret_last_ms);
}

static bool api_nearly_full(void *ctx)
{
	return dataplane_watch_nearly_full(dataplane_watched(ctx));
}

// A reload may change the instances: found at each call.
static json_t *api_thehives(void *ctx)
{
	const struct control *control = ctx;
	if (!control_leads(control) && control->conf->n_thehive)
		return control_leader_part(control);
	return thehives_status(control->thehives);
}

static json_t *api_alerts(void *ctx)
{
	const struct control *control = ctx;
	if (!control_leads(control) && control->conf->alerts)
		return control_leader_part(control);
	return alerts_status(control->alerts);
}

static json_t *api_redis(void *ctx)
{
	const struct control *control = ctx;
	if (!control_leads(control) && control->conf->n_redis)
		return control_leader_part(control);
	return redis_lists_status(control->redis);
}

static json_t *api_snapshot(void *ctx)
{
	const struct control *control = ctx;
	struct list_state state;
	char why[160] = "";
	bool good = snapshot_state(control->snapshot, &state, why);
	return json_pack("{s:s, s:s}", "state", good ? "written" : "not written", "why", why);
}

static json_t *api_f5xc(void *ctx)
{
	const struct control *control = ctx;
	return control->f5xc ? f5xc_status(control->f5xc) : control_leader_part(control);
}

static json_t *api_f5xc_entry(void *ctx, const struct indicator *indicator)
{
	const struct control *control = ctx;
	char text[F5XC_TEXT_MAX];
	if (!control->f5xc) {
		control_leader_text(control, text);
		return json_pack("{s:s, s:s}", "state", "at the leader", "why", text);
	}
	if (!f5xc_entry_state(control->f5xc, indicator, text))
		return NULL;
	return json_pack("{s:s}", "state", text);
}

static json_t *api_writeback(void *ctx)
{
	const struct control *control = ctx;
	if (!control_leads(control) && control->conf->n_thehive)
		return control_leader_part(control);
	return writeback_status(control->writeback);
}

static void applied_moved(void *ctx)
{
	struct control *control = ctx;
	api_applied_moved(control->api);
	writeback_applied_moved(control->writeback);
}

static void denials_come(void *ctx, const struct wire_denial *denial, size_t n)
{
	struct control *control = ctx;
	api_denials_take(control->api, denial, n);
	writeback_denials_take(
		control->writeback,
		control_in_fleet(control) ? control->conf->fleet->gateway : NULL,
		denial,
		n
	);
	roles_denials(control, denial, n);
}

static int api_wire(struct control *control)
{
	const struct api_dataplane dataplane = {
		.ctx = control->dataplane,
		.connected = api_connected,
		.applied = api_applied,
		.equal = api_equal,
		.status = api_wire_status,
		.lookup = api_lookup,
		.preview = api_preview,
		.sync = api_sync,
		.restarts = api_restarts,
		.nearly_full = api_nearly_full,
	};
	struct api *api = control->api;
	api_dataplane_set(api, &dataplane);
	dataplane_applied_set(control->dataplane, applied_moved, control);
	dataplane_denials_set(control->dataplane, denials_come, control);
	int error = api_part_add(api, API_SOURCE, "thehive", api_thehives, control);
	if (!error)
		error = api_part_add(api, API_SOURCE, "redis", api_redis, control);
	if (!error)
		error = api_part_add(api, API_SOURCE, "alerts", api_alerts, control);
	if (!error)
		error = api_part_add(api, API_FOLLOWER, "list on disk", api_snapshot, control);
	if (!error)
		error = api_part_add(api, API_FOLLOWER, "write-back", api_writeback, control);
	if (!error && control->conf->f5xc) {
		error = api_part_add(api, API_FOLLOWER, "f5xc", api_f5xc, control);
		api_mirror_set(api, api_f5xc_entry, control);
	}
	return error;
}

int start_api(struct control *control)
{
	int error = api_create(control, &control->api);
	if (!error)
		error = api_wire(control);
	if (error)
		log_error("API: %s", strerror(-error));
	return error;
}

void stop_api(struct control *control)
{
	dataplane_applied_set(control->dataplane, NULL, NULL);
	dataplane_denials_set(control->dataplane, NULL, NULL);
	api_free(control->api);
	control->api = NULL;
}
