// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/claims.h"

#include "control/cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_MAX 1000 // items a request

// Lines of a file: one indicator each; blank lines and what follows # are passed over.
static int file_read(const char *path, json_t *items)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	if (!file)
		return usage_error("%s: %s", path, strerror(errno));
	char line[1024];
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "#\r\n")] = '\0';
		char *from = line + strspn(line, " \t");
		size_t len = strlen(from);
		while (len > 0 && (from[len - 1] == ' ' || from[len - 1] == '\t'))
			len--;
		json_t *item = len ? json_stringn(from, len) : NULL;
		if (item)
			json_array_append_new(items, item);
	}
	bool bad = ferror(file);
	if (file != stdin)
		fclose(file);
	return bad ? usage_error("%s: not readable", path) : 0;
}

static json_t *items_of(const struct cli *cli)
{
	json_t *items = json_array();
	for (int i = 0; i < cli->n_args; i++) {
		json_t *item = json_string(cli->args[i]);
		json_array_append_new(items, item ? item : json_string("?"));
	}
	if (cli->file && file_read(cli->file, items) != 0) {
		json_decref(items);
		return NULL;
	}
	if (json_array_size(items) == 0) {
		usage_error("an indicator, or --file LIST, is expected");
		json_decref(items);
		return NULL;
	}
	return items;
}

static json_t *request_of(const struct cli *cli, json_t *items, size_t from, const char *action)
{
	json_t *slice = json_array(), *body = json_object();
	for (size_t i = from; i < json_array_size(items) && i < from + REQUEST_MAX; i++)
		json_array_append(slice, json_array_get(items, i));
	json_object_set_new(body, "indicators", slice);
	if (action)
		json_object_set_new(body, "action", json_string(action));
	if (cli->reason)
		json_object_set_new(body, "reason", json_string(cli->reason));
	if (cli->duration)
		json_object_set_new(body, "for", json_string(cli->duration));
	if (cli->given & OPT_FORCE)
		json_object_set_new(body, "force", json_true());
	if (cli->wait)
		json_object_set_new(body, "wait", json_real(strtod(cli->wait, NULL)));
	return body;
}

static void results_print(json_t *answer, bool many)
{
	size_t i;
	json_t *result;
	json_array_foreach(json_object_get(answer, "results"), i, result)
	{
		const char *word = text_of(result, "result"), *message = text_of(result, "message");
		if (many && strcmp(word, "ok") == 0 && !message[0])
			continue;
		printf("%s: %s%s%s\n",
		       text_of(result, "indicator"),
		       word,
		       message[0] ? ": " : "",
		       message);
	}
	json_array_foreach(json_object_get(answer, "holders"), i, result)
		printf("  held by %s (%s), %s: %s\n",
		       text_of(result, "source"),
		       text_of(result, "ref"),
		       text_of(result, "author"),
		       text_of(result, "reason"));
}

static int answer_judge(const struct cli *cli, int code, long status, json_t *answer, bool many)
{
	if (!cli->json)
		results_print(answer, many);
	if (code == EXIT_REFUSED) {
		fprintf(stderr, "stanch: refused: %s\n", text_of(answer, "error"));
		if (text_of(answer, "remedy")[0])
			fprintf(stderr, "  remedy: %s\n", text_of(answer, "remedy"));
		return status >= 500 && status != 507 ? EXIT_UNAVAILABLE : EXIT_REFUSED;
	}
	if (number_of(answer, "refused") > 0 || number_of(answer, "held") > 0)
		return EXIT_REFUSED;
	if (json_is_true(json_object_get(answer, "applied"))) {
		if (!cli->json)
			printf("applied at revision %s\n", text_of(answer, "revision"));
		return EXIT_DONE;
	}
	if (!cli->json)
		printf("%s (revision %s)\n", text_of(answer, "why"), text_of(answer, "revision"));
	return cli->wait && strtod(cli->wait, NULL) == 0 ? EXIT_DONE : EXIT_DIFFERS;
}

// The worst of several requests.
static int worse(int a, int b)
{
	if (a == EXIT_REFUSED || b == EXIT_REFUSED)
		return EXIT_REFUSED;
	return a > b ? a : b;
}

static int claims_do(const struct cli *cli, const char *path, const char *action)
{
	json_t *items = items_of(cli);
	if (!items)
		return EXIT_USAGE;
	json_t *all = json_array();
	size_t n = json_array_size(items);
	int worst = EXIT_DONE;
	for (size_t from = 0; from < n; from += REQUEST_MAX) {
		long status = 0;
		json_t *answer = NULL, *body = request_of(cli, items, from, action);
		int code = api_ask(cli, "POST", path, body, &status, &answer);
		if (answer) {
			code = answer_judge(cli, code, status, answer, n > 20);
			json_array_append_new(all, answer);
		}
		worst = worse(worst, code);
		if (code == EXIT_UNAVAILABLE)
			break;
		if (n > REQUEST_MAX)
			fprintf(stderr,
				"%zu of %zu\n",
				from + REQUEST_MAX < n ? from + REQUEST_MAX : n,
				n);
	}
	if (cli->json && json_array_size(all) > 0)
		json_show(json_array_size(all) == 1 ? json_array_get(all, 0) : all);
	json_decref(all);
	json_decref(items);
	return worst;
}

int run_block(const struct cli *cli)
{
	if (!cli->reason)
		return usage_error("block: --reason is needed");
	return claims_do(cli, "/v1/claims", cli->given & OPT_MONITOR ? "monitor" : "enforce");
}

int run_monitor(const struct cli *cli)
{
	if (!cli->reason)
		return usage_error("monitor: --reason is needed");
	return claims_do(cli, "/v1/claims", "monitor");
}

int run_unblock(const struct cli *cli)
{
	return claims_do(cli, "/v1/claims/end", NULL);
}
