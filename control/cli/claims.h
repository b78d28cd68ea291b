// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// block, unblock, monitor. Each takes the options of its row in main.c and returns an exit code.
//
// One thread.

#pragma once

struct cli;

int run_block(const struct cli *);
int run_unblock(const struct cli *);
int run_monitor(const struct cli *);
