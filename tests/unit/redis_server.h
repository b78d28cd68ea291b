// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A real redis-server in a directory of its own, removed at the end with all that a test put there.

#pragma once

#include "tests/unit/cm.h"

#include <hiredis/hiredis.h>

#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct redis_here {
	char dir[64], socket[96];
	pid_t process;
	redisContext *cli;
};

static inline void redis_init(struct redis_here *r)
{
	snprintf(r->dir, sizeof(r->dir), "/tmp/stanch-fleet-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->socket, sizeof(r->socket), "%s/redis.sock", r->dir);
}

static inline void redis_start(struct redis_here *r)
{
	r->process = fork();
	if (r->process == 0) {
		execlp("redis-server",
		       "redis-server",
		       "--port",
		       "0",
		       "--unixsocket",
		       r->socket,
		       "--dir",
		       r->dir,
		       "--save",
		       "",
		       "--logfile",
		       "log",
		       "--enable-debug-command",
		       "yes",
		       NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000; i++) {
		r->cli = redisConnectUnix(r->socket);
		if (r->cli && !r->cli->err)
			return;
		redisFree(r->cli);
		poll(NULL, 0, 20);
	}
	fail_msg("redis-server does not answer");
}

static inline void redis_end(struct redis_here *r)
{
	if (!r->process)
		return;
	redisFree(r->cli);
	kill(r->process, SIGKILL);
	waitpid(r->process, NULL, 0);
	r->process = 0;
}

static inline int
redis_remove_cb(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void redis_fini(struct redis_here *r)
{
	redis_end(r);
	nftw(r->dir, redis_remove_cb, 8, FTW_DEPTH | FTW_PHYS);
}
