// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The state of the data plane in one message (struct wire_status and its rows), and what of it
// makes the machine unhealthy.
// Thread: the control thread.

#pragma once

#include "dataplane/breakglass.h"
#include "dataplane/scrub.h"
#include "dataplane/set.h"
#include "rules/wire.h"

#include <stdbool.h>

enum status_list_error {
	LIST_ERROR_ENDS_HELD = 1, // the wall clock is not believed
	LIST_ERROR_PREVIOUS = 2, // the list on disk was damaged, the one before it is in use
};

struct status_sources {
	const struct set *set;
	const struct scrub *scrub;
	const struct breakglass *breakglass;
	uint32_t list_origin; // enum wire_list_origin
	uint64_t denials_lost;
	int64_t started_ms; // boot_ms
	bool ready; // ports are up
	bool link_stalled; // an answer to control missed its deadline
};

// Returns octets; rows that do not fit are left out.
size_t status_build(const struct status_sources *, void *message, size_t room);

// Each true: in order.
struct status_health {
	bool workers, list, applied, ports, scrub;
};
struct status_health status_health(const struct status_sources *);
bool status_healthy(const struct status_health *);
