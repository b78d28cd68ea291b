// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Who refers to our sets, which of those policies deny with them, and where these are listed. Reads
// only; what the token may not read stays unknown, and nothing waits for it.

#include "control/followers/f5xc_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t stale_before(const struct f5xc *f)
{
	return f5xc_now_ms() - (int64_t)f->conf->reconcile_s * 500;
}

static void unread_why(const struct http_answer *a, char why[48])
{
	if (a->status == 0)
		snprintf(why, 48, "%.45s", a->error_text);
	else
		snprintf(why, 48, "%ld", a->status);
	f5xc_text_clean(why);
}

// --- policies that refer to a set

// The same policy may refer to many sets: one reading serves all.
static void policy_was_read(struct f5xc *f, const struct http_answer *a)
{
	const struct f5xc_referrer asked = f->asked->referrers.list[f->asked_referrer];
	json_t *object = a->status == 200 ? f5xc_answer_json(a) : NULL;

	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++) {
			struct shard *s = &f->shards[v][i];

			for (size_t k = 0; k < s->referrers.n; k++) {
				struct f5xc_referrer *one = &s->referrers.list[k];

				if (one->plural != asked.plural
				    || strcmp(one->name, asked.name) != 0
				    || strcmp(one->xc_namespace, asked.xc_namespace) != 0)
					continue;
				one->read_ms = f5xc_now_ms();
				one->why[0] = '\0';
				if (f5xc_policy_judge(
					    object, f->conf->xc_namespace, s->name, &one->verdict
				    )
				    == 0)
					continue;
				one->verdict = F5XC_UNREAD;
				unread_why(a, one->why);
			}
		}
	if (object)
		f5xc_attachments_note(object, asked.name, &f->policy.attached);
	f->wanted.moves++;
	json_decref(object);
}

static bool policy_ask(struct f5xc *f, struct shard *s, size_t which)
{
	const struct f5xc_referrer *one = &s->referrers.list[which];
	char path[320];

	snprintf(
		path,
		sizeof(path),
		"/config/namespaces/%s/%s/%s",
		one->xc_namespace,
		one->plural,
		one->name
	);
	f->asked = s;
	f->asked_referrer = which;
	return f5xc_ask(f, "GET", path, NULL, policy_was_read) == 0;
}

// Whether the default answer names who refers is not documented: asked apart where it does not.
static void apart_was_read(struct f5xc *f, const struct http_answer *a)
{
	struct shard *s = f->asked;
	json_t *object = a->status == 200 ? f5xc_answer_json(a) : NULL;

	if (object && !f5xc_referrers_note(object, &s->referrers))
		s->referrers = (struct f5xc_referrers){.asked_ms = s->referrers.asked_ms};
	f->wanted.moves++;
	json_decref(object);
}

static bool apart_ask(struct f5xc *f, struct shard *s)
{
	char path[320];

	s->referrers.asked_ms = f5xc_now_ms();
	snprintf(
		path,
		sizeof(path),
		"/config/namespaces/%s/ip_prefix_sets/%s"
		"?response_format=GET_RSP_FORMAT_REFERRING_OBJECTS",
		f->conf->xc_namespace,
		s->name
	);
	f->asked = s;
	return f5xc_ask(f, "GET", path, NULL, apart_was_read) == 0;
}

// --- sites and firewalls that list such a policy

static void list_was_read(struct f5xc *f, const struct http_answer *a)
{
	struct f5xc_attachment *one = &f->policy.attached.list[f->policy.attach_next];
	bool ours = strcmp(one->policy, f->policy.name) == 0;
	json_t *object = a->status == 200 ? f5xc_answer_json(a) : NULL;
	enum f5xc_listed was = one->listed;

	one->read_ms = f5xc_now_ms();
	one->why[0] = '\0';
	if (f5xc_list_judge(object, one->policy, ours ? f->conf->policy_before : NULL, &one->listed)
	    < 0) {
		one->listed = F5XC_LIST_UNREAD;
		unread_why(a, one->why);
	}
	f->policy.dirty |= ours && was != one->listed;
	f->wanted.moves++;
	json_decref(object);
}

static bool list_ask(struct f5xc *f, size_t which)
{
	const struct f5xc_attachment *one = &f->policy.attached.list[which];
	char path[320];

	snprintf(
		path,
		sizeof(path),
		"/config/namespaces/%s/%s/%s",
		one->xc_namespace,
		one->plural,
		one->name
	);
	f->policy.attach_next = which;
	return f5xc_ask(f, "GET", path, NULL, list_was_read) == 0;
}

// Ours: who lists it, where the default answer does not say.
static void ours_was_read(struct f5xc *f, const struct http_answer *a)
{
	json_t *object = a->status == 200 ? f5xc_answer_json(a) : NULL;

	if (object && !f5xc_attachments_note(object, f->policy.name, &f->policy.attached))
		f5xc_attachments_drop(&f->policy.attached, f->policy.name);
	json_decref(object);
}

static bool ours_ask(struct f5xc *f)
{
	char path[320];

	f->policy.apart_ms = f5xc_now_ms();
	snprintf(
		path,
		sizeof(path),
		"/config/namespaces/%s/enhanced_firewall_policys/%s"
		"?response_format=GET_RSP_FORMAT_REFERRING_OBJECTS",
		f->conf->xc_namespace,
		f->policy.name
	);
	return f5xc_ask(f, "GET", path, NULL, ours_was_read) == 0;
}

static bool shard_refer(struct f5xc *f, struct shard *s, int64_t before)
{
	if (!s->known || s->missing || s->foreign)
		return false;
	for (size_t k = 0; k < s->referrers.n; k++) {
		const struct f5xc_referrer *one = &s->referrers.list[k];

		if (one->read_ms == 0 || one->read_ms < before)
			return policy_ask(f, s, k);
	}
	// With a rule of ours it is known who refers.
	if (!s->named_referrers && !f5xc_glue_rules(f, s)
	    && (s->referrers.asked_ms == 0 || s->referrers.asked_ms < before))
		return apart_ask(f, s);
	return false;
}

bool f5xc_refer_step(struct f5xc *f)
{
	const struct f5xc_attachments *a = &f->policy.attached;
	const struct policy *p = &f->policy;
	int64_t before = stale_before(f);

	for (size_t i = 0; i < a->n; i++)
		if (a->list[i].read_ms == 0 || a->list[i].read_ms < before)
			return list_ask(f, i);
	for (int v = 0; v < 2; v++)
		for (int i = 0; i < F5XC_SLOTS; i++)
			if (shard_refer(f, &f->shards[v][i], before))
				return true;
	if (f->conf->policy_before && p->known && !p->missing && !p->foreign
	    && (p->apart_ms == 0 || p->apart_ms < before))
		return ours_ask(f);
	return false;
}
