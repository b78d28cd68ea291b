// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Reading lists: files written by hand, and the pair of snapshot and journal.

#include "rules/listfile.h"
#include "rules/siphash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER "stanch-rules 1 "
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

// Statements of a text, numbered from `line`.
static int statements_read(
	const char *text,
	size_t len,
	size_t line,
	const struct statement_sink *sink,
	struct text_error *ret_error
)
{
	const char *end = text + len;

	for (; text < end; line++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *stop = newline ? newline : end;
		struct statement s;
		int rc = statement_parse(text, (size_t)(stop - text), &s, ret_error);

		if (rc < 0) {
			ret_error->line = line;
			return rc;
		}
		if (s.kind == STATEMENT_ENTRY)
			rc = sink->entry(sink->ctx, &s.entry);
		else if (s.kind == STATEMENT_EXCEPTION)
			rc = sink->exception(sink->ctx, &s.exception);
		if (rc < 0) {
			damaged(ret_error, line, strerror(-rc));
			return rc;
		}
		text = stop + 1;
	}
	return 0;
}

// Header and closing line of a snapshot. On success the body is what lies between them.
static int snapshot_verify(
	const char *text,
	size_t len,
	struct list_state *ret_state,
	const char **ret_body,
	size_t *ret_body_len,
	struct text_error *ret_error
)
{
	const char *newline = memchr(text, '\n', len);
	const char *closing = len < CLOSING_LEN ? text : text + len - CLOSING_LEN;
	size_t head = sizeof(HEADER) - 1;
	char want[CLOSING_LEN + 1];

	if (!newline || (size_t)(newline - text) < head || memcmp(text, HEADER, head) != 0
	    || list_state_parse(text + head, (size_t)(newline - text) - head, ret_state) < 0)
		return damaged(ret_error, 1, "not the header of a snapshot");
	if (closing <= newline)
		return damaged(ret_error, 0, "cut short: the closing line is missing");
	snprintf(
		want,
		sizeof(want),
		"end checksum=%016llx\n",
		(unsigned long long)siphash64(list_sum_key, text, len - CLOSING_LEN)
	);
	if (memcmp(closing, "end checksum=", 13) != 0)
		return damaged(ret_error, 0, "cut short: the closing line is missing");
	if (memcmp(closing, want, CLOSING_LEN) != 0)
		return damaged(ret_error, 0, "the checksum of the closing line does not verify");
	*ret_body = newline + 1;
	*ret_body_len = (size_t)(closing - newline - 1);
	return 0;
}

int rules_read(const char *path, const struct statement_sink *sink, struct text_error *ret_error)
{
	char *text = NULL;
	const char *body;
	size_t len, body_len;
	struct list_state state;
	int rc;

	error_file(ret_error, NULL, path);
	rc = list_file_read("", path, &text, &len);
	if (rc < 0) {
		damaged(ret_error, 0, strerror(-rc));
		return rc;
	}
	if (len >= sizeof(HEADER) - 1 && memcmp(text, HEADER, sizeof(HEADER) - 1) == 0) {
		rc = snapshot_verify(text, len, &state, &body, &body_len, ret_error);
		if (rc == 0)
			rc = statements_read(body, body_len, 2, sink, ret_error);
	} else {
		rc = statements_read(text, len, 1, sink, ret_error);
	}
	free(text);
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
	char *text = NULL;
	const char *body;
	size_t len, body_len;
	int rc = list_file_read(dir, name, &text, &len);

	if (rc == -ENOENT)
		return rc;
	error_file(ret_error, dir, name);
	if (rc < 0)
		return damaged(ret_error, 0, strerror(-rc));
	rc = snapshot_verify(text, len, ret_state, &body, &body_len, ret_error);
	if (rc == 0)
		rc = statements_read(body, body_len, 2, &statements, ret_error);
	free(text);
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
	char *text = NULL;
	const char *body;
	size_t len, body_len;
	int rc = list_file_read(dir, LIST_RULES, &text, &len);

	error_file(ret_error, dir, LIST_RULES);
	if (rc < 0) {
		damaged(ret_error, 0, strerror(-rc));
		return rc == -ENOENT ? rc : -EILSEQ;
	}
	rc = snapshot_verify(text, len, &state, &body, &body_len, ret_error);
	free(text);
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
