// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// fleet. Takes the options of its row in main.c and returns an exit code.
//
// One thread.

#pragma once

struct cli;

int run_fleet(const struct cli *);
