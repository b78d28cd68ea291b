// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A stand-in for the data plane at the other end of the link, for one test program: it keeps a
// list, counts what comes, and refuses what it is told to. Included once.

#pragma once

#include "rules/wire.h"
#include "tests/unit/ledger_fixture.h"
#include "tests/unit/list_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

static struct fixture f;

static struct fake {
	int listener, fd;
	struct event *accepting, *reading;
	struct list list, marked;
	struct list_state live;
	bool syncing;
	unsigned hellos, batches, syncs, refused, exceptions, pauses,
		previews; // messages of each kind
	uint32_t code; // of the next batch
	uint32_t code_exceptions, code_pause, code_begin, code_preview; // of all of that type
	uint32_t n_exceptions; // of the set under way, of all its messages
	unsigned more, sets; // messages that were not the last; whole sets
	bool mute; // a HELLO is not answered
	uint64_t boot_id, capacity, count; // of HELLO_ACK and STATUS
	unsigned statuses, acks;
	uint64_t acked; // the last action acknowledged
	int64_t audited; // records of break-glass committed when it was
	bool refuse_end; // of a synchronisation, until it is forced
	bool close_at_batch; // before it is answered
	_Alignas(8) uint8_t message[WIRE_MESSAGE_MAX];
} fake;

static int64_t committed(const char *action);

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
	if (fake.mute)
		return;
	fake.syncing = false;
	m.boot_id = fake.boot_id;
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

static void fake_exceptions(const struct wire_exceptions *m, size_t len)
{
	const uint8_t *at = (const uint8_t *)(m + 1);

	fake.exceptions++;
	len -= sizeof(*m);
	for (uint32_t i = 0; i < m->n; i++) {
		struct exception x;
		int size = wire_exception_read(at, len, &x);

		assert_true(size > 0);
		at += size;
		len -= (size_t)size;
	}
	assert_int_equal(len, 0);
	fake.n_exceptions += m->n;
	if (m->flags & WIRE_EXCEPTIONS_MORE) {
		fake.more++;
		fake_answer(&m->header, WIRE_OK);
		return;
	}
	fake.sets += fake.code_exceptions == WIRE_OK;
	fake_answer(&m->header, fake.code_exceptions);
}

static void fake_status(const struct wire_header *to)
{
	struct wire_status m = {
		.header = {WIRE_STATUS, WIRE_VERSION, sizeof(m), to->seq},
		.capacity = fake.capacity,
	};

	fake.statuses++;
	m.state.count = fake.count;
	assert_int_equal(send(fake.fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
}

static void fake_preview(const struct wire_header *to)
{
	const struct wire_preview_answer m = {
		.header = {WIRE_PREVIEW_ANSWER, WIRE_VERSION, sizeof(m), to->seq},
		.samples = fake.count,
	};

	fake.previews++;
	if (fake.code_preview)
		fake_answer(to, fake.code_preview);
	else if (fake.count)
		assert_int_equal(send(fake.fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
}

// Records of the audit whose action begins so, as another connection sees them: committed ones.
static int64_t committed(const char *action)
{
	char path[128];
	sqlite3 *db = NULL;
	sqlite3_stmt *stmt = NULL;
	int64_t n = -1;

	snprintf(path, sizeof(path), "%s/ledger.db", f.dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_prepare_v2(
			db,
			"SELECT count(*) FROM audit WHERE action LIKE ?1 || '%'",
			-1,
			&stmt,
			NULL
		),
		SQLITE_OK
	);
	sqlite3_bind_text(stmt, 1, action, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return n;
}

static void fake_take(const struct wire_header *h, size_t len)
{
	struct wire_sync_end end;

	switch (h->type) {
	case WIRE_HELLO:
		fake_hello(h);
		break;
	case WIRE_EXCEPTIONS:
		fake_exceptions((const void *)h, len);
		break;
	case WIRE_PAUSE:
		fake.pauses++;
		fake_answer(h, fake.code_pause);
		break;
	case WIRE_STATUS_GET:
		fake_status(h);
		break;
	case WIRE_PREVIEW:
		fake_preview(h);
		break;
	case WIRE_BREAKGLASS_ACK:
		fake.acks++;
		fake.acked = h->seq;
		fake.audited = committed("breakglass");
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
		fake_answer(h, fake.code_begin);
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
