// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists in a fleet of whole ledgers: readings, hints, operators' claims on members, another leader,
// records that are lost, restarts, checkpoints; at the end all have the same lists and entries.
// Alone, and the same again: STANCH_SEED=<seed> test_lists_world

#include "tests/unit/fleet_world.h"
#include "tests/unit/lists_text.h"

#define TEXTS 1500

static unsigned seed;

static unsigned rnd(unsigned below)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 8) % below;
}

static void limits_set(struct node *n)
{
	n->f.conf.max_entries = 100000;
	n->f.conf.change_log_max = 100000;
	ledger_limits_set(of(n), &n->f.conf);
}

static int setup(void **state)
{
	const char *given = getenv("STANCH_SEED");
	struct world *w = world_create(3);

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("STANCH_SEED=%u\n", seed);
	for (size_t i = 0; i < w->n; i++)
		limits_set(&w->nodes[i]);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_free(*state);
	return 0;
}

// --- what the leader reads

static bool read_is_done;
static struct list_result last;

static void read_done_cb(void *ctx, const struct list_result *result)
{
	(void)ctx;
	last = *result;
	read_is_done = true;
}

static uint32_t list_open(struct node *n, const char *name)
{
	struct list_conf conf = {.max_members = 100000, .no_brakes = true, .reason = "published"};
	uint32_t id;

	snprintf(conf.name, sizeof(conf.name), "%s", name);
	id = lists_configure(of(n)->lists, &conf);
	lists_done_set(of(n)->lists, id, read_done_cb, NULL);
	return id;
}

static void text_of(unsigned i, char text[96])
{
	char n[48];

	if (i % 3 == 0)
		snprintf(n, sizeof(n), "h%u.example", i);
	else
		snprintf(n, sizeof(n), "198.%u.%u.%u", 18 + i % 2, i >> 8, i & 255);
	if (i % 5)
		snprintf(text, 96, "%s", n);
	else
		snprintf(text, 96, "{\"indicator\":\"%s\",\"reason\":\"%u\"}", n, rnd(9));
}

static void list_read(struct node *n, const char *name)
{
	uint32_t list = list_open(n, name);
	unsigned density = rnd(100);

	lists_read_begin(of(n)->lists, list);
	for (unsigned i = 0; i < TEXTS; i++) {
		char text[96];

		text_of(i, text);
		if (rnd(100) < density)
			lists_feed(of(n)->lists, list, text, strlen(text), "", 0, UNTIL_FOREVER);
	}
	read_is_done = false;
	lists_read_end(of(n)->lists, list, true);
	loop_until(&n->f, &read_is_done);
	assert_int_equal(last.error, 0);
}

static void marked(void *ctx)
{
	*(bool *)ctx = true;
}

static void list_point(struct node *n, const char *name)
{
	uint32_t list = list_open(n, name);
	char text[96];
	bool done = false;

	text_of(rnd(TEXTS), text);
	lists_point(of(n)->lists, list, rnd(2), text, strlen(text), "", 0, UNTIL_FOREVER);
	lists_mark(of(n)->lists, list, false, marked, &done);
	loop_until(&n->f, &done);
}

static void claim_some(struct node *n)
{
	unsigned i = 1 + 3 * rnd(TEXTS / 3);
	char text[48];

	snprintf(text, sizeof(text), "198.%u.%u.%u", 18 + i % 2, i >> 8, i & 255);
	if (rnd(3))
		put(&n->f, "operator", "x", text, CLAIM_ENFORCE, UNTIL_FOREVER);
	else
		op(&n->f, SUBMIT_END, "operator", "x", text);
}

static void retire(struct node *n, const char *name)
{
	list_open(n, name);
	n->f.done = false;
	lists_retire(of(n)->lists, name, &somebody, done_cb, &n->f);
	loop_until(&n->f, &n->f.done);
	assert_int_equal(n->f.error, 0);
}

// --- the fleet

static void reopen(struct world *w, struct node *n)
{
	if (w->leader == n) {
		w->leader = NULL;
		w->export = NULL;
	}
	node_reopen(n);
	limits_set(n);
}

static bool resyncs(struct node *n)
{
	struct fleet_state s;

	settle(n);
	ledger_fleet_state(of(n), &s);
	return s.resync || (s.known && !s.equal);
}

// Does it have the newest record?
static bool behind(struct world *w, struct node *n)
{
	struct fleet_place place;

	ledger_fleet_place(of(n), &place);
	return !place_equal(&place, &w->leader->published);
}

// All that was published, and a checkpoint where that does not do.
static void catch_up(struct world *w)
{
	publish(w, SIZE_MAX);
	for (size_t i = 0; i < w->n; i++) {
		struct node *n = &w->nodes[i];

		if (n == w->leader)
			continue;
		while (follow(w, n, 1000))
			;
		ask_all(w, n, 1000);
		publish(w, SIZE_MAX);
		while (follow(w, n, 1000))
			;
		// Also where what leads to the leader's base was never published.
		if (!resyncs(n) && !behind(w, n))
			continue;
		give_begin(w);
		give_all(w);
		assert_true(take_over(w, n));
		assert_false(resyncs(n));
	}
	// A checkpoint leaves what is on its way up.
	for (size_t i = 0; i < w->n; i++)
		ask_all(w, &w->nodes[i], 1000);
	publish(w, SIZE_MAX);
	for (size_t i = 0; i < w->n; i++)
		if (&w->nodes[i] != w->leader)
			while (follow(w, &w->nodes[i], 1000))
				;
}

static void same_check(struct world *w)
{
	char *first = NULL;

	for (size_t i = 0; i < w->n; i++) {
		struct node *n = &w->nodes[i];
		struct fleet_state s;
		char *lists;

		settle(n);
		ledger_check(of(n));
		ledger_fleet_state(of(n), &s);
		if (!s.equal)
			fail_msg("%s is not equal: %s", n->name, s.why);
		assert_true(ledgers_same(of(&w->nodes[0]), of(n)));
		lists = lists_print(of(n)->lists);
		if (!first) {
			first = lists;
			continue;
		}
		assert_string_equal(first, lists);
		free(lists);
	}
	free(first);
}

static void another_leads(struct world *w)
{
	struct node *n = &w->nodes[rnd((unsigned)w->n)];

	if (n == w->leader)
		return;
	// What the one before did not publish is lost; or it did.
	if (rnd(2))
		publish(w, SIZE_MAX);
	step_down(w);
	while (follow(w, n, 1000))
		;
	if (resyncs(n))
		return; // it is not fit to lead
	lead(w, n);
}

static struct node *leader_get(struct world *w)
{
	for (size_t i = 0; !w->leader && i < w->n; i++) {
		struct node *n = &w->nodes[i];

		while (follow(w, n, 1000))
			;
		if (!resyncs(n))
			lead(w, n);
	}
	assert_non_null(w->leader);
	return w->leader;
}

static void step(struct world *w)
{
	static const char *const names[] = {"a", "b", "c"};
	struct node *any = &w->nodes[rnd((unsigned)w->n)];
	const char *name = names[rnd(3)];
	unsigned what = rnd(100);

	if (what < 30)
		list_read(leader_get(w), name);
	else if (what < 45)
		list_point(leader_get(w), name);
	else if (what < 48)
		retire(leader_get(w), name);
	else if (what < 65)
		claim_some(any);
	else if (what < 72)
		reopen(w, any);
	else if (what < 80)
		another_leads(w);
	else if (what < 90)
		publish(w, 1 + rnd(5));
	else if (any != w->leader)
		follow(w, any, 1 + rnd(5));
}

static void test_world(void **state)
{
	struct world *w = *state;

	lead(w, &w->nodes[0]);
	list_read(w->leader, "a");
	give_begin(w);
	give_all(w);
	for (size_t i = 1; i < w->n; i++)
		assert_true(take_over(w, &w->nodes[i]));
	same_check(w);
	for (unsigned i = 0; i < 120; i++) {
		step(w);
		if (i % 40 != 39)
			continue;
		leader_get(w);
		catch_up(w);
		same_check(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_world, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
