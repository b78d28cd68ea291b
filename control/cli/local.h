// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// check, token: what needs no daemon. Each takes the options of its row in main.c and returns an
// exit code.
//
// One thread.

#pragma once

struct cli;

int run_check(const struct cli *);
int run_token(const struct cli *);
