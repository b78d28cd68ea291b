// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// stanch f5 status|plan|diff|sync|adopt NAME
//
// One thread.

#pragma once

struct cli;

int run_f5(const struct cli *);
