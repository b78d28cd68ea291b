// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// How long to wait before the next try.
//
// Thread: any.

#pragma once

#include <stdint.h>

// The wait doubles from first_ms with each of `troubles` in a row, to max_ms at the most, ± a
// quarter so that many gateways do not come at once.
int64_t backoff_wait_ms(unsigned troubles, int64_t first_ms, int64_t max_ms);
