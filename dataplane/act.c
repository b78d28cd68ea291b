// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/act.h"

#include <netinet/in.h>
#include <string.h>

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16
#define QUOTE_V4 (576 - 20 - 8) // RFC 1812: an error of at most 576 octets
#define QUOTE_V6 (1280 - 40 - 8) // RFC 4443: at most the least MTU

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t sum16(uint32_t sum, const uint8_t *p, size_t len)
{
	for (; len > 1; p += 2, len -= 2)
		sum += (uint32_t)(p[0] << 8 | p[1]);
	return len ? sum + (uint32_t)(p[0] << 8) : sum;
}

static unsigned fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

// The IP header of the answer: from the denied address to the sender. Returns its octets.
static size_t
ip_header(uint8_t *ip, const struct packet_layer *layer, uint8_t proto, size_t payload)
{
	if (layer->family == 4) {
		memset(ip, 0, 20);
		ip[0] = 0x45;
		put16(ip + 2, (unsigned)(20 + payload));
		put16(ip + 6, 0x4000);
		ip[8] = 64;
		ip[9] = proto;
		memcpy(ip + 12, layer->dst, 4);
		memcpy(ip + 16, layer->src, 4);
		put16(ip + 10, fold(sum16(0, ip, 20)));
		return 20;
	}
	memset(ip, 0, 40);
	ip[0] = 0x60;
	put16(ip + 4, (unsigned)payload);
	ip[6] = proto;
	ip[7] = 64;
	memcpy(ip + 8, layer->dst, 16);
	memcpy(ip + 24, layer->src, 16);
	return 40;
}

static uint32_t pseudo_header(const struct packet_layer *layer, uint8_t proto, size_t len)
{
	size_t octets = layer->family == 4 ? 4 : 16;

	return sum16(sum16(0, layer->src, octets), layer->dst, octets) + proto + (uint32_t)len;
}

static size_t reset(uint8_t *frame, const struct packet_layer *layer)
{
	uint8_t *ip = frame + layer->l3, *tcp;
	const uint8_t *old = frame + layer->l4;
	uint32_t seq = get32(old + 4), ack = get32(old + 8), header = (old[12] >> 4) * 4u;
	uint8_t flags = layer->tcp_flags;
	uint32_t length = layer->l4_len > header ? layer->l4_len - header : 0;
	uint16_t sport = layer->sport, dport = layer->dport;
	size_t ip_len = ip_header(ip, layer, IPPROTO_TCP, 20);

	length += !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
	tcp = ip + ip_len;
	memset(tcp, 0, 20);
	put16(tcp, dport);
	put16(tcp + 2, sport);
	if (flags & TCP_ACK) {
		put32(tcp + 4, ack);
		tcp[13] = TCP_RST;
	} else {
		put32(tcp + 8, seq + length);
		tcp[13] = TCP_RST | TCP_ACK;
	}
	tcp[12] = 5 << 4;
	put16(tcp + 16, fold(sum16(pseudo_header(layer, IPPROTO_TCP, 20), tcp, 20)));
	return layer->l3 + ip_len + 20;
}

static size_t prohibited(uint8_t *frame, size_t len, size_t room, const struct packet_layer *layer)
{
	bool v4 = layer->family == 4;
	size_t ip_len = v4 ? 20 : 40, quote = len - layer->l3, most = v4 ? QUOTE_V4 : QUOTE_V6;
	size_t told = (size_t)(layer->l4 - layer->l3) + layer->l4_len;
	uint8_t *ip = frame + layer->l3, *icmp = ip + ip_len;

	quote = quote < told ? quote : told;
	quote = quote < most ? quote : most;
	if (layer->l3 + ip_len + 8 + quote > room)
		return 0;
	memmove(icmp + 8, ip, quote);
	memset(icmp, 0, 8);
	icmp[0] = v4 ? 3 : 1;
	icmp[1] = v4 ? 13 : 1;
	ip_header(ip, layer, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 8 + quote);
	put16(icmp + 2,
	      fold(sum16(v4 ? 0 : pseudo_header(layer, IPPROTO_ICMPV6, 8 + quote), icmp, 8 + quote))
	);
	return layer->l3 + ip_len + 8 + quote;
}

static bool icmp_error(const struct packet_layer *layer, uint8_t type)
{
	if (layer->family == 4)
		return layer->proto == IPPROTO_ICMP
			&& (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
	return layer->proto == IPPROTO_ICMPV6 && type < 128;
}

static bool unicast(uint8_t family, const uint8_t *addr)
{
	static const uint8_t zero[16];

	if (family == 4)
		return addr[0] != 0 && addr[0] < 224;
	return addr[0] != 0xff && memcmp(addr, zero, 16) != 0;
}

static bool is_ip(uint16_t ethertype)
{
	return ethertype == 0x0800 || ethertype == 0x86dd;
}

size_t
act_reply(uint8_t *frame, size_t len, size_t room, const struct packet *packet, bool *ret_icmp)
{
	const struct packet_layer *layer = &packet->layers[0];
	uint8_t mac[6];
	size_t answer;

	// Only a packet that is wholly at hand as Ethernet, to and from one host, and in nothing
	// else: what surrounds it would have to be turned round too.
	if (packet->n_layers != 1 || !is_ip(packet->ethertype) || layer->l3 < 14 || (frame[0] & 1)
	    || layer->l4 >= len || (layer->flags & PACKET_FRAGMENT_LATER)
	    || !unicast(layer->family, layer->src) || !unicast(layer->family, layer->dst)
	    || icmp_error(layer, frame[layer->l4]))
		return 0;
	*ret_icmp = layer->proto != IPPROTO_TCP;
	if (*ret_icmp)
		answer = prohibited(frame, len, room, layer);
	else if (!(layer->flags & PACKET_PORTS) || (layer->tcp_flags & TCP_RST))
		return 0;
	else
		answer = reset(frame, layer);
	if (answer == 0)
		return 0;
	memcpy(mac, frame, 6);
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, mac, 6);
	return answer;
}
