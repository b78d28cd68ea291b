// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/brakes.h"

#include "control/cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *body_of(const struct cli *cli, const char *indicator)
{
	json_t *body = json_object();
	if (indicator)
		json_object_set_new(body, "indicator", json_string(indicator));
	if (cli->reason)
		json_object_set_new(body, "reason", json_string(cli->reason));
	if (cli->duration)
		json_object_set_new(body, "for", json_string(cli->duration));
	if (cli->given & OPT_FORCE)
		json_object_set_new(body, "force", json_true());
	return body;
}

static int post(const struct cli *cli, const char *path, json_t *body, const char *done)
{
	json_t *answer;
	int code = api_do(cli, "POST", path, body, &answer);
	if (code)
		return code;
	const char *until = text_of(answer, "until"), *message = text_of(answer, "message");
	if (!cli->json)
		printf("%s%s%s%s%s%s%s\n",
		       text_of(answer, "indicator"),
		       text_of(answer, "indicator")[0] ? " " : "",
		       done,
		       until[0] ? " until " : "",
		       until,
		       message[0] ? ": " : "",
		       message);
	json_decref(answer);
	return EXIT_DONE;
}

// One line a row: the values of these keys.
static int list(const struct cli *cli, const char *path, const char *key, const char *const *keys)
{
	json_t *answer, *row;
	int code = api_do(cli, "GET", path, NULL, &answer);
	if (code)
		return code;
	json_t *rows = json_object_get(answer, key);
	size_t i;
	if (!cli->json) {
		json_array_foreach(rows, i, row)
		{
			for (const char *const *k = keys; *k; k++) {
				json_t *value = json_object_get(row, *k);
				if (json_is_integer(value))
					printf("%lld  ", number_of(row, *k));
				else
					printf("%s  ", text_of(row, *k));
			}
			fputs("\n", stdout);
		}
		if (json_array_size(rows) == 0)
			printf("no %s\n", key);
	}
	json_decref(answer);
	return EXIT_DONE;
}

int run_allow(const struct cli *cli)
{
	static const char *const keys[] = {"indicator", "until", "author", "reason", NULL};
	if (cli->n_args == 0)
		return list(cli, "/v1/allows", "allows", keys);
	if (cli->given & OPT_END)
		return post(
			cli, "/v1/allows/end", body_of(cli, cli->args[0]), "is no longer allowed"
		);
	if (!cli->reason)
		return usage_error("allow: --reason is needed");
	return post(cli, "/v1/allows", body_of(cli, cli->args[0]), "is allowed");
}

int run_pause(const struct cli *cli)
{
	if (!cli->reason)
		return usage_error("pause: --reason is needed");
	if (cli->given & OPT_FLEET)
		return post(
			cli,
			"/v1/fleet/pause",
			body_of(cli, NULL),
			"PAUSED on every gateway: nothing is denied, only watched,"
		);
	return post(
		cli, "/v1/pause", body_of(cli, NULL), "PAUSED: nothing is denied, only watched,"
	);
}

int run_resume(const struct cli *cli)
{
	if (cli->given & OPT_FLEET)
		return post(
			cli,
			"/v1/fleet/resume",
			body_of(cli, NULL),
			"resumed on every gateway: the list is enforced"
		);
	return post(cli, "/v1/resume", body_of(cli, NULL), "resumed: the list is enforced");
}

int run_held(const struct cli *cli)
{
	static const char *const keys[]
		= {"id", "source", "claims", "since", "why", "summary", NULL};
	if (cli->n_args == 0)
		return list(cli, "/v1/held", "held", keys);
	bool approve = strcmp(cli->args[0], "approve") == 0;
	if ((!approve && strcmp(cli->args[0], "reject") != 0) || cli->n_args != 2)
		return usage_error("held: approve ID or reject ID is expected");
	char *end;
	errno = 0;
	long long id = strtoll(cli->args[1], &end, 10);
	if (errno || *end || end == cli->args[1])
		return usage_error("held: %s is no number", cli->args[1]);
	if (!cli->reason)
		return usage_error("held: --reason is needed");
	json_t *body = body_of(cli, NULL);
	json_object_set_new(body, "id", json_integer(id));
	return post(
		cli,
		approve ? "/v1/held/approve" : "/v1/held/reject",
		body,
		approve ? "approved" : "rejected"
	);
}

int run_protect(const struct cli *cli)
{
	static const char *const keys[] = {"indicator", "origin", "reason", NULL};
	if (cli->n_args == 0)
		return list(cli, "/v1/protections", "protections", keys);
	if (!cli->reason)
		return usage_error("protect: --reason is needed");
	bool end = cli->given & OPT_END;
	return post(
		cli,
		end ? "/v1/protections/end" : "/v1/protections",
		body_of(cli, cli->args[0]),
		end ? "is no longer protected" : "is protected"
	);
}

int run_sync(const struct cli *cli)
{
	if ((cli->given & OPT_FORCE) && !cli->reason)
		return usage_error("sync --force: --reason is needed");
	return post(
		cli, "/v1/sync", body_of(cli, NULL), "synchronisation begun: see stanch status"
	);
}
