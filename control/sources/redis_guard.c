// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/sources/redis_guard.h"

#include <hiredis/hiredis.h>

#include <string.h>

// Of hiredis's 0.14 redisProcessCallbacks: an answer is a command's where one waits, else a message
// where a channel was subscribed to.
static bool is_message(const redisAsyncContext *redis)
{
	return !redis->replies.head && (redis->c.flags & REDIS_SUBSCRIBED);
}

// {"message", channel, …}, {"pmessage", pattern, channel, …}, {"subscribe", channel, number}; we
// never unsubscribe.
static bool message_fits(const redisReadTask *task, const char *text, size_t len)
{
	if (task->idx > 1)
		return true;
	if (task->type != REDIS_REPLY_STRING)
		return false;
	return task->idx == 1 || !memmem(text, len < 16 ? len : 16, "unsub", 5);
}

static bool fits(const redisReadTask *task, const char *text, size_t len)
{
	struct redis_guard *guard = task->privdata;
	const redisAsyncContext *redis = guard->redis;
	bool good = true;

	if (!task->parent && !is_message(redis))
		// An error that nobody asked for is handled: it ends the connection.
		good = redis->replies.head || task->type == REDIS_REPLY_ERROR;
	else if (!task->parent)
		good = task->type == REDIS_REPLY_ARRAY || task->type == REDIS_REPLY_ERROR;
	else if (!task->parent->parent && is_message(redis))
		good = message_fits(task, text, len);
	guard->refused = guard->refused || !good;
	return good;
}

static void *string_create(const redisReadTask *task, char *text, size_t len)
{
	struct redis_guard *guard = task->privdata;

	return fits(task, text, len) ? guard->plain->createString(task, text, len) : NULL;
}

static void *array_create(const redisReadTask *task, int n)
{
	struct redis_guard *guard = task->privdata;
	bool message = !task->parent && is_message(guard->redis);

	if (n > REDIS_ELEMENTS_MAX || (message && (n < 3 || n > 4)))
		guard->refused = true;
	else if (fits(task, "", 0))
		return guard->plain->createArray(task, n);
	return NULL;
}

static void *integer_create(const redisReadTask *task, long long number)
{
	struct redis_guard *guard = task->privdata;

	return fits(task, "", 0) ? guard->plain->createInteger(task, number) : NULL;
}

static void *nil_create(const redisReadTask *task)
{
	struct redis_guard *guard = task->privdata;
	// XXX: a nil's task still has the type of what it could have been.
	redisReadTask nil = *task;

	nil.type = REDIS_REPLY_NIL;
	return fits(&nil, "", 0) ? guard->plain->createNil(task) : NULL;
}

void redis_guard_set(struct redis_guard *guard, redisAsyncContext *redis)
{
	static redisReplyObjectFunctions guarded = {
		.createString = string_create,
		.createArray = array_create,
		.createInteger = integer_create,
		.createNil = nil_create,
	};

	*guard = (struct redis_guard){.redis = redis, .plain = redis->c.reader->fn};
	guarded.freeObject = guard->plain->freeObject;
	redis->c.reader->fn = &guarded;
	redis->c.reader->privdata = guard;
}

bool redis_guard_full(const struct redis_guard *guard)
{
	const redisReader *reader = guard->redis->c.reader;

	return reader->len - reader->pos > REDIS_ANSWER_MAX;
}
