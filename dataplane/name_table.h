// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Names of the list: a chained hash from (name, subtree) to an index below the capacity.
// Thread: the control thread; no worker reads it.
// Memory: slots mapped at once and touched as used; the names' octets one allocation each.

#pragma once

#include "rules/indicator.h"

#define NAME_NONE UINT32_MAX

struct name_table;

int name_table_create(uint32_t capacity, struct name_table **ret_table);
void name_table_free(struct name_table *);
uint32_t name_find(const struct name_table *, const struct indicator *); // NAME_NONE
// The memory for names that will be added next, in this order: adding them then needs none.
// -ENOMEM.
int name_reserve(struct name_table *, const struct indicator *);
void name_unreserve(struct name_table *); // what was not used
// -ENOSPC, -ENOMEM. The name must not be there.
int name_add(struct name_table *, const struct indicator *, uint32_t *ret_index);
void name_remove(struct name_table *, uint32_t index);
bool name_used(const struct name_table *, uint32_t index);
void name_indicator(const struct name_table *, uint32_t index, struct indicator *ret_indicator);
uint32_t name_count(const struct name_table *);
uint32_t name_top(const struct name_table *); // indices below were given out
