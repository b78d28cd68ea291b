// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Who refers to the set, and which policies deny with it.

#include "control/followers/f5xc_policy.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <string.h>

static json_t *json_of(const char *text)
{
	char copy[1024];
	size_t n = 0;
	json_t *json;

	for (; *text; text++) // ' for ", to be readable here
		copy[n++] = *text == '\'' ? '"' : *text;
	copy[n] = '\0';
	json = json_loads(copy, 0, NULL);
	assert_non_null(json);
	return json;
}

static void rules_are_judged(void **ctx)
{
#define REF "{'ref':[{'namespace':'system','name':'s-v4-000'}]}"
#define EFP(rule) "{'metadata':{},'spec':{'rule_list':{'rules':[" rule "]}}}"
	static const struct {
		const char *object;
		enum f5xc_verdict verdict;
	} rows[] = {
		{EFP("{'deny':{},'destination_ip_prefix_set':" REF "}"), F5XC_DENIES},
		{EFP("{'allow':{}},{'deny':{},'destination_ip_prefix_set':" REF "}"), F5XC_DENIES},
		{EFP("{'deny':null,'destination_ip_prefix_set':" REF "}"), F5XC_DENIES_NOT},
		{EFP("{'allow':{},'destination_ip_prefix_set':" REF "}"), F5XC_DENIES_NOT},
		{EFP("{'deny':{},'source_ip_prefix_set':" REF "}"), F5XC_DENIES_NOT},
		{EFP("{'deny':{},'destination_ip_prefix_set':{'ref':[{'name':'other'}]}}"),
		 F5XC_DENIES_NOT},
		{EFP("{'deny':{},'destination_ip_prefix_set':{'ref':"
		     "[{'name':'s-v4-000','namespace':'shared'}]}}"),
		 F5XC_DENIES_NOT},
		{"{'metadata':{'disable':true},'spec':{'rule_list':{'rules':[{'deny':{},"
		 "'destination_ip_prefix_set':" REF "}]}}}",
		 F5XC_DISABLED},
		{"{'metadata':{},'spec':{'deny_all':{}}}", F5XC_DENIES_NOT},
		// forward proxy: the destination's is dst_ip_prefix_set, the other the source's
		{EFP("{'action':'DENY','dst_ip_prefix_set':{'name':'s-v4-000'}}"), F5XC_DENIES},
		{EFP("{'action':'ALLOW','dst_ip_prefix_set':{'name':'s-v4-000'}}"),
		 F5XC_DENIES_NOT},
		{EFP("{'action':'DENY','ip_prefix_set':{'name':'s-v4-000'}}"), F5XC_DENIES_NOT},
		// network policy and its view: only what goes out
		{"{'metadata':{},'spec':{'rules':{'egress_rules':[{'action':'DENY',"
		 "'ip_prefix_set':" REF "}]}}}",
		 F5XC_DENIES},
		{"{'metadata':{},'spec':{'egress_rules':[{'action':'DENY','ip_prefix_set':" REF
		 "}]}}",
		 F5XC_DENIES},
		{"{'metadata':{},'spec':{'ingress_rules':[{'action':'DENY','ip_prefix_set':" REF
		 "}]}}",
		 F5XC_DENIES_NOT},
	};
	enum f5xc_verdict verdict;
	json_t *object;

	(void)ctx;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		object = json_of(rows[i].object);
		if (f5xc_policy_judge(object, "system", "s-v4-000", &verdict) < 0
		    || verdict != rows[i].verdict)
			fail_msg("row %zu: %s", i, rows[i].object);
		json_decref(object);
	}
	object = json_of("{'metadata':{},'spec':null}");
	assert_int_equal(f5xc_policy_judge(object, "system", "s", &verdict), -EBADMSG);
	assert_int_equal(f5xc_policy_judge(NULL, "system", "s", &verdict), -EBADMSG);
	json_decref(object);
}

static bool tell(struct f5xc_referrers *r, const char *refs, const char *expected)
{
	char text[F5XC_REFERRER_TEXT_MAX];
	json_t *object = json_of(refs);
	bool referred;

	f5xc_referrers_note(object, r);
	json_decref(object);
	referred = f5xc_referrers_tell(r, text);
	if (!strstr(text, expected))
		fail_msg("%s: %s, not %s", refs, text, expected);
	return referred;
}

static void referrers_by_their_kind(void **ctx)
{
	struct f5xc_referrers r = {0};

	(void)ctx;
	assert_false(tell(&r, "{'referring_objects':null}", ""));
	assert_false(
		tell(&r,
		     "{'referring_objects':[{'kind':'service_policy','name':'p\xc3\xa9'}]}",
		     "only service_policy p?? refers to it")
	);
	assert_int_equal(r.n, 0);
	// A name that is none goes into no path.
	assert_false(
		tell(&r,
		     "{'referring_objects':[{'kind':'network_policy','namespace':'system','name':"
		     "'../x'}]}",
		     "only network_policy ../x")
	);
	assert_int_equal(r.n, 0);
	static const char both[]
		= "{'referring_objects':["
		  "{'kind':'ves.io.schema.network_policy_view.Object',"
		  "'namespace':'system','name':'a'},"
		  "{'kind':'enhanced_firewall_policy','namespace':'system','name':'b'},"
		  "{'kind':'enhanced_firewall_policy','namespace':'system','name':'b'},"
		  "{'kind':'fast_acl_rule','namespace':'system','name':'c'}]}";
	assert_false(
		tell(&r, both, "referred to by network_policy_view a, whose rules are not known")
	);
	assert_int_equal(r.n, 2);
	assert_string_equal(r.list[0].plural, "network_policy_views");
	r.list[0].verdict = F5XC_DENIES_NOT;
	r.list[1].verdict = F5XC_DENIES;
	// What is known stays.
	assert_true(tell(&r, both, "by a deny rule of enhanced_firewall_policy b"));
	assert_false(
		tell(&r,
		     "{'referring_objects':[{'kind':'network_policy_view','namespace':'system',"
		     "'name':'a'}]}",
		     "of which no deny rule uses it")
	);
}

static void what_ends_in_allow(void **ctx)
{
#define RULES(rules) "{'metadata':{},'spec':{'rule_list':{'rules':[" rules "]}}}"
	static const struct {
		const char *object;
		bool allows;
	} rows[] = {
		{"{'metadata':{},'spec':{'allow_all':{}}}", true},
		{"{'metadata':{'disable':true},'spec':{'allow_all':{}}}", false},
		{"{'metadata':{},'spec':{'deny_all':{}}}", false},
		{RULES(""), false},
		{RULES("{'deny':{}},{'allow':{}}"), true},
		{RULES("{'allow':{}},{'deny':{}}"), false},
		{RULES("{'allow':{},'all_sources':{},'all_destinations':{},'all_traffic':{}}"),
		 true},
		{RULES("{'allow':{},'outside_destinations':{}}"), true},
		{RULES("{'allow':{},'inside_destinations':{}}"), false},
		{RULES("{'allow':{},'all_tcp_traffic':{}}"), false},
		{RULES("{'allow':{},'source_prefix_list':{'prefixes':['10.0.0.0/8']}}"), false},
		{RULES("{'allow':{},'destination_prefix_list':{'prefixes':['10.0.0.0/8']}}"),
		 false},
		{RULES("{'allow':{},'label_matcher':{'keys':['x']}}"), false},
		{"{}", false},
	};

	(void)ctx;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char why[96] = "";
		json_t *object = json_of(rows[i].object);

		if (f5xc_policy_allows(object, why) != rows[i].allows)
			fail_msg("row %zu: %s: %s", i, rows[i].object, why);
		json_decref(object);
	}
}

static void lists_are_judged_by_their_order(void **ctx)
{
#define FIREWALL(refs)                                                                             \
	"{'spec':{'active_enhanced_firewall_policies':{'enhanced_firewall_policies':[" refs "]}}}"
	static const struct {
		const char *object;
		enum f5xc_listed listed;
	} rows[] = {
		{FIREWALL("{'name':'ours'},{'name':'allow'}"), F5XC_LISTED},
		{FIREWALL("{'name':'ours'},{'name':'x'},{'name':'allow'}"), F5XC_LISTED},
		{FIREWALL("{'name':'ours'}"), F5XC_LISTED_LAST},
		{FIREWALL("{'name':'allow'},{'name':'ours'}"), F5XC_LISTED_LAST},
		{FIREWALL("{'name':'ours'},{'name':'x'}"), F5XC_LISTED_LAST},
		{FIREWALL("{'name':'allow'}"), F5XC_LISTED_NOT},
		{"{'spec':{'disable_network_policy':{}}}", F5XC_LISTED_NOT},
		// deep inside a site's spec, and one good list does not excuse a bad one
		{"{'spec':{'custom_network_config':{'active_enhanced_firewall_policies':{"
		 "'enhanced_firewall_policies':[{'name':'ours'}]}},'other':{"
		 "'enhanced_firewall_policies':[{'name':'ours'},{'name':'allow'}]}}}",
		 F5XC_LISTED_LAST},
	};
	enum f5xc_listed listed;
	json_t *object;

	(void)ctx;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		object = json_of(rows[i].object);
		if (f5xc_list_judge(object, "ours", "allow", &listed) < 0
		    || listed != rows[i].listed)
			fail_msg("row %zu: %s", i, rows[i].object);
		json_decref(object);
	}
	object = json_of(FIREWALL("{'name':'ours'}"));
	assert_int_equal(f5xc_list_judge(object, "ours", NULL, &listed), 0);
	assert_int_equal(listed, F5XC_LISTED); // of an operator's policy nothing must follow
	json_decref(object);
	assert_int_equal(f5xc_list_judge(NULL, "ours", NULL, &listed), -EBADMSG);
}

static void who_lists_is_kept_by_policy(void **ctx)
{
	struct f5xc_attachments a = {0};
	json_t *object = json_of("{'referring_objects':["
				 "{'kind':'securemesh_site_v2','namespace':'system','name':'s'},"
				 "{'kind':'network_firewall','namespace':'system','name':'f'},"
				 "{'kind':'network_firewall','namespace':'system','name':'../x'},"
				 "{'kind':'service_policy','namespace':'system','name':'p'}]}");

	(void)ctx;
	assert_true(f5xc_attachments_note(object, "ours", &a));
	assert_int_equal(a.n, 2);
	assert_string_equal(a.list[0].plural, "securemesh_site_v2s");
	assert_int_equal(a.list[0].listed, F5XC_LIST_UNREAD);
	a.list[1].listed = F5XC_LISTED;
	assert_true(f5xc_attachments_note(object, "theirs", &a));
	assert_true(f5xc_attachments_note(object, "ours", &a));
	assert_int_equal(a.n, 4);
	f5xc_attachments_drop(&a, "theirs");
	assert_int_equal(a.n, 2);
	assert_int_equal(a.list[1].listed, F5XC_LISTED); // what is known stays
	json_decref(object);
	assert_false(f5xc_attachments_note(NULL, "ours", &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_judged),
		cmocka_unit_test(referrers_by_their_kind),
		cmocka_unit_test(what_ends_in_allow),
		cmocka_unit_test(lists_are_judged_by_their_order),
		cmocka_unit_test(who_lists_is_kept_by_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
