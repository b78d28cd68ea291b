// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// status, why, list, denials, audit: what there is. Each takes the options of its row in main.c and
// returns an exit code.
//
// One thread.

#pragma once

struct cli;

int run_status(const struct cli *);
int run_why(const struct cli *);
int run_list(const struct cli *);
int run_denials(const struct cli *);
int run_audit(const struct cli *);
