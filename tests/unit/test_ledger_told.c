// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The table of what was told to cases, the walk along the audit that feeds it, and the file's way
// from format 2 to the newest.

#include "tests/unit/ledger_fixture.h"

#include <sqlite3.h>

#include <errno.h>

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f, PROTECT_REFUSE);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	return 0;
}

static void tell(struct fixture *f, const char *ref, int64_t due, int seq)
{
	json_t *state = json_pack("{s:i}", "seq", seq);

	f->done = false;
	assert_int_equal(ledger_told_put(f->ledger, "thehive:soc", ref, due, state, done_cb, f), 0);
	json_decref(state);
	loop_until(f, &f->done);
	assert_int_equal(f->error, 0);
}

static bool due_take(void *ctx, const char *ref, int64_t due)
{
	char *text = ctx;

	snprintf(text + strlen(text), 128 - strlen(text), "%s@%d ", ref, (int)due);
	return true;
}

static void due_is(struct fixture *f, int64_t from, int64_t to, const char *wanted)
{
	char text[128] = "";

	assert_int_equal(ledger_told_due(f->ledger, "thehive:soc", from, to, 2, due_take, text), 0);
	assert_string_equal(text, wanted);
}

static void told_is(struct fixture *f, const char *ref, int seq)
{
	json_t *state = NULL;
	int r = ledger_told_get(f->ledger, "thehive:soc", ref, &state);

	if (seq < 0) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(json_integer_value(json_object_get(state, "seq")), seq);
	json_decref(state);
}

static void test_rows(void **state)
{
	struct fixture *f = *state;

	told_is(f, "soc/~1", -1);
	tell(f, "soc/~1", 0, 1);
	tell(f, "soc/~2", 500, 2);
	tell(f, "soc/~3", 400, 3);
	tell(f, "soc/~4", TOLD_NEVER, 4);
	due_is(f, 0, 0, "soc/~1@0 ");
	due_is(f, 1, 500, "soc/~3@400 soc/~2@500 ");
	due_is(f, 0, INT64_MAX, "soc/~1@0 soc/~3@400 ");
	tell(f, "soc/~1", TOLD_NEVER, 5);
	fixture_reopen(f);
	due_is(f, 0, 450, "soc/~3@400 ");
	told_is(f, "soc/~1", 5);
	assert_int_equal(
		ledger_told_put(f->ledger, "thehive:soc", "soc/~1", 0, NULL, NULL, NULL), 0
	);
	told_is(f, "soc/~1", -1);
}

// Without room on disk words wait; what shares their transaction does not.
static void test_no_space(void **state)
{
	struct fixture *f = *state;
	json_t *row = json_object();
	struct entry entry;

	assert_int_equal(transaction_begin(f->ledger), 0);
	f->ledger->space_low = true;
	assert_int_equal(
		ledger_told_put(f->ledger, "thehive:soc", "soc/~1", 0, row, NULL, NULL), -ENOSPC
	);
	f->ledger->space_low = false;
	put(f, "thehive:soc", "soc/~1/~2", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	assert_int_equal(f->error, 0);
	assert_true(entry_is(f, "203.0.113.7", &entry));
	told_is(f, "soc/~1", -1);
	json_decref(row);
}

static bool record_take(void *ctx, const struct audit_record *record)
{
	char *text = ctx;

	snprintf(
		text + strlen(text), 128 - strlen(text), "%d %s;", (int)record->seq, record->action
	);
	return true;
}

static void test_audit_after(void **state)
{
	struct fixture *f = *state;
	char text[128] = "", hash[65];
	int64_t first;

	ledger_audit_head(f->ledger, &first, hash);
	f->woken = 0;
	ledger_watch(f->ledger, LEDGER_AUDIT, woken_cb, f);
	put(f, "thehive:soc", "soc/~1/~2", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	assert_true(f->woken & LEDGER_AUDIT);
	op(f, SUBMIT_END, "thehive:soc", "soc/~1/~2", "203.0.113.7");
	assert_int_equal(ledger_audit_after(f->ledger, first, 10, record_take, text), 0);
	assert_string_equal(text, "1 claim.put;2 claim.end;");
	text[0] = '\0';
	assert_int_equal(ledger_audit_after(f->ledger, first, 1, record_take, text), 0);
	assert_string_equal(text, "1 claim.put;");
	// What is not committed yet may be rolled back.
	text[0] = '\0';
	assert_int_equal(ledger_audit(f->ledger, "x", "y", "z", NULL), 0);
	assert_int_equal(ledger_audit_after(f->ledger, first + 2, 10, record_take, text), 0);
	assert_string_equal(text, "");
	ledger_commit(f->ledger);
	assert_int_equal(ledger_audit_after(f->ledger, first + 2, 10, record_take, text), 0);
	assert_string_equal(text, "3 y;");
	ledger_unwatch(f->ledger, woken_cb, f);
}

static void version_set(struct fixture *f, const char *sql)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/ledger.db", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

// A file of format 2 is taken with what it holds.
static void test_migration(void **state)
{
	struct fixture *f = *state;

	put(f, "thehive:soc", "soc/~1/~2", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	ledger_close(f->ledger);
	version_set(
		f,
		"DROP TABLE told; DROP TABLE immunities; DROP TABLE bulk; DROP INDEX claims_fleet;"
		" ALTER TABLE claims DROP COLUMN fleet; ALTER TABLE claims DROP COLUMN "
		"theirs_action;"
		" ALTER TABLE claims DROP COLUMN theirs_until; ALTER TABLE allows DROP COLUMN "
		"fleet;"
		" ALTER TABLE protections DROP COLUMN fleet; DROP TABLE fleet;"
		" DROP TABLE fleet_records; DROP TABLE fleet_asks; DROP TABLE fleet_asked;"
		" ALTER TABLE entries ADD COLUMN text TEXT; PRAGMA user_version = 2;"
	);
	fixture_open(f);
	tell(f, "soc/~1", 0, 1);
	struct entry entry;
	assert_true(entry_is(f, "203.0.113.7", &entry));
	ledger_check(f->ledger);
}

static void test_formats_refused(void **state)
{
	struct fixture *f = *state;
	char message[256] = "";
	struct ledger *ledger;
	static const char *const refused[] = {"1", "1000"};

	ledger_close(f->ledger);
	for (size_t i = 0; i < 2; i++) {
		char sql[64];

		snprintf(sql, sizeof(sql), "PRAGMA user_version = %s;", refused[i]);
		version_set(f, sql);
		assert_int_equal(
			ledger_open(f->base, &f->conf, f->protect, &ledger, message), -EPROTO
		);
		assert_non_null(strstr(message, i ? "newer" : "development"));
	}
	f->ledger = NULL;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_rows),
		T(test_no_space),
		T(test_audit_after),
		T(test_migration),
		T(test_formats_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
