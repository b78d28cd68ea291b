// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// packet_common for four packets at once, with instructions that every x86 processor has that DPDK
// runs on; and for sixteen with AVX-512. Elsewhere there is none of this, and packet_common does
// all the work. Pure.

#pragma once

#include "dataplane/core/packet_brief.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PACKET_COMMONS 4
#define COMMONS_INLINE __attribute__((target("sse4.1"))) static inline

// The four words from `at` on of four packets, word by word.
COMMONS_INLINE void
commons_words(const uint8_t *const data[static PACKET_COMMONS], unsigned at, __m128i ret[static 4])
{
	__m128i v[PACKET_COMMONS], low[2], high[2];

#pragma GCC unroll 4
	for (int i = 0; i < PACKET_COMMONS; i++)
		v[i] = _mm_loadu_si128((const __m128i *)(const void *)(data[i] + at));
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++) {
		low[i] = _mm_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
		high[i] = _mm_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
	}
	ret[0] = _mm_unpacklo_epi64(low[0], low[1]);
	ret[1] = _mm_unpackhi_epi64(low[0], low[1]);
	ret[2] = _mm_unpacklo_epi64(high[0], high[1]);
	ret[3] = _mm_unpackhi_epi64(high[0], high[1]);
}

// The first or the second half of each word, in host byte order.
COMMONS_INLINE __m128i commons_half(__m128i words, bool second)
{
	return _mm_shuffle_epi8(
		words,
		second ? _mm_setr_epi8(3, 2, -1, -1, 7, 6, -1, -1, 11, 10, -1, -1, 15, 14, -1, -1)
		       : _mm_setr_epi8(1, 0, -1, -1, 5, 4, -1, -1, 9, 8, -1, -1, 13, 12, -1, -1)
	);
}

// Those that brief_udp would not have.
COMMONS_INLINE __m128i commons_odd_ports(__m128i ports)
{
	static const int odd[] = {319, 320, 3544, 3784, 3785, 4754, 4789, 4790, 6081, 8472};
	const __m128i dport = commons_half(ports, true);
	__m128i found = _mm_cmpeq_epi32(commons_half(ports, false), _mm_set1_epi32(3544));

#pragma GCC unroll 16
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		found = _mm_or_si128(found, _mm_cmpeq_epi32(dport, _mm_set1_epi32(odd[i])));
	return found;
}

// len: in four words. data: each has 54 octets at hand, also where `len` is less.
// True: packet_common takes all four; then the results are as packet_common_addr and
// packet_common_transport tell.
COMMONS_INLINE bool packet_commons(
	const uint8_t *const data[static PACKET_COMMONS],
	__m128i len,
	uint32_t len_max,
	bool source,
	__m128i *ret_addr,
	__m128i *ret_transport
)
{
	const __m128i turn = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
	__m128i ip[4], ends[4], tcps[4], proto, tcp, udp, total, header, least, bad, under;

	commons_words(data, 12, ip); // type, version, length, fragment, protocol
	commons_words(data, 26, ends); // addresses, ports, and UDP's length
	commons_words(data, 38, tcps); // the third begins with TCP's header length
	proto = _mm_srli_epi32(ip[2], 24);
	tcp = _mm_cmpeq_epi32(proto, _mm_set1_epi32(6));
	udp = _mm_cmpeq_epi32(proto, _mm_set1_epi32(17));
	bad = _mm_and_si128(
		_mm_xor_si128(ip[0], _mm_set1_epi32(0x00450008)), _mm_set1_epi32(0x00ffffff)
	);
	bad = _mm_or_si128(bad, _mm_and_si128(ip[2], _mm_set1_epi32(0xff3f)));
	bad = _mm_or_si128(bad, _mm_andnot_si128(_mm_or_si128(tcp, udp), _mm_set1_epi32(-1)));
	if (_mm_movemask_epi8(udp))
		bad = _mm_or_si128(bad, _mm_and_si128(udp, commons_odd_ports(ends[2])));

	total = commons_half(ip[1], false);
	header = _mm_blendv_epi8(
		commons_half(ends[3], false),
		_mm_and_si128(_mm_srli_epi32(tcps[2], 2), _mm_set1_epi32(0x3c)),
		tcp
	);
	least = _mm_add_epi32(_mm_set1_epi32(8), _mm_and_si128(tcp, _mm_set1_epi32(12)));
	// Differences, of which none may be below 0.
	under = _mm_or_si128(
		_mm_sub_epi32(header, least),
		_mm_sub_epi32(total, _mm_add_epi32(header, _mm_set1_epi32(20)))
	);
	under = _mm_or_si128(under, _mm_sub_epi32(len, _mm_add_epi32(total, _mm_set1_epi32(14))));
	under = _mm_or_si128(under, _mm_sub_epi32(len, _mm_set1_epi32(54)));
	under = _mm_or_si128(under, _mm_sub_epi32(_mm_set1_epi32((int)len_max), len));
	bad = _mm_or_si128(bad, _mm_srai_epi32(under, 31));

	*ret_addr = _mm_shuffle_epi8(ends[!source], turn);
	*ret_transport = _mm_or_si128(_mm_slli_epi32(proto, 16), commons_half(ends[2], !source));
	return _mm_testz_si128(bad, bad);
}

// --- sixteen

#define PACKET_COMMONS_WIDE 16
#define COMMONS_WIDE __attribute__((target("avx512f,avx512bw,avx512vl"))) static inline

// Whether this processor can run what follows.
static inline bool packet_commons_wide_usable(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
		&& __builtin_cpu_supports("avx512vl");
}

// Of two packets the twelve words that are looked at, in pairs: address; port, and time to live
// with protocol; total length, and TCP's header length; type, and version with type of service |
// fragment, and UDP's length; both ports. Each packet's in half of the result, the first four pairs
// in a quarter.
COMMONS_WIDE __m512i commons_pairs(const uint8_t *one, const uint8_t *other, bool source)
{
	const __mmask64 needed = ((__mmask64)1 << 47) - 1;
	const short a = source ? 13 : 15, p = source ? 17 : 18, o = 32;
	const __m512i order = _mm512_set_epi16(
		// clang-format off
		o, o, o, o, o + 18, o + 17, o + 19, o + 10,
		o + 7, o + 6, o + 23, o + 8, o + 11, o + p, o + a + 1, o + a,
		0, 0, 0, 0, 18, 17, 19, 10,
		7, 6, 23, 8, 11, p, a + 1, a
		// clang-format on
	);

	return _mm512_permutex2var_epi16(
		_mm512_maskz_loadu_epi8(needed, one), order, _mm512_maskz_loadu_epi8(needed, other)
	);
}

// The pairs of sixteen packets, pair by pair.
COMMONS_WIDE void commons_pairs_all(
	const uint8_t *const data[static PACKET_COMMONS_WIDE], bool source, __m512i ret[static 6]
)
{
	const __m512i first
		= _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
	const __m512i last = _mm512_add_epi32(first, _mm512_set1_epi32(4));
	__m512i t[4], u[4], a, b;

#pragma GCC unroll 4
	for (int g = 0; g < 4; g++) {
		__m512i v = commons_pairs(data[4 * g], data[4 * g + 1], source);
		__m512i w = commons_pairs(data[4 * g + 2], data[4 * g + 3], source);

		t[g] = _mm512_permutex2var_epi32(v, first, w);
		u[g] = _mm512_permutex2var_epi32(v, last, w);
	}
	a = _mm512_shuffle_i32x4(t[0], t[1], 0x44);
	b = _mm512_shuffle_i32x4(t[2], t[3], 0x44);
	ret[0] = _mm512_shuffle_i32x4(a, b, 0x88);
	ret[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
	a = _mm512_shuffle_i32x4(t[0], t[1], 0xee);
	b = _mm512_shuffle_i32x4(t[2], t[3], 0xee);
	ret[2] = _mm512_shuffle_i32x4(a, b, 0x88);
	ret[3] = _mm512_shuffle_i32x4(a, b, 0xdd);
	a = _mm512_shuffle_i32x4(u[0], u[1], 0x44);
	b = _mm512_shuffle_i32x4(u[2], u[3], 0x44);
	ret[4] = _mm512_shuffle_i32x4(a, b, 0x88);
	ret[5] = _mm512_shuffle_i32x4(a, b, 0xdd);
}

// Octets of each word, the lowest first; 0x80: none.
COMMONS_WIDE __m512i commons_octets(__m512i words, uint32_t octets)
{
	const __m512i each
		= _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));

	return _mm512_shuffle_epi8(words, _mm512_or_si512(each, _mm512_set1_epi32((int)octets)));
}

// Those that brief_udp would not have.
COMMONS_WIDE __mmask16 commons_odd_ports_wide(__m512i ports)
{
	static const int odd[] = {319, 320, 3544, 3784, 3785, 4754, 4789, 4790, 6081, 8472};
	const __m512i dport = commons_octets(ports, 0x80800203);
	__mmask16 found = _mm512_cmpeq_epi32_mask(
		commons_octets(ports, 0x80800001), _mm512_set1_epi32(3544)
	);

#pragma GCC unroll 16
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		found |= _mm512_cmpeq_epi32_mask(dport, _mm512_set1_epi32(odd[i]));
	return found;
}

// data: each has 54 octets at hand, also where `len` is less. Returns a bit for each that
// packet_common takes; of those the results are as packet_common_addr and packet_common_transport
// tell.
COMMONS_WIDE __mmask16 packet_commons_wide(
	const uint8_t *const data[static PACKET_COMMONS_WIDE],
	__m512i len,
	uint32_t len_max,
	bool source,
	__m512i *ret_addr,
	__m512i *ret_transport
)
{
	const __m512i begins = _mm512_set1_epi32(0x00450008),
		      counts = _mm512_set1_epi32(0x00ffffff);
	__m512i f[6], proto, total, header, least;
	__mmask16 ok, tcp, udp;

	commons_pairs_all(data, source, f);
	proto = _mm512_srli_epi32(f[1], 24);
	tcp = _mm512_cmpeq_epi32_mask(proto, _mm512_set1_epi32(6));
	udp = _mm512_cmpeq_epi32_mask(proto, _mm512_set1_epi32(17));
	ok = _mm512_mask_testn_epi32_mask(tcp | udp, _mm512_xor_si512(f[3], begins), counts);
	ok = _mm512_mask_testn_epi32_mask(ok, f[4], _mm512_set1_epi32(0xff3f));
	total = commons_octets(f[2], 0x80800001);
	header = _mm512_mask_and_epi32(
		commons_octets(f[4], 0x80800203),
		tcp,
		_mm512_srli_epi32(f[2], 18),
		_mm512_set1_epi32(0x3c)
	);
	least = _mm512_mask_blend_epi32(tcp, _mm512_set1_epi32(8), _mm512_set1_epi32(20));
	ok = _mm512_mask_cmpge_epi32_mask(ok, header, least);
	ok = _mm512_mask_cmpge_epi32_mask(
		ok, total, _mm512_add_epi32(header, _mm512_set1_epi32(20))
	);
	ok = _mm512_mask_cmpge_epi32_mask(ok, len, _mm512_add_epi32(total, _mm512_set1_epi32(14)));
	ok = _mm512_mask_cmpge_epi32_mask(ok, len, _mm512_set1_epi32(54));
	ok = _mm512_mask_cmple_epi32_mask(ok, len, _mm512_set1_epi32((int)len_max));
	if (udp & ok)
		ok &= ~(udp & commons_odd_ports_wide(f[5]));
	*ret_addr = commons_octets(f[0], 0x00010203);
	*ret_transport = commons_octets(f[1], 0x80030001);
	return ok;
}
#endif
