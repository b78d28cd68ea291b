// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/fleet.h"

#include "control/cli/client.h"

#include <stdio.h>
#include <string.h>

#define SILENT_MS 5000 // heartbeats come each second
#define LAG_MAX 1000 // records: more than are under way in a busy fleet

static bool is(json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

// What is wrong with what a gateway tells of itself; false: nothing.
static bool row_wrong(json_t *row, char text[256])
{
	json_t *extra = json_object_get(row, "extra");

	if (is(row, "forged"))
		snprintf(text, 256, "its heartbeat is not sealed by the fleet's key");
	else if (number_of(row, "age_ms") > SILENT_MS)
		snprintf(text, 256, "silent for %lld s", number_of(row, "age_ms") / 1000);
	else if (!is(row, "equal"))
		snprintf(
			text,
			256,
			"differs: %.200s",
			text_of(row, "why")[0] ? text_of(row, "why") : "another digest"
		);
	else if (number_of(row, "lag") > LAG_MAX)
		snprintf(text, 256, "%lld records behind", number_of(row, "lag"));
	else if (!is(extra, "dataplane_equal"))
		snprintf(
			text,
			256,
			"its data plane has not this list: %.200s",
			text_of(extra, "dataplane_why")
		);
	else
		return false;
	return true;
}

static void row_print(json_t *row)
{
	json_t *extra = json_object_get(row, "extra");
	char place[48], wrong[256] = "";
	bool bad = row_wrong(row, wrong);

	snprintf(
		place, sizeof(place), "%lld.%lld", number_of(row, "epoch"), number_of(row, "number")
	);
	printf("%-20s %-9s %-8s %-14s %5lld %-7s %9lld %9lld %9lld %6.1f s%s%s\n",
	       text_of(row, "gateway"),
	       is(row, "leads") ? "leads" : text_of(row, "role"),
	       text_of(extra, "version"),
	       place,
	       number_of(row, "lag"),
	       is(row, "forged")	  ? "FORGED"
		       : is(row, "equal") ? "equal"
					  : "DIFFERS",
	       number_of(extra, "entries"),
	       number_of(extra, "packets_per_second"),
	       number_of(extra, "denials"),
	       (double)number_of(row, "age_ms") / 1e3,
	       bad ? "  ! " : "",
	       wrong);
	if (number_of(row, "local") || number_of(row, "away"))
		printf("%-20s   not yet the fleet's: %lld claims in force here only, %lld ended "
		       "here only\n",
		       "",
		       number_of(row, "local"),
		       number_of(row, "away"));
}

static void table_print(json_t *answer)
{
	json_t *gateways = json_object_get(answer, "gateways"), *row;
	size_t i;

	printf("fleet %s: %s%s, epoch %lld, here record %lld of %lld\n",
	       text_of(answer, "fleet"),
	       text_of(answer, "leader")[0] ? text_of(answer, "leader") : "nobody",
	       is(answer, "leader_alive") ? " leads" : " led, and is silent",
	       number_of(answer, "epoch"),
	       number_of(answer, "number"),
	       number_of(answer, "head"));
	if (json_array_size(gateways))
		printf("%-20s %-9s %-8s %-14s %5s %-7s %9s %9s %9s %s\n",
		       "gateway",
		       "role",
		       "version",
		       "record",
		       "lag",
		       "digest",
		       "entries",
		       "pkts/s",
		       "denied",
		       "last seen");
	json_array_foreach(gateways, i, row) row_print(row);
	if (json_is_null(gateways))
		puts("Redis does not answer: what other gateways do is not known");
	json_array_foreach(json_object_get(answer, "alarms"), i, row)
		printf("! %s: %s\n", text_of(row, "alarm"), text_of(row, "why"));
}

// Every gateway whose heartbeat stands in Redis must be heard, equal, and enforcing.
static int verify(const struct cli *cli, json_t *answer)
{
	json_t *gateways = json_object_get(answer, "gateways"), *row;
	size_t i, n_wrong = 0;
	char text[256];

	json_array_foreach(gateways, i, row)
	{
		if (!row_wrong(row, text))
			continue;
		n_wrong++;
		if (!cli->json)
			printf("%s: %s\n", text_of(row, "gateway"), text);
	}
	if (json_array_size(gateways) == 0) {
		n_wrong++;
		if (!cli->json)
			puts("Redis does not answer: what the gateways enforce is not known");
	} else if (!is(answer, "leader_alive")) {
		n_wrong++;
		if (!cli->json)
			puts("no gateway leads: what is decided now reaches nobody");
	}
	if (n_wrong == 0 && !cli->json)
		printf("%zu gateways enforce one list, record %lld\n",
		       json_array_size(gateways),
		       number_of(answer, "number"));
	return n_wrong ? EXIT_DIFFERS : EXIT_DONE;
}

int run_fleet(const struct cli *cli)
{
	bool verifies = cli->n_args == 1 && strcmp(cli->args[0], "verify") == 0;
	json_t *answer;
	int code;

	if (cli->n_args == 1 && !verifies)
		return usage_error("fleet: nothing or verify is expected");
	code = api_do(cli, "GET", "/v1/fleet", NULL, &answer);
	if (code)
		return code;
	if (verifies)
		code = verify(cli, answer);
	else if (!cli->json)
		table_print(answer);
	json_decref(answer);
	return code;
}
