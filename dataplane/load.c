// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/load.h"

#include "dataplane/core/packet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STALE_S (30 * 24 * 3600)

#define AHEAD 8 // entries whose memory has been asked for before they are put

struct loading {
	struct set *set;
	struct entry ahead[AHEAD];
	size_t read, put; // entries so far
	struct exception *exceptions;
	size_t n, room;
	int error; // of the first put that failed: list_load goes on to the previous pair
};

static int load_exception_reset(void *ctx)
{
	struct loading *l = ctx;

	l->n = 0;
	return 0;
}

static int load_exception(void *ctx, const struct exception *e)
{
	struct loading *l = ctx;

	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		struct exception *grown = realloc(l->exceptions, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->exceptions = grown;
		l->room = room;
	}
	l->exceptions[l->n++] = *e;
	return 0;
}

static int load_put_until(struct loading *l, size_t n)
{
	int r = 0;

	for (; l->put < n && r == 0; l->put++)
		r = set_load_put(l->set, &l->ahead[l->put % AHEAD]);
	if (r < 0 && !l->error)
		l->error = r;
	return r;
}

// In a long list each entry lies somewhere else: reading on while the memory answers saves half of
// the time.
static int load_put(void *ctx, const struct entry *e)
{
	struct loading *l = ctx;

	if (l->read - l->put == AHEAD) {
		int r = load_put_until(l, l->put + 1);

		if (r < 0)
			return r;
	}
	l->ahead[l->read++ % AHEAD] = *e;
	set_load_prefetch(l->set, e);
	return 0;
}

static int load_remove(void *ctx, const struct indicator *n)
{
	struct loading *l = ctx;
	int r = load_put_until(l, l->read);

	set_load_remove(l->set, n);
	return r;
}

static int load_reset(void *ctx)
{
	struct loading *l = ctx;

	l->n = 0;
	l->put = l->read;
	set_load_reset(l->set);
	return 0;
}

// Exceptions first: they must not be missing while the list is already in force.
static int load_check(void *ctx, const struct list_state *state)
{
	struct loading *l = ctx;
	int r = load_put_until(l, l->read);

	if (r == 0)
		r = set_exceptions(l->set, l->exceptions, l->n);
	if (r == 0)
		r = set_load_complete(l->set, state);
	if (r == 0)
		table_huge(set_table(l->set), true);
	if (r < 0 && r != -EILSEQ && !l->error)
		l->error = r;
	return r;
}

int load_list(
	struct set *set, const char *dir, enum list_origin *ret_origin, struct text_error *ret_error
)
{
	struct loading loading = {.set = set};
	const struct list_sink sink = {
		.exception_reset = load_exception_reset,
		.exception = load_exception,
		.put = load_put,
		.remove = load_remove,
		.reset = load_reset,
		.check = load_check,
		.ctx = &loading,
	};
	enum list_origin origin = LIST_NONE;
	struct list_state state = {0};
	int r = list_load(dir, &sink, &state, &origin, ret_error);

	free(loading.exceptions);
	if (r < 0) {
		set_load_reset(set);
		return loading.error ? loading.error : r;
	}
	*ret_origin = origin;
	return 0;
}

static int64_t changed_at(const char *dir, const char *name)
{
	char path[4096];
	struct stat st;
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	if (n < 0 || (size_t)n >= sizeof(path) || stat(path, &st))
		return 0;
	return st.st_mtim.tv_sec;
}

bool load_clock_check(struct set *set, const char *dir)
{
	int64_t now = set_now(set).wall_ms / 1000;
	int64_t rules = changed_at(dir, "deny.rules"), journal = changed_at(dir, "deny.journal");
	int64_t last = rules > journal ? rules : journal;
	// A second for the file system's coarser clock.
	bool hold = last && (now + 1 < last || now > last + STALE_S);

	set_ends_hold(set, hold);
	return hold;
}

// --- self-test

// 192.0.2.1 (RFC 5737): no real list's entry decides here, the set is the test's own.
static void test_packet(struct packet *ret_packet)
{
	static const uint8_t frame[] = {
		0x02, 0,    0,	  0,	0,   1, 0x02, 0, 0,  0, 0, 2, 0x08, 0x00, // Ethernet, IPv4
		0x45, 0,    0,	  40,	0,   0, 0x40, 0, 64, 6, 0, 0, // IPv4, TCP
		198,  51,   100,  1,	192, 0, 2,    1, // source, destination
		0x9c, 0x40, 0x01, 0xbb, 0,   0, 0,    1, 0,  0, 0, 0, 0x50, 0x02, // SYN to port 443
		0xff, 0xff, 0,	  0,	0,   0,
	};

	packet_parse(frame, sizeof(frame), sizeof(frame), PACKET_ETHERNET, ret_packet);
}

static bool test_decides(struct set *set, uint8_t verdict, uint8_t reason)
{
	const struct live *live = set_live(set);
	const struct policy *policy = atomic_load_explicit(&live->policy, memory_order_acquire);
	struct packet packet;
	struct decision d;

	test_packet(&packet);
	decide(policy, live->entries, live->exceptions, &packet, DIRECTION_OUT, &d);
	return d.verdict == verdict && d.reason == reason;
}

static int test_run(struct set *set)
{
	const struct entry entry = {
		.indicator = {
			.kind = INDICATOR_NET,
			.family = 4,
			.prefix_len = 32,
			.addr = {192, 0, 2, 1},
		},
		.enforce_until = UNTIL_FOREVER,
	};
	struct list_state empty = {0};
	bool before, with;
	int r = set_load_complete(set, &empty);

	if (r < 0)
		return r;
	before = test_decides(set, VERDICT_FORWARD, REASON_NO_ENTRY);
	r = set_load_put(set, &entry);
	if (r < 0)
		return r;
	with = test_decides(set, VERDICT_DROP, REASON_ENTRY_DENY);
	set_load_remove(set, &entry.indicator);
	return before && with && test_decides(set, VERDICT_FORWARD, REASON_NO_ENTRY) ? 0 : -EPROTO;
}

int load_self_test(const struct policy *policy)
{
	const struct set_options options = {.capacity = 16, .workers = 1, .policy = *policy};
	struct set *set;
	int r = set_create(&options, (struct table_time){0}, &set);

	if (r < 0)
		return r;
	r = test_run(set);
	set_free(set);
	return r;
}
