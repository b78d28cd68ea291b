// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *list_key(int family)
{
	return family == 4 ? "ipv4_prefixes" : "ipv6_prefixes";
}

static const char *prefix_key(int family)
{
	return family == 4 ? "ipv4_prefix" : "ipv6_prefix";
}

static const char *keep(int family)
{
	return family == 4 ? F5XC_KEEP_V4 : F5XC_KEEP_V6;
}

void f5xc_prefix_print(const struct indicator *n, char text[INDICATOR_TEXT_MAX])
{
	size_t len = indicator_print(n, text);

	if (n->prefix_len == (n->family == 4 ? 32 : 128))
		memcpy(text + len, n->family == 4 ? "/32" : "/128", n->family == 4 ? 4 : 5);
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

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

int f5xc_object_read(json_t *object, int family, struct f5xc_object *ret_object)
{
	json_t *metadata = json_object_get(object, "metadata"),
	       *spec = json_object_get(object, "spec");
	json_t *annotations = json_object_get(metadata, "annotations");
	struct f5xc_object o = {
		.owner = text_of(json_object_get(metadata, "labels"), F5XC_OWNER),
		.resource_version = text_of(object, "resource_version"),
		.prefixes = json_object_get(spec, list_key(family)),
		.referred = json_array_size(json_object_get(object, "referring_objects")) > 0,
	};
	const char *revision = text_of(annotations, F5XC_REVISION);
	char *dot;

	if (!json_is_object(metadata) || !(json_is_object(spec) || json_is_null(spec) || !spec))
		return -EBADMSG;
	if (!json_is_array(o.prefixes))
		o.prefixes = NULL;
	o.revision.epoch = strtoull(revision, &dot, 10);
	o.revision.number = *dot == '.' ? strtoull(dot + 1, NULL, 10) : 0;
	*ret_object = o;
	return 0;
}

static bool row_is(json_t *row, int family, const struct indicator *n)
{
	const char *text = text_of(row, prefix_key(family));
	struct indicator_error ignored;
	struct indicator there;

	return indicator_parse(text, strlen(text), &there, &ignored) == 0
		&& indicator_equal(&there, n);
}

bool f5xc_object_has(const struct f5xc_object *o, int family, const struct indicator *n)
{
	size_t i;
	json_t *row;

	json_array_foreach(o->prefixes, i, row)
	{
		if (row_is(row, family, n))
			return true;
	}
	return false;
}

// Quadratic over at most 1,024 rows: some milliseconds at worst, once a PUT.
bool f5xc_object_equal(
	const struct f5xc_object *o, int family, const struct f5xc_item *items, size_t n
)
{
	struct indicator_error ignored;
	struct indicator stays;
	size_t wanted = n;

	indicator_parse(keep(family), strlen(keep(family)), &stays, &ignored);
	for (size_t i = 0; i < n; i++) {
		if (indicator_equal(&items[i].indicator, &stays))
			wanted--;
		if (!f5xc_object_has(o, family, &items[i].indicator))
			return false;
	}
	return f5xc_object_has(o, family, &stays) && json_array_size(o->prefixes) == wanted + 1;
}

static json_t *prefixes_build(int family, const struct f5xc_item *items, size_t n)
{
	json_t *rows = json_array();
	char text[INDICATOR_TEXT_MAX];

	json_array_append_new(
		rows,
		json_pack(
			"{s:s, s:s}",
			prefix_key(family),
			keep(family),
			"description",
			"keeps the set from being empty"
		)
	);
	for (size_t i = 0; i < n; i++) {
		f5xc_prefix_print(&items[i].indicator, text);
		if (strcmp(text, keep(family)) != 0)
			json_array_append_new(
				rows,
				json_pack(
					"{s:s, s:s}",
					prefix_key(family),
					text,
					"description",
					items[i].description
				)
			);
	}
	return rows;
}

json_t *f5xc_body(
	json_t *was,
	const char *name,
	const char *xc_namespace,
	const char *owner,
	const struct list_state *state,
	int family,
	const struct f5xc_item *items,
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
		prefixes_build(family, items, n)
	);
	if (body && was && *text_of(was, "resource_version"))
		json_object_set_new(
			body, "resource_version", json_string(text_of(was, "resource_version"))
		);
	return body;
}
