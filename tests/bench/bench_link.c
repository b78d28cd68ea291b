// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Changes of a running data plane's list, over its link; scripts/bench runs it.
//
//   bench_link SOCKET SKIP
//
// "ok" once the session stands. A line tells how many changes a second there shall be from then on;
// it is answered with how many there were so far. Half of them add a host, half remove one that was
// added before. The hosts are those that bench_snapshot draws, but for the first SKIP of them.

#include "tests/bench/linker.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SPARE 100000 // hosts that come and go
#define SPARE_IN 20000 // of them at any time
#define BATCHES_A_SECOND 200

static struct spare {
	struct entry entry;
	struct digest hash;
} spare[SPARE];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void spare_make(uint32_t skip)
{
	uint32_t number = 0;

	for (uint64_t i = 0; i < (uint64_t)skip + SPARE; i++) {
		uint32_t a;
		struct spare *s;

		do
			a = ++number * 2654435761u;
		while (a >> 24 == 0 || a >> 24 == 127 || a >> 24 >= 224);
		if (i < skip)
			continue;
		s = &spare[i - skip];
		s->entry = (struct entry){
			.indicator = {
				.kind = INDICATOR_NET,
				.family = 4,
				.prefix_len = 32,
				.addr = {(uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8), (uint8_t)a},
			},
			.enforce_until = UNTIL_FOREVER,
		};
		s->hash = entry_hash(&s->entry);
	}
}

// One message; the oldest goes for each that comes, as soon as there are enough.
static uint64_t batch_write(struct linker *l, uint32_t n)
{
	static uint64_t come, gone;

	n = n > LINKER_BATCH ? LINKER_BATCH : n;
	linker_begin(l);
	for (uint32_t i = 0; i < n; i++) {
		bool put = come - gone < SPARE_IN;
		struct spare *s = &spare[(put ? come++ : gone++) % SPARE];

		linker_add(l, put, &s->entry, s->hash);
	}
	linker_send(l);
	linker_answer(l);
	return n;
}

// Until a line comes. Returns the changes.
static uint64_t changes_run(struct linker *l, uint32_t rate)
{
	uint64_t begun = now_ns(), changed = 0;

	for (;;) {
		struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
		uint64_t due = (uint64_t)((double)(now_ns() - begun) * rate / 1e9);

		if (rate && due >= changed + rate / BATCHES_A_SECOND) {
			changed += batch_write(l, rate / BATCHES_A_SECOND);
			line.revents = 0;
			if (poll(&line, 1, 0) > 0)
				return changed;
		} else if (poll(&line, 1, rate ? 1 : -1) > 0) {
			return changed;
		}
	}
}

int main(int argc, char **argv)
{
	static struct linker l;
	uint64_t changed = 0;
	uint32_t rate = 0;
	char line[32];

	if (argc != 3) {
		fprintf(stderr, "usage: bench_link SOCKET SKIP\n");
		return 64;
	}
	spare_make((uint32_t)strtoul(argv[2], NULL, 10));
	linker_open(&l, argv[1]);
	linker_hello(&l);
	setvbuf(stdin, NULL, _IONBF, 0); // poll sees what is there
	printf("ok\n");
	fflush(stdout);
	for (;;) {
		changed += changes_run(&l, rate);
		if (!fgets(line, sizeof(line), stdin))
			break;
		rate = (uint32_t)strtoul(line, NULL, 10);
		printf("%llu\n", (unsigned long long)changed);
		fflush(stdout);
	}
	linker_close(&l);
	return 0;
}
