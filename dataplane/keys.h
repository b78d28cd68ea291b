// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// An indicator of the list and the key that the lookup knows it by. Pure.

#pragma once

#include "dataplane/core/match.h"
#include "rules/indicator.h"

void key_from_indicator(const struct indicator *, struct match_key *ret_key); // no names
void key_to_indicator(const struct match_key *, struct indicator *ret_indicator);
bool key_equal(const struct match_key *, const struct match_key *);
