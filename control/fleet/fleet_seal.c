// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/fleet/fleet_seal.h"

#include "control/secret.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION "stanch-fleet-1"
#define SEALED_MAX ((size_t)1 << 20) // of a text

static const char *const domains[] = {
	[FLEET_SEALS_RECORD] = "record",
	[FLEET_SEALS_LEADER] = "leader",
	[FLEET_SEALS_EPOCH] = "epoch",
	[FLEET_SEALS_HEAD] = "head",
	[FLEET_SEALS_CHECKPOINT] = "checkpoint",
	[FLEET_SEALS_CHUNK] = "chunk",
	[FLEET_SEALS_UP] = "up",
	[FLEET_SEALS_DENIALS] = "denials",
	[FLEET_SEALS_BEAT] = "beat",
};

struct fleet_seal {
	char *fleet;
	EVP_MAC_CTX *keys[2]; // keyed, copied for each use
	size_t n;
};

struct part {
	const void *data;
	size_t len;
};

static int key_add(struct fleet_seal *s, EVP_MAC *hmac, const char *key)
{
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	size_t len = strlen(key);

	if (len < FLEET_KEY_MIN)
		return -EINVAL;
	s->keys[s->n] = EVP_MAC_CTX_new(hmac);
	if (!s->keys[s->n])
		return -ENOMEM;
	if (!EVP_MAC_init(s->keys[s->n++], (const unsigned char *)key, len, params))
		return -ENOMEM;
	return 0;
}

int fleet_seal_create(
	const char *fleet, const char *key, const char *previous, struct fleet_seal **ret_seal
)
{
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	struct fleet_seal *s = calloc(1, sizeof(*s));
	int error = -ENOMEM;

	if (s && hmac && (s->fleet = strdup(fleet)))
		error = key_add(s, hmac, key);
	if (!error && previous)
		error = key_add(s, hmac, previous);
	EVP_MAC_free(hmac);
	if (error) {
		fleet_seal_free(s);
		return error;
	}
	*ret_seal = s;
	return 0;
}

int fleet_seal_load(
	const char *fleet,
	const char *key_file,
	const char *previous_key_file,
	struct fleet_seal **ret_seal,
	char message[256]
)
{
	char *key = NULL, *previous = NULL;
	int error = secret_read(key_file, &key, message);

	if (!error && previous_key_file)
		error = secret_read(previous_key_file, &previous, message);
	if (!error) {
		error = fleet_seal_create(fleet, key, previous, ret_seal);
		if (error == -EINVAL)
			snprintf(
				message,
				256,
				"%.150s: a fleet's key has at least %d octets: openssl rand -hex "
				"32",
				strlen(key) < FLEET_KEY_MIN ? key_file : previous_key_file,
				FLEET_KEY_MIN
			);
		else if (error)
			snprintf(message, 256, "%.150s: %s", key_file, strerror(-error));
	}
	secret_free(key);
	secret_free(previous);
	return error;
}

void fleet_seal_free(struct fleet_seal *s)
{
	if (!s)
		return;
	EVP_MAC_CTX_free(s->keys[0]);
	EVP_MAC_CTX_free(s->keys[1]);
	free(s->fleet);
	free(s);
}

static void be64(uint64_t value, uint8_t octets[8])
{
	for (int i = 0; i < 8; i++)
		octets[i] = (uint8_t)(value >> (56 - 8 * i));
}

static bool
mac_of(const EVP_MAC_CTX *key, const struct part *parts, size_t n, uint8_t ret_mac[FLEET_MAC_LEN])
{
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(key);
	size_t out = 0;
	bool good = ctx != NULL;

	for (size_t i = 0; good && i < n; i++) {
		uint8_t len[8];

		be64(parts[i].len, len);
		good = EVP_MAC_update(ctx, len, sizeof(len))
			&& EVP_MAC_update(ctx, parts[i].data, parts[i].len);
	}
	good = good && EVP_MAC_final(ctx, ret_mac, &out, FLEET_MAC_LEN) && out == FLEET_MAC_LEN;
	EVP_MAC_CTX_free(ctx);
	return good;
}

// What cannot be computed is a MAC that nobody has: it is refused everywhere.
static void
make(const struct fleet_seal *s, const struct part *parts, size_t n, uint8_t mac[FLEET_MAC_LEN])
{
	uint8_t made[FLEET_MAC_LEN];

	if (!mac_of(s->keys[0], parts, n, made))
		memset(made, 0, sizeof(made));
	memcpy(mac, made, FLEET_MAC_LEN);
}

static int
verify(const struct fleet_seal *s,
       const struct part *parts,
       size_t n,
       const uint8_t mac[FLEET_MAC_LEN])
{
	uint8_t made[FLEET_MAC_LEN];

	for (size_t i = 0; i < s->n; i++)
		if (mac_of(s->keys[i], parts, n, made)
		    && CRYPTO_memcmp(made, mac, FLEET_MAC_LEN) == 0)
			return (int)i;
	return -EBADMSG;
}

#define HEAD_PARTS(s, domain, name)                                                                \
	{VERSION, sizeof(VERSION) - 1}, {domains[domain], strlen(domains[domain])},                \
		{(s)->fleet, strlen((s)->fleet)},                                                  \
	{                                                                                          \
		name, strlen(name)                                                                 \
	}

void fleet_seal_make(
	const struct fleet_seal *s,
	enum fleet_domain domain,
	const char *name,
	const void *data,
	size_t len,
	uint8_t mac[FLEET_MAC_LEN]
)
{
	const struct part parts[] = {HEAD_PARTS(s, domain, name), {data, len}};

	make(s, parts, sizeof(parts) / sizeof(parts[0]), mac);
}

int fleet_seal_verify(
	const struct fleet_seal *s,
	enum fleet_domain domain,
	const char *name,
	const void *data,
	size_t len,
	const uint8_t mac[FLEET_MAC_LEN]
)
{
	const struct part parts[] = {HEAD_PARTS(s, domain, name), {data, len}};

	return verify(s, parts, sizeof(parts) / sizeof(parts[0]), mac);
}

char *fleet_seal_print(
	const struct fleet_seal *s, enum fleet_domain domain, const char *name, const json_t *object
)
{
	char *json = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS), *text;
	uint8_t mac[FLEET_MAC_LEN];
	size_t len;

	if (!json)
		return NULL;
	len = strlen(json);
	text = malloc(2 * FLEET_MAC_LEN + 2 + len);
	if (text) {
		fleet_seal_make(s, domain, name, json, len, mac);
		fleet_hex_print(mac, sizeof(mac), text);
		text[2 * FLEET_MAC_LEN] = ' ';
		memcpy(text + 2 * FLEET_MAC_LEN + 1, json, len + 1);
	}
	free(json);
	return text;
}

int fleet_seal_parse(
	const struct fleet_seal *s,
	enum fleet_domain domain,
	const char *name,
	const char *text,
	size_t len,
	json_t **ret_object
)
{
	const size_t head = 2 * FLEET_MAC_LEN + 1;
	uint8_t mac[FLEET_MAC_LEN];
	json_t *object;
	int key;

	if (len <= head || len > SEALED_MAX || text[head - 1] != ' '
	    || fleet_hex_parse(text, head - 1, mac, sizeof(mac)) < 0)
		return -EBADMSG;
	key = fleet_seal_verify(s, domain, name, text + head, len - head, mac);
	if (key < 0)
		return key;
	object = json_loadb(text + head, len - head, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(object)) {
		json_decref(object);
		return -EINVAL;
	}
	*ret_object = object;
	return key;
}

// --- records

struct record_parts {
	uint8_t numbers[8 * 5];
	struct part parts[7];
};

static void
record_parts(const struct fleet_seal *s, const struct fleet_record *record, struct record_parts *p)
{
	const struct part parts[] = {
		HEAD_PARTS(s, FLEET_SEALS_RECORD, "log"),
		{p->numbers, sizeof(p->numbers)},
		{record->before.mac, FLEET_MAC_LEN},
		{record->data ? record->data : "", record->len},
	};

	static_assert(sizeof(parts) == sizeof(p->parts), "parts of a record");
	be64(record->before.epoch, p->numbers);
	be64(record->before.number, p->numbers + 8);
	be64(record->epoch, p->numbers + 16);
	be64(record->number, p->numbers + 24);
	be64((uint64_t)record->kind, p->numbers + 32);
	memcpy(p->parts, parts, sizeof(parts));
}

void fleet_seal_record(
	const struct fleet_seal *s, const struct fleet_record *record, uint8_t mac[FLEET_MAC_LEN]
)
{
	struct record_parts p;

	record_parts(s, record, &p);
	make(s, p.parts, sizeof(p.parts) / sizeof(p.parts[0]), mac);
}

int fleet_seal_record_verify(const struct fleet_seal *s, const struct fleet_record *record)
{
	struct record_parts p;

	record_parts(s, record, &p);
	return verify(s, p.parts, sizeof(p.parts) / sizeof(p.parts[0]), record->mac);
}

// --- hexadecimal

void fleet_hex_print(const void *data, size_t len, char *text)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *octets = data;

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[octets[i] >> 4];
		text[2 * i + 1] = digits[octets[i] & 15];
	}
	text[2 * len] = '\0';
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int fleet_hex_parse(const char *text, size_t text_len, void *data, size_t len)
{
	uint8_t *octets = data;

	if (text_len != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < text_len; i++)
		if (digit(text[i]) < 0)
			return -EINVAL;
	for (size_t i = 0; i < len; i++)
		octets[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
	return 0;
}
