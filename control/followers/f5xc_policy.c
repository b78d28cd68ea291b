// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

// NULL: of no kind known to judge what goes out.
static const char *plural_of(const char *kind)
{
	static const struct {
		const char *word, *plural;
	} rows[] = {
		// the view first: the other word is part of its
		{"network_policy_view", "network_policy_views"},
		{"network_policy", "network_policys"},
		{"enhanced_firewall_policy", "enhanced_firewall_policys"},
		{"forward_proxy_policy", "forward_proxy_policys"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strstr(kind, rows[i].word))
			return rows[i].plural;
	}
	return NULL;
}

// Goes into a path: a DNS label, or it is none of F5's names.
static bool label_is(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len < 64 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static struct f5xc_referrer *
referrer_find(struct f5xc_referrers *r, const char *plural, const char *ns, const char *name)
{
	for (size_t i = 0; i < r->n; i++) {
		struct f5xc_referrer *one = &r->list[i];

		if (one->plural == plural && strcmp(one->xc_namespace, ns) == 0
		    && strcmp(one->name, name) == 0)
			return one;
	}
	return NULL;
}

static void other_note(struct f5xc_referrers *r, json_t *ref)
{
	if (r->other[0])
		return;
	snprintf(
		r->other,
		sizeof(r->other),
		"%.40s %.60s",
		text_of(ref, "kind"),
		text_of(ref, "name")
	);
	for (char *c = r->other; *c; c++)
		*c = *c < 0x20 || *c > 0x7e ? '?' : *c;
}

bool f5xc_referrers_note(json_t *object, struct f5xc_referrers *r)
{
	json_t *refs = json_object_get(object, "referring_objects"), *ref;
	struct f5xc_referrers now = {.asked_ms = r->asked_ms};
	size_t i;

	if (json_array_size(refs) == 0)
		return false;
	json_array_foreach(refs, i, ref)
	{
		const char *ns = text_of(ref, "namespace"), *name = text_of(ref, "name");
		const char *plural = plural_of(text_of(ref, "kind"));
		const struct f5xc_referrer *was;
		struct f5xc_referrer *one;

		if (!plural || !label_is(ns) || !label_is(name)) {
			other_note(&now, ref);
			continue;
		}
		if (now.n == F5XC_REFERRERS_MAX || referrer_find(&now, plural, ns, name))
			continue;
		one = &now.list[now.n++];
		was = referrer_find(r, plural, ns, name);
		if (was) {
			*one = *was;
			continue;
		}
		one->plural = plural;
		snprintf(one->xc_namespace, sizeof(one->xc_namespace), "%s", ns);
		snprintf(one->name, sizeof(one->name), "%s", name);
		snprintf(one->why, sizeof(one->why), "not read yet");
	}
	*r = now;
	return true;
}

const struct f5xc_referrer *f5xc_referrers_deny(const struct f5xc_referrers *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->list[i].verdict == F5XC_DENIES)
			return &r->list[i];
	return NULL;
}

bool f5xc_referrers_tell(const struct f5xc_referrers *r, char ret_text[F5XC_REFERRER_TEXT_MAX])
{
	// What is worth telling first.
	static const enum f5xc_verdict order[]
		= {F5XC_DENIES, F5XC_UNREAD, F5XC_DISABLED, F5XC_DENIES_NOT};

	ret_text[0] = '\0';
	for (size_t o = 0; o < sizeof(order) / sizeof(order[0]); o++) {
		for (size_t i = 0; i < r->n; i++) {
			const struct f5xc_referrer *one = &r->list[i];
			// "enhanced_firewall_policys" less its s
			int len = (int)strlen(one->plural) - 1;

			if (one->verdict != order[o])
				continue;
			snprintf(
				ret_text,
				F5XC_REFERRER_TEXT_MAX,
				"%s %.*s %.50s%s%s",
				one->verdict == F5XC_DENIES ? "by a deny rule of"
							    : "referred to by",
				len,
				one->plural,
				one->name,
				one->verdict == F5XC_DENIES		? ""
					: one->verdict == F5XC_DISABLED ? ", which is disabled"
					: one->verdict == F5XC_UNREAD
					? ", whose rules are not known: "
					: ", of which no deny rule uses it",
				one->verdict == F5XC_UNREAD ? one->why : ""
			);
			return one->verdict == F5XC_DENIES;
		}
	}
	if (r->other[0])
		snprintf(
			ret_text,
			F5XC_REFERRER_TEXT_MAX,
			"only %.90s refers to it, of no kind known to judge what goes out",
			r->other
		);
	return false;
}

static bool ref_is(json_t *ref, const char *set_namespace, const char *set_name)
{
	const char *ns = text_of(ref, "namespace");

	return strcmp(text_of(ref, "name"), set_name) == 0
		&& (!*ns || strcmp(ns, set_namespace) == 0);
}

// {"ref": [{…}]}, or of a forward proxy the reference itself.
static bool uses(json_t *choice, const char *set_namespace, const char *set_name)
{
	json_t *ref;
	size_t i;

	json_array_foreach(json_object_get(choice, "ref"), i, ref)
	{
		if (ref_is(ref, set_namespace, set_name))
			return true;
	}
	return ref_is(choice, set_namespace, set_name);
}

static bool
rules_deny(json_t *rules, const char *destination, const char *set_namespace, const char *set_name)
{
	json_t *rule;
	size_t i;

	json_array_foreach(rules, i, rule)
	{
		if ((json_is_object(json_object_get(rule, "deny"))
		     || strcmp(text_of(rule, "action"), "DENY") == 0)
		    && uses(json_object_get(rule, destination), set_namespace, set_name))
			return true;
	}
	return false;
}

int f5xc_policy_judge(
	json_t *object,
	const char *set_namespace,
	const char *set_name,
	enum f5xc_verdict *ret_verdict
)
{
	json_t *metadata = json_object_get(object, "metadata"),
	       *spec = json_object_get(object, "spec");
	json_t *rules = json_object_get(json_object_get(spec, "rule_list"), "rules");
	json_t *inner = json_object_get(json_object_get(spec, "rules"), "egress_rules");
	json_t *outer = json_object_get(spec, "egress_rules");
	bool denies;

	if (!json_is_object(metadata) || !json_is_object(spec))
		return -EBADMSG;
	// In a forward proxy's rule "ip_prefix_set" means sources: only in egress_rules the other
	// end.
	denies = rules_deny(rules, "destination_ip_prefix_set", set_namespace, set_name)
		|| rules_deny(rules, "dst_ip_prefix_set", set_namespace, set_name)
		|| rules_deny(inner, "ip_prefix_set", set_namespace, set_name)
		|| rules_deny(outer, "ip_prefix_set", set_namespace, set_name);
	*ret_verdict = json_is_true(json_object_get(metadata, "disable")) ? F5XC_DISABLED
		: denies						  ? F5XC_DENIES
									  : F5XC_DENIES_NOT;
	return 0;
}

// --- who lists a policy

// NULL: of no kind known to list policies.
static const char *lister_of(const char *kind)
{
	static const struct {
		const char *word, *plural;
	} rows[] = {
		{"network_firewall", "network_firewalls"},
		{"aws_vpc_site", "aws_vpc_sites"},
		{"aws_tgw_site", "aws_tgw_sites"},
		{"azure_vnet_site", "azure_vnet_sites"},
		{"gcp_vpc_site", "gcp_vpc_sites"},
		{"voltstack_site", "voltstack_sites"},
		{"securemesh_site_v2", "securemesh_site_v2s"}, // before what is part of it
		{"securemesh_site", "securemesh_sites"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strstr(kind, rows[i].word))
			return rows[i].plural;
	return NULL;
}

void f5xc_attachments_drop(struct f5xc_attachments *a, const char *policy)
{
	size_t kept = 0;

	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->list[i].policy, policy) != 0)
			a->list[kept++] = a->list[i];
	a->n = kept;
}

static void attachment_add(
	struct f5xc_attachments *a,
	const struct f5xc_attachments *was,
	const char *policy,
	json_t *ref
)
{
	const char *plural = lister_of(text_of(ref, "kind"));
	const char *ns = text_of(ref, "namespace"), *name = text_of(ref, "name");
	struct f5xc_attachment one = {.plural = plural, .why = "not read yet"};

	if (!plural || !label_is(ns) || !label_is(name) || a->n == F5XC_ATTACHMENTS_MAX)
		return;
	snprintf(one.policy, sizeof(one.policy), "%.63s", policy);
	snprintf(one.xc_namespace, sizeof(one.xc_namespace), "%s", ns);
	snprintf(one.name, sizeof(one.name), "%s", name);
	for (size_t i = 0; i < was->n; i++) {
		const struct f5xc_attachment *old = &was->list[i];

		if (strcmp(old->policy, policy) == 0 && old->plural == plural
		    && strcmp(old->xc_namespace, ns) == 0 && strcmp(old->name, name) == 0)
			one = *old;
	}
	a->list[a->n++] = one;
}

bool f5xc_attachments_note(json_t *object, const char *policy, struct f5xc_attachments *a)
{
	json_t *refs = json_object_get(object, "referring_objects"), *ref;
	const struct f5xc_attachments was = *a;
	size_t i;

	if (json_array_size(refs) == 0)
		return false;
	f5xc_attachments_drop(a, policy);
	json_array_foreach(refs, i, ref) attachment_add(a, &was, policy, ref);
	return true;
}

struct places {
	const char *policy, *before;
	bool listed, last;
};

static void list_look(struct places *p, json_t *list)
{
	bool ours = false, follows = false;
	json_t *ref;
	size_t i;

	json_array_foreach(list, i, ref)
	{
		if (strcmp(text_of(ref, "name"), p->policy) == 0)
			ours = true;
		else if (ours && p->before && strcmp(text_of(ref, "name"), p->before) == 0)
			follows = true;
	}
	p->listed |= ours;
	p->last |= ours && p->before && !follows;
}

// The lists stand at different depths of different sites' specs.
static void lists_look(struct places *p, json_t *value, unsigned depth)
{
	static const char *const keys[]
		= {"enhanced_firewall_policies", "network_policies", "forward_proxy_policies"};
	const char *key;
	json_t *inner;

	if (depth > 12)
		return;
	json_object_foreach(value, key, inner)
	{
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
			if (strcmp(key, keys[i]) == 0)
				list_look(p, inner);
		if (json_is_object(inner))
			lists_look(p, inner, depth + 1);
	}
}

int f5xc_list_judge(
	json_t *object, const char *policy, const char *before, enum f5xc_listed *ret_listed
)
{
	json_t *spec = json_object_get(object, "spec");
	struct places p = {.policy = policy, .before = before};

	if (!json_is_object(spec))
		return -EBADMSG;
	lists_look(&p, spec, 0);
	*ret_listed = p.last ? F5XC_LISTED_LAST : p.listed ? F5XC_LISTED : F5XC_LISTED_NOT;
	return 0;
}

static bool choice_is(json_t *rule, const char *all, const char *const *others)
{
	if (json_is_object(json_object_get(rule, all)))
		return true;
	for (; *others; others++)
		if (json_is_object(json_object_get(rule, *others)))
			return false;
	return true; // none is set: F5's examples leave them out for everything
}

static bool rule_allows_all(json_t *rule)
{
	static const char *const sources[]
		= {"inside_sources",
		   "outside_sources",
		   "source_prefix_list",
		   "source_ip_prefix_set",
		   "source_label_selector",
		   "source_aws_vpc_ids",
		   NULL};
	static const char *const destinations[]
		= {"outside_destinations",
		   "inside_destinations",
		   "destination_prefix_list",
		   "destination_ip_prefix_set",
		   "destination_label_selector",
		   "destination_aws_vpc_ids",
		   "all_sli_vips",
		   "all_slo_vips",
		   NULL};
	static const char *const traffic[] = {
		"all_tcp_traffic", "all_udp_traffic", "applications", "protocol_port_range", NULL};
	// Also what goes out of the inside alone: those are the packets that we stand before.
	bool out = json_is_object(json_object_get(rule, "outside_destinations"))
		|| choice_is(rule, "all_destinations", destinations);

	return json_is_object(json_object_get(rule, "allow"))
		&& choice_is(rule, "all_sources", sources) && out
		&& choice_is(rule, "all_traffic", traffic)
		&& !json_is_object(json_object_get(rule, "label_matcher"));
}

bool f5xc_policy_allows(json_t *object, char ret_why[96])
{
	json_t *spec = json_object_get(object, "spec");
	json_t *rules = json_object_get(json_object_get(spec, "rule_list"), "rules");
	size_t n = json_array_size(rules);

	if (json_is_true(json_object_get(json_object_get(object, "metadata"), "disable"))) {
		snprintf(ret_why, 96, "it is disabled");
		return false;
	}
	if (json_is_object(json_object_get(spec, "allow_all"))
	    || (n > 0 && rule_allows_all(json_array_get(rules, n - 1))))
		return true;
	snprintf(ret_why, 96, "it does not end in a rule that allows everything");
	return false;
}
