// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/tokens.h"

#include "rules/text.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_LEN 32
#define TOKENS_MAX 4096 // found by a walk: each request hashes once and compares with all
#define TOKENS_FILE_MAX (1024 * 1024)

struct token_row {
	struct token token;
	uint8_t hash[HASH_LEN];
};

struct tokens {
	struct token_row *rows;
	size_t n, room;
};

static const char *const role_names[] = {
	[ROLE_NONE] = "none",
	[ROLE_HOOK] = "hook",
	[ROLE_VIEWER] = "viewer",
	[ROLE_OPERATOR] = "operator",
	[ROLE_ADMIN] = "admin",
};

int role_reaches(enum role have, enum role least)
{
	if (have == ROLE_HOOK)
		return least <= ROLE_HOOK;
	return have >= least;
}

int role_parse(const char *text, enum role *ret_role)
{
	for (int role = ROLE_HOOK; role <= ROLE_ADMIN; role++)
		if (strcmp(text, role_names[role]) == 0) {
			*ret_role = (enum role)role;
			return 0;
		}
	return -EINVAL;
}

const char *role_name(enum role role)
{
	return role <= ROLE_ADMIN ? role_names[role] : "unknown";
}

static bool hash_make(const char *secret, size_t len, uint8_t ret_hash[HASH_LEN])
{
	return EVP_Digest(secret, len, ret_hash, NULL, EVP_sha256(), NULL) == 1;
}

static struct token_row *row_add(struct tokens *tokens)
{
	if (tokens->n == tokens->room) {
		size_t room = tokens->room ? tokens->room * 2 : 16;
		struct token_row *rows = reallocarray(tokens->rows, room, sizeof(*rows));
		if (!rows)
			return NULL;
		tokens->rows = rows;
		tokens->room = room;
	}
	struct token_row *row = &tokens->rows[tokens->n++];
	memset(row, 0, sizeof(*row));
	return row;
}

static bool name_valid(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && len < sizeof(((struct token *)0)->name)
		&& strspn(name,
			  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-")
		== len;
}

// One word of a line: "name", "role", "end", "hash".
struct word {
	char text[128];
	size_t column;
};

// -EINVAL: more than four words, or one too long, at ret_column.
static int
line_split(const char *line, size_t len, struct word words[4], size_t *ret_n, size_t *ret_column)
{
	size_t n = 0;
	for (size_t i = 0; i < len;) {
		if (line[i] == ' ' || line[i] == '\t') {
			i++;
			continue;
		}
		size_t start = i;
		while (i < len && line[i] != ' ' && line[i] != '\t')
			i++;
		*ret_column = start + 1;
		if (n == 4 || i - start >= sizeof(words[0].text)
		    || memchr(line + start, '\0', i - start))
			return -EINVAL;
		memcpy(words[n].text, line + start, i - start);
		words[n].text[i - start] = '\0';
		words[n++].column = start + 1;
	}
	*ret_n = n;
	return 0;
}

static bool hash_parse(const char *text, uint8_t ret_hash[HASH_LEN])
{
	if (strncmp(text, "sha256:", 7) != 0 || strlen(text) != 7 + 2 * HASH_LEN)
		return false;
	if (strspn(text + 7, "0123456789abcdefABCDEF") != 2 * HASH_LEN)
		return false;
	for (size_t i = 0; i < HASH_LEN; i++) {
		char octet[3] = {text[7 + 2 * i], text[8 + 2 * i], '\0'};
		ret_hash[i] = (uint8_t)strtoul(octet, NULL, 16);
	}
	return true;
}

// NULL, or why the line is refused, with the column.
static const char *
line_parse(const char *line, size_t len, struct tokens *tokens, bool *ret_full, size_t *ret_column)
{
	struct word words[4];
	size_t n;
	if (line_split(line, len, words, &n, ret_column) < 0)
		return "too long, or more than <name> <role> <end> sha256:<hex>";
	if (n == 0)
		return NULL;
	*ret_column = 1;
	if (n != 4)
		return "a line is: <name> <role> <end> sha256:<hex>";

	struct token_row row = {0};
	*ret_column = words[0].column;
	if (!name_valid(words[0].text))
		return "a name has 1 to 63 of A-Z a-z 0-9 . _ : -";
	snprintf(row.token.name, sizeof(row.token.name), "%s", words[0].text);
	for (size_t i = 0; i < tokens->n; i++)
		if (strcmp(tokens->rows[i].token.name, row.token.name) == 0)
			return "this name stands above already";
	*ret_column = words[1].column;
	if (role_parse(words[1].text, &row.token.role) < 0)
		return "a role is hook, viewer, operator or admin";
	*ret_column = words[2].column;
	if (until_parse(words[2].text, strlen(words[2].text), &row.token.until) < 0)
		return "an end is as 2026-12-31T00:00:00Z, or never";
	*ret_column = words[3].column;
	if (!hash_parse(words[3].text, row.hash))
		return "expected sha256: and 64 hexadecimal digits";

	*ret_full = tokens->n >= TOKENS_MAX;
	if (*ret_full)
		return "too many tokens";
	struct token_row *added = row_add(tokens);
	*ret_full = !added;
	if (!added)
		return "no memory";
	*added = row;
	return NULL;
}

int tokens_parse(
	const char *name,
	const char *text,
	size_t len,
	struct tokens **ret_tokens,
	char ret_message[256]
)
{
	struct tokens *tokens = calloc(1, sizeof(*tokens));
	if (!tokens)
		return -ENOMEM;
	size_t number = 0;
	for (size_t at = 0; at < len;) {
		const char *line = text + at;
		const char *end = memchr(line, '\n', len - at);
		size_t line_len = end ? (size_t)(end - line) : len - at;
		at += line_len + 1;
		number++;
		if (line_len > 0 && line[line_len - 1] == '\r')
			line_len--;
		const char *comment = memchr(line, '#', line_len);
		if (comment)
			line_len = (size_t)(comment - line);

		bool full = false;
		size_t column = 1;
		const char *reason = line_parse(line, line_len, tokens, &full, &column);
		if (reason) {
			snprintf(ret_message, 256, "%s:%zu:%zu: %s", name, number, column, reason);
			tokens_free(tokens);
			return full ? -E2BIG : -EINVAL;
		}
	}
	*ret_tokens = tokens;
	return 0;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void text_free(char **text)
{
	free(*text);
}

static int fail(int error, char message[256], const char *path, const char *what)
{
	snprintf(message, 256, "%s: %s", path, what);
	return error;
}

int tokens_load(const char *path, struct tokens **ret_tokens, char ret_message[256])
{
	__attribute__((cleanup(fd_close))) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(-errno, ret_message, path, strerror(errno));
	struct stat st;
	if (fstat(fd, &st) < 0)
		return fail(-errno, ret_message, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(-EINVAL, ret_message, path, "is no regular file");
	if (st.st_mode & (S_IRWXO | S_IWGRP))
		return fail(-EPERM, ret_message, path, "its mode is too open: chmod 640");
	if (st.st_size > TOKENS_FILE_MAX)
		return fail(-EFBIG, ret_message, path, "is too large for a file of tokens");

	__attribute__((cleanup(text_free))) char *text = malloc((size_t)st.st_size + 1);
	if (!text)
		return fail(-ENOMEM, ret_message, path, strerror(ENOMEM));
	size_t len = 0;
	ssize_t n;
	while ((n = read(fd, text + len, (size_t)st.st_size - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		return fail(-errno, ret_message, path, strerror(errno));
	return tokens_parse(path, text, len, ret_tokens, ret_message);
}

int tokens_add(
	struct tokens *tokens, const char *name, enum role role, int64_t until, const char *secret
)
{
	uint8_t hash[HASH_LEN];
	if (!hash_make(secret, strlen(secret), hash))
		return -EIO;
	for (size_t i = 0; i < tokens->n; i++)
		if (CRYPTO_memcmp(tokens->rows[i].hash, hash, HASH_LEN) == 0)
			return -EEXIST;
	struct token_row *row = row_add(tokens);
	if (!row)
		return -ENOMEM;
	snprintf(row->token.name, sizeof(row->token.name), "%s", name);
	row->token.role = role;
	row->token.until = until;
	memcpy(row->hash, hash, HASH_LEN);
	return 0;
}

size_t tokens_count(const struct tokens *tokens)
{
	return tokens->n;
}

void tokens_free(struct tokens *tokens)
{
	if (!tokens)
		return;
	free(tokens->rows);
	free(tokens);
}

const struct token *tokens_find(
	const struct tokens *tokens, const char *secret, size_t len, int64_t now, int *ret_expired
)
{
	*ret_expired = 0;
	uint8_t hash[HASH_LEN];
	if (!hash_make(secret, len, hash))
		return NULL;
	const struct token *found = NULL;
	// All rows, whether found or not: the time tells nothing of which.
	for (size_t i = 0; i < tokens->n; i++)
		if (CRYPTO_memcmp(tokens->rows[i].hash, hash, HASH_LEN) == 0)
			found = &tokens->rows[i].token;
	if (found && now >= found->until) {
		*ret_expired = 1;
		return NULL;
	}
	return found;
}

int token_create(
	const char *name, enum role role, int64_t until, char ret_secret[64], char ret_line[256]
)
{
	if (!name_valid(name) || role < ROLE_HOOK || role > ROLE_ADMIN)
		return -EINVAL;
	uint8_t random[30], hash[HASH_LEN];
	if (RAND_bytes(random, sizeof(random)) != 1)
		return -EIO;
	// A prefix by which scanners for leaked secrets, and people, know it.
	unsigned char text[48] = "";
	EVP_EncodeBlock(text, random, sizeof(random)); // 30 octets: 40 characters, no padding
	for (unsigned char *c = text; *c; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	char secret[64];
	int secret_len = snprintf(secret, sizeof(secret), "stanch_%s", (char *)text);
	if (!hash_make(secret, (size_t)secret_len, hash))
		return -EIO;

	char end[24], hex[2 * HASH_LEN + 1];
	until_print(until, end);
	for (size_t i = 0; i < HASH_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	snprintf(ret_line, 256, "%s %s %s sha256:%s", name, role_name(role), end, hex);
	memcpy(ret_secret, secret, sizeof(secret));
	OPENSSL_cleanse(random, sizeof(random));
	OPENSSL_cleanse(secret, sizeof(secret));
	return 0;
}
