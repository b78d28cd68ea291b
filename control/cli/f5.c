// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/f5.h"

#include "control/cli/client.h"

#include <stdio.h>
#include <string.h>

static void sets_print(json_t *answer)
{
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(answer, "sets"), i, row)
	{
		const char *error = text_of(row, "error"), *drift = text_of(row, "drift");

		printf("  %-20s %4lld of %lld prefixes%s%s%s%s%s%s\n",
		       text_of(row, "name"),
		       number_of(row, "prefixes"),
		       number_of(row, "prefixes_max"),
		       json_is_true(json_object_get(row, "foreign")) ? "  not ours" : "",
		       json_is_true(json_object_get(row, "disabled")) ? "  disabled" : "",
		       *drift ? "  drift: " : "",
		       drift,
		       *error ? "  " : "",
		       error);
	}
}

static int status(const struct cli *cli)
{
	json_t *answer, *row, *policy;
	size_t i;
	int code = api_do(cli, "GET", "/v1/f5", NULL, &answer);

	if (code)
		return code;
	if (!cli->json) {
		printf("%s  %s\n", text_of(answer, "state"), text_of(answer, "why"));
		printf("  prefixes             %lld of %lld, breaker %s, lag %.1f s, drifts %lld\n",
		       number_of(answer, "prefixes"),
		       number_of(answer, "prefixes_max"),
		       text_of(answer, "breaker"),
		       (double)number_of(answer, "lag_ms") / 1e3,
		       number_of(answer, "drifts"));
		sets_print(answer);
		policy = json_object_get(answer, "policy");
		if (json_is_object(policy))
			printf("  %-20s %4lld rules\n",
			       text_of(policy, "name"),
			       number_of(policy, "rules"));
		json_array_foreach(json_object_get(policy, "listed_by"), i, row)
			printf("    %s: %s\n", text_of(row, "name"), text_of(row, "state"));
		json_array_foreach(json_object_get(answer, "warnings"), i, row)
			printf("! %s\n", json_string_value(row));
	}
	code = strcmp(text_of(answer, "state"), "equal") == 0 ? EXIT_DONE : EXIT_DIFFERS;
	json_decref(answer);
	return code;
}

static void prefixes_print(json_t *list, char sign, long long n)
{
	json_t *prefix;
	size_t i;

	json_array_foreach(list, i, prefix) printf("  %c %s\n", sign, json_string_value(prefix));
	if (n > (long long)json_array_size(list))
		printf("  %c … and %lld more\n", sign, n - (long long)json_array_size(list));
}

static int plan(const struct cli *cli, bool prefixes)
{
	json_t *answer, *row;
	size_t i;
	int code = api_do(cli, "GET", prefixes ? "/v1/f5/diff" : "/v1/f5/plan", NULL, &answer);
	bool differs;

	if (code)
		return code;
	differs = json_is_true(json_object_get(answer, "differs"));
	if (!cli->json) {
		json_array_foreach(json_object_get(answer, "objects"), i, row)
		{
			const char *drift = text_of(row, "drift");

			printf("%s %s: +%lld -%lld%s%s\n",
			       text_of(row, "op"),
			       text_of(row, "object"),
			       number_of(row, "n_add"),
			       number_of(row, "n_remove"),
			       *drift ? "  drift: " : "",
			       drift);
			if (!prefixes)
				continue;
			prefixes_print(json_object_get(row, "add"), '+', number_of(row, "n_add"));
			prefixes_print(
				json_object_get(row, "remove"), '-', number_of(row, "n_remove")
			);
		}
		if (!json_is_true(json_object_get(answer, "known")))
			puts("not all sets are read yet");
		else if (!differs)
			puts("nothing differs");
		else if (!prefixes)
			printf("%lld requests, at most %lld a minute\n",
			       number_of(answer, "requests"),
			       number_of(answer, "requests_per_minute"));
	}
	json_decref(answer);
	return differs ? EXIT_DIFFERS : EXIT_DONE;
}

int run_f5(const struct cli *cli)
{
	const char *what = cli->n_args > 0 ? cli->args[0] : "status";

	if (strcmp(what, "adopt") == 0) {
		if (cli->n_args != 2 || !cli->reason)
			return usage_error("f5 adopt: NAME and --reason are needed");
		return api_act(
			cli,
			"/v1/f5/adopt",
			json_pack("{s:s, s:s}", "name", cli->args[1], "reason", cli->reason),
			"taken over with the next write: see stanch f5 diff"
		);
	}
	if (cli->n_args > 1)
		return usage_error("f5 %s takes nothing more", what);
	if (strcmp(what, "status") == 0)
		return status(cli);
	if (strcmp(what, "plan") == 0 || strcmp(what, "diff") == 0)
		return plan(cli, what[0] == 'd');
	if (strcmp(what, "sync") == 0)
		return api_act(cli, "/v1/f5/sync", json_object(), "begun: see stanch f5 status");
	return usage_error("f5: status, plan, diff, sync or adopt is expected");
}
