// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Root's actions on the data plane, written into the audit: what the data plane tells is
// acknowledged once its record is committed, never before. An acknowledgement covers all actions
// before it too, so none behind one that could not be written is taken: the data plane tells them
// again, in their order.
//
// Thread: the event loop.

#pragma once

#include <stdint.h>

struct breakglass_audit;
struct ledger;
struct wire_breakglass;

// Action `seq` and all before it are in the audit: tell the data plane.
typedef void (*breakglass_ack_cb)(void *ctx, uint64_t seq);

int breakglass_audit_create(
	struct ledger *, breakglass_ack_cb, void *ctx, struct breakglass_audit **ret_audit
);
// Nothing is called back afterwards; what is under way is still written.
void breakglass_audit_free(struct breakglass_audit *);
// The link ended: what is under way is written, but acknowledged to nobody.
void breakglass_audit_session(struct breakglass_audit *);
void breakglass_audit_take(struct breakglass_audit *, const struct wire_breakglass *);
