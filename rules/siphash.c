// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/siphash.h"

#include <string.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, int b)
{
	return (x << b) | (x >> (64 - b));
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static inline uint64_t load_le64(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	x = __builtin_bswap64(x);
#endif
	return x;
}

static inline void sip_word(struct sip *s, uint64_t m)
{
	s->v3 ^= m;
	sip_round(s);
	sip_round(s);
	s->v0 ^= m;
}

static inline void sip_begin(struct sip *s, const uint8_t *key)
{
	uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);

	s->v0 = 0x736f6d6570736575 ^ k0;
	s->v1 = 0x646f72616e646f6d ^ k1;
	s->v2 = 0x6c7967656e657261 ^ k0;
	s->v3 = 0x7465646279746573 ^ k1;
}

static inline void sip_message(struct sip *s, const uint8_t *data, size_t len)
{
	uint64_t last = (uint64_t)len << 56;
	size_t whole = len & ~(size_t)7;

	for (size_t i = 0; i < whole; i += 8)
		sip_word(s, load_le64(data + i));
	for (size_t i = whole; i < len; i++)
		last |= (uint64_t)data[i] << (8 * (i - whole));
	sip_word(s, last);
}

static inline uint64_t sip_end(struct sip *s)
{
	for (int i = 0; i < 4; i++)
		sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

uint64_t siphash64(const uint8_t key[static 16], const void *data, size_t len)
{
	struct sip s;

	sip_begin(&s, key);
	sip_message(&s, data, len);
	s.v2 ^= 0xff;
	return sip_end(&s);
}

void siphash128(const uint8_t key[static 16], const void *data, size_t len, uint64_t ret_hash[2])
{
	struct sip s;

	sip_begin(&s, key);
	s.v1 ^= 0xee;
	sip_message(&s, data, len);
	s.v2 ^= 0xee;
	ret_hash[0] = sip_end(&s);
	s.v1 ^= 0xdd;
	ret_hash[1] = sip_end(&s);
}

void siphash_begin(struct siphash *h, const uint8_t key[static 16])
{
	struct sip s;

	sip_begin(&s, key);
	*h = (struct siphash){.v = {s.v0, s.v1, s.v2, s.v3}};
}

void siphash_update(struct siphash *h, const void *data, size_t len)
{
	struct sip s = {h->v[0], h->v[1], h->v[2], h->v[3]};
	const uint8_t *p = data;
	size_t have = h->len % 8;

	h->len += len;
	if (have + len < 8) {
		memcpy(h->rest + have, p, len);
		return;
	}
	if (have) {
		memcpy(h->rest + have, p, 8 - have);
		sip_word(&s, load_le64(h->rest));
		p += 8 - have;
		len -= 8 - have;
	}
	for (; len >= 8; p += 8, len -= 8)
		sip_word(&s, load_le64(p));
	memcpy(h->rest, p, len);
	h->v[0] = s.v0;
	h->v[1] = s.v1;
	h->v[2] = s.v2;
	h->v[3] = s.v3;
}

uint64_t siphash_end(const struct siphash *h)
{
	struct sip s = {h->v[0], h->v[1], h->v[2], h->v[3]};
	uint64_t last = h->len << 56;

	for (size_t i = 0; i < h->len % 8; i++)
		last |= (uint64_t)h->rest[i] << (8 * i);
	sip_word(&s, last);
	s.v2 ^= 0xff;
	return sip_end(&s);
}
