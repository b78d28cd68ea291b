// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "dataplane/name_table.h"

#include "dataplane/pages.h"
#include "rules/siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

// Links are index + 1: 0 is the end of a chain.
struct slot {
	char *name; // NULL: free; no NUL
	uint32_t next;
	uint8_t len;
	uint8_t subtree;
};

// Octets of a name to come.
struct reserve {
	struct reserve *next;
	size_t size;
};

struct name_table {
	struct slot *slots;
	uint32_t *heads;
	uint32_t mask;
	uint32_t capacity, count, top;
	uint32_t free; // index + 1 of the first given back
	struct reserve *reserve, **reserve_end;
	uint8_t key[16];
};

int name_table_create(uint32_t capacity, struct name_table **ret_table)
{
	struct name_table *t = calloc(1, sizeof(*t));
	uint32_t buckets = 1024;

	if (!t)
		return -ENOMEM;
	while (buckets < capacity && buckets < 1u << 30)
		buckets *= 2;
	t->reserve_end = &t->reserve;
	t->capacity = capacity;
	t->mask = buckets - 1;
	t->slots = pages_map(capacity * sizeof(*t->slots));
	t->heads = pages_map(buckets * sizeof(*t->heads));
	if (!t->slots || !t->heads || getentropy(t->key, sizeof(t->key))) {
		name_table_free(t);
		return -ENOMEM;
	}
	*ret_table = t;
	return 0;
}

void name_table_free(struct name_table *t)
{
	if (!t)
		return;
	name_unreserve(t);
	for (uint32_t i = 0; i < t->top; i++)
		free(t->slots[i].name);
	pages_unmap(t->slots, t->capacity * sizeof(*t->slots));
	pages_unmap(t->heads, ((size_t)t->mask + 1) * sizeof(*t->heads));
	free(t);
}

static uint32_t *head_of(const struct name_table *t, const char *name, size_t len)
{
	return &t->heads[siphash64(t->key, name, len) & t->mask];
}

uint32_t name_find(const struct name_table *t, const struct indicator *n)
{
	for (uint32_t link = *head_of(t, n->name, n->name_len); link;) {
		const struct slot *s = &t->slots[link - 1];

		if (s->len == n->name_len && s->subtree == n->subtree
		    && memcmp(s->name, n->name, s->len) == 0)
			return link - 1;
		link = s->next;
	}
	return NAME_NONE;
}

int name_reserve(struct name_table *t, const struct indicator *n)
{
	size_t size = n->name_len > sizeof(struct reserve) ? n->name_len : sizeof(struct reserve);
	struct reserve *r = malloc(size);

	if (!r)
		return -ENOMEM;
	*r = (struct reserve){.size = size};
	*t->reserve_end = r;
	t->reserve_end = &r->next;
	return 0;
}

static struct reserve *reserve_take(struct name_table *t)
{
	struct reserve *r = t->reserve;

	t->reserve = r->next;
	if (!t->reserve)
		t->reserve_end = &t->reserve;
	return r;
}

void name_unreserve(struct name_table *t)
{
	while (t->reserve)
		free(reserve_take(t));
}

// What was reserved, in its order; what is too small there was for a name that came twice.
static char *name_memory(struct name_table *t, size_t len)
{
	while (t->reserve) {
		struct reserve *r = reserve_take(t);

		if (r->size >= len)
			return (char *)r;
		free(r);
	}
	return malloc(len);
}

int name_add(struct name_table *t, const struct indicator *n, uint32_t *ret_index)
{
	uint32_t index = t->free ? t->free - 1 : t->top;
	uint32_t *head = head_of(t, n->name, n->name_len);
	struct slot *s;
	char *name;

	if (index >= t->capacity)
		return -ENOSPC;
	name = name_memory(t, n->name_len);
	if (!name)
		return -ENOMEM;
	memcpy(name, n->name, n->name_len);
	s = &t->slots[index];
	if (t->free)
		t->free = s->next;
	else
		t->top++;
	*s = (struct slot){.name = name, .next = *head, .len = n->name_len, .subtree = n->subtree};
	*head = index + 1;
	t->count++;
	*ret_index = index;
	return 0;
}

void name_remove(struct name_table *t, uint32_t index)
{
	struct slot *s = &t->slots[index];
	uint32_t *link = head_of(t, s->name, s->len);

	while (*link != index + 1)
		link = &t->slots[*link - 1].next;
	*link = s->next;
	free(s->name);
	*s = (struct slot){.next = t->free};
	t->free = index + 1;
	t->count--;
}

bool name_used(const struct name_table *t, uint32_t index)
{
	return t->slots[index].name != NULL;
}

void name_indicator(const struct name_table *t, uint32_t index, struct indicator *ret_indicator)
{
	const struct slot *s = &t->slots[index];

	*ret_indicator = (struct indicator
	){.kind = INDICATOR_NAME, .subtree = s->subtree, .name_len = s->len};
	memcpy(ret_indicator->name, s->name, s->len);
}

uint32_t name_count(const struct name_table *t)
{
	return t->count;
}

uint32_t name_top(const struct name_table *t)
{
	return t->top;
}
