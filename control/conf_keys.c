// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/conf_keys.h"

#include <stddef.h>

// clang-format off
#define KEY(s, key, t, member, d, h) \
	{.name = key, .type = t, .offset = offsetof(struct s, member), .fallback = d, .help = h}
#define NEED(s, key, t, member, h) \
	{.name = key, .type = t, .required = true, .offset = offsetof(struct s, member), .help = h}
#define NUMBER(s, key, t, member, d, lo, hi, h) \
	{.name = key, .type = t, .offset = offsetof(struct s, member), .fallback = d, .min = lo, \
	 .max = hi, .help = h}
#define LIST(s, key, member, d, h) \
	{.name = key, .type = KEY_LIST, .offset = offsetof(struct s, member), \
	 .count_offset = offsetof(struct s, n_##member), .fallback = d, .help = h}
#define WORD(s, key, member, w, d, h) \
	{.name = key, .type = KEY_WORD, .offset = offsetof(struct s, member), .fallback = d, \
	 .words = w, .n_words = sizeof(w) / sizeof(w[0]), .help = h}
#define SECTION(s, key, member, c, cs, h) \
	{.name = key, .type = KEY_SECTION, .offset = offsetof(struct s, member), .children = c, \
	 .size = sizeof(struct cs), .help = h}
#define SECTION_PTR(s, key, member, c, cs, h) \
	{.name = key, .type = KEY_SECTION_PTR, .offset = offsetof(struct s, member), \
	 .children = c, .size = sizeof(struct cs), .help = h}
#define SECTIONS(s, key, member, c, cs, h) \
	{.name = key, .type = KEY_SECTIONS, .offset = offsetof(struct s, member), \
	 .count_offset = offsetof(struct s, n_##member), .children = c, \
	 .size = sizeof(struct cs), .help = h}
#define END {.name = NULL}

static const cyaml_strval_t overlap_words[] = {
	{"refuse", CONF_OVERLAP_REFUSE}, {"except", CONF_OVERLAP_EXCEPT},
};
static const cyaml_strval_t action_words[] = {
	{"enforce", CONF_ACTION_ENFORCE}, {"monitor", CONF_ACTION_MONITOR}, {"none", CONF_ACTION_NONE},
};
// 1 more than the value, so that 0 is "not given" (conf.c takes it off again).
static const cyaml_strval_t pap_words[] = {
	{"CLEAR", 1}, {"WHITE", 1}, {"GREEN", 2}, {"AMBER", 3},
};
static const cyaml_strval_t tlp_words[] = {
	{"CLEAR", 1}, {"WHITE", 1}, {"GREEN", 2}, {"AMBER", 3}, {"AMBER+STRICT", 4}, {"RED", 5},
};

static const cyaml_strval_t drift_words[] = {
	{"repair", CONF_DRIFT_REPAIR}, {"show", CONF_DRIFT_SHOW},
};
static const cyaml_strval_t deleted_words[] = {
	{"recreate", CONF_DELETED_RECREATE}, {"report", CONF_DELETED_REPORT},
};

static const struct conf_key tls_keys[] = {
	KEY(conf_tls, "ca_file", KEY_FILE, ca_file, NULL, "certificates to trust (PEM), instead of the system's"),
	KEY(conf_tls, "cert_file", KEY_FILE, cert_file, NULL, "client certificate: PEM, or PKCS#12 (.p12, .pfx)"),
	KEY(conf_tls, "key_file", KEY_FILE, key_file, NULL, "its key (PEM), where it is not in cert_file"),
	KEY(conf_tls, "key_password_file", KEY_SECRET, key_password_file, NULL, "the key's or the PKCS#12 file's password"),
	END,
};
static const struct conf_key server_tls_keys[] = {
	KEY(conf_server_tls, "cert_file", KEY_FILE, cert_file, NULL, "certificate chain (PEM)"),
	KEY(conf_server_tls, "key_file", KEY_FILE, key_file, NULL, "its key (PEM)"),
	END,
};
static const struct conf_key http_keys[] = {
	NUMBER(conf_http, "max_connections", KEY_U32, max_connections, "4096", 1, 65535, "connections at a time on TCP, and likewise on the Unix socket"),
	NUMBER(conf_http, "max_connections_per_address", KEY_U32, max_connections_per_address, "2048", 1, 65535, "of these, from one address"),
	NUMBER(conf_http, "deadline_ms", KEY_U32, deadline_ms, "10000", 10, 600000, "longest time from a connection or the last answer to a whole request, and to its answer"),
	NUMBER(conf_http, "hooks_per_second", KEY_U32, hooks_per_second, "5000", 1, 1000000, "webhooks from one address in a second; beyond: 429"),
	END,
};
static const struct conf_key protect_keys[] = {
	KEY(conf_protect, "private", KEY_BOOL, private_ranges, "true", "protect RFC 1918, fc00::/7 and 100.64.0.0/10"),
	WORD(conf_protect, "overlap", overlap, overlap_words, "refuse", "a block that meets a protection: refuse it, or except the protected part"),
	LIST(conf_protect, "networks", networks, NULL, "addresses, prefixes, protocol/address:port that are never denied"),
	LIST(conf_protect, "names", names, NULL, "names that are never denied: corp.example, *.corp.example"),
	END,
};
static const struct conf_key brake_keys[] = {
	NUMBER(conf_brakes, "shortest_prefix_v4", KEY_U32, shortest_prefix_v4, "16", 1, 32, "wider IPv4 prefixes are refused"),
	NUMBER(conf_brakes, "shortest_prefix_v6", KEY_U32, shortest_prefix_v6, "32", 1, 128, "wider IPv6 prefixes are refused"),
	NUMBER(conf_brakes, "case_claims_per_minute", KEY_U32, case_claims_per_minute, "200", 1, 1000000, "new claims of cases in a minute; beyond it they are held for an operator"),
	END,
};
static const struct conf_key ledger_keys[] = {
	NUMBER(conf_ledger, "max_entries", KEY_U64, max_entries, "1000000", 1, 100000000, "entries that the ledger takes; not above the data plane's capacity"),
	NUMBER(conf_ledger, "change_log_max", KEY_U64, change_log_max, "200000", 1000, 100000000, "changes kept for followers; one further behind compares in full"),
	END,
};
static const struct conf_key response_keys[] = {
	NEED(conf_response, "value", KEY_TEXT, value, "a value of the response field"),
	{.name = "action", .type = KEY_WORD, .required = true, .offset = offsetof(struct conf_response, action),
	 .words = action_words, .n_words = 3, .help = "what it stands for: enforce, monitor, none"},
	KEY(conf_response, "for", KEY_TEXT, duration, NULL, "how long, as 4h or 7d; without: no end"),
	END,
};
static const struct conf_key type_keys[] = {
	NEED(conf_type, "type", KEY_TEXT, type, "a type of observables that this site made"),
	NEED(conf_type, "as", KEY_TEXT, as, "how it is read: ip, domain, fqdn, hostname, url, other or mail"),
	END,
};
static const struct conf_key writeback_keys[] = {
	KEY(conf_writeback, "enforced", KEY_BOOL, enforced, "true", "a comment on what is denied: destinations, entries, revision, gateway, F5 XC, time since the verdict"),
	KEY(conf_writeback, "attempts", KEY_BOOL, attempts, "true", "a comment, kept up to date, on who tried afterwards: hosts, ports, first, last, how often"),
	KEY(conf_writeback, "tags", KEY_BOOL, tags, "true", "tags on observables: stanch:enforced, stanch:monitored, stanch:held, stanch:refused; others' tags stay"),
	KEY(conf_writeback, "refused", KEY_BOOL, refused, "true", "what was refused or is held, with the reason and the observable"),
	KEY(conf_writeback, "expiry", KEY_BOOL, expiry, "true", "a warning before a denial ends by itself"),
	KEY(conf_writeback, "withdrawn", KEY_BOOL, withdrawn, "true", "what is denied no longer, and what an operator allows"),
	KEY(conf_writeback, "immunity", KEY_BOOL, immunity, "true", "false positives: which lists they suspend, until when, and their end"),
	NUMBER(conf_writeback, "delay_ms", KEY_U32, delay_ms, "5000", 1, 3600000, "what happens to a case within this time stands in one comment"),
	NUMBER(conf_writeback, "attempts_s", KEY_U32, attempts_s, "300", 1, 86400, "between two updates of a case's attempts; where they cannot be updated, hourly at most"),
	NUMBER(conf_writeback, "expiry_s", KEY_U32, expiry_s, "86400", 1, 31536000, "how long before the end the warning comes, at the most a quarter of the time it was for"),
	NUMBER(conf_writeback, "max_per_second", KEY_DOUBLE, max_per_second, "2", 0, 1000, "requests a second, for writing and reading back"),
	END,
};
static const struct conf_key thehive_keys[] = {
	NEED(conf_thehive, "name", KEY_TEXT, name, "what this instance is called in claims and status; do not change it later"),
	NEED(conf_thehive, "url", KEY_URL, url, "base URL, with a path where TheHive has one"),
	{.name = "key_file", .type = KEY_SECRET, .required = true, .offset = offsetof(struct conf_thehive, key_file), .help = "API key of a service account"},
	KEY(conf_thehive, "organisation", KEY_TEXT, organisation, NULL, "organisation, where the account has several"),
	KEY(conf_thehive, "webhook_token_file", KEY_SECRET, webhook_token_file, NULL, "the word that this TheHive's webhooks bring"),
	LIST(conf_thehive, "true_positive", true_positive, "TruePositive", "TheHive 5: statuses of a closed case that deny"),
	LIST(conf_thehive, "false_positive", false_positive, "FalsePositive", "TheHive 5: statuses of a closed case whose observables can be marked immune against lists"),
	NUMBER(conf_thehive, "immunity_days", KEY_U32, immunity_days, "30", 1, 90, "how long that lasts, from the closing"),
	KEY(conf_thehive, "response_field", KEY_TEXT, response_field, "stanch-action", "custom field by which an analyst says enforce or monitor"),
	KEY(conf_thehive, "response_tag", KEY_TEXT, response_tag, "stanch", "prefix of the tag that says the same: stanch:enforce, stanch:monitor:4h"),
	SECTIONS(conf_thehive, "responses", responses, response_keys, conf_response, "further values of the response field or tag"),
	WORD(conf_thehive, "max_pap", max_pap, pap_words, "AMBER", "block up to this PAP: CLEAR, GREEN or AMBER; RED never"),
	LIST(conf_thehive, "data_types", data_types, "ip,domain,fqdn,hostname,url", "types of observables that are read; also other, and mail: the domain of an e-mail address"),
	SECTIONS(conf_thehive, "types", types, type_keys, conf_type, "further types of observables, and how they are read"),
	NUMBER(conf_thehive, "index_delay_ms", KEY_U32, index_delay_ms, "2000", 1, 600000, "a case is read again after this time, for TheHive's index"),
	NUMBER(conf_thehive, "incremental_s", KEY_U32, incremental_s, "30", 1, 86400, "between listings of what changed"),
	NUMBER(conf_thehive, "full_s", KEY_U32, full_s, "900", 1, 604800, "between full listings"),
	NUMBER(conf_thehive, "orphan_grace_s", KEY_U32, orphan_grace_s, "604800", 1, 31536000, "what is no longer seen stays in force this long; the longest of all instances holds"),
	NUMBER(conf_thehive, "max_per_second", KEY_DOUBLE, max_per_second, "2", 0, 1000, "requests a second"),
	NUMBER(conf_thehive, "timeout_ms", KEY_U32, timeout_ms, "30000", 100, 600000, "of a whole request"),
	NUMBER(conf_thehive, "connect_timeout_ms", KEY_U32, connect_timeout_ms, "5000", 100, 600000, "of connecting"),
	KEY(conf_thehive, "proxy", KEY_TEXT, proxy, NULL, "http://HOST:PORT or socks5h://HOST:PORT"),
	SECTION(conf_thehive, "tls", tls, tls_keys, conf_tls, "TLS towards TheHive"),
	SECTION(conf_thehive, "writeback", writeback, writeback_keys, conf_writeback, "what is written to cases"),
	END,
};
static const cyaml_strval_t alert_pap_words[] = {
	{"CLEAR", 1}, {"WHITE", 1}, {"GREEN", 2}, {"AMBER", 3}, {"RED", 4},
};
static const struct conf_key alert_source_keys[] = {
	NEED(conf_alert_source, "name", KEY_TEXT, name, "what its alerts' source is called in TheHive"),
	KEY(conf_alert_source, "token_file", KEY_SECRET, token_file, NULL, "the word that its requests bring"),
	LIST(conf_alert_source, "tags", tags, NULL, "tags added to each of its alerts"),
	WORD(conf_alert_source, "tlp", tlp, tlp_words, "AMBER", "TLP of alerts that say none"),
	WORD(conf_alert_source, "pap", pap, alert_pap_words, "AMBER", "PAP of alerts that say none"),
	NUMBER(conf_alert_source, "per_minute", KEY_U32, per_minute, "600", 1, 1000000, "alerts in a minute; beyond: 429"),
	END,
};
static const struct conf_key alerts_keys[] = {
	KEY(conf_alerts, "thehive", KEY_TEXT, thehive, NULL, "name of the instance that gets the cases; without: the first"),
	SECTIONS(conf_alerts, "sources", sources, alert_source_keys, conf_alert_source, "who may send alerts to /v1/hooks/alerts"),
	LIST(conf_alerts, "promote", promote, NULL, "alerts that lie new in TheHive from these sources become cases"),
	NUMBER(conf_alerts, "promote_s", KEY_U32, promote_s, "60", 1, 86400, "between listings of those"),
	NUMBER(conf_alerts, "max_pending", KEY_U32, max_pending, "10000", 1, 100000, "alerts that wait for TheHive, at most 64 MiB; beyond: 503"),
	END,
};
static const struct conf_key f5xc_keys[] = {
	NEED(conf_f5xc, "url", KEY_URL, url, "https://TENANT.console.ves.volterra.io/api"),
	KEY(conf_f5xc, "token_file", KEY_SECRET, token_file, NULL, "API token; or a certificate in tls.cert_file"),
	KEY(conf_f5xc, "namespace", KEY_TEXT, xc_namespace, "system", "namespace of the sets"),
	KEY(conf_f5xc, "prefix", KEY_TEXT, prefix, "stanch", "names of the sets begin so: stanch-v4-000"),
	KEY(conf_f5xc, "fleet_id", KEY_TEXT, fleet_id, NULL, "label of the owner; without: control.fleet.id"),
	LIST(conf_f5xc, "mirror", mirror, "cases,operators", "whose entries: cases, operators, list:NAME"),
	WORD(conf_f5xc, "max_tlp", max_tlp, tlp_words, "AMBER", "entries of cases above this TLP are not mirrored"),
	NUMBER(conf_f5xc, "min_interval_ms", KEY_U32, min_interval_ms, "5000", 1, 3600000, "between two writes of one set; at 1 nothing waits"),
	NUMBER(conf_f5xc, "reconcile_s", KEY_U32, reconcile_s, "300", 1, 86400, "between comparisons of everything"),
	NUMBER(conf_f5xc, "set_size", KEY_U32, set_size, "1000", 1, 1023, "prefixes to which a set is filled; F5 takes 1024"),
	NUMBER(conf_f5xc, "max_sets", KEY_U32, max_sets, "128", 1, 128, "sets of one address family; what finds no place in them is refused there"),
	NUMBER(conf_f5xc, "requests_per_minute", KEY_U32, requests_per_minute, "25", 1, 60000, "requests a minute in the long run; F5's limits are not published, 60 and 120 were seen"),
	NUMBER(conf_f5xc, "request_burst", KEY_U32, request_burst, "12", 1, 1000, "requests that may go at once after a quiet time"),
	WORD(conf_f5xc, "drift", drift, drift_words, "repair", "what somebody changed at F5: repair it, or only show it"),
	WORD(conf_f5xc, "deleted", deleted, deleted_words, "recreate", "an object that somebody deleted at F5: recreate it, or only report it"),
	KEY(conf_f5xc, "policy_before", KEY_TEXT, policy_before, NULL, "policy mode: the operator's enhanced_firewall_policy that follows ours and ends in allow; without: sets only"),
	KEY(conf_f5xc, "token_ends", KEY_TEXT, token_ends, NULL, "last day of the token, as 2027-01-31: an alarm 30 days before"),
	NUMBER(conf_f5xc, "timeout_ms", KEY_U32, timeout_ms, "30000", 100, 600000, "of a whole request"),
	NUMBER(conf_f5xc, "connect_timeout_ms", KEY_U32, connect_timeout_ms, "5000", 100, 600000, "of connecting"),
	KEY(conf_f5xc, "proxy", KEY_TEXT, proxy, NULL, "http://HOST:PORT or socks5h://HOST:PORT"),
	SECTION(conf_f5xc, "tls", tls, tls_keys, conf_tls, "TLS towards F5 XC"),
	END,
};
static const struct conf_key redis_list_keys[] = {
	NEED(conf_redis_list, "name", KEY_TEXT, name, "what this list is called in claims and status; do not change it later"),
	NEED(conf_redis_list, "key", KEY_TEXT, key, "key of a set, hash, sorted set (score: the end), stream or string"),
	KEY(conf_redis_list, "channel", KEY_TEXT, channel, NULL, "channel on which changed members are named; without: KEY:changes"),
	KEY(conf_redis_list, "keyspace", KEY_BOOL, keyspace, "false", "listen to keyspace notifications too (notify-keyspace-events)"),
	WORD(conf_redis_list, "action", action, action_words, "enforce", "of members that say none; monitor: of all members"),
	KEY(conf_redis_list, "reason", KEY_TEXT, reason, NULL, "of members that say none"),
	KEY(conf_redis_list, "ttl", KEY_TEXT, ttl, NULL, "members without an end last so long after the last reading that shows them, as 24h"),
	NUMBER(conf_redis_list, "refresh_s", KEY_U32, refresh_s, "60", 1, 86400, "between full readings"),
	NUMBER(conf_redis_list, "shortest_prefix_v4", KEY_U32, shortest_prefix_v4, "16", 1, 32, "wider IPv4 prefixes are refused"),
	NUMBER(conf_redis_list, "shortest_prefix_v6", KEY_U32, shortest_prefix_v6, "32", 1, 128, "wider IPv6 prefixes are refused"),
	NUMBER(conf_redis_list, "max_members", KEY_U64, max_members, "1000000", 1, 100000000, "more are held for an operator"),
	END,
};
static const struct conf_key redis_tls_keys[] = {
	KEY(conf_redis_tls, "ca_file", KEY_FILE, ca_file, NULL, "certificates to trust (PEM), instead of the system's"),
	KEY(conf_redis_tls, "cert_file", KEY_FILE, cert_file, NULL, "client certificate (PEM), with its chain"),
	KEY(conf_redis_tls, "key_file", KEY_FILE, key_file, NULL, "its key (PEM), where it is not in cert_file"),
	KEY(conf_redis_tls, "server_name", KEY_TEXT, server_name, NULL, "name or address in Redis's certificate; without: the host that is connected to"),
	END,
};
static const struct conf_key redis_sentinel_keys[] = {
	NEED(conf_redis_sentinel, "master", KEY_TEXT, master, "name under which the Sentinels watch it"),
	{.name = "addresses", .type = KEY_LIST, .required = true, .offset = offsetof(struct conf_redis_sentinel, addresses),
	 .count_offset = offsetof(struct conf_redis_sentinel, n_addresses), .help = "of the Sentinels, asked in turn: HOST:PORT"},
	KEY(conf_redis_sentinel, "user", KEY_TEXT, user, NULL, "ACL user of the Sentinels"),
	KEY(conf_redis_sentinel, "password_file", KEY_SECRET, password_file, NULL, "its password"),
	SECTION_PTR(conf_redis_sentinel, "tls", tls, redis_tls_keys, conf_redis_tls, "TLS towards the Sentinels, as above"),
	END,
};
// Of a struct conf_redis_server, which is (`in` empty) or lies in (as `server.`) a struct `s`.
#define REDIS_SERVER_KEYS(s, in) \
	KEY(s, "address", KEY_TEXT, in address, NULL, "HOST:PORT, or the absolute path of a Unix socket; or sentinel"), \
	SECTION_PTR(s, "sentinel", in sentinel, redis_sentinel_keys, conf_redis_sentinel, "who names the master, in place of address"), \
	KEY(s, "user", KEY_TEXT, in user, NULL, "ACL user; without: the default user"), \
	KEY(s, "password_file", KEY_SECRET, in password_file, NULL, "its password"), \
	NUMBER(s, "database", KEY_U32, in database, "0", 0, 65535, "number of the database"), \
	NUMBER(s, "timeout_ms", KEY_U32, in timeout_ms, "5000", 100, 600000, "longest time without an answer"), \
	NUMBER(s, "connect_timeout_ms", KEY_U32, in connect_timeout_ms, "5000", 100, 600000, "of connecting"), \
	SECTION_PTR(s, "tls", in tls, redis_tls_keys, conf_redis_tls, "TLS towards Redis; {} for the system's certificates and no client certificate"), \
	KEY(s, "key_prefix", KEY_TEXT, in key_prefix, NULL, "put before every key and channel that is named below, and before what is made of them")
static const struct conf_key redis_keys[] = {
	NEED(conf_redis, "name", KEY_TEXT, name, "what this Redis is called in status"),
	REDIS_SERVER_KEYS(conf_redis, server.),
	SECTIONS(conf_redis, "lists", lists, redis_list_keys, conf_redis_list, "lists published there"),
	END,
};
static const cyaml_strval_t fleet_role_words[] = {
	{"auto", CONF_FLEET_AUTO}, {"leader", CONF_FLEET_LEADER},
	{"follower", CONF_FLEET_FOLLOWER}, {"single", CONF_FLEET_SINGLE},
};
static const struct conf_key fleet_redis_keys[] = {
	REDIS_SERVER_KEYS(conf_redis_server, ),
	END,
};
static const struct conf_key fleet_keys[] = {
	NEED(conf_fleet, "id", KEY_TEXT, id, "what the fleet is called: the same on every gateway"),
	KEY(conf_fleet, "gateway", KEY_TEXT, gateway, NULL, "what this gateway is called: another on each; without: the host name"),
	WORD(conf_fleet, "role", role, fleet_role_words, "auto", "auto: leads when nobody does; leader: before those; follower: never; single: takes no part"),
	{.name = "redis", .type = KEY_SECTION, .required = true, .offset = offsetof(struct conf_fleet, redis),
	 .children = fleet_redis_keys, .size = sizeof(struct conf_redis_server), .help = "through which the gateways speak; keys begin with KEY_PREFIXstanch:ID:"},
	{.name = "key_file", .type = KEY_SECRET, .required = true, .offset = offsetof(struct conf_fleet, key_file), .help = "key by which gateways know each other, at least 32 octets; the same on every gateway"},
	KEY(conf_fleet, "previous_key_file", KEY_SECRET, previous_key_file, NULL, "while the key changes: the other one, old or new, taken too"),
	NUMBER(conf_fleet, "lease_ms", KEY_U32, lease_ms, "4000", 2000, 60000, "a leader that Redis has not heard for so long leads no longer"),
	END,
};
static const struct conf_key control_keys[] = {
	KEY(conf, "state_dir", KEY_DIR, state_dir, "/var/lib/stanch", "the ledger and the list on disk"),
	KEY(conf, "run_dir", KEY_DIR, run_dir, "/run/stanch", "dataplane.sock and control.sock"),
	KEY(conf, "listen", KEY_TEXT, listen, NULL, "ADDRESS:PORT of the HTTP API; without: the Unix socket only"),
	SECTION(conf, "tls", tls, server_tls_keys, conf_server_tls, "TLS of the HTTP API"),
	KEY(conf, "tokens_file", KEY_FILE, tokens_file, NULL, "tokens of the HTTP API"),
	SECTION(conf, "http", http, http_keys, conf_http, "limits of the HTTP API"),
	SECTION(conf, "protect", protect, protect_keys, conf_protect, "what must never be denied"),
	LIST(conf, "cautions", cautions, NULL, "files of what many share (MISP warninglists, or one a line): what is wider than a host and meets one is held, or refused as a member of a list"),
	SECTION(conf, "brakes", brakes, brake_keys, conf_brakes, "limits on what sources may do"),
	SECTION(conf, "ledger", ledger, ledger_keys, conf_ledger, "limits of the ledger"),
	SECTIONS(conf, "thehive", thehive, thehive_keys, conf_thehive, "instances of TheHive"),
	SECTION_PTR(conf, "alerts", alerts, alerts_keys, conf_alerts, "alerts that become cases in TheHive"),
	SECTIONS(conf, "redis", redis, redis_keys, conf_redis, "lists published in Redis"),
	SECTION_PTR(conf, "f5xc", f5xc, f5xc_keys, conf_f5xc, "mirror to F5 Distributed Cloud"),
	SECTION_PTR(conf, "fleet", fleet, fleet_keys, conf_fleet, "gateways that enforce one list"),
	END,
};

const struct conf_key conf_keys_top[] = {
	{.name = "control", .type = KEY_SECTION_PTR, .required = true,
	 .offset = offsetof(struct conf_file, control), .children = control_keys,
	 .size = sizeof(struct conf), .help = "stanch-control"},
	END,
};
// clang-format on

const char *key_type_name(enum key_type type)
{
	static const char *const names[] = {
		[KEY_TEXT] = "text",
		[KEY_DIR] = "directory",
		[KEY_FILE] = "file",
		[KEY_SECRET] = "file with a secret",
		[KEY_URL] = "URL",
		[KEY_LIST] = "list of texts",
		[KEY_U32] = "number",
		[KEY_U64] = "number",
		[KEY_DOUBLE] = "number",
		[KEY_BOOL] = "true or false",
		[KEY_WORD] = "word",
		[KEY_SECTION] = "section",
		[KEY_SECTION_PTR] = "section",
		[KEY_SECTIONS] = "list of sections",
	};
	return names[type];
}

static void keys_print(FILE *to, const struct conf_key *keys, const char *path)
{
	for (; keys->name; keys++) {
		char here[256];
		snprintf(
			here,
			sizeof(here),
			"%s%s%s%s",
			path,
			path[0] ? "." : "",
			keys->name,
			keys->type == KEY_SECTIONS ? "[]" : ""
		);
		fprintf(to,
			"%s | %s | %s | %s\n",
			here,
			key_type_name(keys->type),
			keys->required		 ? "required"
				: keys->fallback ? keys->fallback
						 : "",
			keys->help);
		if (keys->children)
			keys_print(to, keys->children, here);
	}
}

void conf_keys_print(FILE *to)
{
	keys_print(to, conf_keys_top, "");
}
