// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The fleet's metrics, for metrics_collect.
//
// Thread: the event loop.

#pragma once

struct metrics_page;

void roles_metrics(void *control, struct metrics_page *);
