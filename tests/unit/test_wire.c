// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The records of the link: what is written is read back; what is wrong in any octet is refused or
// is a valid record of its own.

#include "rules/wire.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <string.h>

static struct entry entry_of(const char *text)
{
	struct entry e = {.enforce_until = UNTIL_FOREVER, .monitor_until = 5};
	struct indicator_error error;

	assert_int_equal(indicator_parse(text, strlen(text), &e.indicator, &error), 0);
	return e;
}

static const char *const texts[] = {
	"203.0.113.7",
	"203.0.113.0/24",
	"2001:db8::/48",
	"tcp/203.0.113.7:443",
	"udp/[2001:db8::1]:53",
	"evil.example",
	"*.evil.example",
	"a.b",
	"12345.abcdefgh",
};
#define N_TEXTS (sizeof(texts) / sizeof(texts[0]))

static void test_round_trip(void **state)
{
	uint8_t octets[512];

	(void)state;
	for (size_t i = 0; i < N_TEXTS; i++) {
		struct entry e = entry_of(texts[i]), back;
		struct exception x = {e.indicator, EXCEPTION_ALLOW, 77}, x_back;
		enum wire_op op = WIRE_REMOVE;
		int n = wire_entry_write(octets, sizeof(octets), WIRE_PUT, &e);

		assert_true(n > 0 && n % 8 == 0);
		assert_int_equal(wire_entry_read(octets, (size_t)n, &op, &back), n);
		assert_int_equal(op, WIRE_PUT);
		assert_memory_equal(&back, &e, sizeof(e));
		// One octet less is too little, of room and of record.
		assert_int_equal(wire_entry_read(octets, (size_t)n - 1, &op, &back), -EBADMSG);
		assert_int_equal(wire_entry_write(octets, (size_t)n - 1, WIRE_PUT, &e), -ENOSPC);
		n = wire_exception_write(octets, sizeof(octets), &x);
		assert_int_equal(wire_exception_read(octets, (size_t)n, &x_back), n);
		assert_int_equal(x_back.kind, EXCEPTION_ALLOW);
		assert_int_equal(x_back.until, 77);
		assert_true(indicator_equal(&x_back.indicator, &e.indicator));
		assert_int_equal(wire_exception_read(octets, (size_t)n - 1, &x_back), -EBADMSG);
	}
}

// Whatever a changed octet makes of a record: refused, or an indicator that prints and parses.
static void test_changed_octets(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_TEXTS; i++) {
		struct entry e = entry_of(texts[i]), back;
		uint8_t octets[512];
		enum wire_op op;
		int n = wire_entry_write(octets, sizeof(octets), WIRE_PUT, &e);

		for (int at = 0; at < n; at++) {
			uint8_t saved = octets[at];

			for (unsigned v = 0; v < 256; v++) {
				struct indicator again;
				struct indicator_error error;
				char text[INDICATOR_TEXT_MAX];
				size_t len;

				octets[at] = (uint8_t)v;
				if (wire_entry_read(octets, (size_t)n, &op, &back) < 0)
					continue;
				len = indicator_print(&back.indicator, text);
				if (indicator_parse(text, len, &again, &error) < 0)
					fail_msg("%s: octet %d as %u", texts[i], at, v);
				assert_true(indicator_equal(&again, &back.indicator));
			}
			octets[at] = saved;
		}
	}
}

static void test_refused(void **state)
{
	struct entry e = entry_of("203.0.113.0/24"), back;
	struct wire_entry w;
	enum wire_op op;

	(void)state;
	assert_int_equal(wire_entry_write(&w, sizeof(w), WIRE_PUT, &e), sizeof(w));
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		struct wire_entry bad = w;                                                         \
		change;                                                                            \
		assert_int_equal(wire_entry_read(&bad, sizeof(bad), &op, &back), -EBADMSG);        \
	} while (0)
	REFUSED(bad.indicator.prefix_len = 0);
	REFUSED(bad.indicator.prefix_len = 33);
	REFUSED(bad.indicator.prefix_len = 23); // host bits
	REFUSED(bad.indicator.addr[4] = 1);
	REFUSED(bad.indicator.family = 5);
	REFUSED(bad.indicator.kind = 0);
	REFUSED(bad.indicator.kind = 4);
	REFUSED(bad.indicator.port = 1);
	REFUSED(bad.indicator.proto = 6);
	REFUSED(bad.indicator.subtree = 1);
	REFUSED(memset(bad.indicator.addr, 0, 16); bad.indicator.family = 6;
		bad.indicator.addr[10] = bad.indicator.addr[11] = 0xff; // an IPv4-mapped one
		bad.indicator.prefix_len = 128);
	REFUSED(bad.op = 2);
	REFUSED(bad.scope = 1);
	REFUSED(bad.size++);
	REFUSED(bad.enforce_until = -1);
	REFUSED(bad.enforce_until = bad.monitor_until = 0);
#undef REFUSED
}

static void test_header(void **state)
{
	union {
		struct wire_header h;
		uint8_t octets[WIRE_MESSAGE_MAX];
	} m = {.h = {.type = WIRE_STATUS_GET, .version = WIRE_VERSION, .length = sizeof(m.h)}};

	(void)state;
	assert_int_equal(wire_header_check(&m, sizeof(m.h)), 0);
	assert_int_equal(wire_header_check(&m, sizeof(m.h) - 1), -EBADMSG);
	assert_int_equal(wire_header_check(&m, sizeof(m.h) + 1), -EBADMSG);
	m.h.version++;
	assert_int_equal(wire_header_check(&m, sizeof(m.h)), -EPROTO);
	m.h.version--;
	m.h.type = WIRE_HELLO;
	assert_int_equal(wire_header_check(&m, sizeof(m.h)), -EBADMSG);
	m.h.length = sizeof(struct wire_hello);
	assert_int_equal(wire_header_check(&m, sizeof(struct wire_hello)), 0);
	for (unsigned type = 0; type < 65536; type++) {
		size_t size = wire_fixed_size((uint16_t)type);

		assert_true(size == 0 || (size >= sizeof(m.h) && size % 8 == 0));
	}
	assert_int_equal(wire_fixed_size(0), 0);
	assert_int_equal(wire_fixed_size(WIRE_BREAKGLASS), sizeof(struct wire_breakglass));
}

// A question for a preview and the records of its answer.
static void test_preview(void **state)
{
	struct {
		struct wire_preview_answer head;
		struct wire_preview_end ends[2];
	} a = {
		.head.n = 2,
		.ends = {{.family = 4, .addr = {192, 0, 2, 1}}, {.family = 6, .addr = {[15] = 1}}},
	};
	struct indicator n = entry_of("tcp/203.0.113.7:443").indicator, back;
	struct wire_preview_end end;
	struct wire_preview m = {.ends = WIRE_PREVIEW_ENDS_MAX};
	bool all;

	(void)state;
	assert_int_equal(
		wire_indicator_write(&m.indicator, sizeof(m.indicator), &n), sizeof(m.indicator)
	);
	assert_int_equal(wire_preview_read(&m, sizeof(m), &all, &back), 0);
	assert_false(all);
	assert_true(indicator_equal(&n, &back));
	assert_int_equal(wire_preview_read(&m, sizeof(m) - 1, &all, &back), -EBADMSG);
	m.all = 1;
	assert_int_equal(wire_preview_read(&m, sizeof(m), &all, &back), -EBADMSG);
	m.indicator = (struct wire_indicator){0};
	assert_int_equal(wire_preview_read(&m, sizeof(m), &all, &back), 0);
	assert_true(all);
	m.ends++;
	assert_int_equal(wire_preview_read(&m, sizeof(m), &all, &back), -EBADMSG);
	assert_int_equal(wire_preview_end_read(&a, sizeof(a), 0, &end), 0);
	assert_memory_equal(&end, &a.ends[0], sizeof(end));
	assert_int_equal(wire_preview_end_read(&a, sizeof(a), 1, &end), 0);
	assert_int_equal(wire_preview_end_read(&a, sizeof(a), 2, &end), -EBADMSG);
	assert_int_equal(wire_preview_end_read(&a, sizeof(a) - 1, 0, &end), -EBADMSG);
	assert_int_equal(wire_preview_end_read(&a, sizeof(a.head) - 1, 0, &end), -EBADMSG);
	a.ends[0].addr[4] = 1;
	assert_int_equal(wire_preview_end_read(&a, sizeof(a), 0, &end), -EBADMSG);
	a.ends[1].family = 5;
	assert_int_equal(wire_preview_end_read(&a, sizeof(a), 1, &end), -EBADMSG);
	a.head.n = UINT32_MAX;
	assert_int_equal(wire_preview_end_read(&a, sizeof(a), 1, &end), -EBADMSG);
}

static void test_state(void **state)
{
	const struct list_state s = {
		.ledger_id = {1, 2, 3},
		.revision = {4, 5},
		.count = 6,
		.digest = {7, 8},
	};
	struct list_state back;
	struct wire_state w;

	(void)state;
	wire_state_pack(&s, &w);
	wire_state_unpack(&w, &back);
	assert_true(list_state_equal(&s, &back));
	assert_string_equal(wire_code_name(WIRE_FULL), "full");
	assert_string_equal(wire_code_name(9999), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_changed_octets),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_preview),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
