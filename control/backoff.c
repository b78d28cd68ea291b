// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/backoff.h"

#include <sys/random.h>

int64_t backoff_wait_ms(unsigned troubles, int64_t first_ms, int64_t max_ms)
{
	uint32_t random = 0;
	int64_t ms = first_ms;

	for (unsigned i = 1; i < troubles && ms < max_ms; i++)
		ms *= 2;
	if (ms > max_ms)
		ms = max_ms;
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return ms * 3 / 4 + random % (uint32_t)(ms / 2);
}
