// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The text of a page: samples of each metric gathered in a buffer of its own, since OpenMetrics
// wants them together.
//
// Thread: any; a page belongs to one.

#pragma once

#include "control/metrics.h"

struct metrics_page *metrics_page_create(void);
void metrics_page_free(struct metrics_page *);
char *metrics_page_text(const struct metrics_page *); // NULL: no memory
