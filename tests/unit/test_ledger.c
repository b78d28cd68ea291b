// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/unit/ledger_fixture.h"

#include <errno.h>
#include <pthread.h>

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_init(f, PROTECT_REFUSE);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	free(*state);
	return 0;
}

struct nested {
	struct fixture *f;
	unsigned outer, inner, max;
};

static bool inner_take(void *ctx, const struct claim *claim)
{
	struct nested *n = ctx;

	(void)claim;
	n->inner++;
	return true;
}

static bool outer_take(void *ctx, const struct claim *claim)
{
	struct nested *n = ctx;
	struct indicator same = claim->indicator;

	n->outer++;
	assert_int_equal(ledger_claims_on(n->f->ledger, &same, inner_take, n), 0);
	return n->outer < n->max;
}

// Statements are kept: one that is in use is not used twice, and one that was left early begins
// anew.
static void test_a_walk_in_a_walk(void **state)
{
	struct fixture *f = *state;
	struct indicator n = indicator_of("203.0.113.7");

	put(f, "thehive:soc", "soc/~1/~10", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "thehive:soc", "soc/~2/~20", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "thehive:soc", "soc/~3/~30", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	for (unsigned round = 0; round < 3; round++) {
		struct nested nested = {.f = f, .max = round == 1 ? 1 : 100};

		assert_int_equal(ledger_claims_on(f->ledger, &n, outer_take, &nested), 0);
		assert_int_equal(nested.outer, round == 1 ? 1 : 3);
		assert_int_equal(nested.inner, round == 1 ? 3 : 9);
	}
}

static void test_new(void **state)
{
	struct fixture *f = *state;
	struct list_state s, again;
	uint8_t zero[LEDGER_ID_LEN] = {0};

	ledger_state(f->ledger, &s);
	assert_int_equal(s.revision.epoch, 1);
	assert_int_equal(s.revision.number, 1);
	assert_int_equal(s.count, 0);
	assert_memory_not_equal(s.ledger_id, zero, sizeof(zero));
	fixture_reopen(f);
	ledger_state(f->ledger, &again);
	assert_true(list_state_equal(&s, &again));
	ledger_check(f->ledger);
}

static void test_two_cases(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	assert_int_equal(
		put(f, "thehive:soc", "soc/1/1", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_OK
	);
	assert_int_equal(f->error, 0);
	assert_int_equal(f->revision.number, 2);
	assert_int_equal(f->woken, LEDGER_ENTRIES);
	assert_int_equal(
		put(f, "thehive:soc", "soc/2/9", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_OK
	);
	// The entry says the same as before: no new revision.
	assert_int_equal(f->revision.number, 2);
	assert_int_equal(
		put(f, "thehive:soc", "soc/2/9", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_UNCHANGED
	);
	assert_int_equal(op(f, SUBMIT_END, "thehive:soc", "soc/1/1", "203.0.113.7"), SUBMIT_OK);
	assert_true(entry_is(f, "203.0.113.7", &e));
	ledger_check(f->ledger);
	assert_int_equal(op(f, SUBMIT_END, "thehive:soc", "soc/2/9", "203.0.113.7"), SUBMIT_OK);
	assert_false(entry_is(f, "203.0.113.7", &e));
	assert_int_equal(f->revision.number, 3);
	assert_int_equal(
		op(f, SUBMIT_END, "thehive:soc", "soc/2/9", "203.0.113.7"), SUBMIT_NOT_FOUND
	);
	ledger_check(f->ledger);
	fixture_reopen(f);
	ledger_check(f->ledger);
}

struct seen {
	size_t n;
	struct ledger_change change[64];
};

static bool change_seen(void *ctx, const struct ledger_change *c)
{
	struct seen *s = ctx;

	s->change[s->n++] = *c;
	return true;
}

static void test_actions(void **state)
{
	struct fixture *f = *state;
	int64_t hour = in_seconds(f, 3600), day = in_seconds(f, 86400);
	struct revision from;
	struct seen seen = {0};
	struct entry e;

	put(f, "operator", "a", "*.evil.example", CLAIM_MONITOR, day);
	from = f->revision;
	put(f, "operator", "b", "*.evil.example", CLAIM_ENFORCE, hour);
	put(f, "operator", "c", "*.evil.example", CLAIM_ENFORCE, hour + 1);
	assert_true(entry_is(f, "*.evil.example", &e));
	assert_int_equal(e.enforce_until, hour + 1);
	assert_int_equal(e.monitor_until, day);
	ledger_check(f->ledger);
	time_pass(f, 3601);
	assert_true(entry_is(f, "*.evil.example", &e));
	assert_int_equal(e.enforce_until, UNTIL_NONE);
	assert_int_equal(e.monitor_until, day);
	time_pass(f, 86400);
	assert_false(entry_is(f, "*.evil.example", &e));
	ledger_check(f->ledger);
	assert_int_equal(ledger_changes(f->ledger, from, 64, change_seen, &seen), 0);
	assert_int_equal(seen.n, 4);
	for (size_t i = 0; i < seen.n; i++)
		assert_int_equal(seen.change[i].revision.number, from.number + 1 + i);
	assert_int_equal(seen.change[0].change.entry.enforce_until, hour);
	assert_int_equal(seen.change[3].change.op, CHANGE_REMOVE);
}

static void test_orphan(void **state)
{
	struct fixture *f = *state;
	struct ledger_counts counts;
	struct entry e;

	put(f, "thehive:soc", "soc/1/1", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "thehive:soc", "soc/1/2", "198.51.100.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	assert_int_equal(op(f, SUBMIT_ORPHAN, "thehive:soc", "soc/1/1", "198.51.100.1"), SUBMIT_OK);
	assert_int_equal(op(f, SUBMIT_ORPHAN, "thehive:soc", "soc/1/2", "198.51.100.2"), SUBMIT_OK);
	assert_int_equal(
		op(f, SUBMIT_ORPHAN, "thehive:soc", "soc/1/2", "198.51.100.2"), SUBMIT_UNCHANGED
	);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.orphaned, 2);
	assert_int_equal(counts.claims, 2);
	ledger_check(f->ledger);
	// One returns a moment before the grace is over, the other does not.
	time_pass(f, 7 * 86400 - 2);
	assert_int_equal(
		put(f, "thehive:soc", "soc/1/1", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER),
		SUBMIT_OK
	);
	assert_true(entry_is(f, "198.51.100.2", &e));
	time_pass(f, 3);
	assert_true(entry_is(f, "198.51.100.1", &e));
	assert_false(entry_is(f, "198.51.100.2", &e));
	time_pass(f, 8 * 86400);
	assert_true(entry_is(f, "198.51.100.1", &e));
	ledger_check(f->ledger);
}

static enum submit_code
case_move(struct fixture *f, const char *from, const char *to, const char *indicator)
{
	struct submit_item item = op_item(SUBMIT_MOVE, "thehive:soc", from, indicator);

	item.to = to;
	return submit_one(f, item);
}

static bool claim_last(void *ctx, const struct claim *claim)
{
	struct claim *to = ctx;
	static char ref[64];

	snprintf(ref, sizeof(ref), "%s", claim->ref);
	*to = *claim;
	to->ref = ref;
	return true;
}

// The entry never notices, whatever becomes of the claim's reference.
static void test_move(void **state)
{
	struct fixture *f = *state;
	struct ledger_counts counts;
	struct claim claim = {0};
	struct revision before;
	struct entry e;

	put(f, "thehive:soc", "soc/1/1", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	before = f->revision;
	assert_int_equal(case_move(f, "soc/1/1", "soc/2/1", "198.51.100.1"), SUBMIT_OK);
	assert_int_equal(f->revision.number, before.number);
	ledger_claims_by_ref(f->ledger, "thehive:soc", "", claim_last, &claim);
	assert_string_equal(claim.ref, "soc/2/1");
	assert_int_equal(claim.state, CLAIM_ORPHANED);
	assert_true(audited(f, "claim.move", "soc/1/1", "soc/2/1"));
	assert_int_equal(case_move(f, "soc/1/1", "soc/2/1", "198.51.100.1"), SUBMIT_NOT_FOUND);
	// What the other case has too ends here.
	put(f, "thehive:soc", "soc/3/1", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	assert_int_equal(case_move(f, "soc/2/1", "soc/3/1", "198.51.100.1"), SUBMIT_OK);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.claims, 1);
	assert_int_equal(counts.orphaned, 0);
	assert_true(entry_is(f, "198.51.100.1", &e));
	ledger_check(f->ledger);
	// But not for one that is only held there.
	struct submit_item held
		= put_item("thehive:soc", "soc/4/1", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	held.claim.state = CLAIM_HELD;
	held.cause = "a test";
	assert_int_equal(submit_one(f, held), SUBMIT_HELD);
	assert_int_equal(case_move(f, "soc/3/1", "soc/4/1", "198.51.100.1"), SUBMIT_OK);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.held, 0);
	assert_int_equal(counts.claims, 1);
	assert_true(entry_is(f, "198.51.100.1", &e));
	ledger_check(f->ledger);
	time_pass(f, 7 * 86400 + 1); // an orphan like others
	assert_false(entry_is(f, "198.51.100.1", &e));
	ledger_check(f->ledger);
}

static void test_late(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	assert_int_equal(
		put(f, "operator", "a", "198.51.100.1", CLAIM_ENFORCE, in_seconds(f, 0)),
		SUBMIT_UNCHANGED
	);
	assert_false(entry_is(f, "198.51.100.1", &e));
	put(f, "operator", "a", "198.51.100.1", CLAIM_ENFORCE, in_seconds(f, 60));
	assert_true(entry_is(f, "198.51.100.1", &e));
	// The same claim with an end that has passed ends it.
	assert_int_equal(
		put(f, "operator", "a", "198.51.100.1", CLAIM_ENFORCE, in_seconds(f, -1)), SUBMIT_OK
	);
	assert_false(entry_is(f, "198.51.100.1", &e));
	ledger_check(f->ledger);
}

// The timer itself, without a helping hand.
static void test_expiry_timer(void **state)
{
	struct fixture *f = *state;
	int64_t end = clock_boot_ms(f->ledger) + 5000;
	struct entry e;

	put(f, "operator", "a", "198.51.100.1", CLAIM_ENFORCE, in_seconds(f, 1));
	while (entry_is(f, "198.51.100.1", &e) && clock_boot_ms(f->ledger) < end)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_false(entry_is(f, "198.51.100.1", &e));
	assert_true(clock_boot_ms(f->ledger) < end);
}

static void test_clock_step(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	put(f, "operator", "a", "198.51.100.1", CLAIM_ENFORCE, in_seconds(f, 3600));
	// The wall clock steps a year ahead: known ends keep their distance.
	f->ledger->wall_shift_ms += 365LL * 86400000;
	time_pass(f, 3590);
	assert_true(entry_is(f, "198.51.100.1", &e));
	put(f, "operator", "b", "198.51.100.2", CLAIM_ENFORCE, in_seconds(f, 60));
	time_pass(f, 11);
	assert_false(entry_is(f, "198.51.100.1", &e));
	assert_true(entry_is(f, "198.51.100.2", &e));
	time_pass(f, 50);
	assert_false(entry_is(f, "198.51.100.2", &e));
	// And an hour back.
	put(f, "operator", "c", "198.51.100.3", CLAIM_ENFORCE, in_seconds(f, 60));
	f->ledger->wall_shift_ms -= 3600000;
	time_pass(f, 61);
	assert_false(entry_is(f, "198.51.100.3", &e));
	ledger_check(f->ledger);
}

static void test_clock_at_start(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	put(f, "operator", "a", "198.51.100.1", CLAIM_ENFORCE, in_seconds(f, 3600));
	sqlite3_exec(f->ledger->db, "UPDATE state SET wall = wall + 86400", NULL, NULL, NULL);
	fixture_reopen(f);
	assert_true(ledger_ends_held(f->ledger));
	time_pass(f, 3601);
	assert_true(entry_is(f, "198.51.100.1", &e));
	// A start that commits meanwhile does not forget it.
	put(f, "operator", "b", "198.51.100.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	fixture_reopen(f);
	assert_true(ledger_ends_held(f->ledger));
	f->done = false;
	ledger_ends_release(f->ledger, &somebody, done_cb, f);
	loop_until(f, &f->done);
	assert_false(ledger_ends_held(f->ledger));
	time_pass(f, 3601);
	assert_false(entry_is(f, "198.51.100.1", &e));
	ledger_check(f->ledger);
}

static void test_change_log(void **state)
{
	struct fixture *f = *state;
	struct revision first, from;
	struct list_state s;
	struct seen seen = {0};

	ledger_close(f->ledger);
	f->conf.change_log_max = 10;
	fixture_open(f);
	ledger_state(f->ledger, &s);
	first = s.revision;
	for (int i = 0; i < 10; i++) {
		char text[32];

		snprintf(text, sizeof(text), "198.51.100.%d", i + 1);
		put(f, "operator", "a", text, CLAIM_ENFORCE, UNTIL_FOREVER);
	}
	assert_int_equal(ledger_changes(f->ledger, first, 64, change_seen, &seen), 0);
	assert_int_equal(seen.n, 10);
	seen.n = 0;
	assert_int_equal(ledger_changes(f->ledger, first, 3, change_seen, &seen), 0);
	assert_int_equal(seen.n, 3);
	assert_int_equal(ledger_state_at(f->ledger, seen.change[2].revision, &s), 0);
	assert_int_equal(s.count, 3);
	put(f, "operator", "a", "198.51.100.11", CLAIM_ENFORCE, UNTIL_FOREVER);
	assert_int_equal(ledger_changes(f->ledger, first, 64, change_seen, &seen), -ESTALE);
	from = (struct revision){first.epoch, first.number + 1};
	seen.n = 0;
	assert_int_equal(ledger_changes(f->ledger, from, 64, change_seen, &seen), 0);
	assert_int_equal(seen.n, 10);
	assert_int_equal(ledger_changes(f->ledger, f->revision, 64, change_seen, &seen), 0);
	assert_int_equal(seen.n, 10);
	from.number = f->revision.number + 1;
	assert_int_equal(ledger_changes(f->ledger, from, 64, change_seen, &seen), -ENOENT);
	from = (struct revision){first.epoch + 1, 1};
	assert_int_equal(ledger_changes(f->ledger, from, 64, change_seen, &seen), -ENOENT);
	assert_int_equal(
		ledger_changes(f->ledger, (struct revision){0}, 64, change_seen, &seen), -ENOENT
	);
}

// One revision of several changes comes whole, however few rows were asked for.
static void test_change_log_whole(void **state)
{
	struct fixture *f = *state;
	struct submit_item items[5];
	struct submit submit = {.items = items, .n = 5, .actor = somebody};
	struct list_state s;
	struct seen seen = {0};

	ledger_state(f->ledger, &s);
	for (int i = 0; i < 5; i++) {
		char text[32];

		snprintf(text, sizeof(text), "198.51.100.%d", i + 1);
		items[i] = put_item("operator", "a", text, CLAIM_ENFORCE, UNTIL_FOREVER);
	}
	f->done = false;
	ledger_submit(f->ledger, &submit, submitted_cb, f);
	loop_until(f, &f->done);
	assert_int_equal(ledger_changes(f->ledger, s.revision, 2, change_seen, &seen), 0);
	assert_int_equal(seen.n, 5);
	assert_int_equal(seen.change[4].revision.number, s.revision.number + 1);
}

static void test_group(void **state)
{
	struct fixture *f = *state;
	struct submit_item a
		= put_item("operator", "a", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	struct submit_item b
		= put_item("operator", "b", "198.51.100.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	struct submit_item c = op_item(SUBMIT_END, "operator", "a", "198.51.100.1");
	struct fixture other = {0};
	struct submit submit = {.n = 1, .actor = somebody};
	struct list_state before, after;
	struct entry e;

	ledger_state(f->ledger, &before);
	f->done = false;
	submit.items = &a;
	ledger_submit(f->ledger, &submit, submitted_cb, f);
	submit.items = &b;
	ledger_submit(f->ledger, &submit, submitted_cb, &other);
	submit.items = &c;
	ledger_submit(f->ledger, &submit, NULL, NULL);
	// Nothing is said, and nothing seen, before the commit.
	ledger_state(f->ledger, &after);
	assert_true(list_state_equal(&before, &after));
	assert_false(f->done);
	assert_false(entry_is(f, "198.51.100.2", &e));
	loop_until(f, &f->done);
	assert_true(other.done);
	assert_int_equal(f->revision.number, before.revision.number + 1);
	assert_int_equal(other.revision.number, before.revision.number + 1);
	assert_false(entry_is(f, "198.51.100.1", &e));
	ledger_check(f->ledger);
}

static void test_group_failure(void **state)
{
	struct fixture *f = *state;
	struct submit_item a
		= put_item("operator", "a", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	struct submit_item b
		= put_item("list:new", "b", "198.51.100.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	struct fixture other = {0};
	struct submit submit = {.n = 1, .actor = somebody};
	struct list_state before, after;
	struct ledger_counts counts;

	put(f, "operator", "z", "198.51.100.9", CLAIM_ENFORCE, UNTIL_FOREVER);
	ledger_state(f->ledger, &before);
	f->done = false;
	f->woken = 0;
	submit.items = &a;
	ledger_submit(f->ledger, &submit, submitted_cb, f);
	submit.items = &b;
	ledger_submit(f->ledger, &submit, submitted_cb, &other);
	// Any statement of the commit that fails takes all of it back.
	sqlite3_exec(
		f->ledger->db,
		"CREATE TEMP TRIGGER broken BEFORE INSERT ON main.revisions"
		" BEGIN SELECT raise(ABORT, 'broken'); END",
		NULL,
		NULL,
		NULL
	);
	loop_until(f, &f->done);
	assert_true(f->error < 0);
	assert_int_equal(other.error, f->error);
	assert_int_equal(f->woken, 0);
	ledger_state(f->ledger, &after);
	assert_true(list_state_equal(&before, &after));
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.claims, 1);
	ledger_check(f->ledger);
	// The trigger went with the rollback; the same submissions pass now.
	submit_one(f, a);
	assert_int_equal(f->error, 0);
	assert_int_equal(submit_one(f, b), SUBMIT_OK);
	assert_int_equal(f->error, 0);
	ledger_check(f->ledger);
}

static void test_notes(void **state)
{
	struct fixture *f = *state;
	struct revision r = {7, 7};
	json_t *value = json_pack("{s:i}", "x", 1), *back = NULL;

	assert_int_equal(ledger_cursor_get(f->ledger, "f5xc", &r), 0);
	assert_int_equal(r.epoch, 0);
	assert_int_equal(ledger_cursor_set(f->ledger, "f5xc", (struct revision){1, 42}), 0);
	assert_int_equal(ledger_note_set(f->ledger, "f5xc", "shard/0", value), 0);
	fixture_reopen(f);
	assert_int_equal(ledger_cursor_get(f->ledger, "f5xc", &r), 0);
	assert_int_equal(r.number, 42);
	assert_int_equal(ledger_note_get(f->ledger, "f5xc", "shard/0", &back), 0);
	assert_true(json_equal(value, back));
	json_decref(back);
	json_decref(value);
	assert_int_equal(ledger_note_set(f->ledger, "f5xc", "shard/0", NULL), 0);
	assert_int_equal(ledger_note_get(f->ledger, "f5xc", "shard/0", &back), -ENOENT);
}

static void test_sources(void **state)
{
	struct fixture *f = *state;
	const char *both[] = {"thehive:soc", "list:a"};
	struct ledger_counts counts;

	ledger_sources_set(f->ledger, both, 2);
	put(f, "thehive:soc", "soc/1/1", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "list:a", "x", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "operator", "x", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.sources_gone, 0);
	ledger_sources_set(f->ledger, both, 1);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.sources_gone, 1);
	assert_true(ledger_source_gone(f->ledger, "list:a"));
	assert_false(ledger_source_gone(f->ledger, "operator"));
	ledger_commit(f->ledger);
	ledger_check(f->ledger);
}

static bool claim_text(void *ctx, const struct claim *claim)
{
	char text[INDICATOR_TEXT_MAX], *all = ctx;

	indicator_print(&claim->indicator, text);
	snprintf(all + strlen(all), 1024 - strlen(all), "%s ", text);
	return true;
}

static void test_claims_of(void **state)
{
	struct fixture *f = *state;
	const char *texts[] = {
		"203.0.113.0/24",
		"203.0.113.0/25",
		"203.0.113.7",
		"tcp/203.0.113.7:443",
		"203.0.112.0/23",
		"203.0.114.0",
		"203.0.113.0",
		"evil.example",
		"*.evil.example",
		"a.evil.example",
		"notevil.example",
		"2001:db8::/48",
		"2001:db8::1",
		"udp/[2001:db8::1]:53",
	};
	const struct {
		const char *of;
		bool wide;
		const char *found;
	} cases[] = {
		{"203.0.113.7", false, "203.0.113.7 203.0.113.0/25 203.0.113.0/24 203.0.112.0/23 "},
		{"203.0.113.7",
		 true,
		 "203.0.113.7 203.0.113.0/25 203.0.113.0/24 203.0.112.0/23 tcp/203.0.113.7:443 "},
		{"tcp/203.0.113.7:443",
		 true,
		 "tcp/203.0.113.7:443 203.0.113.7 203.0.113.0/25 203.0.113.0/24 203.0.112.0/23 "},
		{"203.0.113.0/24",
		 true,
		 "203.0.113.0/24 203.0.112.0/23 203.0.113.0/25 203.0.113.0 203.0.113.7 "
		 "tcp/203.0.113.7:443 "},
		{"*.evil.example", true, "*.evil.example evil.example a.evil.example "},
		{"a.evil.example", true, "a.evil.example *.evil.example "},
		{"evil.example", true, "evil.example *.evil.example "},
		{"2001:db8::/32", true, "2001:db8::/48 2001:db8::1 udp/[2001:db8::1]:53 "},
		{"192.0.2.1", true, ""},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(
			put(f, "operator", "x", texts[i], CLAIM_ENFORCE, UNTIL_FOREVER), SUBMIT_OK
		);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct indicator n = indicator_of(cases[i].of);
		char all[1024] = "";

		assert_int_equal(
			ledger_claims_of(f->ledger, &n, cases[i].wide, claim_text, all), 0
		);
		assert_string_equal(all, cases[i].found);
	}
}

static void test_by_ref(void **state)
{
	struct fixture *f = *state;
	char all[1024] = "";

	put(f, "thehive:soc", "soc/1/1", "198.51.100.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "thehive:soc", "soc/1/2", "198.51.100.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "thehive:soc", "soc/10/1", "198.51.100.3", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "thehive:b", "soc/1/1", "198.51.100.4", CLAIM_ENFORCE, UNTIL_FOREVER);
	ledger_claims_by_ref(f->ledger, "thehive:soc", "soc/1/", claim_text, all);
	assert_string_equal(all, "198.51.100.1 198.51.100.2 ");
	all[0] = '\0';
	ledger_claims_by_ref(f->ledger, NULL, "soc/1/", claim_text, all);
	assert_string_equal(all, "198.51.100.1 198.51.100.2 198.51.100.4 ");
	all[0] = '\0';
	ledger_claims_by_ref(f->ledger, "thehive:b", "", claim_text, all);
	assert_string_equal(all, "198.51.100.4 ");
	all[0] = '\0';
	ledger_claims_by_ref(f->ledger, "thehive:none", "", claim_text, all);
	assert_string_equal(all, "");
}

static void test_one_daemon(void **state)
{
	struct fixture *f = *state;
	struct ledger *second = NULL;
	char message[256];

	assert_int_equal(ledger_open(f->base, &f->conf, f->protect, &second, message), -EBUSY);
	assert_non_null(strstr(message, "in use"));
}

static bool entry_seen(void *ctx, const struct entry *entry)
{
	digest_add(ctx, entry_hash(entry));
	return true;
}

static void test_reader(void **state)
{
	struct fixture *f = *state;
	struct ledger_reader *reader;
	struct list_state s, now;
	struct digest digest = {0};
	int n, all = 0;

	for (int i = 1; i < 30; i++) {
		char text[32];

		snprintf(text, sizeof(text), "198.51.100.%d", i);
		put(f, "operator", "a", text, CLAIM_ENFORCE, UNTIL_FOREVER);
	}
	ledger_state(f->ledger, &now);
	assert_int_equal(ledger_reader_open(f->ledger, &reader, &s), 0);
	assert_true(list_state_equal(&s, &now));
	while ((n = ledger_reader_next(reader, 7, entry_seen, &digest)) > 0) {
		all += n;
		// What is committed meanwhile is of a later revision.
		op(f, SUBMIT_END, "operator", "a", "198.51.100.29");
		put(f, "operator", "b", "198.51.100.200", CLAIM_ENFORCE, UNTIL_FOREVER);
	}
	assert_int_equal(n, 0);
	assert_int_equal(all, 29);
	assert_true(digest_equal(digest, s.digest));
	ledger_reader_close(reader);
}

struct reading {
	struct ledger_reader *reader;
	struct list_state state;
	struct digest digest;
	int n;
};

static void *reading_run(void *ctx)
{
	struct reading *r = ctx;
	int n;

	while ((n = ledger_reader_next(r->reader, 3, entry_seen, &r->digest)) > 0)
		r->n += n;
	return NULL;
}

// A reader on a thread of its own while the loop writes.
static void test_reader_thread(void **state)
{
	struct fixture *f = *state;
	char text[32];

	for (int round = 0; round < 10; round++) {
		struct reading r = {0};
		pthread_t thread;

		assert_int_equal(ledger_reader_open(f->ledger, &r.reader, &r.state), 0);
		assert_int_equal(pthread_create(&thread, NULL, reading_run, &r), 0);
		for (int i = 0; i < 10; i++) {
			snprintf(text, sizeof(text), "198.51.%d.%d", round, i);
			put(f, "operator", "a", text, CLAIM_ENFORCE, UNTIL_FOREVER);
		}
		pthread_join(thread, NULL);
		assert_int_equal(r.n, r.state.count);
		assert_true(digest_equal(r.digest, r.state.digest));
		ledger_reader_close(r.reader);
	}
	ledger_check(f->ledger);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_new),	       T(test_a_walk_in_a_walk),
		T(test_two_cases),     T(test_actions),
		T(test_orphan),	       T(test_move),
		T(test_late),	       T(test_expiry_timer),
		T(test_clock_step),    T(test_clock_at_start),
		T(test_change_log),    T(test_change_log_whole),
		T(test_group),	       T(test_group_failure),
		T(test_notes),	       T(test_sources),
		T(test_claims_of),     T(test_by_ref),
		T(test_one_daemon),    T(test_reader),
		T(test_reader_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
