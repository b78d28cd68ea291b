// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Alerts become cases of TheHive.
//
//   POST /v1/hooks/alerts ─> ledger (committed, then 200) ─┐
//                                                          ├─> alert in TheHive ─┬─> a new case
//   new alerts in TheHive, of sources to promote ──────────┘                     └─> the open case
//                                                                                    of its origin
//
//   alerts.c        life, back-off, status, metrics    alerts_hook.c   who may send what, storing
//   alerts_queue.c  what waits, and what is remembered alerts_work.c   one alert after the other
//   alerts_list.c   alerts that lie in TheHive         alerts_parse.c, alerts_aip.c   pure
//
// An alert is known by (type, source, sourceRef), which TheHive keeps unique: whatever answer is
// lost, an alert is looked for before it is made again, and read before it is promoted again. An
// alert sent again unchanged does nothing. One that comes changed joins its case, as another alert
// whose reference has the digest behind it, while that case is open, else it is dropped and
// counted. Alerts of one origin join the case that the first of them opened, while it is open.
// What waits for TheHive stands in the ledger; nothing is given up but what TheHive itself refuses.
//
// An observable that joins an open case has the effect that the case's verdict gives it, as any
// that an analyst adds. Between the reading of the case as open and the joining lie some
// milliseconds in which an analyst may close it.
//
// Thread: the event loop.

#pragma once

#include <jansson.h>

#include <stdint.h>

struct control;
struct conf;

int start_alerts(struct control *);
void stop_alerts(struct control *);
void reload_alerts(struct control *, const struct conf *old);
void role_alerts(struct control *); // only the leader of a fleet makes them

struct alerts;
// For GET /v1/status: state, counters, what TheHive refused. A new reference; NULL: not configured.
json_t *alerts_status(const struct alerts *);
