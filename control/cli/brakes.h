// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// allow, pause, resume, held, protect, sync. Each takes the options of its row in main.c and
// returns an exit code.
//
// One thread.

#pragma once

struct cli;

int run_allow(const struct cli *);
int run_pause(const struct cli *);
int run_resume(const struct cli *);
int run_held(const struct cli *);
int run_protect(const struct cli *);
int run_sync(const struct cli *);
