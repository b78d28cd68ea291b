// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// How the mirror reaches F5: its HTTP client, the token, and when they end.
//
// Thread: the event loop.

#pragma once

#include <stdbool.h>

struct f5xc;

int f5xc_client_open(struct f5xc *);
void f5xc_client_close(struct f5xc *);
// The file may hold a newer token than the one that was refused. Not inside a callback of the
// client, which it replaces.
void f5xc_token_refresh(struct f5xc *);
// Addresses at which the API was reached: never mirrored. True: another one.
bool f5xc_own_addresses(struct f5xc *);
