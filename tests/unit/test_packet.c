// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the header walk tells the workers beyond a reason: offsets, lengths, flags, addresses.
// The reasons themselves are golden cases.

#include "dataplane/core/packet_walk.h"
#include "tests/golden/frame.h"
#include "tests/unit/cm.h"

#include <arpa/inet.h>
#include <string.h>

static struct packet parse(const char *text)
{
	char error[128];
	struct frame f;
	struct packet p;

	// Whatever was there before must not matter.
	memset(&p, 0xa5, sizeof(p));
	if (frame_parse(text, &f, error) < 0)
		fail_msg("%s", error);
	packet_parse(f.octets, f.len, f.wire_len, f.link, &p);
	return p;
}

static void addr_is(const uint8_t *addr, int family, const char *text)
{
	uint8_t want[16] = {0};

	assert_int_equal(inet_pton(family, text, want), 1);
	assert_memory_equal(addr, want, 16);
}

static void test_ipv4_tcp(void **state)
{
	struct packet p = parse("eth / vlan 5 / ip 10.0.0.1>203.0.113.7 opt=01010101 / "
				"tcp 40000>443 SA doff=6 / data 10 / trail 9");
	const struct packet_layer *l = &p.layers[0];

	(void)state;
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	assert_int_equal(p.n_layers, 1);
	assert_int_equal(p.n_vias, 0);
	assert_int_equal(p.vlans, 1);
	assert_int_equal(p.ethertype, 0x0800);
	assert_int_equal(l->family, 4);
	assert_int_equal(l->proto, IPPROTO_TCP);
	assert_int_equal(l->flags, PACKET_PORTS);
	assert_int_equal(l->tcp_flags, 0x12);
	assert_int_equal(l->sport, 40000);
	assert_int_equal(l->dport, 443);
	assert_int_equal(l->l3, 18);
	assert_int_equal(l->l4, 18 + 24);
	assert_int_equal(l->l4_len, 30);
	addr_is(l->src, AF_INET, "10.0.0.1");
	addr_is(l->dst, AF_INET, "203.0.113.7");
}

static void test_ipv6_udp_behind_extensions(void **state)
{
	struct packet p = parse("raw / ip6 fd00::1>2001:db8::7 / hbh / dst octets=16 / frag / "
				"udp 5000>53 / data 4 / trail 3");
	const struct packet_layer *l = &p.layers[0];

	(void)state;
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	assert_int_equal(p.vlans, 0);
	assert_int_equal(p.ethertype, 0x86dd);
	assert_int_equal(l->family, 6);
	assert_int_equal(l->proto, IPPROTO_UDP);
	assert_int_equal(l->flags, PACKET_PORTS);
	assert_int_equal(l->tcp_flags, 0);
	assert_int_equal(l->sport, 5000);
	assert_int_equal(l->dport, 53);
	assert_int_equal(l->l3, 0);
	assert_int_equal(l->l4, 40 + 8 + 16 + 8);
	assert_int_equal(l->l4_len, 12);
	addr_is(l->src, AF_INET6, "fd00::1");
	addr_is(l->dst, AF_INET6, "2001:db8::7");
}

static void test_fragments(void **state)
{
	struct packet p = parse("eth / ip 10.0.0.1>203.0.113.7 mf / udp 1>2 len=1000 / data 8");

	(void)state;
	assert_int_equal(p.layers[0].flags, PACKET_PORTS | PACKET_FRAGMENT_FIRST);
	p = parse("eth / ip 10.0.0.1>203.0.113.7 off=16 mf proto=17 / data 8");
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	assert_int_equal(p.layers[0].flags, PACKET_FRAGMENT_LATER);
	assert_int_equal(p.layers[0].proto, IPPROTO_UDP);
	assert_int_equal(p.layers[0].dport, 0);
	p = parse("eth / ip6 fd00::1>fd00::2 / frag off=16 next=6 / data 8");
	assert_int_equal(p.layers[0].flags, PACKET_FRAGMENT_LATER);
	assert_int_equal(p.layers[0].proto, IPPROTO_TCP);
	assert_int_equal(p.layers[0].l4, 14 + 48);
	p = parse("eth / ip6 fd00::1>fd00::2 / frag mf / udp 1>2 len=1000 / data 8");
	assert_int_equal(p.layers[0].flags, PACKET_PORTS | PACKET_FRAGMENT_FIRST);
}

static void test_vias(void **state)
{
	struct packet p = parse("eth / ip 10.0.0.1>192.0.2.1 opt=830b04c6336402cb007107 / udp 1>2");

	(void)state;
	assert_int_equal(p.n_vias, 2);
	assert_int_equal(p.vias[0].layer, 0);
	addr_is(p.vias[0].addr, AF_INET, "198.51.100.2");
	addr_is(p.vias[1].addr, AF_INET, "203.0.113.7");
	p = parse("eth / ip6 fd00::1>fd00::2 / rh type=4 left=1 to=fd00::3,fd00::4 / udp 1>2");
	assert_int_equal(p.n_vias, 1);
	addr_is(p.vias[0].addr, AF_INET6, "fd00::3");
	p = parse("eth / ip6 fd00::1>fd00::2 / rh type=0 left=1 to=fd00::3,fd00::4 / udp 1>2");
	assert_int_equal(p.n_vias, 1);
	addr_is(p.vias[0].addr, AF_INET6, "fd00::4");
}

// A drop is told with the addresses as far as they are known.
static void test_what_is_known_of_the_malformed(void **state)
{
	struct packet p = parse("eth / ip 10.0.0.1>203.0.113.7 / tcp 1>2 S doff=1");

	(void)state;
	assert_int_equal(p.reason, REASON_BAD_L4_HEADER);
	assert_int_equal(p.n_layers, 1);
	addr_is(p.layers[0].dst, AF_INET, "203.0.113.7");
	p = parse("eth / ip 10.0.0.1>203.0.113.7 / tcp 1>2 S / cut 30");
	assert_int_equal(p.reason, REASON_BAD_IPV4_HEADER);
	assert_int_equal(p.n_layers, 0);
	p = parse("eth type=0x1234 / data 40");
	assert_int_equal(p.reason, REASON_NON_IP);
	assert_int_equal(p.n_layers, 0);
	assert_int_equal(p.ethertype, 0x1234);
}

// As a worker gathers them: the first octets of a packet that is longer on the wire.
static void test_gathered(void **state)
{
	struct packet p = parse("eth / ip 10.0.0.1>203.0.113.7 / tcp 1>2 A / data 2000 / have 512");

	(void)state;
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	assert_int_equal(p.layers[0].l4_len, 2020);
	p = parse("eth / ip6 fd00::1>fd00::2 / dst octets=512 / tcp 1>2 A / have 512");
	assert_int_equal(p.reason, REASON_BAD_IPV6_EXTENSION);
}

// The largest of all: 65,535 octets, and one more than that to the frame.
static void test_largest(void **state)
{
	static uint8_t octets[14 + 65535 + 9];
	struct frame f;
	struct packet p;
	char error[128];

	(void)state;
	assert_int_equal(
		frame_parse(
			"eth / ip 10.0.0.1>203.0.113.7 len=65535 / tcp 1>2 A / cut 54", &f, error
		),
		0
	);
	memcpy(octets, f.octets, f.len);
	packet_parse(octets, sizeof(octets), sizeof(octets), PACKET_ETHERNET, &p);
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	assert_int_equal(p.layers[0].l4_len, 65515);
	packet_parse(octets, 14 + 65535, 14 + 65535, PACKET_ETHERNET, &p);
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	packet_parse(octets, 14 + 65534, 14 + 65534, PACKET_ETHERNET, &p);
	assert_int_equal(p.reason, REASON_BAD_IPV4_HEADER);
}

// Every layer, the outermost first, with offsets of its own.
static void test_layers(void **state)
{
	struct packet p = parse("eth / vlan 5 / ip 10.0.0.1>192.0.2.1 / udp 50000>4789 / vxlan / "
				"eth / vlan 6 / ip6 fd00::1>2002:cb00:7107::1 / gre key=7 / "
				"ip 10.0.0.2>203.0.113.8 / tcp 40000>443 S / data 9 / trail 4");

	(void)state;
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	assert_int_equal(p.n_layers, 3);
	assert_int_equal(p.vlans, 1);
	assert_int_equal(p.ethertype, 0x0800);
	assert_int_equal(p.layers[0].l3, 18);
	assert_int_equal(p.layers[0].dport, 4789);
	assert_int_equal(p.layers[0].l4_len, 8 + 8 + 18 + 40 + 8 + 20 + 20 + 9);
	assert_int_equal(p.layers[1].family, 6);
	assert_int_equal(p.layers[1].l3, 18 + 20 + 8 + 8 + 18);
	assert_int_equal(p.layers[1].proto, 47);
	assert_int_equal(p.layers[1].flags, 0);
	assert_int_equal(p.layers[2].family, 4);
	assert_int_equal(p.layers[2].l3, p.layers[1].l3 + 40 + 8);
	assert_int_equal(p.layers[2].l4_len, 29);
	assert_int_equal(p.layers[2].tcp_flags, 2);
	addr_is(p.layers[2].dst, AF_INET, "203.0.113.8");
	assert_int_equal(p.n_vias, 1);
	assert_int_equal(p.vias[0].layer, 1);
	assert_true(p.vias[0].embedded);
	assert_false(p.vias[0].source);
	addr_is(p.vias[0].addr, AF_INET, "203.0.113.7");
}

// What was found before the walk ended is known.
static void test_layers_of_the_malformed(void **state)
{
	struct packet p = parse("eth / ip 10.0.0.1>192.0.2.1 / gre flags=2 / data 40");

	(void)state;
	assert_int_equal(p.reason, REASON_BAD_GRE);
	assert_int_equal(p.n_layers, 1);
	p = parse("eth / mpls 100 / hex 00000000 / eth type=0x1234 / data 40");
	assert_int_equal(p.reason, REASON_TUNNEL_UNKNOWN);
	assert_int_equal(p.n_layers, 0);
	assert_int_equal(p.ethertype, 0x8847);
	p = parse("eth / pppoe / ppp / ip 10.0.0.1>203.0.113.8 / udp 1>2");
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	assert_int_equal(p.ethertype, 0x8864);
}

static void paths_agree(const uint8_t *octets, uint32_t len, uint32_t wire_len)
{
	struct packet a, b;

	memset(&a, 0x5a, sizeof(a));
	memset(&b, 0xa5, sizeof(b));
	packet_parse(octets, len, wire_len, PACKET_ETHERNET, &a);
	packet_walk(octets, len, wire_len, PACKET_ETHERNET, &b);
	assert_int_equal(a.reason, b.reason);
	assert_int_equal(a.n_layers, b.n_layers);
	assert_int_equal(a.n_vias, b.n_vias);
	assert_int_equal(a.vlans, b.vlans);
	assert_int_equal(a.ethertype, b.ethertype);
	assert_memory_equal(a.layers, b.layers, a.n_layers * sizeof(*a.layers));
}

// The short path answers as the long one does, whatever one octet is, wherever the frame ends.
static void test_short_path(void **state)
{
	static const char *const texts[] = {
		"eth / ip 10.0.0.1>203.0.113.7 / tcp 40000>443 S / data 12",
		"eth / vlan 5 / ip 10.0.0.1>203.0.113.7 / udp 3545>4788 / data 12",
		"eth / ip6 fd00::1>2001:db8::7 / tcp 40000>443 SA doff=6 / data 12",
		"eth / vlan 5 / ip6 fd00::1>2002:db8::7 / udp 320>3785 / data 12",
		"eth / ip 10.0.0.1>10.0.0.2 / udp 5>4789 / vxlan / eth / ip 10.0.0.1>10.0.0.2",
	};

	(void)state;
	for (size_t t = 0; t < sizeof(texts) / sizeof(*texts); t++) {
		char error[128];
		struct frame f;

		assert_int_equal(frame_parse(texts[t], &f, error), 0);
		for (uint32_t at = 12; at < f.len; at++) {
			uint8_t was = f.octets[at];

			for (unsigned value = 0; value < 256; value++) {
				f.octets[at] = (uint8_t)value;
				paths_agree(f.octets, f.len, f.len);
			}
			f.octets[at] = was;
		}
		for (uint32_t n = 0; n <= f.len; n++) {
			paths_agree(f.octets, n, n);
			paths_agree(f.octets, n, f.len);
		}
	}
}

// Ordinary datagrams with a tunnel's port by chance: not one in a thousand is taken for a tunnel
// that is malformed.
static void test_chance_is_no_tunnel(void **state)
{
	static const uint16_t ports[] = {3544, 4754, 4789, 4790, 6081, 8472};
	uint64_t x = 42;
	char error[128];
	struct frame f;

	(void)state;
	assert_int_equal(
		frame_parse("eth / ip 10.0.0.1>192.0.2.1 / udp 53>1 / data 200", &f, error), 0
	);
	for (size_t i = 0; i < sizeof(ports) / sizeof(*ports); i++) {
		unsigned lost = 0;

		f.octets[36] = (uint8_t)(ports[i] >> 8);
		f.octets[37] = (uint8_t)ports[i];
		for (unsigned n = 0; n < 100000; n++) {
			struct packet p;

			for (uint32_t at = 42; at < f.len; at++) {
				x = x * 6364136223846793005 + 1442695040888963407;
				f.octets[at] = (uint8_t)(x >> 56);
			}
			packet_parse(f.octets, f.len, f.len, f.link, &p);
			lost += p.reason != REASON_NO_ENTRY;
		}
		assert_true(lost < 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4_tcp),
		cmocka_unit_test(test_ipv6_udp_behind_extensions),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_vias),
		cmocka_unit_test(test_what_is_known_of_the_malformed),
		cmocka_unit_test(test_gathered),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_layers_of_the_malformed),
		cmocka_unit_test(test_short_path),
		cmocka_unit_test(test_chance_is_no_tunnel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
