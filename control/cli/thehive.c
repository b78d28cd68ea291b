// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/thehive.h"

#include "control/cli/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void setup_show(json_t *answer)
{
	json_t *field = json_object_get(answer, "field"), *row;
	size_t i;
	printf("%s: TheHive %s, as %s\n",
	       text_of(answer, "name"),
	       text_of(answer, "version"),
	       text_of(answer, "account")[0] ? text_of(answer, "account") : "(not told)");
	printf("custom field %s: %s%s%s\n",
	       text_of(field, "name"),
	       text_of(field, "state"),
	       text_of(field, "why")[0] ? ": " : "",
	       text_of(field, "why"));
	puts("permissions, beyond being a member of the organisation, which reading needs:");
	json_array_foreach(json_object_get(answer, "permissions"), i, row)
	{
		const json_t *held = json_object_get(row, "held");
		printf("  %-18s %-7s %s\n",
		       text_of(row, "name"),
		       json_is_true(held)	     ? "yes"
			       : json_is_false(held) ? "no"
						     : "unknown",
		       text_of(row, "for"));
	}
}

int run_thehive(const struct cli *cli)
{
	if (strcmp(cli->args[0], "setup") != 0)
		return usage_error("thehive: setup is expected");
	char path[512] = "/v1/thehive/setup";
	if (cli->n_args == 2) {
		char *name = url_text(cli->args[1]);
		snprintf(path, sizeof(path), "/v1/thehive/setup/%s", name ? name : "");
		free(name);
	}
	json_t *answer;
	int code = api_do(cli, "POST", path, json_object(), &answer);
	if (code != EXIT_DONE)
		return code;
	if (!cli->json)
		setup_show(answer);
	code = json_is_true(json_object_get(answer, "good")) ? EXIT_DONE : EXIT_REFUSED;
	json_decref(answer);
	return code;
}
