// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A pair of snapshot and journal. The input is two files with an octet 0 between them; `*` in front
// of a file asks for its checksums to be made right first, so that what lies behind them is
// reached.

#include "rules/listfile.h"
#include "rules/siphash.h"
#include "rules/snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void dir_remove(void)
{
	list_remove(dir, LIST_RULES);
	list_remove(dir, LIST_JOURNAL);
	rmdir(dir);
}

static void dir_make(void)
{
	if (dir[0])
		return;
	snprintf(dir, sizeof(dir), "/dev/shm/stanch-fuzz-XXXXXX");
	if (!mkdtemp(dir)) {
		snprintf(dir, sizeof(dir), "/tmp/stanch-fuzz-XXXXXX");
		if (!mkdtemp(dir))
			abort();
	}
	atexit(dir_remove);
}

static int entry_cb(void *ctx, const struct entry *e)
{
	char line[TEXT_LINE_MAX];

	*(unsigned *)ctx += entry_print(e, line) > 0;
	return 0;
}

static int indicator_cb(void *ctx, const struct indicator *n)
{
	char text[INDICATOR_TEXT_MAX];

	*(unsigned *)ctx += indicator_print(n, text) > 0;
	return 0;
}

static int exception_cb(void *ctx, const struct exception *x)
{
	return indicator_cb(ctx, &x->indicator);
}

static int reset_cb(void *ctx)
{
	(void)ctx;
	return 0;
}

static void hex_put(char *at, const char *text, size_t len)
{
	char hex[17];

	snprintf(
		hex, sizeof(hex), "%016llx", (unsigned long long)siphash64(list_sum_key, text, len)
	);
	memcpy(at, hex, 16);
}

// Make "head=", "sum " and "checksum=" right, in the order in which they are looked at.
static void sums_make(char *text, size_t len)
{
	char *batch = text;

	for (char *line = text; line < text + len;) {
		char *newline = memchr(line, '\n', (size_t)(text + len - line));
		size_t n = newline ? (size_t)(newline - line) : 0;

		if (!newline)
			return;
		if (n == 29 && memcmp(line, "end checksum=", 13) == 0)
			hex_put(line + 13, text, (size_t)(line - text));
		else if (n == 20 && memcmp(line, "sum ", 4) == 0)
			hex_put(line + 4, batch, (size_t)(line - batch));
		else if (n > 22 && memcmp(newline - 22, " head=", 6) == 0)
			hex_put(newline - 16, line, n - 22);
		line = newline + 1;
		if (n == 20)
			batch = line;
		else if (n > 22 && memcmp(text, "stanch-journal", 14) == 0 && batch == text)
			batch = line;
	}
}

static void file_write(const char *name, const uint8_t *data, size_t size)
{
	char path[LIST_PATH_MAX];
	bool fix = size && *data == '*';
	char *text = malloc(size + 1);
	int fd;

	if (!text || list_path(dir, name, path) < 0)
		abort();
	if (fix) {
		data++;
		size--;
	}
	memcpy(text, data, size);
	if (fix)
		sums_make(text, size);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || list_write_all(fd, text, size) < 0)
		abort();
	close(fd);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned seen = 0;
	const struct list_sink sink = {
		.exception_reset = reset_cb,
		.exception = exception_cb,
		.put = entry_cb,
		.remove = indicator_cb,
		.reset = reset_cb,
		.ctx = &seen,
	};
	const uint8_t *cut = size ? memchr(data, 0, size) : NULL;
	struct list_state state, again;
	struct text_error error = {0};
	enum list_origin origin = LIST_NONE;
	struct journal *journal;
	int rc;

	dir_make();
	if (!size)
		return 0;
	file_write(LIST_RULES, data, cut ? (size_t)(cut - data) : size);
	if (cut)
		file_write(LIST_JOURNAL, cut + 1, size - (size_t)(cut + 1 - data));
	else
		list_remove(dir, LIST_JOURNAL);
	rc = list_load(dir, &sink, &state, &origin, &error);
	if (rc < 0 && (!error.file[0] || !error.reason[0]))
		abort();
	// What loads verifies, to the same state.
	if (rc == 0
	    && (list_state_read(dir, &again, &error) < 0 || !list_state_equal(&state, &again)))
		abort();
	if (journal_open(dir, &journal) == 0)
		journal_close(journal);
	return 0;
}
