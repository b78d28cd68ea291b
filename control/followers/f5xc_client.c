// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_client.h"

#include "control/conf.h"
#include "control/control.h"
#include "control/followers/f5xc_internal.h"
#include "control/http_client.h"
#include "control/log.h"
#include "control/metrics.h"
#include "control/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int authorization_read(const struct conf_f5xc *conf, char **ret_authorization)
{
	char message[256] = "", *token = NULL, *authorization;
	int rc = secret_read(conf->token_file, &token, message);

	if (rc < 0) {
		log_error("F5 XC: %s", message);
		return rc;
	}
	rc = asprintf(&authorization, "APIToken %s", token) < 0 ? -ENOMEM : 0;
	secret_free(token);
	if (rc == 0)
		*ret_authorization = authorization;
	return rc;
}

static int client_make(struct f5xc *f, const char *authorization, struct http_client **ret_client)
{
	const struct conf_f5xc *conf = f->conf;
	const struct http_service service = {
		.name = "f5xc",
		.base_url = conf->url,
		.authorization = authorization,
		.proxy = conf->proxy,
		.tls = {conf->tls.ca_file,
			conf->tls.cert_file,
			conf->tls.key_file,
			conf->tls.key_password_file},
		.timeout_ms = conf->timeout_ms,
		.connect_timeout_ms = conf->connect_timeout_ms,
	};

	return http_client_create(f->control->base, &service, f->control->protect, ret_client);
}

// The earlier of what the operator wrote down of the token and what the certificate says.
static void ends_find(struct f5xc *f)
{
	const struct conf_f5xc *conf = f->conf;
	const struct http_tls tls = {
		.cert_file = conf->tls.cert_file,
		.key_file = conf->tls.key_file,
		.key_password_file = conf->tls.key_password_file,
	};
	int64_t ends = 0;

	f->credential_ends = conf->token_ends_s;
	if (conf->tls.cert_file && http_tls_ends(&tls, &ends) == 0
	    && (f->credential_ends == 0 || ends < f->credential_ends))
		f->credential_ends = ends;
}

int f5xc_client_open(struct f5xc *f)
{
	int rc = 0;

	if (f->conf->token_file)
		rc = authorization_read(f->conf, &f->authorization);
	if (rc == 0)
		rc = client_make(f, f->authorization, &f->client);
	if (rc == 0 && f->control->metrics)
		rc = metrics_client(f->control->metrics, "f5xc", f->client);
	if (rc == 0)
		ends_find(f);
	return rc;
}

void f5xc_client_close(struct f5xc *f)
{
	if (f->control->metrics)
		metrics_client_forget(f->control->metrics, f->client);
	http_client_free(f->client);
	secret_free(f->authorization);
	f->client = NULL;
	f->authorization = NULL;
}

void f5xc_token_refresh(struct f5xc *f)
{
	char *was = f->authorization, *fresh = NULL;
	struct http_client *client = NULL;

	f->token_doubted = false;
	if (!f->conf->token_file || authorization_read(f->conf, &fresh) < 0)
		return;
	if (strcmp(fresh, was) == 0 || client_make(f, fresh, &client) < 0) {
		secret_free(fresh);
		return;
	}
	log_notice("F5 XC: %s holds another token, used from now on", f->conf->token_file);
	if (f->control->metrics) {
		metrics_client_forget(f->control->metrics, f->client);
		metrics_client(f->control->metrics, "f5xc", client);
	}
	http_client_free(f->client);
	f->client = client;
	f->authorization = fresh;
	secret_free(was);
}

bool f5xc_own_addresses(struct f5xc *f)
{
	const size_t max = sizeof(f->own) / sizeof(f->own[0]);
	struct http_peer peer;
	bool more = false;

	for (size_t i = 0; http_client_peer(f->client, i, &peer); i++) {
		struct f5xc_where at = {
			.family = peer.family,
			.prefix = {.len = peer.family == 4 ? 32 : 128},
		};
		bool known = false;

		memcpy(at.prefix.addr, peer.addr, sizeof(at.prefix.addr));
		for (size_t k = 0; k < f->n_own; k++)
			known |= memcmp(&f->own[k], &at, sizeof(at)) == 0;
		if (known)
			continue;
		// The oldest goes: F5's names change their addresses.
		if (f->n_own == max)
			memmove(&f->own[0], &f->own[1], --f->n_own * sizeof(f->own[0]));
		f->own[f->n_own++] = at;
		more = true;
	}
	return more;
}

void f5xc_state(const struct f5xc *f, struct list_state *ret_state)
{
	char leader[FLEET_NAME_MAX];

	ledger_state(f->control->ledger, ret_state);
	if (ledger_fleet_is(f->control->ledger))
		ret_state->revision.epoch = ledger_fleet_epoch(f->control->ledger, leader);
}
