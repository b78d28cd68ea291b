// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The verdict: which address and layer is reported, what the settings change, what fails closed.
// Single packets against rules are golden cases, all combinations the model's.

#include "dataplane/core/decide.h"
#include "dataplane/core/packet_commons.h"
#include "tests/golden/frame.h"
#include "tests/match_memory.h"
#include "tests/unit/cm.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static struct match *entries, *exceptions;
static struct policy policy;

static int setup(void **state)
{
	static const uint8_t key[16];

	(void)state;
	entries = match_map(8, key);
	exceptions = match_map(8, key);
	policy_init(&policy);
	policy.have_list = true;
	return 0;
}

static uint32_t add(struct match *m, uint8_t last, uint8_t action)
{
	struct match_key k = {.addr = {203, 0, 113, last}, .family = 4, .prefix_len = 32};
	uint32_t rule;

	assert_int_equal(match_add(m, &k, action, &rule), 0);
	return rule;
}

// Layers from 203.0.113.src to 203.0.113.dst, outermost first.
static struct packet packet_of(unsigned n, const uint8_t pairs[][2])
{
	struct packet p = {.n_layers = (uint8_t)n, .reason = REASON_NO_ENTRY};

	for (unsigned i = 0; i < n; i++) {
		static const uint8_t base[4] = {203, 0, 113};
		struct packet_layer *l = &p.layers[i];

		l->family = 4;
		l->proto = 47;
		memcpy(l->src, base, 4);
		memcpy(l->dst, base, 4);
		l->src[3] = pairs[i][0];
		l->dst[3] = pairs[i][1];
	}
	return p;
}

static struct decision decided(const struct packet *p, enum direction direction)
{
	struct decision d;

	memset(&d, 0xa5, sizeof(d));
	decide(&policy, entries, exceptions, p, direction, &d);
	return d;
}

static void test_defaults_are_those_of_the_table(void **state)
{
	struct policy p;

	(void)state;
	memset(&p, 0xa5, sizeof(p));
	policy_init(&p);
	for (int i = 0; i < REASON_COUNT; i++) {
		assert_int_equal(p.verdicts[i], reason_table[i].verdict);
		assert_non_null(reason_table[i].name);
		assert_true(strlen(reason_table[i].name) < 32);
		assert_true(strlen(reason_table[i].help) < 96);
	}
	assert_false(p.have_list || p.paused || p.inbound_allow);
	assert_int_equal(VERDICT_DROP, 0);
}

static void test_innermost_first_destination_before_source(void **state)
{
	static const uint8_t pairs[][2] = {{1, 2}, {3, 4}};
	struct packet p = packet_of(2, pairs);
	struct decision d;
	uint32_t rules[5];

	(void)state;
	for (uint8_t i = 1; i <= 4; i++)
		rules[i] = add(entries, i, MATCH_ENFORCE);
	d = decided(&p, DIRECTION_BOTH);
	assert_int_equal(d.reason, REASON_ENTRY_DENY);
	assert_int_equal(d.rule, rules[4]);
	assert_int_equal(d.layer, 1);
	assert_false(d.source);
	match_action_set(entries, rules[4], MATCH_MONITOR);
	d = decided(&p, DIRECTION_BOTH);
	assert_int_equal(d.rule, rules[3]);
	assert_int_equal(d.layer, 1);
	assert_true(d.source);
	d = decided(&p, DIRECTION_OUT);
	assert_int_equal(d.rule, rules[2]);
	assert_int_equal(d.layer, 0);
	assert_false(d.source);
	match_action_set(entries, rules[3], MATCH_INERT);
	d = decided(&p, DIRECTION_IN);
	assert_int_equal(d.rule, rules[1]);
	assert_true(d.source);
	match_action_set(entries, rules[1], MATCH_INERT);
	match_action_set(entries, rules[2], MATCH_INERT);
	d = decided(&p, DIRECTION_BOTH);
	assert_int_equal(d.reason, REASON_ENTRY_MONITOR);
	assert_int_equal(d.verdict, VERDICT_MONITOR);
	assert_int_equal(d.rule, rules[4]);
}

// An exception frees its own address, not the packet.
static void test_an_exception_of_another_address(void **state)
{
	static const uint8_t pairs[][2] = {{1, 2}, {3, 4}};
	struct packet p = packet_of(2, pairs);
	struct decision d;
	uint32_t outer;

	(void)state;
	add(entries, 4, MATCH_ENFORCE);
	outer = add(entries, 2, MATCH_ENFORCE);
	add(exceptions, 4, MATCH_PROTECT);
	d = decided(&p, DIRECTION_OUT);
	assert_int_equal(d.reason, REASON_ENTRY_DENY);
	assert_int_equal(d.rule, outer);
	match_action_set(entries, outer, MATCH_INERT);
	d = decided(&p, DIRECTION_OUT);
	assert_int_equal(d.reason, REASON_PROTECTED);
	assert_int_equal(d.verdict, VERDICT_FORWARD);
}

static void test_no_exceptions_given(void **state)
{
	static const uint8_t pairs[][2] = {{1, 2}};
	struct packet p = packet_of(1, pairs);
	struct decision d;

	(void)state;
	add(entries, 2, MATCH_ENFORCE);
	decide(&policy, entries, NULL, &p, DIRECTION_OUT, &d);
	assert_int_equal(d.verdict, VERDICT_DROP);
}

static void test_vias_belong_to_their_layer(void **state)
{
	static const uint8_t pairs[][2] = {{1, 2}, {3, 4}};
	struct packet p = packet_of(2, pairs);
	struct decision d;
	uint32_t rule = add(entries, 9, MATCH_ENFORCE);

	(void)state;
	p.n_vias = 1;
	p.vias[0] = (struct packet_via){.layer = 0, .addr = {203, 0, 113, 9}};
	d = decided(&p, DIRECTION_OUT);
	assert_int_equal(d.rule, rule);
	assert_int_equal(d.layer, 0);
	assert_false(d.source);
	d = decided(&p, DIRECTION_IN);
	assert_int_equal(d.reason, REASON_NO_ENTRY);
}

// Nothing to judge is a bug of the caller, and a bug drops.
static void test_nothing_to_judge(void **state)
{
	struct packet p = {.reason = REASON_NO_ENTRY};
	struct decision d = decided(&p, DIRECTION_BOTH);

	(void)state;
	assert_int_equal(d.verdict, VERDICT_DROP);
	assert_int_equal(d.reason, REASON_BUG);
	assert_int_equal(d.rule, MATCH_NONE);
}

// Every reason that ends the walk gets its own verdict, as set.
static void test_reasons_of_the_walk(void **state)
{
	static const uint8_t pairs[][2] = {{1, 2}};
	struct packet p = packet_of(1, pairs);

	(void)state;
	add(entries, 2, MATCH_ENFORCE);
	for (int i = REASON_LINK_PROTOCOL; i < REASON_OVERSIZE; i++) {
		struct decision d;

		p.reason = (uint8_t)i;
		d = decided(&p, DIRECTION_OUT);
		assert_int_equal(d.reason, i);
		assert_int_equal(d.verdict, reason_table[i].verdict);
		policy.verdicts[i] = VERDICT_MONITOR;
		d = decided(&p, DIRECTION_OUT);
		// What a tunnel carries may be unknown, but the tunnel has addresses.
		if (i == REASON_TUNNEL_UNKNOWN)
			assert_int_equal(d.reason, REASON_ENTRY_DENY);
		else
			assert_int_equal(d.verdict, VERDICT_MONITOR);
	}
}

// An IPv4 address inside one of IPv6 is judged as IPv4, on its own side, with the layer's port.
static void test_embedded_addresses(void **state)
{
	static const uint8_t pairs[][2] = {{1, 2}};
	struct packet p = packet_of(1, pairs);
	struct decision d;
	uint32_t rule = add(entries, 9, MATCH_ENFORCE);

	(void)state;
	p.layers[0].family = 6;
	p.n_vias = 1;
	p.vias[0] = (struct packet_via){.embedded = true, .addr = {203, 0, 113, 9}};
	d = decided(&p, DIRECTION_OUT);
	assert_int_equal(d.rule, rule);
	assert_false(d.source);
	assert_int_equal(decided(&p, DIRECTION_IN).reason, REASON_NO_ENTRY);
	p.vias[0].source = true;
	assert_int_equal(decided(&p, DIRECTION_OUT).reason, REASON_NO_ENTRY);
	d = decided(&p, DIRECTION_IN);
	assert_int_equal(d.rule, rule);
	assert_true(d.source);
}

// What is taken at the shortest is what packet_brief takes, and looked up by the same.
static void test_commonest(void **state)
{
	static const struct {
		const char *text;
		bool taken;
	} frames[] = {
		{"eth / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 S", true},
		{"eth / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 / data 1000", true},
		{"eth / ip 10.0.0.1>203.0.113.7 / udp 40000>443 / data 20", true},
		{"eth / ip 10.0.0.1>203.0.113.7 / udp 40000>4789 / data 20", false},
		{"eth / ip 10.0.0.1>203.0.113.7 / udp 3544>443 / data 20", false},
		{"eth / ip 10.0.0.1>203.0.113.7 / udp 40000>443 / data 2", false}, // short
		{"eth / ip 10.0.0.1>203.0.113.7 / icmp 8 0 / data 40", false},
		{"eth / vlan 5 / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 S", false},
		{"eth / ip6 2001:db8::1>2001:db8::7 / tcp 40000>443 S", false},
		{"eth / ip 10.0.0.1>203.0.113.7 / ip 10.0.0.1>203.0.113.7 / tcp 1>2 S", false},
	};
	struct frame f;
	char error[128];

	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct packet_brief b;
		uint32_t addr;

		assert_int_equal(frame_parse(frames[i].text, &f, error), 0);
		assert_int_equal(packet_common(f.octets, f.len, 1522), frames[i].taken);
		if (!frames[i].taken)
			continue;
		assert_true(packet_brief(f.octets, f.len, f.len, &b));
		for (int source = 0; source < 2; source++) {
			addr = htonl(packet_common_addr(f.octets, source));
			assert_memory_equal(&addr, source ? b.src : b.dst, 4);
			assert_int_equal(
				packet_common_transport(f.octets, source),
				(uint32_t)b.proto << 16 | (source ? b.sport : b.dport)
			);
		}
		assert_false(packet_common(f.octets, f.len, f.len - 1));
	}
	// What lies, and what is no whole datagram.
	for (unsigned at = 12; at < 47; at++) {
		struct packet_brief b;

		assert_int_equal(frame_parse(frames[0].text, &f, error), 0);
		for (unsigned value = 0; value < 256; value++) {
			f.octets[at] = (uint8_t)value;
			if (packet_common(f.octets, f.len, 1522))
				assert_true(packet_brief(f.octets, f.len, f.len, &b));
		}
	}
}

#ifdef PACKET_COMMONS
static uint32_t draw(uint32_t n)
{
	static uint32_t state = 1;

	state = state * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)state * n >> 32);
}

static void four_compare(const struct frame f[static PACKET_COMMONS], bool *ret_taken)
{
	const uint8_t *data[PACKET_COMMONS];
	uint32_t addrs[4], transports[4];
	bool all = true;

	for (int k = 0; k < PACKET_COMMONS; k++) {
		data[k] = f[k].octets;
		all &= packet_common(f[k].octets, f[k].len, 600);
	}
	for (int source = 0; source < 2; source++) {
		__m128i addr, transport;

		*ret_taken = packet_commons(
			data,
			_mm_setr_epi32((int)f[0].len, (int)f[1].len, (int)f[2].len, (int)f[3].len),
			600,
			source,
			&addr,
			&transport
		);
		assert_int_equal(*ret_taken, all);
		_mm_storeu_si128((__m128i *)addrs, addr);
		_mm_storeu_si128((__m128i *)transports, transport);
		for (int k = 0; all && k < PACKET_COMMONS; k++) {
			assert_int_equal(addrs[k], packet_common_addr(data[k], source));
			assert_int_equal(transports[k], packet_common_transport(data[k], source));
		}
	}
}

#ifdef PACKET_COMMONS_WIDE
__attribute__((target("avx512f,avx512bw,avx512vl"))) static void
wide_compare(const struct frame f[static PACKET_COMMONS_WIDE], bool source, unsigned *ret_taken)
{
	const uint8_t *data[PACKET_COMMONS_WIDE];
	uint32_t lens[PACKET_COMMONS_WIDE], addrs[PACKET_COMMONS_WIDE];
	uint32_t transports[PACKET_COMMONS_WIDE];
	__m512i addr, transport;
	unsigned expected = 0;

	for (unsigned k = 0; k < PACKET_COMMONS_WIDE; k++) {
		data[k] = f[k].octets;
		lens[k] = (uint32_t)f[k].len;
		expected |= (unsigned)packet_common(data[k], lens[k], 600) << k;
	}
	*ret_taken = packet_commons_wide(
		data, _mm512_loadu_si512(lens), 600, source, &addr, &transport
	);
	assert_int_equal(*ret_taken, expected);
	_mm512_storeu_si512(addrs, addr);
	_mm512_storeu_si512(transports, transport);
	for (unsigned k = 0; k < PACKET_COMMONS_WIDE; k++) {
		if (!(expected >> k & 1))
			continue;
		assert_int_equal(addrs[k], packet_common_addr(data[k], source));
		assert_int_equal(transports[k], packet_common_transport(data[k], source));
	}
}

// Of sixteen at once each is taken where it alone is, whatever an octet of the headers or a length
// becomes.
static void test_sixteen_at_once(void **state)
{
	static const char *const texts[] = {
		"eth / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 S / data 30",
		"eth / ip 10.1.2.3>198.51.100.9 / udp 40000>443 / data 30",
		"eth / ip 192.0.2.200>203.0.113.8 / tcp 1>65535 / data 500",
		"eth / ip 10.0.0.1>203.0.113.7 / udp 53>53 / data 300",
		"eth / vlan 5 / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 S",
		"eth / ip6 2001:db8::1>2001:db8::7 / tcp 40000>443 S",
	};
	static struct frame whole[6], f[PACKET_COMMONS_WIDE];
	unsigned taken, all = 0, some = 0;
	char error[128];

	(void)state;
	if (!packet_commons_wide_usable())
		skip();
	for (int i = 0; i < 6; i++)
		assert_int_equal(frame_parse(texts[i], &whole[i], error), 0);
	for (int round = 0; round < 60000; round++) {
		for (int k = 0; k < PACKET_COMMONS_WIDE; k++) {
			f[k] = whole[draw(round % 4 ? 4 : 6)];
			if (draw(16))
				continue;
			f[k].octets[12 + draw(42)] = (uint8_t)draw(256);
			if (draw(4) == 0)
				f[k].len = draw(700);
			if (draw(4) == 0) // a port that may be odd
				memcpy(f[k].octets + 34 + 2 * draw(2), (uint8_t[]){0x0d, 0xd8}, 2);
		}
		wide_compare(f, round % 2, &taken);
		all += taken == 0xffff;
		some += taken != 0xffff;
	}
	assert_true(all > 5000 && some > 5000);
	// Each port of brief_udp.
	for (unsigned port = 0; port < 65536; port += PACKET_COMMONS_WIDE) {
		for (unsigned k = 0; k < PACKET_COMMONS_WIDE; k++) {
			f[k] = whole[1];
			f[k].octets[36] = (uint8_t)((port + k) >> 8);
			f[k].octets[37] = (uint8_t)(port + k);
		}
		wide_compare(f, false, &taken);
	}
}
#endif

// Four at once are taken where each of them is, whatever an octet of their headers or their length
// becomes.
static void test_four_at_once(void **state)
{
	static const char *const texts[] = {
		"eth / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 S / data 30",
		"eth / ip 10.1.2.3>198.51.100.9 / udp 40000>443 / data 30",
		"eth / ip 192.0.2.200>203.0.113.8 / tcp 1>65535 / data 500",
		"eth / ip 10.0.0.1>203.0.113.7 / udp 53>53 / data 300",
		"eth / vlan 5 / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 S",
	};
	static struct frame whole[5], f[PACKET_COMMONS];
	unsigned taken = 0, refused = 0;
	char error[128];
	bool was;

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(frame_parse(texts[i], &whole[i], error), 0);
	for (int round = 0; round < 200000; round++) {
		struct frame *changed = &f[draw(PACKET_COMMONS)];

		for (int k = 0; k < PACKET_COMMONS; k++)
			f[k] = whole[draw(round % 8 ? 4 : 5)];
		if (draw(2))
			changed->octets[12 + draw(42)] = (uint8_t)draw(256);
		if (draw(8) == 0)
			changed->len = draw(700);
		if (draw(8) == 0) // a port that may be odd
			memcpy(changed->octets + 34 + 2 * draw(2), (uint8_t[]){0x0d, 0xd8}, 2);
		four_compare(f, &was);
		taken += was;
		refused += !was;
	}
	assert_true(taken > 50000 && refused > 50000);
	// Each port of brief_udp.
	for (unsigned port = 0; port < 65536; port++) {
		for (int k = 0; k < PACKET_COMMONS; k++)
			f[k] = whole[1];
		f[port % 4].octets[36] = (uint8_t)(port >> 8);
		f[port % 4].octets[37] = (uint8_t)port;
		four_compare(f, &was);
	}
}
#endif

// A packet that is not described is looked up by the same address, protocol and port.
static void test_asked_briefly(void **state)
{
	static const char *const frames[] = {
		"eth / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 S",
		"eth / vlan 5 / ip 10.0.0.1>203.0.113.7 / udp 40000>53 / data 20",
		"eth / ip6 2001:db8::1>2001:db8::7 / tcp 40000>443 S",
		"eth / ip6 2001:db8::1>2001:db8::7 / udp 40000>53 / data 20",
	};
	static struct match_burst brief, full;

	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		char error[128];
		struct frame f;
		struct packet p;
		struct packet_brief b = {0};

		assert_int_equal(frame_parse(frames[i], &f, error), 0);
		packet_parse(f.octets, f.len, f.wire_len, f.link, &p);
		assert_true(packet_brief(f.octets, f.len, f.len, &b));
		for (enum direction d = DIRECTION_OUT; d <= DIRECTION_IN; d++) {
			struct decide_asked asked;
			const struct decide_asked one = {.n = 1, .reason = REASON_NO_ENTRY};

			match_clear(entries, &brief);
			match_clear(entries, &full);
			assert_true(decide_briefly(&policy, d));
			match_reserve(&brief, 1);
			decide_ask_brief(&b, d, &brief, 0);
			assert_true(decide_ask(&policy, &p, d, &full, &asked));
			assert_memory_equal(&asked, &one, sizeof(one));
			assert_int_equal(brief.n4, full.n4);
			assert_int_equal(brief.n6, full.n6);
			assert_int_equal(brief.n4 + brief.n6, 1);
			if (brief.n4) {
				assert_int_equal(brief.v4[0], full.v4[0]);
				assert_int_equal(brief.about4[0], full.about4[0]);
			} else {
				assert_memory_equal(brief.v6[0], full.v6[0], 16);
				assert_int_equal(brief.about6[0], full.about6[0]);
			}
		}
	}
	// Where something else than the list, or more than one address, decides.
	assert_false(decide_briefly(&policy, DIRECTION_BOTH));
	policy.inbound_allow = true;
	assert_false(decide_briefly(&policy, DIRECTION_IN));
	assert_true(decide_briefly(&policy, DIRECTION_OUT));
	policy.nat64.n = 1;
	assert_false(decide_briefly(&policy, DIRECTION_OUT));
	policy.nat64.n = 0;
	policy.have_list = false;
	assert_false(decide_briefly(&policy, DIRECTION_OUT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_defaults_are_those_of_the_table, setup),
		cmocka_unit_test_setup(test_innermost_first_destination_before_source, setup),
		cmocka_unit_test_setup(test_an_exception_of_another_address, setup),
		cmocka_unit_test_setup(test_no_exceptions_given, setup),
		cmocka_unit_test_setup(test_vias_belong_to_their_layer, setup),
		cmocka_unit_test_setup(test_nothing_to_judge, setup),
		cmocka_unit_test_setup(test_reasons_of_the_walk, setup),
		cmocka_unit_test_setup(test_embedded_addresses, setup),
		cmocka_unit_test_setup(test_commonest, setup),
#ifdef PACKET_COMMONS
		cmocka_unit_test_setup(test_four_at_once, setup),
#ifdef PACKET_COMMONS_WIDE
		cmocka_unit_test_setup(test_sixteen_at_once, setup),
#endif
#endif
		cmocka_unit_test_setup(test_asked_briefly, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
