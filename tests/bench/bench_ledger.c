// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The ledger at size: claims a second in calls of a given size, commit latency, memory, octets on
// disk; and how long the loop is held while the list on disk is written anew. bench_ledger DIR
// [CLAIMS [A_CALL]]; DIR must be empty and on the disk to be measured.

#include "control/followers/snapshot.h"
#include "control/ledger.h"
#include "control/protect.h"

#include <event2/event.h>

#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CALL_MAX 1000

struct bench {
	struct event_base *base;
	struct ledger *ledger;
	bool done;
	int error;
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// This thread's own time: other work on the machine does not count.
static double own_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
done_cb(void *ctx,
	int error,
	struct revision revision,
	const struct submit_result *results,
	size_t n)
{
	struct bench *b = ctx;

	(void)revision;
	b->done = true;
	b->error = error;
	for (size_t i = 0; i < n; i++)
		if (results[i].code != SUBMIT_OK && results[i].code != SUBMIT_HELD) {
			fprintf(stderr, "refused: %s\n", results[i].message);
			exit(1);
		}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void quantiles_print(const char *what, double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
	printf("%s: median %.2f ms, p99 %.2f ms, largest %.2f ms\n",
	       what,
	       1e3 * values[n / 2],
	       1e3 * values[n * 99 / 100],
	       1e3 * values[n - 1]);
}

static void memory_print(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "VmRSS", 5) == 0 || strncmp(line, "VmHWM", 5) == 0)
			fputs(line, stdout);
	if (f)
		fclose(f);
}

static void address_of(struct indicator *n, uint32_t i)
{
	uint32_t addr = htonl(0x14000000 + (uint32_t)((uint64_t)i * 2654435761u % 0x40000000));

	*n = (struct indicator){.kind = INDICATOR_NET, .family = 4, .prefix_len = 32};
	memcpy(n->addr, &addr, 4);
}

static void submit(struct bench *b, const struct submit_item *items, size_t n)
{
	struct submit s = {.items = items, .n = n, .actor = {.name = "bench"}};

	b->done = false;
	ledger_submit(b->ledger, &s, done_cb, b);
}

static void
load(struct bench *b, uint32_t first, uint32_t claims, size_t call, enum claim_state state)
{
	static struct submit_item items[CALL_MAX];
	static char refs[CALL_MAX][48];
	double *held = calloc(claims / call + 1, sizeof(double)), start = now_s();
	double *commit = calloc(claims / call + 1, sizeof(double));
	double *own = calloc(claims / call + 1, sizeof(double));
	double *own_commit = calloc(claims / call + 1, sizeof(double));
	size_t calls = 0;

	for (uint32_t i = 0; i < claims; calls++) {
		size_t n = 0;
		double t, o;

		for (; n < call && i < claims; n++, i++) {
			snprintf(
				refs[n], sizeof(refs[n]), "soc/~%u/~%u", (first + i) / 8, first + i
			);
			items[n] = (struct submit_item){.op = SUBMIT_PUT};
			items[n].claim = (struct claim){
				.source = "list:bench",
				.ref = refs[n],
				.author = "alice@example.org",
				.reason = "command and control",
				.until = UNTIL_FOREVER,
				.tlp = 2,
				.state = state,
				.case_number = "4711",
			};
			address_of(&items[n].claim.indicator, first + i);
		}
		t = now_s();
		o = own_s();
		submit(b, items, n);
		own[calls] = own_s() - o;
		held[calls] = now_s() - t;
		while (!b->done)
			event_base_loop(b->base, EVLOOP_ONCE);
		commit[calls] = now_s() - t;
		own_commit[calls] = own_s() - o - own[calls];
	}
	if (calls < 10)
		goto end;
	printf("%u claims in calls of %zu: %.0f claims/s\n",
	       claims,
	       call,
	       claims / (now_s() - start));
	quantiles_print("ledger_submit alone", held, calls);
	quantiles_print("ledger_submit, own time", own, calls);
	quantiles_print("until done", commit, calls);
	quantiles_print("commit, own time", own_commit, calls);
end:
	free(held);
	free(commit);
	free(own);
	free(own_commit);
}

static bool count_cb(void *ctx, const struct claim *claim)
{
	(void)claim;
	++*(size_t *)ctx;
	return true;
}

static void queries(struct bench *b, uint32_t claims)
{
	double times[1000];
	size_t found = 0;

	for (size_t i = 0; i < 1000; i++) {
		struct indicator n;
		double t = now_s();

		address_of(&n, (uint32_t)(i * 7919 % claims));
		ledger_claims_of(b->ledger, &n, true, count_cb, &found);
		times[i] = now_s() - t;
	}
	printf("%zu claims found; ", found);
	quantiles_print("ledger_claims_of", times, 1000);
}

static bool entry_count(void *ctx, const struct entry *entry)
{
	(void)entry;
	++*(size_t *)ctx;
	return true;
}

static void read_all(struct bench *b)
{
	struct ledger_reader *reader;
	struct list_state state;
	double start = now_s();
	size_t n = 0;

	if (ledger_reader_open(b->ledger, &reader, &state) < 0)
		exit(1);
	while (ledger_reader_next(reader, 1000, entry_count, &n) > 0)
		;
	ledger_reader_close(reader);
	printf("reader: %zu entries in %.2f s\n", n, now_s() - start);
}

static void single(struct bench *b, const char *run)
{
	double times[500];

	for (size_t i = 0; i < 500; i++) {
		struct submit_item item = {.op = SUBMIT_PUT};
		char ref[32];
		double t;

		snprintf(ref, sizeof(ref), "%s/%zu", run, i);
		item.claim = (struct claim
		){.source = "operator", .ref = ref, .until = UNTIL_FOREVER, .tlp = -1};
		address_of(&item.claim.indicator, 2000000 + (uint32_t)i);
		t = now_s();
		submit(b, &item, 1);
		while (!b->done)
			event_base_loop(b->base, EVLOOP_ONCE);
		times[i] = now_s() - t;
	}
	quantiles_print("one claim until done", times, 500);
}

// Turns of the loop until `*done`, or `path` is another file: the longest at the wall, and this
// thread's own time in those that did something.
static void turns(struct bench *b, const bool *done, const char *path, const char *what)
{
	struct stat st;
	ino_t before = path && stat(path, &st) == 0 ? st.st_ino : 0;
	static double own[100000];
	double wall = 0, start = now_s();
	bool ended = false;
	size_t n = 0;

	while (!ended && now_s() < start + 120) {
		double t = now_s(), o = own_s();

		event_base_loop(b->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
		t = now_s() - t;
		o = own_s() - o;
		wall = t > wall ? t : wall;
		if (o > 50e-6 && n < sizeof(own) / sizeof(own[0]))
			own[n++] = o;
		ended = path ? stat(path, &st) == 0 && st.st_ino != before : *done;
		sched_yield();
	}
	printf("%s: %.2f s, longest turn %.2f ms; ", what, now_s() - start, 1e3 * wall);
	quantiles_print("turns with work, own time", own, n ? n : 1);
}

static void verified_cb(void *ctx, int error, int64_t seq)
{
	printf("audit: %s, %lld records\n", strerror(-error), (long long)seq);
	*(bool *)ctx = true;
}

static void approved_cb(void *ctx, int error, const char *message)
{
	(void)error;
	printf("approve: %s\n", message);
	*(bool *)ctx = true;
}

static void compaction(struct bench *b, const char *dir)
{
	struct snapshot *snapshot;
	char path[4096], temporary[4096];
	double start = now_s();

	snprintf(path, sizeof(path), "%s/deny.rules", dir);
	snprintf(temporary, sizeof(temporary), "%s/deny.rules.tmp", dir);
	if (snapshot_follow(b->base, b->ledger, dir, NULL, &snapshot) < 0)
		exit(1);
	printf("beginning a snapshot: %.2f ms\n", 1e3 * (now_s() - start));
	turns(b, NULL, path, "first snapshot");
	for (uint32_t more = 0; access(temporary, F_OK) < 0 && more < 1000000; more += CALL_MAX)
		load(b, 10000000 + more, CALL_MAX, CALL_MAX, CLAIM_LIVE);
	turns(b, NULL, path, "compaction");
	snapshot_unfollow(snapshot);
}

static bool held_id(void *ctx, const struct held *held)
{
	*(int64_t *)ctx = held->id;
	return false;
}

static void slices(struct bench *b)
{
	struct actor actor = {.name = "bench", .reason = "a test"};
	bool done = false;
	int64_t id = 0;

	ledger_audit_verify(b->ledger, verified_cb, &done);
	turns(b, &done, NULL, "audit verify");
	load(b, 20000000, 20000, CALL_MAX, CLAIM_HELD);
	ledger_held(b->ledger, held_id, &id);
	done = false;
	ledger_held_approve(b->ledger, id, &actor, approved_cb, &done);
	turns(b, &done, NULL, "approving what is held");
}

int main(int argc, char **argv)
{
	uint32_t claims = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000000;
	size_t call = argc > 3 ? strtoul(argv[3], NULL, 10) : CALL_MAX;
	struct ledger_conf conf = {
		.dir = argc > 1 ? argv[1] : ".",
		.min_prefix_v4 = 16,
		.min_prefix_v6 = 32,
		.case_claims_per_minute = 200,
		.max_entries = 4000000,
		.change_log_max = 100000,
		.orphan_grace = 604800,
	};
	struct bench b = {.base = event_base_new()};
	struct protect *protect;
	char message[256], path[4096];
	struct stat st;

	if (call == 0 || call > CALL_MAX || protect_create(true, PROTECT_REFUSE, &protect) < 0)
		return 64;
	if (ledger_open(b.base, &conf, protect, &b.ledger, message) < 0) {
		fprintf(stderr, "%s\n", message);
		return 1;
	}
	single(&b, "empty");
	load(&b, 0, claims, call, CLAIM_LIVE);
	single(&b, "full");
	queries(&b, claims);
	read_all(&b);
	compaction(&b, conf.dir);
	slices(&b);
	memory_print();
	ledger_close(b.ledger);
	snprintf(path, sizeof(path), "%s/ledger.db", conf.dir);
	if (stat(path, &st) == 0)
		printf("ledger.db: %.0f MiB\n", (double)st.st_size / 1048576);
	protect_free(protect);
	event_base_free(b.base);
	return 0;
}
