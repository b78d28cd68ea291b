// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Policy mode: our one enhanced_firewall_policy, whose rules deny what the sets hold and the port
// entries. Order: a set stands before a rule refers to it, a rule goes before its set.
//
// Nothing is added where F5 would drop everything else: the operator's policy f5xc.policy_before
// must exist, be enabled, end in allow, and follow ours wherever ours is listed.

#include "control/followers/f5xc_internal.h"
#include "control/followers/f5xc_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void f5xc_glue_init(struct f5xc *f)
{
	snprintf(f->policy.name, sizeof(f->policy.name), "%.50s-deny", f->conf->prefix);
	f->policy.dirty = true;
}

void f5xc_glue_fini(struct f5xc *f)
{
	json_decref(f->policy.metadata);
	json_decref(f->policy.rules);
}

static void policy_path(const struct f5xc *f, const char *name, char path[256])
{
	snprintf(
		path,
		256,
		"/config/namespaces/%s/enhanced_firewall_policys%s%s",
		f->conf->xc_namespace,
		name ? "/" : "",
		name ? name : ""
	);
}

static void policy_failed(struct f5xc *f, const char *error)
{
	struct policy *p = &f->policy;

	if (strcmp(error, p->error) != 0)
		log_warning("F5 XC: %s: %s", p->name, error);
	snprintf(p->error, sizeof(p->error), "%s", error);
	p->not_before_ms = f5xc_now_ms() + f5xc_backoff(&p->backoff_ms);
	p->read_due = true;
	p->verify = false;
}

static void answer_failed(struct f5xc *f, const struct http_answer *a, const char *what)
{
	char error[F5XC_WHY_MAX];

	f5xc_answer_tell(f, a, what, error);
	policy_failed(f, error);
}

bool f5xc_glue_rules(const struct f5xc *f, const struct shard *s)
{
	return f->policy.rules && !f->policy.foreign && !f->policy.disabled
		&& f5xc_rules_have_set(f->policy.rules, s->name);
}

// Whoever lists ours without the operator's behind it. "": nobody.
static const char *blackhole_of(const struct f5xc *f)
{
	const struct f5xc_attachments *a = &f->policy.attached;

	for (size_t i = 0; i < a->n; i++)
		if (a->list[i].listed == F5XC_LISTED_LAST
		    && strcmp(a->list[i].policy, f->policy.name) == 0)
			return a->list[i].name;
	return "";
}

static bool unread_lists(const struct f5xc *f)
{
	const struct f5xc_attachments *a = &f->policy.attached;

	for (size_t i = 0; i < a->n; i++)
		if (a->list[i].read_ms == 0 && strcmp(a->list[i].policy, f->policy.name) == 0)
			return true;
	return false;
}

// May rules be added? Else why not.
static bool may_add(const struct f5xc *f, char ret_why[F5XC_WHY_MAX])
{
	const struct policy *p = &f->policy;
	const char *site = blackhole_of(f);

	if (*site)
		snprintf(
			ret_why,
			F5XC_WHY_MAX,
			"would blackhole %s: list %s behind %s there",
			site,
			f->conf->policy_before,
			p->name
		);
	else if (!p->before_allows)
		snprintf(
			ret_why,
			F5XC_WHY_MAX,
			"no rule is added: policy_before %s: %.90s",
			f->conf->policy_before,
			p->before_why[0] ? p->before_why : "not read yet"
		);
	else
		return true;
	return false;
}

// --- reading

static void drift_find(struct f5xc *f, json_t *object, bool known_before)
{
	struct policy *p = &f->policy;
	json_t *annotations = json_object_get(json_object_get(object, "metadata"), "annotations");
	const char *written = json_string_value(json_object_get(annotations, F5XC_CONTENT));
	char content[F5XC_CONTENT_MAX];
	bool moved;

	f5xc_rules_content(p->rules, content);
	moved = written && strcmp(written, content) != 0;
	(void)known_before;
	if (!moved && !p->disabled)
		p->drift[0] = '\0';
	else
		f5xc_drift_note(
			f,
			p->name,
			moved ? "somebody changed its rules" : "somebody disabled it",
			p->drift
		);
}

static void object_note(struct f5xc *f, json_t *object, bool verified)
{
	struct policy *p = &f->policy;
	bool known_before = p->known && !p->missing;
	struct f5xc_object o = {0};
	json_t *rules = json_object_get(
		json_object_get(json_object_get(object, "spec"), "rule_list"), "rules"
	);
	struct list_state state;

	if (f5xc_object_read(object, 4, &o) < 0) {
		policy_failed(f, "reading: the answer is no enhanced_firewall_policy");
		return;
	}
	f5xc_state(f, &state);
	p->foreign = strcmp(o.owner, f->conf->fleet_id) != 0 && !p->adopt;
	p->higher = !p->foreign && !p->adopt && o.revision.epoch > state.revision.epoch;
	p->disabled = o.disabled;
	snprintf(p->version, sizeof(p->version), "%.23s", o.version);
	f5xc_object_fini(&o);
	json_decref(p->metadata);
	p->metadata = json_incref(json_object_get(object, "metadata"));
	json_decref(p->rules);
	p->rules = json_is_array(rules) ? json_incref(rules) : json_array();
	p->known = true;
	p->missing = false;
	f->wanted.moves++;
	if (!verified && !p->foreign)
		drift_find(f, object, known_before);
	if (p->foreign || p->higher)
		snprintf(
			p->error,
			sizeof(p->error),
			"%s",
			p->foreign ? "the policy does not bear our owner label: stanch f5 adopt "
				     "takes it over"
				   : "the policy is of a higher epoch: another gateway leads"
		);
	if (!f5xc_attachments_note(object, p->name, &p->attached) && verified)
		f->refer_ms = 0;
}

static void policy_missing(struct f5xc *f)
{
	struct policy *p = &f->policy;

	if (p->known && !p->missing)
		f5xc_drift_note(f, p->name, "somebody deleted it", p->drift);
	json_decref(p->metadata);
	json_decref(p->rules);
	p->metadata = p->rules = NULL;
	p->version[0] = p->sent[0] = '\0';
	p->foreign = p->higher = p->disabled = false;
	p->known = p->missing = true;
	f5xc_attachments_drop(&p->attached, p->name);
	f->wanted.moves++;
}

static void policy_was_read(struct f5xc *f, const struct http_answer *a)
{
	struct policy *p = &f->policy;
	json_t *object = a->status == 200 ? f5xc_answer_json(a) : NULL;
	bool verified = *p->sent;
	char content[F5XC_CONTENT_MAX];

	if (a->status != 404 && !object) {
		answer_failed(f, a, "reading");
		return;
	}
	p->read_due = p->verify = false;
	p->read_ms = f5xc_now_ms();
	p->dirty = true; // compared with what it should be
	if (a->status == 404)
		policy_missing(f);
	else
		object_note(f, object, verified);
	json_decref(object);
	if (verified && p->rules) {
		f5xc_rules_content(p->rules, content);
		if (strcmp(content, p->sent) != 0)
			policy_failed(f, "it was written, and is not what is read back");
	}
	p->sent[0] = '\0';
}

static void before_was_read(struct f5xc *f, const struct http_answer *a)
{
	struct policy *p = &f->policy;
	json_t *object = a->status == 200 ? f5xc_answer_json(a) : NULL;
	char why[96] = "";
	bool allows = object && f5xc_policy_allows(object, why);

	p->before_ms = f5xc_now_ms();
	if (a->status == 404)
		snprintf(why, sizeof(why), "there is none of that name");
	else if (!object)
		snprintf(why, sizeof(why), "it could not be read: %ld", a->status);
	if (allows != p->before_allows && !allows)
		log_warning("F5 XC: policy_before %s: %s", f->conf->policy_before, why);
	p->before_allows = allows;
	snprintf(p->before_why, sizeof(p->before_why), "%s", why);
	p->dirty = true;
	json_decref(object);
}

// --- writing

static json_t *rules_wanted(struct f5xc *f)
{
	const char *sets[2 * F5XC_SLOTS];
	size_t n = 0;

	for (int v = 0; v < 2; v++) {
		for (int i = 0; i < F5XC_SLOTS; i++) {
			const struct shard *s = &f->shards[v][i];

			// Read back, not only written.
			if (s->known && !s->missing && !s->foreign && !s->leaving && !s->verify)
				sets[n++] = s->name;
		}
	}
	return f5xc_rules_build(&f->wanted, f->conf->xc_namespace, sets, n, &f->policy.n_cut);
}

static void policy_was_written(struct f5xc *f, const struct http_answer *a)
{
	struct policy *p = &f->policy;

	if (a->status == 200) {
		p->verify = true;
		p->missing = false;
		return;
	}
	p->sent[0] = '\0';
	p->dirty = true;
	if (a->status == 409 || (a->status == 404 && !p->missing))
		p->read_due = true;
	else
		answer_failed(f, a, "writing");
}

static bool policy_send(struct f5xc *f, json_t *rules)
{
	struct policy *p = &f->policy;
	struct f5xc_own own;
	char path[256];
	json_t *body;

	f5xc_own_state(f, &own);
	f5xc_rules_content(rules, p->sent);
	own.name = p->name;
	own.content = p->sent;
	body = json_pack(
		"{s:o, s:{s:{s:O}}}",
		"metadata",
		f5xc_metadata(p->missing ? NULL : p->metadata, &own),
		"spec",
		"rule_list",
		"rules",
		rules
	);
	if (!p->missing && *p->version)
		json_object_set_new(body, "resource_version", json_string(p->version));
	policy_path(f, p->missing ? NULL : p->name, path);
	p->written_ms = f5xc_now_ms();
	p->adopt = false;
	return f5xc_ask(f, p->missing ? "POST" : "PUT", path, body, policy_was_written) == 0;
}

static bool policy_write(struct f5xc *f)
{
	struct policy *p = &f->policy;
	json_t *rules = rules_wanted(f), *bare = json_array(), *kept;
	char why[F5XC_WHY_MAX] = "";
	bool sent = false;

	f->wanted.ports_moved = false;
	p->dirty = false;
	if (!may_add(f, why)) {
		kept = f5xc_rules_kept(rules, p->rules);
		json_decref(rules);
		rules = kept;
	}
	if ((p->missing && json_array_size(rules) > 0)
	    || (!p->missing
		&& ((!f5xc_rules_equal(rules, p->rules) && f->conf->drift == CONF_DRIFT_REPAIR)
		    || (!f5xc_rules_equal(rules, p->rules) && !*p->drift) || p->adopt
		    || (p->disabled && f->conf->drift == CONF_DRIFT_REPAIR))))
		// Made without a rule: only what exists tells which lists name it, and one may do
		// so already.
		sent = policy_send(f, p->missing ? bare : rules);
	else
		p->backoff_ms = 0;
	if (!sent || *why)
		snprintf(p->error, sizeof(p->error), "%s", why);
	json_decref(rules);
	json_decref(bare);
	return sent;
}

// --- what is next

enum glue f5xc_glue_due(struct f5xc *f, int64_t *ret_ms)
{
	struct policy *p = &f->policy;
	int64_t half = (int64_t)f->conf->reconcile_s * 500, ready = p->not_before_ms;

	if (!f->conf->policy_before)
		return GLUE_NONE;
	*ret_ms = ready;
	if (p->verify)
		return GLUE_VERIFY;
	if (!p->known || p->read_due || p->before_ms == 0)
		return GLUE_READ;
	if ((p->dirty || f->wanted.ports_moved) && !p->foreign && !p->higher && f5xc_all_known(f)
	    && !unread_lists(f) && !f->wanted.walking) {
		int64_t next = p->written_ms ? p->written_ms + f->conf->min_interval_ms : 0;

		*ret_ms = next > ready ? next : ready;
		return GLUE_WRITE;
	}
	*ret_ms = (p->before_ms < p->read_ms ? p->before_ms : p->read_ms) + half;
	if (*ret_ms < ready)
		*ret_ms = ready;
	return GLUE_BACKGROUND;
}

bool f5xc_glue_do(struct f5xc *f, enum glue what)
{
	struct policy *p = &f->policy;
	char path[256];
	bool before = what == GLUE_BACKGROUND ? p->before_ms < p->read_ms
					      : p->known && !p->read_due && !p->verify;

	if (what == GLUE_WRITE)
		return policy_write(f);
	policy_path(f, before ? f->conf->policy_before : p->name, path);
	return f5xc_ask(f, "GET", path, NULL, before ? before_was_read : policy_was_read) == 0;
}
