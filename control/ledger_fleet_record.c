// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The table of records: what the leader publishes, what followers may need again.

#include "control/ledger_fleet_internal.h"

#include <errno.h>
#include <string.h>

#define TRIM_MAX 200 // in one commit: bounds its time

bool place_equal(const struct fleet_place *a, const struct fleet_place *b)
{
	return a->epoch == b->epoch && a->number == b->number
		&& memcmp(a->mac, b->mac, FLEET_MAC_LEN) == 0;
}

int records_load(struct ledger *l)
{
	struct fleet_now *now = &l->now.fleet;
	scoped_stmt stmt = NULL;
	int r = sql_prepare(
		l,
		"SELECT count(*), ifnull(min(number), 0), ifnull(sum(length(data)), 0)"
		" FROM fleet_records",
		&stmt
	);

	if (r < 0)
		return r;
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return -EIO;
	now->records = (uint64_t)sqlite3_column_int64(stmt, 0);
	now->first = (uint64_t)sqlite3_column_int64(stmt, 1);
	now->octets = (uint64_t)sqlite3_column_int64(stmt, 2);
	return 0;
}

void record_keep(struct ledger *l, const struct fleet_record *record)
{
	sqlite3_stmt *stmt = l->stmts[STMT_FLEET_RECORD_ADD];
	struct fleet_now *now = &l->now.fleet;

	sqlite3_bind_int64(stmt, 1, (int64_t)record->number);
	sqlite3_bind_int64(stmt, 2, (int64_t)record->epoch);
	sqlite3_bind_int(stmt, 3, (int)record->kind);
	sqlite3_bind_int64(stmt, 4, (int64_t)record->before.epoch);
	sqlite3_bind_blob(stmt, 5, record->before.mac, FLEET_MAC_LEN, SQLITE_STATIC);
	sqlite3_bind_blob(stmt, 6, record->mac, FLEET_MAC_LEN, SQLITE_STATIC);
	sqlite3_bind_blob(stmt, 7, record->data, (int)record->len, SQLITE_STATIC);
	if (sql_run(l, stmt) < 0)
		return;
	now->place = (struct fleet_place){.epoch = record->epoch, .number = record->number};
	memcpy(now->place.mac, record->mac, FLEET_MAC_LEN);
	if (now->records++ == 0)
		now->first = record->number;
	now->octets += record->len;
	records_bound(l);
}

void record_make(struct ledger *l, enum fleet_kind kind, const void *data, size_t len)
{
	struct fleet_record record = {
		.before = l->now.fleet.place,
		// A higher epoch may be known already: then these are the last of ours.
		.epoch = kind == FLEET_EPOCH ? l->now.fleet.epoch : l->now.fleet.place.epoch,
		.number = l->now.fleet.place.number + 1,
		.kind = kind,
		.data = data,
		.len = len,
	};

	l->fleet->seal(l->fleet->seal_ctx, &record, record.mac);
	record_keep(l, &record);
	l->fleet->made_some = true;
}

static void records_drop(struct ledger *l, uint64_t from, uint64_t to)
{
	struct fleet_now *now = &l->now.fleet;
	scoped_stmt stmt = NULL;
	int r = sql_prepare(
		l,
		"DELETE FROM fleet_records WHERE number >= ?1 AND number <= ?2"
		" RETURNING length(data)",
		&stmt
	);

	if (r < 0) {
		transaction_fail(l, r);
		return;
	}
	sqlite3_bind_int64(stmt, 1, (int64_t)from);
	sqlite3_bind_int64(stmt, 2, (int64_t)(to < INT64_MAX ? to : INT64_MAX));
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		now->records--;
		now->octets -= (uint64_t)sqlite3_column_int64(stmt, 0);
	}
	if (from <= now->first)
		now->first = now->records ? to + 1 : 0;
}

void records_bound(struct ledger *l)
{
	struct fleet_now *now = &l->now.fleet;

	// More than comes: two for one.
	for (int i = 0; i < 2 && now->records > 1 && !l->error
	     && (now->records > FLEET_RECORDS_MAX || now->octets > FLEET_OCTETS_MAX);
	     i++)
		records_drop(l, now->first, now->first);
}

void records_cut(struct ledger *l, uint64_t after)
{
	records_drop(l, after + 1, INT64_MAX);
	if (l->now.fleet.records == 0)
		l->now.fleet.first = 0;
}

void ledger_fleet_trim(struct ledger *l, uint64_t up_to)
{
	struct fleet_now *now = &l->now.fleet;

	if (!l->fleet || now->records == 0 || up_to < now->first || transaction_begin(l) < 0)
		return;
	// The last one stays: it is our place.
	if (up_to >= now->place.number)
		up_to = now->place.number - 1;
	if (up_to >= now->first + TRIM_MAX)
		up_to = now->first + TRIM_MAX - 1;
	if (up_to >= now->first)
		records_drop(l, now->first, up_to);
}

static int record_read(sqlite3_stmt *stmt, struct fleet_record *record)
{
	if (sqlite3_column_bytes(stmt, 4) != FLEET_MAC_LEN
	    || sqlite3_column_bytes(stmt, 5) != FLEET_MAC_LEN)
		return -EILSEQ;
	*record = (struct fleet_record){
		.number = (uint64_t)sqlite3_column_int64(stmt, 0),
		.epoch = (uint64_t)sqlite3_column_int64(stmt, 1),
		.kind = (enum fleet_kind)sqlite3_column_int(stmt, 2),
		.before.epoch = (uint64_t)sqlite3_column_int64(stmt, 3),
		.before.number = (uint64_t)sqlite3_column_int64(stmt, 0) - 1,
		.data = sqlite3_column_blob(stmt, 6),
		.len = (size_t)sqlite3_column_bytes(stmt, 6),
	};
	memcpy(record->before.mac, sqlite3_column_blob(stmt, 4), FLEET_MAC_LEN);
	memcpy(record->mac, sqlite3_column_blob(stmt, 5), FLEET_MAC_LEN);
	return 0;
}

int ledger_fleet_records(
	struct ledger *l, uint64_t after_number, size_t max_octets, fleet_record_cb cb, void *ctx
)
{
	const struct fleet_now *now = l->open ? &l->saved.fleet : &l->now.fleet;
	scoped_stmt stmt = NULL;
	size_t octets = 0;
	int rc, r;

	if (after_number == now->place.number)
		return 0;
	if (after_number > now->place.number || after_number + 1 < now->first || !now->records)
		return -ESTALE;
	r = sql_prepare(
		l,
		"SELECT number, epoch, kind, before_epoch, before_mac, mac, data"
		" FROM fleet_records WHERE number > ?1 AND number <= ?2 ORDER BY number",
		&stmt
	);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, (int64_t)after_number);
	sqlite3_bind_int64(stmt, 2, (int64_t)now->place.number);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct fleet_record record;

		r = record_read(stmt, &record);
		if (r < 0)
			return r;
		if (octets > 0 && octets + record.len > max_octets)
			return 0;
		octets += record.len;
		if (!cb(ctx, &record))
			return 0;
	}
	return sql_errno(rc, l->db);
}

int record_mac(struct ledger *l, uint64_t number, struct fleet_place *ret_place)
{
	scoped_stmt stmt = NULL;
	struct fleet_record record;
	bool next = number < l->now.fleet.place.number && number + 1 == l->now.fleet.first;
	int rc,
		r = sql_prepare(
			l,
			"SELECT number, epoch, kind, before_epoch, before_mac, mac, data"
			" FROM fleet_records WHERE number = ?1",
			&stmt
		);

	if (r < 0)
		return r;
	// The oldest one kept names the one before it.
	sqlite3_bind_int64(stmt, 1, (int64_t)(next ? number + 1 : number));
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_DONE)
		return -ENOENT;
	if (rc != SQLITE_ROW)
		return sql_errno(rc, l->db);
	r = record_read(stmt, &record);
	if (r < 0)
		return r;
	if (next) {
		*ret_place = record.before;
		return 0;
	}
	*ret_place = (struct fleet_place){.epoch = record.epoch, .number = record.number};
	memcpy(ret_place->mac, record.mac, FLEET_MAC_LEN);
	return 0;
}
