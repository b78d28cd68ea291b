// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

// Webhooks of all versions: which case they speak of. Recorded bodies are third-party data and lie
// outside the repository ($STANCH_SHARED_DATA/thehive); without them that test is skipped.

#include "control/sources/thehive_hook.h"
#include "tests/unit/cm.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *json_of(const char *text)
{
	char copy[4096];
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

static const struct {
	const char *body;
	enum hive_format format;
	const char *case_id;
	bool deleted, closed;
	const char *closer;
	size_t n_merged;
} rows[] = {
	// 3
	{"{'operation':'Creation','objectType':'case','objectId':'AV6FZsTj0KeanEfOQfd_',"
	 "'rootId':'AV6FZsTj0KeanEfOQfd_','requestId':'r','base':true,'details':{},"
	 "'object':{'_type':'case','status':'Open'}}",
	 HIVE_FORMAT_3,
	 "AV6FZsTj0KeanEfOQfd_",
	 false,
	 false,
	 "",
	 0},
	{"{'operation':'Update','objectType':'case','objectId':'AV6','rootId':'AV6',"
	 "'details':{'status':'Resolved'},'object':{'_type':'case','status':'Resolved'}}",
	 HIVE_FORMAT_3,
	 "AV6",
	 false,
	 true,
	 "",
	 0},
	{"{'operation':'Creation','objectType':'case_artifact','objectId':'x9','rootId':'AV6',"
	 "'details':{},'object':{'_type':'case_artifact'}}",
	 HIVE_FORMAT_3,
	 "AV6",
	 false,
	 false,
	 "",
	 0},
	// 4, endpoint version 0
	{"{'operation':'update','objectType':'case','objectId':'~1','rootId':'~1',"
	 "'requestId':'r:1','details':{'status':'Resolved','resolutionStatus':'TruePositive'},"
	 "'object':{'_id':'~1','_type':'case','status':'Resolved','updatedBy':'u@x'},"
	 "'organisationId':'~4192','organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "~1",
	 false,
	 true,
	 "",
	 0},
	{"{'operation':'update','objectType':'case','objectId':'~1','rootId':'~1',"
	 "'details':{'status':'Open'},'object':{'_type':'case','status':'Open',"
	 "'resolutionStatus':'TruePositive'},'organisationId':'~4192','organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "~1",
	 false,
	 false,
	 "",
	 0},
	{"{'operation':'create','objectType':'case_artifact','objectId':'~9','rootId':'~1',"
	 "'details':{},'object':{'_id':'~9','_type':'case_artifact','case':{'_id':'~1'}},"
	 "'organisationId':'~4192','organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "~1",
	 false,
	 false,
	 "",
	 0},
	{"{'operation':'create','objectType':'case_artifact','objectId':'~9','rootId':'~7',"
	 "'details':{},'object':{'_id':'~9','_type':'case_artifact','alert':{'_id':'~7'}},"
	 "'organisationId':'~4192','organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "",
	 false,
	 false,
	 "",
	 0},
	{"{'operation':'delete','objectType':'case_artifact','objectId':'~9','rootId':'~1',"
	 "'details':{'dataType':'ip','data':'203.0.113.7'},'object':{},'organisationId':'~4192',"
	 "'organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "~1",
	 false,
	 false,
	 "",
	 0},
	{"{'operation':'delete','objectType':'case','objectId':'~1','rootId':'~4192',"
	 "'details':{'number':42,'title':'T'},'object':{},'organisationId':'~4192',"
	 "'organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "~1",
	 true,
	 false,
	 "",
	 0},
	{"{'operation':'update','objectType':'case','objectId':'~3','rootId':'~3',"
	 "'details':{'cases':[{'_id':'~1','number':42},{'_id':'~2','number':43},{'_id':5}]},"
	 "'object':{'_id':'~3','_type':'case','status':'Open'},'organisationId':'~4192',"
	 "'organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "~3",
	 false,
	 false,
	 "",
	 2},
	// an alert became part of a case; `object` is the case
	{"{'operation':'update','objectType':'alert','objectId':'~7','rootId':'~7','base':false,"
	 "'details':{'caseId':'~1'},'object':{'_id':'~1','_type':'case','caseId':42},"
	 "'organisationId':'~4192','organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "~1",
	 false,
	 false,
	 "",
	 0},
	{"{'operation':'create','objectType':'alert','objectId':'~7','rootId':'~7','details':{},"
	 "'object':{'_id':'~7','_type':'alert'},'organisationId':'~4192','organisation':'ORG'}",
	 HIVE_FORMAT_4_0,
	 "",
	 false,
	 false,
	 "",
	 0},
	// 4, endpoint version 1
	{"{'operation':'merge','objectType':'Case','objectId':'~3','rootId':'~3',"
	 "'details':{'cases':[{'_id':'~1'}]},'object':{'_id':'~3','_type':'Case',"
	 "'status':'Open'},'organisationId':'~4192','organisation':'ORG'}",
	 HIVE_FORMAT_4_1,
	 "~3",
	 false,
	 false,
	 "",
	 1},
	{"{'operation':'create','objectType':'Observable','objectId':'~9','rootId':'~1',"
	 "'details':{},'object':{'_id':'~9','_type':'Observable','Case':{'_id':'~1'}},"
	 "'organisationId':'~4192','organisation':'ORG'}",
	 HIVE_FORMAT_4_1,
	 "~1",
	 false,
	 false,
	 "",
	 0},
	// 5, endpoint version 0
	{"{'_type':'audit','operation':'Update','objectType':'case','objectId':'~1','rootId':'~1',"
	 "'createdBy':'u@x','details':{'stage':'Closed','status':'TruePositive'},"
	 "'object':{'_id':'~1','_type':'case','status':'Resolved','stage':'Closed',"
	 "'resolutionStatus':null},'context':'(same as object)',"
	 "'organisation':{'organisationId':'~41','organisation':'O'}}",
	 HIVE_FORMAT_5_0,
	 "~1",
	 false,
	 true,
	 "u@x",
	 0},
	{"{'_type':'audit','operation':'Delete','objectType':'case','objectId':'~1',"
	 "'rootId':'~41','createdBy':'u@x','details':{'number':3},"
	 "'organisation':{'organisationId':'~41','organisation':'O'}}",
	 HIVE_FORMAT_5_0,
	 "~1",
	 true,
	 false,
	 "",
	 0},
	// 5, endpoint version 1
	{"{'_type':'Audit','action':'update','objectType':'Case','objectId':'~1','rootId':'~1',"
	 "'_createdBy':'u@x','details':{'status':'FalsePositive'},'object':{'_id':'~1',"
	 "'_type':'Case','stage':'Closed','status':'FalsePositive'},"
	 "'organisation':{'organisationId':'~41','organisation':'O'}}",
	 HIVE_FORMAT_5_1,
	 "~1",
	 false,
	 true,
	 "u@x",
	 0},
	// who tags a closed case has not closed it
	{"{'_type':'Audit','action':'update','objectType':'Case','objectId':'~1','rootId':'~1',"
	 "'_createdBy':'u@x','details':{'tags':['a']},'object':{'_id':'~1','_type':'Case',"
	 "'stage':'Closed','status':'TruePositive'}}",
	 HIVE_FORMAT_5_1,
	 "~1",
	 false,
	 true,
	 "",
	 0},
	{"{'_type':'Audit','action':'invoke','objectType':'Function','objectId':'~8',"
	 "'rootId':'~41','details':{},'object':{},"
	 "'organisation':{'organisationId':'~41','organisation':'O'}}",
	 HIVE_FORMAT_5_1,
	 "",
	 false,
	 false,
	 "",
	 0},
	// ids that could leave a path or a reference
	{"{'_type':'Audit','action':'update','objectType':'Case','objectId':'../1','details':{}}",
	 HIVE_FORMAT_5_1,
	 "",
	 false,
	 false,
	 "",
	 0},
	{"{'_type':'Audit','action':'update','objectType':'Case',"
	 "'objectId':'~1234567890123456789012345678901234567890123456789','details':{}}",
	 HIVE_FORMAT_5_1,
	 "",
	 false,
	 false,
	 "",
	 0},
};

static void formats_are_told_by_content(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hive_hint hint;
		const char *reason = "";
		json_t *body = json_of(rows[i].body);
		if (hive_hook_read(body, &hint, &reason) < 0)
			fail_msg("%s: %s", rows[i].body, reason);
		if (hint.format != rows[i].format || strcmp(hint.case_id, rows[i].case_id) != 0
		    || hint.deleted != rows[i].deleted || hint.closed != rows[i].closed
		    || strcmp(hint.closer, rows[i].closer) != 0
		    || hint.n_merged != rows[i].n_merged)
			fail_msg(
				"%s: format %d case \"%s\" deleted %d closed %d closer \"%s\" "
				"merged %zu",
				rows[i].body,
				hint.format,
				hint.case_id,
				hint.deleted,
				hint.closed,
				hint.closer,
				hint.n_merged
			);
		json_decref(body);
	}
}

static void what_is_no_webhook_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"{}",
		"[]",
		"{'action':'update'}",
		"{'action':'update','_type':'Case','objectType':'Case','objectId':'~1'}",
		"{'operation':5,'objectType':'case','objectId':'~1'}",
		"{'operation':'update','objectId':'~1'}",
		"{'operation':'update','objectType':'case'}",
		"{'operation':'update','objectType':'case','objectId':null}",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hive_hint hint;
		const char *reason = NULL;
		json_t *body = json_of(bad[i]);
		if (hive_hook_read(body, &hint, &reason) == 0)
			fail_msg("%s: taken", bad[i]);
		assert_non_null(reason);
		json_decref(body);
	}
	struct hive_hint hint;
	const char *reason = NULL;
	assert_true(hive_hook_read(NULL, &hint, &reason) < 0);
}

static void requests_are_told_apart(void **state)
{
	(void)state;
	static const char *const bodies[] = {
		"{'operation':'delete','objectType':'case','objectId':'~1','requestId':'r:1'}",
		"{'operation':'delete','objectType':'case','objectId':'~1','requestId':'r:2'}",
		"{'operation':'update','objectType':'case','objectId':'~3','requestId':'r:1'}",
	};
	uint64_t seen[3];
	for (size_t i = 0; i < 3; i++) {
		struct hive_hint hint;
		const char *reason;
		json_t *body = json_of(bodies[i]);
		assert_int_equal(hive_hook_read(body, &hint, &reason), 0);
		seen[i] = hint.request;
		json_decref(body);
	}
	assert_true(seen[0] == seen[2] && seen[0] != seen[1] && seen[0] != 0);
}

// Which case the recorded bodies speak of, by the beginning of their names; the rest of the case
// bodies speak of the object that they name.
static const struct {
	const char *name, *case_id;
} recorded[] = {
	{"th5.1-v1-alert-", ""},
	{"th5.1-v1-observable-", "~40976512"},
	{"th5.1-v1-comment-", "~40976512"},
	{"th5.1-v1-attachment-", "~40976512"},
	{"th5.1-v1-procedure-", "~40976512"},
	{"th5.1-v1-tasklog-", "~40976512"},
	{"th5.1-v1-task-", "~40976512"},
	{"th5.1-v1-case-case-", "~40976512"},
};

static void recorded_check(const char *name, const json_t *body)
{
	struct hive_hint hint;
	const char *reason = "";
	if (hive_hook_read(body, &hint, &reason) < 0)
		fail_msg("%s: %s", name, reason);
	assert_int_equal(hint.format, HIVE_FORMAT_5_1);
	const char *want = NULL;
	for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]) && !want; i++)
		if (strncmp(name, recorded[i].name, strlen(recorded[i].name)) == 0)
			want = recorded[i].case_id;
	const char *type = json_string_value(json_object_get(body, "objectType"));
	if (!want && strcmp(type, "Case") == 0)
		want = json_string_value(json_object_get(body, "objectId"));
	if (!want) // an alert that became a case, its observables
		want = json_string_value(json_object_get(body, "rootId"));
	if (strcmp(hint.case_id, want) != 0)
		fail_msg("%s: case \"%s\", not \"%s\"", name, hint.case_id, want);
	assert_int_equal(hint.deleted, strstr(name, "case-case-deleted") != NULL);
	if (strstr(name, "case-closed-as")) {
		assert_true(hint.closed);
		assert_string_equal(hint.closer, "user@thehive.local");
	}
	if (strstr(name, "reopened"))
		assert_false(hint.closed);
}

static void recorded_bodies_are_read(void **state)
{
	(void)state;
	char path[512];
	const char *shared = getenv("STANCH_SHARED_DATA");
	snprintf(path, sizeof(path), "%s/thehive", shared ? shared : SHARED_DATA);
	DIR *folder = opendir(path);
	if (!folder) {
		print_message("skipped: %s is absent\n", path);
		skip();
	}
	size_t n = 0;
	struct dirent *file;
	while ((file = readdir(folder))) {
		if (!strstr(file->d_name, ".json"))
			continue;
		char whole[1024];
		snprintf(whole, sizeof(whole), "%s/%s", path, file->d_name);
		json_error_t error;
		json_t *body = json_load_file(whole, 0, &error);
		if (!body)
			fail_msg("%s:%d: %s", whole, error.line, error.text);
		recorded_check(file->d_name, body);
		json_decref(body);
		n++;
	}
	closedir(folder);
	assert_true(n > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_are_told_by_content),
		cmocka_unit_test(what_is_no_webhook_is_refused),
		cmocka_unit_test(requests_are_told_apart),
		cmocka_unit_test(recorded_bodies_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
