// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Bodies of POST /api/v1/query, for TheHive 4 and 5.
//
// Thread: any; pure. Each returns JSON text to be freed, NULL: no memory.

#pragma once

#include "control/sources/thehive_judge.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HIVE_PAGE 100 // cases, to begin with; see thehive_pages.h
#define HIVE_OBSERVABLES_PAGE 500

// All observables of a case of the types that count, IOC or not.
char *hive_query_observables(const struct hive_rules *, const char *case_id, size_t from);
// The case of an observable.
char *hive_query_parent(const struct hive_rules *, const char *observable);
// The one that changed last (cases), or was made last (observables).
char *hive_query_newest(const struct hive_rules *, bool cases);
// Cases changed since, oldest change first.
char *hive_query_changed(const struct hive_rules *, int64_t since_ms, size_t from, size_t size);
// Observables made or changed since, and the cases of those.
char *hive_query_observed(
	const struct hive_rules *, int64_t since_ms, size_t from, size_t size, bool cases
);
// These cases, and the observables of these cases that are of the types that count (ids: an array,
// taken).
char *hive_query_cases(const struct hive_rules *, json_t *ids, size_t size);
char *hive_query_observables_of(const struct hive_rules *, json_t *ids, size_t from, size_t size);
// Cases of which an observable bears a tag that counts without the case's response action: an
// action of its own, or a false positive. `durations`: also behind an action's word; written as
// configured, for prefixes are not found in another case of letters.
char *hive_query_tagged(const struct hive_rules *, bool durations, size_t from, size_t size);
// Closed true positives made since, in the order in which they were made.
char *hive_query_closed(const struct hive_rules *, int64_t made_since_ms, size_t from, size_t size);
