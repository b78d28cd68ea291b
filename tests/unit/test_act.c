// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The answers to denied packets: parsed again with the header walk, checksums added up apart.

#include "dataplane/act.h"
#include "tests/unit/cm.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#define ROOM 2048

static uint8_t frame[ROOM];

static unsigned ones_sum(const uint8_t *p, size_t len, unsigned start)
{
	unsigned long sum = start;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (unsigned)p[i] << 8;
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (unsigned)sum;
}

// An IPv4 or IPv6 TCP segment with `payload` octets from port 40000 to 443, one VLAN tag if asked.
static size_t tcp_frame(int family, uint8_t flags, size_t payload, bool tagged)
{
	size_t at = 12, ip = family == 4 ? 20 : 40, l4 = 20 + payload;
	uint8_t *p;

	memset(frame, 0, sizeof(frame));
	memcpy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", 12);
	if (tagged) {
		memcpy(frame + at, "\x81\x00\x00\x64", 4);
		at += 4;
	}
	memcpy(frame + at, family == 4 ? "\x08\x00" : "\x86\xdd", 2);
	p = frame + at + 2;
	if (family == 4) {
		p[0] = 0x45;
		p[2] = (uint8_t)((ip + l4) >> 8);
		p[3] = (uint8_t)(ip + l4);
		p[8] = 64;
		p[9] = IPPROTO_TCP;
		memcpy(p + 12, "\x0a\x4d\x00\x02\xcb\x00\x71\x07", 8);
	} else {
		p[0] = 0x60;
		p[4] = (uint8_t)(l4 >> 8);
		p[5] = (uint8_t)l4;
		p[6] = IPPROTO_TCP;
		p[7] = 64;
		p[8] = 0xfd;
		p[23] = 2;
		memcpy(p + 24, "\x20\x01\x0d\xb8", 4);
		p[39] = 7;
	}
	p += ip;
	memcpy(p, "\x9c\x40\x01\xbb\x00\x00\x10\x00\x00\x00\x20\x00\x50", 13);
	p[13] = flags;
	return at + 2 + ip + l4;
}

static size_t reply(size_t len, bool *ret_icmp)
{
	struct packet p;

	packet_parse(frame, (uint32_t)len, (uint32_t)len, PACKET_ETHERNET, &p);
	return act_reply(frame, len, ROOM, &p, ret_icmp);
}

static struct packet parsed(size_t len)
{
	struct packet p;

	packet_parse(frame, (uint32_t)len, (uint32_t)len, PACKET_ETHERNET, &p);
	assert_int_equal(p.reason, REASON_NO_ENTRY);
	return p;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// IPv4 header and transport checksums of the answer are right: their sums are all ones.
static void checksums_right(const struct packet *p, uint8_t proto)
{
	const struct packet_layer *l = &p->layers[0];
	size_t octets = l->family == 4 ? 4 : 16;
	unsigned sum = ones_sum(l->src, octets, 0);

	sum = ones_sum(l->dst, octets, sum) + proto + l->l4_len;
	if (l->family == 4)
		assert_int_equal(ones_sum(frame + l->l3, 20, 0), 0xffff);
	if (proto == IPPROTO_ICMP)
		sum = 0;
	assert_int_equal(ones_sum(frame + l->l4, l->l4_len, sum), 0xffff);
}

static void reset_of_data(void **state)
{
	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		bool icmp;
		size_t n = reply(tcp_frame(family, 0x18, 100, true), &icmp);
		struct packet p = parsed(n);

		assert_false(icmp);
		assert_int_equal(p.vlans, 1);
		assert_memory_equal(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01", 12);
		assert_int_equal(p.layers[0].sport, 443);
		assert_int_equal(p.layers[0].dport, 40000);
		assert_int_equal(p.layers[0].tcp_flags, 0x04);
		assert_int_equal(get32(frame + p.layers[0].l4 + 4), 0x2000); // SEG.ACK
		checksums_right(&p, IPPROTO_TCP);
	}
}

static void reset_of_syn(void **state)
{
	bool icmp;
	size_t n = reply(tcp_frame(4, 0x02, 0, false), &icmp);
	struct packet p = parsed(n);

	(void)state;
	assert_int_equal(p.layers[0].tcp_flags, 0x14);
	assert_int_equal(get32(frame + p.layers[0].l4 + 4), 0);
	assert_int_equal(get32(frame + p.layers[0].l4 + 8), 0x1001); // SEG.SEQ + 1 for SYN
	checksums_right(&p, IPPROTO_TCP);
}

static void never_to_a_reset(void **state)
{
	bool icmp;

	(void)state;
	assert_int_equal(reply(tcp_frame(4, 0x04, 0, false), &icmp), 0);
	assert_int_equal(reply(tcp_frame(6, 0x14, 0, false), &icmp), 0);
}

// The same octets as another protocol: IP type 253 for experiments, or UDP with a length.
static size_t other_frame(int family, uint8_t proto, size_t payload)
{
	size_t len = tcp_frame(family, 0, payload, false), l3 = 14,
	       l4 = l3 + (family == 4 ? 20 : 40);

	frame[l3 + (family == 4 ? 9 : 6)] = proto;
	frame[l4 + 4] = (uint8_t)((len - l4) >> 8);
	frame[l4 + 5] = (uint8_t)(len - l4);
	return len;
}

static void icmp_prohibited(void **state)
{
	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		bool icmp;
		size_t n = reply(other_frame(family, IPPROTO_UDP, 1400), &icmp);
		struct packet p = parsed(n);
		uint8_t proto = family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
		const uint8_t *l4 = frame + p.layers[0].l4;

		assert_true(icmp);
		assert_int_equal(p.layers[0].proto, proto);
		assert_int_equal(l4[0], family == 4 ? 3 : 1);
		assert_int_equal(l4[1], family == 4 ? 13 : 1);
		assert_int_equal(n - 14, family == 4 ? 576 : 1280);
		assert_int_equal(l4[8] >> 4, family); // the denied packet is quoted
		checksums_right(&p, proto);
	}
}

static void never_to_an_icmp_error(void **state)
{
	bool icmp;

	(void)state;
	for (int type = 0; type < 13; type++) {
		bool error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
		size_t len = other_frame(4, IPPROTO_ICMP, 40);

		frame[34] = (uint8_t)type;
		assert_int_equal(reply(len, &icmp) == 0, error);
	}
}

static void never_to_multicast_or_broadcast(void **state)
{
	bool icmp;
	size_t len = tcp_frame(4, 0x02, 0, false);

	(void)state;
	frame[14 + 16] = 224;
	assert_int_equal(reply(len, &icmp), 0);
	len = tcp_frame(4, 0x02, 0, false);
	frame[0] = 0xff;
	assert_int_equal(reply(len, &icmp), 0);
}

// The answer would have to turn round what surrounds the packet too.
static void never_out_of_a_tunnel(void **state)
{
	bool icmp;
	size_t len = tcp_frame(4, 0x02, 0, false);

	(void)state;
	assert_true(reply(len, &icmp) > 0);
	len = tcp_frame(4, 0x02, 0, false);
	memmove(frame + 18, frame + 14, len - 14);
	memcpy(frame + 12, "\x88\x47\x00\x06\x41\x40", 6);
	assert_int_equal(parsed(len + 4).layers[0].tcp_flags, 0x02);
	assert_int_equal(reply(len + 4, &icmp), 0);
	len = tcp_frame(4, 0x02, 0, false);
	memmove(frame + 34, frame + 14, len - 14);
	frame[17] = (uint8_t)(len - 14 + 20);
	frame[23] = 4;
	assert_int_equal(parsed(len + 20).n_layers, 2);
	assert_int_equal(reply(len + 20, &icmp), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_of_data),
		cmocka_unit_test(reset_of_syn),
		cmocka_unit_test(never_to_a_reset),
		cmocka_unit_test(icmp_prohibited),
		cmocka_unit_test(never_to_an_icmp_error),
		cmocka_unit_test(never_to_multicast_or_broadcast),
		cmocka_unit_test(never_out_of_a_tunnel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
