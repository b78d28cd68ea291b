// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A ledger in a temporary directory, and short forms of what its tests do with it.

#pragma once

#include "control/ledger_internal.h"
#include "tests/unit/cm.h"

#include <event2/event.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct fixture {
	char dir[64];
	struct event_base *base;
	struct protect *protect;
	struct ledger *ledger;
	struct ledger_conf conf;
	// of the last submission or operation
	bool done;
	int error;
	struct revision revision;
	struct submit_result result[64];
	char message[192];
	unsigned woken;
};

static inline void woken_cb(void *ctx, unsigned topics)
{
	struct fixture *f = ctx;

	f->woken |= topics;
}

static inline void fixture_open(struct fixture *f)
{
	char message[256];
	int r = ledger_open(f->base, &f->conf, f->protect, &f->ledger, message);

	if (r < 0)
		print_error("ledger_open: %s\n", message);
	assert_int_equal(r, 0);
	ledger_watch(f->ledger, LEDGER_ENTRIES | LEDGER_EXCEPTIONS | LEDGER_PAUSE, woken_cb, f);
}

static inline void fixture_init(struct fixture *f, enum protect_overlap_mode mode)
{
	*f = (struct fixture){.dir = "/tmp/stanch-ledger-XXXXXX"};
	assert_non_null(mkdtemp(f->dir));
	f->base = event_base_new();
	assert_int_equal(protect_create(true, mode, &f->protect), 0);
	f->conf = (struct ledger_conf){
		.dir = f->dir,
		.min_prefix_v4 = 16,
		.min_prefix_v6 = 32,
		.case_claims_per_minute = 5,
		.max_entries = 1000,
		.change_log_max = 1000,
		.orphan_grace = 7 * 86400,
	};
	fixture_open(f);
}

static inline void fixture_reopen(struct fixture *f)
{
	ledger_close(f->ledger);
	protect_free(f->protect);
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &f->protect), 0);
	fixture_open(f);
}

static inline int remove_cb(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void fixture_fini(struct fixture *f)
{
	ledger_close(f->ledger);
	protect_free(f->protect);
	event_base_free(f->base);
	nftw(f->dir, remove_cb, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void loop_until(struct fixture *f, const bool *done)
{
	int64_t end = clock_boot_ms(f->ledger) + 10000;

	while (!*done && clock_boot_ms(f->ledger) < end)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_true(*done);
}

static inline void submitted_cb(
	void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n
)
{
	struct fixture *f = ctx;

	f->done = true;
	f->error = error;
	f->revision = revision;
	if (n > 64)
		n = 64;
	memcpy(f->result, results, n * sizeof(*results));
}

static inline void done_cb(void *ctx, int error, const char *message)
{
	struct fixture *f = ctx;

	f->done = true;
	f->error = error;
	snprintf(f->message, sizeof(f->message), "%s", message);
}

static inline struct indicator indicator_of(const char *text)
{
	struct indicator n;
	struct indicator_error error = {0};

	if (indicator_parse(text, strlen(text), &n, &error) < 0)
		fail_msg("%s: %s", text, error.reason);
	return n;
}

static inline struct submit_item put_item(
	const char *source,
	const char *ref,
	const char *indicator,
	enum claim_action action,
	int64_t until
)
{
	return (struct submit_item){
		.op = SUBMIT_PUT,
		.claim = {
			.source = source,
			.ref = ref,
			.indicator = indicator_of(indicator),
			.author = "alice",
			.reason = "command and control",
			.action = action,
			.until = until,
			.tlp = -1,
		},
	};
}

static inline struct submit_item
op_item(enum submit_op op, const char *source, const char *ref, const char *indicator)
{
	struct submit_item item = put_item(source, ref, indicator, CLAIM_ENFORCE, UNTIL_FOREVER);

	item.op = op;
	item.cause = "a test";
	return item;
}

static const struct actor somebody = {.name = "uid 0 (root)", .reason = "a test"};
static const struct actor forcing = {.name = "uid 0 (root)", .force = true, .reason = "I know"};

static inline enum submit_code
submit_as(struct fixture *f, struct submit_item item, const struct actor *actor)
{
	struct submit submit = {.items = &item, .n = 1, .actor = *actor};

	f->done = false;
	ledger_submit(f->ledger, &submit, submitted_cb, f);
	loop_until(f, &f->done);
	return f->result[0].code;
}

static inline enum submit_code submit_one(struct fixture *f, struct submit_item item)
{
	return submit_as(f, item, &somebody);
}

static inline enum submit_code
put(struct fixture *f,
    const char *source,
    const char *ref,
    const char *indicator,
    enum claim_action action,
    int64_t until)
{
	return submit_one(f, put_item(source, ref, indicator, action, until));
}

static inline enum submit_code
op(struct fixture *f,
   enum submit_op which,
   const char *source,
   const char *ref,
   const char *indicator)
{
	return submit_one(f, op_item(which, source, ref, indicator));
}

static inline bool entry_is(struct fixture *f, const char *text, struct entry *entry)
{
	struct indicator n = indicator_of(text);

	return ledger_entry_find(f->ledger, &n, entry) == 0;
}

// Runs what is due after the clocks moved, and commits it.
static inline void time_pass(struct fixture *f, int64_t seconds)
{
	f->ledger->wall_shift_ms += seconds * 1000;
	f->ledger->boot_shift_ms += seconds * 1000;
	deadline_run(f->ledger);
	ledger_commit(f->ledger);
}

static inline enum submit_code operator_blocks(struct fixture *f, const char *indicator)
{
	return put(f, "operator", "x", indicator, CLAIM_ENFORCE, UNTIL_FOREVER);
}

static inline bool audit_match(void *ctx, const struct audit_record *record)
{
	const char **wanted = ctx;

	if (strcmp(record->action, wanted[0]) != 0 || !strstr(record->object, wanted[1])
	    || !strstr(record->detail, wanted[2]))
		return true;
	wanted[3] = "found";
	return false;
}

static inline bool
audited(struct fixture *f, const char *action, const char *object, const char *detail)
{
	const char *wanted[4] = {action, object, detail, NULL};

	assert_int_equal(ledger_audit_page(f->ledger, 0, 1000, audit_match, wanted), 0);
	return wanted[3] != NULL;
}

static inline int64_t in_seconds(const struct fixture *f, int64_t seconds)
{
	return clock_wall(f->ledger) + seconds;
}

// So many allows, in one commit: the API would take minutes.
static inline void allows_are(struct fixture *f, unsigned n)
{
	struct indicator x = indicator_of("198.18.0.0");
	struct ledger *l = f->ledger;
	sqlite3_stmt *stmt;

	assert_int_equal(transaction_begin(l), 0);
	assert_int_equal(sql_exec(l, "DELETE FROM allows"), 0);
	assert_int_equal(
		sql_prepare(
			l,
			"INSERT INTO allows(key, created, until, due, author, reason)"
			" VALUES (?1, 0, ?2, ?2, '', '')",
			&stmt
		),
		0
	);
	for (unsigned i = 0; i < n; i++) {
		struct ledger_key key;

		x.addr[1] = (uint8_t)(18 + (i >> 16));
		x.addr[2] = (uint8_t)(i >> 8);
		x.addr[3] = (uint8_t)i;
		key_pack(&x, &key);
		sql_bind_key(stmt, 1, &key);
		sqlite3_bind_int64(stmt, 2, in_seconds(f, 3600));
		assert_int_equal(sql_run(l, stmt), 0);
	}
	sqlite3_finalize(stmt);
	l->now.tally.allows = n;
	l->topics |= LEDGER_EXCEPTIONS;
	ledger_commit(l);
}

// The whole chain at once. The last record that verifies.
int audit_verify(struct ledger *, int64_t *ret_seq);
// Recomputes entries, digest, tallies from the claims and compares; verifies the audit.
void ledger_check(struct ledger *);
