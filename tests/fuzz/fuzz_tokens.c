// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The file of tokens: refused with a place, or taken.

#include "control/tokens.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char message[256] = "";
	struct tokens *tokens = NULL;
	int error = tokens_parse("fuzz", (const char *)data, size, &tokens, message);
	if (error ? tokens || strncmp(message, "fuzz:", 5) != 0 : !tokens)
		abort();
	if (error)
		return 0;
	int expired;
	const struct token *token = tokens_find(tokens, "secret", 6, 0, &expired);
	if (token && (token->role < ROLE_HOOK || token->role > ROLE_ADMIN || !token->name[0]))
		abort();
	tokens_free(tokens);
	return 0;
}
