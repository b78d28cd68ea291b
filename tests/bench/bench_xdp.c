// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The kernel's side of the bench over veth: a sender, a sink and the XDP peers; scripts/bench runs
// it in the namespaces of its lab.
//
//   bench_xdp OBJECT send IFACE ADDRESSES     frames to those addresses out of IFACE, so many a
//                                             second as the last line says; none at first. The
//                                             answer is how many were sent so far
//   bench_xdp OBJECT sink IFACE               drops what comes; each line on standard input is
//                                             answered with how many came so far
//   bench_xdp OBJECT filter IN OUT LIST       a line: hash, lpm or none becomes IN's program, which
//                                             redirects to OUT what is not in the list; "ok"
//
// ADDRESSES, LIST: files of IPv4 addresses, 32 bits each in network byte order.

#include "tests/bench/traffic.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define ADDRESSES (1u << 18) // xdp.bpf.c
#define FLAGS_NATIVE (1u << 2) // XDP_FLAGS_DRV_MODE of linux/if_link.h
#define LIVE_FRAMES (1u << 1) // BPF_F_TEST_XDP_LIVE_FRAMES
#define BATCH 64 // xdp.bpf.c
#define REPEAT (1 << 21)
#define CPUS_MAX 1024

struct address {
	uint32_t addr;
	uint16_t checksum;
	uint16_t pad;
};

static void fail(const char *what, int error)
{
	fprintf(stderr, "bench_xdp: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static uint32_t *addresses_read(const char *path, uint32_t *ret_n)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	uint32_t *all;

	if (!f || fstat(fileno(f), &st) < 0)
		fail(path, errno);
	*ret_n = (uint32_t)((size_t)st.st_size / 4);
	all = calloc(*ret_n + 1, 4);
	if (!all || fread(all, 4, *ret_n, f) != *ret_n)
		fail(path, EIO);
	fclose(f);
	return all;
}

static int map_of(const struct bpf_object *o, const char *name)
{
	return bpf_object__find_map_fd_by_name(o, name);
}

static int program_of(const struct bpf_object *o, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(o, name));
}

static struct bpf_object *object_load(const char *path, uint32_t list)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	struct bpf_object *o = bpf_object__open_file(path, NULL);
	int r;

	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	if (!o)
		fail(path, errno);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(o, "hash"), list);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(o, "lpm"), list);
	r = bpf_object__load(o);
	if (r < 0)
		fail(path, r);
	return o;
}

static uint32_t iface_index(const char *iface)
{
	uint32_t index = if_nametoindex(iface);

	if (!index)
		fail(iface, errno);
	return index;
}

static void out_set(const struct bpf_object *o, const char *iface)
{
	uint32_t zero = 0, index = iface_index(iface);
	int r = bpf_map_update_elem(map_of(o, "out"), &zero, &index, 0);

	if (r < 0)
		fail("devmap", r);
}

static void attach(const char *iface, int program)
{
	int r = bpf_xdp_attach((int)iface_index(iface), program, FLAGS_NATIVE, NULL);

	if (r < 0)
		fail(iface, r);
}

// --- modes

static void addresses_set(const struct bpf_object *o, const char *path)
{
	uint32_t n, *all = addresses_read(path, &n);
	uint8_t frame[TRAFFIC_FRAME];

	for (uint32_t i = 0; i < ADDRESSES; i++) {
		struct address a = {.addr = all[i % n]};

		traffic_frame(frame, 0x0200000a, a.addr);
		memcpy(&a.checksum, frame + 24, 2);
		bpf_map_update_elem(map_of(o, "addresses"), &i, &a, 0);
	}
	free(all);
}

static _Atomic bool sending;
static sem_t begin; // posted with each rate

// Each run of live frames costs milliseconds to begin and end: long ones, paced by the program.
static void *frames_send(void *ctx)
{
	const struct bpf_object *o = ctx;
	uint8_t frame[TRAFFIC_FRAME];
	LIBBPF_OPTS(
		bpf_test_run_opts,
		options,
		.data_in = frame,
		.data_size_in = sizeof(frame),
		.flags = LIVE_FRAMES,
		.repeat = REPEAT,
		.batch_size = BATCH
	);

	traffic_frame(frame, 0x0200000a, 0);
	for (;;) {
		int r = 0;

		if (atomic_load(&sending))
			r = bpf_prog_test_run_opts(program_of(o, "sender"), &options);
		else
			sem_wait(&begin);
		if (r < 0 && r != -EINTR)
			fail("live frames", r);
	}
	return NULL;
}

// What the program of this object has counted.
static void count_tell(const struct bpf_object *o)
{
	static uint64_t counts[CPUS_MAX];
	uint32_t zero = 0;
	uint64_t sum = 0;

	bpf_map_lookup_elem(map_of(o, "counter"), &zero, counts);
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		sum += counts[i];
	printf("%llu\n", (unsigned long long)sum);
	fflush(stdout);
}

static void send_run(struct bpf_object *o, const char *iface, const char *path)
{
	pthread_t thread;
	char line[32];

	out_set(o, iface);
	addresses_set(o, path);
	sem_init(&begin, 0, 0);
	if (pthread_create(&thread, NULL, frames_send, o))
		fail("no thread", EAGAIN);
	printf("ok\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double rate = strtod(line, NULL);
		uint64_t interval = rate > 0 ? (uint64_t)(BATCH * 1e9 / rate) : 100000000;
		uint32_t zero = 0;

		bpf_map_update_elem(map_of(o, "pace"), &zero, &interval, 0);
		atomic_store(&sending, rate > 0);
		sem_post(&begin);
		count_tell(o);
	}
}

static void sink_run(const struct bpf_object *o, const char *iface)
{
	char line[16];

	attach(iface, program_of(o, "sink"));
	printf("ok\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		count_tell(o);
	attach(iface, -1);
}

static void list_fill(const struct bpf_object *o, const char *path)
{
	uint32_t n, *all = addresses_read(path, &n);
	uint8_t one = 1;
	int r = 0;

	for (uint32_t i = 0; i < n && r == 0; i++) {
		const struct {
			uint32_t bits, addr;
		} key = {32, all[i]};

		r = bpf_map_update_elem(map_of(o, "hash"), &all[i], &one, 0);
		if (r == 0)
			r = bpf_map_update_elem(map_of(o, "lpm"), &key, &one, 0);
	}
	if (r < 0)
		fail("the list", r);
	free(all);
}

static void
filter_run(const struct bpf_object *o, const char *in, const char *out, const char *path)
{
	char line[16];

	list_fill(o, path);
	out_set(o, out);
	printf("ok\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		bool hash = strcmp(line, "hash\n") == 0;

		if (!hash && strcmp(line, "lpm\n") != 0)
			attach(in, -1);
		else
			attach(in, program_of(o, hash ? "filter_hash" : "filter_lpm"));
		printf("ok\n");
		fflush(stdout);
	}
	attach(in, -1);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[2] : "";
	struct stat st;

	libbpf_set_print(NULL);
	if (strcmp(mode, "send") == 0 && argc == 5) {
		send_run(object_load(argv[1], 1), argv[3], argv[4]);
	} else if (strcmp(mode, "sink") == 0 && argc == 4) {
		sink_run(object_load(argv[1], 1), argv[3]);
	} else if (strcmp(mode, "filter") == 0 && argc == 6) {
		if (stat(argv[5], &st) < 0)
			fail(argv[5], errno);
		filter_run(
			object_load(argv[1], (uint32_t)((size_t)st.st_size / 4)),
			argv[3],
			argv[4],
			argv[5]
		);
	} else {
		fprintf(stderr,
			"usage: bench_xdp OBJECT send IFACE ADDRESSES | sink IFACE | "
			"filter IN OUT LIST\n");
		return 64;
	}
	return 0;
}
