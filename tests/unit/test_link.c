// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The link: a fake control against the real server, in one process and one event loop.

#include "dataplane/clock.h"
#include "dataplane/link.h"
#include "tests/unit/cm.h"

#include <rte_rcu_qsbr.h>

#include <event2/event.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 5000

static char dir[] = "/tmp/stanch-link-XXXXXX";

struct fixture {
	struct event_base *base;
	struct set *set;
	struct breakglass *breakglass;
	struct requests requests;
	struct link *link;
	char link_path[64], ctl_path[64];
	uint64_t seq;
};

struct answer {
	uint8_t octets[WIRE_MESSAGE_MAX];
	size_t len;
};

static struct answer answer;

static size_t status_stub(void *ctx, void *to, size_t room)
{
	struct wire_status w = {.header = {.type = WIRE_STATUS, .version = WIRE_VERSION}};

	(void)ctx;
	assert_true(room >= sizeof(w));
	w.header.length = sizeof(w);
	memcpy(to, &w, sizeof(w));
	return sizeof(w);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct set_options set = {.capacity = 5000, .workers = 2};
	struct link_options link = {.deadline_ms = 200};

	policy_init(&set.policy);
	f->base = event_base_new();
	assert_int_equal(set_create(&set, clock_now(), &f->set), 0);
	assert_int_equal(breakglass_create(f->set, NULL, &f->breakglass), 0);
	f->requests = (struct requests
	){.set = f->set, .breakglass = f->breakglass, .status = status_stub, .boot_id = 11};
	snprintf(f->link_path, sizeof(f->link_path), "%s/dataplane.sock", dir);
	snprintf(f->ctl_path, sizeof(f->ctl_path), "%s/dataplane-ctl.sock", dir);
	link.base = f->base;
	link.requests = &f->requests;
	link.link_path = f->link_path;
	link.ctl_path = f->ctl_path;
	assert_int_equal(link_create(&link, &f->link), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	link_free(f->link);
	requests_fini(&f->requests);
	breakglass_free(f->breakglass);
	set_free(f->set);
	event_base_free(f->base);
	free(f);
	return 0;
}

// --- the fake control

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, strlen(path));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static struct wire_header header(struct fixture *f, uint16_t type, size_t len)
{
	return (struct wire_header
	){.type = type, .version = WIRE_VERSION, .length = (uint32_t)len, .seq = ++f->seq};
}

static void turn(struct fixture *f)
{
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	link_poll(f->link);
}

static void say(struct fixture *f, int fd, const void *message, size_t len)
{
	int64_t end = clock_now().boot_ms + PATIENCE_MS;

	while (send(fd, message, len, MSG_NOSIGNAL) < 0) {
		assert_true(errno == EAGAIN && clock_now().boot_ms < end);
		turn(f);
	}
}

// The next message. 0 at the end of the session.
static size_t hear(struct fixture *f, int fd)
{
	int64_t end = clock_now().boot_ms + PATIENCE_MS;

	for (;;) {
		ssize_t n = recv(fd, answer.octets, sizeof(answer.octets), 0);

		if (n >= 0 || errno == ECONNRESET) {
			answer.len = n < 0 ? 0 : (size_t)n;
			if (answer.len)
				assert_int_equal(wire_header_check(answer.octets, answer.len), 0);
			return answer.len;
		}
		assert_true(clock_now().boot_ms < end);
		turn(f);
	}
}

static uint32_t hear_code(struct fixture *f, int fd)
{
	struct wire_result result;

	assert_int_equal(hear(f, fd), sizeof(result));
	memcpy(&result, answer.octets, sizeof(result));
	assert_int_equal(result.header.type, WIRE_RESULT);
	return result.code;
}

static struct wire_result last_result(void)
{
	struct wire_result result;

	memcpy(&result, answer.octets, sizeof(result));
	return result;
}

static struct wire_hello_ack hello(struct fixture *f, int fd)
{
	struct wire_hello m = {.header = header(f, WIRE_HELLO, sizeof(m)), .build = STANCH_VERSION};
	struct wire_hello_ack ack;

	say(f, fd, &m, sizeof(m));
	assert_int_equal(hear(f, fd), sizeof(ack));
	memcpy(&ack, answer.octets, sizeof(ack));
	assert_int_equal(ack.header.type, WIRE_HELLO_ACK);
	assert_int_equal(ack.header.seq, m.header.seq);
	assert_int_equal(ack.boot_id, 11);
	return ack;
}

static int session(struct fixture *f)
{
	int fd = dial(f->link_path);

	assert_int_equal(hello(f, fd).error, WIRE_OK);
	return fd;
}

static struct entry entry_at(unsigned i)
{
	struct entry e = {.enforce_until = UNTIL_FOREVER};
	struct indicator_error error;
	char text[64];

	snprintf(text, sizeof(text), "203.0.%u.%u", i / 256, i % 256);
	assert_int_equal(indicator_parse(text, strlen(text), &e.indicator, &error), 0);
	return e;
}

static struct list_state state_of(unsigned from, unsigned to, uint64_t number)
{
	struct list_state s = {.ledger_id = {9}, .revision = {.epoch = 3, .number = number}};

	for (unsigned i = from; i < to; i++) {
		struct entry e = entry_at(i);

		s.count++;
		digest_add(&s.digest, entry_hash(&e));
	}
	return s;
}

static void sync_begin(struct fixture *f, int fd, uint64_t generation, struct list_state target)
{
	struct wire_sync_begin m
		= {.header = header(f, WIRE_SYNC_BEGIN, sizeof(m)), .generation = generation};

	wire_state_pack(&target, &m.state);
	say(f, fd, &m, sizeof(m));
}

static void sync_entries(struct fixture *f, int fd, uint64_t generation, unsigned from, unsigned to)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct wire_sync_entries m = {.generation = generation, .n = to - from};
	size_t at = sizeof(m);

	for (unsigned i = from; i < to; i++) {
		struct entry e = entry_at(i);
		int n = wire_entry_write(message + at, sizeof(message) - at, WIRE_PUT, &e);

		assert_true(n > 0);
		at += (size_t)n;
	}
	m.header = header(f, WIRE_SYNC_ENTRIES, at);
	memcpy(message, &m, sizeof(m));
	say(f, fd, message, at);
}

static void
sync_end(struct fixture *f, int fd, uint64_t generation, struct list_state target, bool force)
{
	struct wire_sync_end m = {
		.header = header(f, WIRE_SYNC_END, sizeof(m)),
		.generation = generation,
		.flags = force ? WIRE_SYNC_FORCE : 0,
	};

	wire_state_pack(&target, &m.state);
	say(f, fd, &m, sizeof(m));
}

static uint32_t
sync_list(struct fixture *f, int fd, unsigned from, unsigned to, uint64_t number, bool force)
{
	static uint64_t generation = 100;
	struct list_state target = state_of(from, to, number);

	generation++;
	sync_begin(f, fd, generation, target);
	assert_int_equal(hear_code(f, fd), WIRE_OK);
	for (unsigned i = from; i < to; i += 500) {
		sync_entries(f, fd, generation, i, i + 500 < to ? i + 500 : to);
		assert_int_equal(hear_code(f, fd), WIRE_OK);
	}
	sync_end(f, fd, generation, target, force);
	return hear_code(f, fd);
}

// A batch that puts or removes [from, to).
static size_t batch_make(
	struct fixture *f,
	void *message,
	uint64_t number,
	struct list_state after,
	enum wire_op op,
	unsigned from,
	unsigned to
)
{
	struct wire_batch m = {.from_epoch = 3, .from_number = number, .n = to - from};
	uint8_t *octets = message;
	size_t at = sizeof(m);

	wire_state_pack(&after, &m.after);
	for (unsigned i = from; i < to; i++) {
		struct entry e = entry_at(i);

		at += (size_t)wire_entry_write(octets + at, WIRE_MESSAGE_MAX - at, op, &e);
	}
	m.header = header(f, WIRE_BATCH, at);
	memcpy(octets, &m, sizeof(m));
	return at;
}

static bool denied(const struct fixture *f, unsigned i)
{
	struct entry e = entry_at(i);
	struct set_view view;

	return set_find(f->set, &e.indicator, &view) == 0 && view.action == ENTRY_ENFORCE;
}

static void all_denied(const struct fixture *f, unsigned to)
{
	for (unsigned i = 0; i < to; i++)
		assert_true(denied(f, i));
}

static void state_is(struct wire_state got, struct list_state wanted)
{
	struct wire_state packed;

	wire_state_pack(&wanted, &packed);
	assert_memory_equal(&got, &packed, sizeof(packed));
}

// --- tests

static void test_hello(void **state)
{
	struct fixture *f = *state;
	struct wire_hello other = {.build = "0.0.0-other"};
	struct wire_hello_ack ack;
	struct stat st;
	int fd = dial(f->link_path);

	assert_int_equal(stat(f->link_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	assert_int_equal(stat(f->ctl_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	ack = hello(f, fd);
	assert_int_equal(ack.error, WIRE_OK);
	assert_int_equal(ack.capacity, 5000);
	assert_int_equal(ack.state.epoch, 0);
	assert_int_equal(ack.state.count, 0);
	close(fd);
	fd = dial(f->link_path);
	other.header = header(f, WIRE_HELLO, sizeof(other));
	say(f, fd, &other, sizeof(other));
	assert_int_equal(hear(f, fd), sizeof(ack));
	memcpy(&ack, answer.octets, sizeof(ack));
	assert_int_equal(ack.error, WIRE_BAD_VERSION);
	assert_int_equal(hear(f, fd), 0);
	close(fd);
	fd = dial(f->link_path);
	other.header.version = WIRE_VERSION + 1;
	say(f, fd, &other, sizeof(other));
	assert_int_equal(hear(f, fd), sizeof(ack));
	memcpy(&ack, answer.octets, sizeof(ack));
	assert_int_equal(ack.error, WIRE_BAD_VERSION);
	close(fd);
}

static void test_nothing_before_hello(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f->link_path);

	sync_begin(f, fd, 1, state_of(0, 1, 1));
	assert_int_equal(hear_code(f, fd), WIRE_DENIED);
	assert_int_equal(hear(f, fd), 0);
	close(fd);
}

static void test_sync_and_batches(void **state)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct fixture *f = *state;
	int fd = session(f);
	struct list_state after = state_of(0, 1100, 2);
	size_t len;

	// Without a list a batch has nothing to build on.
	len = batch_make(f, message, 1, after, WIRE_PUT, 1000, 1100);
	say(f, fd, message, len);
	assert_int_equal(hear_code(f, fd), WIRE_NEED_SYNC);
	assert_int_equal(sync_list(f, fd, 0, 1000, 1, false), WIRE_OK);
	len = batch_make(f, message, 1, after, WIRE_PUT, 1000, 1100);
	say(f, fd, message, len);
	assert_int_equal(hear_code(f, fd), WIRE_OK);
	state_is(last_result().state, after);
	all_denied(f, 1100);
	// The same once more: from a revision that has gone by.
	say(f, fd, message, len);
	assert_int_equal(hear_code(f, fd), WIRE_NEED_SYNC);
	// A digest that does not come out: nothing of it is stored.
	len = batch_make(f, message, 2, state_of(0, 1050, 3), WIRE_REMOVE, 0, 50);
	say(f, fd, message, len);
	assert_int_equal(hear_code(f, fd), WIRE_MISMATCH);
	all_denied(f, 1100);
	len = batch_make(f, message, 2, state_of(50, 1100, 3), WIRE_REMOVE, 0, 50);
	say(f, fd, message, len);
	assert_int_equal(hear_code(f, fd), WIRE_OK);
	assert_false(denied(f, 49));
	assert_true(denied(f, 50));
	close(fd);
	// Control comes again: its cursor.
	fd = dial(f->link_path);
	after = state_of(50, 1100, 3);
	state_is(hello(f, fd).state, after);
	close(fd);
}

static void test_full(void **state)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct fixture *f = *state;
	int fd = session(f);
	size_t len;

	assert_int_equal(sync_list(f, fd, 0, 4950, 1, false), WIRE_OK);
	len = batch_make(f, message, 1, state_of(0, 5001, 2), WIRE_PUT, 4950, 5001);
	say(f, fd, message, len);
	assert_int_equal(hear_code(f, fd), WIRE_FULL);
	assert_int_equal(last_result().count, 5001);
	assert_int_equal(last_result().limit, 5000);
	assert_int_equal(last_result().state.count, 4950);
	len = batch_make(f, message, 1, state_of(0, 5000, 2), WIRE_PUT, 4950, 5000);
	say(f, fd, message, len);
	assert_int_equal(hear_code(f, fd), WIRE_OK);
	sync_begin(f, fd, 1, state_of(0, 5001, 3));
	assert_int_equal(hear_code(f, fd), WIRE_FULL);
	close(fd);
}

static void test_shrink_brake(void **state)
{
	struct fixture *f = *state;
	int fd = session(f);

	assert_int_equal(sync_list(f, fd, 0, 1000, 1, false), WIRE_OK);
	assert_int_equal(sync_list(f, fd, 0, 700, 2, false), WIRE_SHRINK_REFUSED);
	assert_int_equal(last_result().count, 700);
	assert_int_equal(last_result().limit, 800);
	all_denied(f, 1000);
	assert_int_equal(sync_list(f, fd, 0, 0, 2, false), WIRE_SHRINK_REFUSED);
	all_denied(f, 1000);
	// Ended again with an operator's force, without sending it all once more.
	sync_end(f, fd, 102, state_of(0, 700, 2), true);
	assert_int_equal(hear_code(f, fd), WIRE_NEED_SYNC); // that one was replaced
	assert_int_equal(sync_list(f, fd, 0, 700, 2, true), WIRE_OK);
	assert_false(denied(f, 700));
	close(fd);
}

// Control is killed at every message of a synchronisation and of a batch: nothing is un-denied.
static void test_killed_in_the_middle(void **state)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct fixture *f = *state;
	int fd = session(f);
	struct list_state after;

	assert_int_equal(sync_list(f, fd, 0, 1000, 1, false), WIRE_OK);
	for (unsigned stop = 0; stop < 4; stop++) {
		sync_begin(f, fd, 50 + stop, state_of(100, 1100, 2));
		for (unsigned i = 0; i < stop; i++)
			sync_entries(f, fd, 50 + stop, 100 + 300 * i, 400 + 300 * i);
		for (unsigned i = 0; i <= stop; i++)
			assert_int_equal(hear_code(f, fd), WIRE_OK);
		close(fd);
		while (link_connected(f->link))
			turn(f);
		all_denied(f, 1000);
		fd = dial(f->link_path);
		// None of control's history: it will synchronise.
		assert_int_equal(hello(f, fd).state.number, 0);
	}
	assert_int_equal(sync_list(f, fd, 0, 1000, 3, true), WIRE_OK);
	after = state_of(0, 1200, 4);
	say(f, fd, message, batch_make(f, message, 3, after, WIRE_PUT, 1000, 1200));
	close(fd); // before the answer
	while (link_connected(f->link))
		turn(f);
	all_denied(f, 1000);
	fd = dial(f->link_path);
	state_is(hello(f, fd).state, after); // whole
	close(fd);
}

static void test_newer_hello_evicts(void **state)
{
	struct fixture *f = *state;
	int old = session(f), new;

	sync_begin(f, old, 1, state_of(0, 10, 1));
	assert_int_equal(hear_code(f, old), WIRE_OK);
	new = session(f);
	assert_int_equal(hear(f, old), 0);
	// The old one's synchronisation is not the new one's.
	sync_entries(f, new, 1, 0, 10);
	assert_int_equal(hear_code(f, new), WIRE_NEED_SYNC);
	assert_int_equal(sync_list(f, new, 0, 10, 1, false), WIRE_OK);
	close(old);
	close(new);
}

static void test_stalled_worker(void **state)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct fixture *f = *state;
	struct rte_rcu_qsbr *qsbr = set_live(f->set)->qsbr;
	int fd = session(f);
	int64_t begun;

	assert_int_equal(sync_list(f, fd, 0, 100, 1, false), WIRE_OK);
	rte_rcu_qsbr_thread_register(qsbr, 0);
	rte_rcu_qsbr_thread_online(qsbr, 0);
	begun = clock_now().boot_ms;
	say(f, fd, message, batch_make(f, message, 1, state_of(0, 101, 2), WIRE_PUT, 100, 101));
	assert_int_equal(hear_code(f, fd), WIRE_STALLED);
	assert_true(clock_now().boot_ms - begun >= 200);
	assert_true(link_stalled(f->link));
	assert_true(denied(f, 100)); // stored all the same
	// Pipelined; the worker passes in between: both are answered, in their order.
	say(f, fd, message, batch_make(f, message, 2, state_of(0, 102, 3), WIRE_PUT, 101, 102));
	turn(f);
	say(f, fd, message, batch_make(f, message, 3, state_of(0, 103, 4), WIRE_PUT, 102, 103));
	turn(f);
	assert_int_equal(recv(fd, answer.octets, 1, MSG_PEEK), -1);
	rte_rcu_qsbr_quiescent(qsbr, 0);
	assert_int_equal(hear_code(f, fd), WIRE_OK);
	assert_int_equal(last_result().state.number, 3);
	assert_int_equal(hear_code(f, fd), WIRE_OK);
	assert_int_equal(last_result().state.number, 4);
	assert_false(link_stalled(f->link));
	rte_rcu_qsbr_thread_offline(qsbr, 0);
	close(fd);
}

static void test_pipelining(void **state)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct fixture *f = *state;
	int fd = session(f);

	assert_int_equal(sync_list(f, fd, 0, 100, 1, false), WIRE_OK);
	for (unsigned i = 0; i < 500; i++)
		say(f,
		    fd,
		    message,
		    batch_make(
			    f,
			    message,
			    1 + i,
			    state_of(0, 101 + i, 2 + i),
			    WIRE_PUT,
			    100 + i,
			    101 + i
		    ));
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(hear_code(f, fd), WIRE_OK);
		assert_int_equal(last_result().state.number, 2 + i);
	}
	close(fd);
}

// Wrong lengths, wrong counts, cut records: refused whole, and the list is as it was.
static void test_wrong_messages(void **state)
{
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct fixture *f = *state;
	int fd = session(f);
	struct wire_batch batch;
	struct wire_header h;
	size_t len;

	assert_int_equal(sync_list(f, fd, 0, 100, 1, false), WIRE_OK);
	len = batch_make(f, message, 1, state_of(0, 110, 2), WIRE_PUT, 100, 110);
	for (int wrong = 0; wrong < 4; wrong++) {
		memcpy(&batch, message, sizeof(batch));
		h = batch.header;
		switch (wrong) {
		case 0:
			batch.n = 11;
			break;
		case 1:
			batch.n = 9;
			break;
		case 2:
			batch.n = UINT32_MAX;
			break;
		default:
			batch.header.length = (uint32_t)(len - 8);
			break;
		}
		memcpy(message, &batch, sizeof(batch));
		say(f, fd, message, wrong == 3 ? len - 8 : len);
		assert_int_equal(hear_code(f, fd), WIRE_BAD_MESSAGE);
		batch.header = h;
		batch.n = 10;
		memcpy(message, &batch, sizeof(batch));
	}
	assert_false(denied(f, 100));
	// A header that lies: the session ends.
	h.length++;
	memcpy(message, &h, sizeof(h));
	say(f, fd, message, len);
	assert_int_equal(hear_code(f, fd), WIRE_BAD_MESSAGE);
	assert_int_equal(hear(f, fd), 0);
	close(fd);
	all_denied(f, 100);
}

static void test_random_octets(void **state)
{
	static uint8_t message[4096];
	struct fixture *f = *state;
	int fd = session(f);
	uint32_t x = 20261124;

	assert_int_equal(sync_list(f, fd, 0, 100, 1, false), WIRE_OK);
	for (unsigned i = 0; i < 3000; i++) {
		size_t len;
		struct wire_header h;

		x = x * 1664525 + 1013904223;
		len = 16 + (x >> 8) % 400;
		for (size_t at = 0; at < len; at++) {
			x = x * 1664525 + 1013904223;
			message[at] = (uint8_t)(x >> 24) & (uint8_t)((x >> 16) | 1);
		}
		h = header(f, (uint16_t)(1 + (x >> 8) % 11), len);
		// Not HELLO, which begins anew, and not PAUSE, which may well be right.
		if (h.type == WIRE_HELLO || h.type == WIRE_PAUSE)
			h.type = WIRE_BATCH;
		memcpy(message, &h, sizeof(h));
		if (send(fd, message, len, MSG_NOSIGNAL) < 0) {
			close(fd);
			fd = session(f);
		}
		turn(f);
		while (recv(fd, answer.octets, sizeof(answer.octets), 0) > 0)
			;
	}
	close(fd);
	while (link_connected(f->link))
		turn(f);
	all_denied(f, 100);
}

static void test_denials(void **state)
{
	struct fixture *f = *state;
	struct wire_denial denial = {.family = 4, .packets = 1};
	struct wire_denials head;
	uint64_t heard = 0, first = 0;
	int fd;

	// Nobody listens: the oldest go, counted.
	for (unsigned i = 0; i < 9000; i++) {
		denial.bytes = i;
		link_denial(f->link, &denial);
	}
	assert_int_equal(link_denials_lost(f->link), 9000 - 8192);
	fd = session(f);
	while (heard < 8192) {
		assert_true(hear(f, fd) > sizeof(head));
		memcpy(&head, answer.octets, sizeof(head));
		assert_int_equal(head.header.type, WIRE_DENIALS);
		assert_int_equal(answer.len, sizeof(head) + head.n * sizeof(struct wire_denial));
		if (!heard) {
			memcpy(&denial, answer.octets + sizeof(head), sizeof(denial));
			first = denial.bytes;
		}
		heard += head.n;
	}
	assert_int_equal(first, 9000 - 8192);
	assert_int_equal(heard, 8192);
	close(fd);
}

static void test_exceptions_and_lookup(void **state)
{
	struct fixture *f = *state;
	static uint8_t message[WIRE_MESSAGE_MAX];
	struct wire_exceptions m = {.n = 1};
	struct wire_lookup_answer found;
	struct wire_lookup ask;
	struct exception x = {.kind = EXCEPTION_PROTECT, .until = UNTIL_FOREVER};
	int fd = session(f);

	assert_int_equal(sync_list(f, fd, 0, 300, 1, false), WIRE_OK);
	for (unsigned i = 0; i < 3; i++) {
		int n;

		x.indicator = entry_at(i).indicator;
		n = wire_exception_write(message + sizeof(m), 1000, &x);
		m.header = header(f, WIRE_EXCEPTIONS, sizeof(m) + (size_t)n);
		m.flags = i < 2 ? WIRE_EXCEPTIONS_MORE : 0;
		memcpy(message, &m, sizeof(m));
		say(f, fd, message, m.header.length);
		assert_int_equal(hear_code(f, fd), WIRE_OK);
		assert_int_equal(set_exception_count(f->set), i < 2 ? 0 : 3);
	}
	ask.header = header(f, WIRE_LOOKUP, sizeof(ask));
	x.indicator = entry_at(2).indicator;
	wire_indicator_write(&ask.indicator, sizeof(ask.indicator), &x.indicator);
	say(f, fd, &ask, sizeof(ask));
	assert_int_equal(hear(f, fd), sizeof(found));
	memcpy(&found, answer.octets, sizeof(found));
	assert_int_equal(found.present, 1);
	assert_int_equal(found.action, ENTRY_ENFORCE);
	assert_int_equal(found.matched, 1);
	assert_int_equal(found.exception, EXCEPTION_PROTECT);
	assert_int_equal(found.state.count, 300);
	close(fd);
}

static void test_breakglass_is_told_until_acknowledged(void **state)
{
	struct fixture *f = *state;
	struct wire_pause pause = {.reason = "maintenance"};
	struct wire_ctl_allow allow = {.reason = "they called"};
	struct wire_breakglass told;
	struct wire_simple ack;
	struct entry e = entry_at(7);
	int root = dial(f->ctl_path), fd;

	pause.header = header(f, WIRE_CTL_PAUSE, sizeof(pause));
	pause.until = clock_now().wall_ms / 1000 + 600;
	say(f, root, &pause, sizeof(pause));
	assert_int_equal(hear_code(f, root), WIRE_OK);
	assert_true(set_paused(f->set));
	allow.header = header(f, WIRE_CTL_ALLOW, sizeof(allow));
	allow.until = pause.until;
	wire_indicator_write(&allow.indicator, sizeof(allow.indicator), &e.indicator);
	say(f, root, &allow, sizeof(allow));
	assert_int_equal(hear_code(f, root), WIRE_OK);
	assert_int_equal(set_exception_covering(f->set, &e.indicator), EXCEPTION_ALLOW);
	allow.reason[0] = '\0';
	say(f, root, &allow, sizeof(allow));
	assert_int_equal(hear_code(f, root), WIRE_BAD_MESSAGE); // not without a reason
	sync_begin(f, root, 1, state_of(0, 1, 1));
	assert_int_equal(hear_code(f, root), WIRE_DENIED);
	close(root);
	for (int session_no = 0; session_no < 2; session_no++) {
		fd = session(f);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(hear(f, fd), sizeof(told));
			memcpy(&told, answer.octets, sizeof(told));
			assert_int_equal(told.header.type, WIRE_BREAKGLASS);
			assert_int_equal(told.kind, i ? WIRE_CTL_ALLOW : WIRE_CTL_PAUSE);
			assert_int_equal(told.uid, geteuid());
		}
		if (session_no == 0)
			close(fd);
	}
	ack.header = header(f, WIRE_BREAKGLASS_ACK, sizeof(ack));
	ack.header.seq = told.header.seq;
	say(f, fd, &ack, sizeof(ack));
	while (breakglass_unacked(f->breakglass))
		turn(f);
	allow.reason[0] = 'x'; // root's is refused on the link
	say(f, fd, &allow, sizeof(allow));
	assert_int_equal(hear_code(f, fd), WIRE_DENIED);
	close(fd);
}

// A synchronisation of a large set: slices of the sweep, and the answer only at its end.
static void test_large_sweep(void **state)
{
	struct fixture *f = *state;
	int fd = session(f);

	assert_int_equal(sync_list(f, fd, 0, 5000, 1, false), WIRE_OK);
	assert_int_equal(sync_list(f, fd, 5000, 10000, 2, true), WIRE_OK);
	assert_int_equal(last_result().state.count, 5000);
	assert_int_equal(last_result().state.number, 2);
	assert_false(denied(f, 4999));
	assert_true(denied(f, 5000));
	close(fd);
}

#define LINK_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LINK_TEST(test_hello),
		LINK_TEST(test_nothing_before_hello),
		LINK_TEST(test_sync_and_batches),
		LINK_TEST(test_full),
		LINK_TEST(test_shrink_brake),
		LINK_TEST(test_killed_in_the_middle),
		LINK_TEST(test_newer_hello_evicts),
		LINK_TEST(test_stalled_worker),
		LINK_TEST(test_pipelining),
		LINK_TEST(test_wrong_messages),
		LINK_TEST(test_random_octets),
		LINK_TEST(test_denials),
		LINK_TEST(test_exceptions_and_lookup),
		LINK_TEST(test_breakglass_is_told_until_acknowledged),
		LINK_TEST(test_large_sweep),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return r;
}
