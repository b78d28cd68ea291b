// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/dataplane_batch.h"

#include "control/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHANGES_MAX 1300 // records of a network or port entry in one message

struct filling {
	uint8_t *out;
	size_t room, len; // len: with all records so far
	size_t whole; // len at the end of the last whole revision
	uint32_t n, n_whole;
	struct revision revision, last_whole;
	bool full;
};

static void revision_close(struct filling *f)
{
	if (f->n == 0 || f->full)
		return;
	f->whole = f->len;
	f->n_whole = f->n;
	f->last_whole = f->revision;
}

static bool change_fill(void *ctx, const struct ledger_change *c)
{
	struct filling *f = ctx;
	int n;

	if (f->n && revision_compare(c->revision, f->revision) != 0)
		revision_close(f);
	f->revision = c->revision;
	n = wire_entry_write(
		f->out + f->len,
		f->room - f->len,
		c->change.op == CHANGE_PUT ? WIRE_PUT : WIRE_REMOVE,
		&c->change.entry
	);
	if (n < 0) {
		f->full = true;
		return false;
	}
	f->len += (size_t)n;
	f->n++;
	return true;
}

int batch_message(struct ledger *ledger, const struct list_state *live, uint8_t *out, size_t room)
{
	struct filling f = {.out = out, .room = room, .len = sizeof(struct wire_batch)};
	struct wire_batch m = {0};
	struct list_state at, after;
	int rc;

	if (ledger_state_at(ledger, live->revision, &at) < 0 || !list_state_equal(&at, live))
		return -ESTALE;
	rc = ledger_changes(ledger, live->revision, CHANGES_MAX, change_fill, &f);
	if (rc < 0)
		return -ESTALE;
	revision_close(&f);
	if (f.n == 0)
		return 0;
	if (f.n_whole == 0 || ledger_state_at(ledger, f.last_whole, &after) < 0)
		return -ESTALE;
	m.from_epoch = live->revision.epoch;
	m.from_number = live->revision.number;
	wire_state_pack(&after, &m.after);
	m.n = f.n_whole;
	memcpy(out, &m, sizeof(m));
	return (int)f.whole;
}

// --- full synchronisation

void sync_begin(struct sync *s, struct ledger *ledger)
{
	uint64_t generation = s->generation + 1;

	*s = (struct sync){.running = true, .force = s->force, .generation = generation};
	ledger_state(ledger, &s->told);
}

struct page {
	uint8_t *out;
	size_t room, len;
	uint32_t n;
	char *after;
	bool full;
};

static bool page_fill(void *ctx, const struct entry *e)
{
	struct page *p = ctx;
	int n = wire_entry_write(p->out + p->len, p->room - p->len, WIRE_PUT, e);

	if (n < 0) {
		p->full = true;
		return false;
	}
	p->len += (size_t)n;
	p->n++;
	indicator_print(&e->indicator, p->after);
	return true;
}

static int begin_message(struct sync *s, uint8_t *out, uint16_t *ret_type)
{
	struct wire_sync_begin m = {.generation = s->generation};

	wire_state_pack(&s->told, &m.state);
	memcpy(out, &m, sizeof(m));
	s->begun = true;
	*ret_type = WIRE_SYNC_BEGIN;
	return sizeof(m);
}

static int end_message(struct sync *s, uint8_t *out, uint16_t *ret_type)
{
	struct wire_sync_end m = {
		.generation = s->generation,
		.flags = s->force ? WIRE_SYNC_FORCE : 0,
	};

	wire_state_pack(&s->told, &m.state);
	memcpy(out, &m, sizeof(m));
	*ret_type = WIRE_SYNC_END;
	return sizeof(m);
}

int sync_message(
	struct sync *s, struct ledger *ledger, uint8_t *out, size_t room, uint16_t *ret_type
)
{
	struct wire_sync_entries m = {.generation = s->generation};
	struct page p = {.out = out, .room = room, .len = sizeof(m), .after = s->after};
	struct list_state now;
	int rc;

	if (!s->begun)
		return begin_message(s, out, ret_type);
	ledger_state(ledger, &now);
	if (!list_state_equal(&now, &s->told)) {
		rc = batch_message(ledger, &s->told, out, room);
		if (rc <= 0) { // too much moved meanwhile: from the start
			sync_begin(s, ledger);
			return begin_message(s, out, ret_type);
		}
		wire_state_unpack(&((const struct wire_batch *)out)->after, &s->told);
		*ret_type = WIRE_BATCH;
		return rc;
	}
	if (s->ended)
		return end_message(s, out, ret_type);
	rc = ledger_entries_page(ledger, s->after, CHANGES_MAX, page_fill, &p);
	if (rc < 0)
		return rc;
	if (p.n == 0) {
		s->ended = true;
		return end_message(s, out, ret_type);
	}
	m.n = p.n;
	memcpy(out, &m, sizeof(m));
	*ret_type = WIRE_SYNC_ENTRIES;
	return (int)p.len;
}

void link_tell(
	struct ledger *ledger, const struct list_state *live, const struct sync *s, bool well
)
{
	ledger_link_at(ledger, well ? live->revision : (struct revision){0}, well && s->running);
}

// --- exceptions

struct exception_walk {
	size_t n, at;
	struct exception exceptions[]; // n
};

static bool exception_count(void *ctx, const struct exception *x)
{
	(void)x;
	return ++*(size_t *)ctx <= WIRE_EXCEPTIONS_MAX;
}

static bool exception_collect(void *ctx, const struct exception *x)
{
	struct exception_walk *w = ctx;

	w->exceptions[w->n++] = *x;
	return w->n <= WIRE_EXCEPTIONS_MAX;
}

int exception_walk_create(struct ledger *ledger, struct exception_walk **ret_walk)
{
	struct exception_walk *w;
	size_t n = 0;
	int rc = ledger_exceptions(ledger, exception_count, &n);

	if (rc == 0 && n > WIRE_EXCEPTIONS_MAX)
		rc = -E2BIG;
	if (rc < 0)
		return rc;
	w = malloc(sizeof(*w) + n * sizeof(struct exception));
	if (!w)
		return -ENOMEM;
	w->n = w->at = 0;
	rc = ledger_exceptions(ledger, exception_collect, w);
	if (rc < 0) {
		free(w);
		return rc;
	}
	*ret_walk = w;
	return 0;
}

size_t exception_walk_message(struct exception_walk *w, uint8_t *out, size_t room, bool *ret_more)
{
	struct wire_exceptions m = {0};
	size_t len = sizeof(m);

	for (; w->at < w->n; w->at++) {
		int n = wire_exception_write(out + len, room - len, &w->exceptions[w->at]);

		if (n < 0)
			break;
		len += (size_t)n;
		m.n++;
	}
	*ret_more = w->at < w->n;
	m.flags = *ret_more ? WIRE_EXCEPTIONS_MORE : 0;
	memcpy(out, &m, sizeof(m));
	return len;
}
