// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the ledger refuses, holds, allows and remembers.

#include "control/protect.h"
#include "tests/unit/ledger_fixture.h"

#include <errno.h>
#include <netinet/in.h>

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_init(f, PROTECT_REFUSE);
	*state = f;
	return 0;
}

static int setup_except(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_init(f, PROTECT_EXCEPT);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	free(*state);
	return 0;
}

static void test_prefix_brake(void **state)
{
	struct fixture *f = *state;
	struct submit_item item
		= put_item("operator", "x", "198.0.0.0/15", CLAIM_ENFORCE, UNTIL_FOREVER);
	const struct actor no_reason = {.name = "x", .force = true};
	struct ledger_counts counts;
	struct entry e;

	assert_int_equal(operator_blocks(f, "198.51.0.0/16"), SUBMIT_OK);
	assert_int_equal(submit_one(f, item), SUBMIT_BRAKE);
	assert_non_null(strstr(f->result[0].message, "/16"));
	assert_int_equal(operator_blocks(f, "2001:db8::/32"), SUBMIT_OK);
	assert_int_equal(operator_blocks(f, "2001:da0::/31"), SUBMIT_BRAKE);
	assert_false(entry_is(f, "198.0.0.0/15", &e));
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.refused_brake, 2);
	assert_true(audited(f, "claim.refuse", "198.0.0.0/15", "shortest"));
	assert_int_equal(submit_as(f, item, &no_reason), SUBMIT_BRAKE);
	assert_int_equal(submit_as(f, item, &forcing), SUBMIT_OK);
	assert_true(entry_is(f, "198.0.0.0/15", &e));
	assert_true(audited(f, "force", "", "I know"));
	assert_true(audited(f, "claim.put", "198.0.0.0/15", "I know"));
	ledger_check(f->ledger);
}

static void test_protected(void **state)
{
	struct fixture *f = *state;
	struct indicator net = indicator_of("203.0.113.128/25"),
			 name = indicator_of("corp.example");
	struct ledger_counts counts;

	assert_int_equal(operator_blocks(f, "10.1.2.3"), SUBMIT_PROTECTED);
	assert_string_equal(
		f->result[0].message,
		"protected by 10.0.0.0/8 (private, RFC 1918; setting protect.private)"
	);
	protect_add(f->protect, PROTECT_CONFIGURED, &net, "protect.networks[0]");
	protect_add(f->protect, PROTECT_CONFIGURED, &name, "protect.names[0]");
	// Inside it, equal to it, containing it; and just beside it.
	assert_int_equal(operator_blocks(f, "203.0.113.128"), SUBMIT_PROTECTED);
	assert_non_null(strstr(f->result[0].message, "protect.networks[0]"));
	assert_int_equal(operator_blocks(f, "203.0.113.128/25"), SUBMIT_PROTECTED);
	assert_int_equal(operator_blocks(f, "203.0.113.0/24"), SUBMIT_PROTECTED);
	assert_int_equal(operator_blocks(f, "tcp/203.0.113.255:80"), SUBMIT_PROTECTED);
	assert_int_equal(operator_blocks(f, "203.0.113.127"), SUBMIT_OK);
	assert_int_equal(operator_blocks(f, "203.0.113.0/25"), SUBMIT_OK);
	assert_int_equal(operator_blocks(f, "203.0.114.0"), SUBMIT_OK);
	assert_int_equal(operator_blocks(f, "corp.example"), SUBMIT_PROTECTED);
	assert_int_equal(operator_blocks(f, "*.corp.example"), SUBMIT_PROTECTED);
	assert_int_equal(operator_blocks(f, "www.corp.example"), SUBMIT_PROTECTED);
	assert_int_equal(operator_blocks(f, "notcorp.example"), SUBMIT_OK);
	// Force lifts no protection.
	assert_int_equal(
		submit_as(
			f,
			put_item("operator", "x", "10.0.0.1", CLAIM_ENFORCE, UNTIL_FOREVER),
			&forcing
		),
		SUBMIT_PROTECTED
	);
	assert_int_equal(operator_blocks(f, "*.co.uk"), SUBMIT_PROTECTED);
	assert_non_null(strstr(f->result[0].message, "public suffix"));
	assert_int_equal(operator_blocks(f, "*.evil.co.uk"), SUBMIT_OK);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.refused_protected, 10);
	assert_true(audited(f, "claim.refuse", "10.1.2.3", "RFC 1918"));
	ledger_check(f->ledger);
}

static void test_excepted(void **state)
{
	struct fixture *f = *state;
	struct indicator net = indicator_of("203.0.113.128/25");
	struct entry e;

	protect_add(f->protect, PROTECT_CONFIGURED, &net, "protect.networks[0]");
	assert_int_equal(operator_blocks(f, "203.0.113.0/24"), SUBMIT_EXCEPTED);
	assert_non_null(strstr(f->result[0].message, "protect.networks[0]"));
	assert_true(entry_is(f, "203.0.113.0/24", &e));
	assert_int_equal(operator_blocks(f, "*.co.uk"), SUBMIT_PROTECTED);
	ledger_check(f->ledger);
}

static bool exception_match(void *ctx, const struct exception *exception)
{
	char text[INDICATOR_TEXT_MAX];
	const char **wanted = ctx;

	indicator_print(&exception->indicator, text);
	if (strcmp(text, wanted[0]) == 0)
		wanted[1] = exception->kind == EXCEPTION_PROTECT ? "protect" : "allow";
	return true;
}

static const char *exception_of(struct fixture *f, const char *text)
{
	const char *wanted[2] = {text, "none"};

	assert_int_equal(ledger_exceptions(f->ledger, exception_match, wanted), 0);
	return wanted[1];
}

static bool
conflict_count(void *ctx, const struct protection *protection, const struct entry *entry)
{
	(void)protection;
	(void)entry;
	++*(int *)ctx;
	return true;
}

static int conflicts(struct fixture *f)
{
	int n = 0;

	assert_int_equal(ledger_conflicts(f->ledger, conflict_count, &n), 0);
	return n;
}

static void protect_as_operator(struct fixture *f, const char *text, bool end)
{
	struct indicator n = indicator_of(text);

	f->done = false;
	if (end)
		ledger_protect_end(f->ledger, &n, &somebody, done_cb, f);
	else
		ledger_protect(f->ledger, &n, &somebody, done_cb, f);
	loop_until(f, &f->done);
}

// Over an entry in force: an exception at once, shown as a conflict, and lasting.
static void test_protect_in_force(void **state)
{
	struct fixture *f = *state;
	struct entry e;

	operator_blocks(f, "203.0.113.0/24");
	operator_blocks(f, "203.0.113.7");
	assert_int_equal(conflicts(f), 0);
	f->woken = 0;
	protect_as_operator(f, "203.0.113.7", false);
	assert_int_equal(f->error, 0);
	assert_int_equal(f->woken, LEDGER_EXCEPTIONS);
	assert_string_equal(exception_of(f, "203.0.113.7"), "protect");
	assert_int_equal(conflicts(f), 2);
	assert_true(entry_is(f, "203.0.113.7", &e));
	fixture_reopen(f);
	assert_string_equal(exception_of(f, "203.0.113.7"), "protect");
	assert_int_equal(operator_blocks(f, "tcp/203.0.113.7:80"), SUBMIT_PROTECTED);
	protect_as_operator(f, "203.0.113.7", true);
	assert_string_equal(exception_of(f, "203.0.113.7"), "none");
	protect_as_operator(f, "203.0.113.7", true);
	assert_int_equal(f->error, -ENOENT);
	assert_true(audited(f, "protect", "203.0.113.7", "a test"));
	ledger_check(f->ledger);
}

static void test_protect_derived(void **state)
{
	struct fixture *f = *state;
	const uint8_t a[16] = {203, 0, 113, 7}, b[16] = {198, 51, 100, 1};

	operator_blocks(f, "203.0.113.0/24");
	protect_derived_note(f->protect, "thehive:soc", IPPROTO_TCP, 4, a, 9000);
	assert_int_equal(protect_conflicts(f->protect), 1);
	assert_string_equal(exception_of(f, "tcp/203.0.113.7:9000"), "none");
	protect_derived_note(f->protect, "thehive:soc", IPPROTO_TCP, 4, b, 9000);
	assert_string_equal(exception_of(f, "tcp/198.51.100.1:9000"), "protect");
	assert_int_equal(operator_blocks(f, "198.51.100.0/24"), SUBMIT_PROTECTED);
	assert_non_null(strstr(f->result[0].message, "in use by thehive:soc"));
	assert_int_equal(operator_blocks(f, "tcp/198.51.100.1:9001"), SUBMIT_OK);
	op(f, SUBMIT_END, "operator", "x", "203.0.113.0/24");
	protect_derived_note(f->protect, "thehive:soc", IPPROTO_TCP, 4, a, 9000);
	assert_int_equal(protect_conflicts(f->protect), 0);
	assert_string_equal(exception_of(f, "tcp/203.0.113.7:9000"), "protect");
}

static void allow(struct fixture *f, const char *text, int64_t until)
{
	struct indicator n = indicator_of(text);

	f->done = false;
	ledger_allow(f->ledger, &n, until, &somebody, done_cb, f);
	loop_until(f, &f->done);
}

static void test_allow(void **state)
{
	struct fixture *f = *state;
	struct indicator n = indicator_of("203.0.113.7");
	struct ledger_counts counts;

	allow(f, "203.0.113.7", in_seconds(f, 24 * 3600 + 60));
	assert_int_equal(f->error, -ERANGE);
	allow(f, "203.0.113.7", in_seconds(f, 0));
	assert_int_equal(f->error, -ERANGE);
	assert_string_equal(exception_of(f, "203.0.113.7"), "none");
	allow(f, "203.0.113.7", in_seconds(f, 24 * 3600));
	assert_int_equal(f->error, 0);
	// Replaced: it ends earlier now.
	allow(f, "203.0.113.7", in_seconds(f, 3600));
	allow(f, "203.0.113.8", in_seconds(f, 7200));
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.allows, 2);
	assert_string_equal(exception_of(f, "203.0.113.7"), "allow");
	time_pass(f, 3590);
	assert_string_equal(exception_of(f, "203.0.113.7"), "allow");
	f->woken = 0;
	time_pass(f, 11);
	assert_int_equal(f->woken, LEDGER_EXCEPTIONS);
	assert_string_equal(exception_of(f, "203.0.113.7"), "none");
	assert_string_equal(exception_of(f, "203.0.113.8"), "allow");
	assert_true(audited(f, "allow.expire", "203.0.113.7", ""));
	f->done = false;
	ledger_allow_end(f->ledger, &n, &somebody, done_cb, f);
	loop_until(f, &f->done);
	assert_int_equal(f->error, -ENOENT);
	n = indicator_of("203.0.113.8");
	f->done = false;
	ledger_allow_end(f->ledger, &n, &somebody, done_cb, f);
	loop_until(f, &f->done);
	assert_int_equal(f->error, 0);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.allows, 0);
	ledger_check(f->ledger);
}

static void pause_until(struct fixture *f, int64_t until)
{
	f->done = false;
	ledger_pause(f->ledger, until, &somebody, done_cb, f);
	loop_until(f, &f->done);
}

static void test_pause(void **state)
{
	struct fixture *f = *state;
	int64_t until = in_seconds(f, 900);

	pause_until(f, in_seconds(f, 25 * 3600));
	assert_int_equal(f->error, -ERANGE);
	assert_int_equal(ledger_pause_until(f->ledger), 0);
	pause_until(f, until);
	assert_int_equal(f->woken, LEDGER_PAUSE);
	assert_int_equal(ledger_pause_until(f->ledger), until);
	fixture_reopen(f);
	assert_int_equal(ledger_pause_until(f->ledger), until);
	f->woken = 0;
	time_pass(f, 901);
	assert_int_equal(f->woken, LEDGER_PAUSE);
	assert_int_equal(ledger_pause_until(f->ledger), 0);
	pause_until(f, in_seconds(f, 900));
	pause_until(f, 0);
	assert_int_equal(f->error, 0);
	assert_int_equal(ledger_pause_until(f->ledger), 0);
	ledger_check(f->ledger);
}

static void test_capacity(void **state)
{
	struct fixture *f = *state;
	struct submit_item items[2];
	struct submit submit = {.items = items, .n = 2, .actor = somebody};
	struct ledger_counts counts;

	f->ledger->conf.max_entries = 3;
	assert_int_equal(operator_blocks(f, "198.51.100.1"), SUBMIT_OK);
	assert_int_equal(operator_blocks(f, "198.51.100.2"), SUBMIT_OK);
	assert_int_equal(operator_blocks(f, "198.51.100.3"), SUBMIT_OK);
	assert_int_equal(operator_blocks(f, "198.51.100.4"), SUBMIT_FULL);
	assert_non_null(strstr(f->result[0].message, "3 of 3"));
	// Another claim on an entry that is there needs no room.
	assert_int_equal(
		put(f, "operator", "y", "198.51.100.3", CLAIM_ENFORCE, UNTIL_FOREVER), SUBMIT_OK
	);
	items[0] = op_item(SUBMIT_END, "operator", "x", "198.51.100.1");
	items[1] = put_item("operator", "x", "198.51.100.4", CLAIM_ENFORCE, UNTIL_FOREVER);
	f->done = false;
	ledger_submit(f->ledger, &submit, submitted_cb, f);
	loop_until(f, &f->done);
	assert_int_equal(f->result[1].code, SUBMIT_OK);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.refused_full, 1);
	ledger_check(f->ledger);
}

static void test_audit(void **state)
{
	struct fixture *f = *state;
	struct submit_item item
		= put_item("operator", "x", "198.51.100.9", CLAIM_ENFORCE, UNTIL_FOREVER);
	char reason[4000], *error = NULL, hash[65], other[65];
	int64_t seq, head;

	// Whatever a reason says, the record stays JSON.
	memset(reason, 'x', sizeof(reason));
	memcpy(reason, "\"\\\n\x01", 4);
	for (size_t i = 1000; i + 2 < sizeof(reason); i += 2)
		memcpy(reason + i, "\xc3\xa4", 2);
	reason[sizeof(reason) - 1] = '\0';
	item.claim.reason = reason;
	submit_one(f, item);
	assert_int_equal(f->error, 0);
	operator_blocks(f, "198.51.100.1");
	operator_blocks(f, "198.51.100.2");
	assert_int_equal(ledger_audit_head(f->ledger, &head, hash), 0);
	assert_int_equal(head, 3);
	assert_int_equal(audit_verify(f->ledger, &seq), 0);
	// The tables refuse…
	assert_int_not_equal(
		sqlite3_exec(f->ledger->db, "UPDATE audit SET actor='x'", NULL, NULL, &error),
		SQLITE_OK
	);
	assert_non_null(strstr(error, "append-only"));
	sqlite3_free(error);
	assert_int_not_equal(
		sqlite3_exec(f->ledger->db, "DELETE FROM audit", NULL, NULL, NULL), SQLITE_OK
	);
	// …and who gets round them is found.
	sqlite3_exec(f->ledger->db, "DROP TRIGGER audit_update", NULL, NULL, NULL);
	sqlite3_exec(f->ledger->db, "DROP TRIGGER audit_delete", NULL, NULL, NULL);
	sqlite3_exec(
		f->ledger->db, "UPDATE audit SET actor='mallory' WHERE seq=2", NULL, NULL, NULL
	);
	assert_int_equal(audit_verify(f->ledger, &seq), -EILSEQ);
	assert_int_equal(seq, 1);
	sqlite3_exec(
		f->ledger->db, "UPDATE audit SET actor='uid 0 (root)' WHERE seq=2", NULL, NULL, NULL
	);
	assert_int_equal(audit_verify(f->ledger, &seq), 0);
	sqlite3_exec(f->ledger->db, "DELETE FROM audit WHERE seq=3", NULL, NULL, NULL);
	assert_int_equal(audit_verify(f->ledger, &seq), -EILSEQ);
	assert_int_equal(seq, 2);
	ledger_audit_head(f->ledger, &head, other);
	assert_string_equal(hash, other);
}

struct walked {
	bool done;
	int error;
	int64_t seq;
};

static void walked_cb(void *ctx, int error, int64_t seq)
{
	*(struct walked *)ctx = (struct walked){true, error, seq};
}

static struct walked walk(struct fixture *f)
{
	struct walked walked = {0};

	assert_int_equal(ledger_audit_verify(f->ledger, walked_cb, &walked), 0);
	assert_false(walked.done);
	loop_until(f, &walked.done);
	return walked;
}

// In slices: what is committed meanwhile is walked too, what is rolled back is not missed.
static void test_audit_slices(void **state)
{
	struct fixture *f = *state;
	struct walked walked = {0};
	int64_t seq = 0;

	for (int i = 0; i < 1500; i++)
		ledger_audit(f->ledger, "somebody", "test", "", NULL);
	ledger_commit(f->ledger);
	walked = walk(f);
	assert_int_equal(walked.error, 0);
	assert_int_equal(walked.seq, 1500); // three whole slices
	walked = (struct walked){0};
	assert_int_equal(ledger_audit_verify(f->ledger, walked_cb, &walked), 0);
	for (int i = 0; i < 5; i++) {
		for (int n = 0; n < 300; n++)
			ledger_audit(f->ledger, "somebody", "test", "gone", NULL);
		event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	}
	transaction_fail(f->ledger, -EIO);
	ledger_commit(f->ledger);
	ledger_audit(f->ledger, "somebody", "test", "stays", NULL);
	ledger_commit(f->ledger);
	loop_until(f, &walked.done);
	assert_int_equal(walked.error, 0);
	sqlite3_exec(f->ledger->db, "DROP TRIGGER audit_delete", NULL, NULL, NULL);
	sqlite3_exec(f->ledger->db, "DELETE FROM audit WHERE seq > 1000", NULL, NULL, NULL);
	walked = walk(f);
	assert_int_equal(walked.error, -EILSEQ);
	assert_int_equal(walked.seq, 1000);
	// Closed meanwhile: nobody is called.
	assert_int_equal(ledger_audit_verify(f->ledger, walked_cb, &walked), 0);
	walked.done = false;
	fixture_reopen(f);
	assert_false(walked.done);
	assert_int_equal(audit_verify(f->ledger, &seq), -EILSEQ);
}

static bool audit_json(void *ctx, const struct audit_record *record)
{
	json_error_t error;
	json_t *detail = json_loads(record->detail, 0, &error);

	if (!detail)
		print_error("%s: %s\n", error.text, record->detail);
	assert_non_null(detail);
	json_decref(detail);
	++*(int *)ctx;
	return true;
}

static void test_audit_json(void **state)
{
	struct fixture *f = *state;
	char reason[4000];
	int n = 0;

	for (size_t shift = 0; shift < 4; shift++) {
		struct submit_item item
			= put_item("operator", "x", "198.51.100.9", CLAIM_ENFORCE, UNTIL_FOREVER);

		memset(reason, '"', sizeof(reason));
		for (size_t i = shift; i + 4 < sizeof(reason); i += 4)
			memcpy(reason + i, "\xf0\x9f\x92\xa9", 4);
		reason[sizeof(reason) - 1] = '\0';
		memset(reason + sizeof(reason) - 5, 'x', 4);
		item.claim.reason = reason;
		item.claim.author = reason + sizeof(reason) - 5;
		submit_one(f, item);
		assert_int_equal(ledger_audit(f->ledger, "a", "b", NULL, NULL), 0);
	}
	ledger_commit(f->ledger);
	assert_int_equal(ledger_audit_page(f->ledger, 0, 100, audit_json, &n), 0);
	assert_int_equal(n, 8);
	n = 0;
	assert_int_equal(ledger_audit_page(f->ledger, 5, 3, audit_json, &n), 0);
	assert_int_equal(n, 3);
	ledger_check(f->ledger);
}

// A refusal that a source repeats is counted, but fills no audit.
static void test_refusal_repeated(void **state)
{
	struct fixture *f = *state;
	struct ledger_counts counts;
	int64_t first, last;
	char hash[65];

	operator_blocks(f, "10.0.0.1");
	ledger_audit_head(f->ledger, &first, hash);
	for (int i = 0; i < 5; i++)
		operator_blocks(f, "10.0.0.1");
	ledger_audit_head(f->ledger, &last, hash);
	assert_int_equal(first, last);
	ledger_counts(f->ledger, &counts);
	assert_int_equal(counts.refused_protected, 6);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_prefix_brake),
		T(test_protected),
		cmocka_unit_test_setup_teardown(test_excepted, setup_except, teardown),
		T(test_protect_in_force),
		T(test_protect_derived),
		T(test_allow),
		T(test_pause),
		T(test_capacity),
		T(test_audit),
		T(test_audit_slices),
		T(test_audit_json),
		T(test_refusal_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
