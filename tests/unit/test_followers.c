// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The followers of snapshot and data plane: the list on disk is the ledger's after each change and
// each restart; the link leads a data plane, here a stand-in, to it from any state.

#include "control/followers/dataplane.h"
#include "control/followers/snapshot.h"
#include "rules/snapshot.h"
#include "tests/unit/ledger_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ENTRIES_MAX 64

struct list {
	struct entry entries[ENTRIES_MAX];
	size_t n, n_exceptions;
};

static struct fixture f;
static struct snapshot *snapshot;

static int find(const struct list *l, const struct indicator *n)
{
	for (size_t i = 0; i < l->n; i++) {
		if (indicator_equal(&l->entries[i].indicator, n))
			return (int)i;
	}
	return -1;
}

static int put_cb(void *ctx, const struct entry *e)
{
	struct list *l = ctx;
	int at = find(l, &e->indicator);

	assert_true(l->n < ENTRIES_MAX);
	l->entries[at < 0 ? (int)l->n++ : at] = *e;
	return 0;
}

static int remove_entry_cb(void *ctx, const struct indicator *n)
{
	struct list *l = ctx;
	int at = find(l, n);

	if (at >= 0)
		l->entries[at] = l->entries[--l->n];
	return 0;
}

static int exception_put_cb(void *ctx, const struct exception *x)
{
	(void)x;
	((struct list *)ctx)->n_exceptions++;
	return 0;
}

static int exception_reset_cb(void *ctx)
{
	((struct list *)ctx)->n_exceptions = 0;
	return 0;
}

static int reset_cb(void *ctx)
{
	memset(ctx, 0, sizeof(struct list));
	return 0;
}

static struct digest digest_of(const struct list *l)
{
	struct digest digest = {0};

	for (size_t i = 0; i < l->n; i++)
		digest_add(&digest, entry_hash(&l->entries[i]));
	return digest;
}

static int check_cb(void *ctx, const struct list_state *state)
{
	const struct list *l = ctx;

	return l->n == state->count && digest_equal(digest_of(l), state->digest) ? 0 : -EILSEQ;
}

static void turn(void)
{
	const struct timeval soon = {.tv_usec = 2000};

	event_base_loopexit(f.base, &soon);
	event_base_dispatch(f.base);
}

// --- the list on disk

static void disk_is_current(size_t *ret_exceptions)
{
	struct list list = {0};
	const struct list_sink sink = {
		.exception_reset = exception_reset_cb,
		.exception = exception_put_cb,
		.put = put_cb,
		.remove = remove_entry_cb,
		.reset = reset_cb,
		.check = check_cb,
		.ctx = &list,
	};
	struct list_state want, state, disk;
	struct text_error error;
	enum list_origin origin = LIST_NONE;
	char why[160] = "";
	int64_t end = clock_boot_ms(f.ledger) + 10000;

	ledger_state(f.ledger, &want);
	while (!(snapshot_state(snapshot, &disk, why) && list_state_equal(&disk, &want))
	       && clock_boot_ms(f.ledger) < end)
		turn();
	assert_string_equal(why, "");
	assert_int_equal(list_load(f.dir, &sink, &state, &origin, &error), 0);
	assert_int_equal(origin, LIST_CURRENT);
	assert_true(list_state_equal(&state, &want));
	*ret_exceptions = list.n_exceptions;
}

static void follow(void)
{
	assert_int_equal(snapshot_follow(f.base, f.ledger, f.dir, NULL, &snapshot), 0);
}

static void deny(const char *indicator)
{
	assert_int_equal(
		put(&f, "operator", indicator, indicator, CLAIM_ENFORCE, UNTIL_FOREVER), SUBMIT_OK
	);
}

static void file_spoil(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f.dir, name);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "#", 1, 20), 1);
	close(fd);
}

static void test_snapshot(void **state)
{
	struct indicator n = indicator_of("203.0.113.9");
	size_t before, after;

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	follow();
	disk_is_current(&before);
	deny("203.0.113.7");
	deny("*.evil.example");
	disk_is_current(&before);
	assert_true(before > 0);
	op(&f, SUBMIT_END, "operator", "203.0.113.7", "203.0.113.7");
	disk_is_current(&before);
	f.done = false;
	ledger_allow(f.ledger, &n, in_seconds(&f, 60), &somebody, done_cb, &f);
	loop_until(&f, &f.done);
	turn();
	disk_is_current(&after);
	assert_int_equal(after, before + 1);
	// Committed while nobody follows: as after a kill before the journal was written.
	snapshot_unfollow(snapshot);
	deny("203.0.113.8");
	fixture_reopen(&f);
	follow();
	disk_is_current(&after);
	assert_int_equal(after, before + 1);
	snapshot_unfollow(snapshot);
	for (int i = 0; i < 2; i++) {
		file_spoil(i ? "deny.rules" : "deny.journal");
		follow();
		disk_is_current(&after);
		deny(i ? "198.51.100.1" : "198.51.100.2");
		disk_is_current(&after);
		snapshot_unfollow(snapshot);
	}
	fixture_fini(&f);
}

// --- a stand-in for the data plane

static struct fake {
	int listener, fd;
	struct event *accepting, *reading;
	struct list list, marked;
	struct list_state live;
	bool syncing;
	unsigned hellos, batches, syncs, refused, exceptions, pauses; // messages of each kind
	uint32_t code; // of the next batch
	bool refuse_end; // of a synchronisation, until it is forced
	bool close_at_batch; // before it is answered
	_Alignas(8) uint8_t message[WIRE_MESSAGE_MAX];
} fake;

static void fake_answer(const struct wire_header *to, uint32_t code)
{
	struct wire_result m = {
		.header = {WIRE_RESULT, WIRE_VERSION, sizeof(m), to->seq},
		.code = code,
	};

	wire_state_pack(&fake.live, &m.state);
	assert_int_equal(send(fake.fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
}

static void fake_hello(const struct wire_header *to)
{
	struct wire_hello_ack m = {
		.header = {WIRE_HELLO_ACK, WIRE_VERSION, sizeof(m), to->seq},
		.build = STANCH_VERSION,
		.capacity = 1000,
	};

	fake.hellos++;
	fake.syncing = false;
	wire_state_pack(&fake.live, &m.state);
	assert_int_equal(send(fake.fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
}

static void fake_entries(const uint8_t *at, uint32_t n, size_t len, struct list *list)
{
	for (; n; n--) {
		enum wire_op op;
		struct entry e;
		int size = wire_entry_read(at, len, &op, &e);

		assert_true(size > 0);
		if (op == WIRE_PUT)
			put_cb(list, &e);
		else
			remove_entry_cb(list, &e.indicator);
		at += size;
		len -= (size_t)size;
	}
	assert_int_equal(len, 0);
}

static void fake_batch(size_t len)
{
	struct wire_batch m;

	memcpy(&m, fake.message, sizeof(m));
	fake.batches++;
	if (fake.code) {
		fake_answer(&m.header, fake.code);
		fake.code = WIRE_OK;
		return;
	}
	if (!fake.syncing)
		assert_int_equal(m.from_number, fake.live.revision.number);
	fake_entries(
		fake.message + sizeof(m),
		m.n,
		len - sizeof(m),
		fake.syncing ? &fake.marked : &fake.list
	);
	if (!fake.syncing) {
		wire_state_unpack(&m.after, &fake.live);
		assert_int_equal(check_cb(&fake.list, &fake.live), 0);
	}
	fake_answer(&m.header, WIRE_OK);
}

static void fake_close(void)
{
	if (fake.reading)
		event_free(fake.reading);
	fake.reading = NULL;
	if (fake.fd >= 0)
		close(fake.fd);
	fake.fd = -1;
}

static void fake_take(const struct wire_header *h, size_t len)
{
	struct wire_sync_end end;

	switch (h->type) {
	case WIRE_HELLO:
		fake_hello(h);
		break;
	case WIRE_EXCEPTIONS:
		fake.exceptions++;
		fake_answer(h, WIRE_OK);
		break;
	case WIRE_PAUSE:
		fake.pauses++;
		fake_answer(h, WIRE_OK);
		break;
	case WIRE_BATCH:
		if (fake.close_at_batch) {
			fake.close_at_batch = false;
			fake_close();
			return;
		}
		fake_batch(len);
		break;
	case WIRE_SYNC_BEGIN:
		fake.syncs++;
		fake.syncing = true;
		fake.marked = (struct list){0};
		fake_answer(h, WIRE_OK);
		break;
	case WIRE_SYNC_ENTRIES:
		fake_entries(
			fake.message + sizeof(struct wire_sync_entries),
			((const struct wire_sync_entries *)h)->n,
			len - sizeof(struct wire_sync_entries),
			&fake.marked
		);
		fake_answer(h, WIRE_OK);
		break;
	case WIRE_SYNC_END:
		memcpy(&end, h, sizeof(end));
		if (fake.refuse_end && !(end.flags & WIRE_SYNC_FORCE)) {
			fake.refused++;
			fake_answer(h, WIRE_SHRINK_REFUSED);
			break;
		}
		fake.list = fake.marked;
		fake.syncing = false;
		wire_state_unpack(&end.state, &fake.live);
		assert_int_equal(check_cb(&fake.list, &fake.live), 0);
		fake_answer(h, WIRE_OK);
		break;
	default:
		break;
	}
}

static void fake_readable(evutil_socket_t fd, short what, void *ctx)
{
	ssize_t n = recv(fd, fake.message, sizeof(fake.message), MSG_DONTWAIT);

	(void)what;
	(void)ctx;
	if (n <= 0) {
		fake_close();
		return;
	}
	assert_int_equal(wire_header_check(fake.message, (size_t)n), 0);
	fake_take((const struct wire_header *)fake.message, (size_t)n);
}

static void fake_accept(evutil_socket_t fd, short what, void *ctx)
{
	(void)what;
	(void)ctx;
	fake_close();
	fake.fd = accept(fd, NULL, NULL);
	assert_true(fake.fd >= 0);
	fake.reading = event_new(f.base, fake.fd, EV_READ | EV_PERSIST, fake_readable, NULL);
	event_add(fake.reading, NULL);
}

static void fake_listen(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	memset(&fake, 0, sizeof(fake));
	fake.fd = -1;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/dataplane.sock", f.dir);
	fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fake.listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fake.listener, 4), 0);
	fake.accepting = event_new(f.base, fake.listener, EV_READ | EV_PERSIST, fake_accept, NULL);
	event_add(fake.accepting, NULL);
}

static void equal_becomes(const struct dataplane *d)
{
	int64_t end = clock_boot_ms(f.ledger) + 10000;
	char why[160];

	while (!dataplane_equal(d, why) && clock_boot_ms(f.ledger) < end)
		turn();
	assert_string_equal(why, "");
	assert_int_equal(check_cb(&fake.list, &fake.live), 0);
}

static void test_dataplane(void **state)
{
	struct dataplane *d;
	unsigned batches;
	char why[160];

	(void)state;
	fixture_init(&f, PROTECT_REFUSE);
	fake_listen();
	deny("203.0.113.7");
	assert_int_equal(dataplane_create(f.base, f.ledger, f.dir, &d), 0);
	assert_int_equal(snapshot_follow(f.base, f.ledger, f.dir, d, &snapshot), 0);
	// It has no list: a full synchronisation, and exceptions before it.
	equal_becomes(d);
	assert_int_equal(fake.syncs, 1);
	assert_true(fake.exceptions >= 1);
	assert_int_equal(fake.pauses, 1);
	deny("*.evil.example");
	equal_becomes(d);
	op(&f, SUBMIT_END, "operator", "203.0.113.7", "203.0.113.7");
	equal_becomes(d);
	assert_int_equal(fake.syncs, 1);
	assert_int_equal(fake.batches, 2);
	assert_int_equal(fake.list.n, 1);
	// The other end is killed before it took the batch: it comes again, with a batch.
	fake.close_at_batch = true;
	deny("203.0.113.8");
	equal_becomes(d);
	assert_int_equal(fake.hellos, 2);
	assert_int_equal(fake.syncs, 1);
	assert_true(fake.exceptions >= 2);
	// Full, then room again; another digest: everything anew.
	fake.code = WIRE_MISMATCH;
	deny("203.0.113.9");
	equal_becomes(d);
	assert_int_equal(fake.syncs, 2);
	// It comes back with another ledger's list.
	fake.live.ledger_id[0] ^= 1;
	fake_close();
	while (dataplane_connected(d))
		turn();
	equal_becomes(d);
	assert_int_equal(fake.syncs, 3);
	assert_int_equal(fake.list.n, 3);
	// The shrink brake holds the sweep, but nothing that is decided meanwhile.
	fake.refuse_end = true;
	fake.live.ledger_id[0] ^= 1;
	batches = fake.batches;
	fake_close();
	while (!fake.refused)
		turn();
	turn();
	deny("203.0.113.10");
	while (fake.batches == batches)
		turn();
	assert_int_equal(fake.marked.n, 4);
	assert_false(dataplane_equal(d, why));
	dataplane_sync(d, true);
	equal_becomes(d);
	assert_int_equal(fake.syncs, 4);
	snapshot_unfollow(snapshot);
	dataplane_free(d);
	fake_close();
	event_free(fake.accepting);
	close(fake.listener);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_dataplane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
