// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cli/preview.h"

#include "control/cli/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double real_of(json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

// 12.3 MB; decimal, as traffic is counted.
static const char *octets_print(double octets, char text[24])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	size_t unit = 0;
	while (octets >= 1000 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		octets /= 1000;
		unit++;
	}
	snprintf(text, 24, "%.*f %s", unit == 0 ? 0 : 1, octets, units[unit]);
	return text;
}

static void amount_print(const char *what, json_t *amount)
{
	json_t *packets = json_object_get(amount, "packets"),
	       *bytes = json_object_get(amount, "bytes"), *share = json_object_get(amount, "share");
	char octets[3][24];
	printf("%-12s%lld packets (%lld to %lld), %s (%s to %s)",
	       what,
	       number_of(packets, "estimate"),
	       number_of(packets, "low"),
	       number_of(packets, "high"),
	       octets_print(real_of(bytes, "estimate"), octets[0]),
	       octets_print(real_of(bytes, "low"), octets[1]),
	       octets_print(real_of(bytes, "high"), octets[2]));
	if (json_is_object(share))
		printf(", %.2f %% of all (%.2f to %.2f)",
		       real_of(share, "estimate") * 100,
		       real_of(share, "low") * 100,
		       real_of(share, "high") * 100);
	puts("");
}

// tcp/203.0.113.7:443, tcp/[2001:db8::1]:443; the address alone where no port is told.
static void end_print(json_t *end, char *text, size_t size)
{
	const char *address = text_of(end, "address"), *proto = text_of(end, "protocol");
	bool six = strchr(address, ':');
	if (number_of(end, "port"))
		snprintf(
			text,
			size,
			"%s/%s%s%s:%lld",
			proto,
			six ? "[" : "",
			address,
			six ? "]" : "",
			number_of(end, "port")
		);
	else if (number_of(end, "protocol"))
		snprintf(text, size, "%s protocol %lld", address, number_of(end, "protocol"));
	else
		snprintf(text, size, "%s%s%s", proto, proto[0] ? "/" : "", address);
}

static void top_print(json_t *answer)
{
	size_t i;
	json_t *end;
	json_array_foreach(json_object_get(answer, "top"), i, end)
	{
		json_t *packets = json_object_get(end, "packets");
		char text[80], octets[24];
		end_print(end, text, sizeof(text));
		printf("  %-46s %10lld packets (%lld to %lld) %10s %6.2f %%%s%s\n",
		       text,
		       number_of(packets, "estimate"),
		       number_of(packets, "low"),
		       number_of(packets, "high"),
		       octets_print(real_of(end, "bytes"), octets),
		       real_of(json_object_get(end, "share"), "estimate") * 100,
		       number_of(end, "denied_packets") ? "  denied" : "",
		       number_of(end, "spared_packets") ? "  spared" : "");
	}
}

static void sampling_print(json_t *answer)
{
	json_t *sampling = json_object_get(answer, "sampling");
	printf("sampled     1 packet in %lld over %.0f s, bounds at %.0f %%",
	       number_of(sampling, "rate"),
	       real_of(sampling, "window_s"),
	       real_of(sampling, "confidence") * 100);
	if (number_of(sampling, "lost"))
		printf("; %lld of %lld samples had no room",
		       number_of(sampling, "lost"),
		       number_of(sampling, "samples"));
	puts("");
}

static void preview_print(json_t *answer)
{
	printf("%s\n", text_of(answer, "summary"));
	amount_print("would cut", json_object_get(answer, "cut"));
	if (number_of(answer, "denied_packets"))
		printf("denied      %lld packets already, by the list as it is\n",
		       number_of(answer, "denied_packets"));
	if (number_of(answer, "spared_packets"))
		printf("spared      %lld packets: protected, allowed, or inward and not judged\n",
		       number_of(answer, "spared_packets"));
	printf("seen        %lld %s",
	       number_of(answer, "remote_ends"),
	       text_of(answer, "remote_ends_are"));
	if (text_of(answer, "last")[0])
		printf(", the last packet %s", text_of(answer, "last"));
	puts("");
	sampling_print(answer);
	top_print(answer);
}

int run_preview(const struct cli *cli)
{
	json_t *answer;
	int code = api_of_indicator(cli, "/v1/preview?indicator=", &answer);
	if (code)
		return code;
	if (!cli->json)
		preview_print(answer);
	json_decref(answer);
	return EXIT_DONE;
}

int run_top(const struct cli *cli)
{
	json_t *answer;
	int code = api_do(cli, "GET", "/v1/preview?ends=20", NULL, &answer);
	if (code)
		return code;
	if (!cli->json) {
		amount_print("all", json_object_get(answer, "seen"));
		sampling_print(answer);
		top_print(answer);
	}
	json_decref(answer);
	return EXIT_DONE;
}
