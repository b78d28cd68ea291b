// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Which of the ledger's entries stand in the set at F5: networks without what is allowed in them,
// and who gets a place where there are not enough.

#include "control/conf.h"
#include "control/followers/f5xc_seat.h"
#include "tests/unit/ledger_fixture.h"

#include <sqlite3.h>

#define ROWS_MAX 1024

static struct fixture f;
static char *mirror[] = {(char[]){"cases"}, (char[]){"operators"}, (char[]){"list:feed"}};
static struct conf_f5xc conf
	= {.mirror = mirror, .n_mirror = 3, .max_tlp = 2, .set_size = 10, .max_sets = 1};
static struct f5xc_wanted wanted;
static struct f5xc_row rows[ROWS_MAX];
static size_t n_rows;

static int setup(void **ctx)
{
	(void)ctx;
	fixture_init(&f, PROTECT_EXCEPT);
	return 0;
}

static int teardown(void **ctx)
{
	(void)ctx;
	f5xc_wanted_fini(&wanted);
	fixture_fini(&f);
	wanted = (struct f5xc_wanted){0};
	conf.max_sets = 1;
	conf.policy_before = NULL;
	return 0;
}

static void block(const char *indicator, const char *source, int64_t created)
{
	struct submit_item item
		= put_item(source, indicator, indicator, CLAIM_ENFORCE, UNTIL_FOREVER);

	item.claim.created = created;
	assert_int_equal(submit_one(&f, item), SUBMIT_OK);
}

static void allow(const char *text)
{
	const struct indicator n = indicator_of(text);

	f.done = false;
	ledger_allow(f.ledger, &n, in_seconds(&f, 3600), &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	assert_int_equal(f.error, 0);
}

static int collect(void)
{
	int rc = f5xc_wanted_exceptions(&wanted, f.ledger, NULL, 0);

	f5xc_wanted_walk(&wanted);
	while (rc == 0 && (rc = f5xc_wanted_walk_step(&wanted, f.ledger, 3)) > 0)
		rc = 0;
	return rc;
}

// What F5 holds in set `at`: "A B …"; NULL: no set.
static void hold(int at, const char *held)
{
	struct f5xc_row there[64];
	char text[512] = "", *cursor = text, *word;
	size_t n = 0;

	snprintf(text, sizeof(text), "%s", held ? held : "");
	while ((word = strsep(&cursor, " ")))
		if (*word) {
			const struct indicator i = indicator_of(word);

			there[n++] = (struct f5xc_row){f5xc_prefix_of(&i), ""};
		}
	qsort(there, n, sizeof(*there), f5xc_prefix_compare);
	wanted.slots[0][at].made = held;
	f5xc_seat_found(&wanted, 4, at, there, n);
}

static void rows_of(int at)
{
	n_rows = f5xc_seat_rows(&wanted, 4, at, SIZE_MAX, rows);
}

// From the start: nobody has a seat yet.
static void place(const char *held, size_t set_size)
{
	f5xc_wanted_fini(&wanted);
	conf.set_size = (uint32_t)set_size;
	f5xc_wanted_init(&wanted, &conf);
	assert_int_equal(collect(), 0);
	hold(0, held);
	f5xc_seat_assign(&wanted, 0);
	rows_of(0);
}

// The rows without the one that stays, as "A B …".
static const char *placed(void)
{
	static char text[4096];
	char one[INDICATOR_TEXT_MAX];
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n_rows; i++) {
		struct indicator n = f5xc_prefix_indicator(&rows[i].prefix, 4);

		indicator_print(&n, one);
		if (strcmp(one, "192.0.2.1") != 0)
			len += (size_t
			)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "", one);
	}
	return text;
}

// What became of it: the seat, or that it waits.
static bool held(const struct f5xc_item *i)
{
	for (size_t k = 0; k < i->n_pieces; k++)
		if (!i->pieces[k]->held)
			return false;
	return i->n_pieces > 0;
}

static const struct f5xc_item *item(const char *text)
{
	const struct indicator n = indicator_of(text);
	const struct f5xc_item *found = f5xc_item_find(&wanted, &n);

	assert_non_null(found);
	return found;
}

static void what_is_stored_keeps_its_place(void **ctx)
{
	(void)ctx;
	// Older, and earlier in every order, than what F5 holds.
	for (int i = 1; i <= 5; i++) {
		char text[32];

		snprintf(text, sizeof(text), "203.0.113.%d", i);
		block(text, "operator", 100);
	}
	block("203.0.113.8", "operator", 200);
	block("203.0.113.9", "operator", 200);
	place("192.0.2.1 203.0.113.8 203.0.113.9", 2);
	assert_string_equal(placed(), "203.0.113.8 203.0.113.9");
	assert_int_equal(wanted.n_full, 5);
	assert_true(held(item("203.0.113.8")));
	assert_true(item("203.0.113.1")->full);
}

static void a_free_place_goes_to_the_oldest_and_cases_before_lists(void **ctx)
{
	(void)ctx;
	block("203.0.113.1", "list:feed", 100);
	block("203.0.113.2", "operator", 300);
	block("203.0.113.3", "thehive:soc", 200);
	block("203.0.113.8", "operator", 400);
	place("192.0.2.1 203.0.113.8 203.0.113.9", 2); // .9 has ended
	assert_string_equal(placed(), "203.0.113.3 203.0.113.8");
	assert_false(held(item("203.0.113.3")));
	place(NULL, 3);
	assert_string_equal(placed(), "203.0.113.2 203.0.113.3 203.0.113.8");
	place(NULL, 4);
	assert_int_equal(n_rows, 5);
	assert_int_equal(wanted.n_full, 0);
}

static void the_limit_is_exact(void **ctx)
{
	(void)ctx;
	block("192.0.2.1", "operator", 1); // stays anyway: takes no place
	block("203.0.113.1", "operator", 1);
	block("203.0.113.2", "operator", 2);
	place(NULL, 2);
	assert_int_equal(n_rows, 3);
	assert_int_equal(wanted.n_full, 0);
	block("203.0.113.3", "operator", 3);
	place(NULL, 2);
	assert_int_equal(n_rows, 3);
	assert_int_equal(wanted.n_full, 1);
}

static void a_network_without_what_is_allowed(void **ctx)
{
	(void)ctx;
	block("203.0.113.0/29", "operator", 1);
	allow("203.0.113.2");
	place("192.0.2.1", 10);
	assert_string_equal(placed(), "203.0.113.0/31 203.0.113.3 203.0.113.4/30");
	assert_string_equal(item("203.0.113.0/29")->cut, "203.0.113.2");
	assert_false(held(item("203.0.113.0/29")));
	place("192.0.2.1 203.0.113.0/31 203.0.113.3 203.0.113.4/30", 10);
	assert_true(held(item("203.0.113.0/29")));
	place("192.0.2.1 203.0.113.0/31 203.0.113.4/30", 10);
	assert_false(held(item("203.0.113.0/29")));
	place("192.0.2.1", 2); // no half of it
	assert_string_equal(placed(), "");
	assert_true(item("203.0.113.0/29")->full);
	allow("tcp/203.0.113.4:443"); // a set has no ports
	place("192.0.2.1", 10);
	assert_string_equal(placed(), "203.0.113.0/31 203.0.113.3 203.0.113.5 203.0.113.6/31");
	assert_string_equal(item("203.0.113.0/29")->cut, "203.0.113.2 and 1 more");
}

// An allow that comes or goes changes the prefixes of a stored network, not its turn.
static void a_stored_network_that_is_cut_goes_before_new_ones(void **ctx)
{
	(void)ctx;
	block("203.0.113.0/29", "operator", 200);
	place("192.0.2.1 203.0.113.0/29", 3);
	block("198.51.100.1", "operator", 100);
	block("198.51.100.2", "operator", 100);
	allow("203.0.113.2");
	assert_int_equal(collect(), 0);
	f5xc_seat_assign(&wanted, 0);
	rows_of(0);
	assert_string_equal(placed(), "203.0.113.0/31 203.0.113.3 203.0.113.4/30");
}

static void what_is_allowed_as_a_whole_is_not_mirrored(void **ctx)
{
	(void)ctx;
	block("203.0.113.7", "operator", 1);
	block("203.0.113.0/30", "operator", 1);
	block("198.51.100.0/25", "operator", 1);
	allow("203.0.113.0/24");
	allow("198.51.100.0/26");
	allow("198.51.100.64/26");
	place("192.0.2.1 203.0.113.7", 10);
	assert_string_equal(placed(), "");
	assert_int_equal(item("203.0.113.7")->n_pieces, 0);
	assert_int_equal(item("203.0.113.0/30")->n_pieces, 0);
	assert_int_equal(item("198.51.100.0/25")->n_pieces, 0);
	assert_string_equal(item("203.0.113.7")->cut, "203.0.113.0/24");
}

static void too_many_pieces_are_refused(void **ctx)
{
	(void)ctx;
	block("203.0.0.0/16", "operator", 1);
	for (int i = 0; i < 20; i++) {
		char text[32];

		snprintf(text, sizeof(text), "203.0.%d.1", i * 8);
		allow(text);
	}
	place("192.0.2.1 203.0.0.0/16", 1000);
	assert_string_equal(placed(), "");
	assert_true(item("203.0.0.0/16")->cut_refused);
	assert_string_equal(item("203.0.0.0/16")->cut, "203.0.0.1 and 19 more");
}

// Any one allowed address in the widest network, and the number of pieces to the last.
static void pieces_are_bounded(void **ctx)
{
	const struct indicator wide = indicator_of("8000::/1"), one = indicator_of("8000::7");
	const struct f5xc_prefix from = f5xc_prefix_of(&wide), hole = f5xc_prefix_of(&one);
	struct f5xc_prefix pieces[F5XC_PIECES_MAX], first;
	size_t n, n_holes;

	(void)ctx;
	assert_int_equal(
		f5xc_cut(&from, &hole, 1, pieces, F5XC_PIECES_MAX, &n, &n_holes, &first), 0
	);
	assert_int_equal(n, 127);
	assert_int_equal(f5xc_cut(&from, &hole, 1, pieces, 127, &n, &n_holes, &first), 0);
	assert_int_equal(f5xc_cut(&from, &hole, 1, pieces, 126, &n, &n_holes, &first), -E2BIG);
	for (size_t i = 0; i < 127; i++)
		assert_false(f5xc_prefix_covers(&pieces[i], &hole));
}

// Against the dumb way, address by address.
static void pieces_are_exactly_the_rest(void **ctx)
{
	unsigned seed = 4711;

	(void)ctx;
	for (int round = 0; round < 300; round++) {
		struct f5xc_prefix holes[12], pieces[F5XC_PIECES_MAX], first;
		struct f5xc_prefix from = {.addr = {203, 0, 113, 64}, .len = 26};
		size_t n_holes = (size_t)rand_r(&seed) % 12, n, in;

		for (size_t i = 0; i < n_holes; i++) {
			uint8_t len = (uint8_t)(28 + rand_r(&seed) % 5);

			holes[i] = (struct f5xc_prefix){.addr = {203, 0, 113}, .len = len};
			holes[i].addr[3]
				= (uint8_t)((unsigned)rand_r(&seed) & (0xffu << (32 - len)));
		}
		bool allowed[64] = {false};

		for (size_t i = 0; i < n_holes; i++)
			for (unsigned a = 0; a < 64; a++) {
				struct f5xc_prefix at = {.addr = {203, 0, 113}, .len = 32};

				at.addr[3] = (uint8_t)(64 + a);
				allowed[a] |= f5xc_prefix_covers(&holes[i], &at);
			}
		n_holes = f5xc_holes_tidy(holes, n_holes);
		assert_int_equal(
			f5xc_cut(&from, holes, n_holes, pieces, F5XC_PIECES_MAX, &n, &in, &first), 0
		);
		for (unsigned a = 0; a < 64; a++) {
			struct f5xc_prefix at = {.addr = {203, 0, 113}, .len = 32};
			int covered = 0;

			at.addr[3] = (uint8_t)(64 + a);
			for (size_t i = 0; i < n; i++)
				covered += f5xc_prefix_covers(&pieces[i], &at);
			assert_int_equal(covered, !allowed[a]);
		}
	}
}

static void exceptions_that_cannot_be_read_are_no_permission(void **ctx)
{
	sqlite3 *other;
	char path[128];

	(void)ctx;
	block("203.0.113.7", "operator", 1);
	allow("203.0.113.7");
	block("203.0.113.8", "operator", 1);
	place("192.0.2.1", 10);
	assert_string_equal(placed(), "203.0.113.8");
	snprintf(path, sizeof(path), "%s/ledger.db", f.dir);
	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(other, "ALTER TABLE allows RENAME TO gone", NULL, NULL, NULL),
		SQLITE_OK
	);
	assert_true(collect() < 0);
	rows_of(0);
	assert_string_equal(placed(), "203.0.113.8"); // as it was
	assert_int_equal(
		sqlite3_exec(other, "ALTER TABLE gone RENAME TO allows", NULL, NULL, NULL),
		SQLITE_OK
	);
	sqlite3_close(other);
	place("192.0.2.1", 10);
	assert_string_equal(placed(), "203.0.113.8");
}

// --- several sets

static void sets_are_filled_in_order_and_seats_stay(void **ctx)
{
	(void)ctx;
	conf.max_sets = 3;
	for (int i = 1; i <= 5; i++) {
		char text[32];

		snprintf(text, sizeof(text), "203.0.113.%d", i);
		block(text, "operator", i);
	}
	place(NULL, 2);
	assert_string_equal(placed(), "203.0.113.1 203.0.113.2");
	rows_of(1);
	assert_string_equal(placed(), "203.0.113.3 203.0.113.4");
	rows_of(2);
	assert_string_equal(placed(), "203.0.113.5");
	block("203.0.113.6", "operator", 6);
	block("203.0.113.7", "operator", 7);
	assert_int_equal(collect(), 0);
	f5xc_seat_assign(&wanted, 0);
	assert_int_equal(wanted.n_full, 1);
	// What ends leaves room where it sat, and nothing else moves.
	assert_int_equal(op(&f, SUBMIT_END, "operator", "203.0.113.3", "203.0.113.3"), SUBMIT_OK);
	assert_int_equal(collect(), 0);
	f5xc_seat_assign(&wanted, 0);
	rows_of(1);
	assert_string_equal(placed(), "203.0.113.4 203.0.113.7");
	rows_of(2);
	assert_string_equal(placed(), "203.0.113.5 203.0.113.6");
}

static void what_is_new_goes_where_a_write_waits(void **ctx)
{
	(void)ctx;
	conf.max_sets = 3;
	for (int i = 1; i <= 4; i++) {
		char text[32];

		snprintf(text, sizeof(text), "203.0.113.%d", i);
		block(text, "operator", i);
	}
	f5xc_wanted_init(&wanted, &conf);
	conf.set_size = 3;
	assert_int_equal(collect(), 0);
	hold(0, "192.0.2.1 203.0.113.1 203.0.113.2");
	hold(1, "192.0.2.1 203.0.113.3 203.0.113.4");
	f5xc_seat_assign(&wanted, 0);
	assert_int_equal(op(&f, SUBMIT_END, "operator", "203.0.113.3", "203.0.113.3"), SUBMIT_OK);
	assert_int_equal(collect(), 0);
	block("203.0.113.9", "operator", 9);
	assert_int_equal(collect(), 0);
	f5xc_seat_assign(&wanted, 0);
	rows_of(1);
	assert_string_equal(placed(), "203.0.113.4 203.0.113.9");
}

static void what_two_sets_hold_stays_in_one(void **ctx)
{
	(void)ctx;
	conf.max_sets = 3;
	block("203.0.113.1", "operator", 1);
	place("192.0.2.1 203.0.113.1", 10);
	hold(1, "192.0.2.1 203.0.113.1");
	rows_of(1);
	assert_string_equal(placed(), "");
	rows_of(0);
	assert_string_equal(placed(), "203.0.113.1");
}

static void a_set_not_read_yet_takes_nothing(void **ctx)
{
	(void)ctx;
	block("203.0.113.1", "operator", 1);
	f5xc_wanted_init(&wanted, &conf);
	wanted.slots[0][0].unread = true;
	assert_int_equal(collect(), 0);
	f5xc_seat_assign(&wanted, 0);
	rows_of(0);
	assert_string_equal(placed(), "");
	wanted.slots[0][0].unread = false;
	f5xc_seat_assign(&wanted, 2); // claimed before: it may sit in a set not read
	rows_of(0);
	assert_string_equal(placed(), "");
	f5xc_seat_assign(&wanted, 1);
	rows_of(0);
	assert_string_equal(placed(), "203.0.113.1");
}

static void a_refused_one_loses_its_seat_until_it_is_tried_again(void **ctx)
{
	struct f5xc_place *first = NULL;

	(void)ctx;
	block("203.0.113.1", "operator", 1);
	block("203.0.113.2", "operator", 2);
	place("192.0.2.1 203.0.113.1", 10);
	assert_int_equal(f5xc_seat_new(&wanted, 4, 0, &first), 1);
	assert_int_equal(f5xc_seat_refuse(&wanted, first, "no", 60), 0);
	f5xc_seat_assign(&wanted, 0);
	rows_of(0);
	assert_string_equal(placed(), "203.0.113.1");
	first->refused_until_ms = 0;
	f5xc_seat_retry(&wanted);
	f5xc_seat_assign(&wanted, 0);
	rows_of(0);
	assert_string_equal(placed(), "203.0.113.1 203.0.113.2");
}

// One indicator of the change log, and a walk through everything, come to the same.
static void a_refresh_equals_a_walk(void **ctx)
{
	const struct indicator n = indicator_of("203.0.113.1");

	(void)ctx;
	place(NULL, 10);
	block("203.0.113.1", "operator", 5);
	assert_int_equal(f5xc_wanted_refresh(&wanted, f.ledger, &n), 0);
	f5xc_seat_assign(&wanted, 0);
	rows_of(0);
	assert_string_equal(placed(), "203.0.113.1");
	assert_int_equal(op(&f, SUBMIT_END, "operator", "203.0.113.1", "203.0.113.1"), SUBMIT_OK);
	assert_int_equal(f5xc_wanted_refresh(&wanted, f.ledger, &n), 0);
	assert_null(f5xc_item_find(&wanted, &n));
	rows_of(0);
	assert_string_equal(placed(), "");
}

// F5's own addresses are never mirrored, whatever the ledger says.
static void own_addresses_are_left_out(void **ctx)
{
	const struct f5xc_where own
		= {.family = 4, .prefix = {.addr = {203, 0, 113, 1}, .len = 32}};

	(void)ctx;
	block("203.0.113.0/31", "operator", 5);
	f5xc_wanted_init(&wanted, &conf);
	assert_int_equal(f5xc_wanted_exceptions(&wanted, f.ledger, &own, 1), 0);
	f5xc_wanted_walk(&wanted);
	while (f5xc_wanted_walk_step(&wanted, f.ledger, 10) > 0)
		;
	f5xc_seat_assign(&wanted, 0);
	rows_of(0);
	assert_string_equal(placed(), "203.0.113.0");
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_stored_keeps_its_place),
		TEST(a_free_place_goes_to_the_oldest_and_cases_before_lists),
		TEST(the_limit_is_exact),
		TEST(a_network_without_what_is_allowed),
		TEST(a_stored_network_that_is_cut_goes_before_new_ones),
		TEST(what_is_allowed_as_a_whole_is_not_mirrored),
		TEST(too_many_pieces_are_refused),
		TEST(exceptions_that_cannot_be_read_are_no_permission),
		TEST(sets_are_filled_in_order_and_seats_stay),
		TEST(what_is_new_goes_where_a_write_waits),
		TEST(what_two_sets_hold_stays_in_one),
		TEST(a_set_not_read_yet_takes_nothing),
		TEST(a_refused_one_loses_its_seat_until_it_is_tried_again),
		TEST(a_refresh_equals_a_walk),
		TEST(own_addresses_are_left_out),
		cmocka_unit_test(pieces_are_bounded),
		cmocka_unit_test(pieces_are_exactly_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
