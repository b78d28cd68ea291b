// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Cautions: what many share (clouds, CDNs, public resolvers, services such as file shares). A host
// among them may be denied; what is wider and meets one is held for an operator, or, as a member of
// a list, refused.
//
// Files are MISP warninglists (a JSON object with "list", "name", "version"), or text: one address,
// network or name a line, "#" begins a comment. A name with a dot in front (".cdn.example") or as
// "*.cdn.example" stands for all that is under it. Lines that are none of these are skipped.
//
// Thread: the event loop fills them; then they never change, and any may ask, hold and free them.

#pragma once

#include "rules/indicator.h"

#include <stdbool.h>
#include <stddef.h>

struct cautions;

#define CAUTIONS_MAX 1000000 // entries of all files

int cautions_create(struct cautions **ret_cautions);
// Another holder; each frees.
struct cautions *cautions_ref(struct cautions *);
void cautions_free(struct cautions *);
// -errno with a message.
int cautions_load(struct cautions *, const char *path, char ret_message[256]);
size_t cautions_count(const struct cautions *);
// Does this meet one, and is it wider than a host? Then why, for people. Binary searches: lists ask
// for each of their members.
bool cautions_check(const struct cautions *, const struct indicator *denied, char ret_why[192]);
