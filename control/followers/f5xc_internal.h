// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What f5xc.c and f5xc_status.c share.
//
// Thread: the event loop.

#pragma once

#include "control/followers/f5xc.h"
#include "control/followers/f5xc_wanted.h"

// One set. The step under way is told by what was asked last.
struct shard {
	struct f5xc *owner;
	int family;
	char name[80];
	struct f5xc_wanted wanted;
	size_t n_rows; // prefixes that the set should hold, the one that stays included
	struct f5xc_prefix *held; // as read last, sorted
	size_t n_held;
	json_t *read; // the last answer to GET; NULL: not known, or not there
	bool busy, due, missing;
	struct f5xc_row *sent; // of the last write (prefixes only), until it is read back
	size_t n_sent;
	struct f5xc_referrers referrers;
	size_t asked; // which of them
	int64_t written_ms; // monotonic: of the last PUT or POST
	int64_t family_refused_ms; // monotonic: the tenant refuses it, no create before; 0: not so
	unsigned family_wait_s;
	unsigned backoff_ms;
	int64_t next_ms; // wall clock: of the next step, where one waits
	bool full; // as told in the log
	bool disabled; // as read last
	char error[F5XC_WHY_MAX], family_why[F5XC_WHY_MAX];
	struct event *timer;
};

struct f5xc {
	struct control *control;
	const struct conf_f5xc *conf;
	struct http_client *client;
	char *authorization;
	bool token_doubted; // refused: the file may hold a newer one
	struct shard shards[2];
	struct event *reconcile;
	int64_t last_ok_ms;
};

bool f5xc_shard_waits(const struct shard *); // for its back-off or its interval
// After requests of others for this shard: busy no more, and compared with what was read before.
void f5xc_shard_again(struct shard *);
int64_t f5xc_now_ms(void); // monotonic
