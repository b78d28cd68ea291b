// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Lists for a checkpoint, chunk by chunk, over many turns of the loop. Between two of them lists
// move: a member that comes or goes behind the walk is in the log, which is read on from where the
// checkpoint began.

#include "control/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lists_export {
	struct lists *lists;
	sqlite3_stmt *next_list, *attr;
	uint32_t list; // the one being walked, or the last one that was
	bool walking;
	bool ended; // all was said
	int more; // there is a member under the cursor
	uint64_t index; // of the next chunk
	struct list_cursor cursor;
	struct payload_head head;
	struct payload_writer payload;
};

int lists_fleet_export_open(struct lists *ls, struct lists_export **ret_export)
{
	struct lists_export *x = calloc(1, sizeof(*x));
	int r = x ? 0 : -ENOMEM;

	if (r == 0) {
		x->lists = ls;
		r = lists_db_prepare(
			&ls->db,
			"SELECT id, name, synced, peak_hour, peaks FROM lists WHERE id > ?1"
			" ORDER BY id LIMIT 1",
			&x->next_list
		);
	}
	if (r == 0)
		r = lists_db_prepare(
			&ls->db, "SELECT action, reason, reference FROM attrs WHERE id=?1", &x->attr
		);
	if (r < 0) {
		lists_fleet_export_close(x);
		return r;
	}
	*ret_export = x;
	return 0;
}

void lists_fleet_export_close(struct lists_export *x)
{
	if (!x)
		return;
	cursor_fini(&x->cursor);
	sqlite3_finalize(x->next_list);
	sqlite3_finalize(x->attr);
	free(x);
}

// 1: the next list; 0: there is none.
static int list_begin(struct lists_export *x)
{
	sqlite3_stmt *stmt = x->next_list;
	int rc;

	sqlite3_bind_int64(stmt, 1, x->list);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		x->list = (uint32_t)sqlite3_column_int64(stmt, 0);
		x->head = (struct payload_head){.flags = PAYLOAD_CHUNK};
		snprintf(x->head.name, sizeof(x->head.name), "%s", sql_text(stmt, 1));
		x->head.synced = sqlite3_column_int64(stmt, 2);
		x->head.peak_hour = sqlite3_column_int64(stmt, 3);
		if (sqlite3_column_bytes(stmt, 4) == sizeof(x->head.peaks)) {
			memcpy(x->head.peaks, sqlite3_column_blob(stmt, 4), sizeof(x->head.peaks));
			x->head.flags |= PAYLOAD_PEAKS;
		}
	}
	sqlite3_reset(stmt);
	if (rc != SQLITE_ROW)
		return sql_errno(rc, x->lists->db.db);
	cursor_fini(&x->cursor);
	cursor_init(&x->cursor, &x->lists->db, x->list);
	x->more = cursor_next(&x->cursor);
	x->walking = true;
	return x->more < 0 ? x->more : 1;
}

static uint8_t text_cut(const char *text, size_t max)
{
	size_t len = strlen(text);

	return (uint8_t)(len < max ? len : max);
}

// The text stays good until the statement is reset.
static void attr_load(struct lists_export *x, uint32_t id, struct payload_attr *attr)
{
	*attr = (struct payload_attr){0};
	sqlite3_bind_int64(x->attr, 1, id);
	if (sqlite3_step(x->attr) != SQLITE_ROW)
		return;
	attr->actions = (uint8_t)sqlite3_column_int(x->attr, 0) & LIST_ACTIONS;
	attr->reason = sql_text(x->attr, 1);
	attr->reason_len = text_cut(attr->reason, PAYLOAD_REASON_MAX);
	attr->reference = sql_text(x->attr, 2);
	attr->reference_len = text_cut(attr->reference, PAYLOAD_REFERENCE_MAX);
}

static bool member_add(struct lists_export *x, const struct list_member *m)
{
	struct payload_attr attr;
	bool added;

	if (payload_knows(&x->payload, m->attr))
		return payload_add(&x->payload, m, true, NULL);
	attr_load(x, m->attr, &attr);
	added = payload_add(&x->payload, m, true, &attr);
	sqlite3_reset(x->attr);
	return added;
}

int lists_fleet_export_next(struct lists_export *x, const void **ret_octets, size_t *ret_len)
{
	int r = 1;

	if (x->lists->behind)
		return -EAGAIN;
	if (!x->walking && !x->ended)
		r = list_begin(x);
	if (r < 0 || x->ended)
		return r < 0 ? r : 0;
	if (r == 0) {
		// That no list is missing is said too.
		x->ended = true;
		x->more = 0;
		x->head = (struct payload_head){.flags = PAYLOAD_CHUNK | PAYLOAD_END};
	}
	x->head.index = x->index++;
	payload_clear(&x->payload, &x->head, UINT32_MAX);
	while (x->more == 1 && member_add(x, cursor_member(&x->cursor))) {
		x->head.after = cursor_member(&x->cursor)->key;
		x->more = cursor_next(&x->cursor);
	}
	if (x->more < 0)
		return x->more;
	x->head.flags &= (uint8_t)~PAYLOAD_PEAKS;
	if (x->more == 0 && x->walking) {
		x->payload.head.flags |= PAYLOAD_LAST;
		x->walking = false;
	}
	*ret_octets = payload_end(&x->payload, ret_len);
	return 1;
}
