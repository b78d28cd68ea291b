// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a case is told: the ledger against what it was told before, and the words for it. That
// nothing is told twice, and that nothing is told that the data plane does not do.

#include "control/conf.h"
#include "control/followers/writeback_case.h"
#include "control/followers/writeback_text.h"
#include "tests/unit/ledger_fixture.h"

#include <string.h>

#define SOURCE "thehive:soc"
#define MARKER "(stanch 11111111-0000000000000007)"

static struct fixture f;
static struct conf_writeback conf;
static json_t *told; // the row
static bool applied, mirror_pending;
static int64_t ahead; // of the wall clock
static struct wb_seen seen;

static int setup(void **state)
{
	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	f.ledger->conf.case_claims_per_minute = 1000;
	conf = (struct conf_writeback){
		.enforced = true,
		.attempts = true,
		.tags = true,
		.refused = true,
		.expiry = true,
		.withdrawn = true,
		.immunity = true,
		.expiry_s = 86400,
	};
	told = json_object();
	applied = true;
	mirror_pending = false;
	ahead = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	wb_seen_fini(&seen);
	json_decref(told);
	fixture_fini(&f);
	return 0;
}

static bool f5_state(void *ctx, const struct indicator *n, char text[WB_F5_MAX])
{
	(void)ctx;
	(void)n;
	snprintf(text, WB_F5_MAX, "%s", mirror_pending ? "pending: 429" : "stored");
	return true;
}

// What would be told now; the row changes as though it were.
static char *look(void)
{
	const struct wb_look how = {
		.ledger = f.ledger,
		.protect = f.protect,
		.source = SOURCE,
		.ref = "soc/~1",
		.conf = &conf,
		.applied = applied,
		.now = in_seconds(&f, 0) + ahead,
		.f5 = f5_state,
	};
	const struct wb_context context = {.gateway = "gw1", .revision = "1.2", .took_ms = 1234};
	static char text[32768];
	char *made;

	wb_seen_fini(&seen);
	assert_int_equal(wb_case_look(&how, told, &seen), 0);
	text[0] = '\0';
	if (json_object_size(seen.news) == 0)
		return text;
	made = wb_text_news(seen.news, &context, MARKER);
	assert_non_null(made);
	snprintf(text, sizeof(text), "%s", made);
	free(made);
	return text;
}

static void has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is missing in:\n%s", part, text);
}

static void lacks(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("\"%s\" stands in:\n%s", part, text);
}

static void deny(const char *observable, const char *indicator)
{
	char ref[64];

	snprintf(ref, sizeof(ref), "soc/~1/%s", observable);
	assert_int_equal(put(&f, SOURCE, ref, indicator, CLAIM_ENFORCE, UNTIL_FOREVER), SUBMIT_OK);
}

// What the audit says.
static void cause(const char *member, const char *key, const char *why)
{
	json_object_set_new(wb_member(wb_member(told, "causes"), member), key, json_string(why));
}

static const char *tag(const char *observable)
{
	const char *word = json_string_value(json_object_get(seen.tags, observable));

	return word ? word : "-";
}

static void test_one_text_for_a_burst(void **state)
{
	(void)state;
	char *text;

	deny("~10", "203.0.113.7");
	deny("~11", "203.0.113.8");
	deny("~12", "203.0.113.8"); // the same in another observable
	put(&f, SOURCE, "soc/~12/~1", "203.0.113.9", CLAIM_ENFORCE, UNTIL_FOREVER);
	text = look();
	has(text, "**stanch: 2 destinations of this case are denied**");
	has(text, "- `203.0.113.7`, entry `");
	has(text, "F5 XC: stored");
	has(text, "In effect on gateway `gw1`, revision 1.2, 1.234 s after the verdict.");
	has(text, "\n[//]: # " MARKER "\n");
	lacks(text, "203.0.113.9"); // another case, whose id begins alike
	assert_string_equal(tag("~10"), "enforced");
	assert_true(seen.first);
	assert_string_equal(look(), "");
	assert_false(seen.changed);
	deny("~13", "203.0.113.10");
	text = look();
	has(text, "1 destination of this case is denied");
	lacks(text, "203.0.113.7");
	assert_false(seen.first);
}

static void test_not_before_it_is_applied(void **state)
{
	(void)state;

	deny("~10", "203.0.113.7");
	applied = false;
	assert_string_equal(look(), "");
	assert_true(seen.waits);
	assert_string_equal(tag("~10"), "-");
	applied = true;
	has(look(), "is denied");
	op(&f, SUBMIT_END, SOURCE, "soc/~1/~10", "203.0.113.7");
	applied = false;
	assert_string_equal(look(), "");
	assert_true(seen.waits);
	applied = true;
	has(look(), "denied no longer");
}

static void test_withdrawn(void **state)
{
	(void)state;
	char *text;

	deny("~10", "203.0.113.7");
	deny("~11", "203.0.113.8");
	deny("~12", "203.0.113.8");
	look();
	operator_blocks(&f, "203.0.113.7");
	op(&f, SUBMIT_END, SOURCE, "soc/~1/~10", "203.0.113.7");
	op(&f, SUBMIT_END, SOURCE, "soc/~1/~11", "203.0.113.8"); // ~12 still says so
	cause("live", "~10 203.0.113.7", "the case is open");
	text = look();
	has(text, "- `203.0.113.7`: the case is open. It is still denied");
	lacks(text, "203.0.113.8");
	assert_string_equal(look(), "");
	// And denied again: told again.
	deny("~10", "203.0.113.7");
	has(look(), "is denied");
}

static void test_monitor_becomes_enforce(void **state)
{
	(void)state;

	put(&f, SOURCE, "soc/~1/~10", "203.0.113.7", CLAIM_MONITOR, UNTIL_FOREVER);
	has(look(), "1 destination of this case is watched, not denied");
	assert_string_equal(tag("~10"), "monitored");
	deny("~10", "203.0.113.7");
	has(look(), "1 destination of this case is denied");
}

static void test_warning_before_the_end(void **state)
{
	(void)state;
	int64_t until = in_seconds(&f, 8 * 3600);

	put(&f, SOURCE, "soc/~1/~10", "203.0.113.7", CLAIM_ENFORCE, until);
	has(look(), ", until 20");
	assert_int_equal(seen.due, until - 2 * 3600); // a quarter of 8 h
	ahead = 6 * 3600 - 1;
	assert_string_equal(look(), "");
	ahead = 6 * 3600;
	has(look(), "ends soon");
	assert_int_equal(seen.due, TOLD_NEVER);
	assert_string_equal(look(), "");
	// Prolonged: warned anew, in its time.
	until += 8 * 3600;
	put(&f, SOURCE, "soc/~1/~10", "203.0.113.7", CLAIM_ENFORCE, until);
	assert_string_equal(look(), "");
	assert_true(seen.due > in_seconds(&f, ahead) && seen.due < until);
}

static void note_set(const char *text)
{
	json_t *note = text ? json_loads(text, 0, NULL) : NULL;

	assert_int_equal(ledger_note_set(f.ledger, SOURCE, "case/~1", note), 0);
	json_decref(note);
}

static void test_refusals(void **state)
{
	(void)state;
	char *text;

	note_set("{\"refused\": [{\"observable\": \"~10\", \"data\": \"10.0.0.1\", \"why\": "
		 "\"protected by 10.0.0.0/8\"}], \"held\": []}");
	applied = false; // no data plane is needed for a refusal
	text = look();
	has(text, "refused, and not denied");
	has(text, "- `10.0.0.1` (observable ~10): protected by 10.0.0.0/8");
	assert_string_equal(look(), "");
	applied = true;
	look();
	assert_string_equal(tag("~10"), "refused");
	note_set("{\"why\": \"\\\"enforc\\\" is no response action\", \"refused\": []}");
	text = look();
	has(text, "this case denies nothing new");
	has(text, "enforc");
	assert_string_equal(look(), "");
	note_set(NULL);
	assert_string_equal(look(), "");
	assert_true(json_object_size(wb_member(told, "refused")) == 0);
}

static void test_held(void **state)
{
	(void)state;
	struct submit_item item
		= put_item(SOURCE, "soc/~1/~10", "evil.example", CLAIM_ENFORCE, UNTIL_FOREVER);

	item.claim.state = CLAIM_HELD;
	item.cause = "the URL has a path";
	assert_int_equal(submit_one(&f, item), SUBMIT_HELD);
	cause("live", "~10 evil.example", item.cause);
	has(look(), "- `evil.example`: the URL has a path");
	assert_string_equal(tag("~10"), "held");
	assert_string_equal(look(), "");
}

static void allow(const char *text, int64_t seconds)
{
	const struct indicator n = indicator_of(text);

	f.done = false;
	if (seconds)
		ledger_allow(f.ledger, &n, in_seconds(&f, seconds), &somebody, done_cb, &f);
	else
		ledger_allow_end(f.ledger, &n, &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	assert_int_equal(f.error, 0);
}

static void test_allows(void **state)
{
	(void)state;
	char *text;

	deny("~10", "203.0.113.7");
	look();
	allow("198.51.100.1", 60); // of no concern
	assert_string_equal(look(), "");
	allow("203.0.113.0/24", 60);
	text = look();
	has(text, "allowed by an operator");
	has(text, "`203.0.113.0/24`, until 20");
	has(text, "by uid 0 (root): a test");
	assert_string_equal(look(), "");
	allow("203.0.113.0/24", 0);
	has(look(), "the allow has ended");
	assert_string_equal(look(), "");
}

static void test_switches(void **state)
{
	(void)state;

	conf.enforced = conf.withdrawn = conf.tags = conf.refused = false;
	deny("~10", "203.0.113.7");
	note_set("{\"refused\": [{\"observable\": \"~11\", \"data\": \"x\", \"why\": \"y\"}]}");
	assert_string_equal(look(), "");
	assert_int_equal(json_object_size(seen.tags), 0);
	assert_true(seen.changed); // it is known, and not told when the switch is set again
	conf.enforced = conf.refused = true;
	assert_string_equal(look(), "");
}

static void test_the_mirror_is_waited_for(void **state)
{
	(void)state;

	mirror_pending = true;
	deny("~10", "203.0.113.7");
	has(look(), "F5 XC: pending: 429");
	assert_true(seen.f5_pending);
}

// One with more claims than anybody reads is told as one.
static void test_large(void **state)
{
	(void)state;
	struct submit_item items[WB_LARGE + 1];
	char refs[WB_LARGE + 1][32], text[32], *told_text;
	const struct submit all = {.items = items, .n = WB_LARGE + 1, .actor = somebody};

	f.ledger->conf.case_claims_per_minute = f.ledger->conf.max_entries = 1000000;
	for (int i = 0; i <= WB_LARGE; i++) {
		snprintf(text, sizeof(text), "198.18.%d.%d", i / 250, i % 250);
		snprintf(refs[i], sizeof(refs[i]), "soc/~1/~%d", i + 10);
		items[i] = put_item(SOURCE, refs[i], text, CLAIM_ENFORCE, UNTIL_FOREVER);
	}
	for (int round = 0; round < 2; round++) {
		f.done = false;
		ledger_submit(f.ledger, &all, submitted_cb, &f);
		loop_until(&f, &f.done);
		told_text = look();
		if (round == 0)
			has(told_text, "more than 1000 destinations of this case are denied");
		else
			assert_string_equal(told_text, "");
	}
	assert_string_equal(tag("~10"), "-");
	op(&f, SUBMIT_END, SOURCE, refs[0], "198.18.0.0");
	told_text = look();
	has(told_text, "denied no longer, but for 1000 destinations");
	assert_string_equal(look(), "");
	op(&f, SUBMIT_END, SOURCE, refs[1], "198.18.0.1");
	has(look(), "- `198.18.0.1`: ");
}

static void block(const char *indicator, const char *author, int64_t until)
{
	struct submit_item item
		= put_item("operator", "case/soc/~1/~10", indicator, CLAIM_ENFORCE, until);

	item.claim.author = author;
	assert_int_equal(submit_one(&f, item), SUBMIT_OK);
}

// What people block by hand from the case, beside what the case denies itself.
static void test_by_hand(void **state)
{
	(void)state;
	int64_t until = in_seconds(&f, 24 * 3600);
	char *text;

	put(&f, "operator", "case/soc/~12/~10", "203.0.113.1", CLAIM_ENFORCE, until); // not ours
	put(&f, "operator", "case/other/~1/~10", "203.0.113.2", CLAIM_ENFORCE, until);
	assert_string_equal(look(), "");
	block("203.0.113.7", "alice", until);
	text = look();
	has(text, "**stanch: 1 destination of this case is denied**");
	has(text, "- `203.0.113.7`, blocked by hand by alice, entry `");
	has(text, "F5 XC: stored");
	assert_false(seen.own_denied);
	assert_string_equal(tag("~10"), "enforced");
	assert_string_equal(look(), "");
	// A warning, a quarter of its time before: a second may pass until the claim is made.
	assert_in_range(seen.due, until - 6 * 3600, until - 6 * 3600 + 1);
	block("203.0.113.7", "alice", until + 60); // again, for longer
	has(look(), "blocked by hand by alice");
	block("203.0.113.7", "bob", until + 60);
	has(look(), "blocked by hand by bob");
	deny("~10", "203.0.113.7"); // and by the verdict too
	text = look();
	has(text, "- `203.0.113.7`, entry `");
	assert_true(seen.own_denied);
	op(&f, SUBMIT_END, "operator", "case/soc/~1/~10", "203.0.113.7");
	cause("live", "~10 203.0.113.7", "another's");
	cause("hand", "~10 203.0.113.7", "unblocked");
	text = look();
	has(text, "- `203.0.113.7`, blocked by hand by bob: unblocked. It is still denied");
	lacks(text, "another's");
	assert_null(json_object_get(told, "causes"));
	assert_string_equal(look(), "");
}

static void test_refused_by_hand(void **state)
{
	(void)state;
	char *text;

	json_object_set_new(
		told,
		"refusals",
		json_loads(
			"[{\"user\": \"alice\", \"refused\": [{\"data\": \"10.0.0.1\", "
			"\"observable\": \"~10\", \"why\": \"protected\"}], \"more\": 3}, "
			"{\"user\": \"bob\", \"refused\": [{\"data\": \"\", "
			"\"observable\": \"\", \"why\": \"closed\"}]}]",
			0,
			NULL
		)
	);
	applied = false; // no data plane is needed for a refusal
	text = look();
	has(text, "not blocked by hand");
	has(text, "- `10.0.0.1` (observable ~10), asked for by alice: protected");
	has(text, "- and 3 more");
	has(text, "- the whole case, asked for by bob: closed");
	assert_string_equal(look(), "");
}

static void immune(int64_t seconds)
{
	const struct immunity immunity = {
		.source = SOURCE,
		.ref = "soc/~1/~10",
		.indicator = indicator_of("203.0.113.7"),
		.created = in_seconds(&f, 0),
		.until = in_seconds(&f, seconds),
		.author = "alice",
		.reason = "a false positive",
	};

	if (seconds)
		assert_int_equal(ledger_immunity_put(f.ledger, &immunity, SOURCE), 0);
	else
		assert_int_equal(
			ledger_immunity_end(
				f.ledger,
				SOURCE,
				immunity.ref,
				&immunity.indicator,
				SOURCE,
				"reopened"
			),
			0
		);
	allow("198.51.100.1", 60); // and a commit
}

static void test_immunities(void **state)
{
	(void)state;
	char *text;

	put(&f, "list:feed", "one", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(&f, "list:other", "two", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	immune(3600);
	applied = false;
	assert_string_equal(look(), "");
	assert_true(seen.waits);
	applied = true;
	text = look();
	has(text, "a false positive, immune against lists");
	has(text, "- `203.0.113.7`, until 20");
	has(text, ", by alice: suspends what these lists say: `feed`, `other`");
	lacks(text, "denied all the same");
	assert_string_equal(look(), "");
	immune(7200); // longer
	has(look(), "immune against lists");
	immune(0);
	cause("immune", "~10 203.0.113.7", "the case is open");
	text = look();
	has(text, "immune against lists no longer");
	has(text, "- `203.0.113.7`: the case is open. It is denied, also by these lists: `feed`");
	assert_string_equal(look(), "");
	conf.immunity = false;
	immune(3600);
	assert_string_equal(look(), "");
}

static void pause_until(int64_t until)
{
	f.done = false;
	ledger_pause(f.ledger, until, &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	assert_int_equal(f.error, 0);
}

// Denied on paper: what is protected in it passes, and nothing is denied during a pause.
static void test_what_is_not_quite_denied(void **state)
{
	(void)state;
	const struct indicator inner = indicator_of("203.0.113.9");
	char *text;

	deny("~10", "203.0.113.0/24");
	assert_int_equal(protect_add(f.protect, PROTECT_CONFIGURED, &inner, "ours"), 0);
	pause_until(in_seconds(&f, 600));
	text = look();
	has(text, "but for what is protected (`203.0.113.9`)");
	has(text, "The gateway is paused until 20");
	pause_until(0);
	deny("~11", "198.51.100.7");
	text = look();
	lacks(text, "paused");
	lacks(text, "protected");
}

// What an attacker may have written is no Markdown.
static void test_nothing_foreign_is_markdown(void **state)
{
	(void)state;
	char *text;

	note_set("{\"refused\": [{\"observable\": \"~10\", \"data\": \"`](http://evil)\", \"why\": "
		 "\"[click](http://evil) <b> *x*\\nnew\"}], \"held\": []}");
	text = look();
	has(text, "- `'](http://evil)` (observable ~10): ");
	has(text, "\\[click\\](http://evil) \\<b\\> \\*x\\* new");
}

static void test_many(void **state)
{
	(void)state;
	char text[32], *told_text;

	for (int i = 0; i < 60; i++) {
		snprintf(text, sizeof(text), "198.51.100.%d", i);
		deny(text, text);
	}
	told_text = look();
	has(told_text, "60 destinations");
	has(told_text, "- and 10 more");
}

static void test_attempts(void **state)
{
	(void)state;
	json_t *attempts = json_pack(
		"{s:{s:[I,I,I]}, s:I, s:I, s:I, s:I}",
		"rows",
		"10.1.1.5 → 203.0.113.7 tcp/443",
		(json_int_t)3,
		(json_int_t)1000,
		(json_int_t)61000,
		"more",
		(json_int_t)4,
		"total",
		(json_int_t)7,
		"first",
		(json_int_t)1000,
		"last",
		(json_int_t)61000
	);
	char *text = wb_text_attempts(attempts, "gw1", MARKER);

	has(text,
	    "- `10.1.1.5 → 203.0.113.7 tcp/443`: 3 packets, first 1970-01-01 00:00:01 UTC, last "
	    "1970-01-01 00:01:01 UTC");
	has(text, "- others: 4 packets");
	has(text, "Together 7 packets");
	has(text, "[//]: # " MARKER);
	free(text);
	json_decref(attempts);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_text_for_a_burst),
		T(test_not_before_it_is_applied),
		T(test_withdrawn),
		T(test_monitor_becomes_enforce),
		T(test_warning_before_the_end),
		T(test_refusals),
		T(test_held),
		T(test_allows),
		T(test_switches),
		T(test_the_mirror_is_waited_for),
		T(test_nothing_foreign_is_markdown),
		T(test_many),
		T(test_large),
		T(test_what_is_not_quite_denied),
		T(test_attempts),
		T(test_by_hand),
		T(test_refused_by_hand),
		T(test_immunities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
