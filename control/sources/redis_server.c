// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/redis_server.h"

#include "control/secret.h"
#include "control/sources/redis_sentinel.h"
#include "control/sources/redis_tls.h"

#include <errno.h>
#include <stdlib.h>

struct redis_server {
	struct event_base *base;
	struct evdns_base *dns;
	const struct conf_redis_server *conf;
	char *password;
	struct redis_tls *tls, *sentinel_tls;
	char *sentinel_password;
	struct redis_sentinel *sentinel;
};

static int sentinel_create(struct redis_server *s, char message[256])
{
	const struct conf_redis_sentinel *conf = s->conf->sentinel;
	struct redis_sentinel_conf sentinel = {
		.master = conf->master,
		.addresses = conf->addresses,
		.n_addresses = conf->n_addresses,
		.user = conf->user,
		.server_name = conf->tls ? conf->tls->server_name : NULL,
		.connect_timeout_ms = s->conf->connect_timeout_ms,
		.timeout_ms = s->conf->timeout_ms,
	};
	int error = 0;

	if (conf->password_file)
		error = secret_read(conf->password_file, &s->sentinel_password, message);
	if (!error && conf->tls)
		error = redis_tls_create(conf->tls, &s->sentinel_tls, message);
	sentinel.password = s->sentinel_password;
	sentinel.tls = s->sentinel_tls;
	return error ? error : redis_sentinel_create(s->base, s->dns, &sentinel, &s->sentinel);
}

int redis_server_create(
	struct event_base *base,
	struct evdns_base *dns,
	const struct conf_redis_server *conf,
	struct redis_server **ret_server,
	char message[256]
)
{
	struct redis_server *s = calloc(1, sizeof(*s));
	int error = 0;

	message[0] = '\0';
	if (!s)
		return -ENOMEM;
	*s = (struct redis_server){.base = base, .dns = dns, .conf = conf};
	if (conf->password_file)
		error = secret_read(conf->password_file, &s->password, message);
	if (!error && conf->tls)
		error = redis_tls_create(conf->tls, &s->tls, message);
	if (!error && conf->sentinel)
		error = sentinel_create(s, message);
	if (error) {
		redis_server_free(s);
		return error;
	}
	*ret_server = s;
	return 0;
}

void redis_server_free(struct redis_server *s)
{
	if (!s)
		return;
	secret_free(s->password);
	redis_sentinel_free(s->sentinel);
	redis_tls_free(s->sentinel_tls);
	secret_free(s->sentinel_password);
	redis_tls_free(s->tls);
	free(s);
}

int redis_server_open(
	struct redis_server *s,
	const struct redis_conn_events *events,
	bool subscribes,
	struct redis_conn **ret_conn
)
{
	const struct redis_conn_conf conf = {
		.address = s->conf->address,
		.sentinel = s->sentinel,
		.user = s->conf->user,
		.password = s->password,
		.database = s->conf->database,
		.connect_timeout_ms = s->conf->connect_timeout_ms,
		.timeout_ms = s->conf->timeout_ms,
		.subscribes = subscribes,
		.tls = s->tls,
		.server_name = s->conf->tls ? s->conf->tls->server_name : NULL,
	};

	return redis_conn_create(s->base, s->dns, &conf, events, ret_conn);
}
