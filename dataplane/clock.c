// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/clock.h"

#include <time.h>

static int64_t clock_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct table_time clock_now(void)
{
	return (struct table_time){
		.wall_ms = clock_ms(CLOCK_REALTIME),
		.boot_ms = clock_ms(CLOCK_BOOTTIME),
	};
}
