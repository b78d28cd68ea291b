// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Three gateways in one loop, on ledgers in memory and a real redis-server, which somebody else
// writes to as he likes: one leads, all hold the same, and nothing that was confirmed is lost.

#include "control/fleet/fleet_internal.h"
#include "tests/unit/fleet_ledger.h"
#include "tests/unit/redis_server.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 3
#define DEADLINE_MS 30000
#define KEY "0123456789abcdef0123456789abcdef"

struct gateway {
	struct control control;
	struct conf conf;
	struct conf_fleet fleet_conf;
	char name[8];
	struct fleet *fleet;
	unsigned roles, hints, denials;
	size_t denied;
	bool leads;
};

struct world {
	char key_file[96], other_file[96];
	struct redis_here redis;
	struct event_base *base;
	struct gateway g[N];
};

static void role_cb(void *ctx, bool leads)
{
	struct gateway *g = ctx;

	g->roles++;
	g->leads = leads;
}

static void hint_cb(void *ctx, const char *json)
{
	struct gateway *g = ctx;

	g->hints += strcmp(json, "{\"case\":1}") == 0;
}

static void denials_cb(void *ctx, const char *gateway, const void *octets, size_t len)
{
	struct gateway *g = ctx;

	(void)octets;
	g->denials += gateway[0] == 'g';
	g->denied += len;
}

// --- redis-server

// What somebody does to Redis; an error of it fails the test.
static long long cli(struct world *w, const char *format, ...)
{
	redisReply *r;
	va_list args;
	long long number;

	va_start(args, format);
	r = redisvCommand(w->redis.cli, format, args);
	va_end(args);
	assert_non_null(r);
	if (r->type == REDIS_REPLY_ERROR)
		fail_msg("%s: %s", format, r->str);
	number = r->integer;
	freeReplyObject(r);
	return number;
}

// --- gateways

static void gateway_start(struct world *w, int i, int role)
{
	struct gateway *g = &w->g[i];
	const struct fleet_events events = {role_cb, hint_cb, denials_cb, g};
	struct ledger *ledger = g->control.ledger;

	if (!ledger)
		ledger = fake_new(w->base);
	snprintf(g->name, sizeof(g->name), "g%d", i);
	g->fleet_conf.id = strdup("f");
	g->fleet_conf.gateway = g->name;
	g->fleet_conf.role = role;
	g->fleet_conf.redis = (struct conf_redis_server
	){.address = w->redis.socket, .timeout_ms = 3000, .connect_timeout_ms = 2000};
	if (!g->fleet_conf.key_file)
		g->fleet_conf.key_file = w->key_file;
	g->fleet_conf.lease_ms = 2000;
	g->conf.fleet = &g->fleet_conf;
	g->control.base = w->base;
	g->control.conf = &g->conf;
	g->control.ledger = ledger;
	g->leads = false;
	assert_int_equal(fleet_create(&g->control, &events, &g->fleet), 0);
}

// As a kill -9: the lock stays.
static void gateway_kill(struct world *w, int i)
{
	struct gateway *g = &w->g[i];

	if (!g->fleet)
		return;
	g->fleet->duty = DUTY_FOLLOWS;
	g->control.ledger->leads = false;
	fleet_free(g->fleet);
	g->fleet = NULL;
	free(g->fleet_conf.id);
	g->leads = false;
}

static void file_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int world_init(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	redis_init(&w->redis);
	snprintf(w->key_file, sizeof(w->key_file), "%s/key", w->redis.dir);
	snprintf(w->other_file, sizeof(w->other_file), "%s/other", w->redis.dir);
	file_write(w->key_file, KEY "\n");
	file_write(w->other_file, "another key of at least so many octets\n");
	chmod(w->key_file, 0600);
	chmod(w->other_file, 0600);
	w->base = event_base_new();
	redis_start(&w->redis);
	*state = w;
	return 0;
}

static int world_fini(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < N; i++)
		gateway_kill(w, i);
	// What the ledgers still have to say.
	while (fake_pending() > 0)
		event_base_loop(w->base, EVLOOP_ONCE);
	for (int i = 0; i < N; i++)
		if (w->g[i].control.ledger)
			fake_free(w->g[i].control.ledger);
	redis_fini(&w->redis);
	event_base_free(w->base);
	free(w);
	return 0;
}

// Statement expressions cannot fail a test from inside a callback: conditions are macros.
#define UNTIL(w, condition)                                                                        \
	do {                                                                                       \
		int64_t until_ = fleet_now_ms() + DEADLINE_MS;                                     \
		while (!(condition)) {                                                             \
			event_base_loop((w)->base, EVLOOP_ONCE);                                   \
			if (fleet_now_ms() > until_)                                               \
				states_print(w);                                                   \
			assert_true(fleet_now_ms() <= until_ && #condition);                       \
		}                                                                                  \
	} while (0)

static void states_print(const struct world *w)
{
	for (int i = 0; i < N; i++)
		if (w->g[i].fleet) {
			json_t *json = fleet_status(w->g[i].fleet);
			char *text = json_dumps(json, 0);

			print_error("%s\n", text);
			free(text);
			json_decref(json);
		}
}

static void run_ms(struct world *w, int64_t ms)
{
	int64_t until = fleet_now_ms() + ms;

	while (fleet_now_ms() < until)
		event_base_loop(w->base, EVLOOP_ONCE);
}

static void ignored(void *ctx, int error, const char *message)
{
	(void)ctx;
	(void)error;
	(void)message;
}

static int leader_of(const struct world *w)
{
	int leader = -1;

	for (int i = 0; i < N; i++)
		if (w->g[i].fleet && fleet_leads(w->g[i].fleet)) {
			if (leader >= 0)
				return -2;
			leader = i;
		}
	return leader;
}

static struct ledger *ledger_of(const struct world *w, int i)
{
	return w->g[i].control.ledger;
}

static bool all_same(const struct world *w)
{
	int leader = leader_of(w);

	if (leader < 0)
		return false;
	for (int i = 0; i < N; i++) {
		const struct ledger *l = ledger_of(w, i);
		const struct ledger *lead = ledger_of(w, leader);

		if (!w->g[i].fleet)
			continue;
		if (!fake_same(l, lead) || l->place.number != lead->place.number || l->n_asks
		    || w->g[leader].fleet->publish.published != lead->place.number)
			return false;
	}
	return true;
}

// What a record or a checkpoint put in force and none took back is in force.
static void nothing_lost(const struct world *w)
{
	for (int i = 0; i < N; i++)
		for (int e = 0; ledger_of(w, i) && e < FAKE_ENTRIES; e++)
			if (ledger_of(w, i)->confirmed[e] && !ledger_of(w, i)->on[e])
				fail_msg("g%d lost entry %d", i, e);
}

static bool alarmed(const struct world *w, int i, enum fleet_alarm alarm)
{
	return w->g[i].fleet->alarms[alarm].count > 0;
}

static void all_start(struct world *w)
{
	for (int i = 0; i < N; i++)
		gateway_start(w, i, CONF_FLEET_AUTO);
	UNTIL(w, leader_of(w) >= 0);
}

// --- tests

static void test_three(void **state)
{
	struct world *w = *state;
	int leader, follower;

	all_start(w);
	leader = leader_of(w);
	follower = (leader + 1) % N;
	fake_set(ledger_of(w, leader), 1, true);
	UNTIL(w, all_same(w) && ledger_of(w, follower)->on[1]);
	// By an operator on a follower: here at once, everywhere later, done once.
	fake_set(ledger_of(w, follower), 2, true);
	assert_true(ledger_of(w, follower)->on[2]);
	UNTIL(w, ledger_of(w, leader)->on[2] && all_same(w));
	assert_false(ledger_of(w, follower)->local[2]);
	fake_set(ledger_of(w, follower), 1, false);
	UNTIL(w, !ledger_of(w, leader)->on[1] && all_same(w));
	assert_true(w->g[leader].roles == 1 && w->g[leader].leads && !w->g[follower].leads);
	assert_int_equal(ledger_of(w, leader)->done_twice, 0);
	assert_true(fleet_lease_ms(w->g[leader].fleet) > 0);
	assert_int_equal(fleet_lease_ms(w->g[follower].fleet), 0);
	// Hints and denials.
	fleet_hint(w->g[follower].fleet, "{\"case\":1}");
	assert_int_equal(fleet_denials(w->g[follower].fleet, "abc", 3), 0);
	UNTIL(w, w->g[leader].hints == 1 && w->g[leader].denied == 3);
	for (int i = 0; i < FLEET_ALARMS; i++)
		for (int g = 0; g < N; g++)
			if (alarmed(w, g, i))
				fail_msg("alarm %s at g%d", fleet_alarm_name(i), g);
}

static void test_killed(void **state)
{
	struct world *w = *state;
	int leader, next;
	uint64_t epoch;

	all_start(w);
	leader = leader_of(w);
	for (int i = 0; i < 40; i++)
		fake_set(ledger_of(w, leader), i, true);
	UNTIL(w, all_same(w));
	epoch = ledger_of(w, leader)->place.epoch;
	// Committed there, and nobody has it.
	w->g[leader].fleet->publish.state = PUBLISH_LOOKING;
	fake_set(ledger_of(w, leader), 50, true);
	gateway_kill(w, leader);
	UNTIL(w, leader_of(w) >= 0);
	next = leader_of(w);
	assert_true(ledger_of(w, next)->place.epoch > epoch);
	fake_set(ledger_of(w, next), 41, true);
	UNTIL(w, all_same(w));
	// It comes back: what it alone had stays in force there, goes up, and is everywhere.
	gateway_start(w, leader, CONF_FLEET_AUTO);
	UNTIL(w, ledger_of(w, next)->on[50] && all_same(w));
	assert_int_equal(leader_of(w), next);
	assert_int_equal(ledger_of(w, leader)->forks, 1);
	nothing_lost(w);
}

static void test_given_back(void **state)
{
	struct world *w = *state;
	int leader;
	int64_t began;

	all_start(w);
	leader = leader_of(w);
	fake_set(ledger_of(w, leader), 1, true);
	UNTIL(w, all_same(w));
	fleet_free(w->g[leader].fleet);
	w->g[leader].fleet = NULL;
	free(w->g[leader].fleet_conf.id);
	began = fleet_now_ms();
	UNTIL(w, leader_of(w) >= 0);
	print_message("given back: another leads after %ld ms\n", (long)(fleet_now_ms() - began));
	UNTIL(w, fleet_lease_ms(w->g[leader_of(w)].fleet) > 0);
	UNTIL(w, all_same(w));
}

// One of the role leader takes over, with all that the other has.
static void test_preferred(void **state)
{
	struct world *w = *state;

	gateway_start(w, 0, CONF_FLEET_AUTO);
	gateway_start(w, 2, CONF_FLEET_AUTO);
	UNTIL(w, leader_of(w) >= 0);
	fake_set(ledger_of(w, leader_of(w)), 1, true);
	UNTIL(w, all_same(w));
	gateway_start(w, 1, CONF_FLEET_LEADER);
	UNTIL(w, leader_of(w) == 1);
	UNTIL(w, all_same(w) && ledger_of(w, 1)->on[1]);
	assert_int_equal(ledger_of(w, 0)->forks + ledger_of(w, 2)->forks, 0);
}

// One takes itself for a leader beside the one that is, in its epoch or a higher one.
static void second_leader(struct world *w, uint64_t epoch)
{
	int first = leader_of(w), second = (first + 1) % N;
	struct fleet *f = w->g[second].fleet;

	fake_set(ledger_of(w, first), 10, true);
	ledger_of(w, second)->epoch = epoch - 1;
	ledger_fleet_lead(ledger_of(w, second), epoch, ignored, NULL);
	f->duty = DUTY_LEADS;
	f->lock.lease_until_ms = fleet_now_ms() + 2000;
	f->publish.state = PUBLISH_LOOK;
	up_begin(f);
	fake_set(ledger_of(w, second), 20, true);
	fake_set(ledger_of(w, first), 11, true);
	UNTIL(w, leader_of(w) >= 0);
	UNTIL(w,
	      all_same(w) && ledger_of(w, 0)->on[10] && ledger_of(w, 0)->on[11]
		      && ledger_of(w, 0)->on[20]);
	nothing_lost(w);
}

static void test_two_leaders(void **state)
{
	struct world *w = *state;

	all_start(w);
	fake_set(ledger_of(w, leader_of(w)), 1, true);
	UNTIL(w, all_same(w));
	second_leader(w, ledger_of(w, leader_of(w))->epoch + 1);
	for (int e = 10; e <= 20; e++)
		fake_set(ledger_of(w, leader_of(w)), e, false);
	UNTIL(w, all_same(w));
	second_leader(w, ledger_of(w, leader_of(w))->epoch);
}

static void test_flushed(void **state)
{
	struct world *w = *state;
	int leader;

	all_start(w);
	for (int i = 0; i < 20; i++)
		fake_set(ledger_of(w, leader_of(w)), i, true);
	UNTIL(w, all_same(w));
	for (int round = 0; round < 2; round++) {
		cli(w, "FLUSHALL");
		UNTIL(w, leader_of(w) >= 0 && cli(w, "EXISTS stanch:f:seal") == 1);
		leader = leader_of(w);
		fake_set(ledger_of(w, leader), 30 + round, true);
		UNTIL(w, all_same(w));
		nothing_lost(w);
	}
	// One that was never there finds it all.
	gateway_kill(w, (leader + 1) % N);
	fake_free(ledger_of(w, (leader + 1) % N));
	w->g[(leader + 1) % N].control.ledger = NULL;
	gateway_start(w, (leader + 1) % N, CONF_FLEET_FOLLOWER);
	UNTIL(w, all_same(w));
}

static void test_forged(void **state)
{
	struct world *w = *state;
	int leader, follower;

	all_start(w);
	leader = leader_of(w);
	follower = (leader + 1) % N;
	fake_set(ledger_of(w, leader), 1, true);
	UNTIL(w, all_same(w));
	cli(w, "XADD stanch:f:log 99999-1 k s p %048d d 1-0-0---0 m %032d", 0, 0);
	UNTIL(w, alarmed(w, follower, ALARM_FORGED) && alarmed(w, leader, ALARM_FORGED));
	fake_set(ledger_of(w, leader), 2, true);
	UNTIL(w, all_same(w));
	assert_true(ledger_of(w, follower)->on[1]);
	// Where an entry was put and taken away, the stream takes no id of ours.
	cli(w, "XADD stanch:f:log 99999-1 k s");
	cli(w, "XDEL stanch:f:log 99999-1");
	fake_set(ledger_of(w, leader), 3, true);
	UNTIL(w, all_same(w));
	// Other keys.
	cli(w, "SET stanch:f:head nonsense");
	cli(w, "SET stanch:f:epoch 99999999");
	cli(w, "SET stanch:f:seal nonsense");
	cli(w, "HSET stanch:f:gateways evil nonsense");
	cli(w, "XADD stanch:f:up 18446744073709551615-18446744073709551615 t nonsense");
	cli(w, "XADD stanch:f:denials 18446744073709551615-1 d nonsense");
	fake_set(ledger_of(w, follower), 4, true);
	UNTIL(w, all_same(w) && ledger_of(w, leader)->on[4]);
	// The lock is another's, and never ends.
	cli(w, "SET stanch:f:leader evil");
	UNTIL(w, leader_of(w) == -1);
	UNTIL(w, leader_of(w) >= 0);
	fake_set(ledger_of(w, leader_of(w)), 5, true);
	UNTIL(w, all_same(w));
	// Keys of another type.
	cli(w, "DEL stanch:f:leader stanch:f:log stanch:f:up");
	cli(w, "HSET stanch:f:leader a b");
	cli(w, "SET stanch:f:log x");
	cli(w, "SET stanch:f:up x");
	UNTIL(w, leader_of(w) >= 0 && cli(w, "EXISTS stanch:f:log") == 1);
	fake_set(ledger_of(w, follower), 6, true);
	UNTIL(w, all_same(w) && ledger_of(w, leader_of(w))->on[6]);
	nothing_lost(w);
}

static void test_late(void **state)
{
	struct world *w = *state;
	int follower;

	gateway_start(w, 0, CONF_FLEET_AUTO);
	UNTIL(w, leader_of(w) == 0);
	for (int i = 0; i < 200; i++)
		fake_set(ledger_of(w, 0), i, true);
	for (int i = 0; i < 200; i += 2)
		fake_set(ledger_of(w, 0), i, false);
	UNTIL(w, cli(w, "EXISTS stanch:f:seal") == 1 && all_same(w));
	// The log is not whole any more: the checkpoint is taken, then what came since.
	cli(w, "XTRIM stanch:f:log MINID 1-150");
	follower = 1;
	gateway_start(w, follower, CONF_FLEET_FOLLOWER);
	UNTIL(w, all_same(w));
	assert_true(ledger_of(w, follower)->imports > 0);
	// Records go while one is away.
	gateway_kill(w, follower);
	for (int i = 0; i < 20; i++)
		fake_set(ledger_of(w, 0), 200 + i, true);
	UNTIL(w, all_same(w));
	cli(w, "XTRIM stanch:f:log MAXLEN 1");
	gateway_start(w, follower, CONF_FLEET_FOLLOWER);
	UNTIL(w, all_same(w));
	assert_true(alarmed(w, follower, ALARM_GAP));
	nothing_lost(w);
	assert_int_equal(ledger_of(w, follower)->weakened, 0);
}

static void test_restarted(void **state)
{
	struct world *w = *state;

	all_start(w);
	for (int i = 0; i < 20; i++)
		fake_set(ledger_of(w, leader_of(w)), i, true);
	UNTIL(w, all_same(w));
	// An older dump: what came after it is gone in Redis.
	cli(w, "SAVE");
	for (int i = 20; i < 30; i++)
		fake_set(ledger_of(w, leader_of(w)), i, true);
	fake_set(ledger_of(w, leader_of(w)), 3, false);
	UNTIL(w, all_same(w));
	redis_end(&w->redis);
	run_ms(w, 300);
	for (int i = 0; i < N; i++)
		if (!fleet_leads(w->g[i].fleet))
			fake_set(ledger_of(w, i), 40 + i, true);
	redis_start(&w->redis);
	UNTIL(w, all_same(w) && fake_count(ledger_of(w, 0)) == 31);
	nothing_lost(w);
}

static void test_keys(void **state)
{
	struct world *w = *state;

	all_start(w);
	fake_set(ledger_of(w, leader_of(w)), 1, true);
	UNTIL(w, all_same(w));
	// All take the new key too, then all seal with it, then the old one goes.
	for (int step = 0; step < 3; step++) {
		struct fleet *leader = w->g[leader_of(w)].fleet;
		uint64_t checkpoints = leader->checkpoints_out;

		for (int i = 0; i < N; i++) {
			struct conf_fleet *c = &w->g[i].fleet_conf;

			c->key_file = step == 0 ? w->key_file : w->other_file;
			c->previous_key_file = step == 0 ? w->other_file
				: step == 1		 ? w->key_file
							 : NULL;
			assert_int_equal(fleet_reload(w->g[i].fleet), 0);
			fake_set(ledger_of(w, i), 10 + 10 * step + i, true);
			run_ms(w, 50);
		}
		UNTIL(w, all_same(w) && fake_count(ledger_of(w, 0)) == (size_t)(4 + 3 * step));
		// What the former key sealed is not needed when it goes.
		UNTIL(w, leader->checkpoints_out > checkpoints);
	}
	for (int i = 0; i < N; i++)
		assert_false(alarmed(w, i, ALARM_FORGED));
	// One with the old key only: it takes nothing, and loses nothing.
	gateway_kill(w, (leader_of(w) + 1) % N);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, world_init, world_fini)
		T(test_three),
		T(test_killed),
		T(test_given_back),
		T(test_preferred),
		T(test_two_leaders),
		T(test_flushed),
		T(test_forged),
		T(test_late),
		T(test_restarted),
		T(test_keys),
#undef T
	};

	if (access("/usr/bin/redis-server", X_OK) != 0) {
		print_message("skipped: no redis-server\n");
		return 77;
	}
	sigaction(SIGPIPE, &(const struct sigaction){.sa_handler = SIG_IGN}, NULL);
	srandom((unsigned)getpid());
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
