// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "rules/wire.h"

#include "rules/domain.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static size_t padded(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static void indicator_pack(struct wire_indicator *w, const struct indicator *n)
{
	*w = (struct wire_indicator){
		.kind = n->kind,
		.family = n->family,
		.prefix_len = n->prefix_len,
		.proto = n->proto,
		.port = n->port,
		.subtree = n->subtree,
		.name_len = n->name_len,
	};
	memcpy(w->addr, n->addr, sizeof(w->addr));
}

int wire_indicator_write(void *to, size_t room, const struct indicator *n)
{
	size_t size = sizeof(struct wire_indicator) + padded(n->name_len);
	struct wire_indicator w;

	if (size > room)
		return -ENOSPC;
	indicator_pack(&w, n);
	memset(to, 0, size);
	memcpy(to, &w, sizeof(w));
	memcpy((char *)to + sizeof(w), n->name, n->name_len);
	return (int)size;
}

static bool host_bits_zero(const uint8_t addr[16], unsigned from)
{
	unsigned octet = from / 8;

	if (from % 8 && (addr[octet++] & (0xff >> (from % 8))))
		return false;
	for (; octet < 16; octet++) {
		if (addr[octet])
			return false;
	}
	return true;
}

// IPv4 has one canonical form.
static bool is_mapped(const struct wire_indicator *w)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return w->family == 6 && w->prefix_len >= 96
		&& memcmp(w->addr, mapped, sizeof(mapped)) == 0;
}

static bool net_valid(const struct wire_indicator *w)
{
	unsigned max = w->family == 4 ? 32 : 128;

	if ((w->family != 4 && w->family != 6) || w->prefix_len < 1 || w->prefix_len > max)
		return false;
	if (w->name_len || w->subtree || !host_bits_zero(w->addr, w->prefix_len) || is_mapped(w))
		return false;
	if (w->kind == INDICATOR_NET)
		return w->proto == 0 && w->port == 0;
	return w->prefix_len == max && w->port != 0
		&& (w->proto == IPPROTO_TCP || w->proto == IPPROTO_UDP);
}

static bool name_valid(const struct wire_indicator *w, const char *name)
{
	char canonical[INDICATOR_NAME_MAX + 1];
	const char *reason;

	if (w->family || w->prefix_len || w->proto || w->port || w->subtree > 1)
		return false;
	if (w->name_len == 0 || w->name_len > INDICATOR_NAME_MAX || !host_bits_zero(w->addr, 0))
		return false;
	return domain_canonical(name, w->name_len, canonical, &reason) == 0
		&& strlen(canonical) == w->name_len && memcmp(canonical, name, w->name_len) == 0;
}

int wire_indicator_read(const void *from, size_t len, struct indicator *ret_indicator)
{
	struct wire_indicator w;
	struct indicator n = {0};
	size_t size;

	if (len < sizeof(w))
		return -EBADMSG;
	memcpy(&w, from, sizeof(w));
	size = sizeof(w) + padded(w.name_len);
	if (size > len)
		return -EBADMSG;
	if (w.kind == INDICATOR_NAME) {
		const char *name = (const char *)from + sizeof(w);

		if (!name_valid(&w, name))
			return -EBADMSG;
		memcpy(n.name, name, w.name_len);
	} else if ((w.kind != INDICATOR_NET && w.kind != INDICATOR_PORT) || !net_valid(&w)) {
		return -EBADMSG;
	}
	n.kind = w.kind;
	n.family = w.family;
	n.prefix_len = w.prefix_len;
	n.proto = w.proto;
	n.port = w.port;
	n.subtree = w.subtree;
	n.name_len = w.name_len;
	memcpy(n.addr, w.addr, sizeof(n.addr));
	*ret_indicator = n;
	return (int)size;
}

int wire_entry_write(void *to, size_t room, enum wire_op op, const struct entry *e)
{
	size_t head = offsetof(struct wire_entry, indicator);
	struct wire_entry w = {
		.op = (uint8_t)op,
		.scope = e->scope,
		.enforce_until = e->enforce_until,
		.monitor_until = e->monitor_until,
	};
	int rc;

	if (room < head)
		return -ENOSPC;
	rc = wire_indicator_write((char *)to + head, room - head, &e->indicator);
	if (rc < 0)
		return rc;
	w.size = (uint16_t)(head + (size_t)rc);
	memcpy(to, &w, head);
	return w.size;
}

int wire_entry_read(const void *from, size_t len, enum wire_op *ret_op, struct entry *ret_entry)
{
	size_t head = offsetof(struct wire_entry, indicator);
	struct wire_entry w = {0};
	struct entry e = {0};
	int rc;

	if (len < sizeof(w))
		return -EBADMSG;
	memcpy(&w, from, head);
	if (w.op > WIRE_PUT || w.scope != SCOPE_ALL || w.enforce_until < 0 || w.monitor_until < 0)
		return -EBADMSG;
	if (w.op == WIRE_PUT && w.enforce_until == UNTIL_NONE && w.monitor_until == UNTIL_NONE)
		return -EBADMSG;
	rc = wire_indicator_read((const char *)from + head, len - head, &e.indicator);
	if (rc < 0 || head + (size_t)rc != w.size)
		return -EBADMSG;
	e.enforce_until = w.enforce_until;
	e.monitor_until = w.monitor_until;
	e.scope = w.scope;
	*ret_op = (enum wire_op)w.op;
	*ret_entry = e;
	return w.size;
}

int wire_exception_write(void *to, size_t room, const struct exception *x)
{
	size_t head = offsetof(struct wire_exception, indicator);
	struct wire_exception w = {.kind = x->kind, .until = x->until};
	int rc;

	if (room < head)
		return -ENOSPC;
	rc = wire_indicator_write((char *)to + head, room - head, &x->indicator);
	if (rc < 0)
		return rc;
	w.size = (uint16_t)(head + (size_t)rc);
	memcpy(to, &w, head);
	return w.size;
}

int wire_exception_read(const void *from, size_t len, struct exception *ret_exception)
{
	size_t head = offsetof(struct wire_exception, indicator);
	struct wire_exception w = {0};
	struct exception x = {0};
	int rc;

	if (len < sizeof(w))
		return -EBADMSG;
	memcpy(&w, from, head);
	if ((w.kind != EXCEPTION_PROTECT && w.kind != EXCEPTION_ALLOW) || w.until <= 0)
		return -EBADMSG;
	rc = wire_indicator_read((const char *)from + head, len - head, &x.indicator);
	if (rc < 0 || head + (size_t)rc != w.size)
		return -EBADMSG;
	x.kind = w.kind;
	x.until = w.until;
	*ret_exception = x;
	return w.size;
}

int wire_preview_read(
	const void *message, size_t len, bool *ret_all, struct indicator *ret_indicator
)
{
	static const struct wire_indicator none;
	struct wire_preview m;
	struct indicator n;

	if (len != sizeof(m))
		return -EBADMSG;
	memcpy(&m, message, sizeof(m));
	if (m.all > 1 || m.ends > WIRE_PREVIEW_ENDS_MAX)
		return -EBADMSG;
	if (m.all) {
		if (memcmp(&m.indicator, &none, sizeof(none)) != 0)
			return -EBADMSG;
	} else {
		if (wire_indicator_read(&m.indicator, sizeof(m.indicator), &n)
		    != sizeof(m.indicator))
			return -EBADMSG;
		*ret_indicator = n;
	}
	*ret_all = m.all;
	return 0;
}

int wire_preview_end_read(
	const void *message, size_t len, uint32_t i, struct wire_preview_end *ret_end
)
{
	struct wire_preview_answer m;
	struct wire_preview_end end;

	if (len < sizeof(m))
		return -EBADMSG;
	memcpy(&m, message, sizeof(m));
	if (i >= m.n || m.n > WIRE_PREVIEW_ENDS_MAX || len != sizeof(m) + m.n * sizeof(end))
		return -EBADMSG;
	memcpy(&end, (const char *)message + sizeof(m) + i * sizeof(end), sizeof(end));
	if ((end.family != 4 && end.family != 6)
	    || (end.family == 4 && !host_bits_zero(end.addr, 32)))
		return -EBADMSG;
	*ret_end = end;
	return 0;
}

size_t wire_fixed_size(uint16_t type)
{
	switch (type) {
	case WIRE_HELLO:
		return sizeof(struct wire_hello);
	case WIRE_EXCEPTIONS:
		return sizeof(struct wire_exceptions);
	case WIRE_BATCH:
		return sizeof(struct wire_batch);
	case WIRE_SYNC_BEGIN:
		return sizeof(struct wire_sync_begin);
	case WIRE_SYNC_ENTRIES:
		return sizeof(struct wire_sync_entries);
	case WIRE_SYNC_END:
		return sizeof(struct wire_sync_end);
	case WIRE_PAUSE:
	case WIRE_CTL_PAUSE:
		return sizeof(struct wire_pause);
	case WIRE_LOOKUP:
		return sizeof(struct wire_lookup);
	case WIRE_STATUS_GET:
	case WIRE_BREAKGLASS_ACK:
		return sizeof(struct wire_simple);
	case WIRE_CTL_ALLOW:
		return sizeof(struct wire_ctl_allow);
	case WIRE_HELLO_ACK:
		return sizeof(struct wire_hello_ack);
	case WIRE_RESULT:
		return sizeof(struct wire_result);
	case WIRE_LOOKUP_ANSWER:
		return sizeof(struct wire_lookup_answer);
	case WIRE_PREVIEW:
		return sizeof(struct wire_preview);
	case WIRE_PREVIEW_ANSWER:
		return sizeof(struct wire_preview_answer);
	case WIRE_STATUS:
		return sizeof(struct wire_status);
	case WIRE_DENIALS:
		return sizeof(struct wire_denials);
	case WIRE_BREAKGLASS:
		return sizeof(struct wire_breakglass);
	}
	return 0;
}

int wire_header_check(const void *message, size_t len)
{
	struct wire_header h;
	size_t fixed;

	if (len < sizeof(h) || len > WIRE_MESSAGE_MAX)
		return -EBADMSG;
	memcpy(&h, message, sizeof(h));
	if (h.version != WIRE_VERSION)
		return -EPROTO;
	fixed = wire_fixed_size(h.type);
	if (fixed == 0 || h.length != len || len < fixed)
		return -EBADMSG;
	return 0;
}

void wire_state_pack(const struct list_state *s, struct wire_state *ret_state)
{
	*ret_state = (struct wire_state){
		.epoch = s->revision.epoch,
		.number = s->revision.number,
		.count = s->count,
	};
	memcpy(ret_state->ledger_id, s->ledger_id, LEDGER_ID_LEN);
	digest_pack(s->digest, ret_state->digest);
}

void wire_state_unpack(const struct wire_state *w, struct list_state *ret_state)
{
	*ret_state = (struct list_state){
		.revision = {.epoch = w->epoch, .number = w->number},
		.count = w->count,
		.digest = digest_unpack(w->digest),
	};
	memcpy(ret_state->ledger_id, w->ledger_id, LEDGER_ID_LEN);
}

const char *wire_code_name(uint32_t code)
{
	static const char *const names[] = {
		[WIRE_OK] = "ok",
		[WIRE_STALLED] = "stalled",
		[WIRE_NEED_SYNC] = "needs a full synchronisation",
		[WIRE_FULL] = "full",
		[WIRE_MISMATCH] = "digest differs",
		[WIRE_SHRINK_REFUSED] = "shrink refused",
		[WIRE_BAD_MESSAGE] = "bad message",
		[WIRE_BAD_VERSION] = "another version",
		[WIRE_DENIED] = "not permitted",
		[WIRE_IO] = "not written to disk",
		[WIRE_NO_MEMORY] = "no memory",
	};

	if (code < sizeof(names) / sizeof(names[0]) && names[code])
		return names[code];
	return "unknown";
}
