// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/http_caller.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define AUTHORIZATION_MAX 512

void http_caller_unix(int fd, struct http_caller *ret_caller)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return; // ROLE_NONE
	ret_caller->uid = peer.uid;
	// The socket's file let it in: root, the daemon's user, or its group.
	ret_caller->role = peer.uid == 0 || peer.uid == geteuid() ? ROLE_ADMIN : ROLE_OPERATOR;
	struct passwd entry, *found = NULL;
	char text[1024];
	getpwuid_r(peer.uid, &entry, text, sizeof(text), &found);
	snprintf(
		ret_caller->name,
		sizeof(ret_caller->name),
		"uid %u (%s)",
		(unsigned)peer.uid,
		found ? found->pw_name : "?"
	);
}

// The secret inside "Bearer X", "Basic base64(user:X)", or X alone. Returns its length.
static size_t authorization_secret(const char *header, char secret[AUTHORIZATION_MAX])
{
	size_t len;
	if (strncasecmp(header, "Basic ", 6) == 0) {
		header += 6 + strspn(header + 6, " ");
		len = strlen(header);
		if (len == 0 || len % 4 != 0 || len / 4 * 3 >= AUTHORIZATION_MAX)
			return 0;
		unsigned char *out = (unsigned char *)secret;
		int n = EVP_DecodeBlock(out, (const unsigned char *)header, (int)len);
		if (n <= 0)
			return 0;
		size_t padding = header[len - 1] != '=' ? 0 : header[len - 2] == '=' ? 2 : 1;
		size_t total = (size_t)n - padding;
		char *colon = memchr(secret, ':', total);
		if (!colon)
			return 0;
		size_t user = (size_t)(colon - secret);
		if (total - user - 1 == 0) // "KEY:" as some clients put a key
			return user;
		memmove(secret, colon + 1, total - user - 1);
		return total - user - 1;
	}
	if (strncasecmp(header, "Bearer ", 7) == 0)
		header += 7 + strspn(header + 7, " ");
	len = strlen(header);
	if (len >= AUTHORIZATION_MAX)
		return 0;
	memcpy(secret, header, len);
	return len;
}

const char *http_caller_tcp(
	const struct tokens *tokens,
	const char *authorization,
	const char *address,
	struct http_caller *ret_caller
)
{
	snprintf(ret_caller->name, sizeof(ret_caller->name), "anonymous@%.47s", address);
	if (!authorization)
		return "a token is needed: Authorization: Bearer TOKEN";
	char secret[AUTHORIZATION_MAX];
	size_t len = authorization_secret(authorization, secret);
	int expired = 0;
	const struct token *token = NULL;
	if (len > 0 && tokens)
		token = tokens_find(tokens, secret, len, time(NULL), &expired);
	OPENSSL_cleanse(secret, sizeof(secret));
	if (!token)
		return expired ? "the token is past its end" : "the token is not known";
	ret_caller->role = token->role;
	snprintf(
		ret_caller->name, sizeof(ret_caller->name), "token %s@%.47s", token->name, address
	);
	return NULL;
}

bool http_caller_source(
	const struct http_caller *caller, const char *kind, char ret_name[static 64]
)
{
	char prefix[32];
	int n = snprintf(prefix, sizeof(prefix), "token %s:", kind);
	const char *from, *at;
	size_t len;

	if (n < 0 || (size_t)n >= sizeof(prefix) || strncmp(caller->name, prefix, (size_t)n) != 0)
		return false;
	from = caller->name + n;
	at = strrchr(from, '@');
	len = at ? (size_t)(at - from) : strlen(from);
	if (len >= 64)
		return false;
	memcpy(ret_name, from, len);
	ret_name[len] = '\0';
	return true;
}
