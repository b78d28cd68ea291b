// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The follower of the data plane: the link leads a data plane, here a stand-in, to the ledger's
// list from any state, and what it refuses is told and tried again.

#include "control/followers/dataplane.h"
#include "control/followers/dataplane_watch.h"
#include "control/followers/snapshot.h"
#include "tests/unit/fake_dataplane.h"

static struct snapshot *snapshot;
static struct dataplane *d;

static void turn(void)
{
	const struct timeval soon = {.tv_usec = 2000};

	event_base_loopexit(f.base, &soon);
	event_base_dispatch(f.base);
}

static void deny(const char *indicator)
{
	assert_int_equal(
		put(&f, "operator", indicator, indicator, CLAIM_ENFORCE, UNTIL_FOREVER), SUBMIT_OK
	);
}

static void equal_becomes(void)
{
	int64_t end = clock_boot_ms(f.ledger) + 10000;
	char why[160];

	while (!dataplane_equal(d, why) && clock_boot_ms(f.ledger) < end)
		turn();
	assert_string_equal(why, "");
	assert_int_equal(check_cb(&fake.list, &fake.live), 0);
}

static int setup(void **state)
{
	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	fake_listen();
	assert_int_equal(dataplane_create(f.base, f.ledger, f.dir, &d), 0);
	assert_int_equal(snapshot_follow(f.base, f.ledger, f.dir, d, &snapshot), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	snapshot_unfollow(snapshot);
	dataplane_free(d);
	fake_close();
	event_free(fake.accepting);
	close(fake.listener);
	fixture_fini(&f);
	return 0;
}

static void test_dataplane(void **state)
{
	unsigned batches;
	char why[160];

	(void)state;
	deny("203.0.113.7");
	// It has no list: a full synchronisation, and exceptions before it.
	equal_becomes();
	assert_int_equal(fake.syncs, 1);
	assert_true(fake.exceptions >= 1);
	assert_int_equal(fake.pauses, 1);
	batches = fake.batches;
	deny("*.evil.example");
	equal_becomes();
	op(&f, SUBMIT_END, "operator", "203.0.113.7", "203.0.113.7");
	equal_becomes();
	assert_int_equal(fake.syncs, 1);
	assert_int_equal(fake.batches, batches + 2);
	assert_int_equal(fake.list.n, 1);
	// The other end is killed before it took the batch: it comes again, with a batch.
	fake.close_at_batch = true;
	deny("203.0.113.8");
	equal_becomes();
	assert_int_equal(fake.hellos, 2);
	assert_int_equal(fake.syncs, 1);
	assert_true(fake.exceptions >= 2);
	// Full, then room again; another digest: everything anew.
	fake.code = WIRE_MISMATCH;
	deny("203.0.113.9");
	equal_becomes();
	assert_int_equal(fake.syncs, 2);
	// It comes back with another ledger's list.
	fake.live.ledger_id[0] ^= 1;
	fake_close();
	while (dataplane_connected(d))
		turn();
	equal_becomes();
	assert_int_equal(fake.syncs, 3);
	assert_int_equal(fake.list.n, 3);
	// The shrink brake holds the sweep, but nothing that is decided meanwhile.
	fake.refuse_end = true;
	fake.live.ledger_id[0] ^= 1;
	batches = fake.batches;
	fake_close();
	while (!fake.refused)
		turn();
	turn();
	deny("203.0.113.10");
	while (fake.batches == batches)
		turn();
	assert_int_equal(fake.marked.n, 4);
	assert_false(dataplane_equal(d, why));
	assert_int_equal(dataplane_sync(d, true), 0);
	equal_becomes();
	assert_int_equal(fake.syncs, 4);
}

static void until_at_least(const unsigned *n, unsigned least)
{
	int64_t end = clock_boot_ms(f.ledger) + 10000;

	while (*n < least && clock_boot_ms(f.ledger) < end)
		turn();
	assert_true(*n >= least);
}

static void differs_because(const char *part)
{
	int64_t end = clock_boot_ms(f.ledger) + 10000;
	char why[160] = "";

	while ((dataplane_equal(d, why) || !strstr(why, part)) && clock_boot_ms(f.ledger) < end)
		turn();
	if (!strstr(why, part))
		fail_msg("not \"%s\" but \"%s\"", part, why);
	assert_false(dataplane_equal(d, why));
}

static void allow(const char *text)
{
	struct indicator n = indicator_of(text);

	f.done = false;
	ledger_allow(f.ledger, &n, in_seconds(&f, 60), &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	assert_int_equal(f.error, 0);
}

// --- what is refused

static void test_full(void **state)
{
	unsigned syncs;

	(void)state;
	dataplane_pace_set(d, 10000, 3600 * 1000);
	deny("203.0.113.7");
	equal_becomes();
	syncs = fake.syncs;
	fake.code = WIRE_FULL;
	deny("203.0.113.8");
	differs_because("full (");
	// Neither a wake nor what else is answered brings the next try forward or hides the reason.
	deny("203.0.113.9");
	allow("198.51.100.1");
	until_at_least(&fake.sets, 2);
	turn();
	turn();
	assert_int_equal(fake.syncs, syncs);
	differs_because("full (");
	// An operator does, and it is told anew.
	assert_int_equal(dataplane_sync(d, false), 0);
	equal_becomes();
	assert_int_equal(fake.syncs, syncs + 1);
	assert_int_equal(fake.list.n, 3);
}

static void test_full_again(void **state)
{
	(void)state;
	dataplane_pace_set(d, 10000, 50);
	fake.code_begin = WIRE_FULL;
	deny("203.0.113.7");
	until_at_least(&fake.syncs, 3);
	differs_because("full (");
	fake.code_begin = WIRE_OK;
	equal_becomes();
}

// Nothing has changed there, so that the same batch goes again, later: no synchronisation.
static void test_no_memory(void **state)
{
	unsigned syncs;

	(void)state;
	dataplane_pace_set(d, 10000, 50);
	deny("203.0.113.7");
	equal_becomes();
	syncs = fake.syncs;
	fake.code = WIRE_NO_MEMORY;
	deny("203.0.113.8");
	differs_because("no memory");
	equal_becomes();
	assert_int_equal(fake.list.n, 2);
	assert_int_equal(fake.syncs, syncs);
	assert_int_equal(fake.hellos, 1);
	// In a synchronisation: that one again.
	fake.code_begin = WIRE_NO_MEMORY;
	assert_int_equal(dataplane_sync(d, false), 0);
	deny("203.0.113.9");
	until_at_least(&fake.syncs, syncs + 2);
	differs_because("no memory");
	fake.code_begin = WIRE_OK;
	equal_becomes();
	assert_int_equal(fake.list.n, 3);
	assert_int_equal(fake.hellos, 1);
}

static void test_stalled(void **state)
{
	(void)state;
	deny("203.0.113.7");
	equal_becomes();
	fake.code = WIRE_STALLED;
	deny("203.0.113.8");
	until_at_least(&fake.hellos, 2);
	equal_becomes();
	assert_int_equal(fake.list.n, 2);
}

static void test_exceptions_refused(void **state)
{
	static const uint32_t codes[] = {WIRE_FULL, WIRE_NEED_SYNC};
	struct list_state live;

	(void)state;
	dataplane_pace_set(d, 10000, 50);
	deny("203.0.113.7");
	equal_becomes();
	live = fake.live;
	for (size_t i = 0; i < 2; i++) {
		unsigned syncs = fake.syncs, exceptions = fake.exceptions;

		fake.code_exceptions = codes[i];
		allow(i ? "198.51.100.1" : "198.51.100.2");
		// Again and again, without a synchronisation of the list, and the list goes on.
		until_at_least(&fake.exceptions, exceptions + 3);
		differs_because("protections and allows refused");
		deny(i ? "203.0.113.8" : "203.0.113.9");
		while (list_state_equal(&fake.live, &live))
			turn();
		live = fake.live;
		differs_because("protections and allows refused");
		assert_int_equal(fake.syncs, syncs);
		fake.code_exceptions = WIRE_OK;
		equal_becomes();
		assert_int_equal(fake.syncs, syncs);
		assert_int_equal(fake.hellos, 1);
	}
}

static void test_pause_refused(void **state)
{
	(void)state;
	dataplane_pace_set(d, 10000, 50);
	deny("203.0.113.7");
	equal_becomes();
	// Its disk: the pause holds all the same.
	fake.code_pause = WIRE_IO;
	f.done = false;
	ledger_pause(f.ledger, in_seconds(&f, 600), &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	until_at_least(&fake.pauses, 2);
	equal_becomes();
	fake.code_pause = WIRE_BAD_MESSAGE;
	f.done = false;
	ledger_pause(f.ledger, 0, &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	until_at_least(&fake.pauses, 5);
	differs_because("the pause was refused");
	fake.code_pause = WIRE_OK;
	equal_becomes();
	assert_int_equal(fake.hellos, 1);
}

static bool protection_count(void *ctx, const struct protection *p)
{
	(void)p;
	++*(unsigned *)ctx;
	return true;
}

// Several messages of one set; one more than the data plane takes is refused, and never cut.
static void test_exceptions_many(void **state)
{
	unsigned there = 0, messages, exceptions;

	(void)state;
	dataplane_pace_set(d, 10000, 50);
	equal_becomes();
	protect_each(f.protect, protection_count, &there);
	fake.n_exceptions = fake.more = 0;
	exceptions = fake.sets;
	allows_are(&f, WIRE_EXCEPTIONS_MAX - there);
	until_at_least(&fake.sets, exceptions + 1);
	equal_becomes();
	assert_int_equal(fake.n_exceptions, WIRE_EXCEPTIONS_MAX);
	assert_true(fake.more >= 10);
	messages = fake.exceptions;
	allows_are(&f, WIRE_EXCEPTIONS_MAX - there + 1);
	differs_because("more than 65536 protections and allows");
	deny("203.0.113.7");
	while (fake.list.n != 1)
		turn();
	assert_int_equal(fake.exceptions, messages);
	allows_are(&f, 0);
	equal_becomes();
	assert_true(fake.exceptions > messages);
}

static void test_exceptions_limit(void **state)
{
	struct indicator n = indicator_of("203.0.113.9");
	unsigned there = 0;

	(void)state;
	protect_each(f.protect, protection_count, &there);
	allows_are(&f, WIRE_EXCEPTIONS_MAX - there - 1);
	allow("203.0.113.1");
	allow("203.0.113.1"); // again: replaced
	f.done = false;
	ledger_allow(f.ledger, &n, in_seconds(&f, 60), &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	assert_int_equal(f.error, -ERANGE);
	assert_non_null(strstr(f.message, "65536"));
	f.done = false;
	ledger_protect(f.ledger, &n, &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	assert_int_equal(f.error, -ERANGE);
	equal_becomes();
}

// --- forcing, and silence

static void test_force(void **state)
{
	(void)state;
	fake.mute = true;
	deny("203.0.113.7");
	until_at_least(&fake.hellos, 1);
	assert_int_equal(dataplane_sync(d, true), -ENOTCONN);
	assert_int_equal(dataplane_sync(d, false), -ENOTCONN);
	fake.mute = false;
	fake_close();
	equal_becomes();
	// Given, but the connection ends before it was of use: the brake holds again.
	fake.refuse_end = true;
	fake.code_begin = WIRE_STALLED;
	fake.live.ledger_id[0] ^= 1;
	assert_int_equal(dataplane_sync(d, true), 0);
	until_at_least(&fake.hellos, 3);
	fake.code_begin = WIRE_OK;
	until_at_least(&fake.refused, 1);
	differs_because("stanch sync --force");
	assert_int_equal(dataplane_sync(d, true), 0);
	equal_becomes();
}

static void test_hello_unanswered(void **state)
{
	(void)state;
	dataplane_pace_set(d, 10, 50);
	fake.mute = true;
	until_at_least(&fake.hellos, 2);
	fake.mute = false;
	dataplane_pace_set(d, 10000, 50);
	fake_close();
	equal_becomes();
}

// --- break-glass

static void breakglass_send(uint64_t seq, const char *reason)
{
	struct indicator n = indicator_of("203.0.113.7");
	struct wire_breakglass m = {
		.header = {WIRE_BREAKGLASS, WIRE_VERSION, sizeof(m), seq},
		.when_ms = 1,
		.until = 2,
		.uid = 1000,
		.kind = WIRE_CTL_ALLOW,
	};

	snprintf(m.reason, sizeof(m.reason), "%s", reason);
	assert_true(wire_indicator_write(&m.indicator, sizeof(m.indicator), &n) > 0);
	assert_int_equal(send(fake.fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
}

static bool detail_find(void *ctx, const struct audit_record *record)
{
	if (strncmp(record->action, "breakglass", 10) != 0)
		return true;
	snprintf(ctx, 512, "%s", record->detail);
	assert_string_equal(record->actor, "uid 1000 at the data plane");
	assert_string_equal(record->object, "203.0.113.7");
	return false;
}

static void test_breakglass(void **state)
{
	char detail[512];

	(void)state;
	equal_becomes();
	breakglass_send(1, "a partner is cut off");
	until_at_least(&fake.acks, 1);
	assert_int_equal(fake.acked, 1);
	assert_int_equal(fake.audited, 1); // committed before it was acknowledged
	ledger_audit_page(f.ledger, 0, 100, detail_find, detail);
	assert_non_null(strstr(detail, "a partner is cut off"));
	// Not UTF-8: kept, escaped.
	breakglass_send(2, "caf\xe9 \\ down");
	until_at_least(&fake.acks, 2);
	ledger_audit_page(f.ledger, 0, 100, detail_find, detail);
	assert_non_null(strstr(detail, "caf\\\\xe9 \\\\x5c down"));
	// What cannot be committed is not acknowledged, nor what comes behind it: an
	// acknowledgement covers all before it.
	transaction_begin(f.ledger);
	transaction_fail(f.ledger, -EIO);
	breakglass_send(3, "first");
	while (f.ledger->open)
		turn();
	turn();
	breakglass_send(4, "second");
	for (int i = 0; i < 5; i++)
		turn();
	assert_int_equal(fake.acked, 2);
	// Told again, in order.
	breakglass_send(3, "first");
	breakglass_send(4, "second");
	until_at_least(&fake.acks, 4);
	assert_int_equal(fake.acked, 4);
	assert_int_equal(fake.audited, 4);
}

// --- restarts and room

static void restart_as(uint64_t boot_id)
{
	unsigned hellos = fake.hellos;

	fake.boot_id = boot_id;
	fake_close();
	until_at_least(&fake.hellos, hellos + 1);
	equal_becomes();
}

static void test_restarts(void **state)
{
	int64_t last = 0;

	(void)state;
	equal_becomes(); // without an id: nothing is counted
	restart_as(7);
	assert_int_equal(dataplane_watch_restarts(dataplane_watched(d), &last), 0);
	restart_as(7); // only the link
	assert_int_equal(dataplane_watch_restarts(dataplane_watched(d), &last), 0);
	assert_int_equal(last, 0);
	restart_as(UINT64_MAX - 1);
	assert_int_equal(dataplane_watch_restarts(dataplane_watched(d), &last), 1);
	assert_true(last > 0);
	// While control is down too.
	snapshot_unfollow(snapshot);
	dataplane_free(d);
	fake_close();
	fixture_reopen(&f);
	assert_int_equal(committed("dataplane.restart"), 1);
	fake.boot_id = 9;
	assert_int_equal(dataplane_create(f.base, f.ledger, f.dir, &d), 0);
	assert_int_equal(snapshot_follow(f.base, f.ledger, f.dir, d, &snapshot), 0);
	equal_becomes();
	assert_int_equal(dataplane_watch_restarts(dataplane_watched(d), &last), 2);
}

static void room_is(uint64_t count, bool alarm)
{
	unsigned statuses = fake.statuses;
	size_t len;

	fake.count = count;
	until_at_least(&fake.statuses, statuses + 1);
	while (!dataplane_status(d, &len)
	       || ((const struct wire_status *)dataplane_status(d, &len))->state.count != count)
		turn();
	assert_int_equal(dataplane_watch_nearly_full(dataplane_watched(d)), alarm);
}

static void test_nearly_full(void **state)
{
	(void)state;
	fake.capacity = 1000;
	equal_becomes();
	room_is(799, false);
	room_is(800, true);
	room_is(750, true); // not at each entry around the limit
	room_is(749, false);
	turn();
	turn();
	ledger_commit(f.ledger);
	assert_int_equal(committed("alarm"), 2);
	assert_int_equal(committed("alarm.end"), 1);
}

static unsigned told, told_none;
static uint64_t told_samples;

static void previewed(void *ctx, const struct wire_preview_answer *m, size_t len)
{
	(void)ctx;
	(void)len;
	told++;
	told_none += m == NULL;
	told_samples = m ? m->samples : 0;
}

static int preview(const char *text)
{
	struct indicator_error error;
	struct indicator n;

	assert_int_equal(indicator_parse(text, strlen(text), &n, &error), 0);
	return dataplane_preview(d, &n, 10, previewed, NULL);
}

// Whoever asks is told: an answer, a refusal, or that the other end is gone.
static void test_preview(void **state)
{
	(void)state;
	told = told_none = 0;
	assert_int_equal(preview("203.0.113.7"), -ENOTCONN);
	equal_becomes();
	assert_int_equal(preview("evil.example"), -EINVAL);
	fake.count = 5;
	assert_int_equal(preview("203.0.113.0/24"), 0);
	until_at_least(&told, 1);
	assert_int_equal(told_samples, 5);
	fake.code_preview = WIRE_DENIED;
	assert_int_equal(dataplane_preview(d, NULL, 10, previewed, NULL), 0);
	until_at_least(&told, 2);
	assert_int_equal(told_none, 1);
	// Eight at a time; the connection's end tells them all.
	fake.code_preview = WIRE_OK;
	fake.count = 0;
	for (int i = 0; i < 8; i++)
		assert_int_equal(preview("203.0.113.7"), 0);
	assert_int_equal(preview("203.0.113.7"), -EBUSY);
	until_at_least(&fake.previews, 10);
	fake_close();
	until_at_least(&told, 10);
	assert_int_equal(told_none, 9);
	equal_becomes();
	fake.count = 6;
	assert_int_equal(preview("203.0.113.7"), 0);
	until_at_least(&told, 11);
	assert_int_equal(told_samples, 6);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_dataplane),
		TEST(test_full),
		TEST(test_full_again),
		TEST(test_no_memory),
		TEST(test_stalled),
		TEST(test_exceptions_refused),
		TEST(test_pause_refused),
		TEST(test_exceptions_many),
		TEST(test_exceptions_limit),
		TEST(test_force),
		TEST(test_hello_unanswered),
		TEST(test_breakglass),
		TEST(test_restarts),
		TEST(test_nearly_full),
		TEST(test_preview),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
