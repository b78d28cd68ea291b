// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What both listings need: pages that fit, and the full one's entry points.
//
// Page sizes follow the answers: halved where one is too large, cut or late, and then no larger for
// the rest of a full listing; doubled where a full page is small. TheHive 4 sends descriptions
// along, which may be 1 MiB each.
//
// Thread: the event loop.

#pragma once

#include "control/sources/thehive_internal.h"

#define HIVE_PAGE_MAX 200 // cases: some 5 ms of the loop

int64_t hive_time_of(const json_t *object, const char *key);
// ± a tenth: many gateways do not come at once.
void hive_timer_add(struct event *timer, int64_t ms);
// On the paced client; takes the body, NULL: -ENOMEM.
int hive_list_query(struct thehive *, const char *path, char *body, http_answer_cb);
void hive_pages_anew(struct thehive *); // sizes that were too large may be tried again
// The list of a page, each of it a case or an observable; NULL: told as trouble, or (`ret_again`)
// it was too large or cut, and may be asked for again at once, smaller.
json_t *hive_list_page(
	struct thehive *, const char *what, bool cases, const struct http_answer *, bool *ret_again
);

// --- thehive_full.c

int hive_full_init(struct thehive *);
void hive_full_fini(struct thehive *);
void hive_full_soon(struct thehive *); // goes on, or begins
// Reads a case at listing's pace, `known` as a list had it; NULL: it is asked for. False: it is
// being read anyway. Its end is told by hive_list_read_done.
bool hive_full_read(struct thehive *, const char *id, const struct hive_judgement *known);

// --- thehive_absent.c

// The next cases with claims that no page had, into full->ids; none: the walk has ended. -errno.
int hive_absent_find(struct thehive *);
// The next case with immunities. "": none is left.
int hive_absent_immune(struct thehive *, char ret_id[HIVE_ID_MAX]);
char *hive_absent_query(struct thehive *); // for full->ids
void hive_absent_found(struct thehive *, const json_t *page); // those have a page: blanked

// --- marks: sets of cases

void hive_marks_clear(struct hive_mark **);
bool hive_marked(const struct hive_mark *, const char *id);
// False: it was there, or there is no memory.
bool hive_mark(struct hive_mark **, const char *id, struct hive_mark **ret_mark);
