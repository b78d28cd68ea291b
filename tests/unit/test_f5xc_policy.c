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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_judged),
		cmocka_unit_test(referrers_by_their_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
