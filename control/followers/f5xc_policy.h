// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Who refers to a set of ours, and whether one of their rules denies with it. Pure.
//
// Wire format: F5's published OpenAPI of enhanced_firewall_policy, network_policy,
// network_policy_view and forward_proxy_policy; ves.io.schema.ObjectRefType for referring_objects.
// How `kind` is spelled there is not documented: the words are searched for in it.

#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define F5XC_REFERRERS_MAX 4 // further ones are not looked at
#define F5XC_REFERRER_TEXT_MAX 160

enum f5xc_verdict {
	F5XC_UNREAD, // not yet, or not readable: why
	F5XC_DENIES, // a deny rule of it uses the set as destination
	F5XC_DENIES_NOT,
	F5XC_DISABLED, // the policy is
};

struct f5xc_referrer {
	const char *plural; // of the path, static
	char xc_namespace[64], name[64];
	enum f5xc_verdict verdict;
	char why[48];
	int64_t read_ms; // monotonic; 0: never
};

struct f5xc_referrers {
	struct f5xc_referrer list[F5XC_REFERRERS_MAX]; // of the kinds that judge what goes out
	size_t n;
	char other[F5XC_REFERRER_TEXT_MAX]; // one of another kind, for people; "" for none
	int64_t asked_ms; // monotonic: when they were asked for apart; 0: never
};

// A site or firewall that lists a policy.
enum f5xc_listed {
	F5XC_LIST_UNREAD, // not yet, or not readable: why
	F5XC_LISTED, // with the policy that must follow behind it, where one must
	F5XC_LISTED_LAST, // without: F5 drops what no rule matches
	F5XC_LISTED_NOT,
};

struct f5xc_attachment {
	char policy[64]; // of which namespace is not kept: sites list those of system
	const char *plural; // of the path, static
	char xc_namespace[64], name[64];
	enum f5xc_listed listed;
	char why[48];
	int64_t read_ms; // monotonic; 0: never
};

#define F5XC_ATTACHMENTS_MAX 32 // further ones are not looked at
struct f5xc_attachments {
	struct f5xc_attachment list[F5XC_ATTACHMENTS_MAX];
	size_t n;
};

// From an answer to GET of the policy: who lists it. What is known of those who stay is kept.
// False, and nothing changed: the answer names nobody.
bool f5xc_attachments_note(json_t *object, const char *policy, struct f5xc_attachments *);
void f5xc_attachments_drop(struct f5xc_attachments *, const char *policy);
// Where the policy stands in the lists of that object. `before`: the policy that must follow it in
// each of them, or NULL. -EBADMSG: it has no spec.
int f5xc_list_judge(
	json_t *object, const char *policy, const char *before, enum f5xc_listed *ret_listed
);
// Does it end in a rule that lets everything pass? Else why not.
bool f5xc_policy_allows(json_t *object, char ret_why[96]);

// From an answer to GET of the set. What is known of those who stay is kept. False, and nothing
// changed: the answer names none.
bool f5xc_referrers_note(json_t *object, struct f5xc_referrers *);
// One whose deny rule uses the set, the first; NULL: none.
const struct f5xc_referrer *f5xc_referrers_deny(const struct f5xc_referrers *);
// Does a deny rule of one of them use the set? And, for people, by whom; "" where nothing refers.
bool f5xc_referrers_tell(const struct f5xc_referrers *, char ret_text[F5XC_REFERRER_TEXT_MAX]);

// What a policy, as an answer to GET has it, does with the set. -EBADMSG: it is no policy.
// Whether an earlier rule allows the same, and where the policy is attached, is not looked at.
int f5xc_policy_judge(
	json_t *object,
	const char *set_namespace,
	const char *set_name,
	enum f5xc_verdict *ret_verdict
);
