// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The keeper of the list: the live set with everything that the control thread does for it.
//
//   keeper_create   set, self-test, list from disk, break-glass      before workers and ports
//   keeper_listen   link, control socket, health, timers             in the main lcore's event loop
//
// Thread: the control thread. It logs.

#pragma once

#include "dataplane/live.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct events;
struct keeper;
struct sketch;

// The texts live as long as the keeper.
struct keeper_options {
	uint32_t capacity;
	unsigned workers;
	struct policy policy; // as configured (verdicts of reasons, inbound)
	struct events *events; // NULL: no denials
	struct sketch *sketch; // NULL: nothing is sampled
	const char *list_dir; // control's deny.rules
	const char *state_dir; // the data plane's own: breakglass
	const char *run_dir; // the sockets
	const char *group; // whose members may connect to the link; NULL: "stanch"
	const char *health; // address and port; NULL: none
};

// -errno; what is wrong has been logged. Without a list, or with none that verifies, it starts, and
// the policy says have_list false.
int keeper_create(const struct keeper_options *, struct keeper **ret_keeper);
struct live *keeper_live(struct keeper *);
int keeper_listen(struct keeper *, struct event_base *);
bool keeper_have_list(const struct keeper *);
void keeper_ready(struct keeper *, bool ready); // ports are up, workers run
void keeper_free(struct keeper *); // after the last worker has stopped
