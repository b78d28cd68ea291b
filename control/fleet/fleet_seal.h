// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What gateways of a fleet say to each other through Redis is sealed: HMAC-SHA-256 over
//
//   "stanch-fleet-1" | domain | fleet | name | content      each with its length (BE64) before it
//
// The domain says what it is (enum fleet_domain), the name where it stands (key, field, gateway),
// so that nothing sealed for one place is taken in another. The first key seals; while a key
// changes (previous_key_file) what either sealed is taken.
//
// A sealed text is 64 hexadecimal digits, a space, and a JSON object.
//
// Thread: any, one at a time for each seal.

#pragma once

#include "control/ledger_fleet.h"

#include <jansson.h>

#include <stddef.h>
#include <stdint.h>

#define FLEET_KEY_MIN 32 // octets

enum fleet_domain {
	FLEET_SEALS_RECORD,
	FLEET_SEALS_LEADER, // the lock
	FLEET_SEALS_EPOCH,
	FLEET_SEALS_HEAD,
	FLEET_SEALS_CHECKPOINT, // the seal of a checkpoint
	FLEET_SEALS_CHUNK,
	FLEET_SEALS_UP,
	FLEET_SEALS_DENIALS,
	FLEET_SEALS_BEAT,
};

struct fleet_seal;

// Keys as texts. -EINVAL: shorter than FLEET_KEY_MIN. `previous` NULL: none.
int fleet_seal_create(
	const char *fleet, const char *key, const char *previous, struct fleet_seal **ret_seal
);
// Keys from files; the message says what is wrong with which, and what to do.
int fleet_seal_load(
	const char *fleet,
	const char *key_file,
	const char *previous_key_file,
	struct fleet_seal **ret_seal,
	char ret_message[256]
);
void fleet_seal_free(struct fleet_seal *);

void fleet_seal_make(
	const struct fleet_seal *,
	enum fleet_domain,
	const char *name,
	const void *data,
	size_t len,
	uint8_t ret_mac[FLEET_MAC_LEN]
);
// 0: the first key's; 1: the previous key's; -EBADMSG: neither's.
int fleet_seal_verify(
	const struct fleet_seal *,
	enum fleet_domain,
	const char *name,
	const void *data,
	size_t len,
	const uint8_t mac[FLEET_MAC_LEN]
);

// A sealed text, NULL without memory; free() it. The JSON is borrowed.
char *fleet_seal_print(
	const struct fleet_seal *, enum fleet_domain, const char *name, const json_t *object
);
// The object of a sealed text. 0, 1 as fleet_seal_verify, -EBADMSG, -EINVAL where it is sealed and
// no JSON object (a newer version's).
int fleet_seal_parse(
	const struct fleet_seal *,
	enum fleet_domain,
	const char *name,
	const char *text,
	size_t len,
	json_t **ret_object
);

// A record's MAC is over its predecessor's place with MAC, its own place, kind and data.
void fleet_seal_record(
	const struct fleet_seal *, const struct fleet_record *, uint8_t ret_mac[FLEET_MAC_LEN]
);
int fleet_seal_record_verify(const struct fleet_seal *, const struct fleet_record *);

void fleet_hex_print(const void *data, size_t len, char *ret_text); // 2 * len + 1
int fleet_hex_parse(const char *text, size_t text_len, void *ret_data, size_t len); // -EINVAL
