// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What snapshot.c, journal.c and listread.c share: names of files, headers, whole writes.

#pragma once

#include "rules/snapshot.h"

#define LIST_RULES "deny.rules"
#define LIST_JOURNAL "deny.journal"
#define LIST_PATH_MAX 4096
#define LIST_HEADER_MAX 256

extern const uint8_t list_sum_key[16];

int list_path(const char *dir, const char *name, char ret_path[LIST_PATH_MAX]);
int list_write_all(int fd, const void *data, size_t len); // -errno
int list_sync_dir(const char *dir);
// The whole file in memory, with a NUL behind it. -ENOENT where there is none.
int list_file_read(const char *dir, const char *name, char **ret_text, size_t *ret_len);

// "ledger=<hex> revision=<e>.<n> count=<n> digest=<hex>", without a newline.
void list_state_print(const struct list_state *, char text[LIST_HEADER_MAX]);
int list_state_parse(const char *text, size_t len, struct list_state *ret_state);
void ledger_id_print(const uint8_t id[static LEDGER_ID_LEN], char text[2 * LEDGER_ID_LEN + 1]);
int ledger_id_parse(const char *text, size_t len, uint8_t ret_id[static LEDGER_ID_LEN]);

void list_remove(const char *dir, const char *name); // where it is there

// `dir`/deny.journal.tmp for a new snapshot of this state: header, and the batches of the present
// journal behind `from` octets that are as new or newer.
int journal_create(const char *dir, const struct list_state *, uint64_t from);

// One verified batch of a journal held in memory. Returns octets read, 0 at the end or at a batch
// cut short (ret_torn tells), or -EILSEQ for damage with the reason.
struct journal_batch {
	struct list_state after; // ledger_id: not set
	const char *lines; // the lines between "batch" and "sum"
	size_t lines_len;
};
long journal_batch_read(
	const char *text,
	size_t len,
	struct journal_batch *ret_batch,
	bool *ret_torn,
	const char **ret_reason
);
// The journal's first line. Returns its octets with the newline, or -EILSEQ.
struct journal_header {
	uint8_t ledger_id[LEDGER_ID_LEN];
	struct revision base;
};
long journal_header_read(const char *text, size_t len, struct journal_header *ret_header);
// A decimal number up to `stop` ('\0': up to the end); moves *at behind it. -EINVAL.
int list_number_read(const char **at, const char *end, char stop, uint64_t *ret_number);
