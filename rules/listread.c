// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Reading lists: files written by hand, and the pair of snapshot and journal.

#include "rules/listfile.h"
#include "rules/siphash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER "stanch-rules 1 "
#define PIECE ((size_t)256 << 10)
#define CLOSING_LEN (sizeof("end checksum=0123456789abcdef\n") - 1)

static int damaged(struct text_error *ret_error, size_t line, const char *reason)
{
	ret_error->line = line;
	ret_error->column = 0;
	snprintf(ret_error->reason, sizeof(ret_error->reason), "%s", reason);
	return -EILSEQ;
}

static void error_file(struct text_error *ret_error, const char *dir, const char *name)
{
	*ret_error = (struct text_error){0};
	if (dir)
		snprintf(ret_error->file, sizeof(ret_error->file), "%.*s/%.60s", 180, dir, name);
	else
		snprintf(ret_error->file, sizeof(ret_error->file), "%.255s", name);
}

// A file of statements, read in pieces: a list of millions is not held in memory beside what is
// made of it.
struct text {
	int fd;
	uint64_t size;
	char *piece; // PIECE octets
};

static void text_close(struct text *t)
{
	if (t->fd >= 0)
		close(t->fd);
	free(t->piece);
}

// -errno; -ENOENT where there is none. text_close in every case.
static int text_open(const char *dir, const char *name, struct text *ret_text)
{
	char path[LIST_PATH_MAX];
	struct stat st;
	int rc;

	*ret_text = (struct text){.fd = -1};
	rc = list_path(dir, name, path);
	if (rc < 0)
		return rc;
	ret_text->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (ret_text->fd < 0 || fstat(ret_text->fd, &st) < 0)
		return -errno;
	ret_text->size = (uint64_t)st.st_size;
	ret_text->piece = malloc(PIECE);
	return ret_text->piece ? 0 : -ENOMEM;
}

// Octets from `from` on into the piece, behind `at`: as many as fit and lie before `end`.
static ssize_t text_read(const struct text *t, uint64_t from, uint64_t end, size_t at)
{
	size_t want = end - from < PIECE - at ? (size_t)(end - from) : PIECE - at, have = 0;

	while (have < want) {
		ssize_t n = pread(t->fd, t->piece + at + have, want - have, (off_t)(from + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; // shorter than it was
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static int statement_take(
	const char *line,
	size_t len,
	size_t number,
	const struct statement_sink *sink,
	struct text_error *ret_error
)
{
	struct statement s;
	int rc = statement_parse(line, len, &s, ret_error);

	if (rc < 0) {
		ret_error->line = number;
		return rc;
	}
	if (s.kind == STATEMENT_ENTRY)
		rc = sink->entry(sink->ctx, &s.entry);
	else if (s.kind == STATEMENT_EXCEPTION)
		rc = sink->exception(sink->ctx, &s.exception);
	if (rc < 0)
		damaged(ret_error, number, strerror(-rc));
	return rc;
}

// Statements between two offsets, numbered from `line`.
static int statements_read(
	const struct text *t,
	uint64_t from,
	uint64_t end,
	size_t line,
	const struct statement_sink *sink,
	struct text_error *ret_error
)
{
	size_t kept = 0; // of a line that goes on in the next piece

	while (from < end) {
		ssize_t n = text_read(t, from, end, kept);
		const char *at = t->piece, *stop = at + kept + (n > 0 ? n : 0), *newline;
		int rc = 0;

		if (n < 0)
			return damaged(ret_error, line, strerror((int)-n));
		from += (uint64_t)n;
		while (rc == 0 && (newline = memchr(at, '\n', (size_t)(stop - at)))) {
			rc = statement_take(at, (size_t)(newline - at), line++, sink, ret_error);
			at = newline + 1;
		}
		kept = (size_t)(stop - at);
		if (rc == 0 && kept && from == end)
			rc = statement_take(at, kept, line, sink, ret_error);
		else if (rc == 0 && kept == PIECE)
			rc = damaged(ret_error, line, "the line is too long");
		if (rc < 0)
			return rc;
		memmove(t->piece, at, kept);
	}
	return 0;
}

static int sum_read(const struct text *t, uint64_t end, uint64_t *ret_sum)
{
	struct siphash sum;

	siphash_begin(&sum, list_sum_key);
	for (uint64_t from = 0; from < end;) {
		ssize_t n = text_read(t, from, end, 0);

		if (n < 0)
			return (int)n;
		siphash_update(&sum, t->piece, (size_t)n);
		from += (uint64_t)n;
	}
	*ret_sum = siphash_end(&sum);
	return 0;
}

// Header and closing line of a snapshot. On success the body is what lies between them.
static int snapshot_verify(
	const struct text *t,
	struct list_state *ret_state,
	uint64_t *ret_body,
	uint64_t *ret_end,
	struct text_error *ret_error
)
{
	ssize_t len = text_read(t, 0, t->size, 0);
	const char *newline = len > 0 ? memchr(t->piece, '\n', (size_t)len) : NULL;
	size_t head = sizeof(HEADER) - 1, first = newline ? (size_t)(newline - t->piece) : 0;
	uint64_t end = t->size < CLOSING_LEN ? 0 : t->size - CLOSING_LEN, sum = 0;
	char want[CLOSING_LEN + 1];
	int rc;

	if (len < 0)
		return damaged(ret_error, 0, strerror((int)-len));
	if (first < head || memcmp(t->piece, HEADER, head) != 0
	    || list_state_parse(t->piece + head, first - head, ret_state) < 0)
		return damaged(ret_error, 1, "not the header of a snapshot");
	if (end <= first)
		return damaged(ret_error, 0, "cut short: the closing line is missing");
	rc = sum_read(t, end, &sum);
	if (rc == 0)
		rc = (int)text_read(t, end, t->size, 0);
	if (rc < 0)
		return damaged(ret_error, 0, strerror(-rc));
	snprintf(want, sizeof(want), "end checksum=%016llx\n", (unsigned long long)sum);
	if (memcmp(t->piece, "end checksum=", 13) != 0)
		return damaged(ret_error, 0, "cut short: the closing line is missing");
	if (memcmp(t->piece, want, CLOSING_LEN) != 0)
		return damaged(ret_error, 0, "the checksum of the closing line does not verify");
	*ret_body = first + 1;
	*ret_end = end;
	return 0;
}

static bool is_snapshot(const struct text *t)
{
	size_t head = sizeof(HEADER) - 1;

	return t->size >= head && text_read(t, 0, head, 0) == (ssize_t)head
		&& memcmp(t->piece, HEADER, head) == 0;
}

int rules_read(const char *path, const struct statement_sink *sink, struct text_error *ret_error)
{
	uint64_t body = 0, end = 0;
	struct list_state state;
	struct text t;
	int rc;

	error_file(ret_error, NULL, path);
	rc = text_open("", path, &t);
	if (rc < 0)
		damaged(ret_error, 0, strerror(-rc));
	else if (is_snapshot(&t))
		rc = snapshot_verify(&t, &state, &body, &end, ret_error);
	else
		end = t.size;
	if (rc == 0)
		rc = statements_read(&t, body, end, body ? 2 : 1, sink, ret_error);
	text_close(&t);
	return rc == -EILSEQ ? -EINVAL : rc;
}

// What statements_read hands over while a pair is loaded.
struct loading {
	const struct list_sink *sink;
	struct digest digest;
	uint64_t count;
};

static int loading_entry(void *ctx, const struct entry *e)
{
	struct loading *l = ctx;

	l->count++;
	digest_add(&l->digest, entry_hash(e));
	return l->sink->put(l->sink->ctx, e);
}

static int loading_exception(void *ctx, const struct exception *x)
{
	struct loading *l = ctx;

	return l->sink->exception(l->sink->ctx, x);
}

static int snapshot_load(
	const char *dir,
	const char *name,
	const struct list_sink *sink,
	struct list_state *ret_state,
	struct text_error *ret_error
)
{
	struct loading l = {.sink = sink};
	struct statement_sink statements = {loading_entry, loading_exception, &l};
	uint64_t body, end;
	struct text t;
	int rc = text_open(dir, name, &t);

	if (rc != -ENOENT)
		error_file(ret_error, dir, name);
	if (rc == 0)
		rc = snapshot_verify(&t, ret_state, &body, &end, ret_error);
	else if (rc != -ENOENT)
		rc = damaged(ret_error, 0, strerror(-rc));
	if (rc == 0)
		rc = statements_read(&t, body, end, 2, &statements, ret_error);
	text_close(&t);
	if (rc == 0 && (l.count != ret_state->count || !digest_equal(l.digest, ret_state->digest)))
		rc = damaged(
			ret_error, 1, "count or digest of the header is not that of the entries"
		);
	return rc;
}

static int journal_line_apply(
	const char *line, size_t len, bool *exceptions_reset, const struct list_sink *sink
)
{
	struct text_error ignored;
	struct indicator_error why;
	struct indicator n;
	struct statement s;
	int rc;

	if (len < 3 || line[1] != ' ')
		return -EILSEQ;
	if (len == 6 && memcmp(line, "! none", 6) == 0) {
		*exceptions_reset = true;
		return sink->exception_reset(sink->ctx);
	}
	if (*line == '-') {
		rc = indicator_parse(line + 2, len - 2, &n, &why);
		return rc < 0 ? -EILSEQ : sink->remove(sink->ctx, &n);
	}
	if (statement_parse(line + 2, len - 2, &s, &ignored) < 0)
		return -EILSEQ;
	if (*line == '+' && s.kind == STATEMENT_ENTRY)
		return sink->put(sink->ctx, &s.entry);
	if (*line != '!' || s.kind != STATEMENT_EXCEPTION)
		return -EILSEQ;
	if (!*exceptions_reset) {
		*exceptions_reset = true;
		rc = sink->exception_reset(sink->ctx);
		if (rc < 0)
			return rc;
	}
	return sink->exception(sink->ctx, &s.exception);
}

static int batch_apply(const struct journal_batch *b, const struct list_sink *sink)
{
	const char *at = b->lines, *end = b->lines + b->lines_len;
	bool exceptions_reset = false;

	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		int rc = journal_line_apply(at, (size_t)(newline - at), &exceptions_reset, sink);

		if (rc < 0)
			return rc;
		at = newline + 1;
	}
	return 0;
}

static size_t lines_before(const char *text, const char *at)
{
	size_t n = 1;

	for (; text < at; text++)
		n += *text == '\n';
	return n;
}

// Called for each batch that counts beside a snapshot of `state`.
struct journal_walk {
	int (*batch)(const struct journal_batch *, const struct list_sink *);
	const struct list_sink *sink;
};

static int journal_fits(
	const char *text, size_t len, const struct list_state *state, struct text_error *ret_error
)
{
	struct journal_header h;
	long n = journal_header_read(text, len, &h);

	if (n < 0)
		return damaged(ret_error, 1, "not the header of a journal");
	if (memcmp(h.ledger_id, state->ledger_id, LEDGER_ID_LEN) != 0)
		return damaged(
			ret_error, 1, "the journal belongs to another ledger than the snapshot"
		);
	if (revision_compare(state->revision, h.base) < 0)
		return damaged(
			ret_error, 1, "the journal began with a newer snapshot: batches are missing"
		);
	return (int)n;
}

static int journal_apply(
	const char *text,
	size_t len,
	const struct journal_walk *walk,
	struct list_state *state,
	struct text_error *ret_error
)
{
	struct revision last = {0};
	struct journal_batch b;
	const char *reason = "";
	bool torn;
	long n, at = journal_fits(text, len, state, ret_error);

	if (at < 0)
		return (int)at;
	while ((n = journal_batch_read(text + at, len - (size_t)at, &b, &torn, &reason)) > 0) {
		struct revision revision = b.after.revision;

		if (revision_compare(revision, last) < 0)
			return damaged(
				ret_error,
				lines_before(text, text + at),
				"the revision goes back with this batch"
			);
		last = revision;
		if (revision_compare(revision, state->revision) >= 0) {
			memcpy(b.after.ledger_id, state->ledger_id, LEDGER_ID_LEN);
			*state = b.after;
			if (walk->batch && walk->batch(&b, walk->sink) < 0)
				return damaged(
					ret_error,
					lines_before(text, text + at),
					"a line of this batch does not parse, or was not taken"
				);
		}
		at += n;
	}
	if (n < 0)
		return damaged(ret_error, lines_before(text, text + at), reason);
	return 0;
}

static int journal_load(
	const char *dir,
	const char *name,
	const struct journal_walk *walk,
	struct list_state *state,
	struct text_error *ret_error
)
{
	char *text = NULL;
	size_t len;
	int rc = list_file_read(dir, name, &text, &len);

	error_file(ret_error, dir, name);
	if (rc < 0)
		return damaged(
			ret_error, 0, rc == -ENOENT ? "the journal is missing" : strerror(-rc)
		);
	rc = journal_apply(text, len, walk, state, ret_error);
	free(text);
	return rc;
}

static int pair_load(
	const char *dir,
	const char *rules,
	const char *journal,
	const struct list_sink *sink,
	struct list_state *ret_state,
	struct text_error *ret_error
)
{
	const struct journal_walk walk = {.batch = batch_apply, .sink = sink};
	struct list_state state;
	int rc = snapshot_load(dir, rules, sink, &state, ret_error);

	if (rc == 0)
		rc = journal_load(dir, journal, &walk, &state, ret_error);
	if (rc == 0 && sink->check && sink->check(sink->ctx, &state) < 0) {
		error_file(ret_error, dir, journal);
		rc = damaged(
			ret_error, 0, "count or digest after the last batch is not that of the list"
		);
	}
	if (rc == 0)
		*ret_state = state;
	else if (rc != -ENOENT)
		sink->reset(sink->ctx);
	return rc;
}

int list_state_read(const char *dir, struct list_state *ret_state, struct text_error *ret_error)
{
	const struct journal_walk walk = {0};
	struct list_state state;
	uint64_t body, end;
	struct text t;
	int rc = text_open(dir, LIST_RULES, &t);

	error_file(ret_error, dir, LIST_RULES);
	if (rc < 0)
		damaged(ret_error, 0, strerror(-rc));
	else
		rc = snapshot_verify(&t, &state, &body, &end, ret_error);
	text_close(&t);
	if (rc < 0 && rc != -ENOENT)
		rc = -EILSEQ;
	if (rc == 0)
		rc = journal_load(dir, LIST_JOURNAL, &walk, &state, ret_error);
	if (rc == 0)
		*ret_state = state;
	return rc;
}

// Which file the snapshot is: another one than before means that control has replaced the pair.
static ino_t snapshot_inode(const char *dir)
{
	char path[LIST_PATH_MAX];
	struct stat st;

	return list_path(dir, LIST_RULES, path) == 0 && stat(path, &st) == 0 ? st.st_ino : 0;
}

static int current_load(
	const char *dir,
	const struct list_sink *sink,
	struct list_state *ret_state,
	struct text_error *ret_error
)
{
	int rc = 0;

	for (int i = 0; i < 3; i++) {
		ino_t before = snapshot_inode(dir);

		rc = pair_load(dir, LIST_RULES, LIST_JOURNAL, sink, ret_state, ret_error);
		if (rc == 0 || snapshot_inode(dir) == before)
			break;
	}
	return rc;
}

int list_load(
	const char *dir,
	const struct list_sink *sink,
	struct list_state *ret_state,
	enum list_origin *ret_origin,
	struct text_error *ret_error
)
{
	struct text_error second;
	int rc = current_load(dir, sink, ret_state, ret_error), previous;

	if (rc == 0) {
		*ret_origin = LIST_CURRENT;
		return 0;
	}
	previous = pair_load(
		dir, LIST_RULES ".prev", LIST_JOURNAL ".prev", sink, ret_state, &second
	);
	if (previous == 0) {
		if (rc == -ENOENT) {
			error_file(ret_error, dir, LIST_RULES);
			damaged(ret_error, 0, "missing");
		}
		*ret_origin = LIST_PREVIOUS;
		return 0;
	}
	if (rc == -ENOENT && previous == -ENOENT) {
		*ret_origin = LIST_NONE;
		return 0;
	}
	if (rc == -ENOENT)
		*ret_error = second;
	return -EILSEQ;
}
