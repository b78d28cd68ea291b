// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What this gateway does in its fleet, and what hangs on it: only the leader reads TheHive, alerts
// and lists, writes to F5 XC and to cases. A follower applies the leader's records, enforces, and
// sends up what came to it: operators' commands (the ledger's asks), webhooks and alerts, denials.
//
//   fleet ──role──> this ──role_moved──> modules that only the leader runs start or end
//         ──hint──>      ──> TheHive, as its own webhook         (leader)
//         ──denials─>    ──> the write-back's attempts           (leader)
//         <─heartbeat─   what is applied, packets, denials
//
// A change of role takes effect in a turn of the loop of its own: nothing is freed under what runs.
// Before that turn the fence holds already: no write to F5 XC or TheHive without a lease.
//
// Without control.fleet, or with role: single, a gateway leads itself and all of this does nothing.
//
// Thread: the event loop.

#pragma once

#include "rules/snapshot.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;
struct control;
struct hive_hint;
struct http_request;
struct wire_denial;

int start_roles(struct control *);
void stop_roles(struct control *);
void reload_roles(struct control *, const struct conf *old);

// Once all modules have started; from then on called where the role moved.
void roles_moved_set(struct control *, void (*moved)(void *ctx, bool leads), void *ctx);

// Does this gateway do the leader's work? True without a fleet.
bool control_leads(const struct control *);
// Is it one of a fleet?
bool control_in_fleet(const struct control *);
// Who leads, for people: "gw-a does this", "no gateway leads at the moment". Empty where it leads.
void control_leader_text(const struct control *, char ret_text[160]);
// What the fleet says of itself, for GET /v1/fleet and status. A new reference; in a fleet only.
json_t *roles_status(const struct control *);
// Answers a request for what only the leader does: 409, and who leads.
void roles_refuse(const struct control *, struct http_request *);
// What a part of the leader's work says of itself on a follower, for status. A new reference.
json_t *control_leader_part(const struct control *);

// A follower's webhook, upward.
void roles_hint(struct control *, const char *instance, const struct hive_hint *);
// Of the data plane here: to the case by the leader.
void roles_denials(struct control *, const struct wire_denial *, size_t n);

// Names of the gateways whose data plane has applied at least what the ledger here held at the
// revision, as they told, this one first; as many as fit, and how many more there are. "" without a
// fleet.
void roles_confirmed(struct control *, struct revision, char *ret_text, size_t size);
