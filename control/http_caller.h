// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Who asks: the peer of the Unix socket, or the bearer of a token.
//
// Thread: the event loop.

#pragma once

#include "control/http_server.h"

// By SO_PEERCRED: root and the daemon's own user are admin, others that the socket's file let in
// are operator. ROLE_NONE stays where the kernel does not tell.
void http_caller_unix(int fd, struct http_caller *ret_caller);
// By the header "Bearer TOKEN", "Basic …" (the token as the password) or the token alone; NULL: no
// header. Returns NULL, or why nobody was recognised: ret_caller then has a name and no role.
const char *http_caller_tcp(
	const struct tokens *,
	const char *authorization,
	const char *address,
	struct http_caller *ret_caller
);
// Whose token it is: "token KIND:<name>@<address>". False: of another kind.
bool http_caller_source(const struct http_caller *, const char *kind, char ret_name[static 64]);
