// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "tests/golden/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX 32
#define WORDS_MAX 40

struct layer {
	char *words[WORDS_MAX]; // [0]: the kind
	int n;
};

struct build {
	struct layer layers[LAYERS_MAX];
	int n;
	int at; // layer being built, from the last to the first
	bool padding; // trailing octets: not counted by IP
	uint8_t *begin; // of what is built so far, in `buffer`
	uint8_t *ip_end; // where the counted octets end
	uint8_t buffer[FRAME_MAX];
	char *error;
};

static int refuse(const struct build *b, const char *why)
{
	snprintf(b->error, 128, "%s: %s", b->at >= 0 ? b->layers[b->at].words[0] : "frame", why);
	return -EINVAL;
}

// --- words of a layer

static const char *value(const struct layer *l, const char *key)
{
	size_t len = strlen(key);

	for (int i = 1; i < l->n; i++) {
		if (strncmp(l->words[i], key, len) == 0 && l->words[i][len] == '=')
			return l->words[i] + len + 1;
	}
	return NULL;
}

static bool flag(const struct layer *l, const char *word)
{
	for (int i = 1; i < l->n; i++) {
		if (strcmp(l->words[i], word) == 0)
			return true;
	}
	return false;
}

static unsigned number(const struct layer *l, const char *key, unsigned otherwise)
{
	const char *v = value(l, key);

	return v ? (unsigned)strtoul(v, NULL, 0) : otherwise;
}

// The first word that is no key=value.
static const char *positional(const struct layer *l, int nth)
{
	for (int i = 1; i < l->n; i++) {
		if (!strchr(l->words[i], '=') && nth-- == 0)
			return l->words[i];
	}
	return NULL;
}

static unsigned positional_number(const struct layer *l, unsigned otherwise)
{
	const char *word = positional(l, 0);

	return word ? (unsigned)strtoul(word, NULL, 0) : otherwise;
}

static int hex_parse(const char *hex, uint8_t *to, size_t room)
{
	size_t n = 0;

	for (; hex[0]; hex += 2, n++) {
		unsigned octet;

		if (n == room || !hex[1] || sscanf(hex, "%2x", &octet) != 1)
			return -EINVAL;
		to[n] = (uint8_t)octet;
	}
	return (int)n;
}

// --- octets

static uint8_t *prepend(struct build *b, size_t len)
{
	if (len > (size_t)(b->begin - b->buffer))
		return NULL;
	b->begin -= len;
	return memset(b->begin, 0, len);
}

static void put16(uint8_t *p, unsigned n)
{
	p[0] = (uint8_t)(n >> 8);
	p[1] = (uint8_t)n;
}

static size_t counted(const struct build *b)
{
	return (size_t)(b->ip_end - b->begin);
}

struct kind {
	const char *name;
	unsigned ethertype; // 0: none
	unsigned proto;
	int (*build)(struct build *, const struct layer *);
};

static const struct kind *kind_find(const char *name);

static const struct layer *next_layer(const struct build *b)
{
	return b->at + 1 < b->n ? &b->layers[b->at + 1] : NULL;
}

static unsigned next_ethertype(const struct build *b)
{
	const struct layer *next = next_layer(b);
	unsigned type = next ? kind_find(next->words[0])->ethertype : 0;

	if (type == 0x8100)
		return number(next, "tpid", type);
	return type ? type : 0x88b5; // local experimental
}

static unsigned next_proto(const struct build *b)
{
	const struct layer *next = next_layer(b);

	return next ? kind_find(next->words[0])->proto : 253;
}

static int eth_build(struct build *b, const struct layer *l)
{
	static const uint8_t addresses[] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
	const char *dst = value(l, "dst");
	uint8_t *h = prepend(b, 14);
	unsigned mac[6];

	if (!h)
		return refuse(b, "too long");
	memcpy(h, addresses, sizeof(addresses));
	if (dst) {
		if (sscanf(dst,
			   "%x:%x:%x:%x:%x:%x",
			   &mac[0],
			   &mac[1],
			   &mac[2],
			   &mac[3],
			   &mac[4],
			   &mac[5])
		    != 6)
			return refuse(b, "dst=");
		for (int i = 0; i < 6; i++)
			h[i] = (uint8_t)mac[i];
	}
	put16(h + 12, number(l, "type", next_ethertype(b)));
	return 0;
}

static int vlan_build(struct build *b, const struct layer *l)
{
	uint8_t *h = prepend(b, 4);

	if (!h)
		return refuse(b, "too long");
	put16(h, positional_number(l, 0));
	put16(h + 2, number(l, "type", next_ethertype(b)));
	return 0;
}

static int addresses_parse(const struct layer *l, int family, uint8_t *src, uint8_t *dst)
{
	const char *text = positional(l, 0), *arrow = text ? strchr(text, '>') : NULL;
	char from[64];

	if (!arrow || (size_t)(arrow - text) >= sizeof(from))
		return -EINVAL;
	memcpy(from, text, (size_t)(arrow - text));
	from[arrow - text] = '\0';
	return inet_pton(family, from, src) == 1 && inet_pton(family, arrow + 1, dst) == 1
		? 0
		: -EINVAL;
}

static int ip_build(struct build *b, const struct layer *l)
{
	uint8_t options[44] = {0};
	const char *opt = value(l, "opt");
	int n = opt ? hex_parse(opt, options, 40) : 0;
	unsigned header;
	uint8_t *h;

	if (n < 0)
		return refuse(b, "opt=");
	header = 20 + ((unsigned)n + 3) / 4 * 4;
	h = prepend(b, header);
	if (!h || addresses_parse(l, AF_INET, h + 12, h + 16) < 0)
		return refuse(b, "SRC>DST");
	memcpy(h + 20, options, header - 20);
	h[0] = (uint8_t)(number(l, "ver", 4) << 4 | number(l, "ihl", header / 4));
	put16(h + 2, number(l, "len", (unsigned)counted(b)));
	put16(h + 4, 0x1234);
	put16(h + 6,
	      number(l, "off", 0) | (flag(l, "mf") ? 0x2000u : 0) | (flag(l, "df") ? 0x4000u : 0));
	h[8] = (uint8_t)number(l, "ttl", 64);
	h[9] = (uint8_t)number(l, "proto", next_proto(b));
	return 0;
}

static int ip6_build(struct build *b, const struct layer *l)
{
	unsigned payload = number(l, "plen", (unsigned)counted(b));
	uint8_t *h = prepend(b, 40);

	if (!h || addresses_parse(l, AF_INET6, h + 8, h + 24) < 0)
		return refuse(b, "SRC>DST");
	h[0] = (uint8_t)(number(l, "ver", 6) << 4);
	put16(h + 4, payload);
	h[6] = (uint8_t)number(l, "next", next_proto(b));
	h[7] = (uint8_t)number(l, "hops", 64);
	return 0;
}

static int extension_build(struct build *b, const struct layer *l)
{
	unsigned octets = number(l, "octets", 8);
	uint8_t *h = prepend(b, octets);

	if (!h || octets < 2)
		return refuse(b, "octets=");
	h[0] = (uint8_t)number(l, "next", next_proto(b));
	h[1] = (uint8_t)number(l, "len", octets / 8 - 1);
	return 0;
}

static int ah_build(struct build *b, const struct layer *l)
{
	unsigned octets = number(l, "octets", 24);
	uint8_t *h = prepend(b, octets);

	if (!h || octets < 2)
		return refuse(b, "octets=");
	h[0] = (uint8_t)number(l, "next", next_proto(b));
	h[1] = (uint8_t)number(l, "len", octets / 4 - 2);
	return 0;
}

static int rh_build(struct build *b, const struct layer *l)
{
	const char *to = value(l, "to");
	char text[512] = "", *rest = text, *word;
	unsigned n = 0;
	uint8_t addrs[16][16], *h;

	if (to)
		snprintf(text, sizeof(text), "%s", to);
	while (*text && (word = strsep(&rest, ","))) {
		if (n == 16 || inet_pton(AF_INET6, word, addrs[n++]) != 1)
			return refuse(b, "to=");
	}
	h = prepend(b, 8 + 16 * n);
	if (!h)
		return refuse(b, "too long");
	h[0] = (uint8_t)number(l, "next", next_proto(b));
	h[1] = (uint8_t)number(l, "len", 2 * n);
	h[2] = (uint8_t)number(l, "type", 0);
	h[3] = (uint8_t)number(l, "left", n);
	memcpy(h + 8, addrs, 16 * n);
	return 0;
}

static int frag_build(struct build *b, const struct layer *l)
{
	uint8_t *h = prepend(b, 8);

	if (!h)
		return refuse(b, "too long");
	h[0] = (uint8_t)number(l, "next", next_proto(b));
	put16(h + 2, number(l, "off", 0) << 3 | flag(l, "mf"));
	put16(h + 6, 0x4242);
	return 0;
}

static int ports_put(struct build *b, const struct layer *l, uint8_t *h)
{
	const char *text = positional(l, 0);
	unsigned sport, dport;

	if (!text || sscanf(text, "%u>%u", &sport, &dport) != 2)
		return refuse(b, "SPORT>DPORT");
	put16(h, sport);
	put16(h + 2, dport);
	return 0;
}

static int tcp_build(struct build *b, const struct layer *l)
{
	static const char letters[] = "FSRPAU";
	const char *flags = positional(l, 1);
	uint8_t *h = prepend(b, 20);

	if (!h)
		return refuse(b, "too long");
	h[12] = (uint8_t)(number(l, "doff", 5) << 4);
	for (; flags && *flags; flags++) {
		const char *letter = strchr(letters, *flags);

		if (!letter)
			return refuse(b, "FLAGS");
		h[13] |= (uint8_t)(1 << (letter - letters));
	}
	return ports_put(b, l, h);
}

static int udp_build(struct build *b, const struct layer *l)
{
	uint8_t *h = prepend(b, 8);

	if (!h)
		return refuse(b, "too long");
	put16(h + 4, number(l, "len", (unsigned)counted(b)));
	return ports_put(b, l, h);
}

static int icmp_build(struct build *b, const struct layer *l)
{
	uint8_t *h = prepend(b, 8);

	if (!h)
		return refuse(b, "too long");
	h[0] = (uint8_t)positional_number(l, 0);
	return 0;
}

static int esp_build(struct build *b, const struct layer *l)
{
	(void)l;
	return prepend(b, 24) ? 0 : refuse(b, "too long");
}

// --- tunnels

static int mpls_build(struct build *b, const struct layer *l)
{
	const struct layer *next = next_layer(b);
	unsigned label = positional_number(l, 16);
	uint8_t *h = prepend(b, 4);

	if (!h)
		return refuse(b, "too long");
	put16(h, label >> 4);
	h[2] = (uint8_t)(label << 4 | number(l, "bottom", !next || strcmp(next->words[0], "mpls")));
	h[3] = 64;
	return 0;
}

static int pppoe_build(struct build *b, const struct layer *l)
{
	unsigned len = number(l, "len", (unsigned)counted(b));
	uint8_t *h = prepend(b, 6);

	if (!h)
		return refuse(b, "too long");
	h[0] = (uint8_t)number(l, "ver", 0x11);
	h[1] = (uint8_t)number(l, "code", 0);
	put16(h + 2, 0x77);
	put16(h + 4, len);
	return 0;
}

// What the next layer is called by PPP, and by NSH and VXLAN-GPE.
static unsigned next_number(const struct build *b, bool ppp)
{
	static const struct {
		const char *name;
		unsigned ppp, nsh;
	} numbers[] = {
		{"ip", 0x21, 1},
		{"ip6", 0x57, 2},
		{"eth", 0x31, 3},
		{"nsh", 0, 4},
		{"mpls", 0x281, 5},
	};
	const struct layer *next = next_layer(b);

	for (size_t i = 0; next && i < sizeof(numbers) / sizeof(*numbers); i++) {
		if (strcmp(next->words[0], numbers[i].name) == 0)
			return ppp ? numbers[i].ppp : numbers[i].nsh;
	}
	return 0;
}

static int ppp_build(struct build *b, const struct layer *l)
{
	uint8_t *h = prepend(b, 2);

	if (!h)
		return refuse(b, "too long");
	put16(h, number(l, "proto", next_number(b, true)));
	return 0;
}

static int gre_build(struct build *b, const struct layer *l)
{
	bool sum = flag(l, "sum"), key = value(l, "key"), seq = value(l, "seq");
	unsigned flags = (sum ? 0x8000u : 0) | (key ? 0x2000u : 0) | (seq ? 0x1000u : 0);
	uint8_t *h = prepend(b, 4 + 4 * (size_t)(sum + key + seq));

	if (!h)
		return refuse(b, "too long");
	put16(h, number(l, "flags", flags));
	put16(h + 2, number(l, "type", next_ethertype(b)));
	if (key)
		put16(h + 4 + 4 * sum + 2, number(l, "key", 0));
	return 0;
}

static int etherip_build(struct build *b, const struct layer *l)
{
	uint8_t *h = prepend(b, 2);

	if (!h)
		return refuse(b, "too long");
	h[0] = (uint8_t)(number(l, "ver", 3) << 4);
	return 0;
}

static int nsh_build(struct build *b, const struct layer *l)
{
	uint8_t *h = prepend(b, 8);

	if (!h)
		return refuse(b, "too long");
	h[0] = (uint8_t)(number(l, "ver", 0) << 6 | 0x0f);
	h[1] = (uint8_t)(0xc0 | number(l, "len", 2));
	h[2] = 2;
	h[3] = (uint8_t)number(l, "next", next_number(b, false));
	return 0;
}

static int vxlan_build(struct build *b, const struct layer *l)
{
	bool gpe = strcmp(l->words[0], "gpe") == 0;
	uint8_t *h = prepend(b, 8);

	if (!h)
		return refuse(b, "too long");
	h[0] = (uint8_t)number(l, "flags", gpe ? 0x0c : 0x08);
	if (gpe)
		h[3] = (uint8_t)number(l, "next", next_number(b, false));
	h[6] = 42;
	return 0;
}

static int geneve_build(struct build *b, const struct layer *l)
{
	uint8_t options[252] = {0};
	const char *opt = value(l, "opt");
	int n = opt ? hex_parse(opt, options, sizeof(options)) : 0;
	uint8_t *h = n >= 0 ? prepend(b, 8 + (size_t)n) : NULL;

	if (!h)
		return refuse(b, "opt=");
	h[0] = (uint8_t)(number(l, "ver", 0) << 6 | number(l, "optlen", (unsigned)n / 4));
	put16(h + 2, number(l, "type", next_ethertype(b)));
	h[5] = 42;
	memcpy(h + 8, options, (size_t)n);
	return 0;
}

static int nothing_build(struct build *b, const struct layer *l)
{
	(void)b;
	(void)l;
	return 0;
}

static int data_build(struct build *b, const struct layer *l)
{
	unsigned n = positional_number(l, 0);
	uint8_t *h = prepend(b, n);

	if (!h)
		return refuse(b, "too long");
	memset(h, 'a', n);
	if (strcmp(l->words[0], "trail") == 0)
		b->ip_end = b->begin;
	return 0;
}

static int hex_build(struct build *b, const struct layer *l)
{
	uint8_t octets[FRAME_MAX], *h;
	int n = 0;

	for (int i = 1; i < l->n; i++) {
		int more = hex_parse(l->words[i], octets + n, sizeof(octets) - (size_t)n);

		if (more < 0)
			return refuse(b, l->words[i]);
		n += more;
	}
	h = prepend(b, (size_t)n);
	if (!h)
		return refuse(b, "too long");
	memcpy(h, octets, (size_t)n);
	return 0;
}

static const struct kind kinds[] = {
	{"raw", 0, 0, nothing_build},
	{"eth", 0x6558, 143, eth_build},
	{"vlan", 0x8100, 0, vlan_build},
	{"ip", 0x0800, 4, ip_build},
	{"ip6", 0x86dd, 41, ip6_build},
	{"hbh", 0, 0, extension_build},
	{"rh", 0, 43, rh_build},
	{"frag", 0, 44, frag_build},
	{"gre", 0, 47, gre_build},
	{"esp", 0, 50, esp_build},
	{"ah", 0, 51, ah_build},
	{"none", 0, 59, nothing_build},
	{"dst", 0, 60, extension_build},
	{"etherip", 0, 97, etherip_build},
	{"mobility", 0, 135, extension_build},
	{"mpls", 0x8847, 137, mpls_build},
	{"hip", 0, 139, extension_build},
	{"shim6", 0, 140, extension_build},
	{"nsh", 0x894f, 145, nsh_build},
	{"pppoe", 0x8864, 0, pppoe_build},
	{"ppp", 0x880b, 0, ppp_build},
	{"vxlan", 0, 0, vxlan_build},
	{"gpe", 0, 0, vxlan_build},
	{"geneve", 0, 0, geneve_build},
	{"icmp", 0, 1, icmp_build},
	{"tcp", 0, 6, tcp_build},
	{"udp", 0, 17, udp_build},
	{"icmp6", 0, 58, icmp_build},
	{"data", 0, 253, data_build},
	{"hex", 0, 253, hex_build},
	{"trail", 0, 253, data_build},
	{"cut", 0, 253, nothing_build},
	{"have", 0, 253, nothing_build},
};

static const struct kind *kind_find(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return NULL;
}

static int layers_split(struct build *b, char *text)
{
	char *word;
	struct layer *l = &b->layers[0];

	b->n = 1;
	while ((word = strsep(&text, " \t"))) {
		if (!*word)
			continue;
		if (strcmp(word, "/") == 0) {
			if (b->n == LAYERS_MAX)
				return -EINVAL;
			l = &b->layers[b->n++];
		} else if (l->n == WORDS_MAX) {
			return -EINVAL;
		} else {
			l->words[l->n++] = word;
		}
	}
	return 0;
}

int frame_parse(const char *text, struct frame *ret_frame, char ret_error[128])
{
	struct build b = {.error = ret_error, .at = -1};
	char copy[4096];
	uint32_t len;

	snprintf(copy, sizeof(copy), "%s", text);
	b.begin = b.ip_end = b.buffer + sizeof(b.buffer);
	if (layers_split(&b, copy) < 0)
		return refuse(&b, "too many layers or words");
	for (int i = 0; i < b.n; i++) {
		if (b.layers[i].n == 0 || !kind_find(b.layers[i].words[0])) {
			snprintf(
				ret_error,
				128,
				"no such layer: %.90s",
				b.layers[i].n ? b.layers[i].words[0] : "(empty)"
			);
			return -EINVAL;
		}
	}
	for (b.at = b.n - 1; b.at >= 0; b.at--) {
		int error = kind_find(b.layers[b.at].words[0])->build(&b, &b.layers[b.at]);

		if (error < 0)
			return error;
	}
	len = (uint32_t)(b.buffer + sizeof(b.buffer) - b.begin);
	memcpy(ret_frame->octets, b.begin, len);
	ret_frame->link
		= strcmp(b.layers[0].words[0], "raw") == 0 ? PACKET_RAW_IP : PACKET_ETHERNET;
	ret_frame->len = ret_frame->wire_len = len;
	for (int i = 0; i < b.n; i++) {
		uint32_t n = positional_number(&b.layers[i], 0);

		if (strcmp(b.layers[i].words[0], "cut") == 0 && n < ret_frame->len)
			ret_frame->len = ret_frame->wire_len = n;
		if (strcmp(b.layers[i].words[0], "have") == 0 && n < ret_frame->len)
			ret_frame->len = n;
	}
	return 0;
}
