// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Probes through the gateway: a datagram each so many microseconds from one network namespace, and
// what of it arrives in another, in memory that scripts/lab/bench_thehive.py maps.
//
//   probe FILE NAMESPACE-INSIDE NAMESPACE-OUTSIDE DEVICE MICROSECONDS     until its input ends
//
//   uint64_t target (an IPv4 address, network order), sent (the last one's number), seen (the last
//   that arrived for this target), again (the first that arrived after a gap of 100), 12 unused,
//   then the times of sending by number modulo TIMES, CLOCK_MONOTONIC, nanoseconds
//
// Threads: one sends, one receives, the main one waits for the end; each word has one writer.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIMES (1u << 20)
#define GAP 100
#define MAGIC 0x7374616e63683031ull

struct shared {
	_Atomic uint64_t target, sent, seen, again;
	uint64_t unused[12];
	_Atomic uint64_t times[TIMES];
};

struct payload {
	uint64_t magic, number, target;
};

static struct shared *shared;
static const char *inside, *outside, *device;
static long interval_ns;

static void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static void namespace_enter(const char *name)
{
	char path[256];
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(path);
	close(fd);
}

static void *receive(void *unused)
{
	(void)unused;
	namespace_enter(outside);
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
	const struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_IP),
		.sll_ifindex = (int)if_nametoindex(device),
	};
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		die("outside");
	for (;;) {
		uint8_t packet[256];
		struct payload payload;
		const size_t at = 28; // IPv4 and UDP
		ssize_t len = recv(fd, packet, sizeof(packet), 0);
		if (len < (ssize_t)(at + sizeof(payload)))
			continue;
		memcpy(&payload, packet + at, sizeof(payload));
		uint64_t seen = shared->seen;
		if (payload.magic != MAGIC || payload.target != shared->target
		    || payload.number <= seen)
			continue;
		if (payload.number > seen + GAP)
			shared->again = payload.number;
		shared->seen = payload.number;
	}
	return NULL;
}

static void *send_all(void *unused)
{
	(void)unused;
	namespace_enter(inside);
	prctl(PR_SET_TIMERSLACK, 1);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("inside");
	struct timespec next;
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (uint64_t number = 1;; number++) {
		const uint64_t target = shared->target;
		const struct payload payload = {MAGIC, number, target};
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9000)};
		struct timespec now;
		to.sin_addr.s_addr = (uint32_t)target;
		clock_gettime(CLOCK_MONOTONIC, &now);
		shared->times[number % TIMES]
			= (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
		sendto(fd, &payload, sizeof(payload), 0, (const struct sockaddr *)&to, sizeof(to));
		shared->sent = number;
		next.tv_nsec += interval_ns;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		// Who was held up does not send what was missed all at once.
		if (now.tv_sec > next.tv_sec
		    || (now.tv_sec == next.tv_sec && now.tv_nsec > next.tv_nsec))
			next = now;
		else
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fputs("probe FILE NAMESPACE-INSIDE NAMESPACE-OUTSIDE DEVICE MICROSECONDS\n",
		      stderr);
		return 64;
	}
	inside = argv[2];
	outside = argv[3];
	device = argv[4];
	interval_ns = strtol(argv[5], NULL, 10) * 1000;
	int fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct shared)) < 0)
		die(argv[1]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	shared->target = htonl(INADDR_LOOPBACK);
	pthread_t threads[2];
	if (pthread_create(&threads[0], NULL, receive, NULL)
	    || pthread_create(&threads[1], NULL, send_all, NULL))
		die("threads");
	puts("ready");
	fflush(stdout);
	char end;
	while (read(STDIN_FILENO, &end, 1) > 0)
		;
	return 0;
}
