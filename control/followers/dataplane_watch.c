// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/dataplane_watch.h"

#include "control/ledger.h"
#include "control/log.h"
#include "rules/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define NOTE_OWNER "dataplane"
#define NOTE_KEY "boot"

struct dataplane_watch {
	struct ledger *ledger;
	uint64_t boot_id; // of the run seen last; 0: none
	uint64_t restarts;
	int64_t last_ms;
	bool nearly_full;
};

int dataplane_watch_create(struct ledger *ledger, struct dataplane_watch **ret_watch)
{
	struct dataplane_watch *w = calloc(1, sizeof(*w));
	json_t *note = NULL;

	if (!w)
		return -ENOMEM;
	w->ledger = ledger;
	if (ledger_note_get(ledger, NOTE_OWNER, NOTE_KEY, &note) == 0) {
		// A JSON integer is signed: the same 64 bits.
		w->boot_id = (uint64_t)json_integer_value(json_object_get(note, "id"));
		w->restarts = (uint64_t)json_integer_value(json_object_get(note, "restarts"));
		w->last_ms = json_integer_value(json_object_get(note, "last_ms"));
		json_decref(note);
	}
	*ret_watch = w;
	return 0;
}

void dataplane_watch_free(struct dataplane_watch *w)
{
	free(w);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void dataplane_watch_hello(struct dataplane_watch *w, uint64_t boot_id)
{
	bool again = w->boot_id != 0;
	json_t *note;

	if (!boot_id || boot_id == w->boot_id)
		return;
	w->boot_id = boot_id;
	if (again) {
		w->restarts++;
		w->last_ms = now_ms();
		log_warning("data plane: it was started anew, restart %" PRIu64, w->restarts);
	}
	note = json_pack(
		"{s:I, s:I, s:I}",
		"id",
		(json_int_t)w->boot_id,
		"restarts",
		(json_int_t)w->restarts,
		"last_ms",
		(json_int_t)w->last_ms
	);
	if (ledger_note_set(w->ledger, NOTE_OWNER, NOTE_KEY, note) < 0
	    || (again
		&& ledger_audit(w->ledger, "control", "dataplane.restart", "dataplane", note) < 0))
		log_error("data plane: its restart could not be written into the ledger");
	json_decref(note);
}

static uint64_t percent(const struct wire_status *status)
{
	return status->capacity ? status->state.count * 100 / status->capacity : 0;
}

void dataplane_watch_status(struct dataplane_watch *w, const struct wire_status *status)
{
	uint64_t full = percent(status);
	json_t *detail;

	if (w->nearly_full ? full >= ROOM_AGAIN_PERCENT : full < NEARLY_FULL_PERCENT)
		return;
	w->nearly_full = !w->nearly_full;
	if (w->nearly_full)
		log_warning(
			"data plane: its set is %" PRIu64 " %% full: %" PRIu64 " of %" PRIu64
			" entries (dataplane.capacity)",
			full,
			status->state.count,
			status->capacity
		);
	else
		log_notice("data plane: its set has room again, %" PRIu64 " %% full", full);
	detail = json_pack(
		"{s:I, s:I}",
		"entries",
		(json_int_t)status->state.count,
		"capacity",
		(json_int_t)status->capacity
	);
	if (ledger_audit(
		    w->ledger,
		    "control",
		    w->nearly_full ? "alarm" : "alarm.end",
		    "dataplane set nearly full",
		    detail
	    )
	    < 0)
		log_error("data plane: the alarm could not be written into the audit");
	json_decref(detail);
}

uint64_t dataplane_watch_restarts(const struct dataplane_watch *w, int64_t *ret_last_ms)
{
	*ret_last_ms = w->last_ms;
	return w->restarts;
}

bool dataplane_watch_nearly_full(const struct dataplane_watch *w)
{
	return w->nearly_full;
}
