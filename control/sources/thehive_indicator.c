// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/thehive_indicator.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DATA_MAX 1024

static int refuse(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return -EINVAL;
}

// A scheme in front: "http://…", defanged or not. One inside a query is none.
static bool is_url(const char *data)
{
	static const char *const marks[] = {"://", "[:]//", "[://]", ":[//]", "(:)//"};
	data += strspn(data, " \t\r\n");
	size_t scheme
		= strspn(data, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
	for (size_t i = 0; scheme > 0 && i < sizeof(marks) / sizeof(marks[0]); i++)
		if (strncmp(data + scheme, marks[i], strlen(marks[i])) == 0)
			return true;
	return false;
}

// --- ranges

static unsigned __int128 number_of(const struct indicator *n)
{
	unsigned __int128 value = 0;
	for (size_t i = 0; i < (n->family == 4 ? 4 : 16); i++)
		value = value << 8 | n->addr[i];
	return value;
}

static struct indicator prefix_of(uint8_t family, unsigned __int128 value, unsigned host_bits)
{
	size_t octets = family == 4 ? 4 : 16;
	struct indicator n = {
		.kind = INDICATOR_NET,
		.family = family,
		.prefix_len = (uint8_t)(octets * 8 - host_bits),
	};
	for (size_t i = octets; i > 0; i--, value >>= 8)
		n.addr[i - 1] = (uint8_t)value;
	return n;
}

// The fewest prefixes that make up first–last.
static int range_split(
	uint8_t family,
	unsigned __int128 first,
	unsigned __int128 last,
	struct hive_indicators *found,
	const char **ret_reason
)
{
	unsigned width = family == 4 ? 32 : 128;
	for (;;) {
		unsigned bits = 0;
		while (bits + 1 < width) {
			unsigned __int128 size = (unsigned __int128)1 << (bits + 1);
			if (first & (size - 1) || last - first < size - 1)
				break;
			bits++;
		}
		if (found->n == HIVE_RANGE_MAX)
			return refuse(
				ret_reason, "a range that is no few networks: write it as networks"
			);
		found->list[found->n++] = prefix_of(family, first, bits);
		unsigned __int128 size = (unsigned __int128)1 << bits;
		if (last - first < size)
			return 0;
		first += size;
	}
}

static int address_parse(const char *text, size_t len, struct indicator *ret_address)
{
	struct indicator_error error;
	struct indicator n;
	int failed = indicator_parse(text, len, &n, &error);
	if (failed)
		return failed;
	if (n.kind != INDICATOR_NET || n.prefix_len != (n.family == 4 ? 32 : 128))
		return -EINVAL;
	*ret_address = n;
	return 0;
}

// 1: a range, taken; 0: none; -EINVAL: a range that cannot be denied.
static int range_parse(const char *data, struct hive_indicators *found, const char **ret_reason)
{
	const char *dash = strchr(data, '-');
	struct indicator first, last;
	if (!dash || strchr(dash + 1, '-') || address_parse(data, (size_t)(dash - data), &first) < 0
	    || address_parse(dash + 1, strlen(dash + 1), &last) < 0)
		return 0;
	if (first.family != last.family || number_of(&first) > number_of(&last))
		return refuse(ret_reason, "a range runs from a lower to a higher address");
	int failed
		= range_split(first.family, number_of(&first), number_of(&last), found, ret_reason);
	return failed ? failed : 1;
}

// --- single indicators

static int url_parse(const char *data, struct hive_indicators *found, const char **ret_reason)
{
	struct indicator_error error;
	uint16_t port;
	bool path;
	int failed = indicator_parse_url(data, strlen(data), &found->list[0], &port, &path, &error);
	if (failed)
		return refuse(ret_reason, error.reason);
	found->n = 1;
	found->hold = path;
	return 0;
}

// A URL as people write it, without its scheme.
static int bare_url_parse(const char *data, struct hive_indicators *found, const char **ret_reason)
{
	char whole[DATA_MAX + 8];
	data += strspn(data, " \t\r\n");
	snprintf(whole, sizeof(whole), "http://%s", data);
	return url_parse(whole, found, ret_reason);
}

// "host:443", "192.0.2.1:443": the protocol is not said, and without it there is no port entry.
static bool has_port(const char *data)
{
	const char *colon = strrchr(data, ':');
	if (!colon || !colon[1] || strlen(colon + 1) != strspn(colon + 1, "0123456789"))
		return false;
	return strchr(data, ':') == colon || (colon > data && colon[-1] == ']');
}

// The domain of an e-mail address: what is sent to it, to whichever of its servers.
static int mail_parse(const char *data, struct hive_indicators *found, const char **ret_reason)
{
	const char *at = strrchr(data, '@');
	size_t len = at ? strcspn(at + 1, " \t\r\n>") : 0;
	struct indicator_error error;
	if (len == 0)
		return refuse(ret_reason, "is no e-mail address");
	if (indicator_parse(at + 1, len, &found->list[0], &error) < 0)
		return refuse(ret_reason, error.reason);
	if (found->list[0].kind != INDICATOR_NAME)
		return refuse(ret_reason, "an e-mail address without a domain");
	found->list[0].subtree = 1;
	found->n = 1;
	return 0;
}

static int plain_parse(const char *data, struct hive_indicators *found, const char **ret_reason)
{
	struct indicator_error error;
	if (indicator_parse(data, strlen(data), &found->list[0], &error) == 0) {
		found->n = 1;
		return 0;
	}
	if (has_port(data))
		return refuse(
			ret_reason,
			"a port without its protocol: write tcp/ADDRESS:PORT, or the address or "
			"name alone"
		);
	return refuse(ret_reason, error.reason);
}

int hive_indicators_parse(
	const char *type,
	const char *data,
	struct hive_indicators *ret_found,
	const char **ret_reason
)
{
	struct hive_indicators found = {0};
	int failed;
	if (strlen(data) >= DATA_MAX)
		return refuse(ret_reason, "too long to be an indicator");
	if (strcasecmp(type, "mail") == 0) {
		failed = mail_parse(data, &found, ret_reason);
	} else if (is_url(data)) {
		failed = url_parse(data, &found, ret_reason);
	} else if (strcasecmp(type, "url") == 0) {
		failed = bare_url_parse(data, &found, ret_reason);
	} else {
		failed = range_parse(data, &found, ret_reason);
		if (failed == 0)
			failed = plain_parse(data, &found, ret_reason);
		else if (failed > 0)
			failed = 0;
		if (!failed && strcasecmp(type, "domain") == 0
		    && found.list[0].kind == INDICATOR_NAME)
			found.list[0].subtree = 1;
	}
	if (!failed)
		*ret_found = found;
	return failed;
}
