// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// From an observable's data, as people paste it, to indicators.
//
//   ip, other, custom types  addresses, networks, ranges ("192.0.2.0-192.0.2.31"), port entries,
//                            URLs, names
//   domain                   *.name            fqdn, hostname   the name
//   mail                     *.domain of an e-mail address
//   url                      its host, an address or a name; with a path that means something: the
//                            host, to be held
//
// Thread: any; pure.

#pragma once

#include "rules/indicator.h"

#include <stdbool.h>
#include <stddef.h>

#define HIVE_RANGE_MAX 64 // prefixes that make up one range

struct hive_indicators {
	struct indicator list[HIVE_RANGE_MAX];
	size_t n;
	bool hold; // its host denies more than the URL says
};

// -EINVAL with a literal reason that names the remedy.
int hive_indicators_parse(
	const char *type,
	const char *data,
	struct hive_indicators *ret_found,
	const char **ret_reason
);
