// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the Redis source share.
//
//   redis_list.c    instances: connections, timers, status     redis_read.c   full readings
//   redis_hint.c    channels, keyspace, point reads            redis_stream.c streams
//   redis_status.c  JSON and metrics                           redis_conn.c   a connection
//   redis_server.c  where connections are opened
//
// Thread: the event loop.

#pragma once

#include "control/conf.h"
#include "control/control.h"
#include "control/list_member.h"
#include "control/lists_fleet.h"
#include "control/log.h"
#include "control/metrics.h"
#include "control/sources/redis_conn.h"
#include "control/sources/redis_list.h"
#include "control/sources/redis_server.h"

struct event;

enum list_type {
	TYPE_UNKNOWN,
	TYPE_NONE, // no such key
	TYPE_SET,
	TYPE_HASH,
	TYPE_ZSET,
	TYPE_STREAM,
	TYPE_STRING,
};

enum read_step {
	READ_IDLE,
	READ_BEFORE, // type, metadata
	READ_SIZE, // cardinality
	READ_SCAN,
	READ_AFTER, // all of these again
	READ_MERGE, // the worker compares
};

struct list_meta {
	bool there;
	char version[64];
	int64_t count; // -1: none
};

struct redis_list {
	struct redis_instance *instance;
	const struct conf_redis_list *conf;
	uint32_t id;
	enum list_type type;
	enum read_step step;
	unsigned generation; // of readings: what comes for an older one is not looked at
	struct event *timer; // the next full reading
	struct event *pace; // the worker is busy
	bool again; // asked for while one was under way
	bool accept_empty; // by an operator: a missing key is an empty list
	int64_t began_ms, read_ms; // monotonic; of the last reading that counted
	char cursor[24];
	int64_t size, size_after, offset;
	struct list_meta meta, meta_after;
	uint64_t disagreed, unavailable, hints, points; // since the start
	bool missing;
	char why[160]; // it is not read, or not believed; "": all is well
	// stream
	char last_id[48]; // of the records taken
	int64_t ordinal; // how many were ever added up to it; -1: not known
	char marked_id[48]; // of those whose effect is asked for, and
	int64_t marked_ordinal;
	bool info_due;
	bool anew; // what the XREAD under way brings was asked for by an id of another stream
	bool gap; // records were trimmed before they were seen, and no operator has settled it
};

struct redis_instance {
	struct control *control;
	const struct conf_redis *conf;
	struct redis_server *server;
	struct redis_conn *commands, *messages, *streams;
	struct redis_list *lists;
	size_t n;
	char why[160];
	char policy[32]; // maxmemory-policy, "" unknown
	bool has_streams, reading_streams;
	struct event *policy_timer;
};

struct redis_lists {
	struct control *control;
	struct evdns_base *dns;
	struct redis_instance *instances;
	size_t n;
};

int64_t redis_now_ms(void);
struct lists *redis_store(const struct redis_list *);

// --- redis_read.c
void read_soon(struct redis_list *, unsigned ms); // the earlier of this and what is set
void read_lost(struct redis_list *); // the connection went
void read_merged(void *list, const struct list_result *);
void read_fail(struct redis_list *, const char *why, unsigned again_ms);
void read_timer(int fd, short what, void *list);
void read_pace(int fd, short what, void *list);
enum list_type list_type_of(const char *name);
const char *list_type_name(enum list_type);

// --- redis_hint.c
void hints_subscribe(struct redis_instance *);

// --- redis_stream.c
void streams_begin(struct redis_instance *);
void streams_lost(struct redis_instance *);
void stream_load(struct redis_list *); // where the last run stopped
void stream_settled(struct redis_list *); // by an operator: what was missed is no alarm any more
