// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/f5xc_set.h"

#include "rules/siphash.h"

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

struct f5xc_prefix f5xc_keep(int family)
{
	if (family == 4)
		return (struct f5xc_prefix){.addr = {192, 0, 2, 1}, .len = 32};
	return (struct f5xc_prefix
	){.addr = {[0] = 0x20, [1] = 0x01, [2] = 0x0d, [3] = 0xb8, [15] = 1}, .len = 128};
}

bool f5xc_is_keep(int family, const struct f5xc_prefix *prefix)
{
	const struct f5xc_prefix keep = f5xc_keep(family);

	return f5xc_prefix_compare(prefix, &keep) == 0;
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

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int rows_read(json_t *rows, int family, struct f5xc_object *o)
{
	struct indicator_error ignored;
	struct indicator there;
	size_t i;
	json_t *row;

	o->n_rows = json_array_size(rows);
	o->rows = calloc(o->n_rows + 1, sizeof(*o->rows));
	if (!o->rows)
		return -ENOMEM;
	json_array_foreach(rows, i, row)
	{
		const char *text = text_of(row, prefix_key(family));

		if (indicator_parse(text, strlen(text), &there, &ignored) == 0
		    && there.kind == INDICATOR_NET && there.family == family)
			o->rows[o->n++] = (struct f5xc_row){
				f5xc_prefix_of(&there),
				text_of(row, "description"),
			};
	}
	if (o->n > 1)
		qsort(o->rows, o->n, sizeof(*o->rows), f5xc_prefix_compare);
	return 0;
}

int f5xc_object_read(json_t *object, int family, struct f5xc_object *ret_object)
{
	json_t *metadata = json_object_get(object, "metadata"),
	       *spec = json_object_get(object, "spec");
	json_t *annotations = json_object_get(metadata, "annotations");
	const char *revision = text_of(annotations, F5XC_REVISION);
	struct f5xc_object o = {
		.owner = text_of(json_object_get(metadata, "labels"), F5XC_OWNER),
		.content = text_of(annotations, F5XC_CONTENT),
		.version = text_of(object, "resource_version"),
		.disabled = json_is_true(json_object_get(metadata, "disable")),
	};
	char *dot;
	int rc;

	if (!json_is_object(metadata) || !(json_is_object(spec) || json_is_null(spec) || !spec))
		return -EBADMSG;
	o.revision.epoch = strtoull(revision, &dot, 10);
	o.revision.number = *dot == '.' ? strtoull(dot + 1, NULL, 10) : 0;
	rc = rows_read(json_object_get(spec, list_key(family)), family, &o);
	if (rc == 0)
		*ret_object = o;
	return rc;
}

void f5xc_object_fini(struct f5xc_object *o)
{
	free(o->rows);
	*o = (struct f5xc_object){0};
}

bool f5xc_object_equal(const struct f5xc_object *o, const struct f5xc_row *rows, size_t n)
{
	if (o->n_rows != n || o->n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (f5xc_prefix_compare(&rows[i], &o->rows[i]) != 0)
			return false;
	return true;
}

bool f5xc_object_described(const struct f5xc_object *o, const struct f5xc_row *rows)
{
	for (size_t i = 0; i < o->n; i++)
		if (strcmp(o->rows[i].description, rows[i].description) != 0)
			return false;
	return true;
}

void f5xc_content(const struct f5xc_row *rows, size_t n, char ret_text[F5XC_CONTENT_MAX])
{
	static const uint8_t key[16] = "stanch content 1";
	uint64_t sum = n;

	// Sorted and without doubles: a chain of hashes, order counts.
	for (size_t i = 0; i < n; i++) {
		uint8_t one[sizeof(sum) + sizeof(rows[i].prefix)];

		memcpy(one, &sum, sizeof(sum));
		memcpy(one + sizeof(sum), &rows[i].prefix, sizeof(rows[i].prefix));
		sum = siphash64(key, one, sizeof(one));
	}
	snprintf(ret_text, F5XC_CONTENT_MAX, "%016llx", (unsigned long long)sum);
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

static json_t *object_in(json_t *object, const char *key)
{
	json_t *inner = json_object_get(object, key);

	if (!json_is_object(inner))
		json_object_set_new(object, key, inner = json_object());
	return inner;
}

json_t *f5xc_metadata(json_t *was, const struct f5xc_own *own)
{
	json_t *metadata = json_is_object(was) ? json_deep_copy(was) : json_object(), *labels,
	       *annotations;
	char revision[48], digest[DIGEST_TEXT_MAX];

	labels = object_in(metadata, "labels");
	annotations = object_in(metadata, "annotations");
	snprintf(
		revision,
		sizeof(revision),
		"%llu.%llu",
		(unsigned long long)own->state.revision.epoch,
		(unsigned long long)own->state.revision.number
	);
	digest_print(own->state.digest, digest);
	if (json_object_get(metadata, "disable")) // somebody's: of an object of ours it is drift
		json_object_set_new(metadata, "disable", json_false());
	json_object_set_new(metadata, "name", json_string(own->name));
	json_object_set_new(metadata, "namespace", json_string(own->xc_namespace));
	json_object_set_new(labels, F5XC_OWNER, json_string(own->owner));
	json_object_set_new(annotations, F5XC_REVISION, json_string(revision));
	json_object_set_new(annotations, F5XC_DIGEST, json_string(digest));
	json_object_set_new(annotations, F5XC_CONTENT, json_string(own->content));
	if (!was)
		json_object_set_new(
			metadata,
			"description",
			json_string("Egress blocks, mirrored. Do not edit: changes are undone.")
		);
	return metadata;
}

json_t *
f5xc_body(json_t *metadata, const char *version, int family, const struct f5xc_row *rows, size_t n)
{
	json_t *body = json_pack(
		"{s:o, s:{s:o}}",
		"metadata",
		metadata,
		"spec",
		list_key(family),
		prefixes_build(family, rows, n)
	);

	if (body && *version)
		json_object_set_new(body, "resource_version", json_string(version));
	return body;
}
