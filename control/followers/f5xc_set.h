// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One ip_prefix_set of F5 Distributed Cloud: what it should hold, what an answer says it holds.
// Pure. Wire format: F5's published OpenAPI, ves.io.schema.ip_prefix_set, with the hidden member
// resource_version.

#pragma once

#include "rules/entry.h"

#include <jansson.h>

#define F5XC_WHY_MAX 160
#define F5XC_KEEP_V4 "192.0.2.1/32" // stays in, so that a set of ours is never empty
#define F5XC_KEEP_V6 "2001:db8::1/128"
#define F5XC_OWNER "stanch-owner"
#define F5XC_REVISION "stanch.revision"
#define F5XC_DIGEST "stanch.digest"

enum f5xc_state {
	F5XC_PENDING,
	F5XC_STORED, // read back
	F5XC_REFERRED, // and a rule refers to the set
	F5XC_REFUSED,
	F5XC_NOT_MIRRORED,
};

struct f5xc_item {
	struct indicator indicator;
	enum f5xc_state state;
	char why[F5XC_WHY_MAX];
	char description[65]; // case or operator
};

// "203.0.113.7/32": the text of the API, for a network indicator.
void f5xc_prefix_print(const struct indicator *, char text[INDICATOR_TEXT_MAX]);

// Control octets made " " and invalid UTF-8 "?", so that jansson takes what XC sends. Returns a
// copy to free, or NULL.
char *f5xc_sanitise(const char *body, size_t len);

// What an answer to GET says. All borrowed from `object`.
struct f5xc_object {
	const char *owner; // "" where our label is missing
	const char *resource_version;
	struct revision revision; // of our annotation; 0.0 where it is missing
	json_t *prefixes; // array, or NULL
	bool referred;
};
int f5xc_object_read(json_t *object, int family, struct f5xc_object *ret_object); // -EBADMSG

// Are exactly these prefixes there (and the one that stays)? Compared as canonical indicators.
bool f5xc_object_equal(const struct f5xc_object *, int family, const struct f5xc_item *, size_t n);
bool f5xc_object_has(const struct f5xc_object *, int family, const struct indicator *);

// The body of a create or replace. `was`: the answer whose foreign metadata is kept, or NULL.
json_t *f5xc_body(
	json_t *was,
	const char *name,
	const char *xc_namespace,
	const char *owner,
	const struct list_state *,
	int family,
	const struct f5xc_item *,
	size_t n
);
