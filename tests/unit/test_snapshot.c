// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Snapshot and journal: what is loaded is a state that was written, or an alarm.

#include "rules/listfile.h"
#include "rules/siphash.h"
#include "rules/snapshot.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRIES_MAX 64
#define STATES_MAX 16

static const char *const files[]
	= {"deny.rules", "deny.journal", "deny.rules.prev", "deny.journal.prev"};

static char dir[64];

// What a reader holds, and every state that was ever written.
struct list {
	struct entry entries[ENTRIES_MAX];
	size_t n;
	struct indicator exceptions[8];
	size_t n_exceptions;
	int resets;
};

static struct list_state written[STATES_MAX];
static size_t n_written;

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/stanch-snapshot-XXXXXX");
	n_written = 0;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_cb(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	return nftw(dir, remove_cb, 8, FTW_DEPTH | FTW_PHYS);
}

static struct entry entry_at(unsigned i)
{
	struct entry e = {.enforce_until = i % 3 ? UNTIL_FOREVER : 1900000000 + i};
	struct indicator_error error;
	char text[64];

	if (i % 5 == 4) {
		e.enforce_until = UNTIL_NONE;
		e.monitor_until = 1900000000;
	}
	snprintf(text, sizeof(text), i % 2 ? "203.0.113.%u" : "*.n%u.example", i);
	assert_int_equal(indicator_parse(text, strlen(text), &e.indicator, &error), 0);
	return e;
}

// Entries first ≤ i < last.
static struct list_state state_of(unsigned first, unsigned last, uint64_t number)
{
	struct list_state s = {.ledger_id = {5, 1}, .revision = {.epoch = 1, .number = number}};

	for (unsigned i = first; i < last; i++) {
		struct entry e = entry_at(i);

		s.count++;
		digest_add(&s.digest, entry_hash(&e));
	}
	return s;
}

static struct list_state note(struct list_state s)
{
	assert_true(n_written < STATES_MAX);
	written[n_written++] = s;
	return s;
}

static struct snapshot_writer *writer_make(unsigned first, unsigned last, uint64_t number)
{
	struct list_state state = note(state_of(first, last, number));
	const struct exception x
		= {.indicator = entry_at(1).indicator,
		   .kind = EXCEPTION_PROTECT,
		   .until = UNTIL_FOREVER};
	struct snapshot_writer *w;

	assert_int_equal(snapshot_create(dir, &state, &w), 0);
	assert_int_equal(snapshot_add_exception(w, &x), 0);
	for (unsigned i = first; i < last; i++) {
		struct entry e = entry_at(i);

		assert_int_equal(snapshot_add_entry(w, &e), 0);
	}
	return w;
}

static void snapshot_make(unsigned first, unsigned last, uint64_t number)
{
	assert_int_equal(snapshot_commit(writer_make(first, last, number)), 0);
}

// From entries [0, last - 2) to [0, last): two added; with `gone`, entry 0 goes away.
static int batch(struct journal *j, unsigned first, unsigned last, uint64_t number, bool exceptions)
{
	struct list_state after = note(state_of(first, last, number));
	struct change changes[3] = {
		{CHANGE_PUT, entry_at(last - 2)},
		{CHANGE_PUT, entry_at(last - 1)},
		{CHANGE_REMOVE, entry_at(first ? first - 1 : 0)},
	};
	const struct exception x = {
		.indicator = entry_at(3).indicator, .kind = EXCEPTION_ALLOW, .until = 1900000000};

	return journal_append(j, &after, changes, first ? 3 : 2, exceptions ? &x : NULL, 1);
}

static int find(const struct list *l, const struct indicator *n)
{
	for (size_t i = 0; i < l->n; i++) {
		if (indicator_equal(&l->entries[i].indicator, n))
			return (int)i;
	}
	return -1;
}

static int put_cb(void *ctx, const struct entry *e)
{
	struct list *l = ctx;
	int at = find(l, &e->indicator);

	assert_true(l->n < ENTRIES_MAX);
	l->entries[at < 0 ? (int)l->n++ : at] = *e;
	return 0;
}

static int remove_entry_cb(void *ctx, const struct indicator *n)
{
	struct list *l = ctx;
	int at = find(l, n);

	if (at >= 0)
		l->entries[at] = l->entries[--l->n];
	return 0;
}

static int exception_cb(void *ctx, const struct exception *x)
{
	struct list *l = ctx;

	assert_true(l->n_exceptions < 8);
	l->exceptions[l->n_exceptions++] = x->indicator;
	return 0;
}

static int exception_reset_cb(void *ctx)
{
	((struct list *)ctx)->n_exceptions = 0;
	return 0;
}

static int reset_cb(void *ctx)
{
	struct list *l = ctx;

	l->n = l->n_exceptions = 0;
	l->resets++;
	return 0;
}

static int check_cb(void *ctx, const struct list_state *state)
{
	const struct list *l = ctx;
	struct digest digest = {0};

	for (size_t i = 0; i < l->n; i++)
		digest_add(&digest, entry_hash(&l->entries[i]));
	return l->n == state->count && digest_equal(digest, state->digest) ? 0 : -EILSEQ;
}

static struct list list;

static int load(struct list_state *state, enum list_origin *origin, struct text_error *error)
{
	const struct list_sink sink = {
		.exception_reset = exception_reset_cb,
		.exception = exception_cb,
		.put = put_cb,
		.remove = remove_entry_cb,
		.reset = reset_cb,
		.check = check_cb,
		.ctx = &list,
	};

	memset(&list, 0, sizeof(list));
	*error = (struct text_error){0};
	*origin = LIST_NONE;
	return list_load(dir, &sink, state, origin, error);
}

static bool was_written(const struct list_state *state)
{
	for (size_t i = 0; i < n_written; i++) {
		if (list_state_equal(&written[i], state))
			return true;
	}
	return false;
}

static void expect(enum list_origin want, uint64_t number)
{
	struct list_state state, read;
	enum list_origin origin;
	struct text_error error;
	char text[600];

	if (load(&state, &origin, &error) != 0) {
		text_error_print(&error, text, sizeof(text));
		fail_msg("%s", text);
	}
	if (origin != want)
		fail_msg("origin %d, not %d: %s: %s", origin, want, error.file, error.reason);
	assert_int_equal(state.revision.number, number);
	assert_true(was_written(&state));
	assert_int_equal(check_cb(&list, &state), 0);
	if (want == LIST_CURRENT) {
		assert_int_equal(list_state_read(dir, &read, &error), 0);
		assert_true(list_state_equal(&read, &state));
	}
}

static size_t content(const char *name, char **ret_text)
{
	size_t len;

	assert_int_equal(list_file_read(dir, name, ret_text, &len), 0);
	return len;
}

static void rewrite(const char *name, const char *text, size_t len)
{
	char path[LIST_PATH_MAX];
	int fd;

	assert_int_equal(list_path(dir, name, path), 0);
	fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(list_write_all(fd, text, len), 0);
	close(fd);
}

// Two pairs: the previous [0,10) at 3, [0,12) at 4; the current [0,12) at 4 … [2,20) at 8.
static void pairs_make(void)
{
	struct journal *j;

	snapshot_make(0, 10, 3);
	assert_int_equal(journal_open(dir, &j), 0);
	assert_int_equal(batch(j, 0, 12, 4, false), 0);
	journal_close(j);
	snapshot_make(0, 12, 4);
	assert_int_equal(journal_open(dir, &j), 0);
	assert_int_equal(batch(j, 0, 14, 5, false), 0);
	assert_int_equal(batch(j, 1, 16, 6, true), 0);
	assert_int_equal(batch(j, 1, 18, 7, false), 0);
	assert_int_equal(batch(j, 2, 20, 8, false), 0);
	journal_close(j);
}

static void test_pair(void **ctx)
{
	struct list_state state;
	enum list_origin origin;
	struct text_error error;

	(void)ctx;
	assert_int_equal(load(&state, &origin, &error), 0);
	assert_int_equal(origin, LIST_NONE);
	assert_int_equal(list_state_read(dir, &state, &error), -ENOENT);
	snapshot_make(0, 10, 3);
	expect(LIST_CURRENT, 3);
	assert_int_equal(list.n_exceptions, 1);
	pairs_make();
	expect(LIST_CURRENT, 8);
	assert_int_equal(list.resets, 0);
	assert_int_equal(list.n_exceptions, 1);
	assert_true(indicator_equal(&list.exceptions[0], &(struct indicator){0}) == false);
	assert_int_equal(list.exceptions[0].addr[3], 3);
}

static void test_no_exceptions(void **ctx)
{
	struct list_state state = state_of(0, 10, 3);
	struct journal *j;
	const struct exception none = {0};

	(void)ctx;
	snapshot_make(0, 10, 3);
	assert_int_equal(journal_open(dir, &j), 0);
	assert_int_equal(journal_append(j, &state, NULL, 0, &none, 0), 0);
	journal_close(j);
	expect(LIST_CURRENT, 3);
	assert_int_equal(list.n_exceptions, 0);
}

// Cut anywhere in its last batch the journal ends one batch earlier; and can be appended to again.
static void test_torn(void **ctx)
{
	char *text;
	struct journal *j;
	size_t len, batch_at;

	(void)ctx;
	pairs_make();
	len = content("deny.journal", &text);
	batch_at = (size_t)((char *)memmem(text, len, "batch revision=1.8", 18) - text);
	for (size_t n = batch_at; n < len; n++) {
		rewrite("deny.journal", text, n);
		expect(LIST_CURRENT, 7);
		if (n % 16)
			continue;
		assert_int_equal(journal_open(dir, &j), 0);
		assert_int_equal(journal_size(j), batch_at);
		n_written--;
		assert_int_equal(batch(j, 2, 20, 8, false), 0);
		journal_close(j);
		expect(LIST_CURRENT, 8);
	}
	free(text);
}

// Wherever an octet is changed: the right list, or the previous one with an alarm.
static void flip_each(const char *name, const uint8_t *masks, size_t n_masks)
{
	char *text;
	size_t len = content(name, &text);

	for (size_t i = 0; i < len; i++) {
		for (size_t m = 0; m < n_masks; m++) {
			struct list_state state;
			enum list_origin origin;
			struct text_error error;
			char saved = text[i];
			int rc;

			text[i] = (char)(text[i] ^ masks[m]);
			rewrite(name, text, len);
			text[i] = saved;
			rc = load(&state, &origin, &error);
			assert_int_equal(rc, 0);
			if (origin != LIST_PREVIOUS)
				fail_msg("%s: octet %zu ^ %u went unseen", name, i, masks[m]);
			assert_int_equal(state.revision.number, 4);
			assert_int_equal(check_cb(&list, &state), 0);
			assert_non_null(strstr(error.file, name));
			assert_true(error.reason[0]);
		}
	}
	rewrite(name, text, len);
	free(text);
	expect(LIST_CURRENT, 8);
}

static void test_flips(void **ctx)
{
	static const uint8_t masks[] = {1, 2, 0x10, 0x80, '\n' ^ '0'};

	(void)ctx;
	pairs_make();
	flip_each("deny.journal", masks, sizeof(masks));
	flip_each("deny.rules", masks, sizeof(masks));
}

static void test_truncated(void **ctx)
{
	char *text;
	size_t len;

	(void)ctx;
	pairs_make();
	len = content("deny.rules", &text);
	for (size_t n = 0; n < len; n++) {
		rewrite("deny.rules", text, n);
		expect(LIST_PREVIOUS, 4);
	}
	rewrite("deny.rules", text, len);
	free(text);
	expect(LIST_CURRENT, 8);
	len = content("deny.journal", &text);
	// Its header, with or without a newline, is never half written.
	for (const char *p = strchr(text, '\n'); p >= text; p--) {
		rewrite("deny.journal", text, (size_t)(p - text));
		expect(LIST_PREVIOUS, 4);
	}
	free(text);
}

static void test_both_damaged(void **ctx)
{
	struct list_state state;
	enum list_origin origin;
	struct text_error error;
	char text[600];

	(void)ctx;
	pairs_make();
	rewrite("deny.rules", "garbage\n", 8);
	rewrite("deny.journal.prev", "", 0);
	assert_int_equal(load(&state, &origin, &error), -EILSEQ);
	text_error_print(&error, text, sizeof(text));
	assert_non_null(strstr(text, "deny.rules:1: "));
	assert_int_equal(list.n, 0);
	// A damaged pair is not kept: the next snapshot stands alone.
	snapshot_make(0, 10, 9);
	expect(LIST_CURRENT, 9);
}

// What is good as previous pair outlives a current one that is damaged.
static void test_damaged_is_not_kept(void **ctx)
{
	char *text;
	size_t len;

	(void)ctx;
	pairs_make();
	len = content("deny.rules", &text);
	rewrite("deny.rules", text, len - 5);
	free(text);
	snapshot_make(0, 20, 9);
	expect(LIST_CURRENT, 9);
	rewrite("deny.rules", "", 0);
	expect(LIST_PREVIOUS, 4);
}

static void test_foreign_journal(void **ctx)
{
	char *journal, *rules, *mark, *head, sum[17];
	size_t journal_len, rules_len;

	(void)ctx;
	pairs_make();
	// A snapshot older than the base of its journal: batches are missing in between.
	rules_len = content("deny.rules.prev", &rules);
	rewrite("deny.rules", rules, rules_len);
	expect(LIST_PREVIOUS, 4);
	journal_len = content("deny.journal", &journal);
	mark = memmem(journal, journal_len, "0501", 4);
	assert_non_null(mark);
	mark[0] = '1'; // even with a checksum that is right
	head = strchr(journal, '\n') - 16;
	snprintf(
		sum,
		sizeof(sum),
		"%016llx",
		(unsigned long long)siphash64(list_sum_key, journal, (size_t)(head - 6 - journal))
	);
	memcpy(head, sum, 16);
	rewrite("deny.journal", journal, journal_len);
	expect(LIST_PREVIOUS, 4);
	free(rules);
	free(journal);
}

// --- a crash between any two steps of snapshot_commit

static void copy(const char *from, const char *to)
{
	char *text;
	size_t len = content(from, &text);

	rewrite(to, text, len);
	free(text);
}

static void swap(const char *from, const char *to)
{
	char a[LIST_PATH_MAX], b[LIST_PATH_MAX];

	assert_int_equal(list_path(dir, from, a), 0);
	assert_int_equal(list_path(dir, to, b), 0);
	assert_int_equal(rename(a, b), 0);
}

// Each state that pair_replace passes through, and a commit out of each.
static void test_crash_windows(void **ctx)
{
	static const char *const steps[][2] = {
		{NULL, NULL},
		{"deny.rules", "deny.rules.prev"},
		{"deny.journal", "deny.journal.prev"},
		{"deny.rules.new", "deny.rules"},
		{"deny.journal.new", "deny.journal"},
	};

	(void)ctx;
	for (size_t last = 0; last < 5; last++) {
		struct list_state now;
		struct snapshot_writer *w;
		struct journal *j;

		teardown(NULL);
		setup(NULL);
		pairs_make();
		// The snapshot was begun at 6; meanwhile the journal came to 8.
		w = writer_make(1, 16, 6);
		assert_int_equal(snapshot_seal(w), 0);
		copy("deny.rules.tmp", "deny.rules.new");
		now = state_of(1, 16, 6);
		assert_int_equal(journal_create(dir, &now, 0), 0);
		copy("deny.journal.tmp", "deny.journal.new");
		snapshot_free(w);
		for (size_t i = 1; i <= last; i++) {
			if (strstr(steps[i][0], ".new"))
				swap(steps[i][0], steps[i][1]);
			else
				copy(steps[i][0], steps[i][1]);
		}
		expect(LIST_CURRENT, 8);
		// And on from there: append, then a new snapshot.
		assert_int_equal(journal_open(dir, &j), 0);
		assert_int_equal(batch(j, 2, 22, 9, false), 0);
		journal_close(j);
		expect(LIST_CURRENT, 9);
		snapshot_make(2, 22, 9);
		expect(LIST_CURRENT, 9);
		rewrite("deny.rules", "", 0);
		expect(LIST_PREVIOUS, 9);
	}
}

static void test_first_commit_windows(void **ctx)
{
	struct list_state now = state_of(0, 10, 3), state;
	enum list_origin origin;
	struct text_error error;
	struct snapshot_writer *w = writer_make(0, 10, 3);

	(void)ctx;
	assert_int_equal(snapshot_seal(w), 0);
	assert_int_equal(load(&state, &origin, &error), 0);
	assert_int_equal(origin, LIST_NONE);
	assert_int_equal(journal_create(dir, &now, 0), 0);
	swap("deny.journal.tmp", "deny.journal");
	assert_int_equal(load(&state, &origin, &error), 0);
	assert_int_equal(origin, LIST_NONE);
	swap("deny.rules.tmp", "deny.rules");
	snapshot_free(w);
	expect(LIST_CURRENT, 3);
}

// Batches appended while the snapshot was written go into the new journal.
static void test_compaction_meanwhile(void **ctx)
{
	struct snapshot_writer *w;
	struct journal *j;
	uint64_t mark;

	(void)ctx;
	for (int with_mark = 0; with_mark < 2; with_mark++) {
		teardown(NULL);
		setup(NULL);
		pairs_make();
		assert_int_equal(journal_open(dir, &j), 0);
		mark = journal_size(j);
		w = writer_make(2, 20, 8);
		assert_int_equal(batch(j, 2, 22, 9, false), 0);
		assert_int_equal(batch(j, 3, 24, 10, true), 0);
		assert_int_equal(snapshot_seal(w), 0);
		if (with_mark)
			snapshot_journal_from(w, mark);
		assert_int_equal(snapshot_commit(w), 0);
		journal_close(j);
		expect(LIST_CURRENT, 10);
		assert_int_equal(journal_open(dir, &j), 0);
		assert_true(journal_size(j) < mark);
		assert_int_equal(batch(j, 3, 26, 11, false), 0);
		journal_close(j);
		expect(LIST_CURRENT, 11);
	}
}

// --- a disk that is full

static struct rlimit limit_set(rlim_t octets)
{
	struct rlimit before, now;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	now = before;
	now.rlim_cur = octets;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
	return before;
}

static void test_full_disk(void **ctx)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct snapshot_writer *w;
	struct rlimit before;
	struct journal *j;
	struct stat st;
	char path[LIST_PATH_MAX];
	uint64_t size;

	(void)ctx;
	sigaction(SIGXFSZ, &ignore, NULL);
	pairs_make();
	assert_int_equal(journal_open(dir, &j), 0);
	size = journal_size(j);
	w = writer_make(0, 30, 9);
	n_written--;
	before = limit_set(200);
	assert_int_equal(snapshot_commit(w), -EFBIG);
	limit_set(size + 100);
	assert_int_equal(batch(j, 2, 22, 9, false), -EFBIG);
	n_written--;
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(journal_size(j), size);
	assert_int_equal(list_path(dir, "deny.rules.tmp", path), 0);
	assert_int_equal(stat(path, &st), -1);
	expect(LIST_CURRENT, 8);
	// And when there is room again.
	assert_int_equal(batch(j, 2, 22, 9, false), 0);
	journal_close(j);
	expect(LIST_CURRENT, 9);
}

static void test_wrong_entries(void **ctx)
{
	struct list_state state = state_of(0, 10, 3);
	struct snapshot_writer *w;
	struct entry e = entry_at(0);

	(void)ctx;
	assert_int_equal(snapshot_create(dir, &state, &w), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(snapshot_add_entry(w, &e), 0);
	assert_int_equal(snapshot_commit(w), -EILSEQ);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[LIST_PATH_MAX];

		assert_int_equal(list_path(dir, files[i], path), 0);
		assert_int_equal(access(path, F_OK), -1);
	}
}

// A batch that leads elsewhere than it says.
static void test_batch_that_lies(void **ctx)
{
	struct list_state after = state_of(0, 14, 5);
	struct change change = {CHANGE_PUT, entry_at(12)};
	struct journal *j;

	(void)ctx;
	pairs_make();
	snapshot_make(0, 12, 4);
	assert_int_equal(journal_open(dir, &j), 0);
	assert_int_equal(journal_append(j, &after, &change, 1, NULL, 0), 0);
	journal_close(j);
	expect(LIST_PREVIOUS, 8);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_pair),
		T(test_no_exceptions),
		T(test_torn),
		T(test_flips),
		T(test_truncated),
		T(test_both_damaged),
		T(test_damaged_is_not_kept),
		T(test_foreign_journal),
		T(test_crash_windows),
		T(test_first_commit_windows),
		T(test_compaction_meanwhile),
		T(test_full_disk),
		T(test_wrong_entries),
		T(test_batch_that_lies),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
