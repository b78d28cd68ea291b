// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// cmocka 1.1 needs these headers before its own.

#pragma once

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
