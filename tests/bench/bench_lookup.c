// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The lookup alone, in ns an address, against what DPDK offers; scripts/bench runs it.
//
//   bench_lookup [EAL options] -- SET ENTRIES HIT_PERCENT [PEER] [VARIANT]
//
//   SET: hosts4, mix4, clustered4, hosts6, mix6     PEER: hash, fib, none
//   VARIANT of our readers; without: the best that the processor can do
//   HIT_PERCENT of the queries are denied; the others are anywhere in use (worst for caches)
//
// Every round runs ours and the peer's on the same queries, one after the other; printed are the
// medians over the rounds. A round is a pass over a million queries in bursts, timed in chunks of
// 2,048, of which the median counts: what else the machine does in between does not. Ours keeps
// DEPTH bursts of 32 begun; the worker keeps one, and reads headers meanwhile. Both sides' answers
// are compared.

#include "dataplane/core/match.h"
#include "dataplane/pages.h"

#include <rte_byteorder.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_malloc.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define QUERIES (1u << 20)
#define CHUNK 2048
#define BURST 32
#define DEPTH 2
#define ROUNDS 7
#define PROTO_TCP 6

struct bench {
	uint8_t family;
	bool mixed, clustered;
	uint32_t n;
	unsigned hit_percent;
	struct match_key *keys;
	struct match *match;
	uint8_t *queries; // network byte order, one behind the other
	size_t stride;
	uint32_t *queries4; // host byte order, for peers that want it so
	uint32_t *prefixes6; // where IPv6 is in use
	bool used[129]; // lengths
	struct rte_hash *hash;
	struct rte_fib *fib;
	unsigned fib_bytes;
};

static uint64_t state = 42;

// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
static uint64_t draw(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static double seconds(void)
{
	return (double)rte_rdtsc() / (double)rte_get_tsc_hz();
}

// --- the set

static uint32_t unicast4(void)
{
	uint32_t a;

	do
		a = (uint32_t)draw();
	while (a >> 24 == 0 || a >> 24 == 127 || a >> 24 >= 224);
	return a;
}

static void put4(uint8_t addr[16], uint32_t a)
{
	a = rte_cpu_to_be_32(a);
	memcpy(addr, &a, 4);
}

static uint32_t get4(const uint8_t *addr)
{
	uint32_t a;

	memcpy(&a, addr, 4);
	return rte_be_to_cpu_32(a);
}

static void address_draw(const struct bench *b, uint8_t addr[16])
{
	uint64_t words[2], r = draw();

	memset(addr, 0, 16);
	if (b->family == 4) {
		put4(addr, unicast4());
		return;
	}
	// A /32 in use, 16 bits of the site, and of one address in four a subnet.
	words[0] = (uint64_t)b->prefixes6[r % 20000] << 32 | (r >> 40 << 16 & 0xffff0000);
	words[0] |= draw() & 3 ? 0 : draw() & 0xffff;
	words[0] = rte_cpu_to_be_64(words[0]);
	words[1] = draw();
	memcpy(addr, words, 16);
}

static unsigned length_draw(const struct bench *b)
{
	uint32_t r = (uint32_t)(draw() % 1000);

	if (!b->mixed || draw() % 10)
		return b->family == 4 ? 32 : 128;
	if (b->family == 6)
		return r < 700 ? 64 : r < 750 ? 56 : r < 999 || b->n > 50000 ? 48 : 40;
	return r < 900	  ? 24
		: r < 950 ? 23
		: r < 975 ? 22
		: r < 987 ? 21
		: r < 993 ? 20
		: r < 996 ? 19
		: r < 998 ? 18
		: r < 999 ? 17
			  : 16;
}

static void mask(uint8_t addr[16], unsigned bits)
{
	for (unsigned i = bits / 8 + (bits % 8 != 0); i < 16; i++)
		addr[i] = 0;
	if (bits % 8)
		addr[bits / 8] &= (uint8_t)(0xff00 >> bits % 8);
}

static void key_draw(const struct bench *b, struct match_key *k)
{
	*k = (struct match_key){.family = b->family, .prefix_len = (uint8_t)length_draw(b)};
	address_draw(b, k->addr);
	if (b->clustered) {
		// Four to five hosts in each /24 of the list.
		uint64_t net = (draw() % (b->n / 4 + 1)) * 0x9e3779b97f4a7c15;
		uint32_t octet = 1 + (uint32_t)(net >> 56) % 222;

		octet += octet >= 127;
		put4(k->addr,
		     octet << 24 | ((uint32_t)(net >> 32) & 0xffff00) | (uint32_t)(draw() & 255));
	}
	mask(k->addr, k->prefix_len);
}

// As the set does it (dataplane/table.c).
static size_t match_huge(const struct bench *b, bool now)
{
	struct match_part parts[MATCH_PARTS];
	unsigned n = match_hot(b->match, parts);

	for (unsigned i = 0; i < n; i++)
		pages_huge(parts[i].at, parts[i].size, now);
	return parts[0].size;
}

static void match_make(struct bench *b, const uint8_t secret[16])
{
	uint32_t capacity = 2 * b->n + 1024;
	void *memory = pages_map(match_size(capacity));

	if (!memory)
		rte_exit(1, "no memory for the lookup structure\n");
	b->match = match_init(memory, capacity, secret);
	match_huge(b, false);
}

// Octets of a mapping that memory stands behind.
static size_t resident(void *at, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page, n = 0;
	unsigned char *in = malloc(pages);

	if (!in || mincore(at, size, in) < 0)
		rte_exit(1, "mincore\n");
	for (size_t i = 0; i < pages; i++)
		n += in[i] & 1;
	free(in);
	return n * page;
}

static void set_fill(struct bench *b)
{
	static const uint8_t secret[16] = "bench's own key.";
	double begun;
	uint32_t rule;

	match_make(b, secret);
	b->keys = malloc(b->n * sizeof(*b->keys));
	for (uint32_t i = 0; i < b->n;) {
		key_draw(b, &b->keys[i]);
		if (match_add(b->match, &b->keys[i], MATCH_ENFORCE, &rule) == 0)
			b->used[b->keys[i++].prefix_len] = true;
	}
	// Once more, for the time alone.
	pages_unmap(b->match, match_size(match_capacity(b->match)));
	match_make(b, secret);
	begun = seconds();
	for (uint32_t i = 0; i < b->n; i++) {
		match_prefetch(b->match, &b->keys[i + 8 < b->n ? i + 8 : i]);
		(void)match_add(b->match, &b->keys[i], MATCH_ENFORCE, &rule);
	}
	printf("fill %.3f\n", seconds() - begun);
	printf("hot %zu\n", match_huge(b, true));
	printf("resident %zu\n", resident(b->match, match_size(match_capacity(b->match))));
}

static bool denied(const struct bench *b, const uint8_t addr[16])
{
	struct match_hit hit;

	match_lookup(b->match, b->family, addr, PROTO_TCP, 443, &hit);
	return hit.actions;
}

static const uint8_t *query(const struct bench *b, uint32_t i)
{
	return &b->queries[i * b->stride];
}

static void queries_make(struct bench *b)
{
	b->stride = b->family == 4 ? 4 : 16;
	b->queries = rte_malloc(NULL, QUERIES * b->stride + 16, 64);
	b->queries4 = rte_malloc(NULL, QUERIES * sizeof(*b->queries4), 64);
	for (uint32_t i = 0; i < QUERIES; i++) {
		uint8_t addr[16];

		if (draw() % 100 < b->hit_percent) {
			const struct match_key *k = &b->keys[draw() % b->n];
			uint8_t other[16];

			address_draw(b, addr);
			memcpy(other, addr, 16);
			mask(other, k->prefix_len);
			for (int o = 0; o < 16; o++)
				addr[o] = (uint8_t)(addr[o] ^ other[o]) | k->addr[o];
		} else {
			for (int tries = 0; tries < 100; tries++) {
				address_draw(b, addr);
				if (!denied(b, addr))
					break;
			}
		}
		b->queries4[i] = get4(addr);
		memcpy(&b->queries[i * b->stride], addr, b->stride);
	}
}

// --- ours

static uint64_t burst_finish(const struct bench *b, struct match_burst *burst)
{
	match_end(b->match, burst);
	return (uint64_t)__builtin_popcountll(burst->hits);
}

static uint64_t ours_run(const struct bench *b, uint32_t from, uint32_t n)
{
	static struct match_burst bursts[DEPTH + 1];
	uint64_t hits = 0;
	unsigned begun = 0, ended = 0;

	for (uint32_t i = from; i < from + n; i += BURST) {
		struct match_burst *burst = &bursts[begun++ % (DEPTH + 1)];

		match_clear(b->match, burst);
		for (unsigned k = 0; k < BURST; k++)
			match_push(burst, b->family, query(b, i + k), PROTO_TCP, 443);
		if (begun > 1)
			match_look(b->match, &bursts[(begun - 2) % (DEPTH + 1)]);
		if (begun - ended > DEPTH)
			hits += burst_finish(b, &bursts[ended++ % (DEPTH + 1)]);
		match_begin(b->match, burst);
	}
	while (ended < begun)
		hits += burst_finish(b, &bursts[ended++ % (DEPTH + 1)]);
	return hits;
}

// --- the peers

struct peer_key { // of the hash of more than one length
	uint8_t addr[16];
	uint64_t length;
};

static uint32_t crc4(const void *key, uint32_t len, uint32_t seed)
{
	uint32_t a;

	(void)len;
	memcpy(&a, key, 4);
	return rte_hash_crc_4byte(a, seed);
}

static uint32_t crc_words(const void *key, uint32_t len, uint32_t seed)
{
	const uint8_t *at = key;

	for (; len; at += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, at, 8);
		seed = rte_hash_crc_8byte(word, seed);
	}
	return seed;
}

static size_t peer_key_size(const struct bench *b)
{
	return b->mixed ? sizeof(struct peer_key) : b->family == 4 ? 4 : 16;
}

static int hash_make(struct bench *b)
{
	struct rte_hash_parameters p = {
		.name = "peer",
		.entries = (uint32_t)((uint64_t)b->n * 11 / 10) + 1024,
		.key_len = (uint32_t)peer_key_size(b),
		.hash_func = peer_key_size(b) == 4 ? crc4 : crc_words,
		.extra_flag
		= RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
	};

	b->hash = rte_hash_create(&p);
	if (!b->hash)
		return -rte_errno;
	for (uint32_t i = 0; i < b->n; i++) {
		struct peer_key k = {.length = b->keys[i].prefix_len};

		memcpy(k.addr, b->keys[i].addr, 16);
		if (rte_hash_add_key_data(b->hash, &k, NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

static uint64_t hash_run_one(const struct bench *b, uint32_t from, uint32_t n)
{
	const void *keys[BURST];
	void *data[BURST];
	uint64_t hits = 0;

	for (uint32_t i = from; i < from + n; i += BURST) {
		uint64_t mask_of_hits = 0;

		for (unsigned k = 0; k < BURST; k++)
			keys[k] = query(b, i + k);
		rte_hash_lookup_bulk_data(b->hash, keys, BURST, &mask_of_hits, data);
		hits += (uint64_t)__builtin_popcountll(mask_of_hits);
	}
	return hits;
}

// A probe for each length in use.
static uint64_t hash_run_lengths(const struct bench *b, uint32_t from, uint32_t n)
{
	static struct peer_key at[BURST];
	const void *keys[BURST];
	void *data[BURST];
	uint64_t hits = 0;

	for (uint32_t i = from; i < from + n; i += BURST) {
		uint64_t any = 0;

		for (unsigned bits = 128; bits; bits--) {
			uint64_t mask_of_hits = 0;

			if (!b->used[bits])
				continue;
			for (unsigned k = 0; k < BURST; k++) {
				uint64_t words[2];
				uint64_t high = bits >= 64 ? ~(uint64_t)0 : ~(~(uint64_t)0 >> bits);
				uint64_t low = bits <= 64 ? 0
					: bits == 128	  ? ~(uint64_t)0
							  : ~(~(uint64_t)0 >> (bits - 64));

				memcpy(words, query(b, i + k), 16);
				words[0] &= rte_cpu_to_be_64(high);
				words[1] &= rte_cpu_to_be_64(low);
				memcpy(at[k].addr, words, 16);
				at[k].length = bits;
				keys[k] = &at[k];
			}
			rte_hash_lookup_bulk_data(b->hash, keys, BURST, &mask_of_hits, data);
			any |= mask_of_hits;
		}
		hits += (uint64_t)__builtin_popcountll(any);
	}
	return hits;
}

static int fib_make(struct bench *b)
{
	uint8_t *seen = calloc(1u << 24, 1);
	struct rte_fib_conf conf = {
		.type = RTE_FIB_DIR24_8,
		.max_routes = (int)b->n + 1024,
		.dir24_8 = {.nh_sz = RTE_FIB_DIR24_8_4B, .num_tbl8 = 1024},
	};

	for (uint32_t i = 0; i < b->n; i++) {
		uint8_t *cell = &seen[get4(b->keys[i].addr) >> 8];

		if (b->keys[i].prefix_len > 24 && !*cell)
			conf.dir24_8.num_tbl8 += *cell = 1;
	}
	free(seen);
	b->fib = rte_fib_create("peer", -1, &conf);
	if (!b->fib)
		return -rte_errno;
	for (uint32_t i = 0; i < b->n; i++) {
		if (rte_fib_add(b->fib, get4(b->keys[i].addr), b->keys[i].prefix_len, 1) < 0)
			return -ENOMEM;
	}
	if (rte_fib_select_lookup(b->fib, RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512) < 0)
		printf("note rte_fib without AVX-512\n");
	return 0;
}

static uint64_t fib_run(const struct bench *b, uint32_t from, uint32_t n)
{
	uint64_t next[BURST], hits = 0;

	for (uint32_t i = from; i < from + n; i += BURST) {
		rte_fib_lookup_bulk(b->fib, &b->queries4[i], next, BURST);
		for (unsigned k = 0; k < BURST; k++)
			hits += next[k];
	}
	return hits;
}

// --- rounds

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), double_compare);
	return values[n / 2];
}

typedef uint64_t (*run_fn)(const struct bench *, uint32_t from, uint32_t n);

static double pass_run(const struct bench *b, run_fn run, uint64_t *ret_hits)
{
	static double chunks[QUERIES / CHUNK];
	uint64_t hits = 0;
	size_t k = 0;

	for (uint32_t from = 0; from < QUERIES; from += CHUNK) {
		uint64_t begun = rte_rdtsc();

		hits += run(b, from, CHUNK);
		chunks[k++] = (double)(rte_rdtsc() - begun) / CHUNK;
	}
	*ret_hits = hits;
	return median(chunks, k) * 1e9 / (double)rte_get_tsc_hz();
}

static void rounds_run(const struct bench *b, run_fn peer)
{
	double ours[ROUNDS], theirs[ROUNDS], ratios[ROUNDS];
	uint64_t hits, peer_hits;

	for (int r = -1; r < ROUNDS; r++) {
		double x = pass_run(b, ours_run, &hits), y = 0;

		if (peer) {
			y = pass_run(b, peer, &peer_hits);
			if (peer_hits != hits)
				rte_exit(
					1,
					"%" PRIu64 " hits, the peer's are %" PRIu64 "\n",
					hits,
					peer_hits
				);
		}
		if (r < 0)
			continue;
		ours[r] = x;
		theirs[r] = y;
		ratios[r] = y / x;
	}
	printf("hits %.4f\n", (double)hits / QUERIES);
	printf("ours %.3f\n", median(ours, ROUNDS));
	if (!peer)
		return;
	printf("peer %.3f\n", median(theirs, ROUNDS));
	printf("ratio %.3f\n", median(ratios, ROUNDS));
}

static void set_choose(struct bench *b, const char *name)
{
	b->family = strchr(name, '6') ? 6 : 4;
	b->mixed = strncmp(name, "mix", 3) == 0;
	b->clustered = strncmp(name, "clustered", 9) == 0;
	b->prefixes6 = malloc(20000 * sizeof(*b->prefixes6));
	for (int i = 0; i < 20000; i++)
		b->prefixes6[i] = 0x20000000 | (uint32_t)(draw() & 0x0fffffff);
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	const char *peer;
	run_fn run = NULL;
	int n = rte_eal_init(argc, argv), rc = 0;

	argc -= n;
	argv += n;
	if (n < 0 || argc < 4) {
		fprintf(stderr,
			"usage: bench_lookup [EAL options] -- SET ENTRIES HIT_PERCENT "
			"[hash|fib|none] [VARIANT]\n");
		return 64;
	}
	b.n = (uint32_t)strtoul(argv[2], NULL, 10);
	b.hit_percent = (unsigned)strtoul(argv[3], NULL, 10);
	peer = argc > 4 ? argv[4] : "none";
	set_choose(&b, argv[1]);
	set_fill(&b);
	if (argc > 5 && match_variant_set(b.match, argv[5]) < 0) {
		printf("skipped this processor cannot run %s\n", argv[5]);
		return 0;
	}
	printf("variant %s\n", match_variant(b.match));
	queries_make(&b);
	if (strcmp(peer, "hash") == 0) {
		rc = hash_make(&b);
		run = b.mixed ? hash_run_lengths : hash_run_one;
	} else if (strcmp(peer, "fib") == 0) {
		rc = fib_make(&b);
		run = fib_run;
	}
	if (rc < 0) {
		printf("skipped the peer could not be filled: %s\n", strerror(-rc));
		run = NULL;
	}
	rounds_run(&b, run);
	rte_eal_cleanup();
	return 0;
}
