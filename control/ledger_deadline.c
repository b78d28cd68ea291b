// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Ends. Ledger time is CLOCK_BOOTTIME plus an offset taken from the wall clock when the ledger is
// opened: it follows the wall clock's slewing but not its steps. An end arrives in wall-clock
// seconds and becomes due in ledger time then, so a step of the clock moves no end that was
// already known. At the next start ends are due by the wall clock again; where that cannot be
// right (before the last commit, or 30 days after it) they are held and it is logged.

#include "control/ledger_internal.h"
#include "control/log.h"

#include <event2/event.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SLEW_MS 2000 // a difference up to this is slewing or a leap second
#define CLOCK_AHEAD (30 * 86400)
#define CLOCK_BEHIND 60

static int64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_wall_ms(const struct ledger *l)
{
	return clock_ms(CLOCK_REALTIME) + l->wall_shift_ms;
}

int64_t clock_boot_ms(const struct ledger *l)
{
	return clock_ms(CLOCK_BOOTTIME) + l->boot_shift_ms;
}

int64_t clock_wall(const struct ledger *l)
{
	return clock_wall_ms(l) / 1000;
}

static int64_t ledger_time_ms(struct ledger *l)
{
	int64_t wall = clock_wall_ms(l), time = clock_boot_ms(l) + l->offset_ms;

	if (llabs(wall - time) <= SLEW_MS) {
		l->offset_ms += wall - time;
		return wall;
	}
	return time;
}

int64_t ledger_time(struct ledger *l)
{
	return ledger_time_ms(l) / 1000;
}

int64_t deadline_due(const struct ledger *l, int64_t until)
{
	int64_t step = clock_wall_ms(l) - (clock_boot_ms(l) + l->offset_ms);

	if (until == UNTIL_FOREVER || llabs(step) <= SLEW_MS)
		return until;
	return until - step / 1000;
}

static void due_cb(evutil_socket_t fd, short what, void *ctx)
{
	uint64_t times;

	(void)what;
	if (read(fd, &times, sizeof(times)) < 0 && errno != EAGAIN)
		log_error("ledger: reading the timer failed");
	deadline_run(ctx);
}

static int claims_due_reset(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int r = sql_prepare(
		l,
		// Orphans that a brake holds have no grace; AWAY claims are the leader's to end.
		"UPDATE claims SET due = CASE WHEN state = 1 AND held IS NULL"
		" THEN min(until, orphaned_since + ?1) ELSE until END"
		" WHERE due < 9223372036854775807 AND due <> CASE WHEN state = 1 AND held IS NULL"
		" THEN min(until, orphaned_since + ?1) ELSE until END",
		&stmt
	);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, l->conf.orphan_grace);
	if (sqlite3_step(stmt) != SQLITE_DONE)
		return sql_errno(sqlite3_errcode(l->db), l->db);
	return sql_exec(l, "UPDATE allows SET due = until WHERE due <> until");
}

static bool clock_fits(int64_t wall, int64_t last_wall)
{
	return wall >= last_wall - CLOCK_BEHIND && wall <= last_wall + CLOCK_AHEAD;
}

int deadline_init(struct ledger *l, int64_t last_wall)
{
	int64_t wall = clock_wall(l);
	int r;

	l->offset_ms = clock_wall_ms(l) - clock_boot_ms(l);
	l->now.pause_due = l->now.pause_until;
	l->last_wall = last_wall;
	l->ends_held = !clock_fits(wall, last_wall);
	if (l->ends_held)
		log_error(
			"ledger: the clock (%" PRId64
			") does not fit the ledger's last commit (%" PRId64
			"): ends are held until it does, or an operator says it is right",
			wall,
			last_wall
		);
	r = claims_due_reset(l);
	if (r < 0)
		return r;
	l->due_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (l->due_fd < 0)
		return -errno;
	l->due_event = event_new(l->base, l->due_fd, EV_READ | EV_PERSIST, due_cb, l);
	if (!l->due_event)
		return -ENOMEM;
	event_add(l->due_event, NULL);
	return 0;
}

static int64_t claims_due(struct ledger *l)
{
	sqlite3_stmt *stmt = l->stmts[fleet_follows(l) ? STMT_DUE_FIRST_LOCAL : STMT_DUE_FIRST];
	int64_t due = UNTIL_FOREVER;

	if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
		due = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	return due;
}

static int64_t deadline_next(struct ledger *l)
{
	int64_t next = claims_due(l), allow = allows_due(l);

	if (allow < next)
		next = allow;
	if (l->now.pause_until && l->now.pause_due < next)
		next = l->now.pause_due;
	if (l->now.fleet.pause_until && l->now.fleet.pause_due < next)
		next = l->now.fleet.pause_due;
	return next;
}

// At least once a minute: a claim's end may lie years ahead, a timer that far is worth nothing.
void deadline_arm(struct ledger *l)
{
	int64_t wait_ms = 60000, next = deadline_next(l);
	struct itimerspec timer = {0};

	if (l->due_fd < 0)
		return;
	if (l->space_low)
		wait_ms = SPACE_MS;
	if (next != UNTIL_FOREVER && !l->ends_held) {
		int64_t now = ledger_time_ms(l);

		if (next <= now / 1000)
			wait_ms = 1;
		else if (next * 1000 - now < wait_ms)
			wait_ms = next * 1000 - now;
	}
	timer.it_value.tv_sec = wait_ms / 1000;
	timer.it_value.tv_nsec = wait_ms % 1000 * 1000000;
	timerfd_settime(l->due_fd, 0, &timer, NULL);
}

// Reads one claim whose end has come; the statement is reset before anything is written.
struct due {
	struct claim claim;
	struct claim_row row;
	char source[128], ref[512];
};

static size_t due_read(struct ledger *l, int64_t now, struct due *due, size_t max)
{
	sqlite3_stmt *stmt = l->stmts[fleet_follows(l) ? STMT_DUE_LOCAL : STMT_DUE_CLAIMS];
	size_t n = 0;

	sqlite3_bind_int64(stmt, 1, now);
	sqlite3_bind_int64(stmt, 2, (int64_t)max);
	while (n < max && sqlite3_step(stmt) == SQLITE_ROW) {
		struct due *d = &due[n];

		if (sql_indicator(stmt, 3, &d->claim.indicator) < 0)
			continue;
		snprintf(d->source, sizeof(d->source), "%s", sql_text(stmt, 1));
		snprintf(d->ref, sizeof(d->ref), "%s", sql_text(stmt, 2));
		d->claim.source = d->source;
		d->claim.ref = d->ref;
		d->row.id = sqlite3_column_int64(stmt, 0);
		d->row.action = (enum claim_action)sqlite3_column_int(stmt, 4);
		d->row.state = (enum claim_state)sqlite3_column_int(stmt, 5);
		d->row.until = sqlite3_column_int64(stmt, 6);
		d->row.created = sqlite3_column_int64(stmt, 7);
		d->row.orphaned_since = sqlite3_column_int64(stmt, 8);
		d->row.held_id = sqlite3_column_int64(stmt, 9);
		n++;
	}
	sqlite3_reset(stmt);
	return n;
}

// Many orphans of one source at once are more likely a loss of the source's memory (a restored
// backup, a changed right) than so many cases gone: their grace ends none of them.
static bool shrink_brakes(struct ledger *l, struct source *source, char why[192])
{
	scoped_stmt stmt = NULL;
	uint64_t orphans = 0, limit;
	int r = sql_prepare(l, "SELECT count(*) FROM claims WHERE source=?1 AND state=1", &stmt);

	if (r < 0) {
		transaction_fail(l, r);
		return true;
	}
	sqlite3_bind_int64(stmt, 1, source->id);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		orphans = (uint64_t)sqlite3_column_int64(stmt, 0);
	limit = source->claims * SHRINK_PERCENT / 100;
	if (limit < SHRINK_FLOOR)
		limit = SHRINK_FLOOR;
	snprintf(
		why,
		192,
		"shrink: %" PRIu64 " of %" PRIu64 " claims are orphaned and their grace is over; "
		"approve ends them, reject keeps them for another grace",
		orphans,
		source->claims
	);
	return orphans > limit;
}

static void claims_expire(struct ledger *l, int64_t now)
{
	struct due *due = calloc(EXPIRE_BATCH, sizeof(*due));
	size_t n = due ? due_read(l, now, due, EXPIRE_BATCH) : 0;
	struct source *judged = NULL;
	bool braked = false;
	char why[192] = "";

	for (size_t i = 0; i < n && transaction_begin(l) == 0; i++) {
		struct source *source = source_find(l, due[i].source);
		bool grace = due[i].row.state == CLAIM_ORPHANED && !due[i].row.held_id
			&& due[i].row.orphaned_since + l->conf.orphan_grace < due[i].row.until;

		if (grace && source && source != judged) {
			braked = shrink_brakes(l, source, why);
			judged = source;
		}
		if (grace && source && braked) {
			held_keep(l, source, &due[i].row, &due[i].claim, why);
			continue;
		}
		claim_end(
			l,
			source,
			&due[i].claim,
			&due[i].row,
			"ledger",
			"claim.expire",
			grace ? "orphaned, and the grace is over" : "its end has come"
		);
	}
	free(due);
}

// A clock that was wrong at the start may have been set right since.
static void clock_judge(struct ledger *l)
{
	int64_t wall = clock_wall(l);
	bool stepped = llabs(clock_wall_ms(l) - (clock_boot_ms(l) + l->offset_ms)) > SLEW_MS;

	if (l->ends_held && clock_fits(wall, l->last_wall)) {
		log_notice("ledger: the clock fits the ledger again: ends take effect");
		l->ends_held = false;
	}
	if (stepped && !l->clock_stepped)
		log_warning("ledger: the wall clock stepped; known ends keep their distance");
	l->clock_stepped = stepped;
}

void deadline_run(struct ledger *l)
{
	int64_t now = ledger_time(l);

	clock_judge(l);
	if (l->space_low)
		space_check(l);
	if (!l->ends_held) {
		fleet_expiring(l, true);
		claims_expire(l, now);
		fleet_expiring(l, false);
		allows_expire(l, now);
		if (!fleet_follows(l))
			immunities_expire(l, now);
		if (l->now.pause_until && l->now.pause_due <= now && transaction_begin(l) == 0) {
			l->now.pause_until = l->now.pause_due = 0;
			l->topics |= LEDGER_PAUSE;
			audit_add(l, "ledger", "pause.expire", "", "{}");
		}
		if (l->now.fleet.pause_until && l->now.fleet.pause_due <= now
		    && transaction_begin(l) == 0) {
			pause_fleet_set(l, 0);
			audit_add(l, "ledger", "pause.expire", "fleet", "{}");
			fleet_touch(l, ITEM_PAUSE, "", "", NULL, "ledger", "pause.expire", "");
		}
	}
	deadline_arm(l);
}

bool ledger_ends_held(const struct ledger *l)
{
	return l->ends_held;
}

void ledger_ends_release(struct ledger *l, const struct actor *actor, ledger_done done, void *ctx)
{
	if (transaction_begin(l) == 0) {
		// Ends are due by the wall clock again, as after a start.
		l->ends_held = false;
		audit_add_cause(l, actor->name, "clock.accept", "", "reason", actor->reason);
	}
	pending_done(l, done, ctx, 0, "");
}
