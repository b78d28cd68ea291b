// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Writing a snapshot, and what the two files have in common.

#include "rules/snapshot.h"

#include "rules/listfile.h"
#include "rules/siphash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER (256 * 1024)

struct snapshot_writer {
	char dir[LIST_PATH_MAX];
	int fd;
	struct list_state state; // as promised in the header
	uint64_t count; // as written so far
	struct digest digest;
	struct siphash sum;
	uint64_t journal_from;
	bool sealed;
	bool keep; // the current pair verifies: it becomes the previous one
	size_t used;
	char buffer[BUFFER];
};

static int writer_flush(struct snapshot_writer *w)
{
	int rc;

	siphash_update(&w->sum, w->buffer, w->used);
	rc = list_write_all(w->fd, w->buffer, w->used);
	w->used = 0;
	// Piece by piece to the disk: the tens of megabytes of a large list, left for the end,
	// would hold up every fsync of ledger and journal meanwhile. Only a help: fsync makes it
	// durable.
	if (rc == 0)
		sync_file_range(
			w->fd,
			0,
			0,
			SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE
				| SYNC_FILE_RANGE_WAIT_AFTER
		);
	return rc;
}

static int writer_line(struct snapshot_writer *w, const char *line, size_t len)
{
	if (w->used + len + 1 > BUFFER) {
		int rc = writer_flush(w);

		if (rc < 0)
			return rc;
	}
	memcpy(w->buffer + w->used, line, len);
	w->buffer[w->used + len] = '\n';
	w->used += len + 1;
	return 0;
}

int snapshot_create(
	const char *dir, const struct list_state *state, struct snapshot_writer **ret_writer
)
{
	struct snapshot_writer *w;
	char path[LIST_PATH_MAX], text[LIST_HEADER_MAX], header[LIST_HEADER_MAX + 16];
	int len, rc = list_path(dir, LIST_RULES ".tmp", path);

	if (rc < 0)
		return rc;
	w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct snapshot_writer){.state = *state};
	snprintf(w->dir, sizeof(w->dir), "%s", dir);
	siphash_begin(&w->sum, list_sum_key);
	w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (w->fd < 0) {
		rc = -errno;
		free(w);
		return rc;
	}
	list_state_print(state, text);
	len = snprintf(header, sizeof(header), "stanch-rules 1 %s", text);
	rc = writer_line(w, header, (size_t)len);
	if (rc < 0) {
		snapshot_free(w);
		return rc;
	}
	*ret_writer = w;
	return 0;
}

int snapshot_add_entry(struct snapshot_writer *w, const struct entry *e)
{
	char line[TEXT_LINE_MAX];

	digest_add(&w->digest, entry_hash(e));
	w->count++;
	return writer_line(w, line, entry_print(e, line));
}

int snapshot_add_exception(struct snapshot_writer *w, const struct exception *x)
{
	char line[TEXT_LINE_MAX];

	return writer_line(w, line, exception_print(x, line));
}

// The closing line covers all before it, so it is written apart.
int snapshot_seal(struct snapshot_writer *w)
{
	struct list_state present;
	struct text_error ignored;
	char line[64];
	int rc = writer_flush(w), len;

	if (rc < 0)
		return rc;
	if (w->count != w->state.count || !digest_equal(w->digest, w->state.digest))
		return -EILSEQ;
	len = snprintf(
		line,
		sizeof(line),
		"end checksum=%016llx\n",
		(unsigned long long)siphash_end(&w->sum)
	);
	rc = list_write_all(w->fd, line, (size_t)len);
	if (rc == 0 && fsync(w->fd) < 0)
		rc = -errno;
	w->sealed = rc == 0;
	// A damaged pair must not push out the one that is good.
	w->keep = list_state_read(w->dir, &present, &ignored) == 0;
	return rc;
}

void snapshot_journal_from(struct snapshot_writer *w, uint64_t offset)
{
	w->journal_from = offset;
}

static int move(const char *dir, const char *from, const char *to)
{
	char a[LIST_PATH_MAX], b[LIST_PATH_MAX];
	int rc = list_path(dir, from, a);

	if (rc == 0)
		rc = list_path(dir, to, b);
	if (rc == 0 && rename(a, b) < 0)
		rc = -errno;
	return rc;
}

// Give the current file its previous name too; the current name stays until it is replaced.
static int keep_previous(const char *dir, const char *name)
{
	char a[LIST_PATH_MAX], b[LIST_PATH_MAX], previous[64], temporary[64];
	int rc = list_path(dir, name, a);

	snprintf(previous, sizeof(previous), "%s.prev", name);
	snprintf(temporary, sizeof(temporary), "%s.prev.tmp", name);
	if (rc == 0)
		rc = list_path(dir, temporary, b);
	if (rc < 0)
		return rc;
	// Left by a crash; rename does nothing between two names of one file.
	list_remove(dir, temporary);
	if (link(a, b) < 0)
		return -errno;
	rc = move(dir, temporary, previous);
	list_remove(dir, temporary);
	return rc;
}

// A crash between any two of these steps leaves a pair that loads: beside a newer snapshot those
// batches of a journal count that are as new (see list_load). Without a pair that is good the
// journal goes first: a snapshot alone would be damage.
static int pair_replace(const char *dir, bool keep)
{
	static const char *const names[] = {LIST_RULES, LIST_JOURNAL};
	static const char *const temporary[] = {LIST_RULES ".tmp", LIST_JOURNAL ".tmp"};
	int first = keep ? 0 : 1, rc = 0;

	for (int i = 0; keep && rc == 0 && i < 2; i++)
		rc = keep_previous(dir, names[i]);
	if (rc == 0)
		rc = move(dir, temporary[first], names[first]);
	if (rc == 0)
		rc = list_sync_dir(dir);
	if (rc == 0)
		rc = move(dir, temporary[!first], names[!first]);
	return rc < 0 ? rc : list_sync_dir(dir);
}

int snapshot_commit(struct snapshot_writer *w)
{
	int rc = w->sealed ? 0 : snapshot_seal(w);

	if (rc == 0)
		rc = journal_create(w->dir, &w->state, w->journal_from);
	if (rc == 0)
		rc = pair_replace(w->dir, w->keep);
	snapshot_free(w);
	return rc;
}

void snapshot_free(struct snapshot_writer *w)
{
	if (!w)
		return;
	close(w->fd);
	// After a commit the names are gone; on a full disk what was given up must not stay.
	list_remove(w->dir, LIST_RULES ".tmp");
	list_remove(w->dir, LIST_JOURNAL ".tmp");
	free(w);
}
