// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Ledgers of a fleet and the log between them; then some thousand random operations, failures and
// promotions, after which all must say the same, and during which none may enforce less than what
// it had, but for a withdrawal or an end.
// Alone, and the same again: STANCH_SEED=<seed> test_ledger_fleet

#include "tests/unit/fleet_world.h"

#include <inttypes.h>

static int setup(void **state)
{
	*state = world_create(3);
	return 0;
}

static int teardown(void **state)
{
	world_free(*state);
	return 0;
}

static void same_everywhere(struct world *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct fleet_state s;

		settle(&w->nodes[i]);
		ledger_check(of(&w->nodes[i]));
		ledger_fleet_state(of(&w->nodes[i]), &s);
		if (!s.equal || s.local || s.away || s.asks)
			fail_msg(
				"%s: equal %d local %zu away %zu asks %zu: %s",
				w->nodes[i].name,
				s.equal,
				s.local,
				s.away,
				s.asks,
				s.why
			);
	}
	for (size_t i = 1; i < w->n; i++)
		if (!ledgers_same(of(&w->nodes[0]), of(&w->nodes[i])))
			fail_msg("%s differs", w->nodes[i].name);
}

// A first leader, and a checkpoint for the others.
static void begin(struct world *w)
{
	lead(w, &w->nodes[0]);
	give_begin(w);
	give_all(w);
	for (size_t i = 1; i < w->n; i++)
		assert_true(take_over(w, &w->nodes[i]));
}

static void catch_up(struct world *w)
{
	publish(w, SIZE_MAX);
	for (size_t i = 0; i < w->n; i++)
		if (&w->nodes[i] != w->leader)
			while (follow(w, &w->nodes[i], 1000))
				;
}

static struct fleet_state state_of(struct node *n)
{
	struct fleet_state s;

	settle(n);
	ledger_fleet_state(of(n), &s);
	return s;
}

static void test_everything_once(void **state)
{
	struct world *w = *state;
	struct fixture *f = &w->nodes[0].f;
	struct indicator net = indicator_of("198.51.100.0/24"), host = indicator_of("192.0.2.9");
	struct immunity immunity = {
		.source = "thehive:soc",
		.ref = "soc/9/1",
		.indicator = indicator_of("203.0.113.99"),
		.author = "bob",
		.reason = "ours",
	};

	put(f, "operator", "x", "203.0.113.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	begin(w);
	same_everywhere(w);
	put(f, "thehive:soc", "soc/1/1", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "thehive:soc", "soc/1/2", "evil.example", CLAIM_MONITOR, in_seconds(f, 600));
	put(f, "thehive:soc", "soc/1/3", "203.0.113.8", CLAIM_ENFORCE, UNTIL_FOREVER);
	op(f, SUBMIT_ORPHAN, "thehive:soc", "soc/1/1", "203.0.113.7");
	op(f, SUBMIT_END, "thehive:soc", "soc/1/3", "203.0.113.8");
	struct submit_item move = op_item(SUBMIT_MOVE, "thehive:soc", "soc/1/2", "evil.example");
	move.to = "soc/2/2";
	submit_one(f, move);
	struct submit_item held
		= put_item("thehive:soc", "soc/3/1", "203.0.113.50", CLAIM_ENFORCE, UNTIL_FOREVER);
	held.claim.state = CLAIM_HELD;
	held.cause = "its source says so";
	assert_int_equal(submit_one(f, held), SUBMIT_HELD);
	ledger_allow(of(w->leader), &host, in_seconds(f, 600), &somebody, done_cb, f);
	ledger_protect(of(w->leader), &net, &somebody, done_cb, f);
	immunity.created = in_seconds(f, 0);
	immunity.until = in_seconds(f, 86400);
	assert_int_equal(ledger_immunity_put(of(w->leader), &immunity, "thehive:soc"), 0);
	ledger_pause_fleet(of(w->leader), in_seconds(f, 60), &somebody, done_cb, f);
	catch_up(w);
	same_everywhere(w);
	assert_int_equal(
		ledger_pause_until(of(&w->nodes[2])), ledger_pause_until(of(&w->nodes[0]))
	);
	assert_true(audited(&w->nodes[1].f, "claim.orphan", "203.0.113.7", "a test"));
	for (size_t i = 0; i < w->n; i++)
		time_pass(&w->nodes[i].f, 700);
	// The follower leaves the end to the log; its allow and its pause end by themselves.
	assert_int_equal(ledger_pause_until(of(&w->nodes[2])), 0);
	struct entry e;
	assert_true(entry_is(&w->nodes[1].f, "evil.example", &e));
	catch_up(w);
	assert_false(entry_is(&w->nodes[1].f, "evil.example", &e));
	same_everywhere(w);
}

static void test_operators_of_followers(void **state)
{
	struct world *w = *state;
	struct fixture *f = &w->nodes[1].f;
	struct indicator net = indicator_of("198.51.100.0/24");
	struct entry e;

	begin(w);
	put(&w->nodes[0].f, "operator", "x", "203.0.113.1", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(&w->nodes[0].f, "operator", "x", "203.0.113.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	catch_up(w);
	// At once, and local.
	operator_blocks(f, "203.0.113.3");
	op(f, SUBMIT_END, "operator", "x", "203.0.113.1");
	put(f, "operator", "x", "203.0.113.2", CLAIM_MONITOR, in_seconds(f, 600));
	ledger_allow(of(&w->nodes[1]), &net, in_seconds(f, 600), &somebody, done_cb, f);
	assert_true(entry_is(f, "203.0.113.3", &e));
	assert_false(entry_is(f, "203.0.113.1", &e));
	struct fleet_state s = state_of(&w->nodes[1]);
	assert_int_equal(s.local, 2);
	assert_int_equal(s.away, 1);
	assert_int_equal(s.asks, 4);
	assert_true(s.equal);
	assert_false(digest_equal(s.digest, s.fleet_digest));
	// Also when the log moves on meanwhile, and after a restart.
	put(&w->nodes[0].f, "thehive:soc", "soc/1/1", "203.0.113.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	catch_up(w);
	node_reopen(&w->nodes[1]);
	s = state_of(&w->nodes[1]);
	assert_true(s.equal);
	assert_int_equal(s.asks, 4);
	assert_true(entry_is(f, "203.0.113.3", &e));
	// Twice: once is done.
	assert_int_equal(ask_all(w, &w->nodes[1], 100), 4);
	assert_int_equal(ask_all(w, &w->nodes[1], 100), 4);
	assert_true(audited(&w->nodes[0].f, "claim.put", "203.0.113.3", "command and control"));
	catch_up(w);
	same_everywhere(w);
	assert_false(entry_is(&w->nodes[2].f, "203.0.113.1", &e));
	assert_true(entry_is(&w->nodes[2].f, "203.0.113.3", &e));
}

// The leader refuses, holds, or forgets.
static void test_answers(void **state)
{
	struct world *w = *state;
	struct fixture *f = &w->nodes[1].f;
	struct indicator net = indicator_of("203.0.113.0/28");
	struct entry e;

	begin(w);
	// A protection that the follower does not know yet.
	ledger_protect(of(w->leader), &net, &somebody, done_cb, &w->nodes[0].f);
	settle(&w->nodes[0]);
	assert_int_equal(operator_blocks(f, "203.0.113.3"), SUBMIT_OK);
	ask_all(w, &w->nodes[1], 100);
	assert_true(entry_is(f, "203.0.113.3", &e));
	catch_up(w);
	assert_false(entry_is(f, "203.0.113.3", &e));
	assert_true(audited(f, "claim.put", "203.0.113.3", "protected by"));
	// Many new claims of cases: the leader holds what its brake holds; here they stay.
	for (int i = 0; i < 5; i++) {
		char text[32];

		snprintf(text, sizeof(text), "192.0.2.%d", i + 1);
		put(&w->nodes[0].f, "thehive:soc", "soc/1/1", text, CLAIM_ENFORCE, UNTIL_FOREVER);
	}
	put(f, "thehive:soc", "soc/1/1", "192.0.2.77", CLAIM_ENFORCE, UNTIL_FOREVER);
	ask_all(w, &w->nodes[1], 100);
	catch_up(w);
	assert_true(entry_is(f, "192.0.2.77", &e));
	assert_false(entry_is(&w->nodes[2].f, "192.0.2.77", &e));
	struct fleet_state s = state_of(&w->nodes[1]);
	assert_int_equal(s.asks, 0);
	assert_int_equal(s.local, 1);
	assert_true(s.equal);
	// Rejected: it ends here too.
	ledger_held_reject(of(w->leader), 1, &somebody, done_cb, &w->nodes[0].f);
	settle(&w->nodes[0]);
	catch_up(w);
	assert_false(entry_is(f, "192.0.2.77", &e));
	same_everywhere(w);
}

static void test_order(void **state)
{
	struct world *w = *state;
	struct node *n = &w->nodes[1];
	struct fleet_place place;

	begin(w);
	for (int i = 1; i < 4; i++) {
		char text[32];

		snprintf(text, sizeof(text), "192.0.2.%d", i);
		operator_blocks(&w->nodes[0].f, text);
	}
	publish(w, SIZE_MAX);
	ledger_fleet_place(of(n), &place);
	const struct kept *first = successor(w, &place);
	struct fleet_record forged = first->record;
	// The second before the first; one that another chain has; one cut short.
	apply(n, &first[1].record);
	forged.before.mac[3] ^= 1;
	apply(n, &forged);
	forged = first->record;
	forged.len--;
	apply(n, &forged);
	ledger_commit(of(n));
	drain(n);
	assert_int_equal(n->errors, 3);
	// All three at once, the first twice.
	apply(n, &first->record);
	apply(n, &first->record);
	apply(n, &first[1].record);
	apply(n, &first[2].record);
	ledger_commit(of(n));
	drain(n);
	assert_int_equal(n->errors, 3);
	apply(n, &first->record);
	ledger_commit(of(n));
	drain(n);
	assert_int_equal(n->errors, 3);
	// Nothing of it holds where the commit fails.
	operator_blocks(&w->nodes[0].f, "192.0.2.9");
	publish(w, SIZE_MAX);
	ledger_fleet_place(of(n), &place);
	apply(n, &successor(w, &place)->record);
	transaction_fail(of(n), -EIO);
	ledger_commit(of(n));
	drain(n);
	assert_int_equal(n->last_error, -EIO);
	struct fleet_place after;
	ledger_fleet_place(of(n), &after);
	assert_true(place_equal(&place, &after));
	catch_up(w);
	same_everywhere(w);
}

static void test_epochs(void **state)
{
	struct world *w = *state;
	struct node *n = &w->nodes[1];
	char leader[FLEET_NAME_MAX];

	begin(w);
	assert_int_equal(ledger_fleet_epoch_see(of(n), 7, "gw9", applied_cb, (n->waiting++, n)), 0);
	assert_int_equal(
		ledger_fleet_epoch_see(of(n), 6, "gw8", applied_cb, (n->waiting++, n)), -ESTALE
	);
	assert_int_equal(
		ledger_fleet_epoch_see(of(n), 7, "gw8", applied_cb, (n->waiting++, n)), -EEXIST
	);
	ledger_commit(of(n));
	drain(n);
	node_reopen(n);
	assert_int_equal(ledger_fleet_epoch(of(n), leader), 7);
	assert_string_equal(leader, "gw9");
	n->waiting++;
	ledger_fleet_lead(of(n), 7, applied_cb, n);
	ledger_commit(of(n));
	drain(n);
	assert_int_equal(n->last_error, -ESTALE);
	assert_false(ledger_fleet_leads(of(n)));
	step_down(w);
	w->epoch = 7;
	lead(w, n);
	catch_up(w);
	same_everywhere(w);
}

// The new leader never had the last records.
static void test_fork(void **state)
{
	struct world *w = *state;
	struct entry e;

	begin(w);
	operator_blocks(&w->nodes[0].f, "203.0.113.1");
	put(&w->nodes[0].f, "thehive:soc", "soc/1/1", "203.0.113.5", CLAIM_ENFORCE, UNTIL_FOREVER);
	catch_up(w);
	operator_blocks(&w->nodes[0].f, "203.0.113.2");
	op(&w->nodes[0].f, SUBMIT_END, "thehive:soc", "soc/1/1", "203.0.113.5");
	op(&w->nodes[0].f, SUBMIT_END, "operator", "x", "203.0.113.1");
	publish(w, SIZE_MAX);
	while (follow(w, &w->nodes[1], 100))
		;
	step_down(w);
	// Redis lost them too.
	for (int i = 0; i < 3; i++)
		free(w->stream[--w->n_stream].data);
	lead(w, &w->nodes[2]);
	operator_blocks(&w->nodes[2].f, "203.0.113.3");
	catch_up(w);
	for (int i = 0; i < 2; i++) {
		assert_true(entry_is(&w->nodes[i].f, "203.0.113.2", &e));
		assert_true(entry_is(&w->nodes[i].f, "203.0.113.3", &e));
		// The end of a case's claim is not told: it comes back with the checkpoint.
		assert_false(state_of(&w->nodes[i]).equal);
		ask_all(w, &w->nodes[i], 100);
	}
	catch_up(w);
	give_begin(w);
	give_all(w);
	for (int i = 0; i < 2; i++)
		assert_true(take_over(w, &w->nodes[i]));
	catch_up(w);
	assert_true(entry_is(&w->nodes[0].f, "203.0.113.5", &e));
	assert_false(entry_is(&w->nodes[2].f, "203.0.113.1", &e));
	same_everywhere(w);
}

static void test_checkpoint_wrong(void **state)
{
	struct world *w = *state;
	struct node *n = &w->nodes[1];
	struct entry e;

	begin(w);
	operator_blocks(&w->nodes[0].f, "203.0.113.1");
	operator_blocks(&w->nodes[0].f, "203.0.113.2");
	give_begin(w);
	give_all(w);
	catch_up(w);
	// Older than what is here.
	operator_blocks(&w->nodes[0].f, "203.0.113.3");
	catch_up(w);
	assert_int_equal(take_begin(w, n), -ESTALE);
	give_begin(w);
	give_all(w);
	// A chunk is missing: nothing goes.
	struct world short_one = *w;
	short_one.n_chunks = 0;
	assert_true(take_over(&short_one, n));
	assert_true(state_of(n).resync);
	assert_true(entry_is(&n->f, "203.0.113.1", &e));
	// Restarted before it is settled.
	give_begin(w);
	give_all(w);
	assert_int_equal(take_begin(w, n), 0);
	for (size_t i = 0; i < w->n_chunks; i++)
		take_chunk(w, n, i);
	ledger_commit(of(n));
	drain(n);
	take_end(n);
	node_reopen(n);
	assert_true(state_of(n).resync);
	give_begin(w);
	give_all(w);
	assert_true(take_over(w, n));
	assert_false(state_of(n).resync);
	catch_up(w);
	same_everywhere(w);
}

// A ledger that was single has claims that no log knows: they stay, and become the fleet's.
static void test_joining(void **state)
{
	struct world *w = *state;
	struct fixture *f = &w->nodes[1].f;
	struct indicator net = indicator_of("198.51.100.0/24");
	struct entry e;

	operator_blocks(&w->nodes[0].f, "203.0.113.1");
	operator_blocks(&w->nodes[2].f, "203.0.113.1");
	ledger_close(of(&w->nodes[1]));
	protect_free(f->protect);
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &f->protect), 0);
	fixture_open(f);
	put(f, "operator", "x", "203.0.113.2", CLAIM_ENFORCE, UNTIL_FOREVER);
	put(f, "thehive:soc", "soc/1/1", "203.0.113.3", CLAIM_ENFORCE, UNTIL_FOREVER);
	ledger_allow(of(&w->nodes[1]), &net, in_seconds(f, 600), &somebody, done_cb, f);
	settle(&w->nodes[1]);
	node_open(&w->nodes[1]);
	begin(w);
	assert_true(entry_is(f, "203.0.113.2", &e));
	assert_true(entry_is(f, "203.0.113.3", &e));
	struct fleet_state s = state_of(&w->nodes[1]);
	assert_true(s.equal);
	assert_int_equal(s.local, 2);
	assert_int_equal(s.asks, 3);
	ask_all(w, &w->nodes[1], 100);
	ask_all(w, &w->nodes[2], 100);
	catch_up(w);
	// Once only: what a log of ours ends ends.
	assert_true(entry_is(&w->nodes[2].f, "203.0.113.3", &e));
	op(&w->nodes[0].f, SUBMIT_END, "operator", "x", "203.0.113.2");
	give_begin(w);
	give_all(w);
	assert_true(take_over(w, &w->nodes[1]));
	catch_up(w);
	assert_false(entry_is(f, "203.0.113.2", &e));
	same_everywhere(w);
}

static int module_asked(void *ctx, const char *gateway, const json_t *ask, char message[192])
{
	const char **got = ctx;

	got[0] = strdup(gateway);
	got[1] = strdup(json_string_value(json_object_get(ask, "what")));
	snprintf(message, 192, "taken");
	return 0;
}

static void test_asks_of_all_kinds(void **state)
{
	struct world *w = *state;
	struct node *n = &w->nodes[1];
	struct indicator net = indicator_of("192.0.2.0/28"), host = indicator_of("192.0.2.99");
	const char *got[2] = {NULL, NULL};
	json_t *ask = json_pack("{s:s, s:s}", "op", "alert", "what", "a lure");
	struct submit_item held
		= put_item("thehive:soc", "soc/3/1", "203.0.113.50", CLAIM_ENFORCE, UNTIL_FOREVER);
	struct entry e;

	begin(w);
	held.claim.state = CLAIM_HELD;
	held.cause = "its source says so";
	submit_one(&w->nodes[0].f, held);
	catch_up(w);
	ledger_fleet_asked_set(of(w->leader), module_asked, got);
	ledger_protect(of(n), &net, &somebody, done_cb, &n->f);
	ledger_allow(of(n), &host, in_seconds(&n->f, 100), &somebody, done_cb, &n->f);
	ledger_allow_end(of(n), &host, &somebody, done_cb, &n->f);
	ledger_pause_fleet(of(n), in_seconds(&n->f, 60), &somebody, done_cb, &n->f);
	ledger_held_approve(of(n), 1, &somebody, done_cb, &n->f);
	ledger_fleet_ask(of(n), ask, done_cb, &n->f);
	json_decref(ask);
	settle(n);
	// At once here.
	assert_true(entry_is(&n->f, "203.0.113.50", &e));
	assert_true(ledger_pause_until(of(n)) > 0);
	assert_true(ledger_fleet_asks_since(of(n)) > 0);
	assert_int_equal(state_of(n).asks, 6);
	assert_int_equal(ask_all(w, n, 100), 6);
	settle(w->leader);
	catch_up(w);
	assert_int_equal(state_of(n).asks, 0);
	assert_string_equal(got[0], "gw1");
	assert_string_equal(got[1], "a lure");
	assert_true(entry_is(&w->nodes[2].f, "203.0.113.50", &e));
	assert_int_equal(ledger_pause_until(of(&w->nodes[2])), ledger_pause_until(of(n)));
	same_everywhere(w);
	assert_int_equal(operator_blocks(&w->nodes[2].f, "192.0.2.3"), SUBMIT_PROTECTED);
	free((void *)(uintptr_t)got[0]);
	free((void *)(uintptr_t)got[1]);
}

// A leader that takes the next epoch; answers that were lost; records that are trimmed.
static void test_leader_goes_on(void **state)
{
	struct world *w = *state;
	struct node *n = &w->nodes[1];
	struct fleet_place place;
	struct fleet_state s;

	begin(w);
	catch_up(w);
	operator_blocks(&n->f, "203.0.113.3");
	ask_all(w, n, 100);
	// The answer is lost with the leader; it leads again, and is asked again.
	step_down(w);
	lead(w, &w->nodes[2]);
	publish(w, SIZE_MAX);
	while (follow(w, &w->nodes[0], 100))
		;
	ask_all(w, &w->nodes[0], 100);
	publish(w, SIZE_MAX);
	while (follow(w, &w->nodes[0], 100))
		;
	step_down(w);
	lead(w, &w->nodes[0]);
	ask_all(w, n, 100);
	catch_up(w);
	same_everywhere(w);
	// Twice is answered twice.
	assert_int_equal(state_of(n).asks, 0);
	w->leader->waiting++;
	ledger_fleet_lead(of(w->leader), ++w->epoch, applied_cb, w->leader);
	drain(w->leader);
	assert_int_equal(w->leader->last_error, 0);
	assert_true(ledger_fleet_leads(of(w->leader)));
	operator_blocks(&w->nodes[0].f, "203.0.113.4");
	catch_up(w);
	same_everywhere(w);
	ledger_fleet_place(of(n), &place);
	assert_int_equal(place.epoch, w->epoch);
	ledger_fleet_trim(of(w->leader), place.number);
	settle(w->leader);
	ledger_fleet_state(of(w->leader), &s);
	assert_int_equal(s.first, place.number);
	assert_int_equal(s.records, 1);
	assert_int_equal(
		ledger_fleet_records(of(w->leader), place.number - 2, SIZE_MAX, publish_cb, NULL),
		-ESTALE
	);
	node_reopen(w->leader);
	ledger_fleet_state(of(w->leader), &s);
	assert_int_equal(s.records, 1);
	assert_false(s.leads);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_everything_once),
		T(test_operators_of_followers),
		T(test_answers),
		T(test_order),
		T(test_epochs),
		T(test_fork),
		T(test_checkpoint_wrong),
		T(test_joining),
		T(test_asks_of_all_kinds),
		T(test_leader_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
