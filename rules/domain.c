// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/domain.h"

#include <idn2.h>
#include <libpsl.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int refuse(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return -EINVAL;
}

static bool is_label_octet(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// Labels of a lower-case ASCII name without a trailing dot.
static int labels_check(const char *name, size_t len, const char **ret_reason)
{
	size_t label = 0, labels = 1;
	bool letter = false; // in the last label

	for (size_t i = 0; i < len; i++) {
		if (name[i] == '.') {
			if (i == label)
				return refuse(
					ret_reason,
					"empty label: two dots in a row or a leading dot"
				);
			if (name[i - 1] == '-' || name[label] == '-')
				return refuse(
					ret_reason, "a label may not begin or end with a hyphen"
				);
			label = i + 1;
			labels++;
			letter = false;
			continue;
		}
		if (!is_label_octet(name[i]))
			return refuse(
				ret_reason,
				"a name has letters, digits, hyphens, underscores and dots only"
			);
		if (i - label >= 63)
			return refuse(ret_reason, "a label has at most 63 octets");
		letter = letter || (name[i] >= 'a' && name[i] <= 'z');
	}
	if (label == len)
		return refuse(ret_reason, "empty label: two dots in a row or a leading dot");
	if (name[len - 1] == '-' || name[label] == '-')
		return refuse(ret_reason, "a label may not begin or end with a hyphen");
	if (labels < 2)
		return refuse(ret_reason, "a name has at least two labels");
	if (*name >= '0' && *name <= '9' && !letter && memchr(name, '-', len))
		return refuse(ret_reason, "a range is no indicator: write it as prefixes");
	if (!letter || strncmp(name + label, "0x", 2) == 0)
		return refuse(
			ret_reason,
			"neither an address nor a name: write an address with four decimal octets"
		);
	return 0;
}

static int name_finish(
	const char *name, size_t len, char ret_name[INDICATOR_NAME_MAX + 1], const char **ret_reason
)
{
	char lower[INDICATOR_NAME_MAX + 1] = {0};
	int rc;

	if (len && name[len - 1] == '.')
		len--;
	if (len == 0)
		return refuse(ret_reason, "empty name");
	if (len > INDICATOR_NAME_MAX)
		return refuse(ret_reason, "a name has at most 253 octets");
	for (size_t i = 0; i < len; i++)
		lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i];
	rc = labels_check(lower, len, ret_reason);
	if (rc == 0)
		memcpy(ret_name, lower, sizeof(lower));
	return rc;
}

int domain_canonical(
	const char *text, size_t len, char ret_name[INDICATOR_NAME_MAX + 1], const char **ret_reason
)
{
	char copy[1024];
	char *ascii = NULL;
	bool plain = true;
	int rc;

	if (len >= sizeof(copy))
		return refuse(ret_reason, "a name has at most 253 octets");
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\0')
			return refuse(ret_reason, "a name has no NUL");
		plain = plain && (unsigned char)text[i] < 0x80;
	}
	if (plain)
		return name_finish(text, len, ret_name, ret_reason);
	memcpy(copy, text, len);
	copy[len] = '\0';
	// Non-transitional, as browsers and RFC 5895 do: "straße" is not "strasse".
	rc = idn2_to_ascii_8z(copy, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (rc != IDN2_OK)
		return refuse(ret_reason, "not a valid internationalised name (IDNA2008)");
	rc = name_finish(ascii, strlen(ascii), ret_name, ret_reason);
	idn2_free(ascii);
	return rc;
}

bool domain_is_public_suffix(const char *name)
{
	return psl_is_public_suffix2(psl_builtin(), name, PSL_TYPE_ANY | PSL_TYPE_NO_STAR_RULE);
}
