// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// ledger.reserve: octets kept on disk for withdrawals, allows and pauses when nothing else is left.
// New blocks are refused while less than half the reserve's size is free beside it; others give it
// up where they need it; it is taken again when three times its size is free. What the write-ahead
// log holds back from ledger.db is at most a quarter of the reserve: its checkpoint finds room.

#include "control/ledger_internal.h"
#include "control/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define RESERVE_MIN (256 << 10)
#define RESERVE_MAX (64 << 20)

static int space_free(const struct ledger *l, uint64_t *ret_free, uint64_t *ret_reserve)
{
	struct statvfs fs;
	uint64_t reserve;

	if (fstatvfs(l->reserve_fd, &fs) < 0)
		return -errno;
	reserve = (uint64_t)fs.f_blocks * fs.f_frsize / 16;
	if (reserve < RESERVE_MIN)
		reserve = RESERVE_MIN;
	if (reserve > RESERVE_MAX)
		reserve = RESERVE_MAX;
	*ret_free = (uint64_t)fs.f_bavail * fs.f_bsize;
	*ret_reserve = reserve;
	return 0;
}

static void reserve_take(struct ledger *l, uint64_t size)
{
	// fallocate, not a hole: the blocks are ours. Where the file system cannot, none is kept.
	if (fallocate(l->reserve_fd, 0, 0, (off_t)size) == 0)
		l->reserve_kept = true;
}

int space_init(struct ledger *l, char message[256])
{
	uint64_t available = 0, reserve = 0;
	char path[4096];

	snprintf(path, sizeof(path), "%s/ledger.reserve", l->dir);
	l->reserve_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l->reserve_fd < 0)
		return -errno;
	if (flock(l->reserve_fd, LOCK_EX | LOCK_NB) < 0) {
		snprintf(message, 256, "%.200s: in use by another stanch-control", path);
		return -EBUSY;
	}
	l->reserve_kept = lseek(l->reserve_fd, 0, SEEK_END) > 0;
	if (space_free(l, &available, &reserve) < 0)
		return -EIO;
	l->checkpoint_pages = (unsigned)(reserve / 4 / 4096);
	space_check(l);
	return 0;
}

void space_check(struct ledger *l)
{
	uint64_t available = 0, reserve = 0;
	bool low;

	if (space_free(l, &available, &reserve) < 0)
		return;
	if (!l->reserve_kept && available >= 3 * reserve)
		reserve_take(l, reserve);
	// With the reserve given up there is room for new blocks only once it is back.
	low = l->reserve_kept ? available < reserve / 2 : available < 3 * reserve;
	if (low && !l->space_low)
		log_error(
			"ledger: %llu KiB free in %s: new blocks are refused; withdrawals, allows "
			"and pauses still work",
			(unsigned long long)(available >> 10),
			l->dir
		);
	if (!low && l->space_low) {
		log_notice("ledger: space in %s again: new blocks are accepted", l->dir);
		ledger_wake_soon(l, LEDGER_ROOM);
	}
	l->space_low = low;
	if (low && available < reserve / 4)
		space_release(l);
}

void space_release(struct ledger *l)
{
	if (!l->reserve_kept)
		return;
	if (ftruncate(l->reserve_fd, 0) < 0)
		log_error("ledger: the reserve cannot be given up: %s", strerror(errno));
	l->reserve_kept = false;
	l->space_low = true;
}

void space_fini(struct ledger *l)
{
	if (l->reserve_fd >= 0)
		close(l->reserve_fd);
}
