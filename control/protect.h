// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Protections as control knows them: built in, configured, the operator's, and derived from what
// the gateway itself connects to. The ledger asks it before it writes; the data plane gets it as
// exceptions.
//
// Thread: the event loop.

#pragma once

#include "rules/entry.h"
#include "rules/protect.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTECT_DERIVED_MAX 16 // addresses of one dependency

enum protect_origin {
	PROTECT_BUILTIN,
	PROTECT_PRIVATE,
	PROTECT_CONFIGURED,
	PROTECT_OPERATOR, // `stanch protect`
	PROTECT_DERIVED,
};

struct protection {
	struct indicator indicator;
	enum protect_origin origin;
	char reason[128]; // RFC, configuration's key path, operator's words, dependency
	int64_t last_seen; // derived: seconds; else 0
};

struct cautions;
struct protect;

enum protect_overlap_mode {
	PROTECT_REFUSE, // a claim that overlaps is refused
	PROTECT_EXCEPT, // it is written, and the protected part excepted in the data plane
};

int protect_create(bool private_ranges, enum protect_overlap_mode, struct protect **ret_protect);
void protect_free(struct protect *);
enum protect_overlap_mode protect_mode(const struct protect *);

// Configured ones are replaced as a whole on reload. -EINVAL: reason in ret_reason.
int protect_add(
	struct protect *, enum protect_origin, const struct indicator *, const char *reason
);
void protect_remove(struct protect *, enum protect_origin, const struct indicator *);
void protect_clear(struct protect *, enum protect_origin);

// A connection that the gateway made to a dependency ("thehive:soc", "f5xc", "resolver"): protocol,
// exact address, port. At most PROTECT_DERIVED_MAX a dependency, the least recently seen goes.
// Never lifts an entry in force: the ledger is asked through the callback set below, and where an
// entry covers it, the protection is not added; it is a conflict that alarms.
void protect_derived_note(
	struct protect *,
	const char *dependency,
	uint8_t proto,
	uint8_t family,
	const uint8_t addr[static 16],
	uint16_t port
);
typedef bool (*protect_in_force)(void *ctx, const struct indicator *);
void protect_in_force_set(struct protect *, protect_in_force, void *ctx);
typedef void (*protect_changed)(void *ctx);
void protect_changed_set(struct protect *, protect_changed, void *ctx); // exceptions moved
uint64_t protect_conflicts(const struct protect *); // derived ones not added, now

// The first protection that the indicator about to be denied overlaps, or NULL.
const struct protection *
protect_check(const struct protect *, const struct indicator *denied, enum overlap *ret_overlap);
// What many share: taken over, the former ones freed. NULL: none.
void protect_cautions_set(struct protect *, struct cautions *);
struct cautions *protect_cautions(const struct protect *); // for cautions_ref; NULL: none
// Wider than a host, and meets one of them: why it is held.
bool protect_caution(const struct protect *, const struct indicator *denied, char ret_why[192]);
typedef bool (*protection_cb)(void *ctx, const struct protection *);
void protect_each(const struct protect *, protection_cb, void *ctx);
