// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_internal.h"
#include "control/followers/f5xc_rules.h"
#include "control/followers/f5xc_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS "sessions open already may go on at F5"

const char *const f5xc_state_names[F5XC_STATES] = {
	[F5XC_PENDING] = "pending",
	[F5XC_STORED] = "stored",
	[F5XC_REFERRED] = "referred",
	[F5XC_ATTACHED] = "attached",
	[F5XC_REFUSED] = "refused",
	[F5XC_NOT_MIRRORED] = "not mirrored",
	[F5XC_BLACKHOLE] = "would blackhole",
};

static void why_set(char *why, const char *a, const char *b)
{
	if (why)
		snprintf(why, F5XC_TEXT_MAX, "%.200s%.250s", a, b);
}

// Where the policy is listed, as read last.
static enum f5xc_state
listed_state(const struct f5xc *f, const char *policy, const char *kind, char *why)
{
	const struct f5xc_attachments *a = &f->policy.attached;
	const struct f5xc_attachment *unread = NULL;

	for (size_t i = 0; i < a->n; i++) {
		const struct f5xc_attachment *one = &a->list[i];

		if (strcmp(one->policy, policy) != 0)
			continue;
		if (one->listed == F5XC_LISTED) {
			if (why)
				snprintf(
					why,
					F5XC_TEXT_MAX,
					"by a deny rule of %s, listed by %s; " SESSIONS,
					policy,
					one->name
				);
			return F5XC_ATTACHED;
		}
		if (one->listed == F5XC_LISTED_LAST) {
			why_set(why, one->name, ": list policy_before behind ours there");
			return F5XC_BLACKHOLE;
		}
		if (one->listed == F5XC_LIST_UNREAD)
			unread = one;
	}
	if (why && unread)
		snprintf(
			why,
			F5XC_TEXT_MAX,
			"by a deny rule of %s%s, whether %s lists it is not known: %s; " SESSIONS,
			kind,
			policy,
			unread->name,
			unread->why
		);
	else if (why)
		snprintf(
			why,
			F5XC_TEXT_MAX,
			"by a deny rule of %s%s, which no site is known to list; " SESSIONS,
			kind,
			policy
		);
	return F5XC_REFERRED;
}

static const char *blackhole_name(const struct f5xc *f)
{
	const struct f5xc_attachments *a = &f->policy.attached;

	for (size_t i = 0; f->conf->policy_before && i < a->n; i++)
		if (a->list[i].listed == F5XC_LISTED_LAST
		    && strcmp(a->list[i].policy, f->policy.name) == 0)
			return a->list[i].name;
	return NULL;
}

static enum f5xc_state shard_state(const struct f5xc *f, const struct shard *s, char *why)
{
	const struct f5xc_referrer *r = f5xc_referrers_deny(&s->referrers);
	char text[F5XC_REFERRER_TEXT_MAX], kind[64] = "";
	const char *site = blackhole_name(f);

	if (site && !r && !f5xc_glue_rules(f, s)) {
		why_set(why, site, ": list policy_before behind ours there");
		return F5XC_BLACKHOLE;
	}
	if (f5xc_glue_rules(f, s))
		return listed_state(f, f->policy.name, "", why);
	if (r) {
		// "enhanced_firewall_policys" less its s
		snprintf(kind, sizeof(kind), "%.*s ", (int)strlen(r->plural) - 1, r->plural);
		return listed_state(f, r->name, kind, why);
	}
	f5xc_referrers_tell(&s->referrers, text);
	if (!text[0] && f->policy.error[0] && f->conf->policy_before)
		why_set(why, f->policy.error, "");
	else
		why_set(why, text, "");
	return F5XC_STORED;
}

static enum f5xc_state port_state(const struct f5xc *f, const struct f5xc_item *item, char *why)
{
	const char *site = blackhole_name(f);

	if (item->cut) {
		why_set(why, "allowed or protected: ", item->cut);
		return F5XC_NOT_MIRRORED;
	}
	if (f->policy.rules && !f->policy.foreign && !f->policy.disabled
	    && f5xc_rules_have_port(f->policy.rules, &item->key))
		return listed_state(f, f->policy.name, "", why);
	if (site) {
		why_set(why, site, ": list policy_before behind ours there");
		return F5XC_BLACKHOLE;
	}
	if (f->policy.n_cut > 0) {
		why_set(why, "the policy is full: F5 takes 128 rules", "");
		return F5XC_REFUSED;
	}
	why_set(why, f->policy.error[0] ? f->policy.error : f->error, "");
	return F5XC_PENDING;
}

static const struct shard *shard_of(const struct f5xc *f, const struct f5xc_place *place)
{
	return &f->shards[place->at.family == 6][place->slot];
}

static bool leads(const struct f5xc *f, const char **ret_name)
{
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			if (f->shards[v][i].higher) {
				*ret_name = f->shards[v][i].name;
				return false;
			}
	return true;
}

static enum f5xc_state unseated_state(const struct f5xc *f, const struct f5xc_item *item, char *why)
{
	const char *higher;

	if (f->ledger_error[0] || f->error[0] || !f5xc_all_known(f)) {
		why_set(why,
			f->ledger_error[0] ? f->ledger_error
				: f->error[0]
				? f->error
				: "the sets are being read: what stands there keeps its place",
			"");
		return F5XC_PENDING;
	}
	if (!leads(f, &higher)) {
		why_set(why, higher, " is of a higher epoch: another gateway leads");
		return F5XC_REFUSED;
	}
	why_set(why, item->full ? "full: no place in the sets" : "", "");
	return item->full ? F5XC_REFUSED : F5XC_PENDING;
}

static enum f5xc_state place_state(const struct f5xc *f, const struct f5xc_place *place, char *why)
{
	const struct shard *s = shard_of(f, place);
	const char *error = s->error[0] ? s->error : f->error, *higher;

	if (place->held && s->disabled) {
		why_set(why, "not effective: somebody disabled the set at F5", "");
		return F5XC_PENDING;
	}
	if (place->held)
		return shard_state(f, s, why);
	if (place->at.family == 6 && s->missing && f5xc_now_ms() < f->family_refused_ms) {
		why_set(why, f->family_why, "");
		return F5XC_NOT_MIRRORED;
	}
	if (!leads(f, &higher)) {
		why_set(why, higher, " is of a higher epoch: another gateway leads");
		return F5XC_REFUSED;
	}
	if (place->drifted)
		why_set(why, "somebody took it out at F5 (f5xc.drift: show)", "");
	else if (s->gone)
		why_set(why, s->name, " was deleted at F5: stanch f5 sync makes it again");
	else
		why_set(why, f->ledger_error[0] ? f->ledger_error : error, "");
	return F5XC_PENDING;
}

// The piece that is worst speaks for all.
static unsigned urgency(enum f5xc_state state)
{
	static const unsigned order[F5XC_STATES] = {
		[F5XC_ATTACHED] = 0,
		[F5XC_REFERRED] = 1,
		[F5XC_STORED] = 2,
		[F5XC_BLACKHOLE] = 3,
		[F5XC_NOT_MIRRORED] = 4,
		[F5XC_PENDING] = 5,
		[F5XC_REFUSED] = 6,
	};

	return order[state];
}

enum f5xc_state f5xc_item_state(const struct f5xc *f, const struct f5xc_item *item, char *why)
{
	enum f5xc_state state = F5XC_ATTACHED;

	why_set(why, "", "");
	if (item->voice.why_not) {
		why_set(why, item->voice.why_not, "");
		return F5XC_NOT_MIRRORED;
	}
	if (item->key.kind == INDICATOR_PORT)
		return port_state(f, item, why);
	if (item->cut_refused) {
		if (why)
			snprintf(
				why,
				F5XC_TEXT_MAX,
				"allowed part: without %s it would be more than %d prefixes",
				item->cut ? item->cut : "",
				F5XC_PIECES_MAX
			);
		return F5XC_REFUSED;
	}
	if (item->n_pieces == 0) {
		why_set(why, "allowed or protected: ", item->cut ? item->cut : "");
		return F5XC_NOT_MIRRORED;
	}
	for (size_t i = 0; i < item->n_pieces; i++) {
		const struct f5xc_place *place = item->pieces[i];
		enum f5xc_state one;
		char text[F5XC_TEXT_MAX] = "";

		if (place->refused)
			why_set(text, place->refused, "");
		one = place->refused	  ? F5XC_REFUSED
			: place->slot < 0 ? unseated_state(f, item, why ? text : NULL)
					  : place_state(f, place, why ? text : NULL);
		if (i == 0 || urgency(one) > urgency(state)) {
			state = one;
			why_set(why, text, "");
		}
	}
	return state;
}

static void text_join(char text[F5XC_TEXT_MAX], const char *more, const char *between)
{
	size_t len = strlen(text);

	if (*more)
		snprintf(text + len, F5XC_TEXT_MAX - len, "%s%s", between, more);
}

// A set that holds it, though nobody wants it there.
static const struct shard *holder_of(const struct f5xc *f, const struct indicator *n)
{
	const struct f5xc_prefix p = f5xc_prefix_of(n);

	for (int i = 0; n->kind == INDICATOR_NET && i < F5XC_SLOTS; i++) {
		const struct shard *s = &f->shards[n->family == 6][i];

		if (s->n_held > 0 && !s->foreign && !f5xc_is_keep(n->family, &p)
		    && bsearch(&p, s->held, s->n_held, sizeof(*s->held), f5xc_prefix_compare))
			return s;
	}
	return NULL;
}

bool f5xc_entry_state(struct f5xc *f, const struct indicator *n, char ret_text[F5XC_TEXT_MAX])
{
	const struct f5xc_item *item = f5xc_item_find(&f->wanted, n);
	const struct shard *holder = item && item->n_pieces > 0 ? NULL : holder_of(f, n);
	const char *between = ": ";
	char why[F5XC_TEXT_MAX] = "", cut[120] = "";
	enum f5xc_state state;

	if (!item && !holder)
		return false;
	state = item ? f5xc_item_state(f, item, why) : F5XC_PENDING;
	snprintf(ret_text, F5XC_TEXT_MAX, "%s", item ? f5xc_state_names[state] : "withdrawn");
	if (state == F5XC_BLACKHOLE)
		between = " ";
	if (item && item->cut && item->n_pieces > 0)
		snprintf(cut, sizeof(cut), "without %.100s", item->cut);
	const char *const parts[] = {
		why,
		holder ? "still stored there" : "",
		holder && holder->error[0] ? holder->error : "",
		cut,
	};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		text_join(ret_text, parts[i], between);
		between = *parts[i] ? "; " : between;
	}
	return true;
}
