// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What a case is told, as Markdown that reads well unrendered too. What others chose (data of
// observables, reasons) stands in code spans or is escaped: it cannot form links or headings.
//
// Thread: any; pure. Texts are to be freed; NULL: no memory.

#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WB_MARKER_MAX 40

// Where it was, when it took effect.
struct wb_context {
	const char *gateway;
	const char *revision; // "1.42"
	int64_t took_ms; // from the verdict to the first enforcement; -1: not known
	bool by_hand; // no verdict: from when somebody asked for it
};

// "[//]: # (stanch <id>)": a link definition that nobody refers to, which renderers do not show.
// It tells our own comment where an answer was lost. `nonce` is random: never used twice.
void wb_marker_print(char marker[WB_MARKER_MAX], const char *ledger, uint64_t nonce);

// `news`, each member optional:
//   denied    [{"indicator", "id", "action", "until", "orphaned"?,
//              "protected"?, "f5"?, "by"?}]                paused  until when: nothing is denied
//              now
//   many      [n]: more than so many are denied           few  [n]: only so many still are
//   withdrawn [{"indicator", "why", "still": bool, "by"?}]   still: denied by others; by: whose
//             block by hand it is, also in `denied` and `ending`
//   refused   [{"observable", "data", "why"}]           why  the case as a whole: text
//   held      [{"indicator", "why"}]                    unheld  the same: not in force either
//   not_blocked [{"observable", "data", "by", "why"}, or {"more": n}]    refused by hand
//   ending    [{"indicator", "until", "by"?}]
//   immune    [{"indicator", "until", "by", "lists": [name], "denied": bool}]
//   immune_end [{"indicator", "why", "lists": [name], "denied": bool}]
//   allowed   [{"indicator", "until", "author", "reason"}]      denied_again ["indicator"]
char *wb_text_news(const json_t *news, const struct wb_context *, const char *marker);

// attempts {"rows": {"A → B tcp/443": [packets, first_ms, last_ms]}, "total", "first", "last",
//           "more": packets in no row}
char *wb_text_attempts(const json_t *attempts, const char *gateway, const char *marker);
