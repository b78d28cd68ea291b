// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What only the leader of a fleet runs, besides TheHive and alerts: the mirror to F5 XC, the
// write-back, the reading of lists. Each begins from the ledger: a gateway that begins to lead goes
// on where the last one ended.

#include "control/conf.h"
#include "control/control.h"
#include "control/followers/dataplane.h"
#include "control/followers/f5xc.h"
#include "control/followers/f5xc_status.h"
#include "control/followers/writeback.h"
#include "control/log.h"
#include "control/metrics.h"
#include "control/roles.h"
#include "control/sources/redis_list.h"
#include "control/start.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// --- the mirror

// A reload may change it: found at each call.
static void mirror_metrics(void *ctx, struct metrics_page *page)
{
	const struct control *control = ctx;

	if (control->f5xc)
		f5xc_metrics(control->f5xc, page);
}

// --- the write-back

static bool view_applied(void *ctx, struct list_state *ret_state, int64_t *ret_when_ms)
{
	const struct control *control = ctx;
	return dataplane_applied(control->dataplane, ret_state, ret_when_ms);
}

// A reload may change the mirror: found at each call.
static bool view_f5(void *ctx, const struct indicator *indicator, char text[WB_F5_MAX])
{
	const struct control *control = ctx;
	return control->f5xc && f5xc_entry_state(control->f5xc, indicator, text);
}

static void view_gateways(void *ctx, struct revision revision, char *text, size_t size)
{
	roles_confirmed(ctx, revision, text, size);
}

static void writeback_collect(void *ctx, struct metrics_page *page)
{
	const struct control *control = ctx;
	writeback_metrics(control->writeback, page);
}

static int writeback_start(struct control *control, struct writeback **ret_writeback)
{
	static char gateway[256];
	const struct conf_fleet *fleet = control->conf->fleet;
	const struct writeback_view view = {
		.ctx = control,
		.gateway = gateway,
		.gateways = control_in_fleet(control) ? view_gateways : NULL,
		.applied = view_applied,
		.f5 = view_f5,
	};
	char message[256];
	if (fleet)
		snprintf(gateway, sizeof(gateway), "%s", fleet->gateway);
	else
		gethostname(gateway, sizeof(gateway) - 1);
	int error = writeback_create(
		control->base,
		control->conf,
		control->ledger,
		control->protect,
		&view,
		ret_writeback,
		message
	);
	if (error)
		log_error("write-back: %s", message);
	return error;
}

// What is under way is found pending by the new one.
static void writeback_restart(struct control *control)
{
	struct writeback *fresh;
	if (writeback_start(control, &fresh)) {
		log_error("control.thehive[].writeback: not taken, it goes on as before");
		return;
	}
	writeback_free(control->writeback);
	control->writeback = fresh;
}

// --- both

static int outward_begin(struct control *control)
{
	int error = 0;

	if (!control_leads(control))
		return writeback_begin(control->ledger);
	if (control->conf->f5xc)
		error = f5xc_create(control, &control->f5xc);
	return error ? error : writeback_start(control, &control->writeback);
}

int start_outward(struct control *control)
{
	int error = outward_begin(control);

	if (!error && control->conf->f5xc)
		error = metrics_collect(control->metrics, mirror_metrics, control);
	if (!error)
		error = metrics_collect(control->metrics, writeback_collect, control);
	return error;
}

void stop_outward(struct control *control)
{
	writeback_free(control->writeback);
	control->writeback = NULL;
	f5xc_free(control->f5xc);
	control->f5xc = NULL;
}

void role_outward(struct control *control)
{
	int error;

	stop_outward(control);
	error = outward_begin(control);
	if (error)
		log_error(
			"F5 XC, write-back: not begun, the next reload tries again: %s",
			strerror(-error)
		);
}

void reload_outward(struct control *control, const struct conf *old)
{
	int error;

	if (!old->f5xc != !control->conf->f5xc)
		log_warning(
			"control.f5xc: %s it needs a restart",
			old->f5xc ? "removed, but the mirror goes on: to end" : "new: to begin"
		);
	if (!control_leads(control))
		return;
	writeback_restart(control);
	if (!control->conf->f5xc || !control->f5xc)
		return;
	error = f5xc_reload(control, &control->f5xc);
	if (error)
		log_error(
			"control.f5xc: not taken, the mirror goes on as before: %s",
			strerror(-error)
		);
}

// --- lists in Redis

static void redis_metrics(void *ctx, struct metrics_page *page)
{
	const struct control *control = ctx;

	redis_lists_metrics(control->redis, control->ledger, page);
}

static int redis_begin(struct control *control)
{
	return control_leads(control) ? redis_lists_create(control, &control->redis) : 0;
}

int start_redis(struct control *control)
{
	int error = redis_begin(control);

	if (error)
		log_error("lists in Redis: %s", strerror(-error));
	else
		error = metrics_collect(control->metrics, redis_metrics, control);
	return error;
}

// Made anew with every key and secret: what was being read is read again.
void reload_redis(struct control *control, const struct conf *old)
{
	(void)old;
	role_redis(control);
}

void role_redis(struct control *control)
{
	stop_redis(control);
	if (redis_begin(control) < 0)
		log_error("control.redis: not taken; lists stay in force, and are not read");
}

void stop_redis(struct control *control)
{
	redis_lists_free(control->redis);
	control->redis = NULL;
}
