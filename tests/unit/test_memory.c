// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Memory refused, at each allocation in turn, once and from there on: what was asked for fails as a
// whole, the list is what it was, nothing leaks, and the same works as soon as there is memory.

#include "dataplane/clock.h"
#include "dataplane/events.h"
#include "dataplane/keeper.h"
#include "dataplane/link.h"
#include "dataplane/load.h"
#include "dataplane/scrub.h"
#include "dataplane/sketch.h"
#include "dataplane/worker.h"
#include "tests/unit/cm.h"
#include "tests/unit/refuse.h"

#include <rte_rcu_qsbr.h>

#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WALL_S 1800000000ll
#define TURNS 2000 // of a loop, before it is given up

struct fixture {
	struct set *set;
	struct breakglass *breakglass;
	struct requests requests;
	struct event_base *base;
	struct link *link;
	int fd; // of the peer
	bool closed; // by the link
	uint64_t seq;
	struct list_state before;
	bool paused;
	uint64_t exceptions;
	uint8_t answer[WIRE_MESSAGE_MAX];
};

static struct table_time test_now(void)
{
	return (struct table_time){.wall_ms = WALL_S * 1000, .boot_ms = 5000000};
}

static struct entry entry_of(const char *text, int64_t enforce, int64_t monitor)
{
	struct entry e = {.enforce_until = enforce, .monitor_until = monitor};
	struct indicator_error error;

	assert_int_equal(indicator_parse(text, strlen(text), &e.indicator, &error), 0);
	return e;
}

// The list before, and the batch that the tests try to apply.
static const char *const listed[] = {
	"203.0.113.7",
	"203.0.113.8",
	"198.51.100.0/24",
	"2001:db8::/48",
	"tcp/203.0.113.9:443",
	"old.example",
	"*.gone.example",
};
static const struct {
	const char *text;
	bool put, monitor;
} changes[] = {
	{"203.0.113.10", true, false},
	{"10.0.0.0/9", true, false},
	{"2001:db8:1::1", true, false},
	{"udp/203.0.113.9:53", true, false},
	{"a.example", true, false},
	{"a-name-that-is-longer-than-the-least-block.example", true, false},
	{"*.b.example", true, false},
	{"203.0.113.8", false, false},
	{"*.gone.example", false, false},
	{"198.51.100.0/24", true, true}, // weaker than it was
};

#define LISTED (sizeof(listed) / sizeof(*listed))
#define CHANGES (sizeof(changes) / sizeof(*changes))

static struct change change_at(size_t i)
{
	return (struct change){
		.op = changes[i].put ? CHANGE_PUT : CHANGE_REMOVE,
		.entry = entry_of(
			changes[i].text,
			changes[i].monitor ? UNTIL_NONE : UNTIL_FOREVER,
			changes[i].monitor ? UNTIL_FOREVER : UNTIL_NONE
		),
	};
}

static struct list_state state_before(void)
{
	struct list_state s = {.ledger_id = {7}, .revision = {.epoch = 1, .number = 1}};

	for (size_t i = 0; i < LISTED; i++) {
		struct entry e = entry_of(listed[i], UNTIL_FOREVER, UNTIL_NONE);

		s.count++;
		digest_add(&s.digest, entry_hash(&e));
	}
	return s;
}

static struct list_state state_after(void)
{
	struct list_state s = state_before();

	s.revision.number = 2;
	for (size_t i = 0; i < CHANGES; i++) {
		struct change c = change_at(i);
		struct entry was = entry_of(changes[i].text, UNTIL_FOREVER, UNTIL_NONE);

		if (!changes[i].put || changes[i].monitor) {
			digest_remove(&s.digest, entry_hash(&was));
			s.count--;
		}
		if (changes[i].put) {
			digest_add(&s.digest, entry_hash(&c.entry));
			s.count++;
		}
	}
	return s;
}

static void list_load_in(struct set *set)
{
	struct list_state state = state_before();

	for (size_t i = 0; i < LISTED; i++) {
		struct entry e = entry_of(listed[i], UNTIL_FOREVER, UNTIL_NONE);

		assert_int_equal(set_load_put(set, &e), 0);
	}
	assert_int_equal(set_load_complete(set, &state), 0);
}

static void *fixture_make(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct set_options options = {.capacity = 64, .workers = 1};

	f->fd = -1;
	policy_init(&options.policy);
	assert_int_equal(set_create(&options, test_now(), &f->set), 0);
	list_load_in(f->set);
	assert_int_equal(breakglass_create(f->set, NULL, &f->breakglass), 0);
	f->requests = (struct requests){.set = f->set, .breakglass = f->breakglass};
	// A worker that takes its time: removals have to wait for it.
	rte_rcu_qsbr_thread_register(set_live(f->set)->qsbr, 0);
	rte_rcu_qsbr_thread_online(set_live(f->set)->qsbr, 0);
	set_state(f->set, &f->before);
	f->exceptions = set_exception_count(f->set);
	return f;
}

static void fixture_free(void *ctx)
{
	struct fixture *f = ctx;

	link_free(f->link);
	if (f->fd >= 0)
		close(f->fd);
	if (f->base)
		event_base_free(f->base);
	requests_fini(&f->requests);
	breakglass_free(f->breakglass);
	set_free(f->set);
	free(f);
}

static bool in_list(const struct set *set, const char *text, enum entry_action *ret_action)
{
	struct entry e = entry_of(text, UNTIL_FOREVER, UNTIL_NONE);
	struct set_view view;

	if (set_find(set, &e.indicator, &view) < 0)
		return false;
	*ret_action = view.action;
	return true;
}

// The digest, recomputed from what is in.
static void digest_check(const struct set *set, const struct list_state *state)
{
	struct list_state found = {0};
	struct set_view view;

	for (size_t i = 0; i < LISTED + CHANGES; i++) {
		const char *text = i < LISTED ? listed[i] : changes[i - LISTED].text;
		struct entry e = entry_of(text, UNTIL_FOREVER, UNTIL_NONE);
		bool twice = false;

		for (size_t k = 0; i >= LISTED && k < LISTED; k++)
			twice = twice || strcmp(listed[k], text) == 0;
		if (twice || set_find(set, &e.indicator, &view) < 0)
			continue;
		found.count++;
		digest_add(&found.digest, entry_hash(&view.entry));
	}
	assert_int_equal(found.count, state->count);
	assert_true(digest_equal(found.digest, state->digest));
}

static void unchanged(void *ctx)
{
	const struct fixture *f = ctx;
	enum entry_action action;
	struct list_state state;

	set_state(f->set, &state);
	assert_true(list_state_equal(&state, &f->before));
	digest_check(f->set, &f->before);
	assert_false(set_settling(f->set));
	assert_int_equal(set_names(f->set), 2);
	assert_int_equal(match_count(set_live(f->set)->entries), LISTED - 2);
	for (size_t i = 0; i < LISTED; i++) {
		assert_true(in_list(f->set, listed[i], &action));
		assert_int_equal(action, ENTRY_ENFORCE);
	}
	assert_int_equal(set_exception_count(f->set), f->exceptions);
	assert_int_equal(set_paused(f->set), f->paused);
}

static void settle(struct fixture *f)
{
	for (int i = 0; i < TURNS && !set_settle(f->set, 4096); i++)
		rte_rcu_qsbr_quiescent(set_live(f->set)->qsbr, 0);
}

static void changed(void *ctx)
{
	struct fixture *f = ctx;
	struct list_state wanted = state_after(), state;
	enum entry_action action;

	settle(f);
	set_state(f->set, &state);
	assert_true(list_state_equal(&state, &wanted));
	digest_check(f->set, &wanted);
	assert_int_equal(set_names(f->set), 4);
	assert_false(in_list(f->set, "203.0.113.8", &action));
	assert_true(in_list(f->set, "198.51.100.0/24", &action));
	assert_int_equal(action, ENTRY_MONITOR);
}

static void nothing(void *ctx)
{
	(void)ctx;
}

// --- making

static struct {
	struct set *set;
	struct events *events;
	struct sketch *sketch;
	struct workers *workers;
	struct scrub *scrub;
	struct breakglass *breakglass;
} made;

static void *made_make(void)
{
	memset(&made, 0, sizeof(made));
	return &made;
}

static int made_act(void *ctx)
{
	static const struct conf conf;
	static const struct ports ports;
	struct set_options options = {.capacity = 5000, .workers = 2};
	struct workers_options workers = {.conf = &conf, .n = 2, .ports = &ports};
	int r;

	(void)ctx;
	policy_init(&options.policy);
	if ((r = set_create(&options, test_now(), &made.set)) < 0
	    || (r = events_create(2, &made.events)) < 0
	    || (r = sketch_create(2, 1, &made.sketch)) < 0
	    || (r = breakglass_create(made.set, "/tmp", &made.breakglass)) < 0
	    || (r = scrub_create(made.set, NULL, NULL, &made.scrub)) < 0)
		return r;
	workers.live = set_live(made.set);
	workers.events = made.events;
	workers.sketch = made.sketch;
	return workers_create(&workers, &made.workers);
}

static void made_end(void *ctx)
{
	(void)ctx;
	workers_free(made.workers);
	scrub_free(made.scrub);
	breakglass_free(made.breakglass);
	sketch_free(made.sketch);
	events_free(made.events);
	set_free(made.set);
	memset(&made, 0, sizeof(made));
}

static void test_making(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"making", 20, made_make, made_act, made_end, nothing, made_end});
}

// --- the set

static int change_act(void *ctx)
{
	struct fixture *f = ctx;
	struct list_state after = state_after();
	struct change batch[CHANGES];
	uint64_t wanted;

	for (size_t i = 0; i < CHANGES; i++)
		batch[i] = change_at(i);
	return set_change(f->set, batch, CHANGES, &f->before.revision, &after, &wanted);
}

static void test_change(void **state)
{
	(void)state;
	// The order, three names, what has to wait.
	refuse_each(&(struct scenario
	){"a batch", 5, fixture_make, change_act, unchanged, changed, fixture_free});
}

static int pause_act(void *ctx)
{
	return set_pause(((struct fixture *)ctx)->set, true);
}

static void paused(void *ctx)
{
	assert_true(set_paused(((struct fixture *)ctx)->set));
}

static void test_pause(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"a pause", 2, fixture_make, pause_act, unchanged, paused, fixture_free});
}

// --- messages

static uint8_t message[WIRE_MESSAGE_MAX];

static struct wire_header head(struct fixture *f, uint16_t type, size_t len)
{
	return (struct wire_header
	){.type = type, .version = WIRE_VERSION, .length = (uint32_t)len, .seq = ++f->seq};
}

static size_t batch_write(struct fixture *f)
{
	struct list_state after = state_after();
	struct wire_batch m = {.from_epoch = 1, .from_number = 1, .n = CHANGES};
	size_t at = sizeof(m);

	for (size_t i = 0; i < CHANGES; i++) {
		struct change c = change_at(i);

		at += (size_t)wire_entry_write(
			message + at,
			sizeof(message) - at,
			c.op == CHANGE_PUT ? WIRE_PUT : WIRE_REMOVE,
			&c.entry
		);
	}
	wire_state_pack(&after, &m.after);
	m.header = head(f, WIRE_BATCH, at);
	memcpy(message, &m, sizeof(m));
	return at;
}

// All entries of the list after the batch, one name of it twice.
static size_t sync_write(struct fixture *f)
{
	struct wire_sync_entries m = {.generation = 5};
	size_t at = sizeof(m);

	for (size_t i = 0; i < LISTED + CHANGES + 1; i++) {
		size_t k = i < LISTED ? i : i == LISTED ? 4 : i - LISTED - 1;
		struct change c = change_at(k % CHANGES);

		if (i < LISTED) {
			if (i == 1 || i == 2 || i == 6)
				continue; // they go, or change
			c.entry = entry_of(listed[i], UNTIL_FOREVER, UNTIL_NONE);
		} else if (c.op == CHANGE_REMOVE) {
			continue;
		}
		at += (size_t
		)wire_entry_write(message + at, sizeof(message) - at, WIRE_PUT, &c.entry);
		m.n++;
	}
	m.header = head(f, WIRE_SYNC_ENTRIES, at);
	memcpy(message, &m, sizeof(m));
	return at;
}

// 0 or -ENOMEM: what the peer is told.
static int ask(struct fixture *f, enum request_peer peer, const void *octets, size_t len)
{
	struct wire_result result;
	size_t answer_len = 0;

	request_handle(&f->requests, peer, 0, octets, len, f->answer, &answer_len);
	assert_int_equal(answer_len, sizeof(result));
	memcpy(&result, f->answer, sizeof(result));
	if (result.code != WIRE_OK)
		assert_int_equal(result.code, WIRE_NO_MEMORY);
	return result.code == WIRE_OK ? 0 : -ENOMEM;
}

static int batch_ask(void *ctx)
{
	return ask(ctx, PEER_CONTROL, message, batch_write(ctx));
}

static void test_batch_message(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"a message of a batch", 6, fixture_make, batch_ask, unchanged, changed, fixture_free});
}

static int sync_ask(void *ctx)
{
	struct fixture *f = ctx;
	struct list_state after = state_after();
	struct wire_sync_begin begin
		= {.header = head(f, WIRE_SYNC_BEGIN, sizeof(begin)), .generation = 5};
	struct wire_sync_end end = {.generation = 5, .flags = WIRE_SYNC_FORCE};
	int r;

	wire_state_pack(&after, &begin.state);
	end.state = begin.state;
	r = ask(f, PEER_CONTROL, &begin, sizeof(begin));
	if (r == 0)
		r = ask(f, PEER_CONTROL, message, sync_write(f));
	end.header = head(f, WIRE_SYNC_END, sizeof(end));
	return r < 0 ? r : ask(f, PEER_CONTROL, &end, sizeof(end));
}

static void test_synchronisation(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"a synchronisation", 3, fixture_make, sync_ask, unchanged, changed, fixture_free});
}

// Without a list before: also the policy that puts the first one in force.
static void *empty_make(void)
{
	struct fixture *f = fixture_make();
	struct set_options options = {.capacity = 64, .workers = 1};

	breakglass_free(f->breakglass);
	set_free(f->set);
	policy_init(&options.policy);
	assert_int_equal(set_create(&options, test_now(), &f->set), 0);
	assert_int_equal(breakglass_create(f->set, NULL, &f->breakglass), 0);
	f->requests.set = f->set;
	f->requests.breakglass = f->breakglass;
	return f;
}

static int first_ask(void *ctx)
{
	struct fixture *f = ctx;
	int r = sync_ask(f);

	// The policy is tried again with each turn, as long as it takes.
	for (int i = 0; r == 0 && i < 10; i++)
		set_settle(f->set, 4096);
	return r;
}

static void empty_still(void *ctx)
{
	const struct fixture *f = ctx;

	assert_false(set_have_list(f->set));
	assert_int_equal(match_count(set_live(f->set)->entries), 0);
	assert_int_equal(set_names(f->set), 0);
}

static void first_done(void *ctx)
{
	changed(ctx);
	assert_true(set_have_list(((struct fixture *)ctx)->set));
}

static void test_first_list(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"the first list", 6, empty_make, first_ask, empty_still, first_done, fixture_free});
}

static int exceptions_ask(void *ctx)
{
	static const char *const texts[] = {"203.0.113.0/28", "2001:db8::/64"};
	struct fixture *f = ctx;

	for (unsigned i = 0; i < 2; i++) {
		struct exception x
			= {.kind = EXCEPTION_PROTECT,
			   .until = UNTIL_FOREVER,
			   .indicator = entry_of(texts[i], 0, 0).indicator};
		struct wire_exceptions m = {.flags = i ? 0 : WIRE_EXCEPTIONS_MORE, .n = 1};
		size_t len = sizeof(m);
		int r;

		len += (size_t)wire_exception_write(message + len, sizeof(message) - len, &x);
		m.header = head(f, WIRE_EXCEPTIONS, len);
		memcpy(message, &m, sizeof(m));
		r = ask(f, PEER_CONTROL, message, len);
		if (r < 0)
			return r;
	}
	return 0;
}

static void excepted(void *ctx)
{
	struct fixture *f = ctx;

	settle(f);
	assert_int_equal(set_exception_count(f->set), 2);
}

static void test_exceptions(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"exceptions", 2, fixture_make, exceptions_ask, unchanged, excepted, fixture_free});
}

static int pause_ask(void *ctx)
{
	struct fixture *f = ctx;
	struct wire_pause m = {
		.header = head(f, WIRE_PAUSE, sizeof(m)),
		.until = WALL_S + 60,
		.reason = "a test",
	};

	return ask(f, PEER_CONTROL, &m, sizeof(m));
}

static void test_pause_message(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"a message of a pause", 2, fixture_make, pause_ask, unchanged, paused, fixture_free});
}

// --- the link, libevent's memory too

static void dial(struct fixture *f)
{
	struct wire_hello m = {.header = head(f, WIRE_HELLO, sizeof(m)), .build = STANCH_VERSION};
	int pair[2];

	if (f->fd >= 0)
		close(f->fd);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0
	);
	assert_int_equal(link_adopt(f->link, pair[0], false), 0);
	f->fd = pair[1];
	f->closed = false;
	assert_int_equal(send(f->fd, &m, sizeof(m), 0), sizeof(m));
	for (int i = 0; recv(f->fd, f->answer, sizeof(f->answer), 0) < 0; i++) {
		assert_true(i < TURNS);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
}

static void *link_make(void)
{
	struct fixture *f = fixture_make();
	struct link_options options = {.requests = &f->requests};

	f->base = options.base = event_base_new();
	assert_int_equal(link_create(&options, &f->link), 0);
	dial(f);
	return f;
}

// What the peer hears. -ENOMEM: told, or hung up on.
static int link_act(void *ctx)
{
	struct fixture *f = ctx;
	struct wire_result result;
	size_t len = batch_write(f);
	ssize_t n;

	if (f->closed)
		dial(f);
	assert_int_equal(send(f->fd, message, len, MSG_NOSIGNAL), len);
	for (int i = 0; (n = recv(f->fd, f->answer, sizeof(f->answer), 0)) < 0; i++) {
		assert_true(errno == EAGAIN && i < TURNS);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		link_poll(f->link);
		rte_rcu_qsbr_quiescent(set_live(f->set)->qsbr, 0);
	}
	f->closed = n == 0;
	if (f->closed)
		return -ENOMEM;
	assert_int_equal(n, sizeof(result));
	memcpy(&result, f->answer, sizeof(result));
	assert_int_equal(result.header.seq, f->seq);
	if (result.code != WIRE_OK)
		assert_int_equal(result.code, WIRE_NO_MEMORY);
	return result.code == WIRE_OK ? 0 : -ENOMEM;
}

static void link_unchanged(void *ctx)
{
	assert_false(((struct fixture *)ctx)->closed); // it was told
	unchanged(ctx);
}

static void test_link(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"a batch on the link", 7, link_make, link_act, link_unchanged, changed, fixture_free});
}

// --- from disk, and the keeper as a whole

static char dir[] = "/tmp/stanch-memory-XXXXXX";

static void list_write(void)
{
	struct list_state s = state_before();
	struct exception x = {.kind = EXCEPTION_PROTECT, .until = UNTIL_FOREVER};
	struct snapshot_writer *w;

	x.indicator = entry_of("203.0.113.0/28", 0, 0).indicator;
	assert_int_equal(snapshot_create(dir, &s, &w), 0);
	for (size_t i = 0; i < LISTED; i++) {
		struct entry e = entry_of(listed[i], UNTIL_FOREVER, UNTIL_NONE);

		assert_int_equal(snapshot_add_entry(w, &e), 0);
	}
	assert_int_equal(snapshot_add_exception(w, &x), 0);
	assert_int_equal(snapshot_commit(w), 0);
}

static int load_act(void *ctx)
{
	struct fixture *f = ctx;
	enum list_origin origin = LIST_NONE;
	struct text_error error = {0};
	int r = load_list(f->set, dir, &origin, &error);

	if (r == 0)
		assert_int_equal(origin, LIST_CURRENT);
	// A file that could not be read for want of memory is one that does not verify.
	return r == -EILSEQ ? -ENOMEM : r;
}

static void loaded(void *ctx)
{
	struct fixture *f = ctx;
	struct list_state state, wanted = state_before();

	set_state(f->set, &state);
	assert_true(list_state_equal(&state, &wanted));
	assert_int_equal(set_exception_count(f->set), 1);
}

static void test_load(void **state)
{
	(void)state;
	refuse_each(&(struct scenario
	){"loading", 5, empty_make, load_act, empty_still, loaded, fixture_free});
}

struct kept {
	struct event_base *base;
	struct keeper *keeper;
};

static void *keeper_make(void)
{
	struct kept *k = calloc(1, sizeof(*k));

	k->base = event_base_new();
	return k;
}

static void keeper_undo(void *ctx)
{
	struct kept *k = ctx;

	keeper_free(k->keeper);
	k->keeper = NULL;
}

static int keeper_act(void *ctx)
{
	struct keeper_options options = {
		.capacity = 1000, .workers = 1, .list_dir = dir, .state_dir = dir, .run_dir = dir};
	struct kept *k = ctx;
	int r;

	policy_init(&options.policy);
	r = keeper_create(&options, &k->keeper);
	return r < 0 ? r : keeper_listen(k->keeper, k->base);
}

static void keeper_end(void *ctx)
{
	struct kept *k = ctx;

	keeper_undo(k);
	event_base_free(k->base);
	free(k);
}

static void test_keeper(void **state)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), err = dup(STDERR_FILENO);

	(void)state;
	fflush(stderr);
	dup2(null, STDERR_FILENO); // what the keeper says of each failure
	refuse_each(&(struct scenario
	){"the keeper", 60, keeper_make, keeper_act, keeper_undo, nothing, keeper_end});
	dup2(err, STDERR_FILENO);
	close(err);
	close(null);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	list_write();
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {"deny.rules", "deny.journal"};
	char path[128];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_making),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_batch_message),
		cmocka_unit_test(test_synchronisation),
		cmocka_unit_test(test_first_list),
		cmocka_unit_test(test_exceptions),
		cmocka_unit_test(test_pause_message),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_keeper),
	};

	event_set_mem_functions(malloc, realloc, free); // those of refuse.c
	return cmocka_run_group_tests(tests, setup, teardown);
}
