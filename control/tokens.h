// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Tokens of the HTTP API: a name, a role, an end date; hashed at rest.
//
// File, one token a line, mode 0640 or stricter:
//   <name> <role> <end: RFC 3339 or never> sha256:<64 hex of SHA-256 of the token>
// `stanch token create NAME --role R --for 90d` prints a new token once, and its line.
//
// Thread: the event loop.

#pragma once

#include <stddef.h>
#include <stdint.h>

enum role {
	ROLE_NONE, // no authentication
	ROLE_HOOK, // may only post to /v1/hooks/…
	ROLE_VIEWER,
	ROLE_OPERATOR,
	ROLE_ADMIN,
};

struct tokens;

struct token {
	char name[64];
	enum role role;
	int64_t until; // seconds
};

// -errno, or -EINVAL with "file:line:column: reason".
int tokens_load(const char *path, struct tokens **ret_tokens, char ret_message[256]);
// The same for text in memory; `name` stands for the file in messages.
int tokens_parse(
	const char *name,
	const char *text,
	size_t len,
	struct tokens **ret_tokens,
	char ret_message[256]
);
// One more, known in the clear: the word that a webhook brings. -EEXIST: that secret is there.
int tokens_add(struct tokens *, const char *name, enum role, int64_t until, const char *secret);
size_t tokens_count(const struct tokens *);
void tokens_free(struct tokens *);
// The token that this secret is, compared in constant time. NULL: unknown or past its end;
// ret_expired tells which.
const struct token *
tokens_find(const struct tokens *, const char *secret, size_t len, int64_t now, int *ret_expired);
// A role reaches a route of `least` where it is at least that; ROLE_HOOK reaches only hooks.
int role_reaches(enum role have, enum role least);
int role_parse(const char *text, enum role *ret_role); // "hook", "viewer", "operator", "admin"
const char *role_name(enum role);
// A fresh random token (URL-safe text) and its line for the file.
int token_create(
	const char *name, enum role, int64_t until, char ret_secret[64], char ret_line[256]
);
