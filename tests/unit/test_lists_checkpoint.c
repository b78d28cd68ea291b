// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Checkpoints of lists: written while they move, taken over, swept; and what they cost.

#include "tests/unit/fleet_lists.h"

struct chunks {
	struct payload at[512];
	size_t n;
};

static void chunks_free(struct chunks *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->at[i].octets);
	c->n = 0;
}

// One more chunk. False: that was all.
static bool chunk_write(struct lists_export *x, struct chunks *c)
{
	const void *octets;
	size_t len;
	int r = lists_fleet_export_next(x, &octets, &len);

	assert_true(r >= 0 && c->n < 512);
	if (r == 0)
		return false;
	assert_true(len <= PAYLOAD_MAX);
	c->at[c->n].len = len;
	c->at[c->n].octets = malloc(len);
	memcpy(c->at[c->n++].octets, octets, len);
	return true;
}

static int import_chunks(struct gateway *g, const struct chunks *c)
{
	for (size_t i = 0; i < c->n; i++) {
		g->waiting++;
		lists_fleet_import(lists_of(g), c->at[i].octets, c->at[i].len, applied_done, g);
	}
	return idle_wait(g);
}

static int swept(struct gateway *g)
{
	g->waiting++;
	lists_fleet_sweep(lists_of(g), applied_done, g);
	return idle_wait(g);
}

// Hosts that are in the leader's list throughout, and were in the follower's.
static void stays_check(struct gateway *g, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i += 97) {
		struct entry e;
		char text[32];

		host_text(i, text);
		assert_true(entry_is(&g->f, text, &e));
	}
}

static void test_checkpoint(void **state)
{
	struct world *w = *state;
	struct gateway *g = &w->leader, *f = &w->follower;
	uint32_t a = list_open(g, "a", false), b = list_open(g, "b", false);
	static struct chunks c;
	struct lists_export *x;
	size_t from, to;
	unsigned turn = 0;

	// The follower knows an older list, and one that the fleet has no more.
	hosts_read(g, a, 0, 40000);
	hosts_read(g, list_open(g, "old", false), 500000, 501000);
	follow(f);
	hosts_read(g, a, 10000, 60000);
	retire(g, "old");
	hosts_read(g, b, 30000, 31000);
	from = n_history;
	assert_int_equal(lists_fleet_export_open(lists_of(g), &x), 0);
	while (chunk_write(x, &c)) {
		char text[256];

		// Behind the walk and before it.
		model_text(turn, 0, text);
		point(g, a, true, text);
		host_text(59999 - turn, text);
		point(g, a, false, text);
		host_text(10000 + turn++, text);
		point(g, b, true, text);
	}
	lists_fleet_export_close(x);
	hosts_read(g, list_open(g, "new", false), 40000, 40010);
	to = n_history;
	print_message("%zu chunks, %zu changes meanwhile\n", c.n, to - from);
	stays_check(f, 10000, 40000);

	lists_fleet_import_begin(lists_of(f));
	assert_int_equal(import_chunks(f, &c), 0);
	stays_check(f, 10000, 59000);
	stays_check(f, 0, 40000); // nothing goes before the sweep
	f->place = from;
	assert_int_equal(apply_range(f, from, to), 0);
	stays_check(f, 10000, 59000);
	stays_check(f, 0, 40000);
	assert_int_equal(swept(f), 0);
	equal_check(w);
	gateway_reopen(f, true);
	equal_check(w);
	// On goes the log.
	hosts_read(g, b, 0, 2000);
	follow(f);
	equal_check(w);
	assert_int_equal(swept(f), -EILSEQ); // there is no import
	chunks_free(&c);
}

// A checkpoint of which all of one list is missing, and one without any chunk.
static void test_checkpoint_list(void **state)
{
	struct world *w = *state;
	struct gateway *g = &w->leader, *f = &w->follower;
	static struct chunks c;
	struct lists_export *x;

	assert_int_equal(lists_fleet_export_open(lists_of(g), &x), 0);
	while (chunk_write(x, &c))
		;
	lists_fleet_export_close(x);
	assert_int_equal(c.n, 1); // that there is no list
	READ(g, list_open(g, "a", false), "203.0.113.1");
	READ(g, list_open(g, "b", false), "203.0.113.2");
	follow(f);
	lists_fleet_import_begin(lists_of(f));
	assert_int_equal(swept(f), -EILSEQ);
	equal_check(w);
	// An end that is not this checkpoint's.
	assert_int_equal(lists_fleet_export_open(lists_of(g), &x), 0);
	assert_true(chunk_write(x, &c));
	lists_fleet_export_close(x);
	lists_fleet_import_begin(lists_of(f));
	for (int i = 1; i >= 0; i--) {
		f->waiting++;
		lists_fleet_import(lists_of(f), c.at[i].octets, c.at[i].len, applied_done, f);
	}
	assert_int_equal(idle_wait(f), -EILSEQ);
	assert_int_equal(swept(f), -EILSEQ);
	equal_check(w);
	// There is none indeed.
	lists_fleet_import_begin(lists_of(f));
	c.n = 1;
	assert_int_equal(import_chunks(f, &c), 0);
	assert_int_equal(swept(f), 0);
	assert_false(entry_is(&f->f, "203.0.113.1", &(struct entry){0}));
	chunks_free(&c);
}

static void test_checkpoint_cut(void **state)
{
	struct world *w = *state;
	struct gateway *g = &w->leader, *f = &w->follower;
	uint32_t a = list_open(g, "a", false);
	static struct chunks c;
	struct lists_export *x;
	struct payload last;

	hosts_read(g, a, 0, 30000);
	follow(f);
	hosts_read(g, a, 20000, 40000);
	assert_int_equal(lists_fleet_export_open(lists_of(g), &x), 0);
	while (chunk_write(x, &c))
		;
	lists_fleet_export_close(x);
	assert_true(c.n > 2);
	last = c.at[--c.n];
	lists_fleet_import_begin(lists_of(f));
	assert_int_equal(import_chunks(f, &c), 0);
	assert_int_equal(swept(f), -EILSEQ);
	stays_check(f, 0, 30000);
	// One of them missing in the middle; a whole list missing would be the same.
	lists_fleet_import_begin(lists_of(f));
	f->waiting++;
	lists_fleet_import(lists_of(f), last.octets, last.len, applied_done, f);
	assert_int_equal(idle_wait(f), -EILSEQ);
	lists_fleet_import_abort(lists_of(f));
	stays_check(f, 0, 30000);
	// A whole one, into a ledger that knows nothing.
	c.at[c.n++] = last;
	lists_fleet_import_begin(lists_of(f));
	assert_int_equal(import_chunks(f, &c), 0);
	assert_int_equal(swept(f), 0);
	equal_check(w);
	chunks_free(&c);
}

// --- size; printed, never judged

static double seconds_since(const struct timespec *began)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

static void test_size(void **state)
{
	const char *wanted = getenv("STANCH_MEMBERS");
	unsigned n = wanted ? (unsigned)strtoul(wanted, NULL, 10) : 100000;
	struct world *w = *state;
	static struct chunks c;
	struct lists_export *x;
	struct timespec began;
	size_t octets = 0;
	double worst = 0;
	struct list_state s, t;

	clock_gettime(CLOCK_MONOTONIC, &began);
	hosts_read(&w->leader, list_open(&w->leader, "a", false), 0, n);
	print_message(
		"%u members read in %.2f s: %zu records, %.2f octets a member\n",
		n,
		seconds_since(&began),
		n_history,
		(double)history_octets / n
	);
	clock_gettime(CLOCK_MONOTONIC, &began);
	follow(&w->follower);
	print_message("applied in %.2f s\n", seconds_since(&began));
	ledger_state(w->leader.f.ledger, &s);
	ledger_state(w->follower.f.ledger, &t);
	assert_true(digest_equal(s.digest, t.digest));
	assert_int_equal(lists_fleet_export_open(lists_of(&w->leader), &x), 0);
	for (bool more = true; more;) {
		double took;

		clock_gettime(CLOCK_MONOTONIC, &began);
		more = chunk_write(x, &c);
		took = seconds_since(&began);
		worst = took > worst ? took : worst;
	}
	lists_fleet_export_close(x);
	for (size_t i = 0; i < c.n; i++)
		octets += c.at[i].len;
	print_message(
		"%zu chunks, %.2f octets a member, the slowest took %.2f ms\n",
		c.n,
		(double)octets / n,
		worst * 1000
	);
	clock_gettime(CLOCK_MONOTONIC, &began);
	lists_fleet_import_begin(lists_of(&w->follower));
	assert_int_equal(import_chunks(&w->follower, &c), 0);
	assert_int_equal(swept(&w->follower), 0);
	print_message("imported where it was so already in %.2f s\n", seconds_since(&began));
	chunks_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_checkpoint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_checkpoint_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_checkpoint_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
