// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/resolvers.h"

#include "control/protect.h"

#include <event2/event.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX 16384
#define AGAIN_S 300 // noted anew, so that "last seen" stays true

struct resolvers {
	struct protect *protect;
	struct event *timer;
	char path[256];
	struct timespec mtime;
	ino_t inode;
	time_t noted; // monotonic seconds
};

static const struct timeval look_every = {.tv_sec = 5};

static bool server_note(struct protect *protect, const char *text, size_t len)
{
	char address[64];
	const char *zone = memchr(text, '%', len); // fe80::1%eth0
	if (zone)
		len = (size_t)(zone - text);
	if (len == 0 || len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	uint8_t addr[16] = {0};
	uint8_t family = inet_pton(AF_INET, address, addr) == 1 ? 4
		: inet_pton(AF_INET6, address, addr) == 1	? 6
								: 0;
	if (!family)
		return false;
	protect_derived_note(protect, "resolver", IPPROTO_UDP, family, addr, 53);
	protect_derived_note(protect, "resolver", IPPROTO_TCP, family, addr, 53);
	return true;
}

size_t resolvers_note(struct protect *protect, const char *text, size_t len)
{
	size_t n = 0;
	for (size_t at = 0; at < len;) {
		const char *line = text + at;
		const char *end = memchr(line, '\n', len - at);
		size_t line_len = end ? (size_t)(end - line) : len - at;
		at += line_len + 1;
		if (line_len < 11 || strncmp(line, "nameserver", 10) != 0
		    || !strchr(" \t", line[10]))
			continue;
		size_t from = 10;
		while (from < line_len && strchr(" \t", line[from]))
			from++;
		size_t to = from;
		while (to < line_len && !strchr(" \t\r#;", line[to]))
			to++;
		n += server_note(protect, line + from, to - from);
	}
	return n;
}

static void look(evutil_socket_t ignored, short what, void *ctx)
{
	(void)ignored;
	(void)what;
	struct resolvers *resolvers = ctx;
	struct stat st;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (stat(resolvers->path, &st) < 0)
		return; // perhaps being replaced
	bool same = st.st_ino == resolvers->inode && st.st_mtim.tv_sec == resolvers->mtime.tv_sec
		&& st.st_mtim.tv_nsec == resolvers->mtime.tv_nsec;
	if (same && now.tv_sec - resolvers->noted < AGAIN_S)
		return;
	int fd = open(resolvers->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return;
	char text[FILE_MAX];
	ssize_t len = read(fd, text, sizeof(text));
	close(fd);
	if (len < 0)
		return;
	resolvers_note(resolvers->protect, text, (size_t)len);
	resolvers->inode = st.st_ino;
	resolvers->mtime = st.st_mtim;
	resolvers->noted = now.tv_sec;
}

int resolvers_create(
	struct event_base *base,
	struct protect *protect,
	const char *path,
	struct resolvers **ret_resolvers
)
{
	struct resolvers *resolvers = calloc(1, sizeof(*resolvers));
	if (!resolvers)
		return -ENOMEM;
	resolvers->protect = protect;
	snprintf(resolvers->path, sizeof(resolvers->path), "%s", path);
	resolvers->timer = event_new(base, -1, EV_PERSIST, look, resolvers);
	if (!resolvers->timer) {
		free(resolvers);
		return -ENOMEM;
	}
	look(-1, 0, resolvers);
	event_add(resolvers->timer, &look_every);
	*ret_resolvers = resolvers;
	return 0;
}

void resolvers_free(struct resolvers *resolvers)
{
	if (!resolvers)
		return;
	event_free(resolvers->timer);
	free(resolvers);
}
