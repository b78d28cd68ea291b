// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists that are longer than the piece of them that is in memory at a time.

#include "rules/snapshot.h"
#include "tests/unit/cm.h"
#include "tests/unit/refuse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRIES 80000u
#define PIECE (256u << 10) // as rules/listread.c has it
#define BLOCK_MAX (PIECE + 4096)

static char dir[] = "/tmp/stanch-listread-XXXXXX";
static char path[64];

struct taken {
	unsigned n; // in order so far
	bool checked;
};

static struct entry entry_at(unsigned i)
{
	struct entry e = {.enforce_until = UNTIL_FOREVER};
	struct indicator_error error;
	char text[32];

	// Lines of several lengths.
	snprintf(text, sizeof(text), "%u.%u.%u.%u", 1 + i % 200, i >> 8 & 255, i & 255, i % 7);
	assert_int_equal(indicator_parse(text, strlen(text), &e.indicator, &error), 0);
	return e;
}

static int take(void *ctx, const struct entry *e)
{
	struct taken *t = ctx;
	struct entry wanted = entry_at(t->n++);

	assert_true(indicator_equal(&e->indicator, &wanted.indicator));
	return 0;
}

static int exception_take(void *ctx, const struct exception *x)
{
	(void)ctx;
	(void)x;
	return 0;
}

static int nothing_left(void *ctx)
{
	((struct taken *)ctx)->n = 0;
	return 0;
}

static int check(void *ctx, const struct list_state *state)
{
	struct taken *t = ctx;

	t->checked = true;
	return t->n == state->count ? 0 : -EILSEQ;
}

static int list_take(struct taken *ret_taken, struct text_error *ret_error)
{
	const struct list_sink sink = {
		.exception_reset = nothing_left,
		.exception = exception_take,
		.put = take,
		.reset = nothing_left,
		.check = check,
		.ctx = ret_taken,
	};
	struct list_state state;
	enum list_origin origin;

	*ret_taken = (struct taken){0};
	return list_load(dir, &sink, &state, &origin, ret_error);
}

static void list_write(void)
{
	struct list_state s = {.ledger_id = {5}, .revision = {.epoch = 1, .number = 1}};
	struct snapshot_writer *w;

	for (unsigned i = 0; i < ENTRIES; i++) {
		struct entry e = entry_at(i);

		s.count++;
		digest_add(&s.digest, entry_hash(&e));
	}
	assert_int_equal(snapshot_create(dir, &s, &w), 0);
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct entry e = entry_at(i);

		assert_int_equal(snapshot_add_entry(w, &e), 0);
	}
	assert_int_equal(snapshot_commit(w), 0);
}

static void test_a_long_list_is_not_held_in_memory(void **state)
{
	struct text_error error;
	struct list_state read;
	struct taken t;
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 3 * PIECE);
	refuse_arm(0, false);
	assert_int_equal(list_take(&t, &error), 0);
	assert_true(refuse_live().largest <= BLOCK_MAX);
	assert_int_equal(t.n, ENTRIES);
	assert_true(t.checked);
	assert_int_equal(list_state_read(dir, &read, &error), 0);
	assert_int_equal(read.count, ENTRIES);
	assert_true(refuse_live().largest <= BLOCK_MAX);
	refuse_disarm();
}

static void flip(off_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char c;

	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 1;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

// Wherever it is damaged: refused before the first entry is handed over.
static void test_damage_in_any_piece(void **state)
{
	struct text_error error;
	struct stat st;
	struct taken t;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = PIECE - 1; at < st.st_size; at += PIECE / 2 + 1) {
		flip(at);
		assert_int_equal(list_take(&t, &error), -EILSEQ);
		assert_int_equal(t.n, 0);
		assert_false(t.checked);
		flip(at);
	}
	flip(st.st_size - 3); // in the closing line
	assert_int_equal(list_take(&t, &error), -EILSEQ);
	flip(st.st_size - 3);
	assert_int_equal(list_take(&t, &error), 0);
}

// --- files written by hand

struct lines {
	unsigned n;
	char texts[4][INDICATOR_TEXT_MAX];
};

static int line_take(void *ctx, const struct entry *e)
{
	struct lines *l = ctx;

	assert_true(l->n < 4);
	indicator_print(&e->indicator, l->texts[l->n++]);
	return 0;
}

static int rules_take(const char *file, struct lines *ret_lines, struct text_error *ret_error)
{
	const struct statement_sink sink = {line_take, exception_take, ret_lines};

	*ret_lines = (struct lines){0};
	return rules_read(file, &sink, ret_error);
}

// `filler` octets of comments, then the text.
static void rules_write(const char *file, size_t filler, const char *text)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	for (; filler >= 128; filler -= 64)
		fprintf(f, "#%62s\n", "");
	fprintf(f, "#%*s\n%s", (int)filler - 2, "", text);
	assert_int_equal(fclose(f), 0);
}

// The end of the piece falls on each octet of the lines in turn.
static void test_lines_across_pieces(void **state)
{
	static const char text[] = "203.0.113.7\nudp/198.51.100.9:53\n2001:db8::/48";
	char file[80];
	struct text_error error;
	struct lines l;

	(void)state;
	snprintf(file, sizeof(file), "%s/by-hand", dir);
	for (size_t k = 0; k <= sizeof(text); k++) {
		rules_write(file, PIECE - k, text);
		assert_int_equal(rules_take(file, &l, &error), 0);
		assert_int_equal(l.n, 3);
		assert_string_equal(l.texts[0], "203.0.113.7");
		assert_string_equal(l.texts[1], "udp/198.51.100.9:53");
		assert_string_equal(l.texts[2], "2001:db8::/48");
	}
	unlink(file);
}

static void test_errors_name_their_line(void **state)
{
	char file[80];
	struct text_error error;
	struct lines l;
	FILE *f;

	(void)state;
	snprintf(file, sizeof(file), "%s/by-hand", dir);
	rules_write(file, PIECE - 5, "203.0.113.7\nnonsense/\n");
	assert_int_equal(rules_take(file, &l, &error), -EINVAL);
	assert_int_equal(error.line, PIECE / 64 - 1 + 2);
	assert_int_equal(l.n, 1);
	// A line that no piece holds.
	f = fopen(file, "w");
	fprintf(f, "\n#%*s\n203.0.113.7\n", (int)PIECE, "");
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rules_take(file, &l, &error), -EINVAL);
	assert_int_equal(error.line, 2);
	assert_int_equal(l.n, 0);
	unlink(file);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/deny.rules", dir);
	list_write();
	return 0;
}

static int teardown(void **state)
{
	char journal[80];

	(void)state;
	snprintf(journal, sizeof(journal), "%s/deny.journal", dir);
	unlink(journal);
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_long_list_is_not_held_in_memory),
		cmocka_unit_test(test_damage_in_any_piece),
		cmocka_unit_test(test_lines_across_pieces),
		cmocka_unit_test(test_errors_name_their_line),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
