// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/conf_check.h"

#include "control/cautions.h"
#include "control/http_client.h"
#include "control/http_server.h"
#include "control/secret.h"
#include "rules/indicator.h"
#include "rules/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// --- by the table

static void *member(void *of, uint32_t offset)
{
	return (char *)of + offset;
}

static int list_default(const struct conf_key *key, void *of)
{
	char ***list = member(of, key->offset);
	size_t *count = member(of, key->count_offset);
	if (*list || !key->fallback)
		return 0;
	size_t n = 1;
	for (const char *c = key->fallback; *c; c++)
		n += *c == ',';
	*list = calloc(n, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	const char *at = key->fallback;
	for (*count = 0; *count < n; at += strcspn(at, ",") + 1) {
		char *text = strndup(at, strcspn(at, ","));
		if (!text)
			return -ENOMEM;
		(*list)[(*count)++] = text;
	}
	return 0;
}

static void
number_apply(const struct conf_key *key, void *of, const char *path, struct conf_messages *messages)
{
	void *at = member(of, key->offset);
	double value = key->type == KEY_U32 ? (double)*(uint32_t *)at
		: key->type == KEY_U64	    ? (double)*(uint64_t *)at
					    : *(double *)at;
	if (value == 0 && key->fallback) {
		value = strtod(key->fallback, NULL);
		if (key->type == KEY_U32)
			*(uint32_t *)at = (uint32_t)value;
		else if (key->type == KEY_U64)
			*(uint64_t *)at = (uint64_t)value;
		else
			*(double *)at = value;
	}
	bool limited = key->min || key->max;
	// "not (in range)": catches NaN too
	if (limited && !(value >= (double)key->min && value <= (double)key->max))
		conf_error(
			messages,
			path,
			"must be from %llu to %llu",
			(unsigned long long)key->min,
			(unsigned long long)key->max
		);
}

static void word_apply(const struct conf_key *key, void *of)
{
	int *value = member(of, key->offset);
	for (uint32_t i = 0; *value == 0 && key->fallback && i < key->n_words; i++)
		if (strcmp(key->words[i].str, key->fallback) == 0)
			*value = (int)key->words[i].val;
}

static void bool_apply(const struct conf_key *key, void *of)
{
	uint8_t raw; // 0 absent, 1 false, 2 true: no bool yet
	memcpy(&raw, member(of, key->offset), 1);
	bool value = raw == 0 ? strcmp(key->fallback, "true") == 0 : raw == 2;
	memcpy(member(of, key->offset), &value, 1);
}

static void
secret_check(const char *file, const char *path, bool check_files, struct conf_messages *messages)
{
	if (!check_files)
		return;
	char *secret = NULL, message[256];
	int error = secret_read(file, &secret, message);
	secret_free(secret);
	if (error)
		conf_error(messages, path, "%s", message);
	else if (message[0])
		conf_warning(messages, path, "%s", message);
}

static void url_check(char *url, const char *path, struct conf_messages *messages)
{
	size_t scheme = strncmp(url, "https://", 8) == 0 ? 8
		: strncmp(url, "http://", 7) == 0	 ? 7
							 : 0;
	if (!scheme || !url[scheme] || strchr("/:", url[scheme])) {
		conf_error(messages, path, "expected http://HOST… or https://HOST…");
		return;
	}
	if (strpbrk(url, "@?#\" \t"))
		conf_error(messages, path, "no user, query, fragment or white space in it");
	size_t len = strlen(url);
	while (len > scheme && url[len - 1] == '/')
		url[--len] = '\0';
}

static int text_apply(
	const struct conf_key *key,
	void *of,
	const char *path,
	bool check_files,
	struct conf_messages *messages
)
{
	char **text = member(of, key->offset);
	if (*text && !**text && !key->required) { // "key:" without a value: as if it were absent
		free(*text);
		*text = NULL;
	}
	if (!*text && key->fallback) {
		*text = strdup(key->fallback);
		if (!*text)
			return -ENOMEM;
	}
	if (!*text)
		return 0;
	if (!**text)
		conf_error(messages, path, "is empty");
	else if (key->type == KEY_URL)
		url_check(*text, path, messages);
	else if (key->type == KEY_DIR && **text != '/')
		conf_error(messages, path, "must be an absolute path");
	else if (key->type == KEY_SECRET)
		secret_check(*text, path, check_files, messages);
	else if (key->type == KEY_FILE && check_files && access(*text, R_OK) < 0)
		conf_error(messages, path, "%s: %s", *text, strerror(errno));
	return 0;
}

static int sections_apply(
	const struct conf_key *key,
	void *of,
	const char *path,
	bool check_files,
	struct conf_messages *messages
)
{
	if (key->type == KEY_SECTION)
		return conf_keys_apply(
			key->children, member(of, key->offset), path, check_files, messages
		);
	char *first;
	memcpy(&first, member(of, key->offset), sizeof(first));
	if (!first)
		return 0;
	if (key->type == KEY_SECTION_PTR)
		return conf_keys_apply(key->children, first, path, check_files, messages);
	size_t n = *(size_t *)member(of, key->count_offset);
	for (size_t i = 0; i < n; i++) {
		char here[PATH_MAX_KEY];
		snprintf(here, sizeof(here), "%.200s[%zu]", path, i);
		int error = conf_keys_apply(
			key->children, first + i * key->size, here, check_files, messages
		);
		if (error)
			return error;
	}
	return 0;
}

int conf_keys_apply(
	const struct conf_key *key,
	void *of,
	const char *path,
	bool check_files,
	struct conf_messages *messages
)
{
	int error = 0;
	for (; key->name && !error; key++) {
		char here[PATH_MAX_KEY];
		snprintf(here, sizeof(here), "%.200s%s%s", path, path[0] ? "." : "", key->name);
		switch (key->type) {
		case KEY_LIST:
			error = list_default(key, of);
			break;
		case KEY_U32:
		case KEY_U64:
		case KEY_DOUBLE:
			number_apply(key, of, here, messages);
			break;
		case KEY_BOOL:
			bool_apply(key, of);
			break;
		case KEY_WORD:
			word_apply(key, of);
			break;
		case KEY_SECTION:
		case KEY_SECTION_PTR:
		case KEY_SECTIONS:
			error = sections_apply(key, of, here, check_files, messages);
			break;
		default:
			error = text_apply(key, of, here, check_files, messages);
			break;
		}
	}
	return error;
}

// --- what no single key says

static void indicators_check(
	char **texts, size_t n, const char *path, bool names, struct conf_messages *messages
)
{
	for (size_t i = 0; i < n; i++) {
		char here[PATH_MAX_KEY];
		snprintf(here, sizeof(here), "%s[%zu]", path, i);
		struct indicator indicator;
		struct indicator_error error;
		if (indicator_parse(texts[i], strlen(texts[i]), &indicator, &error) < 0)
			conf_error(messages, here, "column %zu: %s", error.column, error.reason);
		else if ((indicator.kind == INDICATOR_NAME) != names)
			conf_error(
				messages,
				here,
				names ? "is no name: put it under networks"
				      : "is a name: put it under names"
			);
	}
}

static void cautions_check_files(const struct conf *conf, struct conf_messages *messages)
{
	struct cautions *cautions = NULL;
	if (cautions_create(&cautions) < 0)
		return;
	for (size_t i = 0; i < conf->n_cautions; i++) {
		char here[PATH_MAX_KEY], message[256];
		snprintf(here, sizeof(here), "control.cautions[%zu]", i);
		if (cautions_load(cautions, conf->cautions[i], message) < 0)
			conf_error(messages, here, "%s", message);
	}
	cautions_free(cautions);
}

static bool is_loopback(const struct sockaddr *address)
{
	const struct sockaddr_in *in = (const void *)address;
	const struct sockaddr_in6 *in6 = (const void *)address;
	if (address->sa_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static void listen_check(const struct conf *conf, struct conf_messages *messages)
{
	if (!conf->tls.cert_file != !conf->tls.key_file)
		conf_error(messages, "control.tls", "needs both cert_file and key_file");
	if (!conf->listen)
		return;
	struct sockaddr_storage address = {0};
	int len = sizeof(address);
	if (http_listen_parse(conf->listen, (struct sockaddr *)&address, &len) < 0) {
		conf_error(
			messages,
			"control.listen",
			"expected ADDRESS:PORT, as 127.0.0.1:8080 or [::1]:8080"
		);
		return;
	}
	if (!conf->tokens_file)
		conf_warning(
			messages, "control.listen", "without tokens_file only webhooks may come in"
		);
	if (!conf->tls.cert_file && !is_loopback((struct sockaddr *)&address))
		conf_warning(
			messages,
			"control.listen",
			"tokens travel in clear: give control.tls, or listen on loopback"
		);
}

static void tls_client_check(
	const struct conf_tls *tls,
	const char *path,
	bool check_files,
	struct conf_messages *messages
)
{
	if ((tls->key_file || tls->key_password_file) && !tls->cert_file)
		conf_error(messages, path, "cert_file is missing");
	char message[256];
	const struct http_tls files = {
		.ca_file = tls->ca_file,
		.cert_file = tls->cert_file,
		.key_file = tls->key_file,
		.key_password_file = tls->key_password_file,
	};
	// Files that cannot be read have their message already.
	bool readable = (!tls->ca_file || access(tls->ca_file, R_OK) == 0)
		&& (!tls->cert_file || access(tls->cert_file, R_OK) == 0)
		&& (!tls->key_file || access(tls->key_file, R_OK) == 0);
	if (check_files && readable && http_tls_check(&files, message) < 0)
		conf_error(messages, path, "%s", message);
}

static void url_clear_check(const char *url, const char *path, struct conf_messages *messages)
{
	if (strncmp(url, "http://", 7) != 0)
		return;
	const char *host = url + 7;
	if (strncmp(host, "127.", 4) != 0 && strncmp(host, "[::1]", 5) != 0
	    && strncasecmp(host, "localhost", 9) != 0)
		conf_warning(messages, path, "keys and cases travel in clear: use https://");
}

bool conf_word_plain(const char *text, size_t max)
{
	size_t len = strlen(text);
	return len > 0 && len <= max
		&& strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
		== len;
}

static void
responses_check(struct conf_thehive *hive, const char *path, struct conf_messages *messages)
{
	for (size_t i = 0; i < hive->n_responses; i++) {
		struct conf_response *response = &hive->responses[i];
		char here[PATH_MAX_KEY];
		snprintf(here, sizeof(here), "%.128s.responses[%zu].for", path, i);
		if (response->duration
		    && duration_parse(
			       response->duration, strlen(response->duration), &response->duration_s
		       ) < 0)
			conf_error(messages, here, "expected 30s, 15m, 4h or 7d, up to 10 years");
	}
}

static void type_check(const char *type, const char *path, struct conf_messages *messages)
{
	static const char *const types[]
		= {"ip", "domain", "fqdn", "hostname", "url", "other", "mail"};
	for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
		if (strcmp(type, types[t]) == 0)
			return;
	conf_error(messages, path, "is none of ip, domain, fqdn, hostname, url, other, mail");
}

static void
thehive_check(struct conf *conf, size_t index, bool check_files, struct conf_messages *messages)
{
	struct conf_thehive *hive = &conf->thehive[index];
	char path[64], here[PATH_MAX_KEY];
	snprintf(path, sizeof(path), "control.thehive[%zu]", index);
	snprintf(here, sizeof(here), "%s.name", path);
	if (!conf_word_plain(hive->name, 40))
		conf_error(messages, here, "1 to 40 of A-Z a-z 0-9 . _ -");
	for (size_t i = 0; i < index; i++)
		if (strcmp(conf->thehive[i].name, hive->name) == 0)
			conf_error(messages, here, "stands above already");
	snprintf(here, sizeof(here), "%s.url", path);
	url_clear_check(hive->url, here, messages);
	for (size_t i = 0; i < hive->n_data_types; i++) {
		snprintf(here, sizeof(here), "%s.data_types[%zu]", path, i);
		type_check(hive->data_types[i], here, messages);
	}
	for (size_t i = 0; i < hive->n_types; i++) {
		snprintf(here, sizeof(here), "%s.types[%zu].as", path, i);
		type_check(hive->types[i].as, here, messages);
	}
	responses_check(hive, path, messages);
	snprintf(here, sizeof(here), "%s.tls", path);
	tls_client_check(&hive->tls, here, check_files, messages);
	snprintf(here, sizeof(here), "%s.full_s", path);
	if (hive->full_s < hive->incremental_s)
		conf_error(messages, here, "is shorter than incremental_s");
}

static bool day_parse(const char *text, int64_t *ret_seconds)
{
	struct tm day = {0};
	const char *end = strptime(text, "%Y-%m-%d", &day);
	if (!end || *end)
		return false;
	*ret_seconds = (int64_t)timegm(&day) + 86400;
	return true;
}

// What F5's objects are labelled with: they are the fleet's, not a machine's.
static void fleet_id_check(struct conf *conf, struct conf_messages *messages)
{
	struct conf_f5xc *f5 = conf->f5xc;

	if (!f5->fleet_id && conf->fleet) {
		f5->fleet_id = strdup(conf->fleet->id);
		if (!f5->fleet_id)
			abort(); // at start, without memory
	}
	if (!f5->fleet_id)
		conf_error(
			messages,
			"control.f5xc.fleet_id",
			"is needed where there is no control.fleet"
		);
	else if (!conf_word_plain(f5->fleet_id, 40))
		conf_error(messages, "control.f5xc.fleet_id", "1 to 40 of A-Z a-z 0-9 . _ -");
}

static void f5xc_check(struct conf *conf, bool check_files, struct conf_messages *messages)
{
	struct conf_f5xc *f5 = conf->f5xc;

	fleet_id_check(conf, messages);
	if (f5->token_ends && !day_parse(f5->token_ends, &f5->token_ends_s))
		conf_error(messages, "control.f5xc.token_ends", "expected a day, as 2027-01-31");
	if (!f5->token_file && !f5->tls.cert_file)
		conf_error(messages, "control.f5xc", "needs token_file or tls.cert_file");
	static const char label[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	size_t len = strlen(f5->xc_namespace);
	if (len > 63 || strspn(f5->xc_namespace, label) != len) // goes into paths
		conf_error(messages, "control.f5xc.namespace", "1 to 63 of a-z 0-9 -");
	len = strlen(f5->prefix);
	// RFC 1035 label with "-v4-000" behind it
	if (len > 50 || strspn(f5->prefix, label) != len || f5->prefix[0] < 'a')
		conf_error(
			messages,
			"control.f5xc.prefix",
			"1 to 50 of a-z 0-9 -, beginning with a letter"
		);
	if (f5->policy_before) {
		len = strlen(f5->policy_before);
		if (len < 1 || len > 63 || strspn(f5->policy_before, label) != len)
			conf_error(messages, "control.f5xc.policy_before", "1 to 63 of a-z 0-9 -");
	}
	for (size_t i = 0; i < f5->n_mirror; i++) {
		char here[PATH_MAX_KEY];
		snprintf(here, sizeof(here), "control.f5xc.mirror[%zu]", i);
		const char *what = f5->mirror[i];
		if (strcmp(what, "cases") != 0 && strcmp(what, "operators") != 0
		    && strncmp(what, "list:", 5) != 0)
			conf_error(messages, here, "is none of cases, operators, list:NAME");
	}
	url_clear_check(f5->url, "control.f5xc.url", messages);
	tls_client_check(&f5->tls, "control.f5xc.tls", check_files, messages);
}

static void
alert_source_check(const struct conf_alerts *alerts, size_t index, struct conf_messages *messages)
{
	struct conf_alert_source *source = &alerts->sources[index];
	char here[PATH_MAX_KEY];
	source->tlp--; // the words' values are one more
	source->pap--;
	snprintf(here, sizeof(here), "control.alerts.sources[%zu].name", index);
	if (!conf_word_plain(source->name, 40))
		conf_error(messages, here, "1 to 40 of A-Z a-z 0-9 . _ -");
	for (size_t i = 0; i < index; i++)
		if (strcmp(alerts->sources[i].name, source->name) == 0)
			conf_error(messages, here, "stands above already");
}

static void alerts_check(const struct conf *conf, struct conf_messages *messages)
{
	const struct conf_alerts *alerts = conf->alerts;
	bool found = !alerts->thehive && conf->n_thehive > 0;
	for (size_t i = 0; alerts->thehive && i < conf->n_thehive; i++)
		found = found || strcmp(conf->thehive[i].name, alerts->thehive) == 0;
	if (!found)
		conf_error(
			messages,
			alerts->thehive ? "control.alerts.thehive" : "control.alerts",
			"needs an instance under control.thehive"
		);
	for (size_t i = 0; i < alerts->n_sources; i++)
		alert_source_check(alerts, i, messages);
}

void conf_check(struct conf *conf, bool check_files, struct conf_messages *messages)
{
	listen_check(conf, messages);
	const struct conf_protect *protect = &conf->protect;
	indicators_check(
		protect->networks, protect->n_networks, "control.protect.networks", false, messages
	);
	indicators_check(protect->names, protect->n_names, "control.protect.names", true, messages);
	if (check_files)
		cautions_check_files(conf, messages);
	if (strlen(conf->run_dir) > 107 - strlen("/dataplane.sock"))
		conf_error(messages, "control.run_dir", "is too long for a Unix socket in it");
	for (size_t i = 0; i < conf->n_thehive; i++) {
		conf->thehive[i].max_pap--; // the words' values are one more
		thehive_check(conf, i, check_files, messages);
	}
	if (conf->alerts)
		alerts_check(conf, messages);
	for (size_t i = 0; i < conf->n_redis; i++)
		conf_redis_check(conf, i, check_files, messages);
	if (conf->fleet)
		conf_fleet_check(conf, check_files, messages);
	if (conf->f5xc) {
		conf->f5xc->max_tlp--;
		f5xc_check(conf, check_files, messages);
	}
}
