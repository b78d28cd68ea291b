// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cautions.h"
#include "control/lists_internal.h"
#include "tests/unit/ledger_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static struct list_result last;
static bool read_is_done;

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_init(f, PROTECT_REFUSE);
	f->conf.max_entries = 1000000;
	f->conf.change_log_max = 100000;
	ledger_limits_set(f->ledger, &f->conf);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	free(*state);
	return 0;
}

static void read_done_cb(void *ctx, const struct list_result *result)
{
	(void)ctx;
	last = *result;
	read_is_done = true;
}

static uint32_t list_open(struct fixture *f, const char *name)
{
	struct list_conf conf = {
		.min_prefix_v4 = 16,
		.min_prefix_v6 = 32,
		.max_members = 500000,
		.reason = "published",
	};
	uint32_t id;

	snprintf(conf.name, sizeof(conf.name), "%s", name);
	id = lists_configure(f->ledger->lists, &conf);
	assert_int_not_equal(id, 0);
	lists_done_set(f->ledger->lists, id, read_done_cb, NULL);
	return id;
}

static void feed(struct fixture *f, uint32_t list, const char *text)
{
	lists_feed(f->ledger->lists, list, text, strlen(text), "", 0, UNTIL_FOREVER);
}

static void read_end(struct fixture *f, uint32_t list, bool confirmed)
{
	read_is_done = false;
	lists_read_end(f->ledger->lists, list, confirmed);
	loop_until(f, &read_is_done);
}

// A whole reading of texts that end with NULL.
static void read_list(struct fixture *f, uint32_t list, bool confirmed, const char *const *texts)
{
	lists_read_begin(f->ledger->lists, list);
	for (; *texts; texts++)
		feed(f, list, *texts);
	read_end(f, list, confirmed);
}
#define READ(f, list, ...) read_list(f, list, true, (const char *const[]){__VA_ARGS__, NULL})

// So many hosts from 198.18.0.0 on, but for every `skip`th.
static void hosts_feed(struct fixture *f, uint32_t list, unsigned from, unsigned to, unsigned skip)
{
	for (unsigned i = from; i < to; i++) {
		char text[32];

		if (skip && i % skip == 0)
			continue;
		snprintf(text, sizeof(text), "198.%u.%u.%u", 18 + (i >> 16), i >> 8 & 255, i & 255);
		feed(f, list, text);
	}
}

static void hosts_read(struct fixture *f, uint32_t list, unsigned to, unsigned skip, bool confirmed)
{
	lists_read_begin(f->ledger->lists, list);
	hosts_feed(f, list, 0, to, skip);
	read_end(f, list, confirmed);
}

static bool entry_sum(void *ctx, const struct entry *e)
{
	struct list_state *s = ctx;

	digest_add(&s->digest, entry_hash(e));
	s->count++;
	return true;
}

// Count and digest are those of the entries, walked here and by a reader of another thread.
static void state_check(struct fixture *f)
{
	struct list_state s, sum = {0}, read = {0}, told;
	struct ledger_reader *reader;
	int n;

	ledger_commit(f->ledger);
	ledger_state(f->ledger, &s);
	assert_int_equal(ledger_entries_page(f->ledger, "", SIZE_MAX >> 1, entry_sum, &sum), 0);
	assert_int_equal(sum.count, s.count);
	assert_true(digest_equal(sum.digest, s.digest));
	assert_int_equal(ledger_reader_open(f->ledger, &reader, &told), 0);
	assert_true(list_state_equal(&told, &s));
	while ((n = ledger_reader_next(reader, 100, entry_sum, &read)) > 0)
		;
	assert_int_equal(n, 0);
	ledger_reader_close(reader);
	assert_int_equal(read.count, s.count);
	assert_true(digest_equal(read.digest, s.digest));
}

static uint64_t count_of(struct fixture *f)
{
	struct list_state s;

	ledger_state(f->ledger, &s);
	return s.count;
}

static bool change_apply(void *ctx, const struct ledger_change *c)
{
	(void)c;
	++*(unsigned *)ctx;
	return true;
}

static void test_difference(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");
	struct list_state before, after;
	unsigned changes = 0;
	struct entry e;

	READ(f, list, "203.0.113.7", "*.evil.example", "tcp/203.0.113.9:443", "2001:db8::/48");
	assert_int_equal(last.error, 0);
	assert_int_equal(last.added, 4);
	assert_int_equal(count_of(f), 4);
	assert_true(entry_is(f, "*.evil.example", &e));
	assert_true(e.enforce_until == UNTIL_FOREVER && e.monitor_until == UNTIL_NONE);
	state_check(f);
	ledger_state(f->ledger, &before);
	READ(f,
	     list,
	     "203.0.113.7",
	     "*.evil.example",
	     "198.51.100.1",
	     "2001:db8::/48",
	     "203.0.113.7");
	assert_int_equal(last.added, 1);
	assert_int_equal(last.removed, 1);
	assert_int_equal(last.changed, 0);
	assert_false(entry_is(f, "tcp/203.0.113.9:443", &e));
	state_check(f);
	// One revision with two changes, as followers read it.
	ledger_state(f->ledger, &after);
	assert_int_equal(after.revision.number, before.revision.number + 1);
	assert_int_equal(
		ledger_changes(f->ledger, before.revision, 100, change_apply, &changes), 0
	);
	assert_int_equal(changes, 2);
	// The same again changes nothing.
	READ(f, list, "203.0.113.7", "*.evil.example", "198.51.100.1", "2001:db8::/48");
	ledger_state(f->ledger, &before);
	assert_true(list_state_equal(&before, &after));
	fixture_reopen(f);
	ledger_state(f->ledger, &before);
	assert_true(list_state_equal(&before, &after));
	state_check(f);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");

	READ(f,
	     list,
	     "203.0.113.7",
	     "no such thing!",
	     "10.1.2.3", // protected
	     "203.0.0.0/8", // too wide
	     "{\"indicator\": \"203.0.113.8\", \"action\": \"explode\"}",
	     "{\"indicator\": \"203.0.113.9\", \"action\": \"monitor\", \"reason\": \"scanner\"}");
	assert_int_equal(last.refused, 2);
	assert_int_equal(last.protected, 2);
	assert_non_null(strstr(last.samples[0], "no such thing!"));
	assert_non_null(strstr(last.samples[1], "explode"));
	assert_int_equal(count_of(f), 2);
	state_check(f);
}

struct claims {
	unsigned n;
	char reason[64], source[64];
};

static bool claim_seen(void *ctx, const struct claim *c)
{
	struct claims *s = ctx;

	s->n++;
	snprintf(s->reason, sizeof(s->reason), "%s", c->reason);
	snprintf(s->source, sizeof(s->source), "%s", c->source);
	return true;
}

static struct cautions *cautions_of(const char *line)
{
	char path[] = "/tmp/stanch-cautions-XXXXXX", message[256];
	int fd = mkstemp(path);
	struct cautions *cautions = NULL;

	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
	close(fd);
	assert_int_equal(cautions_create(&cautions), 0);
	assert_int_equal(cautions_load(cautions, path, message), 0);
	unlink(path);
	return cautions;
}

// Hosts pass, what is wider and meets what many share is refused: read, by a hint, and until the
// caution is gone.
static void test_cautions(void **state)
{
	struct fixture *f = *state;
	struct lists *ls = f->ledger->lists;
	uint32_t list = list_open(f, "bad");
	struct entry e;

	protect_cautions_set(f->protect, cautions_of("198.51.100.0/24\n.cdn.example\n"));
	lists_shields_changed(ls);
	READ(f,
	     list,
	     "198.51.100.7",
	     "198.51.100.128/25",
	     "198.51.96.0/21",
	     "198.51.101.0/24",
	     "a.cdn.example",
	     "*.a.cdn.example");
	assert_int_equal(last.refused, 0);
	assert_int_equal(last.protected, 3);
	assert_non_null(strstr(
		last.samples[0],
		"198.51.100.128/25: wider than a host, and meets 198.51.100.0/24, which many share"
	));
	assert_int_equal(count_of(f), 3);
	assert_false(entry_is(f, "198.51.100.128/25", &e));
	assert_true(entry_is(f, "198.51.101.0/24", &e));
	lists_point(ls, list, true, "198.51.100.0/28", 15, "", 0, UNTIL_FOREVER);
	READ(f, list, "198.51.100.0/28", "198.51.100.7", "198.51.101.0/24", "a.cdn.example");
	assert_false(entry_is(f, "198.51.100.0/28", &e));
	// One that is in force when the caution comes goes with the next reading.
	protect_cautions_set(f->protect, cautions_of("198.51.101.9\n"));
	lists_shields_changed(ls);
	READ(f, list, "198.51.100.0/28", "198.51.100.7", "198.51.101.0/24", "a.cdn.example");
	assert_true(entry_is(f, "198.51.100.0/28", &e));
	assert_false(entry_is(f, "198.51.101.0/24", &e));
	assert_int_equal(last.protected, 1);
	protect_cautions_set(f->protect, NULL);
	lists_shields_changed(ls);
	READ(f, list, "198.51.100.0/28", "198.51.100.7", "198.51.101.0/24", "a.cdn.example");
	assert_true(entry_is(f, "198.51.101.0/24", &e));
	assert_int_equal(last.protected, 0);
	state_check(f);
}

static void test_union(void **state)
{
	struct fixture *f = *state;
	uint32_t a = list_open(f, "a"), b = list_open(f, "b");
	int64_t hour = in_seconds(f, 3600);
	struct indicator n = indicator_of("203.0.113.7");
	struct claims seen = {0};
	struct entry e;

	put(f, "operator", "x", "203.0.113.7", CLAIM_ENFORCE, hour);
	READ(f, a, "{\"indicator\":\"203.0.113.7\",\"action\":\"monitor\",\"reason\":\"seen\"}");
	assert_true(entry_is(f, "203.0.113.7", &e));
	assert_int_equal(e.enforce_until, hour);
	assert_true(e.monitor_until == UNTIL_FOREVER);
	READ(f, b, "203.0.113.7");
	assert_true(entry_is(f, "203.0.113.7", &e));
	assert_true(e.enforce_until == UNTIL_FOREVER);
	state_check(f);
	assert_int_equal(count_of(f), 1);
	assert_int_equal(ledger_claims_of(f->ledger, &n, false, claim_seen, &seen), 0);
	assert_int_equal(seen.n, 3);
	assert_string_equal(seen.source, "list:b");
	assert_string_equal(seen.reason, "published");
	// One goes after the other; the last one ends the entry.
	op(f, SUBMIT_END, "operator", "x", "203.0.113.7");
	state_check(f);
	READ(f, b, "203.0.113.8");
	assert_true(entry_is(f, "203.0.113.7", &e));
	assert_true(e.enforce_until == UNTIL_NONE && e.monitor_until == UNTIL_FOREVER);
	READ(f, a, "203.0.113.9");
	assert_false(entry_is(f, "203.0.113.7", &e));
	state_check(f);
}

static void test_immunity(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");
	struct immunity immunity = {
		.source = "thehive:soc",
		.ref = "soc/1/1",
		.indicator = indicator_of("203.0.113.7"),
		.created = in_seconds(f, 0),
		.until = in_seconds(f, 3600),
		.author = "alice",
		.reason = "our mail server",
	};
	struct entry e;

	READ(f, list, "203.0.113.7", "203.0.113.8");
	assert_int_equal(ledger_immunity_put(f->ledger, &immunity, "alice"), 0);
	state_check(f);
	assert_false(entry_is(f, "203.0.113.7", &e));
	assert_int_equal(count_of(f), 1);
	// Taken off the list and put on again: still immune.
	READ(f, list, "203.0.113.8");
	READ(f, list, "203.0.113.7", "203.0.113.8");
	assert_false(entry_is(f, "203.0.113.7", &e));
	state_check(f);
	assert_int_equal(
		ledger_immunity_end(
			f->ledger, "thehive:soc", "soc/1/1", &immunity.indicator, "alice", "no"
		),
		0
	);
	state_check(f);
	assert_true(entry_is(f, "203.0.113.7", &e));
}

static void test_unconfirmed(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");
	static const char *const two[] = {"203.0.113.7", "203.0.113.8", NULL};
	static const char *const one[] = {"203.0.113.7", NULL};
	struct entry e;

	read_list(f, list, false, two);
	assert_int_equal(last.added, 2); // additions need no second reading
	read_list(f, list, false, one);
	assert_int_equal(last.unconfirmed, 1);
	assert_true(entry_is(f, "203.0.113.8", &e));
	// Again, but too soon.
	read_list(f, list, false, one);
	assert_int_equal(last.unconfirmed, 1);
	f->ledger->lists->own[0]->missing_ms -= LIST_CONFIRM_MS + 1;
	read_list(f, list, false, one);
	assert_int_equal(last.unconfirmed, 0);
	assert_int_equal(last.removed, 1);
	assert_false(entry_is(f, "203.0.113.8", &e));
	state_check(f);
}

static bool held_seen(void *ctx, const struct held *held)
{
	struct held *to = ctx;

	to->id = held->id;
	to->n_claims = held->n_claims;
	return true;
}

static void test_brakes(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");
	struct held held = {0};

	hosts_read(f, list, 1000, 0, true);
	assert_int_equal(last.added, 1000);
	// A fifth less passes, another tenth does not: the peak of 24 hours counts.
	hosts_read(f, list, 800, 0, true);
	assert_int_equal(last.removed, 200);
	hosts_read(f, list, 700, 0, true);
	assert_int_equal(last.held_removals, 100);
	assert_int_equal(count_of(f), 800);
	ledger_commit(f->ledger);
	assert_int_equal(ledger_held(f->ledger, held_seen, &held), 0);
	assert_int_equal(held.n_claims, 100);
	// What does not shrink goes on meanwhile.
	lists_read_begin(f->ledger->lists, list);
	hosts_feed(f, list, 0, 700, 0);
	feed(f, list, "203.0.113.7");
	read_end(f, list, true);
	assert_int_equal(last.added, 1);
	assert_int_equal(count_of(f), 801);
	f->done = false;
	ledger_held_approve(f->ledger, held.id, &somebody, done_cb, f);
	loop_until(f, &f->done);
	assert_int_equal(f->error, 0);
	hosts_read(f, list, 700, 0, true);
	assert_int_equal(last.removed, 0); // 101 now, and 100 were approved
	assert_int_equal(last.held_removals, 101);
	ledger_commit(f->ledger);
	assert_int_equal(ledger_held(f->ledger, held_seen, &held), 0);
	f->done = false;
	ledger_held_approve(f->ledger, held.id, &somebody, done_cb, f);
	loop_until(f, &f->done);
	hosts_read(f, list, 700, 0, true);
	assert_int_equal(last.removed, 101);
	assert_int_equal(count_of(f), 700);
	hosts_read(f, list, 1300, 0, true);
	assert_int_equal(last.held_adds, 600);
	assert_int_equal(count_of(f), 700);
	// Another list of the same size is no small change.
	lists_read_begin(f->ledger->lists, list);
	hosts_feed(f, list, 5000, 5700, 0);
	read_end(f, list, true);
	assert_int_equal(last.held_removals, 700);
	assert_int_equal(count_of(f), 700);
	state_check(f);
}

static void point(struct fixture *f, uint32_t list, bool present, const char *text)
{
	uint64_t changes = f->ledger->lists->changes;
	int64_t end = clock_boot_ms(f->ledger) + 10000;

	lists_point(f->ledger->lists, list, present, text, strlen(text), "", 0, UNTIL_FOREVER);
	while (f->ledger->lists->changes == changes && clock_boot_ms(f->ledger) < end)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(f->ledger->lists->changes, changes + 1);
}

static void test_points(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");
	struct entry e;

	hosts_read(f, list, 10, 0, true);
	point(f, list, true, "203.0.113.7");
	assert_true(entry_is(f, "203.0.113.7", &e));
	point(f, list, false, "203.0.113.7");
	assert_false(entry_is(f, "203.0.113.7", &e));
	// A reading that began before is older than the point.
	lists_read_begin(f->ledger->lists, list);
	hosts_feed(f, list, 0, 10, 0);
	point(f, list, true, "203.0.113.9");
	point(f, list, false, "198.18.0.3");
	read_end(f, list, true);
	assert_true(entry_is(f, "203.0.113.9", &e));
	assert_false(entry_is(f, "198.18.0.3", &e));
	state_check(f);
}

// A data plane that comes along every 100 ms only.
struct link {
	struct fixture *f;
	struct revision at;
	uint64_t furthest; // behind, in revisions
	struct event *timer;
};

static void link_move(evutil_socket_t fd, short what, void *ctx)
{
	struct link *link = ctx;

	(void)fd;
	(void)what;
	link->at = link->f->ledger->state.revision;
	ledger_link_at(link->f->ledger, link->at, false);
}

static void link_look(void *ctx, unsigned topics)
{
	struct link *link = ctx;
	uint64_t behind = link->f->ledger->state.revision.number - link->at.number;

	(void)topics;
	if (behind > link->furthest)
		link->furthest = behind;
}

static void test_link(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");
	struct link link = {.f = f};
	const struct timeval each = {.tv_usec = 100000};

	link.timer = event_new(f->base, -1, EV_PERSIST, link_move, &link);
	assert_int_equal(ledger_watch(f->ledger, LEDGER_ENTRIES, link_look, &link), 0);
	link_move(-1, 0, &link);
	event_add(link.timer, &each);
	hosts_read(f, list, 30000, 0, true);
	assert_int_equal(count_of(f), 30000);
	assert_true(link.furthest > 0);
	assert_true(
		link.furthest <= 10
	); // of 24: two batches, and one for a machine that stood still
	// One that comes no further, or is sent everything for ever, is not waited for for ever.
	event_free(link.timer);
	for (int i = 0; i < 2; i++) {
		list = list_open(f, i ? "worst" : "worse");
		ledger_link_at(f->ledger, link.at, i);
		lists_read_begin(f->ledger->lists, list);
		hosts_feed(f, list, 30000 + 15000 * i, 45000 + 15000 * i, 0);
		read_end(f, list, true);
	}
	assert_int_equal(count_of(f), 60000);
	ledger_unwatch(f->ledger, link_look, &link);
	state_check(f);
}

static void test_ends(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");
	uint64_t changes;
	struct entry e;
	int64_t until = time(NULL) + 2, end = clock_boot_ms(f->ledger) + 15000;

	lists_read_begin(f->ledger->lists, list);
	lists_feed(f->ledger->lists, list, "203.0.113.7", 11, "", 0, until);
	feed(f, list, "203.0.113.8");
	read_end(f, list, true);
	assert_true(entry_is(f, "203.0.113.7", &e));
	// The wire knows no end of it: that is the ledger's alone.
	assert_true(e.enforce_until == UNTIL_FOREVER);
	changes = f->ledger->lists->changes;
	while (f->ledger->lists->changes == changes && clock_boot_ms(f->ledger) < end)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_true(time(NULL) >= until);
	assert_false(entry_is(f, "203.0.113.7", &e));
	assert_true(entry_is(f, "203.0.113.8", &e));
	state_check(f);
}

static void test_full(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");

	f->conf.max_entries = 5000;
	ledger_limits_set(f->ledger, &f->conf);
	hosts_read(f, list, 10000, 0, true);
	assert_int_equal(last.error, -ENOBUFS);
	assert_int_equal(count_of(f), LIST_BATCH_MAX);
	state_check(f);
	f->conf.max_entries = 50000;
	ledger_limits_set(f->ledger, &f->conf);
	hosts_read(f, list, 10000, 0, true);
	assert_int_equal(last.error, 0);
	assert_int_equal(count_of(f), 10000);
	state_check(f);
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

static void lists_file(const struct fixture *f, char path[128], const char *end)
{
	snprintf(path, 128, "%s/lists.db%s", f->dir, end);
}

static void copy_put(struct fixture *f, bool back)
{
	char path[128], copy[128];

	ledger_close(f->ledger);
	lists_file(f, path, "");
	lists_file(f, copy, ".copy");
	file_copy(back ? copy : path, back ? path : copy);
	protect_free(f->protect);
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &f->protect), 0);
	fixture_open(f);
}

// lists.db as it was before the ledger's last commits: completed from the log.
static void test_redo(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad"), other;
	struct list_state before, after;

	hosts_read(f, list, 3000, 0, true);
	copy_put(f, false);
	list = list_open(f, "bad");
	hosts_read(f, list, 3300, 7, true);
	other = list_open(f, "other");
	hosts_read(f, other, 5000, 3, true);
	state_check(f);
	ledger_state(f->ledger, &before);
	copy_put(f, true);
	ledger_state(f->ledger, &after);
	assert_true(list_state_equal(&before, &after));
	state_check(f);
	// And the next reading finds nothing to do.
	list = list_open(f, "bad");
	hosts_read(f, list, 3300, 7, true);
	assert_int_equal(last.added + last.removed + last.changed, 0);
}

// A lists.db that is lost: the ledger says what is left, and readings bring back the rest.
static void test_lost(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");
	struct list_state before, after;
	char path[128];

	put(f, "operator", "x", "203.0.113.7", CLAIM_ENFORCE, UNTIL_FOREVER);
	f->conf.change_log_max = 1000;
	ledger_limits_set(f->ledger, &f->conf);
	hosts_read(f, list, 10000, 0, true);
	ledger_state(f->ledger, &before);
	ledger_close(f->ledger);
	lists_file(f, path, "");
	assert_int_equal(unlink(path), 0);
	protect_free(f->protect);
	assert_int_equal(protect_create(true, PROTECT_REFUSE, &f->protect), 0);
	fixture_open(f);
	ledger_state(f->ledger, &after);
	assert_int_equal(after.count, 1);
	assert_true(after.revision.number > before.revision.number);
	state_check(f);
	list = list_open(f, "bad");
	hosts_read(f, list, 10000, 0, true);
	assert_int_equal(count_of(f), 10001);
	ledger_state(f->ledger, &after);
	assert_true(digest_equal(before.digest, after.digest));
	state_check(f);
}

static void test_retire(void **state)
{
	struct fixture *f = *state;
	uint32_t list = list_open(f, "bad");

	hosts_read(f, list, 9000, 0, true);
	f->done = false;
	lists_retire(f->ledger->lists, "bad", &somebody, done_cb, f);
	loop_until(f, &f->done);
	assert_int_equal(f->error, 0);
	assert_int_equal(count_of(f), 0);
	state_check(f);
}

// --- against a dumb reference

#define MODEL 4000 // indicators that a round may know

static unsigned rnd(unsigned *seed, unsigned below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % below;
}

static void model_text(unsigned i, char text[64])
{
	switch (i % 4) {
	case 0:
		snprintf(text, 64, "198.18.%u.%u", i >> 8, i & 255);
		break;
	case 1:
		snprintf(text, 64, "2001:db8:%x::/48", i);
		break;
	case 2:
		snprintf(text, 64, "%sh%u.evil%u.example", i % 8 == 2 ? "*." : "", i, i % 5);
		break;
	default:
		snprintf(text, 64, "tcp/198.19.%u.%u:443", i >> 8, i & 255);
	}
}

static void
model_round(struct fixture *f, uint32_t list, uint8_t *member, const uint8_t *other, unsigned *seed)
{
	unsigned want_add = 0, want_remove = 0, want = 0;
	uint8_t next[MODEL];
	unsigned density = rnd(seed, 100);

	lists_read_begin(f->ledger->lists, list);
	for (unsigned k = 0; k < MODEL; k++) {
		unsigned i = k * 1777 % MODEL; // in no order
		char text[64];

		next[i] = rnd(seed, 10) < 3 ? rnd(seed, 100) < density : member[i];
		want_add += next[i] && !member[i];
		want_remove += !next[i] && member[i];
		model_text(i, text);
		for (unsigned times = next[i] ? 1 + !rnd(seed, 9) : 0; times; times--)
			feed(f, list, text);
	}
	read_end(f, list, true);
	assert_int_equal(last.error, 0);
	assert_int_equal(last.added, want_add);
	assert_int_equal(last.removed, want_remove);
	memcpy(member, next, MODEL);
	for (unsigned i = 0; i < MODEL; i++) {
		struct entry e;
		char text[64];

		want += member[i] || other[i];
		if (i % 7 == 0) {
			model_text(i, text);
			assert_int_equal(entry_is(f, text, &e), member[i] || other[i]);
		}
	}
	assert_int_equal(count_of(f), want);
}

static void test_model(void **state)
{
	struct fixture *f = *state;
	unsigned seed = (unsigned)time(NULL);
	uint8_t members[2][MODEL] = {0};

	print_message("seed %u\n", seed);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 2; i++) {
			struct list_conf conf = {.max_members = MODEL, .no_brakes = true};
			uint32_t list;

			snprintf(conf.name, sizeof(conf.name), "list%u", i);
			list = lists_configure(f->ledger->lists, &conf);
			lists_done_set(f->ledger->lists, list, read_done_cb, NULL);
			model_round(f, list, members[i], members[!i], &seed);
		}
		state_check(f);
		if (round % 4 == 3)
			fixture_reopen(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_difference, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cautions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_union, setup, teardown),
		cmocka_unit_test_setup_teardown(test_immunity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unconfirmed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_brakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_points, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_redo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_retire, setup, teardown),
		cmocka_unit_test_setup_teardown(test_model, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
