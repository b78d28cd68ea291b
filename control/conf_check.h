// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the pieces of the configuration's loader share: messages, and the check of the meaning.
//
// Thread: the event loop.

#pragma once

#include "control/conf_keys.h"

#define PATH_MAX_KEY 256

// Lines for people; what does not fit is counted.
struct conf_messages {
	char *text; // CONF_MESSAGE_MAX
	size_t len;
	unsigned errors, hidden;
};

// "path: reason" as a line.
void conf_error(struct conf_messages *, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void conf_warning(struct conf_messages *, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

// Defaults, limits and files by the table. 0, or -ENOMEM.
int conf_keys_apply(const struct conf_key *, void *of, const char *path, bool check_files, struct conf_messages *);
// What no single key says.
void conf_check(struct conf *, bool check_files, struct conf_messages *);
// 1 to `max` of A-Z a-z 0-9 . _ -
bool conf_word_plain(const char *text, size_t max);

// --- conf_redis.c
// `path`: of the section, as "control.redis[0]".
void conf_redis_server_check(const struct conf_redis_server *, const char *path, bool check_files, struct conf_messages *);
void conf_redis_check(struct conf *, size_t index, bool check_files, struct conf_messages *);

// --- conf_fleet.c: conf->fleet, which is there
void conf_fleet_check(struct conf *, bool check_files, struct conf_messages *);
