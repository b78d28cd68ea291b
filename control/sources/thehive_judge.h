// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a case and its observables ask for: pure functions of what TheHive answered.
//
// A case denies when it is closed as a true positive (4: Resolved and TruePositive; from 5 on:
// stage Closed and a status of the configured set), and its response action says enforce or
// monitor. The action is a custom field, or a tag "<prefix>:<action>[:<duration>]"; "none" in
// either holds, then the field, then the tag. A duration counts from the case's closing.
// A tag of an observable says otherwise for this one; a case without response action lets those
// alone count that say so themselves, one whose action is none lets none count.
//
// A case closed as a false positive makes those observables immune that bear the tag
// "<prefix>:false-positive": hosts and names, for a time that counts from the closing.
//
// PAP: the stricter of case and observable; an unknown number counts as RED.
// Thread: any.

#pragma once

#include "control/ledger.h"
#include "control/sources/thehive_hook.h"

#include <jansson.h>

#include <stddef.h>
#include <stdint.h>

struct conf_thehive;

#define HIVE_WHY_MAX 192
#define HIVE_DURATION_OVER "the duration of the response action is over"
#define HIVE_FALSE_POSITIVE "false-positive" // the tag behind the prefix

struct hive_version {
	unsigned major, minor; // 0.0: not known yet
};

// "4.1.24-1", "5.2.8". -EINVAL.
int hive_version_parse(const char *text, struct hive_version *ret_version);

struct hive_rules {
	const struct conf_thehive *conf;
	struct hive_version version;
};

enum hive_verdict {
	HIVE_OPEN, // open, or judged otherwise: whatever it denied ends
	HIVE_NONE, // a true positive without a response action: the same, but for observables with
		   // an action of their own
	HIVE_UNCLEAR, // an action that nobody defined: nothing new, nothing ends
	HIVE_DENY,
};

struct hive_judgement {
	enum hive_verdict verdict;
	enum claim_action action;
	int64_t until;
	char id[HIVE_ID_MAX];
	char number[16]; // what people call it
	bool closed; // in whatever way
	bool false_positive; // closed as one
	bool by_observable; // HIVE_NONE: observables with an action of their own count
	int64_t immune_until; // false_positive: what the analyst marked; else 0
	int64_t closed_at; // seconds; 0: not known
	char title[80]; // shortened, without control characters
	char updated_by[HIVE_NAME_MAX];
	int64_t updated_ms;
	int tlp, pap; // tlp as struct claim's; pap 0–3
	char why[HIVE_WHY_MAX]; // for people, but for HIVE_DENY
};

// -EINVAL with a reason: not the case `id`. `id` NULL: any.
int hive_case_judge(
	const struct hive_rules *,
	const json_t *body,
	const char *id,
	struct hive_judgement *ret_judgement,
	const char **ret_reason
);

// Does anything depend on its observables, at this time?
bool hive_observables_count(const struct hive_judgement *, int64_t now);

enum hive_finding_kind {
	HIVE_IGNORED, // not IOC, or of a type that does not count: what it denied ends
	HIVE_REFUSED, // cannot or must not be denied: what it denied ends
	HIVE_HELD, // for an operator
	HIVE_IMMUNE, // marked as a false positive, in a case closed as one
	HIVE_CLAIM,
};

// One indicator of one observable; a range of addresses has several.
struct hive_finding {
	enum hive_finding_kind kind;
	char id[HIVE_ID_MAX]; // the observable's
	struct indicator indicator; // HELD, CLAIM, IMMUNE
	enum claim_action action; // HELD, CLAIM: the case's, or what the observable's tag says
	int64_t until;
	int tlp;
	char data[64]; // shortened, for people
	char why[HIVE_WHY_MAX]; // but for CLAIM, IMMUNE
};

struct hive_findings {
	struct hive_finding *list;
	size_t n, room;
};

void hive_findings_fini(struct hive_findings *);

// What judging an observable needs of it, so that many can be kept. NULL: no memory.
json_t *hive_observable_copy(const json_t *body);

// Appends what one observable asks for. -EINVAL with a reason: no observable. -ENOMEM.
int hive_observable_judge(
	const struct hive_rules *,
	const struct hive_judgement *,
	const json_t *body,
	struct hive_findings *findings,
	const char **ret_reason
);
