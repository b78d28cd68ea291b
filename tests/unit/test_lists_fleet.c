// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists of two ledgers: what the leader's become, the follower applies.

#include "control/sources/redis_list.h"
#include "tests/unit/fleet_lists.h"

// --- the format

static void test_payload(void **state)
{
	struct payload_writer *w = malloc(sizeof(*w));
	struct payload_head head = {.name = "bad", .synced = 77};
	struct payload_reader r;
	char reason[PAYLOAD_REASON_MAX], reference[PAYLOAD_REFERENCE_MAX];
	struct indicator n = indicator_of("203.0.0.0");
	struct list_member m = {.actions = LIST_ENFORCE, .until = UNTIL_FOREVER};
	const uint8_t *octets;
	uint8_t *copy;
	unsigned i, read;
	size_t len;

	(void)state;
	memset(reason, 'r', sizeof(reason));
	memset(reference, 'f', sizeof(reference));
	payload_clear(w, &head, UINT32_MAX);
	for (i = 0;; i++) {
		struct payload_attr attr = {
			.actions = LIST_ENFORCE,
			.reason = reason,
			.reason_len = sizeof(reason),
			.reference = reference,
			.reference_len = sizeof(reference),
		};

		n.addr[2] = (uint8_t)(i >> 8);
		n.addr[3] = (uint8_t)i;
		key_pack(&n, &m.key);
		m.attr = i * 4096; // all in one slot
		m.until = i % 3 ? UNTIL_FOREVER : 1000 + i;
		if (!payload_add(w, &m, i % 5 != 0, &attr))
			break;
	}
	assert_true(i > 150 && i < 250);
	octets = payload_end(w, &len);
	assert_true(len <= PAYLOAD_MAX);
	assert_int_equal(payload_begin(&r, octets, len), 0);
	assert_int_equal(r.head.synced, 77);
	for (read = 0; payload_next(&r) == 1; read++) {
		assert_int_equal(r.member.key.octets[5], (uint8_t)read);
		assert_int_equal(r.put, read % 5 != 0);
		if (!r.put)
			continue;
		assert_true(r.member.until == (read % 3 ? UNTIL_FOREVER : 1000 + read));
		assert_int_equal(r.attrs[r.member.attr].reason_len, PAYLOAD_REASON_MAX);
	}
	assert_int_equal(read, i);
	payload_fini(&r);
	// Cut anywhere, it is refused or ends early; nothing behind the cut is read.
	for (size_t cut = 0; cut < len; cut += cut < 100 ? 1 : 997) {
		copy = malloc(cut + 1);
		memcpy(copy, octets, cut);
		if (payload_begin(&r, copy, cut) == 0) {
			for (i = 0; payload_next(&r) == 1; i++)
				;
			assert_true(i < read);
			payload_fini(&r);
		}
		free(copy);
	}
	free(w);
}

// --- following

static void test_follows(void **state)
{
	struct world *w = *state;
	struct gateway *g = &w->leader;
	uint32_t a = list_open(g, "a", true), b = list_open(g, "b", true);
	struct entry e;

	READ(g,
	     a,
	     "203.0.113.7",
	     "*.evil.example",
	     "10.1.2.3", // protected: without effect, there as here
	     "{\"indicator\":\"203.0.113.9\",\"action\":\"monitor\",\"reason\":\"scanner\","
	     "\"reference\":\"TI-4711\"}",
	     "tcp/203.0.113.9:443",
	     "2001:db8::/48");
	READ(g, b, "203.0.113.7", "203.0.113.9", "b.example");
	follow(&w->follower);
	equal_check(w);
	assert_true(entry_is(&w->follower.f, "203.0.113.9", &e));
	assert_true(e.enforce_until == UNTIL_FOREVER && e.monitor_until == UNTIL_FOREVER);
	// What both have goes from one, then from the other.
	READ(g, b, "b.example");
	point(g, a, false, "203.0.113.7");
	point(g, a, true, "203.0.113.77");
	follow(&w->follower);
	equal_check(w);
	assert_false(entry_is(&w->follower.f, "203.0.113.7", &e));
	gateway_reopen(&w->follower, true);
	equal_check(w);
	retire(g, "a");
	assert_int_equal(g->f.error, 0);
	follow(&w->follower);
	equal_check(w);
	gateway_reopen(&w->follower, true);
	assert_false(lists_find(lists_of(&w->follower), "a", &(struct list_status){0}));
}

static void test_again(void **state)
{
	struct world *w = *state;
	struct list_state before, after;
	uint32_t a = list_open(&w->leader, "a", true);

	hosts_read(&w->leader, a, 0, 5000);
	hosts_read(&w->leader, a, 500, 5500);
	follow(&w->follower);
	equal_check(w);
	ledger_state(w->follower.f.ledger, &before);
	// The last ones say what is so already.
	assert_int_equal(apply_range(&w->follower, n_history - 1, n_history), 0);
	assert_int_equal(w->follower.place, n_history + 1); // their place is stored all the same
	ledger_state(w->follower.f.ledger, &after);
	assert_true(list_state_equal(&before, &after));
	// All again, from the start: the end is the same.
	assert_int_equal(apply_range(&w->follower, 0, n_history), 0);
	equal_check(w);
	gateway_reopen(&w->follower, true);
	equal_check(w);
}

static void test_refused(void **state)
{
	struct world *w = *state;
	struct gateway *f = &w->follower;
	uint32_t a = list_open(&w->leader, "a", true);
	uint8_t bad[9] = {PAYLOAD_FORMAT, 0, 1, 'a', 0, 0, 0, 9, 9};

	READ(&w->leader, a, "203.0.113.7");
	assert_int_equal(n_history, 2); // the second says that it was read
	apply_octets(f, bad, sizeof(bad));
	apply_octets(f, history[0].octets, history[0].len);
	assert_int_equal(idle_wait(f), -EBADMSG);
	// What waited behind it was not applied: its place would hide the gap.
	assert_int_equal(f->place, 0);
	bad[0] = PAYLOAD_FORMAT + 1;
	apply_octets(f, bad, sizeof(bad));
	assert_int_equal(idle_wait(f), -EBADMSG);
	f->f.conf.max_entries = 0;
	ledger_limits_set(f->f.ledger, &f->f.conf);
	apply_octets(f, history[0].octets, history[0].len);
	assert_int_equal(idle_wait(f), -ENOBUFS);
	assert_int_equal(f->place, 0);
	f->f.conf.max_entries = 10;
	ledger_limits_set(f->f.ledger, &f->f.conf);
	follow(f);
	equal_check(w);
}

// As `stanch lists` shows it.
static const char *first_state(struct gateway *g)
{
	static char state[32];
	json_t *lists = redis_lists_json(NULL, g->f.ledger);

	snprintf(
		state,
		sizeof(state),
		"%s",
		json_string_value(json_object_get(json_array_get(lists, 0), "state"))
	);
	json_decref(lists);
	return state;
}

// A follower does nothing by itself; as a leader it does.
static void test_modes(void **state)
{
	struct world *w = *state;
	struct gateway *f = &w->follower;
	uint32_t a = list_open(&w->leader, "a", true), own;
	struct entry e;

	lists_read_begin(lists_of(&w->leader), a);
	feed(&w->leader, a, "203.0.113.7");
	feed_until(&w->leader, a, "203.0.113.8", time(NULL) + 2);
	read_end(&w->leader, a);
	follow(f);
	own = list_open(f, "a", true);
	READ(f, own, "203.0.113.99");
	assert_int_equal(f->last.error, -ECANCELED);
	lists_point(lists_of(f), own, true, "203.0.113.98", 12, "", 0, UNTIL_FOREVER);
	retire(f, "a");
	assert_int_equal(f->f.error, 0);
	assert_non_null(strstr(f->f.message, "the leader is asked"));
	assert_string_equal(first_state(f), "fleet");
	// The end comes at the leader; the follower waits for the record.
	changes_wait(&w->leader, lists_of(&w->leader)->changes + 1);
	for (int64_t end = clock_boot_ms(f->f.ledger) + 1500; clock_boot_ms(f->f.ledger) < end;)
		event_base_loop(f->f.base, EVLOOP_ONCE); // its own look at ends, each second
	assert_true(entry_is(&f->f, "203.0.113.8", &e));
	assert_false(entry_is(&f->f, "203.0.113.98", &e));
	assert_false(entry_is(&f->f, "203.0.113.99", &e));
	// The leader is gone, and what it said last: this one ends it.
	lists_fleet_follow(lists_of(f), false);
	changes_wait(f, lists_of(f)->changes + 1);
	assert_false(entry_is(&f->f, "203.0.113.8", &e));
	assert_string_equal(first_state(f), "source gone"); // nobody reads it here
	READ(f, own, "203.0.113.7", "203.0.113.99");
	assert_int_equal(f->last.added, 1);
	apply_octets(f, history[0].octets, history[0].len);
	assert_int_equal(idle_wait(f), -ECANCELED);
	state_check(f);
}

// The brakes of a new leader measure by what the old one had.
static void test_brakes_follow(void **state)
{
	struct world *w = *state;
	struct gateway *f = &w->follower;
	uint32_t a = list_open(&w->leader, "a", true), own;

	hosts_read(&w->leader, a, 0, 1000);
	hosts_read(&w->leader, a, 0, 810);
	follow(f);
	equal_check(w);
	lists_fleet_follow(lists_of(f), false);
	own = list_open(f, "a", true);
	hosts_read(f, own, 0, 700);
	assert_int_equal(f->last.held_removals, 110);
	hosts_read(f, own, 0, 2000);
	assert_int_equal(f->last.held_adds, 1190);
	hosts_read(f, own, 0, 820);
	assert_int_equal(f->last.added, 10);
}

// --- crashes

static void file_copy(const char *from, const char *to)
{
	char octets[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, octets, sizeof(octets))) > 0)
		assert_int_equal(write(out, octets, (size_t)n), n);
	close(in);
	close(out);
}

static void copy_put(struct gateway *g, bool back)
{
	char path[128], copy[128];

	ledger_close(g->f.ledger);
	snprintf(path, sizeof(path), "%s/lists.db", g->f.dir);
	snprintf(copy, sizeof(copy), "%s/lists.db.copy", g->f.dir);
	file_copy(back ? copy : path, back ? path : copy);
	protect_free(g->f.protect);
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &g->f.protect), 0);
	fixture_open(&g->f);
	gateway_join(g, true);
}

// The follower's lists.db as it was before its ledger's last commits.
static void test_crash(void **state)
{
	struct world *w = *state;
	uint32_t a = list_open(&w->leader, "a", true), b;

	hosts_read(&w->leader, a, 0, 3000);
	follow(&w->follower);
	copy_put(&w->follower, false);
	hosts_read(&w->leader, a, 200, 3300);
	b = list_open(&w->leader, "b", true);
	hosts_read(&w->leader, b, 100, 5000);
	follow(&w->follower);
	equal_check(w);
	copy_put(&w->follower, true);
	assert_int_equal(w->follower.place, n_history);
	equal_check(w);
	hosts_read(&w->leader, b, 200, 5100);
	follow(&w->follower);
	equal_check(w);
}

// --- random

static unsigned rnd(unsigned *seed, unsigned below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % below;
}

static void model_read(struct gateway *g, uint32_t list, unsigned *seed)
{
	unsigned density = rnd(seed, 100), attrs = 1 + rnd(seed, 3) * 100;

	lists_read_begin(lists_of(g), list);
	for (unsigned i = 0; i < 6000; i++) {
		char text[256];

		if (rnd(seed, 100) >= density)
			continue;
		model_text(i, rnd(seed, attrs), text);
		feed(g, list, text);
	}
	read_end(g, list);
	assert_int_equal(g->last.error, 0);
}

static void test_random(void **state)
{
	struct world *w = *state;
	struct gateway *g = &w->leader;
	unsigned seed = (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	for (unsigned round = 0; round < 24; round++) {
		static const char *const names[] = {"a", "b", "c"};
		const char *name = names[rnd(&seed, 3)];
		uint32_t list = list_open(g, name, false);
		char text[256];

		if (rnd(&seed, 10) == 0) {
			retire(g, name);
		} else if (rnd(&seed, 3) == 0) {
			model_text(rnd(&seed, 6000), 500 + round, text);
			point(g, list, true, text);
			point(g, list, false, text);
		} else {
			model_read(g, list, &seed);
		}
		if (rnd(&seed, 3) == 0)
			follow(&w->follower);
		if (rnd(&seed, 4) == 0)
			gateway_reopen(&w->follower, true);
		if (rnd(&seed, 8) == 0)
			gateway_reopen(g, false);
		if (rnd(&seed, 3) == 0) {
			follow(&w->follower);
			equal_check(w);
		}
	}
	follow(&w->follower);
	equal_check(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_payload),
		cmocka_unit_test_setup_teardown(test_follows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_brakes_follow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
