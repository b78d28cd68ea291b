// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// A WIRE_STATUS message for people (one screen) and for programs (one JSON object).

#pragma once

#include "rules/wire.h"

#include <stdio.h>

// -EBADMSG: its rows do not fit its length.
int ctl_status_print(FILE *, const void *message, size_t len);
int ctl_status_json(FILE *, const void *message, size_t len);
