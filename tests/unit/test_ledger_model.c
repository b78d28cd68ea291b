// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Some thousand random operations on the ledger and on a plain table of claims. After each commit
// both must hold the same entries; the change log, replayed, must give them too.
// Alone, and the same again: STANCH_SEED=<seed> test_ledger_model

#include "tests/random.h"
#include "tests/unit/ledger_fixture.h"

#include <errno.h>
#include <inttypes.h>

#define SOURCES 3
#define REFS 4
#define INDICATORS 24
#define ROUNDS 3000

static const char *const sources[SOURCES] = {"operator", "thehive:soc", "list:a"};
static const char *const refs[REFS] = {"soc/1/1", "soc/1/2", "soc/2/1", "soc/2/2"};
static char indicators[INDICATORS][32];

struct model_claim {
	bool there, orphaned;
	enum claim_action action;
	int64_t until, grace;
};

struct model_entry {
	bool there;
	int64_t enforce, monitor;
};

struct model {
	struct fixture *f;
	uint64_t seed;
	struct model_claim claims[SOURCES][REFS][INDICATORS];
	struct model_entry replayed[INDICATORS]; // from the change log
	struct revision cursor;
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
		"evil.example",
		"2001:db8::/48",
		"udp/[2001:db8::1]:53",
	};

	for (int i = 0; i < INDICATORS; i++)
		if (i < 6)
			snprintf(indicators[i], sizeof(indicators[i]), "%s", some[i]);
		else
			snprintf(indicators[i], sizeof(indicators[i]), "198.51.100.%d", i);
}

static struct model_entry model_entry_of(const struct model *m, int indicator)
{
	struct model_entry e = {0};

	for (int s = 0; s < SOURCES; s++)
		for (int r = 0; r < REFS; r++) {
			const struct model_claim *c = &m->claims[s][r][indicator];
			int64_t *end = c->action == CLAIM_ENFORCE ? &e.enforce : &e.monitor;

			if (!c->there)
				continue;
			e.there = true;
			if (*end < c->until)
				*end = c->until;
		}
	return e;
}

static int indicator_index(const struct indicator *n)
{
	char text[INDICATOR_TEXT_MAX];

	indicator_print(n, text);
	for (int i = 0; i < INDICATORS; i++)
		if (strcmp(indicators[i], text) == 0)
			return i;
	fail_msg("%s was never submitted", text);
	return -1;
}

static bool replay_cb(void *ctx, const struct ledger_change *c)
{
	struct model *m = ctx;
	struct model_entry *e = &m->replayed[indicator_index(&c->change.entry.indicator)];

	e->there = c->change.op == CHANGE_PUT;
	e->enforce = e->there ? c->change.entry.enforce_until : 0;
	e->monitor = e->there ? c->change.entry.monitor_until : 0;
	m->cursor = c->revision;
	return true;
}

static void compare(struct model *m)
{
	struct ledger *l = m->f->ledger;
	struct list_state state;
	uint64_t count = 0;

	assert_int_equal(ledger_changes(l, m->cursor, 10000, replay_cb, m), 0);
	ledger_state(l, &state);
	assert_int_equal(revision_compare(state.revision, m->cursor), 0);
	for (int i = 0; i < INDICATORS; i++) {
		struct model_entry wanted = model_entry_of(m, i);
		struct entry e = {0};

		assert_int_equal(entry_is(m->f, indicators[i], &e), wanted.there);
		assert_int_equal(e.enforce_until, wanted.enforce);
		assert_int_equal(e.monitor_until, wanted.monitor);
		assert_int_equal(m->replayed[i].there, wanted.there);
		assert_int_equal(m->replayed[i].enforce, wanted.enforce);
		assert_int_equal(m->replayed[i].monitor, wanted.monitor);
		count += wanted.there;
	}
	assert_int_equal(state.count, count);
}

static void model_put(struct model *m, struct model_claim *c, struct submit_item *item)
{
	int64_t now = clock_wall(m->f->ledger);

	item->op = SUBMIT_PUT;
	item->claim.action = below(m, 2) ? CLAIM_ENFORCE : CLAIM_MONITOR;
	item->claim.until = below(m, 3) ? now + 5 + below(m, 600) : UNTIL_FOREVER;
	*c = (struct model_claim
	){.there = true, .action = item->claim.action, .until = item->claim.until};
}

static void model_step(struct model *m, struct submit_item *item)
{
	int s = (int)below(m, SOURCES), r = (int)below(m, REFS), i = (int)below(m, INDICATORS);
	struct model_claim *c = &m->claims[s][r][i];
	unsigned what = below(m, 10);

	*item = put_item(sources[s], refs[r], indicators[i], CLAIM_ENFORCE, UNTIL_FOREVER);
	if (what < 5) {
		model_put(m, c, item);
	} else if (what < 8) {
		item->op = SUBMIT_END;
		c->there = false;
	} else {
		item->op = SUBMIT_ORPHAN;
		if (c->there && !c->orphaned) {
			c->orphaned = true;
			c->grace = clock_wall(m->f->ledger) + m->f->conf.orphan_grace;
		}
	}
}

static void model_expire(struct model *m)
{
	int64_t now = clock_wall(m->f->ledger);

	for (int s = 0; s < SOURCES; s++)
		for (int r = 0; r < REFS; r++)
			for (int i = 0; i < INDICATORS; i++) {
				struct model_claim *c = &m->claims[s][r][i];

				if (c->until <= now || (c->orphaned && c->grace <= now))
					c->there = false;
			}
}

// Time stands still but for time_pass: where a second ended in the middle of a round, what the
// ledger and the model had seen of it would be a matter of luck.
static void clock_hold(struct fixture *f, int64_t wall_ms)
{
	int64_t back = clock_wall_ms(f->ledger) - wall_ms;

	f->ledger->wall_shift_ms -= back;
	f->ledger->boot_shift_ms -= back;
}

static void test_random(void **state)
{
	const char *given = getenv("STANCH_SEED");
	static struct model m;
	struct fixture f;

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	f.ledger->conf.case_claims_per_minute = UINT32_MAX;
	f.ledger->conf.orphan_grace = f.conf.orphan_grace = 300;
	f.conf.case_claims_per_minute = UINT32_MAX;
	indicators_init();
	m = (struct model){.f = &f, .cursor = {1, 1}};
	m.seed = given ? strtoull(given, NULL, 0)
		       : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	int64_t wall_ms = clock_wall(f.ledger) * 1000;

	print_message("STANCH_SEED=%" PRIu64 "\n", m.seed);
	for (int round = 0; round < ROUNDS; round++) {
		struct submit_item items[6];
		struct submit submit = {.items = items, .n = 1 + below(&m, 6), .actor = somebody};

		clock_hold(&f, wall_ms);
		for (size_t i = 0; i < submit.n; i++)
			model_step(&m, &items[i]);
		ledger_submit(f.ledger, &submit, NULL, NULL);
		if (below(&m, 3))
			ledger_commit(f.ledger);
		if (below(&m, 10) == 0) {
			ledger_commit(f.ledger);
			int64_t passed = 1 + below(&m, 60);

			time_pass(&f, passed);
			wall_ms += passed * 1000;
			model_expire(&m);
		}
		if (f.ledger->open)
			continue;
		deadline_run(f.ledger);
		ledger_commit(f.ledger);
		model_expire(&m);
		compare(&m);
		if (round % 500 == 0)
			ledger_check(f.ledger);
	}
	ledger_commit(f.ledger);
	ledger_check(f.ledger);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
