// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/status_tags.h"

#include <stddef.h>
#include <strings.h>

bool status_tag_word(const char *word)
{
	static const char *const words[] = {
		STATUS_TAG_ENFORCED,
		STATUS_TAG_MONITORED,
		STATUS_TAG_HELD,
		STATUS_TAG_REFUSED,
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(word, words[i]) == 0)
			return true;
	return false;
}
