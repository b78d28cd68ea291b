// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/cautions.h"

#include "rules/domain.h"

#include <jansson.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (64 * 1024 * 1024)
#define LISTS_MAX 64

struct net {
	uint8_t addr[16];
	uint8_t family, prefix_len;
	uint8_t list;
};

struct name {
	char *text;
	bool subtree;
	uint8_t list;
};

struct cautions {
	atomic_uint holders;
	struct net *nets; // by family, address and length
	size_t n_nets, nets_room;
	bool lengths[2][129]; // that there are, of IPv4 and IPv6
	struct name *names; // by their ends: what is under a name follows it
	size_t n_names, names_room;
	char *lists[LISTS_MAX]; // what the files call themselves
	size_t n_lists;
};

int cautions_create(struct cautions **ret_cautions)
{
	struct cautions *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	atomic_init(&c->holders, 1);
	*ret_cautions = c;
	return 0;
}

struct cautions *cautions_ref(struct cautions *c)
{
	if (c)
		atomic_fetch_add(&c->holders, 1);
	return c;
}

void cautions_free(struct cautions *c)
{
	if (!c || atomic_fetch_sub(&c->holders, 1) != 1)
		return;
	for (size_t i = 0; i < c->n_names; i++)
		free(c->names[i].text);
	for (size_t i = 0; i < c->n_lists; i++)
		free(c->lists[i]);
	free(c->names);
	free(c->nets);
	free(c);
}

size_t cautions_count(const struct cautions *c)
{
	return c->n_nets + c->n_names;
}

// --- reading

// Room for one more.
static int room_make(void **list, size_t n, size_t *room, size_t size)
{
	if (n < *room)
		return 0;
	size_t more = *room ? *room * 2 : 64;
	void *grown = realloc(*list, more * size);
	if (!grown)
		return -ENOMEM;
	*list = grown;
	*room = more;
	return 0;
}

static int net_add(struct cautions *c, const struct indicator *n, uint8_t list)
{
	int error = room_make((void **)&c->nets, c->n_nets, &c->nets_room, sizeof(*c->nets));
	if (error)
		return error;
	struct net *net = &c->nets[c->n_nets++];
	*net = (struct net){.family = n->family, .prefix_len = n->prefix_len, .list = list};
	memcpy(net->addr, n->addr, sizeof(net->addr));
	c->lengths[n->family == 6][n->prefix_len] = true;
	return 0;
}

static int name_add(struct cautions *c, const char *text, bool subtree, uint8_t list)
{
	int error = room_make((void **)&c->names, c->n_names, &c->names_room, sizeof(*c->names));
	char *copy = error ? NULL : strdup(text);
	if (!copy)
		return -ENOMEM;
	c->names[c->n_names++] = (struct name){.text = copy, .subtree = subtree, .list = list};
	return 0;
}

// What cannot be read as a destination is none of our business: such lists hold other things too.
static int word_add(struct cautions *c, const char *text, size_t len, uint8_t list)
{
	struct indicator n;
	struct indicator_error error;
	bool dot = len > 1 && text[0] == '.';
	if (cautions_count(c) >= CAUTIONS_MAX)
		return -E2BIG;
	if (indicator_parse(text + dot, len - dot, &n, &error) < 0)
		return 0;
	if (n.kind == INDICATOR_NET)
		return net_add(c, &n, list);
	if (n.kind == INDICATOR_NAME)
		return name_add(c, n.name, dot || n.subtree, list);
	return 0;
}

static int list_name(struct cautions *c, const char *name, uint8_t *ret_list)
{
	if (c->n_lists == LISTS_MAX)
		return -E2BIG;
	c->lists[c->n_lists] = strdup(name);
	if (!c->lists[c->n_lists])
		return -ENOMEM;
	*ret_list = (uint8_t)c->n_lists++;
	return 0;
}

static int json_read(struct cautions *c, const json_t *whole, const char *path)
{
	const json_t *list = json_object_get(whole, "list");
	const json_t *name = json_object_get(whole, "name");
	const json_t *version = json_object_get(whole, "version");
	char text[96];
	uint8_t number = 0;
	snprintf(
		text,
		sizeof(text),
		"%.60s, %lld",
		json_is_string(name) ? json_string_value(name) : path,
		(long long)json_integer_value(version)
	);
	if (!json_is_array(list))
		return -EINVAL;
	int error = list_name(c, text, &number);
	size_t i;
	json_t *one;
	json_array_foreach(list, i, one)
	{
		if (!error && json_is_string(one))
			error = word_add(
				c, json_string_value(one), json_string_length(one), number
			);
	}
	return error;
}

static int text_read(struct cautions *c, const char *text, const char *path)
{
	const char *base = strrchr(path, '/');
	uint8_t number = 0;
	int error = list_name(c, base ? base + 1 : path, &number);
	while (!error && *text) {
		size_t line = strcspn(text, "\n"), lead = strspn(text, " \t");
		size_t len = strcspn(text, "\n#");
		while (len > lead && strchr(" \t\r", text[len - 1]))
			len--;
		if (len > lead)
			error = word_add(c, text + lead, len - lead, number);
		text += line + (text[line] == '\n');
	}
	return error;
}

static int file_read(const char *path, char **ret_text, size_t *ret_len)
{
	FILE *file = fopen(path, "re");
	if (!file)
		return -errno;
	size_t room = 65536, len = 0, got;
	char *text = malloc(room + 1);
	int error = text ? 0 : -ENOMEM;
	while (!error && (got = fread(text + len, 1, room - len, file)) > 0) {
		len += got;
		if (len < room)
			continue;
		room *= 2;
		char *more = room > FILE_MAX ? NULL : realloc(text, room + 1);
		if (more)
			text = more;
		else
			error = room > FILE_MAX ? -EFBIG : -ENOMEM;
	}
	if (!error && ferror(file))
		error = -EIO;
	fclose(file);
	if (error) {
		free(text);
		return error;
	}
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
}

// --- order

static int net_compare(const void *a, const void *b)
{
	const struct net *one = a, *other = b;
	int differs = one->family - other->family;
	if (!differs)
		differs = memcmp(one->addr, other->addr, sizeof(one->addr));
	return differs ? differs : one->prefix_len - other->prefix_len;
}

// As if both were written backwards.
static int ends_compare(const char *a, const char *b)
{
	size_t one = strlen(a), other = strlen(b);
	while (one > 0 && other > 0) {
		int differs = (unsigned char)a[--one] - (unsigned char)b[--other];
		if (differs)
			return differs;
	}
	return (one > 0) - (other > 0);
}

// Of two that are the same text, the one with what is under it comes first.
static int name_compare(const void *a, const void *b)
{
	const struct name *one = a, *other = b;
	int differs = ends_compare(one->text, other->text);
	return differs ? differs : other->subtree - one->subtree;
}

static void sort(struct cautions *c)
{
	if (c->n_nets)
		qsort(c->nets, c->n_nets, sizeof(*c->nets), net_compare);
	if (c->n_names)
		qsort(c->names, c->n_names, sizeof(*c->names), name_compare);
}

// The first that is not before it, or the end.
static size_t net_at(const struct cautions *c, const struct net *net)
{
	size_t low = 0, high = c->n_nets;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (net_compare(&c->nets[middle], net) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static size_t name_at(const struct cautions *c, const char *text)
{
	size_t low = 0, high = c->n_names;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (ends_compare(c->names[middle].text, text) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int cautions_load(struct cautions *c, const char *path, char ret_message[256])
{
	char *text = NULL;
	size_t len = 0;
	ret_message[0] = '\0';
	int error = file_read(path, &text, &len);
	if (!error && text[strspn(text, " \t\r\n")] == '{') {
		json_error_t where;
		json_t *whole = json_loadb(text, len, 0, &where);
		if (whole)
			error = json_read(c, whole, path);
		else
			error = -EINVAL;
		if (error == -EINVAL)
			snprintf(
				ret_message,
				256,
				"%.120s: %.100s",
				path,
				whole ? "a warninglist has a \"list\"" : where.text
			);
		json_decref(whole);
	} else if (!error) {
		error = text_read(c, text, path);
	}
	free(text);
	sort(c);
	if (error && !ret_message[0])
		snprintf(ret_message, 256, "%.200s: %s", path, strerror(-error));
	return error;
}

// --- asking

static void mask(uint8_t addr[16], unsigned len)
{
	for (unsigned i = 0; i<16; i++, len = len> 8 ? len - 8 : 0)
		addr[i] &= len >= 8 ? 0xff : (uint8_t)(0xff00u >> len);
}

// One that covers it, or lies in it; NULL.
static const struct net *net_find(const struct cautions *c, const struct indicator *n)
{
	struct net net = {.family = n->family};
	size_t at;
	for (unsigned len = 0; len <= n->prefix_len; len++) {
		if (!c->lengths[n->family == 6][len])
			continue;
		memcpy(net.addr, n->addr, sizeof(net.addr));
		mask(net.addr, len);
		net.prefix_len = (uint8_t)len;
		at = net_at(c, &net);
		if (at < c->n_nets && net_compare(&c->nets[at], &net) == 0)
			return &c->nets[at];
	}
	// What lies in it comes at or behind its first address, and longer.
	memcpy(net.addr, n->addr, sizeof(net.addr));
	net.prefix_len = n->prefix_len;
	at = net_at(c, &net);
	if (at == c->n_nets || c->nets[at].family != n->family)
		return NULL;
	net = c->nets[at];
	mask(net.addr, n->prefix_len);
	return memcmp(net.addr, n->addr, sizeof(net.addr)) == 0 ? &c->nets[at] : NULL;
}

// One that is or lies under n's name, or whose own subtree has n's name. What lies under a name
// that is shared: held too, but for what a public suffix parts from it, for that belongs to one of
// its customers alone.
static const struct name *name_find(const struct cautions *c, const char *name)
{
	char under[INDICATOR_NAME_MAX + 2];
	size_t at = name_at(c, name);
	if (at < c->n_names && strcmp(c->names[at].text, name) == 0)
		return &c->names[at];
	snprintf(under, sizeof(under), ".%s", name);
	at = name_at(c, under);
	if (at < c->n_names) {
		const char *text = c->names[at].text;
		size_t len = strlen(text), end = strlen(under);
		if (len > end && strcmp(text + len - end, under) == 0)
			return &c->names[at];
	}
	for (const char *top = strchr(name, '.'); top; top = strchr(top + 1, '.')) {
		at = name_at(c, top + 1);
		if (at < c->n_names && c->names[at].subtree
		    && strcmp(c->names[at].text, top + 1) == 0 && !domain_is_public_suffix(top + 1))
			return &c->names[at];
	}
	return NULL;
}

static void
why_print(const struct cautions *c, const char *text, bool subtree, uint8_t list, char why[192])
{
	snprintf(
		why,
		192,
		"wider than a host, and meets %s%.60s, which many share (%.70s)",
		subtree ? "*." : "",
		text,
		c->lists[list]
	);
}

bool cautions_check(const struct cautions *c, const struct indicator *denied, char ret_why[192])
{
	if (denied->kind == INDICATOR_NAME && denied->subtree) {
		const struct name *name = name_find(c, denied->name);
		if (name)
			why_print(c, name->text, name->subtree, name->list, ret_why);
		return name;
	}
	if (denied->kind != INDICATOR_NET || denied->prefix_len == (denied->family == 4 ? 32 : 128))
		return false;
	const struct net *net = net_find(c, denied);
	if (!net)
		return false;
	struct indicator n = {
		.kind = INDICATOR_NET,
		.family = net->family,
		.prefix_len = net->prefix_len,
	};
	char text[INDICATOR_TEXT_MAX];
	memcpy(n.addr, net->addr, sizeof(n.addr));
	indicator_print(&n, text);
	why_print(c, text, false, net->list, ret_why);
	return true;
}
