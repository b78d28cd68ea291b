// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/keys.h"

#include <string.h>

void key_from_indicator(const struct indicator *n, struct match_key *ret_key)
{
	*ret_key = (struct match_key){
		.family = n->family,
		.prefix_len = n->prefix_len,
		.proto = n->proto,
		.port = n->port,
	};
	memcpy(ret_key->addr, n->addr, sizeof(ret_key->addr));
}

void key_to_indicator(const struct match_key *k, struct indicator *ret_indicator)
{
	*ret_indicator = (struct indicator){
		.kind = k->proto ? INDICATOR_PORT : INDICATOR_NET,
		.family = k->family,
		.prefix_len = k->prefix_len,
		.proto = k->proto,
		.port = k->port,
	};
	memcpy(ret_indicator->addr, k->addr, sizeof(k->addr));
}

bool key_equal(const struct match_key *a, const struct match_key *b)
{
	return a->family == b->family && a->prefix_len == b->prefix_len && a->proto == b->proto
		&& a->port == b->port && memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}
