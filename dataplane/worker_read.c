// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/worker_read.h"

#include "dataplane/core/packet_commons.h"

#include <rte_branch_prediction.h>
#include <rte_mbuf.h>

// In a function of its own: its buffer, and what guards the stack, cost only those that need it.
static void __attribute__((noinline)) segments_read(const struct rte_mbuf *m, struct packet *p)
{
	uint8_t gathered[PACKET_GATHER_MAX];
	uint32_t len = RTE_MIN(m->pkt_len, (uint32_t)PACKET_GATHER_MAX);
	const uint8_t *data = rte_pktmbuf_read(m, 0, len, gathered);

	packet_parse(data, len, m->pkt_len, PACKET_ETHERNET, p);
}

void worker_packet_read(const struct rte_mbuf *m, struct packet *p)
{
	if (unlikely(m->nb_segs > 1))
		segments_read(m, p);
	else
		packet_parse(
			rte_pktmbuf_mtod(m, const uint8_t *),
			m->data_len,
			m->pkt_len,
			PACKET_ETHERNET,
			p
		);
}

void worker_packet_describe(struct worker_flight *f, unsigned i)
{
	worker_packet_read(f->mbufs[i], &f->packets[i]);
	if (unlikely(f->policy->nat64.n))
		nat64_walk(&f->policy->nat64, &f->packets[i]);
}

// Any packet but the commonest.
static void __attribute__((noinline)) packet_ask(struct worker_flight *f, unsigned i, bool briefly)
{
	const struct worker_path *path = f->path;
	struct packet_brief brief;

	if (briefly && f->len[i] && f->len[i] <= path->frame_max
	    && packet_brief(f->data[i], f->len[i], f->len[i], &brief)) {
		decide_ask_brief(&brief, path->direction, &f->match, i);
		f->plain |= (uint64_t)1 << i;
		f->plain_bytes += f->len[i];
		return;
	}
	worker_packet_describe(f, i);
	f->room[i]
		= decide_ask(f->policy, &f->packets[i], path->direction, &f->match, &f->asked[i]);
}

#ifdef PACKET_COMMONS
// The four packets from i on, where all are of the commonest kind. Returns their octets; 0: not all
// are.
static inline uint64_t commons_ask(struct worker_flight *f, unsigned i, uint32_t n4, bool source)
{
	__m128i len
		= _mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)(const void *)&f->len[i]));
	__m128i addr, transport, order;

	if (unlikely(
		    !packet_commons(&f->data[i], len, f->path->frame_max, source, &addr, &transport)
	    ))
		return 0;
	order = _mm_slli_epi32(
		_mm_add_epi32(_mm_set1_epi32((int)i), _mm_setr_epi32(0, 1, 2, 3)), 24
	);
	_mm_storeu_si128((__m128i *)&f->match.v4[n4], addr);
	_mm_storeu_si128((__m128i *)&f->match.about4[n4], _mm_or_si128(transport, order));
#pragma GCC unroll 4
	for (unsigned k = 0; k < PACKET_COMMONS; k++)
		match_expect4(&f->match, n4 + k);
	return (uint64_t)f->len[i] + f->len[i + 1] + f->len[i + 2] + f->len[i + 3];
}
#endif

// Those of the commonest kind.
static void plain_ask(struct worker_flight *f, bool source)
{
	const unsigned n = f->n;
	const uint32_t len_max = f->path->frame_max;
	uint64_t bytes = 0, plain = 0;
	uint32_t n4 = 0;

	for (unsigned i = 0; i < n;) {
#ifdef PACKET_COMMONS
		if (likely(i % PACKET_COMMONS == 0 && i + PACKET_COMMONS <= n)) {
			uint64_t four = commons_ask(f, i, n4, source);

			bytes += four;
			if (likely(four)) {
				plain |= (uint64_t)15 << i;
				i += PACKET_COMMONS;
				n4 += PACKET_COMMONS;
				continue;
			}
		}
#endif
		if (likely(packet_common(f->data[i], f->len[i], len_max))) {
			match_place4(
				&f->match,
				n4++,
				i,
				packet_common_addr(f->data[i], source),
				packet_common_transport(f->data[i], source)
			);
			plain |= (uint64_t)1 << i;
			bytes += f->len[i];
		}
		i++;
	}
	f->match.n4 = n4;
	f->plain = plain;
	f->plain_bytes = bytes;
}

#ifdef PACKET_COMMONS_WIDE
// The same, sixteen at a time.
static __attribute__((target("avx512f,avx512bw,avx512vl"))) void
plain_ask_wide(struct worker_flight *f, bool source)
{
	static const uint8_t nothing[64];
	const _Atomic(uint32_t) *near = f->match.filters->near; // as match_expect4
	const unsigned n = f->n;
	_Alignas(64) uint32_t words[PACKET_COMMONS_WIDE];
	__m512i bytes = _mm512_setzero_si512();
	uint64_t plain = 0;
	uint32_t n4 = 0;

	for (unsigned i = n; i % PACKET_COMMONS_WIDE; i++) {
		f->data[i] = nothing;
		f->len[i] = 0;
	}
	for (unsigned i = 0; i < n; i += PACKET_COMMONS_WIDE) {
		__m512i len = _mm512_cvtepu16_epi32(
			_mm256_loadu_si256((const __m256i *)(const void *)&f->len[i])
		);
		__m512i addr, transport, order;
		__mmask16 taken = packet_commons_wide(
			&f->data[i], len, f->path->frame_max, source, &addr, &transport
		);

		order = _mm512_add_epi32(
			_mm512_set1_epi32((int)i),
			_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
		);
		transport = _mm512_or_si512(transport, _mm512_slli_epi32(order, 24));
		bytes = _mm512_mask_add_epi32(bytes, taken, bytes, len);
		addr = _mm512_maskz_compress_epi32(taken, addr); // behind the last: 0.0.0.0
		_mm512_storeu_si512(&f->match.v4[n4], addr);
		_mm512_storeu_si512(
			&f->match.about4[n4], _mm512_maskz_compress_epi32(taken, transport)
		);
		_mm512_store_si512(words, _mm512_srli_epi32(addr, 13));
#pragma GCC unroll 16
		for (unsigned k = 0; k < PACKET_COMMONS_WIDE; k++)
			__builtin_prefetch(&near[words[k]]);
		plain |= (uint64_t)taken << i;
		n4 += (unsigned)__builtin_popcount(taken);
	}
	f->match.n4 = n4;
	f->plain = plain;
	f->plain_bytes = (uint64_t)_mm512_reduce_add_epi32(bytes);
}
#endif

void worker_flight_read(struct worker_flight *f, const struct match *entries, bool wide)
{
	const enum direction direction = f->path->direction;
	uint64_t others = ~(uint64_t)0 >> (64 - f->n);
	bool briefly = decide_briefly(f->policy, direction);

	f->plain = f->plain_bytes = 0;
	match_clear(entries, &f->match);
	if (briefly) {
		match_reserve(&f->match, f->n);
#ifdef PACKET_COMMONS_WIDE
		if (wide)
			plain_ask_wide(f, direction == DIRECTION_IN);
		else
#endif
			plain_ask(f, direction == DIRECTION_IN);
		others &= ~f->plain;
	}
	(void)wide;
	for (; unlikely(others); others &= others - 1)
		packet_ask(f, (unsigned)__builtin_ctzll(others), briefly);
}
