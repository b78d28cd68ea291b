// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/listfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const uint8_t list_sum_key[16] = {0};

int list_path(const char *dir, const char *name, char ret_path[LIST_PATH_MAX])
{
	int n = snprintf(ret_path, LIST_PATH_MAX, "%s%s%s", dir, *dir ? "/" : "", name);

	return n < 0 || n >= LIST_PATH_MAX ? -ENAMETOOLONG : 0;
}

int list_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

void list_remove(const char *dir, const char *name)
{
	char path[LIST_PATH_MAX];

	if (list_path(dir, name, path) == 0)
		unlink(path);
}

int list_sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

void ledger_id_print(const uint8_t id[static LEDGER_ID_LEN], char text[2 * LEDGER_ID_LEN + 1])
{
	digest_print(digest_unpack(id), text);
}

int ledger_id_parse(const char *text, size_t len, uint8_t ret_id[static LEDGER_ID_LEN])
{
	char copy[DIGEST_TEXT_MAX];
	struct digest d;

	if (len != 32)
		return -EINVAL;
	memcpy(copy, text, 32);
	copy[32] = '\0';
	if (digest_parse(copy, &d) < 0)
		return -EINVAL;
	digest_pack(d, ret_id);
	return 0;
}

void list_state_print(const struct list_state *s, char text[LIST_HEADER_MAX])
{
	char id[DIGEST_TEXT_MAX], digest[DIGEST_TEXT_MAX];

	ledger_id_print(s->ledger_id, id);
	digest_print(s->digest, digest);
	snprintf(
		text,
		LIST_HEADER_MAX,
		"ledger=%s revision=%llu.%llu count=%llu digest=%s",
		id,
		(unsigned long long)s->revision.epoch,
		(unsigned long long)s->revision.number,
		(unsigned long long)s->count,
		digest
	);
}

int list_number_read(const char **at, const char *end, char stop, uint64_t *ret_number)
{
	uint64_t value = 0;
	const char *p = *at;

	while (p < end && *p >= '0' && *p <= '9' && p - *at < 20) {
		if (__builtin_mul_overflow(value, 10, &value)
		    || __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return -EINVAL;
		p++;
	}
	if (p == *at || (stop ? p >= end || *p != stop : p != end))
		return -EINVAL;
	*at = stop ? p + 1 : p;
	*ret_number = value;
	return 0;
}

static int key_read(const char **at, const char *end, const char *key)
{
	size_t n = strlen(key);

	if ((size_t)(end - *at) < n || memcmp(*at, key, n) != 0)
		return -EINVAL;
	*at += n;
	return 0;
}

int list_state_parse(const char *text, size_t len, struct list_state *ret_state)
{
	const char *at = text, *end = text + len;
	struct list_state s = {0};
	uint8_t digest[16];

	if (key_read(&at, end, "ledger=") < 0 || end - at < 33
	    || ledger_id_parse(at, 32, s.ledger_id) < 0 || at[32] != ' ')
		return -EINVAL;
	at += 33;
	if (key_read(&at, end, "revision=") < 0
	    || list_number_read(&at, end, '.', &s.revision.epoch) < 0
	    || list_number_read(&at, end, ' ', &s.revision.number) < 0
	    || key_read(&at, end, "count=") < 0 || list_number_read(&at, end, ' ', &s.count) < 0
	    || key_read(&at, end, "digest=") < 0 || end - at != 32
	    || ledger_id_parse(at, 32, digest) < 0)
		return -EINVAL;
	s.digest = digest_unpack(digest);
	*ret_state = s;
	return 0;
}
