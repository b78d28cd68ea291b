// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Routes under /v1/f5: status, plan, diff, sync, adopt.
//
// Thread: the event loop.

#pragma once

#include "control/api.h"

int api_f5xc_routes(struct api *, struct http_server *);
