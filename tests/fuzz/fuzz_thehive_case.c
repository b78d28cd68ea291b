// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Answers of TheHive: a JSON array [case, observable…], judged as each version would; anything else
// is an observable's data. What is to be denied is a canonical indicator; what is not says why.

#include "control/conf.h"
#include "control/sources/thehive_indicator.h"
#include "control/sources/thehive_judge.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char status[] = "TruePositive", field[] = "stanch-action", tag[] = "stanch";
static char types[7][16] = {"ip", "domain", "fqdn", "hostname", "url", "other", "mail"};
static char benign[] = "FalsePositive";

static void indicator_check(const struct indicator *n)
{
	char text[INDICATOR_TEXT_MAX];
	struct indicator again;
	struct indicator_error error;
	size_t len = indicator_print(n, text);
	if (indicator_parse(text, len, &again, &error) < 0 || !indicator_equal(n, &again))
		abort();
}

static void data_check(const char *text)
{
	for (size_t i = 0; i < 7; i++) {
		struct hive_indicators found = {0};
		const char *reason = NULL;
		if (hive_indicators_parse(types[i], text, &found, &reason) < 0) {
			if (!reason)
				abort();
			continue;
		}
		if (found.n == 0 || found.n > HIVE_RANGE_MAX)
			abort();
		for (size_t j = 0; j < found.n; j++)
			indicator_check(&found.list[j]);
	}
}

static void findings_check(const struct hive_findings *findings, size_t from)
{
	if (findings->n == from)
		abort();
	for (size_t i = from; i < findings->n; i++) {
		const struct hive_finding *f = &findings->list[i];
		if (!hive_id_valid(f->id) || f->tlp < -1 || f->tlp > 4)
			abort();
		if (f->kind != HIVE_CLAIM && f->kind != HIVE_IMMUNE && !f->why[0])
			abort();
		if (f->kind == HIVE_CLAIM || f->kind == HIVE_HELD || f->kind == HIVE_IMMUNE)
			indicator_check(&f->indicator);
	}
}

static void case_check(const struct hive_rules *rules, const json_t *body)
{
	struct hive_judgement judgement;
	struct hive_findings findings = {0};
	const char *reason = NULL;
	if (hive_case_judge(rules, json_array_get(body, 0), NULL, &judgement, &reason) < 0) {
		if (!reason)
			abort();
		return;
	}
	if (judgement.verdict != HIVE_DENY && !judgement.why[0])
		abort();
	if (judgement.pap < 0 || judgement.pap > 3 || judgement.tlp < -1 || judgement.tlp > 4)
		abort();
	for (size_t i = 1; i < json_array_size(body); i++) {
		size_t before = findings.n;
		reason = NULL;
		if (hive_observable_judge(
			    rules, &judgement, json_array_get(body, i), &findings, &reason
		    )
		    == 0)
			findings_check(&findings, before);
		else if (!reason)
			abort();
	}
	hive_findings_fini(&findings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct hive_version versions[] = {{4, 1}, {5, 1}, {5, 2}};
	char *statuses[] = {status}, *falses[] = {benign}, *data_types[7];
	for (size_t i = 0; i < 7; i++)
		data_types[i] = types[i];
	const struct conf_thehive conf = {
		.true_positive = statuses,
		.n_true_positive = 1,
		.response_field = field,
		.response_tag = tag,
		.max_pap = 2,
		.data_types = data_types,
		.n_data_types = 7,
		.false_positive = falses,
		.n_false_positive = 1,
		.immunity_days = 30,
	};
	json_t *body = json_loadb((const char *)data, size, 0, NULL);
	if (json_is_array(body)) {
		for (size_t i = 0; i < 3; i++) {
			const struct hive_rules rules = {.conf = &conf, .version = versions[i]};
			case_check(&rules, body);
		}
	} else if (!memchr(data, '\0', size) && size < 4096) {
		char *text = strndup((const char *)data, size);
		if (text)
			data_check(text);
		free(text);
	}
	json_decref(body);
	return 0;
}
