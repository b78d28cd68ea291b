// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/lists_payload.h"

#include "rules/entry.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS (2 * PAYLOAD_ATTRS)
#define HEAD_MAX 700 // format, flags, name, synced, peaks, after, number of attributes
#define CHANGE_MAX (LEDGER_KEY_MAX + 2 + 2 + 1 + 2 + 10)
#define CHANGE_FLAGS (LIST_ACTIONS | LIST_HAS_UNTIL | PAYLOAD_PUT)
#define HEAD_FLAGS (PAYLOAD_CHUNK | PAYLOAD_LAST | PAYLOAD_PEAKS | PAYLOAD_RETIRED | PAYLOAD_END)

static bool peak_told(const struct payload_head *head, int i)
{
	return (head->flags & PAYLOAD_PEAKS)
		|| (head->peak_hour != 0 && head->peak_hour % PAYLOAD_PEAK_HOURS == i);
}

// --- writing

void payload_clear(struct payload_writer *w, const struct payload_head *head, uint32_t max)
{
	w->head = *head;
	w->n = w->n_attrs = 0;
	w->max = max;
	w->attrs_len = w->changes_len = 0;
	memset(w->ids, 0, sizeof(w->ids));
	w->last.len = 0;
}

// Where that attribute stands, or would.
static size_t attr_slot(const struct payload_writer *w, uint32_t attr)
{
	size_t slot = attr * 2654435761u % SLOTS;

	// Half of the slots stay free: see payload_add. An id of 0 is told as UINT32_MAX.
	while (w->ids[slot] && w->ids[slot] != (attr ? attr : UINT32_MAX))
		slot = (slot + 1) % SLOTS;
	return slot;
}

bool payload_knows(const struct payload_writer *w, uint32_t attr)
{
	return w->ids[attr_slot(w, attr)] != 0;
}

static size_t text_write(uint8_t *at, const char *text, size_t len)
{
	size_t n = varint_write(at, len);

	if (len)
		memcpy(at + n, text, len);
	return n + len;
}

static void attr_write(struct payload_writer *w, uint32_t id, const struct payload_attr *attr)
{
	size_t slot = attr_slot(w, id);
	uint8_t *at = w->attrs + w->attrs_len;

	w->ids[slot] = id ? id : UINT32_MAX;
	w->indices[slot] = (uint16_t)w->n_attrs++;
	*at++ = attr->actions;
	at += text_write(at, attr->reason, attr->reason_len);
	at += text_write(at, attr->reference, attr->reference_len);
	w->attrs_len = (size_t)(at - w->attrs);
}

static bool room_for(const struct payload_writer *w, const struct payload_attr *attr)
{
	size_t len = HEAD_MAX + w->attrs_len + w->changes_len + CHANGE_MAX;

	if (attr)
		len += 1 + 2 + 2 + attr->reason_len + attr->reference_len;
	return w->n < w->max && len <= PAYLOAD_MAX && (!attr || w->n_attrs < PAYLOAD_ATTRS);
}

bool payload_add(
	struct payload_writer *w,
	const struct list_member *m,
	bool put,
	const struct payload_attr *attr
)
{
	bool ends = m->until != UNTIL_FOREVER;
	uint8_t *at;

	if (!put || payload_knows(w, m->attr))
		attr = NULL;
	if (!room_for(w, attr))
		return false;
	if (attr)
		attr_write(w, m->attr, attr);
	at = w->changes + w->changes_len;
	at += key_delta_write(at, &w->last, &m->key);
	*at++ = (uint8_t)(put ? m->actions | PAYLOAD_PUT | (ends ? LIST_HAS_UNTIL : 0) : 0);
	if (put)
		at += varint_write(at, w->indices[attr_slot(w, m->attr)]);
	if (put && ends)
		at += varint_write(at, (uint64_t)m->until);
	w->changes_len = (size_t)(at - w->changes);
	w->last = m->key;
	w->n++;
	return true;
}

const void *payload_end(struct payload_writer *w, size_t *ret_len)
{
	const struct payload_head *head = &w->head;
	size_t name_len = strlen(head->name);
	uint8_t *at = w->octets;

	*at++ = PAYLOAD_FORMAT;
	*at++ = head->flags;
	*at++ = (uint8_t)name_len;
	memcpy(at, head->name, name_len);
	at += name_len;
	at += varint_write(at, (uint64_t)head->synced);
	at += varint_write(at, (uint64_t)head->peak_hour);
	for (int i = 0; i < PAYLOAD_PEAK_HOURS; i++)
		if (peak_told(head, i))
			at += varint_write(at, head->peaks[i]);
	if (head->flags & PAYLOAD_CHUNK) {
		at += varint_write(at, head->index);
		at += text_write(at, (const char *)head->after.octets, head->after.len);
	}
	at += varint_write(at, w->n_attrs);
	memcpy(at, w->attrs, w->attrs_len);
	at += w->attrs_len;
	memcpy(at, w->changes, w->changes_len);
	at += w->changes_len;
	*ret_len = (size_t)(at - w->octets);
	return w->octets;
}

// --- reading

static bool number(struct payload_reader *r, uint64_t max, uint64_t *ret_value)
{
	size_t n = varint_read(r->at, r->end, ret_value);

	r->at += n;
	return n > 0 && *ret_value <= max;
}

static bool octet(struct payload_reader *r, uint8_t *ret_octet)
{
	if (r->at == r->end)
		return false;
	*ret_octet = *r->at++;
	return true;
}

static bool octets(struct payload_reader *r, size_t n, const void **ret_octets)
{
	if (n > (size_t)(r->end - r->at))
		return false;
	*ret_octets = r->at;
	r->at += n;
	return true;
}

static bool address_good(const struct indicator *n)
{
	size_t len = n->family == 4 ? 4 : 16;

	if ((n->family != 4 && n->family != 6) || n->prefix_len == 0 || n->prefix_len > 8 * len)
		return false;
	if (n->kind == INDICATOR_PORT)
		return n->port != 0 && (n->proto == IPPROTO_TCP || n->proto == IPPROTO_UDP);
	for (size_t i = n->prefix_len / 8; i < len; i++) {
		unsigned kept = n->prefix_len > 8 * i ? n->prefix_len - 8 * (unsigned)i : 0;

		if (n->addr[i] & (0xff >> kept))
			return false;
	}
	return n->kind == INDICATOR_NET;
}

static bool name_good(const struct indicator *n)
{
	struct indicator_error error;
	struct indicator again;
	char text[INDICATOR_TEXT_MAX];

	return n->name_len > 0
		&& indicator_parse(text, indicator_print(n, text), &again, &error) == 0
		&& indicator_equal(n, &again);
}

// Is it the key of an indicator, in the one form that there is?
static bool key_good(const struct ledger_key *key)
{
	struct ledger_key again;
	struct indicator n;

	if (key->len < 3 || key_unpack(key->octets, key->len, &n) < 0)
		return false;
	if (n.kind == INDICATOR_NAME ? !name_good(&n) : !address_good(&n))
		return false;
	key_pack(&n, &again);
	return key_compare(key, &again) == 0;
}

static bool peaks_read(struct payload_reader *r)
{
	uint64_t hour;

	if (!number(r, INT64_MAX / 3600, &hour))
		return false;
	r->head.peak_hour = (int64_t)hour;
	for (int i = 0; i < PAYLOAD_PEAK_HOURS; i++)
		if (peak_told(&r->head, i) && !number(r, INT64_MAX, &r->head.peaks[i]))
			return false;
	return true;
}

static bool after_read(struct payload_reader *r)
{
	const void *key;
	uint64_t len;

	if (!number(r, UINT64_MAX, &r->head.index) || !number(r, LEDGER_KEY_MAX, &len)
	    || !octets(r, len, &key))
		return false;
	r->head.after.len = (uint16_t)len;
	memcpy(r->head.after.octets, key, len);
	return len == 0 || key_good(&r->head.after);
}

static bool head_read(struct payload_reader *r)
{
	uint8_t format, name_len;
	const void *name;
	uint64_t synced;

	if (!octet(r, &format) || format != PAYLOAD_FORMAT || !octet(r, &r->head.flags)
	    || (r->head.flags & ~HEAD_FLAGS) || !octet(r, &name_len)
	    || (name_len == 0) != ((r->head.flags & PAYLOAD_END) != 0)
	    || name_len > PAYLOAD_NAME_MAX || !octets(r, name_len, &name)
	    || memchr(name, '\0', name_len) || !number(r, INT64_MAX, &synced))
		return false;
	memcpy(r->head.name, name, name_len);
	r->head.synced = (int64_t)synced;
	if (!peaks_read(r))
		return false;
	return !(r->head.flags & PAYLOAD_CHUNK) || after_read(r);
}

static bool text_read(struct payload_reader *r, size_t max, uint8_t *ret_len, const char **ret_text)
{
	const void *text;
	uint64_t len;

	if (!number(r, max, &len) || !octets(r, len, &text) || memchr(text, '\0', len))
		return false;
	*ret_len = (uint8_t)len;
	*ret_text = text;
	return true;
}

static int attrs_read(struct payload_reader *r)
{
	uint64_t n;

	if (!number(r, PAYLOAD_ATTRS, &n))
		return -EBADMSG;
	r->attrs = calloc(n + 1, sizeof(*r->attrs));
	if (!r->attrs)
		return -ENOMEM;
	for (r->n_attrs = 0; r->n_attrs < n; r->n_attrs++) {
		struct payload_attr *a = &r->attrs[r->n_attrs];

		if (!octet(r, &a->actions) || (a->actions & ~LIST_ACTIONS)
		    || !text_read(r, PAYLOAD_REASON_MAX, &a->reason_len, &a->reason)
		    || !text_read(r, PAYLOAD_REFERENCE_MAX, &a->reference_len, &a->reference))
			return -EBADMSG;
	}
	return 0;
}

int payload_begin(struct payload_reader *r, const void *data, size_t len)
{
	int error;

	*r = (struct payload_reader){.at = data};
	r->end = r->at + len;
	error = head_read(r) ? attrs_read(r) : -EBADMSG;
	if (error < 0)
		payload_fini(r);
	return error;
}

void payload_fini(struct payload_reader *r)
{
	free(r->attrs);
	r->attrs = NULL;
}

int payload_head_read(const void *data, size_t len, struct payload_head *ret_head)
{
	struct payload_reader r = {.at = data};

	r.end = r.at + len;
	if (!head_read(&r))
		return -EBADMSG;
	*ret_head = r.head;
	return 0;
}

static bool key_read(struct payload_reader *r, struct ledger_key *key)
{
	struct ledger_key before = *key;
	size_t n = key_delta_read(r->at, r->end, key);

	r->at += n;
	if (n == 0)
		return false;
	if (before.len == 0 && (r->head.flags & PAYLOAD_CHUNK))
		before = r->head.after;
	return key_good(key) && (before.len == 0 || key_compare(&before, key) < 0);
}

int payload_next(struct payload_reader *r)
{
	struct list_member *m = &r->member;
	uint64_t attr = 0, until = UNTIL_FOREVER;
	uint8_t flags;

	if (r->at == r->end)
		return 0;
	if (!key_read(r, &m->key) || !octet(r, &flags) || (flags & ~CHANGE_FLAGS))
		return -EBADMSG;
	r->put = flags & PAYLOAD_PUT;
	if (r->put ? !number(r, r->n_attrs - 1u, &attr) || r->n_attrs == 0 : flags != 0)
		return -EBADMSG;
	// Of a chunk all are put.
	if (!r->put && (r->head.flags & PAYLOAD_CHUNK))
		return -EBADMSG;
	if ((flags & LIST_HAS_UNTIL) && !number(r, UNTIL_FOREVER - 1, &until))
		return -EBADMSG;
	m->actions = flags & LIST_ACTIONS;
	m->attr = (uint32_t)attr;
	m->until = (int64_t)until;
	return 1;
}
