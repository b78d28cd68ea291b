// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// What cases and observables of TheHive 4 and 5 ask for. JSON is written with ' for ".

#include "control/conf.h"
#include "control/sources/thehive_indicator.h"
#include "control/sources/thehive_judge.h"
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char statuses[2][16] = {"TruePositive", "Malware"};
static char *true_positive[] = {statuses[0], statuses[1]};
static char types[6][16] = {"ip", "domain", "fqdn", "hostname", "url", "cidr"};
static char *data_types[] = {types[0], types[1], types[2], types[3], types[4], types[5]};
static char field[] = "stanch-action", tag[] = "stanch", word[] = "block for a week";
static char benign[] = "FalsePositive", *false_positive[] = {benign};
static char home[] = "ip_home", zone[] = "zone", mail[] = "mail";
static struct conf_type own_types[] = {{home, types[0]}, {zone, types[1]}};
static struct conf_response responses[] = {
	{.value = word, .action = CONF_ACTION_ENFORCE, .duration_s = 604800},
};
static struct conf_thehive conf = {
	.true_positive = true_positive,
	.n_true_positive = 2,
	.response_field = field,
	.response_tag = tag,
	.responses = responses,
	.n_responses = 1,
	.max_pap = 2,
	.data_types = data_types,
	.n_data_types = 6,
	.types = own_types,
	.n_types = 2,
	.false_positive = false_positive,
	.n_false_positive = 1,
	.immunity_days = 30,
};

static struct hive_rules rules_of(const char *version)
{
	struct hive_rules rules = {.conf = &conf};
	assert_int_equal(hive_version_parse(version, &rules.version), 0);
	return rules;
}

static json_t *json_of(const char *text)
{
	char copy[2048];
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	json_error_t error;
	json_t *json = json_loads(copy, 0, &error);
	if (!json)
		fail_msg("%s: %s", copy, error.text);
	return json;
}

// A case of this version, closed as a true positive, with more members over it.
static json_t *case_of(const char *version, const char *more)
{
	bool four = version[0] == '4';
	json_t *body = json_of(
		four ? "{'_id':'~1','_type':'Case','number':42,'title':'T','status':'Resolved',"
		       "'resolutionStatus':'TruePositive','endDate':1727090032834,'tlp':2,'pap':2,"
		       "'_createdBy':'a@b','_createdAt':1,'_updatedBy':'c@d','_updatedAt':7,"
		       "'customFields':[],'tags':[]}"
		     : "{'_id':'~1','_type':'Case','number':42,'title':'T','stage':'Closed',"
		       "'status':'TruePositive','endDate':1727090032834,'tlp':2,'pap':2,"
		       "'_createdBy':'a@b','_createdAt':1,'_updatedBy':'c@d','_updatedAt':7,"
		       "'customFields':[],'tags':[]}"
	);
	json_t *over = json_of(more);
	json_object_update(body, over);
	json_decref(over);
	return body;
}

static struct hive_judgement judge(const char *version, const char *more)
{
	struct hive_rules rules = rules_of(version);
	struct hive_judgement judgement;
	const char *reason = "";
	json_t *body = case_of(version, more);
	if (hive_case_judge(&rules, body, "~1", &judgement, &reason) < 0)
		fail_msg("%s: %s", more, reason);
	json_decref(body);
	return judgement;
}

#define FIELD(value)                                                                               \
	"{'customFields':[{'_id':'~5','name':'other','type':'string','value':'enforce'},"          \
	"{'_id':'~6','name':'stanch-action','type':'string','value':" value "}]}"

static const struct {
	const char *version, *more;
	enum hive_verdict verdict;
	enum claim_action action;
	int64_t until; // 0: forever
} cases[] = {
	// The default is none.
	{"4.1.24", "{}", HIVE_NONE, 0, 0},
	{"5.2.8", "{}", HIVE_NONE, 0, 0},
	{"5.2.8", FIELD("null"), HIVE_NONE, 0, 0},
	{"5.2.8", FIELD("''"), HIVE_NONE, 0, 0},
	{"5.2.8", FIELD("' '"), HIVE_NONE, 0, 0},
	{"5.2.8", FIELD("[]"), HIVE_NONE, 0, 0},
	{"5.2.8", FIELD("'none'"), HIVE_NONE, 0, 0},
	// The field, in all its shapes.
	{"4.1.24", FIELD("'enforce'"), HIVE_DENY, CLAIM_ENFORCE, 0},
	{"5.2.8", FIELD("'enforce'"), HIVE_DENY, CLAIM_ENFORCE, 0},
	{"5.2.8", FIELD("['enforce']"), HIVE_DENY, CLAIM_ENFORCE, 0},
	{"5.2.8", FIELD("' Enforce '"), HIVE_DENY, CLAIM_ENFORCE, 0},
	{"5.2.8", FIELD("'monitor'"), HIVE_DENY, CLAIM_MONITOR, 0},
	{"4.0.5",
	 "{'customFields':{'stanch-action':{'string':'monitor','order':1}}}",
	 HIVE_DENY,
	 CLAIM_MONITOR,
	 0},
	{"4.0.5",
	 "{'customFields':{'stanch-action':{'order':1,'string':'enforce'}}}",
	 HIVE_DENY,
	 CLAIM_ENFORCE,
	 0},
	// Durations count from the closing.
	{"5.2.8", FIELD("'enforce 7d'"), HIVE_DENY, CLAIM_ENFORCE, 1727090032 + 604800},
	{"5.2.8", FIELD("'monitor:4h'"), HIVE_DENY, CLAIM_MONITOR, 1727090032 + 14400},
	{"5.2.8", FIELD("'block for a week'"), HIVE_DENY, CLAIM_ENFORCE, 1727090032 + 604800},
	{"5.2.8",
	 "{'endDate':null,'_updatedAt':1000000,'tags':['stanch:enforce:1h']}",
	 HIVE_DENY,
	 CLAIM_ENFORCE,
	 1000 + 3600},
	// Unknown: never guessed.
	{"5.2.8", FIELD("'enforc'"), HIVE_UNCLEAR, 0, 0},
	{"5.2.8", FIELD("'enforce always'"), HIVE_UNCLEAR, 0, 0},
	{"5.2.8", FIELD("'enforce 7d 2'"), HIVE_UNCLEAR, 0, 0},
	{"5.2.8", FIELD("'none 7d'"), HIVE_UNCLEAR, 0, 0},
	{"5.2.8", FIELD("true"), HIVE_UNCLEAR, 0, 0},
	{"5.2.8", FIELD("1"), HIVE_UNCLEAR, 0, 0},
	{"5.2.8", FIELD("['enforce','none']"), HIVE_UNCLEAR, 0, 0},
	// The tag.
	{"4.1.24", "{'tags':['a','stanch:enforce']}", HIVE_DENY, CLAIM_ENFORCE, 0},
	{"5.2.8", "{'tags':['STANCH:Monitor:4h']}", HIVE_DENY, CLAIM_MONITOR, 1727090032 + 14400},
	{"5.2.8", "{'tags':['stanchion:enforce','stanch','xstanch:enforce']}", HIVE_NONE, 0, 0},
	{"5.2.8", "{'tags':['stanch:enforce','stanch:enforce']}", HIVE_DENY, CLAIM_ENFORCE, 0},
	{"5.2.8", "{'tags':['stanch:enforce','stanch:monitor']}", HIVE_UNCLEAR, 0, 0},
	{"5.2.8", "{'tags':['stanch:enforce','stanch:none']}", HIVE_NONE, 0, 0},
	{"5.2.8", "{'tags':['stanch:']}", HIVE_NONE, 0, 0},
	{"5.2.8", "{'tags':['stanch:what']}", HIVE_UNCLEAR, 0, 0},
	{"5.2.8", "{'tags':[1,null,{}]}", HIVE_NONE, 0, 0},
	// Both: none holds, then the field.
	{"5.2.8",
	 "{'customFields':[{'name':'stanch-action','value':'monitor'}],"
	 "'tags':['stanch:enforce']}",
	 HIVE_DENY,
	 CLAIM_MONITOR,
	 0},
	{"5.2.8",
	 "{'customFields':[{'name':'stanch-action','value':'enforce'}],'tags':['stanch:none']}",
	 HIVE_NONE,
	 0,
	 0},
	{"5.2.8",
	 "{'customFields':[{'name':'stanch-action','value':'none'}],'tags':['stanch:enforce']}",
	 HIVE_NONE,
	 0,
	 0},
	// 4: Resolved and TruePositive, both.
	{"4.1.24", "{'status':'Open','tags':['stanch:enforce']}", HIVE_OPEN, 0, 0},
	{"4.1.24", "{'status':'Duplicated','tags':['stanch:enforce']}", HIVE_OPEN, 0, 0},
	{"4.1.24",
	 "{'resolutionStatus':'FalsePositive','tags':['stanch:enforce']}",
	 HIVE_OPEN,
	 0,
	 0},
	{"4.1.24", "{'resolutionStatus':null,'tags':['stanch:enforce']}", HIVE_OPEN, 0, 0},
	// 5: stage and a status of the set; what a reopened case still has does not count.
	{"5.2.8",
	 "{'stage':'InProgress','status':'InProgress','tags':['stanch:enforce']}",
	 HIVE_OPEN,
	 0,
	 0},
	{"5.2.8", "{'stage':'InProgress','tags':['stanch:enforce']}", HIVE_OPEN, 0, 0},
	{"5.2.8", "{'status':'FalsePositive','tags':['stanch:enforce']}", HIVE_OPEN, 0, 0},
	{"5.2.8", "{'status':'truepositive','tags':['stanch:enforce']}", HIVE_OPEN, 0, 0},
	{"5.2.8", "{'status':'Malware','tags':['stanch:enforce']}", HIVE_DENY, CLAIM_ENFORCE, 0},
	{"5.2.8",
	 "{'resolutionStatus':'TruePositive','status':'Other','tags':['stanch:enforce']}",
	 HIVE_OPEN,
	 0,
	 0},
	// API v0 of 5.
	{"5.1.0",
	 "{'_type':'case','status':'Resolved','extendedStatus':'TruePositive',"
	 "'resolutionStatus':null,'tags':['stanch:enforce']}",
	 HIVE_DENY,
	 CLAIM_ENFORCE,
	 0},
	{"5.1.0",
	 "{'_type':'case','status':'Resolved','extendedStatus':'Other','tags':['stanch:enforce']}",
	 HIVE_OPEN,
	 0,
	 0},
};

static void cases_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hive_judgement j = judge(cases[i].version, cases[i].more);
		if (j.verdict != cases[i].verdict)
			fail_msg(
				"%s %s: verdict %d, not %d (%s)",
				cases[i].version,
				cases[i].more,
				j.verdict,
				cases[i].verdict,
				j.why
			);
		if (j.verdict != HIVE_DENY) {
			assert_true(j.why[0]);
			continue;
		}
		int64_t until = cases[i].until ? cases[i].until : UNTIL_FOREVER;
		if (j.action != cases[i].action || j.until != until)
			fail_msg("%s %s: action or end", cases[i].version, cases[i].more);
	}
}

static void no_case(const char *version, const char *more)
{
	struct hive_rules rules = rules_of(version);
	struct hive_judgement judgement;
	const char *reason = NULL;
	json_t *body = case_of(version, more);
	if (hive_case_judge(&rules, body, "~1", &judgement, &reason) == 0)
		fail_msg("%s: taken", more);
	assert_non_null(reason);
	json_decref(body);
}

static void what_is_no_case_is_refused(void **state)
{
	(void)state;
	no_case("5.2.8", "{'_id':'~2'}");
	no_case("5.2.8", "{'_id':1}");
	no_case("5.2.8", "{'_type':'Alert'}");
	no_case("5.2.8", "{'_type':null}");
	no_case("5.2.8", "{'stage':null}");
	no_case("5.2.8", "{'status':null}");
	no_case("4.1.24", "{'status':{}}");
	struct hive_rules rules = rules_of("5.2.8");
	struct hive_judgement judgement;
	const char *reason = NULL;
	static const char *const others[] = {"[]", "{}", "['~1']"};
	for (size_t i = 0; i < 3; i++) {
		json_t *body = json_of(others[i]);
		assert_true(hive_case_judge(&rules, body, NULL, &judgement, &reason) < 0);
		json_decref(body);
	}
	assert_true(hive_case_judge(&rules, NULL, NULL, &judgement, &reason) < 0);
}

static void a_judgement_names_the_case(void **state)
{
	(void)state;
	struct hive_judgement j = judge("5.2.8", "{'title':'Exfil to\\n\\u0007evil'}");
	assert_string_equal(j.id, "~1");
	assert_string_equal(j.number, "42");
	assert_string_equal(j.title, "Exfil to  evil");
	assert_string_equal(j.updated_by, "c@d");
	assert_int_equal(j.updated_ms, 7);
	j = judge("5.2.8", "{'_updatedBy':null,'_updatedAt':null,'title':5}");
	assert_string_equal(j.updated_by, "a@b");
	assert_int_equal(j.updated_ms, 1);
	assert_string_equal(j.title, "");
	// Cut at a character, not inside one.
	char more[512];
	size_t at = (size_t)snprintf(more, sizeof(more), "{'title':'");
	for (size_t i = 0; i < 60; i++)
		at += (size_t)snprintf(more + at, sizeof(more) - at, "ä");
	snprintf(more + at, sizeof(more) - at, "'}");
	j = judge("5.2.8", more);
	size_t len = strlen(j.title);
	assert_true(len < sizeof(j.title) && len > sizeof(j.title) - 8);
	assert_string_equal(j.title + len - 3, "…");
	assert_int_equal((len - 3) % 2, 0);
}

static void versions_are_read(void **state)
{
	(void)state;
	struct hive_version v;
	assert_int_equal(hive_version_parse("5.10.1-2", &v), 0);
	assert_int_equal(v.major, 5);
	assert_int_equal(v.minor, 10);
	static const char *const bad[] = {"", "5", "SNAPSHOT", "0.1", "v5.2", "-5.2"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (hive_version_parse(bad[i], &v) == 0 && v.major < 100)
			fail_msg("%s: taken", bad[i]);
}

// --- observables

static struct hive_findings observe(const char *version, const char *more, const char *observable)
{
	struct hive_rules rules = rules_of(version);
	struct hive_judgement judgement = judge(version, more);
	struct hive_findings findings = {0};
	const char *reason = "";
	json_t *body = json_of("{'_id':'~9','_type':'Observable','dataType':'ip','ioc':true,"
			       "'data':'203.0.113.7','tlp':2}");
	json_t *over = json_of(observable);
	json_object_update(body, over);
	if (hive_observable_judge(&rules, &judgement, body, &findings, &reason) < 0)
		fail_msg("%s: %s", observable, reason);
	json_decref(over);
	json_decref(body);
	assert_true(findings.n > 0);
	assert_string_equal(findings.list[0].id, "~9");
	return findings;
}

#define ENFORCE "{'tags':['stanch:enforce']}"

static const struct {
	const char *type, *data, *indicators; // NULL: refused; "held X": held
} data[] = {
	{"ip", "203.0.113.7", "203.0.113.7"},
	{"ip", " 203.0.113.7\\r\\n", "203.0.113.7"},
	{"ip", "45.152.115[.]157", "45.152.115.157"},
	{"ip", "203.0.113.0/24", "203.0.113.0/24"},
	{"ip", "203.0.113.7/24", NULL},
	{"ip", "2001:DB8::1", "2001:db8::1"},
	{"ip", "[2001:db8::1]", "2001:db8::1"},
	{"ip", "2001[:]db8[:][:]1", "2001:db8::1"},
	{"ip", "::ffff:203.0.113.7", "203.0.113.7"},
	{"ip", "fe80::1%eth0", NULL},
	{"ip", "203.0.113.7:443", NULL},
	{"ip", "[2001:db8::1]:443", NULL},
	{"ip", "tcp/203.0.113.7:443", "tcp/203.0.113.7:443"},
	{"ip", "0300.0.113.7", NULL},
	{"ip", "203.0.113.7, 203.0.113.8", NULL},
	{"ip", "0.0.0.0/0", NULL},
	{"ip", "", NULL},
	{"ip", "evil.example", "evil.example"},
	{"ip", "http://203.0.113.7/", "203.0.113.7"},
	{"ip", "203.0.113.0-203.0.113.255", "203.0.113.0/24"},
	{"ip", "203.0.113.7 - 203.0.113.8", "203.0.113.7 203.0.113.8"},
	{"ip", "203.0.113.1-203.0.113.6", "203.0.113.1 203.0.113.2/31 203.0.113.4/31 203.0.113.6"},
	{"ip", "203.0.113.9-203.0.113.9", "203.0.113.9"},
	{"ip", "2001:db8::-2001:db8::ffff", "2001:db8::/112"},
	{"ip", "203.0.113.9-203.0.113.1", NULL},
	{"ip", "203.0.113.9-2001:db8::1", NULL},
	{"ip", "0.0.0.0-255.255.255.255", "0.0.0.0/1 128.0.0.0/1"},
	{"cidr", "198.51.100.0/22", "198.51.100.0/22"},
	{"domain", "evil.example", "*.evil.example"},
	{"domain", "ticketsbrand[.]com", "*.ticketsbrand.com"},
	{"domain", "*.Evil.Example.", "*.evil.example"},
	{"domain", "1.1.1.1", "1.1.1.1"},
	{"domain", "b\\u00fccher.example", "*.xn--bcher-kva.example"},
	{"domain", "evil.example:8080", NULL},
	{"domain", "a@evil.example", NULL},
	{"domain", "hxxp://evil[.]example/", "evil.example"},
	{"fqdn", "www.evil.example", "www.evil.example"},
	{"fqdn", "a-b.evil.example", "a-b.evil.example"},
	{"hostname", "www.evil.example.", "www.evil.example"},
	{"hostname", "WORKSTATION7", NULL},
	{"url", "https://evil.example", "evil.example"},
	{"url", "https://evil.example/", "evil.example"},
	{"url", "hxxps[:]//evil[.]example[/]", "evil.example"},
	{"url", "http://evil.example:8080/", "evil.example"},
	{"url", "http://203.0.113.7:8080", "203.0.113.7"},
	{"url", "http://[2001:db8::1]:8080/", "2001:db8::1"},
	{"url", "http://user:word@evil.example/", "evil.example"},
	{"url", "evil.example", "evil.example"},
	{"url", "evil.example/", "evil.example"},
	{"url", "evil.example/?u=http://good.example/", "held evil.example"},
	{"url", "https://evil.example/drop/1", "held evil.example"},
	{"url", "https://evil.example/?id=1", "held evil.example"},
	{"url", "https://203.0.113.7/a", "held 203.0.113.7"},
	{"url", "https://", NULL},
	{"url", "https://evil example/", NULL},
	{"URL", "https://evil.example/", "evil.example"},
};

static void data_becomes_indicators(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
		char more[512], found[1024] = "";
		snprintf(
			more,
			sizeof(more),
			"{'dataType':'%s','data':'%s'}",
			data[i].type,
			data[i].data
		);
		struct hive_findings findings = observe("5.2.8", ENFORCE, more);
		for (size_t j = 0; j < findings.n; j++) {
			const struct hive_finding *f = &findings.list[j];
			char text[INDICATOR_TEXT_MAX] = "";
			if (f->kind == HIVE_REFUSED)
				assert_true(f->why[0]);
			else
				indicator_print(&f->indicator, text);
			size_t len = strlen(found);
			snprintf(
				found + len,
				sizeof(found) - len,
				"%s%s%s",
				j ? " " : "",
				f->kind == HIVE_HELD ? "held " : "",
				text
			);
		}
		if (strcmp(found, data[i].indicators ? data[i].indicators : "") != 0)
			fail_msg(
				"%s %s: \"%s\", not \"%s\" (%s)",
				data[i].type,
				data[i].data,
				found,
				data[i].indicators ? data[i].indicators : "(refused)",
				findings.list[0].why
			);
		hive_findings_fini(&findings);
	}
}

static void
kind_is(const char *version, const char *more, const char *observable, enum hive_finding_kind kind)
{
	struct hive_findings findings = observe(version, more, observable);
	if (findings.n != 1 || findings.list[0].kind != kind)
		fail_msg(
			"%s %s: %zu findings, kind %d, not %d",
			version,
			observable,
			findings.n,
			findings.list[0].kind,
			kind
		);
	if (kind != HIVE_CLAIM && kind != HIVE_IMMUNE)
		assert_true(findings.list[0].why[0]);
	hive_findings_fini(&findings);
}

static void which_observables_count(void **state)
{
	(void)state;
	kind_is("5.2.8", ENFORCE, "{}", HIVE_CLAIM);
	kind_is("5.2.8", ENFORCE, "{'ioc':false}", HIVE_IGNORED);
	kind_is("5.2.8", ENFORCE, "{'dataType':'hash'}", HIVE_IGNORED);
	kind_is("5.2.8", ENFORCE, "{'dataType':'other'}", HIVE_IGNORED);
	kind_is("5.7.0", ENFORCE, "{'dataType':'IP'}", HIVE_CLAIM);
	kind_is("5.2.8", ENFORCE, "{'data':null}", HIVE_REFUSED);
	struct hive_rules rules = rules_of("5.2.8");
	struct hive_judgement judgement = judge("5.2.8", ENFORCE);
	static const char *const bad[] = {
		"{'_id':'~9','dataType':'ip','data':'203.0.113.7'}",
		"{'_id':'~9','dataType':'ip','data':'203.0.113.7','ioc':1}",
		"{'_id':'../9','dataType':'ip','data':'203.0.113.7','ioc':true}",
		"{'_id':9,'dataType':'ip','data':'203.0.113.7','ioc':true}",
		"{'_id':'~9','data':'203.0.113.7','ioc':true}",
		"[]",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hive_findings findings = {0};
		const char *reason = NULL;
		json_t *body = json_of(bad[i]);
		if (hive_observable_judge(&rules, &judgement, body, &findings, &reason) == 0)
			fail_msg("%s: taken", bad[i]);
		assert_non_null(reason);
		json_decref(body);
		hive_findings_fini(&findings);
	}
}

static void types_are_mapped(void **state)
{
	(void)state;
	kind_is("5.2.8", ENFORCE, "{'dataType':'ip_home'}", HIVE_CLAIM);
	struct hive_findings findings
		= observe("5.2.8", ENFORCE, "{'dataType':'Zone','data':'evil.example'}");
	assert_int_equal(findings.n, 1);
	assert_int_equal(findings.list[0].indicator.subtree, 1); // as "domain" is
	hive_findings_fini(&findings);
	// E-mail addresses: off by default.
	const char *address = "{'dataType':'mail','data':'Bob <bob@Evil.example>'}";
	kind_is("5.2.8", ENFORCE, address, HIVE_IGNORED);
	data_types[5] = mail;
	findings = observe("5.2.8", ENFORCE, address);
	char text[INDICATOR_TEXT_MAX] = "";
	assert_int_equal(findings.list[0].kind, HIVE_CLAIM);
	indicator_print(&findings.list[0].indicator, text);
	assert_string_equal(text, "*.evil.example");
	hive_findings_fini(&findings);
	kind_is("5.2.8", ENFORCE, "{'dataType':'mail','data':'bob'}", HIVE_REFUSED);
	kind_is("5.2.8", ENFORCE, "{'dataType':'mail','data':'bob@[192.0.2.1]'}", HIVE_REFUSED);
	data_types[5] = types[5];
}

// The observable's own tag holds over the case's action, but for none.
static const struct {
	const char *of_case, *tags;
	enum hive_finding_kind kind;
	enum claim_action action;
	int64_t until; // 0: forever
} own[] = {
	{"enforce", "'stanch:none'", HIVE_IGNORED, 0, 0},
	{"enforce", "'stanch:monitor'", HIVE_CLAIM, CLAIM_MONITOR, 0},
	{"enforce", "'stanch:monitor:4h'", HIVE_CLAIM, CLAIM_MONITOR, 1727090032 + 14400},
	{"enforce", "'Stanch:Block for a week'", HIVE_CLAIM, CLAIM_ENFORCE, 1727090032 + 604800},
	{"monitor:4h", "'stanch:enforce'", HIVE_CLAIM, CLAIM_ENFORCE, 0},
	{"monitor:4h", "'x'", HIVE_CLAIM, CLAIM_MONITOR, 1727090032 + 14400},
	{"enforce", "'stanch:enforced','stanch:held','stanch'", HIVE_CLAIM, CLAIM_ENFORCE, 0},
	{"enforce", "'stanch:false-positive'", HIVE_CLAIM, CLAIM_ENFORCE, 0},
	{"enforce", "'stanch:monitor:soon'", HIVE_REFUSED, 0, 0},
	{"enforce", "'stanch:monitor','stanch:enforce:4h'", HIVE_REFUSED, 0, 0},
	{"enforce", "'stanch:monitor','stanch:none'", HIVE_IGNORED, 0, 0},
	// A case without an action: only what says so itself.
	{NULL, "'x'", HIVE_IGNORED, 0, 0},
	{NULL, "'stanch:none'", HIVE_IGNORED, 0, 0},
	{NULL, "'stanch:enforce'", HIVE_CLAIM, CLAIM_ENFORCE, 0},
	{NULL, "'stanch:monitor:4h'", HIVE_CLAIM, CLAIM_MONITOR, 1727090032 + 14400},
};

static void an_observable_says_otherwise(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		char more[128] = "{}", observable[128];
		if (own[i].of_case)
			snprintf(more, sizeof(more), "{'tags':['stanch:%s']}", own[i].of_case);
		snprintf(observable, sizeof(observable), "{'tags':[%s]}", own[i].tags);
		kind_is("5.2.8", more, observable, own[i].kind);
		if (own[i].kind != HIVE_CLAIM)
			continue;
		struct hive_findings findings = observe("4.1.24", more, observable);
		const struct hive_finding *f = &findings.list[0];
		if (f->action != own[i].action
		    || f->until != (own[i].until ? own[i].until : UNTIL_FOREVER))
			fail_msg("row %zu: action %d until %ld", i, f->action, (long)f->until);
		hive_findings_fini(&findings);
	}
	struct hive_judgement none = judge("5.2.8", "{'tags':['stanch:none']}");
	assert_false(hive_observables_count(&none, 0));
	none = judge("5.2.8", "{}");
	assert_true(hive_observables_count(&none, 0));
	none = judge("5.2.8", "{'tags':['stanch:false-positive']}"); // no action of a case
	assert_int_equal(none.verdict, HIVE_NONE);
}

#define FALSE4 "{'resolutionStatus':'FalsePositive','pap':3}"
#define FALSE5 "{'status':'FalsePositive','pap':3}"
#define MARKED "'tags':['x','stanch:false-positive'],'ioc':false"

static void a_false_positive_makes_immune(void **state)
{
	(void)state;
	static const struct {
		const char *version, *of_case;
	} both[] = {{"4.1.24", FALSE4}, {"5.2.8", FALSE5}};
	for (size_t i = 0; i < 2; i++) {
		struct hive_judgement j = judge(both[i].version, both[i].of_case);
		assert_int_equal(j.verdict, HIVE_OPEN);
		assert_true(j.false_positive);
		assert_int_equal(j.immune_until, 1727090032 + 30 * 86400);
		assert_true(hive_observables_count(&j, j.immune_until - 1));
		assert_false(hive_observables_count(&j, j.immune_until));
		const char *version = both[i].version, *more = both[i].of_case;
		kind_is(version, more, "{'tags':['x']}", HIVE_IGNORED);
		kind_is(version, more, "{'dataType':'hash'," MARKED "}", HIVE_IGNORED);
		kind_is(version, more, "{'data':'203.0.113.0/24'," MARKED "}", HIVE_REFUSED);
		struct hive_findings findings = observe(version, more, "{" MARKED "}");
		assert_int_equal(findings.list[0].kind, HIVE_IMMUNE);
		hive_findings_fini(&findings);
		findings = observe(
			version, more, "{'dataType':'domain','data':'good.example'," MARKED "}"
		);
		assert_int_equal(findings.list[0].kind, HIVE_IMMUNE);
		assert_int_equal(findings.list[0].indicator.subtree, 0);
		hive_findings_fini(&findings);
	}
	struct hive_judgement open = judge("5.2.8", "{'stage':'InProgress'}");
	assert_false(open.false_positive || open.closed || open.immune_until);
	open = judge("4.1.24", "{'status':'Open','resolutionStatus':'FalsePositive'}");
	assert_false(open.false_positive || open.closed || open.immune_until);
}

// The stricter of case and observable; 4 has only the case's; unknown is RED.
static void pap_limits_the_wire(void **state)
{
	(void)state;
	static const struct {
		int max;
		const char *of_case, *of_observable;
		bool denies;
	} rows[] = {
		{2, "'pap':2", "'pap':2", true},
		{2, "'pap':3", "'pap':2", false},
		{2, "'pap':2", "'pap':3", false},
		{2, "'pap':0", "'pap':0", true},
		{2, "'pap':2", "'x':1", true},
		{2, "'pap':3", "'x':1", false},
		{2, "'pap':7", "'x':1", false},
		{2, "'pap':-1", "'x':1", false},
		{2, "'pap':null", "'x':1", false},
		{2, "'pap':'GREEN'", "'x':1", false},
		{2, "'pap':1", "'pap':9", false},
		{2, "'pap':1", "'pap':null", true},
		{1, "'pap':2", "'pap':1", false},
		{1, "'pap':1", "'pap':1", true},
		{1, "'pap':1", "'pap':2", false},
		{0, "'pap':1", "'x':1", false},
		{0, "'pap':0", "'x':1", true},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char more[128], observable[64];
		snprintf(more, sizeof(more), "{'tags':['stanch:enforce'],%s}", rows[i].of_case);
		snprintf(observable, sizeof(observable), "{%s}", rows[i].of_observable);
		conf.max_pap = rows[i].max;
		kind_is("5.2.8", more, observable, rows[i].denies ? HIVE_CLAIM : HIVE_REFUSED);
		conf.max_pap = 2;
	}
}

static void tlp_follows_the_version(void **state)
{
	(void)state;
	static const struct {
		const char *version, *of_case, *of_observable;
		int tlp;
	} rows[] = {
		{"4.1.24", "2", "2", 2},
		{"4.1.24", "3", "0", 4},
		{"4.1.24", "0", "3", 4},
		{"5.1.2", "3", "1", 4},
		{"5.2.0", "3", "1", 3},
		{"5.2.0", "4", "1", 4},
		{"5.2.0", "1", "4", 4},
		{"5.2.0", "0", "0", 0},
		{"6.0.0", "3", "0", 3},
		{"5.2.0", "5", "0", 4},
		{"4.1.24", "4", "0", 4},
		{"5.2.0", "-1", "0", 4},
		{"5.2.0", "null", "1", 1},
		{"5.2.0", "1", "null", 1},
		{"5.2.0", "null", "null", -1},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char more[128], observable[64];
		snprintf(
			more, sizeof(more), "{'tags':['stanch:enforce'],'tlp':%s}", rows[i].of_case
		);
		snprintf(observable, sizeof(observable), "{'tlp':%s}", rows[i].of_observable);
		struct hive_findings findings = observe(rows[i].version, more, observable);
		if (findings.list[0].tlp != rows[i].tlp)
			fail_msg("row %zu: tlp %d", i, findings.list[0].tlp);
		hive_findings_fini(&findings);
	}
}

static void ranges_are_bounded(void **state)
{
	(void)state;
	struct hive_indicators found;
	const char *reason = NULL;
	// The worst IPv6 range needs more prefixes than a range may have.
	assert_true(
		hive_indicators_parse(
			"ip", "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", &found, &reason
		)
		< 0
	);
	assert_non_null(strstr(reason, "networks"));
	assert_int_equal(
		hive_indicators_parse("ip", "0.0.0.1-255.255.255.254", &found, &reason), 0
	);
	assert_int_equal(found.n, 62);
	char longest[2000];
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_true(hive_indicators_parse("url", longest, &found, &reason) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cases_are_judged),
		cmocka_unit_test(what_is_no_case_is_refused),
		cmocka_unit_test(a_judgement_names_the_case),
		cmocka_unit_test(versions_are_read),
		cmocka_unit_test(data_becomes_indicators),
		cmocka_unit_test(which_observables_count),
		cmocka_unit_test(types_are_mapped),
		cmocka_unit_test(an_observable_says_otherwise),
		cmocka_unit_test(a_false_positive_makes_immune),
		cmocka_unit_test(pap_limits_the_wire),
		cmocka_unit_test(tlp_follows_the_version),
		cmocka_unit_test(ranges_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
