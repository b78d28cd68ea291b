// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Some thousand random operations on a fleet of ledgers: claims, holds, orphans, moves, ends by
// hand and by clock, allows, immunities, protections, pauses; on the leader and, as asks, on
// followers; records late, restarts, checkpoints taken while the leader moves, leaders that are
// promoted without the last records. Then all say the same. During it no follower may lack an entry
// that it had, but where somebody withdrew it or it had an end.
// Alone, and the same again: STANCH_SEED=<seed> test_ledger_fleet_model

#include "tests/random.h"
#include "tests/unit/fleet_world.h"

#include <inttypes.h>

#define INDICATORS 40
#define NEVER_ENDED 12 // the first so many: nobody ever ends a claim on them
#define ROUNDS 1000

static const char *const sources[] = {"operator", "thehive:soc", "list:a"};
static const char *const refs[] = {"soc/1/1", "soc/1/2", "soc/2/1"};
static char indicators[INDICATORS][32];

struct model {
	struct world *w;
	uint64_t seed;
	int64_t had[NODES_MAX][INDICATORS]; // until when, grace of orphans included; 0: it lacks it
	int64_t clock[NODES_MAX]; // of the last look: a restart sets it back
	size_t place[NODES_MAX]; // numbers
	unsigned forks[NODES_MAX];
	const char *step; // the last
	const struct node *who; // it was done to that one, or to all (NULL)
};

static unsigned below(struct model *m, unsigned n)
{
	return random_under(&m->seed, n);
}

static void indicators_init(void)
{
	static const char *const some[] = {
		"198.51.100.0/24",
		"tcp/198.51.100.7:443",
		"*.evil.example",
		"2001:db8::/48",
	};

	for (int i = 0; i < INDICATORS; i++)
		if (i < 4)
			snprintf(indicators[i], sizeof(indicators[i]), "%s", some[i]);
		else if (i % 5 == 0)
			snprintf(indicators[i], sizeof(indicators[i]), "x%d.example", i);
		else
			snprintf(indicators[i], sizeof(indicators[i]), "198.51.100.%d", i);
}

// --- what is done to a ledger

static void do_put(struct model *m, struct node *n, bool operators)
{
	int i = (int)below(m, INDICATORS);
	const char *source = operators ? sources[0] : sources[below(m, 3)];
	struct submit_item item = put_item(
		source,
		operators ? "x" : refs[below(m, 3)],
		indicators[i],
		below(m, 4) ? CLAIM_ENFORCE : CLAIM_MONITOR,
		UNTIL_FOREVER
	);
	struct submit submit = {.items = &item, .n = 1, .actor = somebody};

	if (i >= NEVER_ENDED && below(m, 3) == 0)
		item.claim.until = in_seconds(&n->f, 10 + below(m, 2000));
	if (i >= NEVER_ENDED && below(m, 10) == 0) {
		item.claim.state = CLAIM_HELD;
		item.cause = "its source holds it";
	}
	item.claim.author_inferred = below(m, 5) == 0;
	item.claim.tlp = (int)below(m, 6) - 1;
	item.claim.case_number = below(m, 2) ? "17" : "";
	ledger_submit(of(n), &submit, NULL, NULL);
}

static bool any_cb(void *ctx, const struct claim *c)
{
	struct submit_item *item = ctx;
	static char source[64], ref[64];

	snprintf(source, sizeof(source), "%s", c->source);
	snprintf(ref, sizeof(ref), "%s", c->ref);
	item->claim.source = source;
	item->claim.ref = ref;
	item->claim.indicator = c->indicator;
	return false;
}

static void do_end(struct model *m, struct node *n, bool operators)
{
	int i = NEVER_ENDED + (int)below(m, INDICATORS - NEVER_ENDED);
	struct submit_item item = {.cause = "a test"};
	struct indicator x = indicator_of(indicators[i]);
	struct submit submit = {.items = &item, .n = 1, .actor = somebody};

	ledger_claims_on(of(n), &x, any_cb, &item);
	if (!item.claim.source)
		return;
	item.op = operators ? SUBMIT_END : (enum submit_op)(SUBMIT_END + below(m, 3));
	item.to = refs[below(m, 3)];
	if (item.op == SUBMIT_MOVE && strcmp(item.to, item.claim.ref) == 0)
		return;
	ledger_submit(of(n), &submit, NULL, NULL);
}

static void do_immunity(struct model *m, struct node *n)
{
	int i = NEVER_ENDED + (int)below(m, INDICATORS - NEVER_ENDED);
	struct immunity immunity = {
		.source = "thehive:soc",
		.ref = refs[below(m, 3)],
		.indicator = indicator_of(indicators[i]),
		.created = in_seconds(&n->f, 0),
		.until = in_seconds(&n->f, 1 + below(m, 3000)),
		.author = "bob",
		.reason = "ours",
	};

	if (below(m, 3))
		ledger_immunity_put(of(n), &immunity, "thehive:soc");
	else
		ledger_immunity_end(
			of(n), immunity.source, immunity.ref, &immunity.indicator, "x", "y"
		);
}

static void ignore_cb(void *ctx, int error, const char *message)
{
	(void)ctx;
	(void)error;
	(void)message;
}

static void do_above(struct model *m, struct node *n)
{
	struct indicator x = indicator_of(indicators[below(m, INDICATORS)]);
	struct indicator aside = indicator_of(below(m, 2) ? "192.0.2.1" : "192.0.2.2");

	switch (below(m, 5)) {
	case 0:
		ledger_allow(
			of(n), &x, in_seconds(&n->f, 5 + below(m, 900)), &somebody, ignore_cb, n
		);
		break;
	case 1:
		ledger_allow_end(of(n), &x, &somebody, ignore_cb, n);
		break;
	case 2:
		ledger_protect(of(n), &aside, &somebody, ignore_cb, n);
		break;
	case 3:
		ledger_protect_end(of(n), &aside, &somebody, ignore_cb, n);
		break;
	case 4:
		ledger_pause_fleet(
			of(n),
			below(m, 2) ? in_seconds(&n->f, 5 + below(m, 900)) : 0,
			&somebody,
			ignore_cb,
			n
		);
		break;
	}
}

static bool held_any(void *ctx, const struct held *held)
{
	*(int64_t *)ctx = held->id;
	return false;
}

static void do_held(struct model *m, struct node *n)
{
	int64_t id = 0;

	assert_int_equal(ledger_held(of(n), held_any, &id), 0);
	if (id == 0)
		return;
	if (below(m, 2))
		ledger_held_approve(of(n), id, &somebody, ignore_cb, n);
	else
		ledger_held_reject(of(n), id, &somebody, ignore_cb, n);
}

static void do_something(struct model *m, struct node *n, bool operators)
{
	unsigned what = below(m, 20);

	if (what < 10)
		do_put(m, n, operators);
	else if (what < 14)
		do_end(m, n, operators);
	else if (what < 16 && !operators)
		do_immunity(m, n);
	else if (what < 19)
		do_above(m, n);
	else
		do_held(m, n);
	if (below(m, 3))
		settle(n);
}

// --- what happens to a fleet

static struct node *any_follower(struct model *m)
{
	struct node *n;

	do
		n = &m->w->nodes[below(m, (unsigned)m->w->n)];
	while (n == m->w->leader);
	return n;
}

static void some_time(struct model *m)
{
	int64_t seconds = below(m, 40) == 0 ? 8 * 86400 : below(m, 120);

	for (size_t i = 0; i < m->w->n; i++) {
		settle(&m->w->nodes[i]);
		time_pass(&m->w->nodes[i].f, seconds);
	}
}

static void take_checkpoint(struct model *m, struct node *n)
{
	struct world *w = m->w;

	if (!w->leader || n == w->leader)
		return;
	publish(w, SIZE_MAX);
	while (follow(w, n, 1000))
		;
	w->slow = true;
	give_begin(w);
	while (w->export) {
		give_step(w);
		if (below(m, 2))
			do_something(m, w->leader, false);
		if (below(m, 4) == 0)
			publish(w, below(m, 5));
	}
	assert_int_equal(w->export_error, 0);
	publish(w, SIZE_MAX);
	if (take_begin(w, n) < 0)
		return;
	for (size_t i = 0; i < w->n_chunks; i++) {
		take_chunk(w, n, i);
		if (below(m, 5) == 0)
			do_something(m, n, true);
	}
	ledger_commit(of(n));
	drain(n);
	take_end(n);
	assert_int_equal(n->last_error, 0);
	if (below(m, 8) == 0)
		node_reopen(n);
	else
		take_replay(w, n);
}

// A follower takes over; it has the stream up to some point, and so has Redis.
static void promote(struct model *m)
{
	struct world *w = m->w;
	struct node *n = any_follower(m);
	struct fleet_state s;

	if (w->leader && below(m, 2))
		publish(w, below(m, 20));
	settle(n);
	if (below(m, 2)) // what is lost
		while (w->n_stream > 1 && below(m, 3)
		       && w->stream[w->n_stream - 1].record.kind != FLEET_EPOCH)
			free(w->stream[--w->n_stream].data);
	while (follow(w, n, 1000))
		;
	ledger_fleet_state(of(n), &s);
	if (s.resync || of(n)->fleet->import) { // it does not know the list
		published_find(w, w->leader);
		return;
	}
	step_down(w);
	lead(w, n);
	publish(w, SIZE_MAX);
}

static void leader_restart(struct model *m)
{
	struct world *w = m->w;
	struct node *n = w->leader;

	step_down(w);
	node_reopen(n);
	while (follow(w, n, 1000))
		;
	lead(w, n);
}

static void step(struct model *m)
{
	struct world *w = m->w;
	unsigned what = below(m, 100);
	struct node *n = any_follower(m);

	m->who = n;
	if (what < 40) {
		m->step = "leader";
		m->who = w->leader;
		do_something(m, w->leader, false);
	} else if (what < 55) {
		m->step = "publish";
		m->who = w->leader;
		publish(w, 1 + below(m, 10));
	} else if (what < 75) {
		m->step = "follow";
		follow(w, n, 1 + below(m, 20));
	} else if (what < 83) {
		m->step = "operator of a follower";
		do_something(m, n, true);
	} else if (what < 90) {
		m->step = "asks";
		m->who = w->leader;
		ask_all(w, n, 1 + below(m, 10));
	} else if (what < 93) {
		m->step = "restart";
		node_reopen(n);
	} else if (what < 96) {
		m->step = "time";
		m->who = NULL;
		some_time(m);
	} else if (what < 97) {
		m->step = "promotion";
		m->who = NULL;
		promote(m);
	} else if (what < 98) {
		m->step = "restart of the leader";
		m->who = w->leader;
		leader_restart(m);
	} else {
		m->step = "checkpoint";
		m->who = NULL;
		take_checkpoint(m, n);
	}
}

// Did a record that the node applied in this step name the indicator?
static bool named(struct model *m, size_t i, int x, uint64_t place)
{
	char text[64];

	snprintf(text, sizeof(text), "\"ind\":\"%s\"", indicators[x]);
	for (size_t k = 0; k < m->w->n_stream; k++) {
		const struct fleet_record *r = &m->w->stream[k].record;

		// A fork goes back to its base first.
		if ((r->number > m->place[i] || m->forks[i] != m->w->nodes[i].forks)
		    && r->number <= place && memmem(r->data, r->len, text, strlen(text)))
			return true;
	}
	return false;
}

static bool may_lack(struct model *m, size_t i, int x, uint64_t place)
{
	const struct node *n = &m->w->nodes[i];

	if (x < NEVER_ENDED)
		return false;
	if (n == m->w->leader) // its clock ends what is due, whatever the step
		return true;
	if (strcmp(m->step, "restart") == 0 || (m->who && m->who != n))
		return false;
	return strcmp(m->step, "follow") != 0 || named(m, i, x, place);
}

// When the last claim on it ends there, if nobody does anything.
static int64_t in_force_until(struct node *n, const char *text)
{
	struct indicator indicator = indicator_of(text);
	scoped_stmt stmt = NULL;
	struct ledger_key key;

	key_pack(&indicator, &key);
	assert_int_equal(
		sql_prepare(
			of(n),
			"SELECT max(CASE state WHEN 1 THEN min(until, orphaned_since + ?2)"
			" ELSE until END) FROM claims WHERE key=?1 AND state < 2",
			&stmt
		),
		0
	);
	sql_bind_key(stmt, 1, &key);
	sqlite3_bind_int64(stmt, 2, of(n)->conf.orphan_grace);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	return sqlite3_column_int64(stmt, 0);
}

// None lacks what it had, but for what was done to it.
static void check(struct model *m, int round)
{
	for (size_t i = 0; i < m->w->n; i++) {
		struct node *n = &m->w->nodes[i];
		struct fleet_place place;
		int64_t now;

		settle(n);
		ledger_fleet_place(of(n), &place);
		now = in_seconds(&n->f, 0);
		for (int x = 0; x < INDICATORS; x++) {
			struct entry e;
			bool has = entry_is(&n->f, indicators[x], &e);

			if (getenv("TRACE") && has != !!m->had[i][x])
				print_message(
					"%d %s: %s %s %s place %d -> %d\n",
					round,
					m->step,
					n->name,
					has ? "has" : "lacks",
					indicators[x],
					(int)m->place[i],
					(int)place.number
				);
			if (!has && m->had[i][x] > m->clock[i] && m->had[i][x] > now
			    && !may_lack(m, i, x, place.number))
				fail_msg(
					"round %d (%s): %s lacks %s, which nobody withdrew",
					round,
					m->step,
					n->name,
					indicators[x]
				);
			m->had[i][x] = has ? in_force_until(n, indicators[x]) : 0;
		}
		if (getenv("CHECK")) {
			print_message("%d %s %s\n", round, m->step, n->name);
			ledger_check(of(n));
		}
		m->place[i] = place.number;
		m->forks[i] = n->forks;
		m->clock[i] = now;
	}
}

// --- the end

static bool quiet(struct node *n)
{
	struct fleet_state s;

	settle(n);
	if (getenv("CHECK"))
		ledger_check(of(n));
	ledger_fleet_state(of(n), &s);
	return s.equal && !s.asks && !s.local && !s.away && !s.resync;
}

static void finish(struct model *m)
{
	struct world *w = m->w;

	for (int round = 0; round < 20; round++) {
		bool all = true;

		for (size_t i = 0; i < w->n; i++) {
			struct node *n = &w->nodes[i];

			if (getenv("CHECK")) {
				settle(n);
				print_message("finish %d %s\n", round, n->name);
				ledger_check(of(n));
			}
			ask_all(w, n, SIZE_MAX);
			publish(w, SIZE_MAX);
			while (n != w->leader && follow(w, n, 1000))
				;
			if (n != w->leader && round > 2 && !quiet(n)) {
				struct fleet_state s;

				ledger_fleet_state(of(n), &s);
				if (!s.equal || s.resync) {
					w->slow = false;
					give_begin(w);
					give_all(w);
					take_over(w, n);
				}
			}
		}
		// What the leader holds for an operator is settled.
		do_held(m, w->leader);
		settle(w->leader);
		publish(w, SIZE_MAX);
		for (size_t i = 0; i < w->n; i++) {
			while (&w->nodes[i] != w->leader && follow(w, &w->nodes[i], 1000))
				;
			all &= quiet(&w->nodes[i]);
		}
		if (all && round > 3)
			return;
	}
}

static void compare(struct model *m)
{
	struct world *w = m->w;
	for (size_t i = 0; i < w->n; i++) {
		struct node *n = &w->nodes[i];
		struct fleet_state s;

		ledger_fleet_state(of(n), &s);
		if (!quiet(n))
			ledgers_same(of(w->leader), of(n));
		if (!quiet(n) && getenv("CHECK")) {
			print_message("place %d-%d\n", (int)s.place.epoch, (int)s.place.number);
			for (size_t k = 0; k < w->n_stream; k++)
				if (w->stream[k].record.kind == FLEET_EPOCH)
					print_message(
						"epoch %d base %d-%d\n",
						(int)w->stream[k].record.epoch,
						(int)w->stream[k].record.before.epoch,
						(int)w->stream[k].record.before.number
					);
		}
		if (!quiet(n))
			fail_msg(
				"%s: equal %d local %zu away %zu asks %zu: %s",
				n->name,
				s.equal,
				s.local,
				s.away,
				s.asks,
				s.why
			);
		if (!ledgers_same(of(w->leader), of(n)))
			fail_msg("%s differs", n->name);
		ledger_check(of(n));
	}
}

static void test_fleet(void **state)
{
	const char *seed = getenv("STANCH_SEED");
	struct model *m = calloc(1, sizeof(*m));

	(void)state;
	m->seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 2654435761u | 1;
	print_message("STANCH_SEED=%" PRIu64 "\n", m->seed);
	indicators_init();
	m->w = world_create(4);
	for (size_t i = 0; i < m->w->n; i++) {
		struct fixture *f = &m->w->nodes[i].f;

		f->conf.case_claims_per_minute = 100000;
		ledger_limits_set(f->ledger, &f->conf);
	}
	lead(m->w, &m->w->nodes[0]);
	give_begin(m->w);
	give_all(m->w);
	for (size_t i = 1; i < m->w->n; i++)
		assert_true(take_over(m->w, &m->w->nodes[i]));
	for (int round = 0; round < ROUNDS; round++) {
		step(m);
		check(m, round);
	}
	finish(m);
	compare(m);
	world_free(m->w);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_fleet)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
