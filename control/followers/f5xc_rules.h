// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The rules of our enhanced_firewall_policy: one deny rule a set, then one for each protocol and
// port with the addresses of its port entries. Pure.
//
// Wire format: F5's published OpenAPI, ves.io.schema.enhanced_firewall_policy.

#pragma once

#include "control/followers/f5xc_wanted.h"

#define F5XC_RULES_MAX 128
#define F5XC_RULE_PREFIXES 128
#define F5XC_RULE_KEY_MAX 24

// An array of rules; those beyond F5XC_RULES_MAX are left out and counted. `sets`: names, in order.
json_t *f5xc_rules_build(
	const struct f5xc_wanted *,
	const char *xc_namespace,
	const char *const *sets,
	size_t n_sets,
	size_t *ret_cut
);
// Of a list of rules as it was read: name, action and match, and nothing that F5 may have added.
// The annotation by which drift is told.
void f5xc_rules_content(json_t *rules, char ret_text[F5XC_CONTENT_MAX]);
bool f5xc_rules_equal(json_t *a, json_t *b);
// Those of `wanted` that are in `there` too: what may be kept where nothing may be added.
json_t *f5xc_rules_kept(json_t *wanted, json_t *there);
bool f5xc_rules_have_set(json_t *rules, const char *set);
bool f5xc_rules_have_port(json_t *rules, const struct f5xc_key *);
