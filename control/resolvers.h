// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Derived protections of the resolvers in resolv.conf: UDP and TCP port 53 of each. The file is
// looked at again every few seconds, since it is replaced rather than written by those who keep it.
//
// Thread: the event loop.

#pragma once

#include <stddef.h>

struct event_base;
struct protect;
struct resolvers;

int resolvers_create(
	struct event_base *, struct protect *, const char *path, struct resolvers **ret_resolvers
);
void resolvers_free(struct resolvers *);
// The name servers of a resolv.conf's text; returns how many.
size_t resolvers_note(struct protect *, const char *text, size_t len);
