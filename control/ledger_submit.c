// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// The judgement of a submission, in this order: unchanged, ended already, protections, public
// suffixes, space and capacity, shortest prefix, cautions, new claims of cases a minute.

#include "control/ledger_internal.h"
#include "rules/domain.h"
#include "rules/siphash.h"
#include "rules/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// A claim on its way into the ledger.
struct put {
	const struct claim *claim;
	const char *cause; // why its source holds it
	const struct actor *actor;
	struct source *source;
	struct ledger_key key;
	struct claim_row row; // what is there under its key
	bool found;
	bool same; // and says the same
};

static const char *text_of(const char *text)
{
	return text ? text : "";
}

static const char *action_name(enum claim_action action)
{
	return action == CLAIM_ENFORCE ? "enforce" : "monitor";
}

void claim_object(const struct claim *claim, char *text, size_t size)
{
	char indicator[INDICATOR_TEXT_MAX];

	indicator_print(&claim->indicator, indicator);
	snprintf(text, size, "%s %s %s", indicator, claim->source, text_of(claim->ref));
}

static bool text_same(sqlite3_stmt *stmt, int column, const char *text)
{
	return strcmp(sql_text(stmt, column), text_of(text)) == 0;
}

struct claim_row claim_row_read(sqlite3_stmt *stmt)
{
	return (struct claim_row){
		.id = sqlite3_column_int64(stmt, 0),
		.until = sqlite3_column_int64(stmt, 1),
		.created = sqlite3_column_int64(stmt, 2),
		.orphaned_since = sqlite3_column_int64(stmt, 3),
		.held_id = sqlite3_column_int64(stmt, 4),
		.action = (enum claim_action)sqlite3_column_int(stmt, 5),
		.state = (enum claim_state)sqlite3_column_int(stmt, 6),
	};
}

bool claim_row_says(sqlite3_stmt *stmt, const struct claim *c)
{
	return sqlite3_column_int64(stmt, 1) == c->until
		&& (enum claim_action)sqlite3_column_int(stmt, 5) == c->action
		&& text_same(stmt, 7, c->author)
		&& !!sqlite3_column_int(stmt, 8) == c->author_inferred
		&& text_same(stmt, 9, c->reason) && text_same(stmt, 10, c->case_number)
		&& sqlite3_column_int(stmt, 11) == c->tlp;
}

static void put_find(struct ledger *l, struct put *put)
{
	sqlite3_stmt *stmt = l->stmts[STMT_CLAIM_FIND];
	const struct claim *c = put->claim;
	int rc;

	sqlite3_bind_int64(stmt, 1, put->source->id);
	sql_bind_text(stmt, 2, c->ref);
	sql_bind_key(stmt, 3, &put->key);
	rc = sqlite3_step(stmt);
	put->found = rc == SQLITE_ROW;
	if (put->found) {
		put->row = claim_row_read(stmt);
		put->same = claim_row_says(stmt, c);
	} else if (rc != SQLITE_DONE) {
		transaction_fail(l, sql_errno(rc, l->db));
	}
	sqlite3_reset(stmt);
}

static bool actor_forces(const struct actor *actor)
{
	return actor->force && actor->reason && *actor->reason;
}

// Sources repeat what was refused with each synchronisation: it is counted each time, and audited
// when it is new (or was forgotten: the table is small).
static bool refusal_new(struct ledger *l, const char *object, enum submit_code code)
{
	static const uint8_t key[16];
	uint64_t hash = siphash64(key, object, strlen(object)) ^ (uint64_t)code;
	uint64_t *seen = &l->refusals_seen[hash % 1024];

	if (*seen == hash)
		return false;
	*seen = hash;
	return true;
}

static void
refusal_audit(struct ledger *l, const struct put *put, enum submit_code code, const char *message)
{
	char object[1024];

	claim_object(put->claim, object, sizeof(object));
	if (refusal_new(l, object, code))
		audit_add_cause(l, put->actor->name, "claim.refuse", object, "why", message);
}

static void protection_message(const struct protection *p, char message[192])
{
	static const char *const origin[] = {
		[PROTECT_BUILTIN] = "built in",
		[PROTECT_PRIVATE] = "setting protect.private",
		[PROTECT_CONFIGURED] = "configured",
		[PROTECT_OPERATOR] = "stanch protect",
		[PROTECT_DERIVED] = "derived",
	};
	char text[INDICATOR_TEXT_MAX];

	indicator_print(&p->indicator, text);
	snprintf(
		message,
		192,
		"protected by %.60s (%.80s%s%.30s)",
		text,
		p->reason,
		p->reason[0] ? "; " : "",
		origin[p->origin]
	);
}

// SUBMIT_OK, or SUBMIT_PROTECTED, SUBMIT_EXCEPTED with a message.
static enum submit_code
protections_judge(struct ledger *l, const struct indicator *n, char message[192])
{
	const struct protection *p = protect_check(l->protect, n, NULL);

	if (p) {
		protection_message(p, message);
		return protect_mode(l->protect) == PROTECT_EXCEPT ? SUBMIT_EXCEPTED
								  : SUBMIT_PROTECTED;
	}
	if (n->kind == INDICATOR_NAME && n->subtree && domain_is_public_suffix(n->name)) {
		snprintf(
			message,
			192,
			"%.100s is a public suffix: its subdomains belong to many; name one of "
			"them",
			n->name
		);
		return SUBMIT_PROTECTED;
	}
	return SUBMIT_OK;
}

static enum submit_code capacity_judge(
	struct ledger *l, const struct indicator *n, const struct ledger_key *key, char message[192]
)
{
	const struct dirty *d;

	if (l->space_low) {
		snprintf(
			message,
			192,
			"no space on disk: new blocks are refused until %.80s has room",
			l->dir
		);
		return SUBMIT_FULL;
	}
	if (l->now.tally.entries < l->conf.max_entries)
		return SUBMIT_OK;
	d = dirty_find(l, n, key);
	if (!d || dirty_has(d))
		return SUBMIT_OK;
	l->refused_room = true;
	snprintf(
		message,
		192,
		"the list is full: %" PRIu64 " of %" PRIu64 " entries (control.ledger.max_entries)",
		l->now.tally.entries,
		l->conf.max_entries
	);
	return SUBMIT_FULL;
}

static enum submit_code prefix_judge(struct ledger *l, const struct put *put, char message[192])
{
	const struct indicator *n = &put->claim->indicator;
	unsigned shortest = n->family == 4 ? l->conf.min_prefix_v4 : l->conf.min_prefix_v6;

	if (n->kind != INDICATOR_NET || n->prefix_len >= shortest)
		return SUBMIT_OK;
	if (actor_forces(put->actor)) {
		l->forced = true;
		return SUBMIT_OK;
	}
	snprintf(
		message,
		192,
		"/%u is wider than the shortest prefix allowed, /%u (brakes.shortest_prefix_v%u); "
		"an "
		"operator may use --force --reason",
		n->prefix_len,
		shortest,
		n->family
	);
	return SUBMIT_BRAKE;
}

// Would one more new claim be too many in the last 60 seconds? Counts it where not.
static bool rate_take(struct ledger *l, struct rate *rate, uint32_t limit)
{
	int64_t second = clock_boot_ms(l) / 1000;

	if (second - rate->second >= RATE_SECONDS) {
		memset(rate->count, 0, sizeof(rate->count));
		rate->sum = 0;
		rate->second = second;
	}
	while (rate->second < second) {
		uint32_t *oldest = &rate->count[++rate->second % RATE_SECONDS];

		rate->sum -= *oldest;
		*oldest = 0;
	}
	if (rate->sum >= limit)
		return false;
	rate->count[second % RATE_SECONDS]++;
	rate->sum++;
	return true;
}

static enum submit_code rate_judge(struct ledger *l, const struct put *put, char message[192])
{
	bool was_held = put->found && put->row.state == CLAIM_HELD;

	if (put->claim->state == CLAIM_HELD && (!put->found || was_held)
	    && !actor_forces(put->actor)) {
		snprintf(message, 192, "%.190s", text_of(put->cause));
		return SUBMIT_HELD;
	}
	if (!put->source->cases || (put->found && !was_held))
		return SUBMIT_OK;
	if (actor_forces(put->actor)) {
		l->forced = true;
		return SUBMIT_OK;
	}
	// What is held stays held: only an operator lets it take effect.
	if (!was_held && rate_take(l, &put->source->rate, l->conf.case_claims_per_minute))
		return SUBMIT_OK;
	snprintf(
		message,
		192,
		"held: more than %" PRIu32 " new claims of %.60s in a minute "
		"(brakes.case_claims_per_minute); see stanch held",
		l->conf.case_claims_per_minute,
		put->source->name
	);
	return SUBMIT_HELD;
}

// What is in force already, and what an operator let take effect, is not judged again.
static enum submit_code caution_judge(struct ledger *l, const struct put *put, char message[192])
{
	char why[192];

	if ((put->found && put->row.state < CLAIM_HELD)
	    || !protect_caution(l->protect, &put->claim->indicator, why))
		return SUBMIT_OK;
	if (actor_forces(put->actor)) {
		l->forced = true;
		return SUBMIT_OK;
	}
	snprintf(message, 192, "held: %.180s", why);
	return SUBMIT_HELD;
}

static enum submit_code put_judge(struct ledger *l, const struct put *put, char message[192])
{
	enum submit_code code, excepted;

	excepted = protections_judge(l, &put->claim->indicator, message);
	if (excepted == SUBMIT_PROTECTED)
		return excepted;
	// A change of what is in force already is no new block.
	code = put->found && put->row.state < CLAIM_HELD
		? SUBMIT_OK
		: capacity_judge(l, &put->claim->indicator, &put->key, message);
	if (code == SUBMIT_OK)
		code = prefix_judge(l, put, message);
	if (code == SUBMIT_OK)
		code = caution_judge(l, put, message);
	if (code == SUBMIT_OK)
		code = rate_judge(l, put, message);
	return code == SUBMIT_OK ? excepted : code;
}

enum submit_code claim_judge_again(
	struct ledger *l, const struct indicator *n, const struct ledger_key *key, char message[192]
)
{
	enum submit_code excepted = protections_judge(l, n, message), code;

	if (excepted == SUBMIT_PROTECTED)
		return excepted;
	code = capacity_judge(l, n, key, message);
	return code == SUBMIT_OK ? excepted : code;
}

static void put_bind(struct ledger *l, sqlite3_stmt *stmt, const struct put *put, int64_t held)
{
	const struct claim *c = put->claim;

	sqlite3_bind_int64(stmt, 1, put->source->id);
	sql_bind_text(stmt, 2, c->ref);
	sql_bind_key(stmt, 3, &put->key);
	sqlite3_bind_int(stmt, 4, c->action);
	sqlite3_bind_int(stmt, 5, held ? CLAIM_HELD : CLAIM_LIVE);
	sqlite3_bind_int64(stmt, 6, c->created ? c->created : clock_wall(l));
	sqlite3_bind_int64(stmt, 7, c->until);
	sqlite3_bind_int64(stmt, 8, deadline_due(l, c->until));
	if (held)
		sqlite3_bind_int64(stmt, 9, held);
	else
		sqlite3_bind_null(stmt, 9);
	sqlite3_bind_int(stmt, 10, c->tlp);
	sql_bind_text(stmt, 11, c->author);
	sqlite3_bind_int(stmt, 12, c->author_inferred);
	sql_bind_text(stmt, 13, c->reason);
	sql_bind_text(stmt, 14, c->case_number);
}

static void put_audit(struct ledger *l, const struct put *put, const char *action, const char *note)
{
	const struct claim *c = put->claim;
	struct detail detail;
	char object[1024], until[24];

	claim_object(c, object, sizeof(object));
	until_print(c->until, until);
	detail_begin(&detail);
	detail_text(&detail, "action", action_name(c->action));
	detail_text(&detail, "until", until);
	detail_text(&detail, "note", note);
	if (put->actor->force)
		detail_text(&detail, "forced", put->actor->reason);
	detail_text(&detail, "case", c->case_number);
	detail_text(&detail, "author", c->author);
	if (c->author_inferred)
		detail_text(&detail, "author_is", "inferred");
	detail_text(&detail, "reason", c->reason);
	audit_add(l, put->actor->name, action, object, detail_end(&detail));
	fleet_touch_row(l, c, put->row.id, put->actor->name, action, note);
}

void claim_count(struct ledger *l, struct source *s, enum claim_state state, int by)
{
	struct tally *tally = &l->now.tally;

	if (state == CLAIM_AWAY)
		return;
	if (s)
		s->claims += (uint64_t)by;
	if (state == CLAIM_HELD) {
		tally->held += (uint64_t)by;
		return;
	}
	tally->claims += (uint64_t)by;
	if (state == CLAIM_ORPHANED)
		tally->orphaned += (uint64_t)by;
}

static void put_write(struct ledger *l, struct put *put, bool hold, const char *note)
{
	sqlite3_stmt *stmt = l->stmts[put->found ? STMT_CLAIM_REPLACE : STMT_CLAIM_ADD];
	int64_t held = 0;
	struct dirty *d;

	if (hold && held_group(l, put->source, false, note, &held) < 0)
		return;
	if (put->found)
		fleet_mark_local(l, put->row.id);
	put_bind(l, stmt, put, held);
	if (sql_run(l, stmt) < 0)
		return;
	if (!put->found) {
		put->row.id = sqlite3_last_insert_rowid(l->db);
		fleet_mark_new(l, put->row.id);
	}
	if (hold) // first: a change that counts nothing ends, and this may be the same one
		held_count(l, held, 1);
	if (put->found) {
		claim_count(l, put->source, put->row.state, -1);
		if (put->row.held_id)
			held_count(l, put->row.held_id, -1);
	}
	claim_count(l, put->source, hold ? CLAIM_HELD : CLAIM_LIVE, 1);
	if (hold) {
		put_audit(l, put, "claim.hold", note);
		return;
	}
	if (put->source->cases && (!put->found || put->row.state == CLAIM_HELD))
		immunities_judged(l, &put->claim->indicator);
	d = dirty_find(l, &put->claim->indicator, &put->key);
	if (!d)
		return;
	if ((put->found && put->row.state < CLAIM_HELD)
	    || (put->source->list && ledger_immune(l, &put->claim->indicator)))
		dirty_recompute(l, d);
	else
		dirty_raise(l, d, put->claim->action, put->claim->until);
	put_audit(
		l,
		put,
		!put->found				   ? "claim.put"
			: put->row.state == CLAIM_ORPHANED ? "claim.return"
							   : "claim.replace",
		note
	);
}

static void refused_count(struct ledger *l, enum submit_code code)
{
	if (code == SUBMIT_PROTECTED)
		l->refused_protected++;
	else if (code == SUBMIT_BRAKE)
		l->refused_brake++;
	else if (code == SUBMIT_FULL)
		l->refused_full++;
}

// A claim whose end has passed when it arrives: whatever its key held ends.
static void put_late(struct ledger *l, struct put *put, struct submit_result *result)
{
	snprintf(result->message, sizeof(result->message), "its end has passed: not in force");
	result->code = SUBMIT_UNCHANGED;
	if (!put->found)
		return;
	result->code = SUBMIT_OK;
	claim_end(
		l,
		put->source,
		put->claim,
		&put->row,
		put->actor->name,
		"claim.end",
		"its end has passed"
	);
}

static void submit_put(
	struct ledger *l,
	const struct submit_item *item,
	const struct actor *actor,
	struct submit_result *result
)
{
	const struct claim *claim = &item->claim;
	struct claim endless = *claim;
	// An end that no text can say is none.
	struct put put = {
		.claim = claim->until > UNTIL_MAX ? &endless : claim,
		.cause = item->cause,
		.actor = actor,
		.source = source_get(l, claim->source),
	};

	endless.until = UNTIL_FOREVER;
	if (!put.source)
		return;
	key_pack(&claim->indicator, &put.key);
	put_find(l, &put);
	if (l->error)
		return;
	if (claim->until <= clock_wall(l)) {
		put_late(l, &put, result);
		return;
	}
	if (put.found && put.same && put.row.state == CLAIM_LIVE) {
		result->code = SUBMIT_UNCHANGED;
		return;
	}
	result->code = put_judge(l, &put, result->message);
	switch (result->code) {
	case SUBMIT_OK:
	case SUBMIT_EXCEPTED:
		put_write(l, &put, false, result->message);
		break;
	case SUBMIT_HELD:
		if (!put.found || !put.same || put.row.state != CLAIM_HELD)
			put_write(l, &put, true, result->message);
		break;
	default:
		refused_count(l, result->code);
		refusal_audit(l, &put, result->code, result->message);
	}
}

void claim_end(
	struct ledger *l,
	struct source *source,
	const struct claim *claim,
	const struct claim_row *row,
	const char *actor,
	const char *action,
	const char *cause
)
{
	char object[1024];
	struct ledger_key key;
	struct dirty *d;

	if (!fleet_mark_away(l, row)) {
		sqlite3_bind_int64(l->stmts[STMT_CLAIM_END], 1, row->id);
		if (sql_run(l, l->stmts[STMT_CLAIM_END]) < 0)
			return;
	}
	claim_count(l, source, row->state, -1);
	if (row->held_id)
		held_count(l, row->held_id, -1);
	if (row->state < CLAIM_HELD) {
		key_pack(&claim->indicator, &key);
		d = dirty_find(l, &claim->indicator, &key);
		if (d)
			dirty_recompute(l, d);
	}
	claim_object(claim, object, sizeof(object));
	audit_add_cause(l, actor, action, object, "cause", cause);
	fleet_touch_claim(l, claim, actor, action, cause);
}

void claim_state_set(
	struct ledger *l,
	struct source *source,
	const struct claim_row *row,
	enum claim_state state,
	int64_t due,
	int64_t orphaned_since
)
{
	sqlite3_stmt *stmt = l->stmts[STMT_CLAIM_STATE];

	fleet_mark_local(l, row->id);
	sqlite3_bind_int64(stmt, 1, row->id);
	sqlite3_bind_int(stmt, 2, state);
	sqlite3_bind_int64(stmt, 3, due);
	sqlite3_bind_int64(stmt, 4, orphaned_since);
	if (sql_run(l, stmt) < 0)
		return;
	claim_count(l, source, row->state, -1);
	claim_count(l, source, state, 1);
}

// What is not in force needs no grace; an orphan keeps the day it became one.
static bool orphan_set(struct ledger *l, struct put *put)
{
	int64_t since = clock_wall(l), grace = ledger_time(l) + l->conf.orphan_grace;
	int64_t due = deadline_due(l, put->row.until);

	if (put->row.state != CLAIM_LIVE)
		return false;
	claim_state_set(
		l, put->source, &put->row, CLAIM_ORPHANED, due < grace ? due : grace, since
	);
	return true;
}

static void
orphan(struct ledger *l,
       struct put *put,
       const struct submit_item *item,
       struct submit_result *result)
{
	char object[1024];

	if (!orphan_set(l, put)) {
		result->code = SUBMIT_UNCHANGED;
		return;
	}
	claim_object(put->claim, object, sizeof(object));
	audit_add_cause(l, put->actor->name, "claim.orphan", object, "cause", text_of(item->cause));
	fleet_touch_claim(l, put->claim, put->actor->name, "claim.orphan", item->cause);
}

// The entry does not notice: the claim is there before and after, or the other one is.
static void move(struct ledger *l, struct put *put, const struct submit_item *item)
{
	sqlite3_stmt *stmt = l->stmts[STMT_CLAIM_MOVE];
	struct claim there = item->claim;
	struct put other = {.claim = &there, .source = put->source, .key = put->key};
	struct detail detail;
	char object[1024];

	there.ref = item->to;
	put_find(l, &other);
	if (l->error)
		return;
	if (other.found) { // one of the two is enough: the one in force
		bool ours = other.row.state == CLAIM_HELD && put->row.state != CLAIM_HELD;

		claim_end(
			l,
			put->source,
			ours ? &there : put->claim,
			ours ? &other.row : &put->row,
			put->actor->name,
			"claim.end",
			text_of(item->cause)
		);
		if (!ours || l->error)
			return;
	}
	sqlite3_bind_int64(stmt, 1, put->row.id);
	sql_bind_text(stmt, 2, item->to);
	if (sql_run(l, stmt) < 0)
		return;
	orphan_set(l, put);
	claim_object(put->claim, object, sizeof(object));
	detail_begin(&detail);
	detail_text(&detail, "to", item->to);
	detail_text(&detail, "cause", text_of(item->cause));
	audit_add(l, put->actor->name, "claim.move", object, detail_end(&detail));
	// There it comes, here it goes.
	fleet_touch_claim(l, &there, put->actor->name, "claim.move", item->cause);
	fleet_touch_claim(l, put->claim, put->actor->name, "claim.move", item->cause);
}

static void submit_end(
	struct ledger *l,
	const struct submit_item *item,
	const struct actor *actor,
	struct submit_result *result
)
{
	struct put put = {
		.claim = &item->claim,
		.actor = actor,
		.source = source_find(l, item->claim.source),
	};

	if (put.source) {
		key_pack(&item->claim.indicator, &put.key);
		put_find(l, &put);
	}
	if (!put.found || put.row.state == CLAIM_AWAY) {
		result->code = SUBMIT_NOT_FOUND;
		snprintf(result->message, sizeof(result->message), "no such claim");
		return;
	}
	if (item->op == SUBMIT_ORPHAN) {
		orphan(l, &put, item, result);
		return;
	}
	if (item->op == SUBMIT_MOVE) {
		move(l, &put, item);
		return;
	}
	claim_end(
		l, put.source, put.claim, &put.row, actor->name, "claim.end", text_of(item->cause)
	);
}

static bool submit_wrote(enum submit_code code)
{
	return code == SUBMIT_OK || code == SUBMIT_EXCEPTED || code == SUBMIT_HELD;
}

void submit_item_now(
	struct ledger *l,
	const struct submit_item *item,
	const struct actor *actor,
	struct submit_result *result
)
{
	if (item->op == SUBMIT_PUT)
		submit_put(l, item, actor, result);
	else
		submit_end(l, item, actor, result);
}

void ledger_submit(struct ledger *l, const struct submit *submit, submit_done done, void *ctx)
{
	struct pending *pending;

	transaction_begin(l);
	pending = pending_create(l, submit->n);
	pending->submit = done;
	pending->ctx = ctx;
	for (size_t i = 0; i < submit->n && !l->error; i++) {
		const struct submit_item *item = &submit->items[i];

		submit_item_now(l, item, &submit->actor, &pending->results[i]);
		if (submit_wrote(pending->results[i].code))
			fleet_ask_submit(l, item, &submit->actor);
	}
	if (submit->actor.force && !l->error)
		audit_add_cause(
			l,
			submit->actor.name,
			"force",
			"claims",
			"reason",
			text_of(submit->actor.reason)
		);
	if (submit->actor.force)
		l->forced = true;
	if (l->n_open >= PENDING_FULL)
		ledger_commit_soon(l);
}
