// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_AFTER_MAX_S 300

static const char *list_key(int family)
{
	return family == 4 ? "ipv4_prefixes" : "ipv6_prefixes";
}

static const char *prefix_key(int family)
{
	return family == 4 ? "ipv4_prefix" : "ipv6_prefix";
}

struct f5xc_prefix f5xc_keep(int family)
{
	if (family == 4)
		return (struct f5xc_prefix){.addr = {192, 0, 2, 1}, .len = 32};
	return (struct f5xc_prefix
	){.addr = {[0] = 0x20, [1] = 0x01, [2] = 0x0d, [3] = 0xb8, [15] = 1}, .len = 128};
}

// Octets of a well-formed UTF-8 sequence, 0 where there is none (RFC 3629).
static size_t utf8_octets(const unsigned char *p, size_t len)
{
	size_t n = p[0] < 0x80		      ? 1
		: p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		: (p[0] & 0xf0) == 0xe0	      ? 3
		: p[0] >= 0xf0 && p[0] < 0xf5 ? 4
					      : 0;

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)
	    || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

char *f5xc_sanitise(const char *body, size_t len)
{
	char *copy = malloc(len + 1);
	size_t at = 0;

	if (!copy)
		return NULL;
	memcpy(copy, body, len);
	copy[len] = '\0';
	while (at < len) {
		unsigned char c = (unsigned char)copy[at];
		size_t n = utf8_octets((const unsigned char *)copy + at, len - at);

		if (n == 0)
			copy[at] = '?';
		else if (c < 0x20) // a space means the same between tokens, and is allowed inside
			copy[at] = ' ';
		n = n ? n : 1;
		at += n;
	}
	return copy;
}

void f5xc_text_clean(char *text)
{
	for (; *text; text++)
		*text = *text < 0x20 || *text > 0x7e ? '?' : *text;
}

int64_t f5xc_wait_ms(unsigned backoff_ms, long retry_after, long jitter_ms)
{
	int64_t wait = (int64_t)backoff_ms + jitter_ms;

	if (retry_after > RETRY_AFTER_MAX_S)
		retry_after = RETRY_AFTER_MAX_S;
	return retry_after * 1000 > wait ? retry_after * 1000 : wait;
}

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int prefixes_read(json_t *rows, int family, struct f5xc_object *o)
{
	struct indicator_error ignored;
	struct indicator there;
	size_t i;
	json_t *row;

	o->n_rows = json_array_size(rows);
	o->prefixes = calloc(o->n_rows + 1, sizeof(*o->prefixes));
	if (!o->prefixes)
		return -ENOMEM;
	json_array_foreach(rows, i, row)
	{
		const char *text = text_of(row, prefix_key(family));

		if (indicator_parse(text, strlen(text), &there, &ignored) == 0
		    && there.kind == INDICATOR_NET && there.family == family)
			o->prefixes[o->n_prefixes++] = f5xc_prefix_of(&there);
	}
	if (o->n_prefixes > 1)
		qsort(o->prefixes, o->n_prefixes, sizeof(*o->prefixes), f5xc_prefix_compare);
	return 0;
}

int f5xc_object_read(json_t *object, int family, struct f5xc_object *ret_object)
{
	json_t *metadata = json_object_get(object, "metadata"),
	       *spec = json_object_get(object, "spec");
	const char *revision = text_of(json_object_get(metadata, "annotations"), F5XC_REVISION);
	struct f5xc_object o = {
		.owner = text_of(json_object_get(metadata, "labels"), F5XC_OWNER),
		.disabled = json_is_true(json_object_get(metadata, "disable")),
	};
	char *dot;
	int rc;

	if (!json_is_object(metadata) || !(json_is_object(spec) || json_is_null(spec) || !spec))
		return -EBADMSG;
	o.revision.epoch = strtoull(revision, &dot, 10);
	o.revision.number = *dot == '.' ? strtoull(dot + 1, NULL, 10) : 0;
	rc = prefixes_read(json_object_get(spec, list_key(family)), family, &o);
	if (rc == 0)
		*ret_object = o;
	return rc;
}

void f5xc_object_fini(struct f5xc_object *o)
{
	free(o->prefixes);
	*o = (struct f5xc_object){0};
}

bool f5xc_object_has(const struct f5xc_object *o, const struct f5xc_prefix *prefix)
{
	return o->n_prefixes > 0
		&& bsearch(
			prefix,
			o->prefixes,
			o->n_prefixes,
			sizeof(*o->prefixes),
			f5xc_prefix_compare
		);
}

bool f5xc_object_equal(const struct f5xc_object *o, const struct f5xc_row *rows, size_t n)
{
	if (o->disabled || o->n_rows != n || o->n_prefixes != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (f5xc_prefix_compare(&rows[i], &o->prefixes[i]) != 0)
			return false;
	}
	return true;
}

static json_t *prefixes_build(int family, const struct f5xc_row *rows, size_t n)
{
	json_t *list = json_array();
	char text[INDICATOR_TEXT_MAX];

	for (size_t i = 0; i < n; i++) {
		f5xc_prefix_print(&rows[i].prefix, family, text);
		json_array_append_new(
			list,
			json_pack(
				"{s:s, s:s}",
				prefix_key(family),
				text,
				"description",
				rows[i].description
			)
		);
	}
	return list;
}

json_t *f5xc_body(
	json_t *was,
	const char *name,
	const char *xc_namespace,
	const char *owner,
	const struct list_state *state,
	int family,
	const struct f5xc_row *rows,
	size_t n
)
{
	json_t *metadata = json_deep_copy(json_object_get(was, "metadata")), *labels, *annotations,
	       *body;
	char revision[48], digest[DIGEST_TEXT_MAX];

	if (!json_is_object(metadata)) {
		json_decref(metadata);
		metadata = json_object();
	}
	labels = json_object_get(metadata, "labels");
	if (!json_is_object(labels))
		json_object_set_new(metadata, "labels", labels = json_object());
	annotations = json_object_get(metadata, "annotations");
	if (!json_is_object(annotations))
		json_object_set_new(metadata, "annotations", annotations = json_object());
	snprintf(
		revision,
		sizeof(revision),
		"%llu.%llu",
		(unsigned long long)state->revision.epoch,
		(unsigned long long)state->revision.number
	);
	digest_print(state->digest, digest);
	if (json_object_get(metadata, "disable")) // somebody's: of a set of ours it is drift
		json_object_set_new(metadata, "disable", json_false());
	json_object_set_new(metadata, "name", json_string(name));
	json_object_set_new(metadata, "namespace", json_string(xc_namespace));
	json_object_set_new(labels, F5XC_OWNER, json_string(owner));
	json_object_set_new(annotations, F5XC_REVISION, json_string(revision));
	json_object_set_new(annotations, F5XC_DIGEST, json_string(digest));
	if (!was)
		json_object_set_new(
			metadata,
			"description",
			json_string("Egress blocks, mirrored. Do not edit: changes are undone.")
		);
	body = json_pack(
		"{s:o, s:{s:o}}",
		"metadata",
		metadata,
		"spec",
		list_key(family),
		prefixes_build(family, rows, n)
	);
	if (body && was && *text_of(was, "resource_version"))
		json_object_set_new(
			body, "resource_version", json_string(text_of(was, "resource_version"))
		);
	return body;
}
