// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// From text to an indicator: what is clear is normalised, what could mean two things is refused.

#include "rules/domain.h"
#include "rules/indicator.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define TEXT_MAX 1024 // octets of input looked at; anything longer is no indicator

// A cleaned copy of the input: no defanging, and where each octet came from.
struct cleaned {
	char text[TEXT_MAX];
	uint16_t column[TEXT_MAX + 1]; // from 1
	size_t len;
};

static int refuse(struct indicator_error *ret_error, size_t column, const char *reason)
{
	*ret_error = (struct indicator_error){.column = column, .reason = reason};
	return -EINVAL;
}

static const struct {
	const char *from;
	char to;
} defanged[] = {
	{"[.]", '.'},
	{"(.)", '.'},
	{"{.}", '.'},
	{"[dot]", '.'},
	{"(dot)", '.'},
	{"[:]", ':'},
	{"(:)", ':'},
	{"[/]", '/'},
	{"[://]", ':'},
	{"\\.", '.'},
};

static size_t defanged_match(const char *text, size_t len, char *ret_char)
{
	if (*text != '[' && *text != '(' && *text != '{' && *text != '\\')
		return 0;
	for (size_t i = 0; i < sizeof(defanged) / sizeof(defanged[0]); i++) {
		size_t n = strlen(defanged[i].from);

		if (n <= len && strncasecmp(text, defanged[i].from, n) == 0) {
			*ret_char = defanged[i].to;
			return n;
		}
	}
	return 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Trim, undo defanging, refuse what no indicator contains.
static int clean(const char *text, size_t len, struct cleaned *c, struct indicator_error *ret_error)
{
	size_t at = 0;

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		at = 3;
	while (at < len && is_space(text[at]))
		at++;
	while (len > at && is_space(text[len - 1]))
		len--;
	if (at == len)
		return refuse(
			ret_error, 1, "empty: write an address, a prefix, a port entry or a name"
		);
	if (len - at >= TEXT_MAX)
		return refuse(ret_error, 1, "too long to be an indicator");
	c->len = 0;
	while (at < len) {
		char real = '\0';
		size_t n = defanged_match(text + at, len - at, &real);

		if (n == 0) {
			n = 1;
			real = text[at];
		}
		if (is_space(real) || (unsigned char)real < 0x20 || real == 0x7f)
			return refuse(
				ret_error, at + 1, "white space or a control character inside"
			);
		c->column[c->len] = (uint16_t)(at + 1);
		c->text[c->len++] = real;
		at += n;
		if (n == 5 && text[at - 4] == ':') { // "[://]"
			c->column[c->len] = c->column[c->len + 1] = (uint16_t)(at - 2);
			c->text[c->len++] = '/';
			c->text[c->len++] = '/';
		}
	}
	c->column[c->len] = (uint16_t)(at + 1);
	c->text[c->len] = '\0';
	return 0;
}

// Four decimal octets. Returns octets consumed, 0: it does not look like one, or -EINVAL with why.
static int ipv4_parse(const char *text, size_t len, uint8_t addr[4], const char **ret_reason)
{
	size_t at = 0;

	for (int i = 0; i < 4; i++) {
		unsigned value = 0;
		size_t start = at;

		if (i && (at >= len || text[at++] != '.'))
			return 0;
		start = at;
		while (at < len && text[at] >= '0' && text[at] <= '9' && at - start < 4)
			value = value * 10 + (unsigned)(text[at++] - '0');
		if (at == start)
			return 0;
		// "2001:db8::1" begins with digits too.
		if (i == 0 && (at >= len || text[at] != '.'))
			return 0;
		if (at - start > 1 && text[start] == '0') {
			*ret_reason = "an octet with a leading zero may be octal: write it in "
				      "decimal without one";
			return -EINVAL;
		}
		if (value > 255) {
			*ret_reason = "an octet is at most 255";
			return -EINVAL;
		}
		addr[i] = (uint8_t)value;
	}
	return (int)at;
}

// Digits and dots; or with hexadecimal octets, where the last is a number: "0xbad.cafe" is a name.
static bool looks_ipv4(const char *text, size_t len)
{
	bool hex = len > 1 && text[0] == '0' && (text[1] | 0x20) == 'x', digits = true;
	size_t last = 0; // where the last label begins

	for (size_t i = 0; i < len; i++) {
		char c = text[i], lower = c | 0x20;

		if (c == '.') {
			last = i + 1;
			digits = true;
			continue;
		}
		if (c >= '0' && c <= '9')
			continue;
		digits = false;
		if (!hex || (lower != 'x' && (lower < 'a' || lower > 'f')))
			return false;
	}
	return len > 0
		&& (digits
		    || (len - last > 1 && text[last] == '0' && (text[last + 1] | 0x20) == 'x'));
}

// An address alone, IPv4-mapped IPv6 made IPv4 (ret_mapped: its length counts from /96).
static int address_parse(
	const char *text, size_t len, struct indicator *n, bool *ret_mapped, const char **ret_reason
)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char copy[INET6_ADDRSTRLEN];
	int rc = ipv4_parse(text, len, n->addr, ret_reason);

	*ret_mapped = false;
	if (rc < 0)
		return rc;
	if ((size_t)rc == len && len) {
		n->family = 4;
		return 0;
	}
	memset(n->addr, 0, sizeof(n->addr));
	*ret_reason = "not an address: four decimal octets, or IPv6 as in RFC 5952";
	if (memchr(text, '%', len)) {
		*ret_reason = "a zone identifier means nothing on the wire: leave out \"%\" and "
			      "what follows";
		return -EINVAL;
	}
	if (len >= sizeof(copy) || !memchr(text, ':', len))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (inet_pton(AF_INET6, copy, n->addr) != 1)
		return -EINVAL;
	n->family = 6;
	if (memcmp(n->addr, mapped, sizeof(mapped)) == 0) {
		memmove(n->addr, n->addr + 12, 4);
		memset(n->addr + 4, 0, 12);
		n->family = 4;
		*ret_mapped = true;
	}
	return 0;
}

static int number_parse(const char *text, size_t len, unsigned max, unsigned *ret_number)
{
	unsigned value = 0;

	if (len == 0 || len > 5 || (len > 1 && text[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	if (value > max)
		return -EINVAL;
	*ret_number = value;
	return 0;
}

static bool host_bits_zero(const struct indicator *n)
{
	unsigned octet = n->prefix_len / 8;

	if (n->prefix_len % 8 && (n->addr[octet++] & (0xff >> (n->prefix_len % 8))))
		return false;
	for (; octet < sizeof(n->addr); octet++) {
		if (n->addr[octet])
			return false;
	}
	return true;
}

static const char url_instead[] = "a URL is no indicator: write its host, or tcp/ADDRESS:PORT";

// What was meant, where it can be told.
static const char *address_hint(const struct cleaned *c, const char *reason)
{
	uint8_t addr[4];
	const char *ignored, *bracket = memchr(c->text, ']', c->len);
	int n = ipv4_parse(c->text, c->len, addr, &ignored);

	if (memmem(c->text, c->len, "://", 3))
		return url_instead;
	if ((n > 0 && c->text[n] == ':') || (bracket && bracket[1] == ':'))
		return "a port needs its protocol: write tcp/ADDRESS:PORT or udp/ADDRESS:PORT";
	return reason;
}

static int
net_parse(const struct cleaned *c, struct indicator *n, struct indicator_error *ret_error)
{
	const char *slash = memchr(c->text, '/', c->len), *reason = NULL;
	size_t len = slash ? (size_t)(slash - c->text) : c->len, start = 0;
	unsigned max, bits;
	bool mapped;

	if (c->text[0] == '[' && len > 1 && c->text[len - 1] == ']') {
		start = 1;
		len--;
	}
	if (address_parse(c->text + start, len - start, n, &mapped, &reason) < 0)
		return refuse(ret_error, c->column[start], address_hint(c, reason));
	n->kind = INDICATOR_NET;
	max = n->family == 4 ? 32 : 128;
	n->prefix_len = (uint8_t)max;
	if (!slash)
		return 0;
	slash++;
	if (number_parse(slash, (size_t)(c->text + c->len - slash), mapped ? 128 : max, &bits) < 0)
		return refuse(
			ret_error,
			c->column[slash - c->text],
			n->family == 4 ? "a prefix length is 1 to 32"
				       : "a prefix length is 1 to 128"
		);
	if (mapped && bits < 97)
		return refuse(
			ret_error,
			c->column[slash - c->text],
			"an IPv4-mapped prefix is /97 to /128: /96 would deny all of IPv4"
		);
	bits -= mapped ? 96 : 0;
	if (bits == 0)
		return refuse(
			ret_error, c->column[slash - c->text], "\"/0\" would deny everything"
		);
	n->prefix_len = (uint8_t)bits;
	if (!host_bits_zero(n))
		return refuse(
			ret_error,
			c->column[0],
			"host bits set below the prefix: write the network's first address, or the "
			"address alone"
		);
	return 0;
}

static int
port_parse(const struct cleaned *c, struct indicator *n, struct indicator_error *ret_error)
{
	const char *host = c->text + 4, *end = c->text + c->len, *colon, *reason = NULL;
	size_t host_len;
	unsigned port;
	bool mapped;

	n->proto = (c->text[0] | 0x20) == 't' ? IPPROTO_TCP : IPPROTO_UDP;
	colon = memrchr(host, ':', (size_t)(end - host));
	if (!colon || colon[-1] == '/')
		return refuse(
			ret_error,
			c->column[c->len],
			"a port entry is tcp/ADDRESS:PORT or udp/[ADDRESS]:PORT"
		);
	host_len = (size_t)(colon - host);
	if (memchr(host, '/', host_len))
		return refuse(
			ret_error, c->column[4], "a port entry takes one address, not a prefix"
		);
	if (*host == '[') {
		if (host_len < 2 || host[host_len - 1] != ']')
			return refuse(
				ret_error, c->column[4], "the bracket is not closed before the port"
			);
		host++;
		host_len -= 2;
	} else if (memchr(host, ':', host_len)) {
		return refuse(
			ret_error, c->column[4], "write an IPv6 address in brackets before a port"
		);
	}
	if (address_parse(host, host_len, n, &mapped, &reason) < 0)
		return refuse(ret_error, c->column[host - c->text], reason);
	colon++;
	if (number_parse(colon, (size_t)(end - colon), 65535, &port) < 0 || port == 0)
		return refuse(ret_error, c->column[colon - c->text], "a port is 1 to 65535");
	n->kind = INDICATOR_PORT;
	n->prefix_len = n->family == 4 ? 32 : 128;
	n->port = (uint16_t)port;
	return 0;
}

static int
name_parse(const struct cleaned *c, struct indicator *n, struct indicator_error *ret_error)
{
	const char *reason = NULL;
	size_t start = 0;

	if (c->len > 2 && c->text[0] == '*' && c->text[1] == '.') {
		n->subtree = 1;
		start = 2;
	}
	if (memchr(c->text, '@', c->len))
		return refuse(
			ret_error,
			c->column[0],
			"an e-mail address is no destination: write its domain"
		);
	if (memmem(c->text, c->len, "://", 3))
		return refuse(ret_error, c->column[0], url_instead);
	if (memchr(c->text, '/', c->len) || memchr(c->text, ':', c->len))
		return refuse(
			ret_error,
			c->column[0],
			"neither an address, a prefix, a port entry nor a name"
		);
	if (domain_canonical(c->text + start, c->len - start, n->name, &reason) < 0)
		return refuse(ret_error, c->column[start], reason);
	n->kind = INDICATOR_NAME;
	n->name_len = (uint8_t)strlen(n->name);
	return 0;
}

static int cleaned_parse(
	const struct cleaned *c, struct indicator *ret_indicator, struct indicator_error *ret_error
)
{
	const char *slash = memchr(c->text, '/', c->len);
	size_t head = slash ? (size_t)(slash - c->text) : c->len;
	struct indicator n = {0};
	int rc;

	if (c->len > 4
	    && (strncasecmp(c->text, "tcp/", 4) == 0 || strncasecmp(c->text, "udp/", 4) == 0))
		rc = port_parse(c, &n, ret_error);
	else if (memchr(c->text, ':', head) || c->text[0] == '[' || looks_ipv4(c->text, head))
		rc = net_parse(c, &n, ret_error);
	else
		rc = name_parse(c, &n, ret_error);
	if (rc == 0)
		*ret_indicator = n;
	return rc;
}

int indicator_parse(
	const char *text,
	size_t len,
	struct indicator *ret_indicator,
	struct indicator_error *ret_error
)
{
	struct cleaned c;
	int rc = clean(text, len, &c, ret_error);

	return rc < 0 ? rc : cleaned_parse(&c, ret_indicator, ret_error);
}

static int
url_port(struct cleaned *c, size_t *end, uint16_t *ret_port, struct indicator_error *ret_error)
{
	char *colon = memrchr(c->text, ':', *end);
	unsigned port;

	if (!colon || memchr(colon, ']', (size_t)(c->text + *end - colon)))
		return 0;
	if (number_parse(colon + 1, (size_t)(c->text + *end - colon - 1), 65535, &port) < 0
	    || port == 0)
		return refuse(ret_error, c->column[colon - c->text], "a port is 1 to 65535");
	*ret_port = (uint16_t)port;
	*end = (size_t)(colon - c->text);
	return 0;
}

static bool scheme_valid(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i] | 0x20;
		bool letter = c >= 'a' && c <= 'z';

		if (!letter && (i == 0 || !memchr("0123456789+-.", text[i], 13)))
			return false;
	}
	return len > 0;
}

// "/", an empty query and a fragment ask for nothing more than the host.
static bool path_meaningful(const char *path)
{
	if (*path == '/' || *path == '\\')
		path++;
	if (*path == '?')
		path++;
	return *path != '\0' && *path != '#';
}

// Leave only what lies from `start` on.
static void cleaned_cut(struct cleaned *c, size_t start)
{
	c->len -= start;
	memmove(c->text, c->text + start, c->len + 1);
	memmove(c->column, c->column + start, (c->len + 1) * sizeof(c->column[0]));
}

int indicator_parse_url(
	const char *text,
	size_t len,
	struct indicator *ret_indicator,
	uint16_t *ret_port,
	bool *ret_path,
	struct indicator_error *ret_error
)
{
	struct cleaned c;
	struct indicator n;
	uint16_t port = 0;
	size_t start, end;
	bool meaningful;
	char *mark;
	int rc = clean(text, len, &c, ret_error);

	if (rc < 0)
		return rc;
	mark = memmem(c.text, c.len, "://", 3);
	if (!mark || !scheme_valid(c.text, (size_t)(mark - c.text)))
		return refuse(ret_error, c.column[0], "not a URL: write scheme://host/");
	start = (size_t)(mark - c.text) + 3;
	end = start + strcspn(c.text + start, "/?#\\");
	mark = memrchr(c.text + start, '@', end - start);
	if (mark)
		start = (size_t)(mark - c.text) + 1;
	if (start == end)
		return refuse(ret_error, c.column[start], "a URL without a host");
	cleaned_cut(&c, start);
	end -= start;
	meaningful = path_meaningful(c.text + end);
	rc = url_port(&c, &end, &port, ret_error);
	if (rc < 0)
		return rc;
	c.text[end] = '\0';
	c.len = end;
	if (c.text[0] == '*')
		return refuse(ret_error, c.column[0], "a URL names one host: leave out \"*.\"");
	rc = cleaned_parse(&c, &n, ret_error);
	if (rc < 0)
		return rc;
	*ret_indicator = n;
	*ret_port = port;
	*ret_path = meaningful;
	return 0;
}
