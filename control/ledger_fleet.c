// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/ledger_fleet.h"

#include "control/ledger_internal.h"

#include <errno.h>
#include <string.h>

static void refuse(struct ledger *l, ledger_done done, void *ctx)
{
	pending_done(l, done, ctx, -ENOSYS, "no fleet in this version");
}

int ledger_fleet_open(struct ledger *l, const struct fleet_setup *setup)
{
	(void)l;
	(void)setup;
	return -ENOSYS;
}

bool ledger_fleet_is(const struct ledger *l)
{
	(void)l;
	return false;
}

void ledger_fleet_place(const struct ledger *l, struct fleet_place *ret_place)
{
	(void)l;
	*ret_place = (struct fleet_place){0};
}

int ledger_fleet_epoch_see(
	struct ledger *l, uint64_t epoch, const char *leader, ledger_done done, void *ctx
)
{
	(void)epoch;
	(void)leader;
	refuse(l, done, ctx);
	return -ENOSYS;
}

uint64_t ledger_fleet_epoch(const struct ledger *l, char ret_leader[FLEET_NAME_MAX])
{
	(void)l;
	ret_leader[0] = '\0';
	return 0;
}

void ledger_fleet_lead(struct ledger *l, uint64_t epoch, ledger_done done, void *ctx)
{
	(void)epoch;
	refuse(l, done, ctx);
}

void ledger_fleet_follow(struct ledger *l)
{
	(void)l;
}

bool ledger_fleet_leads(const struct ledger *l)
{
	(void)l;
	return false;
}

void ledger_fleet_made_set(struct ledger *l, void (*made)(void *ctx), void *ctx)
{
	(void)l;
	(void)made;
	(void)ctx;
}

int ledger_fleet_records(
	struct ledger *l, uint64_t after_number, size_t max_octets, fleet_record_cb cb, void *ctx
)
{
	(void)l;
	(void)after_number;
	(void)max_octets;
	(void)cb;
	(void)ctx;
	return -ENOSYS;
}

void ledger_fleet_trim(struct ledger *l, uint64_t up_to)
{
	(void)l;
	(void)up_to;
}

void ledger_fleet_apply(
	struct ledger *l, const struct fleet_record *record, ledger_done done, void *ctx
)
{
	(void)record;
	refuse(l, done, ctx);
}

void ledger_fleet_fork(
	struct ledger *l, const struct fleet_place *base, ledger_done done, void *ctx
)
{
	(void)base;
	refuse(l, done, ctx);
}

void ledger_fleet_reset(struct ledger *l, const char *why, ledger_done done, void *ctx)
{
	(void)why;
	refuse(l, done, ctx);
}

int ledger_fleet_export(
	struct ledger *l,
	fleet_chunk_cb cb,
	fleet_export_done done,
	void *ctx,
	struct fleet_export **ret
)
{
	(void)l;
	(void)cb;
	(void)done;
	(void)ctx;
	(void)ret;
	return -ENOSYS;
}

void ledger_fleet_export_resume(struct fleet_export *x)
{
	(void)x;
}

void ledger_fleet_export_free(struct fleet_export *x)
{
	(void)x;
}

void ledger_fleet_import_begin(
	struct ledger *l,
	const struct fleet_place *from,
	const struct fleet_place *to,
	ledger_done done,
	void *ctx
)
{
	(void)from;
	(void)to;
	refuse(l, done, ctx);
}

void ledger_fleet_import(
	struct ledger *l, const void *chunk, size_t len, ledger_done done, void *ctx
)
{
	(void)chunk;
	(void)len;
	refuse(l, done, ctx);
}

void ledger_fleet_import_end(struct ledger *l, ledger_done done, void *ctx)
{
	refuse(l, done, ctx);
}

void ledger_fleet_import_abort(struct ledger *l)
{
	(void)l;
}

int ledger_fleet_asks(struct ledger *l, uint64_t after_seq, size_t max, fleet_ask_cb cb, void *ctx)
{
	(void)l;
	(void)after_seq;
	(void)max;
	(void)cb;
	(void)ctx;
	return -ENOSYS;
}

void ledger_fleet_asks_set(struct ledger *l, void (*asks)(void *ctx), void *ctx)
{
	(void)l;
	(void)asks;
	(void)ctx;
}

void ledger_fleet_ask(struct ledger *l, json_t *ask, ledger_done done, void *ctx)
{
	(void)ask;
	refuse(l, done, ctx);
}

void ledger_fleet_asked_set(struct ledger *l, fleet_asked_cb asked, void *ctx)
{
	(void)l;
	(void)asked;
	(void)ctx;
}

void ledger_fleet_asked(
	struct ledger *l,
	const char *gateway,
	uint64_t seq,
	const char *up_id,
	const char *json,
	ledger_done done,
	void *ctx
)
{
	(void)gateway;
	(void)seq;
	(void)up_id;
	(void)json;
	refuse(l, done, ctx);
}

const char *ledger_fleet_up(const struct ledger *l)
{
	(void)l;
	return "";
}

void ledger_pause_fleet(
	struct ledger *l, int64_t until, const struct actor *actor, ledger_done done, void *ctx
)
{
	ledger_pause(l, until, actor, done, ctx);
}

void ledger_fleet_state(struct ledger *l, struct fleet_state *ret_state)
{
	(void)l;
	*ret_state = (struct fleet_state){.why = "no fleet"};
}

int64_t ledger_fleet_asks_since(struct ledger *l)
{
	(void)l;
	return 0;
}
