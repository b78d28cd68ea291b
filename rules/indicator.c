// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/indicator.h"

#include <openssl/sha.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static size_t number_print(char *to, unsigned number)
{
	char digits[8];
	size_t n = 0, len = 0;

	do {
		digits[n++] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while (n)
		to[len++] = digits[--n];
	return len;
}

static size_t ipv4_print(char *to, const uint8_t *addr)
{
	size_t len = 0;

	for (int i = 0; i < 4; i++) {
		if (i)
			to[len++] = '.';
		len += number_print(to + len, addr[i]);
	}
	return len;
}

static size_t address_print(char *to, const struct indicator *n)
{
	if (n->family == 4)
		return ipv4_print(to, n->addr);
	inet_ntop(AF_INET6, n->addr, to, INET6_ADDRSTRLEN);
	return strlen(to);
}

static size_t port_print(char *to, const struct indicator *n)
{
	size_t len = 4;

	memcpy(to, n->proto == IPPROTO_TCP ? "tcp/" : "udp/", 4);
	if (n->family == 6)
		to[len++] = '[';
	len += address_print(to + len, n);
	if (n->family == 6)
		to[len++] = ']';
	to[len++] = ':';
	return len + number_print(to + len, n->port);
}

size_t indicator_print(const struct indicator *n, char text[INDICATOR_TEXT_MAX])
{
	size_t len = 0;

	switch (n->kind) {
	case INDICATOR_NET:
		len = address_print(text, n);
		if (n->prefix_len != (n->family == 4 ? 32 : 128)) {
			text[len++] = '/';
			len += number_print(text + len, n->prefix_len);
		}
		break;
	case INDICATOR_PORT:
		len = port_print(text, n);
		break;
	case INDICATOR_NAME:
		if (n->subtree) {
			memcpy(text, "*.", 2);
			len = 2;
		}
		memcpy(text + len, n->name, n->name_len);
		len += n->name_len;
		break;
	}
	text[len] = '\0';
	return len;
}

uint64_t indicator_id(const struct indicator *n)
{
	char text[INDICATOR_TEXT_MAX];
	uint8_t hash[SHA256_DIGEST_LENGTH];
	uint64_t id = 0;

	SHA256((const unsigned char *)text, indicator_print(n, text), hash);
	for (int i = 0; i < 8; i++)
		id = id << 8 | hash[i];
	return id;
}

int indicator_compare(const struct indicator *a, const struct indicator *b)
{
	int order;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	order = memcmp(a->addr, b->addr, sizeof(a->addr));
	if (order)
		return order;
	if (a->prefix_len != b->prefix_len)
		return a->prefix_len < b->prefix_len ? -1 : 1;
	if (a->proto != b->proto)
		return a->proto < b->proto ? -1 : 1;
	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	order = strcmp(a->name, b->name);
	return order ? order : (int)a->subtree - (int)b->subtree;
}

bool indicator_equal(const struct indicator *a, const struct indicator *b)
{
	return indicator_compare(a, b) == 0;
}

static bool prefix_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned octets = bits / 8, rest = bits % 8;

	if (memcmp(a, b, octets) != 0)
		return false;
	return rest == 0 || ((a[octets] ^ b[octets]) >> (8 - rest)) == 0;
}

static bool name_covers(const struct indicator *outer, const struct indicator *inner)
{
	size_t rest;

	if (inner->kind != INDICATOR_NAME)
		return false;
	if (!outer->subtree)
		return !inner->subtree && strcmp(outer->name, inner->name) == 0;
	if (inner->name_len < outer->name_len)
		return false;
	rest = (size_t)inner->name_len - outer->name_len;
	if (strcmp(inner->name + rest, outer->name) != 0)
		return false;
	return rest == 0 || inner->name[rest - 1] == '.';
}

bool indicator_covers(const struct indicator *outer, const struct indicator *inner)
{
	switch (outer->kind) {
	case INDICATOR_NET:
		return inner->kind != INDICATOR_NAME && inner->family == outer->family
			&& inner->prefix_len >= outer->prefix_len
			&& prefix_equal(outer->addr, inner->addr, outer->prefix_len);
	case INDICATOR_PORT:
		return indicator_equal(outer, inner);
	case INDICATOR_NAME:
		return name_covers(outer, inner);
	}
	return false;
}

bool indicator_covers_address(
	const struct indicator *outer,
	uint8_t family,
	const uint8_t addr[static 16],
	uint8_t proto,
	uint16_t port
)
{
	if (outer->kind == INDICATOR_NAME || outer->family != family)
		return false;
	if (!prefix_equal(outer->addr, addr, outer->prefix_len))
		return false;
	return outer->kind == INDICATOR_NET
		|| (proto != 0 && outer->proto == proto && outer->port == port);
}
