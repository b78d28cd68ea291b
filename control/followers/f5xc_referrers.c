// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_referrers.h"

#include "control/conf.h"
#include "control/followers/f5xc_internal.h"
#include "control/http_client.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *answer_json(const struct http_answer *a)
{
	char *clean = a->status == 200 ? f5xc_sanitise(a->body, a->body_len) : NULL;
	json_t *object = clean ? json_loads(clean, 0, NULL) : NULL;

	free(clean);
	return object;
}

static struct f5xc_referrer *stale_find(struct shard *s, int64_t before)
{
	for (size_t i = 0; i < s->referrers.n; i++) {
		struct f5xc_referrer *one = &s->referrers.list[i];

		if (one->read_ms == 0 || one->read_ms < before)
			return one;
	}
	return NULL;
}

static int64_t stale_before(const struct shard *s)
{
	return f5xc_now_ms() - (int64_t)s->owner->conf->reconcile_s * 500;
}

// The answer is for the one that was stale first: the list does not change while it is asked.
static void policy_read(void *ctx, const struct http_answer *a)
{
	struct shard *s = ctx;
	struct f5xc_referrer *one = &s->referrers.list[s->asked];
	json_t *object = answer_json(a);

	one->read_ms = f5xc_now_ms();
	one->why[0] = '\0';
	if (f5xc_policy_judge(object, s->owner->conf->xc_namespace, s->name, &one->verdict) < 0) {
		one->verdict = F5XC_UNREAD;
		if (a->status == 0)
			snprintf(one->why, sizeof(one->why), "%.45s", a->error_text);
		else
			snprintf(one->why, sizeof(one->why), "%ld", a->status);
		f5xc_text_clean(one->why);
	}
	json_decref(object);
	f5xc_shard_again(s);
}

static void referrers_read(void *ctx, const struct http_answer *a)
{
	struct shard *s = ctx;
	json_t *object = answer_json(a);

	if (object && !f5xc_referrers_note(object, &s->referrers))
		s->referrers = (struct f5xc_referrers){.asked_ms = s->referrers.asked_ms};
	json_decref(object);
	f5xc_shard_again(s);
}

void f5xc_referrers_step(struct shard *s)
{
	struct f5xc_referrer *one = stale_find(s, stale_before(s));
	http_answer_cb then = policy_read;
	char path[320];

	if (one) {
		s->asked = (size_t)(one - s->referrers.list);
		snprintf(
			path,
			sizeof(path),
			"/config/namespaces/%s/%s/%s",
			one->xc_namespace,
			one->plural,
			one->name
		);
	} else if (json_array_size(json_object_get(s->read, "referring_objects")) == 0
		   && (s->referrers.asked_ms == 0 || s->referrers.asked_ms < stale_before(s))) {
		// Whether the default answer names them is not documented.
		s->referrers.asked_ms = f5xc_now_ms();
		then = referrers_read;
		snprintf(
			path,
			sizeof(path),
			"/config/namespaces/%s/ip_prefix_sets/%s"
			"?response_format=GET_RSP_FORMAT_REFERRING_OBJECTS",
			s->owner->conf->xc_namespace,
			s->name
		);
	} else {
		return;
	}
	s->busy = http_client_request(s->owner->client, "GET", path, NULL, 0, then, s) == 0;
}
