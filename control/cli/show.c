// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/show.h"

#include "control/cli/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is(json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

static void parts_print(json_t *answer, const char *key)
{
	size_t i;
	json_t *part;
	json_array_foreach(json_object_get(answer, key), i, part)
		printf("%-11s %s: %s %s\n",
		       i == 0 ? key : "",
		       text_of(part, "name"),
		       text_of(part, "state")[0] ? text_of(part, "state")
			       : is(part, "up")	 ? "up"
						 : "down",
		       text_of(part, "why"));
}

static void fleet_print(json_t *fleet)
{
	long long lag = number_of(fleet, "lag"), local = number_of(fleet, "local");
	if (!json_is_object(fleet))
		return;
	printf("fleet       %s: %s %s, record %lld.%lld, ",
	       text_of(fleet, "fleet"),
	       is(fleet, "leads")		     ? "this gateway"
		       : text_of(fleet, "leader")[0] ? text_of(fleet, "leader")
						     : "nobody",
	       is(fleet, "leader_alive") ? "leads" : "led, and is silent",
	       number_of(fleet, "epoch"),
	       number_of(fleet, "number"));
	if (lag)
		printf("%lld behind, ", lag);
	printf("%s%s\n",
	       is(fleet, "equal") ? "equal" : "DIFFERS: ",
	       is(fleet, "equal") ? "" : text_of(fleet, "why"));
	if (local || number_of(fleet, "away"))
		printf("            not yet the fleet's: %lld claims in force here only, %lld "
		       "ended here only\n",
		       local,
		       number_of(fleet, "away"));
}

static void status_print(json_t *answer)
{
	json_t *wire = json_object_get(answer, "dataplane"), *warning;
	json_t *applied = json_object_get(wire, "applied"),
	       *counts = json_object_get(answer, "counts");
	printf("list        revision %s, %lld entries, digest %s\n",
	       text_of(answer, "revision"),
	       number_of(answer, "count"),
	       text_of(answer, "digest"));
	printf("data plane  %s", is(wire, "connected") ? "connected" : "not connected");
	if (json_is_object(applied))
		printf(", applied %s, %s",
		       text_of(applied, "revision"),
		       is(wire, "equal") ? "equal" : "DIFFERS");
	if (json_object_get(wire, "workers"))
		printf(", %s, %lld workers",
		       is(wire, "ready") ? "ready" : "not ready",
		       number_of(wire, "workers"));
	if (number_of(wire, "restarts"))
		printf(", %lld restarts, the last %s",
		       number_of(wire, "restarts"),
		       text_of(wire, "restarted"));
	printf("\nclaims      %lld in force (%lld orphaned), %lld held, %lld allows\n",
	       number_of(counts, "claims"),
	       number_of(counts, "orphaned"),
	       number_of(counts, "held"),
	       number_of(counts, "allows"));
	printf("entries     %lld enforce, %lld monitor, %lld names\n",
	       number_of(counts, "enforce"),
	       number_of(counts, "monitor"),
	       number_of(counts, "names"));
	parts_print(answer, "sources");
	parts_print(answer, "followers");
	fleet_print(json_object_get(answer, "fleet"));
	printf("control     %s, up %lld s, ledger %s\n",
	       text_of(answer, "version"),
	       number_of(answer, "uptime_s"),
	       text_of(answer, "ledger"));
	size_t i;
	json_array_foreach(json_object_get(answer, "warnings"), i, warning)
		printf("WARNING     %s\n", json_string_value(warning));
}

int run_status(const struct cli *cli)
{
	json_t *answer;
	int code = api_do(cli, "GET", "/v1/status", NULL, &answer);
	if (code)
		return code;
	if (!cli->json)
		status_print(answer);
	bool equal = is(json_object_get(answer, "dataplane"), "equal");
	json_decref(answer);
	return equal ? EXIT_DONE : EXIT_DIFFERS;
}

static void denial_print(json_t *denial)
{
	printf("%s %s %s -> %s:%lld/%s %lld packets, %s %s\n",
	       text_of(denial, "@timestamp"),
	       text_of(denial, "event.action"),
	       text_of(denial, "source.ip"),
	       text_of(denial, "destination.ip"),
	       number_of(denial, "destination.port"),
	       text_of(denial, "network.transport"),
	       number_of(denial, "network.packets"),
	       text_of(denial, "event.reason"),
	       text_of(denial, "rule.name"));
}

static void claim_print(json_t *claim)
{
	const char *number = text_of(claim, "case");
	printf("%s  %s  %s%s%s  by %s  until %s%s%s  %s\n",
	       text_of(claim, "indicator"),
	       text_of(claim, "action"),
	       text_of(claim, "source"),
	       number[0] ? " case " : "",
	       number,
	       text_of(claim, "author"),
	       text_of(claim, "until"),
	       strcmp(text_of(claim, "state"), "live") == 0 ? "" : "  ",
	       strcmp(text_of(claim, "state"), "live") == 0 ? "" : text_of(claim, "state"),
	       text_of(claim, "reason"));
	if (is(claim, "local"))
		puts("             local: in force on this gateway, on its way to the leader");
}

static void why_print(json_t *answer)
{
	size_t i;
	json_t *row;
	printf("%s\n", text_of(answer, "verdict"));
	json_array_foreach(json_object_get(answer, "claims"), i, row)
	{
		fputs("  claim      ", stdout);
		claim_print(row);
	}
	json_array_foreach(json_object_get(answer, "entries"), i, row)
		printf("  entry      %s  %s  id %s\n",
		       text_of(row, "indicator"),
		       text_of(row, "action"),
		       text_of(row, "id"));
	json_array_foreach(json_object_get(answer, "exceptions"), i, row)
		printf("  %-10s %s  %s\n",
		       text_of(row, "kind"),
		       text_of(row, "indicator"),
		       text_of(row, "reason"));
	json_t *wire = json_object_get(answer, "dataplane");
	if (is(wire, "connected"))
		printf("  wire       %s, %s, %lld packets, revision %s\n",
		       is(wire, "present") ? "present" : "absent",
		       text_of(wire, "action"),
		       number_of(wire, "packets"),
		       text_of(wire, "revision"));
	json_t *mirror = json_object_get(answer, "f5xc");
	if (json_is_object(mirror))
		printf("  F5 XC      %s %s\n", text_of(mirror, "state"), text_of(mirror, "why"));
	json_array_foreach(json_object_get(answer, "tried"), i, row)
	{
		fputs("  tried      ", stdout);
		denial_print(row);
	}
	printf("  ledger     revision %s\n", text_of(answer, "revision"));
}

int run_why(const struct cli *cli)
{
	json_t *answer;
	int code = api_of_indicator(cli, "/v1/why/", &answer);
	if (code)
		return code;
	if (!cli->json)
		why_print(answer);
	json_decref(answer);
	return EXIT_DONE;
}

// --- list

static char *page_path(const struct cli *cli, bool entries, json_t *next)
{
	char after[1200] = "0", *text = NULL, *path = NULL;
	if (json_is_integer(next))
		snprintf(after, sizeof(after), "%lld", (long long)json_integer_value(next));
	else if (entries) {
		text = url_text(json_is_string(next) ? json_string_value(next) : "");
		snprintf(after, sizeof(after), "%s", text ? text : "");
	}
	char *source = url_text(cli->source ? cli->source : "");
	char *action = url_text(cli->action ? cli->action : "");
	if (source && action
	    && asprintf(
		       &path,
		       "/v1/%s?max=1000&after=%s%s%s%s%s",
		       entries ? "entries" : "claims",
		       after,
		       cli->source ? "&source=" : "",
		       source,
		       cli->action ? "&action=" : "",
		       action
	       ) < 0)
		path = NULL;
	free(text);
	free(source);
	free(action);
	return path;
}

int run_list(const struct cli *cli)
{
	bool entries = cli->given & OPT_ENTRIES;
	const char *key = entries ? "entries" : "claims";
	json_t *all = json_array(), *next = NULL, *row;
	int code = EXIT_DONE;
	do {
		char *path = page_path(cli, entries, next);
		json_t *answer = NULL;
		struct cli quiet = *cli;
		quiet.json = false;
		json_decref(next);
		next = NULL;
		code = path ? api_do(&quiet, "GET", path, NULL, &answer) : EXIT_UNAVAILABLE;
		free(path);
		if (code)
			break;
		size_t i;
		json_array_foreach(json_object_get(answer, key), i, row)
		{
			if (cli->json)
				json_array_append(all, row);
			else if (entries)
				printf("%s  %s\n", text_of(row, "indicator"), text_of(row, "action")
				);
			else
				claim_print(row);
		}
		next = json_incref(json_object_get(answer, "next"));
		json_decref(answer);
	} while (next && !json_is_null(next));
	if (cli->json && !code) {
		json_t *whole = json_pack("{s:O}", key, all);
		json_show(whole);
		json_decref(whole);
	}
	json_decref(next);
	json_decref(all);
	return code;
}

// --- denials, audit

static void denial_line(const struct cli *cli, json_t *line)
{
	if (cli->json) {
		json_dumpf(line, stdout, JSON_COMPACT);
		fputs("\n", stdout);
	} else {
		denial_print(line);
	}
	fflush(stdout);
}

int run_denials(const struct cli *cli)
{
	if (cli->given & OPT_FOLLOW)
		return api_follow(cli, "/v1/denials?follow=1", denial_line);
	json_t *answer, *row;
	int code = api_do(cli, "GET", "/v1/denials?max=1000", NULL, &answer);
	if (code)
		return code;
	size_t i;
	if (!cli->json) {
		json_array_foreach(json_object_get(answer, "denials"), i, row) denial_print(row);
		if (number_of(answer, "kept") == 0)
			puts("no denials");
	}
	json_decref(answer);
	return EXIT_DONE;
}

int run_audit(const struct cli *cli)
{
	bool verify = cli->given & OPT_VERIFY;
	json_t *answer, *row;
	int code = api_do(
		cli, "GET", verify ? "/v1/audit?max=1&verify=1" : "/v1/audit", NULL, &answer
	);
	if (code)
		return code;
	size_t i;
	json_t *check = json_object_get(answer, "verify");
	if (!cli->json && !verify)
		json_array_foreach(json_object_get(answer, "records"), i, row)
			printf("%lld  %s  %s  %s  %s\n",
			       number_of(row, "seq"),
			       text_of(row, "when"),
			       text_of(row, "actor"),
			       text_of(row, "action"),
			       text_of(row, "object"));
	if (verify && !cli->json && is(check, "intact"))
		printf("intact: %lld records, head %s\n",
		       number_of(check, "records"),
		       text_of(check, "head"));
	else if (verify && !cli->json)
		printf("BROKEN at record %lld %s\n",
		       number_of(check, "first_bad"),
		       text_of(check, "error"));
	code = verify && !is(check, "intact") ? EXIT_DIFFERS : EXIT_DONE;
	json_decref(answer);
	return code;
}
