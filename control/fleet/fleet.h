// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A fleet: gateways that enforce one list, through an ordinary Redis that none of them believes.
//
//   leader    ledger commit ─▶ records ─▶ stream `log`       follower   log ─▶ its own ledger
//             checkpoint (chunks, then one seal)                        operators' asks ─▶ `up`
//             lock with a lease, `head` each half second                head: is there a leader?
//
// All of it is sealed (fleet_seal.h). Whoever can write to Redis can stop the fleet's news and is
// told by alarms; he cannot take anything off a list. A follower without Redis keeps enforcing.
//
// Keys, with "<key_prefix>stanch:<fleet>:" before each:
//   leader   the lock: sealed {gateway, run}, with a time to live of lease_ms
//   epoch    the highest: sealed {gateway, run, epoch}     head      sealed, fleet_wire.h
//   log      stream of records                             seal      of the newest checkpoint
//   chunks:N its chunks, a hash index ─▶ MAC and octets    up        stream to the leader
//   denials  stream to the leader                          gateways  hash of sealed heartbeats
//
// Thread: the event loop.

#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control;
struct fleet;

struct fleet_events {
	void (*role)(void *ctx, bool leads); // it changed; from the loop
	void (*hint)(void *ctx, const char *json); // on the leader
	void (*denials)(void *ctx, const char *gateway, const void *octets, size_t len);
	void *ctx;
};

// Reads the keys, opens the ledger for the fleet and begins as a follower. control->conf->fleet.
// -errno, logged.
int fleet_create(struct control *, const struct fleet_events *, struct fleet **ret_fleet);
// Gives the lead back. NULL is fine; no event is called.
void fleet_free(struct fleet *);
// control->conf is new: the keys are read again. -errno, logged: the former ones stay.
int fleet_reload(struct fleet *);

bool fleet_leads(const struct fleet *);
// What is left of the lease; 0 where it does not lead, or where the leader before may still act.
int64_t fleet_lease_ms(const struct fleet *);

// Upward, not durable; on the leader the event is called at once.
void fleet_hint(struct fleet *, const char *json);
// Upward, at least once while the process lives. -EMSGSIZE: above 60 KiB; -ENOBUFS: 4 MiB wait.
int fleet_denials(struct fleet *, const void *octets, size_t len);

// {role, leads, leader, epoch, number, head, lag, redis, alarms: [{alarm, why, since}], counters}
json_t *fleet_status(const struct fleet *);
// [{gateway, role, leads, epoch, number, lag, count, digest, equal, why, age_ms, forged, extra}].
// `done` gets NULL where Redis does not answer; it takes the reference.
void fleet_gateways(struct fleet *, void (*done)(void *ctx, json_t *gateways), void *ctx);
// What the heartbeat carries under "extra".
void fleet_heartbeat_set(struct fleet *, json_t *(*extra)(void *ctx), void *ctx);
