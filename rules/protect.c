// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/protect.h"

#include <stddef.h>

const struct protection_builtin protect_builtin[] = {
	{"0.0.0.0/8", "this network, RFC 791"},
	{"127.0.0.0/8", "loopback, RFC 1122"},
	{"169.254.0.0/16", "link-local, RFC 3927"},
	{"224.0.0.0/3", "multicast and reserved, RFC 5771 and RFC 1112"},
	{"::", "unspecified, RFC 4291"},
	{"::1", "loopback, RFC 4291"},
	{"fe80::/10", "link-local, RFC 4291"},
	{"ff00::/8", "multicast, RFC 4291"},
	{NULL, NULL},
};

const struct protection_builtin protect_private[] = {
	{"10.0.0.0/8", "private, RFC 1918"},
	{"172.16.0.0/12", "private, RFC 1918"},
	{"192.168.0.0/16", "private, RFC 1918"},
	{"100.64.0.0/10", "shared address space, RFC 6598"},
	{"fc00::/7", "unique local, RFC 4193"},
	{NULL, NULL},
};

enum overlap protect_overlap(const struct indicator *denied, const struct indicator *protection)
{
	if (indicator_covers(protection, denied))
		return OVERLAP_INSIDE;
	if (indicator_covers(denied, protection))
		return OVERLAP_CONTAINS;
	return OVERLAP_NONE;
}
