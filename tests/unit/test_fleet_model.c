// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Four gateways with real ledgers and a real redis-server, in one loop. Operators block and unblock
// on any of them, gateways are killed and started, Redis is killed, emptied, put back, and written
// to by somebody else, at random. Throughout: what a gateway has denied and no operator took back
// it denies. At the end all deny everything that was asked for anywhere, and have one digest. The
// seed is printed; STANCH_SEED runs one again, STANCH_STEPS makes it longer.

#include "control/fleet/fleet_internal.h"
#include "control/ledger.h"
#include "control/protect.h"
#include "tests/unit/redis_server.h"

#include <event2/event.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define N 4
#define BLOCKS 400
#define DEADLINE_MS 90000
#define KEY "0123456789abcdef0123456789abcdef\n"

struct gateway {
	struct control control;
	struct conf conf;
	struct conf_fleet fleet_conf;
	struct fleet *fleet; // NULL: killed
	struct protect *protect;
	char name[8], dir[96];
	bool seen[BLOCKS]; // in force here, and not taken back since
};

struct world {
	char key_file[96];
	struct redis_here redis;
	struct event_base *base;
	struct gateway g[N];
	struct indicator block[BLOCKS];
	bool asked[BLOCKS], taken_back[BLOCKS];
	int n;
};

static void role_cb(void *ctx, bool leads)
{
	(void)ctx;
	(void)leads;
}

static void hint_cb(void *ctx, const char *json)
{
	(void)ctx;
	(void)json;
}

static void denials_cb(void *ctx, const char *gateway, const void *octets, size_t len)
{
	(void)ctx;
	(void)gateway;
	(void)octets;
	(void)len;
}

static void cli(struct world *w, const char *command)
{
	void *reply = redisCommand(w->redis.cli, command);

	assert_non_null(reply);
	freeReplyObject(reply);
}

static void gateway_start(struct world *w, struct gateway *g)
{
	const struct fleet_events events = {role_cb, hint_cb, denials_cb, g};
	const struct ledger_conf conf = {
		.dir = g->dir,
		.min_prefix_v4 = 16,
		.min_prefix_v6 = 32,
		.case_claims_per_minute = 1000,
		.max_entries = 100000,
		.change_log_max = 10000,
		.orphan_grace = 86400,
	};
	char message[256];

	assert_int_equal(protect_create(true, PROTECT_REFUSE, &g->protect), 0);
	assert_int_equal(ledger_open(w->base, &conf, g->protect, &g->control.ledger, message), 0);
	assert_int_equal(fleet_create(&g->control, &events, &g->fleet), 0);
}

// As kill -9: the lock stays, and what was not committed is gone.
static void gateway_kill(struct gateway *g)
{
	g->fleet->duty = DUTY_FOLLOWS;
	fleet_free(g->fleet);
	g->fleet = NULL;
	ledger_close(g->control.ledger);
	g->control.ledger = NULL;
	protect_free(g->protect);
}

static int world_init(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	FILE *key;

	redis_init(&w->redis);
	snprintf(w->key_file, sizeof(w->key_file), "%s/key", w->redis.dir);
	key = fopen(w->key_file, "w");
	assert_non_null(key);
	fputs(KEY, key);
	fclose(key);
	chmod(w->key_file, 0600);
	w->base = event_base_new();
	redis_start(&w->redis);
	for (int i = 0; i < N; i++) {
		struct gateway *g = &w->g[i];

		snprintf(g->name, sizeof(g->name), "g%d", i);
		snprintf(g->dir, sizeof(g->dir), "%s/%s", w->redis.dir, g->name);
		mkdir(g->dir, 0700);
		g->fleet_conf = (struct conf_fleet){
			.id = w->g[0].name + 1,
			.gateway = g->name,
			.role = i == N - 1 ? CONF_FLEET_FOLLOWER : CONF_FLEET_AUTO,
			.redis
			= {.address = w->redis.socket,
			   .timeout_ms = 3000,
			   .connect_timeout_ms = 2000},
			.key_file = w->key_file,
			.lease_ms = 2000,
		};
		g->conf.fleet = &g->fleet_conf;
		g->control.base = w->base;
		g->control.conf = &g->conf;
		gateway_start(w, g);
	}
	*state = w;
	return 0;
}

static int world_fini(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < N; i++)
		if (w->g[i].fleet)
			gateway_kill(&w->g[i]);
	redis_fini(&w->redis);
	event_base_free(w->base);
	free(w);
	return 0;
}

static bool denies(const struct gateway *g, const struct indicator *n)
{
	struct entry entry;

	return ledger_entry_find(g->control.ledger, n, &entry) == 0;
}

// What was denied here and nobody took back is denied here.
static void nothing_weaker(struct world *w)
{
	for (int i = 0; i < N; i++)
		for (int b = 0; w->g[i].fleet && b < w->n; b++) {
			bool there = denies(&w->g[i], &w->block[b]);

			if (w->taken_back[b])
				continue;
			if (w->g[i].seen[b] && !there)
				fail_msg("g%d no longer denies block %d", i, b);
			w->g[i].seen[b] = there;
		}
}

static void submitted(
	void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n
)
{
	bool *asked = ctx;

	(void)revision;
	if (!error && n == 1 && results[0].code == SUBMIT_OK)
		*asked = true;
}

static void submit(struct gateway *g, enum submit_op op, const struct indicator *n, bool *asked)
{
	const struct submit_item item = {
		.op = op,
		.claim = {
			.source = "operator",
			.ref = "op",
			.indicator = *n,
			.author = "alice",
			.reason = "a test",
			.until = UNTIL_FOREVER,
			.tlp = -1,
		},
		.cause = "a test",
	};
	const struct submit s
		= {.items = &item, .n = 1, .actor = {.name = "alice", .reason = "a test"}};

	ledger_submit(g->control.ledger, &s, submitted, asked);
}

static struct gateway *any_alive(struct world *w)
{
	struct gateway *g = &w->g[random() % N];

	return g->fleet ? g : NULL;
}

static void block(struct world *w)
{
	struct gateway *g = any_alive(w);
	struct indicator *n = &w->block[w->n];
	struct indicator_error error;
	char text[32];

	if (!g || w->n == BLOCKS)
		return;
	snprintf(text, sizeof(text), "198.51.%d.%d", 100 + w->n / 250, w->n % 250 + 1);
	assert_int_equal(indicator_parse(text, strlen(text), n, &error), 0);
	submit(g, SUBMIT_PUT, n, &w->asked[w->n++]);
}

static void unblock(struct world *w)
{
	struct gateway *g = any_alive(w);
	static bool ignored;
	int b;

	if (!g || w->n == 0)
		return;
	b = (int)(random() % w->n);
	if (!denies(g, &w->block[b]))
		return;
	w->taken_back[b] = true;
	submit(g, SUBMIT_END, &w->block[b], &ignored);
}

static void turn(struct world *w)
{
	struct gateway *g = any_alive(w);

	switch (random() % 12) {
	case 0:
	case 1:
		if (g)
			gateway_kill(g);
		break;
	case 2:
	case 3:
	case 4:
	case 5:
		for (int i = 0; i < N; i++)
			if (!w->g[i].fleet && random() % 2)
				gateway_start(w, &w->g[i]);
		break;
	case 6:
		cli(w, "FLUSHALL");
		break;
	case 7:
		redis_end(&w->redis);
		redis_start(&w->redis);
		break;
	case 8:
		cli(w, "XADD stanch:0:log 99999-1 k s p 1 d 2 m 3");
		break;
	case 9:
		cli(w, "DEL stanch:0:leader stanch:0:head");
		break;
	case 10:
		cli(w, "COPY stanch:0:log kept REPLACE");
		break;
	default:
		cli(w, "RENAME kept stanch:0:log");
	}
}

static void run_ms(struct world *w, int64_t ms)
{
	int64_t until = fleet_now_ms() + ms;

	while (fleet_now_ms() < until)
		event_base_loop(w->base, EVLOOP_ONCE);
}

static bool settled(struct world *w)
{
	struct list_state first = {0};
	int leaders = 0;

	for (int i = 0; i < N; i++) {
		struct ledger *l = w->g[i].control.ledger;
		struct fleet_state s;
		struct list_state list;

		ledger_fleet_state(l, &s);
		ledger_state(l, &list);
		leaders += fleet_leads(w->g[i].fleet);
		if (i == 0)
			first = list;
		if (s.asks || s.local || s.away || s.importing || s.resync
		    || !digest_equal(first.digest, list.digest) || first.count != list.count)
			return false;
		for (int b = 0; b < w->n; b++)
			if (w->asked[b] && !w->taken_back[b] && !denies(&w->g[i], &w->block[b]))
				return false;
	}
	return leaders == 1;
}

static void states_print(const struct world *w)
{
	for (int i = 0; i < N; i++) {
		json_t *json = fleet_status(w->g[i].fleet);
		char *text = json_dumps(json, 0);

		print_error("%s\n", text);
		free(text);
		json_decref(json);
		for (int b = 0; b < w->n; b++)
			if (w->asked[b] && !w->taken_back[b] && !denies(&w->g[i], &w->block[b]))
				print_error("g%d: block %d is missing\n", i, b);
	}
}

static void test_random(void **state)
{
	struct world *w = *state;
	const char *seed = getenv("STANCH_SEED"), *steps = getenv("STANCH_STEPS");
	unsigned number = seed ? (unsigned)strtoul(seed, NULL, 10)
			       : (unsigned)getpid() ^ (unsigned)fleet_now_ms();
	long n = steps ? strtol(steps, NULL, 10) : 80;
	int64_t until;

	print_message("seed %u\n", number);
	srandom(number);
	for (long i = 0; i < n; i++) {
		for (long k = random() % 6; k > 0; k--)
			block(w);
		if (random() % 3 == 0)
			unblock(w);
		if (random() % 3 == 0)
			turn(w);
		run_ms(w, 20 + random() % (random() % 8 ? 150 : 2500));
		nothing_weaker(w);
	}
	for (int i = 0; i < N; i++)
		if (!w->g[i].fleet)
			gateway_start(w, &w->g[i]);
	until = fleet_now_ms() + DEADLINE_MS;
	while (!settled(w)) {
		run_ms(w, 100);
		nothing_weaker(w);
		if (fleet_now_ms() > until) {
			states_print(w);
			fail_msg("not settled; seed %u", number);
		}
	}
	print_message("%d blocks, all settled\n", w->n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random, world_init, world_fini),
	};

	if (access("/usr/bin/redis-server", X_OK) != 0) {
		print_message("skipped: no redis-server\n");
		return 77;
	}
	sigaction(SIGPIPE, &(const struct sigaction){.sa_handler = SIG_IGN}, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
