// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/keeper.h"

#include "dataplane/breakglass.h"
#include "dataplane/clock.h"
#include "dataplane/events.h"
#include "dataplane/health.h"
#include "dataplane/keys.h"
#include "dataplane/link.h"
#include "dataplane/load.h"
#include "dataplane/log.h"
#include "dataplane/preview.h"
#include "dataplane/scrub.h"
#include "dataplane/set.h"
#include "dataplane/sketch.h"
#include "dataplane/status.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define PUMP_MS 5
#define TIDY_LINES 1024 // in one go: less than half a millisecond
#define SCRUB_MS 10 // between two slices
#define SCRUB_SLICE_US 800 // of the control thread at a time
#define SCRUB_STEPS 64 // between two looks at the clock
#define SCRUB_EVERY_MS 1000 // a short list is not walked more often
#define CLOCK_S 10
#define RESYNC_MS 60000 // between two demands for a full synchronisation

struct keeper {
	struct keeper_options options;
	char *list_dir;
	struct set *set;
	struct breakglass *breakglass;
	struct preview *preview;
	struct scrub *scrub;
	struct requests requests;
	struct link *link;
	struct health *health;
	struct event *pump, *scrubber, *clock, *ends;
	struct status_sources status;
	struct revision loaded;
	int64_t scrub_next_ms, resync_next_ms;
};

// --- at start

static void list_log(enum list_origin origin, const struct list_state *state, int64_t took_ms)
{
	switch (origin) {
	case LIST_NONE:
		log_warning("no list on disk: nothing is judged until control brings one");
		break;
	case LIST_PREVIOUS:
		log_error("the list on disk is damaged: the one before it is in use");
		[[fallthrough]];
	case LIST_CURRENT:
		log_info(
			"list %llu.%llu with %llu entries loaded in %lld ms",
			(unsigned long long)state->revision.epoch,
			(unsigned long long)state->revision.number,
			(unsigned long long)state->count,
			(long long)took_ms
		);
		break;
	}
}

static void list_start(struct keeper *k)
{
	static const uint32_t origins[] = {
		[LIST_NONE] = WIRE_LIST_NONE,
		[LIST_CURRENT] = WIRE_LIST_SNAPSHOT,
		[LIST_PREVIOUS] = WIRE_LIST_PREVIOUS,
	};
	enum list_origin origin = LIST_NONE;
	struct text_error error = {0};
	struct list_state state;
	char text[512];
	int r;

	if (load_clock_check(k->set, k->list_dir))
		log_error("the wall clock does not fit the list on disk: ends are held");
	r = load_list(k->set, k->list_dir, &origin, &error);
	text_error_print(&error, text, sizeof(text));
	if (r < 0) {
		log_error("no list can be loaded from %s: %s: %s", k->list_dir, strerror(-r), text);
		return;
	}
	if (origin == LIST_PREVIOUS)
		log_error("%s", text);
	set_state(k->set, &state);
	k->loaded = state.revision;
	k->status.list_origin = origins[origin];
	list_log(origin, &state, clock_now().boot_ms - k->status.started_ms);
}

static int breakglass_start(struct keeper *k)
{
	int r = breakglass_create(k->set, k->options.state_dir, &k->breakglass);

	if (r < 0)
		return r;
	r = breakglass_restore(k->breakglass);
	if (r < 0)
		log_error(
			"break-glass of %s cannot be restored: %s: no allow and no pause of root "
			"is in "
			"force",
			k->options.state_dir,
			strerror(-r)
		);
	if (breakglass_pause_until(k->breakglass))
		log_warning("enforcement is paused, as before the restart");
	return 0;
}

static void scrub_found(void *ctx, enum table_fault fault, const struct entry *entry, bool repaired)
{
	char text[INDICATOR_TEXT_MAX];

	(void)ctx;
	indicator_print(&entry->indicator, text);
	log_error(
		"scrub: %s is %s: %s",
		text,
		table_fault_name(fault),
		repaired ? "put right" : "a full synchronisation is needed"
	);
}

int keeper_create(const struct keeper_options *options, struct keeper **ret_keeper)
{
	const struct set_options set
		= {.capacity = options->capacity,
		   .workers = options->workers,
		   .policy = options->policy};
	struct keeper *k = calloc(1, sizeof(*k));
	int r = -ENOMEM;

	if (!k)
		return r;
	k->options = *options;
	k->status.started_ms = clock_now().boot_ms;
	k->list_dir = strdup(options->list_dir);
	if (!k->list_dir)
		goto fail;
	r = load_self_test(&options->policy);
	if (r == -EPROTO)
		log_error("self-test: a denied address was not dropped; not starting");
	if (r < 0)
		goto fail;
	r = set_create(&set, clock_now(), &k->set);
	if (r < 0)
		goto fail;
	list_start(k);
	while (!set_tick(k->set, clock_now())) {
		// No worker runs yet.
	}
	r = breakglass_start(k);
	if (r == 0)
		r = scrub_create(k->set, scrub_found, k, &k->scrub);
	if (r == 0 && k->options.sketch)
		r = preview_create(k->options.sketch, set_live(k->set), &k->preview);
	if (r < 0)
		goto fail;
	k->status.set = k->set;
	k->status.scrub = k->scrub;
	k->status.breakglass = k->breakglass;
	*ret_keeper = k;
	return 0;
fail:
	log_error("the list cannot be kept: %s", strerror(-r));
	keeper_free(k);
	return r;
}

struct live *keeper_live(struct keeper *k)
{
	return set_live(k->set);
}

// --- in the loop

static const struct status_sources *status_now(struct keeper *k)
{
	struct list_state state;

	set_state(k->set, &state);
	if (set_have_list(k->set) && revision_compare(state.revision, k->loaded) != 0)
		k->status.list_origin = WIRE_LIST_LINK;
	k->status.link_stalled = link_stalled(k->link);
	k->status.denials_lost = link_denials_lost(k->link)
		+ (k->options.events ? events_lost(k->options.events) : 0);
	return &k->status;
}

static size_t status_answer(void *ctx, void *answer, size_t room)
{
	return status_build(status_now(ctx), answer, room);
}

static void health_answer(void *ctx, struct status_health *ret_health)
{
	*ret_health = status_health(status_now(ctx));
}

static void denial_drained(void *ctx, const struct denial *d)
{
	struct keeper *k = ctx;
	int64_t now = set_now(k->set).wall_ms;
	struct wire_denial w = {
		.family = d->family,
		.proto = d->proto,
		.verdict = d->verdict,
		.inward = d->inward,
		.port = d->port,
		.packets = d->packets,
		.bytes = d->bytes,
		.first_ms = now,
		.last_ms = now,
	};

	if (d->entry.family) {
		struct indicator n;

		key_to_indicator(&d->entry, &n);
		wire_indicator_write(&w.entry, sizeof(w.entry), &n);
		set_hit(k->set, d->rule, &d->entry, d->packets, d->bytes);
	}
	memcpy(w.src, d->src, sizeof(w.src));
	memcpy(w.dst, d->dst, sizeof(w.dst));
	if (d->reason < REASON_COUNT)
		snprintf(w.reason, sizeof(w.reason), "%s", reason_table[d->reason].name);
	link_denial(k->link, &w);
}

// Where many entries end at once, a slice of them a turn of the loop: the link and root's hand have
// their turns between.
static void ends_slice(evutil_socket_t fd, short what, void *ctx)
{
	static const struct timeval now = {0};
	struct keeper *k = ctx;

	(void)fd;
	(void)what;
	if (!set_tick(k->set, clock_now()))
		event_add(k->ends, &now);
}

static void pump(evutil_socket_t fd, short what, void *ctx)
{
	struct keeper *k = ctx;

	ends_slice(fd, what, ctx);
	breakglass_tick(k->breakglass);
	if (k->options.events)
		events_drain(k->options.events, denial_drained, k);
	if (k->options.sketch)
		sketch_drain(k->options.sketch, set_now(k->set).boot_ms);
	set_poll(k->set, true);
	set_tidy(k->set, TIDY_LINES);
	link_poll(k->link);
}

static int64_t monotonic_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void scrub_slice(evutil_socket_t fd, short what, void *ctx)
{
	struct keeper *k = ctx;
	int64_t begun = monotonic_us();
	struct scrub_result result;
	bool ended = false;

	(void)fd;
	(void)what;
	set_tick(k->set, clock_now());
	if (set_now(k->set).boot_ms < k->scrub_next_ms || set_moving(k->set))
		return;
	while (!ended && monotonic_us() - begun < SCRUB_SLICE_US)
		ended = scrub_step(k->scrub, SCRUB_STEPS);
	if (!ended)
		return;
	k->scrub_next_ms = set_now(k->set).boot_ms + SCRUB_EVERY_MS;
	scrub_result(k->scrub, &result);
	if (!result.unrepaired || set_settling(k->set)
	    || set_now(k->set).boot_ms < k->resync_next_ms)
		return;
	k->resync_next_ms = set_now(k->set).boot_ms + RESYNC_MS;
	// Control comes again, finds a state that is none of its history, and brings everything.
	log_error("scrub: what workers read is not the list: a full synchronisation is asked for");
	set_revision_forget(k->set);
	link_drop(k->link);
}

static void clock_check(evutil_socket_t fd, short what, void *ctx)
{
	struct keeper *k = ctx;
	bool held = set_ends_held(k->set);

	(void)fd;
	(void)what;
	// Only ever releases: a step of the clock while running moves no end.
	if (!held)
		return;
	set_tick(k->set, clock_now());
	if (!load_clock_check(k->set, k->list_dir))
		log_warning("the wall clock fits the list again: ends take effect");
}

static void link_log(const char *event, const char *detail)
{
	log_info("link: %s%s%s", event, *detail ? ": " : "", detail);
}

static int sockets_open(struct keeper *k, struct event_base *base)
{
	struct link_options link = {
		.base = base,
		.requests = &k->requests,
		.group = k->options.group ? k->options.group : "stanch",
		.log = link_log,
	};
	char link_path[108], ctl_path[108];
	int n = snprintf(link_path, sizeof(link_path), "%s/dataplane.sock", k->options.run_dir);
	int m = snprintf(ctl_path, sizeof(ctl_path), "%s/dataplane-ctl.sock", k->options.run_dir);

	if (n < 0 || m < 0 || m >= (int)sizeof(ctl_path))
		return -ENAMETOOLONG;
	link.link_path = link_path;
	link.ctl_path = ctl_path;
	return link_create(&link, &k->link);
}

static struct event *timer_start(struct event_base *base, event_callback_fn fn, int ms, void *ctx)
{
	const struct timeval every = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	struct event *timer = event_new(base, -1, EV_PERSIST, fn, ctx);

	if (timer)
		event_add(timer, &every);
	return timer;
}

int keeper_listen(struct keeper *k, struct event_base *base)
{
	int r;

	k->requests = (struct requests){
		.set = k->set,
		.breakglass = k->breakglass,
		.preview = k->preview,
		.status = status_answer,
		.status_ctx = k,
	};
	// Without one, control counts no restart.
	if (getentropy(&k->requests.boot_id, sizeof(k->requests.boot_id)) < 0)
		k->requests.boot_id = 0;
	r = sockets_open(k, base);
	if (r < 0) {
		log_error("sockets in %s: %s", k->options.run_dir, strerror(-r));
		return r;
	}
	if (k->options.health) {
		r = health_create(base, k->options.health, health_answer, k, &k->health);
		if (r < 0) {
			log_error("health: %s: %s", k->options.health, strerror(-r));
			return r;
		}
	}
	k->ends = evtimer_new(base, ends_slice, k);
	if (!k->ends)
		return -ENOMEM;
	k->pump = timer_start(base, pump, PUMP_MS, k);
	k->scrubber = timer_start(base, scrub_slice, SCRUB_MS, k);
	k->clock = timer_start(base, clock_check, CLOCK_S * 1000, k);
	return k->pump && k->scrubber && k->clock ? 0 : -ENOMEM;
}

bool keeper_have_list(const struct keeper *k)
{
	return set_have_list(k->set);
}

void keeper_ready(struct keeper *k, bool ready)
{
	k->status.ready = ready;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	if (k->clock)
		event_free(k->clock);
	if (k->scrubber)
		event_free(k->scrubber);
	if (k->pump)
		event_free(k->pump);
	if (k->ends)
		event_free(k->ends);
	health_free(k->health);
	link_free(k->link);
	requests_fini(&k->requests);
	preview_free(k->preview);
	scrub_free(k->scrub);
	breakglass_free(k->breakglass);
	set_free(k->set);
	free(k->list_dir);
	free(k);
}
