// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// TheHive's webhooks: which case does one speak of? A webhook is a hint, never evidence.
//
//   format               told by
//   TheHive 5, version 1 "action" and _type "Audit"
//   TheHive 5, version 0 "operation" and _type "audit"
//   TheHive 4            "operation", organisationId a string; version 1: objectType upper-case
//   TheHive 3            "operation", no organisation
//
// Sources: TheHive 4.1.24 Webhook.scala, recorded bodies of TheHive 5.1, docs of TheHive 3.
// Thread: any; pure.

#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HIVE_ID_MAX 48 // octets of an id with its NUL: "~123456", "AV6FZsTj0KeanEfOQfd_"
#define HIVE_NAME_MAX 128 // of a login
#define HIVE_MERGED_MAX 16 // cases of one merge that are remembered; more are found by listing

enum hive_format {
	HIVE_FORMAT_3,
	HIVE_FORMAT_4_0,
	HIVE_FORMAT_4_1,
	HIVE_FORMAT_5_0,
	HIVE_FORMAT_5_1,
};

struct hive_hint {
	enum hive_format format;
	char case_id[HIVE_ID_MAX]; // "": it speaks of no case, nothing to do
	bool deleted; // says that the case was deleted
	bool closed; // says that the case is closed
	char closer[HIVE_NAME_MAX]; // who closed it, where the version tells; else ""
	uint64_t request; // which API request caused it; 0: unknown
	char merged[HIVE_MERGED_MAX][HIVE_ID_MAX]; // cases that were merged into this one
	size_t n_merged;
};

// -EINVAL with a reason: no webhook of TheHive.
int hive_hook_read(const json_t *body, struct hive_hint *ret_hint, const char **ret_reason);

// Ids go into paths and references: letters, digits, "~", "_", "-".
bool hive_id_valid(const char *id);
