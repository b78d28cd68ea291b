// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/lists.h"

#include "control/cli/client.h"

#include <stdio.h>
#include <string.h>

static void list_print(json_t *list)
{
	json_t *progress = json_object_get(list, "progress"), *sample;
	size_t i;

	printf("%-24s %-13s %10lld members",
	       text_of(list, "name"),
	       text_of(list, "state"),
	       number_of(list, "members"));
	if (number_of(list, "age") >= 0 && json_object_get(list, "age"))
		printf(", read %lld s ago", number_of(list, "age"));
	if (progress)
		printf(", %lld of %lld compared",
		       (long long)json_integer_value(json_array_get(progress, 0)),
		       (long long)json_integer_value(json_array_get(progress, 1)));
	if (number_of(list, "held_adds") || number_of(list, "held_removals"))
		printf(", held: %lld new, %lld gone (stanch held)",
		       number_of(list, "held_adds"),
		       number_of(list, "held_removals"));
	if (number_of(list, "braked"))
		printf(", %lld changes braked", number_of(list, "braked"));
	if (number_of(list, "unconfirmed"))
		printf(", %lld gone, to be confirmed", number_of(list, "unconfirmed"));
	if (number_of(list, "protected"))
		printf(", %lld protected or too wide", number_of(list, "protected"));
	if (number_of(list, "refused"))
		printf(", %lld refused", number_of(list, "refused"));
	fputs("\n", stdout);
	if (text_of(list, "why")[0])
		printf("    %s\n", text_of(list, "why"));
	json_array_foreach(json_object_get(list, "samples"), i, sample)
		printf("    refused: %s\n", json_string_value(sample));
}

static int lists_show(const struct cli *cli)
{
	json_t *answer, *lists, *list;
	size_t i;
	int code = api_do(cli, "GET", "/v1/lists", NULL, &answer);

	if (code)
		return code;
	lists = json_object_get(answer, "lists");
	if (!cli->json) {
		json_array_foreach(lists, i, list) list_print(list);
		if (json_array_size(lists) == 0)
			puts("no lists");
	}
	json_decref(answer);
	return EXIT_DONE;
}

int run_lists(const struct cli *cli)
{
	if (cli->n_args == 0)
		return lists_show(cli);
	if (strcmp(cli->args[0], "read") != 0 || cli->n_args != 2)
		return usage_error("lists: nothing, or read NAME is expected");
	return api_act(
		cli,
		"/v1/lists/read",
		json_pack("{s:s}", "list", cli->args[1]),
		"it is being read: see stanch lists"
	);
}

int run_source(const struct cli *cli)
{
	json_t *answer;
	int code;

	if (strcmp(cli->args[0], "retire") != 0 || cli->n_args != 2)
		return usage_error("source: retire NAME is expected");
	if (!cli->reason)
		return usage_error("source retire: --reason is needed");
	code = api_do(
		cli,
		"POST",
		"/v1/sources/retire",
		json_pack("{s:s, s:s}", "source", cli->args[1], "reason", cli->reason),
		&answer
	);
	if (code)
		return code;
	if (!cli->json)
		puts(json_object_get(answer, "asked")
			     ? "the leader of the fleet is asked to retire it"
			     : "retired: what it held has ended");
	json_decref(answer);
	return EXIT_DONE;
}
