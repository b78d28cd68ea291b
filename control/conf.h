// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The `control:` section of stanch.yaml, checked, with its defaults filled in.
//
// Every key is a row of one table (conf_keys.c): its type, default, limits and help; the schema,
// the checks and the manual come from it.
//
// Thread: the event loop. Lifetime: everything belongs to the struct conf.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONF_MESSAGE_MAX 4096
#define CONF_FILE_MAX (1024 * 1024)

// Client side of TLS; NULL where not given.
struct conf_tls {
	char *ca_file; // NULL: the system's
	char *cert_file; // PEM or PKCS#12
	char *key_file;
	char *key_password_file;
};

struct conf_server_tls {
	char *cert_file, *key_file; // both or none
};

struct conf_http {
	uint32_t max_connections;
	uint32_t max_connections_per_address;
	uint32_t deadline_ms;
	uint32_t hooks_per_second; // an address
};

enum conf_overlap {
	CONF_OVERLAP_REFUSE = 1,
	CONF_OVERLAP_EXCEPT = 2,
};

struct conf_protect {
	bool private_ranges;
	int overlap; // enum conf_overlap
	char **networks; // addresses, prefixes, port entries: canonical or clear
	size_t n_networks;
	char **names;
	size_t n_names;
};

struct conf_brakes {
	uint32_t shortest_prefix_v4, shortest_prefix_v6;
	uint32_t case_claims_per_minute;
};

struct conf_ledger {
	uint64_t max_entries;
	uint64_t change_log_max; // rows
};

enum conf_action {
	CONF_ACTION_ENFORCE = 1,
	CONF_ACTION_MONITOR = 2,
	CONF_ACTION_NONE = 3,
};

// A word of the response field or tag besides "enforce" and "monitor".
struct conf_response {
	char *value;
	int action; // enum conf_action
	char *duration; // as "4h"; NULL: no end
	int64_t duration_s; // 0: no end
};

// A type of observables that the site has made, and the known one as which its data is read.
struct conf_type {
	char *type, *as;
};

// What is written to cases, and how.
struct conf_writeback {
	bool enforced, attempts, tags, refused, expiry, withdrawn, immunity;
	uint32_t delay_ms, attempts_s, expiry_s;
	double max_per_second;
};

struct conf_thehive {
	char *name;
	char *url; // without a final slash
	char *key_file;
	char *organisation; // NULL: the key's default
	char *webhook_token_file; // NULL: hooks need a token of the tokens file
	char **true_positive;
	size_t n_true_positive;
	char **false_positive;
	size_t n_false_positive;
	uint32_t immunity_days;
	char *response_field, *response_tag;
	struct conf_response *responses;
	size_t n_responses;
	int max_pap; // 0 CLEAR, 1 GREEN, 2 AMBER; as TheHive 5 counts, less RED, which never passes
	char **data_types;
	size_t n_data_types;
	struct conf_type *types;
	size_t n_types;
	uint32_t index_delay_ms, incremental_s, full_s;
	uint32_t orphan_grace_s;
	double max_per_second;
	uint32_t timeout_ms, connect_timeout_ms;
	char *proxy;
	struct conf_tls tls;
	struct conf_writeback writeback;
};

// One sender of alerts to /v1/hooks/alerts.
struct conf_alert_source {
	char *name; // what its alerts' source is called in TheHive
	char *token_file; // NULL: named by the request of a caller with another token
	char **tags; // added to each of its alerts
	size_t n_tags;
	int tlp; // as TheHive 5.2 counts, where the alert says none
	int pap;
	uint32_t per_minute; // alerts
};

struct conf_alerts {
	char *thehive; // name of the instance; NULL: the first
	struct conf_alert_source *sources;
	size_t n_sources;
	char **promote; // sources whose alerts in TheHive become cases
	size_t n_promote;
	uint32_t promote_s; // between listings of those
	uint32_t max_pending; // alerts that wait for TheHive
};

enum conf_drift {
	CONF_DRIFT_REPAIR = 1,
	CONF_DRIFT_SHOW = 2,
};

enum conf_deleted {
	CONF_DELETED_RECREATE = 1,
	CONF_DELETED_REPORT = 2,
};

struct conf_f5xc {
	char *url; // without a final slash
	char *token_file; // NULL: by tls.cert_file
	char *xc_namespace, *prefix;
	char *fleet_id; // that of control.fleet where not given
	char **mirror; // "cases", "operators", "list:<name>"
	size_t n_mirror;
	int max_tlp; // as struct claim's tlp
	uint32_t min_interval_ms; // between two PUTs of one set
	uint32_t reconcile_s; // compare everything
	uint32_t set_size; // prefixes, beside the one that always stays
	uint32_t max_sets; // of one address family
	uint32_t requests_per_minute, request_burst;
	int drift, deleted; // enum conf_drift, enum conf_deleted
	char *policy_before; // NULL: sets only
	char *token_ends; // as "2027-01-31"; NULL: not known
	int64_t token_ends_s; // seconds since the epoch; 0: not known
	uint32_t timeout_ms, connect_timeout_ms;
	char *proxy;
	struct conf_tls tls;
};

struct conf_redis_list {
	char *name; // what it is called in claims and status; do not change it later
	char *key;
	char *channel; // NULL: "<key>:changes"
	bool keyspace;
	int action; // enum conf_action; CONF_ACTION_MONITOR: whatever members say
	char *reason; // of members that say none
	char *ttl; // as "24h"; NULL: members without an end have none
	int64_t ttl_s; // 0: none
	uint32_t refresh_s;
	uint32_t shortest_prefix_v4, shortest_prefix_v6;
	uint64_t max_members;
};

// TLS towards Redis; NULL where not given.
struct conf_redis_tls {
	char *ca_file; // NULL: the system's
	char *cert_file, *key_file; // PEM; key_file NULL: in cert_file
	char *server_name; // NULL: the host that is connected to
};

// Sentinels that name the master.
struct conf_redis_sentinel {
	char *master;
	char **addresses; // as conf_redis_server's
	size_t n_addresses;
	char *user, *password_file; // of the Sentinels themselves; NULL: none
	struct conf_redis_tls *tls; // NULL: in clear
};

// How to reach a Redis: sources/redis_server.h opens connections to it.
struct conf_redis_server {
	char *address; // HOST:PORT, [IPv6]:PORT, or the path of a Unix socket; NULL with `sentinel`
	struct conf_redis_sentinel *sentinel; // NULL: none
	char *user, *password_file; // NULL: none
	uint32_t database;
	uint32_t timeout_ms, connect_timeout_ms;
	struct conf_redis_tls *tls; // NULL: in clear
	char *key_prefix; // before every key and channel; NULL: none
};

struct conf_redis {
	char *name;
	struct conf_redis_server server;
	struct conf_redis_list *lists; // keys and channels with the prefix before them
	size_t n_lists;
};

enum conf_fleet_role {
	CONF_FLEET_AUTO = 1, // leads when nobody does
	CONF_FLEET_LEADER = 2, // leads, before those in auto
	CONF_FLEET_FOLLOWER = 3, // never leads
	CONF_FLEET_SINGLE = 4, // as without the section
};

struct conf_fleet {
	char *id; // word; in keys, records, the owner label at F5
	char *gateway; // of this one: 1 to 63 of A-Z a-z 0-9 . _ -
	int role; // enum conf_fleet_role
	struct conf_redis_server redis; // keys are <key_prefix>stanch:<id>:…
	char *key_file, *previous_key_file; // NULL: no rotation under way
	uint32_t lease_ms;
};

struct conf {
	char *state_dir, *run_dir;
	char *listen; // NULL: no TCP
	struct conf_server_tls tls;
	char *tokens_file; // NULL: no tokens
	struct conf_http http;
	struct conf_protect protect;
	char **cautions; // files
	size_t n_cautions;
	struct conf_brakes brakes;
	struct conf_ledger ledger;
	struct conf_thehive *thehive;
	size_t n_thehive;
	struct conf_alerts *alerts; // NULL: none are taken
	struct conf_redis *redis;
	size_t n_redis;
	struct conf_f5xc *f5xc; // NULL: no mirror
	struct conf_fleet *fleet; // NULL: a gateway by itself
};

// Read and check. 0, or -EINVAL (or -errno where the file could not be read) with one message a
// line in `ret_message`: "file:line:column: …" for the form, "control.protect.networks[2]: …" for
// the meaning; all of them that fit, not only the first. Warnings ("warning: …") also on success.
int conf_load(const char *path, struct conf **ret_conf, char ret_message[CONF_MESSAGE_MAX]);
// The same for text in memory; `name` stands for the file in messages. Files that it names are
// looked at only where check_files.
int conf_parse(
	const char *name,
	const char *text,
	size_t len,
	bool check_files,
	struct conf **ret_conf,
	char ret_message[CONF_MESSAGE_MAX]
);
void conf_free(struct conf *);
bool conf_text_same(const char *a, const char *b); // NULL: not given

// One row a key: "key | type | default | meaning", for the manual.
void conf_keys_print(FILE *to);
