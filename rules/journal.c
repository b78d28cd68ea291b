// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The journal: appending batches, and reading one.

#include "rules/listfile.h"
#include "rules/siphash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER "stanch-journal 1 ledger="
#define SUM_LINE (sizeof("sum 0123456789abcdef\n") - 1)

struct journal {
	int fd;
	uint64_t size;
	bool broken; // a write failed: the end of the file is unknown until it is opened anew
};

int list_file_read(const char *dir, const char *name, char **ret_text, size_t *ret_len)
{
	char path[LIST_PATH_MAX], *text;
	struct stat st;
	size_t len = 0;
	int fd, rc = list_path(dir, name, path);

	if (rc < 0)
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !(text = malloc((size_t)st.st_size + 1))) {
		rc = errno ? -errno : -ENOMEM;
		close(fd);
		return rc;
	}
	while (len < (size_t)st.st_size) {
		ssize_t n = read(fd, text + len, (size_t)st.st_size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	close(fd);
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
}

long journal_header_read(const char *text, size_t len, uint8_t ret_id[static LEDGER_ID_LEN])
{
	size_t head = strlen(HEADER), want = head + 32 + 1;

	if (len < want || memcmp(text, HEADER, head) != 0 || text[want - 1] != '\n'
	    || ledger_id_parse(text + head, 32, ret_id) < 0)
		return -EILSEQ;
	return (long)want;
}

// "batch revision=E.N count=C digest=D lines=K": the state part is list_state_parse's but for the
// ledger, which the journal's header names once.
static int
batch_line_parse(const char *line, size_t len, struct list_state *ret_after, size_t *ret_lines)
{
	static const char none[] = "ledger=00000000000000000000000000000000 ";
	char copy[LIST_HEADER_MAX], *lines, *end;
	size_t head = sizeof("batch ") - 1, n;

	if (len < head || len > 160 || memcmp(line, "batch ", head) != 0)
		return -EINVAL;
	n = sizeof(none) - 1;
	memcpy(copy, none, n);
	memcpy(copy + n, line + head, len - head);
	copy[n + len - head] = '\0';
	lines = strstr(copy, " lines=");
	if (!lines || lines[7] < '0' || lines[7] > '9')
		return -EINVAL;
	*ret_lines = strtoul(lines + 7, &end, 10);
	if (*end != '\0')
		return -EINVAL;
	return list_state_parse(copy, (size_t)(lines - copy), ret_after);
}

static long torn(bool *ret_torn)
{
	*ret_torn = true;
	return 0;
}

long journal_batch_read(
	const char *text,
	size_t len,
	struct journal_batch *ret_batch,
	bool *ret_torn,
	const char **ret_reason
)
{
	const char *newline = memchr(text, '\n', len), *at, *end = text + len;
	struct journal_batch b;
	char sum[SUM_LINE + 1];
	size_t lines;

	*ret_torn = false;
	if (len == 0)
		return 0;
	if (!newline)
		return torn(ret_torn);
	if (batch_line_parse(text, (size_t)(newline - text), &b.after, &lines) < 0) {
		*ret_reason = "not the first line of a batch";
		return -EILSEQ;
	}
	b.lines = at = newline + 1;
	for (size_t i = 0; i < lines; i++) {
		newline = memchr(at, '\n', (size_t)(end - at));
		if (!newline)
			return torn(ret_torn);
		at = newline + 1;
	}
	b.lines_len = (size_t)(at - b.lines);
	if ((size_t)(end - at) < SUM_LINE)
		return torn(ret_torn);
	snprintf(
		sum,
		sizeof(sum),
		"sum %016llx\n",
		(unsigned long long)siphash64(list_sum_key, text, (size_t)(at - text))
	);
	if (memcmp(at, sum, SUM_LINE) != 0) {
		*ret_reason = "the batch's checksum does not verify";
		return -EILSEQ;
	}
	*ret_batch = b;
	return at + SUM_LINE - text;
}

int journal_create(const char *dir, const struct list_state *state)
{
	char path[LIST_PATH_MAX], header[LIST_HEADER_MAX], id[2 * LEDGER_ID_LEN + 1], *old = NULL;
	uint8_t old_id[LEDGER_ID_LEN];
	size_t len = 0;
	long at, n;
	int fd, rc = list_path(dir, LIST_JOURNAL ".tmp", path);

	if (rc < 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	ledger_id_print(state->ledger_id, id);
	snprintf(header, sizeof(header), HEADER "%s\n", id);
	rc = list_write_all(fd, header, strlen(header));
	if (rc == 0 && list_file_read(dir, LIST_JOURNAL, &old, &len) == 0
	    && (at = journal_header_read(old, len, old_id)) > 0
	    && memcmp(old_id, state->ledger_id, LEDGER_ID_LEN) == 0) {
		struct journal_batch b;
		const char *reason;
		bool cut;

		while (rc == 0
		       && (n = journal_batch_read(old + at, len - (size_t)at, &b, &cut, &reason))
			       > 0) {
			if (revision_compare(b.after.revision, state->revision) >= 0)
				rc = list_write_all(fd, old + at, (size_t)n);
			at += n;
		}
	}
	free(old);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

// Length of what verifies: the header and whole batches.
static int good_length(const char *text, size_t len, size_t *ret_good)
{
	uint8_t id[LEDGER_ID_LEN];
	struct journal_batch b;
	const char *reason;
	bool cut;
	long n, at = journal_header_read(text, len, id);

	if (at < 0)
		return -EILSEQ;
	while ((n = journal_batch_read(text + at, len - (size_t)at, &b, &cut, &reason)) > 0)
		at += n;
	if (n < 0)
		return -EILSEQ;
	*ret_good = (size_t)at;
	return 0;
}

int journal_open(const char *dir, struct journal **ret_journal)
{
	char path[LIST_PATH_MAX], *text;
	struct journal *j;
	size_t len, good = 0;
	int rc = list_path(dir, LIST_JOURNAL, path);

	if (rc == 0)
		rc = list_file_read(dir, LIST_JOURNAL, &text, &len);
	if (rc < 0)
		return rc;
	rc = good_length(text, len, &good);
	free(text);
	if (rc < 0)
		return rc;
	j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	j->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (j->fd < 0 || ftruncate(j->fd, (off_t)good) < 0) {
		rc = -errno;
		journal_close(j);
		return rc;
	}
	j->size = good;
	*ret_journal = j;
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	if (j->fd >= 0)
		close(j->fd);
	free(j);
}

uint64_t journal_size(const struct journal *j)
{
	return j->size;
}

static void batch_print(
	FILE *f,
	const struct list_state *after,
	const struct change *changes,
	size_t n_changes,
	const struct exception *exceptions,
	size_t n_exceptions
)
{
	char line[TEXT_LINE_MAX], digest[DIGEST_TEXT_MAX];

	digest_print(after->digest, digest);
	fprintf(f,
		"batch revision=%llu.%llu count=%llu digest=%s lines=%zu\n",
		(unsigned long long)after->revision.epoch,
		(unsigned long long)after->revision.number,
		(unsigned long long)after->count,
		digest,
		n_changes + n_exceptions);
	for (size_t i = 0; i < n_changes; i++) {
		if (changes[i].op == CHANGE_PUT)
			entry_print(&changes[i].entry, line);
		else
			indicator_print(&changes[i].entry.indicator, line);
		fprintf(f, "%c %s\n", changes[i].op == CHANGE_PUT ? '+' : '-', line);
	}
	for (size_t i = 0; i < n_exceptions; i++) {
		exception_print(&exceptions[i], line);
		fprintf(f, "! %s\n", line);
	}
}

int journal_append(
	struct journal *j,
	const struct list_state *after,
	const struct change *changes,
	size_t n_changes,
	const struct exception *exceptions,
	size_t n_exceptions
)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	int rc = 0;

	if (j->broken)
		return -EIO;
	f = open_memstream(&text, &len);
	if (!f)
		return -ENOMEM;
	batch_print(f, after, changes, n_changes, exceptions, n_exceptions);
	fflush(f);
	fprintf(f, "sum %016llx\n", (unsigned long long)siphash64(list_sum_key, text, len));
	if (fclose(f) != 0) {
		free(text);
		return -ENOMEM;
	}
	rc = list_write_all(j->fd, text, len);
	if (rc == 0 && fdatasync(j->fd) < 0)
		rc = -errno;
	free(text);
	if (rc == 0)
		j->size += len;
	else if (ftruncate(j->fd, (off_t)j->size) < 0)
		j->broken = true; // half a batch stays: the next opening cuts it off
	return rc;
}
