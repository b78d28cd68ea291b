// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/conf_check.h"
#include "control/sources/redis_conn.h"
#include "control/sources/redis_tls.h"
#include "rules/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool list_repeats(const struct conf *conf, size_t index, size_t at)
{
	const struct conf_redis_list *list = &conf->redis[index].lists[at];
	for (size_t i = 0; i <= index; i++)
		for (size_t n = 0; n < (i == index ? at : conf->redis[i].n_lists); n++)
			if (strcmp(conf->redis[i].lists[n].name, list->name) == 0)
				return true;
	return false;
}

static bool channel_repeats(const struct conf_redis *redis, size_t at)
{
	for (size_t n = 0; n < at; n++)
		if (strcmp(redis->lists[n].key, redis->lists[at].key) == 0
		    || strcmp(redis->lists[n].channel, redis->lists[at].channel) == 0)
			return true;
	return false;
}

static void prefix_put(const char *prefix, char **text)
{
	char *whole;
	if (!prefix)
		return;
	if (asprintf(&whole, "%s%s", prefix, *text) < 0)
		abort(); // at start, without memory
	free(*text);
	*text = whole;
}

static void
redis_list_check(struct conf *conf, size_t index, size_t at, struct conf_messages *messages)
{
	struct conf_redis_list *list = &conf->redis[index].lists[at];
	char path[96], here[PATH_MAX_KEY];
	snprintf(path, sizeof(path), "control.redis[%zu].lists[%zu]", index, at);
	snprintf(here, sizeof(here), "%s.name", path);
	if (!conf_word_plain(list->name, 40))
		conf_error(messages, here, "1 to 40 of A-Z a-z 0-9 . _ -");
	else if (list_repeats(conf, index, at))
		conf_error(messages, here, "stands above already");
	snprintf(here, sizeof(here), "%s.key", path);
	if (!list->channel && asprintf(&list->channel, "%s:changes", list->key) < 0)
		abort(); // at start, without memory
	prefix_put(conf->redis[index].server.key_prefix, &list->key);
	prefix_put(conf->redis[index].server.key_prefix, &list->channel);
	if (strlen(list->key) > 500)
		conf_error(messages, here, "is longer than 500 octets, with its prefix");
	if (channel_repeats(&conf->redis[index], at))
		conf_error(messages, here, "key or channel stand above already");
	snprintf(here, sizeof(here), "%s.action", path);
	if (list->action == CONF_ACTION_NONE)
		conf_error(messages, here, "enforce or monitor");
	snprintf(here, sizeof(here), "%s.ttl", path);
	if (list->ttl && duration_parse(list->ttl, strlen(list->ttl), &list->ttl_s) < 0)
		conf_error(messages, here, "expected 30s, 15m, 4h or 7d, up to 10 years");
	else if (list->ttl_s && list->ttl_s < 4 * (int64_t)list->refresh_s)
		conf_error(messages, here, "is shorter than four times refresh_s");
}

// `what`: of the thing itself, as "control.redis[0].address".
static void address_check(
	const char *address,
	const struct conf_redis_tls *tls,
	const char *what,
	struct conf_messages *messages
)
{
	char host[256], port[6];
	if (address[0] == '/') {
		if (strlen(address) > 107)
			conf_error(messages, what, "is too long for a Unix socket");
		if (tls)
			conf_error(messages, what, "tls needs an address HOST:PORT");
	} else if (redis_address_parse(address, host, port) < 0) {
		conf_error(messages, what, "expected HOST:PORT, [IPv6]:PORT or a path");
	} else if (!tls && strncmp(host, "127.", 4) != 0 && strcmp(host, "::1") != 0 && strcmp(host, "localhost") != 0) {
		conf_warning(
			messages,
			what,
			"without tls who is in between can change lists: give tls, or use a Unix "
			"socket or a tunnel"
		);
	}
}

static void tls_check(
	const struct conf_redis_tls *tls,
	const char *path,
	bool check_files,
	struct conf_messages *messages
)
{
	struct redis_tls *loaded = NULL;
	char here[PATH_MAX_KEY], message[256];
	snprintf(here, sizeof(here), "%.200s.tls", path);
	if (tls->key_file && !tls->cert_file)
		conf_error(messages, here, "cert_file is missing");
	// Files that cannot be read have their message already.
	bool readable = (!tls->ca_file || access(tls->ca_file, R_OK) == 0)
		&& (!tls->cert_file || access(tls->cert_file, R_OK) == 0)
		&& (!tls->key_file || access(tls->key_file, R_OK) == 0);
	if (!check_files || !readable)
		return;
	if (redis_tls_create(tls, &loaded, message) < 0)
		conf_error(messages, here, "%s", message);
	else
		redis_tls_free(loaded);
}

static void sentinel_check(
	const struct conf_redis_sentinel *sentinel,
	const char *path,
	bool check_files,
	struct conf_messages *messages
)
{
	char here[PATH_MAX_KEY];
	if (sentinel->n_addresses == 0)
		conf_error(messages, path, "addresses are missing");
	for (size_t i = 0; i < sentinel->n_addresses; i++) {
		snprintf(here, sizeof(here), "%.200s.addresses[%zu]", path, i);
		address_check(sentinel->addresses[i], sentinel->tls, here, messages);
	}
	snprintf(here, sizeof(here), "%.200s.master", path);
	if (!conf_word_plain(sentinel->master, 100))
		conf_error(messages, here, "1 to 100 of A-Z a-z 0-9 . _ -");
	if (sentinel->user && !sentinel->password_file)
		conf_error(messages, path, "user needs password_file");
	if (sentinel->tls)
		tls_check(sentinel->tls, path, check_files, messages);
}

void conf_redis_server_check(
	const struct conf_redis_server *server,
	const char *path,
	bool check_files,
	struct conf_messages *messages
)
{
	char here[PATH_MAX_KEY];
	snprintf(here, sizeof(here), "%.200s.address", path);
	if (!server->address == !server->sentinel)
		conf_error(messages, path, "needs address or sentinel, and one of them only");
	else if (server->address)
		address_check(server->address, server->tls, here, messages);
	snprintf(here, sizeof(here), "%.200s.sentinel", path);
	if (server->sentinel)
		sentinel_check(server->sentinel, here, check_files, messages);
	if (server->sentinel && server->sentinel->tls && !server->tls)
		conf_warning(messages, here, "has tls, and the Redis that it names has none");
	if (server->user && !server->password_file)
		conf_error(messages, path, "user needs password_file");
	if (server->tls)
		tls_check(server->tls, path, check_files, messages);
	snprintf(here, sizeof(here), "%.200s.key_prefix", path);
	if (server->key_prefix && strlen(server->key_prefix) > 200)
		conf_error(messages, here, "is longer than 200 octets");
}

void conf_redis_check(
	struct conf *conf, size_t index, bool check_files, struct conf_messages *messages
)
{
	struct conf_redis *redis = &conf->redis[index];
	char path[64], here[PATH_MAX_KEY];
	snprintf(path, sizeof(path), "control.redis[%zu]", index);
	snprintf(here, sizeof(here), "%s.name", path);
	if (!conf_word_plain(redis->name, 40))
		conf_error(messages, here, "1 to 40 of A-Z a-z 0-9 . _ -");
	conf_redis_server_check(&redis->server, path, check_files, messages);
	for (size_t i = 0; i < redis->n_lists; i++)
		redis_list_check(conf, index, i, messages);
}
