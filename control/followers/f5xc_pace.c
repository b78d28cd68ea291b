// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_pace.h"

#define RETRY_AFTER_MAX_S 300
#define WAIT_FIRST_MS 1000
#define WAIT_MAX_MS 60000

int64_t f5xc_wait_ms(unsigned backoff_ms, long retry_after, long jitter_ms)
{
	int64_t wait = (int64_t)backoff_ms + jitter_ms;

	if (retry_after > RETRY_AFTER_MAX_S)
		retry_after = RETRY_AFTER_MAX_S;
	return retry_after * 1000 > wait ? retry_after * 1000 : wait;
}

void f5xc_pace_init(struct f5xc_pace *p, unsigned per_minute, unsigned burst, int64_t now_ms)
{
	*p = (struct f5xc_pace){
		.per_ms = per_minute / 60000.0,
		.tokens = burst,
		.burst = burst,
		.filled_ms = now_ms,
	};
}

int64_t f5xc_pace_wait(struct f5xc_pace *p, int64_t now_ms, unsigned reserve)
{
	// Of a bucket of one token nothing can be kept back.
	double need = 1.0 + (reserve < p->burst ? reserve : 0);
	double more = p->tokens + (double)(now_ms - p->filled_ms) * p->per_ms;
	int64_t wait;

	p->tokens = more > p->burst ? p->burst : more;
	p->filled_ms = now_ms;
	wait = p->tokens >= need ? 0 : (int64_t)((need - p->tokens) / p->per_ms) + 1;
	if (p->not_before_ms - now_ms > wait)
		wait = p->not_before_ms - now_ms;
	return wait;
}

void f5xc_pace_take(struct f5xc_pace *p, int64_t now_ms)
{
	f5xc_pace_wait(p, now_ms, 0);
	p->tokens -= 1.0;
}

void f5xc_pace_good(struct f5xc_pace *p)
{
	p->failures = 0;
	p->wait_ms = 0;
	p->open = false;
}

static void wait_set(struct f5xc_pace *p, int64_t now_ms, long retry_after, long jitter_ms)
{
	p->wait_ms = p->wait_ms ? 2 * p->wait_ms : WAIT_FIRST_MS;
	if (p->wait_ms > WAIT_MAX_MS)
		p->wait_ms = WAIT_MAX_MS;
	p->not_before_ms = now_ms + f5xc_wait_ms(p->wait_ms, retry_after, jitter_ms);
}

void f5xc_pace_limited(struct f5xc_pace *p, int64_t now_ms, long retry_after, long jitter_ms)
{
	// The limit is the tenant's: what others used of it is gone too.
	p->tokens = 0;
	p->filled_ms = now_ms;
	wait_set(p, now_ms, retry_after, jitter_ms);
}

void f5xc_pace_failed(struct f5xc_pace *p, int64_t now_ms, long retry_after, long jitter_ms)
{
	p->failures++;
	if (p->failures >= F5XC_BREAKER_FAILURES) {
		p->open = true;
		wait_set(p, now_ms, retry_after, jitter_ms);
	} else if (retry_after > 0) {
		p->not_before_ms = now_ms + f5xc_wait_ms(0, retry_after, 0);
	}
}

const char *f5xc_pace_state(const struct f5xc_pace *p, int64_t now_ms)
{
	return !p->open ? "closed" : now_ms < p->not_before_ms ? "open" : "half-open";
}
