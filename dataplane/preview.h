// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a block would cut, from the sketch of what passes: the answer to PREVIEW (rules/wire.h).
//
// Thread: the control thread. Memory: 1 MiB, touched when first asked; an answer takes a few
// milliseconds where the sketch is full and everything is asked for.

#pragma once

#include "dataplane/live.h"
#include "dataplane/sketch.h"
#include "rules/wire.h"

struct preview;

// Both outlive it. -ENOMEM.
int preview_create(struct sketch *, const struct live *, struct preview **ret_preview);
void preview_free(struct preview *);

// Takes what is in the rings first: what was forwarded before the question is in the answer. `ask`
// NULL: everything. At most so many remote ends and WIRE_PREVIEW_ENDS_MAX. Writes the
// message, but for the header's seq, into WIRE_MESSAGE_MAX octets; returns its length.
size_t preview_build(
	struct preview *, const struct indicator *ask, uint32_t ends, int64_t now_ms, void *answer
);
