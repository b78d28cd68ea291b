// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// When the next request to F5 may go: a token bucket, what 429 and Retry-After ask for, and a
// breaker that opens after failures in a row and lets one probe through. Pure: the caller has the
// clock.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define F5XC_BREAKER_FAILURES 5

struct f5xc_pace {
	double per_ms, tokens;
	unsigned burst;
	int64_t filled_ms; // when the tokens were counted
	int64_t not_before_ms; // 429, or the breaker
	unsigned failures; // in a row: no answer, 5xx
	unsigned wait_ms; // of the last one
	bool open; // failures enough: only one probe, when its time has come
};

void f5xc_pace_init(struct f5xc_pace *, unsigned per_minute, unsigned burst, int64_t now_ms);
// Milliseconds until a request may go that leaves `reserve` tokens for more urgent ones.
int64_t f5xc_pace_wait(struct f5xc_pace *, int64_t now_ms, unsigned reserve);
void f5xc_pace_take(struct f5xc_pace *, int64_t now_ms);
void f5xc_pace_good(struct f5xc_pace *);
// Too many requests: everything waits. retry_after: seconds, less than 1: not said.
void f5xc_pace_limited(struct f5xc_pace *, int64_t now_ms, long retry_after, long jitter_ms);
// No answer, or 5xx. retry_after as above.
void f5xc_pace_failed(struct f5xc_pace *, int64_t now_ms, long retry_after, long jitter_ms);
const char *f5xc_pace_state(const struct f5xc_pace *, int64_t now_ms); // closed, open, half-open

// Milliseconds until the next try. Retry-After (seconds; none, nonsense: 0 or less) counts where it
// is longer than the back-off, up to 5 minutes: F5's limits are of so many a minute, and no server
// may keep blocks away for days.
int64_t f5xc_wait_ms(unsigned backoff_ms, long retry_after, long jitter_ms);
