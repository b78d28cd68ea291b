// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// preview, top: what passes, estimated from the data plane's samples. Each takes the options of its
// row in main.c and returns an exit code.
//
// One thread.

#pragma once

struct cli;

int run_preview(const struct cli *);
int run_top(const struct cli *);
