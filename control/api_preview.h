// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// /v1/preview: what a block would cut, estimated from the data plane's sketch of what passes.
//
// Thread: the event loop.

#pragma once

#include "control/http_server.h"

struct api;

int api_preview_routes(struct api *, struct http_server *);
