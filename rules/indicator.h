// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// An indicator: one destination in canonical form.
//
//   203.0.113.7          address            2001:db8::1
//   203.0.113.0/24       prefix             2001:db8::/48
//   tcp/203.0.113.7:443  protocol and port  udp/[2001:db8::1]:53
//   evil.example         that name alone    *.evil.example  it and everything under it
//
// Thread:   any; nothing here keeps state or logs.
// Errors:   -EINVAL with a reason and a column; the out-parameter is untouched then.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INDICATOR_NAME_MAX 253 // octets of a name in presentation form, no trailing dot
#define INDICATOR_TEXT_MAX 272 // longest canonical text with its final NUL

enum indicator_kind {
	INDICATOR_NET = 1, // an address or a prefix
	INDICATOR_PORT = 2, // one address, one protocol (TCP or UDP), one port
	INDICATOR_NAME = 3,
};

struct indicator {
	uint8_t kind; // enum indicator_kind
	uint8_t family; // 4 or 6; 0 for a name
	uint8_t prefix_len; // bits: 1–32 or 1–128; a full-length prefix is an address
	uint8_t proto; // IPPROTO_TCP or IPPROTO_UDP for a port entry, else 0
	uint16_t port; // host byte order, 1–65535 for a port entry, else 0
	uint8_t subtree; // 1: "*.name"
	uint8_t name_len; // octets of name
	uint8_t addr[16]; // network byte order; IPv4 in the first four octets, the rest 0
	char name[INDICATOR_NAME_MAX + 1]; // lower-case A-labels, NUL-terminated and zero-filled
};

// Why a text was refused, and where. `reason` is a literal that names the remedy.
struct indicator_error {
	size_t column; // from 1
	const char *reason;
};

// Parse one indicator. What is clear is normalised: case, a trailing dot, brackets round an IPv6
// address, defanged dots ("[.]", "(.)", "[:]"), IDN to A-labels, IPv4-mapped IPv6 to IPv4, "/32".
// What could mean two things is refused: octal or hexadecimal octets, host bits below a prefix,
// zone identifiers, "/0", a prefix with a port, white space inside. URLs: see indicator_parse_url.
int indicator_parse(
	const char *text,
	size_t len,
	struct indicator *ret_indicator,
	struct indicator_error *ret_error
);

// Parse "scheme://host[:port][/path]", also "hxxp(s)://" and defanged. The host becomes an address
// or an exact name; `ret_port` is 0 where the URL names none; `ret_path` tells whether a
// meaningful path ("/" is none) or query follows.
int indicator_parse_url(
	const char *text,
	size_t len,
	struct indicator *ret_indicator,
	uint16_t *ret_port,
	bool *ret_path,
	struct indicator_error *ret_error
);

// Write the canonical text and a NUL; returns its length. The text parses to an equal indicator.
size_t indicator_print(const struct indicator *, char text[INDICATOR_TEXT_MAX]);

// The first 64 bits of SHA-256 of the canonical text, as a number (big-endian): the entry's id.
uint64_t indicator_id(const struct indicator *);

bool indicator_equal(const struct indicator *, const struct indicator *);

// Total order: by kind, family, address, length, protocol, port, name.
int indicator_compare(const struct indicator *, const struct indicator *);

// Does everything that `inner` denotes lie inside `outer`? A network covers its prefixes, addresses
// and port entries; a port entry covers only itself; "*.x" covers x and all below it.
bool indicator_covers(const struct indicator *outer, const struct indicator *inner);

// Does `outer`, a network or port indicator, cover this address? `proto` 0: protocol unknown or
// without ports, then port indicators do not match. `addr` as in struct indicator.
bool indicator_covers_address(
	const struct indicator *outer,
	uint8_t family,
	const uint8_t addr[static 16],
	uint8_t proto,
	uint16_t port
);
