// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Tags that the gateway itself sets on observables, "<response_tag>:<word>": what became of them.
// They share their prefix with what analysts say ("stanch:none"), and say nothing themselves:
// whoever reads tags passes over them.

#pragma once

#define STATUS_TAG_ENFORCED "enforced"
#define STATUS_TAG_MONITORED "monitored"
#define STATUS_TAG_HELD "held"
#define STATUS_TAG_REFUSED "refused"
