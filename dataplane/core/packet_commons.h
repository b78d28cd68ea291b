// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// packet_common for four packets at once, with instructions that every x86 processor has that DPDK
// runs on. Elsewhere there is none of this, and packet_common does all the work.
// Pure.

#pragma once

#include "dataplane/core/packet_brief.h"

#ifdef __x86_64__
#include <smmintrin.h>

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
#endif
