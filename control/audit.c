// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The chain: hash = SHA-256(previous hash | seq LE64 | at_ms LE64 | for each of actor, action,
// object, detail: its length LE64 and its octets). The first record follows 32 zero octets.

#include "control/ledger_internal.h"

#include <event2/event.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define VERIFY_SLICE 500 // records in a turn of the loop: about a millisecond

struct audit_fields {
	int64_t seq, at_ms;
	const char *text[4]; // actor, action, object, detail
};

int audit_init(struct ledger *l)
{
	l->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	l->sha256_ctx = EVP_MD_CTX_new();
	return l->sha256 && l->sha256_ctx ? 0 : -ENOMEM;
}

static void verify_free(struct audit_verify *v);

void audit_fini(struct ledger *l)
{
	while (!LIST_EMPTY(&l->verifies))
		verify_free(LIST_FIRST(&l->verifies));
	EVP_MD_CTX_free(l->sha256_ctx);
	EVP_MD_free(l->sha256);
}

static void le64_hash(EVP_MD_CTX *ctx, uint64_t x)
{
	uint8_t octets[8];

	for (int i = 0; i < 8; i++)
		octets[i] = (uint8_t)(x >> (8 * i));
	EVP_DigestUpdate(ctx, octets, sizeof(octets));
}

static void audit_hash(
	struct ledger *l,
	const uint8_t previous[SHA256_LEN],
	const struct audit_fields *fields,
	uint8_t ret_hash[SHA256_LEN]
)
{
	EVP_DigestInit_ex(l->sha256_ctx, l->sha256, NULL);
	EVP_DigestUpdate(l->sha256_ctx, previous, SHA256_LEN);
	le64_hash(l->sha256_ctx, (uint64_t)fields->seq);
	le64_hash(l->sha256_ctx, (uint64_t)fields->at_ms);
	for (int i = 0; i < 4; i++) {
		size_t len = strlen(fields->text[i]);

		le64_hash(l->sha256_ctx, len);
		EVP_DigestUpdate(l->sha256_ctx, fields->text[i], len);
	}
	EVP_DigestFinal_ex(l->sha256_ctx, ret_hash, NULL);
}

void audit_add(
	struct ledger *l,
	const char *actor,
	const char *action,
	const char *object,
	const char *detail
)
{
	sqlite3_stmt *stmt = l->stmts[STMT_AUDIT_ADD];
	struct audit_fields fields = {
		.seq = l->now.audit_seq + 1,
		.at_ms = clock_wall_ms(l),
		.text = {actor ? actor : "", action, object ? object : "", detail ? detail : ""},
	};
	uint8_t hash[SHA256_LEN];

	if (l->error)
		return;
	audit_hash(l, l->now.audit_hash, &fields, hash);
	sqlite3_bind_int64(stmt, 1, fields.seq);
	sqlite3_bind_int64(stmt, 2, fields.at_ms);
	for (int i = 0; i < 4; i++)
		sql_bind_text(stmt, 3 + i, fields.text[i]);
	sqlite3_bind_blob(stmt, 7, hash, SHA256_LEN, SQLITE_STATIC);
	if (sql_run(l, stmt) < 0)
		return;
	l->now.audit_seq = fields.seq;
	memcpy(l->now.audit_hash, hash, SHA256_LEN);
	l->topics |= LEDGER_AUDIT;
}

void audit_add_cause(
	struct ledger *l,
	const char *actor,
	const char *action,
	const char *object,
	const char *key,
	const char *cause
)
{
	struct detail detail;

	detail_begin(&detail);
	detail_text(&detail, key, cause);
	audit_add(l, actor, action, object, detail_end(&detail));
}

void detail_begin(struct detail *d)
{
	d->len = 0;
}

static void detail_put(struct detail *d, char c)
{
	d->text[d->len++] = c;
}

static void detail_string(struct detail *d, const char *value)
{
	static const char hex[] = "0123456789abcdef";

	detail_put(d, '"');
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		// Room for an escape, the ellipsis, the quote, a number and the brace.
		if (d->len + 64 > sizeof(d->text)) {
			memcpy(d->text + d->len, "...", 3);
			d->len += 3;
			break;
		}
		if (c == '"' || c == '\\') {
			detail_put(d, '\\');
			detail_put(d, (char)c);
		} else if (c < 0x20) {
			memcpy(d->text + d->len, "\\u00", 4);
			d->len += 4;
			detail_put(d, hex[c >> 4]);
			detail_put(d, hex[c & 15]);
		} else {
			detail_put(d, (char)c);
		}
	}
	// A cut inside a UTF-8 sequence would make the whole record unreadable as JSON.
	if (*value)
		while (d->len > 3 && ((unsigned char)d->text[d->len - 4] & 0x80)) {
			memmove(d->text + d->len - 4, d->text + d->len - 3, 3);
			d->len--;
		}
	detail_put(d, '"');
}

static bool detail_key(struct detail *d, const char *key)
{
	size_t len = strlen(key);

	if (d->len + len + 96 > sizeof(d->text))
		return false;
	detail_put(d, d->len == 0 ? '{' : ',');
	detail_put(d, '"');
	memcpy(d->text + d->len, key, len);
	d->len += len;
	detail_put(d, '"');
	detail_put(d, ':');
	return true;
}

void detail_text(struct detail *d, const char *key, const char *value)
{
	if (value && *value && detail_key(d, key))
		detail_string(d, value);
}

void detail_number(struct detail *d, const char *key, int64_t value)
{
	if (!detail_key(d, key))
		return;
	d->len += (size_t)snprintf(d->text + d->len, 24, "%lld", (long long)value);
}

const char *detail_end(struct detail *d)
{
	if (d->len == 0)
		detail_put(d, '{');
	detail_put(d, '}');
	d->text[d->len] = '\0';
	return d->text;
}

int ledger_audit(
	struct ledger *l, const char *actor, const char *action, const char *object, json_t *detail
)
{
	char *text = NULL;
	int r = transaction_begin(l);

	if (r < 0)
		return r;
	if (detail) {
		text = json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS);
		if (!text)
			return -EINVAL;
	}
	audit_add(l, actor, action, object, text ? text : "{}");
	free(text);
	return l->error;
}

void ledger_audit_then(
	struct ledger *l,
	const char *actor,
	const char *action,
	const char *object,
	json_t *detail,
	ledger_done done,
	void *ctx
)
{
	int r = ledger_audit(l, actor, action, object, detail);

	pending_done(l, done, ctx, r, "");
}

static void hash_print(const uint8_t hash[SHA256_LEN], char text[65])
{
	for (int i = 0; i < SHA256_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

static const char *const audit_columns
	= "SELECT seq, at_ms, actor, action, object, detail, hash FROM audit";

static int records_walk(struct ledger *l, sqlite3_stmt *stmt, audit_cb cb, void *ctx)
{
	char hash[65];
	int rc;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct audit_record record = {
			.seq = sqlite3_column_int64(stmt, 0),
			.when_ms = sqlite3_column_int64(stmt, 1),
			.actor = sql_text(stmt, 2),
			.action = sql_text(stmt, 3),
			.object = sql_text(stmt, 4),
			.detail = sql_text(stmt, 5),
			.hash = hash,
		};

		hash[0] = '\0';
		if (sqlite3_column_bytes(stmt, 6) == SHA256_LEN)
			hash_print(sqlite3_column_blob(stmt, 6), hash);
		if (!cb(ctx, &record))
			return 0;
	}
	return sql_errno(rc, l->db);
}

int ledger_audit_page(struct ledger *l, int64_t before, size_t max, audit_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	char sql[192];
	int r;

	snprintf(sql, sizeof(sql), "%s WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2", audit_columns);
	r = sql_kept(l, sql, &stmt);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, before > 0 ? before : INT64_MAX);
	sqlite3_bind_int64(stmt, 2, (int64_t)max);
	return records_walk(l, stmt, cb, ctx);
}

// The committed head: what is still open may be rolled back.
static const struct ledger_now *committed(const struct ledger *l)
{
	return l->open ? &l->saved : &l->now;
}

// The records behind `after`, up to the chain's head and at most `max` of them.
static int records_after(struct ledger *l, int64_t after, int64_t max, sqlite3_stmt **ret_stmt)
{
	char sql[192];
	int r;

	snprintf(
		sql,
		sizeof(sql),
		"%s WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
		audit_columns
	);
	r = sql_kept(l, sql, ret_stmt);
	if (r < 0)
		return r;
	sqlite3_bind_int64(*ret_stmt, 1, after);
	sqlite3_bind_int64(*ret_stmt, 2, committed(l)->audit_seq);
	sqlite3_bind_int64(*ret_stmt, 3, max);
	return 0;
}

int ledger_audit_after(struct ledger *l, int64_t after, size_t max, audit_cb cb, void *ctx)
{
	scoped_stmt stmt = NULL;
	int r;

	r = records_after(l, after, (int64_t)max, &stmt);
	if (r < 0)
		return r;
	return records_walk(l, stmt, cb, ctx);
}

// Records behind the chain's head; they are of nobody's writing.
static int beyond_check(struct ledger *l)
{
	scoped_stmt stmt = NULL;
	int r = sql_kept(l, "SELECT 1 FROM audit WHERE seq > ?1", &stmt);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, l->now.audit_seq);
	return sqlite3_step(stmt) == SQLITE_ROW ? -EILSEQ : 0;
}

static bool
record_verifies(struct ledger *l, sqlite3_stmt *stmt, const struct audit_walk *walk, uint8_t *hash)
{
	struct audit_fields fields = {
		.seq = sqlite3_column_int64(stmt, 0),
		.at_ms = sqlite3_column_int64(stmt, 1),
	};

	for (int i = 0; i < 4; i++)
		fields.text[i] = sql_text(stmt, 2 + i);
	audit_hash(l, walk->hash, &fields, hash);
	return fields.seq == walk->seq + 1 && sqlite3_column_bytes(stmt, 6) == SHA256_LEN
		&& memcmp(sqlite3_column_blob(stmt, 6), hash, SHA256_LEN) == 0;
}

int audit_verify_some(struct ledger *l, struct audit_walk *walk)
{
	const struct ledger_now *head = committed(l);
	scoped_stmt stmt = NULL;
	uint8_t hash[SHA256_LEN];
	int r, rc, n;

	r = records_after(l, walk->seq, VERIFY_SLICE, &stmt);
	if (r < 0)
		return r;
	for (n = 0; (rc = sqlite3_step(stmt)) == SQLITE_ROW; n++) {
		if (!record_verifies(l, stmt, walk, hash))
			return -EILSEQ;
		walk->seq++;
		memcpy(walk->hash, hash, SHA256_LEN);
	}
	if (rc != SQLITE_DONE)
		return sql_errno(rc, l->db);
	if (walk->seq < head->audit_seq && n == VERIFY_SLICE)
		return 1;
	// The head is kept apart: records cut off the end are missed too.
	if (walk->seq != head->audit_seq || memcmp(walk->hash, head->audit_hash, SHA256_LEN) != 0)
		return -EILSEQ;
	return beyond_check(l);
}

struct audit_verify {
	LIST_ENTRY(audit_verify) link;
	struct ledger *ledger;
	struct event *next;
	struct audit_walk walk;
	audit_verified_cb cb;
	void *ctx;
};

static void verify_free(struct audit_verify *v)
{
	LIST_REMOVE(v, link);
	event_free(v->next);
	free(v);
}

static void verify_step(evutil_socket_t fd, short what, void *ctx)
{
	static const struct timeval now;
	struct audit_verify *v = ctx;
	int r = audit_verify_some(v->ledger, &v->walk);

	(void)fd;
	(void)what;
	if (r == 1) {
		event_add(v->next, &now);
		return;
	}
	v->cb(v->ctx, r, v->walk.seq);
	verify_free(v);
}

int ledger_audit_verify(struct ledger *l, audit_verified_cb cb, void *ctx)
{
	static const struct timeval now;
	struct audit_verify *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->next = event_new(l->base, -1, 0, verify_step, v);
	if (!v->next || event_add(v->next, &now) < 0) {
		if (v->next)
			event_free(v->next);
		free(v);
		return -ENOMEM;
	}
	v->ledger = l;
	v->cb = cb;
	v->ctx = ctx;
	LIST_INSERT_HEAD(&l->verifies, v, link);
	return 0;
}

int ledger_audit_head(struct ledger *l, int64_t *ret_seq, char ret_hash[65])
{
	*ret_seq = l->now.audit_seq;
	hash_print(l->now.audit_hash, ret_hash);
	return 0;
}

void audit_syslog(struct ledger *l)
{
	char hash[65];

	hash_print(l->now.audit_hash, hash);
	syslog(LOG_AUTHPRIV | LOG_NOTICE,
	       "stanch audit head: record %lld, sha256 %s",
	       (long long)l->now.audit_seq,
	       hash);
}
