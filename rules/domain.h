// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Names: their canonical form, and which of them are public suffixes.

#pragma once

#include "rules/indicator.h"

// Canonical form of a host or domain name: IDNA2008 (libidn2), lower case, no trailing dot, labels
// of 1–63 octets of letters, digits, hyphen and underscore, at least two labels, the last one not
// all digits. Writes a NUL-terminated name; -EINVAL with a reason otherwise.
int domain_canonical(
	const char *text, size_t len, char ret_name[INDICATOR_NAME_MAX + 1], const char **ret_reason
);

// Is the name a public suffix (libpsl's built-in list, private section included)?
bool domain_is_public_suffix(const char *name);
