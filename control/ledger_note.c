// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/ledger_internal.h"
#include "control/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct source *source_find(struct ledger *l, const char *name)
{
	for (size_t i = 0; i < l->n_sources; i++)
		if (strcmp(l->sources[i]->name, name) == 0)
			return l->sources[i];
	return NULL;
}

struct source *source_by_id(struct ledger *l, int64_t id)
{
	for (size_t i = 0; i < l->n_sources; i++)
		if (l->sources[i]->id == id)
			return l->sources[i];
	return NULL;
}

static struct source *source_append(struct ledger *l, int64_t id, const char *name)
{
	struct source **sources = realloc(l->sources, (l->n_sources + 1) * sizeof(struct source *));
	struct source *s = calloc(1, sizeof(*s));

	if (sources)
		l->sources = sources;
	if (s)
		s->name = strdup(name);
	if (!sources || !s || !s->name) {
		free(s);
		return NULL;
	}
	s->id = id;
	s->cases = strncmp(name, "thehive:", 8) == 0;
	s->list = strncmp(name, "list:", 5) == 0;
	// Operators are always there, whatever is configured.
	s->configured = strcmp(name, "operator") == 0;
	l->sources[l->n_sources++] = s;
	return s;
}

struct source *source_get(struct ledger *l, const char *name)
{
	struct source *s = source_find(l, name);

	if (s)
		return s;
	sql_bind_text(l->stmts[STMT_SOURCE_ADD], 1, name);
	if (sql_run(l, l->stmts[STMT_SOURCE_ADD]) < 0)
		return NULL;
	s = source_append(l, sqlite3_last_insert_rowid(l->db), name);
	if (!s)
		transaction_fail(l, -ENOMEM);
	return s;
}

int sources_load(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int rc, r = sql_kept(l, "SELECT id, name, claims FROM sources", &stmt);

	if (r < 0)
		return r;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct source *s
			= source_append(l, sqlite3_column_int64(stmt, 0), sql_text(stmt, 1));

		if (!s)
			return -ENOMEM;
		s->claims = s->claims_saved = (uint64_t)sqlite3_column_int64(stmt, 2);
	}
	l->n_sources_saved = l->n_sources;
	return sql_errno(rc, l->db);
}

void sources_save(struct ledger *l)
{
	for (size_t i = 0; i < l->n_sources && !l->error; i++) {
		struct source *s = l->sources[i];

		if (s->claims == s->claims_saved)
			continue;
		sqlite3_bind_int64(l->stmts[STMT_SOURCE_PUT], 1, s->id);
		sqlite3_bind_int64(l->stmts[STMT_SOURCE_PUT], 2, (int64_t)s->claims);
		sql_run(l, l->stmts[STMT_SOURCE_PUT]);
	}
}

void sources_commit(struct ledger *l)
{
	l->n_sources_saved = l->n_sources;
	for (size_t i = 0; i < l->n_sources; i++) {
		l->sources[i]->claims_saved = l->sources[i]->claims;
		l->sources[i]->rate_saved = l->sources[i]->rate;
	}
}

void sources_rollback(struct ledger *l)
{
	while (l->n_sources > l->n_sources_saved) {
		struct source *s = l->sources[--l->n_sources];

		free(s->name);
		free(s);
	}
	for (size_t i = 0; i < l->n_sources; i++) {
		l->sources[i]->claims = l->sources[i]->claims_saved;
		l->sources[i]->rate = l->sources[i]->rate_saved;
	}
}

void sources_free(struct ledger *l)
{
	for (size_t i = 0; i < l->n_sources; i++) {
		free(l->sources[i]->name);
		free(l->sources[i]);
	}
	free(l->sources);
}

int ledger_sources_set(struct ledger *l, const char *const *sources, size_t n)
{
	int r = transaction_begin(l);

	if (r < 0)
		return r;
	for (size_t i = 0; i < l->n_sources; i++)
		l->sources[i]->configured = strcmp(l->sources[i]->name, "operator") == 0;
	for (size_t i = 0; i < n; i++) {
		struct source *s = source_get(l, sources[i]);

		if (!s)
			return l->error;
		s->configured = true;
	}
	l->sources_known = true;
	return 0;
}

bool ledger_source_gone(struct ledger *l, const char *source)
{
	const struct source *s = source_find(l, source);
	struct list_status list;

	if (strncmp(source, LIST_SOURCE, strlen(LIST_SOURCE)) == 0
	    && lists_find(l->lists, source + strlen(LIST_SOURCE), &list))
		return lists_gone(l->lists, list.name);
	return l->sources_known && s && !s->configured;
}

void ledger_counts(struct ledger *l, struct ledger_counts *ret_counts)
{
	const struct tally *tally = &l->now.tally;

	*ret_counts = (struct ledger_counts){
		.claims = tally->claims,
		.enforce = tally->enforce,
		.monitor = tally->monitor,
		.orphaned = tally->orphaned,
		.held = tally->held,
		.allows = tally->allows,
		.names = tally->names,
		.refused_protected = l->refused_protected,
		.refused_brake = l->refused_brake,
		.refused_full = l->refused_full,
	};
	for (size_t i = 0; l->sources_known && i < l->n_sources; i++)
		if (!l->sources[i]->configured)
			ret_counts->sources_gone += l->sources[i]->claims;
	scoped_stmt stmt = NULL;
	if (sql_kept(l, "SELECT total(n) FROM held WHERE shrink", &stmt) == 0
	    && sqlite3_step(stmt) == SQLITE_ROW)
		ret_counts->held_ends = (uint64_t)sqlite3_column_int64(stmt, 0);
}

int ledger_cursor_get(struct ledger *l, const char *follower, struct revision *ret_revision)
{
	scoped_stmt stmt = NULL;
	int rc, r = sql_kept(l, "SELECT epoch, number FROM cursors WHERE follower=?1", &stmt);

	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, follower);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		ret_revision->epoch = (uint64_t)sqlite3_column_int64(stmt, 0);
		ret_revision->number = (uint64_t)sqlite3_column_int64(stmt, 1);
		return 0;
	}
	if (rc == SQLITE_DONE)
		*ret_revision = (struct revision){0};
	return sql_errno(rc, l->db);
}

int ledger_cursor_set(struct ledger *l, const char *follower, struct revision revision)
{
	scoped_stmt stmt = NULL;
	int r = transaction_begin(l);

	if (r == 0)
		r = sql_kept(l, "INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3)", &stmt);
	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, follower);
	sqlite3_bind_int64(stmt, 2, (int64_t)revision.epoch);
	sqlite3_bind_int64(stmt, 3, (int64_t)revision.number);
	return sql_run(l, stmt);
}

int ledger_note_get(struct ledger *l, const char *owner, const char *key, json_t **ret_value)
{
	scoped_stmt stmt = NULL;
	json_t *value;
	int rc, r = sql_kept(l, "SELECT value FROM notes WHERE owner=?1 AND key=?2", &stmt);

	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, owner);
	sql_bind_text(stmt, 2, key);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_DONE)
		return -ENOENT;
	if (rc != SQLITE_ROW)
		return sql_errno(rc, l->db);
	value = json_loads(sql_text(stmt, 0), JSON_DECODE_ANY, NULL);
	if (!value)
		return -EILSEQ;
	*ret_value = value;
	return 0;
}

int ledger_note_set(struct ledger *l, const char *owner, const char *key, json_t *value)
{
	scoped_stmt stmt = NULL;
	char *text = NULL;
	int r = transaction_begin(l);

	if (r == 0)
		r = sql_kept(
			l,
			value ? "INSERT OR REPLACE INTO notes VALUES (?1, ?2, ?3)"
			      : "DELETE FROM notes WHERE owner=?1 AND key=?2",
			&stmt
		);
	if (r < 0)
		return r;
	if (value) {
		text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
		if (!text)
			return -EINVAL;
		sql_bind_text(stmt, 3, text);
	}
	sql_bind_text(stmt, 1, owner);
	sql_bind_text(stmt, 2, key);
	r = sql_run(l, stmt);
	free(text);
	if (r == 0 && fleet_note_owner(owner))
		fleet_touch(l, ITEM_NOTE, owner, key, NULL, "", "", "");
	return r;
}

int ledger_notes(struct ledger *l, const char *owner, const char *key_prefix, note_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	size_t len = strlen(key_prefix);
	int rc, r;

	r = sql_kept(
		l, "SELECT key, value FROM notes WHERE owner=?1 AND key >= ?2 ORDER BY key", &stmt
	);
	if (r < 0)
		return r;
	sql_bind_text(stmt, 1, owner);
	sql_bind_text(stmt, 2, key_prefix);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *key = sql_text(stmt, 0);
		json_t *value;
		bool more;

		if (strncmp(key, key_prefix, len) != 0)
			return 0;
		value = json_loads(sql_text(stmt, 1), JSON_DECODE_ANY, NULL);
		if (!value)
			return -EILSEQ;
		more = cb(ctx, key, value);
		json_decref(value);
		if (!more)
			return 0;
	}
	return sql_errno(rc, l->db);
}
