// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What the files of the fleet share.
//
//   fleet.c             life, connections, the tick            fleet_lock.c     lock, lease, epoch
//   fleet_publish.c     records ─▶ log                         fleet_follow.c   log ─▶ ledger
//   fleet_checkpoint.c  the leader writes checkpoints          fleet_resync.c   a follower reads
//   one fleet_up.c          asks, hints, denials                   fleet_beat.c     heartbeats
//   fleet_status.c      JSON, alarms                           fleet_seal.c     MACs
//   fleet_wire.c        what stands in Redis
//
// Two connections: `commands`, and `reader`, which waits in XREAD: on the log while it follows, on
// what comes upward while it leads. All timers are one tick of 100 ms on the monotonic clock.
//
// Thread: the event loop.

#pragma once

#include "control/conf.h"
#include "control/control.h"
#include "control/fleet/fleet.h"
#include "control/fleet/fleet_seal.h"
#include "control/fleet/fleet_wire.h"
#include "control/ledger_fleet.h"
#include "control/log.h"
#include "control/sources/redis_conn.h"

#include <sys/queue.h>

#define FLEET_KEY_NAME_MAX 512
#define FLEET_TICK_MS 100
#define FLEET_SILENT_MS 3000 // a head whose beat does not grow: no leader
#define FLEET_CHUNK_VALUE_MAX (FLEET_MAC_LEN + FLEET_RECORD_MAX)

enum fleet_key {
	KEY_LEADER,
	KEY_EPOCH,
	KEY_HEAD,
	KEY_LOG,
	KEY_SEAL,
	KEY_UP,
	KEY_DENIALS,
	KEY_GATEWAYS,
	FLEET_KEYS,
};

enum fleet_alarm {
	ALARM_REDIS, // not connected
	ALARM_REFUSED, // Redis refuses to write
	ALARM_FORGED, // something is not sealed by our keys
	ALARM_GAP, // records are missing
	ALARM_REWOUND, // Redis shows a state older than ours
	ALARM_UNEQUAL, // our entries are not the leader's
	ALARM_NO_LEADER,
	ALARM_LEADERS, // two leaders, or two gateways of one name
	ALARM_LOCAL, // what operators did here waits for more than a minute
	ALARM_ROOM, // a record cannot be applied
	ALARM_VERSION, // a record of a newer version
	FLEET_ALARMS,
};

enum fleet_duty {
	DUTY_FOLLOWS,
	DUTY_TAKES, // has the lock, reads the log to its end
	DUTY_LEADS,
};

enum fleet_take {
	TAKE_LOOK, // at heartbeats and the top of the log
	TAKE_WAIT, // for an answer, or for records to be applied
	TAKE_CLAIM, // the epoch, in Redis
	TAKE_LEAD, // in the ledger
};

struct fleet_lock {
	char *value; // sealed, of this run
	bool asked; // a script is under way
	bool releasing;
	int64_t asked_ms, lease_until_ms, fence_until_ms;
	int64_t next_try_ms;
	int64_t free_at_ms; // when what holds it ends, as last seen; 0: not seen
	enum fleet_take take;
	bool anew; // it leads, and takes another epoch
	bool fork; // the log goes on where our records do not: a checkpoint is needed behind it
	bool looked_beats, looked_top;
	uint64_t epoch; // to be claimed
	uint64_t redis_epoch, beats_epoch, top_epoch; // seen while it takes
	uint64_t ahead; // gateways that may lead and hold more than we do
	unsigned yielded; // how often it gave way to them
	struct fleet_id top;
	int64_t progress_ms; // of the place, while it waits for records
	struct fleet_id progress;
	size_t progress_chunks;
};

enum fleet_publish_state {
	PUBLISH_LOOK, // the top of the log is not known
	PUBLISH_LOOKING,
	PUBLISH_FLOWS,
};

struct fleet_publish {
	enum fleet_publish_state state;
	uint64_t sent, published; // numbers
	struct fleet_id published_id;
	size_t under_way; // octets
	unsigned generation; // of looks: answers to what was sent before one are not counted
	int64_t again_ms; // not before: Redis refused
	unsigned refusals; // of ids, in a row
	uint64_t base; // our place's number when this term was claimed
	uint64_t since_records, since_octets; // since the last checkpoint began
};

struct fleet_queued {
	STAILQ_ENTRY(fleet_queued) entry;
	struct fleet_record record;
	uint8_t data[];
};

struct fleet_follow {
	STAILQ_HEAD(fleet_queue, fleet_queued) queue;
	size_t octets;
	bool reading; // XREAD under way
	bool settling; // fork or reset under way in the ledger
	bool broken; // an apply failed: read again from our place once none is under way
	unsigned applying;
	struct fleet_id read_id; // of the last one queued
	struct fleet_place expect; // our place when what is under way is applied
	int64_t hold_until_ms;
	bool caught_up; // has seen the end of the log once since it is connected
	bool head_asked;
	struct fleet_head head;
	bool head_known;
	int64_t head_asked_ms, head_grew_ms; // 0: never
	struct fleet_id looked_id; // our place when the head was last seen to grow
	int64_t behind_ms; // since when the head is ahead and nothing comes; 0: it is not
	int64_t compare_ms;
	int64_t forked_ms; // 0: never
};

struct fleet_resync {
	bool wanted;
	bool stalls; // the log cannot be followed without it
	bool running, asking, fetching, ending;
	unsigned generation; // of imports: what comes for an older one is not looked at
	int64_t next_ms, asked_up_ms;
	bool used; // `newer_than` was imported
	struct fleet_id newer_than;
	struct fleet_checkpoint checkpoint;
	uint32_t fetched, imported;
};

struct fleet_export;

struct fleet_write {
	struct fleet_export *export;
	bool current_known; // `current` stands in Redis
	bool paused, broken, exported, sealing, checking;
	bool wanted;
	char why[80];
	struct fleet_checkpoint current, next;
	size_t under_way; // octets
	unsigned generation;
	int64_t began_ms, next_ms, checked_ms, tidy_ms;
	char old[FLEET_CHECKPOINT_NAME_MAX]; // chunks to be unlinked
};

struct fleet_denial {
	STAILQ_ENTRY(fleet_denial) entry;
	uint64_t seq;
	bool sent;
	size_t len;
	uint8_t octets[];
};

struct fleet_reporter; // whose denials were taken: fleet_up.c

struct fleet_up_state {
	uint64_t sent; // asks up to this one
	unsigned under_way; // asks sent or being dealt with
	int64_t sent_ms;
	char id[FLEET_ID_MAX], denials_id[FLEET_ID_MAX], done_id[FLEET_ID_MAX];
	bool reading, checking;
	int64_t hold_until_ms, trimmed_ms;
	STAILQ_HEAD(fleet_denials, fleet_denial) denials;
	size_t denials_octets;
	uint64_t denials_seq;
	struct fleet_reporter *reporters; // uthash
};

struct fleet_beat_state {
	uint64_t beat; // of the heartbeat
	int64_t sent_ms, looked_ms;
	char stranger[FLEET_RUN_MAX]; // another process of our name
	uint64_t stranger_beat;
	int64_t stranger_ms; // when its beat last grew
};

struct fleet_alarm_state {
	bool on;
	int64_t since_ms, last_ms; // wall; monotonic
	uint64_t count;
	char why[192];
};

struct fleet {
	struct control *control;
	struct ledger *ledger;
	const struct conf_fleet *conf;
	struct fleet_events events;
	json_t *(*extra)(void *ctx);
	void *extra_ctx;
	struct fleet_seal *seal;
	struct evdns_base *dns;
	struct redis_server *server;
	struct redis_conn *commands, *reader;
	struct event *tick, *soon;
	char run[FLEET_RUN_MAX];
	char *keys[FLEET_KEYS];
	char *chunks; // "<…>chunks:"
	enum fleet_duty duty;
	struct fleet_lock lock;
	struct fleet_publish publish;
	struct fleet_follow follow;
	struct fleet_terms terms; // of our log; durable
	struct fleet_resync resync;
	struct fleet_write write;
	struct fleet_up_state up;
	struct fleet_beat_state beat;
	struct fleet_alarm_state alarms[FLEET_ALARMS];
	int64_t ready_ms; // commands, since; 0: not connected
	int64_t started_ms;
	uint64_t beats; // of the head
	uint64_t records_in, records_out, octets_in, octets_out, checkpoints_in, checkpoints_out;
	unsigned calls; // of the ledger under way: it is not freed before they are back
	bool freeing;
};

// --- fleet.c
int64_t fleet_now_ms(void); // monotonic
int64_t fleet_wall_ms(void);
// A callback of the ledger is back. False: the fleet is freed, do nothing.
bool fleet_back(struct fleet *);
void fleet_soon(struct fleet *); // a tick at once, from the loop
struct fleet_id fleet_id(const struct fleet *); // our place
bool fleet_up(const struct fleet *); // commands can be sent

void fleet_terms_load(struct fleet *);
void fleet_terms_keep(struct fleet *);

// Its list is the leader's, and whole.
static inline bool fleet_holds(const struct fleet_state *s)
{
	return s->leads || (s->known && s->equal && !s->importing && !s->resync);
}

// --- fleet_status.c
void fleet_alarm(struct fleet *, enum fleet_alarm, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void fleet_alarm_end(struct fleet *, enum fleet_alarm);
const char *fleet_alarm_name(enum fleet_alarm);
// An answer that is an error: REFUSED, logged once.
void fleet_refused(struct fleet *, const char *what, const redisReply *);

// --- fleet_lock.c
void lock_tick(struct fleet *, int64_t now);
void lock_lost(struct fleet *); // the connection
void lock_step_down(struct fleet *, const char *why);
void lock_anew(struct fleet *, const char *why); // leads, and needs another epoch
void lock_release(struct fleet *);

// --- fleet_publish.c
void publish_look(struct fleet *); // the top of the log is in doubt
void publish_pump(struct fleet *);
void publish_tick(struct fleet *, int64_t now);
// The newest entry of the log. 1 there is one, 0 none, -EBADMSG it is not ours.
int publish_top(struct fleet *, const redisReply *, struct fleet_record *ret_record);

// --- fleet_follow.c
void follow_begin(struct fleet *); // from our place
void follow_read(struct fleet *);
void follow_stop(struct fleet *); // what is queued is let go
void follow_tick(struct fleet *, int64_t now);
// Our place is ahead of where the log goes on: back to `base`, what came after it stays and goes
// up.
void follow_part(struct fleet *, const struct fleet_place *base, const char *leader);
bool follow_idle(const struct fleet *); // nothing queued or under way

// --- fleet_resync.c
void resync_want(struct fleet *, enum fleet_alarm, const char *why);
void resync_tick(struct fleet *, int64_t now);
void resync_stop(struct fleet *);

// --- fleet_checkpoint.c
void checkpoint_begin(struct fleet *, bool fork); // it leads
void checkpoint_check(struct fleet *); // does it still stand in Redis?
void checkpoint_want(struct fleet *, const char *why);
void checkpoint_stop(struct fleet *);
void checkpoint_tick(struct fleet *, int64_t now);

// --- fleet_up.c
void up_begin(struct fleet *); // it leads
void up_read(struct fleet *);
void up_tick(struct fleet *, int64_t now);
void up_reconnected(struct fleet *);
void up_resync_ask(struct fleet *);
void up_free(struct fleet *);

// --- fleet_beat.c
void beat_tick(struct fleet *, int64_t now);
// Goes through an HGETALL: the highest epoch, who is ahead of us.
void beat_survey(struct fleet *, const redisReply *);
