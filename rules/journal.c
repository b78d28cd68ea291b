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

#define HEADER "stanch-journal 1 "
#define SUM_LINE (sizeof("sum 0123456789abcdef\n") - 1)
#define BATCH_LINE_MAX 256 // octets of a "batch" line, more than any has
#define RESERVE (1024 * 1024) // octets kept allocated ahead of the end

struct journal {
	int fd;
	uint64_t size;
	uint64_t reserved; // octets that the file system has allocated
	bool broken; // a write failed: the end of the file is unknown until it is opened anew
};

// At most `max` octets from `from` on, with a NUL behind them.
static int part_read(
	const char *dir,
	const char *name,
	uint64_t from,
	size_t max,
	char **ret_text,
	size_t *ret_len
)
{
	char path[LIST_PATH_MAX], *text;
	struct stat st;
	size_t len = 0, want;
	int fd, rc = list_path(dir, name, path);

	if (rc < 0)
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	want = from < (uint64_t)st.st_size ? (size_t)st.st_size - (size_t)from : 0;
	if (want > max)
		want = max;
	text = malloc(want + 1);
	while (text && len < want) {
		ssize_t n = pread(fd, text + len, want - len, (off_t)(from + len));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	close(fd);
	if (!text)
		return -ENOMEM;
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
}

int list_file_read(const char *dir, const char *name, char **ret_text, size_t *ret_len)
{
	return part_read(dir, name, 0, SIZE_MAX, ret_text, ret_len);
}

static int word_read(const char **at, const char *end, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(end - *at) < n || memcmp(*at, word, n) != 0)
		return -EINVAL;
	*at += n;
	return 0;
}

static uint64_t sum_of(const char *text, size_t len)
{
	return siphash64(list_sum_key, text, len);
}

// " head=<16 hex>" over the octets before it, with which the first line of a file and of a batch
// end. Returns the octets before it, or -EINVAL.
static long head_check(const char *line, size_t len)
{
	char head[32];
	size_t tail = (size_t)snprintf(head, sizeof(head), " head=%016x", 0);

	if (len < tail)
		return -EINVAL;
	len -= tail;
	snprintf(head, sizeof(head), " head=%016llx", (unsigned long long)sum_of(line, len));
	return memcmp(line + len, head, tail) == 0 ? (long)len : -EINVAL;
}

static size_t head_print(char *line, size_t len, size_t room)
{
	return len
		+ (size_t)snprintf(
			line + len,
			room - len,
			" head=%016llx\n",
			(unsigned long long)sum_of(line, len)
		);
}

long journal_header_read(const char *text, size_t len, struct journal_header *ret_header)
{
	const char *at = text, *newline = memchr(text, '\n', len), *end;
	struct journal_header h;
	long n = newline ? head_check(text, (size_t)(newline - text)) : -EINVAL;

	if (n < 0)
		return -EILSEQ;
	end = text + n;
	if (word_read(&at, end, HEADER "ledger=") < 0 || end - at < 33
	    || ledger_id_parse(at, 32, h.ledger_id) < 0)
		return -EILSEQ;
	at += 32;
	if (word_read(&at, end, " base=") < 0 || list_number_read(&at, end, '.', &h.base.epoch) < 0
	    || list_number_read(&at, end, '\0', &h.base.number) < 0)
		return -EILSEQ;
	*ret_header = h;
	return newline + 1 - text;
}

// "batch revision=E.N count=C digest=D octets=O head=H": the state part is list_state_parse's but
// for the ledger, which the journal's header names once.
static int
batch_line_parse(const char *line, size_t len, struct list_state *ret_after, uint64_t *ret_octets)
{
	static const char none[] = "ledger=00000000000000000000000000000000 ";
	char copy[BATCH_LINE_MAX + sizeof(none)];
	const char *at = line, *end, *octets;
	size_t n = sizeof(none) - 1;
	long before;

	if (len > BATCH_LINE_MAX || word_read(&at, line + len, "batch ") < 0)
		return -EINVAL;
	before = head_check(line, len);
	if (before < 0)
		return -EINVAL;
	end = line + before;
	octets = memmem(at, (size_t)(end - at), " octets=", 8);
	if (!octets)
		return -EINVAL;
	memcpy(copy, none, n);
	memcpy(copy + n, at, (size_t)(octets - at));
	n += (size_t)(octets - at);
	octets += 8;
	if (list_number_read(&octets, end, '\0', ret_octets) < 0)
		return -EINVAL;
	return list_state_parse(copy, n, ret_after);
}

static long torn(bool *ret_torn)
{
	*ret_torn = true;
	return 0;
}

static long damage(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return -EILSEQ;
}

long journal_batch_read(
	const char *text,
	size_t len,
	struct journal_batch *ret_batch,
	bool *ret_torn,
	const char **ret_reason
)
{
	const char *newline = memchr(text, '\n', len), *at;
	struct journal_batch b;
	char sum[SUM_LINE + 1];
	uint64_t octets;

	*ret_torn = false;
	if (len == 0)
		return 0;
	// Cut short in its first line: then it is a beginning of one, and nothing else.
	if (!newline && len < BATCH_LINE_MAX && memcmp(text, "batch ", len < 6 ? len : 6) == 0)
		return torn(ret_torn);
	if (!newline || batch_line_parse(text, (size_t)(newline - text), &b.after, &octets) < 0)
		return damage(ret_reason, "not the first line of a batch, or its checksum fails");
	b.lines = newline + 1;
	len -= (size_t)(b.lines - text);
	if (len < SUM_LINE || octets > len - SUM_LINE)
		return torn(ret_torn);
	b.lines_len = octets;
	at = b.lines + octets;
	snprintf(
		sum,
		sizeof(sum),
		"sum %016llx\n",
		(unsigned long long)sum_of(text, (size_t)(at - text))
	);
	if (memcmp(at, sum, SUM_LINE) != 0)
		return damage(ret_reason, "the batch's checksum does not verify");
	if (octets && at[-1] != '\n')
		return damage(ret_reason, "the batch's last line has no end");
	*ret_batch = b;
	return at + SUM_LINE - text;
}

// Where the batches to keep begin in the present journal; -ENOENT: nothing of it is kept.
static int
kept_begin(const char *dir, const struct list_state *state, uint64_t from, uint64_t *ret_begin)
{
	struct journal_header h;
	char *head;
	size_t len;
	long n;

	if (from == UINT64_MAX || part_read(dir, LIST_JOURNAL, 0, LIST_HEADER_MAX, &head, &len) < 0)
		return -ENOENT;
	n = journal_header_read(head, len, &h);
	free(head);
	if (n < 0 || memcmp(h.ledger_id, state->ledger_id, LEDGER_ID_LEN) != 0)
		return -ENOENT;
	*ret_begin = from > (uint64_t)n ? from : (uint64_t)n;
	return 0;
}

// Whole batches of the present journal that are as new as the state, or newer. Of another ledger,
// or damaged: what verifies before the damage counts. What lies before `from` is not even read: a
// list of millions has a journal of tens of megabytes.
static int batches_copy(int fd, const char *dir, const struct list_state *state, uint64_t from)
{
	struct journal_batch b;
	const char *reason;
	char *old;
	size_t len, at = 0;
	bool cut;
	long n;
	int rc = 0;

	if (kept_begin(dir, state, from, &from) < 0
	    || part_read(dir, LIST_JOURNAL, from, SIZE_MAX, &old, &len) < 0)
		return 0;
	while (rc == 0 && at < len
	       && (n = journal_batch_read(old + at, len - at, &b, &cut, &reason)) > 0) {
		if (revision_compare(b.after.revision, state->revision) >= 0)
			rc = list_write_all(fd, old + at, (size_t)n);
		at += (size_t)n;
	}
	free(old);
	return rc;
}

int journal_create(const char *dir, const struct list_state *state, uint64_t from)
{
	char path[LIST_PATH_MAX], header[LIST_HEADER_MAX], id[2 * LEDGER_ID_LEN + 1];
	size_t len;
	int fd, rc = list_path(dir, LIST_JOURNAL ".tmp", path);

	if (rc < 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	ledger_id_print(state->ledger_id, id);
	len = (size_t)snprintf(
		header,
		sizeof(header),
		HEADER "ledger=%s base=%llu.%llu",
		id,
		(unsigned long long)state->revision.epoch,
		(unsigned long long)state->revision.number
	);
	rc = list_write_all(fd, header, head_print(header, len, sizeof(header)));
	if (rc == 0)
		rc = batches_copy(fd, dir, state, from);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

// Length of what verifies: the header and whole batches.
static int good_length(const char *text, size_t len, size_t *ret_good)
{
	struct journal_header h;
	struct journal_batch b;
	const char *reason;
	bool cut;
	long n, at = journal_header_read(text, len, &h);

	if (at < 0)
		return -EILSEQ;
	while ((n = journal_batch_read(text + at, len - (size_t)at, &b, &cut, &reason)) > 0)
		at += n;
	if (n < 0)
		return -EILSEQ;
	*ret_good = (size_t)at;
	return 0;
}

// Where the file system cannot: then there is no reserve.
static void reserve(struct journal *j)
{
	uint64_t want = j->size + RESERVE;

	if (j->reserved >= j->size + RESERVE / 2)
		return;
	if (fallocate(j->fd, FALLOC_FL_KEEP_SIZE, (off_t)j->size, RESERVE) == 0)
		j->reserved = want;
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
	if (j->fd < 0 || (good < len && ftruncate(j->fd, (off_t)good) < 0)) {
		rc = -errno;
		journal_close(j);
		return rc;
	}
	j->size = good;
	reserve(j);
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

static void lines_print(
	FILE *f,
	const struct change *changes,
	size_t n_changes,
	const struct exception *exceptions,
	size_t n_exceptions
)
{
	char line[TEXT_LINE_MAX];

	for (size_t i = 0; i < n_changes; i++) {
		if (changes[i].op == CHANGE_PUT)
			entry_print(&changes[i].entry, line);
		else
			indicator_print(&changes[i].entry.indicator, line);
		fprintf(f, "%c %s\n", changes[i].op == CHANGE_PUT ? '+' : '-', line);
	}
	for (size_t i = 0; exceptions && i < n_exceptions; i++) {
		exception_print(&exceptions[i], line);
		fprintf(f, "! %s\n", line);
	}
	if (exceptions && n_exceptions == 0)
		fputs("! none\n", f);
}

static size_t batch_line_print(const struct list_state *after, size_t octets, char line[512])
{
	char digest[DIGEST_TEXT_MAX];
	int n;

	digest_print(after->digest, digest);
	n = snprintf(
		line,
		512,
		"batch revision=%llu.%llu count=%llu digest=%s octets=%zu",
		(unsigned long long)after->revision.epoch,
		(unsigned long long)after->revision.number,
		(unsigned long long)after->count,
		digest,
		octets
	);
	return head_print(line, (size_t)n, 512);
}

// The batch's octets; free them.
static int batch_print(
	const struct list_state *after,
	const char *lines,
	size_t lines_len,
	char **ret_text,
	size_t *ret_len
)
{
	char *text = malloc(512 + lines_len + SUM_LINE + 1);
	size_t len;

	if (!text)
		return -ENOMEM;
	len = batch_line_print(after, lines_len, text);
	memcpy(text + len, lines, lines_len);
	len += lines_len;
	snprintf(text + len, SUM_LINE + 1, "sum %016llx\n", (unsigned long long)sum_of(text, len));
	*ret_text = text;
	*ret_len = len + SUM_LINE;
	return 0;
}

static int batch_write(struct journal *j, const char *text, size_t len)
{
	int rc = list_write_all(j->fd, text, len);

	if (rc == 0 && fdatasync(j->fd) < 0)
		rc = -errno;
	if (rc == 0) {
		j->size += len;
		reserve(j);
		return 0;
	}
	// Half a batch stays where this fails: the next opening cuts it off.
	if (ftruncate(j->fd, (off_t)j->size) < 0)
		j->broken = true;
	j->reserved = j->size;
	reserve(j);
	return rc;
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
	char *lines = NULL, *text = NULL;
	size_t lines_len = 0, len;
	FILE *f;
	int rc;

	if (j->broken)
		return -EIO;
	f = open_memstream(&lines, &lines_len);
	if (!f)
		return -ENOMEM;
	lines_print(f, changes, n_changes, exceptions, n_exceptions);
	rc = fclose(f) != 0 ? -ENOMEM : batch_print(after, lines, lines_len, &text, &len);
	free(lines);
	if (rc == 0)
		rc = batch_write(j, text, len);
	free(text);
	return rc;
}
