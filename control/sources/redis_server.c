// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/redis_server.h"

#include "control/secret.h"
#include "control/sources/redis_tls.h"

#include <errno.h>
#include <stdlib.h>

struct redis_server {
	struct event_base *base;
	struct evdns_base *dns;
	const struct conf_redis_server *conf;
	char *password;
	struct redis_tls *tls;
};

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
