// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The sockets of the data plane: the link of control, and the control socket of root.
//
//   listener ─accept, SO_PEERCRED─> peer ─recvmsg─> request.c ─> pending answers ─grace─> sendmsg
//                                                                denials (ring) ────────────┘
//
// One session at a time on the link: a newer HELLO evicts the older. Requests may be pipelined;
// answers keep their order. An answer that says "applied" waits for the workers' quiescent states,
// polled; after a deadline it says WIRE_STALLED. Nothing here blocks.
// Thread: the control thread, in the event loop.

#pragma once

#include "dataplane/request.h"

#include <stdbool.h>
#include <stdint.h>

struct link;
struct event_base;

struct link_options {
	struct event_base *base;
	struct requests *requests;
	const char *link_path; // NULL: none
	const char *ctl_path; // NULL: none
	const char *group; // whose members may connect to the link; NULL: none
	int64_t deadline_ms; // for workers to pass; 0: 2000
	void (*log)(const char *event, const char *detail); // session begins, ends; NULL: nobody
};

// Sockets left by a killed predecessor are replaced. -errno.
int link_create(const struct link_options *, struct link **ret_link);
void link_free(struct link *);
// A connected SEQPACKET socket instead of an accepted one; takes it over. For tests.
int link_adopt(struct link *, int fd, bool root);

// Queue a denial for the session. Full, or no session: the oldest is lost, counted.
void link_denial(struct link *, const struct wire_denial *);
uint64_t link_denials_lost(const struct link *);
// Once a wake-up of the drain: sends what is queued, tells root's actions again where due.
void link_poll(struct link *);

bool link_connected(const struct link *);
bool link_stalled(const struct link *); // the last answer, or one that waits, missed its deadline
// End the session: control comes again and finds what has to be repaired.
void link_drop(struct link *);
