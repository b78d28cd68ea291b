// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a Redis may answer. hiredis 0.14 asserts that nobody sends what was not asked for, and that
// messages have their form: a server that does otherwise would end the process. Such answers are
// refused here while they are parsed, which ends the connection.
//
// Thread: the event loop.

#pragma once

#include <hiredis/async.h>

#include <stdbool.h>

#define REDIS_ELEMENTS_MAX (1 << 20) // of one array
#define REDIS_ANSWER_MAX (64 << 20) // octets that came and are no whole answer yet

struct redis_guard {
	redisAsyncContext *redis;
	redisReplyObjectFunctions *plain; // hiredis's own
	bool refused; // something was: the reason for the end of the connection
};

// The guard outlives the context.
void redis_guard_set(struct redis_guard *, redisAsyncContext *);
bool redis_guard_full(const struct redis_guard *); // more than REDIS_ANSWER_MAX; `redis` stands
