// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The stanch authors

#include "control/followers/breakglass_audit.h"

#include "control/ledger.h"
#include "control/log.h"
#include "rules/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct told {
	LIST_ENTRY(told) link;
	struct breakglass_audit *audit; // NULL: nobody waits any more
	uint64_t seq;
};

struct breakglass_audit {
	struct ledger *ledger;
	breakglass_ack_cb ack;
	void *ctx;
	uint64_t failed; // the first action that could not be written; 0: none
	LIST_HEAD(, told) tolds; // under way
};

int breakglass_audit_create(
	struct ledger *ledger, breakglass_ack_cb ack, void *ctx, struct breakglass_audit **ret_audit
)
{
	struct breakglass_audit *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->ledger = ledger;
	a->ack = ack;
	a->ctx = ctx;
	LIST_INIT(&a->tolds);
	*ret_audit = a;
	return 0;
}

void breakglass_audit_session(struct breakglass_audit *a)
{
	struct told *t;

	while ((t = LIST_FIRST(&a->tolds))) {
		LIST_REMOVE(t, link);
		t->audit = NULL;
	}
	a->failed = 0;
}

void breakglass_audit_free(struct breakglass_audit *a)
{
	if (!a)
		return;
	breakglass_audit_session(a);
	free(a);
}

static void failed(struct breakglass_audit *a, uint64_t seq)
{
	if (!a->failed || seq < a->failed)
		a->failed = seq;
	log_error(
		"data plane: root's action %llu could not be written into the audit; it is told "
		"again",
		(unsigned long long)seq
	);
}

static void written(void *ctx, int error, const char *message)
{
	struct told *t = ctx;
	struct breakglass_audit *a = t->audit;

	(void)message;
	if (a) {
		LIST_REMOVE(t, link);
		if (error) {
			failed(a, t->seq);
		} else if (!a->failed || t->seq < a->failed) {
			a->ack(a->ctx, t->seq);
		}
	}
	free(t);
}

// Octets that are no UTF-8 cannot stand in JSON: then all but ASCII, and the backslash, become
// \xNN, so that nothing is lost.
static json_t *reason_json(const char *reason, size_t size)
{
	char text[4 * sizeof(((struct wire_breakglass *)NULL)->reason) + 1];
	size_t len = strnlen(reason, size), n = 0;
	json_t *json = json_stringn(reason, len);

	if (json)
		return json;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)reason[i];

		if (c < 0x80 && c != '\\')
			text[n++] = (char)c;
		else
			n += (size_t)snprintf(text + n, sizeof(text) - n, "\\x%02x", c);
	}
	return json_stringn(text, n);
}

void breakglass_audit_take(struct breakglass_audit *a, const struct wire_breakglass *m)
{
	bool allow = m->kind == WIRE_CTL_ALLOW;
	char actor[64], object[INDICATOR_TEXT_MAX] = "";
	struct indicator n;
	struct told *t;
	json_t *detail;

	if (a->failed && m->header.seq > a->failed)
		return;
	a->failed = 0; // told again: those behind it follow
	t = malloc(sizeof(*t));
	if (!t) {
		failed(a, m->header.seq);
		return;
	}
	*t = (struct told){.audit = a, .seq = m->header.seq};
	LIST_INSERT_HEAD(&a->tolds, t, link);
	if (allow && wire_indicator_read(&m->indicator, sizeof(m->indicator), &n) > 0)
		indicator_print(&n, object);
	snprintf(actor, sizeof(actor), "uid %u at the data plane", m->uid);
	detail = json_pack(
		"{s:I, s:I, s:o}",
		"when_ms",
		(json_int_t)m->when_ms,
		"until",
		(json_int_t)m->until,
		"reason",
		reason_json(m->reason, sizeof(m->reason))
	);
	if (!detail) {
		written(t, -ENOMEM, "");
		return;
	}
	ledger_audit_then(
		a->ledger,
		actor,
		allow ? "breakglass allow" : "breakglass pause",
		object,
		detail,
		written,
		t
	);
	json_decref(detail);
}
