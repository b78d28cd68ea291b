// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// One ip_prefix_set of F5 Distributed Cloud: what it should hold, what an answer says it holds.
// Pure. Wire format: F5's published OpenAPI, ves.io.schema.ip_prefix_set, with the hidden member
// resource_version.

#pragma once

#include "control/followers/f5xc_policy.h"
#include "control/followers/f5xc_prefix.h"
#include "rules/entry.h"

#include <jansson.h>

#define F5XC_WHY_MAX 200
#define F5XC_SET_MAX 1023 // prefixes beside the one that stays: F5 takes 1,024
#define F5XC_KEEP_WHY "keeps the set from being empty"
#define F5XC_OWNER "stanch-owner"
#define F5XC_REVISION "stanch.revision"
#define F5XC_DIGEST "stanch.digest" // of the list of that revision
#define F5XC_CONTENT "stanch.content" // of what was written: tells drift

// 192.0.2.1/32, 2001:db8::1/128: stays in, so that a set of ours is never empty.
struct f5xc_prefix f5xc_keep(int family);
bool f5xc_is_keep(int family, const struct f5xc_prefix *);

// A prefix of the set. Begins with the prefix, for f5xc_prefix_compare.
struct f5xc_row {
	struct f5xc_prefix prefix;
	const char *description; // borrowed, at most 64 octets
};

// Control octets made " " and invalid UTF-8 "?", so that jansson takes what XC sends. Returns a
// copy to free, or NULL.
char *f5xc_sanitise(const char *body, size_t len);
// What is not printable ASCII made "?": for texts of theirs in our log and our JSON.
void f5xc_text_clean(char *text);

// What an answer to GET says. The texts are borrowed from it; f5xc_object_fini frees the rest.
struct f5xc_object {
	const char *owner; // "" where our label is missing
	const char *content; // of our annotation, "" where it is missing
	const char *version; // resource_version, "" where it is missing
	struct revision revision; // of our annotation; 0.0 where it is missing
	bool disabled; // metadata.disable: in F5's words "administratively disabled"
	struct f5xc_row *rows; // sorted; without what is no prefix
	size_t n, n_rows; // n_rows: all
};
int f5xc_object_read(json_t *object, int family, struct f5xc_object *ret_object); // -EBADMSG,
										  // -ENOMEM
void f5xc_object_fini(struct f5xc_object *);
// Does it hold exactly these? Compared as prefixes, not as texts; `rows` sorted.
bool f5xc_object_equal(const struct f5xc_object *, const struct f5xc_row *rows, size_t n);
// And under the same descriptions? Of two that are equal.
bool f5xc_object_described(const struct f5xc_object *, const struct f5xc_row *rows);
// The annotation of such a content; sorted.
#define F5XC_CONTENT_MAX 17
void f5xc_content(const struct f5xc_row *rows, size_t n, char ret_text[F5XC_CONTENT_MAX]);

// Whose metadata: name, labels and annotations of ours, the others as they were.
struct f5xc_own {
	const char *name, *xc_namespace, *owner;
	struct list_state state;
	const char *content;
};
// metadata of a create or replace. `was`: that of the answer, whose foreign part is kept, or NULL.
json_t *f5xc_metadata(json_t *was, const struct f5xc_own *);
// The body of a create or replace; takes the metadata. `version`: "" for none.
json_t *
f5xc_body(json_t *metadata, const char *version, int family, const struct f5xc_row *rows, size_t n);
