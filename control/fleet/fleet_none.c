// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// XXX stands where the protocol will: a gateway with a fleet configured does not start yet.

#include "control/fleet/fleet.h"
#include "control/log.h"

#include <errno.h>

int fleet_create(struct control *control, const struct fleet_events *events, struct fleet **ret)
{
	(void)control;
	(void)events;
	(void)ret;
	log_error("control.fleet: this build has no fleet");
	return -ENOSYS;
}

void fleet_free(struct fleet *f)
{
	(void)f;
}

bool fleet_leads(const struct fleet *f)
{
	(void)f;
	return false;
}

int64_t fleet_lease_ms(const struct fleet *f)
{
	(void)f;
	return 0;
}

void fleet_hint(struct fleet *f, const char *json)
{
	(void)f;
	(void)json;
}

int fleet_denials(struct fleet *f, const void *octets, size_t len)
{
	(void)f;
	(void)octets;
	(void)len;
	return -ENOSYS;
}

json_t *fleet_status(const struct fleet *f)
{
	(void)f;
	return json_object();
}

void fleet_gateways(struct fleet *f, void (*done)(void *ctx, json_t *gateways), void *ctx)
{
	(void)f;
	done(ctx, NULL);
}

void fleet_heartbeat_set(struct fleet *f, json_t *(*extra)(void *ctx), void *ctx)
{
	(void)f;
	(void)extra;
	(void)ctx;
}
