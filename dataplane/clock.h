// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The two clocks that the control thread goes by.

#pragma once

#include "dataplane/table.h"

struct table_time clock_now(void); // CLOCK_REALTIME and CLOCK_BOOTTIME
