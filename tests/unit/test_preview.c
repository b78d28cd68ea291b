// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// PREVIEW as a message: what the sketch has seen, with what the list does to it already.

#include "dataplane/request.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <string.h>

#define NOW 1000000
#define LATER (NOW + 2000)

static struct set *set;
static struct sketch *sketch;
static struct requests requests;
static _Alignas(8) uint8_t answer[WIRE_MESSAGE_MAX];

static int setup(void **state)
{
	struct set_options options = {.capacity = 100, .workers = 1};

	(void)state;
	policy_init(&options.policy);
	requests = (struct requests){0};
	assert_int_equal(set_create(&options, (struct table_time){NOW, NOW}, &set), 0);
	assert_int_equal(sketch_create(1, 3, &sketch), 0);
	assert_int_equal(preview_create(sketch, set_live(set), &requests.preview), 0);
	requests.set = set;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	preview_free(requests.preview);
	sketch_free(sketch);
	set_free(set);
	return 0;
}

static struct indicator indicator_of(const char *text)
{
	struct indicator_error error;
	struct indicator n;

	assert_int_equal(indicator_parse(text, strlen(text), &n, &error), 0);
	return n;
}

// `samples` of the address or port that the text names.
static void seen(const char *text, unsigned samples, uint32_t bytes, bool inward)
{
	struct indicator n = indicator_of(text);
	struct sketch_sample s = {
		.family = n.family,
		.proto = n.proto ? n.proto : 1,
		.port = n.port,
		.bytes = bytes,
		.inward = inward,
	};

	memcpy(s.addr, n.addr, sizeof(s.addr));
	for (unsigned i = 0; i < samples; i++)
		sketch_add(sketch, 0, &s);
	sketch_drain(sketch, NOW);
}

enum what {
	DENY,
	WATCH,
	PROTECT,
};

static void listed(const char *text, enum what what)
{
	struct entry e = {.indicator = indicator_of(text)};
	struct exception x = {e.indicator, EXCEPTION_PROTECT, UNTIL_FOREVER};

	e.enforce_until = what == DENY ? UNTIL_FOREVER : UNTIL_NONE;
	e.monitor_until = UNTIL_FOREVER;
	if (what == PROTECT)
		assert_int_equal(set_exceptions(set, &x, 1), 0);
	else
		assert_int_equal(set_load_put(set, &e), 0);
}

static size_t send_raw(enum request_peer peer, const struct wire_preview *m, size_t len)
{
	size_t answered = 0;

	set_tick(set, (struct table_time){LATER, LATER});
	request_handle(&requests, peer, 0, m, len, answer, &answered);
	return answered;
}

static struct wire_preview message_of(const char *text, uint32_t ends)
{
	struct wire_preview m = {
		.header = {WIRE_PREVIEW, WIRE_VERSION, sizeof(m), 77},
		.all = !text,
		.ends = ends,
	};
	struct indicator n;

	if (text) {
		n = indicator_of(text);
		assert_int_equal(
			wire_indicator_write(&m.indicator, sizeof(m.indicator), &n),
			sizeof(m.indicator)
		);
	}
	return m;
}

static struct wire_preview_answer ask(const char *text, uint32_t ends)
{
	struct wire_preview m = message_of(text, ends);
	struct wire_preview_answer a;
	size_t len = send_raw(PEER_CONTROL, &m, sizeof(m));

	assert_int_equal(wire_header_check(answer, len), 0);
	memcpy(&a, answer, sizeof(a));
	assert_int_equal(a.header.type, WIRE_PREVIEW_ANSWER);
	assert_int_equal(a.header.seq, 77);
	return a;
}

static struct wire_preview_end end_at(uint32_t i)
{
	struct wire_preview_answer a;
	struct wire_preview_end end;

	memcpy(&a, answer, sizeof(a));
	assert_int_equal(wire_preview_end_read(answer, a.header.length, i, &end), 0);
	return end;
}

static void nothing_seen(void **state)
{
	struct wire_preview_answer a = ask("203.0.113.7", 10);

	(void)state;
	assert_int_equal(a.rate, SKETCH_RATE);
	assert_int_equal(a.samples, 0);
	assert_int_equal(a.all_samples, 0);
	assert_true(a.last_age_ms == UINT64_MAX);
	assert_int_equal(a.n, 0);
}

static void of_a_network(void **state)
{
	struct wire_preview_answer a;

	(void)state;
	seen("tcp/203.0.113.7:443", 5, 100, false);
	seen("tcp/203.0.113.7:443", 2, 1000, true);
	seen("udp/203.0.113.7:53", 1, 60, false);
	seen("203.0.113.9", 20, 84, false);
	seen("198.51.100.1", 72, 84, false);
	a = ask("203.0.113.0/24", 10);
	assert_int_equal(a.window_ms, LATER - NOW);
	assert_int_equal(a.last_age_ms, LATER - NOW);
	assert_int_equal(a.all_samples, 100);
	assert_int_equal(a.samples, 28);
	assert_int_equal(a.bytes, 500 + 2000 + 60 + 20 * 84);
	assert_int_equal(a.squares, 5 * 10000 + 2 * 1000000 + 3600 + 20 * 84 * 84);
	assert_int_equal(a.inward, 2);
	assert_int_equal(a.ends, 2);
	assert_int_equal(a.n, 2);
	assert_int_equal(end_at(0).samples, 20);
	assert_int_equal(end_at(0).addr[3], 9);
	assert_int_equal(end_at(1).samples, 8); // both protocols and directions
	assert_int_equal(end_at(1).inward, 2);
	assert_int_equal(end_at(1).port, 0);
	// Of everything, and no more remote ends than asked for.
	a = ask(NULL, 2);
	assert_int_equal(a.samples, 100);
	assert_int_equal(a.ends, 3);
	assert_int_equal(a.n, 2);
	assert_int_equal(end_at(0).addr[0], 198);
	assert_int_equal(end_at(1).samples, 20);
	assert_int_equal(ask(NULL, 0).n, 0);
}

static void of_a_host_and_of_a_port(void **state)
{
	struct wire_preview_answer a;

	(void)state;
	seen("tcp/203.0.113.7:443", 5, 100, false);
	seen("udp/203.0.113.7:53", 3, 60, false);
	seen("tcp/[2001:db8::1]:443", 9, 60, false);
	a = ask("203.0.113.7", 10);
	assert_int_equal(a.samples, 8);
	assert_int_equal(a.ends, 2);
	assert_int_equal(end_at(0).proto, 6);
	assert_int_equal(end_at(0).port, 443);
	assert_int_equal(end_at(1).proto, 17);
	a = ask("tcp/203.0.113.7:443", 10);
	assert_int_equal(a.samples, 5);
	assert_int_equal(a.ends, 1);
	assert_int_equal(ask("tcp/203.0.113.7:80", 10).samples, 0);
	assert_int_equal(ask("2001:db8::/32", 10).samples, 9);
	assert_int_equal(end_at(0).family, 6);
}

// What a worker has handed over is told, also where nobody has drained it yet.
static void drained_first(void **state)
{
	const struct sketch_sample s = {.addr = {203, 0, 113, 7}, .family = 4};

	(void)state;
	sketch_add(sketch, 0, &s);
	assert_int_equal(ask("203.0.113.7", 1).samples, 1);
}

// What the list denies already, and what a block would not touch, told apart.
static void with_the_list(void **state)
{
	struct wire_preview_answer a;

	(void)state;
	seen("tcp/203.0.113.7:443", 5, 100, false);
	seen("udp/203.0.113.7:53", 3, 60, false);
	seen("203.0.113.8", 7, 50, false);
	seen("203.0.113.9", 11, 50, false);
	listed("tcp/203.0.113.7:443", DENY);
	listed("203.0.113.9", WATCH); // no denial
	listed("203.0.113.8", PROTECT);
	a = ask("203.0.113.0/24", 10);
	assert_int_equal(a.samples, 26);
	assert_int_equal(a.denied, 5);
	assert_int_equal(a.denied_bytes, 500);
	assert_int_equal(a.spared, 7);
	assert_int_equal(a.spared_bytes, 350);
	assert_int_equal(end_at(1).denied, 5);
	assert_int_equal(end_at(2).spared, 7);
}

static void refused(void **state)
{
	struct wire_preview m = message_of("203.0.113.7", 10), bad;
	struct wire_result r;

	(void)state;
#define REFUSED(code_is, change)                                                                   \
	do {                                                                                       \
		bad = m;                                                                           \
		change;                                                                            \
		assert_int_equal(send_raw(PEER_CONTROL, &bad, bad.header.length), sizeof(r));      \
		memcpy(&r, answer, sizeof(r));                                                     \
		assert_int_equal(r.code, code_is);                                                 \
	} while (0)
	REFUSED(WIRE_BAD_MESSAGE, bad.ends = WIRE_PREVIEW_ENDS_MAX + 1);
	REFUSED(WIRE_BAD_MESSAGE, bad.all = 1);
	REFUSED(WIRE_BAD_MESSAGE, bad.all = 2);
	REFUSED(WIRE_BAD_MESSAGE, memset(&bad.indicator, 0, sizeof(bad.indicator)));
	REFUSED(WIRE_BAD_MESSAGE, bad.indicator.kind = INDICATOR_NAME);
	preview_free(requests.preview);
	requests.preview = NULL;
	REFUSED(WIRE_DENIED, (void)0);
#undef REFUSED
	assert_int_equal(send_raw(PEER_ROOT, &m, sizeof(m)), sizeof(r)); // has no use for it
}

#define PREVIEW_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PREVIEW_TEST(nothing_seen),
		PREVIEW_TEST(of_a_network),
		PREVIEW_TEST(of_a_host_and_of_a_port),
		PREVIEW_TEST(drained_first),
		PREVIEW_TEST(with_the_list),
		PREVIEW_TEST(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
