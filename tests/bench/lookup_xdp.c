// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The kernel's lookups: programs of xdp.bpf.c, run by BPF_PROG_TEST_RUN on one frame again and
// again. Each run takes the next query from an array, as its twin without a lookup does.

#include "tests/bench/lookup.h"
#include "tests/bench/traffic.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define BATCH 65536 // entries in one system call
#define PART 65536 // runs in one

struct trie_key { // xdp.bpf.c
	uint32_t bits, addr;
};

static int filter, twin, counter; // descriptors

static bool compiled(void) // rather than interpreted
{
	FILE *f = fopen("/proc/sys/net/core/bpf_jit_enable", "re");
	int c = f ? fgetc(f) : EOF;

	if (f)
		fclose(f);
	return c == '1' || c == '2';
}

static int
map_fill(int map, const void *keys, size_t key_size, const void *values, size_t size, uint32_t n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);

	for (uint32_t at = 0; at < n;) {
		uint32_t some = n - at < BATCH ? n - at : BATCH;

		if (bpf_map_update_batch(
			    map,
			    (const uint8_t *)keys + at * key_size,
			    (const uint8_t *)values + at * size,
			    &some,
			    &options
		    ) < 0
		    || some == 0)
			return errno ? -errno : -EIO;
		at += some;
	}
	return 0;
}

static int list_fill(const struct lookup *l, int map, bool trie)
{
	struct trie_key *keys = calloc(l->n, sizeof(*keys));
	uint32_t *hosts = calloc(l->n, sizeof(*hosts));
	uint8_t *ones = malloc(l->n);
	int r = -ENOMEM;

	if (keys && hosts && ones) {
		memset(ones, 1, l->n);
		for (uint32_t i = 0; i < l->n; i++) {
			memcpy(&hosts[i], l->keys[i].addr, 4);
			keys[i] = (struct trie_key){l->keys[i].prefix_len, hosts[i]};
		}
		r = trie ? map_fill(map, keys, sizeof(*keys), ones, 1, l->n)
			 : map_fill(map, hosts, sizeof(*hosts), ones, 1, l->n);
	}
	free(keys);
	free(hosts);
	free(ones);
	return r;
}

static int queries_fill(const struct lookup *l, int map)
{
	uint32_t *indices = calloc(LOOKUP_QUERIES, sizeof(*indices));
	int r = -ENOMEM;

	if (indices) {
		for (uint32_t i = 0; i < LOOKUP_QUERIES; i++)
			indices[i] = i;
		r = map_fill(map, indices, sizeof(*indices), l->queries, 4, LOOKUP_QUERIES);
	}
	free(indices);
	return r;
}

static int make(const struct lookup *l, const char *path, bool trie)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	struct bpf_object *o;
	struct bpf_map *list;
	int r;

	libbpf_set_print(NULL);
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	if (l->family != 4 || !compiled())
		return -ENOTSUP;
	o = bpf_object__open_file(path ? path : "", NULL);
	if (!o)
		return -errno;
	list = bpf_object__find_map_by_name(o, trie ? "lpm" : "hash");
	bpf_map__set_max_entries(list, l->n);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(o, "queries"), LOOKUP_QUERIES);
	r = bpf_object__load(o);
	if (r < 0)
		return r;
	filter = bpf_program__fd(
		bpf_object__find_program_by_name(o, trie ? "lookup_lpm" : "lookup_hash")
	);
	twin = bpf_program__fd(bpf_object__find_program_by_name(o, "lookup_none"));
	counter = bpf_object__find_map_fd_by_name(o, "counter");
	r = list_fill(l, bpf_map__fd(list), trie);
	return r < 0 ? r : queries_fill(l, bpf_object__find_map_fd_by_name(o, "queries"));
}

static int hash_make(const struct lookup *l, const char *path)
{
	return l->mixed ? -ENOTSUP : make(l, path, false);
}

static int lpm_make(const struct lookup *l, const char *path)
{
	return make(l, path, true);
}

// --- runs

static uint64_t count_now(void)
{
	int n = libbpf_num_possible_cpus();
	uint64_t *counts = calloc((size_t)n, sizeof(*counts)), sum = 0;
	uint32_t zero = 0;

	if (counts && bpf_map_lookup_elem(counter, &zero, counts) == 0)
		for (int i = 0; i < n; i++)
			sum += counts[i];
	free(counts);
	return sum;
}

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

// All queries once: ns a run, the median of long parts. The kernel takes the time itself, and to
// begin a part costs it milliseconds that it does not count.
static double program_pass(int program)
{
	static uint8_t frame[TRAFFIC_FRAME];
	double ns[LOOKUP_QUERIES / PART];
	LIBBPF_OPTS(
		bpf_test_run_opts,
		options,
		.data_in = frame,
		.data_size_in = sizeof(frame),
		.repeat = PART
	);

	traffic_frame(frame, 0x0200000a, 0x0100000a);
	for (unsigned i = 0; i < LOOKUP_QUERIES / PART; i++) {
		if (bpf_prog_test_run_opts(program, &options) < 0) {
			fprintf(stderr, "bench_lookup: BPF_PROG_TEST_RUN: %s\n", strerror(errno));
			exit(1);
		}
		ns[i] = options.duration;
	}
	qsort(ns, LOOKUP_QUERIES / PART, sizeof(*ns), double_compare);
	return ns[LOOKUP_QUERIES / PART / 2];
}

static double filter_pass(uint64_t *ret_hits)
{
	uint64_t before = count_now();
	double ns = program_pass(filter);

	*ret_hits = count_now() - before;
	return ns - program_pass(twin);
}

const struct lookup_peer lookup_xdp_peers[] = {
	{.name = "xdp-hash", .make = hash_make, .pass = filter_pass},
	{.name = "xdp-lpm", .make = lpm_make, .pass = filter_pass},
	{0},
};
