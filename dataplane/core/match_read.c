// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The readers' code, built once for each variant (meson.build): MATCH_VARIANT is its name, and the
// compiler's own macros tell what the processor will be able to do.

#include "dataplane/core/match_hash.h"
#include "dataplane/core/match_table.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifndef MATCH_VARIANT
#define MATCH_VARIANT portable
#endif
#define JOIN(a, b) a##b
#define READER(variant) JOIN(match_reader_, variant)
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

#define unlikely(x) __builtin_expect(!!(x), 0)
#define PORT_RANK 200 // above every prefix length

static inline unsigned bit_of(const _Atomic(uint32_t) *words, uint32_t cell)
{
	return atomic_load_explicit(&words[cell / 32], memory_order_relaxed) >> cell % 32 & 1;
}

// --- what differs

#ifdef __AVX512F__
// Which of the addresses have their bit in `words`, a bit for each 2^shift addresses.
static inline __mmask16
bits_of(const _Atomic(uint32_t) *words, unsigned shift, __mmask16 there, __m512i addrs)
{
	__m512i cells = _mm512_srli_epi32(addrs, shift);
	__m512i found = _mm512_mask_i32gather_epi32(
		_mm512_setzero_si512(),
		there,
		_mm512_srli_epi32(cells, 5),
		(const void *)(uintptr_t)words,
		4
	);

	return _mm512_mask_test_epi32_mask(
		there,
		found,
		_mm512_sllv_epi32(
			_mm512_set1_epi32(1), _mm512_and_si512(cells, _mm512_set1_epi32(31))
		)
	);
}

static inline __mmask16 lanes(unsigned n)
{
	return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
}

static inline __m512i lane_numbers(unsigned from)
{
	return _mm512_add_epi32(
		_mm512_set1_epi32((int)from),
		_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
	);
}

// Puts up to 16 addresses and their indices at the end of what is left. The whole of both is
// written at once, and can so be read at once.
static inline void left_put(struct match_burst *b, __m512i addrs, __m512i indices, unsigned n)
{
	_mm512_storeu_si512(&b->left_addr[b->n_left], addrs);
	_mm_storeu_si128((__m128i *)&b->left[b->n_left], _mm512_cvtepi32_epi8(indices));
	b->n_left += n;
}

// Those that have their /24's bit.
static inline void near_filter(const struct match *m, struct match_burst *b)
{
	b->n_left = 0;
	for (unsigned i = 0; i < b->n4; i += 16) {
		__m512i addrs = _mm512_load_si512(&b->v4[i]);
		__mmask16 near = bits_of(m->near, 8, lanes(b->n4 - i), addrs);

		left_put(
			b,
			_mm512_maskz_compress_epi32(near, addrs),
			_mm512_maskz_compress_epi32(near, lane_numbers(i)),
			(unsigned)__builtin_popcount(near)
		);
	}
}
#else
static inline void near_filter(const struct match *m, struct match_burst *b)
{
	unsigned n = 0;

#pragma GCC unroll 4
	for (unsigned i = 0; i < b->n4; i++) {
		b->left_addr[n] = b->v4[i];
		b->left[n] = (uint8_t)i;
		n += bit_of(m->near, b->v4[i] >> 8);
	}
	b->n_left = n;
}
#endif

// Bits of the places that hold the key.
static inline unsigned keys_equal(const struct host_line *l, uint32_t addr)
{
#if defined(__AVX512F__)
	return _mm512_cmpeq_epi32_mask(_mm512_load_si512(l), _mm512_set1_epi32((int)addr)) & 0x3fff;
#elif defined(__AVX2__)
	const __m256i *half = (const __m256i *)l, k = _mm256_set1_epi32((int)addr);
	unsigned low = (unsigned
	)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_load_si256(half), k)));
	unsigned high = (unsigned
	)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_load_si256(half + 1), k))
	);

	return (low | high << 8) & 0x3fff;
#else
	unsigned equal = 0;

	for (unsigned i = 0; i < HOST_KEYS; i++)
		equal |= (unsigned)(atomic_load_explicit(&l->keys[i], memory_order_relaxed) == addr)
			<< i;
	return equal;
#endif
}

// Bits of the slots that hold the signature.
static inline unsigned signatures_equal(const struct rule_line *l, uint32_t signature)
{
#if defined(__AVX512F__)
	unsigned odd
		= _mm512_cmpeq_epi32_mask(_mm512_load_si512(l), _mm512_set1_epi32((int)signature));

	// The upper half of each 64-bit slot.
	return _pext_u32(odd, 0x2aaa);
#else
	unsigned equal = 0;

	for (unsigned i = 0; i < RULE_SLOTS; i++)
		equal |= (unsigned
			 )(atomic_load_explicit(&l->slots[i], memory_order_relaxed) >> 32
			   == signature)
			<< i;
	return equal;
#endif
}

// --- what was found

// The rule with the highest rank is reported, whichever is met first.
static inline void
hit_offer(struct match_burst *b, unsigned at, uint8_t action, uint8_t rank, uint32_t rule)
{
	struct match_hit *hit = &b->hit[at];

	b->sure &= ~((uint64_t)1 << at);
	if (!(b->hits >> at & 1)) {
		b->hits |= (uint64_t)1 << at;
		*hit = (struct match_hit){.enforce = MATCH_NONE, .monitor = MATCH_NONE};
		b->rank[at][0] = b->rank[at][1] = 0;
	}
	hit->actions |= action;
	if ((action & MATCH_ENFORCE) && rank > b->rank[at][1]) {
		b->rank[at][1] = rank;
		hit->enforce = rule;
	}
	if ((action & MATCH_MONITOR) && rank > b->rank[at][0]) {
		b->rank[at][0] = rank;
		hit->monitor = rule;
	}
}

static void probe_run(const struct match *m, struct match_burst *b, unsigned i)
{
	const struct match_probe *p = &b->probes[i];
	uint32_t line = p->line;

	for (uint32_t n = 0; n < m->rule_lines; n++) {
		const struct rule_line *l = &m->lines[line];
		unsigned equal = signatures_equal(l, p->signature);

		for (; equal; equal &= equal - 1) {
			uint64_t slot = atomic_load_explicit(
				&l->slots[__builtin_ctz(equal)], memory_order_acquire
			);
			const struct rule *r = &m->rules[(uint32_t)slot - 1];
			uint8_t action;

			if (!slot || slot >> 32 != p->signature
			    || memcmp(&r->key, &p->key, sizeof(p->key)) != 0)
				continue;
			action = atomic_load_explicit(&r->action, memory_order_acquire);
			if (action)
				hit_offer(
					b,
					b->probe_at[i],
					action,
					p->key.proto ? PORT_RANK : p->key.prefix_len,
					m->host_rules + (uint32_t)slot - 1
				);
			return;
		}
		if (!atomic_load_explicit(&l->passed, memory_order_acquire))
			return;
		line = line + 1 == m->rule_lines ? 0 : line + 1;
	}
}

// A hit's rule lies anywhere: asked for before the first is read.
static void probes_look(const struct match *m, struct match_burst *b)
{
	for (unsigned i = 0; i < b->n_probes; i++) {
		const struct rule_line *l = &m->lines[b->probes[i].line];
		unsigned equal = signatures_equal(l, b->probes[i].signature);
		uint32_t index;

		if (!equal)
			continue;
		index = (uint32_t
		)atomic_load_explicit(&l->slots[__builtin_ctz(equal)], memory_order_relaxed);
		if (index)
			__builtin_prefetch(&m->rules[index - 1]);
	}
}

static void probes_run(const struct match *m, struct match_burst *b)
{
	for (unsigned i = 0; i < b->n_probes; i++)
		probe_run(m, b, i);
	b->n_probes = 0;
}

// --- which keys to try

static inline void
probe_add(const struct match *m, struct match_burst *b, unsigned at, const struct match_key *k)
{
	struct match_probe *p = &b->probes[b->n_probes];
	uint64_t hash = key_hash(m, k);

	p->key = *k;
	p->line = reduce(hash, m->rule_lines);
	p->signature = (uint32_t)(hash >> 32);
	b->probe_at[b->n_probes++] = (uint8_t)at;
	__builtin_prefetch(&m->lines[p->line]);
}

static inline void probes_room(const struct match *m, struct match_burst *b, unsigned want)
{
	if (b->n_probes + want > MATCH_PROBES) {
		probes_look(m, b);
		probes_run(m, b);
	}
}

static inline bool ports_used(const struct match *m, unsigned f, uint8_t proto)
{
	return (proto == PROTO_TCP || proto == PROTO_UDP)
		&& atomic_load_explicit(
			&m->port_counts[f][proto_index(proto)], memory_order_acquire
		);
}

static inline bool ports_used_any(const struct match *m, unsigned f)
{
	return ports_used(m, f, PROTO_TCP) || ports_used(m, f, PROTO_UDP);
}

static inline unsigned about_at(uint32_t about)
{
	return about >> 24;
}

static inline uint8_t about_proto(uint32_t about)
{
	return (uint8_t)(about >> 16);
}

// `k` has the address and the family, and nothing else.
static inline void
port_probe(const struct match *m, struct match_burst *b, uint32_t about, struct match_key k)
{
	if (!ports_used(m, family_index(k.family), about_proto(about)))
		return;
	k.prefix_len = k.family == 6 ? 128 : 32;
	k.proto = about_proto(about);
	k.port = (uint16_t)about;
	probe_add(m, b, about_at(about), &k);
}

static inline void length_probe(
	const struct match *m, struct match_burst *b, unsigned at, struct match_key k, unsigned bits
)
{
	uint64_t addr[2], mask[2];

	memcpy(addr, k.addr, 16);
	memcpy(mask, m->masks[bits], 16);
	addr[0] &= mask[0];
	addr[1] &= mask[1];
	memcpy(k.addr, addr, 16);
	k.prefix_len = (uint8_t)bits;
	probe_add(m, b, at, &k);
}

static void wide_probe(const struct match *m, struct match_burst *b, unsigned i, uint32_t tops)
{
	uint32_t addr = b->v4[i], about = b->about4[i], lengths = tops & ~HOST_BIT;
	struct match_key k = {.family = 4};

	addr4_put(k.addr, addr);
	probes_room(m, b, 33);
	if (tops & HOST_BIT) {
		port_probe(m, b, about, k);
		length_probe(m, b, about_at(about), k, 32);
	}
	for (; lengths; lengths &= lengths - 1)
		length_probe(m, b, about_at(about), k, (unsigned)__builtin_ctz(lengths));
}

static inline uint64_t range(unsigned from, unsigned to)
{
	return ~(uint64_t)0 >> (63 - (to - from)) << from;
}

// Which lengths to try: 48 … 64 from bit 0 of the result on, 65 … 128 from bit 0 of *ret_high.
static inline uint64_t class_lengths(const struct match *m, uint8_t classes, uint64_t *ret_high)
{
	// Bits of a word that starts at length 48.
	static const uint64_t low_of[CLASSES] = {
		[CLASS_64] = 1u << 16,
		[CLASS_56] = 1u << 8,
		[CLASS_48] = 1,
		[CLASS_49_55] = 0xfe,
		[CLASS_57_63] = 0xfe00,
	};
	uint64_t used1 = atomic_load_explicit(&m->lengths6[1], memory_order_acquire);
	uint64_t used = atomic_load_explicit(&m->lengths6[0], memory_order_acquire) >> CLASS_MIN
		| used1 << (64 - CLASS_MIN);
	uint64_t low = 0;

	for (unsigned c = classes; c; c &= c - 1)
		low |= low_of[__builtin_ctz(c)];
	*ret_high = 0;
	if (classes & 1u << CLASS_128)
		*ret_high |= (uint64_t)1 << 63;
	if (classes & 1u << CLASS_65_127)
		*ret_high |= used1 >> 1 & range(0, 62);
	return used & low;
}

static void classes_probe(
	const struct match *m,
	struct match_burst *b,
	uint32_t about,
	const struct match_key *k,
	uint8_t classes
)
{
	unsigned at = about_at(about);
	uint64_t high, low = class_lengths(m, classes, &high);

	if (classes & 1u << CLASS_PORTS)
		port_probe(m, b, about, *k);
	for (; high; high &= high - 1)
		length_probe(m, b, at, *k, 65 + (unsigned)__builtin_ctzll(high));
	for (; low; low &= low - 1)
		length_probe(m, b, at, *k, CLASS_MIN + (unsigned)__builtin_ctzll(low));
}

static void
probe6(const struct match *m, struct match_burst *b, unsigned i, uint32_t tops, uint32_t rest)
{
	unsigned at = about_at(b->about6[i]);
	struct match_key k = {.family = 6};
	uint32_t shorts = rest >> 8;

	memcpy(k.addr, b->v6[i], 16);
	probes_room(m, b, 129);
	if (rest & 255)
		classes_probe(m, b, b->about6[i], &k, (uint8_t)rest);
	for (; shorts; shorts &= shorts - 1)
		length_probe(m, b, at, k, SHORT_MIN + (unsigned)__builtin_ctz(shorts));
	for (; tops; tops &= tops - 1)
		length_probe(m, b, at, k, (unsigned)__builtin_ctz(tops));
}

static void begin6(const struct match *m, struct match_burst *b)
{
	uint64_t low = atomic_load_explicit(&m->lengths6[0], memory_order_acquire);
	uint64_t tops_used = low & range(0, SHORT_MIN - 1);
	uint64_t shorts_used = low & range(SHORT_MIN, CLASS_MIN - 1);

	if (!low && !atomic_load_explicit(&m->lengths6[1], memory_order_acquire)
	    && !atomic_load_explicit(&m->lengths6[2], memory_order_acquire)
	    && !ports_used_any(m, 1))
		return;
	for (unsigned i = 0; i < b->n6; i++) {
		uint32_t tops = 0, rest;

		rest = atomic_load_explicit(&m->classes6[b->cell6[i]], memory_order_acquire);
		if (shorts_used)
			rest |= (uint32_t)atomic_load_explicit(
					&m->shorts6[short_cell(m, b->v6[i])], memory_order_acquire
				)
				<< 8;
		if (tops_used)
			tops = atomic_load_explicit(
				&m->tops[1][match_addr6_high(b->v6[i]) >> 48], memory_order_acquire
			);
		if (tops | rest)
			probe6(m, b, i, tops, rest);
	}
}

// --- the steps

static void filter(const struct match *m, struct match_burst *b)
{
	near_filter(m, b);
	b->filtered = true;
}

static void begin4(const struct match *m, struct match_burst *b)
{
	if (!b->filtered)
		filter(m, b);
	for (unsigned i = 0; i < b->n_left; i++) {
		uint32_t addr = b->left_addr[i];
		uint64_t hash = host_hash(m, addr);
		uint32_t line = reduce(hash, m->host_lines);

		__builtin_prefetch(&m->hosts[line]);
		if (b->next && bit_of(b->next->eights, addr >> 24))
			__builtin_prefetch(&b->next->near[addr >> 13]);
		b->left_passed[i] = meta_passed_bit(hash);
		b->left_line[i] = line;
	}
	b->wides = b->n_left && atomic_load_explicit(&m->wides4, memory_order_acquire);
	for (unsigned i = 0; b->wides && i < b->n_left; i++) {
		uint32_t addr = b->left_addr[i];

		// The smaller table first: in a list of hosts it is nearly empty.
		b->left_tops[i]
			= atomic_load_explicit(&m->tops[0][addr >> 16], memory_order_acquire);
		__builtin_prefetch(&m->wide[b->left_tops[i] ? addr >> 13 : 0]);
	}
}

static void look4(const struct match *m, struct match_burst *b)
{
	uint64_t near = 0;

	for (unsigned i = 0; i < b->n_left; i++)
		near |= (uint64_t)(b->left_tops[i] && bit_of(m->wide, b->left_addr[i] >> 8)) << i;
	for (; near; near &= near - 1) {
		unsigned i = (unsigned)__builtin_ctzll(near);

		wide_probe(m, b, b->left[i], b->left_tops[i]);
	}
}

static void begin(const struct match *m, struct match_burst *b)
{
	b->hits = b->sure = 0;
	b->looked = false;
	b->n_rest = 0;
	b->n_probes = 0;
	begin4(m, b);
	if (b->n6)
		begin6(m, b);
}

static void __attribute__((noinline))
host_run_slowly(const struct match *m, struct match_burst *b, unsigned i)
{
	uint32_t addr = b->left_addr[i], line = b->left_line[i];

	for (unsigned n = 0; n < HOST_REACH && n < m->host_lines; n++) {
		const struct host_line *l = &m->hosts[line];
		unsigned equal = keys_equal(l, addr);
		uint64_t meta;

		// The key was there: now what stands with it, and not before.
		__asm__ volatile("" ::: "memory");
		meta = atomic_load_explicit(&l->meta, memory_order_acquire);
		for (; equal; equal &= equal - 1) {
			unsigned place = (unsigned)__builtin_ctz(equal);
			uint8_t action = (uint8_t)meta_action(meta, place);

			if (!action)
				continue;
			hit_offer(
				b,
				about_at(b->about4[b->left[i]]),
				action,
				32,
				line * HOST_STRIDE + place
			);
			return;
		}
		if (!(meta & b->left_passed[i]))
			return;
		line = line + 1 == m->host_lines ? 0 : line + 1;
	}
}

static inline bool far_from_next(const struct match_burst *b, uint32_t addr)
{
	return !b->next || match_far4((const struct match *)b->next, addr);
}

// Most of them are told by one line, and by no branch that depends on what is in it.
static inline void host_run(const struct match *m, struct match_burst *b, unsigned i)
{
	const struct host_line *l = &m->hosts[b->left_line[i]];
	const uint32_t addr = b->left_addr[i], at = about_at(b->about4[b->left[i]]);
	unsigned equal = keys_equal(l, addr),
		 place = (unsigned)__builtin_ctz(equal | 1u << HOST_KEYS);
	uint32_t rule = b->left_line[i] * HOST_STRIDE + place, action, strong, weak;
	uint64_t meta;

	// The key was there: now what stands with it, and not before.
	__asm__ volatile("" ::: "memory");
	meta = atomic_load_explicit(&l->meta, memory_order_acquire);
	action = equal ? meta_action(meta, place) : 0;
	if (unlikely((equal & (equal - 1)) || (!action && (equal || meta & b->left_passed[i])))) {
		b->rest[b->n_rest++] = (uint8_t)i;
		__builtin_prefetch(l + 1);
		return;
	}
	strong = action >> 1;
	weak = action & 1;
	b->hit[at] = (struct match_hit){
		.actions = (uint8_t)action,
		.enforce = rule | (strong - 1), // or MATCH_NONE
		.monitor = rule | (weak - 1),
	};
	b->rank[at][0] = (uint8_t)(weak * 32);
	b->rank[at][1] = (uint8_t)(strong * 32);
	b->hits |= (uint64_t)(action != 0) << at;
	b->sure |= (uint64_t)(strong && far_from_next(b, addr)) << at;
}

static bool host_has_port(const struct match *m, const struct match_key *host)
{
	uint64_t hash = key_hash(m, host);
	uint64_t head = atomic_load_explicit(&m->heads[hash & m->port_mask], memory_order_acquire);

	if (!(head & port_filter_bit(hash)))
		return false;
	for (uint32_t i = (uint32_t)head; i;
	     i = atomic_load_explicit(&m->ports[i - 1].next, memory_order_acquire)) {
		const struct rule *r = &m->rules[i - 1];

		if (r->key.family == host->family && memcmp(r->key.addr, host->addr, 16) == 0
		    && atomic_load_explicit(&r->action, memory_order_acquire) & MATCH_ENFORCE)
			return true;
	}
	return false;
}

static void port_unknown(const struct match *m, struct match_burst *b, unsigned i)
{
	unsigned f = i >= b->n4;
	uint32_t about = f ? b->about6[i - b->n4] : b->about4[i];
	struct match_key k = {.family = f ? 6 : 4};

	if (about_proto(about))
		return;
	if (f)
		memcpy(k.addr, b->v6[i - b->n4], 16);
	else
		addr4_put(k.addr, b->v4[i]);
	if (!host_has_port(m, &k))
		return;
	hit_offer(b, about_at(about), MATCH_INERT, 0, MATCH_NONE);
	b->hit[about_at(about)].port_rule = true;
}

// Fragments, mostly: seldom enough to look at them one by one.
static void ports_unknown(const struct match *m, struct match_burst *b)
{
	unsigned from = ports_used_any(m, 0) ? 0 : b->n4;
	unsigned to = b->n4 + (ports_used_any(m, 1) ? b->n6 : 0);

	for (unsigned i = from; i < to; i++)
		port_unknown(m, b, i);
}

static void look(const struct match *m, struct match_burst *b)
{
	b->looked = true;
	if (unlikely(b->hits)) { // more than probes: some were settled before their time
		for (unsigned i = 0; i < b->n_left; i++)
			b->rest[b->n_rest++] = (uint8_t)i;
	} else {
		for (unsigned i = 0; i < b->n_left; i++)
			host_run(m, b, i);
	}
	if (b->n_probes)
		probes_look(m, b);
	if (b->wides)
		look4(m, b);
}

static void end(const struct match *m, struct match_burst *b)
{
	if (!b->looked)
		look(m, b);
	for (unsigned i = 0; i < b->n_rest; i++)
		host_run_slowly(m, b, b->rest[i]);
	if (b->n_probes) {
		if (b->wides)
			probes_look(m, b);
		probes_run(m, b);
	}
	ports_unknown(m, b);
}

static uint64_t host_hash_slow(const struct match *m, uint32_t addr)
{
	return host_hash(m, addr);
}

static unsigned host_look(const struct host_line *l, uint32_t addr, unsigned *ret_free)
{
	*ret_free = keys_equal(l, 0);
	return keys_equal(l, addr);
}

static uint64_t key_hash_slow(const struct match *m, const struct match_key *key)
{
	return key_hash(m, key);
}

const struct match_reader READER(MATCH_VARIANT) = {
	.name = TEXT(MATCH_VARIANT),
	.host_hash = host_hash_slow,
	.host_look = host_look,
	.key_hash = key_hash_slow,
	.filter = filter,
	.begin = begin,
	.look = look,
	.end = end,
};
