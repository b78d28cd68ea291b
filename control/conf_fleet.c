// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/conf_check.h"
#include "control/secret.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLEET_KEY_MIN 32 // octets
#define GATEWAY_MAX 63

static void gateway_default(struct conf_fleet *fleet, struct conf_messages *messages)
{
	char name[256] = "";

	if (!fleet->gateway) {
		if (gethostname(name, sizeof(name) - 1) < 0)
			name[0] = '\0';
		fleet->gateway = strdup(name);
		if (!fleet->gateway)
			abort(); // at start, without memory
	}
	if (!conf_word_plain(fleet->gateway, GATEWAY_MAX))
		conf_error(
			messages,
			"control.fleet.gateway",
			"1 to 63 of A-Z a-z 0-9 . _ -%s%.60s%s",
			name[0] ? "; the host name " : "",
			name,
			name[0] ? " is none" : ""
		);
}

// Who reads the key can order every gateway about: no warning, as of other secrets.
static void key_check(const char *file, const char *path, struct conf_messages *messages)
{
	char *secret = NULL, message[256];
	struct stat st;

	if (secret_read(file, &secret, message) < 0)
		return; // told by the table
	if (strlen(secret) < FLEET_KEY_MIN)
		conf_error(
			messages,
			path,
			"%s: a key has at least 32 octets: openssl rand -hex 32",
			file
		);
	secret_free(secret);
	if (stat(file, &st) == 0 && (st.st_mode & S_IRWXO))
		conf_error(
			messages, path, "%s: everybody on this machine may use it: chmod 640", file
		);
}

static bool keys_same(const char *a, const char *b)
{
	char *first = NULL, *second = NULL, message[256];
	bool same = strcmp(a, b) == 0;

	if (!same && secret_read(a, &first, message) == 0 && secret_read(b, &second, message) == 0)
		same = strcmp(first, second) == 0;
	secret_free(first);
	secret_free(second);
	return same;
}

void conf_fleet_check(struct conf *conf, bool check_files, struct conf_messages *messages)
{
	struct conf_fleet *fleet = conf->fleet;

	if (!conf_word_plain(fleet->id, 40))
		conf_error(messages, "control.fleet.id", "1 to 40 of A-Z a-z 0-9 . _ -");
	gateway_default(fleet, messages);
	conf_redis_server_check(&fleet->redis, "control.fleet.redis", check_files, messages);
	if (check_files) {
		key_check(fleet->key_file, "control.fleet.key_file", messages);
		if (fleet->previous_key_file)
			key_check(
				fleet->previous_key_file,
				"control.fleet.previous_key_file",
				messages
			);
	}
	if (fleet->previous_key_file
	    && (check_files ? keys_same(fleet->key_file, fleet->previous_key_file)
			    : strcmp(fleet->key_file, fleet->previous_key_file) == 0))
		conf_error(
			messages, "control.fleet.previous_key_file", "is the same key as key_file"
		);
	if (fleet->role == CONF_FLEET_SINGLE)
		conf_warning(
			messages,
			"control.fleet.role",
			"single: this gateway neither follows the fleet nor tells it what it does"
		);
}
